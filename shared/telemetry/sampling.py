"""Which requests have spans. Metrics and lines are never sampled.

Owns the choice of a sampler. Does *not* export anything.
"""

import random
from collections.abc import Mapping, Sequence
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


class OneInTwenty(Sampler):
    """Samples one request in twenty, with all that hangs on it.

    Chance decides, and nothing that a caller sends: neither the flag nor the id of a trace, or a
    stranger could hide, or be recorded at our cost each time. Azure Monitor counts a span for as
    many as its sample rate says.
    """

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
        del trace_id, name, kind, links, trace_state
        parent = get_current_span(parent_context).get_span_context()
        sampled = (
            parent.trace_flags.sampled
            if parent.is_valid and not parent.is_remote
            else random.random() < _SHARE  # noqa: S311 - guards nothing
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
    standard ones: ``microsoft.*`` speaks to the Functions host.

    A caller's flag "not sampled" counts with the samplers ``parentbased_*`` alone.
    """
    ratio = _ratio(environment.get("OTEL_TRACES_SAMPLER_ARG"))
    named: dict[str, Sampler] = {
        "always_on": ALWAYS_ON,
        "always_off": ALWAYS_OFF,
        "traceidratio": TraceIdRatioBased(ratio),
        "parentbased_always_on": DEFAULT_ON,
        "parentbased_always_off": DEFAULT_OFF,
        "parentbased_traceidratio": ParentBasedTraceIdRatio(ratio),
    }
    return named.get(environment.get("OTEL_TRACES_SAMPLER", "").strip().lower(), otherwise)


def _ratio(argument: str | None) -> float:
    """Return a share from 0 to 1; what is none counts as not set, as the specification has it."""
    try:
        ratio = float(argument or 1.0)
    except ValueError:
        return 1.0
    return ratio if 0.0 <= ratio <= 1.0 else 1.0
