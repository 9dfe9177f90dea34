"""What is deployed, and what builds it, is pinned and known.

Locked requirements, the deployment package, the bill of materials, the workflows.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from pathspec import GitIgnoreSpec

from scripts import snapshots
from scripts.package import (
    BESIDE_IT,
    REPOSITORY,
    build,
    find_product,
    pip_command,
    read_ignored,
)

LOCKS = ("requirements", "requirements-dev", "requirements-tools")
MAKEFILE = (REPOSITORY / "Makefile").read_text("utf-8")

type Pins = dict[str, Requirement]


# The locked requirements.


@dataclass(frozen=True)
class Locked:
    """One entry of a lock file; ``direct`` says whether an input names it."""

    version: str
    hashes: frozenset[str]
    direct: bool


def read_pins(text: str) -> Pins:
    """Read what an input names itself, without the files that it takes over."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    pins = [Requirement(line) for line in lines if line and not line.startswith(("-r ", "-c "))]
    return {canonicalize_name(pin.name): pin for pin in pins}


def pins_of(name: str) -> Pins:
    """Read ``name``.in and what it takes over from another."""
    text = (REPOSITORY / f"{name}.in").read_text("utf-8")
    taken_over = re.findall(r"^-r (\S+)\.in", text, re.MULTILINE)
    return {key: pin for other in taken_over for key, pin in pins_of(other).items()} | read_pins(
        text
    )


ENTRY = re.compile(
    r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9][0-9a-z.+!]*)(?: ; (?P<marker>[^\\\n]+?))?"
    r"(?P<hashes>(?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n"
    r"    # via (?P<via>[^\n]+)\n"
)


def read_lock(text: str) -> dict[str, Locked]:
    """Read a lock file: entries of one form, and nothing else.

    Errors: ValueError with the first line that is of another form.
    """
    at = text.index("\n", text.index("make lock")) + 1
    entries: dict[str, Locked] = {}
    while at < len(text):
        entry = ENTRY.match(text, at)
        if entry is None:
            raise ValueError(text[at:].split("\n", 1)[0])
        hashes = frozenset(re.findall(r"[0-9a-f]{64}", entry["hashes"]))
        entries[entry["name"]] = Locked(entry["version"], hashes, "-r requirements" in entry["via"])
        at = entry.end()
    return entries


def lock_of(name: str) -> dict[str, Locked]:
    return read_lock((REPOSITORY / f"{name}.txt").read_text("utf-8"))


def disagreements(pins: Pins, lock: dict[str, Locked]) -> Iterator[str]:
    """Say where an input and its lock do not fit together."""
    for name, pin in pins.items():
        if name not in lock:
            yield f"{name} is not locked"
        elif str(pin.specifier) != f"=={lock[name].version}":
            yield f"{pin} is locked as {lock[name].version}"
    yield from (
        f"{name} is locked, but no input names it any more"
        for name, entry in lock.items()
        if entry.direct and name not in pins
    )


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_agrees_with_its_input(name: str) -> None:
    assert list(disagreements(pins_of(name), lock_of(name))) == [], "make lock writes it again"


@pytest.mark.parametrize("name", LOCKS)
def test_an_input_pins_one_version_and_says_why(name: str) -> None:
    lines = [
        line
        for line in (REPOSITORY / f"{name}.in").read_text("utf-8").splitlines()
        if line and not line.startswith(("#", "-"))
    ]
    assert lines
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==[0-9][0-9a-z.]* +# \S.+", line), line


def test_what_is_deployed_is_what_is_tested() -> None:
    tested = lock_of("requirements-dev")
    for name, entry in lock_of("requirements").items():
        assert (tested[name].version, tested[name].hashes) == (entry.version, entry.hashes)


def test_only_what_runs_is_deployed() -> None:
    assert (
        not {"uvicorn", "pytest", "mypy", "uv", "azure-functions-worker"}
        & lock_of("requirements").keys()
    )


def test_azure_runs_the_worker_that_the_tests_ran_on(tmp_path: Path) -> None:
    """If the package names no version, Azure chooses one, older than the newest."""
    build(tmp_path / "app.zip")
    with zipfile.ZipFile(tmp_path / "app.zip") as package:
        packed = read_lock(package.read("requirements.txt").decode())
    for name in ("azure-functions-runtime", "azure-functions"):
        assert packed[name].version == version(name)


