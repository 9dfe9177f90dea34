"""azd's ``postdeploy`` hook and the pipeline's last job: check that the service is there.

Owns the questions, the patience and the words. Azure calls a deployment succeeded even if its
workers find no function, and no log has an error (azure-functions-host 11915, 9458). So this asks
the service itself: its health, and each path that describe_api/openapi.json publishes. Sends no
token. Runs with any Python from 3.9 on, without a package and without the service's code.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
PATIENCE_S = 240.0  # a cold start after a remote build takes minutes at worst
PAUSE_S = 5.0

# From method and address to the status and the JSON of the answer, None where it is not JSON.
Ask = Callable[[str, str], tuple[int, Any]]


def find_faults(root: str, asks: Mapping[str, str], version: str, ask: Ask) -> Iterator[str]:
    """Yield what is wrong, in words; ``asks`` holds a method for each published path."""
    status, health = ask("GET", f"{root}/api/health")
    if status != 200 or not isinstance(health, dict):
        yield (
            f"GET /api/health answers {status or 'nothing'}: no function was found, or none starts"
        )
        return
    if health.get("version") != version:
        yield f"version {health.get('version', 'without a name')} still answers, not {version}"
    for path, method in asks.items():
        status, answer = ask(method, f"{root}/api{path}")
        code = answer.get("code") if isinstance(answer, dict) else None
        if status >= 500 or (status == 404 and code is None) or answer is None:
            yield f"{method} /api{path} answers {status or 'nothing'}{f' ({code})' if code else ''}"


def ask_over_http(method: str, url: str) -> tuple[int, Any]:
    """Ask once, without a token. A status of 0 means that no answer came."""
    body = b"{}" if method == "POST" else None
    headers = {"Content-Type": "application/json"} if body else {}
    # main has checked the scheme of the address.
    request = urllib.request.Request(url, data=body, headers=headers, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, _json(answer.read())
    except urllib.error.HTTPError as refused:
        return refused.code, _json(refused.read())
    except OSError:
        return 0, None


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def read_published() -> dict[str, str]:
    """Return each published path, with a value in place of a parameter, and one of its methods."""
    paths = json.loads((REPOSITORY / "describe_api/openapi.json").read_text("utf-8"))["paths"]
    return {re.sub(r"\{\w+\}", "x", path): next(iter(asks)).upper() for path, asks in paths.items()}


def read_version() -> str:
    """Return the version of this checkout: the one place where it is written."""
    text = (REPOSITORY / "describe_api" / "version.py").read_text("utf-8")
    return text.partition('\nVERSION = "')[2].partition('"')[0]


def main(
    environment: Mapping[str, str],
    ask: Ask = ask_over_http,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Ask until all is well or patience ends; return the exit code."""
    root = environment.get("SERVICE_API_URI", "").rstrip("/")
    if not re.match(r"https://|http://(localhost|127\.0\.0\.1)[:/]", f"{root}/"):
        print("SERVICE_API_URI is not set: azd env get-values shows the address of the service.")
        return 1
    patience = float(environment.get("PATIENCE_SECONDS") or PATIENCE_S)
    until = time.monotonic() + patience
    while faults := list(find_faults(root, read_published(), read_version(), ask)):
        if time.monotonic() >= until:
            print(f"Deployed, but not as it should be after {patience:.0f} s: {'; '.join(faults)}.")
            print("The log stream of the Function App in the portal says why; docs/operations.md.")
            return 1
        sleep(min(PAUSE_S, patience))
    print(f"The service answers at {root}, on every published path.")
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
