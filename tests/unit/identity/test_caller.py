import base64
import contextlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from infra.local import seed
from infra.local.entra.documents import key_set
from infra.local.entra.keys import unverified_claims
from infra.local.entra.simulator import EntraSimulator
from shared.errors import (
    CallerNotAllowed,
    FacadeError,
    ScopeMissing,
    TokenMissing,
    TokenRejected,
    UpstreamUnavailable,
)
from shared.identity.caller import (
    MAX_TOKEN_CHARS,
    Caller,
    CallerRules,
    authenticate,
    read_bearer_token,
)
from shared.identity.key_sets import KeysUnavailable, SigningKey, read_signing_keys
from shared.identity.signing_keys import KeyNotYetKnown, SigningKeys
from shared.services import caller_rules
from shared.settings import Settings
from tests.tokens import ALLOWED_CLIENTS, FORGERIES, OTHER_TENANT, UNLISTED_CLIENT, Forger, Forgery

NOW = 1_800_000_000
CPU_S = 0.050
API_URI = f"api://{seed.API_CLIENT_ID}"
ADELE = (seed.TENANT_ID, seed.ADELE.object_id, seed.PARTNER_CLIENT_ID)


def make_rules(**given: str) -> CallerRules:
    environment = {
        "TENANT_ID": seed.TENANT_ID,
        "CLIENT_ID": seed.API_CLIENT_ID,
        "CLIENT_SECRET": seed.API_CLIENT_SECRET,
    }
    return caller_rules(Settings.read(environment | given))


LISTED = make_rules(ALLOWED_CLIENT_IDS=ALLOWED_CLIENTS)
ANY_CLIENT = make_rules()
BOTH_TENANTS = make_rules(ALLOWED_TENANTS=f"{seed.TENANT_ID}, {OTHER_TENANT}")


class Bench:
    """Entra, a forger beside it, and the real holder of keys, which reads key sets without HTTP."""

    def __init__(self) -> None:
        self.entra = EntraSimulator(now=lambda: NOW)
        self.forger = Forger.beside(self.entra)
        self.clock = NOW
        self.fetched: list[tuple[str, str]] = []
        self.key_issuer = f"{self.entra.base_url}/{{tenant}}/v2.0"
        self.keys = SigningKeys(
            self._fetch, now=lambda: self.clock, run_in_background=lambda work: work()
        )

    def _fetch(self, tenant_id: str, version: str) -> Mapping[str, SigningKey]:
        self.fetched.append((tenant_id, version))
        return read_signing_keys(
            key_set(
                self.entra.keys.published(), self.key_issuer.replace("{tenant}", tenant_id), version
            )
        )

    def prove(self, token: str, rules: CallerRules = LISTED, *, at: float = NOW) -> Caller:
        return authenticate(token, rules, self.keys, lambda: at).caller

    def answer(self, values: Sequence[str]) -> Caller:
        """Take a request with these Authorization headers.

        The Functions host joins them with a comma.
        """
        return self.prove(read_bearer_token(",".join(values) if values else None))


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


@pytest.fixture
def own_bench() -> Bench:
    return Bench()


def identity(caller: Caller) -> tuple[str, str, str]:
    return caller.tenant_id, caller.object_id, caller.client_id


# What proves a caller.

