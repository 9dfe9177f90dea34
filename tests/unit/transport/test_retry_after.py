"""How long to wait."""

import email.utils
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.transport.retry_after import backoff_s, parse_retry_after

NOW = datetime(2026, 11, 22, 20, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("0", 0.0, id="at once"),
        pytest.param("5", 5.0, id="seconds"),
        pytest.param("  315 ", 315.0, id="with spaces around"),
        pytest.param("007", 7.0, id="leading zeros"),
        pytest.param("9" * 4000, 9_999_999_999.0, id="absurd, and bounded"),
        pytest.param("Sun, 22 Nov 2026 20:00:30 GMT", 30.0, id="a date"),
        pytest.param("Sun, 22 Nov 2026 21:00:30 +0100", 30.0, id="a date with an offset"),
        pytest.param("Sun, 22 Nov 2026 20:00:30 -0000", 30.0, id="a date of no known zone"),
        pytest.param("Sun Nov 22 20:00:30 2026", 30.0, id="a date as asctime writes it"),
        pytest.param("Sunday, 22-Nov-26 20:00:30 GMT", 30.0, id="a date of RFC 850"),
        pytest.param("Sun, 22 Nov 2026 19:59:00 GMT", 0.0, id="a date that is past"),
        pytest.param("Thu, 01 Jan 1970 00:00:00 GMT", 0.0, id="the epoch"),
        pytest.param(None, None, id="no header"),
        pytest.param("", None, id="empty"),
        pytest.param("-5", None, id="negative"),
        pytest.param("1.5", 2.0, id="a decimal is rounded up"),
        pytest.param("45.7", 46.0, id="another decimal"),
        pytest.param("0.249", 1.0, id="less than a second, seen of Graph"),
        pytest.param("3.000", 3.0, id="a decimal that is whole"),
        pytest.param(".5", 1.0, id="a decimal without its zero"),
        pytest.param("5.", 5.0, id="a decimal without its end"),
        pytest.param("1.2.3", None, id="two points"),
        pytest.param("1e3", None, id="an exponent"),
        pytest.param("0x10", None, id="a hexadecimal"),
        pytest.param("5, 10", 10.0, id="of two the longer"),
        pytest.param("10,5", 10.0, id="of two the longer, first"),
        pytest.param("5, soon, 2.1", 5.0, id="what is not usable does not count"),
        pytest.param("5, Sun, 22 Nov 2026 20:00:30 GMT", 30.0, id="a date after seconds"),
        pytest.param("Sun, 22 Nov 2026 20:00:30 GMT, 45.7", 46.0, id="seconds after a date"),
        pytest.param(
            "Sun, 22 Nov 2026 20:00:30 GMT, Sunday, 22-Nov-26 20:00:40 GMT", 40.0, id="two dates"
        ),
        pytest.param(",, ,", None, id="nothing but commas"),
        pytest.param("soon", None, id="a word"),
        pytest.param("Infinity", None, id="infinity"),
        pytest.param("nan", None, id="not a number"),
        pytest.param("\N{SUPERSCRIPT TWO}", None, id="a digit of no ASCII"),
        pytest.param("\N{ARABIC-INDIC DIGIT FIVE}", None, id="a digit of another script"),
        pytest.param("Sun, 22 Nov 99999 20:00:30 GMT", None, id="a year beyond the calendar"),
        pytest.param("Sun, 22 Nov 2026 20:00:30 +9999", None, id="an offset beyond the day"),
    ],
)
def test_retry_after_is_read_as_rfc_9110_says(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@pytest.fixture
def _far_from_utc() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Pacific/Auckland"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("_far_from_utc")
def test_a_date_without_a_zone_is_in_utc_wherever_this_runs() -> None:
    assert parse_retry_after("Sun Nov 22 20:00:30 2026", NOW) == 30.0


@settings(deadline=None)
@given(
    st.text() | st.datetimes().map(email.utils.format_datetime) | st.integers().map(str),
    st.floats(0, 4e9),
)
def test_no_header_breaks_the_reading_or_asks_for_less_than_nothing(value: str, now: float) -> None:
    seconds = parse_retry_after(value, now)
    assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize(
    ("tries", "longest_s"),
    [(0, 0.25), (1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 4.0), (100, 4.0), (10**9, 4.0)],
)
def test_backoff_doubles_up_to_four_seconds_and_is_jittered_from_zero(
    tries: int, longest_s: float
) -> None:
    chances = [0.0, 0.5, 1.0]
    assert [backoff_s(tries, iter([chance]).__next__) for chance in chances] == [
        0.0,
        longest_s / 2,
        longest_s,
    ]
