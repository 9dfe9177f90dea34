"""Error -> status, headers, JSON: every answer that is not a success, from one table. Pure.

Every action of this service uses it. Owns every problem's status code, ``code`` and title, and the
headers that all answers share. Does *not* know what an action answers when it succeeds.
"""

import base64
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from shared import errors
from shared.errors import FacadeError
from shared.serving.media_types import read_media_types

_LONGEST_WAIT_S = 3600
_MAX_HEADER_CLAIMS_CHARS = 6000
_PROBLEM_JSON = "application/problem+json"
_NO_WEIGHT = re.compile(r"0(\.0{0,3})?")


class Answer(BaseModel):
    """The base of every JSON answer: camelCase on the wire.

    Pydantic builds the writer of a kind of answer with its first answer; most kinds never occur.
    """

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, defer_build=True
    )


def open_list(*known: str) -> WithJsonSchema:
    """Mark a member to which values may be added: a text, with the values that are known today.

    As an ``enum`` in the documents, a new value would make generated clients lose the whole answer.
    """
    return WithJsonSchema(
        {"type": "string", "x-extensible-enum": list(known), "examples": list(known)}
    )


class FaultAnswer(Answer):
    """One fault of the request."""

    field: str = Field(description="The member or header at fault.")
    message: str = Field(description="What is wrong with it. The wording may change.")


class UpstreamAnswer(Answer):
    """What the service behind this one said."""

    service: Annotated[Literal["entra", "graph"], open_list("entra", "graph")] = Field(
        description=(
            "Which one: entra (Microsoft Entra ID) or graph (Microsoft Graph). An open list: "
            "treat a value that you do not know as another service."
        )
    )
    status: int | None = Field(
        default=None, description="Its HTTP status. Absent if it did not answer."
    )
    code: str | None = Field(
        default=None, description="Its own error code. Absent if it gave none."
    )
    request_id: str | None = Field(default=None, description="Quote this to Microsoft's support.")


