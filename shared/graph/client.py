"""One call to Microsoft Graph over one channel; the only file that speaks HTTP to Graph.

Owns URLs, headers, time-outs, size limits, and the reading of an answer into ``Seen``. Does *not*
know what a status means for an appointment, and never repeats a call (the SDKs repeat a POST on
504: this must not happen here).
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

from shared.entra.graph_token import GraphToken
from shared.graph.endings import GraphAnswer, NoAnswer, Seen
from shared.identity.claims_challenge import read_claims
from shared.transport.channel import Answer, Channel, NotSent, Unanswered
from shared.transport.connections import USER_AGENT

_CONNECT_S = 3.0
MAX_BODY_BYTES = 256 * 1024
_CLAIMS = re.compile(r'claims="([A-Za-z0-9+/=_-]{1,8192})"')
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_ID_HEADER = "client-request-id"
_HEADERS = {
    "User-Agent": USER_AGENT,
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
    "return-client-request-id": "true",
}


class GraphClient:
    """Calls Graph; safe for all threads.

    ``root`` is a path, e.g. ``/v1.0``; ``trace_headers`` tells Graph of which trace a call is.
    """

    def __init__(
        self, channel: Channel, root: str, trace_headers: Callable[[], Mapping[str, str]] = dict
    ) -> None:
        self._channel = channel
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
        step: str = "",
        body: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        limit_bytes: int = MAX_BODY_BYTES,
        fresh: bool = False,
    ) -> Seen:
        """Send one request and return how it ended; raises nothing for what Graph or the network
        may do.

        ``segments`` are the decoded path segments, each is quoted here, once, as is ``query``; an
        answer over ``limit_bytes`` is not readable. ``timeout_s`` bounds the whole, from connecting
        to the answer's last byte. ``request_id`` goes out as client-request-id, so that Microsoft's
        support finds the call (Graph best practices). ``step`` names the call for those who tell of
        it (``instrumented.py``); Graph never sees it.
        """
        del step
        target = "/".join((self._root, *map(_quoted, segments)))
        if query:
            target = f"{target}?{urlencode(query, quote_via=quote)}"
        headers = {
            **_HEADERS,
            "Authorization": f"Bearer {token.value}",
            _ID_HEADER: request_id,
            **self._trace_headers(),
        }
        payload: bytes | None = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            payload = json.dumps(body).encode("ascii")
        try:
            answer = self._channel.exchange(
                method,
                target,
                headers,
                payload,
                connect_s=min(_CONNECT_S, timeout_s / 2),
                total_s=timeout_s,
                limit_bytes=limit_bytes,
                fresh=fresh,
                echo=_ID_HEADER,
            )
        except NotSent as error:
            return NoAnswer(sent=False, cause=error.cause)
        except Unanswered as error:
            return NoAnswer(sent=True, cause=error.cause)
        return _read(answer, limit_bytes)


@lru_cache(maxsize=1024)  # words and businesses come again and again
def _quoted(segment: str) -> str:
    return quote(segment, safe="")


def _read(answer: Answer, limit_bytes: int) -> GraphAnswer:
    status, raw, headers = answer.status, answer.body, answer.headers
    parsed = _parse_object(raw) if len(raw) <= limit_bytes else None
    return GraphAnswer(
        status=status,
        readable=_is_readable(status, raw, parsed, headers.get("content-length", "0")),
        codes=_codes(parsed),
        request_id=_word(headers.get("request-id")),
        retry_after=headers.get("retry-after"),
        claims=_claims(headers.get("www-authenticate")) if status in (401, 403) else None,
        resource=parsed if status == 200 else None,
    )


def _is_readable(status: int, raw: bytes, parsed: dict[str, Any] | None, announced: str) -> bool:
    """Tell whether the body is what Graph sends with such a status: nothing with 204, an object
    with other successes, either with an error.
    """
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
    """Return the error codes from the outside in; prose spells innererror, the wire innerError; a
    code may be empty or absent.
    """
    codes: list[str] = []
    level = parsed.get("error") if parsed is not None else None
    while isinstance(level, dict) and len(codes) < 5:
        code = _word(level.get("code"))
        if code:
            codes.append(code)
        level = level.get("innerError", level.get("innererror"))
    return tuple(codes)


def _claims(header: str | None) -> str | None:
    """Return the claims challenge of a WWW-Authenticate header as minified JSON (claims-challenge:
    base64, padding may be missing).
    """
    found = _CLAIMS.search(header or "")
    if not found:
        return None
    encoded = found[1].replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return read_claims(base64.b64decode(encoded + "=" * (-len(encoded) % 4)).decode("utf-8"))
    except (binascii.Error, ValueError):
        return None


def _word(value: object) -> str | None:
    """Return a short machine word of Graph's answer, or None where it is anything else; prose never
    passes.
    """
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None
