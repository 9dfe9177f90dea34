"""Where the tables of an account are, and how a request shows who sends it."""

from typing import Any

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.rest import HttpRequest
from azure.data.tables._authentication import SharedKeyCredentialPolicy

from shared.records.account import by_connection_string, by_token

KEYED = "AccountName=acc;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net"
EMULATED = "AccountName=acc;AccountKey=c2VjcmV0;TableEndpoint=http://127.0.0.1:10002/acc;"
DATE = {"x-ms-date": "Sat, 28 Nov 2026 20:30:45 GMT"}


@pytest.mark.parametrize(
    ("text", "root"),
    [(KEYED, ""), (EMULATED, "/acc")],
    ids=["Azure", "the emulator"],
)
@pytest.mark.parametrize(
    ("method", "target", "kind"),
    [
        ("POST", "/$batch", "multipart/mixed; boundary=batch_1"),
        ("GET", "/records(PartitionKey='it%27%27s',RowKey='b')", ""),
        ("GET", "/records()?$top=100&$filter=PartitionKey%20ge%20%2700%27", ""),
        ("POST", "/Tables", "application/json"),
    ],
    ids=["transaction", "read", "query", "creation"],
)
def test_a_request_is_signed_as_azures_own_client_signs_it(
    text: str, root: str, method: str, target: str, kind: str
) -> None:
    account = by_connection_string(text)
    headers = {**DATE, **({"Content-Type": kind} if kind else {})}
    theirs = HttpRequest(method, f"{account.endpoint}{target}", headers=headers)
    sign: Any = SharedKeyCredentialPolicy
    wire: Any = None
    sign(AzureNamedKeyCredential("acc", "c2VjcmV0")).sign_request(
        PipelineRequest(theirs, PipelineContext(wire))
    )
    assert account.prove(method, f"{root}{target}", headers) == f"{root}{target}"
    assert headers["Authorization"] == theirs.headers["Authorization"]


@pytest.mark.parametrize("mark", ["", "?"])
def test_a_shared_access_signature_goes_with_the_address(mark: str) -> None:
    account = by_connection_string(
        f"AccountName=acc;SharedAccessSignature={mark}sv=2020&sig=a%2Fb%3D"
    )
    headers = dict(DATE)
    assert account.prove("POST", "/$batch", headers) == "/$batch?sv=2020&sig=a%2Fb%3D"
    assert account.prove("GET", "/t()?$top=1", headers) == "/t()?$top=1&sv=2020&sig=a%2Fb%3D"
    assert headers == DATE


def test_a_token_is_asked_for_each_time() -> None:
    tokens = iter(["first", "second"])
    account = by_token("https://acc.table.core.windows.net/", lambda: next(tokens))
    assert account.endpoint == "https://acc.table.core.windows.net"
    for token in ("first", "second"):
        headers = dict(DATE)
        assert account.prove("GET", "/t()?a=b", headers) == "/t()?a=b"
        assert headers == {**DATE, "Authorization": f"Bearer {token}"}


def test_a_token_is_never_sent_in_the_clear() -> None:
    with pytest.raises(ValueError, match="HTTPS"):
        by_token("http://127.0.0.1:1/a", lambda: "token")


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        (KEYED, "https://acc.table.core.windows.net"),
        (f"DefaultEndpointsProtocol=http;{KEYED}", "http://acc.table.core.windows.net"),
        (
            "AccountName=acc;AccountKey=c2VjcmV0;EndpointSuffix=core.usgovcloudapi.net",
            "https://acc.table.core.usgovcloudapi.net",
        ),
        ("accountname=acc;ACCOUNTKEY=c2VjcmV0", "https://acc.table.core.windows.net"),
        (EMULATED, "http://127.0.0.1:10002/acc"),
        ("UseDevelopmentStorage=true", "http://127.0.0.1:10002/devstoreaccount1"),
        ("UseDevelopmentStorage=True;", "http://127.0.0.1:10002/devstoreaccount1"),
        ("TableEndpoint=https://t.example/;SharedAccessSignature=sv=1", "https://t.example"),
        ("TableEndpoint=t.example;AccountName=acc;AccountKey=c2VjcmV0", "https://t.example"),
    ],
)
def test_a_connection_string_names_the_address_of_the_tables(text: str, endpoint: str) -> None:
    assert by_connection_string(text).endpoint == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "AccountName=acc",
        "AccountName=;AccountKey=c2VjcmV0",
        "AccountKey=c2VjcmV0",
        "AccountName=acc;AccountKey=not base64",
        "SharedAccessSignature=sv=1",
        "TableEndpoint=ftp://t.example;SharedAccessSignature=sv=1",
    ],
)
def test_what_is_no_connection_string_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"connection string|Base64|base64|unpack|sequence"):
        by_connection_string(text)


def test_a_key_does_not_show_itself() -> None:
    assert "c2VjcmV0" not in repr(by_connection_string(KEYED))
