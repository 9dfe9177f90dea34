"""What was already done for a request: the port of the stores, and the rules that both keep.

Owns the meaning of records: what a request meets (``judge``), what it leaves
(``new_records``), and who may end a claim (``settle``).
Does *not* keep anything, and does not know what a request or an outcome is: callers, keys and
fingerprints are hashes that the capability made, a payload is its text.

A record is *running* while somebody carries the request out, *finished* once its outcome is known,
*in doubt* when it was given up without knowing. A running record whose lease is over means that its
worker died: it is in doubt, too. A request may want several records; they are begun and settled
together, all or none.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

# How soon it pays to ask again about a running record. A cancel takes well under a second, a lease
# lasts much longer.
POLL_HINT_S = 1.0
_HASH = re.compile(r"[0-9a-f]{64}")


class StoreUnavailable(Exception):
    """The store did not answer, refused, or holds something that is no record.

    Nothing is known about the request.
    """


class RecordHidden(StoreUnavailable):
    """Somebody has a record of the request, and nobody can tell what it says, or take it over.

    The request was begun before, and it may have been done.
    """


@dataclass(frozen=True, slots=True)
class Wanted:
    """A record that a request wants. ``fingerprint`` tells one body under this key from another."""

    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to carry out a request, until its lease is over.

    ``owner`` is an id that no other claim has. ``expiries`` say until when each record lives, and
    ``versions`` mean something to the store that gave the claim.
    """

    caller: str
    wanted: tuple[Wanted, ...]
    owner: str = field(repr=False)
    expiries: tuple[float, ...] = ()
    versions: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Granted:
    """Nobody else carries the request out: do it, then settle the claim.

    ``doubt``: it was begun before, and nobody knows how it ended. ``forgot``: a record of this
    caller was dropped before its time, and it may have been the one of this request.
    """

    claim: Claim
    doubt: bool
    forgot: bool = False


