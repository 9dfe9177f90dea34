"""The Entra simulator against real clients.

The clients are MSAL and requests over real TLS, and PyJWT for what anybody may verify.
"""

import base64
import datetime
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import msal
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from infra.local import seed
from infra.local.entra.credentials import FederatedCredential
from infra.local.entra.errors import REFUSALS
from infra.local.entra.exchange.clients import ASSERTION_TYPE
from infra.local.entra.exchange.obo import ON_BEHALF_OF
from infra.local.entra.keys import sign_compact
from infra.local.entra.simulator import EntraSimulator, make_signing_key
from infra.local.faults import Fault
from infra.local.graph.tokens import GraphTokenInvalid
from infra.local.server import LocalServer
from infra.local.tls import LocalAuthority

OTHER_TENANT = "0e9f6d1c-2f0b-4a3a-9a55-3a7cf3c6c9b1"
IDENTITY_CLIENT_ID = "c4b4d2c5-2f2f-4df4-9a4b-8a9f4f1f9d10"
IDENTITY_PRINCIPAL_ID = "5f0e6c5e-9a0f-4e58-9d1c-6fb0f9f2a7aa"
SCOPES = [seed.GRAPH_SCOPE]
Form = dict[str, str]


class NoCache(dict[Any, Any]):
    """MSAL's HTTP cache, holding nothing: it would hand one user's answer to another."""

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class NullTokenCache(msal.TokenCache):  # type: ignore[misc]
    """MSAL's token cache, holding nothing."""

    def add(self, *args: Any, **kwargs: Any) -> None:
        pass

    def modify(self, *args: Any, **kwargs: Any) -> None:
        pass


class Certificate:
    """A self-signed certificate for the application, with its key."""

    def __init__(self, *, days: int = 30) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "facade")])
        start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=60)
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        builder = x509.CertificateBuilder(
            name, name, self.key.public_key(), x509.random_serial_number(), start, end
        )
        self.certificate = builder.sign(self.key, hashes.SHA256())
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()
        self.key_pem = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    def thumbprint(self, digest: hashes.HashAlgorithm) -> bytes:
        return self.certificate.fingerprint(digest)

    def assertion(
        self, audience: object, *, algorithm: str = "PS256", key: object = None, **claims: object
    ) -> str:
        now = datetime.datetime.now(datetime.UTC).timestamp()
        members: dict[str, object] = {
            "aud": audience,
            "iss": seed.API_CLIENT_ID,
            "sub": seed.API_CLIENT_ID,
            "jti": str(uuid.uuid4()),
            "nbf": now,
            "exp": now + 600,
        } | claims
        members = {name: value for name, value in members.items() if value is not None}
        thumbprint = (
            base64.urlsafe_b64encode(self.thumbprint(hashes.SHA256())).rstrip(b"=").decode()
        )
        return jwt.encode(
            members,
            key or self.key,  # type: ignore[arg-type]
            algorithm=algorithm,
            headers={"x5t#S256": thumbprint},
        )


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return Certificate()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EntraSimulator, Path]]:
    authority, entra = LocalAuthority(), EntraSimulator(tenant_ids=(seed.TENANT_ID, OTHER_TENANT))
    bundle = authority.write_bundle(tmp_path_factory.mktemp("tls") / "ca.pem")
    with LocalServer(entra.app, tls=authority.server_context()) as server:
        entra.base_url = server.url
        yield entra, bundle


@pytest.fixture
def entra(served: tuple[EntraSimulator, Path]) -> EntraSimulator:
    served[0].reset()
    return served[0]


@pytest.fixture
def http(served: tuple[EntraSimulator, Path]) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False  # REQUESTS_CA_BUNDLE would win over verify
        session.verify = str(served[1])
        yield session


@pytest.fixture
def application(entra: EntraSimulator, http: requests.Session) -> Callable[..., Any]:
    def build(credential: object = seed.API_CLIENT_SECRET, **settings: Any) -> Any:
        return msal.ConfidentialClientApplication(
            settings.pop("client_id", seed.API_CLIENT_ID),
            client_credential=credential,
            authority=f"{entra.base_url}/{settings.pop('tenant', seed.TENANT_ID)}",
            instance_discovery=False,
            azure_region=False,
            http_client=http,
            http_cache=NoCache(),
            token_cache=NullTokenCache(),
            **settings,
        )

    return build


def token_url(entra: EntraSimulator, tenant: str = seed.TENANT_ID) -> str:
    return f"{entra.base_url}/{tenant}/oauth2/v2.0/token"


def exchange_form(assertion: str, /, **changes: str | None) -> Form:
    form: dict[str, str | None] = {
        "grant_type": ON_BEHALF_OF,
        "client_id": seed.API_CLIENT_ID,
        "client_secret": seed.API_CLIENT_SECRET,
        "assertion": assertion,
        "scope": f"https://graph.microsoft.com/{seed.GRAPH_SCOPE} openid profile",
        "requested_token_use": "on_behalf_of",
        "client_info": "1",
        **changes,
    }
    return {name: value for name, value in form.items() if value is not None}


