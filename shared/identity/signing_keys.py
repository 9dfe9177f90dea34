"""Entra's published signing keys, held the way Microsoft asks for.

Owns which public key a token is checked with and when Entra is asked again. Does *not* look at
tokens or decide about tenants: callers pass only tenants of the allow-list.

The rules are those of https://learn.microsoft.com/entra/identity-platform/signing-key-rollover
("Keys metadata caching algorithm"): keys per tenant, valid for 24 hours after they were last
listed, refreshed every hour in the background, and on the hot path for an unknown key id, but not
more often than every 5 minutes; a failed refresh leaves what is known. In one point this is
stricter than the page's pseudo code, where a key that is no longer listed lives out its 24 hours:
here each listing replaces the one before. A key taken off the list may be one that was stolen, and
the page's own reason for the hourly refresh is to "respond quickly to keys being removed".
"""

import json
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event, Lock, Thread
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from shared.errors import TokenRejected, UpstreamUnavailable
from shared.identity.signatures import read_base64url
from shared.transport.channel import Channel, NotSent, Unanswered
from shared.transport.connections import USER_AGENT

_VALID_S = 24 * 3600.0
_REFRESH_S = 3600.0
_REFETCH_S = 300.0  # between two fetches for unknown key ids, and before a failed background refresh is tried again
_RELOAD_S = 5.0  # before a failed first load is tried again
_WAIT_S = 3.0  # what a request waits for another's fetch: made-up key ids must not hold more threads for longer
_FIRST_WAIT_S = (
    9.0  # where there are no keys yet, a load that a warm-up began may take as long as one's own
)
_MAX_ENTRIES = 256
_MAX_KEYS = 1000  # the page: "10-1000"
_MAX_BODY = 512 * 1024
_HEADERS = {
    "User-Agent": USER_AGENT,
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
}
_METADATA_PATHS = {
    "1.0": "/.well-known/openid-configuration",
    "2.0": "/v2.0/.well-known/openid-configuration",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One published key.

    ``issuer`` is the key's own member of that name where Entra gives one, its ``{tenantid}``
    placeholder kept.
    """

    kid: str
    issuer: str | None
    public_key: RSAPublicKey


class KeysUnavailable(Exception):
    """The keys could not be fetched, or the answer holds none that is usable."""


type FetchKeys = Callable[[str, str], Mapping[str, SigningKey]]
"""Tenant id and token version ("1.0" or "2.0") to keys by key id. Errors: KeysUnavailable."""


class _Entry:
    """What is held for one tenant and token version. Guarded by the holder's lock."""

    def __init__(self) -> None:
        self.keys: Mapping[str, SigningKey] = {}
        self.valid_until = self.refresh_at = self.refetch_at = self.load_at = -math.inf
        self.failed = False  # the latest fetch did
        self.flight: Event | None = None  # set when the fetch under way is over


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
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()

    def find(self, tenant_id: str, version: str, kid: str) -> SigningKey:
        """Return the key of that id; at once when it is known, else after at most one fetch of our
        own or of another thread's.

        Errors: TokenRejected when Entra does not list it; UpstreamUnavailable when there are no
        keys to judge with: none could be loaded, or the fetch that an unknown id is owed has
        failed, so that it may well be a new key's.
        """
        entry = self._entry(tenant_id, version)
        fetched = False
        while True:
            with self._lock:
                now = self._now()
                keys = entry.keys if now < entry.valid_until else {}
                key = keys.get(kid)
                due_at = entry.refresh_at if key else entry.refetch_at if keys else entry.load_at
                leads = entry.flight is None and now >= due_at and not fetched
                if leads:
                    entry.flight = Event()
                    if keys and not key:
                        entry.refetch_at = now + _REFETCH_S
                flight = entry.flight
                if key is None and flight is None:
                    _refuse(entry, now, knows_keys=bool(keys))
            if key is not None:
                if leads:
                    self._start_refresh(entry, tenant_id, version)
                return key
            if leads:
                self._refresh(entry, tenant_id, version)
                fetched = True
            elif flight is not None and not flight.wait(_WAIT_S if keys else _FIRST_WAIT_S):
                raise UpstreamUnavailable("Entra's signing keys have not come in time.")

    def known(self, tenant_id: str, version: str, kid: str) -> SigningKey | None:
        """Return the key of that id if it is listed as far as is known now, else None.

        Waits for nobody; starts a refresh that is due in the background.
        """
        entry = self._entry(tenant_id, version)
        with self._lock:
            now = self._now()
            key = entry.keys.get(kid) if now < entry.valid_until else None
            leads = key is not None and entry.flight is None and now >= entry.refresh_at
            if leads:
                entry.flight = Event()
        if leads:
            self._start_refresh(entry, tenant_id, version)
        return key

    def warm(self, tenant_id: str, version: str) -> None:
        """Start loading the keys in the background if none are held or a refresh is due.

        Raises nothing; a failure is logged.
        """
        entry = self._entry(tenant_id, version)
        with self._lock:
            now = self._now()
            leads = entry.flight is None and now >= (
                entry.refresh_at if now < entry.valid_until else entry.load_at
            )
            if leads:
                entry.flight = Event()
        if leads:
            self._start_refresh(entry, tenant_id, version)

    def _entry(self, tenant_id: str, version: str) -> _Entry:
        with self._lock:
            entry = self._entries.get((tenant_id, version)) or self._entries.setdefault(
                (tenant_id, version), _Entry()
            )
            self._entries.move_to_end((tenant_id, version))
            if len(self._entries) > _MAX_ENTRIES:
                self._entries.popitem(last=False)
            return entry

    def _start_refresh(self, entry: _Entry, tenant_id: str, version: str) -> None:
        try:
            self._run_in_background(lambda: self._refresh(entry, tenant_id, version))
        except (
            RuntimeError
        ):  # no thread to be had: the limit is reached, or the interpreter is ending
            self._land(entry, {})

    def _refresh(self, entry: _Entry, tenant_id: str, version: str) -> None:
        keys: Mapping[str, SigningKey] = {}
        try:
            keys = self._fetch(tenant_id, version)
        except KeysUnavailable as error:
            _log.warning(
                "signing_keys=unavailable tenant=%s version=%s reason=%r",
                tenant_id,
                version,
                str(error),
            )
        finally:
            self._land(entry, keys)

    def _land(self, entry: _Entry, keys: Mapping[str, SigningKey]) -> None:
        with self._lock:
            now = self._now()
            entry.failed = not keys
            if keys:
                entry.keys, entry.valid_until, entry.refresh_at = (
                    keys,
                    now + _VALID_S,
                    now + _REFRESH_S,
                )
            else:
                entry.refresh_at, entry.load_at = now + _REFETCH_S, now + _RELOAD_S
            flight, entry.flight = entry.flight, None
        if flight is not None:
            flight.set()


def _refuse(entry: _Entry, now: float, *, knows_keys: bool) -> None:
    if not knows_keys:
        raise UpstreamUnavailable(
            "Entra's signing keys cannot be loaded.", retry_after_s=max(1.0, entry.load_at - now)
        )
    if entry.failed:
        raise UpstreamUnavailable(
            "Entra's signing keys cannot be refreshed.",
            retry_after_s=max(1.0, entry.refetch_at - now),
        )
    raise TokenRejected("The token's signing key is not one that Entra publishes.")


def fetch_signing_keys(
    channel: Channel,
    authority_host: str,
    tenant_id: str,
    version: str,
    *,
    timeout_s: tuple[float, float],
) -> dict[str, SigningKey]:
    """Fetch the usable keys of a tenant by way of its OpenID Connect metadata.

    ``authority_host`` is the channel's address, without a trailing slash; ``timeout_s`` is
    (connect, read) for each of the two requests, and their sum bounds each. Errors:
    KeysUnavailable, for whatever goes wrong; its text names no upstream text.
    """
    if not authority_host.startswith("https://"):
        raise KeysUnavailable("The authority has no https address.")
    path = f"/{quote(tenant_id, safe='')}{_METADATA_PATHS[version]}"
    metadata = _get_json(channel, path, timeout_s)
    jwks_uri = metadata.get("jwks_uri")
    # Whoever serves the keys can sign in as anybody, so nobody but the configured authority may
    # serve them. Entra's documents satisfy this: v1
    # points to {host}/common/discovery/keys, v2 to {host}/{tenant}/discovery/v2.0/keys. A literal
    # prefix leaves no two parsers to disagree.
    if not isinstance(jwks_uri, str) or not jwks_uri.startswith(f"{authority_host}/"):
        raise KeysUnavailable("The metadata names no key set at the authority's own address.")
    return read_signing_keys(_get_json(channel, jwks_uri.removeprefix(authority_host), timeout_s))


def read_signing_keys(key_set: Mapping[str, object]) -> dict[str, SigningKey]:
    """Read a JSON Web Key Set, leaving out each key that is not usable for RS256.

    Errors: KeysUnavailable when none is left.
    """
    listed = key_set.get("keys")
    if not isinstance(listed, list) or len(listed) > _MAX_KEYS:
        raise KeysUnavailable("The key set is not a list of keys.")
    keys: dict[str, SigningKey] = {}
    ambiguous = set[str]()
    for jwk in listed:
        try:
            key = _read_key(jwk)
        except ValueError:
            continue
        if keys.setdefault(key.kid, key) != key:  # one id, two keys: neither can be meant
            ambiguous.add(key.kid)
    usable = {kid: key for kid, key in keys.items() if kid not in ambiguous}
    if not usable:
        raise KeysUnavailable("The key set holds no usable key.")
    return usable


def _read_key(jwk: object) -> SigningKey:
    if not isinstance(jwk, dict) or (jwk.get("kty"), jwk.get("use"), jwk.get("alg", "RS256")) != (
        "RSA",
        "sig",
        "RS256",
    ):
        raise ValueError("not an RS256 signing key")
    kid, issuer, n, e = (jwk.get(name) for name in ("kid", "issuer", "n", "e"))
    if (
        not isinstance(kid, str)
        or not isinstance(n, str)
        or not isinstance(e, str)
        or not isinstance(issuer, str | None)
    ):
        raise ValueError("a member is missing or of the wrong type")  # noqa: TRY004  # one class for all that makes a key unusable
    if not 0 < len(kid) <= 256 or len(n) > 2048 or len(e) > 16:
        raise ValueError("a member is out of bounds")
    exponent = int.from_bytes(read_base64url(e))
    if not 65537 <= exponent < 2**32:
        raise ValueError("too weak, or too slow to verify with")
    key = RSAPublicNumbers(exponent, int.from_bytes(read_base64url(n))).public_key()
    if not 2048 <= key.key_size <= 8192:
        raise ValueError("too weak, or too slow to verify with")
    return SigningKey(kid, issuer, key)


def _get_json(channel: Channel, target: str, timeout_s: tuple[float, float]) -> dict[str, object]:
    try:
        answer = channel.exchange(
            "GET",
            target,
            _HEADERS,
            None,
            connect_s=timeout_s[0],
            total_s=sum(timeout_s),
            limit_bytes=_MAX_BODY,
        )
    except (NotSent, Unanswered) as error:
        raise KeysUnavailable(f"Entra has not answered: {error.cause}.") from error
    if answer.status != 200:
        raise KeysUnavailable(f"Entra answered {answer.status}.")
    if len(answer.body) > _MAX_BODY:
        raise KeysUnavailable("Entra's answer is too large.")
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise KeysUnavailable(f"Entra's answer cannot be read: {type(error).__name__}.") from error
    if not isinstance(document, dict):
        raise KeysUnavailable("Entra's answer is not a JSON object.")
    return document
