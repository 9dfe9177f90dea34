"""What a caller asks for is what Graph receives.

The documentation's request, and any id, through two JSON parsers, one URL and real sockets.
"""

import json
from collections.abc import Iterator
from urllib.parse import unquote
from uuid import UUID

import pytest
import requests
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from infra.local import seed
from infra.local.graph.wire import Received
from infra.local.host.process import HostProcess
from infra.local.stack import LocalStack
from shared.ids import BusinessId, url_safe
from tests.client import Facade
from tests.conftest import REPOSITORY

DOCUMENTED_MESSAGE = "Your appointment has been successfully cancelled. Please call us again."
GERMAN_MESSAGE = "Ihr Termin wurde abgesagt. Über Ihren Anruf würden wir uns freuen."


def only_call(facade: Facade) -> Received:
    (received,) = facade.stack.graph.received
    return received


def test_the_documented_request_arrives_as_the_documentation_shows_it(fresh_facade: Facade) -> None:
    answer = fresh_facade.post(
        {
            "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
            "appointmentId": "AAMkADKoAAA=",
            "cancellationMessage": DOCUMENTED_MESSAGE,
        }
    )
    received = only_call(fresh_facade)

    assert (received.method, received.path) == (
        "POST",
        "/v1.0/solutions/bookingBusinesses/Contosolunchdelivery@M365B489948.onmicrosoft.com/appointments/AAMkADKoAAA=/cancel",
    )
    assert received.raw_path == (
        "/v1.0/solutions/bookingBusinesses/Contosolunchdelivery%40M365B489948.onmicrosoft.com/"
        "appointments/AAMkADKoAAA%3D/cancel"
    )
    assert json.loads(received.body) == {"cancellationMessage": DOCUMENTED_MESSAGE}
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
    "percent": "100%.",
    "space": "a b",
    "not ASCII": "å您好",
    "not composed": "e\u0301",
    "dots inside": "a..b/.c/d.",
    "three dots and a letter": "...a",
    "question mark": "a?$expand=b",
    "hash": "a#b",
    "semicolon": "a;b=c",
    "backslash": "a\\b",
    "quotes": "a'b\"c",
    "brackets": "a(b)[c]{d}<e>f",
    "colon and at": "https://a:b@c",
    "emoji": "\U0001f5d3\ufe0f",
    "tilde": "~a-b_c.d",
    "comma and the rest": "a,b&c|d^e`f$g!h*i",
    "the seeded one": seed.TASTING,
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


def is_id(text: str) -> bool:
    """Tell whether a text is an id as it stands.

    tests/unit/serving/test_request.py has the rules.
    """
    try:
        return BUSINESS_ID.validate_python(text) == text
    except ValidationError:
        return False


BUSINESS_ID: TypeAdapter[str] = TypeAdapter(BusinessId)
ids = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("/%+=.?#;\\ @&"),
    min_size=1,
    max_size=40,
).filter(is_id)


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
        ("a", " \u200b\n"),
        ("a\0", "b"),
        ("a", "b\nc"),
        ("a", "\ud800"),
        ("a", "../../other@x.com/appointments/X"),
        ("a\\..\\b", "b"),
        ("a%40b.c", "b"),
        ("a", '"b"'),
        ("mailto:a@b.c", "b"),
        ("Name <a@b.c>", "b"),
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


@pytest.mark.parametrize("around", [" ", "\r\n", "\u00a0", "\ufeff\u200b", "\u202e\t"], ids=ascii)
def test_what_was_pasted_around_an_id_is_neither_asked_nor_answered(
    facade: Facade, around: str
) -> None:
    chosen = facade.book()
    business_id = f"{around}{seed.LUNCH_DELIVERY}{around}"
    outcome = facade.cancel(f"{chosen}{around}", business_id=business_id).json()

    assert (outcome["outcome"], outcome["businessId"], outcome["appointmentId"]) == (
        "cancelled",
        seed.LUNCH_DELIVERY,
        chosen,
    )
    assert only_call(facade).segments[3:6] == (seed.LUNCH_DELIVERY, "appointments", chosen)
    again = facade.cancel(chosen).json()
    assert (again["outcome"], again["replayed"]) == ("cancelled", True)


@pytest.mark.parametrize(
    ("message", "arrives"),
    [("a\x0bb\0c", "a\nbc"), ("a\ud800b", "ab"), ("\0" * 9 + "x" * 2000, "x" * 2000)],
    ids=["controls", "half a surrogate pair", "long"],
)
def test_what_no_mail_can_show_does_not_stand_in_the_way(
    facade: Facade, message: str, arrives: str
) -> None:
    assert facade.cancel(facade.book(), message=message).json()["outcome"] == "cancelled"
    assert json.loads(only_call(facade).body) == {"cancellationMessage": arrives}


@pytest.mark.parametrize("key", ["", '""', '" "'], ids=repr)
def test_an_empty_key_is_no_key(facade: Facade, key: str) -> None:
    answers = [facade.cancel(facade.book(), headers={"Idempotency-Key": key}) for _ in range(2)]
    assert [answer.json()["outcome"] for answer in answers] == ["cancelled", "cancelled"]


@pytest.mark.parametrize(
    "left_out",
    [{}, *({"cancellationMessage": none} for none in (None, "", " \u200b\0"))],
    ids=ascii,
)
def test_without_a_message_the_default_is_sent(
    facade: Facade, left_out: dict[str, str | None]
) -> None:
    body: dict[str, object] = {"businessId": seed.LUNCH_DELIVERY, "appointmentId": facade.book()}
    body |= left_out
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
        "DEFAULT_CANCELLATION_MESSAGE": GERMAN_MESSAGE,
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
    assert received.path == (
        f"/beta/bookingBusinesses/{seed.LUNCH_DELIVERY}/appointments/"
        f"{seed.EXAMPLE_APPOINTMENT}/cancel"
    )
    assert json.loads(received.body) == {"cancellationMessage": GERMAN_MESSAGE}
