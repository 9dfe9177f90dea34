"""What the simulated directory knows of people: their standing, and refusals that a test orders.

The application's credentials are in ``credentials``. Every method is safe to use from any thread
while requests are served. No HTTP here, and no cryptography of tokens.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from infra.local import seed
from infra.local.entra.credentials import Credentials
from infra.local.entra.errors import CONDITIONAL_ACCESS_CLAIMS, REFUSALS, Refused

GRANTED_SCOPES = frozenset(
    {seed.GRAPH_SCOPE, "User.Read", "openid", "profile", "email", "offline_access"}
)


@dataclass(slots=True)
class _Ordered:
    object_id: str | None
    code: int
    left: int | None
    claims: str | None


class Directory(Credentials):
    """One application (the API under test) in one or more tenants.

    ``next_sequence`` numbers revocations among the tokens minted.
    """

    def __init__(
        self, now: Callable[[], float], next_sequence: Callable[[], int], tenant_ids: Iterable[str]
    ) -> None:
        super().__init__()
        self._now = now
        self._next_sequence = next_sequence
        self.tenant_ids = tuple(tenant_ids)
        self.reset()

    def reset(self) -> None:
        """Return to the seeded state.

        Everybody consents; there is one secret, no certificate, no managed identity and no ordered
        refusal.
        """
        with self._lock:
            self._without_consent: set[str] = set()
            self._disabled: set[str] = set()
            self._demands: dict[str, str] = {}
            self._revoked: dict[str, tuple[int, float]] = {}
            self._ordered: list[_Ordered] = []
            self.reset_credentials()
            self.granted_scopes = GRANTED_SCOPES
            self.granted_roles: tuple[str, ...] = seed.APP_ROLES

    def tenant(self, segment: str) -> str | None:
        """Return the tenant id for the first segment of a path.

        The segment is a GUID, the seeded domain, or ``common`` for the shared endpoints.
        """
        segment = segment.lower()
        if segment in ("common", "organizations"):
            return "common"
        if segment == seed.ADELE.username.partition("@")[2].lower():
            return self.tenant_ids[0]
        return segment if segment in self.tenant_ids else None

    # People

    def revoke_consent(self, user: seed.User) -> None:
        """Take back the user's consent to this application's use of Graph (AADSTS65001)."""
        with self._lock:
            self._without_consent.add(user.object_id)

    def grant_consent(self, user: seed.User) -> None:
        """Consent again."""
        with self._lock:
            self._without_consent.discard(user.object_id)

    def require_mfa(self, user: seed.User, claims_json: str | None = None) -> None:
        """Demand more of the user (AADSTS50076 with these claims) until an assertion shows it.

        It shows ``mfa`` in ``amr``, or the demanded value in ``acrs``.
        """
        with self._lock:
            self._demands[user.object_id] = claims_json or CONDITIONAL_ACCESS_CLAIMS

    def clear_mfa(self, user: seed.User) -> None:
        """Drop that demand."""
        with self._lock:
            self._demands.pop(user.object_id, None)

    def disable_user(self, user: seed.User) -> None:
        """Disable the account (AADSTS50057)."""
        with self._lock:
            self._disabled.add(user.object_id)

    def enable_user(self, user: seed.User) -> None:
        """Enable it again."""
        with self._lock:
            self._disabled.discard(user.object_id)

    def revoke_sessions(self, user: seed.User) -> None:
        """Refuse every earlier assertion of the user (AADSTS50173), but no later one."""
        with self._lock:
            self._revoked[user.object_id] = (self._next_sequence(), self._now())

    def check_session(self, object_id: str, minted: tuple[int, float]) -> None:
        """Check that a session of the user may go on. Errors: Refused.

        It began at that (running number, time).
        """
        with self._lock:
            if object_id in self._disabled:
                raise Refused(50057)
            if (revoked := self._revoked.get(object_id)) and (
                minted[0] < revoked[0] if minted[0] else minted[1] <= revoked[1]
            ):
                raise Refused(50173)

    def check_standing(self, object_id: str, minted: tuple[int, float]) -> None:
        """Check that the user of an assertion may have a token. Errors: Refused.

        The assertion was minted at that (running number, time).
        """
        with self._lock:
            self.check_session(object_id, minted)
            if object_id in self._without_consent:
                raise Refused(65001)

    def demand(self, object_id: str) -> str | None:
        """Return what the directory demands of the user beyond a password, as claims JSON."""
        with self._lock:
            return self._demands.get(object_id)

    # Refusals to order

    def refuse(
        self,
        user: seed.User | None,
        aadsts: int,
        *,
        times: int | None = None,
        claims: str | None = None,
    ) -> None:
        """Answer the user's exchanges with a row of ``REFUSALS``. Errors: KeyError.

        It happens ``times`` times, or until cleared. A user of None means everybody.
        """
        REFUSALS[aadsts]
        with self._lock:
            self._ordered.append(_Ordered(user.object_id if user else None, aadsts, times, claims))

    def clear_refusals(self) -> None:
        """Forget every ordered refusal."""
        with self._lock:
            self._ordered.clear()

    def take_refusal(self, object_id: str) -> Refused | None:
        """Return the oldest refusal that is ordered for this user, and count it as used."""
        with self._lock:
            for order in self._ordered:
                if order.object_id in (None, object_id):
                    if order.left is not None:
                        order.left -= 1
                        if order.left <= 0:
                            self._ordered.remove(order)
                    return Refused(order.code, claims=order.claims)
        return None
