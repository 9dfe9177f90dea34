"""What Graph's final answers mean.

The codes are those of real answers of Microsoft Bookings and the Exchange store behind it.
"""

import pytest

from shared.errors import (
    AccessDenied,
    FacadeError,
    FieldFault,
    InteractionRequired,
    RequestInvalid,
    TokenRejected,
    UpstreamAnswer,
    UpstreamBroken,
)
from shared.graph.endings import GraphAnswer, NoAnswer
from shared.graph.refusals import read_refusal, says_malformed, says_not_found

MALFORMED = FieldFault("appointmentId", "is malformed")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(GraphAnswer(404, codes=("ErrorItemNotFound",)), id="no such appointment"),
        pytest.param(
            GraphAnswer(404, codes=("ErrorFolderNotFound",)),
            id="the user is no member of the calendar",
        ),
        pytest.param(GraphAnswer(404, codes=("ErrorNonExistentMailbox",)), id="no such mailbox"),
        pytest.param(GraphAnswer(404), id="404 without a code"),
        pytest.param(
            GraphAnswer(404, codes=("anythingElse",)), id="404 with a code that nobody knows"
        ),
        pytest.param(GraphAnswer(404, readable=False), id="404 that is a page"),
        pytest.param(GraphAnswer(410), id="gone"),
        pytest.param(
            GraphAnswer(400, codes=("ErrorItemNotFound",)), id="400 with the code of no such item"
        ),
        pytest.param(
            GraphAnswer(400, codes=("ErrorFolderNotFound",)),
            id="400 with the code of no such folder",
        ),
        pytest.param(
            GraphAnswer(400, codes=("BadRequest", "ErrorNonExistentMailbox")),
            id="400 with the code of no such mailbox beneath",
        ),
        pytest.param(GraphAnswer(400, codes=("itemNotFound",)), id="400 with Graph's own code"),
    ],
)
def test_not_there_and_not_visible_have_many_names(answer: GraphAnswer) -> None:
    assert says_not_found(answer)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(GraphAnswer(204), id="204"),
        pytest.param(GraphAnswer(200), id="200"),
        pytest.param(GraphAnswer(400, codes=("ErrorInvalidRequest",)), id="invalid request"),
        pytest.param(GraphAnswer(400), id="400 without a code"),
        pytest.param(GraphAnswer(403, codes=("ErrorItemNotFound",)), id="403 says why itself"),
        pytest.param(GraphAnswer(401, codes=("InvalidAuthenticationToken",)), id="401"),
        pytest.param(GraphAnswer(409), id="conflict"),
    ],
)
def test_other_answers_do_not_say_that_it_is_not_there(answer: GraphAnswer) -> None:
    assert not says_not_found(answer)


@pytest.mark.parametrize(
    "code",
    [
        "ErrorInvalidIdMalformed",
        "ErrorInvalidId",
        "ErrorInvalidIdEmpty",
        "ErrorInvalidMailboxItemId",
    ],
)
@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_malformed_id_is_told_by_its_code_whatever_the_status(code: str, status: int) -> None:
    assert says_malformed(GraphAnswer(status, codes=("UnknownError", code)))


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(GraphAnswer(400, codes=("RequestBroker--ParseUri",)), id="another code"),
        pytest.param(GraphAnswer(500, codes=("UnknownError",)), id="500 of no known cause"),
        pytest.param(GraphAnswer(500), id="500 with an empty code"),
        pytest.param(GraphAnswer(204, codes=("ErrorInvalidId",)), id="a success"),
        pytest.param(NoAnswer(sent=True, cause="ReadTimeoutError"), id="no answer"),
    ],
)
def test_nothing_else_says_that_an_id_is_malformed(seen: GraphAnswer | NoAnswer) -> None:
    assert not says_malformed(seen)


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        pytest.param(
            GraphAnswer(400, codes=("ErrorInvalidIdMalformed",)), RequestInvalid, id="malformed id"
        ),
        pytest.param(
            GraphAnswer(500, codes=("ErrorInvalidIdMalformed",)),
            RequestInvalid,
            id="malformed id in a 500",
        ),
        pytest.param(
            GraphAnswer(401, claims='{"access_token":{}}'),
            InteractionRequired,
            id="401 with a claims challenge",
        ),
        pytest.param(
            GraphAnswer(403, claims='{"access_token":{}}'),
            InteractionRequired,
            id="403 with a claims challenge",
        ),
        pytest.param(
            GraphAnswer(401, codes=("InvalidAuthenticationToken",)), TokenRejected, id="401"
        ),
        pytest.param(GraphAnswer(403, codes=("ErrorAccessDenied",)), AccessDenied, id="403"),
        pytest.param(GraphAnswer(403), AccessDenied, id="403 without a code"),
        pytest.param(
            GraphAnswer(400, codes=("ErrorInvalidRequest",)), UpstreamBroken, id="invalid request"
        ),
        pytest.param(
            GraphAnswer(400, codes=("RequestBroker--ParseUri",)),
            UpstreamBroken,
            id="unknown segment",
        ),
        pytest.param(GraphAnswer(405), UpstreamBroken, id="405"),
        pytest.param(GraphAnswer(409, codes=("Conflict",)), UpstreamBroken, id="409"),
        pytest.param(GraphAnswer(415), UpstreamBroken, id="415"),
        pytest.param(GraphAnswer(423), UpstreamBroken, id="423"),
    ],
)
def test_a_refusal_is_named_by_its_cause(answer: GraphAnswer, cause: type[FacadeError]) -> None:
    assert type(read_refusal(answer, MALFORMED)) is cause


@pytest.mark.parametrize(
    "status", [status for status in range(400, 500) if status not in (404, 410, 429)]
)
def test_every_refusal_quotes_graph_for_its_support(status: int) -> None:
    error = read_refusal(GraphAnswer(status, codes=("outer", "inner"), request_id="r-1"), MALFORMED)
    assert error.upstream == UpstreamAnswer("graph", status, "outer", "r-1")


def test_a_malformed_id_is_a_fault_of_the_callers_field() -> None:
    error = read_refusal(GraphAnswer(400, codes=("ErrorInvalidIdMalformed",)), MALFORMED)
    assert isinstance(error, RequestInvalid)
    assert error.faults == (MALFORMED,)


def test_a_challenge_is_handed_on_as_it_came() -> None:
    error = read_refusal(
        GraphAnswer(401, claims='{"access_token":{"acrs":{"value":"c1"}}}'), MALFORMED
    )
    assert isinstance(error, InteractionRequired)
    assert error.claims == '{"access_token":{"acrs":{"value":"c1"}}}'
