"""Who is measured: this service, and what people use instead.

Each cancels an appointment of the upstream for one of the users that it was given.

Every subject runs in a process of its own (``turns.py``) that measures only itself. All do the same
job as far as they do it: one POST to Graph with the user's Graph token. What they leave out is
their advantage: nobody but *ours* validates the token, remembers what was done, or says what an
answer means.
"""

import asyncio
import json
import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlsplit

from infra.local import seed
from infra.local.host.process import HostProcess
from tests.benchmarks.upstream import Upstream

MESSAGE = "Sorry, we are closed on that day."
# More than callers at the same time: what one mailbox may take is not what is measured here.
BUSINESSES = 200
KEYED = "keyed"
SETTINGS = "BENCH_SETTINGS"
GRAPH_TOKEN = "eyJ0eXAiOiJKV1Qi." + "g" * 2_000


def business(number: int) -> str:
    """Return the id of the business that an appointment belongs to."""
    return f"Business{number % BUSINESSES}@M365B489948.onmicrosoft.com"


def appointment(number: int, kind: str = "") -> str:
    """Return the id of an appointment that looks like Graph's.

    With ``missing`` in it there is none.
    """
    return f"AAMkADKo{kind}{number:08d}AAA="


def cancel_url(graph: str, number: int, kind: str = "") -> str:
    """Return the address to post to."""
    return (
        f"{graph}/v1.0/solutions/bookingBusinesses/{quote(business(number), safe='')}/appointments/"
        f"{quote(appointment(number, kind), safe='')}/cancel"
    )


