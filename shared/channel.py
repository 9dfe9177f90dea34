"""One request and its answer over a connection that is kept: the shortest way that still says whether a request was sent.

Owns the connections to one address, and the line between "never sent" and "sent, no answer": what fails while connecting is before it, all else behind it.
Does *not* know what is said over them. Connecting and TLS are urllib3's, the reading of answers is http.client's, both as ``connections.py`` has hardened
them; left out is what stands above them in ``urllib3.urlopen`` and ``requests`` (proxies, retries, redirects, cookies, hooks, addresses parsed anew), which
costs more than the exchange itself (``make bench``). An answer that is out of the ordinary takes the long way, through urllib3's own reader.
"""

import http.client
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

from shared.connections import Connection, Response, Trust, keep_addresses_out_of_the_log


class NotSent(Exception):
    """No byte of the request has left. ``cause`` is the name of what happened."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Unanswered(Exception):
    """The request may have arrived, and no answer that can be read has. ``cause`` is the name of what happened."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. ``body`` is decoded, and ends with the first byte that is too much. ``headers`` have lower-case names; several of one name are joined."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


class Channel:
    """Exchanges requests and answers with ``origin``, e.g. ``https://graph.microsoft.com``. Safe for all threads: each uses a connection of its own.

    It opens no connection before it has to, and then as many as are used at the same time; at most ``keep`` are kept.
    """

    def __init__(self, origin: str, trust: Trust, *, keep: int) -> None:
        keep_addresses_out_of_the_log()
        address = parse_url(origin)
        self._host, self._port = address.host or "", address.port
        self._authority = address.netloc or ""
        self._trust = trust
        self._keep = keep
        self._idle: deque[Connection] = deque()  # the last one that was used is the first to be used again: the others may end in peace

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
        """Send a request and read its answer, of the body at most ``limit_bytes`` and one; ``total_s`` bounds it all, ``connect_s`` the connecting.

        ``target`` is the path with its query, quoted. Errors: NotSent, Unanswered.
        """
        ends_at = time.monotonic() + total_s
        request = _write(method, target, self._authority, headers, body)
        connection = self._connect(min(connect_s, total_s))
        again = False
        try:
            sock = connection.sock
            # A time-out of zero would mean "do not wait", which is another error.
            sock.settimeout(max(0.001, ends_at - time.monotonic()))
            sock.sendall(request)
            response = Response(sock, method=method)
            try:
                response.begin()
                headers_read = _join(response.headers)
                answer = Answer(response.status, _read(response, headers_read, method, limit_bytes), headers_read)
                again = response.isclosed() and not response.will_close
            finally:
                response.close()
        except TimeoutError as error:
            raise Unanswered("ReadTimeoutError") from error
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered("ProtocolError") from error
        except HTTPError as error:
            raise Unanswered(type(error).__name__) from error
        finally:
            if again and len(self._idle) < self._keep:
                self._idle.append(connection)
            else:
                connection.close()
        return answer

    def open(self, *, connect_s: float) -> None:
        """Have a connection ready for the request to come. Errors: NotSent."""
        self._idle.append(self._connect(connect_s))

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()

    def _connect(self, within_s: float) -> Connection:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if connection.is_connected:
                return connection
            connection.close()
        connection = Connection(self._host, self._port, ssl_context=self._trust, cert_reqs="CERT_REQUIRED", timeout=within_s)
        try:
            connection.connect()
        except (HTTPError, OSError) as error:
            connection.close()
            raise NotSent(type(error).__name__) from error
        return connection


def _write(method: str, target: str, authority: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """Return the bytes of a request (RFC 9112). Errors: NotSent where something would break out of its line."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {authority}", *(f"{name}: {value}" for name, value in headers.items())]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join(lines)
    if not ("".join(lines).isprintable() and head.isascii()):
        raise NotSent("InvalidHeader")
    return f"{head}\r\n\r\n".encode("ascii") + (body or b"")


def _join(message: http.client.HTTPMessage) -> dict[str, str]:
    """Read all headers once: the message looks through all of them for each name."""
    headers: dict[str, str] = {}
    for name, value in message.items():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def _read(response: Response, headers: Mapping[str, str], method: str, limit_bytes: int) -> bytes:
    """Return the body. Errors: those of http.client and of urllib3."""
    plain = "transfer-encoding" not in headers and "content-encoding" not in headers and "," not in headers.get("content-length", "")
    if plain and response.length is not None and response.length <= limit_bytes:
        return response.read()  # exactly so many bytes, or IncompleteRead
    # Chunks, encodings, lengths that disagree or are too much, bodies until the end: what urllib3 knows all about.
    careful = urllib3.HTTPResponse(
        response,
        urllib3.HTTPHeaderDict(response.headers.items()),
        response.status,
        preload_content=False,
        decode_content=False,
        original_response=response,
        request_method=method,
    )
    return careful.read(limit_bytes + 1, decode_content=True)
