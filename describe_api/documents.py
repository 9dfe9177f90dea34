"""The published documents as they are written and served."""

import json
from typing import Any

from describe_api.catalogue import OPERATIONS
from describe_api.openapi import openapi
from describe_api.recorded import RECORDED
from describe_api.swagger import swagger


def openapi_document() -> str:
    """Return the OpenAPI 3.1 document."""
    return _written(openapi(OPERATIONS, json.loads(RECORDED)))


def swagger_document() -> str:
    """Return the Swagger 2.0 document for Power Platform."""
    return _written(swagger(OPERATIONS, json.loads(RECORDED)))


def _written(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
