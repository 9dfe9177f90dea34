"""What every store promises.

One suite runs against the memory store and against the table store on a real Azurite.
"""

import hashlib
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import pytest

from shared.records.account import by_connection_string
from shared.records.memory_store import MemoryStore
from shared.records.rules import (
    Begun,
    Claim,
    Doubt,
    End,
    Finished,
    Granted,
    IdempotencyStore,
    Mismatch,
    Removed,
    Replay,
    Running,
    Wanted,
)
from shared.records.table_store import CLOCK_MARGIN_S, TableStore
from shared.transport.channel import Channel
from shared.transport.waiting import Waiting
from tests.integration.azurite import Azurite

CALLER = hashlib.sha256(b"one caller").hexdigest()
OTHER_CALLER = hashlib.sha256(b"another caller").hexdigest()
KEY = hashlib.sha256(b"one request").hexdigest()
NATURE = hashlib.sha256(b"one appointment").hexdigest()
OTHER_KEY = hashlib.sha256(b"another request").hexdigest()
LEASE_S = 30.0
KEEP_S = 86_400.0
RACERS = 64


@dataclass
class Instance:
    """A store, the clock it reads, and a second store of another instance that shares the records.

    For the memory store the second is the same one.
    """

    store: IdempotencyStore
    other: IdempotencyStore
    margin_s: float
    now: float = field(default=1_760_000_000.0)

    def begin(
        self,
        key: str = KEY,
        fingerprint: str = "f",
        *,
        lease_s: float = LEASE_S,
        keep_s: float = KEEP_S,
    ) -> Begun:
        wanted = [Wanted(key, fingerprint)]
        return self.store.begin(CALLER, wanted, lease_s=lease_s, keep_s=keep_s)

    def begin_elsewhere(self, fingerprint: str = "f") -> Begun:
        wanted = [Wanted(KEY, fingerprint)]
        return self.other.begin(CALLER, wanted, lease_s=LEASE_S, keep_s=KEEP_S)

    def begin_both(self, nature: str = NATURE, key: str = KEY, fingerprint: str = "f") -> Begun:
        wanted = [Wanted(nature, ""), Wanted(key, fingerprint)]
        return self.other.begin(CALLER, wanted, lease_s=LEASE_S, keep_s=KEEP_S)

    def begin_by_nature(self, nature: str = NATURE) -> Begun:
        return self.store.begin(CALLER, [Wanted(nature, "")], lease_s=LEASE_S, keep_s=KEEP_S)

    def claim(self, key: str = KEY, *, keep_s: float = KEEP_S) -> Claim:
        return new(self.begin(key, keep_s=keep_s))

    def settle(self, claim: Claim, *ends: End, keep_s: float = KEEP_S) -> bool:
        return self.store.settle(claim, ends, keep_s=keep_s)

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def wait_for_the_end_of_the_lease(self, lease_s: float = LEASE_S) -> None:
        self.now += lease_s + self.margin_s


@pytest.fixture(params=["memory", "table"])
def instance(request: pytest.FixtureRequest) -> Iterator[Instance]:
    made: list[Instance] = []

    def now() -> float:
        return made[0].now if made else 0.0

    if request.param == "memory":
        store = MemoryStore(now)
        made.append(Instance(store, store, margin_s=0.0))
        yield made[0]
        return
    emulator: Azurite = request.getfixturevalue("azurite")
    table = f"t{secrets.token_hex(8)}"
    waiting = Waiting(now=now, random=lambda: 0.999)  # no sweeps here
    stores = [
        TableStore(
            by_connection_string(emulator.connection_string),
            table,
            Channel(emulator.endpoint, None, keep=64),
            waiting,
            # 64 racers may be slow on a busy machine: that is no failure of the store.
            patience_s=60.0,
        )
        for _ in range(2)
    ]
    made.append(Instance(stores[0], stores[1], margin_s=CLOCK_MARGIN_S))
    yield made[0]


def new(begun: Begun) -> Claim:
    assert isinstance(begun, Granted), begun
    assert not begun.doubt
    return begun.claim


def abandoned(begun: Begun) -> Claim:
    assert isinstance(begun, Granted), begun
    assert begun.doubt
    return begun.claim


def test_the_first_to_ask_is_new(instance: Instance) -> None:
    claim = new(instance.begin())
    assert (claim.caller, claim.wanted) == (CALLER, (Wanted(KEY, "f"),))


