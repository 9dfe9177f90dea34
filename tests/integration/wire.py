"""Both ends of a wire.

A client whose calls to Graph may end in any way, and servers that say byte by byte what they are
told to.
"""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from infra.local.tls import LocalAuthority
from shared.entra.graph_token import GraphToken
from shared.graph.client import GraphClient, GraphRequest
from shared.graph.endings import GraphAnswer, Seen
from shared.transport.channel import Channel
from shared.transport.connections import Trust, open_trust

PATIENCE_S = 30.0  # for what must come
IMPATIENCE_S = 0.8  # for what must not come; enough for a handshake on a busy machine
TOKEN = GraphToken("oid", "tid", "a.graph.token")
CANCEL = ("solutions", "bookingBusinesses", "b", "appointments", "a", "cancel")
NO_CONTENT = b"HTTP/1.1 204 No Content\r\nrequest-id: r-1\r\n\r\n"
CANCELLED = GraphAnswer(204, request_id="r-1")


class Link:
    """One connection, as the server sees it."""

    def __init__(self, server: "Server", sock: socket.socket) -> None:
        self._server = server
        self._sock = sock

    def read_request(self) -> bytes:
        """Read one request, head and body. Errors: ConnectionError when the client has gone."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._some()
        head, _, body = received.partition(b"\r\n\r\n")
        length = next(
            (
                int(line[15:])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            ),
            0,
        )
        while len(body) < length:
            body += self._some()
        request = head + b"\r\n\r\n" + body
        self._server.requests.append(request)
        return request

    def send(self, payload: bytes) -> None:
        self._sock.sendall(payload)

    def drip(self, payload: bytes, *, pause_s: float = 0.02) -> None:
        """Send byte by byte, so that no wait between two is ever long."""
        for number in range(len(payload)):
            self._sock.sendall(payload[number : number + 1])
            if self._server.stopping.wait(pause_s):
                return

    def stopped(self, within_s: float) -> bool:
        """Wait, and tell whether the test is over."""
        return self._server.stopping.wait(within_s)

    def hold(self) -> None:
        """Say nothing more for as long as the test runs."""
        self._server.stopping.wait(PATIENCE_S)

    def reset(self) -> None:
        """Make the kernel send RST when the connection is closed.

        That is SO_LINGER with a time of 0, see socket(7).
        """
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _some(self) -> bytes:
        chunk = self._sock.recv(65536)
        if not chunk:
            raise ConnectionError("the client has gone")
        return chunk


class Server:
    """Runs a script on each connection, on a thread of its own.

    ``tls`` None speaks in plain text.
    """

    def __init__(self, script: Callable[[Link], None], tls: ssl.SSLContext | None) -> None:
        self._script = script
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self.stopping = threading.Event()
        self.connections = 0
        self.requests: list[bytes] = []

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent arrives
            self.connections += 1
            self._start(lambda sock=sock: self._serve(sock))  # type: ignore[misc]

    def _serve(self, sock: socket.socket) -> None:
        with ExitStack() as closing:
            closing.callback(sock.close)
            try:
                if self._tls is not None:
                    sock.settimeout(PATIENCE_S)
                    sock = self._tls.wrap_socket(sock, server_side=True)
                    closing.callback(sock.close)
                self._script(Link(self, sock))
            except OSError:
                return  # the client has had enough

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()


@dataclass(frozen=True)
class Bench:
    """A client that trusts ``authority``, and servers that it may be pointed at."""

    authority: LocalAuthority
    trust: Trust
    running: ExitStack
    channels: dict[str, Channel] = field(default_factory=dict)

    def serve(
        self,
        script: Callable[[Link], None],
        *,
        tls: ssl.SSLContext | None = None,
        plain: bool = False,
    ) -> Server:
        return self.running.enter_context(
            Server(script, None if plain else tls or self.authority.server_context())
        )

    def channel(self, url: str) -> Channel:
        if url not in self.channels:
            self.channels[url] = Channel(url, self.trust, keep=4)
            self.running.callback(self.channels.pop, url)  # forgotten, it closes what is idle
        return self.channels[url]

    def call(self, url: str, *, timeout_s: float = PATIENCE_S, fresh: bool = False) -> Seen:
        client = GraphClient(self.channel(url), "/v1.0")
        request = GraphRequest("cancel", "POST", CANCEL, body={"cancellationMessage": "Sorry."})
        return client.call(request, TOKEN, call_id="r-0", timeout_s=timeout_s, fresh=fresh)


_authority = cache(LocalAuthority)  # making its key costs more than a test


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A client and what it trusts; its servers are stopped at the end."""
    authority = _authority()
    with ExitStack() as running:
        yield Bench(authority, open_trust(authority.write_bundle(tmp_path / "ca.pem")), running)


def answering(payload: bytes, then: Callable[[Link], None] = Link.hold) -> Callable[[Link], None]:
    """Answer every request with the same bytes, then close, reset or hold."""

    def script(link: Link) -> None:
        link.read_request()
        link.send(payload)
        then(link)

    return script


def close(_: Link) -> None:
    """Return, which closes the connection."""


def keep_alive(payload: bytes) -> Callable[[Link], None]:
    """Answer every request of a connection with the same bytes."""

    def script(link: Link) -> None:
        while True:
            link.read_request()
            link.send(payload)

    return script


def head(status: str, *headers: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", *headers, "")).encode("latin-1")


def answer(status: str, body: bytes, *headers: str) -> bytes:
    return head(status, f"Content-Length: {len(body)}", *headers) + body


NOT_FOUND = json.dumps(
    {"error": {"code": "ErrorItemNotFound", "message": "It is not there."}}
).encode()
