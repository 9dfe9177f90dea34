"""The on-behalf-of exchange, through MSAL and TLS against the simulator of Entra."""

import json
import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from infra.local import seed
from infra.local.entra.keys import b64url
from infra.local.entra.simulator import EntraSimulator
from infra.local.faults import Fault
from infra.local.stack import LocalStack
from shared.entra.http import EntraHttp
from shared.entra.refusals import CredentialRefused
from shared.errors import (
    AccessDenied,
    FacadeError,
    InteractionRequired,
    Misconfigured,
    Throttled,
    TokenRejected,
    UpstreamAnswer,
    UpstreamBroken,
    UpstreamUnavailable,
)
from shared.settings import Settings
from shared.transport.channel import Channel
from shared.transport.connections import Trust, open_trust
from shared.transport.deadline import Deadline
from tests.property.exchanging import (
    OTHER_TENANT,
    PATIENCE_S,
    THREADS,
    Worker,
    assert_keeps_quiet,
    endings,
    gate_for_all_but_one,
    make_caller,
    owner_of,
    start_worker,
)

# What is asked


def test_an_exchange_is_one_request_as_the_documentation_shows_it(
    stack: LocalStack, worker: Worker
) -> None:
    caller = make_caller(stack.entra)
    worker.exchange(caller)

    (request,) = stack.entra.received
    assert (request.method, request.path) == ("POST", f"/{seed.TENANT_ID}/oauth2/v2.0/token")
    form = dict(request.form)
    assert sorted(form.pop("scope").split()) == [
        f"https://graph.microsoft.com/{seed.GRAPH_SCOPE}",
        "openid",
        "profile",
    ]
    assert json.loads(form.pop("claims")) == {"access_token": {"xms_cc": {"values": ["CP1"]}}}
    assert form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "requested_token_use": "on_behalf_of",
        "client_id": seed.API_CLIENT_ID,
        "client_secret": seed.API_CLIENT_SECRET,
        "client_info": "1",
        "assertion": caller.assertion,
    }


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_the_token_acts_for_the_caller_and_hides(
    stack: LocalStack, worker: Worker, log: pytest.LogCaptureFixture, version: str
) -> None:
    token = worker.exchange(make_caller(stack.entra, seed.MEGAN, version=version))

    graph = stack.entra.verify_graph_token(token.value)
    assert (graph.object_id, graph.tenant_id, graph.client_id) == (
        seed.MEGAN.object_id,
        seed.TENANT_ID,
        seed.API_CLIENT_ID,
    )
    assert (token.object_id, token.tenant_id) == (seed.MEGAN.object_id, seed.TENANT_ID)
    assert token.value not in repr(token)
    assert_keeps_quiet(log)


def test_guests_are_exchanged_at_the_tenant_of_their_token(
    stack: LocalStack, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack.entra, "tenant_ids", (seed.TENANT_ID, OTHER_TENANT))
    at_home, as_guest = make_caller(stack.entra), make_caller(stack.entra, tenant_id=OTHER_TENANT)
    assert worker.exchange(at_home).tenant_id == seed.TENANT_ID
    assert worker.exchange(as_guest).tenant_id == OTHER_TENANT
    assert [request.path for request in stack.entra.received] == [
        f"/{seed.TENANT_ID}/oauth2/v2.0/token",
        f"/{OTHER_TENANT}/oauth2/v2.0/token",
    ]


@pytest.mark.parametrize(
    ("cloud", "authority", "graph"),
    [
        ("global", "https://login.microsoftonline.com", "https://graph.microsoft.com"),
        ("usgov", "https://login.microsoftonline.us", "https://graph.microsoft.us"),
        ("dod", "https://login.microsoftonline.us", "https://dod-graph.microsoft.us"),
    ],
)
def test_the_cloud_chooses_authority_graph_and_scope_together(
    stack: LocalStack, trust: Trust, cloud: str, authority: str, graph: str
) -> None:
    here = {
        name: value
        for name, value in stack.environment.items()
        if name not in ("ENTRA_AUTHORITY_HOST", "GRAPH_ENDPOINT")
    }
    settings = Settings.read({**here, "CLOUD": cloud.upper()})
    assert (settings.entra_authority_host, settings.graph_endpoint) == (authority, graph)

    start_worker({**stack.environment, "CLOUD": cloud}, trust).exchange(make_caller(stack.entra))
    assert f"{graph}/{seed.GRAPH_SCOPE}" in stack.entra.received[-1].form["scope"].split()


