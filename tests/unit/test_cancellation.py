"""How a cancel is carried out over a scripted Graph: calls, tokens, pauses, and what is left.

What each end of a call means is in ``test_protocol``; what holds over all schedules in
``tests/protocol``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from cancel_appointment.bookings import Appointments
from cancel_appointment.cancellation import Cancellation
from cancel_appointment.protocol.outcome import CancelOutcome, Missing, Outcome
from cancel_appointment.records import Records
from cancel_appointment.request import CancelRequest
from shared.entra.graph_token import GraphToken
from shared.errors import (
    ConsentRequired,
    FacadeError,
    InteractionRequired,
    OutcomeUnknown,
    RefusedByBookings,
    RequestInvalid,
    Throttled,
    TokenRejected,
    UpstreamBroken,
    UpstreamUnavailable,
)
from shared.graph.client import GraphRequest
from shared.graph.endings import Body, GraphAnswer, NoAnswer, Seen
from shared.identity.caller import Caller
from shared.records.memory_store import MemoryStore
from shared.records.rules import RecordHidden, StoreUnavailable
from shared.telemetry.journal import Journal
from shared.transport.deadline import Deadline
from shared.transport.waiting import Waiting

DONE = GraphAnswer(204)
GONE = GraphAnswer(404, codes=("ErrorItemNotFound",))
STANDS = GraphAnswer(200, resource={"id": "AAMk"})
RESET = NoAnswer(sent=True, cause="ProtocolError")
NOT_SENT = NoAnswer(sent=False, cause="NewConnectionError")
BROKEN = GraphAnswer(500, codes=("UnknownError",), request_id="r-500")
BUSY = GraphAnswer(429, codes=("TooManyRequests",), request_id="r-429")
GATEWAY = GraphAnswer(504, Body.PAGE)
DENIED = GraphAnswer(403, codes=("ErrorAccessDenied",))
MALFORMED = GraphAnswer(400, codes=("ErrorInvalidIdMalformed",))
STALE = GraphAnswer(401, codes=("InvalidAuthenticationToken",))

CANCELLED = CancelOutcome(Outcome.CANCELLED, confirmed=True)
CONCLUDED = CancelOutcome(Outcome.CANCELLED, confirmed=False)
NOT_FOUND = CancelOutcome(Outcome.NOT_FOUND, confirmed=True, missing=Missing.APPOINTMENT)
UNCONFIRMED = replace(NOT_FOUND, confirmed=False)

CALLER = Caller(
    "tenant", "user", "client", 2e9, can_answer_challenges=True, assertion="token", fingerprint=b""
)
REQUEST = CancelRequest(
    businessId="b@contoso.example", appointmentId="AAMk", cancellationMessage="Sorry."
)
DEADLINE_S = 10.0
FIRST_TOKEN, SECOND_TOKEN = (
    GraphToken("user", "tenant", "first"),
    GraphToken("user", "tenant", "second"),
)


@dataclass(frozen=True)
class Call:
    step: str
    at_s: float
    timeout_s: float
    token: GraphToken


@dataclass
class Scene:
    """Graph, Entra, time and chance, as a script: how each call ends, and how long it takes."""

    script: Sequence[Seen | BaseException]
    appointment_id: str = REQUEST.appointment_id
    takes_s: float | None = 0.0  # None: as long as the call may
    chance: float = 0.0
    oversleeps_s: float = 0.0
    calls: list[Call] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    claims: list[str | None] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    call_ids: list[str] = field(default_factory=list)
    fresh: list[bool] = field(default_factory=list)
    refused: list[GraphToken | None] = field(default_factory=list)
    entra: Callable[[], GraphToken] | None = None
    time_s: float = 0.0
    journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        self.ends = list(self.script)
        self.store = MemoryStore(self.now)
        self.cancellation = Cancellation(
            self,
            self,
            Appointments((), "Standard."),
            Records(self.store, self.sleep, deadline_s=DEADLINE_S),
            Waiting(self.now, self.sleep, self.random),
        )

    def run(self, *, key: str | None = None, within_s: float = DEADLINE_S) -> CancelOutcome:
        self.journal = Journal("request-1", self.now)
        return self.cancellation.run(
            CALLER,
            REQUEST.model_copy(update={"appointment_id": self.appointment_id}),
            key,
            Deadline(self.now() + within_s, self.now),
            self.journal,
        )

    @property
    def steps(self) -> list[str]:
        return [call.step for call in self.calls]

    def call(
        self,
        request: GraphRequest,
        token: GraphToken,
        *,
        call_id: str,
        timeout_s: float,
        fresh: bool,
    ) -> Seen:
        self.calls.append(Call(request.step, self.time_s, timeout_s, token))
        self.asked.append(request.segments[2])
        self.call_ids.append(call_id)
        self.fresh.append(fresh)
        self.time_s += timeout_s if self.takes_s is None else self.takes_s
        end = self.ends.pop(0)
        if isinstance(end, BaseException):
            raise end
        return end

    def exchange(
        self,
        caller: Caller,
        deadline: Deadline,
        *,
        refused: GraphToken | None = None,
        claims: str | None = None,
    ) -> GraphToken:
        self.claims.append(claims)
        self.refused.append(refused)
        if self.entra is not None:
            return self.entra()
        return FIRST_TOKEN if len(self.claims) == 1 else SECOND_TOKEN

    def now(self) -> float:
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time_s += seconds + self.oversleeps_s

    def random(self) -> float:
        return self.chance


def in_doubt(*ends: Seen) -> Scene:
    """A scene in which an earlier attempt went unanswered, and its look too."""
    scene = Scene([RESET, DENIED, *ends])
    with pytest.raises(OutcomeUnknown):
        scene.run()
    scene.calls.clear()
    scene.claims.clear()
    return scene


def test_the_common_case_is_one_call() -> None:
    scene = Scene([DONE])
    assert scene.run() == CANCELLED
    assert scene.calls == [Call("cancel", 0.0, 7.0, FIRST_TOKEN)]
    assert scene.pauses == []


@pytest.mark.parametrize(
    ("seen", "pause_s"), [(BROKEN, 0.5), (RESET, 1.0)], ids=["over", "perhaps still under way"]
)
def test_doubt_is_looked_at_at_once_and_the_cancel_follows_after_a_pause(
    seen: Seen, pause_s: float
) -> None:
    scene = Scene([seen, STANDS, DONE], chance=0.5)
    assert scene.run() == CANCELLED
    assert scene.steps == ["cancel", "look", "cancel"]
    assert [call.at_s for call in scene.calls] == [0.0, 0.0, pause_s]


RULE = GraphAnswer(400)
CONFLICTS = [
    GraphAnswer(409, codes=("ErrorIrresolvableConflict",)),
    GraphAnswer(412),
    GraphAnswer(423),
    GraphAnswer(403, codes=("ErrorExceededMessageLimit",)),
    GraphAnswer(404, codes=("ResourceNotFound",)),
]


@pytest.mark.parametrize("conflict", CONFLICTS, ids=str)
def test_what_is_in_the_way_for_a_moment_is_waited_for(conflict: GraphAnswer) -> None:
    scene = Scene([conflict, STANDS, DONE], chance=0.5)
    assert scene.run() == CANCELLED
    assert scene.pauses == [0.5]


@pytest.mark.parametrize("conflict", CONFLICTS, ids=str)
def test_what_stays_in_the_way_is_unavailable_and_leaves_no_doubt(conflict: GraphAnswer) -> None:
    scene = Scene([conflict, STANDS] * 3)
    with pytest.raises(UpstreamUnavailable) as caught:
        scene.run(key="k")
    assert caught.value.upstream is not None
    assert caught.value.upstream.status == conflict.status
    assert scene.store._size == 0


def test_a_look_and_what_follows_a_call_without_an_answer_take_a_fresh_connection() -> None:
    scene = Scene([BUSY, RESET, BROKEN, STANDS, DONE])
    assert scene.run() == CANCELLED
    assert scene.steps == ["cancel", "cancel", "look", "look", "cancel"]
    assert scene.fresh == [False, False, True, True, False]


def test_each_call_has_an_id_of_its_own_which_the_journal_knows() -> None:
    scene = Scene([STALE, RESET, STANDS, DONE])
    scene.run()
    assert len(set(scene.call_ids)) == 4
    assert [call_id for _, _, call_id in scene.journal.calls] == scene.call_ids


UNPARSED = GraphAnswer(400, codes=("RequestBroker--ParseUri",))


def test_an_id_with_a_slash_is_spelled_otherwise_where_graph_refuses_the_path() -> None:
    scene = Scene([UNPARSED, RESET, STANDS, DONE], appointment_id="AAMk/A+=")
    scene.ends[2] = GraphAnswer(200, resource={"id": "AAMk/A+="})
    assert scene.run() == CANCELLED
    assert scene.asked == ["AAMk/A+=", "AAMk-A_=", "AAMk-A_=", "AAMk-A_="]


def test_a_second_refusal_of_the_path_is_the_callers_fault() -> None:
    scene = Scene([UNPARSED, UNPARSED], appointment_id="AAMk/A+=")
    with pytest.raises(RequestInvalid) as caught:
        scene.run()
    assert [fault.field for fault in caught.value.faults] == ["appointmentId"]
    assert (scene.asked, scene.store._size) == (["AAMk/A+=", "AAMk-A_="], 0)


def test_a_missing_business_is_not_recorded_and_keeps_a_doubt() -> None:
    missing = GraphAnswer(404, codes=("ErrorNonExistentMailbox",))
    scene = Scene([missing, DONE])
    assert scene.run(key="k") == replace(NOT_FOUND, missing=Missing.BUSINESS)
    assert scene.store._size == 0
    assert scene.run(key="k") == CANCELLED
    scene = in_doubt(missing, GONE)
    assert scene.run() == replace(UNCONFIRMED, missing=Missing.BUSINESS)
    assert scene.run() == UNCONFIRMED
    assert scene.steps == ["look", "look"]


def test_a_missing_business_is_not_confirmed_by_a_second_call() -> None:
    missing = GraphAnswer(404, codes=("ErrorNonExistentMailbox",))
    for first in (STALE, BUSY):
        assert Scene([first, missing]).run() == replace(UNCONFIRMED, missing=Missing.BUSINESS)


def test_a_rule_met_by_an_id_with_a_slash_that_was_seen_standing_is_one() -> None:
    stands = GraphAnswer(200, resource={"id": "AAMk/A+="})
    rule = GraphAnswer(400, codes=("BadRequest",))
    scene = Scene([CONFLICTS[0], UNPARSED, stands, rule], appointment_id="AAMk/A+=")
    with pytest.raises(RefusedByBookings):
        scene.run()
    assert scene.asked == ["AAMk/A+=", "AAMk/A+=", "AAMk-A_=", "AAMk-A_="]


@pytest.mark.parametrize(
    "refusal", [DENIED, MALFORMED, RULE, STALE], ids=["denied", "malformed", "rule", "401"]
)
def test_nothing_is_called_unchanged_while_an_earlier_cancel_may_take_effect(
    refusal: GraphAnswer,
) -> None:
    scene = Scene([RESET, STANDS, refusal, refusal])
    with pytest.raises(OutcomeUnknown) as caught:
        scene.run()
    assert caught.value.upstream is not None
    assert caught.value.upstream.status == refusal.status


def test_a_renewal_that_fails_while_a_cancel_is_in_doubt_leaves_the_outcome_unknown() -> None:
    scene = Scene([RESET, STALE])

    def entra() -> GraphToken:
        if len(scene.claims) > 1:
            raise UpstreamUnavailable("Entra could not be reached.", retry_after_s=30.0)
        return FIRST_TOKEN

    scene.entra = entra
    with pytest.raises(OutcomeUnknown) as caught:
        scene.run()
    assert caught.value.retry_after_s == 30.0


def test_a_cancel_that_landed_late_is_cancelled_unconfirmed() -> None:
    assert Scene([GATEWAY, STANDS, GONE]).run() == CONCLUDED


def test_a_cancel_that_took_effect_unanswered_is_not_found_unconfirmed() -> None:
    assert Scene([GATEWAY, GONE]).run() == UNCONFIRMED


def test_an_abandoned_request_is_looked_at_first() -> None:
    scene = in_doubt(STANDS, DONE)
    assert scene.run() == CANCELLED
    assert scene.steps == ["look", "cancel"]


def test_an_abandoned_request_that_is_gone_is_never_confirmed() -> None:
    scene = in_doubt(GONE, GONE)
    assert scene.run() == UNCONFIRMED
    assert scene.run() == UNCONFIRMED
    assert scene.steps == ["look", "look"]


@pytest.mark.parametrize(
    ("failure", "steps"),
    [(RecordHidden("down"), ["look", "cancel"]), (StoreUnavailable("down"), ["cancel"])],
    ids=["it is known to be there", "nothing is known"],
)
def test_a_request_whose_record_cannot_be_read_is_looked_at_first_where_it_is_known_to_be_there(
    failure: StoreUnavailable, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(*_: object, **__: object) -> None:
        raise failure

    scene = Scene([STANDS, DONE][-len(steps) :])
    monkeypatch.setattr(scene.store, "begin", begin)
    assert scene.run() == CANCELLED
    assert scene.steps == steps


def test_an_outcome_is_replayed_without_a_call() -> None:
    scene = Scene([DONE])
    scene.run()
    assert scene.run() == replace(CANCELLED, replayed=True)
    assert scene.steps == ["cancel"]


# Time.


def test_a_cancel_leaves_time_for_a_look_and_the_look_may_use_it_all() -> None:
    scene = Scene([RESET, RESET], takes_s=None)
    with pytest.raises(OutcomeUnknown):
        scene.run()
    assert scene.calls == [
        Call("cancel", 0.0, 7.0, FIRST_TOKEN),
        Call("look", 7.0, 3.0, FIRST_TOKEN),
    ]


def test_no_call_may_last_beyond_the_deadline() -> None:
    scene = Scene([RESET, STANDS] * 4, takes_s=2.0)
    with pytest.raises(OutcomeUnknown):
        scene.run()
    assert [call.at_s + call.timeout_s <= DEADLINE_S for call in scene.calls] == [True] * 4
    assert scene.time_s <= DEADLINE_S


@pytest.mark.parametrize("within_s", [0.0, 0.29])
def test_nothing_is_begun_that_does_not_fit(within_s: float) -> None:
    scene = Scene([])
    with pytest.raises(UpstreamUnavailable):
        scene.run(within_s=within_s)
    assert (scene.calls, scene.store._size) == ([], 0)


def test_nothing_is_sent_when_the_token_took_all_the_time() -> None:
    scene = Scene([])

    def slow() -> GraphToken:
        scene.time_s += DEADLINE_S
        return FIRST_TOKEN

    scene.entra = slow
    with pytest.raises(UpstreamUnavailable):
        scene.run()
    assert (scene.calls, scene.store._size) == ([], 0)


def test_nothing_is_sent_when_a_pause_took_longer_than_it_should() -> None:
    scene = Scene([BUSY], chance=1.0, oversleeps_s=30)
    with pytest.raises(UpstreamUnavailable):
        scene.run()
    assert scene.steps == ["cancel"]


def test_a_404_that_comes_after_the_deadline_is_not_confirmed() -> None:
    assert Scene([GONE], takes_s=DEADLINE_S).run() == UNCONFIRMED


@pytest.mark.parametrize(
    ("seen", "pause_s"),
    [
        pytest.param(replace(BUSY, retry_after="3"), 3.0, id="seconds"),
        pytest.param(replace(BUSY, retry_after="Thu, 01 Jan 1970 00:00:02 GMT"), 2.0, id="a date"),
        pytest.param(replace(BUSY, retry_after="0"), 0.25, id="no wait: backoff"),
        pytest.param(replace(BUSY, retry_after="soon"), 0.25, id="garbage: backoff"),
        pytest.param(BUSY, 0.25, id="no header: backoff"),
        pytest.param(NOT_SENT, 0.25, id="not sent: backoff"),
    ],
)
def test_a_refusal_is_waited_for_as_asked_and_never_without_jitter(
    seen: Seen, pause_s: float
) -> None:
    scene = Scene([seen, DONE], chance=0.5)
    assert scene.run() == CANCELLED
    assert scene.pauses == [pause_s]


@pytest.mark.parametrize(
    ("asked", "said_s"), [("10", 10.0), ("315", 315.0), ("99999999999999", 9_999_999_999.0)]
)
def test_a_wait_beyond_the_deadline_is_handed_to_the_caller(asked: str, said_s: float) -> None:
    scene = Scene([replace(BUSY, retry_after=asked)])
    with pytest.raises(Throttled) as refused:
        scene.run()
    assert refused.value.retry_after_s == said_s
    assert scene.time_s < DEADLINE_S
    assert scene.store._size == 0


def test_a_look_does_not_wait_for_what_the_cancel_was_asked_but_the_next_cancel_does() -> None:
    scene = Scene([GraphAnswer(503, retry_after="4"), STANDS, DONE])
    assert scene.run() == CANCELLED
    assert [call.at_s for call in scene.calls] == [0.0, 0.0, 4.0]


def test_the_wait_that_a_cancel_was_asked_for_begins_with_its_answer() -> None:
    scene = Scene([GraphAnswer(503, retry_after="4"), STANDS, DONE], takes_s=0.5)
    assert scene.run() == CANCELLED
    assert [call.at_s for call in scene.calls] == [0.0, 0.5, 4.5]


def test_a_refused_look_waits_as_asked() -> None:
    scene = Scene([RESET, replace(BUSY, retry_after="2"), GONE])
    assert scene.run() == UNCONFIRMED
    assert [call.at_s for call in scene.calls] == [0.0, 0.0, 2.0]


def test_a_look_that_is_refused_beyond_the_deadline_leaves_the_outcome_unknown_until_then() -> None:
    scene = Scene([RESET, replace(BUSY, retry_after="60")])
    with pytest.raises(OutcomeUnknown) as unknown:
        scene.run()
    assert unknown.value.retry_after_s == 60.0


@pytest.mark.parametrize("looked", [DENIED, RESET], ids=["denied", "silent"])
def test_the_longest_wait_of_all_is_told_where_the_look_does_not_help(looked: Seen) -> None:
    scene = Scene([GraphAnswer(503, retry_after="120"), *[looked] * 8])
    with pytest.raises(OutcomeUnknown) as unknown:
        scene.run()
    assert unknown.value.retry_after_s == 120.0


def test_backoff_grows_with_every_call() -> None:
    scene = Scene([RESET, BROKEN, BROKEN, BROKEN, GONE], chance=1.0)
    assert scene.run() == UNCONFIRMED
    assert scene.pauses == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(("seen", "cause"), [(BUSY, Throttled), (NOT_SENT, UpstreamUnavailable)])
def test_what_was_not_done_is_tried_again_until_the_calls_are_used_up(
    seen: Seen, cause: type[FacadeError]
) -> None:
    scene = Scene([seen] * 8, chance=0.0)
    with pytest.raises(cause):
        scene.run()
    assert scene.steps == ["cancel"] * 8
    assert scene.store._size == 0


def test_three_500s_over_an_appointment_that_stands_are_an_upstream_error_in_doubt() -> None:
    scene = Scene([BROKEN, STANDS] * 3)
    with pytest.raises(UpstreamBroken):
        scene.run()
    assert scene.steps == ["cancel", "look"] * 3
    scene.ends = [GONE]
    assert scene.run() == UNCONFIRMED


def test_a_repeat_in_doubt_that_ends_at_the_deadline_keeps_the_doubt() -> None:
    scene = in_doubt(STANDS, replace(BUSY, retry_after="60"))
    with pytest.raises(OutcomeUnknown) as caught:
        scene.run()
    assert caught.value.retry_after_s == 60.0
    scene.ends = [GONE]
    assert scene.run() == UNCONFIRMED
    assert scene.steps == ["look", "cancel", "look"]


def test_the_same_under_another_key_is_not_confirmed() -> None:
    scene = Scene([BROKEN, GONE, GONE])
    assert scene.run(key="K") == UNCONFIRMED
    assert scene.run(key="L") == UNCONFIRMED
    assert scene.run(key="K") == replace(UNCONFIRMED, replayed=True)


def test_three_504s_over_an_appointment_that_stands_may_still_happen() -> None:
    scene = Scene([GATEWAY, STANDS] * 3)
    with pytest.raises(OutcomeUnknown):
        scene.run()
    scene.ends = [GONE]
    assert scene.run() == UNCONFIRMED


def test_eight_calls_are_enough_for_one_request() -> None:
    scene = Scene([RESET] + [BROKEN] * 20)
    with pytest.raises(OutcomeUnknown):
        scene.run()
    assert scene.steps == ["cancel"] + ["look"] * 7


# Tokens.


@pytest.mark.parametrize(
    ("challenge", "claims"),
    [
        pytest.param(
            replace(STALE, claims='{"access_token":{}}'),
            '{"access_token":{}}',
            id="with a claims challenge",
        ),
        pytest.param(STALE, None, id="without one"),
    ],
)
def test_a_401_gets_another_token_and_the_same_call_is_repeated(
    challenge: GraphAnswer, claims: str | None
) -> None:
    scene = Scene([challenge, DONE])
    assert scene.run() == CANCELLED
    assert [(call.step, call.token) for call in scene.calls] == [
        ("cancel", FIRST_TOKEN),
        ("cancel", SECOND_TOKEN),
    ]
    assert (scene.claims, scene.refused) == ([None, claims], [None, FIRST_TOKEN])
    assert scene.pauses == []


def test_a_401_to_a_look_repeats_the_look() -> None:
    scene = Scene([RESET, STALE, GONE])
    assert scene.run() == UNCONFIRMED
    assert [(call.step, call.token) for call in scene.calls] == [
        ("cancel", FIRST_TOKEN),
        ("look", FIRST_TOKEN),
        ("look", SECOND_TOKEN),
    ]


@pytest.mark.parametrize(
    ("challenge", "cause"),
    [(replace(STALE, claims="{}"), InteractionRequired), (STALE, TokenRejected)],
)
def test_a_second_401_is_final(challenge: GraphAnswer, cause: type[FacadeError]) -> None:
    scene = Scene([challenge, challenge])
    with pytest.raises(cause):
        scene.run()
    assert (scene.steps, scene.store._size) == (["cancel", "cancel"], 0)


def test_a_renewal_that_takes_all_the_time_sends_nothing_more() -> None:
    scene = Scene([STALE])
    scene.entra = lambda: (setattr(scene, "time_s", scene.time_s + 6), FIRST_TOKEN)[1]  # type: ignore[func-returns-value]
    with pytest.raises(UpstreamUnavailable):
        scene.run()
    assert scene.steps == ["cancel"]


def test_a_token_that_is_refused_at_first_leaves_nothing() -> None:
    scene = Scene([])
    scene.entra = _raises(ConsentRequired("Nobody has consented."))
    with pytest.raises(ConsentRequired):
        scene.run()
    assert scene.store._size == 0


def test_a_token_that_is_refused_keeps_the_doubt_of_an_earlier_attempt() -> None:
    scene = in_doubt(STANDS, DONE)
    scene.entra = _raises(UpstreamUnavailable("Entra could not be reached."))
    with pytest.raises(OutcomeUnknown):
        scene.run()
    scene.entra = None
    assert scene.run() == CANCELLED
    assert scene.steps == ["look", "cancel"]


def test_a_renewal_that_is_refused_keeps_the_doubt() -> None:
    scene = Scene([RESET, STALE])
    renewals: list[FacadeError] = [InteractionRequired("Sign in again.")]

    def entra() -> GraphToken:
        if len(scene.claims) > 1:
            raise renewals.pop()
        return FIRST_TOKEN

    scene.entra = entra
    with pytest.raises(OutcomeUnknown):
        scene.run()
    renewals.append(InteractionRequired("Sign in again."))
    scene.ends = [STALE]
    scene.claims.clear()
    with pytest.raises(InteractionRequired):  # who repeats and sent nothing learns to sign in
        scene.run()
    scene.entra, scene.ends = None, [GONE]
    assert scene.run() == UNCONFIRMED
    assert scene.steps[-1] == "look"


@pytest.mark.parametrize(
    "refusal", [InteractionRequired("Sign in again."), ConsentRequired("Nobody has consented.")]
)
def test_a_repeat_whose_cancel_was_sent_is_in_doubt_where_a_renewal_is_refused(
    refusal: FacadeError,
) -> None:
    scene = in_doubt(STANDS, STALE)

    def entra() -> GraphToken:
        if len(scene.claims) > 1:
            raise refusal
        return FIRST_TOKEN

    scene.entra = entra
    with pytest.raises(OutcomeUnknown) as caught:
        scene.run()
    assert caught.value.__cause__ is refusal
    assert scene.steps == ["look", "cancel"]
    scene.entra, scene.ends = None, [GONE]
    assert scene.run() == UNCONFIRMED


def test_an_error_is_never_its_own_cause() -> None:
    scene = Scene([])
    scene.entra = _raises(ConsentRequired("Nobody has consented."))
    with pytest.raises(ConsentRequired) as caught:
        scene.run()
    assert caught.value.__cause__ is None


def _raises(error: BaseException) -> Callable[[], GraphToken]:
    def raise_() -> GraphToken:
        raise error

    return raise_


# What is left behind.


@pytest.mark.parametrize(
    "failure", [KeyboardInterrupt(), RuntimeError("a bug")], ids=["interrupted", "a bug of ours"]
)
def test_whatever_interrupts_a_cancel_leaves_the_doubt(failure: BaseException) -> None:
    scene = Scene([failure, GONE])
    with pytest.raises(type(failure)):
        scene.run()
    assert scene.run() == UNCONFIRMED
    assert scene.steps == ["cancel", "look"]


@pytest.mark.parametrize(
    "failure", [KeyboardInterrupt(), RuntimeError("a bug")], ids=["interrupted", "a bug of ours"]
)
def test_whatever_strikes_before_anything_was_sent_leaves_no_doubt_of_its_own(
    failure: BaseException,
) -> None:
    scene = Scene([DONE])
    scene.entra = _raises(failure)
    with pytest.raises(type(failure)):
        scene.run()
    assert scene.store._size == 0
    scene.entra = None
    assert scene.run() == CANCELLED
    doubtful = in_doubt(GONE)
    doubtful.entra = _raises(failure)
    with pytest.raises(type(failure)):
        doubtful.run()
    doubtful.entra = None
    assert doubtful.run() == UNCONFIRMED
    assert doubtful.steps[-1] == "look"


def test_a_bug_in_a_renewal_leaves_the_doubt_of_what_was_sent() -> None:
    scene = Scene([STALE, GONE])
    scene.entra = lambda: FIRST_TOKEN if len(scene.claims) == 1 else _raises(ValueError("a bug"))()
    with pytest.raises(ValueError, match="a bug"):
        scene.run()
    scene.entra = None
    assert scene.run() == UNCONFIRMED
    assert scene.steps == ["cancel", "look"]


def test_a_bug_while_a_204_is_noted_down_leaves_the_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene([DONE, GONE])
    monkeypatch.setattr(Journal, "graph_call", None)
    with pytest.raises(TypeError):
        scene.run()
    monkeypatch.undo()
    assert scene.run() == UNCONFIRMED


@pytest.mark.parametrize("answer", [DENIED, MALFORMED])
def test_a_final_refusal_leaves_nothing(answer: GraphAnswer) -> None:
    scene = Scene([answer])
    with pytest.raises(FacadeError):
        scene.run(key="k")
    assert scene.store._size == 0


def test_a_refusal_while_a_cancel_is_still_under_way_leaves_the_doubt() -> None:
    scene = Scene([RESET, STANDS, DENIED, GONE])
    with pytest.raises(OutcomeUnknown):  # "access denied" alone would say that nothing was changed
        scene.run()
    assert scene.run() == UNCONFIRMED


def test_every_call_is_noted_for_the_log_without_naming_anybody() -> None:
    scene = Scene([replace(BROKEN, request_id="r-1"), STANDS, DONE], takes_s=0.5)
    scene.run()
    assert [told for told, _, _ in scene.journal.calls] == [
        "cancel:500:unanswered:r-1:500ms",
        "look:200:answered:-:500ms",
        "cancel:204:answered:-:500ms",
    ]
