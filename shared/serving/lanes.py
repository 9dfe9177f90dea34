"""Load manners: how much is taken on at once, in all and for one key.

For one event loop; costs no thread while something waits.

Owns counting and waiting. Does *not* know what the work is: a key is a mailbox to the caller of
this module and a string here.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from shared.errors import Overloaded


class _Lane:
    __slots__ = ("free", "users", "waiting")

    def __init__(self, width: int) -> None:
        self.free = asyncio.Semaphore(width)
        self.waiting = 0
        self.users = 0  # those inside and those waiting


class Lanes:
    """At most ``width`` at once per key and ``queue`` waiting behind them; at most ``total`` in
    all, whatever they wait for.

    A key without work is forgotten, so made-up keys leave nothing behind. Waiting is first come,
    first served.
    """

    def __init__(self, *, width: int, queue: int, total: int) -> None:
        self._width = width
        self._queue = queue
        self._total = total
        self._inside = 0
        self._lanes: dict[str, _Lane] = {}

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Take one of the places that there are in all.

        Errors: Overloaded, at once, when none is free.
        """
        if self._inside >= self._total:
            raise Overloaded("This service has more requests than it can finish in time.")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    @asynccontextmanager
    async def lane(self, key: str, *, wait_s: float) -> AsyncIterator[None]:
        """Wait for a place in the lane of ``key``.

        Errors: Overloaded when its queue is full (at once), or after ``wait_s`` seconds.
        """
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(self._width)
        busy = lane.free.locked()
        if busy and lane.waiting >= self._queue:
            raise Overloaded("Too many requests for this booking business are waiting.")
        lane.users += 1
        try:
            if busy:
                await self._wait(lane, wait_s)
            else:
                await lane.free.acquire()  # at once, without a turn of the loop
            try:
                yield
            finally:
                lane.free.release()
        finally:
            lane.users -= 1
            if not lane.users:
                del self._lanes[key]

    @staticmethod
    async def _wait(lane: _Lane, wait_s: float) -> None:
        lane.waiting += 1
        try:
            async with asyncio.timeout(
                wait_s
            ):  # not wait_for: it refuses a place that is free when there is no time to wait
                await lane.free.acquire()
        except TimeoutError:
            raise Overloaded("Too many requests for this booking business are waiting.") from None
        finally:
            lane.waiting -= 1
