"""A program that goes to Graph directly, with Microsoft's own libraries.

azure-identity signs a person in by device code; msgraph-sdk lists, reads and cancels. Only the
addresses, and what is trusted, are the local stack's. Runs in an environment of its own (``make
sdk``), which has both packages.
"""

import asyncio
import os
import ssl
import sys

import httpx
from azure.identity import DeviceCodeCredential
from kiota_authentication_azure.azure_identity_authentication_provider import (
    AzureIdentityAuthenticationProvider,
)
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.solutions.booking_businesses.item.appointments.item.cancel import (
    cancel_post_request_body,
)
from msgraph_core import GraphClientFactory


def tell(step: str, *told: object) -> None:
    """Print a line."""
    sys.stdout.write(" ".join((step, *map(str, told))) + "\n")


async def main(business_id: str, appointment_id: str) -> None:
    """Print what Graph says, a line for each step."""
    setting = os.environ
    credential = DeviceCodeCredential(
        client_id=setting["CLIENT_ID"],
        tenant_id=setting["TENANT_ID"],
        authority=setting["AUTHORITY_HOST"],
        disable_instance_discovery=True,
    )
    trust = ssl.create_default_context(cafile=setting["REQUESTS_CA_BUNDLE"])
    http = GraphClientFactory.create_with_default_middleware(client=httpx.AsyncClient(verify=trust))
    provider = AzureIdentityAuthenticationProvider(
        credential,
        scopes=["https://graph.microsoft.com/.default"],
        allowed_hosts=["localhost"],
    )
    adapter = GraphRequestAdapter(provider, http)
    adapter.base_url = f"{setting['GRAPH']}/v1.0"
    businesses = GraphServiceClient(request_adapter=adapter).solutions.booking_businesses
    listed = await businesses.get()
    tell("businesses", *(one.id for one in (listed and listed.value) or []))
    business = businesses.by_booking_business_id(business_id)
    appointments = await business.appointments.get()
    tell("appointments", *(one.id for one in (appointments and appointments.value) or []))
    appointment = business.appointments.by_booking_appointment_id(appointment_id)
    read = await appointment.get()
    tell("read", read and read.id)
    await appointment.cancel.post(
        cancel_post_request_body.CancelPostRequestBody(cancellation_message="Bye, says the SDK.")
    )
    try:
        await appointment.get()
    except ODataError as error:
        tell("afterwards", error.response_status_code)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
