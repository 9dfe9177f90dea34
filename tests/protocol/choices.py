"""Every path through a tree of choices, one after the other, without threads or randomness."""

from collections.abc import Iterator, Sequence
from enum import Enum


class Choices:
    """Makes one path's choices: those of a given start, then always the first option.

    ``taken`` names them, for a report.
    """

    def __init__(self, start: Sequence[int]) -> None:
        self._start = start
        self._numbers: list[int] = []
        self._widths: list[int] = []
        self.taken: list[object] = []

    def choose[T](self, options: Sequence[T]) -> T:
        """Return one of the options; another path will take another."""
        at = len(self._numbers)
        number = self._start[at] if at < len(self._start) else 0
        self._numbers.append(number)
        self._widths.append(len(options))
        chosen = options[number]
        self.taken.append(chosen)
        return chosen

    def __str__(self) -> str:
        return ", ".join(
            str(option.value if isinstance(option, Enum) else option) for option in self.taken
        )

    @property
    def path(self) -> tuple[int, ...]:
        """The choices made so far, as numbers."""
        return tuple(self._numbers)

    def next_start(self) -> list[int] | None:
        """Return how the next path starts (depth first), or None when this was the last."""
        for at in range(len(self._numbers) - 1, -1, -1):
            if self._numbers[at] + 1 < self._widths[at]:
                return [*self._numbers[:at], self._numbers[at] + 1]
        return None


def every_path() -> Iterator[Choices]:
    """Return the choices of each path; they have to be made before the next one is asked for.

    The same choices have to lead to the same next ones.
    """
    start: list[int] | None = []
    while start is not None:
        choices = Choices(start)
        yield choices
        start = choices.next_start()
