"""What was done before for a request: two records, their keys, and what may be replayed.

Every request has a record *by nature* (tenant, caller, business, appointment). It carries the
doubt: an attempt whose end nobody knows, whichever key it came with. A request with an
Idempotency-Key has a second one, which carries the caller's wish to hear the same answer again, and
detects another body.

Owns keys, payloads and the order of writes. Does *not* talk to Graph. When the store is down the
cancel goes on, and ``blind`` says so; what was done without a record by nature is remembered in two
other places, a record by key that could be had, and this worker.
"""

import json
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from cachetools import TTLCache

from cancel_appointment.outcome import CancelOutcome, Outcome
from cancel_appointment.request import CancelRequest
from shared.digest import digest
from shared.errors import IdempotencyKeyReused, RequestInProgress
from shared.identity.principal import Principal
from shared.records.rules import (
    Claim,
    Doubt,
    Finished,
    Granted,
    IdempotencyStore,
    Mismatch,
    Removed,
    Replay,
    Running,
    StoreUnavailable,
    Wanted,
)
from shared.transport.deadline import Deadline

_log = logging.getLogger("facade.records")
_LEASE_MARGIN_S = 10.0  # covers the skew of clocks between instances
_WAIT_AT_MOST_S = 3.0
_FIRST_POLL_S, _LONGEST_POLL_S = 0.05, 0.5
_NO_FINGERPRINT = (
    ""  # by nature there is one request only: another message does not make it another
)


@dataclass(frozen=True, slots=True)
class Entry:
    """Our right to carry out a request.

    ``doubt``: an earlier attempt may have taken effect. ``blind``: the records could not be read.
    """

    claim: Claim | None
    doubt: bool
    blind: bool


@dataclass(frozen=True, slots=True)
class Keep:
    """How long records live, in seconds."""

    lease_s: float
    keep_s: float

    @classmethod
    def for_deadline(cls, deadline_s: float, keep_s: float = 24 * 3600.0) -> "Keep":
        """Make the lease outlive every request: nothing is sent after its deadline."""
        return cls(deadline_s + _LEASE_MARGIN_S, keep_s)


class Records:
    """Opens and settles the records of requests; safe for all threads.

    ``sleep`` pauses for seconds.
    """

    def __init__(self, store: IdempotencyStore, keep: Keep, sleep: Callable[[float], None]) -> None:
        self._store = store
        self._keep = keep
        self._sleep = sleep
        self._unrecorded = _Unrecorded(keep.keep_s)

    def open(
        self,
        caller: Principal,
        request: CancelRequest,
        idempotency_key: str | None,
        deadline: Deadline,
    ) -> Entry | CancelOutcome:
        """Claim the request, or return the answer that it already had.

        Errors: IdempotencyKeyReused; RequestInProgress when the same request is still running after
        a short wait.
        """
        nature = _nature_of(caller, request)
        wanted = [Wanted(nature, _NO_FINGERPRINT)]
        if idempotency_key is not None:
            wanted.append(Wanted(_key_of(caller, idempotency_key), _fingerprint(request)))
        doubt = nature in self._unrecorded
        try:
            begun = self._begin(_hash_of(caller), wanted, deadline)
            if isinstance(begun, Replay):
                return _read(begun)
        except StoreUnavailable as error:
            _log.error("event=store_unavailable step=begin reason=%r", str(error))
            # Asked again: the store may have taken seconds to fail.
            doubt = doubt or nature in self._unrecorded
            self._unrecorded.add(nature)
            return Entry(None, doubt=doubt, blind=True)
        doubt = doubt or begun.doubt or begun.forgot or nature in self._unrecorded
        return Entry(begun.claim, doubt=doubt, blind=False)

    def settle(self, entry: Entry, outcome: CancelOutcome) -> CancelOutcome:
        """Write an outcome down and return it, as far as it still can be said.

        By nature only ``cancelled`` is kept; a ``not_found`` that is not confirmed leaves the doubt
        to the next attempt. Where another worker took the record over meanwhile, or a thread of
        this one went on without it, those may have cancelled the appointment: a ``not_found`` is
        then not confirmed.
        """
        if entry.claim is None:
            return outcome
        nature: Finished | Removed | Doubt
        if outcome.outcome is Outcome.CANCELLED:
            nature = _write(outcome)
        else:
            alone = entry.claim.wanted[0].key not in self._unrecorded
            outcome = replace(outcome, confirmed=outcome.confirmed and alone)
            nature = Removed() if outcome.confirmed else Doubt()
        if self._settle(entry.claim, nature, _write(outcome)):
            return outcome
        return replace(
            outcome, confirmed=outcome.confirmed and outcome.outcome is Outcome.CANCELLED
        )

    def give_up(self, entry: Entry, *, doubt: bool) -> None:
        """Let a repeat try again; with ``doubt`` it will look first."""
        if entry.claim is not None:
            end = Doubt() if doubt else Removed()
            self._settle(entry.claim, end, end)

    def _begin(self, caller: str, wanted: list[Wanted], deadline: Deadline) -> Granted | Replay:
        """Begin, waiting briefly while somebody else carries the same request out."""
        wait_until = deadline.now() + min(_WAIT_AT_MOST_S, deadline.remaining_s() / 2)
        poll_s = _FIRST_POLL_S
        while True:
            begun = self._store.begin(
                caller, wanted, lease_s=self._keep.lease_s, keep_s=self._keep.keep_s
            )
            match begun:
                case Granted() | Replay():
                    return begun
                case Mismatch():
                    raise IdempotencyKeyReused(
                        "This Idempotency-Key came before, with another body: use a new key for another request."
                    )
                case Running():
                    if deadline.now() + poll_s > wait_until:
                        raise RequestInProgress(
                            "The same request is being carried out right now; ask again shortly.",
                            retry_after_s=begun.retry_after_s,
                        )
            self._sleep(poll_s)
            poll_s = min(_LONGEST_POLL_S, poll_s * 2)

    def _settle(
        self, claim: Claim, nature: Finished | Removed | Doubt, key: Finished | Removed | Doubt
    ) -> bool:
        """Settle a claim; False only where it was no longer ours.

        Where the store fails the records stay as they are: when the lease is over, a repeat looks
        first.
        """
        try:
            ends = [nature, key][: len(claim.wanted)]
            return self._store.settle(claim, ends, keep_s=self._keep.keep_s)
        except StoreUnavailable as error:
            _log.error("event=store_unavailable step=settle reason=%r", str(error))
            return True


