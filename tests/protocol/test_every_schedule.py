"""The protocol says nothing untrue and sends no second mail, whatever happens: every schedule is
played and checked (the rules are in ``world.py``).

What is enumerated: up to three exchanges with Graph over the alphabet, four over one letter of each
consequence, and eight over the failures that use up every try; with and without an Idempotency-Key;
of an appointment that exists, or never did; and, once in a schedule at any point of the first
request, a duplicate, the death of the worker, or a failure of the store, or after it the loss of
its records, or a store that says that there is a record and not what it says. After each follow
repeats by the same and another key, at the same and another instance: first under the rest of the
exchanges, then in a healthy world.
"""

import functools
import logging
from collections import Counter
from dataclasses import replace

import pytest

import cancel_appointment.records as records
from cancel_appointment.protocol.outcome import CancelOutcome, Missing
from shared.digest import digest
from tests.protocol.alphabet import (
    ALL_CANCELS,
    ALL_LOOKS,
    CANCELS,
    FEW_CANCELS,
    FEW_LOOKS,
    LOOKS,
    STUBBORN_CANCELS,
    STUBBORN_LOOKS,
)
from tests.protocol.conftest import SCHEDULES
from tests.protocol.setting import Interference, Setting
from tests.protocol.simulation import every_schedule

SETTINGS = [
    pytest.param(
        Setting(exists, keyed, interference, *letters, exchanges),
        id=f"{Setting(exists, keyed, interference, *letters)}, {exchanges} exchanges",
    )
    for interference, letters, exchanges in (
        (Interference.NOTHING, (CANCELS, LOOKS), 3),
        (Interference.NOTHING, (FEW_CANCELS, FEW_LOOKS), 4),
        (Interference.DUPLICATE, (FEW_CANCELS, FEW_LOOKS), 3),
        (Interference.DEATH, (FEW_CANCELS, FEW_LOOKS), 3),
        (Interference.STORE_DOWN, (FEW_CANCELS, FEW_LOOKS), 3),
        (Interference.STORE_FULL, (FEW_CANCELS, FEW_LOOKS), 3),
        (Interference.STORE_HIDES, (FEW_CANCELS, FEW_LOOKS), 3),
    )
    for exists in (True, False)
    for keyed in (True, False)
]

STUBBORN = Setting(True, True, Interference.NOTHING, STUBBORN_CANCELS, STUBBORN_LOOKS, exchanges=8)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Hash the same few strings once, and log no store that is down: it is in every schedule."""
    monkeypatch.setattr(records, "digest", functools.cache(digest))
    caplog.set_level(logging.CRITICAL, "facade.records")


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_schedule_makes_an_answer_untrue(setting: Setting, pytestconfig: pytest.Config) -> None:
    played = sum(1 for _ in every_schedule(setting))
    pytestconfig.stash.setdefault(SCHEDULES, []).append(played)
    assert played > 400


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


OUTCOMES = {
    "cancelled, confirmed",
    "cancelled",
    "not_found, confirmed",
    "not_found",
    "cancelled, confirmed, replayed",
    "cancelled, replayed",
    "not_found, confirmed, replayed",
    "not_found, replayed",
    "not_found, confirmed, business",
    "not_found, business",
}
ERRORS = {
    "AccessDenied",
    "TokenRejected",
    "RequestInvalid",
    "Throttled",
    "UpstreamBroken",
    "UpstreamUnavailable",
    "OutcomeUnknown",
}


@pytest.mark.parametrize(
    ("interference", "tells"),
    [
        (Interference.NOTHING, OUTCOMES | ERRORS),
        (Interference.DUPLICATE, {"RequestInProgress", "IdempotencyKeyReused"}),
        (Interference.DEATH, {"RequestInProgress", "nothing"}),
        (Interference.STORE_DOWN, {"RequestInProgress"}),
    ],
    ids=lambda value: value.value if isinstance(value, Interference) else "",
)
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
            answer.outcome.value
            + ", confirmed" * answer.confirmed
            + ", replayed" * answer.replayed
            + ", business" * (answer.missing is Missing.BUSINESS)
        )
    return "nothing" if answer is None else type(answer).__name__
