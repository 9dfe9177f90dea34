"""The Entra simulator's signing keys, and the signatures made with them.

The keys are made once, published as a JSON Web Key Set, and rotated on demand.
"""

import base64
import datetime
import hashlib
import hmac
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

Claims = Mapping[str, object]

_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """One RSA key with its certificate (DER); ``kid`` is the certificate's thumbprint, as at Entra.

    ``issuer`` replaces the published issuer, for a key that speaks for one tenant only.
    """

    kid: str
    private_key: rsa.RSAPrivateKey = field(repr=False)
    certificate: bytes = field(repr=False)
    issuer: str | None = None

    @property
    def public_key(self) -> rsa.RSAPublicKey:
        """The half that is published."""
        return self.private_key.public_key()

    @property
    def public_pem(self) -> bytes:
        """The published half as PEM."""
        return self.public_key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def jwk(self) -> dict[str, object]:
        """Return the JSON Web Key as Entra publishes it.

        It has no ``alg``, and ``x5t`` equal to ``kid``.
        """
        numbers = self.public_key.public_numbers()
        return {
            "kty": "RSA",
            "use": "sig",
            "kid": self.kid,
            "x5t": self.kid,
            "n": b64url(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8)),
            "e": b64url(numbers.e.to_bytes(3)),
            "x5c": [base64.b64encode(self.certificate).decode()],
        }


def make_signing_key(*, issuer: str | None = None) -> SigningKey:
    """Make a key that nobody publishes yet (RSA, 2048 bit; about 50 ms)."""
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, "accounts.accesscontrol.windows.net")]
    )
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(
        name,
        name,
        private_key.public_key(),
        x509.random_serial_number(),
        start,
        start + datetime.timedelta(days=5 * 365),
    )
    der = builder.sign(private_key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    thumbprint = hashlib.sha1(der, usedforsecurity=False).digest()
    return SigningKey(b64url(thumbprint), private_key, der, issuer)


class KeyRing:
    """The current signing key and all published keys; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current = make_signing_key()
        self._published = [self._current]

    @property
    def current(self) -> SigningKey:
        """The key that signs."""
        return self._current

    def published(self) -> list[SigningKey]:
        """Return the keys of the key set, the newest last."""
        with self._lock:
            return list(self._published)

    def find(self, kid: str) -> SigningKey | None:
        """Return the published key of that id, if there is one."""
        with self._lock:
            return next((key for key in self._published if key.kid == kid), None)

    def rotate(self, key: SigningKey | None = None, *, keep_old: bool = True) -> SigningKey:
        """Sign with ``key``, or with a new one, from now on.

        The old keys stay published if ``keep_old``.
        """
        key = key or make_signing_key()
        with self._lock:
            self._published = [*self._published, key] if keep_old else [key]
            self._current = key
        return key

    def publish(self, key: SigningKey) -> None:
        """Add a key to the key set without signing with it."""
        with self._lock:
            self._published = [*self._published, key]

    def unpublish(self, kid: str) -> None:
        """Take a key out of the key set.

        If it is the current key, it goes on signing what nobody can verify.
        """
        with self._lock:
            self._published = [key for key in self._published if key.kid != kid]


def b64url(data: bytes) -> str:
    """Encode as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign_compact(
    header: bytes, payload: bytes, key: SigningKey, *, algorithm: str = "RS256"
) -> str:
    """Sign exactly these bytes.

    So a test can write what no serializer writes (duplicate members, odd numbers). ``none`` leaves
    the signature empty. ``HS256`` and its kin use the public key (PEM) as the secret, the classical
    confusion.
    """
    signed = f"{b64url(header)}.{b64url(payload)}"
    return f"{signed}.{b64url(signature(signed.encode(), key, algorithm))}"


def signature(data: bytes, key: SigningKey, algorithm: str) -> bytes:
    """Sign by any algorithm that a forger might name; an unknown one counts as RS256."""
    family, digest = algorithm[:2].upper(), _HASHES.get(algorithm[2:], _HASHES["256"])
    if algorithm.lower() == "none":
        return b""
    if family == "HS":
        return hmac.digest(key.public_pem, data, digest.name)
    if family == "PS":
        return key.private_key.sign(
            data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest
        )
    return key.private_key.sign(data, padding.PKCS1v15(), digest)


def unverified_claims(token: str) -> dict[str, object]:
    """Return the claims of a token without any check, or nothing if it cannot be read.

    For routing and logging only.
    """
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def encode_header(members: Claims) -> str:
    """Serialize a header as this simulator writes it: members in order, no blanks."""
    return b64url(json.dumps(members, separators=(",", ":")).encode())


def hash_nonce(members: Claims) -> dict[str, object]:
    """Replace a ``nonce`` by its SHA-256.

    Entra signs a header with the hash and sends the header with the plain nonce.
    """
    if "nonce" not in members:
        return dict(members)
    return {**members, "nonce": b64url(hashlib.sha256(str(members["nonce"]).encode()).digest())}
