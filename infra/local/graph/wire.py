"""What Graph's Bookings requests and answers look like on the wire; pure: no state, no sockets.

Owns the addresses, the error format and the resources' JSON. Does *not* know who may do what, nor
what stands in a calendar.

Like Graph, it splits an address at each slash, also an encoded one (%2F), and decodes each segment
exactly once. So an id that holds a slash is split: 400 RequestBroker--ParseUri.
"""

import base64
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

from infra.local import seed

type Step = Literal["cancel", "get", "list_businesses", "list_appointments"]
type Json = bool | int | float | str | Sequence[Json] | dict[str, Json] | None

CHALLENGE: Final = (
    'Bearer realm="", '
    'authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", '
    'client_id="00000003-0000-0000-c000-000000000000"'
)
DIAGNOSTIC: Final = json.dumps(
    {
        "ServerInfo": {
            "DataCenter": "Local",
            "Slice": "E",
            "Ring": "5",
            "ScaleUnit": "000",
            "RoleInstance": "LOCAL00000000",
        },
    },
    separators=(",", ":"),
)
_VERSIONS: Final = ("v1.0", "beta")
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ENCODED_SLASH: Final = re.compile(r"%(?:25)*2F", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class GraphRefusal(Exception):
    """An answer of Graph that is an error.

    It holds the HTTP status, code and message, headers of its own, and whether it says
    ``innerError``.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        inner_error: bool = True,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        self.inner_error = inner_error


@dataclass(frozen=True, slots=True)
class GraphCall:
    """One understood request.

    Ids are "" where the address has none; ``window`` marks a calendarView; ``malformed`` an id no
    mailbox could hold.
    """

    step: Step
    business_id: str = ""
    appointment_id: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    window: bool = False
    malformed: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came.

    ``raw_path`` is the target with its query, ``path`` and ``segments`` are decoded once; names of
    ``headers`` are lower case.

    ``at`` is in seconds since 1970; ``user`` is the ``oid`` of an accepted token, else None.
    """

    method: str
    raw_path: str
    path: str
    segments: tuple[str, ...]
    headers: dict[str, str]
    body: bytes
    at: float
    user: str | None


def split_path(raw_target: str) -> tuple[str, ...]:
    """Return the raw segments of a request target, without its query and one slash at its end."""
    return tuple(raw_target.partition("?")[0].removeprefix("/").removesuffix("/").split("/"))


def read_call(method: str, raw_target: str) -> GraphCall:
    """Understand an address.

    Errors: GraphRefusal with 400 for an unknown one, 405 for a method that does not go with it.
    """
    path, _, query = raw_target.partition("?")
    version, *rest = split_path(_ENCODED_SLASH.sub("/", path))  # graph-docs 3598, explorer-v4 4029
    if version not in _VERSIONS:
        raise GraphRefusal(400, "BadRequest", f"Invalid version: {unquote(version)}")
    match rest:
        case ["solutions", "bookingBusinesses", *tail]:
            pass
        case ["bookingBusinesses", *tail] if (
            version == "beta"
        ):  # v1.0 knows bookings by the solutions singleton alone
            pass
        case ["solutions", other, *_] | [other, *_]:
            raise _unknown_segment(other)
        case _:
            raise _unknown_segment("")
    call = _read_address(tail, dict(parse_qsl(query, keep_blank_values=True)))
    allowed = "POST" if call.step == "cancel" else "GET"
    if method != allowed:
        message = "Specified HTTP method is not allowed for the request target."
        raise GraphRefusal(405, "BadRequest", message, headers={"Allow": allowed})
    return call


def _read_address(tail: Sequence[str], query: Mapping[str, str]) -> GraphCall:
    match tail:
        case []:
            return GraphCall("list_businesses", query=query)
        case [business, "appointments"]:
            return GraphCall(
                "list_appointments", unquote(business), malformed=_is_malformed(business)
            )
        case [business, "calendarView"]:
            return GraphCall(
                "list_appointments",
                unquote(business),
                query=query,
                window=True,
                malformed=_is_malformed(business),
            )
        case [business, "appointments", appointment]:
            return GraphCall(
                "get",
                unquote(business),
                unquote(appointment),
                malformed=_is_malformed(business) or _is_malformed(appointment),
            )
        case [business, "appointments", appointment, "cancel"]:
            return GraphCall(
                "cancel",
                unquote(business),
                unquote(appointment),
                malformed=_is_malformed(business) or _is_malformed(appointment),
            )
        case _:
            raise _unknown_segment(tail[-1])


def read_cancellation_message(content_type: str, content_encoding: str, body: bytes) -> str:
    """Return the message of a cancel, "" where it has none.

    Errors: GraphRefusal with 400 for a body that is no JSON object (a compressed one is not read
    either), and 500 with an empty message for members the action does not have, as reported of
    Bookings for a body made for another action.
    """
    members = (
        _json_or_none(body)
        if content_type == "application/json" and content_encoding in ("", "identity")
        else None
    )
    if not isinstance(members, dict):
        unreadable = (
            "Unable to read JSON request payload. Please ensure Content-Type header is set and "
            "payload is of valid JSON format."
        )
        raise GraphRefusal(400, "BadRequest", unreadable)
    if members.keys() - {"cancellationMessage"}:
        raise GraphRefusal(500, "UnknownError", "")
    message = members.get("cancellationMessage")
    if message is not None and not isinstance(message, str):
        raise GraphRefusal(
            400,
            "BadRequest",
            "Cannot convert the value of 'cancellationMessage' to the expected type 'Edm.String'.",
        )
    return message or ""


def read_window(query: Mapping[str, str]) -> tuple[datetime, datetime]:
    """Return start and end of a calendarView.

    Errors: GraphRefusal with 400 where one is missing or no time.
    """
    start, end = (
        read_moment(query.get(name, "").replace(" ", "+")) for name in ("start", "end")
    )  # an unquoted "+02:00" arrives as a space
    if start is None or end is None:
        raise GraphRefusal(400, "ErrorInvalidRequest", "The request is invalid.")
    return start, end


def read_moment(text: str) -> datetime | None:
    """Return an ISO 8601 time, UTC where it names no offset; None where it is no time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def claims_challenge(claims: str) -> dict[str, str]:
    """Return the header that asks for a new token with these claims (JSON).

    Its form is that of continuous access evaluation.
    """
    encoded = base64.b64encode(claims.encode()).decode()
    return {"WWW-Authenticate": f'{CHALLENGE}, error="insufficient_claims", claims="{encoded}"'}


def error_body(
    code: str, message: str, request_id: str = "", client_request_id: str = ""
) -> dict[str, Json]:
    """Return an error in Graph's format; without a ``request_id`` it says no ``innerError``."""
    error: dict[str, Json] = {"code": code, "message": message}
    if request_id:
        error["innerError"] = {
            "date": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()),
            "request-id": request_id,
            "client-request-id": client_request_id or request_id,
        }
    return {"error": error}


