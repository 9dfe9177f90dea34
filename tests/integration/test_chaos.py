"""The fault alphabet of the protocol, sampled.

Many callers, real sockets, TLS, the official runtime, and a judge who knows the truth.

``CHAOS_SEED`` repeats a storm (the faults of an appointment depend on the seed alone; how threads
interleave does not), ``CHAOS_CASES`` sets its length.
"""

import os
import random
import secrets
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import local
from typing import Literal
from unittest.mock import patch

import pytest
import requests

from infra.local import seed
from infra.local.faults import Fault
from infra.local.host.process import HostProcess
from infra.local.stack import LocalStack
from infra.local.tls import LocalAuthority
from tests.conftest import REPOSITORY
from tests.integration.azurite import Azurite
from tests.integration.violations import (
    Caller,
    Ids,
    Told,
    Truth,
    Violation,
    Watch,
    ask,
    judge,
    tell,
)

pytestmark = pytest.mark.timeout(300)

DEADLINE_S = 3.0
# One second after which the service answers without its thread, and what 64 callers and two
# simulators in one process make each other wait.
MARGIN_S = 4.0
CALLERS = 64
# Half the callers: with more, two cores would not get the table's answers within its time-outs.
THREADS = 32
CASES = {"table": 800, "memory": 1300}
TRIES = 4
LONGEST_WAIT_S = 0.5
# Of the appointments. Most calls for these are struck, so that faults come in rows. Of all first
# attempts it is a tenth.
CURSED = 0.08
STRUCK, STRUCK_WHEN_CURSED, HANDSHAKES_STRUCK = 0.05, 0.65, 0.1
SLOW_S = 0.75 * DEADLINE_S  # a cancel is not waited for any longer

_SORRY = {"error": {"code": "UnknownError", "message": ""}}
_PAGE = "<html><body>The service is unavailable.</body></html>"
_APPOINTMENT = {"id": "AAMkAD=", "serviceName": "Test"}

type When = Literal["before", "after"]


def _cancel(when: When = "before", **what: object) -> Fault:
    return Fault.model_validate({"step": "cancel", "when": when, **what})


def _look(**what: object) -> Fault:
    return Fault.model_validate({"step": "get", **what})


def _unanswered(when: When) -> Mapping[str, Fault]:
    """Every way in which a cancel can end without an answer, without its effect or with it."""
    ways: Mapping[str, Mapping[str, object]] = {
        "dropped": {"drop": True},
        "reset": {"reset": True},
        "truncated": {"truncate": True},
        "no HTTP": {"raw": "\x16\x03\x01 not HTTP"},
        "500": {"status": 500, "body": _SORRY},
        "500 without a body": {"status": 500},
        "502 in HTML": {"status": 502, "body": _PAGE},
        "503": {"status": 503, "body": _SORRY},
        "503 with Retry-After": {"status": 503, "body": _SORRY, "headers": {"Retry-After": "1"}},
        "504": {"status": 504},
        "slow": {"delay_s": DEADLINE_S * 0.85},
        "slow beyond the deadline": {"delay_s": DEADLINE_S * 1.3},
        "200 in HTML": {"status": 200, "body": _PAGE},
        "200": {"status": 200, "body": _APPOINTMENT},
        "202": {"status": 202},
        "redirected": {"status": 302, "headers": {"Location": "https://localhost:1/v1.0/"}},
        "redirected with its method": {
            "status": 307,
            "headers": {"Location": "/v1.0/solutions/bookingBusinesses"},
        },
    }
    return {f"{name}, {when} the effect": _cancel(when, **what) for name, what in ways.items()}


