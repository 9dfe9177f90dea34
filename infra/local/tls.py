"""A certificate authority made at start, so that the simulators speak real TLS on loopback.

Its private key never leaves the process that made it; nothing trusts it but clients that are handed
its bundle.
"""

import ssl
from pathlib import Path

import trustme


class LocalAuthority:
    """One certificate authority and one server certificate for ``localhost`` and the loopback
    addresses.
    """

    def __init__(self) -> None:
        self._authority = trustme.CA(organization_name="Local stack")
        self._server = self._authority.issue_cert("localhost", "127.0.0.1", "::1")

    def server_context(self) -> ssl.SSLContext:
        """Return a TLS context that a server presents to its clients."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._server.configure_cert(context)
        return context

    def write_bundle(self, path: Path) -> Path:
        """Write the authority's certificate (PEM) to ``path`` for clients that should trust it."""
        self._authority.cert_pem.write_to_path(str(path))
        return path
