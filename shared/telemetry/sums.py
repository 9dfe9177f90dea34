"""Measurements that wait for whoever sends them.

Owns adding up, which is all that a request does of measuring. Does *not* know what a measurement
means, or where it goes.
"""

import threading
from collections.abc import Iterable
from typing import Final

from shared.telemetry.metrics import Metric
from shared.telemetry.tracing import Attributes

_MOST_VALUES: Final = 10_000  # of one distribution, should nobody take them by the clock


class Sums:
    """Adds measurements up until somebody takes them; safe for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[tuple[object, ...], tuple[Metric, Attributes, list[float]]] = {}
        self._levels: dict[tuple[object, ...], tuple[Attributes, float]] = {}

    def add(self, metric: Metric, value: float, attributes: Attributes) -> bool:
        """Add one; tell whether it is time to take them, should nobody do so by the clock."""
        key = (metric.name, *attributes.items())
        with self._lock:
            if metric.kind == "up_down_counter":
                self._levels[key] = attributes, self._levels.get(key, (attributes, 0))[1] + value
                return False
            values = self._waiting.setdefault(key, (metric, attributes, []))[2]
            if metric.kind == "histogram" or not values:
                values.append(value)
            else:
                values[0] += value
            return len(values) >= _MOST_VALUES

    def take(self) -> Iterable[tuple[Metric, Attributes, list[float]]]:
        """Return what has come since the last time: a counter's sum, each value of a distribution."""
        with self._lock:
            taken, self._waiting = self._waiting, {}
        return taken.values()

    def levels(self) -> list[tuple[Attributes, float]]:
        """Return where what goes up and down stands."""
        with self._lock:
            return list(self._levels.values())
