"""Signing in at the Entra simulator: the authorization code flow with PKCE, for single-page
applications.

Owns the requests at ``/oauth2/v2.0/authorize``, the codes, and their redemption at the token
endpoint. The rules are those of Microsoft's "OAuth 2.0 authorization code flow": a page redeems its
code from its own origin (AADSTS9002327), without a secret, with the verifier of its challenge,
once. Who signs in is chosen on a page (``entra_sign_in_page``), not proven: everybody here is made
up. A claims challenge is met by choosing again, which stands for a second factor.
"""

import base64
import hashlib
import json
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlencode, urlsplit

from infra.local import seed
from infra.local.entra.keys import b64url
from infra.local.entra.refusals import Refused
from infra.local.entra.tokens import TokenMint

AUTHORIZATION_CODE = "authorization_code"
CODE_LIFETIME_S = 600.0
TOKEN_LIFETIME_S = 3600.0
_OIDC_SCOPES = frozenset({"openid", "profile", "email", "offline_access"})
_API_RESOURCES = frozenset({seed.API_CLIENT_ID, f"api://{seed.API_CLIENT_ID}"})
_API_SCOPES = {scope.lower(): scope for scope in (seed.REQUIRED_SCOPE, ".default")}
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A request for a code that may be granted.

    ``claims`` is what it asks of the token, as JSON; ``login_hint`` the person the page expects.
    """

    tenant_id: str
    client_id: str
    redirect_uri: str
    scope: str
    code_challenge: str
    state: str
    nonce: str
    response_mode: Literal["query", "fragment"]
    claims: str
    login_hint: str

    @property
    def is_challenge(self) -> bool:
        """Whether more than a password is asked for."""
        return _is_challenge(_read_claims(self.claims))

    def answer_with(self, **members: str) -> str:
        """Return the address that the browser is sent back to."""
        return _answer_address(self.redirect_uri, self.response_mode, self.state, members)


class ReturnedToPage(Exception):
    """The request is refused, and its page is told so:

    ``location_of`` makes the address to which the browser takes these members.
    """

    def __init__(self, refused: Refused, location_of: Callable[[Mapping[str, str]], str]) -> None:
        super().__init__(refused.code)
        self.refused = refused
        self.location_of = location_of


@dataclass(frozen=True, slots=True)
class _Granted:
    request: AuthorizationRequest = field(repr=False)
    user: seed.User
    until: float


class SignIn:
    """The sign-ins of one simulator; safe to use from any thread.

    Registered redirect URIs are those of ``seed.PARTNER_CLIENT_ID``.
    """

    def __init__(self, mint: TokenMint, now: Callable[[], float]) -> None:
        self._mint = mint
        self._now = now
        self._lock = threading.Lock()
        self._redirect_uris: set[str] = set()
        self._codes: dict[str, _Granted] = {}
        self._redeemed: dict[str, float] = {}

    def register(self, redirect_uri: str) -> None:
        """Accept this redirect URI of the partner's single-page application; it outlives a reset."""
        with self._lock:
            self._redirect_uris.add(redirect_uri)

    def knows_origin(self, origin: str | None) -> bool:
        """Say whether pages of this origin may redeem codes here."""
        with self._lock:
            return origin in {_origin_of(uri) for uri in self._redirect_uris}

    def read(self, tenant_id: str, query: Mapping[str, str]) -> AuthorizationRequest:
        """Read a request for a code.

        Errors: Refused before it is certain where the answer may go, ReturnedToPage after that.
        """
        client_id, redirect_uri = query.get("client_id", ""), query.get("redirect_uri", "")
        if not client_id:
            raise Refused(
                900144, "The request body must contain the following parameter: 'client_id'."
            )
        if client_id.lower() != seed.PARTNER_CLIENT_ID:
            raise Refused(
                700016,
                f"Application with identifier '{client_id}' was not found in the directory '{tenant_id}'.",
            )
        with self._lock:
            registered = redirect_uri in self._redirect_uris
        if not registered:
            raise Refused(
                50011,
                f"The redirect URI '{redirect_uri}' specified in the request does not match the redirect URIs configured for the application '{client_id}'.",
            )
        mode, state = query.get("response_mode", "query"), query.get("state", "")
        try:
            return self._read_rest(tenant_id, redirect_uri, query)
        except Refused as refused:
            raise ReturnedToPage(
                refused, lambda members: _answer_address(redirect_uri, mode, state, members)
            ) from refused

    def _read_rest(
        self, tenant_id: str, redirect_uri: str, query: Mapping[str, str]
    ) -> AuthorizationRequest:
        if (wanted := query.get("response_type", "")) != "code":
            raise Refused(
                700054, f"The response_type '{wanted}' is not enabled for the application."
            )
        mode = query.get("response_mode", "query")
        if mode not in ("query", "fragment"):
            raise Refused(
                9002313, f"Invalid request. The response_mode '{mode}' is not supported here."
            )
        if not query.get("code_challenge"):
            raise Refused(9002325)
        if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(
            query["code_challenge"]
        ):
            raise Refused(
                9002313,
                "Invalid request. The code_challenge must be the base64url of a SHA-256, and code_challenge_method 'S256'.",
            )
        _check_scope(query.get("scope", ""))
        _read_claims(query.get("claims", ""))
        if query.get("prompt") == "none":
            raise Refused(50058)
        return AuthorizationRequest(
            tenant_id=tenant_id,
            client_id=seed.PARTNER_CLIENT_ID,
            redirect_uri=redirect_uri,
            scope=query["scope"],
            code_challenge=query["code_challenge"],
            state=query.get("state", ""),
            nonce=query.get("nonce", ""),
            response_mode="fragment" if mode == "fragment" else "query",
            claims=query.get("claims", ""),
            login_hint=query.get("login_hint", ""),
        )

    def grant(self, request: AuthorizationRequest, user: seed.User) -> str:
        """Sign the user in and return the address that takes the code to the page."""
        code, now = f"1.A{secrets.token_urlsafe(48)}", self._now()
        with self._lock:
            self._codes = {
                known: granted for known, granted in self._codes.items() if granted.until > now
            }
            self._redeemed = {
                known: until for known, until in self._redeemed.items() if until > now
            }
            self._codes[code] = _Granted(request, user, now + CODE_LIFETIME_S)
        return request.answer_with(code=code, session_state=secrets.token_hex(16))

    def redeem(
        self, tenant_id: str, form: Mapping[str, str], origin: str | None
    ) -> dict[str, object]:
        """Return the success body of the token endpoint for a code. Errors: Refused."""
        for name in ("client_id", "code", "redirect_uri", "code_verifier"):
            if not form.get(name):
                raise Refused(
                    900144, f"The request body must contain the following parameter: '{name}'."
                )
        if form["client_id"].lower() != seed.PARTNER_CLIENT_ID:
            raise Refused(
                700016,
                f"Application with identifier '{form['client_id']}' was not found in the directory '{tenant_id}'.",
            )
        if form.get("client_secret") or form.get("client_assertion"):
            raise Refused(700025)
        if origin is None:
            raise Refused(9002327)
        granted = self._take(tenant_id, form, origin)
        return self._tokens(granted, wants_client_info=form.get("client_info") == "1")

    def _take(self, tenant_id: str, form: Mapping[str, str], origin: str) -> _Granted:
        """Take the code out of use, if everything fits. Errors: Refused."""
        with self._lock:
            if form["code"] in self._redeemed:
                raise Refused(54005)
            granted = self._codes.get(form["code"])
            if granted is None or granted.request.tenant_id != tenant_id:
                raise Refused(
                    70000, "Provided grant is invalid or malformed. The 'code' is not known."
                )
            if granted.until <= self._now():
                raise Refused(70008)
            request = granted.request
            if form["redirect_uri"] != request.redirect_uri:
                raise Refused(
                    500112,
                    f"The reply address '{form['redirect_uri']}' does not match the reply address '{request.redirect_uri}' provided when requesting Authorization code.",
                )
            if origin != _origin_of(request.redirect_uri):
                raise Refused(
                    9002326,
                    f"Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type. Request origin: '{origin}'.",
                )
            if not _VERIFIER.fullmatch(form["code_verifier"]) or not secrets.compare_digest(
                _s256(form["code_verifier"]), request.code_challenge
            ):
                raise Refused(501481)
            if not set(form.get("scope", "").lower().split()) <= set(request.scope.lower().split()):
                raise Refused(
                    70011,
                    "The provided value for the input parameter 'scope' is not valid. It asks for more than was authorized.",
                )
            del self._codes[form["code"]]
            self._redeemed[form["code"]] = granted.until
        return granted

    def _tokens(self, granted: _Granted, *, wants_client_info: bool) -> dict[str, object]:
        request, user = granted.request, granted.user
        body: dict[str, object] = {
            "token_type": "Bearer",
            "scope": f"api://{seed.API_CLIENT_ID}/{seed.REQUIRED_SCOPE}",
            "expires_in": int(TOKEN_LIFETIME_S),
            "ext_expires_in": int(TOKEN_LIFETIME_S),
            "access_token": self._mint.user_token(
                user,
                client_id=request.client_id,
                tenant_id=request.tenant_id,
                lifetime_s=TOKEN_LIFETIME_S,
                claims=_proof_of(_read_claims(request.claims)),
            ),
        }
        if "openid" in request.scope.split():
            nonce = {"nonce": request.nonce} if request.nonce else {}
            body["id_token"] = self._mint.id_token(
                user, client_id=request.client_id, tenant_id=request.tenant_id, claims=nonce
            )
        if wants_client_info:
            body["client_info"] = b64url(
                json.dumps(
                    {"uid": user.object_id, "utid": request.tenant_id}, separators=(",", ":")
                ).encode()
            )
        return body


