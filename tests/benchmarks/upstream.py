"""Entra and Graph for benchmarks, in a process of their own.

TLS, little Python for each answer, no checks.

Its callers are measured, so they must never wait for it: it makes its answers beforehand. It judges
nothing; the simulators in ``infra/local`` do. Graph answers 204 to a cancel, 404 where the id holds
``missing``, and 200 to a look. Each port has a latency. The token endpoint answers an on-behalf-of
request with a token for the user in the assertion.
"""

import asyncio
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import unquote

import certifi

from infra.local import seed
from infra.local.entra.documents import openid_configuration
from infra.local.entra.keys import KeyRing, unverified_claims
from infra.local.entra.tokens import TokenMint
from infra.local.tls import LocalAuthority
from tests.benchmarks.wire import Call, Wire, answer, echoing, granted, listen, started

_GRAPH_TOKEN_CHARS = 2_000  # about the size of Graph's tokens
# The headers that Graph sends beside these: parsing them is part of what a client costs.
_GRAPH_HEADERS = (
    "Cache-Control: private",
    "Strict-Transport-Security: max-age=31536000",
    "request-id: 8a1d6d1c-7b8b-4d0e-9c0a-2f8f0b1a7c55",
    (
        'x-ms-ags-diagnostic: {"ServerInfo":{"DataCenter":"West Europe",'
        '"Slice":"E","Ring":"5","ScaleUnit":"003","RoleInstance":"AM4PEPF00028DF0"}}'
    ),
    "Date: Wed, 25 Nov 2026 10:00:00 GMT",
)
_CANCELLED = answer(204, None, *_GRAPH_HEADERS)
_GONE = answer(
    404,
    {
        "error": {
            "code": "ErrorItemNotFound",
            "message": "The specified object was not found in the store.",
        }
    },
    *_GRAPH_HEADERS,
)


class _Graph:
    """Appointments that stand, except those whose id holds ``missing``."""

    def __init__(self, latency_ms: int) -> None:
        self._latency_s = latency_ms / 1000

    def respond(self, call: Call) -> Wire:
        """Answer one request."""
        if not call.target.endswith("/cancel"):
            appointment = {"id": unquote(call.target.rpartition("/")[2].partition("?")[0])}
            found = answer(200, appointment, *_GRAPH_HEADERS)
        else:
            found = _GONE if "missing" in call.target else _CANCELLED
        return self._latency_s, echoing(found, call)


class _Entra:
    """Metadata, keys and the token endpoint of one authority."""

    def __init__(self, keys: KeyRing) -> None:
        self.url = ""
        self._keys = answer(200, {"keys": [key.jwk() for key in keys.published()]})
        self._graph_token = "eyJ0eXAiOiJKV1Qi." + "g" * _GRAPH_TOKEN_CHARS

    def respond(self, call: Call) -> Wire:
        """Answer one request."""
        if call.target.endswith("/openid-configuration"):
            tenant = call.target.split("/")[1]
            issuer = f"{self.url}/{tenant}/v2.0"
            return 0.0, answer(200, openid_configuration(self.url, issuer, tenant, "2.0"))
        return 0.0, self._token(call) if call.target.endswith("/token") else self._keys

    def _token(self, call: Call) -> bytes:
        form = dict(pair.partition("=")[::2] for pair in call.body.decode().split("&"))
        claims = unverified_claims(form["assertion"])
        oid, tid, now = str(claims["oid"]), str(claims["tid"]), int(time.time())
        identity = {
            "aud": seed.API_CLIENT_ID,
            "iss": f"{self.url}/{tid}/v2.0",
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
            "ver": "2.0",
        }
        identity |= {"oid": oid, "tid": tid, "sub": oid, "preferred_username": f"{oid}@contoso.com"}
        # Entra grants more than was asked for.
        scope = unquote(form["scope"]).replace("+", " ") + " https://graph.microsoft.com/User.Read"
        return echoing(granted(identity, f"{self._graph_token}.{oid}", scope), call)


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
    entra = _Entra(keys)
    url = entra.url = await listen(tls, entra.respond)
    graphs = {
        latency_ms: await listen(tls, _Graph(latency_ms).respond) for latency_ms in latencies_ms
    }
    announce(url, graphs)
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
    ours, theirs = Pipe()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        started(_run, ours, theirs, Path(folder), latencies_ms) as up,
    ):
        assert isinstance(up, Upstream)
        yield up, People(ours)
