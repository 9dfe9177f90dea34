"""Signing in at the Entra simulator, as a single-page application does it.

Authorization code, PKCE, and what is refused.
"""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests

from infra.local import seed
from infra.local.entra.sign_in.grants import CODE_LIFETIME_S
from infra.local.entra.sign_in.sessions import REFRESH_LIFETIME_S
from infra.local.entra.simulator import EntraSimulator
from infra.local.server import LocalServer

PAGE = "http://localhost:7070"
REDIRECT_URI = f"{PAGE}/"
SCOPE = f"api://{seed.API_CLIENT_ID}/{seed.REQUIRED_SCOPE}"
VERIFIER = secrets.token_urlsafe(48)
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
)
Form = dict[str, str]


class Clock:
    def __init__(self) -> None:
        self.late_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.late_s


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def served(clock: Clock) -> Iterator[tuple[EntraSimulator, str]]:
    entra = EntraSimulator(now=clock)
    entra.sign_in.register(REDIRECT_URI)
    with LocalServer(entra.app) as server:
        entra.base_url = server.url
        yield entra, server.url


class Browser:
    """What the page and its browser send."""

    def __init__(self, entra: EntraSimulator, url: str, session: requests.Session) -> None:
        self.entra = entra
        self.url = f"{url}/{seed.TENANT_ID}/oauth2/v2.0"
        self.session = session

    def ask(
        self, *, user: seed.User | None = None, tenant: str | None = None, **changes: str | None
    ) -> requests.Response:
        """Open the sign-in page, or with ``user`` choose somebody there."""
        query: dict[str, str | None] = {
            "client_id": seed.PARTNER_CLIENT_ID,
            "redirect_uri": REDIRECT_URI,
            "response_type": "code",
            "scope": f"{SCOPE} openid profile",
            "state": "s t&te",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **changes,
        }
        sent = {name: value for name, value in query.items() if value is not None}
        address = f"{self.url}/authorize".replace(seed.TENANT_ID, tenant or seed.TENANT_ID)
        if user is None:
            return self.session.get(address, params=sent, allow_redirects=False, timeout=10)
        return self.session.post(
            address, data={**sent, "user": user.object_id}, allow_redirects=False, timeout=10
        )

    def code(self, user: seed.User = seed.ADELE, **changes: str | None) -> str:
        return returned(self.ask(user=user, **changes))["code"]

    def redeem(
        self,
        code: str,
        *,
        origin: str | None = PAGE,
        tenant: str | None = None,
        **changes: str | None,
    ) -> requests.Response:
        form: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "client_id": seed.PARTNER_CLIENT_ID,
            "redirect_uri": REDIRECT_URI,
            "code": code,
            "code_verifier": VERIFIER,
            **changes,
        }
        address = f"{self.url}/token".replace(seed.TENANT_ID, tenant or seed.TENANT_ID)
        sent = {name: value for name, value in form.items() if value is not None}
        return self.session.post(
            address, data=sent, headers={"Origin": origin} if origin else {}, timeout=10
        )


@pytest.fixture
def browser(served: tuple[EntraSimulator, str], clock: Clock) -> Iterator[Browser]:
    clock.late_s = 0.0
    with requests.Session() as session:
        session.trust_env = False
        yield Browser(*served, session)


def returned(answer: requests.Response, *, part: str = "query") -> Form:
    """Return what the browser takes back to the page."""
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith(REDIRECT_URI)
    return {
        name: values[0]
        for name, values in parse_qs(getattr(urlsplit(answer.headers["Location"]), part)).items()
    }


def refusal(answer: requests.Response) -> tuple[int, str, int]:
    body = answer.json()
    return answer.status_code, body["error"], body["error_codes"][0]


