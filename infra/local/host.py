"""A local Functions host: serves any Python v2 Function App folder over HTTP, through Microsoft's own worker runtime.

The runtime package (``azure-functions-runtime``) finds the functions, decodes requests, runs them on its loop and its thread pool
and encodes their answers, as in Azure. This module owns what the .NET host does in front of it: routes, methods, headers, query,
body limit, CORS and the settings files. What it imitates was read in Azure/azure-functions-host and Azure/azure-functions-core-tools:

* An unknown route and a known route with another method both answer 404 (azure-functions-host issue 10098); HEAD is no GET.
* Headers and query reach the worker as maps: repeated ones are joined with a comma, empty query values are dropped
  (GrpcMessageConversionExtensions.cs). The same file reads a body only where ``Content-Length`` is given: the body of a chunked request
  arrives empty (issue 7930), and so it does here.
* An exception that leaves a function is a 500 without a body; a function without an output binding answers 204.
* Header values are UTF-8, as Kestrel reads them; others are a 400 (dotnet/aspnetcore issue 32448). More than 100 headers or 32 KiB of them are a 431,
  a request line over 8 KiB is a 414 (KestrelServerLimits).
* CORS answers are made by the host, never by a function: ASP.NET Core's rules, with any header and any method allowed (Startup.cs of Core Tools).

Not imitated: function keys (as with Core Tools, every ``auth_level`` is served as anonymous), ``functionTimeout``, HTTP streaming, the home page and
``/admin``. Too large a body is always a 413, as at Azure's front end; the host behind it has been seen to answer 500 (issue 10519).
The first runtime of a process stays: load one Function App per process.
"""

import argparse
import asyncio
import io
import json
import logging
import os
import re
import signal
import socket
import sys
import uuid
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, unquote

import azure_functions_runtime as runtime
import uvicorn
from azure_functions_runtime import native_invocation
from azure_functions_runtime.bindings.datumdef import Datum

DEFAULT_PORT = 7071
DEFAULT_BODY_LIMIT = 104_857_600
GRACE_S = 5
KEEP_ALIVE_S = 130  # Kestrel's: a client that pools connections must not meet closed ones sooner here
MAX_HEADERS, MAX_HEADER_BYTES, MAX_LINE_BYTES = 100, 32_768, 8_192
READY = "Functions host listening on "

