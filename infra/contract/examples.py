"""Recorded exchanges -> what the documents show of them. Pure.

Owns how to find a sent value in a recorded request. Does *not* know any format of documents.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from infra.contract.operations.published import Published

type Exchanges = Mapping[str, Mapping[str, Any]]


def answers(recorded: Exchanges, names: Iterable[str]) -> dict[str, Any]:
    """Return the recorded answers' bodies by name; a name without a recording is left out."""
    return {name: recorded[name]["response"]["body"] for name in names if name in recorded}


def sent(operation: Published, recorded: Exchanges, base_path: str) -> dict[str, Any]:
    """Return an example of everything that a successful request to an operation sends.

    The keys are the names of parameters and headers, and ``body``. Of several values the first
    counts.
    """
    template = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(base_path + operation.path))
    values: dict[str, Any] = {}
    for request in (recorded[name]["request"] for name in operation.examples if name in recorded):
        path, _, query = request["path"].partition("?")
        found = re.fullmatch(template, path)
        in_path = {} if found is None else found.groupdict()
        said = {name: unquote(value) for name, value in in_path.items()} | dict(parse_qsl(query))
        said |= request["headers"] | ({"body": request["body"]} if "body" in request else {})
        values = {**said, **values}
    return values