def claims_of(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


def test_a_person_signs_in_and_the_page_gets_a_token_for_the_api(browser: Browser) -> None:
    page = browser.ask()
    assert page.status_code == 200
    assert all(user.name in page.text for user in seed.USERS)
    back = returned(browser.ask(user=seed.MEGAN, nonce="n-1"))
    assert back["state"] == "s t&te"
    answer = browser.redeem(back["code"], client_info="1")
    body = answer.json()
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert answer.headers["Cache-Control"].startswith("no-store")
    assert (body["token_type"], body["scope"], body["expires_in"]) == ("Bearer", SCOPE, 3600)
    claims, who = claims_of(body["access_token"]), claims_of(body["id_token"])
    assert (claims["aud"], claims["azp"], claims["azpacr"], claims["oid"], claims["scp"]) == (
        seed.API_CLIENT_ID,
        seed.PARTNER_CLIENT_ID,
        "0",
        seed.MEGAN.object_id,
        seed.REQUIRED_SCOPE,
    )
    assert (who["aud"], who["nonce"], who["name"]) == (
        seed.PARTNER_CLIENT_ID,
        "n-1",
        seed.MEGAN.name,
    )
    assert (
        browser.entra.keys.find(jwt.get_unverified_header(body["access_token"])["kid"]) is not None
    )
    assert json.loads(base64.urlsafe_b64decode(body["client_info"] + "==")) == {
        "uid": seed.MEGAN.object_id,
        "utid": seed.TENANT_ID,
    }
    assert "refresh_token" not in body  # no offline_access was asked for


def test_the_code_can_travel_in_the_fragment_which_no_server_sees(browser: Browser) -> None:
    answer = browser.ask(user=seed.ADELE, response_mode="fragment")
    assert "?" not in answer.headers["Location"]
    assert browser.redeem(returned(answer, part="fragment")["code"]).status_code == 200


@pytest.mark.parametrize("tenant", ["common", "organizations", "M365B489948.onmicrosoft.com"])
def test_the_shared_addresses_lead_to_the_first_tenant(browser: Browser, tenant: str) -> None:
    code = browser.code(tenant=tenant)
    assert (
        claims_of(browser.redeem(code, tenant=tenant).json()["access_token"])["tid"]
        == seed.TENANT_ID
    )


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"client_id": None}, 900144, id="no client"),
        pytest.param({"client_id": seed.CONNECTOR_CLIENT_ID}, 700016, id="another client"),
        pytest.param({"redirect_uri": None}, 50011, id="no redirect URI"),
        pytest.param({"redirect_uri": f"{REDIRECT_URI}x"}, 50011, id="a longer redirect URI"),
        pytest.param({"redirect_uri": "https://evil.example/"}, 50011, id="a foreign redirect URI"),
        pytest.param({"tenant": "nobody.example"}, 90002, id="another tenant"),
    ],
)
@pytest.mark.parametrize("user", [None, seed.ADELE], ids=["page", "choice"])
def test_a_request_that_cannot_be_trusted_with_an_answer_ends_on_a_page(
    browser: Browser, changes: dict[str, str | None], code: int, user: seed.User | None
) -> None:
    sent: dict[str, Any] = {"user": user, **changes}
    answer = browser.ask(**sent)
    assert answer.status_code == 400
    assert f"AADSTS{code}: " in answer.text
    assert "Location" not in answer.headers


@pytest.mark.parametrize(
    ("changes", "error", "code"),
    [
        pytest.param(
            {"response_type": "token"}, "unsupported_response_type", 700054, id="implicit flow"
        ),
        pytest.param({"response_mode": "okta_post"}, "invalid_request", 9002313, id="a mode"),
        pytest.param({"code_challenge": None}, "invalid_request", 9002325, id="no challenge"),
        pytest.param({"code_challenge": "short"}, "invalid_request", 9002313, id="no SHA-256"),
        pytest.param({"code_challenge_method": "plain"}, "invalid_request", 9002313, id="plain"),
        pytest.param({"code_challenge_method": None}, "invalid_request", 9002313, id="no method"),
        pytest.param({"scope": None}, "invalid_scope", 70011, id="no scope"),
        pytest.param({"scope": "openid profile"}, "invalid_scope", 70011, id="no scope of the API"),
        pytest.param(
            {"scope": "https://vault.azure.net/user_impersonation"},
            "invalid_resource",
            500011,
            id="the scope of something unknown",
        ),
        pytest.param(
            {"scope": f"{SCOPE} https://graph.microsoft.com/User.Read"},
            "invalid_scope",
            70011,
            id="scopes of two resources",
        ),
        pytest.param(
            {"scope": f"api://{seed.API_CLIENT_ID}/Everything"},
            "invalid_client",
            650053,
            id="an unknown scope",
        ),
        pytest.param({"claims": "{"}, "invalid_request", 9002313, id="claims that are no JSON"),
        pytest.param(
            {"claims": '{"id_token": {}}'},
            "invalid_request",
            9002313,
            id="claims for another token",
        ),
        pytest.param({"prompt": "none"}, "login_required", 50058, id="silent"),
    ],
)
def test_a_wrong_request_goes_back_to_the_page(
    browser: Browser, changes: dict[str, Any], error: str, code: int
) -> None:
    back = returned(browser.ask(**changes))
    assert (back["error"], back["state"]) == (error, "s t&te")
    assert back["error_description"].startswith(f"AADSTS{code}: ")
    assert "code" not in back


