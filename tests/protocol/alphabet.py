"""All the ways in which one exchange with Graph can go: what Graph does, and what the service sees
of it.

The service only sees ``seen``; ``landing`` is the truth behind it. ``ALL_CANCELS`` and
``ALL_LOOKS`` are everything. ``CANCELS`` and ``LOOKS`` hold one letter of each class that the
protocol can tell apart. ``FEW_CANCELS`` and ``FEW_LOOKS``, for schedules in which something else
goes wrong as well, hold one of each consequence, and leave out those that only differ in waiting or
in whose fault it is. ``test_every_schedule`` proves that nothing else is left out.
"""

from dataclasses import dataclass, replace
from enum import Enum

from shared.graph.endings import GraphAnswer, NoAnswer, Seen


class Landing(Enum):
    """When a cancel takes effect, if it reaches Graph: seldom before the answer is given up."""

    NEVER = "never"
    AT_ONCE = "at once"
    BEFORE_NEXT_CALL = "late, before the next call"
    BEFORE_NEXT_CANCEL = "late, between the next look and the next cancel"
    AFTER_RUN = "late, after the run"


LATER = (Landing.BEFORE_NEXT_CANCEL, Landing.AFTER_RUN)
LATE = (Landing.BEFORE_NEXT_CALL, *LATER)


@dataclass(frozen=True, slots=True)
class Letter:
    """One way; ``seen`` None is Graph's true answer.

    ``doubtful``: nobody can know what it did. ``hides``: it says 404 of what may stand.
    """

    name: str
    seen: Seen | None = None
    landing: Landing = Landing.NEVER
    times_out: bool = False
    doubtful: bool = False
    hides: bool = False

    def __str__(self) -> str:
        return (
            self.name
            if self.landing is Landing.NEVER
            else f"{self.name}, effect {self.landing.value}"
        )


TRUE = Letter("true")
HIDDEN = Letter(
    "404 whatever the truth", GraphAnswer(404, codes=("ErrorItemNotFound",)), hides=True
)
_HIDDEN_400 = Letter(
    "400 with a not-found code whatever the truth",
    GraphAnswer(400, codes=("ErrorItemNotFound",)),
    hides=True,
)
_REFUSED = tuple(
    Letter(
        f"429, Retry-After {retry_after}",
        GraphAnswer(429, codes=("TooManyRequests",), retry_after=retry_after),
    )
    for retry_after in (None, "1", "60")
)
_NOT_SENT = Letter("not sent", NoAnswer(sent=False, cause="NewConnectionError"))
_DENIED = Letter("403", GraphAnswer(403, codes=("ErrorAccessDenied",)))
_TOKEN_REFUSED = Letter("401", GraphAnswer(401, codes=("InvalidAuthenticationToken",)))
_MALFORMED = Letter("400 malformed", GraphAnswer(400, codes=("ErrorInvalidIdMalformed",)))
_BROKEN = Letter("500", GraphAnswer(500, codes=("UnknownError",)), doubtful=True)
_UNREADABLE_204 = Letter("204 with a body", GraphAnswer(204, readable=False), doubtful=True)
_UNREADABLE_200 = Letter("200 unreadable", GraphAnswer(200, readable=False), doubtful=True)
_REDIRECT = Letter("302", GraphAnswer(302, readable=False), doubtful=True)
_TIME_OUT = Letter(
    "time-out", NoAnswer(sent=True, cause="ReadTimeoutError"), times_out=True, doubtful=True
)
_RESET = Letter("reset", NoAnswer(sent=True, cause="ProtocolError"), doubtful=True)
_GATEWAYS = (
    Letter("502", GraphAnswer(502, readable=False), doubtful=True),
    Letter("503", GraphAnswer(503, codes=("serviceNotAvailable",)), doubtful=True),
    Letter("504", GraphAnswer(504, readable=False), doubtful=True),
)
_UNAVAILABLE = Letter(
    "503, Retry-After 1",
    GraphAnswer(503, codes=("serviceNotAvailable",), retry_after="1"),
    doubtful=True,
)
_ACCEPTED = Letter("202", GraphAnswer(202), doubtful=True)


def _landing(letter: Letter, *landings: Landing) -> tuple[Letter, ...]:
    return tuple(replace(letter, landing=landing) for landing in (Landing.NEVER, *landings))


CANCELS = (
    TRUE,
    HIDDEN,
    *_REFUSED,
    _NOT_SENT,
    _DENIED,
    _TOKEN_REFUSED,
    *_landing(_BROKEN, Landing.AT_ONCE),
    *_landing(_TIME_OUT, Landing.AT_ONCE, *LATER),
    *_landing(_RESET, Landing.AT_ONCE, *LATER),
    _UNAVAILABLE,
)
ALL_CANCELS = (
    *CANCELS,
    _HIDDEN_400,
    _MALFORMED,
    *_landing(_UNREADABLE_204, Landing.AT_ONCE),
    _REDIRECT,
    *(
        twin
        for letter in (*_GATEWAYS, _ACCEPTED, _UNAVAILABLE)
        for twin in _landing(letter, Landing.AT_ONCE, *LATE)
    ),
)
FEW_CANCELS = (
    TRUE,
    HIDDEN,
    _REFUSED[1],
    _DENIED,
    _BROKEN,
    replace(_TIME_OUT, landing=Landing.AT_ONCE),
    *_landing(_RESET, Landing.AT_ONCE, *LATER),
)
STUBBORN_CANCELS = (_BROKEN, _NOT_SENT)
STUBBORN_LOOKS = (TRUE, _NOT_SENT)
FEW_LOOKS = (TRUE, HIDDEN, _DENIED, _BROKEN)
LOOKS = (TRUE, HIDDEN, _DENIED, _TOKEN_REFUSED, *_REFUSED, _NOT_SENT, _BROKEN, _TIME_OUT)
ALL_LOOKS = (
    *LOOKS,
    _HIDDEN_400,
    _MALFORMED,
    _UNREADABLE_200,
    _REDIRECT,
    _RESET,
    _UNAVAILABLE,
    *_GATEWAYS,
)
