"""The pages of the simulated sign-in and their addresses: whom to sign in as, and what is wrong
with a request. The rules are in ``entra_sign_in``.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from aiohttp import web

from infra.local import seed
from infra.local.entra.refusals import Refused, say_refusal
from infra.local.entra.sign_in import AuthorizationRequest, ReturnedToPage, SignIn

_STYLE = Path(__file__).with_name("sign_in.css")
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<link rel="icon" href="data:,">
<style nonce="$nonce">$style</style>
</head>
<body>
<main>
<p class="brand">Entra ID, simulated</p>
<h1>$title</h1>
$content
</main>
</body>
</html>
""")


def add_sign_in_routes(
    app: web.Application,
    sign_in: SignIn,
    find_tenant: Callable[[str], str | None],
    now: Callable[[], float],
) -> None:
    """Add ``/{tenant}/oauth2/v2.0/authorize`` (GET shows the people, POST signs one in)."""

    async def show(request: web.Request) -> web.Response:
        return _carefully(
            request, lambda tenant_id: _choice(request, sign_in.read(tenant_id, request.query))
        )

    async def choose(request: web.Request) -> web.Response:
        form = {
            name: value for name, value in (await request.post()).items() if isinstance(value, str)
        }

        def signed_in(tenant_id: str) -> web.Response:
            asked = sign_in.read(tenant_id, form)
            user = next((user for user in seed.USERS if user.object_id == form.get("user")), None)
            if user is None:
                raise Refused(50034)
            return web.Response(
                status=303,
                headers={"Location": sign_in.grant(asked, user), "Cache-Control": "no-store"},
            )

        return _carefully(request, signed_in)

    def _carefully(request: web.Request, answer: Callable[[str], web.Response]) -> web.Response:
        try:
            tenant_id = find_tenant(request.match_info["tenant"])
            if tenant_id is None:
                raise Refused(90002)
            return answer(tenant_id)
        except ReturnedToPage as returned:
            said = say_refusal(returned.refused, now=now()).body
            location = returned.location_of(
                {name: str(said[name]) for name in ("error", "error_description", "error_uri")}
            )
            return web.Response(
                status=303, headers={"Location": location, "Cache-Control": "no-store"}
            )
        except Refused as refused:
            return _refusal(str(say_refusal(refused, now=now()).body["error_description"]))

    app.router.add_get("/{tenant}/oauth2/v2.0/authorize", show)
    app.router.add_post("/{tenant}/oauth2/v2.0/authorize", choose)


def _choice(request: web.Request, asked: AuthorizationRequest) -> web.Response:
    hidden = "\n".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in request.query.items()
        if name != "user"
    )
    people = "\n".join(
        f'<button name="user" value="{user.object_id}"><strong>{escape(user.name)}</strong><span>{escape(user.username)}</span></button>'
        for user in _expected_first(seed.USERS, asked.login_hint)
    )
    if asked.is_challenge:
        title, lead = (
            "More proof is asked for",
            "A policy wants a second factor. Choosing a person stands for approving the request on their phone.",
        )
    else:
        title, lead = "Sign in", "Choose who you are. Nobody here is real, so no password is asked."
    origin = _origin(asked.redirect_uri)
    content = (
        f'<p>{lead}</p>\n<form method="post" action="{escape(request.path)}">\n{hidden}\n{people}\n</form>\n'
        f'<p class="note">You return to <b>{escape(origin)}</b>, which may then cancel appointments as you.</p>'
    )
    return _page(200, title, content, form_action=f"'self' {origin}")


def _expected_first(users: Iterable[seed.User], hint: str) -> list[seed.User]:
    return sorted(users, key=lambda user: user.username.lower() != hint.lower())


def _refusal(description: str) -> web.Response:
    lines = "<br>".join(escape(line) for line in description.splitlines())
    return _page(
        400,
        "Sorry, but we're having trouble signing you in",
        f'<p class="refusal">{lines}</p>',
        form_action="'none'",
    )


def _page(status: int, title: str, content: str, *, form_action: str) -> web.Response:
    nonce = secrets.token_urlsafe(16)
    text = _PAGE.substitute(
        title=escape(title), nonce=nonce, style=_STYLE.read_text("utf-8"), content=content
    )
    return web.Response(
        status=status, text=text, content_type="text/html", headers=_headers(nonce, form_action)
    )


def _headers(nonce: str, form_action: str) -> Mapping[str, str]:
    """Chromium holds the redirect after a form to ``form-action`` as well, hence the page's origin
    in it.
    """
    policy = f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; form-action {form_action}; base-uri 'none'; frame-ancestors 'none'"
    return {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"
