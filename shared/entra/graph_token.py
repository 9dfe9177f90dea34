"""GraphToken: what a call to Microsoft Graph is made with, whoever it acts for.

Owns the token and the port that gives one. Does *not* know where a token comes from.
"""

from dataclasses import dataclass, field
from typing import Protocol

from shared.identity.principal import Principal
from shared.transport.deadline import Deadline


@dataclass(frozen=True, slots=True)
class GraphToken:
    """An access token for Microsoft Graph. Only the Graph client may read ``value``.

    ``object_id`` is the person it acts for; None where it acts for this application alone.
    """

    object_id: str | None
    tenant_id: str
    value: str = field(repr=False)


class GraphTokens[P: Principal](Protocol):
    """Gives Graph tokens for one kind of principal, and for no other."""

    def exchange(
        self,
        caller: P,
        deadline: Deadline,
        /,
        *,
        refused: GraphToken | None = None,
        claims: str | None = None,
    ) -> GraphToken:
        """Return a token.

        ``refused`` is one that Graph no longer takes, ``claims`` the challenge (minified JSON) that
        came with the refusal, if one did. Errors: any FacadeError about identity or Entra.
        """
        ...
