"""Load manners: how much is taken on at once, in all and for one key. For one event loop; costs no thread while something waits.

Owns counting and waiting. Does *not* know what the work is: a key is a mailbox to the caller of this module and a string here.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.errors import Overloaded


class _Lane:
    __slots__ = ("free", "waiting")

    def __init__(self, width: int) -> None:
        self.free = asyncio.Semaphore(width)
        self.waiting = 0


class Lanes:
    """At most ``width`` at once per key and ``queue`` waiting behind them; at most ``total`` in all, whatever they wait for.

    A key without work is forgotten, so made-up keys leave nothing behind. Waiting is first come, first served.
    """

    def __init__(self, *, width: int, queue: int, total: int) -> None:
        self._width = width
        self._queue = queue
        self._total = total
        self._inside = 0
        self._lanes: dict[str, _Lane] = {}
        self._users: dict[str, int] = {}

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Take one of the places that there are in all. Errors: Overloaded, at once, when none is free."""
        if self._inside >= self._total:
            raise Overloaded("This service has more requests than it can finish in time.")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    @asynccontextmanager
    async def lane(self, key: str, *, wait_s: float) -> AsyncIterator[None]:
        """Wait for a place in the lane of ``key``. Errors: Overloaded when its queue is full (at once), or after ``wait_s`` seconds."""
        lane = self._lanes.setdefault(key, _Lane(self._width))
        if lane.free.locked() and lane.waiting >= self._queue:
            raise Overloaded("Too many requests for this booking business are waiting.")
        self._users[key] = self._users.get(key, 0) + 1
        try:
            await self._enter(lane, wait_s)
            try:
                yield
            finally:
                lane.free.release()
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._lanes[key]

    @staticmethod
    async def _enter(lane: _Lane, wait_s: float) -> None:
        lane.waiting += 1
        try:
            async with asyncio.timeout(wait_s):  # not wait_for: it refuses a place that is free when there is no time to wait
                await lane.free.acquire()
        except TimeoutError:
            raise Overloaded("Too many requests for this booking business are waiting.") from None
        finally:
            lane.waiting -= 1
