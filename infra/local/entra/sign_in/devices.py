"""Device codes: what a program without a browser shows, and what became of it.

The rules are those of Microsoft's "OAuth 2.0 device authorization grant". Does *not* make tokens.
"""

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from infra.local import seed
from infra.local.entra.errors import Refused

DEVICE_CODE_LIFETIME_S: Final = 900.0
_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ23456789"


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """A program that waits for somebody.

    ``user`` has approved; ``declined`` says that nobody will.
    """

    tenant_id: str
    scope: str
    claims: str
    user_code: str
    until: float
    device_code: str = field(repr=False)
    user: seed.User | None = None
    declined: bool = False


class Devices:
    """The programs that wait; safe to use from any thread.

    ``interval_s`` is how often they ask.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.interval_s = 5
        self._now = now
        self._lock = threading.Lock()
        self._waiting: dict[str, DeviceRequest] = {}

    def begin(self, tenant_id: str, scope: str, claims: str) -> DeviceRequest:
        """Give a program its codes."""
        user_code = "".join(secrets.choice(_LETTERS) for _ in range(9))
        now = self._now()
        begun = DeviceRequest(
            tenant_id,
            scope,
            claims,
            user_code,
            now + DEVICE_CODE_LIFETIME_S,
            f"BAQAB{secrets.token_urlsafe(48)}",
        )
        with self._lock:
            kept = {  # kept a while longer, so that a late question learns that it is late
                code: one
                for code, one in self._waiting.items()
                if one.until > now - DEVICE_CODE_LIFETIME_S
            }
            self._waiting = {**kept, begun.device_code: begun}
        return begun

    def find(self, user_code: str) -> DeviceRequest:
        """Return the program that shows this code. Errors: Refused."""
        typed = user_code.strip().upper()
        with self._lock:
            found = next((one for one in self._waiting.values() if one.user_code == typed), None)
        if found is None or found.user is not None or found.declined:
            raise Refused(70018)
        if found.until <= self._now():
            raise Refused(70019)
        return found

    def settle(self, user_code: str, user: seed.User | None) -> DeviceRequest:
        """Sign the user in at the program; None declines. Errors: Refused."""
        found = self.find(user_code)
        settled = replace(found, user=user, declined=user is None)
        with self._lock:
            self._waiting[found.device_code] = settled
        return settled

    def take(self, tenant_id: str, device_code: str) -> tuple[DeviceRequest, seed.User]:
        """Return who approved, once. Errors: Refused, also while nobody has approved."""
        with self._lock:
            found = self._waiting.get(device_code)
            if found is None or found.tenant_id != tenant_id:
                raise Refused(
                    70000,
                    "Provided grant is invalid or malformed. The 'device_code' is not known.",
                    error="bad_verification_code",
                )
            if found.declined:
                raise Refused(
                    65004, "User declined to sign in at the device.", error="authorization_declined"
                )
            if found.until <= self._now():
                raise Refused(70020)
            if found.user is None:
                raise Refused(70016)
            del self._waiting[device_code]
        return found, found.user
