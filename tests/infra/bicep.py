"""A reader for the Bicep files: what is declared, what is referred to, and the syntax tree of each
file.

The Bicep compiler is not needed and not replaced. pycep reads the syntax and gives the values; it
does not tell a name from a text of the same letters, so references are read from the tokens. What
the compiler alone knows (the schema of each resource type) is not checked here.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import cast

from pycep import BicepParser

type Json = Mapping[str, "Json"] | list["Json"] | str | int | bool | None

_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<text>'''.*?''')|(?P<quote>')|(?P<newline>\n)|(?P<name>[A-Za-z_]\w*)|(?P<number>\d+)
    |(?P<mark>=>|\.\?|::|==|!=|>=|<=|&&|\|\||\?\?|[^\s\w'])""",
    re.DOTALL | re.VERBOSE,
)
_DECLARES = ("param", "var", "output", "resource", "module", "type", "func", "extension")
_WORDS = frozenset(
    {
        "true",
        "false",
        "null",
        "for",
        "in",
        "if",
        "existing",
        "targetScope",
        "metadata",
        "import",
        "using",
        *_DECLARES,
    }
)


class Unreadable(Exception):
    """A file that is no Bicep."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token; a text's own tokens, those of its interpolations, follow it.

    ``kind`` is text, name, number, mark or newline.
    """

    kind: str
    value: str


def tokens_of(source: str) -> list[Token]:
    """Split a file into tokens, without comments. Errors: Unreadable."""
    found: list[Token] = []
    at = 0
    while at < len(source):
        if source[at] in " \t\r":
            at += 1
            continue
        match = _TOKEN.match(source, at)
        if match is None:
            raise Unreadable(f"what is this: {source[at : at + 20]!r}")
        kind = match.lastgroup or ""
        if kind == "quote":
            end, inner = _read_text(source, at)
            found += [Token("text", source[at:end]), *inner]
            at = end
            continue
        if kind != "comment":
            found.append(Token(kind, match.group()))
        at = match.end()
    return found


def _read_text(source: str, start: int) -> tuple[int, list[Token]]:
    """Read a text in single quotes: where it ends, and the tokens of its interpolations, each in
    brackets of its own.
    """
    inner: list[Token] = []
    at = start + 1
    while at < len(source) and source[at] not in "'\n":
        if source[at] == "\\":
            at += 2
        elif source.startswith("${", at):
            end = _end_of_interpolation(source, at + 2)
            inner += [Token("mark", "("), *tokens_of(source[at + 2 : end]), Token("mark", ")")]
            at = end + 1
        else:
            at += 1
    if at >= len(source) or source[at] != "'":
        raise Unreadable("a text does not end")
    return at + 1, inner


def _end_of_interpolation(source: str, at: int) -> int:
    depth = 0
    while at < len(source):
        if source[at] == "'":
            at, _ = _read_text(source, at)
            continue
        if source[at] == "}" and depth == 0:
            return at
        depth += {"{": 1, "}": -1}.get(source[at], 0)
        at += 1
    raise Unreadable("an interpolation does not end")


@dataclass(frozen=True, slots=True)
class Reference:
    """A use of a declared name, with the properties that follow it:

    ``vault!.outputs.name`` is vault and (outputs, name).
    """

    name: str
    properties: tuple[str, ...]


