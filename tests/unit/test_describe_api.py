"""The document is read when somebody asks for it, and once."""

import asyncio
from pathlib import Path

import azure.functions as func
import pytest

from describe_api import triggers
from shared.lazy import Lazy


def ask(**headers: str) -> func.HttpResponse:
    request = func.HttpRequest("GET", "/api/v1/openapi.json", headers=headers, body=b"")
    function = triggers.openapi_json._function.get_user_function()
    answer: func.HttpResponse = asyncio.run(function(request))
    return answer


def test_the_document_is_read_when_it_is_first_asked_for_and_not_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    document = tmp_path / "openapi.json"
    monkeypatch.setattr(triggers, "_OPENAPI", document)
    monkeypatch.setattr(triggers, "_document", Lazy(triggers._read))
    with pytest.raises(FileNotFoundError):
        ask()

    document.write_bytes(b'{"openapi": "3.1.0"}')
    first = ask()
    document.unlink()
    again = ask()
    assert (first.status_code, first.get_body()) == (200, b'{"openapi": "3.1.0"}')
    assert (again.get_body(), again.headers["ETag"]) == (first.get_body(), first.headers["ETag"])
    assert ask(**{"if-none-match": f"W/{first.headers['ETag']}"}).status_code == 304
