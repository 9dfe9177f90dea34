"""Entra's refusals: each from the real HTTP answer through MSAL to its named error."""

import json
from typing import Any

import pytest

from infra.local import seed
from infra.local.entra.errors import CONDITIONAL_ACCESS_CLAIMS, REFUSALS
from infra.local.faults import Fault
from infra.local.stack import LocalStack
from shared.entra import refusals as entra_refusals
from shared.entra.refusals import (
    AskedToSlowDown,
    AskedToWait,
    CredentialRefused,
    describe_refusal,
    read_refusal,
)
from shared.errors import (
    AccessDenied,
    ConsentRequired,
    FacadeError,
    InteractionRequired,
    Misconfigured,
    Throttled,
    TokenRejected,
    UpstreamAnswer,
    UpstreamBroken,
    UpstreamUnavailable,
    UserTokenRequired,
)
from shared.identity.claims_challenge import read_claims
from tests.property.exchanging import (
    OTHER_TENANT,
    Worker,
    assert_keeps_quiet,
    entra_says,
    everything_said,
    make_caller,
)

# What each AADSTS number means for this service, where Entra words it as it usually does.
MEANINGS: dict[type[FacadeError], tuple[int, ...]] = {
    TokenRejected: (
        *(50013, 500133, 50027, 240002, 50057, 50053, 50055, 50144),
        *(50173, 50132, 50133, 50089, 70043, 70008, 700082, 700084),
    ),
    InteractionRequired: (
        50076,
        50079,
        50072,
        50074,
        50078,
        50158,
        50097,
        700020,
        50129,
        53000,
        53001,
        53002,
        50131,
        53003,
    ),
    AccessDenied: (
        *(530032, 530035, 53004, 53011, 50020, 50034, 51004, 50014, 50105),
        *(500341, 500571, 90072, 50177, 50178, 530034, 53010, 135011, 5000224, 500212, 500213),
        *(530001, 530002, 530003, 530004, 530021, 530031, 50005, 53005, 53009),
        *(5000225, 500021, 500022, 5000211, 700003, 50002, 54000, 90093, 1000104),
    ),
    ConsentRequired: (65001, 65004, 90094, 90095),
    UserTokenRequired: (7000113, 7000114),
    Misconfigured: (
        *(
            500131,
            65005,
            650052,
            650054,
            650056,
            650057,
            500011,
            500014,
            50001,
            700016,
            700011,
            70001,
            7000112,
            7000229,
            90099,
            50146,
            501461,
            700229,
            70003,
            9002313,
        ),
        *(
            70011,
            28002,
            700022,
            700023,
            90009,
            90008,
            90002,
            50059,
            900382,
            900432,
            90038,
            50194,
            9001023,
            900144,
        ),
    ),
    CredentialRefused: (
        *(7000215, 70002, 7000222, 7000218, 70021, 700211, 700212, 700213),
        *(
            700027,
            7000274,
            700024,
            7000214,
            7000277,
            1000502,
            700030,
            50012,
            50048,
            5002738,
            5002741,
        ),
    ),
    Throttled: (50196,),
    AskedToSlowDown: (90055,),
    UpstreamUnavailable: (90033, 90006, 90090, 90024, 90012, 50033, 50087, 90091),
    UpstreamBroken: (90036, 90092, 50000, 50049),
}
ROWS = [
    pytest.param(code, meaning, id=f"{code}-{meaning.__name__}")
    for meaning, codes in MEANINGS.items()
    for code in codes
]


# Every row


def test_the_table_has_every_refusal_that_the_simulator_knows() -> None:
    assert {code for codes in MEANINGS.values() for code in codes} == set(REFUSALS)


@pytest.mark.parametrize(("code", "meaning"), ROWS)
def test_a_refusal_becomes_its_named_error(
    stack: LocalStack,
    worker: Worker,
    log: pytest.LogCaptureFixture,
    code: int,
    meaning: type[FacadeError],
) -> None:
    row = REFUSALS[code]
    stack.entra.refuse(seed.ADELE, code)

    error = worker.refusal(make_caller(stack.entra))

    assert type(error) is meaning
    assert error.upstream is not None
    assert (error.upstream.service, error.upstream.status, error.upstream.code) == (
        "entra",
        row.status,
        f"AADSTS{code}",
    )
    assert error.upstream.request_id is not None
    assert f"code=AADSTS{code} error={row.error}" in log.text
    assert f"trace_id={error.upstream.request_id} correlation_id=" in log.text
    assert_keeps_quiet(log, error, also=(row.text,))


