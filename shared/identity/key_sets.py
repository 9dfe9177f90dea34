"""Entra's published key sets: fetched, bounded, and read with suspicion.

Owns where a set may come from and which of its keys are usable. Does *not* know when to ask
(``signing_keys.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from shared.identity.jws import read_base64url
from shared.strict_json import read_object
from shared.transport.channel import Channel, NotSent, Unanswered
from shared.transport.connections import USER_AGENT

_MAX_KEYS = 1000  # the page: "10-1000"
_MAX_BODY = 512 * 1024
_HEADERS = {
    "User-Agent": USER_AGENT,
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
}
_METADATA_PATHS = {
    "1.0": "/.well-known/openid-configuration",
    "2.0": "/v2.0/.well-known/openid-configuration",
}


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One published key.

    ``issuer`` is the key's own member of that name, if Entra gives one, with its ``{tenantid}``
    placeholder.
    """

    kid: str
    issuer: str | None
    public_key: RSAPublicKey


class KeysUnavailable(Exception):
    """The keys could not be fetched, or the answer holds no usable one."""


def fetch_signing_keys(
    channel: Channel,
    authority_host: str,
    tenant_id: str,
    version: str,
    *,
    timeout_s: tuple[float, float],
) -> dict[str, SigningKey]:
    """Fetch the usable keys of a tenant by way of its OpenID Connect metadata.

    ``authority_host`` is the channel's address, without a trailing slash. ``timeout_s`` is
    (connect, read) for each of the two requests; their sum bounds each request. Errors:
    KeysUnavailable, whatever goes wrong; its text repeats no upstream text.
    """
    if not authority_host.startswith("https://"):
        raise KeysUnavailable("The authority has no https address.")
    path = f"/{quote(tenant_id, safe='')}{_METADATA_PATHS[version]}"
    metadata = _get_json(channel, path, timeout_s)
    jwks_uri = metadata.get("jwks_uri")
    # Whoever serves the keys can sign in as anybody, so only the configured authority may serve
    # them. Entra's documents keep this rule: v1 points to {host}/common/discovery/keys, v2 to
    # {host}/{tenant}/discovery/v2.0/keys. A literal prefix leaves no two parsers to disagree.
    if not isinstance(jwks_uri, str) or not jwks_uri.startswith(f"{authority_host}/"):
        raise KeysUnavailable("The metadata names no key set at the authority's own address.")
    return read_signing_keys(_get_json(channel, jwks_uri.removeprefix(authority_host), timeout_s))


def read_signing_keys(key_set: Mapping[str, object]) -> dict[str, SigningKey]:
    """Read a JSON Web Key Set without the keys that are not usable for RS256.

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
        # one id for two keys: the token cannot mean either
        if keys.setdefault(key.kid, key) != key:
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
        or not 0 < len(kid) <= 256
        or len(n) > 2048
        or len(e) > 16
    ):
        raise ValueError("a member is missing, of the wrong type, or out of bounds")
    exponent, modulus = int.from_bytes(read_base64url(e)), int.from_bytes(read_base64url(n))
    if not 65537 <= exponent < 2**32 or not 2048 <= modulus.bit_length() <= 8192:
        raise ValueError("too weak, or too slow to verify with")
    return SigningKey(kid, issuer, RSAPublicNumbers(exponent, modulus).public_key())


def _get_json(channel: Channel, target: str, timeout_s: tuple[float, float]) -> dict[str, object]:
    try:
        answer = channel.exchange(
            "GET",
            target,
            _HEADERS,
            None,
            connect_s=timeout_s[0],
            total_s=sum(timeout_s),
            limit_bytes=_MAX_BODY,
        )
    except (NotSent, Unanswered) as error:
        raise KeysUnavailable(f"Entra has not answered: {error.cause}.") from error
    if answer.status != 200:
        raise KeysUnavailable(f"Entra answered {answer.status}.")
    if len(answer.body) > _MAX_BODY:
        raise KeysUnavailable("Entra's answer is too large.")
    try:
        return read_object(answer.body)
    except ValueError as error:
        raise KeysUnavailable(
            f"Entra's answer is no readable JSON object: {type(error).__name__}."
        ) from error
