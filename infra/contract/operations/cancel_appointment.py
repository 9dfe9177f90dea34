"""The cancel operation as callers read of it."""

from cancel_appointment.contract import CancelAnswer
from cancel_appointment.request import IDEMPOTENCY_KEY_PATTERN, CancelRequest
from infra.contract.operations.published import (
    BUSINESS_ID,
    CAUSES_OF_IDENTITY,
    CAUSES_OF_SERVICE,
    CAUSES_OF_UPSTREAMS,
    CORRELATION_ID,
    TRACKING_ID,
    ForMakers,
    Guard,
    Published,
    RequestHeader,
    picked_from,
)
from shared import errors
from shared.identity.webhooks import (
    ID_PATTERN,
    LONGEST_SIGNATURES,
    SIGNATURES_PATTERN,
    TIMESTAMP_PATTERN,
)

_CAUSES_OF_CANCELS = (
    errors.RequestInProgress,
    errors.BodyTooLarge,
    errors.MediaTypeUnsupported,
    errors.IdempotencyKeyReused,
    errors.RefusedByBookings,
    *CAUSES_OF_UPSTREAMS,
    *CAUSES_OF_SERVICE,
    errors.OutcomeUnknown,
)

CANCEL_APPOINTMENT = Published(
    operation_id="CancelAppointment",
    method="post",
    path="/v1/cancel-appointment",
    tag="Appointments",
    summary="Cancel an appointment",
    description=(
        "Cancels one appointment of a Microsoft Bookings calendar on behalf of the signed-in user. "
        "Bookings mails the customer and the staff. "
        "An appointment that is not there is an outcome, not an error. "
        "Sending the same request again is always safe: it never cancels twice."
    ),
    answer=CancelAnswer,
    answered="The cancel ended: outcome says how.",
    examples=(
        "cancelled",
        "cancelled_unconfirmed",
        "cancelled_replayed",
        "not_found",
        "not_found_unconfirmed",
        "not_found_business",
    ),
    causes=(
        errors.RequestInvalid,
        *CAUSES_OF_IDENTITY,
        *_CAUSES_OF_CANCELS,
    ),
    body=CancelRequest,
    headers=(
        RequestHeader(
            "Idempotency-Key",
            (
                "A key that the caller makes for this request. "
                "For 24 hours cancelled and not_found are given again to the same key. "
                "A problem, and a not_found with missing business, is not kept: "
                "a repeat asks Microsoft Graph again. "
                "Bare, or as a quoted string; an empty one counts as left out."
            ),
            {"type": "string", "pattern": IDEMPOTENCY_KEY_PATTERN},
        ),
        CORRELATION_ID,
    ),
    for_makers=ForMakers(
        words={
            "description": (
                "Cancels one appointment, as the person of the connection. "
                "Bookings mails the customer and the staff. "
                "A group appointment is cancelled for everybody in it. "
                "An appointment that is not there does not fail the flow: look at Outcome. "
                "This is an action, not a trigger: it does not start a flow when somebody cancels."
            ),
            "x-ms-visibility": "important",
            "x-ms-api-annotation": {"family": "CancelAppointment", "revision": 1},
        },
        members={
            "businessId": BUSINESS_ID,
            "appointmentId": {
                "description": (
                    "Choose from the list, or enter the Appointment ID that List appointments "
                    "gives. "
                    "The Self Service Appointment ID is another one."
                ),
                "x-ms-visibility": "important",
                "x-ms-test-value": "AAMkADKoAAA=",
                **picked_from(
                    "ListAppointments",
                    "appointments",
                    "appointmentId",
                    "title",
                    given={"businessId": "businessId"},
                ),
            },
            "cancellationMessage": {
                "description": (
                    "What the customer and the staff read in the mail. "
                    "Leave it empty for the standard text."
                ),
                "x-ms-visibility": "important",
            },
            "Idempotency-Key": {
                "x-ms-summary": "Key for Repeats",
                "description": (
                    "Leave it empty, or enter a text of your own for this one cancel. "
                    "For 24 hours the same key gets the same Outcome again. "
                    "After a failure, or where the booking page was not found, it is tried again. "
                    "In a loop, add the Appointment ID to it."
                ),
                "x-ms-visibility": "advanced",
            },
            "x-correlation-id": TRACKING_ID,
        },
    ),
)

CANCEL_APPOINTMENT_BY_WEBHOOK = Published(
    operation_id="CancelAppointmentByWebhook",
    method="post",
    path="/v1/webhooks/cancel-appointment",
    tag="Webhooks",
    summary="Cancel an appointment by webhook",
    description=(
        "Cancels one appointment for a system that signs its requests (Standard Webhooks) and for "
        "which no user signs in. Off unless the operator has set keys; "
        "each key is good for the booking businesses on its list. "
        "The answers are those that users get. "
        "cancelled and not_found are both a 200, so that the sender stops."
    ),
    answer=CancelAnswer,
    answered="The cancel ended: outcome says how.",
    examples=("cancelled_by_webhook",),
    causes=(
        errors.RequestInvalid,
        errors.SignatureRefused,
        errors.CallerNotAllowed,
        errors.WebhooksOff,
        *_CAUSES_OF_CANCELS,
    ),
    body=CancelRequest,
    headers=(
        RequestHeader(
            "webhook-id",
            (
                "Names the delivery and is the same in its repeats. "
                "For 7 days cancelled and not_found are given again to the same id with the same "
                "body. A problem, and a not_found with missing business, is not kept: "
                "a repeat asks Microsoft Graph again."
            ),
            {"type": "string", "pattern": ID_PATTERN},
            required=True,
        ),
        RequestHeader(
            "webhook-timestamp",
            (
                "Seconds since 1970 when this attempt was signed, within five minutes of the "
                "service's clock."
            ),
            {"type": "string", "pattern": TIMESTAMP_PATTERN},
            required=True,
        ),
        RequestHeader(
            "webhook-signature",
            (
                "Signatures over webhook-id, webhook-timestamp and the bytes of the body, "
                "separated by spaces; one of version v1 has to match."
            ),
            {"type": "string", "maxLength": LONGEST_SIGNATURES, "pattern": SIGNATURES_PATTERN},
            required=True,
        ),
        CORRELATION_ID,
    ),
    guard=Guard.SIGNATURE,
)

OPERATIONS = (CANCEL_APPOINTMENT, CANCEL_APPOINTMENT_BY_WEBHOOK)
