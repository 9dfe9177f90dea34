import asyncio
import base64
import contextlib
import gzip
import json
import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.local.server import LocalServer
from infra.local.tls import LocalAuthority
from shared.errors import TokenRejected, UpstreamUnavailable
from shared.identity import signing_keys
from shared.identity.key_sets import (
    KeysUnavailable,
    SigningKey,
    fetch_signing_keys,
    read_signing_keys,
)
from shared.identity.signing_keys import KeyNotYetKnown, SigningKeys
from shared.transport.channel import Channel
from shared.transport.connections import Trust, open_trust

TENANT = "11111111-1111-1111-1111-111111111111"
PATIENCE_S = 60.0
HOUR = 3600.0


@cache
def public_key(size: int = 2048, exponent: int = 65537, serial: int = 0) -> rsa.RSAPublicKey:
    return rsa.generate_private_key(exponent, size).public_key()


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


class Entra:
    """A fake fetch that counts its calls.

    It lists what it is told to, waits at a gate, and fails when it is down.
    """

    def __init__(self, *kids: str) -> None:
        self.kids = list(kids)
        self.error: BaseException | None = None
        self.calls: list[tuple[str, str]] = []
        self.started = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, tenant_id: str, version: str) -> Mapping[str, SigningKey]:
        self.calls.append((tenant_id, version))
        self.started.release()
        assert self.gate.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        return {kid: SigningKey(kid, None, public_key()) for kid in self.kids}

    @property
    def down(self) -> bool:
        return self.error is not None

    @down.setter
    def down(self, value: bool) -> None:
        self.error = KeysUnavailable("down") if value else None


class Background:
    """Work put aside until the test runs it."""

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def __call__(self, work: Callable[[], None]) -> None:
        self.work.append(work)

    def run(self) -> int:
        work, self.work = self.work, []
        for each in work:
            each()
        return len(work)


class Bench:
    def __init__(self, *kids: str) -> None:
        self.clock, self.entra, self.background = Clock(), Entra(*kids), Background()
        self.keys = SigningKeys(self.entra, now=self.clock, run_in_background=self.background)

    def find(
        self,
        kid: str = "a",
        tenant: str = TENANT,
        version: str = "2.0",
        *,
        age_s: float = math.inf,
    ) -> str:
        return self.keys.find(tenant, version, kid, age_s).kid

    @property
    def calls(self) -> int:
        return len(self.entra.calls)


