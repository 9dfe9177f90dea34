"""The senders of docs/clients deliver to the local stack, as a person starts them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from infra.local import seed
from infra.local.faults import Fault
from infra.local.host.process import HostProcess
from infra.local.stack import LocalStack
from tests.client import Facade
from tests.infra.test_client_snippets import CLIENTS, NODE, Ran

REPOSITORY = Path(__file__).resolve().parents[2]
COMMANDS = {
    "Python": [sys.executable, str(CLIENTS / "webhook_sender.py")],
    "Node.js": ["node", str(CLIENTS / "webhook-sender.mjs")],
}
each_sender = pytest.mark.parametrize("language", ["Python", pytest.param("Node.js", marks=NODE)])


@pytest.fixture(scope="module")
def running(running_stack: LocalStack) -> Iterator[str]:
    environment = running_stack.environment_with_webhooks
    with HostProcess(REPOSITORY, environment) as host:
        yield host.url


@pytest.fixture
def service(running: str, stack: LocalStack) -> Iterator[Facade]:
    with requests.Session() as session:
        yield Facade(running, session, stack)


def send(language: str, api: str, *arguments: str, **more: str) -> Ran:
    environment = {
        "PATH": os.environ["PATH"],
        "API": api,
        "WEBHOOK_SECRET": seed.WEBHOOK_SECRET,
        **more,
    }
    ended = subprocess.run(
        [*COMMANDS[language], *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ran(ended.returncode, ended.stdout + ended.stderr)


@each_sender
def test_a_delivery_cancels_and_a_repeat_gets_the_same_answer(
    service: Facade, language: str
) -> None:
    appointment, api = service.book(), f"{service.url}/api"
    request = seed.LUNCH_DELIVERY, appointment, 'Bye "for now", ü'
    for _ in range(2):
        ran = send(language, api, *request, WEBHOOK_ID=f"delivery-{appointment}")
        assert (ran.code, "was cancelled" in ran.printed) == (0, True), ran.printed
    mails = service.stack.graph.bookings.outbox
    assert [mail.message for mail in mails] == ['Bye "for now", ü'] * 2


@each_sender
def test_what_fails_is_said_with_its_code(service: Facade, language: str) -> None:
    wrong = "whsec_d3JvbmcgYW5kIGxvbmcgZW5vdWdoIHRvIGJlIGEgc2VjcmV0"
    api, request = f"{service.url}/api", (seed.LUNCH_DELIVERY, service.book())
    ran = send(language, api, *request, WEBHOOK_SECRET=wrong)
    assert (ran.code, "invalid_signature" in ran.printed) == (1, True), ran.printed
    service.stack.graph.faults.add(
        Fault(step="cancel", status=429, headers={"Retry-After": "3600"}, times=None)
    )
    ran = send(language, api, *request)
    assert (ran.code, "throttled" in ran.printed) == (1, True), ran.printed
    assert "sent again in" in ran.printed


@each_sender
def test_a_sender_that_is_called_wrongly_says_how(language: str) -> None:
    ran = send(language, "http://127.0.0.1:9", "b", "a", WEBHOOK_SECRET="")
    assert (ran.code, "Missing: WEBHOOK_SECRET" in ran.printed) == (2, True), ran.printed
    assert "BUSINESS_ID APPOINTMENT_ID" in ran.printed
