"""The rules for a Power Platform connector that can be checked without a tenant.

Each rule is a function with its name and its source.

Sources, by the short names in the docstrings: *coding standards*, *string guidance*, *extensions*
and *certification* are pages of learn.microsoft.com/connectors/custom-connectors (coding-standards,
connector-string-guidance, openapi-extensions, certification-submission); *template* and *schemas*
are folders of github.com/microsoft/PowerPlatformConnectors. ``paconn validate`` applies more rules
on a server and needs a sign-in: it was not run.

Owns the rules for the definition, the properties and the icon. Does *not* know flows
(``flow_lint``) or the readme.
"""

import functools
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

type Json = dict[str, Any]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
PRODUCTS = (
    "Power Platform",
    "Power Automate",
    "Power Apps",
    "PowerApps",
    "Power BI",
    "Copilot",
    "Logic Apps",
    "Dataverse",
)
REDIRECT = "https://global.consent.azure-apim.net/redirect"
_PROPER = {"Microsoft", "Bookings", "Graph"}
_SMALL = {"a", "an", "the", "of", "in", "on", "at", "to", "for", "by", "and", "or", "with", "from"}


@dataclass(frozen=True)
class Package:
    """A connector's files as read."""

    definition: Json
    properties: Json
    icon: bytes
    sizes: Mapping[str, int]


type Rule = Callable[[Package], Iterator[str]]
RULES: dict[str, Rule] = {}


def _rule(function: Rule) -> Rule:
    RULES[function.__name__] = function
    return function


def lint(package: Package) -> dict[str, list[str]]:
    """Return what each broken rule has to say, by the rule's name; empty when all is well."""
    found = {name: list(rule(package)) for name, rule in RULES.items()}
    return {name: faults for name, faults in found.items() if faults}


# Finding things in a definition.


@dataclass(frozen=True)
class Operation:
    """An operation and where it stands."""

    where: str
    path: str
    spec: Json

    @property
    def id(self) -> str:
        return str(self.spec.get("operationId", ""))


def operations(definition: Json) -> list[Operation]:
    return [
        Operation(f"{method.upper()} {path}", path, spec)
        for path, item in definition.get("paths", {}).items()
        for method, spec in item.items()
        if method in METHODS
    ]


def resolve(definition: Json, node: Any) -> Json:
    """Follow local references; a reference that leads nowhere gives an empty object.

    ``references_resolve`` reports it.
    """
    for _ in range(20):
        if not isinstance(node, dict) or "$ref" not in node:
            break
        target: Any = definition
        for part in str(node["$ref"]).removeprefix("#/").split("/"):
            target = target.get(part) if isinstance(target, dict) else None
        node = target
    return node if isinstance(node, dict) and "$ref" not in node else {}


def parameters(definition: Json, operation: Operation) -> list[Json]:
    shared = definition["paths"][operation.path].get("parameters", [])
    return [
        resolve(definition, parameter)
        for parameter in [*shared, *operation.spec.get("parameters", [])]
    ]


def member(definition: Json, schema: Json, path: str) -> Json | None:
    """Return the schema of a member, through arrays; None where there is none.

    A path such as ``businesses/businessId`` names it.
    """
    schema = resolve(definition, schema)
    for name in filter(None, path.split("/")):
        while schema.get("type") == "array":
            schema = resolve(definition, schema.get("items", {}))
        if name not in schema.get("properties", {}):
            return None
        schema = resolve(definition, schema["properties"][name])
    return schema


def success_schema(definition: Json, operation: Operation) -> Json:
    for code, response in operation.spec.get("responses", {}).items():
        if re.fullmatch(r"2\d\d", str(code)):
            return resolve(definition, resolve(definition, response).get("schema", {}))
    return {}


def _below(where: str, schema: Any) -> Iterator[tuple[str, Json]]:
    if not isinstance(schema, dict):
        return
    yield where, schema
    for name, inner in schema.get("properties", {}).items():
        yield from _below(f"{where}.{name}", inner)
    for keyword in ("items", "additionalProperties"):
        yield from _below(f"{where}[{keyword}]", schema.get(keyword))
    for keyword in ("allOf", "anyOf", "oneOf"):
        for number, inner in enumerate(schema.get(keyword, [])):
            yield from _below(f"{where}[{keyword} {number}]", inner)


