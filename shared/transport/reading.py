"""One HTTP answer as it comes in.

Owns what is an answer, where it ends, how large it may be, and whether the connection may be used
again. It is read by llhttp, the parser of Node.js, which takes nothing that is not HTTP. Does *not*
own a socket.
"""

import io

import httptools
import urllib3

_MAX_HEAD_BYTES = 64 * 1024  # of all that is no body: interim answers, head and trailers
_MAX_HEADERS = 100  # in all of these
_CHUNK_RATIO = 7  # "1\r\n.\r\n": a byte of a body in chunks comes as six, or more
_NO_CHUNKS = b"\r\n\r\n0\r\n\r\n"


class Reading:
    """One answer, of the body at most ``limit_bytes`` and one.

    Its methods with ``on_`` are called by the parser; what they raise comes out of it as
    HttpParserError.
    """

    __slots__ = (
        "_begun",
        "_count",
        "_head",
        "_heads",
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
        self._head = bytearray()
        self._heads = 0
        self._pieces: list[bytes] = []
        self._size = 0
        self._received = 0
        self._begun = 0
        self._count = 0  # of headers
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = False
        self.leaves_nothing = (
            False  # nothing is on the connection that could be taken for the next answer
        )

    def feed(self, data: bytes) -> None:
        """Take what has arrived; nothing is the end of the connection. Errors: HttpParserError."""
        if not data:
            self._end()
            return
        self._received += len(data)
        in_head = not self.status
        if in_head:
            self._head += data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if not self.complete:
                raise
            self.leaves_nothing = False  # more came than the answer
        except httptools.HttpParserUpgrade:
            self.leaves_nothing = False
        if in_head and self.status:
            self._check_protocol()
        if not self.complete and self._received - _CHUNK_RATIO * self._size > _MAX_HEAD_BYTES:
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

    def _check_protocol(self) -> None:
        """Refuse the other protocols whose answers llhttp reads, too: RTSP and ICE."""
        heads = self._head.split(b"\r\n\r\n", self._heads)[: self._heads]
        if not all(head.startswith(b"HTTP/") for head in heads):
            raise httptools.HttpParserError("another protocol")
        self._head.clear()

    def _end(self) -> None:
        """Take the end of the connection.

        It ends the answer where its head says nothing else (RFC 9112 6.3).
        """
        if not self.status or not {"content-length", "transfer-encoding"}.isdisjoint(self.headers):
            raise httptools.HttpParserError("the connection was closed before the answer ended")
        self.complete = True

    def on_message_begin(self) -> None:
        """Begin an interim answer, the answer, or what may not follow it."""
        self._begun += 1
        if self._begun == 1:
            self.headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        if self.complete:
            return
        self._count += 1
        if self._count > _MAX_HEADERS:
            raise ValueError("too many headers")
        if self.status:  # a trailer: whoever sends the body could say anything with it
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        """Take the status."""
        if self.complete:
            return
        if self._parser.get_http_version() not in ("1.0", "1.1"):
            raise ValueError("another version of HTTP")
        self._heads += 1
        self.status = self._parser.get_status_code()

    def on_body(self, piece: bytes) -> None:
        """Take a part of the body."""
        if self.complete:
            return
        room = self._limit + 1 - self._size
        self._pieces.append(piece[:room])
        self._size += len(piece)
        if self._size > self._limit:
            self.complete = True  # whatever follows: it is too much

    def on_message_complete(self) -> None:
        """End an interim answer, or the answer."""
        if self.complete:
            return
        if (
            100 <= self.status < 200 and self.status != 101
        ):  # others may come before the answer (RFC 9110 15.2)
            self.status, self._begun = 0, 0
            return
        self.complete = True
        promised = (
            self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers
        )
        # What such an answer promises besides may still come, and would be taken for the next one.
        bodiless = self.status in (204, 304)
        self.leaves_nothing = (
            self._parser.should_keep_alive() and not (bodiless and promised) and self.status != 101
        )
