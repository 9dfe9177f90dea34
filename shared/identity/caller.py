"""Inbound bearer tokens -> Caller: who is asking, proved.

Owns the rules for access tokens of Entra ID
(learn.microsoft.com/entra/identity-platform/access-tokens and claims-validation; RFC 6750, RFC
8725). Does *not* fetch keys (``signing_keys.py``), speak HTTP, or decide what a caller may do
beyond the allow-lists. ``jws.py`` does the cryptography.
"""

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.errors import (
    AuthorizationMalformed,
    CallerNotAllowed,
    ScopeMissing,
    TokenMissing,
    TokenRejected,
    UserTokenRequired,
)
from shared.identity.jws import is_signed_with, read_guid, read_part, read_seconds, read_text
from shared.identity.key_sets import SigningKey
from shared.identity.principal import Principal
from shared.identity.signing_keys import SigningKeys

# Entra limits groups, so an access token stays far smaller. The Functions host limits all headers
# together to 32 KiB.
MAX_TOKEN_CHARS = 16 * 1024
_MOST_PARTS = 20  # of an Authorization header
# For nbf and iat only. Entra refuses an expired assertion at the very second, so exp gets none.
_CLOCK_SKEW_S = 60
_COMPACT_JWS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# RFC 8725 3.1, 3.10: a token does not choose how it is checked.
_MISLEADING_HEADERS = frozenset({"crit", "b64", "zip", "enc", "cty", "jku", "jwk", "x5u", "x5c"})
_V1_ISSUER = "https://sts.windows.net/{}/"
_FOR_GRAPH = (
    "The token was issued for Microsoft Graph, not for this API: ask for a token for this API's "
    "own scope."
)


@dataclass(frozen=True, slots=True)
class Caller(Principal):
    """A person, proved by a validated token, and the client application that acts for them.

    ``expires_at`` is the token's end, in seconds since the epoch. ``assertion`` is the token
    itself, for the on-behalf-of exchange and nothing else; ``fingerprint`` is its SHA-256.
    """

    expires_at: float
    can_answer_challenges: bool
    assertion: str = field(repr=False)
    fingerprint: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Proof:
    """What was proved at ``proved_at`` (epoch seconds), and with which key.

    ``listed_for`` are the tenant and the token version in whose list the key stands.
    """

    caller: Caller
    proved_at: float
    key: SigningKey
    listed_for: tuple[str, str]


@dataclass(frozen=True, slots=True)
class CallerRules:
    """What a token must say to be accepted.

    ``audiences`` are compared as they are. A v1 token holds its audience as the client wrote it,
    with or without a trailing slash (optional-claims-reference), so the set lists both.
    """

    authority_host: str
    home_tenant: str
    audiences: frozenset[str]
    tenants: frozenset[str]
    clients: frozenset[str]
    required_scope: str


def read_bearer_token(authorization: str | None) -> str:
    """Return the token of an Authorization header.

    Errors: TokenMissing (none, or only other schemes), AuthorizationMalformed (a bearer token and
    more), TokenRejected (too large). The Functions host joins repeated headers with a comma, which
    no token holds. Other schemes use commas for their own parameters.
    """
    # Bounded, because the event loop reads strangers' headers.
    parts = (authorization or "").split(",", _MOST_PARTS)
    credentials = [part.strip(" \t").partition(" ") for part in parts]
    if all(scheme.lower() != "bearer" for scheme, _, _ in credentials):
        raise TokenMissing("No bearer token came with the request.")
    if len(credentials) > 1:
        raise AuthorizationMalformed(
            "Send exactly one Authorization header with exactly one token."
        )
    token = credentials[0][2].strip(" ")
    if not token:
        raise TokenMissing("The Authorization header holds no bearer token.")
    if len(token) > MAX_TOKEN_CHARS:
        raise TokenRejected("The token is too large.")
    return token


