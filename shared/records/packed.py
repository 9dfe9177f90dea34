"""Records in rows of a fixed size: what a worker remembers of 100,000 requests, in seven megabytes
that it takes once and for all.

Owns the table: where a row is, how it is found by its name, and the order of arrival within each
queue. Does *not* know what a record means, when it is over or which has to go (``idempotency.py``),
and is not safe for threads by itself.

A record as a Python object, with its key, its place in a dictionary and in a queue, takes ten times
as much, and a worker would grow by that with every request until the capacity is reached. Here
nothing is allocated per record: a new one takes a free row.
"""

from array import array
from collections.abc import Hashable, Iterator
from typing import NamedTuple

HASH_BYTES = 16  # of a SHA-256: among 100,000 records two meet by chance once in 10^28 tables
_ROW_BYTES = 2 * HASH_BYTES  # name, fingerprint
_NO_ROW = -1
_SPARE_ROWS = 512  # what runs may exceed the capacity, and each queue has a row for its two ends; beyond these the table grows
_SHARED_PAYLOADS = 64


class Packed(NamedTuple):
    """What a row holds.

    ``lease_until`` is None where nobody carries the request out, ``payload`` where it is not
    finished. Times in seconds.
    """

    name: bytes
    owner: int
    fingerprint: bytes
    expires_at: float
    lease_until: float | None
    payload: str | None