def claims_of(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


# Discovery and keys


@pytest.mark.parametrize(
    ("version", "path", "keys"),
    [("2.0", "v2.0/", "discovery/v2.0/keys"), ("1.0", "", "discovery/keys")],
    ids=["v2", "v1"],
)
def test_a_published_key_and_issuer_verify_a_user_token(
    entra: EntraSimulator, http: requests.Session, version: str, path: str, keys: str
) -> None:
    document = http.get(
        f"{entra.base_url}/{seed.TENANT_ID}/{path}.well-known/openid-configuration"
    ).json()
    assert document["jwks_uri"] == f"{entra.base_url}/{seed.TENANT_ID}/{keys}"
    token = entra.user_token(version=version)
    header = jwt.get_unverified_header(token)
    entry = next(
        key for key in http.get(document["jwks_uri"]).json()["keys"] if key["kid"] == header["kid"]
    )
    assert entry["x5t"] == entry["kid"]
    assert ("x5t" in header) == (version == "1.0")
    assert (
        x509.load_der_x509_certificate(base64.b64decode(entry["x5c"][0])).public_key()
        == entra.current_key.public_key
    )
    assert entry.get("issuer") == (document["issuer"] if version == "2.0" else None)

    audience = seed.API_CLIENT_ID if version == "2.0" else f"api://{seed.API_CLIENT_ID}"
    claims = jwt.decode(
        token,
        jwt.PyJWK(entry, algorithm="RS256").key,
        algorithms=["RS256"],
        audience=audience,
        issuer=document["issuer"],
    )
    assert (claims["oid"], claims["tid"], claims["ver"], claims["scp"]) == (
        seed.ADELE.object_id,
        seed.TENANT_ID,
        version,
        seed.REQUIRED_SCOPE,
    )
    assert claims["appid" if version == "1.0" else "azp"] == seed.PARTNER_CLIENT_ID


def test_the_shared_endpoint_leaves_the_tenant_open(
    entra: EntraSimulator, http: requests.Session
) -> None:
    document = http.get(f"{entra.base_url}/common/v2.0/.well-known/openid-configuration").json()
    assert document["issuer"] == f"{entra.base_url}/{{tenantid}}/v2.0"
    assert {key["issuer"] for key in http.get(document["jwks_uri"]).json()["keys"]} == {
        document["issuer"]
    }


def test_a_key_can_be_published_for_one_tenant_only(
    entra: EntraSimulator, http: requests.Session
) -> None:
    key = make_signing_key(issuer=f"{entra.base_url}/{OTHER_TENANT}/v2.0")
    entra.publish(key)
    published = {
        entry["kid"]: entry["issuer"]
        for entry in http.get(f"{entra.base_url}/common/discovery/v2.0/keys").json()["keys"]
    }
    assert published[key.kid] == key.issuer
    assert entra.current_key.kid != key.kid
    entra.unpublish(key.kid)


@pytest.mark.parametrize(
    "path",
    [
        "v2.0/.well-known/openid-configuration",
        ".well-known/openid-configuration",
        "discovery/v2.0/keys",
    ],
)
def test_an_unknown_tenant_is_refused_as_entra_refuses_it(
    entra: EntraSimulator, http: requests.Session, path: str
) -> None:
    answer = http.get(f"{entra.base_url}/11111111-2222-3333-4444-555555555555/{path}")
    assert (answer.status_code, answer.json()["error"], answer.json()["error_codes"]) == (
        400,
        "invalid_tenant",
        [90002],
    )


def test_the_token_endpoint_of_an_unknown_tenant_is_refused(
    entra: EntraSimulator, http: requests.Session
) -> None:
    answer = http.post(token_url(entra, "nobody.example"), data=exchange_form(entra.user_token()))
    assert (answer.status_code, answer.json()["error"], answer.json()["error_codes"]) == (
        400,
        "invalid_request",
        [90002],
    )


def test_a_rotated_key_signs_and_the_old_one_stays_published(
    entra: EntraSimulator, application: Callable[..., Any]
) -> None:
    old = entra.user_token()
    key = entra.rotate_keys()
    new = entra.user_token()
    assert jwt.get_unverified_header(new)["kid"] == key.kid == entra.current_key.kid
    app = application()
    assert "access_token" in app.acquire_token_on_behalf_of(old, SCOPES)
    assert "access_token" in app.acquire_token_on_behalf_of(new, SCOPES)


def test_a_key_that_is_no_longer_published_counts_for_nothing(
    entra: EntraSimulator, http: requests.Session, application: Callable[..., Any]
) -> None:
    old, old_key = entra.user_token(), entra.current_key
    entra.rotate_keys(keep_old=False)
    assert old_key.kid not in [
        key["kid"]
        for key in http.get(f"{entra.base_url}/{seed.TENANT_ID}/discovery/v2.0/keys").json()["keys"]
    ]
    assert application().acquire_token_on_behalf_of(old, SCOPES)["error_codes"] == [50013]


# The exchange


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_msal_exchanges_a_user_token_for_a_graph_token(
    entra: EntraSimulator, application: Callable[..., Any], version: str
) -> None:
    result = application().acquire_token_on_behalf_of(
        entra.user_token(seed.MEGAN, version=version), SCOPES
    )
    assert result["token_type"] == "Bearer"
    assert set(result["scope"].split()) > {seed.GRAPH_SCOPE}
    assert result["expires_in"] == result["ext_expires_in"] == 3600
    assert "refresh_token" in result
    assert json.loads(base64.urlsafe_b64decode(result["client_info"] + "==")) == {
        "uid": seed.MEGAN.object_id,
        "utid": seed.TENANT_ID,
    }
    identity = result["id_token_claims"]
    assert (identity["aud"], identity["oid"], identity["tid"]) == (
        seed.API_CLIENT_ID,
        seed.MEGAN.object_id,
        seed.TENANT_ID,
    )
    assert identity["preferred_username"] == seed.MEGAN.username

    graph = entra.verify_graph_token(result["access_token"])
    assert (graph.object_id, graph.tenant_id, graph.client_id) == (
        seed.MEGAN.object_id,
        seed.TENANT_ID,
        seed.API_CLIENT_ID,
    )
    assert seed.GRAPH_SCOPE in graph.scopes
    assert not graph.app_only
    assert claims_of(result["access_token"])["iss"] == f"https://sts.windows.net/{seed.TENANT_ID}/"
    assert entra.exchanges() == 1


def test_a_refresh_token_comes_only_with_offline_access(
    entra: EntraSimulator, application: Callable[..., Any]
) -> None:
    result = application(exclude_scopes=["offline_access"]).acquire_token_on_behalf_of(
        entra.user_token(), SCOPES
    )
    assert "refresh_token" not in result
    assert result["id_token_claims"]["oid"] == seed.ADELE.object_id


def test_the_id_token_names_the_user_only_with_the_profile_scope(
    entra: EntraSimulator, http: requests.Session
) -> None:
    body = http.post(
        token_url(entra), data=exchange_form(entra.user_token(), scope=f"{seed.GRAPH_SCOPE} openid")
    ).json()
    assert "oid" not in claims_of(body["id_token"])


def test_scopes_are_spelled_back_as_they_were_asked_for(
    entra: EntraSimulator, http: requests.Session
) -> None:
    body = http.post(token_url(entra), data=exchange_form(entra.user_token())).json()
    assert f"https://graph.microsoft.com/{seed.GRAPH_SCOPE}" in body["scope"].split()
    assert seed.GRAPH_SCOPE in entra.verify_graph_token(body["access_token"]).scopes


@pytest.mark.parametrize(
    "settings",
    [{"authority": ""}, {"oidc_authority": "/v2.0"}],
    ids=["authority", "oidc_authority"],
)
def test_msal_takes_the_local_host_as_authority(
    entra: EntraSimulator, http: requests.Session, settings: dict[str, str]
) -> None:
    where = {
        name: f"{entra.base_url}/{seed.TENANT_ID}{suffix}" for name, suffix in settings.items()
    }
    for discovery in (False, f"{entra.base_url}/common/discovery/instance"):
        app = msal.ConfidentialClientApplication(
            seed.API_CLIENT_ID,
            client_credential=seed.API_CLIENT_SECRET,
            http_client=http,
            instance_discovery=discovery,
            **where,
        )
        assert "access_token" in app.acquire_token_on_behalf_of(entra.user_token(), SCOPES)


def test_a_second_tenant_exchanges_its_own_tokens_only(
    entra: EntraSimulator, application: Callable[..., Any]
) -> None:
    theirs = entra.user_token(tenant_id=OTHER_TENANT)
    result = application(tenant=OTHER_TENANT).acquire_token_on_behalf_of(theirs, SCOPES)
    assert entra.verify_graph_token(result["access_token"]).tenant_id == OTHER_TENANT
    assert application().acquire_token_on_behalf_of(theirs, SCOPES)["error_codes"] == [50013]


ASSERTIONS: dict[str, tuple[int, Callable[[EntraSimulator], str]]] = {
    "garbage": (50027, lambda _: "not.a.token"),
    "another key": (50013, lambda entra: entra.user_token(key=make_signing_key())),
    "another key under our kid": (
        50013,
        lambda entra: entra.user_token(
            key=make_signing_key(), header={"kid": entra.current_key.kid}
        ),
    ),
    "alg none": (50027, lambda entra: entra.user_token(header={"alg": "none"})),
    "HS256 with the public key": (50027, lambda entra: entra.user_token(header={"alg": "HS256"})),
    "another audience": (500131, lambda entra: entra.user_token(audience="api://someone-else")),
    "a token for Graph": (500131, lambda entra: entra.graph_token()),
    "expired": (500133, lambda entra: entra.user_token(lifetime_s=-1)),
    "no exp": (500133, lambda entra: entra.user_token(without=["exp"])),
    "not yet valid": (500133, lambda entra: entra.user_token(claims={"nbf": 99999999999})),
    "another issuer": (
        50013,
        lambda entra: entra.user_token(claims={"iss": "https://login.example/v2.0"}),
    ),
    "app-only": (7000114, lambda entra: entra.app_token()),
    "app-only that says so": (7000114, lambda entra: entra.app_token(idtyp=True)),
    "an ID token": (240002, lambda entra: entra.id_token()),
}


@pytest.mark.parametrize("case", ASSERTIONS)
def test_a_bad_assertion_is_refused(
    entra: EntraSimulator, application: Callable[..., Any], case: str
) -> None:
    code, build = ASSERTIONS[case]
    result = application().acquire_token_on_behalf_of(build(entra), SCOPES)
    assert (result["error_codes"], result["error"]) == ([code], REFUSALS[code].error)


def assert_refused(answer: requests.Response, code: int) -> None:
    row, body = REFUSALS[code], answer.json()
    found = (answer.status_code, body["error"], body["error_codes"])
    assert found == (row.status, row.error, [code])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"grant_type": None}, 900144),
        ({"grant_type": "password"}, 70003),
        ({"scope": None}, 900144),
        ({"assertion": None}, 900144),
        ({"requested_token_use": None}, 900144),
        ({"requested_token_use": "other"}, 9002313),
        ({"claims": "{"}, 9002313),
        (
            {"scope": "https://graph.microsoft.com/User.Read https://vault.azure.net/.default"},
            70011,
        ),
        (
            {"scope": "https://graph.microsoft.com/.default https://graph.microsoft.com/User.Read"},
            70011,
        ),
        ({"scope": "https://unknown.example/User.Read"}, 500011),
        ({"scope": "https://graph.microsoft.com/Mail.Read"}, 65001),
        ({"client_id": "11111111-2222-3333-4444-555555555555"}, 700016),
        ({"client_id": None}, 900144),
    ],
    ids=str,
)
def test_a_bad_request_is_refused(
    entra: EntraSimulator, http: requests.Session, changes: dict[str, str | None], code: int
) -> None:
    answer = http.post(token_url(entra), data=exchange_form(entra.user_token(), **changes))
    assert_refused(answer, code)


