"""An HTTP endpoint of the Function App: translates requests and responses of the platform.

Every capability uses it. Owns what a worker has once: the services, built from the environment on
first use. The only file of ``shared/`` that imports azure.functions.
"""

import contextlib
import math
import os
import threading
import time
import uuid
from collections.abc import Callable

import azure.functions as func

from shared.lazy import Lazy
from shared.services import Services, build_services, start_telemetry
from shared.serving.lanes import Lanes
from shared.serving.requests import Incoming, Operation, Work, open_lanes, serve
from shared.telemetry.journal import Journal, read_correlation_id

_warming = threading.Lock()
_telemetry = Lazy(lambda: start_telemetry(os.environ))
_services = Lazy(lambda: _start_services())
_lanes: Lazy[Lanes] = Lazy(lambda: open_lanes(_services.get()))


def _start_services() -> Services:
    services = build_services(os.environ, _telemetry.get())
    services.warm()
    return services


def warm_up() -> None:
    """Start in the background what the first request would wait for, if nobody has yet.

    Raises nothing: whoever needs it later gets the error.
    """
    if _services.if_built() is None and _warming.acquire(blocking=False):
        try:
            threading.Thread(target=_warm, name="warm-up", daemon=True).start()
        except RuntimeError:  # no thread is free: the first request does it itself
            _warming.release()


def _warm() -> None:
    try:
        with contextlib.suppress(Exception):  # raised again, and answered, to who needs them
            _services.get()
    finally:
        _warming.release()


class Endpoint[W: Work]:
    """Answers the requests of one route.

    ``action`` names it in the log. ``build`` makes its operation once per worker, on first use.
    ``within_s`` is how long its callers wait at most, in seconds, if that may be less than
    REQUEST_DEADLINE_SECONDS.
    """

    def __init__(
        self, action: str, build: Callable[[Services], Operation[W]], *, within_s: float = math.inf
    ) -> None:
        self._action = action
        self._within_s = within_s
        self._operation: Lazy[Operation[W]] = Lazy(lambda: build(_services.get()))

    async def answer(self, req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
        """Answer one request; raises nothing.

        ``context`` is what the platform says about the invocation.
        """
        journal = Journal(
            str(uuid.uuid4()),
            time.monotonic,
            read_correlation_id(req.headers.get("x-correlation-id")),
            self._action,
        )
        incoming = Incoming(
            req.headers, req.get_body(), req.route_params, req.params, _traceparent(req, context)
        )
        reply = await serve(
            self._operation,
            _services,
            _lanes,
            _telemetry,
            incoming,
            journal,
            within_s=self._within_s,
        )
        journal.write(reply.status, reply.code)
        headers = dict(reply.headers)
        if journal.correlation_id:
            headers["x-correlation-id"] = journal.correlation_id
        return func.HttpResponse(reply.body, status_code=reply.status, headers=headers)


def _traceparent(req: func.HttpRequest, context: func.Context) -> str | None:
    """Return the parent of the request's trace.

    It is the host's own span of the request, a child of the caller's; without one, what the caller
    sent. It comes from the request and not from what the runtime may have attached to this thread:
    that depends on settings, and happens only for async functions.
    """
    given: str | None = context.trace_context.trace_parent or req.headers.get("traceparent")
    return given
