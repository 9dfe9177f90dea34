"""The same job with Microsoft's own libraries, azure-identity and msgraph-sdk.

Neither of them looks at the caller's token. It runs in an environment of its own.
"""

import asyncio
import json
import os
import ssl
import sys
from typing import Annotated, Any

import azure.functions as func
import httpx
from azure.identity import OnBehalfOfCredential
from kiota_authentication_azure.azure_identity_authentication_provider import (
    AzureIdentityAuthenticationProvider,
)
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.solutions.booking_businesses.item.appointments.item.cancel import (
    cancel_post_request_body,
)
from msgraph_core import GraphClientFactory
from pydantic import BaseModel, ConfigDict, Field

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


class Asked(BaseModel):
    """The body."""

    model_config = ConfigDict(extra="forbid")

    businessId: Annotated[str, Field(min_length=1, max_length=320)]  # noqa: N815
    appointmentId: Annotated[str, Field(min_length=1, max_length=1024)]  # noqa: N815
    cancellationMessage: Annotated[str, Field(max_length=2000)] = (  # noqa: N815
        "Your appointment has been cancelled."
    )


@app.route("v1/cancel-appointment", methods=["POST"])  # type: ignore[untyped-decorator, unused-ignore]
async def cancel(req: func.HttpRequest) -> func.HttpResponse:
    """Cancel, as the samples of both libraries do it.

    Only the addresses are the local stack's, and one root more is trusted than usual.
    """
    settings, asked = os.environ, Asked.model_validate_json(req.get_body())
    credential = OnBehalfOfCredential(
        settings["TENANT_ID"],
        settings["CLIENT_ID"],
        client_secret=settings["CLIENT_SECRET"],
        user_assertion=req.headers["authorization"].removeprefix("Bearer "),
        authority=settings["ENTRA_AUTHORITY_HOST"],
        disable_instance_discovery=True,
        connection_verify=settings["BUNDLE"],
    )
    trust = ssl.create_default_context(cafile=settings["BUNDLE"])
    client = GraphClientFactory.create_with_default_middleware(
        client=httpx.AsyncClient(verify=trust, http2=True)
    )
    provider = AzureIdentityAuthenticationProvider(
        credential,
        scopes=["https://graph.microsoft.com/BookingsAppointment.ReadWrite.All"],
        allowed_hosts=["localhost"],
    )
    adapter = GraphRequestAdapter(provider, client=client)
    adapter.base_url = f"{settings['GRAPH_ENDPOINT']}/v1.0"
    business = GraphServiceClient(
        request_adapter=adapter
    ).solutions.booking_businesses.by_booking_business_id(asked.businessId)
    await business.appointments.by_booking_appointment_id(asked.appointmentId).cancel.post(
        cancel_post_request_body.CancelPostRequestBody(
            cancellation_message=asked.cancellationMessage
        )
    )
    return func.HttpResponse(
        json.dumps({"cancelled": True}), status_code=200, mimetype="application/json"
    )


def main(asked: dict[str, Any]) -> None:
    """Ask once."""
    request = func.HttpRequest(
        "POST",
        "https://localhost/api/v1/cancel-appointment",
        headers={"authorization": f"Bearer {asked['token']}", "content-type": "application/json"},
        body=asked["body"].encode(),
    )
    handler = app.get_functions()[0].get_user_function()
    answer = asyncio.run(handler(request))
    sys.stdout.write(json.dumps({"status": answer.status_code}) + "\n")
    sys.stdout.flush()
    os._exit(0)


main(json.loads(os.environ["ASKED"]))