def test_the_shared_endpoint_exchanges_nothing(
    entra: EntraSimulator, http: requests.Session
) -> None:
    assert http.post(token_url(entra, "common"), data=exchange_form(entra.user_token())).json()[
        "error_codes"
    ] == [50194]


# The refusals


@pytest.mark.parametrize("code", REFUSALS)
def test_every_row_of_the_table_reaches_msal_as_entra_says_it(
    entra: EntraSimulator, application: Callable[..., Any], code: int
) -> None:
    row = REFUSALS[code]
    entra.refuse(seed.ADELE, code, times=1)
    app = application()
    if row.status >= 500:
        with pytest.raises(msal.exceptions.MsalServiceError):
            app.acquire_token_on_behalf_of(entra.user_token(), SCOPES)
    else:
        result = app.acquire_token_on_behalf_of(entra.user_token(), SCOPES)
        assert (result["error"], result.get("suberror"), result["error_codes"]) == (
            row.error,
            row.suberror,
            [code],
        )
        assert ("claims" in result) == row.claims
    assert "access_token" in app.acquire_token_on_behalf_of(entra.user_token(), SCOPES)


def test_a_refusal_has_the_body_and_headers_of_entra(
    entra: EntraSimulator, http: requests.Session
) -> None:
    entra.refuse(None, 90055)
    correlation_id = str(uuid.uuid4())
    answer = http.post(
        token_url(entra),
        data=exchange_form(entra.user_token()),
        headers={"client-request-id": correlation_id},
    )
    body = answer.json()
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "7"
    assert answer.headers["x-ms-request-id"] == body["trace_id"]
    assert answer.headers["Cache-Control"] == "no-store, no-cache"
    assert body["correlation_id"] == correlation_id
    assert body["error_uri"] == "https://login.microsoftonline.com/error?code=90055"
    assert body["error_description"].split("\r\n") == [
        f"AADSTS90055: {REFUSALS[90055].text}",
        f"Trace ID: {body['trace_id']}",
        f"Correlation ID: {correlation_id}",
        f"Timestamp: {body['timestamp']}",
    ]


