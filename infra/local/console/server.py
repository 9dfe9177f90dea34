"""The console's server: a partner's web app in miniature, and the pages that document the API.

Owns its addresses, its headers, and what the page learns about the rest of the stack. The page
itself is in ``page/``, the documentation under ``/docs/``. The simulators speak TLS with a
certificate that no browser trusts. So a console also opens addresses without TLS to them: on
loopback a browser treats http as safe as https. The page calls the service from another origin; the
host's setting ``Host.CORS`` decides whether it may, not the app.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from aiohttp.typedefs import Handler

from infra.local import seed
from infra.local.console.docs import POLICY as DOCS_POLICY
from infra.local.console.docs import pages as docs_pages
from infra.local.graph.wire import read_moment
from infra.local.server import LocalServer
from infra.local.stack import LocalStack

_FOLDER: Final = Path(__file__).with_name("page")
_TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".png": "image/png",
}
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Console:
    """A running console over a running stack; use as a context manager.

    Ports of 0 take free ones. Errors: OSError when a port is busy.

    ``facade_url`` is where the service answers. Set it after the start if the host, which has to
    know this console's origin, starts later.
    """

    def __init__(
        self,
        stack: LocalStack,
        facade_url: str = "",
        *,
        port: int = 0,
        entra_port: int = 0,
        graph_port: int = 0,
    ) -> None:
        self._stack = stack
        self._ports = (port, entra_port, graph_port)
        self._running = ExitStack()
        self.facade_url = facade_url
        self.url = ""
        self._entra_url = ""
        self._graph_url = ""

    def __enter__(self) -> Self:
        port, entra_port, graph_port = self._ports
        with ExitStack() as starting:
            self._entra_url = starting.enter_context(
                LocalServer(self._stack.entra.app, port=entra_port)
            ).url
            self._graph_url = starting.enter_context(
                LocalServer(self._stack.graph.app, port=graph_port)
            ).url
            self.url = starting.enter_context(LocalServer(self._app(), port=port)).url
            self._running = starting.pop_all()
        self._stack.entra.sign_in.register(f"{self.url}/")
        self._stack.entra.page_origins |= {self.url}
        self._stack.graph.page_origins |= {self.url}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.entra.page_origins -= {self.url}
        self._stack.graph.page_origins -= {self.url}
        self._running.close()

    def settings(self) -> dict[str, object]:
        """Return what the page has to know.

        ``partner`` is the configuration that any partner's app has. ``stack`` is for the local
        tools alone.
        """
        first, last = _seeded_days()
        return {
            "partner": {
                "authority": f"{self._entra_url}/{seed.TENANT_ID}",
                "clientId": seed.PARTNER_CLIENT_ID,
                "redirectUri": f"{self.url}/",
                "scope": f"api://{seed.API_CLIENT_ID}/{seed.REQUIRED_SCOPE}",
                "facade": self.facade_url,
            },
            "stack": {
                "entra": self._entra_url,
                "graph": self._graph_url,
                "webhook": {"secret": seed.WEBHOOK_SECRET, "businessId": seed.LUNCH_DELIVERY},
            },
            "range": {"start": first, "end": last},
        }

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/config.json", self._config)
        for path in filter(Path.is_file, sorted(_FOLDER.iterdir())):
            app.router.add_get(
                "/" if path.name == "index.html" else f"/{path.name}", self._page(path)
            )
        app.router.add_get("/docs", _to_docs)
        app.router.add_get("/docs/{name:.*}", self._docs)
        return app

    async def _config(self, _: web.Request) -> web.Response:
        return web.json_response(self.settings(), headers={**_HEADERS, "Cache-Control": "no-store"})

    def _page(self, path: Path) -> Handler:
        async def answer(_: web.Request) -> web.Response:
            return _file(path, self._policy())

        return answer

    async def _docs(self, request: web.Request) -> web.Response:
        name = request.match_info["name"] or "index.html"
        found = docs_pages().get(name)
        if found is None or not found.is_file():
            return web.Response(status=404, text="There is no such page.", headers=_HEADERS)
        if name != "openapi.json":
            return _file(found, DOCS_POLICY)
        # The document says that it was read from the service, which is not true here.
        document = json.loads(found.read_text("utf-8"))
        document["servers"] = [{"url": f"{self.facade_url}/api", "description": "The service."}]
        headers = {**_HEADERS, "Content-Security-Policy": DOCS_POLICY}
        return web.json_response(document, headers=headers)

    def _policy(self) -> str:
        return content_policy(
            address for address in (self.facade_url, self._entra_url, self._graph_url) if address
        )


def content_policy(called: Iterable[str]) -> str:
    """Return the console's Content-Security-Policy: its own files, and the addresses that it calls.

    No inline code, no markup made from strings.
    """
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            f"connect-src 'self' {' '.join(called)}".strip(),
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        )
    )


async def _to_docs(_: web.Request) -> web.Response:
    return web.Response(status=308, headers={**_HEADERS, "Location": "/docs/"})


def _file(path: Path, policy: str) -> web.Response:
    headers: Mapping[str, str] = {**_HEADERS, "Content-Security-Policy": policy}
    return web.Response(
        body=path.read_bytes(),
        content_type=_TYPES.get(path.suffix, "text/plain"),
        charset="utf-8",
        headers=headers,
    )


def _seeded_days() -> tuple[str, str]:
    """Return the days to show at the start: a month from the first seeded appointment."""
    moments = [
        moment
        for appointment in seed.APPOINTMENTS
        if (moment := read_moment(appointment.start)) is not None
    ]
    first = min(moments).date()
    return first.isoformat(), (first + timedelta(days=30)).isoformat()
