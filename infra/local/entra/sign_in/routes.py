"""The addresses of the simulated sign-in: authorize, device code, logout.

Does *not* know the token endpoint, which redeems what is granted here.
"""

from collections.abc import Callable, Mapping

from aiohttp import web

from infra.local.entra.errors import Refused, say_refusal
from infra.local.entra.sign_in import pages
from infra.local.entra.sign_in.asked import is_challenge, read_claims
from infra.local.entra.sign_in.authorize import ReturnedToClient, WayBack
from infra.local.entra.sign_in.devices import DEVICE_CODE_LIFETIME_S
from infra.local.entra.sign_in.grants import SignIn

DEVICE_PAGE = "/common/oauth2/deviceauth"


class SignInRoutes:
    """The addresses.

    ``find_tenant`` gives the tenant for the first segment of a path. ``base_url`` is the address by
    which others know this simulator.
    """

    def __init__(
        self,
        sign_in: SignIn,
        find_tenant: Callable[[str], str | None],
        base_url: Callable[[], str],
        now: Callable[[], float],
    ) -> None:
        self._sign_in = sign_in
        self._find_tenant = find_tenant
        self._base_url = base_url
        self._now = now

    def add_to(self, app: web.Application) -> None:
        """Add the addresses; GET shows a page, POST says who was chosen."""
        app.router.add_get("/{tenant}/oauth2/v2.0/authorize", self._authorize)
        app.router.add_post("/{tenant}/oauth2/v2.0/authorize", self._authorize)
        app.router.add_post("/{tenant}/oauth2/v2.0/devicecode", self._begin_device)
        app.router.add_get(DEVICE_PAGE, self._device)
        app.router.add_post(DEVICE_PAGE, self._device)
        app.router.add_get("/{tenant}/oauth2/v2.0/logout", self._logout)

    async def _authorize(self, request: web.Request) -> web.Response:
        """Ask who signs in, or take the answer."""
        form = await read_form(request)

        def answer() -> web.Response:
            tenant_id = self._tenant(request)
            chosen = form.get("user")
            asked = self._sign_in.read(tenant_id, form or request.query)
            if chosen is None:
                return pages.choice(request.path, form or request.query, asked)
            user = self._sign_in.find_user(chosen)
            return pages.take_back(asked.back, self._sign_in.grant(asked, user))

        return self._in_pages(answer)

    async def _begin_device(self, request: web.Request) -> web.Response:
        form = await read_form(request)
        try:
            device = self._sign_in.begin_device(self._tenant(request), form)
        except Refused as refused:
            refusal = say_refusal(refused, now=self._now())
            return web.json_response(refusal.body, status=refusal.status, headers=refusal.headers)
        address = f"{self._base_url()}{DEVICE_PAGE}"
        return web.json_response(
            {
                "user_code": device.user_code,
                "device_code": device.device_code,
                "verification_uri": address,
                "expires_in": int(DEVICE_CODE_LIFETIME_S),
                "interval": self._sign_in.devices.interval_s,
                "message": (
                    f"To sign in, use a web browser to open the page {address} and enter the code "
                    f"{device.user_code} to authenticate."
                ),
            },
            headers={"Cache-Control": "no-store"},
        )

    async def _device(self, request: web.Request) -> web.Response:
        form = await read_form(request)

        def answer() -> web.Response:
            if not (code := form.get("code", "")):
                return pages.device_code(request.path, request.query.get("otc", ""))
            device = self._sign_in.devices.find(code)
            chosen = form.get("user")
            if chosen is None:
                challenge = is_challenge(read_claims(device.claims))
                return pages.device_choice(request.path, device, challenge=challenge)
            if chosen == pages.NOBODY:
                self._sign_in.devices.settle(code, None)
                return pages.said("Nobody signed in", "You can close this window.")
            self._sign_in.devices.settle(code, self._sign_in.find_user(chosen))
            return pages.said("You have signed in", "Go back to the other program.")

        return self._in_pages(answer)

    async def _logout(self, request: web.Request) -> web.Response:
        """End the session and send the browser back; this simulator keeps no session."""

        def answer() -> web.Response:
            self._tenant(request)
            target = request.query.get("post_logout_redirect_uri", "")
            if target and self._sign_in.may_return_to(target):
                return pages.take_back(WayBack(target, "query", request.query.get("state", "")), {})
            return pages.said("You signed out", "It is a good idea to close all browser windows.")

        return self._in_pages(answer)

    def _tenant(self, request: web.Request) -> str:
        tenant_id = self._find_tenant(request.match_info["tenant"])
        if tenant_id is None:
            raise Refused(90002)
        return tenant_id

    def _in_pages(self, answer: Callable[[], web.Response]) -> web.Response:
        """Give the answer, or say in a page or to the client why there is none."""
        try:
            return answer()
        except ReturnedToClient as returned:
            return pages.take_back(returned.back, self._words(returned.refused))
        except Refused as refused:
            return pages.refusal(self._words(refused)["error_description"])

    def _words(self, refused: Refused) -> Mapping[str, str]:
        body = say_refusal(refused, now=self._now()).body
        return {name: str(body[name]) for name in ("error", "error_description", "error_uri")}


async def read_form(request: web.Request) -> dict[str, str]:
    """Return the texts of a form that was posted."""
    return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