def _answer_address(redirect_uri: str, mode: str, state: str, members: Mapping[str, str]) -> str:
    named = {**members, **({"state": state} if state else {})}
    separator = "#" if mode == "fragment" else "&" if urlsplit(redirect_uri).query else "?"
    return f"{redirect_uri}{separator}{urlencode(named)}"


def _origin_of(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def _check_scope(value: str) -> None:
    """Refuse scopes that are not this API's. Errors: Refused."""
    named_api = False
    for word in value.split():
        resource, slash, scope = word.rpartition("/")
        if not slash and word.lower() in _OIDC_SCOPES:
            continue
        if resource.lower() not in _API_RESOURCES:
            raise Refused(
                500011,
                f"The resource principal named {resource or word} was not found in the tenant.",
            )
        if scope.lower() not in _API_SCOPES:
            raise Refused(
                650053,
                f"The application asked for scope '{scope}' that doesn't exist on the resource '{seed.API_CLIENT_ID}'.",
            )
        named_api = True
    if not named_api:
        raise Refused(
            70011,
            "The provided value for the input parameter 'scope' is not valid. It names no scope of the API.",
        )


def _read_claims(claims: str) -> dict[str, object]:
    """Return the access-token part of a claims request; empty where none is made.

    Errors: Refused when it is not what OpenID Connect describes.
    """
    if not claims:
        return {}
    try:
        parsed = json.loads(claims)
    except (ValueError, RecursionError) as error:
        raise Refused(
            9002313, "Invalid request. The 'claims' parameter is not valid JSON."
        ) from error
    part = parsed.get("access_token") if isinstance(parsed, dict) else None
    if not isinstance(part, dict):
        raise Refused(
            9002313, "Invalid request. The 'claims' parameter asks nothing of the access token."
        )
    return part


def _proof_of(requested: Mapping[str, object]) -> dict[str, object]:
    """Return what a token shows for what was requested: that its client can answer challenges, a
    second factor, and the authentication contexts asked for.
    """
    proof: dict[str, object] = {}
    if "cp1" in {value.lower() for value in _values(requested.get("xms_cc"))}:
        proof["xms_cc"] = ["CP1"]
    if _is_challenge(requested):
        proof["amr"] = ["pwd", "mfa"]
    if contexts := _values(requested.get("acrs")):
        proof["acrs"] = contexts
    return proof


def _is_challenge(requested: Mapping[str, object]) -> bool:
    """Say whether the person has to do more than choose: a client that merely names its capability
    asks for nothing.
    """
    return bool(requested.keys() - {"xms_cc"})


def _values(wanted: object) -> list[str]:
    """Return the values of one claim of a claims request (``value`` or ``values``)."""
    if not isinstance(wanted, dict):
        return []
    values = wanted.get("values") or [wanted.get("value")]
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _s256(verifier: str) -> str:
    return (
        base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    )
