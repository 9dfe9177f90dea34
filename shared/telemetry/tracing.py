"""Spans: where the time of a request goes, and in whose trace.

The port, and what stands behind it while telemetry is off.

Owns what a span may be told. Does *not* know OpenTelemetry (``open_telemetry.py``): nothing of it
is imported unless somebody wants it. Nothing personal goes in: names are fixed, addresses are
templates, errors are names of classes or codes, never texts.
"""

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Protocol, Self

type Attributes = Mapping[str, str | int | float | bool]


class Span(Protocol):
    """One stretch of a request."""

    @property
    def trace_id(self) -> str | None:
        """The trace that it belongs to, in hex; None while telemetry is off."""
        ...

    def note(self, attributes: Attributes) -> None:
        """Say more about it."""
        ...

    def fail(self, error: str) -> None:
        """Mark it as failed. ``error`` is the name of a class, a code or a status."""
        ...


class Tracing(Protocol):
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
        ...

    def span(self, name: str, attributes: Attributes = ...) -> AbstractContextManager[Span]:
        """Open the span of a step of our own."""
        ...

    def call(self, name: str, attributes: Attributes = ...) -> AbstractContextManager[Span]:
        """Open the span of a call to somebody else."""
        ...

    def headers(self) -> dict[str, str]:
        """Return what hands the open span on to Entra or Graph; nothing else may be sent it."""
        ...


left_out: ContextVar[bool] = ContextVar("left_out", default=False)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class LeftOut:
    """The span of a request that is not sampled.

    It knows its trace, for the line of the request. It marks its context, so that what hangs on it
    costs next to nothing.
    """

    def __init__(self, traceparent: str | None) -> None:
        given = _TRACEPARENT.fullmatch(traceparent or "")
        self.trace_id = given[1] if given else None

    def __enter__(self) -> Self:
        self._token = left_out.set(True)
        return self

    def __exit__(self, *_: object) -> None:
        left_out.reset(self._token)

    def note(self, attributes: Attributes) -> None:
        """See ``Span.note``."""

    def fail(self, error: str) -> None:
        """See ``Span.fail``."""


class _NoSpan:
    trace_id = None

    def note(self, attributes: Attributes) -> None:
        pass

    def fail(self, error: str) -> None:
        pass


NO_SPAN: AbstractContextManager[Span] = nullcontext(_NoSpan())


class NoTracing:
    """Telemetry is off: nothing is kept and nothing is handed on."""

    def request(
        self, name: str, traceparent: str | None, attributes: Attributes
    ) -> AbstractContextManager[Span]:
        """See ``Tracing.request``."""
        del name, traceparent, attributes
        return NO_SPAN

    def span(self, name: str, attributes: Attributes | None = None) -> AbstractContextManager[Span]:
        """See ``Tracing.span``."""
        del name, attributes
        return NO_SPAN

    def call(self, name: str, attributes: Attributes | None = None) -> AbstractContextManager[Span]:
        """See ``Tracing.call``."""
        del name, attributes
        return NO_SPAN

    def headers(self) -> dict[str, str]:
        """See ``Tracing.headers``."""
        return {}