@dataclass(frozen=True, slots=True)
class Replay:
    """It was finished, and this is what was recorded."""

    payload: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Running:
    """Somebody else carries it out right now.

    ``retry_after_s`` says when it pays to ask again, in seconds.
    """

    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A key is taken by a request with another fingerprint."""


type Begun = Granted | Replay | Running | Mismatch


@dataclass(frozen=True, slots=True)
class Finished:
    """The outcome is known, and is to be replayed."""

    payload: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Removed:
    """Nothing is to be kept: a repeat finds no record."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """The request was given up without knowing how it ended."""


type End = Finished | Removed | Doubt


class IdempotencyStore(Protocol):
    """Keeps the records of requests.

    Every method may be called by any thread and raises ``StoreUnavailable`` and nothing else when
    the store fails; ``RecordHidden`` where it is known all the same that there is a record.
    """

    def begin(
        self, caller: str, wanted: Sequence[Wanted], *, lease_s: float, keep_s: float
    ) -> Begun:
        """Claim all records of a request at once, or say what stands against it.

        The first one wanted is by nature; one by key may follow. Of any number of racers for a
        record exactly one is granted it. A replay of the first leaves the second one finished, too,
        so that its key still means this request and no other.

        ``caller`` and the keys are SHA-256 in hex (anything else is a ``ValueError``: an id must
        never become a key). ``lease_s`` has to be longer than the request can take; ``keep_s`` is
        how long the records live if nothing else is said about them.
        """
        ...

    def settle(self, claim: Claim, ends: Sequence[End], *, keep_s: float) -> bool:
        """Bring all records of a claim to their ends, one for each in order.

        They are kept for ``keep_s``. False: the claim was lost to another, or was settled otherwise
        before; nothing was changed. True also when the records already say so.
        """
        ...


class State(StrEnum):
    """Where a record stands. The values are stored: they are a format, not only names."""

    RUNNING = "running"
    FINISHED = "finished"
    DOUBT = "doubt"


@dataclass(frozen=True, slots=True)
class Record:
    """What a store keeps under a key.

    Times are seconds of the wall clock; ``owner`` is whoever claimed it last.
    """

    state: State
    owner: str = field(repr=False)
    fingerprint: str
    lease_until: float
    expires_at: float
    payload: str = field(default="", repr=False)

    def is_worked_on(self, now: float) -> bool:
        """Say whether somebody still has the right to carry the request out."""
        return self.state is State.RUNNING and self.lease_until > now


@dataclass(frozen=True, slots=True)
class Free:
    """The request may be claimed. ``doubt`` as in ``Granted``."""

    doubt: bool


type Verdict = Free | Replay | Running | Mismatch


def judge(found: Sequence[Record | None], wanted: Sequence[Wanted], now: float) -> Verdict:
    """Say what a request meets; ``found`` has what is kept for each record that is wanted."""
    there = [_alive(record, now) for record in found]
    kept = [record for record in there if record is not None]
    if not kept:
        return Free(doubt=False)
    for record, want in zip(there, wanted, strict=True):
        if record is not None and record.fingerprint != want.fingerprint:
            return Mismatch()
    for record in reversed(kept):  # the answer by key goes before the one by nature
        if record.state is State.FINISHED:
            return Replay(record.payload)
    leases = [record.lease_until for record in kept if record.is_worked_on(now)]
    if leases:
        return Running(min(max(leases) - now, POLL_HINT_S))
    return Free(doubt=True)


def new_records(
    met: Verdict,
    owner: str,
    wanted: Sequence[Wanted],
    found: Sequence[Record | None],
    now: float,
    *,
    lease_s: float,
    keep_s: float,
) -> dict[str, Record]:
    """Make the records, by key, that a request leaves when it begins.

    They are those of a claim, those that a replay leaves, or none.
    """
    match met:
        case Free():
            least = now + max(lease_s, keep_s)
            return {
                want.key: Record(
                    State.RUNNING,
                    owner,
                    want.fingerprint,
                    now + lease_s,
                    # Doubt does not evaporate: it never lives shorter than what it takes over from.
                    max(least, before.expires_at) if before else least,
                )
                for want, before in zip(wanted, found, strict=True)
            }
        case Replay():
            return _repeat_replay(owner, wanted, found, now, keep_s=keep_s)
        case Running() | Mismatch():
            return {}


def _repeat_replay(
    owner: str,
    wanted: Sequence[Wanted],
    found: Sequence[Record | None],
    now: float,
    *,
    keep_s: float,
) -> dict[str, Record]:
    """Repeat an answer for the records after its own, except what somebody works on."""
    payload: str | None = None
    left: dict[str, Record] = {}
    for want, record in zip(wanted, found, strict=True):
        before = _alive(record, now)
        if before is not None and before.state is State.FINISHED:
            payload, left = before.payload, {}
        elif payload is not None and not (before and before.is_worked_on(now)):
            until = now + keep_s
            left[want.key] = Record(State.FINISHED, owner, want.fingerprint, now, until, payload)
    return left


def end_records(
    claim: Claim, ends: Sequence[End], now: float, *, keep_s: float
) -> list[Record | None]:
    """Make the records that a claim ends with; None is one that is removed.

    A doubt lives at least as long as the running record would have.
    """
    return [
        _end_record(end, claim.owner, want.fingerprint, expires_at, now, keep_s)
        for end, want, expires_at in zip(ends, claim.wanted, claim.expiries, strict=True)
    ]


def _end_record(
    end: End, owner: str, fingerprint: str, expires_at: float, now: float, keep_s: float
) -> Record | None:
    match end:
        case Finished(payload):
            return Record(State.FINISHED, owner, fingerprint, now, now + keep_s, payload)
        case Doubt():
            return Record(State.DOUBT, owner, fingerprint, now, max(expires_at, now + keep_s))
        case Removed():
            return None


def settle(
    claim: Claim, found: Sequence[Record | None], aims: Sequence[Record | None]
) -> dict[str, Record | None] | None:
    """Say what is left to write, by key, to bring the records of a claim to their aims.

    None: one of them is another's by now, or was settled otherwise; all are to be left alone.
    """
    left: dict[str, Record | None] = {}
    for want, record, aim in zip(claim.wanted, found, aims, strict=True):
        if record is None:
            if aim is not None:
                return None
        elif record.owner != claim.owner:
            return None
        elif record.state is State.RUNNING:
            left[want.key] = aim
        elif aim is None or (record.state, record.payload) != (aim.state, aim.payload):
            return None
    return left


def require_hashes(caller: str, wanted: Sequence[Wanted]) -> None:
    """Refuse what is not a hash, before it can name a person in a store or a log.

    Errors: ValueError.
    """
    for text in [caller, *[want.key for want in wanted]]:
        if not _HASH.fullmatch(text):
            raise ValueError("a caller and a key must each be a SHA-256 in lower-case hex")


def _alive(record: Record | None, now: float) -> Record | None:
    return record if record is not None and record.expires_at > now else None
