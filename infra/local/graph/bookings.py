"""The booking calendars of the local stack, as ground truth.

Owns businesses, their staff, appointments, and the mail that cancelling sends. Does *not* know
HTTP, tokens or faults. Safe to use from any thread; every method is one atomic step.
"""

import threading
import time
from dataclasses import dataclass
from typing import Literal

from infra.local import seed


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that a cancel sent.

    ``at`` is in seconds since 1970; ``message`` is "" where the caller gave none.
    """

    to: str
    business_id: str
    appointment_id: str
    message: str
    at: float
    kind: Literal["customer", "staff"]


@dataclass(frozen=True, slots=True)
class Cancellation:
    """A cancel that took effect.

    ``by`` is the object id of the user, or the client id of an app without a user.
    """

    business_id: str
    appointment_id: str
    message: str
    by: str


_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_URL_SAFE = str.maketrans("/+", "-_")


class Bookings:
    """Calendars and outbox.

    Starts with the seed's businesses and appointments and an empty outbox. A business is found in
    any case of its address, an appointment in both spellings of its id: with ``/`` and ``+``, and
    with ``-`` and ``_`` in their place.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._businesses: dict[str, seed.Business] = {}
        self._appointments: dict[str, dict[str, seed.Appointment]] = {}
        self._outbox: list[Mail] = []
        self._cancellations: list[Cancellation] = []
        self._era = 0
        self.reset()

    @property
    def outbox(self) -> list[Mail]:
        """Every mail sent so far, oldest first.

        Each cancellation sends one to each customer and one to the staff.
        """
        with self._lock:
            return list(self._outbox)

    @property
    def cancellations(self) -> list[Cancellation]:
        """Every cancel that took effect, oldest first."""
        with self._lock:
            return list(self._cancellations)

    @property
    def era(self) -> int:
        """Return a number that every reset changes.

        ``cancel`` takes it, so that a call from before a reset changes nothing after it.
        """
        with self._lock:
            return self._era

    def reset(self) -> None:
        """Return to the seed.

        Other businesses and appointments are forgotten, and the outbox is emptied.
        """
        with self._lock:
            self._era += 1
            self._businesses = {_mailbox(one.business_id): one for one in seed.BUSINESSES}
            self._appointments = {mailbox: {} for mailbox in self._businesses}
            for appointment in seed.APPOINTMENTS:
                calendar = self._appointments[_mailbox(appointment.business_id)]
                calendar[_item(appointment.appointment_id)] = appointment
            self._outbox.clear()
            self._cancellations.clear()

    def add_business(self, business: seed.Business) -> None:
        """Add a business, or change the name and staff of one that is there.

        Its appointments stay.
        """
        with self._lock:
            self._businesses[_mailbox(business.business_id)] = business
            self._appointments.setdefault(_mailbox(business.business_id), {})

    def add(self, appointment: seed.Appointment) -> None:
        """Book an appointment, in place of one with the same ids.

        Errors: ValueError when there is no such business.
        """
        with self._lock:
            standing = self._appointments.get(_mailbox(appointment.business_id))
            if standing is None:
                raise ValueError(
                    f"There is no business {appointment.business_id!r} to book an appointment with."
                )
            standing[_item(appointment.appointment_id)] = appointment

    def exists(self, business_id: str, appointment_id: str) -> bool:
        """Say whether the appointment exists."""
        return self.appointment(business_id, appointment_id) is not None

    def business(self, business_id: str) -> seed.Business | None:
        """Return the business, or None where there is none with this id."""
        with self._lock:
            return self._businesses.get(_mailbox(business_id))

    def businesses(self) -> list[seed.Business]:
        """Return every business, in the order they were added."""
        with self._lock:
            return list(self._businesses.values())

    def appointment(self, business_id: str, appointment_id: str) -> seed.Appointment | None:
        """Return the appointment, or None where it does not exist."""
        with self._lock:
            return self._appointments.get(_mailbox(business_id), {}).get(_item(appointment_id))

    def appointments(self, business_id: str) -> list[seed.Appointment]:
        """Return the appointments of one calendar, in the order they were booked."""
        with self._lock:
            return list(self._appointments.get(_mailbox(business_id), {}).values())

    def cancel(
        self,
        business_id: str,
        appointment_id: str,
        *,
        message: str,
        by: str,
        era: int | None = None,
    ) -> Cancellation | None:
        """Take the appointment away and mail customer and staff, in one step.

        None, and no mail, where it does not exist or ``era`` is over.
        """
        with self._lock:
            if era not in (None, self._era):
                return None
            calendar = self._appointments.get(_mailbox(business_id), {})
            appointment = calendar.pop(_item(appointment_id), None)
            if appointment is None:
                return None
            business_id, appointment_id = appointment.business_id, appointment.appointment_id
            now = time.time()
            staff = _staff_addresses(self._businesses[_mailbox(business_id)])
            others = (address for _, address in appointment.others)
            self._outbox += [
                Mail(address, business_id, appointment_id, message, now, "customer")
                for address in (appointment.customer_email, *others)
            ]
            self._outbox.append(Mail(staff, business_id, appointment_id, message, now, "staff"))
            cancellation = Cancellation(business_id, appointment_id, message, by)
            self._cancellations.append(cancellation)
            return cancellation


def _mailbox(business_id: str) -> str:
    return business_id.translate(_ASCII_LOWER)


def _item(appointment_id: str) -> str:
    return appointment_id.translate(_URL_SAFE)


_USERNAMES = {user.object_id: user.username for user in seed.USERS}


def _staff_addresses(business: seed.Business) -> str:
    """Return the addresses that a mail to all staff goes to, separated by "; ".

    Where nobody is on the staff, it goes to the booking mailbox itself.
    """
    return (
        "; ".join(sorted(_USERNAMES.get(member, member) for member in business.staff))
        or business.business_id
    )
