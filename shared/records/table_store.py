"""Records in Azure Table Storage: one promise for all instances, and one that outlives a worker.

Owns the order of calls: insert first, read where another was quicker, read back what got no answer.
Does *not* own what a record means (``rules.py``) nor the calls (``table_calls.py``).

A write that got no answer may have happened, or may still happen: it is read back, and the
``owner`` in the records says whether it was ours. Writes that come late hurt nobody, for they carry
the ETag of a record that is no longer there; a late insert leaves a claim that nobody holds, which
turns into doubt when its lease ends.

Leases and keeps are compared by the wall clocks of the instances that read them. ``CLOCK_MARGIN_S``
is what those may differ by.
"""

import secrets
import time
from collections.abc import Mapping, Sequence

from shared.records import rules
from shared.records.account import Account
from shared.records.entities import Row, Unanswered
from shared.records.rules import (
    Begun,
    Claim,
    End,
    Free,
    Granted,
    Record,
    RecordHidden,
    Replay,
    StoreUnavailable,
    Wanted,
)
from shared.records.sweeper import Sweeper
from shared.records.table_calls import TableCalls
from shared.transport.channel import Channel
from shared.transport.waiting import Waiting

# Instances in Azure keep their clocks within a fraction of a second of each other.
CLOCK_MARGIN_S = 2.0
_TURNS = 4  # in each turn that does not settle it somebody else won, so a second one is rare


class TableStore:
    """Keeps the records of all instances in one table, which is created when it is missing.

    See ``IdempotencyStore`` for the methods. It opens no connection before it is used.
    ``patience_s`` bounds all the calls of one ``begin`` or ``settle``, the token for them included:
    a table that is down must leave a cancel most of its deadline.
    """

    def __init__(
        self,
        account: Account,
        table: str,
        channel: Channel,
        waiting: Waiting,
        *,
        patience_s: float = 2.0,
    ) -> None:
        self._patience_s = patience_s
        self._waiting = waiting
        self._calls = TableCalls(account, table, channel, waiting)
        self._sweeper = Sweeper(self._calls, waiting)

    def begin(
        self, caller: str, wanted: Sequence[Wanted], *, lease_s: float, keep_s: float
    ) -> Begun:
        """Claim the request, or say who has it: one call to the table when the request is new."""
        rules.require_hashes(caller, wanted)
        begun = self._begin(caller, wanted, lease_s=lease_s + CLOCK_MARGIN_S, keep_s=keep_s)
        self._sweeper.now_and_then()
        return begun

    def settle(self, claim: Claim, ends: Sequence[End], *, keep_s: float) -> bool:
        """Settle the claim: one call to the table."""
        until = time.monotonic() + self._patience_s
        aims = rules.end_records(claim, ends, self._waiting.now(), keep_s=keep_s)
        changes = [
            Row(want.key, aim, etag)
            for want, aim, etag in zip(claim.wanted, aims, claim.versions, strict=True)
        ]
        missed = 0
        for _ in range(_TURNS):
            try:
                if self._calls.write(claim.caller, changes, until) is not None:
                    return True
            except Unanswered:
                missed += 1
                if missed > 1:
                    raise
            found = [Row(want.key, None, None) for want in claim.wanted]
            self._read(claim.caller, found, until)
            left = rules.settle(claim, [row.record for row in found], aims)
            if not left:
                return left is not None
            changes = _changes(left, found)
        raise StoreUnavailable("the records are never as they were read")

    def _begin(
        self, caller: str, wanted: Sequence[Wanted], *, lease_s: float, keep_s: float
    ) -> Begun:
        until = time.monotonic() + self._patience_s
        owner = secrets.token_hex(16)
        # Most requests are new: try the insert before any read.
        found = [Row(want.key, None, None) for want in wanted]
        missed, taken = 0, False  # taken: somebody has one of the records, says the table
        try:
            for _ in range(_TURNS):
                now, before = self._waiting.now(), [row.record for row in found]
                met = rules.judge(before, wanted, now)
                new = rules.new_records(
                    met, owner, wanted, before, now, lease_s=lease_s, keep_s=keep_s
                )
                if not isinstance(met, Free) and not new:
                    return met
                etags: list[str] | None = None
                try:
                    etags = self._calls.write(caller, _changes(new, found), until)
                    taken = etags is None
                except StoreUnavailable as error:
                    if isinstance(met, Replay):
                        return met  # it is known all the same
                    missed += 1
                    if missed > 1 or not isinstance(error, Unanswered):
                        raise
                if etags is None:
                    self._read(caller, found, until)
                    if not all(row.record and row.record.owner == owner for row in found):
                        continue
                    etags = [row.etag or "" for row in found]  # ours, whose answer got lost
                if not isinstance(met, Free):
                    return met
                expiries = tuple(record.expires_at for record in new.values())
                return Granted(
                    Claim(caller, tuple(wanted), owner, expiries, tuple(etags)), met.doubt
                )
            raise StoreUnavailable("the records are never as they were read")
        except StoreUnavailable as error:
            somebody = taken or any(row.record and row.record.owner != owner for row in found)
            raise (RecordHidden(str(error)) if somebody else error) from error.__cause__

    def _read(self, caller: str, found: list[Row], until: float) -> None:
        """Read all records anew, one after another, into ``found``.

        Those of one owner were written at once: where only some of them are seen, the others came
        between two reads.
        """
        for place, row in enumerate(found):
            found[place] = self._calls.read(caller, row.key, until)
        if len({row.record and row.record.owner for row in found}) > 1:
            found[:] = [self._calls.read(caller, row.key, until) for row in found]


def _changes(new: Mapping[str, Record | None], found: Sequence[Row]) -> list[Row]:
    return [Row(row.key, new[row.key], row.etag) for row in found if row.key in new]
