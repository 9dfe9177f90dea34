"""One call to Microsoft Graph over one channel; the only file that speaks HTTP to Graph.

Owns URLs, headers, time-outs and size limits. Does *not* know what an answer means, and never
repeats a call (the SDKs repeat a POST on 504: this must not happen here).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote, urlencode

from shared.entra.graph_token import GraphToken
from shared.graph.endings import NoAnswer, Seen, read_answer
from shared.transport.channel import Channel, NotSent, Unanswered
from shared.transport.connections import USER_AGENT

_CONNECT_S = 3.0
# Of a read: a page of a list, or a group's appointment, which holds what each customer answered.
LARGEST_READ_BYTES = 4 * 1024 * 1024
_ID_HEADER = "client-request-id"
_HEADERS = {
    "User-Agent": USER_AGENT,
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
    "return-client-request-id": "true",
}


@dataclass(frozen=True, slots=True)
class GraphRequest:
    """What is asked of Graph.

    ``step`` names it in the journal and in traces; Graph never sees it. ``segments`` are the
    decoded path segments: each is quoted here, once, as is ``query``. An answer over
    ``limit_bytes`` is not readable.
    """

    step: str
    method: str
    segments: Sequence[str]
    body: Mapping[str, str] | None = field(default=None, repr=False)
    query: Mapping[str, str] | None = None
    limit_bytes: int = 256 * 1024


class GraphClient:
    """Calls Graph; safe for all threads.

    ``root`` is a path, e.g. ``/v1.0``; ``trace_headers`` tells Graph of which trace a call is.
    """

    def __init__(
        self, channel: Channel, root: str, trace_headers: Callable[[], Mapping[str, str]] = dict
    ) -> None:
        self._channel = channel
        self._root = root
        self._trace_headers = trace_headers

    def call(
        self,
        request: GraphRequest,
        token: GraphToken,
        *,
        call_id: str,
        timeout_s: float,
        fresh: bool = False,
    ) -> Seen:
        """Send one request and return how it ended.

        It raises nothing for what Graph or the network may do. ``timeout_s`` bounds the whole, from
        connecting to the answer's last byte. ``call_id`` goes out as client-request-id, so that
        Microsoft's support finds the call (Graph best practices). ``fresh``: over a new connection.
        """
        target = "/".join((self._root, *map(_quoted, request.segments)))
        if request.query:
            target = f"{target}?{urlencode(request.query, quote_via=quote)}"
        headers = {
            **_HEADERS,
            "Authorization": f"Bearer {token.value}",
            _ID_HEADER: call_id,
            **self._trace_headers(),
        }
        payload: bytes | None = None
        if request.body is not None:
            headers["Content-Type"] = "application/json"
            payload = json.dumps(request.body).encode("ascii")
        try:
            answer = self._channel.exchange(
                request.method,
                target,
                headers,
                payload,
                connect_s=min(_CONNECT_S, timeout_s / 2),
                total_s=timeout_s,
                limit_bytes=request.limit_bytes,
                fresh=fresh,
                echo=_ID_HEADER,
            )
        except NotSent as error:
            return NoAnswer(sent=False, cause=error.cause)
        except Unanswered as error:
            return NoAnswer(sent=True, cause=error.cause)
        whole = len(answer.body) <= request.limit_bytes
        return read_answer(answer.status, answer.headers, answer.body, whole=whole)


@lru_cache(maxsize=1024)  # words and businesses come again and again
def _quoted(segment: str) -> str:
    return quote(segment, safe="")
