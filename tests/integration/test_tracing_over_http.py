"""What a run of the service exports.

One tree per request, from the caller's traceparent to Graph, and measurements that add up.

The service is the real one, on the official runtime; the collector is a server of the test's own
that speaks OTLP over HTTP.
"""

import json
import re
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from aiohttp import web

from infra.local import seed
from infra.local.faults import Fault
from infra.local.host.process import HostProcess
from infra.local.server import LocalServer
from infra.local.stack import LocalStack
from tests.client import Facade
from tests.collector import Collector, Ingestion, SeenSpan

REPOSITORY = Path(__file__).resolve().parents[2]
THREADS = 64
CANCEL = "/solutions/bookingBusinesses/{id}/appointments/{id}/cancel"
LOOK = "/solutions/bookingBusinesses/{id}/appointments/{id}"


@contextmanager
def service(stack: LocalStack, **environment: str) -> Iterator[Facade]:
    with (
        HostProcess(REPOSITORY, {**stack.environment, **environment}) as host,
        requests.Session() as session,
    ):
        session.trust_env = False
        yield Facade(host.url, session, stack)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def running_service(running_stack: LocalStack, collector: Collector) -> Iterator[Facade]:
    with service(
        running_stack, **collector.settings, MAX_CONCURRENCY_PER_BUSINESS=str(THREADS)
    ) as facade:
        yield facade


@pytest.fixture
def traced(running_service: Facade, stack: LocalStack) -> Facade:
    return running_service


@dataclass(frozen=True)
class Caller:
    """A caller with a trace of their own."""

    trace_id: str = field(default_factory=lambda: secrets.token_hex(16))
    span_id: str = field(default_factory=lambda: secrets.token_hex(8))
    flags: str = "01"

    @property
    def headers(self) -> dict[str, str]:
        return {"traceparent": f"00-{self.trace_id}-{self.span_id}-{self.flags}"}


def tree(spans: list[SeenSpan], parent_id: str) -> list[Any]:
    """Return the spans below a parent by name, in the order of their ends.

    Each has its own spans below it.

    Signing keys are left out. They are loaded when a worker starts, and later only where a request
    meets an unknown key.
    """
    children = [
        span for span in spans if span.parent_id == parent_id and span.name != "entra signing_keys"
    ]
    below = [(span.name, tree(spans, span.span_id)) for span in children]
    return [name if not nested else (name, nested) for name, nested in below]


# One tree.

WHOLE = [
    (
        "request cancel",
        [
            "admit",
            "store begin",
            ("exchange", ["entra token"]),
            "graph cancel",
            "graph look",
            "graph cancel",
            "store settle",
        ],
    )
]


def test_a_request_is_one_tree_from_its_caller_to_graph(
    traced: Facade, collector: Collector
) -> None:
    caller = Caller()
    traced.stack.graph.faults.add(Fault(step="cancel", status=500))
    answer = traced.cancel(traced.book(), headers=caller.headers)
    assert answer.json()["outcome"] == "cancelled"

    spans = collector.trace(caller.trace_id)
    assert tree(spans, caller.span_id) == WHOLE
    below = {span.parent_id for span in spans} - {span.span_id for span in spans}
    assert below == {caller.span_id}  # every span but the first hangs on another of them

    request = only(spans, "request cancel")
    assert (request.kind, request.failed) == ("SERVER", False)
    assert request.attributes == {
        "faas.trigger": "http",
        "facade.action": "cancel",
        "facade.request_id": answer.json()["requestId"],
        "http.response.status_code": 200,
        "facade.code": "cancelled",
    }
    calls = [span for span in spans if span.name.startswith("graph ")]
    assert [span.kind for span in calls] == ["CLIENT"] * 3
    assert [
        (span.attributes["url.template"], span.attributes["http.response.status_code"], span.failed)
        for span in calls
    ] == [
        (CANCEL, 500, True),
        (LOOK, 200, False),
        (CANCEL, 204, False),
    ]

    # What Graph and Entra were told: the trace, and the very span of the call.
    told = [received.headers["traceparent"][:-3] for received in traced.stack.graph.received]
    assert told == [span.traceparent for span in calls]
    (exchange,) = (
        received for received in traced.stack.entra.received if received.method == "POST"
    )
    assert exchange.headers["traceparent"][:-3] == only(spans, "entra token").traceparent


def only(spans: list[SeenSpan], name: str) -> SeenSpan:
    (found,) = (span for span in spans if span.name == name)
    return found


