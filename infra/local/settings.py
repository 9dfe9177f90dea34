"""The settings of the service that ``make run`` starts: the stack's own, and the developer's.

Owns whose settings win. Does *not* know what a setting means.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from infra.local.host.routing import HostError
from infra.local.host.settings import read_cors, read_json

# These would make the service another application, or send it to another place.
_THE_STACKS = frozenset({
    "TENANT_ID",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "CLIENT_CERTIFICATE_PATH",
    "CLIENT_CERTIFICATE_PASSWORD",
    "MANAGED_IDENTITY_CLIENT_ID",
    "CLOUD",
    "ENTRA_AUTHORITY_HOST",
    "GRAPH_ENDPOINT",
    "CA_BUNDLE",
})  # fmt: skip


def read_local_settings(path: Path) -> dict[str, str]:
    """Return the ``Values`` of a local.settings.json, without the stack's own names.

    Without such a file there are none. Errors: RuntimeError, with a sentence for the developer.
    """
    try:
        settings = read_json(path)
    except HostError as error:
        raise RuntimeError(str(error)) from error
    values = settings.get("Values", {})
    if settings.get("IsEncrypted") or not isinstance(values, dict):
        raise RuntimeError(
            f"{path.name} is encrypted or has no object 'Values': correct it, or move it away."
        )
    return {
        name: "" if value is None else str(value)
        for name, value in values.items()
        if name not in _THE_STACKS
    }


def read_origins(path: Path) -> list[str]:
    """Return the origins of ``Host.CORS`` in a local.settings.json: pages of the developer's own.

    Errors: RuntimeError, with a sentence for the developer.
    """
    try:
        host = read_json(path).get("Host", {})
        return sorted(read_cors(host, path).origins) if isinstance(host, dict) else []
    except HostError as error:
        raise RuntimeError(str(error)) from error


def read_assignments(assignments: Iterable[str]) -> dict[str, str]:
    """Return what ``--set NAME=value`` asks for. Errors: RuntimeError, with a sentence."""
    chosen: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not (name.isidentifier() and equals):
            raise RuntimeError(f"--set wants NAME=value, not {assignment!r}.")
        if name in _THE_STACKS:
            raise RuntimeError(
                f"--set {name}: the local stack has its own tenant, credential and addresses."
            )
        chosen[name] = value
    return chosen


def environment_of(
    stack: Mapping[str, str], local: Mapping[str, str], chosen: Mapping[str, str]
) -> dict[str, str]:
    """Return the app's environment: a file's settings over the defaults, ``--set`` over the file.

    The stack's own tenant, credential and addresses win over both.
    """
    own = {name: value for name, value in stack.items() if name in _THE_STACKS}
    return {**stack, **local, **chosen, **own}
