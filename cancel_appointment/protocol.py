"""The protocol that never gives a wrong answer and never cancels twice: what each end of a call
means, and what may be said. Pure.

    an exchange ended   means                                   next
    answered            204: cancelled; "gone": see below;      the end
                        any other refusal: its error
    refused             nothing was done                        the same again, after the wait that was asked for
    not sent            nothing was done                        the same again, with backoff
    unanswered          a cancel may have taken effect (doubt)  look
    look: it stands     no effect so far                        cancel again
    look: it is gone    ours or not, nobody knows               not_found, unconfirmed

"Gone" to a cancel is ``not_found``: confirmed without doubt, unconfirmed with it. Once a look of
the same request has seen the appointment standing, a later "gone", whether to a cancel or to a
look, is ``cancelled``, unconfirmed: without such a look it never is, since Graph answers 500 to ids
that never existed, too. What unanswered cancels leave behind is the table of ``Left``.

Owns ``after_cancel``, ``after_look``, ``give_up`` and ``what_can_be_said``. Does *not* send, wait or
record: ``cancellation.py`` carries it out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from typing import assert_never

from cancel_appointment.outcome import CancelOutcome, Missing, Outcome
from shared.errors import (
    FacadeError,
    OutcomeUnknown,
    RefusedByBookings,
    Throttled,
    UpstreamAnswer,
    UpstreamBroken,
    UpstreamUnavailable,
)
from shared.graph.endings import (
    Body,
    Ending,
    Gone,
    GraphAnswer,
    Seen,
    cannot_parse_path,
    ending,
    reached_mail_limit,
    refuses_path,
    says_malformed,
    what_is_gone,
)
from shared.graph.refusals import malformed, quote, read_refusal
from shared.ids import url_safe

_REPEAT_AFTER_S = 5.0  # when an unknown outcome may be clearer


class Step(StrEnum):
    """What is sent to Graph."""

    CANCEL = "cancel"
    LOOK = "look"


class Left(IntEnum):
    """What an unanswered cancel may have left behind; of several the greatest counts."""

    NOTHING = 0
    SETTLED = 1  # it had no effect, or had it at once
    BROKEN = 2  # it failed, and nobody promises that this was all
    UNDER_WAY = 3  # it may take effect at any time


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said at the deadline, once a look after it saw the appointment standing."""

    error: type[FacadeError]
    doubt: bool


# Where no look after it saw the appointment standing, each leaves a doubt, and the outcome unknown.
TABLE: Mapping[Left, Verdict] = {
    Left.SETTLED: Verdict(UpstreamUnavailable, doubt=False),
    Left.BROKEN: Verdict(UpstreamBroken, doubt=True),
    Left.UNDER_WAY: Verdict(OutcomeUnknown, doubt=True),
}
_SETTLED = frozenset({404, 410, 409, 412, 423})
_BROKEN = frozenset({500, *range(300, 500)}) - {408, 425, 499}


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the appointment, and of this request.

    ``carried``: an earlier request left a doubt. ``unsure``: one may have, and nobody can tell.

    ``left``: the worst of what this request's unanswered cancels left; ``looked``: a look after the
    last of them saw it standing; ``stood``: any look of this request did. ``sent``: a cancel of
    this request arrived, or may have. ``renewed``: the token is a renewed one. ``slashed``: the id
    has another spelling; ``respelled``: Graph refused the path, so that one is used.
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
        """Whether a cancel of this request may have taken effect, or may yet."""
        return self.left is not Left.NOTHING and not (self.looked and not TABLE[self.left].doubt)

    @property
    def doubt(self) -> bool:
        """Whether whoever repeats this has to look first."""
        return self.carried or self.in_doubt

    @property
    def under_way(self) -> bool:
        """Whether a cancel may still be under way at Graph."""
        return self.carried or self.left is Left.UNDER_WAY


@dataclass(frozen=True, slots=True)
class Finish:
    """The truth is known."""

    outcome: CancelOutcome


@dataclass(frozen=True, slots=True)
class Fail:
    """Graph's answer is final, and no outcome."""

    error: FacadeError


@dataclass(frozen=True, slots=True)
class Go:
    """Send ``step`` next, after a pause if ``pause``."""

    step: Step
    known: Known
    pause: bool


type Move = Finish | Fail | Go


def after_cancel(seen: Seen, known: Known) -> Move:
    """Decide what a cancel's end means."""
    how = ending(seen, success=204)
    match how:
        case Ending.REFUSED | Ending.NOT_SENT:
            sent = known.sent or how is Ending.REFUSED
            return Go(Step.CANCEL, replace(known, sent=sent), pause=True)
        case Ending.UNANSWERED:
            return _in_doubt(seen, known)
        case Ending.ANSWERED:
            assert isinstance(seen, GraphAnswer)  # noqa: S101 - only an answer is answered
            if seen.status == 204:
                return Finish(CancelOutcome(Outcome.CANCELLED, confirmed=True))
            gone = what_is_gone(seen)
            if gone is Gone.BUSINESS and known.stood:  # it was there a moment ago
                return _in_doubt(seen, known)
            if gone is not None:
                first = not (known.sent and gone is Gone.BUSINESS)
                sure = not (known.carried or known.left or known.unsure)
                return _gone(seen, gone, known, confirmed=sure and first)
            return _refuse(Step.CANCEL, seen, replace(known, sent=True))
        case _:
            assert_never(how)