def test_china_is_refused_with_the_reason(stack: LocalStack) -> None:
    with pytest.raises(
        Misconfigured,
        match="The setting CLOUD is 'china', and Microsoft Bookings does not exist there",
    ):
        Settings.read({**stack.environment, "CLOUD": "China"})


def test_the_credential_and_the_assertion_go_to_the_authority_and_nowhere_else(
    stack: LocalStack, trust: Trust
) -> None:
    channel = Channel(stack.entra_url, trust, keep=1)
    http = EntraHttp(channel, seed.TENANT_ID, lambda: 0.0)
    deadline = Deadline(10.0, lambda: 0.0)
    addresses = (
        "http://localhost/t/oauth2/v2.0/token",
        f"{stack.graph_url}/t",
        f"{stack.entra_url}.example/t",
        "https://user@localhost/t",
    )
    for url in addresses:
        with pytest.raises(FacadeError):
            http.post(url, deadline=deadline, data={}, headers={})
    assert len(stack.entra.received) == len(addresses)
    with pytest.raises(UpstreamBroken):
        http.get(f"{stack.entra_url}/common/userrealm/somebody")
    assert len(stack.entra.received) == len(addresses)
    assert not stack.graph.received


# How long it is kept


def test_a_warm_exchange_asks_nobody_until_the_assertion_ends(
    stack: LocalStack, worker: Worker
) -> None:
    caller = make_caller(stack.entra, lifetime_s=3600)
    first = worker.exchange(caller)
    worker.clock.time = caller.expires_at - 0.001
    assert worker.exchange(caller) == first
    assert stack.entra.exchanges() == 1


def test_an_assertion_past_its_end_is_refused_without_a_call(
    stack: LocalStack, worker: Worker
) -> None:
    warm, cold = make_caller(stack.entra), make_caller(stack.entra)
    worker.exchange(warm)
    worker.clock.time = warm.expires_at
    for caller in (warm, replace(cold, expires_at=warm.expires_at)):
        assert type(worker.refusal(caller)) is TokenRejected
    assert stack.entra.exchanges() == 1


@pytest.mark.parametrize(
    ("lifetime_s", "kept_s"),
    [(86400, 86100), (3600, 3300), (3000, 2700), (600, 540), (10, 9)],
    ids=lambda value: f"{value} s",
)
def test_a_token_is_let_go_before_its_end(
    stack: LocalStack, worker: Worker, monkeypatch: pytest.MonkeyPatch, lifetime_s: int, kept_s: int
) -> None:
    monkeypatch.setattr(stack.entra.endpoint, "cae_lifetime_s", float(lifetime_s))
    caller = make_caller(stack.entra, lifetime_s=100_000)
    start = worker.clock.now()
    first = worker.exchange(caller)
    worker.clock.time = start + kept_s - 0.001
    assert worker.exchange(caller) == first
    worker.clock.time = start + kept_s
    assert worker.exchange(caller) != first


def test_the_life_of_a_token_is_counted_from_before_it_was_asked_for(
    stack: LocalStack, trust: Trust
) -> None:
    class SlowHttp(EntraHttp):
        def post(self, url: str, **request: Any) -> Any:
            answer = super().post(url, **request)
            slow.clock.turn(4.0)
            return answer

    slow = start_worker(stack.environment, trust, http=SlowHttp)
    caller = make_caller(stack.entra, lifetime_s=200_000)
    start = slow.clock.now()
    first = slow.exchange(caller)
    slow.clock.time = start + 86400 - 300 - 0.001
    assert slow.exchange(caller) == first
    slow.clock.time = start + 86400 - 300
    assert slow.exchange(caller) != first


