"""What a sign-in grants, and the tokens that the token endpoint gives for it.

The rules are those of Microsoft's "OAuth 2.0 authorization code flow". A page redeems its code
once, from its own origin (AADSTS9002327), without a secret, with the verifier of its challenge. A
program on a desk does the same without an origin. A refresh token follows the same rule for as long
as the person's sessions live. A page (``pages``) lets the person choose who signs in and asks for
no proof: everybody here is made up. To meet a claims challenge, the person chooses again, which
stands for a second factor.
"""

import base64
import hashlib
import json
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from infra.local import seed
from infra.local.entra.directory import Directory
from infra.local.entra.errors import Refused
from infra.local.entra.keys import b64url
from infra.local.entra.sign_in.asked import Scope, proof_of, read_claims, read_scope
from infra.local.entra.sign_in.authorize import (
    AuthorizationRequest,
    RedirectUris,
    check_client,
    origin_of,
    read_request,
)
from infra.local.entra.sign_in.devices import DeviceRequest, Devices
from infra.local.entra.sign_in.sessions import Session, Sessions
from infra.local.entra.tokens import TokenMint

AUTHORIZATION_CODE: Final = "authorization_code"
REFRESH_TOKEN: Final = "refresh_token"
DEVICE_CODE: Final = ("urn:ietf:params:oauth:grant-type:device_code", "device_code")
GRANTS: Final = (AUTHORIZATION_CODE, REFRESH_TOKEN, *DEVICE_CODE)
CODE_LIFETIME_S: Final = 600.0
TOKEN_LIFETIME_S: Final = 3600.0
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


@dataclass(frozen=True, slots=True)
class _Code:
    request: AuthorizationRequest = field(repr=False)
    user: seed.User
    until: float


