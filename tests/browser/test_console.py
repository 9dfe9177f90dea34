"""The console in a real browser.

Its whole path by mouse and by keyboard, what it says when things go wrong, and who may call whom.
"""

import itertools
import json
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from infra.local import seed
from infra.local.console import docs as console_docs
from infra.local.console.server import Console
from infra.local.host.process import HostProcess
from infra.local.server import LocalServer
from infra.local.stack import LocalStack
from tests.browser.chromium import Watch, axe_findings, chromium, faint_texts, scrolls_sideways

pytestmark = pytest.mark.timeout(420)  # Chromium may have to be installed first

REPOSITORY = Path(__file__).resolve().parents[2]
SCREENSHOTS = os.environ.get("CONSOLE_SCREENSHOTS")  # a folder, for those who want to look
MESSAGE = "We are closed that day.\nPlease call us again."
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Site:
    """The running stack with its console and its service."""

    stack: LocalStack
    console: Console
    facade_url: str

    def book(self, *, business_id: str = seed.LUNCH_DELIVERY) -> str:
        """Book an appointment in the console's first month and return the customer's name.

        Each call books an appointment of its own.
        """
        number = next(_numbers)
        customer = f"Customer Number{number}"
        times = (f"2027-05-10T{hour}:00.0000000Z" for hour in ("09:00", "09:30"))
        booking = seed.Appointment(
            f"AAMkADbrowser{number}=",
            business_id,
            "Haircut",
            customer,
            "customer@contoso.com",
            *times,
        )
        self.stack.graph.bookings.add(booking)
        return customer


@pytest.fixture(scope="module")
def running_site() -> Iterator[Site]:
    with LocalStack() as stack, Console(stack) as console:
        environment = {**stack.environment_with_webhooks, "REQUEST_DEADLINE_SECONDS": "3"}
        port = free_port()  # the same after a restart
        with HostProcess(REPOSITORY, environment, port=port, cors=[console.url]) as host:
            console.facade_url = host.url
            stack.graph.after_reset = host.restart
            yield Site(stack, console, host.url)


def free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture
def site(running_site: Site) -> Site:
    running_site.stack.reset()
    return running_site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Open pages, and check at the end that none complained or asked another host.

    ``complaints`` says that complaints are expected.
    """
    contexts: list[BrowserContext] = []
    watches: list[Watch] = []
    strict: list[Watch] = []

    def open_one(
        address: str, *, scheme: str = "light", width: int = 1280, complaints: bool = False
    ) -> Page:
        context = browser.new_context(
            color_scheme=scheme,  # type: ignore[arg-type]
            viewport={"width": width, "height": 900},
            locale="en-GB",
            timezone_id="UTC",
        )
        contexts.append(context)
        watches.append(Watch(context))
        strict.extend([] if complaints else watches[-1:])
        page = context.new_page()
        page.goto(address)
        return page

    yield open_one
    for number, context in enumerate(contexts):
        for page in context.pages:
            if SCREENSHOTS:
                name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())
                page.screenshot(path=f"{SCREENSHOTS}/{name}-{number}.png", full_page=True)
        context.close()
    assert [complaint for watch in strict for complaint in watch.complaints] == []
    assert {host for watch in watches for host in watch.hosts} <= {"localhost"}


def sign_in(page: Page, who: seed.User = seed.ADELE) -> None:
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=who.name).click()
    expect(page.locator("#person-name")).to_have_text(who.name)


def row_of(page: Page, customer: str) -> Locator:
    return (
        page.get_by_role("list", name="Appointments")
        .get_by_role("listitem")
        .filter(has_text=customer)
    )


def cancel(page: Page, customer: str, message: str = MESSAGE) -> None:
    row_of(page, customer).get_by_role("button", name="Cancel").click()
    page.get_by_label("Message to the customer and the staff").fill(message)
    page.get_by_role("button", name="Cancel appointment").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def expect_answer(page: Page, verdict: str, customer: str | None = None) -> None:
    """Expect the heading of the answer: the verdict, with the appointment's name."""
    expect(page.locator("#answer-verdict")).to_have_text(verdict)
    if customer is not None:
        expect(page.locator("#answer-title")).to_contain_text(f"Haircut, {customer}")


