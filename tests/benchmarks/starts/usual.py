"""The same job as the usual samples do it.

Each request makes an MSAL application and a bare ``requests.post``. The caller's token is not
looked at.
"""

import json
import os
import sys
from typing import Annotated, Any
from urllib.parse import quote

import azure.functions as func
import msal
import requests
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
def cancel(req: func.HttpRequest) -> func.HttpResponse:
    """Cancel. Only the addresses are the local stack's, and one root more is trusted than usual."""
    settings, asked = os.environ, Asked.model_validate_json(req.get_body())
    application = msal.ConfidentialClientApplication(
        settings["CLIENT_ID"],
        client_credential=settings["CLIENT_SECRET"],
        authority=f"{settings['ENTRA_AUTHORITY_HOST']}/{settings['TENANT_ID']}",
        instance_discovery=False,
        verify=settings["BUNDLE"],
    )
    token = application.acquire_token_on_behalf_of(
        req.headers["authorization"].removeprefix("Bearer "),
        ["https://graph.microsoft.com/BookingsAppointment.ReadWrite.All"],
    )
    path = (
        f"solutions/bookingBusinesses/{quote(asked.businessId, safe='')}/appointments/"
        f"{quote(asked.appointmentId, safe='')}/cancel"
    )
    answer = requests.post(
        f"{settings['GRAPH_ENDPOINT']}/v1.0/{path}",
        json={"cancellationMessage": asked.cancellationMessage},
        headers={"Authorization": f"Bearer {token['access_token']}"},
        verify=settings["BUNDLE"],
        timeout=30,
    )
    answer.raise_for_status()
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
    answer = handler(request)
    sys.stdout.write(json.dumps({"status": answer.status_code}) + "\n")
    sys.stdout.flush()
    os._exit(0)


main(json.loads(os.environ["ASKED"]))
