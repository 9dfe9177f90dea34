"""Collectors of telemetry, for tests and benchmarks.

They take what the service exports, by OTLP over HTTP or to Azure Monitor, and keep it readable.
"""

import gzip
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from infra.local.server import LocalServer

PATIENCE_S = 15.0


@dataclass(frozen=True)
class SeenSpan:
    """One span as it was exported; ids in hex, ``parent_id`` empty for a root."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    failed: bool
    attributes: dict[str, Any]

    @property
    def traceparent(self) -> str:
        """What this span hands on, without the flags."""
        return f"00-{self.trace_id}-{self.span_id}"


@dataclass(frozen=True)
class Point:
    """The latest value of one metric with these attributes.

    It is a sum, or the number of measurements of a distribution.
    """

    metric: str
    attributes: dict[str, Any]
    value: float


type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Listener:
    """Listens while it is a context manager."""

    def _taken_by(self) -> Mapping[str, Handler]:
        """Return the handlers of what is posted, by path."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        for path, take in self._taken_by().items():
            app.router.add_post(path, take)
        self._server = LocalServer(app)
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)


@dataclass
class Collector(_Listener):
    """Listens while it is a context manager; what came may be read from any thread."""

    headers: list[dict[str, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    _spans: list[SeenSpan] = field(default_factory=list)
    _points: dict[tuple[str, str], Point] = field(default_factory=dict)
    _news: threading.Condition = field(
        default_factory=threading.Condition
    )  # reentrant: its lock is an RLock

    def _taken_by(self) -> Mapping[str, Handler]:
        return {"/v1/traces": self._take_spans, "/v1/metrics": self._take_metrics}

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a service that exports to here, without much delay."""
        return {
            "TELEMETRY": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self._server.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
        }

    @property
    def names(self) -> set[str]:
        """The names of all spans so far."""
        with self._news:
            return {span.name for span in self._spans}

    @property
    def requests(self) -> list[SeenSpan]:
        """The spans of whole requests so far."""
        with self._news:
            return [span for span in self._spans if span.name.startswith("request ")]

    def trace(self, trace_id: str) -> list[SeenSpan]:
        """Return the spans of a trace, once that of its request has come: it ends last."""
        self.wait(lambda: any(span.trace_id == trace_id for span in self.requests))
        with self._news:
            return [span for span in self._spans if span.trace_id == trace_id]

    def point(self, metric: str, **attributes: object) -> float:
        """Return the latest value of a metric; 0 where it was never measured.

        It is summed over whatever else splits it.
        """
        with self._news:
            points = [point for point in self._points.values() if point.metric == metric]
        return sum(
            point.value for point in points if attributes.items() <= point.attributes.items()
        )

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds. Errors: AssertionError, with what came."""
        deadline = time.monotonic() + PATIENCE_S
        with self._news:
            while not condition():
                left_s = deadline - time.monotonic()
                assert left_s > 0, (
                    f"not exported within {PATIENCE_S:g} s; what came: {self._spans} "
                    f"{list(self._points.values())}"
                )
                self._news.wait(left_s)

    async def _take_spans(self, request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest.FromString(await request.read())
        with self._news:
            self.headers.append(dict(request.headers))
            self.texts.append(MessageToJson(message))
            self._spans += [
                _read(span)
                for resource in message.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]
            self._news.notify_all()
        return web.Response(content_type="application/x-protobuf")

    async def _take_metrics(self, request: web.Request) -> web.Response:
        message = ExportMetricsServiceRequest.FromString(await request.read())
        with self._news:
            self.headers.append(dict(request.headers))
            self.texts.append(MessageToJson(message))
            for metric in (
                metric
                for resource in message.resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
            ):
                for point in (*metric.sum.data_points, *metric.histogram.data_points):
                    attributes = _attributes(point.attributes)
                    value = (
                        point.count if hasattr(point, "count") else point.as_double or point.as_int
                    )
                    self._points[metric.name, repr(sorted(attributes.items()))] = Point(
                        metric.name, attributes, value
                    )
            self._news.notify_all()
        return web.Response(content_type="application/x-protobuf")


@dataclass
class Ingestion(_Listener):
    """What Application Insights would receive. It listens while it is a context manager."""

    _envelopes: list[dict[str, Any]] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)

    def _taken_by(self) -> Mapping[str, Handler]:
        return {"/{path:.*}": self._take}

    @property
    def deployed(self) -> dict[str, str]:
        """The settings of a service as it is deployed, except that it exports to here."""
        key = "11111111-1111-1111-1111-111111111111"
        return {
            "TELEMETRY": "azure_monitor",
            "APPLICATIONINSIGHTS_CONNECTION_STRING": (
                f"InstrumentationKey={key};IngestionEndpoint={self._server.url}/"
            ),
            "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
            "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
            "OTEL_TRACES_SAMPLER": "microsoft.fixed_percentage",
            "OTEL_TRACES_SAMPLER_ARG": "1",
            "WEBSITE_SITE_NAME": "func-of-a-test",
        }

    @property
    def settings(self) -> dict[str, str]:
        """The same, exported without much delay."""
        return {
            **self.deployed,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
        }

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the envelopes of a kind, e.g. ``RemoteDependencyData``."""
        with self._news:
            return [one for one in self._envelopes if one["data"]["baseType"] == kind]

    def custom_metrics(self) -> list[dict[str, Any]]:
        """Return what came as rows of the table ``customMetrics``."""
        rows = []
        for envelope in self.of("MetricData"):
            data = envelope["data"]["baseData"]
            (point,) = data["metrics"]
            rows.append(
                {
                    "name": point["name"],
                    "valueSum": point["value"],
                    "valueCount": point.get("count") or 1,
                    "customDimensions": data.get("properties") or {},
                }
            )
        return rows

    def clear(self) -> None:
        """Forget what came."""
        with self._news:
            self._envelopes.clear()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds. Errors: AssertionError, with the metrics that came."""
        with self._news:
            assert self._news.wait_for(condition, PATIENCE_S), self.custom_metrics()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        found = json.loads(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        with self._news:
            self._envelopes += found
            self._news.notify_all()
        return web.json_response(
            {"itemsReceived": len(found), "itemsAccepted": len(found), "errors": []}
        )


def _read(span: Span) -> SeenSpan:
    assert not span.events, "an event may hold the text of an exception"
    return SeenSpan(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.status.code == 2,
        _attributes(span.attributes),
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value")
        for pair in pairs
    }
