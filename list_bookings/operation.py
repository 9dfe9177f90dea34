"""The lists from request to answer: prove the caller, read the request, ask Graph page by page.

Owns the addresses of the lists. Does *not* know Azure Functions or threads, nor how far a list is
followed (``pages.py``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from list_bookings import contract
from list_bookings.pages import Listed, follow
from list_bookings.request import (
    AppointmentsRequest,
    BusinessesRequest,
    parse_appointments_request,
    parse_businesses_request,
)
from shared.errors import InteractionRequired, UpstreamAnswer, UpstreamUnavailable
from shared.graph.reads import GraphReads
from shared.identity.caller import Caller
from shared.identity.claims_challenge import explain_challenge
from shared.ids import folded
from shared.services import Services
from shared.serving.lanes import Name, mailbox_lane, personal_lane
from shared.serving.problems import Reply
from shared.serving.requests import Incoming
from shared.telemetry.journal import Journal, pseudonym
from shared.transport.deadline import Deadline

# Graph does not say that there are more businesses: its list has no link to a next page
# (microsoft-graph-docs-contrib, bookingBusiness-list).
_GRAPH_LISTS_AT_MOST = 500


@dataclass(frozen=True, slots=True)
class BusinessesWork:
    """A request for businesses by a proved caller."""

    caller: Caller
    request: BusinessesRequest

    @property
    def lane(self) -> Name:
        """The person who asks: no mailbox is touched."""
        return personal_lane(self.caller)


@dataclass(frozen=True, slots=True)
class AppointmentsWork:
    """A request for appointments by a proved caller."""

    caller: Caller
    request: AppointmentsRequest

    @property
    def lane(self) -> Name:
        """The mailbox that is read; its cancels share the lane."""
        return mailbox_lane(self.request.business_id)


class _Lists:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._root = services.settings.bookings_segments
        self._reads = GraphReads(services.tokens, services.graph, services.waiting)

    def too_late(self) -> UpstreamUnavailable:
        """Say that a read took too long."""
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
        entry: Callable[[Any], E | None],
    ) -> Listed[E]:
        """Return the list; a challenge gets words that fit the caller's client.

        Errors: those of ``GraphReads.read``.
        """

        def read(query: Mapping[str, str]) -> Mapping[str, Any]:
            return self._reads.read(caller, segments, query, deadline, journal, step=step)

        try:
            listed = follow(read, query, entry, deadline)
        except InteractionRequired as error:
            raise explain_challenge(error, caller) from error.__cause__
        journal.note(entries=len(listed.entries))
        return listed


class ListBusinesses(_Lists):
    """Lists booking businesses; one instance per worker, safe for all threads."""

    def admit(self, incoming: Incoming, journal: Journal) -> BusinessesWork:
        """Prove the caller, then read the request.

        Errors: those of ``prove_user`` and ``parse_businesses_request``.
        """
        caller = self._services.prove_user(incoming.headers.get("authorization"), journal)
        return BusinessesWork(caller, parse_businesses_request(incoming.query))

    def admit_at_once(self, incoming: Incoming, journal: Journal) -> BusinessesWork | None:
        """See ``Operation.admit_at_once``."""
        caller = self._services.recall_user(incoming.headers.get("authorization"), journal)
        return (
            None
            if caller is None
            else BusinessesWork(caller, parse_businesses_request(incoming.query))
        )

    def carry_out(self, work: BusinessesWork, deadline: Deadline, journal: Journal) -> Reply:
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


class ListAppointments(_Lists):
    """Lists appointments; one instance per worker, safe for all threads."""

    def admit(self, incoming: Incoming, journal: Journal) -> AppointmentsWork:
        """Prove the caller, then read the request.

        Errors: those of ``prove_user`` and ``parse_appointments_request``.
        """
        return self._read(
            self._services.prove_user(incoming.headers.get("authorization"), journal),
            incoming,
            journal,
        )

    def admit_at_once(self, incoming: Incoming, journal: Journal) -> AppointmentsWork | None:
        """See ``Operation.admit_at_once``."""
        caller = self._services.recall_user(incoming.headers.get("authorization"), journal)
        return None if caller is None else self._read(caller, incoming, journal)

    def _read(self, caller: Caller, incoming: Incoming, journal: Journal) -> AppointmentsWork:
        work = AppointmentsWork(
            caller,
            parse_appointments_request(
                incoming.route, incoming.query, self._services.waiting.now()
            ),
        )
        journal.note(mailbox=pseudonym(folded(work.request.business_id)))
        return work

    def carry_out(self, work: AppointmentsWork, deadline: Deadline, journal: Journal) -> Reply:
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
        )
        return contract.answer_appointments(listed, request, journal.request_id)
