"""How this service proves itself to Entra: managed identity, certificate or secret -> what MSAL takes.

Owns reading and re-reading the credential. Does *not* exchange tokens. Secrets hide in ``repr``.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msal
import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key, pkcs12

from shared.errors import Misconfigured
from shared.settings import Settings

_EXCHANGE_AUDIENCE = "api://AzureADTokenExchange"  # the audience of a federated identity credential, the same in every cloud that has Bookings but US Government's
_EXCHANGE_AUDIENCE_US = "api://AzureADTokenExchangeUSGov"


@dataclass(frozen=True, slots=True)
class Credential:
    """What MSAL takes as ``client_credential``, and a fingerprint that changes exactly when the credential does."""

    for_msal: Any = field(repr=False)
    fingerprint: bytes = field(repr=False)


def load_credential(settings: Settings, identity_session: requests.Session) -> Credential:
    """Return the credential that the settings name; reads the certificate file anew each time.

    ``identity_session`` reaches the managed identity endpoint of the platform. Errors: Misconfigured, naming the setting at fault.
    """
    if settings.client_secret is not None:
        secret = settings.client_secret.get_secret_value()
        return Credential(secret, hashlib.sha256(secret.encode()).digest())
    if settings.client_certificate_path is not None:
        password = settings.client_certificate_password
        return _certificate(settings.client_certificate_path, password.get_secret_value() if password else None)
    if settings.managed_identity_client_id is not None:
        audience = _EXCHANGE_AUDIENCE if settings.cloud == "global" else _EXCHANGE_AUDIENCE_US
        assertion = managed_identity_token(settings.managed_identity_client_id, audience, identity_session)
        return Credential({"client_assertion": assertion}, settings.managed_identity_client_id.encode())
    raise Misconfigured("No credential is set.")


def managed_identity_token(client_id: str, resource: str, session: requests.Session) -> Callable[[], str]:
    """Return a function that gives a token of the user-assigned managed identity for ``resource``; MSAL caches and renews it.

    The function raises Misconfigured when the platform gives none: App Service answers every failure alike (msal/managed_identity.py).
    """
    client = msal.ManagedIdentityClient(msal.UserAssignedManagedIdentity(client_id=client_id), http_client=_IdentityEndpoint(session))

    def token() -> str:
        try:
            answer = client.acquire_token_for_client(resource=resource)
        except Exception as error:
            raise Misconfigured(
                "The managed identity endpoint could not be used; check MANAGED_IDENTITY_CLIENT_ID and that the identity is assigned."
            ) from error
        if "access_token" not in answer:
            raise Misconfigured(
                "The platform gave no token for the managed identity; check MANAGED_IDENTITY_CLIENT_ID and that the identity is assigned."
            )
        return str(answer["access_token"])

    return token


def _certificate(path: Path, password: str | None) -> Credential:
    """Read a PFX or PEM file that holds the private key and its certificate.

    Without a thumbprint MSAL signs PS256 and sends x5t#S256 (msal 1.35 and later); with one it would fall back to SHA-1.
    """
    try:
        raw = path.read_bytes()
        key, certificate = _read_pair(raw, password.encode() if password else None)
    except (OSError, ValueError, TypeError) as error:
        raise Misconfigured(
            "The setting CLIENT_CERTIFICATE_PATH names a file that holds no readable private key and certificate."
        ) from error
    pair = {
        "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "public_certificate": certificate.public_bytes(Encoding.PEM).decode(),
    }
    return Credential(pair, hashlib.sha256(raw + b"\0" + (password or "").encode()).digest())


def _read_pair(raw: bytes, password: bytes | None) -> tuple[RSAPrivateKey, x509.Certificate]:
    if b"-----BEGIN" in raw:
        return _require_rsa(load_pem_private_key(raw, password)), x509.load_pem_x509_certificate(raw)
    key, certificate, _ = pkcs12.load_key_and_certificates(raw, password)
    if certificate is None:
        raise ValueError("the file holds no certificate")
    return _require_rsa(key), certificate


def _require_rsa(key: object) -> RSAPrivateKey:
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("the file holds no RSA key")  # noqa: TRY004 - a wrong file, not a wrong type in our code
    return key


class _IdentityEndpoint:
    """The HTTP client for the platform's identity endpoint: with time-outs, without redirects; MSAL sets none."""

    def __init__(self, session: requests.Session) -> None:
        self._session = session

    def get(self, url: str, **request: Any) -> requests.Response:
        """Ask the endpoint."""
        return self._session.get(url, **{**request, "timeout": (2.0, 5.0), "allow_redirects": False})

    def post(self, url: str, **request: Any) -> requests.Response:
        """Ask the endpoint, for platforms that want POST."""
        return self._session.post(url, **{**request, "timeout": (2.0, 5.0), "allow_redirects": False})

    def close(self) -> None:
        """Do nothing: the session belongs to the composition root."""
