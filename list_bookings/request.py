"""What a caller may ask of the lists, and every fault that such a request can have. Pure.

Parameters that are not named here are ignored: gateways and connectors add their own to a query.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from shared.errors import FieldFault
from shared.ids import BusinessId
from shared.serving.request_faults import invalid, read_request

DEFAULT_SPAN = timedelta(days=30)
LONGEST_SPAN = timedelta(days=366)

# RFC 3339, with as many digits of a second as the expression utcNow() of Power Automate writes. A
# query turns a plus sign that was not percent-encoded into a space, so a space may begin an offset.
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+ -]\d\d:\d\d)", re.ASCII
)


def _moment(value: str) -> datetime:
    if not _MOMENT.fullmatch(value):
        raise ValueError("must be a date and time with an offset, e.g. 2027-05-01T00:00:00Z")
    try:
        moment = datetime.fromisoformat(value.upper().replace(" ", "+"))
        return moment.astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError):
        raise ValueError("is not a date and time that exists") from None


Moment = Annotated[datetime, BeforeValidator(_moment)]


class _Request(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, hide_input_in_errors=True
    )


class BusinessesRequest(_Request):
    """Ask for booking businesses."""

    query: (
        Annotated[str, Field(max_length=100, pattern=r"^[^\u0000-\u001f\u007f-\u009f]*$")] | None
    ) = Field(
        default=None,
        description="Only businesses whose name contains this text. Leave it out for all.",
    )


class AppointmentsRequest(_Request):
    """Ask for the appointments of one booking business that overlap a span of time.

    The span holds ``start`` and ends before ``end``.
    """

    business_id: BusinessId = Field(
        description="Id of the booking business: the SMTP address of its mailbox."
    )
    start: Moment = Field(
        description=(
            "Start of the span, a date and time with an offset (RFC 3339). By default the time "
            "of the request."
        )
    )
    end: Moment = Field(
        description=(
            "End of the span, at most 366 days after its start. By default 30 days after its start."
        )
    )


def parse_appointments_request(
    route: Mapping[str, str], query: Mapping[str, str], now: float
) -> AppointmentsRequest:
    """Read the parameters. Errors: RequestInvalid with one entry per fault.

    A span without a start begins at ``now`` (seconds since the epoch).
    """
    start = query.get("start") or datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    end = query.get("end") or _default_end(start)
    given = {"businessId": route.get("businessId", ""), "start": start, "end": end}
    request = read_request(AppointmentsRequest, given)
    if request.end <= request.start:
        raise invalid(FieldFault("end", "must be later than start"))
    if request.end - request.start > LONGEST_SPAN:
        raise invalid(
            FieldFault("end", f"must not be more than {LONGEST_SPAN.days} days after start")
        )
    return request


def _default_end(start: str) -> str:
    """Return the end of the default span.

    Where ``start`` is at fault, return any end: the answer has to name the fault of ``start``
    alone.
    """
    try:
        return (_moment(start) + DEFAULT_SPAN).isoformat()
    except (ValueError, OverflowError):
        return datetime.max.replace(tzinfo=UTC).isoformat()
