"""The protocol that never gives a wrong answer and never cancels twice: attempt, doubt, look,
decide.

    an exchange ended   means                                   next
    answered            204: cancelled; 404: see below;         the end
                        other 4xx: its error
    refused             nothing was done                        the same again, after the wait that was asked for
    not sent            nothing was done                        the same again, with backoff
    unanswered          a cancel may have taken effect (doubt)  look
    look: it stands     the doubt had no effect so far          cancel again
    look: it is gone    ours or not, nobody knows               not_found, unconfirmed

A 404 to a cancel is ``not_found``: confirmed without doubt, unconfirmed with it. Once a look of the
same request has seen the appointment standing, a later "gone", whether to a cancel or to a look, is
``cancelled``, unconfirmed: without such a look it never is, since Graph answers 500 to ids that
never existed too. When the deadline leaves no room: with doubt ``outcome_unknown``, else the error
that says what is in the way.

``after_cancel``, ``after_look`` and ``give_up`` are that table and pure; ``Cancellation`` carries
it out.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import assert_never

from cancel_appointment.bookings import Appointments
from cancel_appointment.outcome import CancelOutcome, Outcome
from cancel_appointment.records import Records
from cancel_appointment.request import CancelRequest
from shared.entra.graph_token import GraphToken, GraphTokens
from shared.errors import (
    AccessDenied,
    FacadeError,
    FieldFault,
    OutcomeUnknown,
    RequestInvalid,
    Throttled,
    UpstreamAnswer,
    UpstreamBroken,
    UpstreamUnavailable,
)
from shared.graph.endings import Ending, GraphAnswer, NoAnswer, Seen, ending, may_still_happen
from shared.graph.refusals import read_refusal, says_malformed, says_not_found
from shared.identity.principal import Principal
from shared.telemetry.journal import Journal
from shared.transport.deadline import Deadline
from shared.transport.retry_after import backoff_s, parse_retry_after
from shared.transport.waiting import Waiting

_MAX_UNANSWERED = 3  # cancels: Bookings answers 500 to what it will never do, too
_MAX_CALLS = 8
_SHARE_OF_CANCEL = (
    0.7  # of the time that is left: what a cancel may take, so that a look still fits
)
_SHORTEST_CALL_S = 0.3
_REPEAT_AFTER_S = 5.0  # when an unknown outcome may be clearer
_LATE_PAUSE_S = (
    1.0  # the least that a cancel which may still be under way is given before another follows
)
_MALFORMED = FieldFault(
    "appointmentId", "is malformed, says Microsoft Graph; it may also be businessId"
)
# What these tell the caller is untrue while an earlier cancel may have taken effect, or may yet.
_SAY_NOTHING_WAS_CHANGED = (UpstreamBroken, UpstreamUnavailable, AccessDenied, RequestInvalid)


class Step(StrEnum):
    """What is sent to Graph."""

    CANCEL = "cancel"
    LOOK = "look"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the appointment.

    ``doubt``: a cancel of ours may have taken effect, and nobody has looked since. ``late``: one
    may still take effect.

    ``stood``: a look of this request saw it standing. ``blind``: earlier attempts could not be
    looked up.
    """

    doubt: bool = False
    late: bool = False
    stood: bool = False
    blind: bool = False

    @property
    def unsettled(self) -> bool:
        """Whether the next attempt has to look first."""
        return self.doubt or self.late


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
        case Ending.ANSWERED:
            assert isinstance(seen, GraphAnswer)  # noqa: S101 - only an answer is answered
            if seen.status == 204:
                return Finish(CancelOutcome(Outcome.CANCELLED, confirmed=True))
            if says_not_found(seen):
                return _gone(known, confirmed=not (known.unsettled or known.blind))
            return Fail(read_refusal(seen, _MALFORMED))
        case Ending.REFUSED | Ending.NOT_SENT:
            return Go(Step.CANCEL, known, pause=True)
        case Ending.UNANSWERED:
            if says_malformed(seen):
                assert isinstance(seen, GraphAnswer)  # noqa: S101 - only an answer says so
                return Fail(read_refusal(seen, _MALFORMED))
            return Go(
                Step.LOOK,
                replace(known, doubt=True, late=known.late or may_still_happen(seen)),
                pause=False,
            )
        case _:
            assert_never(how)


