"""The published documents are true.

Schemathesis generates requests from them, and judges what the running service answers.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from infra.contract.files import OPENAPI, SWAGGER
from infra.contract.recording import REPOSITORY
from infra.local.host.process import HostProcess
from infra.local.stack import LocalStack
from tests.client import Facade
from tests.contract.fuzzing import fuzz

CASES = 150  # generated for each operation; `make fuzz` does thousands


@pytest.fixture
def facade(stack: LocalStack) -> Iterator[Facade]:
    """A service that takes webhooks, too."""
    with (
        HostProcess(REPOSITORY, stack.environment_with_webhooks) as host,
        requests.Session() as session,
    ):
        session.trust_env = False
        yield Facade(host.url, session, stack)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("document", [OPENAPI, SWAGGER], ids=["openapi", "swagger"])
def test_the_service_does_what_its_document_says(facade: Facade, document: Path) -> None:
    verdict = fuzz(document, facade.url, facade.stack.entra.user_token(), cases=CASES)

    assert verdict.passed, verdict.report
    assert verdict.cases >= CASES * 3, verdict.report
    for path, methods in json.loads(document.read_text())["paths"].items():
        for method, operation in methods.items():
            # Of those without parameters there is but one request.
            wanted = CASES // 10 if "parameters" in operation else 1
            assert verdict.accepted[f"{method.upper()} {path}"] >= wanted, (
                verdict.accepted,
                verdict.report,
            )


@pytest.mark.timeout(300)
def test_a_document_that_is_not_true_is_found_out(facade: Facade, tmp_path: Path) -> None:
    untrue = json.loads(OPENAPI.read_text())
    untrue["paths"] = {path: untrue["paths"][path] for path in ("/v1/businesses", "/health")}
    untrue["paths"]["/health"]["get"]["security"] = untrue["paths"]["/v1/businesses"]["get"][
        "security"
    ]
    operation = untrue["paths"]["/v1/businesses"]["get"]
    operation["parameters"][0]["schema"]["maxLength"] = 50  # accepted is twice as much
    del operation["responses"]["400"]
    untrue["components"]["schemas"]["BusinessesAnswer"]["properties"]["complete"]["type"] = "string"
    path = tmp_path / "untrue.json"
    path.write_text(json.dumps(untrue))
    verdict = fuzz(path, facade.url, facade.stack.entra.user_token(), cases=20, phases="coverage")

    assert not verdict.passed
    for fault in (
        "Undocumented status code",
        "Response violates schema",
        "Schema-violating request accepted",
        "API accepts requests without authentication",
    ):
        assert fault in verdict.report
