"""What the simulated directory knows beyond its keys: people's standing, the application's
credentials, and the refusals a test has ordered.

Every method is safe to use from any thread while requests are served; no HTTP and no cryptography
of tokens here.
"""

import base64
import hashlib
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from infra.local import seed
from infra.local.entra.errors import CONDITIONAL_ACCESS_CLAIMS, REFUSALS
from infra.local.entra.refusals import Refused

TOKEN_EXCHANGE_AUDIENCE = "api://AzureADTokenExchange"
GRANTED_SCOPES = frozenset(
    {seed.GRAPH_SCOPE, "User.Read", "openid", "profile", "email", "offline_access"}
)


@dataclass(frozen=True, slots=True)
class FederatedCredential:
    """A token of ``issuer`` for ``subject`` and ``audience`` stands for the application.

    ``issuer`` None: this tenant's own v2 issuer.
    """

    subject: str
    issuer: str | None = None
    audience: str = TOKEN_EXCHANGE_AUDIENCE


@dataclass(slots=True)
class _Ordered:
    object_id: str | None
    code: int
    left: int | None
    claims: str | None


class Directory:
    """One application (the API under test) in one or more tenants.

    ``next_sequence`` numbers revocations among the tokens minted.
    """

    def __init__(
        self, now: Callable[[], float], next_sequence: Callable[[], int], tenant_ids: Iterable[str]
    ) -> None:
        self._lock = threading.RLock()
        self._now = now
        self._next_sequence = next_sequence
        self.tenant_ids = tuple(tenant_ids)
        self.identity_header = "local-identity-header"
        self.reset()

    def reset(self) -> None:
        """Return to the seeded state: everybody consents, one secret, no certificate, no managed
        identity, nothing ordered.
        """
        with self._lock:
            self._without_consent: set[str] = set()
            self._disabled: set[str] = set()
            self._demands: dict[str, str] = {}
            self._revoked: dict[str, tuple[int, float]] = {}
            self._ordered: list[_Ordered] = []
            self._secrets: dict[str, bool] = {seed.API_CLIENT_SECRET: True}
            self._certificates: dict[str, x509.Certificate] = {}
            self._identities: dict[str, str] = {}
            self._federated: set[FederatedCredential] = set()
            self.granted_scopes = GRANTED_SCOPES
            self.granted_roles: tuple[str, ...] = seed.APP_ROLES

    def tenant(self, segment: str) -> str | None:
        """Return the tenant id for the first segment of a path: a GUID or the seeded domain, or
        ``common`` for the shared endpoints.
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
        """Demand more of the user (AADSTS50076 with these claims) until an assertion shows it:

        ``mfa`` in ``amr``, or the demanded value in ``acrs``.
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
        """Refuse every assertion of the user minted before this moment (AADSTS50173); later ones
        are good.
        """
        with self._lock:
            self._revoked[user.object_id] = (self._next_sequence(), self._now())

    def check_standing(self, object_id: str, minted: tuple[int, float]) -> None:
        """Let the user of an assertion pass, minted at that (running number, time).

        Errors: Refused.
        """
        with self._lock:
            if object_id in self._disabled:
                raise Refused(50057)
            if (revoked := self._revoked.get(object_id)) and (
                minted[0] < revoked[0] if minted[0] else minted[1] <= revoked[1]
            ):
                raise Refused(50173)
            if object_id in self._without_consent:
                raise Refused(65001)

    def demand(self, object_id: str) -> str | None:
        """Return what is demanded of the user beyond a password, as claims JSON."""
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
        """Answer the user's exchanges (None: everybody's) with a row of ``REFUSALS``, ``times``
        times or until cleared. Errors: KeyError.
        """
        REFUSALS[aadsts]
        with self._lock:
            self._ordered.append(_Ordered(user.object_id if user else None, aadsts, times, claims))

    def clear_refusals(self) -> None:
        """Forget every ordered refusal."""
        with self._lock:
            self._ordered.clear()

    def take_refusal(self, object_id: str) -> Refused | None:
        """Return the refusal ordered for this user, oldest first, and count it as used."""
        with self._lock:
            for order in self._ordered:
                if order.object_id in (None, object_id):
                    if order.left is not None:
                        order.left -= 1
                        if order.left <= 0:
                            self._ordered.remove(order)
                    return Refused(order.code, claims=order.claims)
        return None

    # The application's credentials

    def set_client_secret(self, value: str) -> None:
        """Make this the only secret."""
        with self._lock:
            self._secrets = {value: True}

    def add_client_secret(self, value: str) -> None:
        """Accept this secret too, as during a rotation."""
        with self._lock:
            self._secrets[value] = True

    def remove_client_secret(self, value: str) -> None:
        """Forget a secret (AADSTS7000215 from then on)."""
        with self._lock:
            self._secrets.pop(value, None)

    def expire_secret(self, value: str | None = None) -> None:
        """Let one secret, or all of them, be past their end (AADSTS7000222)."""
        with self._lock:
            for known in self._secrets:
                if value in (None, known):
                    self._secrets[known] = False

    def secret_state(self, value: str) -> bool | None:
        """Return whether a secret is still valid; None for one that is not known."""
        with self._lock:
            return next(
                (
                    valid
                    for known, valid in self._secrets.items()
                    if secrets.compare_digest(known.encode(), value.encode())
                ),
                None,
            )

    def register_certificate(self, pem: str | bytes) -> None:
        """Accept client assertions signed with this certificate's key."""
        certificate = x509.load_pem_x509_certificate(pem.encode() if isinstance(pem, str) else pem)
        with self._lock:
            for thumbprint in _thumbprints(certificate):
                self._certificates[thumbprint] = certificate

    def remove_certificates(self) -> None:
        """Forget every registered certificate."""
        with self._lock:
            self._certificates.clear()

    def certificate(self, thumbprint: str) -> x509.Certificate | None:
        """Return the registered certificate by its base64url ``x5t`` or ``x5t#S256``."""
        with self._lock:
            return self._certificates.get(thumbprint.rstrip("="))

    def add_managed_identity(self, client_id: str, principal_id: str) -> None:
        """Give the host a user-assigned managed identity; on its own it opens nothing."""
        with self._lock:
            self._identities[client_id] = principal_id

    def principal_id(self, client_id: str) -> str | None:
        """Return the principal id of a managed identity of the host."""
        with self._lock:
            return self._identities.get(client_id)

    def add_federated_credential(self, credential: FederatedCredential) -> None:
        """Accept tokens of this kind instead of a secret.

        Nothing is checked until one arrives, as at Entra.
        """
        with self._lock:
            self._federated.add(credential)

    def clear_federated_credentials(self) -> None:
        """Forget every federated credential."""
        with self._lock:
            self._federated.clear()

    def trust_managed_identity(self, client_id: str, principal_id: str) -> None:
        """Give the host this managed identity and accept it as the application's credential."""
        self.add_managed_identity(client_id, principal_id)
        self.add_federated_credential(FederatedCredential(principal_id))

    def federated_credentials(self) -> frozenset[FederatedCredential]:
        """Return the accepted kinds."""
        with self._lock:
            return frozenset(self._federated)


def _thumbprints(certificate: x509.Certificate) -> tuple[str, str]:
    der = certificate.public_bytes(Encoding.DER)
    digests = hashlib.sha1(der, usedforsecurity=False).digest(), hashlib.sha256(der).digest()
    first, second = (base64.urlsafe_b64encode(digest).rstrip(b"=").decode() for digest in digests)
    return first, second
