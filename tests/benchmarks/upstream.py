"""Entra and Graph for benchmarks, in a process of their own.

TLS, little Python for each answer, no checks.

What is measured is what calls it, so it must never be what the others wait for: answers are bytes
made beforehand. It judges nothing; ``infra/local`` has the simulators that do. Graph answers 204 to
a cancel, 404 where the id holds ``missing``, and 200 to a look, after a latency that its port
stands for. The token endpoint answers an on-behalf-of request with a token for whomever the
assertion names.
"""

import asyncio
import base64
import json
import multiprocessing
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import unquote

import certifi

from infra.local import seed
from infra.local.entra.keys import KeyRing, b64url, unverified_claims
from infra.local.entra.tokens import TokenMint
from infra.local.tls import LocalAuthority

_END_OF_HEAD = b"\r\n\r\n"
_GRAPH_TOKEN_CHARS = 2_000  # what Graph's tokens come to
_ECHO = b"00000000-0000-0000-0000-000000000000"  # gives way to the id of the call
# The headers that Graph sends beside these: parsing them is part of what a client costs.
_GRAPH_HEADERS = (
    b"Cache-Control: private\r\nStrict-Transport-Security: max-age=31536000\r\nrequest-id: 8a1d6d1c-7b8b-4d0e-9c0a-2f8f0b1a7c55\r\n"
    b"client-request-id: " + _ECHO + b"\r\n"
    b'x-ms-ags-diagnostic: {"ServerInfo":{"DataCenter":"West Europe","Slice":"E","Ring":"5","ScaleUnit":"003","RoleInstance":"AM4PEPF00028DF0"}}\r\n'
    b"Date: Wed, 25 Nov 2026 10:00:00 GMT\r\n"
)
_NOT_FOUND = json.dumps(
    {
        "error": {
            "code": "ErrorItemNotFound",
            "message": "The specified object was not found in the store.",
        }
    }
).encode()


def _answer(status: bytes, body: bytes = b"", headers: bytes = b"") -> bytes:
    length = b"" if status.startswith(b"204") else b"Content-Length: %d\r\n" % len(body)
    kind = b"Content-Type: application/json\r\n" if body else b""
    return b"HTTP/1.1 " + status + b"\r\n" + headers + kind + length + b"\r\n" + body


_CANCELLED = _answer(b"204 No Content", headers=_GRAPH_HEADERS)
_GONE = _answer(b"404 Not Found", _NOT_FOUND, _GRAPH_HEADERS)


class _Service(asyncio.Protocol):
    """One connection.

    ``respond`` turns a path and a body into the whole answer, which is sent ``latency_s`` later.
    """

    def __init__(self, respond: Callable[[bytes, bytes], bytes], latency_s: float) -> None:
        self._respond = respond
        self._latency_s = latency_s
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._later = asyncio.get_running_loop().call_later

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(_END_OF_HEAD)) >= 0:
            head = bytes(self._received[:end]).lower()
            named = head.find(b"\r\ncontent-length:")
            length = int(head[named + 17 :].split(b"\r\n", 1)[0]) if named >= 0 else 0
            if len(self._received) < end + 4 + length:
                return
            path = bytes(self._received[: self._received.index(b"\r\n")]).split(b" ")[1]
            body = bytes(self._received[end + 4 : end + 4 + length])
            del self._received[: end + 4 + length]
            answer = self._respond(path, body)
            sent = head.find(b"\r\nclient-request-id:")
            if sent >= 0:
                call_id = head[sent + 20 :].split(b"\r\n", 1)[0].strip()
                answer = answer.replace(_ECHO, call_id, 1)
            if self._latency_s:
                self._later(self._latency_s, self._transport.write, answer)
            else:
                self._transport.write(answer)


def _graph(path: bytes, _body: bytes) -> bytes:
    if not path.endswith(b"/cancel"):
        appointment_id = unquote(path.rpartition(b"/")[2].decode())
        return _answer(b"200 OK", json.dumps({"id": appointment_id}).encode(), _GRAPH_HEADERS)
    return _GONE if b"missing" in path else _CANCELLED


class _Entra:
    """Metadata, keys and the token endpoint of one authority."""

    def __init__(self, url: str, keys: KeyRing) -> None:
        self._url = url
        self._keys = _answer(
            b"200 OK", json.dumps({"keys": [key.jwk() for key in keys.published()]}).encode()
        )
        self._graph_token = "eyJ0eXAiOiJKV1Qi." + "g" * _GRAPH_TOKEN_CHARS

    def respond(self, path: bytes, body: bytes) -> bytes:
        """Answer one request."""
        if path.endswith(b"/openid-configuration"):
            tenant = path.decode().split("/")[1]
            base = f"{self._url}/{tenant}"
            document = {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
            }
            return _answer(b"200 OK", json.dumps(document).encode())
        return self._token(body) if path.endswith(b"/token") else self._keys

    def _token(self, body: bytes) -> bytes:
        form = dict(pair.partition("=")[::2] for pair in body.decode().split("&"))
        claims = unverified_claims(form["assertion"])
        oid, tid, now = str(claims["oid"]), str(claims["tid"]), int(time.time())
        identity = {
            "aud": seed.API_CLIENT_ID,
            "iss": f"{self._url}/{tid}/v2.0",
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
            "ver": "2.0",
        }
        identity |= {"oid": oid, "tid": tid, "sub": oid, "preferred_username": f"{oid}@contoso.com"}
        granted = {
            "token_type": "Bearer",
            "scope": unquote(form["scope"]).replace("+", " ")
            + " https://graph.microsoft.com/User.Read",  # Entra grants more than was asked for
            "expires_in": 3599,
            "ext_expires_in": 3599,
            "access_token": f"{self._graph_token}.{oid}",
            "id_token": f"{_encode({'typ': 'JWT', 'alg': 'RS256'})}.{_encode(identity)}.c2lnbmF0dXJl",
            "client_info": base64.urlsafe_b64encode(json.dumps({"uid": oid, "utid": tid}).encode())
            .decode()
            .rstrip("="),
        }
        return _answer(b"200 OK", json.dumps(granted).encode(), _GRAPH_HEADERS)


