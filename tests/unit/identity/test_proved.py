"""What is remembered of a proved token, and nothing of a refused one.

It is that very token, until it ends, as long as its key is listed.
"""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.local import seed
from infra.local.entra.documents import key_set
from infra.local.entra.simulator import EntraSimulator
from shared.errors import FacadeError, TokenRejected, UpstreamUnavailable
from shared.identity import caller, proved
from shared.identity.caller import Caller, Proof, read_bearer_token
from shared.identity.key_sets import KeysUnavailable, SigningKey, read_signing_keys
from shared.identity.proved import ProvedCallers
from shared.identity.signing_keys import SigningKeys
from shared.services import caller_rules
from shared.settings import Settings
from tests.tokens import ALLOWED_CLIENTS, FORGERIES, Forger, Forgery

NOW = 1_800_000_000
HOUR_S = 3600
THREADS = 32


class Bench:
    """Entra, a forger beside it, the real holder of keys, and whoever remembers.

    The holder of keys has a clock of its own.
    """

    def __init__(self, capacity: int = 1000) -> None:
        self.time = float(NOW)
        self.entra = EntraSimulator(now=lambda: self.time)
        self.forger = Forger.beside(self.entra)
        self.fetches = 0
        self.down = False
        keys = SigningKeys(
            self._fetch, now=lambda: self.time, run_in_background=lambda work: work()
        )
        environment = {
            "TENANT_ID": seed.TENANT_ID,
            "CLIENT_ID": seed.API_CLIENT_ID,
            "CLIENT_SECRET": seed.API_CLIENT_SECRET,
        }
        rules = caller_rules(Settings.read({**environment, "ALLOWED_CLIENT_IDS": ALLOWED_CLIENTS}))
        self.callers = ProvedCallers(rules, keys, lambda: self.time, capacity)

    def _fetch(self, tenant_id: str, version: str) -> Mapping[str, SigningKey]:
        self.fetches += 1
        if self.down:
            raise KeysUnavailable("down")
        return read_signing_keys(
            key_set(self.entra.keys.published(), f"{self.entra.base_url}/{tenant_id}/v2.0", version)
        )

    def answer(self, values: Sequence[str]) -> Caller:
        return self.callers.prove(read_bearer_token(",".join(values) if values else None))


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def proofs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens that were checked in full."""
    seen: list[str] = []
    real = caller.authenticate

    def authenticate(token: str, *arguments: object) -> Proof:
        seen.append(token)
        return real(token, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(proved, "authenticate", authenticate)
    return seen


def test_a_token_proves_its_caller_once(bench: Bench, proofs: list[str]) -> None:
    token = bench.entra.user_token()
    assert bench.callers.recall(token) is None
    first = bench.callers.prove(token)
    assert [bench.callers.prove(token), bench.callers.recall(token)] == [first, first]
    assert first.assertion == token
    assert proofs == [token]


@pytest.mark.parametrize("token", ["\ud800", "a.b.\udfff", "\u00e9", "\U0001f511", "\0"])
def test_what_no_token_can_hold_is_refused_like_any_forgery(bench: Bench, token: str) -> None:
    with pytest.raises(TokenRejected, match="not a signed JWT"):
        bench.callers.prove(token)


def test_a_token_that_differs_in_any_one_character_is_a_stranger(bench: Bench) -> None:
    token = bench.entra.user_token()
    bench.callers.prove(token)
    for place in range(len(token)):
        other = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert bench.callers.recall(other) is None
    assert bench.callers.recall(token + "=") is None


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.id)
def test_what_is_refused_is_refused_again_with_its_genuine_model_remembered(
    shared_bench: Bench, forgery: Forgery
) -> None:
    values = forgery.make(shared_bench.forger)
    for _ in range(2):
        with pytest.raises(FacadeError) as caught:
            shared_bench.answer(values)
        assert isinstance(caught.value, forgery.refusal.cause)


@pytest.fixture(scope="module")
def shared_bench() -> Bench:
    bench = Bench()
    bench.callers.prove(bench.entra.user_token())
    return bench


def test_it_ends_with_the_token_to_the_second(bench: Bench) -> None:
    token = bench.entra.user_token(lifetime_s=HOUR_S)
    bench.callers.prove(token)
    bench.time = NOW + HOUR_S - 0.001
    assert bench.callers.recall(token) is not None
    bench.time = NOW + HOUR_S
    assert bench.callers.recall(token) is None
    with pytest.raises(TokenRejected, match="expired"):
        bench.callers.prove(token)


def test_a_clock_that_was_set_back_is_a_reason_to_look_again(bench: Bench) -> None:
    token = bench.entra.user_token()
    bench.callers.prove(token)
    bench.time = NOW - 3600.0
    assert bench.callers.recall(token) is None
    with pytest.raises(TokenRejected, match="not valid yet"):
        bench.callers.prove(token)


def test_a_key_that_is_taken_back_takes_its_proofs_with_it(bench: Bench) -> None:
    token = bench.entra.user_token(lifetime_s=3 * HOUR_S)
    bench.callers.prove(token)
    bench.entra.rotate_keys(keep_old=False)
    bench.time += HOUR_S + 1
    assert bench.callers.recall(token) is not None  # and the refresh that was due has been done
    assert bench.callers.recall(token) is None
    with pytest.raises(TokenRejected, match="signing key"):
        bench.callers.prove(token)


def test_another_key_under_the_same_id_proves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = bench.entra.user_token()
    bench.callers.prove(token)
    known = bench.callers.keys.known
    foreign = bench.forger.own_key.public_key

    def replaced(tenant_id: str, version: str, kid: str) -> SigningKey | None:
        key = known(tenant_id, version, kid)
        return None if key is None else SigningKey(key.kid, key.issuer, foreign)

    monkeypatch.setattr(bench.callers.keys, "known", replaced)
    assert bench.callers.recall(token) is None


def test_a_rotation_that_keeps_the_key_keeps_the_proof(bench: Bench, proofs: list[str]) -> None:
    token = bench.entra.user_token(lifetime_s=3 * HOUR_S)
    bench.callers.prove(token)
    bench.entra.rotate_keys()
    bench.time += HOUR_S + 1
    assert [bench.callers.recall(token) is not None for _ in range(3)] == [True] * 3
    assert proofs == [token]


def test_keys_that_nobody_could_list_for_a_day_prove_nothing(bench: Bench) -> None:
    token = bench.entra.user_token(lifetime_s=48 * HOUR_S)
    bench.callers.prove(token)
    bench.down = True
    bench.time += 24 * HOUR_S
    assert bench.callers.recall(token) is None
    with pytest.raises(UpstreamUnavailable):
        bench.callers.prove(token)


def test_remembering_asks_nobody(bench: Bench) -> None:
    token = bench.entra.user_token()
    bench.callers.prove(token)
    asked = bench.fetches
    assert bench.callers.recall(token) is not None
    assert bench.callers.recall(bench.entra.user_token(header={"kid": "unknown"})) is None
    assert bench.fetches == asked


def test_no_token_is_kept(bench: Bench) -> None:
    token = bench.entra.user_token()
    bench.callers.prove(token)
    (proof,) = bench.callers._proofs.values()
    assert proof.caller.assertion == ""
    assert token not in repr(bench.callers)


def test_it_is_bounded() -> None:
    bench = Bench(capacity=3)
    for _ in range(10):
        bench.callers.prove(bench.entra.user_token())
    assert len(bench.callers._proofs) == 3


def test_what_has_ended_leaves_nothing_behind(bench: Bench) -> None:
    for _ in range(5):
        bench.callers.prove(bench.entra.user_token(lifetime_s=60))
        bench.time += 61
    bench.callers.prove(bench.entra.user_token(lifetime_s=60))
    assert len(bench.callers._proofs) == 1


def test_two_users_at_once_are_never_taken_for_each_other(bench: Bench) -> None:
    tokens = {user.object_id: bench.entra.user_token(user) for user in seed.USERS}
    together = threading.Barrier(THREADS)

    def use(number: int) -> bool:
        owner = seed.USERS[number % len(seed.USERS)].object_id
        together.wait()
        return all(
            (found := bench.callers.prove(tokens[owner])).object_id == owner
            and found.assertion == tokens[owner]
            for _ in range(50)
        )

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(use, range(THREADS)))
