"""A short tour of the service.

Sends real requests through the whole chain, prints the answers, and checks that they are as
promised.
"""

import json
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import requests

from infra.local import seed
from infra.local.stack import LocalStack

_WIDTH = 110
_TIMEOUT_S = 30


class Style:
    """Words in colour, if the reader's terminal shows colours."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    def strong(self, text: str) -> str:
        """Return a heading."""
        return self._paint("1", text)

    def faint(self, text: str) -> str:
        """Return a side remark."""
        return self._paint("2", text)

    def good(self, text: str) -> str:
        """Return something that is as promised."""
        return self._paint("32", text)

    def bad(self, text: str) -> str:
        """Return something that is not."""
        return self._paint("31;1", text)


@dataclass(frozen=True)
class Stop:
    """One stop of the tour: what to send, and what has to come back.

    ``promised`` is a part of the answer.
    """

    title: str
    remark: str
    body: dict[str, Any]
    status: int
    promised: dict[str, Any]
    token: str = field(repr=False)


def _stops(stack: LocalStack) -> Iterator[Stop]:
    token = stack.entra.user_token(seed.ADELE)
    example = {
        "businessId": seed.LUNCH_DELIVERY,
        "appointmentId": seed.EXAMPLE_APPOINTMENT,
        "cancellationMessage": seed.EXAMPLE_MESSAGE,
    }
    cancelled = {"outcome": "cancelled", "cancelled": True, "confirmed": True, "replayed": False}
    yield Stop(
        "The example of Microsoft's documentation",
        "Graph answers 204 and nothing else; the caller gets JSON.",
        example,
        200,
        cancelled,
        token,
    )
    yield Stop(
        "The same request again, as a retrying sender would",
        "Nothing is sent to Graph a second time; the first answer is given again.",
        example,
        200,
        cancelled | {"replayed": True},
        token,
    )
    yield Stop(
        "An appointment that does not exist",
        "Graph answers a bare 404, which would fail a flow run; here it is an outcome.",
        {"businessId": seed.LUNCH_DELIVERY, "appointmentId": "AAMkADnosuchAAA="},
        200,
        {"outcome": "not_found", "cancelled": False, "confirmed": True},
        token,
    )
    yield Stop(
        "A body with three faults",
        "One entry per fault; Entra and Graph are not asked.",
        {"businessId": "", "apointmentId": "AAMkADKoAAA="},
        400,
        {"code": "invalid_request", "retryable": False},
        token,
    )
    yield Stop(
        "A stranger's token",
        "It was issued for another API, so it proves nothing here.",
        example,
        401,
        {"code": "invalid_token", "retryable": False},
        stack.entra.user_token(seed.ADELE, audience="api://somebody-elses-api"),
    )


class Tour:
    """Walks through the stops against the service at ``url``; ``show`` prints a line."""

    def __init__(
        self, url: str, stack: LocalStack, style: Style, show: Callable[[str], None]
    ) -> None:
        self._url = url
        self._stack = stack
        self._style = style
        self._show = show
        self._failures = 0

    def walk(self) -> bool:
        """Take the tour. True if every answer was as promised."""
        with requests.Session() as session:
            session.trust_env = False
            for number, stop in enumerate(_stops(self._stack), start=1):
                self._visit(number, stop, session)
        self._show_graph()
        self._show_outbox()
        return self._failures == 0

    def _visit(self, number: int, stop: Stop, session: requests.Session) -> None:
        self._show("")
        self._show(self._style.strong(f"{number}. {stop.title}"))
        self._show(self._style.faint(f"   {stop.remark}"))
        self._show("   POST /api/v1/cancel-appointment")
        self._show_json(stop.body)
        answer = session.post(
            f"{self._url}/api/v1/cancel-appointment",
            json=stop.body,
            headers={"Authorization": f"Bearer {stop.token}"},
            timeout=_TIMEOUT_S,
        )
        as_promised = (
            answer.status_code == stop.status and stop.promised.items() <= answer.json().items()
        )
        verdict = (
            self._style.good("as promised")
            if as_promised
            else self._style.bad(f"NOT AS PROMISED: {stop.status} {stop.promised}")
        )
        self._show(f"   -> {answer.status_code} {answer.reason}   {verdict}")
        self._show_json(answer.json())
        self._failures += not as_promised

    def _show_graph(self) -> None:
        received = self._stack.graph.received
        self._show("")
        self._show(self._style.strong("What arrived at Graph"))
        for request in received:
            self._show(f"   {request.method} {request.path}")
            self._show(f"        {request.body.decode()}")
        self._check(len(received) == 2, "Graph should have been called exactly twice")

    def _show_outbox(self) -> None:
        outbox = self._stack.graph.bookings.outbox
        self._show("")
        self._show(self._style.strong("What landed in the outbox"))
        for mail in outbox:
            self._show(f"   to {mail.kind}: {mail.to}")
            self._show(f'        "{mail.message}"')
        self._check(
            [mail.message for mail in outbox] == [seed.EXAMPLE_MESSAGE] * 2,
            "one mail to the customer and one to the staff, with the message",
        )

    def _check(self, condition: bool, promise: str) -> None:  # noqa: FBT001 - a fact and its meaning
        if not condition:
            self._failures += 1
            self._show(self._style.bad(f"   NOT AS PROMISED: {promise}"))

    def _show_json(self, value: object) -> None:
        for line in json.dumps(value, indent=2, ensure_ascii=False).splitlines():
            self._show(
                "      " + textwrap.shorten(line, _WIDTH, placeholder=" ...")
                if len(line) > _WIDTH * 2
                else f"      {line}"
            )
