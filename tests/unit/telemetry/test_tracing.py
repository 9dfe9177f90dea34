"""Spans and metrics below HTTP: nothing while telemetry is off, and when it is on, what each part
tells and what it keeps to itself.
"""

import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    InMemoryMetricReader,
    NumberDataPoint,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id

from shared.entra.exchange_cache import Fresh
from shared.errors import Misconfigured, TokenRejected, UpstreamUnavailable
from shared.instrumented import (
    InstrumentedExchangeCache,
    InstrumentedStore,
    instrumented_fetch,
    path_template,
)
from shared.records.memory_store import MemoryStore
from shared.records.rules import Begun, Doubt, Finished, Granted, StoreUnavailable, Wanted
from shared.services import start_telemetry
from shared.telemetry.exporters import offer
from shared.telemetry.journal import OFF, Journal, Telemetry, tell
from shared.telemetry.metrics import ACTIVE, DURATION, METRICS, PROBLEMS, Meter, Metric, Metrics
from shared.telemetry.spans import OpenTelemetryTracing
from shared.telemetry.sums import Sums
from shared.telemetry.tracing import Attributes

REPOSITORY = Path(__file__).resolve().parents[3]
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
KEY = "0" * 64


# Off.

OFF_ALL_THE_WAY = """
import asyncio, json, sys
from types import SimpleNamespace

import azure.functions as func
import function_app
import shared.records.table_store

def foreign():
    known = ("opentelemetry", "azure.monitor", "google.protobuf")
    return sorted(name for name in sys.modules if name.startswith(known))

imported = foreign()
functions = {f.get_function_name(): f.get_user_function() for f in function_app.app.get_functions()}
req = func.HttpRequest(
    method="POST",
    url="/api/v1/cancel-appointment",
    headers={"traceparent": sys.argv[1]},
    body=b"{}",
)
context = SimpleNamespace(trace_context=SimpleNamespace(trace_parent=sys.argv[1]))
answer = asyncio.run(functions["cancel_appointment"](req, context))
print(json.dumps([json.loads(answer.get_body())["code"], imported, foreign()]))
"""


def test_off_it_is_never_imported() -> None:
    settings = {
        "TENANT_ID": "84bd8158-6d4d-4958-8b9f-9d6445542f95",
        "CLIENT_ID": "6731de76-14a6-49ae-97bc-6eba6914391e",
        "CLIENT_SECRET": "worth nothing",
    }
    run = subprocess.run(
        [sys.executable, "-c", OFF_ALL_THE_WAY, f"00-{TRACE}-{SPAN}-01"],
        cwd=REPOSITORY,
        env={**settings, "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == ["missing_token", [], []]


def test_off_is_the_default_and_hands_nothing_on() -> None:
    assert start_telemetry({}) is OFF
    assert (
        start_telemetry(
            {"TELEMETRY": "off", "APPLICATIONINSIGHTS_CONNECTION_STRING": "the host's own"}
        )
        is OFF
    )
    tracing = OFF.tracing
    with (
        tracing.request("request", f"00-{TRACE}-{SPAN}-01", {}) as request,
        tracing.span("a") as step,
        tracing.span("b", dict) as call,
    ):
        for span in (request, step, call):
            span.note({"a": 1})
            span.fail("b")
            assert span.trace_id is None
        assert tracing.headers() == {}


def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(Misconfigured, match="TELEMETRY"):
        start_telemetry({"TELEMETRY": "on"})


@pytest.mark.parametrize(
    "wrong",
    [
        "mark",
        "InstrumentationKey=mark",
        "InstrumentationKey=mark;IngestionEndpoint=https://mark.example/;",
    ],
)
def test_a_wrong_connection_string_is_named_and_not_repeated(wrong: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        start_telemetry(
            {"TELEMETRY": "azure_monitor", "APPLICATIONINSIGHTS_CONNECTION_STRING": wrong}
        )
    assert "APPLICATIONINSIGHTS_CONNECTION_STRING" in caught.value.reason
    assert "mark" not in caught.value.reason


# On.


@dataclass
class World:
    """Telemetry that is on, and what it has told."""

    exported: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)

    def __post_init__(self) -> None:
        tracers = TracerProvider(ALWAYS_ON, shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self.exported))
        meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.tracing = OpenTelemetryTracing(tracers.get_tracer("test"), SpanKind.SERVER)
        sums = Sums()
        offer(sums, meters.get_meter("test"))
        self.telemetry = Telemetry(self.tracing, Metrics(sums))

    @contextmanager
    def request(self) -> Iterator[None]:
        with self.tracing.request("request", f"00-{TRACE}-{SPAN}-01", {}):
            yield

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exported.get_finished_spans()}

    def measured(self) -> dict[tuple[str, str], float]:
        """Return every value by metric and attributes; of a distribution, how many there are."""
        data = self.reader.get_metrics_data()
        found: dict[tuple[str, str], float] = {}
        for metric in (
            (
                metric
                for resource in data.resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
            )
            if data
            else ()
        ):
            for point in metric.data.data_points:
                split_by = " ".join(
                    f"{name}={value!s}" for name, value in sorted((point.attributes or {}).items())
                )
                assert isinstance(point, NumberDataPoint | HistogramDataPoint)
                found[metric.name, split_by] = (
                    point.value if isinstance(point, NumberDataPoint) else point.count
                )
        return found


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def one_world() -> World:
    """For tests with many examples, each of which clears what was exported."""
    return World()


