"""Time and chance for those who wait for something.

Owns the clock, the pause and the random numbers: they are passed in, so that a test decides them.
Does *not* decide how long to wait.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """Epoch seconds, a pause of this thread in seconds, and numbers from 0 up to 1."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random
