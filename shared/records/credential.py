"""The managed identity of this app, as the credential that Azure Storage clients take.

Owns one adapter from MSAL's managed identity to azure-core's ``TokenCredential``. Import it only
where the table is reached by managed identity: it loads MSAL.
"""

import time
from typing import Any

import msal
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from shared.entra.credentials import IdentityEndpoint


class ManagedIdentityCredential:
    """Tokens for the managed identity with this client id, or for the system-assigned one.

    Safe for threads; MSAL caches the tokens.
    """

    def __init__(self, client_id: str | None = None) -> None:
        identity = (
            msal.UserAssignedManagedIdentity(client_id=client_id)
            if client_id
            else msal.SystemAssignedManagedIdentity()
        )
        self._client = msal.ManagedIdentityClient(identity, http_client=IdentityEndpoint())

    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **kwargs: Any,
    ) -> AccessToken:
        """Get a token for the one scope given, ``https://<resource>/.default``;
        ``ClientAuthenticationError`` when there is none to be had.
        """
        del (
            tenant_id,
            enable_cae,
            kwargs,
        )  # part of the protocol, without meaning for a managed identity
        (scope,) = scopes
        try:
            answer = self._client.acquire_token_for_client(
                resource=scope.removesuffix("/.default"), claims_challenge=claims
            )
        except Exception as exc:  # requests' errors, and MSAL's when the endpoint answers nonsense
            raise ClientAuthenticationError(
                "the managed identity cannot be asked for a token"
            ) from exc
        if "access_token" not in answer:
            raise ClientAuthenticationError(
                f"the managed identity gave no token: {answer.get('error')}"
            )
        return AccessToken(answer["access_token"], int(time.time()) + int(answer["expires_in"]))
