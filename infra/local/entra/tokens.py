"""The Entra simulator's keys and tokens: what it signs, and how it checks what comes back.

Claims follow Microsoft's "Access token claims reference". No HTTP here, and no policy: ``exchange``
decides who may have a token. Everything here is safe to use from any thread.
"""

import base64
import hashlib
import itertools
import json
import math
import secrets
import uuid
from collections.abc import Callable, Collection, Sequence

import jwt

from infra.local import seed
from infra.local.entra.keys import (
    Claims,
    KeyRing,
    SigningKey,
    b64url,
    encode_header,
    hash_nonce,
    signature,
)
from infra.local.graph.tokens import GraphTokenClaims, GraphTokenInvalid

GLOBAL_AUTHORITY_HOST = "https://login.microsoftonline.com"


def service_principal_id(client_id: str) -> str:
    """Return the object id of an application's service principal.

    It is made up, but always the same for one client id.
    """
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"service-principal/{client_id}"))


class TokenMint:
    """Mints and verifies tokens.

    ``base_url`` is the host in v2 issuers. v1 issuers keep ``sts_host``, as Entra's do.
    """

    def __init__(self, now: Callable[[], float], keys: KeyRing) -> None:
        self.base_url = GLOBAL_AUTHORITY_HOST
        self.sts_host = "https://sts.windows.net"
        self.graph_audience = "https://graph.microsoft.com"
        self._now = now
        self._keys = keys
        self._sequence = itertools.count(1)

    def issuer(self, tenant_id: str, version: str) -> str:
        """Return the issuer of a tenant's tokens: v1 ends in a slash, v2 in ``/v2.0``."""
        return (
            f"{self.sts_host}/{tenant_id}/"
            if version == "1.0"
            else f"{self.base_url}/{tenant_id}/v2.0"
        )

    def sign(
        self, claims: Claims, *, header: Claims | None = None, key: SigningKey | None = None
    ) -> str:
        """Sign claims with the current key, or with ``key``.

        A ``None`` in ``header`` removes that member. Its ``alg`` is used.

        If the header has a ``nonce``, the SHA-256 of it is signed. So only this mint can verify the
        token, as with Graph's tokens.
        """
        key = key or self._keys.current
        members = {"typ": "JWT", "alg": "RS256", "kid": key.kid, **(header or {})}
        members = {name: value for name, value in members.items() if value is not None}
        payload = b64url(json.dumps(claims, separators=(",", ":")).encode())
        signed = f"{encode_header(hash_nonce(members))}.{payload}".encode()
        return (
            f"{encode_header(members)}.{payload}."
            f"{b64url(signature(signed, key, str(members.get('alg', 'RS256'))))}"
        )

    def verify(self, token: str) -> dict[str, object]:
        """Return the claims of a token that one of the published keys signed.

        The caller judges time and audience. Errors: jwt.PyJWTError.
        """
        header = jwt.get_unverified_header(token)
        key = self._keys.find(str(header.get("kid")))
        if key is None:
            raise jwt.InvalidSignatureError("The key was not found.")
        if "nonce" in header:
            _, payload, sealed = token.split(".")
            token = f"{encode_header(hash_nonce(header))}.{payload}.{sealed}"
        claims = json.loads(
            jwt.PyJWS().decode_complete(token, key.public_key, algorithms=["RS256"])["payload"]
        )
        if not isinstance(claims, dict):
            raise jwt.DecodeError("The payload is not an object.")
        return claims

    def minted_at(self, claims: Claims) -> tuple[int, float]:
        """Return the running number and the exact time of a token of ours.

        A token that hides them (see ``aio``) gives 0 and ``iat``.
        """
        try:
            sequence, moment, _ = base64.urlsafe_b64decode(str(claims["aio"])).decode().split(" ")
            return int(sequence), float(moment)
        except (KeyError, ValueError):
            issued = claims.get("iat")
            return 0, float(issued) if isinstance(issued, int | float) else 0.0

    def next_sequence(self) -> int:
        """Take a running number: earlier tokens have a smaller one, later tokens a greater one."""
        return next(self._sequence)

    def user_token(
        self,
        user: seed.User = seed.ADELE,
        *,
        version: str = "2.0",
        client_id: str = seed.PARTNER_CLIENT_ID,
        audience: str | None = None,
        scopes: str | None = seed.REQUIRED_SCOPE,
        tenant_id: str = seed.TENANT_ID,
        lifetime_s: float = 3600,
        claims: Claims | None = None,
        without: Collection[str] = (),
        header: Claims | None = None,
        key: SigningKey | None = None,
    ) -> str:
        """Return an access token for this API, valid unless the last four arguments forge it.

        ``scopes=None`` leaves ``scp`` out.
        """
        members = self._user(
            user, tenant_id, version, lifetime_s, audience or _api_audience(version)
        )
        members |= _client(client_id, version, "0")
        if scopes is not None:
            members["scp"] = scopes
        return self._finish(members, claims, without, header, key)

    def id_token(
        self,
        user: seed.User = seed.ADELE,
        *,
        client_id: str = seed.API_CLIENT_ID,
        tenant_id: str = seed.TENANT_ID,
        lifetime_s: float = 3600,
        profile: bool = True,
        claims: Claims | None = None,
        without: Collection[str] = (),
        header: Claims | None = None,
        key: SigningKey | None = None,
    ) -> str:
        """Return a v2 ID token for ``client_id``: no ``scp``, no ``azp``.

        Without ``profile`` it lacks ``oid`` and the names.
        """
        members = self._user(user, tenant_id, "2.0", lifetime_s, client_id)
        dropped = () if profile else ("oid", "name", "preferred_username")
        return self._finish(members, claims, (*without, *dropped), header, key)

    def app_token(
        self,
        client_id: str = seed.PARTNER_CLIENT_ID,
        roles: Sequence[str] = ("Appointments.Cancel.All",),
        *,
        version: str = "2.0",
        audience: str | None = None,
        tenant_id: str = seed.TENANT_ID,
        lifetime_s: float = 3600,
        idtyp: bool = False,
        claims: Claims | None = None,
        without: Collection[str] = (),
        header: Claims | None = None,
        key: SigningKey | None = None,
    ) -> str:
        """Return an app-only access token for this API.

        It has ``roles`` but no ``scp``, and ``oid`` equal to ``sub``. It has ``idtyp`` only on
        request.
        """
        members = self._base(
            tenant_id, version, lifetime_s, audience or _api_audience(version)
        ) | _client(client_id, version, "1")
        principal = service_principal_id(client_id)
        members |= {"oid": principal, "sub": principal, "roles": list(roles)}
        if idtyp:
            members["idtyp"] = "app"
        return self._finish(members, claims, without, header, key)

    def managed_identity_token(
        self, client_id: str, principal_id: str, resource: str, *, tenant_id: str = seed.TENANT_ID
    ) -> str:
        """Return what a managed identity presents to ``resource``.

        Its issuer is v2; its subject is the identity's principal id.
        """
        members = self._base(tenant_id, "2.0", 86400, resource) | _client(client_id, "2.0", "2")
        return self._finish(
            members | {"oid": principal_id, "sub": principal_id, "idtyp": "app"},
            None,
            (),
            None,
            None,
        )

    def graph_token(
        self,
        user: seed.User | None = seed.ADELE,
        *,
        client_id: str = seed.API_CLIENT_ID,
        client_acr: str = "1",
        audience: str | None = None,
        scopes: str = f"email openid profile {seed.GRAPH_SCOPE} User.Read",
        roles: Sequence[str] = seed.APP_ROLES,
        tenant_id: str = seed.TENANT_ID,
        lifetime_s: float = 3600,
        claims: Claims | None = None,
        without: Collection[str] = (),
        header: Claims | None = None,
        key: SigningKey | None = None,
    ) -> str:
        """Return a v1 token for Graph with a ``nonce`` header.

        It is delegated (``scp``) for a user, and app-only (``roles``) for ``user=None``.
        """
        audience = audience or self.graph_audience
        if user is None:
            principal = service_principal_id(client_id)
            members = self._base(tenant_id, "1.0", lifetime_s, audience)
            members |= {"oid": principal, "sub": principal, "idtyp": "app", "roles": list(roles)}
        else:
            members = self._user(user, tenant_id, "1.0", lifetime_s, audience) | {
                "idtyp": "user",
                "scp": scopes,
            }
        members |= _client(client_id, "1.0", client_acr)
        return self._finish(
            members, claims, without, {"nonce": secrets.token_urlsafe(32), **(header or {})}, key
        )

    def verify_graph_token(self, token: str) -> GraphTokenClaims:
        """Return the claims by which Graph decides. Errors: GraphTokenInvalid."""
        try:
            claims = self.verify(token)
        except (jwt.PyJWTError, ValueError) as exc:
            raise GraphTokenInvalid("Access token validation failure. Invalid signature.") from exc
        tenant_id, now = str(claims.get("tid")), self._now()
        if claims.get("aud") != self.graph_audience:
            raise GraphTokenInvalid("Access token validation failure. Invalid audience.")
        if claims.get("iss") != self.issuer(tenant_id, "1.0"):
            raise GraphTokenInvalid("Access token validation failure. Invalid issuer.")
        expires, starts = claims.get("exp"), claims.get("nbf")
        if not isinstance(expires, int | float) or now >= expires:
            raise GraphTokenInvalid("Lifetime validation failed, the token is expired.")
        if not isinstance(starts, int | float) or now < int(starts):
            raise GraphTokenInvalid("Lifetime validation failed, the token is not yet valid.")
        roles = claims.get("roles")
        return GraphTokenClaims(
            object_id=str(claims.get("oid")),
            tenant_id=tenant_id,
            client_id=str(claims.get("appid")),
            scopes=frozenset(str(claims.get("scp", "")).split()),
            roles=frozenset(str(role) for role in roles)
            if isinstance(roles, list)
            else frozenset(),
            app_only="scp" not in claims,
            issued_at=self.minted_at(claims)[1],
        )

    def _base(
        self, tenant_id: str, version: str, lifetime_s: float, audience: str
    ) -> dict[str, object]:
        now = self._now()
        # In Entra's tokens ``aio`` is private to Entra. Here it holds a running number and the
        # exact time, for revocations within one second.
        aio = base64.urlsafe_b64encode(
            f"{next(self._sequence)} {now!r} {secrets.token_hex(8)}".encode()
        ).decode()
        return {
            "aud": audience,
            "iss": self.issuer(tenant_id, version),
            "iat": int(now),
            "nbf": int(now),
            "exp": math.ceil(now + lifetime_s),  # ``expires_in`` never promises more
            "aio": aio,
            "tid": tenant_id,
            "uti": secrets.token_urlsafe(16),
            "rh": f"1.A{secrets.token_urlsafe(12)}.",
            "ver": version,
        }

    def _user(
        self, user: seed.User, tenant_id: str, version: str, lifetime_s: float, audience: str
    ) -> dict[str, object]:
        members = self._base(tenant_id, version, lifetime_s, audience)
        pairwise = b64url(hashlib.sha256(f"{user.object_id}/{audience}".encode()).digest())
        members |= {"oid": user.object_id, "sub": pairwise, "name": user.name}
        if version == "1.0":
            members |= {
                "acr": "1",
                "amr": ["pwd"],
                "upn": user.username,
                "unique_name": user.username,
                "ipaddr": "203.0.113.7",
            }
        else:
            members |= {"preferred_username": user.username}
        return members

    def _finish(
        self,
        members: dict[str, object],
        claims: Claims | None,
        without: Collection[str],
        header: Claims | None,
        key: SigningKey | None,
    ) -> str:
        members = {
            name: value
            for name, value in (members | dict(claims or {})).items()
            if name not in without
        }
        key = key or self._keys.current
        legacy = {"x5t": key.kid} if members.get("ver") == "1.0" else {}
        return self.sign(members, header={**legacy, **(header or {})}, key=key)


def _api_audience(version: str) -> str:
    return f"api://{seed.API_CLIENT_ID}" if version == "1.0" else seed.API_CLIENT_ID


def _client(client_id: str, version: str, acr: str) -> dict[str, object]:
    return (
        {"appid": client_id, "appidacr": acr}
        if version == "1.0"
        else {"azp": client_id, "azpacr": acr}
    )
