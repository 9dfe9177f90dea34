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
from urllib.parse import urlsplit

import requests
import urllib3

from shared.entra.refusals import describe_refusal, read_refusal
from shared.errors import UpstreamAnswer, UpstreamBroken, UpstreamUnavailable
from shared.transport.deadline import Deadline
from shared.transport.retry_after import parse_retry_after

_log = logging.getLogger("facade.entra")
_CONNECT_S = 3.0
_CALL_S = 5.0
_SHORTEST_CALL_S = 0.05
_MAX_BODY_BYTES = 256 * 1024
_DISCOVERY_PATH = "/v2.0/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class EntraAnswer:
    """A successful answer in the shape that MSAL wants (msal/oauth2cli/http.py).

    Its headers are dropped: MSAL would cache a 200 that carries Retry-After.
    """

    status_code: int
    text: str = field(repr=False)
    headers: Mapping[str, str]

    def raise_for_status(self) -> None:
        """Do nothing: only successes are ever built."""


class EntraHttp:
    """Talks to one authority host only, for one home tenant.

    Errors: every FacadeError that ``read_refusal`` names, UpstreamUnavailable, UpstreamBroken.
    """

    def __init__(
        self,
        session: requests.Session,
        authority_host: str,
        home_tenant: str,
        now: Callable[[], float],
    ) -> None:
        self._session = session
        self._authority_host = urlsplit(authority_host).netloc
        self._home_tenant = home_tenant
        self._now = now

    def get(self, url: str, **_: Any) -> EntraAnswer:
        """Answer MSAL's question for a tenant's endpoints without a call: in Entra ID they are
        fixed, and MSAL.NET composes them too (AadAuthority.cs).

        MSAL for Python asks in a constructor, where no deadline of a request reaches, and would
        believe any address that the answer names.
        """
        tenant = url.removesuffix(_DISCOVERY_PATH)
        if tenant == url:
            raise UpstreamBroken(
                "Entra was to be asked for something that this service does not use.",
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
        parts = urlsplit(url)
        if parts.scheme != "https" or parts.netloc != self._authority_host:
            raise UpstreamBroken(
                "Entra was to be asked at an address outside the authority.",
                upstream=UpstreamAnswer("entra"),
            )
        tenant = parts.path.lstrip("/").partition("/")[0]
        status, retry_after, body = self._send(url, data, headers, deadline)
        parsed = _parse_object(body)
        if status != 200 or parsed is None or "error" in parsed:
            _log.info(
                "event=entra_refused tenant=%s %s", tenant, describe_refusal(status, parsed or {})
            )
            raise read_refusal(
                status,
                parsed or {},
                retry_after_s=parse_retry_after(retry_after, self._now()),
                home_tenant=tenant == self._home_tenant,
            )
        return EntraAnswer(status, body.decode("utf-8"), {})

    def close(self) -> None:
        """Do nothing: the session belongs to the composition root."""

    def _send(
        self, url: str, data: Any, headers: Mapping[str, str], deadline: Deadline
    ) -> tuple[int, str | None, bytes]:
        """Return status, Retry-After and body of the answer; its session bounds the whole of it by
        the read time-out (``connections.py``).
        """
        left_s = max(_SHORTEST_CALL_S, min(_CALL_S, deadline.remaining_s()))
        timeout: Any = urllib3.Timeout(
            connect=min(_CONNECT_S, left_s), total=left_s
        )  # requests takes it; its stubs do not know
        try:
            with self._session.post(
                url, data=data, headers=headers, timeout=timeout, allow_redirects=False, stream=True
            ) as response:
                body = response.raw.read(_MAX_BODY_BYTES + 1, decode_content=True)
                return response.status_code, response.headers.get("Retry-After"), body
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            OSError,
        ) as error:  # below requests, a body is read by urllib3
            _log.warning("event=entra_unreachable error=%s", type(error).__name__)
            raise UpstreamUnavailable(
                "Entra could not be reached.", upstream=UpstreamAnswer("entra")
            ) from error


def _parse_object(body: bytes) -> dict[str, Any] | None:
    if len(body) > _MAX_BODY_BYTES:
        return None
    try:
        parsed = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None
