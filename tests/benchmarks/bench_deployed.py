"""What a cancel costs as ``azd up`` deploys it, beside the default.

Deployed means records in Table Storage (Azurite here) and telemetry to Azure Monitor (a sink here).
Each is measured alone and both together: through Microsoft's runtime and without it, with an
Idempotency-Key and without.

Run it with ``python -m tests.benchmarks deployed``. The emulator and the sink run beside the
subjects: their CPU is not counted, but on two cores they make the wall time longer. Calls to the
table are counted in a run of its own, by a proxy before the emulator.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import aiohttp
from aiohttp import web
from yarl import URL

from infra.local.server import LocalServer
from tests.benchmarks import Figure, figure
from tests.benchmarks.subjects import KEYED
from tests.benchmarks.turns import Cost, Runner, runners
from tests.benchmarks.upstream import People, Upstream, upstream
from tests.collector import Ingestion
from tests.integration.azurite import Azurite

ROUNDS = 10
CALLS = 100  # of twenty requests one has spans, by chance: a turn has to hold several of them
CALLERS = 64
LATENCY_MS = 50  # of Graph, where memory is measured: without it nobody waits, and nothing is held
FLOOR = "floor: requests"
RUNTIME, BARE = "ours through the runtime", "ours"
DEFAULT, TABLE, TELEMETRY, DEPLOYED = "default", "table", "telemetry", "as deployed"


@contextmanager
def configurations() -> Iterator[dict[str, dict[str, str]]]:
    """Run what the deployed service talks to; give each configuration's settings."""
    with Azurite() as azurite, Ingestion() as sink:
        table = {
            "IDEMPOTENCY_STORE": "table",
            "IDEMPOTENCY_TABLE_CONNECTION_STRING": azurite.connection_string,
        }
        yield {
            DEFAULT: {},
            TABLE: table,
            TELEMETRY: sink.deployed,
            DEPLOYED: {**table, **sink.deployed},
        }


@contextmanager
def subjects(up: Upstream, people: People, latency_ms: int = 0) -> Iterator[dict[str, Runner]]:
    """Start the floor, and each configuration through the runtime.

    The first and the last configuration also run without it.
    """
    tokens = people.tokens(1)
    with configurations() as configured, ExitStack() as running:
        started = running.enter_context(runners((FLOOR,), up, tokens, latency_ms))
        for name, settings in configured.items():
            for subject in (RUNTIME, BARE) if name in (DEFAULT, DEPLOYED) else (RUNTIME,):
                found = running.enter_context(runners((subject,), up, tokens, latency_ms, settings))
                started[f"{name}, bare" if subject == BARE else name] = found[subject]
        yield started


def measure_cost(up: Upstream, people: People) -> list[Figure]:
    """CPU and wall time of a request, one caller, in turns."""
    costs: dict[tuple[str, str], list[Cost]] = defaultdict(list)
    with subjects(up, people) as started:
        for turn in range(ROUNDS + 1):
            for name, subject in started.items():
                for kind in ("",) if name == FLOOR else ("", KEYED):
                    cost = subject.turn([0] * CALLS, kind=kind)
                    if turn:
                        costs[name, kind].append(cost)
    figures = []
    for unit in ("ms CPU", "ms wall"):
        taken = {
            case: [one.cpu_ms if unit == "ms CPU" else one.wall_ms for one in found]
            for case, found in costs.items()
        }
        floor = figure(FLOOR, unit, taken.pop((FLOOR, "")))
        figures += [
            floor,
            *(
                figure(f"{name}{', with a key' if kind else ''}", unit, samples, floor)
                for (name, kind), samples in taken.items()
            ),
        ]
    return figures


def measure_memory(up: Upstream, people: People) -> list[Figure]:
    """Resident memory of the host's process, worker and local host in one, under 64 callers."""
    figures = []
    with subjects(up, people, LATENCY_MS) as started:
        for name in (DEFAULT, DEPLOYED):
            subject = started[name]
            subject.turn([0])
            sizes = [subject.memory() / 2**20]
            for _ in range(5):
                subject.turn([0] * CALLERS * 10, callers=CALLERS)
                sizes.append(subject.memory() / 2**20)
            figures += [
                figure(f"{name}, after the first call", "MiB", sizes[:1] * 2),
                figure(f"{name}, under {CALLERS} callers", "MiB", sizes[1:]),
            ]
    return figures


@contextmanager
def counted(azurite: Azurite, calls: list[str]) -> Iterator[str]:
    """Give the connection string of a proxy that notes each call to the emulator."""

    async def forward(request: web.Request) -> web.Response:
        calls.append(f"{request.method} {request.path}")
        target = f"http://127.0.0.1:{azurite.port}{request.raw_path}"
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                URL(target, encoded=True),
                headers=request.headers,
                data=await request.read(),
            ) as answer,
        ):
            kept = {
                name: value
                for name, value in answer.headers.items()
                if name.lower() not in ("transfer-encoding", "content-length", "connection")
            }
            return web.Response(status=answer.status, headers=kept, body=await answer.read())

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forward)
    with LocalServer(app) as server:
        yield azurite.connection_string.replace(f"http://127.0.0.1:{azurite.port}", server.url)


def measure_calls(up: Upstream, people: People) -> list[Figure]:
    """How many calls to the table a new cancel makes."""
    calls: list[str] = []
    figures = []
    with Azurite() as azurite, counted(azurite, calls) as place:
        settings: Mapping[str, str] = {
            "IDEMPOTENCY_STORE": "table",
            "IDEMPOTENCY_TABLE_CONNECTION_STRING": place,
        }
        with runners((RUNTIME,), up, people.tokens(1), settings=settings) as started:
            started[RUNTIME].turn([0] * 5)  # the table is made
            for kind, words in (("", "a new cancel"), (KEYED, "a new cancel with a key")):
                calls.clear()
                started[RUNTIME].turn([0] * 20, kind=kind)
                figures.append(figure(words, "calls to the table", [len(calls) / 20] * 2))
    return figures


def measure() -> list[Figure]:
    """Measure all of it."""
    with upstream((0, LATENCY_MS)) as (up, people):
        return [
            *measure_cost(up, people),
            *measure_calls(up, people),
            *measure_memory(up, people),
        ]
