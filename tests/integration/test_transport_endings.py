"""How a call to Graph can end on the wire, over real sockets.

"Never sent" apart from "sent, no answer", and nothing left for the next call.
"""

import gzip
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.graph.client import GraphClient, GraphRequest
from shared.graph.endings import Body, GraphAnswer, NoAnswer
from shared.transport import sockets
from shared.transport.channel import Channel
from shared.transport.connections import open_trust
from tests.integration.wire import (
    CANCELLED,
    IMPATIENCE_S,
    NO_CONTENT,
    NOT_FOUND,
    PATIENCE_S,
    TOKEN,
    Bench,
    Link,
    Server,
    answer,
    answering,
    close,
    head,
    keep_alive,
)

# Never sent: no byte of the request has left.


def test_a_name_that_cannot_be_resolved_is_never_sent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert bench.call("https://graph.invalid") == NoAnswer(sent=False, cause="NameResolutionError")


def test_a_refused_connection_is_never_sent(bench: Bench) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken, and nobody listens
        assert bench.call(f"https://127.0.0.1:{closed.getsockname()[1]}") == NoAnswer(
            sent=False, cause="NewConnectionError"
        )


@contextmanager
def nobody_accepts() -> Iterator[tuple[str, int]]:
    """Listen at an address whose queue is full, so that no connection to it is ever accepted."""
    with ExitStack() as open_sockets:
        listener = open_sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):  # more than the queue of those who wait to be accepted holds
            waiting = open_sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()


def test_a_connection_that_is_not_accepted_in_time_is_never_sent(bench: Bench) -> None:
    with nobody_accepts() as (host, port):
        seen = bench.call(f"https://{host}:{port}", timeout_s=IMPATIENCE_S)
    assert seen == NoAnswer(sent=False, cause="ConnectTimeoutError")


