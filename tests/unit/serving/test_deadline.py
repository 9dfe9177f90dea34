"""The deadline of a request begins with its arrival, whatever has to be built for it first."""

import asyncio
import time
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from shared import services as composition
from shared.errors import FacadeError, Overloaded
from shared.identity.principal import Principal
from shared.lazy import Lazy
from shared.services import Services, build_services
from shared.serving import requests
from shared.serving.lanes import Name
from shared.serving.problems import Reply
from shared.serving.requests import Incoming, open_lanes, serve
from shared.telemetry.journal import OFF, Journal
from shared.transport.deadline import Deadline

ENVIRONMENT = {
    "TENANT_ID": "11111111-1111-1111-1111-111111111111",
    "CLIENT_ID": "22222222-2222-2222-2222-222222222222",
    "CLIENT_SECRET": "a-secret",
}


SOMEBODY = Principal("t", "o", "c")


@dataclass(frozen=True)
class Work:
    caller: Principal = SOMEBODY
    lane: Name = ("mailbox",)


class Operation:
    """Notes how long it was given."""

    given_s: float | None = None

    def admit(self, incoming: Incoming, journal: Journal) -> Work:
        return Work()

    def admit_at_once(self, incoming: Incoming, journal: Journal) -> Work | None:
        return Work()

    def carry_out(self, work: Work, deadline: Deadline, journal: Journal) -> Reply:
        self.given_s = deadline.remaining_s()
        return Reply(200, {}, b"{}", "done")

    def too_late(self) -> FacadeError:
        return Overloaded("too late")


@pytest.mark.parametrize(
    ("build_s", "within_s", "given_s"),
    [(0.0, 60.0, 9.5), (6.0, 60.0, 3.5), (1.0, 5.0, 3.5)],
    ids=["a warm worker", "a cold worker", "an impatient caller"],
)
@pytest.mark.parametrize("slow", ["telemetry", "services", "operation"])
def test_what_is_built_first_is_built_at_the_expense_of_the_deadline(
    monkeypatch: pytest.MonkeyPatch, slow: str, build_s: float, within_s: float, given_s: float
) -> None:
    clock = [time.monotonic()]
    frozen = SimpleNamespace(monotonic=lambda: clock[0])
    monkeypatch.setattr(composition, "time", frozen)
    monkeypatch.setattr(requests, "time", frozen)
    operation = Operation()

    def built[T](name: str, what: T) -> T:
        clock[0] += build_s if name == slow else 0.0
        return what

    services: Lazy[Services] = Lazy(lambda: built("services", build_services(ENVIRONMENT)))
    reply = asyncio.run(
        serve(
            Lazy(lambda: built("operation", operation)),
            services,
            Lazy(lambda: open_lanes(services.get())),
            Lazy(lambda: built("telemetry", OFF)),
            Incoming({}),
            Journal("r-0", lambda: 0.0, None, "cancel"),
            within_s=within_s,
        )
    )
    assert reply.status == 200
    assert operation.given_s == pytest.approx(given_s)
    services.get().threads.shutdown()
    services.get().doorkeepers.shutdown()