def send_webhook(page: Page, customer: str) -> None:
    choice = page.locator("#webhook-appointment")
    option = choice.locator("option").filter(has_text=customer)
    option.wait_for(state="attached")
    choice.select_option(option.inner_text())
    page.get_by_role("button", name="Sign and send").click()


def fault_button(page: Page, title: str) -> Locator:
    return page.get_by_role("list", name="Failures").get_by_role("button", name=title)


def simulate(page: Page, title: str) -> None:
    fault_button(page, title).click()
    expect(fault_button(page, title)).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#simulating")).to_contain_text(f"Simulating: {title}. Expect: ")


def fact(page: Page, term: str) -> Locator:
    return (
        page.locator("#answer-facts div")
        .filter(has=page.get_by_text(term, exact=True))
        .locator("dd")
    )


def answered(page: Page) -> dict[str, object]:
    body: dict[str, object] = json.loads(page.get_by_label("The JSON").inner_text())
    return body


# The whole path


def test_a_person_signs_in_cancels_and_sees_the_answer_and_the_mail(
    site: Site, open_page: Open
) -> None:
    customer = site.book()
    page = open_page(site.console.url)
    sign_in(page)
    assert page.url == f"{site.console.url}/"  # the code is gone from the address
    expect(page.get_by_label("Business")).to_have_text("Contoso Lunch Delivery")
    expect(page.get_by_text("4 appointments in this time.")).to_be_visible()
    expect(page.get_by_text("No mail was sent.")).to_be_visible()

    cancel(page, customer)

    expect_answer(page, "Cancelled")
    expect(page.locator("#answer-title")).to_be_focused()
    expect(page.locator("#announcer")).to_contain_text(f"{customer}. The appointment was cancelled")
    shown = answered(page)
    assert {
        "outcome": "cancelled",
        "cancelled": True,
        "confirmed": True,
        "replayed": False,
        "businessId": seed.LUNCH_DELIVERY,
    }.items() <= shown.items()
    expect(fact(page, "HTTP status")).to_have_text("200")
    expect(fact(page, "Confirmed")).to_have_text("yes")
    expect(fact(page, "Replayed")).to_have_text("no")
    expect(fact(page, "Request id")).to_have_text(str(shown["requestId"]))
    expect(row_of(page, customer)).to_have_count(0)
    mails = page.get_by_role("list", name="Mails", exact=True)
    expect(mails.get_by_role("listitem")).to_have_count(2)
    expect(mails.get_by_role("listitem").nth(1)).to_contain_text("customer@contoso.com")
    assert mails.locator(".mail").all_inner_texts() == [MESSAGE, MESSAGE]
    assert [cancellation.by for cancellation in site.stack.graph.bookings.cancellations] == [
        seed.ADELE.object_id
    ]

    page.get_by_role("button", name="Send the same request again").click()
    expect(fact(page, "Replayed")).to_have_text("yes")
    expect(page.locator("#outbox-status")).to_have_text("2 mails were sent.")


def test_an_appointment_can_be_booked_and_the_time_narrowed(site: Site, open_page: Open) -> None:
    page = open_page(site.console.url)
    sign_in(page)
    expect(page.get_by_text("3 appointments in this time.")).to_be_visible()
    page.get_by_role("textbox", name="Customer", exact=True).fill("Nestor Wilke")
    page.get_by_role("button", name="Book", exact=True).click()
    expect(row_of(page, "Nestor Wilke")).to_have_count(1)
    page.get_by_label("From", exact=True).fill("2027-05-02")
    page.get_by_label("To", exact=True).fill("2027-05-02")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("1 appointment in this time.")).to_be_visible()
    expect(row_of(page, "Alex Wilber")).to_have_count(1)


def test_each_person_sees_their_own_businesses(site: Site, open_page: Open) -> None:
    page = open_page(site.console.url)
    sign_in(page, seed.MEGAN)
    expect(page.get_by_label("Business").get_by_role("option")).to_have_count(2)
    page.get_by_label("Business").select_option("Contoso Repairs")
    expect(row_of(page, "Patti Fernandez")).to_have_count(1)
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, seed.LYNNE)
    expect(page.get_by_text("You are not on the staff of any business.")).to_be_visible()


