"""Signed requests: who is proved by what, and that nothing else gets further than a refusal."""

import base64
import json
import re
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local import seed
from shared.errors import CallerNotAllowed, Misconfigured, SignatureRefused
from shared.identity import webhooks
from shared.identity.caller import Caller
from shared.identity.webhook_keys import WebhookKey
from shared.identity.webhooks import WebhookSender, WebhookVerifier, read_webhook_id
from shared.settings import Settings
from tests.signing import sign, signed

HOME = "84bd8158-6d4d-4958-8b9f-9d6445542f95"
BODY = b'{"businessId": "a", "appointmentId": "b"}'
FIVE_MINUTES_S = 300


def new_secret(size: int = 24) -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(size)).decode()}"


OLD, NEW, OTHERS, STRANGERS = (new_secret() for _ in range(4))
PADDED = new_secret(25)


def key(
    name: str, *its_secrets: str, businesses: tuple[str, ...] = (seed.LUNCH_DELIVERY,)
) -> WebhookKey:
    return WebhookKey.model_validate(
        {"id": name, "secrets": list(its_secrets), "businesses": list(businesses)}
    )


VERIFIER = WebhookVerifier(
    [key("partner", OLD, NEW), key("other", OTHERS, businesses=("b@contoso.com",))], HOME
)


def verify(headers: dict[str, str], body: bytes = BODY) -> WebhookSender:
    return VERIFIER.verify(headers, body)


def refusal(headers: dict[str, str], body: bytes = BODY) -> str:
    with pytest.raises(SignatureRefused) as caught:
        verify(headers, body)
    return caught.value.reason


# Whom a signature proves.


@pytest.mark.parametrize(
    ("used", "name"),
    [
        ((OLD,), "partner"),
        ((NEW,), "partner"),
        ((OLD, NEW), "partner"),
        ((STRANGERS, NEW), "partner"),
        ((OTHERS,), "other"),
    ],
    ids=[
        "old secret",
        "new secret",
        "both, while rotating",
        "one that is not known beside one that is",
        "another key",
    ],
)
def test_the_key_is_found_by_the_secret_that_signed(used: tuple[str, ...], name: str) -> None:
    sender = verify(signed(BODY, secrets=used))

    assert (sender.tenant_id, sender.key_id) == (HOME, name)


@pytest.mark.parametrize("age_s", [-FIVE_MINUTES_S + 5, 0, FIVE_MINUTES_S - 5])
def test_a_clock_may_be_five_minutes_off(age_s: float) -> None:
    assert verify(signed(BODY, secrets=(NEW,), age_s=age_s)).key_id == "partner"


@pytest.mark.parametrize(
    "age_s",
    [-FIVE_MINUTES_S - 5, FIVE_MINUTES_S + 5, 86_400.0, time.time() - 1],
    ids=["ahead", "behind", "a day behind", "1970"],
)
def test_and_no_more(age_s: float) -> None:
    assert "five minutes" in refusal(signed(BODY, secrets=(NEW,), age_s=age_s))


def test_a_strangers_secret_proves_nobody() -> None:
    assert "proves no sender" in refusal(signed(BODY, secrets=(STRANGERS,)))


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_header_is_needed(name: str) -> None:
    headers = signed(BODY, secrets=(NEW,))
    for value in ("", None):
        changed = (
            {**headers, name: value}
            if value is not None
            else {other: headers[other] for other in headers if other != name}
        )
        assert name in refusal(changed)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_header_that_came_twice_is_refused(name: str) -> None:
    headers = signed(BODY, secrets=(NEW,))
    assert name in refusal({**headers, name: f"{headers[name]},{headers[name]}"})


def test_the_names_of_svix_stand_for_the_same_where_none_of_the_standards_came() -> None:
    headers = signed(BODY, webhook_id="msg_1", secrets=(NEW,))
    svix = {name.replace("webhook-", "svix-"): value for name, value in headers.items()}
    assert verify(svix).key_id == "partner"
    assert read_webhook_id(svix) == "msg_1"
    assert read_webhook_id({**svix, **headers, "webhook-id": "msg_2"}) == "msg_2"
    for name, value in headers.items():
        for came in (value, ""):
            assert "webhook-" in refusal({**svix, name: came})
        lacking = svix.keys() - {name.replace("webhook-", "svix-")}
        assert "svix-" in refusal({one: svix[one] for one in lacking})


def test_what_was_signed_cannot_be_changed() -> None:
    headers = signed(BODY, webhook_id="msg_1", secrets=(NEW,))
    later = str(int(headers["webhook-timestamp"]) + 1)
    for changed, body in (
        (headers, BODY + b" "),
        (headers, BODY.replace(b'"b"', b'"c"')),
        ({**headers, "webhook-id": "msg_2"}, BODY),
        ({**headers, "webhook-timestamp": later}, BODY),
    ):
        assert "proves no sender" in refusal(changed, body)


