"""What is written to the table, beside what Azure's own client would write."""

import json
import re
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.pipeline.transport import HttpTransport
from azure.data.tables import TableClient, UpdateMode

from shared.records.entities import (
    Busy,
    Refused,
    Row,
    Unanswered,
    check,
    etag_of,
    new_etag,
    pack,
    path,
    read_row,
    unpack,
    write,
)
from shared.records.rules import Record, State, StoreUnavailable

CALLER, KEY, OTHER = "a" * 64, "b" * 64, "c" * 64
ETAG = "W/\"datetime'2026-01-01T00%3A00%3A00.0000000Z'\""
RECORD = Record(
    State.RUNNING, "owner", "print", 1_760_000_030.0, 1_760_086_400.25, '{"é": "\\r\\n"}'
)
ENDPOINT = "https://acc.table.core.windows.net"
NAMES = {"PartitionKey": CALLER, "RowKey": KEY}
ENTITY = {
    **NAMES,
    "state": "running",
    "owner": RECORD.owner,
    "fingerprint": RECORD.fingerprint,
    "lease_until": RECORD.lease_until,
    "expires_at": RECORD.expires_at,
    "payload": RECORD.payload,
}
STRINGS = "AccountName=acc;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net"
ROWS = [
    Row(KEY, RECORD, None),
    Row(KEY, RECORD, ETAG),
    Row(KEY, None, ETAG),
]


class Sent(Exception):
    """The request that was about to leave."""


class NoWire(HttpTransport[Any, Any]):
    """Sends nothing."""

    def send(self, request: Any, **options: Any) -> Any:
        raise Sent(request)

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def azures_client() -> TableClient:
    return TableClient.from_connection_string(
        f"DefaultEndpointsProtocol=https;{STRINGS}", "records", transport=NoWire(), retry_total=0
    )


def theirs() -> Any:
    """Return the request that Azure's own client makes of the same changes."""
    unchanged = {"etag": ETAG, "match_condition": MatchConditions.IfNotModified}
    with azures_client() as client, pytest.raises(Sent) as sent:
        client.submit_transaction(
            [
                ("create", ENTITY, {"response_preference": "return-no-content"}),
                ("update", ENTITY, {**unchanged, "mode": UpdateMode.REPLACE}),
                ("delete", NAMES, unchanged),
            ]
        )
    return sent.value.args[0]


def parts(content: bytes) -> list[tuple[str, dict[str, str], dict[str, Any]]]:
    """Return each write as its request line, its headers and its entity."""
    lines = content.decode().split("\r\n")
    batch = re.fullmatch("--(batch_.+)", lines[0])
    changeset = re.fullmatch("Content-Type: multipart/mixed; boundary=(changeset_.+)", lines[1])
    assert batch
    assert changeset
    assert lines[2] == ""
    assert lines[-2] == f"--{batch[1]}--"
    inside, _, after = content.decode().partition(f"--{changeset[1]}--\r\n")
    assert after == f"\r\n--{batch[1]}--\r\n"
    found = []
    for part in inside.split(f"--{changeset[1]}\r\n")[1:]:
        outer, head, body = part.removesuffix("\r\n").split("\r\n\r\n", 2)
        line, *headers = head.split("\r\n")
        named = dict(one.split(": ", 1) for one in (*outer.split("\r\n"), *headers))
        found.append((line, named, json.loads(body or "{}")))
    return found


def test_one_write_says_what_azures_own_client_would() -> None:
    unchanged: dict[str, Any] = {"etag": ETAG, "match_condition": MatchConditions.IfNotModified}
    with azures_client() as client:
        for row, call in (
            (
                Row(KEY, RECORD, None),
                lambda: client.create_entity(ENTITY, response_preference="return-no-content"),
            ),
            (
                Row(KEY, RECORD, ETAG),
                lambda: client.update_entity(ENTITY, mode=UpdateMode.REPLACE, **unchanged),
            ),
            (Row(KEY, None, ETAG), lambda: client.delete_entity(NAMES, **unchanged)),
        ):
            with pytest.raises(Sent) as sent:
                call()
            theirs, ours = sent.value.args[0], write("records", CALLER, row)
            assert (ours.method, f"{ENDPOINT}/{ours.target}") == (theirs.method, theirs.url)
            for name, value in ours.headers.items():
                assert theirs.headers[name].partition(";")[0] == value.partition(";")[0]
            said = json.loads(theirs.content) if theirs.content else {}
            texts = {name for name, value in said.items() if value == "Edm.String"}
            assert json.loads(ours.content or "{}") == {
                name: value for name, value in said.items() if name not in texts
            }


