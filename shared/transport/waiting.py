"""Time and chance for those who wait for something.

Owns the clock, the pause and the random numbers: they are passed in, so that a test decides them.
Does *not* decide how long to wait.
"""

import random
import time
from typing import Protocol


class Waiting(Protocol):
    """Epoch seconds, a pause in seconds, and numbers from 0 up to 1."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        ...

    def sleep(self, seconds: float) -> None:
        """Pause this thread."""
        ...

    def random(self) -> float:
        """Return a number from 0 up to 1."""
        ...


class SystemWaiting:
    """Time and chance as they are."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Pause this thread."""
        time.sleep(seconds)

    def random(self) -> float:
        """Return a number from 0 up to 1."""
        return random.random()  # noqa: S311 - jitter, not a secret
