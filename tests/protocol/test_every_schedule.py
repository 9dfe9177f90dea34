"""The protocol says nothing untrue and sends no second mail, whatever happens: every schedule is
played and checked (the rules are in ``world.py``).

What is enumerated: up to four exchanges with Graph over the alphabet, and eight over the failures
that use up every try; with and without an Idempotency-Key; of an appointment that exists, or never
did; and, once in a schedule at any point of the first request, a duplicate, the death of the
worker, or a failure of the store. After each follow repeats by the same and another key, at the
same and another instance: first under the rest of the four exchanges, then in a healthy world.
"""

import functools
import logging
from collections import Counter
from dataclasses import replace

import pytest

import cancel_appointment.records as records
from cancel_appointment.cancellation import Fail, Finish, Go, Known, Move, after_cancel, after_look
from cancel_appointment.outcome import CancelOutcome
from shared.digest import digest
from shared.graph.endings import GraphAnswer
from shared.transport.retry_after import parse_retry_after
from tests.protocol.alphabet import (
    ALL_CANCELS,
    ALL_LOOKS,
    CANCELS,
    FEW_CANCELS,
    FEW_LOOKS,
    LOOKS,
    STUBBORN_CANCELS,
    STUBBORN_LOOKS,
    Landing,
    Letter,
)
from tests.protocol.conftest import SCHEDULES
from tests.protocol.setting import Interference, Setting
from tests.protocol.simulation import DEADLINE_S, every_schedule

SETTINGS = [
    pytest.param(
        Setting(exists, keyed, interference, *letters),
        id=str(Setting(exists, keyed, interference, *letters)),
    )
    for interference, letters in (
        (Interference.NOTHING, (CANCELS, LOOKS)),
        (Interference.DUPLICATE, (FEW_CANCELS, FEW_LOOKS)),
        (Interference.DEATH, (FEW_CANCELS, FEW_LOOKS)),
        (Interference.STORE_DOWN, (FEW_CANCELS, FEW_LOOKS)),
    )
    for exists in (True, False)
    for keyed in (True, False)
]

