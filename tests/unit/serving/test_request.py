"""CancelRequest: every rule for the body and the Idempotency-Key.

Nothing but a request or a named fault ever comes out.
"""

import json
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from cancel_appointment.request import (
    IDEMPOTENCY_KEY_PATTERN,
    MAX_BODY_BYTES,
    CancelRequest,
    parse_cancel_request,
    parse_idempotency_key,
)
from infra.contract.schemas import schemas_of
from infra.local import seed
from shared.errors import BodyTooLarge, FieldFault, MediaTypeUnsupported, RequestInvalid
from shared.ids import BLANKS

JSON = "application/json"
GOOD = {
    "businessId": seed.LUNCH_DELIVERY,
    "appointmentId": seed.EXAMPLE_APPOINTMENT,
    "cancellationMessage": seed.EXAMPLE_MESSAGE,
}


def parse(body: object, content_type: str | None = JSON) -> CancelRequest:
    return parse_cancel_request(
        content_type, body if isinstance(body, bytes) else json.dumps(body).encode()
    )


def faults_of(body: object) -> list[tuple[str, str]]:
    with pytest.raises(RequestInvalid) as caught:
        parse(body)
    assert caught.value.faults
    return [(fault.field, fault.message) for fault in caught.value.faults]


def with_member(name: str, value: object) -> dict[str, object]:
    return {**GOOD, name: value}


# What is accepted.


def test_the_documented_request_is_read_as_it_is_written() -> None:
    request = parse(GOOD)

    assert (request.business_id, request.appointment_id) == (
        seed.LUNCH_DELIVERY,
        seed.EXAMPLE_APPOINTMENT,
    )
    assert request.cancellation_message == seed.EXAMPLE_MESSAGE


@pytest.mark.parametrize(
    "body",
    [
        {**GOOD, "cancellationMessage": None},
        {k: v for k, v in GOOD.items() if k != "cancellationMessage"},
    ],
)
def test_a_message_that_is_null_or_left_out_is_no_message(body: object) -> None:
    assert parse(body).cancellation_message is None


def test_a_request_cannot_be_changed_and_does_not_show_its_message() -> None:
    request = parse(GOOD)

    assert seed.EXAMPLE_MESSAGE not in repr(request)
    assert seed.EXAMPLE_MESSAGE not in str(request)
    with pytest.raises(ValidationError):
        request.business_id = "another"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("member", "length"),
    [("businessId", 320), ("appointmentId", 1024), ("cancellationMessage", 2000)],
    ids=lambda value: str(value),
)
@pytest.mark.parametrize(
    "character", ["a", "é", "\U0001f5d3"], ids=["ascii", "two bytes", "outside the basic plane"]
)
def test_a_length_is_counted_in_characters_and_its_limit_is_included(
    member: str, length: int, character: str
) -> None:
    at_the_limit = parse(with_member(member, character * length))
    assert character * length in at_the_limit.model_dump(by_alias=True).values()

    [(field, message)] = faults_of(with_member(member, character * (length + 1)))
    assert (field, str(length) in message) == (member, True)


ODD = [
    "AAMk/AD+Ko_-AAA=",
    "a..b/c",
    ".a",
    "..;",
    "100%",
    "%2",
    "%zz",
    "a?b#c;d\\e",
    "a b",
    "o'brien@contoso.com",
    "a'b\"c",
    '"a',
    '"',
    "a<b>c",
    "\U0001f5d3\ufe0f",
    "e\u0301",
    "\U0010ffff",
]


@pytest.mark.parametrize("identifier", ODD, ids=ascii)
@pytest.mark.parametrize("member", ["businessId", "appointmentId"])
def test_an_unusual_id_is_an_id_and_comes_back_exactly(member: str, identifier: str) -> None:
    assert parse(with_member(member, identifier)).model_dump(by_alias=True)[member] == identifier


