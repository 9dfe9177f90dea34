"""Entra's published key sets: fetched, bounded, and read with suspicion.

Owns where a set may come from and which of its keys are usable. Does *not* know when to ask
(``signing_keys.py``).
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import requests
import urllib3
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from shared.identity.jws import read_base64url

_MAX_KEYS = 1000  # the page: "10-1000"
_MAX_BODY = 512 * 1024
_METADATA_PATHS = {
    "1.0": "/.well-known/openid-configuration",
    "2.0": "/v2.0/.well-known/openid-configuration",
}


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One published key.

    ``issuer`` is the key's own member of that name where Entra gives one, its ``{tenantid}``
    placeholder kept.
    """

    kid: str
    issuer: str | None
    public_key: RSAPublicKey


class KeysUnavailable(Exception):
    """The keys could not be fetched, or the answer holds none that is usable."""


def fetch_signing_keys(
    session: requests.Session,
    authority_host: str,
    tenant_id: str,
    version: str,
    *,
    timeout_s: tuple[float, float],
) -> dict[str, SigningKey]:
    """Fetch the usable keys of a tenant by way of its OpenID Connect metadata.

    ``authority_host`` is an address without a trailing slash; ``timeout_s`` is (connect, read) for
    each of the two requests, and twice their sum bounds the whole. Errors: KeysUnavailable, for
    whatever goes wrong; its text names no upstream text.
    """
    give_up_at = time.monotonic() + 2 * sum(timeout_s)
    if not authority_host.startswith("https://"):
        raise KeysUnavailable("The authority has no https address.")
    metadata = _get_json(
        session,
        f"{authority_host}/{quote(tenant_id, safe='')}{_METADATA_PATHS[version]}",
        timeout_s,
        give_up_at,
    )
    jwks_uri = metadata.get("jwks_uri")
    # Whoever serves the keys can sign in as anybody, so nobody but the configured authority may
    # serve them. Entra's documents satisfy this: v1
    # points to {host}/common/discovery/keys, v2 to {host}/{tenant}/discovery/v2.0/keys. A literal
    # prefix leaves no two parsers to disagree.
    if not isinstance(jwks_uri, str) or not jwks_uri.startswith(f"{authority_host}/"):
        raise KeysUnavailable("The metadata names no key set at the authority's own address.")
    return read_signing_keys(_get_json(session, jwks_uri, timeout_s, give_up_at))


def read_signing_keys(key_set: Mapping[str, object]) -> dict[str, SigningKey]:
    """Read a JSON Web Key Set, leaving out each key that is not usable for RS256.

    Errors: KeysUnavailable when none is left.
    """
    listed = key_set.get("keys")
    if not isinstance(listed, list) or len(listed) > _MAX_KEYS:
        raise KeysUnavailable("The key set is not a list of keys.")
    keys: dict[str, SigningKey] = {}
    ambiguous = set[str]()
    for jwk in listed:
        try:
            key = _read_key(jwk)
        except ValueError:
            continue
        if keys.setdefault(key.kid, key) != key:  # one id, two keys: neither can be meant
            ambiguous.add(key.kid)
    usable = {kid: key for kid, key in keys.items() if kid not in ambiguous}
    if not usable:
        raise KeysUnavailable("The key set holds no usable key.")
    return usable


def _read_key(jwk: object) -> SigningKey:
    if not isinstance(jwk, dict) or (jwk.get("kty"), jwk.get("use"), jwk.get("alg", "RS256")) != (
        "RSA",
        "sig",
        "RS256",
    ):
        raise ValueError("not an RS256 signing key")
    kid, issuer, n, e = (jwk.get(name) for name in ("kid", "issuer", "n", "e"))
    if (
        not isinstance(kid, str)
        or not isinstance(n, str)
        or not isinstance(e, str)
        or not isinstance(issuer, str | None)
    ):
        raise ValueError("a member is missing or of the wrong type")  # noqa: TRY004  # one class for all that makes a key unusable
    if not 0 < len(kid) <= 256 or len(n) > 2048 or len(e) > 16:
        raise ValueError("a member is out of bounds")
    exponent = int.from_bytes(read_base64url(e))
    if not 65537 <= exponent < 2**32:
        raise ValueError("too weak, or too slow to verify with")
    key = RSAPublicNumbers(exponent, int.from_bytes(read_base64url(n))).public_key()
    if not 2048 <= key.key_size <= 8192:
        raise ValueError("too weak, or too slow to verify with")
    return SigningKey(kid, issuer, key)


def _get_json(
    session: requests.Session, url: str, timeout_s: tuple[float, float], give_up_at: float
) -> dict[str, object]:
    body = bytearray()
    try:
        with session.get(
            url,
            headers={"Accept": "application/json"},
            timeout=timeout_s,
            allow_redirects=False,
            stream=True,
        ) as answer:
            if answer.status_code != 200:
                raise KeysUnavailable(f"Entra answered {answer.status_code}.")
            # read1 returns what has come: the read time-out alone would let a slow drip go on for
            # ever.
            while chunk := answer.raw.read1(16 * 1024, decode_content=True):
                body += chunk
                if len(body) > _MAX_BODY or time.monotonic() > give_up_at:
                    raise KeysUnavailable("Entra's answer is too large or too slow.")
        document = json.loads(body)
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        OSError,
        ValueError,
        RecursionError,
    ) as error:
        raise KeysUnavailable(f"Entra's answer cannot be read: {type(error).__name__}.") from error
    if not isinstance(document, dict):
        raise KeysUnavailable("Entra's answer is not a JSON object.")
    return document
