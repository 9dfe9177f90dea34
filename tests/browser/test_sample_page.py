"""The sample page of docs/clients in Chromium, with @azure/msal-browser as it comes from npm.

Two things differ from the real world: the authority, and that its certificate is trusted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from playwright.sync_api import BrowserContext, Page, expect

from infra.local import seed
from infra.local.host.process import HostProcess
from infra.local.server import LocalServer
from infra.local.stack import LocalStack
from tests.browser.chromium import Watch, axe_findings, chromium, scrolls_sideways
from tests.client import Facade
from tests.integration import node_packages

pytestmark = pytest.mark.timeout(420)  # Chromium and the packages may have to be installed first

REPOSITORY = Path(__file__).resolve().parents[2]
MFA_PAGE = "More proof is asked for"


@dataclass(frozen=True)
class Site:
    """The page at ``url``, the service that it calls, and what stands behind that."""

    url: str
    service: Facade
    stack: LocalStack


@pytest.fixture(scope="module")
def running_site(running_stack: LocalStack) -> Iterator[tuple[str, str]]:
    """Serve the files as a maker would: the samples, node_modules and settings.json beside them."""
    settings: dict[str, str] = {}

    async def read_settings(_: web.Request) -> web.Response:
        return web.json_response(settings)

    app = web.Application()
    app.router.add_get("/settings.json", read_settings)
    app.router.add_static("/node_modules", node_packages.install("msal") / "node_modules")
    app.router.add_static("/", REPOSITORY / "docs" / "clients")
    with (
        LocalServer(app) as server,
        HostProcess(REPOSITORY, running_stack.environment, cors=[server.url]) as host,
    ):
        settings |= {
            "api": f"{host.url}/api",
            "authority": f"{running_stack.entra_url}/{seed.TENANT_ID}",
            "clientId": seed.PARTNER_CLIENT_ID,
            "scope": f"api://{seed.API_CLIENT_ID}/{seed.REQUIRED_SCOPE}",
        }
        running_stack.entra.sign_in.register(f"{server.url}/redirect.html")
        yield server.url, host.url


@pytest.fixture
def site(running_site: tuple[str, str], facade: Facade) -> Site:
    return Site(running_site[0], facade, facade.stack)


@pytest.fixture(scope="module")
def context(running_site: tuple[str, str]) -> Iterator[BrowserContext]:
    """One browser for all tests: the library is loaded once, and each tab has its own session."""
    with chromium() as browser:
        context = browser.new_context(ignore_https_errors=True)
        watch = Watch(context)
        yield context
        context.close()
    assert watch.hosts <= {"localhost"}


@pytest.fixture
def page(context: BrowserContext, site: Site) -> Iterator[Page]:
    page = context.new_page()
    page.goto(f"{site.url}/page.html")
    yield page
    for left in context.pages:
        left.close()


def sign_in(page: Page, who: seed.User, button: str = "#sign-in") -> None:
    with page.expect_popup() as opened:
        page.click(button)
    opened.value.get_by_role("button", name=who.name).click()


def begin(page: Page, site: Site, who: seed.User = seed.ADELE) -> None:
    """Sign in, and name an appointment of this test's own."""
    sign_in(page, who)
    expect(page.locator("#person")).to_have_text(f"Signed in as {who.name}.")
    page.get_by_label("Business").fill(seed.LUNCH_DELIVERY)
    page.get_by_label("Appointment").fill(site.service.book())


def test_a_challenge_asks_for_a_fresh_click_and_the_cancel_goes_on(page: Page, site: Site) -> None:
    """The pop-up of a challenge would come seconds after the click: a browser blocks it."""
    site.stack.entra.require_mfa(seed.ADELE)
    begin(page, site)
    page.click("#cancel")
    expect(page.locator("#reason")).to_contain_text("more proof")
    assert len(page.context.pages) == 1
    with page.expect_popup() as opened:
        page.click("#yes")
    expect(opened.value.locator("h1")).to_have_text(MFA_PAGE)
    opened.value.get_by_role("button", name=seed.ADELE.name).click()
    expect(page.locator("#status")).to_contain_text("was cancelled")
    expect(page.locator("#question")).to_be_hidden()


def test_a_challenge_that_a_newer_token_answers_asks_nobody(page: Page, site: Site) -> None:
    begin(page, site)
    claims = '{"access_token":{"nbf":{"essential":true,"value":"1"}}}'
    site.stack.entra.refuse(seed.ADELE, 50076, times=1, claims=claims)
    page.click("#cancel")
    expect(page.locator("#status")).to_contain_text("was cancelled")
    assert any("nbf" in one.form.get("claims", "") for one in site.stack.entra.asked)
    assert len(site.stack.graph.bookings.outbox) == 2


def test_a_session_that_was_revoked_asks_for_a_fresh_click(page: Page, site: Site) -> None:
    begin(page, site)
    site.stack.entra.revoke_sessions(seed.ADELE)
    claims = '{"access_token":{"nbf":{"essential":true,"value":"1"}}}'
    site.stack.entra.refuse(seed.ADELE, 50076, times=1, claims=claims)
    page.click("#cancel")
    expect(page.locator("#reason")).to_contain_text("more proof")
    sign_in(page, seed.ADELE, "#yes")
    expect(page.locator("#status")).to_contain_text("was cancelled")


def test_what_one_person_began_nobody_else_goes_on_with(page: Page, site: Site) -> None:
    site.stack.entra.require_mfa(seed.ADELE)
    begin(page, site)
    page.click("#cancel")
    sign_in(page, seed.MEGAN, "#yes")
    expect(page.locator("#status")).to_contain_text("somebody else signed in")
    expect(page.locator("#person")).to_have_text(f"Signed in as {seed.ADELE.name}.")
    assert not site.stack.graph.bookings.outbox


def test_a_failure_is_told_in_full_on_a_phone(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    begin(page, site)
    page.get_by_label("Appointment").fill('"quoted"')
    page.click("#cancel")
    expect(page.locator("#status")).to_contain_text("invalid_request")
    expect(page.locator("#status")).to_contain_text("requestId")
    assert not scrolls_sideways(page)
    assert axe_findings(page) == []


def test_a_pop_up_that_was_closed_is_an_answer(page: Page, site: Site) -> None:
    with page.expect_popup() as opened:
        page.click("#sign-in")
    opened.value.get_by_role("heading").wait_for()
    opened.value.close()
    expect(page.locator("#reason")).to_contain_text("seems to be closed")
    page.click("#no")
    expect(page.locator("#status")).to_contain_text("You stopped signing in")
    begin(page, site)


def test_a_pop_up_that_was_blocked_asks_for_another_click(page: Page, site: Site) -> None:
    page.evaluate(
        "() => "
        "{ const open = window.open; window.open = () => { window.open = open; return null; }; }"
    )
    page.click("#sign-in")
    expect(page.locator("#reason")).to_contain_text("opened no window")
    sign_in(page, seed.ADELE, "#yes")
    expect(page.locator("#person")).to_have_text(f"Signed in as {seed.ADELE.name}.")
