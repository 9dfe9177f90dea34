"""Webhooks over HTTP, through the official runtime.

Who is let in, what a sender is answered, that one delivery is one cancel, and whose token is used.
"""

import base64
import http.client
import json
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cancel_appointment.webhook_operation import WebhookOperation
from infra.local import seed
from infra.local.entra.exchange.obo import CLIENT_CREDENTIALS, ON_BEHALF_OF
from infra.local.entra.tokens import service_principal_id
from infra.local.faults import Fault
from infra.local.host.process import HostProcess
from infra.local.stack import LocalStack
from shared.records.memory_store import MemoryStore
from shared.services import build_services
from shared.serving.problems import TABLE
from shared.serving.requests import Incoming
from shared.telemetry.journal import Journal
from tests.client import Facade
from tests.conftest import REPOSITORY
from tests.integration import node_packages
from tests.integration.test_contract_over_http import PROSE, copy_app, outcome_of, problem_of
from tests.integration.test_nothing_leaks import EVERYTHING_LOGS
from tests.property.exchanging import Clock
from tests.signing import PATH, PATIENCE_S, Sender, body_for, new_id, signed

OLD, NEW, OF_REPAIRS, STRANGERS = (
    f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}" for _ in range(4)
)
KEYS = json.dumps(
    [
        {"id": "partner-key", "secrets": [OLD, NEW], "businesses": [seed.LUNCH_DELIVERY.upper()]},
        {"id": "repairs-key", "secrets": [OF_REPAIRS], "businesses": [seed.REPAIRS]},
    ]
)
MESSAGE = "mark: sorry, Mrs Miller, tomorrow is off."


@pytest.fixture(scope="module")
def watched_host(
    running_stack: LocalStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HostProcess]:
    """A service that takes webhooks, with every logger at DEBUG.

    What it printed through all tests is searched in the end.
    """
    app = copy_app(tmp_path_factory.mktemp("app"), before=EVERYTHING_LOGS)
    running_stack.entra.granted_roles = seed.APP_ROLES
    with HostProcess(app, {**running_stack.environment, "WEBHOOK_KEYS": KEYS}) as host:
        yield host
    printed = host.output()
    assert " DEBUG " in printed
    assert "Traceback" not in printed
    for mark in (
        *(secret.removeprefix("whsec_") for secret in (OLD, NEW, OF_REPAIRS, STRANGERS)),
        "whsec_",
        "v1,",
        "msg_",
        "Mrs",
        PROSE,
    ):
        assert mark not in printed, mark
    assert not re.search(r"eyJ[A-Za-z0-9_-]{8,}", printed)
    assert seed.LUNCH_DELIVERY.partition("@")[0].lower() not in printed.lower()


@pytest.fixture
def entra_with_role(stack: LocalStack) -> LocalStack:
    """The simulators, of which Graph lets the app cancel."""
    stack.entra.granted_roles = seed.APP_ROLES
    return stack


@pytest.fixture
def facade(watched_host: HostProcess, entra_with_role: LocalStack) -> Iterator[Facade]:
    """The same service as its other callers see it."""
    with requests.Session() as session:
        session.trust_env = False
        yield Facade(watched_host.url, session, entra_with_role)


@pytest.fixture
def sender(facade: Facade) -> Iterator[Sender]:
    """A sender with the newer secret of the first key.

    Whatever a test does with it, no user's token is asked for.
    """
    yield Sender(facade.url, facade.session, (NEW,))
    assert set(grants(facade.stack)) <= {CLIENT_CREDENTIALS}


@pytest.fixture
def sender_among_users(facade: Facade) -> Sender:
    """The same in a test in which a user takes part, too."""
    return Sender(facade.url, facade.session, (NEW,))


def cancels(stack: LocalStack) -> int:
    """Return how many cancels Graph was sent."""
    return sum(request.method == "POST" for request in stack.graph.received)


def mails_to_customers(stack: LocalStack) -> int:
    return sum(mail.kind == "customer" for mail in stack.graph.bookings.outbox)


