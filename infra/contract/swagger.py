"""The actions as a Swagger 2.0 document for the connectors of Power Platform. Pure.

Owns how that format says them: every object is a definition, each status has one example, and every
name that a maker reads is an x-ms-summary. Does *not* own a word about any operation.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from infra.contract import catalogue
from infra.contract.examples import Exchanges, answers
from infra.contract.openapi import parameters_of
from infra.contract.operations.published import ForMakers, Guard, Published
from infra.contract.schemas import NULLABLE, Schema, schemas_of
from shared.serving.problems import Problem

_JSON = "application/json"
_ENTRA = "oauth2_auth"
_UNSAID = (NULLABLE, "examples", "x-ms-primary-error-message")


def swagger(operations: Sequence[Published], recorded: Exchanges) -> dict[str, Any]:
    """Return the document.

    ``recorded`` holds real exchanges by name; the name of a problem's exchange is its code.
    """
    actions = [
        (operation, operation.for_makers)
        for operation in operations
        if operation.for_makers is not None
    ]
    models = [Problem]
    paths: dict[str, dict[str, Any]] = {}
    for operation, for_makers in actions:
        models += [model for model in (operation.answer, operation.body) if model is not None]  # type: ignore[misc]
        paths.setdefault(operation.path, {})[operation.method] = _action(
            operation, for_makers, recorded
        )
    words = {
        operation.body.__name__: for_makers.members
        for operation, for_makers in actions
        if operation.body is not None
    }
    schemas = schemas_of(models)
    whole = {model.__name__ for model in models}
    return {
        "swagger": "2.0",
        "info": {
            "title": catalogue.TITLE,
            "version": catalogue.VERSION,
            "description": catalogue.DESCRIPTION,
            "contact": catalogue.CONTACT,
        },
        "host": catalogue.HOST,
        "basePath": catalogue.BASE_PATH,
        "schemes": ["https"],
        "consumes": [_JSON],
        "produces": [_JSON],
        "paths": paths,
        "definitions": {
            name: {
                **_object(schema, words.get(name, {})),
                # Nothing may stand beside a reference, so the name stands in the definition.
                **({"x-ms-summary": summary_of(name)} if name not in whole else {}),
            }
            for name, schema in schemas.items()
        },
        "securityDefinitions": {
            _ENTRA: {
                "type": "oauth2",
                "flow": "accessCode",
                "authorizationUrl": catalogue.AUTHORIZATION_URL,
                "tokenUrl": catalogue.TOKEN_URL,
                "scopes": {catalogue.SCOPE: "Cancel and list appointments for the signed-in user."},
            }
        },
        "security": [{_ENTRA: [catalogue.SCOPE]}],
        "tags": [
            {"name": name, "description": description}
            for name, description in catalogue.TAGS.items()
            if name in {operation.tag for operation, _ in actions}
        ],
        "x-ms-capabilities": {
            "testConnection": {"operationId": "ListBusinesses", "parameters": {}},
        },
        "x-ms-connector-metadata": [
            {"propertyName": "Website", "propertyValue": catalogue.WEBSITE},
            {"propertyName": "Privacy policy", "propertyValue": catalogue.PRIVACY_POLICY},
            {"propertyName": "Categories", "propertyValue": "Productivity"},
        ],
    }


def summary_of(name: str) -> str:
    """Return the name of a member or parameter in Title Case, as makers read it.

    ``businessId`` becomes Business ID.
    """
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name.removeprefix("x-"))
    return " ".join("ID" if word.lower() == "id" else word.capitalize() for word in words)


def _action(operation: Published, for_makers: ForMakers, recorded: Exchanges) -> dict[str, Any]:
    statuses = (200, *operation.rows())
    return {
        "operationId": operation.operation_id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        **for_makers.words,
        "parameters": _parameters(operation, for_makers),
        "responses": {
            **{str(status): _response(operation, status, recorded) for status in statuses},
            "default": {"description": catalogue.ANY_OTHER, "schema": _reference(Problem)},
        },
        **({"security": []} if operation.guard is Guard.NOBODY else {}),
    }


def _parameters(operation: Published, for_makers: ForMakers) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    for where, schema in parameters_of(operation):
        encoded = {"x-ms-url-encoding": "single"} if where["in"] == "path" else {}
        said.append(_parameter({**where, **encoded}, schema, for_makers))
    for header in operation.headers:
        where = {"name": header.name, "in": "header", "required": header.required}
        said.append(
            _parameter(where, {"description": header.description, **header.schema}, for_makers)
        )
    if operation.body is not None:
        said.append(
            {
                "name": "body",
                "in": "body",
                "required": True,
                "x-ms-summary": "Request",
                "description": "What to do, and with what.",
                "schema": _reference(operation.body),
            }
        )
    return said


def _parameter(where: dict[str, Any], schema: Schema, for_makers: ForMakers) -> dict[str, Any]:
    limits = {word: value for word, value in schema.items() if word != NULLABLE}
    return {
        **where,
        "x-ms-summary": summary_of(where["name"]),
        **limits,
        **for_makers.members.get(where["name"], {}),
    }


def _response(operation: Published, status: int, recorded: Exchanges) -> dict[str, Any]:
    names = [row.code for row in operation.rows().get(status, [])] or operation.examples
    example = next(iter(answers(recorded, names).values()), None)
    headers = catalogue.response_headers(operation, status)
    return {
        "description": catalogue.described(operation, status),
        "schema": _reference(operation.answer if status == 200 else Problem),
        **({"headers": {name: _header(name) for name in headers}} if headers else {}),
        **({"examples": {_JSON: example}} if example is not None else {}),
    }


def _header(name: str) -> dict[str, Any]:
    header = catalogue.RESPONSE_HEADERS[name]
    return {"description": header["description"], **header["schema"]}


def _reference(model: type) -> dict[str, str]:
    return _defined(model.__name__)


def _defined(name: str) -> dict[str, str]:
    return {"$ref": f"#/definitions/{name}"}


def _object(schema: Schema, words: Mapping[str, Mapping[str, Any]]) -> Schema:
    """Say a schema, with names for makers on its members."""
    if "$ref" in schema:
        return _defined(schema["$ref"])
    # Swagger 2.0 has no word for null, which counts as absent, nor for several examples. The
    # platform has no word for the member that clients show of a problem.
    said = {word: value for word, value in schema.items() if word not in _UNSAID}
    if "properties" in said:
        said["properties"] = {
            name: _member(name, member, words.get(name, {}))
            for name, member in said["properties"].items()
        }
    if "items" in said:
        said["items"] = _object(said["items"], {})
    return said


def _member(name: str, schema: Schema, words: Mapping[str, Any]) -> Schema:
    said = _object(schema, {})
    return said if "$ref" in said else {"x-ms-summary": summary_of(name), **said, **words}
