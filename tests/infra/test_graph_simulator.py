"""The Graph Bookings simulator over TLS.

Addresses, tokens, rights, cancelling, faults with the truth beside them, and its local control.
"""

import base64
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests

from infra.local import seed
from infra.local.faults import Fault
from infra.local.graph.bookings import Bookings
from infra.local.graph.simulator import GraphSimulator
from infra.local.graph.tokens import GraphTokenClaims, GraphTokenInvalid
from infra.local.server import LocalServer
from infra.local.tls import LocalAuthority

SOLUTIONS = "/v1.0/solutions/bookingBusinesses"
ADELE = GraphTokenClaims(
    seed.ADELE.object_id,
    seed.TENANT_ID,
    seed.API_CLIENT_ID,
    frozenset({seed.GRAPH_SCOPE}),
    frozenset(),
    app_only=False,
)
MEGAN = replace(ADELE, object_id=seed.MEGAN.object_id)
LYNNE = replace(ADELE, object_id=seed.LYNNE.object_id)
APP = replace(
    ADELE,
    object_id="service-principal",
    scopes=frozenset(),
    roles=frozenset(seed.APP_ROLES),
    app_only=True,
)


class Tokens:
    """A stub verifier: a token is a word that stands for its claims."""

    def __init__(self) -> None:
        self._claims = {"adele": ADELE, "megan": MEGAN, "lynne": LYNNE, "app": APP}

    def give(self, token: str, claims: GraphTokenClaims) -> None:
        self._claims[token] = claims

    def verify(self, token: str) -> GraphTokenClaims:
        try:
            return self._claims[token]
        except KeyError:
            raise GraphTokenInvalid("Signature validation failed.") from None


@dataclass(frozen=True)
class Stack:
    url: str
    bundle: Path
    graph: GraphSimulator
    tokens: Tokens


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    authority, tokens = LocalAuthority(), Tokens()
    graph = GraphSimulator(tokens.verify)
    bundle = authority.write_bundle(tmp_path_factory.mktemp("tls") / "ca.pem")
    with LocalServer(graph.app, tls=authority.server_context()) as server:
        yield Stack(server.url, bundle, graph, tokens)


@pytest.fixture
def graph(stack: Stack) -> GraphSimulator:
    stack.graph.reset()
    return stack.graph


class Client:
    """A session as one user. Answers are read whole; redirects are not followed."""

    def __init__(self, stack: Stack, token: str | None = "adele") -> None:
        self.url = stack.url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(stack.bundle)
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def send(
        self, method: str, path: str, *, timeout: float = 10, **options: Any
    ) -> requests.Response:
        return self._session.request(
            method, self.url + path, timeout=timeout, allow_redirects=False, **options
        )

    def cancel(
        self,
        appointment_id: str = seed.EXAMPLE_APPOINTMENT,
        business_id: str = seed.LUNCH_DELIVERY,
        **options: Any,
    ) -> requests.Response:
        options.setdefault("json", {"cancellationMessage": seed.EXAMPLE_MESSAGE})
        return self.send("POST", f"{address(appointment_id, business_id)}/cancel", **options)

    def get(
        self,
        appointment_id: str = seed.EXAMPLE_APPOINTMENT,
        business_id: str = seed.LUNCH_DELIVERY,
        **options: Any,
    ) -> requests.Response:
        return self.send("GET", address(appointment_id, business_id), **options)

    def close(self) -> None:
        self._session.close()


type Connect = Callable[[str | None], Client]


@pytest.fixture
def connect(stack: Stack, graph: GraphSimulator) -> Iterator[Connect]:
    clients: list[Client] = []

    def open_client(token: str | None) -> Client:
        clients.append(Client(stack, token))
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


@pytest.fixture
def adele(connect: Connect) -> Client:
    return connect("adele")


def address(
    appointment_id: str, business_id: str = seed.LUNCH_DELIVERY, root: str = SOLUTIONS
) -> str:
    return f"{root}/{quote(business_id, safe='')}/appointments/{quote(appointment_id, safe='')}"


def appointment(appointment_id: str, business_id: str = seed.LUNCH_DELIVERY) -> seed.Appointment:
    return replace(seed.APPOINTMENTS[0], appointment_id=appointment_id, business_id=business_id)


