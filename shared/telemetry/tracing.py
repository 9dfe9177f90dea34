"""Spans: where the time of a request goes, and in whose trace.

This is the port, and also what runs while telemetry is off: then it reports nothing.

Owns what a span may be told. Does *not* know OpenTelemetry (``spans.py``): nothing of it is
imported unless somebody wants it. Nothing personal goes in: names are fixed, addresses are
templates, errors are names of classes or codes, never texts.
"""

# ruff: noqa: ARG002 - while telemetry is off, nobody reads what a span is told

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

type Attributes = Mapping[str, str | int | float | bool]


class Span:
    """One stretch of a request.

    ``trace_id`` is the trace that it belongs to, in hex; None while telemetry is off.
    """

    trace_id: str | None = None

    def note(self, attributes: Attributes) -> None:
        """Say more about it."""

    def fail(self, error: str) -> None:
        """Mark it as failed. ``error`` is the name of a class, a code or a status."""


NO_SPAN: AbstractContextManager[Span] = nullcontext(Span())


class Tracing:
    """Opens spans, each a child of the one that is open in the same context.

    An exception that leaves a span marks it with its class.
    """

    def request(
        self, name: str, traceparent: str | None, attributes: Attributes
    ) -> AbstractContextManager[Span]:
        """Open the span of a whole request.

        It is a child of the caller's ``traceparent`` (W3C) where that is one, else the root of a
        new trace.
        """
        return NO_SPAN

    def span(
        self, name: str, call: Callable[[], Attributes] | None = None
    ) -> AbstractContextManager[Span]:
        """Open the span of a step of our own, or of a ``call`` to somebody else.

        ``call`` describes it, and is called only if the span is kept.
        """
        return NO_SPAN

    def headers(self) -> dict[str, str]:
        """Return what hands the open span on to Entra or Graph; nothing else may be sent it."""
        return {}