_CANCEL_LETTERS: Mapping[str, Fault] = {
    **_unanswered("before"),
    **_unanswered("after"),
    "429": _cancel(status=429, body=_SORRY),
    "429 with Retry-After": _cancel(status=429, body=_SORRY, headers={"Retry-After": "1"}),
    "429 with a long Retry-After": _cancel(status=429, body=_SORRY, headers={"Retry-After": "120"}),
    "429 with a date": _cancel(
        status=429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
    ),
    "429 with nonsense": _cancel(status=429, body=_PAGE, headers={"Retry-After": "soon"}),
    "late": _cancel("after", delay_s=0.3),
}
_LOOK_LETTERS: Mapping[str, Fault] = {
    "dropped": _look(drop=True),
    "reset": _look(reset=True),
    "truncated": _look(truncate=True),
    "500": _look(status=500, body=_SORRY),
    "502": _look(status=502, body=_PAGE),
    "503": _look(status=503),
    "504": _look(status=504),
    "429": _look(status=429, body=_SORRY),
    "429 with Retry-After": _look(status=429, body=_SORRY, headers={"Retry-After": "1"}),
    "slow": _look(delay_s=DEADLINE_S * 1.3),
    "200 in HTML": _look(status=200, body=_PAGE),
    "204": _look(status=204),
    "redirected": _look(status=302, headers={"Location": "https://localhost:1/"}),
}


class Storm(Watch):
    """Strikes calls by chance.

    The seed, the appointment and the number of the call decide whether, and with which letter.
    """

    def __init__(self, chosen: str) -> None:
        super().__init__(slow_s=SLOW_S)
        self._seed = chosen
        self.rages = False
        self.struck: Counter[str] = Counter()

    def choose(self, step: str, **attributes: str) -> Fault | None:
        """See ``Watch``."""
        letters = {"cancel": _CANCEL_LETTERS, "get": _LOOK_LETTERS}[step]
        appointment = f"{self._seed}/{attributes.get('appointment_id')}"
        share = STRUCK_WHEN_CURSED if random.Random(appointment).random() < CURSED else STRUCK
        chance = random.Random(f"{appointment}/{step}/{attributes.get('attempt')}")
        if not self.rages or chance.random() >= share:
            return None
        letter = chance.choice(list(letters))
        self.struck[f"{step}: {letter}"] += 1
        return letters[letter]


class StormyAuthority(LocalAuthority):
    """Breaks off some TLS handshakes, so that nothing was sent over them."""

    def __init__(self) -> None:
        super().__init__()
        self.rages = False
        self.broken = 0
        self._chance = random.Random(1)

    def server_context(self) -> ssl.SSLContext:
        context = super().server_context()
        context.sni_callback = self._greet
        return context

    def _greet(self, *_: object) -> int | None:
        if not self.rages or self._chance.random() >= HANDSHAKES_STRUCK:
            return None
        self.broken += 1
        return int(ssl.ALERT_DESCRIPTION_INTERNAL_ERROR)


@dataclass(frozen=True, slots=True)
class Errand:
    """What one sender wants: this appointment cancelled, by this user, under this key."""

    caller: Caller
    ids: Ids
    key: str | None


class Chaos:
    """A world with callers, appointments and weather, and a running service.

    ``told`` is everything that anybody was told.
    """

    def __init__(
        self, stack: LocalStack, storm: Storm, authority: StormyAuthority, url: str
    ) -> None:
        self.stack = stack
        self.storm = storm
        self.authority = authority
        self.told: list[Told] = []
        self.booked: dict[Ids, float] = {}
        self._url = url
        self._mine = local()

    def ask(self, errand: Errand, *, healthy: bool = False) -> Told:
        """Send an errand once."""
        if not hasattr(self._mine, "session"):
            self._mine.session = requests.Session()
            self._mine.session.trust_env = False
        told = ask(
            self._mine.session,
            self._url,
            errand.caller,
            errand.ids,
            errand.key,
            self.stack.graph.bookings,
            healthy=healthy,
        )
        self.told.append(told)
        return told

    def insist(self, errand: Errand) -> None:
        """Send an errand, and again as long as the answer asks for it."""
        for _ in range(TRIES):
            wait_s = self.ask(errand).retry_after_s
            if wait_s is None:
                return
            time.sleep(
                min(LONGEST_WAIT_S, wait_s)
            )  # the manners of a caller, not the synchronisation of a test

    def settle(self, errand: Errand) -> None:
        """Send an errand until it ends, now that there are no faults.

        It ends at the latest when a lease that somebody lost is over.
        """
        give_up_at = time.monotonic() + 40
        while self.ask(errand, healthy=True).status != 200 and time.monotonic() < give_up_at:
            time.sleep(LONGEST_WAIT_S)

    def book(self, ids: Ids) -> None:
        """Book an appointment that never was."""
        times = "2027-06-01T09:00:00.0000000Z", "2027-06-01T10:00:00.0000000Z"
        self.booked[ids] = time.time()
        self.stack.graph.bookings.add(
            seed.Appointment(
                ids.appointment_id, ids.business_id, "Test", "C", "customer@contoso.com", *times
            )
        )

    def rage(self, *, on: bool) -> None:
        """Begin or end the storm."""
        self.storm.rages = self.authority.rages = on


