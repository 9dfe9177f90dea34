"""The store that the protocol is given: the real one in memory, which fails and is watched."""

import json
from collections.abc import Callable
from typing import Protocol

from cancel_appointment.outcome import CancelOutcome, Outcome
from shared.records.rules import (
    Abandoned,
    Begun,
    Claim,
    MemoryStore,
    Mismatch,
    New,
    Replay,
    StoreUnavailable,
)
from tests.protocol.setting import Death, Outage
from tests.protocol.world import Run, Violation


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
        self._store = MemoryStore(
            now, capacity=64
        )  # a table for more would take longer to make than a schedule takes to run
        self._fate = fate
        self._kept: dict[str, CancelOutcome] = {}

    def state(self) -> object:
        """Return what is written in the records; their times do not matter, for no schedule lasts
        as long as they are kept.
        """
        return frozenset(
            (record.name, record.lease_until is not None, record.payload)
            for record in self._store._records
        )

    def begin(self, key: str, fingerprint: str, *, lease_s: float, keep_s: float) -> Begun:
        """Claim a record."""
        run, outage = self._fate.run, self._fate.outage()
        run.blind = run.blind or outage is not None
        if outage not in (None, Outage.ONCE_DONE):
            raise StoreUnavailable("down")
        begun = self._store.begin(key, fingerprint, lease_s=lease_s, keep_s=keep_s)
        if isinstance(begun, New | Abandoned):
            if key in self._kept:
                raise Violation("a finished record was lost")
            _hold(run, fingerprint, held=True)
        if outage is not None:
            raise StoreUnavailable("down")
        if isinstance(begun, Replay):
            run.due = self._kept[key]
        elif fingerprint and not isinstance(begun, Mismatch):
            run.had_key = True
            if self._fate.death(Death.AFTER):
                raise Dead
        return begun

    def complete(self, claim: Claim, payload: str, *, keep_s: float) -> bool:
        """Write an outcome down."""
        said = json.loads(payload)
        outcome = CancelOutcome(Outcome(said["outcome"]), confirmed=said["confirmed"])

        def complete() -> bool:
            done = self._store.complete(claim, payload, keep_s=keep_s)
            if done:
                self._kept[claim.key] = self._fate.run.kept = outcome
            return done

        return self._settle(claim, complete)

    def release(self, claim: Claim, *, doubt: bool, keep_s: float) -> bool:
        """Give a claim up."""
        return self._settle(claim, lambda: self._store.release(claim, doubt=doubt, keep_s=keep_s))

    def close(self) -> None:
        """Nothing to let go of."""

    def _settle(self, claim: Claim, settle: Callable[[], bool]) -> bool:
        death = self._fate.death(Death.BEFORE, Death.AFTER)
        if death is Death.BEFORE:
            raise Dead
        outage = self._fate.outage()
        if outage not in (None, Outage.ONCE_DONE):
            raise StoreUnavailable("down")
        done = settle()
        _hold(self._fate.run, claim.fingerprint, held=False)
        if death is not None:
            raise Dead
        if outage is not None:
            raise StoreUnavailable("down")
        return done


def _hold(run: Run, fingerprint: str, *, held: bool) -> None:
    if fingerprint:
        run.holds_key = held
    else:  # by nature there is no fingerprint
        run.holds_nature = held