TOKENS: Mapping[str, Callable[[EntraSimulator], str]] = {
    "v2": lambda entra: entra.user_token(),
    "v1": lambda entra: entra.user_token(version="1.0"),
    "v1-audience-with-a-slash": lambda entra: entra.user_token(
        version="1.0", audience=f"{API_URI}/"
    ),
    "v1-audience-the-client-id": lambda entra: entra.user_token(
        version="1.0", audience=seed.API_CLIENT_ID
    ),
    "v2-audience-a-uri": lambda entra: entra.user_token(audience=API_URI),
    "v2-audience-a-uri-with-a-slash": lambda entra: entra.user_token(audience=f"{API_URI}/"),
    "scope-first-of-several": lambda entra: entra.user_token(
        scopes=f"{seed.REQUIRED_SCOPE} User.Read openid"
    ),
    "scope-between-others": lambda entra: entra.user_token(
        scopes=f"User.Read {seed.REQUIRED_SCOPE} openid"
    ),
    "scope-last-of-several": lambda entra: entra.user_token(
        scopes=f"User.Read openid {seed.REQUIRED_SCOPE}"
    ),
    "typ-of-rfc-9068": lambda entra: entra.user_token(header={"typ": "at+jwt"}),
    "typ-in-small-letters": lambda entra: entra.user_token(header={"typ": "jwt"}),
    "typ-absent": lambda entra: entra.user_token(header={"typ": None}),
    "header-with-a-member-nobody-knows": lambda entra: entra.user_token(header={"x-new": "1"}),
    "roles-of-the-user": lambda entra: entra.user_token(claims={"roles": ["Bookings.Manager"]}),
    "idtyp-user": lambda entra: entra.user_token(claims={"idtyp": "user"}),
    "guest": lambda entra: entra.user_token(
        claims={"acct": 1, "idp": f"https://sts.windows.net/{OTHER_TENANT}/"}
    ),
    "tenant-in-capitals": lambda entra: entra.user_token(claims={"tid": seed.TENANT_ID.upper()}),
    "user-in-capitals": lambda entra: entra.user_token(
        claims={"oid": seed.ADELE.object_id.upper()}
    ),
    "client-in-capitals": lambda entra: entra.user_token(
        claims={"azp": seed.PARTNER_CLIENT_ID.upper()}
    ),
    "starts-60-s-from-now": lambda entra: entra.user_token(claims={"nbf": NOW + 60}),
    "issued-60-s-from-now": lambda entra: entra.user_token(claims={"iat": NOW + 60}),
    "ends-in-a-second": lambda entra: entra.user_token(lifetime_s=1),
    "names-beyond-ascii": lambda entra: entra.user_token(claims={"name": "Ådele Vånce 🍱"}),
}


@pytest.mark.parametrize("make", TOKENS.values(), ids=TOKENS.keys())
def test_a_token_of_entra_proves_its_user_and_client(
    bench: Bench, make: Callable[[EntraSimulator], str]
) -> None:
    token = make(bench.entra)

    caller = bench.prove(token)

    assert identity(caller) == ADELE
    assert caller.assertion == token
    assert caller.expires_at == unverified_claims(token)["exp"]


def test_each_user_is_proved_as_that_user(bench: Bench) -> None:
    assert [bench.prove(bench.entra.user_token(user)).object_id for user in seed.USERS] == [
        user.object_id for user in seed.USERS
    ]


def test_a_payload_may_be_written_with_blanks_and_line_breaks(bench: Bench) -> None:
    payload = json.dumps(json.loads(bench.forger.payload()), indent=2).encode()
    assert identity(bench.prove(bench.forger.sign(payload=payload))) == ADELE


def test_what_the_forger_starts_from_is_accepted(bench: Bench) -> None:
    assert identity(bench.prove(bench.forger.sign())) == ADELE


@pytest.mark.parametrize(
    ("xms_cc", "can"),
    [
        pytest.param(["cp1"], True, id="cp1"),
        pytest.param(["CP1"], True, id="in-capitals"),
        pytest.param(["protapp", "cp1"], True, id="among-others"),
        pytest.param([], False, id="empty"),
        pytest.param(["cp10"], False, id="longer"),
        pytest.param([1, None, ["cp1"]], False, id="no-texts"),
        pytest.param("cp1", False, id="a-text"),
        pytest.param({"cp1": True}, False, id="an-object"),
        pytest.param(None, False, id="null"),
    ],
)
def test_xms_cc_tells_whether_the_client_can_answer_a_challenge(
    bench: Bench, xms_cc: object, can: bool
) -> None:
    assert (
        bench.prove(bench.entra.user_token(claims={"xms_cc": xms_cc})).can_answer_challenges is can
    )


def test_a_client_that_says_nothing_cannot_answer_a_challenge(bench: Bench) -> None:
    assert not bench.prove(bench.entra.user_token()).can_answer_challenges


def test_a_caller_hides_the_token(bench: Bench) -> None:
    token = bench.entra.user_token()
    assert not any(part in repr(bench.prove(token)) for part in token.split("."))


# The lists.


@pytest.mark.parametrize(
    "setting", ["https://bookings.contoso.com", "https://bookings.contoso.com/"]
)
@pytest.mark.parametrize(
    "audience", ["https://bookings.contoso.com", "https://bookings.contoso.com/"]
)
def test_an_audience_counts_with_and_without_its_slash(
    bench: Bench, setting: str, audience: str
) -> None:
    token = bench.entra.user_token(version="1.0", audience=audience)
    assert identity(bench.prove(token, make_rules(AUDIENCES=setting))) == ADELE


