"""What Graph's lists become for a caller: minimal entries, and the JSON of the answers. Pure.

Owns what an answer shows of an appointment. Of its customers it shows names and their number,
nothing else. Every entry of Graph counts as hostile: one without a usable id is left out, and
``complete`` then says so.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import Field, TypeAdapter

from list_bookings.pages import Listed
from list_bookings.request import AppointmentsRequest
from shared.ids import AppointmentId, BusinessId
from shared.serving.problems import Answer, Reply, success

_BUSINESS_ID: TypeAdapter[str] = TypeAdapter(BusinessId)
_APPOINTMENT_ID: TypeAdapter[str] = TypeAdapter(AppointmentId)
_LONGEST_NAME = 256
_LONGEST_PART = 80
_MOST_ATTENDEES = 1_000_000
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NEVER = datetime.max.replace(tzinfo=UTC)


class BusinessEntry(Answer):
    """A booking business."""

    business_id: BusinessId = Field(
        description="Id of the booking business: the SMTP address of its mailbox."
    )
    display_name: str = Field(description="Its name, or its id where it has none.")


class BusinessesAnswer(Answer):
    """The booking businesses that the caller may see, by name."""

    businesses: tuple[BusinessEntry, ...] = Field(description="The businesses, at most a thousand.")
    complete: bool = Field(
        description="False when there are more than the list holds: narrow the request."
    )
    request_id: str = Field(
        description="Quote this to the operator of this service.",
        json_schema_extra={"format": "uuid"},
    )


class AppointmentEntry(Answer):
    """An appointment."""

    appointment_id: AppointmentId = Field(
        description="Id of the appointment, exactly as Microsoft Graph gives it."
    )
    title: str = Field(
        description="One line for a person: when, which service, for whom. Its wording may change."
    )
    service_name: str | None = Field(
        default=None, description="Name of the service. Absent where Microsoft Graph names none."
    )
    customer_name: str | None = Field(
        default=None,
        description=(
            "Name of the customer; of a group, the first one. Absent where Microsoft Graph names "
            "none: its lists sometimes come without customers."
        ),
    )
    attendees: int | None = Field(
        default=None,
        ge=1,
        description=(
            "How many customers are booked. More than one means a group appointment, and a cancel "
            "cancels it for all of them. Absent where Microsoft Graph names none."
        ),
    )
    self_service_appointment_id: str | None = Field(
        default=None,
        description=(
            "The id of the customer's own booking. It is not an appointmentId. Absent where the "
            "staff booked."
        ),
        json_schema_extra={"format": "uuid"},
    )
    start: datetime | None = Field(
        default=None,
        description="Start in UTC (RFC 3339). Absent where Microsoft Graph names none.",
    )
    end: datetime | None = Field(
        default=None,
        description="End in UTC (RFC 3339). Absent where Microsoft Graph names none.",
    )


class AppointmentsAnswer(Answer):
    """The appointments of one booking business that overlap a span of time, the earliest first."""

    business_id: str = Field(description="Id of the booking business, as in the request.")
    start: datetime = Field(description="Start of the span in UTC (RFC 3339).")
    end: datetime = Field(description="End of the span in UTC (RFC 3339).")
    appointments: tuple[AppointmentEntry, ...] = Field(
        description="The appointments, at most a thousand."
    )
    complete: bool = Field(
        description="False when there are more than the list holds: narrow the span."
    )
    request_id: str = Field(
        description="Quote this to the operator of this service.",
        json_schema_extra={"format": "uuid"},
    )


def answer_businesses(listed: Listed[BusinessEntry], request_id: str) -> Reply:
    """Return the answer to a request for businesses."""
    entries = sorted(
        listed.entries, key=lambda entry: (entry.display_name.casefold(), entry.business_id)
    )
    body = BusinessesAnswer(
        businesses=tuple(entries), complete=listed.complete, request_id=request_id
    )
    return success(body, "listed")


def answer_appointments(
    listed: Listed[AppointmentEntry], request: AppointmentsRequest, request_id: str
) -> Reply:
    """Return the answer to a request for appointments."""
    entries = sorted(
        listed.entries, key=lambda entry: (entry.start or _NEVER, entry.appointment_id)
    )
    body = AppointmentsAnswer(
        business_id=request.business_id,
        start=request.start,
        end=request.end,
        appointments=tuple(entries),
        complete=listed.complete,
        request_id=request_id,
    )
    return success(body, "listed")


def read_business(entry: Mapping[str, Any]) -> BusinessEntry:
    """Return a business of Graph's as the list shows it.

    Errors: ValidationError where it has no usable id.
    """
    business_id = _BUSINESS_ID.validate_python(entry.get("id"))
    return BusinessEntry(
        business_id=business_id, display_name=_line(entry.get("displayName")) or business_id
    )


def read_appointment(entry: Mapping[str, Any]) -> AppointmentEntry:
    """Return an appointment of Graph's as the list shows it.

    Errors: ValidationError where it has no usable id.
    """
    appointment_id = _APPOINTMENT_ID.validate_python(entry.get("id"))
    # The service says startDateTime and endDateTime; some of the documentation says start and end.
    start, end = (
        _read_moment(entry.get(f"{name}DateTime", entry.get(name))) for name in ("start", "end")
    )
    service = _line(entry.get("serviceName"), _LONGEST_NAME)
    customer, attendees = _customers(entry)
    parts = (
        f"{start:%Y-%m-%d %H:%M} UTC" if start else None,
        _line(service),
        _who(customer, attendees),
    )
    return AppointmentEntry(
        appointment_id=appointment_id,
        title=", ".join(part for part in parts if part) or appointment_id,
        service_name=service,
        customer_name=customer,
        attendees=attendees or None,
        self_service_appointment_id=_self_service_id(entry),
        start=start,
        end=end,
    )


def _customers(entry: Mapping[str, Any]) -> tuple[str | None, int]:
    """Return the name of the first customer who has one, and the number of customers."""
    listed = entry.get("customers")
    customers: Sequence[Any] = listed if isinstance(listed, list) else ()
    names = (
        _line(customer.get("name"), _LONGEST_NAME)
        for customer in customers
        if isinstance(customer, Mapping)
    )
    name = next(filter(None, names), None) or _line(entry.get("customerName"), _LONGEST_NAME)
    filled = entry.get("filledAttendeesCount")
    counted = filled if type(filled) is int and 0 <= filled < _MOST_ATTENDEES else 0
    return name, max(len(customers), counted, 1 if name else 0)


def _who(customer: str | None, attendees: int) -> str | None:
    """Name the customer for the display line, and a group as such."""
    if attendees < 2:
        return _line(customer)
    return (
        f"{_line(customer)} and {attendees - 1} more (group)"
        if customer
        else f"group of {attendees}"
    )


def _self_service_id(entry: Mapping[str, Any]) -> str | None:
    """Return the id of a customer's own booking; all zeros mean that there is none."""
    value = entry.get("selfServiceAppointmentId")
    if not isinstance(value, str) or not _GUID.fullmatch(value) or not value.strip("0-"):
        return None
    return value.lower()


def _line(value: Any, longest: int = _LONGEST_PART) -> str | None:
    """Return a text fit for one line, bounded; None where there is none."""
    if not isinstance(value, str):
        return None
    shown = (character if character.isprintable() else " " for character in value[: longest * 4])
    line = " ".join("".join(shown).split())
    return (line if len(line) <= longest else f"{line[: longest - 1]}…") or None


def _read_moment(value: Any) -> datetime | None:
    """Read a dateTimeTimeZone, which Bookings gives in UTC; None for any other form or zone."""
    if not isinstance(value, Mapping) or value.get("timeZone") != "UTC":
        return None
    try:
        moment = datetime.fromisoformat(value["dateTime"]).replace(microsecond=0)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