def error_of(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def eventually(condition: Callable[[], bool]) -> bool:
    pause = threading.Event()
    return any(condition() or pause.wait(0.01) for _ in range(500))


# Cancelling


def test_the_documented_example_is_cancelled(adele: Client, graph: GraphSimulator) -> None:
    answer = adele.cancel()
    assert (answer.status_code, answer.content) == (204, b"")
    assert "Content-Type" not in answer.headers
    assert not graph.bookings.exists(seed.LUNCH_DELIVERY, seed.EXAMPLE_APPOINTMENT)
    assert [(mail.kind, mail.to, mail.message) for mail in graph.bookings.outbox] == [
        ("customer", "jordanm@contoso.com", seed.EXAMPLE_MESSAGE),
        ("staff", f"{seed.ADELE.username}; {seed.MEGAN.username}", seed.EXAMPLE_MESSAGE),
    ]
    [cancellation] = graph.bookings.cancellations
    assert (cancellation.business_id, cancellation.appointment_id) == (
        seed.LUNCH_DELIVERY,
        seed.EXAMPLE_APPOINTMENT,
    )
    assert (cancellation.message, cancellation.by) == (seed.EXAMPLE_MESSAGE, seed.ADELE.object_id)


def test_a_second_cancel_is_not_found_and_mails_nobody(
    adele: Client, graph: GraphSimulator
) -> None:
    adele.cancel()
    assert error_of(adele.cancel()) == (404, "ErrorItemNotFound")
    assert len(graph.bookings.outbox) == 2


def test_a_cancelled_appointment_is_gone_everywhere(adele: Client) -> None:
    adele.cancel()
    listed = adele.send("GET", f"{SOLUTIONS}/{quote(seed.LUNCH_DELIVERY)}/appointments").json()[
        "value"
    ]
    assert error_of(adele.get()) == (404, "ErrorItemNotFound")
    assert seed.EXAMPLE_APPOINTMENT not in [item["id"] for item in listed]


def test_64_racing_cancels_have_one_effect(connect: Connect, graph: GraphSimulator) -> None:
    clients = [connect("adele") for _ in range(64)]
    barrier = threading.Barrier(64, timeout=30)

    def race(client: Client) -> int:
        client.get("warm-up")
        barrier.wait()
        return client.cancel().status_code

    with ThreadPoolExecutor(64) as pool:
        statuses = list(pool.map(race, clients))
    assert sorted(statuses) == [204] + [404] * 63
    assert len(graph.bookings.cancellations) == 1
    assert len(graph.bookings.outbox) == 2


@pytest.mark.parametrize(
    "body", [b"{}", b'{"cancellationMessage": null}', b'{"cancellationMessage": ""}']
)
def test_the_message_may_be_missing(adele: Client, graph: GraphSimulator, body: bytes) -> None:
    assert (
        adele.cancel(json=None, data=body, headers={"Content-Type": "application/json"}).status_code
        == 204
    )
    assert [mail.message for mail in graph.bookings.outbox] == ["", ""]


@pytest.mark.parametrize(
    ("body", "headers", "refused"),
    [
        pytest.param(b"", {"Content-Type": "application/json"}, (400, "BadRequest"), id="empty"),
        pytest.param(b"{", {"Content-Type": "application/json"}, (400, "BadRequest"), id="half"),
        pytest.param(
            b"\xff", {"Content-Type": "application/json"}, (400, "BadRequest"), id="no UTF-8"
        ),
        pytest.param(
            b"[" * 100_000, {"Content-Type": "application/json"}, (400, "BadRequest"), id="deep"
        ),
        pytest.param(b"[]", {"Content-Type": "application/json"}, (400, "BadRequest"), id="list"),
        pytest.param(b"null", {"Content-Type": "application/json"}, (400, "BadRequest"), id="null"),
        pytest.param(
            b"{}", {"Content-Type": "text/plain"}, (400, "BadRequest"), id="no JSON by its type"
        ),
        pytest.param(b"{}", {}, (400, "BadRequest"), id="no type"),
        pytest.param(
            b'{"cancellationMessage": 7}',
            {"Content-Type": "application/json"},
            (400, "BadRequest"),
            id="message of a wrong type",
        ),
        pytest.param(
            b'{"comment": "x"}',
            {"Content-Type": "application/json"},
            (500, "UnknownError"),
            id="the body of another action",
        ),
    ],
)
def test_a_body_graph_cannot_use_changes_nothing(
    adele: Client,
    graph: GraphSimulator,
    body: bytes,
    headers: dict[str, str],
    refused: tuple[int, str],
) -> None:
    assert error_of(adele.cancel(json=None, data=body, headers=headers)) == refused
    assert graph.bookings.exists(seed.LUNCH_DELIVERY, seed.EXAMPLE_APPOINTMENT)
    assert graph.bookings.outbox == []


def test_a_body_too_large_is_refused_in_graphs_format(adele: Client) -> None:
    answer = adele.cancel(
        json=None, data=b" " * (4 * 1024 * 1024 + 1), headers={"Content-Type": "application/json"}
    )
    assert error_of(answer) == (413, "BadRequest")


# Addresses and ids

ODD_IDS = [
    "AAMkAD-Ko_rAAA=",
    "a+b",
    "a b",
    "100%",
    "%20",
    "%2520",
    "?x=1&y#z",
    "é中😀",
    "a;b,c",
    "..",
    "a@b=c",
    "~-._!$&'()*",
]


@pytest.mark.parametrize("appointment_id", ODD_IDS)
def test_an_id_is_decoded_exactly_once(
    stack: Stack, connect: Connect, graph: GraphSimulator, appointment_id: str
) -> None:
    graph.bookings.add(appointment(appointment_id))
    target = address(appointment_id).replace("/..", "/%2E%2E") + "/cancel"
    head = (
        f"POST {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
        "adele\r\nContent-Type: application/json\r\n"
    )
    answer = exchange_bytes(
        stack, f"{head}Connection: close\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    )
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert [mail.appointment_id for mail in graph.bookings.outbox] == [appointment_id] * 2
    [received] = graph.received
    assert received.raw_path == target
    assert received.segments == (
        "v1.0",
        "solutions",
        "bookingBusinesses",
        seed.LUNCH_DELIVERY,
        "appointments",
        appointment_id,
        "cancel",
    )
    assert received.path == "/" + "/".join(received.segments)


SLASHED = ["AAMkAD/Ko+rAAA=", "a/b", "/a"]


@pytest.mark.parametrize("encoded", ["/", "%2F", "%2f", "%252F", "%25252f"])
@pytest.mark.parametrize("appointment_id", SLASHED)
@pytest.mark.parametrize("step", ["get", "cancel"])
def test_a_path_is_split_at_every_slash_however_it_is_encoded(
    stack: Stack, graph: GraphSimulator, step: str, appointment_id: str, encoded: str
) -> None:
    graph.bookings.add(appointment(appointment_id))
    raw_id = quote(appointment_id, safe="/").replace("/", encoded)
    target = f"{address('x').removesuffix('x')}{raw_id}"
    line = f"GET {target}" if step == "get" else f"POST {target}/cancel"
    answer = exchange_bytes(
        stack,
        f"{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer adele\r\n"
        "Connection: close\r\n\r\n".encode(),
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"RequestBroker--ParseUri" in answer
    assert graph.bookings.exists(seed.LUNCH_DELIVERY, appointment_id)


@pytest.mark.parametrize(
    ("booked", "asked"),
    [
        ("AAMkAD/Ko+rAAA=", "AAMkAD-Ko_rAAA="),
        ("AAMkAD-Ko_rAAA=", "AAMkAD-Ko_rAAA="),
        ("AAMkAD-Ko_rAAA=", "AAMkAD-Ko+rAAA="),
    ],
)
def test_an_appointment_is_found_in_both_spellings_of_its_id(
    adele: Client, graph: GraphSimulator, booked: str, asked: str
) -> None:
    graph.bookings.add(appointment(booked))
    graph.faults.add(Fault(step="get", status=418, match={"appointment_id": booked}))
    assert adele.get(asked).status_code == 418
    assert adele.get(asked).json()["id"] == booked
    assert adele.cancel(asked).status_code == 204
    assert [one.appointment_id for one in graph.bookings.cancellations] == [booked]
    assert adele.get(asked).status_code == 404


def test_a_business_is_found_in_any_case_of_its_address(
    adele: Client, graph: GraphSimulator
) -> None:
    assert adele.cancel(business_id=seed.LUNCH_DELIVERY.upper()).status_code == 204
    assert graph.bookings.cancellations[0].business_id == seed.LUNCH_DELIVERY
    kelvin = seed.LUNCH_DELIVERY.replace("k", "\N{KELVIN SIGN}").replace("K", "\N{KELVIN SIGN}")
    assert adele.get(business_id=f"\N{KELVIN SIGN}{kelvin}").status_code == 404


def test_what_begins_within_the_minimum_lead_time_cannot_be_cancelled(
    adele: Client, graph: GraphSimulator
) -> None:
    hour = seed.Business("lead@contoso.com", "Lead", frozenset({seed.ADELE.object_id}), 3600.0)
    graph.bookings.add_business(hour)
    for name, minutes in (("soon", 50), ("later", 70)):
        begins = datetime.now(UTC) + timedelta(minutes=minutes)
        graph.bookings.add(replace(appointment(name, hour.business_id), start=begins.isoformat()))
    refused = adele.cancel("soon", hour.business_id)
    assert (error_of(refused), refused.json()["error"]["message"] != "") == ((400, ""), True)
    assert adele.cancel("later", hour.business_id).status_code == 204
    assert adele.get("soon", hour.business_id).status_code == 200


@pytest.mark.parametrize("business_id", ["ü+x@contoso.com", "50%@contoso.com"])
def test_a_business_id_is_decoded_exactly_once(
    adele: Client, graph: GraphSimulator, business_id: str
) -> None:
    graph.bookings.add_business(
        seed.Business(business_id, "Odd", frozenset({seed.ADELE.object_id}))
    )
    graph.bookings.add(appointment("x", business_id))
    assert adele.get("x", business_id).status_code == 200
    assert adele.cancel("x", business_id).status_code == 204


@pytest.mark.parametrize("raw_id", ["%ZZ", "100%", "%FF", "%00", "a%0Ab"])
def test_an_id_that_no_mailbox_could_hold_is_malformed(
    stack: Stack, graph: GraphSimulator, raw_id: str
) -> None:
    target = f"{SOLUTIONS}/{quote(seed.LUNCH_DELIVERY)}/appointments/{raw_id}"
    answer = exchange_bytes(
        stack,
        (
            f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer adele\r\nConnection: "
            "close\r\n\r\n"
        ).encode(),
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert (
        json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "ErrorInvalidIdMalformed"
    )


def exchange_bytes(stack: Stack, request: bytes) -> bytes:
    """Send bytes that no client library has put right, and return all that comes back."""
    port = urlsplit(stack.url).port
    context = ssl.create_default_context(cafile=str(stack.bundle))
    with (
        socket.create_connection(("127.0.0.1", port or 0), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        secured.sendall(request)
        answer = b""
        while chunk := secured.recv(65536):
            answer += chunk
        return answer


@pytest.mark.parametrize(
    "root", [SOLUTIONS, "/beta/solutions/bookingBusinesses", "/beta/bookingBusinesses"]
)
def test_every_address_of_bookings_answers(adele: Client, graph: GraphSimulator, root: str) -> None:
    business = quote(seed.LUNCH_DELIVERY, safe="")
    assert [item["id"] for item in adele.send("GET", root).json()["value"]] == [seed.LUNCH_DELIVERY]
    assert len(adele.send("GET", f"{root}/{business}/appointments").json()["value"]) == 3
    assert (
        adele.send("GET", address(seed.EXAMPLE_APPOINTMENT, root=root)).json()["id"]
        == seed.EXAMPLE_APPOINTMENT
    )
    assert (
        adele.send(
            "POST", address(seed.EXAMPLE_APPOINTMENT, root=root) + "/cancel", json={}
        ).status_code
        == 204
    )
    assert len(graph.bookings.cancellations) == 1


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1.0/bookingBusinesses", "Resource not found for the segment 'bookingBusinesses'."),
        (
            address("x", root="/v1.0/bookingBusinesses"),
            "Resource not found for the segment 'bookingBusinesses'.",
        ),
        ("/v1.0/me", "Resource not found for the segment 'me'."),
        ("/v1.0/solutions/virtualEvents", "Resource not found for the segment 'virtualEvents'."),
        (f"{SOLUTIONS}/a@b.c/appointments/AAMk/z", "Resource not found for the segment 'z'."),
        (f"{SOLUTIONS}/a@b.c/services", "Resource not found for the segment 'services'."),
        ("/v1.0", "Resource not found for the segment ''."),
        ("/v2.0/solutions/bookingBusinesses", "Invalid version: v2.0"),
        ("/", "Invalid version: "),
    ],
)
def test_an_unknown_address_is_refused_with_400(adele: Client, path: str, message: str) -> None:
    answer = adele.send("GET", path)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, message)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", address("x") + "/cancel", "POST"),
        ("DELETE", address("x"), "GET"),
        ("POST", SOLUTIONS, "GET"),
        ("PATCH", address("x"), "GET"),
    ],
)
def test_a_method_that_does_not_go_with_the_address_is_405(
    adele: Client, method: str, path: str, allowed: str
) -> None:
    answer = adele.send(method, path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)


# Reading


def test_an_appointment_shows_utc_times_under_the_names_the_service_uses(adele: Client) -> None:
    shown = adele.get().json()
    assert shown["startDateTime"]["dateTime"] == "2027-05-01T12:00:00.0000000Z"
    assert shown["endDateTime"]["timeZone"] == "UTC"
    assert shown["customers"][0]["emailAddress"] == "jordanm@contoso.com"
    assert shown["serviceName"] == "Catered bento"


@pytest.mark.parametrize(
    ("token", "query", "listed"),
    [
        ("adele", None, [seed.LUNCH_DELIVERY]),
        ("megan", None, [seed.LUNCH_DELIVERY, seed.REPAIRS]),
        ("megan", "REPAIR", [seed.REPAIRS]),
        ("megan", "nothing", []),
        ("lynne", None, []),
        ("app", None, [seed.LUNCH_DELIVERY, seed.REPAIRS]),
    ],
)
def test_a_list_shows_the_calendars_of_the_caller(
    connect: Connect, token: str, query: str | None, listed: list[str]
) -> None:
    answer = (
        connect(token).send("GET", SOLUTIONS, params={"query": query} if query else None).json()
    )
    assert [item["id"] for item in answer["value"]] == listed
    assert all(item.keys() == {"id", "displayName"} for item in answer["value"])


@pytest.mark.parametrize(
    ("window", "listed"),
    [
        pytest.param(
            {"start": "2027-05-01T00:00:00Z", "end": "2027-05-02T00:00:00Z"}, 1, id="a day"
        ),
        pytest.param(
            {"start": "2027-05-01T00:00:00Z", "end": "2027-06-01T00:00:00Z"}, 3, id="a month"
        ),
        pytest.param(
            {"start": "2027-05-01T14:30:00+02:00", "end": "2027-05-01T15:00:00+02:00"},
            0,
            id="after its end, elsewhere",
        ),
        pytest.param(
            {"start": "2027-05-01T14:29:00+02:00", "end": "2027-05-01T15:00:00+02:00"},
            1,
            id="before its end, elsewhere",
        ),
        pytest.param(
            {"start": "2027-05-01T12:00:00", "end": "2027-05-01T12:30:00"}, 1, id="no offset is UTC"
        ),
    ],
)
def test_a_calendar_view_shows_what_overlaps(
    adele: Client, window: dict[str, str], listed: int
) -> None:
    answer = adele.send(
        "GET", f"{SOLUTIONS}/{quote(seed.LUNCH_DELIVERY)}/calendarView", params=window
    )
    assert len(answer.json()["value"]) == listed


@pytest.mark.parametrize(
    "query",
    ["", "?start=2027-05-01T00:00:00Z", "?end=2027-05-01T00:00:00Z", "?start=now&end=later"],
)
def test_a_calendar_view_needs_start_and_end(adele: Client, query: str) -> None:
    answer = adele.send("GET", f"{SOLUTIONS}/{quote(seed.LUNCH_DELIVERY)}/calendarView{query}")
    assert error_of(answer) == (400, "ErrorInvalidRequest")


def test_an_unquoted_offset_in_a_calendar_view_is_understood(adele: Client) -> None:
    span = "start=2027-05-01T14:29:00+02:00&end=2027-05-01T15:00:00+02:00"
    path = f"{SOLUTIONS}/{quote(seed.LUNCH_DELIVERY)}/calendarView?{span}"
    assert len(adele.send("GET", path).json()["value"]) == 1


# Tokens and rights


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic YTpi", "adele"])
def test_without_a_bearer_token_the_answer_is_a_challenge(
    connect: Connect, graph: GraphSimulator, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = connect(None).cancel(headers=headers)
    assert error_of(answer) == (401, "InvalidAuthenticationToken")
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="", authorization_uri="')
    assert "error=" not in answer.headers["WWW-Authenticate"]
    assert graph.bookings.exists(seed.LUNCH_DELIVERY, seed.EXAMPLE_APPOINTMENT)


def test_a_refused_token_is_401_with_the_reason(connect: Connect) -> None:
    answer = connect("forged").get()
    assert error_of(answer) == (401, "InvalidAuthenticationToken")
    assert answer.json()["error"]["message"] == "Signature validation failed."


def test_a_stranger_learns_nothing_of_the_addresses(connect: Connect) -> None:
    assert connect("forged").send("GET", "/v1.0/nothing").status_code == 401


@pytest.mark.parametrize(
    ("claims", "may_cancel", "may_read"),
    [
        pytest.param(
            replace(ADELE, scopes=frozenset({"BookingsAppointment.ReadWrite.All"})),
            True,
            True,
            id="least",
        ),
        pytest.param(
            replace(ADELE, scopes=frozenset({"Bookings.ReadWrite.All", "User.Read"})),
            True,
            True,
            id="more",
        ),
        pytest.param(
            replace(ADELE, scopes=frozenset({"Bookings.Manage.All"})), True, True, id="most"
        ),
        pytest.param(
            replace(ADELE, scopes=frozenset({"Bookings.Read.All"})), False, True, id="read"
        ),
        pytest.param(replace(ADELE, scopes=frozenset({"User.Read"})), False, False, id="other"),
        pytest.param(
            replace(ADELE, roles=frozenset({"Bookings.Manage.All"}), scopes=frozenset()),
            False,
            False,
            id="a user's role is no scope",
        ),
        pytest.param(
            replace(APP, roles=frozenset({"Bookings.ReadWrite.All"})), True, False, id="app, cancel"
        ),
        pytest.param(
            replace(APP, roles=frozenset({"Bookings.Manage.All"})), True, False, id="app, most"
        ),
        pytest.param(APP, True, True, id="app, both"),
        pytest.param(
            replace(APP, roles=frozenset({"BookingsAppointment.ReadWrite.All"})),
            False,
            True,
            id="app, look",
        ),
        pytest.param(replace(APP, roles=frozenset()), False, False, id="app without a role"),
    ],
)
def test_the_scope_decides(
    stack: Stack,
    connect: Connect,
    graph: GraphSimulator,
    claims: GraphTokenClaims,
    *,
    may_cancel: bool,
    may_read: bool,
) -> None:
    stack.tokens.give("someone", claims)
    client = connect("someone")
    refusal = (401, "UnknownError") if claims.app_only else (403, "ErrorAccessDenied")
    lists = (SOLUTIONS, f"{SOLUTIONS}/{quote(seed.LUNCH_DELIVERY)}/appointments")
    may_list = bool(claims.roles) if claims.app_only else may_read
    for answer, allowed in (
        (client.get(), may_read),
        *((client.send("GET", path), may_list) for path in lists),
    ):
        assert answer.status_code == 200 if allowed else error_of(answer) == refusal
    answer = client.cancel()
    assert answer.status_code == 204 if may_cancel else error_of(answer) == refusal
    assert graph.bookings.exists(seed.LUNCH_DELIVERY, seed.EXAMPLE_APPOINTMENT) is not may_cancel


def test_an_app_cancels_anywhere_in_its_tenant_under_its_client_id(
    connect: Connect, graph: GraphSimulator
) -> None:
    assert connect("app").cancel("AAMkADrepair1=", seed.REPAIRS).status_code == 204
    assert [cancellation.by for cancellation in graph.bookings.cancellations] == [
        seed.API_CLIENT_ID
    ]


@pytest.mark.parametrize(
    ("token", "business_id", "appointment_id", "code"),
    [
        pytest.param(
            "adele", seed.REPAIRS, "AAMkADrepair1=", "ErrorFolderNotFound", id="not staff"
        ),
        pytest.param(
            "adele",
            seed.REPAIRS,
            "unknown",
            "ErrorFolderNotFound",
            id="not staff, unknown appointment",
        ),
        pytest.param(
            "adele", "nobody@contoso.com", "x", "ErrorNonExistentMailbox", id="unknown business"
        ),
        pytest.param(
            "app", "nobody@contoso.com", "x", "ErrorNonExistentMailbox", id="unknown business, app"
        ),
        pytest.param(
            "adele",
            seed.LUNCH_DELIVERY,
            "AAMkADunknown=",
            "ErrorItemNotFound",
            id="unknown appointment",
        ),
        pytest.param(
            "adele",
            seed.LUNCH_DELIVERY,
            "00000000-0000-0000-0000-000000000000",
            "ErrorItemNotFound",
            id="the other id",
        ),
        pytest.param(
            "elsewhere",
            seed.LUNCH_DELIVERY,
            seed.EXAMPLE_APPOINTMENT,
            "ErrorNonExistentMailbox",
            id="other tenant",
        ),
        pytest.param(
            "other-app",
            seed.LUNCH_DELIVERY,
            seed.EXAMPLE_APPOINTMENT,
            "ErrorNonExistentMailbox",
            id="app of another tenant",
        ),
    ],
)
def test_what_is_not_there_or_not_visible_is_404(
    stack: Stack,
    connect: Connect,
    graph: GraphSimulator,
    token: str,
    business_id: str,
    appointment_id: str,
    code: str,
) -> None:
    stack.tokens.give("elsewhere", replace(ADELE, tenant_id="0a5c9d9c-0d9a-44ae-9f3b-f4d39a2c2f1b"))
    stack.tokens.give("other-app", replace(APP, tenant_id="0a5c9d9c-0d9a-44ae-9f3b-f4d39a2c2f1b"))
    client = connect(token)
    assert error_of(client.get(appointment_id, business_id)) == (404, code)
    assert error_of(client.cancel(appointment_id, business_id)) == (404, code)
    assert graph.bookings.cancellations == []


def test_after_revocation_tokens_held_before_are_challenged(
    stack: Stack, connect: Connect, graph: GraphSimulator
) -> None:
    old, megan = connect("adele"), connect("megan")
    assert old.get().status_code == 200
    graph.revoke(seed.ADELE.object_id)
    stack.tokens.give("adele-again", ADELE)
    answer = old.cancel()
    assert error_of(answer) == (401, "InvalidAuthenticationToken")
    challenge = re.search(
        r'error="insufficient_claims", claims="([^"]+)"', answer.headers["WWW-Authenticate"]
    )
    assert challenge is not None
    claims = json.loads(base64.b64decode(challenge.group(1)))
    assert claims["access_token"]["nbf"]["essential"] is True
    assert connect("adele-again").get().status_code == 200
    assert megan.get().status_code == 200
    assert old.get().status_code == 401, "for good"


@pytest.mark.parametrize(("age_s", "status"), [(3600.5, 401), (-0.25, 200), (-3600.0, 200)])
def test_revocation_compares_the_time_of_issue(
    stack: Stack, connect: Connect, graph: GraphSimulator, age_s: float, status: int
) -> None:
    graph.revoke(
        seed.ADELE.object_id, claims='{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
    )
    stack.tokens.give("timed", replace(ADELE, issued_at=time.time() - age_s))
    answer = connect("timed").get()
    assert answer.status_code == status
    if status == 401:
        encoded = base64.b64encode(
            b'{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
        ).decode()
        assert f'claims="{encoded}"' in answer.headers["WWW-Authenticate"]


# The format of answers


def test_every_answer_carries_its_ids(adele: Client) -> None:
    for answer in (
        adele.get(headers={"client-request-id": "c-1"}),
        adele.get("unknown", headers={"client-request-id": "c-1"}),
    ):
        assert answer.headers["client-request-id"] == "c-1"
        assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["request-id"])
        assert "ServerInfo" in json.loads(answer.headers["x-ms-ags-diagnostic"])
        assert answer.headers["Date"]
    cancelled = adele.cancel(headers={"client-request-id": "c-2"})
    assert cancelled.headers["client-request-id"] == "c-2"


def test_an_error_is_in_graphs_format(adele: Client) -> None:
    answer = adele.get("unknown", headers={"client-request-id": "c-1"})
    error = answer.json()["error"]
    assert answer.json().keys() == {"error"}
    assert error.keys() == {"code", "message", "innerError"}
    assert error["innerError"]["request-id"] == answer.headers["request-id"]
    assert error["innerError"]["client-request-id"] == "c-1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", error["innerError"]["date"])


