"""Spans and metrics through OpenTelemetry, to the console, to a collector (OTLP) or to Azure
Monitor.

Owns the SDK and its exporters: the only file that imports them, and it is imported only when
telemetry is on. Does *not* decide what is told.

Nothing here is made global, and no library is instrumented: instrumentation would record the
addresses of Graph, which hold mail addresses, and would hand traces on to everybody. For that
reason the distro ``azure-monitor-opentelemetry`` is not used, only the exporter beneath it. Of what
a caller sends, ``traceparent`` is read, by the propagator of the API; baggage is not, nor is
tracestate: it is free text, and its reader may drop what it does not know (W3C Trace Context,
section 6.1). The variables OTEL_* are read by the SDK itself.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Observation
from opentelemetry.metrics import Meter as OtelMeter
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricExporter,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
)
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    format_trace_id,
    get_current_span,
    use_span,
)
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes as OtelAttributes

from shared.errors import Misconfigured
from shared.settings import TelemetrySettings
from shared.telemetry.journal import Telemetry
from shared.telemetry.metrics import ACTIVE, METRICS, Metric, Metrics
from shared.telemetry.sums import Sums
from shared.telemetry.tracing import NO_SPAN, Attributes, LeftOut, Span, left_out
from shared.transport.waiting import SystemWaiting

_NAME: Final = "bookings-cancel-facade"
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_NONE: Final[Attributes] = {}
_PROPAGATOR: Final = TraceContextTextMapPropagator()
_SHARE: Final = 0.05
_SHARE_OF_ONE: Final = re.compile(r"0?\.[0-9]+|[01](?:\.0*)?")
_IDS: Final = RandomIdGenerator()


def open_telemetry(settings: TelemetrySettings, environment: Mapping[str, str]) -> Telemetry:
    """Start what the settings ask for; the exporters work on threads of their own.

    Errors: Misconfigured, naming the setting at fault.
    """
    spans, metrics = _open_exporters(settings)
    known = (
        {"service.instance.id": environment["WEBSITE_INSTANCE_ID"]}
        if environment.get("WEBSITE_INSTANCE_ID")
        else {}
    )
    if not environment.get("OTEL_SERVICE_NAME"):
        known["service.name"] = environment.get("WEBSITE_SITE_NAME") or _NAME
    resource = Resource.create(known)
    in_azure = settings.telemetry == "azure_monitor"
    sampler = choose_sampler(
        environment, OneInTwenty(SystemWaiting().random) if in_azure else ALWAYS_ON
    )
    tracers = TracerProvider(sampler=sampler, resource=resource)
    tracers.add_span_processor(spans)
    tracer = tracers.get_tracer(_NAME)
    meters = MeterProvider(
        [PeriodicExportingMetricReader(metrics)],
        resource=resource,
        exemplar_filter=AlwaysOffExemplarFilter(),
    )
    return Telemetry(
        BelowTheHost(tracer, sampler)
        if in_azure
        else OpenTelemetryTracing(tracer, SpanKind.SERVER),
        Metrics(OpenTelemetryMeter(meters.get_meter(_NAME))),
    )


class OpenTelemetryTracing:
    """``Tracing`` over a tracer. ``request_kind`` is the kind of the spans of requests.

    What hangs on a request that is not sampled costs no more than with telemetry off.
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

    def span(self, name: str, attributes: Attributes = _NONE) -> AbstractContextManager[Span]:
        """See ``Tracing.span``."""
        return NO_SPAN if left_out.get() else self._open(name, SpanKind.INTERNAL, attributes)

    def call(self, name: str, attributes: Attributes = _NONE) -> AbstractContextManager[Span]:
        """See ``Tracing.call``."""
        return NO_SPAN if left_out.get() else self._open(name, SpanKind.CLIENT, attributes)

    def headers(self) -> dict[str, str]:
        """See ``Tracing.headers``."""
        carrier: dict[str, str] = {}
        if not left_out.get():
            _PROPAGATOR.inject(carrier)
        return {"traceparent": carrier["traceparent"]} if "traceparent" in carrier else {}

    @contextmanager
    def _open(
        self, name: str, kind: SpanKind, attributes: Attributes, parent: Context | None = None
    ) -> Iterator["OpenTelemetrySpan"]:
        with self._tracer.start_as_current_span(
            name, parent, kind, attributes, record_exception=False, set_status_on_exception=False
        ) as started:
            span = OpenTelemetrySpan(started)
            token = left_out.set(not started.is_recording())
            try:
                yield span
            except BaseException as error:
                span.fail(type(error).__name__)
                raise
            finally:
                left_out.reset(token)


