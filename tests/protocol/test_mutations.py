"""The check can fail: each way of making the protocol worse breaks a rule in some schedule."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

import cancel_appointment.cancellation as driver
import cancel_appointment.protocol.decisions as decisions
import cancel_appointment.protocol.doubt as doubt
import cancel_appointment.protocol.failures as failures
import cancel_appointment.records as records
import shared.graph.calls as calls
import shared.graph.endings as endings
import shared.records.rules as rules
from cancel_appointment.protocol.decisions import Go, Move, Step
from cancel_appointment.protocol.doubt import Known, Left
from cancel_appointment.protocol.outcome import CancelOutcome, Outcome
from cancel_appointment.records import Entry, Records
from shared.errors import FacadeError, Throttled
from shared.graph.endings import Body, Ending, Gone, GraphAnswer, NoAnswer, Seen, ending
from shared.records.memory_store import MemoryStore
from shared.records.rules import Finished, Record
from tests.protocol.alphabet import (
    ALL_CANCELS,
    ALL_LOOKS,
    CANCELS,
    FEW_CANCELS,
    FEW_LOOKS,
    LOOKS,
    Letter,
)
from tests.protocol.setting import Interference, Setting
from tests.protocol.simulation import every_schedule
from tests.protocol.world import Violation, World

type Patch = pytest.MonkeyPatch
type Mutate = Callable[[Patch], None]
type Letters = tuple[tuple[Letter, ...], tuple[Letter, ...]]


def _pick(every: tuple[Letter, ...], *names: str) -> tuple[Letter, ...]:
    return tuple(letter for letter in every if str(letter) in names)


# A repeat whose look sees it standing, and then the cancel of the first lands.
HANDED_ON: Letters = (
    _pick(
        ALL_CANCELS,
        "reset, effect late, between the next look and the next cancel",
        "403 ErrorAccessDenied",
        "429, Retry-After 60",
    ),
    _pick(ALL_LOOKS, "true", "403 ErrorAccessDenied"),
)
# A repeat whose cancel arrives with a token that has ended, and Entra gives no other.
SIGNED_OUT: Letters = (
    _pick(
        ALL_CANCELS,
        "reset, effect late, between the next look and the next cancel",
        "401, and no other token",
    ),
    HANDED_ON[1],
)
RENEWED: Letters = (
    _pick(ALL_CANCELS, "401 InvalidAuthenticationToken", "404 ErrorNonExistentMailbox"),
    _pick(ALL_LOOKS, "true"),
)
# Every try of a repeat is used up, and the store has forgotten that the first one landed.
FORGOTTEN: Letters = (
    _pick(ALL_CANCELS, "reset, effect late, after the run", "not sent"),
    _pick(ALL_LOOKS, "403 ErrorAccessDenied"),
)
SEVERAL: Letters = (
    _pick(ALL_CANCELS, "reset, effect late, after the run", "404 ResourceNotFound"),
    _pick(ALL_LOOKS, "true"),
)
FEW: Letters = (FEW_CANCELS, FEW_LOOKS)
MANY: Letters = (CANCELS, LOOKS)
ALL: Letters = (ALL_CANCELS, ALL_LOOKS)

# Reading an answer.


def _read_as(patch: Patch, wrong: Callable[[GraphAnswer], bool], how: Ending) -> None:
    def read(seen: Seen, *, success: int) -> Ending:
        mistaken = isinstance(seen, GraphAnswer) and wrong(seen)
        return how if mistaken else ending(seen, success=success)

    for module in (decisions, calls, driver):
        patch.setattr(module, "ending", read)


def take_no_answer_for_not_sent(patch: Patch) -> None:
    def confused(seen: Seen, *, success: int) -> Ending:
        return Ending.NOT_SENT if isinstance(seen, NoAnswer) else ending(seen, success=success)

    for module in (decisions, calls, driver):
        patch.setattr(module, "ending", confused)


def take_every_4xx_for_final(patch: Patch) -> None:
    _read_as(patch, lambda seen: seen.status in (408, 409, 412, 423), Ending.ANSWERED)


def take_another_form_for_graphs_own(patch: Patch) -> None:
    _read_as(patch, lambda seen: (seen.status, seen.body) == (403, Body.JSON), Ending.ANSWERED)


def take_a_malformed_id_for_final_with_whatever_status(patch: Patch) -> None:
    _read_as(patch, lambda seen: seen.codes == ("ErrorInvalidIdMalformed",), Ending.ANSWERED)


def take_a_mail_limit_for_a_missing_right(patch: Patch) -> None:
    _read_as(patch, lambda seen: seen.codes == ("ErrorExceededMessageLimit",), Ending.ANSWERED)


def take_a_throttled_answer_for_silence(patch: Patch) -> None:
    _read_as(patch, lambda seen: seen.status == 503, Ending.REFUSED)


def _gone_as(patch: Patch, change: Callable[[GraphAnswer, Gone], Gone]) -> None:
    right = endings.what_is_gone

    def what_is_gone(answer: GraphAnswer) -> Gone | None:
        gone = right(answer)
        return gone if gone is None else change(answer, gone)

    for module in (endings, decisions, doubt, failures):
        patch.setattr(module, "what_is_gone", what_is_gone)


def take_every_404_for_the_items(patch: Patch) -> None:
    _gone_as(patch, lambda answer, gone: Gone.ITEM)


def take_a_missing_business_for_the_item(patch: Patch) -> None:
    _gone_as(patch, lambda answer, gone: Gone.ITEM if gone is Gone.BUSINESS else gone)


def take_an_empty_404_for_graphs_own(patch: Patch) -> None:
    right = decisions._gone
    patch.setattr(
        decisions,
        "_gone",
        lambda seen, *others, **named: right(replace(seen, body=Body.FITTING), *others, **named),
    )


# Looking.


def drop_the_look(patch: Patch) -> None:
    right = decisions.after_cancel

    def after_cancel(seen: Seen, known: Known) -> Move:
        move = right(seen, known)
        return replace(move, step=Step.CANCEL, pause=True) if isinstance(move, Go) else move

    patch.setattr(driver, "after_cancel", after_cancel)


def believe_a_look_at_another_appointment(patch: Patch) -> None:
    patch.setattr(decisions, "_is_of", lambda seen, appointment_id: True)


def _conclude(patch: Patch, change: Callable[[Known], Known]) -> None:
    right = decisions._gone

    def gone(seen: GraphAnswer, what: Gone, known: Known, *, confirmed: bool) -> CancelOutcome:
        return right(seen, what, change(known), confirmed=confirmed)

    patch.setattr(decisions, "_gone", gone)


def conclude_from_a_second_404(patch: Patch) -> None:
    _conclude(patch, lambda known: replace(known, stood=known.stood or known.doubt))


def confirm_a_404_after_doubt(patch: Patch) -> None:
    right = decisions._gone

    def gone(seen: GraphAnswer, what: Gone, known: Known, *, confirmed: bool) -> CancelOutcome:
        return right(seen, what, known, confirmed=True)

    patch.setattr(decisions, "_gone", gone)


def believe_that_a_business_is_missing_which_was_there(patch: Patch) -> None:
    def forgetful(right: Callable[..., Move]) -> Callable[..., Move]:
        def decide(seen: Seen, known: Known, *others: str) -> Move:
            move = right(seen, known, *others)
            missing = isinstance(seen, GraphAnswer) and (
                endings.what_is_gone(seen) is Gone.BUSINESS
            )
            if missing and known.stood and isinstance(seen, GraphAnswer):
                return decisions._gone(seen, Gone.BUSINESS, known, confirmed=False)
            return move

        return decide

    patch.setattr(driver, "after_cancel", forgetful(decisions.after_cancel))
    patch.setattr(driver, "after_look", forgetful(decisions.after_look))


# What unanswered cancels leave behind.


def _settle_with_a_look(patch: Patch, over: Left) -> None:
    def in_doubt(known: Known) -> bool:
        return known.left > (Left.SETTLED if known.looked else Left.NOTHING) and not (
            known.looked and known.left is over
        )

    _doubt_as(patch, in_doubt)


def think_that_a_500_has_no_late_effect(patch: Patch) -> None:
    _settle_with_a_look(patch, Left.BROKEN)


def think_that_a_look_ends_what_is_under_way(patch: Patch) -> None:
    _settle_with_a_look(patch, Left.UNDER_WAY)


def think_that_a_503_is_over(patch: Patch) -> None:
    right = doubt.left_by
    patch.setattr(decisions, "left_by", lambda seen: min(Left.SETTLED, right(seen)))


def need_no_look_after_a_conflict(patch: Patch) -> None:
    _doubt_as(patch, lambda known: known.left > Left.SETTLED)


def _doubt_as(patch: Patch, in_doubt: Callable[[Known], bool]) -> None:
    patch.setattr(Known, "in_doubt", property(in_doubt))


def let_the_last_cancel_count(patch: Patch) -> None:
    def in_doubt(seen: Seen, known: Known) -> Go:
        left = doubt.left_by(seen)
        return Go(Step.LOOK, replace(known, left=left, looked=False, sent=True), pause=False)

    patch.setattr(decisions, "_in_doubt", in_doubt)


def say_a_refusal_as_it_is(patch: Patch) -> None:
    for module in (decisions, driver):
        patch.setattr(module, "what_can_be_said", lambda error, known: error)


def think_that_a_cancel_answered_with_401_was_not_sent(patch: Patch) -> None:
    right = driver._after
    patch.setattr(
        driver,
        "_after",
        lambda before, step, calls: replace(right(before, step, calls), sent=before.sent),
    )


def say_nothing_was_changed_whatever_was_forgotten(patch: Patch) -> None:
    right = failures.give_up

    def give_up(seen: Seen, known: Known, retry_after_s: float) -> FacadeError:
        return right(seen, replace(known, unsure=False), retry_after_s)

    patch.setattr(driver, "give_up", give_up)


def say_what_passes_as_it_is(patch: Patch) -> None:
    right = failures.give_up

    def give_up(seen: Seen, known: Known, retry_after_s: float) -> FacadeError:
        return right(seen, replace(known, carried=False), retry_after_s)

    patch.setattr(driver, "give_up", give_up)


def say_as_it_is_what_followed_a_cancel_of_a_repeat(patch: Patch) -> None:
    right = failures.what_can_be_said
    patch.setattr(
        decisions,
        "what_can_be_said",
        lambda error, known: right(error, replace(known, sent=False)),
    )


def let_a_429_decide_before_the_table(patch: Patch) -> None:
    right = failures.give_up

    def give_up(seen: Seen, known: Known, retry_after_s: float) -> FacadeError:
        if isinstance(seen, GraphAnswer) and seen.status == 429:
            return Throttled("Nothing was changed.", retry_after_s=retry_after_s)
        return right(seen, known, retry_after_s)

    patch.setattr(driver, "give_up", give_up)


# Doubt, kept in the record.


def _change_entry(patch: Patch, **changes: Any) -> None:
    right = Records.open

    def open_(self: Records, *args: Any) -> Entry | CancelOutcome:
        entry = right(self, *args)
        return replace(entry, **changes) if isinstance(entry, Entry) else entry

    patch.setattr(Records, "open", open_)


def drop_the_first_look_at_an_abandoned_record(patch: Patch) -> None:
    _change_entry(patch, doubt=False)


def forget_the_doubt_at_release(patch: Patch) -> None:
    right = Records.give_up
    patch.setattr(Records, "give_up", lambda self, entry, *, doubt: right(self, entry, doubt=False))


def let_a_look_end_a_carried_doubt(patch: Patch) -> None:
    right = decisions.after_look

    def after_look(seen: Seen, known: Known, appointment_id: str) -> Move:
        move = right(seen, known, appointment_id)
        if isinstance(move, Go) and move.known.looked:
            return replace(move, known=replace(move.known, carried=False))
        return move

    patch.setattr(driver, "after_look", after_look)


def forget_the_doubt_with_a_missing_business(patch: Patch) -> None:
    right = Records.settle
    patch.setattr(
        Records,
        "settle",
        lambda self, entry, outcome, *, doubt: right(self, entry, outcome, doubt=False),
    )


def take_a_not_found_for_the_end_of_the_doubt(patch: Patch) -> None:
    right = Records._settle

    def settle(self: Records, claim: Any, nature: Any, key: Any) -> bool:
        kept = isinstance(nature, rules.Doubt) and isinstance(key, Finished)
        return right(self, claim, rules.Removed() if kept else nature, key)

    patch.setattr(Records, "_settle", settle)


# Records.


def keep_not_found_by_nature(patch: Patch) -> None:
    right = Records._settle

    def settle(self: Records, claim: Any, nature: Any, key: Any) -> bool:
        return right(self, claim, key, key)

    patch.setattr(Records, "_settle", settle)


def keep_a_missing_business(patch: Patch) -> None:
    right = Records.settle

    def settle(
        self: Records, entry: Entry, outcome: CancelOutcome, *, doubt: bool
    ) -> CancelOutcome:
        if outcome.missing is None or entry.claim is None:
            return right(self, entry, outcome, doubt=doubt)
        self._settle(entry.claim, rules.Doubt(), records._written(outcome))
        return outcome

    patch.setattr(Records, "settle", settle)


def confirm_a_cancelled_that_was_concluded_and_keep_another(patch: Patch) -> None:
    patch.setattr(
        records,
        "_read",
        lambda replay: CancelOutcome(Outcome.CANCELLED, confirmed=True, replayed=True),
    )


def answer_a_finished_request_afresh(patch: Patch) -> None:
    right = records._read
    patch.setattr(records, "_read", lambda replay: replace(right(replay), replayed=False))


def confirm_what_comes_after_a_record_was_taken_over(patch: Patch) -> None:
    right = Records._settle

    def settle(self: Records, claim: Any, nature: Any, key: Any) -> bool:
        right(self, claim, nature, key)
        return True

    patch.setattr(Records, "_settle", settle)
    _stay_sure_after_the_deadline(patch)


def _stay_sure_after_the_deadline(patch: Patch) -> None:
    right = driver.Cancellation._send

    def send(self: Any, step: Step, attempt: Any) -> Seen:
        unsure = attempt.known.unsure
        seen = right(self, step, attempt)
        attempt.known = replace(attempt.known, unsure=unsure)
        return seen

    patch.setattr(driver.Cancellation, "_send", send)


def let_a_run_overwrite_the_one_that_took_over(patch: Patch) -> None:
    patch.setattr(
        rules,
        "settle",
        lambda claim, found, aims: {
            one.key: aim for one, aim in zip(claim.wanted, aims, strict=True)
        },
    )


def let_two_run_at_once(patch: Patch) -> None:
    patch.setattr(Record, "is_worked_on", lambda self, now: False)


def take_store_down_for_a_new_request(patch: Patch) -> None:
    _change_entry(patch, unsure=False)


def take_a_hidden_record_for_a_store_that_is_down(patch: Patch) -> None:
    patch.setattr(records, "RecordHidden", Mutation)


def forget_what_was_done_without_the_store(patch: Patch) -> None:
    patch.setattr(Records, "_remember", lambda self, caller, wanted: False)


def ask_what_was_done_without_the_store_at_the_beginning_alone(patch: Patch) -> None:
    right = Records.settle

    def settle(
        self: Records, entry: Entry, outcome: CancelOutcome, *, doubt: bool
    ) -> CancelOutcome:
        with pytest.MonkeyPatch.context() as during:
            during.setattr(MemoryStore, "keeps", lambda self, caller, key: False)
            return right(self, entry, outcome, doubt=doubt)

    patch.setattr(Records, "settle", settle)


# Time.


def go_on_after_the_deadline(patch: Patch) -> None:
    for module in (driver, calls):
        patch.setattr(module, "SHORTEST_CALL_S", -1_000.0)


@dataclass(frozen=True, slots=True)
class Mutation:
    mutate: Mutate
    breaks: str
    interference: Interference = Interference.NOTHING
    letters: Letters = FEW
    exists: bool = True
    keyed: bool = False
    exchanges: int = 3

    def __str__(self) -> str:
        exists = "" if self.exists else ", no appointment"
        return f"{self.mutate.__name__}, {self.interference.value}{exists}"


CONFIRMED = "not_found, confirmed was said of what this caller's own request cancelled"
UNTRUE = "cancelled was said of what still stands"
INVENTED = "cancelled was said of what never existed"
AS_IF = r"as if nothing had been sent'"
AS_IF_BEFORE = "as if nothing had been sent before"
UNSEEN = "nobody had looked since"
BESIDE = "beside a hidden record was not the look"
FIRST_LOOK = "on an abandoned record was not the look"
ANOTHER_ANSWER = "something else than its first answer"
ONLY_CALL = "confirmed by more than the only call"
LATE = "a call was sent that may last beyond the deadline"
DEATH, DUPLICATE = Interference.DEATH, Interference.DUPLICATE
DOWN, FULL = Interference.STORE_DOWN, Interference.STORE_FULL
HIDES = Interference.STORE_HIDES

MUTATIONS = [
    Mutation(take_no_answer_for_not_sent, UNSEEN),
    Mutation(take_every_4xx_for_final, CONFIRMED, letters=ALL, exchanges=2),
    Mutation(take_another_form_for_graphs_own, CONFIRMED, letters=ALL, exchanges=2),
    Mutation(
        take_a_malformed_id_for_final_with_whatever_status, CONFIRMED, letters=ALL, exchanges=2
    ),
    Mutation(take_a_mail_limit_for_a_missing_right, CONFIRMED, letters=ALL, exchanges=2),
    Mutation(take_a_throttled_answer_for_silence, UNSEEN, letters=ALL, exchanges=2),
    Mutation(take_every_404_for_the_items, CONFIRMED),
    Mutation(take_a_missing_business_for_the_item, UNTRUE),
    Mutation(take_an_empty_404_for_graphs_own, UNTRUE),
    Mutation(drop_the_look, UNSEEN),
    Mutation(believe_a_look_at_another_appointment, INVENTED, letters=ALL, exists=False),
    Mutation(conclude_from_a_second_404, INVENTED, exists=False),
    Mutation(conclude_from_a_second_404, UNTRUE),
    Mutation(confirm_a_404_after_doubt, CONFIRMED),
    Mutation(believe_that_a_business_is_missing_which_was_there, UNTRUE),
    Mutation(think_that_a_500_has_no_late_effect, CONFIRMED, letters=MANY),
    Mutation(think_that_a_look_ends_what_is_under_way, CONFIRMED),
    Mutation(think_that_a_503_is_over, CONFIRMED),
    Mutation(need_no_look_after_a_conflict, UNSEEN),
    Mutation(let_the_last_cancel_count, CONFIRMED, letters=SEVERAL, exchanges=6),
    Mutation(say_a_refusal_as_it_is, AS_IF),
    Mutation(say_what_passes_as_it_is, AS_IF_BEFORE, letters=MANY),
    Mutation(
        say_as_it_is_what_followed_a_cancel_of_a_repeat,
        AS_IF_BEFORE,
        letters=HANDED_ON,
        exchanges=4,
    ),
    Mutation(
        think_that_a_cancel_answered_with_401_was_not_sent,
        AS_IF_BEFORE,
        letters=SIGNED_OUT,
        exchanges=4,
    ),
    Mutation(think_that_a_cancel_answered_with_401_was_not_sent, ONLY_CALL, letters=RENEWED),
    Mutation(
        say_nothing_was_changed_whatever_was_forgotten,
        "where nobody could know",
        FULL,
        letters=FORGOTTEN,
        exchanges=10,
    ),
    Mutation(let_a_429_decide_before_the_table, AS_IF, letters=MANY),
    Mutation(drop_the_first_look_at_an_abandoned_record, CONFIRMED, DEATH),
    Mutation(drop_the_first_look_at_an_abandoned_record, FIRST_LOOK, DEATH, exists=False),
    Mutation(forget_the_doubt_at_release, UNSEEN),
    Mutation(let_a_look_end_a_carried_doubt, CONFIRMED, letters=HANDED_ON, exchanges=4),
    Mutation(forget_the_doubt_with_a_missing_business, CONFIRMED),
    Mutation(take_a_not_found_for_the_end_of_the_doubt, CONFIRMED),
    Mutation(keep_not_found_by_nature, "not_found was replayed by nature"),
    Mutation(keep_a_missing_business, "a missing business was kept", keyed=True),
    Mutation(confirm_a_cancelled_that_was_concluded_and_keep_another, ANOTHER_ANSWER),
    Mutation(answer_a_finished_request_afresh, ANOTHER_ANSWER, keyed=True),
    Mutation(confirm_what_comes_after_a_record_was_taken_over, CONFIRMED, DUPLICATE),
    Mutation(let_a_run_overwrite_the_one_that_took_over, "a finished record was lost", DUPLICATE),
    Mutation(let_two_run_at_once, "two requests were carried out at once", DUPLICATE),
    Mutation(take_store_down_for_a_new_request, "the store could not be read", DOWN),
    Mutation(take_store_down_for_a_new_request, CONFIRMED, FULL),
    Mutation(take_a_hidden_record_for_a_store_that_is_down, BESIDE, HIDES),
    Mutation(take_a_hidden_record_for_a_store_that_is_down, AS_IF_BEFORE, HIDES),
    Mutation(take_a_hidden_record_for_a_store_that_is_down, BESIDE, DUPLICATE),
    Mutation(forget_what_was_done_without_the_store, CONFIRMED, DOWN),
    Mutation(forget_what_was_done_without_the_store, CONFIRMED, DUPLICATE),
    Mutation(ask_what_was_done_without_the_store_at_the_beginning_alone, CONFIRMED, DUPLICATE),
    Mutation(go_on_after_the_deadline, LATE, letters=MANY),
    Mutation(go_on_after_the_deadline, LATE, DUPLICATE),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_a_worse_protocol_breaks_a_rule(mutation: Mutation, monkeypatch: Patch) -> None:
    mutation.mutate(monkeypatch)
    monkeypatch.setattr(World, "watches_looks", mutation.breaks in (UNSEEN, BESIDE))
    setting = Setting(
        mutation.exists,
        mutation.keyed,
        mutation.interference,
        *mutation.letters,
        mutation.exchanges,
    )
    with pytest.raises(Violation, match=mutation.breaks):
        for _ in every_schedule(setting):
            pass