def test_without_a_client_request_id_graph_uses_its_own(adele: Client) -> None:
    answer = adele.get("unknown")
    assert (
        answer.headers["client-request-id"]
        == answer.headers["request-id"]
        == answer.json()["error"]["innerError"]["client-request-id"]
    )


# What was received


def test_requests_are_remembered_as_they_came(
    adele: Client, connect: Connect, graph: GraphSimulator
) -> None:
    adele.cancel(headers={"Client-Request-Id": "c-1"})
    connect("forged").get()
    first, second = graph.received
    assert (first.method, first.path) == (
        "POST",
        f"{SOLUTIONS}/{seed.LUNCH_DELIVERY}/appointments/{seed.EXAMPLE_APPOINTMENT}/cancel",
    )
    assert first.raw_path == (
        f"{SOLUTIONS}/Contosolunchdelivery%40M365B489948.onmicrosoft.com"
        "/appointments/AAMkADKoAAA%3D/cancel"
    )
    assert json.loads(first.body) == {"cancellationMessage": seed.EXAMPLE_MESSAGE}
    assert first.headers["authorization"] == "Bearer adele"
    assert first.headers["client-request-id"] == "c-1"
    assert (first.user, second.user) == (seed.ADELE.object_id, None)
    assert second.at >= first.at
    graph.clear_received()
    assert graph.received == []


