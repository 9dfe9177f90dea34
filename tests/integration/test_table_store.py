"""What the table store does when the network, the service or the table misbehaves.

Also how it makes its table, keeps its connections and removes old records.
"""

import contextlib
import hashlib
import http.server
import json
import logging
import re
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
import trustme
import urllib3
from azure.data.tables import TableClient, TableServiceClient, UpdateMode

from shared.entra import credentials
from shared.records import sweeper, table_calls, table_store
from shared.records.account import by_connection_string, by_token
from shared.records.credential import StorageTokens
from shared.records.rules import (
    Begun,
    Claim,
    Doubt,
    End,
    Finished,
    Granted,
    Mismatch,
    RecordHidden,
    Removed,
    Replay,
    Running,
    StoreUnavailable,
    Wanted,
)
from shared.records.sweeper import SWEEP_MARGIN_S
from shared.records.table_calls import SWEEP_ROWS
from shared.records.table_store import CLOCK_MARGIN_S, TableStore
from shared.services import Services, build_services
from shared.transport.channel import Answer, Channel, NotSent, Unanswered
from shared.transport.connections import open_trust
from shared.transport.waiting import Waiting
from tests.integration.azurite import Azurite

NOW = 1_760_000_000.0
LEASE_S = 30.0
KEEP_S = 86_400.0
PATIENT_S = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """What is about to leave."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None


type Options = dict[str, Any]
type Fault = Callable[["FaultyNetwork", Request, Options], Answer]


def key(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


CALLER = key("caller")
KEY = key("one request")


class FaultyNetwork(Channel):
    """The real channel, but for the faults that a test lines up.

    The next request of a kind meets the next fault of that kind. A transaction is of the kind of
    its first write.
    """

    def __init__(self, address: str) -> None:
        super().__init__(address, None, keep=64)
        self.faults: dict[str, deque[Fault]] = {}
        self.seen: list[str] = []
        self.before_send: Callable[[Request], None] = lambda _: None
        self.late: list[Request] = []

    def next(self, kind: str, *faults: Fault) -> None:
        self.faults[kind] = deque(faults)

    def exchange(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        **options: Any,
    ) -> Answer:
        request = Request(method, target, headers, body)
        kind = kind_of(request)
        self.seen.append(kind)
        self.before_send(request)
        waiting = self.faults.get(kind)
        if waiting:
            return waiting.popleft()(self, request, options)
        answer = self.send(request, options)
        while self.late:
            self.send(self.late.pop(), options)
        return answer

    def send(self, request: Request, options: Options) -> Answer:
        return super().exchange(
            request.method, request.target, request.headers, request.body, **options
        )


def kind_of(request: Request) -> str:
    if request.body is not None and request.target.endswith("$batch"):
        kinds: list[bytes] = re.findall(rb"^(POST|PUT|DELETE) ", request.body, re.MULTILINE)
        return kinds[0].decode()
    return request.method


def lost(_network: FaultyNetwork, _request: Request, _options: Options) -> Answer:
    """The request never arrives, and nobody can tell."""
    raise Unanswered("ReadTimeoutError")


def answer_lost(network: FaultyNetwork, request: Request, options: Options) -> Answer:
    """The request takes effect, the answer gets lost."""
    network.send(request, options)
    raise Unanswered("ProtocolError")


def answered_500(network: FaultyNetwork, request: Request, options: Options) -> Answer:
    """The request takes effect, the service says 500 (OperationTimedOut may mean that)."""
    return replace(network.send(request, options), status=500)


def answered_half(network: FaultyNetwork, request: Request, options: Options) -> Answer:
    """The request takes effect, and the answer does not speak of each write, or gives no ETag."""
    answer = network.send(request, options)
    if answer.status >= 300:  # it was refused, so that there is nothing to say of a write
        return answer
    return replace(answer, body=answer.body[:60], headers={})


def comes_late(network: FaultyNetwork, request: Request, _options: Options) -> Answer:
    """The request gets no answer and takes effect after the next one."""
    network.late.append(request)
    raise Unanswered("ReadTimeoutError")


def not_sent(_network: FaultyNetwork, _request: Request, _options: Options) -> Answer:
    """No byte has left."""
    raise NotSent("NewConnectionError")


ANSWER_FAULTS = [lost, answer_lost, answered_500, answered_half, comes_late]


class Bench:
    """Stores on one table of one emulator, with a clock in hand and a network that can fail.

    Each request wants so many ``records``.
    """

    def __init__(self, emulator: Azurite, records: int = 1) -> None:
        self.records = records
        self.emulator = emulator
        self.table = f"t{secrets.token_hex(8)}"
        self.now = NOW
        self.chances: list[
            float
        ] = []  # the next random numbers; when none is lined up, no sweep starts
        self.background: list[Callable[[], None]] = []
        self.network = FaultyNetwork(emulator.endpoint)
        self.store = self.instance(self.network)
        self.other = self.instance()

    def instance(self, network: Channel | None = None, patience_s: float = PATIENT_S) -> TableStore:
        return TableStore(
            by_connection_string(self.emulator.connection_string),
            self.table,
            network or Channel(self.emulator.endpoint, None, keep=64),
            Waiting(now=lambda: self.now, random=self.chance),
            patience_s=patience_s,
        )

    def later(self, *, target: Callable[[], None], **_: object) -> SimpleNamespace:
        """Make a thread that does not run before it is told to."""
        return SimpleNamespace(start=lambda: self.background.append(target))

    def chance(self) -> float:
        return self.chances.pop(0) if self.chances else 0.999

    def wanted(self, name: str) -> list[Wanted]:
        return [Wanted(name, "f"), Wanted(key(f"{name}, too"), "f")][: self.records]

    def begin(self, name: str = KEY, *, keep_s: float = KEEP_S, caller: str = CALLER) -> Begun:
        return self.store.begin(caller, self.wanted(name), lease_s=LEASE_S, keep_s=keep_s)

    def begin_elsewhere(self, name: str = KEY, *, caller: str = CALLER) -> Begun:
        return self.other.begin(caller, self.wanted(name), lease_s=LEASE_S, keep_s=KEEP_S)

    def settle(self, ours: Claim, end: End, *, keep_s: float = KEEP_S) -> bool:
        return self.store.settle(ours, [end] * len(ours.wanted), keep_s=keep_s)

    def settle_elsewhere(self, ours: Claim, end: End) -> bool:
        return self.other.settle(ours, [end] * len(ours.wanted), keep_s=KEEP_S)

    def wait_for_the_end_of_the_lease(self) -> None:
        self.now += LEASE_S + CLOCK_MARGIN_S

    def client(self) -> TableClient:
        return TableClient.from_connection_string(self.emulator.connection_string, self.table)

    def rows(self) -> list[dict[str, Any]]:
        with self.client() as client:
            return [dict(row) for row in client.list_entities()]


@pytest.fixture
def bench(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(azurite)
    monkeypatch.setattr(sweeper, "Thread", made.later)
    return made


@pytest.fixture
def warm(bench: Bench) -> Bench:
    """A bench whose table exists already."""
    bench.settle_elsewhere(claim(bench.begin_elsewhere(key("warm"))), Removed())
    return bench


@pytest.fixture(params=[1, 2], ids=["one record", "two records"])
def each(warm: Bench, request: pytest.FixtureRequest) -> Bench:
    """The same, for requests that want one record and for those that want two."""
    warm.records = request.param
    return warm


def claim(begun: Begun, *, doubt: bool = False) -> Claim:
    assert isinstance(begun, Granted), begun
    assert begun.doubt is doubt
    return begun.claim


# Answers that never come.


@pytest.mark.parametrize("fault", ANSWER_FAULTS)
def test_an_unanswered_insert_is_our_own_new(each: Bench, fault: Fault) -> None:
    each.network.next("POST", fault)
    begun = each.begin()
    ours = claim(begun)
    assert isinstance(each.begin_elsewhere(), Running)
    assert each.settle(ours, Finished("p"))
    assert each.begin_elsewhere() == Replay("p")
    assert len(each.rows()) == each.records


def test_an_insert_whose_answer_got_lost_costs_one_read_and_no_second_insert(each: Bench) -> None:
    each.network.next("POST", answer_lost)
    each.begin()
    assert each.network.seen == ["POST", *["GET"] * each.records]


def test_an_unanswered_insert_that_met_anothers_record_is_running(each: Bench) -> None:
    each.begin_elsewhere()
    each.network.next("POST", answer_lost)
    assert isinstance(each.begin(), Running)


@pytest.mark.parametrize("fault", ANSWER_FAULTS)
def test_an_unanswered_take_over_is_our_own_abandoned(each: Bench, fault: Fault) -> None:
    each.begin_elsewhere()
    each.wait_for_the_end_of_the_lease()
    each.network.next("PUT", fault)
    begun = each.begin()
    ours = claim(begun, doubt=True)
    assert isinstance(each.begin_elsewhere(), Running)
    assert each.settle(ours, Finished("p"))
    assert each.begin_elsewhere() == Replay("p")


@pytest.mark.parametrize("fault", [lost, comes_late])
def test_a_lost_take_over_does_not_count_when_another_was_quicker(
    each: Bench, fault: Fault
) -> None:
    each.begin_elsewhere()
    each.wait_for_the_end_of_the_lease()

    def fails_while_another_takes_over(
        network: FaultyNetwork, request: Request, options: Options
    ) -> Answer:
        claim(each.begin_elsewhere(), doubt=True)
        return fault(network, request, options)

    each.network.next("PUT", fails_while_another_takes_over)
    assert isinstance(each.begin(), Running)


@pytest.mark.parametrize("fault", ANSWER_FAULTS)
def test_an_unanswered_completion_is_recorded(each: Bench, fault: Fault) -> None:
    ours = claim(each.begin())
    each.network.next("PUT", fault)
    assert each.settle(ours, Finished("p")) is True
    assert each.begin_elsewhere() == Replay("p")


@pytest.mark.parametrize("fault", ANSWER_FAULTS)
def test_an_unanswered_completion_of_a_stale_owner_is_known_as_such(
    each: Bench, fault: Fault
) -> None:
    stale = claim(each.begin())
    each.wait_for_the_end_of_the_lease()
    owner = claim(each.begin_elsewhere(), doubt=True)
    each.network.next("PUT", fault)
    assert each.settle(stale, Finished("stale")) is False
    assert each.settle_elsewhere(owner, Finished("true"))


@pytest.mark.parametrize("fault", ANSWER_FAULTS)
def test_an_unanswered_release_removes_the_record(each: Bench, fault: Fault) -> None:
    ours = claim(each.begin())
    each.network.next("DELETE", fault)
    assert each.settle(ours, Removed()) is True
    claim(each.begin_elsewhere())


@pytest.mark.parametrize("fault", ANSWER_FAULTS)
def test_an_unanswered_release_in_doubt_is_recorded(each: Bench, fault: Fault) -> None:
    ours = claim(each.begin())
    each.network.next("PUT", fault)
    assert each.settle(ours, Doubt()) is True
    claim(each.begin_elsewhere(), doubt=True)


def test_a_read_is_asked_for_twice(each: Bench) -> None:
    each.begin_elsewhere()
    each.network.next("GET", lost)
    assert isinstance(each.begin(), Running)
    each.network.next("GET", lost, lost)
    with pytest.raises(StoreUnavailable):
        each.begin()


def test_a_write_that_is_never_answered_fails_and_leaves_doubt_behind(each: Bench) -> None:
    each.network.next("POST", answer_lost)
    each.network.next("GET", lost, lost)
    with pytest.raises(StoreUnavailable):
        each.begin()  # the caller goes on without a record
    assert isinstance(each.begin_elsewhere(), Running)
    each.wait_for_the_end_of_the_lease()
    claim(each.begin_elsewhere(), doubt=True)


def test_an_insert_that_is_lost_twice_fails(each: Bench) -> None:
    each.network.next("POST", lost, lost)
    assert not is_known_to_be_taken(each)
    assert each.rows() == []


# Whether somebody has the record, where what it says cannot be read.


def is_known_to_be_taken(bench: Bench) -> bool:
    """Begin what cannot be begun, and say whether it is known that somebody has its record."""
    with pytest.raises(StoreUnavailable) as caught:
        bench.begin()
    return isinstance(caught.value, RecordHidden)


def answers(status: int, code: str) -> Fault:
    def fault(_network: FaultyNetwork, _request: Request, _options: Options) -> Answer:
        return Answer(status, json.dumps({"odata.error": {"code": code}}).encode(), {})

    return fault


def passes(network: FaultyNetwork, request: Request, options: Options) -> Answer:
    return network.send(request, options)


def odd(_network: FaultyNetwork, _request: Request, _options: Options) -> Answer:
    return Answer(200, b'{"PartitionKey": "p", "state": "held"}', {})


DOWN = [lost, not_sent, odd, answers(500, "InternalError"), answers(403, "AuthorizationFailure")]


@pytest.mark.parametrize("fault", DOWN)
def test_a_record_that_is_there_and_cannot_be_read_is_known_to_be_there(
    each: Bench, fault: Fault
) -> None:
    each.begin_elsewhere()
    each.network.next("GET", fault, fault)
    assert is_known_to_be_taken(each)


@pytest.mark.parametrize("left", ["abandoned", "in doubt"])
@pytest.mark.parametrize("fault", [lost, not_sent, answers(403, "AuthorizationFailure")])
def test_a_record_that_was_read_and_cannot_be_taken_over_is_known_to_be_there(
    each: Bench, fault: Fault, left: str
) -> None:
    ours = claim(each.begin_elsewhere())
    if left == "in doubt":
        each.settle_elsewhere(ours, Doubt())
    each.wait_for_the_end_of_the_lease()
    each.network.next("PUT", fault, fault)
    assert is_known_to_be_taken(each)


def test_a_key_that_is_taken_and_cannot_be_read_is_known_to_be_there(warm: Bench) -> None:
    warm.records = 2
    warm.other.begin(CALLER, warm.wanted(KEY)[1:], lease_s=LEASE_S, keep_s=KEEP_S)
    warm.network.next("GET", not_sent)
    assert is_known_to_be_taken(warm)


def test_an_unanswered_insert_that_is_read_back_as_anothers_is_known_to_be_there(
    each: Bench,
) -> None:
    each.begin_elsewhere()
    each.wait_for_the_end_of_the_lease()
    each.network.next("POST", lost)
    each.network.next("PUT", not_sent)
    assert is_known_to_be_taken(each)


@pytest.mark.parametrize("whose", ["another's", "our own"])
def test_an_unanswered_insert_is_anothers_where_one_of_its_records_is(
    warm: Bench, whose: str
) -> None:
    warm.records = 2
    if whose == "another's":
        warm.begin_elsewhere()
    warm.network.next("POST", answer_lost)
    warm.network.next("GET", passes, not_sent)
    assert is_known_to_be_taken(warm) is (whose == "another's")


@pytest.mark.parametrize("insert", [lost, answer_lost])
@pytest.mark.parametrize("read", [lost, not_sent])
def test_an_unanswered_insert_that_cannot_be_read_back_says_nothing_of_others(
    each: Bench, insert: Fault, read: Fault
) -> None:
    each.network.next("POST", insert)
    each.network.next("GET", read, read)
    assert not is_known_to_be_taken(each)


@pytest.mark.parametrize("fault", [not_sent, answers(403, "AuthorizationFailure")])
def test_an_insert_that_is_refused_says_nothing_of_others(each: Bench, fault: Fault) -> None:
    each.network.next("POST", fault)
    assert not is_known_to_be_taken(each)


@pytest.mark.parametrize("call", ["begin", "settle"])
def test_a_table_that_is_never_as_it_was_read_is_not_asked_for_ever(each: Bench, call: str) -> None:
    if call == "begin":
        each.begin_elsewhere()
        each.wait_for_the_end_of_the_lease()
        each.network.next("PUT", *[answers(412, "UpdateConditionNotSatisfied")] * 99)
        assert is_known_to_be_taken(each)
    else:
        ours = claim(each.begin())
        each.network.next("PUT", *[answers(412, "UpdateConditionNotSatisfied")] * 99)
        with pytest.raises(StoreUnavailable):
            each.settle(ours, Finished("p"))
    assert each.network.seen.count("PUT") <= 4


def test_a_completion_that_is_lost_twice_fails_and_leaves_doubt_behind(each: Bench) -> None:
    ours = claim(each.begin())
    each.network.next("PUT", lost, lost)
    with pytest.raises(StoreUnavailable):
        each.settle(ours, Finished("p"))
    each.wait_for_the_end_of_the_lease()
    claim(each.begin_elsewhere(), doubt=True)


def test_an_insert_that_comes_after_the_release_turns_into_doubt_not_into_an_answer(
    each: Bench,
) -> None:
    late: list[Any] = []

    def comes_after_the_release(
        _network: FaultyNetwork, request: Request, _options: Options
    ) -> Answer:
        late.append(request)
        raise Unanswered("ReadTimeoutError")

    each.network.next("POST", comes_after_the_release)
    each.settle(claim(each.begin()), Removed())
    each.network.send(late.pop(), {"total_s": 20.0, "connect_s": 5.0, "limit_bytes": 10_000})
    assert isinstance(each.begin_elsewhere(), Running)
    each.wait_for_the_end_of_the_lease()
    claim(each.begin_elsewhere(), doubt=True)


# A store that is down.

SOME_RECORD = [Wanted(KEY, "f")]
ETAG = "W/\"datetime'2026-01-01T00%3A00%3A00.0000000Z'\""
SOME_CLAIM = Claim(CALLER, (Wanted(KEY, "f"),), "owner", (NOW,), (ETAG,))
EVERY_CALL: dict[str, Callable[[TableStore], object]] = {
    "begin": lambda store: store.begin(CALLER, SOME_RECORD, lease_s=LEASE_S, keep_s=KEEP_S),
    "finish": lambda store: store.settle(SOME_CLAIM, [Finished("p")], keep_s=KEEP_S),
    "remove": lambda store: store.settle(SOME_CLAIM, [Removed()], keep_s=KEEP_S),
    "leave in doubt": lambda store: store.settle(SOME_CLAIM, [Doubt()], keep_s=KEEP_S),
}
HASTY_S = 0.4


def store_at(port: int, patience_s: float = HASTY_S, network: Channel | None = None) -> TableStore:
    connection_string = (
        "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0;"
        f"TableEndpoint=http://127.0.0.1:{port}/a;"
    )
    account = by_connection_string(connection_string)
    channel = network or Channel(account.endpoint, None, keep=64)
    return TableStore(account, "records", channel, Waiting(), patience_s=patience_s)


@contextlib.contextmanager
def unreachable() -> Iterator[int]:
    with (
        socket.socket() as bound
    ):  # bound but not listening: nobody else can take the port, and connections are refused
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextlib.contextmanager
def silent() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield listening.getsockname()[1]


@contextlib.contextmanager
def dripping() -> Iterator[int]:
    """Answer with a byte now and then, for as long as the client listens."""
    over = threading.Event()

    def drip(listening: socket.socket) -> None:
        connections = []
        while not over.wait(0.02):
            with contextlib.suppress(BlockingIOError):
                connections.append(listening.accept()[0])
                connections[-1].send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            for one in connections:
                with contextlib.suppress(OSError):
                    one.send(b".")
        for one in connections:
            one.close()

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        listening.setblocking(False)
        thread = threading.Thread(target=drip, args=(listening,))
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize("call", EVERY_CALL)
@pytest.mark.parametrize("network", [unreachable, silent, dripping])
def test_a_store_that_is_down_is_unavailable_within_the_time_out(
    network: Callable[[], Any], call: str
) -> None:
    with network() as port:
        store = store_at(port)
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            EVERY_CALL[call](store)
        assert time.monotonic() - started < HASTY_S + 0.3


@pytest.mark.parametrize("call", EVERY_CALL)
def test_all_calls_of_an_operation_together_keep_to_its_time(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Endless(FaultyNetwork):
        """Every request takes as long as it may: a slow connection, then no answer."""

        now = 0.0

        def exchange(self, *_: Any, **options: Any) -> Answer:
            self.now += options["total_s"]
            raise Unanswered("ReadTimeoutError")

    network = Endless("http://127.0.0.1:1")
    account = by_connection_string(
        "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0;"
        "TableEndpoint=http://127.0.0.1:1/a;"
    )
    for module in (table_store, table_calls):
        monkeypatch.setattr(
            module, "time", SimpleNamespace(monotonic=lambda: network.now, time=time.time)
        )
    store = TableStore(account, "records", network, Waiting(), patience_s=5.0)
    with pytest.raises(StoreUnavailable):
        EVERY_CALL[call](store)
    assert network.now <= 5.0


@contextlib.contextmanager
def service(
    status: int, body: bytes, headers: dict[str, str] | None = None, asked: list[str] | None = None
) -> Iterator[int]:
    """Answer every request the same."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if asked is not None:
                asked.append(f"{self.command} {self.path}")
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - the names that http.server calls

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("call", EVERY_CALL)
@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (400, b"", {}),
        (
            403,
            (
                b'{"odata.error": {"code": "AuthorizationFailure", "message": {"lang": "en-US", '
                b'"value": "no"}}}'
            ),
            JSON,
        ),
        (403, b"<html>", {"Content-Type": "text/html"}),
        (
            409,
            (
                b'{"odata.error": {"code": "TableBeingDeleted", "message": {"lang": "en-US", '
                b'"value": "no"}}}'
            ),
            JSON,
        ),
        (429, b"", {"Retry-After": "60"}),
        (
            500,
            (
                b'{"odata.error": {"code": "OperationTimedOut", "message": {"lang": "en-US", '
                b'"value": "no"}}}'
            ),
            JSON,
        ),
        (
            503,
            b'{"odata.error": {"code": "ServerBusy", "message": {"lang": "en-US", "value": "no"}}}',
            {**JSON, "Retry-After": "60"},
        ),
        (200, b"<html>a captive portal</html>", {"Content-Type": "text/html"}),
        (201, b"not json", JSON),
        (302, b"", {"Location": "/again"}),
        (503, b"\xff\xfe", {"Content-Type": "application/json; charset=utf-8"}),
    ],
)
def test_a_service_that_answers_anything_else_is_unavailable(
    call: str, status: int, body: bytes, headers: dict[str, str]
) -> None:
    asked: list[str] = []
    with (
        service(status, body, headers, asked) as port,
        pytest.raises(StoreUnavailable),
    ):
        EVERY_CALL[call](store_at(port, PATIENT_S))
    assert len(asked) <= 3


