"""Entra and Graph for a soak, in a process of their own: as little work per call as TLS and asyncio
allow, one byte of memory per appointment.

Owns the wire and the fates' effects. Does *not* check tokens (the service has to; the simulators in
``infra/local`` do), nor judge what the service says.
"""

import asyncio
import base64
import json
import mmap
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, unquote

from infra.local import seed
from infra.local.entra.documents import openid_configuration
from infra.local.tls import LocalAuthority
from tests.benchmarks.soak_script import (
    FATES,
    NEVER_WAS,
    SILENT,
    SLOW,
    UNSEEN,
    Seen,
    read_appointment_id,
    user_of,
)

_SILENT_S = 9.0  # past the time that a cancel is given
_SLOW_S = 1.0
_DOCUMENTS_S = 0.5  # the first requests wait for the keys together, each in a thread of its own: so these are all started, too
_TOKEN_TAIL = "A" * 1400  # about the size of Graph's tokens
_STALLED_EXCHANGE = 25  # of so many exchanges one is answered 503 first
_CLAIMS = base64.b64encode(b'{"access_token":{"acrs":{"essential":true,"value":"c1"}}}').decode()

_MEMORY, _BUNDLE = "seen", "ca.pem"

type Wire = tuple[float, bytes | None]
"""After how many seconds what is sent; None: a reset."""


def answer(
    status: int, body: object = None, *headers: str, kind: str = "application/json"
) -> bytes:
    """Write an HTTP answer."""
    text = (
        b""
        if body is None
        else body.encode()
        if isinstance(body, str)
        else json.dumps(body).encode()
    )
    length = (
        []
        if status == 204
        else [f"Content-Length: {len(text)}", *([f"Content-Type: {kind}"] if text else [])]
    )
    head = [
        f"HTTP/1.1 {status} -",
        "request-id: 2f0c1d6e-6d2a-4d3a-9a3b-0d6f1c2b3a4d",
        *length,
        *headers,
    ]
    return "\r\n".join([*head, "", ""]).encode() + text


def error(status: int, code: str, *headers: str) -> bytes:
    """Write an error of Graph's."""
    return answer(
        status,
        {"error": {"code": code, "message": "-", "innerError": {"request-id": "-"}}},
        *headers,
    )


_CALL_ID = re.compile(r"^client-request-id: *([0-9a-fA-F-]+)", re.MULTILINE | re.IGNORECASE)
_DONE, _GONE = answer(204), error(404, "ErrorItemNotFound")
_STANDS: Mapping[str, object] = {
    "serviceName": "Soak",
    "customers": [],
    "start": {"dateTime": "2027-06-01T09:00:00Z"},
}
_BUSY = error(503, "ServiceUnavailable")
_NO_RESOURCE = error(404, "ResourceNotFound")
_STRUCK: Mapping[str, bytes] = {
    **{
        letter: error(fate.status, "UnknownError")
        for letter, fate in FATES.items()
        if fate.status in (500, 504)
    },
    "c": error(503, "ServiceUnavailable", "Retry-After: 1"),
    "d": _BUSY,
    "g": error(429, "TooManyRequests", "Retry-After: 1"),
    "h": error(429, "TooManyRequests", "Retry-After: 120"),
    "k": answer(202),
    "l": answer(404, "<html><body>Not Found</body></html>", kind="text/html"),
    "n": error(400, "ErrorInvalidIdMalformed"),
    "o": error(403, "ErrorAccessDenied"),
    "p": error(
        401,
        "InvalidAuthenticationToken",
        f'WWW-Authenticate: Bearer error="insufficient_claims", claims="{_CLAIMS}"',
    ),
    "r": _DONE,
}


def _echo(wire: bytes, call_id: re.Match[str] | None) -> bytes:
    """Say again by which id the call came."""
    if call_id is None:
        return wire
    return wire.replace(b"\r\n", f"\r\nclient-request-id: {call_id[1]}\r\n".encode(), 1)