# Faults, with the truth beside them

UNKNOWN_ERROR = {
    "error": {
        "code": "UnknownError",
        "message": "",
        "innerError": {"date": "2025-04-03T05:10:05", "request-id": "1eb4bd9a"},
    }
}
CUTS = [
    pytest.param({"drop": True}, id="drop"),
    pytest.param({"reset": True}, id="reset"),
    pytest.param({"raw": "garbage\r\n\r\n"}, id="raw"),
    pytest.param({"truncate": True}, id="truncate"),
    pytest.param({"status": 500, "body": UNKNOWN_ERROR, "truncate": True}, id="truncated error"),
]
WRONG = [
    pytest.param({"status": 500, "body": UNKNOWN_ERROR}, id="UnknownError"),
    pytest.param(
        {"status": 500, "body": {"error": {"code": "", "message": "An error has occurred."}}},
        id="empty code",
    ),
    pytest.param({"status": 429, "headers": {"Retry-After": "41"}}, id="throttled"),
    pytest.param({"status": 503}, id="unavailable"),
    pytest.param({"status": 504, "body": "<html>Gateway Timeout</html>"}, id="HTML"),
    pytest.param({"status": 302, "headers": {"Location": "/elsewhere"}}, id="redirect"),
    pytest.param({"status": 200, "body": {}}, id="200"),
    pytest.param({"status": 202}, id="202"),
    pytest.param({"status": 404, "body": ""}, id="bare 404"),
]
WHEN = pytest.mark.parametrize(("when", "stands"), [("before", True), ("after", False)])


def assert_truth(graph: GraphSimulator, *, stands: bool) -> None:
    assert graph.bookings.exists(seed.LUNCH_DELIVERY, seed.EXAMPLE_APPOINTMENT) is stands
    assert len(graph.bookings.outbox) == (0 if stands else 2)
    assert len(graph.bookings.cancellations) == (0 if stands else 1)


@WHEN
@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_cancel_gives_no_answer(
    adele: Client, graph: GraphSimulator, cut: dict[str, Any], when: str, *, stands: bool
) -> None:
    graph.faults.add(Fault.model_validate({"step": "cancel", "when": when, **cut}))
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        adele.cancel()
    assert_truth(graph, stands=stands)
    assert adele.get().status_code == (200 if stands else 404)


@WHEN
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_answer_hides_what_happened(
    adele: Client, graph: GraphSimulator, wrong: dict[str, Any], when: str, *, stands: bool
) -> None:
    graph.faults.add(Fault.model_validate({"step": "cancel", "when": when, **wrong}))
    answer = adele.cancel()
    assert answer.status_code == wrong["status"]
    assert wrong.get("headers", {}).items() <= answer.headers.items()
    assert_truth(graph, stands=stands)


@WHEN
def test_a_client_that_gives_up_does_not_stop_the_cancel(
    adele: Client, graph: GraphSimulator, when: str, *, stands: bool
) -> None:
    graph.faults.add(Fault.model_validate({"step": "cancel", "when": when, "delay_s": 0.5}))
    with pytest.raises(requests.ReadTimeout):
        adele.cancel(timeout=0.1)
    assert_truth(graph, stands=stands)
    assert eventually(lambda: len(graph.bookings.cancellations) == 1)


def test_a_fault_after_the_effect_does_not_invent_one(adele: Client, graph: GraphSimulator) -> None:
    graph.faults.add(Fault(step="cancel", when="after", status=500))
    assert adele.cancel("unknown").status_code == 500
    assert_truth(graph, stands=True)


def test_an_instructed_error_carries_graphs_ids_but_html_does_not(
    adele: Client, graph: GraphSimulator
) -> None:
    graph.faults.add(
        Fault(step="get", status=500, body=UNKNOWN_ERROR),
        Fault(step="get", status=502, body="<html></html>"),
    )
    assert "request-id" in adele.get().headers
    assert "request-id" not in adele.get().headers


def test_an_instructed_request_id_wins(adele: Client, graph: GraphSimulator) -> None:
    graph.faults.add(
        Fault(step="get", status=500, body=UNKNOWN_ERROR, headers={"request-id": "1eb4bd9a"})
    )
    assert adele.get().headers["request-id"] == "1eb4bd9a"


@pytest.mark.parametrize(
    ("step", "path"),
    [
        ("get", address(seed.EXAMPLE_APPOINTMENT)),
        ("list_businesses", SOLUTIONS),
        ("list_appointments", f"{SOLUTIONS}/{quote(seed.LUNCH_DELIVERY)}/appointments"),
        ("list_appointments", f"{SOLUTIONS}/{quote(seed.LUNCH_DELIVERY)}/calendarView"),
    ],
)
def test_each_step_has_faults_of_its_own(
    adele: Client, graph: GraphSimulator, step: str, path: str
) -> None:
    graph.faults.add(Fault(step="cancel", status=599), Fault(step=step, status=418))
    assert adele.send("GET", path).status_code == 418
    assert [fault.step for fault in graph.faults.planned()] == ["cancel"]


@pytest.mark.parametrize(
    "match",
    [
        {"business_id": seed.LUNCH_DELIVERY, "appointment_id": seed.TASTING},
        {"user": seed.ADELE.object_id},
        {"attempt": "2"},
    ],
    ids=lambda match: " and ".join(match),
)
def test_a_fault_strikes_what_it_matches(
    connect: Connect, graph: GraphSimulator, match: dict[str, str]
) -> None:
    graph.faults.add(Fault(step="get", status=418, match=match, times=None))
    odd = seed.TASTING.replace("/", "-").replace("+", "_")
    calls = [
        ("megan", seed.EXAMPLE_APPOINTMENT),
        ("megan", seed.EXAMPLE_APPOINTMENT),
        ("adele", "AAMkADKnAAA="),
        ("megan", odd),
    ]
    struck = [
        connect(token).get(appointment_id).status_code == 418 for token, appointment_id in calls
    ]
    name = next(iter(match))
    assert (
        struck
        == {
            "business_id": [False, False, False, True],
            "user": [False, False, True, False],
            "attempt": [False, True, False, False],
        }[name]
    )


