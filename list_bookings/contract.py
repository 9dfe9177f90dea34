"""What Graph's lists become for a caller: minimal entries, and the JSON of the answers. Pure.

Owns the display line of an appointment, which is all that is shown of a customer. Every entry of
Graph is hostile: what has no usable id is left out, and ``complete`` then says so.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.config import JsonDict

from list_bookings.request import AppointmentsRequest
from shared.ids import AppointmentId, BusinessId
from shared.serving.problems import Answer, Reply, success

_BUSINESS_ID: TypeAdapter[str] = TypeAdapter(BusinessId)
_APPOINTMENT_ID: TypeAdapter[str] = TypeAdapter(AppointmentId)
_LONGEST_PART = 80
_MOMENT: JsonDict = {"format": "date-time"}


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
        description="False when there are more than are listed: narrow the request."
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
    start: str | None = Field(
        default=None,
        description="Begin in UTC (RFC 3339). Absent where Microsoft Graph names none.",
        json_schema_extra=_MOMENT,
    )
    end: str | None = Field(
        default=None,
        description="End in UTC (RFC 3339). Absent where Microsoft Graph names none.",
        json_schema_extra=_MOMENT,
    )


class AppointmentsAnswer(Answer):
    """The appointments of one booking business that overlap a span of time, the earliest first."""

    business_id: str = Field(description="Id of the booking business, as it was asked for.")
    start: str = Field(
        description="Begin of the span in UTC (RFC 3339).", json_schema_extra=_MOMENT
    )
    end: str = Field(description="End of the span in UTC (RFC 3339).", json_schema_extra=_MOMENT)
    appointments: tuple[AppointmentEntry, ...] = Field(
        description="The appointments, at most a thousand."
    )
    complete: bool = Field(
        description="False when there are more than are listed: narrow the span."
    )
    request_id: str = Field(
        description="Quote this to the operator of this service.",
        json_schema_extra={"format": "uuid"},
    )


@dataclass(frozen=True, slots=True)
class Listed:
    """Entries as Graph gave them; ``complete`` is False when there are more."""

    entries: Sequence[Any]
    complete: bool


def answer_businesses(listed: Listed, request_id: str) -> Reply:
    """Return the answer to a request for businesses."""
    entries = [entry for entry in map(_business, listed.entries) if entry is not None]
    entries.sort(key=lambda entry: (entry.display_name.casefold(), entry.business_id))
    complete = listed.complete and len(entries) == len(listed.entries)
    return success(
        BusinessesAnswer(businesses=tuple(entries), complete=complete, request_id=request_id),
        "listed",
    )


def answer_appointments(listed: Listed, request: AppointmentsRequest, request_id: str) -> Reply:
    """Return the answer to a request for appointments."""
    entries = [entry for entry in map(_appointment, listed.entries) if entry is not None]
    entries.sort(key=lambda entry: (entry.start or "9999", entry.appointment_id))
    body = AppointmentsAnswer(
        business_id=request.business_id,
        start=_written(request.start),
        end=_written(request.end),
        appointments=tuple(entries),
        complete=listed.complete and len(entries) == len(listed.entries),
        request_id=request_id,
    )
    return success(body, "listed")


def _business(entry: Any) -> BusinessEntry | None:
    business_id = _id(_BUSINESS_ID, entry)
    if business_id is None:
        return None
    return BusinessEntry(
        business_id=business_id, display_name=_line(entry.get("displayName")) or business_id
    )


def _appointment(entry: Any) -> AppointmentEntry | None:
    appointment_id = _id(_APPOINTMENT_ID, entry)
    if appointment_id is None:
        return None
    # The service names these startDateTime and endDateTime, some of the documentation start and
    # end.
    start, end = (
        _read_moment(entry.get(f"{name}DateTime", entry.get(name))) for name in ("start", "end")
    )
    parts = (
        f"{start:%Y-%m-%d %H:%M} UTC" if start else None,
        _line(entry.get("serviceName")),
        _customers(entry),
    )
    return AppointmentEntry(
        appointment_id=appointment_id,
        title=", ".join(part for part in parts if part) or appointment_id,
        start=_written(start) if start else None,
        end=_written(end) if end else None,
    )


def _id(kind: TypeAdapter[str], entry: Any) -> str | None:
    try:
        return (
            kind.validate_python(entry.get("id"), strict=True)
            if isinstance(entry, Mapping)
            else None
        )
    except ValidationError:
        return None


def _customers(entry: Mapping[str, Any]) -> str | None:
    """Name the first customer, and how many there are besides: group appointments have many."""
    customers = entry.get("customers")
    entries: Iterable[Any] = customers if isinstance(customers, list) else ()
    names = [
        name
        for name in (
            _line(customer.get("name")) for customer in entries if isinstance(customer, Mapping)
        )
        if name
    ]
    if not names:
        return _line(entry.get("customerName"))
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _line(value: Any) -> str | None:
    """Return a text fit for one line, bounded; None where there is none."""
    if not isinstance(value, str):
        return None
    line = " ".join(
        "".join(
            character if character.isprintable() else " "
            for character in value[: _LONGEST_PART * 4]
        ).split()
    )
    return line if len(line) <= _LONGEST_PART else f"{line[: _LONGEST_PART - 1]}…"


def _read_moment(value: Any) -> datetime | None:
    """Read a dateTimeTimeZone, which Bookings gives in UTC; None where it is not one, or in another
    zone.
    """
    if (
        not isinstance(value, Mapping)
        or value.get("timeZone") != "UTC"
        or not isinstance(value.get("dateTime"), str)
    ):
        return None
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value["dateTime"]))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
