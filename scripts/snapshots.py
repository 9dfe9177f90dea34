"""``make snapshots``: what a deployment would make, as files, so that a diff shows a change.

Owns how to find and ask Microsoft's Bicep compiler, and the order of a snapshot. Does *not* judge
what is in it: tests/infra does. Needs no subscription, and no network once the modules that the
template names are restored.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "infra/snapshots"
# All snapshots come from one version: another may word an expression differently.
VERSION = "0.49.2"

type Snapshot = Mapping[str, Any]

# Made up. The snapshots show them.
_PLACE = (
    "--subscription-id=00000000-0000-0000-0000-000000000001",
    "--tenant-id=00000000-0000-0000-0000-000000000002",
    "--location=westeurope",
)


class Refused(Exception):
    """The compiler does not accept a template; the text is its own."""


def find_compiler() -> str | None:
    """Return the compiler that BICEP names, or the one on the path; None where there is none."""
    return shutil.which(os.environ.get("BICEP") or "bicep")


def run(compiler: str, *arguments: str | Path) -> str:
    """Run the compiler and return what it prints. Errors: Refused, also if it only warns."""
    command = [compiler, *map(str, arguments)]
    # The command is the compiler that the developer named.
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)  # noqa: S603
    if done.returncode or done.stderr.strip():
        raise Refused(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def file_of(parameters: Path) -> Path:
    """Return where the compiler writes the snapshot of a .bicepparam, and where it is kept."""
    return parameters.with_suffix(".snapshot.json")


def evaluate(compiler: str, parameters: Path) -> Snapshot:
    """Return the resources that a .bicepparam would make. Errors: Refused."""
    run(compiler, "snapshot", parameters, "--mode", "overwrite", *_PLACE)
    snapshot = json.loads(file_of(parameters).read_text("utf-8"))
    # The compiler's order changes from run to run.
    snapshot["predictedResources"].sort(key=lambda resource: json.dumps(resource, sort_keys=True))
    return {name: snapshot[name] for name in ("predictedResources", "outputs")}


def as_text(snapshot: Snapshot) -> str:
    """Return a snapshot as it is kept."""
    return json.dumps(snapshot, indent=2, sort_keys=True) + "\n"


def main() -> int:
    """Write every snapshot again."""
    compiler = find_compiler()
    if compiler is None:
        print("There is no Bicep compiler on the PATH (az bicep install), and BICEP names none.")
        return 1
    for parameters in sorted(FOLDER.glob("*.bicepparam")):
        kept = file_of(parameters)
        kept.write_text(as_text(evaluate(compiler, parameters)), "utf-8")
        print(kept.relative_to(REPOSITORY))
    return 0


if __name__ == "__main__":
    sys.exit(main())