@pytest.mark.parametrize(("code", "meaning"), ROWS)
def test_only_a_passing_trouble_is_asked_about_again_and_only_once(
    stack: LocalStack, worker: Worker, code: int, meaning: type[FacadeError]
) -> None:
    stack.entra.refuse(seed.ADELE, code)
    worker.refusal(make_caller(stack.entra))
    passes = meaning in (UpstreamUnavailable, AskedToSlowDown)  # the named wait fits
    assert stack.entra.exchanges() == (2 if passes else 1)


@pytest.mark.parametrize("code", MEANINGS[UpstreamUnavailable])
def test_a_trouble_that_has_passed_is_not_noticed(
    stack: LocalStack, worker: Worker, code: int
) -> None:
    stack.entra.refuse(seed.ADELE, code, times=1)
    assert worker.exchange(make_caller(stack.entra)).object_id == seed.ADELE.object_id
    assert stack.entra.exchanges() == 2


@pytest.mark.parametrize("code", MEANINGS[InteractionRequired])
def test_a_challenge_carries_its_claims_minified(
    stack: LocalStack, worker: Worker, code: int
) -> None:
    spread_out = json.dumps(json.loads(CONDITIONAL_ACCESS_CLAIMS), indent=4)
    stack.entra.refuse(seed.ADELE, code, claims=spread_out)

    error = worker.refusal(make_caller(stack.entra))

    assert isinstance(error, InteractionRequired)
    assert error.claims == CONDITIONAL_ACCESS_CLAIMS


@pytest.mark.parametrize(("code", "wait_s", "slept"), [(50196, 60.0, []), (90055, 7.0, [7.0])])
def test_a_throttled_exchange_is_waited_for_if_it_fits_and_says_how_long_to_wait(
    stack: LocalStack, worker: Worker, code: int, wait_s: float, slept: list[float]
) -> None:
    stack.entra.refuse(seed.ADELE, code)
    error = worker.refusal(make_caller(stack.entra))
    assert isinstance(error, Throttled)
    assert error.retry_after_s == wait_s
    assert worker.clock.slept == slept


@pytest.mark.parametrize("status", [429, 503])
def test_a_short_wait_that_entra_names_is_kept_and_the_exchange_succeeds(
    stack: LocalStack, worker: Worker, status: int
) -> None:
    stack.entra.faults.add(
        Fault(step="token", status=status, body="", headers={"Retry-After": "1.2, 2"})
    )
    assert worker.exchange(make_caller(stack.entra)).object_id == seed.ADELE.object_id
    assert worker.clock.slept == [2.0]
    assert stack.entra.exchanges() == 2


