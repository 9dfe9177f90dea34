"""The HTTP triggers: parse, call, translate. The only file of this capability that imports azure.functions.

Owns threads, the backstop on time, and the one catch-all: whatever happens, the caller gets JSON of the contract.
"""

import asyncio
import contextvars
import os
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import azure.functions as func

from cancel_appointment import contract
from cancel_appointment.contract import Reply
from cancel_appointment.operation import CancelOperation, Incoming
from shared.deadline import Deadline
from shared.errors import FacadeError, OutcomeUnknown, Overloaded, UpstreamUnavailable
from shared.lanes import Lanes
from shared.lazy import Lazy
from shared.services import build_services
from shared.telemetry import Journal, read_correlation_id

_BACKSTOP_S = 0.4  # what a thread may overrun its deadline by before the caller is answered without it; within the reserve of CancelOperation.deadline
_SHARE_FOR_WAITING = 0.6  # of the time that is left: what a request may wait for its mailbox, or for a thread

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
_operation = Lazy(lambda: CancelOperation(build_services(os.environ)))
_lanes: Lazy[Lanes] = Lazy(lambda: _open_lanes(_operation.get()))


@blueprint.route("v1/cancel-appointment", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def cancel_appointment(req: func.HttpRequest) -> func.HttpResponse:
    """Cancel an appointment on behalf of the caller."""
    journal = Journal(str(uuid.uuid4()), time.monotonic, read_correlation_id(req.headers.get("x-correlation-id")))
    incoming = Incoming(
        req.headers.get("authorization"), req.headers.get("content-type"), req.headers.get("idempotency-key"), req.get_body()
    )
    reply = await answer_cancel(incoming, req.headers.get("accept"), journal)
    journal.write(reply.status, reply.code)
    headers = dict(reply.headers)
    if journal.correlation_id:
        headers["x-correlation-id"] = journal.correlation_id
    return func.HttpResponse(reply.body, status_code=reply.status, headers=headers)


@blueprint.route("health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def health(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - the platform passes it by name
    """Say that the worker answers; asks nobody else, so that an upstream's trouble never restarts this service."""
    return func.HttpResponse(b'{"status":"ok"}', mimetype="application/json", headers={"Cache-Control": "no-store"})


async def answer_cancel(incoming: Incoming, accept: str | None, journal: Journal) -> Reply:
    """Answer a cancel request; raises nothing."""
    authorization_uri: str | None = None
    try:
        operation = _operation.if_built()
        if operation is None:
            operation = await asyncio.to_thread(_operation.get)
        authorization_uri = operation.services.authorization_uri
        lanes = _lanes.get()
        deadline = operation.deadline()
        async with lanes.admitted():
            work = await _on_thread(
                operation.services.doorkeepers,
                lambda: operation.admit(incoming, journal),
                deadline,
                journal,
                too_late=UpstreamUnavailable("Entra could not be reached in time."),
            )
            async with lanes.lane(work.mailbox, wait_s=deadline.remaining_s() * _SHARE_FOR_WAITING):
                outcome = await _on_thread(
                    operation.services.threads,
                    lambda: operation.carry_out(work, deadline, journal),
                    deadline,
                    journal,
                    too_late=OutcomeUnknown(
                        "The cancel may have been sent, and it is not known whether it took effect. Send the same request again: that is safe."
                    ),
                )
        return contract.answer(outcome, work.request, journal.request_id)
    except FacadeError as error:
        journal.note(reason=error.reason, entra=_entra_said(error))
        return contract.problem(error, journal.request_id, accept=accept, authorization_uri=authorization_uri)
    except Exception as error:  # noqa: BLE001 - the one catch-all: a bug of ours is an answer of the contract, too
        journal.bug(error)
        return contract.problem(None, journal.request_id, accept=accept, authorization_uri=authorization_uri)


async def _on_thread[T](
    threads: ThreadPoolExecutor, work: Callable[[], T], deadline: Deadline, journal: Journal, *, too_late: FacadeError
) -> T:
    """Run on the service's own threads. Errors: those of ``work``; Overloaded when no thread was free in time, and then it never begins.

    Past the deadline the caller is answered with ``too_late``, and the thread goes on: its records stay true, and the journal tells how it ended.
    """
    job = threads.submit(contextvars.copy_context().run, work)
    ended = asyncio.wrap_future(job)
    ended.add_done_callback(lambda late: late.cancelled() or late.exception())  # seen, so that the loop never complains
    try:
        await asyncio.wait((ended,), timeout=deadline.remaining_s() * _SHARE_FOR_WAITING)
    finally:
        never_begun = job.cancel()  # False once it runs: a thread cannot be stopped
    if never_begun:
        raise Overloaded("This service has more requests than it can finish in time.")
    if not job.done():
        await asyncio.wait((ended,), timeout=deadline.remaining_s() + _BACKSTOP_S)
    if not job.done():
        job.add_done_callback(lambda late: journal.write_late(_ending_of(late)))
        raise too_late
    return job.result()


def _ending_of[T](late: Future[T]) -> str:
    error = late.exception()
    return "done" if error is None else type(error).__name__


def _entra_said(error: FacadeError) -> str | None:
    """Name what Entra answered, for the log; what Graph answered is noted call by call."""
    said = error.upstream
    return f"{said.status}:{said.code}:{said.request_id}" if said is not None and said.service == "entra" else None


def _open_lanes(operation: CancelOperation) -> Lanes:
    """Let one mailbox use its places and as many callers wait as there are threads; four times that may be inside in all."""
    settings = operation.services.settings
    return Lanes(width=settings.max_concurrency_per_business, queue=settings.max_concurrency, total=settings.max_concurrency * 4)