@pytest.fixture
def bench() -> Bench:
    return Bench("a", "b")


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Released once by each thread that waits for another's fetch."""
    joined = threading.Semaphore(0)

    class WatchedEvent(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            joined.release()
            return super().wait(timeout)

    monkeypatch.setattr(signing_keys, "Event", WatchedEvent)
    return joined


def acquire(semaphore: threading.Semaphore, times: int = 1) -> None:
    for _ in range(times):
        assert semaphore.acquire(timeout=PATIENCE_S)


# Known keys.


def test_keys_are_loaded_once_and_served_without_asking(bench: Bench) -> None:
    assert [bench.find("a"), bench.find("b"), bench.find("a")] == ["a", "b", "a"]
    assert bench.entra.calls == [(TENANT, "2.0")]
    assert not bench.background.work


def test_each_tenant_and_version_has_keys_of_its_own(bench: Bench) -> None:
    bench.find("a")
    bench.entra.kids = ["c"]
    assert bench.find("c", version="1.0") == "c"
    assert bench.find("c", tenant="other") == "c"
    with pytest.raises(TokenRejected):
        bench.find("a", tenant="other")
    assert bench.find("a") == "a"


def test_use_after_an_hour_refreshes_in_the_background_and_serves_the_old_key_meanwhile(
    bench: Bench,
) -> None:
    bench.find("a")
    bench.clock.time += HOUR
    bench.entra.kids = ["b", "c"]
    assert [bench.find("a") for _ in range(10)] == ["a"] * 10
    assert (bench.calls, len(bench.background.work)) == (1, 1)
    bench.background.run()
    assert bench.find("c") == "c"
    assert bench.calls == 2


def test_a_key_that_is_no_longer_listed_is_dead_at_once(bench: Bench) -> None:
    bench.find("a")
    bench.clock.time += HOUR
    bench.entra.kids = ["b"]
    bench.find("b")
    bench.background.run()
    with pytest.raises(TokenRejected):
        bench.find("a")
    assert bench.find("b") == "b"


def test_a_failed_refresh_keeps_the_last_known_keys_and_is_tried_again_after_5_minutes(
    bench: Bench,
) -> None:
    bench.find("a")
    bench.entra.down = True
    bench.clock.time += HOUR
    bench.find("a")
    assert bench.background.run() == 1
    bench.clock.time += 299.0
    bench.find("a")
    assert bench.background.run() == 0
    bench.clock.time += 1.0
    assert bench.find("a") == "a"
    assert bench.background.run() == 1


def test_keys_live_24_hours_after_they_were_last_listed(bench: Bench) -> None:
    bench.find("a")
    bench.entra.down = True
    bench.clock.time += 24 * HOUR - 1
    assert bench.find("a") == "a"
    bench.background.run()
    bench.clock.time += 5.0
    with pytest.raises(UpstreamUnavailable):
        bench.find("a")
    bench.entra.down = False
    bench.clock.time += 5.0
    assert bench.find("a") == "a"


def test_a_refresh_that_finds_no_thread_serves_the_key_and_is_tried_again_later(
    bench: Bench,
) -> None:
    def no_thread(work: Callable[[], None]) -> None:
        raise RuntimeError("can't start new thread")

    keys = SigningKeys(bench.entra, now=bench.clock, run_in_background=no_thread)
    keys.find(TENANT, "2.0", "a")
    bench.clock.time += HOUR
    assert keys.find(TENANT, "2.0", "a").kid == "a"
    assert keys.find(TENANT, "2.0", "b").kid == "b"


def test_the_default_background_is_a_thread(bench: Bench) -> None:
    keys = SigningKeys(bench.entra, now=bench.clock)
    keys.warm(TENANT, "2.0")
    acquire(bench.entra.started)
    assert keys.find(TENANT, "2.0", "a").kid == "a"
    assert bench.calls == 1


# The first load.


def test_warm_loads_in_the_background_and_whoever_asks_meanwhile_waits_for_it(
    bench: Bench, waiting: threading.Semaphore
) -> None:
    bench.keys.warm(TENANT, "2.0")
    bench.keys.warm(TENANT, "2.0")
    assert (bench.calls, len(bench.background.work)) == (0, 1)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(bench.find, "a")
        acquire(waiting)
        bench.background.run()
        assert asking.result(PATIENCE_S) == "a"
    bench.keys.warm(TENANT, "2.0")
    assert (bench.calls, bench.background.work) == (1, [])


def test_a_first_load_is_one_fetch_for_all_threads(
    bench: Bench, waiting: threading.Semaphore
) -> None:
    bench.entra.gate.clear()
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(bench.find, ["a", "b"] * 8)
        acquire(waiting, 15)
        bench.entra.gate.set()
        assert set(answers) == {"a", "b"}
    assert bench.calls == 1


def test_a_failed_first_load_answers_all_who_wait_and_is_tried_again_after_seconds(
    bench: Bench, waiting: threading.Semaphore
) -> None:
    bench.entra.down = True
    bench.entra.gate.clear()

    def fail(_: int) -> float:
        with pytest.raises(UpstreamUnavailable) as caught:
            bench.find("a")
        return caught.value.retry_after_s

    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(fail, range(16))
        acquire(waiting, 15)
        bench.entra.gate.set()
        assert set(answers) == {5.0}
    assert bench.calls == 1
    bench.clock.time += 4.9
    assert fail(0) == 1.0
    assert bench.calls == 1
    bench.entra.down = False
    bench.clock.time += 0.1
    assert bench.find("a") == "a"


def test_an_unexpected_fault_of_the_fetch_is_raised_and_releases_those_who_wait(
    bench: Bench, waiting: threading.Semaphore
) -> None:
    bench.entra.error = ZeroDivisionError("a bug")
    bench.entra.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(bench.find, "a")
        acquire(bench.entra.started)
        waiter = pool.submit(bench.find, "a")
        acquire(waiting)
        bench.entra.gate.set()
        assert isinstance(leader.exception(PATIENCE_S), ZeroDivisionError)
        assert isinstance(waiter.exception(PATIENCE_S), UpstreamUnavailable)
    bench.entra.error = None
    bench.clock.time += 5.0
    assert bench.find("a") == "a"


def test_a_failure_is_logged_with_its_reason(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.entra.down = True
    with caplog.at_level(logging.WARNING), pytest.raises(UpstreamUnavailable):
        bench.find("a")
    assert caplog.messages == [
        f"signing_keys=unavailable tenant={TENANT} version=2.0 reason='down'"
    ]


# Unknown key ids.


def test_a_new_key_is_found_by_one_fetch_even_right_after_the_first_load(bench: Bench) -> None:
    bench.find("a")
    bench.entra.kids = ["a", "new"]
    assert bench.find("new") == "new"
    assert bench.calls == 2


def test_whoever_has_just_loaded_the_list_does_not_load_it_again_for_an_unknown_id(
    bench: Bench,
) -> None:
    with pytest.raises(TokenRejected):
        bench.find("made up")
    assert bench.calls == 1
    bench.entra.kids = ["new"]
    assert bench.find("new") == "new"


@pytest.mark.parametrize("down", [False, True], ids=["answering", "down"])
def test_made_up_ids_cost_one_fetch_in_5_minutes(bench: Bench, down: bool) -> None:
    bench.find("a")
    bench.entra.down = down
    expected = UpstreamUnavailable if down else TokenRejected
    for number in range(100):
        with pytest.raises(expected):
            bench.find(f"made up {number}")
    assert bench.calls == 2
    bench.clock.time += 299.0
    with pytest.raises(expected):
        bench.find("made up")
    assert bench.calls == 2
    bench.clock.time += 1.0
    with pytest.raises(expected):
        bench.find("made up")
    assert bench.calls == 3
    assert bench.find("a") == "a"


def test_a_new_key_is_not_called_forged_after_a_stranger_has_used_up_the_fetch(
    bench: Bench,
) -> None:
    bench.find("a")
    bench.clock.time += 10.0
    with pytest.raises(TokenRejected):
        bench.find("made up", age_s=0.0)  # this was looked for just now
    bench.entra.kids.append("new")
    bench.clock.time += 100.0
    for age_s in (0.0, 99.0):
        with pytest.raises(KeyNotYetKnown) as caught:
            bench.find("new", age_s=age_s)
        assert caught.value.retry_after_s == 200.0
    for age_s in (100.0, 5000.0):  # issued before the last look, which would have found its key
        with pytest.raises(TokenRejected):
            bench.find("made up", age_s=age_s)
    bench.clock.time += 199.5
    with pytest.raises(KeyNotYetKnown) as caught:
        bench.find("new", age_s=0.0)
    assert caught.value.retry_after_s == 1.0
    bench.clock.time += 0.5
    assert bench.find("new", age_s=0.0) == "new"
    assert bench.calls == 3


def test_who_waited_for_a_look_that_began_before_its_token_was_issued_is_asked_to_come_again(
    bench: Bench, waiting: threading.Semaphore
) -> None:
    bench.find("a")
    bench.clock.time += 10.0
    bench.entra.gate.clear()
    with ThreadPoolExecutor(3) as pool:
        acquire(bench.entra.started)
        stranger = pool.submit(bench.find, "made up", age_s=0.0)
        acquire(bench.entra.started)
        bench.clock.time += 2.0
        younger = pool.submit(bench.find, "new", age_s=1.0)
        older = pool.submit(bench.find, "old", age_s=3.0)
        acquire(waiting, 2)
        bench.entra.gate.set()
        assert isinstance(stranger.exception(PATIENCE_S), TokenRejected)
        assert isinstance(younger.exception(PATIENCE_S), KeyNotYetKnown)
        assert isinstance(older.exception(PATIENCE_S), TokenRejected)
    assert bench.calls == 2


def test_an_unknown_id_is_not_called_forged_while_entra_cannot_be_asked(bench: Bench) -> None:
    bench.find("a")
    bench.entra.kids.append("new")
    bench.entra.down = True
    bench.clock.time += 10.0
    with pytest.raises(UpstreamUnavailable):
        bench.find("new")
    bench.clock.time += 100.0
    with pytest.raises(UpstreamUnavailable) as caught:
        bench.find("new")
    assert caught.value.retry_after_s == 200.0
    bench.entra.down = False
    bench.clock.time += 200.0
    assert bench.find("new") == "new"
    with pytest.raises(TokenRejected):
        bench.find("made up")


def test_a_storm_of_made_up_ids_grows_nothing(bench: Bench) -> None:
    bench.find("a")
    for number in range(10_000):
        with pytest.raises(TokenRejected):
            bench.find(f"made up {number}" * 10)
    entry = bench.keys._entries[TENANT, "2.0"]
    assert len(bench.keys._entries) == 1
    assert set(entry.keys) == {"a", "b"}


def test_known_ids_never_wait_for_the_fetch_that_an_unknown_one_started(
    bench: Bench, waiting: threading.Semaphore
) -> None:
    bench.find("a")
    bench.entra.kids = ["a", "new"]
    bench.entra.gate.clear()
    with ThreadPoolExecutor(16) as pool:
        acquire(bench.entra.started)
        asking = [pool.submit(bench.find, "new") for _ in range(16)]
        acquire(bench.entra.started)
        acquire(waiting, 15)
        bench.clock.time += HOUR
        assert bench.find("a") == "a"
        assert not bench.background.work, "one refresh at a time"
        bench.entra.gate.set()
        assert {each.result(PATIENCE_S) for each in asking} == {"new"}
    assert bench.calls == 2


def test_an_unknown_id_waits_for_a_refresh_under_way_and_then_asks_itself(
    bench: Bench, waiting: threading.Semaphore
) -> None:
    bench.find("a")
    bench.clock.time += HOUR
    bench.find("a")
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(bench.find, "new")
        acquire(waiting)
        bench.background.run()  # the answer was on its way before the new key was listed
        with pytest.raises(TokenRejected):
            asking.result(PATIENCE_S)
    assert bench.calls == 3


def test_one_tenant_does_not_wait_for_another(bench: Bench) -> None:
    bench.find("a", tenant="known")
    bench.entra.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        acquire(bench.entra.started)
        slow = pool.submit(bench.find, "a")
        acquire(bench.entra.started)
        assert bench.find("a", tenant="known") == "a"
        bench.entra.gate.set()
        assert slow.result(PATIENCE_S) == "a"


def test_a_fetch_that_never_comes_back_does_not_hold_others_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing_keys, "_WAIT_S", 0.0)
    bench.keys.warm(TENANT, "2.0")
    with pytest.raises(UpstreamUnavailable):
        bench.find("a")


def test_rotation_under_load_refuses_no_valid_token() -> None:
    clock, entra = Clock(), Entra("0")
    keys = SigningKeys(entra, now=clock)
    rounds, threads = 20, 8
    barrier = threading.Barrier(threads, timeout=PATIENCE_S)

    def call(number: int) -> int:
        found = 0
        for turn in range(rounds):
            if barrier.wait() == 0:
                clock.time += 301.0
                entra.kids = [str(turn), str(turn + 1)]
            barrier.wait()
            for kid in (str(turn + 1), str(turn)):
                found += keys.find(TENANT, "2.0", kid).kid == kid
            with pytest.raises(TokenRejected):
                keys.find(TENANT, "2.0", f"made up by {number}")
        return found

    with ThreadPoolExecutor(threads) as pool:
        running: list[Future[int]] = [pool.submit(call, number) for number in range(threads)]
        assert [each.result(PATIENCE_S) for each in running] == [2 * rounds] * threads
    assert len(entra.calls) <= 1 + rounds + rounds // 11, (
        "a load, one refetch in each 5 minutes, an hourly refresh"
    )


