"""azd's ``preprovision`` hook: say what this person may not do, before anything is made.

Owns the question and the words. Asks Azure, through the Azure CLI, what the signed-in person may do
in the subscription. Does *not* look into Entra ID. Stays silent where it cannot ask the CLI; Azure
itself then refuses half way through. Runs with any Python from 3.9 on, without a package.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

# What `azd provision` does first and last, and the role for each. Contributor allows only the
# first.
NEEDED: Mapping[str, str] = {
    "Microsoft.Resources/subscriptions/resourceGroups/write": "Contributor",
    "Microsoft.Authorization/roleAssignments/write": "Role Based Access Control Administrator",
}


def find_missing(permissions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the roles to ask for.

    ``permissions`` is Azure's answer, with an entry for each role that the person holds.
    """
    for action, role in NEEDED.items():
        if not any(_grants(held, action) for held in permissions):
            yield role


def _grants(held: Mapping[str, Any], action: str) -> bool:
    granted, taken_out = (
        any(fnmatchcase(action.lower(), pattern.lower()) for pattern in held.get(kind) or ())
        for kind in ("actions", "notActions")
    )
    return granted and not taken_out


def read_permissions(subscription: str) -> list[Mapping[str, Any]] | None:
    """Ask Azure; None where the Azure CLI is not there, or nobody is signed in to it."""
    az = shutil.which("az")
    if az is None or not subscription:
        return None
    path = "providers/Microsoft.Authorization/permissions?api-version=2022-04-01"
    command = [az, "rest", "--method", "get", "--url", f"/subscriptions/{subscription}/{path}"]
    # The command is the CLI on the path.
    asked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    try:
        return list(json.loads(asked.stdout)["value"])
    except (ValueError, KeyError):
        return None


def main(environment: Mapping[str, str]) -> int:
    """Return 1, and say in one sentence whom to ask for what, where a role is missing."""
    subscription = environment.get("AZURE_SUBSCRIPTION_ID", "")
    permissions = read_permissions(subscription)
    if permissions is None:
        print("Not checked what you may do: no subscription is chosen, or az login is missing.")
        return 0
    missing = list(find_missing(permissions))
    if missing:
        print(
            f"You cannot deploy into the subscription {subscription}: ask its owner for the role"
            f" {' and the role '.join(missing)} in it (or for Owner), sign in again and repeat."
            " Nothing was made."
        )
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
