"""A caller of the service, for tests: sends what it is told and keeps the answer as it came."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import requests

from infra.local import seed
from infra.local.stack import LocalStack

_numbers = itertools.count()


@dataclass(frozen=True)
class Facade:
    """The service at ``url``; ``stack`` is what stands behind it."""

    url: str
    session: requests.Session
    stack: LocalStack

    def cancel(
        self,
        appointment_id: str = seed.EXAMPLE_APPOINTMENT,
        *,
        business_id: str = seed.LUNCH_DELIVERY,
        message: str | None = seed.EXAMPLE_MESSAGE,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Cancel an appointment with Adele's token, or another; ``message`` None leaves it out."""
        body = {"businessId": business_id, "appointmentId": appointment_id}
        if message is not None:
            body["cancellationMessage"] = message
        return self.post(body, token=token, headers=headers)

    def post(
        self, body: object, *, token: str | None = None, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """Send any JSON body to the cancel route with a good token, or another.

        An empty ``token`` sends none.
        """
        token = self.stack.entra.user_token() if token is None else token
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        return self.session.post(
            f"{self.url}/api/v1/cancel-appointment",
            json=body,
            headers={**authorization, **(headers or {})},
            timeout=30,
            allow_redirects=False,
        )

    def book(
        self, appointment_id: str | None = None, *, business_id: str = seed.LUNCH_DELIVERY
    ) -> str:
        """Book an appointment that no other test has, and return its id."""
        chosen = appointment_id or f"AAMkADtest{next(_numbers):06d}="
        self.stack.graph.bookings.add(
            seed.Appointment(
                chosen,
                business_id,
                "Test",
                "Test Customer",
                "customer@contoso.com",
                "2027-06-01T09:00:00.0000000Z",
                "2027-06-01T10:00:00.0000000Z",
            )
        )
        return chosen
