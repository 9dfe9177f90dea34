"""The traffic of the Graph simulator: what came, how often, and how much of it at once.

Owns the memory of every request and the counts. Does *not* answer anything.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote

from aiohttp import web

from infra.local.graph.tokens import GraphTokenClaims
from infra.local.graph.wire import GraphCall, GraphRefusal, Received, Step, split_path


class Traffic:
    """A memory of every request, safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received: list[Received] = []
        self._attempts: Counter[tuple[Step, str, str]] = Counter()
        self._in_progress: Counter[str] = Counter()
        self._peaks: Counter[str] = Counter()

    @property
    def received(self) -> list[Received]:
        """Every request so far, oldest first."""
        with self._lock:
            return list(self._received)

    def clear_received(self) -> None:
        """Forget the requests that came so far."""
        with self._lock:
            self._received.clear()

    def peak_concurrency(self, business_id: str) -> int:
        """Return the most cancel and get calls that were ever in progress at once for a mailbox."""
        with self._lock:
            return self._peaks[business_id]

    def reset(self) -> None:
        """Forget everything; calls in progress are no longer counted."""
        with self._lock:
            self._received.clear()
            self._attempts.clear()
            self._peaks.clear()
            self._in_progress = Counter()

    def remember(
        self, request: web.Request, body: bytes, claims: GraphTokenClaims | GraphRefusal
    ) -> None:
        """Keep a request that arrived whole."""
        segments = tuple(unquote(segment) for segment in split_path(request.raw_path))
        headers: dict[str, str] = {}
        for name, value in request.headers.items():
            known = headers.get(name.lower())
            headers[name.lower()] = value if known is None else f"{known}, {value}"
        user = None if isinstance(claims, GraphRefusal) else claims.object_id
        received = Received(
            request.method,
            request.raw_path,
            "/" + "/".join(segments),
            segments,
            headers,
            body,
            time.time(),
            user,
        )
        with self._lock:
            self._received.append(received)

    def count_attempt(self, call: GraphCall) -> int:
        """Return which call of this step for these ids this one is, from 1."""
        key = (call.step, call.business_id, call.appointment_id)
        with self._lock:
            self._attempts[key] += 1
            return self._attempts[key]

    @contextmanager
    def counted(self, call: GraphCall) -> Iterator[int]:
        """Count a cancel or get as in progress for its mailbox until its answer is ready.

        Yields how many there are with it.
        """
        if call.step not in ("cancel", "get"):
            yield 0
            return
        mailbox = call.business_id
        with self._lock:
            in_progress = self._in_progress  # a reset puts another in its place
            in_progress[mailbox] += 1
            now = in_progress[mailbox]
            self._peaks[mailbox] = max(self._peaks[mailbox], now)
        try:
            yield now
        finally:
            with self._lock:
                in_progress[mailbox] -= 1
