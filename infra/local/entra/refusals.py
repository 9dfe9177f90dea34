"""A refusal on its way out of the Entra simulator: the exception that the checks raise, and the
answer it becomes. The words are in ``entra_errors``.
"""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

from infra.local.entra.errors import CONDITIONAL_ACCESS_CLAIMS, REFUSALS, SIGN_IN_REFUSALS

ERROR_PAGE = "https://login.microsoftonline.com/error?code="


class Refused(Exception):
    """The request is refused with this AADSTS code.

    ``text`` replaces the row's words; ``claims`` (JSON) the row's challenge.
    """

    def __init__(
        self,
        code: int,
        text: str | None = None,
        *,
        claims: str | None = None,
        error: str | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.text = text
        self.claims = claims
        self.error = error


@dataclass(frozen=True, slots=True)
class RefusalAnswer:
    """What goes over the wire."""

    status: int
    body: dict[str, object]
    headers: dict[str, str] = field(default_factory=dict)


def say_refusal(
    refused: Refused, *, now: float, correlation_id: str | None = None
) -> RefusalAnswer:
    """Compose the answer as Entra words it: the description ends in trace id, correlation id and
    time, on lines of their own (CR LF).
    """
    row = REFUSALS.get(refused.code) or SIGN_IN_REFUSALS[refused.code]
    trace_id, correlation_id = str(uuid.uuid4()), correlation_id or str(uuid.uuid4())
    timestamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    tail = f"\r\nTrace ID: {trace_id}\r\nCorrelation ID: {correlation_id}\r\nTimestamp: {timestamp}"
    body: dict[str, object] = {
        "error": refused.error or row.error,
        "error_description": f"AADSTS{refused.code}: {refused.text or row.text}{tail}",
        "error_codes": [refused.code],
        "timestamp": timestamp,
        "trace_id": trace_id,
        "correlation_id": correlation_id,
        "error_uri": f"{ERROR_PAGE}{refused.code}",
    }
    if row.suberror:
        body["suberror"] = row.suberror
    if row.claims or refused.claims:
        body["claims"] = refused.claims or CONDITIONAL_ACCESS_CLAIMS
    headers = {"x-ms-request-id": trace_id}
    if row.retry_after_s is not None:
        headers["Retry-After"] = str(row.retry_after_s)
    return RefusalAnswer(row.status, body, headers)
