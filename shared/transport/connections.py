"""Outbound HTTP: one pool of connections per upstream, TLS checked against one context, nothing
taken from the environment.

Owns how connections are made, how long an answer may take, and when a connection may be used again.
Does *not* know what is said over them.
"""

import http.client
import io
import logging
import math
import re
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
)

from shared.errors import Misconfigured

USER_AGENT = "bookings-cancel-facade/1"
_HASHED = re.compile(r"[/\\][0-9a-f]{8}\.[0-9]+$")

type Trust = ssl.SSLContext


class _UntilReader(io.RawIOBase):
    """Reads from a socket until a moment of the monotonic clock, however the bytes trickle in."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, ends_at: float) -> None:
        self._raw = raw
        self._sock = sock
        self._ends_at = ends_at

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the answer has taken too long")
        self._sock.settimeout(None if left_s == math.inf else left_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer that is there, head and body, within one time-out, and that leaves nothing behind
    for the next.

    A socket's time-out starts anew with every byte: a slow drip would go on for ever.
    """

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        timeout_s = sock.gettimeout()
        ends_at = math.inf if timeout_s is None else time.monotonic() + timeout_s
        self.fp = io.BufferedReader(_UntilReader(self.fp.detach(), sock, ends_at))

    def begin(self) -> None:
        """Read the head of the final answer (RFC 9110 15.2: others may come before it; http.client
        knows 100 alone and would leave it unread).
        """
        super().begin()
        while 101 < self.status < 200:
            self.headers = self.msg = None  # type: ignore[assignment] # so that http.client begins again
            super().begin()
        if self.status == 101 or (
            self.length == 0 and (self.chunked or self.headers.get("Content-Length", "0") != "0")
        ):
            self.will_close = True  # bytes may follow that no answer announced; they must not be taken for the next one


class Connection(HTTPSConnection):
    """Tells "never sent" from "sent, no answer" for TLS too.

    urllib3 raises the same ``SSLError`` for a handshake that failed and for a record that broke
    after the request was written. ``connect`` ends before the first byte of the request is written,
    so whatever fails in it becomes ``NewConnectionError``.

    One time-out bounds the name's look-up, all its addresses and the handshake together. urllib3
    gives it to each address anew and none to the look-up, and then writes the request however late
    it is: past the deadline of whoever sent it, and past the lease of its record.
    """

    response_class = _Response
    _connected_by = math.inf

    def connect(self) -> None:
        """Connect, within the time-out. Errors: NewConnectionError, ConnectTimeoutError."""
        self._connected_by = (
            time.monotonic() + self.timeout if isinstance(self.timeout, int | float) else math.inf
        )
        try:
            super().connect()
        except (NewConnectionError, ConnectTimeoutError):
            raise
        except (HTTPError, OSError, ssl.CertificateError) as error:
            raise NewConnectionError(
                self, f"the connection was not established: {type(error).__name__}"
            ) from error
        if time.monotonic() > self._connected_by:
            self.close()
            raise ConnectTimeoutError(self, "the connection was established too late")

    def _new_conn(self) -> socket.socket:
        problem: OSError | None = None
        try:
            addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        for family, kind, protocol, _, address in addresses:
            left_s = self._connected_by - time.monotonic()
            if left_s <= 0:
                break
            sock = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.settimeout(None if left_s == math.inf else left_s)
                sock.connect(address)
            except OSError as error:
                sock.close()
                problem = error
            else:
                return sock
        if problem is None or isinstance(problem, TimeoutError):
            raise ConnectTimeoutError(self, "no address has answered in time") from problem
        raise NewConnectionError(
            self, f"the connection was not established: {type(problem).__name__}"
        ) from problem

    @property
    def is_connected(self) -> bool:
        """Whether it may be used again: not when bytes are waiting that nobody asked for.

        Those decrypted already are not seen by urllib3.
        """
        return super().is_connected and not (
            isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()
        )


class _Pool(HTTPSConnectionPool):
    ConnectionCls = Connection


class _OneContextAdapter(HTTPAdapter):
    """Checks every connection against one TLS context: loading the roots costs tens of
    milliseconds, and requests does it per connection.
    """

    def __init__(self, context: ssl.SSLContext, pool_size: int) -> None:
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)
        self.poolmanager.pool_classes_by_scheme = {"https": _Pool}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:  # noqa: ARG002 - the signature is requests' own
        """Leave the connection to the context: requests would load a bundle of its own into it."""
        conn.cert_reqs = "CERT_REQUIRED"


class _Session(requests.Session):
    """A session that knows no redirects: even where it may not follow one, requests reads its whole
    body and parses its address, and fails if it cannot.
    """

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002 - the signature is requests' own
        return None


def open_trust(ca_bundle: Path | None) -> Trust:
    """Return the TLS context of all connections: the system's roots, and ``ca_bundle`` (PEM)
    besides. Errors: Misconfigured.

    Loading the roots costs tens of milliseconds, so there is one for all upstreams.
    """
    context = ssl.create_default_context(capath=_folder_of_roots())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if ca_bundle is not None:
        try:
            context.load_verify_locations(ca_bundle)
        except OSError as error:  # ssl.SSLError is one
            raise Misconfigured(
                "The setting CA_BUNDLE names a file that holds no readable certificate (PEM)."
            ) from error
    return context


def _folder_of_roots() -> str | None:
    """Return the system's folder of roots if it holds whatever its file does; None: take what
    OpenSSL takes by itself.

    From a folder, whose entries are named by a hash of their subjects, OpenSSL reads the root that
    a certificate needs, when it needs it; of the file all, at once, which takes it 25 ms. A file of
    the operator's own choice (SSL_CERT_FILE) is not passed over.
    """
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None or paths.capath is None or paths.cafile != paths.openssl_cafile:
        return None
    try:
        in_file = Path(paths.cafile).read_bytes().count(b"-----BEGIN CERTIFICATE-----")
        in_folder = sum(
            1 for entry in Path(paths.capath).iterdir() if _HASHED.search(str(entry))
        )  # Path.name takes 10 us each
    except OSError:
        return None
    return paths.capath if in_folder >= max(1, in_file) else None


def open_session(trust: Trust, *, pool_size: int) -> requests.Session:
    """Return a session for one upstream; safe to share between threads for plain requests.

    Proxies, netrc and CA variables of the environment are not read. Nothing is sent over plain
    http, no cookie is kept, no redirect is followed. A read time-out bounds the whole answer, not
    only each part of it.
    """
    keep_addresses_out_of_the_log()
    session = _Session()
    session.trust_env = False
    session.cookies.set_policy(_NoCookies())
    session.headers["User-Agent"] = USER_AGENT
    session.adapters.clear()
    session.mount("https://", _OneContextAdapter(trust, pool_size))
    return session


def keep_addresses_out_of_the_log() -> None:
    """Silence urllib3 below errors: it logs URLs, and ours hold mailbox addresses."""
    logging.getLogger("urllib3").setLevel(logging.ERROR)


class _NoCookies(requests.cookies.cookielib.DefaultCookiePolicy):  # type: ignore[name-defined,misc]
    """Keeps no cookie: a session is shared by all users, and an upstream must not be able to mark
    it.
    """

    def set_ok(self, cookie: Any, request: Any) -> bool:  # noqa: ARG002 - the signature is http.cookiejar's own
        return False
