"""What Graph's final refusals mean."""

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
from shared.graph.refusals import malformed, quote, read_refusal

STALE = GraphAnswer(401, codes=("InvalidAuthenticationToken",))


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        pytest.param(
            GraphAnswer(401, claims='{"access_token":{}}'), InteractionRequired, id="challenge"
        ),
        pytest.param(
            GraphAnswer(403, claims='{"access_token":{}}'), InteractionRequired, id="in a 403"
        ),
        pytest.param(STALE, TokenRejected, id="401"),
        pytest.param(GraphAnswer(401), TokenRejected, id="401 without a code"),
        pytest.param(GraphAnswer(403, codes=("ErrorAccessDenied",)), AccessDenied, id="403"),
        pytest.param(GraphAnswer(403), AccessDenied, id="403 without a code"),
        *(
            pytest.param(GraphAnswer(status), UpstreamBroken, id=str(status))
            for status in (400, 405, 411, 413, 414, 415, 431)
        ),
    ],
)
def test_a_refusal_is_its_error(answer: GraphAnswer, cause: type[FacadeError]) -> None:
    assert type(read_refusal(answer, renewed=False)) is cause


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (STALE, TokenRejected),
        (GraphAnswer(401, codes=("a", "InvalidAuthenticationToken")), TokenRejected),
        (GraphAnswer(401), AccessDenied),
        (GraphAnswer(401, codes=("UnknownError",)), AccessDenied),
        (GraphAnswer(401, codes=("ErrorAccessDenied",)), AccessDenied),
        (GraphAnswer(401, codes=("UnknownError",), claims="{}"), InteractionRequired),
    ],
    ids=str,
)
def test_a_renewed_token_that_is_refused_is_mended_by_no_sign_in(
    answer: GraphAnswer, cause: type[FacadeError]
) -> None:
    assert type(read_refusal(answer, renewed=True)) is cause


@pytest.mark.parametrize("status", [400, 401, 403, 405])
def test_what_graph_said_is_quoted(status: int) -> None:
    error = read_refusal(
        GraphAnswer(status, codes=("outer", "inner"), request_id="r-1"), renewed=False
    )
    assert error.upstream == UpstreamAnswer("graph", status, "outer", "r-1")
    assert quote(NoAnswer(sent=True, cause="ProtocolError")) == UpstreamAnswer("graph")


def test_a_malformed_id_names_its_field() -> None:
    error = malformed(GraphAnswer(400, codes=("ErrorInvalidIdMalformed",)), "businessId")
    assert type(error) is RequestInvalid
    assert error.faults == (FieldFault("businessId", "is malformed, says Microsoft Graph"),)
    assert error.reason == "businessId is malformed, says Microsoft Graph."


def test_a_challenge_is_handed_on() -> None:
    error = read_refusal(
        GraphAnswer(401, claims='{"access_token":{"acrs":{"value":"c1"}}}'), renewed=False
    )
    assert isinstance(error, InteractionRequired)
    assert error.claims == '{"access_token":{"acrs":{"value":"c1"}}}'
