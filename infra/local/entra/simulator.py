"""A simulator of Microsoft Entra ID over HTTP: discovery, key sets, the token endpoint, and App
Service's managed-identity endpoint.

It verifies what Entra verifies and words its answers as Entra does, for one API in one or more
tenants. A page signs people in at ``/authorize``; a developer may also ask ``POST /_local/token``
for a user's token. State is changed from any thread while requests are served. The parts:
the modules beside this one, and ``sign_in``.
"""

import re
import secrets
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

from infra.local import seed
from infra.local.entra.directory import Directory
from infra.local.entra.documents import instance_metadata, key_set, openid_configuration
from infra.local.entra.errors import Refused, say_refusal
from infra.local.entra.keys import KeyRing, SigningKey, make_signing_key, unverified_claims
from infra.local.entra.local import add_developer_routes
from infra.local.entra.obo import ON_BEHALF_OF, TokenEndpoint
from infra.local.entra.sign_in.grants import GRANTS, SignIn
from infra.local.entra.sign_in.routes import SignInRoutes, read_form
from infra.local.entra.tokens import TokenMint
from infra.local.faults import Faults, play
from infra.local.page_access import allow_origin, is_preflight, local_pages_only

__all__ = ["EntraSimulator", "Received", "SigningKey", "make_signing_key"]

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_DOCUMENT = re.compile(r"/(\.well-known|discovery)/")
_NO_STORE = {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"}


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came in.

    ``headers`` are found in any case; ``path`` is without the query; ``at`` in seconds since 1970.
    """

    method: str
    path: str
    headers: CIMultiDictProxy[str] = field(repr=False)
    form: dict[str, str] = field(repr=False)
    at: float


class EntraSimulator(Directory):
    """Entra ID for one API; ``Directory`` says what can be changed about users and credentials,
    ``TokenMint`` what the tokens are.

    Faults have the steps ``discovery`` and ``jwks`` (match: tenant, version), ``token`` (match:
    user, the object id in the assertion; grant, the ``grant_type`` as sent; tenant; client_id) and
    ``managed_identity`` (match: client_id, resource). ``page_origins`` are the web pages that may
    use ``/_local``, ``sign_in`` knows those that may sign people in; both outlive a reset.
    """

    def __init__(
        self, *, now: Callable[[], float] = time.time, tenant_ids: Iterable[str] = (seed.TENANT_ID,)
    ) -> None:
        self.faults = Faults()
        self.keys = KeyRing()
        self._mint = mint = TokenMint(now, self.keys)
        self._received: list[Received] = []
        self._exchanges = 0
        self._record_lock = threading.Lock()
        super().__init__(now, mint.next_sequence, tenant_ids)
        self.endpoint = TokenEndpoint(self, mint, now)
        self.sign_in = SignIn(self, mint, now)
        self.page_origins: frozenset[str] = frozenset()
        self.user_token, self.id_token, self.app_token = (
            mint.user_token,
            mint.id_token,
            mint.app_token,
        )
        self.graph_token, self.verify_graph_token = mint.graph_token, mint.verify_graph_token
        self.rotate_keys, self.publish, self.unpublish = (
            self.keys.rotate,
            self.keys.publish,
            self.keys.unpublish,
        )

    @property
    def base_url(self) -> str:
        """The address this simulator is known by, without a trailing slash: in documents, and in
        the issuer of v2 tokens.
        """
        return self._mint.base_url

    @base_url.setter
    def base_url(self, value: str) -> None:
        self._mint.base_url = value.rstrip("/")

    @property
    def graph_audience(self) -> str:
        """The audience of tokens for Graph."""
        return self._mint.graph_audience

    @graph_audience.setter
    def graph_audience(self, value: str) -> None:
        self._mint.graph_audience = value.rstrip("/")

    @property
    def current_key(self) -> SigningKey:
        """The key that signs."""
        return self.keys.current

    @property
    def received(self) -> list[Received]:
        """Every request so far, those under ``/_local`` excepted."""
        with self._record_lock:
            return list(self._received)

    @property
    def asked(self) -> list[Received]:
        """What was received for somebody: without the documents that a worker loads for itself,
        whenever it does (metadata, keys).
        """
        return [
            one
            for one in self.received
            if one.method != "GET" or not one.path.endswith(("/openid-configuration", "/keys"))
        ]

    def exchanges(self) -> int:
        """Return how many on-behalf-of requests came in since the start or ``clear_received``,
        refused ones included.
        """
        with self._record_lock:
            return self._exchanges

    def clear_received(self) -> None:
        """Forget the requests so far."""
        with self._record_lock:
            self._received.clear()
            self._exchanges = 0

    def reset(self) -> None:
        """Return to the seeded state, with no faults and no memory of requests; the keys stay."""
        super().reset()
        self.faults.clear()
        self.clear_received()

    @property
    def app(self) -> web.Application:
        """A fresh application over this state; each server needs its own."""

        @web.middleware
        async def record(request: web.Request, handler: _Handler) -> web.StreamResponse:
            if not request.path.startswith("/_local/"):
                self._remember(request, await read_form(request))
            answer = await handler(request)
            if _DOCUMENT.search(request.path):  # what is public, every page may read
                answer.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"
            return answer

        app = web.Application(
            middlewares=[record, local_pages_only(lambda: self.page_origins, under="/_local/")],
            client_max_size=256 * 1024,
        )
        app.router.add_get("/common/discovery/instance", self._instance)
        app.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/{tenant}/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/{tenant}/discovery/v2.0/keys", self._keys)
        app.router.add_get("/{tenant}/discovery/keys", self._keys)
        app.router.add_post("/{tenant}/oauth2/v2.0/token", self._token)
        app.router.add_options("/{tenant}/oauth2/v2.0/token", self._token_preflight)
        app.router.add_get("/msi/token", self._managed_identity)
        SignInRoutes(self.sign_in, self._own_tenant, lambda: self.base_url, self._now).add_to(app)
        add_developer_routes(
            app, self._mint, self.faults, rotate_keys=self.rotate_keys, reset=self.reset
        )
        return app

    def _remember(self, request: web.Request, form: dict[str, str]) -> None:
        seen = Received(
            request.method,
            request.path,
            CIMultiDictProxy(CIMultiDict(request.headers)),
            form,
            self._now(),
        )
        with self._record_lock:
            self._received.append(seen)
            self._exchanges += form.get("grant_type") == ON_BEHALF_OF

    async def _discovery(self, request: web.Request) -> web.StreamResponse:
        version = "2.0" if "/v2.0/" in request.path else "1.0"

        def answer() -> web.Response:
            tenant, issuer = self._tenant_and_issuer(request, version)
            return web.json_response(openid_configuration(self.base_url, issuer, tenant, version))

        return await self._answer(
            request, "discovery", answer, tenant=request.match_info["tenant"], version=version
        )

    async def _keys(self, request: web.Request) -> web.StreamResponse:
        version = "2.0" if "/v2.0/" in request.path else "1.0"

        def answer() -> web.Response:
            _, issuer = self._tenant_and_issuer(request, version)
            return web.json_response(
                key_set(self.keys.published(), issuer, version),
                headers={"Cache-Control": "max-age=86400, private"},
            )

        return await self._answer(
            request, "jwks", answer, tenant=request.match_info["tenant"], version=version
        )

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = await read_form(request)

        def answer() -> web.Response:
            segment = request.match_info["tenant"]
            tenant = self.tenant(segment)
            if tenant is None:
                raise _unknown_tenant(segment, "invalid_request")
            if form.get("grant_type") in GRANTS:
                body = self.sign_in.redeem(
                    self._own_tenant(segment) or tenant, form, request.headers.get("Origin")
                )
            else:
                body = self.endpoint.answer(tenant, form, request.headers.get("Authorization", ""))
            return web.json_response(
                body, headers={**_NO_STORE, "x-ms-request-id": str(uuid.uuid4())}
            )

        user = str(unverified_claims(form.get("assertion", "")).get("oid", ""))
        matching = {
            "user": user,
            "grant": form.get("grant_type", ""),
            "tenant": request.match_info["tenant"],
            "client_id": form.get("client_id", ""),
        }
        return self._let_page_read(
            request, await self._answer(request, "token", answer, **matching)
        )

    async def _token_preflight(self, request: web.Request) -> web.StreamResponse:
        """Answer a page that asks first; a plain form post, as MSAL sends it, asks nothing."""
        answer = self._let_page_read(request, web.Response(status=204))
        if is_preflight(request) and hdrs.ACCESS_CONTROL_ALLOW_ORIGIN in answer.headers:
            answer.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = "POST, OPTIONS"
            answer.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = request.headers.get(
                hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "Content-Type"
            )
        return answer

    def _let_page_read[Answer: web.StreamResponse](
        self, request: web.Request, answer: Answer
    ) -> Answer:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and self.sign_in.knows_origin(origin):
            allow_origin(answer, origin)
        return answer

    def _own_tenant(self, segment: str) -> str | None:
        """Return whose people sign in at this address; the shared ones lead to the first tenant."""
        tenant = self.tenant(segment)
        return self.tenant_ids[0] if tenant == "common" else tenant

    async def _instance(self, request: web.Request) -> web.StreamResponse:
        def answer() -> web.Response:
            address = urlsplit(request.query.get("authorization_endpoint", ""))
            tenant = address.path.strip("/").partition("/")[0]
            if (
                address.hostname != urlsplit(self.base_url).hostname or not tenant
            ):  # MSAL leaves the port out
                raise Refused(50049)
            return web.json_response(instance_metadata(self.base_url, tenant))

        return await self._answer(request, "discovery", answer, tenant="common", version="1.1")

    async def _managed_identity(self, request: web.Request) -> web.StreamResponse:
        """Answer as App Service does (its REST endpoint reference):

        ``expires_on`` as text, errors as statusCode and message.
        """
        query = request.query

        def answer() -> web.Response:
            if not secrets.compare_digest(
                request.headers.get("X-IDENTITY-HEADER", "").encode(), self.identity_header.encode()
            ):
                return _app_service_error(401, "The X-IDENTITY-HEADER is missing or wrong.")
            if query.get("api-version") != "2019-08-01":
                return _app_service_error(400, "The api-version is not supported.")
            client_id, resource = query.get("client_id", ""), query.get("resource", "")
            principal_id = self.principal_id(client_id)
            if principal_id is None:
                return _app_service_error(
                    400,
                    "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId.",
                )
            if "://" not in resource:
                return _app_service_error(
                    500, "An unexpected error occurred while fetching the AAD Token."
                )
            token = self._mint.managed_identity_token(
                client_id, principal_id, resource, tenant_id=self.tenant_ids[0]
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

    async def _answer(
        self, request: web.Request, step: str, answer: Callable[[], web.Response], **matching: str
    ) -> web.StreamResponse:
        """Give the ordinary answer, a refusal, or what a fault wants instead."""

        def ordinary() -> web.Response:
            try:
                return answer()
            except Refused as exc:
                said = say_refusal(
                    exc,
                    now=self._now(),
                    correlation_id=_guid(request.headers.get("client-request-id", "")),
                )
                return web.json_response(
                    said.body, status=said.status, headers={**_NO_STORE, **said.headers}
                )

        return await play(self.faults.take(step, **matching), request, ordinary)

    def _tenant_and_issuer(self, request: web.Request, version: str) -> tuple[str, str]:
        segment = request.match_info["tenant"]
        tenant = self.tenant(segment)
        if tenant is None:
            raise _unknown_tenant(segment, "invalid_tenant")
        return tenant, self._mint.issuer("{tenantid}" if tenant == "common" else tenant, version)


def _guid(value: str) -> str | None:
    try:
        return str(uuid.UUID(value))
    except ValueError:
        return None


def _unknown_tenant(segment: str, error: str) -> Refused:
    return Refused(
        90002,
        f"Tenant '{segment}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. "
        "Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.",
        error=error,
    )


def _app_service_error(status: int, message: str) -> web.Response:
    return web.json_response({"statusCode": status, "message": message}, status=status)