@pytest.mark.parametrize(
    ("status", "said", "row"),
    [
        (204, None, ROWS[0]),
        (204, None, ROWS[1]),
        (200, ETAG, ROWS[1]),
        (201, ETAG, ROWS[0]),
        (200, None, ROWS[2]),
        (202, None, ROWS[2]),
    ],
)
def test_what_says_yes_in_another_way_is_not_known(status: int, said: str | None, row: Row) -> None:
    with pytest.raises(Unanswered):
        new_etag(status, said, row)


def test_a_transaction_says_what_azures_own_client_would() -> None:
    kind, ours = pack(ENDPOINT, [write("records", CALLER, row) for row in ROWS])
    other = theirs()
    boundary = ours.split(b"\r\n", 1)[0].removeprefix(b"--").decode()
    assert kind == f"multipart/mixed; boundary={boundary}"
    assert other.headers["Content-Type"].startswith("multipart/mixed; boundary=batch_")
    told, said = parts(ours), parts(other.content)
    assert len(told) == len(said) == 3
    for (line, headers, entity), (their_line, their_headers, their_entity) in zip(
        told, said, strict=True
    ):
        assert line == their_line
        # That a text is a text goes without saying.
        texts = {name for name, value in their_entity.items() if value == "Edm.String"}
        assert entity == {name: value for name, value in their_entity.items() if name not in texts}
        # What stands in the request around it is not said again.
        repeated = {"Content-ID", "Content-Length", "x-ms-version", "x-ms-date", "Date"}
        assert headers.keys() == their_headers.keys() - repeated
        same = headers.keys() - {"Accept"}
        assert {name: headers[name] for name in same} == {
            name: their_headers[name] for name in same
        }


def answer(*told: tuple[int, str, str]) -> bytes:
    """Return what the table says of some writes: status, headers, body."""
    return "\r\n".join(
        [
            "--batchresponse_1",
            "Content-Type: multipart/mixed; boundary=changesetresponse_1",
            "",
            *(
                "--changesetresponse_1\r\nContent-Type: application/http\r\n"
                f"Content-Transfer-Encoding: binary\r\n\r\nHTTP/1.1 {status} Some Words\r\n"
                f"X-Content-Type-Options: nosniff\r\n{headers}DataServiceVersion: 3.0;\r\n\r\n"
                f"{body}"
                for status, headers, body in told
            ),
            "--changesetresponse_1--",
            "--batchresponse_1--",
            "",
        ]
    ).encode()


SAID = f"ETag: {ETAG}\r\n"


def test_each_write_has_its_etag() -> None:
    assert unpack(answer((204, SAID, ""), (204, SAID, ""), (204, "", "")), ROWS) == [
        ETAG,
        ETAG,
        "",
    ]


@pytest.mark.parametrize("told", [[], [(204, SAID, "")], [(204, SAID, "")] * 4], ids=len)
def test_an_answer_that_does_not_speak_of_each_write_is_none(told: list[Any]) -> None:
    with pytest.raises(ValueError, match="zip"):
        unpack(answer(*told), ROWS)


def test_a_write_without_an_etag_is_not_known() -> None:
    with pytest.raises(Unanswered):
        unpack(answer((204, "", ""), (204, SAID, ""), (204, "", "")), ROWS)


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (409, "EntityAlreadyExists", Refused),
        (404, "TableNotFound", Refused),
        (412, "UpdateConditionNotSatisfied", Refused),
        (400, "InvalidInput", StoreUnavailable),
        (403, "AuthorizationFailure", StoreUnavailable),
        (409, "TableBeingDeleted", StoreUnavailable),
        (429, "TooManyRequests", Busy),
        (503, "ServerBusy", Busy),
        (408, "RequestTimeout", Unanswered),
        (500, "OperationTimedOut", Unanswered),
        (500, "EntityAlreadyExists", Unanswered),
        (302, "Found", Unanswered),
    ],
)
@pytest.mark.parametrize("indent", [None, 2], ids=["on one line", "on several lines"])
def test_a_refusal_is_told_from_what_may_have_had_its_effect(
    status: int, code: str, error: type[StoreUnavailable], indent: int | None
) -> None:
    said = json.dumps({"odata.error": {"code": code, "message": {"value": "0:no"}}}, indent=indent)
    said = said.replace("\n", "\r\n")
    with pytest.raises(error, match=f"{status} {code}") as refused:
        unpack(answer((status, "", said)), ROWS)
    assert type(refused.value) is error
    with pytest.raises(error, match=f"{status} {code}") as refused:
        check(status, said.encode(), {})
    assert type(refused.value) is error


