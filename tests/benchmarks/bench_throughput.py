"""How many calls in a second, and how long the slowest take, when many come at once.

They are set against the floors, and against what the wait for Graph alone allows.

Run it with ``python -m tests.benchmarks throughput``. Through the runtime, three processes share
the machine (callers, service, upstream): with two cores that is part of the result. The floors call
Graph from their own process, so they have one process less to share with.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence

from tests.benchmarks import Figure, figure
from tests.benchmarks.turns import Cost, runners
from tests.benchmarks.upstream import Upstream, upstream

CALLERS = (1, 16, 64)
LATENCIES_MS = (0, 50)
ROUNDS = 5
CALLS_A_TURN = {
    1: (300, 20),
    16: (600, 300),
    64: (600, 1_000),
}  # requests by number of callers, without latency and with it; about a second each
OURS, BARE = "ours through the runtime", "ours"
PEER, FASTEST = "floor: requests", "floor: urllib3"
SUBJECTS = (PEER, FASTEST, OURS, BARE, "tuned sample")
USERS = 50


def p99_ms(costs: Sequence[Cost]) -> list[float]:
    """Return the 99th percentile of each turn, in milliseconds."""
    return [statistics.quantiles(cost.calls_ms, n=100, method="inclusive")[98] for cost in costs]


def compare(case: str, unit: str, samples: Mapping[str, Sequence[float]]) -> list[Figure]:
    """Compare all with the floor of requests, and ours with the floor of urllib3, too."""
    peer, fastest = (figure(f"{case}: {name}", unit, samples[name]) for name in (PEER, FASTEST))
    others = [
        figure(f"{case}: {name}", unit, samples[name], peer) for name in SUBJECTS if name != PEER
    ]
    return [
        peer,
        *others,
        *(figure(f"{case}: {name}", unit, samples[name], fastest) for name in (OURS, BARE)),
    ]


def run(
    up: Upstream, tokens: Sequence[str], latency_ms: int
) -> Iterator[tuple[int, dict[str, list[Cost]]]]:
    """Let the subjects take turns with each number of callers.

    The first round warms up and does not count.
    """
    with runners(SUBJECTS, up, tokens, latency_ms) as subjects:
        for callers in CALLERS:
            users = [number % USERS for number in range(CALLS_A_TURN[callers][bool(latency_ms)])]
            costs: dict[str, list[Cost]] = {name: [] for name in SUBJECTS}
            for turn in range(ROUNDS + 1):
                for name, subject in subjects.items():
                    cost = subject.turn(users, callers=callers)
                    if turn:
                        costs[name].append(cost)
            yield callers, costs


def measure() -> list[Figure]:
    """Measure without latency first.

    What a call takes by itself says how many a latency leaves room for.
    """
    figures: list[Figure] = []
    alone_ms = 0.0
    with upstream(LATENCIES_MS) as (up, people):
        tokens = people.tokens(USERS)
        for latency_ms in LATENCIES_MS:
            for callers, costs in run(up, tokens, latency_ms):
                case = f"{callers} callers, Graph {latency_ms} ms"
                rates = {name: [cost.per_second for cost in costs[name]] for name in SUBJECTS}
                figures += compare(case, "requests/s", rates)
                alone_ms = alone_ms or 1000 / statistics.median(rates[PEER])
                allowed = figure(
                    f"{case}: allowed by the latency and {PEER} alone",
                    "requests/s",
                    [callers * 1000 / (latency_ms + alone_ms)] * 2,
                )
                figures += (
                    [allowed, figure(f"{case}: {OURS}", "requests/s", rates[OURS], allowed)]
                    if latency_ms
                    else []
                )
                figures += compare(
                    f"{case}, p99", "ms", {name: p99_ms(costs[name]) for name in SUBJECTS}
                )
                figures += compare(
                    case,
                    "ms CPU",
                    {name: [cost.cpu_ms for cost in costs[name]] for name in SUBJECTS},
                )
    return figures