def test_nothing_else_of_what_a_caller_sends_is_handed_on(
    traced: Facade, collector: Collector
) -> None:
    caller = Caller()
    extra = {
        "tracestate": "vendor=mark-of-the-caller",
        "baggage": "user=mark-of-the-caller",
        "x-b3-traceid": caller.trace_id,
    }
    traced.cancel(traced.book(), headers={**caller.headers, **extra})

    assert tree(collector.trace(caller.trace_id), caller.span_id)
    received = [request.headers for request in traced.stack.graph.received] + [
        dict(request.headers) for request in traced.stack.entra.received
    ]
    for given in received:
        headers = {name.lower(): value for name, value in given.items()}
        assert headers.keys().isdisjoint({"tracestate", "baggage", "x-b3-traceid"})
        assert "mark-of-the-caller" not in repr(headers)
    assert not [text for text in collector.texts if "mark-of-the-caller" in text]


def test_a_caller_who_says_not_sampled_is_seen_all_the_same(
    traced: Facade, collector: Collector
) -> None:
    caller = Caller(flags="00")
    traced.cancel(traced.book(), headers=caller.headers)
    assert tree(collector.trace(caller.trace_id), caller.span_id)


@pytest.mark.parametrize(
    "traceparent",
    [
        pytest.param(None, id="none"),
        pytest.param("00-" + "0" * 32 + "-b7ad6b7169203331-01", id="no trace"),
        pytest.param(
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", id="a version that is none"
        ),
        pytest.param("00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01", id="capitals"),
        pytest.param(
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-" + "x" * 6000,
            id="six thousand characters",
        ),
        pytest.param(
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01," * 2, id="two of them"
        ),
    ],
)
def test_what_is_no_traceparent_begins_a_trace_of_its_own(
    traced: Facade, collector: Collector, traceparent: str | None
) -> None:
    answer = traced.cancel(
        traced.book(), headers={} if traceparent is None else {"traceparent": traceparent}
    )
    assert answer.status_code == 200

    (received,) = traced.stack.graph.received
    trace_id = received.headers["traceparent"].split("-")[1]
    assert trace_id not in ("0" * 32, "0af7651916cd43dd8448eb211c80319c")
    assert only(collector.trace(trace_id), "request cancel").parent_id == ""


def test_requests_at_the_same_time_never_share_a_trace(
    traced: Facade, collector: Collector
) -> None:
    """Each request is handed between the event loop and two pools of threads.

    There are as many other requests as there are threads.
    """
    callers = {traced.book(): Caller() for _ in range(THREADS)}
    token = traced.stack.entra.user_token()
    start = threading.Barrier(THREADS)

    def ask(appointment_id: str) -> str:
        with requests.Session() as session:
            session.trust_env = False
            start.wait()
            answer = Facade(traced.url, session, traced.stack).cancel(
                appointment_id, token=token, headers=callers[appointment_id].headers
            )
            return str(answer.json()["outcome"])

    with ThreadPoolExecutor(THREADS) as threads:
        assert set(threads.map(ask, callers)) == {"cancelled"}

    assert {
        received.segments[5]: received.headers["traceparent"].split("-")[1]
        for received in traced.stack.graph.received
    } == {appointment_id: caller.trace_id for appointment_id, caller in callers.items()}
    for caller in callers.values():
        spans = collector.trace(caller.trace_id)
        ((name, below),) = tree(spans, caller.span_id)
        assert name == "request cancel"
        assert sorted(step for step in below if isinstance(step, str) and step != "exchange") == [
            "admit",
            "graph cancel",
            "store begin",
            "store settle",
        ]
    asked = [
        span
        for caller in callers.values()
        for span in collector.trace(caller.trace_id)
        if span.name == "entra token"
    ]
    assert len(asked) == 1


# Lists.


def test_the_calls_of_a_list_are_told_without_its_ids(traced: Facade, collector: Collector) -> None:
    caller = Caller()
    headers = {**caller.headers, "Authorization": f"Bearer {traced.stack.entra.user_token()}"}
    address = (
        f"{traced.url}/api/v1/businesses/{seed.LUNCH_DELIVERY.replace('@', '%40')}/appointments"
    )
    assert traced.session.get(address, headers=headers, timeout=30).status_code == 200

    spans = collector.trace(caller.trace_id)
    assert tree(spans, caller.span_id) == [
        (
            "request list_appointments",
            ["admit", ("exchange", ["entra token"]), "graph list_appointments"],
        )
    ]
    assert (
        only(spans, "graph list_appointments").attributes["url.template"]
        == "/solutions/bookingBusinesses/{id}/calendarView"
    )


# Measurements.


