"""The lists from request to answer: prove the caller, read the request, ask Graph page by page.

Owns the addresses of the lists and how far they are followed. Does *not* know Azure Functions or
threads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from list_bookings import contract
from list_bookings.contract import Listed
from list_bookings.request import (
    AppointmentsRequest,
    BusinessesRequest,
    parse_appointments_request,
    parse_businesses_request,
)
from shared.errors import InteractionRequired, UpstreamAnswer, UpstreamBroken, UpstreamUnavailable
from shared.graph.reads import GraphReads
from shared.identity.caller import Caller, explain_challenge
from shared.services import Services
from shared.serving.problems import Reply
from shared.serving.requests import Incoming
from shared.telemetry.journal import Journal, pseudonym
from shared.transport.deadline import Deadline

_MOST_PAGES = 10
_MOST_ENTRIES = 1000
_LONGEST_LINK = 8192


@dataclass(frozen=True, slots=True)
class BusinessesWork:
    """A request for businesses by a proved caller."""

    caller: Caller
    request: BusinessesRequest

    @property
    def lane(self) -> str:
        """The person who asks: no mailbox is touched."""
        return f"{self.caller.tenant_id} {self.caller.object_id}"


@dataclass(frozen=True, slots=True)
class AppointmentsWork:
    """A request for appointments by a proved caller."""

    caller: Caller
    request: AppointmentsRequest

    @property
    def lane(self) -> str:
        """The mailbox that is read, of which cancels have the same lane; addresses do not differ by
        case.
        """
        return self.request.business_id.lower()


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

    def _list(
        self,
        caller: Caller,
        segments: Sequence[str],
        query: Mapping[str, str],
        deadline: Deadline,
        journal: Journal,
        *,
        step: str,
    ) -> Listed:
        """Return all entries, or as many as may be listed. Errors: those of ``GraphReads.read``."""
        entries: list[Any] = []
        for _ in range(_MOST_PAGES):
            try:
                page = self._reads.read(caller, segments, query, deadline, journal, step=step)
            except InteractionRequired as error:
                raise explain_challenge(error, caller) from error
            found = page.get("value")
            if not isinstance(found, list):
                raise UpstreamBroken(
                    "Microsoft Graph answered no list; nothing was changed.",
                    upstream=UpstreamAnswer("graph", 200),
                )
            entries += found
            last = "@odata.nextLink" not in page
            following = _next_query(page.get("@odata.nextLink"))
            if following is None or len(entries) > _MOST_ENTRIES:
                break
            query = following
        journal.note(entries=len(entries))
        return Listed(entries[:_MOST_ENTRIES], complete=last and len(entries) <= _MOST_ENTRIES)


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
            work.caller, self._root, query, deadline, journal, step="list_businesses"
        )
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
        journal.note(mailbox=pseudonym(work.lane))
        return work

    def carry_out(self, work: AppointmentsWork, deadline: Deadline, journal: Journal) -> Reply:
        """List. Errors: those of ``GraphReads.read``."""
        request = work.request
        segments = (*self._root, request.business_id, "calendarView")
        query = {"start": request.start.isoformat(), "end": request.end.isoformat()}
        listed = self._list(
            work.caller, segments, query, deadline, journal, step="list_appointments"
        )
        return contract.answer_appointments(listed, request, journal.request_id)


def _next_query(link: Any) -> dict[str, str] | None:
    """Return the query of the next page.

    Of Graph's link nothing else is used: where requests go is never an upstream's choice.
    """
    if not isinstance(link, str) or len(link) > _LONGEST_LINK:
        return None
    try:
        link.encode()  # half of a surrogate pair could not be sent
        return dict(parse_qsl(urlsplit(link).query, keep_blank_values=True)) or None
    except ValueError:
        return None
