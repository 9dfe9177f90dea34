"""The layout keeps its promises: who may import what, how large each part may be, and so on."""

import ast
import io
import json
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from shared.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]


# The folders beside shared/: each is one thing that callers may ask for, and none knows another.
CAPABILITIES = tuple(sorted(file.parent.name for file in REPOSITORY.glob("*/triggers.py")))
FOLDERS = ("shared", *CAPABILITIES)


@dataclass(frozen=True)
class Module:
    """One file of the product.

    ``imports`` are the full names of what it imports, wherever in the file.
    """

    name: str
    tree: ast.Module
    imports: frozenset[str]

    def uses(self, package: str) -> bool:
        return any(
            imported == package or imported.startswith(f"{package}.") for imported in self.imports
        )


@cache
def product() -> dict[str, Module]:
    return {**read_all("function_app.py"), **read_all(*(f"{name}/**/*.py" for name in FOLDERS))}


@cache
def local_stack() -> dict[str, Module]:
    return read_all("infra/local/**/*.py")


@cache
def contract_tool() -> dict[str, Module]:
    return read_all("infra/contract/**/*.py")


def read_all(*patterns: str) -> dict[str, Module]:
    modules = (read(file) for pattern in patterns for file in REPOSITORY.glob(pattern))
    return {module.name: module for module in modules}


def read(file: Path) -> Module:
    parts = file.relative_to(REPOSITORY).with_suffix("").parts
    tree = ast.parse(file.read_text())
    return Module(
        ".".join(parts[:-1] if parts[-1] == "__init__" else parts),
        tree,
        frozenset(imports_of(tree)),
    )


