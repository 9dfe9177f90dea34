"""What Graph's refusals mean, whatever was asked of a booking business. Pure.

Owns the errors that Graph's final answers stand for. Does *not* decide whether to try again.
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

_TOKEN_INVALID = "InvalidAuthenticationToken"  # noqa: S105 - a code


def quote(seen: Seen) -> UpstreamAnswer:
    """Return what may be shown of how an exchange ended."""
    if isinstance(seen, GraphAnswer):
        return UpstreamAnswer("graph", seen.status, seen.code, seen.request_id)
    return UpstreamAnswer("graph")


def malformed(answer: GraphAnswer, field: str, also: str = "") -> RequestInvalid:
    """Return the error for an id that Graph takes for none; ``field`` is the member it came in."""
    fault = FieldFault(field, f"is malformed, says Microsoft Graph{also}")
    return RequestInvalid(f"{field} {fault.message}.", faults=(fault,), upstream=quote(answer))


def read_refusal(answer: GraphAnswer, *, renewed: bool) -> FacadeError:
    """Return the error that a final refusal other than 400, 404 and 429 stands for.

    ``renewed``: the token was new, so where Graph calls it anything but invalid, another sign-in
    would not help.
    """
    upstream = quote(answer)
    if answer.claims is not None:
        return InteractionRequired(
            "Microsoft Graph asks this user for more than the token proves.",
            claims=answer.claims,
            upstream=upstream,
        )
    match answer.status:
        case 401 if renewed and _TOKEN_INVALID not in answer.codes:
            return AccessDenied(
                "Microsoft Graph refuses this user even with a new token; another sign-in "
                "would not help.",
                upstream=upstream,
            )
        case 401:
            return TokenRejected(
                "Microsoft Graph no longer accepts this user's sign-in: sign in again and send a "
                "new token.",
                upstream=upstream,
            )
        case 403:
            return AccessDenied(
                "Microsoft Graph does not allow this user to do this in this booking business.",
                upstream=upstream,
            )
        case _:
            return UpstreamBroken(
                "Microsoft Graph refused the request in a way that this service does not know.",
                upstream=upstream,
            )
