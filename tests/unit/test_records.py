"""Two records per request.

Whose they are, what is replayed, who waits, and what is left for the next one.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from cancel_appointment.protocol.outcome import CancelOutcome, Missing, Outcome
from cancel_appointment.records import DAY_S, LEASE_MARGIN_S, Entry, Records
from cancel_appointment.request import CancelRequest
from shared.errors import IdempotencyKeyReused, RequestInProgress
from shared.identity.caller import Caller
from shared.records.memory_store import MemoryStore
from shared.records.rules import (
    Begun,
    Claim,
    End,
    Finished,
    RecordHidden,
    StoreUnavailable,
    Wanted,
)
from shared.transport.deadline import Deadline

DEADLINE_S = 10.0
LEASE_S = DEADLINE_S + LEASE_MARGIN_S
CALLER = Caller("tenant", "user", "client", 2e9, True, "token", b"")
REQUEST = CancelRequest(
    businessId="Contoso@contoso.example", appointmentId="AAMk=", cancellationMessage="Sorry."
)
CANCELLED = CancelOutcome(Outcome.CANCELLED, confirmed=True)
NOT_FOUND = CancelOutcome(Outcome.NOT_FOUND, confirmed=True)
UNCONFIRMED = CancelOutcome(Outcome.NOT_FOUND, confirmed=False)
REPLAYED = replace(CANCELLED, replayed=True)


@dataclass
class Clock:
    now_s: float = 1_000.0
    pauses: list[float] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.pauses.append(seconds)
        self.meanwhile()


class FlakyStore(MemoryStore):
    """The real store. It can be down for the operations named in ``down``."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.down: set[str] = set()
        self.failure: StoreUnavailable = StoreUnavailable("down")
        self.keys: list[str] = []
        self.callers: list[str] = []

    def begin(
        self, caller: str, wanted: Sequence[Wanted], *, lease_s: float, keep_s: float
    ) -> Begun:
        self._fail("begin")
        self.callers.append(caller)
        self.keys += [one.key for one in wanted]
        return super().begin(caller, wanted, lease_s=lease_s, keep_s=keep_s)

    def settle(self, claim: Claim, ends: Sequence[End], *, keep_s: float) -> bool:
        self._fail("settle")
        return super().settle(claim, ends, keep_s=keep_s)

    def _fail(self, operation: str) -> None:
        if operation in self.down:
            raise self.failure from TimeoutError()


class Desk:
    """Records over the store, as one worker has them."""

    def __init__(self, clock: Clock | None = None, store: FlakyStore | None = None) -> None:
        self.clock = clock or Clock()
        self.store = store or FlakyStore(self.clock.now)
        self.records = Records(self.store, self.clock.sleep, deadline_s=DEADLINE_S)

    def open(
        self,
        key: str | None = None,
        *,
        caller: Caller = CALLER,
        request: CancelRequest = REQUEST,
        within_s: float = 10.0,
    ) -> Entry | CancelOutcome:
        return self.records.open(
            caller, request, key, Deadline(self.clock.now() + within_s, self.clock.now)
        )

    def claim(
        self, key: str | None = None, *, caller: Caller = CALLER, request: CancelRequest = REQUEST
    ) -> Entry:
        entry = self.open(key, caller=caller, request=request)
        assert isinstance(entry, Entry)
        return entry

    def settle(self, entry: Entry, outcome: CancelOutcome, *, doubt: bool = False) -> CancelOutcome:
        return self.records.settle(entry, outcome, doubt=doubt)

    def another_worker(self) -> "Desk":
        return Desk(self.clock, self.store)


@pytest.fixture
def desk() -> Desk:
    return Desk()


# Whose a record is.


@pytest.mark.parametrize("key", [None, "k"], ids=["without a key", "with the same key"])
@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(CALLER, tenant_id="other"), id="tenant"),
        pytest.param(replace(CALLER, object_id="other"), id="user"),
    ],
)
def test_nothing_is_shared_between_two_people(desk: Desk, other: Caller, key: str | None) -> None:
    desk.settle(desk.claim(key), CANCELLED)
    entry = desk.claim(key, caller=other)
    assert not entry.doubt
    assert set(desk.store.keys[: 1 if key is None else 2]).isdisjoint(
        desk.store.keys[1 if key is None else 2 :]
    )


