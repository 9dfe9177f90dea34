"""Removes old records, because a table has no expiry of its own.

Owns when, where and how many. Does *not* know what a record means, nor how a row is removed.
"""

import itertools
import logging
import time
from threading import Lock, Thread

from shared.records.rules import StoreUnavailable
from shared.records.table_calls import TableCalls
from shared.transport.waiting import Waiting

# A sweep is of one in 256 ranges of partitions. A range gains 64 rows or more between two sweeps of
# it, on average; a sweep takes up to 100.
SWEEP_ONE_IN = 64
SWEEP_MARGIN_S = 300.0  # an old row harms nobody; a row removed by a clock that is ahead would
_RANGES = 256
_SWEEP_S = 10.0  # nobody waits for it

_log = logging.getLogger(__name__)


class Sweeper:
    """Removes old records, one sweep at a time.

    After one ``begin`` in 64 it removes some of a range of partitions.
    """

    def __init__(self, calls: TableCalls, waiting: Waiting) -> None:
        self._calls = calls
        self._waiting = waiting
        self._at_work = Lock()

    def now_and_then(self) -> None:
        """Start a sweep if it is time for one and none is at work."""
        # By chance, not by count: a worker that lives for ten requests has to do its share.
        if self._waiting.random() * SWEEP_ONE_IN >= 1 or not self._at_work.acquire(blocking=False):
            return
        try:
            # It does not keep the worker alive.
            Thread(target=self._sweep, name="records", daemon=True).start()
        except RuntimeError:  # no thread is free
            self._at_work.release()

    def _sweep(self) -> None:
        try:
            until = time.monotonic() + _SWEEP_S
            chosen = int(self._waiting.random() * _RANGES)
            first = f"{chosen:02x}"
            end = f"{chosen + 1:02x}" if chosen + 1 < _RANGES else "g"  # after every hash
            before = self._waiting.now() - SWEEP_MARGIN_S
            rows = self._calls.expired(first, end, before, until)
            for caller, group in itertools.groupby(rows, key=lambda row: row[0]):
                # All or none: where one of them has been renewed there will be another time.
                self._calls.write(caller, [delete for _, delete in group], until)
        except StoreUnavailable as exc:
            _log.info("sweep failed: %s", exc)
        finally:
            self._at_work.release()