@pytest.mark.parametrize(
    ("changes", "status", "error", "code"),
    [
        pytest.param({"origin": None}, 400, "invalid_request", 9002327, id="no origin"),
        pytest.param(
            {"origin": "http://localhost:7071"},
            400,
            "invalid_request",
            9002326,
            id="another origin",
        ),
        pytest.param(
            {"code_verifier": secrets.token_urlsafe(48)},
            400,
            "invalid_grant",
            501481,
            id="another verifier",
        ),
        pytest.param(
            {"code_verifier": CHALLENGE}, 400, "invalid_grant", 501481, id="the challenge itself"
        ),
        pytest.param({"code_verifier": None}, 400, "invalid_request", 900144, id="no verifier"),
        pytest.param({"code": "1.Amade-up"}, 400, "invalid_grant", 70000, id="an unknown code"),
        pytest.param(
            {"redirect_uri": f"{PAGE}/other"},
            400,
            "invalid_grant",
            500112,
            id="another redirect URI",
        ),
        pytest.param(
            {"client_id": seed.API_CLIENT_ID},
            400,
            "unauthorized_client",
            700016,
            id="another client",
        ),
        pytest.param(
            {"client_secret": seed.API_CLIENT_SECRET}, 401, "invalid_client", 700025, id="a secret"
        ),
        pytest.param(
            {"scope": "https://graph.microsoft.com/.default"},
            400,
            "invalid_scope",
            70011,
            id="more than was authorized",
        ),
    ],
)
def test_a_code_is_redeemed_by_its_own_page_alone(
    browser: Browser, changes: dict[str, str | None], status: int, error: str, code: int
) -> None:
    granted = browser.code()
    sent: dict[str, Any] = {"code": granted, **changes}
    assert refusal(browser.redeem(**sent)) == (status, error, code)
    assert browser.redeem(granted).status_code == 200  # the refused attempt has not used it up


def test_a_code_is_good_once(browser: Browser) -> None:
    code = browser.code()
    assert browser.redeem(code).status_code == 200
    again = browser.redeem(code)
    assert refusal(again) == (400, "invalid_grant", 54005)
    assert again.headers["Access-Control-Allow-Origin"] == PAGE  # so that the page can read why


def test_a_code_ends_after_ten_minutes(browser: Browser, clock: Clock) -> None:
    code = browser.code()
    clock.late_s = CODE_LIFETIME_S + 1
    assert refusal(browser.redeem(code)) == (400, "invalid_grant", 70008)


@pytest.mark.parametrize("origin", ["http://localhost:7071", "https://evil.example", "null"])
def test_other_pages_cannot_read_the_token_endpoint(browser: Browser, origin: str) -> None:
    refused = browser.redeem(browser.code(), origin=origin)
    preflight = browser.session.options(
        f"{browser.url}/token",
        headers={"Origin": origin, "Access-Control-Request-Method": "POST"},
        timeout=10,
    )
    assert "Access-Control-Allow-Origin" not in {**refused.headers, **preflight.headers}


def test_a_page_that_asks_first_is_allowed_to_send_its_form(browser: Browser) -> None:
    question = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    preflight = browser.session.options(f"{browser.url}/token", headers=question, timeout=10)
    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (204, PAGE)


def test_a_claims_challenge_is_met_by_signing_in_again(browser: Browser) -> None:
    claims = json.dumps(
        {
            "access_token": {
                "acrs": {"essential": True, "value": "c1"},
                "xms_cc": {"values": ["cp1"]},
            }
        }
    )
    assert "More proof is asked for" in browser.ask(claims=claims).text
    token = claims_of(browser.redeem(browser.code(claims=claims)).json()["access_token"])
    assert (token["amr"], token["acrs"], token["xms_cc"]) == (["pwd", "mfa"], ["c1"], ["CP1"])


def test_a_client_that_names_its_capability_asks_for_no_proof(browser: Browser) -> None:
    claims = '{"access_token": {"xms_cc": {"values": ["cp1"]}}}'
    assert "More proof" not in browser.ask(claims=claims).text
    token = claims_of(browser.redeem(browser.code(claims=claims)).json()["access_token"])
    assert token["xms_cc"] == ["CP1"]
    assert "amr" not in token


