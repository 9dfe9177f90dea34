"""V1 as it was promised.

What callers rely on is recorded in golden/v1.json. A change of it is either additive or not v1.
"""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from infra.contract.files import GOLDEN, OPENAPI, golden, may_be_recorded
from infra.contract.golden import Change, Facts, compare, surface

BREAKS = (
    "This is not v1 any more, and callers who kept to v1 would notice. Make the change additive, "
    "or leave v1 as it is and begin v2 beside it."
)
GROWS = (
    "v1 has grown, which it may. Run `make contract` to record it, and commit what it writes "
    "together with the change and a line in CHANGELOG.md."
)


def recorded() -> Facts:
    record: Facts = json.loads(GOLDEN.read_text())
    return record


def test_v1_is_what_was_promised() -> None:
    changes = compare(recorded(), golden())
    assert not [change for change in changes if change.breaking], "\n".join(
        [BREAKS, *map(str, changes)]
    )
    assert not changes, "\n".join([GROWS, *map(str, changes)])
    assert recorded() == golden(), GROWS


def test_the_record_holds_what_a_caller_relies_on() -> None:
    cancel = recorded()["operations"]["CancelAppointment"]
    assert cancel["address"] == "POST /v1/cancel-appointment"
    assert cancel["asked"]["body businessId"]["maxLength"] == 320
    assert cancel["answers"]["409"]["codes"] == {"request_in_progress": True}
    assert cancel["answers"]["409"]["headers"]["Retry-After"] is True
    for body, member, known in (
        ("CancelAnswer", "outcome", ["cancelled", "not_found"]),
        ("Problem", "upstream.service", ["entra", "graph"]),
    ):
        assert recorded()["bodies"][body][member]["x-extensible-enum"] == known
    assert (
        recorded()["bodies"]["AppointmentsAnswer"]["appointments[].appointmentId"]["required"]
        is True
    )


# The judge, with changes of both kinds.

type Edit = Callable[[dict[str, Any]], object]


def operation(document: dict[str, Any], operation_id: str = "CancelAppointment") -> dict[str, Any]:
    for methods in document["paths"].values():
        for found in methods.values():
            if found["operationId"] == operation_id:
                assert isinstance(found, dict)
                return found
    raise AssertionError(operation_id)


def model(document: dict[str, Any], name: str) -> dict[str, Any]:
    found = document["components"]["schemas"][name]
    assert isinstance(found, dict)
    return found


def member(document: dict[str, Any], name: str, of: str) -> dict[str, Any]:
    found = model(document, name)["properties"][of]
    assert isinstance(found, dict)
    return found


def rename(members: dict[str, Any], old: str, new: str) -> None:
    members[new] = members.pop(old)


def move(document: dict[str, Any], old: str, new: str) -> None:
    rename(document["paths"], old, new)


def move_code(document: dict[str, Any]) -> None:
    responses = operation(document)["responses"]
    responses["422"]["x-codes"] = ["request_in_progress"]
    responses["409"]["x-codes"] = ["idempotency_key_reused"]


def answers_of(document: dict[str, Any], status: str) -> dict[str, Any]:
    found = operation(document)["responses"][status]
    assert isinstance(found, dict)
    return found


def outcome(document: dict[str, Any]) -> dict[str, Any]:
    return member(document, "CancelAnswer", "outcome")


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """Make a list of values closed. None is today; one that is closed stays as it is."""
    service = member(document, "UpstreamAnswer", "service")
    service.setdefault("enum", ["entra", "graph"])
    return service


