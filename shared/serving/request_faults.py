"""What is wrong with a request, in words for the person who sent it. Pure.

Owns the wording of faults, one per member or parameter; never repeats a value. Does *not* own any
rule.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from shared.errors import FieldFault, RequestInvalid

_MAX_FAULTS = 20


def read_faults(error: ValidationError) -> RequestInvalid:
    """Return the error for what a model found, with one entry per fault, at most twenty."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)[
        :_MAX_FAULTS
    ]
    return invalid(*(_fault(fault) for fault in faults))


def invalid(*faults: FieldFault) -> RequestInvalid:
    """Return the error for these faults."""
    return RequestInvalid("The request is not valid; see errors.", faults=faults)


def _fault(fault: Mapping[str, Any]) -> FieldFault:
    name = shown(str(fault["loc"][0])) if fault["loc"] else "body"
    match fault["type"]:
        case "missing":
            return FieldFault(name, "is required")
        case "extra_forbidden":
            return FieldFault(name, "is not a member of this request")
        case "string_type" | "string_unicode":
            return FieldFault(name, "must be a text")
        case "string_too_short":
            return FieldFault(name, "must not be blank")
        case _:
            text = str(fault["msg"]).removeprefix("Value error, ").removeprefix("String ")
            return FieldFault(name, text)


def shown(member: str) -> str:
    """Return a member's name fit to be repeated: bounded, and free of what could not be encoded or
    would break a line.
    """
    printable = "".join(character if character.isprintable() else "?" for character in member)
    return printable if len(printable) <= 64 else f"{printable[:63]}…"
