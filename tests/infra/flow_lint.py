"""Checks a flow (Workflow Definition Language) against the connector that it uses.

Owns the rules for names, order, parameters, and what expressions refer to. The language is that of
learn.microsoft.com/azure/logic-apps/logic-apps-workflow-definition-language. Only the functions
listed here are known, so a misspelt one is found. Nothing is executed: the rules work out an
expression's *shape*, which is enough to find a member that no answer has.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.infra.connector_lint import Json, Operation, operations, parameters, resolve

type Shape = tuple[Json, ...] | None  # what a value may be, as resolved schemas; None: anything

_STATUSES = {"Succeeded", "Failed", "Skipped", "TimedOut"}
_TEXT: Shape = ({"type": "string"},)
_NUMBER: Shape = ({"type": "integer"},)
_TRUTH: Shape = ({"type": "boolean"},)
_PLAIN: Mapping[str, Shape] = {
    **dict.fromkeys(
        (
            "utcNow",
            "addDays",
            "addHours",
            "startOfDay",
            "formatDateTime",
            "convertFromUtc",
            "concat",
            "string",
            "guid",
        ),
        _TEXT,
    ),
    **dict.fromkeys(("toLower", "toUpper", "trim", "replace"), _TEXT),
    **dict.fromkeys(("length", "int", "add", "sub", "mul", "div", "min", "max"), _NUMBER),
    **dict.fromkeys(
        (
            "equals",
            "contains",
            "empty",
            "not",
            "and",
            "or",
            "greater",
            "greaterOrEquals",
            "less",
            "startsWith",
        ),
        _TRUTH,
    ),
}
_WORKFLOW: Json = {
    "properties": {
        "run": {"properties": {"name": {"type": "string"}, "id": {"type": "string"}}},
        "name": {"type": "string"},
    }
}


class ExpressionError(ValueError):
    """An expression that means nothing, or refers to something that does not exist."""


# Expressions: text -> tree.


@dataclass(frozen=True)
class Literal:
    """A text, number, true, false or null."""

    value: object


@dataclass(frozen=True)
class Call:
    """A function and what it is given."""

    name: str
    arguments: "tuple[Expression, ...]"


@dataclass(frozen=True)
class Access:
    """A member of something: ``base?['key']``."""

    base: "Expression"
    key: object


type Expression = Literal | Call | Access

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<sign>\?\[|\[|\]|\(|\)|,))"
)


def parse(text: str) -> Expression:
    """Read one expression, without its @. Errors: ExpressionError."""
    tokens: list[tuple[str, str]] = []
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if not found:
            raise ExpressionError(f"cannot be read at {text[at:]!r}")
        kind = str(found.lastgroup)
        tokens.append((kind, found[kind]))
        at = found.end()
    tree, rest = _parse(tokens)
    if rest:
        raise ExpressionError(f"goes on after its end: {rest[0][1]!r}")
    return tree


def _parse(tokens: list[tuple[str, str]]) -> tuple[Expression, list[tuple[str, str]]]:
    if not tokens:
        raise ExpressionError("ends too early")
    (kind, value), tokens = tokens[0], tokens[1:]
    tree: Expression
    if kind == "text":
        tree = Literal(value[1:-1].replace("''", "'"))
    elif kind == "number":
        tree = Literal(float(value) if "." in value else int(value))
    elif kind == "name" and value in ("true", "false", "null"):
        tree = Literal({"true": True, "false": False, "null": None}[value])
    elif kind == "name":
        given, tokens = _parse_arguments(tokens)
        tree = Call(value, given)
    else:
        raise ExpressionError(f"has {value!r} where a value belongs")
    while tokens and tokens[0][1] in ("?[", "["):
        key, tokens = _parse(tokens[1:])
        tokens = _expect("]", tokens)
        if not isinstance(key, Literal):
            raise ExpressionError("has a member that is not named by a literal")
        tree = Access(tree, key.value)
    return tree, tokens


def _parse_arguments(
    tokens: list[tuple[str, str]],
) -> tuple[tuple[Expression, ...], list[tuple[str, str]]]:
    tokens = _expect("(", tokens)
    given: list[Expression] = []
    while tokens and tokens[0][1] != ")":
        if given:
            tokens = _expect(",", tokens)
        argument, tokens = _parse(tokens)
        given.append(argument)
    return tuple(given), _expect(")", tokens)


def _expect(sign: str, tokens: list[tuple[str, str]]) -> list[tuple[str, str]]:
    if not tokens or tokens[0] != ("sign", sign):
        raise ExpressionError(f"lacks {sign!r}")
    return tokens[1:]


def expressions_in(text: str) -> Iterator[str]:
    """Yield the expressions of a value without their @.

    That is the whole of the value, or the parts between @{ and }.
    """
    if text.startswith("@@"):
        return
    if text.startswith("@") and not text.startswith("@{"):
        yield text[1:]
        return
    at = 0
    while (start := text.find("@{", at)) >= 0:
        quoted, end = False, start + 2
        while end < len(text) and (quoted or text[end] != "}"):
            quoted ^= text[end] == "'"
            end += 1
        if end == len(text):
            raise ExpressionError(f"has no end: {text[start:]!r}")
        yield text[start + 2 : end]
        at = end


# A flow: what stands where, and what a value may be.


@dataclass(frozen=True)
class Action:
    """An action of a flow.

    ``before``: the actions that have ended, one way or the other, when it begins.
    """

    name: str
    spec: Json
    siblings: frozenset[str]
    before: frozenset[str]

    @property
    def inputs(self) -> Json:
        """Return its inputs, where they are an object."""
        inputs = self.spec.get("inputs")
        return inputs if isinstance(inputs, dict) else {}


def _branches(spec: Json) -> list[Json]:
    branches = [
        spec.get("actions", {}),
        spec.get("else", {}).get("actions", {}),
        spec.get("default", {}).get("actions", {}),
    ]
    return branches + [case.get("actions", {}) for case in spec.get("cases", {}).values()]


def _names(actions: Json) -> set[str]:
    return set(actions).union(
        *(_names(branch) for spec in actions.values() for branch in _branches(spec))
    )


def _earlier(actions: Json, name: str, seen: frozenset[str] = frozenset()) -> set[str]:
    """Return the siblings that end before this one begins; a cycle ends the search.

    ``run_after_has_no_cycle`` reports the cycle.
    """
    found: set[str] = set()
    for previous in actions[name].get("runAfter", {}):
        if previous in actions and previous not in seen:
            found |= {previous} | _earlier(actions, previous, seen | {name})
    return found


def _actions(actions: Json, before: frozenset[str] = frozenset()) -> Iterator[Action]:
    for name, spec in actions.items():
        earlier = _earlier(actions, name)
        inside = _names({previous: actions[previous] for previous in earlier})
        own = before | inside
        yield Action(name, spec, frozenset(actions), own)
        for branch in _branches(spec):
            yield from _actions(branch, own)


class Flow:
    """A flow beside the connector's definition."""

    def __init__(self, flow: Json, definition: Json) -> None:
        self.flow = flow
        self.definition = definition
        self.actions = list(_actions(flow.get("actions", {})))
        self.by_name = {action.name: action for action in self.actions}
        self.operations = {operation.id: operation for operation in operations(definition)}

    def operation(self, action: Action) -> Operation | None:
        """Return the connector's operation that an action carries out."""
        return self.operations.get(str(action.inputs.get("host", {}).get("operationId")))

    def check(self, expression: str, place: Action | None = None) -> Shape:
        """Work out an expression's shape where ``place`` stands; None for a place after everything.

        Errors: ExpressionError.
        """
        return self._shape(parse(expression), place)

    def _shape(self, tree: Expression, place: Action | None) -> Shape:
        match tree:
            case Literal(value):
                return ({"enum": [value]},)
            case Access(base, key):
                return self._member(self._shape(base, place), key)
            case Call(name, arguments):
                return self._called(name, arguments, place)

    def _called(self, name: str, arguments: tuple[Expression, ...], place: Action | None) -> Shape:
        if name in ("body", "outputs", "actions"):
            return self._of_action(name, arguments, place)
        shapes = [self._shape(argument, place) for argument in arguments]
        if name in _PLAIN:
            return _PLAIN[name]
        if name in ("coalesce", "if"):
            chosen = shapes if name == "coalesce" else shapes[1:]
            return (
                None
                if any(shape is None for shape in chosen)
                else tuple(entry for shape in chosen for entry in shape or ())
            )
        if name in ("first", "last"):
            return self._items(shapes[0])
        return self._surroundings(name, arguments, place)

    def _surroundings(
        self, name: str, arguments: tuple[Expression, ...], place: Action | None
    ) -> Shape:
        match name, arguments:
            case "triggerBody", ():
                (trigger,) = self.flow["triggers"].values()
                return (trigger["inputs"]["schema"],)
            case "workflow", ():
                return (_WORKFLOW,)
            case "item", () if place is not None and place.spec.get("type") == "Query":
                return self._items(self.check(str(place.spec["inputs"]["from"])[1:], place))
            case "parameters", (Literal(str() as wanted),) if wanted in self.flow["parameters"]:
                return None
        raise ExpressionError(f"calls {name}, which is not known here")

    def _of_action(
        self, function: str, arguments: tuple[Expression, ...], place: Action | None
    ) -> Shape:
        match arguments:
            case (Literal(str() as name),) if name in self.by_name:
                action = self.by_name[name]
            case _:
                raise ExpressionError(f"calls {function} with no action of this flow")
        if place is not None and action.name not in place.before:
            raise ExpressionError(f"refers to {action.name}, which has not ended by then")
        if function == "actions":
            return (
                {"properties": {"status": {"enum": sorted(_STATUSES)}, "code": {"type": "string"}}},
            )
        return self._output(action, function)

    def _output(self, action: Action, function: str) -> Shape:
        kind = action.spec.get("type")
        if kind == "Compose" and function == "outputs":
            given = action.spec["inputs"]
            whole = isinstance(given, str) and given.startswith("@") and not given.startswith("@{")
            return self.check(given[1:], action) if whole else None
        if kind == "Query" and function == "body":
            return self.check(str(action.spec["inputs"]["from"])[1:], action)
        if kind == "OpenApiConnection":
            operation = self.operation(action)
            answers = operation.spec.get("responses", {}).values() if operation else ()
            bodies = tuple(
                resolve(self.definition, resolve(self.definition, answer).get("schema", {}))
                for answer in answers
            )
            statuses = (
                [int(code) for code in operation.spec.get("responses", {}) if str(code).isdigit()]
                if operation
                else []
            )
            return (
                bodies
                if function == "body"
                else ({"properties": {"statusCode": {"enum": statuses}, "headers": {}}},)
            )
        raise ExpressionError(f"takes {function} of {action.name}, which has none")

    def _member(self, shape: Shape, key: object) -> Shape:
        if shape is None:
            return None
        if isinstance(key, int):
            return self._items(shape)
        found = [
            resolve(self.definition, entry["properties"][key])
            for entry in shape
            if key in entry.get("properties", {})
        ]
        if not found:
            raise ExpressionError(f"reads {key!r}, which no answer has")
        return tuple(found)

    def _items(self, shape: Shape) -> Shape:
        if shape is None:
            return None
        found = [
            resolve(self.definition, entry.get("items", {}))
            for entry in shape
            if entry.get("type") == "array"
        ]
        if not found:
            raise ExpressionError("takes an entry of something that is no list")
        return tuple(found)


