"""The deployment package alone, on the official runtime.

It is unpacked in an empty folder, with the locked requirements and nothing else.
"""

import json
import platform
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import pytest
import requests
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from describe_api.version import VERSION
from infra.local.host.process import HostProcess
from infra.local.stack import LocalStack
from scripts.package import DEPENDENCIES, REPOSITORY, build, imported_names
from tests.client import Facade

# What stands for Azure beside the app: the host's own packages, which the app does not declare.
OF_THE_HOST = ("azure-functions-runtime", "uvicorn", "httptools")

FUNCTIONS = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
import function_app
found = {}
for function in function_app.app.get_functions():
    trigger = function.get_trigger()
    methods = sorted(str(method) for method in trigger.methods)
    found[function.get_function_name()] = [trigger.route, methods]
print(json.dumps(found))
"""

MISSING = """
import importlib.util, json, sys
sys.path.insert(0, sys.argv[1])
names = json.loads(sys.argv[2])
print(json.dumps([name for name in names if importlib.util.find_spec(name) is None]))
"""


@dataclass(frozen=True)
class Deployed:
    """The unpacked package and an interpreter that has the locked requirements and no more."""

    folder: Path
    python: Path
    host_folder: Path


def run_python(python: Path, code: str, *arguments: str, options: tuple[str, ...] = ("-I",)) -> str:
    run = subprocess.run(
        [python, *options, "-c", code, *arguments],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def functions_of(
    python: Path, *paths: Path, options: tuple[str, ...] = ("-I",)
) -> dict[str, list[object]]:
    functions: dict[str, list[object]] = json.loads(
        run_python(python, FUNCTIONS, json.dumps(list(map(str, paths))), options=options)
    )
    return functions


def locked_names(requirements: Path) -> set[str]:
    return {
        line.partition("==")[0]
        for line in requirements.read_text("utf-8").splitlines()
        if "==" in line
    }


def link_host(folder: Path, locked: set[str]) -> None:
    """Make a folder from which the local host can be imported.

    It also holds the packages that the host needs and the app does not declare, and nothing else.
    """
    folder.mkdir()
    (folder / "infra").symlink_to(REPOSITORY / "infra")
    waiting, seen = list(OF_THE_HOST), set(locked)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        installed = distribution(name)
        for top in {
            file.parts[0]
            for file in installed.files or ()
            if file.suffix in {".py", ".so"} and file.parts[0] != ".."
        }:
            (folder / top).symlink_to(Path(str(installed.locate_file(top))))
        needed = map(Requirement, installed.requires or ())
        waiting += [
            requirement.name
            for requirement in needed
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        ]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    here = tmp_path_factory.mktemp("deployed")
    build(here / "app.zip")
    with zipfile.ZipFile(here / "app.zip") as package:
        package.extractall(here / "app")
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", here / "environment"], check=True
    )
    python = here / "environment/bin/python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-compile",
    ]
    subprocess.run(
        [
            *pip,
            "--require-hashes",
            "--only-binary",
            ":all:",
            "--requirement",
            here / "app/requirements.txt",
        ],
        check=True,
    )
    link_host(here / "host", locked_names(here / "app/requirements.txt"))
    return Deployed(here / "app", python, here / "host")


@pytest.fixture(scope="module")
def package_host(deployed: Deployed, running_stack: LocalStack) -> Iterator[HostProcess]:
    with HostProcess(
        deployed.folder,
        running_stack.environment,
        interpreter=deployed.python,
        host_folder=deployed.host_folder,
    ) as host:
        yield host


@pytest.fixture
def package_facade(package_host: HostProcess, stack: LocalStack) -> Iterator[Facade]:
    with requests.Session() as session:
        session.trust_env = False
        yield Facade(package_host.url, session, stack)


def test_an_appointment_is_cancelled_once_and_the_answer_replayed(package_facade: Facade) -> None:
    appointment_id = package_facade.book()
    first, second = package_facade.cancel(appointment_id), package_facade.cancel(appointment_id)
    assert [answer.status_code for answer in (first, second)] == [200, 200]
    assert [
        (answer.json()["outcome"], answer.json()["replayed"]) for answer in (first, second)
    ] == [
        ("cancelled", False),
        ("cancelled", True),
    ]
    assert [
        received.path.rsplit("/", 1)[1] for received in package_facade.stack.graph.received
    ] == ["cancel"]


def test_an_unknown_appointment_is_not_found(package_facade: Facade) -> None:
    answer = package_facade.cancel("AAMkADunknown=")
    assert (answer.status_code, answer.json()["outcome"], answer.json()["confirmed"]) == (
        200,
        "not_found",
        True,
    )


def test_a_caller_without_a_token_is_turned_away(package_facade: Facade) -> None:
    answer = package_facade.cancel(token="")
    assert (answer.status_code, answer.json()["code"]) == (401, "missing_token")
    assert package_facade.stack.graph.received == []


def test_health_is_answered(package_facade: Facade) -> None:
    answer = package_facade.session.get(f"{package_facade.url}/api/health", timeout=10)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "version": VERSION})


def test_the_document_is_answered(package_facade: Facade) -> None:
    answer = package_facade.session.get(f"{package_facade.url}/api/v1/openapi.json", timeout=10)
    assert answer.status_code == 200
    assert answer.content == (REPOSITORY / "describe_api/openapi.json").read_bytes()


def test_every_function_of_the_repository_is_in_the_package(deployed: Deployed) -> None:
    site = Path(sysconfig.get_path("purelib"))
    packed = functions_of(deployed.python, deployed.folder)
    assert packed == functions_of(Path(sys.executable), REPOSITORY, site)
    assert {"api/v1/cancel-appointment", "api/health"} <= {
        f"api/{route}" for route, _ in packed.values()
    }


def test_all_that_the_app_imports_is_declared(deployed: Deployed) -> None:
    names = {name for file in deployed.folder.rglob("*.py") for name in imported_names(file)}
    assert {"azure", "msal", "urllib3", "shared"} <= names
    strangers = [
        "infra",
        "jsonschema",
        "pytest",
        "scripts",
        "tests",
        "uvicorn",
    ]
    missing = json.loads(
        run_python(
            deployed.python, MISSING, str(deployed.folder), json.dumps(sorted(names) + strangers)
        )
    )
    assert missing == strangers


@pytest.mark.parametrize("name", ["jsonschema", "aiohttp", "tests.client", "scripts.package"])
def test_an_import_that_is_not_declared_fails_in_the_host_too(
    deployed: Deployed, tmp_path: Path, name: str
) -> None:
    for file in deployed.folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    entry = tmp_path / "function_app.py"
    text = entry.read_text("utf-8")
    entry.unlink()
    entry.write_text(f"import {name}\n{text}", "utf-8")
    with pytest.raises(RuntimeError, match=f"No module named '{name.partition('.')[0]}'"):
        HostProcess(tmp_path, interpreter=deployed.python, host_folder=deployed.host_folder).start()


@pytest.fixture(scope="module")
def vendored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("vendored")
    build(here / "app.zip", vendored=True)
    with zipfile.ZipFile(here / "app.zip") as package:
        package.extractall(here / "app")
    return here / "app"


def test_the_vendored_package_holds_the_locked_requirements_for_azures_machines(
    vendored: Path,
) -> None:
    site = vendored / DEPENDENCIES
    installed = {
        canonicalize_name(folder.name.split("-")[0]) for folder in site.glob("*.dist-info")
    }
    assert installed == locked_names(vendored / "requirements.txt")
    libraries = {file.name.split(".", 1)[1] for file in site.rglob("*.so")}
    assert libraries
    assert all("x86_64" in name or name == "abi3.so" for name in libraries)
    assert not (site / "bin").exists()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the package holds libraries for x86-64")
def test_the_vendored_package_needs_nothing_but_python(vendored: Path) -> None:
    python, bare = Path(sys.executable), ("-I", "-S")
    packed = functions_of(python, vendored, vendored / DEPENDENCIES, options=bare)
    assert "health" in json.dumps(packed)
    missing = json.loads(
        run_python(
            python, MISSING, str(vendored), json.dumps(["azure", "msal", "pydantic"]), options=bare
        )
    )
    assert missing == ["azure", "msal", "pydantic"]
