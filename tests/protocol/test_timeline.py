"""The clock under the simulation: two lines overlap in virtual time, one runs at a time."""

from collections.abc import Iterator

import pytest

from tests.protocol.choices import Choices, every_path
from tests.protocol.timeline import Timeline


@pytest.fixture
def timeline() -> Iterator[Timeline]:
    timeline = Timeline()
    yield timeline
    timeline.close()


def test_whoever_wakes_first_runs_first(timeline: Timeline) -> None:
    seen: list[tuple[str, float]] = []

    def second() -> None:
        for _ in range(3):
            seen.append(("second", timeline.now))
            timeline.spend(2)

    timeline.start(1, second)
    for _ in range(2):
        seen.append(("first", timeline.now))
        timeline.spend(3.5)
    timeline.finish()
    assert seen == [("first", 0), ("second", 1), ("second", 3), ("first", 3.5), ("second", 5)]
    assert timeline.now == 7


def test_a_second_line_that_is_not_finished_ends_with_the_world(timeline: Timeline) -> None:
    reached: list[str] = []

    def second() -> None:
        try:
            timeline.spend(10)
            reached.append("its end")
        finally:
            reached.append("the end of the world")

    timeline.start(1, second)
    timeline.spend(2)
    timeline.close()
    assert reached == ["the end of the world"]


def test_every_path_is_walked_once() -> None:
    def walk(choices: Choices) -> str:
        first = choices.choose("ab")
        return first + (choices.choose("cde") if first == "b" else "")

    assert [walk(choices) for choices in every_path()] == ["a", "bc", "bd", "be"]
