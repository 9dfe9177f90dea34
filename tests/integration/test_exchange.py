"""The exchange over HTTP, through the official runtime.

What a caller gets when Entra or Graph asks for more, says no, or is in trouble.
"""

import base64
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from infra.local import seed
from infra.local.entra.errors import CONDITIONAL_ACCESS_CLAIMS, REFUSALS
from infra.local.faults import Fault
from infra.local.host.process import HostProcess
from infra.local.server import LocalServer
from infra.local.stack import LocalStack
from tests.client import Facade
from tests.conftest import REPOSITORY
from tests.property.exchanging import OTHER_TENANT

IDENTITY_CLIENT_ID = "c4b4d2c5-2f2f-4df4-9a4b-8a9f4f1f9d10"
PRINCIPAL_ID = "5f0e6c5e-9a0f-4e58-9d1c-6fb0f9f2a7aa"
STRONGER = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'


@pytest.fixture(autouse=True)
def quiet_host(running_host: HostProcess) -> Iterator[None]:
    """Whatever happens, the service prints no token, no secret and no description of Entra's."""
    seen = len(running_host.output())
    yield
    assert_quiet(running_host.output()[seen:])


def assert_quiet(printed: str) -> None:
    assert not re.search(r"eyJ[A-Za-z0-9_-]{8,}", printed)
    for forbidden in (seed.API_CLIENT_SECRET, "Trace ID", *(row.text for row in REFUSALS.values())):
        assert forbidden not in printed


def capable(facade: Facade, **token: Any) -> str:
    """Return the token of a client that can answer challenges.

    See learn.microsoft.com/entra/identity-platform/claims-challenge.
    """
    return facade.stack.entra.user_token(
        claims={"xms_cc": ["cp1"], **token.pop("claims", {})}, **token
    )


def challenge_of(answer: requests.Response) -> dict[str, str]:
    """Return the parameters of the one Bearer challenge.

    Each of them may come once (RFC 6750 section 3).
    """
    header = answer.headers["WWW-Authenticate"]
    assert header.startswith("Bearer ")
    parameters: list[tuple[str, str]] = re.findall(r'([a-z_]+)="([^"]*)"', header)
    assert ", ".join(f'{name}="{value}"' for name, value in parameters) == header.removeprefix(
        "Bearer "
    )
    assert len(dict(parameters)) == len(parameters)
    return dict(parameters)


def assert_challenged(answer: requests.Response, claims: str) -> None:
    body, challenge = answer.json(), challenge_of(answer)
    assert (answer.status_code, body["code"], body["retryable"]) == (
        401,
        "interaction_required",
        False,
    )
    assert challenge["error"] == "insufficient_claims"
    assert challenge["authorization_uri"].endswith(f"/{seed.TENANT_ID}/oauth2/v2.0/authorize")
    assert challenge["claims"] == body["claims"]
    assert base64.b64decode(body["claims"], validate=True).decode() == claims
    assert answer.headers["Cache-Control"] == "no-store"


# More is asked for


def test_mfa_demanded_by_entra_reaches_the_caller_as_a_challenge_that_can_be_met(
    facade: Facade,
) -> None:
    facade.stack.entra.require_mfa(seed.ADELE)
    appointment_id = facade.book()

    answer = facade.cancel(appointment_id, token=capable(facade))
    assert_challenged(answer, CONDITIONAL_ACCESS_CLAIMS)
    assert answer.json()["upstream"] | {"requestId": ""} == {
        "service": "entra",
        "status": 400,
        "code": "AADSTS50076",
        "requestId": "",
    }
    assert facade.stack.graph.received == []

    signed_in_again = capable(facade, claims={"amr": ["pwd", "mfa"]})
    assert facade.cancel(appointment_id, token=signed_in_again).json()["outcome"] == "cancelled"


@pytest.mark.parametrize("odd", ['"', "\\", "\r\nX-Injected: 1", "ä", "\u2028", "\x00"], ids=ascii)
def test_no_claim_breaks_out_of_the_header(facade: Facade, odd: str) -> None:
    claims = json.dumps(
        {"access_token": {"acrs": {"value": f"before{odd}after"}}}, separators=(",", ":")
    )
    facade.stack.entra.refuse(seed.ADELE, 50076, claims=claims)
    answer = facade.cancel(facade.book(), token=capable(facade))
    assert_challenged(answer, claims)
    assert "X-Injected" not in answer.headers


