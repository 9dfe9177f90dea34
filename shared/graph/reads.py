"""Reading from Microsoft Graph for a caller, inside the deadline.

Owns when a read is repeated, and what its failures are called. Does *not* know what is read. A read
changes nothing. So it may always be repeated, unlike a cancel, and an answer that was lost leaves
no doubt.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.entra.graph_token import GraphTokens
from shared.errors import (
    BusinessNotFound,
    FacadeError,
    Throttled,
    UpstreamBroken,
    UpstreamUnavailable,
)
from shared.graph.calls import SHORTEST_CALL_S, Calls, Graph
from shared.graph.client import LARGEST_READ_BYTES, GraphRequest
from shared.graph.endings import (
    Ending,
    GraphAnswer,
    Seen,
    ending,
    reached_mail_limit,
    says_malformed,
    what_is_gone,
)
from shared.graph.refusals import malformed, quote, read_refusal
from shared.identity.caller import Caller
from shared.telemetry.journal import Journal
from shared.transport.deadline import Deadline
from shared.transport.retry_after import backoff_s, parse_retry_after
from shared.transport.waiting import Waiting

_MAX_TRIES = 3
_SHARE_OF_TRY = 0.6  # of the time that is left: what one try may take, so that another still fits
# What is said of a mailbox that comes back, and by a gateway that could not wait.
_PASSING = frozenset({404, 408, 409, 410, 412, 423, 425, 499})


class GraphReads:
    """Reads resources of Graph; one instance per worker, safe for all threads."""

    def __init__(self, tokens: GraphTokens[Caller], graph: Graph, waiting: Waiting) -> None:
        self._tokens = tokens
        self._graph = graph
        self._waiting = waiting

    def read(
        self,
        caller: Caller,
        segments: Sequence[str],
        query: Mapping[str, str],
        deadline: Deadline,
        journal: Journal,
        *,
        step: str,
        field: str | None = None,
    ) -> Mapping[str, Any]:
        """Return the JSON object at this address, as the caller may see it.

        ``step`` names the call in the journal and in traces. ``field`` is the member of the
        request whose id the address holds, if it holds one.

        Errors: those of the exchange and of ``read_refusal``; BusinessNotFound, Throttled,
        UpstreamUnavailable, UpstreamBroken.
        """
        calls = Calls(self._graph, self._tokens, caller, deadline, journal)
        request = GraphRequest(step, "GET", segments, query=query, limit_bytes=LARGEST_READ_BYTES)
        tries = 0
        while True:
            seen = calls.send(request, success=200, share=_SHARE_OF_TRY)
            if isinstance(seen, GraphAnswer) and ending(seen, success=200) is Ending.ANSWERED:
                return _resource(seen, field, renewed=calls.renewed)
            tries += 1
            self._make_room(seen, tries, deadline)

    def _make_room(self, seen: Seen, tries: int, deadline: Deadline) -> None:
        asked_s = 0.0
        if isinstance(seen, GraphAnswer):
            asked_s = parse_retry_after(seen.retry_after, self._waiting.now()) or 0.0
        pause_s = max(asked_s, backoff_s(tries, self._waiting.random))
        if tries >= _MAX_TRIES or deadline.remaining_s() < pause_s + SHORTEST_CALL_S:
            raise _give_up(seen, retry_after_s=max(1.0, asked_s or pause_s))
        self._waiting.sleep(pause_s)


def _resource(answer: GraphAnswer, field: str | None, *, renewed: bool) -> Mapping[str, Any]:
    """Return what a final answer holds. Errors: what it refuses with."""
    if answer.resource is not None:
        return answer.resource
    if what_is_gone(answer) is not None:
        raise BusinessNotFound(
            "There is no such booking business, or it is not visible to this user.",
            upstream=quote(answer),
        )
    if field is not None and says_malformed(answer):
        raise malformed(answer, field)
    raise read_refusal(answer, renewed=renewed)


def _give_up(seen: Seen, retry_after_s: float) -> FacadeError:
    upstream = quote(seen)
    if not isinstance(seen, GraphAnswer):
        words = "Microsoft Graph could not be reached; nothing was changed."
    elif seen.status == 429:
        return Throttled(
            "Microsoft Graph asks for fewer requests.",
            retry_after_s=retry_after_s,
            upstream=upstream,
        )
    elif (
        seen.status >= 500
        or seen.status in _PASSING
        or reached_mail_limit(seen)
        or what_is_gone(seen) is not None
    ):
        words = "Microsoft Graph is failing at the moment; nothing was changed."
    else:
        return UpstreamBroken(
            "Microsoft Graph gave an answer that cannot be used; nothing was changed.",
            upstream=upstream,
        )
    return UpstreamUnavailable(words, retry_after_s=retry_after_s, upstream=upstream)
