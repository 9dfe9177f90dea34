import threading
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shared.entra import exchange_cache
from shared.entra.exchange_cache import ExchangeCache, Fresh
from shared.entra.refusals import AskedToWait
from shared.errors import (
    AccessDenied,
    ConsentRequired,
    FacadeError,
    InteractionRequired,
    Misconfigured,
    Throttled,
    TokenRejected,
    UpstreamAnswer,
    UpstreamBroken,
    UpstreamUnavailable,
    UserTokenRequired,
)
from shared.identity.caller import fingerprint

KEY = fingerprint("assertion")
OTHER_KEY = fingerprint("another assertion")
PATIENCE_S = 60.0
UPSTREAM = UpstreamAnswer("entra", 400, "AADSTS50076", "trace")
REFUSALS = [
    TokenRejected("refused", upstream=UPSTREAM),
    InteractionRequired("more", claims='{"access_token":{}}', upstream=UPSTREAM),
    ConsentRequired("consent", upstream=UPSTREAM),
    AccessDenied("denied", upstream=UPSTREAM),
    UserTokenRequired("an application", upstream=UPSTREAM),
]
TRANSIENT = [
    Throttled("wait", retry_after_s=7.0, upstream=UPSTREAM),
    UpstreamUnavailable("down", retry_after_s=2.0),
    UpstreamBroken("garbage"),
    Misconfigured("our secret"),
]


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0
        self.readings = 0

    def __call__(self) -> float:
        self.readings += 1
        return self.time