class Subject(ABC):
    """One way to cancel.

    ``kind`` is "" for an appointment that stands, ``missing`` for one that does not, ``keyed`` for
    one that stands and an Idempotency-Key.
    """

    def __init__(self, upstream: Upstream, latency_ms: int, tokens: Sequence[str]) -> None:
        self.graph = upstream.graphs[latency_ms]
        self.upstream = upstream
        self.tokens = list(tokens)

    @abstractmethod
    def cancel(self, user: int, number: int, kind: str) -> None:
        """Cancel once. Errors: AssertionError when the answer is not what it has to be."""

    @property
    def pid(self) -> int:
        """The process whose CPU and memory count."""
        return os.getpid()

    def cpu_s(self) -> float:
        """Return the CPU time of that process so far, user and system, in seconds."""
        return time.process_time()

    def many(
        self,
        calls: Sequence[tuple[int, int]],
        kind: str,
        callers: int,
        done: Callable[[float], None],
    ) -> None:
        """Cancel for each (user, number), ``callers`` at the same time.

        ``done`` is told how many seconds each took.
        """
        if callers == 1:
            for user, number in calls:
                started = time.perf_counter()
                self.cancel(user, number, kind)
                done(time.perf_counter() - started)
            return
        waiting = iter(calls)
        lock = threading.Lock()

        def caller() -> None:
            while True:
                with lock:
                    call = next(waiting, None)
                if call is None:
                    return
                started = time.perf_counter()
                self.cancel(*call, kind)
                done(time.perf_counter() - started)

        with ThreadPoolExecutor(callers) as threads:
            for job in [threads.submit(caller) for _ in range(callers)]:
                job.result()

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Release everything."""


class FloorRequests(Subject):
    """A token in hand and one pooled ``requests.Session().post``, as people write it.

    Only its pool is larger: large enough for all callers.
    """

    def __init__(self, upstream: Upstream, latency_ms: int, tokens: Sequence[str]) -> None:
        super().__init__(upstream, latency_ms, tokens)
        import requests
        from requests.adapters import HTTPAdapter

        os.environ["REQUESTS_CA_BUNDLE"] = str(upstream.bundle)
        self._session = requests.Session()
        self._session.mount("https://", HTTPAdapter(pool_maxsize=64))

    def cancel(self, user: int, number: int, kind: str) -> None:
        answer = self._session.post(
            cancel_url(self.graph, number, kind),
            json={"cancellationMessage": MESSAGE},
            headers={"Authorization": f"Bearer {GRAPH_TOKEN}"},
        )
        assert answer.status_code == (404 if kind else 204)


class FloorUrllib3(Subject):
    """A token in hand and one pooled ``urllib3.PoolManager().request``."""

    def __init__(self, upstream: Upstream, latency_ms: int, tokens: Sequence[str]) -> None:
        super().__init__(upstream, latency_ms, tokens)
        import urllib3

        self._pool = urllib3.PoolManager(maxsize=64, ca_certs=str(upstream.bundle))

    def cancel(self, user: int, number: int, kind: str) -> None:
        answer = self._pool.request(
            "POST",
            cancel_url(self.graph, number, kind),
            json={"cancellationMessage": MESSAGE},
            headers={"Authorization": f"Bearer {GRAPH_TOKEN}"},
        )
        assert answer.status == (404 if kind else 204)


def _body(number: int, kind: str) -> dict[str, str]:
    return {
        "businessId": business(number),
        "appointmentId": appointment(number, kind),
        "cancellationMessage": MESSAGE,
    }


def more_settings() -> dict[str, str]:
    """Return the settings that the runner of a benchmark has left for a subject's service.

    They come beside those of the upstream.
    """
    settings: dict[str, str] = json.loads(os.environ.get(SETTINGS, "{}"))
    return settings


def _key(number: int, kind: str) -> dict[str, str]:
    return {"idempotency-key": f"bench-{number}"} if kind == KEYED else {}


def http_request(token: str, number: int, kind: str) -> Any:
    """Return the request as the Functions runtime hands it to a function."""
    import azure.functions as func

    return func.HttpRequest(
        "POST",
        "http://localhost:7071/api/v1/cancel-appointment",
        headers={
            "host": "localhost:7071",
            "user-agent": "bench",
            "accept": "*/*",
            "authorization": f"Bearer {token}",
            "content-type": "application/json",
            **_key(number, kind),
        },
        params={},
        route_params={},
        body=json.dumps(_body(number, kind)).encode(),
    )


class Sample(Subject):
    """The usual sample for on-behalf-of.

    It makes a new MSAL client and a new session for each request, and validates nothing.
    """

    def cancel(self, user: int, number: int, kind: str) -> None:
        import azure.functions as func
        import msal
        import requests

        os.environ["REQUESTS_CA_BUNDLE"] = str(self.upstream.bundle)
        request = http_request(self.tokens[user], number, kind)
        body = request.get_json()
        app = msal.ConfidentialClientApplication(
            seed.API_CLIENT_ID,
            client_credential=seed.API_CLIENT_SECRET,
            authority=f"{self.upstream.entra}/{seed.TENANT_ID}",
            instance_discovery=False,
        )
        granted = app.acquire_token_on_behalf_of(
            request.headers["Authorization"].removeprefix("Bearer "),
            ["https://graph.microsoft.com/BookingsAppointment.ReadWrite.All"],
        )
        answer = requests.post(
            (
                f"{self.graph}/v1.0/solutions/bookingBusinesses/{quote(body['businessId'])}/"
                f"appointments/{quote(body['appointmentId'])}/cancel"
            ),
            json={"cancellationMessage": body["cancellationMessage"]},
            headers={"Authorization": f"Bearer {granted['access_token']}"},
            timeout=10,
        )
        assert answer.status_code == (404 if kind else 204)
        func.HttpResponse(status_code=answer.status_code)


class TunedSample(Subject):
    """The sample as one would tune it: one MSAL client whose cache is asked first, one session.

    It is told beforehand whose each account is.
    """

    SCOPES = ("https://graph.microsoft.com/BookingsAppointment.ReadWrite.All",)

    def __init__(self, upstream: Upstream, latency_ms: int, tokens: Sequence[str]) -> None:
        super().__init__(upstream, latency_ms, tokens)
        import msal
        import requests
        from requests.adapters import HTTPAdapter

        os.environ["REQUESTS_CA_BUNDLE"] = str(upstream.bundle)
        self._app = msal.ConfidentialClientApplication(
            seed.API_CLIENT_ID,
            client_credential=seed.API_CLIENT_SECRET,
            authority=f"{upstream.entra}/{seed.TENANT_ID}",
            instance_discovery=False,
        )
        self._session = requests.Session()
        self._session.mount("https://", HTTPAdapter(pool_maxsize=64))
        self._accounts: dict[int, Any] = {}

    def cancel(self, user: int, number: int, kind: str) -> None:
        import azure.functions as func

        request = http_request(self.tokens[user], number, kind)
        body = request.get_json()
        account = self._accounts.get(user)
        granted = self._app.acquire_token_silent(list(self.SCOPES), account) if account else None
        if granted is None:
            granted = self._app.acquire_token_on_behalf_of(
                request.headers["Authorization"].removeprefix("Bearer "), list(self.SCOPES)
            )
            who = granted["id_token_claims"]
            self._accounts[user] = {
                "home_account_id": f"{who['oid']}.{who['tid']}",
                "environment": self.upstream.entra.removeprefix("https://"),
                "realm": who["tid"],
                "local_account_id": who["oid"],
                "username": who["preferred_username"],
                "authority_type": "MSSTS",
            }
        answer = self._session.post(
            (
                f"{self.graph}/v1.0/solutions/bookingBusinesses/{quote(body['businessId'])}/"
                f"appointments/{quote(body['appointmentId'])}/cancel"
            ),
            json={"cancellationMessage": body["cancellationMessage"]},
            headers={"Authorization": f"Bearer {granted['access_token']}"},
            timeout=10,
        )
        assert answer.status_code == (404 if kind else 204)
        func.HttpResponse(status_code=answer.status_code)


class Ours(Subject):
    """This service's own handler, called as the runtime calls it, with all that it does.

    That includes validation, records in memory, and a line in the log for each request.
    """

    def __init__(self, upstream: Upstream, latency_ms: int, tokens: Sequence[str]) -> None:
        super().__init__(upstream, latency_ms, tokens)
        os.environ.update({**upstream.environment(latency_ms), **more_settings()})
        logging.basicConfig(level=logging.INFO, filename=os.devnull)
        import function_app

        functions = {
            function.get_function_name(): function for function in function_app.app.get_functions()
        }
        self._handle = functions["cancel_appointment"].get_user_function()
        self._context = SimpleNamespace(trace_context=SimpleNamespace(trace_parent=None))
        self._loop = asyncio.new_event_loop()

    async def _cancel(self, user: int, number: int, kind: str) -> None:
        answer = await self._handle(
            http_request(*_as_asked(self.tokens[user], number, kind), kind), self._context
        )
        check(answer.status_code, answer.get_body(), kind)

    def cancel(self, user: int, number: int, kind: str) -> None:
        self._loop.run_until_complete(self._cancel(user, number, kind))

    def many(
        self,
        calls: Sequence[tuple[int, int]],
        kind: str,
        callers: int,
        done: Callable[[float], None],
    ) -> None:
        waiting = iter(calls)

        async def caller() -> None:
            for user, number in waiting:
                started = time.perf_counter()
                await self._cancel(user, number, kind)
                done(time.perf_counter() - started)

        async def all_callers() -> None:
            await asyncio.gather(*(caller() for _ in range(callers)))

        self._loop.run_until_complete(all_callers())


def _as_asked(token: str, number: int, kind: str) -> tuple[str, int]:
    """Spoil the token's signature, or ask for the same appointment again, as the kind says."""
    return (token[:-8] + token[-8:].swapcase() if kind == "refused" else token), (
        0 if kind == "again" else number
    )


