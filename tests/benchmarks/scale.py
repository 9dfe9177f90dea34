"""What saturates first, from one mailbox to a million cancels an hour.

``make scale`` also says how many instances it takes, and what a million cancels cost.

There are two ways to the same numbers. ``plan`` computes them (Little's law, busy fractions).
``simulate`` plays one minute of requests through instances, lanes, mailboxes and upstreams. Every
assumption is a parameter (``--set name=value``) with its source beside it. Nothing here is measured
in Azure.
"""

import argparse
import math
import random
import sys
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import simpy
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Assumptions(BaseModel):
    """The assumptions. Times are in seconds, rates per second, prices in US dollars."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu_s: float = Field(
        default=0.0027,
        gt=0,
        description=(
            "CPU of one warm cancel in the worker, runtime and memory store included (make bench, "
            "times 1.5 for the .NET host)"
        ),
    )
    table_cpu_s: float = Field(
        default=0.0035,
        ge=0,
        description="CPU that the table adds to a cancel without a key (make bench ARGS=stores)",
    )
    graph_s: float = Field(
        default=0.4, gt=0, description="mean time of Graph's answer; not documented, a guess"
    )
    graph_spread: float = Field(
        default=0.5, ge=0, le=2, description="sigma of its lognormal distribution; a guess"
    )
    exchange_s: float = Field(
        default=0.15, ge=0, description="time of one on-behalf-of exchange; a guess"
    )
    exchange_share: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="requests whose caller has no exchanged token yet on their instance",
    )
    table_s: float = Field(
        default=0.008,
        ge=0,
        description="time of one call to Table Storage in the same region; a guess",
    )
    table_calls: int = Field(
        default=2,
        ge=0,
        description=(
            "calls to the table per cancel: begin and complete; 4 with an Idempotency-Key, 0 in "
            "memory"
        ),
    )
    deadline_s: float = Field(
        default=9.5,
        gt=0,
        description="what a request may take (REQUEST_DEADLINE_SECONDS less the reserve)",
    )

    instance_memory_gb: float = Field(
        default=2.0, gt=0, description="instance size; Flex Consumption has 0.5, 2 and 4"
    )
    instance_cpus: float = Field(
        default=1.0,
        gt=0,
        description="CPUs of such an instance; Microsoft names about one for 2 GB",
    )
    instance_concurrency: int = Field(
        default=16, ge=1, description="perInstanceConcurrency of the deployment"
    )
    most_instances: int = Field(
        default=100,
        ge=1,
        description="maximumInstanceCount: 100 by default, up to 1,000 (Flex Consumption's docs)",
    )
    cpu_target: float = Field(
        default=0.6, gt=0, le=1, description="how busy an instance's CPUs should be at most"
    )
    billed_at_least_s: float = Field(
        default=1.0,
        ge=0,
        description=(
            "shortest time that an active instance is billed for; to be compared with the price "
            "list"
        ),
    )
    price_gb_s: float = Field(
        default=0.000026,
        ge=0,
        description="price of a GB-second on demand (East US in 2025; look at the price list)",
    )
    price_million_executions: float = Field(
        default=0.40, ge=0, description="price of a million executions (as above)"
    )
    price_million_table_calls: float = Field(
        default=0.36,
        ge=0,
        description="price of a million table operations (0.00036 for 10,000; as above)",
    )

    mailbox_concurrency: int = Field(
        default=4,
        ge=1,
        description=(
            "Graph: requests at a time per app and mailbox (throttling limits of the Outlook "
            "service; Bookings has no row of its own)"
        ),
    )
    mailbox_requests: float = Field(
        default=10_000 / 600,
        gt=0,
        description="Graph: requests per app and mailbox (10,000 in 10 minutes, as above)",
    )
    mailbox_mails: float = Field(
        default=30 / 60,
        gt=0,
        description=(
            "Exchange Online: messages a mailbox may send (30 a minute); whether Bookings' own "
            "mail counts is not documented"
        ),
    )
    mails_per_cancel: float = Field(default=2.0, ge=0, description="customer and staff")
    app_requests: float = Field(
        default=13_000,
        gt=0,
        description="Graph: requests per app across all tenants (130,000 in 10 seconds)",
    )
    entra_requests: float = Field(
        default=200,
        gt=0,
        description="Entra: token requests per app and tenant; not documented, a guess",
    )
    table_requests: float = Field(
        default=20_000,
        gt=0,
        description="Table Storage: operations per account and second (scalability targets)",
    )
    retry_after_s: float = Field(
        default=1.0,
        gt=0,
        description="the wait that Graph asks for when a mailbox is busy; a guess",
    )

    @property
    def busy_s(self) -> float:
        """CPU of one cancel."""
        return self.cpu_s + (self.table_cpu_s if self.table_calls else 0.0)

    @property
    def latency_s(self) -> float:
        """Mean time of a cancel that waits for nothing."""
        return (
            self.busy_s
            + self.exchange_share * self.exchange_s
            + self.table_calls * self.table_s
            + self.graph_s
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What a load takes.

    ``loads`` are shares of each limit: above 1 it is exceeded. ``cost_per_million`` in US dollars.
    """

    per_hour: float
    mailboxes: int
    instances: int
    in_flight: float
    loads: Mapping[str, float]
    cost_per_million: float

    @property
    def first(self) -> str:
        """What saturates first."""
        return max(self.loads, key=lambda name: self.loads[name])


