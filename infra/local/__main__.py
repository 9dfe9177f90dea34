"""``python -m infra.local run | demo | upstreams``: the whole stack on this machine."""

import argparse
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from infra.local import seed
from infra.local.console.server import Console
from infra.local.host.process import HostProcess
from infra.local.stack import LocalStack
from infra.local.tour import Style, Tour

_REPOSITORY = Path(__file__).resolve().parents[2]
_BUNDLE = _REPOSITORY / ".local" / "ca.pem"
_ENTRA_PORT, _GRAPH_PORT, _HOST_PORT = 7443, 7444, 7071
_CONSOLE_PORT, _CONSOLE_ENTRA_PORT, _CONSOLE_GRAPH_PORT = 7070, 7072, 7073


def main(arguments: list[str] | None = None) -> int:
    """Run one of the three.

    Exit codes: 0 as promised or stopped, 1 an answer was not as promised, 2 something could not be
    started.
    """
    parser = argparse.ArgumentParser(
        prog="python -m infra.local",
        description="The whole stack on this machine: Entra and Graph simulators, Functions host.",
    )
    parser.add_argument(
        "what",
        choices=("run", "demo", "upstreams"),
        help="run: tour, then keep serving; demo: the tour alone, on free ports; upstreams: only the simulators and the console",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=_HOST_PORT,
        help="of the Functions host, with run (default: %(default)s)",
    )
    parser.add_argument(
        "--telemetry",
        choices=("off", "console", "otlp"),
        default="off",
        help="with run: show spans and metrics here, or send them to a collector on http://localhost:4318 (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return (
            _demo()
            if options.what == "demo"
            else _serve(options.port if options.what == "run" else None, options.telemetry)
        )
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0
    except OSError as error:
        print(
            f"A port that the stack needs is in use ({_ENTRA_PORT}, {_GRAPH_PORT}, or one of {_CONSOLE_PORT} to {_CONSOLE_GRAPH_PORT}): "
            f"{error.strerror or error}. Stop what uses it and try again.",
            file=sys.stderr,
        )
        return 2
    except RuntimeError as error:
        print(_last_line(str(error)), file=sys.stderr)
        return 2


def _demo() -> int:
    with LocalStack() as stack, HostProcess(_REPOSITORY, stack.environment) as host:
        _welcome(host.url, stack)
        kept = Tour(host.url, stack, _style(), print).walk()
    print()
    print("Every answer was as promised." if kept else "Something was not as promised; see above.")
    return 0 if kept else 1


def _serve(port: int | None, telemetry: str) -> int:
    with ExitStack() as running:
        stack = running.enter_context(
            LocalStack(entra_port=_ENTRA_PORT, graph_port=_GRAPH_PORT, bundle=_BUNDLE)
        )
        console = Console(
            stack,
            f"http://localhost:{_HOST_PORT}",
            port=_CONSOLE_PORT,
            entra_port=_CONSOLE_ENTRA_PORT,
            graph_port=_CONSOLE_GRAPH_PORT,
        )
        running.enter_context(console)
        if port is None:
            print(
                f"Entra simulator {stack.entra_url}, Graph simulator {stack.graph_url}, their certificate authority .local/ca.pem, "
                f"console {console.url}. Ctrl-C stops all."
            )
        else:
            environment = {**stack.environment, "TELEMETRY": telemetry}
            shown = telemetry == "console"
            host = running.enter_context(
                HostProcess(_REPOSITORY, environment, port=port, cors=[console.url], echo=shown)
            )
            console.facade_url = host.url
            _welcome(host.url, stack)
            if not Tour(host.url, stack, _style(), print).walk():
                return 1
            _invite(host.url, stack, console)
        sys.stdout.flush()
        threading.Event().wait()
    return 0


def _welcome(url: str, stack: LocalStack) -> None:
    style = _style()
    print(
        style.strong(
            "Cancel Microsoft Bookings appointments through Microsoft Graph, on behalf of the caller"
        )
    )
    print(style.faint(f"   the service, on the Azure Functions runtime   {url}"))
    print(style.faint(f"   Entra ID, simulated                           {stack.entra_url}"))
    print(style.faint(f"   Microsoft Graph with Bookings, simulated      {stack.graph_url}"))


def _invite(url: str, stack: LocalStack, console: Console) -> None:
    style = _style()
    print()
    print(style.strong("Now you: in a browser"))
    print(f"""
  {console.url}         sign in as one of the staff, cancel, switch faults on
  {console.url}/docs/   the API's documentation""")
    print()
    print(style.strong("or with curl"))
    print(f"""
  TOKEN=$(curl -s --cacert .local/ca.pem {stack.entra_url}/_local/token/adele)

  curl -s {url}/api/v1/cancel-appointment \\
    -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\
    -d '{{"businessId": "{seed.LUNCH_DELIVERY}", "appointmentId": "AAMkADKnAAA=", "cancellationMessage": "See you another time."}}'

  curl -s --cacert .local/ca.pem {stack.graph_url}/_local/outbox

Book another, and let Graph's connection break after the cancel took effect:

  curl -s --cacert .local/ca.pem {stack.graph_url}/_local/appointments -H "Content-Type: application/json" \\
    -d '{{"business_id": "{seed.LUNCH_DELIVERY}", "appointment_id": "AAMkADanother="}}'
  curl -s --cacert .local/ca.pem {stack.graph_url}/_local/faults -H "Content-Type: application/json" \\
    -d '{{"step": "cancel", "when": "after", "drop": true}}'
  curl -s {url}/api/v1/cancel-appointment \\
    -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\
    -d '{{"businessId": "{seed.LUNCH_DELIVERY}", "appointmentId": "AAMkADanother="}}'

Ctrl-C stops everything.""")


def _style() -> Style:
    return Style(colour=sys.stdout.isatty())


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "The Functions host could not be started."


if __name__ == "__main__":
    sys.exit(main())