def _encode(members: Mapping[str, object]) -> str:
    return b64url(json.dumps(members).encode())


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where it listens.

    ``graphs`` are Graph's addresses by latency in milliseconds; ``bundle`` (PEM) holds what clients
    have to trust and the usual roots.
    """

    entra: str
    graphs: Mapping[int, str]
    bundle: Path
    authority: Path

    def environment(self, latency_ms: int = 0) -> dict[str, str]:
        """The settings of a Function App that uses it."""
        return {
            "TENANT_ID": seed.TENANT_ID,
            "CLIENT_ID": seed.API_CLIENT_ID,
            "CLIENT_SECRET": seed.API_CLIENT_SECRET,
            "ENTRA_AUTHORITY_HOST": self.entra,
            "GRAPH_ENDPOINT": self.graphs[latency_ms],
            "CA_BUNDLE": str(self.authority),
        }


@dataclass(slots=True)
class People:
    """Users with tokens that Entra signed. Made where the keys are, asked for through the pipe."""

    pipe: Connection = field(repr=False)

    def tokens(self, count: int) -> list[str]:
        """Return a new token for each of ``count`` new users."""
        self.pipe.send(count)
        tokens: list[str] = self.pipe.recv()
        return tokens


async def _listen(
    latencies_ms: Sequence[int],
    tls: ssl.SSLContext,
    keys: KeyRing,
    announce: Callable[[str, Mapping[int, str]], None],
    pipe: Connection,
) -> None:
    loop = asyncio.get_running_loop()

    async def open_at(respond: Callable[[bytes, bytes], bytes], latency_ms: int = 0) -> str:
        server = await loop.create_server(
            lambda: _Service(respond, latency_ms / 1000), "127.0.0.1", 0, ssl=tls, backlog=1024
        )
        return f"https://localhost:{server.sockets[0].getsockname()[1]}"

    entra: list[_Entra] = []
    url = await open_at(lambda path, body: entra[0].respond(path, body))
    entra.append(_Entra(url, keys))
    announce(url, {latency_ms: await open_at(_graph, latency_ms) for latency_ms in latencies_ms})
    mint = TokenMint(time.time, keys)
    mint.base_url = url
    # On a thread: signing ten thousand tokens must not keep others from an answer.
    while count := await asyncio.to_thread(_asked_for, pipe):
        pipe.send(await asyncio.to_thread(_user_tokens, mint, count))


def _asked_for(pipe: Connection) -> int:
    """Return how many tokens are wanted; 0 is the end, as is the end of whoever asks."""
    try:
        count: int = pipe.recv()
    except EOFError:
        return 0
    return count


def _user_tokens(mint: TokenMint, count: int) -> list[str]:
    return [_user_token(mint) for _ in range(count)]


def _user_token(mint: TokenMint) -> str:
    number = mint.next_sequence()
    user = seed.User(
        f"00000000-0000-4000-8000-{number:012x}", f"user{number}@contoso.com", f"User {number}"
    )
    return mint.user_token(user, lifetime_s=3 * 3600)


def _run(pipe: Connection, folder: Path, latencies_ms: Sequence[int]) -> None:
    authority = LocalAuthority()
    own = authority.write_bundle(folder / "authority.pem")
    bundle = folder / "bundle.pem"
    bundle.write_text(Path(certifi.where()).read_text() + own.read_text())

    def announce(entra: str, graphs: Mapping[int, str]) -> None:
        pipe.send(Upstream(entra, graphs, bundle, own))

    asyncio.run(_listen(latencies_ms, authority.server_context(), KeyRing(), announce, pipe))


@contextmanager
def upstream(latencies_ms: Sequence[int] = (0,)) -> Iterator[tuple[Upstream, People]]:
    """Run it until the block ends. Errors: RuntimeError when it does not start."""
    ours, theirs = multiprocessing.Pipe()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        process = multiprocessing.get_context("spawn").Process(
            target=_run, args=(theirs, Path(folder), latencies_ms), daemon=True
        )
        process.start()
        try:
            if not ours.poll(60):
                raise RuntimeError("The upstream does not start.")
            yield ours.recv(), People(ours)
        finally:
            ours.send(0)
            process.join(10)
            process.kill()
