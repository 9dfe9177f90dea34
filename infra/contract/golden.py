"""The golden record of v1: what callers may rely on, taken from the published document.

Owns what breaks a caller, and so whether v1 allows a change. Requests may only get looser: a
request that was good stays good. Answers may only get stricter or richer: a reader finds what was
there before. Texts, examples and descriptions are no part of the record. Does *not* read or write
files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shared.serving.problems import BUG, TABLE

type Facts = dict[str, Any]

_METHODS = ("get", "put", "post", "delete", "patch")
# The sign says which direction is looser.
_LIMITS = {
    "maxLength": 1,
    "maximum": 1,
    "maxItems": 1,
    "minLength": -1,
    "minimum": -1,
    "minItems": -1,
}
_OPEN = "x-extensible-enum"  # the values known today; readers know that more may come
_RETRYABLE = {row.code: row.retryable for row in (*TABLE.values(), BUG)}


@dataclass(frozen=True)
class Change:
    """One difference; ``breaking`` if a caller who kept to v1 would notice it."""

    breaking: bool
    where: str
    what: str

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.where}: {self.what}"


# What the document comes to.


def surface(document: Mapping[str, Any]) -> Facts:
    """Return what callers may rely on, from an OpenAPI 3.1 document."""
    bodies: Facts = {}
    operations: Facts = {}
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                operations[methods[method]["operationId"]] = _operation(
                    f"{method.upper()} {path}", methods[method], document, bodies
                )
    return {"operations": operations, "bodies": bodies}


def _operation(
    address: str, operation: Mapping[str, Any], document: Mapping[str, Any], bodies: Facts
) -> Facts:
    asked: Facts = {
        f"{one['in']} {one['name']}": _facts(one["schema"], document, required=one["required"])
        | ({"empty": True} if one.get("allowEmptyValue") else {})
        for one in operation.get("parameters", [])
    }
    content = operation.get("requestBody", {}).get("content", {})
    for media_type in content.values():
        asked |= {
            f"body {path}": facts for path, facts in _members(media_type["schema"], document, "")
        }
    return {
        "address": address,
        "security": operation["security"],
        "takes": sorted(content),
        "asked": asked,
        "answers": {
            status: _answer(answer, document, bodies)
            for status, answer in operation["responses"].items()
        },
    }


def _answer(answer: Mapping[str, Any], document: Mapping[str, Any], bodies: Facts) -> Facts:
    content = answer.get("content", {})
    facts: Facts = {
        "headers": {
            name: _resolved(header, document).get("required", False)
            for name, header in answer.get("headers", {}).items()
        }
    }
    if "x-codes" in answer:
        facts["codes"] = {code: _RETRYABLE.get(code, False) for code in answer["x-codes"]}
    if content:
        facts["content"] = sorted(content)
        schema = content["application/json"]["schema"]
        facts["body"] = schema["$ref"].rpartition("/")[2]
        bodies[facts["body"]] = dict(_members(schema, document, ""))
    return facts


def _members(
    schema: Mapping[str, Any], document: Mapping[str, Any], path: str
) -> Iterator[tuple[str, Facts]]:
    """Yield every member below a schema with its facts; ``[]`` stands for the entries of a list."""
    schema = _resolved(schema, document)
    if path == "" and schema.get("type") == "object":
        yield "", {"closed": schema.get("additionalProperties") is False}
    for name, member in schema.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        yield below, _facts(member, document, required=name in schema.get("required", []))
        yield from _members(member, document, below)
    if "items" in schema:
        yield f"{path}[]", _facts(schema["items"], document, required=True)
        yield from _members(schema["items"], document, f"{path}[]")


def _facts(schema: Mapping[str, Any], document: Mapping[str, Any], *, required: bool) -> Facts:
    schema = _resolved(schema, document)
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    facts: Facts = {"required": required, "types": sorted(kinds)}
    facts |= {
        word: schema[word]
        for word in ("format", "enum", _OPEN, "pattern", *_LIMITS)
        if word in schema
    }
    return facts


def _resolved(node: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in node:
        return node
    target: Any = document
    for part in node["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return {**target, **{word: value for word, value in node.items() if word != "$ref"}}


# What a difference means.


def compare(old: Facts, new: Facts) -> list[Change]:
    """Return every difference between two records, the breaking ones first."""
    return sorted(_compare(old, new), key=lambda change: (not change.breaking, change.where))


def _compare(old: Facts, new: Facts) -> Iterator[Change]:
    for name, was in old["operations"].items():
        now = new["operations"].get(name)
        if now is None:
            yield Change(breaking=True, where=name, what="the operation is gone")
            continue
        for word in ("address", "security"):
            if was[word] != now[word]:
                yield Change(
                    breaking=True, where=name, what=f"its {word} was {was[word]} and is {now[word]}"
                )
        yield from _lists(f"{name} takes", was["takes"], now["takes"], what="media type")
        yield from _requests(name, was["asked"], now["asked"])
        for status, answer in was["answers"].items():
            if status not in now["answers"]:
                yield Change(
                    breaking=True, where=f"{name} {status}", what="the status is no longer answered"
                )
            else:
                yield from _answers(
                    f"{name} {status}", answer, now["answers"][status], old["bodies"], new["bodies"]
                )
        for status in now["answers"].keys() - was["answers"].keys():
            # A caller who checks for success knows the old ones. A failure is known by its family.
            yield Change(
                breaking=status[0] in "23", where=f"{name} {status}", what="the status is new"
            )
    for name in new["operations"].keys() - old["operations"].keys():
        yield Change(breaking=False, where=name, what="the operation is new")


def _lists(where: str, was: list[str], now: list[str], *, what: str) -> Iterator[Change]:
    yield from (
        Change(breaking=True, where=where, what=f"the {what} {one} is gone")
        for one in was
        if one not in now
    )
    yield from (
        Change(breaking=False, where=where, what=f"the {what} {one} is new")
        for one in now
        if one not in was
    )


def _requests(name: str, was: Facts, now: Facts) -> Iterator[Change]:
    for member, facts in was.items():
        where = f"{name} request, {member.strip()}"
        if member not in now:
            yield Change(breaking=True, where=where, what="it can no longer be sent")
        else:
            yield from _narrowed(where, facts, now[member], looser_is_breaking=False)
    for member in now.keys() - was.keys():
        required = bool(now[member].get("required"))
        yield Change(
            breaking=required,
            where=f"{name} request, {member}",
            what=f"it is new and {'required' if required else 'optional'}",
        )


def _answers(
    where: str, was: Facts, now: Facts, old_bodies: Facts, new_bodies: Facts
) -> Iterator[Change]:
    yield from _lists(where, was.get("content", []), now.get("content", []), what="media type")
    for header, always in was["headers"].items():
        if header not in now["headers"]:
            yield Change(breaking=True, where=where, what=f"the header {header} is gone")
        elif always != now["headers"][header]:
            yield Change(
                breaking=always,
                where=where,
                what=f"the header {header} comes {'only sometimes' if always else 'always'} now",
            )
    yield from (
        Change(breaking=False, where=where, what=f"the header {one} is new")
        for one in now["headers"].keys() - was["headers"].keys()
    )
    codes_were, codes_are = was.get("codes", {}), now.get("codes", {})
    yield from _lists(where, list(codes_were), list(codes_are), what="code")
    for code in codes_were.keys() & codes_are.keys():
        if codes_were[code] != codes_are[code]:
            yield Change(
                breaking=True,
                where=where,
                what=f"{code} was {'' if codes_were[code] else 'not '}retryable",
            )
    members_were, members_are = (
        old_bodies.get(was.get("body", ""), {}),
        new_bodies.get(now.get("body", ""), {}),
    )
    for member, facts in members_were.items():
        if member not in members_are:
            yield Change(breaking=True, where=f"{where}, {member}", what="the member is gone")
        elif member:
            yield from _narrowed(
                f"{where}, {member}", facts, members_are[member], looser_is_breaking=True
            )
    for member in members_are.keys() - members_were.keys():
        yield Change(breaking=False, where=f"{where}, {member}", what="the member is new")


def _narrowed(where: str, was: Facts, now: Facts, *, looser_is_breaking: bool) -> Iterator[Change]:
    """Compare a member.

    A tighter request breaks its senders; a looser answer breaks its readers.
    """

    def change(what: str, *, looser: bool) -> Change:
        return Change(breaking=looser is looser_is_breaking, where=where, what=what)

    for word, true, false in (
        ("required", "required", "optional"),
        ("closed", "closed to unknown members", "open to unknown members"),
    ):
        if was.get(word, False) != now.get(word, False):
            yield change(f"it is {true if now.get(word) else false} now", looser=not now.get(word))
    if was.get("empty", False) != now.get("empty", False):
        yield change(
            f"it may {'' if now.get('empty') else 'not '}be empty now",
            looser=bool(now.get("empty")),
        )
    kinds_were, kinds_are = set(was.get("types", [])), set(now.get("types", []))
    if kinds_were != kinds_are:
        said = (
            f"its type was {' or '.join(sorted(kinds_were))} and is "
            f"{' or '.join(sorted(kinds_are))}"
        )
        nested = kinds_were < kinds_are or kinds_are < kinds_were
        yield (
            change(said, looser=kinds_were < kinds_are)
            if nested
            else Change(breaking=True, where=where, what=said)
        )
    for word in ("format", "pattern"):
        before, after = was.get(word), now.get(word)
        if before != after:
            said = f"its {word} was {before} and is {after}"
            one_sided = before is None or after is None
            # Nobody can say which of two patterns allows more, so a change counts as a loss for
            # both sides.
            yield (
                change(said, looser=after is None)
                if one_sided
                else Change(breaking=True, where=where, what=said)
            )
    for word, sign in _LIMITS.items():
        before, after = was.get(word), now.get(word)
        if before != after:
            looser = after is None or (before is not None and (after - before) * sign > 0)
            yield change(f"its {word} was {before} and is {after}", looser=looser)
    yield from _enums(where, was, now, looser_is_breaking=looser_is_breaking)


def _enums(where: str, was: Facts, now: Facts, *, looser_is_breaking: bool) -> Iterator[Change]:
    yield from _values(where, was.get(_OPEN, []), now.get(_OPEN, []), new_is_breaking=False)
    before, after = was.get("enum"), now.get("enum")
    if before is None and after is None:
        return
    if before is None or after is None:
        looser = after is None
        yield Change(
            breaking=looser is looser_is_breaking,
            where=where,
            what=f"it is {'no longer' if looser else 'now'} a list of values",
        )
        return
    yield from _values(where, before, after, new_is_breaking=looser_is_breaking)


def _values(
    where: str, before: list[str], after: list[str], *, new_is_breaking: bool
) -> Iterator[Change]:
    # A value that is gone counts as renamed, in requests and in answers.
    yield from (
        Change(breaking=True, where=where, what=f"the value {one} is gone")
        for one in before
        if one not in after
    )
    yield from (
        Change(breaking=new_is_breaking, where=where, what=f"the value {one} is new")
        for one in after
        if one not in before
    )
