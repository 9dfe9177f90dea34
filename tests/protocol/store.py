"""The store that the protocol is given: the real one in memory, which fails and is watched."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from cancel_appointment.protocol.outcome import CancelOutcome, Missing, Outcome
from shared.records.memory_store import MemoryStore
from shared.records.rules import (
    Begun,
    Claim,
    End,
    Finished,
    Granted,
    Record,
    RecordHidden,
    Replay,
    StoreUnavailable,
    Wanted,
)
from tests.protocol.setting import Death, Outage
from tests.protocol.world import Run, Violation


def records_in(store: MemoryStore) -> Iterator[tuple[str, Record]]:
    """Return all keys with their records."""
    return (item for held in store._held.values() for part in held for item in part.items())


class Dead(BaseException):
    """The process is gone: nothing of its code has an effect any more."""


class Fate(Protocol):
    """Decides who runs, and what befalls them."""

    run: Run

    def death(self, *options: Death) -> Death | None:
        """Choose whether the worker dies here. Dead stays dead: raises Dead."""
        ...

    def outage(self) -> Outage | None:
        """Choose whether the store fails here."""
        ...


class WatchedStore:
    """An IdempotencyStore. It survives every worker."""

    def __init__(self, now: Callable[[], float], fate: Fate) -> None:
        self._now = now
        self._store = MemoryStore(now)
        self._fate = fate
        self._kept: dict[str, CancelOutcome] = {}
        self._forgot = False

    def state(self) -> object:
        """Return what is written in the records.

        Their times do not matter: no schedule lasts as long as records are kept.
        """
        return frozenset(
            (key, record.state, record.payload) for key, record in records_in(self._store)
        )

    def forget(self) -> None:
        """Lose every record, as a full store loses those of one caller, and say so from now on."""
        self._store, self._kept, self._forgot = MemoryStore(self._now), {}, True

    def begin(
        self, caller: str, wanted: Sequence[Wanted], *, lease_s: float, keep_s: float
    ) -> Begun:
        """Claim the records."""
        run, outage = self._fate.run, self._fate.outage()
        run.blind = run.blind or outage is not None
        if outage is Outage.HIDES:
            there = {
                key for key, record in records_in(self._store) if record.expires_at > run.opened_at
            }
            run.told = not there.isdisjoint(one.key for one in wanted)
        if outage not in (None, Outage.ONCE_DONE):
            raise RecordHidden("down") if run.told else StoreUnavailable("down")
        begun = self._store.begin(caller, wanted, lease_s=lease_s, keep_s=keep_s)
        if isinstance(begun, Granted):
            if not self._kept.keys().isdisjoint(one.key for one in wanted):
                raise Violation("a finished record was lost")
            run.holds = True
        if outage is not None:
            raise StoreUnavailable("down")
        if isinstance(begun, Replay):
            known = [self._kept[one.key] for one in reversed(wanted) if one.key in self._kept]
            run.due = known[0]
            self._kept |= dict.fromkeys((one.key for one in wanted[1:]), run.due)
        elif isinstance(begun, Granted):
            if self._fate.death(Death.AFTER):
                raise Dead
            return replace(begun, forgot=begun.forgot or self._forgot)
        return begun

    def settle(self, claim: Claim, ends: Sequence[End], *, keep_s: float) -> bool:
        """End the records."""
        run = self._fate.run
        death = self._fate.death(Death.BEFORE, Death.AFTER)
        if death is Death.BEFORE:
            raise Dead
        outage = self._fate.outage()
        if outage not in (None, Outage.ONCE_DONE):
            raise StoreUnavailable("down")
        done = self._store.settle(claim, ends, keep_s=keep_s)
        run.holds = False
        for one, end in zip(claim.wanted, ends, strict=True) if done else ():
            if isinstance(end, Finished):
                self._kept[one.key] = run.kept = _read(end)
        if death is not None:
            raise Dead
        if outage is not None:
            run.kept = None  # it may say less than what was kept
            raise StoreUnavailable("down")
        return done

    def close(self) -> None:
        """Nothing to let go of."""


def _read(end: Finished) -> CancelOutcome:
    said = json.loads(end.payload)
    missing = Missing(said["missing"]) if said["missing"] else None
    if missing is Missing.BUSINESS:
        raise Violation("a missing business was kept")
    return CancelOutcome(Outcome(said["outcome"]), confirmed=said["confirmed"], missing=missing)