def test_the_expected_person_comes_first(browser: Browser) -> None:
    text = browser.ask(login_hint=seed.LYNNE.username).text
    assert text.index(seed.LYNNE.name) < text.index(seed.ADELE.name)


def test_nobody_else_can_be_signed_in(browser: Browser) -> None:
    answer = browser.ask(user=seed.User("00000000-0000-0000-0000-000000000000", "x@y", "X"))
    assert answer.status_code == 400
    assert "AADSTS50034" in answer.text


def test_the_page_runs_no_script_and_shows_what_it_is_given_as_text(browser: Browser) -> None:
    hostile = '"><script>alert(1)</script>'
    for page in (
        browser.ask(state=hostile),
        browser.ask(client_id=hostile),
        browser.ask(redirect_uri=hostile),
    ):
        policy = page.headers["Content-Security-Policy"]
        assert "<script" not in page.text
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "frame-ancestors 'none'" in policy


# Programs on a desk.


def desk(browser: Browser, user: seed.User = seed.ADELE, **changes: str | None) -> dict[str, Any]:
    """Sign in as a program on a desk does, and return what the token endpoint says."""
    uri = "http://localhost:50123"
    sent: dict[str, Any] = {"redirect_uri": uri, "scope": f"{SCOPE} offline_access", **changes}
    location = browser.ask(user=user, **sent).headers["Location"]
    assert location.startswith(f"{uri}?")
    code = parse_qs(urlsplit(location).query)["code"][0]
    return dict(browser.redeem(code, origin=None, redirect_uri=uri).json())


@pytest.mark.parametrize(
    "redirect_uri",
    ["http://localhost", "http://localhost/", "http://localhost:1", "http://localhost:65535/"],
)
def test_any_port_of_localhost_is_a_programs_redirect_uri(
    browser: Browser, redirect_uri: str
) -> None:
    assert browser.ask(redirect_uri=redirect_uri).status_code == 200


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://localhost:50123",
        "http://localhost:50123/callback",
        "http://localhost.evil.example:50123",
        "http://localhost:50123@evil.example",
        "http://evil.example#http://localhost",
        "http://localhost:50123?x",
        "http://127.0.0.1:50123",
        "http://localhost\n",
    ],
)
def test_nothing_else_is(browser: Browser, redirect_uri: str) -> None:
    answer = browser.ask(redirect_uri=redirect_uri)
    assert (answer.status_code, "AADSTS50011" in answer.text) == (400, True)


def test_a_code_for_a_program_is_not_redeemed_by_a_page(browser: Browser) -> None:
    uri = "http://localhost:50123"
    location = browser.ask(user=seed.ADELE, redirect_uri=uri).headers["Location"]
    code = parse_qs(urlsplit(location).query)["code"][0]
    for origin in (PAGE, uri):
        answer = browser.redeem(code, origin=origin, redirect_uri=uri)
        assert refusal(answer) == (400, "invalid_request", 9002326)
    assert browser.redeem(code, origin=None, redirect_uri=uri).status_code == 200


def test_an_answer_can_be_posted_as_a_form(browser: Browser) -> None:
    hostile = '"><script>alert(1)</script>'
    uri = "http://localhost:50123"
    answer = browser.ask(
        user=seed.ADELE, redirect_uri=uri, response_mode="form_post", state=hostile
    )
    assert f'<form method="post" action="{uri}">' in answer.text
    assert 'name="code"' in answer.text
    assert "alert(1)</script>" not in answer.text
    assert f"form-action {uri};" in answer.headers["Content-Security-Policy"]
    refused = browser.ask(redirect_uri=uri, response_mode="form_post", prompt="none")
    assert 'value="login_required"' in refused.text


def test_a_disabled_person_cannot_sign_in(browser: Browser) -> None:
    browser.entra.disable_user(seed.LYNNE)
    answer = browser.ask(user=seed.LYNNE)
    browser.entra.enable_user(seed.LYNNE)
    assert (answer.status_code, "AADSTS50057" in answer.text) == (400, True)


def test_the_page_says_who_is_who(browser: Browser) -> None:
    text = browser.ask().text
    assert "Staff of Contoso Lunch Delivery and Contoso Repairs: may see and cancel" in text
    assert "On no booking page&#x27;s staff: sees none, and may cancel nothing." in text


