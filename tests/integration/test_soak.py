"""The soak itself: it runs, and nothing wrong gets past it.

Wrong is what is untrue, off the contract, or grows. Not timed.
"""

import json
import mmap
import uuid
from collections.abc import Mapping
from dataclasses import replace

import pytest

from cancel_appointment import contract
from cancel_appointment.outcome import CancelOutcome, Outcome
from cancel_appointment.request import CancelRequest
from shared import errors
from shared.errors import FacadeError, FieldFault
from shared.serving.problems import Reply, problem
from tests.benchmarks.soak import (
    DEPLOYED,
    REPOSITORY,
    Options,
    Record,
    Sample,
    as_json,
    report,
    soak,
)
from tests.benchmarks.soak_judge import Errand, judge
from tests.benchmarks.soak_script import (
    FATES,
    NEVER_WAS,
    STANDS,
    Seen,
    appointment_id,
    business_id,
    object_id,
    read_appointment_id,
    user_of,
)
from tests.benchmarks.soak_upstream import Upstream
from tests.benchmarks.wire import Call
from tests.integration.violations import Ids, Told


def test_a_small_soak_judges_every_answer_and_watches_the_process() -> None:
    record = soak(Options(requests=500, concurrency=16, users=10, seed="small"))
    assert not record.violations, record.examples
    assert record.answered == 500
    assert record.said["cancelled"] > 300
    assert {"not_found", "not_found?", "cancelled+", "invalid_request"} <= record.said.keys()
    assert {
        "plain",
        "key",
        "never was",
        "repeat",
        "twice",
        "bad token",
        "bad body",
    } <= record.kinds.keys()
    assert len(record.samples) >= 90
    first, last = record.samples[0], record.samples[-1]
    assert 0 < first.answered < 10
    assert last.answered == 500
    assert all(
        one.rss_kib > 20_000 and one.threads > 5 and one.sockets > 5 and one.handles > 0
        for one in record.samples
    )
    assert [bar.name for bar in record.bars() if "contract" in bar.name and bar.kept]
    assert "500 requests" in report(record)
    assert json.loads(as_json(record))["answered"] == 500


def errand(letter: str = STANDS, *says: str, alone: bool = True) -> Errand:
    ids = Ids(business_id(7), appointment_id(letter, 7, 3))
    return Errand(
        "plain", ids, letter, 7, 3, frozenset(says or {FATES[letter].says}), b"", {}, alone=alone
    )


def told(asked: Errand, reply: Reply) -> Told:
    return Told(
        object_id(asked.user),
        asked.ids,
        None,
        reply.status,
        dict(reply.headers),
        reply.body,
        0.0,
        0.1,
        stands=False,
    )


def outcome(asked: Errand, said: str) -> Reply:
    request = CancelRequest(
        businessId=asked.ids.business_id, appointmentId=asked.ids.appointment_id
    )
    ended = CancelOutcome(
        Outcome(said.rstrip("?+")), confirmed="?" not in said, replayed="+" in said
    )
    return contract.answer(ended, request, str(uuid.uuid4()))


REFUSED: Mapping[str, FacadeError] = {
    "throttled": errors.Throttled("-", retry_after_s=120),
    "upstream_error": errors.UpstreamBroken("-"),
    "invalid_request": errors.RequestInvalid(
        "-", faults=(FieldFault("appointmentId", "is malformed"),)
    ),
    "access_denied": errors.AccessDenied("-"),
    "interaction_required": errors.InteractionRequired("-", claims='{"access_token":{}}'),
    "outcome_unknown": errors.OutcomeUnknown("-", retry_after_s=5),
    "idempotency_key_reused": errors.IdempotencyKeyReused("-"),
    "invalid_token": errors.TokenRejected("-"),
    "overloaded": errors.Overloaded("-"),
}


def say(asked: Errand, said: str) -> Told:
    if said in REFUSED:
        return told(
            asked, problem(REFUSED[said], str(uuid.uuid4()), accept=None, authorization_uri=None)
        )
    return told(asked, outcome(asked, said))


CANCELLED = Seen.GONE | Seen.ANSWERED


def seen_of(letter: str) -> Seen:
    says = FATES[letter].says
    return CANCELLED if says == "cancelled" else Seen.GONE if FATES[letter].effect else Seen(0)


