"""Cancels one Bookings appointment without a person: a signed webhook (Standard Webhooks).

    pip install requests
    API=https://contoso-bookings.azurewebsites.net/api WEBHOOK_SECRET=whsec_... \
        python webhook_sender.py BUSINESS_ID APPOINTMENT_ID ["A message to the customer"]

Needs bookings_client.py beside it. WEBHOOK_ID names the delivery, to repeat an earlier one.
Ends with 0: cancelled, 3: not found, 1: anything else, 2: called wrongly.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping

import requests
from bookings_client import Answer, post, run, say, settle


def send_webhook(
    api: str,
    request: Mapping[str, str],
    secret: str,
    *,
    webhook_id: str,
    session: requests.Session | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """Cancel and return the service's answer, whose ``outcome`` is ``cancelled`` or ``not_found``.

    Errors: CancelFailedError. All attempts have one ``webhook_id``, so they are one delivery.
    """
    session = session or requests.Session()
    url = f"{api}/v1/webhooks/cancel-appointment"
    body = json.dumps(request).encode()  # sign the bytes that are sent

    def send() -> tuple[int, Answer]:
        headers = {"Content-Type": "application/json", **sign(body, secret, webhook_id)}
        return post(session, url, headers, data=body)

    return settle(send, sleep=sleep)


def sign(body: bytes, secret: str, webhook_id: str) -> dict[str, str]:
    """Return the headers of one attempt, signed anew, because a signature ages."""
    timestamp = str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
    }


def main(arguments: list[str]) -> int:
    """Cancel what the arguments name."""
    webhook_id = os.environ.get("WEBHOOK_ID") or f"cancel-{uuid.uuid4()}"
    say(f"webhook-id {webhook_id}")
    return run(
        __doc__,
        arguments,
        ("API", "WEBHOOK_SECRET"),
        lambda request: send_webhook(
            os.environ["API"], request, os.environ["WEBHOOK_SECRET"], webhook_id=webhook_id
        ),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
