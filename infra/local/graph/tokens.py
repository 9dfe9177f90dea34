"""What the Graph simulator has to know of a bearer token.

Owns the claims that it decides by, and how a refusal is said: the two types that both sides share.
Does *not* sign or check tokens; the Entra simulator does.
"""

from dataclasses import dataclass


class GraphTokenInvalid(Exception):
    """The token is not one Graph accepts: signature, audience, issuer or time.

    The text says which, in words a developer may read.
    """


@dataclass(frozen=True, slots=True)
class GraphTokenClaims:
    """A verified token.

    ``object_id`` is the user's ``oid``, or the service principal's when ``app_only``.

    ``issued_at`` is ``iat``, in seconds since 1970; 0 where the verifier does not say. Revocation
    compares against it.
    """

    object_id: str
    tenant_id: str
    client_id: str
    scopes: frozenset[str]
    roles: frozenset[str]
    app_only: bool
    issued_at: float = 0.0
