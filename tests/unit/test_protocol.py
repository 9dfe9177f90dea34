"""The protocol, line by line of its tables: what each end of a call means, and what may be said.

What holds over all schedules is in ``tests/protocol``.
"""

import itertools
from dataclasses import replace

import pytest

from cancel_appointment.protocol.decisions import Go, Move, Step, after_cancel, after_look
from cancel_appointment.protocol.doubt import Known, Left, left_by
from cancel_appointment.protocol.failures import give_up, what_can_be_said
from cancel_appointment.protocol.outcome import CancelOutcome, Missing, Outcome
from shared.errors import (
    AccessDenied,
    ConsentRequired,
    FacadeError,
    InteractionRequired,
    Misconfigured,
    OutcomeUnknown,
    RefusedByBookings,
    RequestInvalid,
    Throttled,
    TokenRejected,
    UpstreamAnswer,
    UpstreamBroken,
    UpstreamUnavailable,
)
from shared.graph.endings import Body, GraphAnswer, NoAnswer, Seen

ID = "AAMk/A+="
DONE = GraphAnswer(204)
GONE = GraphAnswer(404, codes=("ErrorItemNotFound",))
BARE = GraphAnswer(404)
EMPTY = GraphAnswer(404, Body.NOTHING)
NO_BUSINESS = GraphAnswer(404, codes=("ErrorNonExistentMailbox",))
STANDS = GraphAnswer(200, resource={"id": ID})
RESET = NoAnswer(sent=True, cause="ProtocolError")
NOT_SENT = NoAnswer(sent=False, cause="NewConnectionError")
BROKEN = GraphAnswer(500, codes=("UnknownError",), request_id="r-500")
BUSY = GraphAnswer(429, codes=("TooManyRequests",), request_id="r-429")
GATEWAY = GraphAnswer(504, Body.PAGE)
DENIED = GraphAnswer(403, codes=("ErrorAccessDenied",))
LIMIT = GraphAnswer(403, codes=("ErrorExceededMessageLimit",))
MALFORMED = GraphAnswer(400, codes=("ErrorInvalidIdMalformed",))
UNPARSED = GraphAnswer(400, codes=("RequestBroker--ParseUri",))
RULE = GraphAnswer(400)
CONFLICT = GraphAnswer(409, codes=("ErrorIrresolvableConflict",))
STALE = GraphAnswer(401, codes=("InvalidAuthenticationToken",))

CLEAR = Known()
CARRIED = Known(carried=True)
BUSY_MAILBOX = Known(left=Left.SETTLED, sent=True)
FAILED = Known(left=Left.BROKEN, sent=True)
UNDER_WAY = Known(left=Left.UNDER_WAY, sent=True)


def looked(known: Known) -> Known:
    return replace(known, looked=True, stood=True)


CANCELLED = CancelOutcome(Outcome.CANCELLED, confirmed=True)
CONCLUDED = CancelOutcome(Outcome.CANCELLED, confirmed=False)
NOT_FOUND = CancelOutcome(Outcome.NOT_FOUND, confirmed=True, missing=Missing.APPOINTMENT)
UNCONFIRMED = replace(NOT_FOUND, confirmed=False)

EVERY_KNOWN = [
    Known(carried, unsure, left, looked, stood, sent)
    for carried, unsure, left, looked, stood, sent in itertools.product(
        (False, True), (False, True), Left, (False, True), (False, True), (False, True)
    )
]


def outcome_of(move: Move) -> CancelOutcome:
    assert isinstance(move, CancelOutcome)
    return move


def error_of(move: Move) -> FacadeError:
    assert isinstance(move, FacadeError)
    return move


# What a cancel's end means.


@pytest.mark.parametrize("known", EVERY_KNOWN, ids=str)
def test_a_204_is_cancelled_confirmed_whatever_was_before(known: Known) -> None:
    assert outcome_of(after_cancel(DONE, known)) == CANCELLED


@pytest.mark.parametrize(
    ("seen", "missing"),
    [(GONE, Missing.APPOINTMENT), (BARE, None), (EMPTY, None), (GraphAnswer(410), None)],
    ids=["coded", "bare", "without a body", "410"],
)
def test_a_404_of_the_item_is_not_found_confirmed(seen: Seen, missing: Missing | None) -> None:
    expected = replace(NOT_FOUND, missing=missing)
    assert outcome_of(after_cancel(seen, CLEAR)) == expected
    assert outcome_of(after_cancel(seen, Known(sent=True))) == expected


@pytest.mark.parametrize("known", [CARRIED, UNDER_WAY, Known(unsure=True)], ids=str)
def test_a_404_with_doubt_is_not_found_unconfirmed(known: Known) -> None:
    assert outcome_of(after_cancel(GONE, known)) == UNCONFIRMED


@pytest.mark.parametrize("known", [known for known in EVERY_KNOWN if known.stood], ids=str)
def test_gone_after_a_look_that_saw_it_standing_is_cancelled_unconfirmed(known: Known) -> None:
    for seen in (GONE, BARE, GraphAnswer(410), GraphAnswer(400, codes=("itemNotFound",))):
        assert outcome_of(after_cancel(seen, known)) == CONCLUDED
        assert outcome_of(after_look(seen, known, ID)) == CONCLUDED


@pytest.mark.parametrize("known", [looked(CARRIED), looked(FAILED), looked(UNDER_WAY)], ids=str)
def test_a_404_without_a_body_may_be_anybodys_and_concludes_nothing(known: Known) -> None:
    expected = replace(UNCONFIRMED, missing=None)
    assert outcome_of(after_cancel(EMPTY, known)) == expected
    assert outcome_of(after_look(EMPTY, known, ID)) == expected


@pytest.mark.parametrize("code", ["ErrorNonExistentMailbox", "ErrorFolderNotFound"])
@pytest.mark.parametrize("status", [404, 410, 400])
def test_a_missing_business_is_confirmed_by_the_first_and_only_call(status: int, code: str) -> None:
    seen = GraphAnswer(status, codes=(code,))
    missing = replace(NOT_FOUND, missing=Missing.BUSINESS)
    assert outcome_of(after_cancel(seen, CLEAR)) == missing
    for known in (Known(sent=True), CARRIED, Known(unsure=True), UNDER_WAY):
        assert outcome_of(after_cancel(seen, known)) == replace(missing, confirmed=False)
        assert outcome_of(after_look(seen, known, ID)) == replace(missing, confirmed=False)


def test_who_asks_again_with_a_new_token_has_called_twice() -> None:
    missing = replace(NOT_FOUND, missing=Missing.BUSINESS)
    assert outcome_of(after_cancel(NO_BUSINESS, Known(renewed=True, sent=True))) == replace(
        missing, confirmed=False
    )


def test_a_business_that_was_there_a_moment_ago_is_not_missing() -> None:
    known = looked(FAILED)
    assert after_cancel(NO_BUSINESS, known) == Go(
        Step.LOOK, replace(known, looked=False), pause=False
    )
    assert after_look(NO_BUSINESS, known, ID) == Go(Step.LOOK, known, pause=True)


OTHER_404S: list[GraphAnswer] = [
    *(
        GraphAnswer(404, codes=(code,))
        for code in (
            "ResourceNotFound",
            "MailboxNotEnabledForRESTAPI",
            "UnknownError",
            "other",
            "ErrorInvalidId",
            "ErrorInvalidIdMalformed",
        )
    ),
    GraphAnswer(404, Body.JSON),
    GraphAnswer(404, Body.PAGE),
    GraphAnswer(400, codes=("ResourceNotFound",)),
]


@pytest.mark.parametrize(
    ("seen", "left"),
    [
        (GraphAnswer(410, Body.PAGE), Left.UNDER_WAY),
        (GraphAnswer(410, codes=("UnknownError",)), Left.BROKEN),
    ],
    ids=str,
)
def test_a_410_that_names_no_item_is_no_settled_404(seen: GraphAnswer, left: Left) -> None:
    move = after_cancel(seen, CLEAR)
    assert isinstance(move, Go)
    assert move.known.left is left


def test_a_path_refused_at_the_end_is_not_called_throttling() -> None:
    error = give_up(GraphAnswer(400, codes=("BadRequest",)), Known(sent=True), retry_after_s=1.0)
    assert type(error) is UpstreamUnavailable


