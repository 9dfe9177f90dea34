"""Records as entities of a table: what is written, and what is read in an answer.

Owns the form of a row, how writes are packed into one transaction, and what a refusal means. Does
*not* send anything (``table_calls.py``), nor know what a record means (``rules.py``).

Microsoft's reference calls a transaction "Performing entity group transactions": writes to one
partition, all or none. Its own client makes a request of each write, packs them as mail is packed
and takes the answer for mail, too: ten times the CPU of all the rest.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from shared.errors import word
from shared.records.rules import Record, RecordHidden, State, StoreUnavailable

SAID = {"Accept": "application/json;odata=minimalmetadata", "DataServiceVersion": "3.0"}
JSON = {"Content-Type": "application/json"}
# A line of their own ends a part, and JSON has no line ends: no entity can hold one.
_BATCH, _CHANGESET = "batch_of_records", "changeset_of_records"
# Microsoft's reference: 503 is "ServerBusy", the server cannot receive requests or the account is
# over its limit; 500 is "OperationTimedOut", too, which may have been done.
_REFUSALS = frozenset({*range(400, 500), 503}) - {408}
_NOT_AS_THOUGHT = frozenset(
    {
        "TableNotFound",
        "TableAlreadyExists",
        "EntityAlreadyExists",
        "UpdateConditionNotSatisfied",
        "ConditionNotMet",
        "ResourceNotFound",
        "EntityNotFound",
    }
)
_PART = re.compile(
    rb"^HTTP/1\.[01] (\d{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n(.*?)^--",
    re.MULTILINE | re.DOTALL,
)
_ETAG = re.compile(rb"^etag: *([^\r\n]+)\r\n", re.MULTILINE | re.IGNORECASE)


class Refused(StoreUnavailable):
    """The table is not as it was thought to be, and nothing was changed.

    ``code`` is its word for it.
    """

    def __init__(self, status: int, code: str | None) -> None:
        super().__init__(f"the table refused: {status} {code}")
        self.code = code


class Busy(StoreUnavailable):
    """The table takes no more calls for the moment, and names no time: it may be tried again."""


class Unanswered(StoreUnavailable):
    """A call that may have had its effect all the same."""


@dataclass(frozen=True, slots=True)
class Row:
    """A record under its key: as it was read, or as it is to be.

    Where nothing is kept under the key it has no record and no ETag. Written without an ETag it is
    inserted, with one it replaces what was read under it, and without a record removes that.
    """

    key: str
    record: Record | None
    etag: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Write:
    """The request that writes one row. ``target`` begins with the name of the table."""

    method: str
    target: str
    headers: Mapping[str, str]
    content: str | None


def path(caller: str, key: str) -> str:
    """Return what names an entity behind the name of its table."""
    names = (quote(name.replace("'", "''"), safe="") for name in (caller, key))
    return "(PartitionKey='{}',RowKey='{}')".format(*names)


def write(table: str, caller: str, row: Row) -> Write:
    """Return the request that writes a row: an insert, a replace or a delete."""
    unchanged = {} if row.etag is None else {"If-Match": row.etag}
    if row.record is None:
        return Write("DELETE", f"{table}{path(caller, row.key)}", unchanged, None)
    content = _entity(caller, row.key, row.record)
    if row.etag is None:
        return Write("POST", table, {"Prefer": "return-no-content", **JSON}, content)
    return Write("PUT", f"{table}{path(caller, row.key)}", {**unchanged, **JSON}, content)


def pack(endpoint: str, writes: Sequence[Write]) -> tuple[str, bytes]:
    """Return the media type and the body of a transaction of these writes."""
    lines = [f"--{_BATCH}", f"Content-Type: multipart/mixed; boundary={_CHANGESET}", ""]
    for one in writes:
        lines += [
            f"--{_CHANGESET}",
            "Content-Type: application/http",
            "Content-Transfer-Encoding: binary",
            "",
            f"{one.method} {endpoint}/{one.target} HTTP/1.1",
            *(f"{name}: {value}" for name, value in {**SAID, **one.headers}.items()),
            "",
            one.content or "",
        ]
    lines += [f"--{_CHANGESET}--", "", f"--{_BATCH}--", ""]
    return f"multipart/mixed; boundary={_BATCH}", "\r\n".join(lines).encode()


def unpack(body: bytes, rows: Sequence[Row]) -> list[str]:
    """Return the new ETag of each row, "" for a delete.

    Errors: Refused, Unanswered; ValueError where the answer does not speak of each.
    """
    parts = _PART.findall(body)
    etags = []
    for (status, head, content), row in zip(parts, rows, strict=True):
        check(int(status), content, {})
        etag = _ETAG.search(head)
        etags.append(new_etag(int(status), etag[1].decode() if etag else None, row))
    return etags


def new_etag(status: int, said: str | None, row: Row) -> str:
    """Return the ETag that was ``said`` of a row that was written, "" for a delete.

    Errors: Unanswered where this is not how the table says yes to a write.
    """
    if status != 204 or (said is None and row.record is not None):
        raise Unanswered(f"the table gave no usable answer: {status} without an ETag")
    return said or ""


def check(status: int, body: bytes, headers: Mapping[str, str]) -> None:
    """Take an answer that says yes.

    The code of a refusal is in the body. An answer, but not a part of one, also has it in a header.
    Errors: Refused, Busy, Unanswered; StoreUnavailable for any other no.
    """
    if 200 <= status < 300:
        return
    said = word(headers.get("x-ms-error-code"))
    try:
        code = word(json.loads(body)["odata.error"]["code"]) or said  # it goes into the log
    except (ValueError, KeyError, TypeError):
        code = said
    if status in (429, 503) and "retry-after" not in headers:
        raise Busy(f"the table is busy: {status} {code}")
    if status not in _REFUSALS:
        raise Unanswered(f"the table gave no usable answer: {status} {code}")
    if code in _NOT_AS_THOUGHT:
        raise Refused(status, code)
    raise StoreUnavailable(f"the table refused: {status} {code}")


def etag_of(entity: Mapping[str, str]) -> str:
    """Return the ETag of an entity that was read.

    Azure may leave it out: then it is made from the Timestamp, as its own client does it.
    """
    return entity.get("odata.etag") or f"W/\"datetime'{quote(entity['Timestamp'])}'\""


def read_row(key: str, body: bytes) -> Row:
    """Read a record. Errors: RecordHidden; ValueError and its like for what is no entity."""
    match entity := json.loads(body):
        case {
            "state": "running" | "finished" | "doubt" as state,
            "owner": str(owner),
            "fingerprint": str(fingerprint),
            "lease_until": int() | float() as lease_until,
            "expires_at": int() | float() as expires_at,
            "payload": str(payload),
        }:
            record = Record(State(state), owner, fingerprint, lease_until, expires_at, payload)
            return Row(key, record, etag_of(entity))
    raise RecordHidden("the table holds something that is no record of ours")


def _entity(caller: str, key: str, record: Record) -> str:
    return json.dumps(
        {
            "PartitionKey": caller,
            "RowKey": key,
            "state": record.state,
            "owner": record.owner,
            "fingerprint": record.fingerprint,
            "lease_until": float(record.lease_until),
            "lease_until@odata.type": "Edm.Double",
            "expires_at": float(record.expires_at),
            "expires_at@odata.type": "Edm.Double",
            "payload": record.payload,
        }
    )