def business_json(business: seed.Business) -> dict[str, Json]:
    """Return a business as a list shows it."""
    return {"id": business.business_id, "displayName": business.display_name}


def appointment_json(appointment: seed.Appointment) -> dict[str, Json]:
    """Return an appointment.

    Times under the names the service uses (``startDateTime``), always UTC.
    """
    customers = ((appointment.customer_name, appointment.customer_email), *appointment.others)
    return {
        "@odata.type": "#microsoft.graph.bookingAppointment",
        "id": appointment.appointment_id,
        "selfServiceAppointmentId": appointment.self_service_id,
        "serviceName": appointment.service_name,
        "customerTimeZone": "UTC",
        "startDateTime": _date_time(appointment.start),
        "endDateTime": _date_time(appointment.end),
        "filledAttendeesCount": len(customers),
        "customers": [
            {
                "@odata.type": "#microsoft.graph.bookingCustomerInformation",
                "name": name,
                "emailAddress": address,
            }
            for name, address in customers
        ],
    }


def _date_time(text: str) -> dict[str, Json]:
    return {"@odata.type": "#microsoft.graph.dateTimeTimeZone", "dateTime": text, "timeZone": "UTC"}


def _json_or_none(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _is_malformed(raw_id: str) -> bool:
    if not raw_id or _BROKEN_ESCAPE.search(raw_id):
        return True
    try:
        return _CONTROL.search(unquote_to_bytes(raw_id).decode()) is not None
    except UnicodeDecodeError:
        return True


def _unknown_segment(raw_segment: str) -> GraphRefusal:
    return GraphRefusal(
        400,
        "RequestBroker--ParseUri",
        f"Resource not found for the segment '{unquote(raw_segment)}'.",
    )