def test_two_applications_may_make_up_the_same_key(desk: Desk) -> None:
    desk.settle(desk.claim("k"), NOT_FOUND)
    assert desk.claim(
        "k",
        caller=replace(CALLER, client_id="other"),
        request=REQUEST.model_copy(update={"cancellation_message": "No."}),
    )


def test_one_user_has_one_record_of_an_appointment_in_all_applications(desk: Desk) -> None:
    desk.settle(desk.claim("k"), CANCELLED)
    assert desk.open("other", caller=replace(CALLER, client_id="other")) == REPLAYED


@pytest.mark.parametrize(
    "change",
    [
        {"business_id": "other@contoso.example"},
        {"appointment_id": "AAMk"},
        {"appointment_id": "aamk="},
    ],
    ids=["business", "appointment", "case of the appointment's id"],
)
def test_another_appointment_is_another_record(desk: Desk, change: dict[str, str]) -> None:
    desk.settle(desk.claim(), CANCELLED)
    assert not desk.claim(request=REQUEST.model_copy(update=change)).doubt


def test_a_business_is_the_same_in_any_case(desk: Desk) -> None:
    desk.settle(desk.claim(), CANCELLED)
    assert (
        desk.open(request=REQUEST.model_copy(update={"business_id": "CONTOSO@Contoso.example"}))
        == REPLAYED
    )


def test_the_lists_of_ids_cannot_be_shifted_into_each_other(desk: Desk) -> None:
    desk.settle(
        desk.claim(request=REQUEST.model_copy(update={"business_id": "ab", "appointment_id": "c"})),
        CANCELLED,
    )
    assert not desk.claim(
        request=REQUEST.model_copy(update={"business_id": "a", "appointment_id": "bc"})
    ).doubt


def test_no_id_and_no_key_reaches_the_store(desk: Desk) -> None:
    desk.claim("k")
    assert all(len(key) == 64 and set(key) <= set("0123456789abcdef") for key in desk.store.keys)


# What is replayed.


@pytest.mark.parametrize("confirmed", [True, False])
@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_key_hears_its_first_outcome_again(desk: Desk, outcome: Outcome, confirmed: bool) -> None:
    said = desk.settle(desk.claim("k"), CancelOutcome(outcome, confirmed=confirmed))
    assert desk.open("k") == replace(said, replayed=True)


@pytest.mark.parametrize("confirmed", [True, False])
def test_without_a_key_cancelled_is_replayed(desk: Desk, confirmed: bool) -> None:
    desk.settle(desk.claim(), CancelOutcome(Outcome.CANCELLED, confirmed=confirmed))
    assert desk.open() == CancelOutcome(Outcome.CANCELLED, confirmed=confirmed, replayed=True)


def test_without_a_key_not_found_is_asked_again(desk: Desk) -> None:
    desk.settle(desk.claim(), NOT_FOUND)
    assert not desk.claim().doubt


def test_a_not_found_that_is_not_confirmed_leaves_the_doubt(desk: Desk) -> None:
    desk.settle(desk.claim(), UNCONFIRMED)
    assert desk.claim().doubt


def test_a_new_key_hears_that_the_appointment_was_cancelled_and_keeps_it(desk: Desk) -> None:
    desk.settle(desk.claim(), CANCELLED)
    assert desk.open("k") == REPLAYED
    assert desk.open("k") == REPLAYED
    with pytest.raises(IdempotencyKeyReused):
        desk.open("k", request=REQUEST.model_copy(update={"appointment_id": "other"}))


def test_after_a_day_nothing_is_remembered(desk: Desk) -> None:
    desk.settle(desk.claim("k"), CANCELLED)
    desk.clock.now_s += DAY_S
    assert not desk.claim("k").doubt


# Another body under the same key.


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"business_id": "other@contoso.example"}, id="business"),
        pytest.param({"appointment_id": "other"}, id="appointment"),
        pytest.param({"cancellation_message": "No."}, id="message"),
        pytest.param({"cancellation_message": None}, id="no message"),
    ],
)
@pytest.mark.parametrize("end", ["running", "finished", "in doubt"])
def test_a_key_stands_for_one_body(desk: Desk, end: str, change: dict[str, str | None]) -> None:
    entry = desk.claim("k")
    if end == "finished":
        desk.settle(entry, NOT_FOUND)
    if end == "in doubt":
        desk.records.give_up(entry, doubt=True)
    with pytest.raises(IdempotencyKeyReused):
        desk.open("k", request=REQUEST.model_copy(update=change))
    assert desk.clock.pauses == []


