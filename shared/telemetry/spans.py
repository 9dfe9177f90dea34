"""Spans through OpenTelemetry.

Owns how spans are opened, and whose trace they belong to. Does *not* decide which requests are
traced (``sampling.py``), nor where spans go (``exporters.py``).

No library is instrumented: instrumentation would record the addresses of Graph, which hold mail
addresses, and would hand traces on to everybody. Of the headers of a caller only ``traceparent`` is
read, by the propagator of the API. Baggage and tracestate are ignored: they are free text, and a
reader may drop what it does not know (W3C Trace Context, section 6.1).
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Final, Self

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    format_trace_id,
    get_current_span,
    use_span,
)
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.telemetry.sampling import OneInTwenty
from shared.telemetry.tracing import NO_SPAN, Attributes, Span, Tracing

_left_out: ContextVar[bool] = ContextVar("left_out", default=False)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_PROPAGATOR: Final = TraceContextTextMapPropagator()
_IDS: Final = RandomIdGenerator()


class OpenTelemetryTracing(Tracing):
    """``Tracing`` over a tracer. ``request_kind`` is the kind of the spans of requests.

    The spans of a request that is not sampled cost no more than with telemetry off.
    """

    def __init__(self, tracer: Tracer, request_kind: SpanKind) -> None:
        self._tracer = tracer
        self._request_kind = request_kind

    def request(
        self, name: str, traceparent: str | None, attributes: Attributes
    ) -> AbstractContextManager[Span]:
        """See ``Tracing.request``.

        What the runtime has attached to the context does not count: it attaches nothing for
        functions that are not async.
        """
        return self._open(name, self._request_kind, attributes, _read(traceparent))

    def span(
        self, name: str, call: Callable[[], Attributes] | None = None
    ) -> AbstractContextManager[Span]:
        """See ``Tracing.span``."""
        if _left_out.get():
            return NO_SPAN
        if call is None:
            return self._open(name, SpanKind.INTERNAL, {})
        return self._open(name, SpanKind.CLIENT, call())

    def headers(self) -> dict[str, str]:
        """See ``Tracing.headers``."""
        carrier: dict[str, str] = {}
        if not _left_out.get():
            _PROPAGATOR.inject(carrier)
        return {"traceparent": carrier["traceparent"]} if "traceparent" in carrier else {}

    def _open(
        self, name: str, kind: SpanKind, attributes: Attributes, parent: Context | None = None
    ) -> AbstractContextManager[Span]:
        return _within(self._tracer.start_span(name, parent, kind, attributes), ends=True)


class BelowTheHost(OpenTelemetryTracing):
    """Tracing where the Functions host reports each request itself.

    A second report from here would double every count, and the line of the request says the rest.
    The spans of a request are children of the host's span.
    """

    def __init__(self, tracer: Tracer, sampler: Sampler) -> None:
        super().__init__(tracer, SpanKind.INTERNAL)
        self._sampler = sampler

    def request(
        self,
        name: str,
        traceparent: str | None,
        attributes: Attributes,  # noqa: ARG002 - the host's
    ) -> AbstractContextManager[Span]:
        """See ``Tracing.request``."""
        if not isinstance(self._sampler, OneInTwenty):
            return self._hang_on(_read(traceparent), name, by_chance=False)
        if self._sampler.picks():
            return self._hang_on(_read(traceparent), name, by_chance=True)
        return _LeftOut(traceparent)

    def _hang_on(
        self, parent: Context, name: str, *, by_chance: bool
    ) -> AbstractContextManager[Span]:
        given = get_current_span(parent).get_span_context()
        trace_id = given.trace_id or _IDS.generate_trace_id()  # there is no host on a desk
        sampled = by_chance or (
            self._sampler.should_sample(parent, trace_id, name).decision
            is Decision.RECORD_AND_SAMPLE
        )
        hosts = SpanContext(
            trace_id,
            given.span_id or _IDS.generate_span_id(),
            is_remote=False,
            trace_flags=TraceFlags(sampled),
        )
        return _within(NonRecordingSpan(hosts), ends=False)


@contextmanager
def _within(opened: OtelSpan, *, ends: bool) -> Iterator[Span]:
    """Make this span the parent of those opened meanwhile; end it here if it ``ends`` with them."""
    span = OpenTelemetrySpan(opened)
    token = _left_out.set(not opened.get_span_context().trace_flags.sampled)
    with use_span(opened, end_on_exit=ends, record_exception=False, set_status_on_exception=False):
        try:
            yield span
        except BaseException as error:
            span.fail(type(error).__name__)
            raise
        finally:
            _left_out.reset(token)


class OpenTelemetrySpan(Span):
    """``Span`` over a span."""

    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        self.trace_id = format_trace_id(span.get_span_context().trace_id)

    def note(self, attributes: Attributes) -> None:
        """See ``Span.note``."""
        self._span.set_attributes(attributes)

    def fail(self, error: str) -> None:
        """See ``Span.fail``."""
        self._span.set_attribute("error.type", error)
        self._span.set_status(Status(StatusCode.ERROR))


class _LeftOut(Span):
    """The span of a request that is not sampled.

    It knows its trace, for the line of the request. It marks its context, so that the spans below
    it cost next to nothing.
    """

    def __init__(self, traceparent: str | None) -> None:
        given = _TRACEPARENT.fullmatch(traceparent or "")
        self.trace_id = given[1] if given else None

    def __enter__(self) -> Self:
        self._token = _left_out.set(True)
        return self

    def __exit__(self, *_: object) -> None:
        _left_out.reset(self._token)


def _read(traceparent: str | None) -> Context:
    return _PROPAGATOR.extract({"traceparent": traceparent} if traceparent else {}, Context())
