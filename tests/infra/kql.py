"""Runs the queries of the alerts on rows that a test has collected: as much of KQL as they use.

A pipe is ``table | where .. | extend .. | summarize .. | project ..``. By luck, each expression in
it is one of Python's, too.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.infra.bicep import Deployment, at

type Row = Mapping[str, Any]


class _Dynamic:
    """A dynamic value: its members, of which one that is not there is null."""

    def __init__(self, members: Mapping[str, str]) -> None:
        self._members = members

    def __getattr__(self, name: str) -> str | None:
        return self._members.get(name)


def _toint(value: str | None) -> float:
    """Return a number; what is none compares with nothing, as null does."""
    return int(value) if value and value.isdecimal() else math.nan


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "tostring": lambda value: "" if value is None else str(value),
    "toint": _toint,
}


def _value(expression: str, row: Row) -> Any:
    python = re.sub(r"\bin \(([^()]*)\)", r"in (\1,)", expression)
    names = {**_FUNCTIONS, **row, "customDimensions": _Dynamic(row.get("customDimensions", {}))}
    return eval(python, {"__builtins__": {}}, names)


def _sum(rows: Sequence[Row], of: str) -> float:
    (what, *condition) = of.split(", ", 1)
    return math.fsum(
        _value(what, row) for row in rows if not condition or _value(condition[0], row)
    )


def run(query: str, tables: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Return the rows that a query leaves. Errors: KeyError for a table that there is not."""
    table, *steps = query.split(" | ")
    rows: list[Row] = list(tables[table])
    for step in steps:
        verb, _, rest = step.partition(" ")
        if verb == "where":
            rows = [row for row in rows if _value(rest, row)]
        elif verb == "project":
            name, _, expression = rest.partition(" = ")
            rows = [{name: _value(expression, row)} for row in rows]
        elif verb == "summarize":
            sums = re.split(r", (?=\w+ = )", rest)
            made = (re.fullmatch(r"(\w+) = sum(?:if)?\((.+)\)", one) for one in sums)
            rows = [{one[1]: _sum(rows, one[2]) for one in made if one is not None}]
            assert len(rows[0]) == len(sums), rest
        else:
            raise ValueError(f"not understood: {step}")
    return rows


def alerts(deployment: Deployment) -> dict[str, tuple[str, float]]:
    """Return the query and the threshold of each alert that is made, by its name."""
    return {
        alert["name"].removeprefix("alert-").partition("-appi-")[0]: (
            str(at(alert, "criteria.allOf.0.query")),
            float(at(alert, "criteria.allOf.0.threshold")),
        )
        for alert in deployment.all("scheduledQueryRules")
    }
