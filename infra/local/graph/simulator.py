"""A simulator of Microsoft Graph's Bookings API, for ``/v1.0`` and ``/beta``.

Owns the way of a call: token, limit, fault, answer. Does *not* own what a call does
(``operation``), the calendars (``bookings``), tokens and rights (``access``), the memory of calls
(``traffic``), the wire format (``wire``, ``exchange``) or ``/_local`` (``control``).
"""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web

from infra.local.faults import Faults, play
from infra.local.graph.access import TokenCheck
from infra.local.graph.bookings import Bookings
from infra.local.graph.control import control_app
from infra.local.graph.exchange import Exchange
from infra.local.graph.operation import Operation
from infra.local.graph.tokens import GraphTokenClaims
from infra.local.graph.traffic import Traffic
from infra.local.graph.wire import GraphCall, GraphRefusal, Received, read_call

_BODY_LIMIT: Final = 4 * 1024 * 1024


class GraphSimulator:
    """Graph's Bookings, with instructed faults and a memory of every request.

    State may be read and changed from any thread while it serves.

    Faults strike at a step: ``cancel``, ``get``, ``list_businesses`` or ``list_appointments``. They
    may ``match`` by these attributes:

    - ``business_id``
    - ``appointment_id``; of an existing appointment, in the spelling in which it was booked
    - ``user``: its ``oid``
    - ``attempt``: "1" for the first call of this step for these ids

    What can be set:

    - ``latency_s`` is added to every call, before its effect.
    - ``page_size``: lists come in pages of that many, each but the last with an
      ``@odata.nextLink``.
    - ``lists_omit_customers``: lists come without customers, as Bookings' lists do at times
      (microsoft-graph-docs-contrib 539).
    - ``enforce_mailbox_concurrency``: a cancel or get beyond that many at once for one business is
      answered 429, and no fault is used up.
    - ``page_origins`` are the web pages that may use ``/_local``. They outlive a reset.
    - ``after_reset`` is called after ``/_local/reset`` has done its work. It outlives a reset.
    """

    def __init__(
        self, verify_token: Callable[[str], GraphTokenClaims], bookings: Bookings | None = None
    ) -> None:
        self.bookings = Bookings() if bookings is None else bookings
        self.faults = Faults()
        self.latency_s = 0.0
        self.enforce_mailbox_concurrency: int | None = None
        self.page_size: int | None = None
        self.lists_omit_customers = False
        self.page_origins: frozenset[str] = frozenset()
        self.after_reset: Callable[[], object] = lambda: None
        self._tokens = TokenCheck(verify_token)
        self._traffic = Traffic()

    @property
    def app(self) -> web.Application:
        """Return a fresh application that serves this simulator; each server needs its own."""
        app = web.Application(client_max_size=_BODY_LIMIT)
        app.add_subapp(
            "/_local",
            control_app(
                self.bookings,
                self.faults,
                lambda: self.received,
                self._reset_all,
                lambda: self.page_origins,
            ),
        )
        app.router.add_route("*", r"/{path:[\s\S]*}", self._serve)
        return app

    @property
    def received(self) -> list[Received]:
        """Every request to Graph that arrived whole, oldest first.

        Those to ``/_local`` are not kept.
        """
        return self._traffic.received

    def clear_received(self) -> None:
        """Forget the requests that came so far."""
        self._traffic.clear_received()

    def peak_concurrency(self, business_id: str) -> int:
        """Return the most cancel and get calls that were ever in progress at once for a mailbox.

        Calls that were refused because they were too many count, too.
        """
        return self._traffic.peak_concurrency(business_id)

    def revoke(self, user: str, *, claims: str | None = None) -> None:
        """Refuse the tokens that this user (``oid``) holds now with a claims challenge.

        ``claims`` is the JSON of the challenge, by default for a token issued after this call.
        """
        self._tokens.revoke(user, claims)

    def _reset_all(self) -> None:
        self.reset()
        self.after_reset()

    def reset(self) -> None:
        """Return to the start: seeded calendars; no faults, latency, limit, revocations or memory.

        Calls in progress are answered, but change and count nothing more.
        """
        self.bookings.reset()
        self.faults.clear()
        self._tokens.reset()
        self.latency_s = 0.0
        self.enforce_mailbox_concurrency = None
        self.page_size = None
        self.lists_omit_customers = False
        self._traffic.reset()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        exchange = Exchange(request, self.bookings.era)
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return exchange.refuse(GraphRefusal(413, "BadRequest", "The request is too large."))
        claims = self._tokens.authenticate(request.headers.get("Authorization", ""))
        self._traffic.remember(request, body, claims)
        try:
            call = read_call(request.method, request.raw_path)
        except GraphRefusal as refusal:
            return exchange.refuse(claims if isinstance(claims, GraphRefusal) else refusal)
        with self._traffic.counted(call) as in_progress:
            return await self._answer(exchange, call, claims, body, in_progress)

    async def _answer(
        self,
        exchange: Exchange,
        call: GraphCall,
        claims: GraphTokenClaims | GraphRefusal,
        body: bytes,
        in_progress: int,
    ) -> web.StreamResponse:
        attempt = self._traffic.count_attempt(call)
        limit = self.enforce_mailbox_concurrency
        if limit is not None and in_progress > limit:
            return exchange.refuse(_over_the_limit())
        user = "" if isinstance(claims, GraphRefusal) else claims.object_id
        standing = self.bookings.appointment(call.business_id, call.appointment_id)
        known = {
            "business_id": call.business_id,
            "appointment_id": standing.appointment_id if standing else call.appointment_id,
            "user": user,
            "attempt": str(attempt),
        }
        fault = self.faults.take(
            call.step, **{name: value for name, value in known.items() if value}
        )
        if self.latency_s:
            await asyncio.sleep(self.latency_s)

        def ordinary() -> web.Response:
            if isinstance(claims, GraphRefusal):
                return exchange.refuse(claims)
            operation = Operation(
                exchange, call, claims, self.bookings, self.page_size, self.lists_omit_customers
            )
            try:
                return operation.perform(body)
            except GraphRefusal as refusal:
                return exchange.refuse(refusal)

        return exchange.sign(await play(fault, exchange.request, ordinary))


def _over_the_limit() -> GraphRefusal:
    return GraphRefusal(
        429,
        "ApplicationThrottled",
        "Application is over its MailboxConcurrency limit.",
        headers={"Retry-After": "0.249"},  # decimals, as seen (graph-docs 3877)
        inner_error=False,
    )
