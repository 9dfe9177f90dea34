"""Signed requests -> WebhookSender: who sends, proved.

The rules are those of Standard Webhooks (github.com/standard-webhooks/standard-webhooks,
spec/standard-webhooks.md). Owns which headers must come, what they may look like, and that bad
input always ends in a refusal. The library ``standardwebhooks`` does the cryptography and keeps the
window of five minutes. It raises half a dozen classes on malformed input, and it reads a header's
numbers more freely than it signs them. Does *not* know what the sender asks for.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.errors import CallerNotAllowed, SignatureRefused
from shared.identity.principal import Principal
from shared.identity.webhook_keys import WebhookKey
from shared.ids import folded

# The host joins repeated headers with a comma, so an id holds none. An id becomes an idempotency
# key, so it has the same maximum length.
_ID = re.compile(r"[\x21-\x2b\x2d-\x7e]{1,255}")
_TIMESTAMP = re.compile(r"[1-9][0-9]{0,11}")
_SIGNATURE = re.compile(r"v1,[A-Za-z0-9+/]{43}=")
# The names of the standard, and those of its co-author Svix, which mean the same.
_NAMES = tuple(
    {part: f"{prefix}-{part}" for part in ("id", "timestamp", "signature")}
    for prefix in ("webhook", "svix")
)
ID_PATTERN, TIMESTAMP_PATTERN = f"^{_ID.pattern}$", f"^{_TIMESTAMP.pattern}$"
SIGNATURES_PATTERN = rf"^(?:.* )?{_SIGNATURE.pattern}(?: .*)?$"
LONGEST_SIGNATURES = 2048
_UNPROVED = (
    "The signature proves no sender that this service knows. Sign the bytes of the body "
    "exactly as you send them, with a secret that this service has. "
    "webhook-timestamp may be at most five minutes from now."
)


@dataclass(frozen=True, slots=True)
class WebhookSender(Principal):
    """A system, proved by a signature.

    It stands for no user, and nothing of it can be exchanged for a user's token. Its key also
    counts as its client. No user has the same id: a user's id is a GUID.
    """

    key_id: str
    businesses: frozenset[str] = field(repr=False)

    def require_business(self, business_id: str) -> None:
        """Check that the key is allowed for a business. Errors: CallerNotAllowed."""
        if folded(business_id) not in self.businesses:
            raise CallerNotAllowed(
                "This webhook key is not allowed to cancel appointments of this booking business."
            )


class WebhookVerifier:
    """Finds out who sent a request; one instance per worker, safe for all threads.

    ``tenant_id`` is where the businesses are.
    """

    def __init__(self, keys: Iterable[WebhookKey], tenant_id: str) -> None:
        from standardwebhooks import Webhook  # only if webhooks are on

        self._proofs: list[tuple[WebhookSender, Callable[..., Any]]] = []
        for key in keys:
            name = f"webhook:{key.id}"
            businesses = frozenset(folded(business) for business in key.businesses)
            sender = WebhookSender(tenant_id, name, name, key.id, businesses)
            self._proofs += [
                (sender, Webhook(secret.get_secret_value()).verify) for secret in key.secrets
            ]

    def verify(self, headers: Mapping[str, str], body: bytes) -> WebhookSender:
        """Return the sender whose secret signed this.

        ``headers`` have lower-case names. ``body`` is as it came, of a bounded size.

        Errors: SignatureRefused for everything else. Every secret is tried every time, so the
        duration says nothing about the keys.
        """
        names = _names(headers)
        signed = {
            f"webhook-{part}": _read_header(headers, names[part], form)
            for part, form in (("id", _ID), ("timestamp", _TIMESTAMP))
        }
        signatures = headers.get(names["signature"], "")
        known = [
            word
            for word in signatures[:LONGEST_SIGNATURES].split(" ")
            if _SIGNATURE.fullmatch(word)
        ]
        if not known or len(signatures) > LONGEST_SIGNATURES:
            raise SignatureRefused(
                f"The header {names['signature']} is missing, or holds no signature of version v1."
            )
        # The standard says to ignore signatures of other versions.
        signed["webhook-signature"] = " ".join(known)
        proved = [sender for sender, verify in self._proofs if _proves(verify, body, signed)]
        if not proved:
            raise SignatureRefused(_UNPROVED)
        return proved[0]


def read_webhook_id(headers: Mapping[str, str]) -> str:
    """Return the id under which a delivery and its redeliveries are known.

    Errors: SignatureRefused.
    """
    return _read_header(headers, _names(headers)["id"], _ID)


def _names(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the names of the headers for id, time and signature.

    They are Svix's only where none of the standard's came.
    """
    for names in _NAMES:
        if any(name in headers for name in names.values()):
            return names
    return _NAMES[0]


def _read_header(headers: Mapping[str, str], name: str, form: re.Pattern[str]) -> str:
    value = headers.get(name, "")
    if not form.fullmatch(value):
        raise SignatureRefused(f"The header {name} is missing, came twice, or is not usable.")
    return value


def _proves(verify: Callable[..., Any], body: bytes, headers: Mapping[str, str]) -> bool:
    try:
        verify(body, headers, json_parse=False)
    except Exception:  # noqa: BLE001
        # The library has a class for every kind of malformed input. All mean: nothing is proved.
        return False
    return True
