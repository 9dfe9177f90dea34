"""The two calls to Graph of this capability: cancel an appointment, and look whether it stands.

Owns their paths and bodies. Does *not* decide what their answers mean.
"""

from typing import Protocol

from cancel_appointment.request import CancelRequest
from shared.entra.graph_token import GraphToken
from shared.graph.endings import Seen


class Graph(Protocol):
    """Calls Graph; raises nothing for what Graph or the network may do."""

    def call(
        self,
        method: str,
        segments: tuple[str, ...],
        token: GraphToken,
        *,
        request_id: str,
        timeout_s: float,
        step: str,
        body: dict[str, str] | None = None,
        fresh: bool = False,
    ) -> Seen:
        """Send one request and return how it ended."""
        ...


class Appointments:
    """Appointments at Microsoft Graph.

    ``root`` are the segments before the business, e.g. ``("solutions", "bookingBusinesses")``.

    Of both calls ``appointment_id`` is that of the request, in the spelling to send. ``timeout_s``
    is in seconds. ``fresh``: over a new connection.
    """

    def __init__(self, graph: Graph, root: tuple[str, ...], default_message: str) -> None:
        self._graph = graph
        self._root = root
        self._default_message = default_message

    def cancel(
        self,
        request: CancelRequest,
        appointment_id: str,
        token: GraphToken,
        *,
        call_id: str,
        timeout_s: float,
        fresh: bool,
    ) -> Seen:
        """Send bookingAppointment: cancel, once. Success is 204.

        A message always goes with it: Graph may refuse an empty one.
        """
        return self._graph.call(
            "POST",
            (*self._root, request.business_id, "appointments", appointment_id, "cancel"),
            token,
            request_id=call_id,
            timeout_s=timeout_s,
            step="cancel",
            body={"cancellationMessage": request.cancellation_message or self._default_message},
            fresh=fresh,
        )

    def look(
        self,
        request: CancelRequest,
        appointment_id: str,
        token: GraphToken,
        *,
        call_id: str,
        timeout_s: float,
        fresh: bool,
    ) -> Seen:
        """Send Get bookingAppointment; changes nothing. Success is 200."""
        return self._graph.call(
            "GET",
            (*self._root, request.business_id, "appointments", appointment_id),
            token,
            request_id=call_id,
            timeout_s=timeout_s,
            step="look",
            fresh=fresh,
        )
