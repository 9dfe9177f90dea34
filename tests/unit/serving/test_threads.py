"""Work on threads: it begins once or never, its place is kept as long, and the answer is true."""

import asyncio
import concurrent.futures.thread
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Never

import pytest

from shared.errors import FacadeError, Overloaded, UpstreamBroken
from shared.lazy import Lazy
from shared.services import build_services
from shared.serving.problems import Reply
from shared.serving.requests import Incoming, Route, Worker
from shared.serving.threads import on_thread
from shared.telemetry.journal import OFF, Journal
from shared.transport.deadline import Deadline
from tests.unit.serving.test_deadline import ENVIRONMENT, Operation, Work

PATIENCE_S = 30.0
WIDTH = 4  # MAX_CONCURRENCY_PER_BUSINESS


def no_thread(*_: object, **__: object) -> Never:
    raise RuntimeError("can't start new thread")


async def ask(
    threads: ThreadPoolExecutor, work: Callable[[], str], *, within_s: float = PATIENCE_S
) -> str:
    return await on_thread(
        threads,
        Future(),
        work,
        Deadline(time.monotonic() + within_s, time.monotonic),
        Journal("request", time.monotonic),
        too_late=lambda: UpstreamBroken("too late"),
    )


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


@pytest.fixture
def done() -> list[str]:
    """What was done on threads."""
    return []


# It begins once or never.


@pytest.mark.parametrize("busy", [0, 1], ids=["none runs", "one is busy"])
@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()], ids=repr)
def test_what_finds_no_thread_never_begins_and_that_is_said_at_once(
    pool: ThreadPoolExecutor,
    done: list[str],
    monkeypatch: pytest.MonkeyPatch,
    busy: int,
    error: Exception,
) -> None:
    gate = threading.Event()

    def fail(_: threading.Thread) -> None:
        raise error

    async def scene() -> None:
        others = [pool.submit(gate.wait, PATIENCE_S) for _ in range(busy)]
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            began = time.monotonic()
            with pytest.raises(Overloaded):
                await ask(pool, lambda: done.append("refused") or "")  # type: ignore[func-returns-value]
            assert time.monotonic() - began < PATIENCE_S / 10
        gate.set()
        assert await ask(pool, lambda: "next") == "next"  # behind what was withdrawn
        assert [other.result() for other in others] == [True] * busy

    asyncio.run(scene())
    pool.shutdown()
    assert done == []