def grants(stack: LocalStack) -> list[str]:
    """Return the grant of each token request that Entra got."""
    return [
        request.form["grant_type"]
        for request in stack.entra.received
        if "grant_type" in request.form
    ]


# Who is let in.


def test_a_signed_request_cancels_and_is_answered_like_any_other(
    sender: Sender, facade: Facade
) -> None:
    appointment_id = facade.book()
    answer = outcome_of(sender.deliver(appointment_id, message=MESSAGE))

    assert (answer.outcome, answer.cancelled, answer.confirmed, answer.replayed) == (
        "cancelled",
        True,
        True,
        False,
    )
    assert (answer.business_id, answer.appointment_id) == (seed.LUNCH_DELIVERY, appointment_id)
    (request,) = facade.stack.graph.received
    claims = facade.stack.entra.verify_graph_token(
        request.headers["authorization"].removeprefix("Bearer ")
    )
    assert (claims.app_only, claims.client_id) == (True, seed.API_CLIENT_ID)
    assert json.loads(request.body) == {"cancellationMessage": MESSAGE}


@pytest.mark.parametrize(
    "used",
    [(OLD,), (NEW,), (OLD, NEW), (STRANGERS, OLD)],
    ids=["old", "new", "both", "a stranger's beside it"],
)
def test_while_secrets_are_rotated_either_is_taken(facade: Facade, used: tuple[str, ...]) -> None:
    sender = Sender(facade.url, facade.session, used)
    assert outcome_of(sender.deliver(facade.book())).cancelled


def test_an_appointment_that_is_not_there_is_an_outcome_because_senders_would_try_again_for_days(
    sender: Sender,
) -> None:
    answer = outcome_of(sender.deliver("AAMkADnosuch="))
    assert (answer.outcome, answer.confirmed) == ("not_found", True)


REFUSED: dict[str, dict[str, Any]] = {
    "expired": {"age_s": 301},
    "from the future": {"age_s": -310},
    "tampered id": {"headers": {"webhook-id": "msg_another"}},
    "tampered timestamp": {"headers": {"webhook-timestamp": str(int(time.time()) - 100)}},
    "tampered body": {"sent": body_for("AAMkADanother=")},
    "a body that is no text": {"sent": b"\xff\xfe"},
    "no id": {"headers": {"webhook-id": None}},
    "no timestamp": {"headers": {"webhook-timestamp": None}},
    "no signature": {"headers": {"webhook-signature": None}},
    "an id with a space": {"webhook_id": "a b"},
    "a long id": {"webhook_id": "x" * 256},
    "a timestamp that is no number": {"headers": {"webhook-timestamp": "now"}},
    "a signature that is none": {"headers": {"webhook-signature": "v1,,"}},
    "a bearer token instead": {
        "headers": {"webhook-signature": None, "Authorization": "Bearer a.b.c"}
    },
}


@pytest.mark.parametrize("how", REFUSED.values(), ids=REFUSED.keys())
def test_whoever_is_not_proved_is_refused_before_anything_is_asked(
    sender: Sender, facade: Facade, how: dict[str, Any]
) -> None:
    answer = sender.send(body_for(facade.book()), **how)

    problem = problem_of(answer)
    assert (problem.status, problem.code, problem.retryable) == (401, "invalid_signature", False)
    assert answer.headers["WWW-Authenticate"] == "StandardWebhooks"
    assert (facade.stack.entra.asked, facade.stack.graph.received) == ([], [])


def test_an_unknown_secret_is_refused_alike(facade: Facade) -> None:
    stranger = Sender(facade.url, facade.session, (STRANGERS,))
    assert problem_of(stranger.deliver(facade.book())).code == "invalid_signature"
    assert facade.stack.graph.received == []


def test_headers_that_come_twice_are_refused(sender: Sender, facade: Facade) -> None:
    body = body_for(facade.book())
    headers = signed(body, secrets=(NEW,))
    for twice in headers:
        connection = http.client.HTTPConnection(
            facade.url.removeprefix("http://"), timeout=PATIENCE_S
        )
        connection.putrequest("POST", PATH)
        for name, value in [
            *headers.items(),
            (twice, headers[twice]),
            ("Content-Type", "application/json"),
        ]:
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["code"]) == (401, "invalid_signature"), (
            twice
        )
        connection.close()
    assert facade.stack.graph.received == []


