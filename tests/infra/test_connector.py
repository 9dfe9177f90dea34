"""The Power Platform connector keeps every rule that can be checked without a tenant.

Its flow fits it, and its package is filled as the readme says.
"""

import copy
import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cancel_appointment.outcome import Outcome
from infra.connector import icon
from infra.connector.package import (
    DEFINITION,
    FLOW,
    FOLDER,
    ICON,
    PROPERTIES,
    Deployment,
    PackageRefused,
    Publisher,
    fill,
    main,
)
from infra.local import seed
from tests.docs.pages import Page
from tests.infra import connector_lint, flow_lint
from tests.infra.connector_lint import Json, Package, lint, read_png
from tests.infra.flow_lint import ExpressionError, Flow, expressions_in, lint_flow

REPOSITORY = Path(__file__).resolve().parents[2]
HOST = "contoso-bookings.azurewebsites.net"
PUBLISHER = Publisher(
    "https://contoso.com", "https://contoso.com/privacy", "The team", "team@contoso.com"
)
DEPLOYMENT = Deployment(
    HOST, seed.TENANT_ID, seed.API_CLIENT_ID, seed.CONNECTOR_CLIENT_ID, PUBLISHER
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a person uploads."""
    folder = tmp_path_factory.mktemp("connector")
    fill(DEPLOYMENT, folder)
    return folder


@pytest.fixture
def package(filled: Path) -> Package:
    definition, properties = (
        json.loads((filled / name).read_text()) for name in (DEFINITION, PROPERTIES)
    )
    return Package(
        definition,
        properties,
        (filled / ICON).read_bytes(),
        {file.name: file.stat().st_size for file in filled.iterdir()},
    )


@pytest.fixture
def flow(filled: Path) -> Json:
    read: Json = json.loads((filled / FLOW).read_text())
    return read


def test_the_connector_keeps_every_rule(package: Package) -> None:
    assert lint(package) == {}


def test_the_flow_keeps_every_rule(package: Package, flow: Json) -> None:
    assert lint_flow(flow, package.definition) == {}


# The rules see what they are there for: one mistake each, and the rule that has to say so.


def at(node: Any, *path: str | int) -> Any:
    for step in path:
        node = node[step]
    return node


def put(*path: str | int, to: Any) -> Callable[[Json], None]:
    def mistake(document: Json) -> None:
        at(document, *path[:-1])[path[-1]] = to

    return mistake


def drop(*path: str | int) -> Callable[[Json], None]:
    def mistake(document: Json) -> None:
        del at(document, *path[:-1])[path[-1]]

    return mistake


CANCEL = ("paths", "/v1/cancel-appointment", "post")
LIST = ("paths", "/v1/businesses", "get")
APPOINTMENTS = ("paths", "/v1/businesses/{businessId}/appointments", "get")
REQUEST = ("definitions", "CancelRequest", "properties")
ANSWER = ("definitions", "CancelAnswer", "properties")
PICK = (*REQUEST, "appointmentId", "x-ms-dynamic-list")

IN_THE_DEFINITION: dict[str, tuple[str, Callable[[Json], None]]] = {
    "OpenAPI 3": ("swagger_is_2_0", put("openapi", to="3.0.1")),
    "another version": ("swagger_is_2_0", put("swagger", to="2.1")),
    "a scheme before the host": ("host_is_bare", put("host", to=f"https://{HOST}")),
    "a port behind the host": ("host_is_bare", put("host", to="localhost:7071")),
    "a slash behind the base path": ("base_path_is_a_path", put("basePath", to="/api/")),
    "plain http": ("schemes_are_https", put("schemes", to=["https", "http"])),
    "a long title": (
        "title_is_short_and_free_of_product_names",
        put("info", "title", to="Cancel Microsoft Bookings Appointments"),
    ),
    "a title with API": (
        "title_is_short_and_free_of_product_names",
        put("info", "title", to="Bookings API"),
    ),
    "a title with Connector": (
        "title_is_short_and_free_of_product_names",
        put("info", "title", to="Bookings Connector"),
    ),
    "a title with a product": (
        "title_is_short_and_free_of_product_names",
        put("info", "title", to="Bookings for Power Apps"),
    ),
    "a title that ends in a dot": (
        "title_is_short_and_free_of_product_names",
        put("info", "title", to="Cancel Bookings."),
    ),
    "a short description": (
        "description_is_30_to_500_characters",
        put("info", "description", to="Cancels appointments."),
    ),
    "a long description": (
        "description_is_30_to_500_characters",
        put("info", "description", to="Cancels. " * 60),
    ),
    "a product in the description": (
        "description_is_30_to_500_characters",
        put("info", "description", to="Cancels appointments of Bookings from Power Automate."),
    ),
    "no version": ("version_is_given", drop("info", "version")),
    "no contact": ("contact_is_complete", drop("info", "contact")),
    "a contact without mail": ("contact_is_complete", drop("info", "contact", "email")),
    "no metadata": ("connector_metadata_is_complete", drop("x-ms-connector-metadata")),
    "no privacy policy": (
        "connector_metadata_is_complete",
        put(
            "x-ms-connector-metadata",
            to=[{"propertyName": "Website", "propertyValue": "https://contoso.com"}],
        ),
    ),
    "no media type": ("bodies_are_json", put("consumes", to=["application/xml"])),
    "no security scheme": ("sign_in_is_declared", put("securityDefinitions", to={})),
    "an open operation": ("sign_in_is_declared", put(*LIST, "security", to=[])),
    "a dangling reference": (
        "references_resolve",
        put(*CANCEL, "responses", "200", "schema", to={"$ref": "#/definitions/Gone"}),
    ),
    "a reference to elsewhere": (
        "references_resolve",
        put(*CANCEL, "responses", "200", "schema", to={"$ref": "https://contoso.com/a.json"}),
    ),
    "oneOf": (
        "keywords_are_those_of_swagger",
        put(*ANSWER, "outcome", "oneOf", to=[{"type": "string"}]),
    ),
    "anyOf": (
        "keywords_are_those_of_swagger",
        put(*REQUEST, "cancellationMessage", "anyOf", to=[{"type": "string"}]),
    ),
    "const": ("keywords_are_those_of_swagger", put(*ANSWER, "outcome", "const", to="cancelled")),
    "a null type": (
        "keywords_are_those_of_swagger",
        put(*REQUEST, "cancellationMessage", "type", to=["string", "null"]),
    ),
    "x-nullable": (
        "keywords_are_those_of_swagger",
        put(*REQUEST, "cancellationMessage", "x-nullable", to=True),
    ),
    "a numeric exclusive bound": (
        "keywords_are_those_of_swagger",
        put("definitions", "Problem", "properties", "retryAfterSeconds", "exclusiveMinimum", to=0),
    ),
    "a property without a type": ("schemas_have_types", drop(*ANSWER, "message", "type")),
    "a list of nothing": (
        "schemas_have_types",
        drop("definitions", "BusinessesAnswer", "properties", "businesses", "items"),
    ),
    "a required member that is not there": ("schemas_have_types", drop(*ANSWER, "confirmed")),
    "an unknown extension": (
        "extensions_are_known",
        put(*REQUEST, "businessId", "x-ms-sumary", to="Business ID"),
    ),
    "a snake_case operation id": (
        "operation_ids_are_pascal_case_and_unique",
        put(*CANCEL, "operationId", to="cancel_appointment"),
    ),
    "an operation id in lower case": (
        "operation_ids_are_pascal_case_and_unique",
        put(*CANCEL, "operationId", to="cancelAppointment"),
    ),
    "an operation id twice": (
        "operation_ids_are_pascal_case_and_unique",
        put(*LIST, "operationId", to="CancelAppointment"),
    ),
    "no summary": ("summaries_are_in_sentence_case", drop(*CANCEL, "summary")),
    "a summary in title case": (
        "summaries_are_in_sentence_case",
        put(*CANCEL, "summary", to="Cancel An Appointment"),
    ),
    "a summary with a slash": (
        "summaries_are_in_sentence_case",
        put(*CANCEL, "summary", to="Cancel/decline"),
    ),
    "a summary that ends in a dot": (
        "summaries_are_in_sentence_case",
        put(*CANCEL, "summary", to="Cancel an appointment."),
    ),
    "a long summary": (
        "summaries_are_in_sentence_case",
        put(*CANCEL, "summary", to="Cancel " + "a" * 80),
    ),
    "no description": ("descriptions_are_sentences", drop(*CANCEL, "description")),
    "a description like the summary": (
        "descriptions_are_sentences",
        put(*CANCEL, "description", to="Cancel an appointment."),
    ),
    "a description without a full stop": (
        "descriptions_are_sentences",
        put(*LIST, "description", to="Lists the businesses"),
    ),
    "a parameter without a description": (
        "descriptions_are_sentences",
        drop(*APPOINTMENTS, "parameters", 0, "description"),
    ),
    "an answer's member without a description": (
        "descriptions_are_sentences",
        drop(*ANSWER, "confirmed", "description"),
    ),
    "a member's title in sentence case": (
        "titles_of_entities_are_in_title_case",
        put(*ANSWER, "requestId", "x-ms-summary", to="Request id"),
    ),
    "a member without a title": (
        "titles_of_entities_are_in_title_case",
        drop("definitions", "Problem", "properties", "code", "x-ms-summary"),
    ),
    "a parameter without a title": (
        "titles_of_entities_are_in_title_case",
        drop(*LIST, "parameters", 0, "x-ms-summary"),
    ),
    "an unknown visibility": ("visibility_is_known", put(*CANCEL, "x-ms-visibility", to="hidden")),
    "required and unseen": (
        "internal_and_required_has_a_default",
        put(*REQUEST, "businessId", "x-ms-visibility", to="internal"),
    ),
    "a required header that is not seen": (
        "internal_and_required_has_a_default",
        put(
            *CANCEL,
            "parameters",
            0,
            to={"name": "a", "in": "header", "required": True, "x-ms-visibility": "internal"},
        ),
    ),
    "default alone": (
        "success_is_explicit_and_has_a_schema",
        put(
            *CANCEL,
            "responses",
            to={"default": {"description": "All.", "schema": {"$ref": "#/definitions/Problem"}}},
        ),
    ),
    "a success without a schema": (
        "success_is_explicit_and_has_a_schema",
        drop(*CANCEL, "responses", "200", "schema"),
    ),
    "a failure without a schema": (
        "failures_are_listed_with_a_schema",
        drop(*CANCEL, "responses", "429", "schema"),
    ),
    "no failures": (
        "failures_are_listed_with_a_schema",
        put(*LIST, "responses", to={"200": {"description": "All."}}),
    ),
    "an answer without a description": (
        "answers_are_described",
        put(*LIST, "responses", "200", "description", to=""),
    ),
    "an optional path parameter": (
        "path_parameters_fit_the_path",
        put(*APPOINTMENTS, "parameters", 0, "required", to=False),
    ),
    "a path parameter that is encoded twice": (
        "path_parameters_fit_the_path",
        put(*APPOINTMENTS, "parameters", 0, "x-ms-url-encoding", to="double"),
    ),
    "a placeholder that nobody fills": (
        "path_parameters_fit_the_path",
        put(*APPOINTMENTS, "parameters", 0, "name", to="business"),
    ),
    "a GET with a body": (
        "get_has_no_body",
        put(
            *LIST, "parameters", 0, to={"name": "body", "in": "body", "schema": {"type": "object"}}
        ),
    ),
    "a drop-down from nowhere": (
        "drop_downs_lead_to_members_that_exist",
        put(*PICK, "operationId", to="ListEverything"),
    ),
    "a drop-down without a list": (
        "drop_downs_lead_to_members_that_exist",
        put(*PICK, "itemsPath", to="value"),
    ),
    "a drop-down with a wrong value": (
        "drop_downs_lead_to_members_that_exist",
        put(*PICK, "itemValuePath", to="id"),
    ),
    "a drop-down with a wrong title": (
        "drop_downs_lead_to_members_that_exist",
        put(*PICK, "itemTitlePath", to="name"),
    ),
    "a drop-down that takes no such parameter": (
        "drop_downs_lead_to_members_that_exist",
        put(*PICK, "parameters", "day", to={"value": "monday"}),
    ),
    "a drop-down that refers to no parameter": (
        "drop_downs_lead_to_members_that_exist",
        put(*PICK, "parameters", "businessId", to={"parameterReference": "body/business"}),
    ),
    "a drop-down that lacks what the list needs": (
        "drop_downs_lead_to_members_that_exist",
        put(*PICK, "parameters", to={}),
    ),
    "two drop-downs that differ": (
        "drop_downs_lead_to_members_that_exist",
        put(*REQUEST, "appointmentId", "x-ms-dynamic-values", "operationId", to="ListBusinesses"),
    ),
    "an annotation without a revision": (
        "annotations_name_a_family_and_a_revision",
        put(*CANCEL, "x-ms-api-annotation", to={"family": "CancelAppointment"}),
    ),
    "a secret in the definition": ("there_is_no_secret", put("info", "x", to="abc8Q~" + "d" * 34)),
}


@pytest.mark.parametrize("name", IN_THE_DEFINITION)
def test_a_mistake_in_the_definition_is_named(package: Package, name: str) -> None:
    rule, mistake = IN_THE_DEFINITION[name]
    spoilt = copy.deepcopy(package.definition)
    mistake(spoilt)
    assert list(connector_lint.RULES[rule](replace(package, definition=spoilt)))


SETTINGS = ("properties", "connectionParameters", "token", "oAuthSettings")

IN_THE_PROPERTIES: dict[str, tuple[str, Callable[[Json], None]]] = {
    "an unknown member": (
        "properties_have_their_members",
        put("properties", "colour", to="#0b5a6e"),
    ),
    "no publisher": ("properties_have_their_members", drop("properties", "publisher")),
    "policies that are no list": (
        "properties_have_their_members",
        put("properties", "policyTemplateInstances", to={}),
    ),
    "another provider": (
        "sign_in_is_entra_with_our_api_as_resource",
        put(*SETTINGS, "identityProvider", to="oauth2"),
    ),
    "Graph as the resource": (
        "sign_in_is_entra_with_our_api_as_resource",
        put(
            *SETTINGS, "customParameters", "resourceUri", "value", to="https://graph.microsoft.com"
        ),
    ),
    "an unknown parameter": (
        "sign_in_is_entra_with_our_api_as_resource",
        put(*SETTINGS, "customParameters", "enableOnbehalfOfLogin", to={"value": "true"}),
    ),
    "the API as its own client": (
        "sign_in_is_entra_with_our_api_as_resource",
        put(*SETTINGS, "clientId", to=seed.API_CLIENT_ID),
    ),
    "one redirect address for all": (
        "redirect_is_per_connector",
        put(*SETTINGS, "redirectMode", to="Global"),
    ),
    "a redirect address of somebody": (
        "redirect_is_per_connector",
        put(*SETTINGS, "redirectUrl", to="https://contoso.com/redirect"),
    ),
    "a client secret": ("there_is_no_secret", put(*SETTINGS, "clientSecret", to="made up")),
    "white": ("brand_colour_is_allowed", put("properties", "iconBrandColor", to="#FFFFFF")),
    "Microsoft's own blue": (
        "brand_colour_is_allowed",
        put("properties", "iconBrandColor", to="#007EE5"),
    ),
    "a colour by name": ("brand_colour_is_allowed", put("properties", "iconBrandColor", to="teal")),
    "another colour than the icon's": (
        "icon_is_230_square_on_the_brand_colour",
        put("properties", "iconBrandColor", to="#aa0000"),
    ),
}


@pytest.mark.parametrize("name", IN_THE_PROPERTIES)
def test_a_mistake_in_the_properties_is_named(package: Package, name: str) -> None:
    rule, mistake = IN_THE_PROPERTIES[name]
    spoilt = copy.deepcopy(package.properties)
    mistake(spoilt)
    assert list(connector_lint.RULES[rule](replace(package, properties=spoilt)))


def test_a_large_file_is_named(package: Package) -> None:
    assert "files_are_small" in lint(replace(package, sizes={ICON: 2_000_000}))


@pytest.mark.parametrize(
    "picture",
    [b"GIF89a", b"\x89PNG\r\n\x1a\n", (FOLDER / ICON).read_bytes()[:900]],
    ids=["another format", "no picture", "half of one"],
)
def test_a_picture_that_is_none_is_named(package: Package, picture: bytes) -> None:
    assert "icon_is_230_square_on_the_brand_colour" in lint(replace(package, icon=picture))


@pytest.mark.parametrize("name", [*connector_lint.RULES])
def test_every_rule_has_been_seen_to_speak(name: str) -> None:
    seen = {rule for rule, _ in [*IN_THE_DEFINITION.values(), *IN_THE_PROPERTIES.values()]} | {
        "files_are_small"
    }
    assert name in seen
    assert connector_lint.RULES[name].__doc__


def test_the_icon_is_what_its_script_draws() -> None:
    assert read_png((FOLDER / ICON).read_bytes()) == read_png(icon.draw())


# The flow.

CANCELLING = ("actions", "Cancel_appointment")
FAILED = ("actions", "Cancel_failed")
ENDED = ("actions", "How_it_ended")

IN_THE_FLOW: dict[str, tuple[str, Callable[[Json], None]]] = {
    "a name twice": (
        "names_are_unique",
        put(
            *ENDED,
            "default",
            "actions",
            "Answer",
            to={"type": "Compose", "runAfter": {}, "inputs": ""},
        ),
    ),
    "after nothing that exists": (
        "run_after_names_siblings",
        put(*CANCELLING, "runAfter", to={"Pick": ["Succeeded"]}),
    ),
    "after an unknown status": (
        "run_after_names_siblings",
        put(*FAILED, "runAfter", "Cancel_appointment", to=["Error"]),
    ),
    "in a circle": (
        "run_after_has_no_cycle",
        put("actions", "List_businesses", "runAfter", to={"How_it_ended": ["Succeeded"]}),
    ),
    "an operation that is none": (
        "operations_exist",
        put(*CANCELLING, "inputs", "host", "operationId", to="CancelBooking"),
    ),
    "a parameter that is none": (
        "parameters_exist_and_the_required_are_given",
        put(*CANCELLING, "inputs", "parameters", "body/id", to="1"),
    ),
    "a required parameter left out": (
        "parameters_exist_and_the_required_are_given",
        drop(*CANCELLING, "inputs", "parameters", "body/businessId"),
    ),
    "a member that no answer has": (
        "expressions_refer_to_what_exists",
        put(*ENDED, "expression", to="@outputs('Answer')?['result']"),
    ),
    "an action that is none": (
        "expressions_refer_to_what_exists",
        put(*ENDED, "expression", to="@body('Cancel')?['outcome']"),
    ),
    "an action that has not ended": (
        "expressions_refer_to_what_exists",
        put(
            "actions",
            "List_appointments",
            "inputs",
            "parameters",
            "start",
            to="@body('Cancel_appointment')?['message']",
        ),
    ),
    "an expression without an end": (
        "expressions_refer_to_what_exists",
        put(*ENDED, "expression", to="@outputs('Answer'"),
    ),
    "a function that is none": (
        "expressions_refer_to_what_exists",
        put(*ENDED, "expression", to="@ouputs('Answer')"),
    ),
    "an input that the trigger lacks": (
        "expressions_refer_to_what_exists",
        put(
            "actions",
            "List_businesses",
            "inputs",
            "parameters",
            "query",
            to="@triggerBody()?['text_9']",
        ),
    ),
    "a switch that lets the unknown pass": (
        "switches_are_closed",
        put(*ENDED, "default", "actions", to={}),
    ),
    "a case that is never answered": (
        "switches_are_closed",
        put(*ENDED, "cases", "Not_found", "case", to="notFound"),
    ),
    "a status that is never answered": (
        "switches_are_closed",
        put(*FAILED, "else", "actions", "Why", "cases", "Sign_in_again", "case", to=402),
    ),
    "endless repeats": (
        "retry_policies_are_valid",
        put(*CANCELLING, "inputs", "retryPolicy", "count", to=500),
    ),
    "a wait in words": (
        "retry_policies_are_valid",
        put(*CANCELLING, "inputs", "retryPolicy", "interval", to="10 seconds"),
    ),
}


@pytest.mark.parametrize("name", IN_THE_FLOW)
def test_a_mistake_in_the_flow_is_named(package: Package, flow: Json, name: str) -> None:
    rule, mistake = IN_THE_FLOW[name]
    mistake(flow)
    assert list(flow_lint.RULES[rule](Flow(flow, package.definition)))


@pytest.mark.parametrize("name", [*flow_lint.RULES])
def test_every_rule_for_flows_has_been_seen_to_speak(name: str) -> None:
    assert name in {rule for rule, _ in IN_THE_FLOW.values()}
    assert flow_lint.RULES[name].__doc__


def test_the_flow_knows_every_outcome_of_the_service(flow: Json) -> None:
    assert {case["case"] for case in at(flow, *ENDED, "cases").values()} == {
        outcome.value for outcome in Outcome
    }


# The flow chooses the one appointment that is meant, or stops.


def evaluate(tree: flow_lint.Expression, item: Json, trigger: Json) -> Any:
    """Work an expression of the filters out, as the platform does."""
    match tree:
        case flow_lint.Literal(value):
            return value
        case flow_lint.Access(base, key):
            return (evaluate(base, item, trigger) or {}).get(key)
        case flow_lint.Call(name, given):
            values = [evaluate(one, item, trigger) for one in given]
            return FUNCTIONS[name](*values) if values else {"item": item}.get(name, trigger)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "equals": lambda one, other: one == other,
    "and": lambda *all_of: all(all_of),
    "or": lambda *any_of: any(any_of),
    "empty": lambda value: not value,
    "toLower": lambda value: (value or "").lower(),
    "trim": str.strip,
    "formatDateTime": lambda value, _: f"{value:%Y-%m-%dT%H:%M:%SZ}",
}
NOON = datetime(2027, 5, 1, 12, tzinfo=UTC)
ANN: Json = {"customerName": "Ann Lee", "start": "2027-05-01T12:00:00Z", "attendees": 1}
CHECK_UP: Json = {
    "customerName": "John Doe",
    "serviceName": "Annual check-up",
    "title": "2027-05-01 12:00 UTC, Annual check-up, John Doe",
    "start": "2027-05-01T12:00:00Z",
}


@pytest.mark.parametrize(
    ("asked", "listed", "chosen", "nameless"),
    [
        ("ann lee ", [ANN, CHECK_UP], [ANN], 0),
        ("Ann", [ANN, CHECK_UP], [], 0),
        ("Annual check-up", [ANN, CHECK_UP], [], 0),
        ("Ann Lee", [ANN, dict(ANN)], [ANN, ANN], 0),
        ("Ann Lee", [{**ANN, "start": "2027-05-01T13:00:00Z"}], [], 0),
        ("Ann Lee", [ANN, {"start": ANN["start"], "title": "Ann Lee"}], [ANN], 1),
        ("Ann Lee", [ANN, {"title": "Ann Lee"}], [ANN], 1),
        ("Ann Lee", [ANN, {"start": "2027-05-01T13:00:00Z"}], [ANN], 0),
        ("", [{"start": ANN["start"]}], [{"start": ANN["start"]}], 1),
    ],
)
def test_the_flow_compares_whole_names_and_the_time(
    flow: Json, asked: str, listed: list[Json], chosen: list[Json], nameless: int
) -> None:
    trigger = {"text_1": asked, "text_2": NOON}

    def kept(action: str) -> list[Json]:
        where = flow_lint.parse(flow["actions"][action]["inputs"]["where"][1:])
        return [one for one in listed if evaluate(where, one, trigger)]

    assert kept("Appointments_of_the_customer") == chosen
    assert len(kept("Appointments_without_a_name")) == nameless


def test_the_flow_stops_at_two_at_missing_names_and_at_groups(flow: Json) -> None:
    stops = {
        "Is_it_one_business": ("@length(body('Businesses_of_that_name'))", 1),
        "Are_the_names_there": ("@length(body('Appointments_without_a_name'))", 0),
        "Is_it_one_appointment": ("@length(body('Appointments_of_the_customer'))", 1),
        "Is_it_for_one_customer": (
            "@coalesce(first(body('Appointments_of_the_customer'))?['attendees'], 1)",
            1,
        ),
    }
    for name, (value, wanted) in stops.items():
        action = flow["actions"][name]
        assert {"equals": [value, wanted]} in action["expression"]["and"]
        (stop,) = action["else"]["actions"].values()
        assert stop["inputs"]["runStatus"] == "Failed"
        assert "othing was cancelled" in stop["inputs"]["runError"]["message"]
    for key in (
        at(flow, "actions", "Cancel_appointment", "inputs", "parameters", "Idempotency-Key"),
        at(flow, *AGAIN, "inputs", "parameters", "Idempotency-Key"),
    ):
        assert "appointmentId" in key  # one key for each item of a loop


AGAIN = ("actions", "Cancel_failed", "actions", "Cancel_appointment_again")

DOCUMENTS = [
    FOLDER / "readme.md",
    FOLDER / "flow.md",
    REPOSITORY / "docs" / "power-automate.md",
]
FLOW_PAGE = FOLDER / "flow.md"


def code_spans(document: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    fenced: list[str] = re.findall(
        r"^```(?:text)?\n(.*?)^```$", document.read_text(), flags=re.DOTALL | re.MULTILINE
    )
    return [
        *re.findall(r"`([^`\n]+)`", text),
        *(line.strip() for block in fenced for line in block.splitlines()),
    ]


def entered(span: str) -> list[str]:
    """Return the expressions of a value, bare as for the fx box, or with @ as for the others."""
    if span in ("@", "@{"):  # the signs themselves
        return []
    return [span] if re.match(r"[A-Za-z]+\(", span) else [*expressions_in(span)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_expression_in_the_documents_refers_to_what_exists(
    package: Package, flow: Json, document: Path
) -> None:
    whole = Flow(flow, package.definition)
    found = [one for span in code_spans(document) for one in entered(span)]
    assert len(found) >= (0 if document.name == "readme.md" else 8)
    for expression in found:
        of_pages = "displayName" in expression
        entry = "Businesses_of_that_name" if of_pages else "Appointments_of_the_customer"
        whole.check(expression, whole.by_name[entry] if "item()" in expression else None)


def test_the_page_of_the_flow_shows_what_the_flow_has(flow: Json) -> None:
    """Each value that a maker enters stands there: bare for the fx box, with @ for a filter."""
    wanted = set[str]()
    for action in flow["actions"].values():
        inputs = action.get("inputs", {})
        match action["type"]:
            case "Query":
                wanted |= {inputs["from"][1:], inputs["where"]}
            case "If":
                wanted |= {one["equals"][0][1:] for one in action["expression"]["and"]}
            case "OpenApiConnection":
                wanted |= {value[1:] for value in inputs["parameters"].values()}
            case "Switch":
                wanted.add(action["expression"][1:])
            case "Compose":
                wanted.add(inputs[1:])
    assert wanted <= set(code_spans(FLOW_PAGE))


def test_makers_read_the_simplest_flow_first_and_how_to_enter_an_expression() -> None:
    text = (REPOSITORY / "docs" / "power-automate.md").read_text()
    simplest = text.split("\n## The simplest flow\n")[1].split("\n## ")[0]
    assert re.findall(r"\*\*\*(.+?)\*\*\*", simplest) == [
        "Cancel an appointment",
        "Switch",
        "Send an email (V2)",
        "Terminate",
    ]
    assert not [span for span in re.findall(r"`([^`\n]+)`", simplest) if entered(span)]
    entering = text.split("\n## How to enter an expression\n")[1].split("\n## ")[0]
    expression = "body('Cancel_appointment')?['outcome']"
    for form in (f"`{expression}`", f"@{{{expression}}}`", f"`@{expression}`"):
        assert form in entering


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_the_documents_name_codes_actions_and_members_that_exist(
    package: Package, flow: Json, document: Path
) -> None:
    """A word in code with an underscore names something that exists.

    That is a code of the contract (tests/docs holds the table of codes to it), an outcome, an
    action of the sample flow, or, in capitals, a name of the other documents.
    """
    codes = Page.read(REPOSITORY / "docs" / "troubleshooting.md").first_cells("Every code")
    known = (
        set(codes)
        | {outcome.value for outcome in Outcome}
        | {"text_1", "text_2", "text_3", "shared_bookingscancel", "access_as_user"}
    )
    known |= {action.name for action in Flow(flow, package.definition).actions}
    for place in ("docs/settings.md", "Makefile", "docs/operations.md"):
        known |= set(re.findall(r"[A-Z]+(?:_[A-Z]+)+", (REPOSITORY / place).read_text()))
    words = {
        span for span in code_spans(document) if re.fullmatch(r"[A-Za-z]+(_[A-Za-z0-9]+)+", span)
    }
    assert words <= known


@pytest.mark.parametrize(
    "expression",
    [
        "body('Cancel_appointment')?['outcom']",
        "body('Cancel_appointmnt')?['outcome']",
        "body('Cancel_appointment'",
        "1 2",
        "outputs(1)",
        "lenght('a')",
    ],
)
def test_an_expression_that_means_nothing_is_refused(
    package: Package, flow: Json, expression: str
) -> None:
    with pytest.raises(ExpressionError):
        Flow(flow, package.definition).check(expression)


# The package.

GOOD = {
    "--host": HOST,
    "--tenant": seed.TENANT_ID,
    "--api-client-id": seed.API_CLIENT_ID,
    "--connector-client-id": seed.CONNECTOR_CLIENT_ID,
}


def arguments(values: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def test_the_package_is_filled_for_one_deployment(package: Package, filled: Path) -> None:
    assert package.definition["host"] == HOST
    settings = at(package.properties, *SETTINGS)
    assert settings["clientId"] == seed.CONNECTOR_CLIENT_ID
    assert settings["customParameters"]["tenantId"]["value"] == seed.TENANT_ID
    assert settings["customParameters"]["resourceUri"]["value"] == f"api://{seed.API_CLIENT_ID}"
    for file in (DEFINITION, PROPERTIES, FLOW):
        assert "{{" not in (filled / file).read_text()


def test_the_package_names_its_publisher_and_holds_no_test_value(package: Package) -> None:
    assert package.definition["info"]["contact"]["email"] == PUBLISHER.contact_email
    metadata = {
        one["propertyName"]: one["propertyValue"]
        for one in package.definition["x-ms-connector-metadata"]
    }
    assert metadata["Privacy policy"] == PUBLISHER.privacy_policy
    assert "x-ms-test-value" not in json.dumps(package.definition)


def test_a_package_for_one_tenant_names_nobody(tmp_path: Path) -> None:
    fill(replace(DEPLOYMENT, publisher=None), tmp_path)
    text = (tmp_path / DEFINITION).read_text()
    assert "example.com" not in text
    assert "contact" not in json.loads(text)["info"]


def test_the_connection_is_tested_by_a_list_that_needs_nothing(package: Package) -> None:
    tested = package.definition["x-ms-capabilities"]["testConnection"]
    assert tested["parameters"] == {}
    operations = {one.id: one for one in connector_lint.operations(package.definition)}
    operation = operations[tested["operationId"]]
    assert not [
        one for one in connector_lint.parameters(package.definition, operation) if one["required"]
    ]


def test_a_maker_is_told_that_it_is_no_trigger(package: Package) -> None:
    assert "not a trigger" in at(package.definition, *CANCEL, "description")


OF_THE_PUBLISHER = {
    "--website": PUBLISHER.website,
    "--privacy-policy": PUBLISHER.privacy_policy,
    "--contact-name": PUBLISHER.contact_name,
    "--contact-email": PUBLISHER.contact_email,
}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"--website": ""}, "WEBSITE"),
        ({"--privacy-policy": "contoso.com"}, "PRIVACY_POLICY"),
        ({"--contact-email": "team"}, "CONTACT_EMAIL"),
        ({"--contact-name": " "}, "CONTACT_NAME"),
        ({"--website": "https://bookings.example.com"}, "example.com"),
        ({"--contact-email": "support@bookings.example.com"}, "example.com"),
        ({"--host": "bookings.example.com"}, "example.com"),
        ({"--host": "your-function-app.azurewebsites.net"}, "your-function-app"),
    ],
)
def test_a_placeholder_or_half_a_publisher_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], values: dict[str, str], words: str
) -> None:
    given = arguments(GOOD | OF_THE_PUBLISHER | values)
    assert main([*given, "--target", str(tmp_path / "new")]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_the_package_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments(GOOD), "--target", str(tmp_path / "new")]) == 0
    assert {file.name for file in (tmp_path / "new").iterdir()} == {
        DEFINITION,
        PROPERTIES,
        ICON,
        FLOW,
    }
    assert str(tmp_path / "new" / PROPERTIES) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("--host", ""),
        ("--host", f"https://{HOST}"),
        ("--host", f"{HOST}/api"),
        ("--host", f"{HOST}:443"),
        ("--host", "localhost"),
        ("--host", "127.0.0.1"),
        ("--host", "-a.azurewebsites.net"),
        ("--host", 'a".azurewebsites.net'),
        ("--host", f"{HOST}\n.net"),
        ("--tenant", "contoso.onmicrosoft.com"),
        ("--tenant", "common"),
        ("--api-client-id", ""),
        ("--api-client-id", f"api://{seed.API_CLIENT_ID}"),
        ("--api-client-id", seed.CONNECTOR_CLIENT_ID),
        ("--connector-client-id", "00000000-0000-0000-0000-000000000000"),
        ("--connector-client-id", f'{seed.CONNECTOR_CLIENT_ID}"'),
    ],
)
def test_a_bad_value_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    assert main([*arguments(GOOD | {name: value}), "--target", str(tmp_path / "new")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.endswith(".\n")
    assert not (tmp_path / "new").exists()


def test_what_is_copied_from_a_portal_may_have_spaces_and_capitals(tmp_path: Path) -> None:
    assert (
        main(
            [
                *arguments(GOOD | {"--tenant": f" {seed.TENANT_ID.upper()} "}),
                "--target",
                str(tmp_path),
            ]
        )
        == 0
    )
    assert seed.TENANT_ID in (tmp_path / PROPERTIES).read_text()


def test_a_placeholder_that_nothing_fills_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / DEFINITION).write_text('{"host": "", "info": {"title": "{{TITLE}}"}}')
    (source / PROPERTIES).write_text("{}")
    with pytest.raises(PackageRefused, match="TITLE"):
        fill(DEPLOYMENT, tmp_path / "target", source)


def test_make_hands_its_values_on() -> None:
    run = subprocess.run(
        [
            "make",
            "--dry-run",
            "connector",
            f"HOST={HOST}",
            "TENANT=t",
            "API_CLIENT_ID=a",
            "CONNECTOR_CLIENT_ID=c",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    said = " ".join(run.stdout.replace("\\\n", "").split())
    assert (
        f'-m infra.connector.package --host="{HOST}" --tenant="t" --api-client-id="a" '
        '--connector-client-id="c"'
    ) in said


# The readme.


def test_the_readme_has_the_parts_of_microsofts_template() -> None:
    headings = re.findall(r"^#+ (.*)$", (FOLDER / "readme.md").read_text(), flags=re.MULTILINE)
    for part in (
        "Publisher",
        "Prerequisites",
        "Obtaining Credentials",
        "Supported Operations",
        "Getting Started",
        "Known Issues",
        "Deployment",
    ):
        assert any(heading.startswith(part) for heading in headings), part


def test_the_readme_names_every_operation(package: Package) -> None:
    text = (FOLDER / "readme.md").read_text()
    for operation in connector_lint.operations(package.definition):
        assert f"### {operation.spec['summary']}" in text
        assert f"`{operation.id}`" in text


# Microsoft's own schemas, where somebody has a copy. They are not shipped here, and a skip says
# nothing about them.

SCHEMAS = os.environ.get("POWER_PLATFORM_SCHEMAS")


def without_comments(text: str) -> Any:
    """Read JSON with // comments and trailing commas, which Microsoft's schema files have."""
    bare = re.sub(
        r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/',
        lambda found: found[1] or "",
        text,
        flags=re.DOTALL,
    )
    return json.loads(
        re.sub(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', lambda found: found[1] or "", bare)
    )


@pytest.mark.skipif(
    SCHEMAS is None,
    reason=(
        "not checked: POWER_PLATFORM_SCHEMAS names no folder with a copy of "
        "microsoft/PowerPlatformConnectors/schemas"
    ),
)
@pytest.mark.parametrize(
    ("schema", "file", "validator"),
    [
        ("apiDefinition.swagger.schema.json", DEFINITION, jsonschema.Draft4Validator),
        ("paconn-apiProperties.schema.json", PROPERTIES, jsonschema.Draft7Validator),
    ],
    ids=["definition", "properties"],
)
def test_microsofts_own_schemas_agree(filled: Path, schema: str, file: str, validator: Any) -> None:
    rules = without_comments((Path(str(SCHEMAS)) / schema).read_text("utf-8-sig"))
    assert [
        error.message
        for error in validator(rules).iter_errors(json.loads((filled / file).read_text()))
    ] == []