class Exchange:
    """A fake Entra: numbers its tokens, counts its calls, waits at a gate when it has one, fails
    when told to.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        lifetime_s: float = 3600.0,
        error: BaseException | None = None,
        gated: bool = False,
    ) -> None:
        self.clock = clock
        self.lifetime_s = lifetime_s
        self.error = error
        self.calls = 0
        self.started = threading.Event()
        self.gate = threading.Event()
        if not gated:
            self.gate.set()

    def __call__(self) -> Fresh[str]:
        self.calls += 1
        number = self.calls
        self.started.set()
        assert self.gate.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        return Fresh(f"token {number}", self.clock.time + self.lifetime_s)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> ExchangeCache[str]:
    return ExchangeCache(capacity=100, now=clock)


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Released once by each thread that has joined another's exchange."""
    joined = threading.Semaphore(0)

    class WatchedEvent(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            joined.release()
            return super().wait(timeout)

    monkeypatch.setattr(exchange_cache, "Event", WatchedEvent)
    return joined


def ask(
    cache: ExchangeCache[str],
    exchange: Callable[[], Fresh[str]],
    *,
    key: bytes = KEY,
    refused: str | None = None,
) -> str:
    return cache.get_or_exchange(key, exchange, wait_s=PATIENCE_S, refused=refused)


def never() -> Fresh[str]:
    raise AssertionError("no exchange was due")


# One thread.


def test_a_value_is_exchanged_once_and_served_until_its_end(
    cache: ExchangeCache[str], clock: Clock
) -> None:
    exchange = Exchange(clock, lifetime_s=100.0)
    assert ask(cache, exchange) == "token 1"
    clock.time += 99.9
    assert ask(cache, never) == "token 1"
    clock.time += 0.1
    assert ask(cache, exchange) == "token 2"


def test_keys_share_nothing(cache: ExchangeCache[str], clock: Clock) -> None:
    exchange = Exchange(clock)
    assert ask(cache, exchange) == "token 1"
    assert ask(cache, exchange, key=OTHER_KEY) == "token 2"
    assert ask(cache, never) == "token 1"


@pytest.mark.parametrize("lifetime_s", [0.0, -1.0, float("nan")])
def test_a_value_that_has_ended_when_it_comes_is_not_handed_out(
    cache: ExchangeCache[str], clock: Clock, lifetime_s: float
) -> None:
    with pytest.raises(UpstreamUnavailable):
        ask(cache, Exchange(clock, lifetime_s=lifetime_s))


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
def test_a_refusal_is_remembered_for_seconds(
    cache: ExchangeCache[str], clock: Clock, error: FacadeError
) -> None:
    with pytest.raises(type(error)) as first:
        ask(cache, Exchange(clock, error=error))
    clock.time += 2.9
    with pytest.raises(type(error)) as again:
        ask(cache, never)
    assert first.value is error
    assert again.value is not error
    assert vars(again.value) == vars(error)
    assert again.value.args == error.args
    assert again.value.__cause__ is None
    with pytest.raises(type(error)) as once_more:
        ask(cache, never)
    assert once_more.value is not again.value
    clock.time += 0.1
    assert ask(cache, Exchange(clock)) == "token 1"


def test_a_clock_that_is_set_back_does_not_make_a_refusal_last(
    cache: ExchangeCache[str], clock: Clock
) -> None:
    with pytest.raises(TokenRejected):
        ask(cache, Exchange(clock, error=TokenRejected("refused")))
    clock.time -= 3600.0
    assert ask(cache, Exchange(clock)) == "token 1"


@pytest.mark.parametrize(
    "error", [*TRANSIENT, ValueError("a bug")], ids=lambda error: type(error).__name__
)
def test_other_errors_are_not_remembered(
    cache: ExchangeCache[str], clock: Clock, error: Exception
) -> None:
    with pytest.raises(type(error)):
        ask(cache, Exchange(clock, error=error))
    assert ask(cache, Exchange(clock)) == "token 1"


def test_a_remembered_refusal_keeps_no_frames(cache: ExchangeCache[str], clock: Clock) -> None:
    error = TokenRejected("refused")
    error.add_note("a note that only its first thread should see")
    with pytest.raises(TokenRejected):
        ask(cache, Exchange(clock, error=error))
    kept = cache._kept[KEY]
    assert not isinstance(kept, Fresh)
    assert kept.error.__traceback__ is None
    assert kept.error.__context__ is None
    assert not hasattr(kept.error, "__notes__")


def test_a_replacement_bypasses_the_hit_and_takes_its_place(
    cache: ExchangeCache[str], clock: Clock
) -> None:
    exchange = Exchange(clock)
    ask(cache, exchange)
    assert ask(cache, exchange, refused="token 1") == "token 2"
    assert ask(cache, never) == "token 2"


def test_a_replacement_bypasses_a_refusal(cache: ExchangeCache[str], clock: Clock) -> None:
    with pytest.raises(ConsentRequired):
        ask(cache, Exchange(clock, error=ConsentRequired("consent")))
    assert ask(cache, Exchange(clock), refused="token 0") == "token 1"
    assert ask(cache, never) == "token 1"


def test_a_token_that_was_to_be_replaced_is_not_served_again_when_the_replacement_fails(
    cache: ExchangeCache[str], clock: Clock
) -> None:
    ask(cache, Exchange(clock))
    with pytest.raises(UpstreamUnavailable):
        ask(cache, Exchange(clock, error=UpstreamUnavailable("down")), refused="token 1")
    second = Exchange(clock)
    ask(cache, second)
    assert second.calls == 1


def test_one_refused_token_costs_one_exchange_also_where_the_refusal_is_met_late(
    cache: ExchangeCache[str], clock: Clock
) -> None:
    exchange = Exchange(clock)
    ask(cache, exchange)
    assert ask(cache, exchange, refused="token 1") == "token 2"
    for _ in range(3):
        assert ask(cache, never, refused="token 1") == "token 2"
        assert ask(cache, never) == "token 2"
    assert ask(cache, exchange, refused="token 2") == "token 3"
    assert ask(cache, never, refused="token 1") == "token 3"


def test_a_token_that_came_of_no_refusal_does_not_answer_one(
    cache: ExchangeCache[str], clock: Clock
) -> None:
    """It may be as old as the refusal, and came without what a challenge asked for."""
    exchange = Exchange(clock, lifetime_s=10.0)
    ask(cache, exchange)
    clock.time += 10.0
    assert ask(cache, exchange) == "token 2"
    assert ask(cache, exchange, refused="token 1") == "token 3"
    assert ask(cache, never) == "token 3"


def test_a_refusal_of_entra_is_for_all_who_met_the_refusal_of_graph(
    cache: ExchangeCache[str], clock: Clock
) -> None:
    ask(cache, Exchange(clock))
    with pytest.raises(TokenRejected):
        ask(cache, Exchange(clock, error=TokenRejected("revoked")), refused="token 1")
    for _ in range(3):
        with pytest.raises(TokenRejected):
            ask(cache, never, refused="token 1")
        with pytest.raises(TokenRejected):
            ask(cache, never)
    clock.time += 3.0
    assert ask(cache, Exchange(clock), refused="token 1") == "token 1"


def test_a_refused_token_is_not_kept_though_entra_gives_it_again(
    cache: ExchangeCache[str], clock: Clock
) -> None:
    for refused in (None, "token 1", "token 1"):
        again = Exchange(clock)
        assert ask(cache, again, refused=refused) == "token 1"
        assert again.calls == 1
    again = Exchange(clock)
    ask(cache, again)
    assert again.calls == 1


@pytest.mark.parametrize(
    "outcome", [Fresh("old", 9999.0), TokenRejected("old")], ids=["value", "refusal"]
)
def test_an_ordinary_exchange_does_not_overwrite_a_newer_replacement(
    cache: ExchangeCache[str], clock: Clock, outcome: Fresh[str] | TokenRejected
) -> None:
    def replaced_meanwhile() -> Fresh[str]:
        ask(cache, Exchange(clock), refused="token 0")
        if isinstance(outcome, TokenRejected):
            raise outcome
        return outcome

    if isinstance(outcome, TokenRejected):
        with pytest.raises(TokenRejected):
            ask(cache, replaced_meanwhile)
    else:
        assert ask(cache, replaced_meanwhile) == "old"
    assert ask(cache, never) == "token 1"


def test_the_least_recently_used_entry_leaves_first(clock: Clock) -> None:
    cache: ExchangeCache[str] = ExchangeCache(capacity=2, now=clock)
    exchange = Exchange(clock)
    ask(cache, exchange, key=b"a")
    ask(cache, exchange, key=b"b")
    ask(cache, never, key=b"a")
    ask(cache, exchange, key=b"c")
    assert ask(cache, never, key=b"a") == "token 1"
    assert ask(cache, never, key=b"c") == "token 3"
    assert ask(cache, exchange, key=b"b") == "token 4"


def test_values_that_have_ended_leave_memory_at_the_next_store(clock: Clock) -> None:
    cache: ExchangeCache[str] = ExchangeCache(capacity=100, now=clock)
    for number in range(50):
        ask(cache, Exchange(clock, lifetime_s=10.0), key=b"%d" % number)
    clock.time += 10.0
    ask(cache, Exchange(clock), key=KEY)
    assert len(cache._kept) == 1


def test_refusals_are_bounded(clock: Clock) -> None:
    cache: ExchangeCache[str] = ExchangeCache(capacity=10, now=clock)
    for number in range(1000):
        with pytest.raises(TokenRejected):
            ask(cache, Exchange(clock, error=TokenRejected("refused")), key=b"%d" % number)
    assert len(cache._kept) == 10
    assert not cache._flights


def test_a_value_never_shows_in_a_repr(cache: ExchangeCache[str], clock: Clock) -> None:
    ask(cache, lambda: Fresh("s3cret", clock.time + 100))
    assert "s3cret" not in repr(Fresh("s3cret", 1.0)) + repr(cache) + repr(cache._kept)


# Many threads.


def test_a_storm_of_identical_requests_is_one_exchange(
    cache: ExchangeCache[str], clock: Clock
) -> None:
    exchange = Exchange(clock, gated=True)
    asking = threading.Semaphore(0)

    def request(_: int) -> str:
        asking.release()
        return ask(cache, exchange)

    with ThreadPoolExecutor(64) as pool:
        answers = pool.map(request, range(1000))
        for _ in range(64):
            assert asking.acquire(timeout=PATIENCE_S)
        exchange.gate.set()
        assert set(answers) == {"token 1"}
    assert exchange.calls == 1
    assert not cache._flights


@pytest.mark.parametrize("error", [*REFUSALS, *TRANSIENT], ids=lambda error: type(error).__name__)
def test_all_who_wait_get_the_same_failure_each_as_an_object_of_their_own(
    cache: ExchangeCache[str], clock: Clock, waiting: threading.Semaphore, error: FacadeError
) -> None:
    exchange = Exchange(clock, error=error, gated=True)

    def request(_: int) -> FacadeError:
        with pytest.raises(type(error)) as caught:
            ask(cache, exchange)
        return caught.value

    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(request, range(8))
        for _ in range(7):
            assert waiting.acquire(timeout=PATIENCE_S)
        exchange.gate.set()
        errors = list(answers)
    assert exchange.calls == 1
    assert len({id(answer) for answer in errors}) == 8
    assert all(vars(answer) == vars(error) for answer in errors)


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        pytest.param(UpstreamUnavailable("no time was left"), 2, id="unavailable"),
        pytest.param(AskedToWait("wait", retry_after_s=30.0), 1, id="Entra named a wait"),
    ],
)
def test_who_has_more_time_than_the_leader_asks_again(
    cache: ExchangeCache[str],
    clock: Clock,
    waiting: threading.Semaphore,
    error: UpstreamUnavailable,
    asked: int,
) -> None:
    hurried = Exchange(clock, error=error, gated=True)
    patient = Exchange(clock, error=error if asked == 1 else None)
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(cache.get_or_exchange, KEY, hurried, wait_s=PATIENCE_S / 2)
        assert hurried.started.wait(PATIENCE_S)
        follower = pool.submit(cache.get_or_exchange, KEY, patient, wait_s=PATIENCE_S)
        assert waiting.acquire(timeout=PATIENCE_S)
        hurried.gate.set()
        assert type(leader.exception()) is type(error)
        if asked == 1:
            assert type(follower.exception()) is type(error)
        else:
            assert follower.result() == "token 1"
    assert hurried.calls + patient.calls == asked


