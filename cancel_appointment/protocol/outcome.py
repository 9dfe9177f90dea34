"""CancelOutcome: how a cancel ended. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a cancel ended. An open enum for clients: an unknown value is a failure."""

    CANCELLED = "cancelled"
    NOT_FOUND = "not_found"


class Missing(StrEnum):
    """What is not there. An open enum for clients, too."""

    APPOINTMENT = "appointment"
    BUSINESS = "business"


@dataclass(frozen=True, slots=True)
class CancelOutcome:
    """A true answer.

    ``confirmed``: Graph's own answer settles it. ``replayed``: this answer was given before, for
    the same request. ``missing``: what was not found, where Graph said which.
    """

    outcome: Outcome
    confirmed: bool
    replayed: bool = False
    missing: Missing | None = None
