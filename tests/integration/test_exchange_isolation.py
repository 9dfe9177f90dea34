"""Nothing obtained for one user reaches another.

Two users ask in parallel, on 64 threads, while Entra throttles one of them.

MSAL's own HTTP cache would hand one user's throttling, and even one user's token, to another. The
tests at the end put that cache back, and have to notice.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from requests.adapters import HTTPAdapter

from infra.local import seed
from infra.local.entra.simulator import EntraSimulator
from infra.local.faults import Fault
from infra.local.host.process import HostProcess
from infra.local.stack import LocalStack
from shared.entra import client as entra_client
from shared.entra import on_behalf_of
from shared.entra.graph_token import GraphToken
from shared.entra.http import EntraAnswer, EntraHttp
from shared.entra.refusals import AskedToWait
from shared.errors import FacadeError, Throttled, UpstreamBroken
from shared.identity.caller import Caller
from shared.transport.connections import Trust, open_trust
from shared.transport.deadline import Deadline
from tests.client import Facade
from tests.conftest import REPOSITORY
from tests.property.exchanging import (
    PATIENCE_S,
    THREADS,
    Worker,
    make_caller,
    owner_of,
    start_worker,
)

THROTTLED, FREE = seed.ADELE, seed.MEGAN
WAIT_S = 1234  # only the throttled user is asked to wait so long; nobody else may ever hear of it


def disturb(entra: EntraSimulator, *, turns: int) -> None:
    """Throttle one user in every way, again and again, for ten requests a turn.

    Both users' successes carry Retry-After.
    """
    mine, wait = {"user": THROTTLED.object_id}, {"Retry-After": str(WAIT_S)}
    entra.faults.add(
        Fault(
            step="token", headers={"Retry-After": "30"}, match={"user": FREE.object_id}, times=None
        )
    )
    for _ in range(turns):
        entra.faults.add(
            Fault(step="token", status=429, headers=wait, match=mine, times=2),
            Fault(step="token", headers=wait, match=mine, times=3),
            Fault(step="token", status=503, headers=wait, match=mine, times=2),
            Fault(
                step="token",
                status=429,
                headers=wait,
                body={"error": "temporarily_unavailable"},
                match=mine,
                times=1,
            ),
            Fault(step="token", headers=wait, match=mine, times=2),
        )


def owner_of_turn(number: int) -> seed.User:
    return FREE if number % 2 else THROTTLED


# Over HTTP


@pytest.fixture
def wide_facade(stack: LocalStack) -> Iterator[Facade]:
    """A service that lets all 64 threads work at one mailbox."""
    environment = {**stack.environment, "MAX_CONCURRENCY_PER_BUSINESS": str(THREADS)}
    with HostProcess(REPOSITORY, environment) as host, requests.Session() as session:
        session.trust_env = False
        session.mount("http://", HTTPAdapter(pool_maxsize=THREADS))
        yield Facade(host.url, session, stack)


@pytest.mark.timeout(300)
def test_a_throttled_user_and_a_free_one_get_only_what_is_their_own(wide_facade: Facade) -> None:
    requests_in_all = 2400
    stack = wide_facade.stack
    disturb(stack.entra, turns=requests_in_all // 20)
    owners = [owner_of_turn(number) for number in range(requests_in_all)]
    appointments = [wide_facade.book() for _ in owners]

    def cancel(number: int) -> requests.Response:
        token = stack.entra.user_token(
            owners[number]
        )  # a token of its own: nothing is served from the cache
        return wide_facade.cancel(appointments[number], token=token)

    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(cancel, range(requests_in_all)))

    endings: dict[seed.User, Counter[str]] = {THROTTLED: Counter(), FREE: Counter()}
    for owner, appointment_id, answer in zip(owners, appointments, answers, strict=True):
        body = answer.json()
        endings[owner][body.get("code", body.get("outcome"))] += 1
        stands = stack.graph.bookings.exists(seed.LUNCH_DELIVERY, appointment_id)
        if "outcome" in body:
            assert (
                answer.status_code,
                body["outcome"],
                body["confirmed"],
                body["appointmentId"],
            ) == (
                200,
                "cancelled",
                True,
                appointment_id,
            )
            assert not stands
        else:
            assert owner == THROTTLED
            assert answer.headers["Retry-After"] == str(WAIT_S)
            assert stands
    assert endings[FREE] == {"cancelled": requests_in_all // 2}
    assert endings[THROTTLED].keys() == {"cancelled", "throttled", "upstream_unavailable"}

    owner_of_appointment = dict(
        zip(appointments, (owner.object_id for owner in owners), strict=True)
    )
    seen = [(request.segments[-2], request.user) for request in stack.graph.received]
    assert all(owner_of_appointment[appointment_id] == user for appointment_id, user in seen)
    assert Counter(user for _, user in seen) == {
        owner.object_id: endings[owner]["cancelled"] for owner in (THROTTLED, FREE)
    }
    assert stack.entra.exchanges() == requests_in_all


# The exchange by itself, and what would happen without its guards


@pytest.fixture(scope="module")
def trust(running_stack: LocalStack) -> Trust:
    return open_trust(running_stack.bundle)


def crossings(
    worker: Worker,
    entra: EntraSimulator,
    *,
    exchanges: int,
    own_errors: tuple[type[FacadeError], ...],
) -> Counter[str]:
    """Exchange on many threads for both users; count what either got that was not their own."""
    found: Counter[str] = Counter()
    counting = threading.Lock()
    callers = [make_caller(entra, owner_of_turn(number)) for number in range(exchanges)]

    def exchange(caller: Caller) -> None:
        crossed = None
        try:
            if owner_of(worker.exchange(caller)) != caller.object_id:
                crossed = "another's token"
        except own_errors as error:
            if (
                caller.object_id != THROTTLED.object_id
                or getattr(error, "retry_after_s", WAIT_S) != WAIT_S
            ):
                crossed = "another's error"
        except FacadeError:
            crossed = "an answer that was for another"
        if crossed:
            with counting:
                found[crossed] += 1

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(exchange, caller) for caller in callers]:
            done.result(PATIENCE_S)
    return found


class TrustfulHttp(EntraHttp):
    """Hands every answer to MSAL unchanged, as a bare session would."""

    def post(self, url: str, *, data: Any, headers: Any, **_: Any) -> EntraAnswer:
        answer = self._send(
            urlsplit(url).path, data, headers, Deadline(time.monotonic() + 10, time.monotonic)
        )
        return EntraAnswer(answer.status, answer.body.decode(), answer.headers)


def trust_the_answer(token: GraphToken, caller: Caller) -> None:
    """Take an answer without comparing whom it is for."""


OWN = (Throttled, AskedToWait)


def test_thousands_of_exchanges_cross_nothing(stack: LocalStack, trust: Trust) -> None:
    disturb(stack.entra, turns=75)
    assert (
        crossings(
            start_worker(stack.environment, trust), stack.entra, exchanges=1500, own_errors=OWN
        )
        == {}
    )


@pytest.mark.parametrize(
    ("http_cache", "http", "own_errors"),
    [(dict, EntraHttp, OWN), (entra_client._NoHttpCache, TrustfulHttp, (UpstreamBroken,))],
    ids=["our client with MSAL's cache", "MSAL's client without its cache"],
)
def test_either_guard_alone_is_enough(
    stack: LocalStack,
    trust: Trust,
    monkeypatch: pytest.MonkeyPatch,
    http_cache: type[dict[Any, Any]],
    http: type[EntraHttp],
    own_errors: tuple[type[FacadeError], ...],
) -> None:
    monkeypatch.setattr(entra_client, "_NoHttpCache", http_cache)
    disturb(stack.entra, turns=10)
    worker = start_worker(stack.environment, trust, http=http)
    assert crossings(worker, stack.entra, exchanges=200, own_errors=own_errors) == {}


@pytest.fixture
def unguarded(stack: LocalStack, trust: Trust, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """The exchange as it would be with MSAL's own HTTP cache.

    Its client hands every answer to that cache.
    """
    monkeypatch.setattr(entra_client, "_NoHttpCache", dict)
    return start_worker(stack.environment, trust, http=TrustfulHttp)


def test_with_msals_own_cache_one_users_throttling_is_seen_to_reach_the_other(
    stack: LocalStack, unguarded: Worker
) -> None:
    stack.entra.faults.add(
        Fault(
            step="token",
            status=429,
            headers={"Retry-After": str(WAIT_S)},
            match={"user": THROTTLED.object_id},
        )
    )
    unguarded.refusal(make_caller(stack.entra, THROTTLED))
    found = crossings(unguarded, stack.entra, exchanges=100, own_errors=(UpstreamBroken,))
    assert found == {"another's error": 50}
    assert stack.entra.exchanges() == 1


def test_with_msals_own_cache_a_token_is_seen_to_be_offered_to_the_other(
    stack: LocalStack, unguarded: Worker
) -> None:
    stack.entra.faults.add(Fault(step="token", headers={"Retry-After": "60"}))
    unguarded.exchange(make_caller(stack.entra, FREE))
    assert crossings(unguarded, stack.entra, exchanges=100, own_errors=OWN) == {
        "an answer that was for another": 50
    }
    assert stack.entra.exchanges() == 1


def test_with_msals_own_cache_and_no_comparison_of_ids_a_token_is_seen_to_reach_the_other(
    stack: LocalStack, unguarded: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_behalf_of, "_check_owner", trust_the_answer)
    stack.entra.faults.add(Fault(step="token", headers={"Retry-After": "60"}))
    unguarded.exchange(make_caller(stack.entra, FREE))
    assert crossings(unguarded, stack.entra, exchanges=100, own_errors=OWN) == {
        "another's token": 50
    }
