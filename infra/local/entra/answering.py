"""How an address of the Entra simulator answers.

It gives the ordinary answer, a refusal, or what a fault wants instead.
"""

import uuid
from collections.abc import Callable
from typing import Final

from aiohttp import web

from infra.local.entra.errors import Refused, say_refusal
from infra.local.faults import Faults, play

NO_STORE: Final = {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"}


class Answering:
    """Answers, and plays the planned faults."""

    def __init__(self, faults: Faults, now: Callable[[], float]) -> None:
        self._faults = faults
        self._now = now

    async def __call__(
        self, request: web.Request, step: str, answer: Callable[[], web.Response], **matching: str
    ) -> web.StreamResponse:
        """Give the ordinary answer, a refusal, or what a fault wants instead."""

        def ordinary() -> web.Response:
            try:
                return answer()
            except Refused as exc:
                said = say_refusal(
                    exc,
                    now=self._now(),
                    correlation_id=_guid(request.headers.get("client-request-id", "")),
                )
                return web.json_response(
                    said.body, status=said.status, headers={**NO_STORE, **said.headers}
                )

        return await play(self._faults.take(step, **matching), request, ordinary)


def unknown_tenant(segment: str, error: str) -> Refused:
    """Return the refusal of a request for a tenant that is not here."""
    return Refused(
        90002,
        f"Tenant '{segment}' not found. Check to make sure you have the correct tenant ID and "
        "are signing into the correct cloud. "
        "Check with your subscription administrator, this may happen if there are no active "
        "subscriptions for the tenant.",
        error=error,
    )


def _guid(value: str) -> str | None:
    try:
        return str(uuid.UUID(value))
    except ValueError:
        return None
