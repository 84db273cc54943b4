"""Times, durations, statuses and words, as filters and search attributes write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloud.engine.store.visibility_values import (
    INT64_MAX,
    INT64_MIN,
    STATUS_NAMES,
    duration_ns,
    status_number,
    time_ns,
    words,
)

SECOND = 10**9
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01T00:00:00.5Z", SECOND // 2),
        ("1970-01-01T00:00:00.1234567899Z", 123_456_789),
        ("1969-12-31T23:59:59.9Z", -(SECOND // 10)),
        ("1970-01-01T05:30:00+05:30", 0),
        ("1969-12-31T23:30:00-00:30", 0),
        ("2262-04-11T23:47:16.854775807Z", INT64_MAX),
        ("2262-04-11T23:47:16.854775808Z", INT64_MAX),
        ("0001-01-01T00:00:00+23:59", INT64_MIN),
        ("9999-12-31T23:59:59-23:59", INT64_MAX),
        ("0000-01-01T00:00:00Z", None),
        ("1970-01-01T24:00:00Z", None),
        ("1970-01-01T00:00:60Z", None),
        ("1970-02-30T00:00:00Z", None),
        ("1970-01-01T00:00:00+24:00", None),
        ("1970-01-01T00:00:00+00:60", None),
        ("1970-01-01T00:00:00", None),
        ("1970-01-01T00:00:00.Z", None),
        ("1970-1-1T00:00:00Z", None),
        ("1970-01-01t00:00:00z", None),
        (" 1970-01-01T00:00:00Z", None),
        ("1970-01-01T00:00:00Z\n", None),
        ("١٩٧٠-01-01T00:00:00Z", None),
        ("", None),
    ],
)
def test_times(text: str, nanos: int | None) -> None:
    assert time_ns(text) == nanos


@given(
    st.datetimes(datetime(1700, 1, 1), datetime(2250, 1, 1)),  # noqa: DTZ001
    st.integers(-1439, 1439),
)
def test_times_are_what_datetime_says(moment: datetime, offset_minutes: int) -> None:
    moment = moment.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    since = moment - EPOCH
    assert time_ns(moment.isoformat()) == (since // timedelta(microseconds=1)) * 1_000


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("0", 0),
        ("5", 5),
        ("-5", -5),
        ("0s", 0),
        ("1h30m", 5400 * SECOND),
        ("1.5h", 5400 * SECOND),
        ("-1.5h", -5400 * SECOND),
        ("+2m", 120 * SECOND),
        (".5s", SECOND // 2),
        ("5.s", 5 * SECOND),
        ("1d", 86_400 * SECOND),
        ("1d2h", 93_600 * SECOND),
        ("1us1µs1μs1ns", 3_001),
        ("100ms", SECOND // 10),
        ("01:02:03", 3723 * SECOND),
        ("100:00:00", 360_000 * SECOND),
        ("1:2:3", 3723 * SECOND),
        ("00:60:00", None),
        ("00:00:60", None),
        ("00:00", None),
        ("1h30", None),
        ("h", None),
        ("", None),
        ("-", None),
        ("1 h", None),
        ("9999999h", None),
        ("9223372036854775807", INT64_MAX),
        ("9223372036854775808", None),
        ("99999999999999999999", None),
        ("1y", None),
        ("-01:00:00", None),
    ],
)
def test_durations(text: str, nanos: int | None) -> None:
    assert duration_ns(text) == nanos


def test_statuses() -> None:
    assert STATUS_NAMES[1] == "Running"
    assert STATUS_NAMES[6] == "ContinuedAsNew"
    for number, name in STATUS_NAMES.items():
        assert status_number(name) == number
    assert status_number("WORKFLOW_EXECUTION_STATUS_TIMED_OUT") == 7
    assert status_number("running") is None


@given(st.text(max_size=30), st.text(max_size=10))
@example("\N{PARENTHESIZED LATIN CAPITAL LETTER A}", "")
def test_a_texts_own_words_occur_in_it_and_folding_changes_nothing(text: str, more: str) -> None:
    folded = words(text)
    assert words(folded) == folded
    assert folded in words(f"{more} {text} {more}")
