"""The cancel operation from request to outcome: prove the caller, read the request, carry it out.

Owns the order: caller before body (a stranger learns nothing of the schema), body before exchange (a bad body costs no trip to Entra).
Does *not* know Azure Functions, threads or HTTP answers.
"""

import time
from dataclasses import dataclass

from cancel_appointment.bookings import GraphAppointments
from cancel_appointment.cancellation import Cancellation
from cancel_appointment.outcome import CancelOutcome
from cancel_appointment.records import Keep, Records
from cancel_appointment.request import CancelRequest, parse_cancel_request, parse_idempotency_key
from shared.caller import Caller, authenticate, read_bearer_token
from shared.deadline import Deadline
from shared.errors import InteractionRequired, Overloaded
from shared.services import Services
from shared.telemetry import Journal, pseudonym

_RESERVE_S = 0.5
_LEAST_S = 1.0  # a cancel that is begun with less would likely end in doubt
_FOR_MAKERS = (
    " This client cannot answer such a challenge by itself. In a flow or app, open its connection and sign in again; if that does not help, an administrator has "
    "to apply the same access policy to this API as to Microsoft Graph, so that it is met when the connection is made."
)


@dataclass(frozen=True, slots=True)
class Incoming:
    """What arrived. Header values are as they came, None where absent."""

    authorization: str | None
    content_type: str | None
    idempotency_key: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Work:
    """A request that may be carried out: its caller is proved and its body read."""

    caller: Caller
    request: CancelRequest
    idempotency_key: str | None

    @property
    def mailbox(self) -> str:
        """The mailbox that the work is for; addresses do not differ by case."""
        return self.request.business_id.lower()


class CancelOperation:
    """Cancels appointments for callers; one instance per worker, safe for all threads."""

    def __init__(self, services: Services) -> None:
        settings = services.settings
        self._services = services
        self._cancellation = Cancellation(
            services.tokens,
            GraphAppointments(services.graph, tuple(settings.graph_bookings_root.split("/")), settings.default_cancellation_message),
            Records(services.records, Keep.for_deadline(settings.request_deadline_seconds), services.waiting.sleep),
            services.waiting,
        )

    @property
    def services(self) -> Services:
        """What this operation was built from."""
        return self._services

    def deadline(self) -> Deadline:
        """Start the clock of one request; it ends a little before the caller's patience does, so that an answer is written in time."""
        return Deadline.after(self._services.settings.request_deadline_seconds - _RESERVE_S, time.monotonic)

    def admit(self, incoming: Incoming, journal: Journal) -> Work:
        """Prove the caller, then read the request. Errors: those of ``authenticate``, ``parse_cancel_request`` and ``parse_idempotency_key``."""
        token = read_bearer_token(incoming.authorization)
        caller = authenticate(token, self._services.rules, self._services.keys, self._services.waiting.now)
        journal.note(tenant=caller.tenant_id, client=caller.client_id, caller=pseudonym(caller.tenant_id, caller.object_id))
        request = parse_cancel_request(incoming.content_type, incoming.body)
        work = Work(caller, request, parse_idempotency_key(incoming.idempotency_key))
        journal.note(mailbox=pseudonym(work.mailbox))
        return work

    def carry_out(self, work: Work, deadline: Deadline, journal: Journal) -> CancelOutcome:
        """Cancel. Errors: those of ``Cancellation.run``; Overloaded when the deadline leaves no room to begin."""
        if deadline.remaining_s() < _LEAST_S:
            raise Overloaded("This service has more requests than it can finish in time.")
        try:
            outcome = self._cancellation.run(work.caller, work.request, work.idempotency_key, deadline, journal)
        except InteractionRequired as error:
            if work.caller.can_answer_challenges:
                raise
            raise InteractionRequired(error.reason + _FOR_MAKERS, claims=error.claims, upstream=error.upstream) from error
        journal.note(confirmed=outcome.confirmed, replayed=outcome.replayed)
        return outcome
