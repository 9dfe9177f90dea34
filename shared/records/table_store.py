"""Records in Azure Table Storage: one promise for all instances, and one that outlives a worker.

Owns how a record is written, read back and removed there, and what an answer that never came means.
Does *not* own what a record means (``idempotency.py``). The only file that imports
``azure.data.tables``; import it only where the table is chosen.

Atomic are an insert (one wins, the others see 409) and a replace or delete under the ETag that was
read (one wins, the others see 412). A write that got no answer may have happened, or may still
happen: it is read back, and the ``owner`` in the record says whether it was ours. Writes that come
late hurt nobody, for they carry the ETag of a record that is no longer there; a late insert leaves
a claim nobody holds, which turns into doubt when its lease ends.

Leases and keeps are compared by the wall clocks of the instances that read them. ``CLOCK_MARGIN_S``
is what those may differ by.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import requests
from azure.core import MatchConditions
from azure.core.credentials import TokenCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.core.pipeline.transport import HttpTransport, RequestsTransport
from azure.data.tables import TableClient, TableEntity, UpdateMode
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from shared.records.rules import (
    POLL_HINT_S,
    Begun,
    Claim,
    Record,
    Running,
    Settling,
    State,
    StoreUnavailable,
    finished,
    in_doubt,
    judge,
    require_hash,
    running,
    settle,
)
from shared.transport.connections import Trust, open_session, open_trust

CLOCK_MARGIN_S = (
    2.0  # instances in Azure keep their clocks within a fraction of a second of each other
)

SWEEP_ONE_IN = (
    64  # a partition gains 64 rows between two sweeps of it, on average; a sweep takes up to 100
)
SWEEP_ROWS = 100  # the most that one entity group transaction holds
SWEEP_MARGIN_S = 300.0  # an old row harms nobody; a row removed by a clock that is ahead would

_TURNS = 4  # in each turn that does not settle it somebody else won, so a second one is rare
_POOL_SIZE = 64

_log = logging.getLogger(__name__)
_http_log = logging.getLogger(f"{__name__}.http")
_http_log.setLevel(
    logging.WARNING
)  # azure-core writes two lines per request at INFO, with the whole URL


class _Unanswered(StoreUnavailable):
    """A call that may have had its effect all the same."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for the table, in seconds: for a connection, for an answer, and for all the
    calls of one ``begin``, ``complete`` or ``release``.
    """

    connect_s: float = 2.0
    read_s: float = 2.0
    operation_s: float = 4.0


def start_daemon_thread(work: Callable[[], None]) -> None:
    """Run ``work`` beside the requests; it does not keep the worker alive."""
    threading.Thread(target=work, name="idempotency-sweep", daemon=True).start()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the store takes from the world around it: clocks (seconds), randomness (0..1), an id
    that no other claim ever has, a way to work beside requests.
    """

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    random: Callable[[], float] = secrets.SystemRandom().random
    new_owner: Callable[[], str] = lambda: secrets.token_hex(16)
    run_in_background: Callable[[Callable[[], None]], None] = start_daemon_thread


