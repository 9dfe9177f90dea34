"""One way to turn several strings into one opaque key, so that no two different lists of strings
ever share a key.
"""

import hashlib


def digest(*parts: str) -> bytes:
    """Return SHA-256 over the parts, each preceded by its length in bytes (so ``("ab", "c")`` and
    ``("a", "bc")`` differ).
    """
    whole = b""
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        whole += len(raw).to_bytes(8, "big") + raw
    return hashlib.sha256(whole).digest()
