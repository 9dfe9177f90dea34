"""The memory store against a plain one that does the same with objects: call by call the same
answers, and next to no memory per record.
"""

import gc
import hashlib
import itertools
import math
import random
import time
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.records import rules as idempotency
from shared.records.packed import HASH_BYTES, PackedRecords
from shared.records.rules import (
    Abandoned,
    Begun,
    Claim,
    MemoryStore,
    New,
    Record,
    Settling,
    State,
    finished,
    in_doubt,
    judge,
    running,
    settle,
)

TICK_S = (
    1 / 4096
)  # each call has a moment of its own: which of two records of one moment is the older, nobody promises


class PlainStore:
    """What ``MemoryStore`` promises, with a record as an object, in a dictionary and in a queue:
    easily seen to be right, and ten times as large.
    """

    def __init__(self, now: Callable[[], float], capacity: int) -> None:
        self._now = now
        self._capacity = capacity
        self._owners = itertools.count(1)
        self._queues: dict[tuple[State, float], OrderedDict[str, Record]] = {}
        self._queue_of: dict[str, OrderedDict[str, Record]] = {}
        self._sure_from = -math.inf
        self.dropped_early = 0

    def __len__(self) -> int:
        return len(self._queue_of)

    def begin(self, key: str, fingerprint: str, *, lease_s: float, keep_s: float) -> Begun:
        now = self._now()
        self._drop_expired(now)
        before = self._get(key)
        verdict = judge(before, fingerprint, now)
        if not isinstance(verdict, type):
            return verdict
        if verdict is New and now < self._sure_from:
            verdict = Abandoned
        owner = str(next(self._owners))
        self._put(
            key,
            running(owner, fingerprint, now, lease_s=lease_s, keep_s=keep_s, before=before),
            keep_s,
        )
        self._make_room(now)
        return verdict(Claim(key, owner, fingerprint))

    def complete(self, claim: Claim, payload: str, *, keep_s: float) -> bool:
        return self._settle(
            claim,
            finished(claim.proof, claim.fingerprint, self._now(), keep_s=keep_s, payload=payload),
            keep_s,
        )

    def release(self, claim: Claim, *, doubt: bool, keep_s: float) -> bool:
        return self._settle(
            claim,
            in_doubt(claim.proof, claim.fingerprint, self._now(), keep_s=keep_s) if doubt else None,
            keep_s,
        )

    def _settle(self, claim: Claim, wanted: Record | None, keep_s: float) -> bool:
        settling = settle(self._get(claim.key), claim.proof, wanted)
        if settling is Settling.OPEN and wanted is None:
            self._remove(claim.key)
        elif settling is Settling.OPEN and wanted is not None:
            self._put(claim.key, wanted, keep_s)
        return settling is not Settling.LOST

    def _get(self, key: str) -> Record | None:
        queue = self._queue_of.get(key)
        return None if queue is None else queue[key]

    def _put(self, key: str, record: Record, keep_s: float) -> None:
        if key in self._queue_of:
            self._remove(key)
        queue = self._queues.setdefault((record.state, keep_s), OrderedDict())
        queue[key] = record
        self._queue_of[key] = queue

    def _remove(self, key: str) -> None:
        del self._queue_of.pop(key)[key]

    def _drop_expired(self, now: float) -> None:
        for name, queue in list(self._queues.items()):
            if not queue:
                del self._queues[name]
                continue
            key, record = next(iter(queue.items()))
            if record.expires_at <= now:
                self._remove(key)

    def _make_room(self, now: float) -> None:
        while len(self._queue_of) > self._capacity:
            oldest = [
                (
                    record.expires_at > now,
                    state is not State.FINISHED,
                    record.expires_at - keep_s,
                    key,
                    record,
                )
                for (state, keep_s), queue in self._queues.items()
                for key, record in itertools.islice(queue.items(), 1)
                if not record.is_worked_on(now)
            ]
            if not oldest:
                return
            *_, key, record = min(oldest)
            self._remove(key)
            if record.expires_at > now:
                self._sure_from = max(self._sure_from, record.expires_at)
                self.dropped_early += 1


type Call = tuple[Literal["begin", "complete", "doubt", "settled", "wait"], int, int]
"""What to do, and two numbers that choose with what."""