@pytest.mark.parametrize(
    "business_id",
    [seed.REPAIRS, "nosuch@contoso.com", f"{seed.LUNCH_DELIVERY}.", "\u212aelvin@a.b"],
)
def test_a_key_is_good_for_its_own_businesses_alone(
    sender: Sender, facade: Facade, business_id: str
) -> None:
    problem = problem_of(sender.deliver("AAMkADrepair1=", business_id=business_id))
    assert (problem.status, problem.code) == (403, "caller_not_allowed")
    assert (facade.stack.entra.asked, facade.stack.graph.received) == ([], [])


def test_its_own_business_is_known_as_it_was_pasted(sender: Sender, facade: Facade) -> None:
    business_id = f"\ufeff{seed.LUNCH_DELIVERY}\r\n"
    assert outcome_of(sender.deliver(facade.book(), business_id=business_id)).cancelled


@pytest.mark.parametrize(
    "appointment_id",
    [
        f"../../{seed.REPAIRS}/appointments/AAMkADrepair1=",
        f"x/..\\../{seed.REPAIRS}/appointments/X",
    ],
)
def test_no_id_leads_out_of_the_business_of_a_key(
    sender: Sender, facade: Facade, appointment_id: str
) -> None:
    problem = problem_of(sender.deliver(appointment_id))
    assert (problem.status, problem.code) == (400, "invalid_request")
    assert facade.stack.graph.received == []


def test_the_names_of_svix_are_taken_where_none_of_the_standards_came(
    sender: Sender, facade: Facade
) -> None:
    body, webhook_id = body_for(facade.book()), new_id()
    standard = signed(body, webhook_id=webhook_id, secrets=(NEW,))
    svix = {name.replace("webhook-", "svix-"): value for name, value in standard.items()}
    left_out: dict[str, str | None] = dict.fromkeys(standard)
    assert outcome_of(sender.send(body, headers={**left_out, **svix})).cancelled
    # The same id under the other names is the same delivery.
    assert outcome_of(sender.send(body, webhook_id=webhook_id)).replayed
    for one in standard:
        mixed = {**left_out, **svix, one: standard[one]}
        assert problem_of(sender.send(body, headers=mixed)).code == "invalid_signature"


def test_an_empty_body_is_said_to_be_one_before_the_signature_is_looked_at(
    sender: Sender, facade: Facade
) -> None:
    unsigned: dict[str, str | None] = {"webhook-signature": None, "Content-Type": None}
    for headers in ({}, unsigned):
        problem = problem_of(sender.send(body_for(facade.book()), sent=b"", headers=headers))
        assert (problem.status, problem.code) == (400, "invalid_request")
        assert problem.detail == "The body is empty; send Content-Length."


def test_another_key_is_good_for_others(facade: Facade) -> None:
    repairs = Sender(facade.url, facade.session, (OF_REPAIRS,))
    assert outcome_of(
        repairs.deliver(facade.book(business_id=seed.REPAIRS), business_id=seed.REPAIRS)
    ).cancelled
    assert problem_of(repairs.deliver(facade.book())).code == "caller_not_allowed"


@pytest.mark.parametrize(
    ("status", "code", "how"),
    [
        (400, "invalid_request", {"body": b"{"}),
        (400, "invalid_request", {"body": b"{}"}),
        (400, "invalid_request", {"body": b""}),
        (413, "payload_too_large", {"body": b" " * 65_537}),
        (413, "payload_too_large", {"body": b" " * 65_537, "headers": {"webhook-signature": None}}),
        (415, "unsupported_media_type", {"body": b"{}", "headers": {"Content-Type": "text/plain"}}),
    ],
    ids=[
        "no JSON",
        "no ids",
        "no body",
        "too large",
        "too large, and not even signed",
        "another media type",
    ],
)
def test_what_a_person_has_to_mend_is_a_4xx(
    sender: Sender, status: int, code: str, how: dict[str, Any]
) -> None:
    problem = problem_of(sender.send(**how))
    assert (problem.status, problem.code, problem.retryable) == (status, code, False)


WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=80)
HEADERS = WORDS | st.from_regex(
    r"(v1a?,[A-Za-z0-9+/=,]{0,50} ?){0,4}|[0-9.eE+_-]{0,20}", fullmatch=True
).filter(lambda text: "\n" not in text)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            WORDS | st.sampled_from(["businessId", "appointmentId"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
BODIES = JSON.map(lambda value: json.dumps(value).encode()) | WORDS.map(str.encode)
STATUSES = {row.status.value for row in TABLE.values()} - {500} | {200}


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "webhook-id",
                "webhook-timestamp",
                "webhook-signature",
                "Content-Type",
                "Accept",
                "Idempotency-Key",
            ]
        ),
        HEADERS.map(lambda text: text.strip().encode()),
        max_size=3,
    ),
    BODIES,
    st.none() | BODIES | st.binary(max_size=60),
)
def test_no_input_is_answered_with_anything_but_the_contract(
    sender: Sender, headers: dict[str, bytes], body: bytes, sent: bytes | None
) -> None:
    # Bytes are sent as they are.
    answer = sender.send(body, headers=headers, sent=sent)  # type: ignore[arg-type]

    assert answer.status_code in STATUSES
    assert answer.status_code not in (408, 410)
    if answer.status_code == 200:
        outcome_of(answer)
    else:
        problem_of(answer, answer.headers["Content-Type"])


# One delivery is one cancel.


def test_a_redelivery_is_a_replay_whatever_its_timestamp(sender: Sender, facade: Facade) -> None:
    webhook_id, appointment_id = new_id(), facade.book()
    first = outcome_of(sender.deliver(appointment_id, webhook_id=webhook_id, age_s=200))
    again = outcome_of(sender.deliver(appointment_id, webhook_id=webhook_id))

    assert (first.cancelled, first.replayed) == (True, False)
    assert (again.cancelled, again.confirmed, again.replayed) == (True, True, True)
    assert (cancels(facade.stack), mails_to_customers(facade.stack)) == (1, 1)


def test_so_is_that_of_an_appointment_that_was_not_there(sender: Sender, facade: Facade) -> None:
    webhook_id = new_id()
    answers = [outcome_of(sender.deliver("AAMkADlater=", webhook_id=webhook_id)) for _ in range(2)]
    assert [(answer.outcome, answer.replayed) for answer in answers] == [
        ("not_found", False),
        ("not_found", True),
    ]
    assert cancels(facade.stack) == 1


def test_another_delivery_for_the_same_appointment_is_a_replay_too(
    sender: Sender, facade: Facade
) -> None:
    appointment_id = facade.book()
    assert [outcome_of(sender.deliver(appointment_id)).replayed for _ in range(2)] == [False, True]
    assert cancels(facade.stack) == 1


def test_a_replay_is_given_to_whoever_has_another_secret_of_the_same_key(facade: Facade) -> None:
    webhook_id, appointment_id = new_id(), facade.book()
    answers = [
        outcome_of(
            Sender(facade.url, facade.session, (secret,)).deliver(
                appointment_id, webhook_id=webhook_id
            )
        )
        for secret in (OLD, NEW)
    ]
    assert [answer.replayed for answer in answers] == [False, True]


def test_an_id_that_comes_with_another_body_is_refused(sender: Sender, facade: Facade) -> None:
    webhook_id = new_id()
    assert outcome_of(sender.deliver(facade.book(), webhook_id=webhook_id)).cancelled
    problem = problem_of(sender.deliver(facade.book(), webhook_id=webhook_id))
    assert (problem.status, problem.code, problem.retryable) == (
        422,
        "idempotency_key_reused",
        False,
    )
    assert "webhook-id" in problem.detail
    assert "Idempotency-Key" not in problem.detail
    assert cancels(facade.stack) == 1


def test_the_id_is_the_key_and_the_header_of_that_name_is_not_read(
    sender: Sender, facade: Facade
) -> None:
    ignored = {"Idempotency-Key": "not a key, even"}
    for _ in range(2):
        assert outcome_of(sender.deliver(facade.book(), headers=ignored)).replayed is False


