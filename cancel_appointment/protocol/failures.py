"""What is said of a cancel that ended without an outcome. Pure.

Owns when "nothing was changed" may be said. Does *not* decide whether a further call is made.
"""

from cancel_appointment.protocol.doubt import Known, Left
from shared.errors import (
    FacadeError,
    OutcomeUnknown,
    Throttled,
    UpstreamAnswer,
    UpstreamBroken,
    UpstreamUnavailable,
)
from shared.graph.endings import GraphAnswer, Seen, reached_mail_limit, what_is_gone
from shared.graph.refusals import quote

_REPEAT_AFTER_S = 5.0  # when an unknown outcome may be clearer


def give_up(seen: Seen, known: Known, retry_after_s: float) -> FacadeError:
    """Return the error to report when no further call fits.

    ``seen`` is the end of the last cancel, or of a look that did not help. What unanswered cancels
    may have left behind counts first.
    """
    upstream = quote(seen)
    if known.left is Left.BROKEN and known.looked and not known.carried:
        return UpstreamBroken(
            "Microsoft Graph failed to cancel the appointment: it still stood when last looked at.",
            upstream=upstream,
        )
    if known.doubt:
        return _unknown(upstream, retry_after_s)
    if known.left or (isinstance(seen, GraphAnswer) and what_is_gone(seen) is not None):
        words = _in_the_way(seen)
    elif not isinstance(seen, GraphAnswer):
        words = "Microsoft Graph could not be reached"
    elif seen.status == 429:
        return Throttled(
            "Microsoft Graph asks for fewer requests to this booking business.",
            retry_after_s=retry_after_s,
            upstream=upstream,
        )
    else:  # the path was refused, and no time is left for the other spelling of the id
        words = "There was no time left to ask Microsoft Graph again"
    if not known.unsure and (known.left or not known.sent):
        words += "; nothing was changed"
    return UpstreamUnavailable(f"{words}.", retry_after_s=retry_after_s, upstream=upstream)


def what_can_be_said(error: FacadeError, known: Known) -> FacadeError:
    """Return what the caller may be told of an error that ends this request.

    While a cancel may have taken effect, a caller would understand any other error as "nothing was
    changed". If the doubt is an earlier request's and this one sent nothing, a refusal of the
    caller stays as it is: otherwise they would never learn that they have to sign in.
    """
    passing = isinstance(error, Throttled | UpstreamBroken | UpstreamUnavailable)
    if known.in_doubt or (known.carried and (known.sent or passing)):
        return _unknown(error.upstream, getattr(error, "retry_after_s", 0.0))
    return error


def _in_the_way(seen: Seen) -> str:
    """Name what kept the cancel from its effect, where it had none."""
    if isinstance(seen, GraphAnswer):
        if reached_mail_limit(seen):
            return (
                "The booking mailbox has reached its sending limit, or is full, and may send no "
                "more mail for now"
            )
        if what_is_gone(seen) is not None:
            return "Microsoft Graph cannot reach the booking mailbox now"
        if seen.status != 429:
            return "Another change of the appointment is in the way"
    return "Microsoft Graph did not carry the cancel out in time"


def _unknown(upstream: UpstreamAnswer | None, retry_after_s: float) -> OutcomeUnknown:
    return OutcomeUnknown(
        "The cancel was sent, and it is not known yet whether it took effect. "
        "Send the same request again: that is safe.",
        retry_after_s=max(_REPEAT_AFTER_S, retry_after_s),
        upstream=upstream,
    )
