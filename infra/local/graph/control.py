"""The ``/_local`` addresses of the Graph simulator.

Owns what people and the console use to see what happened and to place faults. Does *not* show
tokens. Open to every program on this machine, but to no web page other than the console's
(``server``).
"""

import asyncio
import json
from collections.abc import Callable, Container
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from infra.local import seed
from infra.local.faults import Fault, Faults
from infra.local.graph.bookings import Bookings
from infra.local.graph.wire import Json, Received
from infra.local.server import local_pages_only

STEPS: Final = ("cancel", "get", "list_businesses", "list_appointments", "*")
ATTRIBUTES: Final = ("business_id", "appointment_id", "user", "attempt")


class NewAppointment(BaseModel):
    """What ``POST /_local/appointments`` takes; only the ids are required.

    Times are ISO 8601 with an offset.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    appointment_id: str = Field(min_length=1)
    business_id: str = Field(min_length=1)
    service_name: str = "Catered bento"
    customer_name: str = "Jordan Miller"
    customer_email: str = "jordanm@contoso.com"
    start: AwareDatetime = datetime(2027, 5, 5, 12, tzinfo=UTC)
    end: AwareDatetime = datetime(2027, 5, 5, 12, 30, tzinfo=UTC)

    def booked(self) -> seed.Appointment:
        """Return the appointment as the calendars hold it."""
        times = {
            name: f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}0Z"
            for name, moment in (("start", self.start), ("end", self.end))
        }
        return seed.Appointment(**{**self.model_dump(), **times})


_FAULTS: Final = TypeAdapter(list[Fault])


def control_app(
    bookings: Bookings,
    faults: Faults,
    requests: Callable[[], list[Received]],
    reset_all: Callable[[], None],
    page_origins: Callable[[], Container[str]],
) -> web.Application:
    """Return the application to mount at ``/_local``."""

    async def outbox(_: web.Request) -> web.Response:
        return web.json_response([asdict(mail) for mail in bookings.outbox])

    async def cancellations(_: web.Request) -> web.Response:
        return web.json_response([asdict(cancellation) for cancellation in bookings.cancellations])

    async def received(_: web.Request) -> web.Response:
        return web.json_response([_shown(request) for request in requests()])

    async def planned_faults(_: web.Request) -> web.Response:
        return web.json_response([fault.model_dump(mode="json") for fault in faults.planned()])

    async def add_faults(request: web.Request) -> web.Response:
        asked = await _read_json(request)
        asked_faults = _FAULTS.validate_python(asked if isinstance(asked, list) else [asked])
        for fault in asked_faults:
            _require_known(fault)
        faults.add(*asked_faults)
        return web.json_response(
            [fault.model_dump(mode="json") for fault in faults.planned()], status=201
        )

    async def clear_faults(_: web.Request) -> web.Response:
        faults.clear()
        return web.Response(status=204)

    async def add_appointment(request: web.Request) -> web.Response:
        appointment = NewAppointment.model_validate(await _read_json(request)).booked()
        bookings.add(appointment)
        return web.json_response(asdict(appointment), status=201)

    async def reset(_: web.Request) -> web.Response:
        await asyncio.to_thread(reset_all)  # it may restart the service
        return web.Response(status=204)

    app = web.Application(
        middlewares=[local_pages_only(page_origins, under="/_local/"), _plain_errors]
    )
    app.router.add_get("/outbox", outbox)
    app.router.add_get("/cancellations", cancellations)
    app.router.add_get("/received", received)
    app.router.add_get("/faults", planned_faults)
    app.router.add_post("/faults", add_faults)
    app.router.add_delete("/faults", clear_faults)
    app.router.add_post("/appointments", add_appointment)
    app.router.add_post("/reset", reset)
    return app


@web.middleware
async def _plain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say bad input in one JSON sentence."""
    try:
        return await handler(request)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return _refuse(400, f"{place}: {first['msg']}." if place else f"{first['msg']}.")
    except ValueError as error:
        return _refuse(400, str(error))
    except web.HTTPException as error:
        return _refuse(error.status, f"{error.reason}: {request.method} {request.path}.")


async def _read_json(request: web.Request) -> object:
    try:
        read: object = json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise ValueError("The body is not JSON.") from error
    return read


def _require_known(fault: Fault) -> None:
    """Refuse what could never strike. Errors: ValueError."""
    if fault.step not in STEPS:
        raise ValueError(f"There is no step {fault.step!r}; the steps are {', '.join(STEPS)}.")
    for name in fault.match:
        if name not in ATTRIBUTES:
            raise ValueError(
                f"Nothing can be matched by {name!r}; the attributes are {', '.join(ATTRIBUTES)}."
            )


def _shown(request: Received) -> dict[str, Json]:
    headers: dict[str, Json] = {
        name: "Bearer ..." if name == "authorization" else value
        for name, value in request.headers.items()
    }
    return {
        "method": request.method,
        "raw_path": request.raw_path,
        "path": request.path,
        "headers": headers,
        "body": request.body.decode(errors="replace"),
        "at": request.at,
        "user": request.user,
    }


def _refuse(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)