@pytest.mark.parametrize("letter", FATES, ids=lambda letter: FATES[letter].name)
def test_what_is_due_is_no_violation(letter: str) -> None:
    asked = errand(letter)
    assert list(judge(asked, say(asked, FATES[letter].says), seen_of(letter))) == []


@pytest.mark.parametrize(
    ("asked", "said", "seen", "wrong"),
    [
        pytest.param(
            errand(),
            "cancelled",
            Seen(0),
            "no cancel was carried out",
            id="cancelled, and it stands",
        ),
        pytest.param(
            errand(NEVER_WAS, "cancelled"),
            "cancelled",
            Seen(0),
            "no cancel was carried out",
            id="cancelled, and it never was",
        ),
        pytest.param(
            errand(),
            "not_found",
            CANCELLED,
            "not_found, confirmed",
            id="not_found of what was cancelled",
        ),
        pytest.param(errand(), "not_found?", Seen(0), "stands", id="not_found of what stands"),
        pytest.param(
            errand(NEVER_WAS),
            "not_found?",
            Seen(0),
            "was due",
            id="unconfirmed where Graph's answer settled it",
        ),
        pytest.param(
            errand(), "cancelled?", CANCELLED, "was due", id="cancelled, unconfirmed, after a 204"
        ),
        pytest.param(
            errand("m"),
            "upstream_error",
            Seen.GONE,
            "nothing was changed",
            id="nothing was changed, and it was cancelled",
        ),
        pytest.param(
            errand(), "upstream_error", Seen(0), "was due", id="a problem where an outcome was due"
        ),
        pytest.param(
            errand(STANDS, "cancelled+"),
            "cancelled",
            CANCELLED,
            "was due",
            id="a repeat that is not told as one",
        ),
        pytest.param(
            errand(STANDS, "idempotency_key_reused"),
            "cancelled",
            CANCELLED,
            "was due",
            id="a key taken twice",
        ),
        pytest.param(
            errand(),
            "cancelled",
            CANCELLED | Seen.REPEATED,
            "cancelled again",
            id="a second cancel",
        ),
        pytest.param(
            errand(), "cancelled", CANCELLED | Seen.BLIND, "without a look", id="a blind repeat"
        ),
        pytest.param(
            errand(),
            "cancelled",
            CANCELLED | Seen.CROSSED,
            "another user",
            id="somebody else's token",
        ),
    ],
)
def test_what_is_not_true_is_a_violation(asked: Errand, said: str, seen: Seen, wrong: str) -> None:
    found = list(judge(asked, say(asked, said), seen))
    assert any(wrong in one for one in found), found


def test_too_much_to_do_is_no_violation_unless_something_was_changed() -> None:
    assert list(judge(errand(), say(errand(), "overloaded"), Seen(0))) == []
    assert list(judge(errand(), say(errand(), "overloaded"), CANCELLED)) != []
    assert list(judge(errand(), say(errand(), "outcome_unknown"), CANCELLED)) == []


@pytest.mark.parametrize("said", ["cancelled", "throttled", "invalid_token", "invalid_request"])
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(
            lambda good: replace(good, headers={**good.headers, "Content-Type": "text/html"}),
            id="content type",
        ),
        pytest.param(
            lambda good: replace(
                good,
                headers={
                    name: text for name, text in good.headers.items() if name != "Cache-Control"
                },
            ),
            id="no Cache-Control",
        ),
        pytest.param(lambda good: replace(good, body=b"{}"), id="no members"),
        pytest.param(lambda good: replace(good, body=b"<html>"), id="no JSON"),
        pytest.param(
            lambda good: replace(good, body=good.body[:-1] + b', "debug": 1}'), id="another member"
        ),
        pytest.param(lambda good: replace(good, status=500), id="another status"),
    ],
)
def test_what_is_off_the_contract_is_a_violation(said: str, spoil: object) -> None:
    asked = errand(STANDS, said)
    good = say(asked, said)
    seen = CANCELLED if said == "cancelled" else Seen(0)
    assert list(judge(asked, good, seen)) == []
    assert callable(spoil)
    assert list(judge(asked, spoil(good), seen)) != []


def test_an_appointments_id_says_what_becomes_of_it() -> None:
    assert read_appointment_id(appointment_id("k", 12_345_678, 199)) == ("k", 12_345_678, 199)
    assert user_of(object_id(199)) == 199


