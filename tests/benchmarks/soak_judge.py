"""What may be said in a soak.

One request, its answer, and what the upstream saw are set against the contract.

Owns the violations. The codes and their statuses are written down a second time on purpose, as in
``tests/integration/violations.py``, whose check of shapes is used.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from shared.serving.problems import Problem
from tests.benchmarks.soak_script import NEVER_WAS, WRONGS, Seen
from tests.integration.violations import Ids, Told, off_contract

# Status and retryable of the codes that violations.py does not know: the answers to a request that
# is not well-formed, not allowed, or refused by Graph.
_REFUSALS: Mapping[str, tuple[int, bool]] = {
    "missing_token": (401, False),
    "invalid_token": (401, False),
    "insufficient_scope": (403, False),
    "interaction_required": (401, False),
    "access_denied": (403, False),
    "invalid_request": (400, False),
    "unsupported_media_type": (415, False),
    "payload_too_large": (413, False),
    "idempotency_key_reused": (422, False),
}
_BUSY = frozenset(
    {"overloaded", "upstream_unavailable"}
)  # always true, but a soak should not often get it


@dataclass(frozen=True, slots=True)
class Errand:
    """One request.

    ``says`` holds the answers that are allowed: an outcome, with ``?`` if not confirmed and ``+``
    if replayed, or a code.

    ``letter`` and ``number`` are of its appointment. ``alone``: nobody else asks, or has asked, for
    that appointment.
    """

    kind: str
    ids: Ids
    letter: str
    number: int
    user: int
    says: frozenset[str]
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    key: str | None = None
    alone: bool = True


def word(told: Told) -> str:
    """Return an answer in one word, as ``Errand.says`` has it."""
    if told.status != 200:
        return told.code
    members = told.members
    return (
        told.code
        + ("" if members.get("confirmed") is True else "?")
        + ("+" if members.get("replayed") is True else "")
    )


def is_excused(errand: Errand, said: str) -> bool:
    """Tell whether an answer is true but not the expected one, because of too much load.

    The service, or what is behind it, had too much to do.
    """
    return said not in errand.says and (said in _BUSY or said == "outcome_unknown")


def judge(errand: Errand, told: Told, seen: Seen) -> Iterator[str]:
    """Say what is wrong with an answer.

    ``seen`` is what the upstream had seen of the appointment when the answer came.
    """
    said = word(told)
    yield from _off_refusal(told) if told.code in _REFUSALS else off_contract(told)
    if said not in errand.says and not is_excused(errand, said):
        yield f"{told.status} {said} where {' or '.join(sorted(errand.says))} was due"
    yield from _untrue(errand, said, seen)
    yield from (wrong for flag, wrong in WRONGS.items() if seen & flag)


def _untrue(errand: Errand, said: str, seen: Seen) -> Iterator[str]:
    gone = bool(seen & Seen.GONE)
    match said.rstrip("+"):
        case "cancelled" | "cancelled?":
            if not gone:
                yield "cancelled was said of an appointment that no cancel was carried out for"
        case "not_found":
            if gone or errand.letter != NEVER_WAS:
                yield "not_found, confirmed, was said of an appointment that stood"
        case "not_found?":
            if not gone and errand.letter != NEVER_WAS:
                yield "not_found was said of an appointment that stands"
        case "outcome_unknown":
            pass
        case _:
            if gone and errand.alone:
                yield "a problem that says nothing was changed, and a cancel was carried out"


def _off_refusal(told: Told) -> Iterator[str]:
    headers = {name.lower(): value for name, value in told.headers.items()}
    try:
        problem = Problem.model_validate_json(told.body, strict=True)
    except ValidationError as error:
        yield f"no Problem: {error.errors(include_url=False, include_input=False)}"
        return
    if problem.model_dump(by_alias=True, exclude_none=True, mode="json") != told.members:
        yield "members that the contract does not have, or null"
    if (told.status, problem.status, problem.retryable) != (
        _REFUSALS[problem.code][0],
        *_REFUSALS[problem.code],
    ):
        yield "status or retryable do not fit the code"
    if (headers.get("content-type"), headers.get("cache-control")) != (
        "application/json",
        "no-store",
    ):
        yield "headers that every answer has are missing"
    if told.status == 401 and not headers.get("www-authenticate", "").startswith("Bearer"):
        yield "a 401 without a challenge"
    if (problem.code == "invalid_request") != bool(problem.errors):
        yield "faults where none are due, or none where they are"
