"""All the ways in which one exchange with Graph can go: what Graph does, and what the service sees
of it.

The service only sees ``seen``; ``landing`` is the truth behind it. ``ALL_CANCELS`` and
``ALL_LOOKS`` are everything. ``CANCELS`` and ``LOOKS`` hold one letter of each class that the
protocol can tell apart. ``FEW_CANCELS`` and ``FEW_LOOKS``, for schedules in which something else
goes wrong as well, hold one of each consequence, and leave out those that only differ in waiting or
in whose fault it is. ``test_alphabet`` proves that nothing else is left out.
"""

from dataclasses import dataclass, replace
from enum import Enum

from shared.graph.endings import Body, GraphAnswer, NoAnswer, Seen

APPOINTMENT = "AAMk/A+="


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

    ``doubtful``: nobody can know what it did. ``hides``: it says 404 of what may stand, which Graph
    does not do to a request that it has shown it to. ``signs_out``: Entra gives no other token for
    the one that is refused.
    """

    name: str
    seen: Seen | None = None
    landing: Landing = Landing.NEVER
    times_out: bool = False
    doubtful: bool = False
    hides: bool = False
    signs_out: bool = False

    def __str__(self) -> str:
        return (
            self.name
            if self.landing is Landing.NEVER
            else f"{self.name}, effect {self.landing.value}"
        )


def _coded(status: int, code: str, *, doubtful: bool = False) -> Letter:
    return Letter(f"{status} {code}", GraphAnswer(status, codes=(code,)), doubtful=doubtful)


TRUE = Letter("true")
HIDDEN = Letter(
    "404 whatever the truth", GraphAnswer(404, codes=("ErrorItemNotFound",)), hides=True
)
_HIDDEN_400 = replace(_coded(400, "itemNotFound"), hides=True)
_EMPTY = Letter("404 without a body, anybody's", GraphAnswer(404, Body.NOTHING))
_NO_BUSINESS = _coded(404, "ErrorNonExistentMailbox")
_NO_MEMBER = _coded(404, "ErrorFolderNotFound")
_REFUSED = tuple(
    Letter(
        f"429, Retry-After {retry_after}",
        GraphAnswer(429, codes=("TooManyRequests",), retry_after=retry_after),
    )
    for retry_after in (None, "1", "60")
)
_NOT_SENT = Letter("not sent", NoAnswer(sent=False, cause="NewConnectionError"))
_DENIED = _coded(403, "ErrorAccessDenied")
_TOKEN_REFUSED = _coded(401, "InvalidAuthenticationToken")
_SIGNED_OUT = replace(_TOKEN_REFUSED, name="401, and no other token", signs_out=True)
_MALFORMED = _coded(400, "ErrorInvalidIdMalformed")
_GENERIC = _coded(400, "BadRequest")
_UNPARSED = _coded(400, "RequestBroker--ParseUri")
_RULE = Letter("400 without a code", GraphAnswer(400))
_NOT_ALLOWED = _coded(405, "BadRequest")
_MAILBOX = _coded(404, "ResourceNotFound", doubtful=True)
_SETTLED = (
    _coded(404, "UnknownError", doubtful=True),
    Letter("404 in another form", GraphAnswer(404, Body.JSON), doubtful=True),
    Letter("404, a page", GraphAnswer(404, Body.PAGE), doubtful=True),
    _coded(409, "ErrorIrresolvableConflict", doubtful=True),
    Letter("412", GraphAnswer(412), doubtful=True),
    Letter("423", GraphAnswer(423), doubtful=True),
    _coded(403, "ErrorExceededMessageLimit", doubtful=True),
    _coded(404, "ErrorInvalidIdMalformed", doubtful=True),
)
_BROKEN = _coded(500, "UnknownError", doubtful=True)
_NOT_MALFORMED = _coded(500, "ErrorInvalidIdMalformed", doubtful=True)
_OTHER_FORM = Letter("403 in another form", GraphAnswer(403, Body.JSON), doubtful=True)
_REDIRECT = Letter("302", GraphAnswer(302, Body.NOTHING), doubtful=True)
_TIME_OUT = Letter(
    "time-out", NoAnswer(sent=True, cause="ReadTimeoutError"), times_out=True, doubtful=True
)
_RESET = Letter("reset", NoAnswer(sent=True, cause="ProtocolError"), doubtful=True)
_GATEWAYS = (
    Letter("408", GraphAnswer(408), doubtful=True),
    Letter("502", GraphAnswer(502, Body.PAGE), doubtful=True),
    Letter("503", GraphAnswer(503, codes=("serviceNotAvailable",)), doubtful=True),
    Letter("504", GraphAnswer(504, Body.PAGE), doubtful=True),
    Letter("500, a page", GraphAnswer(500, Body.PAGE), doubtful=True),
    Letter("202", GraphAnswer(202), doubtful=True),
    Letter("204 with a body", GraphAnswer(204, Body.PAGE), doubtful=True),
)
_UNAVAILABLE = Letter(
    "503, Retry-After 1",
    GraphAnswer(503, codes=("serviceNotAvailable",), retry_after="1"),
    doubtful=True,
)
_UNREADABLE = Letter("200 unreadable", GraphAnswer(200, Body.PAGE), doubtful=True)
_ANOTHER = Letter("200 of another", GraphAnswer(200, resource={"id": "AAMkother="}))
_NOBODY = Letter("200 of nothing", GraphAnswer(200, resource={}))


def _landing(letter: Letter, *landings: Landing) -> tuple[Letter, ...]:
    return tuple(replace(letter, landing=landing) for landing in (Landing.NEVER, *landings))


FEW_CANCELS = (
    TRUE,
    HIDDEN,
    _EMPTY,
    _NO_BUSINESS,
    _REFUSED[1],
    _DENIED,
    _SIGNED_OUT,
    *_landing(_MAILBOX, Landing.AT_ONCE),
    replace(_BROKEN, landing=Landing.AFTER_RUN),
    replace(_TIME_OUT, landing=Landing.AT_ONCE),
    *_landing(_RESET, Landing.AT_ONCE, *LATER),
)
CANCELS = (
    *FEW_CANCELS,
    _REFUSED[0],
    _REFUSED[2],
    _NOT_SENT,
    _TOKEN_REFUSED,
    _UNPARSED,
    _GENERIC,
    *_landing(_BROKEN, Landing.AT_ONCE, Landing.BEFORE_NEXT_CANCEL),
    *_landing(_TIME_OUT, *LATER),
    _UNAVAILABLE,
)
ALL_CANCELS = (
    *CANCELS,
    _HIDDEN_400,
    _NO_MEMBER,
    _MALFORMED,
    _RULE,
    _NOT_ALLOWED,
    *(twin for letter in _SETTLED for twin in _landing(letter, Landing.AT_ONCE)),
    *(twin for letter in (_REDIRECT, _OTHER_FORM) for twin in _landing(letter, *LATE)),
    *_landing(_NOT_MALFORMED, Landing.AT_ONCE, *LATE),
    *(
        twin
        for letter in (*_GATEWAYS, _UNAVAILABLE)
        for twin in _landing(letter, Landing.AT_ONCE, *LATE)
    ),
)
STUBBORN_CANCELS = (_MAILBOX, _BROKEN, _NOT_SENT)
STUBBORN_LOOKS = (TRUE, _NOT_SENT)
FEW_LOOKS = (TRUE, HIDDEN, _EMPTY, _NO_BUSINESS, _DENIED, _BROKEN)
LOOKS = (
    *FEW_LOOKS,
    _TOKEN_REFUSED,
    _SIGNED_OUT,
    _UNPARSED,
    _GENERIC,
    *_REFUSED,
    _NOT_SENT,
    _TIME_OUT,
)
ALL_LOOKS = (
    *LOOKS,
    _HIDDEN_400,
    _NO_MEMBER,
    _MALFORMED,
    _RULE,
    _MAILBOX,
    *_SETTLED,
    _ANOTHER,
    _NOBODY,
    _UNREADABLE,
    _REDIRECT,
    _OTHER_FORM,
    _NOT_MALFORMED,
    _RESET,
    _UNAVAILABLE,
    *_GATEWAYS[:5],
)
