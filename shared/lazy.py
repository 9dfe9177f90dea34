"""Something that is built once per worker, on first use."""

import asyncio
import contextlib
import threading
from collections.abc import Callable


class Lazy[T]:
    """Builds once, whoever asks first. Safe for all threads.

    A failure is not remembered: once a setting is corrected, the next request succeeds.
    """

    def __init__(self, build: Callable[[], T]) -> None:
        self._build = build
        self._lock = threading.Lock()
        self._built: T | None = None

    def get(self) -> T:
        """Return what was built, building it if nobody has. Errors: what ``build`` raises."""
        with self._lock:
            if self._built is None:
                self._built = self._build()
            return self._built

    async def aside(self) -> T:
        """Do the same from an event loop.

        Building may import and read much, so it goes to a thread, if one is free. Errors: what
        ``build`` raises.
        """
        if self._built is None:
            # No thread could be started: then it is built here.
            with contextlib.suppress(RuntimeError, MemoryError):
                return await asyncio.to_thread(self.get)
        return self.get()

    def if_built(self) -> T | None:
        """Return what was built, or None; never builds, never waits."""
        return self._built
