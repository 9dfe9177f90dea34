"""The letters that the schedules are made of leave out nothing that decides."""

import itertools
from dataclasses import replace

import pytest

from cancel_appointment.protocol.decisions import Move, after_cancel, after_look
from cancel_appointment.protocol.doubt import Known, Left
from shared.errors import FacadeError, OutcomeUnknown
from shared.graph.endings import GraphAnswer
from shared.transport.retry_after import parse_retry_after
from tests.protocol.alphabet import (
    ALL_CANCELS,
    ALL_LOOKS,
    APPOINTMENT,
    CANCELS,
    FEW_CANCELS,
    FEW_LOOKS,
    LOOKS,
    Landing,
    Letter,
)
from tests.protocol.simulation import DEADLINE_S

EVERY_KNOWN = [
    Known(carried, unsure, left, looked, stood, sent, slashed=True, respelled=respelled)
    for carried, unsure, looked, stood, sent, respelled in itertools.product(
        (False, True), repeat=6
    )
    for left in Left
]


def _consequence(move: Move) -> object:
    if isinstance(move, FacadeError):
        return FacadeError, isinstance(move, OutcomeUnknown)
    return move


# For the few it does not matter whether a cancel arrived that had no effect, nor the spelling.
FEW_KNOWN = [replace(known, sent=True, slashed=False) for known in EVERY_KNOWN]


def _consequences(
    letter: Letter, step: str, every_known: list[Known] = EVERY_KNOWN
) -> list[object]:
    seen = letter.seen
    if step == "cancel":
        return [_consequence(after_cancel(seen or GraphAnswer(204), one)) for one in every_known]
    seen = seen or GraphAnswer(200, resource={"id": APPOINTMENT})
    return [_consequence(after_look(seen, one, APPOINTMENT)) for one in every_known]


def _effort(letter: Letter) -> object:
    """Whether the wait that Graph asks for fits, and what another token is worth."""
    if not isinstance(letter.seen, GraphAnswer):
        return True, False, False
    wait_s = parse_retry_after(letter.seen.retry_after, 0.0) or 0.0
    return wait_s < DEADLINE_S, letter.seen.status == 401, letter.signs_out


def _truth(letter: Letter) -> object:
    """Nobody is there to see whether the effect comes at once or before the next call."""
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
    kept = [_consequences(letter, step, FEW_KNOWN) for letter in few]
    assert [
        str(letter) for letter in distinct if _consequences(letter, step, FEW_KNOWN) not in kept
    ] == []
