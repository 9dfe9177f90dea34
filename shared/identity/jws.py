"""A signed token taken apart: its parts, its claims by type, and its RS256 signature.

Owns how the parts are spelled, and the call of the cryptography (RFC 7515 section 5.2, RFC 7518
section 3.3). Does *not* say which algorithm a token may name, which key to ask, or what a claim has
to be: ``caller.py`` does. PyJWT would do the same, but it loads X.509, PEM and six more kinds of
keys, which takes a tenth of a worker's start.
"""

import base64
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from shared.errors import TokenRejected
from shared.strict_json import read_object


def is_signed_with(key: RSAPublicKey, token: str) -> bool:
    """Tell whether the private half of ``key`` signed ``token``.

    ``token`` is three parts of base64url with dots between them.
    """
    signed, _, signature = token.rpartition(".")
    try:
        key.verify(read_base64url(signature), signed.encode("ascii"), PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


def read_base64url(text: str) -> bytes:
    """Return the bytes of an unpadded base64url text.

    Errors: ValueError, also for a second spelling of the same bytes (RFC 4648 section 3.5).
    """
    decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode("ascii") != text:
        raise ValueError("not the one spelling of its bytes")
    return decoded


def read_part(segment: str) -> Mapping[str, Any]:
    """Read one part of a JWT strictly: no duplicate members (RFC 8725 2.4), no NaN, only an object.

    Errors: TokenRejected.
    """
    try:
        return read_object(read_base64url(segment).decode("utf-8"))
    except ValueError:
        raise TokenRejected("The token is not a readable JWT.") from None


def read_text(claims: Mapping[str, Any], claim: str, meaning: str) -> str:
    """Return a claim that is a text. Errors: TokenRejected; ``meaning`` names it in words."""
    value = claims.get(claim)
    if not isinstance(value, str) or not value:
        raise TokenRejected(f"The token's {meaning} ({claim}) is missing or not a text.")
    return value


def read_guid(claims: Mapping[str, Any], claim: str) -> str:
    """Return a claim that is a GUID, in lower case. Errors: TokenRejected."""
    value = claims.get(claim)
    try:
        if isinstance(value, str) and str(UUID(value)) == value.lower():
            return value.lower()
    except ValueError:
        pass
    raise TokenRejected(f"The token's claim {claim} is missing or not a GUID.")


def read_seconds(claims: Mapping[str, Any], claim: str) -> int:
    """Return a claim that is a time in seconds since the epoch. Errors: TokenRejected."""
    value = claims.get(claim)
    if type(value) is not int or not 0 <= value < 2**40:
        raise TokenRejected(f"The token's time {claim} is missing or not a number of seconds.")
    return value