def test_an_ordered_refusal_meets_only_its_user_until_it_is_cleared(
    entra: EntraSimulator, application: Callable[..., Any]
) -> None:
    app = application()
    entra.refuse(seed.ADELE, 53003)
    for _ in range(2):
        assert (
            app.acquire_token_on_behalf_of(entra.user_token(seed.ADELE), SCOPES)["suberror"]
            == "message_only"
        )
    assert "access_token" in app.acquire_token_on_behalf_of(entra.user_token(seed.MEGAN), SCOPES)
    entra.clear_refusals()
    assert "access_token" in app.acquire_token_on_behalf_of(entra.user_token(seed.ADELE), SCOPES)
    with pytest.raises(KeyError):
        entra.refuse(None, 1)


def test_consent_that_is_taken_back_and_given_again(
    entra: EntraSimulator, application: Callable[..., Any]
) -> None:
    app = application()
    entra.revoke_consent(seed.ADELE)
    result = app.acquire_token_on_behalf_of(entra.user_token(seed.ADELE), SCOPES)
    assert (result["error"], result["suberror"], result["error_codes"]) == (
        "invalid_grant",
        "consent_required",
        [65001],
    )
    assert "access_token" in app.acquire_token_on_behalf_of(entra.user_token(seed.MEGAN), SCOPES)
    entra.grant_consent(seed.ADELE)
    assert "access_token" in app.acquire_token_on_behalf_of(entra.user_token(seed.ADELE), SCOPES)


def test_a_disabled_user_is_refused(entra: EntraSimulator, application: Callable[..., Any]) -> None:
    entra.disable_user(seed.ADELE)
    assert application().acquire_token_on_behalf_of(entra.user_token(), SCOPES)["error_codes"] == [
        50057
    ]
    entra.enable_user(seed.ADELE)
    assert "access_token" in application().acquire_token_on_behalf_of(entra.user_token(), SCOPES)


def test_a_revocation_refuses_what_was_minted_before_it_even_within_the_same_second(
    entra: EntraSimulator, application: Callable[..., Any]
) -> None:
    app, before = application(), entra.user_token()
    hidden = entra.user_token(without=["aio"])
    entra.revoke_sessions(seed.ADELE)
    for token in (before, hidden):
        result = app.acquire_token_on_behalf_of(token, SCOPES)
        assert (result["error"], result["suberror"], result["error_codes"]) == (
            "invalid_grant",
            "bad_token",
            [50173],
        )
    assert "access_token" in app.acquire_token_on_behalf_of(entra.user_token(), SCOPES)


def test_a_demanded_second_factor_is_shown_by_the_assertion_never_by_repeating_the_claims(
    entra: EntraSimulator, application: Callable[..., Any]
) -> None:
    app, token = application(client_capabilities=["CP1"]), entra.user_token()
    entra.require_mfa(seed.ADELE)
    result = app.acquire_token_on_behalf_of(token, SCOPES)
    assert (result["error"], result["suberror"], result["error_codes"]) == (
        "invalid_grant",
        "basic_action",
        [50076],
    )
    again = app.acquire_token_on_behalf_of(token, SCOPES, claims_challenge=result["claims"])
    assert again["claims"] == result["claims"]
    with_factor = entra.user_token(claims={"amr": ["pwd", "mfa"]})
    assert "access_token" in app.acquire_token_on_behalf_of(
        with_factor, SCOPES, claims_challenge=result["claims"]
    )
    entra.clear_mfa(seed.ADELE)
    assert "access_token" in app.acquire_token_on_behalf_of(token, SCOPES)


