"""A simulator of Microsoft Graph's Bookings API: list and get appointments, and cancel them, for
``/v1.0`` and ``/beta``.

Owns what a call does and when a fault strikes. The calendars are in ``bookings``, tokens and rights
in ``graph_access``, the wire format in ``graph_wire``, ``/_local`` in ``graph_control``. What it
answers where Microsoft's documents do not say: a path that is split within an id, as Graph splits
it at %2F, too, 400 RequestBroker--ParseUri; a cancel within the minimum lead time 400 without a
code (reported of other rules); a token without the right scope is answered 403
ErrorAccessDenied; a caller who is no staff of an existing business 404 ErrorFolderNotFound (access
in not-found clothes, as reported); an unknown business 404 ErrorNonExistentMailbox; an appointment
that does not stand, so also a second cancel, 404 ErrorItemNotFound.
"""

import asyncio
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, assert_never
from urllib.parse import unquote, urlencode

from aiohttp import web

from infra.local import seed
from infra.local.faults import Faults, play
from infra.local.graph.access import TokenCheck, may_see, require_calendar, require_right
from infra.local.graph.bookings import Bookings
from infra.local.graph.control import control_app
from infra.local.graph.tokens import GraphTokenClaims
from infra.local.graph.wire import (
    DIAGNOSTIC,
    GraphCall,
    GraphRefusal,
    Json,
    Received,
    Step,
    appointment_json,
    business_json,
    error_body,
    read_call,
    read_cancellation_message,
    read_moment,
    read_window,
    split_path,
)

_BODY_LIMIT: Final = 4 * 1024 * 1024
_LIST_LIMIT: Final = 500  # "limited to 500 mailboxes", without pages