XML = b'<m:error xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"/>'


@pytest.mark.parametrize("body", [b"", XML, b"[]", b'{"odata.error": {}}', b"[" * 9, b"\xff"])
def test_a_code_that_is_not_in_the_body_is_read_in_the_header(body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        check(409, body, {"x-ms-error-code": "EntityAlreadyExists"})
    assert refused.value.code == "EntityAlreadyExists"


def test_the_code_in_the_body_goes_before_the_one_in_the_header() -> None:
    with pytest.raises(Refused) as refused:
        check(
            404,
            b'{"odata.error": {"code": "TableNotFound"}}',
            {"x-ms-error-code": "EntityNotFound"},
        )
    assert refused.value.code == "TableNotFound"


def test_prose_in_the_header_is_not_passed_on() -> None:
    with pytest.raises(StoreUnavailable, match=r"^the table refused: 403 None$"):
        check(403, b"", {"x-ms-error-code": "Jane <jane@contoso.com> may not"})


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_table_that_names_a_time_is_not_tried_again(status: int) -> None:
    with pytest.raises(StoreUnavailable) as refused:
        check(status, b"", {"retry-after": "60"})
    assert type(refused.value) is StoreUnavailable


@pytest.mark.parametrize("blank", ["\r\n", ""], ids=["a blank line", "none"])
def test_a_part_without_a_body_does_not_swallow_the_next(blank: str) -> None:
    said = answer((204, SAID, ""), (204, SAID, ""), (204, "", ""))
    said = said.replace(b"\r\n\r\n\r\n--", f"\r\n\r\n{blank}--".encode())
    assert unpack(said, ROWS) == [ETAG, ETAG, ""]


def test_prose_in_the_place_of_a_code_is_not_passed_on() -> None:
    said = json.dumps({"odata.error": {"code": "Jane <jane@contoso.com> may not"}}).encode()
    with pytest.raises(StoreUnavailable, match=r"^the table refused: 403 None$"):
        check(403, said, {})


@pytest.mark.parametrize("body", [b"", b"<m:error/>", b"[]", b'{"odata.error": 1}', b"\xff"])
def test_a_refusal_without_a_word_is_one(body: bytes) -> None:
    with pytest.raises(StoreUnavailable, match=r"^the table refused: 403 None$"):
        check(403, body, {})


@pytest.mark.parametrize(
    ("names", "quoted"),
    [
        (("a", "b"), "(PartitionKey='a',RowKey='b')"),
        (("it's", "b c"), "(PartitionKey='it%27%27s',RowKey='b%20c')"),
        (("a/b?c#d", "100%41"), "(PartitionKey='a%2Fb%3Fc%23d',RowKey='100%2541')"),
        (("é", "1+1"), "(PartitionKey='%C3%A9',RowKey='1%2B1')"),
    ],
)
def test_a_name_never_breaks_out_of_its_place(names: tuple[str, str], quoted: str) -> None:
    assert path(*names) == quoted


def entity(**changes: Any) -> dict[str, Any]:
    return {
        "odata.metadata": f"{ENDPOINT}/$metadata#records/@Element",
        **NAMES,
        "Timestamp": "2026-01-01T00:00:00.0000000Z",
        "state": "running",
        "owner": RECORD.owner,
        "fingerprint": RECORD.fingerprint,
        "lease_until": RECORD.lease_until,
        "expires_at@odata.type": "Edm.Double",
        "expires_at": RECORD.expires_at,
        "payload": RECORD.payload,
        **changes,
    }


def test_a_row_is_read_as_it_was_written() -> None:
    row = read_row(KEY, json.dumps(entity()).encode())
    assert row == Row(KEY, RECORD, ETAG)  # made of the Timestamp


def test_an_etag_that_was_given_goes_before_the_timestamp() -> None:
    assert etag_of(entity(**{"odata.etag": 'W/"1"'})) == 'W/"1"'


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b'{"state": "running"}'])
def test_what_is_no_record_is_not_read_as_one(body: bytes) -> None:
    with pytest.raises(StoreUnavailable, match="no record"):
        read_row(KEY, body)