def test_the_package_is_built_for_the_python_that_azure_runs() -> None:
    template = (REPOSITORY / "infra/modules/app.bicep").read_text("utf-8")
    (deployed,) = re.findall(r"name: 'python'\n +version: '(3\.\d+)'", template)
    assert ("--python-version", deployed) in pairwise(pip_command())
    assert ("--abi", f"cp{deployed.replace('.', '')}") in pairwise(pip_command())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            r"\nmsal==",
            r"\n--index-url https://packages.example/simple\nmsal==",
            id="names a registry",
        ),
        pytest.param(
            r"\nmsal==",
            r"\n-i https://packages.example/simple\nmsal==",
            id="names a registry in short",
        ),
        pytest.param(r"\nmsal==", r"\n--find-links packages\nmsal==", id="looks elsewhere"),
        pytest.param(
            r"\nmsal==[^ ]+",
            r"\nmsal @ https://packages.example/msal.whl",
            id="comes from an address",
        ),
        pytest.param(
            r"\nmsal==[^\\]+\\\n(    --hash\S+( \\)?\n)+", r"\nmsal==1.39.0\n", id="has no hash"
        ),
        pytest.param(
            r"\nmsal==[^\\]+\\\n    --hash=sha256:",
            r"\nmsal==1.39.0 \\\n    --hash=md5:",
            id="has a weak hash",
        ),
        pytest.param(r"\nmsal==", r"\nmsal>=", id="is no single version"),
        pytest.param(r"\nmsal==[^ ]+", r"\nmsal==1.0.0", id="is another version"),
        pytest.param(r"\nmsal==[^#]+# via [^\n]+\n", r"\n", id="is missing"),
        pytest.param(
            r"# via requests\n",
            r"# via requests, -r requirements.in\n",
            id="was removed from the input",
        ),
    ],
)
def test_a_lock_that_does_not_fit_is_found(before: str, after: str) -> None:
    spoilt, count = re.subn(
        before, after, (REPOSITORY / "requirements.txt").read_text("utf-8"), count=1
    )
    assert count == 1
    assert findings(spoilt)


def findings(text: str) -> list[str]:
    try:
        lock = read_lock(text)
    except ValueError as error:
        return [str(error)]
    return list(disagreements(pins_of("requirements"), lock))


def test_nothing_is_installed_without_its_hash() -> None:
    installs = re.findall(r".*\bpip install\b.*", MAKEFILE)
    assert len(installs) == 2
    assert all("--require-hashes" in line and "--only-binary :all:" in line for line in installs)


# The deployment package.


def let_through(root: Path) -> set[str]:
    """Return what func and azd would upload from a clean checkout.

    That is what neither .gitignore nor .funcignore keeps away.
    """
    ignored = [
        read_ignored(root),
        GitIgnoreSpec.from_lines((root / ".gitignore").read_text("utf-8").splitlines()),
    ]
    found = set()
    for folder, folders, files in os.walk(root):
        here = Path(folder).relative_to(root)
        folders[:] = [
            name
            for name in folders
            if not any(spec.match_file(f"{(here / name).as_posix()}/") for spec in ignored)
        ]
        found |= {
            path
            for name in files
            if not any(spec.match_file(path := (here / name).as_posix()) for spec in ignored)
        }
    return found


def test_the_package_holds_what_func_and_azd_would_upload_and_no_more() -> None:
    assert {file.as_posix() for file in find_product(REPOSITORY)} == let_through(REPOSITORY)


