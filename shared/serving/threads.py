"""Work on a thread, for a caller who waits on the event loop.

Owns how long a caller waits for a free thread, and for the work. Does *not* know what the work is.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from shared.errors import FacadeError, Overloaded
from shared.telemetry.journal import Journal
from shared.transport.deadline import Deadline

# How far a thread may overrun its deadline before the caller gets an answer without it. It lies
# within the reserve of Services.deadline.
_BACKSTOP_S = 0.4
# The share of the remaining time that a request may wait for its lane, or for a thread.
SHARE_FOR_WAITING = 0.6


async def on_thread[T](
    threads: ThreadPoolExecutor,
    work: Callable[[], T],
    deadline: Deadline,
    journal: Journal,
    *,
    too_late: Callable[[], FacadeError],
) -> T:
    """Return what ``work`` does on one of these threads.

    Errors: those of ``work``; Overloaded when no thread was free in time, and then the work never
    begins. After the deadline the caller gets ``too_late`` and the thread goes on: its records stay
    true, and a metric tells how it ended.
    """
    job = threads.submit(contextvars.copy_context().run, work)
    if await _ends(job, deadline.remaining_s() * SHARE_FOR_WAITING):
        return job.result()
    if job.cancel():  # False once it runs: a thread cannot be stopped
        raise Overloaded("This service has more requests than it can finish in time.")
    if await _ends(job, deadline.remaining_s() + _BACKSTOP_S):
        return job.result()
    job.add_done_callback(lambda late: journal.metrics.ended_late(journal.action, _ending_of(late)))
    raise too_late()


async def _ends[T](job: Future[T], within_s: float) -> bool:
    """Wait until the job has ended or ``within_s`` (seconds) are over; say whether it has.

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
    except asyncio.CancelledError:  # nobody waits any more, so what has not begun need not begin
        job.cancel()
        raise
    finally:
        timer.cancel()
    return job.done()


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def _ending_of[T](late: Future[T]) -> str:
    error = late.exception()
    return "done" if error is None else type(error).__name__
