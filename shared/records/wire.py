"""The wire beneath azure-core: the service's own channel in the place of requests.

Owns how a request of azure-core travels and how its answer comes back. Does *not* know tables. What
fails before the first byte has left is ``NotSent``, all else ``Unanswered``: the channel's own line
(``transport/channel.py``).
"""

import time
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from azure.core.pipeline.transport import HttpResponse, HttpTransport
from azure.core.rest import HttpRequest

from shared.transport.channel import Answer, Channel, NotSent
from shared.transport.connections import Trust

_KEPT = 64
_LIMIT_BYTES = 4 * 1024 * 1024  # a page of a table holds at most that


class WireResponse(HttpResponse):
    """An answer that is there as a whole. ``headers`` have lower-case names."""

    def __init__(self, request: Any, answer: Answer) -> None:
        super().__init__(request, answer)
        self.status_code = answer.status
        self.headers = dict(answer.headers)
        self._content = answer.body

    def body(self) -> bytes:
        """Return the body."""
        return self._content


class ChannelTransport(HttpTransport[HttpRequest, WireResponse]):
    """Sends all requests to ``origin``; plain http is for the emulator of a developer's machine.

    Each call takes the options ``until``, a moment of the monotonic clock, and ``connect_s``.
    """

    def __init__(self, origin: str, trust: Trust | None) -> None:
        self._channel = Channel(origin, trust, keep=_KEPT)
        self._closed = False

    def send(self, request: HttpRequest, **options: Any) -> WireResponse:
        """Exchange a request with its answer. Errors: NotSent, Unanswered."""
        if self._closed:
            raise NotSent("Closed")
        address = urlsplit(request.url)
        headers = dict(request.headers)
        headers.pop("Content-Length", None)  # the channel says it itself
        answer = self._channel.exchange(
            request.method,
            f"{address.path}?{address.query}" if address.query else address.path,
            headers,
            request.content,
            connect_s=options["connect_s"],
            total_s=options["until"] - time.monotonic(),
            limit_bytes=_LIMIT_BYTES,
        )
        return WireResponse(request, answer)

    def open(self) -> None:
        """Nothing: a connection is opened when it is used."""

    def close(self) -> None:
        """Close the connections that are idle; nothing is sent any more."""
        self._closed = True
        self._channel.close()

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.close()
