"""One deadline for everything that a request does.

Owns arithmetic on time only: it never sleeps.
"""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on a monotonic clock, in seconds. ``now`` is that clock."""

    ends_at: float
    now: Callable[[], float] = field(repr=False)

    def remaining_s(self) -> float:
        """Return the seconds that are left, never less than zero."""
        return max(0.0, self.ends_at - self.now())
