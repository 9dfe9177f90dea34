"""One request from arrival to answer.

Owns on which threads it runs, how long it may take, its lanes, and the one catch-all: there is
always an answer of the contract. Does *not* know Azure Functions, nor what any operation does.
"""

import asyncio
import contextlib
import contextvars
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from shared.errors import FacadeError, Overloaded, RequestInvalid, UpstreamUnavailable
from shared.identity.principal import Principal
from shared.lazy import Lazy
from shared.services import Services
from shared.serving.lanes import Lanes, Name, personal_lane
from shared.serving.problems import Reply, problem
from shared.telemetry.journal import OFF, Journal, Telemetry
from shared.transport.deadline import Deadline

# How far a thread may overrun its deadline before the caller gets an answer without it. Within the
# reserve of Services.deadline.
_BACKSTOP_S = 0.4
# The share of the remaining time that a request may wait for its lane, or for a thread.
_SHARE_FOR_WAITING = 0.6


@dataclass(frozen=True, slots=True)
class Incoming:
    """What arrived.

    ``headers`` have lower-case names. ``route`` and ``query`` hold decoded parameters.
    ``traceparent`` has W3C's form.
    """

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    route: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    traceparent: str | None = None


class Work(Protocol):
    """A request that may be carried out: its caller is proved, and its content is read."""

    @property
    def caller(self) -> Principal:
        """Who asks; the one who shares places with others."""
        ...

    @property
    def lane(self) -> Name:
        """What the work must not crowd: a mailbox, or a person."""
        ...


class Operation[W: Work](Protocol):
    """What an endpoint does; one instance per worker, safe for all threads."""

    def admit(self, incoming: Incoming, journal: Journal) -> W:
        """Prove the caller, then read the request. Errors: FacadeError."""
        ...

    def admit_at_once(self, incoming: Incoming, journal: Journal) -> W | None:
        """Do the same at once if the caller is known; None if that could take a trip or a while.

        It runs on the event loop: what waits here, everybody waits for. Errors: FacadeError.
        """
        ...

    def carry_out(self, work: W, deadline: Deadline, journal: Journal) -> Reply:
        """Do the work. Errors: FacadeError."""
        ...

    def too_late(self) -> FacadeError:
        """Say what is true of work that has not ended when its caller needs an answer."""
        ...


async def serve[W: Work](
    operation: Lazy[Operation[W]],
    services: Lazy[Services],
    lanes: Lazy[Lanes],
    telemetry: Lazy[Telemetry],
    incoming: Incoming,
    journal: Journal,
    *,
    within_s: float = math.inf,
) -> Reply:
    """Answer a request; raises nothing.

    ``operation``, ``services`` and ``telemetry`` are built on first use, outside the event loop.
    ``within_s`` is how long callers of this route wait, if that is less than the limit for all
    routes. It counts from here, so the time for building comes out of it.
    """
    arrived_at = time.monotonic()
    told = telemetry.if_built() or await _start(telemetry)
    journal.metrics = told.metrics
    told.metrics.arrived(journal.action)
    attributes = {
        "faas.trigger": "http",
        "facade.action": journal.action,
        "facade.request_id": journal.request_id,
    }
    with (
        journal.collecting(),
        told.tracing.request(f"request {journal.action}", incoming.traceparent, attributes) as span,
    ):
        journal.note(trace=span.trace_id)
        reply = await _reply(operation, services, lanes, incoming, journal, arrived_at, within_s)
        span.note({"http.response.status_code": reply.status, "facade.code": reply.code})
        if reply.status >= 500:
            span.fail(reply.code)
    return reply


async def _start(telemetry: Lazy[Telemetry]) -> Telemetry:
    """Start telemetry.

    The services need it, too, and report what keeps it from starting.
    """
    try:
        return await telemetry.aside()
    except Exception:  # noqa: BLE001 - raised again where the services are built
        return OFF