@pytest.mark.parametrize("code", [700016, 700011, 70001, 7000112, 7000229, 90099])
def test_an_unknown_registration_is_our_fault_at_home_and_missing_consent_elsewhere(
    stack: LocalStack, worker: Worker, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(stack.entra, "tenant_ids", (seed.TENANT_ID, OTHER_TENANT))
    stack.entra.refuse(seed.ADELE, code)
    assert type(worker.refusal(make_caller(stack.entra))) is Misconfigured
    assert type(worker.refusal(make_caller(stack.entra, tenant_id=OTHER_TENANT))) is ConsentRequired


def test_a_foreign_tenants_unknown_refusal_of_the_client_is_never_about_our_credential() -> None:
    body = {"error": "invalid_client", "error_codes": [7999999]}
    assert type(read_refusal(401, body, retry_after_s=None, home_tenant=False)) is ConsentRequired
    assert type(read_refusal(401, body, retry_after_s=None, home_tenant=True)) is CredentialRefused


@pytest.mark.parametrize("number", [53999, 530000, 530084, 530999])
@pytest.mark.parametrize("error", ["invalid_grant", "interaction_required", "unauthorized_client"])
def test_a_policy_that_nobody_has_listed_is_still_a_policy(number: int, error: str) -> None:
    body = {"error": error, "error_codes": [number]}
    for home_tenant in (True, False):
        refusal = read_refusal(400, body, retry_after_s=None, home_tenant=home_tenant)
        assert type(refusal) is AccessDenied
    asked = {**body, "error": "invalid_grant", "claims": CHALLENGE}
    assert type(read_refusal(400, asked, retry_after_s=None, home_tenant=True)) is (
        InteractionRequired
    )


@pytest.mark.parametrize("number", [650051, 650053, 650999])
def test_what_our_registration_asks_for_is_not_our_credential(number: int) -> None:
    body = {"error": "invalid_client", "error_codes": [99999, number]}
    for home_tenant in (True, False):
        refusal = read_refusal(400, body, retry_after_s=None, home_tenant=home_tenant)
        assert (type(refusal), refusal.upstream) == (
            Misconfigured,
            UpstreamAnswer("entra", 400, f"AADSTS{number}"),
        )


@pytest.mark.parametrize("number", [529999, 531000, 52999, 54001, 649999, 651000])
def test_their_neighbours_are_none_of_them(number: int) -> None:
    body = {"error": "invalid_grant", "error_codes": [number]}
    assert type(read_refusal(400, body, retry_after_s=None, home_tenant=True)) is TokenRejected


def test_a_malformed_request_is_ours_however_entra_words_it() -> None:
    for error in ("invalid_request", "invalid_grant"):
        body = {"error": error, "error_codes": [9002313]}
        assert type(read_refusal(400, body, retry_after_s=None, home_tenant=True)) is Misconfigured


# The words of an answer, where the number says nothing

CHALLENGE = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
SUBERRORS: dict[str, type[FacadeError]] = {
    "basic_action": InteractionRequired,
    "additional_action": InteractionRequired,
    "message_only": AccessDenied,
    "consent_required": ConsentRequired,
    "user_password_expired": TokenRejected,
    "bad_token": TokenRejected,
    "token_expired": TokenRejected,
    "client_mismatch": AccessDenied,
    "protection_policy_required": AccessDenied,
    "something_new": TokenRejected,
}
ERRORS: dict[str, type[FacadeError]] = {
    "interaction_required": InteractionRequired,
    "login_required": InteractionRequired,
    "consent_required": ConsentRequired,
    "invalid_grant": TokenRejected,
    "access_denied": AccessDenied,
    "invalid_client": CredentialRefused,
    "unauthorized_client": Misconfigured,
    "invalid_request": Misconfigured,
    "invalid_scope": Misconfigured,
    "invalid_resource": Misconfigured,
    "unsupported_grant_type": Misconfigured,
    "temporarily_unavailable": UpstreamUnavailable,
    "slow_down": Throttled,
    "server_error": UpstreamBroken,
    "something_new": UpstreamBroken,
}
WITHOUT_CLAIMS = {
    **dict.fromkeys((50076, 50079, 50072, 50074, 50078, 50158, 50097, 700020), InteractionRequired),
    **dict.fromkeys(
        (50129, 53000, 53001, 53002, 50131, 530032, 53003, 530035, 53004, 53011), AccessDenied
    ),
}


@pytest.mark.parametrize("claims", [None, CHALLENGE], ids=["without claims", "with claims"])
@pytest.mark.parametrize("suberror", SUBERRORS)
def test_the_suberror_decides_and_claims_outrank_it(
    stack: LocalStack, worker: Worker, suberror: str, claims: str | None
) -> None:
    members: dict[str, Any] = {"claims": claims} if claims else {}
    stack.entra.faults.add(
        entra_says(400, "invalid_grant", code=99999, suberror=suberror, **members)
    )

    error = worker.refusal(make_caller(stack.entra))

    assert type(error) is (InteractionRequired if claims else SUBERRORS[suberror])
    assert getattr(error, "claims", None) == claims
    assert error.upstream == UpstreamAnswer("entra", 400, "AADSTS99999", "b1f4-trace")


@pytest.mark.parametrize("suberror", SUBERRORS)
def test_the_suberror_decides_whichever_word_asks_for_a_person(suberror: str) -> None:
    body = {"error": "interaction_required", "suberror": suberror}
    expected = InteractionRequired if suberror == "something_new" else SUBERRORS[suberror]
    assert type(read_refusal(400, body, retry_after_s=None, home_tenant=True)) is expected


@pytest.mark.parametrize(
    ("codes", "expected", "quoted"),
    [
        ([99999, 65001], ConsentRequired, "AADSTS65001"),
        (["65001", None, 53003], AccessDenied, "AADSTS53003"),
        ([50076, 65001], InteractionRequired, "AADSTS50076"),
        ([99999, 99998], TokenRejected, "AADSTS99999"),
        ([0, -1, True, 65001.0, 10**9], TokenRejected, "invalid_grant"),
        ("65001", TokenRejected, "invalid_grant"),
    ],
)
def test_of_several_numbers_the_first_known_one_decides(
    codes: object, expected: type[FacadeError], quoted: str
) -> None:
    body = {"error": "invalid_grant", "error_codes": codes}
    error = read_refusal(400, body, retry_after_s=None, home_tenant=True)
    assert (type(error), error.upstream) == (expected, UpstreamAnswer("entra", 400, quoted))


@pytest.mark.parametrize("error_word", ERRORS)
def test_the_error_alone_is_enough(
    stack: LocalStack, worker: Worker, log: pytest.LogCaptureFixture, error_word: str
) -> None:
    stack.entra.faults.add(entra_says(400, error_word))

    error = worker.refusal(make_caller(stack.entra))

    assert type(error) is ERRORS[error_word]
    assert error.upstream == UpstreamAnswer("entra", 400, error_word, "b1f4-trace")
    assert (
        f"status=400 code={error_word} error={error_word} trace_id=b1f4-trace "
        "correlation_id=c2e5-correlation" in log.text
    )
    assert_keeps_quiet(log, error)


@pytest.mark.parametrize("code", WITHOUT_CLAIMS)
@pytest.mark.parametrize("with_claims", [False, True], ids=["without claims", "with claims"])
def test_a_policy_that_names_a_way_is_a_challenge_and_else_a_refusal(
    stack: LocalStack, worker: Worker, code: int, with_claims: bool
) -> None:
    members: dict[str, Any] = {"claims": CHALLENGE} if with_claims else {}
    stack.entra.faults.add(
        entra_says(400, "invalid_grant", code=code, suberror=REFUSALS[code].suberror, **members)
    )
    error = worker.refusal(make_caller(stack.entra))
    assert type(error) is (InteractionRequired if with_claims else WITHOUT_CLAIMS[code])


@pytest.mark.parametrize(
    "claims",
    [
        "{",
        "[]",
        "{}",
        '"text"',
        "null",
        '{"access_token":NaN}',
        '{"a":' * 5000,
        json.dumps({"a": "x" * 5000}),
        7,
        {"access_token": {}},
    ],
    ids=[
        "broken",
        "list",
        "empty",
        "text",
        "null",
        "not a number",
        "deep",
        "long",
        "number",
        "object",
    ],
)
def test_claims_that_no_client_could_use_are_no_challenge(
    stack: LocalStack, worker: Worker, claims: object
) -> None:
    stack.entra.faults.add(
        entra_says(400, "invalid_grant", code=53003, suberror="message_only", claims=claims)
    )
    assert type(worker.refusal(make_caller(stack.entra))) is AccessDenied


def test_claims_are_returned_within_ascii_whatever_they_hold() -> None:
    assert (
        read_claims('{ "access_token" : { "ä\\u0000\\ud800" : "\\"\\r\\n" } }')
        == '{"access_token":{"\\u00e4\\u0000\\ud800":"\\"\\r\\n"}}'
    )


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 599])
@pytest.mark.parametrize(
    "body",
    ["<html>Contoso must not be told</html>", None, {"unknown": 1}, {"error": "server_error"}],
    ids=["HTML", "empty", "JSON", "a word"],
)
def test_an_outage_is_asked_about_again_and_reported_as_one(
    stack: LocalStack, worker: Worker, log: pytest.LogCaptureFixture, status: int, body: object
) -> None:
    stack.entra.faults.add(Fault(step="token", status=status, body=body, times=None))
    error = worker.refusal(make_caller(stack.entra))
    assert type(error) is UpstreamUnavailable
    said = body.get("error") if isinstance(body, dict) else None
    assert error.upstream == UpstreamAnswer("entra", status, said)
    assert stack.entra.exchanges() == 2
    assert worker.clock.slept == [0.25]
    assert_keeps_quiet(log, error)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    "body", ["<html></html>", {"error": "invalid_grant"}], ids=["HTML", "JSON"]
)
def test_a_wait_that_entra_names_is_passed_on_and_not_cut_short(
    stack: LocalStack, worker: Worker, status: int, body: object
) -> None:
    stack.entra.faults.add(
        Fault(step="token", status=status, body=body, headers={"Retry-After": "17"}, times=None)
    )
    error = worker.refusal(make_caller(stack.entra))
    assert type(error) is (AskedToSlowDown if status == 429 else AskedToWait)
    assert isinstance(error, Throttled | UpstreamUnavailable)
    assert error.retry_after_s == 17.0
    assert stack.entra.exchanges() == 1


