"""One exchange with the Graph simulator: the request, and the ids that its answer carries.

Owns the headers and the error form of every answer. Does *not* decide what the answer is.
"""

import uuid

from aiohttp import web

from infra.local.graph.wire import DIAGNOSTIC, GraphRefusal, Json, error_body


class Exchange:
    """One request, the ids its answer carries, and the era of the calendars it came in."""

    def __init__(self, request: web.Request, era: int) -> None:
        self.request = request
        self.era = era
        self._request_id = str(uuid.uuid4())
        self._client_request_id = request.headers.get("client-request-id") or self._request_id

    def say(self, body: dict[str, Json], *, status: int = 200) -> web.Response:
        """Answer with JSON."""
        return self.sign(web.json_response(body, status=status))

    def refuse(self, refusal: GraphRefusal) -> web.Response:
        """Answer with an error in Graph's own form."""
        request_id = self._request_id if refusal.inner_error else ""
        answer = self.say(
            error_body(refusal.code, refusal.message, request_id, self._client_request_id),
            status=refusal.status,
        )
        answer.headers.update(refusal.headers)
        return answer

    def sign[Answer: web.StreamResponse](self, answer: Answer) -> Answer:
        """Add the headers that every answer of Graph carries.

        HTML comes from a proxy in front of Graph, which knows none of them.
        """
        if answer.content_type != "text/html":
            answer.headers.setdefault("request-id", self._request_id)
            answer.headers.setdefault("client-request-id", self._client_request_id)
            answer.headers.setdefault("x-ms-ags-diagnostic", DIAGNOSTIC)
        return answer