@pytest.mark.parametrize(
    "written",
    ["{}.0", "{}.5", "0{}", "+{}", " {}", "{}e0", "1_{}", "nan", "inf", "-1", "", "٣", "9" * 400],
)
def test_a_timestamp_is_written_as_it_was_signed(written: str) -> None:
    headers = signed(BODY, secrets=(NEW,))
    assert "webhook-timestamp" in refusal(
        {**headers, "webhook-timestamp": written.format(headers["webhook-timestamp"])}
    )


@pytest.mark.parametrize(
    "others",
    ["v1a,AAAA", "v2,", "v1,", "v1,AAA", ",", "v1", "", "v1,é", "v1,AAAA,BBBB", "v1," + "!" * 44],
)
def test_signatures_of_other_versions_and_forms_are_passed_over(others: str) -> None:
    headers = signed(BODY, secrets=(NEW,))
    right = headers["webhook-signature"]
    assert verify({**headers, "webhook-signature": f"{others} {right}"}).key_id == "partner"
    assert verify({**headers, "webhook-signature": f"{right} {others}"}).key_id == "partner"
    assert "no signature of version v1" in refusal({**headers, "webhook-signature": others})


def test_there_is_a_limit_to_the_signatures() -> None:
    headers = signed(BODY, secrets=(NEW,))
    assert "webhook-signature" in refusal(
        {**headers, "webhook-signature": f"{headers['webhook-signature']}{' x' * 1024}"}
    )


@pytest.mark.parametrize(
    "webhook_id", ["a", "x" * 255, "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", "~!#$%&'*+-./:;<=>?@[]^_`{|}"]
)
def test_an_id_is_what_an_idempotency_key_can_be(webhook_id: str) -> None:
    headers = signed(BODY, webhook_id=webhook_id, secrets=(NEW,))
    assert verify(headers).key_id == "partner"
    assert read_webhook_id(headers) == webhook_id


@pytest.mark.parametrize(
    "webhook_id", ["a b", "a,b", "x" * 256, "ä", "a\tb", "a\x00", "a\n"], ids=ascii
)
def test_and_nothing_else_even_if_it_is_signed(webhook_id: str) -> None:
    assert "webhook-id" in refusal(signed(BODY, webhook_id=webhook_id, secrets=(NEW,)))


def test_a_body_that_is_no_text_proves_nobody() -> None:
    assert "proves no sender" in refusal(signed(BODY, secrets=(NEW,)), b"\xff\xfe")


anything = st.text(max_size=60) | st.binary(max_size=40).map(lambda raw: raw.decode("latin-1"))
near = st.from_regex(
    r"(v1,[A-Za-z0-9+/=]{0,50} ?){0,4}|v1a?,.{0,50}|[0-9.eE+-]{0,20}", fullmatch=True
)


@settings(max_examples=300, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("webhook-id", "webhook-timestamp", "webhook-signature"), anything | near
        ),
    ),
    st.binary(),
)
def test_whatever_comes_is_refused_in_words_of_ours(headers: dict[str, str], body: bytes) -> None:
    right = signed(BODY, secrets=(NEW,))
    for given_headers in (headers, {**right, **headers} if headers else {}):
        reason = refusal(given_headers, body)
        assert not any(value in reason for value in headers.values() if len(value) > 20)


def test_every_secret_is_tried_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []

    def proves(verify: object, body: bytes, headers: dict[str, str]) -> bool:
        tried.append(verify)
        return len(tried) == 1

    monkeypatch.setattr(webhooks, "_proves", proves)
    verify(signed(BODY, secrets=(OLD,)))
    assert len(tried) == 3


# What a sender may do.


@pytest.mark.parametrize(
    "written", [seed.LUNCH_DELIVERY, seed.LUNCH_DELIVERY.upper(), seed.LUNCH_DELIVERY.lower()]
)
def test_a_key_is_good_for_its_businesses_whatever_their_case(written: str) -> None:
    verify(signed(BODY, secrets=(NEW,))).require_business(written)


@pytest.mark.parametrize(
    "other",
    [
        "b@contoso.com",
        f"{seed.LUNCH_DELIVERY} ",
        f"x{seed.LUNCH_DELIVERY}",
        "*",
        seed.LUNCH_DELIVERY.replace("s", "\u017f", 1),
    ],
)
def test_and_for_no_other(other: str) -> None:
    with pytest.raises(CallerNotAllowed):
        verify(signed(BODY, secrets=(NEW,))).require_business(other)


