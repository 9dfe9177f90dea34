"""One request from arrival to answer.

Owns the order of its steps, and the one catch-all: there is always an answer of the contract, and a
line about it. Does *not* know Azure Functions, nor what any operation does.
"""

import math
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Protocol

from shared.errors import FacadeError, RequestInvalid, UpstreamUnavailable
from shared.identity.principal import Principal
from shared.lazy import Lazy
from shared.services import Services, build_services, start_telemetry
from shared.serving.lanes import Lanes, Name, personal_lane
from shared.serving.problems import Reply, problem
from shared.serving.threads import NOBODY_WAITS, SHARE_FOR_WAITING, on_thread
from shared.settings import Settings
from shared.telemetry.journal import OFF, Journal, Telemetry, read_correlation_id
from shared.transport.deadline import Deadline


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

    @property
    def lane(self) -> Name:
        """The lane in which the work runs: that of a mailbox, or of a person."""


class Operation[W: Work](Protocol):
    """What an endpoint does; one instance per worker, safe for all threads."""

    def admit(self, incoming: Incoming, journal: Journal) -> W:
        """Prove the caller, then read the request. Errors: FacadeError."""

    def admit_at_once(self, incoming: Incoming, journal: Journal) -> W | None:
        """Do the same at once if the caller is known; None if it could take a call, or time.

        It runs on the event loop, so every other request waits for it. Errors: FacadeError.
        """

    def carry_out(self, work: W, deadline: Deadline, journal: Journal) -> Reply:
        """Do the work. Errors: FacadeError."""

    def too_late(self) -> FacadeError:
        """Return the error for work that has not ended when its caller needs an answer."""


class Worker:
    """What all requests of a worker share, each built on first use, outside the event loop."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.telemetry: Lazy[Telemetry] = Lazy(lambda: start_telemetry(environment))
        self.services: Lazy[Services] = Lazy(lambda: _start(environment, self.telemetry.get()))
        self.lanes: Lazy[Lanes] = Lazy(lambda: _open_lanes(self.services.get().settings))


def _start(environment: Mapping[str, str], telemetry: Telemetry) -> Services:
    services = build_services(environment, telemetry)
    services.warm()
    return services


def _open_lanes(settings: Settings) -> Lanes:
    """As many may wait for one mailbox as there are threads, and three times as many in all."""
    return Lanes(
        width=settings.max_concurrency_per_business,
        queue=settings.max_concurrency,
        places=settings.max_concurrency,
        waiting=settings.max_concurrency * 3,
    )


class Route[W: Work]:
    """Answers the requests of one route.

    ``action`` names it in the log. ``build`` makes its operation once per worker, on first use.
    ``within_s`` is how long its callers wait at most, in seconds, if that may be less than
    REQUEST_DEADLINE_SECONDS.
    """

    def __init__(
        self,
        worker: Worker,
        action: str,
        build: Callable[[Services], Operation[W]],
        *,
        within_s: float = math.inf,
    ) -> None:
        self._worker = worker
        self._action = action
        self._within_s = within_s
        self._operation: Lazy[Operation[W]] = Lazy(lambda: build(worker.services.get()))

    async def answer(self, incoming: Incoming) -> Reply:
        """Answer a request; raises nothing. Its time begins here, before anything is built."""
        correlation_id = read_correlation_id(incoming.headers.get("x-correlation-id"))
        journal = Journal(str(uuid.uuid4()), time.monotonic, correlation_id, self._action)
        told = self._worker.telemetry.if_built() or await self._start_telemetry()
        journal.metrics = told.metrics
        told.metrics.arrived(self._action)
        with (
            journal.collecting(),
            told.tracing.request(
                f"request {self._action}",
                incoming.traceparent,
                {
                    "faas.trigger": "http",
                    "facade.action": self._action,
                    "facade.request_id": journal.request_id,
                },
            ) as span,
        ):
            journal.note(trace=span.trace_id)
            reply = await self._reply(incoming, journal)
            span.note({"http.response.status_code": reply.status, "facade.code": reply.code})
            if reply.status >= 500:
                span.fail(reply.code)
        journal.write(reply.status, reply.code)
        if correlation_id is None:
            return reply
        return replace(reply, headers={**reply.headers, "x-correlation-id": correlation_id})

    async def _start_telemetry(self) -> Telemetry:
        try:
            return await self._worker.telemetry.aside()
        except Exception:  # noqa: BLE001 - raised again where the services are built
            return OFF

    async def _reply(self, incoming: Incoming, journal: Journal) -> Reply:
        try:
            services = await self._worker.services.aside()
            operation = await self._operation.aside()
            deadline = services.deadline(self._within_s, journal.started_at)
            work = await self._admit(operation, services, incoming, journal, deadline)
            return await self._carry_out(operation, services, work, journal, deadline)
        except FacadeError as error:
            journal.cause = type(error).__name__
            fields = error.fields if isinstance(error, RequestInvalid) else None
            journal.note(reason=error.reason, fields=fields, entra=_entra_said(error))
            return self._problem(error, incoming, journal)
        except NOBODY_WAITS:
            raise
        except BaseException as error:  # noqa: BLE001
            # The one catch-all: a bug of ours gets an answer of the contract, too. So does a panic
            # of a library in Rust, and what was meant to end no more than a thread.
            journal.bug(error)
            return self._problem(error, incoming, journal)

    def _problem(self, error: BaseException, incoming: Incoming, journal: Journal) -> Reply:
        # Frames that hold an error which holds them would wait for the collector, with the request.
        traceback.clear_frames(error.__traceback__)
        services = self._worker.services.if_built()
        return problem(
            error if isinstance(error, FacadeError) else None,
            journal.request_id,
            accept=incoming.headers.get("accept"),
            authorization_uri=services.authorization_uri if services else None,
        )

    async def _admit(
        self,
        operation: Operation[W],
        services: Services,
        incoming: Incoming,
        journal: Journal,
        deadline: Deadline,
    ) -> W:
        with services.telemetry.tracing.span("admit"):
            # For a known caller this costs less than a switch to a thread and back.
            work = operation.admit_at_once(incoming, journal)
            if work is not None:
                return work
            with self._worker.lanes.get().stranger():
                return await on_thread(
                    services.doorkeepers,
                    Future(),
                    lambda: operation.admit(incoming, journal),
                    deadline,
                    journal,
                    too_late=lambda: UpstreamUnavailable("Entra could not be reached in time."),
                )

    async def _carry_out(
        self,
        operation: Operation[W],
        services: Services,
        work: W,
        journal: Journal,
        deadline: Deadline,
    ) -> Reply:
        caller, wait_s = personal_lane(work.caller), deadline.remaining_s() * SHARE_FOR_WAITING
        job: Future[Reply] = Future()
        async with self._worker.lanes.get().place(caller, work.lane, wait_s=wait_s, job=job):
            return await on_thread(
                services.threads,
                job,
                lambda: operation.carry_out(work, deadline, journal),
                deadline,
                journal,
                too_late=operation.too_late,
            )


def _entra_said(error: FacadeError) -> str | None:
    """Name what Entra answered, for the log; each call of Graph has its own note."""
    said = error.upstream
    if said is None or said.service != "entra":
        return None
    return f"{said.status}:{said.code}:{said.request_id}"
