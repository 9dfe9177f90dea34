"""Microsoft's own SDK against the simulators: azure-identity with msgraph-sdk.

The packages are 400 MB and take more than a minute to install, so ``make sdk`` runs this.
"""

import os
from pathlib import Path

import pytest

from infra.local import seed
from tests.benchmarks.bench_cold_start import environment_of_its_own
from tests.client import Facade
from tests.infra.test_real_sign_ins import by_code

pytestmark = [
    pytest.mark.skipif("GRAPH_SDK" not in os.environ, reason="not checked: make sdk does it"),
    pytest.mark.timeout(900),
]


def test_the_sdk_signs_in_lists_reads_and_cancels(facade: Facade) -> None:
    interpreter, stack = environment_of_its_own(), facade.stack
    assert interpreter is not None
    appointment = facade.book()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONUNBUFFERED": "1",
        "CLIENT_ID": seed.PARTNER_CLIENT_ID,
        "TENANT_ID": seed.TENANT_ID,
        "AUTHORITY_HOST": stack.entra_url,
        "GRAPH": stack.graph_url,
        "REQUESTS_CA_BUNDLE": str(stack.bundle),
    }
    program = str(Path(__file__).with_name("sdk_client.py"))
    ended = by_code(
        [str(interpreter), program, seed.LUNCH_DELIVERY, appointment], environment, ["Adele"]
    )
    assert (ended.code, ended.asked) == (0, 1), ended.printed
    told = dict(line.partition(" ")[::2] for line in ended.printed.splitlines())
    assert told["businesses"] == seed.LUNCH_DELIVERY
    assert appointment in told["appointments"].split()
    assert (told["read"], told["afterwards"]) == (appointment, "404")
    assert {mail.message for mail in stack.graph.bookings.outbox} == {"Bye, says the SDK."}
