"""Two instances of the service, one table.

Racing duplicates, and the sudden death of one instance under load.

``CHAOS_SEED`` repeats the choice of users, keys and moments. Threads interleave differently in each
run.
"""

import os
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import requests

from infra.local import seed
from infra.local.host.process import HostProcess
from infra.local.stack import LocalStack
from tests.conftest import REPOSITORY
from tests.integration.azurite import Azurite
from tests.integration.violations import Caller, Ids, Told, Truth, Watch, ask, judge, tell

pytestmark = pytest.mark.timeout(300)

BUSINESSES = [f"pair{n}@contoso.com" for n in range(16)]
PAIRS, PAIRS_AT_ONCE = 1000, 12
SHORT_DEADLINE_S, MARGIN_S = 2.0, 4.0
LEASE_S = SHORT_DEADLINE_S + 12.0  # the service adds 12 s, for itself and for clocks that differ
KILLS, CALLERS, MOST_ORPHANS = 12, 12, 300
LATENCY_S = 0.05


def open_session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    return session


@dataclass(frozen=True, slots=True)
class Errand:
    """This appointment, to be cancelled for this user, under this key."""

    caller: Caller
    ids: Ids
    key: str | None


class World:
    """The simulators, and the settings of an instance that keeps its records in one table.

    The simulators have businesses that everybody sees.
    """

    def __init__(self, stack: LocalStack, table: dict[str, str], chance: random.Random) -> None:
        self.stack = stack
        self.watch = Watch(trust=False)
        self.environment = {**stack.environment, **table}
        self.booked: dict[Ids, float] = {}
        self._chance = chance
        people = [
            seed.User(f"00000000-0000-4000-8000-{n:012d}", f"user{n}@contoso.com", f"User {n}")
            for n in range(16)
        ]
        self.callers = [Caller(user.object_id, stack.entra.user_token(user)) for user in people]
        for business in BUSINESSES:
            stack.graph.bookings.add_business(
                seed.Business(business, business, frozenset(user.object_id for user in people))
            )
        stack.graph.faults = self.watch

    def errand(self, *, with_key: bool) -> Errand:
        """Book another appointment, and return an errand to cancel it."""
        ids = Ids(self._chance.choice(BUSINESSES), f"AAMkpair{len(self.booked):05d}=")
        times = "2027-06-01T09:00:00.0000000Z", "2027-06-01T10:00:00.0000000Z"
        self.stack.graph.bookings.add(
            seed.Appointment(
                ids.appointment_id, ids.business_id, "Test", "C", "customer@contoso.com", *times
            )
        )
        self.booked[ids] = time.time()
        return Errand(
            self._chance.choice(self.callers),
            ids,
            f"key-{ids.appointment_id}" if with_key else None,
        )

    def truth(self) -> Truth:
        return Truth.of(self.stack.graph.bookings, self.booked, self.watch.calls)

    def ask(
        self, url: str, errand: Errand, session: requests.Session, *, healthy: bool = False
    ) -> Told:
        return ask(
            session,
            url,
            errand.caller,
            errand.ids,
            errand.key,
            self.stack.graph.bookings,
            healthy=healthy,
        )


@pytest.fixture
def chosen() -> str:
    return os.environ.get("CHAOS_SEED") or secrets.token_hex(4)


@pytest.fixture
def world(azurite: Azurite, chosen: str) -> Iterator[World]:
    table = {
        "IDEMPOTENCY_STORE": "table",
        "IDEMPOTENCY_TABLE_CONNECTION_STRING": azurite.connection_string,
        "IDEMPOTENCY_TABLE_NAME": f"t{secrets.token_hex(8)}",
    }
    with LocalStack() as stack:
        yield World(stack, table, random.Random(chosen))


