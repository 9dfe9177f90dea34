"""``python -m tests.benchmarks.profiling [--calls N] [--functions N]``: where the CPU of a warm call goes, step by step.

The bare handler cancels appointments, first alone, then under yappi, which counts the CPU of every function on every thread. A profiler slows Python down and the
kernel not, so its shares are those of a slower Python; they are shown as parts of what the call costs without it.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import yappi

from tests.benchmarks.subjects import Ours
from tests.benchmarks.upstream import upstream


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a call: what its ``functions`` take with all that they call, less what the steps ``within`` take. A function is a file's end and a name."""

    name: str
    functions: tuple[str, ...]
    within: tuple[str, ...] = ()


STEPS = (
    Step("the benchmark makes the request and checks the answer", ("subjects.py:http_request", "subjects.py:check")),
    Step("who is asking: the token's hash, its proof, its key", ("shared/services.py:Services.recall_user",)),
    Step("what is asked: JSON, pydantic, limits", ("cancel_appointment/request.py:parse_cancel_request",)),
    Step("records: claim and outcome", ("cancel_appointment/records.py:Records.open", "cancel_appointment/records.py:Records.settle")),
    Step("the Graph token: found in the cache", ("shared/on_behalf_of.py:OnBehalfOf.exchange",)),
    Step("the exchange with Graph: TLS and the kernel, sending", ("ssl.py:SSLSocket.sendall",)),
    Step("the exchange with Graph: TLS and the kernel, receiving", ("ssl.py:SSLSocket.recv",)),
    Step("the exchange with Graph: the parser", ("shared/channel.py:_Reading.feed",)),
    Step(
        "the exchange with Graph: address, head, connection, meaning",
        ("shared/graph.py:GraphClient.call",),
        ("ssl.py:SSLSocket.sendall", "ssl.py:SSLSocket.recv", "shared/channel.py:_Reading.feed"),
    ),
    Step(
        "the protocol: attempt, decide",
        ("cancel_appointment/cancellation.py:Cancellation.run",),
        (
            "cancel_appointment/records.py:Records.open",
            "cancel_appointment/records.py:Records.settle",
            "shared/on_behalf_of.py:OnBehalfOf.exchange",
            "shared/graph.py:GraphClient.call",
        ),
    ),
    Step("the answer: one serialisation", ("cancel_appointment/contract.py:answer",)),
    Step("the line in the log", ("shared/telemetry.py:Journal.write",)),
    Step("the runtime's response", ("_http.py:HttpResponse.__init__",)),
    Step("to the thread that waits for Graph", ("concurrent/futures/thread.py:ThreadPoolExecutor.submit",)),
    Step("and back to the event loop", ("asyncio/base_events.py:_UnixSelectorEventLoop.call_soon_threadsafe",)),
)
REST = "the event loop, the lane, waking up"


def per_call(stats: Any, calls: int) -> Mapping[str, float]:
    """Return the inclusive CPU of each function, in microseconds a call, by the end of its file and its name."""
    found: dict[str, float] = {}
    for one in stats:
        found[f"{one.module}:{one.name}"] = found.get(f"{one.module}:{one.name}", 0.0) + one.ttot / calls * 1e6
    return found


def take(found: Mapping[str, float], functions: Sequence[str]) -> float:
    """Add up what these functions take. Errors: LookupError for one that was never called, so that the table cannot go stale unseen."""
    total = 0.0
    for wanted in functions:
        hits = [value for name, value in found.items() if name.endswith(wanted)]
        if not hits:
            raise LookupError(f"{wanted} was not called")
        total += sum(hits)
    return total


def table(found: Mapping[str, float], profiled_us: float, plain_us: float) -> str:
    """Return the steps with their shares, and those shares of what a call costs without the profiler."""
    rows = [(step.name, take(found, step.functions) - (take(found, step.within) if step.within else 0.0)) for step in STEPS]
    rows.append((REST, profiled_us - sum(taken for _, taken in rows)))
    lines = [f"| {'step':<60} | share | us of {plain_us:.0f} |", f"|{'-' * 62}|------:|----------:|"]
    lines += [f"| {name:<60} | {taken / profiled_us:5.1%} | {taken / profiled_us * plain_us:9.0f} |" for name, taken in rows]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.profiling", description="Where the CPU of a warm call goes.")
    parser.add_argument("--calls", type=int, default=2_000, help="how many to profile (default: %(default)s)")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="also print the N functions that take most by themselves")
    options = parser.parse_args(arguments)
    with upstream() as (up, people):
        ours, numbers = Ours(up, 0, people.tokens(1)), count(1)

        def cancel(calls: int) -> float:
            """Return the CPU of a call, in microseconds."""
            started = ours.cpu_s()
            ours.many([(0, next(numbers)) for _ in range(calls)], "", 1, lambda _: None)
            return (ours.cpu_s() - started) / calls * 1e6

        cancel(300)
        plain_us = cancel(options.calls)
        yappi.set_clock_type("cpu")
        yappi.start()
        profiled_us = cancel(options.calls)
        yappi.stop()
    stats = yappi.get_func_stats()
    print(table(per_call(stats, options.calls), profiled_us, plain_us))  # noqa: T201 - printing is its job
    for one in sorted(stats, key=lambda one: -one.tsub)[: options.functions]:
        print(f"{one.tsub / options.calls * 1e6:8.1f} us  {one.ncall / options.calls:6.1f} calls  {one.full_name}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
