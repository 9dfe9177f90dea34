"""What the end of each call to Graph means, and what comes next. Pure.

Owns ``after_cancel`` and ``after_look``. Does *not* send, wait or record.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from cancel_appointment.protocol.doubt import Known, left_by
from cancel_appointment.protocol.failures import what_can_be_said
from cancel_appointment.protocol.outcome import CancelOutcome, Missing, Outcome
from shared.errors import FacadeError, RefusedByBookings
from shared.graph.endings import (
    Body,
    Ending,
    Gone,
    GraphAnswer,
    NoAnswer,
    Seen,
    cannot_parse_path,
    ending,
    may_refuse_path,
    says_malformed,
    what_is_gone,
)
from shared.graph.refusals import malformed, quote, read_refusal
from shared.ids import url_safe

# Bookings' own rules come with no code, or with one of these (microsoft-graph-docs 22029).
_NAME_NOTHING = (
    *(None, "other", "BadRequest", "UnknownError", "generalException"),
    *("invalidRequest", "InvalidRequest", "ErrorInvalidRequest"),
)


class Step(StrEnum):
    """What is sent to Graph."""

    CANCEL = "cancel"
    LOOK = "look"


@dataclass(frozen=True, slots=True)
class Go:
    """Send ``step`` next, after a pause if ``pause``."""

    step: Step
    known: Known
    pause: bool


# The truth, the error that is final, or the next call.
type Move = CancelOutcome | FacadeError | Go


def after_cancel(seen: Seen, known: Known) -> Move:
    """Decide what a cancel's end means."""
    how = ending(seen, success=204)
    if how in (Ending.REFUSED, Ending.NOT_SENT):
        sent = known.sent or how is Ending.REFUSED
        return Go(Step.CANCEL, replace(known, sent=sent), pause=True)
    if how is Ending.UNANSWERED or isinstance(seen, NoAnswer):
        return _in_doubt(seen, known)
    if seen.status == 204:
        return CancelOutcome(Outcome.CANCELLED, confirmed=True)
    gone = what_is_gone(seen)
    if gone is Gone.BUSINESS and known.stood:  # it was there a moment ago
        return _in_doubt(seen, known)
    if gone is not None:
        first = not (known.sent and gone is Gone.BUSINESS)
        sure = not (known.carried or known.left or known.unsure)
        return _gone(seen, gone, known, confirmed=sure and first)
    return _refuse(Step.CANCEL, seen, replace(known, sent=True))


def after_look(seen: Seen, known: Known, appointment_id: str) -> Move:
    """Decide what a look's end means; it asked for ``appointment_id``, in whichever spelling."""
    again = Go(Step.LOOK, known, pause=True)
    if ending(seen, success=200) is not Ending.ANSWERED or isinstance(seen, NoAnswer):
        return again
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


def _in_doubt(seen: Seen, known: Known) -> Go:
    left = max(known.left, left_by(seen))
    return Go(Step.LOOK, replace(known, left=left, looked=False, sent=True), pause=False)


def _gone(seen: GraphAnswer, gone: Gone, known: Known, *, confirmed: bool) -> CancelOutcome:
    if known.stood and seen.body is not Body.NOTHING:  # a 404 without a body may be anybody's
        return CancelOutcome(Outcome.CANCELLED, confirmed=False)
    missing = Missing.BUSINESS if gone is Gone.BUSINESS else Missing.APPOINTMENT
    return CancelOutcome(
        Outcome.NOT_FOUND, confirmed=confirmed, missing=missing if seen.code else None
    )


def _refuse(step: Step, seen: GraphAnswer, known: Known) -> FacadeError | Go:
    """Decide what a refusal means that is final, or would be under the other spelling.

    A look that saw the appointment standing has shown that its path is good. A refusal with the
    generic code is then not about the path.
    """
    bad_path = cannot_parse_path(seen) or (
        known.slashed and not known.stood and may_refuse_path(seen)
    )
    if bad_path and known.slashed and not known.respelled:
        return Go(step, replace(known, respelled=True), pause=False)
    if bad_path or says_malformed(seen):
        error: FacadeError = malformed(seen, "appointmentId", "; it may also be businessId")
    elif seen.status != 400:
        error = read_refusal(seen, renewed=known.renewed)
    elif step is Step.LOOK:
        return Go(Step.LOOK, known, pause=True)
    else:
        error = RefusedByBookings(
            "Microsoft Bookings refused the cancel by one of its rules. "
            "Most likely the appointment begins sooner than the minimum lead time allows."
            if seen.code in _NAME_NOTHING
            else "Microsoft Bookings refused the cancel; upstream.code names the reason.",
            upstream=quote(seen),
        )
    return what_can_be_said(error, known)


def _is_of(seen: GraphAnswer, appointment_id: str) -> bool:
    resource = seen.resource or {}
    found = None if "error" in resource else resource.get("id")
    return isinstance(found, str) and url_safe(found) == url_safe(appointment_id)
