"""When to try again, and after how long. Pure: no sleep, no clock, no randomness of its own.

Owns the four ways in which an exchange with Graph can end, and the arithmetic of waiting. Does
*not* know appointments.
"""

import email.utils
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC
from enum import StrEnum
from typing import Any

_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 4.0


@dataclass(frozen=True, slots=True)
class GraphAnswer:
    """An HTTP answer, reduced to what decides.

    ``readable`` says whether its body was what its status promises (a JSON object, or nothing; a
    204 has none).

    ``codes`` are Graph's error codes, outermost first; ``retry_after`` is the header as it came;
    ``claims`` a claims challenge as minified JSON; ``resource`` the JSON object of a success.
    """

    status: int
    readable: bool = True
    codes: tuple[str, ...] = ()
    request_id: str | None = None
    retry_after: str | None = None
    claims: str | None = None
    resource: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def code(self) -> str | None:
        """The code to quote to a person: the outermost."""
        return self.codes[0] if self.codes else None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No HTTP answer.

    ``sent`` is False only when it is certain that no byte of the request left; ``cause`` is the
    name of what happened.
    """

    sent: bool
    cause: str


type Seen = GraphAnswer | NoAnswer


class Ending(StrEnum):
    """How an exchange ended, which alone decides whether it may be repeated."""

    ANSWERED = "answered"  # final: never repeat
    REFUSED = "refused"  # throttled: repeat after the wait that was asked for
    NOT_SENT = "not_sent"  # repeat with backoff
    UNANSWERED = "unanswered"  # may have taken effect: repeat only after a look


def ending(seen: Seen, *, success: int) -> Ending:
    """Tell how an exchange ended; ``success`` is the one status that means success (204 for an
    action, 200 for a read).

    Any other 2xx, a redirect, every 5xx and an unreadable success leave open what happened:
    Bookings has been seen to answer 500 to bad input, and Graph's gateways to answer 504 to mail
    that was sent. So does a page of HTML that says 404: it is a gateway's word about itself.
    """
    if isinstance(seen, NoAnswer):
        return Ending.UNANSWERED if seen.sent else Ending.NOT_SENT
    if seen.status == 429:
        return Ending.REFUSED
    if seen.status == success:
        return Ending.ANSWERED if seen.readable else Ending.UNANSWERED
    if seen.status in (404, 410) and not seen.readable:
        return Ending.UNANSWERED
    return Ending.ANSWERED if 400 <= seen.status < 500 else Ending.UNANSWERED


def may_still_happen(seen: Seen) -> bool:
    """Tell whether an unanswered exchange may still be under way at Graph; only a 500 and a
    redirect say that it is over.

    Not so: no answer at all, a gateway that stopped waiting for one, a 2xx that promises one for
    later (202: RFC 9110 15.3.3).
    """
    return isinstance(seen, NoAnswer) or not (seen.status == 500 or 300 <= seen.status < 400)


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
