"""Cancels one Bookings appointment: msal for the sign-in, requests for the call.

    pip install msal requests
    API=https://contoso-bookings.azurewebsites.net/api TENANT_ID=... CLIENT_ID=... SCOPE=api://<API
    client id>/Appointments.Cancel \
        python bookings_client.py BUSINESS_ID APPOINTMENT_ID ["A message to the customer"]

Ends with 0: cancelled, 3: not found, 1: anything else. ``TOKEN`` takes the place of the sign-in;
``REQUESTS_CA_BUNDLE`` names a PEM file to trust.
"""

import base64
import os
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

import msal
import requests

ATTEMPTS = 4
TIMEOUT_S = 30

type Acquire = Callable[
    [str | None], str
]  # takes a claims challenge (JSON) or None, and returns an access token


class CancelFailedError(Exception):
    """The appointment may not be cancelled.

    ``code``, ``retryable`` and ``request_id`` are the service's; decide on them, never on the text.
    """

    def __init__(self, answer: dict[str, Any], status: int) -> None:
        super().__init__(
            f"{status} {answer.get('code', '')} {answer.get('detail', '')} requestId {answer.get('requestId', '')}"
        )
        self.code = str(answer.get("code", "unknown_outcome" if status == 200 else "no_answer"))
        self.retryable = answer.get("retryable") is True
        self.request_id = str(answer.get("requestId", ""))


def cancel_appointment(
    api: str,
    request: dict[str, str],
    acquire: Acquire,
    *,
    key: str | None = None,
    session: requests.Session | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Cancel and return the service's answer, whose ``outcome`` is ``cancelled`` or ``not_found``.

    Errors: CancelFailedError.

    All attempts have one Idempotency-Key, so they are one request: a repeat never cancels twice.
    """
    session, key = session or requests.Session(), key or str(uuid.uuid4())
    token, challenged = acquire(None), False
    status, answer = 0, dict[str, Any]()
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(answer.get("retryAfterSeconds", 5))
        status, answer = _post(session, f"{api}/v1/cancel-appointment", request, token, key)
        if answer.get("code") == "interaction_required" and "claims" in answer and not challenged:
            token, challenged = acquire(base64.b64decode(answer["claims"]).decode()), True
            status, answer = _post(session, f"{api}/v1/cancel-appointment", request, token, key)
        if status == 200:
            break
        if (
            status and answer.get("retryable") is not True
        ):  # 0: no answer came, and a repeat with the same key finds out
            break
    if status == 200 and answer.get("outcome") in ("cancelled", "not_found"):
        return answer
    raise CancelFailedError(answer, status)  # also for an outcome that this client does not know


def _post(
    session: requests.Session, url: str, request: dict[str, str], token: str, key: str
) -> tuple[int, dict[str, Any]]:
    """Send once. A status of 0 stands for no answer."""
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
    try:
        response = session.post(
            url, json=request, headers=headers, timeout=TIMEOUT_S, allow_redirects=False
        )
        answer = response.json()
    except requests.JSONDecodeError:
        return response.status_code, {}
    except requests.RequestException:
        return 0, {}
    return response.status_code, answer if isinstance(answer, dict) else {}


def sign_in(tenant_id: str, client_id: str, scope: str) -> Acquire:
    """Return a function that gets tokens for the person at this machine, from the cache where it
    can. Errors: RuntimeError.

    ``cp1`` tells Entra that this client answers claims challenges
    (learn.microsoft.com/entra/identity-platform/claims-challenge).
    """
    authority = f"https://login.microsoftonline.com/{tenant_id}"
    app = msal.PublicClientApplication(client_id, authority=authority, client_capabilities=["cp1"])

    def acquire(claims: str | None) -> str:
        accounts = app.get_accounts()
        found = (
            app.acquire_token_silent([scope], account=accounts[0], claims_challenge=claims)
            if accounts
            else None
        )
        if not found or "access_token" not in found:
            found = app.acquire_token_interactive([scope], claims_challenge=claims)
        if "access_token" not in found:
            raise RuntimeError(f"No token: {found.get('error')} {found.get('correlation_id')}")
        return str(found["access_token"])

    return acquire


def main(arguments: list[str]) -> int:
    """Cancel what the arguments name."""
    environment, given = os.environ, os.environ.get("TOKEN")
    acquire = (
        (lambda _: given)
        if given
        else sign_in(environment["TENANT_ID"], environment["CLIENT_ID"], environment["SCOPE"])
    )
    names = ("businessId", "appointmentId", "cancellationMessage")
    try:
        answer = cancel_appointment(
            environment["API"], dict(zip(names, arguments, strict=False)), acquire
        )
    except CancelFailedError as error:
        print(error, file=sys.stderr)
        return 1
    print(answer["message"])
    return {"cancelled": 0, "not_found": 3}[answer["outcome"]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