# Reading a key set.


def b64(number: int) -> str:
    return (
        base64.urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8))
        .rstrip(b"=")
        .decode()
    )


def jwk(
    kid: object = "a", *, key: rsa.RSAPublicKey | None = None, **members: object
) -> dict[str, object]:
    numbers = (key or public_key()).public_numbers()
    return {
        "kty": "RSA",
        "use": "sig",
        "kid": kid,
        "x5t": kid,
        "n": b64(numbers.n),
        "e": b64(numbers.e),
        "x5c": ["MII"],
        **members,
    }


def test_a_key_set_as_entra_publishes_it_is_read() -> None:
    templated = "https://login.microsoftonline.com/{tenantid}/v2.0"
    keys = read_signing_keys(
        {
            "keys": [
                jwk("a", issuer=templated, cloud_instance_name="microsoftonline.com"),
                jwk("b", alg="RS256"),
            ]
        }
    )
    assert keys == {
        "a": SigningKey("a", templated, public_key()),
        "b": SigningKey("b", None, public_key()),
    }


UNUSABLE: dict[str, object] = {
    "not an object": "key",
    "null": None,
    "nested list": [[]],
    "no kid": {name: value for name, value in jwk().items() if name != "kid"},
    "kid is a number": jwk(7),
    "kid is a list": jwk(["a"]),
    "kid is empty": jwk(""),
    "kid is huge": jwk("a" * 10_000),
    "elliptic": jwk(kty="EC", crv="P-256", x="AA", y="AA"),
    "symmetric": {"kty": "oct", "use": "sig", "kid": "a", "k": "AAAA"},
    "for encryption": jwk(use="enc"),
    "no use": {name: value for name, value in jwk().items() if name != "use"},
    "another algorithm": jwk(alg="HS256"),
    "algorithm is null": jwk(alg=None),
    "issuer is a number": jwk(issuer=5),
    "issuer is a list": jwk(issuer=["https://login.microsoftonline.com/{tenantid}/v2.0"]),
    "modulus is a number": jwk(n=5),
    "modulus is empty": jwk(n=""),
    "modulus is not base64": jwk(n="\ud800é%%%"),
    "modulus of 1024 bits": jwk(n=b64(public_key().public_numbers().n >> 1024 | 1)),
    "modulus of 2047 bits": jwk(n=b64((1 << 2046) + 1)),
    "modulus of 12000 bits": jwk(n=b64((1 << 11_999) + 1)),
    "modulus of megabits": jwk(n="A" * 400_000),
    "exponent 1": jwk(e=b64(1)),
    "exponent 3": jwk(e=b64(3)),
    "exponent even": jwk(e=b64(65538)),
    "exponent of 40 bits": jwk(e=b64((1 << 40) + 1)),
    "exponent is missing": {name: value for name, value in jwk().items() if name != "e"},
    "exponent is true": jwk(e=True),
}


