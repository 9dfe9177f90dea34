"""How this service proves itself to Entra: by managed identity, certificate or secret.

Owns reading the credential as MSAL takes it, reading it again where it was refused, and leaving
Entra alone while it stays refused. Does *not* exchange tokens. Secrets hide in ``repr``.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode, urlsplit

import msal

from shared.entra.exchange_cache import ExchangeCache, Fresh
from shared.entra.http import EntraAnswer
from shared.entra.refusals import CredentialRefused
from shared.errors import Misconfigured
from shared.settings import Cloud, Settings
from shared.strict_json import read_object
from shared.telemetry.journal import tell
from shared.transport.channel import Channel

_log = logging.getLogger("facade.credentials")
_REST_S = 30.0
_READ_AGAIN_S = 1.0
_IDENTITY_CONNECT_S = 2.0
_IDENTITY_S = 5.0
_MAX_IDENTITY_BYTES = 64 * 1024
_IDENTITY_TOKEN_REUSED_S = 30.0  # MSAL hands out none that ends within five minutes

# The audience of a managed identity's federated credential (entra-docs,
# workload-identity-federation-config-app-trust-managed-identity);
# US Government L4 and L5 (DoD) share one authority, and so one audience.
_EXCHANGE_AUDIENCES = {
    Cloud.GLOBAL: "api://AzureADTokenExchange",
    Cloud.USGOV: "api://AzureADTokenExchangeUSGov",
    Cloud.DOD: "api://AzureADTokenExchangeUSGov",
}


@dataclass(frozen=True, slots=True)
class Credential:
    """What MSAL takes as ``client_credential``.

    The fingerprint changes exactly when the credential does. ``apps`` are MSAL's applications that
    ask with it, by tenant: they go when it goes.
    """

    for_msal: Any = field(repr=False)
    fingerprint: bytes = field(repr=False)
    apps: dict[str, Any] = field(repr=False, compare=False, default_factory=dict)


class CredentialInUse:
    """The credential that Entra is asked with. Safe for all threads.

    It is read once, and again when it is refused. Where it has changed meanwhile, no request is
    lost. Where it has not, Entra is left alone for 30 seconds, then one request finds out whether
    it works again; a changed one is noticed earlier, and not held to account for its predecessor.
    """

    def __init__(self, load: Callable[[], Credential], now: Callable[[], float]) -> None:
        self._load = load
        self._now = now
        self._lock = threading.Lock()
        self._current: Credential | None = None
        self._refusal: CredentialRefused | None = None
        self._rests_until = self._read_again_at = 0.0

    def take(self) -> Credential:
        """Return what to ask with.

        Errors: Misconfigured, where nothing can be read; CredentialRefused, while Entra is left
        alone.
        """
        with self._lock:
            if self._current is None:
                self._current = self._load()
            if self._refusal is None:
                return self._current
            now = self._now()
            if now >= self._rests_until:
                # This request finds out; the others are told at once.
                self._rests_until = now + _REST_S
                return self._current
            if now >= self._read_again_at:
                self._read_again_at = now + _READ_AGAIN_S
                if self._has_changed():
                    return self._current
            raise _copy_of(self._refusal)

    def refused(self, credential: Credential, refusal: CredentialRefused) -> Credential:
        """Return what has taken the place of a refused credential.

        Errors: CredentialRefused, if nothing has; Entra is then left alone for a while.
        """
        with self._lock:
            if self._current is credential and not self._has_changed():
                if self._refusal is None:  # one line to alert on, for all until it works again
                    tell(
                        _log,
                        logging.ERROR,
                        "credential_refused",
                        "code=%s retry_in_s=%d reason=%r",
                        refusal.upstream.code if refusal.upstream else None,
                        _REST_S,
                        refusal.reason,
                    )
                self._refusal = _copy_of(refusal)
                self._rests_until = self._now() + _REST_S
                raise refusal
        return self.take()

    def accepted(self, credential: Credential) -> None:
        """Note that Entra took it."""
        with self._lock:
            if self._refusal is not None and self._current is credential:
                self._refusal = None
                tell(_log, logging.WARNING, "credential_accepted_again")

    def _has_changed(self) -> bool:
        """Read the credential again, and take it into use if it is another one."""
        try:
            fresh = self._load()
        except Misconfigured:  # for example half written; there will be another time
            return False
        if self._current is not None and fresh.fingerprint == self._current.fingerprint:
            return False
        self._current, self._refusal = fresh, None
        tell(_log, logging.WARNING, "credential_changed")
        return True


def _copy_of(refusal: CredentialRefused) -> CredentialRefused:
    """Return the same without what belongs to one request.

    That is its traceback, which holds tokens in its frames, and the id of Entra's answer.
    """
    return CredentialRefused(
        refusal.reason,
        upstream=replace(refusal.upstream, request_id=None) if refusal.upstream else None,
    )


def load_credential(settings: Settings) -> Credential:
    """Return the credential that the settings name; reads the certificate file anew each time.

    Errors: Misconfigured, naming the setting at fault.
    """
    if settings.client_secret is not None:
        secret = settings.client_secret.get_secret_value()
        return Credential(secret, hashlib.sha256(secret.encode()).digest())
    if settings.client_certificate_path is not None:
        from shared.entra.certificate import (
            read_certificate,  # X.509 is loaded where a certificate is used
        )

        password = settings.client_certificate_password
        pair, fingerprint = read_certificate(
            settings.client_certificate_path, password.get_secret_value() if password else None
        )
        return Credential(pair, fingerprint)
    if settings.managed_identity_client_id is not None:
        assertion = managed_identity_token(
            settings.managed_identity_client_id, _EXCHANGE_AUDIENCES[settings.cloud]
        )
        return Credential(
            {"client_assertion": assertion}, settings.managed_identity_client_id.encode()
        )
    raise Misconfigured("No credential is set.")


def managed_identity_token(client_id: str, resource: str) -> Callable[[], str]:
    """Return a function that gives a token of the user-assigned managed identity for ``resource``.

    However many threads call it at once, the platform is asked once. It raises CredentialRefused.
    """
    identity = ManagedIdentity(client_id)
    recent: ExchangeCache[str] = ExchangeCache(capacity=1, now=time.monotonic)

    def ask() -> Fresh[str]:
        token, _ = identity.ask(resource)
        return Fresh(token, time.monotonic() + _IDENTITY_TOKEN_REUSED_S)

    return lambda: recent.get_or_exchange(b"", ask, wait_s=_IDENTITY_S)


class ManagedIdentity:
    """The identity with this client id, or the app's own (system-assigned).

    Safe for threads; MSAL caches and renews its tokens.
    """

    def __init__(self, client_id: str | None) -> None:
        self._client = msal.ManagedIdentityClient(
            msal.UserAssignedManagedIdentity(client_id=client_id)
            if client_id
            else msal.SystemAssignedManagedIdentity(),
            http_client=IdentityEndpoint(),
        )

    def ask(self, resource: str) -> tuple[str, float]:
        """Return a token for ``resource``, and the seconds that it lives.

        Errors: CredentialRefused when the platform gives none: App Service answers every failure
        alike (msal/managed_identity.py).
        """
        try:
            answer = self._client.acquire_token_for_client(resource=resource)
        except Exception as error:
            raise CredentialRefused(
                "The managed identity endpoint could not be used; check "
                "MANAGED_IDENTITY_CLIENT_ID and that the identity is assigned."
            ) from error
        match answer:
            case {"access_token": str(token), "expires_in": int() | float() as expires_in_s}:
                return token, expires_in_s
        raise CredentialRefused(
            "The platform gave no token for the managed identity; check "
            "MANAGED_IDENTITY_CLIENT_ID and that the identity is assigned."
        )


class IdentityEndpoint:
    """The HTTP client for the platform's identity endpoint (App Service: IDENTITY_ENDPOINT).

    The endpoint speaks plain http on the machine itself. It is asked about once an hour, each time
    over a new connection. MSAL sets no time limit, so each answer has one as a whole. Errors:
    ValueError, NotSent, Unanswered.
    """

    def get(
        self, url: str, *, params: Mapping[str, str], headers: Mapping[str, str]
    ) -> EntraAnswer:
        """Ask the endpoint."""
        parts = urlsplit(url)
        channel = Channel(f"{parts.scheme}://{parts.netloc}", None, keep=0)
        answer = channel.exchange(
            "GET",
            f"{parts.path}?{urlencode(params)}",
            headers,
            None,
            connect_s=_IDENTITY_CONNECT_S,
            total_s=_IDENTITY_S,
            limit_bytes=_MAX_IDENTITY_BYTES,
        )
        text = answer.body.decode("utf-8")
        # MSAL would log what it cannot read, and that may be the better half of a token.
        read_object(text)
        return EntraAnswer(answer.status, text, answer.headers)
