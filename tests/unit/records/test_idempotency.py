"""What a record means, and the store that keeps records in memory.

What both stores promise is in ``integration/test_store_conformance.py``.
"""

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from shared.records.rules import (
    POLL_HINT_S,
    Abandoned,
    Begun,
    Claim,
    MemoryStore,
    Mismatch,
    New,
    Record,
    Replay,
    Running,
    Settling,
    State,
    Verdict,
    judge,
    settle,
)

NOW = 1_000.0


def key(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def record(
    state: State,
    *,
    lease_until: float = NOW,
    expires_at: float = NOW + 100,
    owner: str = "me",
    payload: str = "",
) -> Record:
    return Record(state, owner, "f", lease_until, expires_at, payload)


@pytest.mark.parametrize(
    ("found", "fingerprint", "verdict"),
    [
        pytest.param(None, "f", New, id="absent"),
        pytest.param(
            record(State.FINISHED, expires_at=NOW), "f", New, id="finished, over its keep"
        ),
        pytest.param(record(State.DOUBT, expires_at=NOW), "f", New, id="in doubt, over its keep"),
        pytest.param(
            record(State.DOUBT, expires_at=NOW), "g", New, id="over its keep, another fingerprint"
        ),
        pytest.param(record(State.FINISHED, payload="p"), "f", Replay("p"), id="finished"),
        pytest.param(
            record(State.FINISHED, payload="p"), "g", Mismatch(), id="finished, another fingerprint"
        ),
        pytest.param(
            record(State.RUNNING, lease_until=NOW + 30), "f", Running(POLL_HINT_S), id="running"
        ),
        pytest.param(
            record(State.RUNNING, lease_until=NOW + 0.25),
            "f",
            Running(0.25),
            id="running, lease nearly over",
        ),
        pytest.param(
            record(State.RUNNING, lease_until=NOW + 30),
            "g",
            Mismatch(),
            id="running, another fingerprint",
        ),
        pytest.param(
            record(State.RUNNING, lease_until=NOW), "f", Abandoned, id="running, lease over"
        ),
        pytest.param(
            record(State.RUNNING, lease_until=NOW),
            "g",
            Mismatch(),
            id="lease over, another fingerprint",
        ),
        pytest.param(record(State.DOUBT), "f", Abandoned, id="in doubt"),
        pytest.param(record(State.DOUBT), "g", Mismatch(), id="in doubt, another fingerprint"),
    ],
)
def test_what_a_request_meets(found: Record | None, fingerprint: str, verdict: Verdict) -> None:
    assert judge(found, fingerprint, NOW) == verdict


@pytest.mark.parametrize(
    ("found", "wanted", "settling"),
    [
        pytest.param(
            record(State.RUNNING),
            record(State.FINISHED),
            Settling.OPEN,
            id="ours and running, complete",
        ),
        pytest.param(record(State.RUNNING), None, Settling.OPEN, id="ours and running, remove"),
        pytest.param(
            record(State.RUNNING, owner="other"),
            record(State.FINISHED),
            Settling.LOST,
            id="taken over, complete",
        ),
        pytest.param(
            record(State.RUNNING, owner="other"), None, Settling.LOST, id="taken over, remove"
        ),
        pytest.param(
            record(State.FINISHED, owner="other", payload="p"),
            record(State.FINISHED, payload="p"),
            Settling.LOST,
            id="another said the same",
        ),
        pytest.param(
            record(State.FINISHED, payload="p"),
            record(State.FINISHED, payload="p"),
            Settling.DONE,
            id="completed already",
        ),
        pytest.param(
            record(State.FINISHED, payload="p"),
            record(State.FINISHED, payload="q"),
            Settling.LOST,
            id="completed otherwise",
        ),
        pytest.param(record(State.FINISHED), None, Settling.LOST, id="remove after complete"),
        pytest.param(
            record(State.FINISHED), record(State.DOUBT), Settling.LOST, id="doubt after complete"
        ),
        pytest.param(
            record(State.DOUBT), record(State.DOUBT), Settling.DONE, id="in doubt already"
        ),
        pytest.param(
            record(State.DOUBT),
            record(State.FINISHED),
            Settling.LOST,
            id="complete after giving up",
        ),
        pytest.param(None, None, Settling.DONE, id="removed already"),
        pytest.param(None, record(State.FINISHED), Settling.LOST, id="gone, complete"),
    ],
)
def test_what_settling_a_claim_meets(
    found: Record | None, wanted: Record | None, settling: Settling
) -> None:
    assert settle(found, "me", wanted) is settling


def test_proof_and_payload_hide_in_repr() -> None:
    shown = repr(
        [
            New(Claim(key(1), "SECRET", "f")),
            Replay("SECRET"),
            record(State.FINISHED, owner="SECRET", payload="SECRET"),
        ]
    )
    assert "SECRET" not in shown


def test_nothing_of_azure_is_loaded_for_the_memory_store() -> None:
    probe = "import sys, shared.records.rules; print([name for name in sys.modules if name.split('.')[0] in {'azure', 'requests', 'msal'}])"
    done = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def claim_of(begun: Begun) -> Claim:
    assert isinstance(begun, New | Abandoned)
    return begun.claim


def test_when_full_the_expired_go_first_then_the_oldest_finished_then_the_oldest_in_doubt() -> None:
    clock = Clock()
    store = MemoryStore(clock, capacity=4)
    for name, keep_s in (("finished, old", 900.0), ("finished, young", 900.0), ("expired", 5.0)):
        store.complete(
            claim_of(store.begin(key(name), "f", lease_s=10, keep_s=keep_s)), name, keep_s=keep_s
        )
        clock.now += 1
    store.release(
        claim_of(store.begin(key("doubt"), "f", lease_s=10, keep_s=900)), doubt=True, keep_s=900
    )

    def left() -> set[str]:
        kept = {record.name for record in store._records}
        return {
            name
            for name in ("finished, old", "finished, young", "expired", "doubt")
            if bytes.fromhex(key(name))[:HASH_BYTES] in kept
        }

    clock.now += 10
    store.begin(key("one more"), "f", lease_s=100, keep_s=100)
    assert left() == {"finished, old", "finished, young", "doubt"}
    assert store.dropped_early == 0
    store.begin(key("two more"), "f", lease_s=100, keep_s=100)
    assert left() == {"finished, young", "doubt"}
    store.begin(key("three more"), "f", lease_s=100, keep_s=100)
    assert left() == {"doubt"}
    store.begin(key("four more"), "f", lease_s=100, keep_s=100)
    assert left() == set()
    assert store.dropped_early == 3


def test_what_is_being_worked_on_is_never_dropped_even_beyond_the_capacity() -> None:
    clock = Clock()
    store = MemoryStore(clock, capacity=2)
    claims = [claim_of(store.begin(key(n), "f", lease_s=10, keep_s=100)) for n in range(5)]
    assert len(store) == 5
    assert all(
        isinstance(store.begin(key(n), "f", lease_s=10, keep_s=100), Running) for n in range(5)
    )
    assert all(store.complete(claim, "p", keep_s=100) for claim in claims)
    store.begin(key("another"), "f", lease_s=10, keep_s=100)
    assert len(store) == 2


def test_a_dead_workers_record_may_be_dropped_once_its_lease_is_over() -> None:
    clock = Clock()
    store = MemoryStore(clock, capacity=1)
    store.begin(key("dead"), "f", lease_s=10, keep_s=100)
    clock.now += 11
    store.begin(key("next"), "f", lease_s=10, keep_s=100)
    assert len(store) == 1


def test_a_record_dropped_early_never_turns_into_a_false_new() -> None:
    clock = Clock()
    store = MemoryStore(clock, capacity=1)
    store.complete(
        claim_of(store.begin(key("dropped"), "f", lease_s=10, keep_s=100)), "cancelled", keep_s=100
    )
    store.begin(key("next"), "f", lease_s=10, keep_s=10)
    again = store.begin(key("dropped"), "f", lease_s=10, keep_s=10)
    assert isinstance(
        again, Abandoned
    )  # it was cancelled: a caller that were told "new" would call a 404 confirmed
    clock.now += 101
    assert isinstance(store.begin(key("never seen"), "f", lease_s=10, keep_s=10), New)


def test_a_doubt_that_was_dropped_early_outlives_the_record_that_followed_it() -> None:
    clock = Clock()
    store = MemoryStore(clock, capacity=1)
    store.release(
        claim_of(store.begin(key("dropped"), "f", lease_s=5, keep_s=100)), doubt=True, keep_s=100
    )
    store.begin(key("next"), "f", lease_s=5, keep_s=5)
    assert isinstance(store.begin(key("dropped"), "f", lease_s=5, keep_s=5), Abandoned)
    clock.now += 50  # the second record is over; the doubt would not be
    assert isinstance(store.begin(key("dropped"), "f", lease_s=5, keep_s=5), Abandoned)


def test_memory_stays_bounded_whatever_comes() -> None:
    clock = Clock()
    store = MemoryStore(clock, capacity=50)
    for n in range(2_000):
        claim = claim_of(store.begin(key(n), "f", lease_s=10, keep_s=100 + n % 3))
        match n % 3:
            case 0:
                store.complete(claim, "p", keep_s=100 + n % 2)
            case 1:
                store.release(claim, doubt=True, keep_s=100)
        clock.now += 1
    assert len(store) <= 50 + 10  # the capacity, and what runs at that moment
    assert len(store._records._anchors) <= 8


@dataclass
class Truth:
    """What is true of one key, in the plainest words: the model that the store is held against."""

    status: str
    fingerprint: str
    claim_number: int
    lease_over_at: float
    forgotten_at: float
    payload: str = ""


KEYS = st.sampled_from([key(n) for n in range(4)])
PRINTS = st.sampled_from(["f", "f", "f", "g"])
LEASES = st.sampled_from([5.0, 10.0])
KEEPS = st.sampled_from([3.0, 20.0, 60.0])


class StoreMachine(RuleBasedStateMachine):
    """Any sequence of calls and passing time, against the model."""

    claims = Bundle("claims")
    capacity = 1_000

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = MemoryStore(self.clock, capacity=self.capacity)
        self.truths: dict[str, Truth] = {}
        self.number_of: dict[Claim, int] = {}

    def truth(self, name: str) -> Truth | None:
        found = self.truths.get(name)
        return found if found and found.forgotten_at > self.clock.now else None

    def held(self, claim: Claim) -> Truth | None:
        found = self.truths.get(claim.key)
        return found if found and found.claim_number == self.number_of[claim] else None

    def expected(self, name: str, fingerprint: str) -> type[Begun]:
        found = self.truth(name)
        if found is None:
            return New
        if found.fingerprint != fingerprint:
            return Mismatch
        if found.status == "finished":
            return Replay
        return (
            Running
            if found.status == "running" and self.clock.now < found.lease_over_at
            else Abandoned
        )

    def check(self, begun: Begun, expected: type[Begun]) -> None:
        assert isinstance(begun, expected)

    @rule(target=claims, name=KEYS, fingerprint=PRINTS, lease_s=LEASES, keep_s=KEEPS)
    def begin(self, name: str, fingerprint: str, lease_s: float, keep_s: float) -> object:
        expected, found = self.expected(name, fingerprint), self.truths.get(name)
        begun = self.store.begin(name, fingerprint, lease_s=lease_s, keep_s=keep_s)
        self.check(begun, expected)
        match begun:
            case Replay(payload):
                assert found is not None
                assert payload == found.payload
            case Running(retry_after_s):
                assert found is not None
                assert 0 < retry_after_s <= found.lease_over_at - self.clock.now
            case New(claim) | Abandoned(claim):
                self.number_of[claim] = len(self.number_of)
                now, before = self.clock.now, found.forgotten_at if found else 0.0
                kept = max(before, now + keep_s, now + lease_s)
                self.truths[name] = Truth(
                    "running", fingerprint, self.number_of[claim], now + lease_s, kept
                )
                return claim
        return multiple()

    @rule(claim=claims, payload=st.sampled_from(["p", "q"]), keep_s=KEEPS)
    def complete(self, claim: Claim, payload: str, keep_s: float) -> None:
        held = self.held(claim)
        done = self.store.complete(claim, payload, keep_s=keep_s)
        if held is None:
            assert not done
        elif held.status == "running":
            assert (
                done or held.forgotten_at <= self.clock.now or self.capacity < 4
            )  # an expired record may be gone already
            if done:
                held.status, held.payload, held.forgotten_at = (
                    "finished",
                    payload,
                    self.clock.now + keep_s,
                )
        elif done:
            assert (held.status, held.payload) == ("finished", payload)

    @rule(claim=consumes(claims), doubt=st.booleans(), keep_s=KEEPS)
    def release(self, claim: Claim, *, doubt: bool, keep_s: float) -> None:
        held = self.held(claim)
        running = held is not None and held.status == "running"
        done = self.store.release(claim, doubt=doubt, keep_s=keep_s)
        if running and done and held:
            if doubt:
                held.status, held.forgotten_at = "doubt", self.clock.now + keep_s
            else:
                del self.truths[claim.key]
        elif running and held:
            assert held.forgotten_at <= self.clock.now or self.capacity < 4

    @rule(seconds=st.sampled_from([0.5, 4.0, 5.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def no_record_is_lost_or_kept_twice(self) -> None:
        names = [record.name for record in self.store._records]
        assert len(names) == len(set(names)) == len(self.store)
        assert all(self.store._records.find(name) is not None for name in names)


class CrampedStoreMachine(StoreMachine):
    """The same with room for two: what is dropped may come back as doubt, never as new, and never
    while somebody works on it.
    """

    capacity = 2

    def check(self, begun: Begun, expected: type[Begun]) -> None:
        if expected is Running:
            assert isinstance(begun, Running)
        else:
            assert isinstance(begun, expected | Abandoned)
        if isinstance(begun, New | Abandoned):
            running = sum(1 for truth in self.truths.values() if truth.status == "running")
            assert len(self.store) <= max(self.capacity, running + 1)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, database=None
)
TestCrampedStoreMachine = CrampedStoreMachine.TestCase
TestCrampedStoreMachine.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, database=None
)
