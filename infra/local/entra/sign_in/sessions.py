"""People's sessions with a client, which refresh tokens continue.

A session ends with its time, with the account, and when it is revoked. Does *not* make tokens.
"""

import json
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from infra.local import seed
from infra.local.entra.directory import Directory
from infra.local.entra.errors import Refused
from infra.local.entra.sign_in.asked import is_shown

REFRESH_LIFETIME_S: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Session:
    """A person at one client.

    ``origin`` is the origin of a page, None for a program. ``begun`` is the running number and the
    time of the sign-in. ``proof`` is what was shown then.
    """

    tenant_id: str
    user: seed.User
    origin: str | None
    scope: str
    proof: Mapping[str, object]
    begun: tuple[int, float]


class Sessions:
    """The sessions that go on; safe to use from any thread."""

    def __init__(self, directory: Directory, now: Callable[[], float]) -> None:
        self._directory = directory
        self._now = now
        self._lock = threading.Lock()
        self._kept: dict[str, Session] = {}

    def keep(self, session: Session) -> str:
        """Return a refresh token for the session, and forget sessions that ended long ago."""
        token, now = f"1.A{secrets.token_urlsafe(96)}", self._now()
        with self._lock:
            self._kept = {
                known: one
                for known, one in self._kept.items()
                if one.begun[1] > now - 2 * REFRESH_LIFETIME_S
            }
            self._kept[token] = session
        return token

    def resume(
        self, tenant_id: str, token: str, origin: str | None, claims: Mapping[str, object]
    ) -> Session:
        """Return the session of a refresh token, if it may go on. Errors: Refused."""
        with self._lock:
            session = self._kept.get(token)
        if session is None or session.tenant_id != tenant_id:
            raise Refused(
                70000, "Provided grant is invalid or malformed. The 'refresh_token' is not known."
            )
        if session.origin != origin:
            raise Refused(9002327 if origin is None else 9002326)
        if session.begun[1] + REFRESH_LIFETIME_S <= self._now():
            raise Refused(700084)
        self._directory.check_session(session.user.object_id, session.begun)
        if not is_shown(claims, session.proof):
            raise Refused(50076, claims=json.dumps({"access_token": claims}, separators=(",", ":")))
        return session
