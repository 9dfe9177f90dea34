"""GraphToken: what a call to Microsoft Graph is made with, whoever it acts for.

Does *not* know how one is had.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class GraphToken:
    """An access token for Microsoft Graph. Only the Graph client may read ``value``.

    ``object_id`` is the person it acts for; None where it acts for this application alone.
    """

    object_id: str | None
    tenant_id: str
    value: str = field(repr=False)
