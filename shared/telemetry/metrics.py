"""Metrics: what is counted and timed, under which names, and by what it can be split.

Owns names, units and attributes, so that a dashboard has one place to look them up. Does *not* know
OpenTelemetry (``exporters.py``). Every attribute has few values: no id, no person, no mailbox,
no text of anybody.
"""

from dataclasses import dataclass
from typing import Final, Literal

from shared.telemetry.tracing import Attributes

SLOW_S: Final = 5.0  # half of what a webhook sender waits; the alert "slow" counts what took longer

type Event = Literal[
    "credential_accepted_again",
    "credential_changed",
    "credential_refused",
    "entra_refused",
    "entra_unreachable",
    "exchange_identity_mismatch",
    "exchange_unreadable",
    "store_unavailable",
]


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that is measured.

    ``unit`` is one of UCUM, as OpenTelemetry writes them. ``dimensions`` are the names of the
    attributes that it may be split by.
    """

    name: str
    kind: Literal["counter", "up_down_counter", "histogram"]
    unit: str
    description: str
    dimensions: tuple[str, ...]


OUTCOMES: Final = Metric(
    "facade.outcomes",
    "counter",
    "{request}",
    "Requests answered with 200",
    ("action", "outcome", "confirmed", "replayed"),
)
PROBLEMS: Final = Metric(
    "facade.problems",
    "counter",
    "{request}",
    "Requests answered with a problem",
    ("action", "code", "status", "cause"),
)
DURATION: Final = Metric(
    "facade.request.duration",
    "histogram",
    "s",
    "From arrival to answer",
    ("action", "status_class", "slow"),
)
ACTIVE: Final = Metric(
    "facade.requests.active",
    "up_down_counter",
    "{request}",
    "Requests that have arrived and are not answered",
    ("action",),
)
UPSTREAM: Final = Metric(
    "facade.upstream.duration",
    "histogram",
    "s",
    "One call to Entra or Graph",
    ("upstream", "step", "status_class"),
)
RETRIES: Final = Metric(
    "facade.upstream.retries",
    "counter",
    "{call}",
    "Calls that repeat one without a final answer",
    ("upstream", "step"),
)
EXCHANGES: Final = Metric(
    "facade.exchanges",
    "counter",
    "{exchange}",
    "Graph tokens that were asked for; a miss asks Entra",
    ("cache",),
)
STORE_FAILURES: Final = Metric(
    "facade.store.failures",
    "counter",
    "{call}",
    "Calls to the store of records that failed",
    ("step",),
)
LATE: Final = Metric(
    "facade.late",
    "counter",
    "{request}",
    "Requests whose work ended after their answer",
    ("action", "ending"),
)
EVENTS: Final = Metric(
    "facade.events",
    "counter",
    "{event}",
    "Events that an operator should know of",
    ("event",),
)

METRICS: Final = (
    OUTCOMES,
    PROBLEMS,
    DURATION,
    ACTIVE,
    UPSTREAM,
    RETRIES,
    EXCHANGES,
    STORE_FAILURES,
    LATE,
    EVENTS,
)


class Meter:
    """Takes measurements; safe for all threads, raises nothing. This one keeps nothing."""

    def record(self, metric: Metric, value: float, attributes: Attributes) -> None:
        """Count ``value``, or add it to a distribution."""


class Metrics:
    """What this service measures; one instance per worker, safe for all threads."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def arrived(self, action: str) -> None:
        """Count a request that is to be answered."""
        self._meter.record(ACTIVE, 1, {"action": action})

    def answered(
        self,
        action: str,
        status: int,
        code: str,
        seconds: float,
        *,
        cause: str | None,
        confirmed: bool,
        replayed: bool,
    ) -> None:
        """Count an answer.

        ``code`` is the outcome, or the problem's code. ``cause`` is the class of the error behind a
        problem; it tells apart what shares a code.
        """
        if status == 200:
            self._meter.record(
                OUTCOMES,
                1,
                {"action": action, "outcome": code, "confirmed": confirmed, "replayed": replayed},
            )
        else:
            why = {"cause": cause} if cause else {}
            self._meter.record(
                PROBLEMS, 1, {"action": action, "code": code, "status": status, **why}
            )
        pace = {"slow": True} if seconds > SLOW_S else {}
        self._meter.record(
            DURATION, seconds, {"action": action, "status_class": _class_of(status), **pace}
        )
        self._meter.record(ACTIVE, -1, {"action": action})

    def upstream_call(
        self, upstream: Literal["entra", "graph"], step: str, status: int | None, seconds: float
    ) -> None:
        """Time one call; ``status`` None where no answer came."""
        self._meter.record(
            UPSTREAM,
            seconds,
            {"upstream": upstream, "step": step, "status_class": _class_of(status)},
        )

    def upstream_retry(self, upstream: Literal["entra", "graph"], step: str) -> None:
        """Count a call that repeats one which got no final answer."""
        self._meter.record(RETRIES, 1, {"upstream": upstream, "step": step})

    def exchanged(self, *, asked_entra: bool) -> None:
        """Count a Graph token that a request needed."""
        self._meter.record(EXCHANGES, 1, {"cache": "miss" if asked_entra else "hit"})

    def store_failed(self, step: str) -> None:
        """Count a call to the store of records that failed."""
        self._meter.record(STORE_FAILURES, 1, {"step": step})

    def happened(self, event: Event) -> None:
        """Count an event that an operator should know of."""
        self._meter.record(EVENTS, 1, {"event": event})

    def ended_late(self, action: str, ending: str) -> None:
        """Count work whose caller had been answered without it."""
        self._meter.record(LATE, 1, {"action": action, "ending": ending})


def _class_of(status: int | None) -> str:
    return "none" if status is None else f"{status // 100}xx"
