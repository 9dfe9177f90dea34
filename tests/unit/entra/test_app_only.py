"""App-only tokens, through MSAL and TLS against the simulator of Entra: what is asked, how seldom,
and what refusals mean where nobody can sign in.
"""

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from cancel_appointment.operation import CarriesOut
from cancel_appointment.triggers import WEBHOOK_WITHIN_S
from infra.local import seed
from infra.local.entra.exchange.obo import CLIENT_CREDENTIALS, ON_BEHALF_OF
from infra.local.entra.keys import unverified_claims
from infra.local.faults import Fault
from infra.local.stack import LocalStack
from shared.entra.app_only import AppOnly
from shared.entra.graph_token import GraphToken
from shared.entra.on_behalf_of import OnBehalfOf
from shared.entra.refusals import CredentialRefused
from shared.errors import FacadeError, Misconfigured, Throttled, UpstreamBroken, UpstreamUnavailable
from shared.identity.caller import Caller
from shared.identity.webhooks import WebhookSender
from shared.services import Services, build_services
from shared.transport.connections import Trust
from shared.transport.deadline import Deadline
from tests.property.exchanging import (
    THREADS,
    Clock,
    Worker,
    assert_keeps_quiet,
    endings,
    entra_says,
    gate_for_all_but_one,
    make_caller,
    start_worker,
)

SENDER, ANOTHER = (
    WebhookSender(seed.TENANT_ID, f"webhook:{key}", f"webhook:{key}", key, frozenset())
    for key in ("partner", "another")
)
HOUR_S = 3600.0
CHALLENGE = '{"access_token":{"nbf":{"essential":true,"value":"1"}}}'


@dataclass
class Desk:
    """One worker's app-only tokens."""

    worker: Worker
    stack: LocalStack

    @property
    def clock(self) -> Clock:
        return self.worker.clock

    def exchange(
        self,
        sender: WebhookSender = SENDER,
        *,
        refused: GraphToken | None = None,
        claims: str | None = None,
        within_s: float = 10.0,
    ) -> GraphToken:
        return self.worker.app_only.exchange(
            sender,
            Deadline(self.clock.now() + within_s, self.clock.now),
            refused=refused,
            claims=claims,
        )

    def refusal(self, *, refused: GraphToken | None = None, within_s: float = 10.0) -> FacadeError:
        with pytest.raises(FacadeError) as caught:
            self.exchange(refused=refused, within_s=within_s)
        return caught.value

    def asked(self) -> list[str]:
        return [request.form["grant_type"] for request in self.stack.entra.received]


@pytest.fixture
def desk(stack: LocalStack, worker: Worker) -> Desk:
    stack.entra.granted_roles = seed.APP_ROLES
    return Desk(worker, stack)


# What is asked, and how often.


