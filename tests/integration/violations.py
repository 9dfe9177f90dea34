"""What callers were told, set against what was true: the judge of the tests that storm the service.

Owns how a request and its answer are kept (``ask``, ``Told``), how the truth is kept (``Watch``,
``Truth``: from the Graph simulator, never from the service) and every kind of violation. Does *not*
place faults, decide when to ask again, or know how the service works: the codes below are written
down a second time on purpose.
"""

import json
import math
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import requests
from pydantic import ValidationError

from cancel_appointment.contract import CancelAnswer
from infra.local.faults import Fault, Faults
from infra.local.graph.bookings import Bookings, Cancellation, Mail
from shared.serving.problems import Problem


class Ids(NamedTuple):
    """One appointment."""

    business_id: str
    appointment_id: str


@dataclass(frozen=True, slots=True)
class Told:
    """One request and its answer, as a caller saw them; times in seconds since the epoch.

    ``stands`` is whether the appointment stood right after the answer. ``healthy`` says that
    nothing was amiss any more at the request, so it has to end.
    """

    caller: str
    ids: Ids
    key: str | None
    status: int
    headers: Mapping[str, str]
    body: bytes
    asked_at: float
    answered_at: float
    stands: bool
    healthy: bool = False

    @property
    def members(self) -> dict[str, Any]:
        """The answer's JSON members; none where it is no JSON object."""
        try:
            parsed = json.loads(self.body)
        except ValueError:
            return {}
        return parsed if isinstance(parsed, dict) else {}

    @property
    def code(self) -> str:
        """The outcome or the problem's code, "" where the answer has neither."""
        return str(self.members.get("outcome") or self.members.get("code") or "")

    @property
    def retry_after_s(self) -> float | None:
        """How long to wait before a repeat, None where a repeat is not asked for."""
        return (
            float(self.members.get("retryAfterSeconds", 0.0))
            if self.members.get("retryable") is True
            else None
        )


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who asks, over a session that one thread uses."""

    object_id: str
    token: str = field(repr=False)


def ask(
    session: requests.Session,
    url: str,
    caller: Caller,
    ids: Ids,
    key: str | None,
    bookings: Bookings,
    *,
    healthy: bool = False,
) -> Told:
    """Send one cancel request and keep what came back. Errors: requests' own, when nothing did."""
    headers = {"Authorization": f"Bearer {caller.token}"} | (
        {"Idempotency-Key": key} if key is not None else {}
    )
    body = {"businessId": ids.business_id, "appointmentId": ids.appointment_id}
    asked_at = time.time()
    answer = session.post(
        f"{url}/api/v1/cancel-appointment",
        json=body,
        headers=headers,
        timeout=60,
        allow_redirects=False,
    )
    answered_at = time.time()
    return Told(
        caller.object_id,
        ids,
        key,
        answer.status_code,
        answer.headers,
        answer.content,
        asked_at,
        answered_at,
        stands=bookings.exists(*ids),
        healthy=healthy,
    )


@dataclass(frozen=True, slots=True)
class Call:
    """A cancel or a look that arrived at Graph.

    ``unanswered``: its caller cannot know how it ended; ``plain``: it was answered as Graph does,
    in time.
    """

    step: str
    user: str
    ids: Ids
    unanswered: bool
    plain: bool


class Watch(Faults):
    """Faults that remember every cancel and look, in the order of arrival.

    With ``trust`` False every cancel counts as unanswered, as where callers are killed. An answer
    that comes later than ``slow_s`` counts as none.
    """

    def __init__(self, *, trust: bool = True, slow_s: float = 60.0) -> None:
        super().__init__()
        self._trust = trust
        self._slow_s = slow_s
        self._arrival = threading.Condition()
        self._calls: list[Call] = []

    @property
    def calls(self) -> list[Call]:
        """What arrived so far."""
        with self._arrival:
            return list(self._calls)

    def wait_for(self, number: int, timeout_s: float = 30.0) -> bool:
        """Wait until so many calls have arrived. False when they have not."""
        with self._arrival:
            return self._arrival.wait_for(lambda: len(self._calls) >= number, timeout_s)

    def take(self, step: str, **attributes: str) -> Fault | None:
        """Remember the call, and give the fault it meets."""
        fault = self.choose(step, **attributes)
        ids = Ids(attributes.get("business_id", ""), attributes.get("appointment_id", ""))
        unanswered = (step == "cancel" and not self._trust) or self._leaves_open(fault)
        plain = not unanswered and (fault is None or not fault.replaces_answer)
        with self._arrival:
            self._calls.append(Call(step, attributes.get("user", ""), ids, unanswered, plain))
            self._arrival.notify_all()
        return fault

    def choose(self, step: str, **attributes: str) -> Fault | None:
        """Return the fault for a call: what was placed."""
        return super().take(step, **attributes)

    def _leaves_open(self, fault: Fault | None) -> bool:
        if fault is None:
            return False
        cut = (
            fault.drop
            or fault.reset
            or fault.truncate
            or fault.raw is not None
            or fault.delay_s >= self._slow_s
        )
        return cut or (fault.status is not None and not 400 <= fault.status < 500)


