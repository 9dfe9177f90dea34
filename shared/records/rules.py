"""What was already done for a request: the records, their rules, and a store that keeps them in
memory.

Owns the meaning of a record (``judge``, ``settle``) and the protocol both stores keep. Does *not*
know what a request or an outcome is: a key and a fingerprint are hashes that the caller made, a
payload is the caller's text. Nothing of a record but its hashes is ever logged.

A record is *running* while somebody carries the request out, *finished* once its outcome is known,
*in doubt* when it was given up without knowing. A running record whose lease is over means that its
worker died: it is in doubt, too. Doubt ends in three ways only: an outcome is completed, the caller
says that it is settled (``release(doubt=False)``), or the record's keep is over.
"""

import hashlib
import itertools
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from shared.records.packed import HASH_BYTES, PackedRecords

# How soon it pays to ask again about a running record. A cancel takes well under a second, a lease
# lasts much longer.
POLL_HINT_S = 1.0

_NO_MARK = bytes(HASH_BYTES)
_NOTHING = (True, True, math.inf)  # comes after every record


class StoreUnavailable(Exception):
    """The store did not answer, refused, or holds something that is no record: nothing is known
    about the request.
    """


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to carry out a request, until its lease is over.

    ``proof`` means something to the store that gave it, to nobody else.
    """

    key: str
    proof: str = field(repr=False)
    fingerprint: str


@dataclass(frozen=True, slots=True)
class New:
    """Nobody has tried this request: carry it out, then complete or release the claim."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class Abandoned:
    """It was begun and nobody knows how it ended: look before acting, then complete or release the
    claim.
    """

    claim: Claim


