"""What an answer of Graph says, and how an exchange with it ended.

The codes are those of real answers of Microsoft Bookings and the Exchange store behind it.
"""

import json
from collections.abc import Mapping

import pytest

from shared.graph.endings import (
    Body,
    Ending,
    Gone,
    GraphAnswer,
    NoAnswer,
    cannot_parse_path,
    ending,
    may_refuse_path,
    reached_mail_limit,
    read_answer,
    says_malformed,
    what_is_gone,
)

EVERY_STATUS = range(100, 600)
FINAL = (400, 401, 403, 405, 411, 413, 414, 415, 431)


@pytest.mark.parametrize("success", [200, 204])
def test_every_status_in_graphs_own_form_has_one_ending(success: int) -> None:
    expected = dict.fromkeys(EVERY_STATUS, Ending.UNANSWERED)
    expected |= dict.fromkeys((404, 410, success, *FINAL), Ending.ANSWERED)
    expected |= {429: Ending.REFUSED}
    found = {status: ending(GraphAnswer(status), success=success) for status in EVERY_STATUS}
    assert found == expected


@pytest.mark.parametrize("success", [200, 204])
@pytest.mark.parametrize("body", [Body.JSON, Body.PAGE])
def test_what_is_not_in_graphs_own_form_answers_nothing_but_refuses(
    body: Body, success: int
) -> None:
    expected = dict.fromkeys(EVERY_STATUS, Ending.UNANSWERED) | {429: Ending.REFUSED}
    assert {
        status: ending(GraphAnswer(status, body), success=success) for status in EVERY_STATUS
    } == expected


def test_without_a_body_only_a_404_and_a_410_say_something() -> None:
    answered = [
        status
        for status in EVERY_STATUS
        if ending(GraphAnswer(status, Body.NOTHING), success=204) is Ending.ANSWERED
    ]
    assert answered == [404, 410]


@pytest.mark.parametrize("success", [200, 204])
@pytest.mark.parametrize(
    ("sent", "expected"), [(False, Ending.NOT_SENT), (True, Ending.UNANSWERED)]
)
def test_no_answer_is_told_by_whether_anything_was_sent(
    sent: bool, success: int, expected: Ending
) -> None:
    assert ending(NoAnswer(sent=sent, cause="ReadTimeoutError"), success=success) is expected


ITEM, BUSINESS, NOTHING = Gone.ITEM, Gone.BUSINESS, Gone.NOTHING
GONE: list[tuple[tuple[str, ...], Gone]] = [
    ((), ITEM),
    (("ErrorItemNotFound",), ITEM),
    (("itemNotFound",), ITEM),
    (("ItemNotFound",), ITEM),
    (("ErrorFolderNotFound",), BUSINESS),
    (("ErrorNonExistentMailbox",), BUSINESS),
    (("ErrorInvalidUser",), BUSINESS),
    (("ErrorInvalidSmtpAddress",), BUSINESS),
    (("ErrorInvalidMailbox",), BUSINESS),
    (("ErrorInvalidUserPrincipalName",), BUSINESS),
    (("ErrorInvalidRequest", "ErrorInvalidUser"), BUSINESS),
    (("ResourceNotFound",), NOTHING),
    (("MailboxNotSupportedForRESTAPI",), NOTHING),
    (("MailboxNotEnabledForRESTAPI",), NOTHING),
    (("MailboxInfoStale",), NOTHING),
    (("UnknownError",), NOTHING),
    (("other",), NOTHING),
    (("UnknownError", "ErrorItemNotFound"), ITEM),
    (("ErrorItemNotFound", "UnknownError"), ITEM),
    (("ErrorItemNotFound", "ResourceNotFound"), NOTHING),
    (("ErrorItemNotFound", "ErrorNonExistentMailbox"), BUSINESS),
    (("ErrorNonExistentMailbox", "ErrorItemNotFound"), ITEM),
]


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize(("codes", "gone"), GONE, ids=lambda value: str(value))
def test_the_deepest_known_code_says_what_is_gone(
    codes: tuple[str, ...], gone: Gone, status: int
) -> None:
    answer = GraphAnswer(status, codes=codes)
    assert what_is_gone(answer) is gone
    how = Ending.UNANSWERED if gone is NOTHING else Ending.ANSWERED
    assert ending(answer, success=204) is how


@pytest.mark.parametrize(("codes", "gone"), GONE, ids=lambda value: str(value))
def test_a_400_with_the_code_of_a_404_is_one(codes: tuple[str, ...], gone: Gone) -> None:
    known = codes not in ((), ("UnknownError",), ("other",))
    assert what_is_gone(GraphAnswer(400, codes=codes)) is (gone if known else None)


