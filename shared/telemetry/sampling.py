"""Which requests are traced.

Owns the samplers, and which of them OTEL_TRACES_SAMPLER names. Does *not* open spans.
"""

# ruff: noqa: ARG002 - the SDK decides what a sampler is told

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from opentelemetry.context import Context
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
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

_SHARE: Final = 0.05
_SHARE_OF_ONE: Final = re.compile(r"0?\.[0-9]+|[01](?:\.0*)?")


class OneInTwenty(Sampler):
    """Samples one request in twenty, with all spans below it.

    ``chance`` gives numbers from 0 up to 1. Chance alone decides, and nothing that a caller sends.
    Otherwise a stranger could hide by the flag or the id of a trace, or be recorded at our cost
    each time. Azure Monitor counts a span for as many as its sample rate says.
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
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """See ``Sampler.should_sample``."""
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
    """Return the sampler that OTEL_TRACES_SAMPLER names.

    ``otherwise`` is for a name that is none of the standard ones: ``microsoft.*`` speaks to the
    Functions host. An argument that is no share counts as not set, as the specification has it. A
    caller's flag "not sampled" counts with the samplers ``parentbased_*`` alone.
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
