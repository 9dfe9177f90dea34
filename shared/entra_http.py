"""The HTTP client that MSAL is given: Entra's answers as MSAL expects them, and everything else as a named error.

Owns time-outs, size limits and the reading of refusals, so that MSAL never sees (and never logs, caches or re-raises) anything but usable JSON.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from shared.deadline import Deadline
from shared.entra_refusals import read_refusal
from shared.errors import UpstreamAnswer, UpstreamBroken, UpstreamUnavailable
from shared.retry import parse_retry_after

_CONNECT_S = 3.0
_READ_S = 5.0
_MAX_BODY_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class EntraAnswer:
    """A successful answer in the shape that MSAL wants (msal/oauth2cli/http.py). Its headers are dropped: MSAL would cache a 200 that carries Retry-After."""

    status_code: int
    text: str = field(repr=False)
    headers: Mapping[str, str]

    def raise_for_status(self) -> None:
        """Do nothing: only successes are ever built."""


class EntraHttp:
    """Talks to one authority host only, for one home tenant. Errors: every FacadeError that ``read_refusal`` names, UpstreamUnavailable, UpstreamBroken."""

    def __init__(self, session: requests.Session, authority_host: str, home_tenant: str, now: Callable[[], float]) -> None:
        self._session = session
        self._authority_host = urlsplit(authority_host).netloc
        self._home_tenant = home_tenant
        self._now = now

    def get(self, url: str, *, params: Any = None, headers: Any = None, **_: Any) -> EntraAnswer:
        """Fetch a discovery document."""
        return self._send("GET", url, params=params, headers=headers)

    def post(
        self, url: str, *, params: Any = None, data: Any = None, headers: Any = None, deadline: Deadline | None = None, **_: Any
    ) -> EntraAnswer:
        """Send a token request. ``deadline`` arrives through MSAL, which hands unknown arguments on."""
        return self._send("POST", url, params=params, data=data, headers=headers, deadline=deadline)

    def close(self) -> None:
        """Do nothing: the session belongs to the composition root."""

    def _send(self, method: str, url: str, *, deadline: Deadline | None = None, **request: Any) -> EntraAnswer:
        parts = urlsplit(url)
        if parts.scheme != "https" or parts.netloc != self._authority_host:
            raise UpstreamBroken("Entra's discovery document names an address outside the authority.", upstream=UpstreamAnswer("entra"))
        remaining_s = _READ_S if deadline is None else max(0.05, min(_READ_S, deadline.remaining_s()))
        try:
            with self._session.request(
                method, url, timeout=(min(_CONNECT_S, remaining_s), remaining_s), allow_redirects=False, stream=True, **request
            ) as response:
                body = response.raw.read(_MAX_BODY_BYTES + 1, decode_content=True)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:  # below requests, a body is read by urllib3
            raise UpstreamUnavailable("Entra could not be reached.", upstream=UpstreamAnswer("entra")) from error
        parsed = _parse_object(body)
        if response.status_code != 200 or parsed is None:
            tenant = parts.path.lstrip("/").partition("/")[0]
            raise read_refusal(
                response.status_code,
                parsed or {},
                retry_after_s=parse_retry_after(response.headers.get("Retry-After"), self._now()),
                home_tenant=tenant == self._home_tenant,
            )
        return EntraAnswer(response.status_code, body.decode("utf-8"), {})


def _parse_object(body: bytes) -> dict[str, Any] | None:
    if len(body) > _MAX_BODY_BYTES:
        return None
    try:
        parsed = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None
