"""The exchange in any order.

Many users, expiries, revocations, throttles, outages, challenges and rotations, against a simulator
that shares its clock.

What is proved in every order that hypothesis finds: no answer for one user holds anything minted
for another; no token is handed out past its end or past its assertion's; Entra is never called more
than the rules allow.
"""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)

from infra.local import seed
from infra.local.entra.keys import unverified_claims
from infra.local.entra.simulator import EntraSimulator, make_signing_key
from infra.local.faults import Fault
from infra.local.server import LocalServer
from infra.local.tls import LocalAuthority
from shared.entra.graph_token import GraphToken
from shared.entra.http import EntraAnswer, EntraHttp
from shared.entra.refusals import CredentialRefused
from shared.errors import (
    AccessDenied,
    CallerNotAllowed,
    ConsentRequired,
    FacadeError,
    InteractionRequired,
    Misconfigured,
    Throttled,
    TokenRejected,
    UpstreamBroken,
    UpstreamUnavailable,
)
from shared.identity.caller import Caller
from shared.transport.connections import Trust, open_trust
from tests.property.exchanging import OTHER_TENANT, Clock, make_caller, start_worker

PEOPLE = [
    seed.User(
        f"{number:08d}-0000-4000-8000-000000000000", f"user{number}@example.com", f"User {number}"
    )
    for number in range(5)
]
REMEMBERED = (TokenRejected, InteractionRequired, ConsentRequired, CallerNotAllowed, AccessDenied)
REMEMBERED_FOR_S, RESTS_FOR_S, READ_AGAIN_AFTER_S = 3.0, 30.0, 1.0
START = 1_900_000_000.0
NO_TOKEN = GraphToken(None, "-", "of a worker that is gone")

TROUBLES: dict[str, dict[str, Any]] = {
    "throttled": {"status": 429, "headers": {"Retry-After": "20"}},
    "throttled without a word": {"status": 429, "body": "<html></html>"},
    "down": {"status": 503, "body": "<html></html>"},
    "down for a while": {"status": 503, "headers": {"Retry-After": "20"}},
    "silent": {"drop": True},
    "silent after the effect": {"drop": True, "when": "after"},
    "unreadable": {"status": 200, "body": "<html></html>"},
    "a success that asks to wait": {"headers": {"Retry-After": "20"}},
}


@dataclass(frozen=True)
class Call:
    """One request to Entra: for whose assertion, with which secret, and what came of it.

    ``token`` and ``lifetime_s`` are Entra's.
    """

    assertion: str = field(repr=False)
    secret: str
    error: FacadeError | None = None
    token: str | None = field(default=None, repr=False)
    lifetime_s: float = 0.0