@pytest.mark.parametrize("status", [401, 403, 405, 409, 500, 503, 200, 204, 429])
def test_with_another_status_no_code_says_what_is_gone(status: int) -> None:
    assert what_is_gone(GraphAnswer(status, codes=("ErrorItemNotFound",))) is None


MAILBOX_CODES = [codes for codes, gone in GONE if gone is NOTHING and "other" not in codes]


@pytest.mark.parametrize("codes", [*MAILBOX_CODES, ("ErrorAccessDenied", "ResourceNotFound")])
def test_a_403_with_a_code_of_the_mailbox_denies_nobody(codes: tuple[str, ...]) -> None:
    answer = GraphAnswer(403, codes=codes)
    known = codes != ("UnknownError",)
    assert what_is_gone(answer) is (NOTHING if known else None)
    assert ending(answer, success=204) is (Ending.UNANSWERED if known else Ending.ANSWERED)


@pytest.mark.parametrize(
    "code",
    [
        "ErrorInvalidIdMalformed",
        "ErrorInvalidId",
        "ErrorInvalidIdEmpty",
        "ErrorInvalidMailboxItemId",
        # The rest of Exchange's family (EWS ResponseCode), and the id of a folder.
        "ErrorInvalidIdMalformedEwsLegacyIdFormat",
        "ErrorInvalidIdMonikerTooLong",
        "ErrorInvalidIdNotAnItemAttachmentId",
        "ErrorInvalidIdReturnedByResolveNames",
        "ErrorInvalidIdStoreObjectIdTooLong",
        "ErrorInvalidIdTooManyAttachmentLevels",
        "ErrorInvalidIdXml",
        "ErrorCannotUseFolderIdForItemId",
    ],
)
def test_a_malformed_id_is_said_by_a_400_alone(code: str) -> None:
    for status in EVERY_STATUS:
        answer = GraphAnswer(status, codes=("UnknownError", code))
        assert says_malformed(answer) is (status == 400)
        final = status in (204, *FINAL)
        assert (ending(answer, success=204) is Ending.ANSWERED) is final
        assert what_is_gone(answer) is (Gone.NOTHING if status in (404, 410) else None)


@pytest.mark.parametrize(
    "answer",
    [
        GraphAnswer(400, codes=("RequestBroker--ParseUri",)),
        GraphAnswer(500, codes=("UnknownError",)),
        GraphAnswer(500),
        GraphAnswer(204, codes=("ErrorInvalidId",)),
    ],
    ids=str,
)
def test_nothing_else_calls_an_id_malformed(answer: GraphAnswer) -> None:
    assert not says_malformed(answer)


@pytest.mark.parametrize(
    ("answer", "outright", "perhaps"),
    [
        (GraphAnswer(400, codes=("RequestBroker--ParseUri",)), True, False),
        (GraphAnswer(400, codes=("BadRequest",)), False, True),
        (GraphAnswer(400, codes=("BadRequest", "RequestBroker--ParseUri")), True, False),
        (GraphAnswer(400), False, False),
        (GraphAnswer(400, codes=("ErrorInvalidRequest",)), False, False),
        (GraphAnswer(400, codes=("BadRequest", "ErrorItemNotFound")), False, False),
        (GraphAnswer(405, codes=("BadRequest",)), False, False),
        (GraphAnswer(404, codes=("RequestBroker--ParseUri",)), False, False),
    ],
    ids=str,
)
def test_a_path_is_refused_by_two_codes_of_a_400(
    answer: GraphAnswer, outright: bool, perhaps: bool
) -> None:
    assert (cannot_parse_path(answer), may_refuse_path(answer)) == (outright, perhaps)


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize(
    "code",
    [
        "ErrorExceededMessageLimit",
        "ErrorExceededHourlyMessageLimit",
        "ErrorExceededMaxRecipientLimit",
        "ErrorSubmissionQuotaExceeded",
        "ErrorMessageSubmissionBlocked",
        "ErrorQuotaExceeded",
    ],
)
def test_a_mailbox_that_may_send_no_more_mail_refuses_nobody(code: str, status: int) -> None:
    for codes in ((code,), ("ErrorAccessDenied", code)):
        answer = GraphAnswer(status, codes=codes)
        assert reached_mail_limit(answer)
        assert ending(answer, success=204) is Ending.UNANSWERED
        assert ending(answer, success=200) is Ending.UNANSWERED
    assert not reached_mail_limit(GraphAnswer(status, codes=("ErrorAccessDenied",)))
    assert not reached_mail_limit(GraphAnswer(500, codes=(code,)))