@contextmanager
def chaos(environment: Mapping[str, str], chosen: str) -> Iterator[tuple[Chaos, HostProcess]]:
    authorities: list[StormyAuthority] = []

    def make() -> StormyAuthority:
        authorities.append(StormyAuthority())
        return authorities[-1]

    settings = {
        "REQUEST_DEADLINE_SECONDS": str(DEADLINE_S),
        "MAX_CONCURRENCY": str(THREADS),
        **environment,
    }
    with patch("infra.local.stack.LocalAuthority", make), LocalStack() as stack:
        storm = Storm(chosen)
        stack.graph.faults = storm
        with HostProcess(REPOSITORY, {**stack.environment, **settings}) as host:
            yield Chaos(stack, storm, authorities[0], host.url), host


def people(stack: LocalStack, number: int) -> list[Caller]:
    ids = [f"00000000-0000-4000-8000-{n:012d}" for n in range(number)]
    return [
        Caller(one, stack.entra.user_token(seed.User(one, f"user{n}@contoso.com", f"User {n}")))
        for n, one in enumerate(ids)
    ]


def plan(world: Chaos, cases: int, chance: random.Random) -> list[Errand]:
    """Make businesses, appointments and errands.

    Of ten cases about eight stand, one never did, and one is not this user's to see. Most have
    duplicates.
    """
    callers = people(world.stack, 24)
    businesses = [
        seed.Business(
            f"chaos{n}@contoso.com",
            "Chaos",
            frozenset(c.object_id for c in chance.sample(callers, 12)),
        )
        for n in range(32)
    ]
    for business in businesses:
        world.stack.graph.bookings.add_business(business)
    errands: list[tuple[float, Errand]] = []
    for case in range(cases):
        business = chance.choice(businesses)
        kind = chance.choices(["stands", "never was", "not seen"], [80, 10, 10])[0]
        ids = Ids(business.business_id, f"AAMk/chaos+{case:05d}=")
        if kind != "never was":
            world.book(ids)
        caller, other = chance.sample(
            [c for c in callers if (c.object_id in business.staff) == (kind != "not seen")], 2
        )
        key = chance.choice([None, f"key-{case}", f'"quoted key {case}"'])
        senders = [Errand(caller, ids, key)]
        senders += [
            chance.choice(
                [
                    senders[0],
                    Errand(caller, ids, None),
                    Errand(caller, ids, f"another-{case}-{n}"),
                    Errand(other, ids, key),
                ]
            )
            for n in range(chance.choices([0, 1, 2, 3], [25, 40, 25, 10])[0])
        ]
        errands += [(case + chance.uniform(0, 12), sender) for sender in senders]
    return [errand for _, errand in sorted(errands, key=lambda one: one[0])]


def everybody[T](work: Callable[[T], object], what: Sequence[T]) -> None:
    with ThreadPoolExecutor(CALLERS) as pool:
        for done in [pool.submit(work, one) for one in what]:
            done.result()