@pytest.mark.parametrize("unusable", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_an_unusable_key_is_left_out(unusable: object) -> None:
    assert set(read_signing_keys({"keys": [unusable, jwk("good"), unusable]})) == {"good"}
    with pytest.raises(KeysUnavailable):
        read_signing_keys({"keys": [unusable]})


def test_a_private_key_is_read_as_its_public_half() -> None:
    assert (
        read_signing_keys({"keys": [jwk("a", d="AQAB", p="AQAB")]})["a"].public_key == public_key()
    )


def test_an_id_given_to_two_keys_means_neither() -> None:
    twice = [jwk("a"), jwk("b"), jwk("a", key=public_key(serial=1)), jwk("a")]
    assert set(read_signing_keys({"keys": twice})) == {"b"}


def test_an_id_given_to_two_issuers_means_neither() -> None:
    assert set(
        read_signing_keys({"keys": [jwk("a"), jwk("b"), jwk("a", issuer="https://other")]})
    ) == {"b"}


def test_the_same_key_listed_twice_is_one_key() -> None:
    assert set(read_signing_keys({"keys": [jwk("a"), jwk("a")]})) == {"a"}


@pytest.mark.parametrize(
    "listed",
    [None, {}, "keys", 5, [], [jwk()] * 1001],
    ids=["null", "object", "text", "number", "empty", "1001"],
)
def test_a_list_that_is_none_is_refused(listed: object) -> None:
    with pytest.raises(KeysUnavailable):
        read_signing_keys({"keys": listed})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
members = st.sampled_from(["kty", "use", "kid", "n", "e", "alg", "issuer", "d"])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.dictionaries(members, json_values | st.sampled_from(["RSA", "sig", "AQAB"])), max_size=5
    )
)
def test_whatever_a_key_set_holds_it_is_read_or_refused(listed: list[dict[str, object]]) -> None:
    with pytest.raises(KeysUnavailable):
        read_signing_keys({"keys": listed})


