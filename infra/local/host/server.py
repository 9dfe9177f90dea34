"""A local Functions host: serves any Python v2 Function App folder over HTTP.

Microsoft's own worker runtime (``azure-functions-runtime``) finds the functions, decodes requests,
runs them on its loop and its thread pool, and encodes their answers, as in Azure. Owns, with the
modules beside it, what the .NET host does in front of the runtime: routes, methods, headers, query,
body limit, CORS and the settings files. What it imitates was read in Azure/azure-functions-host and
Azure/azure-functions-core-tools:

* An unknown route, and a known route with another method, answer 404 (azure-functions-host issue
  10098); HEAD is not GET.
* Headers and query reach the worker as maps: repeated ones are joined with a comma, empty query
  values are dropped (GrpcMessageConversionExtensions.cs). The same file reads a body only if
  ``Content-Length`` is given. So the body of a chunked request arrives empty, here, too (issue
  7930).
* An exception that leaves a function is a 500 without a body; a function without an output binding
  answers 204.
* Header values are UTF-8, as Kestrel reads them; others are a 400 (dotnet/aspnetcore issue 32448).
  More than 100 headers or 32 KiB of them are a 431, a request line over 8 KiB is a 414
  (KestrelServerLimits).
* The host answers CORS requests, never a function: ASP.NET Core's rules, with any header and any
  method allowed (Startup.cs of Core Tools).

Not imitated: function keys (as with Core Tools, every ``auth_level`` is served as anonymous),
``functionTimeout``, HTTP streaming, the home page and ``/admin``. Too large a body is always a 413,
as at Azure's front end, although the host behind it has been seen to answer 500 (issue 10519). The
first runtime of a process stays: load one Function App per process.
"""

import argparse
import asyncio
import io
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from azure_functions_runtime.bindings.datumdef import Datum

from infra.local.host.routing import (
    Answer,
    Cors,
    HostError,
    Route,
    decode_path,
    join_headers,
    join_query,
)
from infra.local.host.settings import prepare
from infra.local.host.worker import invoke, load_routes, mark_line

DEFAULT_PORT = 7071
GRACE_S = 5
# Kestrel's time: connections must not close sooner here, because clients keep them in pools.
KEEP_ALIVE_S = 130
MAX_HEADERS, MAX_HEADER_BYTES, MAX_LINE_BYTES = 100, 32_768, 8_192
READY = "Functions host listening on "

type Message = dict[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[Message, Receive, Send], Awaitable[None]]


def refuse_head(scope: Message) -> Answer | None:
    """Return Kestrel's refusal of a request whose line or headers are too large, else None."""
    line = (
        f"{scope['method']} "
        f"{scope['raw_path'].decode('ascii')}?{scope['query_string'].decode('latin-1')} "
        "HTTP/1.1\r\n"
    )
    size = sum(len(name) + len(value) + len(": \r\n") for name, value in scope["headers"])
    if len(line) > MAX_LINE_BYTES:
        return Answer(414, [("connection", "close")])
    if size > MAX_HEADER_BYTES or len(scope["headers"]) > MAX_HEADERS:
        return Answer(431, [("connection", "close")])
    return None


async def _read_body(receive: Receive) -> bytes | None:
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


async def _discard_body(receive: Receive) -> None:
    """Read on for a moment, so that a client that is still sending gets the answer and no reset."""
    try:
        async with asyncio.timeout(GRACE_S):
            while (message := await receive())["type"] != "http.disconnect" and message.get(
                "more_body", False
            ):
                pass
    except TimeoutError:
        return


@dataclass(frozen=True, slots=True)
class FunctionsHost:
    """The ASGI application: one loaded Function App behind the host's own rules.

    ``body_limit`` is in bytes.
    """

    routes: tuple[Route, ...]
    cors: Cors
    body_limit: int

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            raise HostError(f"This host speaks HTTP only, not {scope['type']}.")
        if refusal := refuse_head(scope):
            await _send(send, refusal)
            return
        try:
            headers = join_headers(scope["headers"])
        except UnicodeDecodeError:
            await _send(send, Answer(400, [("connection", "close")]))
            return
        origin, asked_method = headers.get("origin"), headers.get("access-control-request-method")
        if (
            self.cors.origins
            and scope["method"] == "OPTIONS"
            and origin is not None
            and asked_method is not None
        ):
            await _send(
                send,
                self.cors.preflight(
                    origin, asked_method, headers.get("access-control-request-headers")
                ),
            )
            return
        answer = await self._answer(scope, headers, receive)
        if answer is not None:
            await _send(
                send,
                Answer(answer.status, [*answer.headers, *self.cors.headers(origin)], answer.body),
            )

    async def _answer(
        self, scope: Message, headers: Mapping[str, str], receive: Receive
    ) -> Answer | None:
        """Find the function and run it; None if the client left before its request was complete."""
        path = decode_path(scope["raw_path"])
        matches = (
            (route, route.match(path))
            for route in self.routes
            if route.methods is None or scope["method"] in route.methods
        )
        route, parameters = next(
            ((route, found) for route, found in matches if found is not None), (None, {})
        )
        if route is None:
            return Answer(404)
        length = int(headers.get("content-length", 0))
        if length > self.body_limit:
            if "expect" not in headers:
                await _discard_body(receive)
            return Answer(413, [("connection", "close")])
        body = await _read_body(receive) if length else b""
        if body is None:
            return None
        query = scope["query_string"]
        address = (
            f"{scope['scheme']}://{headers.get('host', 'localhost')}"
            f"{scope['raw_path'].decode('ascii')}"
        )
        request = {
            "method": Datum(scope["method"], "string"),
            "url": Datum(
                f"{address}?{query.decode('ascii', 'replace')}" if query else address, "string"
            ),
            "headers": _strings(headers),
            "params": _strings(parameters),
            "query": _strings(join_query(query)),
            "body": Datum(body, "bytes"),
        }
        return await invoke(route, request, headers)


