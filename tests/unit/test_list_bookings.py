"""The lists: what may be asked, and what Graph's entries become, however hostile they are."""

import json
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from list_bookings.contract import (
    AppointmentsAnswer,
    BusinessesAnswer,
    answer_appointments,
    answer_businesses,
    read_appointment,
    read_business,
)
from list_bookings.pages import Listed, _next_query, follow
from list_bookings.request import (
    AppointmentsRequest,
    BusinessesRequest,
    parse_appointments_request,
)
from shared.errors import (
    AccessDenied,
    BusinessNotFound,
    FacadeError,
    InteractionRequired,
    RequestInvalid,
    Throttled,
    TokenRejected,
    UpstreamBroken,
    UpstreamUnavailable,
)
from shared.serving.request_faults import read_request
from shared.transport.deadline import Deadline

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
    assert read_request(BusinessesRequest, {"code": "a-function-key"}).query is None


@pytest.mark.parametrize("query", ["x" * 101, "a\x00b"])
def test_a_search_text_has_limits(query: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        read_request(BusinessesRequest, {"query": query})
    assert [fault.field for fault in caught.value.faults] == ["query"]
    assert "pattern" not in caught.value.reason


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


def listed[E](entries: Sequence[Any], entry: Callable[[Any], E]) -> Listed[E]:
    return follow(lambda query: {"value": list(entries)}, {}, entry, Deadline(9, lambda: 0.0))


def appointments_of(*entries: Any) -> dict[str, Any]:
    reply = answer_appointments(listed(entries, read_appointment), ask(), "rid")
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
                "serviceName": "Tasting",
                "customerName": "Jordan Miller",
                "attendees": 1,
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
            "2027-05-01 12:00 UTC, Tasting, A and 2 more (group)",
            id="a group",
        ),
        pytest.param(
            {"customers": [], "filledAttendeesCount": 3},
            "2027-05-01 12:00 UTC, Tasting, group of 3",
            id="a group that comes without customers",
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


ABSENT: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("members", "fields"),
    [
        pytest.param({"customers": []}, ABSENT, id="no customers"),
        pytest.param({"customers": None}, ABSENT, id="null customers"),
        pytest.param({"customers": [], "filledAttendeesCount": 0}, ABSENT, id="nobody yet"),
        pytest.param(
            {"customers": [], "filledAttendeesCount": 4}, {"attendees": 4}, id="only a number"
        ),
        pytest.param(
            {"customers": [{"name": "A"}] * 2, "filledAttendeesCount": 4},
            {"customerName": "A", "attendees": 4},
            id="fewer customers than the number",
        ),
        pytest.param(
            {"customers": [{"name": " "}, {}, 1, {"name": "B"}]},
            {"customerName": "B", "attendees": 4},
            id="some without a name",
        ),
        pytest.param({"customers": [{"emailAddress": "x@y"}]}, {"attendees": 1}, id="no name"),
        pytest.param(
            {"customers": [], "customerName": "Alex"},
            {"customerName": "Alex", "attendees": 1},
            id="the older member",
        ),
        pytest.param({"customers": [], "filledAttendeesCount": True}, ABSENT, id="a truth value"),
        pytest.param({"customers": [], "filledAttendeesCount": -1}, ABSENT, id="less than none"),
        pytest.param({"customers": [], "filledAttendeesCount": 2**80}, ABSENT, id="no number"),
        pytest.param(
            {"customers": [{"name": "x" * 200}]},
            {"customerName": "x" * 200, "attendees": 1},
            id="a long name in full",
        ),
    ],
)
def test_the_fields_say_what_graph_says_of_customers_and_nothing_else(
    members: dict[str, Any], fields: dict[str, Any]
) -> None:
    (appointment,) = appointments_of(entry(**members))["appointments"]
    told = {
        name: appointment[name] for name in ("customerName", "attendees") if name in appointment
    }
    assert told == fields


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("6F9619FF-8B86-D011-B42D-00CF4FC964FF", "6f9619ff-8b86-d011-b42d-00cf4fc964ff"),
        ("00000000-0000-0000-0000-000000000000", None),
        ("", None),
        (None, None),
        (7, None),
        ("6f9619ff8b86d011b42d00cf4fc964ff", None),
        ("6f9619ff-8b86-d011-b42d-00cf4fc964ff\n", None),
    ],
)
def test_the_id_of_a_customers_own_booking_is_told_unless_it_stands_for_none(
    value: Any, told: str | None
) -> None:
    (appointment,) = appointments_of(entry(selfServiceAppointmentId=value))["appointments"]
    assert appointment.get("selfServiceAppointmentId") == told


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
    entries = (
        {"id": "z@x", "displayName": "beta"},
        {"id": "a@x"},
        {"id": "b@x", "displayName": "Alpha"},
    )
    reply = answer_businesses(listed(entries, read_business), "rid")
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
    "filledAttendeesCount",
    "selfServiceAppointmentId",
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
    assert answer_businesses(listed(entries, read_business), "rid").status == 200


