"""The channel: what goes wrong before a request is written, and after.

Over real sockets: test_transport_endings.
"""

import contextlib
import errno
import gc
import socket
import ssl
from typing import Any, ClassVar

import pytest
import urllib3

from shared.transport.channel import Channel, NotSent, Unanswered
from shared.transport.sockets import connect

TRUST = ssl.create_default_context()


def all_kinds(base: type[Exception]) -> set[type[Exception]]:
    return {base}.union(*(all_kinds(kind) for kind in base.__subclasses__()))


def bare(kind: type[Exception]) -> Exception:
    """Make an error of this kind as if by hand: its constructor may want what is not at hand."""
    return kind.__new__(kind, "MARKER")


URLLIB3 = [
    kind
    for kind in all_kinds(urllib3.exceptions.HTTPError)
    if kind.__module__ == "urllib3.exceptions"
]
SYSTEM = [ConnectionResetError, BrokenPipeError, TimeoutError, OSError, ssl.SSLError]
LOWER = sorted([*URLLIB3, *SYSTEM], key=lambda kind: kind.__qualname__)


class FakeSocket:
    """A socket that fails where it is told to. ``closed`` counts how often it was closed."""

    made: ClassVar["list[FakeSocket]"]
    on_connect: Exception | None = None
    on_send: Exception | None = None

    def __init__(self, *_: Any) -> None:
        self.closed = 0
        self.made.append(self)

    def setsockopt(self, *_: int) -> None:
        pass

    def settimeout(self, seconds: float) -> None:
        pass

    def connect(self, address: object) -> None:
        if self.on_connect is not None:
            raise self.on_connect

    def sendall(self, data: bytes) -> None:
        if self.on_send is not None:
            raise self.on_send

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def sock(monkeypatch: pytest.MonkeyPatch) -> type[FakeSocket]:
    class Fresh(FakeSocket):
        made: ClassVar[list[FakeSocket]] = []

    address = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("192.0.2.1", 80))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [address])
    monkeypatch.setattr(socket, "socket", Fresh)
    return Fresh


def exchange(
    *, target: str = "/a", headers: dict[str, str] | None = None, body: bytes | None = None
) -> Any:
    to = Channel("http://graph.example", None, keep=1)
    return to.exchange(
        "POST", target, headers or {}, body, connect_s=1.0, total_s=1.0, limit_bytes=100
    )


@pytest.mark.parametrize("kind", SYSTEM, ids=lambda kind: kind.__qualname__)
def test_whatever_fails_while_connecting_was_not_sent(
    sock: type[FakeSocket], kind: type[Exception]
) -> None:
    sock.on_connect = bare(kind)
    with pytest.raises(NotSent) as caught:
        exchange()
    late = kind is TimeoutError
    assert caught.value.cause == ("ConnectTimeoutError" if late else "NewConnectionError")
    assert [one.closed for one in sock.made] == [1]


def test_where_no_socket_is_to_be_had_nothing_was_sent(
    sock: type[FakeSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: int) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socket", fail)
    with pytest.raises(NotSent, match="NewConnectionError"):
        exchange()


@pytest.mark.parametrize("kind", [*SYSTEM, ValueError], ids=lambda kind: kind.__qualname__)
def test_whatever_fails_in_the_handshake_was_not_sent(
    sock: type[FakeSocket], kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrap_socket(*_: Any, **__: Any) -> None:
        raise bare(kind)

    trust = ssl.create_default_context()
    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", wrap_socket)
    with pytest.raises(NotSent, match="NewConnectionError"):
        Channel("https://graph.example", trust, keep=1).exchange(
            "GET", "/a", {}, None, connect_s=1.0, total_s=1.0, limit_bytes=100
        )
    assert [one.closed for one in sock.made] == [1]


@pytest.mark.parametrize("kind", LOWER, ids=lambda kind: kind.__qualname__)
def test_whatever_fails_from_the_first_byte_on_may_have_been_sent(
    sock: type[FakeSocket], kind: type[Exception]
) -> None:
    sock.on_send = bare(kind)
    with pytest.raises(Unanswered) as caught:
        exchange()
    assert "MARKER" not in caught.value.cause
    assert [one.closed for one in sock.made] == [1]


def test_a_bug_while_sending_leaves_no_connection_behind(sock: type[FakeSocket]) -> None:
    sock.on_send = KeyError("MARKER")
    with pytest.raises(KeyError):
        exchange()
    assert [one.closed for one in sock.made] == [1]


@pytest.mark.parametrize(
    "value",
    ["a\r\nX-Injected: b", "a\nb", "a\n b", "a\rb", "a\0b", "\u00e4", "a\u2028b"],
    ids=ascii,
)
@pytest.mark.parametrize("where", ["target", "header"])
def test_what_would_break_out_of_its_line_is_never_sent(
    sock: type[FakeSocket], value: str, where: str
) -> None:
    with pytest.raises(NotSent, match="InvalidHeader"):
        exchange(target=f"/{value}") if where == "target" else exchange(
            headers={"Authorization": value}
        )
    assert not sock.made


def test_a_blank_in_a_target_is_never_sent(sock: type[FakeSocket]) -> None:
    with pytest.raises(NotSent, match="InvalidHeader"):
        exchange(target="/a HTTP/1.1")
    assert not sock.made


def test_nothing_is_opened_until_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("a socket was made")

    monkeypatch.setattr(socket, "socket", connect)
    Channel("https://graph.microsoft.com", TRUST, keep=1)


@pytest.mark.parametrize("origin", ["https://graph.example", "https://graph.example:444"])
def test_an_https_address_is_never_spoken_to_without_trust(origin: str) -> None:
    with pytest.raises(ValueError, match="trusted"):
        Channel(origin, None, keep=1)


def test_a_connection_that_is_not_had_waits_for_no_collector() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    gc.disable()
    try:
        with contextlib.suppress(NotSent):
            connect("127.0.0.1", port, None, 1.0)
        assert [one for one in gc.get_objects() if type(one) is ConnectionRefusedError] == []
    finally:
        gc.enable()
