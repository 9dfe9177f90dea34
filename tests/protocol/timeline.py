"""Virtual seconds.

Two lines of work may overlap in them, but only one ever runs: the one whose turn comes first. So
every run is the same run.
"""

import contextlib
import heapq
import itertools
import math
import threading
from collections.abc import Callable


class _Line:
    def __init__(self) -> None:
        self.baton = threading.Lock()  # taken while it is not this line's turn
        self.baton.acquire()


class _Closed(BaseException):
    """The world ends."""


class Timeline:
    """The clock of one simulated world.

    A second line runs in a thread of its own, which is kept for the next one; ``close`` ends it.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._main = self._running = _Line()
        self._side = _Line()
        self._turns: list[tuple[float, int, _Line]] = []
        self._numbers = itertools.count()
        self._work: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def spend(self, seconds: float) -> None:
        """Let time pass on the line that calls; the other one has its turns meanwhile."""
        wake_at = self.now + seconds
        if not self._turns or self._turns[0][0] > wake_at:
            self.now = wake_at
            return
        self._wait_until(wake_at)

    def start(self, after_s: float, work: Callable[[], None]) -> None:
        """Let ``work`` begin on the second line, ``after_s`` seconds from now. It may not raise."""
        assert self._work is None, "one second line at a time"
        if self._thread is None:
            self._thread = threading.Thread(target=self._run_side, name="second line", daemon=True)
            self._thread.start()
        self._work = work
        heapq.heappush(self._turns, (self.now + after_s, next(self._numbers), self._side))

    def finish(self) -> None:
        """Let the second line come to its end."""
        if self._work is not None:
            self._wait_until(math.inf)

    def close(self) -> None:
        """End the thread, also in the middle of its work."""
        if self._thread is not None:
            self._closed = True
            self._side.baton.release()
            self._thread.join()
            self._thread = None

    def _wait_until(self, at: float) -> None:
        line = self._running
        heapq.heappush(self._turns, (at, next(self._numbers), line))
        if self._pass_on() is not line:
            line.baton.acquire()
        if self._closed:
            raise _Closed

    def _pass_on(self) -> _Line:
        at, _, line = heapq.heappop(self._turns)
        if at < math.inf:
            self.now = max(self.now, at)
        before, self._running = self._running, line
        if line is not before:
            line.baton.release()
        return line

    def _run_side(self) -> None:
        while True:
            self._side.baton.acquire()
            if self._work is None or self._closed:
                return
            with contextlib.suppress(_Closed):
                self._work()
            if self._closed:
                return
            self._work = None
            self._pass_on()
