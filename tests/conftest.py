"""Fixtures that most tests share.

They are the local stack, the Function App on the official runtime, and a client for it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from infra.local.host.process import HostProcess
from infra.local.stack import LocalStack
from tests.client import Facade
from tests.integration.azurite import azurite
from tests.integration.wire import bench

__all__ = ["azurite", "bench"]  # fixtures: an emulator of tables, a client and servers on a wire

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def running_stack() -> Iterator[LocalStack]:
    """The simulators, started once; use ``stack``, which is clean for every test."""
    with LocalStack() as stack:
        yield stack


@pytest.fixture(scope="session")
def running_host(running_stack: LocalStack) -> Iterator[HostProcess]:
    """The Function App on the official runtime in a process of its own, started once."""
    with HostProcess(REPOSITORY, running_stack.environment) as host:
        yield host


@pytest.fixture
def stack(running_stack: LocalStack) -> Iterator[LocalStack]:
    """The simulators in their seeded state, with nothing received and no fault planned."""
    running_stack.reset()
    yield running_stack
    running_stack.reset()


@pytest.fixture
def facade(running_host: HostProcess, stack: LocalStack) -> Iterator[Facade]:
    """The service over HTTP, as a caller sees it.

    Its caches and records live as long as the session: use an appointment of your own.
    """
    with requests.Session() as session:
        session.trust_env = False
        yield Facade(running_host.url, session, stack)


@pytest.fixture
def fresh_facade(stack: LocalStack) -> Iterator[Facade]:
    """A service that was just started, with empty caches and records; costs a second."""
    with HostProcess(REPOSITORY, stack.environment) as host, requests.Session() as session:
        session.trust_env = False
        yield Facade(host.url, session, stack)
