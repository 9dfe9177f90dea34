"""The two calls to Graph of this capability: cancel an appointment, and look at it (read it).

Owns their paths and bodies. Does *not* send them, nor decide what their answers mean.
"""

from dataclasses import dataclass

from cancel_appointment.request import CancelRequest
from shared.graph.client import LARGEST_READ_BYTES, GraphRequest


@dataclass(frozen=True, slots=True)
class Appointments:
    """Appointments at Microsoft Graph.

    ``root`` are the segments before the business, e.g. ``("solutions", "bookingBusinesses")``. Of
    both calls ``appointment_id`` is that of the request, in the spelling to send.
    """

    root: tuple[str, ...]
    default_message: str

    def cancel(self, request: CancelRequest, appointment_id: str) -> GraphRequest:
        """Return bookingAppointment: cancel. Success is 204.

        A message always goes with it: Graph may refuse an empty one.
        """
        return GraphRequest(
            "cancel",
            "POST",
            (*self.root, request.business_id, "appointments", appointment_id, "cancel"),
            body={"cancellationMessage": request.cancellation_message or self.default_message},
        )

    def look(self, request: CancelRequest, appointment_id: str) -> GraphRequest:
        """Return Get bookingAppointment; it changes nothing. Success is 200."""
        return GraphRequest(
            "look",
            "GET",
            (*self.root, request.business_id, "appointments", appointment_id),
            limit_bytes=LARGEST_READ_BYTES,
        )