def test_a_letter_that_turns_into_one_of_ascii_in_lower_case_is_another() -> None:
    kelvin = "\u212aontoso@contoso.com"
    assert kelvin.lower() == "kontoso@contoso.com"
    sender = WebhookVerifier([key("k", NEW, businesses=("kontoso@contoso.com",))], HOME).verify(
        signed(BODY, secrets=(NEW,)), BODY
    )
    with pytest.raises(CallerNotAllowed):
        sender.require_business(kelvin)


def test_a_sender_is_no_user_whatever_its_key_is_called() -> None:
    adele = Caller(
        HOME,
        seed.ADELE.object_id,
        seed.PARTNER_CLIENT_ID,
        2e9,
        can_answer_challenges=True,
        assertion="",
        fingerprint=b"",
    )
    sender = WebhookVerifier([key(seed.ADELE.object_id, NEW)], HOME).verify(
        signed(BODY, secrets=(NEW,)), BODY
    )
    assert (sender.tenant_id, sender.key_id) == (adele.tenant_id, adele.object_id)
    assert sender.object_id != adele.object_id
    assert not re.fullmatch(r"[0-9a-f-]{36}", sender.object_id)


def test_no_secret_shows() -> None:
    assert not any(
        secret in f"{VERIFIER!r} {key('a', NEW)!r} {key('a', NEW)}" for secret in (OLD, NEW, OTHERS)
    )
    assert NEW not in repr(read(WEBHOOK_KEYS=json.dumps([entry()])))


UNUSED = """
import sys
import function_app
from shared.services import build_services

build_services({"TENANT_ID": sys.argv[1], "CLIENT_ID": sys.argv[1], "CLIENT_SECRET": "x"})
assert "shared.identity.webhooks" not in sys.modules
assert "standardwebhooks" not in sys.modules
"""


def test_where_webhooks_are_off_their_library_is_not_even_loaded() -> None:
    subprocess.run(
        [sys.executable, "-c", UNUSED, HOME], cwd=Path(__file__).parents[3], check=True, timeout=60
    )


# The setting.


def read(**overrides: str) -> Settings:
    return Settings.read({"TENANT_ID": HOME, "CLIENT_ID": HOME, "CLIENT_SECRET": "x", **overrides})


def entry(**members: Any) -> dict[str, Any]:
    return {"id": "partner", "secrets": [NEW], "businesses": [seed.LUNCH_DELIVERY], **members}


def test_without_the_setting_there_are_no_keys() -> None:
    assert read().webhook_keys == read(WEBHOOK_KEYS=" ").webhook_keys == ()


def test_the_setting_is_a_list_of_keys() -> None:
    first, second = read(
        WEBHOOK_KEYS=json.dumps([entry(secrets=[OLD, NEW]), entry(id="a.b-c_D9", secrets=[OTHERS])])
    ).webhook_keys
    assert [first.id, second.id] == ["partner", "a.b-c_D9"]
    assert [secret.get_secret_value() for secret in first.secrets] == [
        base64.b64decode(secret.removeprefix("whsec_")) for secret in (OLD, NEW)
    ]
    assert first.businesses == [seed.LUNCH_DELIVERY]


@pytest.mark.parametrize("size", [24, 64, 65, 75])
def test_a_secret_may_be_as_long_as_svix_gives_them(size: int) -> None:
    secret = new_secret(size)
    verifier = WebhookVerifier([key("a", secret)], HOME)
    assert verifier.verify(signed(BODY, secrets=(secret,)), BODY).key_id == "a"


def test_base64_may_come_without_its_padding() -> None:
    assert key("a", PADDED.rstrip("=")).secrets == key("a", PADDED).secrets
    verifier = WebhookVerifier([key("a", PADDED.rstrip("="))], HOME)
    assert verifier.verify(signed(BODY, secrets=(PADDED,)), BODY).key_id == "a"


