"""The operator's smoke test, run as operators run it.

It is a process with three variables, against the local stack.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.local import seed
from infra.local.faults import Fault
from tests.client import Facade

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "smoke.py"
PASSED, FAILED, MISUSED, INCOMPLETE = 0, 1, 2, 3


def smoke(**variables: str) -> tuple[int, str]:
    """Run it; returns its exit code and all that it said."""
    environment: Mapping[str, str] = {"PATH": os.environ["PATH"], "NO_PROXY": "*", **variables}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_service_that_works_passes_and_is_not_changed(facade: Facade) -> None:
    token = facade.stack.entra.user_token()

    code, said = smoke(URL=facade.url, TOKEN=token, BUSINESS=seed.LUNCH_DELIVERY)

    assert code == PASSED, said
    assert "its repeat is recognised: 200" in said
    assert token not in said
    assert facade.stack.graph.bookings.cancellations == []
    assert facade.stack.graph.bookings.outbox == []


@pytest.mark.parametrize(
    ("variables", "untried"),
    [({}, "TOKEN and BUSINESS"), ({"BUSINESS": seed.LUNCH_DELIVERY}, "TOKEN")],
    ids=["neither", "no-token"],
)
def test_what_was_not_tried_is_said(
    facade: Facade, variables: dict[str, str], untried: str
) -> None:
    code, said = smoke(URL=facade.url, **variables)

    assert code == INCOMPLETE, said
    assert f"not tried without {untried}\n" in said
    assert facade.stack.graph.received == []


def test_a_token_for_another_api_fails_with_advice(facade: Facade) -> None:
    code, said = smoke(
        URL=facade.url,
        TOKEN=facade.stack.entra.user_token(audience=seed.PARTNER_CLIENT_ID),
        BUSINESS=seed.LUNCH_DELIVERY,
    )

    assert code == FAILED
    assert "code=invalid_token" in said
    assert "API_SCOPE" in said


def test_a_business_that_is_not_there_fails(facade: Facade) -> None:
    code, said = smoke(
        URL=facade.url,
        TOKEN=facade.stack.entra.user_token(),
        BUSINESS="nope@M365B489948.onmicrosoft.com",
    )

    assert code == FAILED
    assert "FAIL  the business is there: 404" in said
    assert "code=business_not_found" in said
    assert not [call for call in facade.stack.graph.received if call.method == "POST"]


def test_graph_in_trouble_fails(facade: Facade) -> None:
    facade.stack.graph.faults.add(
        Fault(
            step="cancel",
            status=403,
            body={"error": {"code": "ErrorAccessDenied", "message": "Access is denied."}},
        )
    )

    code, said = smoke(
        URL=facade.url, TOKEN=facade.stack.entra.user_token(), BUSINESS=seed.LUNCH_DELIVERY
    )

    assert code == FAILED
    assert "code=access_denied" in said


def test_an_appointment_that_exists_is_never_chosen(facade: Facade) -> None:
    codes = [
        smoke(URL=facade.url, TOKEN=facade.stack.entra.user_token(), BUSINESS=seed.LUNCH_DELIVERY)[
            0
        ]
        for _ in range(2)
    ]

    bodies = {call.path for call in facade.stack.graph.received if call.method == "POST"}
    assert codes == [PASSED, PASSED]
    assert len(bodies) == 2  # another made-up id each time


@pytest.mark.parametrize(
    "url",
    [
        "",
        "not an address",
        "http://func-cancel.azurewebsites.net",
        "https://func-cancel.azurewebsites.net/api/v1",
        "https://a@b.example",
        "https://[",
        "ftp://localhost",
    ],
)
def test_an_address_to_which_no_token_should_go_is_refused(url: str) -> None:
    code, said = smoke(URL=url, TOKEN="a-token", BUSINESS=seed.LUNCH_DELIVERY)

    assert code == MISUSED
    assert "a-token" not in said


def test_a_service_that_is_not_there_fails() -> None:
    code, said = smoke(URL="http://127.0.0.1:1", TOKEN="a-token", BUSINESS=seed.LUNCH_DELIVERY)

    assert code == FAILED
    assert "no answer (ConnectionError)" in said
    assert "a-token" not in said