@dataclass(frozen=True, slots=True)
class Truth:
    """What happened.

    ``staff`` says who sees a business; ``booked`` since when each appointment stood (seconds since
    the epoch), ``standing`` which still do.
    """

    booked: Mapping[Ids, float]
    standing: frozenset[Ids]
    staff: Mapping[str, Collection[str]]
    cancellations: Sequence[Cancellation]
    outbox: Sequence[Mail]
    calls: Sequence[Call] = ()

    @classmethod
    def of(cls, bookings: Bookings, booked: Mapping[Ids, float], calls: Sequence[Call]) -> "Truth":
        """Read it from the simulator."""
        return cls(
            booked,
            frozenset(ids for ids in booked if bookings.exists(*ids)),
            {business.business_id: business.staff for business in bookings.businesses()},
            bookings.cancellations,
            bookings.outbox,
            calls,
        )

    def cancelled_at(self, caller: str, ids: Ids) -> float | None:
        """Return when a cancel of this caller took effect, None when none did."""
        if not any(
            Ids(done.business_id, done.appointment_id) == ids and done.by == caller
            for done in self.cancellations
        ):
            return None
        return min(
            (mail.at for mail in self.outbox if Ids(mail.business_id, mail.appointment_id) == ids),
            default=0.0,
        )


class Kind(StrEnum):
    """What must never happen."""

    OFF_CONTRACT = "an answer that is not of the contract"
    LATE = "an answer after the deadline"
    CANCELLED_YET_STANDING = "cancelled was said of an appointment that stands"
    CANCELLED_YET_NEVER_BOOKED = "cancelled was said of an appointment that had never been"
    CONFIRMED_YET_NOT_OURS = (
        "cancelled, confirmed, was said where no cancel of this caller took effect"
    )
    ABSENT_YET_STANDING = "not_found was said of an appointment that stands, to one who sees it"
    ABSENT_YET_OURS = (
        "not_found, confirmed, was said of an appointment that this caller's requests cancelled"
    )
    UNCHANGED_YET_OURS = (
        "upstream_error says that nothing was changed, and this caller's requests had cancelled it"
    )
    SECOND_CANCEL = "an appointment was cancelled more than once"
    SECOND_MAIL = "somebody got no mail of a cancel, or more than one"
    BLIND_REPEAT = "a cancel was sent again, after one that nobody knew the end of, without a look"
    UNSETTLED = "a repeat in a healthy world did not end with an outcome"


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must never happen, and did."""

    kind: Kind
    ids: Ids
    detail: str


def judge(
    told: Iterable[Told], truth: Truth, *, within_s: float, recorded: bool = True
) -> list[Violation]:
    """Return every violation.

    ``within_s`` is how long an answer may take, margin included. ``recorded`` says that the store
    of records never failed. After a failure a repeat may not know of the cancel before it; what its
    caller is told has to be true all the same.
    """
    told = sorted(told, key=lambda one: one.answered_at)
    ours = _Ours(told, truth)
    found = [violation for one in told for violation in _judge_answer(one, truth, ours, within_s)]
    return [
        *found,
        *_judge_effects(truth),
        *_judge_ends(told),
        *(_judge_calls(truth.calls) if recorded else ()),
    ]


class _Ours:
    """Who cancelled what, and which requests of one caller for one appointment overlap."""

    def __init__(self, told: Sequence[Told], truth: Truth) -> None:
        self._requests: defaultdict[tuple[str, Ids], list[Told]] = defaultdict(list)
        for one in told:
            self._requests[one.caller, one.ids].append(one)
        self.cancelled_at = {
            about: at for about in self._requests if (at := truth.cancelled_at(*about)) is not None
        }

    def is_alone(self, one: Told) -> bool:
        """Whether no other request of this caller for this appointment was under way meanwhile."""
        others = (other for other in self._requests[one.caller, one.ids] if other is not one)
        return all(
            other.answered_at < one.asked_at or one.answered_at < other.asked_at for other in others
        )


def _judge_answer(one: Told, truth: Truth, ours: _Ours, within_s: float) -> Iterator[Violation]:
    said = one.body.decode(errors="replace")[:400]
    for fault in off_contract(one):
        yield Violation(Kind.OFF_CONTRACT, one.ids, f"{fault}: {one.status} {said}")
    took_s = one.answered_at - one.asked_at
    if took_s > within_s:
        yield Violation(Kind.LATE, one.ids, f"{took_s:.2f} s: {one.status} {one.code}")
    for kind in _untrue(one, truth, ours):
        yield Violation(kind, one.ids, said)


def _untrue(one: Told, truth: Truth, ours: _Ours) -> Iterator[Kind]:
    cancelled_at = ours.cancelled_at.get((one.caller, one.ids))
    confirmed = one.members.get("confirmed") is True
    was_there = truth.booked.get(one.ids, math.inf) < one.answered_at
    stands = one.stands or (was_there and one.ids in truth.standing)
    match one.code:
        case "cancelled":
            if stands:
                yield Kind.CANCELLED_YET_STANDING
            if not was_there:
                yield Kind.CANCELLED_YET_NEVER_BOOKED
            if was_there and confirmed and (cancelled_at is None or cancelled_at > one.answered_at):
                yield Kind.CONFIRMED_YET_NOT_OURS
        case "not_found":
            if stands and one.caller in truth.staff.get(one.ids.business_id, ()):
                yield Kind.ABSENT_YET_STANDING
            if confirmed and cancelled_at is not None and cancelled_at < one.answered_at:
                yield Kind.ABSENT_YET_OURS
        case "upstream_error":
            if (
                cancelled_at is not None
                and cancelled_at < one.answered_at
                and not one.stands
                and ours.is_alone(one)
            ):
                yield Kind.UNCHANGED_YET_OURS


# What a well-formed request of an allowed caller may be answered, except an outcome: status,
# retryable, and whether the answer names a wait.
_PROBLEMS: Mapping[str, tuple[int, bool, bool]] = {
    "request_in_progress": (409, True, True),
    "throttled": (429, True, True),
    "overloaded": (503, True, True),
    "upstream_unavailable": (503, True, True),
    "upstream_error": (502, False, False),
    "outcome_unknown": (504, True, False),
}


def off_contract(one: Told) -> Iterator[str]:
    """Say in which ways an answer departs from the contract."""
    headers = {name.lower(): value for name, value in one.headers.items()}
    if headers.get("content-type") != "application/json":
        yield f"Content-Type is {headers.get('content-type')}"
    if headers.get("cache-control") != "no-store":
        yield f"Cache-Control is {headers.get('cache-control')}"
    model = CancelAnswer if one.status == 200 else Problem
    try:
        read = model.model_validate_json(one.body, strict=True)
    except ValidationError as error:
        yield f"no {model.__name__}: {error.errors(include_url=False, include_input=False)}"
        return
    if json.loads(read.model_dump_json(by_alias=True, exclude_none=True)) != one.members:
        yield "members that the contract does not have, or null"
    if not _is_uuid(read.request_id):
        yield "requestId is no UUID"
    if isinstance(read, Problem):
        yield from _off_problem(one, read, headers)
    elif (
        (read.business_id, read.appointment_id) != one.ids
        or read.cancelled != (read.outcome == "cancelled")
        or not read.message
    ):
        yield "the outcome is not that of this request, or contradicts itself"


def _off_problem(one: Told, problem: Problem, headers: Mapping[str, str]) -> Iterator[str]:
    status, retryable, waits = _PROBLEMS.get(problem.code, (None, None, None))
    if (one.status, problem.status, problem.retryable) != (status, status, retryable):
        yield "no answer that such a request may get"
    if (waits and problem.retry_after_seconds is None) or (
        problem.retry_after_seconds is not None and problem.retry_after_seconds < 1
    ):
        yield "a wait is due and not named"
    if headers.get("retry-after") != (
        None if problem.retry_after_seconds is None else str(problem.retry_after_seconds)
    ):
        yield "Retry-After and retryAfterSeconds differ"


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _judge_effects(truth: Truth) -> Iterator[Violation]:
    cancels = Counter(Ids(done.business_id, done.appointment_id) for done in truth.cancellations)
    mails = Counter(
        (Ids(mail.business_id, mail.appointment_id), mail.kind) for mail in truth.outbox
    )
    for ids, times in cancels.items():
        if times > 1:
            yield Violation(Kind.SECOND_CANCEL, ids, f"{times} times")
    for ids in cancels.keys() | {ids for ids, _ in mails}:
        got = {"customer": mails[ids, "customer"], "staff": mails[ids, "staff"]}
        if set(got.values()) != {1}:
            yield Violation(Kind.SECOND_MAIL, ids, f"{got}")


def _judge_calls(calls: Sequence[Call]) -> Iterator[Violation]:
    """Each repeat has to be one that a look has shown to be needed.

    Graph itself mails once only because it is kind.
    """
    open_ends: dict[tuple[str, Ids], bool] = {}
    for call in calls:
        about = call.user, call.ids
        if call.step == "get" and call.plain:
            open_ends[about] = False
        elif call.step == "cancel":
            if open_ends.get(about):
                yield Violation(Kind.BLIND_REPEAT, call.ids, f"by {call.user}")
            open_ends[about] = call.unanswered


def _judge_ends(told: Sequence[Told]) -> Iterator[Violation]:
    ends = {(one.caller, one.ids, one.key): one for one in told if one.healthy}
    for one in ends.values():
        if one.status != 200:
            yield Violation(Kind.UNSETTLED, one.ids, f"{one.status} {one.code}")


def tell(violations: Sequence[Violation], most: int = 20) -> str:
    """Say in words what was found."""
    kinds = Counter(violation.kind for violation in violations)
    lines = [f"{times} x {kind.name}: {kind}" for kind, times in kinds.items()]
    return "\n".join(
        [
            *lines,
            *(
                f"{violation.kind.name} {violation.ids}: {violation.detail}"
                for violation in violations[:most]
            ),
        ]
    )
