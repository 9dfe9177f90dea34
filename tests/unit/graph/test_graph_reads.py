"""Reading from Graph: what is repeated, how often and for how long, and what a failure is called.

Real sockets: test_lists_over_http.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from shared.entra.graph_token import GraphToken
from shared.errors import (
    AccessDenied,
    BusinessNotFound,
    ConsentRequired,
    FacadeError,
    InteractionRequired,
    RequestInvalid,
    Throttled,
    TokenRejected,
    UpstreamBroken,
    UpstreamUnavailable,
)
from shared.graph.client import GraphRequest
from shared.graph.endings import Body, GraphAnswer, NoAnswer, Seen
from shared.graph.reads import GraphReads
from shared.identity.caller import Caller
from shared.telemetry.journal import Journal
from shared.transport.deadline import Deadline
from shared.transport.waiting import Waiting

CALLER = Caller(
    "tid",
    "oid",
    "cid",
    2e9,
    can_answer_challenges=True,
    assertion="an.assertion.here",
    fingerprint=b"",
)
FOUND = GraphAnswer(200, resource={"value": []})
BROKEN = GraphAnswer(500, codes=("UnknownError",), request_id="r-500")
PAGE = GraphAnswer(404, Body.PAGE)
UNREADABLE = GraphAnswer(200, Body.PAGE)
BUSY = GraphAnswer(429, codes=("TooManyRequests",), retry_after="1")
STALE = GraphAnswer(401, codes=("InvalidAuthenticationToken",))
CHALLENGED = GraphAnswer(401, codes=("InvalidAuthenticationToken",), claims='{"access_token":{}}')
RESET = NoAnswer(sent=True, cause="ProtocolError")
NOT_SENT = NoAnswer(sent=False, cause="NewConnectionError")


@dataclass
class World:
    """A clock that only sleeping and calling move, Graph's script, and what was done."""

    script: list[Seen]
    time: float = 1000.0
    call_s: float = 0.1
    refusal: FacadeError | None = None
    slept: list[float] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    exchanged: list[str | None] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    fresh: list[bool] = field(default_factory=list)
    refused: list[GraphToken | None] = field(default_factory=list)
    journal: Journal = field(init=False)

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    def random(self) -> float:
        return 0.5

    def exchange(
        self,
        caller: Caller,
        deadline: Deadline,
        *,
        refused: GraphToken | None = None,
        claims: str | None = None,
    ) -> GraphToken:
        assert caller is CALLER
        if self.refusal is not None:
            raise self.refusal
        self.exchanged.append(claims)
        self.refused.append(refused)
        return GraphToken("oid", "tid", f"token-{len(self.exchanged)}")

    def call(
        self,
        request: GraphRequest,
        token: GraphToken,
        *,
        call_id: str,
        timeout_s: float,
        fresh: bool,
    ) -> Seen:
        assert request == GraphRequest(
            "list_businesses", "GET", ("a", "b"), query={"c": "d"}, limit_bytes=4 * 1024 * 1024
        )
        self.ids.append(call_id)
        self.fresh.append(fresh)
        self.timeouts.append(timeout_s)
        self.tokens.append(token.value)
        self.time += self.call_s
        return self.script.pop(0)

    def read(self, deadline_s: float = 9.5) -> Mapping[str, Any]:
        self.journal = journal = Journal("8d5b3f0e-1c1f-4f0a-9a51-6b0c3f6f0001", self.now)
        return GraphReads(self, self, Waiting(self.now, self.sleep, self.random)).read(
            CALLER,
            ("a", "b"),
            {"c": "d"},
            Deadline(self.now() + deadline_s, self.now),
            journal,
            step="list_businesses",
        )


def test_what_graph_answers_is_returned() -> None:
    assert World([FOUND]).read() == {"value": []}


@pytest.mark.parametrize(
    "first",
    [
        BROKEN,
        UNREADABLE,
        PAGE,
        BUSY,
        RESET,
        NOT_SENT,
        GraphAnswer(504, Body.PAGE),
        GraphAnswer(302),
    ],
    ids=repr,
)
def test_a_read_that_failed_is_sent_again_because_it_changes_nothing(first: Seen) -> None:
    world = World([first, first, FOUND])
    assert world.read() == {"value": []}
    assert len(world.slept) == 2


def test_each_call_has_an_id_of_its_own_which_the_journal_knows() -> None:
    world = World([BROKEN, STALE, FOUND])
    world.read()
    assert len({*world.ids, world.journal.request_id}) == 4
    assert all(str(UUID(one)) == one for one in world.ids)
    assert [call_id for _, _, call_id in world.journal.calls] == world.ids


def test_after_a_call_without_an_answer_the_next_takes_a_fresh_connection() -> None:
    world = World([RESET, BUSY, FOUND])
    world.read()
    assert world.fresh == [False, True, False]


