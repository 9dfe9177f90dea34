"""The samples of docs/clients sign in with Microsoft's own libraries, against the local stack.

Only the authority, and what is trusted, differ from the real thing. ``tests/browser`` drives the
sample of a web page.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.local import seed
from tests.client import Facade
from tests.infra.person import Person
from tests.infra.test_client_snippets import CLIENTS, NODE
from tests.integration import node_packages

SCOPE = f"api://{seed.API_CLIENT_ID}/{seed.REQUIRED_SCOPE}"
SHOWN = re.compile(r"open the page (\S+) and enter the code (\S+) to")


@dataclass(frozen=True)
class Ended:
    """How a program ended; ``asked`` is how often somebody had to sign in."""

    code: int
    printed: str
    asked: int


Run = Callable[..., Ended]


@pytest.fixture
def environment(facade: Facade) -> Iterator[dict[str, str]]:
    stack = facade.stack
    stack.entra.sign_in.devices.interval_s = 1
    yield {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "API": f"{facade.url}/api",
        "AUTHORITY": f"{stack.entra_url}/{seed.TENANT_ID}",
        "CLIENT_ID": seed.PARTNER_CLIENT_ID,
        "SCOPE": SCOPE,
        "REQUESTS_CA_BUNDLE": str(stack.bundle),
        "NODE_EXTRA_CA_CERTS": str(stack.bundle),
        "NO_PROXY": "*",
    }
    stack.entra.sign_in.devices.interval_s = 5


def by_code(command: list[str], environment: dict[str, str], who: list[str]) -> Ended:
    """Run a program that shows codes; each is typed by the next person."""
    asked, printed = 0, ""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            printed += line
            if shown := SHOWN.search(line):
                person = Person(who[asked], environment["REQUESTS_CA_BUNDLE"])
                person.visit(shown[1], {"code": shown[2]})
                person.close()
                asked += 1
    return Ended(running.returncode, printed, asked)


@pytest.fixture(params=["Python by code", "Python", pytest.param("Node.js by code", marks=NODE)])
def run(request: pytest.FixtureRequest, environment: dict[str, str], tmp_path: Path) -> Run:
    """Cancel an appointment with a sample in which these people sign in, one after the other."""
    program = [sys.executable, str(CLIENTS / "bookings_client.py")]
    if request.param == "Node.js by code":
        for file in CLIENTS.glob("*.mjs"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
        home = node_packages.install("msal")
        (tmp_path / "node_modules").symlink_to(home / "node_modules")
        program = ["node", str(tmp_path / "cancel-appointment-cli.mjs")]

    def run_by_code(appointment: str, *who: str) -> Ended:
        command = [*program, seed.LUNCH_DELIVERY, appointment]
        return by_code(command, {**environment, "SIGN_IN": "code"}, list(who))

    def run_with_browser(appointment: str, *who: str) -> Ended:
        """``who`` stands in a file, from which each opening of the browser takes one line."""
        left = tmp_path / "who"
        left.write_text("".join(f"{name}\n" for name in who))
        visit = shlex.join([sys.executable, str(Path(__file__).with_name("person.py"))])
        browser = tmp_path / "browser"
        browser.write_text(
            f'#!/bin/sh\nwho=$(head -n 1 "{left}")\nsed -i 1d "{left}"\nexec {visit} "$who" "$1"\n'
        )
        browser.chmod(0o755)
        ended = subprocess.run(
            [*program, seed.LUNCH_DELIVERY, appointment],
            env={**environment, "BROWSER": f"{browser} %s &"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        printed = ended.stdout + ended.stderr
        return Ended(ended.returncode, printed, len(who) - len(left.read_text().splitlines()))

    return run_with_browser if request.param == "Python" else run_by_code


def test_a_second_factor_is_shown_and_the_cancel_goes_on(facade: Facade, run: Run) -> None:
    facade.stack.entra.require_mfa(seed.ADELE)
    ended = run(facade.book(), "Adele", "Adele")
    assert (ended.code, ended.asked) == (0, 2), ended.printed
    assert len(facade.stack.graph.bookings.outbox) == 2


def test_a_challenge_that_a_newer_token_answers_asks_nobody(facade: Facade, run: Run) -> None:
    """Continuous access evaluation wants a token that was issued after some event."""
    claims = '{"access_token":{"nbf":{"essential":true,"value":"1"}}}'
    facade.stack.entra.refuse(seed.ADELE, 50076, times=1, claims=claims)
    ended = run(facade.book(), "Adele")
    assert (ended.code, ended.asked) == (0, 1), ended.printed
    renewed = [one for one in facade.stack.entra.asked if "refresh_token" in one.form]
    assert ["nbf" in one.form["claims"] for one in renewed] == [True]


def test_what_one_person_began_nobody_else_goes_on_with(facade: Facade, run: Run) -> None:
    facade.stack.entra.require_mfa(seed.ADELE)
    ended = run(facade.book(), "Adele", "Megan")
    assert (ended.code, ended.asked) == (1, 2), ended.printed
    assert "somebody else signed in" in ended.printed
    assert not facade.stack.graph.bookings.outbox


def test_a_sign_in_that_is_declined_is_said(facade: Facade, environment: dict[str, str]) -> None:
    command = [sys.executable, str(CLIENTS / "bookings_client.py"), "b", "a"]
    ended = by_code(command, {**environment, "SIGN_IN": "code"}, ["Nobody"])
    assert (ended.code, "Nobody signed in: authorization_declined" in ended.printed) == (1, True)
    assert "Traceback" not in ended.printed
