"""The three ways in which this service proves itself to Entra, against a simulator that verifies
them; wrong ones, and changes under way.
"""

import base64
import datetime
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from infra.local import seed
from infra.local.entra.credentials import FederatedCredential
from infra.local.faults import Fault
from infra.local.server import LocalServer
from infra.local.stack import LocalStack
from shared.entra import credentials
from shared.entra.credentials import Credential, IdentityEndpoint, load_credential
from shared.entra.graph_token import GraphToken
from shared.entra.http import EntraAnswer, EntraHttp
from shared.entra.refusals import CredentialRefused
from shared.errors import Misconfigured, TokenRejected, UpstreamUnavailable
from shared.settings import Settings
from shared.transport.connections import Trust
from tests.property.exchanging import (
    OTHER_TENANT,
    PATIENCE_S,
    THREADS,
    Worker,
    assert_keeps_quiet,
    endings,
    gate_for_all_but_one,
    make_caller,
    owner_of,
    start_worker,
)

IDENTITY_CLIENT_ID = "c4b4d2c5-2f2f-4df4-9a4b-8a9f4f1f9d10"
PRINCIPAL_ID = "5f0e6c5e-9a0f-4e58-9d1c-6fb0f9f2a7aa"
PASSWORD = "local pass word, wörth nothing"


class Certificate:
    """A self-signed certificate with its key."""

    def __init__(
        self, *, days: int = 30, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None
    ) -> None:
        self.key = key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "facade")])
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(
            name,
            name,
            self.key.public_key(),
            x509.random_serial_number(),
            now - datetime.timedelta(days=60),
            now + datetime.timedelta(days),
        )
        self.certificate = builder.sign(self.key, hashes.SHA256())
        self.pem = self.certificate.public_bytes(Encoding.PEM)

    def key_pem(self, password: str | None = None) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, _encryption(password))

    def pfx(
        self, password: str | None = None, *, others: tuple[x509.Certificate, ...] = ()
    ) -> bytes:
        return pkcs12.serialize_key_and_certificates(
            b"facade", self.key, self.certificate, others, _encryption(password)
        )


def _encryption(password: str | None) -> KeySerializationEncryption:
    return BestAvailableEncryption(password.encode()) if password else NoEncryption()


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return Certificate()


@pytest.fixture(scope="module")
def successor() -> Certificate:
    return Certificate()


@pytest.fixture(scope="module")
def identity_url(running_stack: LocalStack) -> Iterator[str]:
    """The platform's identity endpoint: plain http on the machine itself."""
    with LocalServer(running_stack.entra.app) as server:
        yield f"{server.url}/msi/token"


@dataclass
class Proof:
    """A credential that Entra takes, as settings.

    ``spoil`` makes Entra refuse it; ``restore`` makes it good again.
    """

    settings: dict[str, str]
    spoil: Callable[[], None]
    restore: Callable[[], None]


@pytest.fixture
def without_credential(stack: LocalStack) -> dict[str, str]:
    return {name: value for name, value in stack.environment.items() if name != "CLIENT_SECRET"}


FILES: dict[str, Callable[[Certificate], tuple[bytes, str | None]]] = {
    "pfx": lambda certificate: (certificate.pfx(), None),
    "pfx with password": lambda certificate: (certificate.pfx(PASSWORD), PASSWORD),
    "pem": lambda certificate: (certificate.key_pem() + certificate.pem, None),
    "pem with password": lambda certificate: (
        certificate.pem + certificate.key_pem(PASSWORD),
        PASSWORD,
    ),
}


