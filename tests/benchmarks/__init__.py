"""Benchmarks: what parts of the service cost, as ratios, because machines differ.

``python -m tests.benchmarks`` runs them all.

Each module ``bench_*.py`` has a function ``measure`` that returns its figures. This module owns how
figures are made from samples and how they are shown.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """What something costs.

    ``low`` and ``high`` are the quartiles of the samples; ``ratio`` compares the median with that
    of ``to``.
    """

    what: str
    unit: str
    median: float
    low: float
    high: float
    ratio: float | None = None
    to: str | None = None


def figure(what: str, unit: str, samples: Sequence[float], to: Figure | None = None) -> Figure:
    """Sum samples up and compare them with another figure of the same unit."""
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Figure(
        what,
        unit,
        median,
        low,
        high,
        None if to is None else median / to.median,
        None if to is None else to.what,
    )


def as_json(figures: Sequence[Figure]) -> str:
    """Return the figures as JSON, for comparison with those of another day."""
    return json.dumps([asdict(one) for one in figures], indent=2)


def as_table(figures: Sequence[Figure]) -> str:
    """Return the figures as a table for a person."""
    rows = [("", "median", "quartiles", "unit", "ratio", "to")]
    for one in figures:
        ratio = "" if one.ratio is None else f"{one.ratio:.3f}"
        rows.append(
            (
                one.what,
                f"{one.median:.4g}",
                f"{one.low:.4g} - {one.high:.4g}",
                one.unit,
                ratio,
                one.to or "",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