STUBBORN = Setting(True, True, Interference.NOTHING, STUBBORN_CANCELS, STUBBORN_LOOKS, exchanges=8)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The same few strings are hashed a million times, and a store that is down is logged in every
    schedule.
    """
    monkeypatch.setattr(records, "digest", functools.cache(digest))
    caplog.set_level(logging.CRITICAL, "facade.records")


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_schedule_of_four_exchanges_makes_an_answer_untrue(
    setting: Setting, pytestconfig: pytest.Config
) -> None:
    played = sum(1 for _ in every_schedule(setting))
    pytestconfig.stash.setdefault(SCHEDULES, []).append(played)
    assert played > 1_000


@pytest.mark.parametrize("keyed", [True, False], ids=["with a key", "without a key"])
def test_no_schedule_of_two_exchanges_over_the_whole_alphabet_makes_an_answer_untrue(
    keyed: bool, pytestconfig: pytest.Config
) -> None:
    played = sum(
        1
        for _ in every_schedule(
            Setting(True, keyed, Interference.NOTHING, ALL_CANCELS, ALL_LOOKS, exchanges=2)
        )
    )
    pytestconfig.stash.setdefault(SCHEDULES, []).append(played)
    assert played > 900


@pytest.mark.parametrize("keyed", [True, False], ids=["with a key", "without a key"])
@pytest.mark.parametrize("exists", [True, False], ids=["an appointment", "no appointment"])
def test_no_schedule_that_uses_up_every_try_makes_an_answer_untrue(
    exists: bool, keyed: bool, pytestconfig: pytest.Config
) -> None:
    played = sum(1 for _ in every_schedule(replace(STUBBORN, exists=exists, keyed=keyed)))
    pytestconfig.stash.setdefault(SCHEDULES, []).append(played)
    assert played > 100


@pytest.mark.parametrize(("interference", "tells"), [
    (Interference.NOTHING, {"cancelled, confirmed", "cancelled", "not_found, confirmed", "not_found", "cancelled, confirmed, replayed", "cancelled, replayed",
                            "not_found, confirmed, replayed", "not_found, replayed", "AccessDenied", "TokenRejected", "Throttled", "UpstreamBroken",
                            "UpstreamUnavailable", "OutcomeUnknown"}),
    (Interference.DUPLICATE, {"RequestInProgress", "IdempotencyKeyReused"}),
    (Interference.DEATH, {"RequestInProgress", "nothing"}),
    (Interference.STORE_DOWN, {"RequestInProgress"}),
], ids=lambda value: value.value if isinstance(value, Interference) else "")  # fmt: skip
def test_the_schedules_lead_to_every_answer_that_there_is(
    interference: Interference, tells: set[str]
) -> None:
    letters = (CANCELS, LOOKS) if interference is Interference.NOTHING else (FEW_CANCELS, FEW_LOOKS)
    told: Counter[str] = Counter()
    for world in every_schedule(
        Setting(
            True,
            True,
            interference,
            *letters,
            exchanges=3 if interference is Interference.NOTHING else 2,
        )
    ):
        told.update(_tell(run.answer) for run in world.runs)
    for world in every_schedule(STUBBORN) if interference is Interference.NOTHING else ():
        told.update(_tell(run.answer) for run in world.runs)
    assert tells <= told.keys()


def _tell(answer: CancelOutcome | Exception | None) -> str:
    if isinstance(answer, CancelOutcome):
        return (
            answer.outcome.value + ", confirmed" * answer.confirmed + ", replayed" * answer.replayed
        )
    return "nothing" if answer is None else type(answer).__name__


EVERY_KNOWN = [
    Known(doubt, late, stood, blind)
    for doubt in (False, True)
    for late in (False, True)
    for stood in (False, True)
    for blind in (False, True)
]


def _consequence(move: Move) -> object:
    match move:
        case Finish(outcome):
            return outcome
        case Fail():
            return Fail
        case Go():
            return move


def _consequences(letter: Letter, step: str) -> list[object]:
    decide = after_cancel if step == "cancel" else after_look
    return [_consequence(decide(letter.seen or GraphAnswer(204), known)) for known in EVERY_KNOWN]


def _effort(letter: Letter) -> object:
    """Whether the wait that Graph asks for fits into a deadline, and whether another token is worth
    a try.
    """
    if not isinstance(letter.seen, GraphAnswer):
        return True, False
    return (
        parse_retry_after(letter.seen.retry_after, 0.0) or 0.0
    ) < DEADLINE_S, letter.seen.status == 401


def _truth(letter: Letter) -> object:
    """Nobody is there to see the difference between an effect at once and one before the next call."""
    landing = Landing.AT_ONCE if letter.landing is Landing.BEFORE_NEXT_CALL else letter.landing
    return letter.seen is None, landing, letter.doubtful, letter.hides


WORDS = pytest.mark.parametrize(
    ("step", "every", "distinct", "few"),
    [("cancel", ALL_CANCELS, CANCELS, FEW_CANCELS), ("look", ALL_LOOKS, LOOKS, FEW_LOOKS)],
    ids=["cancel", "look"],
)
type Letters = tuple[Letter, ...]


@WORDS
def test_the_letters_left_out_of_the_alphabet_differ_in_nothing_that_decides(
    step: str, every: Letters, distinct: Letters, few: Letters
) -> None:
    kept = [(_truth(letter), _consequences(letter, step), _effort(letter)) for letter in distinct]
    assert [
        str(letter)
        for letter in every
        if (_truth(letter), _consequences(letter, step), _effort(letter)) not in kept
    ] == []


@WORDS
def test_the_few_letters_have_every_consequence_that_there_is(
    step: str, every: Letters, distinct: Letters, few: Letters
) -> None:
    assert set(few) < set(distinct)
    kept = [_consequences(letter, step) for letter in few]
    assert [str(letter) for letter in distinct if _consequences(letter, step) not in kept] == []