@pytest.fixture(params=["secret", *FILES, "managed identity"])
def proof(
    request: pytest.FixtureRequest,
    stack: LocalStack,
    certificate: Certificate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Proof:
    """Each kind of credential."""
    if request.param == "secret":
        return Proof(
            {"CLIENT_SECRET": seed.API_CLIENT_SECRET},
            lambda: stack.entra.set_client_secret("another"),
            lambda: stack.entra.set_client_secret(seed.API_CLIENT_SECRET),
        )
    if request.param == "managed identity":
        use_identity_endpoint(monkeypatch, request.getfixturevalue("identity_url"), stack)
        stack.entra.trust_managed_identity(IDENTITY_CLIENT_ID, PRINCIPAL_ID)
        return Proof(
            {"MANAGED_IDENTITY_CLIENT_ID": IDENTITY_CLIENT_ID},
            stack.entra.clear_federated_credentials,
            lambda: stack.entra.add_federated_credential(FederatedCredential(PRINCIPAL_ID)),
        )
    content, password = FILES[request.param](certificate)
    path = tmp_path / "credential"
    path.write_bytes(content)
    stack.entra.register_certificate(certificate.pem)
    settings = {"CLIENT_CERTIFICATE_PATH": str(path)} | (
        {"CLIENT_CERTIFICATE_PASSWORD": password} if password else {}
    )
    return Proof(
        settings,
        stack.entra.remove_certificates,
        lambda: stack.entra.register_certificate(certificate.pem),
    )


def use_identity_endpoint(monkeypatch: pytest.MonkeyPatch, url: str, stack: LocalStack) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", url)
    monkeypatch.setenv("IDENTITY_HEADER", stack.entra.identity_header)


@pytest.fixture
def worker(
    stack: LocalStack, trust: Trust, without_credential: dict[str, str], proof: Proof
) -> Worker:
    return start_worker(without_credential | proof.settings, trust)


def alarms(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno >= logging.ERROR]


def changes(log: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in log.records
        if record.name == "facade.credentials" and record.levelno == logging.WARNING
    ]


# Each kind


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_every_kind_of_credential_exchanges(
    stack: LocalStack, worker: Worker, proof: Proof, log: pytest.LogCaptureFixture, version: str
) -> None:
    for user in (seed.ADELE, seed.MEGAN):
        token = worker.exchange(make_caller(stack.entra, user, version=version))
        graph = stack.entra.verify_graph_token(token.value)
        assert (graph.object_id, graph.client_id) == (user.object_id, seed.API_CLIENT_ID)
    assert stack.entra.exchanges() == 2
    assert alarms(log) == changes(log) == []
    assert_keeps_quiet(log, also=(PASSWORD, "PRIVATE KEY", stack.entra.identity_header))
    assert PASSWORD not in repr(worker)


def test_every_kind_of_credential_exchanges_guests_in_their_tenant(
    stack: LocalStack, worker: Worker, monkeypatch: pytest.MonkeyPatch, proof: Proof
) -> None:
    monkeypatch.setattr(stack.entra, "tenant_ids", (seed.TENANT_ID, OTHER_TENANT))
    if (
        "MANAGED_IDENTITY_CLIENT_ID" in proof.settings
    ):  # its token is issued by the home tenant, whatever tenant it is shown to
        stack.entra.add_federated_credential(
            FederatedCredential(PRINCIPAL_ID, issuer=f"{stack.entra_url}/{seed.TENANT_ID}/v2.0")
        )
    assert (
        worker.exchange(make_caller(stack.entra, tenant_id=OTHER_TENANT)).tenant_id == OTHER_TENANT
    )
    assert stack.entra.received[-1].path == f"/{OTHER_TENANT}/oauth2/v2.0/token"


def test_every_kind_of_credential_serves_many_threads_from_the_first_request(
    stack: LocalStack, worker: Worker, log: pytest.LogCaptureFixture
) -> None:
    callers = [make_caller(stack.entra, seed.USERS[number % 3]) for number in range(THREADS)]
    assert endings(lambda number: owner_of(worker.exchange(callers[number]))) == [
        caller.object_id for caller in callers
    ]
    asked = [request.path for request in stack.entra.received]
    assert asked.count(f"/{seed.TENANT_ID}/oauth2/v2.0/token") == THREADS
    assert asked.count("/msi/token") <= 1
    assert alarms(log) == changes(log) == []


# On the wire


@pytest.mark.parametrize("proof", FILES, indirect=True)
def test_a_certificate_signs_an_assertion_of_today_and_stays_at_home(
    stack: LocalStack, worker: Worker, certificate: Certificate, proof: Proof
) -> None:
    for user in (seed.ADELE, seed.MEGAN):
        worker.exchange(make_caller(stack.entra, user))

    forms = [request.form for request in stack.entra.received]
    assert all("client_secret" not in form for form in forms)
    assert (
        forms[0]["client_assertion_type"]
        == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    )
    assertion = forms[0]["client_assertion"]
    header = jwt.get_unverified_header(assertion)
    thumbprint = (
        base64.urlsafe_b64encode(certificate.certificate.fingerprint(hashes.SHA256()))
        .decode()
        .rstrip("=")
    )
    assert header["alg"] == "PS256"
    assert header["x5t#S256"].rstrip("=") == thumbprint
    assert "x5t" not in header
    token_endpoint = f"{stack.entra_url}/{seed.TENANT_ID}/oauth2/v2.0/token"
    public_key = certificate.key.public_key()
    claims = jwt.decode(assertion, public_key, algorithms=["PS256"], audience=token_endpoint)
    assert claims["iss"] == claims["sub"] == seed.API_CLIENT_ID
    assert 0 < claims["exp"] - claims["iat"] <= 600
    assert claims["jti"]
    assert (
        forms[1]["client_assertion"] == assertion
    )  # one signature serves for minutes, for everybody


@pytest.mark.parametrize("proof", ["pem"], indirect=True)
def test_an_assertion_is_made_for_one_tenant(
    stack: LocalStack, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack.entra, "tenant_ids", (seed.TENANT_ID, OTHER_TENANT))
    for tenant in (seed.TENANT_ID, OTHER_TENANT):
        worker.exchange(make_caller(stack.entra, tenant_id=tenant))
    at_home, elsewhere = (
        jwt.decode(request.form["client_assertion"], options={"verify_signature": False})
        for request in stack.entra.received
    )
    assert at_home["aud"] != elsewhere["aud"]
    assert at_home["jti"] != elsewhere["jti"]


@pytest.mark.parametrize("proof", ["managed identity"], indirect=True)
def test_a_managed_identity_shows_the_platforms_token_and_no_secret(
    stack: LocalStack, worker: Worker
) -> None:
    for user in seed.USERS:
        worker.exchange(make_caller(stack.entra, user))

    asked, *exchanges = stack.entra.received
    assert asked.path == "/msi/token"
    assert asked.headers["X-IDENTITY-HEADER"] == stack.entra.identity_header
    assert [request.path for request in exchanges] == [f"/{seed.TENANT_ID}/oauth2/v2.0/token"] * 3
    for request in exchanges:
        assert "client_secret" not in request.form
        shown = jwt.decode(request.form["client_assertion"], options={"verify_signature": False})
        assert (shown["aud"], shown["sub"]) == ("api://AzureADTokenExchange", PRINCIPAL_ID)
        assert shown["iss"] == f"{stack.entra_url}/{seed.TENANT_ID}/v2.0"


@pytest.mark.parametrize(
    ("cloud", "audience"),
    [
        ("global", "api://AzureADTokenExchange"),
        ("usgov", "api://AzureADTokenExchangeUSGov"),
        ("dod", "api://AzureADTokenExchangeUSGov"),
    ],
)
def test_the_managed_identity_asks_for_the_audience_of_its_cloud(
    stack: LocalStack,
    trust: Trust,
    identity_url: str,
    without_credential: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    cloud: str,
    audience: str,
) -> None:
    use_identity_endpoint(monkeypatch, identity_url, stack)
    stack.entra.add_managed_identity(IDENTITY_CLIENT_ID, PRINCIPAL_ID)
    environment = without_credential | {
        "CLOUD": cloud,
        "MANAGED_IDENTITY_CLIENT_ID": IDENTITY_CLIENT_ID,
    }
    others = {
        "api://AzureADTokenExchange",
        "api://AzureADTokenExchangeUSGov",
        "api://AzureADTokenExchangeChina",
    } - {audience}

    for other in others:
        stack.entra.add_federated_credential(FederatedCredential(PRINCIPAL_ID, audience=other))
    error = start_worker(environment, trust).refusal(make_caller(stack.entra))
    assert type(error) is CredentialRefused
    assert error.upstream is not None
    assert error.upstream.code == "AADSTS700212"

    stack.entra.add_federated_credential(FederatedCredential(PRINCIPAL_ID, audience=audience))
    assert (
        start_worker(environment, trust).exchange(make_caller(stack.entra)).object_id
        == seed.ADELE.object_id
    )


# Refused


def test_a_refused_credential_is_our_fault_and_raises_one_alarm_that_tells_no_secret(
    stack: LocalStack, worker: Worker, proof: Proof, log: pytest.LogCaptureFixture
) -> None:
    proof.spoil()
    errors = [worker.refusal(make_caller(stack.entra, user)) for user in seed.USERS]

    assert {type(error) for error in errors} == {CredentialRefused}
    first, *others = (error.upstream for error in errors)
    assert first is not None
    assert first.request_id is not None
    assert (
        others == [replace(first, request_id=None)] * 2
    )  # the id belongs to the first one's request
    assert stack.entra.exchanges() == 1
    (alarm,) = alarms(log)
    assert alarm.startswith("event=credential_refused code=AADSTS70")
    assert_keeps_quiet(log, *errors, also=(PASSWORD, "PRIVATE KEY"))


def test_entra_is_left_alone_for_30_seconds_and_then_asked_by_one(
    stack: LocalStack, worker: Worker, proof: Proof, log: pytest.LogCaptureFixture
) -> None:
    proof.spoil()
    worker.refusal(make_caller(stack.entra))
    for seconds in (0.0, 29.99):
        worker.clock.turn(seconds)
        worker.refusal(make_caller(stack.entra))
    assert stack.entra.exchanges() == 1

    worker.clock.turn(0.01)
    callers = [make_caller(stack.entra) for _ in range(THREADS)]
    results = endings(lambda number: worker.exchange(callers[number]))
    assert {type(result) for result in results} == {CredentialRefused}
    assert stack.entra.exchanges() == 2
    assert len(alarms(log)) == 1


def test_a_credential_that_is_taken_again_serves_everybody_again(
    stack: LocalStack, worker: Worker, proof: Proof, log: pytest.LogCaptureFixture
) -> None:
    proof.spoil()
    worker.refusal(make_caller(stack.entra))
    proof.restore()
    worker.refusal(make_caller(stack.entra))
    worker.clock.turn(30.0)
    for user in seed.USERS:
        assert owner_of(worker.exchange(make_caller(stack.entra, user))) == user.object_id
    assert changes(log) == ["event=credential_accepted_again"]

    proof.spoil()
    worker.refusal(make_caller(stack.entra))
    assert len(alarms(log)) == 2


def test_who_is_warm_notices_nothing(stack: LocalStack, worker: Worker, proof: Proof) -> None:
    warm = make_caller(stack.entra)
    worker.exchange(warm)
    proof.spoil()
    worker.refusal(make_caller(stack.entra))
    assert worker.exchange(warm).object_id == seed.ADELE.object_id


@pytest.fixture
def secret_worker(stack: LocalStack, trust: Trust) -> Worker:
    return start_worker(stack.environment, trust)


def test_a_refusal_of_the_user_shows_that_the_credential_works(
    stack: LocalStack, secret_worker: Worker
) -> None:
    stack.entra.set_client_secret("another")
    secret_worker.refusal(make_caller(stack.entra))
    stack.entra.set_client_secret(seed.API_CLIENT_SECRET)
    stack.entra.disable_user(seed.MEGAN)
    secret_worker.clock.turn(30.0)
    assert type(secret_worker.refusal(make_caller(stack.entra, seed.MEGAN))) is TokenRejected
    assert owner_of(secret_worker.exchange(make_caller(stack.entra))) == seed.ADELE.object_id


def test_an_outage_says_nothing_of_the_credential(stack: LocalStack, secret_worker: Worker) -> None:
    stack.entra.set_client_secret("another")
    secret_worker.refusal(make_caller(stack.entra))
    stack.entra.faults.add(Fault(step="token", status=503, times=2))
    secret_worker.clock.turn(30.0)
    assert type(secret_worker.refusal(make_caller(stack.entra))) is UpstreamUnavailable
    asked = stack.entra.exchanges()
    assert type(secret_worker.refusal(make_caller(stack.entra))) is CredentialRefused
    assert stack.entra.exchanges() == asked


def test_an_expired_secret_is_refused_as_such(stack: LocalStack, secret_worker: Worker) -> None:
    stack.entra.expire_secret()
    error = secret_worker.refusal(make_caller(stack.entra))
    assert type(error) is CredentialRefused
    assert error.upstream is not None
    assert error.upstream.code == "AADSTS7000222"


def test_an_expired_certificate_is_refused_as_such(
    stack: LocalStack, trust: Trust, without_credential: dict[str, str], tmp_path: Path
) -> None:
    expired = Certificate(days=-1)
    stack.entra.register_certificate(expired.pem)
    path = tmp_path / "expired.pfx"
    path.write_bytes(expired.pfx())
    error = start_worker(
        without_credential | {"CLIENT_CERTIFICATE_PATH": str(path)}, trust
    ).refusal(make_caller(stack.entra))
    assert type(error) is CredentialRefused
    assert error.upstream is not None
    assert error.upstream.code == "AADSTS700027"


# The platform's identity endpoint in trouble


@pytest.fixture
def identity_worker(
    stack: LocalStack,
    trust: Trust,
    identity_url: str,
    without_credential: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Worker:
    use_identity_endpoint(monkeypatch, identity_url, stack)
    stack.entra.trust_managed_identity(IDENTITY_CLIENT_ID, PRINCIPAL_ID)
    return start_worker(
        without_credential | {"MANAGED_IDENTITY_CLIENT_ID": IDENTITY_CLIENT_ID}, trust
    )


def asked_of_the_platform(stack: LocalStack) -> int:
    return sum(request.path == "/msi/token" for request in stack.entra.received)


PLATFORM_TROUBLES = {
    "dropped": Fault(step="managed_identity", drop=True, times=None),
    "500": Fault(
        step="managed_identity",
        status=500,
        body={"statusCode": 500, "message": "Contoso must not be told"},
        times=None,
    ),
    "400": Fault(
        step="managed_identity",
        status=400,
        body={"statusCode": 400, "message": "Contoso must not be told"},
        times=None,
    ),
    "429": Fault(step="managed_identity", status=429, headers={"Retry-After": "1"}, times=None),
    "HTML": Fault(
        step="managed_identity",
        status=200,
        body="<html>Contoso must not be told</html>",
        times=None,
    ),
    "list": Fault(
        step="managed_identity", status=200, body=["Contoso must not be told"], times=None
    ),
    "redirect": Fault(
        step="managed_identity",
        status=302,
        headers={"Location": "http://169.254.169.254/"},
        times=None,
    ),
    "no expiry": Fault(
        step="managed_identity", status=200, body={"access_token": "eyJhbGciOi.x.y"}, times=None
    ),
    "odd expiry": Fault(
        step="managed_identity",
        status=200,
        body={"access_token": "eyJhbGciOi.x.y", "expires_on": "soon"},
        times=None,
    ),
    "odd token": Fault(
        step="managed_identity",
        status=200,
        body={"access_token": ["x"], "expires_on": "99999999999"},
        times=None,
    ),
}


@pytest.mark.parametrize("trouble", PLATFORM_TROUBLES)
def test_a_platform_without_a_token_is_our_fault_once_and_is_not_hammered(
    stack: LocalStack, identity_worker: Worker, log: pytest.LogCaptureFixture, trouble: str
) -> None:
    stack.entra.faults.add(PLATFORM_TROUBLES[trouble])
    errors = [identity_worker.refusal(make_caller(stack.entra, user)) for user in seed.USERS]

    assert {type(error) for error in errors} == {CredentialRefused}
    assert all("MANAGED_IDENTITY_CLIENT_ID" in error.reason for error in errors)
    assert stack.entra.exchanges() == 0
    assert asked_of_the_platform(stack) == 1
    (alarm,) = alarms(log)
    assert alarm.startswith("event=credential_refused code=None")
    assert_keeps_quiet(log, *errors, also=(stack.entra.identity_header,))


@pytest.mark.parametrize("trouble", [None, PLATFORM_TROUBLES["400"]], ids=["good", "bad"])
def test_many_threads_at_once_ask_the_platform_once(
    stack: LocalStack,
    identity_worker: Worker,
    trust: Trust,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Fault | None,
) -> None:
    if trouble is not None:
        stack.entra.faults.add(trouble)
    callers = [make_caller(stack.entra) for _ in range(THREADS)]
    with gate_for_all_but_one(monkeypatch) as gate:

        class Gated(IdentityEndpoint):
            def get(self, url: str, **request: Any) -> EntraAnswer:
                assert gate.wait(PATIENCE_S)
                return super().get(url, **request)

        monkeypatch.setattr(credentials, "IdentityEndpoint", Gated)
        worker = start_worker(identity_worker.environment, trust)
        results = endings(lambda number: worker.exchange(callers[number]))

    assert {type(result) for result in results} == {CredentialRefused if trouble else GraphToken}
    assert asked_of_the_platform(stack) == 1
    assert stack.entra.exchanges() == (0 if trouble else THREADS)


def test_a_platform_that_recovers_serves_again(stack: LocalStack, identity_worker: Worker) -> None:
    stack.entra.faults.add(Fault(step="managed_identity", status=400, body={"statusCode": 400}))
    identity_worker.refusal(make_caller(stack.entra))
    identity_worker.clock.turn(30.0)
    assert owner_of(identity_worker.exchange(make_caller(stack.entra))) == seed.ADELE.object_id


@pytest.mark.parametrize("endpoint", ["http://localhost:1/msi/token", "not an address"])
def test_a_platform_that_is_not_there_is_our_fault(
    stack: LocalStack, identity_worker: Worker, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", endpoint)
    assert type(identity_worker.refusal(make_caller(stack.entra))) is CredentialRefused


def test_the_identity_header_has_to_be_the_platforms(
    stack: LocalStack, identity_worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "another")
    assert type(identity_worker.refusal(make_caller(stack.entra))) is CredentialRefused


# Changed while it runs


def test_a_changed_secret_is_picked_up_within_the_request(
    stack: LocalStack, secret_worker: Worker, log: pytest.LogCaptureFixture
) -> None:
    secret_worker.exchange(make_caller(stack.entra))
    stack.entra.set_client_secret("the next secret")
    secret_worker.environment["CLIENT_SECRET"] = "the next secret"
    for user in seed.USERS:
        assert owner_of(secret_worker.exchange(make_caller(stack.entra, user))) == user.object_id
    assert stack.entra.exchanges() == 1 + 2 + 2
    assert changes(log) == ["event=credential_changed"]
    assert alarms(log) == []
    assert_keeps_quiet(log, also=("the next secret",))


@pytest.mark.parametrize("kind", FILES)
def test_a_changed_certificate_is_picked_up_within_the_request(
    stack: LocalStack,
    trust: Trust,
    without_credential: dict[str, str],
    certificate: Certificate,
    successor: Certificate,
    tmp_path: Path,
    log: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    path = tmp_path / "credential"
    content, password = FILES[kind](certificate)
    path.write_bytes(content)
    stack.entra.register_certificate(certificate.pem)
    settings = {"CLIENT_CERTIFICATE_PATH": str(path)} | (
        {"CLIENT_CERTIFICATE_PASSWORD": password} if password else {}
    )
    worker = start_worker(without_credential | settings, trust)
    worker.exchange(make_caller(stack.entra))

    path.write_bytes(FILES[kind](successor)[0])
    stack.entra.remove_certificates()
    stack.entra.register_certificate(successor.pem)
    assert owner_of(worker.exchange(make_caller(stack.entra, seed.MEGAN))) == seed.MEGAN.object_id
    assert changes(log) == ["event=credential_changed"]
    assert alarms(log) == []


def test_another_kind_of_credential_may_take_over(
    stack: LocalStack, secret_worker: Worker, certificate: Certificate, tmp_path: Path
) -> None:
    secret_worker.exchange(make_caller(stack.entra))
    path = tmp_path / "credential.pfx"
    path.write_bytes(certificate.pfx())
    stack.entra.register_certificate(certificate.pem)
    stack.entra.remove_client_secret(seed.API_CLIENT_SECRET)
    del secret_worker.environment["CLIENT_SECRET"]
    secret_worker.environment["CLIENT_CERTIFICATE_PATH"] = str(path)
    assert owner_of(secret_worker.exchange(make_caller(stack.entra))) == seed.ADELE.object_id
    assert "client_secret" not in stack.entra.received[-1].form


def test_no_request_is_lost_when_the_secret_changes_under_64_threads(
    stack: LocalStack, secret_worker: Worker, log: pytest.LogCaptureFixture
) -> None:
    rounds = 6
    callers = [
        [make_caller(stack.entra, seed.USERS[number % 3]) for _ in range(rounds)]
        for number in range(THREADS)
    ]
    under_way = threading.Semaphore(0)

    def work(number: int) -> list[str]:
        owners = []
        for caller in callers[number]:
            owners.append(owner_of(secret_worker.exchange(caller)))
            under_way.release()
        return owners

    def rotate() -> None:
        for _ in range(THREADS):
            assert under_way.acquire(timeout=PATIENCE_S)
        secret_worker.environment["CLIENT_SECRET"] = "the next secret"
        stack.entra.set_client_secret("the next secret")

    rotation = threading.Thread(target=rotate)
    rotation.start()
    results = endings(work)
    rotation.join(PATIENCE_S)

    assert results == [[caller.object_id for caller in mine] for mine in callers]
    assert changes(log) == ["event=credential_changed"]
    assert alarms(log) == []
    refused = stack.entra.exchanges() - THREADS * rounds
    assert 1 <= refused <= THREADS  # those that were under way with the old one, each once


def test_a_thread_that_still_asked_with_the_old_credential_harms_nobody(
    stack: LocalStack, trust: Trust, log: pytest.LogCaptureFixture
) -> None:
    late, held, gate = make_caller(stack.entra), threading.Event(), threading.Event()

    class Delayed(EntraHttp):
        def post(self, url: str, **request: Any) -> Any:
            if (
                request["data"]["assertion"] == late.assertion
                and request["data"]["client_secret"] == seed.API_CLIENT_SECRET
            ):
                held.set()
                assert gate.wait(PATIENCE_S)
            return super().post(url, **request)

    worker = start_worker(stack.environment, trust, http=Delayed)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(worker.exchange, late)
        assert held.wait(PATIENCE_S)
        worker.environment["CLIENT_SECRET"] = "the next secret"
        stack.entra.set_client_secret("the next secret")
        worker.exchange(make_caller(stack.entra))
        gate.set()
        assert owner_of(waiting.result(PATIENCE_S)) == seed.ADELE.object_id
    assert owner_of(worker.exchange(make_caller(stack.entra))) == seed.ADELE.object_id
    assert alarms(log) == []
    assert changes(log) == ["event=credential_changed"]


def test_a_successor_that_is_refused_too_rests_and_its_own_successor_is_noticed_within_a_second(
    stack: LocalStack, secret_worker: Worker, log: pytest.LogCaptureFixture
) -> None:
    secret_worker.exchange(make_caller(stack.entra))
    stack.entra.set_client_secret("good")
    secret_worker.environment["CLIENT_SECRET"] = "mistyped"
    assert type(secret_worker.refusal(make_caller(stack.entra))) is CredentialRefused
    assert len(alarms(log)) == 1
    asked = stack.entra.exchanges()
    assert asked == 3
    assert type(secret_worker.refusal(make_caller(stack.entra))) is CredentialRefused
    assert stack.entra.exchanges() == asked

    secret_worker.environment["CLIENT_SECRET"] = "good"
    secret_worker.clock.turn(1.0)
    assert owner_of(secret_worker.exchange(make_caller(stack.entra))) == seed.ADELE.object_id
    assert stack.entra.exchanges() == asked + 1
    assert len(alarms(log)) == 1


def test_while_entra_is_left_alone_the_credential_is_read_once_a_second(
    stack: LocalStack, trust: Trust
) -> None:
    reads = 0

    def load() -> Credential:
        nonlocal reads
        reads += 1
        return Credential("wrong", b"always the same")

    worker = start_worker(stack.environment, trust, load=load)
    for _ in range(5):
        worker.refusal(make_caller(stack.entra))
    assert reads == 3  # at first, when it was refused, and once since
    worker.clock.turn(1.0)
    for _ in range(5):
        worker.refusal(make_caller(stack.entra))
    assert reads == 4


def test_a_half_written_certificate_is_left_for_the_next_time(
    stack: LocalStack,
    trust: Trust,
    without_credential: dict[str, str],
    certificate: Certificate,
    successor: Certificate,
    tmp_path: Path,
) -> None:
    path = tmp_path / "credential.pfx"
    path.write_bytes(certificate.pfx())
    stack.entra.register_certificate(certificate.pem)
    worker = start_worker(without_credential | {"CLIENT_CERTIFICATE_PATH": str(path)}, trust)
    worker.exchange(make_caller(stack.entra))

    stack.entra.remove_certificates()
    stack.entra.register_certificate(successor.pem)
    path.write_bytes(successor.pfx()[:700])
    assert type(worker.refusal(make_caller(stack.entra))) is CredentialRefused
    path.write_bytes(successor.pfx())
    worker.clock.turn(1.0)
    assert owner_of(worker.exchange(make_caller(stack.entra))) == seed.ADELE.object_id


def test_a_late_refusal_of_the_old_one_does_not_ask_with_a_successor_that_rests(
    stack: LocalStack, trust: Trust
) -> None:
    late, held, gate = make_caller(stack.entra), threading.Event(), threading.Event()

    class Delayed(EntraHttp):
        def post(self, url: str, **request: Any) -> Any:
            if request["data"]["assertion"] == late.assertion:
                held.set()
                assert gate.wait(PATIENCE_S)
            return super().post(url, **request)

    worker = start_worker(stack.environment, trust, http=Delayed)
    stack.entra.set_client_secret("good")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(worker.refusal, late)
        assert held.wait(PATIENCE_S)
        worker.environment["CLIENT_SECRET"] = "mistyped"
        worker.refusal(make_caller(stack.entra))
        gate.set()
        assert type(waiting.result(PATIENCE_S)) is CredentialRefused
    assert stack.entra.exchanges() == 3


# Read from settings and files


def read(environment: dict[str, str]) -> Credential:
    return load_credential(Settings.read(environment))


UNREADABLE: dict[str, Callable[[Certificate, Certificate], tuple[bytes, str | None]]] = {
    "empty": lambda _, __: (b"", None),
    "nonsense": lambda _, __: (b"nonsense", None),
    "pfx without its password": lambda one, _: (one.pfx(PASSWORD), None),
    "pfx with another password": lambda one, _: (one.pfx(PASSWORD), "another"),
    "pfx cut short": lambda one, _: (one.pfx()[:-50], None),
    "pem without its password": lambda one, _: (one.key_pem(PASSWORD) + one.pem, None),
    "pem with another password": lambda one, _: (one.key_pem(PASSWORD) + one.pem, "another"),
    "a password for a pem that has none": lambda one, _: (one.key_pem() + one.pem, PASSWORD),
    "no key": lambda one, _: (one.pem, None),
    "no certificate": lambda one, _: (one.key_pem(), None),
    "a certificate of another key": lambda one, other: (one.key_pem() + other.pem, None),
    "pfx without a certificate": lambda one, _: (
        pkcs12.serialize_key_and_certificates(None, one.key, None, None, NoEncryption()),
        None,
    ),
    "an elliptic curve key": lambda _, __: (
        Certificate(key=ec.generate_private_key(ec.SECP256R1())).pfx(),
        None,
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_file_that_is_no_credential_is_refused_by_the_name_of_its_setting(
    without_credential: dict[str, str],
    certificate: Certificate,
    successor: Certificate,
    tmp_path: Path,
    case: str,
) -> None:
    content, password = UNREADABLE[case](certificate, successor)
    path = tmp_path / "credential"
    path.write_bytes(content)
    settings = {"CLIENT_CERTIFICATE_PATH": str(path)} | (
        {"CLIENT_CERTIFICATE_PASSWORD": password} if password else {}
    )
    with pytest.raises(Misconfigured, match="CLIENT_CERTIFICATE_PATH") as caught:
        read(without_credential | settings)
    assert PASSWORD not in str(caught.value)
    assert str(path) not in str(caught.value)


def test_a_file_that_is_mended_needs_no_restart(
    stack: LocalStack,
    trust: Trust,
    without_credential: dict[str, str],
    certificate: Certificate,
    tmp_path: Path,
) -> None:
    path = tmp_path / "credential.pfx"
    path.write_bytes(b"nonsense")
    stack.entra.register_certificate(certificate.pem)
    worker = start_worker(without_credential | {"CLIENT_CERTIFICATE_PATH": str(path)}, trust)
    assert type(worker.refusal(make_caller(stack.entra))) is Misconfigured
    assert stack.entra.exchanges() == 0
    path.write_bytes(certificate.pfx())
    assert owner_of(worker.exchange(make_caller(stack.entra))) == seed.ADELE.object_id


@pytest.mark.parametrize("form", ["pem", "pfx"])
def test_the_certificate_of_the_key_is_found_in_a_chain(
    without_credential: dict[str, str],
    certificate: Certificate,
    successor: Certificate,
    tmp_path: Path,
    form: str,
) -> None:
    path = tmp_path / "chain"
    if form == "pem":
        path.write_bytes(successor.pem + certificate.pem + certificate.key_pem())
    else:
        path.write_bytes(certificate.pfx(others=(successor.certificate,)))
    credential = read(without_credential | {"CLIENT_CERTIFICATE_PATH": str(path)})
    assert credential.for_msal["public_certificate"].encode() == certificate.pem


def test_the_fingerprint_changes_exactly_when_the_credential_does(
    stack: LocalStack,
    without_credential: dict[str, str],
    certificate: Certificate,
    successor: Certificate,
    tmp_path: Path,
) -> None:
    path, other_path = tmp_path / "one.pfx", tmp_path / "other.pfx"
    path.write_bytes(certificate.pfx())
    other_path.write_bytes(successor.pfx())
    environments: list[dict[str, str]] = [
        stack.environment,
        without_credential | {"CLIENT_SECRET": "another"},
        without_credential | {"CLIENT_CERTIFICATE_PATH": str(path)},
        without_credential | {"CLIENT_CERTIFICATE_PATH": str(other_path)},
        without_credential | {"MANAGED_IDENTITY_CLIENT_ID": IDENTITY_CLIENT_ID},
        without_credential | {"MANAGED_IDENTITY_CLIENT_ID": PRINCIPAL_ID},
    ]
    once, again = (
        [read(environment).fingerprint for environment in environments] for _ in range(2)
    )
    assert once == again
    assert len(set(once)) == len(environments)


def test_a_credential_hides_in_its_representation(stack: LocalStack) -> None:
    assert repr(read(stack.environment)) == "Credential()"