def test_two_deliveries_at_once_are_one_cancel_and_one_mail(sender: Sender, facade: Facade) -> None:
    webhook_id, appointment_id = new_id(), facade.book()
    facade.stack.graph.faults.add(Fault(step="cancel", delay_s=0.4))
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(
                lambda _: outcome_of(sender.deliver(appointment_id, webhook_id=webhook_id)),
                range(4),
            )
        )

    assert sorted(answer.replayed for answer in answers) == [False, True, True, True]
    assert all(answer.cancelled for answer in answers)
    assert (cancels(facade.stack), mails_to_customers(facade.stack)) == (1, 1)


def test_two_keys_may_make_up_the_same_id(sender: Sender, facade: Facade) -> None:
    webhook_id = new_id()
    repairs = Sender(facade.url, facade.session, (OF_REPAIRS,))
    assert outcome_of(sender.deliver(facade.book(), webhook_id=webhook_id)).replayed is False
    elsewhere = outcome_of(
        repairs.deliver(
            facade.book(business_id=seed.REPAIRS), business_id=seed.REPAIRS, webhook_id=webhook_id
        )
    )
    assert (elsewhere.cancelled, elsewhere.replayed) == (True, False)


def test_what_a_user_did_is_not_replayed_to_a_sender_nor_the_other_way_round(
    sender_among_users: Sender, facade: Facade
) -> None:
    sender = sender_among_users
    webhook_id, theirs, ours = new_id(), facade.book(), facade.book()
    assert (
        facade.cancel(theirs, headers={"Idempotency-Key": webhook_id}).json()["outcome"]
        == "cancelled"
    )
    answer = outcome_of(sender.deliver(theirs, webhook_id=webhook_id))
    assert (answer.outcome, answer.replayed) == ("not_found", False)

    assert outcome_of(sender.deliver(ours)).cancelled
    body = facade.cancel(ours).json()
    assert (body["outcome"], body["replayed"]) == ("not_found", False)


def test_a_delivery_is_remembered_for_a_week(entra_with_role: LocalStack) -> None:
    services, clock = build_services(entra_with_role.environment_with_webhooks), Clock()
    operation = WebhookOperation(replace(services, records=MemoryStore(clock.now)))
    webhook_id, body = new_id(), body_for(seed.EXAMPLE_APPOINTMENT)

    def deliver() -> tuple[str, bool]:
        journal = Journal(new_id(), time.monotonic)
        headers = {"content-type": "application/json", **signed(body, webhook_id=webhook_id)}
        work = operation.admit(Incoming(headers, body), journal)
        said = json.loads(
            operation.carry_out(work, services.deadline(10.0, journal.started_at), journal).body
        )
        return said["outcome"], said["replayed"]

    assert deliver() == ("cancelled", False)
    clock.turn(7 * 24 * 3600 - 1)
    assert deliver() == ("cancelled", True)
    clock.turn(2)
    assert deliver() == ("not_found", False)


# Whose token is used.


@pytest.mark.parametrize(
    "trouble", ["none", "no consent", "throttled", "broken", "refused by Graph"]
)
def test_a_user_is_never_acted_for_as_the_application_whatever_fails(
    sender_among_users: Sender, facade: Facade, trouble: str
) -> None:
    # So that there is a token that could be borrowed.
    outcome_of(sender_among_users.deliver(facade.book()))
    facade.stack.entra.clear_received()
    facade.stack.graph.clear_received()
    match trouble:
        case "no consent":
            facade.stack.entra.revoke_consent(seed.ADELE)
        case "throttled":
            facade.stack.entra.faults.add(
                Fault(step="token", status=429, headers={"Retry-After": "60"}, times=None)
            )
        case "broken":
            facade.stack.entra.faults.add(
                Fault(step="token", status=200, body={"token_type": "Bearer"}, times=None)
            )
        case "refused by Graph":
            facade.stack.graph.faults.add(
                Fault(step="cancel", status=401, body={"error": {"code": "x"}}, times=None)
            )
    answer = facade.cancel(facade.book())

    assert (answer.status_code == 200) == (trouble == "none")
    assert set(grants(facade.stack)) == {ON_BEHALF_OF}
    for request in facade.stack.graph.received:
        claims = facade.stack.entra.verify_graph_token(
            request.headers["authorization"].removeprefix("Bearer ")
        )
        assert (claims.app_only, claims.object_id) == (False, seed.ADELE.object_id)


