"""What tests of this room begin with: a worker at the simulator of Entra, and every log line."""

import logging

import pytest

from infra.local.stack import LocalStack
from shared.transport.connections import Trust, open_trust
from tests.property.exchanging import Worker, start_worker


@pytest.fixture(scope="module")
def trust(running_stack: LocalStack) -> Trust:
    return open_trust(running_stack.bundle)


@pytest.fixture
def worker(stack: LocalStack, trust: Trust) -> Worker:
    return start_worker(stack.environment, trust)


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog
