"""What a caller asks for is what Graph receives: the documentation's request, and any id, through
two JSON parsers, one URL and real sockets.
"""

import json
from collections.abc import Iterator
from urllib.parse import unquote
from uuid import UUID

import pytest
import requests
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from infra.local import seed
from infra.local.graph.wire import Received
from infra.local.host.process import HostProcess
from infra.local.stack import LocalStack
from shared.ids import url_safe
from tests.client import Facade
from tests.conftest import REPOSITORY


def only_call(facade: Facade) -> Received:
    (received,) = facade.stack.graph.received
    return received


def test_the_documented_request_arrives_as_the_documentation_shows_it(fresh_facade: Facade) -> None:
    answer = fresh_facade.post(
        {
            "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
            "appointmentId": "AAMkADKoAAA=",
            "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again.",
        }
    )
    received = only_call(fresh_facade)

    assert (received.method, received.path) == (
        "POST",
        "/v1.0/solutions/bookingBusinesses/Contosolunchdelivery@M365B489948.onmicrosoft.com/appointments/AAMkADKoAAA=/cancel",
    )
    assert received.raw_path == (
        "/v1.0/solutions/bookingBusinesses/Contosolunchdelivery%40M365B489948.onmicrosoft.com/appointments/AAMkADKoAAA%3D/cancel"
    )
    assert json.loads(received.body) == {
        "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
    }
    assert {
        name: received.headers.get(name) for name in ("content-type", "accept", "content-length")
    } == {
        "content-type": "application/json",
        "accept": "application/json",
        "content-length": str(len(received.body)),
    }
    assert UUID(received.headers["client-request-id"]) != UUID(answer.json()["requestId"])
    assert "transfer-encoding" not in received.headers
    assert answer.json()["outcome"] == "cancelled"


def test_the_token_that_arrives_is_graphs_own_and_acts_for_the_user(facade: Facade) -> None:
    token = facade.stack.entra.user_token(seed.MEGAN)
    facade.cancel(facade.book(), token=token)
    received = only_call(facade)

    assert received.user == seed.MEGAN.object_id
    assert received.headers["authorization"].startswith("Bearer ")
    assert token not in received.headers["authorization"]


def test_nothing_of_the_callers_other_headers_reaches_graph(facade: Facade) -> None:
    facade.cancel(
        facade.book(),
        headers={
            "Cookie": "a=MARKER",
            "x-ms-client-principal": "MARKER",
            "x-correlation-id": "MARKER",
        },
    )
    assert "MARKER" not in repr(only_call(facade).headers)


UNUSUAL = {
    "slash": "AAMk/AD/=",
    "plus": "AAMk+AD+=",
    "equals": "a==b=",
    "percent": "100%",
    "encoded slash": "a%2Fb",
    "encoded twice": "a%252Fb",
    "encoded dots": "%2e%2e",
    "space": "a b",
    "spaces around": " a ",
    "not ASCII": "å您好",
    "not composed": "e\u0301",
    "dots inside": "a/../b",
    "dots and slashes": "../../v1.0/users",
    "three dots and a letter": "...a",
    "question mark": "a?$expand=b",
    "hash": "a#b",
    "semicolon": "a;b=c",
    "backslash": "a\\..\\b",
    "quotes": "a'b\"c",
    "brackets": "a(b)[c]{d}<e>",
    "colon and at": "https://a:b@c",
    "emoji": "\U0001f5d3\ufe0f",
    "invisible": "\u200ba\u2028b\ufeff",
    "tilde": "~a-b_c.d",
    "comma and the rest": "a,b&c|d^e`f$g!h*i",
    "the seeded one": "AAMkAD/Ko+rAAA=",
}


@pytest.mark.parametrize("appointment_id", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_an_unusual_appointment_is_the_one_that_is_cancelled(
    facade: Facade, appointment_id: str
) -> None:
    neighbour = facade.book()
    chosen = facade.book(f"{appointment_id}{neighbour}")
    outcome = facade.cancel(chosen).json()

    assert (outcome["outcome"], outcome["appointmentId"]) == ("cancelled", chosen)
    sent = url_safe(chosen) if "/" in chosen else chosen  # the path as it is, Graph refused
    address = ("bookingBusinesses", seed.LUNCH_DELIVERY, "appointments", sent, "cancel")
    assert facade.stack.graph.received[-1].segments[2:] == address
    assert len(facade.stack.graph.received) == 1 + ("/" in chosen)
    assert [
        cancellation.appointment_id for cancellation in facade.stack.graph.bookings.cancellations
    ] == [chosen]
    assert facade.stack.graph.bookings.exists(seed.LUNCH_DELIVERY, neighbour)


@pytest.mark.parametrize("business_id", [one for one in UNUSUAL.values() if "/" not in one])
def test_an_unusual_business_is_the_one_that_is_asked(facade: Facade, business_id: str) -> None:
    facade.stack.graph.bookings.add_business(
        seed.Business(business_id, "Unusual", frozenset({seed.ADELE.object_id}))
    )
    chosen = facade.book(business_id=business_id)
    outcome = facade.cancel(chosen, business_id=business_id).json()

    assert (outcome["outcome"], outcome["businessId"]) == ("cancelled", business_id)
    assert only_call(facade).segments[2:] == (
        "bookingBusinesses",
        business_id,
        "appointments",
        chosen,
        "cancel",
    )


ids = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("/%+=.?#;\\ @&"),
    min_size=1,
    max_size=40,
).filter(lambda text: any(character != "." and not character.isspace() for character in text))


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(business_id=ids, appointment_id=ids)
def test_every_id_that_is_accepted_arrives_exactly(
    facade: Facade, business_id: str, appointment_id: str
) -> None:
    assume("/" not in business_id + appointment_id)  # Graph would split the path there
    facade.stack.graph.clear_received()
    outcome = facade.cancel(appointment_id, business_id=business_id).json()
    received = only_call(facade)

    assert (outcome["outcome"], outcome["businessId"], outcome["appointmentId"]) == (
        "not_found",
        business_id,
        appointment_id,
    )
    raw = received.raw_path.removeprefix("/v1.0/solutions/").split("/")
    assert [unquote(segment, errors="strict") for segment in raw] == [
        "bookingBusinesses",
        business_id,
        "appointments",
        appointment_id,
        "cancel",
    ]


messages = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\r\n\t"),
    min_size=1,
    max_size=80,
).filter(lambda text: bool(text.strip()))


@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(message=messages)
def test_every_message_that_is_accepted_arrives_exactly(facade: Facade, message: str) -> None:
    facade.stack.graph.clear_received()
    assert facade.cancel(facade.book(), message=message).status_code == 200
    assert json.loads(only_call(facade).body) == {"cancellationMessage": message}


@pytest.mark.parametrize(
    ("business_id", "appointment_id"),
    [
        (".", "a"),
        ("a", ".."),
        ("", "a"),
        ("a", " "),
        ("a\0", "b"),
        ("a", "b\n"),
        ("a", "\ud800"),
        ("a" * 321, "b"),
        ("a", "b" * 1025),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_an_id_that_is_refused_reaches_nobody(
    facade: Facade, business_id: str, appointment_id: str
) -> None:
    assert facade.cancel(appointment_id, business_id=business_id).status_code == 400
    assert not facade.stack.graph.received
    assert not facade.stack.entra.exchanges()


@pytest.mark.parametrize("left_out", [None, "null"], ids=["left out", "null"])
def test_without_a_message_the_default_is_sent(facade: Facade, left_out: str | None) -> None:
    body: dict[str, object] = {"businessId": seed.LUNCH_DELIVERY, "appointmentId": facade.book()}
    if left_out:
        body["cancellationMessage"] = None
    assert facade.post(body).status_code == 200
    assert json.loads(only_call(facade).body) == {
        "cancellationMessage": "Your appointment has been cancelled."
    }


@pytest.fixture
def preview(stack: LocalStack) -> Iterator[Facade]:
    """A service that is set to the original preview address and a message of its own."""
    environment = {
        "GRAPH_API_VERSION": "beta",
        "GRAPH_BOOKINGS_ROOT": "bookingBusinesses",
        "DEFAULT_CANCELLATION_MESSAGE": "Ihr Termin wurde abgesagt. Über Ihren Anruf würden wir uns freuen.",
    }
    with (
        HostProcess(REPOSITORY, {**stack.environment, **environment}) as host,
        requests.Session() as session,
    ):
        session.trust_env = False
        yield Facade(host.url, session, stack)


def test_the_preview_address_and_another_default_message_can_be_set(preview: Facade) -> None:
    outcome = preview.cancel(message=None).json()
    received = only_call(preview)

    assert outcome["outcome"] == "cancelled"
    assert (
        received.path
        == f"/beta/bookingBusinesses/{seed.LUNCH_DELIVERY}/appointments/{seed.EXAMPLE_APPOINTMENT}/cancel"
    )
    assert json.loads(received.body) == {
        "cancellationMessage": "Ihr Termin wurde abgesagt. Über Ihren Anruf würden wir uns freuen."
    }
