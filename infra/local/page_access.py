"""Which web pages may use a simulator from a browser: those of one registered origin or several,
and no others.

A web page from elsewhere must not read or change what is on this machine, even one of another port:
other programs listen there. Requests without an ``Origin`` come from programs, not from pages, and
pass.
"""

from collections.abc import Callable, Container

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware


def allow_origin(answer: web.StreamResponse, origin: str) -> None:
    """Let pages of ``origin`` read this answer."""
    answer.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
    answer.headers[hdrs.VARY] = hdrs.ORIGIN


def is_preflight(request: web.Request) -> bool:
    """Tell a browser's question from an OPTIONS request of a program."""
    return (
        request.method == hdrs.METH_OPTIONS
        and hdrs.ORIGIN in request.headers
        and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
    )


def local_pages_only(origins: Callable[[], Container[str]], *, under: str) -> Middleware:
    """Return a middleware that answers pages of ``origins`` and refuses all others, for the
    addresses that begin with ``under``.
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