def test_what_git_must_not_see_is_not_uploaded_either() -> None:
    """Everything that git ignores is a secret, or a tool's or build's own.

    Except .python_packages: Core Tools puts it there for its own upload.
    """
    patterns = [
        line
        for line in (REPOSITORY / ".gitignore").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    samples = [
        re.sub(r"\[(.).*\]", r"\1", pattern).replace("*", "x")
        + ("x" if pattern.endswith("/") else "")
        for pattern in patterns
    ]
    assert {"local.settings.json", ".env", "x.pem"} <= set(samples)
    assert [sample for sample in samples if not read_ignored(REPOSITORY).match_file(sample)] == [
        ".python_packages/x"
    ]


def test_every_module_in_the_package_is_reached_from_the_app() -> None:
    modules = {module_name(file): file for file in find_product(REPOSITORY) if file.suffix == ".py"}
    waiting, reached = ["function_app"], set[str]()
    while waiting:
        if (name := waiting.pop()) in modules and name not in reached:
            reached.add(name)
            waiting += [name.rpartition(".")[0], *modules_named_in(REPOSITORY / modules[name])]
    assert modules.keys() == reached


def module_name(file: Path) -> str:
    return ".".join(file.with_suffix("").parts).removesuffix(".__init__")


def modules_named_in(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_a_capability_that_the_app_imports_is_packed_and_any_other_file_is_not(
    tmp_path: Path,
) -> None:
    copy_product(tmp_path)
    (tmp_path / "reschedule_appointment/texts").mkdir(parents=True)
    (tmp_path / "reschedule_appointment/__init__.py").write_text("import later\n")
    (tmp_path / "reschedule_appointment/texts/mail.txt").write_text("moved")
    (tmp_path / "reschedule_appointment/__pycache__").mkdir()
    (tmp_path / "reschedule_appointment/__pycache__/x.pyc").write_text("")
    (tmp_path / "later.py").write_text("import json\n")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/todo.py").write_text("")
    app = tmp_path / "function_app.py"
    app.write_text(f"{app.read_text('utf-8')}import reschedule_appointment\n", "utf-8")
    added = {
        file.as_posix() for file in set(find_product(tmp_path)) - set(find_product(REPOSITORY))
    }
    assert added == {
        "later.py",
        "reschedule_appointment/__init__.py",
        "reschedule_appointment/texts/mail.txt",
    }
    assert let_through(tmp_path) - {file.as_posix() for file in find_product(tmp_path)} == {
        "notes/todo.py"
    }


def copy_product(folder: Path) -> None:
    for file in [*find_product(REPOSITORY), Path(".funcignore"), Path(".gitignore")]:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / file, folder / file)


def test_the_same_files_make_the_same_package(tmp_path: Path) -> None:
    copy_product(tmp_path / "copy")
    for number, file in enumerate((tmp_path / "copy").rglob("*.py")):
        os.utime(file, (number, number))
        file.chmod(0o755 if number % 2 else 0o600)
    build(tmp_path / "one.zip")
    build(tmp_path / "other.zip", root=tmp_path / "copy")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()


def test_the_package_is_small_and_has_what_the_host_looks_for_at_its_root(tmp_path: Path) -> None:
    build(tmp_path / "app.zip")
    assert (tmp_path / "app.zip").stat().st_size < 300_000
    with zipfile.ZipFile(tmp_path / "app.zip") as package:
        assert set(BESIDE_IT) <= set(package.namelist())
        assert package.testzip() is None


# The bill of materials.


def make(*arguments: str) -> str:
    """Run make with this interpreter in the place of .venv's, and return what it printed."""
    command = [
        "make",
        "--no-print-directory",
        "-o",
        ".venv/.ready",
        f"BIN={Path(sys.executable).parent}",
        *arguments,
    ]
    run = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("bill") / "sbom.json"
    make("sbom", f"SBOM={file}")
    return file.read_text("utf-8")


def test_the_bill_lists_what_is_deployed_and_nothing_else(bill: str) -> None:
    components = {component["name"]: component for component in json.loads(bill)["components"]}
    locked = lock_of("requirements")
    assert components.keys() == locked.keys()
    for name, entry in locked.items():
        assert components[name]["version"] == entry.version
        assert components[name]["purl"] == f"pkg:pypi/{name}@{entry.version}"
        hashes = [
            listed
            for reference in components[name]["externalReferences"]
            for listed in reference["hashes"]
        ]
        assert {listed["alg"] for listed in hashes} == {"SHA-256"}
        assert {listed["content"] for listed in hashes} == entry.hashes


def test_the_bill_is_a_valid_cyclonedx_document_about_this_app(bill: str) -> None:
    content: dict[str, Any] = json.loads(bill)
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(bill) is None
    assert validator.validate_str(bill.replace('"library"', '"something"')) is not None
    assert content["bomFormat"] == "CycloneDX"
    assert content["metadata"]["component"]["type"] == "application"
    assert content["metadata"]["component"]["name"] == "bookings-cancel-facade"


def test_the_bill_says_nothing_of_when_it_was_made(bill: str) -> None:
    content = json.loads(bill)
    assert "serialNumber" not in content
    assert "timestamp" not in content["metadata"]


# The workflows.

WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.y*ml"))
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


def mistakes(text: str) -> Iterator[str]:
    """Return what a reviewer would refuse in a workflow."""
    for line in re.findall(r"^.*\buses:.*$", text, re.MULTILINE):
        if not re.fullmatch(
            r"\s*- uses: [A-Za-z-]+/[A-Za-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line
        ):
            yield f"not pinned by hash with its version: {line.strip()}"
    workflow = yaml.safe_load(text)
    if {"pull_request_target", "workflow_run"} & set(workflow[True]):
        # YAML 1.1 takes the word `on` for a truth value.
        yield "runs strangers' code with this repository's rights"
    if workflow.get("permissions") != {"contents": "read"}:
        yield "may do more than read by default"
    if "secrets" in re.sub(r"#.*", "", text):
        yield "uses a secret"
    for name, job in workflow["jobs"].items():
        yield from (f"{name} {what}" for what in (*rights_mistakes(job), *step_mistakes(job)))


def rights_mistakes(job: dict[str, Any]) -> Iterator[str]:
    uses = {step.get("uses", "").partition("@")[0] for step in job["steps"]}
    rights = job.get("permissions", {})
    if rights not in ({}, {"id-token": "write"}):
        yield "may do more than it has to"
    if rights and (
        "actions/checkout" in uses
        or not all(step.get("run", "az ").startswith("az ") for step in job["steps"])
    ):
        yield "runs code of the repository while it may sign in"
    if "azure/login" in uses and not (rights and "environment" in job):
        yield "signs in without an environment's protection"
    if "timeout-minutes" not in job or not re.fullmatch(r"ubuntu-\d\d\.\d\d", job["runs-on"]):
        yield "runs for any time or on any machine"


def step_mistakes(job: dict[str, Any]) -> Iterator[str]:
    for step in job["steps"]:
        if (
            step.get("uses", "").startswith("actions/checkout")
            and step.get("with", {}).get("persist-credentials") is not False
        ):
            yield "leaves the token in the checkout"
        if "${{" in step.get("run", ""):
            yield "pastes an expression into a command"
        for target in re.findall(r"\bmake (\S+)", step.get("run", "")):
            if target not in TARGETS:
                yield f"names a target that does not exist: {target}"


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_is_as_a_reviewer_wants_it(file: Path) -> None:
    assert list(mistakes(file.read_text("utf-8"))) == []


def test_there_is_a_workflow_that_checks_and_one_that_deploys() -> None:
    commands = {
        file.stem: set(re.findall(r"run: make (\S+)", file.read_text("utf-8")))
        for file in WORKFLOWS
    }
    assert commands == {
        "ci": {"lint", "test", "package", "sbom", "audit"},
        "azure-dev": {"lint", "test", "package", "sbom"},
    }


def test_the_template_is_compiled_by_the_version_that_made_the_snapshots() -> None:
    for file in WORKFLOWS:
        installed = re.findall(r"az bicep install --version v(\S+)", file.read_text("utf-8"))
        assert installed == [snapshots.VERSION]


def test_azd_finds_its_hooks_and_hands_the_pipeline_what_it_reads() -> None:
    azure = yaml.safe_load((REPOSITORY / "azure.yaml").read_text("utf-8"))
    for hook in azure["hooks"].values():
        for system in ("posix", "windows"):
            assert (REPOSITORY / hook[system]["run"].split()[1]).is_file()
    text = (REPOSITORY / ".github/workflows/azure-dev.yml").read_text("utf-8")
    by_azd = {"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID"}
    assert set(re.findall(r"vars\.(\w+)", text)) == by_azd | set(azure["pipeline"]["variables"])
    made = json.loads((snapshots.FOLDER / "default.snapshot.json").read_text("utf-8"))
    assert set(azure["pipeline"]["variables"]) <= made["outputs"].keys()


def test_the_checks_run_on_every_python_that_the_project_allows() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text("utf-8"))
    asked = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    pythons = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    allowed = SpecifierSet(asked["requires-python"])
    assert [f"3.{minor}" for minor in range(9, 20) if f"3.{minor}" in allowed] == pythons


