"""A simulator of Microsoft Entra ID over HTTP.

Owns discovery, key sets, the token endpoint, and App Service's managed-identity endpoint. It
verifies what Entra verifies and words its answers as Entra does, for one API in one or more
tenants. A page signs people in at ``/authorize``. A developer may also ask ``POST /_local/token``
for a user's token. Any thread may change its state while requests are served. Its parts are the
modules beside this one, ``exchange`` and ``sign_in``.
"""

import re
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

from infra.local import seed
from infra.local.entra.answering import NO_STORE, Answering, unknown_tenant
from infra.local.entra.directory import Directory
from infra.local.entra.documents import DocumentRoutes
from infra.local.entra.exchange.managed_identity import ManagedIdentityRoute
from infra.local.entra.exchange.obo import ON_BEHALF_OF, TokenEndpoint
from infra.local.entra.keys import KeyRing, SigningKey, make_signing_key, unverified_claims
from infra.local.entra.local import add_developer_routes
from infra.local.entra.sign_in.grants import GRANTS, SignIn
from infra.local.entra.sign_in.routes import SignInRoutes, read_form
from infra.local.entra.tokens import TokenMint
from infra.local.faults import Faults
from infra.local.server import allow_origin, is_preflight, local_pages_only

__all__ = ["EntraSimulator", "Received", "SigningKey", "make_signing_key"]

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_DOCUMENT = re.compile(r"/(\.well-known|discovery)/")


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came in.

    ``headers`` are found in any case. ``path`` has no query. ``at`` is in seconds since 1970.
    """

    method: str
    path: str
    headers: CIMultiDictProxy[str] = field(repr=False)
    form: dict[str, str] = field(repr=False)
    at: float


class EntraSimulator(Directory):
    """Entra ID for one API.

    ``Directory`` says what can be changed about users and credentials, ``TokenMint`` what the
    tokens are. Faults have these steps: ``discovery`` and ``jwks`` (match: tenant, version),
    ``token`` (match: user, the object id in the assertion; grant, the ``grant_type`` as sent;
    tenant; client_id) and ``managed_identity`` (match: client_id, resource). ``page_origins`` are
    the web pages that may use ``/_local``; ``sign_in`` knows those that may sign people in. Both
    outlive a reset.
    """

    def __init__(
        self, *, now: Callable[[], float] = time.time, tenant_ids: Iterable[str] = (seed.TENANT_ID,)
    ) -> None:
        self.faults = Faults()
        self._answer = Answering(self.faults, now)
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
        """The address by which others know this simulator, without a trailing slash.

        It stands in documents, and in the issuer of v2 tokens.
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
        """Every request so far, except those under ``/_local``."""
        with self._record_lock:
            return list(self._received)

    @property
    def asked(self) -> list[Received]:
        """The requests so far that came for somebody.

        Without the documents that a worker loads for itself at any time (metadata, keys).
        """
        return [
            one
            for one in self.received
            if one.method != "GET" or not one.path.endswith(("/openid-configuration", "/keys"))
        ]

    def exchanges(self) -> int:
        """Return how many on-behalf-of requests came in, refused ones included.

        Counts from the start or from ``clear_received``.
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
            if _DOCUMENT.search(request.path):  # every page may read what is public
                answer.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*"
            return answer

        app = web.Application(
            middlewares=[record, local_pages_only(lambda: self.page_origins, under="/_local/")],
            client_max_size=256 * 1024,
        )
        app.router.add_post("/{tenant}/oauth2/v2.0/token", self._token)
        app.router.add_options("/{tenant}/oauth2/v2.0/token", self._token_preflight)
        DocumentRoutes(self, self._mint, self.keys, self._answer).add_to(app)
        ManagedIdentityRoute(self, self._mint, self._answer).add_to(app)
        SignInRoutes(self.sign_in, self._own_tenant, lambda: self.base_url, self._now).add_to(app)
        add_developer_routes(
            app,
            self._mint,
            self.faults,
            register=self.sign_in.register,
            rotate_keys=self.rotate_keys,
            reset=self.reset,
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

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = await read_form(request)

        def answer() -> web.Response:
            segment = request.match_info["tenant"]
            tenant = self.tenant(segment)
            if tenant is None:
                raise unknown_tenant(segment, "invalid_request")
            if form.get("grant_type") in GRANTS:
                body = self.sign_in.redeem(
                    self._own_tenant(segment) or tenant, form, request.headers.get("Origin")
                )
            else:
                body = self.endpoint.answer(tenant, form, request.headers.get("Authorization", ""))
            return web.json_response(
                body, headers={**NO_STORE, "x-ms-request-id": str(uuid.uuid4())}
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
        """Answer a page that asks first; a plain form post, as MSAL sends it, does not ask."""
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
        """Return whose people sign in at this address; a shared one leads to the first tenant."""
        tenant = self.tenant(segment)
        return self.tenant_ids[0] if tenant == "common" else tenant
