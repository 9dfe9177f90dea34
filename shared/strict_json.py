"""JSON as RFC 8259 has it, where a stranger or an upstream wrote it.

Owns what Python's reader takes and JSON does not allow, and that whatever cannot be read is a
ValueError. Does *not* know what a document means.
"""

import json
from typing import Any, Never


def refuse_constant(name: str) -> Never:
    """Refuse NaN and the infinities; for ``parse_constant`` of ``json.loads``.

    Errors: ValueError, always.
    """
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs more than once")
    return members


def read_object(text: str | bytes) -> dict[str, Any]:
    """Return a document that is an object. Errors: those of ``read_json``; ValueError."""
    document = read_json(text)
    if not isinstance(document, dict):
        raise ValueError("not an object")  # noqa: TRY004 - a wrong text, not a wrong type in our code
    return document


def read_json(text: str | bytes) -> Any:
    """Return the document.

    Errors: ValueError; also for a member that occurs twice, and for a text that nests too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
