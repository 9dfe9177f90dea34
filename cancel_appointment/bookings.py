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

    Neither call raises for what Graph or the network may do. ``appointment_id`` is that of the
    request, in the spelling to send. ``timeout_s`` in seconds; ``fresh``: over a new connection.
    """

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
        """Cancel the appointment, once. Success is 204."""
        ...

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
        fresh: bool = False,
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
        self,
        request: CancelRequest,
        appointment_id: str,
        token: GraphToken,
        *,
        call_id: str,
        timeout_s: float,
        fresh: bool,
    ) -> Seen:
        """Send bookingAppointment: cancel.

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
        """Send Get bookingAppointment."""
        return self._graph.call(
            "GET",
            (*self._root, request.business_id, "appointments", appointment_id),
            token,
            request_id=call_id,
            timeout_s=timeout_s,
            step="look",
            fresh=fresh,
        )
