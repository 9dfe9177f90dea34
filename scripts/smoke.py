"""Check a running service from outside, without doing harm.

The checks: it is alive, it refuses strangers, and the whole way to Microsoft Graph and back works.
Owns what an operator reads. Takes ``URL``, ``TOKEN`` and ``BUSINESS`` from the environment
(``APPOINTMENT`` is optional) and needs nothing of the service's code. It cancels an appointment
that does not exist, so nothing changes and nobody gets a mail. The token goes to that address alone
and is never shown.
"""

import os
import sys
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import requests

PASSED, FAILED, MISUSED, INCOMPLETE = 0, 1, 2, 3

# For the connection, and for each wait for an answer. The service answers within 10 seconds, but a
# cold start may come first.
_TIMEOUT_S = (5, 30)

# What an operator can do about an answer; docs/operations.md has more.
_ADVICE: Mapping[str, str] = {
    "invalid_token": (
        "Use an access token for API_SCOPE of this very deployment that is less than an hour old."
    ),
    "insufficient_scope": "The token was asked for without the scope of this API: use API_SCOPE.",
    "user_token_required": "Sign in as a person; a token of an application is not enough.",
    "caller_not_allowed": (
        "Name the application that asked for the token in PARTNER_CLIENT_IDS or "
        "PREAUTHORIZED_CLIENT_IDS, then azd provision."
    ),
    "consent_required": (
        "An administrator has to consent: az ad app permission admin-consent --id API_CLIENT_ID."
    ),
    "interaction_required": "A policy of the directory asks for more, e.g. MFA: sign in again.",
    "access_denied": "This user may not act in that business: sign in as one of its staff.",
    "business_not_found": (
        "BUSINESS is the mailbox address of a booking page that has this user on its staff."
    ),
    "invalid_request": (
        "Graph calls the made-up id malformed: set APPOINTMENT to the id of an appointment that "
        "was cancelled long ago."
    ),
    "misconfigured": (
        "The log line with this requestId says which setting, credential or consent is wrong."
    ),
}


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at and what came of it; ``passed`` None means that it was not tried."""

    name: str
    passed: bool | None
    found: str


def main(environment: Mapping[str, str]) -> int:
    """Run all checks, say what they found, and return the exit code."""
    url, token, business = (
        environment.get(name, "").strip() for name in ("URL", "TOKEN", "BUSINESS")
    )
    fault = _fault_of(url)
    if fault:
        _say(
            f"{fault}\nUsage: make smoke URL=https://... BUSINESS=<its SMTP address>, with "
            "the token in the environment variable TOKEN"
        )
        return MISUSED
    appointment = environment.get("APPOINTMENT", "").strip() or f"AAMkAD{uuid.uuid4().hex}="
    checks = []
    with requests.Session() as session:
        for check in _checks(session, url.rstrip("/"), token, business, appointment):
            _say(f"{_mark(check)}  {check.name}: {check.found}")
            checks.append(check)
    if any(check.passed is False for check in checks):
        _say("Not as it should be.")
        return FAILED
    if any(check.passed is None for check in checks):
        _say("Nothing wrong so far, but not everything was tried.")
        return INCOMPLETE
    _say("All as it should be.")
    return PASSED


def _fault_of(url: str) -> str:
    """Say why this address is not usable; empty if it is.

    A token travels over https, or stays on this machine.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host:
        return "URL is missing or not an address."
    if parts.scheme != "https" and not (
        parts.scheme == "http" and host in ("localhost", "127.0.0.1", "::1")
    ):
        return "URL must be https: a token is sent there."
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        return "URL must be the address of the service alone, without a path."
    return ""


