"""The two calls to Graph that this capability makes: cancel an appointment, and look whether it
stands.

Owns their paths and bodies. Does *not* decide what their answers mean.
"""

from typing import Protocol

from cancel_appointment.request import CancelRequest
from shared.entra.graph_token import GraphToken
from shared.graph.endings import Seen


class Appointments(Protocol):
    """Appointments at Microsoft Graph.

    Neither call raises for what Graph or the network may do. ``timeout_s`` in seconds.
    """

    def cancel(
        self, request: CancelRequest, token: GraphToken, *, request_id: str, timeout_s: float
    ) -> Seen:
        """Cancel the appointment, once. Success is 204."""
        ...

    def look(
        self, request: CancelRequest, token: GraphToken, *, request_id: str, timeout_s: float
    ) -> Seen:
        """Read the appointment; changes nothing. Success is 200."""
        ...


class _Graph(Protocol):
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
    ) -> Seen: ...


class GraphAppointments:
    """``Appointments`` over Graph.

    ``root`` are the segments before the business, e.g. ``("solutions", "bookingBusinesses")``.
    """

    def __init__(self, graph: _Graph, root: tuple[str, ...], default_message: str) -> None:
        self._graph = graph
        self._root = root
        self._default_message = default_message

    def cancel(
        self, request: CancelRequest, token: GraphToken, *, request_id: str, timeout_s: float
    ) -> Seen:
        """Send bookingAppointment: cancel.

        A message always goes with it: Graph may refuse an empty one.
        """
        body = {"cancellationMessage": request.cancellation_message or self._default_message}
        segments = (*self._path(request), "cancel")
        return self._graph.call(
            "POST",
            segments,
            token,
            request_id=request_id,
            timeout_s=timeout_s,
            step="cancel",
            body=body,
        )

    def look(
        self, request: CancelRequest, token: GraphToken, *, request_id: str, timeout_s: float
    ) -> Seen:
        """Send Get bookingAppointment."""
        return self._graph.call(
            "GET",
            self._path(request),
            token,
            request_id=request_id,
            timeout_s=timeout_s,
            step="look",
        )

    def _path(self, request: CancelRequest) -> tuple[str, ...]:
        return (*self._root, request.business_id, "appointments", request.appointment_id)