class Problem(Answer):
    """Anything but an outcome (RFC 9457).

    Members that do not apply are absent. Decide on ``code`` and ``retryable``, never on texts.
    """

    type: str = Field(description="The kind of problem as a URN, which ends in the code.")
    title: str = Field(description="The kind of problem in words. The wording may change.")
    status: int = Field(description="The HTTP status of this answer.")
    detail: str = Field(
        description=(
            "What happened this time, in one sentence for a person. The wording may change."
        ),
        json_schema_extra={"x-ms-primary-error-message": True},
    )
    instance: str = Field(description="This answer as a URN, which ends in the request id.")
    code: str = Field(
        description=(
            "The kind of problem. An open list: treat a code that you do not know by its status "
            "and retryable."
        )
    )
    retryable: bool = Field(
        description=(
            "True when the same request, sent again unchanged, may succeed. A repeat never "
            "cancels twice."
        )
    )
    request_id: str = Field(
        description="Quote this to the operator of this service.",
        json_schema_extra={"format": "uuid"},
    )
    retry_after_seconds: Annotated[int, Field(ge=1, le=_LONGEST_WAIT_S)] | None = Field(
        default=None,
        description="Seconds to wait before you repeat the request; the same as Retry-After.",
    )
    errors: tuple[FaultAnswer, ...] | None = Field(
        default=None, description="The faults of the request, one by one."
    )
    claims: str | None = Field(
        default=None,
        description="Base64 of the claims challenge, for the next sign-in (MSAL: claims).",
    )
    upstream: UpstreamAnswer | None = Field(
        default=None, description="What the service behind this one said, if it was asked."
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: how to answer one cause.

    ``error`` is the RFC 6750 error code of the challenge, if it has one. ``scheme`` is the
    challenge's. RFC 9110 asks for a challenge with every 401, and Bearer would make a webhook's
    sender look for a token.
    """

    status: HTTPStatus
    code: str
    retryable: bool
    title: str
    challenge: bool = False
    error: str | None = None
    scheme: Literal["Bearer", "StandardWebhooks"] = "Bearer"


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer. ``code`` is the outcome or the problem's code, for the log."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    code: str


TABLE: Mapping[type[FacadeError], Row] = {
    errors.AuthorizationMalformed: Row(
        HTTPStatus.BAD_REQUEST,
        "invalid_request",
        retryable=False,
        title="The request is not valid",
        challenge=True,
        error="invalid_request",
    ),
    errors.RequestInvalid: Row(
        HTTPStatus.BAD_REQUEST, "invalid_request", retryable=False, title="The request is not valid"
    ),
    errors.BodyTooLarge: Row(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "payload_too_large",
        retryable=False,
        title="The body is too large",
    ),
    errors.MediaTypeUnsupported: Row(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        retryable=False,
        title="The body is not JSON",
    ),
    errors.TokenMissing: Row(
        HTTPStatus.UNAUTHORIZED,
        "missing_token",
        retryable=False,
        title="A token is needed",
        challenge=True,
    ),
    errors.TokenRejected: Row(
        HTTPStatus.UNAUTHORIZED,
        "invalid_token",
        retryable=False,
        title="The token is not accepted",
        challenge=True,
        error="invalid_token",
    ),
    errors.SignatureRefused: Row(
        HTTPStatus.UNAUTHORIZED,
        "invalid_signature",
        retryable=False,
        title="The signature is not accepted",
        challenge=True,
        scheme="StandardWebhooks",
    ),
    errors.InteractionRequired: Row(
        HTTPStatus.UNAUTHORIZED,
        "interaction_required",
        retryable=False,
        title="The user has to sign in again",
        challenge=True,
        error="insufficient_claims",
    ),
    errors.ScopeMissing: Row(
        HTTPStatus.FORBIDDEN,
        "insufficient_scope",
        retryable=False,
        title="The token lacks a scope",
        challenge=True,
        error="insufficient_scope",
    ),
    errors.UserTokenRequired: Row(
        HTTPStatus.FORBIDDEN,
        "user_token_required",
        retryable=False,
        title="A user's token is needed",
    ),
    errors.CallerNotAllowed: Row(
        HTTPStatus.FORBIDDEN,
        "caller_not_allowed",
        retryable=False,
        title="The caller is not allowed",
    ),
    errors.ConsentRequired: Row(
        HTTPStatus.FORBIDDEN, "consent_required", retryable=False, title="Consent is missing"
    ),
    errors.AccessDenied: Row(
        HTTPStatus.FORBIDDEN, "access_denied", retryable=False, title="Access is denied"
    ),
    errors.RefusedByBookings: Row(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "refused_by_bookings",
        retryable=False,
        title="Microsoft Bookings does not allow this cancel",
    ),
    errors.BusinessNotFound: Row(
        HTTPStatus.NOT_FOUND,
        "business_not_found",
        retryable=False,
        title="There is no such booking business",
    ),
    errors.WebhooksOff: Row(
        HTTPStatus.NOT_FOUND,
        "webhooks_not_enabled",
        retryable=False,
        title="This service takes no webhooks",
    ),
    errors.IdempotencyKeyReused: Row(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "idempotency_key_reused",
        retryable=False,
        title="The idempotency key belongs to another request",
    ),
    errors.RequestInProgress: Row(
        HTTPStatus.CONFLICT,
        "request_in_progress",
        retryable=True,
        title="The same request is still running",
    ),
    errors.Throttled: Row(
        HTTPStatus.TOO_MANY_REQUESTS,
        "throttled",
        retryable=True,
        title="Too many requests upstream",
    ),
    errors.Overloaded: Row(
        HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", retryable=True, title="This service is busy"
    ),
    errors.UpstreamUnavailable: Row(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "upstream_unavailable",
        retryable=True,
        title="Microsoft could not be reached",
    ),
    errors.UpstreamBroken: Row(
        HTTPStatus.BAD_GATEWAY,
        "upstream_error",
        retryable=False,
        title="Microsoft gave no usable answer",
    ),
    errors.OutcomeUnknown: Row(
        HTTPStatus.GATEWAY_TIMEOUT,
        "outcome_unknown",
        retryable=True,
        title="It is not known yet whether the appointment was cancelled",
    ),
    errors.Misconfigured: Row(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "misconfigured",
        retryable=False,
        title="This service is not set up correctly",
    ),
}
BUG = Row(
    HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", retryable=False, title="This service failed"
)


def success(body: Answer, code: str) -> Reply:
    """Return a 200 with this body; ``code`` is what the log says of it."""
    return Reply(200, _headers("application/json"), _json(body), code)


def problem(
    error: FacadeError | None, request_id: str, *, accept: str | None, authorization_uri: str | None
) -> Reply:
    """Return the answer to anything else; ``error`` None means a bug of ours.

    ``accept`` is the caller's Accept header. Only callers who name ``application/problem+json`` get
    it, because low-code tools parse nothing but ``application/json``. ``authorization_uri`` goes
    into challenges.
    """
    row = BUG if error is None else _row(error)
    retry_after_s = getattr(error, "retry_after_s", None)
    wait_s = (
        None if retry_after_s is None else math.ceil(min(_LONGEST_WAIT_S, max(1.0, retry_after_s)))
    )
    faults = error.faults if isinstance(error, errors.RequestInvalid) else ()
    upstream = error.upstream if error is not None else None
    claims = _claims(error)
    body = Problem(
        type=f"urn:bookings-cancel:problem:{row.code}",
        title=row.title,
        status=row.status.value,
        detail=error.reason
        if error is not None
        else "Something unexpected happened. Quote the requestId to the operator of this service.",
        instance=f"urn:uuid:{request_id}",
        code=row.code,
        retryable=row.retryable,
        request_id=request_id,
        retry_after_seconds=wait_s,
        errors=tuple(FaultAnswer(field=fault.field, message=fault.message) for fault in faults)
        or None,
        claims=claims,
        upstream=UpstreamAnswer(
            service=upstream.service,
            status=upstream.status,
            code=upstream.code,
            request_id=upstream.request_id,
        )
        if upstream
        else None,
    )
    headers = _headers(_PROBLEM_JSON if _names_problem_json(accept) else "application/json")
    if wait_s is not None:
        headers["Retry-After"] = str(wait_s)
    if row.challenge:
        headers["WWW-Authenticate"] = _challenge(row, error, authorization_uri, claims)
    return Reply(row.status.value, headers, _json(body), row.code)


def _row(error: FacadeError) -> Row:
    for cause in type(error).__mro__:
        if cause in TABLE:
            return TABLE[cause]
    return BUG


def _headers(content_type: str) -> dict[str, str]:
    return {
        "Content-Type": content_type,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }


def _json(body: BaseModel) -> bytes:
    return body.model_dump_json(by_alias=True, exclude_none=True).encode()


def _names_problem_json(accept: str | None) -> bool:
    """Tell whether the header names the media type, with a weight above zero (RFC 9110 12.5.1)."""
    named = next(
        (one for one in read_media_types(accept) if one and one.name == _PROBLEM_JSON), None
    )
    return named is not None and not any(_NO_WEIGHT.fullmatch(q) for q in named.values("q"))


def _claims(error: FacadeError | None) -> str | None:
    """Return the claims challenge as clients of Entra expect it: in base64.

    The source is learn.microsoft.com/entra/identity-platform/claims-challenge.
    """
    claims = error.claims if isinstance(error, errors.InteractionRequired) else None
    encoded = base64.b64encode(claims.encode()).decode() if claims else None
    return encoded if encoded and len(encoded) <= _MAX_HEADER_CLAIMS_CHARS else None


def _challenge(
    row: Row, error: FacadeError | None, authorization_uri: str | None, claims: str | None
) -> str:
    """Return one challenge.

    A Bearer challenge (RFC 6750 section 3) has each parameter once, and each value has only the
    characters that the RFC allows.
    """
    if row.scheme != "Bearer":
        return row.scheme
    parameters = {"realm": "", "authorization_uri": authorization_uri, "error": row.error}
    if row.error is not None and error is not None:
        parameters["error_description"] = error.reason
    if isinstance(error, errors.ScopeMissing):
        parameters["scope"] = error.required_scope
    parameters["claims"] = claims
    return "Bearer " + ", ".join(
        f'{name}="{_quotable(value)}"' for name, value in parameters.items() if value is not None
    )


def _quotable(value: str) -> str:
    return re.sub(r"[^\x20\x21\x23-\x5b\x5d-\x7e]", " ", value)
