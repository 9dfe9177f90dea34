"""What is to happen in a soak.

The fates of appointments, whose they are, and what is true of each as the upstream has seen it.

An appointment's id says its fate, its number and its user, so that the upstream needs to be told
nothing in advance and the judge knows what to expect. Owns that agreement between the two and
nothing else.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag

BUSINESSES = 2_000  # so many that a mailbox's four places are no bottleneck
_PREFIX = "AAMkAD"


class Seen(IntFlag):
    """What the upstream has seen of one appointment.

    It is one byte in memory that the upstream shares with the judge.
    """

    GONE = 1  # a cancel was carried out: the customer has a mail
    ANSWERED = 2  # ... and was answered with 204
    OPEN = 4  # a cancel was not answered, and nobody has looked since
    STRUCK = 8  # the fault that strikes once has struck
    REPEATED = 16  # wrong: another cancel came after the 204
    BLIND = 32  # wrong: another cancel came after an unanswered one, without a look
    CROSSED = 64  # wrong: somebody else's token came


WRONGS: Mapping[Seen, str] = {
    Seen.REPEATED: "an appointment was cancelled again after Graph had answered 204",
    Seen.BLIND: "a cancel was repeated after an unanswered one, without a look",
    Seen.CROSSED: "a token of another user was used",
}


@dataclass(frozen=True, slots=True)
class Fate:
    """What befalls an appointment at Graph, and what may be said of it then.

    An outcome with ``?`` is one that is not confirmed.

    ``status`` is what Graph answers to a cancel; 0 is a reset. ``effect``: the cancel is carried
    out all the same. ``lasts``: it happens every time, not only the first. ``open_end``: the answer
    does not tell. ``share`` is its share of the faults.
    """

    name: str
    says: str
    share: float
    status: int = 204
    effect: bool = False
    lasts: bool = False
    open_end: bool = True


STANDS, NEVER_WAS, SLOW = "S", "N", "W"
FATES: Mapping[str, Fate] = {
    STANDS: Fate("stands", "cancelled", 0, open_end=False),
    NEVER_WAS: Fate("never was", "not_found", 0, open_end=False),
    SLOW: Fate("stands, and Graph takes its time", "cancelled", 0, open_end=False),
    "a": Fate("500", "cancelled", 16, 500),
    "b": Fate("500 after the effect", "not_found?", 12, 500, effect=True),
    "c": Fate("503 with Retry-After", "cancelled", 8, 503),
    "d": Fate("503 after the effect", "not_found?", 8, 503, effect=True),
    "e": Fate("504", "cancelled", 4, 504),
    "f": Fate("504 after the effect", "not_found?", 8, 504, effect=True),
    "g": Fate("429 with Retry-After", "cancelled", 10, 429, open_end=False),
    "h": Fate("429 with a long Retry-After", "throttled", 6, 429, lasts=True, open_end=False),
    "i": Fate("reset", "cancelled", 4, 0),
    "j": Fate("reset after the effect", "not_found?", 8, 0, effect=True),
    "k": Fate("202", "cancelled", 3, 202),
    "l": Fate("404 of a gateway in HTML", "cancelled", 3, 404),
    "m": Fate("500 for ever", "upstream_error", 3, 500, lasts=True),
    "n": Fate("a malformed id", "invalid_request", 3, 400, lasts=True, open_end=False),
    "o": Fate("403", "access_denied", 2, 403, lasts=True, open_end=False),
    "p": Fate("a claims challenge", "interaction_required", 2, 401, lasts=True, open_end=False),
    "q": Fate(
        "504 after the effect, and no look is answered", "outcome_unknown", 0.15, 504, effect=True
    ),
    "r": Fate("no answer in time after the effect", "not_found?", 0.1, 204, effect=True),
}
UNSEEN, SILENT = "q", "r"
_FAULTS = [letter for letter, fate in FATES.items() if fate.share]
_SHARES = [FATES[letter].share for letter in _FAULTS]


def any_fault(chance: random.Random) -> str:
    """Choose a fault."""
    return chance.choices(_FAULTS, _SHARES)[0]


def appointment_id(letter: str, number: int, user: int) -> str:
    """Write what there is to know of an appointment into its id."""
    return f"{_PREFIX}{letter}{number:08d}{user:04d}="


def read_appointment_id(written: str) -> tuple[str, int, int]:
    """Return letter, number and user."""
    at = len(_PREFIX)
    return written[at], int(written[at + 1 : at + 9]), int(written[at + 9 : at + 13])


def business_id(number: int) -> str:
    """Return the mailbox of the appointment with this number."""
    return f"bookings{number % BUSINESSES}@contoso.com"


def object_id(user: int) -> str:
    """Return a user's id in the directory."""
    return f"00000000-0000-4000-8000-{user:012d}"


def user_of(written: str) -> int:
    """Return the number of the user with this id."""
    return int(written[-12:])
