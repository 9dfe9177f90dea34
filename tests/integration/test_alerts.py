"""Each alert fires.

Its cause is driven through Microsoft's runtime. What the service then exports to Azure Monitor
becomes rows of ``customMetrics``, and the alert's own query runs on them.

The log lines reach an operator, too: each belongs to an invocation, as the runtime hands it to the
host.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from infra.local import seed
from infra.local.faults import Fault
from infra.local.host.process import HostProcess
from infra.local.host.worker import NOT_PASSED_ON
from infra.local.stack import LocalStack
from tests.client import Facade
from tests.collector import Ingestion
from tests.infra.bicep import deployments
from tests.infra.kql import alerts, run
from tests.integration.test_contract_over_http import BROKEN, copy_app

REPOSITORY = Path(__file__).resolve().parents[2]
ALERTS = alerts(next(iter(deployments().values())))
DEAD_TABLE = "DefaultEndpointsProtocol=http;AccountName=account;AccountKey=a2V5;TableEndpoint=http://127.0.0.1:9/account;"
OVERRUN = """
import time
from cancel_appointment.operation import CancelOperation

carry_out = CancelOperation.carry_out

def overrun(self, work, deadline, journal):
    outcome = carry_out(self, work, deadline, journal)
    time.sleep(deadline.remaining_s() + 1)
    return outcome

CancelOperation.carry_out = overrun
"""


def ask(facade: Facade, times: int = 1, *, booked: bool = True) -> set[str]:
    """Cancel as many appointments at once; return how that ended."""
    token = facade.stack.entra.user_token()
    ids = [facade.book() if booked else f"AAMkNone{number}=" for number in range(times)]

    def cancel(appointment_id: str) -> str:
        with requests.Session() as session:
            session.trust_env = False
            caller = Facade(facade.url, session, facade.stack)
            said = caller.cancel(appointment_id, token=token).json()
        return str(said.get("outcome") or said["code"])

    with ThreadPoolExecutor(times) as threads:
        return set(threads.map(cancel, ids))


def refused_credential(facade: Facade) -> None:
    facade.stack.entra.faults.add(
        Fault(
            step="token",
            status=401,
            body={"error": "invalid_client", "error_codes": [7000215], "error_description": "no"},
        )
    )
    assert ask(facade) == {"misconfigured"}


def another_person(facade: Facade) -> None:
    entra = facade.stack.entra
    granted = {
        "token_type": "Bearer",
        "scope": seed.GRAPH_SCOPE,
        "expires_in": 3599,
        "access_token": "eyJ0eXAi.eyJvaWQi.c2ln",
        "id_token": entra.id_token(seed.MEGAN),
    }
    entra.faults.add(Fault(step="token", status=200, body=granted))
    assert ask(facade) == {"upstream_error"}


def silent_graph(facade: Facade) -> None:
    ask(facade)  # a cold worker may use up the short deadline before it sends anything
    facade.stack.graph.faults.add(Fault(step="*", drop=True, times=None))
    assert ask(facade, 20) == {"outcome_unknown"}


def work_that_ends_late(facade: Facade) -> None:
    for _ in range(3):  # as above
        ask(facade, 6)


def busy_graph(facade: Facade) -> None:
    throttle = Fault(step="*", status=429, headers={"Retry-After": "60"}, times=None)
    facade.stack.graph.faults.add(throttle)
    assert ask(facade, 51) == {"throttled"}


def slow_graph(facade: Facade) -> None:
    facade.stack.graph.faults.add(Fault(step="cancel", delay_s=5.2, times=2))
    assert ask(facade, 20) == {"cancelled"}


def too_many(facade: Facade) -> None:
    facade.stack.graph.faults.add(Fault(step="cancel", delay_s=1.5, times=None))
    assert "overloaded" in ask(facade, 40)


@dataclass(frozen=True)
class Cause:
    """What makes an alert fire. ``app`` are lines behind function_app.py."""

    drive: Callable[[Facade], object]
    settings: Mapping[str, str] | None = None
    app: str = ""


WIDE = {"MAX_CONCURRENCY_PER_BUSINESS": "64"}
SHORT = {**WIDE, "REQUEST_DEADLINE_SECONDS": "2"}
CAUSES = {
    "misconfigured": Cause(ask, {"CLIENT_SECRET": ""}),
    "credential-refused": Cause(refused_credential),
    "identity-mismatch": Cause(another_person),
    "internal-error": Cause(ask, app=BROKEN),
    "server-errors": Cause(silent_graph, SHORT),
    "outcome-unknown": Cause(silent_graph, SHORT),
    "store-unavailable": Cause(
        lambda facade: ask(facade, 6),
        {
            **WIDE,
            "IDEMPOTENCY_STORE": "table",
            "IDEMPOTENCY_TABLE_CONNECTION_STRING": DEAD_TABLE,
        },
    ),
    "overloaded": Cause(too_many, {"MAX_CONCURRENCY": "4", "MAX_CONCURRENCY_PER_BUSINESS": "1"}),
    "throttled": Cause(busy_graph, WIDE),
    "slow": Cause(slow_graph, WIDE),
    "not-found": Cause(lambda facade: ask(facade, 20, booked=False), WIDE),
    "late": Cause(work_that_ends_late, SHORT, OVERRUN),
}


@contextmanager
def watched(
    stack: LocalStack, folder: Path, cause: Cause
) -> Iterator[tuple[Facade, Ingestion, HostProcess]]:
    app = copy_app(folder, after=cause.app) if cause.app else REPOSITORY
    with (
        Ingestion() as sent,
        HostProcess(app, {**stack.environment, **sent.settings, **(cause.settings or {})}) as host,
        requests.Session() as session,
    ):
        session.trust_env = False
        yield Facade(host.url, session, stack), sent, host


def measured(alert: str, sent: Ingestion) -> float:
    """Return what an alert's query finds in all that was sent."""
    query, _ = ALERTS[alert]
    return max(
        (row["value"] for row in run(query, {"customMetrics": sent.custom_metrics()})), default=0.0
    )