def test_the_wait_that_graph_asks_for_is_kept() -> None:
    world = World([GraphAnswer(429, retry_after="3"), FOUND])
    world.read()
    assert world.slept == [3.0]


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        pytest.param(BUSY, Throttled, id="throttled"),
        pytest.param(BROKEN, UpstreamUnavailable, id="500"),
        pytest.param(RESET, UpstreamUnavailable, id="reset"),
        pytest.param(NOT_SENT, UpstreamUnavailable, id="not sent"),
        pytest.param(UNREADABLE, UpstreamBroken, id="unreadable"),
        pytest.param(GraphAnswer(403, Body.PAGE), UpstreamBroken, id="a gateway's page"),
        *(
            pytest.param(GraphAnswer(status, body), UpstreamUnavailable, id=f"{status} {body}")
            for status in (404, 408, 409, 410, 412, 423, 425, 499, 500, 502, 504)
            for body in (Body.JSON, Body.PAGE)
        ),
        *(
            pytest.param(GraphAnswer(status), UpstreamUnavailable, id=str(status))
            for status in (408, 412, 423, 425, 499)
        ),
        pytest.param(
            GraphAnswer(400, codes=("ResourceNotFound",)),
            UpstreamUnavailable,
            id="a 404 of the mailbox in a 400",
        ),
        pytest.param(
            GraphAnswer(403, codes=("ErrorExceededMessageLimit",)),
            UpstreamUnavailable,
            id="mail limit",
        ),
        *(
            pytest.param(
                GraphAnswer(status, codes=("ErrorQuotaExceeded",)),
                UpstreamUnavailable,
                id=f"a full mailbox, {status}",
            )
            for status in (400, 403)
        ),
        pytest.param(
            GraphAnswer(403, codes=("MailboxNotEnabledForRESTAPI",)),
            UpstreamUnavailable,
            id="a 404 of the mailbox in a 403",
        ),
        pytest.param(
            GraphAnswer(404, codes=("ErrorInvalidId",)),
            UpstreamUnavailable,
            id="malformed in a 404",
        ),
        *(
            pytest.param(GraphAnswer(404, codes=(code,)), UpstreamUnavailable, id=code)
            for code in ("ResourceNotFound", "MailboxNotEnabledForRESTAPI", "UnknownError")
        ),
        pytest.param(GraphAnswer(409), UpstreamUnavailable, id="conflict"),
    ],
)
def test_after_three_tries_it_is_said_what_is_in_the_way(
    seen: Seen, cause: type[FacadeError]
) -> None:
    world = World([seen] * 4)
    with pytest.raises(cause) as caught:
        world.read()
    assert type(caught.value) is cause
    assert len(world.script) == 1


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        pytest.param(
            GraphAnswer(404, codes=("ErrorNonExistentMailbox",)),
            BusinessNotFound,
            id="no such mailbox",
        ),
        pytest.param(
            GraphAnswer(404, codes=("ErrorFolderNotFound",)),
            BusinessNotFound,
            id="no member of the calendar",
        ),
        pytest.param(
            GraphAnswer(400, codes=("ErrorNonExistentMailbox",)),
            BusinessNotFound,
            id="the same as a 400",
        ),
        pytest.param(
            GraphAnswer(404, codes=("ErrorInvalidUser",)), BusinessNotFound, id="nobody's address"
        ),
        pytest.param(
            GraphAnswer(400, codes=("ErrorInvalidSmtpAddress",)), BusinessNotFound, id="no address"
        ),
        pytest.param(
            GraphAnswer(400, codes=("ErrorInvalidId",)), RequestInvalid, id="malformed id"
        ),
        pytest.param(GraphAnswer(403, codes=("ErrorAccessDenied",)), AccessDenied, id="denied"),
        pytest.param(GraphAnswer(403, claims="{}"), InteractionRequired, id="challenge in a 403"),
        pytest.param(GraphAnswer(405), UpstreamBroken, id="405"),
        pytest.param(GraphAnswer(400), UpstreamBroken, id="400 without a code"),
        pytest.param(GraphAnswer(400, codes=("BadRequest",)), UpstreamBroken, id="400"),
    ],
)
def test_a_final_refusal_is_never_repeated(seen: Seen, cause: type[FacadeError]) -> None:
    with pytest.raises(cause):
        World([seen]).read()


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    world = World([GraphAnswer(429, retry_after="60")])
    with pytest.raises(Throttled) as caught:
        world.read()
    assert caught.value.retry_after_s == 60
    assert world.slept == []


def test_no_try_may_take_all_the_time_that_is_left() -> None:
    world = World([RESET, FOUND], call_s=0.0)
    world.read(deadline_s=10.0)
    assert world.timeouts[0] == 6.0
    assert world.timeouts[1] < 6.0


def test_a_token_that_graph_no_longer_takes_is_replaced_once() -> None:
    world = World([STALE, FOUND])
    world.read()
    assert (world.exchanged, world.tokens) == ([None, None], ["token-1", "token-2"])
    assert [token and token.value for token in world.refused] == [None, "token-1"]
    with pytest.raises(TokenRejected):
        World([STALE, STALE]).read()
    with pytest.raises(AccessDenied):
        World([STALE, GraphAnswer(401)]).read()


def test_a_claims_challenge_is_answered_once_and_then_handed_on() -> None:
    world = World([CHALLENGED, FOUND])
    world.read()
    assert world.exchanged == [None, '{"access_token":{}}']
    assert [token and token.value for token in world.refused] == [None, "token-1"]
    with pytest.raises(InteractionRequired) as caught:
        World([CHALLENGED, CHALLENGED]).read()
    assert caught.value.claims == '{"access_token":{}}'


def test_without_a_token_graph_is_not_asked() -> None:
    world = World([], refusal=ConsentRequired("Nobody has."))
    with pytest.raises(ConsentRequired):
        world.read()
    assert world.tokens == []
