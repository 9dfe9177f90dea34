"""Reports each call to Entra, to Graph and to the store of records to telemetry.

Owns the span of a call, its time and how it ended. Each class wraps another and does what that one
does. Does *not* report ids, addresses or texts: a path goes out as its template.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from shared.entra.exchange_cache import ExchangeCache, Fresh
from shared.entra.graph_token import GraphToken
from shared.entra.http import EntraAnswer, EntraHttp
from shared.errors import FacadeError
from shared.graph.calls import Graph
from shared.graph.client import GraphRequest
from shared.graph.endings import GraphAnswer, Seen
from shared.records.rules import (
    Begun,
    Claim,
    End,
    Granted,
    IdempotencyStore,
    StoreUnavailable,
    Wanted,
)
from shared.telemetry.journal import Telemetry
from shared.telemetry.tracing import Attributes, Span
from shared.transport.channel import Channel
from shared.transport.deadline import Deadline

_WORD = re.compile(r"[A-Za-z]{1,40}")
_TOKEN_PATH = "/{tenant}/oauth2/v2.0/token"  # noqa: S105 - a path


class _Call:
    """One call that is under way: its span, and the status that it was answered with."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.status: int | None = None

    def answered(self, status: int) -> None:
        """Note the answer. A 404 is no failure: it is one of the two outcomes."""
        self.status = status
        self.span.note({"http.response.status_code": status})
        if status >= 300 and status != 404:
            self.span.fail(str(status))


@contextmanager
def _call(
    telemetry: Telemetry,
    upstream: Literal["entra", "graph"],
    step: str,
    describe: Callable[[], Attributes],
) -> Iterator[_Call]:
    started_at = time.monotonic()
    with telemetry.tracing.span(f"{upstream} {step}", describe) as span:
        call = _Call(span)
        try:
            yield call
        finally:
            telemetry.metrics.upstream_call(
                upstream, step, call.status, time.monotonic() - started_at
            )


def _http(step: str, method: str, root: str, template: str) -> Attributes:
    """Describe a call as OpenTelemetry's conventions do.

    The address has its ids taken out there, too; Application Insights shows calls by it.
    """
    return {
        "facade.step": step,
        "http.request.method": method,
        "url.template": template,
        "url.full": f"{root}{template}",
    }


class InstrumentedGraph:
    """Calls Graph through ``client``, and reports the call.

    ``root`` is the address of all calls; their first ``literals`` segments are no ids.
    """

    def __init__(self, client: Graph, root: str, telemetry: Telemetry, *, literals: int) -> None:
        self._client = client
        self._root = root
        self._telemetry = telemetry
        self._literals = literals

    def call(self, request: GraphRequest, token: GraphToken, **how: Any) -> Seen:
        """See ``GraphClient.call``."""

        def describe() -> Attributes:
            template = path_template(request.segments, self._literals)
            return _http(request.step, request.method, self._root, template)

        with _call(self._telemetry, "graph", request.step, describe) as call:
            seen = self._client.call(request, token, **how)
            if isinstance(seen, GraphAnswer):
                call.answered(seen.status)
            else:
                call.span.fail(seen.cause)
            return seen


class InstrumentedEntraHttp(EntraHttp):
    """Talks to Entra, and reports each token request."""

    def __init__(
        self,
        channel: Channel,
        authority_host: str,
        home_tenant: str,
        now: Callable[[], float],
        telemetry: Telemetry,
    ) -> None:
        super().__init__(channel, home_tenant, now)
        self._telemetry = telemetry
        self._attributes = _http("token", "POST", authority_host, _TOKEN_PATH)

    def post(
        self, url: str, *, deadline: Deadline, data: Any, headers: Mapping[str, str], **others: Any
    ) -> EntraAnswer:
        """See ``EntraHttp.post``."""
        with _call(self._telemetry, "entra", "token", lambda: self._attributes) as call:
            try:
                traced = {**headers, **self._telemetry.tracing.headers()}
                answer = super().post(url, deadline=deadline, data=data, headers=traced, **others)
            except FacadeError as error:
                if error.upstream is not None and error.upstream.status is not None:
                    call.answered(error.upstream.status)
                raise
            call.answered(answer.status_code)
            return answer


class InstrumentedExchangeCache[V](ExchangeCache[V]):
    """Keeps what Entra gave, and tells whether it had to be asked.

    A thread that is given another's exchange has not asked.
    """

    def __init__(self, *, capacity: int, now: Callable[[], float], telemetry: Telemetry) -> None:
        super().__init__(capacity=capacity, now=now)
        self._telemetry = telemetry

    def get_or_exchange(
        self,
        key: bytes,
        exchange: Callable[[], Fresh[V]],
        *,
        wait_s: float,
        refused: V | None = None,
    ) -> V:
        """See ``ExchangeCache.get_or_exchange``."""
        asked = False

        def ask() -> Fresh[V]:
            nonlocal asked
            asked = True
            return exchange()

        with self._telemetry.tracing.span("exchange") as span:
            try:
                return super().get_or_exchange(key, ask, wait_s=wait_s, refused=refused)
            finally:
                span.note({"facade.cache": "miss" if asked else "hit"})
                self._telemetry.metrics.exchanged(asked_entra=asked)


class InstrumentedStore:
    """Keeps records in ``store``, and reports each call."""

    def __init__(self, store: IdempotencyStore, telemetry: Telemetry) -> None:
        self._store = store
        self._telemetry = telemetry

    def begin(
        self, caller: str, wanted: Sequence[Wanted], *, lease_s: float, keep_s: float
    ) -> Begun:
        """See ``IdempotencyStore.begin``."""
        with self._told("begin") as span:
            begun = self._store.begin(caller, wanted, lease_s=lease_s, keep_s=keep_s)
            span.note({"facade.record": type(begun).__name__})
            if isinstance(begun, Granted):
                span.note({"facade.doubt": begun.doubt})
            return begun

    def settle(self, claim: Claim, ends: Sequence[End], *, keep_s: float) -> bool:
        """See ``IdempotencyStore.settle``."""
        with self._told("settle") as span:
            span.note({"facade.end": type(ends[0]).__name__})
            return self._store.settle(claim, ends, keep_s=keep_s)

    @contextmanager
    def _told(self, step: str) -> Iterator[Span]:
        with self._telemetry.tracing.span(f"store {step}") as span:
            try:
                yield span
            except StoreUnavailable:
                self._telemetry.metrics.store_failed(step)
                raise


def instrumented_fetch[**P, T](fetch: Callable[P, T], telemetry: Telemetry) -> Callable[P, T]:
    """Return a ``fetch`` of signing keys that reports itself.

    One load is two documents and serves many requests, so it carries no request's trace.
    """

    def told(*args: P.args, **kwargs: P.kwargs) -> T:
        with _call(
            telemetry, "entra", "signing_keys", lambda: {"facade.step": "signing_keys"}
        ) as call:
            fetched = fetch(*args, **kwargs)
            call.status = 200
            return fetched

    return told


def path_template(segments: Sequence[str], literals: int) -> str:
    """Return a path without its ids.

    After its first ``literals`` segments a path of Graph is an id and a word by turns (OData: key,
    then property or action).
    """
    shown = [
        segment
        if place < literals or ((place - literals) % 2 and _WORD.fullmatch(segment))
        else "{id}"
        for place, segment in enumerate(segments)
    ]
    return "/" + "/".join(shown)
