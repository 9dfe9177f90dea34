"""The files of the published contract: where each is and what stands in it."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from infra.contract.catalogue import OPERATIONS
from infra.contract.golden import Change, Facts, compare, surface
from infra.contract.openapi import openapi
from infra.contract.recording import REPOSITORY, Recorded
from infra.contract.swagger import swagger

EXAMPLES = REPOSITORY / "docs" / "examples"
# The service answers with this file, so it lies in a folder that is deployed.
OPENAPI = REPOSITORY / "describe_api" / "openapi.json"
SWAGGER = REPOSITORY / "infra" / "connector" / "apiDefinition.swagger.json"
GOLDEN = REPOSITORY / "tests" / "unit" / "golden" / "v1.json"


class ContractBroken(Exception):
    """V1 does not allow the change; the message has a line for everything that callers notice."""


def examples(recorded: Iterable[Recorded]) -> dict[Path, str]:
    """Return what the example files hold."""
    return {
        EXAMPLES / f"{one.name}.json": written({"request": one.request, "response": one.response})
        for one in recorded
    }


def documents() -> dict[Path, str]:
    """Return the documents that are made from the models and from the example files."""
    recorded = {path.stem: json.loads(path.read_text()) for path in EXAMPLES.glob("*.json")}
    return {
        OPENAPI: written(openapi(OPERATIONS, recorded)),
        SWAGGER: written(swagger(OPERATIONS, recorded)),
    }


def write_recorded(recorded: list[Recorded]) -> Iterator[str]:
    """Write the example files and remove old ones; yield the names of files that changed."""
    files = examples(recorded)
    for stale in set(EXAMPLES.glob("*.json")) - files.keys():
        stale.unlink()
        yield f"{stale.relative_to(REPOSITORY)} (removed)"
    yield from _write(files)


def golden() -> Facts:
    """Return what callers may rely on today."""
    return surface(json.loads(documents()[OPENAPI]))


def may_be_recorded(old: Facts, new: Facts) -> list[Change]:
    """Return what forbids a new record in place of the old one: nothing, if v1 has only grown."""
    return [change for change in compare(old, new) if change.breaking]


def write_documents() -> Iterator[str]:
    """Write the documents and the golden record; yield the names of files that changed.

    Errors: ContractBroken, and then nothing is written.
    """
    record = golden()
    if GOLDEN.exists() and (refused := may_be_recorded(json.loads(GOLDEN.read_text()), record)):
        raise ContractBroken("\n".join(map(str, refused)))
    yield from _write({**documents(), GOLDEN: written(record)})


def written(content: object) -> str:
    """Return JSON as all files of the contract hold it."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _write(files: dict[Path, str]) -> Iterator[str]:
    for path, text in files.items():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            yield str(path.relative_to(REPOSITORY))