# The rules.

type Rule = Callable[[Flow], Iterator[str]]
RULES: dict[str, Rule] = {}


def _rule(function: Rule) -> Rule:
    RULES[function.__name__] = function
    return function


def lint_flow(flow: Json, definition: Json) -> dict[str, list[str]]:
    """Return what each broken rule has to say, by the rule's name; empty when all is well."""
    whole = Flow(flow, definition)
    found = {name: list(rule(whole)) for name, rule in RULES.items()}
    return {name: faults for name, faults in found.items() if faults}


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from _strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from _strings(value)


def _own(action: Action) -> Json:
    """Return the action without the actions inside it."""
    return {
        key: value
        for key, value in action.spec.items()
        if key not in ("actions", "else", "cases", "default", "runAfter")
    }


@_rule
def names_are_unique(flow: Flow) -> Iterator[str]:
    """A name occurs once in the whole flow and has at most 80 characters.

    It has no character that the designer refuses.
    """
    seen: set[str] = set()
    for action in flow.actions:
        if action.name in seen or not re.fullmatch(r"[A-Za-z0-9_ -]{1,80}", action.name):
            yield action.name
        seen.add(action.name)


@_rule
def run_after_names_siblings(flow: Flow) -> Iterator[str]:
    """Run-after names actions of the same branch, with at least one known status each."""
    for action in flow.actions:
        for previous, statuses in action.spec.get("runAfter", {}).items():
            if previous not in action.siblings or not statuses or not set(statuses) <= _STATUSES:
                yield f"{action.name} runs after {previous} {statuses}"


@_rule
def run_after_has_no_cycle(flow: Flow) -> Iterator[str]:
    """Nothing waits for itself, and each branch has something to begin with."""

    def visit(actions: Json) -> Iterator[str]:
        left = {
            name: set(spec.get("runAfter", {})) & set(actions) for name, spec in actions.items()
        }
        while ready := {name for name, waits in left.items() if not waits}:
            left = {name: waits - ready for name, waits in left.items() if name not in ready}
        if left:
            yield f"{sorted(left)} wait for each other"
        for spec in actions.values():
            for branch in _branches(spec):
                yield from visit(branch)

    yield from visit(flow.flow.get("actions", {}))


@_rule
def operations_exist(flow: Flow) -> Iterator[str]:
    """Every connector action carries out an operation of the connector."""
    used = [action for action in flow.actions if action.spec.get("type") == "OpenApiConnection"]
    if not used:
        yield "the flow does not use the connector"
    yield from (action.name for action in used if flow.operation(action) is None)


@_rule
def parameters_exist_and_the_required_are_given(flow: Flow) -> Iterator[str]:
    """Parameters have the operation's names; members of the body are written ``body/name``."""
    for action in flow.actions:
        operation = flow.operation(action)
        if operation is None:
            continue
        known: dict[str, bool] = {}
        for parameter in parameters(flow.definition, operation):
            if parameter.get("in") == "body":
                body = resolve(flow.definition, parameter.get("schema", {}))
                known |= {
                    f"body/{name}": name in body.get("required", [])
                    for name in body.get("properties", {})
                }
            else:
                known[str(parameter.get("name"))] = bool(parameter.get("required"))
        given = set(action.inputs.get("parameters", {}))
        yield from (
            f"{action.name}: {operation.id} takes no {name}" for name in sorted(given - set(known))
        )
        yield from (
            f"{action.name} gives no {name}"
            for name, required in known.items()
            if required and name not in given
        )


@_rule
def expressions_refer_to_what_exists(flow: Flow) -> Iterator[str]:
    """Every expression can be read and refers to what exists.

    That is: actions that have ended by then, and members that an answer has.
    """
    for action in flow.actions:
        for text in _strings(_own(action)):
            try:
                for expression in expressions_in(text):
                    flow.check(expression, action)
            except ExpressionError as error:
                yield f"{action.name}: {text!r} {error}"


@_rule
def switches_are_closed(flow: Flow) -> Iterator[str]:
    """A switch has a default that stops the run, and no case twice.

    It has no case that the service never answers.
    """
    for action in flow.actions:
        if action.spec.get("type") != "Switch":
            continue
        defaults = action.spec.get("default", {}).get("actions", {}).values()
        if not any(
            spec.get("type") == "Terminate" and spec["inputs"].get("runStatus") == "Failed"
            for spec in defaults
        ):
            yield f"{action.name}: its default does not fail the run"
        values = [case.get("case") for case in action.spec.get("cases", {}).values()]
        if len(set(values)) != len(values):
            yield f"{action.name} has a case twice"
        try:
            shape = flow.check(str(action.spec["expression"])[1:], action) or ()
        except ExpressionError:
            continue  # another rule reports it
        possible = {
            value
            for entry in shape
            for value in entry.get("enum") or entry.get("x-extensible-enum", [])
        }
        yield from (
            f"{action.name}: {value!r} is never answered"
            for value in values
            if possible and value not in possible
        )


@_rule
def retry_policies_are_valid(flow: Flow) -> Iterator[str]:
    """Known type, 1 to 90 repeats, ISO 8601 durations.

    The source is learn.microsoft.com/azure/logic-apps/error-exception-handling.
    """
    for action in flow.actions:
        policy = action.inputs.get("retryPolicy")
        if policy is None:
            continue
        durations = [
            policy[name]
            for name in ("interval", "minimumInterval", "maximumInterval")
            if name in policy
        ]
        known = policy.get("type") in ("default", "none", "fixed", "exponential")
        lasting = all(re.fullmatch(r"PT\d+[SMH]", duration) for duration in durations)
        timed = policy.get("type") in ("fixed", "exponential")
        if (
            not known
            or not lasting
            or (timed and not (1 <= policy.get("count", 0) <= 90 and durations))
        ):
            yield f"{action.name}: {policy}"
