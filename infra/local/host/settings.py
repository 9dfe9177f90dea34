"""A Function App's host.json and local.settings.json, as Core Tools reads them."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.host.routing import Cors, HostError

DEFAULT_BODY_LIMIT = 104_857_600


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a settings file; an absent or empty file gives an empty one.

    Errors: HostError for anything but a JSON object.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return {}
    try:
        content = json.loads(text or "{}")
    except ValueError as error:
        raise HostError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(content, dict):
        raise HostError(f"{path} does not hold a JSON object.")
    return content


def read_cors(host: Mapping[str, Any], path: Path, instead: str | None = None) -> Cors:
    """Read ``CORS`` (a comma separated list) and ``CORSCredentials`` of ``Host``.

    They stand in local.settings.json. ``instead`` replaces the list.
    """
    listed = str(host.get("CORS") or "") if instead is None else instead
    origins = frozenset(
        origin.strip().rstrip("/") for origin in listed.split(",") if origin.strip()
    )
    cors = Cors(origins, credentials=bool(host.get("CORSCredentials", False)))
    if cors.credentials and "*" in origins:
        raise HostError(
            f"{path} asks for CORSCredentials with the origin '*', which browsers refuse: "
            "list the origins."
        )
    return cors


@dataclass(frozen=True, slots=True)
class Setup:
    """What host.json, local.settings.json and the environment say; ``body_limit`` is in bytes."""

    folder: Path
    route_prefix: str
    cors: Cors
    body_limit: int


def prepare(app_folder: Path, local_settings: Path | None, cors: str | None = None) -> Setup:
    """Read the settings files and turn this process into a worker's.

    That changes its environment, working directory and ``sys.path``. ``cors`` is a list of origins
    that replaces the files'. Errors: HostError.
    """
    folder = app_folder.resolve()
    path = (local_settings or folder / "local.settings.json").absolute()
    settings, host_json = read_json(path), read_json(folder / "host.json")
    if settings.get("IsEncrypted"):
        raise HostError(f"{path} is encrypted: run 'func settings decrypt' first.")
    for name, value in (settings.get("Values") or {}).items():
        os.environ.setdefault(name, "" if value is None else str(value))
    os.environ.setdefault("AZURE_FUNCTIONS_ENVIRONMENT", "Development")  # as Core Tools does
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    limit = os.environ.get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", "")
    return Setup(
        folder,
        host_json.get("extensions", {}).get("http", {}).get("routePrefix", "api"),
        read_cors(settings.get("Host") or {}, path, cors),
        int(limit) if limit.isdecimal() else DEFAULT_BODY_LIMIT,
    )