def after_look(seen: Seen, known: Known) -> Move:
    """Decide what a look's end means."""
    how = ending(seen, success=200)
    match how:
        case Ending.ANSWERED:
            assert isinstance(seen, GraphAnswer)  # noqa: S101 - only an answer is answered
            if seen.status == 200:
                return Go(Step.CANCEL, replace(known, doubt=False, stood=True), pause=True)
            if says_not_found(seen):
                return _gone(known, confirmed=False)
            if seen.status == 401 or says_malformed(seen):
                return Fail(read_refusal(seen, _MALFORMED))
            return Fail(_unknown(seen))
        case Ending.REFUSED | Ending.NOT_SENT | Ending.UNANSWERED:
            return Go(Step.LOOK, known, pause=True)
        case _:
            assert_never(how)


def _gone(known: Known, *, confirmed: bool) -> Finish:
    if known.stood:
        return Finish(CancelOutcome(Outcome.CANCELLED, confirmed=False))
    return Finish(CancelOutcome(Outcome.NOT_FOUND, confirmed=confirmed))


def give_up(seen: Seen, known: Known, retry_after_s: float) -> FacadeError:
    """Say what is in the way when no further call fits; ``seen`` is the end of the last cancel, or
    of a look that did not help.
    """
    if known.unsettled:
        return _unknown(seen, retry_after_s)
    if not isinstance(seen, GraphAnswer):
        return UpstreamUnavailable(
            "Microsoft Graph could not be reached; nothing was changed.",
            retry_after_s=retry_after_s,
            upstream=UpstreamAnswer("graph"),
        )
    upstream = UpstreamAnswer("graph", seen.status, seen.code, seen.request_id)
    if seen.status == 429:
        return Throttled(
            "Microsoft Graph asks for fewer requests to this booking business.",
            retry_after_s=retry_after_s,
            upstream=upstream,
        )
    return UpstreamBroken(
        "Microsoft Graph failed every time, and the appointment still stands.", upstream=upstream
    )


def _unknown(seen: Seen, retry_after_s: float = 0.0) -> OutcomeUnknown:
    if isinstance(seen, GraphAnswer):
        return _say_unknown(
            UpstreamAnswer("graph", seen.status, seen.code, seen.request_id), retry_after_s
        )
    return _say_unknown(UpstreamAnswer("graph"), retry_after_s)


def _unknown_because_of(error: FacadeError) -> OutcomeUnknown:
    return _say_unknown(error.upstream, getattr(error, "retry_after_s", 0.0))


def _say_unknown(upstream: UpstreamAnswer | None, retry_after_s: float) -> OutcomeUnknown:
    return OutcomeUnknown(
        "The cancel was sent, and it is not known yet whether it took effect. Send the same request again: that is safe.",
        retry_after_s=max(_REPEAT_AFTER_S, retry_after_s),
        upstream=upstream,
    )


@dataclass(slots=True)
class _Attempt[P: Principal]:
    """One request under way, used by one thread."""

    caller: P
    request: CancelRequest
    deadline: Deadline
    journal: Journal
    known: Known
    token: GraphToken | None = field(default=None, repr=False)
    renewed: bool = False
    last_cancel: Seen | None = None
    calls: int = 0
    unanswered: int = 0


