"""What the local stack knows when it starts: one directory, a few people, their booking calendars.

The first business and its first appointment are the example in Microsoft's documentation of
``bookingAppointment: cancel``. Every identifier and secret here is made up and worth nothing
outside the local stack.
"""

from dataclasses import dataclass, field

TENANT_ID = "84bd8158-6d4d-4958-8b9f-9d6445542f95"
API_CLIENT_ID = "6731de76-14a6-49ae-97bc-6eba6914391e"
API_CLIENT_SECRET = "local~stack~secret~worth~nothing"
PARTNER_CLIENT_ID = "1b730954-1685-4b74-9bfd-dac224a7b894"
CONNECTOR_CLIENT_ID = "29d9ed98-a469-4536-ade2-f981bc1d605e"
WEBHOOK_KEY_ID = "partner"
WEBHOOK_SECRET = "whsec_bG9jYWwgc3RhY2sgc2VjcmV0IHdvcnRoIG5vdGhpbmc="
# To act without a user takes two roles: the first to cancel, the second to look.
APP_ROLES = ("Bookings.ReadWrite.All", "BookingsAppointment.ReadWrite.All")
REQUIRED_SCOPE = "Appointments.Cancel"
GRAPH_SCOPE = "BookingsAppointment.ReadWrite.All"


@dataclass(frozen=True, slots=True)
class User:
    """A person of the directory.

    ``object_id`` is the ``oid`` claim; it is unique within the tenant.
    """

    object_id: str
    username: str
    name: str


ADELE = User(
    "87d349ed-44d7-43e1-9a83-5f2406dee5bd", "adele@M365B489948.onmicrosoft.com", "Adele Vance"
)
MEGAN = User(
    "5bde3e51-d13b-4db1-9948-fe4b109d11a7", "megan@M365B489948.onmicrosoft.com", "Megan Bowen"
)
LYNNE = User(
    "626cbf8c-5dde-46b0-8385-9e40d64736fe", "lynne@M365B489948.onmicrosoft.com", "Lynne Robbins"
)
USERS = (ADELE, MEGAN, LYNNE)

LUNCH_DELIVERY = "Contosolunchdelivery@M365B489948.onmicrosoft.com"
REPAIRS = "Contosorepairs@M365B489948.onmicrosoft.com"
EXAMPLE_APPOINTMENT = "AAMkADKoAAA="
TASTING = "AAMkAD/Ko+rAAA="
EXAMPLE_MESSAGE = "Your appointment has been successfully cancelled. Please call us again."


@dataclass(frozen=True, slots=True)
class Business:
    """A booking calendar; ``staff`` are the object ids of those who may see and change it.

    Nobody can cancel what begins sooner than ``minimum_lead_s`` seconds from now.
    """

    business_id: str
    display_name: str
    staff: frozenset[str]
    minimum_lead_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Appointment:
    """A booked appointment. Times are UTC, ISO 8601.

    ``others`` are the further customers of a group, by name and address. ``self_service_id`` is the
    id of a customer's own booking.
    """

    appointment_id: str
    business_id: str
    service_name: str
    customer_name: str
    customer_email: str
    start: str
    end: str
    others: tuple[tuple[str, str], ...] = field(default=(), kw_only=True)
    self_service_id: str = field(default="00000000-0000-0000-0000-000000000000", kw_only=True)


BUSINESSES = (
    Business(
        LUNCH_DELIVERY, "Contoso Lunch Delivery", frozenset({ADELE.object_id, MEGAN.object_id})
    ),
    Business(REPAIRS, "Contoso Repairs", frozenset({MEGAN.object_id})),
)

APPOINTMENTS = (
    Appointment(
        EXAMPLE_APPOINTMENT,
        LUNCH_DELIVERY,
        "Catered bento",
        "Jordan Miller",
        "jordanm@contoso.com",
        "2027-05-01T12:00:00.0000000Z",
        "2027-05-01T12:30:00.0000000Z",
    ),
    Appointment(
        "AAMkADKnAAA=",
        LUNCH_DELIVERY,
        "Catered bento",
        "Alex Wilber",
        "alexw@contoso.com",
        "2027-05-02T12:00:00.0000000Z",
        "2027-05-02T12:30:00.0000000Z",
        self_service_id="6f9619ff-8b86-d011-b42d-00cf4fc964ff",
    ),
    Appointment(
        TASTING,
        LUNCH_DELIVERY,
        "Tasting",
        "Isaiah Langer",
        "isaiahl@contoso.com",
        "2027-05-03T12:00:00.0000000Z",
        "2027-05-03T13:00:00.0000000Z",
        others=(
            ("Grady Archie", "gradya@contoso.com"),
            ("Diego Siciliani", "diegos@contoso.com"),
        ),
    ),
    Appointment(
        "AAMkADrepair1=",
        REPAIRS,
        "Bicycle check",
        "Patti Fernandez",
        "pattif@contoso.com",
        "2027-05-04T09:00:00.0000000Z",
        "2027-05-04T10:00:00.0000000Z",
    ),
)
