"""The metadata documents that Entra publishes.

They are the OpenID configuration (v1 and v2), the key sets, and the list of Entra's instances.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web

from infra.local.entra.answering import Answering, unknown_tenant
from infra.local.entra.directory import Directory
from infra.local.entra.errors import Refused
from infra.local.entra.keys import KeyRing, SigningKey
from infra.local.entra.tokens import TokenMint


def openid_configuration(
    base_url: str, issuer: str, tenant: str, version: str
) -> dict[str, object]:
    """Return a tenant's OpenID configuration, with only what exists here.

    ``tenant`` is what the addresses hold: a GUID or ``common``.
    """
    home = f"{base_url}/{tenant}"
    document: dict[str, object] = {
        "token_endpoint_auth_methods_supported": [
            "client_secret_post",
            "private_key_jwt",
            "client_secret_basic",
        ],
        "jwks_uri": f"{home}/discovery/v2.0/keys" if version == "2.0" else f"{home}/discovery/keys",
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "issuer": issuer,
        "request_uri_parameter_supported": False,
        "claims_supported": [
            "sub",
            "iss",
            "aud",
            "exp",
            "iat",
            "nonce",
            "preferred_username",
            "name",
            "tid",
            "ver",
        ],
        "tenant_region_scope": "EU",
        "cloud_instance_name": "microsoftonline.com",
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": "graph.microsoft.com",
        "rbac_url": "https://pas.windows.net",
    }
    if version == "2.0":  # nobody here signs in by the older protocol
        document |= {
            "token_endpoint": f"{home}/oauth2/v2.0/token",
            "authorization_endpoint": f"{home}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{home}/oauth2/v2.0/devicecode",
            "end_session_endpoint": f"{home}/oauth2/v2.0/logout",
            "http_logout_supported": True,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query", "fragment", "form_post"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
        }
    return document


def key_set(keys: Iterable[SigningKey], issuer: str, version: str) -> dict[str, object]:
    """Return the published keys.

    In v2 each key names its issuer: ``issuer``, or its own if it speaks for one tenant only.
    """
    entries = []
    for key in keys:
        entry = key.jwk()
        if version == "2.0":
            entry |= {"cloud_instance_name": "microsoftonline.com", "issuer": key.issuer or issuer}
        entries.append(entry)
    return {"keys": entries}


def instance_metadata(base_url: str, tenant: str) -> dict[str, object]:
    """Return the answer of instance discovery.

    It says where the tenant's configuration is, and which hosts are one instance.
    """
    host = urlsplit(base_url).netloc
    return {
        "tenant_discovery_endpoint": f"{base_url}/{tenant}/v2.0/.well-known/openid-configuration",
        "api-version": "1.1",
        "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
    }


class DocumentRoutes:
    """The addresses of the documents."""

    def __init__(
        self, directory: Directory, mint: TokenMint, keys: KeyRing, answer: Answering
    ) -> None:
        self._directory = directory
        self._mint = mint
        self._keys = keys
        self._answer = answer

    def add_to(self, app: web.Application) -> None:
        """Add the addresses."""
        app.router.add_get("/common/discovery/instance", self._instance)
        app.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/{tenant}/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/{tenant}/discovery/v2.0/keys", self._key_set)
        app.router.add_get("/{tenant}/discovery/keys", self._key_set)

    async def _discovery(self, request: web.Request) -> web.StreamResponse:
        version = "2.0" if "/v2.0/" in request.path else "1.0"

        def answer() -> web.Response:
            tenant, issuer = self._tenant_and_issuer(request, version)
            return web.json_response(
                openid_configuration(self._mint.base_url, issuer, tenant, version)
            )

        return await self._answer(
            request, "discovery", answer, tenant=request.match_info["tenant"], version=version
        )

    async def _key_set(self, request: web.Request) -> web.StreamResponse:
        version = "2.0" if "/v2.0/" in request.path else "1.0"

        def answer() -> web.Response:
            _, issuer = self._tenant_and_issuer(request, version)
            return web.json_response(
                key_set(self._keys.published(), issuer, version),
                headers={"Cache-Control": "max-age=86400, private"},
            )

        return await self._answer(
            request, "jwks", answer, tenant=request.match_info["tenant"], version=version
        )

    async def _instance(self, request: web.Request) -> web.StreamResponse:
        def answer() -> web.Response:
            address = urlsplit(request.query.get("authorization_endpoint", ""))
            tenant = address.path.strip("/").partition("/")[0]
            if address.hostname != urlsplit(self._mint.base_url).hostname or not tenant:
                # MSAL leaves the port out.
                raise Refused(50049)
            return web.json_response(instance_metadata(self._mint.base_url, tenant))

        return await self._answer(request, "discovery", answer, tenant="common", version="1.1")

    def _tenant_and_issuer(self, request: web.Request, version: str) -> tuple[str, str]:
        segment = request.match_info["tenant"]
        tenant = self._directory.tenant(segment)
        if tenant is None:
            raise unknown_tenant(segment, "invalid_tenant")
        return tenant, self._mint.issuer("{tenantid}" if tenant == "common" else tenant, version)