def test_a_revoked_graph_token_is_replaced_without_asking_the_user(facade: Facade) -> None:
    entra, graph, token = facade.stack.entra, facade.stack.graph, capable(facade)
    assert facade.cancel(facade.book(), token=token).json()["outcome"] == "cancelled"
    graph.revoke(seed.ADELE.object_id)
    graph.clear_received()

    answer = facade.cancel(facade.book(), token=token)

    assert (answer.status_code, answer.json()["outcome"], answer.json()["confirmed"]) == (
        200,
        "cancelled",
        True,
    )
    first, again = [request for request in entra.received if "assertion" in request.form]
    assert "nbf" not in json.loads(first.form["claims"])["access_token"]
    assert json.loads(again.form["claims"])["access_token"].keys() == {"nbf", "xms_cc"}
    refused, taken = graph.received
    assert refused.headers["authorization"] != taken.headers["authorization"]

    assert facade.cancel(facade.book(), token=token).json()["outcome"] == "cancelled"
    assert entra.exchanges() == 2  # the new one is kept


@pytest.mark.parametrize("claims", [None, STRONGER], ids=["bare", "with a challenge"])
def test_one_refused_graph_token_costs_one_exchange_however_many_requests_meet_the_refusal(
    facade: Facade, claims: str | None
) -> None:
    token = capable(facade, claims={"acrs": ["c1"]})
    facade.cancel(facade.book(), token=token)
    headers = {"WWW-Authenticate": 'Bearer realm=""'}
    if claims is not None:
        encoded = base64.b64encode(claims.encode()).decode()
        headers["WWW-Authenticate"] += f', error="insufficient_claims", claims="{encoded}"'
    for tenth in (3, 4, 5, 6):  # each is refused after the one before has its new token
        facade.stack.graph.faults.add(
            Fault(step="cancel", status=401, headers=headers, delay_s=tenth / 10)
        )
    appointments = [facade.book() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda one: facade.cancel(one, token=token), appointments))
    assert [answer.json()["outcome"] for answer in answers] == ["cancelled"] * 4
    assert facade.stack.entra.exchanges() == 2


def test_a_revoked_graph_token_that_entra_does_not_replace_is_a_challenge(facade: Facade) -> None:
    token = capable(facade)
    assert facade.cancel(facade.book(), token=token).json()["outcome"] == "cancelled"
    facade.stack.graph.revoke(seed.ADELE.object_id, claims=STRONGER)
    appointment_id = facade.book()

    assert_challenged(facade.cancel(appointment_id, token=token), STRONGER)
    assert facade.stack.entra.exchanges() == 2
    assert facade.stack.graph.bookings.exists(seed.LUNCH_DELIVERY, appointment_id)


def test_a_graph_that_refuses_the_new_token_too_is_asked_no_third_time(facade: Facade) -> None:
    encoded = base64.b64encode(STRONGER.encode()).decode()
    header = (
        'Bearer realm="", authorization_uri="https://login.example", error="insufficient_claims", '
        f'claims="{encoded}"'
    )
    body = {"error": {"code": "InvalidAuthenticationToken", "message": "Contoso"}}
    facade.stack.graph.faults.add(
        Fault(
            step="cancel", status=401, body=body, headers={"WWW-Authenticate": header}, times=None
        )
    )

    answer = facade.cancel(facade.book(), token=capable(facade, claims={"acrs": ["c1"]}))

    assert_challenged(answer, STRONGER)
    assert len(facade.stack.graph.received) == facade.stack.entra.exchanges() == 2


