"""The main job over HTTP.

The official runtime, validated callers, the on-behalf-of exchange, Graph, the contract.
"""

import json

from infra.local import seed
from tests.client import Facade


def test_the_documented_example_is_cancelled_and_both_sides_get_mail(fresh_facade: Facade) -> None:
    answer = fresh_facade.cancel()

    assert answer.status_code == 200
    assert answer.json() | {"requestId": "", "message": ""} == {
        "outcome": "cancelled",
        "cancelled": True,
        "confirmed": True,
        "replayed": False,
        "businessId": seed.LUNCH_DELIVERY,
        "appointmentId": seed.EXAMPLE_APPOINTMENT,
        "requestId": "",
        "message": "",
    }
    mails = fresh_facade.stack.graph.bookings.outbox
    assert {mail.kind for mail in mails} == {"customer", "staff"}
    assert {mail.message for mail in mails} == {seed.EXAMPLE_MESSAGE}
    assert not fresh_facade.stack.graph.bookings.exists(
        seed.LUNCH_DELIVERY, seed.EXAMPLE_APPOINTMENT
    )


def test_graph_receives_the_request_as_its_documentation_shows_it(facade: Facade) -> None:
    appointment_id = facade.book()
    facade.cancel(appointment_id)

    (received,) = facade.stack.graph.received
    assert received.method == "POST"
    assert received.path == (
        f"/v1.0/solutions/bookingBusinesses/{seed.LUNCH_DELIVERY}/appointments/"
        f"{appointment_id}/cancel"
    )
    assert received.headers["content-type"] == "application/json"
    assert received.headers["authorization"].startswith("Bearer ")
    assert json.loads(received.body) == {"cancellationMessage": seed.EXAMPLE_MESSAGE}
