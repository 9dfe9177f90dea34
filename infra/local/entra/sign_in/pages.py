"""The pages of the simulated sign-in, as HTML.

They ask whom to sign in as and which code a device shows, say what is wrong with a request, and
take an answer back in a form. Owns the words and the headers. Does *not* know the rules
(``authorize``, ``grants``).
"""

import secrets
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from aiohttp import web

from infra.local import seed
from infra.local.entra.sign_in.authorize import AuthorizationRequest, WayBack, origin_of
from infra.local.entra.sign_in.devices import DeviceRequest

NOBODY: Final = "nobody"
_STYLE = Path(__file__).with_name("pages.css")
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


def choice(path: str, query: Mapping[str, str], asked: AuthorizationRequest) -> web.Response:
    """Return the page that asks who signs in at the client of this request."""
    origin = origin_of(asked.back.redirect_uri)
    note = f"You return to <b>{escape(origin)}</b>, which may then cancel appointments as you."
    kept = {name: value for name, value in query.items() if name != "user"}
    form = _form(path, kept, _people(asked.login_hint))
    return _page(
        *_lead(challenge=asked.is_challenge),
        f'{form}\n<p class="note">{note}</p>',
        action=f"'self' {origin}",
    )


def device_code(path: str, typed: str) -> web.Response:
    """Return the page that asks for the code that a device shows."""
    box = (
        '<label for="code">Code</label>\n'
        f'<input id="code" name="code" value="{escape(typed)}" autocomplete="off" required '
        "autofocus>\n"
        "<button>Next</button>"
    )
    return _page(
        "Enter the code",
        "Enter the code that the other program shows.",
        _form(path, {}, box),
        action="'self'",
    )


def device_choice(path: str, device: DeviceRequest, *, challenge: bool) -> web.Response:
    """Return the page that asks who signs in at a device."""
    decline = f'<button name="user" value="{NOBODY}">Nobody: I did not ask for this code</button>'
    note = (
        f"The program that shows <b>{escape(device.user_code)}</b> may then cancel appointments "
        "as you."
    )
    form = _form(path, {"code": device.user_code}, f"{_people('')}\n{decline}")
    return _page(
        *_lead(challenge=challenge), f'{form}\n<p class="note">{note}</p>', action="'self'"
    )


def said(title: str, text: str) -> web.Response:
    """Return a page that only says something."""
    return _page(title, text, "", action="'none'")


def refusal(description: str) -> web.Response:
    """Return the page for a request whose client must not get an answer."""
    lines = "<br>".join(escape(line) for line in description.splitlines())
    return _page(
        "Sorry, but we're having trouble signing you in",
        "",
        f'<p class="refusal">{lines}</p>',
        action="'none'",
        status=400,
    )


def take_back(back: WayBack, answer: Mapping[str, str]) -> web.Response:
    """Send the browser to the client with an answer."""
    if back.mode != "form_post":
        headers = {"Location": back.address(**answer), "Cache-Control": "no-store"}
        return web.Response(status=303, headers=headers)
    form = _form(back.redirect_uri, back.members(**answer), "<button>Continue</button>")
    script = "document.forms[0].submit();"
    return _page("Working on it", "", form, action=origin_of(back.redirect_uri), script=script)


def _lead(*, challenge: bool) -> tuple[str, str]:
    if challenge:
        return (
            "More proof is asked for",
            (
                "A policy wants a second factor. Choosing a person stands for approving the "
                "request on their phone."
            ),
        )
    return "Sign in", "Choose who you are. Nobody here is real, so no password is asked."


def _people(expected: str) -> str:
    return "\n".join(
        f'<button name="user" value="{user.object_id}"><strong>{escape(user.name)}</strong>'
        f"<span>{escape(user.username)}</span><span>{escape(_role(user))}</span></button>"
        for user in _expected_first(seed.USERS, expected)
    )


def _expected_first(users: Iterable[seed.User], hint: str) -> list[seed.User]:
    return sorted(users, key=lambda user: user.username.lower() != hint.lower())


def _role(user: seed.User) -> str:
    """Say what the person is, and so may do."""
    places = [one.display_name for one in seed.BUSINESSES if user.object_id in one.staff]
    if not places:
        return "On no booking page's staff: sees none, and may cancel nothing."
    return f"Staff of {' and '.join(places)}: may see and cancel the appointments there."


def _form(action: str, kept: Mapping[str, str], content: str) -> str:
    hidden = "\n".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in kept.items()
    )
    return f'<form method="post" action="{escape(action)}">\n{hidden}\n{content}\n</form>'


def _page(
    title: str, lead: str, content: str, *, action: str, status: int = 200, script: str = ""
) -> web.Response:
    """Return a page whose forms may go to ``action``.

    Chromium applies ``form-action`` to the redirect after a form, too, so the client's origin is in
    it.
    """
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; form-action {action}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    if lead:
        content = f"<p>{lead}</p>\n{content}"
    if script:
        content += f'\n<script nonce="{nonce}">{script}</script>'
        policy += f"; script-src 'nonce-{nonce}'"
    text = _PAGE.substitute(
        title=escape(title), nonce=nonce, style=_STYLE.read_text("utf-8"), content=content
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(status=status, text=text, content_type="text/html", headers=headers)
