"""``python -m infra.local run | demo | upstreams``: the whole stack on this machine.

Owns the command line and its exit codes.
"""

import argparse
import signal
import sys

from infra.local.host.process import HostProcess
from infra.local.serving import (
    CONSOLE_GRAPH_PORT,
    CONSOLE_PORT,
    ENTRA_PORT,
    GRAPH_PORT,
    HOST_PORT,
    REPOSITORY,
    serve_all,
    serve_upstreams,
    welcome,
)
from infra.local.settings import read_assignments, read_local_settings, read_origins
from infra.local.stack import LocalStack
from infra.local.tour import Style, Tour


def main(arguments: list[str] | None = None) -> int:
    """Run one of the three commands.

    Exit codes: 0 all as promised, or stopped; 1 an answer was not as promised; 2 something did not
    start.
    """
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return 0 if _run(options) else 1
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0
    except OSError as error:
        print(
            f"A port that the stack needs is in use ({ENTRA_PORT}, {GRAPH_PORT}, or one of "
            f"{CONSOLE_PORT} to {CONSOLE_GRAPH_PORT}): {error.strerror or error}. "
            "Stop what uses it and try again.",
            file=sys.stderr,
        )
        return 2
    except RuntimeError as error:
        print(_last_line(str(error)), file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.local",
        description="The whole stack on this machine: Entra and Graph simulators, Functions host.",
    )
    parser.add_argument(
        "what",
        choices=("run", "demo", "upstreams"),
        help="run: tour, then keep serving; demo: the tour alone, on free ports; "
        "upstreams: only the simulators and the console",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=HOST_PORT,
        help="of the Functions host, with run (default: %(default)s)",
    )
    parser.add_argument(
        "--telemetry",
        choices=("off", "console", "otlp"),
        help="with run: show spans and metrics here, or send them to a collector on "
        "http://localhost:4318 (the same as --set TELEMETRY=...)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="with run: a setting of the service; it wins over local.settings.json",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="with run: do not print a line for each request"
    )
    return parser


def _run(options: argparse.Namespace) -> bool:
    if options.what == "demo":
        return _demo()
    if options.what == "upstreams":
        serve_upstreams()
        return True
    chosen = read_assignments(options.set)
    if options.telemetry:
        chosen["TELEMETRY"] = options.telemetry
    file = REPOSITORY / "local.settings.json"
    return serve_all(
        options.port,
        read_local_settings(file),
        chosen,
        _style(),
        origins=read_origins(file),
        quiet=options.quiet,
    )


def _demo() -> bool:
    with LocalStack() as stack, HostProcess(REPOSITORY, stack.environment) as host:
        welcome(host.url, stack, _style())
        kept = Tour(host.url, stack, _style(), print).walk()
    print()
    print("Every answer was as promised." if kept else "Something was not as promised; see above.")
    return kept


def _style() -> Style:
    return Style(colour=sys.stdout.isatty())


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "The Functions host could not be started."


if __name__ == "__main__":
    sys.exit(main())