@pytest.mark.parametrize(
    ("asked", "found", "says"),
    [
        pytest.param("", "python3.13", "", id="what Azure runs"),
        pytest.param("3.14", "python3.14", "", id="another that is asked for"),
        pytest.param("3.12", None, "runs on 3.13 and 3.14", id="one that does not do"),
    ],
)
def test_the_python_that_is_asked_for_is_found(
    asked: str, found: str | None, says: str, tmp_path: Path
) -> None:
    """Two programs that take themselves for a Python of the version in their name."""
    for name in ("python3.13", "python3.14"):
        program = f"#!/bin/sh\ncase $2 in *{name[6:]}*|*ensurepip*) exit 0;; *) exit 1;; esac\n"
        (tmp_path / name).write_text(program)
        (tmp_path / name).chmod(0o755)
    run = subprocess.run(
        ["/bin/sh", "scripts/python"],
        cwd=REPOSITORY,
        env={"PATH": str(tmp_path), "PYTHON": asked},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.stdout == (f"{tmp_path / found}\n" if found else "")
    assert says in run.stderr


def test_the_files_that_github_and_editors_look_for_can_be_read() -> None:
    forms = (REPOSITORY / ".github/ISSUE_TEMPLATE").glob("*.yml")
    for file in (*forms, REPOSITORY / ".github/dependabot.yml"):
        assert isinstance(yaml.safe_load(file.read_text("utf-8")), dict)
    container = (REPOSITORY / ".devcontainer/devcontainer.json").read_text("utf-8")
    tools = " ".join(json.loads(re.sub(r"^//.*$", "", container, flags=re.MULTILINE))["features"])
    assert all(tool in tools for tool in ("core-tools", "azd", "node", "azure-cli"))


def test_an_action_has_one_pin_everywhere() -> None:
    pins = {
        pin for file in WORKFLOWS for pin in re.findall(r"uses: (\S+@.+)", file.read_text("utf-8"))
    }
    assert len({pin.partition("@")[0] for pin in pins}) == len(pins) > 0


def test_what_is_deployed_is_the_file_that_was_built() -> None:
    """Several paths are put into an artifact below what they have in common: .local here."""
    jobs = yaml.safe_load((REPOSITORY / ".github/workflows/azure-dev.yml").read_text("utf-8"))[
        "jobs"
    ]
    (upload,) = [
        step["with"]
        for step in jobs["package"]["steps"]
        if step.get("uses", "").startswith("actions/upload-artifact")
    ]
    (download,) = [
        step["with"]
        for step in jobs["deploy"]["steps"]
        if step.get("uses", "").startswith("actions/download-artifact")
    ]
    assert upload["path"].split() == [".local/package/app.zip", ".local/sbom.json"]
    assert upload["name"] == download["name"]
    assert "path" not in download
    assert any(" --src package/app.zip " in step.get("run", "") for step in jobs["deploy"]["steps"])
    assert jobs["deploy"]["needs"] == "package"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(r"(uses: azure/login)@\S+ # \S+", r"\1@v3", id="action by tag"),
        pytest.param(r"(uses: azure/login@[0-9a-f]{39})[0-9a-f] ", r"\1 ", id="short hash"),
        pytest.param(r"(uses: azure/login@\S+) # \S+", r"\1", id="hash without its version"),
        pytest.param(r"\npermissions:\n  contents: read\n", "\n", id="default permissions"),
        pytest.param(r"\n  contents: read\n", "\n  contents: write\n", id="may write"),
        pytest.param(
            r"id-token: write", "id-token: write\n      contents: write", id="job may write"
        ),
        pytest.param(r"vars.AZURE_CLIENT_ID", "secrets.AZURE_CREDENTIALS", id="secret"),
        pytest.param(
            r"workflow_dispatch:", "pull_request_target:", id="strangers' code with rights"
        ),
        pytest.param(r"    environment: \S+ \S+ \S+\n", "", id="no environment"),
        pytest.param(
            r"          persist-credentials: false",
            "          fetch-depth: 0",
            id="token left behind",
        ),
        pytest.param(r"--name \"\$APP\"", "--name ${{ inputs.app }}", id="expression in a command"),
        pytest.param(
            r"- run: az functionapp ",
            "- run: make package\n      - run: az functionapp ",
            id="repository's code where it may sign in",
        ),
        pytest.param(r"run: make sbom", "run: make bill", id="target that does not exist"),
        pytest.param(r"ubuntu-24.04", "ubuntu-latest", id="any machine"),
    ],
)
def test_a_mistake_in_a_workflow_is_found(before: str, after: str) -> None:
    spoilt, count = re.subn(
        before, after, (REPOSITORY / ".github/workflows/azure-dev.yml").read_text("utf-8"), count=1
    )
    assert count == 1
    assert list(mistakes(spoilt))
