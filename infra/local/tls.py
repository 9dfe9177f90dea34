"""A certificate authority made at start, so that the simulators speak real TLS on loopback.

Its private key never leaves the process that made it. Only clients that get its bundle trust it.
"""

import ssl
from pathlib import Path

import trustme


class LocalAuthority:
    """A certificate authority, and a server certificate for ``localhost`` and loopback."""

    def __init__(self) -> None:
        self._authority = trustme.CA(organization_name="Local stack")
        self._server = self._authority.issue_cert("localhost", "127.0.0.1", "::1")

    def server_context(self) -> ssl.SSLContext:
        """Return the TLS context of a server."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._server.configure_cert(context)
        return context

    def write_bundle(self, path: Path) -> Path:
        """Write the authority's certificate (PEM) to ``path``, for clients that should trust it."""
        self._authority.cert_pem.write_to_path(str(path))
        return path