@pytest.mark.parametrize("seen", OTHER_404S, ids=str)
@pytest.mark.parametrize("known", [CLEAR, CARRIED, looked(FAILED), looked(UNDER_WAY)], ids=str)
def test_any_other_404_proves_nothing(seen: Seen, known: Known) -> None:
    left = max(known.left, Left.SETTLED)
    expected = replace(known, left=left, looked=False, sent=True)
    assert after_cancel(seen, known) == Go(Step.LOOK, expected, pause=False)
    assert after_look(seen, known, ID) == Go(Step.LOOK, known, pause=True)


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (DENIED, AccessDenied),
        (STALE, TokenRejected),
        (replace(STALE, claims="{}"), InteractionRequired),
        (MALFORMED, RequestInvalid),
        (UNPARSED, RequestInvalid),
        (GraphAnswer(403, codes=("ErrorInvalidId",)), AccessDenied),
        (GraphAnswer(405, codes=("ErrorInvalidId",)), UpstreamBroken),
        (RULE, RefusedByBookings),
        (GraphAnswer(400, codes=("UnknownError",)), RefusedByBookings),
        (GraphAnswer(400, codes=("BadRequest",)), RefusedByBookings),
        *((GraphAnswer(status), UpstreamBroken) for status in (405, 411, 413, 414, 415, 431)),
    ],
    ids=str,
)
def test_a_refusal_is_its_error_unless_a_cancel_is_in_doubt(
    answer: GraphAnswer, cause: type[FacadeError]
) -> None:
    for known in (CLEAR, Known(sent=True), Known(unsure=True), looked(BUSY_MAILBOX)):
        assert type(error_of(after_cancel(answer, known))) is cause
    for known in (looked(FAILED), looked(UNDER_WAY), CARRIED, looked(CARRIED)):
        error = error_of(after_cancel(answer, known))
        assert type(error) is OutcomeUnknown
        assert error.upstream is not None
        assert error.upstream.status == answer.status


def test_a_renewed_token_that_is_refused_is_mended_by_no_sign_in() -> None:
    known = Known(renewed=True)
    assert type(error_of(after_cancel(STALE, known))) is TokenRejected
    assert type(error_of(after_cancel(GraphAnswer(401), known))) is AccessDenied
    assert type(error_of(after_look(GraphAnswer(401), replace(known, carried=True), ID))) is (
        AccessDenied
    )


@pytest.mark.parametrize("known", EVERY_KNOWN, ids=str)
def test_what_did_nothing_is_tried_again_after_a_pause(known: Known) -> None:
    assert after_cancel(NOT_SENT, known) == Go(Step.CANCEL, known, pause=True)
    assert after_cancel(BUSY, known) == Go(Step.CANCEL, replace(known, sent=True), pause=True)


LEFT_BY = [
    *((seen, Left.SETTLED) for seen in OTHER_404S),
    (CONFLICT, Left.SETTLED),
    (GraphAnswer(412), Left.SETTLED),
    (GraphAnswer(423, Body.NOTHING), Left.SETTLED),
    (LIMIT, Left.SETTLED),
    (BROKEN, Left.BROKEN),
    (GraphAnswer(500, Body.NOTHING), Left.BROKEN),
    *(
        (GraphAnswer(status, codes=("ErrorInvalidIdMalformed",)), Left.BROKEN)
        for status in (422, 500)
    ),
    (GraphAnswer(503, codes=("ErrorInvalidIdMalformed",)), Left.UNDER_WAY),
    (GraphAnswer(302, Body.NOTHING), Left.BROKEN),
    *((GraphAnswer(status, Body.JSON), Left.BROKEN) for status in (400, 401, 403, 405, 431)),
    *((GraphAnswer(status), Left.BROKEN) for status in (402, 406, 416, 422, 424, 428, 451)),
    (GraphAnswer(401, Body.NOTHING), Left.BROKEN),
    *((GraphAnswer(status), Left.UNDER_WAY) for status in (408, 425, 499, 502, 503, 504, 507)),
    *((GraphAnswer(status), Left.UNDER_WAY) for status in (200, 201, 202)),
    *(
        (GraphAnswer(status, Body.PAGE), Left.UNDER_WAY)
        for status in (204, 302, 400, 401, 403, 409, 423, 500, 502, 504)
    ),
    (RESET, Left.UNDER_WAY),
    (NoAnswer(sent=True, cause="AnswerToAnother"), Left.UNDER_WAY),
]


