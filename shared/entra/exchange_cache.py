"""What Entra gave for an assertion, kept for as long as it may be used.

Owns the cache of on-behalf-of exchanges: one call to Entra per assertion however many threads ask,
a bounded memory, and no token past its end. Does *not* validate assertions (a key is made from a
validated one only), call Entra or know what a token is: it is generic over the value. Entra answers
AADSTS50196 (LoopDetected) to services that repeat the same exchange, and MSAL for Python never
reads its own cache in this flow.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Event, Lock

from cachetools import TLRUCache

from shared.entra.refusals import ABOUT_THE_CALLER
from shared.errors import FacadeError, UpstreamUnavailable

_REFUSED_FOR_S = 3.0
_LONGER_S = 1.0  # what makes another try worth it


@dataclass(frozen=True, slots=True)
class Fresh[V]:
    """What an exchange gave.

    ``ends_at``, on the cache's clock, is the earlier end of the token (less its margin) and of the
    assertion. ``replaces`` is set by the cache: it came instead of a value that Graph refused.
    """

    value: V = field(repr=False)
    ends_at: float
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What Entra refuses, and until when it is not asked again."""

    error: FacadeError
    ends_at: float
    replaces: bool


class _Flight[V]:
    """One exchange under way.

    Neither ``fresh`` nor ``error`` is set when it is ``done``: its leader died, and the next may
    try. ``refused`` is the value that it is to replace, if any. ``gives_up_at`` is when its
    leader's patience ends, on the monotonic clock.
    """

    def __init__(self, refused: V | None, gives_up_at: float) -> None:
        self.done = Event()
        self.refused = refused
        self.gives_up_at = gives_up_at
        self.fresh: Fresh[V] | None = None
        self.error: FacadeError | None = None

    def error_for(self, gives_up_at: float) -> FacadeError | None:
        """Return the error, unless it may have come of the leader's patience alone.

        A wait that Entra named (another class) counts for all: nobody may ask again before it ends.
        """
        hurried = type(self.error) is UpstreamUnavailable
        return None if hurried and gives_up_at > self.gives_up_at + _LONGER_S else self.error


class ExchangeCache[V]:
    """A bounded, least recently used cache with one exchange at a time per key.

    Safe to use from any thread.

    A hit is one look-up in a dictionary, whatever the number of entries. cachetools holds the
    entries, not an ``OrderedDict``: for a third of a microsecond more per hit, each store also
    drops what has ended, so that no token stays in memory until enough newcomers push it out. Its
    caches are not thread-safe: every touch is under the lock, and the lock is never held during an
    exchange.
    """

    def __init__(self, *, capacity: int, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = Lock()
        self._kept: TLRUCache[bytes, Fresh[V] | _Refusal] = TLRUCache(
            capacity, ttu=lambda _key, kept, _now: kept.ends_at, timer=now
        )
        self._flights: dict[bytes, _Flight[V]] = {}

    def get_or_exchange(
        self,
        key: bytes,
        exchange: Callable[[], Fresh[V]],
        *,
        wait_s: float,
        refused: V | None = None,
    ) -> V:
        """Return the value kept for ``key``, or the outcome of one ``exchange``.

        All who ask meanwhile share that one. ``refused`` is a value that Graph no longer takes. One
        exchange replaces it, however many met the refusal: whoever names it gets what a replacing
        exchange brought or brings. An ordinary one that is still under way is then not stored.

        Errors: what ``exchange`` raises, each thread its own copy; UpstreamUnavailable when its end
        had come before the answer, or after ``wait_s`` (seconds of real time) of waiting for
        another thread's exchange. Who has notably more time than the leader of an exchange that
        found Entra unavailable asks again.
        """
        give_up_at = time.monotonic() + wait_s
        while True:
            with self._lock:
                kept = self._look_up(key)
                if isinstance(kept, Fresh) and (
                    refused is None or (kept.replaces and kept.value != refused)
                ):
                    return kept.value
                if (
                    isinstance(kept, _Refusal)
                    and (refused is None or kept.replaces)
                    and kept.ends_at <= self._now() + _REFUSED_FOR_S  # else the clock was set back
                ):
                    raise _copy_of(kept.error)
                flight = self._flights.get(key)
                leads = flight is None or (refused is not None and flight.refused is None)
                if flight is None or leads:
                    self._kept.pop(key, None)
                    flight = self._flights[key] = _Flight(refused, give_up_at)
            if leads:
                return self._lead(key, flight, exchange)
            if not flight.done.wait(max(0.0, give_up_at - time.monotonic())):
                raise UpstreamUnavailable("Entra has not answered in time.")
            if (error := flight.error_for(give_up_at)) is not None:
                raise _copy_of(error)
            if flight.fresh is not None and self._now() < flight.fresh.ends_at:
                return flight.fresh.value

    def _look_up(self, key: bytes) -> Fresh[V] | _Refusal | None:
        """Return what is kept and has not ended.

        Half the cost of cachetools' own ``get``, which looks twice.
        """
        try:
            return self._kept[key]
        except KeyError:
            return None

    def _lead(self, key: bytes, flight: _Flight[V], exchange: Callable[[], Fresh[V]]) -> V:
        try:
            fresh = exchange()
            if not self._now() < fresh.ends_at:  # so that a not-a-number end counts as over
                raise UpstreamUnavailable("Entra's answer came too late to be used.")
            flight.fresh = fresh
        except FacadeError as error:
            flight.error = _copy_of(error)
            raise
        finally:
            self._land(key, flight)
        return fresh.value

    def _land(self, key: bytes, flight: _Flight[V]) -> None:
        with self._lock:
            flight.done.set()
            # Another flight here: this one was replaced while under way, and what it brought is not
            # kept. Nor is what Graph refused, should Entra give it again.
            if self._flights.get(key) is not flight:
                return
            del self._flights[key]
            replaces = flight.refused is not None
            if flight.fresh is not None and flight.fresh.value != flight.refused:
                self._kept[key] = replace(flight.fresh, replaces=replaces)
            elif isinstance(flight.error, ABOUT_THE_CALLER):
                self._kept[key] = _Refusal(flight.error, self._now() + _REFUSED_FOR_S, replaces)


def _copy_of[E: FacadeError](error: E) -> E:
    """Return a new exception of the same class and data, without traceback, cause or context.

    One exception raised in many threads would grow one traceback from all of them, and one that is
    kept would keep its frames, tokens included. Not ``copy.copy``: that calls the class with its
    positional arguments, and ours have keyword-only ones.
    """
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(
        {name: value for name, value in vars(error).items() if name != "__notes__"}
    )
    return copy
