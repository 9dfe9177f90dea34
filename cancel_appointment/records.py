"""What was done before for a request: two records, their keys, and what may be replayed.

Every request has a record *by nature* (tenant, caller, business, appointment). It carries the
doubt: an attempt whose end nobody knows, whichever key it came with. A request with an
Idempotency-Key has a second record. It keeps the answer for the same key, and detects another body.

Owns keys, payloads, what is kept of an outcome, and what this worker did without a store. Does
*not* talk to Graph. When the store is down the cancel goes on, and ``unsure`` says so.
"""

import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache

from cancel_appointment.protocol.outcome import CancelOutcome, Missing, Outcome
from cancel_appointment.request import CancelRequest
from shared.digest import digest
from shared.errors import IdempotencyKeyReused, RequestInProgress
from shared.identity.principal import Principal
from shared.ids import folded, url_safe
from shared.records.memory_store import MemoryStore
from shared.records.rules import (
    Claim,
    Doubt,
    End,
    Finished,
    Granted,
    IdempotencyStore,
    Mismatch,
    RecordHidden,
    Removed,
    Replay,
    StoreUnavailable,
    Wanted,
)
from shared.telemetry.journal import tell
from shared.transport.deadline import Deadline

_log = logging.getLogger("facade.records")
LEASE_MARGIN_S = 10.0  # covers the skew of clocks between instances
DAY_S = 24 * 3600.0
_WAIT_AT_MOST_S = 3.0
_FIRST_POLL_S, _LONGEST_POLL_S = 0.05, 0.5


@dataclass(frozen=True, slots=True)
class Entry:
    """Our right to carry out a request; ``claim`` is None where the store could not be reached.

    ``doubt``: an earlier attempt may have taken effect. ``unsure``: one may have been forgotten.
    """

    claim: Claim | None
    doubt: bool
    unsure: bool


