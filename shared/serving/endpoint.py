"""An HTTP endpoint of the Function App: translates requests and responses of the platform.

Every capability uses it. Owns what a worker has once, built from the environment on first use. The
only file of ``shared/`` that imports azure.functions.
"""

import contextlib
import math
import os
import threading
from collections.abc import Callable

import azure.functions as func

from shared.services import Services
from shared.serving.requests import Incoming, Operation, Route, Work, Worker

_worker = Worker(os.environ)


def _warm() -> None:
    with contextlib.suppress(Exception):  # raised again, and answered, to who needs them
        _worker.services.get()


_warmer = threading.Thread(target=_warm, name="warm-up", daemon=True)


def warm_up() -> None:
    """Start in the background what the first request would wait for. Raises nothing."""
    with contextlib.suppress(RuntimeError):  # it began before, or no thread is free
        _warmer.start()


class Endpoint[W: Work]:
    """Answers the requests of one route of the platform. The parameters are those of ``Route``."""

    def __init__(
        self, action: str, build: Callable[[Services], Operation[W]], *, within_s: float = math.inf
    ) -> None:
        self._route = Route(_worker, action, build, within_s=within_s)

    async def answer(self, req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
        """Answer one request; raises nothing.

        ``context`` is what the platform says about the invocation.
        """
        # The parent of the request's trace is the host's own span of it, a child of the caller's;
        # without one, what the caller sent. What the runtime may have attached to this thread does
        # not count: that depends on settings, and happens only for async functions.
        traceparent = context.trace_context.trace_parent or req.headers.get("traceparent")
        reply = await self._route.answer(
            Incoming(req.headers, req.get_body(), req.route_params, req.params, traceparent)
        )
        return func.HttpResponse(reply.body, status_code=reply.status, headers=dict(reply.headers))
