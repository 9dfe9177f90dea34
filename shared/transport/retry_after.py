"""After how long to try again. Pure: no sleep, no clock, no randomness of its own.

Owns the arithmetic of waiting. Does *not* know whether a repeat is safe.
"""

import email.utils
from collections.abc import Callable
from datetime import UTC

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 4.0


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the wait in seconds that a Retry-After header asks for (RFC 9110 10.2.3: seconds or a
    date), or None where it says nothing usable.

    ``now`` is in seconds since the epoch. A date in the past is no wait at all.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:10])
    try:
        parsed = email.utils.parsedate_to_datetime(value)
        if (
            parsed.tzinfo is None
        ):  # asctime's form names no zone; every HTTP date is in UTC (RFC 9110 5.6.7)
            parsed = parsed.replace(tzinfo=UTC)
        return max(0.0, parsed.timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def backoff_s(tries: int, random: Callable[[], float]) -> float:
    """Return a full-jitter pause in seconds before try ``tries + 1``; ``random`` gives numbers from
    0 up to 1.
    """
    return random() * min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(tries, 16))
