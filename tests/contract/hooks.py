"""What schemathesis cannot know from a document.

That is: dates that make sense together, two rules between values, and that a code has to be a
documented one. Schemathesis loads this as its hooks (``schemathesis.toml``), in a process of its
own.
"""

import base64
import hmac
import itertools
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import schemathesis
from hypothesis import strategies as st
from requests import PreparedRequest
from requests.auth import AuthBase

from infra.contract.catalogue import OPERATIONS
from infra.local import seed
from shared.identity.webhooks import (
    ID_PATTERN,
    LONGEST_SIGNATURES,
    SIGNATURES_PATTERN,
    TIMESTAMP_PATTERN,
)
from shared.serving.problems import BUG, TABLE

_numbers = itertools.count()

LONGEST_SPAN = timedelta(days=366)
KNOWN = {operation.operation_id: operation for operation in OPERATIONS}
# A key may have come before with another body, and the same request may be running: nothing in a
# request can tell.
ACCEPTED = {"idempotency_key_reused", "request_in_progress", "business_not_found"}


def written(moment: datetime, zone: str, digits: int) -> str:
    fraction = f".{moment.microsecond:06d}000"[: digits + 1] if digits else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}{zone}"


# Mostly within one year, so that two of them often make a span; in every form that RFC 3339 allows.
MOMENTS = st.one_of(
    st.datetimes(datetime(2027, 1, 1), datetime(2027, 12, 31)), st.datetimes(datetime(1000, 1, 1))
)
ZONES = st.sampled_from(["Z", "z", "+00:00", "-00:00", "+05:45", "-11:30", "+14:00"])
schemathesis.openapi.format("date-time", st.builds(written, MOMENTS, ZONES, st.integers(0, 9)))


class Signature(AuthBase):
    """Signs what is sent as Standard Webhooks says.

    It signs only if all three headers have their form, so a header at fault stays so.
    """

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        webhook_id, timestamp, signatures = (
            _text(request.headers.get(f"webhook-{part}", ""))
            for part in ("id", "timestamp", "signature")
        )
        body = request.body or b""
        if (
            re.fullmatch(ID_PATTERN, webhook_id)
            and re.fullmatch(TIMESTAMP_PATTERN, timestamp)
            and re.fullmatch(SIGNATURES_PATTERN, signatures)
            and len(signatures) <= LONGEST_SIGNATURES
        ):
            now = datetime.now(UTC).replace(microsecond=0)
            request.headers["webhook-timestamp"] = str(int(now.timestamp()))
            signed = f"{webhook_id}.{int(now.timestamp())}.".encode() + (
                body if isinstance(body, bytes) else body.encode()
            )
            digest = hmac.digest(
                base64.b64decode(seed.WEBHOOK_SECRET.removeprefix("whsec_")), signed, "sha256"
            )
            request.headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
        return request


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Sign webhooks.

    In every other good request put the business that the key is good for, and an id that did not
    come before.
    """
    if case.operation.definition.raw["operationId"] != "CancelAppointmentByWebhook":
        return
    kwargs["auth"] = Signature()
    good = (
        case.meta is not None
        and case.meta.generation.mode.is_positive
        and isinstance(case.body, dict)
    )
    if good and next(_numbers) % 2:
        case.body = {**case.body, "businessId": seed.LUNCH_DELIVERY}
        case.headers = {**(case.headers or {}), "webhook-id": f"msg_{next(_numbers)}"}


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Leave out requests about which the document and the service disagree for a known reason.

    A null in the place of a message counts as absent, and Swagger 2.0 has no words for that. The
    host itself refuses some headers, because they are sent in Latin-1 and read in UTF-8.
    """
    no_message = isinstance(case.body, dict) and case.body.get("cancellationMessage", "") is None
    return not no_message and all(str(value).isascii() for value in (case.headers or {}).values())


@schemathesis.check
def valid_requests_are_accepted(context: Any, response: Any, case: Any) -> None:
    """A request that the document allows is answered 200, or breaks a rule between values.

    It may get 404 where a list's business does not exist, and 400 where Microsoft Graph splits the
    address at a slash of an id, in both spellings.
    """
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code < 400:
        return
    body = response.json()
    if body["code"] in ACCEPTED or response.status_code in (401, 403):
        return  # what other checks do without a token
    said = body.get("upstream", {})
    if (said.get("status"), said.get("code")) == (400, "RequestBroker--ParseUri"):
        sent = case.body if isinstance(case.body, dict) else {}
        assert body["code"] == "invalid_request"
        assert any("/" in str(sent.get(name)) for name in ("businessId", "appointmentId"))
        return
    beyond_words = case.operation.definition.raw[
        "operationId"
    ] == "ListAppointments" and not span_is_possible(case.query or {})
    if not (
        beyond_words
        and body["code"] == "invalid_request"
        and {fault["field"] for fault in body["errors"]} <= {"start", "end"}
    ):
        raise AssertionError(
            f"a valid request was answered {response.status_code}: {response.text}"
        )


@schemathesis.check
def codes_are_documented(context: Any, response: Any, case: Any) -> None:
    """An operation's problem has a documented code.

    The body agrees with the status and the headers.
    """
    if response.status_code < 400 or not response.content:
        return
    body = json.loads(response.content)
    rows = KNOWN[case.operation.definition.raw["operationId"]].rows()
    assert body["code"] in {row.code for row in rows[response.status_code]}, (
        f"{body['code']} is not documented for {response.status_code}"
    )
    assert body["status"] == response.status_code
    assert body["retryable"] is next(
        row.retryable for row in (*TABLE.values(), BUG) if row.code == body["code"]
    )
    waits = [str(body["retryAfterSeconds"])] if "retryAfterSeconds" in body else []
    assert list(response.headers.get("retry-after", [])) == waits


def span_is_possible(query: dict[str, Any]) -> bool:
    """Tell whether there is such a span.

    It runs forward, is not too long, and lies within the calendar.
    """
    try:
        start = (
            moment(query["start"])
            if query.get("start")
            else datetime.now(UTC).replace(microsecond=0)
        )
        end = moment(query["end"]) if query.get("end") else start + timedelta(days=30)
    except OverflowError:
        return False
    return start < end <= start + LONGEST_SPAN


def moment(text: str) -> datetime:
    whole, zone = (text[:-1], "+00:00") if text[-1] in "zZ" else (text[:-6], text[-6:])
    return datetime.fromisoformat(whole[:19] + zone).astimezone(UTC)
