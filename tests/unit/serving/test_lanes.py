"""How much is taken on at once: a few per key, some waiting behind them, a bound on all."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from shared.errors import Overloaded
from shared.serving.lanes import Lanes

LONG_S = 60.0


class Crowd:
    """Tasks that hold a place until they are told to leave."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._leave: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.inside: list[str] = []

    async def come(self, name: str, key: str = "a", wait_s: float = LONG_S) -> None:
        """Start one and let it get as far as it can."""
        self._leave[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._hold(name, key, wait_s))
        await _settled()

    async def leave(self, *names: str) -> None:
        for name in names:
            self._leave[name].set()
            await self._tasks[name]
        await _settled()

    async def give_up(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.gather(self._tasks[name], return_exceptions=True)
        await _settled()

    async def _hold(self, name: str, key: str, wait_s: float) -> None:
        async with self._lanes.lane(key, wait_s=wait_s):
            self.inside.append(name)
            await self._leave[name].wait()
            self.inside.remove(name)


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(
    scene: Callable[[Lanes, Crowd], Awaitable[None]],
    *,
    width: int = 2,
    queue: int = 2,
    total: int = 10,
) -> Lanes:
    async def play() -> Lanes:
        lanes = Lanes(width=width, queue=queue, total=total)
        await scene(lanes, Crowd(lanes))
        return lanes

    return asyncio.run(play())


def test_no_more_than_the_width_are_inside_and_the_others_follow_in_order() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        for name in ("first", "second", "third", "fourth"):
            await crowd.come(name)
        assert crowd.inside == ["first", "second"]
        await crowd.leave("first")
        assert crowd.inside == ["second", "third"]
        await crowd.leave("second", "third")
        assert crowd.inside == ["fourth"]
        await crowd.leave("fourth")

    run(scene)


def test_a_full_queue_refuses_at_once() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        for name in ("first", "second", "third", "fourth"):
            await crowd.come(name)
        with pytest.raises(Overloaded):
            async with lanes.lane("a", wait_s=LONG_S):
                pytest.fail("there was no place")
        await crowd.leave("first", "second", "third", "fourth")

    run(scene)


def test_who_has_waited_long_enough_is_refused_and_takes_no_place() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        await crowd.come("first")
        with pytest.raises(Overloaded):
            async with lanes.lane("a", wait_s=0.001):
                pytest.fail("there was no place")
        await crowd.leave("first")
        await crowd.come("second")
        assert crowd.inside == ["second"]
        await crowd.leave("second")

    run(scene, width=1, queue=1)


def test_a_free_place_is_taken_although_there_is_no_time_to_wait() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        async with lanes.lane("a", wait_s=0):
            with pytest.raises(Overloaded):
                async with lanes.lane("a", wait_s=0):
                    pytest.fail("there was no place")

    run(scene, width=1)


def test_one_key_does_not_slow_another() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        for name in ("first", "second", "third", "fourth"):
            await crowd.come(name, key="busy")
        await crowd.come("other", key="idle")
        assert crowd.inside == ["first", "second", "other"]
        await crowd.leave("first", "second", "third", "fourth", "other")

    run(scene)


def test_who_gives_up_waiting_leaves_the_queue_to_the_next() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        for name in ("first", "impatient", "next"):
            await crowd.come(name)
        await crowd.give_up("impatient")
        await crowd.leave("first")
        assert crowd.inside == ["next"]
        await crowd.leave("next")

    run(scene, width=1)


def test_who_is_cancelled_or_fails_inside_gives_the_place_back() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        await crowd.come("first")
        await crowd.give_up("first")
        with pytest.raises(ZeroDivisionError):
            async with lanes.lane("a", wait_s=LONG_S):
                raise ZeroDivisionError
        crowd.inside.clear()
        await crowd.come("second")
        assert crowd.inside == ["second"]
        await crowd.leave("second")

    run(scene, width=1)


def test_keys_without_work_leave_nothing_behind() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        for number in range(100):
            await crowd.come(f"{number}", key=f"made up {number}")
        await crowd.come("waiting", key="made up 0")
        await crowd.give_up("waiting")
        for number in range(100):
            await crowd.leave(f"{number}")

    lanes = run(scene, width=1, total=1_000)
    assert lanes._lanes == {}


def test_all_together_are_bounded_and_the_one_too_many_is_refused_at_once() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(3):
                stack.enter_context(lanes.admitted())
            with pytest.raises(Overloaded), lanes.admitted():
                pytest.fail("there was no place")
        with lanes.admitted():
            pass

    run(scene, total=3)


def test_who_fails_gives_the_place_among_all_back() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError), lanes.admitted():
                raise ZeroDivisionError

    run(scene, total=1)