def test_a_duplicate_of_a_running_request_is_told_when_to_ask_again(instance: Instance) -> None:
    instance.claim()
    for begun in (instance.begin(), instance.begin_elsewhere()):
        assert isinstance(begun, Running)
        assert 0 < begun.retry_after_s <= 1


@pytest.mark.parametrize(
    "payload",
    ["cancelled", "", '{"a": "b\\"c"}', "naïve ☃ 🦆\n\t", "x" * 20_000],
    ids=lambda text: f"{len(text)} characters",
)
def test_a_finished_request_is_replayed_as_it_was_completed(
    instance: Instance, payload: str
) -> None:
    assert instance.settle(instance.claim(), Finished(payload), keep_s=KEEP_S)
    assert instance.begin() == Replay(payload)
    assert instance.begin_elsewhere() == Replay(payload)


def test_another_fingerprint_is_a_mismatch_in_every_state(instance: Instance) -> None:
    claim = instance.claim()
    assert instance.begin(fingerprint="g") == Mismatch()
    instance.wait_for_the_end_of_the_lease()
    assert instance.begin(fingerprint="g") == Mismatch()
    instance.settle(claim, Doubt(), keep_s=KEEP_S)
    assert instance.begin_elsewhere(fingerprint="g") == Mismatch()
    instance.settle(abandoned(instance.begin()), Finished("p"), keep_s=KEEP_S)
    assert instance.begin(fingerprint="g") == Mismatch()


def test_requests_with_other_keys_do_not_meet(instance: Instance) -> None:
    instance.settle(instance.claim(), Finished("p"), keep_s=KEEP_S)
    new(instance.begin(OTHER_KEY))
    assert instance.begin() == Replay("p")


def test_a_finished_request_is_new_once_its_keep_is_over_whatever_its_fingerprint(
    instance: Instance,
) -> None:
    instance.settle(instance.claim(), Finished("p"), keep_s=100)
    instance.wait(99.9)
    assert instance.begin() == Replay("p")
    instance.wait(0.2)
    new(instance.begin(fingerprint="g"))


def test_the_keep_of_an_outcome_counts_from_its_completion(instance: Instance) -> None:
    claim = instance.claim(keep_s=50)
    instance.wait(20)
    instance.settle(claim, Finished("p"), keep_s=50)
    instance.wait(49)
    assert instance.begin() == Replay("p")


def test_a_running_request_is_left_alone_until_its_lease_is_over(instance: Instance) -> None:
    instance.claim()
    instance.wait_for_the_end_of_the_lease(LEASE_S - 0.1)
    begun = instance.begin()
    assert isinstance(begun, Running)
    assert begun.retry_after_s < 0.2


def test_a_lease_holds_even_when_the_keep_is_shorter(instance: Instance) -> None:
    instance.claim(keep_s=1)
    instance.wait(2)
    assert isinstance(instance.begin(), Running)


def test_a_dead_workers_request_is_taken_over_by_one_and_runs_for_the_others(
    instance: Instance,
) -> None:
    first = instance.claim()
    instance.wait_for_the_end_of_the_lease()
    second = abandoned(instance.begin_elsewhere())
    assert second != first
    assert isinstance(instance.begin(), Running)


def test_released_without_doubt_it_is_new_again(instance: Instance) -> None:
    assert instance.settle(instance.claim(), Removed(), keep_s=KEEP_S)
    new(instance.begin_elsewhere())


def test_released_in_doubt_it_is_abandoned_at_once(instance: Instance) -> None:
    assert instance.settle(instance.claim(), Doubt(), keep_s=KEEP_S)
    abandoned(instance.begin_elsewhere())
    assert isinstance(instance.begin(), Running)


def test_doubt_ends_with_its_keep(instance: Instance) -> None:
    instance.settle(instance.claim(keep_s=100), Doubt(), keep_s=100)
    instance.wait(100.1)
    new(instance.begin())


def test_doubt_outlives_any_number_of_dead_workers(instance: Instance) -> None:
    instance.settle(instance.claim(), Doubt(), keep_s=KEEP_S)
    for _ in range(3):
        abandoned(instance.begin())
        instance.wait_for_the_end_of_the_lease()
    claim = abandoned(instance.begin_elsewhere())
    instance.settle(claim, Doubt(), keep_s=KEEP_S)
    abandoned(instance.begin())


