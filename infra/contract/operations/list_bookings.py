"""The lists as callers read of them."""

from collections.abc import Sequence

from infra.contract.operations.published import (
    BUSINESS_ID,
    CAUSES_OF_IDENTITY,
    CAUSES_OF_SERVICE,
    CAUSES_OF_UPSTREAMS,
    CORRELATION_ID,
    TRACKING_ID,
    ForMakers,
    Published,
)
from list_bookings.contract import AppointmentsAnswer, BusinessesAnswer
from list_bookings.request import AppointmentsRequest, BusinessesRequest
from shared import errors
from shared.errors import FacadeError

_CAUSES: Sequence[type[FacadeError]] = (
    errors.RequestInvalid,
    *CAUSES_OF_IDENTITY,
    errors.BusinessNotFound,
    *CAUSES_OF_UPSTREAMS,
    *CAUSES_OF_SERVICE,
)

LIST_BUSINESSES = Published(
    operation_id="ListBusinesses",
    method="get",
    path="/v1/businesses",
    tag="Lists",
    summary="List businesses",
    description=(
        "Lists the booking businesses that the signed-in user may see, sorted by name, at most a "
        "thousand. Use it to choose the business of an appointment."
    ),
    answer=BusinessesAnswer,
    answered="The businesses.",
    examples=("businesses",),
    causes=_CAUSES,
    parameters=BusinessesRequest,
    optional=frozenset({"query"}),
    headers=(CORRELATION_ID,),
    for_makers=ForMakers(
        words={
            "description": "Lists the booking pages that the connection's user may see, by name.",
            "x-ms-visibility": "advanced",
            "x-ms-api-annotation": {"family": "ListBusinesses", "revision": 1},
        },
        members={
            "query": {
                "x-ms-summary": "Name",
                "description": "A part of the name. Leave it empty for all.",
            },
            "x-correlation-id": TRACKING_ID,
        },
    ),
)

LIST_APPOINTMENTS = Published(
    operation_id="ListAppointments",
    method="get",
    path="/v1/businesses/{businessId}/appointments",
    tag="Lists",
    summary="List appointments of a business",
    description=(
        "Lists the appointments of one booking business that overlap a span of time, the "
        "earliest first, at most a thousand. "
        "Use it to choose the appointment to cancel."
    ),
    answer=AppointmentsAnswer,
    answered="The appointments.",
    examples=("appointments",),
    causes=_CAUSES,
    parameters=AppointmentsRequest,
    optional=frozenset({"start", "end"}),
    headers=(CORRELATION_ID,),
    for_makers=ForMakers(
        words={
            "x-ms-visibility": "advanced",
            "x-ms-api-annotation": {"family": "ListAppointments", "revision": 1},
        },
        members={
            "businessId": BUSINESS_ID,
            "x-correlation-id": TRACKING_ID,
        },
    ),
)

OPERATIONS = (LIST_BUSINESSES, LIST_APPOINTMENTS)
