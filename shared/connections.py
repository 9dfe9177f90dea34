"""Outbound HTTP: one pooled session per upstream, TLS checked against one context, nothing taken from the environment.

Owns how connections are made. Does *not* know what is said over them.
"""

import ssl
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

USER_AGENT = "bookings-cancel-facade/1"


class _Connection(HTTPSConnection):
    """Tells "never sent" from "sent, no answer" for TLS too.

    urllib3 raises the same ``SSLError`` for a handshake that failed and for a record that broke after the request was written.
    ``connect`` ends before the first byte of the request is written, so whatever fails in it becomes ``NewConnectionError``.
    """

    def connect(self) -> None:
        try:
            super().connect()
        except (NewConnectionError, ConnectTimeoutError):
            raise
        except (HTTPError, OSError, ssl.CertificateError) as error:
            raise NewConnectionError(self, f"the connection was not established: {type(error).__name__}") from error


class _Pool(HTTPSConnectionPool):
    ConnectionCls = _Connection


class _OneContextAdapter(HTTPAdapter):
    """Checks every connection against one TLS context: loading the roots costs tens of milliseconds, and requests does it per connection."""

    def __init__(self, context: ssl.SSLContext, pool_size: int) -> None:
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)
        self.poolmanager.pool_classes_by_scheme = {"https": _Pool}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:  # noqa: ARG002 - the signature is requests' own
        """Leave the connection to the context: requests would load a bundle of its own into it."""
        conn.cert_reqs = "CERT_REQUIRED"


def open_session(*, ca_bundle: Path | None, pool_size: int) -> requests.Session:
    """Return a session for one upstream; safe to share between threads for plain requests.

    ``ca_bundle`` (PEM) is trusted besides the system's roots. Proxies, netrc and CA variables of the environment are not read.
    Nothing is sent over plain http, no cookie is kept.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_bundle is not None:
        context.load_verify_locations(ca_bundle)
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(_NoCookies())
    session.headers["User-Agent"] = USER_AGENT
    session.adapters.clear()
    session.mount("https://", _OneContextAdapter(context, pool_size))
    return session


def open_identity_session() -> requests.Session:
    """Return a session for the platform's own identity endpoint, which is plain http on the machine itself (App Service: IDENTITY_ENDPOINT)."""
    session = requests.Session()
    session.trust_env = False
    return session


class _NoCookies(requests.cookies.cookielib.DefaultCookiePolicy):  # type: ignore[name-defined,misc]
    """Keeps no cookie: a session is shared by all users, and an upstream must not be able to mark it."""

    def set_ok(self, cookie: Any, request: Any) -> bool:  # noqa: ARG002 - the signature is http.cookiejar's own
        return False
