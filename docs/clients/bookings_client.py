"""Cancels one Bookings appointment from Python 3.10 or later.

requests makes the call, and msal signs in.

    pip install msal requests
    API=https://contoso-bookings.azurewebsites.net/api TENANT_ID=... CLIENT_ID=... \
    SCOPE=api://<API client id>/Appointments.Cancel \
        python bookings_client.py BUSINESS_ID APPOINTMENT_ID ["A message to the customer"]

SIGN_IN=code signs in by a code that is typed into a browser elsewhere. TOKEN takes the place of
the sign-in, AUTHORITY that of https://login.microsoftonline.com/TENANT_ID. REQUESTS_CA_BUNDLE names
a PEM file to trust. IDEMPOTENCY_KEY repeats an earlier request.
Ends with 0: cancelled, 3: not found, 1: anything else, 2: called wrongly.
"""

import base64
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import requests

ATTEMPTS = 4
TIMEOUT_S = 30
PATIENCE_S = 120  # all waits together; the service may ask for an hour, and a person is waiting
ENDS = {"cancelled": 0, "not_found": 3}

Answer = dict[str, Any]
# Takes a claims challenge (JSON) or None, and returns an access token.
Acquire = Callable[[str | None], str]


class CancelFailedError(Exception):
    """The service did not say whether the appointment is cancelled, or refused to cancel it.

    ``code``, ``retryable`` and ``request_id`` are the service's. Decide on them, never on the text.
    """

    def __init__(self, answer: Answer, status: int) -> None:
        super().__init__(_explain(answer, status))
        self.code = str(answer.get("code", "unknown_outcome" if status == 200 else "no_answer"))
        self.retryable = _pause_s(answer, status) is not None
        self.request_id = str(answer.get("requestId", ""))


class SignInFailedError(Exception):
    """Nobody signed in, or another person than the one who began."""


