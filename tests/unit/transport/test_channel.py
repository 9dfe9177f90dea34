"""The channel to Graph: what goes wrong before a request is written, and after.

Over real sockets: test_transport_endings.
"""

import socket
import ssl
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import urllib3

from shared.transport import channel
from shared.transport.channel import Channel, NotSent, Unanswered

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
LOWER = sorted(
    [*URLLIB3, ConnectionResetError, BrokenPipeError, TimeoutError, OSError, ssl.SSLError],
    key=lambda kind: kind.__qualname__,
)


class FakeConnection:
    """A connection that fails where it is told to. ``closed`` counts how often it was closed."""

    made: ClassVar["list[FakeConnection]"]
    on_connect: Exception | None = None
    on_send: Exception | None = None
    is_connected = True

    def __init__(self, host: str, port: int | None, **options: Any) -> None:
        self.closed = 0
        self.sock = SimpleNamespace(settimeout=lambda seconds: None, sendall=self.sendall)
        self.made.append(self)

    def connect(self) -> None:
        if self.on_connect is not None:
            raise self.on_connect

    def sendall(self, data: bytes) -> None:
        if self.on_send is not None:
            raise self.on_send

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> type[FakeConnection]:
    class Fresh(FakeConnection):
        made: ClassVar[list[FakeConnection]] = []

    monkeypatch.setattr(channel, "Connection", Fresh)
    return Fresh


def exchange(
    *, target: str = "/a", headers: dict[str, str] | None = None, body: bytes | None = None
) -> Any:
    to = Channel("https://graph.microsoft.com", TRUST, keep=1)
    return to.exchange(
        "POST", target, headers or {}, body, connect_s=1.0, total_s=1.0, limit_bytes=100
    )


@pytest.mark.parametrize("kind", LOWER, ids=lambda kind: kind.__qualname__)
def test_whatever_fails_while_connecting_was_not_sent(
    connection: type[FakeConnection], kind: type[Exception]
) -> None:
    connection.on_connect = bare(kind)
    with pytest.raises(NotSent) as caught:
        exchange()
    assert caught.value.cause == kind.__name__
    assert [one.closed for one in connection.made] == [1]


@pytest.mark.parametrize("kind", LOWER, ids=lambda kind: kind.__qualname__)
def test_whatever_fails_from_the_first_byte_on_may_have_been_sent(
    connection: type[FakeConnection], kind: type[Exception]
) -> None:
    connection.on_send = bare(kind)
    with pytest.raises(Unanswered) as caught:
        exchange()
    assert "MARKER" not in caught.value.cause
    assert [one.closed for one in connection.made] == [1]


def test_a_bug_while_sending_leaves_no_connection_behind(connection: type[FakeConnection]) -> None:
    connection.on_send = KeyError("MARKER")
    with pytest.raises(KeyError):
        exchange()
    assert [one.closed for one in connection.made] == [1]


@pytest.mark.parametrize(
    "value",
    ["a\r\nX-Injected: b", "a\nb", "a\n b", "a\rb", "a\0b", "\u00e4", "a\u2028b"],
    ids=ascii,
)
@pytest.mark.parametrize("where", ["target", "header"])
def test_what_would_break_out_of_its_line_is_never_sent(
    connection: type[FakeConnection], value: str, where: str
) -> None:
    with pytest.raises(NotSent, match="InvalidHeader"):
        exchange(target=f"/{value}") if where == "target" else exchange(
            headers={"Authorization": value}
        )
    assert not connection.made


def test_nothing_is_opened_until_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("a socket was made")

    monkeypatch.setattr(socket, "socket", connect)
    Channel("https://graph.microsoft.com", TRUST, keep=1).close()