class BelowTheHost(OpenTelemetryTracing):
    """Tracing where the Functions host reports each request itself: a second report from here would
    double every count, and the line of the request says the rest. What a request does hangs on the
    span of the host.
    """

    def __init__(self, tracer: Tracer, sampler: Sampler) -> None:
        super().__init__(tracer, SpanKind.INTERNAL)
        self._sampler = sampler

    def request(
        self, name: str, traceparent: str | None, attributes: Attributes
    ) -> AbstractContextManager[Span]:
        """See ``Tracing.request``."""
        del attributes
        if not isinstance(self._sampler, OneInTwenty):
            return self._hang_on(_read(traceparent), name, by_chance=False)
        if self._sampler.picks():
            return self._hang_on(_read(traceparent), name, by_chance=True)
        return LeftOut(traceparent)

    @contextmanager
    def _hang_on(self, parent: Context, name: str, *, by_chance: bool) -> Iterator[Span]:
        given = get_current_span(parent).get_span_context()
        trace_id = given.trace_id or _IDS.generate_trace_id()  # there is no host on a desk
        sampled = by_chance or (
            self._sampler.should_sample(parent, trace_id, name).decision
            is Decision.RECORD_AND_SAMPLE
        )
        hosts = NonRecordingSpan(
            SpanContext(
                trace_id,
                given.span_id or _IDS.generate_span_id(),
                is_remote=False,
                trace_flags=TraceFlags(sampled),
            )
        )
        token = left_out.set(not sampled)
        try:
            with use_span(hosts):
                yield OpenTelemetrySpan(hosts)
        finally:
            left_out.reset(token)


class OpenTelemetrySpan:
    """``Span`` over a span."""

    def __init__(self, span: OtelSpan) -> None:
        self._span = span

    @property
    def trace_id(self) -> str | None:
        """See ``Span.trace_id``."""
        return format_trace_id(self._span.get_span_context().trace_id)

    def note(self, attributes: Attributes) -> None:
        """See ``Span.note``."""
        self._span.set_attributes(attributes)

    def fail(self, error: str) -> None:
        """See ``Span.fail``."""
        self._span.set_attribute("error.type", error)
        self._span.set_status(Status(StatusCode.ERROR))


class OpenTelemetryMeter:
    """``Meter`` over a meter.

    A request adds its numbers up (``Sums``); OpenTelemetry is given them when it collects, on its
    own thread, because there each of them costs as much as ten of these.
    """

    def __init__(self, meter: OtelMeter) -> None:
        self._sums = Sums()
        self._instruments = {
            metric.name: _make(meter, metric) for metric in METRICS if metric is not ACTIVE
        }
        meter.create_observable_up_down_counter(
            ACTIVE.name, [self._collect], ACTIVE.unit, ACTIVE.description
        )

    def record(self, metric: Metric, value: float, attributes: Attributes) -> None:
        """See ``Meter.record``."""
        self._sums.add(metric, value, attributes)

    def _collect(self, _: CallbackOptions) -> Iterator[Observation]:
        for metric, attributes, values in self._sums.take():
            instrument = self._instruments[metric.name]
            for value in values:
                if isinstance(instrument, Histogram):
                    instrument.record(value, attributes)
                else:
                    instrument.add(value, attributes)
        return (Observation(level, attributes) for attributes, level in self._sums.levels())


def _make(meter: OtelMeter, metric: Metric) -> Counter | Histogram:
    if metric.kind == "counter":
        return meter.create_counter(metric.name, metric.unit, metric.description)
    return meter.create_histogram(
        metric.name,
        metric.unit,
        metric.description,
        explicit_bucket_boundaries_advisory=_SECONDS,
    )


