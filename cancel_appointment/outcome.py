"""CancelOutcome, and what Graph's answers to a cancel and to a look mean. Pure.

Owns the meaning of statuses and codes of ``bookingAppointment: cancel``. Does *not* decide whether to try again (``cancellation.py``).
"""

from dataclasses import dataclass
from enum import StrEnum

from shared.errors import (
    AccessDenied,
    FacadeError,
    FieldFault,
    InteractionRequired,
    RequestInvalid,
    TokenRejected,
    UpstreamAnswer,
    UpstreamBroken,
)
from shared.retry import GraphAnswer, Seen

# Graph and the Exchange store behind it name "not there, or not visible to you" in several ways: ErrorItemNotFound,
# ErrorFolderNotFound for a calendar the user is no member of, ErrorNonExistentMailbox for a wrong business id (microsoft-graph-docs issues 9850 and 14841).
_NOT_FOUND_CODES = frozenset({"ErrorItemNotFound", "ErrorFolderNotFound", "ErrorNonExistentMailbox", "itemNotFound"})
_MALFORMED_CODES = frozenset({"ErrorInvalidIdMalformed", "ErrorInvalidId", "ErrorInvalidIdEmpty", "ErrorInvalidMailboxItemId"})


class Outcome(StrEnum):
    """How a cancel ended. An open enum for clients: an unknown value is a failure."""

    CANCELLED = "cancelled"
    NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True)
class CancelOutcome:
    """A true answer. ``confirmed``: Graph's own answer settles it. ``replayed``: this answer was given before, for the same request."""

    outcome: Outcome
    confirmed: bool
    replayed: bool = False


def says_not_found(answer: GraphAnswer) -> bool:
    """Tell whether Graph says that the appointment is not there, or not visible to this user; it does not tell the two apart."""
    return answer.status in (404, 410) or (answer.status == 400 and not _NOT_FOUND_CODES.isdisjoint(answer.codes))


def says_malformed(seen: Seen) -> bool:
    """Tell whether Graph calls an id malformed, with whatever status: such a request cannot have changed anything."""
    return isinstance(seen, GraphAnswer) and seen.status >= 400 and not _MALFORMED_CODES.isdisjoint(seen.codes)


def read_refusal(answer: GraphAnswer) -> FacadeError:
    """Return the error that a final 4xx other than 404 and 429 stands for. Never reads Graph's message: its wording changes."""
    upstream = UpstreamAnswer("graph", answer.status, answer.code, answer.request_id)
    if says_malformed(answer):
        faults = (FieldFault("appointmentId", "is malformed, says Microsoft Graph; it may also be businessId"),)
        return RequestInvalid("Microsoft Graph calls an id malformed.", faults=faults, upstream=upstream)
    if answer.claims is not None:
        return InteractionRequired(
            "Microsoft Graph asks this user for more than the token proves.", claims=answer.claims, upstream=upstream
        )
    match answer.status:
        case 401:
            return TokenRejected(
                "Microsoft Graph no longer accepts this user's sign-in: sign in again and send a new token.", upstream=upstream
            )
        case 403:
            return AccessDenied("Microsoft Graph does not allow this user to cancel in this booking business.", upstream=upstream)
        case _:
            return UpstreamBroken(
                "Microsoft Graph refused the request in a way that this service does not know; nothing was changed.", upstream=upstream
            )
