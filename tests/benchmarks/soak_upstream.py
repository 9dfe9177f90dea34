"""Entra and Graph for a soak, in a process of their own.

They do as little work per call as TLS and asyncio allow, with one byte of memory per appointment.

Owns the wire and the fates' effects. Does *not* check tokens (the service has to; the simulators in
``infra/local`` do), nor judge what the service says.
"""

import asyncio
import base64
import mmap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, unquote

from infra.local import seed
from infra.local.entra.documents import openid_configuration
from infra.local.entra.keys import unverified_claims
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
from tests.benchmarks.wire import Call, Wire, answer, echoing, granted, listen, started

_SILENT_S = 9.0  # past the time that a cancel is given
_SLOW_S = 1.0
# The first requests wait for the keys together, each in a thread of its own. So all threads start.
_DOCUMENTS_S = 0.5
_TOKEN_TAIL = "A" * 1400  # about the size of Graph's tokens
_STALLED_EXCHANGE = 25  # of so many exchanges one is answered 503 first
_CLAIMS = base64.b64encode(b'{"access_token":{"acrs":{"essential":true,"value":"c1"}}}').decode()

_REQUEST_ID = "request-id: 2f0c1d6e-6d2a-4d3a-9a3b-0d6f1c2b3a4d"
_MEMORY, _BUNDLE = "seen", "ca.pem"


def error(status: int, code: str, *headers: str) -> bytes:
    """Write an error of Graph's."""
    body = {"error": {"code": code, "message": "-", "innerError": {"request-id": "-"}}}
    return answer(status, body, _REQUEST_ID, *headers)


_DONE, _GONE = answer(204, None, _REQUEST_ID), error(404, "ErrorItemNotFound")
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

    def respond(self, call: Call) -> Wire:
        """Answer one call."""
        after_s, wire = self._reply(call, call.target.split("/"))
        return after_s, None if wire is None else echoing(wire, call)

    def _reply(self, call: Call, parts: Sequence[str]) -> Wire:
        if len(parts) > 5 and parts[5] == "appointments":
            appointment = unquote(parts[6])
            letter, number, user = read_appointment_id(appointment)
            bearer = call.header(b"authorization").decode().removeprefix("Bearer ")
            if user_of(bearer.partition(".")[0]) != user:
                self._seen[number] |= Seen.CROSSED
            if call.method == "GET":
                return self._latency_s, self._look(letter, number, appointment)
            return self._cancel(letter, number)
        if call.method == "POST" and call.target.endswith("/token"):
            return self._latency_s, self._exchange(parts[1], call.body)
        issuer = f"{self.url}/{parts[1]}/v2.0"
        if call.target.endswith("/openid-configuration"):
            return _DOCUMENTS_S, answer(
                200, openid_configuration(self.url, issuer, parts[1], "2.0")
            )
        if call.target.endswith("/keys"):
            return _DOCUMENTS_S, answer(200, {"keys": [{**self._jwk, "issuer": issuer}]})
        return 0.0, _NO_RESOURCE

    def _look(self, letter: str, number: int, appointment: str) -> bytes:
        if letter == UNSEEN:
            return _BUSY
        self._seen[number] &= ~Seen.OPEN
        if letter == NEVER_WAS or self._seen[number] & Seen.GONE:
            return _GONE
        start = {"dateTime": "2027-06-01T09:00:00Z"}
        standing = {"id": appointment, "serviceName": "Soak", "customers": [], "start": start}
        return answer(200, standing, _REQUEST_ID)

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
        claims = unverified_claims(parse_qs(body.decode())["assertion"][0])
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
        token = f"{claims['oid']}.{self._exchanges}.{_TOKEN_TAIL}"
        return granted(identity, token, seed.GRAPH_SCOPE, kid=self._jwk["kid"])


async def _run(pipe: Connection, upstream: Upstream, bundle: Path) -> None:
    authority = LocalAuthority()
    authority.write_bundle(bundle)
    upstream.url = await listen(authority.server_context(), upstream.respond)
    pipe.send(upstream.url)
    stop = asyncio.Event()
    # Set when something comes, or the other end is gone.
    asyncio.get_running_loop().add_reader(pipe.fileno(), stop.set)
    await stop.wait()


def serve(pipe: Connection, folder: Path, jwk: Mapping[str, object], latency_s: float) -> None:
    """Run until something comes through the pipe, or its other end is closed."""
    with (folder / _MEMORY).open("r+b") as file, mmap.mmap(file.fileno(), 0) as seen:
        asyncio.run(_run(pipe, Upstream(seen, jwk, latency_s), folder / _BUNDLE))


@contextmanager
def upstream_process(
    appointments: int, jwk: Mapping[str, object], latency_s: float
) -> Iterator[tuple[dict[str, str], mmap.mmap]]:
    """Run it until the block ends.

    Gives the settings of a Function App that uses it, and the memory of what it sees.
    """
    ours, theirs = Pipe()
    with TemporaryDirectory(prefix="soak-") as temporary:
        folder = Path(temporary)
        (folder / _MEMORY).write_bytes(bytes(appointments))
        with (
            (folder / _MEMORY).open("r+b") as file,
            mmap.mmap(file.fileno(), 0) as seen,
            started(serve, ours, theirs, folder, jwk, latency_s) as url,
        ):
            settings = {
                "TENANT_ID": seed.TENANT_ID,
                "CLIENT_ID": seed.API_CLIENT_ID,
                "CLIENT_SECRET": seed.API_CLIENT_SECRET,
                "ENTRA_AUTHORITY_HOST": str(url),
                "GRAPH_ENDPOINT": str(url),
                "CA_BUNDLE": str(folder / _BUNDLE),
            }
            yield settings, seen