@pytest.mark.parametrize(
    ("assertion_s", "graph_token_s", "cause"),
    [
        pytest.param(3600, 10, UpstreamUnavailable, id="the token for Graph"),
        pytest.param(15, 3600, TokenRejected, id="the caller's own"),
        pytest.param(15, 10, TokenRejected, id="both"),
    ],
)
def test_what_ended_before_the_answer_came_decides_what_the_caller_can_do(
    stack: LocalStack,
    trust: Trust,
    monkeypatch: pytest.MonkeyPatch,
    assertion_s: int,
    graph_token_s: int,
    cause: type[FacadeError],
) -> None:
    class SlowHttp(EntraHttp):
        def post(self, url: str, **request: Any) -> Any:
            answer = super().post(url, **request)
            slow.clock.turn(20.0)
            return answer

    monkeypatch.setattr(stack.entra.endpoint, "cae_lifetime_s", float(graph_token_s))
    slow = start_worker(stack.environment, trust, http=SlowHttp)
    assert type(slow.refusal(make_caller(stack.entra, lifetime_s=assertion_s))) is cause


def test_a_challenge_of_graph_goes_to_entra_and_replaces_what_was_kept(
    stack: LocalStack, worker: Worker
) -> None:
    caller = make_caller(stack.entra)
    first = worker.exchange(caller)
    second = worker.exchange(
        caller, refused=first, claims='{"access_token":{"nbf":{"essential":true,"value":"1"}}}'
    )
    assert second.value != first.value
    assert worker.exchange(caller) == second
    assert stack.entra.exchanges() == 2
    assert json.loads(stack.entra.received[-1].form["claims"]) == {
        "access_token": {"nbf": {"essential": True, "value": "1"}, "xms_cc": {"values": ["CP1"]}}
    }


def test_a_challenge_that_entra_cannot_meet_silently_comes_back_with_its_claims(
    stack: LocalStack, worker: Worker
) -> None:
    caller = make_caller(stack.entra)
    first = worker.exchange(caller)
    wanted = '{"access_token":{"acrs":{"essential":true,"value":"c7"}}}'
    error = worker.refusal(caller, refused=first, claims=wanted)
    assert isinstance(error, InteractionRequired)
    assert error.claims == wanted
    assert type(worker.refusal(caller)) is InteractionRequired
    assert stack.entra.exchanges() == 2


def test_a_challenge_in_a_shape_of_its_own_is_broken_and_no_bug_of_ours(
    stack: LocalStack, worker: Worker
) -> None:
    assert (
        type(worker.refusal(make_caller(stack.entra), claims='{"access_token":["nbf"]}'))
        is UpstreamBroken
    )


def test_what_graph_refuses_is_exchanged_again_once(stack: LocalStack, worker: Worker) -> None:
    caller, other = make_caller(stack.entra), make_caller(stack.entra)
    first, theirs = worker.exchange(caller), worker.exchange(other)
    second = worker.exchange(caller, refused=first)
    assert second != first
    assert worker.exchange(caller, refused=first, claims="{}") == second
    assert worker.exchange(caller) == second
    assert worker.exchange(other) == theirs
    assert stack.entra.exchanges() == 3


def test_a_refused_assertion_is_not_asked_about_again_for_three_seconds(
    stack: LocalStack, worker: Worker
) -> None:
    stack.entra.disable_user(seed.ADELE)
    caller = make_caller(stack.entra)
    for _ in range(3):
        assert type(worker.refusal(caller)) is TokenRejected
    worker.clock.turn(2.99)
    assert type(worker.refusal(caller)) is TokenRejected
    assert stack.entra.exchanges() == 1
    worker.clock.turn(0.01)
    stack.entra.enable_user(seed.ADELE)
    assert worker.exchange(caller).object_id == seed.ADELE.object_id


def test_consent_that_was_just_given_counts_at_once_for_a_new_token(
    stack: LocalStack, worker: Worker
) -> None:
    stack.entra.revoke_consent(seed.ADELE)
    worker.refusal(make_caller(stack.entra))
    stack.entra.grant_consent(seed.ADELE)
    assert worker.exchange(make_caller(stack.entra)).object_id == seed.ADELE.object_id


# Answers that look like a success


def success(entra: EntraSimulator, **changes: object) -> dict[str, object]:
    """Return what Entra answers for Adele, with members changed, or left out where None."""
    body: dict[str, object] = {
        "token_type": "Bearer",
        "scope": f"email openid profile {seed.GRAPH_SCOPE}",
        "expires_in": 3600,
        "ext_expires_in": 3600,
        "access_token": entra.graph_token(seed.ADELE),
        "id_token": entra.id_token(seed.ADELE),
        **changes,
    }
    return {name: value for name, value in body.items() if value is not None}