@pytest.mark.parametrize(("seen", "left"), LEFT_BY, ids=str)
def test_what_is_unanswered_is_looked_at_next(seen: Seen, left: Left) -> None:
    assert left_by(seen) is left
    assert after_cancel(seen, CLEAR) == Go(Step.LOOK, Known(left=left, sent=True), pause=False)


@pytest.mark.parametrize(
    ("before", "seen", "after"),
    [
        (Left.UNDER_WAY, BROKEN, Left.UNDER_WAY),
        (Left.BROKEN, CONFLICT, Left.BROKEN),
        (Left.SETTLED, BROKEN, Left.BROKEN),
        (Left.BROKEN, GATEWAY, Left.UNDER_WAY),
    ],
)
def test_of_several_cancels_the_worst_counts(before: Left, seen: Seen, after: Left) -> None:
    known = looked(Known(left=before, sent=True))
    expected = replace(known, left=after, looked=False)
    assert after_cancel(seen, known) == Go(Step.LOOK, expected, pause=False)


# The other spelling.

SLASHED = Known(slashed=True)
BAD_REQUEST = GraphAnswer(400, codes=("BadRequest",))


@pytest.mark.parametrize("seen", [UNPARSED, BAD_REQUEST], ids=str)
def test_a_path_that_is_refused_is_tried_once_in_the_other_spelling(seen: GraphAnswer) -> None:
    again = replace(SLASHED, respelled=True)
    assert after_cancel(seen, SLASHED) == Go(Step.CANCEL, replace(again, sent=True), pause=False)
    assert after_look(seen, SLASHED, ID) == Go(Step.LOOK, again, pause=False)
    for move in (after_cancel(seen, again), after_look(seen, again, ID)):
        error = error_of(move)
        assert isinstance(error, RequestInvalid)
        assert [fault.field for fault in error.faults] == ["appointmentId"]


def test_a_rule_of_bookings_is_no_refused_path() -> None:
    assert isinstance(error_of(after_cancel(RULE, SLASHED)), RefusedByBookings)


@pytest.mark.parametrize("respelled", [False, True])
def test_a_path_in_which_it_was_seen_standing_is_refused_by_no_generic_code(
    respelled: bool,
) -> None:
    known = replace(looked(BUSY_MAILBOX), slashed=True, respelled=respelled)
    assert isinstance(error_of(after_cancel(BAD_REQUEST, known)), RefusedByBookings)
    assert after_look(BAD_REQUEST, known, ID) == Go(Step.LOOK, known, pause=True)
    move = after_cancel(UNPARSED, known)
    if respelled:
        assert isinstance(error_of(move), RequestInvalid)
    else:
        assert move == Go(Step.CANCEL, replace(known, respelled=True), pause=False)


# What a look's end means.


@pytest.mark.parametrize("found", [ID, "AAMk-A_=", "AAMk-A+="])
def test_a_look_that_sees_it_standing_cancels_again(found: str) -> None:
    seen = GraphAnswer(200, resource={"id": found})
    for known in (CARRIED, FAILED, UNDER_WAY):
        assert after_look(seen, known, ID) == Go(Step.CANCEL, looked(known), pause=True)
        assert after_look(seen, known, "AAMk-A_=") == Go(Step.CANCEL, looked(known), pause=True)


@pytest.mark.parametrize(
    "resource",
    [
        {},
        {"id": "AAMkother="},
        {"id": "aamk/a+="},
        {"id": None},
        {"id": [ID]},
        {"value": [{"id": ID}]},
        {"error": {"code": "ErrorItemNotFound"}},
        {"ID": ID},
    ],
    ids=str,
)
def test_a_200_without_the_id_that_was_asked_for_is_no_answer(resource: dict[str, object]) -> None:
    seen = GraphAnswer(200, resource=resource)
    assert after_look(seen, UNDER_WAY, ID) == Go(Step.LOOK, UNDER_WAY, pause=True)


@pytest.mark.parametrize("known", [CARRIED, BUSY_MAILBOX, FAILED, UNDER_WAY], ids=str)
def test_a_look_that_sees_nothing_is_not_found_unconfirmed(known: Known) -> None:
    assert outcome_of(after_look(GONE, known, ID)) == UNCONFIRMED


@pytest.mark.parametrize(
    "seen",
    [BUSY, NOT_SENT, RESET, BROKEN, GATEWAY, CONFLICT, LIMIT, RULE, GraphAnswer(200, Body.PAGE)],
    ids=str,
)
def test_a_look_without_an_answer_is_repeated(seen: Seen) -> None:
    assert after_look(seen, UNDER_WAY, ID) == Go(Step.LOOK, UNDER_WAY, pause=True)


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (DENIED, AccessDenied),
        (STALE, TokenRejected),
        (replace(STALE, claims="{}"), InteractionRequired),
        (MALFORMED, RequestInvalid),
        (UNPARSED, RequestInvalid),
    ],
    ids=str,
)
def test_a_look_tells_what_the_caller_can_mend_only_where_this_request_sent_nothing(
    answer: GraphAnswer, cause: type[FacadeError]
) -> None:
    assert type(error_of(after_look(answer, CARRIED, ID))) is cause
    for known in (BUSY_MAILBOX, FAILED, UNDER_WAY, Known(carried=True, sent=True)):
        assert type(error_of(after_look(answer, known, ID))) is OutcomeUnknown


@pytest.mark.parametrize("status", [405, 414])
def test_a_look_that_is_broken_leaves_a_carried_doubt_unknown(status: int) -> None:
    assert type(error_of(after_look(GraphAnswer(status), CARRIED, ID))) is OutcomeUnknown


# What is in the way when no further call fits.

TABLE: list[tuple[Known, type[FacadeError], bool]] = [
    (BUSY_MAILBOX, OutcomeUnknown, True),
    (FAILED, OutcomeUnknown, True),
    (UNDER_WAY, OutcomeUnknown, True),
    (looked(BUSY_MAILBOX), UpstreamUnavailable, False),
    (looked(FAILED), UpstreamBroken, True),
    (looked(UNDER_WAY), OutcomeUnknown, True),
]


@pytest.mark.parametrize(("known", "cause", "doubt"), TABLE, ids=str)
@pytest.mark.parametrize("seen", [RESET, BROKEN, BUSY, NOT_SENT, CONFLICT, STANDS], ids=str)
def test_the_table_of_doubt_decides_at_the_deadline(
    seen: Seen, known: Known, cause: type[FacadeError], doubt: bool
) -> None:
    assert type(give_up(seen, known, 1.0)) is cause
    assert known.doubt is doubt


@pytest.mark.parametrize("known", [known for known, _, _ in TABLE] + [CLEAR], ids=str)
@pytest.mark.parametrize("seen", [RESET, BROKEN, BUSY, NOT_SENT, CONFLICT, STANDS], ids=str)
def test_a_carried_doubt_leaves_the_outcome_unknown(seen: Seen, known: Known) -> None:
    carrying = replace(known, carried=True)
    error = give_up(seen, carrying, 60.0)
    assert isinstance(error, OutcomeUnknown)
    assert error.retry_after_s == 60.0
    assert carrying.doubt


@pytest.mark.parametrize(("asked_s", "said_s"), [(1.0, 5.0), (60.0, 60.0)])
def test_an_unknown_outcome_says_when_a_repeat_makes_sense(asked_s: float, said_s: float) -> None:
    error = give_up(BUSY, UNDER_WAY, asked_s)
    assert isinstance(error, OutcomeUnknown)
    assert error.retry_after_s == said_s


def test_where_nothing_was_left_the_last_end_says_what_is_in_the_way() -> None:
    for known in (CLEAR, Known(sent=True), Known(unsure=True)):
        assert type(give_up(NOT_SENT, known, 1.0)) is UpstreamUnavailable
        assert type(give_up(BUSY, known, 1.0)) is Throttled


EVERY_END: list[Seen] = [
    *(DONE, GONE, BARE, EMPTY, NO_BUSINESS, STANDS, RESET, NOT_SENT, BROKEN, BUSY, GATEWAY),
    *(DENIED, LIMIT, MALFORMED, UNPARSED, RULE, CONFLICT, STALE, GraphAnswer(405)),
    GraphAnswer(400, codes=("BadRequest",)),
]


