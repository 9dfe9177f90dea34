"""Runs one aiohttp application on loopback, on a thread and an event loop of its own.

Owns which web pages may use it from a browser: those of registered origins, and no others. A web
page from elsewhere must not read or change what is on this machine, not even a page of another
port: other programs listen there. A request without an ``Origin`` comes from a program, not from a
page, and passes.
"""

import asyncio
import ssl
import threading
from collections.abc import Callable, Container
from types import TracebackType
from typing import Self

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware


class LocalServer:
    """A running server; use as a context manager.

    ``port`` 0 takes a free one. Errors: OSError when the port is busy.
    """

    def __init__(
        self, app: web.Application, *, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._app = app
        self._port = port
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="local-server", daemon=True
        )
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The address without a trailing slash, e.g. ``https://localhost:49152``."""
        return f"{'https' if self._tls else 'http'}://localhost:{self._port}"

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(timeout=30)
        except BaseException:
            self._stop_loop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(timeout=30)
        self._stop_loop()

    async def _start(self) -> None:
        runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        assert runner.server is not None  # made by setup
        self._listening = await self._loop.create_server(
            runner.server,
            "127.0.0.1",
            self._port,
            ssl=self._tls,
            backlog=1024,
            ssl_shutdown_timeout=0.5 if self._tls else None,
        )
        self._runner = runner
        self._port = self._listening.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        """Stop, even while clients still hold their connections open."""
        assert self._runner is not None
        assert self._listening is not None
        self._listening.close()
        await self._runner.cleanup()
        self._listening.abort_clients()
        await asyncio.sleep(0)  # lets the aborted transports close
        # Answers for which no client waits any more.
        late = asyncio.all_tasks() - {asyncio.current_task()}
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=5)

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()


def allow_origin(answer: web.StreamResponse, origin: str) -> None:
    """Let pages of ``origin`` read this answer."""
    answer.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
    answer.headers[hdrs.VARY] = hdrs.ORIGIN


def is_preflight(request: web.Request) -> bool:
    """Tell a browser's question from a program's OPTIONS request."""
    return (
        request.method == hdrs.METH_OPTIONS
        and hdrs.ORIGIN in request.headers
        and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
    )


def local_pages_only(origins: Callable[[], Container[str]], *, under: str) -> Middleware:
    """Return a middleware that answers pages of ``origins`` and refuses all others.

    It looks at addresses that begin with ``under``.
    """

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None or not request.path.startswith(under):
            return await handler(request)
        if origin not in origins():
            sentence = f"Pages of {origin} may not use these addresses; only the console's may."
            return web.json_response({"error": sentence}, status=403)
        answer = web.Response(status=204) if is_preflight(request) else await handler(request)
        allow_origin(answer, origin)
        answer.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = "GET, POST, DELETE"
        answer.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = "Content-Type"
        return answer

    return admit