def test_the_whole_path_needs_no_mouse(site: Site, open_page: Open) -> None:
    customer = site.book()
    page = open_page(site.console.url)

    def tab_to(target: Locator) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if target.evaluate("element => element === document.activeElement"):
                assert target.evaluate(
                    "element => getComputedStyle(element).outlineStyle !== 'none' && "
                    "getComputedStyle(element).outlineWidth !== '0px'"
                )
                return
        pytest.fail(f"The Tab key does not lead to {target}.")

    tab_to(page.get_by_role("button", name="Sign in"))
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Adele Vance").wait_for()
    tab_to(page.get_by_role("button", name="Adele Vance"))
    page.keyboard.press("Enter")
    opener = row_of(page, customer).get_by_role("button")
    opener.wait_for()
    tab_to(opener)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Message to the customer and the staff")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(opener).to_be_focused()
    assert site.stack.graph.bookings.cancellations == []

    page.keyboard.press("Space")
    page.keyboard.type("By keyboard.")
    tab_to(page.get_by_role("button", name="Cancel appointment"))
    page.keyboard.press("Enter")
    expect_answer(page, "Cancelled")
    expect(page.locator("#answer-title")).to_be_focused()
    assert [cancellation.message for cancellation in site.stack.graph.bookings.cancellations] == [
        "By keyboard."
    ]


# What goes wrong


DUE: dict[str, tuple[str, int, dict[str, object]]] = {
    "The connection breaks after the cancel": (
        "Not found, unconfirmed",
        200,
        {"outcome": "not_found", "confirmed": False},
    ),
    "Graph answers 500 after the cancel": (
        "Not found, unconfirmed",
        200,
        {"outcome": "not_found", "confirmed": False},
    ),
    "It breaks before, then after the cancel": (
        "Cancelled, unconfirmed",
        200,
        {"outcome": "cancelled", "confirmed": False},
    ),
    "Graph throttles for a second": ("Cancelled", 200, {"outcome": "cancelled", "confirmed": True}),
    "Graph throttles for a minute": ("Failed", 429, {"code": "throttled", "retryAfterSeconds": 60}),
    "Graph says 404": ("Not found", 200, {"outcome": "not_found", "confirmed": True}),
    "Graph says 403": ("Failed", 403, {"code": "access_denied", "retryable": False}),
    "Entra ID is down at the exchange": (
        "Failed",
        503,
        {"code": "upstream_unavailable", "retryable": True},
    ),
}


def test_a_fault_that_is_switched_on_shows_what_is_due(site: Site, open_page: Open) -> None:
    customers = {fault: site.book() for fault in DUE}
    page = open_page(site.console.url)
    sign_in(page)
    for fault, (badge, status, members) in DUE.items():
        simulate(page, fault)
        cancel(page, customers[fault])
        expect_answer(page, badge)
        expect(fact(page, "HTTP status"), fault).to_have_text(str(status))
        assert members.items() <= answered(page).items(), fault
        if "retryAfterSeconds" in members:
            expect(page.locator("#again")).to_have_text(
                re.compile("^Send the same request again, in [1-6][0-9]? s$")
            )


def test_an_unknown_outcome_is_settled_by_sending_the_same_request_again(
    site: Site, open_page: Open
) -> None:
    customer = site.book()
    page = open_page(site.console.url)
    sign_in(page)
    keys: list[str | None] = []
    page.on(
        "request",
        lambda request: (
            keys.append(request.headers.get("idempotency-key"))
            if request.method == "POST" and "/api/" in request.url
            else None
        ),
    )
    simulate(page, "Graph goes dark after the cancel")
    cancel(page, customer)
    expect_answer(page, "Not known")
    expect(fact(page, "Code")).to_have_text("outcome_unknown")
    expect(fact(page, "Retry after")).to_have_text("5 s")
    fault_button(page, "Graph goes dark after the cancel").click()
    expect(page.get_by_text("Nothing is simulated.")).to_be_visible()
    expect(page.locator("#simulating")).to_be_hidden()
    page.locator("#again").click()
    expect_answer(page, "Not found, unconfirmed")
    expect(page.locator("#outbox-status")).to_have_text("2 mails were sent.")
    assert len(keys) == 2
    assert keys[0]
    assert keys[0] == keys[1]


