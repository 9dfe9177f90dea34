"""Run all benchmarks, or those named, and print what they found.

``python -m tests.benchmarks [--json] [NAME ...]``
"""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence

from tests import benchmarks
from tests.benchmarks import Figure, as_json, as_table

_PREFIX = "bench_"


def names() -> list[str]:
    """Return the names of all benchmarks, as they are given on the command line."""
    return sorted(
        module.name.removeprefix(_PREFIX)
        for module in pkgutil.iter_modules(benchmarks.__path__)
        if module.name.startswith(_PREFIX)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print. Progress goes to standard error.

    Exit code: 0, or 2 for an unknown name.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="What parts of the service cost, and how that compares.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(names())} (default: all)"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(names()):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    figures: list[Figure] = []
    for name in options.names or names():
        print(f"measuring {name} ...", file=sys.stderr, flush=True)  # noqa: T201 - printing is its job
        figures += importlib.import_module(f"{benchmarks.__name__}.{_PREFIX}{name}").measure()
    print(as_json(figures) if options.json else as_table(figures))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