def _strings(values: Mapping[str, str]) -> dict[str, Datum]:
    return {name: Datum(value, "string") for name, value in values.items()}


async def _send(send: Send, answer: Answer) -> None:
    """Write an answer; a header that is not ASCII makes it a 500, as in Kestrel."""
    try:
        headers = [
            (name.lower().encode("ascii"), value.encode("ascii"))
            for name, value in answer.headers
            if name.lower() not in ("content-length", "transfer-encoding")
        ]
    except UnicodeEncodeError:
        logging.getLogger(__name__).exception("A function answered with a header that is not ASCII")
        await _send(send, Answer(500))
        return
    body = b"" if answer.status in (204, 304) else answer.body
    if answer.status not in (204, 304):
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def create_app(
    app_folder: Path, local_settings: Path | None = None, cors: str | None = None
) -> Application:
    """Load a Function App folder and return it as an ASGI application.

    ``local_settings`` is the file that stands for local.settings.json (default: the one in the
    folder). Its ``Values`` fill what the environment does not set. ``cors``, a comma separated list
    of origins, replaces its ``Host.CORS``. The process's environment, working directory and
    ``sys.path`` become a worker's. Errors: HostError.
    """
    setup = prepare(app_folder, local_settings, cors)
    routes = await load_routes(setup.folder, setup.route_prefix)
    return FunctionsHost(tuple(routes), setup.cors, setup.body_limit)


class _Server(uvicorn.Server):
    """Says when it is ready.

    Ends by returning, not by the signal that asked it to stop.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if sockets:
            print(f"{READY}http://localhost:{sockets[0].getsockname()[1]}", flush=True)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        yield


async def _serve(options: argparse.Namespace, listener: socket.socket) -> None:
    app = await create_app(options.app, options.local_settings, options.cors)
    config = uvicorn.Config(
        app,
        http=options.http,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    await _Server(config).serve([listener])


def main(arguments: list[str] | None = None) -> int:
    """Serve one Function App until a signal comes.

    Exit codes: 0 stopped, 1 the app does not load, 2 the port is not free.
    """
    parser = argparse.ArgumentParser(
        prog="python -m infra.local.host.server",
        description="Serve a Python v2 Function App on this machine.",
    )
    parser.add_argument(
        "--app",
        type=Path,
        default=Path(),
        help="the folder with function_app.py (default: the current one)",
    )
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="0 takes a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--local-settings",
        type=Path,
        metavar="FILE",
        help="default: local.settings.json in the app folder",
    )
    parser.add_argument(
        "--cors",
        metavar="ORIGINS",
        help="comma separated, instead of Host.CORS, as with Core Tools' func start --cors",
    )
    parser.add_argument(
        "--http",
        choices=("h11", "httptools"),
        default="h11",
        help="the parser of requests; httptools is faster, and loses the body of a request that "
        "asks for HTTP/2 (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # shows what a function prints while it runs
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(mark)s%(message)s",
        force=True,
    )
    logging.getLogger().handlers[0].addFilter(mark_line)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # asyncio turns Nagle off only for sockets that say TCP, so the protocol is named here.
    # Otherwise each answer waits for a delayed ACK.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", options.port))
            listener.listen(1024)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no such port"
            print(
                (
                    f"Cannot listen on port {options.port}: {reason}. Stop what uses it or choose "
                    "another with --port."
                ),
                file=sys.stderr,
            )
            return 2
        try:
            asyncio.run(_serve(options, listener))
        except HostError as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # A function that never ends must not keep the process: a normal exit waits for its thread.
    os._exit(code)