# Unicode's property White_Space, and its format characters, of which zero-width ones, direction
# marks and the byte order mark are some, and the selectors of variants beyond the basic plane.
WHITE = [*map(chr, range(0x09, 0x0E)), " ", "\x85"]
UNSEEN = [
    *WHITE,
    *(
        character
        for character in map(chr, range(0x110000))
        if unicodedata.category(character) in ("Zs", "Zl", "Zp", "Cf") and character != " "
    ),
    *map(chr, range(0xE0100, 0xE01F0)),
    *"\u034f\u115f\u1160\u17b4\u17b5\u2065\u2800\u3164\uffa0\U0001d159",
]


@pytest.mark.parametrize("member", ["businessId", "appointmentId"])
def test_what_nobody_sees_around_an_id_is_no_part_of_it(member: str) -> None:
    for unseen in (*UNSEEN, "\r\n", "\ufeff \u200b\t", "".join(UNSEEN)):
        for text in (f"{unseen}a b", f"a b{unseen}", f"{unseen}{unseen}a b{unseen}"):
            kept = parse(with_member(member, text)).model_dump(by_alias=True)[member]
            assert kept == "a b", ascii(text)


@pytest.mark.parametrize("member", ["businessId", "appointmentId"])
def test_an_id_holds_no_invisible_character(member: str) -> None:
    for unseen in UNSEEN:
        if unseen != " ":
            [(field, message)] = faults_of(with_member(member, f"a{unseen}b"))
            assert (field, message) in (
                (member, "must not hold invisible characters"),
                (member, "must not hold control characters"),
            ), ascii(unseen)


REFUSED = {
    "percent-encoded": ["AAMkADKoAAA%3D", "a%40b.c", "%2e%2e", "%2F", "a%252Fb", "%c3%a5", "a%0ab"],
    "quotation marks": [
        *('"a"', "'a'", "`a`", "\u201ca\u201d", "\u201ea\u201c", "\u2018a\u2019", "\u00aba\u00bb"),
        *("\u2039a\u203a", "\u300ca\u300d", "\uff02a\uff02", "\"a'", '\\"a\\"', ' "a" ', '""'),
    ],
    "mailto:": ["mailto:a@b.c", "MAILTO:a@b.c", "MailTo: a@b.c", "\u200bmailto:a", "mailto :a"],
    "< and >": ["Name <a@b.c>", "<a@b.c>", '"Name" <a@b.c>', "Name <a@b.c>;", "Name <a@b.c>\n"],
    "is not an id": [
        *(".", "..", "...", ". .", " .", "\u3000.", "../../other@x.com/appointments/X"),
        *("a/../b", "a/./b", "a\\..\\b", "a/..\\b", "a/..", "../a", "..\\a", "a/.. /b", "a/ ../b"),
        *("/..", "/.", ".\\"),
    ],
}


@pytest.mark.parametrize(
    ("said", "identifier"),
    [(said, identifier) for said, identifiers in REFUSED.items() for identifier in identifiers],
    ids=ascii,
)
@pytest.mark.parametrize("member", ["businessId", "appointmentId"])
def test_what_cannot_be_an_id_is_refused_in_words(member: str, said: str, identifier: str) -> None:
    [(field, message)] = faults_of(with_member(member, identifier))
    assert (field, said in message) == (member, True), message


def test_newline_and_tab_are_allowed_in_the_message() -> None:
    assert (
        parse(
            with_member("cancellationMessage", "Dear\tcustomer,\r\n\ngood bye.")
        ).cancellation_message
        == "Dear\tcustomer,\r\n\ngood bye."
    )


def test_a_byte_order_mark_is_no_part_of_the_body() -> None:
    assert parse(b"\xef\xbb\xbf" + json.dumps(GOOD).encode()) == parse(GOOD)


def test_members_may_be_escaped_and_spaced_as_json_allows() -> None:
    body = b' {\n "business\\u0049d" : "a\\u002fb" ,\t"appointmentId":"\\ud83d\\uddd3" } '
    assert parse(body) == CancelRequest.model_validate(
        {"businessId": "a/b", "appointmentId": "\U0001f5d3"}
    )


# What is refused, with one entry per fault.


def test_every_fault_gets_an_entry_of_its_own() -> None:
    body = {
        "businessId": "",
        "appointmentId": 7,
        "cancellationMessage": "x" * 2001,
        "bookingId": "x",
    }

    assert sorted(faults_of(body)) == [
        ("appointmentId", "must be a text"),
        ("bookingId", "is not a member of this request"),
        ("businessId", "must not be blank"),
        ("cancellationMessage", "should have at most 2000 characters"),
    ]


def reason_of(body: object) -> str:
    with pytest.raises(RequestInvalid) as caught:
        parse(body)
    return caught.value.reason


def test_the_reason_names_the_first_fault_and_how_many_more() -> None:
    assert reason_of({**GOOD, "businessId": None}) == "businessId is required."
    assert reason_of({"appointmentID": "x"}) == (
        "businessId is required (2 more faults; see errors)."
    )
    assert reason_of({f"m{number}": 1 for number in range(3000)}).endswith(
        "(3001 more faults; see errors)."
    )
    assert reason_of(b"") == "The body is empty; send Content-Length."
    assert reason_of([]) == "The body must be a JSON object."


def test_neither_the_reason_nor_the_log_has_a_callers_own_text() -> None:
    for body in ({**GOOD, "MARKER": 1}, b'{"MARKER":1,"MARKER":2}', {**GOOD, "MARKER\ud800": 1}):
        with pytest.raises(RequestInvalid) as caught:
            parse(body)
        assert "MARKER" not in caught.value.reason
        assert caught.value.fields == "unknown"
    with pytest.raises(RequestInvalid) as caught:
        parse({"appointmentId": "", "MARKER": 1, "MARKER2": 2})
    assert caught.value.fields == "businessId,appointmentId,unknown"
    with pytest.raises(RequestInvalid) as caught:
        parse(b'{"businessId":"a","businessId":"b"}')
    assert caught.value.fields == "businessId"


@pytest.mark.parametrize("member", ["businessId", "appointmentId"])
def test_an_id_is_required(member: str) -> None:
    assert faults_of({name: value for name, value in GOOD.items() if name != member}) == [
        (member, "is required")
    ]


@pytest.mark.parametrize("member", ["businessId", "appointmentId", "cancellationMessage"])
@pytest.mark.parametrize("value", [7, 7.5, True, [], ["a"], {}, {"a": 1}], ids=repr)
def test_another_type_is_not_taken_for_a_text(member: str, value: object) -> None:
    assert faults_of(with_member(member, value)) == [(member, "must be a text")]


@pytest.mark.parametrize("member", ["businessId", "appointmentId"])
def test_null_in_the_place_of_an_id_is_an_id_left_out(member: str) -> None:
    assert faults_of(with_member(member, None)) == [(member, "is required")]


BLANK = ["", " ", "\u00a0", "\u3000 ", "\t\r\n", "\u200b\ufeff"]


@pytest.mark.parametrize("blank", BLANK, ids=ascii)
@pytest.mark.parametrize("member", ["businessId", "appointmentId"])
def test_a_blank_id_is_refused(member: str, blank: str) -> None:
    assert faults_of(with_member(member, blank)) == [(member, "must not be blank")]


@pytest.mark.parametrize("blank", [*BLANK, "\0", "\ud800", "\x0b \x9f"], ids=ascii)
def test_a_blank_message_is_no_message(blank: str) -> None:
    assert parse(with_member("cancellationMessage", blank)).cancellation_message is None


CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]


def test_the_control_characters_are_c0_del_and_c1() -> None:
    assert [
        character
        for character in map(chr, range(0x110000))
        if unicodedata.category(character) == "Cc"
    ] == CONTROLS


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
@pytest.mark.parametrize("member", ["businessId", "appointmentId"])
def test_an_id_holds_no_control_character(member: str, control: str) -> None:
    fault = (member, "must not hold control characters")
    assert faults_of(with_member(member, f"a{control}b")) == [fault]
    if control not in WHITE:
        assert faults_of(with_member(member, f"a{control}")) == [fault]
        assert faults_of(with_member(member, f"{control}a")) == [fault]


def test_what_no_mail_can_show_is_dropped_from_the_message_or_ends_a_line() -> None:
    kept = {"\t": "\t", "\n": "\n", "\r": "\r", "\x0b": "\n", "\x0c": "\n", "\x85": "\n"}
    unshown = [*CONTROLS, "\ud800", "\udfff", "\udc00\ud800", "\ufffe", "\uffff"]
    for character in unshown:
        request = parse(with_member("cancellationMessage", f"a{character}b\U0001f5d3"))
        assert request.cancellation_message == f"a{kept.get(character, '')}b\U0001f5d3"


def test_the_message_is_measured_as_it_is_kept() -> None:
    text = "\0" * 500 + "x" * 2000 + "\ud800"
    assert parse(with_member("cancellationMessage", text)).cancellation_message == "x" * 2000
    [(field, message)] = faults_of(with_member("cancellationMessage", "\0" + "x" * 2001))
    assert (field, "2000" in message) == ("cancellationMessage", True)


@pytest.mark.parametrize("member", ["businessId", "appointmentId"])
@pytest.mark.parametrize("half", ["\ud800", "a\udfff", "\udc00\ud800", " \ud83d "], ids=ascii)
def test_half_a_surrogate_pair_is_no_id_and_it_is_said(member: str, half: str) -> None:
    [(field, message)] = faults_of(with_member(member, half))
    assert (field, "surrogate" in message) == (member, True)


@pytest.mark.parametrize(
    "name", ["business_id", "BusinessId", "businessid", "bookingBusinessId", "", "businessId "]
)
def test_a_member_of_another_name_is_refused_by_name(name: str) -> None:
    assert faults_of(with_member(name, "x")) == [(name, "is not a member of this request")]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a" * 64, "a" * 64),
        ("a" * 65, "a" * 63 + "…"),
        ("é" * 9_000, "é" * 63 + "…"),
        ("a\r\nSet-Cookie: b", "a??Set-Cookie: b"),
        ("a\u202eb\u2028", "a?b?"),
    ],
    ids=["at the limit", "over the limit", "huge", "line break", "invisible"],
)
def test_the_name_of_an_unknown_member_is_shown_bounded_and_on_one_line(
    name: str, shown: str
) -> None:
    assert faults_of(with_member(name, "x")) == [(shown, "is not a member of this request")]


def test_many_faults_are_answered_with_the_first_few() -> None:
    assert len(faults_of({f"member{number}": number for number in range(3000)})) == 20


def test_no_fault_repeats_a_value() -> None:
    body = {
        "businessId": "\x01MARKER" + "x" * 400,
        "appointmentId": ["MARKER"],
        "cancellationMessage": "MARKER" * 400,
        "other": "MARKER",
    }
    assert "MARKER" not in repr(faults_of(body))


@pytest.mark.parametrize(
    ("body", "member"),
    [
        (b'{"businessId":"a","businessId":"b","appointmentId":"c"}', "businessId"),
        (b'{"businessId":"a","appointmentId":"c","businessId":"a"}', "businessId"),
        (b'{"businessId":"a","appointmentId":"c","business\\u0049d":"a"}', "businessId"),
        (b'{"x":{"a":1,"a":2}}', "a"),
        (b'{"' + b"y" * 70 + b'":1,"' + b"y" * 70 + b'":2}', "y" * 63 + "…"),
        (b'{"\\ud800":1,"\\ud800":2}', "?"),
    ],
    ids=["twice", "the same value", "escaped", "nested", "long name", "surrogate"],
)
def test_a_member_given_twice_is_refused_whatever_it_says(body: bytes, member: str) -> None:
    assert faults_of(body) == [(member, "occurs more than once")]


@pytest.mark.parametrize(
    "body",
    [
        b" ",
        b"\xef\xbb\xbf",
        b"{",
        b"{}x",
        b"{'businessId':'a'}",
        b'{"businessId":"a",}',
        b'{"businessId":"a\n"}',
        b'{"businessId":"\\x41"}',
        b'{"businessId":NaN}',
        b'{"businessId":-Infinity}',
        b"NaN",
        b"// {}",
        b"\xff\xfe\xfd",
        b'{"businessId":"\xff"}',
        b'{"businessId":"\xed\xa0\x80"}',
        b'{"businessId":"\xc0\xaf"}',
        json.dumps(GOOD).encode("utf-16"),
        json.dumps(GOOD).encode("utf-16-be"),
        json.dumps(GOOD).encode("utf-32"),
        "{}".encode("utf-7") + b"+AGE-",
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b"[" * 60_000,
        b'{"a":' * 12_000,
        b'{"businessId":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"businessId":' + b"9" * 5_000 + b"}",
    ],
    ids=lambda body: ascii(body)[:40],
)
def test_what_is_not_json_in_utf8_is_one_fault_of_the_body(body: bytes) -> None:
    assert faults_of(body) == [("body", "is not readable JSON")]


@pytest.mark.parametrize("body", [b"null", b"true", b"7", b'"a"', b"[]", b'[{"businessId":"a"}]'])
def test_json_that_is_no_object_is_one_fault_of_the_body(body: bytes) -> None:
    assert faults_of(body) == [("body", "must be a JSON object")]


def test_deep_nesting_in_a_member_is_refused_like_any_other_value() -> None:
    body = b'{"appointmentId":"b","businessId":' + b"[" * 100 + b"]" * 100 + b"}"
    assert faults_of(body) == [("businessId", "must be a text")]


@pytest.mark.parametrize("content_type", [JSON, "text/plain", "", None], ids=repr)
def test_an_empty_body_is_said_to_be_one_before_the_media_type_is_looked_at(
    content_type: str | None,
) -> None:
    with pytest.raises(RequestInvalid) as caught:
        parse(b"", content_type)
    assert caught.value.reason == "The body is empty; send Content-Length."
    assert [fault.field for fault in caught.value.faults] == ["body"]


def test_the_size_limit_is_included_and_comes_before_everything_else() -> None:
    body = json.dumps(GOOD).encode()
    assert parse(body + b" " * (MAX_BODY_BYTES - len(body))) == parse(GOOD)
    for content_type in (JSON, "text/plain", None):
        with pytest.raises(BodyTooLarge, match="64 KiB"):
            parse(b"\xff" * (MAX_BODY_BYTES + 1), content_type)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        " application/json\t",
        "application/json;charset=utf-8",
        "application/json; charset=utf-8",
        "application/json ; charset=UTF-8 ",
        'application/json; charset="utf-8"',
        "application/json; charset=utf8",
        "application/json;  Charset = Utf-8",
        "application/json;",
        "application/json ; ; charset=utf-8;",
        "application/json;odata.metadata=minimal",
        "application/json;odata=verbose;charset=utf-8;IEEE754Compatible=false",
        'application/json; profile="https://a.example/;b,c"; charset=utf-8',
        'application/json; note="charset=utf-16, text/plain \\" ;"',
        "application/json, application/json",
        "application/json,application/json; charset=utf-8",
        ",application/json,",
        "application/json; charset=utf-8; charset=UTF8",
    ],
)
def test_json_may_say_that_it_is_utf8(content_type: str) -> None:
    assert parse(GOOD, content_type) == parse(GOOD)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "application/problem+json",
        "application/jsonp",
        "application",
        "application/",
        "/json",
        ";",
        ",",
        "; charset=utf-8",
        "application/json, text/plain",
        "application/json; charset=utf-16",
        "application/json; charset=iso-8859-1",
        'application/json; charset="utf-8',
        'application/json; charset=utf-8"',
        "application/json; charset=",
        "application/json; charset=utf-8; charset=utf-16",
        "application/j\u017fon",
        "application/json\ntext/plain",
        "application/json, text/plain; charset=utf-8",
        "text/plain, application/json",
        'application/json; charset="utf-16"; note="charset=utf-8"',
        "application/json; charset=us-ascii",
        "application/json charset=utf-8",
        "application/json" + ";" * 3000,
    ],
    ids=repr,
)
def test_any_other_media_type_is_refused(content_type: str | None) -> None:
    with pytest.raises(MediaTypeUnsupported):
        parse(GOOD, content_type)


# Whatever comes.

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3)
    ),
    max_leaves=6,
)
members = st.sampled_from(["businessId", "appointmentId", "cancellationMessage"]) | st.text(
    st.characters()
)


def request_or_fault(content_type: str | None, body: bytes) -> CancelRequest | None:
    """Parse; whatever is raised must be one of the three errors, with faults that can be shown."""
    try:
        return parse_cancel_request(content_type, body)
    except (BodyTooLarge, MediaTypeUnsupported):
        return None
    except RequestInvalid as error:
        faults = error.faults
    assert faults
    for fault in faults:
        assert len(fault.field) <= 64
        assert fault.field.isprintable()
        fault.field.encode()
    return None


@settings(deadline=None)
@given(st.none() | st.text() | st.just(JSON), st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_named_fault(content_type: str | None, body: bytes) -> None:
    request_or_fault(content_type, body)


@settings(deadline=None)
@given(
    json_values | st.dictionaries(members, json_values | st.text(min_size=1), max_size=5),
    st.booleans(),
)
@example({"\ud800": 1}, True)
@example({**GOOD, "\udfff": "x"}, True)
def test_any_json_is_a_request_or_a_named_fault(value: object, ascii_only: bool) -> None:
    request_or_fault(
        JSON, json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    )


# Pieces of which ids, and what only looks like one, are made.
pieces = st.sampled_from(
    [
        *("a", "B", "4", "f", ".", "..", "/", "\\", "%", "%4", "<", ">", ";", ",", '"', "'", " "),
        *("@", "=", "mailto:", "M", "\n", "\r\n", "\u2028", "\u200b", "\ufeff", "\0", "\x1c"),
        *("\u201c", "\u00bb", "\xad", "\u3164", "\u00e5", "\U0001f5d3"),
    ]
) | st.characters(exclude_categories=["Cs"], max_codepoint=0xFFFF)
sent_texts = st.lists(pieces, max_size=12).map("".join)


def schema(model: type[BaseModel] = CancelRequest) -> dict[str, Any]:
    return schemas_of([model])[model.__name__]


@settings(deadline=None, max_examples=1500)
@given(sent_texts, sent_texts)
@example("a", "\ufeffa\r\n")
@example("a", "a.")
@example(".", "a/.b")
@example("a<b>; ", "a")
def test_the_published_pattern_allows_what_is_taken_and_nothing_else(
    business_id: str, appointment_id: str
) -> None:
    sent = {"businessId": business_id, "appointmentId": appointment_id}
    members = schema()["properties"]
    allowed = {
        name: re.search(members[name]["pattern"], value) is not None for name, value in sent.items()
    }
    try:
        request = parse(sent)
        refused = set[str]()
    except RequestInvalid as error:
        refused = {fault.field for fault in error.faults}
    assert refused == {name for name, allows in allowed.items() if not allows}
    if not refused:
        kept = request.model_dump(by_alias=True)
        for name, value in sent.items():
            assert kept[name] in value
            assert not set(value.replace(kept[name], "", 1)) - set(UNSEEN)
            assert re.search(members[name]["pattern"], kept[name])


def test_the_published_patterns_are_of_ecma_262() -> None:
    """Every escape has to be one of ECMA 262.

    Another one is an error in JavaScript's unicode mode, which is JSON Schema's.
    """
    for pattern in (schema()["properties"]["businessId"]["pattern"], IDEMPOTENCY_KEY_PATTERN):
        escapes = set(re.findall(r"\\(?:u[0-9a-f]{4}|x[0-9a-f]{2}|.)", pattern))
        assert {one for one in escapes if len(one) == 2} <= {r"\\", r"\.", r"\/", r"\t"}
        assert pattern.isascii()


messages = st.lists(pieces | st.characters(), max_size=30).map("".join)


@settings(deadline=None)
@given(messages, st.booleans())
def test_whatever_is_said_to_the_customer_the_cancel_goes_on(
    message: str, ascii_only: bool
) -> None:
    body = json.dumps({**GOOD, "cancellationMessage": message}, ensure_ascii=ascii_only)
    try:
        raw = body.encode()
    except UnicodeEncodeError:  # half of a surrogate pair can only come escaped
        raw = json.dumps({**GOOD, "cancellationMessage": message}).encode()
    kept = parse(raw).cancellation_message
    if kept is not None:
        kept.encode()
        assert not set(kept) & ({*CONTROLS, "\ufffe", "\uffff"} - {"\t", "\r", "\n"})
    if (
        not set(message) & {*CONTROLS, "\ufffe", "\uffff"}
        and message.isprintable()
        and message.strip(BLANKS)
    ):
        assert kept == message


# The Idempotency-Key.


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (None, None),
        ("a", "a"),
        ("  8e03978e-40d5-43e8-bc93-6894a57f9324\t", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ('"8e03978e-40d5-43e8-bc93-6894a57f9324"', "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ("a" * 255, "a" * 255),
        ('"' + "a" * 255 + '"', "a" * 255),
        ('"a, b"', "a, b"),
        ('"a\\"b\\\\c"', 'a"b\\c'),
        ('"' + '\\"' * 255 + '"', '"' * 255),
        ("a\\b", "a\\b"),
        ("~!#$%&'()*+-./:;<=>?@[]^_`{|}", "~!#$%&'()*+-./:;<=>?@[]^_`{|}"),
        *((empty, None) for empty in ("", " ", "\t", "\u00a0", '""', '" "', ' "" ', '"\t \u00a0"')),
        *((empty, None) for empty in ("''", " ' ' ")),
        ("'a'", "'a'"),
        ('"\'"', "'"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_key_is_bare_or_a_quoted_string_and_means_the_same(
    header: str | None, key: str | None
) -> None:
    assert parse_idempotency_key(header) == key


NO_KEYS = {
    "with a space": "a b",
    "repeated": "a,b",
    "repeated with a space": "a, a",
    "repeated in quotes": '"a","b"',
    "not closed": '"a',
    "not opened": 'a"',
    "quote within": '"a"b',
    "closing quote escaped": '"a\\"',
    "unknown escape": '"a\\b"',
    "half an escape": '"a\\',
    "too long": "a" * 256,
    "too long in quotes": '"' + "a" * 256 + '"',
    "not ASCII": "é",
    "not ASCII in quotes": '"é"',
    "no-break space before": "\u00a0a",
    "DEL": "a\x7f",
    "NUL": '"a\x00"',
    "line break": "a\r\nb",
    "newline in quotes": '"a\nb"',
    "tab": "a\tb",
}


@pytest.mark.parametrize("header", NO_KEYS.values(), ids=NO_KEYS.keys())
def test_anything_else_is_no_key_and_is_not_repeated(header: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        parse_idempotency_key(header)

    assert caught.value.faults == (
        FieldFault("Idempotency-Key", "must be one key of 1 to 255 printable ASCII characters"),
    )


@settings(deadline=None)
@given(st.text(st.characters(max_codepoint=0x17F), max_size=300))
@example("\n")
def test_any_header_is_a_key_of_printable_ascii_or_none_or_refused(header: str) -> None:
    # In ECMA 262 the end is the end; in Python a line end may still follow it.
    pattern = IDEMPOTENCY_KEY_PATTERN.removesuffix("$")
    allowed = re.fullmatch(pattern, header.strip(" \t")) is not None
    try:
        key = parse_idempotency_key(header)
    except RequestInvalid:
        assert not allowed
        return
    assert allowed
    if key is None:
        assert not header.strip("\t \u00a0\"'")
        return
    assert 1 <= len(key) <= 255
    assert key.isascii()
    assert key.isprintable()


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255))
def test_every_printable_key_can_be_sent_as_a_quoted_string(key: str) -> None:
    quoted = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert parse_idempotency_key(quoted) == (key if key.strip() else None)
