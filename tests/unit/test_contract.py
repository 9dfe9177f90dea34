"""The contract: one row for every cause.

Answers are what the published models say, whatever the cause carries.
"""

import base64
import copy
import importlib
import inspect
import itertools
import json
import math
import pkgutil
import re
import timeit
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, TypeAdapter, ValidationError
from werkzeug.datastructures import Headers

from cancel_appointment import contract
from cancel_appointment.contract import CancelAnswer
from cancel_appointment.protocol.outcome import CancelOutcome, Outcome
from cancel_appointment.request import CancelRequest
from infra.local import seed
from shared import errors
from shared.errors import FacadeError, FieldFault, UpstreamAnswer
from shared.ids import BusinessId
from shared.serving import problems
from shared.serving.problems import BUG, TABLE, Problem, Reply
from tests.unit.test_architecture import FOLDERS

REQUEST_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
AUTHORIZATION_URI = (
    "https://login.microsoftonline.com/84bd8158-6d4d-4958-8b9f-9d6445542f95/oauth2/v2.0/authorize"
)
CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1600000000"}}}'
GRAPH = UpstreamAnswer("graph", 403, "ErrorAccessDenied", "7b2e1d0a")
REQUEST = CancelRequest.model_validate(
    {"businessId": seed.LUNCH_DELIVERY, "appointmentId": seed.EXAMPLE_APPOINTMENT}
)


def problem(
    error: FacadeError | None,
    *,
    accept: str | None = None,
    authorization_uri: str | None = AUTHORIZATION_URI,
) -> Reply:
    return problems.problem(error, REQUEST_ID, accept=accept, authorization_uri=authorization_uri)


def body_of(reply: Reply) -> dict[str, Any]:
    body = json.loads(reply.body)
    assert isinstance(body, dict)
    return body


# The schema that is published, and a copy that knows no member beyond it.


def _closed(schema: Any) -> Any:
    """Return a copy in which no object may have members that are not described."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(part) for name, part in schema.items()}
    if closed.get("type") == "object":
        closed["additionalProperties"] = False
    return closed


def validator(model: type[BaseModel]) -> Draft202012Validator:
    schema = _closed(model.model_json_schema(by_alias=True, mode="serialization"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


VALIDATORS: dict[type[BaseModel], Draft202012Validator] = {
    model: validator(model) for model in (CancelAnswer, Problem)
}


def check(reply: Reply, model: type[BaseModel]) -> dict[str, Any]:
    """Check what holds for every answer, and return its body."""
    body = body_of(reply)
    VALIDATORS[model].validate(body)
    assert not _nulls(body)
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    for name, value in reply.headers.items():
        assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name)
        assert re.fullmatch(r"[\x20-\x7e]*", value)
    Headers(list(reply.headers.items()))  # the platform's own class refuses line breaks
    return body


def _nulls(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_nulls(part) for part in value.values())
    return any(_nulls(part) for part in value) if isinstance(value, list) else value is None


@pytest.mark.parametrize(
    "unwanted",
    [{"code": None}, {"extra": 1}, {"retryAfterSeconds": 0}, {"upstream": {"service": 7}}],
    ids=str,
)
def test_the_validators_can_say_no(unwanted: dict[str, object]) -> None:
    body = body_of(problem(errors.AccessDenied("No.", upstream=GRAPH)))
    assert VALIDATORS[Problem].is_valid(body)
    assert not VALIDATORS[Problem].is_valid({**copy.deepcopy(body), **unwanted})


# Every cause has its row.


def _all_causes() -> list[type[FacadeError]]:
    for folder in FOLDERS:
        package = importlib.import_module(folder)
        for module in pkgutil.walk_packages(package.__path__, f"{folder}."):
            importlib.import_module(module.name)
    found = list[type[FacadeError]]()
    waiting = list[type[FacadeError]](FacadeError.__subclasses__())
    while waiting:
        cause = waiting.pop()
        waiting += cause.__subclasses__()
        if cause.__module__.partition(".")[0] in FOLDERS:
            found.append(cause)
    return sorted(set(found) - {errors.Later}, key=lambda cause: cause.__qualname__)


def _made(cause: type[FacadeError]) -> FacadeError:
    return _with(
        cause,
        {
            "reason": "A sentence.",
            "retry_after_s": 5.0,
            "required_scope": "Appointments.Cancel",
            "claims": CLAIMS,
            "upstream": GRAPH,
        },
    )


def _with(cause: Any, data: dict[str, Any]) -> FacadeError:
    """Make a cause from as much of the data as its class takes."""
    wanted = inspect.signature(cause).parameters
    error = cause(**{name: value for name, value in data.items() if name in wanted})
    assert isinstance(error, FacadeError)
    return error


@pytest.mark.parametrize("cause", _all_causes(), ids=lambda cause: cause.__qualname__)
def test_no_cause_falls_to_internal_error_by_accident(cause: type[FacadeError]) -> None:
    reply = problem(_made(cause))

    assert reply.code != BUG.code
    assert check(reply, Problem)["code"] == reply.code


def test_the_walk_finds_causes_wherever_they_are_defined() -> None:
    assert {cause.__module__ for cause in _all_causes()} >= {
        "shared.errors",
        "shared.entra.refusals",
    }
    assert set(TABLE) <= set(_all_causes())


@dataclass(frozen=True)
class Golden:
    """What a cause is answered with.

    ``challenge``: the parameters beside realm and authorization_uri, the whole of it as text, None
    for no challenge.
    """

    error: FacadeError
    status: int
    code: str
    retryable: bool = False
    retry_after: int | None = None
    challenge: dict[str, str] | str | None = None


ENCODED_CLAIMS = base64.b64encode(CLAIMS.encode()).decode()
GOLDEN = [
    Golden(
        errors.AuthorizationMalformed("Send one."),
        400,
        "invalid_request",
        challenge={"error": "invalid_request", "error_description": "Send one."},
    ),
    Golden(
        errors.RequestInvalid("See errors.", faults=(FieldFault("businessId", "is required"),)),
        400,
        "invalid_request",
    ),
    Golden(errors.BodyTooLarge("Too large."), 413, "payload_too_large"),
    Golden(errors.MediaTypeUnsupported("Send JSON."), 415, "unsupported_media_type"),
    Golden(errors.TokenMissing("No token."), 401, "missing_token", challenge={}),
    Golden(
        errors.TokenRejected("It has expired."),
        401,
        "invalid_token",
        challenge={"error": "invalid_token", "error_description": "It has expired."},
    ),
    Golden(
        errors.SignatureRefused("It proves nobody."),
        401,
        "invalid_signature",
        challenge="StandardWebhooks",
    ),
    Golden(
        errors.InteractionRequired("More is asked for.", claims=CLAIMS),
        401,
        "interaction_required",
        challenge={
            "error": "insufficient_claims",
            "error_description": "More is asked for.",
            "claims": ENCODED_CLAIMS,
        },
    ),
    Golden(
        errors.ScopeMissing("It lacks it.", required_scope="Appointments.Cancel"),
        403,
        "insufficient_scope",
        challenge={
            "error": "insufficient_scope",
            "error_description": "It lacks it.",
            "scope": "Appointments.Cancel",
        },
    ),
    Golden(errors.UserTokenRequired("An app."), 403, "user_token_required"),
    Golden(errors.CallerNotAllowed("Not listed."), 403, "caller_not_allowed"),
    Golden(errors.ConsentRequired("Nobody has."), 403, "consent_required"),
    Golden(errors.AccessDenied("Graph says no.", upstream=GRAPH), 403, "access_denied"),
    Golden(errors.RefusedByBookings("Too late.", upstream=GRAPH), 422, "refused_by_bookings"),
    Golden(errors.BusinessNotFound("No such business.", upstream=GRAPH), 404, "business_not_found"),
    Golden(errors.WebhooksOff("No key."), 404, "webhooks_not_enabled"),
    Golden(errors.IdempotencyKeyReused("Another body."), 422, "idempotency_key_reused"),
    Golden(
        errors.RequestInProgress("Running.", retry_after_s=1.0),
        409,
        "request_in_progress",
        retryable=True,
        retry_after=1,
    ),
    Golden(
        errors.Throttled("Fewer.", retry_after_s=29.2),
        429,
        "throttled",
        retryable=True,
        retry_after=30,
    ),
    Golden(errors.Overloaded("Busy."), 503, "overloaded", retryable=True, retry_after=1),
    Golden(
        errors.UpstreamUnavailable("Not there."),
        503,
        "upstream_unavailable",
        retryable=True,
        retry_after=5,
    ),
    Golden(errors.UpstreamBroken("Unusable."), 502, "upstream_error"),
    Golden(
        errors.OutcomeUnknown("Nobody knows."),
        504,
        "outcome_unknown",
        retryable=True,
        retry_after=5,
    ),
    Golden(errors.Misconfigured("The setting TENANT_ID is missing."), 500, "misconfigured"),
]


def test_every_row_of_the_table_has_a_golden_answer() -> None:
    assert [type(golden.error) for golden in GOLDEN] == list(TABLE)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: type(golden.error).__name__)
def test_each_cause_is_answered_as_the_contract_says(golden: Golden) -> None:
    reply = problem(golden.error)
    body = check(reply, Problem)

    assert (reply.status, reply.code) == (golden.status, golden.code)
    assert {
        name: body[name]
        for name in ("type", "status", "detail", "instance", "code", "retryable", "requestId")
    } == {
        "type": f"urn:bookings-cancel:problem:{golden.code}",
        "status": golden.status,
        "detail": golden.error.reason,
        "instance": f"urn:uuid:{REQUEST_ID}",
        "code": golden.code,
        "retryable": golden.retryable,
        "requestId": REQUEST_ID,
    }
    assert (reply.headers.get("Retry-After"), body.get("retryAfterSeconds")) == (
        (None, None)
        if golden.retry_after is None
        else (str(golden.retry_after), golden.retry_after)
    )
    if golden.challenge is None:
        assert "WWW-Authenticate" not in reply.headers
    elif isinstance(golden.challenge, str):
        assert reply.headers["WWW-Authenticate"] == golden.challenge
    else:
        assert parse_challenge(reply.headers["WWW-Authenticate"]) == {
            "realm": "",
            "authorization_uri": AUTHORIZATION_URI,
            **golden.challenge,
        }


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: type(golden.error).__name__)
def test_members_that_do_not_apply_are_absent(golden: Golden) -> None:
    expected = {"type", "title", "status", "detail", "instance", "code", "retryable", "requestId"}
    expected |= {"retryAfterSeconds"} if golden.retry_after is not None else set()
    expected |= (
        {"errors"}
        if isinstance(golden.error, errors.RequestInvalid) and golden.error.faults
        else set()
    )
    expected |= {"claims"} if isinstance(golden.error, errors.InteractionRequired) else set()
    expected |= {"upstream"} if golden.error.upstream else set()

    assert set(body_of(problem(golden.error))) == expected


def test_a_bug_of_ours_says_nothing_but_whom_to_ask() -> None:
    reply = problem(None)
    body = check(reply, Problem)

    assert (reply.status, reply.code, body["retryable"]) == (500, "internal_error", False)
    assert (
        body["detail"]
        == "Something unexpected happened. Quote the requestId to the operator of this service."
    )
    assert set(reply.headers) == {"Content-Type", "Cache-Control", "X-Content-Type-Options"}


def test_a_cause_that_nobody_gave_a_row_is_a_bug() -> None:
    assert problem(FacadeError("A sentence.")).code == "internal_error"


def test_a_cause_without_a_row_of_its_own_is_answered_like_the_cause_it_is_a_kind_of() -> None:
    class Revoked(errors.TokenRejected):
        """A kind of TokenRejected."""

    assert (
        problem(Revoked("It was revoked.")).headers
        == problem(errors.TokenRejected("It was revoked.")).headers
    )


def test_a_code_means_one_thing() -> None:
    rows = [*TABLE.values(), BUG]
    meanings = {
        code: {(row.status, row.retryable, row.title) for row in rows if row.code == code}
        for code in {row.code for row in rows}
    }
    assert all(len(meaning) == 1 for meaning in meanings.values())


# Waiting.


@pytest.mark.parametrize(
    ("asked_s", "told_s"),
    [
        (-math.inf, 1),
        (-5.0, 1),
        (0.0, 1),
        (0.2, 1),
        (1.0, 1),
        (1.001, 2),
        (59.5, 60),
        (3599.1, 3600),
        (3600.0, 3600),
        (3600.5, 3600),
        (math.inf, 3600),
        (math.nan, 1),
    ],
)
@pytest.mark.parametrize(
    "cause",
    [errors.Throttled, errors.RequestInProgress, errors.UpstreamUnavailable, errors.Overloaded],
)
def test_a_wait_is_whole_seconds_from_one_to_an_hour(
    cause: Any, asked_s: float, told_s: int
) -> None:
    reply = problem(cause("Wait.", retry_after_s=asked_s))

    assert reply.headers["Retry-After"] == str(told_s)
    assert check(reply, Problem)["retryAfterSeconds"] == told_s


# Details.


def test_each_fault_of_the_request_is_told() -> None:
    faults = (
        FieldFault("businessId", "is required"),
        FieldFault("été\u2026", "is not a member of this request"),
    )
    assert check(problem(errors.RequestInvalid("See errors.", faults=faults)), Problem)[
        "errors"
    ] == [
        {"field": "businessId", "message": "is required"},
        {"field": "été\u2026", "message": "is not a member of this request"},
    ]


@pytest.mark.parametrize(
    ("upstream", "told"),
    [
        (
            UpstreamAnswer("graph", 403, "ErrorAccessDenied", "7b"),
            {"service": "graph", "status": 403, "code": "ErrorAccessDenied", "requestId": "7b"},
        ),
        (
            UpstreamAnswer("entra", 400, "AADSTS65001"),
            {"service": "entra", "status": 400, "code": "AADSTS65001"},
        ),
        (UpstreamAnswer("graph"), {"service": "graph"}),
    ],
    ids=["whole", "without an id", "without an answer"],
)
def test_what_an_upstream_said_is_told_as_far_as_it_said_it(
    upstream: UpstreamAnswer, told: dict[str, object]
) -> None:
    assert (
        check(problem(errors.ConsentRequired("Nobody has.", upstream=upstream)), Problem)[
            "upstream"
        ]
        == told
    )


def test_claims_are_told_in_base64_in_the_header_and_in_the_body() -> None:
    reply = problem(errors.InteractionRequired("More.", claims=CLAIMS))

    assert base64.b64decode(body_of(reply)["claims"], validate=True).decode() == CLAIMS
    assert parse_challenge(reply.headers["WWW-Authenticate"])["claims"] == body_of(reply)["claims"]


@pytest.mark.parametrize(
    "claims",
    [None, "", '{"a":"' + "x" * 6000 + '"}'],
    ids=["none", "empty", "too long for a header"],
)
def test_claims_that_cannot_be_sent_are_left_out_of_both(claims: str | None) -> None:
    reply = problem(errors.InteractionRequired("More.", claims=claims))

    assert "claims" not in check(reply, Problem)
    assert "claims" not in parse_challenge(reply.headers["WWW-Authenticate"])


def test_without_settings_a_challenge_names_no_place_to_sign_in() -> None:
    reply = problem(errors.TokenMissing("No token."), authorization_uri=None)
    assert reply.headers["WWW-Authenticate"] == 'Bearer realm=""'


PARAMETER = re.compile(r'([a-z_]+)="([\x20\x21\x23-\x5b\x5d-\x7e]*)"')
VALUES = {
    "error": r"[a-z_]+",
    "scope": r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*",
    "claims": r"[A-Za-z0-9+/]+={0,2}",
    "authorization_uri": r"https://[!-~]+",
}


def parse_challenge(header: str) -> dict[str, str]:
    """Parse one Bearer challenge as strictly as RFC 6750 section 3 writes it.

    Values are quoted and without escapes, and each parameter comes once.
    """
    assert re.fullmatch(rf"Bearer {PARAMETER.pattern}(, {PARAMETER.pattern})*", header)
    found = PARAMETER.findall(header)
    parameters = dict[str, str](found)
    assert len(parameters) == len(found)
    for name, value in parameters.items():
        assert re.fullmatch(VALUES.get(name, r".*"), value)
    return parameters


# Content type.


@pytest.mark.parametrize(
    ("accept", "named"),
    [
        (None, False),
        ("", False),
        ("*/*", False),
        ("application/*", False),
        ("application/json", False),
        ("application/xml", False),
        ("application/problem+xml", False),
        ("application/problem+jsonx", False),
        ("text/html;x=application/problem+json", False),
        ("application/problem+json;q=0", False),
        ("application/problem+json; q=0.0", False),
        ("application/problem+json ; Q = 0.000", False),
        ("application/json, application/problem+json;q=0", False),
        ("application/problem+json", True),
        ("Application/Problem+JSON", True),
        (" application/problem+json ; q=0.001", True),
        ("application/problem+json;q=1", True),
        ("application/problem+json;charset=utf-8", True),
        ("application/json, application/problem+json", True),
        ("text/html,application/problem+json;q=0.9,*/*;q=0.8", True),
        (",,application/problem+json,", True),
        ('text/plain;x="a, b", application/problem+json', True),
        ('text/plain;x=", application/problem+json;"', False),
        ('application/problem+json;profile="a;q=0"', True),
    ],
    ids=repr,
)
def test_problem_json_is_answered_to_those_who_name_it(accept: str | None, named: bool) -> None:
    reply = problem(errors.AccessDenied("No."), accept=accept)
    assert reply.headers["Content-Type"] == (
        "application/problem+json" if named else "application/json"
    )


@pytest.mark.parametrize(
    "accept",
    [
        "," * 30_000,
        "application/problem+json" + "," * 30_000,
        "a/b;" * 15_000,
        '\\"' * 20_000,
        ", " * 990,
        '"' * 1999,
        '\\"' * 990,
        " \t" * 990 + "x",
    ],
    ids=lambda accept: f"{accept[-3:]!r} {len(accept)}",
)
def test_no_accept_header_keeps_the_event_loop_busy(accept: str) -> None:
    """The answer is made there, for strangers, too.

    The bound is generous: a millisecond was not enough before.
    """
    spent_s = min(
        timeit.repeat(
            lambda: problem(errors.AccessDenied("No."), accept=accept), number=1, repeat=10
        )
    )
    assert spent_s < 0.002


# Outcomes.


@pytest.mark.parametrize("replayed", [False, True], ids=["fresh", "replayed"])
@pytest.mark.parametrize("confirmed", [False, True], ids=["unconfirmed", "confirmed"])
@pytest.mark.parametrize("outcome", Outcome)
def test_each_outcome_is_a_200_of_the_published_shape(
    outcome: Outcome, confirmed: bool, replayed: bool
) -> None:
    reply = contract.answer(
        CancelOutcome(outcome, confirmed=confirmed, replayed=replayed), REQUEST, REQUEST_ID
    )
    body = check(reply, CancelAnswer)

    assert (reply.status, reply.code, reply.headers["Content-Type"]) == (
        200,
        outcome.value,
        "application/json",
    )
    assert body.pop("message")
    assert body == {
        "outcome": outcome.value,
        "cancelled": outcome is Outcome.CANCELLED,
        "confirmed": confirmed,
        "replayed": replayed,
        "businessId": seed.LUNCH_DELIVERY,
        "appointmentId": seed.EXAMPLE_APPOINTMENT,
        "requestId": REQUEST_ID,
    }


def test_each_outcome_has_a_sentence_of_its_own() -> None:
    outcomes = [
        CancelOutcome(outcome, confirmed=confirmed)
        for outcome, confirmed in itertools.product(Outcome, (False, True))
    ]
    sentences = {
        body_of(contract.answer(outcome, REQUEST, REQUEST_ID))["message"] for outcome in outcomes
    }
    assert len(sentences) == len(outcomes)


def test_the_message_to_the_customer_is_not_answered_back() -> None:
    request = CancelRequest.model_validate(
        {"businessId": "a", "appointmentId": "b", "cancellationMessage": "MARKER"}
    )
    assert (
        b"MARKER"
        not in contract.answer(
            CancelOutcome(Outcome.CANCELLED, confirmed=True), request, REQUEST_ID
        ).body
    )


def test_a_reply_does_not_show_its_body() -> None:
    assert "MARKER" not in repr(
        problem(errors.RequestInvalid("See errors.", faults=(FieldFault("MARKER", "is required"),)))
    )


# Whatever a cause carries.

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
hostile = texts | st.sampled_from(
    ['a"b\\c', "a\r\nSet-Cookie: x=1", "a\x00b\x7f", 'x", error="y', "\u20ac\U0001f5d3"]
)
upstreams = st.none() | st.builds(
    UpstreamAnswer,
    st.sampled_from(["entra", "graph"]),
    st.none() | st.integers(100, 599),
    st.none() | texts,
    st.none() | texts,
)
claims = st.none() | st.dictionaries(texts, texts, min_size=1).map(
    lambda members: json.dumps(members, separators=(",", ":"))
)
scopes = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"\\'), min_size=1
)


@st.composite
def causes(draw: st.DrawFn) -> FacadeError:
    """Any cause with any data its class takes."""
    data: dict[str, Any] = {
        "reason": draw(hostile),
        "upstream": draw(upstreams),
        "faults": tuple(
            FieldFault(field, message)
            for field, message in draw(st.lists(st.tuples(hostile, hostile), max_size=3))
        ),
        "claims": draw(claims),
        "required_scope": draw(scopes),
        "retry_after_s": draw(st.floats()),
    }
    return _with(draw(st.sampled_from(_all_causes())), data)


@settings(deadline=None)
@given(causes(), st.none() | hostile, st.none() | st.just(AUTHORIZATION_URI))
def test_whatever_a_cause_carries_the_answer_keeps_to_the_contract(
    error: FacadeError, accept: str | None, authorization_uri: str | None
) -> None:
    reply = problem(error, accept=accept, authorization_uri=authorization_uri)
    body = check(reply, Problem)

    assert body["detail"] == error.reason
    assert reply.headers["Content-Type"] in ("application/json", "application/problem+json")
    assert "Retry-After" not in reply.headers or 1 <= int(reply.headers["Retry-After"]) <= 3600
    if reply.headers.get("WWW-Authenticate", "StandardWebhooks") != "StandardWebhooks":
        challenge = parse_challenge(reply.headers["WWW-Authenticate"])
        assert challenge.get("claims") == body.get("claims")
        assert set(challenge) <= {
            "realm",
            "authorization_uri",
            "error",
            "error_description",
            "scope",
            "claims",
        }


def is_id(text: str) -> bool:
    try:
        return BUSINESS_ID.validate_python(text) == text
    except ValidationError:
        return False


BUSINESS_ID: TypeAdapter[str] = TypeAdapter(BusinessId)
ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=100).filter(
    is_id
)


@settings(deadline=None)
@given(ids, ids)
def test_ids_come_back_exactly_as_they_were_sent(business_id: str, appointment_id: str) -> None:
    request = CancelRequest.model_validate(
        {"businessId": business_id, "appointmentId": appointment_id}
    )
    body = check(
        contract.answer(CancelOutcome(Outcome.NOT_FOUND, confirmed=True), request, REQUEST_ID),
        CancelAnswer,
    )
    assert (body["businessId"], body["appointmentId"]) == (business_id, appointment_id)
