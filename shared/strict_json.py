"""What Python's JSON reader takes and JSON does not allow.

Owns its refusal, wherever a stranger's JSON is read. Does *not* read JSON.
"""

from typing import Never


def refuse_constant(name: str) -> Never:
    """Refuse NaN and the infinities; for ``parse_constant`` of ``json.loads``.

    Errors: ValueError, always.
    """
    raise ValueError(f"{name} is not JSON")
