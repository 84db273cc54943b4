"""Calendars of schedules: from the two written forms (fields of text, cron lines) to ranges, and from ranges to moments.

A moment matches when each field of its local time does; so in a repeated hour both copies match, and in a skipped one none.
Moments are whole seconds since the epoch.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Final

from temporalio.api.schedule.v1 import CalendarSpec, IntervalSpec, Range, StructuredCalendarSpec

from cloud.engine.core.clock import SECOND, duration

YEAR_MIN: Final = 2000
YEAR_MAX: Final = 2100
"""The years that a calendar knows; nothing is scheduled beyond."""

COMMENT_LENGTH_MAX: Final = 200
_DIGITS_MAX: Final = 9
_DAY_S: Final = 86_400
_ONE_DAY: Final = timedelta(days=1)
_EPOCH: Final = date(1970, 1, 1).toordinal()

_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_WEEKDAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_NAMED_LINES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
    "d": _DAY_S * SECOND,
}
_DURATION: Final = re.compile(r"((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|ms|s|m|h|d))+")
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h|d)")


class InvalidSpec(ValueError):
    """A schedule's spec is wrong; the message says where, in words for the caller."""


# --- the written forms ------------------------------------------------------------------------------------------


def parse_calendar(calendar: CalendarSpec) -> StructuredCalendarSpec:
    """A calendar whose fields are texts (``1-5/2,8``), as ranges.

    Raises:
        InvalidSpec: with every field that is wrong.
    """
    found = StructuredCalendarSpec(comment=calendar.comment)
    faults = []
    for field, (name, default, low, high) in _FIELDS.items():
        text = getattr(calendar, field).strip() or default
        if field == "year" and text == "*":
            continue  # no range means every year
        try:
            getattr(found, field).extend(_ranges(text, name, low, high))
        except InvalidSpec as fault:
            faults.append(str(fault))
    if faults:
        raise InvalidSpec(", ".join(faults))
    return found


def parse_cron(line: str) -> tuple[StructuredCalendarSpec | None, IntervalSpec | None, str]:
    """A cron line of five to seven fields or one of the @ forms, as a calendar or an interval, and its time zone ("" for none).

    Raises:
        InvalidSpec: it is none.
    """
    zone = ""
    text = line.strip()
    if text.startswith(("TZ=", "CRON_TZ=")):
        prefix, _, text = text.partition(" ")
        if not text:
            raise InvalidSpec("CronString has time zone but missing fields")
        zone = prefix.partition("=")[2]
    text, _, comment = text.partition("#")
    text = text.strip()
    if text.startswith("@every"):
        return None, _every(text), ""
    fields = _NAMED_LINES.get(text, text).split(maxsplit=7)
    if not 5 <= len(fields) <= 7:
        raise InvalidSpec("CronString does not have 5-7 fields")
    second = fields.pop(0) if len(fields) == 7 else ""
    minute, hour, day, month, weekday, *year = fields
    calendar = CalendarSpec(
        second=second,
        minute=minute,
        hour=hour,
        day_of_month=day,
        month=month,
        day_of_week=weekday,
        year=year[0] if year else "",
        comment=comment.strip(),
    )
    return parse_calendar(calendar), None, zone


def parse_duration(text: str) -> int:
    """A duration such as ``1d``, ``1h30m`` or ``500ms``, in ns.

    Raises:
        InvalidSpec: it is none.
    """
    if not _DURATION.fullmatch(text):
        raise InvalidSpec(f'time: invalid duration "{text}"')
    return int(sum(Fraction("0" + amount) * _UNITS[unit] for amount, unit in _PART.findall(text)))


def _every(text: str) -> IntervalSpec:
    _, _, rest = text.partition(" ")
    if not rest:
        raise InvalidSpec("CronString does not have interval after @every")
    interval, _, phase = rest.strip().partition("/")
    found = IntervalSpec(interval=duration(parse_duration(interval)))
    if phase:
        found.phase.CopyFrom(duration(parse_duration(phase)))
    return found


