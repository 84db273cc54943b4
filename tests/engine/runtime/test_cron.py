"""Cron schedules in the real server's dialect."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cloud.engine.runtime.cron import next_delay

SECOND = 1_000_000_000
NOON = int(datetime(2026, 3, 4, 12, 0, tzinfo=UTC).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("schedule", "seconds"),
    [
        ("@every 30s", 30),
        ("@every 1h30m", 5400),
        ("*/5 * * * *", 300),
        ("0 13 * * *", 3600),
        ("@hourly", 3600),
        ("@daily", 43_200),
        ("CRON_TZ=America/New_York 0 8 * * *", 3600),
    ],
)
def test_next(schedule: str, seconds: int) -> None:
    assert next_delay(schedule, NOON, NOON) == seconds * SECOND


def test_every_counts_from_the_start_in_whole_seconds() -> None:
    assert next_delay("@every 10s", NOON, NOON + 4_200_000_000) == 6 * SECOND
    assert next_delay("@every 1s", NOON, NOON + 10_000_000) == SECOND


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "bad",
        "* * * *",
        "* * * * * *",
        "@every",
        "@every 5",
        "@every 10ms",
        "TZ=Nowhere/Else * * * * *",
        "61 * * * *",
    ],
)
def test_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        next_delay(schedule, NOON, NOON)
