"""What the published documents say of an operation: the words and the types. Pure.

Owns the form of such a description, and the causes that operations share. Does *not* know any
format of documents.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel

from shared import errors
from shared.errors import FacadeError
from shared.serving.problems import BUG, TABLE, Answer, Row


class Guard(StrEnum):
    """What an operation asks of its caller before it looks at the request."""

    NOBODY = "nobody"
    USER = "user"
    SIGNATURE = "signature"


@dataclass(frozen=True, slots=True)
class RequestHeader:
    """A header that a caller may send; ``schema`` holds its limits in the words of JSON Schema."""

    name: str
    description: str
    schema: Mapping[str, Any]
    required: bool = False


@dataclass(frozen=True, slots=True)
class ForMakers:
    """How an action looks to the makers of flows.

    ``words`` are what only makers read of the action (extensions, another description). ``members``
    are what they read of a parameter or a member of the body.
    """

    words: Mapping[str, Any]
    members: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def picked_from(
    operation_id: str, items: str, value: str, title: str, *, given: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the extensions that let a maker pick a value from what an operation lists.

    ``given`` holds the operation's parameters, and the members of the body that fill them. There
    are two forms. x-ms-dynamic-list is exact about members of a body. Designers that do not know it
    read x-ms-dynamic-values, which knows names only.
    """
    values: dict[str, Any] = {
        "operationId": operation_id,
        "value-collection": items,
        "value-path": value,
        "value-title": title,
    }
    listed: dict[str, Any] = {
        "operationId": operation_id,
        "itemsPath": items,
        "itemValuePath": value,
        "itemTitlePath": title,
    }
    if given:
        values["parameters"] = {name: {"parameter": member} for name, member in given.items()}
        listed["parameters"] = {
            name: {"parameterReference": f"body/{member}"} for name, member in given.items()
        }
    return {"x-ms-dynamic-values": values, "x-ms-dynamic-list": listed}


@dataclass(frozen=True, slots=True)
class Published:
    """One operation.

    ``path`` begins below the host's route prefix. ``parameters`` are those of the path and the
    query; ``optional`` names those with a default. ``examples`` are the names of recorded
    successes. ``causes`` are all errors that it can end with, except a bug. Without ``for_makers``
    it is not an action.
    """

    operation_id: str
    method: Literal["get", "post"]
    path: str
    tag: str
    summary: str
    description: str
    answer: type[Answer]
    answered: str
    examples: Sequence[str]
    causes: Sequence[type[FacadeError]]
    body: type[BaseModel] | None = None
    parameters: type[BaseModel] | None = None
    optional: frozenset[str] = frozenset()
    headers: Sequence[RequestHeader] = ()
    guard: Guard = Guard.USER
    for_makers: ForMakers | None = None

    def rows(self) -> dict[int, list[Row]]:
        """Return the problems that it can answer with, by status, each code once."""
        rows: dict[int, list[Row]] = {}
        for row in (*(TABLE[cause] for cause in self.causes), *((BUG,) if self.causes else ())):
            known = rows.setdefault(row.status.value, [])
            if row.code not in (other.code for other in known):
                known.append(row)
        return dict(sorted(rows.items()))

    def codes(self) -> set[str]:
        """Return the codes of all problems that it can answer with."""
        return {row.code for rows in self.rows().values() for row in rows}


# What a person's request can end with, whatever it asks for: because of who asks, because of Entra
# and Graph, and because of this service itself.
CAUSES_OF_IDENTITY: Sequence[type[FacadeError]] = (
    errors.AuthorizationMalformed,
    errors.TokenMissing,
    errors.TokenRejected,
    errors.InteractionRequired,
    errors.ScopeMissing,
    errors.UserTokenRequired,
    errors.CallerNotAllowed,
    errors.ConsentRequired,
)
CAUSES_OF_UPSTREAMS: Sequence[type[FacadeError]] = (
    errors.AccessDenied,
    errors.Throttled,
    errors.UpstreamBroken,
    errors.UpstreamUnavailable,
)
CAUSES_OF_SERVICE: Sequence[type[FacadeError]] = (errors.Overloaded, errors.Misconfigured)

CORRELATION_ID = RequestHeader(
    "x-correlation-id",
    (
        "An id of the caller's own, e.g. of a flow's run. The answer repeats it, and the log has "
        "it. Any other value is ignored."
    ),
    {"type": "string"},
)

# In the words of a maker.
BUSINESS_ID: Mapping[str, Any] = {
    "description": "Choose from the list, or enter the mailbox address of the booking page.",
    "x-ms-visibility": "important",
    "x-ms-test-value": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    **picked_from("ListBusinesses", "businesses", "businessId", "displayName"),
}
TRACKING_ID: Mapping[str, Any] = {
    "x-ms-summary": "Tracking ID",
    "description": "Leave it empty, or enter an id of your own. The operator finds it in the log.",
    "x-ms-visibility": "advanced",
}
