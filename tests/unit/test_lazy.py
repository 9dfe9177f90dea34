"""Lazy: built once, whoever asks first.

A failure is forgotten, so that a mended setting is picked up without a restart.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.errors import Misconfigured
from shared.lazy import Lazy
from shared.settings import Settings

PATIENCE_S = 60.0
GOOD = {
    "TENANT_ID": "84bd8158-6d4d-4958-8b9f-9d6445542f95",
    "CLIENT_ID": "6731de76-14a6-49ae-97bc-6eba6914391e",
    "CLIENT_SECRET": "a-secret",
}


class Builder:
    """Builds a new thing each time it is called, once its gate is open.

    Fails while it is broken.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.broken: Exception | None = None

    def __call__(self) -> object:
        self.calls += 1
        self.begun.set()
        assert self.gate.wait(PATIENCE_S)
        if self.broken is not None:
            raise self.broken
        return object()


def test_nothing_is_built_before_it_is_needed() -> None:
    builder = Builder()
    lazy = Lazy(builder)

    assert lazy.if_built() is None
    assert builder.calls == 0


def test_it_is_built_once_and_handed_out_from_then_on() -> None:
    builder = Builder()
    lazy = Lazy(builder)
    built = lazy.get()

    assert lazy.get() is built
    assert lazy.if_built() is built
    assert builder.calls == 1


def test_threads_that_ask_together_get_the_same_thing() -> None:
    builder = Builder()
    builder.gate.clear()
    lazy = Lazy(builder)
    asking_now = threading.Semaphore(0)

    def ask() -> object:
        asking_now.release()
        return lazy.get()

    with ThreadPoolExecutor(16) as threads:
        asked = [threads.submit(ask) for _ in range(16)]
        for _ in asked:
            assert asking_now.acquire(timeout=PATIENCE_S)
        builder.gate.set()
        built = {asking.result(PATIENCE_S) for asking in asked}

    assert len(built) == 1
    assert builder.calls == 1


def test_asking_whether_it_is_built_never_waits_for_the_building() -> None:
    builder = Builder()
    builder.gate.clear()
    lazy = Lazy(builder)
    with ThreadPoolExecutor(1) as threads:
        building = threads.submit(lazy.get)
        assert builder.begun.wait(PATIENCE_S)
        assert lazy.if_built() is None
        builder.gate.set()
        assert lazy.get() is building.result(PATIENCE_S)


def test_a_failure_is_told_and_not_remembered() -> None:
    builder = Builder()
    lazy = Lazy(builder)
    builder.broken = Misconfigured("The setting TENANT_ID is missing.")
    for _ in range(2):
        with pytest.raises(Misconfigured, match="TENANT_ID"):
            lazy.get()
    assert lazy.if_built() is None

    builder.broken = None
    assert lazy.get() is lazy.get()
    assert builder.calls == 3


def test_a_thread_that_waited_for_a_failing_build_builds_itself() -> None:
    builder = Builder()
    builder.gate.clear()
    builder.broken = Misconfigured("broken")
    lazy = Lazy(builder)
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(lazy.get) for _ in range(2)]
        assert builder.begun.wait(PATIENCE_S)
        builder.gate.set()
        assert [type(asking.exception(PATIENCE_S)) for asking in asked] == [
            Misconfigured,
            Misconfigured,
        ]
    assert builder.calls == 2


def test_a_mended_environment_is_picked_up_without_a_restart() -> None:
    environment = dict(GOOD)
    del environment["TENANT_ID"]
    lazy = Lazy(lambda: Settings.read(environment))
    with pytest.raises(Misconfigured, match=r"The setting TENANT_ID is missing\."):
        lazy.get()

    environment["TENANT_ID"] = GOOD["TENANT_ID"]
    assert lazy.get().tenant_id == GOOD["TENANT_ID"]


def test_where_no_thread_can_be_started_it_is_built_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    builder = Builder()
    lazy = Lazy(builder)

    async def ask() -> object:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            builder.broken = Misconfigured("CLIENT_ID")
            with pytest.raises(Misconfigured):
                await lazy.aside()
            builder.broken = None
            return await lazy.aside()

    assert asyncio.run(ask()) is lazy.get()
    assert builder.calls == 2