def test_a_name_that_is_looked_up_too_slowly_is_never_sent_however_well_its_server_answers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up cannot be interrupted, so it may end after the deadline.

    Nothing may be sent then.
    """
    moment = [0.0]
    real = socket.getaddrinfo

    def look_up_slowly(*arguments: Any, **options: Any) -> Any:
        moment[0] += 60.0
        return real(*arguments, **options)

    server = bench.serve(keep_alive(NO_CONTENT))
    monkeypatch.setattr(sockets, "time", SimpleNamespace(monotonic=lambda: moment[0]))
    monkeypatch.setattr(socket, "getaddrinfo", look_up_slowly)
    assert bench.call(server.url) == NoAnswer(sent=False, cause="ConnectTimeoutError")


def test_all_addresses_of_a_name_share_one_time_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nobody_accepts() as address:
        silent = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)
        tried: list[float | None] = []
        real = socket.socket.connect

        def connect(sock: socket.socket, address: Any) -> None:
            tried.append(sock.gettimeout())
            real(sock, address)

        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [silent] * 20)
        monkeypatch.setattr(socket.socket, "connect", connect)
        assert bench.call("https://graph.invalid", timeout_s=IMPATIENCE_S) == NoAnswer(
            sent=False, cause="ConnectTimeoutError"
        )
    assert len(tried) < 20


def _greet_in_plain_text(link: Link) -> None:
    link.send(NO_CONTENT)
    link.hold()


def _answer_hello_in_plain_text(link: Link) -> None:
    link._some()
    link.send(head("400 Bad Request") + b"The plain HTTP request was sent to HTTPS port")


def _close_after_hello(link: Link) -> None:
    link._some()


def _reset_after_hello(link: Link) -> None:
    link._some()
    link.reset()


def _begin_a_record_and_close(link: Link) -> None:
    link._some()
    link.send(b"\x16\x03\x03\x00\x7a\x02\x00")


HANDSHAKES: dict[str, Callable[[Link], None]] = {
    "plain text at once": _greet_in_plain_text,
    "plain text after the hello": _answer_hello_in_plain_text,
    "closed at once": close,
    "closed after the hello": _close_after_hello,
    "reset after the hello": _reset_after_hello,
    "half a record": _begin_a_record_and_close,
    "reset at once": Link.reset,
}


@pytest.mark.parametrize("script", HANDSHAKES.values(), ids=HANDSHAKES.keys())
def test_a_handshake_that_fails_is_never_sent(bench: Bench, script: Callable[[Link], None]) -> None:
    server = bench.serve(script, plain=True)
    assert bench.call(server.url) == NoAnswer(sent=False, cause="NewConnectionError")
    assert server.connections == 1


def _say_nothing(link: Link) -> None:
    link.hold()


def _drip_a_record(link: Link) -> None:
    link.drip(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + bytes(1000))


@pytest.mark.parametrize("script", [_say_nothing, _drip_a_record], ids=["silent", "dripping"])
def test_a_handshake_that_takes_too_long_is_never_sent(
    bench: Bench, script: Callable[[Link], None]
) -> None:
    server = bench.serve(script, plain=True)
    assert bench.call(server.url, timeout_s=IMPATIENCE_S) == NoAnswer(
        sent=False, cause="NewConnectionError"
    )


def _context_for(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


def test_a_certificate_of_an_authority_that_is_not_trusted_is_never_sent(bench: Bench) -> None:
    server = bench.serve(
        keep_alive(NO_CONTENT), tls=_context_for(trustme.CA().issue_cert("127.0.0.1"))
    )
    assert bench.call(server.url) == NoAnswer(sent=False, cause="NewConnectionError")
    assert not server.requests


def test_a_certificate_for_another_host_is_never_sent(tmp_path: Path) -> None:
    trusted = trustme.CA()
    trusted.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = Server(keep_alive(NO_CONTENT), _context_for(trusted.issue_cert("graph.example")))
    with server:
        seen = GraphClient(Channel(server.url, open_trust(tmp_path / "ca.pem"), keep=1), "").call(
            GraphRequest("look", "GET", ("a",)), TOKEN, call_id="r-0", timeout_s=PATIENCE_S
        )
    assert seen == NoAnswer(sent=False, cause="NewConnectionError")
    assert not server.requests


# Sent, no answer.

SILENT = {
    "closed": (b"", close, "ProtocolError"),
    "reset": (b"", Link.reset, "ProtocolError"),
    "closed within the status line": (b"HTTP/1.1 2", close, "ProtocolError"),
    "closed within the body": (
        head("200 OK", "Content-Length: 100") + b'{"error"',
        close,
        "ProtocolError",
    ),
    "reset within the body": (
        head("404 Not Found", "Content-Length: 100") + b'{"error"',
        Link.reset,
        "ProtocolError",
    ),
    "closed within a chunk": (
        head("404 Not Found", "Transfer-Encoding: chunked") + b"ff\r\n{",
        close,
        "ProtocolError",
    ),
    "closed before the last chunk": (
        head("404 Not Found", "Transfer-Encoding: chunked") + b"2\r\n{}\r\n",
        close,
        "ProtocolError",
    ),
    "chunk without a size": (
        head("404 Not Found", "Transfer-Encoding: chunked") + b"zz\r\n{}\r\n",
        close,
        "ProtocolError",
    ),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n", close, "ProtocolError"),
    "HTTP/2": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18), close, "ProtocolError"),
    "another version": (b"HTTP/2.0 204 No Content\r\n\r\n", close, "ProtocolError"),
    "status of four digits": (b"HTTP/1.1 2040 No Content\r\n\r\n", close, "ProtocolError"),
    "status that is no number": (b"HTTP/1.1 abc No Content\r\n\r\n", close, "ProtocolError"),
    "zeros": (bytes(100_000), close, "ProtocolError"),
    "another protocol that looks like it": (b"RTSP/1.0 204 OK\r\n\r\n", close, "ProtocolError"),
    "yet another": (b"ICE/1.1 204 OK\r\n\r\n", close, "ProtocolError"),
    "another protocol after an interim answer": (
        head("100 Continue") + b"RTSP/1.0 204 OK\r\n\r\n",
        close,
        "ProtocolError",
    ),
    "an interim answer of another protocol": (
        b"ICE/1.0 100 Continue\r\n\r\n" + NO_CONTENT,
        close,
        "ProtocolError",
    ),
    "trailers without end": (
        head("404 Not Found", "Transfer-Encoding: chunked")
        + b"2\r\n{}\r\n0\r\n"
        + b"x: y\r\n" * 200
        + b"\r\n",
        close,
        "ProtocolError",
    ),
    "an endless trailer": (
        head("404 Not Found", "Transfer-Encoding: chunked")
        + b"2\r\n{}\r\n0\r\nx: "
        + b"y" * 200_000,
        Link.hold,
        "ProtocolError",
    ),
    "an endless size of a chunk": (
        head("404 Not Found", "Transfer-Encoding: chunked") + b"2;" + b"y" * 200_000,
        Link.hold,
        "ProtocolError",
    ),
    "too many headers in interim answers, head and trailers together": (
        head("103 Early Hints", *(f"x{number}: y" for number in range(40)))
        + head(
            "404 Not Found",
            "Transfer-Encoding: chunked",
            *(f"x{number}: y" for number in range(40)),
        )
        + b"2\r\n{}\r\n0\r\n"
        + b"x: y\r\n" * 40
        + b"\r\n",
        close,
        "ProtocolError",
    ),
    "interim answers and a head that are too large together": (
        head("103 Early Hints", f"x: {'y' * 30_000}") * 2
        + head("204 No Content", f"x: {'y' * 30_000}"),
        close,
        "ProtocolError",
    ),
    "the answer to another call": (
        head("204 No Content", "client-request-id: r-9"),
        close,
        "AnswerToAnother",
    ),
    "an answer to two calls": (
        head("204 No Content", "client-request-id: r-0", "client-request-id: r-9"),
        close,
        "AnswerToAnother",
    ),
    "endless header line": (
        head("204 No Content")[:-2] + b"x: " + b"y" * 100_000,
        close,
        "ProtocolError",
    ),
    "too many headers": (
        head("204 No Content", *(f"x{number}: y" for number in range(200))),
        close,
        "ProtocolError",
    ),
    "two lengths": (
        head("404 Not Found", "Content-Length: 2", "Content-Length: 3") + b"{}",
        close,
        "ProtocolError",
    ),
    "a length and chunks": (
        head("404 Not Found", "Content-Length: 2", "Transfer-Encoding: chunked")
        + b"2\r\n{}\r\n0\r\n\r\n",
        close,
        "ProtocolError",
    ),
    "a length that is none": (
        head("200 OK", "Content-Length: many") + b"{}",
        close,
        "ProtocolError",
    ),
    "a negative length": (head("200 OK", "Content-Length: -2") + b"{}", close, "ProtocolError"),
    "head that is not closed": (b"HTTP/1.1 204 No Content\r\n", close, "ProtocolError"),
    "one header again and again": (
        head("204 No Content", *("x: y" for _ in range(200))),
        close,
        "ProtocolError",
    ),
    "folded header": (head("204 No Content", "x: y", " z"), close, "ProtocolError"),
    "control character in a header": (
        answer("307 Temporary Redirect", b"{}", "Location: \x01"),
        close,
        "ProtocolError",
    ),
    "broken gzip": (
        answer("404 Not Found", b"no gzip", "Content-Encoding: gzip"),
        close,
        "DecodeError",
    ),
    "too many encodings": (
        answer("404 Not Found", b"{}", f"Content-Encoding: {'gzip,' * 9}gzip"),
        close,
        "DecodeError",
    ),
}


@pytest.mark.parametrize(("payload", "then", "cause"), SILENT.values(), ids=SILENT.keys())
def test_a_request_that_gets_no_readable_answer_counts_as_sent(
    bench: Bench, payload: bytes, then: Callable[[Link], None], cause: str
) -> None:
    server = bench.serve(answering(payload, then))
    assert bench.call(server.url) == NoAnswer(sent=True, cause=cause)
    assert (len(server.requests), server.connections) == (1, 1)


WAITING = {
    "silence": b"",
    "half a head": b"HTTP/1.1 204 No Content\r\nrequest-id: ",
    "half a body": head("404 Not Found", "Content-Length: 100") + b'{"error"',
    "a length and no body": head("200 OK", "Content-Length: 5"),
    "an interim answer and no more": head("100 Continue"),
}


@pytest.mark.parametrize("payload", WAITING.values(), ids=WAITING.keys())
def test_an_answer_that_does_not_come_in_time_counts_as_sent(bench: Bench, payload: bytes) -> None:
    server = bench.serve(answering(payload))
    assert bench.call(server.url, timeout_s=IMPATIENCE_S) == NoAnswer(
        sent=True, cause="ReadTimeoutError"
    )
    assert len(server.requests) == 1


DRIPS = {
    "head": (b"", NO_CONTENT[:-2] + b"x: " + b"y" * 100 + b"\r\n\r\n"),
    "body": (
        head("404 Not Found", f"Content-Length: {len(NOT_FOUND) + 100}"),
        b" " * 100 + NOT_FOUND,
    ),
    "chunks": (
        head("404 Not Found", "Transfer-Encoding: chunked"),
        b"1\r\n \r\n" * 20 + b"2\r\n{}\r\n0\r\n\r\n",
    ),
    "until close": (head("404 Not Found", "Connection: close"), b" " * 100 + NOT_FOUND),
    "interim answers": (b"", head("100 Continue") * 5 + NO_CONTENT),
    "other interim answers": (b"", head("103 Early Hints") * 5 + NO_CONTENT),
}


@pytest.mark.parametrize(("at_once", "dripping"), DRIPS.values(), ids=DRIPS.keys())
def test_a_drip_does_not_prolong_the_time_out(
    bench: Bench, at_once: bytes, dripping: bytes
) -> None:
    def script(link: Link) -> None:
        link.read_request()
        link.send(at_once)
        link.drip(dripping)  # more than two seconds in all; each byte well within the time-out

    server = bench.serve(script)
    assert bench.call(server.url, timeout_s=IMPATIENCE_S) == NoAnswer(
        sent=True, cause="ReadTimeoutError"
    )


def test_interim_answers_without_end_are_no_answer(bench: Bench) -> None:
    def script(link: Link) -> None:
        link.read_request()
        while True:
            link.send(head("100 Continue") * 100)

    assert bench.call(bench.serve(script).url) == NoAnswer(sent=True, cause="ProtocolError")


# Answered.

ANSWERS = {
    "204": (NO_CONTENT, CANCELLED),
    "204 that says that it is empty": (
        head("204 No Content", "Content-Length: 0"),
        GraphAnswer(204),
    ),
    "204 in chunks that are none": (
        head("204 No Content", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        GraphAnswer(204),
    ),
    "204 with a body in chunks": (
        head("204 No Content", "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n",
        GraphAnswer(204, Body.PAGE),
    ),
    "204 that announces a body": (
        answer("204 No Content", b'{"a": 1}'),
        GraphAnswer(204, Body.PAGE),
    ),
    "204 of HTTP/1.0": (b"HTTP/1.0 204 No Content\r\n\r\n", GraphAnswer(204)),
    "404": (answer("404 Not Found", NOT_FOUND), GraphAnswer(404, codes=("ErrorItemNotFound",))),
    "404 with a mark": (
        answer("404 Not Found", b"\xef\xbb\xbf" + NOT_FOUND),
        GraphAnswer(404, codes=("ErrorItemNotFound",)),
    ),
    "404 without a body": (answer("404 Not Found", b""), GraphAnswer(404, Body.NOTHING)),
    "404 of a gateway": (
        answer("404 Not Found", b"<html>Not here.</html>"),
        GraphAnswer(404, Body.PAGE),
    ),
    "404 compressed": (
        answer("404 Not Found", gzip.compress(NOT_FOUND), "Content-Encoding: gzip"),
        GraphAnswer(404, codes=("ErrorItemNotFound",)),
    ),
    "404 in an encoding that nobody knows": (
        answer("404 Not Found", NOT_FOUND, "Content-Encoding: br"),
        GraphAnswer(404, codes=("ErrorItemNotFound",)),
    ),
    "404 in HTML": (
        answer("404 Not Found", b"<html>", "Content-Type: text/html"),
        GraphAnswer(404, Body.PAGE),
    ),
    "404 too large": (
        answer("404 Not Found", NOT_FOUND[:-1] + b" " * 300_000 + b"}"),
        GraphAnswer(404, Body.PAGE),
    ),
    "404 that blows up": (
        answer(
            "404 Not Found",
            gzip.compress(NOT_FOUND[:-1] + bytes(50_000_000)),
            "Content-Encoding: gzip",
        ),
        GraphAnswer(404, Body.PAGE),
    ),
    "404 nested without end": (
        answer("404 Not Found", b"[" * 200_000),
        GraphAnswer(404, Body.PAGE),
    ),
    "429": (
        answer("429 Too Many Requests", b"{}", "Retry-After: 7"),
        GraphAnswer(429, Body.JSON, retry_after="7"),
    ),
    "429 with two waits": (
        answer("429 Too Many Requests", b"{}", "Retry-After: 7", "Retry-After: 9"),
        GraphAnswer(429, Body.JSON, retry_after="7, 9"),
    ),
    "204 that repeats the id of its call": (
        head("204 No Content", "Client-Request-Id: R-0"),
        GraphAnswer(204),
    ),
    "204 that repeats the id of its call twice": (
        head("204 No Content", "client-request-id: r-0", "client-request-id: r-0"),
        GraphAnswer(204),
    ),
    "429 whose trailers ask for more": (
        head("429 Too Many Requests", "Transfer-Encoding: chunked", "Retry-After: 7")
        + b"2\r\n{}\r\n0\r\nRetry-After: 99\r\nclient-request-id: r-9\r\n\r\n",
        GraphAnswer(429, Body.JSON, retry_after="7"),
    ),
    "404 whose trailers name a length": (
        head("404 Not Found", "Transfer-Encoding: chunked")
        + b"2\r\n{}\r\n0\r\nX-Content-Length: 9\r\nrequest-id: r-9\r\n\r\n",
        GraphAnswer(404, Body.JSON),
    ),
    "404 in chunks of one byte": (
        head("404 Not Found", "Transfer-Encoding: chunked")
        + b"1\r\n \r\n" * 50_000
        + b"2\r\n{}\r\n0\r\n\r\n",
        GraphAnswer(404, Body.JSON),
    ),
    "after 100": (head("100 Continue") + NO_CONTENT, CANCELLED),
    "after 102, 103 and headers": (
        head("102 Processing")
        + head("103 Early Hints", "Link: </a>", "request-id: r-9")
        + NO_CONTENT,
        CANCELLED,
    ),
    "after many interim answers": (head("103 Early Hints") * 50 + NO_CONTENT, CANCELLED),
    "101": (head("101 Switching Protocols", "Upgrade: h2c"), GraphAnswer(101, Body.NOTHING)),
    "200 until it is closed": (head("200 OK") + b"{}", GraphAnswer(200, resource={})),
}


@pytest.mark.parametrize(("payload", "seen"), ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_is_read_as_far_as_it_can_be(
    bench: Bench, payload: bytes, seen: GraphAnswer
) -> None:
    server = bench.serve(answering(payload, close))
    assert bench.call(server.url) == seen
    assert len(server.requests) == 1


def test_a_body_without_end_is_read_to_the_limit_and_no_further(bench: Bench) -> None:
    def script(link: Link) -> None:
        link.read_request()
        link.send(head("200 OK", "Connection: close"))
        while True:
            link.send(bytes(65536))

    assert bench.call(bench.serve(script).url) == GraphAnswer(200, Body.PAGE)


LOCATIONS = [
    "/elsewhere",
    "https://elsewhere.example/",
    "//",
    "https://[",
    "https://a:port/",
    "http://a:99999/",
    "%zz",
    "\xff\xfe",
]


@pytest.mark.parametrize("location", LOCATIONS, ids=ascii)
def test_a_redirect_is_an_answer_and_is_not_followed_wherever_it_points(
    bench: Bench, location: str
) -> None:
    server = bench.serve(
        keep_alive(answer("307 Temporary Redirect", b"{}", f"Location: {location}"))
    )
    assert bench.call(server.url) == GraphAnswer(307)
    assert len(server.requests) == 1


def test_the_body_of_a_redirect_is_read_to_the_limit_and_no_further(bench: Bench) -> None:
    def script(link: Link) -> None:
        link.read_request()
        link.send(head("302 Found", "Location: /elsewhere", "Connection: close"))
        while True:
            link.send(bytes(65536))

    assert bench.call(bench.serve(script).url) == GraphAnswer(302, Body.PAGE)


# The next call.


@pytest.mark.parametrize(
    ("payload", "seen"),
    [
        (NO_CONTENT, CANCELLED),
        (answer("404 Not Found", NOT_FOUND), GraphAnswer(404, codes=("ErrorItemNotFound",))),
        (answer("404 Not Found", b""), GraphAnswer(404, Body.NOTHING)),
        (
            head("200 OK", "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n",
            GraphAnswer(200, resource={}),
        ),
        (answer("307 Temporary Redirect", b"{}", "Location: /a"), GraphAnswer(307)),
        (head("103 Early Hints") + NO_CONTENT, CANCELLED),
    ],
    ids=["204", "404", "empty", "chunked", "redirect", "interim"],
)
def test_a_connection_is_used_again(bench: Bench, payload: bytes, seen: GraphAnswer) -> None:
    server = bench.serve(keep_alive(payload))
    assert [bench.call(server.url) for _ in range(3)] == [seen] * 3
    assert (server.connections, len(server.requests)) == (1, 3)


def test_no_cookie_is_kept(bench: Bench) -> None:
    server = bench.serve(keep_alive(head("204 No Content", "Set-Cookie: a=MARKER; Path=/")))
    bench.call(server.url)
    bench.call(server.url)
    assert len(server.requests) == 2
    assert all(b"MARKER" not in request and b"ookie" not in request for request in server.requests)


LEFTOVERS = {
    "204 with a small body": answer("204 No Content", b"HTTP/1.1 200 OK\r\n\r\n"),
    "204 with a large body": answer("204 No Content", b"HTTP/1.1 200 OK\r\n\r\n" * 700),
    "204 with a body that nothing announced": head("204 No Content")
    + b"HTTP/1.1 200 OK\r\n\r\n" * 700,
    "404 longer than it says": answer("404 Not Found", NOT_FOUND)
    + b"HTTP/1.1 200 OK\r\n\r\n" * 700,
    "two answers": NO_CONTENT + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" * 400,
    "204 with a body in chunks": head("204 No Content", "Transfer-Encoding: chunked")
    + b"2\r\n{}\r\n0\r\n\r\n",
    "204 in chunks that are yet to come": head("204 No Content", "Transfer-Encoding: chunked"),
    "404 too large": answer("404 Not Found", b" " * 300_000),
    "101": head("101 Switching Protocols"),
    "close announced": head("204 No Content", "Connection: close"),
}


@pytest.mark.parametrize("first", LEFTOVERS.values(), ids=LEFTOVERS.keys())
def test_what_an_answer_leaves_behind_is_never_taken_for_the_next_one(
    bench: Bench, first: bytes
) -> None:
    answers = iter([first, NO_CONTENT])

    def script(link: Link) -> None:
        link.read_request()
        link.send(next(answers))  # one TLS record, as far as it fits
        link.hold()

    server = bench.serve(script)
    assert isinstance(bench.call(server.url), GraphAnswer)
    assert bench.call(server.url) == CANCELLED
    assert (server.connections, len(server.requests)) == (2, 2)


@pytest.mark.parametrize("then", [close, Link.reset], ids=["closed", "reset"])
def test_a_connection_that_was_ended_while_idle_is_replaced(
    bench: Bench, then: Callable[[Link], None]
) -> None:
    answered, ended = threading.Event(), threading.Event()

    def script(link: Link) -> None:
        link.read_request()
        link.send(NO_CONTENT)
        if ended.is_set():
            link.hold()
        assert answered.wait(PATIENCE_S)  # a reset would destroy the answer
        then(link)
        link._sock.close()
        ended.set()

    server = bench.serve(script)
    assert bench.call(server.url) == CANCELLED
    answered.set()
    assert ended.wait(PATIENCE_S)
    assert bench.call(server.url) == CANCELLED
    assert (server.connections, len(server.requests)) == (2, 2)


@pytest.mark.parametrize("then", [close, Link.reset], ids=["closed", "reset"])
def test_a_used_connection_that_ends_on_the_next_request_counts_as_sent_and_nothing_is_repeated(
    bench: Bench, then: Callable[[Link], None]
) -> None:
    def script(link: Link) -> None:
        link.read_request()
        link.send(NO_CONTENT)
        link.read_request()
        then(link)

    server = bench.serve(script)
    assert bench.call(server.url) == CANCELLED
    assert bench.call(server.url) == NoAnswer(sent=True, cause="ProtocolError")
    assert (server.connections, len(server.requests)) == (1, 2)


def test_a_call_that_timed_out_does_not_leave_its_answer_to_the_next(bench: Bench) -> None:
    late = threading.Event()

    def script(link: Link) -> None:
        link.read_request()
        if len(server.requests) == 1:
            late.wait(PATIENCE_S)
            link.send(answer("404 Not Found", NOT_FOUND))
        else:
            link.send(NO_CONTENT)
        link.hold()

    server = bench.serve(script)
    assert bench.call(server.url, timeout_s=IMPATIENCE_S) == NoAnswer(
        sent=True, cause="ReadTimeoutError"
    )
    late.set()
    assert bench.call(server.url) == CANCELLED
    assert server.connections == 2


# Whatever comes.

lines = st.lists(
    st.sampled_from(
        [
            "Content-Length: 2",
            "Content-Length: 0",
            "Transfer-Encoding: chunked",
            "Content-Encoding: gzip",
            "Content-Encoding: deflate",
            "Connection: close",
            "Location: https://[",
            'WWW-Authenticate: claims="e30"',
            "Retry-After: x",
            ": ",
            "x",
            "\xff: \xfe",
            " a: b",
        ]
    ),
    max_size=4,
)
statuses = st.sampled_from(
    [
        "204 No Content",
        "200 OK",
        "404 Not Found",
        "103 Early Hints",
        "302 Found",
        "999",
        "99 x",
        "204",
    ]
)
payloads = st.binary(max_size=100) | st.builds(
    lambda status, headers, body: head(status, *headers) + body,
    statuses,
    lines,
    st.binary(max_size=50)
    | st.sampled_from([b"{}", b"2\r\n{}\r\n0\r\n\r\n", gzip.compress(b"{}")]),
)


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(payload=payloads)
def test_whatever_comes_back_a_call_ends_in_words_and_is_never_called_unsent(
    bench: Bench, payload: bytes
) -> None:
    server = Server(answering(payload, close), bench.authority.server_context())
    with server:
        seen = bench.call(server.url)

    if isinstance(seen, NoAnswer):
        assert seen.sent
    else:
        assert f" {seen.status}".encode() in payload
