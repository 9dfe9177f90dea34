"""Carries a cancel out: records, tokens, calls and pauses, as ``protocol/`` decides them.

Owns the sharing out of the deadline. Does *not* decide what an answer means.
"""

from dataclasses import dataclass, replace

from cancel_appointment.bookings import Appointments
from cancel_appointment.protocol.decisions import Step, after_cancel, after_look
from cancel_appointment.protocol.doubt import Known, Left
from cancel_appointment.protocol.failures import give_up, what_can_be_said
from cancel_appointment.protocol.outcome import CancelOutcome
from cancel_appointment.records import Records
from cancel_appointment.request import CancelRequest
from shared.entra.graph_token import GraphToken, GraphTokens
from shared.errors import FacadeError, OutcomeUnknown
from shared.graph.calls import SHORTEST_CALL_S, Calls
from shared.graph.endings import Ending, GraphAnswer, Seen, ending
from shared.identity.principal import Principal
from shared.ids import url_safe
from shared.telemetry.journal import Journal
from shared.transport.deadline import Deadline
from shared.transport.retry_after import backoff_s, parse_retry_after
from shared.transport.waiting import Waiting

_MAX_UNANSWERED = 3  # cancels: Bookings answers 500 to what it will never do, too
_MAX_CALLS = 8
_SHARE_OF_CANCEL = 0.7  # of the time that is left: so that a look still fits
_LATE_PAUSE_S = 1.0  # at least, after a cancel that may still be under way, before another


@dataclass(slots=True)
class _Attempt[P: Principal]:
    """One request under way, used by one thread.

    ``last_cancel`` is how the last one ended; ``asked_s`` the longest wait that Graph asked for.
    """

    request: CancelRequest
    calls: Calls[P]
    known: Known
    last_cancel: Seen | None = None
    unanswered: int = 0
    asked_s: float = 0.0


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

        Errors: every FacadeError of the exchange and of ``read_refusal``; RequestInvalid,
        RefusedByBookings; Throttled, UpstreamUnavailable, UpstreamBroken, OutcomeUnknown when the
        deadline or the number of tries leaves no room; IdempotencyKeyReused, RequestInProgress.
        """
        entry = self._records.open(caller, request, idempotency_key, deadline)
        if isinstance(entry, CancelOutcome):
            return entry
        attempt = _Attempt(
            request,
            Calls(self._tokens, caller, deadline, journal),
            Known(carried=entry.doubt, unsure=entry.unsure, slashed="/" in request.appointment_id),
        )
        try:
            outcome = self._carry_out(attempt)
        except BaseException:  # also a bug of ours must not keep the claim, nor forget a doubt
            self._records.give_up(entry, doubt=attempt.known.doubt)
            raise
        return self._records.settle(entry, outcome, doubt=attempt.known.doubt)

    def _carry_out(self, attempt: _Attempt[P]) -> CancelOutcome:
        step = Step.LOOK if attempt.known.carried else Step.CANCEL
        while True:
            seen = self._send(step, attempt)
            move = (
                after_cancel(seen, attempt.known)
                if step is Step.CANCEL
                else after_look(seen, attempt.known, attempt.request.appointment_id)
            )
            if isinstance(move, CancelOutcome):
                return move
            if isinstance(move, FacadeError):
                self._hear(seen, attempt)
                raise _patient(move, attempt)
            attempt.known = move.known
            step = move.step
            self._make_room(step, seen, attempt, pause=move.pause)

    def _send(self, step: Step, attempt: _Attempt[P]) -> Seen:
        """Send one call. Errors: those of the exchange, as far as they may be told."""
        calls, before = attempt.calls, attempt.known
        asked = attempt.request.appointment_id
        appointment_id = url_safe(asked) if before.respelled else asked

        def cancel(token: GraphToken, *, call_id: str, fresh: bool) -> Seen:
            # Until what its answer means is known, whatever interrupts us before.
            attempt.known = replace(before, left=Left.UNDER_WAY, looked=False, sent=True)
            return self._appointments.cancel(
                attempt.request,
                appointment_id,
                token,
                call_id=call_id,
                timeout_s=max(SHORTEST_CALL_S, calls.deadline.remaining_s() * _SHARE_OF_CANCEL),
                fresh=fresh,
            )

        def look(token: GraphToken, *, call_id: str, fresh: bool) -> Seen:
            return self._appointments.look(
                attempt.request,
                appointment_id,
                token,
                call_id=call_id,
                timeout_s=calls.deadline.remaining_s(),
                fresh=fresh,
            )

        try:
            if step is Step.CANCEL:
                seen = calls.send(step, cancel, success=204)
                attempt.last_cancel = seen
                attempt.unanswered += ending(seen, success=204) is Ending.UNANSWERED
            else:
                seen = calls.send(step, look, success=200, fresh=True)
        except FacadeError as error:  # of the exchange: what was sent before it was refused
            attempt.known = before
            raise _patient(what_can_be_said(error, before), attempt) from error
        # The lease may be over, and another worker may have taken the request.
        overdue = calls.deadline.remaining_s() <= 0
        attempt.known = replace(before, unsure=before.unsure or overdue, renewed=calls.renewed)
        return seen

    def _make_room(self, step: Step, seen: Seen, attempt: _Attempt[P], *, pause: bool) -> None:
        """Wait before the next call, if it still fits. Errors: what ``give_up`` says."""
        calls, known = attempt.calls, attempt.known
        in_the_way = attempt.last_cancel if step is Step.CANCEL and attempt.last_cancel else seen
        asked_s = self._hear(in_the_way, attempt)
        pause_s = max(asked_s, backoff_s(calls.count, self._waiting.random)) if pause else 0.0
        if step is Step.CANCEL and known.under_way:
            pause_s = max(_LATE_PAUSE_S, pause_s)
        exhausted = calls.count >= _MAX_CALLS or (
            step is Step.CANCEL and attempt.unanswered >= _MAX_UNANSWERED
        )
        if exhausted or calls.deadline.remaining_s() < pause_s + SHORTEST_CALL_S:
            told_s = max(1.0, attempt.asked_s or pause_s)
            raise give_up(in_the_way, known, retry_after_s=told_s)
        if pause_s:
            self._waiting.sleep(pause_s)

    def _hear(self, seen: Seen, attempt: _Attempt[P]) -> float:
        """Return the wait in seconds that an answer asks for, and keep the longest of all."""
        if not isinstance(seen, GraphAnswer):
            return 0.0
        asked_s = parse_retry_after(seen.retry_after, self._waiting.now()) or 0.0
        attempt.asked_s = max(attempt.asked_s, asked_s)
        return asked_s


def _patient[P: Principal](error: FacadeError, attempt: _Attempt[P]) -> FacadeError:
    """Return the error; an outcome that is not known names the longest wait that Graph named."""
    if isinstance(error, OutcomeUnknown):
        error.retry_after_s = max(error.retry_after_s, attempt.asked_s)
    return error