def test_no_message_is_not_the_same_as_any_message(desk: Desk) -> None:
    desk.claim("k", request=REQUEST.model_copy(update={"cancellation_message": None}))
    with pytest.raises(IdempotencyKeyReused):
        desk.open("k", request=REQUEST.model_copy(update={"cancellation_message": ""}))


def test_a_key_whose_request_changed_nothing_may_be_used_for_another(desk: Desk) -> None:
    desk.records.give_up(desk.claim("k"), doubt=False)
    assert desk.claim("k", request=REQUEST.model_copy(update={"cancellation_message": "No."}))


def test_without_a_key_another_message_is_the_same_request(desk: Desk) -> None:
    desk.settle(desk.claim(), CANCELLED)
    assert desk.open(request=REQUEST.model_copy(update={"cancellation_message": "No."})) == REPLAYED


# Waiting for somebody else.


@pytest.mark.parametrize(
    ("first", "second"), [(None, None), ("k", "k"), ("k", None), (None, "k"), ("k", "other")]
)
def test_a_running_request_is_waited_for_and_its_outcome_heard(
    desk: Desk, first: str | None, second: str | None
) -> None:
    entry = desk.claim(first)

    def finish() -> None:
        if len(desk.clock.pauses) == 4:
            desk.settle(entry, CANCELLED)

    desk.clock.meanwhile = finish
    assert desk.open(second) == REPLAYED
    assert desk.clock.pauses == [0.05, 0.1, 0.2, 0.4]


@pytest.mark.parametrize(
    ("within_s", "pauses"),
    [
        (10.0, [0.05, 0.1, 0.2, 0.4, 0.5, 0.5, 0.5, 0.5]),
        (6.0, [0.05, 0.1, 0.2, 0.4, 0.5, 0.5, 0.5, 0.5]),
        (4.0, [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]),
        (1.0, [0.05, 0.1, 0.2]),
        (0.0, []),
    ],
)
def test_waiting_takes_half_of_the_deadline_at_most_and_three_seconds(
    desk: Desk, within_s: float, pauses: list[float]
) -> None:
    desk.claim()
    with pytest.raises(RequestInProgress) as refused:
        desk.open(within_s=within_s)
    assert desk.clock.pauses == pauses
    assert refused.value.retry_after_s == 1.0


def test_who_is_told_to_come_back_leaves_his_key_free(desk: Desk) -> None:
    entry = desk.claim()
    with pytest.raises(RequestInProgress):
        desk.open("k")
    desk.records.give_up(entry, doubt=False)
    assert not desk.claim("k").doubt


# What is left for the next one.


def test_an_attempt_that_changed_nothing_leaves_nothing(desk: Desk) -> None:
    desk.records.give_up(desk.claim("k"), doubt=False)
    assert desk.store._size == 0


@pytest.mark.parametrize("next_key", ["k", None, "other"])
def test_doubt_is_left_to_every_request_for_the_appointment(
    desk: Desk, next_key: str | None
) -> None:
    desk.records.give_up(desk.claim("k"), doubt=True)
    assert desk.claim(next_key).doubt


def test_the_lease_outlives_every_request() -> None:
    assert LEASE_S >= DEADLINE_S + 10.0


def test_a_request_whose_worker_died_is_in_doubt_once_its_lease_is_over(desk: Desk) -> None:
    desk.claim()
    desk.clock.now_s += LEASE_S
    assert desk.another_worker().claim().doubt


def test_a_not_found_is_not_confirmed_by_one_whose_record_was_taken_over(desk: Desk) -> None:
    slow = desk.claim()
    desk.clock.now_s += LEASE_S
    other = desk.another_worker()
    other.settle(other.claim(), CANCELLED)
    assert desk.settle(slow, NOT_FOUND) == UNCONFIRMED
    assert desk.open() == REPLAYED


# The store is down.


