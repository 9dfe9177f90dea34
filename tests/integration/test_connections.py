"""When a connection is used again and when not, over real sockets.

Age, tickets, silence, answers that belong to others, and many threads at once.
"""

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from shared.entra import credentials
from shared.entra.credentials import IdentityEndpoint
from shared.graph.client import GraphClient, GraphRequest
from shared.graph.endings import NoAnswer
from shared.transport import pool, sockets
from shared.transport.channel import Answer, Channel, NotSent, Unanswered
from tests.integration.wire import (
    CANCEL,
    CANCELLED,
    IMPATIENCE_S,
    NO_CONTENT,
    PATIENCE_S,
    TOKEN,
    Bench,
    Link,
    answer,
    head,
    keep_alive,
)

THREADS, CALLS = 64, 20


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock that idleness is measured by."""
    moment = [time.monotonic()]
    monkeypatch.setattr(pool, "time", SimpleNamespace(monotonic=lambda: moment[0]))
    monkeypatch.setattr(sockets, "time", SimpleNamespace(monotonic=lambda: moment[0]))
    return moment


def get(channel: Channel, target: str = "/a", *, total_s: float = PATIENCE_S) -> Answer:
    return channel.exchange(
        "GET", target, {}, None, connect_s=total_s, total_s=total_s, limit_bytes=1000
    )


# Age


@pytest.mark.parametrize(
    ("idle_s", "connections"), [(0.0, 1), (59.0, 1), (61.0, 2), (4 * 3600.0, 2)]
)
def test_nothing_that_was_idle_for_more_than_a_minute_is_used(
    bench: Bench, clock: list[float], idle_s: float, connections: int
) -> None:
    server = bench.serve(keep_alive(NO_CONTENT))
    assert bench.call(server.url) == CANCELLED
    clock[0] += idle_s
    assert bench.call(server.url) == CANCELLED
    assert server.connections == connections


def test_a_minute_of_idleness_begins_with_each_answer(bench: Bench, clock: list[float]) -> None:
    server = bench.serve(keep_alive(NO_CONTENT))
    for _ in range(5):
        assert bench.call(server.url) == CANCELLED
        clock[0] += 45.0
    assert server.connections == 1


def test_what_was_warmed_is_not_used_after_a_minute_either(
    bench: Bench, clock: list[float]
) -> None:
    server = bench.serve(keep_alive(NO_CONTENT))
    bench.channel(server.url).warm()
    clock[0] += 61.0
    assert bench.call(server.url) == CANCELLED
    assert server.connections == 2


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "TLS"])
def test_a_silent_connection_is_probed(bench: Bench, plain: bool) -> None:
    server = bench.serve(keep_alive(NO_CONTENT), plain=plain)
    host, port = "127.0.0.1", int(server.url.rpartition(":")[2])
    connection = sockets.connect(host, port, None if plain else bench.trust, PATIENCE_S)
    assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    if hasattr(socket, "TCP_KEEPIDLE"):
        assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) < 60
    connection.close()


# Tickets


def started(script: Callable[[Link], None]) -> tuple[Callable[[Link], None], threading.Event]:
    """Return the script, and an event: its connection stands and its tickets are sent."""
    stands = threading.Event()

    def told(link: Link) -> None:
        stands.set()
        script(link)

    return told, stands


def test_a_warmed_connection_survives_the_tickets_of_tls_1_3(bench: Bench) -> None:
    script, stands = started(keep_alive(NO_CONTENT))
    server = bench.serve(script)
    bench.channel(server.url).warm()
    assert stands.wait(PATIENCE_S)
    assert bench.call(server.url) == CANCELLED
    assert server.connections == 1


def test_a_connection_that_is_closed_right_after_its_tickets_is_replaced(bench: Bench) -> None:
    ended = threading.Event()

    def script(link: Link) -> None:
        if server.connections > 1:
            keep_alive(NO_CONTENT)(link)
        link._sock.close()
        ended.set()

    server = bench.serve(script)
    bench.channel(server.url).warm()
    assert ended.wait(PATIENCE_S)
    assert bench.call(server.url) == CANCELLED
    assert (server.connections, len(server.requests)) == (2, 1)


def test_an_answer_that_nobody_asked_for_is_not_taken_for_a_ticket(bench: Bench) -> None:
    sent = threading.Event()

    def script(link: Link) -> None:
        if server.connections == 1:
            link.send(answer("200 OK", b'{"id": "of another"}'))
            sent.set()
        keep_alive(NO_CONTENT)(link)

    server = bench.serve(script)
    bench.channel(server.url).warm()
    assert sent.wait(PATIENCE_S)
    assert bench.call(server.url) == CANCELLED
    assert server.connections == 2


# After silence


def test_one_unanswered_call_is_enough_to_drop_whatever_was_idle(bench: Bench) -> None:
    """Four connections die in silence: one call finds out, and no other meets them."""
    meet = threading.Barrier(4)
    asleep = threading.Event()

    def script(link: Link) -> None:
        link.read_request()
        if not asleep.is_set():
            meet.wait(PATIENCE_S)
            link.send(NO_CONTENT)
            link.read_request()
            link.hold()
        link.send(NO_CONTENT)
        keep_alive(NO_CONTENT)(link)

    server = bench.serve(script)
    with ThreadPoolExecutor(4) as threads:
        seen = list(threads.map(lambda _: bench.call(server.url), range(4)))
    assert seen == [CANCELLED] * 4
    asleep.set()
    assert bench.call(server.url, timeout_s=IMPATIENCE_S) == NoAnswer(
        sent=True, cause="ReadTimeoutError"
    )
    assert [bench.call(server.url) for _ in range(3)] == [CANCELLED] * 3
    assert server.connections == 5


def test_a_fresh_call_takes_a_new_connection_and_drops_the_others_for_good(bench: Bench) -> None:
    ended = threading.Event()

    def script(link: Link) -> None:
        try:
            keep_alive(NO_CONTENT)(link)
        except OSError:
            ended.set()

    server = bench.serve(script)
    assert bench.call(server.url) == CANCELLED
    assert bench.call(server.url, fresh=True) == CANCELLED
    assert ended.wait(PATIENCE_S)
    assert bench.call(server.url) == CANCELLED
    assert server.connections == 2


@pytest.mark.parametrize(
    "first",
    [
        head("200 OK", "Content-Length: 100") + b"{",
        b"RTSP/1.0 204 OK\r\n\r\n",
        head("204 No Content", "client-request-id: r-9"),
    ],
    ids=["cut off", "another protocol", "another's"],
)
def test_a_connection_with_an_answer_that_is_none_is_closed(bench: Bench, first: bytes) -> None:
    answers = iter([first, NO_CONTENT])

    def script(link: Link) -> None:
        link.read_request()
        link.send(next(answers))

    server = bench.serve(script)
    assert isinstance(bench.call(server.url), NoAnswer)
    assert bench.call(server.url) == CANCELLED
    assert server.connections == 2


# Answers of others


def test_a_call_without_time_is_never_sent(bench: Bench) -> None:
    server = bench.serve(keep_alive(NO_CONTENT))
    assert bench.call(server.url) == CANCELLED
    for _ in range(2):
        with pytest.raises(NotSent):
            get(bench.channel(server.url), total_s=0.0)
    assert len(server.requests) == 1


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "TLS"])
@pytest.mark.parametrize("reads", [0, 1000], ids=["stops reading", "reads by drips"])
def test_a_peer_that_does_not_take_the_request_is_given_up_in_time(
    bench: Bench, plain: bool, reads: int
) -> None:
    def script(link: Link) -> None:
        while reads:
            link._sock.recv(reads)
            if link.stopped(0.01):
                return
        link.hold()

    server = bench.serve(script, plain=plain)
    url = server.url.replace("https", "http") if plain else server.url
    began_at = time.monotonic()
    with pytest.raises(Unanswered, match="ReadTimeoutError"):
        bench.channel(url).exchange(
            "PUT", "/a", {}, bytes(20_000_000), connect_s=10.0, total_s=1.0, limit_bytes=1000
        )
    assert time.monotonic() - began_at < 5.0


def test_an_identity_endpoint_that_drips_is_given_up_in_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "_IDENTITY_S", 0.5)

    def script(link: Link) -> None:
        link.read_request()
        link.send(head("200 OK", "Content-Length: 1000"))
        link.drip(b" " * 1000)

    server = bench.serve(script, plain=True)
    with pytest.raises(Unanswered, match="ReadTimeoutError"):
        IdentityEndpoint().get(
            f"{server.url.replace('https', 'http')}/msi/token", params={"a": "b c"}, headers={}
        )
    assert server.requests[0].startswith(b"GET /msi/token?a=b+c HTTP/1.1\r\n")


def test_a_plain_address_is_spoken_to_plainly(bench: Bench) -> None:
    server = bench.serve(keep_alive(answer("200 OK", b"{}")), plain=True)
    channel = Channel(server.url.replace("https", "http"), None, keep=1)
    assert [get(channel).body for _ in range(3)] == [b"{}"] * 3
    assert server.connections == 1


def _reset(link: Link, _: bytes) -> None:
    link.reset()
    raise ConnectionError


def _close(_: Link, __: bytes) -> None:
    raise ConnectionError


def _cut(link: Link, whole: bytes) -> None:
    link.send(whole[:-3])
    raise ConnectionError


def _twice(link: Link, whole: bytes) -> None:
    link.send(whole)
    link.send(whole)


def _in_two_pieces(link: Link, whole: bytes) -> None:
    link.send(whole[:20])
    time.sleep(0.001)  # so that they are two
    link.send(whole[20:])


def _after_hints(link: Link, whole: bytes) -> None:
    link.send(head("103 Early Hints", "Link: </a>") + whole)


ANSWERED = (Link.send, _twice, _in_two_pieces, _after_hints)
FATES = (*ANSWERED, _reset, _close, _cut)


def test_many_threads_with_mixed_fates_cross_nothing(bench: Bench) -> None:
    """Whatever a call is told is its own.

    Each answer names the call it belongs to. Some are given twice, late, in pieces, or not at all.
    """

    def script(link: Link) -> None:
        while True:
            request = link.read_request()
            number = int(request.partition(b"\r\nclient-request-id: ")[2].partition(b"\r\n")[0])
            body = b'{"id": "%d"}' % number
            fate = FATES[number % len(FATES)]
            fate(link, answer("200 OK", body, f"client-request-id: {number}"))

    server = bench.serve(script)
    channel = Channel(server.url, bench.trust, keep=THREADS)
    client = GraphClient(channel, "/v1.0")

    def call(number: int) -> str:
        seen = client.call(
            GraphRequest("look", "GET", CANCEL),
            TOKEN,
            call_id=str(number),
            timeout_s=PATIENCE_S,
            fresh=number % 10 == 0,
        )
        if isinstance(seen, NoAnswer):
            return "none" if seen.sent else "not sent"
        assert seen.resource is not None
        return "own" if seen.resource["id"] == str(number) else "another's"

    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(call, range(THREADS * CALLS)))
    assert "another's" not in found
    assert "not sent" not in found
    own = {number for number, ending in enumerate(found) if ending == "own"}
    assert {FATES[number % len(FATES)] for number in own} == set(ANSWERED)
    assert len(own) > THREADS * CALLS / 3