type Message = dict[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Application = Callable[[Message, Receive, Send], Awaitable[None]]
type Headers = list[tuple[str, str]]


class HostError(Exception):
    """The Function App cannot be served. The text is one sentence for the person who started the host."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over HTTP."""

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""


_CONSTRAINTS = {
    "int": r"[+-]?\d{1,10}",
    "long": r"[+-]?\d{1,19}",
    "alpha": r"[A-Za-z]+",
    "bool": r"true|false",
    "guid": r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
}
_PARAMETER = re.compile(r"\{(?P<star>\*{0,2})(?P<name>[^{}:=?]+)(?P<rules>(?::[^{}:=?]+)*)(?:=(?P<default>[^{}?]*))?(?P<optional>\?)?\}")


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTP-triggered function and where it is found. ``methods`` None means any."""

    function_id: str
    function_name: str
    trigger: str
    methods: frozenset[str] | None
    pattern: re.Pattern[str]
    names: tuple[str, ...]
    defaults: Mapping[str, str]
    rank: tuple[int, ...]

    def match(self, path: str) -> dict[str, str] | None:
        """Return the route parameters when ``path`` (decoded) is this route's, else None."""
        found = self.pattern.fullmatch(path)
        if found is None:
            return None
        given = {name: value for name, value in zip(self.names, found.groups(), strict=True) if value}
        return {**self.defaults, **given}


def compile_route(template: str) -> tuple[re.Pattern[str], tuple[str, ...], dict[str, str], tuple[int, ...]]:
    """Turn an ASP.NET Core route template into a pattern, its parameter names, their defaults and its rank.

    The lower rank is tried first: at each segment a literal before a parameter before a catch-all. Errors: HostError for a constraint that is not known here.
    """
    pattern, names, defaults, rank = "", [], {}, []
    for segment in filter(None, template.split("/")):
        text, end, optional = "", 0, False
        for token in _PARAMETER.finditer(segment):
            name, rules = token["name"], [rule for rule in token["rules"].split(":") if rule]
            if unknown := [rule for rule in rules if rule not in _CONSTRAINTS]:
                raise HostError(f"The route '{template}' uses the constraint '{unknown[0]}', which this local host does not know.")
            value = ".*" if token["star"] else "[^/]+"
            names.append(name)
            if token["default"] is not None:
                defaults[name] = token["default"]
            checks = "".join(f"(?=(?:{_CONSTRAINTS[rule]})(?:/|$))" for rule in rules)
            text += re.escape(segment[end : token.start()]) + f"{checks}({value})"
            optional = optional or bool(token["star"] or token["optional"]) or token["default"] is not None
            end = token.end()
        text += re.escape(segment[end:])
        pattern += f"(?:/{text})?" if optional else f"/{text}"
        rank.append(0 if not end else 2 if "{*" in segment else 1)
    return re.compile(pattern + "/?", re.IGNORECASE), tuple(names), defaults, tuple(rank)


def decode_path(raw_path: bytes) -> str:
    """Decode the percent-encoding of a path but for ``%2F``, which Kestrel leaves as it came."""
    return "%2F".join(unquote(piece) for piece in re.split("%2[fF]", raw_path.decode("ascii")))


class _BindingInfo(SimpleNamespace):
    out, inout = 1, 2
    undefined = 0


class _StatusResult(SimpleNamespace):
    Failure, Success = 0, 1


_RECORD = SimpleNamespace
_PROTOS = SimpleNamespace(  # what the runtime expects of the gRPC messages: records that remember what they were made with
    BindingInfo=_BindingInfo,
    StatusResult=_StatusResult,
    **dict.fromkeys(
        ["FunctionMetadataResponse", "RpcException", "RpcFunctionMetadata", "RpcRetryOptions", "WorkerInitResponse", "WorkerMetadata"],
        _RECORD,
    ),
)


async def load_routes(app_folder: Path, route_prefix: str) -> list[Route]:
    """Start the runtime on a Function App and return its HTTP routes, best match first. Errors: HostError when it does not load."""
    runtime.start_threadpool_executor()
    request = _RECORD(worker_init_request=_RECORD(capabilities={}, function_app_directory=str(app_folder)))
    started = await runtime.worker_init_request(_RECORD(request=request, properties={"protos": _PROTOS, "host": "127.0.0.1"}))
    if started.result.status != _StatusResult.Success:
        logging.getLogger(__name__).error("%s", started.result.exception.stack_trace)
        raise HostError(f"The Function App in {app_folder} does not load: {started.result.exception.message}")
    loaded = await runtime.functions_metadata_request(_RECORD(request=_RECORD(), properties={}))
    routes = []
    for function in loaded.function_metadata_results or ():
        for binding in map(json.loads, function.raw_bindings):
            if binding["type"] == "httpTrigger":
                methods, template = binding.get("methods"), binding.get("route")
                routes.append(
                    Route(
                        function.function_id,
                        function.name,
                        binding["name"],
                        None if methods is None else frozenset(str(method).upper() for method in methods),
                        *compile_route(f"{route_prefix}/{function.name if template is None else template}"),
                    )
                )
    if not routes:
        raise HostError(f"No HTTP-triggered function was found in {app_folder}.")
    return sorted(routes, key=lambda route: route.rank)


async def invoke(route: Route, request: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
    """Run one function on one request: a 500 without a body when it raises."""
    trigger = Datum(request, "http")
    context = headers.get("traceparent", ""), headers.get("tracestate", "")
    ok, returned, *_ = await native_invocation.invocation_request_native(
        str(uuid.uuid4()), route.function_id, [(route.trigger, trigger)], {}, *context
    )
    if not ok:
        return Answer(500)
    if returned is None:
        return Answer(204)
    if returned.type != "http":
        text = returned.value if isinstance(returned.value, str | bytes) else json.dumps(returned.value)
        body = text.encode() if isinstance(text, str) else text
        return Answer(200, [("content-type", "text/plain; charset=utf-8")], body)
    value = returned.value
    answer_headers = [(name, datum.value) for name, datum in value["headers"].items()]
    answer_headers += [("set-cookie", morsel.OutputString()) for cookie in value["cookies"] or () for morsel in cookie.values()]
    return Answer(int(value["status_code"].value), answer_headers, value["body"].value)


@dataclass(frozen=True, slots=True)
class Cors:
    """Which origins a browser may call from: the list of ``Host.CORS``, ``*`` for any, nothing for none."""

    origins: frozenset[str] = frozenset()
    credentials: bool = False

    def headers(self, origin: str | None) -> Headers:
        """Return the headers of an ordinary answer to ``origin``."""
        if origin is None or not self.origins & {origin, "*"}:
            return []
        if "*" in self.origins:
            return [("access-control-allow-origin", "*")]
        allow = [("access-control-allow-origin", origin), ("vary", "Origin")]
        return [*allow, ("access-control-allow-credentials", "true")] if self.credentials else allow

    def preflight(self, origin: str, method: str, headers: str | None) -> Answer:
        """Answer a browser's question; an origin that is not listed gets the same status and no permission."""
        allow = self.headers(origin)
        if allow:
            allow.append(("access-control-allow-methods", method))
            allow += [("access-control-allow-headers", headers)] if headers else []
        return Answer(204, allow)


def join_headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the header map that a worker gets. Errors: UnicodeDecodeError for a value that is not UTF-8."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("ascii").lower(), raw_value.decode()
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def join_query(query: bytes) -> dict[str, str]:
    """Return the query map that a worker gets; the first spelling of a name counts, and empty values are dropped."""
    spelling: dict[str, str] = {}
    joined: dict[str, str] = {}
    for name, value in parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True):
        key = spelling.setdefault(name.lower(), name)
        joined[key] = f"{joined[key]},{value}" if key in joined else value
    return {name: value for name, value in joined.items() if value}


def refuse_head(scope: Message) -> Answer | None:
    """Return Kestrel's refusal of a request whose line or headers are too large, else None."""
    line = f"{scope['method']} {scope['raw_path'].decode('ascii')}?{scope['query_string'].decode('latin-1')} HTTP/1.1\r\n"
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
    """Read on for a moment, so that a client that is still sending sees the answer and not a reset."""
    try:
        async with asyncio.timeout(GRACE_S):
            while (message := await receive())["type"] != "http.disconnect" and message.get("more_body", False):
                pass
    except TimeoutError:
        return


@dataclass(frozen=True, slots=True)
class FunctionsHost:
    """The ASGI application: one loaded Function App behind the host's own rules. ``body_limit`` is in bytes."""

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
        if self.cors.origins and scope["method"] == "OPTIONS" and origin is not None and asked_method is not None:
            await _send(send, self.cors.preflight(origin, asked_method, headers.get("access-control-request-headers")))
            return
        answer = await self._answer(scope, headers, receive)
        if answer is not None:
            await _send(send, Answer(answer.status, [*answer.headers, *self.cors.headers(origin)], answer.body))

    async def _answer(self, scope: Message, headers: Mapping[str, str], receive: Receive) -> Answer | None:
        """Find the function and run it; None when the client left before its request was complete."""
        path = decode_path(scope["raw_path"])
        matches = ((route, route.match(path)) for route in self.routes if route.methods is None or scope["method"] in route.methods)
        route, parameters = next(((route, found) for route, found in matches if found is not None), (None, {}))
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
        address = f"{scope['scheme']}://{headers.get('host', 'localhost')}{scope['raw_path'].decode('ascii')}"
        request = {
            "method": Datum(scope["method"], "string"),
            "url": Datum(f"{address}?{query.decode('ascii', 'replace')}" if query else address, "string"),
            "headers": _strings(headers),
            "params": _strings(parameters),
            "query": _strings(join_query(query)),
            "body": Datum(body, "bytes"),
        }
        return await invoke(route, request, headers)


def _strings(values: Mapping[str, str]) -> dict[str, Datum]:
    return {name: Datum(value, "string") for name, value in values.items()}


async def _send(send: Send, answer: Answer) -> None:
    """Write an answer. A header that is not ASCII makes it a 500, as in Kestrel."""
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


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a settings file; an absent or empty file is an empty one. Errors: HostError for anything but a JSON object."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return {}
    try:
        content = json.loads(text or "{}")
    except ValueError as error:
        raise HostError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(content, dict):
        raise HostError(f"{path} does not hold a JSON object.")
    return content


def read_cors(host: Mapping[str, Any], path: Path) -> Cors:
    """Read ``CORS`` (a comma separated list) and ``CORSCredentials`` of local.settings.json's ``Host``."""
    origins = frozenset(origin.strip().rstrip("/") for origin in str(host.get("CORS") or "").split(",") if origin.strip())
    cors = Cors(origins, credentials=bool(host.get("CORSCredentials", False)))
    if cors.credentials and "*" in origins:
        raise HostError(f"{path} asks for CORSCredentials with the origin '*', which browsers refuse: list the origins.")
    return cors


@dataclass(frozen=True, slots=True)
class Setup:
    """What host.json, local.settings.json and the environment say. ``body_limit`` is in bytes."""

    folder: Path
    route_prefix: str
    cors: Cors
    body_limit: int


def prepare(app_folder: Path, local_settings: Path | None) -> Setup:
    """Read the settings files and turn this process into a worker's: environment, working directory, ``sys.path``. Errors: HostError."""
    folder = app_folder.resolve()
    path = (local_settings or folder / "local.settings.json").absolute()
    settings, host_json = read_json(path), read_json(folder / "host.json")
    if settings.get("IsEncrypted"):
        raise HostError(f"{path} is encrypted: run 'func settings decrypt' first.")
    for name, value in (settings.get("Values") or {}).items():
        os.environ.setdefault(name, "" if value is None else str(value))
    os.environ.setdefault("AZURE_FUNCTIONS_ENVIRONMENT", "Development")  # as Core Tools does
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    limit = os.environ.get("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", "")
    return Setup(
        folder,
        host_json.get("extensions", {}).get("http", {}).get("routePrefix", "api"),
        read_cors(settings.get("Host") or {}, path),
        int(limit) if limit.isdecimal() else DEFAULT_BODY_LIMIT,
    )


async def create_app(app_folder: Path, local_settings: Path | None = None) -> Application:
    """Load a Function App folder and return it as an ASGI application.

    ``local_settings`` is the file that stands for local.settings.json (default: the one in the folder): its ``Values`` fill what the environment
    does not set. The process's environment, working directory and ``sys.path`` become a worker's. Errors: HostError.
    """
    setup = prepare(app_folder, local_settings)
    routes = await load_routes(setup.folder, setup.route_prefix)
    return FunctionsHost(tuple(routes), setup.cors, setup.body_limit)


class _Server(uvicorn.Server):
    """Says when it is ready, and ends by returning, not by the signal that it was asked to stop with."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if sockets:
            print(f"{READY}http://localhost:{sockets[0].getsockname()[1]}", flush=True)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        yield


async def _serve(app_folder: Path, local_settings: Path | None, listener: socket.socket) -> None:
    app = await create_app(app_folder, local_settings)
    config = uvicorn.Config(
        app,
        http="httptools",
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
    """Serve one Function App until a signal comes. Exit codes: 0 stopped, 1 the app does not load, 2 the port is not free."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.host", description="Serve a Python v2 Function App on this machine.")
    parser.add_argument("--app", type=Path, default=Path(), help="the folder with function_app.py (default: the current one)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--local-settings", type=Path, metavar="FILE", help="default: local.settings.json in the app folder")
    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what a function prints is seen while it runs
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # The protocol is named, because asyncio turns Nagle off only for sockets that say TCP: without it each answer waits for a delayed ACK.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", options.port))
            listener.listen(1024)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no such port"
            print(f"Cannot listen on port {options.port}: {reason}. Stop what uses it or choose another with --port.", file=sys.stderr)
            return 2
        try:
            asyncio.run(_serve(options.app, options.local_settings, listener))
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
    os._exit(code)  # a function that never ends must not keep the process: its thread would be waited for
