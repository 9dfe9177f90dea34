"""Planned faults: what a simulator does instead of, before or after its ordinary answer.

A fault names a step of the simulator (``cancel``, ``token``, ...). Attributes of the request may
narrow it (``match``), and ``times`` requests use it up. The simulators ask ``take`` once per
request, then ``play`` it around their own effect. Does *not* know HTTP routing.
"""

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, model_validator


class Fault(BaseModel):
    """One planned fault. Units: seconds.

    With nothing but a delay or headers the answer is the ordinary one, late or with those headers.

    ``when`` says whether the simulator's own effect (an appointment cancelled, a token minted) has
    happened when the fault strikes. ``before`` waits and answers without the effect, but after a
    mere delay the effect follows. ``after`` has the effect first, then waits and answers.
    ``status``, ``body`` and ``headers`` replace the answer. A ``body`` of text is sent as HTML,
    anything else as JSON, None as no body. ``drop`` closes the connection without an answer;
    ``reset`` does so with a TCP reset. ``raw`` sends bytes (Latin-1) that need not be HTTP, then
    closes. ``truncate`` sends the head and half of the body, then closes (half of the status line
    if there is no body).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: str = Field(min_length=1)
    when: Literal["before", "after"] = "before"
    status: int | None = Field(default=None, ge=200, le=599)
    body: Any = None
    headers: Mapping[str, str] = Field(default_factory=dict)
    delay_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    drop: bool = False
    reset: bool = False
    truncate: bool = False
    raw: str | None = None
    match: Mapping[str, str] = Field(default_factory=dict)
    times: int | None = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _is_one_instruction(self) -> Self:
        answers = {
            "status or truncate": self.status is not None or self.truncate,
            "drop": self.drop,
            "reset": self.reset,
            "raw": self.raw is not None,
        }
        chosen = [name for name, asked in answers.items() if asked]
        if len(chosen) > 1:
            raise ValueError(f"a fault has one answer; {' and '.join(chosen)} exclude each other")
        if self.body is not None and self.status is None:
            raise ValueError("a body needs a status")
        if self.raw is not None and not _is_latin_1(self.raw):
            raise ValueError("raw is sent as Latin-1 and may hold no character beyond U+00FF")
        return self

    @property
    def replaces_answer(self) -> bool:
        """Whether something else than the ordinary answer goes over the wire."""
        return (
            self.status is not None
            or self.drop
            or self.reset
            or self.truncate
            or self.raw is not None
        )


class Faults:
    """The planned faults of one simulator; safe to use from any thread.

    The oldest one that fits is used first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[tuple[Fault, int | None]] = []

    def add(self, *faults: Fault) -> None:
        """Place faults behind those already planned."""
        with self._lock:
            self._planned.extend((fault, fault.times) for fault in faults)

    def clear(self) -> None:
        """Forget every planned fault."""
        with self._lock:
            self._planned.clear()

    def planned(self) -> list[Fault]:
        """Return the faults still to come, with ``times`` as it is now."""
        with self._lock:
            return [fault.model_copy(update={"times": left}) for fault, left in self._planned]

    def take(self, step: str, **attributes: str) -> Fault | None:
        """Return the fault for this request, or None, and count it as used.

        A step of "*" fits every step.
        """
        with self._lock:
            for index, (fault, left) in enumerate(self._planned):
                if fault.step not in (step, "*"):
                    continue
                if any(attributes.get(name) != value for name, value in fault.match.items()):
                    continue
                if left is not None:
                    if left <= 1:
                        del self._planned[index]
                    else:
                        self._planned[index] = (fault, left - 1)
                return fault
        return None


async def play(
    fault: Fault | None, request: web.Request, ordinary: Callable[[], web.Response]
) -> web.StreamResponse:
    """Answer a request, with the fault in its place before or after the effect.

    ``ordinary`` has the effect and returns the ordinary answer.
    """
    if fault is None:
        return ordinary()
    if fault.when == "after":
        return await answer_with(fault, request, ordinary())
    if fault.replaces_answer:
        return await answer_with(fault, request)
    await asyncio.sleep(fault.delay_s)
    return _with_headers(ordinary(), fault)


async def answer_with(
    fault: Fault, request: web.Request, ordinary: web.Response | None = None
) -> web.StreamResponse:
    """Wait, then turn a fault into what goes over the wire.

    ``ordinary`` is used if the fault only delays, adds headers or truncates. The caller decides
    when it is made, and so whether the effect precedes the wait; ``play`` does it. A cut connection
    still returns a response: aiohttp finds the transport closed and sends nothing.
    """
    if fault.delay_s:
        await asyncio.sleep(fault.delay_s)
    answer = _answer_of(fault, ordinary)
    transport = request.transport
    if transport is None:  # the client is gone
        return answer
    if fault.reset:
        _reset_on_close(transport)
        transport.abort()
    elif fault.drop:
        transport.abort()
    elif fault.raw is not None:
        transport.write(fault.raw.encode("latin-1"))
        transport.close()
    elif fault.truncate:
        transport.write(_half_of(answer))
        transport.close()
    return answer


def _answer_of(fault: Fault, ordinary: web.Response | None) -> web.Response:
    if fault.status is None:
        return _with_headers(web.json_response({}) if ordinary is None else ordinary, fault)
    if fault.body is None:
        return web.Response(status=fault.status, headers=fault.headers)
    if isinstance(fault.body, str):
        content_type, body = "text/html", fault.body.encode()
    else:
        content_type, body = "application/json", json.dumps(fault.body).encode()
    return _with_headers(
        web.Response(status=fault.status, body=body, headers={"Content-Type": content_type}), fault
    )


def _with_headers(answer: web.Response, fault: Fault) -> web.Response:
    answer.headers.update(fault.headers)
    return answer


def _half_of(answer: web.Response) -> bytes:
    """Return the bytes of an answer that breaks off before any client can take it as complete."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    if not body:
        return b"HTTP/1.1 2"  # http.client reads a head that breaks off later as a complete one
    headers = {**answer.headers, "Content-Length": str(len(body))}
    head = f"HTTP/1.1 {answer.status} {answer.reason}\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in headers.items()
    )
    return head.encode() + b"\r\n" + body[: len(body) // 2]


def _reset_on_close(transport: asyncio.Transport) -> None:
    """Make the kernel send RST instead of FIN (SO_LINGER with a time of 0, socket(7))."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _is_latin_1(text: str) -> bool:
    return all(ord(character) <= 0xFF for character in text)