def test_a_person_can_sign_in_for_graph_itself(browser: Browser) -> None:
    token = desk(browser, scope="https://graph.microsoft.com/.default")["access_token"]
    claims = claims_of(token)
    assert (claims["aud"], claims["appid"]) == (
        "https://graph.microsoft.com",
        seed.PARTNER_CLIENT_ID,
    )
    assert seed.GRAPH_SCOPE in claims["scp"].split()


# Refresh tokens.


def refresh(
    browser: Browser, token: str, *, origin: str | None = None, **more: str
) -> requests.Response:
    form = {
        "grant_type": "refresh_token",
        "client_id": seed.PARTNER_CLIENT_ID,
        "refresh_token": token,
        **more,
    }
    headers = {"Origin": origin} if origin else {}
    return browser.session.post(f"{browser.url}/token", data=form, headers=headers, timeout=10)


def test_a_refresh_token_gives_the_same_person_a_new_token(browser: Browser) -> None:
    first = desk(browser, seed.MEGAN)
    answer = refresh(browser, first["refresh_token"])
    assert answer.status_code == 200
    assert claims_of(answer.json()["access_token"])["oid"] == seed.MEGAN.object_id
    assert refresh(browser, answer.json()["refresh_token"]).status_code == 200


def test_a_refresh_token_stays_with_its_client(browser: Browser) -> None:
    of_program = desk(browser)["refresh_token"]
    code = browser.code(scope=f"{SCOPE} offline_access")
    of_page = browser.redeem(code).json()["refresh_token"]
    assert refusal(refresh(browser, of_program, origin=PAGE))[2] == 9002326
    assert refusal(refresh(browser, of_page))[2] == 9002327
    assert refusal(refresh(browser, of_page, origin="https://evil.example"))[2] == 9002326
    assert refresh(browser, of_page, origin=PAGE).status_code == 200
    assert refusal(refresh(browser, "1.Amade-up")) == (400, "invalid_grant", 70000)


def test_a_refresh_token_ends(browser: Browser, clock: Clock) -> None:
    token = desk(browser)["refresh_token"]
    clock.late_s = REFRESH_LIFETIME_S + 1
    assert refusal(refresh(browser, token)) == (400, "invalid_grant", 700084)


def test_a_revoked_session_and_a_disabled_account_end_it(browser: Browser) -> None:
    token = desk(browser, seed.LYNNE)["refresh_token"]
    browser.entra.disable_user(seed.LYNNE)
    assert refusal(refresh(browser, token))[2] == 50057
    browser.entra.enable_user(seed.LYNNE)
    assert refresh(browser, token).status_code == 200
    browser.entra.revoke_sessions(seed.LYNNE)
    assert refusal(refresh(browser, token))[2] == 50173
    assert refresh(browser, desk(browser, seed.LYNNE)["refresh_token"]).status_code == 200


def test_more_proof_is_not_given_by_a_refresh_token_that_has_none(browser: Browser) -> None:
    claims = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
    refused = refresh(browser, desk(browser)["refresh_token"], claims=claims)
    assert refusal(refused) == (400, "invalid_grant", 50076)
    assert json.loads(refused.json()["claims"]) == json.loads(claims)
    proven = refresh(browser, desk(browser, claims=claims)["refresh_token"], claims=claims)
    assert claims_of(proven.json()["access_token"])["acrs"] == ["c1"]
    other = claims.replace("c1", "c2")
    assert refusal(refresh(browser, proven.json()["refresh_token"], claims=other))[2] == 50076


# Device codes.


def begin_device(browser: Browser, **changes: str) -> requests.Response:
    form = {"client_id": seed.PARTNER_CLIENT_ID, "scope": SCOPE, **changes}
    return browser.session.post(f"{browser.url}/devicecode", data=form, timeout=10)


def poll(browser: Browser, device: dict[str, Any]) -> requests.Response:
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "client_id": seed.PARTNER_CLIENT_ID,
        "device_code": device["device_code"],
    }
    return browser.session.post(f"{browser.url}/token", data=form, timeout=10)


