"""A certificate and its private key, read from a file for MSAL.

Owns the forms of such a file. Import it only where a certificate is the credential: loading X.509
costs a worker's start some 25 ms.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from shared.errors import Misconfigured


def read_certificate(path: Path, password: str | None) -> tuple[dict[str, str], bytes]:
    """Return the key and the certificate of a PFX or PEM file, as MSAL takes them.

    A fingerprint of the file comes with them. Without a thumbprint MSAL signs PS256 and sends
    x5t#S256 (msal 1.35 and later); with one it would fall back to SHA-1. Errors: Misconfigured.
    """
    try:
        raw = path.read_bytes()
        key, certificate = _read_pair(raw, password.encode() if password else None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Misconfigured(
            "The setting CLIENT_CERTIFICATE_PATH names a file that holds no readable private "
            "key and certificate."
        ) from error
    pair = {
        "private_key": key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ).decode(),
        "public_certificate": certificate.public_bytes(Encoding.PEM).decode(),
    }
    return pair, hashlib.sha256(raw + b"\0" + (password or "").encode()).digest()


def _read_pair(raw: bytes, password: bytes | None) -> tuple[RSAPrivateKey, x509.Certificate]:
    if b"-----BEGIN" in raw:
        return _pair(load_pem_private_key(raw, password), x509.load_pem_x509_certificates(raw))
    key, certificate, others = pkcs12.load_key_and_certificates(raw, password)
    return _pair(key, [certificate, *others])


def _pair(
    key: object, certificates: Sequence[x509.Certificate | None]
) -> tuple[RSAPrivateKey, x509.Certificate]:
    """Return the key with its own certificate, which need not be the first of a chain."""
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("the file holds no RSA key")  # noqa: TRY004 - a wrong file, no bug of ours
    for certificate in certificates:
        if certificate is not None and certificate.public_key() == key.public_key():
            return key, certificate
    raise ValueError("the file holds no certificate of its key")