def test_an_authentication_context_is_shown_by_acrs(
    entra: EntraSimulator, application: Callable[..., Any]
) -> None:
    app = application()
    challenge = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
    entra.require_mfa(seed.ADELE, challenge)
    assert (
        app.acquire_token_on_behalf_of(entra.user_token(claims={"acrs": ["c2"]}), SCOPES)["claims"]
        == challenge
    )
    assert "access_token" in app.acquire_token_on_behalf_of(
        entra.user_token(claims={"acrs": ["c1"]}), SCOPES
    )


def test_a_challenge_from_graph_is_met_by_a_fresh_long_lived_token(
    entra: EntraSimulator, application: Callable[..., Any]
) -> None:
    app = application(client_capabilities=["CP1"])
    challenge = '{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}'
    result = app.acquire_token_on_behalf_of(entra.user_token(), SCOPES, claims_challenge=challenge)
    assert result["expires_in"] == 86400
    assert claims_of(result["access_token"])["xms_cc"] == ["CP1"]
    unmet = app.acquire_token_on_behalf_of(
        entra.user_token(), SCOPES, claims_challenge='{"access_token":{"acrs":{"value":"c9"}}}'
    )
    assert (unmet["error_codes"], "c9" in unmet["claims"]) == ([50076], True)


# The application's credential


def _as_secret(_: Certificate, __: Path) -> object:
    return seed.API_CLIENT_SECRET


def _as_pem(certificate: Certificate, _: Path) -> object:
    return {"private_key": certificate.key_pem, "public_certificate": certificate.pem}


def _as_thumbprint(certificate: Certificate, _: Path) -> object:
    return {
        "private_key": certificate.key_pem,
        "thumbprint": certificate.thumbprint(hashes.SHA1()).hex(),
    }


def _as_pfx(certificate: Certificate, folder: Path) -> object:
    encryption = serialization.BestAvailableEncryption(b"pass")
    path = folder / "facade.pfx"
    path.write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"facade", certificate.key, certificate.certificate, None, encryption
        )
    )
    return {"private_key_pfx_path": str(path), "passphrase": "pass", "public_certificate": True}


@pytest.mark.parametrize("build", [_as_secret, _as_pem, _as_thumbprint, _as_pfx])
def test_each_kind_of_credential_exchanges(
    entra: EntraSimulator,
    application: Callable[..., Any],
    certificate: Certificate,
    tmp_path: Path,
    build: Callable[[Certificate, Path], object],
) -> None:
    entra.register_certificate(certificate.pem)
    app = application(build(certificate, tmp_path))
    for user in (
        seed.ADELE,
        seed.MEGAN,
    ):
        # MSAL reuses its client assertion: the same jti comes twice.
        result = app.acquire_token_on_behalf_of(entra.user_token(user), SCOPES)
        assert entra.verify_graph_token(result["access_token"]).object_id == user.object_id
    assert claims_of(result["access_token"])["appidacr"] == ("1" if build is _as_secret else "2")


