"""Planned faults: which one a request takes, and what it puts on the wire around the effect."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from infra.local.faults import Fault, Faults, answer_with, play
from infra.local.server import LocalServer


class Stage:
    """A server of one step, ``act``.

    Its effect is counted, and its ordinary answer is ``{"effects": n}``.
    """

    def __init__(self) -> None:
        self.faults = Faults()
        self.effects = 0
        self.finished = threading.Event()
        self.url = ""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/act", self._act)
        app.router.add_post("/empty", self._act_without_answer)
        return app

    async def _act(self, request: web.Request) -> web.StreamResponse:
        return await self._play(request, lambda: web.json_response({"effects": self.effects}))

    async def _act_without_answer(self, request: web.Request) -> web.StreamResponse:
        return await self._play(request, lambda: web.Response(status=204))

    async def _play(
        self, request: web.Request, answer: Callable[[], web.Response]
    ) -> web.StreamResponse:
        await request.read()

        def ordinary() -> web.Response:
            self.effects += 1
            return answer()

        try:
            return await play(self.faults.take("act"), request, ordinary)
        finally:
            self.finished.set()

    def call(self, path: str = "/act", *, timeout_s: float = 10) -> bytes:
        """Send one request and return every byte that comes before the connection ends.

        Errors: those of the socket.
        """
        host, port = self.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=timeout_s) as connection:
            connection.sendall(
                (
                    f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "
                    "0\r\n\r\n"
                ).encode()
            )
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
            return answer


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    with LocalServer(stage.app()) as server:
        stage.url = server.url
        yield stage


def split(answer: bytes) -> tuple[int, Mapping[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status_line, *lines = head.decode().split("\r\n")
    return (
        int(status_line.split(" ")[1]),
        {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)},
        body,
    )


def test_without_a_fault_the_answer_is_the_ordinary_one(stage: Stage) -> None:
    status, _, body = split(stage.call())
    assert (status, json.loads(body), stage.effects) == (200, {"effects": 1}, 1)


@pytest.mark.parametrize(("when", "effects"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize(
    ("fault", "content_type", "sent"),
    [
        pytest.param({"status": 503}, None, b"", id="no body"),
        pytest.param(
            {"status": 500, "body": {"error": {"code": ""}}},
            "application/json",
            b'{"error": {"code": ""}}',
            id="json",
        ),
        pytest.param({"status": 429, "body": []}, "application/json", b"[]", id="json list"),
        pytest.param(
            {"status": 502, "body": "<h1>Bad gateway</h1>"},
            "text/html",
            b"<h1>Bad gateway</h1>",
            id="html",
        ),
        pytest.param({"status": 200, "body": ""}, "text/html", b"", id="empty text"),
        pytest.param(
            {"status": 400, "body": "a=b", "headers": {"content-type": "text/plain"}},
            "text/plain",
            b"a=b",
            id="own content type",
        ),
    ],
)
def test_an_instructed_answer_replaces_the_ordinary_one(
    stage: Stage,
    when: str,
    effects: int,
    fault: dict[str, Any],
    content_type: str | None,
    sent: bytes,
) -> None:
    stage.faults.add(Fault.model_validate({"step": "act", "when": when, **fault}))
    status, headers, body = split(stage.call())
    assert (status, body, stage.effects) == (fault["status"], sent, effects)
    assert content_type is None or headers["content-type"] == content_type


@pytest.mark.parametrize(("when", "effects"), [("before", 0), ("after", 1)])
def test_a_redirect_carries_its_headers(stage: Stage, when: str, effects: int) -> None:
    stage.faults.add(
        Fault.model_validate(
            {
                "step": "act",
                "when": when,
                "status": 302,
                "headers": {"Location": "/elsewhere", "Retry-After": "7"},
            }
        )
    )
    status, headers, _ = split(stage.call())
    assert (status, headers["location"], headers["retry-after"], stage.effects) == (
        302,
        "/elsewhere",
        "7",
        effects,
    )


@pytest.mark.parametrize(("when", "effects"), [("before", 0), ("after", 1)])
def test_a_dropped_connection_ends_without_a_byte(stage: Stage, when: str, effects: int) -> None:
    stage.faults.add(Fault.model_validate({"step": "act", "when": when, "drop": True}))
    assert stage.call() == b""
    assert stage.effects == effects


@pytest.mark.parametrize(("when", "effects"), [("before", 0), ("after", 1)])
def test_a_reset_connection_is_reset_by_the_peer(stage: Stage, when: str, effects: int) -> None:
    stage.faults.add(Fault.model_validate({"step": "act", "when": when, "reset": True}))
    with pytest.raises(ConnectionResetError):
        stage.call()
    assert stage.effects == effects


@pytest.mark.parametrize(("when", "effects"), [("before", 0), ("after", 1)])
def test_raw_bytes_are_sent_as_they_are(stage: Stage, when: str, effects: int) -> None:
    stage.faults.add(Fault.model_validate({"step": "act", "when": when, "raw": "no http \xff\r\n"}))
    assert stage.call() == b"no http \xff\r\n"
    assert stage.effects == effects


@pytest.mark.parametrize(("when", "effects"), [("before", 0), ("after", 1)])
def test_a_truncated_answer_breaks_off_in_its_body(stage: Stage, when: str, effects: int) -> None:
    stage.faults.add(
        Fault.model_validate(
            {"step": "act", "when": when, "status": 500, "body": {"a": 1}, "truncate": True}
        )
    )
    status, headers, body = split(stage.call())
    assert (status, headers["content-length"], body, stage.effects) == (500, "8", b'{"a"', effects)


def test_the_ordinary_answer_can_be_truncated(stage: Stage) -> None:
    stage.faults.add(Fault(step="act", when="after", truncate=True))
    status, headers, body = split(stage.call())
    assert (status, headers["content-length"], body) == (200, "14", b'{"effec')


def test_an_answer_without_a_body_breaks_off_in_its_status_line(stage: Stage) -> None:
    stage.faults.add(Fault(step="act", when="after", truncate=True))
    assert stage.call("/empty") == b"HTTP/1.1 2"
    assert stage.effects == 1


@pytest.mark.parametrize(("when", "effects"), [("before", 0), ("after", 1)])
def test_the_delay_stands_between_request_and_effect_or_between_effect_and_answer(
    stage: Stage, when: str, effects: int
) -> None:
    stage.faults.add(Fault.model_validate({"step": "act", "when": when, "delay_s": 0.5}))
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        stage.call(timeout_s=0.1)
    assert stage.effects == effects, "as it was when the client gave up"
    assert stage.finished.wait(5)
    assert time.monotonic() - started >= 0.49
    assert stage.effects == 1, "a client that gave up does not undo it"


def test_a_delayed_ordinary_answer_keeps_its_body_and_takes_the_headers(stage: Stage) -> None:
    stage.faults.add(Fault(step="act", delay_s=0.05, headers={"X-Slow": "yes"}))
    status, headers, body = split(stage.call())
    assert (status, headers["x-slow"], json.loads(body)) == (200, "yes", {"effects": 1})


def test_a_fault_alone_answers_without_an_ordinary_answer(stage: Stage) -> None:
    async def always(request: web.Request) -> web.StreamResponse:
        return await answer_with(Fault(step="act", headers={"X-Fault": "yes"}), request)

    app = web.Application()
    app.router.add_post("/act", always)
    with LocalServer(app) as server:
        stage.url = server.url
        status, headers, body = split(stage.call())
    assert (status, headers["x-fault"], body) == (200, "yes", b"{}")


def test_a_fault_is_used_up_after_its_times() -> None:
    faults = Faults()
    faults.add(Fault(step="act", status=500, times=2))
    taken = [faults.take("act") for _ in range(3)]
    assert [fault is not None for fault in taken] == [True, True, False]


def test_a_fault_without_times_stays() -> None:
    faults = Faults()
    faults.add(Fault(step="act", status=500, times=None))
    assert all(faults.take("act") for _ in range(20))
    assert [fault.times for fault in faults.planned()] == [None]


def test_planned_says_how_often_a_fault_will_still_strike() -> None:
    faults = Faults()
    faults.add(Fault(step="act", times=3))
    faults.take("act")
    assert [fault.times for fault in faults.planned()] == [2]


def test_the_oldest_that_fits_is_taken_first() -> None:
    faults = Faults()
    faults.add(
        Fault(step="other", status=501),
        Fault(step="act", status=502, match={"user": "b"}),
        Fault(step="*", status=503),
        Fault(step="act"),
    )
    taken = [faults.take("act", user=user) for user in ("a", "b", "a", "a")]
    assert [fault and fault.status for fault in taken] == [503, 502, None, None]
    assert taken[2] is not None
    assert [fault.step for fault in faults.planned()] == ["other"]


@pytest.mark.parametrize(
    ("attributes", "fits"),
    [
        pytest.param({"user": "a", "attempt": "1"}, True, id="all"),
        pytest.param({"user": "a", "attempt": "1", "more": "x"}, True, id="more than asked"),
        pytest.param({"user": "a", "attempt": "2"}, False, id="another value"),
        pytest.param({"user": "a"}, False, id="one unknown"),
    ],
)
def test_every_attribute_of_match_must_fit(attributes: dict[str, str], *, fits: bool) -> None:
    faults = Faults()
    faults.add(Fault(step="act", match={"user": "a", "attempt": "1"}))
    assert (faults.take("act", **attributes) is not None) is fits


def test_clear_forgets_what_was_planned() -> None:
    faults = Faults()
    faults.add(Fault(step="act"))
    faults.clear()
    assert (faults.planned(), faults.take("act")) == ([], None)


def test_racing_threads_take_a_fault_exactly_its_times() -> None:
    faults = Faults()
    faults.add(Fault(step="act", times=500))
    with ThreadPoolExecutor(16) as pool:
        taken = list(pool.map(lambda _: faults.take("act") is not None, range(2000)))
    assert taken.count(True) == 500


@pytest.mark.parametrize(
    "instruction",
    [
        pytest.param({}, id="no step"),
        pytest.param({"step": ""}, id="empty step"),
        pytest.param({"step": "act", "status": 99}, id="status too small"),
        pytest.param({"step": "act", "status": 600}, id="status too great"),
        pytest.param({"step": "act", "when": "during"}, id="when"),
        pytest.param({"step": "act", "delay_s": -1}, id="negative delay"),
        pytest.param({"step": "act", "delay_s": float("inf")}, id="endless delay"),
        pytest.param({"step": "act", "times": 0}, id="never"),
        pytest.param({"step": "act", "sttaus": 500}, id="misspelt"),
        pytest.param({"step": "act", "status": 500, "drop": True}, id="status and drop"),
        pytest.param({"step": "act", "truncate": True, "raw": "x"}, id="truncate and raw"),
        pytest.param({"step": "act", "drop": True, "reset": True}, id="drop and reset"),
        pytest.param({"step": "act", "body": {}}, id="body without status"),
        pytest.param({"step": "act", "raw": "\u20ac"}, id="raw beyond Latin-1"),
    ],
)
def test_a_contradictory_instruction_is_refused(instruction: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Fault.model_validate(instruction)


def test_delays_of_several_requests_run_side_by_side(stage: Stage) -> None:
    stage.faults.add(Fault(step="act", delay_s=0.2, times=10))
    started = time.monotonic()
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: split(stage.call())[0], range(10)))
    assert answers == [200] * 10
    assert time.monotonic() - started < 1.5
    assert stage.effects == 10


def test_a_client_that_is_gone_before_a_cut_breaks_nothing(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.faults.add(Fault(step="act", when="after", delay_s=0.15, drop=True))
    with pytest.raises(TimeoutError):
        stage.call(timeout_s=0.05)
    assert stage.finished.wait(5)
    assert split(stage.call())[0] == 200
    assert caplog.records == []


def test_a_cut_leaves_no_error_in_the_log(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.faults.add(
        *(
            Fault.model_validate({"step": "act", **cut})
            for cut in ({"drop": True}, {"raw": "x"}, {"truncate": True})
        )
    )
    for _ in range(3):
        stage.call()
    assert split(stage.call())[0] == 200
    assert [record for record in caplog.records if record.name != "asyncio"] == []