def _read(traceparent: str | None) -> Context:
    return _PROPAGATOR.extract({"traceparent": traceparent} if traceparent else {}, Context())


class OneInTwenty(Sampler):
    """Samples one request in twenty, with all that hangs on it. ``chance`` gives numbers from 0 up
    to 1.

    Chance decides, and nothing that a caller sends: neither the flag nor the id of a trace, or a
    stranger could hide, or be recorded at our cost each time. Azure Monitor counts a span for as
    many as its sample rate says.
    """

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance

    def picks(self) -> bool:
        """Decide for one request."""
        return self._chance() < _SHARE

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: OtelAttributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """See ``Sampler.should_sample``."""
        del trace_id, name, kind, links, trace_state
        parent = get_current_span(parent_context).get_span_context()
        sampled = (
            parent.trace_flags.sampled if parent.is_valid and not parent.is_remote else self.picks()
        )
        if not sampled:
            return SamplingResult(Decision.DROP)
        rate = {"_MS.sampleRate": 100 * _SHARE}
        return SamplingResult(Decision.RECORD_AND_SAMPLE, {**(attributes or {}), **rate})

    def get_description(self) -> str:
        """See ``Sampler.get_description``."""
        return f"OneInTwenty{{{_SHARE}}}"


def choose_sampler(environment: Mapping[str, str], otherwise: Sampler) -> Sampler:
    """Return the sampler that OTEL_TRACES_SAMPLER names; ``otherwise`` where it is none of the
    standard ones: ``microsoft.*`` speaks to the Functions host. An argument that is no share counts
    as not set, as the specification has it.

    A caller's flag "not sampled" counts with the samplers ``parentbased_*`` alone.
    """
    argument = environment.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    ratio = float(argument) if _SHARE_OF_ONE.fullmatch(argument) else 1.0
    named: dict[str, Sampler] = {
        "always_on": ALWAYS_ON,
        "always_off": ALWAYS_OFF,
        "traceidratio": TraceIdRatioBased(ratio),
        "parentbased_always_on": DEFAULT_ON,
        "parentbased_always_off": DEFAULT_OFF,
        "parentbased_traceidratio": ParentBasedTraceIdRatio(ratio),
    }
    return named.get(environment.get("OTEL_TRACES_SAMPLER", "").strip().lower(), otherwise)


def _open_exporters(settings: TelemetrySettings) -> tuple[SpanProcessor, MetricExporter]:
    """Return what takes spans and what takes metrics.

    Each exporter is imported only where it is used.
    """
    if settings.telemetry == "console":
        lines = ConsoleSpanExporter(formatter=lambda span: f"{span.to_json(indent=None)}\n")
        return SimpleSpanProcessor(lines), ConsoleMetricExporter(
            formatter=lambda metrics: f"{metrics.to_json(indent=None)}\n"
        )
    if settings.telemetry == "otlp":
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return BatchSpanProcessor(OTLPSpanExporter()), OTLPMetricExporter()
    return _open_azure_monitor(settings)


def _open_azure_monitor(settings: TelemetrySettings) -> tuple[SpanProcessor, MetricExporter]:
    """Return the exporters of Azure Monitor, which read APPLICATIONINSIGHTS_AUTHENTICATION_STRING
    themselves. Nothing is kept on the disk.
    """
    from azure.monitor.opentelemetry.exporter import (
        AzureMonitorMetricExporter,
        AzureMonitorTraceExporter,
    )

    logging.getLogger("azure").setLevel(
        logging.WARNING
    )  # below, it writes lines about each of its own requests
    given = settings.applicationinsights_connection_string
    connection_string = given.get_secret_value() if given is not None else None
    try:
        spans = AzureMonitorTraceExporter(
            connection_string=connection_string, disable_offline_storage=True
        )
        metrics = AzureMonitorMetricExporter(
            connection_string=connection_string, disable_offline_storage=True
        )
    except ValueError:  # its text may repeat what was set
        raise Misconfigured(
            "The setting APPLICATIONINSIGHTS_CONNECTION_STRING is no connection string of Application Insights."
        ) from None
    return BatchSpanProcessor(spans), metrics
