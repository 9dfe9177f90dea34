"""The operations of the service itself as callers read of them."""

from pydantic import Field

from infra.contract.operations.published import Guard, Published
from shared.serving.problems import Answer


class Health(Answer):
    """The worker answers."""

    status: str
    version: str = Field(description="Version of the service that answers.")


class Document(Answer):
    """A document in the form of OpenAPI 3.1."""

    openapi: str


GET_HEALTH = Published(
    operation_id="GetHealth",
    method="get",
    path="/health",
    tag="Service",
    summary="Say that the service answers",
    description=(
        "Answers while the worker lives. It asks nobody else, so it says nothing of Microsoft "
        "Entra ID or Microsoft Graph."
    ),
    answer=Health,
    answered="The worker answers.",
    examples=("health",),
    causes=(),
    guard=Guard.NOBODY,
)
GET_DOCUMENT = Published(
    operation_id="GetOpenApiDocument",
    method="get",
    path="/v1/openapi.json",
    tag="Service",
    summary="Get this document",
    description=(
        "Returns this document. It changes only with the service's version: send If-None-Match "
        "to get it only when it has changed."
    ),
    answer=Document,
    answered="This document.",
    examples=(),
    causes=(),
    guard=Guard.NOBODY,
)

OPERATIONS = (GET_DOCUMENT, GET_HEALTH)