@pytest.mark.parametrize("audience", [seed.API_CLIENT_ID, API_URI])
def test_audiences_that_are_set_replace_the_defaults(bench: Bench, audience: str) -> None:
    with pytest.raises(TokenRejected, match="another API"):
        bench.prove(
            bench.entra.user_token(audience=audience),
            make_rules(AUDIENCES="https://bookings.contoso.com"),
        )


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_tenant_on_the_list_is_let_in(bench: Bench, version: str) -> None:
    caller = bench.prove(
        bench.entra.user_token(tenant_id=OTHER_TENANT, version=version), BOTH_TENANTS
    )
    assert identity(caller) == (OTHER_TENANT, seed.ADELE.object_id, seed.PARTNER_CLIENT_ID)


def test_the_home_tenant_needs_to_be_on_the_list_too(bench: Bench) -> None:
    with pytest.raises(CallerNotAllowed, match="tenant"):
        bench.prove(bench.entra.user_token(), make_rules(ALLOWED_TENANTS=OTHER_TENANT))


def test_a_key_of_one_tenant_signs_for_that_tenant(bench: Bench) -> None:
    token = bench.entra.user_token(tenant_id=OTHER_TENANT, key=bench.forger.foreign_key)
    assert bench.prove(token, BOTH_TENANTS).tenant_id == OTHER_TENANT


def test_a_key_of_one_tenant_signs_for_no_other_on_the_list(bench: Bench) -> None:
    token = bench.entra.user_token(key=bench.forger.foreign_key)
    with pytest.raises(TokenRejected, match="does not belong"):
        bench.prove(token, BOTH_TENANTS)


