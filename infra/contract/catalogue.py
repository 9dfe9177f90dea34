"""The operations of all capabilities, and the words about the service as a whole. Pure.

A new capability is one entry here. Does *not* know any format of documents.
"""

from typing import Any

from infra.contract.operations import cancel_appointment, describe_api, list_bookings
from infra.contract.operations.published import Guard, Published

VERSION = "1.0"
SCOPE = "Appointments.Cancel"
TITLE = "Cancel Bookings Appointments"
DESCRIPTION = (
    "Cancels appointments of Microsoft Bookings through Microsoft Graph, on behalf of the "
    "signed-in user, and lists what there is to cancel. "
    "Every answer is JSON of one contract, which only ever grows: clients ignore members "
    "that they do not know, and decide on codes, never on texts."
)
# These sections follow the description in documents that show headings.
SECTIONS = f"""

## Authentication

Send an access token of Microsoft Entra ID *for this API* with every request: \
`Authorization: Bearer <token>`. The token stands for a signed-in user and holds the scope \
`{SCOPE}`. The full name of the scope begins with the application ID URI, e.g. \
`api://<client id of this API>/{SCOPE}`. Browsers and apps get the token by the authorization \
code flow with PKCE. The service refuses an ID token, a token for Microsoft Graph, and a token of \
an application without a user.

An answer 401 with `interaction_required` holds `claims`: hand them to the next sign-in. Webhooks \
are signed and need no token. This document and the health check need neither.

## Signing

Webhooks follow [Standard Webhooks](https://www.standardwebhooks.com). Sign \
`<webhook-id>.<webhook-timestamp>.<body>` with HMAC-SHA256. Your secret is `whsec_` and the key \
in base64. Send three headers:

- `webhook-id`: a name for this delivery, the same in its repeats;
- `webhook-timestamp`: the time of this attempt in seconds since 1970, within five minutes of the \
service's clock;
- `webhook-signature`: `v1,` and the base64 of the signature; separate several by spaces.

Sign the bytes of the body exactly as you send them. A repeat has the same `webhook-id`, a new \
time and a new signature. You may use the names of Svix instead (`svix-id`, `svix-timestamp`, \
`svix-signature`)."""
# Whoever runs the service puts their own here; the connector's readme says where.
CONTACT = {
    "name": "The operator of this service",
    "url": "https://bookings.example.com/support",
    "email": "support@bookings.example.com",
}
WEBSITE = "https://bookings.example.com"
PRIVACY_POLICY = "https://bookings.example.com/privacy"
HOST = "your-function-app.azurewebsites.net"
BASE_PATH = "/api"
AUTHORIZATION_URL = "https://login.microsoftonline.com/common/oauth2/v2.0/authorize"
TOKEN_URL = "https://login.microsoftonline.com/common/oauth2/v2.0/token"

TAGS = {
    "Appointments": "What can be done with appointments.",
    "Webhooks": "For systems without a signed-in user.",
    "Lists": "What there is to choose from.",
    "Service": "The service itself.",
}

OPERATIONS: tuple[Published, ...] = (
    *cancel_appointment.OPERATIONS,
    *list_bookings.OPERATIONS,
    *describe_api.OPERATIONS,
)

A_PROBLEM = "A problem: its `code` says which."
ANY_OTHER = f"{A_PROBLEM} Any other status, also one that is new."

RESPONSE_HEADERS: dict[str, dict[str, Any]] = {
    "Retry-After": {
        "description": "Seconds to wait before the same request is sent again.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 3600},
    },
    "WWW-Authenticate": {
        "description": (
            "A challenge: Bearer (RFC 6750), with the claims challenge where there is one. For "
            "webhooks: StandardWebhooks."
        ),
        "schema": {"type": "string"},
    },
    "x-correlation-id": {
        "description": "The caller's correlation id, if the caller sent one.",
        "schema": {"type": "string"},
    },
    "ETag": {"description": "Names this version of the document.", "schema": {"type": "string"}},
}


def response_headers(operation: Published, status: int) -> dict[str, bool]:
    """Return the headers of an answer with this status, and whether it always has them."""
    rows = operation.rows().get(status, [])
    headers: dict[str, bool] = {}
    if any(row.retryable for row in rows):
        headers["Retry-After"] = all(row.retryable for row in rows)
    if any(row.challenge for row in rows):
        headers["WWW-Authenticate"] = all(row.challenge for row in rows)
    if operation.guard is not Guard.NOBODY:
        headers["x-correlation-id"] = False
    if operation is describe_api.GET_DOCUMENT:
        headers["ETag"] = True
    return headers


def described(operation: Published, status: int) -> str:
    """Say in one sentence what an answer with this status means, with its codes."""
    if status == 200:
        return operation.answered
    if status == 304:
        return "Nothing has changed."
    codes = "; ".join(f"{row.code}: {row.title}" for row in operation.rows()[status])
    return f"{A_PROBLEM} {codes}."
