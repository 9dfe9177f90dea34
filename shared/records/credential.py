"""The managed identity of this app, as the tokens that the table is reached with.

Owns how long a request waits for a token, and renewing one early beside the requests. Does *not*
ask the platform (``entra/credentials.py``). Import it only where the table is reached by managed
identity: it loads MSAL.
"""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from shared.entra.credentials import ManagedIdentity
from shared.entra.refusals import CredentialRefused
from shared.records.rules import StoreUnavailable

_RESOURCE = "https://storage.azure.com"
_RENEW_S = 600.0
_MARGIN_S = 10.0


class StorageTokens:
    """Tokens for the managed identity with this client id, or for the system-assigned one.

    Safe for threads. The platform is asked by one thread at a time, beside the requests: they wait
    only where there is no token that is good, and together no longer than ``wait_s`` for one
    question. Those that come later, while the question is open, fail at once.
    """

    def __init__(self, client_id: str | None = None, *, wait_s: float = 1.0) -> None:
        self._identity = ManagedIdentity(client_id)
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._token, self._ends_at = "", 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="storage-token")
        self._asking: Future[str] | None = None
        self._asked_at = 0.0

    def get(self) -> str:
        """Return a token for Azure Storage. Errors: StoreUnavailable."""
        try:
            with self._lock:
                left_s = self._ends_at - time.time()
                if left_s < _RENEW_S and (self._asking is None or self._asking.done()):
                    self._asking = self._thread.submit(self._ask)
                    self._asked_at = time.monotonic()
                if self._asking is None or left_s > _MARGIN_S:
                    return self._token
                asking, until = self._asking, self._asked_at + self._wait_s
            return asking.result(max(0.0, until - time.monotonic()))
        except (CredentialRefused, TimeoutError, RuntimeError) as exc:
            raise StoreUnavailable("no token for the table") from exc

    def _ask(self) -> str:
        token, lives_s = self._identity.ask(_RESOURCE)
        with self._lock:
            self._token, self._ends_at = token, time.time() + lives_s
        return token