class PackedRecords[Queue: Hashable]:
    """A table of rows. A row's number is good until its record is removed.

    Rows of one bucket are chained; rows of one queue form a ring, oldest first, that begins and
    ends in a row which holds no record (its anchor), so that a row is taken out of the middle
    without knowing which queue it is in. Every method takes constant time, those over queues as
    many steps as there are queues.
    """

    def __init__(self, capacity: int) -> None:
        rooms = capacity + _SPARE_ROWS
        # Multiplied, not grown: every page is written to now, so that it is part of the worker from
        # its first request on.
        self._hashes = bytearray(_ROW_BYTES) * rooms
        self._owners = array("Q", [0]) * rooms
        self._expiries = array("d", [0.0]) * rooms
        self._payloads: list[str | None] = [None] * rooms
        self._chained = array("i", [_NO_ROW]) * rooms
        self._newer = array("i", [_NO_ROW]) * rooms
        self._older = array("i", [_NO_ROW]) * rooms
        self._buckets = array("i", [_NO_ROW]) * (1 << capacity.bit_length())
        self._bucket_mask = len(self._buckets) - 1
        self._leases: dict[int, float] = {}  # of the few that run
        self._anchors: dict[Queue, int] = {}
        self._shared: dict[str, str] = {}
        self._unused_from = 0
        self._free = _NO_ROW  # the last row that was given back; the others follow in ``_chained``
        self._count = 0

    def __len__(self) -> int:
        """Count the records."""
        return self._count

    def __iter__(self) -> Iterator[Packed]:
        """Return all records, queue by queue, oldest first."""
        for anchor in self._anchors.values():
            row = self._newer[anchor]
            while row != anchor:
                yield self.read(row)
                row = self._newer[row]

    def find(self, name: bytes) -> int | None:
        """Return the row of a record, None where there is none. ``name`` has ``HASH_BYTES``."""
        row = self._buckets[
            hash(name) & self._bucket_mask
        ]  # Python's hash of bytes is keyed: nobody can aim at one bucket
        while row != _NO_ROW and not self._hashes.startswith(name, row * _ROW_BYTES):
            row = self._chained[row]
        return None if row == _NO_ROW else row

    def read(self, row: int) -> Packed:
        """Return what a row holds."""
        at = row * _ROW_BYTES
        hashes = bytes(self._hashes[at : at + _ROW_BYTES])
        name, fingerprint = hashes[:HASH_BYTES], hashes[HASH_BYTES:]
        return Packed(
            name,
            self._owners[row],
            fingerprint,
            self._expiries[row],
            self._leases.get(row),
            self._payloads[row],
        )

    def runs_for(self, row: int) -> int | None:
        """Return who carries a record out, None where it does not run."""
        return self._owners[row] if row in self._leases else None

    def run(
        self,
        row: int | None,
        name: bytes,
        fingerprint: bytes,
        owner: int,
        queue: Queue,
        *,
        lease_until: float,
        expires_at: float,
    ) -> None:
        """Write a running record as the newest of its queue: over the one in ``row``, which has the
        same name, or (None) into a free row.
        """
        if row is None:
            row = self._take_row()
            bucket = hash(name) & self._bucket_mask
            self._chained[row] = self._buckets[bucket]
            self._buckets[bucket] = row
            self._count += 1
        else:
            self._unlink(row)
        at = row * _ROW_BYTES
        self._hashes[at : at + _ROW_BYTES] = name + fingerprint
        self._owners[row] = owner
        self._expiries[row] = expires_at
        self._payloads[row] = None
        self._leases[row] = lease_until
        self._append(row, queue)

    def rest(self, row: int, queue: Queue, *, expires_at: float, payload: str | None) -> None:
        """Let the record in ``row`` run no more; it becomes the newest of its queue."""
        self._unlink(row)
        self._expiries[row] = expires_at
        self._payloads[row] = None if payload is None else self._share(payload)
        self._leases.pop(row, None)
        self._append(row, queue)

    def remove(self, row: int) -> None:
        """Forget a record."""
        self._unlink(row)
        at = row * _ROW_BYTES
        bucket = hash(bytes(self._hashes[at : at + HASH_BYTES])) & self._bucket_mask
        before = self._buckets[bucket]
        if before == row:
            self._buckets[bucket] = self._chained[row]
        else:
            while self._chained[before] != row:
                before = self._chained[before]
            self._chained[before] = self._chained[row]
        self._payloads[row] = None
        self._leases.pop(row, None)
        self._give_back(row)
        self._count -= 1

    def oldest(self) -> list[tuple[Queue, int, float, float | None]]:
        """Return, of the oldest record of each queue: the queue, its end, and its lease if it runs."""
        newer, expiries, leases = self._newer, self._expiries, self._leases
        return [
            (queue, row, expiries[row], leases.get(row))
            for queue, anchor in self._anchors.items()
            if (row := newer[anchor]) != anchor
        ]

    def drop_expired(self, now: float) -> None:
        """Forget the oldest record of each queue if its keep is over."""
        newer, expiries = self._newer, self._expiries
        for anchor in self._anchors.values():
            row = newer[anchor]
            if row != anchor and expiries[row] <= now:
                self.remove(row)

    def _unlink(self, row: int) -> None:
        newer, older = self._newer[row], self._older[row]
        self._newer[older], self._older[newer] = newer, older

    def _append(self, row: int, queue: Queue) -> None:
        anchor = self._anchors.get(queue)
        if anchor is None:
            anchor = self._open(queue)
        newest = self._older[anchor]
        self._older[row], self._newer[row] = newest, anchor
        self._newer[newest] = self._older[anchor] = row

    def _open(self, queue: Queue) -> int:
        """Give a queue its anchor.

        Queues that have run empty lose theirs now and not before: the one of what runs does so all
        the time.
        """
        for name, anchor in list(self._anchors.items()):
            if self._newer[anchor] == anchor:
                del self._anchors[name]
                self._give_back(anchor)
        anchor = self._anchors[queue] = self._take_row()
        self._newer[anchor] = self._older[anchor] = anchor
        return anchor

    def _take_row(self) -> int:
        row = self._free
        if row != _NO_ROW:
            self._free = self._chained[row]
            return row
        row = self._unused_from
        self._unused_from += 1
        if row == len(self._chained):
            self._hashes.extend(bytes(_ROW_BYTES))
            self._owners.append(0)
            self._expiries.append(0.0)
            self._payloads.append(None)
            for links in (self._chained, self._newer, self._older):
                links.append(_NO_ROW)
        return row

    def _give_back(self, row: int) -> None:
        self._chained[row] = self._free
        self._free = row

    def _share(self, payload: str) -> str:
        """Return the same text as one object: a service has few different outcomes, so the table of
        them is short and does not change any more.
        """
        known = self._shared.get(payload)
        if known is None:
            known = payload
            if len(self._shared) < _SHARED_PAYLOADS:
                self._shared[payload] = payload
        return known
