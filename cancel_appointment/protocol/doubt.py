"""What is known of a cancel under way, and what unanswered cancels leave behind. Pure.

Owns ``Left``, ``Known`` and ``left_by``. Does *not* decide what to send next.
"""

from dataclasses import dataclass
from enum import IntEnum

from shared.graph.endings import Body, GraphAnswer, Seen, reached_mail_limit, what_is_gone


class Left(IntEnum):
    """What an unanswered cancel may have left behind; of several the greatest counts."""

    NOTHING = 0
    SETTLED = 1  # it had no effect, or had it at once
    BROKEN = 2  # it failed, and nobody promises that this was all
    UNDER_WAY = 3  # it may take effect at any time


_SETTLED = frozenset({404, 409, 412, 423})
_BROKEN = frozenset({500, *range(300, 500)}) - {408, 425, 499}


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the appointment, and of this request.

    - ``carried``: an earlier request left a doubt.
    - ``unsure``: an earlier request may have left one, and nobody can tell.
    - ``left``: the worst of what this request's unanswered cancels left.
    - ``looked``: a look after the last of them saw the appointment standing.
    - ``stood``: any look of this request saw it standing.
    - ``sent``: a cancel of this request arrived, or may have.
    - ``renewed``: the token is a renewed one.
    - ``slashed``: the id has another spelling.
    - ``respelled``: Graph refused the path, so the other spelling is used.
    """

    carried: bool = False
    unsure: bool = False
    left: Left = Left.NOTHING
    looked: bool = False
    stood: bool = False
    sent: bool = False
    renewed: bool = False
    slashed: bool = False
    respelled: bool = False

    @property
    def in_doubt(self) -> bool:
        """Whether a cancel of this request may have taken effect, or may yet.

        A later look that saw the appointment standing clears every cancel without a late effect.
        """
        return self.left > (Left.SETTLED if self.looked else Left.NOTHING)

    @property
    def doubt(self) -> bool:
        """Whether a repeat of this request has to look first."""
        return self.carried or self.in_doubt

    @property
    def under_way(self) -> bool:
        """Whether a cancel may still be under way at Graph."""
        return self.carried or self.left is Left.UNDER_WAY


def left_by(seen: Seen) -> Left:
    """Return what an unanswered cancel may have left behind.

    A page counts as silence, except with a 404.
    """
    if not isinstance(seen, GraphAnswer):
        return Left.UNDER_WAY
    if seen.status == 403 and seen.body is Body.FITTING and what_is_gone(seen) is not None:
        return Left.NOTHING  # Graph refused it, in its own form
    if what_is_gone(seen) is not None and seen.status != 410:
        return Left.SETTLED
    if seen.body is Body.PAGE:
        return Left.UNDER_WAY
    if seen.status in _SETTLED or reached_mail_limit(seen):
        return Left.SETTLED
    return Left.BROKEN if seen.status in _BROKEN else Left.UNDER_WAY