def test_a_challenge_is_met_by_signing_in_again_and_the_cancel_goes_on(
    site: Site, open_page: Open
) -> None:
    customer = site.book()
    page = open_page(site.console.url)
    sign_in(page)
    simulate(page, "A policy asks for a second factor")
    cancel(page, customer)
    expect(fact(page, "Code")).to_have_text("interaction_required")
    page.get_by_role("button", name="Sign in again, then send it").click()
    expect(page.get_by_role("heading", name="More proof is asked for")).to_be_visible()
    page.get_by_role("button", name="Adele Vance").click()
    expect_answer(page, "Cancelled")
    assert [cancellation.message for cancellation in site.stack.graph.bookings.cancellations] == [
        MESSAGE
    ]


def test_an_answer_that_never_comes_is_not_taken_for_an_outcome(
    site: Site, open_page: Open
) -> None:
    customer = site.book()
    # The browser complains of the broken connection.
    page = open_page(site.console.url, complaints=True)
    sign_in(page)
    page.route(
        "**/api/v1/cancel-appointment", lambda route: route.abort("connectionreset"), times=1
    )
    cancel(page, customer)
    expect_answer(page, "Not known")
    expect(fact(page, "HTTP status")).to_have_text("none")
    page.get_by_role("button", name="Send the same request again").click()
    expect_answer(page, "Cancelled")


def test_a_cancel_that_is_under_way_cannot_be_closed(site: Site, open_page: Open) -> None:
    customer = site.book()
    page = open_page(site.console.url)
    sign_in(page)
    simulate(page, "Graph throttles for a second")
    row_of(page, customer).get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Simulating: Graph throttles for a second")
    page.get_by_role("button", name="Cancel appointment").click()
    expect(page.get_by_role("button", name="Sending …")).to_be_visible()
    expect(dialog).to_contain_text("Closing this would not take the cancel back")
    for _ in range(3):
        page.keyboard.press("Escape")
    page.get_by_role("button", name="Keep it").click(force=True)
    page.get_by_role("button", name="Sending …").click(force=True)
    expect(dialog).to_be_visible()
    expect(dialog).to_be_hidden()  # when the answer is there
    expect_answer(page, "Cancelled", customer)
    assert len(site.stack.graph.bookings.cancellations) == 1


def test_what_somebody_began_is_not_done_in_the_name_of_another(
    site: Site, open_page: Open
) -> None:
    customer = site.book()
    page = open_page(site.console.url)
    sign_in(page)
    simulate(page, "A policy asks for a second factor")
    cancel(page, customer)
    page.get_by_role("button", name="Sign in again, then send it").click()
    page.get_by_role("button", name=seed.MEGAN.name).click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was sent in your name.")
    expect(page.get_by_role("alert")).to_contain_text(seed.ADELE.name)
    expect(page.locator("#answer")).to_be_hidden()
    assert site.stack.graph.bookings.cancellations == []


def test_what_was_sent_and_mailed_stands_in_tabs(site: Site, open_page: Open) -> None:
    customer = site.book()
    page = open_page(site.console.url)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    sign_in(page)
    cancel(page, customer)
    expect_answer(page, "Cancelled", customer)
    page.get_by_role("tab", name="Response").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Request")).to_be_focused()
    expect(page.get_by_label("The request", exact=True)).to_contain_text(
        "POST /api/v1/cancel-appointment"
    )
    # No token on show.
    expect(page.get_by_label("The request", exact=True)).not_to_contain_text("eyJ")
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    done = subprocess.run(
        ["bash", "-c", copied], capture_output=True, text=True, check=True, timeout=30
    )
    assert json.loads(done.stdout)["replayed"] is True
    page.get_by_role("tab", name="Mails").click()
    mails = page.get_by_role("list", name="Mails of this appointment")
    expect(mails.get_by_role("listitem")).to_have_count(2)


def test_a_webhook_is_signed_and_sent_from_the_page(site: Site, open_page: Open) -> None:
    customer = site.book()
    page = open_page(site.console.url)
    sign_in(page)
    send_webhook(page, customer)
    expect(page.locator("#answer-verdict")).to_have_text("Cancelled")
    page.get_by_role("tab", name="Request").click()
    expect(page.get_by_label("The request", exact=True)).to_contain_text("webhook-signature: v1,")
    assert [one.by for one in site.stack.graph.bookings.cancellations] != [seed.ADELE.object_id]