class Upstream:
    """Answers calls.

    ``seen`` has a byte for each appointment; ``jwk`` is the key that proves users' tokens.
    """

    def __init__(self, seen: mmap.mmap, jwk: Mapping[str, object], latency_s: float) -> None:
        self._seen = seen
        self._jwk = jwk
        self._latency_s = latency_s
        self._exchanges = 0
        self.url = ""

    def reply(self, method: str, target: str, headers: str, body: bytes) -> Wire:
        """Answer one call."""
        parts = target.split("/")
        if len(parts) > 5 and parts[5] == "appointments":
            letter, number, user = read_appointment_id(unquote(parts[6]))
            if user_of(headers.partition("Authorization: Bearer ")[2].partition(".")[0]) != user:
                self._seen[number] |= Seen.CROSSED
            call_id = _CALL_ID.search(headers)
            if method == "GET":
                wire: Wire = (self._latency_s, self._look(letter, number, unquote(parts[6])))
            else:
                wire = self._cancel(letter, number)
            return wire[0], wire[1] and _echo(wire[1], call_id)
        if method == "POST" and target.endswith("/token"):
            return self._latency_s, self._exchange(parts[1], body)
        issuer = f"{self.url}/{parts[1]}/v2.0"
        if target.endswith("/openid-configuration"):
            return _DOCUMENTS_S, answer(
                200, openid_configuration(self.url, issuer, parts[1], "2.0")
            )
        if target.endswith("/keys"):
            return _DOCUMENTS_S, answer(200, {"keys": [{**self._jwk, "issuer": issuer}]})
        return 0.0, _NO_RESOURCE

    def _look(self, letter: str, number: int, appointment_id: str) -> bytes:
        if letter == UNSEEN:
            return _BUSY
        self._seen[number] &= ~Seen.OPEN
        if letter == NEVER_WAS or self._seen[number] & Seen.GONE:
            return _GONE
        return answer(200, {"id": appointment_id, **_STANDS})

    def _cancel(self, letter: str, number: int) -> Wire:
        seen, fate = Seen(self._seen[number]), FATES[letter]
        if seen & Seen.ANSWERED:
            seen |= Seen.REPEATED
        if seen & Seen.OPEN:
            seen |= Seen.BLIND
        strikes = letter in _STRUCK or fate.status == 0
        if strikes and (fate.lasts or not seen & Seen.STRUCK):
            seen |= (
                Seen.STRUCK
                | (Seen.GONE if fate.effect else Seen(0))
                | (Seen.OPEN if fate.open_end else Seen(0))
            )
            self._seen[number] = seen
            return (_SILENT_S if letter == SILENT else self._latency_s), _STRUCK.get(letter)
        seen &= ~Seen.OPEN
        if letter == NEVER_WAS or seen & Seen.GONE:
            self._seen[number] = seen
            return self._latency_s, _GONE
        self._seen[number] = seen | Seen.GONE | Seen.ANSWERED
        return (_SLOW_S if letter == SLOW else self._latency_s), _DONE

    def _exchange(self, tenant: str, body: bytes) -> bytes:
        self._exchanges += 1
        if self._exchanges % _STALLED_EXCHANGE == 0:
            return answer(503, {"error": "temporarily_unavailable"})
        claims = json.loads(_decode(parse_qs(body.decode())["assertion"][0].split(".")[1]))
        now = int(time.time())
        identity = {
            "iss": f"{self.url}/{tenant}/v2.0",
            "aud": seed.API_CLIENT_ID,
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
            "sub": claims["sub"],
        }
        identity |= {"oid": claims["oid"], "tid": claims["tid"], "ver": "2.0"}
        header = {"typ": "JWT", "alg": "RS256", "kid": self._jwk["kid"]}
        granted = {
            "token_type": "Bearer",
            "scope": seed.GRAPH_SCOPE,
            "expires_in": 3600,
            "access_token": f"{claims['oid']}.{self._exchanges}.{_TOKEN_TAIL}",
            "id_token": f"{_encode(header)}.{_encode(identity)}.AAAA",  # MSAL reads it and checks no signature: it came over TLS
        }
        return answer(200, granted)


class _Wire(asyncio.Protocol):
    """One connection. Calls come one after another, as clients without pipelining send them."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._read = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, end, rest = self._read.partition(b"\r\n\r\n")
        if not end:
            return
        line, _, headers = head.decode("latin-1").partition("\r\n")
        at = headers.lower().find("content-length: ")
        length = int(headers[at + 16 :].partition("\r")[0]) if at >= 0 else 0
        if len(rest) < length:
            return
        self._read = rest[length:]
        method, target, _ = line.split(" ")
        after_s, wire = self._upstream.reply(method, target, headers, rest[:length])
        if after_s:
            asyncio.get_running_loop().call_later(after_s, self._send, wire)
        else:
            self._send(wire)

    def _send(self, wire: bytes | None) -> None:
        assert self._transport is not None
        if wire is None:
            self._transport.abort()
        elif not self._transport.is_closing():
            self._transport.write(wire)


async def _run(pipe: Connection, upstream: Upstream, bundle: Path) -> None:
    loop = asyncio.get_running_loop()
    authority = LocalAuthority()
    authority.write_bundle(bundle)
    context = authority.server_context()
    server = await loop.create_server(
        lambda: _Wire(upstream), "127.0.0.1", 0, ssl=context, backlog=1024
    )
    upstream.url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    pipe.send(upstream.url)
    stop = asyncio.Event()
    loop.add_reader(pipe.fileno(), stop.set)  # told to, or the other end is gone
    await stop.wait()
    server.close()


def serve(pipe: Connection, folder: Path, jwk: Mapping[str, object], latency_s: float) -> None:
    """Run until the other end of the pipe is closed."""
    with (folder / _MEMORY).open("r+b") as file, mmap.mmap(file.fileno(), 0) as seen:
        asyncio.run(_run(pipe, Upstream(seen, jwk, latency_s), folder / _BUNDLE))


@contextmanager
def upstream_process(
    appointments: int, jwk: Mapping[str, object], latency_s: float
) -> Iterator[tuple[dict[str, str], mmap.mmap]]:
    """Run it, and give the settings of a Function App that uses it and the memory of what it sees."""
    ours, theirs = Pipe()
    with TemporaryDirectory(prefix="soak-") as temporary:
        folder = Path(temporary)
        (folder / _MEMORY).write_bytes(bytes(appointments))
        with (folder / _MEMORY).open("r+b") as file, mmap.mmap(file.fileno(), 0) as seen:
            process = get_context("spawn").Process(
                target=serve, args=(theirs, folder, jwk, latency_s), daemon=True
            )
            process.start()
            theirs.close()
            try:
                if not ours.poll(60):
                    raise RuntimeError("The upstream does not start.")
                url = str(ours.recv())
                settings = {
                    "TENANT_ID": seed.TENANT_ID,
                    "CLIENT_ID": seed.API_CLIENT_ID,
                    "CLIENT_SECRET": seed.API_CLIENT_SECRET,
                }
                settings |= {
                    "ENTRA_AUTHORITY_HOST": url,
                    "GRAPH_ENDPOINT": url,
                    "CA_BUNDLE": str(folder / _BUNDLE),
                }
                yield settings, seen
            finally:
                ours.close()
                process.join(10)
                if process.is_alive():
                    process.kill()


def _encode(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
