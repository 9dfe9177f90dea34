"""Follows the pages of one of Graph's lists, as far as there is room and time. Pure.

Owns how far to follow a list. A page may have megabytes, so only the entries to show are kept
before the next page is read. Does *not* know what a list holds, or how to read a page.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import ValidationError

from shared.errors import (
    BusinessNotFound,
    Throttled,
    UpstreamAnswer,
    UpstreamBroken,
    UpstreamUnavailable,
)
from shared.transport.deadline import Deadline

_MOST_PAGES = 10
_MOST_ENTRIES = 1000
_LONGEST_LINK = 8192
_LEAST_S = 0.5  # with less time, a page would probably come too late
_NEXT = "@odata.nextLink"

type Page = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Listed[E]:
    """The entries that could be read; ``complete`` is False when there are more."""

    entries: Sequence[E]
    complete: bool


def follow[E](
    read: Callable[[Mapping[str, str]], Page],
    query: Mapping[str, str],
    entry: Callable[[Page], E],
    deadline: Deadline,
) -> Listed[E]:
    """Return all entries, or those for which there is room and time.

    ``read`` returns the page of a query. ``entry`` returns what the list shows of one entry, or
    raises ValidationError where that has no usable id. Errors: those of ``read`` for the first
    page. If a later page does not come, the list ends there.
    """
    entries: list[E] = []
    complete = True
    for number in range(_MOST_PAGES):
        try:
            kept, whole, following = _reduce(read(query), entry, _MOST_ENTRIES - len(entries))
        except (BusinessNotFound, Throttled, UpstreamBroken, UpstreamUnavailable):
            if not number:
                raise
            break
        entries += kept
        complete = complete and whole
        if following is None:
            return Listed(entries, complete)
        if len(entries) >= _MOST_ENTRIES or deadline.remaining_s() < _LEAST_S:
            break
        query = following
    return Listed(entries, complete=False)


def _reduce[E](
    page: Page, entry: Callable[[Page], E], room: int
) -> tuple[list[E], bool, dict[str, str] | None]:
    """Return what to keep of a page: entries, whether these are all, and the next page's query."""
    found = page.get("value")
    if not isinstance(found, list):
        raise UpstreamBroken(
            "Microsoft Graph gave an answer that is not a list; nothing was changed.",
            upstream=UpstreamAnswer("graph", 200),
        )
    kept: list[E] = []
    for one in found[:room]:
        with contextlib.suppress(ValidationError):
            kept.append(entry(one if isinstance(one, Mapping) else {}))
    following = _next_query(page.get(_NEXT))
    lost = len(kept) < len(found) or (following is None and page.get(_NEXT) is not None)
    return kept, not lost, following


def _next_query(link: Any) -> dict[str, str] | None:
    """Return the query of the next page.

    Nothing else of Graph's link is used: an upstream never decides where requests go.
    """
    if not isinstance(link, str) or len(link) > _LONGEST_LINK:
        return None
    try:
        link.encode()  # no request can hold half of a surrogate pair
        return dict(parse_qsl(urlsplit(link).query, keep_blank_values=True)) or None
    except ValueError:
        return None
