"""The ids of Bookings as callers may send them, and the rules that all of them share.

Owns what an id may be. Does *not* know whether it exists: Microsoft Graph does.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

# The rules below in the words of JSON Schema (ECMA 262), for the published documents; without
# look-aheads, which make it hard to generate what matches.
_PUBLISHED = {
    "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*[^\s.\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$"
}


_CONTROLS = re.compile(
    r"[\x00-\x1f\x7f-\x9f]"
)  # Unicode's category Cc, which never grows (its stability policy)
_CONTROLS_IN_LINES = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def without_controls(value: str, *, lines: bool = False) -> str:
    """Return the text.

    Errors: ValueError for a control character; with ``lines`` a text may have line breaks and tabs.
    """
    if (_CONTROLS_IN_LINES if lines else _CONTROLS).search(value):
        raise ValueError("must not hold control characters")
    return value


def folded(business_id: str) -> str:
    """Return a business id for comparing: addresses do not differ by case, and no letter beyond
    ASCII turns into one of ASCII.
    """
    return business_id.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def _identifier(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    if all(
        character == "." or character.isspace() for character in value
    ):  # some of these are steps in a path
        raise ValueError("is not an id")
    return without_controls(value)


BusinessId = Annotated[
    str,
    Field(min_length=1, max_length=320, json_schema_extra=_PUBLISHED),
    AfterValidator(_identifier),
]
AppointmentId = Annotated[
    str,
    Field(min_length=1, max_length=1024, json_schema_extra=_PUBLISHED),
    AfterValidator(_identifier),
]


_URL_SAFE = str.maketrans("/+", "-_")


def url_safe(appointment_id: str) -> str:
    """Return the spelling of an appointment's id that any path can hold: ``-`` for ``/``, ``_`` for
    ``+``. Both spellings name one appointment.
    """
    return appointment_id.translate(_URL_SAFE)