def parent_of(span: ReadableSpan) -> str | None:
    return None if span.parent is None else format_span_id(span.parent.span_id)


def id_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return format_span_id(span.context.span_id)


def test_spans_hang_on_one_another_and_the_first_on_the_caller(world: World) -> None:
    with world.request(), world.tracing.span("step"), world.tracing.span("call", dict):
        handed_on = world.tracing.headers()

    request, step, call = (world.spans[name] for name in ("request", "step", "call"))
    assert (parent_of(request), parent_of(step), parent_of(call)) == (
        SPAN,
        id_of(request),
        id_of(step),
    )
    assert (request.kind, step.kind, call.kind) == (
        SpanKind.SERVER,
        SpanKind.INTERNAL,
        SpanKind.CLIENT,
    )
    assert handed_on == {"traceparent": f"00-{TRACE}-{id_of(call)}-01"}


def test_a_thread_that_is_given_the_context_goes_on_with_the_trace_and_another_does_not(
    world: World,
) -> None:
    """What ``serving`` does, and what would go wrong without it."""
    with ThreadPoolExecutor(1) as threads, world.request():
        given = threads.submit(copy_context().run, world.tracing.headers).result()
        not_given = threads.submit(world.tracing.headers).result()
    assert given["traceparent"].split("-")[1] == TRACE
    assert not_given == {}


def test_a_request_without_a_trace_is_a_root_whatever_is_open_or_attached_around_it(
    world: World,
) -> None:
    """The runtime attaches what it does to the task of the event loop, and takes nothing away
    again.
    """
    with world.request(), world.tracing.request("inner", None, {}) as inner:
        assert inner.trace_id != TRACE
    assert parent_of(world.spans["inner"]) is None


def test_threads_that_trace_at_the_same_time_stay_apart(world: World) -> None:
    start = threading.Barrier(64)

    def ask(number: int) -> bool:
        trace_id = f"{number + 1:032x}"
        with world.tracing.request("request", f"00-{trace_id}-{SPAN}-01", {}):
            start.wait(10)
            with world.tracing.span("call", dict):
                return world.tracing.headers()["traceparent"].split("-")[1] == trace_id

    with ThreadPoolExecutor(64) as threads:
        assert all(threads.map(ask, range(64)))


@given(
    st.text(max_size=700)
    | st.from_regex(
        r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,600})?", fullmatch=True
    )
)
def test_whatever_a_caller_sends_as_traceparent_is_a_parent_or_nothing(
    one_world: World, traceparent: str
) -> None:
    world = one_world
    world.exported.clear()
    with world.tracing.request("request", traceparent, {}) as span:
        trace_id = span.trace_id or ""
    (request,) = world.exported.get_finished_spans()
    if request.parent is not None:
        assert (
            traceparent.strip(" \t").split("-")[1]
            == trace_id
            == format_trace_id(request.parent.trace_id)
        )
    else:
        assert trace_id not in traceparent
    assert int(trace_id, 16)


def test_an_exception_marks_a_span_by_its_class_and_says_no_more(world: World) -> None:
    with pytest.raises(KeyError), world.request(), world.tracing.span("step"):
        raise KeyError("mark: jordanm@contoso.com")
    for span in world.spans.values():
        assert (span.status.status_code.name, span.status.description) == ("ERROR", None)
        assert dict(span.attributes or {}) == {"error.type": "KeyError"}
        assert span.events == ()


# What the parts tell.


def test_a_cache_tells_whether_entra_was_asked(world: World) -> None:
    cache: InstrumentedExchangeCache[str] = InstrumentedExchangeCache(
        capacity=8, now=lambda: 0.0, telemetry=world.telemetry
    )

    def ask(key: bytes, exchange: Callable[[], Fresh[str]]) -> str:
        return cache.get_or_exchange(key, exchange, wait_s=1.0)

    def refuse() -> Fresh[str]:
        raise TokenRejected("mark")

    assert [ask(b"a", lambda: Fresh("token", 9.0)) for _ in range(3)] == ["token"] * 3
    for _ in range(2):
        with pytest.raises(TokenRejected):
            ask(b"b", refuse)

    assert world.measured() == {
        ("facade.exchanges", "cache=miss"): 2,
        ("facade.exchanges", "cache=hit"): 3,
    }
    told = [dict(span.attributes or {}) for span in world.exported.get_finished_spans()]
    assert told == [
        {"facade.cache": "miss"},
        {"facade.cache": "hit"},
        {"facade.cache": "hit"},
        {"facade.cache": "miss", "error.type": "TokenRejected"},
        {"facade.cache": "hit", "error.type": "TokenRejected"},
    ]


class DownStore(MemoryStore):
    def begin(
        self, caller: str, wanted: Sequence[Wanted], *, lease_s: float, keep_s: float
    ) -> Begun:
        raise StoreUnavailable("mark")


def test_a_store_does_what_it_did_and_tells_of_it(world: World) -> None:
    store = InstrumentedStore(MemoryStore(lambda: 0.0), world.telemetry)
    begun = store.begin(KEY, [Wanted(KEY, "")], lease_s=1.0, keep_s=9.0)
    assert isinstance(begun, Granted)
    assert store.settle(begun.claim, [Finished("payload")], keep_s=9.0)
    assert world.spans["store settle"].attributes == {"facade.end": "Finished"}
    assert store.settle(begun.claim, [Doubt()], keep_s=9.0) is False

    told = {name: dict(span.attributes or {}) for name, span in world.spans.items()}
    assert told == {
        "store begin": {"facade.record": "Granted", "facade.doubt": False},
        "store settle": {"facade.end": "Doubt"},
    }
    assert world.measured() == {}


def test_a_store_that_fails_is_counted(world: World) -> None:
    with pytest.raises(StoreUnavailable):
        InstrumentedStore(DownStore(lambda: 0.0), world.telemetry).begin(
            KEY, [Wanted(KEY, "")], lease_s=1.0, keep_s=9.0
        )
    assert world.measured() == {("facade.store.failures", "step=begin"): 1}
    assert dict(world.spans["store begin"].attributes or {}) == {"error.type": "StoreUnavailable"}


def test_signing_keys_are_fetched_as_before_and_timed(world: World) -> None:
    def fetch(tenant_id: str, version: str) -> Mapping[str, int]:
        if version == "1.0":
            raise UpstreamUnavailable("mark")
        return {tenant_id: 1}

    told = instrumented_fetch(fetch, world.telemetry)
    assert told("tenant", "2.0") == {"tenant": 1}
    with pytest.raises(UpstreamUnavailable):
        told("tenant", "1.0")
    step = "step=signing_keys"
    assert world.measured() == {
        ("facade.upstream.duration", f"status_class=2xx {step} upstream=entra"): 1,
        ("facade.upstream.duration", f"status_class=none {step} upstream=entra"): 1,
    }