def cancel_appointment(
    api: str,
    request: Mapping[str, str],
    acquire: Acquire,
    *,
    key: str | None = None,
    session: requests.Session | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """Cancel and return the service's answer, whose ``outcome`` is ``cancelled`` or ``not_found``.

    Errors: CancelFailedError, and those of ``acquire``.

    All attempts have one Idempotency-Key, so they are one request: a repeat never cancels twice.
    """
    session, key = session or requests.Session(), key or str(uuid.uuid4())
    url, token, challenged = f"{api}/v1/cancel-appointment", acquire(None), False

    def send() -> tuple[int, Answer]:
        nonlocal token, challenged
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
        status, answer = post(session, url, headers, json=request)
        if answer.get("code") == "interaction_required" and "claims" in answer and not challenged:
            token, challenged = acquire(base64.b64decode(answer["claims"]).decode()), True
            return send()
        return status, answer

    return settle(send, sleep=sleep)


def settle(
    send: Callable[[], tuple[int, Answer]], *, sleep: Callable[[float], None] = time.sleep
) -> Answer:
    """Send until the answer is final, and return it.

    Errors: CancelFailedError, also when the service asks for a longer wait than this client's
    patience.
    """
    patience_s = float(PATIENCE_S)
    for attempt in range(1, ATTEMPTS + 1):
        status, answer = send()
        if status == 200 and answer.get("outcome") in ENDS:
            return answer
        pause_s = _pause_s(answer, status)
        if pause_s is None or pause_s > patience_s or attempt == ATTEMPTS:
            break
        patience_s -= pause_s
        say(f"{answer.get('code', 'no answer')}: trying again in {pause_s:g} seconds ...")
        sleep(pause_s)
    raise CancelFailedError(answer, status)


def post(
    session: requests.Session, url: str, headers: Mapping[str, str], **body: Any
) -> tuple[int, Answer]:
    """Send once, and return the status and the answer.

    A status of 0 means that no answer came. The answer is empty if it is not the service's own,
    which always has a requestId.
    """
    try:
        response = session.post(
            url, headers=headers, timeout=TIMEOUT_S, allow_redirects=False, **body
        )
        answer = response.json()
    except requests.JSONDecodeError:
        return response.status_code, {}
    except requests.RequestException:
        return 0, {}
    ours = isinstance(answer, dict) and isinstance(answer.get("requestId"), str)
    return response.status_code, answer if ours else {}


def _pause_s(answer: Answer, status: int) -> float | None:
    """Return how long to wait before a repeat, in seconds; None where a repeat cannot help.

    If no answer of the service came (silence, or the page of a gateway), a repeat finds out.
    """
    if "code" not in answer:
        return 5 if status in (0, 408, 429) or status >= 500 else None
    asked = answer.get("retryAfterSeconds")
    if answer.get("retryable") is not True:
        return None
    return asked if isinstance(asked, int) and asked >= 0 else 5


def _explain(answer: Answer, status: int) -> str:
    if status == 200:
        known = f"Unknown outcome '{answer.get('outcome')}': treated as a failure."
    elif "code" in answer:
        known = f"{status} {answer['code']} {answer.get('detail', '')}"
    else:
        known = f"No answer of the service ({status or 'none at all'})."
    faults = [f"{one.get('field')}: {one.get('message')}" for one in answer.get("errors", [])]
    pause_s = _pause_s(answer, status)
    later = "" if pause_s is None else f"The same request may be sent again in {pause_s:g} seconds."
    told = (known, *faults, later, f"requestId {answer.get('requestId', 'unknown')}")
    return "\n".join(filter(None, told))


def sign_in(authority: str, client_id: str, scope: str, *, by_code: bool = False) -> Acquire:
    """Return a function that gets tokens for one person at this machine, from the cache if it can.

    Whoever begins has to go on: another person's sign-in is refused. Errors: SignInFailedError.

    ``cp1`` tells Entra that this client answers claims challenges
    (learn.microsoft.com/entra/identity-platform/claims-challenge). The authority comes from the
    settings and not from a user, so nobody needs to ask Microsoft whether it exists.
    """
    import msal

    app = msal.PublicClientApplication(
        client_id,
        authority=authority,
        client_capabilities=["cp1"],
        instance_discovery=False,
    )
    person: dict[str, str] | None = None

    def ask(claims: str | None) -> dict[str, Any]:
        if by_code:
            flow = app.initiate_device_flow([scope], claims_challenge=claims)
            if "message" not in flow:
                return dict(flow)
            say(flow["message"])
            return dict(app.acquire_token_by_device_flow(flow, claims_challenge=claims))
        say("Sign in, in the window of the browser that opens now.")
        hint = person["username"] if person else None
        return dict(
            app.acquire_token_interactive(
                [scope], claims_challenge=claims, login_hint=hint, timeout=300
            )
        )

    def acquire(claims: str | None) -> str:
        nonlocal person
        found = None
        if person:
            found = app.acquire_token_silent([scope], account=person, claims_challenge=claims)
        if not found or "access_token" not in found:
            found = ask(claims)
            if "access_token" not in found:
                told = f"{found.get('error')} {found.get('error_description', '')}"
                raise SignInFailedError(f"Nobody signed in: {told}")
            who = found["id_token_claims"]["oid"]
            person = person or next(
                one for one in app.get_accounts() if one["local_account_id"] == who
            )
            if who != person["local_account_id"]:
                raise SignInFailedError(
                    f"{person['username']} began, and somebody else signed in: nothing more "
                    "was sent."
                )
        return str(found["access_token"])

    return acquire


def say(text: str) -> None:
    """Print a line for the person who waits."""
    print(text, file=sys.stderr, flush=True)


def run(
    usage: str | None,
    arguments: list[str],
    needed: tuple[str, ...],
    cancel: Callable[[Mapping[str, str]], Answer],
) -> int:
    """Cancel what the arguments name, tell how it ended, and return the exit code."""
    missing = [name for name in needed if not os.environ.get(name)]
    if missing or len(arguments) not in (2, 3):
        say(f"Missing: {', '.join(missing) or 'BUSINESS_ID and APPOINTMENT_ID'}\n\n{usage}")
        return 2
    names = ("businessId", "appointmentId", "cancellationMessage")
    try:
        answer = cancel(dict(zip(names, arguments, strict=False)))
    except (CancelFailedError, SignInFailedError) as error:
        say(str(error))
        return 1
    print(answer["message"])
    return ENDS[answer["outcome"]]


def acquire_from_environment() -> Acquire:
    """Return the token that is given, or the sign-in that the settings describe."""
    setting, given = os.environ, os.environ.get("TOKEN")
    if given:
        return lambda _: given
    authority = setting.get(
        "AUTHORITY", f"https://login.microsoftonline.com/{setting.get('TENANT_ID')}"
    )
    by_code = setting.get("SIGN_IN") == "code"
    return sign_in(authority, setting["CLIENT_ID"], setting["SCOPE"], by_code=by_code)


def main(arguments: list[str]) -> int:
    """Cancel what the arguments name, as the person who signs in."""
    tenant = "AUTHORITY" if os.environ.get("AUTHORITY") else "TENANT_ID"
    needed = ("API",) if os.environ.get("TOKEN") else ("API", tenant, "CLIENT_ID", "SCOPE")
    key = os.environ.get("IDEMPOTENCY_KEY") or str(uuid.uuid4())

    def cancel(request: Mapping[str, str]) -> Answer:
        try:
            return cancel_appointment(
                os.environ["API"], request, acquire_from_environment(), key=key
            )
        except CancelFailedError as error:
            if error.retryable:
                say(f"A repeat with IDEMPOTENCY_KEY={key} is safe, and finds out how it ended.")
            raise

    return run(__doc__, arguments, needed, cancel)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