# Reading.

OWN = json.dumps({"error": {"code": "a"}}).encode()
BEARER = {"www-authenticate": 'Bearer realm=""'}
CLAIMS = {"www-authenticate": 'Bearer claims="eyJhIjp7fX0="'}
type Forms = list[tuple[int, bytes, Mapping[str, str], Body]]
FORMS: Forms = [
    (204, b"", {}, Body.FITTING),
    (204, b"{}", {}, Body.PAGE),
    (204, b"", {"content-length": "2"}, Body.PAGE),
    (200, b"{}", {}, Body.FITTING),
    (200, b"", {}, Body.NOTHING),
    (200, b"[]", {}, Body.JSON),
    (200, b"<html>", {}, Body.PAGE),
    (200, b'{"id": "a', {}, Body.PAGE),
    (404, b"", {}, Body.NOTHING),
    (404, OWN, {}, Body.FITTING),
    (404, b"\xef\xbb\xbf" + OWN, {}, Body.FITTING),
    (404, b'{"error": {}}', {}, Body.FITTING),
    (404, b"{}", {}, Body.JSON),
    (404, b'{"statusCode": 404}', {}, Body.JSON),
    (404, b'{"error": "Not Found"}', {}, Body.JSON),
    (404, b'{"error": null}', {}, Body.JSON),
    (404, b'[{"error": {}}]', {}, Body.JSON),
    (404, b'"gone"', {}, Body.JSON),
    *((400, raw, {}, Body.JSON) for raw in (b"null", b"0", b"false", b"[]", b'""', b" null\n")),
    (400, b'{"error": [{"code": "ErrorItemNotFound"}]}', {}, Body.JSON),
    (400, '{"error": {"code": "a"}}'.encode("utf-16"), {}, Body.PAGE),
    (400, b'{"error": {"code": "\xff"}}', {}, Body.PAGE),
    (404, b"Not Found", {}, Body.PAGE),
    (404, b"<html>", {}, Body.PAGE),
    (404, b"[" * 30_000, {}, Body.PAGE),
    (404, b" ", {}, Body.PAGE),
    (401, b"", {}, Body.NOTHING),
    (401, b"", BEARER, Body.FITTING),
    (401, b"", {"www-authenticate": 'Basic realm="a", Bearer realm="b"'}, Body.FITTING),
    (401, b"", {"www-authenticate": 'Basic realm="Bearer"'}, Body.NOTHING),
    (401, b"<html>", BEARER, Body.PAGE),
    (401, b"{}", BEARER, Body.JSON),
    (403, b"", BEARER, Body.NOTHING),
    (403, b"", CLAIMS, Body.FITTING),
    (400, b"", BEARER, Body.NOTHING),
]


@pytest.mark.parametrize(("status", "raw", "headers", "body"), FORMS)
def test_the_form_of_an_answer_is_told_by_its_body(
    status: int, raw: bytes, headers: Mapping[str, str], body: Body
) -> None:
    assert read_answer(status, headers, raw, whole=True).body is body


def test_what_is_not_whole_is_a_page() -> None:
    assert read_answer(404, {}, OWN, whole=False).body is Body.PAGE


@pytest.mark.parametrize("code", ["Resource could not be discovered", " ", "a" * 65, 404, {}, True])
def test_a_code_that_is_no_word_is_a_code_all_the_same(code: object) -> None:
    raw = json.dumps({"error": {"code": code}}).encode()
    answer = read_answer(404, {}, raw, whole=True)
    assert (answer.codes, what_is_gone(answer)) == (("other",), Gone.NOTHING)


@pytest.mark.parametrize("error", [{}, {"code": ""}, {"code": None}, {"innerError": {"code": ""}}])
def test_an_error_without_a_code_counts_as_bare(error: object) -> None:
    answer = read_answer(404, {}, json.dumps({"error": error}).encode(), whole=True)
    assert (answer.codes, what_is_gone(answer)) == ((), Gone.ITEM)


@pytest.mark.parametrize(
    ("codes", "code"), [((), None), (("outer",), "outer"), (("outer", "inner"), "outer")]
)
def test_the_code_to_quote_is_the_outermost(codes: tuple[str, ...], code: str | None) -> None:
    assert GraphAnswer(500, codes=codes).code == code


def test_what_graph_says_of_people_hides_in_repr() -> None:
    assert "Jordan" not in repr(GraphAnswer(200, resource={"customerName": "Jordan"}))