# Fetching, over TLS.


class Authority:
    """A tiny authority: each path answers with what the test puts there.

    Remembers the paths it was asked for.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[], web.Response]] = {}
        self.paths: list[str] = []
        self.app = web.Application()
        self.app.router.add_get("/{path:.*}", self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.raw_path)
        if request.path == "/chunked":
            return await self._stream(request, web.StreamResponse())
        if request.path == "/drip":
            answer = web.StreamResponse()
            await answer.prepare(request)
            with contextlib.suppress(ConnectionError):
                while True:
                    await answer.write(b" ")
                    await asyncio.sleep(0.02)
            return answer
        if request.path == "/cut":
            answer = await self._stream(
                request, web.StreamResponse(headers={"Content-Length": "100000"})
            )
            assert request.transport is not None
            request.transport.close()
            return answer
        answer = (
            self.answers[request.path]()
            if request.path in self.answers
            else web.json_response({}, status=404)
        )
        answer.force_close()
        return answer

    async def _stream(self, request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
        answer.force_close()
        await answer.prepare(request)
        for octet in json.dumps({"keys": [jwk("chunked")]}).encode():
            await answer.write(bytes([octet]))
        return answer

    def put(self, path: str, body: object, **options: object) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers[path] = lambda: web.Response(body=raw, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalAuthority, Path]:
    authority = LocalAuthority()
    return authority, authority.write_bundle(tmp_path_factory.mktemp("trust") / "ca.pem")


@pytest.fixture(scope="module")
def running(trust: tuple[LocalAuthority, Path]) -> Iterator[tuple[Authority, str]]:
    authority = Authority()
    with LocalServer(authority.app, tls=trust[0].server_context()) as server:
        yield authority, server.url


@pytest.fixture
def authority(running: tuple[Authority, str]) -> Authority:
    running[0].answers.clear()
    running[0].paths.clear()
    return running[0]


@pytest.fixture
def host(running: tuple[Authority, str]) -> str:
    return running[1]


@pytest.fixture(scope="module")
def roots(trust: tuple[LocalAuthority, Path]) -> Trust:
    return open_trust(trust[1])


V1, V2 = (
    f"/{TENANT}/.well-known/openid-configuration",
    f"/{TENANT}/v2.0/.well-known/openid-configuration",
)


def fetch(
    roots: Trust, host: str, version: str = "2.0", tenant: str = TENANT
) -> dict[str, SigningKey]:
    channel = Channel(host, roots, keep=4)
    return fetch_signing_keys(channel, host, tenant, version, timeout_s=(5.0, 5.0))


@pytest.mark.parametrize(
    ("version", "metadata", "jwks"),
    [("1.0", V1, "/common/discovery/keys"), ("2.0", V2, f"/{TENANT}/discovery/v2.0/keys")],
)
def test_keys_are_found_by_way_of_the_metadata(
    roots: Trust,
    host: str,
    authority: Authority,
    version: str,
    metadata: str,
    jwks: str,
) -> None:
    authority.put(metadata, {"issuer": "x", "jwks_uri": host + jwks})
    authority.put(jwks, {"keys": [jwk("a")]})
    assert set(fetch(roots, host, version)) == {"a"}
    assert authority.paths == [metadata, jwks]


def test_a_tenant_is_one_segment_of_the_path(roots: Trust, host: str, authority: Authority) -> None:
    with pytest.raises(KeysUnavailable):
        fetch(roots, host, tenant="../a?b#c")
    assert authority.paths == ["/..%2Fa%3Fb%23c/v2.0/.well-known/openid-configuration"]


def test_compressed_and_chunked_answers_are_read(
    roots: Trust, host: str, authority: Authority
) -> None:
    metadata = gzip.compress(json.dumps({"jwks_uri": f"{host}/chunked"}).encode())
    authority.put(V2, metadata, headers={"Content-Encoding": "gzip"})
    assert set(fetch(roots, host)) == {"chunked"}


@pytest.mark.parametrize(
    "jwks_uri",
    [
        None,
        5,
        [],
        "",
        "/keys",
        "keys",
        "http://localhost:{port}/keys",
        "https://localhost/keys",
        "https://127.0.0.1:{port}/keys",
        "https://localhost:{port}@127.0.0.1:{port}/keys",
        "https://localhost:{port}",
        "https://localhost:{port}.evil.example/keys",
        "https://localhost:{port}\\@evil.example/keys",
        "https://evil.example/https://localhost:{port}/keys",
        "file:///etc/passwd",
    ],
)
def test_keys_are_taken_from_the_authority_alone(
    roots: Trust, host: str, authority: Authority, jwks_uri: object
) -> None:
    if isinstance(jwks_uri, str):
        jwks_uri = jwks_uri.replace("{port}", host.rpartition(":")[2])
    authority.put(V2, {"jwks_uri": jwks_uri})
    authority.put("/keys", {"keys": [jwk()]})
    with pytest.raises(KeysUnavailable):
        fetch(roots, host)
    assert authority.paths == [V2]


def test_an_authority_without_tls_is_refused(roots: Trust) -> None:
    authority = Authority()
    with LocalServer(authority.app) as server:
        authority.put(V2, {"jwks_uri": f"{server.url}/keys"})
        authority.put("/keys", {"keys": [jwk()]})
        with pytest.raises(KeysUnavailable):
            fetch(roots, server.url)
    assert not authority.paths


@pytest.mark.parametrize("path", [V2, "/keys"], ids=["metadata", "keys"])
@pytest.mark.parametrize(
    ("body", "options"),
    [
        (b"", {}),
        (b"<html>", {}),
        (b"\xff\xfe", {}),
        (b"[" * 200_000, {}),
        (b"9" * 100_000, {}),
        (b"null", {}),
        (b"[]", {}),
        (b'{"keys": {}}', {}),
        (b"GOOD" + b" " * 512 * 1024, {}),
        (b"not gzip", {"headers": {"Content-Encoding": "gzip"}}),
        (gzip.compress(b" " * 50_000_000, mtime=0), {"headers": {"Content-Encoding": "gzip"}}),
        (b"GOOD", {"status": 201}),
        (b"GOOD", {"status": 302, "headers": {"Location": "/elsewhere"}}),
        (b"GOOD", {"status": 404}),
        (b"GOOD", {"status": 429, "headers": {"Retry-After": "1"}}),
        (b"GOOD", {"status": 503}),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_every_answer_that_is_no_key_set_is_keys_unavailable(
    roots: Trust,
    host: str,
    authority: Authority,
    path: str,
    body: bytes,
    options: dict[str, object],
) -> None:
    good = {V2: {"jwks_uri": f"{host}/keys"}, "/keys": {"keys": [jwk()]}}
    authority.put(V2, good[V2])
    authority.put("/keys", good["/keys"])
    authority.put(path, body.replace(b"GOOD", json.dumps(good[path]).encode()), **options)
    authority.put("/elsewhere", {"keys": [jwk()]})
    with pytest.raises(KeysUnavailable) as caught:
        fetch(roots, host)
    assert "/elsewhere" not in authority.paths
    assert "localhost" not in str(caught.value)


def test_an_answer_that_breaks_off_is_keys_unavailable(
    roots: Trust, host: str, authority: Authority
) -> None:
    authority.put(V2, {"jwks_uri": f"{host}/cut"})
    with pytest.raises(KeysUnavailable, match="ProtocolError"):
        fetch(roots, host)


def test_an_authority_that_is_not_there_is_keys_unavailable(roots: Trust) -> None:
    with pytest.raises(KeysUnavailable, match="NewConnectionError"):
        fetch(roots, "https://localhost:1")


def test_an_untrusted_certificate_is_keys_unavailable(host: str, authority: Authority) -> None:
    with pytest.raises(KeysUnavailable, match="NewConnectionError"):
        fetch(open_trust(None), host)
    assert not authority.paths


def test_a_drip_is_cut_off(roots: Trust, host: str, authority: Authority) -> None:
    authority.put(V2, {"jwks_uri": f"{host}/drip"})
    channel = Channel(host, roots, keep=4)
    with pytest.raises(KeysUnavailable, match="ReadTimeoutError"):
        fetch_signing_keys(channel, host, TENANT, "2.0", timeout_s=(0.5, 0.5))
