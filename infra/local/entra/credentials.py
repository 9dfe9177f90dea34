"""How the application under test may prove itself.

Owns its secrets, certificates and federated credentials, and the managed identities of its host.
Every method is safe to use from any thread while requests are served. Does *not* check a proof
(``exchange.clients``).
"""

import base64
import hashlib
import secrets
import threading
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from infra.local import seed

TOKEN_EXCHANGE_AUDIENCE = "api://AzureADTokenExchange"


@dataclass(frozen=True, slots=True)
class FederatedCredential:
    """A token of ``issuer`` for ``subject`` and ``audience`` proves the application.

    ``issuer`` None means this tenant's own v2 issuer.
    """

    subject: str
    issuer: str | None = None
    audience: str = TOKEN_EXCHANGE_AUDIENCE


class Credentials:
    """The credentials of one application."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.identity_header = "local-identity-header"

    def reset_credentials(self) -> None:
        """Return to the seeded state: one secret, no certificate, no managed identity."""
        with self._lock:
            self._secrets: dict[str, bool] = {seed.API_CLIENT_SECRET: True}
            self._certificates: dict[str, x509.Certificate] = {}
            self._identities: dict[str, str] = {}
            self._federated: set[FederatedCredential] = set()

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
        """Make one secret, or all of them, expire (AADSTS7000222)."""
        with self._lock:
            for known in self._secrets:
                if value in (None, known):
                    self._secrets[known] = False

    def secret_state(self, value: str) -> bool | None:
        """Return whether a secret is still valid; None for an unknown one."""
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
        """Give the host a user-assigned managed identity; alone it allows nothing."""
        with self._lock:
            self._identities[client_id] = principal_id

    def principal_id(self, client_id: str) -> str | None:
        """Return the principal id of a managed identity of the host."""
        with self._lock:
            return self._identities.get(client_id)

    def add_federated_credential(self, credential: FederatedCredential) -> None:
        """Accept tokens of this kind instead of a secret.

        As at Entra, nothing is checked until a token arrives.
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
