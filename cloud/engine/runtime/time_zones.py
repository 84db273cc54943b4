"""The time zone of a schedule's spec, from its name or from the data that it brings along."""

from __future__ import annotations

import io
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from temporalio.api.schedule.v1 import ScheduleSpec

from cloud.engine.core.schedule_spec import InvalidSpec


def zone_of(spec: ScheduleSpec) -> tzinfo:
    """The zone that `spec` is meant in; UTC if it names none.

    Raises:
        InvalidSpec: there is none of this name, or the data is none.
    """
    if spec.timezone_data:
        try:
            return ZoneInfo.from_file(io.BytesIO(spec.timezone_data), key=spec.timezone_name or None)
        except (ValueError, OSError, EOFError):
            raise InvalidSpec("malformed time zone information") from None
    if not spec.timezone_name:
        return UTC
    try:
        return ZoneInfo(spec.timezone_name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidSpec(f"unknown time zone {spec.timezone_name}") from None
