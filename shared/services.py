"""The composition root: builds everything once per worker, on first use, from the settings.

Owns who is given what. Importing it builds nothing and reads no environment.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from shared.entra.client import EntraClient
from shared.entra.credentials import load_credential
from shared.entra.exchange_cache import ExchangeCache
from shared.entra.graph_token import GraphToken
from shared.entra.http import EntraHttp
from shared.entra.on_behalf_of import OnBehalfOf
from shared.errors import Misconfigured
from shared.graph.calls import Graph
from shared.graph.client import GraphClient
from shared.identity.caller import Caller, CallerRules, read_bearer_token
from shared.identity.key_sets import fetch_signing_keys
from shared.identity.proved import ProvedCallers
from shared.identity.signing_keys import FetchKeys, SigningKeys
from shared.records.memory_store import MemoryStore
from shared.records.rules import IdempotencyStore
from shared.settings import Settings, TelemetrySettings
from shared.telemetry.journal import OFF, Journal, Telemetry, pseudonym
from shared.transport.channel import Channel
from shared.transport.connections import Trust, open_trust
from shared.transport.deadline import Deadline
from shared.transport.waiting import Waiting

if TYPE_CHECKING:
    from shared.entra.app_only import AppOnly
    from shared.identity.webhooks import WebhookVerifier

# To connect, and in all. A first load is two documents: both have to fit into one deadline.
_KEYS_TIMEOUT_S = (2.0, 2.5)
_CACHED_EXCHANGES = 20_000
_RESERVE_S = 0.5


@dataclass(frozen=True, slots=True)
class Webhooks:
    """What requests without a user need.

    It is for them alone: nothing that acts for a user may touch ``tokens``.
    """

    verifier: "WebhookVerifier"
    tokens: "AppOnly"


@dataclass(frozen=True, slots=True)
class Services:
    """What a request needs; shared by all threads of a worker.

    ``webhooks`` is None unless a key for them is set.

    ``doorkeepers`` prove callers, ``threads`` carry work out: slow upstreams must not keep a new
    caller from being looked at. ``prepare`` is what the first request would wait for.
    """

    settings: Settings
    callers: ProvedCallers
    tokens: OnBehalfOf
    webhooks: Webhooks | None
    graph: Graph
    records: IdempotencyStore
    waiting: Waiting
    telemetry: Telemetry
    doorkeepers: ThreadPoolExecutor
    threads: ThreadPoolExecutor
    prepare: Sequence[Callable[[], object]]

    @property
    def authorization_uri(self) -> str:
        """Where a caller of the home tenant signs in; challenges name it."""
        return (
            f"{self.settings.entra_authority_host}/{self.settings.tenant_id}/oauth2/v2.0/authorize"
        )

    def deadline(self, within_s: float, arrived_at: float) -> Deadline:
        """Return the deadline of one request.

        It ends a little before the caller's patience does, so that an answer is written in time.
        ``within_s`` bounds that patience, in seconds. ``arrived_at`` is the moment of the monotonic
        clock at which it began.
        """
        patience_s = min(within_s, self.settings.request_deadline_seconds) - _RESERVE_S
        return Deadline(arrived_at + patience_s, time.monotonic)

    def warm(self) -> None:
        """Start what the first request will want, in the background.

        That is published keys, MSAL's application, a connection to Graph, and a token and a
        connection for records in a table. Nobody waits for it, and nothing is raised.
        """
        self.callers.keys.warm(self.settings.tenant_id, "2.0")
        with contextlib.suppress(
            RuntimeError
        ):  # no thread is free: then the first request does it itself
            for prepare in self.prepare:
                self.doorkeepers.submit(prepare)

    def prove_user(self, authorization: str | None, journal: Journal) -> Caller:
        """Return the person behind a request.

        Errors: those of ``read_bearer_token`` and ``authenticate``.
        """
        return _noted(self.callers.prove(read_bearer_token(authorization)), journal)

    def recall_user(self, authorization: str | None, journal: Journal) -> Caller | None:
        """Return the person behind a request if their token was proved before.

        It answers at once, without a trip. Errors: those of ``read_bearer_token``.
        """
        caller = self.callers.recall(read_bearer_token(authorization))
        return None if caller is None else _noted(caller, journal)


def _noted(caller: Caller, journal: Journal) -> Caller:
    journal.note(
        tenant=caller.tenant_id,
        client=caller.client_id,
        caller=pseudonym(caller.tenant_id, caller.object_id),
        acting="user",
    )
    return caller


def start_telemetry(environment: Mapping[str, str]) -> Telemetry:
    """Start what TELEMETRY asks for; OpenTelemetry is imported only then.

    Errors: Misconfigured, naming the setting at fault.
    """
    settings = TelemetrySettings.read(environment)
    if settings.telemetry == "off":
        return OFF
    from shared.telemetry.exporters import open_telemetry

    return open_telemetry(settings, environment)


def build_services(environment: Mapping[str, str], telemetry: Telemetry = OFF) -> Services:
    """Build everything; opens no connection. Errors: Misconfigured, naming the setting at fault.

    ``environment`` is read again when Entra refuses the credential, so that a rotated one is picked
    up.
    """
    settings = Settings.read(environment)
    waiting = Waiting()
    trust = open_trust(settings.ca_bundle)
    entra = Channel(settings.entra_authority_host, trust, keep=settings.max_concurrency)
    http = EntraHttp(entra, settings.tenant_id, waiting.now)
    fetch_keys: FetchKeys = partial(
        fetch_signing_keys, entra, settings.entra_authority_host, timeout_s=_KEYS_TIMEOUT_S
    )
    root = f"/{settings.graph_api_version}"
    channel = Channel(settings.graph_endpoint, trust, keep=settings.max_concurrency)
    graph: Graph = GraphClient(channel, root, telemetry.tracing.headers)
    records, prepare_records = _open_records(settings, waiting, trust)
    if telemetry is not OFF:  # without telemetry the wrappers are not even imported
        from shared.instrumented import (
            InstrumentedEntraHttp,
            InstrumentedGraph,
            InstrumentedStore,
            instrumented_fetch,
        )

        http = InstrumentedEntraHttp(
            entra, settings.entra_authority_host, settings.tenant_id, waiting.now, telemetry
        )
        fetch_keys = instrumented_fetch(fetch_keys, telemetry)
        literals = len(settings.bookings_segments)
        graph = InstrumentedGraph(
            graph, f"{settings.graph_endpoint}{root}", telemetry, literals=literals
        )
        records = InstrumentedStore(records, telemetry)
    client = EntraClient(
        settings.client_id,
        settings.entra_authority_host,
        lambda: load_credential(Settings.read(environment)),
        http,
        waiting,
    )
    keys = SigningKeys(fetch_keys)
    exchanges = _open_exchanges(_CACHED_EXCHANGES, waiting, telemetry)
    return Services(
        settings=settings,
        callers=ProvedCallers(caller_rules(settings), keys, waiting.now, _CACHED_EXCHANGES),
        tokens=OnBehalfOf(client, settings.graph_scope_uri, exchanges, waiting.now),
        webhooks=_open_webhooks(settings, client, waiting, telemetry),
        graph=graph,
        records=records,
        waiting=waiting,
        telemetry=telemetry,
        doorkeepers=ThreadPoolExecutor(
            max_workers=settings.max_concurrency, thread_name_prefix="doorkeeper"
        ),
        threads=ThreadPoolExecutor(
            max_workers=settings.max_concurrency, thread_name_prefix="facade"
        ),
        prepare=(partial(client.warm, settings.tenant_id), channel.warm, *prepare_records),
    )


def caller_rules(settings: Settings) -> CallerRules:
    """Return what a token must say: each audience with and without a slash at its end."""
    bare = {audience.rstrip("/") for audience in settings.audiences}
    return CallerRules(
        authority_host=settings.entra_authority_host,
        home_tenant=settings.tenant_id,
        audiences=frozenset(bare | {f"{audience}/" for audience in bare if "://" in audience}),
        tenants=frozenset(settings.allowed_tenants),
        clients=frozenset(settings.allowed_client_ids),
        required_scope=settings.required_scope,
    )


def _open_webhooks(
    settings: Settings, client: EntraClient, waiting: Waiting, telemetry: Telemetry
) -> Webhooks | None:
    if not settings.webhook_keys:
        return None
    from shared.entra.app_only import AppOnly
    from shared.identity.webhooks import WebhookVerifier

    own = _open_exchanges(1, waiting, telemetry)
    return Webhooks(
        WebhookVerifier(settings.webhook_keys, settings.tenant_id),
        AppOnly(client, settings.tenant_id, settings.graph_default_scope_uri, own),
    )


def _open_exchanges(
    capacity: int, waiting: Waiting, telemetry: Telemetry
) -> ExchangeCache[GraphToken]:
    if telemetry is OFF:
        return ExchangeCache(capacity=capacity, now=waiting.now)
    from shared.instrumented import InstrumentedExchangeCache

    return InstrumentedExchangeCache(capacity=capacity, now=waiting.now, telemetry=telemetry)


def _open_records(
    settings: Settings, waiting: Waiting, trust: Trust
) -> tuple[IdempotencyStore, Sequence[Callable[[], object]]]:
    """Open the store that is chosen, and say what prepares it. Errors: Misconfigured."""
    if settings.idempotency_store == "memory":
        return MemoryStore(waiting.now), ()
    from shared.records.account import by_connection_string, by_token
    from shared.records.table_store import TableStore

    try:
        if settings.idempotency_table_connection_string is not None:
            account = by_connection_string(
                settings.idempotency_table_connection_string.get_secret_value()
            )
        else:
            from shared.records.credential import StorageTokens

            tokens = StorageTokens(settings.managed_identity_client_id)
            account = by_token(settings.idempotency_table_endpoint or "", tokens.get)
        channel = Channel(account.endpoint, trust, keep=settings.max_concurrency)
    except ValueError:
        raise Misconfigured(
            "The setting IDEMPOTENCY_TABLE_CONNECTION_STRING is not a connection string."
        ) from None
    return (
        TableStore(account, settings.idempotency_table_name, channel, waiting),
        (account.prepare, channel.warm),
    )
