"""Header -> the media types that it names, with their parameters. Pure.

The grammar is RFC 9110's (5.6.6, 8.3.1 and 12.5.1). Owns how to take such a header apart. Does
*not* know which types this service takes or answers.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

_LONGEST = 2000  # characters; no client needs more, and a longer header is not read at all
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a rule of HTTP's grammar
_QUOTED = r'"(?:[^"\\]|\\.)*"'
# a quotation that is not closed runs to the end, in one go
_QUOTED_OR_OPEN = rf"{_QUOTED[:-1]}+\"?"
_ENTRIES = re.compile(rf"(?:[^,\"]|{_QUOTED_OR_OPEN})++")
_PARTS = re.compile(rf"(?:[^;\"]|{_QUOTED_OR_OPEN})++")
_NAME = re.compile(rf"{_TOKEN}/{_TOKEN}")
_PARAMETER = re.compile(rf"({_TOKEN})[ \t]*=[ \t]*(?:({_TOKEN})|({_QUOTED}))")


@dataclass(frozen=True, slots=True)
class MediaType:
    """One entry of such a header; ``name`` and the parameters' names are in lower case."""

    name: str
    parameters: tuple[tuple[str, str], ...]

    def values(self, parameter: str) -> list[str]:
        """Return the values of a parameter in lower case, one for each time that it comes."""
        return [value.lower() for name, value in self.parameters if name == parameter]


def read_media_types(header: str | None) -> tuple[MediaType | None, ...]:
    """Return the entries of a header, None for each that is not of RFC 9110's form.

    Empty entries and empty parameters are ignored, as the RFC asks of a reader.
    """
    return () if header is None or len(header) > _LONGEST else _read(header)


@lru_cache(maxsize=64)  # a few clients say the same again and again
def _read(header: str) -> tuple[MediaType | None, ...]:
    entries = (entry.strip(" \t") for entry in _ENTRIES.findall(header))
    return tuple(_media_type(entry) for entry in entries if entry)


def _media_type(entry: str) -> MediaType | None:
    name, *parts = (part.strip(" \t") for part in _PARTS.findall(f" {entry}"))
    parameters = [_PARAMETER.fullmatch(part) for part in parts if part]
    if not _NAME.fullmatch(name) or not all(parameters):
        return None
    return MediaType(
        name.lower(),
        tuple(
            (found[1].lower(), found[2] or re.sub(r"\\(.)", r"\1", found[3][1:-1]))
            for found in parameters
            if found is not None
        ),
    )
