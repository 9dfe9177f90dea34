"""The forged-token table over HTTP.

Whatever stands in the Authorization header, nobody outside is asked, and the answer is one of the
contract.
"""

import http.client
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
import requests
from pydantic import ConfigDict

from infra.local import seed
from infra.local.host.process import HostProcess
from infra.local.stack import LocalStack
from shared.serving.problems import Problem
from tests.client import Facade
from tests.conftest import REPOSITORY
from tests.tokens import ALLOWED_CLIENTS, FORGERIES, Forger, Forgery, Refusal

SENDABLE = [forgery for forgery in FORGERIES if forgery.cannot_travel is None]
# RFC 6750 section 3: what error and its kin may hold.
_PARAMETER = re.compile(r'([A-Za-z_]+)="([\x20\x21\x23-\x5b\x5d-\x7e]*)"')


class StrictProblem(Problem):
    """The published problem and nothing beside it."""

    model_config = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class Answer:
    """An answer as it came, every header by itself."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for header, value in self.headers if header.lower() == name.lower()]


@dataclass(frozen=True)
class Service:
    """A service that lists its clients, and the forger who tries it."""

    host: HostProcess
    facade: Facade
    forger: Forger

    @property
    def stack(self) -> LocalStack:
        return self.facade.stack

    def cancel(self, authorization: Sequence[str]) -> Answer:
        """Ask to cancel an appointment that stands, with exactly these Authorization headers."""
        body = json.dumps(
            {"businessId": seed.LUNCH_DELIVERY, "appointmentId": self.facade.book()}
        ).encode()
        connection = http.client.HTTPConnection(urlsplit(self.host.url).netloc, timeout=30)
        try:
            connection.putrequest("POST", "/api/v1/cancel-appointment")
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(body)))
            for value in authorization:
                connection.putheader("Authorization", value.encode())
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def running_service(running_stack: LocalStack) -> Iterator[Service]:
    """A host of its own.

    Made-up key ids use up the refetches of key sets, and the other tenant's key must be there from
    the start.
    """
    forger = Forger.beside(running_stack.entra)
    environment = running_stack.environment | {"ALLOWED_CLIENT_IDS": ALLOWED_CLIENTS}
    with HostProcess(REPOSITORY, environment) as host, requests.Session() as session:
        yield Service(host, Facade(host.url, session, running_stack), forger)
    running_stack.entra.unpublish(forger.foreign_key.kid)


@pytest.fixture
def service(running_service: Service, stack: LocalStack) -> Service:
    return running_service


def parse_challenge(value: str) -> dict[str, str]:
    """Read one Bearer challenge strictly: quoted parameters, each once, nothing else."""
    scheme, _, rest = value.partition(" ")
    assert scheme == "Bearer"
    found = []
    while True:
        parameter = _PARAMETER.match(rest)
        assert parameter is not None, f"not a parameter: {rest!r}"
        found.append((parameter[1], parameter[2]))
        rest = rest[parameter.end() :]
        if not rest:
            break
        assert rest.startswith(", ")
        rest = rest.removeprefix(", ")
    assert len(dict(found)) == len(found)
    return dict(found)


def check_challenge(answer: Answer, refusal: Refusal, reason: str, stack: LocalStack) -> None:
    if not refusal.challenge:
        assert answer.all("WWW-Authenticate") == []
        return
    (value,) = answer.all("WWW-Authenticate")
    expected = {
        "realm": "",
        "authorization_uri": f"{stack.entra_url}/{seed.TENANT_ID}/oauth2/v2.0/authorize",
    }
    if refusal.error is not None:
        expected |= {"error": refusal.error, "error_description": reason}
    if refusal.error == "insufficient_scope":
        expected |= {"scope": seed.REQUIRED_SCOPE}
    assert parse_challenge(value) == expected


def check_body(answer: Answer, refusal: Refusal) -> Problem:
    assert answer.all("Content-Type") == ["application/json"]
    assert None not in json.loads(answer.body).values(), "absent, not null"
    problem = StrictProblem.model_validate_json(answer.body)
    assert (problem.status, problem.code, problem.retryable) == (
        refusal.status,
        refusal.code,
        False,
    )
    assert (problem.claims, problem.upstream, problem.errors, problem.retry_after_seconds) == (
        None,
        None,
        None,
        None,
    )
    return problem


def check_silence(answer: Answer, printed: str, values: Sequence[str]) -> None:
    told = f"{answer.headers} {answer.body.decode()} {printed}"
    parts = {part for value in values for part in re.split(r"[\s,.]", value) if len(part) >= 16}
    assert [part for part in parts if part in told] == []


@pytest.mark.parametrize("forgery", SENDABLE, ids=lambda forgery: forgery.id)
def test_a_forged_token_is_refused_as_the_contract_says_and_goes_no_further(
    service: Service, forgery: Forgery
) -> None:
    values = forgery.make(service.forger)

    answer = service.cancel(values)

    assert answer.status == forgery.refusal.status
    assert answer.all("Cache-Control") == ["no-store"]
    problem = check_body(answer, forgery.refusal)
    assert forgery.because in problem.detail
    check_challenge(answer, forgery.refusal, problem.detail, service.stack)
    check_silence(answer, service.host.output(), values)
    assert service.stack.entra.exchanges() == 0
    assert service.stack.graph.received == []


def test_a_young_token_with_an_unknown_key_is_asked_to_come_again_while_no_look_is_allowed(
    service: Service,
) -> None:
    """A stranger's made-up key id uses up the look.

    The user of a new key must not be told that their token is bad.
    """
    for number in range(2):
        old = service.forger.entra.user_token(
            header={"kid": f"made up {number}"}, claims={"iat": int(time.time()) - 600}
        )
        assert service.cancel([f"Bearer {old}"]).status == 401
    young = service.forger.entra.user_token(
        header={"kid": "new"}, claims={"iat": int(time.time()) + 1}
    )
    answer = service.cancel([f"Bearer {young}"])
    problem = StrictProblem.model_validate_json(answer.body)
    assert (answer.status, problem.code, problem.retryable) == (503, "upstream_unavailable", True)
    (retry_after,) = answer.all("Retry-After")
    assert 200 < int(retry_after) <= 300
    assert int(retry_after) == problem.retry_after_seconds
    assert answer.all("WWW-Authenticate") == []
    assert service.stack.entra.exchanges() == 0


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_what_the_forger_starts_from_is_accepted(service: Service, version: str) -> None:
    answer = service.cancel([f"Bearer {service.forger.entra.user_token(version=version)}"])

    assert (answer.status, json.loads(answer.body)["outcome"]) == (200, "cancelled")
    assert service.stack.entra.exchanges() == 1


def test_a_token_signed_byte_by_byte_is_accepted(service: Service) -> None:
    assert service.cancel([f"Bearer {service.forger.sign()}"]).status == 200