def after_look(seen: Seen, known: Known, appointment_id: str) -> Move:
    """Decide what a look's end means; it asked for ``appointment_id``, in whichever spelling."""
    how = ending(seen, success=200)
    again = Go(Step.LOOK, known, pause=True)
    match how:
        case Ending.REFUSED | Ending.NOT_SENT | Ending.UNANSWERED:
            return again
        case Ending.ANSWERED:
            assert isinstance(seen, GraphAnswer)  # noqa: S101 - only an answer is answered
            if seen.status == 200:
                if not _is_of(seen, appointment_id):
                    return again
                return Go(Step.CANCEL, replace(known, looked=True, stood=True), pause=True)
            gone = what_is_gone(seen)
            if gone is Gone.BUSINESS and known.stood:
                return again
            if gone is not None:
                return _gone(seen, gone, known, confirmed=False)
            return _refuse(Step.LOOK, seen, known)
        case _:
            assert_never(how)


def give_up(seen: Seen, known: Known, retry_after_s: float) -> FacadeError:
    """Say what is in the way when no further call fits; ``seen`` is the end of the last cancel, or
    of a look that did not help.
    """
    upstream = quote(seen)
    if known.left and not known.carried and known.looked:
        if TABLE[known.left].error is UpstreamBroken:
            return UpstreamBroken(
                "Microsoft Graph failed to cancel the appointment: "
                "it still stood when last looked at.",
                upstream=upstream,
            )
        if TABLE[known.left].error is UpstreamUnavailable:
            return UpstreamUnavailable(
                _in_the_way(seen), retry_after_s=retry_after_s, upstream=upstream
            )
    if known.left or known.carried:
        return _unknown(upstream, retry_after_s)
    if isinstance(seen, GraphAnswer):
        return Throttled(
            "Microsoft Graph asks for fewer requests to this booking business.",
            retry_after_s=retry_after_s,
            upstream=upstream,
        )
    return UpstreamUnavailable(
        "Microsoft Graph could not be reached; nothing was changed.",
        retry_after_s=retry_after_s,
        upstream=upstream,
    )


def what_can_be_said(error: FacadeError, known: Known) -> FacadeError:
    """Return what may be told of an error that ends this request: while a cancel may have taken
    effect it would be understood as "nothing was changed".

    Where the doubt is an earlier request's, and this one sent nothing, a refusal of the caller is
    told as it is: else nobody would ever learn to sign in.
    """
    passing = isinstance(error, Throttled | UpstreamBroken | UpstreamUnavailable)
    if known.in_doubt or (known.carried and (known.sent or passing)):
        return _unknown(error.upstream, getattr(error, "retry_after_s", 0.0))
    return error


def _in_doubt(seen: Seen, known: Known) -> Go:
    left = max(known.left, left_by(seen))
    return Go(Step.LOOK, replace(known, left=left, looked=False, sent=True), pause=False)


def left_by(seen: Seen) -> Left:
    """Tell what an unanswered cancel may have left behind. A page counts as silence, but for a 404."""
    if not isinstance(seen, GraphAnswer):
        return Left.UNDER_WAY
    if what_is_gone(seen) is not None:
        return Left.SETTLED
    if seen.body is Body.PAGE:
        return Left.UNDER_WAY
    if seen.status in _SETTLED or reached_mail_limit(seen):
        return Left.SETTLED
    return Left.BROKEN if seen.status in _BROKEN else Left.UNDER_WAY


def _gone(seen: GraphAnswer, gone: Gone, known: Known, *, confirmed: bool) -> Finish:
    if known.stood and seen.body is not Body.NOTHING:  # a 404 without a body may be anybody's
        return Finish(CancelOutcome(Outcome.CANCELLED, confirmed=False))
    missing = Missing.BUSINESS if gone is Gone.BUSINESS else Missing.APPOINTMENT
    return Finish(
        CancelOutcome(
            Outcome.NOT_FOUND, confirmed=confirmed, missing=missing if seen.code else None
        )
    )


def _refuse(step: Step, seen: GraphAnswer, known: Known) -> Move:
    """Decide what a refusal means that is final, or would be under the other spelling."""
    bad_id = says_malformed(seen) or cannot_parse_path(seen)
    if known.slashed and refuses_path(seen):
        if not known.respelled:
            return Go(step, replace(known, respelled=True), pause=False)
        bad_id = True
    if bad_id:
        error: FacadeError = malformed(seen, "appointmentId", "; it may also be businessId")
    elif seen.status != 400:
        error = read_refusal(seen, renewed=known.renewed)
    elif step is Step.LOOK:
        return Go(Step.LOOK, known, pause=True)
    else:
        error = RefusedByBookings(
            "Microsoft Bookings refused the cancel by one of its rules; nothing was changed. "
            "Most likely the appointment begins sooner than the minimum lead time allows.",
            upstream=quote(seen),
        )
    return Fail(what_can_be_said(error, known))


def _is_of(seen: GraphAnswer, appointment_id: str) -> bool:
    found = (seen.resource or {}).get("id")
    return isinstance(found, str) and url_safe(found) == url_safe(appointment_id)


def _in_the_way(seen: Seen) -> str:
    """Name what kept the cancel from its effect, where it had none."""
    if isinstance(seen, GraphAnswer):
        if reached_mail_limit(seen):
            return (
                "The booking mailbox has reached its sending limit: it may send no more mail for "
                "now. Nothing was changed."
            )
        if what_is_gone(seen) is not None:
            return "Microsoft Graph cannot reach the booking mailbox now; nothing was changed."
        if seen.status != 429:
            return "Another change of the appointment is in the way; nothing was changed."
    return "Microsoft Graph did not carry the cancel out in time; nothing was changed."


def _unknown(upstream: UpstreamAnswer | None, retry_after_s: float) -> OutcomeUnknown:
    return OutcomeUnknown(
        "The cancel was sent, and it is not known yet whether it took effect. "
        "Send the same request again: that is safe.",
        retry_after_s=max(_REPEAT_AFTER_S, retry_after_s),
        upstream=upstream,
    )