FORM = 'must be JSON, e.g. [{"id": "...", "secrets": ["whsec_..."], "businesses": ["..."]}]'
NO_SECRET = "must be whsec_ followed by the base64 of 24 to 75 random bytes"
LIST = "is not usable: the list: list should have"
OBJECT = "input should be a valid dictionary or instance of WebhookKey"
FAULTS: dict[str, tuple[Any, str]] = {
    "no JSON": ("mark", FORM),
    "NaN": ("[NaN]", FORM),
    "a member twice": (json.dumps([entry()])[:-2] + ', "id": "mark"}]', FORM),
    "very deep": ("[" * 100_000, FORM),
    "an object": (entry(), "is not usable: the list: input should be a valid list"),
    "an empty list": ([], f"{LIST} at least 1 item after validation, not 0"),
    "too many": (
        [entry(id=f"k{number}", secrets=[new_secret()]) for number in range(21)],
        f"{LIST} at most 20 items after validation, not 21",
    ),
    "no object in it": ([entry(), "mark"], f"is not usable: the list, number 2: {OBJECT}"),
    "no id": (
        [{"secrets": [NEW], "businesses": ["mark"]}],
        "is not usable: the list, number 1, id: field required",
    ),
    "no secrets": (
        [{"id": "mark", "businesses": ["mark"]}],
        "is not usable: the list, number 1, secrets: field required",
    ),
    "no businesses": (
        [{"id": "mark", "secrets": [NEW]}],
        "is not usable: the list, number 1, businesses: field required",
    ),
    "a member too many": (
        [entry(mark="mark")],
        "is not usable: the list, number 1: extra inputs are not permitted",
    ),
    "an id with a space": (
        [entry(id="mark a")],
        (
            "is not usable: the list, number 1, id: string should match pattern "
            "'^[A-Za-z0-9._-]{1,64}$'"
        ),
    ),
    "an id with a line break": (
        [entry(id="mark\n")],
        (
            "is not usable: the list, number 1, id: string should match pattern "
            "'^[A-Za-z0-9._-]{1,64}$'"
        ),
    ),
    "an id that is a number": (
        [entry(id=1)],
        "is not usable: the list, number 1, id: input should be a valid string",
    ),
    "the same id twice": ([entry(), entry(secrets=[OLD])], "has two entries with the same id"),
    "the same secret twice": ([entry(), entry(id="b", secrets=[NEW])], "has the same secret twice"),
    "the same secret, written otherwise": (
        [entry(secrets=[PADDED, PADDED.rstrip("=")])],
        "has the same secret twice",
    ),
    "an empty list of secrets": (
        [entry(secrets=[])],
        (
            "is not usable: the list, number 1, secrets: list should have at least 1 "
            "item after validation, not 0"
        ),
    ),
    "four secrets": (
        [entry(secrets=[new_secret() for _ in range(4)])],
        (
            "is not usable: the list, number 1, secrets: list should have at most 3 "
            "items after validation, not 4"
        ),
    ),
    "a secret without its prefix": (
        [entry(secrets=[OLD, NEW.removeprefix("whsec_")])],
        f"is not usable: the list, number 1, secrets, number 2: {NO_SECRET}",
    ),
    "a secret that is no base64": (
        [entry(secrets=["whsec_mark!" * 6])],
        f"is not usable: the list, number 1, secrets, number 1: {NO_SECRET}",
    ),
    "a secret beyond ASCII": (
        [entry(secrets=["whsec_märk"])],
        f"is not usable: the list, number 1, secrets, number 1: {NO_SECRET}",
    ),
    "a short secret": (
        [entry(secrets=[new_secret(23)])],
        f"is not usable: the list, number 1, secrets, number 1: {NO_SECRET}",
    ),
    "a long secret": (
        [entry(secrets=[new_secret(76)])],
        f"is not usable: the list, number 1, secrets, number 1: {NO_SECRET}",
    ),
    "a secret that is a number": (
        [entry(secrets=[1])],
        f"is not usable: the list, number 1, secrets, number 1: {NO_SECRET}",
    ),
    "an empty list of businesses": (
        [entry(businesses=[])],
        (
            "is not usable: the list, number 1, businesses: list should have at least 1 "
            "item after validation, not 0"
        ),
    ),
    "a wildcard": (
        [entry(businesses=["mark@contoso.com", "*"])],
        (
            "is not usable: the list, number 1, businesses, number 2: must name one "
            "booking business; there is no wildcard"
        ),
    ),
    "a wildcard in an address": (
        [entry(businesses=["*@mark.com"])],
        (
            "is not usable: the list, number 1, businesses, number 1: must name one "
            "booking business; there is no wildcard"
        ),
    ),
    "a blank business": (
        [entry(businesses=[" "])],
        "is not usable: the list, number 1, businesses, number 1: must not be blank",
    ),
}


@pytest.mark.parametrize(("value", "expected"), FAULTS.values(), ids=FAULTS.keys())
def test_each_fault_of_the_setting_has_one_sentence_that_repeats_nothing(
    value: Any, expected: str
) -> None:
    with pytest.raises(Misconfigured) as caught:
        read(WEBHOOK_KEYS=value if isinstance(value, str) else json.dumps(value))

    assert caught.value.reason == f"The setting WEBHOOK_KEYS {expected}."
    assert caught.value.__suppress_context__
    assert "mark" not in caught.value.reason
    for secret in (OLD, NEW, NEW.removeprefix("whsec_")):
        assert secret not in caught.value.reason


def test_the_signatures_of_these_tests_are_those_of_the_specification() -> None:
    """The example of the specification's reference implementations."""
    secret, webhook_id, body = (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        b'{"test": 2432232314}',
    )
    assert (
        sign(secret, webhook_id, 1614265330, body)
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )
