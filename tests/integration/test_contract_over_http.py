"""Each row of the contract's table as a caller sees it.

Over HTTP, through the official runtime, provoked at Entra, at Graph or in the request.
"""

import base64
import json
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import requests
from pydantic import ConfigDict

from cancel_appointment.contract import CancelAnswer
from describe_api.version import VERSION
from infra.local import seed
from infra.local.faults import Fault
from infra.local.host.process import HostProcess
from infra.local.stack import LocalStack
from scripts.package import find_product
from shared.serving.problems import TABLE, Problem
from tests.client import Facade
from tests.collector import Collector
from tests.conftest import REPOSITORY

PATIENCE_S = 60.0
ELSEWHERE = "11111111-2222-4333-8444-555555555555"
PROSE = "Prose of an upstream about jordanm@contoso.com."


class StrictAnswer(CancelAnswer):
    """The published answer, with no other member."""

    model_config = ConfigDict(extra="forbid", strict=True)


class StrictProblem(Problem):
    """The published problem, with no other member."""

    model_config = ConfigDict(extra="forbid", strict=True)


def outcome_of(answer: requests.Response) -> StrictAnswer:
    assert answer.status_code == 200, answer.text
    check_headers(answer, "application/json")
    return StrictAnswer.model_validate_json(answer.content)


def problem_of(answer: requests.Response, content_type: str = "application/json") -> StrictProblem:
    problem = StrictProblem.model_validate_json(answer.content)
    assert problem.status == answer.status_code
    assert problem.type == f"urn:bookings-cancel:problem:{problem.code}"
    assert problem.instance == f"urn:uuid:{problem.request_id}"
    assert answer.headers.get("Retry-After") == (
        None if problem.retry_after_seconds is None else str(problem.retry_after_seconds)
    )
    assert b"null" not in answer.content
    check_headers(answer, content_type)
    return problem


def check_headers(answer: requests.Response, content_type: str) -> None:
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Length"] == str(len(answer.content))


@contextmanager
def service(stack: LocalStack, folder: Path = REPOSITORY, **environment: str) -> Iterator[Facade]:
    """Run another service, with other settings."""
    with (
        HostProcess(folder, {**stack.environment, **environment}) as host,
        requests.Session() as session,
    ):
        session.trust_env = False
        yield Facade(host.url, session, stack)


def raw(
    facade: Facade, body: bytes, content_type: str | None = "application/json", **headers: str
) -> requests.Response:
    """Send bytes as they are."""
    kind = {} if content_type is None else {"Content-Type": content_type}
    return facade.session.post(
        f"{facade.url}/api/v1/cancel-appointment",
        data=body,
        headers={"Authorization": f"Bearer {facade.stack.entra.user_token()}", **kind, **headers},
        timeout=PATIENCE_S,
    )


