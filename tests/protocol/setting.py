"""What an enumeration is about.

The appointment, the first request, the alphabet, and what else may go wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

from tests.protocol.alphabet import Landing, Letter
from tests.protocol.world import Ask


class Interference(Enum):
    """What else goes wrong: once in a schedule, at any point of the first request.

    A store that forgets does so after it, and one that hides its records does so from the request
    that comes next.
    """

    NOTHING = "nothing"
    DUPLICATE = "a duplicate"
    DEATH = "death of the worker"
    STORE_DOWN = "store down"
    STORE_FULL = "store full"
    STORE_HIDES = "store hides its records"


class Death(Enum):
    """When a worker dies, seen from the step that it was at."""

    BEFORE = "dies before it"
    AFTER = "dies after it"
    AFTER_LATE = "dies after it, effect before the next call"
    AFTER_LATER = "dies after it, effect between the next look and the next cancel"


class Outage(Enum):
    """How the store fails."""

    ONCE = "store fails once"
    ONCE_DONE = "store does it and fails to say so"
    FROM_HERE = "store fails until the request ends"
    HIDES = "store says whether there is a record, and not what it says"


@dataclass(frozen=True, slots=True)
class Visit:
    """A duplicate that arrives while the first request is under way.

    ``outage`` of the store: for this one only; ``frozen``: the first one stalls past its lease.
    """

    ask: Ask
    outage: Outage | None = None
    frozen: bool = False

    def __str__(self) -> str:
        store = f", {self.outage.value}" if self.outage else ""
        frozen = ", the first one frozen" * self.frozen
        return f"duplicate ({self.ask}{store}{frozen})"


@dataclass(frozen=True)
class Setting:
    """What the schedules of one enumeration have in common.

    The first ``exchanges`` calls go in any way of the alphabet, all later ones truly.
    """

    exists: bool
    keyed: bool
    interference: Interference
    cancels: Sequence[Letter]
    looks: Sequence[Letter]
    exchanges: int = 4

    def __str__(self) -> str:
        appointment = "an appointment" if self.exists else "no appointment"
        key = "with a key" if self.keyed else "without a key"
        return f"{appointment}, {key}, {self.interference.value}"

    @property
    def first_ask(self) -> Ask:
        """The request that everything is about."""
        return Ask("K" if self.keyed else None)

    @cached_property
    def letters(self) -> dict[tuple[str, bool], list[Letter]]:
        """The letters that make a difference.

        By the step, and by whether Graph may hide the appointment.
        """
        return {
            (step, may_hide): [
                letter
                for letter in letters
                if (self.exists or letter.landing is Landing.NEVER)
                and ((self.exists and may_hide) or not letter.hides)
            ]
            for step, letters in (("cancel", self.cancels), ("look", self.looks))
            for may_hide in (True, False)
        }

    @cached_property
    def deaths_at_a_cancel(self) -> tuple[Death, ...]:
        """When a worker may die that sends a cancel."""
        return tuple(Death) if self.exists else (Death.BEFORE,)

    @cached_property
    def visits_at_a_call(self) -> list[Visit]:
        """The duplicates that may come while a call is under way."""
        own = self.first_ask
        others = (Ask("L"), Ask(None), replace(own, message="No.")) if self.keyed else (Ask("K"),)
        return [*(Visit(ask) for ask in (own, *others)), *self.visits_between]

    @cached_property
    def visits_between(self) -> list[Visit]:
        """The duplicates that may come while no call is under way.

        Those that read the records see no difference between the two, unless the lease of the first
        request is over.
        """
        own = self.first_ask
        frozen = [Visit(ask, frozen=True) for ask in (own, Ask("L" if self.keyed else "K"))]
        return [
            *frozen,
            *(Visit(replace(own, instance=number), Outage.FROM_HERE) for number in (1, 2)),
            Visit(replace(own, instance=2), Outage.HIDES),
        ]
