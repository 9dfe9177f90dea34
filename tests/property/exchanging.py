"""The exchange, for tests.

Validated callers, a clock to turn, and an ``OnBehalfOf`` put together as in production that talks
to a running simulator.
"""

import re
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from infra.local import seed
from infra.local.entra.keys import unverified_claims
from infra.local.entra.simulator import EntraSimulator
from infra.local.faults import Fault
from shared.entra import exchange_cache
from shared.entra.app_only import AppOnly
from shared.entra.client import EntraClient
from shared.entra.credentials import Credential, load_credential
from shared.entra.exchange_cache import ExchangeCache
from shared.entra.graph_token import GraphToken
from shared.entra.http import EntraHttp
from shared.entra.on_behalf_of import OnBehalfOf
from shared.errors import FacadeError
from shared.identity.caller import Caller, fingerprint
from shared.settings import Settings
from shared.transport.channel import Channel
from shared.transport.connections import Trust
from shared.transport.deadline import Deadline
from shared.transport.waiting import Waiting

OTHER_TENANT = "0e9f6d1c-2f0b-4a3a-9a55-3a7cf3c6c9b1"
THREADS = 64
PATIENCE_S = 60.0
DESCRIPTION = (
    "AADSTS50000: adele@M365B489948.onmicrosoft.com of Contoso must not be told of.\r\nTrace ID: 0"
)
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{8,}")


class Clock:
    """Time and chance of one worker.

    Only ``sleep`` and ``turn`` move it; ``slept`` are the pauses, in seconds.
    """

    def __init__(self, starts_at: float | None = None) -> None:
        self.time = time.time() if starts_at is None else starts_at
        self.slept: list[float] = []
        self.chance = 0.5

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    def random(self) -> float:
        return self.chance

    def turn(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class Worker:
    """One worker of the service, as far as the exchange goes.

    ``environment`` may change while it runs, as app settings do.
    """

    tokens: OnBehalfOf
    app_only: AppOnly
    clock: Clock
    environment: dict[str, str] = field(repr=False)

    def exchange(
        self,
        caller: Caller,
        *,
        within_s: float = 10.0,
        refused: GraphToken | None = None,
        claims: str | None = None,
    ) -> GraphToken:
        return self.tokens.exchange(
            caller,
            Deadline(self.clock.now() + within_s, self.clock.now),
            refused=refused,
            claims=claims,
        )

    def refusal(
        self,
        caller: Caller,
        *,
        within_s: float = 10.0,
        refused: GraphToken | None = None,
        claims: str | None = None,
    ) -> FacadeError:
        """Let an exchange fail, and return why."""
        with pytest.raises(FacadeError) as caught:
            self.exchange(caller, within_s=within_s, refused=refused, claims=claims)
        return caught.value


def start_worker(
    environment: Mapping[str, str],
    trust: Trust,
    *,
    clock: Clock | None = None,
    load: Callable[[], Credential] | None = None,
    http: Callable[[Channel, str, Callable[[], float]], Any] = EntraHttp,
) -> Worker:
    """Put the exchange together as ``services.py`` does.

    ``load`` and ``http`` replace its parts.
    """
    changeable = dict(environment)
    clock = clock or Clock()
    settings = Settings.read(changeable)
    channel = Channel(settings.entra_authority_host, trust, keep=64)
    entra = EntraClient(
        settings.client_id,
        settings.entra_authority_host,
        load or (lambda: load_credential(Settings.read(changeable))),
        http(channel, settings.tenant_id, clock.now),
        Waiting(clock.now, clock.sleep, clock.random),
    )
    cache: ExchangeCache[GraphToken] = ExchangeCache(capacity=1000, now=clock.now)
    tokens = OnBehalfOf(entra, settings.graph_scope_uri, cache, clock.now)
    own: ExchangeCache[GraphToken] = ExchangeCache(capacity=1, now=clock.now)
    app_only = AppOnly(entra, settings.tenant_id, settings.graph_default_scope_uri, own)
    return Worker(tokens, app_only, clock, changeable)


def make_caller(entra: EntraSimulator, user: seed.User = seed.ADELE, **token: Any) -> Caller:
    """Return a caller with a token of their own, as ``caller.py`` would prove it."""
    assertion = entra.user_token(user, **token)
    claims = unverified_claims(assertion)
    return Caller(
        tenant_id=str(claims["tid"]),
        object_id=str(claims["oid"]),
        client_id=str(claims.get("azp", claims.get("appid"))),
        expires_at=float(str(claims["exp"])),
        can_answer_challenges=True,
        assertion=assertion,
        fingerprint=fingerprint(assertion),
    )


def owner_of(token: GraphToken) -> str:
    """Return the user in the token itself, whatever the exchange says of it."""
    return str(unverified_claims(token.value)["oid"])


def entra_says(
    status: int,
    error: str | None = None,
    *,
    code: int | None = None,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Fault:
    """Return the fault of an answer in Entra's words, with a description that nobody may repeat."""
    body: dict[str, Any] = {
        "error_description": DESCRIPTION,
        "trace_id": "b1f4-trace",
        "correlation_id": "c2e5-correlation",
        **members,
    }
    if error is not None:
        body["error"] = error
    if code is not None:
        body["error_codes"] = [code]
    return Fault(step="token", status=status, body=body, headers=headers or {}, times=None)


def endings(work: Callable[[int], object], threads: int = THREADS) -> list[object]:
    """Run ``work`` on many threads that start together.

    Returns what each returned, or the error it met.
    """
    start = threading.Barrier(threads)

    def one(number: int) -> object:
        start.wait(PATIENCE_S)
        try:
            return work(number)
        except FacadeError as error:
            return error

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(threads)))


@contextmanager
def gate_for_all_but_one(
    monkeypatch: pytest.MonkeyPatch, threads: int = THREADS
) -> Iterator[threading.Event]:
    """Yield a gate that opens when all threads but one wait for the exchange of another."""
    joined, gate = threading.Semaphore(0), threading.Event()

    class WatchedEvent(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            joined.release()
            return super().wait(timeout)

    def open_the_gate() -> None:
        for _ in range(threads - 1):
            if not joined.acquire(timeout=PATIENCE_S):
                return
        gate.set()

    monkeypatch.setattr(exchange_cache, "Event", WatchedEvent)
    opener = threading.Thread(target=open_the_gate, daemon=True)
    opener.start()
    yield gate
    opener.join(PATIENCE_S)


def everything_said(error: BaseException) -> str:
    """Return all that an error tells by itself: its text, its arguments and its data."""
    return (
        f"{error} {error!r} {error.args!r} {vars(error)!r} "
        f"{''.join(traceback.format_exception_only(error))}"
    )


def assert_keeps_quiet(
    caplog: pytest.LogCaptureFixture, *errors: BaseException, also: tuple[str, ...] = ()
) -> None:
    """Check that no secret is repeated, neither in the log, on any level, nor in an error.

    Nor is a token, or a word of a description.
    """
    said = " ".join(
        (
            caplog.text,
            *(str(vars(record)) for record in caplog.records),
            *(everything_said(error) for error in errors),
        )
    )
    for forbidden in (seed.API_CLIENT_SECRET, "Contoso must not be told", "Trace ID", *also):
        assert forbidden not in said, forbidden
    assert not _JWT.search(said)