@pytest.mark.parametrize("issuer", ["{tenantid}", "{tenant}"], ids=["placeholder", "tenant"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("tenant_id", [seed.TENANT_ID, OTHER_TENANT], ids=["home", "other"])
def test_a_key_may_name_its_issuer_by_placeholder(
    own_bench: Bench, issuer: str, version: str, tenant_id: str
) -> None:
    own_bench.key_issuer = f"{own_bench.entra.base_url}/{issuer}/v2.0"
    token = own_bench.entra.user_token(tenant_id=tenant_id, version=version)
    assert own_bench.prove(token, BOTH_TENANTS).tenant_id == tenant_id


def test_without_a_list_any_client_is_let_in(bench: Bench) -> None:
    assert (
        bench.prove(bench.entra.user_token(client_id=UNLISTED_CLIENT), ANY_CLIENT).client_id
        == UNLISTED_CLIENT
    )


def test_the_scope_that_is_set_is_the_one_that_counts(bench: Bench) -> None:
    other_scope = make_rules(REQUIRED_SCOPE="Bookings.Cancel")
    assert (
        identity(bench.prove(bench.entra.user_token(scopes="Bookings.Cancel"), other_scope))
        == ADELE
    )
    with pytest.raises(ScopeMissing) as refused:
        bench.prove(bench.entra.user_token(), other_scope)
    assert refused.value.required_scope == "Bookings.Cancel"


# Nothing is told or done on the word of a token that is not proved.


UNPROVED: Mapping[str, Callable[[Bench, str], str]] = {
    "signed-by-a-stranger": lambda bench, tenant: bench.entra.user_token(
        tenant_id=tenant, key=bench.forger.own_key, header={"kid": bench.entra.current_key.kid}
    ),
    "unknown-key": lambda bench, tenant: bench.entra.user_token(
        tenant_id=tenant, key=bench.forger.own_key
    ),
    "changed": lambda bench, tenant: f"{bench.entra.user_token(tenant_id=tenant)[:-8]}AAAAAAAA",
}


@pytest.mark.parametrize("make", UNPROVED.values(), ids=UNPROVED.keys())
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_token_that_is_not_proved_does_not_tell_which_tenants_are_listed(
    bench: Bench, make: Callable[[Bench, str], str], version: str
) -> None:
    refusals = set()
    for tenant_id in (seed.TENANT_ID, OTHER_TENANT):
        with pytest.raises(FacadeError) as refused:
            bench.prove(make(bench, tenant_id))
        refusals.add((type(refused.value), refused.value.reason))
    assert len(refusals) == 1
    assert refusals.pop()[0] is TokenRejected


def test_keys_are_fetched_for_no_tenant_that_is_not_listed(own_bench: Bench) -> None:
    for make in UNPROVED.values():
        with pytest.raises(TokenRejected):
            own_bench.prove(make(own_bench, OTHER_TENANT))
    with pytest.raises(CallerNotAllowed):
        own_bench.prove(own_bench.entra.user_token(tenant_id=OTHER_TENANT))
    assert {tenant_id for tenant_id, _ in own_bench.fetched} == {seed.TENANT_ID}


@pytest.mark.parametrize(
    ("issued_s_ago", "cause"),
    [
        pytest.param(-61, TokenRejected, id="in a future that no clock excuses"),
        pytest.param(-59, KeyNotYetKnown, id="by a clock that is ahead"),
        pytest.param(10, KeyNotYetKnown, id="after the last look"),
        pytest.param(20, TokenRejected, id="with the last look"),
        pytest.param(3600, TokenRejected, id="before the last look"),
        pytest.param("x", TokenRejected, id="at no time"),
        pytest.param(-(2**70), TokenRejected, id="at the end of time"),
        pytest.param(2**70, TokenRejected, id="before all time"),
    ],
)
def test_an_unknown_key_is_refused_unless_the_token_is_younger_than_the_list(
    issued_s_ago: object, cause: type[FacadeError]
) -> None:
    bench = Bench()
    bench.prove(bench.entra.user_token())
    stranger = bench.entra.user_token(header={"kid": "made up"})
    with pytest.raises(TokenRejected):
        bench.prove(stranger)  # this look is the last for five minutes
    bench.clock += 20
    issued_at = bench.clock - issued_s_ago if isinstance(issued_s_ago, int) else issued_s_ago
    token = bench.entra.user_token(header={"kid": "new"}, claims={"iat": issued_at})
    with pytest.raises(cause) as caught:
        bench.prove(token, at=bench.clock)
    assert type(caught.value) is cause


def test_a_token_that_cannot_be_judged_for_want_of_keys_is_not_refused_as_bad(bench: Bench) -> None:
    def down(tenant_id: str, version: str) -> Mapping[str, SigningKey]:
        raise KeysUnavailable("down")

    with pytest.raises(UpstreamUnavailable):
        authenticate(bench.entra.user_token(), LISTED, SigningKeys(down), lambda: NOW)


# Time.


@pytest.mark.parametrize("at", [NOW + 3600, NOW + 3600.001, NOW + 3601, NOW + 10**9])
def test_a_token_is_over_at_the_very_second_it_names(bench: Bench, at: float) -> None:
    with pytest.raises(TokenRejected, match="expired"):
        bench.prove(bench.entra.user_token(lifetime_s=3600), at=at)


def test_a_token_counts_until_then(bench: Bench) -> None:
    assert (
        identity(bench.prove(bench.entra.user_token(lifetime_s=3600), at=NOW + 3599.999)) == ADELE
    )


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_clock_that_is_a_minute_behind_is_forgiven_and_no_more(bench: Bench, claim: str) -> None:
    assert identity(bench.prove(bench.entra.user_token(claims={claim: NOW + 60}))) == ADELE
    with pytest.raises(TokenRejected, match="not valid yet"):
        bench.prove(bench.entra.user_token(claims={claim: NOW + 61}))


# The Authorization header.


@pytest.mark.parametrize(
    "header",
    [
        "Bearer a.b.c",
        "bearer a.b.c",
        "BEARER a.b.c",
        "Bearer   a.b.c",
        " Bearer a.b.c ",
        "\tBearer a.b.c\t",
    ],
    ids=[
        "as-written",
        "small-letters",
        "capitals",
        "several-blanks",
        "blanks-around",
        "tabs-around",
    ],
)
def test_the_token_is_what_follows_the_scheme(header: str) -> None:
    assert read_bearer_token(header) == "a.b.c"


def test_no_header_is_no_token() -> None:
    with pytest.raises(TokenMissing):
        read_bearer_token(None)


def test_a_token_may_be_16_kib_and_not_a_character_more(bench: Bench) -> None:
    header, payload = bench.forger.header(), bench.forger.payload()
    missing = (MAX_TOKEN_CHARS - len(bench.forger.sign(header, payload))) * 3 // 4
    padded = [
        bench.forger.sign(
            header[:-1] + b" " * in_header + b"}", payload[:-1] + b" " * (missing - less) + b"}"
        )
        for in_header in range(3)
        for less in range(8)
    ]
    largest = next(token for token in padded if len(token) == MAX_TOKEN_CHARS)

    assert identity(bench.prove(read_bearer_token(f"Bearer {largest}"))) == ADELE
    with pytest.raises(TokenRejected, match="too large"):
        read_bearer_token(f"Bearer {largest}A")


# The forged-token table.

every_forgery = pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.id)


@every_forgery
def test_a_forged_token_is_refused_for_what_is_wrong_with_it(
    bench: Bench, forgery: Forgery
) -> None:
    values = forgery.make(bench.forger)

    with pytest.raises(FacadeError) as refused:
        bench.answer(values)

    assert type(refused.value) is forgery.refusal.cause
    assert forgery.because in refused.value.reason


@every_forgery
def test_a_refusal_repeats_nothing_of_the_token(bench: Bench, forgery: Forgery) -> None:
    values = forgery.make(bench.forger)

    with pytest.raises(FacadeError) as refused:
        bench.answer(values)

    # A setting of ours.
    told = f"{refused.value.reason} {refused.value} {refused.value!r}".replace(
        seed.REQUIRED_SCOPE, ""
    )
    assert refused.value.__cause__ is None
    assert re.fullmatch(r"[\x20\x21\x23-\x5b\x5d-\x7e]+", refused.value.reason), (
        "only what error_description may hold"
    )
    assert [text for text in texts_of(values) if text in told] == []


@every_forgery
def test_a_forged_token_costs_less_than_50_ms_of_cpu(bench: Bench, forgery: Forgery) -> None:
    values = forgery.make(bench.forger)

    def cost_s() -> float:
        start = time.process_time()
        with contextlib.suppress(FacadeError):
            bench.answer(values)
        return time.process_time() - start

    assert min(cost_s() for _ in range(3)) < CPU_S


def test_each_class_has_a_name_of_its_own() -> None:
    assert len({forgery.id for forgery in FORGERIES}) == len(FORGERIES)


def texts_of(values: Sequence[str]) -> set[str]:
    """Return what a refusal must not repeat, except short texts.

    That is: the parts of the headers, and the texts inside the tokens.
    """
    texts = {part for value in values for part in re.split(r"[\s,.]", value)}
    for part in tuple(texts):
        with contextlib.suppress(ValueError, RecursionError):
            texts |= set(texts_in(json.loads(base64.urlsafe_b64decode(part + "=="))))
    return {text for text in texts if len(text) >= 8}


def texts_in(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for member in value.values() for text in texts_in(member)]
    return (
        [text for member in value for text in texts_in(member)] if isinstance(value, list) else []
    )


# Forgeries that nobody has thought of.

CHARACTERS = st.sampled_from("ABCXYZabcxyz0189-_.=+/, \t") | st.characters()
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
NEAR_MISSES: tuple[Callable[[Any], object], ...] = (
    lambda value: [value],
    lambda value: {"value": value},
    str,
    lambda value: str(value).upper(),
    lambda value: f"{value} ",
    lambda value: f" {value}",
    lambda value: f"{value}/",
    lambda value: f"{value}\n",
    lambda value: f"{value}\0",
    lambda value: str(value)[:-1],
    lambda value: f"{{{value}}}",
    lambda value: f"urn:uuid:{value}",
    lambda value: str(value).replace("-", ""),
    lambda value: float(value) if isinstance(value, int) else value,
    lambda value: -value if isinstance(value, int) else value,
)
CLAIMS = [
    "aud",
    "iss",
    "iat",
    "nbf",
    "exp",
    "tid",
    "oid",
    "sub",
    "ver",
    "scp",
    "azp",
    "appid",
    "idtyp",
    "roles",
    "xms_cc",
    "acct",
    "amr",
    "nonce",
]
HEADERS = [
    "alg",
    "typ",
    "kid",
    "x5t",
    "x5t#S256",
    "jku",
    "jwk",
    "x5u",
    "x5c",
    "crit",
    "b64",
    "zip",
    "cty",
    "enc",
    "nonce",
    "epk",
    "p2c",
    "iss",
    "aud",
]

thoroughly = settings(max_examples=300, deadline=None)


def refused_or_adele(bench: Bench, token: str) -> None:
    try:
        caller = bench.prove(token)
    except FacadeError:
        return
    assert identity(caller) == ADELE
    assert caller.expires_at > NOW


@thoroughly
@given(at=st.integers(0, 10_000), drop=st.integers(0, 3), put=st.text(CHARACTERS, max_size=3))
@example(at=-1, drop=1, put="A")
@example(at=-1, drop=1, put="B")
def test_a_token_changed_anywhere_is_rejected(bench: Bench, at: int, drop: int, put: str) -> None:
    token = bench.entra.user_token()
    at %= len(token)
    changed = f"{token[:at]}{put}{token[at + drop :]}"
    if changed == token:
        assert identity(bench.prove(changed)) == ADELE
    else:
        with pytest.raises(TokenRejected):
            bench.prove(changed)


@thoroughly
@given(part=st.integers(0, 2), at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_token_with_any_byte_changed_is_rejected(
    bench: Bench, part: int, at: int, flip: int
) -> None:
    parts = bench.entra.user_token().split(".")
    content = bytearray(base64.urlsafe_b64decode(parts[part] + "=="))
    content[at % len(content)] ^= flip
    parts[part] = base64.urlsafe_b64encode(content).rstrip(b"=").decode()
    with pytest.raises(TokenRejected):
        bench.prove(".".join(parts))


@thoroughly
@given(version=st.sampled_from(["1.0", "2.0"]), claim=st.sampled_from(CLAIMS), value=JSON)
def test_any_value_of_a_claim_is_refused_or_changes_nothing_of_the_identity(
    bench: Bench, version: str, claim: str, value: object
) -> None:
    refused_or_adele(bench, bench.entra.user_token(version=version, claims={claim: value}))


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_value_close_to_a_claims_own_is_refused_or_changes_nothing_of_the_identity(
    bench: Bench, claim: str, version: str
) -> None:
    own = unverified_claims(bench.entra.user_token(version=version)).get(claim, "user")
    for change in NEAR_MISSES:
        refused_or_adele(
            bench, bench.entra.user_token(version=version, claims={claim: change(own)})
        )


@thoroughly
@given(member=st.sampled_from(HEADERS), value=JSON.filter(lambda value: value is not None))
def test_any_header_member_is_refused_or_changes_nothing_of_the_identity(
    bench: Bench, member: str, value: object
) -> None:
    refused_or_adele(bench, bench.entra.user_token(header={member: value}))


@thoroughly
@given(
    at=st.integers(0, 10_000),
    drop=st.integers(0, 20),
    put=st.binary(max_size=8) | JSON.map(lambda value: json.dumps(value).encode()),
)
def test_any_bytes_in_a_signed_header_are_refused_or_change_nothing_of_the_identity(
    bench: Bench, at: int, drop: int, put: bytes
) -> None:
    header = bench.forger.header()
    at %= len(header)
    refused_or_adele(bench, bench.forger.sign(header=header[:at] + put + header[at + drop :]))


@thoroughly
@given(
    depth=st.integers(1, 5_000),
    opening=st.sampled_from(["[", '{"":']),
    where=st.sampled_from(["header", "payload"]),
)
@example(depth=5_000, opening="[", where="header")
@example(depth=1_900, opening='{"":', where="payload")
def test_nesting_of_any_depth_is_refused_or_changes_nothing_of_the_identity(
    bench: Bench, depth: int, opening: str, where: str
) -> None:
    nested = f', "typ": {opening * depth}0{("]" if opening == "[" else "}") * depth}}}'.encode()
    header, payload = (
        b'{"alg": "RS256", "kid": "%s"}' % bench.entra.current_key.kid.encode(),
        bench.forger.payload(),
    )
    token = (
        bench.forger.sign(header[:-1] + nested, payload)
        if where == "header"
        else bench.forger.sign(header, payload[:-1] + nested)
    )
    refused_or_adele(bench, token)


@thoroughly
@given(values=st.lists(st.text(max_size=60), max_size=3))
@example(values=["Bearer "])
def test_any_header_is_refused(bench: Bench, values: list[str]) -> None:
    with pytest.raises(FacadeError):
        bench.answer(values)


@thoroughly
@given(
    before=st.text(CHARACTERS, max_size=3),
    between=st.text(CHARACTERS, min_size=1, max_size=3),
    after=st.text(CHARACTERS, max_size=3),
)
def test_a_good_token_in_a_changed_header_is_refused_or_read_as_it_is(
    bench: Bench, before: str, between: str, after: str
) -> None:
    token = bench.entra.user_token()
    try:
        caller = bench.answer([f"{before}Bearer{between}{token}{after}"])
    except FacadeError:
        return
    assert caller.assertion == token
    assert (before + between + after).strip(" \t") == ""
