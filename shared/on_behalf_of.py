"""Caller -> GraphToken: the OAuth 2.0 on-behalf-of exchange, through MSAL with all of MSAL's shared state switched off.

Owns when Entra is asked, and that what comes back belongs to who asked. Does *not* validate callers (``caller.py``) or read refusals (``entra_refusals.py``).
"""

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msal

from shared.caller import Caller
from shared.credentials import Credential, CredentialInUse
from shared.deadline import Deadline
from shared.entra_http import EntraHttp
from shared.entra_refusals import AskedToWait, CredentialRefused
from shared.errors import FacadeError, Misconfigured, Throttled, TokenRejected, UpstreamAnswer, UpstreamBroken, UpstreamUnavailable
from shared.exchange_cache import ExchangeCache, Fresh, assertion_key
from shared.retry import backoff_s
from shared.waiting import Waiting

_log = logging.getLogger("facade.on_behalf_of")
_SKEW_S = 300.0
_LONGEST_LIFE_S = 86_400.0 * 2
_RETRY_NEEDS_S = 3.0
_BEARER_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1
_SAY_NOTHING_OF_THE_CREDENTIAL = (Misconfigured, Throttled, UpstreamBroken, UpstreamUnavailable)


@dataclass(frozen=True, slots=True)
class GraphToken:
    """An access token for Microsoft Graph that acts for one user. Only the Graph client may read ``value``."""

    object_id: str
    tenant_id: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Registration:
    """This API as Entra knows it, and what it asks for."""

    client_id: str
    authority_host: str
    graph_scope: str


class _NoTokenCache(msal.TokenCache):  # type: ignore[misc]  # msal ships no types
    """Keeps nothing: MSAL's cache is written by every exchange, never read by it, unbounded, and not keyed by the assertion."""

    def add(self, event: Any, now: Any = None) -> None:
        """Forget."""

    def modify(self, *_: Any, **__: Any) -> None:
        """Forget."""


class _NoHttpCache(dict[Any, Any]):
    """Keeps nothing: the keys of MSAL's HTTP throttle do not hold the assertion, so one user's answer, a token too, would be handed to another."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Forget."""


