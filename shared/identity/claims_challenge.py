"""Claims challenges: what Entra and Graph ask of a user beyond the token.

Owns what counts as a challenge, and the words for clients that cannot answer one. Does *not* know
where a challenge was met.
"""

import json

from shared.errors import InteractionRequired
from shared.identity.caller import Caller
from shared.strict_json import read_object

_MAX_CLAIMS_CHARS = 4096
_FOR_MAKERS = (
    " This client cannot answer such a challenge by itself. In a flow or app, open its "
    "connection and sign in again. If that does not help, an administrator has to apply the "
    "same access policy to this API as to Microsoft Graph. You then meet the policy when you "
    "make the connection."
)


def read_claims(value: object) -> str | None:
    """Return a claims challenge as minified JSON, or None if no client could use it."""
    if not isinstance(value, str) or len(value) > _MAX_CLAIMS_CHARS:
        return None
    try:
        parsed = read_object(value)
        minified = json.dumps(parsed, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError):
        return None
    # MSAL would fail at an access_token of another kind.
    if not parsed or not isinstance(parsed.get("access_token", {}), dict):
        return None
    return minified


def explain_challenge(error: InteractionRequired, caller: Caller) -> InteractionRequired:
    """Return the error in words that fit the caller's client.

    The user of a client that cannot answer a challenge has to read what to do instead.
    """
    if caller.can_answer_challenges:
        return error
    return InteractionRequired(
        error.reason + _FOR_MAKERS, claims=error.claims, upstream=error.upstream
    )
