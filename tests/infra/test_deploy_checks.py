"""The questions before and after a deployment, and the words where something is wrong."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from scripts import after_deploy, before_provision
from scripts.after_deploy import read_published, read_version

HEALTHY = (200, {"status": "ok", "version": read_version()})
ROOT = "http://localhost:7071"

CONTRIBUTOR = {"actions": ["*"], "notActions": ["Microsoft.Authorization/*/Write"]}
ADMINISTRATOR = {"actions": ["Microsoft.Authorization/roleAssignments/write", "*/read"]}
OWNER = {"actions": ["*"], "notActions": []}


@pytest.mark.parametrize(
    ("held", "missing"),
    [
        pytest.param([OWNER], [], id="an owner"),
        pytest.param([CONTRIBUTOR, ADMINISTRATOR], [], id="two roles"),
        pytest.param(
            [CONTRIBUTOR], ["Role Based Access Control Administrator"], id="a contributor alone"
        ),
        pytest.param([ADMINISTRATOR], ["Contributor"], id="an administrator alone"),
        pytest.param([], list(before_provision.NEEDED.values()), id="a guest"),
    ],
)
def test_a_role_that_is_missing_is_found_before_anything_is_made(
    held: list[dict[str, Any]], missing: list[str]
) -> None:
    assert list(before_provision.find_missing(held)) == missing


@pytest.mark.parametrize(
    ("prints", "code", "words"),
    [
        pytest.param('{"value": [{"actions": ["*"], "notActions": []}]}', 0, "", id="may"),
        pytest.param(
            '{"value": [{"actions": ["*/read"]}]}',
            1,
            "ask its owner for the role Contributor and the role Role Based",
            id="may not",
        ),
        pytest.param("Please run az login", 0, "Not checked", id="not signed in"),
    ],
)
def test_the_hook_before_provisioning_says_what_to_ask_whom_for(
    prints: str,
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cli = tmp_path / "az"
    cli.write_text(f"#!/bin/sh\necho '{prints}'\n")
    cli.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    assert before_provision.main({"AZURE_SUBSCRIPTION_ID": "0000"}) == code
    assert words in capsys.readouterr().out


def a_service(**answers: tuple[int, Any]) -> after_deploy.Ask:
    """Answer as the deployed service does without a token, except where a test says otherwise."""

    def ask(_method: str, url: str) -> tuple[int, Any]:
        path = url.removeprefix(f"{ROOT}/api/")
        usual = HEALTHY if path == "health" else (401, {"code": "missing_token"})
        return answers.get(path.rpartition("/")[2].replace("-", "_").replace(".", "_"), usual)

    return ask


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        pytest.param({}, "", id="all is well"),
        pytest.param(
            {"health": (200, {"status": "ok"})},
            "version without a name still answers",
            id="another service",
        ),
        pytest.param({"health": (404, None)}, "no function was found", id="no function"),
        pytest.param({"health": (0, None)}, "answers nothing", id="no answer"),
        pytest.param(
            {"health": (200, {"status": "ok", "version": "0.0.1"})},
            "version 0.0.1 still answers",
            id="the version before",
        ),
        pytest.param(
            {"businesses": (404, None)}, "GET /api/v1/businesses answers 404", id="a path missing"
        ),
        pytest.param(
            {"openapi_json": (200, None)}, "openapi.json answers 200", id="a page instead of JSON"
        ),
        pytest.param(
            {"cancel_appointment": (500, {"code": "misconfigured"})},
            "answers 500 (misconfigured)",
            id="a setting at fault",
        ),
        pytest.param(
            {"cancel_appointment": (404, {"code": "webhooks_not_enabled"})},
            "",
            id="a route that is off",
        ),
    ],
)
def test_a_deployment_is_judged_by_what_it_answers(
    answers: dict[str, tuple[int, Any]], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {"SERVICE_API_URI": f"{ROOT}/", "PATIENCE_SECONDS": "0.01"}

    code = after_deploy.main(environment, a_service(**answers))

    said = capsys.readouterr().out
    assert (code, words in said) == (1 if words else 0, True)
    assert ("on every published path" in said) != bool(words)


def test_a_cold_start_is_waited_for() -> None:
    waited: list[float] = []
    starting = iter([(503, None), (404, None)])

    def ask(method: str, url: str) -> tuple[int, Any]:
        return next(starting, a_service()(method, url))

    assert after_deploy.main({"SERVICE_API_URI": ROOT}, ask, waited.append) == 0
    assert len(waited) == 2


class Host(BaseHTTPRequestHandler):
    """What the platform answers where there is no function, and what a function answers."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
        self.wfile.write(b'{"status": "ok"}' if self.path == "/api/health" else b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name it has there
        """Say nothing."""


def test_it_is_asked_over_http() -> None:
    with HTTPServer(("127.0.0.1", 0), Host) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}"
        assert after_deploy.ask_over_http("GET", f"{root}/api/health") == (200, {"status": "ok"})
        assert after_deploy.ask_over_http("GET", f"{root}/api/v1/businesses") == (404, None)
        server.shutdown()
    assert after_deploy.ask_over_http("GET", f"{root}/api/health") == (0, None)


def test_no_token_and_no_stranger_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    for address in ("", "http://func.example.com", "ftp://x", "file:///etc/passwd"):
        assert after_deploy.main({"SERVICE_API_URI": address}) == 1
        assert "SERVICE_API_URI is not set" in capsys.readouterr().out


def test_every_published_path_is_asked() -> None:
    asked: list[str] = []

    def faults() -> Iterator[str]:
        def ask(method: str, url: str) -> tuple[int, Any]:
            asked.append(f"{method} {url.removeprefix(ROOT)}")
            return a_service()(method, url)

        yield from after_deploy.find_faults(ROOT, read_published(), read_version(), ask)

    assert list(faults()) == []
    assert "POST /api/v1/webhooks/cancel-appointment" in asked
    assert "GET /api/v1/businesses/x/appointments" in asked
    assert len(asked) == len(read_published()) + 1
