from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import (
    ACTION_TABLE,
    Tally,
    UsageCount,
    by_day,
    by_kind,
    by_namespace,
    by_workflow_type,
    counts_by_kind,
)

HOUR = datetime(2026, 11, 3, 23, tzinfo=UTC)


def row(kind: str = "start_timer", count: int = 1, **changes: object) -> UsageCount:
    fields = {"namespace": "a.b", "hour": HOUR, "workflow_type": "W", **changes}
    return UsageCount(kind=kind, count=count, **fields)  # type: ignore[arg-type]


ROWS = [
    row(count=3),
    row("schedule_workflow", 2, namespace="c.b", hour=HOUR + timedelta(hours=1)),
    row("query_workflow", 1, workflow_type=""),
    row(count=4, hour=HOUR - timedelta(days=1)),
]


def test_grouping() -> None:
    assert by_kind(ROWS) == {
        "query_workflow": Tally(count=1, actions=1),
        "schedule_workflow": Tally(count=2, actions=4),
        "start_timer": Tally(count=7, actions=7),
    }
    assert by_namespace(ROWS) == {"a.b": Tally(count=8, actions=8), "c.b": Tally(count=2, actions=4)}
    assert by_workflow_type(ROWS) == {"": Tally(count=1, actions=1), "W": Tally(count=9, actions=11)}
    assert list(by_day(ROWS)) == [date(2026, 11, 2), date(2026, 11, 3), date(2026, 11, 4)]
    assert counts_by_kind(ROWS) == {"query_workflow": 1, "schedule_workflow": 2, "start_timer": 7}


rows = st.builds(
    UsageCount,
    namespace=st.sampled_from(["a.x", "b.x"]),
    hour=st.integers(0, 2000).map(lambda n: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=n)),
    kind=st.sampled_from(sorted(ACTION_TABLE)),
    workflow_type=st.sampled_from(["", "W", "V"]),
    count=st.integers(0, 10**12),
)


@given(st.lists(rows, max_size=20))
def test_every_grouping_adds_up_to_the_same_actions(usage: list[UsageCount]) -> None:
    sums = {
        sum(tally.actions for tally in tallies.values())
        for tallies in (by_kind(usage), by_namespace(usage), by_workflow_type(usage))
    }
    sums.add(sum(tally.actions for tally in by_day(usage).values()))
    assert len(sums) == 1


def test_a_wrong_row_is_refused_with_all_faults() -> None:
    with pytest.raises(ValueError, match=r"namespace is empty; kind is empty; hour .* negative"):
        UsageCount(namespace="", kind="", workflow_type="", hour=HOUR.replace(minute=1), count=-1)


@pytest.mark.parametrize(
    "hour", [HOUR.replace(tzinfo=None), HOUR.replace(tzinfo=timezone(timedelta(hours=1)))]
)
def test_an_hour_without_utc_is_refused(hour: datetime) -> None:
    with pytest.raises(ValueError, match="not the beginning of an hour in UTC"):
        row(hour=hour)
