"""Whom all connections trust, and what they call themselves.

Owns the one TLS context. Does *not* open connections (``sockets.py``).
"""

import re
import ssl
from pathlib import Path

from shared.errors import Misconfigured

USER_AGENT = "bookings-cancel-facade/1"
_HASHED = re.compile(r"[/\\][0-9a-f]{8}\.[0-9]+$")

type Trust = ssl.SSLContext


def open_trust(ca_bundle: Path | None) -> Trust:
    """Return the TLS context of all connections.

    It trusts the system's roots, and ``ca_bundle`` (PEM) besides. Loading the roots costs tens of
    milliseconds, so there is one for all upstreams. Errors: Misconfigured.
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
    """Return the system's folder of roots if it holds whatever its file does.

    None: take what OpenSSL takes by itself. The entries of the folder are named by a hash of their
    subjects, so OpenSSL reads a root when a certificate needs it. A file is read as a whole, which
    takes 25 ms. A file of the operator's own choice (SSL_CERT_FILE) is not passed over.
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
