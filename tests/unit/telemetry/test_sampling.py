"""Which requests have spans, and what those cost that have none."""

import random
from collections.abc import Callable

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import SpanKind

from shared.telemetry.sampling import OneInTwenty, choose_sampler
from shared.telemetry.spans import BelowTheHost, OpenTelemetryTracing
from shared.telemetry.tracing import NO_SPAN, Tracing

OTHERWISE = OneInTwenty(random.random)
SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = f"{SAMPLED[:-2]}00"


@pytest.mark.parametrize(
    ("environment", "description"),
    [
        ({}, "OneInTwenty{0.05}"),
        ({"OTEL_TRACES_SAMPLER": ""}, "OneInTwenty{0.05}"),
        ({"OTEL_TRACES_SAMPLER": "microsoft.fixed_percentage"}, "OneInTwenty{0.05}"),
        (
            {"OTEL_TRACES_SAMPLER": "microsoft.rate_limited", "OTEL_TRACES_SAMPLER_ARG": "5"},
            "OneInTwenty{0.05}",
        ),
        ({"OTEL_TRACES_SAMPLER": "no such sampler"}, "OneInTwenty{0.05}"),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, "AlwaysOnSampler"),
        ({"OTEL_TRACES_SAMPLER": " ALWAYS_OFF "}, "AlwaysOffSampler"),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
            "TraceIdRatioBased{0.25}",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"},
            "TraceIdRatioBased{0.0}",
        ),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, "TraceIdRatioBased{1.0}"),
        *(
            (
                {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": wrong},
                "TraceIdRatioBased{1.0}",
            )
            for wrong in ("7", "-1", "nan", "a twentieth")
        ),
    ],
)
def test_the_standard_names_override_and_all_others_leave_the_default(
    environment: dict[str, str], description: str
) -> None:
    assert choose_sampler(environment, OTHERWISE).get_description() == description


@pytest.mark.parametrize("kind", ["on", "off", "traceidratio"])
def test_a_sampler_that_heeds_the_caller_may_be_asked_for(kind: str) -> None:
    name = "parentbased_traceidratio" if kind == "traceidratio" else f"parentbased_always_{kind}"
    chosen = choose_sampler({"OTEL_TRACES_SAMPLER": name}, OTHERWISE)
    assert chosen.get_description().startswith("ParentBased{")


class World:
    """Tracing, and the spans that it has told."""

    def __init__(self, sampler: Sampler, *, below_the_host: bool) -> None:
        self.exported = InMemorySpanExporter()
        tracers = TracerProvider(sampler, shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self.exported))
        tracer = tracers.get_tracer("test")
        self.tracing: Tracing = (
            BelowTheHost(tracer, sampler)
            if below_the_host
            else OpenTelemetryTracing(tracer, SpanKind.SERVER)
        )

    def ask(self, traceparent: str | None = SAMPLED) -> list[str]:
        """Carry a request out; return the spans that it left, by name."""
        self.exported.clear()
        with (
            self.tracing.request("request", traceparent, {}),
            self.tracing.span("step"),
            self.tracing.span("call", dict),
        ):
            self.handed_on = self.tracing.headers()
        return [span.name for span in self.exported.get_finished_spans()]


def test_one_request_in_twenty_has_spans_and_then_all_of_them() -> None:
    world = World(OneInTwenty(random.Random(16).random), below_the_host=True)
    seen = [tuple(world.ask()) for _ in range(4_000)]
    assert set(seen) == {(), ("call", "step")}
    assert 150 < sum(map(bool, seen)) < 250


@pytest.mark.parametrize("traceparent", [SAMPLED, NOT_SAMPLED])
def test_a_caller_decides_neither_for_nor_against_it(traceparent: str) -> None:
    def spans(chance: Callable[[], float]) -> list[str]:
        return World(OneInTwenty(chance), below_the_host=True).ask(traceparent)

    assert spans(lambda: 0.049) == ["call", "step"]
    assert spans(lambda: 0.05) == []


def test_a_span_says_for_how_many_it_stands() -> None:
    world = World(OneInTwenty(lambda: 0.0), below_the_host=True)
    world.ask()
    for span in world.exported.get_finished_spans():
        assert span.attributes == {"_MS.sampleRate": 5.0}


@pytest.mark.parametrize("below_the_host", [True, False])
def test_what_is_not_sampled_makes_no_span_and_hands_nothing_on(below_the_host: bool) -> None:
    sampler = choose_sampler({"OTEL_TRACES_SAMPLER": "always_off"}, OTHERWISE)
    world = World(sampler, below_the_host=below_the_host)
    with world.tracing.request("request", SAMPLED, {}) as request:
        assert request.trace_id == SAMPLED.split("-")[1]  # the line of the request names it still
        assert world.tracing.span("step") is world.tracing.span("call", dict) is NO_SPAN
        assert world.tracing.headers() == {}
    assert world.ask() == []


def test_the_host_reports_a_request_and_we_what_hangs_on_it() -> None:
    world = World(ALWAYS_ON, below_the_host=True)
    assert world.ask() == ["call", "step"]
    step = world.exported.get_finished_spans()[1]
    assert step.parent is not None
    assert f"{step.parent.span_id:016x}" == SAMPLED.split("-")[2]
    assert world.handed_on["traceparent"].startswith(SAMPLED[:35])


def test_without_a_host_what_a_request_does_is_one_trace_all_the_same() -> None:
    world = World(ALWAYS_ON, below_the_host=True)
    assert world.ask(None) == ["call", "step"]
    contexts = [span.context for span in world.exported.get_finished_spans()]
    assert len({context.trace_id for context in contexts if context}) == 1


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [
        (SAMPLED, SAMPLED.split("-")[1]),
        (None, None),
        ("", None),
        (f"{SAMPLED}-more", None),
        (SAMPLED.upper(), None),
    ],
)
def test_a_request_without_spans_is_found_by_its_trace_all_the_same(
    traceparent: str | None, trace_id: str | None
) -> None:
    tracing = World(OneInTwenty(lambda: 0.9), below_the_host=True).tracing
    with tracing.request("request", traceparent, {}) as request:
        request.note({"a": 1})
        request.fail("b")
        assert request.trace_id == trace_id
        assert tracing.headers() == {}


def test_a_request_that_is_left_out_leaves_out_no_other() -> None:
    chances = iter([0.9, 0.0])
    world = World(OneInTwenty(lambda: next(chances)), below_the_host=True)
    assert [world.ask(), world.ask()] == [[], ["call", "step"]]