@contextmanager
def closed_port() -> Iterator[int]:
    """Take a port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


# Every row that one request can meet.


def nothing(_: LocalStack) -> None:
    """Leave everything as it is."""


def cancel(facade: Facade) -> requests.Response:
    return facade.cancel(facade.book())


@dataclass(frozen=True)
class Row:
    """How to cause a row, and what it has to say.

    ``challenge``: what the challenge holds, None for no challenge.
    """

    status: int
    code: str
    ask: Callable[[Facade], requests.Response] = cancel
    arrange: Callable[[LocalStack], None] = nothing
    retryable: bool = False
    retry_after: int | None = None
    challenge: Mapping[str, str] | None = None
    fields: tuple[str, ...] = ()
    upstream: Mapping[str, Any] = field(default_factory=dict)


def with_token(make: Callable[[LocalStack], str]) -> Callable[[Facade], requests.Response]:
    return lambda facade: facade.cancel(facade.book(), token=make(facade.stack))


def at_graph(*faults: Fault) -> Callable[[LocalStack], None]:
    return lambda stack: stack.graph.faults.add(*faults)


def at_entra(*faults: Fault) -> Callable[[LocalStack], None]:
    return lambda stack: stack.entra.faults.add(*faults)


def graph_says(status: int, code: str, **headers: str) -> Fault:
    return Fault(
        step="cancel",
        status=status,
        body={"error": {"code": code, "message": PROSE}},
        headers=headers,
        times=None,
    )


BODY = {"businessId": "a", "appointmentId": "b"}
ROWS: dict[str, Row] = {
    "an id is missing": Row(
        400,
        "invalid_request",
        lambda facade: facade.post({"businessId": "a"}),
        fields=("appointmentId",),
    ),
    "a member too many": Row(
        400,
        "invalid_request",
        lambda facade: facade.post({**BODY, "bookingId": "c"}),
        fields=("bookingId",),
    ),
    "no JSON": Row(400, "invalid_request", lambda facade: raw(facade, b"{"), fields=("body",)),
    "no body": Row(400, "invalid_request", lambda facade: raw(facade, b""), fields=("body",)),
    "an idempotency key that is none": Row(
        400,
        "invalid_request",
        lambda facade: facade.post(BODY, headers={"Idempotency-Key": "a b"}),
        fields=("Idempotency-Key",),
    ),
    "Graph calls an id malformed": Row(
        400,
        "invalid_request",
        arrange=at_graph(graph_says(400, "ErrorInvalidIdMalformed")),
        fields=("appointmentId",),
        upstream={"service": "graph", "status": 400, "code": "ErrorInvalidIdMalformed"},
    ),
    "two tokens": Row(
        400,
        "invalid_request",
        lambda facade: facade.post(BODY, headers={"Authorization": "Bearer a, Bearer b"}, token=""),
        challenge={"error": "invalid_request"},
    ),
    "a body too large": Row(
        413,
        "payload_too_large",
        lambda facade: raw(facade, json.dumps(BODY).encode() + b" " * 65536),
    ),
    "another media type": Row(
        415,
        "unsupported_media_type",
        lambda facade: raw(facade, b"businessId=a", "application/x-www-form-urlencoded"),
    ),
    "no media type": Row(
        415, "unsupported_media_type", lambda facade: raw(facade, json.dumps(BODY).encode(), None)
    ),
    "no token": Row(401, "missing_token", lambda facade: facade.post(BODY, token=""), challenge={}),
    "another scheme": Row(
        401,
        "missing_token",
        lambda facade: facade.post(BODY, token="", headers={"Authorization": "Basic YTpi"}),
        challenge={},
    ),
    "a token that is none": Row(
        401, "invalid_token", with_token(lambda _: "a.b.c"), challenge={"error": "invalid_token"}
    ),
    "an expired token": Row(
        401,
        "invalid_token",
        with_token(lambda stack: stack.entra.user_token(lifetime_s=-1)),
        challenge={"error": "invalid_token"},
    ),
    "Entra has revoked the sign-in": Row(
        401,
        "invalid_token",
        arrange=lambda stack: stack.entra.disable_user(seed.ADELE),
        challenge={"error": "invalid_token"},
        upstream={"service": "entra", "status": 400, "code": "AADSTS50057"},
    ),
    "Graph no longer takes the sign-in": Row(
        401,
        "invalid_token",
        arrange=at_graph(graph_says(401, "InvalidAuthenticationToken")),
        challenge={"error": "invalid_token"},
        upstream={"service": "graph", "status": 401, "code": "InvalidAuthenticationToken"},
    ),
    "Entra asks for more": Row(
        401,
        "interaction_required",
        arrange=lambda stack: stack.entra.require_mfa(seed.ADELE),
        challenge={"error": "insufficient_claims"},
        upstream={"service": "entra", "status": 400, "code": "AADSTS50076"},
    ),
    "a token without our scope": Row(
        403,
        "insufficient_scope",
        with_token(lambda stack: stack.entra.user_token(scopes="User.Read")),
        challenge={"error": "insufficient_scope", "scope": seed.REQUIRED_SCOPE},
    ),
    "an app's token": Row(
        403, "user_token_required", with_token(lambda stack: stack.entra.app_token())
    ),
    "another tenant": Row(
        403,
        "caller_not_allowed",
        with_token(lambda stack: stack.entra.user_token(tenant_id=ELSEWHERE)),
    ),
    "nobody has consented": Row(
        403,
        "consent_required",
        arrange=lambda stack: stack.entra.revoke_consent(seed.ADELE),
        upstream={"service": "entra", "status": 400, "code": "AADSTS65001"},
    ),
    "Entra's policy says no": Row(
        403,
        "access_denied",
        arrange=lambda stack: stack.entra.refuse(seed.ADELE, 53004),
        upstream={"service": "entra", "status": 400, "code": "AADSTS53004"},
    ),
    "Graph says no": Row(
        403,
        "access_denied",
        arrange=at_graph(graph_says(403, "ErrorAccessDenied")),
        upstream={"service": "graph", "status": 403, "code": "ErrorAccessDenied"},
    ),
    "a rule of Bookings says no": Row(
        422,
        "refused_by_bookings",
        arrange=at_graph(graph_says(400, "")),
        upstream={"service": "graph", "status": 400},
    ),
    "Graph throttles": Row(
        429,
        "throttled",
        arrange=at_graph(graph_says(429, "ApplicationThrottled", **{"Retry-After": "120"})),
        retryable=True,
        retry_after=120,
        upstream={"service": "graph", "status": 429, "code": "ApplicationThrottled"},
    ),
    "Entra throttles": Row(
        429,
        "throttled",
        arrange=at_entra(
            Fault(
                step="token",
                status=429,
                body={"error": "slow_down", "error_description": PROSE},
                headers={"Retry-After": "31"},
                times=None,
            )
        ),
        retryable=True,
        retry_after=31,
        upstream={"service": "entra", "status": 429, "code": "slow_down"},
    ),
    "Entra cannot be reached": Row(
        503,
        "upstream_unavailable",
        arrange=at_entra(Fault(step="token", reset=True, times=None)),
        retryable=True,
        retry_after=5,
        upstream={"service": "entra"},
    ),
    "Entra answers no JSON": Row(
        502,
        "upstream_error",
        arrange=at_entra(Fault(step="token", status=200, body=f"<html>{PROSE}", times=None)),
        upstream={"service": "entra", "status": 200},
    ),
    "Entra gives somebody else's token": Row(
        502,
        "upstream_error",
        arrange=at_entra(
            Fault(
                step="token",
                status=200,
                body={"token_type": "Bearer", "access_token": "a", "expires_in": 3600},
                times=None,
            )
        ),
        upstream={"service": "entra", "status": 200},
    ),
    "Graph refuses in a way that nobody knows": Row(
        502,
        "upstream_error",
        arrange=at_graph(graph_says(418, "Teapot")),
        upstream={"service": "graph", "status": 418, "code": "Teapot"},
    ),
    "Graph fails every time and the appointment still stands": Row(
        502,
        "upstream_error",
        arrange=at_graph(graph_says(500, "UnknownError")),
        upstream={"service": "graph", "status": 500, "code": "UnknownError"},
    ),
    "nobody knows what became of it": Row(
        504,
        "outcome_unknown",
        arrange=at_graph(
            Fault(step="cancel", drop=True, times=None), Fault(step="get", status=403, times=None)
        ),
        retryable=True,
        retry_after=5,
        upstream={"service": "graph", "status": 403},
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_each_row_is_answered_as_the_contract_says(facade: Facade, row: Row) -> None:
    row.arrange(facade.stack)
    answer = row.ask(facade)
    problem = problem_of(answer)

    assert (answer.status_code, problem.code, problem.retryable) == (
        row.status,
        row.code,
        row.retryable,
    )
    assert problem.retry_after_seconds == row.retry_after
    assert tuple(fault.field for fault in problem.errors or ()) == row.fields
    upstream = {} if problem.upstream is None else problem.upstream.model_dump(exclude_none=True)
    assert {**upstream, **row.upstream} == upstream
    assert bool(upstream) == bool(row.upstream)
    if row.challenge is None:
        assert "WWW-Authenticate" not in answer.headers
    else:
        check_challenge(answer, row.challenge, facade.stack)


def check_challenge(
    answer: requests.Response, expected: Mapping[str, str], stack: LocalStack
) -> None:
    challenge = answer.headers["WWW-Authenticate"]
    parameters = dict(re.findall(r'([a-z_]+)="([^"\\]*)"', challenge))
    assert challenge == "Bearer " + ", ".join(
        f'{name}="{value}"' for name, value in parameters.items()
    )
    assert parameters.pop("realm") == ""
    assert (
        parameters.pop("authorization_uri")
        == f"{stack.entra_url}/{seed.TENANT_ID}/oauth2/v2.0/authorize"
    )
    assert parameters.pop("claims", None) == answer.json().get("claims")
    assert parameters.pop("error_description", None) == (
        answer.json()["detail"] if expected else None
    )
    assert parameters == expected


def test_every_code_of_the_table_is_met_in_this_file() -> None:
    with_services_of_their_own = {
        "idempotency_key_reused",
        "request_in_progress",
        "overloaded",
        "misconfigured",
    }
    of_other_routes = {"business_not_found", "invalid_signature", "webhooks_not_enabled"}
    assert {row.code for row in ROWS.values()} | with_services_of_their_own | of_other_routes == {
        row.code for row in TABLE.values()
    }


def test_claims_are_handed_on_in_base64(facade: Facade) -> None:
    wanted = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
    facade.stack.entra.require_mfa(seed.ADELE, wanted)
    problem = problem_of(cancel(facade))

    assert problem.claims is not None
    assert json.loads(base64.b64decode(problem.claims)) == json.loads(wanted)


def test_what_graph_asks_for_is_handed_on_too(facade: Facade) -> None:
    wanted = '{"access_token":{"nbf":{"essential":true,"value":"1600000000"}}}'
    challenge = (
        'Bearer realm="", error="insufficient_claims", '
        f'claims="{base64.b64encode(wanted.encode()).decode()}"'
    )
    facade.stack.graph.faults.add(
        graph_says(401, "InvalidAuthenticationToken", **{"WWW-Authenticate": challenge})
    )
    answer = cancel(facade)
    problem = problem_of(answer)

    assert (answer.status_code, problem.code) == (401, "interaction_required")
    assert base64.b64decode(problem.claims or "").decode() == wanted
    check_challenge(answer, {"error": "insufficient_claims"}, facade.stack)


@pytest.mark.parametrize(
    "accept", ["application/problem+json", "application/json, application/problem+json;q=0.5"]
)
def test_a_problem_is_named_so_to_those_who_ask_for_it(facade: Facade, accept: str) -> None:
    problem_of(facade.post({}, headers={"Accept": accept}), "application/problem+json")


def test_an_outcome_is_never_called_a_problem(facade: Facade) -> None:
    outcome_of(facade.cancel(facade.book(), headers={"Accept": "application/problem+json"}))


# Outcomes, and the same request again.


def test_a_cancel_again_without_a_key_is_the_same_answer_again(facade: Facade) -> None:
    appointment_id = facade.book()
    first, second = (outcome_of(facade.cancel(appointment_id)) for _ in range(2))

    assert (first.outcome, first.cancelled, first.confirmed, first.replayed) == (
        "cancelled",
        True,
        True,
        False,
    )
    assert second.model_dump(exclude={"request_id", "replayed"}) == first.model_dump(
        exclude={"request_id", "replayed"}
    )
    assert second.replayed
    assert second.request_id != first.request_id
    assert len(facade.stack.graph.bookings.cancellations) == 1


def test_not_found_is_asked_for_anew_without_a_key_and_repeated_with_one(facade: Facade) -> None:
    appointment_id, key = f"{facade.book()}gone", {"Idempotency-Key": f"key-{facade.book()}"}
    without = [outcome_of(facade.cancel(appointment_id)) for _ in range(2)]
    keyed = [outcome_of(facade.cancel(appointment_id, headers=key)) for _ in range(2)]

    for answer in (*without, *keyed):
        assert (answer.outcome, answer.cancelled, answer.confirmed) == ("not_found", False, True)
    assert [answer.replayed for answer in (*without, *keyed)] == [False, False, False, True]
    assert len(facade.stack.graph.received) == 3


def test_a_key_again_is_the_same_answer_and_with_another_body_refused(facade: Facade) -> None:
    one, other, key = facade.book(), facade.book(), {"Idempotency-Key": f'"order {facade.book()}"'}
    assert not outcome_of(facade.cancel(one, headers=key)).replayed
    assert outcome_of(facade.cancel(one, headers=key)).replayed

    answer = facade.cancel(other, headers=key)
    problem = problem_of(answer)
    assert (answer.status_code, problem.code, problem.retryable) == (
        422,
        "idempotency_key_reused",
        False,
    )
    assert facade.stack.graph.bookings.exists(seed.LUNCH_DELIVERY, other)


def test_the_same_request_while_the_first_is_running_is_told_so(facade: Facade) -> None:
    appointment_id = facade.book()
    facade.stack.graph.faults.add(Fault(step="cancel", delay_s=5.0))
    token = facade.stack.entra.user_token()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(facade.cancel, appointment_id, token=token)
        until(lambda: bool(facade.stack.graph.received))
        answer = facade.cancel(appointment_id)
        assert outcome_of(first.result(PATIENCE_S)).cancelled

    problem = problem_of(answer)
    assert (answer.status_code, problem.code, problem.retryable) == (
        409,
        "request_in_progress",
        True,
    )
    assert problem.retry_after_seconds == 1
    assert outcome_of(facade.cancel(appointment_id)).replayed


def until(true: Callable[[], bool]) -> None:
    """Wait for something that another thread brings about."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        if true():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come about")