def unsigned(payload: object) -> str:
    """Return a JWT that nobody signed: MSAL reads the claims and checks nothing."""
    return f"e30.{b64url(json.dumps(payload).encode())}.x"


LIFETIMES: list[object] = [
    None,
    0,
    -1,
    "0",
    "soon",
    "",
    "nan",
    "inf",
    "-5",
    "3600 ",
    "٣٦٠٠",
    True,
    3600.5,
    10**400,
    [3600],
    {"a": 1},
]
UNUSABLE: dict[str, Callable[[EntraSimulator], dict[str, object]]] = {
    "no access token": lambda entra: success(entra, access_token=None),
    "an empty access token": lambda entra: success(entra, access_token=""),
    "an access token that is no text": lambda entra: success(entra, access_token={"value": "x"}),
    "a blank in the access token": lambda entra: success(entra, access_token="two words"),
    "a line break in the access token": lambda entra: success(
        entra, access_token="token\r\nX-Injected: 1"
    ),
    "a line break after the access token": lambda entra: success(entra, access_token="token\n"),
    "an access token beyond ASCII": lambda entra: success(entra, access_token="tökén"),
    "a quotation mark in the access token": lambda entra: success(entra, access_token='to"ken'),
    "no token type": lambda entra: success(entra, token_type=None),
    "another token type": lambda entra: success(entra, token_type="pop"),
    "a token type that is no text": lambda entra: success(entra, token_type=["Bearer"]),
    "no id token": lambda entra: success(entra, id_token=None),
    "an id token of one part": lambda entra: success(entra, id_token="nonsense"),
    "an id token that is no JSON": lambda entra: success(entra, id_token="a.b.c"),
    "an id token that is no text": lambda entra: success(entra, id_token=5),
    "an id token without claims": lambda entra: success(entra, id_token=unsigned({})),
    "an id token that is a list": lambda entra: success(
        entra, id_token=unsigned([seed.ADELE.object_id])
    ),
    "an id token without oid": lambda entra: success(
        entra, id_token=entra.id_token(seed.ADELE, profile=False)
    ),
    "another user's id token": lambda entra: success(entra, id_token=entra.id_token(seed.MEGAN)),
    "the same user of another tenant": lambda entra: success(
        entra, id_token=entra.id_token(seed.ADELE, tenant_id=OTHER_TENANT)
    ),
    "a scope that is no text": lambda entra: success(entra, scope=7),
    **{
        f"expires_in {str(value)[:9]!r}": (
            lambda entra, value=value: success(entra, expires_in=value)  # type: ignore[misc]
        )
        for value in LIFETIMES
    },
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_success_that_is_none_is_broken_and_kept_from_everybody(
    stack: LocalStack, worker: Worker, log: pytest.LogCaptureFixture, case: str
) -> None:
    stack.entra.faults.add(Fault(step="token", status=200, body=UNUSABLE[case](stack.entra)))
    caller = make_caller(stack.entra)

    error = worker.refusal(caller)

    assert type(error) is UpstreamBroken
    assert error.upstream in (UpstreamAnswer("entra", 200), UpstreamAnswer("entra"))
    assert stack.entra.exchanges() == 1
    assert_keeps_quiet(log, error, also=("X-Injected", "tökén"))
    assert owner_of(worker.exchange(caller)) == seed.ADELE.object_id


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"expires_in": "3600"},
        {"token_type": "bearer"},
        {"expires_in": 10**11},
        {"client_info": "nonsense"},
        {"unknown": {"a": [1]}},
    ],
    ids=str,
)
def test_a_success_may_be_worded_in_more_than_one_way(
    stack: LocalStack, worker: Worker, changes: dict[str, object]
) -> None:
    stack.entra.faults.add(Fault(step="token", status=200, body=success(stack.entra, **changes)))
    assert owner_of(worker.exchange(make_caller(stack.entra))) == seed.ADELE.object_id


def test_a_byte_order_mark_is_no_part_of_an_answer(stack: LocalStack, worker: Worker) -> None:
    answers = {200: success(stack.entra), 400: {"error": "invalid_grant", "error_codes": [500341]}}
    for status, body in answers.items():
        text = f"\ufeff{json.dumps(body)}"
        stack.entra.faults.add(Fault(step="token", status=status, body=text))
    caller = make_caller(stack.entra)
    first = worker.exchange(caller)
    assert owner_of(first) == seed.ADELE.object_id
    assert type(worker.refusal(caller, refused=first)) is AccessDenied


