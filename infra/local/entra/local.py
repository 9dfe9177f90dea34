"""The developer's side door of the Entra simulator, under ``/_local``; not a part of Entra.

Owns tokens for the seeded users, faults, key rotation and reset. Open to every program on this
machine, but to no web page other than the console's: ``server`` in front of it refuses those.
"""

from collections.abc import Awaitable, Callable
from typing import Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from infra.local import seed
from infra.local.entra.keys import SigningKey
from infra.local.entra.tokens import TokenMint
from infra.local.faults import Fault, Faults

_FAULTS = TypeAdapter(list[Fault])
_Handler = Callable[[web.Request], Awaitable[web.Response]]


class PageWish(BaseModel):
    """A developer's own web page, to whose redirect URI people may be sent back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    redirect_uri: str = Field(pattern=r"^http://(localhost|127\.0\.0\.1)(:\d+)?/[^?#\s]*$")


class TokenWish(BaseModel):
    """A developer's request for a token.

    ``user`` is an object id, a user name, or a part of the name. ``mfa`` means: as if signed in
    with two factors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str = "adele"
    client_id: str = seed.PARTNER_CLIENT_ID
    scope: str = seed.REQUIRED_SCOPE
    version: Literal["1.0", "2.0"] = "2.0"
    lifetime_s: float = Field(default=3600, gt=0, le=86400)
    mfa: bool = False


def find_user(wanted: str) -> seed.User:
    """Return the one seeded user that ``wanted`` means. Errors: ValueError with a sentence."""
    needle = wanted.strip().lower()
    exact = [user for user in seed.USERS if needle in (user.object_id, user.username.lower())]
    found = exact or [
        user
        for user in seed.USERS
        if needle
        and (needle in user.name.lower() or needle in user.username.partition("@")[0].lower())
    ]
    if len(found) != 1:
        known = ", ".join(user.username for user in seed.USERS)
        raise ValueError(
            f"{'Nobody' if not found else 'More than one person'} here is called '{wanted}'. "
            f"The users are {known}."
        )
    return found[0]


def add_developer_routes(
    app: web.Application,
    mint: TokenMint,
    plan: Faults,
    *,
    register: Callable[[str], None],
    rotate_keys: Callable[[], SigningKey],
    reset: Callable[[], None],
) -> None:
    """Add the ``/_local`` routes; bad input gets 400 with ``{"error": "<a sentence>"}``."""

    async def token(request: web.Request) -> web.Response:
        wish = TokenWish.model_validate_json(await request.read() or b"{}")
        claims = {"amr": ["pwd", "mfa"]} if wish.mfa else {}
        access_token = mint.user_token(
            find_user(wish.user),
            version=wish.version,
            client_id=wish.client_id,
            scopes=wish.scope,
            lifetime_s=wish.lifetime_s,
            claims=claims,
        )
        return web.json_response(
            {
                "access_token": access_token,
                "token_type": "Bearer",
                "expires_in": int(wish.lifetime_s),
            }
        )

    async def plain_token(request: web.Request) -> web.Response:
        return web.Response(text=mint.user_token(find_user(request.match_info["user"])))

    async def users(_: web.Request) -> web.Response:
        return web.json_response(
            [
                {"id": user.object_id, "username": user.username, "name": user.name}
                for user in seed.USERS
            ]
        )

    async def read_faults(_: web.Request) -> web.Response:
        return web.json_response([fault.model_dump(mode="json") for fault in plan.planned()])

    async def add_faults(request: web.Request) -> web.Response:
        body = (await request.read()).strip()
        faults = (
            _FAULTS.validate_json(body)
            if body.startswith(b"[")
            else [Fault.model_validate_json(body)]
        )
        plan.add(*faults)
        return await read_faults(request)

    async def clear_faults(request: web.Request) -> web.Response:
        plan.clear()
        return await read_faults(request)

    async def register_page(request: web.Request) -> web.Response:
        wish = PageWish.model_validate_json(await request.read())
        register(wish.redirect_uri)
        return web.json_response(wish.model_dump())

    async def rotate(_: web.Request) -> web.Response:
        return web.json_response({"kid": rotate_keys().kid})

    async def start_again(_: web.Request) -> web.Response:
        reset()
        return web.json_response({"reset": True})

    app.router.add_post("/_local/token", _in_words(token))
    app.router.add_get("/_local/token/{user}", _in_words(plain_token))
    app.router.add_get("/_local/users", users)
    app.router.add_get("/_local/faults", read_faults)
    app.router.add_post("/_local/faults", _in_words(add_faults))
    app.router.add_delete("/_local/faults", clear_faults)
    app.router.add_post("/_local/pages", _in_words(register_page))
    app.router.add_post("/_local/rotate-keys", rotate)
    app.router.add_post("/_local/reset", start_again)


def _in_words(handler: _Handler) -> _Handler:
    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except ValidationError as exc:
            first = exc.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            return web.json_response(
                {"error": f"{where or 'The body'}: {first['msg']}."}, status=400
            )
        except ValueError as exc:
            return web.json_response({"error": str(exc)}, status=400)

    return answer