@pytest.mark.parametrize(
    ("codes", "named"),
    [
        *((codes, False) for codes in ((), ("BadRequest",), ("UnknownError",), ("other",))),
        *((codes, False) for codes in (("ErrorInvalidRequest",), ("BadRequest", "x"))),
        *((codes, True) for codes in (("ErrorInvalidRecipients",), ("ErrorInvalidLicense",))),
        (("ErrorCalendarIsNotOrganizer", "BadRequest"), True),
    ],
    ids=str,
)
def test_a_rule_is_guessed_only_where_the_code_that_is_quoted_names_nothing(
    codes: tuple[str, ...], named: bool
) -> None:
    error = error_of(after_cancel(GraphAnswer(400, codes=codes), CLEAR))
    assert isinstance(error, RefusedByBookings)
    assert ("lead time" not in error.reason, "upstream.code" in error.reason) == (named, named)


@pytest.mark.parametrize("seen", EVERY_END, ids=str)
def test_nothing_was_changed_is_said_only_where_that_is_certain(seen: Seen) -> None:
    for known in EVERY_KNOWN:
        moves = (after_cancel(seen, known), after_look(seen, known, ID), give_up(seen, known, 1.0))
        for move in moves:
            if isinstance(move, FacadeError) and "nothing was changed" in move.reason.lower():
                settled = known.left is Left.SETTLED and known.looked
                untouched = settled or not (known.sent or known.left)
                assert (untouched, known.carried, known.unsure) == (True, False, False)


def test_nothing_was_changed_is_said_where_it_is_certain() -> None:
    assert "nothing was changed" in give_up(NOT_SENT, CLEAR, 1.0).reason
    assert "nothing was changed" in give_up(CONFLICT, looked(BUSY_MAILBOX), 1.0).reason


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (LIMIT, "sending limit"),
        (OTHER_404S[0], "mailbox"),
        (NO_BUSINESS, "mailbox"),
        (CONFLICT, "change"),
        (BUSY, "in time"),
    ],
    ids=str,
)
def test_a_mailbox_that_could_not_is_told_by_its_cause(seen: Seen, words: str) -> None:
    assert words in give_up(seen, looked(BUSY_MAILBOX), 1.0).reason


def test_a_failure_says_that_it_still_stood() -> None:
    reason = give_up(BROKEN, looked(FAILED), 1.0).reason
    assert "it still stood when last looked at" in reason
    assert "changed" not in reason


def test_what_is_in_the_way_is_quoted_for_microsofts_support() -> None:
    assert give_up(BUSY, CLEAR, 1.0).upstream == UpstreamAnswer(
        "graph", 429, "TooManyRequests", "r-429"
    )
    assert give_up(BROKEN, UNDER_WAY, 1.0).upstream == UpstreamAnswer(
        "graph", 500, "UnknownError", "r-500"
    )
    assert give_up(RESET, UNDER_WAY, 1.0).upstream == UpstreamAnswer("graph")


# What may be said of Entra's refusals.

MENDABLE = [
    TokenRejected("."),
    InteractionRequired("."),
    ConsentRequired("."),
    AccessDenied("."),
    Misconfigured("."),
]
PASSING = [
    Throttled(".", retry_after_s=60.0),
    UpstreamUnavailable(".", retry_after_s=60.0),
    UpstreamBroken("."),
]


@pytest.mark.parametrize("error", MENDABLE + PASSING, ids=repr)
@pytest.mark.parametrize(
    "known",
    [BUSY_MAILBOX, FAILED, UNDER_WAY, looked(FAILED), looked(UNDER_WAY), Known(True, sent=True)],
    ids=str,
)
def test_while_a_cancel_is_in_doubt_nothing_else_is_said(error: FacadeError, known: Known) -> None:
    assert isinstance(what_can_be_said(error, known), OutcomeUnknown)


@pytest.mark.parametrize("error", MENDABLE + PASSING, ids=repr)
@pytest.mark.parametrize("known", [CLEAR, Known(sent=True), looked(BUSY_MAILBOX)], ids=str)
def test_without_doubt_an_error_is_said_as_it_is(error: FacadeError, known: Known) -> None:
    assert what_can_be_said(error, known) is error


@pytest.mark.parametrize("error", MENDABLE, ids=repr)
def test_who_repeats_and_sent_nothing_learns_to_sign_in(error: FacadeError) -> None:
    assert what_can_be_said(error, CARRIED) is error


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_who_repeats_learns_nothing_of_a_passing_failure_but_when_to_ask_again(
    error: FacadeError,
) -> None:
    said = what_can_be_said(error, CARRIED)
    assert isinstance(said, OutcomeUnknown)
    assert said.retry_after_s == getattr(error, "retry_after_s", 5.0)