def test_taking_over_never_shortens_the_life_of_a_doubt(instance: Instance) -> None:
    instance.settle(instance.claim(keep_s=1_000), Doubt(), keep_s=1_000)
    abandoned(instance.begin(lease_s=5, keep_s=1))
    instance.wait(900)
    abandoned(instance.begin())


def test_release_without_doubt_settles_the_doubt_of_an_abandoned_request(
    instance: Instance,
) -> None:
    instance.settle(instance.claim(), Doubt(), keep_s=KEEP_S)
    assert instance.settle(abandoned(instance.begin()), Removed(), keep_s=KEEP_S)
    new(instance.begin())


def test_an_abandoned_request_can_be_completed(instance: Instance) -> None:
    instance.claim()
    instance.wait_for_the_end_of_the_lease()
    assert instance.settle(abandoned(instance.begin()), Finished("not_found"), keep_s=KEEP_S)
    assert instance.begin() == Replay("not_found")


SETTLE: dict[str, Callable[[IdempotencyStore, Claim], bool]] = {
    "finish": lambda store, claim: store.settle(claim, [Finished("stale")], keep_s=KEEP_S),
    "remove": lambda store, claim: store.settle(claim, [Removed()], keep_s=KEEP_S),
    "leave in doubt": lambda store, claim: store.settle(claim, [Doubt()], keep_s=KEEP_S),
}


@pytest.mark.parametrize("how", SETTLE)
def test_a_stale_owner_changes_nothing_while_the_new_one_works(
    instance: Instance, how: str
) -> None:
    stale = instance.claim()
    instance.wait_for_the_end_of_the_lease()
    owner = abandoned(instance.begin_elsewhere())
    assert SETTLE[how](instance.store, stale) is False
    assert isinstance(instance.begin(), Running)
    assert instance.other.settle(owner, [Finished("true")], keep_s=KEEP_S)
    assert instance.begin() == Replay("true")


@pytest.mark.parametrize("how", SETTLE)
def test_a_stale_owner_changes_nothing_once_the_new_one_has_finished(
    instance: Instance, how: str
) -> None:
    stale = instance.claim()
    instance.wait_for_the_end_of_the_lease()
    instance.other.settle(abandoned(instance.begin_elsewhere()), [Finished("true")], keep_s=KEEP_S)
    assert SETTLE[how](instance.store, stale) is False
    assert instance.begin() == Replay("true")


@pytest.mark.parametrize("how", SETTLE)
def test_a_stale_owner_brings_no_settled_record_back(instance: Instance, how: str) -> None:
    stale = instance.claim()
    instance.wait_for_the_end_of_the_lease()
    instance.other.settle(abandoned(instance.begin_elsewhere()), [Removed()], keep_s=KEEP_S)
    assert SETTLE[how](instance.store, stale) is (how == "remove")  # what it asks for is so
    new(instance.begin())


def test_a_slow_owner_whom_nobody_replaced_still_completes(instance: Instance) -> None:
    claim = instance.claim()
    instance.wait_for_the_end_of_the_lease()
    instance.wait(100)
    assert instance.settle(claim, Finished("p"), keep_s=KEEP_S)
    assert instance.begin() == Replay("p")


@pytest.mark.parametrize("end", [Removed(), Doubt()], ids=str)
def test_a_release_after_a_complete_does_no_harm(instance: Instance, end: End) -> None:
    claim = instance.claim()
    instance.settle(claim, Finished("p"), keep_s=KEEP_S)
    assert instance.settle(claim, end) is False
    assert instance.begin() == Replay("p")


def test_the_first_of_two_completions_counts(instance: Instance) -> None:
    claim = instance.claim()
    assert instance.settle(claim, Finished("first"), keep_s=KEEP_S)
    assert instance.settle(claim, Finished("first"), keep_s=KEEP_S)
    assert instance.settle(claim, Finished("second"), keep_s=KEEP_S) is False
    assert instance.begin() == Replay("first")


@pytest.mark.parametrize("end", [Removed(), Doubt()], ids=str)
def test_a_release_may_be_said_twice(instance: Instance, end: End) -> None:
    claim = instance.claim()
    assert instance.settle(claim, end)
    assert instance.settle(claim, end)