@pytest.mark.parametrize("named", ["0", "soon", "-3", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_wait_that_says_nothing_is_a_few_seconds(
    stack: LocalStack, worker: Worker, named: str
) -> None:
    stack.entra.faults.add(
        Fault(step="token", status=429, headers={"Retry-After": named}, times=None)
    )
    error = worker.refusal(make_caller(stack.entra))
    assert type(error) is Throttled
    assert error.retry_after_s == 5.0
    assert worker.clock.slept == []  # nobody asked for it


@pytest.mark.parametrize(
    "body",
    ["<html>Contoso must not be told</html>", None, [], {"error": 7}, {"error": {}}],
    ids=repr,
)
@pytest.mark.parametrize("status", [301, 302, 400, 401, 403, 404, 407, 418])
def test_an_answer_in_no_words_of_entra_is_broken(
    stack: LocalStack, worker: Worker, log: pytest.LogCaptureFixture, status: int, body: object
) -> None:
    stack.entra.faults.add(
        Fault(
            step="token",
            status=status,
            body=body,
            headers={"Location": stack.graph_url},
            times=None,
        )
    )
    error = worker.refusal(make_caller(stack.entra))
    assert type(error) is UpstreamBroken
    assert error.upstream == UpstreamAnswer("entra", status)
    assert stack.entra.exchanges() == 1
    assert stack.graph.received == []
    assert_keeps_quiet(log, error)


def test_a_refusal_that_comes_as_a_success_is_a_refusal(stack: LocalStack, worker: Worker) -> None:
    stack.entra.faults.add(
        entra_says(
            200,
            "invalid_grant",
            code=65001,
            suberror="consent_required",
            access_token="not.to.be.used",
        )
    )
    error = worker.refusal(make_caller(stack.entra))
    assert type(error) is ConsentRequired
    assert error.upstream == UpstreamAnswer("entra", 200, "AADSTS65001", "b1f4-trace")


# What is read, and what is not


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ([50076, 53003], "AADSTS50076"),
        ([], "invalid_grant"),
        (["50076"], "invalid_grant"),
        ([True], "invalid_grant"),
        ([-1], "invalid_grant"),
        ([10**12], "invalid_grant"),
        ({"0": 50076}, "invalid_grant"),
        (50076, "invalid_grant"),
        (None, "invalid_grant"),
    ],
    ids=repr,
)
def test_only_a_number_among_the_error_codes_is_quoted(numbers: object, code: str) -> None:
    error = read_refusal(
        400,
        {"error": "invalid_grant", "error_codes": numbers},
        retry_after_s=None,
        home_tenant=True,
    )
    assert error.upstream == UpstreamAnswer("entra", 400, code)