@dataclass(frozen=True, slots=True)
class Replay:
    """It was finished, and this is what was completed."""

    payload: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Running:
    """Somebody else carries it out right now.

    ``retry_after_s`` says when it pays to ask again, in seconds.
    """

    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The key is taken by a request with another fingerprint."""


type Begun = New | Abandoned | Replay | Running | Mismatch


class IdempotencyStore(Protocol):
    """Keeps one record per key.

    Every method may be called by any thread and raises ``StoreUnavailable`` and nothing else when
    the store fails.
    """

    def begin(self, key: str, fingerprint: str, *, lease_s: float, keep_s: float) -> Begun:
        """Claim the request, or say who has it.

        Of any number of racers exactly one gets ``New`` or ``Abandoned``.

        ``key`` is a SHA-256 in hex (anything else is a ``ValueError``: an id must never become a
        key). ``lease_s`` has to be longer than the request can take; ``keep_s`` is how long the
        record lives if nothing else is said about it.
        """
        ...

    def complete(self, claim: Claim, payload: str, *, keep_s: float) -> bool:
        """Record the outcome, to be replayed for ``keep_s``.

        False: the lease was over and another took the record, or it was settled before; nothing was
        changed. True also when it already said so.
        """
        ...

    def release(self, claim: Claim, *, doubt: bool, keep_s: float) -> bool:
        """Give the claim up without an outcome.

        ``doubt=False`` says that nothing was changed or that a doubt is settled: the record is
        removed and a repeat is ``New``. ``doubt=True``: the next to ask gets ``Abandoned``, at once
        and for ``keep_s``. False as in ``complete``; so a release after a complete does no harm.
        """
        ...

    def close(self) -> None:
        """Let go of threads and connections; the store cannot be used afterwards."""
        ...


class State(StrEnum):
    """Where a record stands. The values are stored: they are a format, not only names."""

    RUNNING = "running"
    FINISHED = "finished"
    DOUBT = "doubt"


@dataclass(frozen=True, slots=True)
class Record:
    """What a store keeps under a key.

    Times are seconds of the wall clock; ``owner`` is whoever claimed it last.
    """

    state: State
    owner: str = field(repr=False)
    fingerprint: str
    lease_until: float
    expires_at: float
    payload: str = field(default="", repr=False)

    def is_worked_on(self, now: float) -> bool:
        """Say whether somebody still has the right to carry the request out."""
        return self.state is State.RUNNING and self.lease_until > now


type Verdict = type[New | Abandoned] | Replay | Running | Mismatch


def judge(record: Record | None, fingerprint: str, now: float) -> Verdict:
    """Say what a request meets: an answer, or the kind of claim it may take."""
    if record is None or record.expires_at <= now:
        return New
    if record.fingerprint != fingerprint:
        return Mismatch()
    match record.state:
        case State.FINISHED:
            return Replay(record.payload)
        case State.RUNNING if record.is_worked_on(now):
            return Running(min(record.lease_until - now, POLL_HINT_S))
        case State.RUNNING | State.DOUBT:
            return Abandoned


def end_of_claim(now: float, *, lease_s: float, keep_s: float, before: Record | None) -> float:
    """Say when the record of a fresh claim is over.

    One that takes over from ``before`` never lives shorter than that would have: doubt does not
    evaporate.
    """
    return max(now + keep_s, now + lease_s, before.expires_at if before else -math.inf)


def running(
    owner: str,
    fingerprint: str,
    now: float,
    *,
    lease_s: float,
    keep_s: float,
    before: Record | None,
) -> Record:
    """Make the record of a fresh claim."""
    return Record(
        State.RUNNING,
        owner,
        fingerprint,
        now + lease_s,
        end_of_claim(now, lease_s=lease_s, keep_s=keep_s, before=before),
    )


def finished(owner: str, fingerprint: str, now: float, *, keep_s: float, payload: str) -> Record:
    """Make the record of a known outcome."""
    return Record(State.FINISHED, owner, fingerprint, now, now + keep_s, payload)


def in_doubt(owner: str, fingerprint: str, now: float, *, keep_s: float) -> Record:
    """Make the record of a request that was given up without knowing how it ended."""
    return Record(State.DOUBT, owner, fingerprint, now, now + keep_s)


class Settling(StrEnum):
    """What completing or releasing a claim meets."""

    OPEN = "open"  # still ours and running: write
    DONE = "done"  # it already is as asked
    LOST = "lost"  # another has it, or it was settled otherwise: leave it alone


def settle(record: Record | None, owner: str, wanted: Record | None) -> Settling:
    """Say whether ``owner`` may still bring its record to ``wanted`` (None: removed)."""
    if record is None:
        return Settling.DONE if wanted is None else Settling.LOST
    if record.owner != owner:
        return Settling.LOST
    if record.state is State.RUNNING:
        return Settling.OPEN
    same = wanted is not None and (record.state, record.payload) == (wanted.state, wanted.payload)
    return Settling.DONE if same else Settling.LOST


def require_hash(key: str) -> bytes:
    """Refuse a key that is not a hash, before it can name a person in a store or a log; return its
    bytes. Errors: ValueError.
    """
    raw = _read_hash(key)
    if raw is None:
        raise ValueError("the key of a record must be a SHA-256 in lower-case hex")
    return raw


def _read_hash(text: str) -> bytes | None:
    """Return the bytes of a SHA-256 in lower-case hex; None for any other text."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    return raw if len(raw) == 32 and raw.hex() == text else None


