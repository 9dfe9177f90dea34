"""The four ways in which an exchange with Graph can end. Pure.

Does *not* know appointments.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


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