def test_what_finds_the_pool_closed_never_begins(
    pool: ThreadPoolExecutor, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    work: Callable[[], str] = lambda: done.append("refused") or ""  # type: ignore[func-returns-value]  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(concurrent.futures.thread, "_shutdown", True)
        with pytest.raises(Overloaded):
            asyncio.run(ask(pool, work))
    pool.shutdown()
    with pytest.raises(Overloaded):
        asyncio.run(ask(pool, work))
    assert done == []


@pytest.fixture
def gate(pool: ThreadPoolExecutor) -> threading.Event:
    """What all threads of the pool wait for, so that a job which comes now is queued."""
    gate = threading.Event()
    for _ in range(8):
        pool.submit(gate.wait, PATIENCE_S)
    return gate


def test_what_is_queued_when_the_pool_closes_never_begins(
    pool: ThreadPoolExecutor, gate: threading.Event, done: list[str]
) -> None:
    async def scene() -> None:
        asking = asyncio.create_task(ask(pool, lambda: done.append("late") or "", within_s=0.2))  # type: ignore[func-returns-value]
        await asyncio.sleep(0)
        pool.shutdown(wait=False, cancel_futures=True)
        with pytest.raises(Overloaded):
            await asking

    asyncio.run(scene())
    gate.set()
    pool.shutdown()
    assert done == []


def test_what_has_begun_though_no_thread_could_be_started_is_told_truly() -> None:
    """A thread that has just become idle may take the job before its pool fails."""

    class Failing(ThreadPoolExecutor):
        def submit(self, *args: Any, **others: Any) -> Any:
            begun = threading.Event()
            thread = super().submit

            def run() -> None:
                begun.set()
                args[0](*args[1:], **others)

            thread(run)
            assert begun.wait(PATIENCE_S)
            no_thread()

    def work() -> str:
        time.sleep(0.05)
        return "done"

    with Failing(1) as pool:
        for _ in range(3):
            assert asyncio.run(ask(pool, work)) == "done"


def test_what_is_given_up_before_it_begins_never_begins(
    pool: ThreadPoolExecutor, gate: threading.Event, done: list[str]
) -> None:
    async def scene() -> None:
        asking = asyncio.create_task(ask(pool, lambda: done.append("late") or ""))  # type: ignore[func-returns-value]
        await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(scene())
    gate.set()
    pool.shutdown()
    assert done == []


def test_work_that_outlives_the_event_loop_ends_in_silence(
    pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    async def leave() -> None:
        asking = asyncio.create_task(ask(pool, lambda: str(gate.wait(PATIENCE_S))))
        await asyncio.sleep(0.01)
        asking.cancel()

    asyncio.run(leave())
    gate.set()
    pool.shutdown()
    assert caplog.records == []


# Requests.


@dataclass
class Gated(Operation):
    """Works until the gate opens; counts what it does."""

    error: BaseException | None = None
    at_once: bool = False
    gate: threading.Event = field(default_factory=threading.Event)
    begun: int = 0
    at_work: int = 0
    most_at_work: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def admit_at_once(self, incoming: Incoming, journal: Journal) -> Work | None:
        if self.at_once and self.error is not None:
            raise self.error
        return Work()

    def carry_out(self, work: Work, deadline: Deadline, journal: Journal) -> Reply:
        with self.lock:
            self.begun += 1
            self.at_work += 1
            self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            assert self.gate.wait(PATIENCE_S)
            if self.error is not None:
                raise self.error
            return Reply(200, {}, b"{}", "done")
        finally:
            with self.lock:
                self.at_work -= 1

    def too_late(self) -> FacadeError:
        return UpstreamBroken("too late")


type Scene = Callable[[Route[Any], Worker], Awaitable[None]]


def play(
    monkeypatch: pytest.MonkeyPatch,
    operation: Operation,
    scene: Scene,
    *,
    within_s: float = PATIENCE_S,
) -> None:
    """Play a scene at a route, and check that every place is given back in the end."""
    services = build_services(ENVIRONMENT)
    worker = Worker({})
    monkeypatch.setattr(worker, "services", Lazy(lambda: services))
    monkeypatch.setattr(worker, "telemetry", Lazy(lambda: OFF))
    route: Route[Any] = Route(worker, "cancel", lambda _: operation, within_s=within_s)

    async def run() -> None:
        await worker.services.aside()
        await route._operation.aside()
        lanes = worker.lanes.get()
        await scene(route, worker)
        give_up_at = time.monotonic() + PATIENCE_S
        while lanes._inside and time.monotonic() < give_up_at:  # noqa: ASYNC110 - no event of it
            await asyncio.sleep(0.01)
        assert (lanes._lanes, lanes._inside, lanes._waiting) == ({}, [], [])

    try:
        asyncio.run(run())
    finally:
        services.threads.shutdown()
        services.doorkeepers.shutdown()


def code_of(reply: Reply) -> str:
    return str(json.loads(reply.body).get("code"))


@pytest.mark.parametrize("known", [True, False], ids=["a known caller", "a stranger"])
def test_a_request_that_finds_no_thread_may_be_sent_again(
    monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    operation = Gated()
    if not known:
        monkeypatch.setattr(operation, "admit_at_once", lambda *_: None)

    async def scene(route: Route[Any], _: Worker) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            reply = await route.answer(Incoming({}))
        assert (reply.status, code_of(reply)) == (503, "overloaded")
        assert int(reply.headers["Retry-After"]) >= 1
        operation.gate.set()
        assert (await route.answer(Incoming({}))).status == 200

    play(monkeypatch, operation, scene)
    assert operation.begun == 1


def test_a_cold_worker_that_finds_no_thread_is_built_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operation = Gated()
    operation.gate.set()
    worker = Worker(ENVIRONMENT)
    route: Route[Any] = Route(worker, "cancel", lambda _: operation)

    async def scene() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            reply = await route.answer(Incoming({}))
        assert (reply.status, code_of(reply)) == (503, "overloaded")
        assert (await route.answer(Incoming({}))).status == 200

    asyncio.run(scene())
    assert operation.begun == 1
    worker.services.get().threads.shutdown()
    worker.services.get().doorkeepers.shutdown()


@pytest.mark.parametrize("gone", [False, True], ids=["too late", "the client has gone"])
def test_work_that_outlives_its_request_keeps_its_place_until_it_ends(
    monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    operation = Gated()

    async def scene(route: Route[Any], worker: Worker) -> None:
        tasks = [asyncio.create_task(route.answer(Incoming({}))) for _ in range(WIDTH)]
        while operation.begun < WIDTH:  # noqa: ASYNC110 - threads count
            await asyncio.sleep(0.001)
        if gone:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert all(task.cancelled() for task in tasks)
        else:
            assert [reply.status for reply in await asyncio.gather(*tasks)] == [502] * WIDTH
        for _ in range(2):
            reply = await route.answer(Incoming({}))
            assert (reply.status, code_of(reply)) == (503, "overloaded")
        assert len(worker.lanes.get()._inside) == operation.begun == WIDTH
        waiting = asyncio.create_task(route.answer(Incoming({})))
        await asyncio.sleep(0)
        operation.gate.set()
        assert (await waiting).status == 200

    play(monkeypatch, operation, scene, within_s=0.7)
    assert operation.most_at_work == WIDTH


class Panic(BaseException):
    """What a library in Rust raises (pyo3_runtime.PanicException)."""


@pytest.mark.parametrize(
    "error", [Panic(), SystemExit(), KeyboardInterrupt(), MemoryError()], ids=repr
)
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "on a thread"])
def test_whatever_is_raised_there_is_an_answer(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, at_once: bool
) -> None:
    operation = Gated(error=error, at_once=at_once)
    operation.gate.set()

    async def scene(route: Route[Any], _: Worker) -> None:
        reply = await route.answer(Incoming({}))
        assert (reply.status, code_of(reply)) == (500, "internal_error")

    play(monkeypatch, operation, scene)
