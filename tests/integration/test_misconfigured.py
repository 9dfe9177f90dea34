"""A setting that is missing or contradicts another.

One sentence names it, to the caller and in the log, and nothing else is said. That a mended setting
is picked up without a restart is in test_lazy: nobody can change a running process's environment
from outside.
"""

from pathlib import Path

import pytest
import requests

from describe_api.version import VERSION
from infra.local import seed
from infra.local.host.process import HostProcess
from infra.local.stack import LocalStack
from shared.serving.problems import Problem
from tests.client import Facade
from tests.conftest import REPOSITORY

PATIENCE_S = 60.0
CREDENTIALS = "CLIENT_SECRET, CLIENT_CERTIFICATE_PATH, MANAGED_IDENTITY_CLIENT_ID"

# What is set, beside or instead of what is right, and what is said. "" counts as not set. Values
# that must not be repeated hold "mark". FILE is a file that exists and holds nonsense.
WRONG: dict[str, tuple[dict[str, str], str]] = {
    "no tenant": ({"TENANT_ID": ""}, "The setting TENANT_ID is missing."),
    "no client": ({"CLIENT_ID": ""}, "The setting CLIENT_ID is missing."),
    "a tenant's name": (
        {"TENANT_ID": "mark.onmicrosoft.com"},
        "The setting TENANT_ID must be a GUID, e.g. 11111111-2222-3333-4444-555555555555.",
    ),
    "no credential": ({"CLIENT_SECRET": ""}, f"Exactly one of {CREDENTIALS} must be set; none is."),
    "two credentials": (
        {"CLIENT_SECRET": "mark", "MANAGED_IDENTITY_CLIENT_ID": seed.PARTNER_CLIENT_ID},
        (
            f"Exactly one of {CREDENTIALS} must be set; CLIENT_SECRET and "
            "MANAGED_IDENTITY_CLIENT_ID are."
        ),
    ),
    "a certificate that is none": (
        {
            "CLIENT_SECRET": "",
            "CLIENT_CERTIFICATE_PATH": "FILE",
            "CLIENT_CERTIFICATE_PASSWORD": "mark",
        },
        (
            "The setting CLIENT_CERTIFICATE_PATH names a file that holds no readable private key "
            "and certificate."
        ),
    ),
    "a cloud without Bookings": (
        {"CLOUD": "china"},
        (
            "The setting CLOUD is 'china', and Microsoft Bookings does not exist there; use "
            "global, usgov or dod."
        ),
    ),
    "Graph in plain text": (
        {"GRAPH_ENDPOINT": "http://mark.example"},
        (
            "The setting GRAPH_ENDPOINT must be an https address without a path, e.g. "
            "https://graph.microsoft.com."
        ),
    ),
    "nobody allowed": (
        {"ALLOWED_CLIENT_IDS": ","},
        (
            "The setting ALLOWED_CLIENT_IDS must be a list with at least one entry, separated by "
            "commas."
        ),
    ),
    "no time": (
        {"REQUEST_DEADLINE_SECONDS": "0"},
        (
            "The setting REQUEST_DEADLINE_SECONDS is not usable: input should be greater than or "
            "equal to 2."
        ),
    ),
    "no bundle": (
        {"CA_BUNDLE": "/nowhere/mark.pem"},
        "The setting CA_BUNDLE names a file that cannot be read.",
    ),
    "a bundle that is none": (
        {"CA_BUNDLE": "FILE"},
        "The setting CA_BUNDLE names a file that holds no readable certificate (PEM).",
    ),
    "a table and no place": (
        {"IDEMPOTENCY_STORE": "table"},
        (
            "IDEMPOTENCY_STORE is table, so exactly one of IDEMPOTENCY_TABLE_ENDPOINT and "
            "IDEMPOTENCY_TABLE_CONNECTION_STRING must be set."
        ),
    ),
    "a place that is none": (
        {"IDEMPOTENCY_STORE": "table", "IDEMPOTENCY_TABLE_CONNECTION_STRING": "mark"},
        "The setting IDEMPOTENCY_TABLE_CONNECTION_STRING is not a connection string.",
    ),
    "telemetry to nowhere": (
        {"TELEMETRY": "azure_monitor", "APPLICATIONINSIGHTS_CONNECTION_STRING": "mark"},
        (
            "The setting APPLICATIONINSIGHTS_CONNECTION_STRING is no connection string of "
            "Application Insights."
        ),
    ),
}


@pytest.mark.parametrize(("overrides", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_setting_is_one_sentence_to_the_caller_and_in_the_log(
    stack: LocalStack, tmp_path: Path, overrides: dict[str, str], sentence: str
) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("-----BEGIN NONSENSE-----\nmark\n")
    environment = stack.environment | {
        name: str(nonsense) if value == "FILE" else value for name, value in overrides.items()
    }
    with HostProcess(REPOSITORY, environment) as host, requests.Session() as session:
        session.trust_env = False
        facade = Facade(host.url, session, stack)
        answers = [facade.cancel(facade.book()) for _ in range(2)]
        health = session.get(f"{host.url}/api/health", timeout=PATIENCE_S)
    printed = host.output()

    problems = [Problem.model_validate_json(answer.content) for answer in answers]
    for answer, problem in zip(answers, problems, strict=True):
        assert (answer.status_code, problem.code, problem.retryable) == (
            500,
            "misconfigured",
            False,
        )
        assert problem.detail == sentence
        (line,) = [
            line for line in printed.splitlines() if f"requestId={problem.request_id}" in line
        ]
        assert " ERROR facade.request: event=request status=500 code=misconfigured " in line
        assert f'reason="{sentence}"' in line
    assert (health.status_code, health.json()) == (200, {"status": "ok", "version": VERSION})
    for told in (printed, *(answer.text for answer in answers)):
        assert "Traceback" not in told
        assert "mark" not in told.replace(str(tmp_path), "")
    assert not stack.graph.received
    assert stack.graph.bookings.cancellations == []