def test_the_log_tells_who_was_acted_for_and_which_key_it_was(
    sender_among_users: Sender, facade: Facade, watched_host: HostProcess
) -> None:
    for answer, told in (
        (
            sender_among_users.deliver(facade.book()),
            (
                "action=webhook",
                "acting=app",
                "key=partner-key",
                f"tenant={seed.TENANT_ID}",
                "delivery=",
            ),
        ),
        (facade.cancel(facade.book()), ("action=cancel", "acting=user", "caller=")),
    ):
        request_id = answer.json()["requestId"]
        printed = watched_host.wait_for(f"requestId={request_id}")
        (line,) = [
            line for line in printed.splitlines() if "event=request " in line and request_id in line
        ]
        assert [word for word in told if word not in line] == []
        assert ("caller=" in line) == ("acting=user" in line)


def test_the_log_names_our_own_fields_at_fault_and_nothing_of_the_callers(
    sender: Sender, watched_host: HostProcess
) -> None:
    answer = sender.send(b'{"appointmentId": "\\ud800", "customerOf Mrs": 1, "another": 2}')
    problem = problem_of(answer)
    assert problem.detail == "businessId is required (3 more faults; see errors)."
    printed = watched_host.wait_for(f"requestId={problem.request_id}")
    (line,) = [
        line
        for line in printed.splitlines()
        if "event=request " in line and problem.request_id in line
    ]
    assert "fields=businessId,appointmentId,unknown" in line
    assert "customerOf" not in printed


def test_a_token_that_graph_takes_no_more_is_replaced(sender: Sender, facade: Facade) -> None:
    outcome_of(sender.deliver(facade.book()))
    facade.stack.entra.clear_received()
    facade.stack.graph.revoke(service_principal_id(seed.API_CLIENT_ID))

    assert outcome_of(sender.deliver(facade.book())).confirmed
    (request,) = facade.stack.entra.asked
    assert json.loads(request.form["claims"])["access_token"].keys() == {"nbf", "xms_cc"}
    assert outcome_of(sender.deliver(facade.book())).cancelled
    assert len(facade.stack.entra.asked) == 1


@pytest.mark.parametrize("challenged", [True, False], ids=["with claims", "without"])
def test_where_graph_takes_no_token_at_all_an_operator_has_to_act(
    sender: Sender, facade: Facade, challenged: bool
) -> None:
    outcome_of(sender.deliver(facade.book()))  # so that there is a token to be refused
    facade.stack.entra.clear_received()
    facade.stack.graph.clear_received()
    claims = base64.b64encode(b'{"access_token":{"acrs":{"essential":true,"value":"c1"}}}').decode()
    challenge = (
        f'Bearer realm="", error="insufficient_claims", claims="{claims}"'
        if challenged
        else 'Bearer realm=""'
    )
    body = {"error": {"code": "InvalidAuthenticationToken", "message": PROSE}}
    facade.stack.graph.faults.add(
        Fault(
            step="cancel",
            status=401,
            body=body,
            headers={"WWW-Authenticate": challenge},
            times=None,
        )
    )

    answer = sender.deliver(facade.book())
    problem = problem_of(answer)
    assert (problem.status, problem.code) == (500, "misconfigured")
    assert "WWW-Authenticate" not in answer.headers
    assert (cancels(facade.stack), len(grants(facade.stack))) == (2, 1)


def test_graph_decides_what_the_application_may_do(sender: Sender, facade: Facade) -> None:
    body = {"error": {"code": "ErrorAccessDenied", "message": PROSE}}
    facade.stack.graph.faults.add(Fault(step="cancel", status=403, body=body))
    problem = problem_of(sender.deliver(facade.book()))
    assert (problem.status, problem.code, problem.retryable) == (403, "access_denied", False)
    assert "user" not in f"{problem.title} {problem.detail}"


