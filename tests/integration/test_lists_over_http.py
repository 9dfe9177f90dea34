"""The lists over HTTP, through the official runtime and the simulators.

Who sees what, pages, faults, and what never shows.
"""

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import requests

from infra.local import seed
from infra.local.faults import Fault
from infra.local.stack import LocalStack
from list_bookings.contract import AppointmentsAnswer, BusinessesAnswer
from shared.serving.problems import Problem
from tests.client import Facade

MAY = {"start": "2027-05-01T00:00:00Z", "end": "2027-06-01T00:00:00Z"}
PROSE = "Prose of an upstream."


def get(
    facade: Facade,
    path: str,
    token: str | None = None,
    headers: dict[str, str] | None = None,
    **query: str,
) -> requests.Response:
    token = facade.stack.entra.user_token() if token is None else token
    authorization = {"Authorization": f"Bearer {token}"} if token else {}
    return facade.session.get(
        f"{facade.url}/api/v1/{path}",
        params=query,
        headers={**authorization, **(headers or {})},
        timeout=30,
        allow_redirects=False,
    )


def businesses(facade: Facade, **options: Any) -> requests.Response:
    return get(facade, "businesses", **options)


def appointments(
    facade: Facade, business_id: str = seed.LUNCH_DELIVERY, **options: Any
) -> requests.Response:
    return get(
        facade, f"businesses/{quote(business_id, safe='')}/appointments", **{**MAY, **options}
    )


