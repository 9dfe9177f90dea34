"""After how long to try again. Pure: no sleep, no clock, no randomness of its own.

Owns the reading of a Retry-After header, and the pause where nobody named one. Does *not* decide
whether to try again.
"""

import email.utils
import math
import re
from collections.abc import Callable
from datetime import UTC

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 4.0
_LONGEST_S = 9_999_999_999.0
_MOST_WAITS = 16
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_BETWEEN_WAITS = re.compile(r",(?!\s*[0-9]{1,2}[ -][A-Za-z]{3})")  # not the comma of "Sun, 22 Nov"


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the wait in seconds that a Retry-After header asks for, or None.

    RFC 9110 10.2.3: seconds or a date; None where it says nothing usable. ``now`` is in seconds
    since the epoch. A date in the past is no wait at all. Graph also sends decimals: they are
    rounded up. Of several waits, in one header or in several, the longest counts.
    """
    parts = _BETWEEN_WAITS.split(value or "")[:_MOST_WAITS]
    waits = [_parse_wait(part.strip(), now) for part in parts]
    return max((wait for wait in waits if wait is not None), default=None)


def _parse_wait(text: str, now: float) -> float | None:
    if _SECONDS.fullmatch(text):
        return float(math.ceil(min(float(text), _LONGEST_S)))
    try:
        parsed = email.utils.parsedate_to_datetime(text)
        if (
            parsed.tzinfo is None
        ):  # asctime's form names no zone; every HTTP date is in UTC (RFC 9110 5.6.7)
            parsed = parsed.replace(tzinfo=UTC)
        return max(0.0, parsed.timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def backoff_s(tries: int, random: Callable[[], float]) -> float:
    """Return a full-jitter pause in seconds before try ``tries + 1``.

    ``random`` gives numbers from 0 up to 1.
    """
    return random() * min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(tries, 16))
