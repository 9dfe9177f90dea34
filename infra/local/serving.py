"""``make run`` and ``make upstreams``: the stack on its usual ports, while somebody uses it.

Owns what starts, which lines are shown, and what it tells the developer to try. Does *not* know how
the parts work.
"""

import base64
import sys
import textwrap
import threading
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from infra.local import seed
from infra.local.console.server import Console
from infra.local.host.process import HostProcess
from infra.local.settings import environment_of
from infra.local.stack import LocalStack
from infra.local.tour import Style, Tour

REPOSITORY = Path(__file__).resolve().parents[2]
ENTRA_PORT, GRAPH_PORT, HOST_PORT = 7443, 7444, 7071
CONSOLE_PORT, CONSOLE_ENTRA_PORT, CONSOLE_GRAPH_PORT = 7070, 7072, 7073
_BUNDLE = REPOSITORY / ".local" / "ca.pem"
_OF_A_REQUEST = ("event=request ", "event=late ")


class _Lines:
    """Shows what the host prints: all of it, or one line for each request, or nothing."""

    def __init__(self, *, everything: bool, quiet: bool) -> None:
        self._everything = everything
        self._quiet = quiet
        self.touring = True

    def __call__(self, line: str) -> None:
        if self._everything:
            sys.stdout.write(line)
        elif not (self._quiet or self.touring):
            begins = min((line.find(word) for word in _OF_A_REQUEST if word in line), default=-1)
            if begins >= 0:
                sys.stdout.write(line[begins:])
        sys.stdout.flush()


def start_stack(running: ExitStack) -> tuple[LocalStack, Console]:
    """Start the simulators and the console on their usual ports. Errors: OSError."""
    stack = running.enter_context(
        LocalStack(entra_port=ENTRA_PORT, graph_port=GRAPH_PORT, bundle=_BUNDLE)
    )
    console = Console(
        stack,
        f"http://localhost:{HOST_PORT}",
        port=CONSOLE_PORT,
        entra_port=CONSOLE_ENTRA_PORT,
        graph_port=CONSOLE_GRAPH_PORT,
    )
    return stack, running.enter_context(console)


def serve_upstreams() -> None:
    """Serve the simulators and the console alone, until somebody stops them. Errors: OSError."""
    with ExitStack() as running:
        stack, console = start_stack(running)
        print(
            f"Entra simulator {stack.entra_url}, Graph simulator {stack.graph_url}, "
            f"their certificate authority .local/ca.pem, console {console.url}. Ctrl-C stops all."
        )
        _wait()


def serve_all(
    port: int,
    local: Mapping[str, str],
    chosen: Mapping[str, str],
    style: Style,
    *,
    origins: Iterable[str],
    quiet: bool,
) -> bool:
    """Serve everything until somebody stops it; False if the tour was not as promised.

    ``local`` are the developer's settings, ``chosen`` those of the command line. ``origins`` are
    whose pages may call, beside the console. Errors: OSError, RuntimeError.
    """
    with ExitStack() as running:
        stack, console = start_stack(running)
        environment = environment_of(stack.environment_with_webhooks, local, chosen)
        lines = _Lines(everything=environment.get("TELEMETRY") == "console", quiet=quiet)
        cors = [console.url, *origins]
        host = HostProcess(REPOSITORY, environment, port=port, cors=cors, echo=lines)
        running.enter_context(host)
        console.facade_url = host.url

        # The service remembers its answers, so a reset has to restart it.
        stack.graph.after_reset = host.restart
        welcome(host.url, stack, style)
        if not Tour(host.url, stack, style, print).walk():
            return False
        _invite(host.url, stack, console, style)
        lines.touring = False
        if not quiet:
            print("\nA line for each request follows; ARGS=--quiet hides them.\n")
        _wait()
    return True


def welcome(url: str, stack: LocalStack, style: Style) -> None:
    """Print what runs where."""
    print(
        style.strong(
            "Cancel Microsoft Bookings appointments through Microsoft Graph, on behalf of "
            "the caller"
        )
    )
    print(style.faint(f"   the service, on the Azure Functions runtime   {url}"))
    print(style.faint(f"   Entra ID, simulated                           {stack.entra_url}"))
    print(style.faint(f"   Microsoft Graph with Bookings, simulated      {stack.graph_url}"))


def _wait() -> None:
    sys.stdout.flush()
    threading.Event().wait()


def _invite(url: str, stack: LocalStack, console: Console, style: Style) -> None:
    curl = "curl -s --cacert .local/ca.pem"
    json_type = '-H "Content-Type: application/json"'
    key = base64.b64decode(seed.WEBHOOK_SECRET.removeprefix("whsec_")).hex()
    print(f"\n{style.strong('Now you: in a browser')}")
    print(f"""
  {console.url}         sign in as one of the staff, cancel, break Graph
  {console.url}/docs/   the API's documentation""")
    print(f"\n{style.strong('or with curl')}")
    print(f"""
  TOKEN=$({curl} {stack.entra_url}/_local/token/adele)

  curl -s {url}/api/v1/cancel-appointment \\
    -H "Authorization: Bearer $TOKEN" {json_type} \\
    -d '{{"businessId": "{seed.LUNCH_DELIVERY}", "appointmentId": "AAMkADKnAAA="}}'

  {curl} {stack.graph_url}/_local/outbox""")
    print("\nBook another, and let Graph's connection break once, after the next cancel worked:")
    booked = f'{{"business_id": "{seed.LUNCH_DELIVERY}", "appointment_id": "AAMkADanother="}}'
    print(f"""
  {curl} {stack.graph_url}/_local/appointments {json_type} \\
    -d '{booked}'
  {curl} {stack.graph_url}/_local/faults {json_type} \\
    -d '{{"step": "cancel", "when": "after", "drop": true}}'""")
    print(f"\n{style.strong('or as a system that signs webhooks')}")
    print(f"\n  The secret is {seed.WEBHOOK_SECRET}. This cancels what you booked just now:")
    print(textwrap.indent(signed_command(url, seed.LUNCH_DELIVERY, "AAMkADanother=", key), "  "))


def signed_command(url: str, business_id: str, appointment_id: str, hex_key: str) -> str:
    """Return shell commands that sign a webhook with openssl and send it (Standard Webhooks)."""
    return f"""
ID=msg_$(date +%s) NOW=$(date +%s)
BODY='{{"businessId": "{business_id}", "appointmentId": "{appointment_id}"}}'
SIGNATURE=$(printf '%s.%s.%s' "$ID" "$NOW" "$BODY" \\
  | openssl dgst -sha256 -mac HMAC -macopt hexkey:{hex_key} -binary | base64)

curl -s {url}/api/v1/webhooks/cancel-appointment -H "Content-Type: application/json" \\
  -H "webhook-id: $ID" -H "webhook-timestamp: $NOW" -H "webhook-signature: v1,$SIGNATURE" \\
  -d "$BODY"
"""