def test_it_is_one_request_as_the_documentation_shows_it(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    token = desk.exchange()

    (request,) = desk.stack.entra.received
    assert (request.method, request.path) == ("POST", f"/{seed.TENANT_ID}/oauth2/v2.0/token")
    form = dict(request.form)
    assert json.loads(form.pop("claims")) == {"access_token": {"xms_cc": {"values": ["CP1"]}}}
    form.pop("client_info", None)
    assert form == {
        "grant_type": CLIENT_CREDENTIALS,
        "client_id": seed.API_CLIENT_ID,
        "client_secret": seed.API_CLIENT_SECRET,
        "scope": "https://graph.microsoft.com/.default",
    }
    claims = desk.stack.entra.verify_graph_token(token.value)
    assert (claims.app_only, claims.client_id, claims.roles) == (
        True,
        seed.API_CLIENT_ID,
        frozenset(seed.APP_ROLES),
    )
    assert (token.object_id, token.tenant_id) == (None, seed.TENANT_ID)
    assert token.value not in repr(token)
    assert_keeps_quiet(caplog)


def test_all_senders_share_one_token(desk: Desk) -> None:
    assert {desk.exchange(sender).value for sender in (SENDER, ANOTHER, SENDER)} == {
        desk.exchange().value
    }
    assert len(desk.asked()) == 1


def test_many_threads_are_one_request(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with gate_for_all_but_one(monkeypatch) as gate:
        ask, app_only = desk.worker.app_only._ask, desk.worker.app_only
        monkeypatch.setattr(
            app_only, "_ask", lambda *arguments: gate.wait(60.0) and ask(*arguments)
        )
        tokens = endings(lambda _: desk.exchange().value)
    assert len(set(tokens)) == 1
    assert len(tokens) == THREADS
    assert len(desk.asked()) == 1


def test_a_token_is_given_until_five_minutes_before_its_end(desk: Desk) -> None:
    first = desk.exchange().value
    desk.clock.turn(HOUR_S - 301)
    assert desk.exchange().value == first
    desk.clock.turn(2)
    assert desk.exchange().value != first


def test_a_challenge_of_graphs_replaces_the_token(desk: Desk) -> None:
    first = desk.exchange()
    second = desk.exchange(refused=first, claims=CHALLENGE)
    assert second.value != first.value
    assert desk.exchange() == second
    claims = [
        json.loads(request.form["claims"])["access_token"] for request in desk.stack.entra.received
    ]
    assert [set(wanted) for wanted in claims] == [{"xms_cc"}, {"xms_cc", "nbf"}]


def test_a_token_that_graph_refuses_is_asked_for_again_once_for_all_senders(desk: Desk) -> None:
    first = desk.exchange()
    second = desk.exchange(ANOTHER, refused=first)
    assert second.value != first.value
    assert desk.exchange(refused=first) == second
    assert len(desk.asked()) == 2


def test_users_and_the_application_share_a_credential_and_no_token(desk: Desk) -> None:
    caller = make_caller(desk.stack.entra)
    ours, theirs = desk.exchange(), desk.worker.exchange(caller)
    assert "scp" not in unverified_claims(ours.value)
    assert unverified_claims(theirs.value)["oid"] == caller.object_id
    theirs = desk.worker.exchange(caller, refused=theirs)
    assert desk.exchange().value == ours.value
    desk.exchange(refused=ours)
    assert desk.worker.exchange(caller) == theirs
    assert desk.asked() == [CLIENT_CREDENTIALS, ON_BEHALF_OF, ON_BEHALF_OF, CLIENT_CREDENTIALS]


@pytest.mark.parametrize("cloud", ["https://graph.microsoft.us", "https://dod-graph.microsoft.us"])
def test_the_cloud_chooses_the_graph(stack: LocalStack, trust: Trust, cloud: str) -> None:
    name = "dod" if "dod" in cloud else "usgov"
    desk = Desk(start_worker({**stack.environment, "CLOUD": name}, trust), stack)
    desk.exchange()
    assert stack.entra.received[-1].form["scope"] == f"{cloud}/.default"


# Refusals, and trouble.


@pytest.mark.parametrize(
    ("error", "number"),
    [
        ("invalid_grant", 50076),
        ("invalid_grant", 53003),
        ("interaction_required", None),
        ("invalid_grant", 65001),
        ("invalid_grant", None),
        ("invalid_grant", 7000114),
        ("unauthorized_client", 700016),
        ("invalid_scope", 70011),
        ("access_denied", None),
    ],
)
def test_what_entra_says_as_if_to_a_user_is_for_an_operator_to_mend(
    desk: Desk, error: str, number: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    desk.stack.entra.faults.add(
        entra_says(400, error, code=number, claims=CHALLENGE if number == 50076 else None)
    )
    refusal = desk.refusal()

    assert type(refusal) is Misconfigured
    assert refusal.upstream is not None
    assert refusal.upstream.code == (error if number is None else f"AADSTS{number}")
    assert_keeps_quiet(caplog, refusal)


def test_a_refusal_is_not_asked_for_again_at_once(desk: Desk) -> None:
    desk.stack.entra.faults.add(entra_says(400, "invalid_grant", code=65001))
    for _ in range(5):
        assert isinstance(desk.refusal(), Misconfigured)
    assert len(desk.asked()) == 1
    desk.stack.entra.faults.clear()
    desk.clock.turn(4)
    assert desk.exchange().value


def test_throttling_is_the_time_to_wait(desk: Desk) -> None:
    desk.stack.entra.faults.add(entra_says(429, "slow_down", headers={"Retry-After": "17"}))
    refusal = desk.refusal()
    assert isinstance(refusal, Throttled)
    assert refusal.retry_after_s == 17


def test_an_unreachable_entra_is_asked_once_more(desk: Desk) -> None:
    desk.stack.entra.faults.add(Fault(step="token", drop=True))
    first = desk.exchange()
    assert len(desk.asked()) == 2
    desk.stack.entra.faults.add(Fault(step="token", drop=True, times=2))
    assert type(desk.refusal(refused=first)) is UpstreamUnavailable


@pytest.mark.parametrize(
    "body",
    [
        "<html>",
        {"token_type": "Bearer"},
        {"access_token": "a b", "token_type": "Bearer", "expires_in": 9},
        [],
    ],
    ids=str,
)
def test_an_answer_without_a_token_is_none(desk: Desk, body: object) -> None:
    desk.stack.entra.faults.add(Fault(step="token", status=200, body=body))
    assert isinstance(desk.refusal(), UpstreamBroken)


def test_a_token_that_ended_before_it_came_is_nobodys_fault(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    app_only = desk.worker.app_only
    ask = app_only._ask

    def slowly(deadline: Deadline, claims: str | None) -> object:
        fresh = ask(deadline, claims)
        desk.clock.turn(HOUR_S)
        return fresh

    monkeypatch.setattr(app_only, "_ask", slowly)
    assert type(desk.refusal()) is UpstreamUnavailable


# Senders are no callers. mypy proves it, which complains of an ignore that is not needed.


if TYPE_CHECKING:

    def neither_kind_is_taken_for_the_other(
        app_only: AppOnly,
        on_behalf_of: OnBehalfOf,
        caller: Caller,
        deadline: Deadline,
        services: Services,
    ) -> None:
        app_only.exchange(caller, deadline)  # type: ignore[arg-type]
        on_behalf_of.exchange(SENDER, deadline)  # type: ignore[arg-type]
        CarriesOut[Caller](services, app_only)  # type: ignore[arg-type]
        CarriesOut[WebhookSender](services, on_behalf_of)  # type: ignore[arg-type]


# One credential for the whole worker.


def test_a_refused_credential_rests_for_users_and_application_alike(desk: Desk) -> None:
    desk.stack.entra.set_client_secret("rotated")
    assert isinstance(desk.refusal(), CredentialRefused)
    assert isinstance(desk.worker.refusal(make_caller(desk.stack.entra)), CredentialRefused)
    assert len(desk.asked()) == 1

    desk.worker.environment["CLIENT_SECRET"] = "rotated"
    desk.clock.turn(2)
    assert desk.worker.exchange(make_caller(desk.stack.entra)).value
    assert desk.exchange().value


def test_a_rotated_secret_is_picked_up_without_losing_a_delivery(desk: Desk) -> None:
    first = desk.exchange()
    desk.worker.environment["CLIENT_SECRET"] = "rotated"
    desk.stack.entra.set_client_secret("rotated")
    assert desk.exchange(refused=first).value != first.value


# What is built, and when.


def test_without_keys_nothing_is_built_for_webhooks(stack: LocalStack) -> None:
    services = build_services(stack.environment)
    assert services.webhooks is None


def test_with_keys_both_kinds_of_token_come_from_one_client(stack: LocalStack) -> None:
    services = build_services(stack.environment_with_webhooks)
    assert services.webhooks is not None
    assert services.webhooks.tokens._entra is services.tokens._entra
    assert services.webhooks.tokens._cache is not services.tokens._cache


@pytest.mark.parametrize(("set_s", "given_s"), [("50", 8.0), ("10", 8.0), ("5", 5.0)])
def test_senders_wait_no_longer_than_eight_seconds(
    stack: LocalStack, set_s: str, given_s: float
) -> None:
    deadline = build_services(
        {**stack.environment_with_webhooks, "REQUEST_DEADLINE_SECONDS": set_s}
    ).deadline(WEBHOOK_WITHIN_S, time.monotonic())
    assert given_s - 1 < deadline.remaining_s() < given_s