def test_a_request_goes_on_unsure_when_its_records_cannot_be_read(desk: Desk) -> None:
    desk.store.down = {"begin"}
    entry = desk.claim("k")
    assert (entry.claim, entry.doubt, entry.unsure) == (None, False, True)
    assert desk.settle(entry, UNCONFIRMED) == UNCONFIRMED


@pytest.mark.parametrize("key", [None, "k"])
def test_what_was_done_blind_is_in_doubt_for_this_worker(desk: Desk, key: str | None) -> None:
    desk.store.down = {"begin"}
    desk.settle(desk.claim(key), CANCELLED)
    desk.store.down = set()
    assert desk.claim(key).doubt


def test_a_not_found_is_not_confirmed_beside_one_who_went_on_blind(desk: Desk) -> None:
    entry = desk.claim()
    desk.store.down = {"begin"}
    assert desk.claim().unsure
    desk.store.down = set()
    assert desk.settle(entry, NOT_FOUND) == UNCONFIRMED
    assert desk.another_worker().claim().doubt


@pytest.mark.parametrize(
    "outcome", [CANCELLED, NOT_FOUND, UNCONFIRMED], ids=["cancelled", "not found", "unconfirmed"]
)
def test_an_outcome_that_cannot_be_written_down_is_said_all_the_same_and_leaves_doubt(
    desk: Desk, outcome: CancelOutcome
) -> None:
    entry = desk.claim()
    desk.store.down = {"settle"}
    said = desk.settle(entry, outcome)
    assert said == replace(outcome, confirmed=outcome == CANCELLED)
    desk.store.down = set()
    desk.clock.now_s += LEASE_S
    assert desk.claim().doubt


def test_giving_up_while_the_store_is_down_leaves_doubt(desk: Desk) -> None:
    entry = desk.claim("k")
    desk.store.down = {"settle"}
    desk.records.give_up(entry, doubt=True)
    desk.store.down = set()
    desk.clock.now_s += LEASE_S
    assert desk.claim("k").doubt


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "{}",
        "[]",
        "null",
        "[" * 30_000,
        '{"outcome": "other", "confirmed": true}',
        '{"outcome": "not_found", "confirmed": true, "missing": "other"}',
        '{"outcome": [], "confirmed": true}',
    ],
    ids=lambda payload: payload[:40],
)
def test_a_finished_record_that_cannot_be_read_is_a_doubt(desk: Desk, payload: str) -> None:
    claim = desk.claim().claim
    assert claim is not None
    desk.store.settle(claim, [Finished(payload)], keep_s=100)
    assert desk.claim() == Entry(None, doubt=True, unsure=True)


@pytest.mark.parametrize("key", [None, "k"], ids=["without a key", "with a key"])
def test_a_record_that_is_there_and_cannot_be_read_is_a_doubt(desk: Desk, key: str | None) -> None:
    desk.store.down, desk.store.failure = {"begin"}, RecordHidden("down")
    assert desk.claim(key) == Entry(None, doubt=True, unsure=True)


def test_what_was_begun_beside_a_hidden_record_is_in_doubt_for_this_worker(desk: Desk) -> None:
    desk.store.down, desk.store.failure = {"begin"}, RecordHidden("down")
    desk.claim()
    desk.store.down = set()
    assert desk.claim().doubt


def test_who_was_seen_at_work_is_at_work_while_the_store_is_down(desk: Desk) -> None:
    desk.claim()

    def fail() -> None:
        desk.store.down = {"begin"}

    desk.clock.meanwhile = fail
    with pytest.raises(RequestInProgress):
        desk.open()
    assert sum(desk.clock.pauses) <= 3.0


def test_the_outcome_of_who_was_seen_at_work_is_heard_once_the_store_is_back(desk: Desk) -> None:
    entry = desk.claim()

    def fail_for_a_moment() -> None:
        desk.store.down = {"begin"} if len(desk.clock.pauses) < 3 else set()
        if len(desk.clock.pauses) == 2:
            desk.settle(entry, CANCELLED)

    desk.clock.meanwhile = fail_for_a_moment
    assert desk.open() == REPLAYED


def test_an_outage_is_logged_without_naming_anybody(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "facade.records"):
        desk.store.down = {"begin", "settle"}
        desk.settle(desk.claim("k"), NOT_FOUND)
    assert [record.getMessage() for record in caplog.records] == [
        "event=store_unavailable step=begin reason='down'",
    ]


