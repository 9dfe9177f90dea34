"""Subjects in processes of their own, and what a turn of one of them cost.

A turn costs CPU of that process alone, wall time, and the time of each call.
"""

import gc
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

from tests.benchmarks.subjects import SETTINGS, SUBJECTS
from tests.benchmarks.upstream import Upstream

_LONGEST_TURN_S = 180
_numbers = count(1)  # of appointments: none is cancelled twice


@dataclass(frozen=True, slots=True)
class Cost:
    """What a turn cost for each request, in milliseconds.

    ``longest_ms`` holds each call's own time where there was one caller. Otherwise the gaps are not
    known.
    """

    cpu_ms: float
    wall_ms: float
    calls_ms: tuple[float, ...]

    @property
    def per_second(self) -> float:
        """Requests answered in a second."""
        return 1000 / self.wall_ms


def _serve(
    pipe: Connection,
    name: str,
    upstream: Upstream,
    latency_ms: int,
    tokens: Sequence[str],
    settings: Mapping[str, str],
) -> None:
    os.environ[SETTINGS] = json.dumps(dict(settings))
    subject = SUBJECTS[name](upstream, latency_ms, tokens)
    try:
        while (order := pipe.recv()) is not None:
            if order == "memory":
                gc.collect()
                pipe.send(int(Path(f"/proc/{subject.pid}/statm").read_text().split()[1]) * 4096)
                continue
            calls, kind, callers = order
            times: list[float] = []
            cpu, wall = subject.cpu_s(), time.perf_counter()
            subject.many(calls, kind, callers, times.append)
            cpu, wall = subject.cpu_s() - cpu, time.perf_counter() - wall
            share = 1000 / len(calls)
            pipe.send(Cost(cpu * share, wall * share, tuple(taken * 1000 for taken in times)))
    finally:
        subject.close()


@dataclass(slots=True)
class Runner:
    """A subject that waits for its turn.

    Errors of the subject end its process, and then a turn raises EOFError.
    """

    name: str
    pipe: Connection

    def turn(self, users: Sequence[int], *, kind: str = "", callers: int = 1) -> Cost:
        """Cancel one appointment after the other, for these users."""
        self.pipe.send(([(user, next(_numbers)) for user in users], kind, callers))
        if not self.pipe.poll(_LONGEST_TURN_S):
            raise TimeoutError(f"{self.name} does not end its turn")
        cost: Cost = self.pipe.recv()
        return cost

    def memory(self) -> int:
        """Return the resident memory of the subject, in bytes."""
        self.pipe.send("memory")
        size: int = self.pipe.recv()
        return size


@contextmanager
def runners(
    names: Sequence[str],
    upstream: Upstream,
    tokens: Sequence[str],
    latency_ms: int = 0,
    settings: Mapping[str, str] | None = None,
) -> Iterator[dict[str, Runner]]:
    """Start subjects, each in a process of its own that lives until the block ends.

    ``settings`` are those of our service, beside the upstream's.
    """
    with ExitStack() as running:
        started = {}
        for name in names:
            ours, theirs = multiprocessing.Pipe()
            arguments = (theirs, name, upstream, latency_ms, tokens, settings or {})
            process = multiprocessing.get_context("spawn").Process(target=_serve, args=arguments)
            process.start()
            theirs.close()
            running.callback(process.join, 20)
            running.callback(ours.send, None)
            started[name] = Runner(name, ours)
        yield started
