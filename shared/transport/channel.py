"""One request and its answer over a connection that is kept: the shortest way that still says
whether a request was sent.

Owns the connections to one address, and the line between "never sent" and "sent, no answer": what
fails while connecting is before it, all else behind it. Does *not* know what is said over them.
Connecting and TLS are urllib3's, as ``connections.py`` has hardened them; answers are read by
llhttp, the parser of Node.js, which takes nothing that is not HTTP. Left out is what stands between
in ``requests`` and ``urllib3`` (sessions, pools, retries, redirects, proxies, cookies, addresses
parsed anew) and the standard library's way to read a head as if it were mail: together they cost
three times the exchange (``make bench``).
"""

import contextlib
import io
import time
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import httptools
import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

from shared.transport.connections import Connection, Trust, keep_addresses_out_of_the_log

_CHUNK_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 64 * 1024
_MAX_HEADERS = 100
_WARM_S = 3.0
_NO_CHUNKS = b"\r\n\r\n0\r\n\r\n"


class NotSent(Exception):
    """No byte of the request has left. ``cause`` is the name of what happened."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Unanswered(Exception):
    """The request may have arrived, and no answer that can be read has.

    ``cause`` is the name of what happened.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    ``body`` is decoded, and ends with the first byte that is too much. ``headers`` have lower-case
    names; several of one name are joined.
    """

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


class Channel:
    """Exchanges requests and answers with ``origin``, e.g.

    ``https://graph.microsoft.com``. Safe for all threads: each uses a connection of its own.

    It opens no connection before it has to, and then as many as are used at the same time; at most
    ``keep`` are kept.
    """

    def __init__(self, origin: str, trust: Trust, *, keep: int) -> None:
        keep_addresses_out_of_the_log()
        address = parse_url(origin)
        self._host, self._port = address.host or "", address.port
        self._authority = address.netloc or ""
        self._trust = trust
        self._keep = keep
        self._idle: deque[Connection] = (
            deque()
        )  # the last one that was used is the first to be used again: the others may end in peace
        weakref.finalize(
            self, _close, self._idle
        )  # as urllib3's pools do: a socket is not left to the collector

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
    ) -> Answer:
        """Send a request and read its answer, of the body at most ``limit_bytes`` and one;
        ``total_s`` bounds it all, ``connect_s`` the connecting.

        ``target`` is the path with its query, quoted; ``method`` has an answer with a body (not
        HEAD). Errors: NotSent, Unanswered.
        """
        ends_at = time.monotonic() + total_s
        request = _write(method, target, self._authority, headers, body)
        connection = self._connect(min(connect_s, total_s))
        reading = _Reading(limit_bytes)
        kept = False
        try:
            connection.sock.settimeout(_left_s(ends_at))
            connection.sock.sendall(request)
            while not reading.complete:
                # Set anew each time: a time-out of a socket starts again with every byte, and a
                # slow drip would go on for ever.
                connection.sock.settimeout(_left_s(ends_at))
                reading.feed(connection.sock.recv(_CHUNK_BYTES))
            answer = Answer(reading.status, reading.decoded(), reading.headers)
            kept = reading.leaves_nothing and len(self._idle) < self._keep
        except TimeoutError as error:
            raise Unanswered("ReadTimeoutError") from error
        except (OSError, httptools.HttpParserError) as error:
            raise Unanswered("ProtocolError") from error
        except HTTPError as error:
            raise Unanswered(type(error).__name__) from error
        finally:
            if kept:
                self._idle.append(connection)
            else:
                connection.close()
        return answer

    def warm(self) -> None:
        """Have a connection ready for the request to come, if it can be had; raises nothing."""
        with contextlib.suppress(NotSent):
            self._idle.append(self._connect(_WARM_S))

    def close(self) -> None:
        """Close what is idle."""
        _close(self._idle)

    def _connect(self, within_s: float) -> Connection:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if connection.is_connected:
                return connection
            connection.close()
        connection = Connection(
            self._host,
            self._port,
            ssl_context=self._trust,
            cert_reqs="CERT_REQUIRED",
            timeout=within_s,
        )
        try:
            connection.connect()
        except (HTTPError, OSError) as error:
            connection.close()
            raise NotSent(type(error).__name__) from error
        return connection


def _close(connections: deque[Connection]) -> None:
    while connections:
        connections.pop().close()


def _left_s(ends_at: float) -> float:
    left_s = ends_at - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("the answer has taken too long")
    return left_s


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
    head = "\r\n".join(lines)
    if not ("".join(lines).isprintable() and head.isascii()):
        raise NotSent("InvalidHeader")
    return f"{head}\r\n\r\n".encode("ascii") + (body or b"")


class _Reading:
    """One answer as it comes in.

    Its methods with ``on_`` are called by the parser; what they raise comes out of it as
    HttpParserError.
    """

    __slots__ = (
        "_begun",
        "_count",
        "_limit",
        "_parser",
        "_pieces",
        "_received",
        "_size",
        "complete",
        "headers",
        "leaves_nothing",
        "status",
    )

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._size = 0
        self._received = 0  # of the head
        self._begun = 0
        self._count = 0  # of headers
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = False
        self.leaves_nothing = False  # the connection may be used again: nothing is on it that could be taken for the next answer

    def feed(self, data: bytes) -> None:
        """Take what has arrived; nothing is the end of the connection. Errors: HttpParserError."""
        if not data:
            self._end()
            return
        if not self.status:
            self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if not self.complete:
                raise
            self.leaves_nothing = False  # more came than the answer
        except httptools.HttpParserUpgrade:
            self.leaves_nothing = False
        if not self.complete and not self.status and self._received > _MAX_HEAD_BYTES:
            raise httptools.HttpParserError("the head is too large")
        if (
            self.status == 204
            and "transfer-encoding" in self.headers
            and self._begun > 1
            and not data.endswith(_NO_CHUNKS)
        ):
            self._pieces = [data]  # chunks, which no 204 can have: not what its status promises
        self.leaves_nothing = self.leaves_nothing and self._begun == 1

    def decoded(self) -> bytes:
        """Return the body without its content encoding. Errors: DecodeError."""
        raw = b"".join(self._pieces)
        encoding = self.headers.get("content-encoding")
        if encoding is None or len(raw) > self._limit:
            return raw
        reader = urllib3.HTTPResponse(
            io.BytesIO(raw), {"content-encoding": encoding}, preload_content=False
        )
        return reader.read(self._limit + 1, decode_content=True)

    def _end(self) -> None:
        """Take the end of the connection: the end of the answer where its head says nothing else
        (RFC 9112 6.3).
        """
        if not self.status or not {"content-length", "transfer-encoding"}.isdisjoint(self.headers):
            raise httptools.HttpParserError("the connection was closed before the answer ended")
        self.complete = True

    def on_message_begin(self) -> None:
        self._begun += 1
        if self._begun == 1:
            self.headers, self._count = {}, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.complete:
            return
        self._count += 1
        if self._count > _MAX_HEADERS:
            raise ValueError("too many headers")
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        if self.complete:
            return
        if self._parser.get_http_version() not in ("1.0", "1.1"):
            raise ValueError("another version of HTTP")
        self.status = self._parser.get_status_code()

    def on_body(self, piece: bytes) -> None:
        if self.complete:
            return
        room = self._limit + 1 - self._size
        self._pieces.append(piece[:room])
        self._size += len(piece)
        if self._size > self._limit:
            self.complete = True  # whatever follows: it is too much

    def on_message_complete(self) -> None:
        if self.complete:
            return
        if (
            100 <= self.status < 200 and self.status != 101
        ):  # others may come before the answer (RFC 9110 15.2)
            self.status, self._received, self._begun = 0, 0, 0
            return
        self.complete = True
        promised = (
            self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers
        )
        bodiless = (
            self.status in (204, 304)
        )  # what such an answer promises besides may still come, and would be taken for the next one
        self.leaves_nothing = (
            self._parser.should_keep_alive() and not (bodiless and promised) and self.status != 101
        )