KEYS = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(7)]
FINGERPRINTS = ("", "", "", "f", "g", hashlib.sha256(b"a body").hexdigest())
LEASES = (5.0, 10.0)
KEEPS = (3.0, 20.0, 60.0)
PAYLOADS = (
    "",
    "cancelled",
    "not_found",
    "caf\N{LATIN SMALL LETTER E WITH ACUTE} \N{DUCK}",
    "x" * 3000,
)
WAITS = (0.5, 4.0, 5.0, 30.0)
CAPACITIES = (1, 2, 4, 1000)


def pick[T](choices: Sequence[T], number: int) -> T:
    return choices[number % len(choices)]


def first_difference(calls: Sequence[Call], capacity: int) -> str | None:
    """Do all of it with both stores. None when they cannot be told apart."""
    now = 1_760_000_000.0
    stores = packed, plain = MemoryStore(lambda: now, capacity), PlainStore(lambda: now, capacity)
    claims = [Claim(KEYS[0], "None", ""), Claim(KEYS[0], "no number", "")]
    for index, (what, one, other) in enumerate(calls):
        now += TICK_S
        claim = pick(claims, one)
        match what:
            case "wait":
                now += pick(WAITS, one)
                continue
            case "begin":
                fingerprint, lease_s, keep_s = (
                    pick(FINGERPRINTS, other),
                    pick(LEASES, other),
                    pick(KEEPS, other // 2),
                )
                said: list[object] = [
                    store.begin(pick(KEYS, one), fingerprint, lease_s=lease_s, keep_s=keep_s)
                    for store in stores
                ]
                claims += [begun.claim for begun in said[1:] if isinstance(begun, New | Abandoned)]
            case "complete":
                said = [
                    store.complete(claim, pick(PAYLOADS, other), keep_s=pick(KEEPS, other // 3))
                    for store in stores
                ]
            case _:
                said = [
                    store.release(claim, doubt=what == "doubt", keep_s=pick(KEEPS, other))
                    for store in stores
                ]
        said += [(len(store), store.dropped_early) for store in stores]
        if said[0] != said[1] or said[2] != said[3]:
            return f"call {index} {what}: {said}"
    assert len(list(packed._records)) == len(packed) == len(plain)
    return None


CALLS = st.tuples(
    st.sampled_from(["begin", "begin", "complete", "complete", "doubt", "settled", "wait"]),
    st.integers(0, 40),
    st.integers(0, 11),
)


@given(calls=st.lists(CALLS, max_size=120), capacity=st.sampled_from(CAPACITIES))
@settings(max_examples=300, deadline=None, database=None)
def test_no_sequence_of_calls_tells_the_packed_store_from_a_plain_one(
    calls: list[Call], capacity: int
) -> None:
    assert first_difference(calls, capacity) is None


def long_walk(capacity: int) -> str | None:
    chance = random.Random(capacity)
    kinds: list[Literal["begin", "complete", "doubt", "settled", "wait"]] = [
        "begin",
        "complete",
        "doubt",
        "settled",
        "wait",
    ]

    def calls() -> Iterator[Call]:
        for index in range(2_000):
            newest = index + chance.randrange(-3, 3)
            yield (
                chance.choices(kinds, [8, 6, 2, 1, 1])[0],
                chance.choice([chance.randrange(1000), abs(newest)]),
                chance.randrange(36),
            )

    return first_difference(list(calls()), capacity)


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_a_long_walk_does_not_either(capacity: int) -> None:
    assert long_walk(capacity) is None


class Amnesiac(MemoryStore):
    def _make_room(self, now: float) -> None:
        super()._make_room(now)
        self._sure_from = -math.inf


class Hoarder(MemoryStore):
    def _make_room(self, now: float) -> None:
        if len(self._records) > self._capacity + 1:
            super()._make_room(now)


class NewestFirst(PackedRecords[tuple[State, float]]):
    def oldest(self) -> list[tuple[tuple[State, float], int, float, float | None]]:
        newest = {queue: self._older[anchor] for queue, anchor in self._anchors.items()}
        return [
            (queue, row := newest[queue], self._expiries[row], self._leases.get(row))
            for queue, *_ in super().oldest()
        ]


class OneBucketShort(PackedRecords[tuple[State, float]]):
    def find(self, name: bytes) -> int | None:
        row = self._buckets[hash(name) & self._bucket_mask]
        return row if row >= 0 and self._hashes.startswith(name, row * 2 * HASH_BYTES) else None


class LeaseKeeper(PackedRecords[tuple[State, float]]):
    def rest(
        self, row: int, queue: tuple[State, float], *, expires_at: float, payload: str | None
    ) -> None:
        lease = self._leases[row]
        super().rest(row, queue, expires_at=expires_at, payload=payload)
        self._leases[row] = lease


class OnePayload(PackedRecords[tuple[State, float]]):
    def _share(self, payload: str) -> str:
        super()._share(payload)
        return next(iter(self._shared))


class Patient(PackedRecords[tuple[State, float]]):
    def drop_expired(self, now: float) -> None:
        super().drop_expired(now - 1)


def no_mark(fingerprint: str) -> bytes:
    return bytes(HASH_BYTES)


def short_name(key: str) -> bytes:
    return (int(key[:2], 16) % 3).to_bytes(32)


@pytest.mark.parametrize(
    ("what", "mutant"),
    [
        pytest.param("MemoryStore", Amnesiac, id="what is dropped early leaves no doubt"),
        pytest.param("MemoryStore", Hoarder, id="one record too many"),
        pytest.param("PackedRecords", NewestFirst, id="the newest goes first"),
        pytest.param("PackedRecords", OneBucketShort, id="only the head of a chain is found"),
        pytest.param("PackedRecords", LeaseKeeper, id="what is finished still runs"),
        pytest.param("PackedRecords", OnePayload, id="all payloads are one"),
        pytest.param("PackedRecords", Patient, id="what is over stays for a second"),
        pytest.param("_mark", no_mark, id="all fingerprints are one"),
        pytest.param("require_hash", short_name, id="keys meet"),
    ],
)
def test_a_store_with_a_mistake_is_found_out(
    what: str, mutant: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals() if what == "MemoryStore" else vars(idempotency), what, mutant)
    assert any(long_walk(capacity) for capacity in CAPACITIES)


def fill(store: MemoryStore, numbers: range) -> None:
    for number in numbers:
        begun = store.begin(
            hashlib.sha256(str(number).encode()).hexdigest(), "", lease_s=20, keep_s=86_400
        )
        assert isinstance(begun, New | Abandoned)
        assert store.complete(
            begun.claim,
            '{"outcome": "cancelled", "confirmed": %s}' % ("true" if number % 2 else "false"),
            keep_s=86_400,
        )


def test_a_finished_record_takes_no_memory_that_was_not_there_before_it() -> None:
    """A bound of 4 bytes a record, where an object would take hundreds: room for what the
    interpreter itself keeps.
    """
    tracemalloc.start()
    try:
        store = MemoryStore(time.time, capacity=20_000)
        table, _ = tracemalloc.get_traced_memory()
        fill(store, range(1_000))
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        fill(store, range(1_000, 25_000))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(store) == 20_000
    assert (after - before) / 19_000 < 4
    assert table / 20_000 < 100  # and the table itself is small


def test_different_payloads_do_not_stay_when_their_records_go() -> None:
    store = MemoryStore(time.time, capacity=10)
    tracemalloc.start()
    try:
        for number in range(2_000):
            begun = store.begin(
                hashlib.sha256(str(number).encode()).hexdigest(), "", lease_s=20, keep_s=86_400
            )
            assert isinstance(begun, New | Abandoned)
            store.complete(begun.claim, f"{number} " + "x" * 10_000, keep_s=86_400)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (
        held < 1_000_000
    )  # 64 that are shared for good, and 10 records; all of them would be 20 million


def test_the_table_grows_where_more_runs_than_it_has_room_for() -> None:
    store = MemoryStore(time.time, capacity=1)
    claims = []
    for number in range(2_000):
        begun = store.begin(
            hashlib.sha256(str(number).encode()).hexdigest(), "f", lease_s=20, keep_s=100
        )
        assert isinstance(begun, New | Abandoned)
        claims.append(begun.claim)
    assert len(store) == 2_000
    assert all(store.complete(claim, "p", keep_s=100) for claim in claims)
