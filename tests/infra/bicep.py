"""What the deployment template makes, as Microsoft's compiler evaluates it, and what is around it.

The rules stand by subject in ``bicep_posture`` and ``bicep_agreement``. A rule says in words what
it finds wrong, and nothing where all is well. What is judged are the snapshots in infra/snapshots,
which needs no compiler; that they are what the template makes is a test of its own, which does.
"""

import copy
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scripts.snapshots import FOLDER, REPOSITORY, file_of

type Rule[Judged] = Callable[[Judged], Iterator[str]]

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
    """Return what each kept set of parameters makes."""
    kept = {file.stem: file_of(file).read_text("utf-8") for file in FOLDER.glob("*.bicepparam")}
    return {name: deployment_of(name, json.loads(text)) for name, text in kept.items()}


def deployment_of(name: str, snapshot: Mapping[str, Any]) -> Deployment:
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
        *(
            "azure.yaml",
            "host.json",
            "pyproject.toml",
            "describe_api/version.py",
            "docs/operations.md",
            "infra/*.json",
        ),
        *("infra/*.bicep", "infra/*/*.bicep", "infra/queries/*", "infra/snapshots/*.bicepparam"),
    )
    paths = sorted(path for pattern in patterns for path in REPOSITORY.glob(pattern))
    return {path.relative_to(REPOSITORY).as_posix(): path.read_text("utf-8") for path in paths}


def declarations(source: str, kind: str) -> dict[str, str]:
    """Return the parameters or outputs of a Bicep file by name, each with its decorators."""
    blocks = re.findall(rf"((?:^[^\n]+\n)*?^{kind} (\w+) [^\n]*)$", source, re.MULTILINE)
    return {name: block for block, name in blocks}
