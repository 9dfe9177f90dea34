"""The wire of the upstreams here: as little work per call as TLS and asyncio allow.

Owns reading a call, writing an answer that echoes the call's id as Graph does, and when it is sent.
Does *not* know what is asked for.
"""

import asyncio
import base64
import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection

_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``head`` is as it came, without its first line."""

    method: str
    target: str
    head: bytes
    body: bytes

    def header(self, name: bytes) -> bytes:
        """Return a header, or nothing. ``name`` is in lower case."""
        at = self.head.lower().find(b"\r\n" + name + b": ")
        return self.head[at + len(name) + 4 :].partition(b"\r\n")[0] if at >= 0 else b""


type Wire = tuple[float, bytes | None]
"""After how many seconds what is sent; None: a reset."""

type Respond = Callable[[Call], Wire]


def answer(
    status: int, body: object = None, *headers: str, kind: str = "application/json"
) -> bytes:
    """Write an HTTP answer; a body that is no text is written as JSON."""
    text = b"" if body is None else body.encode() if isinstance(body, str) else _json(body)
    lines = [f"HTTP/1.1 {status} -", *headers]
    if status != 204:
        lines.append(f"Content-Length: {len(text)}")
    if text:
        lines.append(f"Content-Type: {kind}")
    return "\r\n".join([*lines, "", ""]).encode() + text


def echoing(wire: bytes, call: Call) -> bytes:
    """Return an answer with the id of its call, as Graph and Entra give it back."""
    line, _, rest = wire.partition(b"\r\n")
    own = call.header(b"client-request-id")
    return b"%s\r\nclient-request-id: %s\r\n%s" % (line, own, rest) if own else wire


def _json(body: object) -> bytes:
    return json.dumps(body).encode()


def granted(identity: Mapping[str, object], token: str, scope: str, **header: object) -> bytes:
    """Write the answer to an on-behalf-of request.

    MSAL reads the id token and checks no signature: it came over TLS.
    """
    id_token = [_encoded({"typ": "JWT", "alg": "RS256", **header}), _encoded(identity), "c2ln"]
    client_info = _encoded({"uid": identity["oid"], "utid": identity["tid"]})
    return answer(
        200,
        {
            "token_type": "Bearer",
            "scope": scope,
            "expires_in": 3599,
            "ext_expires_in": 3599,
            "access_token": token,
            "id_token": ".".join(id_token),
            "client_info": client_info,
        },
    )


def _encoded(members: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(_json(members)).rstrip(b"=").decode()


class _Service(asyncio.Protocol):
    """One connection. Calls come one after another, as clients without pipelining send them."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._later = asyncio.get_running_loop().call_later

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(_END_OF_HEAD)
        if end < 0:
            return
        line, _, rest = bytes(self._received[: end + 2]).partition(b"\r\n")
        method, target, _ = line.decode("latin-1").split(" ")
        call = Call(method, target, b"\r\n" + rest, b"")
        whole = end + 4 + int(call.header(b"content-length") or 0)
        if len(self._received) < whole:
            return
        body = bytes(self._received[end + 4 : whole])
        del self._received[:whole]
        after_s, wire = self._respond(Call(method, target, call.head, body))
        if after_s:
            self._later(after_s, self._send, wire)
        else:
            self._send(wire)

    def _send(self, wire: bytes | None) -> None:
        if wire is None:
            self._transport.abort()
        elif not self._transport.is_closing():
            self._transport.write(wire)


async def listen(tls: ssl.SSLContext, respond: Respond) -> str:
    """Answer calls from now on, and return the address."""
    server = await asyncio.get_running_loop().create_server(
        lambda: _Service(respond), "127.0.0.1", 0, ssl=tls, backlog=1024
    )
    return f"https://localhost:{server.sockets[0].getsockname()[1]}"


@contextmanager
def started[**P](
    run: Callable[P, None], ours: Connection, *args: P.args, **kwargs: P.kwargs
) -> Iterator[object]:
    """Run an upstream in a process of its own until the block ends.

    Gives what it first says through its end of the pipe. Errors: RuntimeError when it says nothing.
    """
    process = get_context("spawn").Process(target=run, args=args, kwargs=kwargs, daemon=True)
    process.start()
    try:
        if not ours.poll(60):
            raise RuntimeError("The upstream does not start.")
        yield ours.recv()
    finally:
        with suppress(OSError):  # it has ended by itself
            ours.send(0)
        process.join(10)
        process.kill()
