"""Connections to one address that are idle, and when they may be used again.

Owns their number and their age. Does *not* open any. Safe for all threads.
"""

import contextlib
import time
from collections import deque

from shared.transport.sockets import Connection

_IDLE_S = 60.0  # load balancers forget silent flows after four minutes or more, and tell nobody


class Pool:
    """Keeps at most ``keep`` connections.

    The last that was used is the first to be used again, so that the others may end in peace.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._idle: deque[Connection] = deque()

    def take(self) -> Connection | None:
        """Return a connection that is alive and was used within the last minute, or None."""
        oldest = time.monotonic() - _IDLE_S
        with contextlib.suppress(IndexError):  # it is empty, or another thread was faster
            while self._idle[0].idle_since < oldest:
                self._idle.popleft().close()
            while True:
                connection = self._idle.pop()
                if connection.is_quiet():
                    return connection
                connection.close()
        return None

    def put(self, connection: Connection) -> None:
        """Keep a connection, or close it where there are enough."""
        if len(self._idle) >= self._keep:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)

    def drop(self) -> None:
        """Close what is idle now."""
        with contextlib.suppress(IndexError):
            for _ in range(len(self._idle)):
                self._idle.popleft().close()
