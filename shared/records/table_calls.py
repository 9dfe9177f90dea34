"""The calls to Azure Table Storage: how records are written, read and removed there.

Owns the form of a row, and what an answer that never came means. Does *not* own what a record
means (``rules.py``), nor the order of calls (``table_store.py``). Import it only where the table is
chosen: it loads Azure's client.

A caller's records are one partition, named by the hash of the caller, so that they can be written
together. Atomic are an insert (one wins, the others see a conflict) and a replace or delete under
the ETag that was read (the same). A transaction has several of them, all or none.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.data.tables import TableClient, TableEntity, UpdateMode

from shared.records.rules import Record, State, StoreUnavailable
from shared.records.transactions import TransactionRefused
from shared.transport.channel import NotSent

SWEEP_ROWS = 100  # the most that one transaction holds

_NO_TABLE = "TableNotFound"
_CONFLICTS = frozenset(
    {
        (409, "EntityAlreadyExists"),
        (412, "UpdateConditionNotSatisfied"),
        (412, "ConditionNotMet"),
        (404, "ResourceNotFound"),
        (404, "EntityNotFound"),
    }
)


class Unanswered(StoreUnavailable):
    """A call that may have had its effect all the same."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for the table, in seconds.

    It is for a connection, for an answer, and for all the calls of one ``begin`` or ``settle``, the
    token for them included.
    """

    connect_s: float = 2.0
    read_s: float = 2.0
    operation_s: float = 4.0


@dataclass(frozen=True, slots=True)
class Row:
    """A record as it was read, and the ETag under which it may be replaced."""

    record: Record
    etag: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Change:
    """A write: an insert where there is no ETag, else a replace; without a record a delete."""

    key: str
    record: Record | None
    etag: str | None = field(repr=False)


class TableCalls:
    """The calls of one table. They raise ``Unanswered`` and ``StoreUnavailable`` only.

    ``until`` is when the operation that a call belongs to has to be over, on ``monotonic``.
    """

    def __init__(
        self,
        client: TableClient,
        patience: Patience,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._patience = patience
        self._monotonic = monotonic
        self._creating = threading.Lock()
        self._times_created = 0

    def write(self, caller: str, changes: Sequence[Change], until: float) -> list[str] | None:
        """Make all changes to a caller's records, and give their new ETags.

        The ETag of a delete is "". A missing table is made first. None: another was quicker, and
        nothing was changed.
        """
        times_created = self._times_created
        operations = [_operation(caller, change) for change in changes]
        try:
            told = self._ask(until, self._client.submit_transaction, operations)
        except TransactionRefused as refused:
            if refused.code == _NO_TABLE and any(change.etag is None for change in changes):
                self._create(times_created, until)
                return self.write(caller, changes, until)
            return None
        if any(
            "etag" not in one for one, change in zip(told, changes, strict=True) if change.record
        ):
            raise Unanswered("the table gave no ETag")
        return [one.get("etag", "") for one in told]

    def read(self, caller: str, key: str, until: float) -> Row | None:
        """Read a record; asks again once, for reading changes nothing."""
        try:
            return self._read(caller, key, until)
        except Unanswered:
            return self._read(caller, key, until)

    def expired(self, first: str, end: str, before: float, until: float) -> list[TableEntity]:
        """List some records that were over ``before``.

        They lie in the partitions from ``first`` up to ``end``.
        """
        return self._ask(until, self._list_expired, first, end, before)

    def remove(self, rows: Iterable[TableEntity], until: float) -> bool:
        """Remove all of these rows of one partition, or none if one of them has changed since."""
        deletes = [
            ("delete", row, {"match_condition": MatchConditions.IfNotModified}) for row in rows
        ]
        try:
            self._ask(until, self._client.submit_transaction, deletes)
        except TransactionRefused:
            return False
        return True

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _read(self, caller: str, key: str, until: float) -> Row | None:
        try:
            return _to_row(
                self._ask(
                    until, self._client.get_entity, caller, key, expected=(ResourceNotFoundError,)
                )
            )
        except ResourceNotFoundError:
            return None

    def _list_expired(
        self, first: str, end: str, before: float, **options: Any
    ) -> list[TableEntity]:
        pages = self._client.query_entities(
            "PartitionKey ge @first and PartitionKey lt @end and expires_at lt @before",
            parameters={"first": first, "end": end, "before": before},
            # Azure may leave the ETag out; the SDK then makes it from the Timestamp.
            select=["PartitionKey", "RowKey", "Timestamp"],
            results_per_page=SWEEP_ROWS,
            **options,
        ).by_page()
        # A page may be empty and have a next one.
        return next((rows for rows in map(list, pages) if rows), [])

    def _create(self, times_created: int, until: float) -> None:
        if not self._creating.acquire(timeout=max(0.0, until - self._monotonic())):
            raise StoreUnavailable("the table took too long to be made")
        try:
            if self._times_created == times_created:  # else another thread has just done it
                self._ask(until, self._client.create_table, expected=(ResourceExistsError,))
                self._times_created += 1
        except ResourceExistsError:
            self._times_created += 1  # another instance has just done it
        finally:
            self._creating.release()

    def _ask[T](
        self,
        until: float,
        operation: Callable[..., T],
        *args: object,
        expected: tuple[type[HttpResponseError], ...] = (),
    ) -> T:
        """Call the SDK within half of the time that is left.

        The other half is for reading back what got no answer. Errors: ours, what is ``expected``,
        and TransactionRefused where there is a conflict or no table.
        """
        now = self._monotonic()
        if until <= now:
            raise StoreUnavailable("the table took too long")
        within_s = min(self._patience.connect_s + self._patience.read_s, (until - now) / 2)
        connect_s = min(self._patience.connect_s, within_s)
        try:
            return operation(*args, until=now + within_s, connect_s=connect_s)
        except expected:
            raise
        except TransactionRefused as exc:
            if exc.code == _NO_TABLE or (exc.status, exc.code) in _CONFLICTS:
                raise
            raise _failure(exc, exc.status, exc.code) from exc
        except HttpResponseError as exc:
            code = getattr(exc, "error_code", None)
            raise _failure(exc, exc.status_code, getattr(code, "value", code)) from exc
        except NotSent as exc:
            raise StoreUnavailable(f"the table cannot be reached: {exc.cause}") from exc
        except Exception as exc:  # the SDK lets ValueError, KeyError and others through
            raise _failure(exc, None, None) from exc


def _failure(exc: Exception, status: int | None, code: object) -> StoreUnavailable:
    """Tell a call that cannot have had an effect from one that may have."""
    if isinstance(exc, ClientAuthenticationError) and status is None:
        return StoreUnavailable("no token or signature for the table")
    if status is not None and 400 <= status < 500 and status != 408:
        return StoreUnavailable(f"the table refused: {status} {code}")
    return Unanswered(
        f"the table gave no usable answer: {getattr(exc, 'cause', type(exc).__name__)}"
    )


def _operation(caller: str, change: Change) -> tuple[str, dict[str, Any], dict[str, Any]]:
    names = {"PartitionKey": caller, "RowKey": change.key}
    unchanged = {"etag": change.etag, "match_condition": MatchConditions.IfNotModified}
    if change.record is None:
        return "delete", names, unchanged
    entity = {**names, **_properties(change.record)}
    if change.etag is None:
        return "create", entity, {"response_preference": "return-no-content"}
    return "update", entity, {**unchanged, "mode": UpdateMode.REPLACE}


def _properties(record: Record) -> dict[str, str | float]:
    return {
        "state": record.state.value,
        "owner": record.owner,
        "fingerprint": record.fingerprint,
        "lease_until": float(record.lease_until),
        "expires_at": float(record.expires_at),
        "payload": record.payload,
    }


def _to_row(entity: TableEntity) -> Row:
    match entity:
        case {
            "state": "running" | "finished" | "doubt" as state,
            "owner": str(owner),
            "fingerprint": str(fingerprint),
            "lease_until": int() | float() as lease_until,
            "expires_at": int() | float() as expires_at,
            "payload": str(payload),
        }:
            record = Record(State(state), owner, fingerprint, lease_until, expires_at, payload)
            etag = entity.metadata.get("etag")
            if not isinstance(etag, str):
                raise Unanswered("the table gave no ETag")
            return Row(record, etag)
    raise StoreUnavailable("the table holds something that is no record of ours")