def test_a_person_signs_in_for_a_device(browser: Browser) -> None:
    device = begin_device(browser).json()
    assert device["user_code"] in device["message"]
    assert device["verification_uri"] in device["message"]
    assert refusal(poll(browser, device)) == (400, "authorization_pending", 70016)
    page = device["verification_uri"]
    assert 'name="code"' in browser.session.get(page, timeout=10).text
    typed = {"code": f" {device['user_code'].lower()} "}
    assert seed.MEGAN.name in browser.session.post(page, data=typed, timeout=10).text
    chosen = {**typed, "user": seed.MEGAN.object_id}
    assert "You have signed in" in browser.session.post(page, data=chosen, timeout=10).text
    again = browser.session.post(page, data={**typed, "user": seed.ADELE.object_id}, timeout=10)
    assert "AADSTS70018" in again.text
    answer = poll(browser, device)
    assert claims_of(answer.json()["access_token"])["oid"] == seed.MEGAN.object_id
    assert refusal(poll(browser, device)) == (400, "bad_verification_code", 70000)


def test_a_device_can_be_declined_and_comes_to_an_end(browser: Browser, clock: Clock) -> None:
    declined, late = begin_device(browser).json(), begin_device(browser).json()
    answer = {"code": declined["user_code"], "user": "nobody"}
    page = declined["verification_uri"]
    assert "Nobody signed in" in browser.session.post(page, data=answer, timeout=10).text
    assert refusal(poll(browser, declined)) == (400, "authorization_declined", 65004)
    clock.late_s = 901
    assert refusal(poll(browser, late)) == (400, "expired_token", 70020)
    typed = browser.session.post(page, data={"code": late["user_code"]}, timeout=10)
    assert "AADSTS70019" in typed.text


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"client_id": seed.API_CLIENT_ID}, 700016),
        ({"scope": ""}, 70011),
        ({"claims": "{"}, 9002313),
    ],
    ids=["another client", "no scope", "claims that are no JSON"],
)
def test_a_device_is_refused_what_a_page_would_be(
    browser: Browser, changes: dict[str, str], code: int
) -> None:
    assert begin_device(browser, **changes).json()["error_codes"] == [code]


# What is advertised exists.


@pytest.mark.parametrize("path", ["v2.0/.well-known/openid-configuration", "discovery/v2.0/keys"])
@pytest.mark.parametrize("tenant", [seed.TENANT_ID, "common", "nobody.example"])
def test_every_page_may_read_what_is_public(browser: Browser, path: str, tenant: str) -> None:
    address = f"{browser.entra.base_url}/{tenant}/{path}"
    answer = browser.session.get(address, headers={"Origin": "https://a.example"}, timeout=10)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_every_address_that_is_advertised_exists(browser: Browser) -> None:
    home = f"{browser.entra.base_url}/{seed.TENANT_ID}"
    for version in ("/v2.0", ""):
        document = browser.session.get(
            f"{home}{version}/.well-known/openid-configuration", timeout=10
        ).json()
        addresses = [
            value for name, value in document.items() if name.endswith(("_endpoint", "_uri"))
        ]
        assert addresses
        for address in addresses:
            statuses = {
                browser.session.request(verb, address, timeout=10).status_code
                for verb in ("GET", "POST")
            }
            assert statuses != {404}, address
            assert all(status < 500 for status in statuses), address


def test_signing_out_leads_back_to_where_the_client_is(browser: Browser) -> None:
    address = f"{browser.url}/logout"
    sent = {"post_logout_redirect_uri": REDIRECT_URI, "state": "s 1"}
    back = browser.session.get(address, params=sent, allow_redirects=False, timeout=10)
    assert returned(back) == {"state": "s 1"}
    del sent["state"]
    back = browser.session.get(address, params=sent, allow_redirects=False, timeout=10)
    assert back.headers["Location"] == REDIRECT_URI
    for target in ("https://evil.example/", ""):
        sent = {"post_logout_redirect_uri": target}
        said = browser.session.get(address, params=sent, allow_redirects=False, timeout=10)
        assert (said.status_code, "You signed out" in said.text) == (200, True)


def test_a_developer_can_register_a_page_of_this_machine(browser: Browser) -> None:
    address = f"{browser.entra.base_url}/_local/pages"
    mine = "http://localhost:8080/redirect.html"
    assert browser.ask(redirect_uri=mine).status_code == 400
    assert browser.session.post(address, json={"redirect_uri": mine}, timeout=10).ok
    assert browser.ask(redirect_uri=mine).status_code == 200
    for other in ("https://evil.example/", "http://localhost@evil.example/", "http://localhost/#x"):
        refused = browser.session.post(address, json={"redirect_uri": other}, timeout=10)
        assert (refused.status_code, "redirect_uri" in refused.text) == (400, True)
