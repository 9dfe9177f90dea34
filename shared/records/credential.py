"""The managed identity of this app, as the credential that Azure's table client takes.

Owns how long a request waits for a token, and renewing one early beside the requests. Does *not*
ask the platform (``entra/credentials.py``). Import it only where the table is reached by managed
identity: it loads MSAL.
"""

import threading
import time
from concurrent.futures import Future
from typing import Any

from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from shared.entra.credentials import ManagedIdentity
from shared.entra.refusals import CredentialRefused

_RENEW_S = 600.0  # Azure's client asks again five minutes before the end
_MARGIN_S = 10.0


class ManagedIdentityCredential:
    """Tokens for the managed identity with this client id, or for the system-assigned one.

    Safe for threads. The platform is asked by one thread at a time, beside the requests: they wait
    only where there is no token that is good, and together no longer than ``wait_s`` for one
    question. Those that come later while it is open are told at once.
    """

    def __init__(self, client_id: str | None = None, *, wait_s: float = 1.0) -> None:
        self._identity = ManagedIdentity(client_id)
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._token: AccessToken | None = None
        self._asking: Future[AccessToken] | None = None
        self._asked_at = 0.0

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Get a token for the one scope given, ``https://<resource>/.default``.

        Errors: ``ClientAuthenticationError`` where there is none to be had.
        """
        del options  # part of the protocol, without meaning for a managed identity
        (scope,) = scopes
        with self._lock:
            left_s = self._token.expires_on - time.time() if self._token else 0.0
            if left_s < _RENEW_S and self._asking is None:
                self._start(scope.removesuffix("/.default"))
            if self._token is not None and left_s > _MARGIN_S:
                return self._token
            asking, until = self._asking, self._asked_at + self._wait_s
        try:
            if asking is None:
                raise RuntimeError("there was no thread to ask with")
            return asking.result(max(0.0, until - time.monotonic()))
        except (CredentialRefused, TimeoutError, RuntimeError) as exc:
            raise ClientAuthenticationError("the managed identity gave no token") from exc

    def _start(self, resource: str) -> None:
        asking: Future[AccessToken] = Future()

        def ask() -> None:
            try:
                token, lives_s = self._identity.ask(resource)
            except CredentialRefused as exc:
                self._end(None)
                asking.set_exception(exc)
            else:
                fresh = AccessToken(token, int(time.time() + lives_s))
                self._end(fresh)
                asking.set_result(fresh)

        self._asking, self._asked_at = asking, time.monotonic()
        try:
            threading.Thread(target=ask, name="storage-token", daemon=True).start()
        except RuntimeError:
            self._asking = None

    def _end(self, token: AccessToken | None) -> None:
        with self._lock:
            self._asking = None
            self._token = token or self._token
