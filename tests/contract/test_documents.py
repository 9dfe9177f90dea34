"""The published documents are what the models and the recordings make them.

They are valid, free of warnings, and what the service serves.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV31SpecValidator

from infra.contract import catalogue
from infra.contract.files import EXAMPLES, OPENAPI, SWAGGER, documents
from infra.contract.operations.cancel_appointment import CANCEL_APPOINTMENT
from infra.contract.operations.published import Published
from infra.contract.recording import REPOSITORY
from infra.local import seed
from shared.serving.problems import BUG, TABLE
from tests.client import Facade
from tests.integration import node_packages
from tests.signing import sign

MAKE = "run `make contract` and commit what it writes"


def read(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_text())
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize("path", [OPENAPI, SWAGGER], ids=["openapi", "swagger"])
def test_a_document_is_what_the_models_make_it(path: Path) -> None:
    made = documents()[path]
    assert path.exists(), f"{path.name} is missing: {MAKE}"
    assert path.read_text() == made, (
        f"{path.name} is not what the models and the recordings make: {MAKE}"
    )


def test_the_openapi_document_is_valid() -> None:
    assert list(OpenAPIV31SpecValidator(read(OPENAPI)).iter_errors()) == []


def test_the_swagger_document_is_valid() -> None:
    assert list(OpenAPIV2SpecValidator(read(SWAGGER)).iter_errors()) == []


def lint(*paths: Path) -> list[dict[str, Any]]:
    """Return all that Spectral has to say."""
    spectral = node_packages.install("spectral") / "node_modules" / ".bin" / "spectral"
    command = [
        str(spectral),
        "lint",
        "--ruleset",
        str(REPOSITORY / ".spectral.yaml"),
        "--format",
        "json",
        "--quiet",
        *map(str, paths),
    ]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_spectral_has_nothing_to_say_and_can_say_something(tmp_path: Path) -> None:
    faulty = read(OPENAPI)
    faulty["components"]["examples"]["throttled"]["value"]["retryAfterSeconds"] = "soon"
    (tmp_path / "faulty.json").write_text(json.dumps(faulty))
    found = lint(OPENAPI, SWAGGER, tmp_path / "faulty.json")

    assert [fault for fault in found if not fault["source"].endswith("faulty.json")] == []
    assert {"info-contact", "oas3-valid-media-example"} <= {fault["code"] for fault in found}


def test_what_is_served_is_what_is_published(facade: Facade) -> None:
    address = f"{facade.url}/api/v1/openapi.json"
    answer = facade.session.get(address, timeout=30)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.content == OPENAPI.read_bytes()
    assert answer.headers["Cache-Control"] == "public, max-age=300"

    etag = answer.headers["ETag"]
    for known in (etag, f"W/{etag}", f'"another", {etag}', "*"):
        unchanged = facade.session.get(address, headers={"If-None-Match": known}, timeout=30)
        assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (
            304,
            b"",
            etag,
        )
    assert (
        facade.session.get(address, headers={"If-None-Match": '"another"'}, timeout=30).content
        == answer.content
    )
    assert not facade.stack.entra.asked


# What no validator asks for.


def test_every_request_and_parameter_is_shown_as_it_was_recorded() -> None:
    recorded = {path.stem: read(path)["request"] for path in EXAMPLES.glob("*.json")}
    for operation in catalogue.OPERATIONS:
        said = read(OPENAPI)["paths"][operation.path][operation.method]
        sent = [recorded[name] for name in operation.examples]
        for parameter in said.get("parameters", []):
            example = parameter["example"]
            assert Draft202012Validator(parameter["schema"]).is_valid(example)
            assert any(
                request["headers"].get(parameter["name"]) == example
                or example in unquote(request["path"])
                for request in sent
            ), (operation.operation_id, parameter["name"])
        if "requestBody" in said:
            content = said["requestBody"]["content"]["application/json"]
            assert content["example"] in [request["body"] for request in sent]
            assert "pattern" not in json.dumps(content["example"])


def test_the_signature_that_is_shown_is_that_of_the_example() -> None:
    request = read(EXAMPLES / "cancelled_by_webhook.json")["request"]
    headers = request["headers"]
    signed = sign(
        seed.WEBHOOK_SECRET,
        headers["webhook-id"],
        int(headers["webhook-timestamp"]),
        json.dumps(request["body"]).encode(),
    )
    assert headers["webhook-signature"] == signed


def test_the_openapi_document_says_what_a_reader_looks_for() -> None:
    document = read(OPENAPI)
    for heading in ("## Authentication", "## Signing"):
        assert heading in document["info"]["description"]
    assert "contact" not in document["info"]
    assert document["servers"][0]["url"] == "/api"
    for methods in document["paths"].values():
        for operation in methods.values():
            problem = operation["responses"]["default"]["content"]["application/json"]["schema"]
            assert problem == {"$ref": "#/components/schemas/Problem"}
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "header":
                    assert f"`{parameter['name']}`" in operation["description"]
            for status, answer in operation["responses"].items():
                if status[0] not in "23":
                    assert answer["description"].startswith("A problem: its `code` says which")
    problem = document["components"]["schemas"]["Problem"]["properties"]
    assert [name for name, member in problem.items() if "x-ms-primary-error-message" in member] == [
        "detail"
    ]
    assert "x-ms-primary-error-message" not in SWAGGER.read_text()
    webhook = document["paths"]["/v1/webhooks/cancel-appointment"]["post"]
    assert {parameter["name"] for parameter in webhook["parameters"] if parameter["required"]} == {
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    }


@pytest.mark.parametrize("path", [OPENAPI, SWAGGER], ids=["openapi", "swagger"])
def test_no_list_of_values_is_closed(path: Path) -> None:
    """A client that was generated from a closed one loses the answer that holds a new value."""
    document = read(path)
    assert '"enum"' not in json.dumps(document)
    schemas = document.get("definitions") or document["components"]["schemas"]
    for model, name in (("CancelAnswer", "outcome"), ("UpstreamAnswer", "service")):
        member = schemas[model]["properties"][name]
        assert member["type"] == "string"
        assert all(value in member["description"] for value in member["x-extensible-enum"])


def test_every_object_of_the_connectors_document_has_a_name() -> None:
    """What is defined in place gets a made-up name in every client that is generated."""
    definitions = read(SWAGGER)["definitions"]
    for schema in definitions.values():
        for member in schema.get("properties", {}).values():
            assert member.get("type") != "object"
            assert member.get("items", {}).get("type") != "object"
            assert set(member) == {"$ref"} or "$ref" not in member
    assert {"FaultAnswer", "UpstreamAnswer", "BusinessEntry", "AppointmentEntry"} <= set(
        definitions
    )


def test_every_code_is_one_that_some_operation_answers() -> None:
    assert {code for operation in catalogue.OPERATIONS for code in operation.codes()} == {
        row.code for row in (*TABLE.values(), BUG)
    }


def test_every_outcome_and_every_code_has_a_recorded_answer() -> None:
    codes = {code for operation in catalogue.OPERATIONS for code in operation.codes()}
    successes = {name for operation in catalogue.OPERATIONS for name in operation.examples}
    assert {path.stem for path in EXAMPLES.glob("*.json")} == codes | successes
    for code in codes:
        example = read(EXAMPLES / f"{code}.json")["response"]
        assert (example["body"]["code"], example["body"]["status"]) == (code, example["status"])


def test_a_recorded_outcome_is_the_one_that_it_is_called() -> None:
    for name in CANCEL_APPOINTMENT.examples:
        body = read(EXAMPLES / f"{name}.json")["response"]["body"]
        assert name.startswith(body["outcome"])
        assert body["confirmed"] is not name.endswith("_unconfirmed")
        assert body["replayed"] is name.endswith("_replayed")


def answers(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for methods in document["paths"].values():
        for operation in methods.values():
            yield from (
                (operation["operationId"], status, answer)
                for status, answer in operation["responses"].items()
            )


@pytest.mark.parametrize(
    "operation", catalogue.OPERATIONS, ids=lambda operation: operation.operation_id
)
def test_an_operation_is_published_with_every_status_and_code_that_it_has(
    operation: Published,
) -> None:
    published = {
        status: answer
        for name, status, answer in answers(read(OPENAPI))
        if name == operation.operation_id
    }
    rows = {str(status): [row.code for row in found] for status, found in operation.rows().items()}
    assert {
        status: answer["x-codes"] for status, answer in published.items() if status[0] in "45"
    } == rows
    for status, codes in rows.items():
        assert set(published[status]["content"]["application/json"]["examples"]) == set(codes)
        assert all(code in published[status]["description"] for code in codes)


def test_the_routes_of_the_app_are_the_paths_of_the_document() -> None:
    from function_app import app

    routes = set()
    for function in app.get_functions():
        trigger = function.get_trigger()
        assert trigger is not None
        said = trigger.get_dict_repr()
        routes |= {(f"/{said['route']}", method.value.lower()) for method in said["methods"]}
    assert routes == {
        (path, method) for path, methods in read(OPENAPI)["paths"].items() for method in methods
    }


def test_nothing_in_the_connectors_document_may_be_null_or_one_of_several() -> None:
    def words(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            for word, value in node.items():
                yield word
                yield from words(value)
        elif isinstance(node, list):
            for part in node:
                yield from words(part)

    document = read(SWAGGER)
    forbidden = {
        "anyOf",
        "oneOf",
        "const",
        "$defs",
        "nullable",
        "x-nullable",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "openapi",
        "components",
    }
    assert forbidden.isdisjoint(words(document))
    assert {
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
    } == {
        operation.operation_id
        for operation in catalogue.OPERATIONS
        if operation.for_makers is not None
    }