class _Unrecorded:
    """What this worker carried out while the store was down, by nature, for as long as a record
    would live.

    Bounded: when there is more than ``capacity``, everything may have been, until that much time
    has passed.
    """

    def __init__(
        self, keep_s: float, now: Callable[[], float] = time.monotonic, capacity: int = 20_000
    ) -> None:
        self._keep_s = keep_s
        self._now = now
        self._lock = threading.Lock()
        self._natures: TTLCache[str, bool] = TTLCache(capacity, ttl=keep_s, timer=now)
        self._unsure_until = -math.inf

    def __contains__(self, nature: str) -> bool:
        with self._lock:
            return self._now() < self._unsure_until or nature in self._natures

    def add(self, nature: str) -> None:
        with self._lock:
            if nature not in self._natures and self._natures.currsize >= self._natures.maxsize:
                self._unsure_until = self._now() + self._keep_s
            self._natures[nature] = True


def _hash_of(caller: Principal) -> str:
    return digest("caller", caller.tenant_id, caller.object_id).hex()


def _write(outcome: CancelOutcome) -> Finished:
    return Finished(json.dumps({"outcome": outcome.outcome.value, "confirmed": outcome.confirmed}))


def _nature_of(caller: Principal, request: CancelRequest) -> str:
    """Bind an appointment to whoever asks.

    Businesses are mailboxes, whose addresses do not differ by case.
    """
    return digest(
        "nature",
        caller.tenant_id,
        caller.object_id,
        request.business_id.lower(),
        request.appointment_id,
    ).hex()


def _key_of(caller: Principal, idempotency_key: str) -> str:
    """Bind a key to whoever asks *and* the client application that made it up: two applications may
    make up the same.
    """
    return digest(
        "key", caller.tenant_id, caller.object_id, caller.client_id, idempotency_key
    ).hex()


def _fingerprint(request: CancelRequest) -> str:
    return digest(
        request.business_id,
        request.appointment_id,
        "" if request.cancellation_message is None else f"={request.cancellation_message}",
    ).hex()


def _read(replay: Replay) -> CancelOutcome:
    try:
        payload = json.loads(replay.payload)
        return CancelOutcome(
            Outcome(payload["outcome"]), confirmed=payload["confirmed"] is True, replayed=True
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreUnavailable("a finished record holds no outcome") from error
