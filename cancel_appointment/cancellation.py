"""Carries a cancel out: records, tokens, calls and pauses, as ``protocol/`` decides them.

Owns how the calls share the deadline. Does *not* decide what an answer means.
"""

from dataclasses import dataclass, field, replace

from cancel_appointment.bookings import Appointments
from cancel_appointment.protocol.decisions import Step, after_cancel, after_look
from cancel_appointment.protocol.doubt import Known, Left
from cancel_appointment.protocol.failures import give_up, what_can_be_said
from cancel_appointment.protocol.outcome import CancelOutcome
from cancel_appointment.records import Records
from cancel_appointment.request import CancelRequest
from shared.entra.graph_token import GraphTokens
from shared.errors import FacadeError, OutcomeUnknown
from shared.graph.calls import SHORTEST_CALL_S, Calls, Graph
from shared.graph.endings import Ending, GraphAnswer, Seen, ending
from shared.identity.principal import Principal
from shared.ids import url_safe
from shared.telemetry.journal import Journal
from shared.transport.deadline import Deadline
from shared.transport.retry_after import backoff_s, parse_retry_after
from shared.transport.waiting import Waiting

_MAX_UNANSWERED = 3  # cancels: Bookings also answers 500 to what it will never do
_MAX_CALLS = 8
_SHARE_OF_CANCEL = 0.7  # of the time that is left: so that a look still fits
_LATE_PAUSE_S = 1.0  # at least, after a cancel that may still be under way, before another


@dataclass(slots=True)
class _Attempt[P: Principal]:
    """One request under way, used by one thread.

    ``last_cancel`` is how the last cancel ended. ``not_before`` says, on the deadline's clock, when
    Graph takes a step again. ``asked_s`` is the longest wait that Graph asked for.
    """

    request: CancelRequest
    calls: Calls[P]
    known: Known
    last_cancel: Seen | None = None
    unanswered: int = 0
    not_before: dict[Step, float] = field(default_factory=dict)
    asked_s: float = 0.0


class Cancellation[P: Principal]:
    """Carries a cancel out; one instance per worker, safe for all threads."""

    def __init__(
        self,
        graph: Graph,
        tokens: GraphTokens[P],
        appointments: Appointments,
        records: Records,
        waiting: Waiting,
    ) -> None:
        self._graph = graph
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
            Calls(self._graph, self._tokens, caller, deadline, journal),
            Known(carried=entry.doubt, unsure=entry.unsure, slashed="/" in request.appointment_id),
        )
        try:
            outcome = self._carry_out(attempt)
        except BaseException as error:  # even a bug must neither keep the claim nor lose the doubt
            if isinstance(error, OutcomeUnknown):  # its wait is the longest that Graph asked for
                error.retry_after_s = max(error.retry_after_s, attempt.asked_s)
            self._records.give_up(
                entry,
                # A cancel may count as under way before anything was sent: it needs a token first.
                doubt=attempt.known.doubt if attempt.calls.count else entry.doubt,
            )
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
            self._hear(step, seen, attempt)
            if isinstance(move, FacadeError):
                raise move
            attempt.known = move.known
            step = move.step
            self._make_room(step, seen, attempt, pause=move.pause)

    def _send(self, step: Step, attempt: _Attempt[P]) -> Seen:
        """Send one call. Errors: those of the exchange, as far as the caller may know them."""
        calls, before, request = attempt.calls, attempt.known, attempt.request
        appointment_id = request.appointment_id
        if before.respelled:
            appointment_id = url_safe(appointment_id)
        try:
            if step is Step.CANCEL:
                # This holds until we know what the answer means, whatever interrupts us before.
                attempt.known = replace(before, left=Left.UNDER_WAY, looked=False, sent=True)
                asked = self._appointments.cancel(request, appointment_id)
                seen = calls.send(asked, success=204, share=_SHARE_OF_CANCEL)
                attempt.last_cancel = seen
                attempt.unanswered += ending(seen, success=204) is Ending.UNANSWERED
            else:
                asked = self._appointments.look(request, appointment_id)
                seen = calls.send(asked, success=200, fresh=True)
        except FacadeError as error:  # of the exchange; a cancel may have been sent before it
            attempt.known = _after(before, step, calls)
            said = what_can_be_said(error, attempt.known)
            if said is error:
                raise
            raise said from error
        attempt.known = _after(before, step, calls)
        return seen

    def _hear(self, step: Step, seen: Seen, attempt: _Attempt[P]) -> None:
        """Note the wait that an answer asks for."""
        asked_s = 0.0
        if isinstance(seen, GraphAnswer):
            asked_s = parse_retry_after(seen.retry_after, self._waiting.now()) or 0.0
        attempt.asked_s = max(attempt.asked_s, asked_s)
        attempt.not_before[step] = attempt.calls.deadline.now() + asked_s

    def _make_room(self, step: Step, seen: Seen, attempt: _Attempt[P], *, pause: bool) -> None:
        """Wait before the next call, if it still fits. Errors: what ``give_up`` says."""
        calls, known = attempt.calls, attempt.known
        pause_s = 0.0
        if pause:
            wait_s = attempt.not_before.get(step, 0.0) - calls.deadline.now()
            pause_s = max(wait_s, backoff_s(calls.count, self._waiting.random))
        if step is Step.CANCEL and known.under_way:
            pause_s = max(_LATE_PAUSE_S, pause_s)
        exhausted = calls.count >= _MAX_CALLS or (
            step is Step.CANCEL and attempt.unanswered >= _MAX_UNANSWERED
        )
        if exhausted or calls.deadline.remaining_s() < pause_s + SHORTEST_CALL_S:
            in_the_way = (
                attempt.last_cancel if step is Step.CANCEL and attempt.last_cancel else seen
            )
            told_s = max(1.0, attempt.asked_s or pause_s)
            raise give_up(in_the_way, known, retry_after_s=told_s)
        if pause_s:
            self._waiting.sleep(pause_s)


def _after[P: Principal](before: Known, step: Step, calls: Calls[P]) -> Known:
    """Return what is known once a call has ended, whatever its answer says."""
    # A cancel that was answered with 401 arrived, even if no second call followed.
    refused = step is Step.CANCEL and calls.renewed and not before.renewed
    # After the deadline the lease may be over, and another worker may have taken the request.
    overdue = calls.deadline.remaining_s() <= 0
    if not (refused or overdue or calls.renewed):
        return before
    return replace(
        before,
        sent=before.sent or refused,
        renewed=calls.renewed,
        unsure=before.unsure or overdue,
    )