def test_a_managed_identity_over_plain_http_stands_for_the_application(
    entra: EntraSimulator, application: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    entra.trust_managed_identity(IDENTITY_CLIENT_ID, IDENTITY_PRINCIPAL_ID)
    with LocalServer(entra.app) as host, requests.Session() as session:
        session.trust_env = False
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{host.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", entra.identity_header)
        identity = msal.ManagedIdentityClient(
            msal.UserAssignedManagedIdentity(client_id=IDENTITY_CLIENT_ID), http_client=session
        )

        def assertion() -> str:
            result: dict[str, Any] = identity.acquire_token_for_client(
                resource="api://AzureADTokenExchange"
            )
            return str(result["access_token"])

        result = application({"client_assertion": assertion}).acquire_token_on_behalf_of(
            entra.user_token(), SCOPES
        )
        assert entra.verify_graph_token(result["access_token"]).object_id == seed.ADELE.object_id


@pytest.mark.parametrize(
    ("header", "query", "status"),
    [
        (None, {}, 401),
        ("wrong", {}, 401),
        ("local-identity-header", {"client_id": "unknown"}, 400),
        ("local-identity-header", {"client_id": ""}, 400),
        ("local-identity-header", {"api-version": "2017-09-01"}, 400),
        ("local-identity-header", {"resource": "nonsense"}, 500),
        ("local-identity-header", {}, 200),
    ],
    ids=str,
)
def test_the_managed_identity_endpoint_answers_as_app_service_does(
    entra: EntraSimulator,
    http: requests.Session,
    header: str | None,
    query: dict[str, str],
    status: int,
) -> None:
    entra.add_managed_identity(IDENTITY_CLIENT_ID, IDENTITY_PRINCIPAL_ID)
    params = {
        "resource": "api://AzureADTokenExchange",
        "api-version": "2019-08-01",
        "client_id": IDENTITY_CLIENT_ID,
    } | query
    answer = http.get(
        f"{entra.base_url}/msi/token",
        params=params,
        headers={"X-IDENTITY-HEADER": header} if header else {},
    )
    assert answer.status_code == status
    if status == 200:
        assert set(answer.json()) == {
            "access_token",
            "expires_on",
            "resource",
            "token_type",
            "client_id",
        }
        assert answer.json()["expires_on"] == str(claims_of(answer.json()["access_token"])["exp"])
    else:
        assert answer.json()["statusCode"] == status


@pytest.mark.parametrize(
    ("code", "change"),
    [
        (7000215, lambda entra: entra.set_client_secret("another")),
        (7000215, lambda entra: entra.remove_client_secret(seed.API_CLIENT_SECRET)),
        (7000222, lambda entra: entra.expire_secret()),
    ],
    ids=["replaced", "removed", "expired"],
)
def test_a_secret_that_is_no_longer_good_is_refused(
    entra: EntraSimulator,
    application: Callable[..., Any],
    code: int,
    change: Callable[[EntraSimulator], None],
) -> None:
    change(entra)
    result = application().acquire_token_on_behalf_of(entra.user_token(), SCOPES)
    assert (result["error"], result["error_codes"]) == ("invalid_client", [code])
    entra.add_client_secret("new")
    assert "access_token" in application("new").acquire_token_on_behalf_of(
        entra.user_token(), SCOPES
    )


def test_a_secret_may_come_in_the_authorization_header(
    entra: EntraSimulator, http: requests.Session
) -> None:
    form = exchange_form(entra.user_token(), client_id=None, client_secret=None)
    assert (
        http.post(
            token_url(entra), data=form, auth=(seed.API_CLIENT_ID, seed.API_CLIENT_SECRET)
        ).status_code
        == 200
    )
    assert (
        http.post(token_url(entra), data=form, auth=(seed.API_CLIENT_ID, "wrong")).status_code
        == 401
    )


def _now() -> float:
    return datetime.datetime.now(datetime.UTC).timestamp()


CLIENT_ASSERTIONS: dict[str, tuple[int, Callable[[Certificate, str], str]]] = {
    "another key": (
        700027,
        lambda certificate, url: certificate.assertion(url, key=Certificate().key),
    ),
    "unregistered": (700027, lambda _, url: Certificate().assertion(url)),
    "expired": (700024, lambda certificate, url: certificate.assertion(url, exp=_now() - 600)),
    "not yet valid": (
        700024,
        lambda certificate, url: certificate.assertion(url, nbf=_now() + 600),
    ),
    "no exp": (700024, lambda certificate, url: certificate.assertion(url, exp=None)),
    "another audience": (
        50012,
        lambda certificate, _: certificate.assertion("https://login.example"),
    ),
    "two audiences": (
        5002741,
        lambda certificate, url: certificate.assertion([url, "https://login.example"]),
    ),
    "another subject": (50048, lambda certificate, url: certificate.assertion(url, sub="someone")),
    "no jti": (50027, lambda certificate, url: certificate.assertion(url, jti=None)),
    "HS256": (
        5002738,
        lambda certificate, url: certificate.assertion(url, algorithm="HS256", key="x" * 32),
    ),
    "missing": (7000218, lambda _, __: ""),
}


@pytest.mark.parametrize("case", CLIENT_ASSERTIONS)
def test_a_bad_client_assertion_is_refused(
    entra: EntraSimulator, http: requests.Session, certificate: Certificate, case: str
) -> None:
    code, build = CLIENT_ASSERTIONS[case]
    entra.register_certificate(certificate.pem)
    proof = {
        "client_assertion": build(certificate, token_url(entra)),
        "client_assertion_type": ASSERTION_TYPE,
    }
    answer = http.post(
        token_url(entra), data=exchange_form(entra.user_token(), client_secret=None, **proof)
    )
    assert_refused(answer, code)


@pytest.mark.parametrize("audience", ["issuer", "token endpoint"])
def test_a_client_assertion_names_the_issuer_or_the_endpoint(
    entra: EntraSimulator, http: requests.Session, certificate: Certificate, audience: str
) -> None:
    entra.register_certificate(certificate.pem)
    named = (
        token_url(entra)
        if audience == "token endpoint"
        else f"{entra.base_url}/{seed.TENANT_ID}/v2.0"
    )
    proof = {
        "client_assertion": certificate.assertion(named),
        "client_assertion_type": ASSERTION_TYPE,
    }
    assert (
        http.post(
            token_url(entra), data=exchange_form(entra.user_token(), client_secret=None, **proof)
        ).status_code
        == 200
    )


def test_a_certificate_past_its_end_is_refused(
    entra: EntraSimulator, http: requests.Session
) -> None:
    expired = Certificate(days=-1)
    entra.register_certificate(expired.pem)
    proof = {
        "client_assertion": expired.assertion(token_url(entra)),
        "client_assertion_type": ASSERTION_TYPE,
    }
    answer = http.post(
        token_url(entra), data=exchange_form(entra.user_token(), client_secret=None, **proof)
    )
    assert (answer.status_code, answer.json()["error_codes"]) == (401, [700027])


@pytest.mark.parametrize(
    ("code", "credential", "forge"),
    [
        (70021, None, {}),
        (700211, FederatedCredential(IDENTITY_PRINCIPAL_ID, issuer="https://token.example"), {}),
        (
            700212,
            FederatedCredential(IDENTITY_PRINCIPAL_ID, audience="api://AzureADTokenExchangeUSGov"),
            {},
        ),
        (700213, FederatedCredential(IDENTITY_PRINCIPAL_ID.upper()), {}),
        (700027, FederatedCredential(IDENTITY_PRINCIPAL_ID), {"key": make_signing_key()}),
        (700024, FederatedCredential(IDENTITY_PRINCIPAL_ID), {"lifetime_s": -600}),
        (700229, FederatedCredential(IDENTITY_PRINCIPAL_ID), {}),
    ],
    ids=[
        "none registered",
        "issuer",
        "audience",
        "subject, case-sensitive",
        "signature",
        "expired",
        "not app-only",
    ],
)
def test_a_federated_token_that_does_not_match_is_refused(
    entra: EntraSimulator,
    http: requests.Session,
    code: int,
    credential: FederatedCredential | None,
    forge: dict[str, Any],
) -> None:
    if credential:
        entra.add_federated_credential(credential)
    build = entra.user_token if code == 700229 else entra.app_token
    token = build(
        audience="api://AzureADTokenExchange", claims={"sub": IDENTITY_PRINCIPAL_ID}, **forge
    )
    proof = {"client_assertion": token, "client_assertion_type": ASSERTION_TYPE}
    answer = http.post(
        token_url(entra), data=exchange_form(entra.user_token(), client_secret=None, **proof)
    )
    assert_refused(answer, code)


def test_client_credentials_bring_an_app_only_graph_token(
    entra: EntraSimulator, application: Callable[..., Any]
) -> None:
    app = application()
    result = app.acquire_token_for_client(["https://graph.microsoft.com/.default"])
    graph = entra.verify_graph_token(result["access_token"])
    assert graph.app_only
    assert graph.roles == set(seed.APP_ROLES)
    assert graph.scopes == frozenset()
    assert app.acquire_token_for_client(["https://graph.microsoft.com/User.Read"])[
        "error_codes"
    ] == [70011]
    assert entra.exchanges() == 0


# Graph's tokens


def test_nobody_but_graph_can_verify_a_graph_token(entra: EntraSimulator) -> None:
    token = entra.graph_token()
    assert "nonce" in jwt.get_unverified_header(token)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(
            token, entra.current_key.public_key, algorithms=["RS256"], options={"verify_aud": False}
        )
    assert entra.verify_graph_token(token).object_id == seed.ADELE.object_id


@pytest.mark.parametrize(
    ("words", "forge"),
    [
        ("signature", {"key": make_signing_key()}),
        ("audience", {"audience": seed.API_CLIENT_ID}),
        ("issuer", {"claims": {"tid": OTHER_TENANT}}),
        ("expired", {"lifetime_s": -1}),
        ("not yet valid", {"claims": {"nbf": 99999999999}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_forged_graph_token_is_refused_in_words(
    entra: EntraSimulator, words: str, forge: dict[str, Any]
) -> None:
    with pytest.raises(GraphTokenInvalid, match=words):
        entra.verify_graph_token(entra.graph_token(**forge))


def test_the_audience_of_graph_can_be_another_clouds(
    entra: EntraSimulator, application: Callable[..., Any]
) -> None:
    entra.graph_audience = "https://graph.microsoft.us"
    try:
        result = application().acquire_token_on_behalf_of(
            entra.user_token(), [f"https://graph.microsoft.us/{seed.GRAPH_SCOPE}"]
        )
        assert entra.verify_graph_token(result["access_token"]).object_id == seed.ADELE.object_id
        with pytest.raises(GraphTokenInvalid, match="audience"):
            entra.verify_graph_token(entra.graph_token(audience="https://graph.microsoft.com"))
    finally:
        entra.graph_audience = "https://graph.microsoft.com"


def test_exact_bytes_can_be_signed(entra: EntraSimulator) -> None:
    key = entra.current_key
    token = sign_compact(
        b'{"alg":"RS256","kid":"' + key.kid.encode() + b'"}', b'{"aud":"a","aud":"b"}', key
    )
    assert jwt.decode(token, key.public_key, algorithms=["RS256"], audience="b")["aud"] == "b"


# Faults and what was received


def test_a_throttled_user_is_throttled_alone(entra: EntraSimulator, http: requests.Session) -> None:
    entra.faults.add(
        Fault(
            step="token",
            status=429,
            headers={"Retry-After": "30"},
            match={"user": seed.ADELE.object_id},
        )
    )
    assert (
        http.post(token_url(entra), data=exchange_form(entra.user_token(seed.MEGAN))).status_code
        == 200
    )
    throttled = http.post(token_url(entra), data=exchange_form(entra.user_token(seed.ADELE)))
    assert (throttled.status_code, throttled.headers["Retry-After"]) == (429, "30")
    assert (
        http.post(token_url(entra), data=exchange_form(entra.user_token(seed.ADELE))).status_code
        == 200
    )


def test_a_success_can_carry_retry_after(entra: EntraSimulator, http: requests.Session) -> None:
    entra.faults.add(
        Fault(
            step="token",
            headers={"Retry-After": "30"},
            match={"grant": ON_BEHALF_OF, "client_id": seed.API_CLIENT_ID},
        )
    )
    answer = http.post(token_url(entra), data=exchange_form(entra.user_token()))
    assert (answer.status_code, answer.headers["Retry-After"]) == (200, "30")
    assert "access_token" in answer.json()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_dropped_exchange_is_still_counted(
    entra: EntraSimulator, http: requests.Session, when: Any
) -> None:
    entra.refuse(None, 65001, times=1)
    entra.faults.add(Fault(step="token", drop=True, when=when))
    # The caught error keeps urllib3's pool alive, and a pool keeps an idle connection beyond the
    # server's life.
    http.headers["Connection"] = "close"
    with pytest.raises(requests.ConnectionError):
        http.post(token_url(entra), data=exchange_form(entra.user_token()))
    assert entra.exchanges() == 1
    again = http.post(token_url(entra), data=exchange_form(entra.user_token()))
    assert again.status_code == (400 if when == "before" else 200)


@pytest.mark.parametrize(
    ("step", "path", "match"),
    [
        (
            "discovery",
            f"{seed.TENANT_ID}/v2.0/.well-known/openid-configuration",
            {"version": "2.0", "tenant": seed.TENANT_ID},
        ),
        ("discovery", f"{seed.TENANT_ID}/.well-known/openid-configuration", {"version": "1.0"}),
        ("jwks", f"{seed.TENANT_ID}/discovery/v2.0/keys", {"version": "2.0"}),
        ("jwks", f"{seed.TENANT_ID}/discovery/keys", {"version": "1.0", "tenant": seed.TENANT_ID}),
        (
            "managed_identity",
            f"msi/token?client_id={IDENTITY_CLIENT_ID}",
            {"client_id": IDENTITY_CLIENT_ID},
        ),
    ],
)
def test_every_step_takes_faults(
    entra: EntraSimulator, http: requests.Session, step: str, path: str, match: dict[str, str]
) -> None:
    entra.faults.add(
        Fault(step=step, status=503, body="<html>down</html>", match=match),
        Fault(step=step, status=503, match={"version": "none"}),
    )
    answer = http.get(f"{entra.base_url}/{path}")
    assert (answer.status_code, answer.text) == (503, "<html>down</html>")
    assert http.get(f"{entra.base_url}/{path}").status_code != 503
    assert len(entra.faults.planned()) == 1


def test_what_was_received_can_be_read_and_forgotten(
    entra: EntraSimulator, http: requests.Session
) -> None:
    http.get(f"{entra.base_url}/_local/users")
    http.post(
        token_url(entra), data=exchange_form("not.a.token"), headers={"Client-Request-Id": "abc"}
    )
    (request,) = entra.received
    assert (request.method, request.path) == ("POST", f"/{seed.TENANT_ID}/oauth2/v2.0/token")
    assert request.form["assertion"] == "not.a.token"
    assert request.headers["client-request-id"] == "abc"
    assert "not.a.token" not in repr(request)
    assert entra.exchanges() == 1
    entra.clear_received()
    assert (entra.received, entra.exchanges()) == ([], 0)


def test_state_may_change_while_many_threads_exchange(
    entra: EntraSimulator, http: requests.Session
) -> None:
    people = [
        seed.User(str(uuid.uuid4()), f"user{number}@example.com", f"User {number}")
        for number in range(8)
    ]
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            entra.revoke_consent(seed.LYNNE)
            entra.add_client_secret("another")
            entra.grant_consent(seed.LYNNE)
            _ = entra.received, entra.exchanges()

    def exchange(user: seed.User) -> set[str]:
        owners = set()
        with requests.Session() as session:
            session.trust_env, session.verify = False, http.verify
            for _ in range(10):
                body = session.post(
                    token_url(entra), data=exchange_form(entra.user_token(user))
                ).json()
                owners.add(entra.verify_graph_token(body["access_token"]).object_id)
        return owners

    disturber = threading.Thread(target=disturb)
    disturber.start()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(exchange, people))
    stop.set()
    disturber.join()
    assert found == [{user.object_id} for user in people]
    assert entra.exchanges() == 80


# The developer's side door


@pytest.mark.parametrize("who", ["adele", "Vance", seed.ADELE.username, seed.ADELE.object_id])
def test_a_developer_gets_a_token_that_exchanges(
    entra: EntraSimulator, http: requests.Session, application: Callable[..., Any], who: str
) -> None:
    entra.require_mfa(seed.ADELE)
    body = http.post(
        f"{entra.base_url}/_local/token",
        json={"user": who, "version": "1.0", "lifetime_s": 60, "mfa": True},
    ).json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 60)
    assert claims_of(body["access_token"])["oid"] == seed.ADELE.object_id
    assert "access_token" in application().acquire_token_on_behalf_of(body["access_token"], SCOPES)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("token", '{"user": "nobody"}', "Nobody here is called 'nobody'. The users are adele@"),
        ("token", '{"user": "e"}', "More than one person"),
        ("token", '{"user": ""}', "Nobody here is called"),
        ("token", '{"lifetime_s": -1}', "lifetime_s: "),
        ("token", '{"colour": "red"}', "colour: "),
        ("token", "{", "The body: "),
        ("faults", '{"status": 500}', "step: "),
        ("faults", '[{"step": "token", "when": "never"}]', "0.when: "),
    ],
)
def test_bad_input_at_the_side_door_is_answered_in_a_sentence(
    entra: EntraSimulator, http: requests.Session, path: str, body: str, words: str
) -> None:
    answer = http.post(f"{entra.base_url}/_local/{path}", data=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(words)


def test_a_developer_can_plan_faults_rotate_keys_and_reset(
    entra: EntraSimulator, http: requests.Session
) -> None:
    local = f"{entra.base_url}/_local"
    assert [user["name"] for user in http.get(f"{local}/users").json()] == [
        user.name for user in seed.USERS
    ]
    assert len(http.post(f"{local}/faults", json={"step": "token", "status": 503}).json()) == 1
    assert (
        len(http.post(f"{local}/faults", json=[{"step": "jwks", "drop": True, "times": 2}]).json())
        == 2
    )
    assert [fault["step"] for fault in http.get(f"{local}/faults").json()] == ["token", "jwks"]
    assert http.delete(f"{local}/faults").json() == []
    assert http.post(f"{local}/rotate-keys").json() == {"kid": entra.current_key.kid}
    entra.disable_user(seed.ADELE)
    http.post(f"{local}/faults", json={"step": "token", "status": 503})
    assert http.post(f"{local}/reset").json() == {"reset": True}
    assert http.post(token_url(entra), data=exchange_form(entra.user_token())).status_code == 200
    assert len(entra.received) == 1
