"""The files of the published contract: where each is and what stands in it."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from infra.contract.golden import Change, Facts, compare, surface
from infra.contract.recording import REPOSITORY, Recorded

EXAMPLES = REPOSITORY / "docs" / "examples"
RECORDED = REPOSITORY / "describe_api" / "recorded.py"
OPENAPI = REPOSITORY / "docs" / "openapi.json"
SWAGGER = REPOSITORY / "infra" / "connector" / "apiDefinition.swagger.json"
GOLDEN = REPOSITORY / "tests" / "unit" / "golden" / "v1.json"

_MODULE = '''"""Real exchanges, recorded from the running service by ``make contract``."""

RECORDED = """{}"""
'''
# A piece of a long line, up to a space if it has one. An escaped backslash stays whole.
_PIECE = re.compile(r"(?:\\\\|[^\\]){1,94}(?: |$)|(?:\\\\|[^\\]){1,94}")


class ContractBroken(Exception):
    """V1 does not allow the change; the message has a line for everything that callers notice."""


def examples(recorded: Iterable[Recorded]) -> dict[Path, str]:
    """Return what the example files hold."""
    return {
        EXAMPLES / f"{one.name}.json": written({"request": one.request, "response": one.response})
        for one in recorded
    }


def recorded_module(recorded: Iterable[Recorded]) -> str:
    """Return the module that brings the recorded exchanges into the service, which reads no file.

    Lines of more than 100 columns go on in the next line, after a backslash.
    """
    exchanges = {
        one.name: {"request": one.request, "response": one.response}
        for one in sorted(recorded, key=lambda one: one.name)
    }
    text = json.dumps(exchanges, indent=1, ensure_ascii=False)
    if '"""' in text:
        raise ValueError("a body that ends its own quotation")
    return _MODULE.format("\n".join(map(_wrapped, text.replace("\\", "\\\\").split("\n"))))


def _wrapped(line: str) -> str:
    return line if len(line) <= 100 else "\\\n".join(_PIECE.findall(line))


def documents() -> dict[Path, str]:
    """Return the documents that are made from the models and from what was recorded."""
    from describe_api.documents import openapi_document, swagger_document

    return {OPENAPI: openapi_document(), SWAGGER: swagger_document()}


def write_recorded(recorded: list[Recorded]) -> Iterator[str]:
    """Write the recorded exchanges and remove old ones; yield the names of files that changed."""
    files = examples(recorded)
    for stale in set(EXAMPLES.glob("*.json")) - files.keys():
        stale.unlink()
        yield f"{stale.relative_to(REPOSITORY)} (removed)"
    yield from _write({**files, RECORDED: recorded_module(recorded)})


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