@pytest.mark.parametrize("roles", [(), (seed.GRAPH_SCOPE,)], ids=["none", "the other"])
def test_without_the_roles_the_operator_is_told_both(
    sender: Sender, facade: Facade, roles: tuple[str, ...]
) -> None:
    stack, appointment_id = facade.stack, facade.book()
    stack.entra.granted_roles = roles
    stack.graph.revoke(service_principal_id(seed.API_CLIENT_ID))
    problem = problem_of(sender.deliver(appointment_id))
    assert (problem.status, problem.code, problem.retryable) == (500, "misconfigured", False)
    assert all(role in problem.detail for role in seed.APP_ROLES)
    assert stack.graph.bookings.exists(seed.LUNCH_DELIVERY, appointment_id)

    stack.entra.granted_roles = seed.APP_ROLES
    stack.graph.revoke(service_principal_id(seed.API_CLIENT_ID))
    assert outcome_of(sender.deliver(appointment_id)).cancelled


def test_throttling_by_graph_reaches_the_sender_with_a_time_to_wait(
    sender: Sender, facade: Facade
) -> None:
    facade.stack.graph.faults.add(
        Fault(step="cancel", status=429, headers={"Retry-After": "90"}, times=None)
    )
    answer = sender.deliver(facade.book())
    problem = problem_of(answer)
    assert (problem.status, problem.code, problem.retryable, answer.headers["Retry-After"]) == (
        429,
        "throttled",
        True,
        "90",
    )


# Services of their own: fresh caches, other settings.


def entra_says(status: int, body: Any = None, **headers: str) -> Fault:
    return Fault(
        step="token", status=status, body=body, headers=headers, match={"grant": CLIENT_CREDENTIALS}
    )


def test_one_token_serves_all_deliveries_and_none_is_had_while_entra_is_in_trouble(
    entra_with_role: LocalStack,
) -> None:
    stack = entra_with_role
    with (
        HostProcess(REPOSITORY, stack.environment_with_webhooks) as host,
        requests.Session() as session,
    ):
        session.trust_env = False
        sender, facade = Sender(host.url, session), Facade(host.url, session, stack)
        stack.entra.faults.add(
            entra_says(
                429, {"error": "slow_down", "error_description": PROSE}, **{"Retry-After": "31"}
            ),
            entra_says(503, **{"Retry-After": "20"}),
            entra_says(200, PROSE),
            entra_says(
                400, {"error": "invalid_scope", "error_description": PROSE, "error_codes": [70011]}
            ),
        )
        answers = [sender.deliver("AAMkADnosuch=") for _ in range(4)]
        problems = [problem_of(answer) for answer in answers]
        assert [(problem.status, problem.code) for problem in problems] == [
            (429, "throttled"),
            (503, "upstream_unavailable"),
            (502, "upstream_error"),
            (500, "misconfigured"),
        ]
        assert [answer.headers.get("Retry-After") for answer in answers] == ["31", "20", None, None]
        assert stack.graph.received == []

        stack.entra.clear_received()
        booked = [facade.book() for _ in range(12)]
        with ThreadPoolExecutor(6) as pool:
            assert all(outcome_of(answer).cancelled for answer in pool.map(sender.deliver, booked))
        (request,) = stack.entra.asked
        assert request.path == f"/{seed.TENANT_ID}/oauth2/v2.0/token"
        form = dict(request.form)
        assert json.loads(form.pop("claims")) == {"access_token": {"xms_cc": {"values": ["CP1"]}}}
        assert form.pop("client_info", "1") == "1"
        assert form == {
            "grant_type": CLIENT_CREDENTIALS,
            "client_id": seed.API_CLIENT_ID,
            "client_secret": seed.API_CLIENT_SECRET,
            "scope": "https://graph.microsoft.com/.default",
        }
    assert PROSE not in host.output()