def test_ids_are_compared_whatever_their_case(stack: LocalStack, worker: Worker) -> None:
    identity = unsigned({"oid": seed.ADELE.object_id.upper(), "tid": seed.TENANT_ID.upper()})
    stack.entra.faults.add(
        Fault(step="token", status=200, body=success(stack.entra, id_token=identity))
    )
    assert worker.exchange(make_caller(stack.entra)).object_id == seed.ADELE.object_id


def test_an_identity_that_does_not_match_raises_an_alarm_that_names_nobody(
    stack: LocalStack, worker: Worker, log: pytest.LogCaptureFixture
) -> None:
    stack.entra.faults.add(
        Fault(
            step="token",
            status=200,
            body=success(stack.entra, id_token=stack.entra.id_token(seed.MEGAN)),
        )
    )
    worker.refusal(make_caller(stack.entra))
    (alarm,) = [record for record in log.records if record.levelno >= logging.ERROR]
    assert alarm.getMessage() == f"event=exchange_identity_mismatch tenant={seed.TENANT_ID}"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(step="token", status=200, body="<html>Contoso must not be told</html>"),
        Fault(step="token", status=200),
        Fault(step="token", status=200, body=["a", "list"]),
        Fault(step="token", status=200, body=5),
        Fault(step="token", status=204),
        Fault(step="token", status=200, body="{" * 100_000),
        Fault(
            step="token",
            raw="HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\n\xff\xfe\x00\x01",
        ),
    ],
    ids=["HTML", "empty", "list", "number", "no content", "deep", "not UTF-8"],
)
def test_an_answer_that_cannot_be_read_is_broken(
    stack: LocalStack, worker: Worker, log: pytest.LogCaptureFixture, fault: Fault
) -> None:
    stack.entra.faults.add(fault)
    error = worker.refusal(make_caller(stack.entra))
    assert type(error) is UpstreamBroken
    assert stack.entra.exchanges() == 1
    assert_keeps_quiet(log, error)


def test_an_answer_beyond_all_bounds_is_broken_however_good_it_begins(
    stack: LocalStack, worker: Worker
) -> None:
    body = json.dumps(success(stack.entra)).ljust(300_000)
    stack.entra.faults.add(
        Fault(
            step="token",
            raw=(
                f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            ),
        )
    )
    assert type(worker.refusal(make_caller(stack.entra))) is UpstreamBroken


# No answer

UNANSWERED = {
    "dropped": Fault(step="token", drop=True),
    "dropped after the effect": Fault(step="token", drop=True, when="after"),
    "reset": Fault(step="token", reset=True),
    "truncated": Fault(step="token", truncate=True, when="after"),
    "truncated head": Fault(step="token", truncate=True),
    "not HTTP": Fault(step="token", raw="Contoso must not be told\r\n\r\n"),
    "corrupt gzip": Fault(
        step="token",
        raw=(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Encoding: "
            "gzip\r\nContent-Length: 4\r\n\r\nnope"
        ),
    ),
}


@pytest.mark.parametrize("case", UNANSWERED)
def test_no_answer_is_asked_for_once_more(stack: LocalStack, worker: Worker, case: str) -> None:
    stack.entra.faults.add(UNANSWERED[case])
    assert owner_of(worker.exchange(make_caller(stack.entra))) == seed.ADELE.object_id
    assert stack.entra.exchanges() == 2
    assert worker.clock.slept == [0.25]


@pytest.mark.parametrize("case", UNANSWERED)
def test_no_answer_twice_is_unavailable(
    stack: LocalStack, worker: Worker, log: pytest.LogCaptureFixture, case: str
) -> None:
    stack.entra.faults.add(UNANSWERED[case].model_copy(update={"times": None}))
    error = worker.refusal(make_caller(stack.entra))
    assert type(error) is UpstreamUnavailable
    assert stack.entra.exchanges() == 2
    assert_keeps_quiet(log, error)


def test_a_slow_answer_is_not_waited_for_beyond_the_deadline(
    stack: LocalStack, worker: Worker
) -> None:
    stack.entra.faults.add(Fault(step="token", delay_s=2.0))
    assert type(worker.refusal(make_caller(stack.entra), within_s=0.2)) is UpstreamUnavailable
    assert stack.entra.exchanges() == 1


