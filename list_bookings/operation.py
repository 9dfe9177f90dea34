"""The lists from request to answer: prove the caller, read the request, ask Graph page by page.

Owns the addresses of the lists. Does *not* know Azure Functions or threads, nor how far a list is
followed (``pages.py``).
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from list_bookings import contract
from list_bookings.pages import Listed, follow
from list_bookings.request import (
    AppointmentsRequest,
    BusinessesRequest,
    parse_appointments_request,
)
from shared.errors import InteractionRequired, UpstreamAnswer, UpstreamUnavailable
from shared.graph.reads import GraphReads
from shared.identity.caller import Caller
from shared.identity.claims_challenge import explain_challenge
from shared.ids import folded
from shared.services import Services
from shared.serving.lanes import Name, mailbox_lane, personal_lane
from shared.serving.problems import Reply
from shared.serving.request_faults import read_request
from shared.serving.requests import Incoming
from shared.telemetry.journal import Journal, pseudonym
from shared.transport.deadline import Deadline

# Graph does not say that there are more businesses: its list has no link to a next page
# (microsoft-graph-docs-contrib, bookingBusiness-list).
_GRAPH_LISTS_AT_MOST = 500


@dataclass(frozen=True, slots=True)
class ListWork[R]:
    """A request for a list by a proved caller; ``lane`` is the lane in which it runs."""

    caller: Caller
    request: R
    lane: Name


class _Lists[R]:
    """What both lists have in common; one instance per worker, safe for all threads."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._root = services.settings.bookings_segments
        self._reads = GraphReads(services.tokens, services.graph, services.waiting)

    def admit(self, incoming: Incoming, journal: Journal) -> ListWork[R]:
        """Prove the caller, then read the request.

        Errors: those of ``prove_user``; RequestInvalid.
        """
        caller = self._services.prove_user(incoming.headers.get("authorization"), journal)
        return self._read(caller, incoming, journal)

    def admit_at_once(self, incoming: Incoming, journal: Journal) -> ListWork[R] | None:
        """See ``Operation.admit_at_once``."""
        caller = self._services.recall_user(incoming.headers.get("authorization"), journal)
        return None if caller is None else self._read(caller, incoming, journal)

    @abstractmethod
    def _read(self, caller: Caller, incoming: Incoming, journal: Journal) -> ListWork[R]:
        """Read the request."""

    def too_late(self) -> UpstreamUnavailable:
        """Return the error for a read that took too long."""
        return UpstreamUnavailable(
            "Microsoft Graph did not answer in time; nothing was changed.",
            upstream=UpstreamAnswer("graph"),
        )

    def _list[E](
        self,
        caller: Caller,
        segments: Sequence[str],
        query: Mapping[str, str],
        deadline: Deadline,
        journal: Journal,
        *,
        step: str,
        entry: Callable[[Mapping[str, Any]], E],
        field: str | None = None,
    ) -> Listed[E]:
        """Return the list; a challenge gets words that fit the caller's client.

        Errors: those of ``GraphReads.read``.
        """

        def read(query: Mapping[str, str]) -> Mapping[str, Any]:
            return self._reads.read(
                caller, segments, query, deadline, journal, step=step, field=field
            )

        try:
            listed = follow(read, query, entry, deadline)
        except InteractionRequired as error:
            raise explain_challenge(error, caller) from error.__cause__
        journal.note(entries=len(listed.entries))
        return listed


class ListBusinesses(_Lists[BusinessesRequest]):
    """Lists booking businesses. No mailbox is touched, so the lane is that of the person."""

    def _read(
        self,
        caller: Caller,
        incoming: Incoming,
        journal: Journal,  # noqa: ARG002 - there is nothing to note
    ) -> ListWork[BusinessesRequest]:
        request = read_request(BusinessesRequest, incoming.query)
        return ListWork(caller, request, personal_lane(caller))

    def carry_out(
        self, work: ListWork[BusinessesRequest], deadline: Deadline, journal: Journal
    ) -> Reply:
        """List. Errors: those of ``GraphReads.read``."""
        query = {"query": work.request.query} if work.request.query else {}
        listed = self._list(
            work.caller,
            self._root,
            query,
            deadline,
            journal,
            step="list_businesses",
            entry=contract.read_business,
        )
        if len(listed.entries) >= _GRAPH_LISTS_AT_MOST:
            listed = replace(listed, complete=False)
        return contract.answer_businesses(listed, journal.request_id)


class ListAppointments(_Lists[AppointmentsRequest]):
    """Lists the appointments of a mailbox, whose lane its cancels share."""

    def _read(
        self, caller: Caller, incoming: Incoming, journal: Journal
    ) -> ListWork[AppointmentsRequest]:
        request = parse_appointments_request(
            incoming.route, incoming.query, self._services.waiting.now()
        )
        journal.note(mailbox=pseudonym(folded(request.business_id)))
        return ListWork(caller, request, mailbox_lane(request.business_id))

    def carry_out(
        self, work: ListWork[AppointmentsRequest], deadline: Deadline, journal: Journal
    ) -> Reply:
        """List. Errors: those of ``GraphReads.read``."""
        request = work.request
        segments = (*self._root, request.business_id, "calendarView")
        query = {"start": request.start.isoformat(), "end": request.end.isoformat()}
        listed = self._list(
            work.caller,
            segments,
            query,
            deadline,
            journal,
            step="list_appointments",
            entry=contract.read_appointment,
            field="businessId",
        )
        return contract.answer_appointments(listed, request, journal.request_id)
