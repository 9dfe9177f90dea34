"""CancelRequest: what a caller may ask, and every fault that a request can have.

Owns the rules for the body and the Idempotency-Key header. Does *not* know HTTP beyond the media
type and the size.
"""

import json
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from shared.errors import BodyTooLarge, FieldFault, MediaTypeUnsupported
from shared.ids import AppointmentId, BusinessId, without_controls
from shared.serving.request_faults import invalid, read_faults, shown
from shared.strict_json import refuse_constant

MAX_BODY_BYTES = 64 * 1024
_JSON_MEDIA_TYPE = re.compile(
    r'application/json\s*(;\s*charset\s*=\s*(utf-?8|"utf-?8")\s*)?', re.ASCII | re.IGNORECASE
)
_BARE_KEY = re.compile(r"[\x21\x23-\x2b\x2d-\x7e]{1,255}")
_QUOTED_KEY = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"')
IDEMPOTENCY_KEY_PATTERN = f"^(?:{_BARE_KEY.pattern}|{_QUOTED_KEY.pattern})$"
# The rules of _message in the words of JSON Schema: not blank, no control characters but line
# breaks and tabs.
_NO_CONTROLS = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f"
_PUBLISHED_MESSAGE = {
    "minLength": 1,
    "pattern": rf"^[^{_NO_CONTROLS}]*[^\s{_NO_CONTROLS}][^{_NO_CONTROLS}]*$",
}


def _message(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank; leave it out to send the default message")
    return without_controls(value, lines=True)


class CancelRequest(BaseModel):
    """Cancel one appointment of one booking business. Lengths are in characters."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        alias_generator=to_camel,
        hide_input_in_errors=True,
    )

    business_id: BusinessId = Field(
        description="Id of the booking business: the SMTP address of its mailbox."
    )
    appointment_id: AppointmentId = Field(
        description="Id of the appointment, exactly as Microsoft Graph gives it."
    )
    cancellation_message: (
        Annotated[
            str,
            Field(max_length=2000, json_schema_extra=_PUBLISHED_MESSAGE),
            AfterValidator(_message),
        ]
        | None
    ) = Field(
        default=None,
        description="Text that Microsoft Bookings mails to the customer and the staff. Leave it out to send the default text.",
        repr=False,
    )


def parse_cancel_request(content_type: str | None, body: bytes) -> CancelRequest:
    """Read a request body.

    Errors: BodyTooLarge (over 64 KiB), MediaTypeUnsupported (not declared as JSON in UTF-8),
    RequestInvalid with one entry per fault.
    """
    if len(body) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"The body is larger than {MAX_BODY_BYTES // 1024} KiB.")
    if content_type is None or not _JSON_MEDIA_TYPE.fullmatch(content_type.strip()):
        raise MediaTypeUnsupported(
            "Send the body as application/json in UTF-8, and say so in Content-Type."
        )
    try:
        parsed = _JSON.decode(body.decode("utf-8-sig"))
    except _DuplicateMemberError as error:
        raise invalid(FieldFault(error.member, "occurs more than once")) from None
    except (ValueError, RecursionError):
        raise invalid(FieldFault("body", "is not readable JSON")) from None
    if not isinstance(parsed, dict):
        raise invalid(FieldFault("body", "must be a JSON object"))
    try:
        return CancelRequest.model_validate(parsed)
    except ValidationError as error:
        raise read_faults(error) from None


def parse_idempotency_key(header: str | None) -> str | None:
    """Return the idempotency key, bare or as the quoted string of
    draft-ietf-httpapi-idempotency-key-header. Errors: RequestInvalid.
    """
    if header is None:
        return None
    value = header.strip(" \t")
    quoted = _QUOTED_KEY.fullmatch(value)
    if quoted:
        return re.sub(r"\\(.)", r"\1", quoted[1])
    if _BARE_KEY.fullmatch(value):
        return value
    raise invalid(
        FieldFault("Idempotency-Key", "must be one key of 1 to 255 printable ASCII characters")
    )


class _DuplicateMemberError(ValueError):
    def __init__(self, member: str) -> None:
        super().__init__("duplicate member")
        self.member = shown(member)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise _DuplicateMemberError(name)
        members[name] = value
    return members


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=refuse_constant)
