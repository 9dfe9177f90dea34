"""The HTTP client that MSAL is given.

Entra's answers as MSAL expects them, and everything else as a named error.

Owns time-outs, size limits and the reading of refusals, so that MSAL never sees (and never logs,
caches or re-raises) anything but usable JSON.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from shared.entra.refusals import describe_refusal, read_refusal
from shared.errors import UpstreamAnswer, UpstreamBroken, UpstreamUnavailable
from shared.strict_json import read_object
from shared.telemetry.journal import tell
from shared.transport.channel import Answer, Channel, NotSent, Unanswered
from shared.transport.connections import USER_AGENT
from shared.transport.deadline import Deadline
from shared.transport.retry_after import parse_retry_after

_log = logging.getLogger("facade.entra")
_CONNECT_S = 3.0
_CALL_S = 5.0
_SHORTEST_CALL_S = 0.05
_MAX_BODY_BYTES = 256 * 1024
_ID_HEADER = "client-request-id"  # MSAL sends it, and Entra repeats it
_HEADERS = {
    "User-Agent": USER_AGENT,
    "Accept-Encoding": "gzip, deflate",
    "Content-Type": "application/x-www-form-urlencoded",
}
_DISCOVERY_PATH = "/v2.0/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class EntraAnswer:
    """An answer in the shape that MSAL wants (msal/oauth2cli/http.py)."""

    status_code: int
    text: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


class EntraHttp:
    """Talks to one authority only, ``channel``'s, whatever address MSAL names; for one home tenant.

    Errors: every FacadeError that ``read_refusal`` names, UpstreamUnavailable, UpstreamBroken.
    """

    def __init__(self, channel: Channel, home_tenant: str, now: Callable[[], float]) -> None:
        self._channel = channel
        self._home_tenant = home_tenant
        self._now = now

    def get(self, url: str, **_: Any) -> EntraAnswer:
        """Answer MSAL's question for a tenant's endpoints without a call.

        In Entra ID they are fixed, and MSAL.NET composes them too (AadAuthority.cs). MSAL for
        Python asks in a constructor, where no deadline of a request reaches, and would believe any
        address that the answer names.
        """
        tenant = url.removesuffix(_DISCOVERY_PATH)
        if tenant == url:
            raise UpstreamBroken(
                "MSAL wanted to ask Entra for something that this service does not use.",
                upstream=UpstreamAnswer("entra"),
            )
        endpoints = {
            "authorization_endpoint": f"{tenant}/oauth2/v2.0/authorize",
            "token_endpoint": f"{tenant}/oauth2/v2.0/token",
        }
        return EntraAnswer(200, json.dumps(endpoints), {})

    def post(
        self, url: str, *, deadline: Deadline, data: Any, headers: Mapping[str, str], **_: Any
    ) -> EntraAnswer:
        """Send a token request.

        ``deadline`` arrives through MSAL, which hands unknown arguments on.
        """
        path = urlsplit(url).path
        tenant = path.lstrip("/").partition("/")[0]
        answer = self._send(path, data, headers, deadline)
        parsed = _parse_object(answer.body)
        if answer.status != 200 or parsed is None or "error" in parsed:
            tell(
                _log,
                logging.INFO,
                "entra_refused",
                "tenant=%s %s",
                tenant,
                describe_refusal(answer.status, parsed or {}),
            )
            raise read_refusal(
                answer.status,
                parsed or {},
                retry_after_s=parse_retry_after(answer.headers.get("retry-after"), self._now()),
                home_tenant=tenant == self._home_tenant,
            )
        # Without its headers: MSAL would cache a 200 that carries Retry-After.
        return EntraAnswer(answer.status, answer.body.decode("utf-8-sig"), {})

    def _send(self, path: str, data: Any, headers: Mapping[str, str], deadline: Deadline) -> Answer:
        left_s = max(_SHORTEST_CALL_S, min(_CALL_S, deadline.remaining_s()))
        try:
            return self._channel.exchange(
                "POST",
                path,
                {**_HEADERS, **headers},
                urlencode(data).encode("ascii"),
                connect_s=min(_CONNECT_S, left_s),
                total_s=left_s,
                limit_bytes=_MAX_BODY_BYTES,
                echo=_ID_HEADER if _ID_HEADER in headers else None,
            )
        except (NotSent, Unanswered) as error:
            tell(_log, logging.WARNING, "entra_unreachable", "error=%s", error.cause)
            raise UpstreamUnavailable(
                "Entra could not be reached.", upstream=UpstreamAnswer("entra")
            ) from error


def _parse_object(body: bytes) -> dict[str, Any] | None:
    if len(body) > _MAX_BODY_BYTES:
        return None
    try:
        return read_object(body.decode("utf-8-sig"))
    except ValueError:
        return None
