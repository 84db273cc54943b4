"""When a schedule acts: calendars, intervals and cron lines together, less exclusions, within its time, with jitter.

A spec is brought into its canonical form once (`canonical`), stored like that, and compiled into a `Spec` to be asked for the
next time. Times are nanoseconds since the epoch; what a spec matches are whole seconds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

from temporalio.api.schedule.v1 import IntervalSpec, ScheduleSpec

from cloud.engine.core.clock import MILLISECOND, SECOND, to_ns
from cloud.engine.core.schedule_calendar import (
    YEAR_MAX,
    Calendar,
    InvalidSpec,
    check_calendar,
    fill_ranges,
    parse_calendar,
    parse_cron,
)

__all__ = ["InvalidSpec", "Spec", "Time", "TooManyExclusions", "canonical", "filled"]

SEARCH_MAX: Final = 1_000
"""Excluded moments that one look for the next time passes over (a whole excluded day, month or year is one of them)."""

_END_S: Final = 4_133_980_799
"""The last second of the year YEAR_MAX."""
assert YEAR_MAX == 2100

_ZONES_DIFFER: Final = "conflicting timezone names"


class TooManyExclusions(InvalidSpec):
    """No time was found within SEARCH_MAX looks."""

    def __init__(self) -> None:
        super().__init__(
            f"its exclusions take away more than {SEARCH_MAX} times in a row: exclude less, or schedule less often"
        )


@dataclass(frozen=True, slots=True)
class Time:
    """A time of a schedule: what the spec says, and the same with jitter."""

    nominal: int
    actual: int


def canonical(spec: ScheduleSpec) -> ScheduleSpec:
    """A copy in which calendars and cron lines have become structured calendars and intervals, all checked.

    Raises:
        InvalidSpec: with the real server's sentence.
    """
    found = ScheduleSpec()
    found.CopyFrom(spec)
    for name in ("calendar", "exclude_calendar", "cron_string"):
        found.ClearField(name)
    found.structured_calendar.extend(parse_calendar(each) for each in spec.calendar)
    found.exclude_structured_calendar.extend(parse_calendar(each) for each in spec.exclude_calendar)
    zones = set()
    for line in spec.cron_string:
        calendar, interval, zone = parse_cron(line)
        zones.add(zone)
        if calendar is not None:
            found.structured_calendar.append(calendar)
        if interval is not None:
            found.interval.append(interval)
    if len(zones) > 1:
        raise InvalidSpec(_ZONES_DIFFER)
    for zone in filter(None, zones):
        if spec.timezone_data or spec.timezone_name not in ("", zone):
            raise InvalidSpec(_ZONES_DIFFER)
        found.timezone_name = zone
    for calendar in (*found.structured_calendar, *found.exclude_structured_calendar):
        check_calendar(calendar)
    for interval in found.interval:
        _check_interval(interval)
    return found


def filled(spec: ScheduleSpec) -> ScheduleSpec:
    """A copy of a canonical spec that tells each range in full, as descriptions do."""
    found = ScheduleSpec()
    found.CopyFrom(spec)
    for calendar in (*found.structured_calendar, *found.exclude_structured_calendar):
        fill_ranges(calendar)
    return found


def _check_interval(interval: IntervalSpec) -> None:
    length, phase = to_ns(interval.interval), to_ns(interval.phase)
    if length < SECOND:
        raise InvalidSpec("interval is too small")
    if phase < 0:
        raise InvalidSpec("phase is negative")
    if phase >= length:
        raise InvalidSpec("phase cannot be greater than Interval")


class Spec:
    """A canonical spec, ready to be asked. `seed` makes the jitter of each schedule its own; `zone` is the spec's."""

    def __init__(self, spec: ScheduleSpec, zone: tzinfo, seed: str) -> None:
        self._calendars = [Calendar(each, zone) for each in spec.structured_calendar]
        self._excluded = [Calendar(each, zone) for each in spec.exclude_structured_calendar]
        self._intervals = [
            (to_ns(each.interval) // SECOND, to_ns(each.phase) // SECOND) for each in spec.interval
        ]
        # The first moment that counts, rounded up to a whole second, and the last.
        self._start = -(-to_ns(spec.start_time) // SECOND) if spec.HasField("start_time") else 0
        self._end = to_ns(spec.end_time) // SECOND if spec.HasField("end_time") else _END_S
        self.jitter = max(to_ns(spec.jitter), 0)
        self._seed = seed.encode()

    def next(self, after: int) -> Time | None:
        """The first time after `after`, None if there is none.

        Raises:
            TooManyExclusions: it is behind too many excluded ones.
        """
        at = max(after // SECOND, self._start - 1)
        for _ in range(SEARCH_MAX):
            nominal = self._next_of_any(at)
            if nominal is None or nominal > min(self._end, _END_S):
                return None
            at = max(
                (each.stays_until(nominal) for each in self._excluded if each.matches(nominal)), default=-1
            )
            if at < 0:
                return self._jittered(nominal)
        raise TooManyExclusions

    def _next_of_any(self, after: int) -> int | None:
        found = [
            (after - phase) // interval * interval + interval + phase for interval, phase in self._intervals
        ]
        found += [at for calendar in self._calendars if (at := calendar.next(after)) is not None]
        return min(found, default=None)

    def _jittered(self, nominal: int) -> Time:
        if not self.jitter:
            return Time(nominal * SECOND, nominal * SECOND)
        most = self.jitter
        following = self._next_of_any(nominal)
        if following is not None:
            most = min(most, (following - nominal) * SECOND)  # never past the next time
        digest = hashlib.blake2b(self._seed + nominal.to_bytes(8, "big"), digest_size=4).digest()
        late = int.from_bytes(digest, "big") * (most // MILLISECOND) >> 32
        return Time(nominal * SECOND, nominal * SECOND + late * MILLISECOND)
