"""The ids of Bookings as callers may send them, and the rules that all of them share.

Owns what an id may be, what is stripped from around it, and when two businesses are the same. Does
*not* know whether an id exists: Microsoft Graph does.
"""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

type Ranges = tuple[tuple[int, int], ...]

# What people paste around an id without seeing it: all white space (Unicode's White_Space), all
# format characters (category Cf: zero-width, byte order mark, direction marks), and the few letters
# that show nothing. Not the variation selectors of the basic plane: they belong to an emoji.
_UNSEEN: Ranges = (
    *((0x09, 0x0D), (0x20, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0xAD, 0xAD), (0x34F, 0x34F)),
    *((0x600, 0x605), (0x61C, 0x61C), (0x6DD, 0x6DD), (0x70F, 0x70F), (0x890, 0x891)),
    *((0x8E2, 0x8E2), (0x115F, 0x1160), (0x1680, 0x1680), (0x17B4, 0x17B5), (0x180E, 0x180E)),
    *((0x2000, 0x200F), (0x2028, 0x202F), (0x205F, 0x206F), (0x2800, 0x2800), (0x3000, 0x3000)),
    *((0x3164, 0x3164), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB)),
)
# The same beyond the basic plane. Published patterns leave these out: the regular expressions of
# .NET and of older JavaScript cannot say such a range.
_UNSEEN_BEYOND: Ranges = (
    *((0x110BD, 0x110BD), (0x110CD, 0x110CD), (0x13430, 0x1343F), (0x1BCA0, 0x1BCA3)),
    *((0x1D159, 0x1D159), (0x1D173, 0x1D17A), (0xE0000, 0xE007F), (0xE0100, 0xE01EF)),
)
BLANKS = "".join(
    chr(code) for first, last in (*_UNSEEN, *_UNSEEN_BEYOND) for code in range(first, last + 1)
)


def _written(ranges: Ranges) -> str:
    """Write ranges as the inside of a class of characters, in the words of ECMA 262."""
    return "".join(
        f"\\u{first:04x}" + (f"-\\u{last:04x}" if last > first else "") for first, last in ranges
    )


_CONTROLS = (
    r"\u0000-\u001f\u007f-\u009f"  # category Cc, which never grows (Unicode's stability policy)
)
_AROUND = _written(_UNSEEN)
_INSIDE = _CONTROLS + _written(tuple(one for one in _UNSEEN if one[0] > 0x9F))
_QUOTES = (
    "\"'`"
    r"\u00ab\u00b4\u00bb\u2018-\u201f\u2032-\u2037\u2039\u203a\u275b-\u275e\u2e42"
    r"\u300c-\u300f\u301d-\u301f\uff02\uff07\uff62\uff63"
)
_QUOTED = rf"\\*[{_QUOTES}].*[{_QUOTES}]"
_NAMED = "<[^<]*>[;,]?"
_STEP = r" *\.[. ]*"
_MAILTO = "[mM][aA][iI][lL][tT][oO] *:"
_PERCENT = "%[0-9A-Fa-f]{2}"

# One entry a rule: what an id that has been stripped must not look like, and what is said then.
_REFUSED: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(expression, re.DOTALL), fault)
    for expression, fault in (
        (f"[{_CONTROLS}]", "must not hold control characters"),
        (
            f"[{_INSIDE}{''.join(f'{chr(a)}-{chr(b)}' for a, b in _UNSEEN_BEYOND)}]",
            "must not hold invisible characters",
        ),
        (_PERCENT, "must not be percent-encoded; send it as Microsoft Graph gives it"),
        (rf"\A{_QUOTED}\Z", "must not have quotation marks around it"),
        (rf"\A{_MAILTO}", "must not begin with mailto:"),
        (rf"{_NAMED}\Z", "must be the id alone, without a name and without < and >"),
        (rf"(?:\A|[/\\]){_STEP}(?:[/\\]|\Z)", "is not an id"),  # a step of a path
    )
)
# The form of nearly all ids. None of the rules above can apply to such an id, so they are skipped.
_PLAIN = re.compile(r"[0-9A-Za-z][0-9A-Za-z@._=+-]*")
# The rules above in the words of JSON Schema, for the published documents. A test holds the two
# together. The dot means any character here: line ends come only around an id.
PUBLISHED_PATTERN = (
    rf"^[{_AROUND}]*(?! |{_MAILTO}|.*{_PERCENT}|(?:.*[/\\])?{_STEP}[/\\])"
    rf"(?!(?:{_QUOTED}|.*{_NAMED}|(?:.*[/\\])?{_STEP})[{_AROUND}]*$)"
    rf"[^{_INSIDE}]+[{_AROUND}]*$"
)


def _stripped(value: object) -> object:
    if value is None:
        raise ValueError("is required")
    stripped = value.strip(BLANKS) if isinstance(value, str) else value
    if stripped == "":
        raise ValueError("must not be blank")
    return stripped


def _identifier(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    for refused, fault in _REFUSED:
        if refused.search(value):
            raise ValueError(fault)
    return value


def _published(longest: int) -> Any:
    return Field(min_length=1, max_length=longest, json_schema_extra={"pattern": PUBLISHED_PATTERN})


# The id is kept without what was around it, and its length is counted after that.
BusinessId = Annotated[
    str, _published(320), BeforeValidator(_stripped), AfterValidator(_identifier)
]
AppointmentId = Annotated[
    str, _published(1024), BeforeValidator(_stripped), AfterValidator(_identifier)
]


_URL_SAFE = str.maketrans("/+", "-_")


def url_safe(appointment_id: str) -> str:
    """Return the spelling of an appointment's id that any path can hold.

    It has ``-`` for ``/`` and ``_`` for ``+``. Both spellings name one appointment.
    """
    return appointment_id.translate(_URL_SAFE)


def folded(business_id: str) -> str:
    """Return a business id for comparing.

    Addresses do not differ by case, and no letter beyond ASCII turns into one of ASCII.
    """
    return business_id.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")
