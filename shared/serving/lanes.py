"""Load manners: how much runs at once, in one lane and in all, and whose turn it is.

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
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from shared.errors import Overloaded
from shared.identity.principal import Principal
from shared.ids import folded

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


class _Held:
    """Who holds how many of something."""

    __slots__ = ("by", "count")

    def __init__(self) -> None:
        self.by: dict[Name, int] = {}  # not a Counter, which is slower
        self.count = 0

    def add(self, caller: Name) -> None:
        self.count += 1
        self.by[caller] = self.by.get(caller, 0) + 1

    def drop(self, caller: Name) -> None:
        self.count -= 1
        self.by[caller] -= 1
        if not self.by[caller]:
            del self.by[caller]

    def of(self, caller: Name) -> int:
        """Return how many one caller holds."""
        return self.by.get(caller, 0)

    def most(self) -> int:
        """Return how many the caller holds who holds most."""
        return max(self.by.values(), default=0)


@dataclass(slots=True, eq=False)
class _Crowd:
    """Those inside and those waiting: of one lane, or of all."""

    inside: _Held = field(default_factory=_Held)
    queue: _Held = field(default_factory=_Held)


@dataclass(slots=True, eq=False)
class _Ticket:
    """One who has come; ``turn`` is done when the wait is over, ``inside`` tells how it ended."""

    caller: Name
    lane: _Crowd
    turn: asyncio.Future[None]
    inside: bool = False


class Lanes:
    """Lanes with bounds, each and all together.

    In a lane at most ``width`` run at once, and ``queue`` wait for it. In all at most ``places``
    run at once, and ``waiting`` wait behind them. A lane without work is forgotten, so made-up
    names leave nothing behind.
    """

    def __init__(self, *, width: int, queue: int, places: int, waiting: int) -> None:
        self._width, self._queue = width, queue
        self._places, self._waiting = places, waiting
        self._strangers = 0
        self._all = _Crowd()
        self._lanes: dict[Name, _Crowd] = {}
        self._tickets: dict[_Ticket, None] = {}  # those who wait, in order of arrival

    @contextlib.contextmanager
    def stranger(self) -> Iterator[None]:
        """Count as one whose caller is not known yet.

        Errors: Overloaded, at once, when there are as many as may be inside and wait.
        """
        if self._strangers >= self._places + self._waiting:
            raise Overloaded("This service has more requests than it can finish in time.")
        self._strangers += 1
        try:
            yield
        finally:
            self._strangers -= 1

    @contextlib.asynccontextmanager
    async def place(self, caller: Name, lane: Name, *, wait_s: float) -> AsyncIterator[None]:
        """Wait for a place in the lane, which is a place among all, too.

        Errors: Overloaded at once when a queue is full, or when the caller holds half of it; later
        when somebody who has less needs the room, or after ``wait_s`` seconds.
        """
        turn = asyncio.get_running_loop().create_future()
        ticket = _Ticket(caller, self._lanes.setdefault(lane, _Crowd()), turn)
        try:
            if ticket.lane.inside.count < self._width and self._all.inside.count < self._places:
                self._enter(ticket)
            else:
                await self._wait(ticket, wait_s)
            yield
        finally:
            self._leave_queue(ticket)
            if ticket.inside:
                ticket.lane.inside.drop(caller)
                self._all.inside.drop(caller)
                self._call_next()
            empty = not ticket.lane.inside.count + ticket.lane.queue.count
            if empty and self._lanes.get(lane) is ticket.lane:  # else a newer crowd has the name
                del self._lanes[lane]

    def _enter(self, ticket: _Ticket) -> None:
        ticket.inside = True
        ticket.lane.inside.add(ticket.caller)
        self._all.inside.add(ticket.caller)

    async def _wait(self, ticket: _Ticket, wait_s: float) -> None:
        queues = (ticket.lane.queue, self._queue), (self._all.queue, self._waiting)
        for queue, limit in queues:
            _check_room(queue, limit, ticket.caller)
        for queue, limit in queues:
            if queue.count >= limit:
                self._send_away_one_of(queue)
        self._tickets[ticket] = None
        for queue, _ in queues:
            queue.add(ticket.caller)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await ticket.turn
        if not ticket.inside:
            raise Overloaded(_LANE_IS_FULL)

    def _send_away_one_of(self, queue: _Held) -> None:
        """End the wait of the latest ticket of the caller who has most in this queue."""
        most = queue.most()
        for ticket in reversed(self._tickets):
            if queue in (ticket.lane.queue, self._all.queue) and queue.of(ticket.caller) == most:
                self._end_wait(ticket)
                return

    def _call_next(self) -> None:
        """Give the free place to the caller who can use it and holds least; equals take turns."""
        scarce = self._all.inside.count + 1 >= self._places

        def rank(ticket: _Ticket) -> tuple[int, ...]:
            lane, caller = ticket.lane, ticket.caller
            here = lane.inside.of(caller)
            if not scarce:  # then everybody waits for this lane alone
                return (here,)
            has_half = here >= _half(self._width) and lane.queue.count > lane.queue.of(caller)
            return has_half, self._all.inside.of(caller), here

        able = [
            ticket
            for ticket in self._tickets
            if ticket.lane.inside.count < self._width and not ticket.turn.done()
        ]
        if not able:
            return
        called = min(able, key=rank)
        self._enter(called)
        self._end_wait(called)
        for ticket in [
            one for one in self._tickets if (one.caller, one.lane) == (called.caller, called.lane)
        ]:
            self._tickets[ticket] = self._tickets.pop(ticket)  # to the end

    def _end_wait(self, ticket: _Ticket) -> None:
        self._leave_queue(ticket)
        if not ticket.turn.done():
            ticket.turn.set_result(None)

    def _leave_queue(self, ticket: _Ticket) -> None:
        if ticket in self._tickets:
            del self._tickets[ticket]
            ticket.lane.queue.drop(ticket.caller)
            self._all.queue.drop(ticket.caller)


def _check_room(queue: _Held, limit: int, caller: Name) -> None:
    """Check that the caller may wait. Errors: Overloaded.

    A caller may not wait who holds half of a queue in which others wait. Nobody may wait in a full
    queue in which no other holds more than they would.
    """
    own = queue.of(caller)
    others_wait = queue.count > own
    if others_wait and own >= _half(limit):
        raise Overloaded(_LANE_IS_FULL)
    if queue.count >= limit and queue.most() <= own + 1:
        raise Overloaded(_LANE_IS_FULL)


def _half(of: int) -> int:
    return max(1, of // 2)