def _ranges(text: str, name: str, low: int, high: int) -> Iterator[Range]:
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = 1
        if slash:
            if "/" in step_text:
                raise InvalidSpec(f"{name} has too many slashes")
            if not step_text:
                raise InvalidSpec(f"{name} missing step value")
            step = _number(step_text) or 0
            if not step:
                raise InvalidSpec(f"{name} has invalid Step")
        start, end = _span(span, name, low, high, open_ended=bool(slash))
        if name == "DayOfWeek" and end == 7:  # Sunday's other number
            if (7 - start) % step == 0 and (step > 1 or start > 1):
                yield Range(start=0)
                if start == 7:
                    continue
            end = 6
        # Defaults are left out, as every server writes them.
        yield Range(start=start, end=end if end != start else 0, step=step if step != 1 else 0)


def _span(span: str, name: str, low: int, high: int, *, open_ended: bool) -> tuple[int, int]:
    if span == "*":
        return low, high
    first, dash, last = span.partition("-")
    start = _value(first, name, low, high)
    if not dash:
        if start is None:
            raise InvalidSpec(f"{name} is not in range [{low}-{high}]")
        return start, high if open_ended else start
    if "-" in last:
        raise InvalidSpec(f"{name} has too many dashes")
    if start is None:
        raise InvalidSpec(f"{name} Start is not in range [{low}-{high}]")
    end = _value(last, name, start, high)
    if end is None:
        raise InvalidSpec(f"{name} End is before Start or not in range [{low}-{high}]")
    return start, end


def _value(text: str, name: str, low: int, high: int) -> int | None:
    names, shortest, first = _NAMES_OF.get(name, ((), 0, 0))
    number: int | None = None
    if names and len(text) >= shortest:
        number = next(
            (index for index, known in enumerate(names, first) if known.startswith(text.lower())), None
        )
    if number is None:
        number = _number(text)
    return number if number is not None and low <= number <= high else None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX else None


_FIELDS: Final[dict[str, tuple[str, str, int, int]]] = {
    "second": ("Second", "0", 0, 59),
    "minute": ("Minute", "0", 0, 59),
    "hour": ("Hour", "0", 0, 23),
    "day_of_week": ("DayOfWeek", "*", 0, 7),
    "day_of_month": ("DayOfMonth", "*", 1, 31),
    "month": ("Month", "*", 1, 12),
    "year": ("Year", "*", YEAR_MIN, YEAR_MAX),
}
"""Field of the protos: its name for people, what an empty text means, lowest and highest value."""

_NAMES_OF: Final[dict[str, tuple[Sequence[str], int, int]]] = {
    "Month": (_MONTHS, 3, 1),
    "DayOfWeek": (_WEEKDAYS, 2, 0),
}
"""Names that stand for values, the shortest beginning of one that is understood, and the first's value."""

_CHECKED: Final = ("second", "minute", "hour", "day_of_month", "month", "year", "day_of_week")


def check_calendar(calendar: StructuredCalendarSpec) -> None:
    """Check the ranges of a calendar.

    Raises:
        InvalidSpec: with every field that is wrong.
    """
    faults = []
    for field in _CHECKED:
        name, _, low, high = _FIELDS[field]
        high = min(high, 6) if field == "day_of_week" else high
        for each in getattr(calendar, field):
            if not low <= each.start <= high:
                faults.append(f"{name} Start is not in range [{low}-{high}]")
            if each.end and not each.start <= each.end <= high:
                faults.append(f"{name} End is before Start or not in range [{low}-{high}]")
            if each.step < 0:
                faults.append(f"{name} has invalid Step")
    if len(calendar.comment.encode()) > COMMENT_LENGTH_MAX:
        faults.append("comment is too long")
    if faults:
        raise InvalidSpec("invalid calendar spec: " + ", ".join(faults))


# --- moments ----------------------------------------------------------------------------------------------------


