"""One request and its answer over a connection that is kept.

Owns the line between "never sent" and "sent, no answer": what fails while connecting is before it,
all else behind it. Does *not* know what is said over it.

It is the shortest way that still says whether a request was sent. It has none of the layers of
``requests`` and ``urllib3`` (sessions, retries, redirects, proxies, cookies, addresses parsed
anew), and does not read a head as if it were mail, as the standard library does. Together these
cost three times the exchange (``make bench``).
"""

import contextlib
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httptools
from urllib3.exceptions import HTTPError

from shared.transport.connections import Trust
from shared.transport.pool import Pool
from shared.transport.reading import Reading
from shared.transport.sockets import Connection, WireFailed, connect
from shared.transport.sockets import NotSent as NotSent

_CHUNK_BYTES = 64 * 1024
_WARM_S = 3.0
_PRINTABLE = bytes(range(0x20, 0x7F))
_PORTS = {"http": 80, "https": 443}


class Unanswered(WireFailed):
    """The request may have arrived, and no answer that can be read has."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    ``body`` is decoded, and ends with the first byte that is too much. ``headers`` have lower-case
    names; several of one name are joined. Trailers are not among them.
    """

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


class Channel:
    """Exchanges requests and answers with ``origin``, e.g. ``https://graph.microsoft.com``.

    Calls to an ``http`` origin go without TLS. Safe for all threads: each uses a connection of its
    own. It opens connections only when they are needed, as many as are in use at the same time. At
    most ``keep`` are kept.
    """

    def __init__(self, origin: str, trust: Trust | None, *, keep: int) -> None:
        address = urlsplit(origin)
        if address.scheme == "https" and trust is None:
            raise ValueError("nobody is trusted")
        self._host, self._authority = address.hostname or "", address.netloc
        self._port = address.port or _PORTS[address.scheme]
        self._trust = trust if address.scheme == "https" else None
        self._pool = Pool(keep)
        # As urllib3's pools do: a socket is not left to the collector.
        weakref.finalize(self, self._pool.drop)

    def exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        connect_s: float,
        total_s: float,
        limit_bytes: int,
        fresh: bool = False,
        echo: str | None = None,
    ) -> Answer:
        """Send a request and read its answer.

        ``total_s`` bounds the whole call, ``connect_s`` the connecting. At most ``limit_bytes`` + 1
        of the body are read. ``target`` is the path with its query, quoted. ``method`` has an
        answer with a body (not HEAD). Host and Content-Length are added to ``headers``. ``fresh``
        takes a new connection. ``echo`` names a header of the request, in lower case. If the answer
        has that header with another value, it is the answer to another request.

        After a call without an answer, and with ``fresh``, all idle connections are dropped: they
        may be dead, too. Errors: NotSent, Unanswered.
        """
        ends_at = time.monotonic() + total_s
        request = _write(method, target, self._authority, headers, body)
        connection = self._connection(min(connect_s, total_s), fresh=fresh)
        left_s = ends_at - time.monotonic()
        if left_s <= 0:
            connection.close()
            raise NotSent("ConnectTimeoutError")
        reading = Reading(limit_bytes)
        kept = answered = False
        try:
            connection.sock.settimeout(left_s)
            connection.sock.sendall(request)
            while not reading.complete:
                # Set again each time: a time-out of a socket starts again with every byte, and a
                # slow drip would never end.
                connection.sock.settimeout(_left_s(ends_at))
                reading.feed(connection.sock.recv(_CHUNK_BYTES))
            answer = Answer(reading.status, reading.decoded(), reading.headers)
            if echo is not None:
                _check_echo(headers[echo], reading.headers.get(echo))
            answered, kept = True, reading.leaves_nothing
        except TimeoutError as error:
            raise Unanswered("ReadTimeoutError") from error
        except (OSError, httptools.HttpParserError) as error:
            raise Unanswered("ProtocolError") from error
        except HTTPError as error:
            raise Unanswered(type(error).__name__) from error
        finally:
            if kept:
                self._pool.put(connection)
            else:
                connection.close()
            if not answered:
                self._pool.drop()
        return answer

    def warm(self) -> None:
        """Open a connection for the next request, if possible; raises nothing."""
        with contextlib.suppress(NotSent):
            self._pool.put(self._connection(_WARM_S, fresh=False))

    def _connection(self, within_s: float, *, fresh: bool) -> Connection:
        if fresh:
            self._pool.drop()
        elif (idle := self._pool.take()) is not None:
            return idle
        return connect(self._host, self._port, self._trust, within_s)


def _left_s(ends_at: float) -> float:
    left_s = ends_at - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("the answer has taken too long")
    return left_s


def _check_echo(sent: str, echoed: str | None) -> None:
    if not echoed or echoed == sent:
        return
    if {one.strip() for one in echoed.lower().split(",")} != {sent.lower()}:
        raise Unanswered("AnswerToAnother")


def _write(
    method: str, target: str, authority: str, headers: Mapping[str, str], body: bytes | None
) -> bytes:
    """Return the bytes of a request (RFC 9112).

    Errors: NotSent where something would break out of its line.
    """
    lines = [
        f"{method} {target} HTTP/1.1",
        f"Host: {authority}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass")
    if " " in target or head.translate(None, _PRINTABLE) != b"\r\n" * (len(lines) + 1):
        raise NotSent("InvalidHeader")
    return head + (body or b"")