@pytest.mark.parametrize("store", ["table", "memory"])
def test_in_a_storm_of_faults_nobody_is_told_anything_untrue_and_no_second_mail_is_sent(
    store: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """64 callers, and a fault at every tenth appointment at least.

    Every answer is of the contract, in time and true. What stayed open ends true afterwards.
    """
    chosen = os.environ.get("CHAOS_SEED") or secrets.token_hex(4)
    cases = int(os.environ.get("CHAOS_CASES") or CASES[store])
    environment = {}
    if store == "table":
        emulator: Azurite = request.getfixturevalue("azurite")
        environment = {
            "IDEMPOTENCY_STORE": "table",
            "IDEMPOTENCY_TABLE_CONNECTION_STRING": emulator.connection_string,
            "IDEMPOTENCY_TABLE_NAME": f"t{secrets.token_hex(8)}",
        }
    with chaos(environment, chosen) as (world, host):
        errands = plan(world, cases, random.Random(chosen))
        for caller in {errand.caller for errand in errands}:
            world.ask(Errand(caller, Ids("chaos0@contoso.com", "AAMkwarm="), None))
        world.rage(on=True)
        started = time.monotonic()
        everybody(world.insist, errands)
        took_s = time.monotonic() - started
        world.rage(on=False)
        last = {(told.caller, told.ids, told.key): told for told in world.told}
        open_ends = [
            errand
            for errand in dict.fromkeys(errands)
            if last[errand.caller.object_id, errand.ids, errand.key].status != 200
        ]
        everybody(world.settle, open_ends)
        missed = {
            errand.ids: Errand(errand.caller, errand.ids, None)
            for errand in errands
            if errand.ids not in world.booked
        }
        for ids in missed:  # an answer from before the appointment existed must not be repeated now
            world.book(ids)
        everybody(world.settle, list(missed.values()))
        truth = Truth.of(world.stack.graph.bookings, world.booked, world.storm.calls)
        violations = judge(
            world.told,
            truth,
            within_s=DEADLINE_S + MARGIN_S,
            recorded="event=store_unavailable" not in host.output(),
        )
        with capsys.disabled():
            report(
                f"{store} CHAOS_SEED={chosen} cases={cases}",
                world,
                took_s,
                len(open_ends),
                len(missed),
                host.output(),
                violations,
            )
        assert not violations, f"CHAOS_SEED={chosen}\n{tell(violations)}"
        assert len(world.storm.struck) > (len(_CANCEL_LETTERS) + len(_LOOK_LETTERS)) / 2
        assert {"cancelled", "not_found", "outcome_unknown"} <= {told.code for told in world.told}


def report(
    title: str,
    world: Chaos,
    took_s: float,
    open_ends: int,
    booked_afterwards: int,
    printed: str,
    violations: Sequence[Violation],
) -> None:
    slowest = max(told.answered_at - told.asked_at for told in world.told)
    calls = Counter(call.step for call in world.storm.calls)
    print(  # noqa: T201
        f"\nchaos store={title} callers={CALLERS} requests={len(world.told)} seconds={took_s:.1f} "
        f"cancels={calls['cancel']} looks={calls['get']} struck={world.storm.struck.total()} "
        f"letters={len(world.storm.struck)}"
        f"/{len(_CANCEL_LETTERS) + len(_LOOK_LETTERS)} handshakes_broken={world.authority.broken} "
        f"slowest={slowest:.2f}s "
        f"answers={dict(Counter(told.code for told in world.told).most_common())} "
        f"replayed={sum(bool(t.members.get('replayed')) for t in world.told)} "
        f"left_open={open_ends} booked_afterwards={booked_afterwards} "
        f"mails={len(world.stack.graph.bookings.outbox)} "
        f"store_unavailable={printed.count('event=store_unavailable')} "
        f"violations={len(violations)}"
    )