def test_of_a_thousand_racing_pairs_each_ends_with_one_cancel_one_mail_and_two_true_answers(
    world: World, chosen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same request reaches both instances at the same moment.

    One carries it out. The other gives its answer again, at the latest when asked again.
    """
    pairs = [world.errand(with_key=n % 2 == 0) for n in range(PAIRS)]
    told: list[Told] = []

    def race(url: str, together: threading.Barrier, mine: Sequence[Errand]) -> list[Told]:
        ends = []
        with open_session() as session:
            for errand in mine:
                together.wait(60)
                ends.append(insist(world, url, errand, session, told))
        return ends

    with ExitStack() as running:
        urls = [
            running.enter_context(HostProcess(REPOSITORY, world.environment)).url for _ in range(2)
        ]
        pool = running.enter_context(ThreadPoolExecutor(2 * PAIRS_AT_ONCE))
        started = time.monotonic()
        racers = [
            pool.submit(race, url, together, pairs[n::PAIRS_AT_ONCE])
            for n, together in enumerate([threading.Barrier(2) for _ in range(PAIRS_AT_ONCE)])
            for url in urls
        ]
        ends: dict[Ids, list[Told]] = {errand.ids: [] for errand in pairs}
        for end in (end for racer in racers for end in racer.result()):
            ends[end.ids].append(end)
        took_s = time.monotonic() - started
    violations = judge(told, world.truth(), within_s=10 + MARGIN_S)
    conflicts = sum(one.status == 409 for one in told)
    with capsys.disabled():
        print(  # noqa: T201
            f"\ntwo instances CHAOS_SEED={chosen} pairs={PAIRS} seconds={took_s:.1f} "
            f"answers={dict(Counter(one.code for one in told))} conflicts={conflicts} "
            f"cancels_sent={len(world.watch.calls)} "
            f"mails={len(world.stack.graph.bookings.outbox)} violations={len(violations)}"
        )
    assert not violations, tell(violations)
    assert [
        one
        for pair in ends.values()
        for one in pair
        if (one.code, one.members["confirmed"]) != ("cancelled", True)
    ] == []
    assert Counter(
        tuple(sorted(one.members["replayed"] for one in pair)) for pair in ends.values()
    ) == {(False, True): PAIRS}
    assert Counter(call.step for call in world.watch.calls) == {"cancel": PAIRS}
    assert Counter(mail.kind for mail in world.stack.graph.bookings.outbox) == {
        "customer": PAIRS,
        "staff": PAIRS,
    }


def insist(
    world: World,
    url: str,
    errand: Errand,
    session: requests.Session,
    told: list[Told],
    *,
    lease_ends_at: float = 0.0,
) -> Told:
    """Ask until there is an outcome, as the answers ask for it.

    After the first conflict it does not ask before the lease has ended. Every answer goes into
    ``told``.
    """
    give_up_at = time.monotonic() + LEASE_S + 60
    while True:
        told.append(one := world.ask(url, errand, session, healthy=True))
        if one.retry_after_s is None or time.monotonic() > give_up_at:
            return one
        time.sleep(
            max(one.retry_after_s, lease_ends_at - time.monotonic())
        )  # the manners of a caller


class Victim:
    """An instance that is killed now and then, and those who ask it.

    ``orphan`` takes the requests that got no answer.
    """

    def __init__(
        self, world: World, host: HostProcess, told: list[Told], orphan: Callable[[Errand], None]
    ) -> None:
        self._orphan = orphan
        self._world = world
        self._host = host
        self._told = told
        self._news = threading.Condition()
        self._answered = 0
        self._up = threading.Event()
        self._up.set()
        self._over = False

    def be_asked(self, errands: Iterator[Errand]) -> None:
        """Send one errand after another, each once."""
        with open_session() as session:
            while self._up.wait(60) and not self._over:
                errand = next(errands)
                try:
                    self._told.append(self._world.ask(self._host.url, errand, session))
                except requests.RequestException:
                    self._orphan(errand)
                    continue
                with self._news:
                    self._answered += 1
                    self._news.notify_all()

    def die(self, times: int, chance: random.Random) -> None:
        """Be killed and started again, each time after a random number of answers."""
        try:
            for _ in range(times):
                with self._news:
                    enough = self._answered + chance.randrange(60)
                    assert self._news.wait_for(lambda: self._answered >= enough, 60)  # noqa: B023 - called at once
                self._up.clear()
                self._host.kill()
                self._host.start()
                self._up.set()
        finally:
            self._over = True
            self._up.set()


def test_what_a_killed_instance_left_behind_ends_true_on_the_survivor(
    world: World, chosen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kill -9 under load, again and again.

    Whoever got no answer asks the other instance until there is one, and it is true. Nobody gets a
    second mail.
    """
    world.environment["REQUEST_DEADLINE_SECONDS"] = str(SHORT_DEADLINE_S)
    world.stack.graph.latency_s = LATENCY_S
    told: list[Told] = []
    errands = iter([world.errand(with_key=n % 2 == 0) for n in range(20_000)])
    started = time.monotonic()
    with ExitStack() as running:
        hosts = [
            running.enter_context(HostProcess(REPOSITORY, world.environment)) for _ in range(2)
        ]
        callers = running.enter_context(ThreadPoolExecutor(CALLERS + 1))
        askers = running.enter_context(ThreadPoolExecutor(MOST_ORPHANS))
        asking: list[Future[Told]] = []
        victim = Victim(
            world,
            hosts[0],
            told,
            lambda errand: asking.append(
                askers.submit(ask_survivor, world, hosts[1].url, errand, told)
            ),
        )
        for done in [
            callers.submit(victim.die, KILLS, random.Random(chosen)),
            *(callers.submit(victim.be_asked, errands) for _ in range(CALLERS)),
        ]:
            done.result()
        ends = [one.result() for one in asking]
    took_s = time.monotonic() - started
    unavailable = sum(host.output().count("event=store_unavailable") for host in hosts)
    asked = {one.ids for one in told}
    truth = world.truth()
    violations = judge(told, truth, within_s=SHORT_DEADLINE_S + MARGIN_S, recorded=unavailable == 0)
    ours = {Ids(done.business_id, done.appointment_id) for done in truth.cancellations}
    words = Counter(
        f"{one.code} {'confirmed' if one.members['confirmed'] else 'unconfirmed'}"
        f"{' replayed' * one.members['replayed']}"
        for one in ends
    )
    with capsys.disabled():
        print(  # noqa: T201
            f"\nkilled CHAOS_SEED={chosen} kills={KILLS} seconds={took_s:.1f} asked={len(asked)} "
            f"orphans={len(ends)} ends={dict(words)} "
            f"answers={dict(Counter(one.code for one in told))} mails={len(truth.outbox)} "
            f"store_unavailable={unavailable} violations={len(violations)}"
        )
    assert not violations, tell(violations)
    assert [one for one in ends if one.code == "not_found" and one.ids not in ours] == []
    assert asked & truth.standing == set()
    assert words["not_found unconfirmed"] > 0
    assert words["cancelled confirmed"] > 0


def ask_survivor(world: World, url: str, errand: Errand, told: list[Told]) -> Told:
    """Ask at once. If somebody else seems to be at work on it, ask again when that must be over."""
    lease_ends_at = time.monotonic() + LEASE_S
    with open_session() as session:
        return insist(world, url, errand, session, told, lease_ends_at=lease_ends_at)
