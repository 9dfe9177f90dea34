"""What records add to a cancel: with the memory store, and with the table store on an Azurite.

The Azurite runs on this machine.

Run it with ``python -m tests.benchmarks stores``. A cancel is the whole operation from the bytes of
the request to its outcome (token validated, exchange cached, Graph over TLS), without the HTTP
server in front. Simulators and Azurite are processes of their own, so CPU is ours alone. Wall time
on loopback says what waiting costs here. In Azure the network between comes on top. All variants
take turns, call by call, in mixed order.
"""

import hashlib
import json
import multiprocessing
import random
import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection

from cancel_appointment.operation import CancelOperation
from infra.local import seed
from infra.local.stack import LocalStack
from shared.records.account import by_connection_string
from shared.records.memory_store import MemoryStore
from shared.records.rules import Begun, Claim, End, Finished, Granted, IdempotencyStore, Wanted
from shared.records.table_store import TableStore
from shared.services import Services, build_services
from shared.serving.requests import Incoming
from shared.telemetry.journal import Journal
from shared.transport.channel import Channel
from shared.transport.waiting import Waiting
from tests.benchmarks import Figure, figure
from tests.integration.azurite import Azurite

CALLS, WARM_UP = 300, 20
LEASE_S, KEEP_S = 20.0, 24 * 3600.0
BARE = "cancel without records"


class NoRecords:
    """A store that remembers nothing and costs next to nothing."""

    def begin(
        self, caller: str, wanted: Sequence[Wanted], *, lease_s: float, keep_s: float
    ) -> Begun:
        """Let everybody in."""
        return Granted(Claim(caller, tuple(wanted), ""), doubt=False)

    def settle(self, claim: Claim, ends: Sequence[End], *, keep_s: float) -> bool:
        """Forget it."""
        return True


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Simulators in another process: the settings that lead to them, and a user's token.

    ``stands`` tells whether an appointment is still there.
    """

    environment: Mapping[str, str]
    token: str = field(repr=False)
    stands: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Cost:
    """Samples of one variant, in milliseconds."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def of(self, work: Callable[[], object], *, counts: bool) -> None:
        """Do it once, and take its time on this thread's CPU and on the clock if it counts."""
        wall, cpu = time.perf_counter(), time.thread_time()
        work()
        cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
        if counts:
            self.cpu.append(cpu * 1000)
            self.wall.append(wall * 1000)


def appointment_id(number: int) -> str:
    """Return the id of the appointment with this number."""
    return f"AAMkbench{number:06d}="


def serve(pipe: Connection, appointments: int) -> None:
    """Run the simulators with so many appointments, and say which stand.

    It ends when the other end of the pipe asks for None.
    """
    with LocalStack() as stack:
        times = "2027-06-01T09:00:00.0000000Z", "2027-06-01T10:00:00.0000000Z"
        for number in range(appointments):
            names = (
                appointment_id(number),
                seed.LUNCH_DELIVERY,
                "Bench",
                "Customer",
                "customer@contoso.com",
            )
            stack.graph.bookings.add(seed.Appointment(*names, *times))
        pipe.send((stack.environment, stack.entra.user_token()))
        while (asked := pipe.recv()) is not None:
            pipe.send(stack.graph.bookings.exists(seed.LUNCH_DELIVERY, asked))