def imports_of(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def those_that_use(package: str) -> set[str]:
    return {name for name, module in product().items() if module.uses(package)}


def names_of(*packages: str) -> list[str]:
    return sorted(name for name in product() if name.partition(".")[0] in packages)


# Who imports whom.


def test_the_product_is_found() -> None:
    assert {
        "function_app",
        "shared.graph.client",
        "cancel_appointment",
        "cancel_appointment.triggers",
    } <= set(product())


@pytest.mark.parametrize("name", names_of("shared"))
def test_the_shared_half_knows_no_capability(name: str) -> None:
    assert not [capability for capability in CAPABILITIES if product()[name].uses(capability)]


@pytest.mark.parametrize("name", names_of(*CAPABILITIES))
def test_a_capability_knows_no_other(name: str) -> None:
    used = [capability for capability in CAPABILITIES if product()[name].uses(capability)]
    assert used in ([], [name.partition(".")[0]])


def test_every_capability_is_registered_and_described() -> None:
    triggers = {f"{capability}.triggers" for capability in CAPABILITIES}
    assert product()["function_app"].imports >= triggers
    described = {
        name.rpartition(".")[2]
        for name in contract_tool()["infra.contract.catalogue"].imports
        if name.startswith("infra.contract.operations.")
    }
    assert described >= set(CAPABILITIES)


@pytest.mark.parametrize("name", names_of("function_app", *FOLDERS))
def test_the_product_does_not_need_the_local_stack_or_the_tests(name: str) -> None:
    for package in ("infra", "tests", "pytest", "scripts"):
        assert not product()[name].uses(package)


# The floors, from the ground up. A part imports its own modules and what lies on lower floors. It
# does not import another part of its own floor.
FLOORS: tuple[tuple[str, ...], ...] = (
    tuple(f"shared.{name}" for name in ("errors", "ids", "digest", "lazy", "strict_json")),
    # The port of telemetry: what the others tell it.
    tuple(f"shared.telemetry.{name}" for name in ("journal", "metrics", "sums", "tracing")),
    ("shared.transport",),
    ("shared.identity",),
    ("shared.settings",),
    ("shared.entra",),
    ("shared.graph", "shared.records"),
    # What stands behind the port: OpenTelemetry, and the wrappers that tell of calls.
    ("shared.telemetry", "shared.instrumented"),
    ("shared.services",),
    ("shared.serving",),
    CAPABILITIES,
    ("function_app",),
)
PORT = frozenset(FLOORS[1])


def place_of(name: str) -> tuple[int, str] | None:
    """Return the floor of a module, and the part of it that the module belongs to."""
    for floor, parts in enumerate(FLOORS):
        for part in parts:
            if name == part or name.startswith(f"{part}."):
                return floor, "shared.telemetry port" if part in PORT else part
    return None


def climbing(name: str, imports: Iterable[str]) -> list[str]:
    """Return those of the imports that lie above a module, or beside it in another part."""
    floor, part = place_of(name) or (0, "")
    found = ((imported, place_of(imported)) for imported in imports)
    return [
        imported
        for imported, place in found
        if place is not None and place[1] != part and place[0] >= floor
    ]


@pytest.mark.parametrize("name", names_of("function_app", *FOLDERS))
def test_imports_lead_downwards(name: str) -> None:
    """An import inside a function counts, too: it is late, and leads somewhere all the same."""
    assert place_of(name) is not None or name == "shared"
    assert climbing(name, product()[name].imports & product().keys()) == []


@pytest.mark.parametrize(
    ("name", "imported", "climbs"),
    [
        ("shared.errors", "shared.graph.client", True),
        ("shared.errors", "shared.ids", True),
        ("shared.entra.client", "shared.telemetry.journal", False),
        ("shared.entra.client", "shared.telemetry.exporters", True),
        ("shared.telemetry.journal", "shared.telemetry.metrics", False),
        ("shared.telemetry.journal", "shared.telemetry.exporters", True),
        ("shared.telemetry.exporters", "shared.telemetry.journal", False),
        ("shared.graph.calls", "shared.graph.endings", False),
        ("shared.graph.calls", "shared.records.rules", True),
        ("shared.records.rules", "shared.services", True),
        ("shared.services", "shared.serving.lanes", True),
        ("list_bookings.operation", "cancel_appointment.operation", True),
        ("list_bookings.operation", "shared.serving.lanes", False),
    ],
)
def test_the_search_for_climbing_imports_finds_them(name: str, imported: str, climbs: bool) -> None:
    assert bool(climbing(name, [imported])) is climbs


# Each package below is met in the adapters that own it and nowhere else.
TRANSPORT = {
    f"shared.transport.{name}" for name in ("channel", "connections", "reading", "sockets")
}
# Those that speak HTTP to somebody: to Graph, to Entra's token endpoint (for MSAL), to where its
# keys are published, to the platform's identity endpoint, to the table; services.py hands each its
# channel.
SPEAK_HTTP = {
    "shared.entra.credentials",
    "shared.entra.http",
    "shared.graph.client",
    "shared.records.table_calls",
    "shared.records.table_store",
    "shared.identity.key_sets",
    "shared.instrumented",
    "shared.services",
}
OWNERS: dict[str, set[str]] = {
    "azure.functions": {
        "function_app",
        "shared.serving.endpoint",
        *(f"{capability}.triggers" for capability in CAPABILITIES),
    },
    "msal": {"shared.entra.client", "shared.entra.credentials"},
    "standardwebhooks": {"shared.identity.webhooks"},
    "shared.entra.client": {
        "shared.entra.on_behalf_of",
        "shared.entra.app_only",
        "shared.services",
    },
    "shared.entra.app_only": {"shared.services"},
    "shared.identity.webhooks": {
        "shared.entra.app_only",
        "shared.services",
        "cancel_appointment.webhook_operation",
    },
    "cryptography": {
        "shared.entra.certificate",
        "shared.identity.jws",
        "shared.identity.key_sets",
    },
    "cryptography.x509": {"shared.entra.certificate"},
    "shared.entra.certificate": {"shared.entra.credentials"},
    "opentelemetry": {f"shared.telemetry.{name}" for name in ("exporters", "sampling", "spans")},
    "azure.monitor": {"shared.telemetry.exporters"},
    "shared.telemetry.exporters": {"shared.services"},
    "shared.telemetry.sampling": {"shared.telemetry.exporters", "shared.telemetry.spans"},
    "shared.telemetry.spans": {"shared.telemetry.exporters"},
    "shared.instrumented": {"shared.services"},
    "urllib3": TRANSPORT,
    "shared.transport.channel": SPEAK_HTTP,
    "socket": {"shared.transport.sockets"},
    "ssl": {"shared.transport.connections", "shared.transport.sockets"},
    "http.HTTPStatus": {"shared.serving.problems"},
    "os": {"shared.serving.endpoint"},
    "random": {"shared.transport.waiting"},
    "asyncio": {"shared.serving.threads", "shared.serving.lanes", "shared.lazy"},
    "shared.serving.endpoint": {f"{folder}.triggers" for folder in CAPABILITIES},
    "cancel_appointment.contract": {"cancel_appointment.operation"},
    "list_bookings.contract": {"list_bookings.operation"},
    "cancel_appointment.operation": {
        "cancel_appointment.triggers",
        "cancel_appointment.webhook_operation",
    },
    "cancel_appointment.webhook_operation": {"cancel_appointment.triggers"},
    "cancel_appointment.triggers": {"function_app"},
}


@pytest.mark.parametrize(("package", "owners"), OWNERS.items(), ids=OWNERS.keys())
def test_a_package_is_met_by_its_owners_alone(package: str, owners: set[str]) -> None:
    users = those_that_use(package)
    assert users
    assert users <= owners


PURE = [
    *(name for name in names_of(*CAPABILITIES) if name.endswith((".contract", ".request"))),
    "cancel_appointment.cancellation",
    "cancel_appointment.protocol",
    *(
        f"cancel_appointment.protocol.{name}"
        for name in ("decisions", "doubt", "failures", "outcome")
    ),
    *(
        f"infra.contract.{name}"
        for name in ("catalogue", "examples", "golden", "openapi", "schemas", "swagger")
    ),
    "list_bookings.pages",
    "shared.transport.deadline",
    "shared.digest",
    "shared.records.rules",
    "shared.entra.refusals",
    "shared.errors",
    "shared.graph.refusals",
    "shared.ids",
    "shared.telemetry.metrics",
    "shared.serving.problems",
    "shared.serving.request_faults",
    "shared.identity.principal",
    "shared.graph.endings",
    "shared.transport.retry_after",
    "shared.telemetry.tracing",
    "shared.identity.webhook_keys",
]
SIDE_EFFECTS = (
    *("asyncio", "concurrent", "threading", "multiprocessing", "queue", "sched", "signal"),
    *("os", "io", "pathlib", "shutil", "subprocess", "tempfile", "logging"),
    *("socket", "ssl", "http.client", "urllib.request", "requests", "urllib3", "msal", "azure"),
    *("time", "random", "secrets", "uuid"),
)


@pytest.mark.parametrize("name", PURE)
def test_meaning_is_pure(name: str) -> None:
    module = (product() | contract_tool())[name]
    assert [package for package in SIDE_EFFECTS if module.uses(package)] == []
    assert not {"open", "print", "input"} & {
        node.id for node in ast.walk(module.tree) if isinstance(node, ast.Name)
    }


def circle_in(edges: Mapping[str, Iterable[str]]) -> str | None:
    """Return a way that leads back to where it began, or None."""
    finished: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> str | None:
        if name in path:
            return " -> ".join((*path, name))
        if name in finished:
            return None
        finished.add(name)
        ways = (visit(other, (*path, name)) for other in edges.get(name, ()))
        return next((way for way in ways if way), None)

    return next((way for name in edges if (way := visit(name, ()))), None)


def edges_of(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """Return what each module imports of the others; a package that it lies in does not count."""
    return {
        name: {
            other for other in module.imports & modules.keys() if not name.startswith(f"{other}.")
        }
        for name, module in modules.items()
    }


def test_nothing_imports_itself_by_way_of_others() -> None:
    assert circle_in(edges_of(product())) is None
    assert circle_in(edges_of(local_stack())) is None
    assert circle_in(edges_of(contract_tool())) is None


def test_the_rooms_of_the_local_stack_form_no_circle() -> None:
    def room_of(name: str) -> str:
        return ".".join(name.split(".")[:3])

    edges: dict[str, set[str]] = {}
    for name, others in edges_of(local_stack()).items():
        edges.setdefault(room_of(name), set()).update(map(room_of, others))
    assert circle_in({room: others - {room} for room, others in edges.items()}) is None


@pytest.mark.parametrize(
    ("edges", "found"),
    [
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, "a -> b -> c -> a"),
        ({"a": ["b", "c"], "b": ["c"], "c": []}, None),
        ({"a": ["c"], "b": ["b"], "c": []}, "b -> b"),
    ],
)
def test_the_search_for_circles_finds_them(edges: dict[str, list[str]], found: str | None) -> None:
    assert circle_in(edges) == found


# How large each part may be.

MOST_LINES = 160
MOST_MODULES = 9
MOST_ENTRIES = 16


def logical_lines(source: str) -> int:
    """Count the statements of a module, as ``tokenize`` sees them; docstrings do not count."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = sum(token.type == tokenize.NEWLINE for token in tokens)
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return lines - sum(
        isinstance(node, documented) and ast.get_docstring(node) is not None
        for node in ast.walk(ast.parse(source))
    )


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("", 0),
        ('"""Says what it owns."""\n\nimport ast\n', 1),
        ("# why\nvalues = (\n    1,\n    2,\n)\n", 1),
        ('def f() -> int:\n    """Return one."""\n    return 1\n', 2),
        ("one = 1; two = 2\n", 1),
    ],
)
def test_statements_are_counted_whatever_the_layout(source: str, count: int) -> None:
    assert logical_lines(source) == count


def test_no_module_of_the_product_has_two_jobs() -> None:
    counts = {
        str(file.relative_to(REPOSITORY)): logical_lines(file.read_text("utf-8"))
        for pattern in ("function_app.py", *(f"{folder}/**/*.py" for folder in FOLDERS))
        for file in REPOSITORY.glob(pattern)
    }
    assert {name: count for name, count in counts.items() if count > MOST_LINES} == {}


def test_no_package_has_more_modules_than_one_can_keep_in_mind() -> None:
    folders = [
        folder
        for root in (*FOLDERS, "infra/local", "infra/contract")
        for folder in (REPOSITORY / root, *(REPOSITORY / root).glob("**/"))
    ]
    counts = {
        str(folder.relative_to(REPOSITORY)): len(
            {file.name for file in folder.glob("*.py")} - {"__init__.py"}
        )
        for folder in folders
    }
    assert len(counts) > 15
    assert {name: count for name, count in counts.items() if count > MOST_MODULES} == {}


def test_shared_can_be_seen_at_a_glance() -> None:
    entries = {entry.name for entry in (REPOSITORY / "shared").iterdir()}
    assert len(entries - {"__init__.py", "__pycache__"}) <= MOST_ENTRIES


# Acting for a user, and acting as the application: two ways that never meet.


def those_that_call(attribute: str) -> set[str]:
    return {
        name
        for name, module in product().items()
        if any(
            isinstance(node, ast.Attribute) and node.attr == attribute
            for node in ast.walk(module.tree)
        )
    }


def test_each_kind_of_token_is_asked_for_in_one_place() -> None:
    assert those_that_call("acquire_token_on_behalf_of") == {"shared.entra.on_behalf_of"}
    managed_identity = {"shared.entra.credentials"}  # the platform's, which Graph does not take
    assert those_that_call("acquire_token_for_client") - managed_identity == {
        "shared.entra.app_only"
    }


def test_app_only_tokens_are_in_reach_of_the_webhooks_alone() -> None:
    """Services holds them under one name, and of all that is given Services only the webhook
    operation says that name.
    """
    assert those_that_call("webhooks") == {"cancel_appointment.webhook_operation"}
    assert {name for name, module in product().items() if "webhooks" in _words(module.tree)} == {
        "cancel_appointment.webhook_operation",
        "shared.services",
    }
    assert {name for name, module in product().items() if "AppOnly" in _words(module.tree)} == {
        "shared.entra.app_only",
        "shared.services",
    }
    assert (
        not {"shared.entra.on_behalf_of", "shared.identity.caller"}
        & product()["shared.entra.app_only"].imports
    )
    assert (
        not {"shared.entra.app_only", "shared.identity.webhooks"}
        & product()["shared.entra.on_behalf_of"].imports
    )


def _words(tree: ast.AST) -> set[str]:
    """Return the names that a file says, in whatever way: also as text, for getattr."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.alias)}
    return names | {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


# The environment, and time.


def attributes(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.value.id, node.attr


def test_the_environment_is_touched_in_one_place() -> None:
    touching = {
        name
        for name, module in product().items()
        if {("os", "environ"), ("os", "getenv"), ("os", "environb"), ("os", "putenv")}
        & set(attributes(module.tree))
    }
    assert touching == {"shared.serving.endpoint"}


def test_nothing_sleeps_by_itself() -> None:
    assert {
        name
        for name, module in product().items()
        if ("time", "sleep") in set(attributes(module.tree))
    } == {"shared.transport.waiting"}


WATCHER = """
import importlib, json, os, sys, threading
import psutil  # reads /proc/stat when it is imported, by OpenTelemetry's SDK
import urllib3  # looks for IPv6 by binding a socket of its own when it is imported

names, ours = json.loads(sys.argv[1]), set(json.loads(sys.argv[2]))
seen = []
watching = False


class Watched(dict):
    def __getitem__(self, name):
        note(name)
        return dict.__getitem__(self, name)

    def get(self, name, default=None):
        note(name)
        return dict.get(self, name, default)

    def __contains__(self, name):
        note(name)
        return dict.__contains__(self, name)


def note(name):
    if name in ours:
        seen.append(f"reads {name}")


def audit(event, arguments):
    if not watching:
        return
    if event.startswith(forbidden):
        seen.append(event)
    if event == "open" and isinstance(arguments[0], str) and not arguments[0].startswith(roots):
        seen.append(f"opens {arguments[0]}")


forbidden = (
    *("socket.", "subprocess.", "urllib.", "http.client."),
    *("_thread.start", "os.system", "os.exec", "os.fork", "os.posix_spawn"),
)
# What is Python's own or installed beside it may be opened: it is where modules are loaded from.
given = (sys.prefix, sys.base_prefix)
real = map(os.path.realpath, (*given, os.getcwd()))
roots = tuple({root + os.sep for root in (*given, *real)})
os.environ = Watched({**os.environ, **dict.fromkeys(ours, "set")})
sys.addaudithook(audit)
watching = True
for name in names:
    importlib.import_module(name)
watching = False
assert os.environ["TENANT_ID"] and seen.pop() == "reads TENANT_ID"
if threading.active_count() > 1:
    seen.append(f"leaves {threading.active_count() - 1} threads")
print(json.dumps(seen))
"""


def watch(names: list[str], folder: Path = REPOSITORY) -> list[str]:
    """Import modules in a fresh interpreter and return what they did that importing must not do."""
    ours = [name.upper() for name in Settings.model_fields]
    run = subprocess.run(
        [sys.executable, "-c", WATCHER, json.dumps(names), json.dumps(ours)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    seen: list[str] = json.loads(run.stdout)
    return seen


def test_importing_reads_no_setting_opens_nothing_and_starts_nothing() -> None:
    assert watch(sorted(product())) == []


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("import os; os.environ.get('CLIENT_SECRET')", "reads CLIENT_SECRET"),
        ("import os; os.getenv('TENANT_ID')", "reads TENANT_ID"),
        ("import socket; socket.socket().close()", "socket.__new__"),
        ("import threading; threading.Thread(target=int).start()", "_thread.start"),
        ("open('/dev/null').close()", "opens /dev/null"),
    ],
)
def test_the_watcher_sees_what_it_watches_for(tmp_path: Path, code: str, seen: str) -> None:
    (tmp_path / "guilty.py").write_text(code)
    assert any(what.startswith(seen) for what in watch(["guilty"], tmp_path))


def test_every_function_is_async_and_hands_on_the_context_of_its_invocation() -> None:
    """The runtime attaches the caller's trace to async functions only, and a function that takes no
    context cannot know it at all.
    """
    triggers = [product()[f"{folder}.triggers"].tree for folder in CAPABILITIES]
    defined = [
        node
        for tree in triggers
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    functions = [
        function
        for function in defined
        if "blueprint.route" in "".join(map(ast.unparse, function.decorator_list))
    ]
    assert len(functions) >= 5
    for function in functions:
        assert isinstance(function, ast.AsyncFunctionDef)
        answers = [
            call
            for call in ast.walk(function)
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(".answer")
        ]
        assert all(ast.unparse(call).endswith(".answer(req, context)") for call in answers)


# How code is written.

IDS = {"business_id", "appointment_id", "businessId", "appointmentId", "segment", "segments"}


def joined_into_paths(tree: ast.AST) -> Iterator[int]:
    """Find strings with a slash into which an id is put as it is: f-strings, +, % and format."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts: list[ast.expr] = node.values
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
            parts = [node.left, node.right]
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "format"
        ):
            parts = [node.func.value, *node.args, *(keyword.value for keyword in node.keywords)]
        else:
            continue
        slashed = any(
            isinstance(part, ast.Constant) and isinstance(part.value, str) and "/" in part.value
            for part in parts
        )
        if slashed and any(_names(part) & IDS for part in parts):
            yield node.lineno


def _names(part: ast.AST) -> set[str]:
    """Return the names that stand in an expression, but for what is handed to quote."""
    if isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id == "quote":
        return set()
    found = (
        {part.id}
        if isinstance(part, ast.Name)
        else {part.attr}
        if isinstance(part, ast.Attribute)
        else set()
    )
    return found.union(*(_names(child) for child in ast.iter_child_nodes(part)))


@pytest.mark.parametrize("name", names_of(*FOLDERS))
def test_no_id_is_put_into_an_address_as_it_is(name: str) -> None:
    assert list(joined_into_paths(product()[name].tree)) == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('f"/a/{business_id}"', True),
        ('f"/a/{request.appointment_id}/cancel"', True),
        ('"/a/" + request.business_id', True),
        ('"/a/%s" % appointment_id', True),
        ('"/a/{}".format(business_id)', True),
        ('f"/a/{quote(segment, safe=str())}"', False),
        ('f"{business_id} is gone"', False),
        ('f"/a/{tenant_id}"', False),
    ],
)
def test_the_search_for_ids_in_addresses_finds_them(code: str, found: bool) -> None:
    assert bool(list(joined_into_paths(ast.parse(code)))) is found


def matches_on_enums(tree: ast.AST) -> Iterator[ast.Match]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Match) and any(
            isinstance(part, ast.MatchValue) and isinstance(part.value, ast.Attribute)
            for part in ast.walk(node)
        ):
            yield node


def test_a_match_on_an_enum_leaves_no_member_to_chance() -> None:
    """mypy proves it in two forms: a last case with assert_never, and a return or raise in every
    case of a function that has to return something.
    """
    matches = [match for module in product().values() for match in matches_on_enums(module.tree)]
    assert matches
    for match in matches:
        last = match.cases[-1]
        closed = ast.unparse(last.pattern) == "_" and ast.unparse(last.body[-1]).startswith(
            "assert_never("
        )
        assert closed or all(
            isinstance(case.body[-1], ast.Return | ast.Raise) for case in match.cases
        ), ast.unparse(match)


@pytest.mark.parametrize("name", sorted(product()))
def test_a_module_says_what_it_owns(name: str) -> None:
    assert ast.get_docstring(product()[name].tree)