# Rows that need a service of their own.


def test_a_client_that_is_not_on_the_list_is_refused(stack: LocalStack) -> None:
    with service(stack, ALLOWED_CLIENT_IDS=seed.CONNECTOR_CLIENT_ID) as facade:
        refused = facade.cancel(facade.book())
        assert outcome_of(
            facade.cancel(
                facade.book(), token=stack.entra.user_token(client_id=seed.CONNECTOR_CLIENT_ID)
            )
        ).cancelled

    assert (refused.status_code, problem_of(refused).code) == (403, "caller_not_allowed")
    assert stack.entra.exchanges() == 1


def test_a_graph_that_cannot_be_reached_is_told_as_never_sent(stack: LocalStack) -> None:
    with (
        closed_port() as port,
        service(
            stack, GRAPH_ENDPOINT=f"https://localhost:{port}", REQUEST_DEADLINE_SECONDS="2"
        ) as facade,
    ):
        answer = cancel(facade)

    problem = problem_of(answer)
    assert (answer.status_code, problem.code, problem.retryable) == (
        503,
        "upstream_unavailable",
        True,
    )
    assert problem.upstream is not None
    assert problem.upstream.model_dump(exclude_none=True) == {"service": "graph"}


def test_an_entra_that_cannot_be_reached_lets_nobody_in_and_health_answers(
    stack: LocalStack,
) -> None:
    with (
        closed_port() as port,
        service(
            stack, ENTRA_AUTHORITY_HOST=f"https://localhost:{port}", REQUEST_DEADLINE_SECONDS="2"
        ) as facade,
    ):
        answer = cancel(facade)
        assert facade.session.get(f"{facade.url}/api/health", timeout=PATIENCE_S).status_code == 200

    problem = problem_of(answer)
    assert (answer.status_code, problem.code, problem.retryable) == (
        503,
        "upstream_unavailable",
        True,
    )
    assert not stack.graph.received


