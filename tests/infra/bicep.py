"""What the deployment template makes, as Microsoft's compiler evaluates it, and the files around it.

The rules stand by subject in ``bicep_posture`` and ``bicep_agreement``. A rule says in words what it
finds wrong, and nothing where all is well. Where there is no compiler the snapshots that are kept in
infra/snapshots are judged: ``test_bicep`` holds the two together where there is one.
"""

import copy
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scripts.snapshots import FOLDER, REPOSITORY, evaluate, find_compiler

type Rule[Judged] = Callable[[Judged], Iterator[str]]

COMPILER = find_compiler()
SECRET_NAME = re.compile(
    r"secret|password|passphrase|connection_?string|access_?key|api_?key|webhook_?keys"
    r"|instrumentation_?key|sas_?token",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Deployment:
    """The resources that one set of parameters would make."""

    name: str
    resources: list[Any]
    outputs: Mapping[str, Any]

    def all(self, kind: str) -> list[Any]:
        """Return the resources of a type, by the end of its name: ``Web/sites``."""
        ends = (f"/{kind}", f".{kind}")
        return [one for one in self.resources if one["type"].partition("@")[0].endswith(ends)]

    def of(self, kind: str, place: str = "") -> Any:
        """Return what stands at a place of the only resource of a type. Errors: ValueError."""
        (resource,) = self.all(kind)
        return at(resource, place) if place else resource["properties"]

    @property
    def settings(self) -> dict[str, str]:
        """The app settings, as Azure would be handed them."""
        return dict(self.of("sites/config"))

    def changed(self, kind: str, place: str = "", *value: object) -> "Deployment":
        """Return a copy in which the first resource of a type that has this place says otherwise;
        without a value it has it no more, without a place it is not made.
        """
        resources = copy.deepcopy(self.resources)
        way, _, last = place.rpartition(".")
        if place.startswith("/") and not way:
            way, last = "/", place[1:]
        for resource in Deployment(self.name, resources, {}).all(kind):
            node = at(resource, way)
            if not place:
                resources.remove(resource)
            elif node is None or (not value and last not in node):
                continue
            elif value:
                node[last] = value[0]
            else:
                del node[last]
            return Deployment(self.name, resources, self.outputs)
        raise AssertionError(f"nothing has {place} among {kind}")


def at(resource: Any, place: str) -> Any:
    """Return what stands at a place: keys and positions between dots, from the properties on, or,
    after a slash, from the resource itself. None where it leads nowhere.
    """
    node = resource if place.startswith("/") else resource.get("properties", {})
    for step in filter(None, place.removeprefix("/").split(".")):
        if isinstance(node, list):
            node = node[int(step)] if int(step) < len(node) else None
        else:
            node = node.get(step) if isinstance(node, Mapping) else None
    return node


@cache
def deployments() -> dict[str, Deployment]:
    """Return what each kept set of parameters makes, evaluated anew where there is a compiler."""
    names = sorted(file.stem for file in (REPOSITORY / FOLDER).glob("*.bicepparam"))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        copied = copy_of_the_template(Path(folder))
        found = pool.map(lambda name: read(name, copied), names)
        return dict(zip(names, found, strict=True))


def read(name: str, root: Path) -> Deployment:
    if COMPILER is None:
        snapshot = json.loads((REPOSITORY / FOLDER / f"{name}.json").read_text("utf-8"))
    else:
        snapshot = evaluate(COMPILER, root / FOLDER / f"{name}.bicepparam")
    return Deployment(name, snapshot["predictedResources"], snapshot["outputs"])


def copy_of_the_template(folder: Path) -> Path:
    """Copy what the compiler reads, so that it may be changed and written beside."""
    for path in sources():
        if path.startswith("infra/"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / path, folder / path)
    return folder


@cache
def sources() -> Mapping[str, str]:
    """Return what ``azd up`` reads, and what it has to agree with, by path in the repository."""
    patterns = (
        *("azure.yaml", "host.json", "pyproject.toml", "docs/operations.md", "infra/*.json"),
        *("infra/*.bicep", "infra/*/*.bicep", "infra/queries/*", f"{FOLDER}/*.bicepparam"),
    )
    paths = sorted(path for pattern in patterns for path in REPOSITORY.glob(pattern))
    return {path.relative_to(REPOSITORY).as_posix(): path.read_text("utf-8") for path in paths}


def declarations(source: str, kind: str) -> dict[str, str]:
    """Return the parameters or outputs of a Bicep file by name, each with its decorators."""
    blocks = re.findall(rf"((?:^[^\n]+\n)*?^{kind} (\w+) [^\n]*)$", source, re.MULTILINE)
    return {name: block for block, name in blocks}