class Graph:
    """The upstream, called by hand."""

    def __init__(self) -> None:
        self.seen = mmap.mmap(-1, 10)
        self._upstream = Upstream(self.seen, {"kid": "k"}, 0.005)

    def call(self, letter: str, *, method: str = "POST", user: int = 3, token_of: int = 3) -> int:
        tail = "/cancel" if method == "POST" else ""
        target = (
            "/v1.0/solutions/bookingBusinesses/b%40c/appointments/"
            f"{appointment_id(letter, 7, user).replace('=', '%3D')}{tail}"
        )
        head = f"\r\nAccept: */*\r\nAuthorization: Bearer {object_id(token_of)}.1.AA\r\n"
        _, wire = self._upstream.respond(Call(method, target, head.encode(), b""))
        return 0 if wire is None else int(wire.split()[1])

    def look(self, letter: str) -> int:
        return self.call(letter, method="GET")

    @property
    def wrongs(self) -> Seen:
        return Seen(self.seen[7]) & (Seen.REPEATED | Seen.BLIND | Seen.CROSSED)


@pytest.mark.parametrize(
    "letter",
    [letter for letter, fate in FATES.items() if not fate.lasts and letter != "q"],
    ids=lambda letter: FATES[letter].name,
)
def test_whoever_looks_before_a_repeat_does_nothing_wrong(letter: str) -> None:
    graph = Graph()
    statuses = [graph.call(letter)]
    if statuses[0] not in (204, 429) or letter == "r":
        if graph.look(letter) == 200:
            statuses.append(graph.call(letter))
    elif statuses[0] == 429:
        statuses.append(graph.call(letter))
    assert statuses[0] == FATES[letter].status if letter != NEVER_WAS else 404
    assert graph.wrongs == Seen(0)
    assert bool(graph.seen[7] & Seen.GONE) is (letter != NEVER_WAS)
    assert graph.look(letter) == 404


def test_the_upstream_notices_a_second_cancel_a_blind_repeat_and_a_token_of_another_user() -> None:
    graph = Graph()
    assert [graph.call(STANDS), graph.call(STANDS)] == [204, 404]
    assert graph.wrongs == Seen.REPEATED
    graph = Graph()
    assert [graph.call("a"), graph.call("a")] == [500, 204]
    assert graph.wrongs == Seen.BLIND
    graph = Graph()
    assert graph.call(STANDS, token_of=4) == 204
    assert graph.wrongs == Seen.CROSSED


def record_of(samples: list[Sample], **found: object) -> Record:
    record = Record(answered=samples[-1].answered, samples=samples)
    for name, value in found.items():
        setattr(record, name, value)
    return record


def steady(number: int) -> Sample:
    return Sample(number * 1000, float(number), 100_000, 90, 160, 4)


def not_kept(record: Record) -> list[str]:
    return [bar.name for bar in record.bars() if not bar.kept]


def test_a_process_that_stays_what_it_is_keeps_every_bar() -> None:
    assert not_kept(record_of([steady(n) for n in range(1, 101)])) == []


@pytest.mark.parametrize(
    ("grown", "bar"),
    [
        ({"rss_kib": 105_001}, "memory within 5%"),
        ({"threads": 96}, "no growth of threads"),
        ({"sockets": 170}, "no growth of sockets"),
        ({"handles": 5}, "no growth of other handles"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_that_grows_does_not(grown: Mapping[str, int], bar: str) -> None:
    samples = [replace(steady(n), **grown) if n > 65 else steady(n) for n in range(1, 101)]
    assert not_kept(record_of(samples)) == [bar]


def test_a_violation_and_a_service_that_only_says_that_it_is_busy_keep_no_bar() -> None:
    record = record_of([steady(n) for n in range(1, 101)], excused=1_001)
    record.violate("something untrue", "an example")
    assert not_kept(record) == ["no violation of the contract", "the service kept up"]
    assert "1 x something untrue" in report(replace(record, seconds=1.0))


def test_it_soaks_what_is_deployed() -> None:
    template = (REPOSITORY / "infra" / "modules" / "app.bicep").read_text()
    assert all(f"  {name}: '{value}'" in template for name, value in DEPLOYED.items())