class MemoryStore:
    """Keeps the records of one worker: its promise ends with the process, and no other instance
    sees them.

    At most ``capacity`` records: what is over its keep goes first, then the oldest finished one,
    then the oldest in doubt. A record that somebody works on is never dropped; those may exceed the
    capacity, and the concurrency of the worker bounds them. Dropping a record before its time would
    turn into a false ``New`` later, and a false ``New`` into a false answer: until the last one
    dropped would have expired, there is no ``New``, but ``Abandoned``.

    Every method takes constant time, given that only a few different ``keep_s`` are in use: one
    queue, oldest first, for each state and keep. The memory for ``capacity`` records is taken at
    the start: a worker that has seen many requests is no larger than one that has seen none.
    """

    def __init__(self, now: Callable[[], float], capacity: int = 100_000) -> None:
        self._now = now
        self._capacity = capacity
        self._lock = threading.Lock()
        self._owners = itertools.count(1)
        self._records: PackedRecords[tuple[State, float]] = PackedRecords(capacity)
        self._sure_from = -math.inf
        self.dropped_early = 0

    def __len__(self) -> int:
        """Count the records, expired ones included."""
        return len(self._records)

    def begin(self, key: str, fingerprint: str, *, lease_s: float, keep_s: float) -> Begun:
        """See ``IdempotencyStore.begin``."""
        name, mark = require_hash(key)[:HASH_BYTES], _mark(fingerprint)
        with self._lock:
            now = self._now()
            self._records.drop_expired(now)
            row = self._records.find(name)
            before = None if row is None else self._read(row)
            verdict = New if before is None else judge(before, mark.hex(), now)
            if not isinstance(verdict, type):
                return verdict
            if verdict is New and now < self._sure_from:
                verdict = Abandoned
            owner = next(self._owners)
            expires_at = end_of_claim(now, lease_s=lease_s, keep_s=keep_s, before=before)
            queue = (State.RUNNING, keep_s)
            self._records.run(
                row, name, mark, owner, queue, lease_until=now + lease_s, expires_at=expires_at
            )
            if len(self._records) > self._capacity:
                self._make_room(now)
            return verdict(Claim(key, str(owner), fingerprint))

    def complete(self, claim: Claim, payload: str, *, keep_s: float) -> bool:
        """See ``IdempotencyStore.complete``."""
        return self._settle(claim, State.FINISHED, payload, keep_s)

    def release(self, claim: Claim, *, doubt: bool, keep_s: float) -> bool:
        """See ``IdempotencyStore.release``."""
        return self._settle(claim, State.DOUBT if doubt else None, None, keep_s)

    def close(self) -> None:
        """Nothing to let go of."""

    def _settle(
        self, claim: Claim, state: State | None, payload: str | None, keep_s: float
    ) -> bool:
        """Bring a claim's record to ``state``, None: remove it."""
        name = require_hash(claim.key)[:HASH_BYTES]
        with self._lock:
            row = self._records.find(name)
            holder = None if row is None else self._records.runs_for(row)
            if row is None or holder is None or str(holder) != claim.proof:
                # Only now are two records made, to ask the rules: that it is open is all that they
                # say of a claim that still runs.
                wanted = (
                    None
                    if state is None
                    else Record(
                        state, claim.proof, claim.fingerprint, -math.inf, math.inf, payload or ""
                    )
                )
                return (
                    settle(None if row is None else self._read(row), claim.proof, wanted)
                    is not Settling.LOST
                )
            if state is None:
                self._records.remove(row)
            else:
                self._records.rest(
                    row, (state, keep_s), expires_at=self._now() + keep_s, payload=payload
                )
            return True

    def _read(self, row: int) -> Record:
        """Return a record as the rules know it; of its fingerprint the hash is left."""
        _, owner, mark, expires_at, lease_until, payload = self._records.read(row)
        if lease_until is not None:
            return Record(State.RUNNING, str(owner), mark.hex(), lease_until, expires_at)
        if payload is None:
            return Record(State.DOUBT, str(owner), mark.hex(), -math.inf, expires_at)
        return Record(State.FINISHED, str(owner), mark.hex(), -math.inf, expires_at, payload)

    def _make_room(self, now: float) -> None:
        while len(self._records) > self._capacity:
            first, chosen, gone_at = _NOTHING, -1, now
            for (state, keep_s), row, expires_at, lease_until in self._records.oldest():
                if lease_until is None or lease_until <= now:
                    rank = (expires_at > now, state is not State.FINISHED, expires_at - keep_s)
                    if rank < first:
                        first, chosen, gone_at = rank, row, expires_at
            if first is _NOTHING:
                return
            if gone_at > now:
                self._sure_from = max(self._sure_from, gone_at)
                self.dropped_early += 1
            self._records.remove(chosen)


def _mark(fingerprint: str) -> bytes:
    """Return what is kept of a fingerprint.

    It may be any text; a hash, as it should be, need not be hashed again, and by nature there is
    none.
    """
    if not fingerprint:
        return _NO_MARK
    raw = _read_hash(fingerprint)
    if raw is None:
        raw = hashlib.sha256(fingerprint.encode("utf-8", "surrogatepass")).digest()
    return raw[:HASH_BYTES]
