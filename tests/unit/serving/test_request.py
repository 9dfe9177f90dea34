"""CancelRequest: every rule for the body and the Idempotency-Key, and that nothing but a request or
a named fault ever comes out.
"""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cancel_appointment.request import (
    MAX_BODY_BYTES,
    CancelRequest,
    parse_cancel_request,
    parse_idempotency_key,
)
from infra.local import seed
from shared.errors import BodyTooLarge, FieldFault, MediaTypeUnsupported, RequestInvalid

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


@pytest.mark.parametrize(
    "identifier",
    [
        "AAMk/AD+Ko_-AAA%3D å=",
        "a/../b",
        ".a",
        "..;",
        "%2e%2e",
        "%2F",
        "a?b#c;d\\e",
        " a ",
        "\u200b",
        "a\u2028b",
        "\U0001f5d3\ufe0f",
        "e\u0301",
        "\ufeff",
        "\U0010ffff",
    ],
    ids=ascii,
)
@pytest.mark.parametrize("member", ["businessId", "appointmentId"])
def test_an_unusual_id_is_an_id_and_comes_back_exactly(member: str, identifier: str) -> None:
    assert parse(with_member(member, identifier)).model_dump(by_alias=True)[member] == identifier


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
    body = {"businessId": "", "appointmentId": 7, "cancellationMessage": "a\0", "bookingId": "x"}

    assert sorted(faults_of(body)) == [
        ("appointmentId", "must be a text"),
        ("bookingId", "is not a member of this request"),
        ("businessId", "must not be blank"),
        ("cancellationMessage", "must not hold control characters"),
    ]


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
def test_an_id_is_not_null(member: str) -> None:
    assert faults_of(with_member(member, None)) == [(member, "must be a text")]


@pytest.mark.parametrize("blank", ["", " ", "\u00a0", "\u3000 "], ids=ascii)
@pytest.mark.parametrize("member", ["businessId", "appointmentId", "cancellationMessage"])
def test_a_blank_text_is_refused(member: str, blank: str) -> None:
    [(field, message)] = faults_of(with_member(member, blank))
    assert (field, message.startswith("must not be blank")) == (member, True)


@pytest.mark.parametrize("identifier", [".", "..", "...", ". .", " .", "\u3000."], ids=ascii)
@pytest.mark.parametrize("member", ["businessId", "appointmentId"])
def test_a_dot_segment_is_no_id(member: str, identifier: str) -> None:
    assert faults_of(with_member(member, identifier)) == [(member, "is not an id")]


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
    assert faults_of(with_member(member, f"a{control}b")) == [
        (member, "must not hold control characters")
    ]


@pytest.mark.parametrize(
    "control", [control for control in CONTROLS if control not in "\n\r\t"], ids=ascii
)
def test_a_message_holds_no_control_character_but_newline_and_tab(control: str) -> None:
    assert faults_of(with_member("cancellationMessage", f"a{control}b")) == [
        ("cancellationMessage", "must not hold control characters")
    ]


@pytest.mark.parametrize("member", ["businessId", "appointmentId", "cancellationMessage"])
def test_half_a_surrogate_pair_is_no_text(member: str) -> None:
    assert faults_of(with_member(member, "a\ud800")) == [(member, "must be a text")]


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
        b"",
        b" ",
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
        "application/json,application/json",
        "application/json, text/plain",
        "application/json; charset=utf-16",
        "application/json; charset=iso-8859-1",
        'application/json; charset="utf-8',
        'application/json; charset=utf-8"',
        "application/json; charset=",
        "application/json; charset=utf-8; charset=utf-16",
        "application/j\u017fon",
        "application/json\ntext/plain",
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


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=320).filter(
    lambda text: any(character != "." and not character.isspace() for character in text)
)


@settings(deadline=None)
@given(texts, texts, texts | st.none(), st.booleans())
def test_what_is_accepted_comes_back_exactly_as_it_was_sent(
    business_id: str, appointment_id: str, message: str | None, ascii_only: bool
) -> None:
    body = {
        "businessId": business_id,
        "appointmentId": appointment_id,
        "cancellationMessage": message,
    }
    request = request_or_fault(JSON, json.dumps(body, ensure_ascii=ascii_only).encode())

    assert request is not None
    assert (request.business_id, request.appointment_id, request.cancellation_message) == (
        business_id,
        appointment_id,
        message,
    )


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
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_key_is_bare_or_a_quoted_string_and_means_the_same(
    header: str | None, key: str | None
) -> None:
    assert parse_idempotency_key(header) == key


NO_KEYS = {
    "empty": "",
    "blank": " ",
    "empty in quotes": '""',
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
def test_any_header_is_a_key_of_printable_ascii_or_refused(header: str) -> None:
    try:
        key = parse_idempotency_key(header)
    except RequestInvalid:
        return
    assert key is not None
    assert 1 <= len(key) <= 255
    assert key.isascii()
    assert key.isprintable()


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255))
def test_every_printable_key_can_be_sent_as_a_quoted_string(key: str) -> None:
    quoted = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert parse_idempotency_key(quoted) == key