class Calendar:
    """A checked calendar in a time zone."""

    def __init__(self, calendar: StructuredCalendarSpec, zone: tzinfo) -> None:
        self._zone = zone
        self._seconds, self._minutes, self._hours = (
            sorted(_values(ranges)) for ranges in (calendar.second, calendar.minute, calendar.hour)
        )
        self._days, self._months, self._years, self._weekdays = (
            frozenset(_values(ranges))
            for ranges in (calendar.day_of_month, calendar.month, calendar.year, calendar.day_of_week)
        )
        # A field without a value never matches; only no years mean all of them.
        self._never = not (
            self._seconds and self._minutes and self._hours and self._days and self._months and self._weekdays
        )

    def matches(self, at: int) -> bool:
        """Whether the moment `at` matches."""
        local = datetime.fromtimestamp(at, self._zone)
        return (
            self._matches_day(local.date())
            and local.hour in self._hours
            and local.minute in self._minutes
            and local.second in self._seconds
        )

    def stays_until(self, at: int) -> int:
        """A moment up to which all match, given that `at` does: the end of its minute, hour, day, month or year, if all of that
        matches."""
        if len(self._seconds) < 60:
            return at
        local = datetime.fromtimestamp(at, self._zone)
        if len(self._minutes) < 60 or len(self._hours) < 24:
            end = at + 59 - local.second
            if len(self._minutes) == 60:
                end += 60 * (59 - local.minute)
            # Across a change of the clock these sums do not hold.
            return end if self._offset(end) == self._offset(at) else at
        day = local.date()
        if len(self._weekdays) == 7 and len(self._days) == 31:
            month = 12 if len(self._months) == 12 else day.month
            day = date(day.year + month // 12, month % 12 + 1, 1) - _ONE_DAY
        return self._midnight(day + _ONE_DAY) - 1

    def next(self, after: int) -> int | None:
        """The first matching moment after `after`; None if there is none up to YEAR_MAX."""
        if self._never:
            return None
        first = after + 1
        day: date | None = datetime.fromtimestamp(first, self._zone).date()
        while day is not None and (day := self._day_from(day)) is not None:
            for start, end, offset in self._stretches(day):
                midnight = (day.toordinal() - _EPOCH) * _DAY_S - offset
                time = self._time_from(max(start, first) - midnight)
                if time is not None and midnight + time < end:
                    return midnight + time
            day += _ONE_DAY
        return None

    def _matches_day(self, day: date) -> bool:
        return (
            (not self._years or day.year in self._years)
            and day.month in self._months
            and day.day in self._days
            and day.isoweekday() % 7 in self._weekdays
        )

    def _day_from(self, day: date) -> date | None:
        """The first matching day, `day` itself or after it."""
        while day.year <= YEAR_MAX:
            if self._years and day.year not in self._years:
                day = date(day.year + 1, 1, 1)
            elif day.month not in self._months:
                day = date(day.year + day.month // 12, day.month % 12 + 1, 1)
            elif self._matches_day(day):
                return day
            else:
                day += _ONE_DAY
        return None

    def _stretches(self, day: date) -> Iterator[tuple[int, int, int]]:
        """The day as (start, end, offset from UTC), one for each time that the clock is changed in it and one more."""
        start, end = self._midnight(day), self._midnight(day + _ONE_DAY)
        before, after = self._offset(start), self._offset(end - 1)
        if before == after:
            yield start, end, before
            return
        change = start + bisect_left(range(start, end), True, key=lambda at: self._offset(at) != before)
        yield start, change, before
        yield change, end, after

    def _midnight(self, day: date) -> int:
        return int(datetime(day.year, day.month, day.day, tzinfo=self._zone).timestamp())

    def _offset(self, at: int) -> int:
        offset = datetime.fromtimestamp(at, self._zone).utcoffset()
        assert offset is not None
        return int(offset.total_seconds())

    def _time_from(self, time: int) -> int | None:
        """The first matching second of a day, `time` itself or after it."""
        hour, rest = divmod(max(time, 0), 3600)
        minute, second = divmod(rest, 60)
        at = bisect_left(self._hours, hour)
        if at < len(self._hours) and self._hours[at] == hour:
            in_hour = self._minute_from(minute, second)
            if in_hour is not None:
                return hour * 3600 + in_hour
            at += 1
        if at == len(self._hours):
            return None
        return self._hours[at] * 3600 + self._minutes[0] * 60 + self._seconds[0]

    def _minute_from(self, minute: int, second: int) -> int | None:
        at = bisect_left(self._minutes, minute)
        if at < len(self._minutes) and self._minutes[at] == minute:
            index = bisect_left(self._seconds, second)
            if index < len(self._seconds):
                return minute * 60 + self._seconds[index]
            at += 1
        return None if at == len(self._minutes) else self._minutes[at] * 60 + self._seconds[0]


def _values(ranges: Sequence[Range]) -> set[int]:
    return {
        value for each in ranges for value in range(each.start, max(each.end, each.start) + 1, each.step or 1)
    }


def fill_ranges(calendar: StructuredCalendarSpec) -> None:
    """Write out what a range leaves to its defaults: its end and its step."""
    for name in _CHECKED:
        for each in getattr(calendar, name):
            each.end = max(each.end, each.start)
            each.step = each.step or 1
