"""The records of one worker, in memory: their promise ends with the process.

Owns what is dropped when there is no room. Does *not* own what a record means (``rules.py``).
"""

import itertools
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence

from shared.records import rules
from shared.records.rules import Begun, Claim, End, Free, Granted, Record, State, Wanted

type _Held = tuple[OrderedDict[str, Record], OrderedDict[str, Record]]  # finished, and others
_ANYBODY = ""


class MemoryStore:
    """At most ``capacity`` records.

    Those over their keep go first, then the oldest finished one of the caller who has most, then
    this caller's oldest in doubt; never one that somebody works on. Who lost a record before its
    time is told (``forgot``) until that would have been over. A call takes next to constant time,
    as long as few different ``keep_s`` are in use.
    """

    def __init__(self, now: Callable[[], float], capacity: int = 20_000) -> None:
        self._now, self._capacity = now, capacity
        self._lock = threading.Lock()
        self._owners = itertools.count(1)
        self._held: dict[str, _Held] = {}
        self._by_count: defaultdict[int, OrderedDict[str, None]] = defaultdict(OrderedDict)
        self._by_keep: dict[float, OrderedDict[tuple[str, str], float]] = {}  # to when it is over
        self._forgot: dict[str, float] = {}  # until when, by caller

    def __len__(self) -> int:
        """Count the records, expired ones included."""
        return sum(map(len, self._by_keep.values()))

    def __iter__(self) -> Iterator[tuple[str, Record]]:
        """Return all keys with their records."""
        return (item for held in self._held.values() for part in held for item in part.items())

    def begin(
        self, caller: str, wanted: Sequence[Wanted], *, lease_s: float, keep_s: float
    ) -> Begun:
        """See ``IdempotencyStore.begin``."""
        rules.require_hashes(caller, wanted)
        with self._lock:
            now, owner = self._now(), str(next(self._owners))
            self._drop_expired(now)
            found = [self._find(caller, want.key) for want in wanted]
            met = rules.judge(found, wanted, now)
            new = rules.new_records(met, owner, wanted, found, now, lease_s=lease_s, keep_s=keep_s)
            for key, record in new.items():
                self._put(caller, key, record, keep_s)
            self._make_room(now)
            if not isinstance(met, Free):
                return met
            forgot = now < max(self._forgot.get(whose, 0.0) for whose in (caller, _ANYBODY))
            expiries = tuple(record.expires_at for record in new.values())
            return Granted(Claim(caller, tuple(wanted), owner, expiries), met.doubt, forgot)

    def settle(self, claim: Claim, ends: Sequence[End], *, keep_s: float) -> bool:
        """See ``IdempotencyStore.settle``."""
        with self._lock:
            aims = rules.end_records(claim, ends, self._now(), keep_s=keep_s)
            found = [self._find(claim.caller, want.key) for want in claim.wanted]
            left = rules.settle(claim, found, aims)
            for key, record in (left or {}).items():
                self._put(claim.caller, key, record, keep_s)
            return left is not None

    def _find(self, caller: str, key: str) -> Record | None:
        return next((part[key] for part in self._held.get(caller, ()) if key in part), None)

    def _put(self, caller: str, key: str, record: Record | None, keep_s: float = 0.0) -> None:
        """Write a record as the newest of its kind; None removes it."""
        finished, others = self._held.setdefault(caller, (OrderedDict(), OrderedDict()))
        before = len(finished) + len(others)
        for queue in (finished, others):
            queue.pop(key, None)
        for ages in self._by_keep.values():
            ages.pop((caller, key), None)
        if record is not None:
            (finished if record.state is State.FINISHED else others)[key] = record
            self._by_keep.setdefault(keep_s, OrderedDict())[caller, key] = record.expires_at
        after = len(finished) + len(others)
        self._by_count[before].pop(caller, None)
        if not self._by_count[before]:
            del self._by_count[before]
        if after:
            self._by_count[after][caller] = None
        else:
            del self._held[caller]

    def _drop_expired(self, now: float) -> None:
        """Remove what is over, of each keep two records at most: a request brings no more."""
        for ages in self._by_keep.values():
            oldest = list(itertools.islice(ages.items(), 2))
            for caller, key in (name for name, expires_at in oldest if expires_at <= now):
                self._put(caller, key, None)

    def _make_room(self, now: float) -> None:
        while len(self) > self._capacity and (first := next(self._resting(now), None)):
            caller, key, until = first
            self._put(caller, key, None)
            if len(self._forgot) >= self._capacity:  # too many to tell apart
                self._forgot = {_ANYBODY: max(self._forgot.values())}
            self._forgot[caller] = max(until, self._forgot.get(caller, until))

    def _resting(self, now: float) -> Iterator[tuple[str, str, float]]:
        """Return what may be dropped, and its end, in the order in which it goes."""
        for count in sorted(self._by_count, reverse=True):
            for caller in self._by_count[count]:
                finished, others = self._held[caller]
                for key, record in itertools.chain(finished.items(), others.items()):
                    if not record.is_worked_on(now):
                        yield caller, key, record.expires_at