def without_the_store(desk: Desk, *names: str, caller: Caller = CALLER) -> None:
    """Begin requests, by the names of their appointments, while the store is down."""
    desk.store.down = {"begin"}
    for name in names:
        desk.claim(caller=caller, request=named(name))
    desk.store.down = set()


def named(appointment_id: str) -> CancelRequest:
    return REQUEST.model_copy(update={"appointment_id": appointment_id})


def test_what_was_begun_without_the_store_is_remembered_for_as_long_as_a_record_lives(
    desk: Desk,
) -> None:
    desk.records._unrecorded = MemoryStore(desk.clock.now)
    without_the_store(desk, "one")
    stranger = replace(CALLER, object_id="other")
    desk.clock.now_s += DAY_S - 1
    assert desk.claim(request=named("one")).doubt
    assert not desk.claim(request=named("two")).doubt
    assert not desk.claim(caller=stranger, request=named("one")).doubt
    desk.clock.now_s += 2
    without_the_store(desk, "three")
    assert not desk.records._unrecorded.forgot(desk.store.callers[0])
    assert desk.records._unrecorded._size == 1


def test_a_second_request_without_the_store_is_in_doubt(desk: Desk) -> None:
    without_the_store(desk, "one")
    desk.store.down = {"begin"}
    for _ in range(2):
        entry = desk.claim("k", request=named("one"))
        assert (entry.claim, entry.doubt, entry.unsure) == (None, True, True)


def test_who_was_forgotten_is_unsure_and_not_in_doubt(desk: Desk) -> None:
    desk.records._unrecorded = MemoryStore(desk.clock.now, capacity=1)
    without_the_store(desk, "one", "two")
    entry = desk.claim()
    assert (entry.doubt, entry.unsure) == (False, True)
    stranger = desk.claim(caller=replace(CALLER, object_id="other"))
    assert (stranger.doubt, stranger.unsure) == (False, False)


# Spellings.


@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"appointment_id": "AAMk/A+="}, {"appointment_id": "AAMk-A_="}),
        ({"appointment_id": "AAMk/A+="}, {"appointment_id": "AAMk/A_="}),
        ({}, {"business_id": "CONTOSO@CONTOSO.EXAMPLE"}),
    ],
)
def test_two_spellings_are_one_request(
    desk: Desk, one: dict[str, str], other: dict[str, str], key: str | None
) -> None:
    desk.settle(desk.claim(key, request=REQUEST.model_copy(update=one)), CANCELLED)
    assert desk.open(key, request=REQUEST.model_copy(update=other)) == REPLAYED


def test_only_letters_of_ascii_are_folded(desk: Desk) -> None:
    kelvin = REQUEST.model_copy(update={"business_id": "\N{KELVIN SIGN}@contoso.example"})
    desk.settle(desk.claim(request=kelvin), CANCELLED)
    plain = REQUEST.model_copy(update={"business_id": "k@contoso.example"})
    assert not desk.claim(request=plain).doubt


def test_a_record_belongs_to_a_caller_whatever_it_is_about(desk: Desk) -> None:
    desk.claim("k")
    desk.claim(request=REQUEST.model_copy(update={"appointment_id": "other"}))
    desk.claim(caller=replace(CALLER, object_id="other"))
    first, second, third = desk.store.callers
    assert first == second != third
    assert len(first) == 64


# What is missing.


def test_what_was_missing_is_heard_again(desk: Desk) -> None:
    outcome = replace(NOT_FOUND, missing=Missing.APPOINTMENT)
    desk.settle(desk.claim("k"), outcome)
    assert desk.open("k") == replace(outcome, replayed=True)


@pytest.mark.parametrize("confirmed", [True, False])
@pytest.mark.parametrize("doubt", [True, False])
def test_a_missing_business_is_not_kept_and_leaves_only_a_doubt_that_was(
    desk: Desk, confirmed: bool, doubt: bool
) -> None:
    outcome = CancelOutcome(Outcome.NOT_FOUND, confirmed=confirmed, missing=Missing.BUSINESS)
    desk.settle(desk.claim("k"), outcome, doubt=doubt)
    assert desk.claim("k").doubt is doubt