def test_a_credential_that_entra_refuses_is_our_fault_and_not_the_callers(
    stack: LocalStack,
) -> None:
    with service(stack) as facade:
        stack.entra.set_client_secret("another")
        answers = [cancel(facade) for _ in range(3)]

    for answer in answers:
        problem = problem_of(answer)
        assert (answer.status_code, problem.code, problem.retryable) == (
            500,
            "misconfigured",
            False,
        )
    assert "AADSTS7000215" in answers[0].text


def test_more_than_there_is_room_for_is_refused_at_once_and_health_answers_meanwhile(
    stack: LocalStack,
) -> None:
    inside, asking = 3, 16  # one at Graph, and two that may wait for the mailbox
    with (
        service(
            stack,
            MAX_CONCURRENCY="2",
            MAX_CONCURRENCY_PER_BUSINESS="1",
            REQUEST_DEADLINE_SECONDS="40",
        ) as facade,
        ThreadPoolExecutor(asking) as threads,
    ):
        stack.graph.faults.add(Fault(step="cancel", delay_s=2.0, times=None))
        asked = {threads.submit(facade.cancel, facade.book()) for _ in range(asking)}
        refused = set[Future[requests.Response]]()
        while len(refused) < asking - inside:
            done, asked = wait(asked, PATIENCE_S, FIRST_COMPLETED)
            refused |= done
        health = facade.session.get(f"{facade.url}/api/health", timeout=PATIENCE_S)
        still_waiting = len(asked)

    assert (health.status_code, health.json()) == (200, {"status": "ok", "version": VERSION})
    assert still_waiting
    for future in refused:
        problem = problem_of(future.result())
        assert (problem.status, problem.code, problem.retryable) == (503, "overloaded", True)
        assert problem.retry_after_seconds == 1
    assert all(outcome_of(future.result()).cancelled for future in asked)
    assert len(stack.graph.bookings.cancellations) == inside


