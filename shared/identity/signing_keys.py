"""Entra's published signing keys, held the way Microsoft asks for.

Owns which public key checks a token, and when to ask Entra again. Does *not* look at tokens or
decide about tenants: callers pass only tenants of the allow-list.

The rules are those of https://learn.microsoft.com/entra/identity-platform/signing-key-rollover
("Keys metadata caching algorithm"). Keys are held per tenant and are valid for 24 hours after they
were last listed. They are refreshed every hour in the background. A request with an unknown key id
refreshes them, too, but not more often than every 5 minutes. A failed refresh leaves the known
keys.

One point is stricter than the page's pseudo code. There a key that is no longer listed lives out
its 24 hours; here each list replaces the one before. A key that was taken off the list may have
been stolen, and the page's own reason for the hourly refresh is to "respond quickly to keys being
removed".
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from threading import Event, Lock, Thread
from typing import Never

from shared.errors import TokenRejected, UpstreamUnavailable
from shared.identity.key_sets import KeysUnavailable, SigningKey

_VALID_S = 24 * 3600.0
_REFRESH_S = 3600.0
# Between two fetches for unknown key ids, and between two tries of a background refresh that
# failed.
_REFETCH_S = 300.0
_RELOAD_S = 5.0  # between two tries of a first load that failed
# How long a request waits for another's fetch: made-up key ids must not hold more threads for
# longer.
_WAIT_S = 3.0
# Where there are no keys yet, another's load may take as long as one's own.
_FIRST_WAIT_S = 9.0

_log = logging.getLogger(__name__)


type FetchKeys = Callable[[str, str], Mapping[str, SigningKey]]
"""Tenant id and token version ("1.0" or "2.0") to keys by key id. Errors: KeysUnavailable."""


class KeyNotYetKnown(UpstreamUnavailable):
    """The token names a key that is not listed, and was issued after the list was fetched.

    A stranger can cause it at will, so it says nothing of Entra's health or of ours.
    """


class _Entry:
    """What is held for one tenant and token version.

    The holder's lock guards whatever changes. ``keys`` is replaced as a whole, so it may be read
    without the lock.
    """

    def __init__(self, tenant_id: str, version: str) -> None:
        self.tenant_id, self.version = tenant_id, version
        self.keys: Mapping[str, SigningKey] = {}
        self.valid_until = self.refresh_at = self.refetch_at = self.load_at = -math.inf
        self.asked_at = -math.inf  # when the fetch of these keys began
        self.failed = False  # whether the latest fetch failed
        self.flight: Event | None = None  # set when the current fetch ends


def _on_a_thread(work: Callable[[], None]) -> None:
    Thread(target=work, name="signing-keys", daemon=True).start()


class SigningKeys:
    """The keys of each tenant and token version.

    Safe to use from any thread; the lock is never held while fetching.
    """

    def __init__(
        self,
        fetch: FetchKeys,
        *,
        now: Callable[[], float] = time.monotonic,
        run_in_background: Callable[[Callable[[], None]], None] = _on_a_thread,
    ) -> None:
        self._fetch = fetch
        self._now = now
        self._run_in_background = run_in_background
        self._lock = Lock()
        self._entries: dict[tuple[str, str], _Entry] = {}

    def find(
        self, tenant_id: str, version: str, kid: str, issued_s_ago: float = math.inf
    ) -> SigningKey:
        """Return the key of that id, at once if it is known.

        For an unknown id wait for at most one fetch: our own, or another thread's. ``issued_s_ago``
        is the age that the token claims, in seconds.

        Errors: TokenRejected when Entra does not list the key. KeyNotYetKnown when nobody can say
        so, because the token is younger than the list and made-up ids have used up the fetch.
        UpstreamUnavailable when there are no keys to judge with: none could be loaded, or the fetch
        for this unknown id has failed, so the key may well be a new one.
        """
        entry = self._entry(tenant_id, version)
        fetched = False
        while (key := self.known(tenant_id, version, kid)) is None:
            with self._lock:
                now = self._now()
                keys = entry.keys if now < entry.valid_until else {}
                if kid in keys:  # another thread's fetch has just brought it
                    continue
                flight = entry.flight
                if flight is None and (
                    fetched or now < (entry.refetch_at if keys else entry.load_at)
                ):
                    young = not fetched and now - issued_s_ago > entry.asked_at
                    _refuse(entry, now, knows_keys=bool(keys), young=young)
                if flight is None:
                    entry.flight = Event()
                    if keys:
                        entry.refetch_at = now + _REFETCH_S
            if flight is None:
                self._refresh(entry)
                fetched = True
            elif not flight.wait(_WAIT_S if keys else _FIRST_WAIT_S):
                raise UpstreamUnavailable("Entra's signing keys have not come in time.")
        return key

    def known(self, tenant_id: str, version: str, kid: str) -> SigningKey | None:
        """Return the key of that id if the list that is held has it, else None.

        Waits for nobody; starts a refresh in the background if it is due.
        """
        entry = self._entry(tenant_id, version)
        now = self._now()
        key = entry.keys.get(kid) if now < entry.valid_until else None
        if key is not None and now >= entry.refresh_at:
            self._refresh_aside(entry)
        return key

    def warm(self, tenant_id: str, version: str) -> None:
        """Start loading the keys in the background if that is due.

        Raises nothing; a failure is logged.
        """
        self._refresh_aside(self._entry(tenant_id, version))

    def _entry(self, tenant_id: str, version: str) -> _Entry:
        # As few as the tenants of the allow-list. Only the first one made for a place counts.
        place = tenant_id, version
        return self._entries.get(place) or self._entries.setdefault(place, _Entry(*place))

    def _refresh_aside(self, entry: _Entry) -> None:
        with self._lock:
            if entry.flight is not None or self._now() < entry.refresh_at:
                return
            entry.flight = Event()
        try:
            self._run_in_background(lambda: self._refresh(entry))
        except RuntimeError:
            # No thread is free: the limit is reached, or the interpreter is ending.
            self._land(entry, {})

    def _refresh(self, entry: _Entry) -> None:
        keys: Mapping[str, SigningKey] = {}
        asked_at = self._now()
        try:
            keys = self._fetch(entry.tenant_id, entry.version)
        except KeysUnavailable as error:
            _log.warning(
                "signing_keys=unavailable tenant=%s version=%s reason=%r",
                entry.tenant_id,
                entry.version,
                str(error),
            )
        finally:
            self._land(entry, keys, asked_at)

    def _land(
        self, entry: _Entry, keys: Mapping[str, SigningKey], asked_at: float = -math.inf
    ) -> None:
        with self._lock:
            now = self._now()
            entry.failed = not keys
            if keys:
                entry.keys, entry.asked_at = keys, asked_at
                entry.valid_until, entry.refresh_at = now + _VALID_S, now + _REFRESH_S
            else:
                entry.refresh_at, entry.load_at = now + _REFETCH_S, now + _RELOAD_S
            flight, entry.flight = entry.flight, None
        if flight is not None:
            flight.set()


def _refuse(entry: _Entry, now: float, *, knows_keys: bool, young: bool) -> Never:
    wait_s = max(1.0, (entry.refetch_at if knows_keys else entry.load_at) - now)
    if entry.failed or not knows_keys:
        raise UpstreamUnavailable("Entra's signing keys cannot be loaded.", retry_after_s=wait_s)
    if young:  # the list is older than the token, so the key may be a new one
        raise KeyNotYetKnown(
            (
                "The token's signing key is not known yet, and Entra's keys may not be fetched "
                "again yet."
            ),
            retry_after_s=wait_s,
        )
    raise TokenRejected("The token's signing key is not one that Entra publishes.")