class GraphSimulator:
    """Graph's Bookings, with instructed faults and a memory of every request.

    State may be read and changed from any thread while it serves.

    Steps for faults: ``cancel``, ``get``, ``list_businesses``, ``list_appointments``; to ``match``:
    ``business_id``, ``appointment_id`` (of one that stands: as it was booked), ``user`` (``oid``) and ``attempt`` ("1" for the first call
    of this step for these ids). ``latency_s`` is added to every call, before its effect. With
    ``page_size`` set, lists come in pages of that many, each but the last with an
    ``@odata.nextLink``; with ``lists_omit_customers`` they come without customers, as Bookings'
    lists do at times (microsoft-graph-docs-contrib 539). With ``enforce_mailbox_concurrency`` set, a cancel or get beyond that many
    at once for one business is answered 429, and no fault is used up. ``page_origins`` are the web
    pages that may use ``/_local``, ``after_reset`` is called once ``/_local/reset`` has done its
    work; both outlive a reset.
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
        self._lock = threading.Lock()
        self._received: list[Received] = []
        self._attempts: Counter[tuple[Step, str, str]] = Counter()
        self._in_progress: Counter[str] = Counter()
        self._peaks: Counter[str] = Counter()

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
        """Every request to Graph that arrived whole, oldest first; those to ``/_local`` are not
        kept.
        """
        with self._lock:
            return list(self._received)

    def clear_received(self) -> None:
        """Forget the requests that came so far."""
        with self._lock:
            self._received.clear()

    def peak_concurrency(self, business_id: str) -> int:
        """Return the most cancel and get calls ever in progress at once for this mailbox, those
        refused for their number included.
        """
        with self._lock:
            return self._peaks[business_id]

    def revoke(self, user: str, *, claims: str | None = None) -> None:
        """Refuse the tokens this user (``oid``) holds now with a claims challenge; ``claims`` is
        its JSON, by default for a token issued after this call.
        """
        self._tokens.revoke(user, claims)

    def _reset_all(self) -> None:
        self.reset()
        self.after_reset()

    def reset(self) -> None:
        """Return to the start: seeded calendars, and no faults, latency, limit, revocations or
        memory. Calls in progress are answered but change and count nothing more.
        """
        self.bookings.reset()
        self.faults.clear()
        self._tokens.reset()
        self.latency_s = 0.0
        self.enforce_mailbox_concurrency = None
        self.page_size = None
        self.lists_omit_customers = False
        with self._lock:
            self._received.clear()
            self._attempts.clear()
            self._peaks.clear()
            self._in_progress = Counter()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        exchange = _Exchange(request, self.bookings.era)
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return exchange.refuse(GraphRefusal(413, "BadRequest", "The request is too large."))
        claims = self._tokens.authenticate(request.headers.get("Authorization", ""))
        self._remember(request, body, claims)
        try:
            call = read_call(request.method, request.raw_path)
        except GraphRefusal as refusal:
            return exchange.refuse(claims if isinstance(claims, GraphRefusal) else refusal)
        with self._counted(call) as in_progress:
            return await self._answer(exchange, call, claims, body, in_progress)

    async def _answer(
        self,
        exchange: "_Exchange",
        call: GraphCall,
        claims: GraphTokenClaims | GraphRefusal,
        body: bytes,
        in_progress: int,
    ) -> web.StreamResponse:
        attempt = self._count_attempt(call)
        limit = self.enforce_mailbox_concurrency
        if limit is not None and in_progress > limit:
            message = "Application is over its MailboxConcurrency limit."
            return exchange.refuse(
                GraphRefusal(
                    429,
                    "ApplicationThrottled",
                    message,
                    headers={"Retry-After": "0.249"},  # decimals, as seen (graph-docs 3877)
                    inner_error=False,
                )
            )
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
            try:
                return self._perform(exchange, call, claims, body)
            except GraphRefusal as refusal:
                return exchange.refuse(refusal)

        return exchange.sign(await play(fault, exchange.request, ordinary))

    def _perform(
        self,
        exchange: "_Exchange",
        call: GraphCall,
        claims: GraphTokenClaims | GraphRefusal,
        body: bytes,
    ) -> web.Response:
        if isinstance(claims, GraphRefusal):
            raise claims
        require_right(claims, call.step)
        if call.malformed:
            raise GraphRefusal(400, "ErrorInvalidIdMalformed", "Id is malformed.")
        match call.step:
            case "list_businesses":
                return exchange.say(
                    self._paged(
                        exchange, call, self._list_businesses(claims, call.query.get("query", ""))
                    )
                )
            case "list_appointments":
                return exchange.say(
                    self._paged(exchange, call, self._list_appointments(claims, call))
                )
            case "get":
                require_calendar(claims, self.bookings.business(call.business_id))
                appointment = self.bookings.appointment(call.business_id, call.appointment_id)
                if appointment is None:
                    raise _item_not_found()
                return exchange.say(appointment_json(appointment))
            case "cancel":
                encoding = exchange.request.headers.get("Content-Encoding", "")
                message = read_cancellation_message(exchange.request.content_type, encoding, body)
                business = self.bookings.business(call.business_id)
                require_calendar(claims, business)
                appointment = self.bookings.appointment(call.business_id, call.appointment_id)
                if business and appointment and _is_too_late(business, appointment):
                    raise GraphRefusal(400, "", "The minimum lead time is over.")
                by = claims.client_id if claims.app_only else claims.object_id
                if (
                    self.bookings.cancel(
                        call.business_id,
                        call.appointment_id,
                        message=message,
                        by=by,
                        era=exchange.era,
                    )
                    is None
                ):
                    raise _item_not_found()
                return exchange.sign(web.Response(status=204))
            case _:
                assert_never(call.step)

    def _paged(
        self, exchange: "_Exchange", call: GraphCall, found: list[dict[str, Json]]
    ) -> dict[str, Json]:
        """Return one page of a list; the link to the next carries the whole query and a token, as
        OData's does.
        """
        skip = int(call.query.get("$skiptoken", "0"))
        size = self.page_size or len(found) or 1
        page: dict[str, Json] = {"value": found[skip : skip + size]}
        if skip + size < len(found):
            query = urlencode({**call.query, "$skiptoken": str(skip + size)})
            page["@odata.nextLink"] = (
                f"{exchange.request.url.origin()}{exchange.request.rel_url.raw_path}?{query}"
            )
        return page

    def _list_businesses(self, claims: GraphTokenClaims, named: str) -> list[dict[str, Json]]:
        seen = [business for business in self.bookings.businesses() if may_see(claims, business)]
        return [
            business_json(business)
            for business in seen
            if named.casefold() in business.display_name.casefold()
        ][:_LIST_LIMIT]

    def _list_appointments(
        self, claims: GraphTokenClaims, call: GraphCall
    ) -> list[dict[str, Json]]:
        window = read_window(call.query) if call.window else None
        require_calendar(claims, self.bookings.business(call.business_id))
        found = self.bookings.appointments(call.business_id)
        if window is not None:
            found = [appointment for appointment in found if _overlaps(appointment, *window)]
        listed = [appointment_json(appointment) for appointment in found]
        if self.lists_omit_customers:
            listed = [{**entry, "customers": []} for entry in listed]
        return listed

    def _remember(
        self, request: web.Request, body: bytes, claims: GraphTokenClaims | GraphRefusal
    ) -> None:
        segments = tuple(unquote(segment) for segment in split_path(request.raw_path))
        headers: dict[str, str] = {}
        for name, value in request.headers.items():
            known = headers.get(name.lower())
            headers[name.lower()] = value if known is None else f"{known}, {value}"
        user = None if isinstance(claims, GraphRefusal) else claims.object_id
        received = Received(
            request.method,
            request.raw_path,
            "/" + "/".join(segments),
            segments,
            headers,
            body,
            time.time(),
            user,
        )
        with self._lock:
            self._received.append(received)

    def _count_attempt(self, call: GraphCall) -> int:
        key = (call.step, call.business_id, call.appointment_id)
        with self._lock:
            self._attempts[key] += 1
            return self._attempts[key]

    @contextmanager
    def _counted(self, call: GraphCall) -> Iterator[int]:
        """Count a cancel or get as in progress for its mailbox until its answer is ready; yields
        how many there are with it.
        """
        if call.step not in ("cancel", "get"):
            yield 0
            return
        mailbox = call.business_id
        with self._lock:
            in_progress = self._in_progress  # a reset puts another in its place
            in_progress[mailbox] += 1
            now = in_progress[mailbox]
            self._peaks[mailbox] = max(self._peaks[mailbox], now)
        try:
            yield now
        finally:
            with self._lock:
                in_progress[mailbox] -= 1


class _Exchange:
    """One request, the ids its answer carries, and the era of the calendars it came in."""

    def __init__(self, request: web.Request, era: int) -> None:
        self.request = request
        self.era = era
        self._request_id = str(uuid.uuid4())
        self._client_request_id = request.headers.get("client-request-id") or self._request_id

    def say(self, body: dict[str, Json], *, status: int = 200) -> web.Response:
        return self.sign(web.json_response(body, status=status))

    def refuse(self, refusal: GraphRefusal) -> web.Response:
        request_id = self._request_id if refusal.inner_error else ""
        answer = self.say(
            error_body(refusal.code, refusal.message, request_id, self._client_request_id),
            status=refusal.status,
        )
        answer.headers.update(refusal.headers)
        return answer

    def sign[Answer: web.StreamResponse](self, answer: Answer) -> Answer:
        """Add the headers every answer of Graph carries; HTML comes from a proxy in front of it,
        which knows none of them.
        """
        if answer.content_type != "text/html":
            answer.headers.setdefault("request-id", self._request_id)
            answer.headers.setdefault("client-request-id", self._client_request_id)
            answer.headers.setdefault("x-ms-ags-diagnostic", DIAGNOSTIC)
        return answer


def _overlaps(appointment: seed.Appointment, start: datetime, end: datetime) -> bool:
    begins, ends = read_moment(appointment.start), read_moment(appointment.end)
    return begins is not None and ends is not None and begins < end and ends > start


def _is_too_late(business: seed.Business, appointment: seed.Appointment) -> bool:
    begins = read_moment(appointment.start)
    lead_s = business.minimum_lead_s
    return lead_s > 0 and begins is not None and begins.timestamp() < time.time() + lead_s


def _item_not_found() -> GraphRefusal:
    return GraphRefusal(
        404, "ErrorItemNotFound", "The specified object was not found in the store."
    )