def ids(answer: requests.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [
        entry.appointment_id
        for entry in AppointmentsAnswer.model_validate_json(answer.content).appointments
    ]


def problem_of(answer: requests.Response) -> Problem:
    problem = Problem.model_validate_json(answer.content)
    assert problem.status == answer.status_code
    assert answer.headers["Cache-Control"] == "no-store"
    assert PROSE not in answer.text
    return problem


def test_each_of_the_staff_sees_their_own_businesses(facade: Facade) -> None:
    def seen_by(user: seed.User) -> list[str]:
        answer = BusinessesAnswer.model_validate_json(
            businesses(facade, token=facade.stack.entra.user_token(user)).content
        )
        assert answer.complete
        return [business.business_id for business in answer.businesses]

    assert seen_by(seed.ADELE) == [seed.LUNCH_DELIVERY]
    assert seen_by(seed.MEGAN) == [seed.LUNCH_DELIVERY, seed.REPAIRS]
    assert seen_by(seed.LYNNE) == []


def test_a_search_text_reaches_graph_as_it_was_written(facade: Facade) -> None:
    answer = businesses(facade, token=facade.stack.entra.user_token(seed.MEGAN), query="repairs")
    assert [business["businessId"] for business in answer.json()["businesses"]] == [seed.REPAIRS]
    odd = "a&b=c?d #%41+é"
    businesses(facade, query=odd)
    assert facade.stack.graph.received[-1].raw_path.endswith(f"?query={quote(odd, safe='')}")


def test_the_appointments_of_a_span_come_with_one_line_each_and_nothing_else_of_the_customer(
    facade: Facade,
) -> None:
    answer = appointments(facade, start="2027-05-01T14:00:00+02:00", end="2027-05-03T00:00:00Z")
    assert answer.json()["appointments"] == [
        {
            "appointmentId": seed.EXAMPLE_APPOINTMENT,
            "title": "2027-05-01 12:00 UTC, Catered bento, Jordan Miller",
            "serviceName": "Catered bento",
            "customerName": "Jordan Miller",
            "attendees": 1,
            "start": "2027-05-01T12:00:00Z",
            "end": "2027-05-01T12:30:00Z",
        },
        {
            "appointmentId": "AAMkADKnAAA=",
            "title": "2027-05-02 12:00 UTC, Catered bento, Alex Wilber",
            "serviceName": "Catered bento",
            "customerName": "Alex Wilber",
            "attendees": 1,
            "selfServiceAppointmentId": "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
            "start": "2027-05-02T12:00:00Z",
            "end": "2027-05-02T12:30:00Z",
        },
    ]
    assert answer.json()["complete"] is True
    assert "jordanm@" not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_group_is_named_as_such_and_its_cancel_tells_every_customer(facade: Facade) -> None:
    times = "2027-05-20T12:00:00.0000000Z", "2027-05-20T13:00:00.0000000Z"
    others = ("Grady Archie", "gradya@contoso.com"), ("Diego Siciliani", "diegos@contoso.com")
    facade.stack.graph.bookings.add(
        seed.Appointment(
            *("AAMkgroup=", seed.LUNCH_DELIVERY, "Class", "Isaiah Langer", "isaiahl@contoso.com"),
            *times,
            others=others,
        )
    )
    listed = appointments(facade, start="2027-05-20T00:00:00Z", end="2027-05-21T00:00:00Z")
    (group,) = listed.json()["appointments"]
    assert group["title"] == "2027-05-20 12:00 UTC, Class, Isaiah Langer and 2 more (group)"
    assert (group["customerName"], group["attendees"]) == ("Isaiah Langer", 3)
    assert facade.cancel(group["appointmentId"]).json()["outcome"] == "cancelled"
    outbox = facade.stack.graph.bookings.outbox
    assert [mail.kind for mail in outbox] == ["customer"] * 3 + ["staff"]


def test_a_list_that_comes_without_customers_names_none(facade: Facade) -> None:
    facade.stack.graph.lists_omit_customers = True
    listed = appointments(facade).json()["appointments"]
    assert [entry.get("customerName") for entry in listed] == [None] * 3
    assert [entry["attendees"] for entry in listed] == [1, 1, 3]
    assert listed[0]["title"] == "2027-05-01 12:00 UTC, Catered bento"
    assert listed[2]["title"] == "2027-05-03 12:00 UTC, Tasting, group of 3"


def test_ten_slow_pages_end_in_what_is_there(facade: Facade) -> None:
    for number in range(12):
        times = f"2027-05-05T{number:02}:00:00.0000000Z", f"2027-05-05T{number:02}:30:00.0000000Z"
        facade.stack.graph.bookings.add(
            seed.Appointment(f"slow{number}=", seed.LUNCH_DELIVERY, "S", "C", "c@x", *times)
        )
    facade.stack.graph.page_size = 1
    facade.stack.graph.latency_s = 1.2
    began = time.monotonic()
    answer = appointments(facade)
    assert time.monotonic() - began < 10
    assert 5 <= len(ids(answer)) < 10
    assert answer.json()["complete"] is False


@pytest.mark.parametrize(("count", "complete"), [(499, True), (500, False), (501, False)])
def test_where_graph_lists_its_most_businesses_there_may_be_more(
    facade: Facade, count: int, complete: bool
) -> None:
    for number in range(count):
        facade.stack.graph.bookings.add_business(
            seed.Business(f"b{number}@x", "B", frozenset({seed.LYNNE.object_id}))
        )
    answer = businesses(facade, token=facade.stack.entra.user_token(seed.LYNNE)).json()
    assert (len(answer["businesses"]), answer["complete"]) == (min(count, 500), complete)


def test_a_link_with_half_a_character_ends_the_list(facade: Facade) -> None:
    page = rb'{"value": [{"id": "A"}], "@odata.nextLink": "https://x.example/?$skiptoken=\ud83d"}'
    facade.stack.graph.faults.add(
        Fault(step="list_appointments", status=200, body=json.loads(page), times=None)
    )
    answer = appointments(facade)
    assert (ids(answer), answer.json()["complete"]) == (["A"], False)
    assert len(facade.stack.graph.received) == 1


def test_what_is_listed_can_be_cancelled_and_is_listed_no_more(facade: Facade) -> None:
    assert seed.TASTING in ids(appointments(facade))
    assert facade.cancel(seed.TASTING).json()["outcome"] == "cancelled"
    assert seed.TASTING not in ids(appointments(facade))


@pytest.mark.parametrize("size", [1, 2])
def test_pages_are_followed_to_the_end(facade: Facade, size: int) -> None:
    whole = ids(appointments(facade))
    facade.stack.graph.page_size = size
    answer = appointments(facade)
    assert (ids(answer), answer.json()["complete"]) == (whole, True)


def test_a_list_without_end_is_cut_and_says_so(facade: Facade) -> None:
    page = {
        "value": [{"id": f"A{number}"} for number in range(5)],
        "@odata.nextLink": "https://evil.example/more?$skiptoken=1",
    }
    facade.stack.graph.faults.add(
        Fault(step="list_appointments", status=200, body=page, times=None)
    )
    answer = appointments(facade)
    assert (len(ids(answer)), answer.json()["complete"]) == (50, False)
    assert len(facade.stack.graph.received) == 10


def test_another_mailbox_is_not_told_from_one_that_does_not_exist(facade: Facade) -> None:
    for business_id in (seed.REPAIRS, "nobody@contoso.com", "ä b"):
        problem = problem_of(appointments(facade, business_id))
        assert (problem.status, problem.code, problem.retryable) == (
            404,
            "business_not_found",
            False,
        )


def token(make: Callable[[LocalStack], str]) -> Callable[[Facade], dict[str, Any]]:
    return lambda facade: {"token": make(facade.stack)}


CALLERS: dict[str, tuple[Callable[[Facade], dict[str, Any]], int, str]] = {
    "no token": (token(lambda _: ""), 401, "missing_token"),
    "a token that is none": (token(lambda _: "a.b.c"), 401, "invalid_token"),
    "expired": (token(lambda stack: stack.entra.user_token(lifetime_s=-1)), 401, "invalid_token"),
    "without our scope": (
        token(lambda stack: stack.entra.user_token(scopes="User.Read")),
        403,
        "insufficient_scope",
    ),
    "an app's token": (token(lambda stack: stack.entra.app_token()), 403, "user_token_required"),
}


@pytest.mark.parametrize("ask", [businesses, appointments], ids=["businesses", "appointments"])
@pytest.mark.parametrize(("options", "status", "code"), CALLERS.values(), ids=CALLERS.keys())
def test_a_stranger_gets_no_list_and_costs_no_call(
    facade: Facade,
    ask: Callable[..., requests.Response],
    options: Callable[[Facade], dict[str, Any]],
    status: int,
    code: str,
) -> None:
    answer = ask(facade, **options(facade))
    problem = problem_of(answer)
    assert (problem.status, problem.code) == (status, code)
    assert ("WWW-Authenticate" in answer.headers) == (code != "user_token_required")
    assert facade.stack.graph.received == []
    assert facade.stack.entra.exchanges() == 0


UNAVAILABLE = "upstream_unavailable"
PASSING: list[tuple[int, Any]] = [
    (404, {}),
    (404, "<html>"),
    (404, {"error": {"code": "MailboxNotEnabledForRESTAPI"}}),
    (404, {"error": {"code": "ErrorInvalidId"}}),
    (408, None),
    (408, "<html>"),
    (409, {"error": {"code": "ErrorIrresolvableConflict"}}),
    (403, {"error": {"code": "ErrorExceededMessageLimit"}}),
    (400, {"error": {"code": "ResourceNotFound"}}),
]


@pytest.mark.parametrize("ask", [businesses, appointments], ids=["businesses", "appointments"])
@pytest.mark.parametrize(
    ("faults", "status", "code", "retryable"),
    [
        (
            (Fault(step="*", status=429, headers={"Retry-After": "120"}, times=None),),
            429,
            "throttled",
            True,
        ),
        (
            (Fault(step="*", status=503, body=f"<html>{PROSE}", times=None),),
            503,
            "upstream_unavailable",
            True,
        ),
        (
            (Fault(step="*", status=200, body=f"<html>{PROSE}", times=None),),
            502,
            "upstream_error",
            False,
        ),
        ((Fault(step="*", status=200, body={"value": PROSE}),), 502, "upstream_error", False),
        (
            (
                Fault(
                    step="*",
                    status=403,
                    body={"error": {"code": "ErrorAccessDenied", "message": PROSE}},
                ),
            ),
            403,
            "access_denied",
            False,
        ),
        (
            (
                Fault(
                    step="*",
                    status=401,
                    body={"error": {"code": "InvalidAuthenticationToken", "message": PROSE}},
                    times=None,
                ),
            ),
            401,
            "invalid_token",
            False,
        ),
        (
            (
                Fault(
                    step="*",
                    status=401,
                    body={"error": {"code": "x", "message": PROSE}},
                    times=None,
                ),
            ),
            403,
            "access_denied",
            False,
        ),
        ((Fault(step="*", drop=True, times=None),), 503, "upstream_unavailable", True),
        *(
            ((Fault(step="*", status=status, body=body, times=None),), 503, UNAVAILABLE, True)
            for status, body in PASSING
        ),
    ],
    ids=[
        *("throttled", "503", "a page", "no list", "denied", "revoked", "refused", "dropped"),
        *(f"{status} {body}" for status, body in PASSING),
    ],
)
def test_each_failure_is_a_problem_of_the_contract(
    facade: Facade,
    ask: Callable[..., requests.Response],
    faults: tuple[Fault, ...],
    status: int,
    code: str,
    retryable: bool,
) -> None:
    facade.stack.graph.faults.add(*faults)
    problem = problem_of(ask(facade))
    assert (problem.status, problem.code, problem.retryable) == (status, code, retryable)
    assert problem.upstream is not None
    assert problem.upstream.service == "graph"


def test_only_a_list_that_was_asked_for_by_an_id_calls_the_id_malformed(facade: Facade) -> None:
    malformed = {"error": {"code": "ErrorInvalidIdMalformed", "message": PROSE}}
    facade.stack.graph.faults.add(Fault(step="*", status=400, body=malformed, times=None))
    answer = businesses(facade)
    assert (answer.status_code, answer.json()["code"]) == (502, "upstream_error")
    answer = appointments(facade)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "businessId")


def test_a_passing_failure_is_not_seen_by_the_caller(facade: Facade) -> None:
    facade.stack.graph.faults.add(
        Fault(step="list_appointments", status=500), Fault(step="list_appointments", reset=True)
    )
    assert seed.EXAMPLE_APPOINTMENT in ids(appointments(facade))


def test_what_entra_refuses_is_told_as_it_is_for_a_cancel(facade: Facade) -> None:
    facade.stack.entra.require_mfa(seed.ADELE)
    answer = businesses(facade)
    assert problem_of(answer).code == "interaction_required"
    assert "insufficient_claims" in answer.headers["WWW-Authenticate"]
    assert problem_of(answer).claims


def test_faults_of_the_request_are_named_before_entra_is_asked(facade: Facade) -> None:
    problem = problem_of(appointments(facade, start="yesterday", end="2027-05-01"))
    assert problem.errors is not None
    assert [fault.field for fault in problem.errors] == ["start", "end"]
    assert facade.stack.entra.exchanges() == 0


def test_accept_and_correlation_are_what_they_are_everywhere(facade: Facade) -> None:
    answer = businesses(
        facade, token="", headers={"Accept": "application/problem+json", "x-correlation-id": "c-1"}
    )
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["x-correlation-id"] == "c-1"
