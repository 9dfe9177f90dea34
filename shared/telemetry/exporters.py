"""Where spans and metrics go: the console, a collector (OTLP) or Azure Monitor.

Owns the set-up of OpenTelemetry's SDK and its exporters. It is imported only when telemetry is on.
Does *not* decide what is reported.

Nothing here is made global. The distro ``azure-monitor-opentelemetry`` is not used, only the
exporter beneath it: the distro instruments libraries (see ``spans.py``). The SDK itself reads the
variables OTEL_*.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Final

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation
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
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind

from shared.errors import Misconfigured
from shared.settings import TelemetrySettings
from shared.telemetry.journal import Telemetry
from shared.telemetry.metrics import ACTIVE, METRICS, Metric, Metrics
from shared.telemetry.sampling import OneInTwenty, choose_sampler
from shared.telemetry.spans import BelowTheHost, OpenTelemetryTracing
from shared.telemetry.sums import Sums
from shared.transport.waiting import Waiting

_NAME: Final = "bookings-cancel-facade"
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


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
    sampler = choose_sampler(environment, OneInTwenty(Waiting().random) if in_azure else ALWAYS_ON)
    tracers = TracerProvider(sampler=sampler, resource=resource)
    tracers.add_span_processor(spans)
    tracer = tracers.get_tracer(_NAME)
    meters = MeterProvider(
        [PeriodicExportingMetricReader(metrics)],
        resource=resource,
        exemplar_filter=AlwaysOffExemplarFilter(),
    )
    sums = Sums()
    offer(sums, meters.get_meter(_NAME))
    return Telemetry(
        BelowTheHost(tracer, sampler)
        if in_azure
        else OpenTelemetryTracing(tracer, SpanKind.SERVER),
        Metrics(sums),
    )


def offer(sums: Sums, meter: Meter) -> None:
    """Give OpenTelemetry what a worker has added up, each time that it collects.

    It collects on its own thread. A measurement there costs as much as adding up ten in a request.
    """
    instruments = {metric.name: _make(meter, metric) for metric in METRICS if metric is not ACTIVE}

    def collect(_: CallbackOptions) -> Iterator[Observation]:
        for metric, attributes, values in sums.take():
            instrument = instruments[metric.name]
            for value in values:
                if isinstance(instrument, Histogram):
                    instrument.record(value, attributes)
                else:
                    instrument.add(value, attributes)
        return (Observation(level, attributes) for attributes, level in sums.levels())

    meter.create_observable_up_down_counter(ACTIVE.name, [collect], ACTIVE.unit, ACTIVE.description)


def _make(meter: Meter, metric: Metric) -> Counter | Histogram:
    if metric.kind == "counter":
        return meter.create_counter(metric.name, metric.unit, metric.description)
    return meter.create_histogram(
        metric.name,
        metric.unit,
        metric.description,
        explicit_bucket_boundaries_advisory=_SECONDS,
    )


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
    """Return the exporters of Azure Monitor. Nothing is kept on the disk.

    They read APPLICATIONINSIGHTS_AUTHENTICATION_STRING themselves.
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
            "The setting APPLICATIONINSIGHTS_CONNECTION_STRING is no connection string of "
            "Application Insights."
        ) from None
    return BatchSpanProcessor(spans), metrics
