"""The records of one worker, in memory: their promise ends with the process.

Owns what is dropped when there is no room. Does *not* own what a record means (``rules.py``).
"""

import itertools
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence

from shared.records import rules
from shared.records.rules import Begun, Claim, End, Free, Granted, Record, State, Wanted

_ANYBODY = ""


class MemoryStore:
    """At most ``capacity`` records.

    When there is no room, expired ones go first, then the oldest finished one of the caller who has
    most, then this caller's oldest in doubt; never one that somebody works on. ``forgot`` says
    which callers lost a record early, until it would have expired.
    """

    def __init__(self, now: Callable[[], float], capacity: int = 20_000) -> None:
        self._now, self._capacity, self._size = now, capacity, 0
        self._lock, self._owners = threading.Lock(), itertools.count(1)
        self._held: dict[str, tuple[OrderedDict[str, Record], OrderedDict[str, Record]]] = {}
        self._by_count: defaultdict[int, OrderedDict[str, None]] = defaultdict(OrderedDict)
        # By keep, oldest first. One table of them all would move when it is full, and leave holes.
        self._ages: dict[float, deque[tuple[str, str, Record]]] = {}
        self._forgot: dict[str, float] = {}  # until when, by caller

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
            expiries = tuple(record.expires_at for record in new.values())
            claim = Claim(caller, tuple(wanted), owner, expiries)
            return Granted(claim, met.doubt, self._forgot_until(caller) > now)

    def settle(self, claim: Claim, ends: Sequence[End], *, keep_s: float) -> bool:
        """See ``IdempotencyStore.settle``."""
        with self._lock:
            aims = rules.end_records(claim, ends, self._now(), keep_s=keep_s)
            found = [self._find(claim.caller, want.key) for want in claim.wanted]
            left = rules.settle(claim, found, aims)
            for key, record in (left or {}).items():
                self._put(claim.caller, key, record, keep_s)
            return left is not None

    def keeps(self, caller: str, key: str) -> bool:
        """Say whether a record is kept."""
        with self._lock:
            record = self._find(caller, key)
            return record is not None and record.expires_at > self._now()

    def forgot(self, caller: str) -> bool:
        """Say whether a record of this caller was dropped, and would still be kept."""
        with self._lock:
            return self._forgot_until(caller) > self._now()

    def _forgot_until(self, caller: str) -> float:
        return max(self._forgot.get(whose, 0.0) for whose in (caller, _ANYBODY))

    def _find(self, caller: str, key: str) -> Record | None:
        for part in self._held.get(caller, ()):
            if key in part:
                return part[key]
        return None

    def _put(self, caller: str, key: str, record: Record | None, keep_s: float = 0.0) -> None:
        """Write a record as the newest of its kind; None removes it."""
        finished, others = self._held.setdefault(caller, (OrderedDict(), OrderedDict()))
        before = len(finished) + len(others)
        for queue in (finished, others):
            queue.pop(key, None)
        if record is not None:
            (finished if record.state is State.FINISHED else others)[key] = record
            if record.state is not State.RUNNING:
                self._ages.setdefault(keep_s, deque()).append((caller, key, record))
        after = len(finished) + len(others)
        self._size += after - before
        self._by_count[before].pop(caller, None)
        if not self._by_count[before]:
            del self._by_count[before]
        if after:
            self._by_count[after][caller] = None
        else:
            del self._held[caller]

    def _drop_expired(self, now: float) -> None:
        """Remove what is over, a few records at a time: more than a request brings."""
        for keep_s, ages in self._ages.items():
            for one in [one for one in itertools.islice(ages, 4) if one[2].expires_at <= now]:
                ages.remove(one)
                if self._find(*one[:2]) is one[2]:
                    self._put(*one[:2], None)
            if len(ages) > self._capacity * 9 // 8:
                self._ages[keep_s] = deque(one for one in ages if self._find(*one[:2]) is one[2])

    def _make_room(self, now: float) -> None:
        while self._size > self._capacity and (first := next(self._resting(now), None)):
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
