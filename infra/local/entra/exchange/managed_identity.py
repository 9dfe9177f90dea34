"""The managed-identity endpoint of App Service, as the application's host has it."""

import secrets

from aiohttp import web

from infra.local.entra.answering import Answering
from infra.local.entra.directory import Directory
from infra.local.entra.keys import unverified_claims
from infra.local.entra.tokens import TokenMint


class ManagedIdentityRoute:
    """The address at which a host asks for its identity's tokens."""

    def __init__(self, directory: Directory, mint: TokenMint, answer: Answering) -> None:
        self._directory = directory
        self._mint = mint
        self._answer = answer

    def add_to(self, app: web.Application) -> None:
        """Add the address."""
        app.router.add_get("/msi/token", self._token)

    async def _token(self, request: web.Request) -> web.StreamResponse:
        """Answer as App Service does (its REST endpoint reference).

        ``expires_on`` is a text; errors are statusCode and message.
        """
        query = request.query

        def answer() -> web.Response:
            if not secrets.compare_digest(
                request.headers.get("X-IDENTITY-HEADER", "").encode(),
                self._directory.identity_header.encode(),
            ):
                return _app_service_error(401, "The X-IDENTITY-HEADER is missing or wrong.")
            if query.get("api-version") != "2019-08-01":
                return _app_service_error(400, "The api-version is not supported.")
            client_id, resource = query.get("client_id", ""), query.get("resource", "")
            principal_id = self._directory.principal_id(client_id)
            if principal_id is None:
                return _app_service_error(
                    400,
                    (
                        "No User Assigned or Delegated Managed Identity found for specified "
                        "ClientId/ResourceId/PrincipalId."
                    ),
                )
            if "://" not in resource:
                return _app_service_error(
                    500, "An unexpected error occurred while fetching the AAD Token."
                )
            token = self._mint.managed_identity_token(
                client_id, principal_id, resource, tenant_id=self._directory.tenant_ids[0]
            )
            expires_on = str(unverified_claims(token)["exp"])
            return web.json_response(
                {
                    "access_token": token,
                    "expires_on": expires_on,
                    "resource": resource,
                    "token_type": "Bearer",
                    "client_id": client_id,
                }
            )

        return await self._answer(
            request,
            "managed_identity",
            answer,
            client_id=query.get("client_id", ""),
            resource=query.get("resource", ""),
        )


def _app_service_error(status: int, message: str) -> web.Response:
    return web.json_response({"statusCode": status, "message": message}, status=status)