@pytest.mark.parametrize(
    "death",
    [ValueError("a bug"), KeyboardInterrupt(), SystemExit()],
    ids=lambda death: type(death).__name__,
)
def test_when_the_leader_dies_the_next_tries(
    cache: ExchangeCache[str], clock: Clock, waiting: threading.Semaphore, death: BaseException
) -> None:
    dying = Exchange(clock, error=death, gated=True)
    second = Exchange(clock)

    def lead() -> None:
        with pytest.raises(type(death)):
            ask(cache, dying)

    with ThreadPoolExecutor(8) as pool:
        leader = pool.submit(lead)
        assert dying.started.wait(PATIENCE_S)
        waiters = [pool.submit(ask, cache, second) for _ in range(7)]
        for _ in waiters:
            assert waiting.acquire(timeout=PATIENCE_S)
        dying.gate.set()
        leader.result(PATIENCE_S)
        assert {waiter.result(PATIENCE_S) for waiter in waiters} == {"token 1"}
    assert second.calls == 1


def test_a_waiter_gives_up_after_its_own_patience(cache: ExchangeCache[str], clock: Clock) -> None:
    exchange = Exchange(clock, gated=True)
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(ask, cache, exchange)
        assert exchange.started.wait(PATIENCE_S)
        with pytest.raises(UpstreamUnavailable):
            cache.get_or_exchange(KEY, never, wait_s=0.0)
        exchange.gate.set()
        assert leader.result(PATIENCE_S) == "token 1"
    assert ask(cache, never) == "token 1"