def test_attempts_are_counted_by_step_and_appointment(adele: Client, graph: GraphSimulator) -> None:
    graph.faults.add(
        Fault(step="cancel", status=503, match={"attempt": "1"}, times=None),
        Fault(step="cancel", status=504, match={"attempt": "3"}),
    )
    statuses = [
        adele.cancel().status_code,
        adele.get().status_code,
        adele.cancel("AAMkADKnAAA=").status_code,
        adele.cancel().status_code,
    ]
    assert [*statuses, adele.cancel().status_code] == [503, 200, 503, 204, 504]


# Load


def test_latency_is_added_to_every_call(adele: Client, graph: GraphSimulator) -> None:
    graph.latency_s = 0.15
    assert adele.get().elapsed.total_seconds() >= 0.15
    assert adele.send("GET", SOLUTIONS).elapsed.total_seconds() >= 0.15


def test_the_peak_counts_each_mailbox_for_itself(connect: Connect, graph: GraphSimulator) -> None:
    graph.latency_s = 0.5
    calls = [("adele", seed.LUNCH_DELIVERY)] * 6 + [("megan", seed.REPAIRS)] * 2
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda call: connect(call[0]).get("x", call[1]), calls))
    assert (graph.peak_concurrency(seed.LUNCH_DELIVERY), graph.peak_concurrency(seed.REPAIRS)) == (
        6,
        2,
    )
    assert graph.peak_concurrency("nobody@contoso.com") == 0


def test_calls_one_after_the_other_never_count_as_two(
    adele: Client, connect: Connect, graph: GraphSimulator
) -> None:
    other = connect("megan")
    for _ in range(50):
        adele.get()
        other.get()
    assert graph.peak_concurrency(seed.LUNCH_DELIVERY) == 1


def test_lists_do_not_count_for_a_mailbox(adele: Client, graph: GraphSimulator) -> None:
    adele.send("GET", f"{SOLUTIONS}/{quote(seed.LUNCH_DELIVERY)}/appointments")
    assert graph.peak_concurrency(seed.LUNCH_DELIVERY) == 0


def test_beyond_an_enforced_concurrency_calls_are_throttled(
    connect: Connect, graph: GraphSimulator
) -> None:
    graph.latency_s = 0.5
    graph.enforce_mailbox_concurrency = 4
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda client: client.get(), [connect("adele") for _ in range(6)]))
    throttled = [answer for answer in answers if answer.status_code == 429]
    assert len(throttled) == 2
    assert throttled[0].json() == {
        "error": {
            "code": "ApplicationThrottled",
            "message": "Application is over its MailboxConcurrency limit.",
        }
    }
    graph.latency_s = 0
    assert connect("adele").get().status_code == 200


def test_a_throttled_cancel_has_no_effect(connect: Connect, graph: GraphSimulator) -> None:
    graph.enforce_mailbox_concurrency = 0
    answer = connect("adele").cancel()
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "0.249")
    assert_truth(graph, stands=True)


def test_state_may_change_from_any_thread_while_it_serves(
    connect: Connect, graph: GraphSimulator
) -> None:
    def book_and_cancel(worker: int) -> list[int]:
        client, statuses = connect("adele"), []
        for number in range(15):
            appointment_id = f"{worker}-{number}="
            graph.bookings.add(appointment(appointment_id))
            statuses.append(client.cancel(appointment_id).status_code)
            assert not graph.bookings.exists(seed.LUNCH_DELIVERY, appointment_id)
            assert graph.received
        return statuses

    with ThreadPoolExecutor(16) as pool:
        statuses = [status for some in pool.map(book_and_cancel, range(16)) for status in some]
    assert statuses == [204] * 240
    assert len(graph.bookings.cancellations) == 240
    assert len(graph.bookings.outbox) == 480
    assert len(graph.received) == 240


# Calendars without HTTP


def test_reset_returns_to_the_seed(adele: Client, graph: GraphSimulator) -> None:
    graph.bookings.add_business(seed.Business("x@contoso.com", "X", frozenset()))
    graph.faults.add(Fault(step="get", status=500))
    adele.cancel()
    graph.latency_s = 9
    graph.reset()
    assert [business.business_id for business in graph.bookings.businesses()] == [
        seed.LUNCH_DELIVERY,
        seed.REPAIRS,
    ]
    assert (graph.received, graph.bookings.outbox, graph.faults.planned(), graph.latency_s) == (
        [],
        [],
        [],
        0,
    )
    assert adele.get().status_code == 200


def test_a_call_from_before_a_reset_changes_and_counts_nothing_after_it(
    adele: Client, connect: Connect, graph: GraphSimulator
) -> None:
    graph.faults.add(Fault(step="cancel", delay_s=0.5))
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(adele.cancel)
        assert eventually(lambda: graph.faults.planned() == [])
        graph.reset()
        connect("adele").get()
        assert graph.peak_concurrency(seed.LUNCH_DELIVERY) == 1
        assert late.result().status_code == 404
    assert_truth(graph, stands=True)


def test_an_appointment_needs_a_business() -> None:
    with pytest.raises(
        ValueError,
        match=re.escape("There is no business 'nobody@contoso.com' to book an appointment with."),
    ):
        Bookings().add(appointment("x", "nobody@contoso.com"))


def test_changing_a_business_keeps_its_appointments() -> None:
    bookings = Bookings()
    bookings.add_business(replace(seed.BUSINESSES[0], staff=frozenset()))
    assert bookings.exists(seed.LUNCH_DELIVERY, seed.EXAMPLE_APPOINTMENT)
    bookings.cancel(seed.LUNCH_DELIVERY, seed.EXAMPLE_APPOINTMENT, message="", by="x")
    assert [mail.to for mail in bookings.outbox] == ["jordanm@contoso.com", seed.LUNCH_DELIVERY]