@pytest.mark.parametrize(("within_s", "calls"), [(3.3, 2), (3.2, 1)])
def test_a_repeat_needs_room_before_the_deadline(
    stack: LocalStack, worker: Worker, within_s: float, calls: int
) -> None:
    stack.entra.faults.add(Fault(step="token", drop=True, times=None))
    worker.refusal(make_caller(stack.entra), within_s=within_s)
    assert stack.entra.exchanges() == calls


def test_an_authority_that_nobody_serves_is_unavailable(stack: LocalStack, trust: Trust) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    worker = start_worker(
        {**stack.environment, "ENTRA_AUTHORITY_HOST": f"https://localhost:{port}"}, trust
    )
    assert type(worker.refusal(make_caller(stack.entra))) is UpstreamUnavailable


def test_an_authority_that_nobody_vouches_for_is_told_nothing(stack: LocalStack) -> None:
    stranger = open_trust(None)
    error = start_worker(stack.environment, stranger).refusal(make_caller(stack.entra))
    assert type(error) is UpstreamUnavailable
    assert stack.entra.received == []


# Many threads


class GatedHttp(EntraHttp):
    """Sends nothing before ``gate`` opens."""

    gate: threading.Event

    def post(self, url: str, **request: Any) -> Any:
        assert self.gate.wait(PATIENCE_S)
        return super().post(url, **request)


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        (None, None),
        (50173, TokenRejected),
        (50076, InteractionRequired),
        (53004, AccessDenied),
        (500011, Misconfigured),
        (7000215, CredentialRefused),
        (50196, Throttled),
        (90036, UpstreamBroken),
    ],
)
def test_identical_requests_are_one_exchange_and_each_gets_an_answer_of_its_own(
    stack: LocalStack,
    trust: Trust,
    monkeypatch: pytest.MonkeyPatch,
    code: int | None,
    ending: type[FacadeError] | None,
) -> None:
    if code is not None:
        stack.entra.refuse(seed.ADELE, code)
    caller = make_caller(stack.entra)
    with gate_for_all_but_one(monkeypatch) as gate:
        worker = start_worker(
            stack.environment, trust, http=type("Gated", (GatedHttp,), {"gate": gate})
        )
        results = endings(lambda _: worker.exchange(caller))

    assert stack.entra.exchanges() == 1
    if ending is None:
        assert len(set(map(repr, results))) == 1
        return
    assert {type(result) for result in results} == {ending}
    assert len({id(result) for result in results}) == THREADS
    assert len({str(vars(result)) for result in results}) == 1


def test_a_cold_start_of_many_users_costs_one_request_each(
    stack: LocalStack, worker: Worker
) -> None:
    callers = [
        make_caller(stack.entra, (seed.ADELE, seed.MEGAN, seed.LYNNE)[number % 3])
        for number in range(THREADS)
    ]
    results = endings(lambda number: owner_of(worker.exchange(callers[number])))
    assert results == [caller.object_id for caller in callers]
    assert len(stack.entra.received) == stack.entra.exchanges() == THREADS


def test_nothing_is_kept_per_user_beside_the_cache(
    stack: LocalStack, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack.entra, "tenant_ids", (seed.TENANT_ID, OTHER_TENANT))
    for user in seed.USERS:
        for tenant in (seed.TENANT_ID, OTHER_TENANT):
            worker.exchange(make_caller(stack.entra, user, tenant_id=tenant))
    apps = list(worker.tokens._entra._credential.take().apps.values())
    assert len(apps) == 2
    for app in apps:
        assert not list(app.token_cache.search("AccessToken"))
        assert not list(app.token_cache.search("IdToken"))
        assert not app.http_client._expiring_mapping._mapping


def test_a_changed_credential_takes_its_applications_with_it(
    stack: LocalStack, worker: Worker
) -> None:
    worker.exchange(make_caller(stack.entra))
    former = worker.tokens._entra._credential.take()
    worker.environment["CLIENT_SECRET"] = "another"
    stack.entra.set_client_secret("another")
    worker.exchange(make_caller(stack.entra))
    current = worker.tokens._entra._credential.take()
    assert current.apps
    assert not {id(app) for app in former.apps.values()} & {id(a) for a in current.apps.values()}
