"""Work on a thread, for a caller who waits on the event loop.

Owns how long a caller waits for a free thread, and for the work. Does *not* know what the work is.
"""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from shared.errors import FacadeError, Overloaded
from shared.telemetry.journal import Journal
from shared.transport.deadline import Deadline

# How far a thread may overrun its deadline before the caller gets an answer without it. It lies
# within the reserve of Services.deadline.
_BACKSTOP_S = 0.4
# The share of the remaining time that a request may wait for its lane, or for a thread.
SHARE_FOR_WAITING = 0.6
# Raised in a coroutine that nobody waits for any more.
NOBODY_WAITS = (asyncio.CancelledError, GeneratorExit)


async def on_thread[T](
    threads: ThreadPoolExecutor,
    job: Future[T],
    work: Callable[[], T],
    deadline: Deadline,
    journal: Journal,
    *,
    too_late: Callable[[], FacadeError],
) -> T:
    """Return what ``work`` does on one of these threads.

    ``job`` is new. It runs for as long as the work does, whoever still waits; when this has
    returned or raised, what has not begun never begins.

    Errors: those of ``work``; Overloaded when no thread was free in time, or none could be started.
    After the deadline the caller gets ``too_late`` and the thread goes on: its records stay true,
    and a metric tells how it ended.
    """
    try:
        wait_s = deadline.remaining_s() * SHARE_FOR_WAITING
        try:
            threads.submit(_carry_out, [job], contextvars.copy_context(), work)
        except (RuntimeError, MemoryError):
            # None can be started, or the pool is closed; the job may be queued all the same.
            wait_s = 0.0
        if await _ends(job, wait_s):
            return job.result()
        if job.cancel():  # False once it runs: a thread cannot be stopped
            raise Overloaded("This service has more requests than it can finish in time.")
        if await _ends(job, deadline.remaining_s() + _BACKSTOP_S):
            return job.result()
        job.add_done_callback(
            lambda late: journal.metrics.ended_late(journal.action, _ending_of(late))
        )
        raise too_late()
    finally:
        job.cancel()


def when_ended(
    job: Future[Any], loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: object
) -> None:
    """Have the event loop make a call as soon as the job has ended, unless it is closed by then."""
    job.add_done_callback(lambda _: loop.is_closed() or loop.call_soon_threadsafe(call, *args))


def _carry_out[T](
    jobs: list[Future[T]], context: contextvars.Context, work: Callable[[], T]
) -> None:
    """Do the work of the one job, unless nobody waits for it any more."""
    # A job that failed holds the error, and so this frame and the pool's. If these held the job,
    # too, all of them would wait for the garbage collector.
    job = jobs.pop()
    if job.set_running_or_notify_cancel():
        try:
            job.set_result(context.run(work))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            job.set_exception(error)
    del job


async def _ends(job: Future[Any], within_s: float) -> bool:
    """Wait until the job has ended or ``within_s`` (seconds) are over; say whether it has.

    ``asyncio.wait`` on a wrapped future does the same at three times the cost.
    """
    loop = asyncio.get_running_loop()
    woken = loop.create_future()
    timer = loop.call_later(within_s, wake, woken)
    when_ended(job, loop, wake, woken)
    try:
        await woken
    finally:
        timer.cancel()
    return job.done()


def wake(woken: asyncio.Future[None]) -> None:
    """End the wait for this, unless it has ended or was given up."""
    if not woken.done():
        woken.set_result(None)


def _ending_of(late: Future[Any]) -> str:
    error = late.exception()
    return "done" if error is None else type(error).__name__