def test_snapshots_do_not_change_afterwards() -> None:
    bookings = Bookings()
    before = bookings.outbox
    bookings.cancel(seed.LUNCH_DELIVERY, seed.EXAMPLE_APPOINTMENT, message="", by="x")
    assert (before, len(bookings.outbox)) == ([], 2)


# Local control


def test_local_control_shows_what_happened_but_no_token(adele: Client, connect: Connect) -> None:
    adele.cancel()
    anyone = connect(None)
    assert [mail["kind"] for mail in anyone.send("GET", "/_local/outbox").json()] == [
        "customer",
        "staff",
    ]
    assert [item["by"] for item in anyone.send("GET", "/_local/cancellations").json()] == [
        seed.ADELE.object_id
    ]
    received = anyone.send("GET", "/_local/received")
    assert [item["method"] for item in received.json()] == ["POST"]
    assert received.json()[0]["headers"]["authorization"] == "Bearer ..."
    assert "Bearer adele" not in received.text


def test_local_control_places_and_clears_faults(adele: Client, connect: Connect) -> None:
    anyone = connect(None)
    placed = anyone.send(
        "POST",
        "/_local/faults",
        json=[
            {"step": "get", "status": 500, "body": UNKNOWN_ERROR},
            {"step": "*", "status": 503, "times": None},
        ],
    )
    assert (placed.status_code, [fault["step"] for fault in placed.json()]) == (201, ["get", "*"])
    assert [adele.get().status_code for _ in range(3)] == [500, 503, 503]
    assert [fault["status"] for fault in anyone.send("GET", "/_local/faults").json()] == [503]
    assert anyone.send("DELETE", "/_local/faults").status_code == 204
    assert adele.get().status_code == 200
    assert (
        anyone.send("POST", "/_local/faults", json={"step": "get", "drop": True}).status_code == 201
    )


def test_local_control_books_and_resets(
    adele: Client, connect: Connect, graph: GraphSimulator
) -> None:
    anyone = connect(None)
    booked = anyone.send(
        "POST",
        "/_local/appointments",
        json={
            "business_id": seed.LUNCH_DELIVERY,
            "appointment_id": "new-1=",
            "start": "2027-05-05T12:00:00+02:00",
            "end": "2027-05-05T13:00:00+02:00",
        },
    )
    assert (booked.status_code, booked.json()["start"]) == (201, "2027-05-05T10:00:00.0000000Z")
    assert adele.get("new-1=").status_code == 200
    assert anyone.send("POST", "/_local/reset").status_code == 204
    assert adele.get("new-1=").status_code == 404
    assert len(graph.received) == 1


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("faults", b"{", "The body is not JSON."),
        ("faults", b"", "The body is not JSON."),
        (
            "faults",
            b'{"step": "cancle"}',
            (
                "There is no step 'cancle'; the steps are cancel, get, list_businesses, "
                "list_appointments, *."
            ),
        ),
        (
            "faults",
            b'{"step": "get", "match": {"id": "x"}}',
            (
                "Nothing can be matched by 'id'; the attributes are business_id, appointment_id, "
                "user, attempt."
            ),
        ),
        (
            "faults",
            b'{"step": "get", "delay_s": -1}',
            "0.delay_s: Input should be greater than or equal to 0.",
        ),
        (
            "faults",
            b'{"step": "get", "drop": true, "raw": "x"}',
            "0: Value error, a fault has one answer; drop and raw exclude each other.",
        ),
        (
            "appointments",
            b"[]",
            "Input should be a valid dictionary or instance of NewAppointment.",
        ),
        ("appointments", b'{"business_id": "x@y.z"}', "appointment_id: Field required."),
        (
            "appointments",
            b'{"business_id": "x@y.z", "appointment_id": "1"}',
            "There is no business 'x@y.z' to book an appointment with.",
        ),
        (
            "appointments",
            b'{"business_id": "x@y.z", "appointment_id": "1", "start": "2027-01-01T00:00:00"}',
            "start: Input should have timezone info.",
        ),
    ],
)
def test_bad_input_to_local_control_is_one_clear_sentence(
    connect: Connect, graph: GraphSimulator, path: str, body: bytes, sentence: str
) -> None:
    answer = connect(None).send("POST", f"/_local/{path}", data=body)
    assert (answer.status_code, answer.json()) == (400, {"error": sentence})
    assert graph.faults.planned() == []


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/_local/nothing", 404), ("PUT", "/_local/faults", 405)]
)
def test_an_unknown_local_address_is_json_too(
    connect: Connect, graph: GraphSimulator, method: str, path: str, status: int
) -> None:
    answer = connect(None).send(method, path)
    assert (answer.status_code, answer.json().keys()) == (status, {"error"})
    assert graph.received == []


CONSOLE = "http://localhost:7070"


@pytest.fixture
def with_console(graph: GraphSimulator) -> Iterator[None]:
    graph.page_origins = frozenset({CONSOLE})
    yield
    graph.page_origins = frozenset()


@pytest.mark.usefixtures("with_console")
def test_the_console_may_use_local_control(connect: Connect) -> None:
    preflight = connect(None).send(
        "OPTIONS",
        "/_local/faults",
        headers={"Origin": CONSOLE, "Access-Control-Request-Method": "POST"},
    )
    answer = connect(None).send("GET", "/_local/outbox", headers={"Origin": CONSOLE})
    assert (preflight.status_code, answer.status_code) == (204, 200)
    assert (
        preflight.headers["Access-Control-Allow-Origin"]
        == answer.headers["Access-Control-Allow-Origin"]
        == CONSOLE
    )
    assert preflight.headers["Access-Control-Allow-Headers"] == "Content-Type"


@pytest.mark.usefixtures("with_console")
@pytest.mark.parametrize(
    "origin",
    [
        "https://example.com",
        "http://localhost:7070.example.com",
        "http://localhost:5173",
        "https://localhost:7070",
        "http://127.0.0.1:7070",
        "null",
    ],
)
def test_pages_from_elsewhere_may_not(connect: Connect, graph: GraphSimulator, origin: str) -> None:
    answer = connect(None).send(
        "POST", "/_local/faults", json={"step": "get", "drop": True}, headers={"Origin": origin}
    )
    assert answer.status_code == 403
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert graph.faults.planned() == []
