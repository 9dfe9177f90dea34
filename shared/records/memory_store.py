"""The records of one worker, in memory: their promise ends with the process, and no other instance
sees them.

Owns what is dropped when there is no room. Does *not* own what a record means (``rules.py``).
"""

import itertools
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence

from shared.records import rules
from shared.records.rules import Begun, Claim, End, Free, Granted, Record, Settling, State, Wanted

type _Held = tuple[OrderedDict[str, Record], OrderedDict[str, Record]]  # finished, and others


class MemoryStore:
    """At most ``capacity`` records. Those over their keep go first, then the oldest finished one of
    the caller who has most, then this caller's oldest in doubt; never one that somebody works on.

    Who lost a record before its time is told (``forgot``) until that would have been over. Every
    call takes constant time, as long as few different ``keep_s`` are in use.
    """

    def __init__(self, now: Callable[[], float], capacity: int = 20_000) -> None:
        self._now = now
        self._capacity = capacity
        self._lock = threading.Lock()
        self._owners = itertools.count(1)
        self._size = self._most = 0  # of all records, and of the caller who has most
        self._held: dict[str, _Held] = {}
        self._by_count: defaultdict[int, OrderedDict[str, None]] = defaultdict(OrderedDict)
        self._by_keep: defaultdict[float, OrderedDict[tuple[str, str], float]] = defaultdict(
            OrderedDict
        )
        self._forgot: OrderedDict[str, float] = OrderedDict()
        self._forgot_all_until = 0.0  # for when more callers lost a record than are noted

    def __len__(self) -> int:
        """Count the records, expired ones included."""
        return self._size

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
            forgot = now < max(self._forgot_all_until, self._forgot.get(caller, 0.0))
            expiries = tuple(record.expires_at for record in new.values())
            return Granted(Claim(caller, tuple(wanted), owner, expiries), met.doubt, forgot)

    def settle(self, claim: Claim, ends: Sequence[End], *, keep_s: float) -> bool:
        """See ``IdempotencyStore.settle``."""
        with self._lock:
            aims = rules.end_records(claim, ends, self._now(), keep_s=keep_s)
            found = [self._find(claim.caller, want.key) for want in claim.wanted]
            met = rules.settle(found, claim.owner, aims)
            if Settling.LOST in met:
                return False
            for want, aim, settling in zip(claim.wanted, aims, met, strict=True):
                if settling is Settling.OPEN:
                    self._put(claim.caller, want.key, aim, keep_s)
            return True

    def close(self) -> None:
        """Nothing to let go of."""

    def _find(self, caller: str, key: str) -> Record | None:
        held = self._held.get(caller)
        return None if held is None else held[0].get(key) or held[1].get(key)

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
            self._by_keep[keep_s][caller, key] = record.expires_at
        after = len(finished) + len(others)
        self._size += after - before
        self._by_count[before].pop(caller, None)
        if after:
            self._by_count[after][caller] = None
        else:
            del self._held[caller]
        self._most = max(self._most, after)
        while self._most and not self._by_count[self._most]:
            del self._by_count[self._most]
            self._most -= 1

    def _drop_expired(self, now: float) -> None:
        """Remove what is over, of each keep two records at most: a request brings no more."""
        for ages in self._by_keep.values():
            for (caller, key), expires_at in list(itertools.islice(ages.items(), 2)):
                if expires_at <= now:
                    self._put(caller, key, None)

    def _make_room(self, now: float) -> None:
        count = self._most
        while self._size > self._capacity and count:
            for caller in self._by_count.get(count, ()):
                finished, others = self._held[caller]
                resting = (key for key, record in others.items() if not record.is_worked_on(now))
                key = next(iter(finished), None) or next(resting, None)
                if key is not None:
                    self._note(caller, finished.get(key, others.get(key)), now)
                    self._put(caller, key, None)
                    count = self._most + 1
                    break
            count -= 1

    def _note(self, caller: str, dropped: Record | None, now: float) -> None:
        """Note of whom a record was dropped, for as long as it would have lived."""
        until = max(dropped.expires_at if dropped else now, self._forgot.pop(caller, now))
        if until > now:
            self._forgot[caller] = until
        while len(self._forgot) > self._capacity or (
            self._forgot and next(iter(self._forgot.values())) <= now
        ):
            _, until = self._forgot.popitem(last=False)
            self._forgot_all_until = max(self._forgot_all_until, until)
