"""What the table store does when the network, the service or the table misbehaves; how it makes its
table, keeps its connections and removes old records.
"""

import contextlib
import hashlib
import http.server
import json
import logging
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import jwt
import pytest
import requests
import trustme
import urllib3
from azure.core.exceptions import (
    DecodeError,
    ServiceRequestError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline.transport import HttpTransport, RequestsTransport
from azure.data.tables import TableClient, TableServiceClient, UpdateMode

from shared.entra import credentials
from shared.records.credential import ManagedIdentityCredential
from shared.records.rules import Abandoned, Begun, Claim, New, Replay, Running, StoreUnavailable
from shared.records.table_store import (
    CLOCK_MARGIN_S,
    SWEEP_MARGIN_S,
    SWEEP_ROWS,
    Patience,
    Surroundings,
    TableStore,
    pooled_transport,
)
from shared.transport.connections import open_trust
from tests.integration.azurite import Azurite

NOW = 1_760_000_000.0
LEASE_S = 30.0
KEEP_S = 86_400.0
PATIENT = Patience(connect_s=20, read_s=20, operation_s=60)

type Fault = Callable[["FaultyNetwork", Any, dict[str, Any]], Any]


def key(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


KEY = key("one request")


class FaultyNetwork(HttpTransport[Any, Any]):
    """The real transport, but for the faults that a test lines up: the next request of a method
    meets the next fault of that method.
    """

    def __init__(self) -> None:
        self.inner = pooled_transport()
        self.faults: dict[str, deque[Fault]] = {}
        self.seen: list[str] = []
        self.before_send: Callable[[Any], None] = lambda _: None
        self.late: list[Any] = []

    def next(self, method: str, *faults: Fault) -> None:
        self.faults[method] = deque(faults)

    def send(self, request: Any, **kwargs: Any) -> Any:
        self.seen.append(request.method)
        self.before_send(request)
        waiting = self.faults.get(request.method)
        if waiting:
            return waiting.popleft()(self, request, kwargs)
        answer = self.inner.send(request, **kwargs)
        while self.late:
            self.inner.send(self.late.pop(), **kwargs)
        return answer

    def open(self) -> None:
        self.inner.open()

    def close(self) -> None:
        self.inner.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def lost(_network: FaultyNetwork, _request: Any, _options: dict[str, Any]) -> Any:
    """The request never arrives, and nobody can tell."""
    raise ServiceResponseTimeoutError("read timed out")


def answer_lost(network: FaultyNetwork, request: Any, options: dict[str, Any]) -> Any:
    """The request takes effect, the answer gets lost."""
    network.inner.send(request, **options)
    raise ServiceResponseError("connection reset")


def tls_broke(network: FaultyNetwork, request: Any, options: dict[str, Any]) -> Any:
    """The same as azure-core shows it for a TLS connection: as if it had never been sent."""
    network.inner.send(request, **options)
    cause = requests.exceptions.SSLError("EOF occurred in violation of protocol")
    raise ServiceRequestError(cause, error=cause)


def answered_500(network: FaultyNetwork, request: Any, options: dict[str, Any]) -> Any:
    """The request takes effect, the service says 500 (OperationTimedOut may mean that)."""
    answer = network.inner.send(request, **options)
    answer.status_code = 500
    return answer


def comes_late(network: FaultyNetwork, request: Any, _options: dict[str, Any]) -> Any:
    """The request gets no answer and takes effect after the next one."""
    network.late.append(request)
    raise ServiceResponseTimeoutError("read timed out")


ANSWER_FAULTS = [lost, answer_lost, tls_broke, answered_500, comes_late]


class Bench:
    """Stores on one table of one emulator, with a clock in hand and a network that can fail."""

    def __init__(self, emulator: Azurite) -> None:
        self.emulator = emulator
        self.table = f"t{secrets.token_hex(8)}"
        self.now = NOW
        self.chances: list[
            float
        ] = []  # what chance gives next; when nothing is lined up it starts no sweep
        self.background: list[Callable[[], None]] = []
        self.network = FaultyNetwork()
        self.store = self.instance(self.network)
        self.other = self.instance()

    def instance(
        self, transport: HttpTransport[Any, Any] | None = None, patience: Patience = PATIENT
    ) -> TableStore:
        return TableStore.from_connection_string(
            self.emulator.connection_string,
            self.table,
            patience=patience,
            surroundings=self.surroundings(),
            transport=transport,
        )

    def surroundings(self) -> Surroundings:
        return Surroundings(
            now=lambda: self.now, random=self.chance, run_in_background=self.background.append
        )

    def chance(self) -> float:
        return self.chances.pop(0) if self.chances else 0.999

    def begin(self, name: str = KEY, *, keep_s: float = KEEP_S) -> Begun:
        return self.store.begin(name, "f", lease_s=LEASE_S, keep_s=keep_s)

    def begin_elsewhere(self, name: str = KEY) -> Begun:
        return self.other.begin(name, "f", lease_s=LEASE_S, keep_s=KEEP_S)

    def wait_for_the_end_of_the_lease(self) -> None:
        self.now += LEASE_S + CLOCK_MARGIN_S

    def client(self) -> TableClient:
        return TableClient.from_connection_string(self.emulator.connection_string, self.table)

    def rows(self) -> list[dict[str, Any]]:
        with self.client() as client:
            return [dict(row) for row in client.list_entities()]


@pytest.fixture
def bench(azurite: Azurite) -> Iterator[Bench]:
    made = Bench(azurite)
    yield made
    made.store.close()
    made.other.close()


@pytest.fixture
def warm(bench: Bench) -> Bench:
    """A bench whose table exists already."""
    bench.other.release(claim(bench.begin_elsewhere(key("warm"))), doubt=False, keep_s=1)
    return bench


def claim(begun: Begun) -> Claim:
    assert isinstance(begun, New | Abandoned), begun
    return begun.claim


# Answers that never come.


@pytest.mark.parametrize("fault", ANSWER_FAULTS)
def test_an_unanswered_insert_is_our_own_new(warm: Bench, fault: Fault) -> None:
    warm.network.next("POST", fault)
    begun = warm.begin()
    assert isinstance(begun, New)
    assert isinstance(warm.begin_elsewhere(), Running)
    assert warm.store.complete(begun.claim, "p", keep_s=KEEP_S)
    assert warm.begin_elsewhere() == Replay("p")
    assert len(warm.rows()) == 1


def test_an_insert_whose_answer_got_lost_costs_one_read_and_no_second_insert(warm: Bench) -> None:
    warm.network.next("POST", answer_lost)
    warm.begin()
    assert warm.network.seen == ["POST", "GET"]


def test_an_unanswered_insert_that_met_anothers_record_is_running(warm: Bench) -> None:
    warm.begin_elsewhere()
    warm.network.next("POST", answer_lost)
    assert isinstance(warm.begin(), Running)


@pytest.mark.parametrize("fault", ANSWER_FAULTS)
def test_an_unanswered_take_over_is_our_own_abandoned(warm: Bench, fault: Fault) -> None:
    warm.begin_elsewhere()
    warm.wait_for_the_end_of_the_lease()
    warm.network.next("PUT", fault)
    begun = warm.begin()
    assert isinstance(begun, Abandoned)
    assert isinstance(warm.begin_elsewhere(), Running)
    assert warm.store.complete(begun.claim, "p", keep_s=KEEP_S)
    assert warm.begin_elsewhere() == Replay("p")


@pytest.mark.parametrize("fault", [lost, comes_late])
def test_a_lost_take_over_does_not_count_when_another_was_quicker(
    warm: Bench, fault: Fault
) -> None:
    warm.begin_elsewhere()
    warm.wait_for_the_end_of_the_lease()

    def fails_while_another_takes_over(
        network: FaultyNetwork, request: Any, options: dict[str, Any]
    ) -> Any:
        assert isinstance(warm.begin_elsewhere(), Abandoned)
        return fault(network, request, options)

    warm.network.next("PUT", fails_while_another_takes_over)
    assert isinstance(warm.begin(), Running)


@pytest.mark.parametrize("fault", ANSWER_FAULTS)
def test_an_unanswered_completion_is_recorded(warm: Bench, fault: Fault) -> None:
    ours = claim(warm.begin())
    warm.network.next("PUT", fault)
    assert warm.store.complete(ours, "p", keep_s=KEEP_S) is True
    assert warm.begin_elsewhere() == Replay("p")


@pytest.mark.parametrize("fault", ANSWER_FAULTS)
def test_an_unanswered_completion_of_a_stale_owner_is_known_as_such(
    warm: Bench, fault: Fault
) -> None:
    stale = claim(warm.begin())
    warm.wait_for_the_end_of_the_lease()
    owner = claim(warm.begin_elsewhere())
    warm.network.next("PUT", fault)
    assert warm.store.complete(stale, "stale", keep_s=KEEP_S) is False
    assert warm.other.complete(owner, "true", keep_s=KEEP_S)


@pytest.mark.parametrize("fault", ANSWER_FAULTS)
def test_an_unanswered_release_removes_the_record(warm: Bench, fault: Fault) -> None:
    ours = claim(warm.begin())
    warm.network.next("DELETE", fault)
    assert warm.store.release(ours, doubt=False, keep_s=KEEP_S) is True
    assert isinstance(warm.begin_elsewhere(), New)


@pytest.mark.parametrize("fault", ANSWER_FAULTS)
def test_an_unanswered_release_in_doubt_is_recorded(warm: Bench, fault: Fault) -> None:
    ours = claim(warm.begin())
    warm.network.next("PUT", fault)
    assert warm.store.release(ours, doubt=True, keep_s=KEEP_S) is True
    assert isinstance(warm.begin_elsewhere(), Abandoned)


def test_a_read_is_asked_for_twice(warm: Bench) -> None:
    warm.begin_elsewhere()
    warm.network.next("GET", lost)
    assert isinstance(warm.begin(), Running)
    warm.network.next("GET", lost, lost)
    with pytest.raises(StoreUnavailable):
        warm.begin()


def test_a_write_that_is_never_answered_fails_and_leaves_doubt_behind(warm: Bench) -> None:
    warm.network.next("POST", answer_lost)
    warm.network.next("GET", lost, lost)
    with pytest.raises(StoreUnavailable):
        warm.begin()  # the caller goes on without a record
    assert isinstance(warm.begin_elsewhere(), Running)
    warm.wait_for_the_end_of_the_lease()
    assert isinstance(warm.begin_elsewhere(), Abandoned)


def test_an_insert_that_is_lost_twice_fails(warm: Bench) -> None:
    warm.network.next("POST", lost, lost)
    with pytest.raises(StoreUnavailable):
        warm.begin()
    assert warm.rows() == []


def test_a_completion_that_is_lost_twice_fails_and_leaves_doubt_behind(warm: Bench) -> None:
    ours = claim(warm.begin())
    warm.network.next("PUT", lost, lost)
    with pytest.raises(StoreUnavailable):
        warm.store.complete(ours, "p", keep_s=KEEP_S)
    warm.wait_for_the_end_of_the_lease()
    assert isinstance(warm.begin_elsewhere(), Abandoned)


def test_an_insert_that_comes_after_the_release_turns_into_doubt_not_into_an_answer(
    warm: Bench,
) -> None:
    late: list[Any] = []

    def comes_after_the_release(
        _network: FaultyNetwork, request: Any, _options: dict[str, Any]
    ) -> Any:
        late.append(request)
        raise ServiceResponseTimeoutError("read timed out")

    warm.network.next("POST", comes_after_the_release)
    warm.store.release(claim(warm.begin()), doubt=False, keep_s=KEEP_S)
    warm.network.inner.send(late.pop())
    assert isinstance(warm.begin_elsewhere(), Running)
    warm.wait_for_the_end_of_the_lease()
    assert isinstance(warm.begin_elsewhere(), Abandoned)


# A store that is down.

EVERY_CALL: dict[str, Callable[[TableStore, Claim], object]] = {
    "begin": lambda store, ours: store.begin(ours.key, "f", lease_s=LEASE_S, keep_s=KEEP_S),
    "complete": lambda store, ours: store.complete(ours, "p", keep_s=KEEP_S),
    "release": lambda store, ours: store.release(ours, doubt=False, keep_s=KEEP_S),
    "release in doubt": lambda store, ours: store.release(ours, doubt=True, keep_s=KEEP_S),
}
SOME_CLAIM = Claim(KEY, "owner|W/\"datetime'2026-01-01T00%3A00%3A00.0000000Z'\"", "f")
HASTY = Patience(connect_s=0.2, read_s=0.2, operation_s=0.4)


def store_at(
    port: int, patience: Patience = HASTY, transport: HttpTransport[Any, Any] | None = None
) -> TableStore:
    connection_string = f"DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0;TableEndpoint=http://127.0.0.1:{port}/a;"
    return TableStore.from_connection_string(
        connection_string, "records", patience=patience, transport=transport
    )


@contextlib.contextmanager
def unreachable() -> Iterator[int]:
    with (
        socket.socket() as bound
    ):  # bound and not listening: nobody else can take the port, and a connection is refused
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextlib.contextmanager
def silent() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield listening.getsockname()[1]


@pytest.mark.parametrize("call", EVERY_CALL)
@pytest.mark.parametrize("network", [unreachable, silent])
def test_a_store_that_is_down_is_unavailable_within_the_time_out(
    network: Callable[[], Any], call: str
) -> None:
    with network() as port, contextlib.closing(store_at(port)) as store:
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            EVERY_CALL[call](store, SOME_CLAIM)
        assert time.monotonic() - started < HASTY.operation_s + 0.3


@pytest.mark.parametrize("call", EVERY_CALL)
def test_all_calls_of_an_operation_together_keep_to_its_time(call: str) -> None:
    class Endless(FaultyNetwork):
        """Every request takes as long as it may: a slow connection, then no answer."""

        now = 0.0

        def send(self, request: Any, **kwargs: Any) -> Any:
            self.now += kwargs["connection_timeout"] + kwargs["read_timeout"]
            raise ServiceResponseTimeoutError("read timed out")

    network = Endless()
    patience = Patience(connect_s=2, read_s=2, operation_s=5)
    store = TableStore.from_connection_string(
        "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0;TableEndpoint=http://127.0.0.1:1/a;",
        "records",
        patience=patience,
        surroundings=Surroundings(monotonic=lambda: network.now),
        transport=network,
    )
    with contextlib.closing(store), pytest.raises(StoreUnavailable):
        EVERY_CALL[call](store, SOME_CLAIM)
    assert network.now <= patience.operation_s


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
        yield server.server_address[1]
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
            b'{"odata.error": {"code": "AuthorizationFailure", "message": {"lang": "en-US", "value": "no"}}}',
            JSON,
        ),
        (403, b"<html>", {"Content-Type": "text/html"}),
        (
            409,
            b'{"odata.error": {"code": "TableBeingDeleted", "message": {"lang": "en-US", "value": "no"}}}',
            JSON,
        ),
        (429, b"", {"Retry-After": "60"}),
        (
            500,
            b'{"odata.error": {"code": "OperationTimedOut", "message": {"lang": "en-US", "value": "no"}}}',
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
        contextlib.closing(store_at(port, PATIENT)) as store,
        pytest.raises(StoreUnavailable),
    ):
        EVERY_CALL[call](store, SOME_CLAIM)
    assert len(asked) <= 4


@pytest.mark.parametrize("call", EVERY_CALL)
@pytest.mark.parametrize(
    "error",
    [
        ValueError("odd"),
        KeyError("odd"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd"),
        requests.ConnectionError("odd"),
        urllib3.exceptions.LocationParseError("odd"),
        OSError("odd"),
        DecodeError("odd"),
        RuntimeError("odd"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_foreign_exception_ever_comes_out(bench: Bench, call: str, error: Exception) -> None:
    def raises(_network: FaultyNetwork, _request: Any, _options: dict[str, Any]) -> Any:
        raise error

    for method in ("GET", "POST", "PUT", "DELETE"):
        bench.network.next(method, *[raises] * 9)
    with pytest.raises(StoreUnavailable) as caught:
        EVERY_CALL[call](bench.store, SOME_CLAIM)
    assert caught.value.__cause__ is error


def test_a_closed_store_is_unavailable(warm: Bench) -> None:
    warm.begin()
    warm.store.close()
    with pytest.raises(StoreUnavailable):
        warm.begin()


@pytest.mark.filterwarnings(
    "ignore:Testing an element's truth value:DeprecationWarning"
)  # azure-data-tables does, on an XML error body
def test_a_wrong_account_key_is_unavailable_and_stays_out_of_the_message(azurite: Azurite) -> None:
    wrong = "d3Jvbmcgd3Jvbmcgd3Jvbmc="
    connection_string = f"DefaultEndpointsProtocol=http;AccountName=testaccount;AccountKey={wrong};TableEndpoint={azurite.endpoint};"
    store = TableStore.from_connection_string(connection_string, "records", patience=PATIENT)
    with contextlib.closing(store), pytest.raises(StoreUnavailable, match="refused: 403") as caught:
        store.begin(KEY, "f", lease_s=LEASE_S, keep_s=KEEP_S)
    assert wrong not in f"{caught.value} {caught.value.__cause__}"


def test_a_connection_string_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"[Cc]onnection string"):
        TableStore.from_connection_string("nonsense", "records")


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
        row = {**client.get_entity(KEY[:2], KEY), **change}
        client.upsert_entity(
            {name: value for name, value in row.items() if value is not None},
            mode=UpdateMode.REPLACE,
        )
    with pytest.raises(StoreUnavailable, match="no record"):
        warm.begin()
    with pytest.raises(StoreUnavailable, match="no record"):
        warm.store.complete(ours, "p", keep_s=KEEP_S)


# The table and the connections.


def table_names(emulator: Azurite) -> set[str]:
    with TableServiceClient.from_connection_string(emulator.connection_string) as tables:
        return {table.name for table in tables.list_tables()}


def test_nothing_is_asked_before_the_first_use(bench: Bench) -> None:
    assert bench.network.seen == []
    assert bench.table not in table_names(bench.emulator)


def test_64_threads_make_the_missing_table_once(bench: Bench) -> None:
    creations: list[str] = []

    def note(request: Any) -> None:
        if request.url.endswith("/Tables"):
            creations.append(request.url)

    bench.network.before_send = note
    start = threading.Barrier(64)

    def begin(number: int) -> Begun:
        start.wait()
        return bench.begin(key(number))

    with ThreadPoolExecutor(64) as pool:
        assert all(isinstance(begun, New) for begun in pool.map(begin, range(64)))
    assert len(creations) == 1
    assert len(bench.rows()) == 64


def test_two_instances_make_the_missing_table_together(bench: Bench) -> None:
    def another_makes_it_first(
        network: FaultyNetwork, request: Any, options: dict[str, Any]
    ) -> Any:
        bench.begin_elsewhere(key("theirs"))
        return network.inner.send(request, **options)

    def passes(network: FaultyNetwork, request: Any, options: dict[str, Any]) -> Any:
        return network.inner.send(request, **options)

    bench.network.next("POST", passes, another_makes_it_first)
    assert isinstance(bench.begin(), New)


@pytest.mark.parametrize("fault", ANSWER_FAULTS)
def test_an_unanswered_creation_of_the_table_is_tried_again(bench: Bench, fault: Fault) -> None:
    def passes(network: FaultyNetwork, request: Any, options: dict[str, Any]) -> Any:
        return network.inner.send(request, **options)

    bench.network.next("POST", passes, fault)
    assert isinstance(bench.begin(), New)


def test_a_table_that_was_deleted_is_made_again(warm: Bench) -> None:
    warm.begin()
    with warm.client() as client:
        client.delete_table()
    assert isinstance(warm.begin(), New)


def test_a_table_that_may_not_be_made_is_unavailable() -> None:
    missing = (
        b'{"odata.error": {"code": "TableNotFound", "message": {"lang": "en-US", "value": "no"}}}'
    )
    with (
        service(404, missing, JSON) as port,
        contextlib.closing(store_at(port, PATIENT)) as store,
        pytest.raises(StoreUnavailable),
    ):
        EVERY_CALL["begin"](store, SOME_CLAIM)


def connections(transport: RequestsTransport) -> int:
    manager = transport.session.adapters["http://"].poolmanager
    return sum(manager.pools[name].num_connections for name in manager.pools.keys())  # noqa: SIM118


def test_calls_one_after_another_share_one_connection(bench: Bench) -> None:
    for number in range(30):
        bench.store.complete(claim(bench.begin(key(number))), "p", keep_s=KEEP_S)
    assert connections(bench.network.inner) == 1


def test_proxies_of_the_machine_are_not_used(warm: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(warm.begin(), New)


def test_a_new_request_and_its_outcome_cost_one_call_each(warm: Bench) -> None:
    ours = claim(warm.begin())
    warm.store.complete(ours, "p", keep_s=KEEP_S)
    assert warm.network.seen == ["POST", "PUT"]


def test_nothing_is_logged_but_warnings(warm: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        warm.store.complete(claim(warm.begin()), "PAYLOAD", keep_s=KEEP_S)
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


def token_for(audience: str) -> str:
    times = {
        "iat": int(time.time()) - 60,
        "nbf": int(time.time()) - 60,
        "exp": int(time.time()) + 3600,
    }
    claims = {
        "aud": audience,
        "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000001/",
        **times,
    }
    return jwt.encode(claims, secrets.token_bytes(32), algorithm="HS256")


def use_identity_endpoint(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{port}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "header")


def test_a_managed_identity_reaches_the_table_and_asks_for_its_token_once(
    secured: tuple[Azurite, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator, authority = secured
    granted = {
        "access_token": token_for("https://storage.azure.com"),
        "expires_on": str(int(time.time()) + 3600),
        "token_type": "Bearer",
    }
    asked: list[str] = []
    with service(200, json.dumps(granted).encode(), JSON, asked) as port:
        use_identity_endpoint(monkeypatch, port)
        transport = pooled_transport(open_trust(authority))
        credential = ManagedIdentityCredential("11111111-2222-3333-4444-555555555555")
        store = TableStore.from_endpoint(
            emulator.endpoint, "records", credential, patience=PATIENT, transport=transport
        )
        with contextlib.closing(store):
            ours = claim(store.begin(KEY, "f", lease_s=LEASE_S, keep_s=KEEP_S))
            assert store.complete(ours, "p", keep_s=KEEP_S)
            assert store.begin(KEY, "f", lease_s=LEASE_S, keep_s=KEEP_S) == Replay("p")
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
    emulator, authority = secured
    with service(status, body, JSON) as port:
        use_identity_endpoint(monkeypatch, port)
        transport = pooled_transport(open_trust(authority))
        store = TableStore.from_endpoint(
            emulator.endpoint,
            "records",
            ManagedIdentityCredential(),
            patience=PATIENT,
            transport=transport,
        )
        with contextlib.closing(store), pytest.raises(StoreUnavailable, match="no token"):
            store.begin(KEY, "f", lease_s=LEASE_S, keep_s=KEEP_S)


def test_an_identity_endpoint_that_hangs_is_given_up(
    secured: tuple[Azurite, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator, _ = secured
    with silent() as port:
        use_identity_endpoint(monkeypatch, port)
        monkeypatch.setattr(credentials, "_IDENTITY_TIMEOUTS_S", (0.2, 0.2))
        store = TableStore.from_endpoint(emulator.endpoint, "records", ManagedIdentityCredential())
        with contextlib.closing(store), pytest.raises(StoreUnavailable, match="no token"):
            store.begin(KEY, "f", lease_s=LEASE_S, keep_s=KEEP_S)


def test_a_token_is_never_sent_in_the_clear() -> None:
    with pytest.raises(ValueError, match="HTTPS"):
        TableStore.from_endpoint("http://127.0.0.1:1/a", "records", ManagedIdentityCredential())


# Old records.


def same_partition(number: int) -> str:
    return KEY[:2] + key(number)[2:]


def finish(bench: Bench, name: str, *, keep_s: float) -> None:
    bench.store.complete(claim(bench.begin(name)), "p", keep_s=keep_s)


def sweep(bench: Bench) -> None:
    """Sweep the partition of KEY: the chance that starts a sweep also picks the partition."""
    bench.chances = [0.0, (int(KEY[:2], 16) + 0.5) / 256]
    bench.store.sweeper.now_and_then()
    bench.background.pop()()


def test_a_sweep_removes_what_is_over_and_nothing_else(warm: Bench) -> None:
    finish(warm, same_partition(1), keep_s=10)
    finish(warm, same_partition(2), keep_s=KEEP_S)
    warm.store.release(claim(warm.begin(same_partition(3))), doubt=True, keep_s=10)
    elsewhere = f"{(int(KEY[:2], 16) + 1) % 256:02x}{KEY[2:]}"
    finish(warm, elsewhere, keep_s=10)
    warm.now += 10 + SWEEP_MARGIN_S + 1
    warm.begin(same_partition(4))
    sweep(warm)
    assert {row["RowKey"] for row in warm.rows()} == {
        same_partition(2),
        same_partition(4),
        elsewhere,
    }
    assert (warm.store.sweeper.removed, warm.store.sweeper.failed) == (2, 0)


def test_a_record_is_swept_only_once_every_clock_agrees_that_it_is_over(warm: Bench) -> None:
    finish(warm, KEY, keep_s=10)
    warm.now += 10 + SWEEP_MARGIN_S - 1
    sweep(warm)
    assert len(warm.rows()) == 1


def test_a_sweep_of_nothing_is_no_failure(warm: Bench) -> None:
    sweep(warm)
    assert (warm.store.sweeper.removed, warm.store.sweeper.failed) == (0, 0)


def test_a_sweep_takes_one_transaction_at_most(warm: Bench) -> None:
    with warm.client() as client:
        expired = {"PartitionKey": KEY[:2], "expires_at": NOW - KEEP_S}
        for start in range(0, SWEEP_ROWS + 50, 50):
            client.submit_transaction(
                [
                    ("create", {**expired, "RowKey": same_partition(n)})
                    for n in range(start, start + 50)
                ]
            )
    sweep(warm)
    assert warm.store.sweeper.removed == SWEEP_ROWS
    assert len(warm.rows()) == 50
    sweep(warm)
    assert warm.rows() == []


def test_a_record_that_is_renewed_during_the_sweep_survives(warm: Bench) -> None:
    finish(warm, same_partition(1), keep_s=10)
    finish(warm, same_partition(2), keep_s=10)
    warm.now += 10 + SWEEP_MARGIN_S + 1

    def renew_before_the_removal(request: Any) -> None:
        if request.url.endswith("$batch"):
            assert isinstance(warm.begin_elsewhere(same_partition(2)), New)

    warm.network.before_send = renew_before_the_removal
    sweep(warm)
    assert isinstance(warm.begin_elsewhere(same_partition(2)), Running)
    assert (warm.store.sweeper.removed, warm.store.sweeper.failed) == (0, 1)
    warm.network.before_send = lambda _: None
    sweep(warm)
    assert {row["RowKey"] for row in warm.rows()} == {same_partition(2)}


def test_a_sweep_that_fails_is_counted_and_disturbs_nobody(warm: Bench) -> None:
    warm.network.next("GET", lost)
    sweep(warm)
    assert warm.store.sweeper.failed == 1
    assert isinstance(warm.begin(), New)
    sweep(warm)
    assert warm.store.sweeper.failed == 1


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


def test_a_worker_without_a_thread_to_spare_does_not_sweep(warm: Bench) -> None:
    def no_thread(_: Callable[[], None]) -> None:
        raise RuntimeError("can't start new thread")

    around = Surroundings(now=lambda: warm.now, random=lambda: 0.0, run_in_background=no_thread)
    store = TableStore.from_connection_string(
        warm.emulator.connection_string, warm.table, patience=PATIENT, surroundings=around
    )
    with contextlib.closing(store):
        assert isinstance(store.begin(KEY, "f", lease_s=LEASE_S, keep_s=KEEP_S), New)
        assert isinstance(store.begin(KEY, "f", lease_s=LEASE_S, keep_s=KEEP_S), Running)
    assert store.sweeper.failed == 2


def test_sweeps_run_in_a_daemon_thread_of_their_own() -> None:
    ran: list[threading.Thread] = []
    done = threading.Event()

    def work() -> None:
        ran.append(threading.current_thread())
        done.set()

    Surroundings().run_in_background(work)
    assert done.wait(5)
    assert ran[0].daemon
    assert ran[0] is not threading.current_thread()
