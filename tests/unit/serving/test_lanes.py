"""How much runs at once, in a lane and in all, and whose turn it is when several wait."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from shared.errors import Overloaded
from shared.identity.principal import Principal
from shared.serving.lanes import Lanes, mailbox_lane, personal_lane

LONG_S = 60.0


class Crowd:
    """Tasks that hold a place until they are told to leave."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._leave: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.inside: list[str] = []
        self.refused: list[str] = []

    async def come(
        self, name: str, lane: str = "a", wait_s: float = LONG_S, caller: str = ""
    ) -> None:
        """Start one and let it get as far as it can. Each is a caller of their own, by default."""
        self._leave[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._hold(name, lane, wait_s, caller or name))
        await _settled()

    async def come_all(self, *names: str, lane: str = "a", caller: str = "") -> None:
        for name in names:
            await self.come(name, lane, caller=caller)

    async def leave(self, *names: str) -> None:
        for name in names:
            self._leave[name].set()
            await self._tasks[name]
        await _settled()

    async def give_up(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.gather(self._tasks[name], return_exceptions=True)
        await _settled()

    async def _hold(self, name: str, lane: str, wait_s: float, caller: str) -> None:
        try:
            async with self._lanes.place((caller,), (lane,), wait_s=wait_s):
                self.inside.append(name)
                await self._leave[name].wait()
                self.inside.remove(name)
        except Overloaded:
            self.refused.append(name)


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(
    scene: Callable[[Lanes, Crowd], Awaitable[None]],
    *,
    width: int = 2,
    queue: int = 2,
    places: int = 1_000,
    waiting: int = 1_000,
) -> Lanes:
    async def play() -> Lanes:
        lanes = Lanes(width=width, queue=queue, places=places, waiting=waiting)
        crowd = Crowd(lanes)
        await scene(lanes, crowd)
        while crowd.inside:
            await crowd.leave(crowd.inside[0])
        assert lanes._lanes == {}
        assert (lanes._all.inside.count, lanes._all.queue.count, len(lanes._tickets)) == (0, 0, 0)
        assert not lanes._all.inside.by
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
            async with lanes.place(("x",), ("a",), wait_s=LONG_S):
                pytest.fail("there was no place")
        await crowd.leave("first", "second", "third", "fourth")

    run(scene)


def test_who_has_waited_long_enough_is_refused_and_takes_no_place() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        await crowd.come("first")
        with pytest.raises(Overloaded):
            async with lanes.place(("x",), ("a",), wait_s=0.001):
                pytest.fail("there was no place")
        await crowd.leave("first")
        await crowd.come("second")
        assert crowd.inside == ["second"]
        await crowd.leave("second")

    run(scene, width=1, queue=1)


def test_a_free_place_is_taken_although_there_is_no_time_to_wait() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        async with lanes.place(("x",), ("a",), wait_s=0):
            with pytest.raises(Overloaded):
                async with lanes.place(("x",), ("a",), wait_s=0):
                    pytest.fail("there was no place")

    run(scene, width=1)


def test_one_key_does_not_slow_another() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        for name in ("first", "second", "third", "fourth"):
            await crowd.come(name, lane="busy")
        await crowd.come("other", lane="idle")
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
            async with lanes.place(("x",), ("a",), wait_s=LONG_S):
                raise ZeroDivisionError
        crowd.inside.clear()
        await crowd.come("second")
        assert crowd.inside == ["second"]
        await crowd.leave("second")

    run(scene, width=1)


def test_keys_without_work_leave_nothing_behind() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        for number in range(100):
            await crowd.come(f"{number}", lane=f"made up {number}")
        await crowd.come("waiting", lane="made up 0")
        await crowd.give_up("waiting")
        for number in range(100):
            await crowd.leave(f"{number}")

    run(scene, width=1)


def test_strangers_are_bounded_and_the_one_too_many_is_refused_at_once() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(3):
                stack.enter_context(lanes.stranger())
            with pytest.raises(Overloaded), lanes.stranger():
                pytest.fail("there was no place")
            await crowd.come("known")  # whose caller is known needs no place of a stranger
            assert crowd.inside == ["known"]
        with lanes.stranger():
            pass
        for _ in range(3):
            with pytest.raises(ZeroDivisionError), lanes.stranger():
                raise ZeroDivisionError

    run(scene, places=1, waiting=2)


def test_all_together_are_bounded_and_wait_for_each_other() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        for number in range(5):
            await crowd.come(f"{number}", lane=f"lane {number}")
        assert (crowd.inside, crowd.refused) == (["0", "1"], ["4"])
        await crowd.leave("0")
        assert crowd.inside == ["1", "2"]

    run(scene, places=2, waiting=2)


# Fairness.


def names(caller: str, count: int) -> list[str]:
    return [f"{caller}{number}" for number in range(count)]


def test_who_is_alone_may_have_every_place_and_the_whole_queue() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        await crowd.come_all(*names("w", 9), caller="webhook")
        assert (crowd.inside, crowd.refused) == (names("w", 4), ["w8"])
        for name in names("w", 8):
            await crowd.leave(name)
        assert crowd.refused == ["w8"]

    run(scene, width=4, queue=4)


def test_a_crowd_of_one_caller_does_not_close_a_lane_to_another() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        await crowd.come_all(*names("s", 30), caller="stranger")
        await crowd.come_all(*names("m", 6), caller="member")
        assert crowd.refused == []
        await crowd.leave("s0")
        assert crowd.inside == ["s1", "s2", "s3", "m0"]
        await crowd.leave("s1")
        assert crowd.inside == ["s2", "s3", "m0", "m1"]
        await crowd.leave("s2")  # each has half; what a caller gives back is theirs again
        assert crowd.inside == ["s3", "m0", "m1", "s4"]
        await crowd.leave("m0")
        assert crowd.inside == ["s3", "m1", "s4", "m2"]

    run(scene, width=4, queue=64)


def test_who_has_filled_the_queue_makes_room_for_a_newcomer() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        await crowd.come_all(*names("s", 10), caller="stranger")
        assert crowd.refused == names("s", 10)[8:]
        crowd.refused.clear()
        await crowd.come("m0", caller="member")
        assert crowd.refused == ["s7"]
        await crowd.come_all("m1", "m2", caller="member")
        assert crowd.refused == ["s7", "s6", "m2"]
        await crowd.leave("s0")
        await crowd.leave("s1")
        assert crowd.inside == ["s2", "s3", "m0", "m1"]

    run(scene, width=4, queue=4)


def test_while_another_waits_nobody_has_more_than_half_of_the_queue() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        await crowd.come_all("s0", "s1", caller="stranger")
        await crowd.come("m", caller="member")
        await crowd.come_all("s2", "s3", caller="stranger")
        assert crowd.refused == ["s3"]
        await crowd.leave("s0")
        await crowd.leave("s1")
        assert crowd.inside == ["m"]
        await crowd.come_all("s4", "s5", "s6", caller="stranger")
        assert crowd.refused == ["s3"]

    run(scene, width=1, queue=4)


def test_two_strangers_do_not_close_a_lane_either() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        await crowd.come_all(*names("s", 4), caller="one")
        await crowd.come_all(*names("t", 4), caller="two")
        await crowd.come("m", caller="member")
        assert crowd.refused == ["t2", "t3", "t1"]
        await crowd.leave("s0")
        assert crowd.inside == ["s1", "t0"]
        await crowd.leave("s1")
        assert crowd.inside == ["t0", "s2"]
        await crowd.leave("t0")
        assert crowd.inside == ["s2", "m"]

    run(scene, width=2, queue=4)


def test_a_crowd_in_many_lanes_does_not_close_the_whole() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        for name in names("s", 9):
            await crowd.come(name, lane=f"made up {name}", caller="stranger")
        assert (crowd.inside, crowd.refused) == (names("s", 4), ["s8"])
        await crowd.come("m0", lane="busy", caller="member")
        assert crowd.refused == ["s8", "s7"]
        await crowd.come("m1", lane="quiet", caller="member")
        await crowd.leave("s0")
        assert crowd.inside == ["s1", "s2", "s3", "m0"]
        await crowd.leave("s1")
        assert crowd.inside == ["s2", "s3", "m0", "m1"]

    run(scene, places=4, waiting=4)


def test_in_a_lane_it_counts_what_one_has_there_and_not_elsewhere() -> None:
    """Two senders who are not busy elsewhere do not starve one who is."""

    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        for number in range(6):
            await crowd.come(f"w{number}", lane=f"{number}", caller="webhook")
        await crowd.come_all("s0", "s1", "s2", caller="one")
        await crowd.come_all("t0", "t1", "t2", caller="two")
        await crowd.come("w", caller="webhook")
        await crowd.leave("s0")
        assert crowd.inside[-1] == "t0"
        await crowd.leave("s1")
        assert crowd.inside[-1] == "s2"
        await crowd.leave("t0")
        assert crowd.inside[-1] == "w"

    run(scene, width=2, queue=16)


def test_whoever_gives_up_at_the_moment_of_their_turn_hands_it_on() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        await crowd.come_all("first", "impatient", "next")
        crowd._leave["first"].set()
        crowd._tasks["impatient"].cancel()
        await _settled()
        assert crowd.inside == ["next"]
        await crowd.come("late")
        crowd._leave["next"].set()
        await asyncio.sleep(0)  # the turn is given, and not taken yet
        crowd._tasks["late"].cancel()
        await _settled()
        assert crowd.inside == []

    run(scene, width=1)


def test_a_chaos_of_arrivals_ends_and_cancellations_loses_no_place() -> None:
    async def scene(lanes: Lanes, crowd: Crowd) -> None:
        chance = random.Random(14)

        async def visit(caller: int) -> None:
            with contextlib.suppress(Overloaded):
                async with lanes.place(
                    (f"{caller}",), (f"{chance.randrange(5)}",), wait_s=chance.random() / 100
                ):
                    assert all(lane.inside.count <= 3 for lane in lanes._lanes.values())
                    assert all(lane.queue.count <= 4 for lane in lanes._lanes.values())
                    assert lanes._all.inside.count <= 6
                    assert lanes._all.queue.count <= 9
                    await asyncio.sleep(chance.random() / 500)

        tasks = []
        for _ in range(2_000):
            tasks.append(asyncio.create_task(visit(chance.randrange(4))))
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
            if chance.random() < 0.1:
                await asyncio.sleep(0.001)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not [task for task in tasks if not task.cancelled() and task.exception() is not None]

    run(scene, width=3, queue=4, places=6, waiting=9)


# Names.


def test_lanes_of_different_kinds_cannot_meet() -> None:
    assert mailbox_lane("t o") != personal_lane(Principal("t", "o", "c"))
    assert personal_lane(Principal("t", "o", "c")) != personal_lane(Principal("t o", "", "c"))
    assert personal_lane(Principal("t", "o", "c")) == personal_lane(Principal("t", "o", "d"))


def test_mailboxes_differ_by_all_but_the_case_of_ascii() -> None:
    assert mailbox_lane("Kelvin@Contoso.com") == mailbox_lane("kelvin@contoso.COM")
    assert mailbox_lane("\u212aelvin@contoso.com") != mailbox_lane("kelvin@contoso.com")
    assert mailbox_lane("\u0130@contoso.com") != mailbox_lane("i\u0307@contoso.com")
