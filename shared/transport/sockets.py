"""One connection: made within a time, over TLS or plainly, and alive or not.

Owns sockets. Whatever fails here has failed before the first byte of a request was written. Does
*not* know HTTP, nor whom the TLS context trusts.
"""

import socket
import ssl
import time
from typing import Any

from urllib3.util import wait_for_read

from shared.transport.connections import Trust

# Load balancers forget silent flows after minutes and tell nobody: probes find out before a request
# does. Not every system lets their times be set.
_PROBES = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in _PROBES
        if hasattr(socket, name)
    ),
)


class WireFailed(Exception):
    """The base of what can fail on the wire. ``cause`` is the name of what happened."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class NotSent(WireFailed):
    """No byte of the request has left."""


class Connection:
    """An open connection. ``idle_since`` is a moment of the monotonic clock, in seconds."""

    __slots__ = ("idle_since", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.idle_since = time.monotonic()

    def is_quiet(self) -> bool:
        """Tell whether it is open, and holds nothing that could be taken for the next answer.

        A server may send TLS tickets at any time. They make the socket readable and are no answer;
        reading takes them in. To read costs more than to ask first.
        """
        if not wait_for_read(self.sock, 0) and not (
            isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()
        ):
            return True
        try:
            self.sock.settimeout(0)
            self.sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close it; raises nothing."""
        self.sock.close()


def connect(host: str, port: int, trust: Trust | None, within_s: float) -> Connection:
    """Return a new connection; without ``trust`` it is plain.

    ``within_s`` bounds the look-up of the name, all its addresses and the handshake together: the
    look-up cannot be interrupted, so that it may only be found too late. Errors: NotSent.
    """
    ends_at = time.monotonic() + within_s
    sock = _reach(host, port, ends_at)
    try:
        if trust is not None:
            sock.settimeout(max(0.001, ends_at - time.monotonic()))
            sock = trust.wrap_socket(sock, server_hostname=host.rstrip("."))
    except (OSError, ValueError) as error:  # also a certificate's, and a host's that cannot be one
        sock.close()
        raise NotSent("NewConnectionError") from error
    if time.monotonic() > ends_at:
        sock.close()
        raise NotSent("ConnectTimeoutError")
    return Connection(sock)


def _reach(host: str, port: int, ends_at: float) -> socket.socket:
    """Return a socket that is connected to the first address that takes it."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotSent("NameResolutionError") from error
    problem: OSError | None = None
    for family, kind, protocol, _, address in addresses:
        left_s = ends_at - time.monotonic()
        if left_s <= 0:
            break
        try:
            return _dial(socket.socket(family, kind, protocol), address, left_s)
        except OSError as error:  # there may be no free socket
            problem = error
    late = problem is None or isinstance(problem, TimeoutError)
    try:
        raise NotSent("ConnectTimeoutError" if late else "NewConnectionError") from problem
    finally:
        del problem  # it holds this frame: both would wait for the collector


def _dial(sock: socket.socket, address: Any, within_s: float) -> socket.socket:
    try:
        for option in _OPTIONS:
            sock.setsockopt(*option)
        sock.settimeout(within_s)
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock
