"""The check can fail: each way of making the protocol worse breaks a rule in some schedule."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

import cancel_appointment.cancellation as protocol
import cancel_appointment.records as records
import shared.records.rules as idempotency
from cancel_appointment.cancellation import Finish, Go, Known, Move, Step
from cancel_appointment.outcome import CancelOutcome, Outcome
from cancel_appointment.records import Entry, Records
from shared.graph.endings import Ending, NoAnswer, Seen, ending
from shared.identity.caller import Caller
from shared.records.rules import Record, Settling
from tests.protocol.alphabet import CANCELS, FEW_CANCELS, FEW_LOOKS, LOOKS
from tests.protocol.setting import Interference, Setting
from tests.protocol.simulation import every_schedule
from tests.protocol.world import Violation

type Mutate = Callable[[pytest.MonkeyPatch], None]


def drop_the_look(patch: pytest.MonkeyPatch) -> None:
    right = protocol.after_cancel

    def after_cancel(seen: Seen, known: Known) -> Move:
        move = right(seen, known)
        return replace(move, step=Step.CANCEL, pause=True) if isinstance(move, Go) else move

    patch.setattr(protocol, "after_cancel", after_cancel)


def drop_the_first_look_at_an_abandoned_record(patch: pytest.MonkeyPatch) -> None:
    _change_entry(patch, lambda entry: replace(entry, doubt=False))


def trust_a_second_404_as_cancelled(patch: pytest.MonkeyPatch) -> None:
    right = protocol._gone

    def gone(known: Known, *, confirmed: bool) -> Finish:
        return right(replace(known, stood=known.stood or known.unsettled), confirmed=confirmed)

    patch.setattr(protocol, "_gone", gone)


def trust_a_404_after_doubt_as_confirmed(patch: pytest.MonkeyPatch) -> None:
    right = protocol._gone
    patch.setattr(protocol, "_gone", lambda known, *, confirmed: right(known, confirmed=True))


def confirm_a_cancelled_that_was_concluded_and_keep_another(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        records,
        "_read",
        lambda replay: CancelOutcome(Outcome.CANCELLED, confirmed=True, replayed=True),
    )


def keep_not_found_by_nature(patch: pytest.MonkeyPatch) -> None:
    def settle(self: Records, entry: Entry, outcome: CancelOutcome) -> CancelOutcome:
        self._complete(entry.by_nature, outcome)
        self._complete(entry.by_key, outcome)
        return outcome

    patch.setattr(Records, "settle", settle)


def answer_a_finished_request_afresh(patch: pytest.MonkeyPatch) -> None:
    right = records._read
    patch.setattr(records, "_read", lambda replay: replace(right(replay), replayed=False))


def take_no_answer_for_not_sent(patch: pytest.MonkeyPatch) -> None:
    def confused(seen: Seen, *, success: int) -> Ending:
        return Ending.NOT_SENT if isinstance(seen, NoAnswer) else ending(seen, success=success)

    patch.setattr(protocol, "ending", confused)


def forget_the_doubt_at_release(patch: pytest.MonkeyPatch) -> None:
    right = Records.give_up
    patch.setattr(Records, "give_up", lambda self, entry, *, doubt: right(self, entry, doubt=False))


def forget_that_a_cancel_may_still_be_under_way(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(protocol, "may_still_happen", lambda seen: False)


def take_store_down_for_a_new_request(patch: pytest.MonkeyPatch) -> None:
    _change_entry(patch, lambda entry: replace(entry, blind=False))


def forget_what_was_done_without_the_store(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(records._Unrecorded, "add", lambda self, nature: None)


def forget_the_doubt_of_a_key(patch: pytest.MonkeyPatch) -> None:
    def give_up(self: Records, entry: Entry, *, doubt: bool) -> None:
        self._release(entry.by_nature, doubt=doubt)
        self._release(entry.by_key, doubt=False)

    patch.setattr(Records, "give_up", give_up)


def go_on_after_the_deadline(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(protocol, "_SHORTEST_CALL_S", -1_000.0)


def send_without_looking_at_the_clock(patch: pytest.MonkeyPatch) -> None:
    right = protocol.Cancellation._send

    def send(
        self: protocol.Cancellation[Caller], step: Step, attempt: protocol._Attempt[Caller]
    ) -> Seen:
        seen = right(self, step, attempt)
        if seen != NoAnswer(sent=False, cause="DeadlineOver") or attempt.token is None:
            return seen
        call = self._appointments.cancel if step is Step.CANCEL else self._appointments.look
        return call(
            attempt.request, attempt.token, request_id="", timeout_s=protocol._SHORTEST_CALL_S
        )

    patch.setattr(protocol.Cancellation, "_send", send)


def let_a_run_overwrite_the_one_that_took_over(patch: pytest.MonkeyPatch) -> None:
    right = idempotency.settle

    def settle(record: Record | None, owner: str, wanted: Record | None) -> Settling:
        return Settling.OPEN if record is not None else right(record, owner, wanted)

    patch.setattr(idempotency, "settle", settle)


def let_two_run_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Record, "is_worked_on", lambda self, now: False)


def _change_entry(patch: pytest.MonkeyPatch, change: Callable[[Entry], Entry]) -> None:
    right = Records.open

    def open_(self: Records, *args: object) -> Entry | CancelOutcome:
        entry = right(self, *args)  # type: ignore[arg-type]
        return change(entry) if isinstance(entry, Entry) else entry

    patch.setattr(Records, "open", open_)


@dataclass(frozen=True, slots=True)
class Mutation:
    mutate: Mutate
    breaks: str
    interference: Interference = Interference.NOTHING
    exists: bool = True
    keyed: bool = False
    exchanges: int = 3


MUTATIONS = [
    Mutation(drop_the_look, "nobody had looked since"),
    Mutation(
        drop_the_first_look_at_an_abandoned_record,
        "what this caller's own request cancelled",
        Interference.DEATH,
    ),
    Mutation(
        drop_the_first_look_at_an_abandoned_record,
        "on an abandoned record was not the look",
        Interference.DEATH,
        exists=False,
        exchanges=1,
    ),
    Mutation(
        trust_a_second_404_as_cancelled, "cancelled was said of what never existed", exists=False
    ),
    Mutation(trust_a_second_404_as_cancelled, "cancelled was said of what still stands"),
    Mutation(
        trust_a_404_after_doubt_as_confirmed,
        "not_found, confirmed was said of what this caller's own request cancelled",
    ),
    Mutation(
        confirm_a_cancelled_that_was_concluded_and_keep_another,
        "something else than its first answer",
    ),
    Mutation(keep_not_found_by_nature, "not_found was replayed by nature"),
    Mutation(answer_a_finished_request_afresh, "something else than its first answer", keyed=True),
    Mutation(take_no_answer_for_not_sent, "nobody had looked since"),
    Mutation(forget_the_doubt_at_release, "nobody had looked since"),
    Mutation(
        forget_that_a_cancel_may_still_be_under_way,
        "not_found, confirmed was said of what this caller's own request cancelled",
    ),
    Mutation(
        take_store_down_for_a_new_request,
        "a 404 was confirmed although the store could not be read",
        Interference.STORE_DOWN,
    ),
    Mutation(
        forget_what_was_done_without_the_store,
        "what this caller's own request cancelled",
        Interference.STORE_DOWN,
    ),
    Mutation(
        forget_what_was_done_without_the_store,
        "what this caller's own request cancelled",
        Interference.DUPLICATE,
    ),
    Mutation(
        forget_the_doubt_of_a_key,
        "nobody had looked since one before went unanswered",
        Interference.STORE_DOWN,
        keyed=True,
    ),
    Mutation(go_on_after_the_deadline, "a call was sent that may last beyond the deadline"),
    Mutation(
        send_without_looking_at_the_clock,
        "a call was sent that may last beyond the deadline",
        Interference.DUPLICATE,
    ),
    Mutation(
        let_a_run_overwrite_the_one_that_took_over,
        "a finished record was lost",
        Interference.DUPLICATE,
    ),
    Mutation(let_two_run_at_once, "two requests were carried out at once", Interference.DUPLICATE),
]


@pytest.mark.parametrize(
    "mutation",
    MUTATIONS,
    ids=lambda mutation: (
        f"{mutation.mutate.__name__}, {mutation.interference.value}, {mutation.exists}"
    ),
)
def test_a_worse_protocol_breaks_a_rule(
    mutation: Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutation.mutate(monkeypatch)
    letters = (
        (CANCELS, LOOKS)
        if mutation.interference is Interference.NOTHING
        else (FEW_CANCELS, FEW_LOOKS)
    )
    setting = Setting(
        mutation.exists, mutation.keyed, mutation.interference, *letters, mutation.exchanges
    )
    with pytest.raises(Violation, match=mutation.breaks):
        for _ in every_schedule(setting):
            pass
