"""What is answered over HTTP where Graph answers as it is seen to in the world.

Codes, forms, conflicts, rules, ids with a slash, and what a repeat is told.

All schedules: tests/protocol. Here the whole way is walked, once for each rule.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import requests

from infra.local import seed
from infra.local.faults import Fault
from infra.local.host.process import HostProcess
from infra.local.stack import LocalStack
from tests.client import Facade

REPOSITORY = Path(__file__).resolve().parents[2]


def coded(code: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": "Prose."}}


def fault(step: str, status: int, body: Any = None, **others: Any) -> Fault:
    return Fault(step=step, status=status, body=body, **others)


GATEWAY = fault("cancel", 503, coded("serviceNotAvailable"))
LANDED = fault("cancel", 503, coded("serviceNotAvailable"), when="after")
PATIENT = {"Retry-After": "60"}


def told(answer: requests.Response) -> tuple[int, str]:
    body = answer.json()
    return answer.status_code, body.get("code") or body["outcome"]


def heard(answer: requests.Response) -> tuple[str, bool, str | None]:
    body = answer.json()
    return body["outcome"], body["confirmed"], body.get("missing")


def steps(facade: Facade) -> list[str]:
    return ["cancel" if one.method == "POST" else "look" for one in facade.stack.graph.received]


@pytest.fixture(scope="module")
def running_host(running_stack: LocalStack) -> Iterator[HostProcess]:
    """A service with a shorter deadline, for many of these requests last until then."""
    deadline = {"REQUEST_DEADLINE_SECONDS": "6"}
    with HostProcess(REPOSITORY, {**running_stack.environment, **deadline}) as host:
        yield host


@pytest.fixture
def booked(facade: Facade) -> str:
    return facade.book()


def place(facade: Facade, *faults: Fault) -> None:
    facade.stack.graph.faults.clear()
    facade.stack.graph.faults.add(*faults)


def test_a_look_is_read_that_holds_a_large_group(facade: Facade, booked: str) -> None:
    group = {"id": booked, "customers": ["x" * 1000] * 2000}
    place(facade, GATEWAY, fault("get", 200, group, times=None))
    assert heard(facade.cancel(booked)) == ("cancelled", True, None)


NOT_GONE = {
    "ResourceNotFound": coded("ResourceNotFound"),
    "MailboxNotEnabledForRESTAPI": coded("MailboxNotEnabledForRESTAPI"),
    "ErrorNonExistentMailbox": coded("ErrorNonExistentMailbox"),
    "UnknownError": coded("UnknownError"),
    "prose": coded("Resource could not be discovered"),
    "inner": {"error": {"code": "", "innerError": {"code": "ResourceNotFound"}}},
    "an object": {},
    "another form": {"statusCode": 404, "message": "Resource not found"},
    "a page": "<html>Not Found</html>",
}


@pytest.mark.parametrize("body", NOT_GONE.values(), ids=NOT_GONE.keys())
def test_a_404_that_names_no_item_is_never_cancelled_and_nothing_of_it_is_kept(
    facade: Facade, booked: str, body: Any
) -> None:
    place(facade, GATEWAY, fault("cancel", 404, body, times=None))
    assert told(facade.cancel(booked)) == (504, "outcome_unknown")
    assert facade.stack.graph.bookings.exists(seed.LUNCH_DELIVERY, booked)
    place(facade)
    assert heard(facade.cancel(booked, headers={"Idempotency-Key": f"new-{booked}"})) == (
        "cancelled",
        True,
        None,
    )


@pytest.mark.parametrize(
    "body",
    [body for name, body in NOT_GONE.items() if name != "ErrorNonExistentMailbox"],
    ids=[name for name in NOT_GONE if name != "ErrorNonExistentMailbox"],
)
def test_a_mailbox_that_stays_away_is_unavailable_and_leaves_no_doubt(
    facade: Facade, booked: str, body: Any
) -> None:
    place(facade, fault("cancel", 404, body, times=None))
    answer = facade.cancel(booked)
    assert told(answer) == (503, "upstream_unavailable")
    assert "mailbox" in answer.json()["detail"]
    place(facade)
    facade.stack.graph.bookings.cancel(seed.LUNCH_DELIVERY, booked, message="", by="a colleague")
    assert heard(facade.cancel(booked)) == ("not_found", True, "appointment")


NO_BUSINESS = [
    (404, "ErrorFolderNotFound"),
    (404, "ErrorNonExistentMailbox"),
    (404, "ErrorInvalidUser"),
    (400, "ErrorInvalidSmtpAddress"),
]


@pytest.mark.parametrize(("status", "code"), NO_BUSINESS)
def test_a_missing_business_is_said_and_not_kept(
    facade: Facade, booked: str, status: int, code: str
) -> None:
    key = {"Idempotency-Key": f"k-{booked}"}
    place(facade, fault("cancel", status, coded(code)))
    answer = facade.cancel(booked, headers=key)
    assert heard(answer) == ("not_found", True, "business")
    assert "no such booking business" in answer.json()["message"]
    assert heard(facade.cancel(booked, headers=key)) == ("cancelled", True, None)


def test_a_403_of_the_mailbox_takes_no_right_from_anybody(facade: Facade, booked: str) -> None:
    body = coded("MailboxNotEnabledForRESTAPI")
    place(facade, fault("cancel", 403, body, times=None))
    answer = facade.cancel(booked)
    assert told(answer) == (503, "upstream_unavailable")
    assert "mailbox" in answer.json()["detail"]
    place(facade, fault("cancel", 403, body))
    assert heard(facade.cancel(booked)) == ("cancelled", True, None)


def test_a_mailbox_that_stays_out_of_reach_leaves_no_doubt_where_it_refused(
    facade: Facade, booked: str
) -> None:
    body = coded("MailboxNotEnabledForRESTAPI")
    place(facade, fault("cancel", 403, body, times=None), fault("get", 403, body, times=None))
    answer = facade.cancel(booked)
    assert told(answer) == (503, "upstream_unavailable")
    assert "cannot reach the booking mailbox" in answer.json()["detail"]
    place(facade)
    assert heard(facade.cancel(booked)) == ("cancelled", True, None)
    assert not facade.stack.graph.bookings.exists(seed.LUNCH_DELIVERY, booked)


FINAL_IN_GRAPHS_OWN_FORM = [400, 401, 403, 405]


@pytest.mark.parametrize("body", [{}, {"statusCode": 1}, "<html>", None], ids=ascii)
@pytest.mark.parametrize("status", [*FINAL_IN_GRAPHS_OWN_FORM, 408, 425, 499])
def test_a_gateways_refusal_after_the_effect_is_no_answer(
    facade: Facade, booked: str, status: int, body: Any
) -> None:
    place(facade, fault("cancel", status, body, when="after"))
    assert heard(facade.cancel(booked)) == ("not_found", False, "appointment")
    assert heard(facade.cancel(booked)) == ("not_found", False, "appointment")
    assert len(facade.stack.graph.bookings.cancellations) == 1


def test_an_idle_408_does_not_spoil_a_cancel(facade: Facade, booked: str) -> None:
    place(facade, fault("cancel", 408, coded("RequestTimeout")))
    assert heard(facade.cancel(booked)) == ("cancelled", True, None)


@pytest.mark.parametrize(
    "resource", [{}, coded("ErrorItemNotFound"), {"id": "AAMkother="}, {"value": []}], ids=ascii
)
def test_a_look_that_shows_another_is_no_look(facade: Facade, resource: Any) -> None:
    place(facade, GATEWAY, fault("get", 200, resource, times=None))
    assert told(facade.cancel("AAMknever=")) == (504, "outcome_unknown")
    assert "cancel" not in steps(facade)[1:]


def test_a_sign_in_is_asked_for_only_where_nothing_was_sent(facade: Facade, booked: str) -> None:
    stale = fault("get", 401, coded("InvalidAuthenticationToken"), times=None)
    place(facade, GATEWAY, stale)
    assert told(facade.cancel(booked)) == (504, "outcome_unknown")
    assert told(facade.cancel(booked)) == (401, "invalid_token")
    place(facade, fault("get", 401, coded("UnknownError"), times=None))
    assert told(facade.cancel(booked)) == (403, "access_denied")
    place(facade)
    facade.stack.graph.bookings.cancel(seed.LUNCH_DELIVERY, booked, message="", by="the first")
    assert heard(facade.cancel(booked)) == ("not_found", False, "appointment")


@pytest.mark.parametrize(
    "body",
    [coded(""), coded("UnknownError"), coded("BadRequest"), {"error": {"message": "Rule."}}],
    ids=ascii,
)
def test_a_rule_of_bookings_is_final(facade: Facade, booked: str, body: Any) -> None:
    place(facade, fault("cancel", 400, body))
    answer = facade.cancel(booked)
    assert told(answer) == (422, "refused_by_bookings")
    assert "minimum lead time" in answer.json()["detail"]
    assert answer.json()["retryable"] is False
    assert steps(facade) == ["cancel"]


def test_a_rule_met_where_it_was_seen_standing_is_no_refused_path(facade: Facade) -> None:
    booked = facade.book(f"{facade.book().removesuffix('=')}/a+b=")
    conflict = fault("cancel", 409, coded("ErrorIrresolvableConflict"))
    place(facade, conflict, fault("cancel", 400, coded("BadRequest")))
    answer = facade.cancel(booked)
    assert told(answer) == (422, "refused_by_bookings")
    assert steps(facade) == ["cancel", "cancel", "look", "cancel"]
    place(facade)
    assert heard(facade.cancel(booked)) == ("cancelled", True, None)


@pytest.mark.parametrize("status", [404, 422, 500, 503])
@pytest.mark.parametrize("code", ["ErrorInvalidId", "ErrorInvalidIdMalformed"])
def test_a_malformed_id_is_said_by_a_400_alone(
    facade: Facade, booked: str, status: int, code: str
) -> None:
    place(facade, fault("cancel", status, coded(code), when="after"))
    assert heard(facade.cancel(booked)) == ("not_found", False, "appointment")
    assert heard(facade.cancel(booked)) == ("not_found", False, "appointment")
    assert len(facade.stack.graph.bookings.cancellations) == 1


CONFLICTS = {
    "409": (409, coded("ErrorIrresolvableConflict")),
    "412": (412, coded("ErrorIrresolvableConflict")),
    "423": (423, None),
    "mail limit": (403, coded("ErrorExceededMessageLimit")),
    "hourly mail limit": (403, coded("ErrorExceededHourlyMessageLimit")),
    "full mailbox": (403, coded("ErrorQuotaExceeded")),
    "full mailbox, 400": (400, coded("ErrorQuotaExceeded")),
}


@pytest.mark.parametrize(("status", "body"), CONFLICTS.values(), ids=CONFLICTS.keys())
def test_a_conflict_is_waited_for_and_told_where_it_lasts(
    facade: Facade, booked: str, status: int, body: Any
) -> None:
    place(facade, fault("cancel", status, body, times=None))
    answer = facade.cancel(booked)
    assert told(answer) == (503, "upstream_unavailable")
    assert ("sending limit" in answer.json()["detail"]) is (status in (400, 403))
    assert "Retry-After" in answer.headers
    place(facade, fault("cancel", status, body))
    assert heard(facade.cancel(booked)) == ("cancelled", True, None)


@pytest.mark.parametrize("status", [409, 423])
def test_a_conflict_that_was_none_is_not_confirmed(
    facade: Facade, booked: str, status: int
) -> None:
    place(facade, fault("cancel", status, coded("x"), when="after"))
    assert heard(facade.cancel(booked)) == ("not_found", False, "appointment")


def test_three_500s_say_that_it_still_stood_and_keep_the_doubt(facade: Facade, booked: str) -> None:
    place(facade, fault("cancel", 500, coded("UnknownError"), times=3))
    answer = facade.cancel(booked)
    assert told(answer) == (502, "upstream_error")
    assert "it still stood when last looked at" in answer.json()["detail"]
    facade.stack.graph.bookings.cancel(seed.LUNCH_DELIVERY, booked, message="", by="late")
    assert heard(facade.cancel(booked)) == ("not_found", False, "appointment")


@pytest.mark.parametrize(
    "refusal",
    [
        fault("cancel", 400, coded(""), times=None),
        fault("cancel", 403, coded("ErrorAccessDenied"), times=None),
        fault("cancel", 429, headers=PATIENT, times=None),
        fault("cancel", 401, coded("InvalidAuthenticationToken"), times=None),
    ],
    ids=lambda refusal: str(refusal.status),
)
def test_nothing_is_told_as_if_nothing_had_been_sent(
    facade: Facade, booked: str, refusal: Fault
) -> None:
    place(facade, GATEWAY, refusal)
    answer = facade.cancel(booked)
    assert told(answer) == (504, "outcome_unknown")
    assert steps(facade)[:3] == ["cancel", "look", "cancel"]
    if refusal.status == 429:
        assert answer.headers["Retry-After"] == "60"


def test_a_repeat_that_sent_a_cancel_is_not_told_to_sign_in(facade: Facade, booked: str) -> None:
    token = facade.stack.entra.user_token()
    place(facade, GATEWAY, fault("get", 403, coded("ErrorAccessDenied")))
    assert told(facade.cancel(booked, token=token)) == (504, "outcome_unknown")
    place(facade, fault("cancel", 401, coded("InvalidAuthenticationToken")))
    facade.stack.entra.require_mfa(seed.ADELE)
    assert told(facade.cancel(booked, token=token)) == (504, "outcome_unknown")
    assert steps(facade)[-2:] == ["look", "cancel"]
    assert told(facade.cancel(booked, token=token)) == (401, "interaction_required")


@pytest.mark.parametrize(
    "first",
    [
        fault("cancel", 401, coded("InvalidAuthenticationToken")),
        fault("cancel", 429, coded("TooManyRequests"), headers={"Retry-After": "0.2"}),
    ],
    ids=lambda first: str(first.status),
)
def test_only_the_first_call_confirms_a_missing_business(
    facade: Facade, booked: str, first: Fault
) -> None:
    place(facade, first, fault("cancel", 404, coded("ErrorNonExistentMailbox")))
    assert heard(facade.cancel(booked)) == ("not_found", False, "business")


UNCLEAR = {
    "null": "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnull",
    "a number": "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\n404",
    "a list": "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n[]",
    "no JSON": 'HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n{"error":',
    "no UTF-8": 'HTTP/1.1 404 Not Found\r\nContent-Length: 22\r\n\r\n{"error":{"code":"\xff"}}',
    "no gzip": ("HTTP/1.1 404 Not Found\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"),
}


@pytest.mark.parametrize("raw", UNCLEAR.values(), ids=UNCLEAR.keys())
def test_a_404_in_another_form_is_looked_at(facade: Facade, booked: str, raw: str) -> None:
    place(facade, Fault(step="cancel", raw=raw))
    assert heard(facade.cancel(booked)) == ("cancelled", True, None)
    assert steps(facade) == ["cancel", "look", "cancel"]


def test_a_404_behind_a_byte_order_mark_is_graphs_own(facade: Facade, booked: str) -> None:
    body = '\xef\xbb\xbf{"error":{"code":"ErrorItemNotFound"}}'
    raw = f"HTTP/1.1 404 Not Found\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    place(facade, Fault(step="cancel", raw=raw))
    assert heard(facade.cancel(booked)) == ("not_found", True, "appointment")


def test_under_another_key_a_404_after_an_effect_is_not_confirmed(
    facade: Facade, booked: str
) -> None:
    place(facade, fault("cancel", 500, coded("UnknownError"), when="after"))
    for key in ("K", "L"):
        answer = facade.cancel(booked, headers={"Idempotency-Key": key})
        assert heard(answer) == ("not_found", False, "appointment")
    assert heard(facade.cancel(booked)) == ("not_found", False, "appointment")
    assert facade.cancel(booked, headers={"Idempotency-Key": "K"}).json()["replayed"] is True


def test_a_repeat_in_doubt_that_ends_at_the_deadline_keeps_the_doubt(
    facade: Facade, booked: str
) -> None:
    place(facade, GATEWAY, fault("get", 403, coded("ErrorAccessDenied")))
    assert told(facade.cancel(booked)) == (504, "outcome_unknown")
    place(facade, fault("cancel", 429, headers=PATIENT))
    answer = facade.cancel(booked)
    assert (told(answer), answer.headers["Retry-After"]) == ((504, "outcome_unknown"), "60")
    facade.stack.graph.bookings.cancel(seed.LUNCH_DELIVERY, booked, message="", by="late")
    assert heard(facade.cancel(booked)) == ("not_found", False, "appointment")


def test_what_stood_and_is_gone_is_cancelled_but_not_by_anybodys_404(facade: Facade) -> None:
    for body, expected in ((coded("ErrorItemNotFound"), "cancelled"), (None, "not_found")):
        booked = facade.book()
        place(facade, GATEWAY, fault("cancel", 404, body, when="after"))
        outcome, confirmed, _ = heard(facade.cancel(booked))
        assert (outcome, confirmed) == (expected, False)


@pytest.mark.parametrize("spelling", ["/+", "-_", "/_", "-+"])
def test_both_spellings_of_an_id_are_one_appointment(facade: Facade, spelling: str) -> None:
    unique = facade.book().removesuffix("=")
    booked = facade.book(f"{unique}/a+b=")
    asked = booked.replace("/", spelling[0]).replace("+", spelling[1])
    answer = facade.cancel(asked)
    assert heard(answer) == ("cancelled", True, None)
    assert answer.json()["appointmentId"] == asked
    assert facade.cancel(booked).json()["replayed"] is True
    assert len(facade.stack.graph.bookings.cancellations) == 1


def test_the_look_takes_the_spelling_that_graph_takes(facade: Facade) -> None:
    booked = facade.book(f"{facade.book().removesuffix('=')}/a+b=")
    place(facade, GATEWAY)
    assert heard(facade.cancel(booked)) == ("cancelled", True, None)
    assert steps(facade) == ["cancel", "cancel", "look", "cancel"]


@pytest.mark.parametrize("code", ["BadRequest", "RequestBroker--ParseUri"])
def test_a_second_refusal_of_the_path_names_the_id(facade: Facade, code: str) -> None:
    place(facade, fault("cancel", 400, coded(code), times=None))
    answer = facade.cancel("AAMkno/such+id=")
    assert told(answer) == (400, "invalid_request")
    assert [one["field"] for one in answer.json()["errors"]] == ["appointmentId"]


@pytest.mark.parametrize("status", [204, 404, 403, 400])
def test_an_answer_to_another_call_is_none(facade: Facade, booked: str, status: int) -> None:
    other = {"client-request-id": "00000000-0000-0000-0000-000000000000"}
    body = None if status == 204 else coded("ErrorItemNotFound")
    place(facade, fault("cancel", status, body, headers=other))
    assert heard(facade.cancel(booked)) == ("cancelled", True, None)
    assert steps(facade) == ["cancel", "look", "cancel"]
    ids = [UUID(one.headers["client-request-id"]) for one in facade.stack.graph.received]
    assert len(set(ids)) == 3


def test_an_answer_that_echoes_nothing_counts(facade: Facade, booked: str) -> None:
    place(facade, Fault(step="cancel", raw="HTTP/1.1 204 No Content\r\n\r\n"))
    assert heard(facade.cancel(booked)) == ("cancelled", True, None)
    assert steps(facade) == ["cancel"]


def test_the_id_of_a_call_is_in_the_log(
    facade: Facade, booked: str, running_host: HostProcess
) -> None:
    place(facade, GATEWAY)
    request_id = facade.cancel(booked).json()["requestId"]
    output = running_host.wait_for(f"requestId={request_id}")
    line = next(one for one in output.splitlines() if f"requestId={request_id}" in one)
    for received in facade.stack.graph.received:
        assert received.headers["client-request-id"] in line
    assert "cancel:503:unanswered" in line
    assert "serviceNotAvailable" in line