@dataclass(frozen=True)
class BicepFile:
    """One file, read. ``tree`` is what pycep makes of it."""

    path: PurePosixPath
    source: str
    tree: Mapping[str, Json] = field(repr=False)
    tokens: tuple[Token, ...] = field(repr=False)

    def section(self, name: str) -> Mapping[str, Mapping[str, Json]]:
        """Return parameters, variables, resources, modules or outputs, by name."""
        return cast("Mapping[str, Mapping[str, Json]]", self.tree.get(name, {}))

    @property
    def declared(self) -> frozenset[str]:
        """Every name that may be referred to; an output may not."""
        return frozenset(
            name
            for section in ("parameters", "variables", "resources", "modules")
            for name in self.section(section)
        )

    def references(self) -> Iterator[Reference]:
        """Return every use of a name that is neither a property, a key, a type nor a function's."""
        tokens = self.tokens
        local = self._local_names()
        for index in self._values():
            before, token = tokens[index - 1] if index else None, tokens[index]
            after = tokens[index + 1] if index + 1 < len(tokens) else None
            if token.kind != "name" or token.value in _WORDS or token.value in local:
                continue
            if before is not None and before.value in (".", ".?", "::", "@"):
                continue
            if after is not None and (
                after.value == "(" or (after.value == ":" and _begins_a_pair(before))
            ):
                continue
            yield Reference(token.value, tuple(_properties(tokens, index + 1)))

    def functions(self) -> frozenset[str]:
        """Return the names of the functions and decorators that are called."""
        pairs = zip(self.tokens, self.tokens[1:], strict=False)
        return frozenset(
            token.value
            for token, after in pairs
            if token.kind == "name" and after.value == "(" and token.value not in _WORDS
        )

    def _local_names(self) -> frozenset[str]:
        """Names that a loop or a lambda declares."""
        found = set()
        for index, token in enumerate(self.tokens):
            if token.value == "=>":
                found.add(self.tokens[index - 1].value)
            elif token.value == "for" and self.tokens[index + 1].value == "(":
                found |= {self.tokens[index + 2].value, self.tokens[index + 4].value}
            elif token.value == "for":
                found.add(self.tokens[index + 1].value)
        return frozenset(found)

    def _values(self) -> Iterator[int]:
        """Return where values stand: everything but the heads of declarations, up to their equals
        sign or the end of the line.
        """
        in_head, at_line_start, depth = False, True, 0
        for index, token in enumerate(self.tokens):
            if at_line_start and depth == 0 and token.value in _DECLARES:
                in_head = True
            elif in_head and (token.kind == "newline" or token.value == "="):
                in_head = False
            elif not in_head:
                depth += (
                    {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(token.value, 0)
                    if token.kind == "mark"
                    else 0
                )
                yield index
            at_line_start = token.kind == "newline"


def _begins_a_pair(before: Token | None) -> bool:
    return before is None or before.kind == "newline" or before.value in ("{", ",")


def _properties(tokens: tuple[Token, ...], at: int) -> Iterator[str]:
    while at + 1 < len(tokens):
        if tokens[at].value == "!":
            at += 1
        elif tokens[at].value == "[":
            at = next(index for index in range(at, len(tokens)) if tokens[index].value == "]") + 1
        elif tokens[at].value in (".", ".?") and tokens[at + 1].kind == "name":
            yield tokens[at + 1].value
            at += 2
        else:
            return


@cache
def _parser() -> BicepParser:
    return BicepParser()  # once: it reads its grammar


@cache
def read_file(path: PurePosixPath, source: str) -> BicepFile:
    """Read one file. Errors: Unreadable, also where pycep takes a construct for none."""
    try:
        tree = cast("Mapping[str, Json]", _parser().parse(text=source))
    except Exception as error:
        raise Unreadable(f"{path}: {error}") from error
    return BicepFile(path, source, tree, tuple(tokens_of(source)))


@dataclass(frozen=True)
class Template:
    """The whole tree of files by their path in the repository, Bicep and what belongs to it."""

    texts: Mapping[PurePosixPath, str]

    @classmethod
    def read(cls, root: Path) -> "Template":
        """Read what ``azd up`` reads, and what it has to agree with."""
        patterns = (
            "azure.yaml",
            "host.json",
            "pyproject.toml",
            "infra/*.bicep",
            "infra/modules/*.bicep",
            "infra/*.json",
            "infra/queries/*.kql",
            "docs/operations.md",
        )
        paths = sorted(path for pattern in patterns for path in root.glob(pattern))
        return cls(
            {PurePosixPath(path.relative_to(root).as_posix()): path.read_text() for path in paths}
        )

    def text(self, path: str) -> str:
        """Return a file as it is; empty where there is none."""
        return self.texts.get(PurePosixPath(path), "")

    def file(self, path: str) -> BicepFile:
        """Return a Bicep file, read."""
        return read_file(PurePosixPath(path), self.text(path))

    def files(self) -> list[BicepFile]:
        """Return every Bicep file of the tree; none is left out."""
        return [
            read_file(path, text) for path, text in self.texts.items() if path.suffix == ".bicep"
        ]

    def changed(self, path: str, old: str, new: str) -> "Template":
        """Return a copy in which one file reads otherwise.

        Errors: AssertionError, where ``old`` is not there exactly once or nothing changes.
        """
        text = self.text(path)
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
        assert old != new
        return Template({**self.texts, PurePosixPath(path): text.replace(old, new)})


def body_of(declaration: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return the object of a resource or module, out of its loop and its condition."""
    body = declaration["config"]
    while (
        isinstance(body, Mapping)
        and set(body) <= {"config", "condition", "loop_type"}
        and "config" in body
    ):
        body = body["config"]
    return cast("Mapping[str, Json]", body)


def at(node: Json, *path: str | int) -> Json:
    """Return what stands at a path of keys and positions; None where it leads nowhere."""
    for step in path:
        if isinstance(step, int) and isinstance(node, list) and step < len(node):
            node = node[step]
        elif isinstance(step, str) and isinstance(node, Mapping):
            node = node.get(step)
        else:
            return None
    return node


def dotted(node: Json) -> str:
    """Return a property access as it was written:

    ``storage.properties.primaryEndpoints.table``; empty for anything else.
    """
    if isinstance(node, str):
        return node
    operands = at(node, "operator", "operands")
    if at(node, "operator", "type") != "property_accessor":
        function = at(node, "function", "type")
        return f"{function}()" if isinstance(function, str) else ""
    return f"{dotted(at(operands, 'operand_1'))}.{dotted(at(operands, 'operand_2'))}"
