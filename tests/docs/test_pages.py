"""The pages are in order.

Links lead somewhere, code can be read, commands exist, and nothing is missing.
"""

import ast
import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from cancel_appointment.protocol.outcome import Outcome
from shared.serving.problems import BUG, TABLE
from shared.settings import Settings, TelemetrySettings
from shared.telemetry.journal import Journal
from tests.docs.pages import REPOSITORY, Block, Page, all_pages

PAGES = all_pages()
BY_PATH = {page.path: page for page in PAGES}
each_page = pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
BLOCKS = [
    pytest.param(page, block, id=f"{page.name}:{block.line}")
    for page in PAGES
    for block in page.blocks
]
PLACEHOLDER = re.compile(r"<[^<>\n]*>")
MAKE = re.compile(r"(?<![\w-])make ([a-z]+)\b")
TARGETS = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE))


@each_page
def test_every_link_leads_somewhere(page: Page) -> None:
    for link in page.links:
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        where, _, anchor = link.partition("#")
        file = (page.path.parent / where).resolve() if where else page.path
        assert file.is_relative_to(REPOSITORY), link
        assert file.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in BY_PATH[file].anchors, f"{page.name} links to {link}"


@each_page
def test_every_page_is_reached_from_the_door_or_stands_beside_it(page: Page) -> None:
    if page.path.parent == REPOSITORY or ".github" in page.path.parts:
        return
    linked = {
        (one.path.parent / link.partition("#")[0]).resolve()
        for one in PAGES
        if one.path != page.path
        for link in one.links
    }
    assert page.path in linked