def test_keys_never_wait_for_each_other(cache: ExchangeCache[str], clock: Clock) -> None:
    slow = Exchange(clock, gated=True)
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(ask, cache, slow)
        assert slow.started.wait(PATIENCE_S)
        assert cache.get_or_exchange(OTHER_KEY, Exchange(clock), wait_s=0.0) == "token 1"
        assert ask(cache, Exchange(clock), key=OTHER_KEY, refused="token 0") == "token 1"
        slow.gate.set()
        leader.result(PATIENCE_S)


def test_refusals_at_the_same_time_are_one_exchange_and_ordinary_requests_join_it(
    cache: ExchangeCache[str], clock: Clock, waiting: threading.Semaphore
) -> None:
    old, new = Exchange(clock, gated=True), Exchange(clock, gated=True)
    with ThreadPoolExecutor(16) as pool:
        ordinary = pool.submit(ask, cache, old)
        assert old.started.wait(PATIENCE_S)
        replacements = [pool.submit(ask, cache, new, refused="token 0") for _ in range(8)]
        assert new.started.wait(PATIENCE_S)
        for _ in range(7):
            assert waiting.acquire(timeout=PATIENCE_S)
        late = pool.submit(ask, cache, never)
        assert waiting.acquire(timeout=PATIENCE_S)
        old.gate.set()
        assert ordinary.result(PATIENCE_S) == "token 1"
        assert not late.done()
        new.gate.set()
        assert {each.result(PATIENCE_S) for each in [*replacements, late]} == {"token 1"}
    assert (old.calls, new.calls) == (1, 1)
    assert not cache._flights


