"""The examples are real: what the service answers today has the shape of what was recorded."""

from typing import Any

import pytest

from infra.contract.files import EXAMPLES, examples
from infra.contract.recording import Recorded, record_all
from tests.contract.test_documents import MAKE, read


@pytest.fixture(scope="module")
def answered_now() -> dict[str, Recorded]:
    return {one.name: one for one in record_all()}


def shape(value: Any) -> Any:
    """Return what a reader may rely on: members and the types of their values."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else type(value).__name__


@pytest.mark.timeout(110)
def test_every_example_is_what_the_service_answers(answered_now: dict[str, Recorded]) -> None:
    assert {f"{name}.json" for name in answered_now} == {
        path.name for path in EXAMPLES.glob("*.json")
    }, MAKE
    for path in examples(answered_now.values()):
        was, now = read(path), answered_now[path.stem]
        assert was["request"] == now.request, f"{path.name}: {MAKE}"
        assert shape(was["response"]) == shape(now.response), f"{path.name}: {MAKE}"
        for word in (
            "status",
            "outcome",
            "cancelled",
            "confirmed",
            "replayed",
            "code",
            "type",
            "title",
            "retryable",
        ):
            assert was["response"]["body"].get(word) == now.response["body"].get(word), (
                f"{path.name}: {MAKE}"
            )


def test_nothing_that_differs_from_run_to_run_or_is_secret_is_shown(
    answered_now: dict[str, Recorded],
) -> None:
    for text in examples(answered_now.values()).values():
        for word in ("localhost", "127.0.0.1", "eyJhbGci", "eyJ0eXAi", "client_secret"):
            assert word not in text
