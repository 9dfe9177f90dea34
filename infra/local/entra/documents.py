"""The metadata documents that Entra publishes:

OpenID configuration (v1 and v2), key sets, and the list of its instances. Pure.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from infra.local.entra.keys import SigningKey


def openid_configuration(
    base_url: str, issuer: str, tenant: str, version: str
) -> dict[str, object]:
    """Return a tenant's OpenID configuration.

    ``tenant`` is what stands in the addresses: a GUID or ``common``.
    """
    home, oauth = f"{base_url}/{tenant}", "oauth2/v2.0" if version == "2.0" else "oauth2"
    return {
        "token_endpoint": f"{home}/{oauth}/token",
        "token_endpoint_auth_methods_supported": [
            "client_secret_post",
            "private_key_jwt",
            "client_secret_basic",
        ],
        "jwks_uri": f"{home}/discovery/v2.0/keys" if version == "2.0" else f"{home}/discovery/keys",
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": issuer,
        "request_uri_parameter_supported": False,
        "userinfo_endpoint": "https://graph.microsoft.com/oidc/userinfo",
        "authorization_endpoint": f"{home}/{oauth}/authorize",
        "device_authorization_endpoint": f"{home}/{oauth}/devicecode",
        "http_logout_supported": True,
        "frontchannel_logout_supported": True,
        "end_session_endpoint": f"{home}/{oauth}/logout",
        "claims_supported": [
            "sub",
            "iss",
            "aud",
            "exp",
            "iat",
            "auth_time",
            "acr",
            "nonce",
            "preferred_username",
            "name",
            "tid",
            "ver",
            "email",
        ],
        "tenant_region_scope": "EU",
        "cloud_instance_name": "microsoftonline.com",
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": "graph.microsoft.com",
        "rbac_url": "https://pas.windows.net",
    }


def key_set(keys: Iterable[SigningKey], issuer: str, version: str) -> dict[str, object]:
    """Return the published keys.

    In v2 each says whose it is: ``issuer``, or its own where it speaks for one tenant only.
    """
    entries = []
    for key in keys:
        entry = key.jwk()
        if version == "2.0":
            entry |= {"cloud_instance_name": "microsoftonline.com", "issuer": key.issuer or issuer}
        entries.append(entry)
    return {"keys": entries}


def instance_metadata(base_url: str, tenant: str) -> dict[str, object]:
    """Return the answer of instance discovery: where the tenant's configuration is, and which hosts
    are one instance.
    """
    host = urlsplit(base_url).netloc
    return {
        "tenant_discovery_endpoint": f"{base_url}/{tenant}/v2.0/.well-known/openid-configuration",
        "api-version": "1.1",
        "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
    }
