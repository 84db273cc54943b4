"""Times of specs, held against a look at each second."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.schedule.v1 import CalendarSpec, IntervalSpec, Range, ScheduleSpec, StructuredCalendarSpec

from cloud.engine.core.clock import SECOND
from cloud.engine.core.schedule_calendar import (
    Calendar,
    InvalidSpec,
    parse_calendar,
    parse_cron,
    parse_duration,
)
from cloud.engine.core.schedule_spec import Spec, TooManyExclusions, canonical

# Around changes of the clock: by an hour, by half an hour, at midnight, and a day that was left out.
MOMENTS = {
    "Europe/Berlin": (1774746000, 1792890000),
    "America/New_York": (1772953200, 1793512800),
    "Australia/Lord_Howe": (1774796400, 1791039600),
    "America/Havana": (1772946000, 1793509200),
    "Asia/Beirut": (1774735200, 1792872000),
    "Pacific/Apia": (1325239200, 1316872800),
    "UTC": (1774746000, 1792890000),
}


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


def ranges(low: int, high: int) -> st.SearchStrategy[list[Range]]:
    one = st.tuples(st.integers(low, high), st.integers(0, high), st.integers(0, 7)).map(
        lambda given: Range(start=given[0], end=given[1] if given[1] > given[0] else 0, step=given[2])
    )
    return st.one_of(st.just([Range(start=low, end=high)]), st.lists(one, min_size=1, max_size=3))


calendars = st.builds(
    StructuredCalendarSpec,
    second=ranges(0, 59),
    minute=ranges(0, 59),
    hour=ranges(0, 23),
    day_of_month=ranges(1, 31),
    month=ranges(1, 12),
    day_of_week=ranges(0, 6),
)


@given(calendars, st.sampled_from(sorted(MOMENTS)), st.integers(0, 1), st.integers(-7200, 7200))
@settings(max_examples=150, deadline=None)
def test_the_next_time_is_the_first_that_matches(
    calendar: StructuredCalendarSpec, zone: str, which: int, shift: int
) -> None:
    compiled = Calendar(calendar, ZoneInfo(zone))
    after = MOMENTS[zone][which] + shift
    found = compiled.next(after)
    first = next((each for each in range(after + 1, after + 5000) if compiled.matches(each)), None)
    if first is None:
        assert found is None or found >= after + 5000
    else:
        assert found == first


full = st.builds(
    StructuredCalendarSpec,
    second=st.just([Range(end=59)]),
    minute=st.just([Range(end=59)]),
    hour=st.one_of(st.just([Range(end=23)]), ranges(0, 23)),
    day_of_month=ranges(1, 31),
    month=ranges(1, 12),
    day_of_week=ranges(0, 6),
)


@given(
    st.one_of(calendars, full), st.sampled_from(sorted(MOMENTS)), st.integers(0, 1), st.integers(-7200, 7200)
)
@settings(max_examples=300, deadline=None)
def test_what_is_passed_over_matches_throughout(
    calendar: StructuredCalendarSpec, zone: str, which: int, shift: int
) -> None:
    compiled = Calendar(calendar, ZoneInfo(zone))
    begin = compiled.next(MOMENTS[zone][which] + shift)
    if begin is not None:
        end = compiled.stays_until(begin)
        assert all(compiled.matches(each) for each in range(begin, end + 1, max((end - begin) // 500, 1)))


def test_a_repeated_hour_comes_twice_and_a_skipped_one_not_at_all() -> None:
    half_past_two = Calendar(parse_calendar(CalendarSpec(hour="2", minute="30")), ZoneInfo("Europe/Berlin"))
    autumn = half_past_two.next(at("2026-10-25T00:00:00", "Europe/Berlin"))
    assert autumn is not None
    assert half_past_two.next(autumn) == autumn + 3600
    assert half_past_two.next(at("2026-03-29T00:00:00", "Europe/Berlin")) == at(
        "2026-03-30T02:30:00", "Europe/Berlin"
    )


def test_a_leap_day_is_found_and_one_that_never_comes_is_not() -> None:
    leap, never = (Calendar(parse_cron(line)[0], UTC) for line in ("0 0 29 2 *", "0 0 30 2 *"))  # type: ignore[arg-type]
    assert leap.next(at("2097-01-01T00:00:00")) is None
    assert leap.next(at("2025-01-01T00:00:00")) == at("2028-02-29T00:00:00")
    assert never.next(at("2025-01-01T00:00:00")) is None


@given(
    st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 4999)), min_size=1, max_size=3),
    st.integers(0, 10**6),
)
def test_intervals_are_counted_from_the_epoch(intervals: list[tuple[int, int]], after: int) -> None:
    spec = ScheduleSpec(
        interval=[
            IntervalSpec(interval=Duration(seconds=length), phase=Duration(seconds=phase % length))
            for length, phase in intervals
        ]
    )
    found = Spec(spec, UTC, "").next(after * SECOND)
    assert found is not None
    first = next(
        each for each in range(after + 1, after + 6000) if any(each % n == p % n for n, p in intervals)
    )
    assert found.nominal == found.actual == first * SECOND


@given(st.integers(0, 10**5), st.integers(0, 1000), st.text(max_size=5))
def test_jitter_is_the_same_each_time_and_never_reaches_the_next_time(
    after: int, jitter: int, seed: str
) -> None:
    spec = ScheduleSpec(
        interval=[IntervalSpec(interval=Duration(seconds=60))], jitter=Duration(seconds=jitter)
    )
    compiled = Spec(spec, UTC, seed)
    found = compiled.next(after * SECOND)
    assert found is not None
    assert found == Spec(spec, UTC, seed).next(after * SECOND)
    assert 0 <= found.actual - found.nominal <= min(jitter, 60) * SECOND
    following = compiled.next(found.actual)
    assert following is not None
    assert following.nominal == found.nominal + 60 * SECOND


def test_a_start_within_a_second_counts_from_the_next() -> None:
    spec = ScheduleSpec(
        interval=[IntervalSpec(interval=Duration(seconds=1))],
        start_time=Timestamp(seconds=100, nanos=1),
        end_time=Timestamp(seconds=102),
    )
    compiled = Spec(spec, UTC, "")
    times = []
    after = 0
    while (found := compiled.next(after)) is not None:
        after = found.actual
        times.append(after // SECOND)
    assert times == [101, 102]


def test_excluded_years_are_passed_over_in_no_time() -> None:
    spec = canonical(
        ScheduleSpec(
            interval=[IntervalSpec(interval=Duration(seconds=1))],
            exclude_calendar=[CalendarSpec(second="*", minute="*", hour="*", year="2026-2030")],
        )
    )
    found = Spec(spec, UTC, "").next(at("2026-01-01T00:00:00") * SECOND)
    assert found is not None
    assert found.nominal == at("2031-01-01T00:00:00") * SECOND


def test_exclusions_that_leave_nothing_are_told() -> None:
    spec = canonical(
        ScheduleSpec(
            cron_string=["0 * * * * * *"], exclude_calendar=[CalendarSpec(second="0", minute="*", hour="*")]
        )
    )
    with pytest.raises(TooManyExclusions, match="take away more than"):
        Spec(spec, UTC, "").next(0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("1d", 86400),
        (".5m", 30),
        ("1500ms", 1.5),
        ("1d2h", 93600),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds * SECOND


@pytest.mark.parametrize("text", ["", "5", "h", "-1h", "1h-5m", "1w", "1h ", "٣h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidSpec, match="invalid duration"):
        parse_duration(text)


@given(st.text(alphabet="0123456789*/-,@#TZ= abcdefghijklmnopqrstuvwxyz٣", max_size=40))
def test_any_cron_line_is_a_spec_or_refused(line: str) -> None:
    try:
        spec = canonical(ScheduleSpec(cron_string=[line]))
    except InvalidSpec:
        return
    assert canonical(spec) == spec
