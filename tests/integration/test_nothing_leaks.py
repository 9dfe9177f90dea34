"""Nothing private gets out, whatever goes right or wrong.

What is logged, traced, measured or answered holds no token, secret, message text, address or an
upstream's words.

The service runs with every logger at DEBUG and telemetry on, through successes and every row of the
contract. Then all that was printed, exported and answered is searched.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from infra.local import seed
from infra.local.faults import Fault
from infra.local.host.process import HostProcess
from infra.local.stack import LocalStack
from tests.client import Facade
from tests.collector import Collector
from tests.integration.test_contract_over_http import PROSE, ROWS, copy_app, raw

PATIENCE_S = 60.0
SECRET = "mark~secret~of~ours"
MESSAGE = "mark: sorry, Mrs Miller, your appointment of tomorrow is cancelled."
CUSTOMER = "customer@contoso.com"  # whoever has an appointment that a test books
KEY = "mark-idempotency-key"
TRACED = {
    "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
    "tracestate": f"k={CUSTOMER}",
    "baggage": f"user={CUSTOMER}",
}
EVERYTHING_LOGS = "import logging\nlogging.getLogger().setLevel(logging.DEBUG)"


class MarkedFacade(Facade):
    """A caller whose every message is marked."""

    def post(
        self, body: object, *, token: str | None = None, headers: object = None
    ) -> requests.Response:
        if isinstance(body, dict) and "cancellationMessage" in body:
            body = {**body, "cancellationMessage": MESSAGE}
        return super().post(body, token=token, headers=headers)  # type: ignore[arg-type]


@dataclass
class Day:
    """What a service printed, exported and answered, and the tokens that were used."""

    facade: MarkedFacade
    stack: LocalStack
    host: HostProcess
    collector: Collector
    answers: list[requests.Response] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    graph_tokens: set[str] = field(default_factory=set)
    appointments: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Start the next scene with a clean stack that knows the marked secret."""
        self.stack.reset()
        self.stack.entra.set_client_secret(SECRET)

    def keep(self, answer: requests.Response) -> None:
        """Keep an answer, and what was said behind it."""
        self.answers.append(answer)
        for received in self.stack.graph.received:
            self.graph_tokens.add(received.headers["authorization"].removeprefix("Bearer "))
            self.appointments.add(received.segments[5])
        for exchange in self.stack.entra.received:
            self.tokens |= {exchange.form["assertion"]} if "assertion" in exchange.form else set()

    def end(self) -> None:
        """Wait until all telemetry of the answers has been exported."""
        count = sum("requestId" in answer.text for answer in self.answers)
        self.collector.wait(lambda: len(self.collector.requests) >= count)
        self.collector.wait(
            lambda: (
                self.collector.point("facade.outcomes") + self.collector.point("facade.problems")
                >= count
            )
        )

    @property
    def told(self) -> str:
        return "\n".join((self.host.output(), *self.collector.texts))

    @property
    def answered(self) -> str:
        return "\n".join(
            f"{answer.status_code} {answer.headers} {answer.text}" for answer in self.answers
        )

    def leaks(self) -> set[str]:
        """Search everything, and name each secret that was found where it must not be."""
        nowhere = {
            "caller's token": parts_of(self.tokens),
            "Graph's token": parts_of(self.graph_tokens),
            "client secret": {SECRET},
            "message": {
                MESSAGE,
                json.dumps(MESSAGE),
                MESSAGE.replace(" ", "_"),
                "Mrs Miller",
                "Mrs_Miller",
            },
            "customer": {CUSTOMER, "Test Customer"},
            "upstream's words": {PROSE, "AADSTS50076: ", "Trace ID:", "<html>"},
            "person": {user.object_id for user in seed.USERS}
            | {user.username for user in seed.USERS}
            | {user.name for user in seed.USERS},
        }
        not_to_be_told = {
            "mailbox": {
                seed.LUNCH_DELIVERY,
                seed.LUNCH_DELIVERY.partition("@")[0],
                seed.LUNCH_DELIVERY.replace("@", "%40"),
            },
            "appointment": self.appointments,
            "idempotency key": {KEY},
        }
        everywhere, told = f"{self.told}\n{self.answered}".lower(), self.told.lower()
        found = {
            name
            for name, marks in nowhere.items()
            if any(mark.lower() in everywhere for mark in marks)
        }
        return found | {
            name
            for name, marks in not_to_be_told.items()
            if any(mark.lower() in told for mark in marks)
        }


def parts_of(tokens: set[str]) -> set[str]:
    """Return the tokens and their payloads and signatures; headers are public and alike."""
    assert tokens
    return tokens | {part for token in tokens for part in token.split(".")[1:] if len(part) > 20}


@contextmanager
def day(stack: LocalStack, app: Path) -> Iterator[Day]:
    """Run a service whose secrets are marked."""
    environment = {**stack.environment, "CLIENT_SECRET": SECRET, "REQUEST_DEADLINE_SECONDS": "6"}
    with (
        Collector() as collector,
        HostProcess(app, {**environment, **collector.settings}) as host,
        requests.Session() as session,
    ):
        session.trust_env = False
        watched = Day(MarkedFacade(host.url, session, stack), stack, host, collector)
        yield watched
        watched.end()