def _schemas(definition: Json) -> Iterator[tuple[str, Json]]:
    """Yield every schema once with where it stands: the definitions, and those written in place."""
    for name, schema in definition.get("definitions", {}).items():
        yield from _below(name, schema)
    for operation in operations(definition):
        for parameter in parameters(definition, operation):
            yield from _below(f"{operation.where} {parameter.get('name')}", parameter.get("schema"))
        for code, response in operation.spec.get("responses", {}).items():
            yield from _below(
                f"{operation.where} {code}", resolve(definition, response).get("schema")
            )


def _properties(definition: Json) -> Iterator[tuple[str, str, Json, bool]]:
    """Yield where, name, schema and whether it is required, for every property of every schema."""
    for where, schema in _schemas(definition):
        for name, inner in schema.get("properties", {}).items():
            yield f"{where}.{name}", name, inner, name in schema.get("required", [])


def _entities(definition: Json) -> Iterator[tuple[str, Json]]:
    """Yield what a maker sees by its x-ms-summary: properties, and parameters outside the body.

    A reference has the name of what it leads to.
    """
    for operation in operations(definition):
        for parameter in parameters(definition, operation):
            if parameter.get("in") != "body":
                yield f"{operation.where} {parameter.get('name')}", parameter
    for where, _, schema, _ in _properties(definition):
        yield where, resolve(definition, schema)


