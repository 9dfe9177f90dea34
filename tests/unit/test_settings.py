"""Settings: defaults, clouds, and the errors.

Each way to be wrong has one sentence that names the setting, never its value.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import Misconfigured
from shared.services import caller_rules
from shared.settings import Cloud, Settings

TENANT = "84bd8158-6d4d-4958-8b9f-9d6445542f95"
CLIENT = "6731de76-14a6-49ae-97bc-6eba6914391e"
OTHER = "1b730954-1685-4b74-9bfd-dac224a7b894"
LEAST = {"TENANT_ID": TENANT, "CLIENT_ID": CLIENT, "CLIENT_SECRET": "kept~to~itself"}


def read(**overrides: str | None) -> Settings:
    return Settings.read(
        {name: value for name, value in {**LEAST, **overrides}.items() if value is not None}
    )


def sentence(**overrides: str | None) -> str:
    with pytest.raises(Misconfigured) as caught:
        read(**overrides)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    return caught.value.reason


@pytest.fixture
def certificate(tmp_path: Path) -> str:
    file = tmp_path / "certificate.pem"
    file.write_text("not read here")
    return str(file)


# What is assumed.


def test_tenant_client_and_a_credential_are_enough() -> None:
    found = read()

    assert found.client_secret is not None
    assert found.client_secret.get_secret_value() == "kept~to~itself"
    assert found.model_dump(exclude={"client_secret"}) == {
        "tenant_id": TENANT,
        "client_id": CLIENT,
        "client_certificate_path": None,
        "client_certificate_password": None,
        "managed_identity_client_id": None,
        "cloud": Cloud.GLOBAL,
        "entra_authority_host": "https://login.microsoftonline.com",
        "graph_endpoint": "https://graph.microsoft.com",
        "graph_api_version": "v1.0",
        "graph_bookings_root": "solutions/bookingBusinesses",
        "graph_scope": "BookingsAppointment.ReadWrite.All",
        "audiences": (CLIENT, f"api://{CLIENT}"),
        "allowed_tenants": (TENANT,),
        "allowed_client_ids": (),
        "required_scope": "Appointments.Cancel",
        "default_cancellation_message": "Your appointment has been cancelled.",
        "request_deadline_seconds": 10.0,
        "max_concurrency": 64,
        "max_concurrency_per_business": 4,
        "idempotency_store": "memory",
        "idempotency_table_endpoint": None,
        "idempotency_table_connection_string": None,
        "idempotency_table_name": "idempotency",
        "webhook_keys": (),
        "ca_bundle": None,
        "telemetry": "off",
        "applicationinsights_connection_string": None,
    }


@pytest.mark.parametrize("blank", ["", " ", "\t\r\n"], ids=repr)
def test_a_blank_setting_counts_as_absent(blank: str) -> None:
    optional = {
        name.upper(): blank
        for name, field in Settings.model_fields.items()
        if not field.is_required()
    }
    assert Settings.read(optional | LEAST) == read()


def test_what_other_software_sets_is_left_alone() -> None:
    assert read(PATH="/usr/bin", tenant_id="not-a-guid", TENANT_ID_2="x") == read()


@pytest.mark.parametrize(
    ("cloud", "authority", "graph"),
    [
        ("global", "https://login.microsoftonline.com", "https://graph.microsoft.com"),
        ("usgov", "https://login.microsoftonline.us", "https://graph.microsoft.us"),
        ("dod", "https://login.microsoftonline.us", "https://dod-graph.microsoft.us"),
        (" UsGov ", "https://login.microsoftonline.us", "https://graph.microsoft.us"),
    ],
)
def test_a_cloud_sets_both_addresses_and_the_scope(cloud: str, authority: str, graph: str) -> None:
    found = read(CLOUD=cloud)
    assert (found.entra_authority_host, found.graph_endpoint) == (authority, graph)
    assert found.graph_scope_uri == f"{graph}/BookingsAppointment.ReadWrite.All"


def test_an_address_of_ones_own_changes_where_is_asked_and_not_what_is_asked_for() -> None:
    found = read(
        CLOUD="usgov",
        ENTRA_AUTHORITY_HOST="https://localhost:8444/",
        GRAPH_ENDPOINT="HTTPS://LocalHost:8443",
    )
    assert (found.entra_authority_host, found.graph_endpoint) == (
        "https://localhost:8444",
        "https://localhost:8443",
    )
    assert found.graph_scope_uri == "https://graph.microsoft.us/BookingsAppointment.ReadWrite.All"


@pytest.mark.parametrize(
    "root", ["bookingBusinesses", "/bookingBusinesses/", " bookingBusinesses "]
)
def test_the_preview_address_can_be_chosen(root: str) -> None:
    found = read(GRAPH_API_VERSION="beta", GRAPH_BOOKINGS_ROOT=root)
    assert (found.graph_api_version, found.bookings_segments) == ("beta", ("bookingBusinesses",))


@pytest.mark.parametrize(
    "written", [TENANT.upper(), f" {TENANT} ", f"{{{TENANT}}}", TENANT.replace("-", "")]
)
def test_a_guid_is_read_however_it_is_written(written: str) -> None:
    assert read(TENANT_ID=written).tenant_id == TENANT


def test_lists_are_separated_by_commas_and_spaces_do_not_count() -> None:
    found = read(
        AUDIENCES=f" api://one ,{CLIENT},",
        ALLOWED_TENANTS=f"{TENANT} , {OTHER.upper()}",
        ALLOWED_CLIENT_IDS=OTHER,
    )
    assert found.audiences == ("api://one", CLIENT)
    assert found.allowed_tenants == (TENANT, OTHER)
    assert found.allowed_client_ids == (OTHER,)


@pytest.mark.parametrize(
    "given",
    [
        {"CLIENT_SECRET": "s"},
        {"CLIENT_SECRET": None, "MANAGED_IDENTITY_CLIENT_ID": OTHER},
        {"CLIENT_SECRET": None, "CLIENT_CERTIFICATE_PATH": "certificate"},
        {
            "CLIENT_SECRET": None,
            "CLIENT_CERTIFICATE_PATH": "certificate",
            "CLIENT_CERTIFICATE_PASSWORD": "p",
        },
    ],
    ids=["secret", "managed identity", "certificate", "certificate with password"],
)
def test_there_are_three_ways_to_prove_who_we_are(
    given: dict[str, str | None], certificate: str
) -> None:
    found = read(
        **{name: certificate if value == "certificate" else value for name, value in given.items()}
    )
    assert {name for name in given if given[name]} == {
        name.upper()
        for name in (
            "client_secret",
            "managed_identity_client_id",
            "client_certificate_path",
            "client_certificate_password",
        )
        if getattr(found, name) is not None
    }


def test_a_table_of_records_can_be_chosen() -> None:
    by_identity = read(
        IDEMPOTENCY_STORE="table", IDEMPOTENCY_TABLE_ENDPOINT="https://x.table.core.windows.net/"
    )
    by_string = read(
        IDEMPOTENCY_STORE="table",
        IDEMPOTENCY_TABLE_CONNECTION_STRING="AccountKey=k",
        IDEMPOTENCY_TABLE_NAME="Records1",
    )

    assert by_identity.idempotency_table_endpoint == "https://x.table.core.windows.net"
    assert (by_string.idempotency_table_name, by_string.idempotency_table_endpoint) == (
        "Records1",
        None,
    )


# What is refused. Each value that must not be repeated holds "mark".

GUID = "must be a GUID, e.g. 11111111-2222-3333-4444-555555555555."
ADDRESS = "must be an https address without a path, e.g. https://graph.microsoft.com."
EMPTY = "must be a list with at least one entry, separated by commas."
CREDENTIALS = "CLIENT_SECRET, CLIENT_CERTIFICATE_PATH, MANAGED_IDENTITY_CLIENT_ID"
FILE = "names a file that cannot be read."
WRONG: dict[str, tuple[dict[str, str | None], str]] = {
    "no tenant": ({"TENANT_ID": None}, "The setting TENANT_ID is missing."),
    "no client": ({"CLIENT_ID": " "}, "The setting CLIENT_ID is missing."),
    "tenant by name": ({"TENANT_ID": "mark.onmicrosoft.com"}, f"The setting TENANT_ID {GUID}"),
    "tenant common": ({"TENANT_ID": "common"}, f"The setting TENANT_ID {GUID}"),
    "client": ({"CLIENT_ID": f"api://{CLIENT}/mark"}, f"The setting CLIENT_ID {GUID}"),
    "managed identity": (
        {"CLIENT_SECRET": None, "MANAGED_IDENTITY_CLIENT_ID": "mark"},
        f"The setting MANAGED_IDENTITY_CLIENT_ID {GUID}",
    ),
    "no credential": (
        {"CLIENT_SECRET": None},
        f"Exactly one of {CREDENTIALS} must be set; none is.",
    ),
    "two credentials": (
        {"CLIENT_SECRET": "mark", "MANAGED_IDENTITY_CLIENT_ID": OTHER},
        (
            f"Exactly one of {CREDENTIALS} must be set; CLIENT_SECRET and "
            "MANAGED_IDENTITY_CLIENT_ID are."
        ),
    ),
    "password without certificate": (
        {"CLIENT_CERTIFICATE_PASSWORD": "mark"},
        "CLIENT_CERTIFICATE_PASSWORD is set without CLIENT_CERTIFICATE_PATH.",
    ),
    "no such certificate": (
        {"CLIENT_SECRET": None, "CLIENT_CERTIFICATE_PATH": "/nowhere/mark.pfx"},
        f"The setting CLIENT_CERTIFICATE_PATH {FILE}",
    ),
    "certificate is a folder": (
        {"CLIENT_SECRET": None, "CLIENT_CERTIFICATE_PATH": "/"},
        f"The setting CLIENT_CERTIFICATE_PATH {FILE}",
    ),
    "no such bundle": ({"CA_BUNDLE": "/nowhere/mark.pem"}, f"The setting CA_BUNDLE {FILE}"),
    "bundle with NUL": ({"CA_BUNDLE": "mark\0"}, f"The setting CA_BUNDLE {FILE}"),
    "bundle too long": ({"CA_BUNDLE": "mark" * 5000}, f"The setting CA_BUNDLE {FILE}"),
    "cloud": (
        {"CLOUD": "mark"},
        "The setting CLOUD is not usable: input should be 'global', 'usgov' or 'dod'.",
    ),
    "china": (
        {"CLOUD": "China"},
        (
            "The setting CLOUD is 'china', and Microsoft Bookings does not exist there; use "
            "global, usgov or dod."
        ),
    ),
    "version": (
        {"GRAPH_API_VERSION": "v2.0-mark"},
        "The setting GRAPH_API_VERSION is not usable: input should be 'v1.0' or 'beta'.",
    ),
    "no such address": (
        {"GRAPH_BOOKINGS_ROOT": "bookingBusinesses"},
        (
            "GRAPH_API_VERSION is v1.0, which has the booking businesses below solutions only: set "
            "GRAPH_BOOKINGS_ROOT to solutions/bookingBusinesses, or GRAPH_API_VERSION to beta."
        ),
    ),
    "deadline no number": (
        {"REQUEST_DEADLINE_SECONDS": "10s-mark"},
        (
            "The setting REQUEST_DEADLINE_SECONDS is not usable: input should be a valid number, "
            "unable to parse string as a number."
        ),
    ),
    "deadline too short": (
        {"REQUEST_DEADLINE_SECONDS": "1.99"},
        (
            "The setting REQUEST_DEADLINE_SECONDS is not usable: input should be greater than or "
            "equal to 2."
        ),
    ),
    "deadline beyond the function's": (
        {"REQUEST_DEADLINE_SECONDS": "50.1"},
        (
            "The setting REQUEST_DEADLINE_SECONDS is not usable: input should be less than or "
            "equal to 50."
        ),
    ),
    "deadline nan": (
        {"REQUEST_DEADLINE_SECONDS": "nan"},
        (
            "The setting REQUEST_DEADLINE_SECONDS is not usable: input should be less than or "
            "equal to 50."
        ),
    ),
    "deadline infinite": (
        {"REQUEST_DEADLINE_SECONDS": "inf"},
        (
            "The setting REQUEST_DEADLINE_SECONDS is not usable: input should be less than or "
            "equal to 50."
        ),
    ),
    "no concurrency": (
        {"MAX_CONCURRENCY": "0"},
        "The setting MAX_CONCURRENCY is not usable: input should be greater than or equal to 1.",
    ),
    "half a concurrency": (
        {"MAX_CONCURRENCY_PER_BUSINESS": "4.5"},
        (
            "The setting MAX_CONCURRENCY_PER_BUSINESS is not usable: input should be a valid "
            "integer, unable to parse string as an integer."
        ),
    ),
    "long message": (
        {"DEFAULT_CANCELLATION_MESSAGE": "mark" * 501},
        (
            "The setting DEFAULT_CANCELLATION_MESSAGE is not usable: string should have at most "
            "2000 characters."
        ),
    ),
    "no audience": ({"AUDIENCES": " , "}, f"The setting AUDIENCES {EMPTY}"),
    "no tenant allowed": ({"ALLOWED_TENANTS": ","}, f"The setting ALLOWED_TENANTS {EMPTY}"),
    "no client allowed": ({"ALLOWED_CLIENT_IDS": ",,"}, f"The setting ALLOWED_CLIENT_IDS {EMPTY}"),
    "tenant list": ({"ALLOWED_TENANTS": f"{TENANT},mark"}, f"The setting ALLOWED_TENANTS {GUID}"),
    "client list": (
        {"ALLOWED_CLIENT_IDS": f"{OTHER} mark"},
        f"The setting ALLOWED_CLIENT_IDS {GUID}",
    ),
    "table without a place": (
        {"IDEMPOTENCY_STORE": "table"},
        (
            "IDEMPOTENCY_STORE is table, so exactly one of IDEMPOTENCY_TABLE_ENDPOINT and "
            "IDEMPOTENCY_TABLE_CONNECTION_STRING must be set."
        ),
    ),
    "table with two places": (
        {
            "IDEMPOTENCY_STORE": "table",
            "IDEMPOTENCY_TABLE_ENDPOINT": "https://mark.example",
            "IDEMPOTENCY_TABLE_CONNECTION_STRING": "AccountKey=mark",
        },
        (
            "IDEMPOTENCY_STORE is table, so exactly one of IDEMPOTENCY_TABLE_ENDPOINT and "
            "IDEMPOTENCY_TABLE_CONNECTION_STRING must be set."
        ),
    ),
    "place without table": (
        {"IDEMPOTENCY_TABLE_CONNECTION_STRING": "AccountKey=mark"},
        "IDEMPOTENCY_TABLE_CONNECTION_STRING is set, but IDEMPOTENCY_STORE is memory.",
    ),
    "telemetry of no kind": (
        {"TELEMETRY": "mark"},
        (
            "The setting TELEMETRY is not usable: input should be 'off', 'console', 'otlp' or "
            "'azure_monitor'."
        ),
    ),
    "azure monitor without its place": (
        {"TELEMETRY": "azure_monitor"},
        "TELEMETRY is azure_monitor, so APPLICATIONINSIGHTS_CONNECTION_STRING must be set.",
    ),
}


@pytest.mark.parametrize(("overrides", "expected"), WRONG.values(), ids=WRONG.keys())
def test_each_way_to_be_wrong_has_one_sentence_that_names_the_setting(
    overrides: dict[str, str | None], expected: str
) -> None:
    said = sentence(**overrides)

    assert said == expected
    assert "mark" not in said


@pytest.mark.parametrize(
    "address",
    [
        "http://mark.example",
        "mark.example",
        "https://",
        "https://mark.example/path",
        "https://mark.example?query",
        "https://mark.example#fragment",
        "https://user:mark@mark.example",
        "https://:mark@mark.example",
        "https://@mark.example",
        "https://mark.example:0",
        "https://mark.example:99999",
        "https://mark.example:port",
        "https://[mark",
        "https://mark\u2100.example",
        "ftp://mark.example",
    ],
)
@pytest.mark.parametrize(
    "name", ["ENTRA_AUTHORITY_HOST", "GRAPH_ENDPOINT", "IDEMPOTENCY_TABLE_ENDPOINT"]
)
def test_an_address_is_https_and_nothing_but_an_address(name: str, address: str) -> None:
    assert sentence(**{name: address}) == f"The setting {name} {ADDRESS}"


@pytest.mark.parametrize(
    "root", ["a//b", "../a", "a/..", "a/../b", "a b", "a?b", "a#b", "a%2Fb", "a\\b", "/", "ä"]
)
def test_the_root_of_bookings_is_plain_segments(root: str) -> None:
    said = sentence(GRAPH_BOOKINGS_ROOT=root)
    assert said.startswith("The setting GRAPH_BOOKINGS_ROOT is not usable: string should match ")


@pytest.mark.parametrize("scope", ["a b", 'a"b', "a\\b", "a\nb", "ä", "a" * 101], ids=ascii)
@pytest.mark.parametrize("name", ["GRAPH_SCOPE", "REQUIRED_SCOPE"])
def test_a_scope_is_one_word(name: str, scope: str) -> None:
    said = sentence(**{name: scope})
    assert said.startswith(f"The setting {name} is not usable: string should match pattern ")
    assert scope not in said


@pytest.mark.parametrize("name", ["-records", "1records", "ab", "a" * 64, "a_b"])
def test_a_table_has_a_name_that_azure_takes(name: str) -> None:
    assert sentence(IDEMPOTENCY_TABLE_NAME=name).startswith(
        "The setting IDEMPOTENCY_TABLE_NAME is not usable: "
    )


values = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).map(
    lambda text: f"mark{text}"
)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([name.upper() for name in Settings.model_fields]), values, max_size=4
    )
)
def test_whatever_is_set_is_read_or_refused_in_one_sentence_without_a_value(
    overrides: dict[str, str],
) -> None:
    try:
        Settings.read(LEAST | overrides)
    except Misconfigured as error:
        said = error.reason
    else:
        return
    assert re.fullmatch(r"[^\n]+\.", said)
    assert re.search(r"\b[A-Z]+_[A-Z_]+\b|\bCLOUD\b|\bTELEMETRY\b", said)
    assert "mark" not in said


# What is kept to itself.


def test_secrets_do_not_show(certificate: str) -> None:
    shown = [
        read(CLIENT_SECRET="mark-1"),
        read(
            CLIENT_SECRET=None,
            CLIENT_CERTIFICATE_PATH=certificate,
            CLIENT_CERTIFICATE_PASSWORD="mark-2",
        ),
        read(IDEMPOTENCY_STORE="table", IDEMPOTENCY_TABLE_CONNECTION_STRING="AccountKey=mark-3"),
    ]
    for found in shown:
        assert "mark-" not in f"{found!r} {found!s} {found.model_dump()} {found.model_dump_json()}"


class Environment(Mapping[str, str]):
    """An environment that counts how often each variable is read."""

    def __init__(self, **variables: str) -> None:
        self.variables = variables
        self.reads = Counter[str]()

    def __getitem__(self, name: str) -> str:
        self.reads[name] += 1
        return self.variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.variables)

    def __len__(self) -> int:
        return len(self.variables)


def test_the_environment_is_read_once_and_not_followed_afterwards() -> None:
    environment = Environment(**LEAST)
    found = Settings.read(environment)
    environment.variables["TENANT_ID"] = OTHER

    assert set(environment.reads.values()) == {1}
    assert found.tenant_id == TENANT


# What callers are held to.


def test_an_audience_is_taken_with_and_without_a_slash_at_its_end() -> None:
    rules = caller_rules(read(AUDIENCES=f"{CLIENT},api://one,https://two.example/"))
    assert rules.audiences == {
        CLIENT,
        "api://one",
        "api://one/",
        "https://two.example",
        "https://two.example/",
    }


def test_rules_for_callers_are_those_of_the_settings() -> None:
    rules = caller_rules(
        read(
            ALLOWED_TENANTS=OTHER,
            ALLOWED_CLIENT_IDS=CLIENT,
            REQUIRED_SCOPE="Other.Scope",
            CLOUD="dod",
        )
    )
    assert rules.authority_host == "https://login.microsoftonline.us"
    assert rules.audiences == {CLIENT, f"api://{CLIENT}", f"api://{CLIENT}/"}
    assert rules.tenants == {OTHER}
    assert rules.clients == {CLIENT}
    assert rules.required_scope == "Other.Scope"