class TableStore:
    """Keeps the records of all instances in one table, which is created when it is missing.

    See ``IdempotencyStore`` for the methods.

    Make it with ``from_connection_string`` or ``from_endpoint``: a client that retries or follows
    redirects by itself would undo what is promised here.
    """

    def __init__(
        self,
        client: TableClient,
        *,
        patience: Patience | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._around = surroundings or Surroundings()
        self._table = _Table(client, self._patience, self._around.monotonic)
        self.sweeper = Sweeper(self._table, self._patience, self._around)

    @classmethod
    def from_connection_string(
        cls,
        connection_string: str,
        table_name: str,
        *,
        patience: Patience | None = None,
        surroundings: Surroundings | None = None,
        transport: HttpTransport[Any, Any] | None = None,
    ) -> Self:
        """Use an account by its key or shared access signature.

        Opens no connection; ``ValueError`` when the string is not one.
        """
        client = TableClient.from_connection_string(
            connection_string, table_name, **_client_options(transport)
        )
        return cls(client, patience=patience, surroundings=surroundings)

    @classmethod
    def from_endpoint(
        cls,
        endpoint: str,
        table_name: str,
        credential: TokenCredential,
        *,
        patience: Patience | None = None,
        surroundings: Surroundings | None = None,
        transport: HttpTransport[Any, Any] | None = None,
    ) -> Self:
        """Use an account as ``credential``, for which it needs the role Storage Table Data
        Contributor. Opens no connection; https only.
        """
        client = TableClient(
            endpoint, table_name, credential=credential, **_client_options(transport)
        )
        return cls(client, patience=patience, surroundings=surroundings)

    def begin(self, key: str, fingerprint: str, *, lease_s: float, keep_s: float) -> Begun:
        """Claim the request, or say who has it: one call to the table when the request is new, two
        or three when it is not.
        """
        require_hash(key)
        begun = self._begin(key, fingerprint, lease_s=lease_s + CLOCK_MARGIN_S, keep_s=keep_s)
        self.sweeper.now_and_then()
        return begun

    def complete(self, claim: Claim, payload: str, *, keep_s: float) -> bool:
        """Record the outcome: one call to the table."""
        owner, _, _ = claim.proof.partition("|")
        return self._settle(
            claim,
            finished(owner, claim.fingerprint, self._around.now(), keep_s=keep_s, payload=payload),
        )

    def release(self, claim: Claim, *, doubt: bool, keep_s: float) -> bool:
        """Give the claim up: one call to the table."""
        owner, _, _ = claim.proof.partition("|")
        return self._settle(
            claim,
            in_doubt(owner, claim.fingerprint, self._around.now(), keep_s=keep_s)
            if doubt
            else None,
        )

    def close(self) -> None:
        """Close the connections."""
        self._table.close()

    def _begin(self, key: str, fingerprint: str, *, lease_s: float, keep_s: float) -> Begun:
        until = self._around.monotonic() + self._patience.operation_s
        owner = self._around.new_owner()
        found: _Row | None = None  # most requests are new: try the insert before any read
        missed = 0
        for _ in range(_TURNS):
            now = self._around.now()
            before = found.record if found else None
            verdict = judge(before, fingerprint, now)
            if not isinstance(verdict, type):
                return verdict
            wanted = running(owner, fingerprint, now, lease_s=lease_s, keep_s=keep_s, before=before)
            try:
                etag = (
                    self._table.replace(key, wanted, found.etag, until)
                    if found
                    else self._table.insert(key, wanted, until)
                )
            except _Unanswered:
                missed += 1
                if missed > 1:
                    raise
                etag = None
            if etag is None:
                found = self._table.read(key, until)
                if found is None or found.record.owner != owner:
                    continue
                etag = found.etag  # our own write, whose answer got lost
            return verdict(Claim(key, f"{owner}|{etag}", fingerprint))
        return Running(POLL_HINT_S)

    def _settle(self, claim: Claim, wanted: Record | None) -> bool:
        until = self._around.monotonic() + self._patience.operation_s
        owner, _, etag = claim.proof.partition("|")
        missed = 0
        while True:
            try:
                if (
                    self._table.replace(claim.key, wanted, etag, until)
                    if wanted
                    else self._table.delete(claim.key, etag, until)
                ):
                    return True
            except _Unanswered:
                missed += 1
                if missed > 1:
                    raise
            found = self._table.read(claim.key, until)
            settling = settle(found.record if found else None, owner, wanted)
            if found is None or settling is not Settling.OPEN:
                return settling is Settling.DONE
            etag = found.etag  # still ours and running: the write did not arrive


@dataclass(frozen=True, slots=True)
class _Row:
    """A record as it was read, and the ETag under which it may be replaced."""

    record: Record
    etag: str = field(repr=False)


class _Table:
    """The calls to the table service.

    None or False: another was quicker. Raises ``_Unanswered`` and ``StoreUnavailable`` only.
    """

    def __init__(
        self, client: TableClient, patience: Patience, monotonic: Callable[[], float]
    ) -> None:
        self._client = client
        self._patience = patience
        self._monotonic = monotonic
        self._creating = threading.Lock()
        self._times_created = 0

    def insert(self, key: str, record: Record, until: float) -> str | None:
        """Add a record and give its ETag; make the table first if need be."""
        times_created = self._times_created
        try:
            return self._insert(key, record, until, ResourceExistsError, ResourceNotFoundError)
        except ResourceExistsError:
            return None
        except ResourceNotFoundError:  # there is no other 404 for an insert: the table is missing
            self._create(times_created, until)
        try:
            return self._insert(key, record, until, ResourceExistsError)
        except ResourceExistsError:
            return None

    def replace(self, key: str, record: Record, etag: str, until: float) -> str | None:
        """Put a record in the place of the one with this ETag and give the new ETag."""
        try:
            answer = self._ask(
                until,
                (ResourceModifiedError, ResourceNotFoundError),
                self._client.update_entity,
                _to_entity(key, record),
                UpdateMode.REPLACE,
                etag=etag,
                match_condition=MatchConditions.IfNotModified,
            )
        except (ResourceModifiedError, ResourceNotFoundError):
            return None
        return _etag(answer)

    def delete(self, key: str, etag: str, until: float) -> bool:
        """Remove the record with this ETag; True also when there is none."""
        try:
            self._ask(
                until,
                (ResourceModifiedError,),
                self._client.delete_entity,
                key[:2],
                key,
                etag=etag,
                match_condition=MatchConditions.IfNotModified,
            )
        except ResourceModifiedError:
            return False
        return True

    def read(self, key: str, until: float) -> _Row | None:
        """Read a record; asks again once, for reading changes nothing."""
        try:
            return self._read(key, until)
        except _Unanswered:
            return self._read(key, until)

    def expired(self, partition: str, before: float, until: float) -> list[TableEntity]:
        """List some records of a partition that were over ``before``."""
        return self._ask(until, (), self._list_expired, partition, before)

    def remove(self, rows: Iterable[TableEntity], until: float) -> None:
        """Remove all of these rows of one partition, or none if one of them has changed since."""
        deletes = [
            (
                "delete",
                row,
                {"etag": _etag(row.metadata), "match_condition": MatchConditions.IfNotModified},
            )
            for row in rows
        ]
        self._ask(until, (), self._client.submit_transaction, deletes)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _insert(
        self, key: str, record: Record, until: float, *expected: type[HttpResponseError]
    ) -> str:
        return _etag(
            self._ask(
                until,
                expected,
                self._client.create_entity,
                _to_entity(key, record),
                response_preference="return-no-content",
            )
        )

    def _read(self, key: str, until: float) -> _Row | None:
        try:
            return _to_row(
                self._ask(until, (ResourceNotFoundError,), self._client.get_entity, key[:2], key)
            )
        except ResourceNotFoundError:
            return None

    def _list_expired(self, partition: str, before: float, **time_outs: float) -> list[TableEntity]:
        pages = self._client.query_entities(
            "PartitionKey eq @partition and expires_at lt @before",
            parameters={"partition": partition, "before": before},
            select=[
                "PartitionKey",
                "RowKey",
                "Timestamp",
            ],  # Azure may leave the ETag out; the SDK then makes it from the Timestamp
            results_per_page=SWEEP_ROWS,
            **time_outs,
        ).by_page()
        return next(
            (rows for rows in map(list, pages) if rows), []
        )  # a page may be empty and have a next one

    def _create(self, times_created: int, until: float) -> None:
        if not self._creating.acquire(timeout=max(0.0, until - self._monotonic())):
            raise StoreUnavailable("the table took too long to be made")
        try:
            if self._times_created == times_created:  # else another thread has just done it
                self._ask(until, (ResourceExistsError,), self._client.create_table)
                self._times_created += 1
        except ResourceExistsError:
            self._times_created += 1  # another instance has just done it
        finally:
            self._creating.release()

    def _ask[T](
        self,
        until: float,
        expected: tuple[type[HttpResponseError], ...],
        operation: Callable[..., T],
        *args: object,
        **options: object,
    ) -> T:
        """Call the SDK within the time that is left; what it raises comes out as ``expected`` or as
        ours.
        """
        left_s = until - self._monotonic()
        if left_s <= 0:
            raise StoreUnavailable("the table took too long")
        time_outs = {
            "connection_timeout": min(
                self._patience.connect_s, left_s / 2
            ),  # the two add up when the network is at its worst
            "read_timeout": min(self._patience.read_s, left_s / 2),
        }
        try:
            return operation(*args, **options, **time_outs)
        except expected:
            raise
        except Exception as exc:  # not AzureError alone: the SDK lets ValueError, KeyError and urllib3's errors through
            raise _failure(exc) from exc


class Sweeper:
    """Removes old records, for a table has no expiry of its own: after one ``begin`` in 64, some of
    one partition, one sweep at a time.
    """

    def __init__(self, table: _Table, patience: Patience, around: Surroundings) -> None:
        self._table = table
        self._patience = patience
        self._around = around
        self._at_work = threading.Lock()
        self.removed = 0
        self.failed = 0

    def now_and_then(self) -> None:
        """Start a sweep if it is time for one and none is at work."""
        # By chance, not by count: a worker that lives for ten requests has to do its share.
        if self._around.random() * SWEEP_ONE_IN >= 1 or not self._at_work.acquire(blocking=False):
            return
        try:
            self._around.run_in_background(self._sweep)
        except RuntimeError:  # no thread to be had
            self.failed += 1
            self._at_work.release()

    def _sweep(self) -> None:
        try:
            until = self._around.monotonic() + 2 * self._patience.operation_s
            partition = f"{int(self._around.random() * 256):02x}"
            rows = self._table.expired(partition, self._around.now() - SWEEP_MARGIN_S, until)
            if rows:
                self._table.remove(rows, until)
            self.removed += len(rows)
        except StoreUnavailable as exc:
            self.failed += 1
            _log.info("sweep failed: %s", exc)
        finally:
            self._at_work.release()


def _to_entity(key: str, record: Record) -> dict[str, str | float]:
    """Write a record as plain types; 256 partitions by the first byte of the hash spread the load."""
    return {
        "PartitionKey": key[:2],
        "RowKey": key,
        "state": record.state.value,
        "owner": record.owner,
        "fingerprint": record.fingerprint,
        "lease_until": float(record.lease_until),
        "expires_at": float(record.expires_at),
        "payload": record.payload,
    }


def _to_row(entity: TableEntity) -> _Row:
    match entity:
        case {
            "state": "running" | "finished" | "doubt" as state,
            "owner": str(owner),
            "fingerprint": str(fingerprint),
            "lease_until": int() | float() as lease_until,
            "expires_at": int() | float() as expires_at,
            "payload": str(payload),
        }:
            return _Row(
                Record(State(state), owner, fingerprint, lease_until, expires_at, payload),
                _etag(entity.metadata),
            )
    raise StoreUnavailable("the table holds something that is no record of ours")


def _etag(metadata: Any) -> str:
    etag = metadata.get("etag")
    if not isinstance(etag, str):
        raise _Unanswered("the table gave no ETag")
    return etag


def _failure(exc: Exception) -> StoreUnavailable:
    """Tell a call that cannot have had an effect from one that may have."""
    status = exc.status_code if isinstance(exc, HttpResponseError) else None
    if status is not None and 400 <= status < 500 and status != 408:
        code = getattr(exc, "error_code", None)
        return StoreUnavailable(f"the table refused: {status} {getattr(code, 'value', code)}")
    if isinstance(exc, ClientAuthenticationError):
        return StoreUnavailable("no token or signature for the table")
    # Not ServiceRequestError: azure-core also says that for a TLS connection that broke after the
    # request was sent.
    if isinstance(exc, AzureError) and isinstance(
        exc.inner_exception, (NewConnectionError, ConnectTimeoutError, requests.ConnectTimeout)
    ):
        return StoreUnavailable(
            f"the table cannot be reached: {type(exc.inner_exception).__name__}"
        )
    return _Unanswered(f"the table gave no usable answer: {type(exc).__name__}")


def _client_options(transport: HttpTransport[Any, Any] | None) -> dict[str, Any]:
    return {
        "transport": transport or pooled_transport(),
        "retry_total": 0,  # a blind retry of an insert meets itself; TableStore reads back instead
        "permit_redirects": False,
        "logger": _http_log,
    }


def pooled_transport(trust: Trust | None = None) -> RequestsTransport:
    """Make the one connection pool that all threads share; ``trust`` as in ``open_session``.

    Plain http is for the emulator of a developer's machine.
    """
    session = open_session(trust or open_trust(None), pool_size=_POOL_SIZE)
    session.mount(
        "http://",
        HTTPAdapter(
            pool_maxsize=_POOL_SIZE,
            max_retries=Retry(total=False, redirect=False, raise_on_status=False),
        ),
    )
    return RequestsTransport(session=session)
