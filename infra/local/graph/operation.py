"""What one call to Bookings does: list, get or cancel.

Owns the effect and the ordinary answer of each step. Does *not* know faults, limits or who called
before. Where Microsoft's documents do not say, it answers like this:

- A token without the right scope: 403 ErrorAccessDenied.
- An unknown business: 404 ErrorNonExistentMailbox.
- A caller who is not on the staff of an existing business: 404 ErrorFolderNotFound, as reported.
- An appointment that does not exist, so also a second cancel: 404 ErrorItemNotFound.
- A cancel within the minimum lead time: 400 without a code, as reported of other rules.
"""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final, assert_never
from urllib.parse import urlencode

from aiohttp import web

from infra.local import seed
from infra.local.graph.access import may_see, require_calendar, require_right
from infra.local.graph.bookings import Bookings
from infra.local.graph.exchange import Exchange
from infra.local.graph.tokens import GraphTokenClaims
from infra.local.graph.wire import (
    GraphCall,
    GraphRefusal,
    Json,
    appointment_json,
    business_json,
    read_cancellation_message,
    read_moment,
    read_window,
)

_LIST_LIMIT: Final = 500  # "limited to 500 mailboxes", without pages


@dataclass(frozen=True, slots=True)
class Operation:
    """One call with an accepted token, the calendars it is about, and how lists are shown."""

    exchange: Exchange
    call: GraphCall
    claims: GraphTokenClaims
    bookings: Bookings
    page_size: int | None
    omit_customers: bool

    def perform(self, body: bytes) -> web.Response:
        """Do what the call asks for, and return the answer.

        Errors: GraphRefusal.
        """
        require_right(self.claims, self.call.step)
        if self.call.malformed:
            raise GraphRefusal(400, "ErrorInvalidIdMalformed", "Id is malformed.")
        match self.call.step:
            case "list_businesses":
                return self._say_paged(self._businesses())
            case "list_appointments":
                return self._say_paged(self._appointments())
            case "get":
                return self._get()
            case "cancel":
                return self._cancel(body)
            case _:
                assert_never(self.call.step)

    def _get(self) -> web.Response:
        require_calendar(self.claims, self.bookings.business(self.call.business_id))
        appointment = self.bookings.appointment(self.call.business_id, self.call.appointment_id)
        if appointment is None:
            raise _item_not_found()
        return self.exchange.say(appointment_json(appointment))

    def _cancel(self, body: bytes) -> web.Response:
        request, call, claims = self.exchange.request, self.call, self.claims
        encoding = request.headers.get("Content-Encoding", "")
        message = read_cancellation_message(request.content_type, encoding, body)
        business = self.bookings.business(call.business_id)
        require_calendar(claims, business)
        appointment = self.bookings.appointment(call.business_id, call.appointment_id)
        if business and appointment and _is_too_late(business, appointment):
            raise GraphRefusal(400, "", "The minimum lead time is over.")
        cancellation = self.bookings.cancel(
            call.business_id,
            call.appointment_id,
            message=message,
            by=claims.client_id if claims.app_only else claims.object_id,
            era=self.exchange.era,
        )
        if cancellation is None:
            raise _item_not_found()
        return self.exchange.sign(web.Response(status=204))

    def _businesses(self) -> list[dict[str, Json]]:
        named = self.call.query.get("query", "").casefold()
        seen = [one for one in self.bookings.businesses() if may_see(self.claims, one)]
        return [business_json(one) for one in seen if named in one.display_name.casefold()][
            :_LIST_LIMIT
        ]

    def _appointments(self) -> list[dict[str, Json]]:
        window = read_window(self.call.query) if self.call.window else None
        require_calendar(self.claims, self.bookings.business(self.call.business_id))
        found = self.bookings.appointments(self.call.business_id)
        if window is not None:
            found = [appointment for appointment in found if _overlaps(appointment, *window)]
        listed = [appointment_json(appointment) for appointment in found]
        if self.omit_customers:
            listed = [{**entry, "customers": []} for entry in listed]
        return listed

    def _say_paged(self, found: list[dict[str, Json]]) -> web.Response:
        """Answer one page of a list.

        The link to the next page carries the whole query and a token, as OData's does.
        """
        query = self.call.query
        skip = int(query.get("$skiptoken", "0"))
        size = self.page_size or len(found) or 1
        page: dict[str, Json] = {"value": found[skip : skip + size]}
        if skip + size < len(found):
            request = self.exchange.request
            following = urlencode({**query, "$skiptoken": str(skip + size)})
            page["@odata.nextLink"] = (
                f"{request.url.origin()}{request.rel_url.raw_path}?{following}"
            )
        return self.exchange.say(page)


def _overlaps(appointment: seed.Appointment, start: datetime, end: datetime) -> bool:
    begins, ends = read_moment(appointment.start), read_moment(appointment.end)
    return begins is not None and ends is not None and begins < end and ends > start


def _is_too_late(business: seed.Business, appointment: seed.Appointment) -> bool:
    begins = read_moment(appointment.start)
    lead_s = business.minimum_lead_s
    return lead_s > 0 and begins is not None and begins.timestamp() < time.time() + lead_s


def _item_not_found() -> GraphRefusal:
    return GraphRefusal(
        404, "ErrorItemNotFound", "The specified object was not found in the store."
    )
