"""CancelOutcome -> the JSON of a cancel that ended. Pure.

Owns what a caller of this capability sees when it succeeds; ``shared/serving/problems.py`` owns
every other answer. Does *not* decide anything about the appointment.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from cancel_appointment.protocol.outcome import CancelOutcome, Missing, Outcome
from cancel_appointment.request import CancelRequest
from shared.serving.problems import Answer, Reply, open_list, success


class CancelAnswer(Answer):
    """The answer to a cancel that ended: 200, for Graph's 204 and for its 404."""

    outcome: Annotated[Outcome, open_list(*Outcome)] = Field(
        description=(
            f"How it ended: {' or '.join(Outcome)}. "
            "An open list: treat a value that you do not know as a failure."
        )
    )
    cancelled: bool = Field(description="True when the appointment was cancelled.")
    confirmed: bool = Field(
        description=(
            "True when Microsoft Graph's own answer settles it; "
            "false when it was concluded from what was seen afterwards."
        )
    )
    replayed: bool = Field(
        description="True when this answer was given before, for the same request."
    )
    business_id: str = Field(
        description=(
            "Id of the booking business, as in the request, without white space around it."
        )
    )
    appointment_id: str = Field(
        description="Id of the appointment, as in the request, without white space around it."
    )
    request_id: str = Field(
        description="Quote this to the operator of this service.",
        json_schema_extra={"format": "uuid"},
    )
    missing: Annotated[Missing, open_list(*Missing)] | None = Field(
        default=None,
        description=(
            "With not_found, where Microsoft Graph says which: what is not there, or not visible "
            f"to this caller: {' or '.join(Missing)}. "
            "An open list: treat a value that you do not know as absent."
        ),
    )
    message: str = Field(description="One sentence for a person. Its wording may change.")


# What a person reads, by whether it is confirmed.
_CANCELLED: Mapping[bool, str] = {
    True: "The appointment was cancelled; Microsoft Bookings notifies the customer and the staff.",
    False: (
        "The appointment was cancelled. Microsoft Graph did not confirm it, "
        "but it was there before and is gone now."
    ),
}
_NO_APPOINTMENT: Mapping[bool, str] = {
    True: (
        "There is no such appointment, or it is not visible to this caller. "
        "Check both ids; an appointment that was moved gets a new id."
    ),
    False: (
        "The appointment is not there, or not visible to this caller. "
        "An earlier attempt may have cancelled it."
    ),
}
_NO_BUSINESS: Mapping[bool, str] = {
    True: "There is no such booking business, or it is not visible to this caller.",
    False: (
        "There is no such booking business, or it is not visible to this caller. "
        "An earlier attempt may have cancelled the appointment."
    ),
}


def answer(outcome: CancelOutcome, request: CancelRequest, request_id: str) -> Reply:
    """Return the answer to a cancel that ended."""
    cancelled = outcome.outcome is Outcome.CANCELLED
    not_found = _NO_BUSINESS if outcome.missing is Missing.BUSINESS else _NO_APPOINTMENT
    sentences = _CANCELLED if cancelled else not_found
    body = CancelAnswer(
        outcome=outcome.outcome,
        cancelled=cancelled,
        confirmed=outcome.confirmed,
        replayed=outcome.replayed,
        business_id=request.business_id,
        appointment_id=request.appointment_id,
        request_id=request_id,
        missing=outcome.missing,
        message=sentences[outcome.confirmed],
    )
    return success(body, outcome.outcome.value)
