"""CancelRequest: what a caller may ask, and every fault that a request can have.

Owns the rules for the body and the Idempotency-Key header. Does *not* know HTTP beyond the media
type and the size.
"""

import json
import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from shared.errors import BodyTooLarge, FieldFault, MediaTypeUnsupported
from shared.ids import BLANKS, AppointmentId, BusinessId
from shared.serving.media_types import MediaType, read_media_types
from shared.serving.request_faults import invalid, read_request, shown
from shared.strict_json import refuse_constant

MAX_BODY_BYTES = 64 * 1024
_BARE_KEY = re.compile(r"[\x21\x23-\x2b\x2d-\x7e]{1,255}")
_QUOTED_KEY = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"')
_NO_KEY = re.compile(r'[\t "\xa0]*')  # what low-code tools send for an empty box
IDEMPOTENCY_KEY_PATTERN = f"^(?:{_NO_KEY.pattern}|{_BARE_KEY.pattern}|{_QUOTED_KEY.pattern})$"
# What no mail can show: half of a surrogate pair, control characters but line breaks and tabs, and
# the two code points that XML, and with it Exchange, refuses. Of the controls some end a line.
_LINE_ENDS = re.compile(r"[\x0b\x0c\x85]")
_NOT_SHOWN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def _message(value: object) -> object:
    """Clean a message: the person wants the cancel, the text is courtesy. A blank one is none."""
    if not isinstance(value, str):
        return value
    cleaned = _NOT_SHOWN.sub("", _LINE_ENDS.sub("\n", value))
    return cleaned if cleaned.strip(BLANKS) else None


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
        description=(
            "Id of the booking business: the SMTP address of its mailbox. "
            "White space around it does not count."
        )
    )
    appointment_id: AppointmentId = Field(
        description=(
            "Id of the appointment, exactly as Microsoft Graph gives it. "
            "White space around it does not count."
        )
    )
    cancellation_message: Annotated[
        Annotated[str, Field(max_length=2000)] | None, BeforeValidator(_message)
    ] = Field(
        default=None,
        description=(
            "Text that Microsoft Bookings mails to the customer and the staff. "
            "Leave it out, or empty, to send the default text. "
            "Characters that no mail can show are dropped and do not count."
        ),
        repr=False,
    )


def parse_cancel_request(content_type: str | None, body: bytes) -> CancelRequest:
    """Read a request body.

    Errors: those of ``check_size``, MediaTypeUnsupported (not declared as JSON in UTF-8),
    RequestInvalid with one entry per fault.
    """
    check_size(body)
    declared = read_media_types(content_type)
    if not declared or not all(map(_is_json, declared)):  # a gateway may have said it twice
        raise MediaTypeUnsupported(
            "Send the body as application/json in UTF-8, and say so in Content-Type."
        )
    try:
        parsed = _JSON.decode(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise invalid(FieldFault("body", "is not readable JSON")) from None
    if not isinstance(parsed, dict):
        raise invalid(FieldFault("body", "must be a JSON object"))
    # Pydantic names no member at fault where one of the names holds half of a surrogate pair.
    named = {name.encode(errors="replace").decode(): value for name, value in parsed.items()}
    return read_request(CancelRequest, named)


def check_size(body: bytes) -> None:
    """Check that there is a body, of a size that may be read.

    Errors: RequestInvalid (nothing came), BodyTooLarge (over 64 KiB).
    """
    if not body:
        raise invalid(FieldFault("body", "is empty; send Content-Length"))
    if len(body) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"The body is larger than {MAX_BODY_BYTES // 1024} KiB.")


def parse_idempotency_key(header: str | None) -> str | None:
    """Return the idempotency key; an empty or blank one is none.

    It comes bare, or as the quoted string of draft-ietf-httpapi-idempotency-key-header.

    Errors: RequestInvalid.
    """
    if header is None or _NO_KEY.fullmatch(header.strip(" \t'")):  # a shell's '' is empty, too
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


def _is_json(declared: MediaType | None) -> bool:
    return (
        declared is not None
        and declared.name == "application/json"
        and {"utf-8", "utf8"}.issuperset(declared.values("charset"))
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            known = name in (field.alias for field in CancelRequest.model_fields.values())
            raise invalid(FieldFault(shown(name), "occurs more than once", known=known))
        members[name] = value
    return members


_JSON = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=refuse_constant)
