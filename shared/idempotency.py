"""What was already done for a request: the records, their rules, and a store that keeps them in memory.

Owns the meaning of a record (``judge``, ``settle``) and the protocol both stores keep. Does *not* know what a request or an outcome is: a key and
a fingerprint are hashes that the caller made, a payload is the caller's text. Nothing of a record but its hashes is ever logged.

A record is *running* while somebody carries the request out, *finished* once its outcome is known, *in doubt* when it was given up without knowing.
A running record whose lease is over means that its worker died: it is in doubt, too. Doubt ends in three ways only: an outcome is
completed, the caller says that it is settled (``release(doubt=False)``), or the record's keep is over.
"""

import itertools
import math
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

# How soon it pays to ask again about a running record. A cancel takes well under a second, a lease lasts much longer.
POLL_HINT_S = 1.0

_SHA256_HEX = re.compile(r"[0-9a-f]{64}")


class StoreUnavailable(Exception):
    """The store did not answer, refused, or holds something that is no record: nothing is known about the request."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to carry out a request, until its lease is over. ``proof`` means something to the store that gave it, to nobody else."""

    key: str
    proof: str = field(repr=False)
    fingerprint: str


@dataclass(frozen=True, slots=True)
class New:
    """Nobody has tried this request: carry it out, then complete or release the claim."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class Abandoned:
    """It was begun and nobody knows how it ended: look before acting, then complete or release the claim."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class Replay:
    """It was finished, and this is what was completed."""

    payload: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Running:
    """Somebody else carries it out right now. ``retry_after_s`` says when it pays to ask again, in seconds."""

    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The key is taken by a request with another fingerprint."""


type Begun = New | Abandoned | Replay | Running | Mismatch


class IdempotencyStore(Protocol):
    """Keeps one record per key. Every method may be called by any thread and raises ``StoreUnavailable`` and nothing else when the store fails."""

    def begin(self, key: str, fingerprint: str, *, lease_s: float, keep_s: float) -> Begun:
        """Claim the request, or say who has it. Of any number of racers exactly one gets ``New`` or ``Abandoned``.

        ``key`` is a SHA-256 in hex (anything else is a ``ValueError``: an id must never become a key). ``lease_s`` has to be longer than the
        request can take; ``keep_s`` is how long the record lives if nothing else is said about it.
        """
        ...

    def complete(self, claim: Claim, payload: str, *, keep_s: float) -> bool:
        """Record the outcome, to be replayed for ``keep_s``.

        False: the lease was over and another took the record, or it was settled before; nothing was changed. True also when it already said so.
        """
        ...

    def release(self, claim: Claim, *, doubt: bool, keep_s: float) -> bool:
        """Give the claim up without an outcome.

        ``doubt=False`` says that nothing was changed or that a doubt is settled: the record is removed and a repeat is ``New``. ``doubt=True``: the next to
        ask gets ``Abandoned``, at once and for ``keep_s``. False as in ``complete``; so a release after a complete does no harm.
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
    """What a store keeps under a key. Times are seconds of the wall clock; ``owner`` is whoever claimed it last."""

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


def running(owner: str, fingerprint: str, now: float, *, lease_s: float, keep_s: float, before: Record | None) -> Record:
    """Make the record of a fresh claim. One that takes over from ``before`` never lives shorter than that would have: doubt does not evaporate."""
    expires_at = max(now + keep_s, now + lease_s, before.expires_at if before else -math.inf)
    return Record(State.RUNNING, owner, fingerprint, now + lease_s, expires_at)


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


def require_hash(key: str) -> None:
    """Refuse a key that is not a hash, before it can name a person in a store or a log."""
    if not _SHA256_HEX.fullmatch(key):
        raise ValueError("the key of a record must be a SHA-256 in lower-case hex")


class MemoryStore:
    """Keeps the records of one worker: its promise ends with the process, and no other instance sees them.

    At most ``capacity`` records: what is over its keep goes first, then the oldest finished one, then the oldest in doubt. A record that somebody works
    on is never dropped; those may exceed the capacity, and the concurrency of the worker bounds them. Dropping a record before its time would turn into
    a false ``New`` later, and a false ``New`` into a false answer: until the last one dropped would have expired, there is no ``New``, but ``Abandoned``.

    Every method takes constant time, given that only a few different ``keep_s`` are in use: one queue, oldest first, for each state and keep.
    """

    def __init__(self, now: Callable[[], float], capacity: int = 100_000) -> None:
        self._now = now
        self._capacity = capacity
        self._lock = threading.Lock()
        self._owners = itertools.count(1)
        self._queues: dict[tuple[State, float], OrderedDict[str, Record]] = {}
        self._queue_of: dict[str, OrderedDict[str, Record]] = {}
        self._sure_from = -math.inf
        self.dropped_early = 0

    def __len__(self) -> int:
        """Count the records, expired ones included."""
        return len(self._queue_of)

    def begin(self, key: str, fingerprint: str, *, lease_s: float, keep_s: float) -> Begun:
        """See ``IdempotencyStore.begin``."""
        require_hash(key)
        with self._lock:
            now = self._now()
            self._drop_expired(now)
            before = self._get(key)
            verdict = judge(before, fingerprint, now)
            if not isinstance(verdict, type):
                return verdict
            if verdict is New and now < self._sure_from:
                verdict = Abandoned
            owner = str(next(self._owners))
            self._put(key, running(owner, fingerprint, now, lease_s=lease_s, keep_s=keep_s, before=before), keep_s)
            self._make_room(now)
            return verdict(Claim(key, owner, fingerprint))

    def complete(self, claim: Claim, payload: str, *, keep_s: float) -> bool:
        """See ``IdempotencyStore.complete``."""
        with self._lock:
            return self._settle(claim, finished(claim.proof, claim.fingerprint, self._now(), keep_s=keep_s, payload=payload), keep_s)

    def release(self, claim: Claim, *, doubt: bool, keep_s: float) -> bool:
        """See ``IdempotencyStore.release``."""
        with self._lock:
            return self._settle(claim, in_doubt(claim.proof, claim.fingerprint, self._now(), keep_s=keep_s) if doubt else None, keep_s)

    def close(self) -> None:
        """Nothing to let go of."""

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
        """Drop the oldest record of each queue if it is over: every begin adds one record at most, so this keeps up."""
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
                (state is not State.FINISHED, record.expires_at - keep_s, key, record)
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