@pytest.mark.parametrize(
    ("segments", "template"),
    [
        (("solutions", "bookingBusinesses"), "/solutions/bookingBusinesses"),
        (
            ("solutions", "bookingBusinesses", "a@b.c", "calendarView"),
            "/solutions/bookingBusinesses/{id}/calendarView",
        ),
        (
            ("solutions", "bookingBusinesses", "a@b.c", "appointments", "AAMk="),
            "/solutions/bookingBusinesses/{id}/appointments/{id}",
        ),
        (
            ("solutions", "bookingBusinesses", "cancel", "appointments", "cancel"),
            "/solutions/bookingBusinesses/{id}/appointments/{id}",
        ),
        (
            ("solutions", "bookingBusinesses", "a@b.c", "x@y.z", "a", "b/c"),
            "/solutions/bookingBusinesses/{id}/{id}/{id}/{id}",
        ),
    ],
)
def test_a_path_is_told_without_its_ids(segments: tuple[str, ...], template: str) -> None:
    assert path_template(segments, 2) == template


@given(st.lists(st.text(min_size=1), min_size=1, max_size=6))
def test_no_id_of_any_kind_is_in_a_template(ids: list[str]) -> None:
    """Ids stand at every other place; between them stands what Graph calls things."""
    segments = ("root", *(part for an_id in ids for part in (an_id, "word")))
    assert path_template(segments, 1) == "/root" + "/{id}/word" * len(ids)


# The journal measures what it writes.


class Recorder(Meter):
    def __init__(self) -> None:
        self.recorded: list[tuple[str, float, Attributes]] = []

    def record(self, metric: Metric, value: float, attributes: Attributes) -> None:
        self.recorded.append((metric.name, value, attributes))

    def of(self, metric: str) -> list[Attributes]:
        return [attributes for name, _, attributes in self.recorded if name == metric]


def journal(meter: Recorder) -> Journal:
    return Journal(
        "rid", iter((1.0, *[3.5] * 20)).__next__, action="cancel", metrics=Metrics(meter)
    )


def test_an_outcome_is_counted_with_how_sure_it_is() -> None:
    meter = Recorder()
    written = journal(meter)
    written.note(confirmed=True, replayed=False)
    written.write(200, "cancelled")
    assert meter.of("facade.outcomes") == [
        {"action": "cancel", "outcome": "cancelled", "confirmed": True, "replayed": False}
    ]
    assert meter.of("facade.problems") == []
    assert (
        "facade.request.duration",
        2.5,
        {"action": "cancel", "status_class": "2xx"},
    ) in meter.recorded


def test_a_problem_is_counted_by_its_code() -> None:
    meter = Recorder()
    journal(meter).write(503, "overloaded")
    assert meter.of("facade.problems") == [
        {"action": "cancel", "code": "overloaded", "status": 503}
    ]
    assert meter.of("facade.outcomes") == []


def test_what_an_operator_is_told_is_counted_also_after_the_answer() -> None:
    meter = Recorder()
    written = journal(meter)
    with written.collecting():
        tell(logging.getLogger("facade.test"), logging.ERROR, "credential_refused")
        written.write(500, "misconfigured")
        tell(logging.getLogger("facade.test"), logging.ERROR, "store_unavailable")
    assert meter.of("facade.events") == [
        {"event": "credential_refused"},
        {"event": "store_unavailable"},
    ]


def test_a_problem_says_which_error_is_behind_its_code() -> None:
    meter = Recorder()
    written = journal(meter)
    written.cause = "KeyNotDue"
    written.write(503, "upstream_unavailable")
    assert meter.of("facade.problems") == [
        {"action": "cancel", "code": "upstream_unavailable", "status": 503, "cause": "KeyNotDue"}
    ]


def test_a_request_that_took_too_long_is_marked_as_slow() -> None:
    meter = Recorder()
    Journal("rid", iter((1.0, 6.5)).__next__, action="cancel", metrics=Metrics(meter)).write(
        200, "cancelled"
    )
    assert meter.of("facade.request.duration") == [
        {"action": "cancel", "status_class": "2xx", "slow": True}
    ]