def plan(per_hour: float, mailboxes: int, given: Assumptions) -> Plan:
    """Compute what ``per_hour`` cancels take, spread evenly over ``mailboxes`` of one tenant."""
    rate = per_hour / 3600
    at_one = rate / mailboxes
    in_flight = rate * given.latency_s
    by_cpu = rate * given.busy_s / (given.instance_cpus * given.cpu_target)
    instances = max(1, math.ceil(in_flight / given.instance_concurrency), math.ceil(by_cpu))
    loads = {
        "mail of a mailbox": at_one * given.mails_per_cancel / given.mailbox_mails,
        "concurrency of a mailbox": at_one * given.graph_s / given.mailbox_concurrency,
        "requests to a mailbox": at_one / given.mailbox_requests,
        "requests of the app to Graph": rate / given.app_requests,
        "token requests to Entra": rate * given.exchange_share / given.entra_requests,
        "operations on the table": rate * given.table_calls / given.table_requests,
        "instances": instances / given.most_instances,
    }
    active_s = (
        instances
        * 3600
        * _busy_fraction(rate / instances * max(given.latency_s, given.billed_at_least_s))
    )
    dollars = active_s * given.instance_memory_gb * given.price_gb_s
    dollars += (
        per_hour
        / 1e6
        * (given.price_million_executions + given.table_calls * given.price_million_table_calls)
    )
    return Plan(per_hour, mailboxes, instances, in_flight, loads, dollars / per_hour * 1e6)


def _busy_fraction(offered: float) -> float:
    """Return the share of time in which at least one randomly arriving request is there.

    The model is M/G/infinity.
    """
    return 1 - math.exp(-offered)


@dataclass(slots=True)
class Played:
    """What a simulated minute showed. Times in seconds."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    endings: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    cpu_s: float = 0.0
    active_s: float = 0.0
    busiest_instance: int = 0

    def percentile(self, share: float) -> float:
        """Return the latency that this share of the answered requests kept below."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class _Instance:
    """A worker: its CPUs, its lanes, and how long it was active."""

    def __init__(self, world: simpy.Environment, given: Assumptions) -> None:
        self.world = world
        self.cpus = simpy.Resource(world, max(1, round(given.instance_cpus)))
        self.lanes: dict[int, simpy.Resource] = {}
        self.inside = 0
        self.since = 0.0

    def lane(self, mailbox: int, width: int) -> simpy.Resource:
        return self.lanes.setdefault(mailbox, simpy.Resource(self.world, width))