def test_a_storm_of_refusals_of_one_token_is_one_exchange_whenever_each_is_met(
    cache: ExchangeCache[str], clock: Clock
) -> None:
    exchange = Exchange(clock)
    ask(cache, exchange)
    with ThreadPoolExecutor(64) as pool:
        answers = set(pool.map(lambda _: ask(cache, exchange, refused="token 1"), range(1000)))
    assert (answers, exchange.calls) == ({"token 2"}, 2)


def test_a_waiter_who_wakes_after_the_end_asks_again(
    cache: ExchangeCache[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined = threading.Event()

    class LateEvent(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            joined.set()
            done = super().wait(timeout)
            clock.time += 100.0
            return done

    monkeypatch.setattr(exchange_cache, "Event", LateEvent)
    first, second = Exchange(clock, lifetime_s=50.0), Exchange(clock)
    first.gate = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(ask, cache, first)
        assert first.started.wait(PATIENCE_S)
        waiter = pool.submit(ask, cache, second)
        assert joined.wait(PATIENCE_S)
        first.gate.set()
        assert leader.result(PATIENCE_S) == "token 1"
        assert waiter.result(PATIENCE_S) == "token 1"
    assert second.calls == 1


# Cost.


class CountedKey(bytes):
    operations = 0

    def __hash__(self) -> int:
        CountedKey.operations += 1
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        CountedKey.operations += 1
        return super().__eq__(other)


def test_a_look_up_costs_the_same_with_10_entries_and_with_10_000() -> None:
    costs = []
    for entries in (10, 10_000):
        clock = Clock()
        cache: ExchangeCache[str] = ExchangeCache(capacity=10_000, now=clock)
        for number in range(entries):
            ask(cache, Exchange(clock), key=fingerprint(str(number)))
        probe = CountedKey(fingerprint("5"))
        CountedKey.operations = clock.readings = 0
        ask(cache, never, key=probe)
        costs.append((CountedKey.operations, clock.readings))
    assert costs[0] == costs[1]


def test_10_000_users_cost_less_than_3_kib_each_beyond_their_tokens() -> None:
    users, token_chars = 10_000, 2_000
    clock = Clock()
    cache: ExchangeCache[str] = ExchangeCache(capacity=users, now=clock)
    tracemalloc.start()
    try:
        for number in range(users):
            token = f"{number:0{token_chars}}"
            cache.get_or_exchange(
                fingerprint(token),
                lambda token=token: Fresh(token, 2000.0),  # type: ignore[misc]
                wait_s=0.0,
            )
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used / users - token_chars < 3 * 1024


# Any order: the cache against a model. Exchanges run other calls while they are under way, as other
# threads would.


class CacheMachine(RuleBasedStateMachine):
    CAPACITY = 3
    keys = st.sampled_from([b"alice", b"bob", b"carol", b"dave", b"eve"])
    outcomes = st.sampled_from(
        ["value", "short value", "ended value", *REFUSALS, TRANSIENT[0], ValueError("a bug")]
    )
    meanwhile = st.sampled_from(
        ["nothing", "replace", "replace in vain", "time passes", "another key"]
    )

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.cache: ExchangeCache[tuple[bytes, int]] = ExchangeCache(
            capacity=self.CAPACITY, now=self.clock
        )
        self.serial = 0
        self.kept: OrderedDict[bytes, tuple[object, float, bool]] = OrderedDict()
        self.given: list[tuple[bytes, int]] = [(b"nobody", 0)]
        self.calls = 0

    def prune(self) -> None:
        now = self.clock.time
        self.kept = OrderedDict((key, entry) for key, entry in self.kept.items() if now < entry[1])

    def store(self, key: bytes, outcome: object, *, replaces: bool) -> None:
        self.prune()
        if isinstance(outcome, Fresh):
            self.kept[key] = (outcome.value, outcome.ends_at, replaces)
        elif isinstance(outcome, tuple(type(error) for error in REFUSALS)):
            self.kept[key] = (outcome, self.clock.time + 3.0, replaces)
        if len(self.kept) > self.CAPACITY:
            self.kept.popitem(last=False)

    def call(
        self, key: bytes, outcome: object, meanwhile: str, refused: tuple[bytes, int] | None
    ) -> None:
        self.prune()
        expected: object = None
        if key in self.kept:
            self.kept.move_to_end(key)
            value, _, replaces = self.kept[key]
            if refused is None or (replaces and value != refused):
                expected = value
        if expected is None:
            self.kept.pop(key, None)
        made: list[object] = []
        ended = False

        def exchange() -> Fresh[tuple[bytes, int]]:
            nonlocal ended
            self.calls += 1
            self.run_meanwhile(key, meanwhile)
            if isinstance(outcome, Exception):
                made.append(outcome)
                raise outcome
            self.serial += 1
            lifetime_s = {"value": 50.0, "short value": 2.0, "ended value": 0.0}[str(outcome)]
            fresh = Fresh((key, self.serial), self.clock.time + lifetime_s)
            ended = lifetime_s == 0
            made.append(fresh)
            return fresh

        calls = self.calls
        got: object
        try:
            got = self.cache.get_or_exchange(key, exchange, wait_s=0.0, refused=refused)
            self.given.append(got)
        except (FacadeError, ValueError) as error:
            got = error
        if expected is not None:
            assert self.calls == calls, "what is kept is served without a call"
            assert (
                got == expected if not isinstance(expected, FacadeError) else _alike(got, expected)
            )
            return
        assert self.calls > calls
        result: object = (
            UpstreamUnavailable("Entra's answer came too late to be used.") if ended else made[0]
        )
        assert got == result.value if isinstance(result, Fresh) else _alike(got, result)
        if meanwhile not in {"replace", "replace in vain"}:
            self.store(key, result, replaces=refused is not None)

    def run_meanwhile(self, key: bytes, meanwhile: str) -> None:
        if meanwhile == "replace":
            self.call(key, "value", "nothing", self.given[-1])
        elif meanwhile == "replace in vain":
            self.call(key, REFUSALS[1], "nothing", self.given[-1])
        elif meanwhile == "time passes":
            self.clock.time += 2.5
        elif meanwhile == "another key":
            self.call(b"frank", "value", "nothing", None)

    @rule(key=keys, outcome=outcomes, meanwhile=meanwhile, ago=st.none() | st.integers(1, 4))
    def ask_for(self, key: bytes, outcome: object, meanwhile: str, ago: int | None) -> None:
        """Ask, or tell of the refusal of a token that was given a while ago."""
        refused = None if ago is None else self.given[-min(ago, len(self.given))]
        if refused is not None and meanwhile.startswith("replace"):
            # A replacement joins the one under way: that needs threads, and has its own tests.
            meanwhile = "nothing"
        self.call(key, outcome, meanwhile, refused)

    @rule(seconds=st.sampled_from([0.5, 1.5, 3.0, 50.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.time += seconds

    @invariant()
    def nothing_is_left_over(self) -> None:
        assert not self.cache._flights
        assert len(self.cache._kept) <= self.CAPACITY
        for key, entry in self.kept.items():  # "in" leaves the order of use alone
            assert (key in self.cache._kept) == (self.clock.time < entry[1])


def _alike(one: object, other: object) -> bool:
    return (
        type(one) is type(other)
        and isinstance(one, Exception)
        and vars(one) == vars(other)
        and one.args == other.args  # type: ignore[attr-defined]
    )


TestAnyOrder = CacheMachine.TestCase