@pytest.mark.parametrize(
    ("capabilities", "for_makers"),
    [(["cp1"], False), (["CP1"], False), ([], True), ("cp1", True), (None, True)],
    ids=repr,
)
def test_a_caller_that_cannot_answer_a_challenge_gets_words_that_a_maker_understands(
    facade: Facade, capabilities: object, for_makers: bool
) -> None:
    facade.stack.entra.require_mfa(seed.ADELE)
    claims = {} if capabilities is None else {"xms_cc": capabilities}
    answer = facade.cancel(facade.book(), token=facade.stack.entra.user_token(claims=claims))
    assert_challenged(answer, CONDITIONAL_ACCESS_CLAIMS)
    assert ("open its connection and sign in again" in answer.json()["detail"]) is for_makers


# Entra says no, or is in trouble

ENDINGS = {
    50013: (401, "invalid_token", False),
    50173: (401, "invalid_token", False),
    50079: (401, "interaction_required", False),
    53003: (401, "interaction_required", False),
    53004: (403, "access_denied", False),
    530032: (403, "access_denied", False),
    50105: (403, "access_denied", False),
    65001: (403, "consent_required", False),
    90094: (403, "consent_required", False),
    7000114: (403, "user_token_required", False),
    90055: (429, "throttled", True),
    50196: (429, "throttled", True),
    90033: (503, "upstream_unavailable", True),
    50000: (502, "upstream_error", False),
    500011: (500, "misconfigured", False),
    700016: (500, "misconfigured", False),
}


@pytest.mark.parametrize("code", ENDINGS)
def test_what_entra_says_becomes_an_answer_of_the_contract_and_graph_is_not_asked(
    facade: Facade, code: int
) -> None:
    facade.stack.entra.refuse(seed.ADELE, code)
    appointment_id = facade.book()
    answer = facade.cancel(appointment_id)
    body = answer.json()
    assert (answer.status_code, body["code"], body["retryable"]) == ENDINGS[code]
    assert body["upstream"]["code"] == f"AADSTS{code}"
    assert ("Retry-After" in answer.headers) == ("retryAfterSeconds" in body) == body["retryable"]
    assert ("WWW-Authenticate" in answer.headers) == (answer.status_code == 401)
    assert REFUSALS[code].text not in answer.text
    assert facade.stack.graph.received == []
    assert facade.stack.graph.bookings.exists(seed.LUNCH_DELIVERY, appointment_id)


def test_the_wait_that_entra_asks_for_is_passed_on(facade: Facade) -> None:
    facade.stack.entra.faults.add(Fault(step="token", status=429, headers={"Retry-After": "33"}))
    answer = facade.cancel(facade.book())
    assert (
        answer.status_code,
        answer.headers["Retry-After"],
        answer.json()["retryAfterSeconds"],
    ) == (429, "33", 33)


def test_consent_taken_back_and_given_again(facade: Facade) -> None:
    entra, appointment_id = facade.stack.entra, facade.book()
    entra.revoke_consent(seed.ADELE)
    assert facade.cancel(appointment_id).json()["code"] == "consent_required"
    entra.grant_consent(seed.ADELE)
    assert facade.cancel(appointment_id).json()["outcome"] == "cancelled"


def test_a_token_for_somebody_else_is_thrown_away(facade: Facade) -> None:
    entra, appointment_id = facade.stack.entra, facade.book()
    body = {
        "token_type": "Bearer",
        "expires_in": 3600,
        "access_token": entra.graph_token(seed.MEGAN),
        "id_token": entra.id_token(seed.MEGAN),
    }
    entra.faults.add(Fault(step="token", status=200, body=body))
    answer = facade.cancel(appointment_id)
    assert (answer.status_code, answer.json()["code"]) == (502, "upstream_error")
    assert facade.stack.graph.received == []
    assert facade.cancel(appointment_id).json()["outcome"] == "cancelled"


def test_the_same_token_sixty_four_times_is_one_exchange(facade: Facade) -> None:
    token = facade.stack.entra.user_token()
    appointments = [facade.book() for _ in range(64)]
    with ThreadPoolExecutor(64) as pool:
        answers = list(
            pool.map(
                lambda appointment_id: facade.cancel(appointment_id, token=token), appointments
            )
        )
    assert [answer.json()["outcome"] for answer in answers] == ["cancelled"] * 64
    assert facade.stack.entra.exchanges() == 1


# Hosts of their own