BEFORE: dict[str, Edit] = {
    "an open request is closed": lambda d: ADDITIVE["a closed request is opened"](d),
    "a value of a closed list is new": closed,
    "a closed list is opened": closed,
}
BREAKING: dict[str, Edit] = {
    "an operation is removed": lambda d: d["paths"].pop("/v1/businesses"),
    "an operation is renamed": lambda d: operation(d).update(operationId="CancelBooking"),
    "an operation moves": lambda d: move(d, "/v1/cancel-appointment", "/v1/cancel"),
    "an operation changes its method": lambda d: rename(
        d["paths"]["/v1/cancel-appointment"], "post", "put"
    ),
    "an open operation asks for a token": lambda d: operation(d, "GetHealth").update(
        security=[{"entra": []}]
    ),
    "another scope is asked for": lambda d: operation(d).update(
        security=[{"entra": ["Another.Scope"]}]
    ),
    "a status is removed": lambda d: operation(d)["responses"].pop("409"),
    "a success with another status": lambda d: operation(d)["responses"].update(
        {"202": {"description": "Later."}}
    ),
    "a code is removed": lambda d: answers_of(d, "401")["x-codes"].remove("interaction_required"),
    "a code is renamed": lambda d: answers_of(d, "429").update({"x-codes": ["too_many_requests"]}),
    "codes change places": move_code,
    "a header is removed": lambda d: answers_of(d, "429")["headers"].pop("Retry-After"),
    "a header comes only sometimes": lambda d: answers_of(d, "401")["headers"][
        "WWW-Authenticate"
    ].pop("required"),
    "a media type is no longer answered": lambda d: answers_of(d, "400")["content"].pop(
        "application/problem+json"
    ),
    "a media type is no longer taken": lambda d: rename(
        operation(d)["requestBody"]["content"], "application/json", "text/json"
    ),
    "a member of an answer is removed": lambda d: model(d, "CancelAnswer")["properties"].pop(
        "confirmed"
    ),
    "a member of an answer is renamed": lambda d: rename(
        model(d, "CancelAnswer")["properties"], "message", "text"
    ),
    "a member of an answer may be absent": lambda d: model(d, "CancelAnswer")["required"].remove(
        "requestId"
    ),
    "a member of an answer may be null": lambda d: member(d, "CancelAnswer", "message").update(
        type=["string", "null"]
    ),
    "a member of an answer has another type": lambda d: member(
        d, "CancelAnswer", "cancelled"
    ).update(type="string"),
    "a member of a problem is removed": lambda d: model(d, "Problem")["properties"].pop("claims"),
    "a member deep in a problem is removed": lambda d: model(d, "UpstreamAnswer")["properties"].pop(
        "code"
    ),
    "an entry of a list loses a member": lambda d: model(d, "AppointmentEntry")["properties"].pop(
        "title"
    ),
    "an id in an answer is no UUID any more": lambda d: member(d, "Problem", "requestId").pop(
        "format"
    ),
    "a wait may be longer": lambda d: member(d, "Problem", "retryAfterSeconds").update(
        maximum=86400
    ),
    "a value of a closed list is new": lambda d: closed(d)["enum"].append("exchange"),
    "a closed list is opened": lambda d: closed(d).pop("enum"),
    "a value of an open list is gone": lambda d: outcome(d)["x-extensible-enum"].remove(
        "not_found"
    ),
    "an open list is gone": lambda d: outcome(d).pop("x-extensible-enum"),
    "a member of a request is removed": lambda d: model(d, "CancelRequest")["properties"].pop(
        "cancellationMessage"
    ),
    "a member of a request is required": lambda d: model(d, "CancelRequest")["required"].append(
        "cancellationMessage"
    ),
    "a new member of a request is required": lambda d: (
        model(d, "CancelRequest")["properties"].update(reason={"type": "string"}),
        model(d, "CancelRequest")["required"].append("reason"),
    ),
    "a limit of a request is tightened": lambda d: member(d, "CancelRequest", "businessId").update(
        maxLength=254
    ),
    "a limit of a request is new": lambda d: member(d, "CancelRequest", "businessId").update(
        format="email"
    ),
    "a pattern of a request is another": lambda d: member(d, "CancelRequest", "businessId").update(
        pattern="^.+@.+$"
    ),
    "null is no longer taken": lambda d: member(d, "CancelRequest", "cancellationMessage").update(
        type="string"
    ),
    "a parameter is removed": lambda d: operation(d, "ListAppointments")["parameters"].pop(1),
    "a parameter is required": lambda d: operation(d, "ListAppointments")["parameters"][1].update(
        required=True
    ),
    "a parameter is renamed": lambda d: operation(d, "ListBusinesses")["parameters"][0].update(
        name="filter"
    ),
    "a parameter may not be empty": lambda d: operation(d, "ListBusinesses")["parameters"][0].pop(
        "allowEmptyValue"
    ),
    "an open request is closed": lambda d: model(d, "CancelRequest").update(
        additionalProperties=False
    ),
}
ADDITIVE: dict[str, Edit] = {
    "an operation is new": lambda d: d["paths"].update(
        {"/v1/decline": {"post": {**operation(d), "operationId": "DeclineAppointment"}}}
    ),
    "a failure with another status": lambda d: operation(d)["responses"].update(
        {"410": {**answers_of(d, "409"), "x-codes": ["gone"]}}
    ),
    "a code is new": lambda d: answers_of(d, "403")["x-codes"].append("business_not_allowed"),
    "a header is new": lambda d: answers_of(d, "200")["headers"].update(
        ETag={"schema": {"type": "string"}}
    ),
    "a header comes always": lambda d: answers_of(d, "403")["headers"].update(
        {"WWW-Authenticate": {"required": True, "schema": {}}}
    ),
    "a media type is new": lambda d: answers_of(d, "200")["content"].update({"text/plain": {}}),
    "a member of an answer is new": lambda d: model(d, "CancelAnswer")["properties"].update(
        when={"type": "string"}
    ),
    "a member of an answer comes always": lambda d: model(d, "AppointmentEntry")["required"].append(
        "start"
    ),
    "an answer's limit is tightened": lambda d: member(d, "Problem", "retryAfterSeconds").update(
        maximum=600
    ),
    "a value of an open list is new": lambda d: outcome(d)["x-extensible-enum"].append(
        "already_over"
    ),
    "an optional member of a request is new": lambda d: model(d, "CancelRequest")[
        "properties"
    ].update(reason={"type": "string"}),
    "a member of a request is optional": lambda d: model(d, "CancelRequest")["required"].remove(
        "appointmentId"
    ),
    "a limit of a request is loosened": lambda d: member(
        d, "CancelRequest", "cancellationMessage"
    ).update(maxLength=4000),
    "a limit of a request is gone": lambda d: member(d, "CancelRequest", "appointmentId").pop(
        "maxLength"
    ),
    "null is taken": lambda d: member(d, "CancelRequest", "appointmentId").update(
        type=["string", "null"]
    ),
    "an optional parameter is new": lambda d: operation(d, "ListBusinesses")["parameters"].append(
        {"name": "top", "in": "query", "required": False, "schema": {"type": "integer"}}
    ),
    "a closed request is opened": lambda d: model(d, "CancelRequest").pop("additionalProperties"),
}
NONE: dict[str, Edit] = {
    "other words": lambda d: member(d, "CancelAnswer", "message").update(
        description="Another sentence."
    ),
    "another example": lambda d: d["components"]["examples"].clear(),
    "another order": lambda d: d.update(paths=dict(reversed(d["paths"].items()))),
}


