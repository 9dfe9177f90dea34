"""The operations as an OpenAPI 3.1 document. Pure.

Owns how OpenAPI 3.1 says them; its schemas are JSON Schema 2020-12. Does *not* own a word about any
operation.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infra.contract import catalogue
from infra.contract.examples import Exchanges, answers, sent
from infra.contract.operations.describe_api import GET_DOCUMENT
from infra.contract.operations.published import Guard, Published
from infra.contract.schemas import NULLABLE, Schema, schemas_of
from shared.serving.problems import Problem

_OF_PROBLEMS = ("application/json", "application/problem+json")
_SECURITY = {
    Guard.USER: [{"entra": [catalogue.SCOPE]}],
    Guard.SIGNATURE: [{"webhook": []}],
    Guard.NOBODY: [],
}


def openapi(operations: Sequence[Published], recorded: Exchanges) -> dict[str, Any]:
    """Return the document.

    ``recorded`` holds real exchanges by name; the name of a problem's exchange is its code.
    """
    models = [Problem]
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        models += [model for model in (operation.answer, operation.body) if model is not None]  # type: ignore[misc]
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, recorded)
    codes = sorted({code for operation in operations for code in operation.codes()})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": catalogue.TITLE,
            "version": catalogue.VERSION,
            "description": catalogue.DESCRIPTION + catalogue.SECTIONS,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [
            {
                "url": catalogue.BASE_PATH,
                "description": "The service that you read this document from.",
            },
            {
                "url": f"https://{{host}}{catalogue.BASE_PATH}",
                "description": "The service, for a copy of this document.",
                "variables": {
                    "host": {
                        "default": catalogue.HOST,
                        "description": (
                            "The host name of the Function App, or of what stands before it."
                        ),
                    }
                },
            },
        ],
        "tags": [
            {"name": name, "description": description}
            for name, description in catalogue.TAGS.items()
        ],
        "paths": paths,
        "components": {
            "schemas": {name: _said(schema) for name, schema in schemas_of(models).items()},
            "headers": {
                name: catalogue.RESPONSE_HEADERS[name]
                for name in _headers_that_may_be_absent(operations)
            },
            "examples": {code: _example(body) for code, body in answers(recorded, codes).items()},
            "securitySchemes": {
                "entra": {
                    "type": "oauth2",
                    "description": (
                        "An access token of Microsoft Entra ID for this API, for a signed-in "
                        "user. The scope's full name begins with the application ID URI."
                    ),
                    "flows": {
                        "authorizationCode": {
                            "authorizationUrl": catalogue.AUTHORIZATION_URL,
                            "tokenUrl": catalogue.TOKEN_URL,
                            "scopes": {
                                catalogue.SCOPE: (
                                    "Cancel and list appointments for the signed-in user."
                                )
                            },
                        }
                    },
                },
                "webhook": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "webhook-signature",
                    "description": (
                        "Signatures over webhook-id, webhook-timestamp and the bytes of the "
                        "body, as Standard Webhooks says: v1, a comma, and base64 of "
                        "HMAC-SHA256; several are separated by spaces."
                    ),
                },
            },
        },
    }


def _operation(operation: Published, recorded: Exchanges) -> dict[str, Any]:
    examples = sent(operation, recorded, catalogue.BASE_PATH)
    said: dict[str, Any] = {
        "operationId": operation.operation_id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description + _headers_said(operation),
        "security": _SECURITY[operation.guard],
    }
    if parameters := _parameters(operation, examples):
        said["parameters"] = parameters
    if operation.body is not None:
        content = {"schema": _reference(operation.body), **_one_example(examples, "body")}
        said["requestBody"] = {"required": True, "content": {"application/json": content}}
    said["responses"] = {"200": _success(operation, recorded)}
    if operation is GET_DOCUMENT:
        said["responses"]["304"] = {"description": catalogue.described(operation, 304)}
    said["responses"] |= {
        str(status): _problem(operation, status, recorded) for status in operation.rows()
    }
    # Generated clients read this for a status that is not named: a new one, or a gateway's.
    said["responses"]["default"] = {
        "description": catalogue.ANY_OTHER,
        "content": {media_type: {"schema": _reference(Problem)} for media_type in _OF_PROBLEMS},
    }
    return said


def _headers_said(operation: Published) -> str:
    """Name the headers in words, because some generators of clients ignore the list of headers."""
    named = [
        f"`{header.name}`{' (required)' if header.required else ''}" for header in operation.headers
    ]
    return f" Request headers: {', '.join(named)}." if named else ""


def _parameters(operation: Published, examples: Mapping[str, Any]) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    for where, schema in parameters_of(operation):
        limits = {
            word: value for word, value in schema.items() if word not in (NULLABLE, "description")
        }
        said.append(
            {
                **where,
                "description": schema["description"],
                "schema": limits,
                **_one_example(examples, where["name"]),
            }
        )
    said += [
        {
            "name": header.name,
            "in": "header",
            "required": header.required,
            "description": header.description,
            "schema": dict(header.schema),
            **_one_example(examples, header.name),
        }
        for header in operation.headers
    ]
    return said


def parameters_of(operation: Published) -> Iterator[tuple[dict[str, Any], Schema]]:
    """Yield an operation's parameters of path and query, each with its schema.

    The Functions host drops empty values of a query, so the service sees them as absent.
    """
    if operation.parameters is None:
        return
    for name, schema in schemas_of([operation.parameters])[operation.parameters.__name__][
        "properties"
    ].items():
        said = {
            "name": name,
            "in": "path" if f"{{{name}}}" in operation.path else "query",
            "required": name not in operation.optional,
        }
        yield said if said["required"] else {**said, "allowEmptyValue": True}, schema


def _one_example(examples: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {"example": examples[name]} if name in examples else {}


def _success(operation: Published, recorded: Exchanges) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": _reference(operation.answer)}
    if bodies := answers(recorded, operation.examples):
        content["examples"] = {name: _example(body) for name, body in bodies.items()}
    return {
        "description": catalogue.described(operation, 200),
        **_headers(operation, 200),
        "content": {"application/json": content},
    }


def _problem(operation: Published, status: int, recorded: Exchanges) -> dict[str, Any]:
    codes = [row.code for row in operation.rows()[status]]
    content: dict[str, Any] = {"schema": _reference(Problem)}
    if known := [code for code in codes if code in recorded]:
        content["examples"] = {code: {"$ref": f"#/components/examples/{code}"} for code in known}
    return {
        "description": catalogue.described(operation, status),
        **_headers(operation, status),
        "content": dict.fromkeys(_OF_PROBLEMS, content),
        "x-codes": codes,
    }


def _headers(operation: Published, status: int) -> dict[str, Any]:
    headers = catalogue.response_headers(operation, status)
    return (
        {"headers": {name: _header(name, required=required) for name, required in headers.items()}}
        if headers
        else {}
    )


def _headers_that_may_be_absent(operations: Sequence[Published]) -> list[str]:
    found = [
        catalogue.response_headers(operation, status)
        for operation in operations
        for status in (200, *operation.rows())
    ]
    return sorted({name for headers in found for name, required in headers.items() if not required})


def _header(name: str, *, required: bool) -> dict[str, Any]:
    return (
        {"required": True, **catalogue.RESPONSE_HEADERS[name]}
        if required
        else {"$ref": f"#/components/headers/{name}"}
    )


def _example(body: Any) -> dict[str, Any]:
    summary = body.get("detail") or body.get("message") if isinstance(body, dict) else None
    return {"summary": summary, "value": body} if summary else {"value": body}


def _reference(model: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _said(schema: Schema) -> Schema:
    """Say a schema in JSON Schema 2020-12."""
    said = dict(schema)
    if "$ref" in said:
        said["$ref"] = f"#/components/schemas/{said['$ref']}"
    if said.pop(NULLABLE, False):
        said["type"] = [said["type"], "null"]
    if "properties" in said:
        said["properties"] = {name: _said(member) for name, member in said["properties"].items()}
    if "items" in said:
        said["items"] = _said(said["items"])
    return said