# From page to page.


class Graph:
    """Gives one page after another, of which each takes a time and has a link to the next."""

    def __init__(self, *pages: Any, page_s: float = 0.1) -> None:
        self.pages = list(pages)
        self.page_s = page_s
        self.time = 0.0
        self.asked: list[Mapping[str, str]] = []

    def read(self, query: Mapping[str, str]) -> Mapping[str, Any]:
        self.asked.append(query)
        self.time += self.page_s
        page = self.pages[min(len(self.asked), len(self.pages)) - 1]
        if isinstance(page, Exception):
            raise page
        found: Mapping[str, Any] = page
        return found

    def list(self, deadline_s: float = 9.5) -> Listed[Any]:
        deadline = Deadline(self.time + deadline_s, lambda: self.time)
        return follow(self.read, {"start": "now"}, read_appointment, deadline)


def page(*ids: str, following: Any = "https://graph.example/x?$skiptoken=1") -> dict[str, Any]:
    found: dict[str, Any] = {"value": [entry(id=one) for one in ids]}
    return found | {"@odata.nextLink": following} if following is not None else found


LAST = page("z", following=None)


def test_pages_are_followed_to_the_last() -> None:
    graph = Graph(page("a"), page("b"), LAST)
    found = graph.list()
    assert ([one.appointment_id for one in found.entries], found.complete) == (
        ["a", "b", "z"],
        True,
    )
    assert graph.asked == [{"start": "now"}, {"$skiptoken": "1"}, {"$skiptoken": "1"}]


def test_slow_pages_end_in_what_is_there() -> None:
    graph = Graph(page("a"), page_s=1.1)
    found = graph.list()
    assert (len(found.entries), found.complete) == (9, False)
    assert graph.time < 10


@pytest.mark.parametrize(
    "obstacle",
    [
        UpstreamUnavailable("not reached"),
        UpstreamBroken("no answer"),
        Throttled("too many", retry_after_s=60),
        BusinessNotFound("gone by now"),
        {"value": None},
        {},
    ],
    ids=["unreachable", "broken", "throttled", "gone", "no list", "an empty page"],
)
def test_what_keeps_a_later_page_from_coming_ends_the_list_and_of_the_first_is_said(
    obstacle: Any,
) -> None:
    found = Graph(page("a"), obstacle).list()
    assert ([one.appointment_id for one in found.entries], found.complete) == (["a"], False)
    with pytest.raises((UpstreamUnavailable, UpstreamBroken, Throttled, BusinessNotFound)):
        Graph(obstacle).list()


@pytest.mark.parametrize(("link", "complete"), [(None, True), ("", False), (7, False), ({}, False)])
def test_a_link_that_is_null_is_none_and_of_another_nobody_knows_where_it_leads(
    link: Any, complete: bool
) -> None:
    found = Graph(LAST | {"@odata.nextLink": link}).list()
    assert (len(found.entries), found.complete) == (1, complete)


@pytest.mark.parametrize(
    "obstacle",
    [TokenRejected("revoked"), InteractionRequired("more"), AccessDenied("no")],
    ids=repr,
)
def test_what_is_about_the_caller_is_said_on_every_page(obstacle: FacadeError) -> None:
    with pytest.raises(type(obstacle)):
        Graph(page("a"), obstacle).list()


def test_a_page_is_let_go_before_the_next_one_comes() -> None:
    class Heavy(dict[str, Any]):
        pass

    alive: list[weakref.ref[Heavy]] = []

    def read(query: Mapping[str, str]) -> Mapping[str, Any]:
        assert [one for one in alive if one() is not None] == []
        heavy = Heavy(page("a"))
        alive.append(weakref.ref(heavy))
        return heavy

    found = follow(read, {}, read_appointment, Deadline(9, lambda: 0.0))
    assert (len(found.entries), len(alive), found.complete) == (10, 10, False)


def test_a_list_is_cut_at_a_thousand_entries() -> None:
    for count, complete in ((1000, True), (1001, False), (40_000, False)):
        graph = Graph(page(*map(str, range(count)), following=None))
        found = graph.list()
        assert (len(found.entries), found.complete) == (min(count, 1000), complete)
    graph = Graph(page(*map(str, range(300))))
    assert (len(graph.list().entries), len(graph.asked)) == (1000, 4)


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