class RecordingHttp(EntraHttp):
    """Keeps what was asked and answered."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.calls: list[Call] = []

    def post(self, url: str, **request: Any) -> EntraAnswer:
        asked = (request["data"]["assertion"], request["data"]["client_secret"])
        try:
            answer = super().post(url, **request)
        except FacadeError as error:
            self.calls.append(Call(*asked, error))
            raise
        body = json.loads(answer.text)
        self.calls.append(Call(*asked, None, body["access_token"], float(body["expires_in"])))
        return answer


@dataclass
class Served:
    """What all runs share: the simulator, a connection to it, a clock, and keys to sign with."""

    entra: EntraSimulator
    trust: Trust
    clock: Clock
    keys: list[Any]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    clock = Clock(START)
    authority, entra = (
        LocalAuthority(),
        EntraSimulator(now=clock.now, tenant_ids=(seed.TENANT_ID, OTHER_TENANT)),
    )
    bundle = authority.write_bundle(tmp_path_factory.mktemp("tls") / "ca.pem")
    trust = open_trust(bundle)
    with LocalServer(entra.app, tls=authority.server_context()) as server:
        entra.base_url = server.url
        yield Served(
            entra, trust, clock, [entra.current_key, make_signing_key(), make_signing_key()]
        )


class ExchangeMachine(RuleBasedStateMachine):
    """The exchange beside a model of what it may do."""

    shared: ClassVar[Served]
    callers = Bundle("callers")
    people = st.sampled_from(PEOPLE)

    def __init__(self) -> None:
        super().__init__()
        served = self.shared
        self.entra, self.clock, self.keys = served.entra, served.clock, served.keys
        self.entra.reset()
        self.entra.endpoint.cae_lifetime_s = 86400.0
        self.entra.rotate_keys(self.keys[0], keep_old=False)
        environment = {
            "TENANT_ID": seed.TENANT_ID,
            "CLIENT_ID": seed.API_CLIENT_ID,
            "CLIENT_SECRET": seed.API_CLIENT_SECRET,
            "ENTRA_AUTHORITY_HOST": self.entra.base_url,
        }
        self.http: RecordingHttp

        def record(*args: Any) -> RecordingHttp:
            self.http = RecordingHttp(*args)
            return self.http

        self.worker = start_worker(environment, served.trust, clock=self.clock, http=record)
        self.minted_for: dict[str, str] = {}
        self.kept: dict[str, tuple[str, float]] = {}
        self.refused: dict[str, tuple[FacadeError, float]] = {}
        self.given: dict[str, list[GraphToken]] = {}
        # Whose latest answer of Entra came instead of a token that Graph refused.
        self.replaced: set[str] = set()
        self.rests_until: float | None = None
        self.rests_with = ""
        self.last_turned_away = -1.0
        self.secrets = 0

    # The world

    @initialize(target=callers)
    def some_are_there(self) -> MultipleResults[Caller]:
        return multiple(
            *(
                make_caller(self.entra, person, lifetime_s=lifetime_s)
                for person in PEOPLE[:3]
                for lifetime_s in (600, 200_000)
            )
        )

    @rule(
        target=callers,
        person=people,
        lifetime_s=st.sampled_from([20, 600, 4000, 200_000, 200_000]),
        tenant=st.sampled_from([seed.TENANT_ID, seed.TENANT_ID, OTHER_TENANT]),
        version=st.sampled_from(["1.0", "2.0"]),
        shows=st.sampled_from([{}, {"amr": ["pwd", "mfa"]}, {"acrs": ["c1"]}]),
    )
    def sign_in(
        self, person: seed.User, lifetime_s: float, tenant: str, version: str, shows: dict[str, Any]
    ) -> Caller:
        return make_caller(
            self.entra,
            person,
            lifetime_s=lifetime_s,
            tenant_id=tenant,
            version=version,
            claims=shows,
        )

    @rule(seconds=st.sampled_from([2.5, 10.0, 30.0, 300.0, 3500.0, 90_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.turn(seconds)

    @rule(
        person=people,
        turn=st.sampled_from(
            [
                "disable_user",
                "enable_user",
                "revoke_sessions",
                "revoke_consent",
                "grant_consent",
                "clear_mfa",
            ]
        ),
    )
    def standing_changes(self, person: seed.User, turn: str) -> None:
        getattr(self.entra, turn)(person)

    @rule(
        person=people,
        claims=st.sampled_from([None, '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}']),
    )
    def more_is_demanded(self, person: seed.User, claims: str | None) -> None:
        self.entra.require_mfa(person, claims)

    @rule(
        person=people,
        code=st.sampled_from(
            [50013, 53003, 53004, 65001, 90033, 90055, 50196, 50000, 500011, 7000222]
        ),
        times=st.integers(1, 3),
    )
    def a_refusal_is_ordered(self, person: seed.User, code: int, times: int) -> None:
        self.entra.refuse(person, code, times=times)

    @rule(person=people, trouble=st.sampled_from(sorted(TROUBLES)), times=st.integers(1, 3))
    def trouble_comes(self, person: seed.User, trouble: str, times: int) -> None:
        self.entra.faults.add(
            Fault(step="token", match={"user": person.object_id}, times=times, **TROUBLES[trouble])
        )

    @rule()
    def trouble_ends(self) -> None:
        self.entra.faults.clear()
        self.entra.clear_refusals()

    @rule(lifetime_s=st.sampled_from([5.0, 60.0, 3600.0, 86400.0]))
    def tokens_live_longer_or_shorter(self, lifetime_s: float) -> None:
        self.entra.endpoint.cae_lifetime_s = lifetime_s

    @rule(number=st.integers(0, 2), keep_old=st.booleans())
    def signing_keys_rotate(self, number: int, keep_old: bool) -> None:
        self.entra.rotate_keys(self.keys[number], keep_old=keep_old)

    @rule(at_entra=st.booleans(), in_settings=st.booleans())
    def the_secret_rotates(self, at_entra: bool, in_settings: bool) -> None:
        """On both sides, or one side lags behind until ``the_secret_arrives``."""
        self.secrets += 1
        secret = f"secret {self.secrets}"
        if at_entra:
            self.entra.set_client_secret(secret)
        if in_settings:
            self.worker.environment["CLIENT_SECRET"] = secret

    @rule()
    def the_secret_arrives(self) -> None:
        self.entra.set_client_secret(self.worker.environment["CLIENT_SECRET"])

    # The service

    @rule(several=st.lists(callers, min_size=1, max_size=8))
    def exchange(self, several: list[Caller]) -> None:
        for caller in several:
            self.ask(caller, None)

    @rule(
        several=st.lists(callers, min_size=1, max_size=8),
        seconds=st.sampled_from([0.4, 1.0, 3.0, 30.0]),
    )
    def exchange_as_time_passes(self, several: list[Caller], seconds: float) -> None:
        for caller in several:
            self.ask(caller, None)
            self.clock.turn(seconds)

    @rule(
        caller=callers,
        what=st.sampled_from(["entry", "token", "assertion"]),
        seconds=st.sampled_from([-0.5, 0.0, 0.5]),
    )
    def exchange_near_an_end(self, caller: Caller, what: str, seconds: float) -> None:
        self.ask(caller, None)
        if what == "assertion":
            ends_at = caller.expires_at
        elif caller.assertion in self.kept:
            token, entry_ends_at = self.kept[caller.assertion]
            ends_at = (
                entry_ends_at if what == "entry" else float(str(unverified_claims(token)["exp"]))
            )
        else:
            return
        self.clock.time = max(self.clock.time, ends_at + seconds)
        self.ask(caller, None)

    @rule(
        several=st.lists(callers, min_size=1, max_size=3),
        wanted=st.sampled_from(
            [
                None,
                '"nbf":{"essential":true,"value":"1"}',
                '"acrs":{"essential":true,"value":"c1"}',
            ]
        ),
        ago=st.integers(1, 3),
        times=st.integers(1, 3),
    )
    def graph_refuses(
        self, several: list[Caller], wanted: str | None, ago: int, times: int
    ) -> None:
        """Graph refuses a token that was given a while ago; several requests meet that."""
        claims = None if wanted is None else f'{{"access_token":{{{wanted}}}}}'
        for caller in several:
            given = self.given.get(caller.assertion, [NO_TOKEN])
            refused = given[-min(ago, len(given))]
            for _ in range(times):
                self.ask(caller, claims, refused)

    @rule(
        caller=callers, owner=people, tenant=st.sampled_from([None, seed.TENANT_ID, OTHER_TENANT])
    )
    def an_answer_goes_astray(self, caller: Caller, owner: seed.User, tenant: str | None) -> None:
        """The answer to this caller is something that Entra minted for somebody else.

        Or for the same person elsewhere.
        """
        if tenant is not None:
            owner = next(person for person in PEOPLE if person.object_id == caller.object_id)
        tenant = tenant or caller.tenant_id
        if (owner.object_id, tenant) != (caller.object_id, caller.tenant_id):
            body = {
                "token_type": "Bearer",
                "expires_in": 3600,
                "access_token": self.entra.graph_token(owner, tenant_id=tenant),
                "id_token": self.entra.id_token(owner, tenant_id=tenant),
            }
            self.entra.faults.add(
                Fault(step="token", match={"user": caller.object_id}, status=200, body=body)
            )
        self.ask(caller, None, self.given.get(caller.assertion, [NO_TOKEN])[-1])

    def drop(self, caller: Caller) -> None:
        self.kept.pop(caller.assertion, None)
        self.refused.pop(caller.assertion, None)
        self.replaced.discard(caller.assertion)

    def ask(self, caller: Caller, claims: str | None, refused: GraphToken | None = None) -> None:
        started, made, received = self.clock.time, len(self.http.calls), self.entra.exchanges()
        token, error = None, None
        try:
            token = self.worker.exchange(caller, refused=refused, claims=claims)
        except FacadeError as caught:
            error = caught
        calls = self.http.calls[made:]
        assert self.entra.exchanges() - received == len(calls)
        self.check_calls(caller, calls)
        if token is not None:
            self.check_token(caller, token, calls)
            assert token != refused, "what Graph refused is not given again"
            self.given.setdefault(caller.assertion, []).append(token)
        if not self.check_silence(caller, refused, started, token, error, calls):
            self.learn(caller, started, token, error, calls)
        if refused is not None:
            self.replaced.add(caller.assertion)

    def check_calls(self, caller: Caller, calls: list[Call]) -> None:
        """At most one repeat after a passing trouble.

        And one more round with a credential that has just changed.
        """
        assert len(calls) <= 4
        for call in calls:
            assert call.assertion == caller.assertion
            if call.token is not None:
                self.minted_for.setdefault(call.token, caller.assertion)
        for before, after in itertools.pairwise(calls):
            if after.secret == before.secret:
                assert type(before.error) is UpstreamUnavailable
            else:
                assert type(before.error) is CredentialRefused
        for first, third in zip(calls, calls[2:], strict=False):
            assert first.secret != third.secret, "only one repeat"

    def check_token(self, caller: Caller, token: GraphToken, calls: list[Call]) -> None:
        minted = unverified_claims(token.value)
        assert (
            (minted["oid"], minted["tid"])
            == (caller.object_id, caller.tenant_id)
            == (token.object_id, token.tenant_id)
        )
        assert self.minted_for[token.value] == caller.assertion, (
            "made for this very sign-in, not only for this user"
        )
        assert self.clock.time < float(str(minted["exp"]))
        assert self.clock.time < caller.expires_at
        if calls:
            assert calls[-1].token == token.value

    def check_silence(
        self,
        caller: Caller,
        graph_refused: GraphToken | None,
        started: float,
        token: GraphToken | None,
        error: FacadeError | None,
        calls: list[Call],
    ) -> bool:
        """Check where Entra must not be asked; return whether this was such a case."""
        asked = graph_refused is None or caller.assertion in self.replaced
        if (
            asked
            and caller.assertion in self.kept
            and started < self.kept[caller.assertion][1]
            and (graph_refused is None or self.kept[caller.assertion][0] != graph_refused.value)
        ):
            assert calls == []
            assert token is not None
            assert token.value == self.kept[caller.assertion][0]
            return True
        if (
            asked
            and caller.assertion in self.refused
            and started < self.refused[caller.assertion][1]
        ):
            assert calls == []
            remembered = self.refused[caller.assertion][0]
            assert (type(error), vars(error)) == (type(remembered), vars(remembered))
            return True
        self.drop(caller)
        if started >= caller.expires_at:
            assert calls == []
            assert type(error) is TokenRejected
            self.refused[caller.assertion] = (error, started + REMEMBERED_FOR_S)
            return True
        if self.rests_until is None or started >= self.rests_until:
            assert calls, "a miss is asked about"
            return False
        if self.worker.environment["CLIENT_SECRET"] == self.rests_with or not calls:
            assert calls == []
            assert type(error) is CredentialRefused
            assert error.upstream is not None
            assert error.upstream.request_id is None
            if self.worker.environment["CLIENT_SECRET"] != self.rests_with:
                assert started < self.last_turned_away + READ_AGAIN_AFTER_S, (
                    "a changed secret is noticed within a second"
                )
            self.last_turned_away = started
            return True
        self.rests_until = None  # the changed secret does not count for the one before
        return False

    def learn(
        self,
        caller: Caller,
        started: float,
        token: GraphToken | None,
        error: FacadeError | None,
        calls: list[Call],
    ) -> None:
        """Note what Entra's answer changes.

        Checks that an error is the one that Entra gave to this caller.
        """
        last = calls[-1]
        if isinstance(error, CredentialRefused):
            assert last.error is error
            self.rests_until = self.clock.time + RESTS_FOR_S
            self.rests_with = self.worker.environment["CLIENT_SECRET"]
            return
        if last.error is not None:
            assert error is last.error
        if last.error is None or not isinstance(
            error, Misconfigured | Throttled | UpstreamBroken | UpstreamUnavailable
        ):
            self.rests_until = None
        elif self.rests_until is not None:
            self.rests_until = started + RESTS_FOR_S
        if isinstance(error, REMEMBERED):
            self.refused[caller.assertion] = (error, self.clock.time + REMEMBERED_FOR_S)
        if token is not None:
            ends_at = started + last.lifetime_s - min(300.0, last.lifetime_s / 10)
            self.kept[caller.assertion] = (token.value, min(ends_at, caller.expires_at))


@pytest.mark.timeout(300)
def test_in_any_order_nothing_crosses_nothing_outlives_its_end_and_entra_is_not_asked_too_often(
    served: Served,
) -> None:
    class Machine(ExchangeMachine):
        shared = served

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=100,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