@pytest.mark.parametrize(
    ("calls", "retries"),
    [
        pytest.param([("cancel", "answered")], [], id="once"),
        pytest.param(
            [("cancel", "refused"), ("cancel", "answered")], ["cancel"], id="throttled, then done"
        ),
        pytest.param(
            [("cancel", "unanswered"), ("look", "answered"), ("cancel", "answered")],
            ["cancel"],
            id="again after a look",
        ),
        pytest.param(
            [("cancel", "unanswered"), ("look", "not_sent"), ("look", "answered")],
            ["look"],
            id="a look twice",
        ),
        pytest.param([("list", "answered")] * 3, [], id="pages are no retries"),
        pytest.param([("cancel", "answered")] * 2, [], id="a new token is no retry"),
    ],
)
def test_a_retry_is_a_call_that_repeats_one_without_a_final_answer(
    calls: list[tuple[str, str]], retries: list[str]
) -> None:
    meter = Recorder()
    written = journal(meter)
    for step, ending in calls:
        written.graph_call(step, ending, status=None, graph_request_id=None, seconds=0.1)
    assert [attributes["step"] for attributes in meter.of("facade.upstream.retries")] == retries


# The names are documented.


def test_every_metric_is_documented_with_its_unit_and_its_dimensions() -> None:
    pages = REPOSITORY.glob("docs/*.md")
    rows = (
        [cell.strip() for cell in line.split("|")[1:4]]
        for page in pages
        for line in page.read_text("utf-8").splitlines()
        if line.startswith("| `facade.")
    )
    table = {
        name.strip("`"): (
            unit.strip("`"),
            set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", split_by))),
        )
        for name, unit, split_by in rows
    }
    assert table == {metric.name: (metric.unit, set(metric.dimensions)) for metric in METRICS}


def test_nothing_is_split_by_what_its_metric_does_not_name() -> None:
    meter = Recorder()
    metrics = Metrics(meter)
    metrics.arrived("cancel")
    for status in (200, 503):
        metrics.answered(
            "cancel", status, "any", 6.0, cause="Overloaded", confirmed=True, replayed=False
        )
    metrics.upstream_call("graph", "cancel", None, 1.0)
    metrics.upstream_retry("graph", "cancel")
    metrics.exchanged(asked_entra=True)
    metrics.store_failed("begin")
    metrics.happened("credential_refused")
    metrics.ended_late("cancel", "done")

    split_by: dict[str, set[str]] = {}
    for name, _, attributes in meter.recorded:
        split_by.setdefault(name, set()).update(attributes)
    assert split_by == {metric.name: set(metric.dimensions) for metric in METRICS}


def test_a_distribution_that_nobody_collects_does_not_grow_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.telemetry.sums._MOST_VALUES", 3)
    sums = Sums()
    for number in range(5):
        sums.record(DURATION, number, {"action": "cancel"})
        sums.record(PROBLEMS, 1, {"code": "overloaded"})
    assert {metric: values for metric, _, values in sums.take()} == {
        DURATION: [0, 1, 2],
        PROBLEMS: [5],
    }
    assert list(sums.take()) == []


def test_what_is_back_at_zero_is_told_once() -> None:
    sums = Sums()
    for value in (1, 1, -1):
        sums.record(ACTIVE, value, {"action": "cancel"})
    assert sums.levels() == sums.levels() == [({"action": "cancel"}, 1)]
    sums.record(ACTIVE, -1, {"action": "cancel"})
    assert (sums.levels(), sums.levels()) == ([({"action": "cancel"}, 0)], [])


def test_no_measurement_is_lost_or_counted_twice_among_threads() -> None:
    sums, taken = Sums(), list[float]()

    def measure() -> None:
        for _ in range(2_000):
            sums.record(PROBLEMS, 1, {"code": "overloaded"})

    with ThreadPoolExecutor(9) as threads:
        busy = [threads.submit(measure) for _ in range(8)]
        while not all(job.done() for job in busy):
            taken += [value for _, _, values in sums.take() for value in values]
    taken += [value for _, _, values in sums.take() for value in values]
    assert sum(taken) == 16_000