def changes_of(edit: Edit, *, before: Edit = lambda _: None) -> list[Change]:
    document = json.loads(OPENAPI.read_text())
    before(document)
    edited = copy.deepcopy(document)
    edit(edited)
    assert edited != document or list(edited["paths"]) != list(document["paths"]), (
        "the edit does something"
    )
    return compare(surface(document), surface(edited))


@pytest.mark.parametrize("name", BREAKING)
def test_a_change_that_callers_would_notice_is_breaking(name: str) -> None:
    changes = changes_of(BREAKING[name], before=BEFORE.get(name, lambda _: None))
    assert changes
    assert changes[0].breaking, [str(change) for change in changes]


@pytest.mark.parametrize("name", ADDITIVE)
def test_a_change_that_no_caller_would_notice_is_additive(name: str) -> None:
    changes = changes_of(ADDITIVE[name])
    assert changes
    assert not [str(change) for change in changes if change.breaking]


@pytest.mark.parametrize("name", NONE)
def test_a_change_of_words_is_none(name: str) -> None:
    assert changes_of(NONE[name]) == []


def test_what_breaks_is_never_recorded_and_what_grows_is() -> None:
    document = json.loads(OPENAPI.read_text())
    old = surface(document)
    ADDITIVE["a code is new"](document)
    assert may_be_recorded(old, surface(document)) == []
    BREAKING["a status is removed"](document)
    (refusal,) = may_be_recorded(old, surface(document))
    assert (refusal.where, refusal.what) == (
        "CancelAppointment 409",
        "the status is no longer answered",
    )