def test_the_demo_can_be_reset_and_filled_again(site: Site, open_page: Open) -> None:
    page = open_page(site.console.url)
    sign_in(page)
    cancel(page, "Jordan Miller")
    expect(page.locator("#answer-verdict")).to_have_text("Cancelled")
    page.get_by_role("button", name="Book three more").click()
    expect(page.get_by_text("5 appointments in this time.")).to_be_visible()
    page.get_by_role("button", name="Reset the demo").click()
    expect(page.locator("#announcer")).to_have_text("The demo is back at the start.")
    expect(page.get_by_text("3 appointments in this time.")).to_be_visible()
    expect(page.get_by_text("No mail was sent.")).to_be_visible()
    cancel(page, "Jordan Miller")
    expect(page.locator("#answer-verdict")).to_have_text("Cancelled")
    expect(fact(page, "Replayed")).to_have_text("no")


def test_a_list_that_fails_says_why(site: Site, open_page: Open) -> None:
    page = open_page(site.console.url)
    sign_in(page)
    expect(page.get_by_text("3 appointments in this time.")).to_be_visible()
    page.get_by_label("To", exact=True).fill("2029-05-02")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#listing")).to_contain_text("(invalid_request). ")


@pytest.mark.parametrize(
    ("fragment", "words"),
    [
        (
            "error=access_denied&error_description=AADSTS65004%3A+User+declined.",
            "belongs to no sign-in of this page",
        ),
        ("code=stolen&state=guessed", "belongs to no sign-in of this page"),
    ],
    ids=["error", "code"],
)
def test_an_answer_to_a_sign_in_that_nobody_asked_for_is_refused(
    site: Site, open_page: Open, fragment: str, words: str
) -> None:
    page = open_page(f"{site.console.url}/#{fragment}")
    expect(page.get_by_role("alert")).to_contain_text(words)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert "#" not in page.url


# Who may call whom


def test_the_preflight_passes_for_the_consoles_origin(site: Site, open_page: Open) -> None:
    page = open_page(site.console.url)
    preflights: dict[str, int] = {}
    network = page.context.new_cdp_session(page)  # Playwright itself tells nothing of preflights

    def see(event: dict[str, Any]) -> None:
        if event["type"] == "Preflight":
            preflights[event["response"]["url"].removeprefix(site.facade_url)] = event["response"][
                "status"
            ]

    network.on("Network.responseReceived", see)
    network.send("Network.enable")
    customer = site.book()
    sign_in(page)
    cancel(page, customer)
    expect_answer(page, "Cancelled")
    assert {
        "/api/v1/businesses": 204,
        "/api/v1/cancel-appointment": 204,
    }.items() <= preflights.items()