def _walk(node: Any, where: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield where, key and value of every member of every object."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield where, key, value
            yield from _walk(value, f"{where}/{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _walk(value, f"{where}/{number}")


def _text(node: Json, name: str) -> str:
    value = node.get(name)
    return value if isinstance(value, str) else ""


def _list(operation: Json, document: Json, name: str) -> list[Any]:
    """Return what an operation says, or else the document."""
    found = operation.get(name, document.get(name, []))
    return found if isinstance(found, list) else []


# The document as a whole.


@_rule
def swagger_is_2_0(package: Package) -> Iterator[str]:
    """Only OpenAPI 2.0 is supported (coding standards)."""
    if package.definition.get("swagger") != "2.0":
        yield f"swagger is {package.definition.get('swagger')!r}"
    yield from (
        f"{key} belongs to OpenAPI 3"
        for key in ("openapi", "components", "servers")
        if key in package.definition
    )


@_rule
def host_is_bare(package: Package) -> Iterator[str]:
    """A host name without scheme, port and path (Swagger 2.0, and the portal's field Host)."""
    host = _text(package.definition, "host")
    if (
        not re.fullmatch(r"(?!-)[a-z0-9-]+(\.[a-z0-9-]+)+", host)
        or host.rpartition(".")[2].isdigit()
    ):
        yield f"host is {host!r}"


@_rule
def base_path_is_a_path(package: Package) -> Iterator[str]:
    """Begins with a slash and ends without one; together with a path it makes the address."""
    base = _text(package.definition, "basePath")
    if not re.fullmatch(r"/|(/[\w.-]+)+", base):
        yield f"basePath is {base!r}"


@_rule
def schemes_are_https(package: Package) -> Iterator[str]:
    """A token travels with every call, so nothing but https (certification)."""
    if package.definition.get("schemes") != ["https"]:
        yield f"schemes is {package.definition.get('schemes')!r}"


@_rule
def title_is_short_and_free_of_product_names(package: Package) -> Iterator[str]:
    """At most 30 characters, no product name, ends in a letter or digit (certification).

    "API" and "Connector" count as product names.
    """
    title = _text(package.definition.get("info", {}), "title")
    if not 1 <= len(title) <= 30 or not title[-1:].isalnum():
        yield f"title is {title!r}, {len(title)} characters"
    for word in ("API", "Connector", *PRODUCTS):
        if re.search(rf"\b{word}s?\b", title, re.IGNORECASE):
            yield f"title holds {word!r}"


@_rule
def description_is_30_to_500_characters(package: Package) -> Iterator[str]:
    """30 to 500 characters without product names of the platform (certification)."""
    description = _text(package.definition.get("info", {}), "description")
    if not 30 <= len(description) <= 500:
        yield f"description has {len(description)} characters"
    yield from (
        f"description holds {word!r}" for word in PRODUCTS if word.lower() in description.lower()
    )


@_rule
def version_is_given(package: Package) -> Iterator[str]:
    """Swagger 2.0 requires info.version."""
    if not _text(package.definition.get("info", {}), "version"):
        yield "info.version is missing"


@_rule
def contact_is_complete(package: Package) -> Iterator[str]:
    """Name, web address and mail address (certification, template)."""
    contact = package.definition.get("info", {}).get("contact", {})
    for name, form in (
        ("name", r"\S.*"),
        ("url", r"https://\S+"),
        ("email", r"[^@\s]+@[^@\s]+\.[^@\s]+"),
    ):
        if not re.fullmatch(form, _text(contact, name)):
            yield f"contact.{name} is {contact.get(name)!r}"


@_rule
def connector_metadata_is_complete(package: Package) -> Iterator[str]:
    """Website, Privacy policy and Categories (certification).

    Categories are of Microsoft's list; usual are at most two, joined by a semicolon.
    """
    categories = {
        *(
            "AI",
            "Business Management",
            "Business Intelligence",
            "Collaboration",
            "Commerce",
            "Communication",
            "Content and Files",
            "Data",
        ),
        *(
            "Finance",
            "Human Resources",
            "Internet of Things",
            "IT Operations",
            "Lifestyle and Entertainment",
            "Marketing",
            "Productivity",
        ),
        *("Sales and CRM", "Security", "Social Media", "Website"),
    }
    entries = package.definition.get("x-ms-connector-metadata", [])
    given = {
        entry.get("propertyName"): entry.get("propertyValue")
        for entry in entries
        if isinstance(entry, dict)
    }
    for name in ("Website", "Privacy policy"):
        if not re.fullmatch(r"https://\S+", str(given.get(name, ""))):
            yield f"{name} is {given.get(name)!r}"
    for category in str(given.get("Categories", "")).split(";"):
        if category.strip() not in categories:
            yield f"category {category!r} is not one of Microsoft's"


@_rule
def bodies_are_json(package: Package) -> Iterator[str]:
    """A connector sends and reads application/json (coding standards).

    Without it the designer shows no body.
    """
    for operation in operations(package.definition):
        has_body = any(
            parameter.get("in") == "body" for parameter in parameters(package.definition, operation)
        )
        for name, due in (("consumes", has_body), ("produces", True)):
            if due and "application/json" not in _list(operation.spec, package.definition, name):
                yield f"{operation.where} {name} no application/json"


@_rule
def sign_in_is_declared(package: Package) -> Iterator[str]:
    """OAuth 2.0 with an authorization code, and every operation under it (template).

    The addresses are https.
    """
    schemes = package.definition.get("securityDefinitions", {})
    if not any(
        scheme.get("type") == "oauth2" and scheme.get("flow") == "accessCode"
        for scheme in schemes.values()
    ):
        yield "no oauth2 scheme with the flow accessCode"
    for name, scheme in schemes.items():
        for address in ("authorizationUrl", "tokenUrl"):
            if scheme.get("type") == "oauth2" and not _text(scheme, address).startswith("https://"):
                yield f"{name}.{address} is {scheme.get(address)!r}"
    for operation in operations(package.definition):
        needs = _list(operation.spec, package.definition, "security")
        if not needs:
            yield f"{operation.where} asks for no sign-in"
        for need in needs:
            for name, scopes in need.items():
                unknown = set(scopes) - set(schemes.get(name, {}).get("scopes", {}))
                if name not in schemes or unknown:
                    yield (
                        f"{operation.where} asks for {name} {sorted(unknown)}, which is not "
                        "declared"
                    )


@_rule
def references_resolve(package: Package) -> Iterator[str]:
    """Every $ref is local and leads somewhere."""
    for where, key, value in _walk(package.definition):
        if key == "$ref" and not (
            str(value).startswith("#/") and resolve(package.definition, {"$ref": value})
        ):
            yield f"{where} refers to {value!r}"


@_rule
def keywords_are_those_of_swagger(package: Package) -> Iterator[str]:
    """No keyword that Swagger 2.0 lacks or the designer does not read (schemas).

    These are oneOf, anyOf, const, null, nullable and numeric exclusive bounds.
    """
    unknown = (
        "oneOf",
        "anyOf",
        "not",
        "const",
        "if",
        "then",
        "else",
        "$defs",
        "prefixItems",
        "patternProperties",
        "propertyNames",
        "contains",
    )
    for where, schema in _schemas(package.definition):
        for keyword in (
            *unknown,
            "nullable",
            "x-nullable",
            "jsonSchemaDialect",
            "examples",
            "contentEncoding",
            "unevaluatedProperties",
        ):
            if keyword in schema:
                yield f"{where} uses {keyword}"
        if (
            isinstance(schema.get("type"), list)
            or schema.get("type") == "null"
            or None in schema.get("enum", [])
        ):
            yield f"{where} may be null"
        for keyword in ("exclusiveMinimum", "exclusiveMaximum"):
            if keyword in schema and not isinstance(schema[keyword], bool):
                yield f"{where}: {keyword} is true or false in Swagger 2.0"


@_rule
def schemas_have_types(package: Package) -> Iterator[str]:
    """Every schema says its type or refers; an array says what it holds; what is required exists.

    Dynamic content needs it (coding standards).
    """
    for where, schema in _schemas(package.definition):
        if "$ref" not in schema and "allOf" not in schema and "type" not in schema:
            yield f"{where} has no type"
        if schema.get("type") == "array" and "items" not in schema:
            yield f"{where} does not say what it holds"
        for name in schema.get("required", []) if isinstance(schema.get("required"), list) else []:
            if name not in schema.get("properties", {}):
                yield f"{where} requires {name}, which it does not have"


@_rule
def extensions_are_known(package: Package) -> Iterator[str]:
    """Only x-ms- extensions that the platform reads (extensions, schemas), and the known values.

    Others, such as x-nullable, have no place in what is uploaded.
    """
    known = {
        *(
            "x-ms-summary",
            "x-ms-visibility",
            "x-ms-api-annotation",
            "x-ms-connector-metadata",
            "x-ms-test-value",
            "x-ms-url-encoding",
        ),
        *(
            "x-ms-dynamic-values",
            "x-ms-dynamic-list",
            "x-ms-dynamic-schema",
            "x-ms-dynamic-properties",
            "x-ms-dynamic-tree",
        ),
        *(
            "x-ms-trigger",
            "x-ms-trigger-hint",
            "x-ms-trigger-metadata",
            "x-ms-notification-url",
            "x-ms-notification-content",
        ),
        *(
            "x-ms-capabilities",
            "x-ms-operation-context",
            "x-ms-no-generic-test",
            "x-ms-pageable",
            "x-ms-openai-data",
            "x-ms-safe-operation",
        ),
        "x-extensible-enum",  # the platform ignores it, and generators of clients read it
    }
    for where, key, _ in _walk(package.definition):
        is_name = where.endswith(("/headers", "/properties", "/parameters")) or "/example" in where
        if key.startswith("x-") and key not in known and not is_name:
            yield f"{where} uses {key}"


# Operations.


@_rule
def operation_ids_are_pascal_case_and_unique(package: Package) -> Iterator[str]:
    """PascalCase without hyphen or underscore, each once (coding standards)."""
    seen: set[str] = set()
    for operation in operations(package.definition):
        if not re.fullmatch(r"[A-Z][a-z0-9]+([A-Z][A-Za-z0-9]*)*", operation.id):
            yield f"{operation.where}: operationId is {operation.id!r}"
        if operation.id in seen:
            yield f"{operation.where}: operationId {operation.id!r} occurs twice"
        seen.add(operation.id)


@_rule
def summaries_are_in_sentence_case(package: Package) -> Iterator[str]:
    """Sentence case, at most 80 characters, no slash, ends in a letter or digit.

    The source is string guidance.
    """
    for operation in operations(package.definition):
        summary = _text(operation.spec, "summary")
        if (
            not 1 <= len(summary) <= 80
            or "/" in summary
            or not summary[-1:].isalnum()
            or not summary[:1].isupper()
        ):
            yield f"{operation.where}: summary is {summary!r}"
        if any(
            word[:1].isupper() and not word.isupper() and word not in _PROPER
            for word in summary.split()[1:]
        ):
            yield f"{operation.where}: summary {summary!r} is not in sentence case"


@_rule
def descriptions_are_sentences(package: Package) -> Iterator[str]:
    """Present, other than the title beside it, without address or markup (coding standards).

    The description of an operation, parameter or property ends with a full stop.
    """
    entries = [(operation.where, operation.spec) for operation in operations(package.definition)]
    for where, node in [*entries, *_entities(package.definition)]:
        description, title = (
            _text(node, "description"),
            _text(node, "x-ms-summary") or _text(node, "summary"),
        )
        if "$ref" in node and not description:
            description = _text(resolve(package.definition, node), "description")
        if (
            not description.endswith(".")
            or description.rstrip(".").casefold() == title.casefold()
            or not description[:1].isupper()
        ):
            yield f"{where}: description is {description!r}"
        if re.search(r"https?://|<[a-z/]", description):
            yield f"{where}: description holds an address or markup"


@_rule
def titles_of_entities_are_in_title_case(package: Package) -> Iterator[str]:
    """x-ms-summary on every parameter and every property, in title case (extensions).

    At most 80 characters, no slash, ends in a letter or digit.
    """
    for where, node in _entities(package.definition):
        title = _text(node, "x-ms-summary")
        words = title.split()
        good = words and all(
            word[0].isupper() or word[0].isdigit() or (number and word in _SMALL)
            for number, word in enumerate(words)
        )
        if not good or len(title) > 80 or "/" in title or not title[-1:].isalnum():
            yield f"{where}: x-ms-summary is {title!r}"


@_rule
def visibility_is_known(package: Package) -> Iterator[str]:
    """x-ms-visibility is important, advanced or internal (extensions)."""
    for where, key, value in _walk(package.definition):
        if key == "x-ms-visibility" and value not in ("important", "advanced", "internal"):
            yield f"{where} is {value!r}"


@_rule
def internal_and_required_has_a_default(package: Package) -> Iterator[str]:
    """What a maker cannot see and has to give needs a default (extensions).

    Answers are not given by a maker.
    """
    for operation in operations(package.definition):
        for parameter in parameters(package.definition, operation):
            where = f"{operation.where} {parameter.get('name')}"
            if (
                parameter.get("x-ms-visibility") == "internal"
                and parameter.get("required")
                and "default" not in parameter
            ):
                yield where
            body = resolve(package.definition, parameter.get("schema", {}))
            for name in body.get("required", []):
                inner = resolve(package.definition, body.get("properties", {}).get(name, {}))
                if inner.get("x-ms-visibility") == "internal" and "default" not in inner:
                    yield f"{where}.{name}"


@_rule
def success_is_explicit_and_has_a_schema(package: Package) -> Iterator[str]:
    """An explicit 2xx with a schema on every action, never default alone.

    So there is dynamic content (coding standards, pull request template).
    """
    for operation in operations(package.definition):
        answers = {
            str(code): resolve(package.definition, answer)
            for code, answer in operation.spec.get("responses", {}).items()
        }
        good = [code for code in answers if re.fullmatch(r"2\d\d", code)]
        if not good:
            yield f"{operation.where} names no success"
        for code in good:
            if not resolve(package.definition, answers[code].get("schema", {})):
                yield f"{operation.where} {code} has no schema"


@_rule
def failures_are_listed_with_a_schema(package: Package) -> Iterator[str]:
    """Known 4xx and 5xx are listed (coding standards).

    Ours all have the schema from which a flow reads ``code`` and ``retryable``.
    """
    for operation in operations(package.definition):
        answers = {
            str(code): resolve(package.definition, answer)
            for code, answer in operation.spec.get("responses", {}).items()
        }
        for family in ("4", "5"):
            if not any(re.fullmatch(rf"{family}\d\d", code) for code in answers):
                yield f"{operation.where} names no {family}xx"
        for code, answer in answers.items():
            if code[:1] in "45" and not {"code", "retryable"} <= set(
                resolve(package.definition, answer.get("schema", {})).get("properties", {})
            ):
                yield f"{operation.where} {code} has no schema of a problem"


@_rule
def answers_are_described(package: Package) -> Iterator[str]:
    """Swagger 2.0 requires a description of every response."""
    for operation in operations(package.definition):
        for code, answer in operation.spec.get("responses", {}).items():
            if not _text(resolve(package.definition, answer), "description").strip():
                yield f"{operation.where} {code}"


@_rule
def path_parameters_fit_the_path(package: Package) -> Iterator[str]:
    """Each placeholder is a required parameter, and the other way round.

    It is encoded once (extensions: ids hold characters that a path mangles).
    """
    for operation in operations(package.definition):
        placeholders = set(re.findall(r"\{([^}]+)\}", operation.path))
        declared = {
            parameter.get("name"): parameter
            for parameter in parameters(package.definition, operation)
            if parameter.get("in") == "path"
        }
        if placeholders != set(declared):
            yield (
                f"{operation.where}: {sorted(placeholders)} in the path, "
                f"{sorted(map(str, declared))} declared"
            )
        for name, parameter in declared.items():
            if (
                parameter.get("required") is not True
                or parameter.get("x-ms-url-encoding") != "single"
            ):
                yield f"{operation.where} {name} is not required and encoded once"


@_rule
def get_has_no_body(package: Package) -> Iterator[str]:
    """A GET has no body, because the designer refuses it; others have one at most (Swagger 2.0)."""
    for operation in operations(package.definition):
        bodies = [
            parameter
            for parameter in parameters(package.definition, operation)
            if parameter.get("in") == "body"
        ]
        if len(bodies) > (0 if operation.where.startswith("GET") else 1):
            yield operation.where


@_rule
def drop_downs_lead_to_members_that_exist(package: Package) -> Iterator[str]:
    """x-ms-dynamic-values and -list name what exists, and the two agree (extensions).

    They name an operation, its parameters and members of its answer.
    """
    known = {operation.id: operation for operation in operations(package.definition)}
    for operation in operations(package.definition):
        for where, own, node in _drop_downs(package.definition, operation):
            for values in (
                _read_values(node.get("x-ms-dynamic-values")),
                _read_list(node.get("x-ms-dynamic-list")),
            ):
                if values is not None:
                    yield from _check_drop_down(package.definition, known, where, own, values)
            pair = [
                node[name].get("operationId")
                for name in ("x-ms-dynamic-values", "x-ms-dynamic-list")
                if name in node
            ]
            if len(set(pair)) > 1:
                yield f"{where}: the two kinds of drop-down name different operations"


@dataclass(frozen=True)
class _DropDown:
    operation_id: str
    collection: str
    value: str
    title: str
    # Parameter of the list -> what of this operation fills it; None for a constant.
    given: Mapping[str, str | None]


def _read_values(node: Json | None) -> _DropDown | None:
    if node is None:
        return None
    given = {
        name: value.get("parameter") if isinstance(value, dict) else None
        for name, value in node.get("parameters", {}).items()
    }
    operation, collection, value, title = (
        str(node.get(key, ""))
        for key in ("operationId", "value-collection", "value-path", "value-title")
    )
    return _DropDown(operation, collection, value, title, given)


def _read_list(node: Json | None) -> _DropDown | None:
    if node is None:
        return None
    given = {
        name: value.get("parameterReference") for name, value in node.get("parameters", {}).items()
    }
    given = {
        name: reference.removeprefix("body/") if reference else None
        for name, reference in given.items()
    }
    operation, collection, value, title = (
        str(node.get(key, ""))
        for key in ("operationId", "itemsPath", "itemValuePath", "itemTitlePath")
    )
    return _DropDown(operation, collection, value, title, given)


def _drop_downs(definition: Json, operation: Operation) -> Iterator[tuple[str, set[str], Json]]:
    own: dict[str, Json] = {}
    for parameter in parameters(definition, operation):
        if parameter.get("in") == "body":
            own |= resolve(definition, parameter.get("schema", {})).get("properties", {})
        else:
            own[str(parameter.get("name"))] = parameter
    for name, node in own.items():
        if "x-ms-dynamic-values" in node or "x-ms-dynamic-list" in node:
            yield f"{operation.where} {name}", set(own) - {name}, node


def _check_drop_down(
    definition: Json, known: Mapping[str, Operation], where: str, own: set[str], wanted: _DropDown
) -> Iterator[str]:
    operation = known.get(wanted.operation_id)
    if operation is None:
        yield f"{where}: there is no operation {wanted.operation_id!r}"
        return
    collection = member(definition, success_schema(definition, operation), wanted.collection)
    if collection is None or collection.get("type") != "array":
        yield f"{where}: {wanted.operation_id} answers no list {wanted.collection!r}"
        return
    for path in (wanted.value, wanted.title):
        if not path or member(definition, collection.get("items", {}), path) is None:
            yield f"{where}: an entry of {wanted.collection!r} has no {path!r}"
    takes = {
        str(parameter.get("name")): parameter for parameter in parameters(definition, operation)
    }
    yield from (
        f"{where}: {wanted.operation_id} takes no {name!r}"
        for name in wanted.given
        if name not in takes
    )
    yield from (
        f"{where}: there is no {source!r} to pass"
        for source in wanted.given.values()
        if source is not None and source not in own
    )
    for name, parameter in takes.items():
        if parameter.get("required") and "default" not in parameter and name not in wanted.given:
            yield f"{where}: {wanted.operation_id} needs {name!r}"


@_rule
def annotations_name_a_family_and_a_revision(package: Package) -> Iterator[str]:
    """x-ms-api-annotation has a family and a revision of 1 or more (extensions).

    A family's revision occurs once.
    """
    seen: set[tuple[str, int]] = set()
    for operation in operations(package.definition):
        annotation = operation.spec.get("x-ms-api-annotation")
        if annotation is None:
            continue
        family, revision = annotation.get("family"), annotation.get("revision")
        if (
            not isinstance(family, str)
            or not family
            or type(revision) is not int
            or revision < 1
            or (family, revision) in seen
        ):
            yield f"{operation.where}: {annotation!r}"
            continue
        seen.add((family, revision))


# The properties.


def _token(package: Package) -> Json:
    token = (
        package.properties.get("properties", {}).get("connectionParameters", {}).get("token", {})
    )
    return token if isinstance(token, dict) else {}


def _settings(package: Package) -> Json:
    settings = _token(package).get("oAuthSettings", {})
    return settings if isinstance(settings, dict) else {}


@_rule
def properties_have_their_members(package: Package) -> Iterator[str]:
    """One object ``properties`` with the known members (schemas, template).

    The lists are lists; publisher and stackOwner are given.
    """
    if set(package.properties) != {"properties"}:
        yield f"the document holds {sorted(package.properties)}"
    inside = package.properties.get("properties", {})
    known = {
        "connectionParameters",
        "iconBrandColor",
        "capabilities",
        "policyTemplateInstances",
        "publisher",
        "stackOwner",
    }
    yield from (f"{name} is not known" for name in inside if name not in known)
    yield from (
        f"{name} is not a list"
        for name in ("capabilities", "policyTemplateInstances")
        if not isinstance(inside.get(name), list)
    )
    yield from (
        f"{name} is missing"
        for name in ("publisher", "stackOwner")
        if not _text(inside, name).strip()
    )


@_rule
def sign_in_is_entra_with_our_api_as_resource(package: Package) -> Iterator[str]:
    """An oauthSetting of the provider aad whose resource is this API's id URI.

    It is the same in both places (schemas: aad takes these parameters only).
    """
    settings = _settings(package)
    if _token(package).get("type") != "oauthSetting" or settings.get("identityProvider") != "aad":
        yield "the token is no oauthSetting of the provider aad"
    custom = {
        name: value.get("value") for name, value in settings.get("customParameters", {}).items()
    }
    if set(custom) != {"loginUri", "tenantId", "resourceUri"}:
        yield f"customParameters holds {sorted(custom)}"
    if not str(custom.get("loginUri", "")).startswith("https://login.") or not custom.get(
        "tenantId"
    ):
        yield f"loginUri is {custom.get('loginUri')!r}, tenantId {custom.get('tenantId')!r}"
    resource = settings.get("properties", {}).get("AzureActiveDirectoryResourceId")
    if not str(resource).startswith("api://") or resource != custom.get("resourceUri"):
        yield f"the resource is {resource!r} and {custom.get('resourceUri')!r}"
    if str(resource).removeprefix("api://") == settings.get("clientId") or not settings.get(
        "clientId"
    ):
        yield "the connector is no application of its own (AADSTS90009)"
    if settings.get("properties", {}).get("IsFirstParty") != "False":
        yield "IsFirstParty is not False"
    if (
        package.properties.get("properties", {})
        .get("connectionParameters", {})
        .get("token:TenantId", {})
        .get("type")
        != "string"
    ):
        yield "token:TenantId is missing"


@_rule
def redirect_is_per_connector(package: Package) -> Iterator[str]:
    """Every connector has a redirect address of its own.

    GlobalPerConnector (certification, since 2024; schemas).
    """
    settings = _settings(package)
    if settings.get("redirectMode") != "GlobalPerConnector":
        yield f"redirectMode is {settings.get('redirectMode')!r}"
    if settings.get("redirectUrl") != REDIRECT:
        yield f"redirectUrl is {settings.get('redirectUrl')!r}"


@_rule
def there_is_no_secret(package: Package) -> Iterator[str]:
    """No client secret, key, password or token in any file of the package (certification).

    A person gives it to the portal or the tool.
    """
    entra_secret = re.compile(r"[\w.~-]{3}\dQ~[\w.~-]{20,}|eyJ[\w-]{10,}\.[\w-]{10,}")
    for document in (package.definition, package.properties):
        for where, key, value in _walk(document):
            if (
                re.search(r"secret|password|apikey|privatekey", key, re.IGNORECASE)
                and isinstance(value, str)
                and value
            ):
                yield f"{where}/{key}"
            if isinstance(value, str) and entra_secret.search(value):
                yield f"{where}/{key} looks like one"


@_rule
def brand_colour_is_allowed(package: Package) -> Iterator[str]:
    """#rrggbb, and neither #007ee5 nor #ffffff (pull request template)."""
    colour = _text(package.properties.get("properties", {}), "iconBrandColor")
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", colour) or colour.lower() in ("#007ee5", "#ffffff"):
        yield f"iconBrandColor is {colour!r}"


# The icon.


@dataclass(frozen=True)
class Picture:
    """A decoded PNG. ``pixels``: one (red, green, blue, alpha) for each, line by line."""

    width: int
    height: int
    pixels: list[tuple[int, int, int, int]]


@functools.cache
def read_png(data: bytes) -> Picture:
    """Decode an 8-bit RGB or RGBA PNG without interlacing (ISO/IEC 15948).

    Errors: ValueError for anything else.
    """
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("is no PNG")
    header, packed, at = b"", b"", 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        header, packed = (
            (body if kind == b"IHDR" else header),
            (packed + body if kind == b"IDAT" else packed),
        )
        at += 12 + length
    width, height, depth, colours, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if depth != 8 or colours not in (2, 6) or interlaced:
        raise ValueError("is no 8-bit RGB or RGBA picture without interlacing")
    step = 3 if colours == 2 else 4
    lines = _unfilter(zlib.decompress(packed), width * step, height, step)
    pixels = [
        (*line[at : at + 3], line[at + 3] if step == 4 else 255)
        for line in lines
        for at in range(0, width * step, step)
    ]
    return Picture(width, height, pixels)


def _unfilter(raw: bytes, stride: int, height: int, step: int) -> list[bytearray]:
    lines, above = [], bytearray(stride)
    for number in range(height):
        kind, line = (
            raw[number * (stride + 1)],
            bytearray(raw[number * (stride + 1) + 1 : (number + 1) * (stride + 1)]),
        )
        for at in range(stride):
            left, up, corner = (
                (line[at - step], above[at], above[at - step]) if at >= step else (0, above[at], 0)
            )
            line[at] = (
                line[at] + (0, left, up, (left + up) // 2, _paeth(left, up, corner))[kind]
            ) & 0xFF
        lines.append(line)
        above = line
    return lines


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))


@_rule
def icon_is_230_square_on_the_brand_colour(package: Package) -> Iterator[str]:
    """PNG, 230 by 230, no transparency, on the brand colour, which is not white.

    The source is certification, the reviewers' checklist.
    """
    try:
        picture = read_png(package.icon)
    except (ValueError, struct.error, zlib.error) as error:
        yield f"the icon {error}"
        return
    if (picture.width, picture.height) != (230, 230):
        yield f"the icon is {picture.width} by {picture.height}"
    if any(alpha != 255 for *_, alpha in picture.pixels):
        yield "the icon is transparent somewhere"
    corners = {picture.pixels[at][:3] for at in (0, picture.width - 1, -picture.width, -1)}
    colour = _text(package.properties.get("properties", {}), "iconBrandColor").lower()
    if {"#{:02x}{:02x}{:02x}".format(*corner) for corner in corners} != {
        colour
    } or colour == "#ffffff":
        yield f"the icon's corners are {sorted(corners)}, the brand colour is {colour}"
    if len(set(picture.pixels)) < 3:
        yield "the icon shows nothing"


@_rule
def files_are_small(package: Package) -> Iterator[str]:
    """The icon and each other file are under 1 MB (portal).

    Definitions near 1 MB are the largest that were ever published; ours is far smaller.
    """
    yield from (
        f"{name} has {size} bytes" for name, size in package.sizes.items() if size >= 1_000_000
    )