def test_a_cancel_that_finds_no_thread_in_time_is_never_begun(stack: LocalStack) -> None:
    """One thread, held by the first request; the second is told that we are busy.

    It is not told that its outcome is unknown, and nothing of it reaches Graph.
    """
    with (
        service(stack, MAX_CONCURRENCY="1", REQUEST_DEADLINE_SECONDS="2") as facade,
        ThreadPoolExecutor(1) as threads,
    ):
        first, second = (
            facade.book(business_id=seed.LUNCH_DELIVERY),
            facade.book(business_id=seed.REPAIRS),
        )
        stack.graph.faults.add(Fault(step="*", delay_s=10.0, times=None))
        token = stack.entra.user_token(seed.MEGAN)
        held = threads.submit(facade.cancel, first)
        until(lambda: bool(stack.graph.received))
        answer = facade.cancel(second, business_id=seed.REPAIRS, token=token)
        assert problem_of(held.result(PATIENCE_S)).code == "outcome_unknown"
        received = {request.segments[-2] for request in stack.graph.received}

    assert problem_of(answer).code == "overloaded"
    assert second not in received


def copy_app(folder: Path, *, before: str = "", after: str = "") -> Path:
    """Copy the Function App, with lines of a test's own around function_app.py."""
    for file in find_product(REPOSITORY):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / file, folder / file)
    (folder / "function_app.py").write_text(
        f"{before}\n{(REPOSITORY / 'function_app.py').read_text()}\n{after}"
    )
    return folder


