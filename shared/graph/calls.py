"""The calls to Microsoft Graph of one request, each noted in the journal.

Owns the caller's token and its one renewal, ids of calls and fresh connections. Does *not* know
what is called, nor when a call is repeated for another reason.
"""

from dataclasses import dataclass, field
from typing import Protocol

from shared.entra.graph_token import GraphToken, GraphTokens
from shared.graph.client import GraphRequest
from shared.graph.endings import Body, Ending, GraphAnswer, NoAnswer, Seen, ending
from shared.identity.principal import Principal
from shared.telemetry.journal import Journal
from shared.transport.deadline import Deadline

SHORTEST_CALL_S = 0.3


class Graph(Protocol):
    """Calls Graph; raises nothing for what Graph or the network may do."""

    def call(
        self,
        request: GraphRequest,
        token: GraphToken,
        *,
        call_id: str,
        timeout_s: float,
        fresh: bool,
    ) -> Seen:
        """Send one request and return how it ended."""
        ...


@dataclass(slots=True)
class Calls[P: Principal]:
    """The calls of one request, made by one thread.

    ``count`` is how many were sent; ``renewed`` says that Graph refused a token of this request.
    """

    graph: Graph
    tokens: GraphTokens[P]
    caller: P
    deadline: Deadline
    journal: Journal
    count: int = 0
    renewed: bool = False
    _token: GraphToken | None = field(default=None, repr=False)
    _answered: bool = True

    def send(
        self, request: GraphRequest, *, success: int, share: float = 1.0, fresh: bool = False
    ) -> Seen:
        """Send one call, and the same again with a new token where Graph refuses this one.

        That is continuous access evaluation: nothing was done. ``share`` is what a call may take of
        the time that is left. A call that could only begin after the deadline is not sent: it could
        outlive the lease of its record. After a call without an answer, the next one takes a fresh
        connection, as with ``fresh``.

        Errors: those of the exchange.
        """
        if self._token is None:
            self._token = self.tokens.exchange(self.caller, self.deadline)
        while (left_s := self.deadline.remaining_s()) >= SHORTEST_CALL_S:
            timeout_s = max(SHORTEST_CALL_S, left_s * share)
            seen = self._call(request, self._token, success, timeout_s, fresh=fresh)
            if (
                self.renewed
                or not isinstance(seen, GraphAnswer)
                or (seen.status, seen.body) != (401, Body.FITTING)
                or self.deadline.remaining_s() < SHORTEST_CALL_S
            ):
                return seen
            self.renewed = True
            self._token = self.tokens.exchange(
                self.caller, self.deadline, refused=self._token, claims=seen.claims
            )
        return NoAnswer(sent=False, cause="DeadlineOver")

    def _call(
        self,
        request: GraphRequest,
        token: GraphToken,
        success: int,
        timeout_s: float,
        *,
        fresh: bool,
    ) -> Seen:
        self.count += 1
        # The request's own id but for the last digits: in the log the two are found together.
        call_id = f"{self.journal.request_id[:-4]}{len(self.journal.calls):04x}"
        if call_id == self.journal.request_id:
            call_id = f"{call_id[:-4]}ffff"
        fresh = fresh or not self._answered
        started_at = self.deadline.now()
        seen = self.graph.call(request, token, call_id=call_id, timeout_s=timeout_s, fresh=fresh)
        how = ending(seen, success=success)
        self._answered = how is not Ending.UNANSWERED
        answer = seen if isinstance(seen, GraphAnswer) else None
        self.journal.graph_call(
            request.step,
            how,
            status=answer.status if answer else None,
            graph_request_id=answer.request_id if answer else None,
            seconds=self.deadline.now() - started_at,
            code=answer.code if answer else None,
            call_id=call_id,
        )
        return seen
