"""Fair shares under load: how much runs at once, in one lane and in all, and whose turn it is.

For one event loop; a waiting request costs no thread.

Owns counting, waiting, the names of lanes, and fairness between callers. Does *not* know what the
work is.

A caller who is alone may have every place. While others wait, the one who holds least is next, so
nobody gets more than half of a lane or of the whole. Queues work alike. No caller may hold more
than half of a queue in which another waits. A caller who has filled a queue makes room for a
newcomer.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from shared.errors import Overloaded
from shared.identity.principal import Principal
from shared.ids import folded
from shared.serving.threads import wake, when_ended

_LANE_IS_FULL = "Too many requests for this booking business are waiting."

type Name = tuple[str, ...]
"""Of a lane or a caller. Its first part is a kind, so names of two kinds are never equal."""


def mailbox_lane(business_id: str) -> Name:
    """Return the lane of all that touches a mailbox."""
    return "mailbox", folded(business_id)


def personal_lane(principal: Principal) -> Name:
    """Return the lane of work that touches no mailbox, which is also the name of the caller.

    One person is one caller, whatever applications act for them.
    """
    return "person", principal.tenant_id, principal.object_id


class _Place:
    """A place in a lane for as long as the block or the job runs; to enter it means to wait for it.

    ``turn`` is done when the wait is over, ``inside`` tells how it ended.
    """

    __slots__ = ("_job", "_lanes", "caller", "inside", "lane", "turn", "wait_s")

    turn: asyncio.Future[None]

    def __init__(
        self, lanes: "Lanes", caller: Name, lane: Name, wait_s: float, job: Future[Any] | None
    ) -> None:
        self._lanes, self._job = lanes, job
        self.caller, self.lane, self.wait_s = caller, lane, wait_s
        self.inside = False

    async def __aenter__(self) -> None:
        try:
            await self._lanes.come(self)
        except BaseException:
            self._lanes.leave(self)
            raise

    async def __aexit__(self, *_: object) -> None:
        if self._job is not None and self._job.running():  # the request has ended, its work has not
            when_ended(self._job, asyncio.get_running_loop(), self._lanes.leave, self)
        else:
            self._lanes.leave(self)


class Lanes:
    """Lanes with bounds, each and all together.

    In a lane at most ``width`` run at once, and ``queue`` wait for it. In all at most ``places``
    run at once, and ``waiting`` wait behind them. A lane without work is forgotten, so made-up
    names leave nothing behind.
    """

    def __init__(self, *, width: int, queue: int, places: int, waiting: int) -> None:
        self._width, self._queue = width, queue
        self._places, self._most_waiting = places, waiting
        self._strangers = 0
        # Who is inside: by name, as often as they are.
        self._inside: list[Name] = []
        self._lanes: dict[Name, list[Name]] = {}
        self._waiting: list[_Place] = []  # whose turn is next comes first

    @contextlib.contextmanager
    def stranger(self) -> Iterator[None]:
        """Count as one whose caller is not known yet.

        Errors: Overloaded, at once, when there are as many as may be inside and wait.
        """
        if self._strangers >= self._places + self._most_waiting:
            raise Overloaded("This service has more requests than it can finish in time.")
        self._strangers += 1
        try:
            yield
        finally:
            self._strangers -= 1

    def place(
        self, caller: Name, lane: Name, *, wait_s: float, job: Future[Any] | None = None
    ) -> _Place:
        """Return a place in the lane, which is a place among all, too; to be used with ``async``.

        ``job`` is what the place is for, if that may still run when the block has ended.

        Errors of entering it: Overloaded at once when a queue is full, or when the caller holds
        half of it; later when somebody who has less needs the room, or after ``wait_s`` seconds.
        """
        return _Place(self, caller, lane, wait_s, job)

    async def come(self, place: _Place) -> None:
        """Let the request in if there is room, else make it wait. See ``place``."""
        if self._has_room(place.lane):
            self._let_in(place)
            return
        self._queue_up(place)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(place.wait_s):
                await place.turn
        if not place.inside:
            raise Overloaded(_LANE_IS_FULL)

    def leave(self, place: _Place) -> None:
        """Give up the place, or the wait for it."""
        if place in self._waiting:
            self._waiting.remove(place)
        if place.inside:
            self._inside.remove(place.caller)
            self._lanes[place.lane].remove(place.caller)
            if not self._lanes[place.lane]:
                del self._lanes[place.lane]
            self._call_next()

    def _has_room(self, lane: Name) -> bool:
        return len(self._lanes.get(lane, ())) < self._width and len(self._inside) < self._places

    def _let_in(self, place: _Place) -> None:
        place.inside = True
        self._inside.append(place.caller)
        self._lanes.setdefault(place.lane, []).append(place.caller)

    def _queue_up(self, place: _Place) -> None:
        in_lane = [one for one in self._waiting if one.lane == place.lane]
        queues = (in_lane, self._queue), (self._waiting, self._most_waiting)
        for queue, limit in queues:
            _check_room([one.caller for one in queue], limit, place.caller)
        for queue, limit in queues:
            if len(queue) >= limit:
                self._send_away_one_of(queue)
        place.turn = asyncio.get_running_loop().create_future()
        self._waiting.append(place)

    def _send_away_one_of(self, queue: Sequence[_Place]) -> None:
        """End the latest wait of the caller who has most of them in this queue."""
        held = Counter(place.caller for place in queue)
        most = max(held.values())
        self._end_wait(next(one for one in reversed(queue) if held[one.caller] == most))

    def _call_next(self) -> None:
        """Give the free place to the caller who can use it and holds least; equals take turns."""
        able = [one for one in self._waiting if self._has_room(one.lane) and not one.turn.done()]
        if not able:
            return
        scarce = len(self._inside) + 1 >= self._places
        held = Counter(self._inside)
        in_lane = Counter(one.lane for one in self._waiting)
        own = Counter((one.lane, one.caller) for one in self._waiting)

        def rank(place: _Place) -> tuple[int, ...]:
            lane, caller = place.lane, place.caller
            here = self._lanes.get(lane, []).count(caller)
            if not scarce:  # then everybody waits for this lane alone
                return (here,)
            has_half = here >= _half(self._width) and in_lane[lane] > own[lane, caller]
            return has_half, held[caller], here

        called = min(able, key=rank)
        self._let_in(called)
        self._end_wait(called)
        # The others of this caller in this lane go behind all who wait.
        self._waiting.sort(key=lambda one: (one.caller, one.lane) == (called.caller, called.lane))

    def _end_wait(self, place: _Place) -> None:
        self._waiting.remove(place)
        wake(place.turn)


def _check_room(queue: Sequence[Name], limit: int, caller: Name) -> None:
    """Check that the caller may wait with those in this queue. Errors: Overloaded.

    A caller may not wait who holds half of a queue in which others wait. Nobody may wait in a full
    queue in which no other holds more than they would.
    """
    held = Counter(queue)
    own = held[caller]
    if len(queue) > own >= _half(limit):
        raise Overloaded(_LANE_IS_FULL)
    if len(queue) >= limit and max(held.values(), default=0) <= own + 1:
        raise Overloaded(_LANE_IS_FULL)


def _half(of: int) -> int:
    return max(1, of // 2)