class OnBehalfOf:
    """Exchanges validated callers for Graph tokens; one instance per worker, safe for all threads."""

    def __init__(
        self,
        registration: Registration,
        load_credential: Callable[[], Credential],
        http: EntraHttp,
        cache: ExchangeCache[GraphToken],
        waiting: Waiting,
    ) -> None:
        self._registration = registration
        self._credential = CredentialInUse(load_credential, waiting.now)
        self._http = http
        self._cache = cache
        self._waiting = waiting
        self._lock = threading.Lock()
        self._apps: dict[tuple[str, bytes], msal.ConfidentialClientApplication] = {}

    def exchange(self, caller: Caller, deadline: Deadline, *, claims: str | None = None) -> GraphToken:
        """Return a token for Graph that acts for the caller.

        ``claims`` is a challenge (minified JSON) that Graph answered: what is cached is then bypassed and replaced.
        Errors: whatever ``read_refusal`` names; UpstreamUnavailable and UpstreamBroken; Misconfigured.
        """
        return self._cache.get_or_exchange(
            self._key(caller), lambda: self._ask(caller, deadline, claims), wait_s=deadline.remaining_s(), replace=claims is not None
        )

    def forget(self, caller: Caller) -> None:
        """Drop what is cached for this caller's token, because Graph no longer takes it."""
        self._cache.forget(self._key(caller))

    def _key(self, caller: Caller) -> bytes:
        return assertion_key(caller.tenant_id, self._registration.client_id, (self._registration.graph_scope,), caller.assertion)

    def _ask(self, caller: Caller, deadline: Deadline, claims: str | None) -> Fresh[GraphToken]:
        """Ask with the credential in use, and once more where it was refused and has been changed meanwhile."""
        asked_at = self._waiting.now()
        if asked_at >= caller.expires_at:
            raise TokenRejected("The token has expired.")
        credential = self._credential.take()
        try:
            answer = self._ask_patiently(credential, caller, deadline, claims)
        except CredentialRefused as refusal:
            changed = self._credential.refused(credential, refusal)
            try:
                answer = self._ask_patiently(changed, caller, deadline, claims)
            except CredentialRefused as again:
                self._credential.refused(changed, again)
                raise
        return _read(answer, caller, asked_at)

    def _ask_patiently(self, credential: Credential, caller: Caller, deadline: Deadline, claims: str | None) -> dict[str, Any]:
        """Ask once, and once more where Entra was unreachable or passing through trouble: a token request changes nothing, so a repeat is safe."""
        try:
            return self._ask_once(credential, caller, deadline, claims)
        except AskedToWait:
            raise
        except UpstreamUnavailable:
            pause_s = backoff_s(1, self._waiting.random)
            if deadline.remaining_s() < pause_s + _RETRY_NEEDS_S:
                raise
            self._waiting.sleep(pause_s)
            return self._ask_once(credential, caller, deadline, claims)

    def _ask_once(self, credential: Credential, caller: Caller, deadline: Deadline, claims: str | None) -> dict[str, Any]:
        try:
            answer = self._app(credential, caller.tenant_id).acquire_token_on_behalf_of(
                caller.assertion, [self._registration.graph_scope], claims_challenge=claims, deadline=deadline
            )
        except FacadeError as error:
            if not isinstance(error, _SAY_NOTHING_OF_THE_CREDENTIAL):  # it is about the caller, so Entra has let us in
                self._credential.accepted(credential)
            raise
        except Exception as error:  # MSAL raises IndexError, ValueError, RuntimeError and more on answers it did not expect
            _log.warning("event=exchange_unreadable tenant=%s error=%s", caller.tenant_id, type(error).__name__)
            raise UpstreamBroken("Entra answered something that cannot be used.", upstream=UpstreamAnswer("entra")) from error
        self._credential.accepted(credential)
        return dict(answer)

    def _app(self, credential: Credential, tenant_id: str) -> msal.ConfidentialClientApplication:
        """Return MSAL's application for the token's own tenant; guests are exchanged where they are guests (MSAL.NET, on-behalf-of flow).

        Building one costs no call (``EntraHttp.get``), so it does no harm that threads may build the same one at once.
        """
        known = self._apps.get((tenant_id, credential.fingerprint))
        if known is not None:
            return known
        built = msal.ConfidentialClientApplication(
            self._registration.client_id,
            client_credential=credential.for_msal,
            authority=f"{self._registration.authority_host}/{tenant_id}",
            instance_discovery=False,  # the authority is a setting, not user input
            azure_region=False,
            client_capabilities=["CP1"],
            exclude_scopes=["offline_access"],
            token_cache=_NoTokenCache(),
            http_cache=_NoHttpCache(),
            http_client=self._http,
        )
        with self._lock:
            # Tenants are on an allow-list, so there are few; a credential that is no longer used takes its applications with it.
            self._apps = {key: app for key, app in self._apps.items() if key[1] == credential.fingerprint}
            return self._apps.setdefault((tenant_id, credential.fingerprint), built)


def _read(answer: dict[str, Any], caller: Caller, asked_at: float) -> Fresh[GraphToken]:
    """Take the token out of Entra's answer, if it is one, and the caller's own. ``asked_at`` (epoch seconds) is when its life began at the earliest."""
    value, lifetime_s = answer.get("access_token"), _lifetime_s(answer.get("expires_in"))
    is_bearer = str(answer.get("token_type")).lower() == "bearer"
    if not is_bearer or not isinstance(value, str) or not _BEARER_TOKEN.fullmatch(value) or lifetime_s is None:
        raise UpstreamBroken("Entra answered without a usable token.", upstream=UpstreamAnswer("entra", 200))
    identity = answer.get("id_token_claims")
    ids = [str(identity.get(name)).lower() for name in ("oid", "tid")] if isinstance(identity, dict) else []
    if ids != [caller.object_id, caller.tenant_id]:
        _log.error("event=exchange_identity_mismatch tenant=%s", caller.tenant_id)
        raise UpstreamBroken("Entra answered with a token for somebody else; it was thrown away.", upstream=UpstreamAnswer("entra", 200))
    ends_at = min(asked_at + lifetime_s - min(_SKEW_S, lifetime_s / 10), caller.expires_at)
    return Fresh(GraphToken(caller.object_id, caller.tenant_id, value), ends_at)


def _lifetime_s(value: object) -> float | None:
    """Return ``expires_in`` in seconds, or None where it is no positive whole number (RFC 6749 section 5.1; some of Entra's endpoints write it as text)."""
    digits = str(value) if isinstance(value, int | str) else ""  # of a truth value, no digits
    if not re.fullmatch(r"[0-9]{1,12}", digits) or not int(digits):
        return None
    return min(float(digits), _LONGEST_LIFE_S)
