"""What is told about a request: one line that a machine can read and that holds nothing it must
not.
"""

import logging
import re
import shlex
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.telemetry import journal as telemetry
from shared.telemetry.journal import Journal, pseudonym, read_correlation_id, tell

LOGGER = "facade.request"


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def every_line(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO, "facade"):
        yield


def only_line(caplog: pytest.LogCaptureFixture) -> tuple[int, str]:
    (record,) = caplog.records
    assert record.name == LOGGER
    assert record.exc_info is None
    return record.levelno, record.getMessage()


def fields_of(line: str) -> dict[str, str]:
    """Read name=value back, as a shell would."""
    return dict(part.split("=", 1) for part in shlex.split(line))


def test_a_request_is_one_line_of_names_and_values(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    journal = Journal("0f8f", clock, "flow-7")
    journal.note(tenant="t", caller=None, confirmed=True, attempts=2)
    journal.graph_call("cancel", "unanswered", status=None, graph_request_id=None, seconds=0.5004)
    journal.graph_call("look", "answered", status=404, graph_request_id="7b2e", seconds=0.0311)
    clock.time += 1.23456
    journal.write(200, "not_found")

    level, line = only_line(caplog)
    assert level == logging.INFO
    assert line == (
        "event=request status=200 code=not_found ms=1234.6 requestId=0f8f "
        "correlationId=flow-7 tenant=t confirmed=true attempts=2 "
        "graph=cancel:-:unanswered:-:500ms,look:404:answered:7b2e:31ms"
    )


def test_each_call_is_told_with_the_code_of_graph_and_an_id_of_its_own(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    journal = Journal("0f8f", clock)
    told: list[tuple[str | None, str | None]] = [
        ("ErrorItemNotFound", "c1"),
        (None, "c2"),
        (None, None),
    ]
    for code, call_id in told:
        journal.graph_call(
            "look",
            "answered",
            status=404,
            graph_request_id=None,
            seconds=0.0,
            code=code,
            call_id=call_id,
        )
    journal.write(200, "not_found")
    assert only_line(caplog)[1].endswith(" codes=ErrorItemNotFound,-,- callIds=c1,c2,-")


def test_what_is_not_known_is_left_out(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    Journal("0f8f", clock).write(401, "missing_token")
    assert (
        only_line(caplog)[1] == "event=request status=401 code=missing_token ms=0.0 requestId=0f8f"
    )


@pytest.mark.parametrize(
    ("code", "level"),
    [
        ("cancelled", logging.INFO),
        ("invalid_token", logging.INFO),
        ("outcome_unknown", logging.INFO),
        ("misconfigured", logging.ERROR),
        ("internal_error", logging.ERROR),
    ],
)
def test_what_an_operator_has_to_mend_is_an_error(
    caplog: pytest.LogCaptureFixture, clock: Clock, code: str, level: int
) -> None:
    Journal("0f8f", clock).write(500, code)
    assert only_line(caplog)[0] == level


def test_a_later_note_replaces_an_earlier_one(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    journal = Journal("0f8f", clock)
    journal.note(step="one", kept="yes")
    journal.note(step="two", kept=None)
    journal.write(200, "cancelled")

    assert fields_of(only_line(caplog)[1])["step"] == "two"
    assert fields_of(only_line(caplog)[1])["kept"] == "yes"


def test_what_a_thread_tells_is_written_by_whoever_writes_the_request(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    log = logging.getLogger("facade.test")
    journal = Journal("0f8f", clock)
    with journal.collecting(), ThreadPoolExecutor(1) as threads:
        threads.submit(
            copy_context().run,
            lambda: tell(log, logging.ERROR, "credential_refused", "code=%s", "AADSTS7000215"),
        ).result()
        assert caplog.records == []
    journal.write(500, "misconfigured")

    event, request = caplog.records
    assert (event.levelno, event.name) == (logging.ERROR, "facade.test")
    assert event.getMessage() == "event=credential_refused code=AADSTS7000215 requestId=0f8f"
    assert event.thread == request.thread == threading.get_ident()


def test_what_comes_after_the_answer_is_no_line(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    journal = Journal("0f8f", clock)
    with journal.collecting():
        journal.write(504, "outcome_unknown")
        tell(logging.getLogger("facade.test"), logging.ERROR, "store_unavailable", "step=complete")
    assert [record.getMessage().split()[0] for record in caplog.records] == ["event=request"]


def test_two_requests_never_tell_for_one_another(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    log = logging.getLogger("facade.test")
    outer, inner = Journal("outer", clock), Journal("inner", clock)
    with outer.collecting():
        with inner.collecting():
            tell(log, logging.INFO, "credential_changed")
        tell(log, logging.INFO, "credential_accepted_again")
    inner.write(200, "cancelled")
    outer.write(200, "cancelled")
    told = [fields_of(record.getMessage()) for record in caplog.records]
    assert [(fields["event"], fields["requestId"]) for fields in told] == [
        ("credential_changed", "inner"),
        ("request", "inner"),
        ("credential_accepted_again", "outer"),
        ("request", "outer"),
    ]


def test_a_bug_is_told_by_its_kind_and_its_place_and_never_by_its_text(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    journal = Journal("0f8f", clock)

    def fail() -> None:
        raise KeyError("MARKER")

    try:
        fail()
    except KeyError as error:
        journal.bug(error)
    journal.write(500, "internal_error")

    level, line = only_line(caplog)
    assert level == logging.ERROR
    assert "MARKER" not in line
    assert fields_of(line)["error"] == "KeyError"
    assert re.fullmatch(
        r"test_telemetry\.py:\d+:test_\w+,test_telemetry\.py:\d+:fail", fields_of(line)["at"]
    )


def test_a_bug_without_a_place_is_told_too(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    journal = Journal("0f8f", clock)
    journal.bug(RecursionError())
    journal.write(500, "internal_error")
    assert fields_of(only_line(caplog)[1]) | {"ms": ""} == {
        "event": "request",
        "status": "500",
        "code": "internal_error",
        "ms": "",
        "requestId": "0f8f",
        "error": "RecursionError",
        "at": "",
    }


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["reason", "tenant", "entra"]), st.text(), min_size=1))
def test_no_value_breaks_the_line_or_passes_for_another_field(facts: dict[str, str]) -> None:
    lines = list[str]()
    watching = logging.Handler()
    watching.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(LOGGER)
    logger.addHandler(watching)
    try:
        journal = Journal("0f8f", Clock())
        journal.note(**facts)
        journal.write(200, "cancelled")
    finally:
        logger.removeHandler(watching)

    (line,) = lines
    assert line.isascii()
    assert line.isprintable()
    read = re.findall(r'([A-Za-z]+)=("[^"]*"|[^ "]*)(?: |$)', line)
    assert " ".join(f"{name}={value}" for name, value in read) == line
    assert {name for name, _ in read} == {"event", "status", "code", "ms", "requestId", *facts}


def test_late_work_may_go_on_adding_while_the_line_is_written(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    journal = Journal("0f8f", clock)
    stop = threading.Event()

    def go_on() -> None:
        number = 0
        while not stop.is_set():
            journal.note(**{f"fact{number % 100_000}": number})
            journal.graph_call("look", "answered", status=200, graph_request_id=None, seconds=0.0)
            number += 1

    switching_s = sys.getswitchinterval()
    late = threading.Thread(target=go_on)
    sys.setswitchinterval(1e-6)
    late.start()
    try:
        for _ in range(20):
            journal.write(504, "outcome_unknown")
    finally:
        stop.set()
        late.join()
        sys.setswitchinterval(switching_s)
    assert len(caplog.records) == 20


# Correlation.


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        (None, None),
        ("", None),
        ("a", "a"),
        (" 08dd3c8f-1b2a.flow_7:3 ", "08dd3c8f-1b2a.flow_7:3"),
        ("a" * 128, "a" * 128),
        ("a" * 129, None),
        ("a b", None),
        ("a,b", None),
        ("a\r\nSet-Cookie: b", None),
        ("a\n", "a"),
        ('a"b', None),
        ("a=b", None),
        ("ä", None),
        ("\u0661", None),
        ("a@contoso.com", None),
    ],
    ids=ascii,
)
def test_a_correlation_id_is_a_plain_word_or_ignored(header: str | None, taken: str | None) -> None:
    assert read_correlation_id(header) == taken


# People and mailboxes.


def test_a_pseudonym_is_short_and_always_the_same() -> None:
    assert pseudonym("tenant", "user") == pseudonym("tenant", "user")
    assert re.fullmatch("[0-9a-f]{12}", pseudonym("tenant", "user"))


def test_different_people_have_different_pseudonyms() -> None:
    named = [("a", "b"), ("ab",), ("", "ab"), ("ab", ""), ("b", "a"), ("a",), ("\ud800",), ("é",)]
    assert len({pseudonym(*parts) for parts in named}) == len(named)


odd = st.sampled_from(["", " ", "=", "a=", "a b", '"', "\n", "ä", "a", "b c=d", "True"]) | st.text(
    max_size=5
)


@settings(deadline=None)
@given(
    fields=st.dictionaries(
        st.sampled_from("abcdef"), odd | st.booleans() | st.integers() | st.floats(), min_size=1
    )
)
def test_the_look_at_the_whole_line_comes_to_the_same_as_one_at_each_value(
    fields: dict[str, object],
) -> None:
    assert telemetry._in_one_line(fields) == " ".join(
        f"{name}={telemetry._plain(value)}" for name, value in fields.items()
    )
