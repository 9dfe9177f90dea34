"""The lists: what may be asked, and what Graph's entries become, however hostile they are."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from list_bookings.contract import (
    AppointmentsAnswer,
    BusinessesAnswer,
    Listed,
    answer_appointments,
    answer_businesses,
)
from list_bookings.operation import _next_query
from list_bookings.request import (
    AppointmentsRequest,
    parse_appointments_request,
    parse_businesses_request,
)
from shared.errors import RequestInvalid

NOW = datetime(2027, 5, 1, 12, 0, 0, 500_000, tzinfo=UTC).timestamp()
BUSINESS = {"businessId": "shop@contoso.com"}


def ask(route: dict[str, str] | None = None, **query: str) -> AppointmentsRequest:
    return parse_appointments_request(BUSINESS if route is None else route, query, NOW)


def faults_of(route: dict[str, str] | None = None, **query: str) -> list[tuple[str, str]]:
    with pytest.raises(RequestInvalid) as caught:
        ask(route, **query)
    return [(fault.field, fault.message) for fault in caught.value.faults]


# What may be asked.


def test_by_default_the_span_is_the_next_thirty_days() -> None:
    request = ask()
    assert (request.start, request.end) == (
        datetime(2027, 5, 1, 12, tzinfo=UTC),
        datetime(2027, 5, 31, 12, tzinfo=UTC),
    )


def test_the_default_end_follows_the_start() -> None:
    assert ask(start="2028-01-01T00:00:00Z").end == datetime(2028, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        pytest.param("2027-05-01T12:00:00Z", datetime(2027, 5, 1, 12, tzinfo=UTC), id="UTC"),
        pytest.param(
            "2027-05-01t12:00:00z",
            datetime(2027, 5, 1, 12, tzinfo=UTC),
            id="lower case (RFC 3339 5.6)",
        ),
        pytest.param(
            "2027-05-01T12:00Z", datetime(2027, 5, 1, 12, tzinfo=UTC), id="without seconds"
        ),
        pytest.param(
            "2027-05-01T12:00:00+02:00", datetime(2027, 5, 1, 10, tzinfo=UTC), id="offset"
        ),
        pytest.param(
            "2027-05-01T12:00:00-05:30",
            datetime(2027, 5, 1, 17, 30, tzinfo=UTC),
            id="offset to the west",
        ),
        pytest.param(
            "2027-05-01T12:00:00 02:00",
            datetime(2027, 5, 1, 10, tzinfo=UTC),
            id="a plus that a query made a space",
        ),
        pytest.param(
            "2027-05-01T12:00:00.1234567Z",
            datetime(2027, 5, 1, 12, tzinfo=UTC),
            id="utcNow() of Power Automate",
        ),
    ],
)
def test_a_moment_is_read_in_every_form_that_callers_write(text: str, moment: datetime) -> None:
    assert ask(start=text).start == moment


@pytest.mark.parametrize("name", ["start", "end"])
@pytest.mark.parametrize(
    "text",
    [
        "x",
        "2027-05-01",
        "2027-05-01T12:00:00",
        "2027-05-01 12:00:00Z",
        "1",
        "2027-13-01T00:00:00Z",
        "2027-05-01T25:00:00Z",
        "\uff12027-05-01T12:00:00Z",
    ],
)
def test_what_is_no_moment_is_named(name: str, text: str) -> None:
    ((field, _message),) = faults_of(None, **{name: text})
    assert field == name


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
def test_a_moment_beyond_the_calendar_is_a_fault_and_no_bug(text: str) -> None:
    assert [field for field, _ in faults_of(start=text)] == ["start"]


def test_a_span_has_to_run_forward_and_not_too_far() -> None:
    assert faults_of(start="2027-05-01T00:00:00Z", end="2027-05-01T00:00:00Z") == [
        ("end", "must be later than start")
    ]
    assert faults_of(start="2027-05-01T00:00:00Z", end="2028-06-01T00:00:00Z") == [
        ("end", "must not be more than 366 days after start")
    ]
    assert ask(start="2027-05-01T00:00:00Z", end="2028-05-01T00:00:00Z").end.year == 2028


@pytest.mark.parametrize("business_id", ["", " ", ".", "..", "a\nb", "x" * 321])
def test_an_id_that_is_none_is_named(business_id: str) -> None:
    assert [field for field, _ in faults_of({"businessId": business_id})] == ["businessId"]


def test_parameters_that_nobody_knows_are_ignored() -> None:
    assert ask(code="a-function-key").business_id == "shop@contoso.com"
    assert parse_businesses_request({"code": "a-function-key"}).query is None


@pytest.mark.parametrize("query", ["x" * 101, "a\x00b"])
def test_a_search_text_has_limits(query: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        parse_businesses_request({"query": query})
    assert [fault.field for fault in caught.value.faults] == ["query"]


@given(start=st.text(max_size=40), end=st.text(max_size=40), business_id=st.text(max_size=40))
def test_whatever_is_asked_is_read_or_refused(start: str, end: str, business_id: str) -> None:
    try:
        request = ask({"businessId": business_id}, start=start, end=end)
    except RequestInvalid:
        return
    assert request.start < request.end


# What Graph's entries become.


def entry(**members: Any) -> dict[str, Any]:
    utc = {"timeZone": "UTC"}
    return {
        "id": "AAMk=",
        "serviceName": "Tasting",
        "customers": [{"name": "Jordan Miller", "emailAddress": "jordanm@contoso.com"}],
        "startDateTime": {"dateTime": "2027-05-01T12:00:00.0000000Z", **utc},
        "endDateTime": {"dateTime": "2027-05-01T12:30:00.0000000Z", **utc},
        **members,
    }


def appointments_of(*entries: Any, complete: bool = True) -> dict[str, Any]:
    reply = answer_appointments(Listed(entries, complete), ask(), "rid")
    body: dict[str, Any] = json.loads(reply.body)
    assert AppointmentsAnswer.model_validate_json(reply.body)
    assert reply.status == 200
    assert b"null" not in reply.body
    return body


def test_an_appointment_becomes_an_id_and_one_line() -> None:
    assert appointments_of(entry()) == {
        "businessId": "shop@contoso.com",
        "start": "2027-05-01T12:00:00Z",
        "end": "2027-05-31T12:00:00Z",
        "appointments": [
            {
                "appointmentId": "AAMk=",
                "title": "2027-05-01 12:00 UTC, Tasting, Jordan Miller",
                "start": "2027-05-01T12:00:00Z",
                "end": "2027-05-01T12:30:00Z",
            }
        ],
        "complete": True,
        "requestId": "rid",
    }


@pytest.mark.parametrize(
    ("members", "title"),
    [
        pytest.param({"customers": []}, "2027-05-01 12:00 UTC, Tasting", id="nobody"),
        pytest.param(
            {"customers": None, "customerName": "Alex"},
            "2027-05-01 12:00 UTC, Tasting, Alex",
            id="the older member",
        ),
        pytest.param(
            {"customers": [{"name": "A"}, {"name": "B"}, {"name": "C"}]},
            "2027-05-01 12:00 UTC, Tasting, A and 2 more",
            id="a group",
        ),
        pytest.param({"serviceName": None}, "2027-05-01 12:00 UTC, Jordan Miller", id="no service"),
        pytest.param(
            {"serviceName": "Line\nbreak\u202e"},
            "2027-05-01 12:00 UTC, Line break, Jordan Miller",
            id="a service of two lines",
        ),
        pytest.param(
            {"serviceName": "x" * 500},
            f"2027-05-01 12:00 UTC, {'x' * 79}…, Jordan Miller",
            id="a long name",
        ),
        pytest.param({"startDateTime": None}, "Tasting, Jordan Miller", id="no time"),
        pytest.param(
            {"startDateTime": {"dateTime": "2027-05-01T12:00:00", "timeZone": "Pacific"}},
            "Tasting, Jordan Miller",
            id="another zone",
        ),
        pytest.param(
            {"startDateTime": None, "serviceName": 1, "customers": 2}, "AAMk=", id="nothing usable"
        ),
    ],
)
def test_the_line_is_made_of_what_there_is(members: dict[str, Any], title: str) -> None:
    (appointment,) = appointments_of(entry(**members))["appointments"]
    assert appointment["title"] == title


def test_times_are_found_under_both_names_that_microsoft_uses() -> None:
    moment = {"dateTime": "2027-05-01T14:00:00.0000000+00:00", "timeZone": "UTC"}
    (appointment,) = appointments_of(entry(startDateTime=None) | {"start": moment})["appointments"]
    assert "start" not in appointment
    without = {name: value for name, value in entry().items() if name != "startDateTime"}
    (appointment,) = appointments_of(without | {"start": moment})["appointments"]
    assert appointment["start"] == "2027-05-01T14:00:00Z"


def test_the_earliest_comes_first_and_what_has_no_time_last() -> None:
    late = entry(id="late", startDateTime={"dateTime": "2027-05-09T12:00:00Z", "timeZone": "UTC"})
    listed = appointments_of(entry(id="never", startDateTime=None), late, entry(id="early"))
    assert [appointment["appointmentId"] for appointment in listed["appointments"]] == [
        "early",
        "late",
        "never",
    ]


@pytest.mark.parametrize(
    "bad",
    [None, 1, "x", [], {}, {"id": None}, {"id": ""}, {"id": "a\x00"}, {"id": "x" * 1025}],
    ids=repr,
)
def test_an_entry_that_could_not_be_cancelled_is_left_out_and_the_list_is_not_complete(
    bad: Any,
) -> None:
    listed = appointments_of(bad, entry())
    assert [appointment["appointmentId"] for appointment in listed["appointments"]] == ["AAMk="]
    assert listed["complete"] is False


def test_businesses_come_by_name_and_one_without_a_name_shows_its_id() -> None:
    reply = answer_businesses(
        Listed(
            (
                {"id": "z@x", "displayName": "beta"},
                {"id": "a@x"},
                {"id": "b@x", "displayName": "Alpha"},
            ),
            True,
        ),
        "rid",
    )
    assert BusinessesAnswer.model_validate_json(reply.body)
    assert json.loads(reply.body) == {
        "businesses": [
            {"businessId": "a@x", "displayName": "a@x"},
            {"businessId": "b@x", "displayName": "Alpha"},
            {"businessId": "z@x", "displayName": "beta"},
        ],
        "complete": True,
        "requestId": "rid",
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "name", "dateTime", "timeZone"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
MEMBERS = (
    "id",
    "displayName",
    "serviceName",
    "customers",
    "customerName",
    "startDateTime",
    "endDateTime",
    "start",
    "end",
)


@given(
    entries=st.lists(st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=9) | JSON, max_size=4)
)
def test_whatever_graph_lists_becomes_an_answer(entries: list[Any]) -> None:
    appointments_of(*entries)
    assert answer_businesses(Listed(entries, complete=True), "rid").status == 200


# From page to page.


def test_of_a_link_to_the_next_page_only_the_query_is_used() -> None:
    assert _next_query("https://evil.example/v1.0/steal?start=a&%24skiptoken=b%2Fc") == {
        "start": "a",
        "$skiptoken": "b/c",
    }


@pytest.mark.parametrize(
    "link",
    [
        None,
        1,
        {},
        "",
        "https://graph.microsoft.com/v1.0/x",
        "x?" + "a" * 9000,
        "http://[broken?a=b",
        "https://graph.microsoft.com/v1.0/x?$skiptoken=\ud800",
        "x?\udfff=b",
    ],
    ids=ascii,
)
def test_a_link_that_leads_nowhere_is_none(link: Any) -> None:
    assert _next_query(link) is None
