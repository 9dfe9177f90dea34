"""The calls to Azure Table Storage: how records are written, read and removed there.

Owns how long a call may take, and what an answer that never came means. Does *not* own the form of
a row (``entities.py``), what a record means (``rules.py``), nor the order of calls
(``table_store.py``).

A caller's records are one partition, named by the hash of the caller, so that they can be written
together. Atomic are an insert (one wins, the others see a conflict) and a replace or delete under
the ETag that was read (the same). A transaction has several of them, all or none.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import quote, urlencode, urlsplit

from shared.records.account import Account
from shared.records.entities import (
    JSON,
    SAID,
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
from shared.records.rules import StoreUnavailable
from shared.transport.channel import Answer, Channel, NotSent
from shared.transport.waiting import Waiting

SWEEP_ROWS = 100  # the most that one transaction holds

_LIMIT_BYTES = 4 * 1024 * 1024  # a page of a table holds at most that
_HEADERS = {
    **SAID,
    "x-ms-version": "2019-02-02",
    "MaxDataServiceVersion": "3.0;NetFx",
}
_NO_TABLE = "TableNotFound"
_BUSY_PAUSE_S = 0.25


class TableCalls:
    """The calls of one table. They raise ``StoreUnavailable`` and its kinds only.

    ``until`` is when the operation that a call belongs to has to be over, on the monotonic clock.
    """

    def __init__(self, account: Account, table: str, channel: Channel, waiting: Waiting) -> None:
        self._account, self._table, self._channel = account, table, channel
        self._waiting = waiting
        self._root = urlsplit(account.endpoint).path
        self._creating = threading.Lock()
        self._times_created = 0

    def write(
        self, caller: str, rows: Sequence[Row], until: float, *, again: bool = True
    ) -> list[str] | None:
        """Write all rows of a caller, or none, and give their new ETags.

        The ETag of a delete is "". None: another was quicker, and nothing was changed. It is tried
        ``again`` once: at a missing table, which is made first, and after a pause at a busy one.
        """
        times_created = self._times_created
        try:
            if len(rows) == 1:
                return [self._write_one(caller, rows[0], until)]
            return self._write_all(caller, rows, until)
        except Busy:
            # A random pause, so that the callers do not all come back at the same moment.
            pause_s = _BUSY_PAUSE_S * (1 + self._waiting.random())
            if not again or until - time.monotonic() < pause_s:
                raise
            self._waiting.sleep(pause_s)
        except Refused as refused:
            if refused.code != _NO_TABLE or all(row.etag for row in rows):
                return None
            if not again:
                raise
            self._create(times_created, until)
        return self.write(caller, rows, until, again=False)

    def read(self, caller: str, key: str, until: float, *, again: bool = True) -> Row:
        """Read a record; asks ``again`` once, for reading changes nothing."""
        try:
            return self._ask(
                until,
                lambda answer: read_row(key, answer.body),
                "GET",
                f"{self._table}{path(caller, key)}",
            )
        except Refused:
            return Row(key, None, None)
        except Unanswered:
            if not again:
                raise
            return self.read(caller, key, until, again=False)

    def expired(self, first: str, end: str, before: float, until: float) -> list[tuple[str, Row]]:
        """List some records that were over ``before``, as their callers and their deletes.

        They lie in the partitions from ``first`` up to ``end``.
        """
        query = {
            "$top": str(SWEEP_ROWS),
            "$select": "PartitionKey,RowKey,Timestamp",
            "$filter": f"PartitionKey ge '{first}' and PartitionKey lt '{end}' "
            f"and expires_at lt {before}",
        }
        while True:
            asked = urlencode(query, safe="$", quote_via=quote)
            found, following = self._ask(until, _read_page, "GET", f"{self._table}()?{asked}")
            if found or not following:  # a page may be empty and have a next one
                return found
            query |= following

    def _write_one(self, caller: str, row: Row, until: float) -> str:
        one = write(self._table, caller, row)
        return self._ask(
            until,
            lambda answer: new_etag(answer.status, answer.headers.get("etag"), row),
            one.method,
            one.target,
            one.headers,
            None if one.content is None else one.content.encode(),
        )

    def _write_all(self, caller: str, rows: Sequence[Row], until: float) -> list[str]:
        writes = [write(self._table, caller, row) for row in rows]
        kind, content = pack(self._account.endpoint, writes)
        return self._ask(
            until,
            lambda answer: unpack(answer.body, rows),
            "POST",
            "$batch",
            {"Content-Type": kind, "Accept": "application/json"},
            content,
        )

    def _create(self, times_created: int, until: float) -> None:
        """Make the table, unless another thread does; one that takes too long is not waited for."""
        if self._creating.acquire(timeout=max(0.0, until - time.monotonic())):
            try:
                if self._times_created == times_created:
                    with suppress(Refused):  # another instance has just done it
                        self._ask(
                            until,
                            lambda _: None,
                            "POST",
                            "Tables",
                            JSON,
                            json.dumps({"TableName": self._table}).encode(),
                        )
                    self._times_created += 1
            finally:
                self._creating.release()

    def _ask[T](
        self,
        until: float,
        read: Callable[[Answer], T],
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> T:
        """Send a request, and ``read`` the answer if it says yes.

        After the wait for a token it takes half of the time that is left. The other half is for
        reading back what got no answer. Errors: those of ``check``; StoreUnavailable.
        """
        told = {**_HEADERS, "x-ms-date": _date(int(time.time())), **(headers or {})}
        try:
            proved = self._account.prove(method, f"{self._root}/{target}", told)
            within_s = (until - time.monotonic()) / 2
            if within_s <= 0:
                raise StoreUnavailable("the table took too long")
            answer = self._channel.exchange(
                method,
                proved,
                told,
                content,
                connect_s=within_s,
                total_s=within_s,
                limit_bytes=_LIMIT_BYTES,
            )
            check(answer.status, answer.body, answer.headers)
            return read(answer)
        except StoreUnavailable:
            raise
        except NotSent as exc:
            raise StoreUnavailable(f"the table cannot be reached: {exc.cause}") from exc
        except Exception as exc:  # whatever is read in an answer that is none
            cause = getattr(exc, "cause", type(exc).__name__)
            raise Unanswered(f"the table gave no usable answer: {cause}") from exc


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    """Return a second of the wall clock as HTTP writes it."""
    return formatdate(second, usegmt=True)


def _read_page(answer: Answer) -> tuple[list[tuple[str, Row]], dict[str, str]]:
    """Return callers and deletes, and what to ask for next."""
    found = [
        (entity["PartitionKey"], Row(entity["RowKey"], None, etag_of(entity)))
        for entity in json.loads(answer.body)["value"]
    ]
    following = {
        name: answer.headers[f"x-ms-continuation-{name.lower()}"]
        for name in ("NextPartitionKey", "NextRowKey")
        if f"x-ms-continuation-{name.lower()}" in answer.headers
    }
    return found, following
