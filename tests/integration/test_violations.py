"""The judge of the storms is worth something only if it finds what it is there to find."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from infra.local.graph.bookings import Cancellation, Mail
from tests.integration.violations import Call, Ids, Kind, Told, Truth, judge, tell

US, SOMEBODY = "87d349ed-44d7-43e1-9a83-5f2406dee5bd", "5bde3e51-d13b-4db1-9948-fe4b109d11a7"
IDS = Ids("business@contoso.com", "AAMkAD=")
REQUEST_ID = "0b8f0e5e-2d6f-4a53-8c0c-8f7d6b1f2a11"


def told(
    body: Mapping[str, object] | bytes,
    *,
    status: int = 200,
    at: float = 100.0,
    headers: Mapping[str, str] | None = None,
) -> Told:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Told(
        US,
        IDS,
        None,
        status,
        {"Content-Type": "application/json", "Cache-Control": "no-store", **(headers or {})},
        raw,
        at,
        at + 1,
        stands=False,
    )


def outcome(word: str, *, confirmed: bool = True, **more: object) -> Mapping[str, object]:
    flags = {
        "outcome": word,
        "cancelled": word == "cancelled",
        "confirmed": confirmed,
        "replayed": False,
    }
    ids = {
        "businessId": IDS.business_id,
        "appointmentId": IDS.appointment_id,
        "requestId": REQUEST_ID,
    }
    return {**flags, **ids, "message": "A sentence.", **more}


def problem(code: str, status: int, *, retryable: bool, **more: object) -> Mapping[str, object]:
    words = {
        "type": f"urn:bookings-cancel:problem:{code}",
        "title": "T",
        "detail": "D",
        "instance": f"urn:uuid:{REQUEST_ID}",
    }
    return {
        **words,
        "status": status,
        "code": code,
        "retryable": retryable,
        "requestId": REQUEST_ID,
        **more,
    }


UNKNOWN = told(problem("outcome_unknown", 504, retryable=True), status=504)
BROKEN = told(problem("upstream_error", 502, retryable=False), status=502)
BUSY = told(
    problem("overloaded", 503, retryable=True, retryAfterSeconds=1),
    status=503,
    headers={"Retry-After": "1"},
)
CANCELLED, ABSENT = told(outcome("cancelled")), told(outcome("not_found"))
MAYBE_CANCELLED, MAYBE_ABSENT = (
    told(outcome("cancelled", confirmed=False)),
    told(outcome("not_found", confirmed=False)),
)

STOOD = Truth({IDS: 50.0}, frozenset(), {IDS.business_id: {US, SOMEBODY}}, (), ())
STANDS = replace(STOOD, standing=frozenset({IDS}))
NEVER = replace(STOOD, booked={})


def cancelled_by(*users: str, mails: int = 1) -> Truth:
    cancels = [Cancellation(*IDS, message="", by=user) for user in users]
    outbox = [
        Mail("to@contoso.com", *IDS, "", 99.0, kind)
        for kind in ("customer", "staff")
        for _ in range(mails)
    ]
    return replace(STOOD, cancellations=cancels, outbox=outbox)


OURS, THEIRS = cancelled_by(US), cancelled_by(SOMEBODY)
OPEN = Call("cancel", US, IDS, unanswered=True, plain=False)
DONE = Call("cancel", US, IDS, unanswered=False, plain=True)
SEEN = Call("get", US, IDS, unanswered=False, plain=True)
UNSEEN = Call("get", US, IDS, unanswered=False, plain=False)

LIES: Mapping[str, tuple[Kind, Sequence[Told], Truth]] = {
    "no JSON": (Kind.OFF_CONTRACT, [told(b"<html>")], OURS),
    "JSON, but no object": (Kind.OFF_CONTRACT, [told(b"[]")], OURS),
    "another media type": (
        Kind.OFF_CONTRACT,
        [replace(CANCELLED, headers={"Content-Type": "text/html", "Cache-Control": "no-store"})],
        OURS,
    ),
    "may be stored": (
        Kind.OFF_CONTRACT,
        [replace(CANCELLED, headers={"Content-Type": "application/json"})],
        OURS,
    ),
    "a member too many": (Kind.OFF_CONTRACT, [told(outcome("cancelled", more=1))], OURS),
    "a member too few": (
        Kind.OFF_CONTRACT,
        [told({k: v for k, v in outcome("cancelled").items() if k != "replayed"})],
        OURS,
    ),
    "a null": (
        Kind.OFF_CONTRACT,
        [replace(UNKNOWN, body=json.dumps({**UNKNOWN.members, "claims": None}).encode())],
        OURS,
    ),
    "a text for a truth value": (
        Kind.OFF_CONTRACT,
        [told({**outcome("cancelled"), "confirmed": "true"})],
        OURS,
    ),
    "another appointment's answer": (
        Kind.OFF_CONTRACT,
        [told(outcome("cancelled", appointmentId="other"))],
        OURS,
    ),
    "not_found that is cancelled": (
        Kind.OFF_CONTRACT,
        [told(outcome("not_found", confirmed=False, cancelled=True))],
        OURS,
    ),
    "a request id that is none": (
        Kind.OFF_CONTRACT,
        [told(outcome("cancelled", requestId="1"))],
        OURS,
    ),
    "a bug": (
        Kind.OFF_CONTRACT,
        [told(problem("internal_error", 500, retryable=False), status=500)],
        STANDS,
    ),
    "another status than in the body": (Kind.OFF_CONTRACT, [replace(UNKNOWN, status=502)], OURS),
    "final where a repeat helps": (
        Kind.OFF_CONTRACT,
        [told(problem("outcome_unknown", 504, retryable=False), status=504)],
        OURS,
    ),
    "busy, without a wait": (
        Kind.OFF_CONTRACT,
        [told(problem("overloaded", 503, retryable=True), status=503)],
        STANDS,
    ),
    "busy, with two waits": (
        Kind.OFF_CONTRACT,
        [replace(BUSY, headers={**BUSY.headers, "Retry-After": "2"})],
        STANDS,
    ),
    "late": (Kind.LATE, [replace(CANCELLED, answered_at=CANCELLED.asked_at + 10.1)], OURS),
    "cancelled, and it stands": (Kind.CANCELLED_YET_STANDING, [MAYBE_CANCELLED], STANDS),
    "cancelled, and it stood then": (
        Kind.CANCELLED_YET_STANDING,
        [replace(CANCELLED, stands=True)],
        OURS,
    ),
    "cancelled, and it never was": (Kind.CANCELLED_YET_NEVER_BOOKED, [MAYBE_CANCELLED], NEVER),
    "cancelled, before it was": (
        Kind.CANCELLED_YET_NEVER_BOOKED,
        [MAYBE_CANCELLED],
        replace(OURS, booked={IDS: 110.0}),
    ),
    "cancelled, confirmed, before it was": (
        Kind.CONFIRMED_YET_NOT_OURS,
        [replace(CANCELLED, answered_at=98.0, asked_at=97.0)],
        OURS,
    ),
    "cancelled, confirmed, by somebody else": (Kind.CONFIRMED_YET_NOT_OURS, [CANCELLED], THEIRS),
    "not found, and it stands": (Kind.ABSENT_YET_STANDING, [MAYBE_ABSENT], STANDS),
    "not found, and it stood then": (
        Kind.ABSENT_YET_STANDING,
        [replace(MAYBE_ABSENT, stands=True)],
        OURS,
    ),
    "not found, confirmed, and we cancelled it": (Kind.ABSENT_YET_OURS, [ABSENT], OURS),
    "not found, confirmed, after not knowing": (
        Kind.ABSENT_YET_OURS,
        [UNKNOWN, replace(ABSENT, asked_at=102, answered_at=103)],
        OURS,
    ),
    "nothing changed, and we cancelled it": (Kind.UNCHANGED_YET_OURS, [BROKEN], OURS),
    "cancelled twice": (Kind.SECOND_CANCEL, [CANCELLED], cancelled_by(US, US)),
    "a second mail": (Kind.SECOND_MAIL, [CANCELLED], cancelled_by(US, mails=2)),
    "no mail": (Kind.SECOND_MAIL, [CANCELLED], replace(OURS, outbox=[])),
    "mail to one side only": (Kind.SECOND_MAIL, [CANCELLED], replace(OURS, outbox=OURS.outbox[:1])),
    "sent again without a look": (
        Kind.BLIND_REPEAT,
        [CANCELLED],
        replace(OURS, calls=[OPEN, DONE]),
    ),
    "sent again after a look that showed nothing": (
        Kind.BLIND_REPEAT,
        [CANCELLED],
        replace(OURS, calls=[OPEN, UNSEEN, DONE]),
    ),
    "unknown in a healthy world": (Kind.UNSETTLED, [replace(UNKNOWN, healthy=True)], OURS),
}

TRUTHS: Mapping[str, tuple[Sequence[Told], Truth]] = {
    "cancelled": ([CANCELLED], OURS),
    "cancelled by us, unseen": ([UNKNOWN, MAYBE_ABSENT], OURS),
    "cancelled after a look": ([MAYBE_CANCELLED], replace(OURS, calls=[OPEN, SEEN, DONE])),
    "cancelled by somebody else": ([ABSENT, MAYBE_CANCELLED], THEIRS),
    "booked later": ([replace(ABSENT, asked_at=40, answered_at=41), CANCELLED], OURS),
    "booked later, and it stands": ([ABSENT], replace(STANDS, booked={IDS: 110.0})),
    "never was": ([ABSENT, MAYBE_ABSENT, BROKEN, BUSY], NEVER),
    "not to be seen": ([ABSENT], replace(STANDS, staff={IDS.business_id: {SOMEBODY}})),
    "still stands": ([UNKNOWN, BROKEN, BUSY], replace(STANDS, calls=[OPEN, SEEN, OPEN])),
    "nothing changed until somebody tried again": (
        [BROKEN, replace(CANCELLED, asked_at=100.5)],
        OURS,
    ),
    "settled at last": (
        [replace(UNKNOWN, healthy=True), replace(CANCELLED, healthy=True, answered_at=105)],
        OURS,
    ),
    "each user's own repeat": (
        [CANCELLED],
        replace(OURS, calls=[OPEN, replace(DONE, user=SOMEBODY)]),
    ),
}


@pytest.mark.parametrize(("kind", "answers", "truth"), LIES.values(), ids=LIES.keys())
def test_the_judge_finds_each_kind_of_violation(
    kind: Kind, answers: Sequence[Told], truth: Truth
) -> None:
    assert kind in {violation.kind for violation in judge(answers, truth, within_s=10)}


@pytest.mark.parametrize(("answers", "truth"), TRUTHS.values(), ids=TRUTHS.keys())
def test_the_judge_finds_nothing_where_all_is_well(answers: Sequence[Told], truth: Truth) -> None:
    assert judge(answers, truth, within_s=10) == []


def test_a_repeat_that_could_not_know_better_is_no_violation_where_the_store_failed() -> None:
    assert judge([CANCELLED], replace(OURS, calls=[OPEN, DONE]), within_s=10, recorded=False) == []
    assert judge([ABSENT], OURS, within_s=10, recorded=False) != []


def test_every_kind_of_violation_is_tried() -> None:
    assert {kind for kind, _, _ in LIES.values()} == set(Kind)


def test_what_the_judge_found_is_told_in_words() -> None:
    violations = judge([ABSENT], OURS, within_s=10)
    assert "1 x ABSENT_YET_OURS" in tell(violations)
    assert IDS.appointment_id in tell(violations)
