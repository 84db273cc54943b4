"""When a cron workflow runs next. Evaluating the expression is croniter's work; the dialect is the real server's
(robfig/cron v3 standard parser: five fields, ``@every``, ``@hourly`` and their like, an optional ``CRON_TZ=`` prefix).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter

_SECOND = 1_000_000_000
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_NAMES = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})


def next_delay(schedule: str, started_at: int, now: int) -> int:
    """The delay in ns from `now` to the next run of `schedule`, whose present run began at `started_at` (both ns).

    Raises:
        ValueError: the expression is none.
    """
    interval, expression, zone = _parse(schedule)
    if interval:
        passed = max(now - started_at, 0)
        delay = interval - passed % interval
        return -(-delay // _SECOND) * _SECOND
    following = croniter(expression, datetime.fromtimestamp(now / _SECOND, tz=zone)).get_next(datetime)
    delay = round((following.timestamp() - now / _SECOND) * _SECOND)
    # Whole seconds from a whole second on, as the real server counts.
    return max(-(-delay // _SECOND) * _SECOND, _SECOND)


@lru_cache(maxsize=1024)
def _parse(schedule: str) -> tuple[int, str, tzinfo]:
    text = schedule.strip()
    zone: tzinfo = UTC
    match = re.match(r"(?:CRON_)?TZ=(\S+)\s+(.*)", text)
    if match:
        try:
            zone = ZoneInfo(match[1])
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"unknown time zone {match[1]!r} in cron schedule {schedule!r}") from None
        text = match[2]
    if text.startswith("@every "):
        interval = _duration(text.removeprefix("@every ").strip())
        if interval < _SECOND:
            raise ValueError(f"cron schedule {schedule!r}: the interval must be at least one second")
        return interval // _SECOND * _SECOND, "", zone
    if text not in _NAMES and len(text.split()) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(text.split())}: [{schedule}]")
    if not croniter.is_valid(text):
        raise ValueError(f"cron schedule {schedule!r} is not valid")
    return 0, text, zone


def _duration(text: str) -> int:
    parts = _PART.findall(text)
    if not parts or "".join(a + b for a, b in parts) != text:
        raise ValueError(f"{text!r} is no duration: write it like 1h30m")
    return int(sum(float(amount) * _UNITS[unit] for amount, unit in parts))
