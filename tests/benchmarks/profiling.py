"""Where the CPU of a warm call goes, step by step.

``python -m tests.benchmarks.profiling [--calls N] [--functions N]``

The bare handler cancels appointments. The steps that matter are clocked with the CPU of their own
thread, each without the steps inside it. A clock costs well under a microsecond, so it hardly
changes the steps. The rest of the process's time is the event loop, the hand-over between two
threads and the kernel's share of both. ``--functions`` adds a run under yappi, which sees every
function and slows all of them down.
"""

import argparse
import functools
import logging
import ssl
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import azure.functions as func
import yappi

from cancel_appointment import contract, operation
from cancel_appointment.cancellation import Cancellation
from cancel_appointment.records import Records
from shared.entra.on_behalf_of import OnBehalfOf
from shared.graph.client import GraphClient
from shared.services import Services
from shared.telemetry.journal import Journal
from shared.transport.channel import Channel
from shared.transport.reading import Reading
from tests.benchmarks import subjects
from tests.benchmarks.subjects import Ours
from tests.benchmarks.upstream import upstream

# Where each step is: the owner of a function, its name, and the step that its time counts for.
STEPS: Sequence[tuple[Any, str, str]] = (
    (subjects, "http_request", "the benchmark: make the request, check the answer"),
    (subjects, "check", "the benchmark: make the request, check the answer"),
    (Services, "recall_user", "who is asking: the token's hash, its proof, its key"),
    (operation, "parse_cancel_request", "what is asked: JSON, pydantic, limits"),
    (ThreadPoolExecutor, "submit", "to the thread that waits for Graph"),
    (Cancellation, "run", "the protocol: attempt, decide"),
    (Records, "open", "records: claim and outcome"),
    (Records, "settle", "records: claim and outcome"),
    (OnBehalfOf, "exchange", "the Graph token: found in the cache"),
    (GraphClient, "call", "Graph: address, headers, what the answer means"),
    (Channel, "exchange", "Graph: the head, the connection, the clock"),
    (ssl.SSLSocket, "sendall", "Graph: TLS and the kernel, sending"),
    (ssl.SSLSocket, "recv", "Graph: TLS and the kernel, waiting and receiving"),
    (Reading, "feed", "Graph: the parser"),
    (contract, "answer", "the answer: one serialisation"),
    (func.HttpResponse, "__init__", "the runtime's response"),
    (Journal, "write", "the line in the log"),
)
REST = "the event loop, the lane, waking up twice"


class Clock:
    """CPU seconds by step, each without what other steps inside it took.

    Every thread has a stack of its own.
    """

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._here = threading.local()

    def around(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its clock."""

        @functools.wraps(function)
        def clocked(*args: Any, **kwargs: Any) -> Any:
            outer = getattr(self._here, "inside", 0.0)
            self._here.inside = 0.0
            began = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.thread_time() - began
                self.spent[step] += (
                    took - self._here.inside
                )  # the GIL lets no two threads add at once, and no two share a step
                self._here.inside = outer + took

        return clocked


def table(spent: dict[str, float], whole_s: float, calls: int) -> str:
    """Return the steps in their order, in microseconds a call and as shares of the whole."""
    rows = [
        *((step, spent[step]) for step in dict.fromkeys(step for *_, step in STEPS)),
        (REST, whole_s - sum(spent.values())),
    ]
    lines = [f"| {'step':<52} | us | share |", f"|{'-' * 54}|---:|------:|"]
    lines += [
        f"| {step:<52} | {took / calls * 1e6:2.0f} | {took / whole_s:5.1%} |" for step, took in rows
    ]
    return "\n".join([*lines, f"| {'a warm call':<52} | {whole_s / calls * 1e6:.0f} |  100% |"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile and print."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.profiling",
        description="Where the CPU of a warm call goes.",
    )
    parser.add_argument(
        "--calls", type=int, default=5_000, help="how many to clock (default: %(default)s)"
    )
    parser.add_argument(
        "--functions",
        type=int,
        default=0,
        metavar="N",
        help="also print the N functions that take most by themselves",
    )
    options = parser.parse_args(arguments)
    clock = Clock()
    for owner, name, step in STEPS:
        setattr(owner, name, clock.around(step, getattr(owner, name)))
    with upstream() as (up, people):
        ours, numbers = Ours(up, 0, people.tokens(1)), count(1)

        def cancel(calls: int) -> float:
            """Return the CPU that all calls took, in seconds."""
            began = ours.cpu_s()
            ours.many([(0, next(numbers)) for _ in range(calls)], "", 1, lambda _: None)
            return ours.cpu_s() - began

        cancel(300)
        clock.spent.clear()
        whole_s = cancel(options.calls)
        print(table(dict(clock.spent), whole_s, options.calls))  # noqa: T201 - printing is its job
        if options.functions:
            yappi.set_clock_type("cpu")
            yappi.start(builtins=True)
            cancel(options.calls)
            yappi.stop()
            for one in sorted(yappi.get_func_stats(), key=lambda one: -one.tsub)[
                : options.functions
            ]:
                cost_us, calls = one.tsub / options.calls * 1e6, one.ncall / options.calls
                print(f"{cost_us:8.1f} us  {calls:6.1f} calls  {one.full_name}")  # noqa: T201
    logging.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
