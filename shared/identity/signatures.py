"""The signatures of tokens: whether RS256 over a compact JWS was made with a key (RFC 7515 section
5.2, RFC 7518 section 3.3).

Owns the spelling of the parts and the call of the cryptography. Does *not* read header or claims:
which algorithm a token may name, and which key is asked, is ``caller.py``'s to say. PyJWT does the
same but loads X.509, PEM and six more kinds of keys with it: a tenth of a worker's start.
"""

import base64

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256


def is_signed_with(key: RSAPublicKey, token: str) -> bool:
    """Tell whether ``token``, three parts of base64url with dots between, was signed with the
    private half of ``key``.
    """
    signed, _, signature = token.rpartition(".")
    header, _, payload = signed.partition(".")
    try:
        read_base64url(header)
        read_base64url(payload)
        key.verify(read_base64url(signature), signed.encode("ascii"), PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


def read_base64url(text: str) -> bytes:
    """Return what an unpadded base64url text stands for.

    Errors: ValueError, also where it is not the one spelling of its bytes (RFC 4648 section 3.5).
    """
    decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode("ascii") != text:
        raise ValueError("not the one spelling of its bytes")
    return decoded