class Records:
    """Opens and settles the records of requests; safe for all threads.

    ``sleep`` pauses for seconds. ``deadline_s`` is what a request may take: nothing is sent after
    it, so the lease of a record outlives it. ``keep_s`` is how long a record lives.
    """

    def __init__(
        self,
        store: IdempotencyStore,
        sleep: Callable[[float], None],
        *,
        deadline_s: float,
        keep_s: float = DAY_S,
    ) -> None:
        self._store = store
        self._sleep = sleep
        self._lease_s = deadline_s + LEASE_MARGIN_S
        self._keep_s = keep_s
        # What this worker carries out while the store is down, kept like doubts in a store.
        self._unrecorded = MemoryStore(time.monotonic)

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
        person = (caller.tenant_id, caller.object_id)
        ids = (folded(request.business_id), url_safe(request.appointment_id))  # in one spelling
        who = _who(*person)
        nature = digest("nature", *person, *ids).hex()
        # By nature it is the same request, even with another message.
        wanted = [Wanted(nature, fingerprint="")]
        if idempotency_key is not None:  # two applications may choose the same one
            key = digest("key", *person, caller.client_id, idempotency_key).hex()
            message = request.cancellation_message
            fingerprint = digest(*ids, "" if message is None else f"={message}").hex()
            wanted.append(Wanted(key, fingerprint))
        try:
            begun = self._begin(who, wanted, deadline)
            if isinstance(begun, Replay):
                return _read(begun)
        except StoreUnavailable as error:
            tell(_log, logging.ERROR, "store_unavailable", "step=begin reason=%r", str(error))
            return Entry(
                None,
                doubt=self._remember(who, wanted[0]) or isinstance(error, RecordHidden),
                unsure=True,
            )
        return Entry(
            begun.claim,
            doubt=begun.doubt or self._unrecorded.keeps(who, nature),
            unsure=begun.forgot or self._unrecorded.forgot(who),
        )

    def settle(self, entry: Entry, outcome: CancelOutcome, *, doubt: bool) -> CancelOutcome:
        """Record an outcome, and return what can still be said of it.

        By nature only ``cancelled`` is kept. A ``not_found`` that is not confirmed leaves the doubt
        to the next attempt. One of a missing business is not kept at all: a mailbox comes back.

        Another worker may have taken the record over meanwhile, or a thread of this one may have
        gone on without it. Either may have cancelled the appointment, so a ``not_found`` is then
        not confirmed. Nor is it where nobody can tell.
        """
        claim = entry.claim
        if claim is None:
            return outcome
        if outcome.outcome is Outcome.CANCELLED:
            end = _written(outcome)
            self._settle(claim, end, end)
            return outcome
        alone = not self._unrecorded.keeps(claim.caller, claim.wanted[0].key)
        outcome = replace(outcome, confirmed=outcome.confirmed and alone)
        nature: End = Removed() if outcome.confirmed else Doubt()
        key: End = _written(outcome)
        if outcome.missing is Missing.BUSINESS:
            nature = key = Doubt() if doubt or not alone else Removed()
        still_ours = self._settle(claim, nature, key)
        return replace(outcome, confirmed=outcome.confirmed and still_ours)

    def give_up(self, entry: Entry, *, doubt: bool) -> None:
        """Let a repeat try again; with ``doubt`` it will look first."""
        if entry.claim is not None:
            end = Doubt() if doubt else Removed()
            self._settle(entry.claim, end, end)

    def _begin(self, caller: str, wanted: list[Wanted], deadline: Deadline) -> Granted | Replay:
        """Begin, waiting briefly while somebody else carries the same request out.

        If somebody was seen at work, they count as at work until the store says otherwise, even
        while it fails.
        """
        wait_until = deadline.now() + min(_WAIT_AT_MOST_S, deadline.remaining_s() / 2)
        poll_s = _FIRST_POLL_S
        begun = self._store.begin(caller, wanted, lease_s=self._lease_s, keep_s=self._keep_s)
        while True:
            if isinstance(begun, Granted | Replay):
                return begun
            if isinstance(begun, Mismatch):
                raise IdempotencyKeyReused(
                    "This Idempotency-Key came before, with another body: "
                    "use a new key for another request."
                )
            if deadline.now() + poll_s > wait_until:
                raise RequestInProgress(
                    "The same request is being carried out right now; ask again shortly.",
                    retry_after_s=begun.retry_after_s,
                )
            self._sleep(poll_s)
            with suppress(StoreUnavailable):
                begun = self._store.begin(
                    caller, wanted, lease_s=self._lease_s, keep_s=self._keep_s
                )
            poll_s = min(_LONGEST_POLL_S, poll_s * 2)

    def _remember(self, caller: str, wanted: Wanted) -> bool:
        """Remember what begins without the store; say whether the same did before."""
        begun = self._unrecorded.begin(caller, [wanted], lease_s=0.0, keep_s=self._keep_s)
        assert isinstance(begun, Granted)  # noqa: S101 - nobody holds a lease of no time
        self._unrecorded.settle(begun.claim, [Doubt()], keep_s=self._keep_s)
        return begun.doubt

    def _settle(self, claim: Claim, nature: End, key: End) -> bool:
        """Settle a claim; False where it may no longer be ours.

        Where the store fails the records stay as they are: when the lease is over, a repeat looks
        first.
        """
        try:
            ends = [nature, key][: len(claim.wanted)]
            return self._store.settle(claim, ends, keep_s=self._keep_s)
        except StoreUnavailable as error:
            tell(_log, logging.ERROR, "store_unavailable", "step=settle reason=%r", str(error))
            return False


@lru_cache(maxsize=1024)  # callers come again
def _who(tenant_id: str, object_id: str) -> str:
    return digest("caller", tenant_id, object_id).hex()


def _written(outcome: CancelOutcome) -> Finished:
    said = {"outcome": outcome.outcome, "confirmed": outcome.confirmed, "missing": outcome.missing}
    return Finished(json.dumps(said))


def _read(replay: Replay) -> CancelOutcome:
    try:
        payload = json.loads(replay.payload)
        missing = payload.get("missing")
        return CancelOutcome(
            Outcome(payload["outcome"]),
            confirmed=payload["confirmed"] is True,
            replayed=True,
            missing=None if missing is None else Missing(missing),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecordHidden("a finished record holds no outcome") from error
