"""Measurements that wait for whoever sends them.

Owns adding up, which is all that a request does of measuring. Does *not* know what a measurement
means, or where it goes.
"""

import threading
from collections.abc import Iterable
from typing import Final

from shared.telemetry.metrics import Meter, Metric
from shared.telemetry.tracing import Attributes

_MOST_VALUES: Final = 100_000  # of one distribution: more than a worker can measure in a minute


class Sums(Meter):
    """Adds measurements up until somebody takes them; safe for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[tuple[object, ...], tuple[Metric, Attributes, list[float]]] = {}
        self._levels: dict[tuple[object, ...], tuple[Attributes, float]] = {}

    def record(self, metric: Metric, value: float, attributes: Attributes) -> None:
        """See ``Meter.record``. Where nobody takes them any more, a distribution stops growing."""
        key = (metric.name, *attributes.items())
        with self._lock:
            if metric.kind == "up_down_counter":
                self._levels[key] = attributes, self._levels.get(key, (attributes, 0))[1] + value
                return
            values = self._waiting.setdefault(key, (metric, attributes, []))[2]
            if metric.kind == "counter" and values:
                values[0] += value
            elif len(values) < _MOST_VALUES:
                values.append(value)

    def take(self) -> Iterable[tuple[Metric, Attributes, list[float]]]:
        """Return what has come since: a counter's sum, each value of a distribution."""
        with self._lock:
            taken, self._waiting = self._waiting, {}
        return taken.values()

    def levels(self) -> list[tuple[Attributes, float]]:
        """Return the values of what goes up and down; one that is back at zero comes once."""
        with self._lock:
            levels = list(self._levels.values())
            self._levels = {key: level for key, level in self._levels.items() if level[1]}
        return levels