BROKEN = """
from cancel_appointment.operation import CancelOperation

def fail(*_):
    raise KeyError("MARKER")

CancelOperation.carry_out = fail
"""


def test_a_bug_of_ours_is_an_answer_of_the_contract_too(stack: LocalStack, tmp_path: Path) -> None:
    with (
        HostProcess(copy_app(tmp_path, after=BROKEN), stack.environment) as host,
        requests.Session() as session,
    ):
        session.trust_env = False
        facade = Facade(host.url, session, stack)
        answer = cancel(facade)
        missing = facade.post(BODY, token="")
        printed = host.output()

    problem = problem_of(answer)
    assert (answer.status_code, problem.code, problem.retryable) == (500, "internal_error", False)
    assert problem_of(missing).code == "missing_token"
    assert "MARKER" not in answer.text + printed
    (line,) = [line for line in printed.splitlines() if f"requestId={problem.request_id}" in line]
    assert "ERROR" in line
    assert "error=KeyError" in line
    assert "function_app.py" in line


SLOW = """
import threading
from cancel_appointment.operation import CancelOperation

carry_out, first = CancelOperation.carry_out, [True]

def overrun(self, work, deadline, journal):
    outcome = carry_out(self, work, deadline, journal)
    if first and first.pop():
        threading.Event().wait(deadline.remaining_s() + 2)
    return outcome

CancelOperation.carry_out = overrun
"""


