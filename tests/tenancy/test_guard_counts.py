"""What the guard counted is kept by day, added up across processes, and bounded."""

import asyncio
import datetime as dt

from tenancy.guard_counts import DAYS_KEPT, FIELDS_PER_DAY_MAX, OTHER_FIELDS, GuardCount

from .certificates_made import NOW
from .conftest import Cloud

DAY = dt.timedelta(days=1)
LONG_AGO = NOW.date() - 400 * DAY


def rows(found: list[GuardCount]) -> set[tuple[str, str, str, int]]:
    return {(one.namespace, one.field, one.outcome, one.count) for one in found}


async def test_counts_of_two_processes_add_up(cloud: Cloud) -> None:
    other = await cloud.other_process()
    try:
        batch = [
            ("a.x", "Start: input", "observed", 2),
            ("a.x", "Start: input", "refused", 1),
            ("b.x", "f", "observed", 5),
        ]
        stores = (cloud.tenancy.guard_counts, other.guard_counts)
        await asyncio.gather(*(store.add(batch, NOW) for store in stores for _ in range(3)))
        later = NOW + dt.timedelta(hours=1)
        await cloud.tenancy.guard_counts.add([("a.x", "Start: input", "observed", 1)], later)
        found = await other.guard_counts.read(["a.x"], NOW.date())
        assert rows(found) == {("a.x", "Start: input", "observed", 13), ("a.x", "Start: input", "refused", 6)}
        assert {one.last_seen_at for one in found} == {NOW, later}
        assert found[0].day == NOW.date()
        assert await other.guard_counts.read([], LONG_AGO) == []
        assert await other.guard_counts.read(["c.x"], LONG_AGO) == []
    finally:
        await other.close()


async def test_days_are_apart_and_old_ones_go(cloud: Cloud) -> None:
    store = cloud.tenancy.guard_counts
    for back in (DAYS_KEPT + 1, DAYS_KEPT, 1):
        await store.add([("a.x", "f", "observed", back)], NOW - back * DAY)
    assert len(await store.read(["a.x"], LONG_AGO)) == 3
    await store.add([("a.x", "f", "observed", 7)], NOW)
    assert [one.count for one in await store.read(["a.x"], LONG_AGO)] == [7, 1, DAYS_KEPT]
    assert [one.count for one in await store.read(["a.x"], NOW.date())] == [7]


async def test_the_fields_of_a_day_are_bounded(cloud: Cloud) -> None:
    store = cloud.tenancy.guard_counts
    for start in range(0, FIELDS_PER_DAY_MAX + 1_000, 500):
        await store.add([("a.x", f"field {start + n}", "observed", 1) for n in range(500)], NOW)
    found = rows(await store.read(["a.x"], NOW.date()))
    assert len(found) == FIELDS_PER_DAY_MAX + 1
    assert ("a.x", OTHER_FIELDS, "observed", 1_000) in found
    await store.add([("a.x", "field 0", "observed", 1), ("b.x", "new", "observed", 1)], NOW)
    found = rows(await store.read(["a.x", "b.x"], NOW.date()))
    assert {("a.x", "field 0", "observed", 2), ("b.x", "new", "observed", 1)} <= found
