"""Drives the running local stack from a published document with schemathesis.

``make fuzz``, and a short form of it in the tests.

Owns how schemathesis is run and what its words come to. How it judges is in ``schemathesis.toml``
and ``hooks.py``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.contract.files import OPENAPI, SWAGGER
from infra.contract.recording import REPOSITORY
from infra.local.host.process import HostProcess
from infra.local.stack import LocalStack

CONFIG = Path(__file__).with_name("schemathesis.toml")
DOCUMENTS: Mapping[str, Path] = {"openapi": OPENAPI, "swagger": SWAGGER}


@dataclass(frozen=True)
class Verdict:
    """What a run came to.

    ``cases`` were generated and judged, ``accepted`` says how many of the good ones were answered
    2xx, by operation.

    ``report`` is all that schemathesis printed.
    """

    passed: bool
    cases: int
    accepted: Mapping[str, int]
    report: str


def fuzz(
    document: Path,
    url: str,
    token: str,
    *,
    cases: int,
    seed: int | None = None,
    phases: str = "examples,coverage,fuzzing,stateful",
) -> Verdict:
    """Send generated requests to every operation of a document.

    Besides, send those that cover its schemas one by one.
    """
    with tempfile.TemporaryDirectory(prefix="fuzzing-") as folder:
        report, driven = Path(folder) / "report.json", Path(folder) / document.name
        driven.write_text(json.dumps(_to_be_driven(json.loads(document.read_text()))))
        command = [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "--config-file",
            str(CONFIG),
            "run",
            str(driven),
        ]
        command += [
            "--url",
            f"{url}/api",
            "--header",
            f"Authorization: Bearer {token}",
            "--max-examples",
            str(cases),
        ]
        command += ["--phases", phases, "--report", "json", "--report-json-path", str(report)]
        command += [] if seed is None else ["--seed", str(seed)]
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        printed = done.stdout + done.stderr
        told: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {}
    return Verdict(
        passed=done.returncode == 0 and told.get("exit_code") == 0,
        cases=told.get("test_cases", {}).get("generated", 0),
        accepted={
            name: sum(phase["accepted"] for phase in phases.values())
            for name, phases in told.get("valid_rates", {}).items()
        },
        report=printed,
    )


def _to_be_driven(document: dict[str, Any]) -> dict[str, Any]:
    """Take out what would keep schemathesis from judging.

    With a ``default`` every status is a documented one. Of OAuth 2.0 schemathesis does not know
    which credentials to take away, so the document says that the token travels in a header.
    ``hooks.py`` signs every request, those of that check included, so the check skips signatures;
    tests/integration/test_webhooks_over_http.py covers them.
    """
    schemes = (
        document["securityDefinitions"]
        if "swagger" in document
        else document["components"]["securitySchemes"]
    )
    tokens = [name for name, scheme in schemes.items() if scheme["type"] == "oauth2"]
    schemes |= {
        name: {"type": "apiKey", "in": "header", "name": "Authorization"} for name in tokens
    }
    for operation in (
        operation for methods in document["paths"].values() for operation in methods.values()
    ):
        operation["responses"].pop("default")
        asked = operation.get("security", document.get("security", []))
        operation["security"] = [
            {name: [] for name in one} for one in asked if one.keys() <= set(tokens)
        ]
    return document


def main() -> int:
    """Run both documents for as long as is asked for, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.contract.fuzzing", description=__doc__)
    parser.add_argument(
        "--cases",
        type=int,
        default=3000,
        help="generated requests per operation (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int)
    parser.add_argument("--document", choices=sorted(DOCUMENTS), action="append")
    options = parser.parse_args()
    passed = True
    with LocalStack() as stack, HostProcess(REPOSITORY, stack.environment_with_webhooks) as host:
        for name in options.document or sorted(DOCUMENTS):
            token = stack.entra.user_token(lifetime_s=6 * 3600)
            verdict = fuzz(DOCUMENTS[name], host.url, token, cases=options.cases, seed=options.seed)
            print(f"{name}: {verdict.report}\nanswered 2xx: {dict(verdict.accepted)}")  # noqa: T201
            passed = passed and verdict.passed
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