def test_every_alert_has_a_cause_here() -> None:
    assert set(ALERTS) == {*CAUSES, "logs-full"}  # it reads what Azure says of the workspace


@pytest.mark.parametrize("alert", CAUSES)
def test_the_cause_of_an_alert_sends_the_metric_that_it_reads(
    stack: LocalStack, tmp_path: Path, alert: str
) -> None:
    cause, (_, threshold) = CAUSES[alert], ALERTS[alert]
    with watched(stack, tmp_path, cause) as (facade, sent, host):
        assert measured(alert, sent) <= threshold
        cause.drive(facade)
        sent.wait(lambda: measured(alert, sent) > threshold)
    events = [line for line in host.output().splitlines() if "event=" in line]
    assert any("event=request " in line for line in events)
    assert not [line for line in events if NOT_PASSED_ON in line]


def test_ordinary_requests_make_no_alert_fire(stack: LocalStack, tmp_path: Path) -> None:
    with watched(stack, tmp_path, Cause(ask)) as (facade, sent, _):
        assert ask(facade, 4) == {"cancelled"}
        sent.wait(
            lambda: (
                sum(
                    one["valueSum"]
                    for one in sent.custom_metrics()
                    if one["name"] == "facade.outcomes"
                )
                == 4
            )
        )
        assert [
            alert
            for alert, (_, most) in ALERTS.items()
            if alert in CAUSES and measured(alert, sent) > most
        ] == []


def test_a_token_with_a_key_that_may_not_be_fetched_yet_is_no_fault_of_the_server(
    stack: LocalStack, tmp_path: Path
) -> None:
    """A stranger can cause that answer at will."""

    def made_up(facade: Facade) -> str:
        token = stack.entra.user_token(
            header={"kid": "made-up"}, claims={"iat": int(time.time()) + 30}
        )
        return str(facade.cancel(token=token).json()["code"])

    def told(sent: Ingestion) -> int:
        return sum(
            int(row["valueSum"])
            for row in sent.custom_metrics()
            if row["customDimensions"].get("cause") == "KeyNotYetKnown"
        )

    with watched(stack, tmp_path, Cause(ask)) as (facade, sent, _):
        assert made_up(facade) == "invalid_token"  # this one was looked for
        assert {made_up(facade) for _ in range(25)} == {"upstream_unavailable"}
        sent.wait(lambda: told(sent) == 25)
        assert measured("server-errors", sent) == 0
    query, _ = ALERTS["server-errors"]
    others = {"name": "facade.problems", "valueSum": 25, "customDimensions": {"status": "503"}}
    assert run(query, {"customMetrics": [others]}) == [{"value": 100.0}]