class Cancellation[P: Principal]:
    """Carries a cancel out; one instance per worker, safe for all threads."""

    def __init__(
        self, tokens: GraphTokens[P], appointments: Appointments, records: Records, waiting: Waiting
    ) -> None:
        self._tokens = tokens
        self._appointments = appointments
        self._records = records
        self._waiting = waiting

    def run(
        self,
        caller: P,
        request: CancelRequest,
        idempotency_key: str | None,
        deadline: Deadline,
        journal: Journal,
    ) -> CancelOutcome:
        """Cancel the appointment, or say truly why not.

        Errors: every FacadeError of the exchange and of ``read_refusal``; Throttled,
        UpstreamUnavailable, UpstreamBroken, OutcomeUnknown when the deadline or the number of tries
        leaves no room; IdempotencyKeyReused, RequestInProgress.
        """
        entry = self._records.open(caller, request, idempotency_key, deadline)
        if isinstance(entry, CancelOutcome):
            return entry
        attempt = _Attempt(
            caller,
            request,
            deadline,
            journal,
            Known(doubt=entry.doubt, late=entry.doubt, blind=entry.blind),
        )
        try:
            outcome = self._carry_out(attempt)
        except (
            BaseException
        ) as error:  # also a bug of ours must not leave the record claimed, nor forget a doubt
            self._records.give_up(entry, doubt=attempt.known.unsettled)
            if attempt.known.unsettled and isinstance(error, _SAY_NOTHING_WAS_CHANGED):
                raise _unknown_because_of(error) from error
            raise
        return self._records.settle(entry, outcome)

    def _carry_out(self, attempt: _Attempt[P]) -> CancelOutcome:
        step = Step.LOOK if attempt.known.doubt else Step.CANCEL
        attempt.token = self._tokens.exchange(attempt.caller, attempt.deadline)
        while True:
            seen = self._send(step, attempt)
            if self._renewed_token(seen, attempt):
                continue
            move = (
                after_cancel(seen, attempt.known)
                if step is Step.CANCEL
                else after_look(seen, attempt.known)
            )
            match move:
                case Finish():
                    return move.outcome
                case Fail():
                    raise move.error
                case Go():
                    attempt.known = move.known
                    step = move.step
                    self._make_room(step, seen, attempt, pause=move.pause)
                case _:
                    assert_never(move)

    def _send(self, step: Step, attempt: _Attempt[P]) -> Seen:
        """Send one call, unless a token, a pause or a stall took the time for it: what is begun
        after the deadline may outlive the lease of its record.
        """
        assert attempt.token is not None  # noqa: S101 - exchanged before the first call
        left_s = attempt.deadline.remaining_s()
        if left_s < _SHORTEST_CALL_S:
            attempt.last_cancel = NoAnswer(sent=False, cause="DeadlineOver")
            return attempt.last_cancel
        attempt.calls += 1
        started_at = attempt.deadline.now()
        before = attempt.known
        if step is Step.CANCEL:
            attempt.known = replace(
                before, doubt=True, late=True
            )  # until an answer says otherwise, whatever interrupts us here
            timeout_s = max(_SHORTEST_CALL_S, left_s * _SHARE_OF_CANCEL)
            seen = self._appointments.cancel(
                attempt.request,
                attempt.token,
                request_id=attempt.journal.request_id,
                timeout_s=timeout_s,
            )
            attempt.last_cancel = seen
        else:
            seen = self._appointments.look(
                attempt.request,
                attempt.token,
                request_id=attempt.journal.request_id,
                timeout_s=left_s,
            )
        how = ending(seen, success=204 if step is Step.CANCEL else 200)
        attempt.unanswered += step is Step.CANCEL and how is Ending.UNANSWERED
        attempt.journal.graph_call(
            step,
            how,
            status=seen.status if isinstance(seen, GraphAnswer) else None,
            graph_request_id=seen.request_id if isinstance(seen, GraphAnswer) else None,
            seconds=attempt.deadline.now() - started_at,
        )
        overdue = (
            attempt.deadline.remaining_s() <= 0
        )  # the lease may be over, and another worker may have taken the request
        attempt.known = replace(before, blind=before.blind or overdue)
        return seen

    def _renewed_token(self, seen: Seen, attempt: _Attempt[P]) -> bool:
        """On Graph's 401, get another token once (continuous access evaluation); nothing was done,
        so the same call may be repeated.
        """
        if (
            attempt.renewed
            or not isinstance(seen, GraphAnswer)
            or seen.status != 401
            or attempt.deadline.remaining_s() < _SHORTEST_CALL_S
        ):
            return False
        attempt.renewed = True
        if seen.claims is None:
            self._tokens.forget(attempt.caller)
        attempt.token = self._tokens.exchange(attempt.caller, attempt.deadline, claims=seen.claims)
        return True

    def _make_room(self, step: Step, seen: Seen, attempt: _Attempt[P], *, pause: bool) -> None:
        """Wait before the next call, if it still fits. Errors: what ``give_up`` says."""
        in_the_way = attempt.last_cancel if step is Step.CANCEL and attempt.last_cancel else seen
        asked_s = (
            parse_retry_after(in_the_way.retry_after, self._waiting.now())
            if isinstance(in_the_way, GraphAnswer)
            else None
        )
        pause_s = (
            max(asked_s or 0.0, backoff_s(attempt.calls, self._waiting.random)) if pause else 0.0
        )
        if step is Step.CANCEL and attempt.known.late:
            pause_s = max(_LATE_PAUSE_S, pause_s)
        exhausted = attempt.calls >= _MAX_CALLS or (
            step is Step.CANCEL and attempt.unanswered >= _MAX_UNANSWERED
        )
        if exhausted or attempt.deadline.remaining_s() < pause_s + _SHORTEST_CALL_S:
            raise give_up(in_the_way, attempt.known, retry_after_s=max(1.0, asked_s or pause_s))
        if pause_s:
            self._waiting.sleep(pause_s)