async def _reply[W: Work](
    operation: Lazy[Operation[W]],
    services: Lazy[Services],
    lanes: Lazy[Lanes],
    incoming: Incoming,
    journal: Journal,
    arrived_at: float,
    within_s: float,
) -> Reply:
    accept = incoming.headers.get("accept")
    authorization_uri: str | None = None
    try:
        built = await services.aside()
        authorization_uri = built.authorization_uri
        deadline = built.deadline(within_s, arrived_at=arrived_at)
        return await _answer(
            await operation.aside(), built, lanes.get(), incoming, journal, deadline
        )
    except FacadeError as error:
        journal.cause = type(error).__name__
        fields = error.fields if isinstance(error, RequestInvalid) else None
        journal.note(reason=error.reason, fields=fields, entra=_entra_said(error))
        return problem(
            error, journal.request_id, accept=accept, authorization_uri=authorization_uri
        )
    except Exception as error:  # noqa: BLE001
        # The one catch-all: a bug of ours gets an answer of the contract, too.
        journal.bug(error)
        return problem(None, journal.request_id, accept=accept, authorization_uri=authorization_uri)


def open_lanes(services: Services) -> Lanes:
    """Return the lanes that the settings ask for.

    As many requests as there are threads may wait for one mailbox, and three times as many in all.
    """
    settings = services.settings
    return Lanes(
        width=settings.max_concurrency_per_business,
        queue=settings.max_concurrency,
        places=settings.max_concurrency,
        waiting=settings.max_concurrency * 3,
    )


async def _answer[W: Work](
    operation: Operation[W],
    services: Services,
    lanes: Lanes,
    incoming: Incoming,
    journal: Journal,
    deadline: Deadline,
) -> Reply:
    work = await _admit(operation, services, lanes, incoming, journal, deadline)
    caller, wait_s = personal_lane(work.caller), deadline.remaining_s() * _SHARE_FOR_WAITING
    async with lanes.place(caller, work.lane, wait_s=wait_s):
        return await _on_thread(
            services.threads,
            lambda: operation.carry_out(work, deadline, journal),
            deadline,
            journal,
            too_late=operation.too_late,
        )


async def _admit[W: Work](
    operation: Operation[W],
    services: Services,
    lanes: Lanes,
    incoming: Incoming,
    journal: Journal,
    deadline: Deadline,
) -> W:
    with services.telemetry.tracing.span("admit"):
        # A known caller costs less here than the way to a thread and back.
        work = operation.admit_at_once(incoming, journal)
        if work is not None:
            return work
        with lanes.stranger():
            return await _on_thread(
                services.doorkeepers,
                lambda: operation.admit(incoming, journal),
                deadline,
                journal,
                too_late=lambda: UpstreamUnavailable("Entra could not be reached in time."),
            )


async def _on_thread[T](
    threads: ThreadPoolExecutor,
    work: Callable[[], T],
    deadline: Deadline,
    journal: Journal,
    *,
    too_late: Callable[[], FacadeError],
) -> T:
    """Run on the service's own threads.

    Errors: those of ``work``; Overloaded when no thread was free in time, and then the work never
    begins. After the deadline the caller gets ``too_late`` and the thread goes on: its records stay
    true, and a metric tells how it ended.
    """
    job = threads.submit(contextvars.copy_context().run, work)
    try:
        await _end_of(job, deadline.remaining_s() * _SHARE_FOR_WAITING)
    finally:
        never_begun = job.cancel()  # False once it runs: a thread cannot be stopped
    if never_begun:
        raise Overloaded("This service has more requests than it can finish in time.")
    if not job.done():
        await _end_of(job, deadline.remaining_s() + _BACKSTOP_S)
    if not job.done():
        job.add_done_callback(
            lambda late: journal.metrics.ended_late(journal.action, _ending_of(late))
        )
        raise too_late()
    return job.result()


async def _end_of[T](job: Future[T], within_s: float) -> None:
    """Wait until the job has ended or ``within_s`` (seconds) are over.

    ``asyncio.wait`` on a wrapped future does the same at three times the cost.
    """
    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def tell(_: Future[T]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits any more
            loop.call_soon_threadsafe(_wake, woken)

    timer = loop.call_later(within_s, _wake, woken)
    job.add_done_callback(tell)
    try:
        await woken
    finally:
        timer.cancel()


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def _ending_of[T](late: Future[T]) -> str:
    error = late.exception()
    return "done" if error is None else type(error).__name__


def _entra_said(error: FacadeError) -> str | None:
    """Name what Entra answered, for the log; each call of Graph has its own note."""
    said = error.upstream
    return (
        f"{said.status}:{said.code}:{said.request_id}"
        if said is not None and said.service == "entra"
        else None
    )