def test_the_index_names_every_page_of_docs() -> None:
    folder = REPOSITORY / "docs"
    index = BY_PATH[folder / "README.md"]
    named = {(folder / link.partition("#")[0]).resolve() for link in index.links}
    assert {path for path in BY_PATH if path.parent == folder} - named == {index.path}


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_every_block_of_code_can_be_read(page: Page, block: Block) -> None:
    text = block.text
    match block.language:
        case "json":
            decoder, rest = json.JSONDecoder(), text.strip()
            while rest:
                _, end = decoder.raw_decode(rest)
                rest = rest[end:].strip()
        case "python":
            ast.parse(text)
        case "" | "bash" | "sh":
            if _is_shell(text):
                shell = PLACEHOLDER.sub("PLACEHOLDER", text)
                done = subprocess.run(
                    ["bash", "-n"], input=shell, capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, f"{page.name}:{block.line}: {done.stderr}"
        case "powershell" | "kusto" | "text" | "mermaid" | "powerfx" | "yaml" | "bicep" | "http":
            assert text.strip()
        case other:
            raise AssertionError(f"{page.name}:{block.line}: no rule reads {other!r}")


def _is_shell(text: str) -> bool:
    first = text.lstrip().split(maxsplit=1)[0]
    return not first.isupper() and not text.lstrip().startswith(("{", "[", "manual trigger"))


@each_page
def test_every_target_of_make_that_a_page_names_exists(page: Page) -> None:
    code = "\n".join(
        [*re.findall(r"`([^`\n]+)`", page.prose), *(block.text for block in page.blocks)]
    )
    assert set(MAKE.findall(code)) <= TARGETS


@each_page
def test_every_path_that_a_page_names_exists(page: Page) -> None:
    tops = {path.name for path in REPOSITORY.iterdir()}
    for span in re.findall(r"`([\w./-]+)`", page.prose):
        if "/" not in span or span.split("/")[0] not in tops - {".local", ".azure", ".venv"}:
            continue
        if page.name == "CHANGELOG.md":
            continue
        assert (REPOSITORY / span).exists(), f"{page.name} names {span}"


def test_every_mermaid_block_names_a_kind_of_diagram() -> None:
    diagrams = [block for page in PAGES for block in page.blocks if block.language == "mermaid"]
    assert len(diagrams) >= 3
    for block in diagrams:
        assert block.text.split()[0] in {"flowchart", "sequenceDiagram"}


def test_no_node_of_a_flowchart_is_named_by_a_reserved_word() -> None:
    """GitHub shows a parse error in the place of such a diagram."""
    reserved = re.compile(r"(?<![\w\"])(graph|flowchart|end|style|class|click|default)(?=\[| -->)")
    for page in PAGES:
        for block in page.blocks:
            if block.language == "mermaid" and block.text.startswith("flowchart"):
                assert not reserved.search(block.text), f"{page.name}:{block.line}"


# What has to stand in the pages.


def page(name: str) -> Page:
    return BY_PATH[REPOSITORY / name]


def test_the_readme_is_a_door() -> None:
    assert len(page("README.md").text.splitlines()) <= 130


CODES = {row.code for row in [*TABLE.values(), BUG]}


def test_every_code_stands_in_troubleshooting_and_in_the_api() -> None:
    assert set(page("docs/troubleshooting.md").first_cells("Every code")) == CODES
    problems = re.findall(r"^\| \d{3} \| `(\w+)` \|", page("docs/api.md").prose, re.MULTILINE)
    assert set(problems) == CODES


@pytest.mark.parametrize("row", [*TABLE.values(), BUG], ids=lambda row: row.code)
def test_the_api_page_says_the_status_and_whether_to_repeat(row: object) -> None:
    told = re.findall(
        r"^\| (\d{3}) \| `(\w+)` \| (yes|no) \|", page("docs/api.md").prose, re.MULTILINE
    )
    code, status = row.code, row.status  # type: ignore[attr-defined]
    retryable = "yes" if row.retryable else "no"  # type: ignore[attr-defined]
    assert (str(int(status)), code, retryable) in told


def test_every_path_of_the_service_stands_in_a_page() -> None:
    told = page("docs/api.md").text + page("docs/webhooks.md").text
    document = json.loads((REPOSITORY / "describe_api/openapi.json").read_text("utf-8"))
    assert [path for path in document["paths"] if path not in told] == []


def test_every_outcome_stands_in_the_api() -> None:
    assert set(page("docs/api.md").first_cells("The answers")) >= {one.value for one in Outcome}


FIXED = {"requestId": "", "instance": "", "upstream": {}, "appointmentId": ""}


@pytest.mark.parametrize(
    ("name", "number", "example"),
    [
        ("README.md", 0, "cancelled"),
        ("README.md", 1, "not_found"),
        ("docs/api.md", 0, "throttled"),
    ],
)
def test_an_answer_that_is_shown_is_one_that_was_recorded(
    name: str, number: int, example: str
) -> None:
    shown = [block.text for block in page(name).blocks if block.language == "json"][number]
    recorded = json.loads((REPOSITORY / "docs" / "examples" / f"{example}.json").read_text("utf-8"))
    answer = recorded["response"]["body"]
    told = json.loads(shown)
    assert list(told) == list(answer)
    assert {**told, **FIXED} == {**answer, **FIXED}


def names_in_the_line(caplog: pytest.LogCaptureFixture) -> set[str]:
    """The names that a line of a request may have: the journal's own, and what is noted."""
    caplog.set_level("INFO", "facade.request")
    journal = Journal("r", time.monotonic, correlation_id="c", action="cancel")
    call = {"graph_request_id": "g", "code": "Code", "call_id": "i"}
    journal.graph_call("cancel", "answered", status=204, seconds=0.1, **call)
    journal.write(200, "cancelled")
    own = re.findall(r"(\w+)=", caplog.messages[-1].removeprefix("event=request"))
    noted = {
        keyword.arg
        for folder in ("shared", "cancel_appointment", "list_bookings")
        for file in (REPOSITORY / folder).rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "note"
        for keyword in call.keywords
        if keyword.arg
    }
    return set(own) | noted


def test_every_name_in_a_line_of_the_log_is_explained(caplog: pytest.LogCaptureFixture) -> None:
    told = page("docs/troubleshooting.md")
    names = set(told.first_cells("From a requestId to the cause"))
    assert names == names_in_the_line(caplog)
    (sample,) = (block.text for block in told.blocks if block.text.startswith("event=request"))
    assert set(re.findall(r" (\w+)=", sample)) <= names


def settings_of_the_code() -> set[str]:
    fields = {*Settings.model_fields, *TelemetrySettings.model_fields}
    return {name.upper() for name in fields}


def test_every_setting_stands_in_the_settings_page() -> None:
    told = page("docs/settings.md").first_cells()
    assert len(told) == len(set(told))
    read_by_others = {"APPLICATIONINSIGHTS_AUTHENTICATION_STRING"}
    read_by_others |= {"OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"}
    assert set(told) - read_by_others == settings_of_the_code() - read_by_others


@pytest.mark.parametrize("name", ["default_cancellation_message", "request_deadline_seconds"])
def test_a_default_is_told_in_full(name: str) -> None:
    default = Settings.model_fields[name].default
    row = re.search(rf"^\| `{name.upper()}` \|(.+)$", page("docs/settings.md").prose, re.MULTILINE)
    assert row is not None
    assert (
        f"`{default:g}`" in row[1] or f"`{default}`" in row[1]
        if isinstance(default, float)
        else f"`{default}`" in row[1]
    )


def test_no_page_names_a_machine() -> None:
    for one in PAGES:
        assert not re.search(r"/(root|home/\w+)/", one.text), one.name


def test_the_pages_are_not_the_only_copy_of_the_examples() -> None:
    folder = Path(REPOSITORY / "docs" / "examples")
    for link in page("docs/api.md").links:
        if link.startswith("examples/"):
            assert json.loads((folder / link.removeprefix("examples/")).read_text("utf-8"))
