"""The HTTP trigger of this capability. The only file here that imports azure.functions."""

import hashlib

import azure.functions as func

from shared.lazy import Lazy

_LONGEST_ASKED = 2000  # characters: they are read on the event loop, for anybody
blueprint = func.Blueprint()  # type: ignore[no-untyped-call]


def _build() -> tuple[bytes, str]:
    from describe_api.documents import (
        openapi_document,  # every model of the contract: not on the way of a worker that cancels
    )

    body = openapi_document().encode()
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


_document = Lazy(_build)


@blueprint.route("v1/openapi.json", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def openapi_json(req: func.HttpRequest) -> func.HttpResponse:
    """Return the OpenAPI document, or say that the caller's copy is still right (RFC 9110 13.1.2)."""
    body, etag = await _document.aside()
    headers = {
        "Content-Type": "application/json",
        "Cache-Control": "public, max-age=300",
        "ETag": etag,
        "X-Content-Type-Options": "nosniff",
    }
    asked = req.headers.get("if-none-match", "")[:_LONGEST_ASKED]
    known = [entry.strip().removeprefix("W/") for entry in asked.split(",")]
    if etag in known or known == ["*"]:
        return func.HttpResponse(b"", status_code=304, headers=headers)
    return func.HttpResponse(body, headers=headers)