def _checks(
    session: requests.Session, url: str, token: str, business: str, appointment: str
) -> Iterator[Check]:
    yield _looked_at(
        "health",
        session,
        "GET",
        f"{url}/api/health",
        _is_healthy,
    )
    yield _openapi(session, url)
    cancel = f"{url}/api/v1/cancel-appointment"
    yield _looked_at(
        "a stranger is refused",
        session,
        "POST",
        cancel,
        lambda answer: _is_problem(answer, 401, "missing_token"),
        body={},
    )
    if not token or not business:
        missing = " and ".join(
            name for name, value in (("TOKEN", token), ("BUSINESS", business)) if not value
        )
        yield Check("a cancel of nothing", None, f"not tried without {missing}")
        return
    known = _looked_at(
        "the business is there",
        session,
        "GET",
        f"{url}/api/v1/businesses/{urllib.parse.quote(business, safe='')}/appointments",
        lambda answer: answer.status_code == 200,
        headers={"Authorization": f"Bearer {token}"},
    )
    yield known
    if not known.passed:
        return
    body = {"businessId": business, "appointmentId": appointment}
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"smoke-{uuid.uuid4()}"}
    first = _looked_at(
        "a cancel of nothing",
        session,
        "POST",
        cancel,
        lambda answer: _is_not_found(answer, replayed=False),
        body=body,
        headers=headers,
    )
    yield first
    if first.passed:
        yield _looked_at(
            "its repeat is recognised",
            session,
            "POST",
            cancel,
            lambda answer: _is_not_found(answer, replayed=True),
            body=body,
            headers=headers,
        )


def _openapi(session: requests.Session, url: str) -> Check:
    """Look at the published document, where there is one: not every version publishes it."""
    name = "openapi.json"
    try:
        answer = _send(session, "GET", f"{url}/api/v1/openapi.json", None, {})
    except requests.RequestException as error:
        return Check(name, passed=False, found=f"no answer ({type(error).__name__})")
    if answer.status_code == 404:
        return Check(name, passed=True, found="not published by this version")
    document = _json(answer)
    version = document.get("openapi") if isinstance(document, dict) else None
    return Check(name, isinstance(version, str) and version.startswith("3."), _describe(answer))


def _looked_at(
    name: str,
    session: requests.Session,
    method: str,
    url: str,
    good: Callable[[requests.Response], bool],
    *,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Check:
    try:
        answer = _send(session, method, url, body, headers or {})
    # the text of the error may repeat the address, and more
    except requests.RequestException as error:
        return Check(name, passed=False, found=f"no answer ({type(error).__name__})")
    return Check(name, good(answer), _describe(answer))


def _send(
    session: requests.Session, method: str, url: str, body: object, headers: Mapping[str, str]
) -> requests.Response:
    return session.request(
        method, url, json=body, headers=dict(headers), timeout=_TIMEOUT_S, allow_redirects=False
    )


def _is_healthy(answer: requests.Response) -> bool:
    """Tell whether health says what it promises; it may say more, such as the version."""
    body = _json(answer)
    return answer.status_code == 200 and isinstance(body, dict) and body.get("status") == "ok"


def _is_problem(answer: requests.Response, status: int, code: str) -> bool:
    body = _json(answer)
    return answer.status_code == status and isinstance(body, dict) and body.get("code") == code


def _is_not_found(answer: requests.Response, *, replayed: bool) -> bool:
    body = _json(answer)
    wanted = {"outcome": "not_found", "cancelled": False, "replayed": replayed}
    return (
        answer.status_code == 200
        and isinstance(body, dict)
        and wanted.items() <= body.items()
        and body.get("missing") != "business"
    )


def _describe(answer: requests.Response) -> str:
    """Describe the answer by members of the contract alone."""
    body = _json(answer)
    parts = [str(answer.status_code), f"{answer.elapsed.total_seconds() * 1000:.0f} ms"]
    if isinstance(body, dict):
        parts += [
            f"{name}={str(body[name])[:100]}"
            for name in (
                "version",
                "outcome",
                "missing",
                "code",
                "confirmed",
                "replayed",
                "requestId",
            )
            if name in body
        ]
        advice = _ADVICE.get(str(body.get("code")))
        parts += [f"\n      {advice}"] if advice else []
    else:
        parts.append("no JSON of this service")
    return " ".join(parts)


def _json(answer: requests.Response) -> object:
    try:
        return answer.json()
    except requests.JSONDecodeError:
        return None


def _mark(check: Check) -> str:
    return {True: "ok  ", False: "FAIL", None: "skip"}[check.passed]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main(os.environ))