@pytest.mark.parametrize(
    "words",
    ["two words", "line\r\nbreak", "ä", "x" * 65, "", "<b>", 7, None, ["list"], {"a": 1}],
    ids=repr,
)
def test_nothing_but_machine_words_is_shown_or_logged(words: Any) -> None:
    body = dict.fromkeys(
        ("error", "suberror", "trace_id", "correlation_id", "error_description"), words
    )
    error = read_refusal(400, body, retry_after_s=None, home_tenant=True)
    assert error.upstream == UpstreamAnswer("entra", 400)
    assert describe_refusal(400, body) == "status=400"


def test_the_description_is_not_even_read() -> None:
    class Body(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            assert key != "error_description"
            return super().get(key, default)

        def __getitem__(self, key: str) -> Any:
            raise AssertionError(key)

    for code, row in REFUSALS.items():
        body = Body(
            error=row.error, suberror=row.suberror, error_codes=[code], error_description=row.text
        )
        describe_refusal(row.status, body)
        assert row.text not in everything_said(
            read_refusal(row.status, body, retry_after_s=None, home_tenant=True)
        )


@pytest.mark.parametrize("meaning", entra_refusals.Meaning)
def test_every_meaning_has_an_error(meaning: entra_refusals.Meaning) -> None:
    error = entra_refusals._error(meaning, UpstreamAnswer("entra"), None, None)
    assert error.reason.endswith(".")


@pytest.mark.parametrize(
    "challenge",
    [
        '{"a":1e999}',
        '{"access_token":{"a":[-1e999]}}',
        '{"a":NaN}',
        '{"a":1,"a":2}',
        '{"a":' + "[" * 4000,
        "\ufeff{}",
    ],
)
def test_a_challenge_that_is_not_json_is_none(challenge: str) -> None:
    assert read_claims(challenge) is None


@pytest.mark.parametrize("odd", ["null", "[]", '"x"', "1", "true"])
def test_a_challenge_that_no_client_could_use_is_none(odd: str) -> None:
    assert read_claims(f'{{"access_token": {odd}}}') is None
