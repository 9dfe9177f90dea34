"""The HTTP triggers of this capability. The only file here that imports azure.functions."""

import azure.functions as func

from list_bookings.operation import ListAppointments, ListBusinesses
from shared.endpoint import Endpoint

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
_businesses = Endpoint("list_businesses", ListBusinesses)
_appointments = Endpoint("list_appointments", ListAppointments)


@blueprint.route("v1/businesses", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def list_businesses(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """List the booking businesses that the caller may see."""
    return await _businesses.answer(req, context)


@blueprint.route("v1/businesses/{businessId}/appointments", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def list_appointments(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """List the appointments of one booking business in a span of time."""
    return await _appointments.answer(req, context)