def test_what_is_measured_adds_up(stack: LocalStack) -> None:
    with Collector() as collector, service(stack, **collector.settings) as facade:
        token = stack.entra.user_token()
        appointment_id = facade.book()
        stack.graph.faults.add(Fault(step="cancel", status=500))
        codes = Counter(
            answer.json().get("outcome") or answer.json()["code"]
            for answer in (
                facade.cancel(appointment_id, token=token),
                facade.cancel(appointment_id, token=token),
                facade.cancel(f"{appointment_id}gone", token=token),
                facade.cancel(token=""),
                facade.cancel(token="no.token.really"),
                facade.post({}, token=token),
            )
        )
        assert codes == {
            "cancelled": 2,
            "not_found": 1,
            "missing_token": 1,
            "invalid_token": 1,
            "invalid_request": 1,
        }
        collector.wait(
            lambda: (
                collector.point("facade.problems") == 3
                and collector.point("facade.requests.active") == 0
            )
        )
        point = collector.point

        assert (
            point(
                "facade.outcomes",
                action="cancel",
                outcome="cancelled",
                confirmed=True,
                replayed=False,
            )
            == 1
        )
        assert (
            point(
                "facade.outcomes",
                action="cancel",
                outcome="cancelled",
                confirmed=True,
                replayed=True,
            )
            == 1
        )
        assert (
            point(
                "facade.outcomes",
                action="cancel",
                outcome="not_found",
                confirmed=True,
                replayed=False,
            )
            == 1
        )
        assert point("facade.outcomes") == 3
        assert point("facade.problems", action="cancel", code="missing_token", status=401) == 1
        assert point("facade.problems", action="cancel", code="invalid_request", status=400) == 1
        assert point("facade.request.duration", status_class="2xx") == 3
        assert point("facade.request.duration", status_class="4xx") == 3
        assert (
            point("facade.upstream.duration", upstream="graph", step="cancel", status_class="5xx")
            == 1
        )
        assert (
            point("facade.upstream.duration", upstream="graph", step="cancel", status_class="2xx")
            == 1
        )
        assert (
            point("facade.upstream.duration", upstream="graph", step="cancel", status_class="4xx")
            == 1
        )
        assert (
            point("facade.upstream.duration", upstream="graph", step="look", status_class="2xx")
            == 1
        )
        assert point("facade.upstream.duration", upstream="entra", step="token") == 1
        assert point("facade.upstream.duration", upstream="entra", step="signing_keys") == 1
        assert point("facade.upstream.retries", upstream="graph", step="cancel") == 1
        assert point("facade.exchanges", cache="miss") == 1
        assert point("facade.exchanges", cache="hit") == 1


def test_a_service_that_is_set_up_wrongly_is_seen(stack: LocalStack, collector: Collector) -> None:
    caller = Caller()
    with service(stack, **collector.settings, CLIENT_SECRET="") as facade:
        assert facade.cancel(headers=caller.headers).json()["code"] == "misconfigured"
        request = only(collector.trace(caller.trace_id), "request cancel")
    assert request.failed
    assert (request.attributes["facade.code"], request.attributes["error.type"]) == (
        "misconfigured",
        "misconfigured",
    )


def test_the_store_is_told_of_no_trace_and_its_failures_are_counted(stack: LocalStack) -> None:
    received: list[dict[str, str]] = []

    async def refuse(request: web.Request) -> web.Response:
        received.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response(status=403)

    tables = web.Application()
    tables.router.add_route("*", "/{path:.*}", refuse)
    with LocalServer(tables) as server, Collector() as collector:
        place = (
            "DefaultEndpointsProtocol=http;AccountName=account;AccountKey=a2V5;"
            f"TableEndpoint={server.url}/account;"
        )
        store = {"IDEMPOTENCY_STORE": "table", "IDEMPOTENCY_TABLE_CONNECTION_STRING": place}
        with service(stack, **collector.settings, **store) as facade:
            caller = Caller()
            assert facade.cancel(facade.book(), headers=caller.headers).json()["cancelled"] is True
            begun = only(collector.trace(caller.trace_id), "store begin")
            collector.wait(lambda: collector.point("facade.store.failures", step="begin") == 1)
    assert begun.failed
    assert begun.attributes["error.type"] == "StoreUnavailable"
    assert received
    assert not [
        headers for headers in received if "traceparent" in headers or "tracestate" in headers
    ]
    assert not [
        headers
        for headers in collector.headers
        if "traceparent" in {name.lower() for name in headers}
    ]


# The other places that telemetry may go to.