BUSY = [(503, "ServerBusy"), (429, "TooManyRequests"), (503, "")]


def paused(bench: Bench) -> list[float]:
    """Let the store of a bench note its pauses, and not make them."""
    pauses: list[float] = []
    bench.store._calls._waiting = Waiting(sleep=pauses.append, random=lambda: 0.5)
    return pauses


@pytest.mark.parametrize(("status", "code"), BUSY)
def test_a_busy_table_is_written_to_again_once_after_a_pause(
    each: Bench, status: int, code: str
) -> None:
    pauses = paused(each)
    each.network.next("POST", answers(status, code))
    ours = claim(each.begin())
    assert each.network.seen == ["POST", "POST"]
    each.network.next("PUT", answers(status, code))
    assert each.settle(ours, Finished("p"))
    assert each.network.seen[2:] == ["PUT", "PUT"]
    assert len(pauses) == 2
    assert all(0.25 <= pause <= 0.5 for pause in pauses)


@pytest.mark.parametrize(("status", "code"), BUSY)
def test_a_table_that_stays_busy_is_left_alone(each: Bench, status: int, code: str) -> None:
    pauses = paused(each)
    each.network.next("POST", *[answers(status, code)] * 9)
    assert not is_known_to_be_taken(each)
    assert each.network.seen == ["POST", "POST"]
    assert len(pauses) == 1


