"""The HTTP triggers of this capability. The only file here that imports azure.functions."""

from typing import TYPE_CHECKING

import azure.functions as func

from cancel_appointment.operation import CancelOperation
from shared.services import Services
from shared.serving.endpoint import Endpoint

if TYPE_CHECKING:
    from cancel_appointment.webhook_operation import WebhookOperation

WEBHOOK_WITHIN_S = 8.0  # senders of webhooks give up after ten seconds or more
blueprint = func.Blueprint()  # type: ignore[no-untyped-call]


# Webhooks are off in most places, so the start of a worker does not pay for them.
def _webhook_operation(services: Services) -> "WebhookOperation":
    from cancel_appointment.webhook_operation import WebhookOperation

    return WebhookOperation(services)


_cancel = Endpoint("cancel", CancelOperation)
_webhook = Endpoint("webhook", _webhook_operation, within_s=WEBHOOK_WITHIN_S)


@blueprint.route("v1/cancel-appointment", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def cancel_appointment(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """Cancel an appointment on behalf of the caller."""
    return await _cancel.answer(req, context)


@blueprint.route(
    "v1/webhooks/cancel-appointment", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS
)
async def cancel_appointment_by_webhook(
    req: func.HttpRequest, context: func.Context
) -> func.HttpResponse:
    """Cancel an appointment for a sender that signs its requests and acts for no user."""
    return await _webhook.answer(req, context)