def test_an_unknown_outcome_is_answered_before_senders_lose_patience_and_settled_by_the_redelivery(
    entra_with_role: LocalStack,
) -> None:
    stack = entra_with_role
    environment = {**stack.environment_with_webhooks, "REQUEST_DEADLINE_SECONDS": "50"}
    with HostProcess(REPOSITORY, environment) as host, requests.Session() as session:
        session.trust_env = False
        sender, facade = Sender(host.url, session), Facade(host.url, session, stack)
        webhook_id, appointment_id = new_id(), facade.book()
        stack.graph.faults.add(
            Fault(step="cancel", when="after", delay_s=20), Fault(step="get", delay_s=20)
        )
        started_at = time.monotonic()
        answer = sender.deliver(appointment_id, webhook_id=webhook_id)
        took_s = time.monotonic() - started_at

        problem = problem_of(answer)
        assert (problem.status, problem.code, problem.retryable) == (504, "outcome_unknown", True)
        assert int(answer.headers["Retry-After"]) >= 1
        assert took_s < 9

        again = outcome_of(sender.deliver(appointment_id, webhook_id=webhook_id))
        assert (again.outcome, again.confirmed, again.replayed) == ("not_found", False, False)
        assert outcome_of(sender.deliver(appointment_id, webhook_id=webhook_id)).replayed
    assert (cancels(stack), mails_to_customers(stack)) == (1, 1)


def test_without_keys_there_are_no_webhooks(running_host: HostProcess, stack: LocalStack) -> None:
    with requests.Session() as session:
        session.trust_env = False
        for headers in ({}, {"webhook-id": None}, {"Content-Type": "text/plain"}):
            problem = problem_of(
                Sender(running_host.url, session).deliver("AAMkADKoAAA=", headers=headers)
            )
            assert (problem.status, problem.code, problem.retryable) == (
                404,
                "webhooks_not_enabled",
                False,
            )
        assert (
            problem_of(
                session.post(f"{running_host.url}{PATH}", data=b"x" * 70_000, timeout=PATIENCE_S)
            ).code
            == "webhooks_not_enabled"
        )
    assert (stack.entra.asked, stack.graph.received) == ([], [])


def test_keys_that_are_none_stop_the_service_with_a_sentence(stack: LocalStack) -> None:
    keys = '[{"id": "a", "secrets": ["whsec_mark"], "businesses": ["b"]}]'
    with (
        HostProcess(REPOSITORY, {**stack.environment, "WEBHOOK_KEYS": keys}) as host,
        requests.Session() as session,
    ):
        session.trust_env = False
        problem = problem_of(Sender(host.url, session).deliver("AAMkADKoAAA="))
    assert (problem.status, problem.code) == (500, "misconfigured")
    assert problem.detail.startswith("The setting WEBHOOK_KEYS ")
    assert "mark" not in f"{problem.detail} {host.output()}"


# Real senders.


def send_from_javascript(deliveries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Run the sender in JavaScript, and return what it was answered."""
    home = node_packages.install("standard_webhooks")
    shutil.copy(REPOSITORY / "tests" / "integration" / "standard_webhooks" / "send.mjs", home)
    done = subprocess.run(
        ["node", "send.mjs"],
        cwd=home,
        input=json.dumps(deliveries),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def test_a_sender_in_javascript_is_understood(sender: Sender, facade: Facade) -> None:
    payload = {
        "businessId": seed.LUNCH_DELIVERY,
        "appointmentId": facade.book(),
        "cancellationMessage": "Grüße, 你好 👋",
    }
    good = {"url": f"{sender.url}{PATH}", "secret": NEW, "id": new_id(), "payload": payload}
    tampered = {**good, "tampered": {"appointmentId": "AAMkADanother="}}

    refused, first, again = send_from_javascript([tampered, good, good])

    assert (refused["status"], refused["answer"]["code"]) == (401, "invalid_signature")
    assert (first["status"], first["answer"]["outcome"], first["answer"]["replayed"]) == (
        200,
        "cancelled",
        False,
    )
    assert (again["status"], again["answer"]["outcome"], again["answer"]["replayed"]) == (
        200,
        "cancelled",
        True,
    )
    assert {mail.message for mail in facade.stack.graph.bookings.outbox} == {
        payload["cancellationMessage"]
    }
    assert cancels(facade.stack) == 1