def test_a_claim_with_another_proof_changes_nothing(instance: Instance) -> None:
    instance.claim()
    etag = "W/\"datetime'2026-01-01T00%3A00%3A00.0000000Z'\""
    forged = Claim(CALLER, (Wanted(KEY, "f"),), "0", (instance.now + 10,), (etag,))
    assert instance.settle(forged, Finished("p"), keep_s=KEEP_S) is False
    assert instance.settle(forged, Removed(), keep_s=KEEP_S) is False
    assert isinstance(instance.begin(), Running)


@pytest.mark.parametrize(
    "key", ["", "ann@contoso.example", KEY.upper(), KEY[:-1], KEY + "0", KEY[:-1] + "/"]
)
def test_a_key_that_is_no_hash_is_refused(instance: Instance, key: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        instance.begin(key)


def race(work: Sequence[Callable[[], object]]) -> list[object]:
    """Do all of it at the same moment, each in a thread of its own."""
    start = threading.Barrier(len(work))

    def run(one: Callable[[], object]) -> object:
        start.wait()
        return one()

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(run, work))


def prepare_absent(_: Instance) -> bool:
    return False


def prepare_expired(instance: Instance) -> bool:
    instance.settle(instance.claim(), Finished("p"), keep_s=10)
    instance.wait(11)
    return False


def prepare_dead_worker(instance: Instance) -> bool:
    instance.claim()
    instance.wait_for_the_end_of_the_lease()
    return True


def prepare_doubt(instance: Instance) -> bool:
    instance.settle(instance.claim(), Doubt(), keep_s=KEEP_S)
    return True


