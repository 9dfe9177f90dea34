"""What is wrong with a request, in words for the person who sent it. Pure.

Owns the wording of faults, one per member or parameter; never repeats a value. Does *not* own any
rule.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from shared.errors import FieldFault, RequestInvalid

_MAX_FAULTS = 20


def read_request[R: BaseModel](model: type[R], given: Mapping[str, object]) -> R:
    """Return what was given as a request.

    Errors: RequestInvalid, with one entry per fault, at most twenty.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        raise invalid(*map(_fault, faults[:_MAX_FAULTS]), of=len(faults)) from None


def invalid(*faults: FieldFault, of: int = 0) -> RequestInvalid:
    """Return the error for these faults, the first of ``of`` faults in all.

    Its sentence names the first fault and says how many more there are. The log has the sentence,
    too. So the name of an unknown member, which is a caller's text, stands in ``faults`` only.
    """
    first, more = faults[0], max(of, len(faults)) - 1
    if not first.known:
        what = "The request has a member that this service does not know; errors names it"
    else:
        what = f"{'The body' if first.field == 'body' else first.field} {first.message}"
    rest = f" ({more} more fault{'s' if more > 1 else ''}; see errors)" if more else ""
    return RequestInvalid(f"{what}{rest}.", faults=faults)


def _fault(fault: Mapping[str, Any]) -> FieldFault:
    name = shown(str(fault["loc"][0])) if fault["loc"] else "body"
    match fault["type"]:
        case "missing":
            return FieldFault(name, "is required")
        case "extra_forbidden":
            return FieldFault(name, "is not a member of this request", known=False)
        case "string_type":
            return FieldFault(name, "must be a text")
        case "string_pattern_mismatch":
            return FieldFault(name, "holds characters that are not allowed")
        case "string_unicode":
            return FieldFault(name, "must not hold half of a surrogate pair")
        case _:
            text = str(fault["msg"]).removeprefix("Value error, ").removeprefix("String ")
            return FieldFault(name, text)


def shown(member: str) -> str:
    """Return a member's name in a form that is safe to repeat.

    It is bounded, and holds nothing that cannot be encoded or would break a line.
    """
    printable = "".join(character if character.isprintable() else "?" for character in member)
    return printable if len(printable) <= 64 else f"{printable[:63]}…"