def fingerprint(token: str) -> bytes:
    """Return what a token is known by: its SHA-256. Only that very token has it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def authenticate(
    token: str, rules: CallerRules, keys: SigningKeys, now: Callable[[], float]
) -> Proof:
    """Prove the caller; ``now`` gives seconds since the epoch.

    Errors: TokenRejected, ScopeMissing, UserTokenRequired, CallerNotAllowed; UpstreamUnavailable
    where no keys can be loaded.
    """
    if not _COMPACT_JWS.fullmatch(token):
        raise TokenRejected("The token is not a signed JWT.")
    head, body, _ = token.split(".")
    kid = _check_header(read_part(head))
    unproved = read_part(body)
    tenant_id, version = _claimed_origin(unproved)
    # Entra's tenants share keys, so the keys of the home tenant prove a stranger's token, too. A
    # token that is not proved therefore never tells anybody which tenants are on the list.
    keys_tenant = tenant_id if tenant_id in rules.tenants else rules.home_tenant
    key = keys.find(keys_tenant, version, kid, _claimed_age_s(unproved, now()))
    if not is_signed_with(key.public_key, token):
        raise TokenRejected("The token's signature is not valid.")
    claims, proved_at = unproved, now()  # proved from here on
    _check_key(key, keys_tenant, version, rules)
    if claims.get("iss") != _issuer(tenant_id, version, rules):
        raise TokenRejected("The token's issuer is not the one of its tenant and version.")
    _check_times(claims, proved_at)
    _check_audience(claims, rules)
    if tenant_id not in rules.tenants:
        raise CallerNotAllowed("This tenant is not on the list of callers.")
    client_id = _check_user_token(claims, version)
    scopes = read_text(claims, "scp", "scopes").split(" ")
    if rules.required_scope not in scopes:
        raise ScopeMissing(
            f"The token lacks the scope {rules.required_scope}.",
            required_scope=rules.required_scope,
        )
    if rules.clients and client_id not in rules.clients:
        raise CallerNotAllowed("This client application is not on the list of callers.")
    capabilities = claims.get("xms_cc")
    caller = Caller(
        tenant_id=tenant_id,
        object_id=read_guid(claims, "oid"),
        client_id=client_id,
        expires_at=float(claims["exp"]),
        can_answer_challenges=isinstance(capabilities, list)
        and any(isinstance(word, str) and word.lower() == "cp1" for word in capabilities),
        assertion=token,
        fingerprint=fingerprint(token),
    )
    return Proof(caller, proved_at, key, (keys_tenant, version))


def _check_header(header: Mapping[str, Any]) -> str:
    if header.get("alg") != "RS256":
        raise TokenRejected("The token is not signed with RS256.")
    if "nonce" in header:
        # Only tokens for Microsoft Graph and its like have a nonce. Nobody but their audience can
        # check them.
        raise TokenRejected(_FOR_GRAPH)
    if not _MISLEADING_HEADERS.isdisjoint(header):
        raise TokenRejected("The token's header tells how to check it; such tokens are refused.")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.upper() not in ("JWT", "AT+JWT"):
        raise TokenRejected("The token is not of the type JWT.")
    kid = header.get("kid")
    if not isinstance(kid, str) or not 1 <= len(kid) <= 128:
        raise TokenRejected("The token does not name the key it was signed with.")
    return kid


def _claimed_origin(claims: Mapping[str, Any]) -> tuple[str, str]:
    """Return tenant and version as the token claims them.

    They decide only whose keys have to prove the token.
    """
    version = claims.get("ver")
    if version not in ("1.0", "2.0") or not isinstance(version, str):
        raise TokenRejected("The token's version is neither 1.0 nor 2.0.")
    return read_guid(claims, "tid"), version


def _claimed_age_s(claims: Mapping[str, Any], now: float) -> float:
    """Return how long ago the token was issued, as it claims.

    A claim that no token may make counts as long ago: no request waits for the key of such a token.
    """
    issued_at = claims.get("iat")
    if type(issued_at) is not int or issued_at > now + _CLOCK_SKEW_S:
        return math.inf
    return now - max(0, issued_at)


def _issuer(tenant_id: str, version: str, rules: CallerRules) -> str:
    return (
        f"{rules.authority_host}/{tenant_id}/v2.0"
        if version == "2.0"
        else _V1_ISSUER.format(tenant_id)
    )


def _check_key(key: SigningKey, tenant_id: str, version: str, rules: CallerRules) -> None:
    """Refuse a key that Entra publishes for another tenant.

    The rule is in access-tokens, "Validate the signing key issuer". The issuer of a key has the v2
    form, even if the token is v1.
    """
    issuers = (_issuer(tenant_id, version, rules), _issuer(tenant_id, "2.0", rules))
    if key.issuer is not None and key.issuer.replace("{tenantid}", tenant_id) not in issuers:
        raise TokenRejected("The token was signed with a key that does not belong to its issuer.")


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    if now >= read_seconds(claims, "exp"):
        raise TokenRejected("The token has expired.")
    if (
        now < read_seconds(claims, "nbf") - _CLOCK_SKEW_S
        or now < read_seconds(claims, "iat") - _CLOCK_SKEW_S
    ):
        raise TokenRejected("The token is not valid yet.")


def _check_audience(claims: Mapping[str, Any], rules: CallerRules) -> None:
    audience = claims.get("aud")
    if isinstance(audience, str) and audience in rules.audiences:
        return
    if audience in (
        "https://graph.microsoft.com",
        "https://graph.microsoft.com/",
        "00000003-0000-0000-c000-000000000000",
    ):
        raise TokenRejected(_FOR_GRAPH)
    if audience in ("https://apihub.azure.com", "https://apihub.azure.com/"):
        raise TokenRejected(
            "The token was issued for the connector platform: set the connector's resource "
            "URL to this API's application ID URI."
        )
    raise TokenRejected("The token was issued for another API.")


def _check_user_token(claims: Mapping[str, Any], version: str) -> str:
    """Refuse ID tokens and app-only tokens, and return the id of the client application.

    The claim of that id is azp in v2 tokens and appid in v1 tokens.
    """
    client_claim = "azp" if version == "2.0" else "appid"
    if "scp" not in claims and client_claim not in claims and claims.get("idtyp") != "app":
        # ID tokens can have roles, too: those of the user.
        raise TokenRejected(
            "This is not an access token; send an access token for this API, not an ID token."
        )
    if "scp" not in claims or claims.get("idtyp", "user") != "user":
        raise UserTokenRequired(
            "The token stands for an application; this route acts for a signed-in user."
        )
    read_text(claims, "sub", "subject")
    return read_guid(claims, client_claim)