def simulate(
    per_hour: float,
    mailboxes: int,
    given: Assumptions,
    *,
    seconds: float = 60.0,
    seed: int = 1,
    instances: int | None = None,
) -> Played:
    """Play ``seconds`` of Poisson arrivals, each for a random mailbox.

    There are as many instances as ``plan`` says.
    """
    chance = random.Random(seed)
    world = simpy.Environment()
    planned = (
        min(plan(per_hour, mailboxes, given).instances, given.most_instances)
        if instances is None
        else instances
    )
    fleet = [_Instance(world, given) for _ in range(planned)]
    at_graph: Counter[int] = Counter()
    played = Played(seconds)
    mean_log = math.log(given.graph_s) - given.graph_spread**2 / 2

    def cancel(instance: _Instance) -> Generator[Any, Any]:
        begun = world.now
        mailbox = chance.randrange(mailboxes)
        if instance.inside == 0:
            instance.since = begun
        instance.inside += 1
        played.busiest_instance = max(played.busiest_instance, instance.inside)
        with instance.cpus.request() as cpu:
            yield cpu
            yield world.timeout(given.busy_s)
            played.cpu_s += given.busy_s
        if chance.random() < given.exchange_share:
            yield world.timeout(given.exchange_s)
        yield world.timeout(given.table_s * given.table_calls / 2)
        ending = "throttled"
        with instance.lane(mailbox, given.mailbox_concurrency).request() as place:
            yield place | world.timeout(max(0.0, begun + given.deadline_s - world.now) * 0.6)
            while place.triggered and world.now < begun + given.deadline_s:
                if at_graph[mailbox] >= given.mailbox_concurrency:  # another instance is there, too
                    played.refused += 1
                    yield world.timeout(given.retry_after_s)
                    continue
                at_graph[mailbox] += 1
                yield world.timeout(chance.lognormvariate(mean_log, given.graph_spread))
                at_graph[mailbox] -= 1
                ending = "cancelled"
                break
        yield world.timeout(given.table_s * given.table_calls / 2)
        instance.inside -= 1
        if instance.inside == 0:
            played.active_s += min(world.now, seconds) - min(instance.since, seconds)
        played.endings[ending] += 1
        if ending == "cancelled":
            played.latencies.append(world.now - begun)

    def arrivals() -> Generator[Any, Any]:
        while world.now < seconds:
            world.process(
                cancel(
                    min(fleet, key=lambda one: one.inside)
                    if len(fleet) <= 8
                    else chance.choice(fleet)
                )
            )
            yield world.timeout(chance.expovariate(per_hour / 3600))

    world.process(arrivals())
    world.run()
    return played


LOADS = (
    (100, 1),
    (900, 1),
    (3_600, 1),
    (10_000, 100),
    (100_000, 1_000),
    (1_000_000, 10_000),
    (1_000_000, 1_000),
)


def as_table(given: Assumptions, loads: Sequence[tuple[float, int]] = LOADS) -> str:
    """Return the plans of these loads as a table in Markdown.

    Beside each plan stands what the simulation says of it.
    """
    rows = [
        (
            "| cancels an hour | mailboxes | first to saturate | its load | instances | in flight "
            "| USD a million | simulated: answered | p50 s | p99 s | 429s |"
        ),
        "|" + "---|" * 11,
    ]
    for per_hour, mailboxes in loads:
        planned = plan(per_hour, mailboxes, given)
        played = simulate(per_hour, mailboxes, given, seconds=60 if per_hour > 50_000 else 600)
        total = sum(played.endings.values())
        p50, p99 = (
            f"{played.percentile(share):.2f}" if played.latencies else "-" for share in (0.5, 0.99)
        )
        answered = f"{played.endings['cancelled'] / total:.1%}" if total else "-"
        rows.append(
            f"| {per_hour:,.0f} | {mailboxes:,} | {planned.first} | "
            f"{planned.loads[planned.first]:.0%} | {planned.instances} | {planned.in_flight:.1f} "
            f"| {planned.cost_per_million:.2f} | {answered} | {p50} | {p99} | {played.refused} |"
        )
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or one load in detail.

    Exit codes: 0, and 2 for an unknown or impossible assumption.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.scale",
        description="What a load takes, and what saturates first.",
    )
    parser.add_argument(
        "--per-hour", type=float, help="one load instead of the table: cancels an hour"
    )
    parser.add_argument(
        "--mailboxes", type=int, default=1000, help="over how many mailboxes (default: %(default)s)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another assumption; may be repeated",
    )
    parser.add_argument(
        "--assumptions", action="store_true", help="print the assumptions and their sources"
    )
    options = parser.parse_args(arguments)
    try:
        given = Assumptions.model_validate(dict(pair.partition("=")[::2] for pair in options.set))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        parser.error(f"{first['loc'][0]}: {first['msg']}")
    if options.assumptions:
        for name, about in Assumptions.model_fields.items():
            print(f"{name} = {getattr(given, name):g}   {about.description}")  # noqa: T201 - printing is its job
    elif options.per_hour:
        planned = plan(options.per_hour, options.mailboxes, given)
        for name, load in sorted(planned.loads.items(), key=lambda pair: -pair[1]):
            print(f"{load:8.1%}  {name}")  # noqa: T201
        print(as_table(given, [(options.per_hour, options.mailboxes)]))  # noqa: T201
    else:
        print(as_table(given))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
