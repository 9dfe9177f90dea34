"""Does the service stay what it is? 100,000 requests go through it as it is deployed.

There are faults behind it, every answer is judged, and its process is watched.

Run it with ``python -m tests.benchmarks.soak``. The service is a process of its own on Microsoft's
runtime, with the memory store and without telemetry. Entra and Graph are a second process
(``soak_upstream.py``). This process asks and judges. Exit code: 0 when every bar is kept, 1 when
one is not. Needs Linux (/proc).
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from mmap import mmap
from pathlib import Path
from urllib.parse import urlsplit

from infra.local.host.process import HostProcess
from tests.benchmarks.soak_judge import Errand, is_excused, judge, word
from tests.benchmarks.soak_load import CAPACITY, Line, Script, Users
from tests.benchmarks.soak_script import Seen
from tests.benchmarks.soak_upstream import upstream_process
from tests.integration.violations import Told

REPOSITORY = Path(__file__).resolve().parents[2]
# Of memory once the store of records is full, over the next 80,000 requests; of the rest once warm:
# a pool may have its last threads still to start.
GROWTH = 1.05
FULL_AFTER = CAPACITY * 11 // 10  # requests: not every one leaves a record
BUSY_SHARE = (
    0.01  # of answers that are true but not the expected ones: with more the soak shows little
)
STEPS = 100
# As in infra/modules/app.bicep. glibc keeps freed memory for each thread, in 64 sizes: with 135
# threads that cache goes on filling for 100,000 requests (5 MiB),
# which looks like a leak and is none. Without it requests take as long, and the process is smaller
# from the start.
DEPLOYED = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
_MANY = 5_000_000  # appointments, where time is the bound


@dataclass(frozen=True, slots=True)
class Options:
    """What to do.

    ``seconds`` bounds it instead of ``requests``; ``faults`` is a share of the appointments,
    ``env`` are settings as NAME=VALUE.
    """

    requests: int = FULL_AFTER + 80_000
    seconds: float | None = None
    concurrency: int = 64
    faults: float = 0.10
    users: int = 200
    latency_ms: float = 5.0
    seed: str = "soak"
    env: tuple[str, ...] = ()

    @property
    def slow(self) -> int:
        """How many slow requests come at once in the beginning.

        They are twice as many as ever after, so that the service is at its largest before it is
        measured.
        """
        return 2 * self.concurrency

    @property
    def appointments(self) -> int:
        """How many may be needed."""
        return self.requests if self.seconds is None else _MANY


@dataclass(frozen=True, slots=True)
class Sample:
    """The service's process at one moment."""

    answered: int
    at_s: float
    rss_kib: int
    threads: int
    sockets: int
    handles: int

    @classmethod
    def of(cls, pid: int, answered: int, at_s: float) -> "Sample":
        """Look at a process."""
        process = Path(f"/proc/{pid}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        sockets = handles = 0
        for descriptor in (process / "fd").iterdir():
            try:
                is_socket = str(descriptor.readlink()).startswith("socket:")
            except FileNotFoundError:  # closed meanwhile
                continue
            sockets += is_socket
            handles += not is_socket
        return cls(
            answered,
            at_s,
            int(status["VmRSS"].split()[0]),
            int(status["Threads"]),
            sockets,
            handles,
        )


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that has to be kept."""

    name: str
    kept: bool
    detail: str


@dataclass(slots=True)
class Record:
    """What a soak has shown."""

    answered: int = 0
    seconds: float = 0.0
    said: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    excused: int = 0
    slowest_s: float = 0.0
    violations: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def take(self, errand: Errand, told: Told, seen: Seen) -> None:
        """Judge and count one answer."""
        said = word(told)
        self.answered += 1
        self.said[said] += 1
        self.kinds[errand.kind] += 1
        self.excused += is_excused(errand, said)
        self.slowest_s = max(self.slowest_s, told.answered_at - told.asked_at)
        for wrong in judge(errand, told, seen):
            self.violate(
                wrong,
                f"{errand.kind} {errand.ids.appointment_id}: {told.status} {told.body[:300]!r}",
            )

    def violate(self, wrong: str, example: str) -> None:
        """Count a violation, and keep the first few."""
        self.violations[wrong] += 1
        if len(self.examples) < 20:
            self.examples.append(f"{wrong}: {example}")

    def between(self, low: float, high: float) -> list[Sample]:
        """Return the samples of one part of the soak, in shares of its requests."""
        return [
            one
            for one in self.samples
            if low * self.answered <= one.answered <= high * self.answered
        ]

    def bars(self) -> list[Bar]:
        """Hold what was shown against what has to be kept.

        Needs samples from the start to the end.
        """
        later = [one for one in self.samples if one.answered >= FULL_AFTER]
        full, last = (later or self.between(0.2, 1.0))[0], self.samples[-1]
        ratio = last.rss_kib / full.rss_kib
        detail = (
            f"{full.rss_kib / 1024:.1f} MiB after {full.answered:,}, "
            f"{last.rss_kib / 1024:.1f} MiB after {last.answered:,}: x {ratio:.4f}"
        )
        bars = [Bar(f"memory within {GROWTH - 1:.0%}", ratio <= GROWTH, detail)]
        for name, of in _COUNTS.items():
            warm, end = (
                [of(one) for one in self.between(0.1, 0.4)],
                [of(one) for one in self.between(0.7, 1.0)],
            )
            detail = f"{min(warm)} to {max(warm)} once warm, {min(end)} to {max(end)} in the end"
            bars.append(
                Bar(f"no growth of {name}", statistics.median(end) <= max(warm) * GROWTH, detail)
            )
        bars.append(
            Bar(
                "no violation of the contract",
                not self.violations,
                f"{self.violations.total()} in {self.answered:,} answers",
            )
        )
        busy = f"{self.excused} answers that it had too much to do"
        return [*bars, Bar("the service kept up", self.excused <= BUSY_SHARE * self.answered, busy)]


_COUNTS: Mapping[str, Callable[[Sample], int]] = {
    "threads": lambda one: one.threads,
    "sockets": lambda one: one.sockets,
    "other handles": lambda one: one.handles,
}


class Soak:
    """One soak of a running service."""

    def __init__(self, options: Options, script: Script, seen: mmap, url: str, pid: int) -> None:
        self._options = options
        self._script = script
        self._seen = seen
        self._pid = pid
        self._address = urlsplit(url).hostname or "", urlsplit(url).port or 0
        self._began = 0.0
        self.record = Record()

    async def run(self) -> Record:
        """Send everything and return what was shown."""
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(self._options.slow):
                group.create_task(self._ask(once=number >= self._options.concurrency))
        self.record.seconds = time.monotonic() - self._began
        self._look(due=1.0)
        return self.record

    def _progress(self, made: int) -> float:
        if self._options.seconds is not None:
            return (time.monotonic() - self._began) / self._options.seconds
        return made / self._options.requests

    async def _ask(self, *, once: bool) -> None:
        line = Line(*self._address)
        while self._progress(self._script.made) < 1:
            errand = self._script.next()
            try:
                told = await line.ask(errand)
            except (OSError, EOFError) as error:
                self.record.violate("no answer", f"{errand.kind}: {error!r}")
                continue
            self.record.take(errand, told, Seen(self._seen[errand.number]))
            self._script.ended(errand, word(told))
            self._look(due=self._progress(self.record.answered))
            if once:
                break
        line.close()

    def _look(self, *, due: float) -> None:
        """Sample the process when another hundredth is done, while everything goes on."""
        if due * STEPS >= len(self.record.samples) + 1:
            self.record.samples.append(
                Sample.of(self._pid, self.record.answered, time.monotonic() - self._began)
            )


def soak(options: Options) -> Record:
    """Start everything, and send everything."""
    users = Users(options.users)
    with upstream_process(
        options.appointments, users.keys.current.jwk(), options.latency_ms / 1000
    ) as (environment, seen):
        users.issue_for(environment["ENTRA_AUTHORITY_HOST"])
        script = Script(users, options.faults, random.Random(options.seed), options.slow)
        with HostProcess(
            REPOSITORY,
            {**environment, **DEPLOYED, **dict(one.partition("=")[::2] for one in options.env)},
        ) as host:
            return asyncio.run(Soak(options, script, seen, host.url, host.pid).run())


def report(record: Record) -> str:
    """Say what was shown, for a person."""
    lines = [
        (
            f"{record.answered:,} requests in {record.seconds:.1f} s: "
            f"{record.answered / record.seconds:.0f} a second, the slowest {record.slowest_s:.2f} s"
        ),
        f"asked: {dict(record.kinds.most_common())}",
        f"answered: {dict(record.said.most_common())}",
        "requests  seconds  memory MiB  threads  sockets  other handles",
    ]
    every = max(1, len(record.samples) // 20)
    shown = [*record.samples[every - 1 :: every]]
    lines += [
        (
            f"{one.answered:8,}  {one.at_s:7.1f}  {one.rss_kib / 1024:10.1f}  {one.threads:7}  "
            f"{one.sockets:7}  {one.handles:13}"
        )
        for one in shown
    ]
    lines += [
        f"{bar.name:32} {'kept' if bar.kept else 'NOT KEPT':8}  {bar.detail}"
        for bar in record.bars()
    ]
    lines += [f"{times} x {wrong}" for wrong, times in record.violations.most_common()]
    return "\n".join([*lines, *record.examples])


def as_json(record: Record) -> str:
    """Return everything as JSON, for comparison with another day."""
    shown: dict[str, object] = {
        one.name: getattr(record, one.name) for one in fields(record)
    }  # asdict() would count a Counter's pairs
    shown |= {
        "samples": [asdict(one) for one in record.samples],
        "bars": [asdict(bar) for bar in record.bars()],
    }
    return json.dumps(shown, indent=2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak and print. Exit codes: 0, 1 when a bar is not kept."""
    given = Options()
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.soak",
        description="Many requests, with faults: does anything grow, is anything untrue?",
    )
    parser.add_argument("--requests", type=int, default=given.requests)
    parser.add_argument(
        "--seconds", type=float, help="for so long, instead of a number of requests"
    )
    parser.add_argument("--concurrency", type=int, default=given.concurrency)
    parser.add_argument(
        "--faults",
        type=float,
        default=given.faults,
        help="share of the appointments that something befalls at Graph (default: %(default)s)",
    )
    parser.add_argument("--users", type=int, default=given.users)
    parser.add_argument(
        "--latency-ms",
        type=float,
        default=given.latency_ms,
        help="of every call to Entra and Graph (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", default=given.seed, help="another one asks other things (default: %(default)s)"
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another setting of the service; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    options = parser.parse_args(arguments)
    as_text = not vars(options).pop("json")
    record = soak(Options(**vars(options)))
    print(report(record) if as_text else as_json(record))  # noqa: T201 - printing is its job
    return 0 if all(bar.kept for bar in record.bars()) else 1


if __name__ == "__main__":
    sys.exit(main())
