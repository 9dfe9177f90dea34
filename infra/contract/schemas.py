"""The models' JSON Schemas, reduced to what both kinds of documents can say. Pure.

Owns what becomes of null and of generated titles. In an answer a member that does not apply is
absent, so null never comes. In a request null counts as absent, and the schema says so. Does *not*
know any format of documents beyond JSON Schema.
"""

from collections.abc import Collection, Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from shared.serving.problems import Answer

type Schema = dict[str, Any]

_ORDER = (
    "$ref",
    "type",
    "format",
    "description",
    "enum",
    "x-extensible-enum",
    "examples",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "items",
    "required",
    "properties",
)
NULLABLE = "nullable"  # a mark of ours, for each format to say in its own words


def schemas_of(models: Collection[type[BaseModel]]) -> dict[str, Schema]:
    """Return the schemas of models and of all that they hold, by name.

    A reference is ``{"$ref": name}``.
    """
    modes = [
        (model, "serialization" if issubclass(model, Answer) else "validation")
        for model in dict.fromkeys(models)
    ]
    _, described = models_json_schema(modes, by_alias=True, ref_template="{model}")  # type: ignore[arg-type]
    answers = {name for name in described["$defs"] if _is_answer(name)}
    # An open list of values is written in its place, so nobody refers to its own schema any more.
    wanted = {model.__name__ for model in models} | set(_references(described["$defs"]))
    return {
        name: _plain(schema, nulls=name not in answers)
        for name, schema in sorted(described["$defs"].items())
        if name in wanted
    }


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from _references(part)


def _is_answer(name: str) -> bool:
    found = [Answer]
    for model in found:
        found += model.__subclasses__()
    return name in (model.__name__ for model in found)


def _plain(schema: Schema, *, nulls: bool) -> Schema:
    """Return a schema in one order, without generated titles, null defaults and null in unions."""
    plain = {
        word: value for word, value in schema.items() if word not in ("title", "anyOf", "default")
    }
    if "anyOf" in schema:
        (kind,) = (option for option in schema["anyOf"] if option.get("type") != "null")
        plain = {**kind, **plain}
        plain.pop("title", None)
        if nulls:
            plain[NULLABLE] = True
    if "description" in plain:
        plain["description"] = plain["description"].replace("``", "")
    if "properties" in plain:
        plain["properties"] = {
            name: _plain(member, nulls=nulls) for name, member in plain["properties"].items()
        }
    if "items" in plain:
        plain["items"] = _plain(plain["items"], nulls=nulls)
    return {
        word: plain[word]
        for word in sorted(
            plain, key=lambda word: _ORDER.index(word) if word in _ORDER else len(_ORDER)
        )
    }