def test_a_wrong_credential_is_misconfigured_once_for_entra_and_for_everybody_else_at_once(
    fresh_host: tuple[HostProcess, Facade],
) -> None:
    host, facade = fresh_host
    facade.stack.entra.set_client_secret("another")
    appointment_id = facade.book()
    answers = [facade.cancel(appointment_id) for _ in range(5)]

    assert {
        (answer.status_code, answer.json()["code"], answer.json()["retryable"])
        for answer in answers
    } == {(500, "misconfigured", False)}
    assert {answer.json()["upstream"]["code"] for answer in answers} == {"AADSTS7000215"}
    assert facade.stack.entra.exchanges() == 1
    printed = host.wait_for("event=credential_refused code=AADSTS7000215")
    assert printed.count("event=credential_refused") == 1
    assert_quiet(printed)


@pytest.fixture
def fresh_host(stack: LocalStack) -> Iterator[tuple[HostProcess, Facade]]:
    with HostProcess(REPOSITORY, stack.environment) as host, requests.Session() as session:
        session.trust_env = False
        yield host, Facade(host.url, session, stack)


def test_a_guest_is_exchanged_where_they_are_a_guest(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack.entra, "tenant_ids", (seed.TENANT_ID, OTHER_TENANT))
    environment = {**stack.environment, "ALLOWED_TENANTS": f"{seed.TENANT_ID}, {OTHER_TENANT}"}
    with HostProcess(REPOSITORY, environment) as host, requests.Session() as session:
        session.trust_env = False
        facade = Facade(host.url, session, stack)
        appointment_id = facade.book()
        as_guest = facade.cancel(
            appointment_id, token=stack.entra.user_token(tenant_id=OTHER_TENANT)
        )
        at_home = facade.cancel(appointment_id)

    assert as_guest.json()["outcome"] == "not_found"  # the calendar is of the other tenant
    assert at_home.json()["outcome"] == "cancelled"
    exchanged_at = [request.path for request in stack.entra.received if "assertion" in request.form]
    assert exchanged_at == [
        f"/{OTHER_TENANT}/oauth2/v2.0/token",
        f"/{seed.TENANT_ID}/oauth2/v2.0/token",
    ]
    theirs, ours = (
        stack.entra.verify_graph_token(request.headers["authorization"].split()[1])
        for request in stack.graph.received
    )
    assert (theirs.tenant_id, ours.tenant_id) == (OTHER_TENANT, seed.TENANT_ID)


def test_a_guest_of_a_tenant_that_is_not_on_the_list_costs_entra_nothing(
    facade: Facade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facade.stack.entra, "tenant_ids", (seed.TENANT_ID, OTHER_TENANT))
    answer = facade.cancel(
        facade.book(), token=facade.stack.entra.user_token(tenant_id=OTHER_TENANT)
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "caller_not_allowed")
    assert facade.stack.entra.exchanges() == 0


def test_a_managed_identity_carries_the_whole_job_without_a_secret(stack: LocalStack) -> None:
    stack.entra.trust_managed_identity(IDENTITY_CLIENT_ID, PRINCIPAL_ID)
    with LocalServer(stack.entra.app) as platform:
        environment = {
            **{name: value for name, value in stack.environment.items() if name != "CLIENT_SECRET"},
            "MANAGED_IDENTITY_CLIENT_ID": IDENTITY_CLIENT_ID,
            "IDENTITY_ENDPOINT": f"{platform.url}/msi/token",
            "IDENTITY_HEADER": stack.entra.identity_header,
        }
        with HostProcess(REPOSITORY, environment) as host, requests.Session() as session:
            session.trust_env = False
            facade = Facade(host.url, session, stack)
            outcomes = [
                facade.cancel(facade.book(), token=stack.entra.user_token(user)).json()["outcome"]
                for user in (seed.ADELE, seed.MEGAN)
            ]
            printed = host.output()

    assert outcomes == ["cancelled", "cancelled"]
    assert sum(request.path == "/msi/token" for request in stack.entra.received) == 1
    assert stack.entra.exchanges() == 2
    assert stack.entra.identity_header not in printed
    assert_quiet(printed)