class SignIn:
    """The sign-ins of one simulator; safe to use from any thread.

    Everything here belongs to ``seed.PARTNER_CLIENT_ID`` and outlives a reset.
    """

    def __init__(self, directory: Directory, mint: TokenMint, now: Callable[[], float]) -> None:
        self.devices = Devices(now)
        self._sessions = Sessions(directory, now)
        self._directory = directory
        self._mint = mint
        self._now = now
        self._lock = threading.Lock()
        self._uris = RedirectUris()
        self._codes: dict[str, _Code] = {}
        self._redeemed: dict[str, float] = {}
        self.register, self.knows_origin = self._uris.register, self._uris.knows_origin

    def read(self, tenant_id: str, query: Mapping[str, str]) -> AuthorizationRequest:
        """Read a request for a code. Errors: Refused, ReturnedToClient."""
        return read_request(tenant_id, query, self._uris, self._mint.graph_audience)

    def may_return_to(self, redirect_uri: str) -> bool:
        """Say whether a browser may be sent to this address."""
        return self._uris.platform_of(redirect_uri) is not None

    def begin_device(self, tenant_id: str, form: Mapping[str, str]) -> DeviceRequest:
        """Let a program wait for somebody to sign in elsewhere. Errors: Refused."""
        check_client(tenant_id, form)
        self._read_scope(form.get("scope", ""))
        read_claims(form.get("claims", ""))
        return self.devices.begin(tenant_id, form["scope"], form.get("claims", ""))

    def find_user(self, object_id: str) -> seed.User:
        """Return the person who was chosen on a page, if they may sign in. Errors: Refused."""
        user = next((user for user in seed.USERS if user.object_id == object_id), None)
        if user is None:
            raise Refused(50034)
        self._directory.check_session(object_id, (self._mint.next_sequence(), self._now()))
        return user

    def grant(self, request: AuthorizationRequest, user: seed.User) -> dict[str, str]:
        """Sign the user in, and return what goes back to the client."""
        code, now = f"1.A{secrets.token_urlsafe(48)}", self._now()
        with self._lock:
            self._codes = {known: one for known, one in self._codes.items() if one.until > now}
            self._redeemed = {one: until for one, until in self._redeemed.items() if until > now}
            self._codes[code] = _Code(request, user, now + CODE_LIFETIME_S)
        return {"code": code, "session_state": secrets.token_hex(16)}

    def redeem(
        self, tenant_id: str, form: Mapping[str, str], origin: str | None
    ) -> dict[str, object]:
        """Return the success body of the token endpoint for one of ``GRANTS``. Errors: Refused."""
        check_client(tenant_id, form)
        if form.get("client_secret") or form.get("client_assertion"):
            raise Refused(700025)
        claims, nonce = read_claims(form.get("claims", "")), ""
        begun = self._mint.next_sequence(), self._now()
        match form["grant_type"]:
            case "authorization_code":
                _require(form, "code", "redirect_uri")
                code = self._take_code(tenant_id, form, origin)
                scope, nonce = code.request.scope, code.request.nonce
                shown = read_claims(code.request.claims)
                session = Session(tenant_id, code.user, origin, scope, proof_of(shown), begun)
            case "refresh_token":
                _require(form, "refresh_token")
                session = self._sessions.resume(tenant_id, form["refresh_token"], origin, claims)
                scope = form.get("scope") or session.scope
            case _:
                _require(form, "device_code")
                device, user = self.devices.take(tenant_id, form["device_code"])
                scope, shown = device.scope, {**claims, **read_claims(device.claims)}
                session = Session(tenant_id, user, origin, scope, proof_of(shown), begun)
        body = self._tokens(session, self._read_scope(scope), nonce)
        if form.get("client_info") == "1":
            body["client_info"] = b64url(
                json.dumps(
                    {"uid": session.user.object_id, "utid": tenant_id}, separators=(",", ":")
                ).encode()
            )
        return body

    def _read_scope(self, value: str) -> Scope:
        return read_scope(value, self._mint.graph_audience)

    def _take_code(self, tenant_id: str, form: Mapping[str, str], origin: str | None) -> _Code:
        """Use up the code, if everything fits. Errors: Refused."""
        with self._lock:
            if form["code"] in self._redeemed:
                raise Refused(54005)
            code = self._codes.get(form["code"])
            if code is None or code.request.tenant_id != tenant_id:
                raise Refused(
                    70000, "Provided grant is invalid or malformed. The 'code' is not known."
                )
            if code.until <= self._now():
                raise Refused(70008)
            _check_redemption(code.request, form, origin)
            granted = set(self._read_scope(code.request.scope).names)
            if form.get("scope") and not set(self._read_scope(form["scope"]).names) <= granted:
                raise Refused(
                    70011,
                    (
                        "The provided value for the input parameter 'scope' is not valid. It "
                        "asks for more than was authorized."
                    ),
                )
            del self._codes[form["code"]]
            self._redeemed[form["code"]] = code.until
        return code

    def _tokens(self, session: Session, asked: Scope, nonce: str) -> dict[str, object]:
        user, tenant_id, client_id = session.user, session.tenant_id, seed.PARTNER_CLIENT_ID
        names = " ".join(asked.names)
        if asked.audience is None:
            token = self._mint.user_token(
                user,
                client_id=client_id,
                scopes=names,
                tenant_id=tenant_id,
                lifetime_s=TOKEN_LIFETIME_S,
                claims=session.proof,
            )
        else:
            token = self._mint.graph_token(
                user,
                client_id=client_id,
                client_acr="0",
                audience=asked.audience,
                scopes=f"email openid profile {names}",
                tenant_id=tenant_id,
                lifetime_s=TOKEN_LIFETIME_S,
                claims=session.proof,
            )
        body: dict[str, object] = {
            "token_type": "Bearer",
            "scope": asked.spelled,
            "expires_in": int(TOKEN_LIFETIME_S),
            "ext_expires_in": int(TOKEN_LIFETIME_S),
            "access_token": token,
        }
        if asked.openid:
            body["id_token"] = self._mint.id_token(
                user,
                client_id=client_id,
                tenant_id=tenant_id,
                claims={"nonce": nonce} if nonce else {},
            )
        if asked.offline:
            body["refresh_token"] = self._sessions.keep(session)
        return body


def _check_redemption(
    request: AuthorizationRequest, form: Mapping[str, str], origin: str | None
) -> None:
    """Refuse everybody but the client that got the code. Errors: Refused."""
    if form["redirect_uri"] != request.back.redirect_uri:
        raise Refused(
            500112,
            (
                f"The reply address '{form['redirect_uri']}' does not match the reply address "
                f"'{request.back.redirect_uri}' provided when requesting Authorization code."
            ),
        )
    if origin is None and request.platform == "page":
        raise Refused(9002327)
    if origin is not None and (
        request.platform == "desk" or origin != origin_of(request.back.redirect_uri)
    ):
        raise Refused(
            9002326,
            (
                "Cross-origin token redemption is permitted only for the 'Single-Page "
                f"Application' client-type. Request origin: '{origin}'."
            ),
        )
    if not request.code_challenge:
        return
    _require(form, "code_verifier")
    if not _VERIFIER.fullmatch(form["code_verifier"]) or not secrets.compare_digest(
        _s256(form["code_verifier"]), request.code_challenge
    ):
        raise Refused(501481)


def _require(form: Mapping[str, str], *names: str) -> None:
    for name in names:
        if not form.get(name):
            raise Refused(
                900144, f"The request body must contain the following parameter: '{name}'."
            )


def _s256(verifier: str) -> str:
    return (
        base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    )