def test_a_busy_table_is_not_read_again(each: Bench) -> None:
    each.begin_elsewhere()
    each.network.next("GET", *[answers(503, "ServerBusy")] * 9)
    assert is_known_to_be_taken(each)
    assert each.network.seen == ["POST", "GET"]


def test_a_busy_table_that_has_done_it_all_the_same_is_known_to_be_ours(each: Bench) -> None:
    def busy_after_all(network: FaultyNetwork, request: Request, options: Options) -> Answer:
        return replace(network.send(request, options), status=503)

    paused(each)
    each.network.next("POST", busy_after_all)
    ours = claim(each.begin())
    each.network.next("PUT", busy_after_all)
    assert each.settle(ours, Finished("p"))
    assert each.begin_elsewhere() == Replay("p")


def test_a_pause_that_does_not_fit_is_not_made(bench: Bench) -> None:
    hasty = bench.instance(bench.network, patience_s=0.2)
    bench.network.next("POST", *[answers(503, "ServerBusy")] * 9)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="busy"):
        hasty.begin(CALLER, SOME_RECORD, lease_s=LEASE_S, keep_s=KEEP_S)
    assert time.monotonic() - began < 0.2
    assert bench.network.seen == ["POST"]


@pytest.mark.parametrize("call", EVERY_CALL)
@pytest.mark.parametrize(
    "error",
    [
        ValueError("odd"),
        KeyError("odd"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd"),
        ConnectionError("odd"),
        urllib3.exceptions.LocationParseError("odd"),
        OSError("odd"),
        RuntimeError("odd"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_foreign_exception_ever_comes_out(bench: Bench, call: str, error: Exception) -> None:
    def raises(_network: FaultyNetwork, _request: Request, _options: Options) -> Answer:
        raise error

    for method in ("GET", "POST", "PUT", "DELETE"):
        bench.network.next(method, *[raises] * 9)
    with pytest.raises(StoreUnavailable) as caught:
        EVERY_CALL[call](bench.store)
    assert caught.value.__cause__ is error


def test_a_wrong_account_key_is_unavailable_and_stays_out_of_the_message(azurite: Azurite) -> None:
    wrong = "d3Jvbmcgd3Jvbmcgd3Jvbmc="
    connection_string = (
        f"DefaultEndpointsProtocol=http;AccountName=testaccount;AccountKey={wrong};"
        f"TableEndpoint={azurite.endpoint};"
    )
    account = by_connection_string(connection_string)
    channel = Channel(account.endpoint, None, keep=64)
    store = TableStore(account, "records", channel, Waiting(), patience_s=PATIENT_S)
    with pytest.raises(StoreUnavailable, match="refused: 403") as caught:
        EVERY_CALL["begin"](store)
    assert wrong not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize(
    "change",
    [
        {"state": "cancelled"},
        {"state": None},
        {"owner": 7},
        {"fingerprint": None},
        {"lease_until": "soon"},
        {"expires_at": None},
        {"payload": None},
    ],
    ids=str,
)
def test_an_entity_that_is_no_record_is_unavailable_not_new(
    warm: Bench, change: dict[str, Any]
) -> None:
    ours = claim(warm.begin())
    with warm.client() as client:
        row = {**client.get_entity(CALLER, KEY), **change}
        client.upsert_entity(
            {name: value for name, value in row.items() if value is not None},
            mode=UpdateMode.REPLACE,
        )
    with pytest.raises(StoreUnavailable, match="no record"):
        warm.begin()
    with pytest.raises(StoreUnavailable, match="no record"):
        warm.settle(ours, Finished("p"))


# The table and the connections.


def table_names(emulator: Azurite) -> set[str]:
    with TableServiceClient.from_connection_string(emulator.connection_string) as tables:
        return {table.name for table in tables.list_tables()}


def test_nothing_is_asked_before_the_first_use(bench: Bench) -> None:
    assert bench.network.seen == []
    assert bench.table not in table_names(bench.emulator)


def test_64_threads_make_the_missing_table_once(bench: Bench) -> None:
    creations: list[str] = []

    def note(request: Request) -> None:
        if request.target.endswith("/Tables"):
            creations.append(request.target)

    bench.network.before_send = note
    start = threading.Barrier(64)

    def begin(number: int) -> Begun:
        start.wait()
        return bench.begin(key(number))

    with ThreadPoolExecutor(64) as pool:
        assert all(isinstance(begun, Granted) for begun in pool.map(begin, range(64)))
    assert len(creations) == 1
    assert len(bench.rows()) == 64


def test_two_instances_make_the_missing_table_together(bench: Bench) -> None:
    def another_makes_it_first(
        network: FaultyNetwork, request: Request, options: Options
    ) -> Answer:
        bench.begin_elsewhere(key("theirs"))
        return network.send(request, options)

    bench.network.next("POST", passes, another_makes_it_first)
    claim(bench.begin())


@pytest.mark.parametrize("fault", ANSWER_FAULTS)
def test_an_unanswered_creation_of_the_table_is_tried_again(bench: Bench, fault: Fault) -> None:
    bench.network.next("POST", passes, fault)
    claim(bench.begin())


def test_a_table_that_was_deleted_is_made_again(warm: Bench) -> None:
    warm.begin()
    with warm.client() as client:
        client.delete_table()
    claim(warm.begin())


def test_a_table_that_may_not_be_made_is_unavailable() -> None:
    asked: list[str] = []
    missing = (
        b'{"odata.error": {"code": "TableNotFound", "message": {"lang": "en-US", "value": "no"}}}'
    )
    with (
        service(404, missing, JSON, asked) as port,
        pytest.raises(StoreUnavailable),
    ):
        EVERY_CALL["begin"](store_at(port, PATIENT_S))
    assert len(asked) <= 3


def test_a_conflict_whose_code_is_in_the_header_alone_is_one(each: Bench) -> None:
    def in_words_of_its_own(network: FaultyNetwork, request: Request, options: Options) -> Answer:
        said = {"x-ms-error-code": "EntityAlreadyExists"}
        return Answer(409, b"<?xml version='1.0'?><error/>", said)

    each.begin_elsewhere()
    each.network.next("POST", in_words_of_its_own)
    assert isinstance(each.begin(), Running)


def idle(store: Bench) -> int:
    return len(store.network._pool._idle)


def test_calls_one_after_another_share_one_connection(bench: Bench) -> None:
    for number in range(30):
        bench.settle(claim(bench.begin(key(number))), Finished("p"))
    assert idle(bench) == 1


def test_no_connection_is_used_that_was_idle_for_more_than_a_minute(
    warm: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm.begin(key(1))
    (old,) = warm.network._pool._idle
    old.idle_since -= 61
    old.sock.shutdown(socket.SHUT_RDWR)  # a load balancer has forgotten it
    claim(warm.begin(key(2)))
    assert old not in warm.network._pool._idle


def test_proxies_of_the_machine_are_not_used(warm: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    claim(warm.begin())


@pytest.mark.parametrize("end", [Finished("p"), Doubt(), Removed()], ids=str)
def test_a_new_request_and_its_end_cost_one_call_each(each: Bench, end: End) -> None:
    each.settle(claim(each.begin()), end)
    write = "DELETE" if end == Removed() else "PUT"
    assert each.network.seen == ["POST", write]


def test_the_records_of_a_caller_are_one_partition_and_nobody_elses(each: Bench) -> None:
    each.begin()
    each.begin(caller=key("another"))
    rows = each.rows()
    assert {row["PartitionKey"] for row in rows} == {CALLER, key("another")}
    assert len(rows) == 2 * each.records


def test_where_one_record_is_taken_no_other_is_written(warm: Bench) -> None:
    warm.begin_elsewhere(key(f"{KEY}, too"))
    warm.records = 2
    assert isinstance(warm.begin(), Running)
    assert {row["RowKey"] for row in warm.rows()} == {key(f"{KEY}, too")}


def test_a_replay_is_given_also_where_its_key_cannot_be_written(warm: Bench) -> None:
    warm.settle_elsewhere(claim(warm.begin_elsewhere()), Finished("p"))
    warm.records = 2

    warm.network.next("POST", passes, not_sent)
    assert warm.begin() == Replay("p")
    assert len(warm.rows()) == 1


def test_a_replay_is_none_where_the_key_was_given_to_another_body_meanwhile(warm: Bench) -> None:
    warm.settle_elsewhere(claim(warm.begin_elsewhere()), Finished("p"))
    warm.records = 2
    taken = [Wanted(key(f"{KEY}, too"), "another body")]

    def comes_second(network: FaultyNetwork, request: Request, options: Options) -> Answer:
        warm.other.begin(CALLER, taken, lease_s=LEASE_S, keep_s=KEEP_S)
        return network.send(request, options)

    warm.network.next("POST", passes, comes_second)
    assert warm.begin() == Mismatch()


def test_what_was_never_sent_is_not_read_back(each: Bench) -> None:
    each.network.next("POST", not_sent)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        each.begin()
    assert each.network.seen == ["POST"]
    ours = claim(each.begin())
    each.network.next("PUT", not_sent)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        each.settle(ours, Finished("p"))
    assert each.network.seen == ["POST", "POST", "PUT"]


def test_nothing_is_logged_but_warnings(warm: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        warm.settle(claim(warm.begin()), Finished("PAYLOAD"))
    assert caplog.records == []


# Bearer tokens.


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Azurite, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    paths = {name: folder / name for name in ("ca.pem", "cert.pem", "key.pem")}
    authority.cert_pem.write_to_path(paths["ca.pem"])
    certificate.cert_chain_pems[0].write_to_path(paths["cert.pem"])
    certificate.private_key_pem.write_to_path(paths["key.pem"])
    with Azurite(certificate=(paths["cert.pem"], paths["key.pem"])) as running:
        yield running, paths["ca.pem"]


def token_for(audience: str, lives_s: float) -> str:
    times = {
        "iat": int(time.time()) - 60,
        "nbf": int(time.time()) - 60,
        "exp": int(time.time() + lives_s),
    }
    claims = {
        "aud": audience,
        "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000001/",
        **times,
    }
    return jwt.encode(claims, secrets.token_bytes(32), algorithm="HS256")


def ends(token: str) -> float:
    return float(jwt.decode(token, options={"verify_signature": False})["exp"])


def use_identity_endpoint(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{port}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "header")


def granted(lives_s: float = 3600.0) -> bytes:
    answer = {
        "access_token": token_for("https://storage.azure.com", lives_s),
        "expires_on": str(int(time.time() + lives_s)),
        "token_type": "Bearer",
    }
    return json.dumps(answer).encode()


def identified(
    secured: tuple[Azurite, Path], client_id: str | None = None, **options: Any
) -> TableStore:
    emulator, authority = secured
    tokens = StorageTokens(client_id, **options)
    table = f"t{secrets.token_hex(8)}"
    account = by_token(emulator.endpoint, tokens.get)
    channel = Channel(account.endpoint, open_trust(authority), keep=64)
    return TableStore(account, table, channel, Waiting(), patience_s=PATIENT_S)


def test_a_managed_identity_reaches_the_table_and_asks_for_its_token_once(
    secured: tuple[Azurite, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    with service(200, granted(), JSON, asked) as port:
        use_identity_endpoint(monkeypatch, port)
        store = identified(secured, "11111111-2222-3333-4444-555555555555", wait_s=20)
        ours = claim(store.begin(CALLER, SOME_RECORD, lease_s=LEASE_S, keep_s=KEEP_S))
        assert store.settle(ours, [Finished("p")], keep_s=KEEP_S)
        assert EVERY_CALL["begin"](store) == Replay("p")
    assert len(asked) == 1
    assert "client_id=11111111-2222-3333-4444-555555555555" in asked[0]
    assert "resource=https%3A%2F%2Fstorage.azure.com" in asked[0]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"statusCode": 400, "message": "No managed identity found"}'),
        (500, b""),
        (200, b"<html>"),
    ],
)
def test_without_a_token_the_store_is_unavailable(
    secured: tuple[Azurite, Path], monkeypatch: pytest.MonkeyPatch, status: int, body: bytes
) -> None:
    with service(status, body, JSON) as port:
        use_identity_endpoint(monkeypatch, port)
        store = identified(secured, wait_s=20)
        with pytest.raises(StoreUnavailable, match="no token"):
            EVERY_CALL["begin"](store)


@pytest.mark.parametrize("endpoint", [silent, dripping])
def test_an_identity_endpoint_that_stalls_costs_the_first_its_bound_and_nobody_else(
    secured: tuple[Azurite, Path], monkeypatch: pytest.MonkeyPatch, endpoint: Callable[[], Any]
) -> None:
    with endpoint() as port:
        use_identity_endpoint(monkeypatch, port)
        store = identified(secured, wait_s=0.4)
        took = []
        for call in list(EVERY_CALL) * 2:
            began = time.monotonic()
            with pytest.raises(StoreUnavailable, match="no token"):
                EVERY_CALL[call](store)
            took.append(time.monotonic() - began)
    assert 0.3 < took[0] < 1
    assert max(took[1:]) < 0.3


def test_what_a_token_took_is_not_taken_from_the_call_alone(
    secured: tuple[Azurite, Path],
) -> None:
    """A token that takes nearly half of the patience leaves the call half of the rest."""
    seen: list[float] = []

    class Noted(Channel):
        def exchange(self, *_: Any, **options: Any) -> Answer:
            seen.append(options["total_s"])
            raise NotSent("NewConnectionError")

    def slowly() -> str:
        time.sleep(0.9)
        return "token"

    account = by_token("https://127.0.0.1", slowly)
    network = Noted("http://127.0.0.1:1", None, keep=1)
    store = TableStore(account, "records", network, Waiting(), patience_s=2.0)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        EVERY_CALL["begin"](store)
    assert time.monotonic() - began < 2.0
    assert 0.3 < seen[0] < 0.6


def test_an_identity_endpoint_that_stalled_is_asked_again(
    secured: tuple[Azurite, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "_IDENTITY_S", 0.3)
    store = identified(secured, wait_s=0.2)
    with dripping() as port:
        use_identity_endpoint(monkeypatch, port)
        with pytest.raises(StoreUnavailable, match="no token"):
            EVERY_CALL["begin"](store)
    with service(200, granted(), JSON) as port:
        use_identity_endpoint(monkeypatch, port)
        until = time.monotonic() + 10
        while True:
            with contextlib.suppress(StoreUnavailable):
                assert isinstance(EVERY_CALL["begin"](store), Granted | Replay | Running)
                break
            assert time.monotonic() < until


@pytest.mark.parametrize("endpoint", [silent, dripping, unreachable])
def test_who_holds_a_token_never_waits_for_the_next_one(
    secured: tuple[Azurite, Path], monkeypatch: pytest.MonkeyPatch, endpoint: Callable[[], Any]
) -> None:
    store = identified(secured, wait_s=20)
    with service(200, granted(lives_s=60), JSON) as port:
        use_identity_endpoint(monkeypatch, port)
        EVERY_CALL["begin"](store)
    with endpoint() as port:
        use_identity_endpoint(monkeypatch, port)
        for call in EVERY_CALL:
            began = time.monotonic()
            EVERY_CALL[call](store)
            assert time.monotonic() - began < 2


def test_a_token_that_ends_soon_is_renewed_beside_the_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens = StorageTokens(wait_s=20)
    with service(200, granted(lives_s=60), JSON) as port:
        use_identity_endpoint(monkeypatch, port)
        first = tokens.get()
    with service(200, granted(), JSON) as port:
        use_identity_endpoint(monkeypatch, port)
        until = time.monotonic() + 10
        while tokens.get() == first:
            assert time.monotonic() < until
            time.sleep(0.01)
    assert ends(tokens.get()) > ends(first)


@contextlib.contextmanager
def worker(secured: tuple[Azurite, Path], **changes: str) -> Iterator[Services]:
    """A worker whose records are in the table, with Entra and Graph out of reach."""
    emulator, authority = secured
    nowhere = "https://127.0.0.1:1"
    settings = {
        "TENANT_ID": "84bd8158-6d4d-4958-8b9f-9d6445542f95",
        "CLIENT_ID": "6731de76-14a6-49ae-97bc-6eba6914391e",
        "CLIENT_SECRET": "secret",
        "ENTRA_AUTHORITY_HOST": nowhere,
        "GRAPH_ENDPOINT": nowhere,
        "CA_BUNDLE": str(authority),
        "IDEMPOTENCY_STORE": "table",
        "IDEMPOTENCY_TABLE_ENDPOINT": f"https://127.0.0.1:{emulator.port}",
        "IDEMPOTENCY_TABLE_NAME": f"t{secrets.token_hex(8)}",
        **changes,
    }
    services = build_services(settings)
    try:
        yield services
    finally:
        services.doorkeepers.shutdown()
        services.threads.shutdown()


def connections(services: Services) -> int:
    assert isinstance(services.records, TableStore)
    return len(services.records._calls._channel._pool._idle)


def until(happened: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def test_a_worker_gets_its_token_and_a_connection_to_the_table_before_the_first_request(
    secured: tuple[Azurite, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    with service(200, granted(), JSON, asked) as port, worker(secured) as services:
        use_identity_endpoint(monkeypatch, port)
        assert not asked
        services.warm()
        until(lambda: asked and connections(services) == 1)
        services.doorkeepers.shutdown()
        assert isinstance(services.records, TableStore)
        proof: dict[str, str] = {}
        services.records._calls._account.prove("GET", "/", proof)
        assert proof["Authorization"].startswith("Bearer ")
        assert len(asked) == 1


def test_a_worker_with_a_key_opens_a_connection_to_the_table(
    azurite: Azurite, secured: tuple[Azurite, Path]
) -> None:
    by_key = {"IDEMPOTENCY_TABLE_CONNECTION_STRING": azurite.connection_string}
    with worker(secured, IDEMPOTENCY_TABLE_ENDPOINT="", **by_key) as services:
        services.warm()
        until(lambda: connections(services) == 1)


@pytest.mark.parametrize("endpoint", [silent, dripping, unreachable])
def test_a_worker_that_gets_no_token_starts_all_the_same_and_at_once(
    secured: tuple[Azurite, Path], monkeypatch: pytest.MonkeyPatch, endpoint: Callable[[], Any]
) -> None:
    monkeypatch.setattr(credentials, "_IDENTITY_S", 0.5)
    with endpoint() as port, worker(secured) as services:
        use_identity_endpoint(monkeypatch, port)
        began = time.monotonic()
        services.warm()
        assert time.monotonic() - began < 0.3
        until(lambda: connections(services) == 1)


# Old records.


def finish(bench: Bench, name: str, *, keep_s: float, caller: str = CALLER) -> None:
    ours = claim(bench.begin(name, keep_s=keep_s, caller=caller))
    bench.settle(ours, Finished("p"), keep_s=keep_s)


def sweep(bench: Bench) -> None:
    """Sweep the range of CALLER: the chance that starts a sweep also picks the range."""
    bench.chances = [0.0, (int(CALLER[:2], 16) + 0.5) / 256]
    bench.store._sweeper.now_and_then()
    bench.background.pop()()


def test_a_sweep_removes_what_is_over_and_nothing_else(warm: Bench) -> None:
    finish(warm, key(1), keep_s=10)
    finish(warm, key(2), keep_s=KEEP_S)
    warm.settle(claim(warm.begin(key(3), keep_s=10)), Doubt(), keep_s=10)
    near = CALLER[:2] + key("another caller")[2:]
    elsewhere = f"{(int(CALLER[:2], 16) + 1) % 256:02x}{CALLER[2:]}"
    finish(warm, key(1), keep_s=10, caller=near)
    finish(warm, key("elsewhere"), keep_s=10, caller=elsewhere)
    warm.now += LEASE_S + 10 + SWEEP_MARGIN_S + 1
    warm.begin(key(4))
    sweep(warm)
    assert {row["RowKey"] for row in warm.rows()} == {
        key(2),
        key(4),
        key("elsewhere"),
    }


@pytest.mark.parametrize("chosen", [0, 255])
def test_every_partition_is_in_a_range(warm: Bench, chosen: int) -> None:
    for rest in ("0" * 62, "f" * 62):
        finish(warm, KEY, keep_s=10, caller=f"{chosen:02x}{rest}")
    warm.now += 10 + SWEEP_MARGIN_S + 1
    warm.chances = [0.0, (chosen + 0.5) / 256]
    warm.store._sweeper.now_and_then()
    warm.background.pop()()
    assert warm.rows() == []


def test_a_record_is_swept_only_once_every_clock_agrees_that_it_is_over(warm: Bench) -> None:
    finish(warm, KEY, keep_s=10)
    warm.now += 10 + SWEEP_MARGIN_S - 1
    sweep(warm)
    assert len(warm.rows()) == 1


def test_a_sweep_of_nothing_is_no_failure(warm: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        sweep(warm)
    assert warm.network.seen == ["GET"]
    assert caplog.records == []


def test_a_sweep_goes_on_where_a_page_is_empty(warm: Bench) -> None:
    finish(warm, KEY, keep_s=10)
    warm.now += 10 + SWEEP_MARGIN_S + 1
    asked: list[str] = []

    def empty(network: FaultyNetwork, request: Request, options: Options) -> Answer:
        answer = network.send(request, options)
        following = {
            "x-ms-continuation-nextpartitionkey": "1!8!YQ--",
            "x-ms-continuation-nextrowkey": "1!8!Yg--",
        }
        return replace(answer, body=b'{"value": []}', headers=following)

    def following(network: FaultyNetwork, request: Request, options: Options) -> Answer:
        asked.append(request.target)  # the emulator has named no next page
        return network.send(replace(request, target=request.target.split("&Next")[0]), options)

    warm.network.next("GET", empty, following)
    sweep(warm)
    assert asked[0].endswith("&NextPartitionKey=1%218%21YQ--&NextRowKey=1%218%21Yg--")
    assert warm.rows() == []


@pytest.mark.parametrize("odd", ["it's", "a b", "100%41", "q?r=1&s", "x/y", "é"])
def test_a_row_of_any_name_is_swept(warm: Bench, odd: str) -> None:
    names = {"PartitionKey": CALLER[:2], "RowKey": odd.replace("/", "-").replace("?", "-")}
    with warm.client() as client:
        client.create_entity({**names, "expires_at": NOW - KEEP_S})
    sweep(warm)
    assert warm.rows() == []


def test_a_sweep_takes_one_transaction_at_most(warm: Bench) -> None:
    with warm.client() as client:
        expired = {"PartitionKey": CALLER, "expires_at": NOW - KEEP_S}
        for start in range(0, SWEEP_ROWS + 50, 50):
            client.submit_transaction(
                [("create", {**expired, "RowKey": key(n)}) for n in range(start, start + 50)]
            )
    sweep(warm)
    assert len(warm.rows()) == 50
    sweep(warm)
    assert warm.rows() == []


def test_a_record_that_is_renewed_during_the_sweep_survives(warm: Bench) -> None:
    finish(warm, key(1), keep_s=10)
    finish(warm, key(2), keep_s=10)
    warm.now += 10 + SWEEP_MARGIN_S + 1

    def renew_before_the_removal(request: Request) -> None:
        if kind_of(request) == "DELETE":
            claim(warm.begin_elsewhere(key(2)))

    warm.network.before_send = renew_before_the_removal
    sweep(warm)
    assert isinstance(warm.begin_elsewhere(key(2)), Running)
    assert {row["RowKey"] for row in warm.rows()} == {key(1), key(2)}
    warm.network.before_send = lambda _: None
    sweep(warm)
    assert {row["RowKey"] for row in warm.rows()} == {key(2)}


def test_a_sweep_that_fails_says_so_and_disturbs_nobody(
    warm: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    warm.network.next("GET", lost)
    with caplog.at_level(logging.INFO):
        sweep(warm)
        assert [record.getMessage()[:13] for record in caplog.records] == ["sweep failed:"]
        claim(warm.begin())
        sweep(warm)
    assert len(caplog.records) == 1


def test_one_begin_in_64_starts_a_sweep_and_only_one_runs_at_a_time(warm: Bench) -> None:
    warm.chances = [1 / 64]
    warm.begin(key(1))
    assert warm.background == []
    warm.chances = [0.99 / 64, 0.99 / 64]
    warm.begin(key(2))
    warm.begin(key(3))
    assert len(warm.background) == 1
    warm.background.pop()()
    warm.chances = [0.99 / 64]
    warm.begin(key(4))
    assert len(warm.background) == 1


def test_a_worker_without_a_thread_to_spare_does_not_sweep(
    warm: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(**_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(sweeper, "Thread", no_thread)
    warm.chances = [0.0, 0.0]
    assert isinstance(warm.begin(), Granted)
    assert isinstance(warm.begin(), Running)
    assert warm.chances == []


def test_sweeps_run_in_a_daemon_thread_of_their_own(
    warm: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[threading.Thread] = []
    done = threading.Event()

    def note(_: Request) -> None:
        ran.append(threading.current_thread())
        done.set()

    monkeypatch.setattr(sweeper, "Thread", threading.Thread)
    warm.network.before_send = note
    warm.chances = [0.0, 0.5]
    warm.store._sweeper.now_and_then()
    assert done.wait(5)
    assert ran[0].daemon
    assert ran[0] is not threading.current_thread()
