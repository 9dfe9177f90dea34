"""The cancel operation from request to answer: prove the caller, read the request, carry it out.

Owns the order: caller before body (a stranger learns nothing of the schema), body before exchange
(a bad body costs no trip to Entra). Does *not* know Azure Functions or threads.
"""

from dataclasses import dataclass

from cancel_appointment import contract
from cancel_appointment.bookings import Appointments
from cancel_appointment.cancellation import Cancellation
from cancel_appointment.records import DAY_S, Records
from cancel_appointment.request import CancelRequest, parse_cancel_request, parse_idempotency_key
from shared.entra.graph_token import GraphTokens
from shared.errors import InteractionRequired, OutcomeUnknown, Overloaded
from shared.identity.caller import Caller
from shared.identity.claims_challenge import explain_challenge
from shared.identity.principal import Principal
from shared.ids import folded
from shared.services import Services
from shared.serving.lanes import Name, mailbox_lane
from shared.serving.problems import Reply
from shared.serving.requests import Incoming
from shared.telemetry.journal import Journal, pseudonym
from shared.transport.deadline import Deadline

_SMALL_BODY_BYTES = 8 * 1024  # one that is read in a moment
_LEAST_S = 1.0  # a cancel that is begun with less would likely end in doubt


@dataclass(frozen=True, slots=True)
class CancelWork[P: Principal]:
    """A cancel that may be carried out: its caller is proved, and its body is read."""

    caller: P
    request: CancelRequest
    idempotency_key: str | None

    @property
    def lane(self) -> Name:
        """The mailbox that the work is for."""
        return mailbox_lane(self.request.business_id)


class CarriesOut[P: Principal]:
    """Cancels for one kind of principal, with tokens of that kind.

    One instance per worker, safe for all threads. ``keep_s`` is how long a record of theirs lives.
    """

    def __init__(
        self, services: Services, tokens: GraphTokens[P], *, keep_s: float = DAY_S
    ) -> None:
        settings = services.settings
        self._services = services
        self._cancellation = Cancellation(
            services.graph,
            tokens,
            Appointments(settings.bookings_segments, settings.default_cancellation_message),
            Records(
                services.records,
                services.waiting.sleep,
                deadline_s=settings.request_deadline_seconds,
                keep_s=keep_s,
            ),
            services.waiting,
        )

    def carry_out(self, work: CancelWork[P], deadline: Deadline, journal: Journal) -> Reply:
        """Cancel.

        Errors: those of ``Cancellation.run``; Overloaded when the deadline leaves no room to begin.
        """
        if deadline.remaining_s() < _LEAST_S:
            raise Overloaded("This service has more requests than it can finish in time.")
        outcome = self._cancellation.run(
            work.caller, work.request, work.idempotency_key, deadline, journal
        )
        journal.note(confirmed=outcome.confirmed, replayed=outcome.replayed)
        return contract.answer(outcome, work.request, journal.request_id)

    def too_late(self) -> OutcomeUnknown:
        """Return the error for a cancel that is under way and may have taken effect."""
        return OutcomeUnknown(
            "The cancel may have been sent, and it is not known whether it took effect. "
            "Send the same request again: that is safe."
        )


class CancelOperation(CarriesOut[Caller]):
    """Cancels appointments on behalf of callers."""

    def __init__(self, services: Services) -> None:
        super().__init__(services, services.tokens)

    def admit(self, incoming: Incoming, journal: Journal) -> CancelWork[Caller]:
        """Prove the caller, then read the request.

        Errors: those of ``prove_user``, ``parse_cancel_request`` and ``parse_idempotency_key``.
        """
        return self._read(
            self._services.prove_user(incoming.headers.get("authorization"), journal),
            incoming,
            journal,
        )

    def admit_at_once(self, incoming: Incoming, journal: Journal) -> CancelWork[Caller] | None:
        """See ``Operation.admit_at_once``."""
        if len(incoming.body) > _SMALL_BODY_BYTES:
            return None
        caller = self._services.recall_user(incoming.headers.get("authorization"), journal)
        return None if caller is None else self._read(caller, incoming, journal)

    def _read(self, caller: Caller, incoming: Incoming, journal: Journal) -> CancelWork[Caller]:
        request = parse_cancel_request(incoming.headers.get("content-type"), incoming.body)
        key = parse_idempotency_key(incoming.headers.get("idempotency-key"))
        journal.note(mailbox=pseudonym(folded(request.business_id)))
        return CancelWork(caller, request, key)

    def carry_out(self, work: CancelWork[Caller], deadline: Deadline, journal: Journal) -> Reply:
        """Cancel, and put a challenge in words that fit the caller's client."""
        try:
            return super().carry_out(work, deadline, journal)
        except InteractionRequired as error:
            raise explain_challenge(error, work.caller) from error.__cause__
