"""An HTTP endpoint of the Function App: translates the platform's request and response, for every capability alike.

Owns what a worker has once: the services, built from the environment on first use. The only file of ``shared/`` that imports azure.functions.
"""

import math
import os
import time
import uuid
from collections.abc import Callable

import azure.functions as func

from shared.lanes import Lanes
from shared.lazy import Lazy
from shared.services import Services, build_services
from shared.serving import Incoming, Operation, Work, open_lanes, serve
from shared.telemetry import Journal, read_correlation_id

_services = Lazy(lambda: build_services(os.environ))
_lanes: Lazy[Lanes] = Lazy(lambda: open_lanes(_services.get()))


class Endpoint[W: Work]:
    """Answers the requests of one route. ``action`` names it in the log; ``build`` makes its operation once per worker, on first use.

    ``within_s`` is what its callers wait at most, in seconds, where that may be less than REQUEST_DEADLINE_SECONDS.
    """

    def __init__(self, action: str, build: Callable[[Services], Operation[W]], *, within_s: float = math.inf) -> None:
        self._action = action
        self._within_s = within_s
        self._operation = Lazy(lambda: build(_services.get()))

    async def answer(self, req: func.HttpRequest) -> func.HttpResponse:
        """Answer one request; raises nothing."""
        journal = Journal(str(uuid.uuid4()), time.monotonic, read_correlation_id(req.headers.get("x-correlation-id")))
        journal.note(action=self._action)
        incoming = Incoming(req.headers, req.get_body(), req.route_params, req.params)
        reply = await serve(self._operation.get, _services, _lanes, incoming, journal, within_s=self._within_s)
        journal.write(reply.status, reply.code)
        headers = dict(reply.headers)
        if journal.correlation_id:
            headers["x-correlation-id"] = journal.correlation_id
        return func.HttpResponse(reply.body, status_code=reply.status, headers=headers)
