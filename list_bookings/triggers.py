"""The HTTP triggers of this capability. The only file here that imports azure.functions."""

from typing import TYPE_CHECKING

import azure.functions as func

from shared.services import Services
from shared.serving.endpoint import Endpoint

if TYPE_CHECKING:
    from list_bookings.operation import ListAppointments, ListBusinesses

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]


# Most workers only cancel. They start without the lists, which the first request for one imports.
def _list_businesses(services: Services) -> "ListBusinesses":
    from list_bookings.operation import ListBusinesses

    return ListBusinesses(services)


def _list_appointments(services: Services) -> "ListAppointments":
    from list_bookings.operation import ListAppointments

    return ListAppointments(services)


_businesses = Endpoint("list_businesses", _list_businesses)
_appointments = Endpoint("list_appointments", _list_appointments)


@blueprint.route("v1/businesses", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def list_businesses(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """List the booking businesses that the caller may see."""
    return await _businesses.answer(req, context)


@blueprint.route(
    "v1/businesses/{businessId}/appointments", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS
)
async def list_appointments(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """List the appointments of one booking business in a span of time."""
    return await _appointments.answer(req, context)