def test_a_thread_that_overruns_the_deadline_is_not_waited_for_and_counted_later(
    stack: LocalStack, tmp_path: Path
) -> None:
    environment = {**stack.environment, "REQUEST_DEADLINE_SECONDS": "2"}
    with (
        Collector() as collector,
        HostProcess(copy_app(tmp_path, after=SLOW), environment | collector.settings) as host,
        requests.Session() as session,
    ):
        session.trust_env = False
        facade = Facade(host.url, session, stack)
        appointment_id = facade.book()
        answer = facade.cancel(appointment_id)
        collector.wait(lambda: collector.point("facade.late", action="cancel", ending="done") == 1)
        again = outcome_of(facade.cancel(appointment_id))

    problem = problem_of(answer)
    assert (answer.status_code, problem.code, problem.retryable) == (504, "outcome_unknown", True)
    (answered,) = (
        line for line in host.output().splitlines() if f"requestId={problem.request_id}" in line
    )
    assert "event=request status=504 code=outcome_unknown" in answered
    assert (again.outcome, again.replayed) == ("cancelled", True)
    assert len(stack.graph.bookings.cancellations) == 1


# Beside the table.


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [
        ("flow-run:08dd.3c_8f", "flow-run:08dd.3c_8f"),
        ("a b", None),
        ("a" * 200, None),
        (None, None),
    ],
    ids=ascii,
)
def test_a_correlation_id_comes_back_if_it_is_one(
    facade: Facade, sent: str | None, echoed: str | None
) -> None:
    headers = {} if sent is None else {"x-correlation-id": sent}
    for answer in (facade.cancel(facade.book(), headers=headers), facade.post({}, headers=headers)):
        assert answer.headers.get("x-correlation-id") == echoed


def test_every_request_has_an_id_of_its_own_and_so_has_each_of_its_calls(facade: Facade) -> None:
    answers = [outcome_of(cancel(facade)) for _ in range(2)]
    received = facade.stack.graph.received
    ids = {UUID(request.headers["client-request-id"]) for request in received}
    assert len(ids) == len(received)
    assert len({answer.request_id for answer in answers}) == 2


def test_health_says_that_the_worker_answers(facade: Facade) -> None:
    answer = facade.session.get(f"{facade.url}/api/health", timeout=PATIENCE_S)

    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "version": VERSION})
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert not facade.stack.entra.asked


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/cancel-appointment"),
        ("PUT", "/api/v1/cancel-appointment"),
        ("DELETE", "/api/v1/cancel-appointment"),
        ("HEAD", "/api/v1/cancel-appointment"),
        ("HEAD", "/api/health"),
        ("POST", "/api/health"),
        ("POST", "/api/v1/cancel-appointment/x"),
        ("POST", "/api/v2/cancel-appointment"),
        ("POST", "/v1/cancel-appointment"),
        ("GET", "/"),
    ],
)
def test_other_methods_and_routes_are_the_platforms_to_refuse(
    facade: Facade, method: str, path: str
) -> None:
    answer = facade.session.request(method, f"{facade.url}{path}", json={}, timeout=PATIENCE_S)

    assert (answer.status_code, answer.content) == (404, b"")
    assert not facade.stack.entra.asked
    assert not facade.stack.graph.received