def check(status: int, body: bytes, kind: str) -> None:
    """See that the answer of this service is what it has to be. Errors: AssertionError."""
    said = json.loads(body)
    if kind == "refused":
        assert (status, said["code"]) == (401, "invalid_token"), said
    else:
        assert (status, said["outcome"]) == (
            200,
            "not_found" if kind == "missing" else "cancelled",
        ), said
        assert kind == "again" or not said["replayed"], said


class OursThroughTheRuntime(Subject):
    """The same behind Microsoft's runtime and the local host, over HTTP.

    The CPU that counts is the host's. Callers are cheap and in this process.
    """

    def __init__(self, upstream: Upstream, latency_ms: int, tokens: Sequence[str]) -> None:
        super().__init__(upstream, latency_ms, tokens)
        self._host = HostProcess(
            Path(__file__).resolve().parents[2],
            {**upstream.environment(latency_ms), **more_settings()},
            http="httptools",
        )
        self._host.start()
        address = urlsplit(self._host.url)
        self._address = address.hostname or "", address.port or 0
        self._loop = asyncio.new_event_loop()
        self._free: list[_HttpCaller] = []

    @property
    def pid(self) -> int:
        return self._host.pid

    def cpu_s(self) -> float:
        # Linux's clock of another process, as clock_getcpuclockid(3) names it. It counts
        # nanoseconds; /proc/<pid>/stat counts ticks of 10 ms.
        return time.clock_gettime(~self.pid << 3 | 2)

    def cancel(self, user: int, number: int, kind: str) -> None:
        self.many([(user, number)], kind, 1, lambda _: None)

    def many(
        self,
        calls: Sequence[tuple[int, int]],
        kind: str,
        callers: int,
        done: Callable[[float], None],
    ) -> None:
        waiting = iter(calls)

        async def caller() -> None:
            connection = (
                self._free.pop() if self._free else await _HttpCaller.connect(*self._address)
            )
            for user, number in waiting:
                request = _on_the_wire(self.tokens[user], number, kind)
                started = time.perf_counter()
                status, body = await connection.post(request)
                done(time.perf_counter() - started)
                check(status, body, kind)
            self._free.append(connection)

        async def all_callers() -> None:
            await asyncio.gather(*(caller() for _ in range(callers)))

        self._loop.run_until_complete(all_callers())

    def close(self) -> None:
        self._host.stop()


