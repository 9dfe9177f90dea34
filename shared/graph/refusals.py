"""What Graph's refusals mean, whatever was asked of a booking business. Pure.

Owns the meaning of Graph's statuses and error codes; never reads Graph's messages, whose wording
changes. Does *not* decide whether to try again.
"""

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
from shared.graph.endings import GraphAnswer, Seen

# Graph and the Exchange store behind it name "not there, or not visible to you" in several ways:
# ErrorItemNotFound,
# ErrorFolderNotFound for a calendar the user is no member of, ErrorNonExistentMailbox for a wrong
# business id (microsoft-graph-docs issues 9850 and 14841).
_NOT_FOUND_CODES = frozenset(
    {"ErrorItemNotFound", "ErrorFolderNotFound", "ErrorNonExistentMailbox", "itemNotFound"}
)
_MALFORMED_CODES = frozenset(
    {
        "ErrorInvalidIdMalformed",
        "ErrorInvalidId",
        "ErrorInvalidIdEmpty",
        "ErrorInvalidMailboxItemId",
    }
)


def says_not_found(answer: GraphAnswer) -> bool:
    """Tell whether Graph says that the appointment is not there, or not visible to this user; it
    does not tell the two apart.
    """
    return answer.status in (404, 410) or (
        answer.status == 400 and not _NOT_FOUND_CODES.isdisjoint(answer.codes)
    )


def says_malformed(seen: Seen) -> bool:
    """Tell whether Graph calls an id malformed, with whatever status: such a request cannot have
    changed anything.
    """
    return (
        isinstance(seen, GraphAnswer)
        and seen.status >= 400
        and not _MALFORMED_CODES.isdisjoint(seen.codes)
    )


def read_refusal(answer: GraphAnswer, malformed: FieldFault) -> FacadeError:
    """Return the error that a final 4xx other than 404 and 429 stands for; ``malformed`` is the
    fault to name where Graph calls an id malformed.
    """
    upstream = UpstreamAnswer("graph", answer.status, answer.code, answer.request_id)
    if says_malformed(answer):
        return RequestInvalid(
            "Microsoft Graph calls an id malformed.", faults=(malformed,), upstream=upstream
        )
    if answer.claims is not None:
        return InteractionRequired(
            "Microsoft Graph asks this user for more than the token proves.",
            claims=answer.claims,
            upstream=upstream,
        )
    match answer.status:
        case 401:
            return TokenRejected(
                "Microsoft Graph no longer accepts this user's sign-in: sign in again and send a new token.",
                upstream=upstream,
            )
        case 403:
            return AccessDenied(
                "Microsoft Graph does not allow this user to do this in this booking business.",
                upstream=upstream,
            )
        case _:
            return UpstreamBroken(
                "Microsoft Graph refused the request in a way that this service does not know; nothing was changed.",
                upstream=upstream,
            )
