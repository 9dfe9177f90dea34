"""One call to Microsoft Graph over one pooled session; the only file that speaks HTTP to Graph.

Owns URLs, headers, time-outs, size limits, and the reading of an answer into ``Seen``. Does *not* know what a status means for an appointment,
and never repeats a call (the SDKs repeat a POST on 504: this must not happen here).
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import requests
import urllib3
from urllib3.exceptions import ConnectTimeoutError, EmptyPoolError, HTTPError, MaxRetryError, NewConnectionError

from shared.entra_refusals import read_claims
from shared.graph_token import GraphToken
from shared.retry import GraphAnswer, NoAnswer, Seen

_CONNECT_S = 3.0
MAX_BODY_BYTES = 256 * 1024
_CLAIMS = re.compile(r'claims="([A-Za-z0-9+/=_-]{1,8192})"')
_NEVER_SENT = (NewConnectionError, ConnectTimeoutError, EmptyPoolError)


class GraphClient:
    """Calls Graph; safe for all threads. ``root`` is e.g. ``https://graph.microsoft.com/v1.0``; ``trace_headers`` tells Graph of which trace a call is."""

    def __init__(self, session: requests.Session, root: str, trace_headers: Callable[[], Mapping[str, str]] = dict) -> None:
        self._session = session
        self._root = root
        self._trace_headers = trace_headers

    def call(
        self,
        method: str,
        segments: Sequence[str],
        token: GraphToken,
        *,
        request_id: str,
        timeout_s: float,
        body: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        limit_bytes: int = MAX_BODY_BYTES,
    ) -> Seen:
        """Send one request and return how it ended; raises nothing for what Graph or the network may do.

        ``segments`` are the decoded path segments, each is quoted here, once, as is ``query``; an answer over ``limit_bytes`` is not readable. ``timeout_s`` bounds the whole, from connecting to the answer's last byte.
        ``request_id`` goes out as client-request-id, so that Microsoft's support finds the call (Graph best practices).
        """
        url = "/".join((self._root, *(quote(segment, safe="") for segment in segments)))
        if query:
            url = f"{url}?{urlencode(query, quote_via=quote)}"
        headers = {
            "Authorization": f"Bearer {token.value}",
            "client-request-id": request_id,
            "return-client-request-id": "true",
            "Accept": "application/json",
            **self._trace_headers(),
        }
        payload: bytes | None = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            payload = json.dumps(body).encode("ascii")
        timeout: Any = urllib3.Timeout(connect=min(_CONNECT_S, timeout_s / 2), total=timeout_s)  # requests takes it; its stubs do not know
        try:
            with self._session.request(
                method,
                url,
                data=payload,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                raw = response.raw.read(limit_bytes + 1, decode_content=True)
        except (requests.RequestException, HTTPError, OSError) as error:
            return _no_answer(error)
        return _read(response, raw, limit_bytes)


def _no_answer(error: Exception) -> NoAnswer:
    """Look beneath requests' exception: it raises the same class for "never sent" and for "sent, no answer".

    ``connections.py`` sees to it that whatever goes wrong before the request is written, TLS included, is one of three classes of urllib3;
    everything else may have reached Graph. A connection that was kept alive and is reset on use is of the second kind.
    """
    cause: BaseException = error
    while isinstance(cause, requests.RequestException | MaxRetryError):
        beneath = cause.reason if isinstance(cause, MaxRetryError) else (cause.args[0] if cause.args else None)
        if not isinstance(beneath, BaseException):
            break
        cause = beneath
    never_sent = isinstance(
        cause, (*_NEVER_SENT, requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader, urllib3.exceptions.LocationValueError)
    )
    return NoAnswer(sent=not never_sent, cause=type(cause).__name__)


def _read(response: requests.Response, raw: bytes, limit_bytes: int) -> GraphAnswer:
    parsed = _parse_object(raw) if len(raw) <= limit_bytes else None
    status = response.status_code
    return GraphAnswer(
        status=status,
        readable=_is_readable(status, raw, parsed, response.headers.get("Content-Length", "0")),
        codes=_codes(parsed),
        request_id=_word(response.headers.get("request-id")),
        retry_after=response.headers.get("Retry-After"),
        claims=_claims(response.headers.get("WWW-Authenticate")) if status in (401, 403) else None,
        resource=parsed if status == 200 else None,
    )


def _is_readable(status: int, raw: bytes, parsed: dict[str, Any] | None, announced: str) -> bool:
    """Tell whether the body is what Graph sends with such a status: nothing with 204, an object with other successes, either with an error."""
    if status == 204:
        return not raw and announced == "0"
    return parsed is not None or (status >= 400 and not raw)


def _parse_object(raw: bytes) -> dict[str, Any] | None:
    if not raw:
        return None
    try:
        parsed = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _codes(parsed: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the error codes from the outside in; prose spells innererror, the wire innerError; a code may be empty or absent."""
    codes: list[str] = []
    level = parsed.get("error") if parsed is not None else None
    while isinstance(level, dict) and len(codes) < 5:
        code = _word(level.get("code"))
        if code:
            codes.append(code)
        level = level.get("innerError", level.get("innererror"))
    return tuple(codes)


def _claims(header: str | None) -> str | None:
    """Return the claims challenge of a WWW-Authenticate header as minified JSON (claims-challenge: base64, padding may be missing)."""
    found = _CLAIMS.search(header or "")
    if not found:
        return None
    encoded = found[1].replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return read_claims(base64.b64decode(encoded + "=" * (-len(encoded) % 4)).decode("utf-8"))
    except (binascii.Error, ValueError):
        return None


def _word(value: object) -> str | None:
    """Return a short machine word of Graph's answer, or None where it is anything else; prose never passes."""
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", value) else None
