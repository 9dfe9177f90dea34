"""What a refused request leaves behind."""

import asyncio
import gc
import weakref
from dataclasses import dataclass, field
from typing import Any

import pytest

from shared.errors import FacadeError, UpstreamBroken
from shared.lazy import Lazy
from shared.services import build_services
from shared.serving.problems import Reply
from shared.serving.requests import Incoming, Route, Worker
from shared.telemetry.journal import OFF, Journal
from shared.transport.deadline import Deadline
from tests.unit.serving.test_deadline import ENVIRONMENT, Operation, Work


@dataclass
class Refusing(Operation):
    """Fails on its thread, or before it."""

    at_once: bool = False
    raised: list[weakref.ref[FacadeError]] = field(default_factory=list)

    def _fail(self) -> None:
        error = UpstreamBroken("no")
        self.raised.append(weakref.ref(error))
        raise error  # and this frame holds it

    def admit_at_once(self, incoming: Incoming, journal: Journal) -> Work | None:
        if self.at_once:
            self._fail()
        return Work()

    def carry_out(self, work: Work, deadline: Deadline, journal: Journal) -> Reply:
        self._fail()
        raise AssertionError


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "on a thread"])
def test_it_waits_for_no_collector(monkeypatch: pytest.MonkeyPatch, at_once: bool) -> None:
    """An error holds the frames that it came through: its request, with all it knows."""
    services = build_services(ENVIRONMENT)
    worker = Worker({})
    monkeypatch.setattr(worker, "services", Lazy(lambda: services))
    monkeypatch.setattr(worker, "telemetry", Lazy(lambda: OFF))
    operation = Refusing(at_once=at_once)
    route: Route[Any] = Route(worker, "cancel", lambda _: operation)

    async def ask() -> list[FacadeError | None]:
        reply = await route.answer(Incoming({}))
        assert reply.status == 502
        await asyncio.sleep(0.05)  # the thread lets go of its work
        return [one() for one in operation.raised]

    gc.disable()
    try:
        assert asyncio.run(ask()) == [None]
    finally:
        gc.enable()
        services.threads.shutdown()
        services.doorkeepers.shutdown()
