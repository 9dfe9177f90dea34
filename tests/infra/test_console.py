"""The console's server.

Its files and their headers, who may use the simulators from a browser, and the pages of
documentation to publish.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from infra.local import seed
from infra.local.console import docs as console_docs
from infra.local.console.server import Console
from infra.local.host.settings import read_cors
from infra.local.stack import LocalStack

FOLDER = Path(console_docs.__file__).with_name("page")
FACADE = "http://localhost:7071"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def console() -> Iterator[Console]:
    with LocalStack() as stack, Console(stack, FACADE) as running:
        yield running


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "openapi.json"
    path.write_text('{"openapi": "3.1.0", "info": {"title": "T", "version": "1"}, "paths": {}}')
    monkeypatch.setattr(console_docs, "DOCUMENT", path)
    return path


def simulators(console: Console) -> dict[str, str]:
    where = console.settings()["stack"]
    assert isinstance(where, dict)
    return where


@pytest.mark.parametrize(
    "path", ["", "console.js", "parts.js", "partner.js", "stack.js", "console.css", "icon.svg"]
)
def test_every_file_comes_with_a_strict_policy(
    console: Console, http: requests.Session, path: str
) -> None:
    answer = http.get(f"{console.url}/{path}", timeout=10)
    policy = answer.headers["Content-Security-Policy"]
    assert answer.status_code == 200
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    allowed = policy.split("connect-src ")[1].split(";")[0].split()
    assert allowed == ["'self'", FACADE, simulators(console)["entra"], simulators(console)["graph"]]


@pytest.mark.parametrize(
    "path", sorted(path for path in FOLDER.rglob("*") if path.is_file()), ids=lambda path: path.name
)
def test_the_page_needs_nothing_from_elsewhere_and_has_no_inline_code(path: Path) -> None:
    text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"https?://[^\s\"'`$]+", text) == []
    assert not re.search(
        r"\son\w+=|style=|javascript:|innerHTML|insertAdjacentHTML|document\.write|\beval\(", text
    )
    if path.suffix == ".html":
        assert not re.search(r"<style|<script(?![^>]*\ssrc=)", text)


def test_the_partner_part_knows_nothing_of_the_local_stack() -> None:
    partner = (FOLDER / "partner.js").read_text("utf-8")
    assert "_local" not in partner
    assert not re.search(r"^import|\bimport\(", partner, re.MULTILINE)


def test_the_page_is_told_where_everything_is(console: Console, http: requests.Session) -> None:
    told = http.get(f"{console.url}/config.json", timeout=10).json()
    assert told["partner"]["facade"] == FACADE
    assert told["partner"]["redirectUri"] == f"{console.url}/"
    assert told["partner"]["authority"] == f"{told['stack']['entra']}/{seed.TENANT_ID}"
    assert all(
        told["range"]["start"] <= appointment.start[:10] <= told["range"]["end"]
        for appointment in seed.APPOINTMENTS
    )


@pytest.mark.parametrize(
    "path",
    [
        "nothing.js",
        "../console.py",
        "%2e%2e/console.py",
        "docs/nothing",
        "docs/../console.js",
        "docs/%2e%2e/index.html",
        "docs/x/y",
    ],
)
def test_nothing_else_is_served(console: Console, http: requests.Session, path: str) -> None:
    request = requests.Request("GET", console.url).prepare()
    request.url = f"{console.url}/{path}"  # as it stands: requests would resolve the dots
    assert http.send(request, timeout=10).status_code == 404


@pytest.mark.parametrize("name", ["entra", "graph"])
def test_the_console_places_faults_from_its_origin(
    console: Console, http: requests.Session, name: str
) -> None:
    address = f"{simulators(console)[name]}/_local/faults"
    question = {
        "Origin": console.url,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    preflight = http.options(address, headers=question, timeout=10)
    placed = http.post(
        address, data='{"step": "*"}', headers={**JSON, "Origin": console.url}, timeout=10
    )
    read = http.get(address, headers={"Origin": console.url}, timeout=10)
    assert preflight.status_code == 204
    assert preflight.headers["Access-Control-Allow-Methods"] == "GET, POST, DELETE"
    assert {
        answer.headers["Access-Control-Allow-Origin"] for answer in (preflight, placed, read)
    } == {console.url}
    assert [fault["step"] for fault in read.json()] == ["*"]
    assert http.delete(address, headers={"Origin": console.url}, timeout=10).ok


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:1", "null", FACADE])
@pytest.mark.parametrize("name", ["entra", "graph"])
def test_pages_of_other_origins_are_refused_before_anything_happens(
    console: Console, http: requests.Session, name: str, origin: str
) -> None:
    address = f"{simulators(console)[name]}/_local/faults"
    refused = http.post(
        address,
        data='{"step": "*"}',
        headers={"Origin": origin, "Content-Type": "text/plain"},
        timeout=10,
    )
    preflight = http.options(
        address, headers={"Origin": origin, "Access-Control-Request-Method": "DELETE"}, timeout=10
    )
    assert (refused.status_code, preflight.status_code) == (403, 403)
    assert "Access-Control-Allow-Origin" not in {**refused.headers, **preflight.headers}
    assert http.get(address, timeout=10).json() == []


def test_a_console_that_ended_leaves_no_permission_behind(http: requests.Session) -> None:
    with LocalStack() as stack:
        with Console(stack) as console:
            origin = console.url
            assert stack.graph.page_origins == stack.entra.page_origins == {origin}
        assert stack.graph.page_origins == stack.entra.page_origins == frozenset()


def test_a_reset_leaves_the_console_its_permission() -> None:
    with LocalStack() as stack, Console(stack) as console:
        stack.reset()
        assert stack.graph.page_origins == stack.entra.page_origins == {console.url}
        assert stack.entra.sign_in.knows_origin(console.url)


def test_origins_on_the_command_line_take_the_place_of_those_in_the_file() -> None:
    listed = {"CORS": "http://localhost:7070"}
    assert read_cors(listed, Path("x")).origins == {"http://localhost:7070"}
    assert read_cors(listed, Path("x"), "http://a:1, http://b:2/").origins == {
        "http://a:1",
        "http://b:2",
    }


def test_the_example_settings_let_the_console_in() -> None:
    example = json.loads((FOLDER.parents[3] / "local.settings.example.json").read_text("utf-8"))
    assert read_cors(example["Host"], Path("x")).origins == {"http://localhost:7070"}


# The pages of documentation


def test_the_pages_are_built_whole_and_ask_no_other_host(document: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    console_docs.build(target)
    assert {path.name for path in target.iterdir()} == {
        "index.html",
        "docs.css",
        "docs.js",
        "openapi.json",
        "swagger-ui-bundle.js",
        "swagger-ui.css",
        "swagger-ui.LICENSE.txt",
    }
    assert (target / "openapi.json").read_text() == document.read_text()
    assert "Apache License" in (target / "swagger-ui.LICENSE.txt").read_text("utf-8")
    page = (target / "index.html").read_text("utf-8")
    assert console_docs.POLICY in " ".join(page.split())
    referenced = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert {name for name in referenced if not name.startswith("data:")} <= {
        path.name for path in target.iterdir()
    }


def test_the_pages_are_served_beside_the_console(
    console: Console, http: requests.Session, document: Path
) -> None:
    assert http.get(f"{console.url}/docs", timeout=10).url == f"{console.url}/docs/"
    for name in ("", *console_docs.pages()):
        answer = http.get(f"{console.url}/docs/{name}", timeout=10)
        assert (answer.status_code, answer.headers["Content-Security-Policy"]) == (
            200,
            console_docs.POLICY,
        )


def test_the_document_that_is_shown_names_the_service_and_not_the_console(
    console: Console, http: requests.Session, document: Path
) -> None:
    shown = http.get(f"{console.url}/docs/openapi.json", timeout=10).json()
    assert [server["url"] for server in shown["servers"]] == [f"{console.facade_url}/api"]
    assert shown == {**json.loads(document.read_text("utf-8")), "servers": shown["servers"]}


def test_a_missing_document_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console_docs, "DOCUMENT", tmp_path / "none.json")
    assert console_docs.main([str(tmp_path / "site")]) == 1
    assert capsys.readouterr().err.endswith("none.json is missing.\n")