@contextmanager
def upstreams(appointments: int) -> Iterator[Upstreams]:
    """Run the simulators in a process of their own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(theirs, appointments), daemon=True
    )
    process.start()
    try:
        if not ours.poll(60):
            raise RuntimeError("The simulators do not start.")

        def stands(appointment: str) -> bool:
            ours.send(appointment)
            return bool(ours.recv())

        environment, token = ours.recv()
        yield Upstreams(environment, token, stands)
    finally:
        ours.send(None)
        process.join(10)


def cancel_once(
    services: Services, operation: CancelOperation, token: str, number: int, key: str | None
) -> None:
    """Cancel an appointment that stands."""
    body = json.dumps(
        {"businessId": seed.LUNCH_DELIVERY, "appointmentId": appointment_id(number)}
    ).encode()
    journal = Journal(str(uuid.uuid4()), time.monotonic)
    headers = {
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
        **({"idempotency-key": key} if key else {}),
    }
    work = operation.admit(Incoming(headers, body), journal)
    answer = json.loads(
        operation.carry_out(work, services.deadline(10.0, journal.started_at), journal).body
    )
    assert (answer["outcome"], answer["confirmed"], answer["replayed"]) == (
        "cancelled",
        True,
        False,
    ), services.records


def begin_and_settle(store: IdempotencyStore, records: int) -> None:
    """Do what the records of a request cost a cancel."""
    hashes = [hashlib.sha256(secrets.token_bytes(16)).hexdigest() for _ in range(1 + records)]
    wanted = [Wanted(key, hashes[0]) for key in hashes[1:]]
    begun = store.begin(hashes[0], wanted, lease_s=LEASE_S, keep_s=KEEP_S)
    assert isinstance(begun, Granted)
    ends = [Finished('{"outcome": "cancelled", "confirmed": true}')] * records
    assert store.settle(begun.claim, ends, keep_s=KEEP_S)


def measure() -> list[Figure]:
    """Measure a cancel with each store, and one record alone.

    Each cancel is measured with and without an Idempotency-Key.
    """
    with Azurite() as azurite:
        account = by_connection_string(azurite.connection_string)
        channel = Channel(account.endpoint, None, keep=1)
        table = TableStore(account, f"t{secrets.token_hex(8)}", channel, Waiting())
        stores: Mapping[str, IdempotencyStore] = {
            "no": NoRecords(),
            "memory": MemoryStore(time.time),
            "table": table,
        }
        variants = [
            ("no", False),
            *((name, with_key) for name in ("memory", "table") for with_key in (False, True)),
        ]
        rounds = CALLS + WARM_UP
        records: dict[tuple[str, int], Cost] = {
            (name, count): Cost() for name in ("memory", "table") for count in (1, 2)
        }
        cancels: dict[tuple[str, bool], Cost] = {variant: Cost() for variant in variants}
        with upstreams(rounds * len(variants)) as behind:
            services = {
                name: replace(build_services(behind.environment), records=store)
                for name, store in stores.items()
            }
            operations = {name: CancelOperation(one) for name, one in services.items()}
            for call in range(rounds):
                jobs = [
                    (cost, partial(begin_and_settle, stores[name], count))
                    for (name, count), cost in records.items()
                ]
                for index, (name, with_key) in enumerate(variants):
                    number = call * len(variants) + index
                    key = f"bench-{number}" if with_key else None
                    jobs.append(
                        (
                            cancels[name, with_key],
                            partial(
                                cancel_once,
                                services[name],
                                operations[name],
                                behind.token,
                                number,
                                key,
                            ),
                        )
                    )
                random.shuffle(
                    jobs
                )  # each pays for what the one before it did to the processor's caches
                for cost, job in jobs:
                    cost.of(job, counts=call >= WARM_UP)
    return [one for unit in ("ms CPU", "ms wall") for one in summed_up(records, cancels, unit)]


def summed_up(
    records: Mapping[tuple[str, int], Cost], cancels: Mapping[tuple[str, bool], Cost], unit: str
) -> Iterator[Figure]:
    """Give the figures of one unit, each compared with a cancel without records."""

    def samples(cost: Cost) -> list[float]:
        return cost.cpu if unit == "ms CPU" else cost.wall

    bare = figure(f"stores: {BARE}", unit, samples(cancels["no", False]))
    yield bare
    for (name, count), cost in records.items():
        what = "one record" if count == 1 else "two records"
        yield figure(f"stores: {name}: begin and settle {what}", unit, samples(cost), bare)
    for (name, with_key), cost in cancels.items():
        if name != "no":
            yield figure(
                f"stores: {name}: cancel {'with' if with_key else 'without'} a key",
                unit,
                samples(cost),
                bare,
            )
