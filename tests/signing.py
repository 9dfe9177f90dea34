"""A sender of webhooks, for tests.

It signs what it is told as the library of the Standard Webhooks project does.
"""

import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests
from standardwebhooks import Webhook

from infra.local import seed

PATH = "/api/v1/webhooks/cancel-appointment"
PATIENCE_S = 60.0
_numbers = itertools.count()


def new_id() -> str:
    """Return a webhook-id that no other test has."""
    return f"msg_{next(_numbers):06d}"


def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return one signature, as it stands in webhook-signature."""
    return Webhook(secret).sign(
        webhook_id, datetime.fromtimestamp(timestamp, tz=UTC), body.decode()
    )


def signed(
    body: bytes,
    *,
    webhook_id: str | None = None,
    secrets: tuple[str, ...] = (seed.WEBHOOK_SECRET,),
    age_s: float = 0,
) -> dict[str, str]:
    """Return the three headers, signed with each of the secrets ``age_s`` seconds ago."""
    webhook_id, timestamp = webhook_id or new_id(), int(time.time() - age_s)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(
            sign(secret, webhook_id, timestamp, body) for secret in secrets
        ),
    }


def body_for(
    appointment_id: str, business_id: str = seed.LUNCH_DELIVERY, message: str | None = None
) -> bytes:
    """Return the body of a request."""
    members = {"businessId": business_id, "appointmentId": appointment_id}
    return json.dumps(
        members if message is None else members | {"cancellationMessage": message}
    ).encode()


@dataclass(frozen=True)
class Sender:
    """Sends webhooks to the service at ``url`` with these secrets."""

    url: str
    session: requests.Session
    secrets: tuple[str, ...] = field(default=(seed.WEBHOOK_SECRET,), repr=False)

    def deliver(self, appointment_id: str, **how: Any) -> requests.Response:
        """Send a request for an appointment.

        ``business_id`` and ``message`` as in ``body_for``, the rest as in ``send``.
        """
        about = {name: how.pop(name) for name in ("business_id", "message") if name in how}
        return self.send(body_for(appointment_id, **about), **how)

    def send(
        self,
        body: bytes,
        *,
        webhook_id: str | None = None,
        age_s: float = 0,
        headers: Mapping[str, str | None] | None = None,
        sent: bytes | None = None,
    ) -> requests.Response:
        """Sign a body and send it.

        ``sent`` is sent instead of it, with these headers instead of the right ones (None leaves
        one out).
        """
        right = {
            "Content-Type": "application/json",
            **signed(body, webhook_id=webhook_id, secrets=self.secrets, age_s=age_s),
        }
        wanted = {
            name: value for name, value in {**right, **(headers or {})}.items() if value is not None
        }
        return self.session.post(
            f"{self.url}{PATH}",
            data=body if sent is None else sent,
            headers=wanted,
            timeout=PATIENCE_S,
        )