def test_the_browser_keeps_a_page_of_another_origin_out(site: Site, open_page: Open) -> None:
    where = site.console.settings()["stack"]
    assert isinstance(where, dict)
    token = site.stack.entra.user_token()
    customer = site.book()
    number = customer.removeprefix("Customer Number")
    body = json.dumps(
        {"businessId": seed.LUNCH_DELIVERY, "appointmentId": f"AAMkADbrowser{number}="}
    )
    stranger = web.Application()
    stranger.router.add_get("/", _empty_page)
    with LocalServer(stranger) as other:
        page = open_page(other.url, complaints=True)
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        attempts = {
            "service": (
                f"{site.facade_url}/api/v1/cancel-appointment",
                {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            ),
            "outbox": (f"{where['graph']}/_local/faults", {"Content-Type": "text/plain"}),
            "entra": (f"{where['entra']}/_local/faults", {"Content-Type": "text/plain"}),
        }
        for address, headers in attempts.values():
            outcome = page.evaluate(
                (
                    "([address, headers, body]) => fetch(address, "
                    "{ method: 'POST', headers, body }).then(() => 'answered', (error) => "
                    "error.name)"
                ),
                [address, headers, body],
            )
            assert outcome == "TypeError"
        assert sum("blocked by CORS policy" in complaint for complaint in complaints) == len(
            attempts
        )
    assert site.stack.graph.bookings.cancellations == []
    assert site.stack.graph.faults.planned() == site.stack.entra.faults.planned() == []


async def _empty_page(_: web.Request) -> web.Response:
    return web.Response(
        text="<!doctype html><title>A stranger</title><link rel=icon href='data:,'>",
        content_type="text/html",
    )


# How it looks


@pytest.mark.parametrize(
    ("scheme", "width"),
    [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390), ("dark", 320)],
)
def test_everything_fits_and_can_be_read(
    site: Site, open_page: Open, scheme: str, width: int
) -> None:
    customer, second, third = site.book(), site.book(), site.book()
    page = open_page(site.console.url, scheme=scheme, width=width)
    dialog = page.get_by_role("dialog")

    def look(name: str) -> None:
        if SCREENSHOTS:
            whole = not dialog.is_visible()
            page.screenshot(path=f"{SCREENSHOTS}/{width}-{scheme}-{name}.png", full_page=whole)
        assert not scrolls_sideways(page), name
        assert faint_texts(page) == [], name
        assert axe_findings(page) == [], name

    page.get_by_role("button", name="Sign in").wait_for()
    look("1-welcome")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Adele Vance").wait_for()
    look("2-sign-in")
    page.get_by_role("button", name="Adele Vance").click()
    row_of(page, customer).wait_for()
    look("3-before")
    simulate(page, "Graph throttles for a second")
    look("4-simulating")
    row_of(page, customer).get_by_role("button").click()
    page.get_by_label("Message to the customer and the staff").fill(MESSAGE)
    look("5-dialog")
    page.get_by_role("button", name="Cancel appointment").click()
    page.get_by_role("button", name="Sending …").wait_for()
    look("6-sending")
    expect_answer(page, "Cancelled")
    expect(dialog).to_be_hidden()
    look("7-after")
    page.get_by_role("tab", name="Request").click()
    look("8-request")
    page.get_by_role("tab", name="Mails").click()
    look("9-mails")
    simulate(page, "A policy asks for a second factor")
    row_of(page, second).get_by_role("button").click()
    page.get_by_role("button", name="Cancel appointment").click()
    expect_answer(page, "Failed")
    expect(dialog).to_be_hidden()
    look("10-step-up")
    page.get_by_role("button", name="Sign in again, then send it").click()
    page.get_by_role("button", name=seed.MEGAN.name).wait_for()
    look("11-more-proof")
    page.get_by_role("button", name=seed.MEGAN.name).click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was sent in your name.")
    look("12-somebody-else")
    send_webhook(page, third)
    expect(page.locator("#answer-name")).to_contain_text(third)
    look("13-webhook")


# The documentation


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]
)
def test_the_documentation_shows_every_operation_and_sends_none(
    site: Site, open_page: Open, scheme: str, width: int
) -> None:
    document = json.loads(console_docs.DOCUMENT.read_text("utf-8"))
    methods = ("get", "post", "put", "patch", "delete")
    operations = [
        (method.upper(), path)
        for path, item in document["paths"].items()
        for method in item
        if method in methods
    ]
    assert operations
    page = open_page(site.console.url, scheme=scheme, width=width)
    page.get_by_role("link", name="API docs").click()
    expect(page.locator(".opblock")).to_have_count(len(operations))
    shown = [
        (
            block.locator(".opblock-summary-method").inner_text(),
            block.locator(".opblock-summary-path").inner_text().replace("\u200b", ""),
        )
        for block in page.locator(".opblock").all()
    ]
    assert sorted(shown) == sorted(operations)
    check_the_documentation(page)
    page.locator(".opblock-summary-control").first.click()
    expect(page.locator(".responses-wrapper")).to_have_count(1)
    expect(page.get_by_role("button", name="Try it out")).to_have_count(0)
    check_the_documentation(page)


def check_the_documentation(page: Page) -> None:
    assert not scrolls_sideways(page)
    assert faint_texts(page) == []
    assert axe_findings(page) == []


def test_the_documentation_says_how_to_call(site: Site, open_page: Open) -> None:
    page = open_page(f"{site.console.url}/docs/")
    for heading in ("Authentication", "Signing"):
        expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
    expect(page.get_by_label("Server").locator("option")).to_contain_text(site.facade_url)
    expect(page.locator("#docs")).not_to_contain_text("example.com")

    page.locator("[id$=-CancelAppointment] .opblock-summary-control").click()
    example = page.locator("[id$=-CancelAppointment] .opblock-section-request-body pre")
    request = json.loads(example.inner_text())
    assert request["businessId"] == seed.LUNCH_DELIVERY
    assert request["appointmentId"] == seed.EXAMPLE_APPOINTMENT

    page.locator("[id$=-CancelAppointmentByWebhook] .opblock-summary-control").click()
    signature = page.locator("[data-param-name=webhook-signature]")
    expect(signature.locator(".required")).to_have_text("webhook-signature *")
    expect(signature).to_contain_text("v1,")