@pytest.mark.parametrize(
    "prepare", [prepare_absent, prepare_expired, prepare_dead_worker, prepare_doubt]
)
def test_of_64_racers_one_wins_and_the_others_see_it_run(
    instance: Instance, prepare: Callable[[Instance], bool]
) -> None:
    doubt = prepare(instance)
    begun = race([instance.begin, instance.begin_elsewhere] * (RACERS // 2))
    (won,) = [one for one in begun if isinstance(one, Granted)]
    assert won.doubt is doubt
    assert Counter(type(one) for one in begun) == {Granted: 1, Running: RACERS - 1}


def test_a_late_completion_and_a_take_over_never_both_succeed(instance: Instance) -> None:
    for round_ in range(8):
        key = hashlib.sha256(f"late {round_}".encode()).hexdigest()
        claim = instance.claim(key)
        instance.wait_for_the_end_of_the_lease()
        complete = partial(instance.settle, claim, Finished("p"))
        wanted = [Wanted(key, "f")]
        take_over = partial(instance.other.begin, CALLER, wanted, lease_s=LEASE_S, keep_s=KEEP_S)
        completed, *begun = race([complete, *[take_over] * 7])
        taken_over = sum(isinstance(one, Granted) for one in begun)
        assert taken_over == (0 if completed else 1)


# Two records at once: by nature, and by key.


def test_two_records_are_claimed_and_finished_together(instance: Instance) -> None:
    claim = new(instance.begin_both())
    assert isinstance(instance.begin_by_nature(), Running)
    assert isinstance(instance.begin_both(), Running)
    assert instance.settle(claim, Finished("by nature"), Finished("by key"))
    assert instance.begin_by_nature() == Replay("by nature")
    assert instance.begin_both() == Replay("by key")


@pytest.mark.parametrize("end", ["nature", "key"])
def test_each_record_has_an_end_of_its_own(instance: Instance, end: str) -> None:
    claim = new(instance.begin_both())
    if end == "nature":
        instance.settle(claim, Finished("p"), Removed())
        assert instance.begin_by_nature() == Replay("p")
        new(instance.begin())
    else:
        instance.settle(claim, Doubt(), Finished("p"))
        assert instance.begin_both() == Replay("p")
        abandoned(instance.begin_by_nature())


def test_nothing_is_claimed_where_one_record_is_taken(instance: Instance) -> None:
    nature = new(instance.begin_by_nature())
    assert isinstance(instance.begin_both(), Running)
    instance.settle(nature, Removed())
    assert not abandoned_or_new(instance.begin_both())


def abandoned_or_new(begun: Begun) -> bool:
    assert isinstance(begun, Granted), begun
    return begun.doubt


def test_a_key_with_another_body_is_told_before_anything_else(instance: Instance) -> None:
    instance.settle(new(instance.begin_both()), Finished("p"), Finished("p"))
    other = hashlib.sha256(b"another appointment").hexdigest()
    for nature in (NATURE, other):
        assert instance.begin_both(nature, fingerprint="g") == Mismatch()
    new(instance.begin_by_nature(other))


@pytest.mark.parametrize("before", ["nothing", "doubt", "a lease that is over"])
def test_a_replay_by_nature_takes_the_key_with_it(instance: Instance, before: str) -> None:
    if before == "doubt":
        instance.settle(instance.claim(), Doubt())
    if before == "a lease that is over":
        instance.claim()
        instance.wait_for_the_end_of_the_lease()
    instance.settle(new(instance.begin_by_nature()), Finished("p"))
    assert instance.begin_both() == Replay("p")
    other = hashlib.sha256(b"another appointment").hexdigest()
    assert instance.begin_both(other, fingerprint="g") == Mismatch()
    assert instance.begin() == Replay("p")


def test_a_replay_by_key_leaves_nothing_by_nature(instance: Instance) -> None:
    instance.settle(new(instance.begin_both()), Removed(), Finished("p"))
    assert instance.begin_both() == Replay("p")
    new(instance.begin_by_nature())


def test_a_key_that_somebody_works_on_is_left_alone_by_a_replay(instance: Instance) -> None:
    instance.settle(new(instance.begin_by_nature()), Finished("p"))
    claim = instance.claim()
    assert instance.begin_both() == Replay("p")
    assert isinstance(instance.begin(), Running)
    assert instance.settle(claim, Finished("q"))


@pytest.mark.parametrize("doubtful", ["nature", "key"])
def test_a_doubt_of_either_record_is_a_doubt(instance: Instance, doubtful: str) -> None:
    if doubtful == "nature":
        instance.settle(new(instance.begin_by_nature()), Doubt())
    else:
        instance.settle(instance.claim(), Doubt())
    abandoned(instance.begin_both())


def test_a_doubt_that_was_taken_over_lives_as_long_as_it_would_have(instance: Instance) -> None:
    instance.settle(instance.claim(keep_s=1_000), Doubt(), keep_s=1_000)
    claim = abandoned(instance.begin(lease_s=5, keep_s=1))
    instance.settle(claim, Doubt(), keep_s=1)
    instance.wait(900)
    abandoned(instance.begin())


@pytest.mark.parametrize("ends", [(Finished("p"),) * 2, (Doubt(),) * 2, (Removed(), Finished("p"))])
def test_where_one_record_is_lost_none_is_changed(
    instance: Instance, ends: tuple[End, End]
) -> None:
    stale = new(instance.begin_both())
    instance.wait_for_the_end_of_the_lease()
    owner = abandoned(instance.begin_by_nature())
    assert instance.settle(stale, *ends) is False
    assert isinstance(instance.begin_by_nature(), Running)
    assert instance.settle(owner, Finished("true"))
    assert instance.begin_both() == Replay("true")


def test_what_is_settled_already_is_settled(instance: Instance) -> None:
    claim = new(instance.begin_both())
    for _ in range(2):
        assert instance.settle(claim, Removed(), Finished("p"))
    assert instance.settle(claim, Removed(), Finished("q")) is False


def test_the_same_key_of_two_callers_is_two_records(instance: Instance) -> None:
    instance.settle(instance.claim(), Finished("p"))
    wanted = [Wanted(KEY, "f")]
    new(instance.store.begin(OTHER_CALLER, wanted, lease_s=LEASE_S, keep_s=KEEP_S))


@pytest.mark.parametrize("caller", ["", "ann@contoso.example", CALLER.upper(), CALLER[:-1] + "/"])
def test_a_caller_that_is_no_hash_is_refused(instance: Instance, caller: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        instance.store.begin(caller, [Wanted(KEY, "f")], lease_s=LEASE_S, keep_s=KEEP_S)


def test_of_64_racers_with_keys_of_their_own_one_wins(instance: Instance) -> None:
    keys = [hashlib.sha256(f"key {n}".encode()).hexdigest() for n in range(RACERS)]
    begun = race([partial(instance.begin_both, key=key) for key in keys])
    assert Counter(type(one) for one in begun) == {Granted: 1, Running: RACERS - 1}
