"""The ids of Bookings as callers may send them, and the rules that all of them share.

Owns what an id may be. Does *not* know whether it exists: Microsoft Graph does.
"""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field

# The rules below in the words of JSON Schema (ECMA 262), for the published documents; without look-aheads, which make it hard to generate what matches.
_PUBLISHED = {"pattern": r"^[^\u0000-\u001f\u007f-\u009f]*[^\s.\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$"}


def without_controls(value: str, allowed: str = "") -> str:
    """Return the text. Errors: ValueError for a control character that is not ``allowed``."""
    if any(unicodedata.category(character) == "Cc" and character not in allowed for character in value):
        raise ValueError("must not hold control characters")
    return value


def _identifier(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    if all(character == "." or character.isspace() for character in value):  # some of these are steps in a path
        raise ValueError("is not an id")
    return without_controls(value)


BusinessId = Annotated[str, Field(min_length=1, max_length=320, json_schema_extra=_PUBLISHED), AfterValidator(_identifier)]
AppointmentId = Annotated[str, Field(min_length=1, max_length=1024, json_schema_extra=_PUBLISHED), AfterValidator(_identifier)]