def _on_the_wire(token: str, number: int, kind: str) -> bytes:
    token, number = _as_asked(token, number, kind)
    body = json.dumps(_body(number, kind))
    return (
        "POST /api/v1/cancel-appointment HTTP/1.1\r\nhost: localhost\r\nuser-agent: bench\r\n"
        f"accept: */*\r\nauthorization: Bearer {token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        f"{''.join(f'{name}: {value}\r\n' for name, value in _key(number, kind).items())}\r\n{body}"
    ).encode()


class _HttpCaller(asyncio.Protocol):
    """One kept connection that posts one request after the other.

    It is as little of an HTTP client as there can be.
    """

    _answer: asyncio.Future[tuple[int, bytes]]
    _transport: asyncio.Transport

    @classmethod
    async def connect(cls, host: str, port: int) -> "_HttpCaller":
        _, caller = await asyncio.get_running_loop().create_connection(cls, host, port)
        return caller

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def post(self, request: bytes) -> tuple[int, bytes]:
        self._received = b""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if end and len(body) == int(
            head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
        ):
            self._answer.set_result((int(head.split(b" ", 2)[1]), body))

    def connection_lost(self, error: Exception | None) -> None:
        if hasattr(self, "_answer") and not self._answer.done():
            self._answer.set_exception(ConnectionError("the host has gone"))


SUBJECTS: dict[str, type[Subject]] = {
    "ours": Ours,
    "ours through the runtime": OursThroughTheRuntime,
    "floor: requests": FloorRequests,
    "floor: urllib3": FloorUrllib3,
    "usual sample": Sample,
    "tuned sample": TunedSample,
}
