"""What was done before for a request: two records, their keys, and what may be replayed.

Every request has a record *by nature* (tenant, caller, business, appointment). It carries the
doubt: an attempt whose end nobody knows, whichever key it came with. A request with an
Idempotency-Key has a second record. It carries the caller's wish to hear the same answer again, and
detects another body.

Owns keys, payloads, what is kept of an outcome, and what this worker did without a store. Does
*not* talk to Graph. When the store is down the cancel goes on, and ``unsure`` says so.
"""

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from cancel_appointment.protocol.outcome import CancelOutcome, Missing, Outcome
from cancel_appointment.request import CancelRequest
from shared.digest import digest
from shared.errors import IdempotencyKeyReused, RequestInProgress
from shared.identity.principal import Principal
from shared.ids import folded, url_safe
from shared.records.rules import (
    Claim,
    Doubt,
    End,
    Finished,
    Granted,
    IdempotencyStore,
    Mismatch,
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
    """Our right to carry out a request; ``claim`` is None where the store could not be had.

    ``doubt``: an earlier attempt may have taken effect. ``unsure``: one may have been forgotten.
    """

    caller: str
    nature: str
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
        self._unrecorded = Unrecorded(keep_s)

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
        who = digest("caller", caller.tenant_id, caller.object_id).hex()
        nature = _nature_of(caller, request)
        # By nature there is one request only: another message does not make it another.
        wanted = [Wanted(nature, fingerprint="")]
        if idempotency_key is not None:
            wanted.append(Wanted(_key_of(caller, idempotency_key), _fingerprint(request)))
        try:
            begun = self._begin(who, wanted, deadline)
            if isinstance(begun, Replay):
                return _read(begun)
        except StoreUnavailable as error:
            tell(_log, logging.ERROR, "store_unavailable", "step=begin reason=%r", str(error))
            doubt = self._unrecorded.add(who, nature)
            return Entry(who, nature, None, doubt=doubt, unsure=True)
        doubt = begun.doubt or self._unrecorded.has(who, nature)
        unsure = begun.forgot or self._unrecorded.forgot(who)
        return Entry(who, nature, begun.claim, doubt=doubt, unsure=unsure)

    def settle(self, entry: Entry, outcome: CancelOutcome, *, doubt: bool) -> CancelOutcome:
        """Write an outcome down and return it, as far as it still can be said.

        By nature only ``cancelled`` is kept. A ``not_found`` that is not confirmed leaves the doubt
        to the next attempt. One of a missing business is not kept at all: a mailbox comes back.

        Another worker may have taken the record over meanwhile, or a thread of this one may have
        gone on without it. Those may have cancelled the appointment, so a ``not_found`` is then not
        confirmed; nor is it where nobody can tell.
        """
        if entry.claim is None:
            return outcome
        end: End = Finished(_write(outcome))
        if outcome.outcome is Outcome.CANCELLED:
            self._settle(entry.claim, end, end)
            return outcome
        alone = not self._unrecorded.has(entry.caller, entry.nature)
        outcome = replace(outcome, confirmed=outcome.confirmed and alone)
        if outcome.missing is Missing.BUSINESS:
            nature = end = Doubt() if doubt or not alone else Removed()
        else:
            nature = Removed() if outcome.confirmed else Doubt()
            end = Finished(_write(outcome))
        still_ours = self._settle(entry.claim, nature, end)
        return replace(outcome, confirmed=outcome.confirmed and still_ours)

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
            begun = self._store.begin(caller, wanted, lease_s=self._lease_s, keep_s=self._keep_s)
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
            poll_s = min(_LONGEST_POLL_S, poll_s * 2)

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


class Unrecorded:
    """What this worker carried out while the store was down, for as long as a record would live.

    Bounded: above ``capacity`` all of the caller who has most is dropped. For as long as a record
    would live, anything of that caller may then have been carried out. Nobody else pays.
    """

    def __init__(
        self, keep_s: float, now: Callable[[], float] = time.monotonic, capacity: int = 20_000
    ) -> None:
        self._keep_s = keep_s
        self._now = now
        self._capacity = capacity
        self._lock = threading.Lock()
        self._until: dict[tuple[str, str], float] = {}  # by caller and nature
        self._forgotten_until: dict[str, float] = {}  # by caller

    def has(self, caller: str, nature: str) -> bool:
        """Say whether this was carried out."""
        with self._lock:
            return self._until.get((caller, nature), 0.0) > self._now()

    def forgot(self, caller: str) -> bool:
        """Say whether something of this caller was carried out, and nobody knows what."""
        with self._lock:
            return self._forgotten_until.get(caller, 0.0) > self._now()

    def add(self, caller: str, nature: str) -> bool:
        """Remember what begins now; say whether it was carried out before."""
        with self._lock:
            before = self._until.pop((caller, nature), 0.0) > self._now()
            if len(self._until) >= self._capacity:
                self._make_room()
            self._until[caller, nature] = self._now() + self._keep_s
            return before

    def _make_room(self) -> None:
        now = self._now()
        self._until = {what: until for what, until in self._until.items() if until > now}
        self._forgotten_until = {
            caller: until for caller, until in self._forgotten_until.items() if until > now
        }
        if len(self._until) >= self._capacity:
            [(most, _)] = Counter(caller for caller, _ in self._until).most_common(1)
            self._forgotten_until[most] = now + self._keep_s
            self._until = {what: until for what, until in self._until.items() if what[0] != most}


def _nature_of(caller: Principal, request: CancelRequest) -> str:
    """Bind an appointment to whoever asks, in one spelling of its ids."""
    return digest("nature", caller.tenant_id, caller.object_id, *_ids_of(request)).hex()


def _key_of(caller: Principal, idempotency_key: str) -> str:
    """Bind a key to whoever asks *and* to the client application that made it up.

    Two applications may make up the same key.
    """
    return digest(
        "key", caller.tenant_id, caller.object_id, caller.client_id, idempotency_key
    ).hex()


def _fingerprint(request: CancelRequest) -> str:
    message = request.cancellation_message
    return digest(*_ids_of(request), "" if message is None else f"={message}").hex()


def _ids_of(request: CancelRequest) -> tuple[str, str]:
    return folded(request.business_id), url_safe(request.appointment_id)


def _write(outcome: CancelOutcome) -> str:
    said = {"outcome": outcome.outcome, "confirmed": outcome.confirmed}
    return json.dumps(said if outcome.missing is None else {**said, "missing": outcome.missing})


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
        raise StoreUnavailable("a finished record holds no outcome") from error
