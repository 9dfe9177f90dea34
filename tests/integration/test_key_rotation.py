"""Signing keys in the long run.

Real tokens, the published key sets over TLS, and a clock that the test moves.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import pytest

from infra.local import seed
from infra.local.faults import Fault
from infra.local.stack import LocalStack
from shared.errors import TokenRejected, UpstreamUnavailable
from shared.identity.key_sets import fetch_signing_keys
from shared.identity.proved import ProvedCallers
from shared.identity.signing_keys import SigningKeys
from shared.services import caller_rules
from shared.settings import Settings
from shared.transport.channel import Channel
from shared.transport.connections import open_trust

THREADS = 64
HOUR_S, FIVE_MINUTES_S = 3600.0, 300.0


@dataclass
class Gate:
    """The part of the service that decides about tokens, on the test's own clock.

    It includes what the service remembers. Background work runs at once, in the foreground.
    """

    stack: LocalStack
    callers: ProvedCallers
    clock: list[float] = field(default_factory=lambda: [0.0])

    def admits(self, token: str) -> bool:
        """Whether the token proves its caller."""
        try:
            self.callers.prove(token)
        except (TokenRejected, UpstreamUnavailable):
            return False
        return True

    def key_sets_fetched(self) -> int:
        return sum(1 for request in self.stack.entra.received if request.path.endswith("/keys"))


@pytest.fixture
def gate(stack: LocalStack) -> Gate:
    clock = [0.0]
    settings = Settings.read(stack.environment)
    channel = Channel(stack.entra_url, open_trust(stack.bundle), keep=4)
    fetch = partial(fetch_signing_keys, channel, stack.entra_url, timeout_s=(2.0, 2.0))
    keys = SigningKeys(fetch, now=lambda: clock[0], run_in_background=lambda work: work())
    return Gate(stack, ProvedCallers(caller_rules(settings), keys, time.time), clock)


def test_rotation_under_load_refuses_no_valid_token(gate: Gate) -> None:
    assert gate.admits(gate.stack.entra.user_token())
    rotated = threading.Event()
    turn = threading.Barrier(THREADS)

    def use_tokens(number: int) -> list[bool]:
        turn.wait()
        if number == 0:
            gate.stack.entra.rotate_keys()
            rotated.set()
        early = [gate.admits(gate.stack.entra.user_token()) for _ in range(3)]
        rotated.wait()
        return early + [gate.admits(gate.stack.entra.user_token()) for _ in range(3)]

    with ThreadPoolExecutor(THREADS) as pool:
        admitted = [one for results in pool.map(use_tokens, range(THREADS)) for one in results]

    assert len(admitted) == THREADS * 6
    assert all(admitted)
    assert gate.key_sets_fetched() == 2


def test_a_storm_of_made_up_key_ids_costs_one_fetch_in_five_minutes(gate: Gate) -> None:
    genuine = gate.stack.entra.user_token()
    assert gate.admits(genuine)

    for storm in range(1, 4):
        forged = [
            gate.stack.entra.user_token(header={"kid": f"made-up-{storm}-{number}"})
            for number in range(THREADS * 4)
        ]
        with ThreadPoolExecutor(THREADS) as pool:
            assert not any(pool.map(gate.admits, forged))
        assert gate.admits(genuine)
        assert gate.key_sets_fetched() == 1 + storm
        gate.clock[0] += FIVE_MINUTES_S


def test_an_hour_without_published_keys_changes_nothing_for_known_ones(gate: Gate) -> None:
    genuine = gate.stack.entra.user_token(lifetime_s=2 * HOUR_S)
    assert gate.admits(genuine)
    gate.stack.entra.faults.add(
        Fault(step="discovery", status=503, times=None), Fault(step="jwks", status=503, times=None)
    )

    for _ in range(
        int(HOUR_S // 60) * 2
    ):  # two hours, so that the hourly refresh falls due and fails again and again
        gate.clock[0] += 60
        assert gate.admits(genuine)


def test_a_key_that_is_taken_back_stops_counting_with_the_next_refresh(gate: Gate) -> None:
    stolen = gate.stack.entra.user_token(lifetime_s=2 * HOUR_S)
    assert gate.admits(stolen)
    gate.stack.entra.rotate_keys(keep_old=False)

    gate.clock[0] += HOUR_S + 1
    gate.admits(gate.stack.entra.user_token())  # use after an hour refreshes

    assert not gate.admits(stolen)
    assert gate.admits(gate.stack.entra.user_token(seed.MEGAN))
