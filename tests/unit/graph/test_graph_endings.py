"""How an exchange with Graph ended, and whether it may still happen."""

import pytest

from shared.graph.endings import Ending, GraphAnswer, NoAnswer, ending, may_still_happen

EVERY_STATUS = range(100, 600)


@pytest.mark.parametrize("success", [200, 204])
def test_every_status_has_one_ending(success: int) -> None:
    expected = dict.fromkeys(
        EVERY_STATUS, Ending.UNANSWERED
    )  # informational, other successes, redirects, server errors
    expected |= dict.fromkeys(range(400, 500), Ending.ANSWERED)
    expected |= {429: Ending.REFUSED, success: Ending.ANSWERED}
    assert {
        status: ending(GraphAnswer(status), success=success) for status in EVERY_STATUS
    } == expected


@pytest.mark.parametrize("success", [200, 204])
def test_what_cannot_be_read_is_no_success_and_no_not_found_and_still_a_refusal(
    success: int,
) -> None:
    unreadable = {
        status: ending(GraphAnswer(status, readable=False), success=success)
        for status in EVERY_STATUS
    }
    readable = {status: ending(GraphAnswer(status), success=success) for status in EVERY_STATUS}
    assert unreadable == readable | dict.fromkeys((success, 404, 410), Ending.UNANSWERED)


@pytest.mark.parametrize("success", [200, 204])
@pytest.mark.parametrize(
    ("sent", "expected"), [(False, Ending.NOT_SENT), (True, Ending.UNANSWERED)]
)
def test_no_answer_is_told_by_whether_anything_was_sent(
    sent: bool, success: int, expected: Ending
) -> None:
    assert ending(NoAnswer(sent=sent, cause="ReadTimeoutError"), success=success) is expected


def test_only_a_500_and_a_redirect_say_that_it_is_over() -> None:
    unanswered = [
        status
        for status in EVERY_STATUS
        if ending(GraphAnswer(status), success=204) is Ending.UNANSWERED
    ]
    over = [status for status in unanswered if not may_still_happen(GraphAnswer(status))]
    assert over == [*range(300, 400), 500]
    assert may_still_happen(NoAnswer(sent=True, cause="ProtocolError"))


@pytest.mark.parametrize(
    ("codes", "code"), [((), None), (("outer",), "outer"), (("outer", "inner"), "outer")]
)
def test_the_code_to_quote_is_the_outermost(codes: tuple[str, ...], code: str | None) -> None:
    assert GraphAnswer(500, codes=codes).code == code


def test_what_graph_says_of_people_hides_in_repr() -> None:
    assert "Jordan" not in repr(GraphAnswer(200, resource={"customerName": "Jordan"}))
