"""The HTTP triggers of what describes this service.

The only file here that imports azure.functions.
"""

import hashlib
import json
from pathlib import Path

import azure.functions as func

from describe_api.version import VERSION
from shared.lazy import Lazy
from shared.serving.endpoint import warm_up

_OPENAPI = Path(__file__).with_name("openapi.json")  # written by ``make contract``
_HEALTH = json.dumps({"status": "ok", "version": VERSION}, separators=(",", ":")).encode()
blueprint = func.Blueprint()  # type: ignore[no-untyped-call]


def _read() -> tuple[bytes, str]:
    body = _OPENAPI.read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


_document = Lazy(_read)


@blueprint.route("v1/openapi.json", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def openapi_json(req: func.HttpRequest) -> func.HttpResponse:
    """Return the OpenAPI document, or 304 if the caller's copy is current (RFC 9110 13.1.2)."""
    body, etag = await _document.aside()
    headers = {
        "Content-Type": "application/json",
        "Cache-Control": "public, max-age=300",
        "ETag": etag,
        "X-Content-Type-Options": "nosniff",
    }
    asked = req.headers.get("if-none-match", "").split(",")
    known = [entry.strip().removeprefix("W/") for entry in asked]
    if etag in known or known == ["*"]:
        return func.HttpResponse(b"", status_code=304, headers=headers)
    return func.HttpResponse(body, headers=headers)


@blueprint.route("health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def health(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - passed by name
    """Say that the worker answers, whatever Entra and Graph do.

    So trouble there never restarts this service. The first such request also warms the worker up.
    """
    warm_up()
    return func.HttpResponse(
        _HEALTH, mimetype="application/json", headers={"Cache-Control": "no-store"}
    )