def test_nothing_that_is_logged_or_answered_says_more_than_it_should(
    stack: LocalStack, tmp_path: Path
) -> None:
    with day(stack, copy_app(tmp_path, before=EVERYTHING_LOGS)) as watched:
        facade = watched.facade
        for row in ROWS.values():
            watched.begin()
            row.arrange(stack)
            watched.keep(row.ask(facade))

        watched.begin()
        appointment_id = facade.book()
        for headers in (
            {},
            TRACED,
            {"Idempotency-Key": KEY},
            {"Idempotency-Key": KEY},
            {"Accept": "application/problem+json"},
        ):
            watched.keep(facade.cancel(appointment_id, headers=headers))
        watched.keep(facade.cancel(f"{appointment_id}gone"))
        watched.keep(facade.cancel(facade.book(), headers={"Idempotency-Key": KEY}))
        watched.keep(raw(facade, json.dumps({"cancellationMessage": MESSAGE}).encode()[:-2]))
        watched.keep(
            raw(
                facade,
                json.dumps({"appointmentId": [MESSAGE], "businessId": {"a": MESSAGE}}).encode(),
            )
        )
        watched.keep(
            raw(
                facade,
                json.dumps({"cancellationMessage": MESSAGE * 100}).encode(),
                **{"Idempotency-Key": f"{KEY} {KEY}"},
            )
        )

        for ending in (  # doubt, and looks that see the customer
            Fault(step="cancel", drop=True),
            Fault(step="cancel", status=500, body=PROSE, when="after"),
            Fault(
                step="cancel", raw=f"HTTP/1.1 500 {CUSTOMER}\r\n{CUSTOMER}\r\nx: {PROSE}\r\n\r\n"
            ),
            Fault(step="cancel", status=302, headers={"Location": f"https://{CUSTOMER}/"}),
            Fault(step="cancel", truncate=True, when="after"),
        ):
            watched.begin()
            stack.graph.faults.add(ending)
            watched.keep(facade.cancel(facade.book()))
            watched.keep(facade.cancel(facade.book()))

        watched.begin()
        stack.graph.faults.add(
            Fault(step="cancel", delay_s=6.5), Fault(step="get", delay_s=6.5, times=None)
        )
        watched.keep(facade.cancel(facade.book()))  # answered by the deadline

        watched.begin()
        stack.entra.set_client_secret("another")
        watched.keep(
            facade.cancel(facade.book())
        )  # last: after it the service does not ask Entra for a while
        watched.keep(facade.session.get(f"{facade.url}/api/health", timeout=PATIENCE_S))

    codes = {answer.json().get("code", answer.json().get("outcome")) for answer in watched.answers}
    assert codes >= {
        "cancelled",
        "not_found",
        "misconfigured",
        "outcome_unknown",
        "idempotency_key_reused",
        *(row.code for row in ROWS.values()),
    }
    printed = watched.host.output()
    assert " DEBUG " in printed
    for answer in watched.answers[:-1]:
        request_id = answer.json()["requestId"]
        assert len(re.findall(rf"event=request .*\brequestId={request_id}\b", printed)) == 1
    assert "Traceback" not in printed
    assert watched.leaks() == set()
    assert {
        "admit",
        "exchange",
        "graph cancel",
        "graph look",
        "store settle",
        "entra token",
    } <= watched.collector.names


LEAKY = """
import logging
from cancel_appointment.operation import CancelOperation
from shared.errors import UpstreamBroken

carry_out = CancelOperation.carry_out

def leak(self, work, deadline, journal):
    outcome = carry_out(self, work, deadline, journal)
    said = " ".join([
        work.caller.assertion,
        work.caller.object_id,
        work.idempotency_key,
        work.request.business_id,
        work.request.appointment_id,
        work.request.cancellation_message,
        self._services.settings.client_secret.get_secret_value(),
        self._services.tokens.exchange(work.caller, deadline).value,
        "customer@contoso.com",
        "Prose of an upstream about jordanm@contoso.com.",
    ])
    LEAK
    return outcome

CancelOperation.carry_out = leak
"""


@pytest.mark.parametrize(
    ("leak", "beside"),
    [
        ('logging.getLogger("azure").debug(said)', {"mailbox", "appointment", "idempotency key"}),
        ("print(said)", {"mailbox", "appointment", "idempotency key"}),
        ("raise UpstreamBroken(said) from None", {"mailbox", "appointment", "idempotency key"}),
        (
            'with self._services.telemetry.tracing.span("a", lambda: {"b": said}): pass',
            {"mailbox", "appointment", "idempotency key"},
        ),
        ("journal.metrics.arrived(said)", {"mailbox", "appointment", "idempotency key"}),
    ],
    ids=["logged", "printed", "answered", "traced", "measured"],
)
def test_the_search_finds_what_does_leak(
    stack: LocalStack, tmp_path: Path, leak: str, beside: set[str]
) -> None:
    with day(
        stack, copy_app(tmp_path, before=EVERYTHING_LOGS, after=LEAKY.replace("LEAK", leak))
    ) as watched:
        watched.begin()
        watched.keep(watched.facade.cancel(watched.facade.book(), headers={"Idempotency-Key": KEY}))

    nowhere = {
        "caller's token",
        "Graph's token",
        "client secret",
        "message",
        "customer",
        "upstream's words",
        "person",
    }
    assert watched.leaks() == nowhere | beside
