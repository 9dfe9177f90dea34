"""Who may do what in the Graph simulator.

Owns which tokens are accepted, refused or revoked, the scopes and roles of each step, and who sees
which calendar. Does *not* check signatures: the ``verify_token`` handed in does.

An app without a user needs, for each step, the role that Microsoft documents as the least for it.
No other role will do. People who granted only one of the two roles report a 401; the answer that
helped was to grant both (learn.microsoft.com/answers 2283013). What else the live service takes is
not known.
"""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from infra.local import seed
from infra.local.graph.tokens import GraphTokenClaims, GraphTokenInvalid
from infra.local.graph.wire import CHALLENGE, GraphRefusal, Step, claims_challenge

_WRITE: Final = frozenset({"Bookings.ReadWrite.All", "Bookings.Manage.All"})
_APPOINTMENTS: Final = frozenset({"BookingsAppointment.ReadWrite.All"})
_READ: Final = frozenset({"Bookings.Read.All"})
_SCOPES: Final[dict[Step, frozenset[str]]] = {
    "cancel": _WRITE | _APPOINTMENTS,
    "get": _WRITE | _APPOINTMENTS | _READ,
    "list_businesses": _WRITE | _APPOINTMENTS | _READ,
    "list_appointments": _WRITE | _APPOINTMENTS | _READ,
}
_ROLES: Final[dict[Step, frozenset[str]]] = {**_SCOPES, "cancel": _WRITE, "get": _APPOINTMENTS}


@dataclass(frozen=True, slots=True)
class _Revocation:
    """The tokens that a user held at ``at``.

    Those are the tokens issued before, and those seen before: an ``iat`` of whole seconds alone
    cannot tell.
    """

    at: float
    seen: frozenset[str]
    claims: str

    def covers(self, token: str, issued_at: float) -> bool:
        since = int(self.at) if issued_at == int(issued_at) else self.at
        return token in self.seen or 0 < issued_at < since


class TokenCheck:
    """Turns an Authorization header into claims, and remembers which tokens were revoked.

    Safe to use from any thread.
    """

    def __init__(self, verify_token: Callable[[str], GraphTokenClaims]) -> None:
        self._verify_token = verify_token
        self._lock = threading.Lock()
        self._seen: defaultdict[str, set[str]] = defaultdict(set)
        self._revocations: dict[str, _Revocation] = {}

    def authenticate(self, authorization: str) -> GraphTokenClaims | GraphRefusal:
        """Return the claims of a bearer token, or the 401 it deserves."""
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return _unauthenticated("Access token is empty.")
        try:
            claims = self._verify_token(token)
        except GraphTokenInvalid as error:
            return _unauthenticated(str(error) or "Access token validation failure.")
        with self._lock:
            revocation = self._revocations.get(claims.object_id)
            if revocation is None or not revocation.covers(token, claims.issued_at):
                self._seen[claims.object_id].add(token)
                return claims
        message = (
            "Continuous access evaluation resulted in challenge with result: "
            "InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp"
        )
        return GraphRefusal(
            401, "InvalidAuthenticationToken", message, headers=claims_challenge(revocation.claims)
        )

    def revoke(self, user: str, claims: str | None = None) -> None:
        """Refuse from now on the tokens that this user (``oid``) holds.

        ``claims`` (JSON) is what the challenge asks for.
        """
        now = time.time()
        wanted = claims or json.dumps(
            {"access_token": {"nbf": {"essential": True, "value": str(int(now))}}},
            separators=(",", ":"),
        )
        with self._lock:
            self._revocations[user] = _Revocation(now, frozenset(self._seen[user]), wanted)

    def reset(self) -> None:
        """Forget every revocation and every token seen."""
        with self._lock:
            self._seen.clear()
            self._revocations.clear()


def require_right(claims: GraphTokenClaims, step: Step) -> None:
    """Refuse a token without a scope (or role, of an app without a user) for this step.

    Errors: GraphRefusal, with 403 for a user and 401 for an app. Nobody documents the code of the
    latter.
    """
    if claims.app_only:
        if not claims.roles & _ROLES[step]:
            raise GraphRefusal(401, "UnknownError", "", headers={"WWW-Authenticate": CHALLENGE})
    elif not claims.scopes & _SCOPES[step]:
        raise GraphRefusal(
            403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."
        )


def may_see(claims: GraphTokenClaims, business: seed.Business) -> bool:
    """Say whether a calendar is open to this caller: to its staff, and to apps of the tenant."""
    return claims.tenant_id == seed.TENANT_ID and (
        claims.app_only or claims.object_id in business.staff
    )


def require_calendar(claims: GraphTokenClaims, business: seed.Business | None) -> None:
    """Refuse a business that is not there or not open to this caller.

    Errors: GraphRefusal with 404 in both cases.
    """
    if business is None or claims.tenant_id != seed.TENANT_ID:
        raise GraphRefusal(
            404, "ErrorNonExistentMailbox", "The SMTP address has no mailbox associated with it."
        )
    if not may_see(claims, business):
        raise GraphRefusal(
            404, "ErrorFolderNotFound", "The specified folder could not be found in the store."
        )


def _unauthenticated(message: str) -> GraphRefusal:
    return GraphRefusal(
        401, "InvalidAuthenticationToken", message, headers={"WWW-Authenticate": CHALLENGE}
    )