def test_the_console_shows_the_same_tree_and_the_line_of_a_request_names_its_trace(
    stack: LocalStack,
) -> None:
    """Here the runtime, too, has attached the trace, to the event loop. That changes nothing."""
    caller = Caller()
    settings = {"TELEMETRY": "console", "PYTHON_ENABLE_OPENTELEMETRY": "true"}
    with (
        HostProcess(REPOSITORY, {**stack.environment, **settings}) as host,
        requests.Session() as session,
    ):
        session.trust_env = False
        facade = Facade(host.url, session, stack)
        stack.graph.faults.add(Fault(step="cancel", status=500))
        request_id = facade.cancel(facade.book(), headers=caller.headers).json()["requestId"]
        printed = host.wait_for("event=request ")
    assert re.search(
        rf"event=request .*\brequestId={request_id} .*\btrace={caller.trace_id}\b", printed
    )
    spans = [json.loads(line) for line in printed.splitlines() if line.startswith('{"name": ')]
    seen = [
        SeenSpan(
            span["name"],
            span["context"]["trace_id"].removeprefix("0x"),
            span["context"]["span_id"].removeprefix("0x"),
            (span["parent_id"] or "").removeprefix("0x"),
            span["kind"],
            span["status"]["status_code"] == "ERROR",
            span["attributes"],
        )
        for span in spans
    ]
    assert {span.trace_id for span in seen if span.name != "entra signing_keys"} == {
        caller.trace_id
    }
    assert caller.trace_id not in {
        span.trace_id for span in seen if span.name == "entra signing_keys"
    }  # loaded for all, at the start
    assert tree(seen, caller.span_id) == WHOLE


def test_azure_monitor_is_sent_what_the_host_does_not_report_itself(stack: LocalStack) -> None:
    caller = Caller()
    with (
        Ingestion() as sent,
        service(stack, **{**sent.settings, "OTEL_TRACES_SAMPLER": "always_on"}) as facade,
    ):
        facade.cancel(facade.book(), headers=caller.headers)

        def names(kind: str) -> set[str]:
            return {envelope["data"]["baseData"].get("name", "") for envelope in sent.of(kind)}

        sent.wait(
            lambda: "store settle" in names("RemoteDependencyData") and bool(names("MetricData"))
        )

    spans = sent.of("RemoteDependencyData")
    assert names("RemoteDependencyData") == {
        *("admit", "store begin", "exchange", "store settle", "entra signing_keys"),
        *("POST /{tenant}/oauth2/v2.0/token", f"POST /v1.0{CANCEL}"),
    }
    # The host reports each request: a second one would double every count.
    assert names("RequestData") == set()
    asked = [
        envelope
        for envelope in spans
        if envelope["data"]["baseData"]["name"] != "entra signing_keys"
    ]
    assert {envelope["tags"]["ai.operation.id"] for envelope in asked} == {caller.trace_id}
    hosts = {envelope["tags"].get("ai.operation.parentId") for envelope in asked}
    assert caller.span_id in hosts  # here the caller's own, since this host makes none
    assert {envelope["tags"]["ai.cloud.role"] for envelope in spans} == {"func-of-a-test"}
    everything = json.dumps([*spans, *sent.of("MetricData")]).lower()
    assert seed.LUNCH_DELIVERY.partition("@")[0].lower() not in everything


def test_as_deployed_one_request_in_twenty_has_spans_and_every_request_is_counted(
    stack: LocalStack,
) -> None:
    callers = [Caller() for _ in range(100)]
    with Ingestion() as sent, service(stack, **sent.settings) as facade:
        token = stack.entra.user_token()
        for caller in callers:
            answer = facade.post({}, token=token, headers=caller.headers)
            assert answer.status_code == 400

        def counted() -> int:
            return sum(
                int(row["valueSum"])
                for row in sent.custom_metrics()
                if row["name"] == "facade.problems"
            )

        sent.wait(lambda: counted() == len(callers))
        spans = sent.of("RemoteDependencyData")
    traces = {caller.trace_id for caller in callers}
    assert len({one["tags"]["ai.operation.id"] for one in spans} & traces) < 20


# The runtime attaches the trace of an invocation by itself, for async functions only.

BOTH_KINDS = """
import azure.functions as func
from opentelemetry import trace

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


def seen():
    context = trace.get_current_span().get_span_context()
    return func.HttpResponse(trace.format_trace_id(context.trace_id))


@app.route("sync")
def in_a_thread(req: func.HttpRequest) -> func.HttpResponse:
    return seen()


@app.route("async")
async def on_the_loop(req: func.HttpRequest) -> func.HttpResponse:
    return seen()
"""


def test_the_runtime_gives_its_trace_to_async_functions_alone(tmp_path: Path) -> None:
    """This shows why the endpoint reads the context of its invocation itself.

    When it fails, the runtime has been mended, and nothing of ours is wrong.
    """
    (tmp_path / "function_app.py").write_text(BOTH_KINDS)
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    caller = Caller()

    def ask(host: HostProcess, route: str) -> str:
        return requests.get(f"{host.url}/api/{route}", headers=caller.headers, timeout=30).text

    with HostProcess(tmp_path, {"PYTHON_ENABLE_OPENTELEMETRY": "true"}) as host:
        assert (ask(host, "async"), ask(host, "sync")) == (caller.trace_id, "0" * 32)
