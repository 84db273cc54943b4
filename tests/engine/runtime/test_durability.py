"""Nothing acknowledged is lost, nothing refused is kept: failed flushes, restarts, lost leases."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from cloud.engine.runtime.lease import Lease
from cloud.engine.store.database import Database
from cloud.rpc import RpcError, Unavailable
from tests.engine.runtime.harness import FaultyDatabase, engine


async def test_a_restart_finds_what_was_acknowledged(database: Database) -> None:
    async with engine(database) as first:
        run_id = await first.start("wf")
        await first.signal("wf", "one")
    async with engine(database) as second:
        assert await second.signals("wf") == ["one"]
        assert await second.start("wf", workflow_id_conflict_policy=2) == run_id
        await second.signal("wf", "two")
        assert await second.signals("wf") == ["one", "two"]


async def test_a_failed_flush_is_told_and_forgotten(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        await found.start("wf")
        await found.signal("wf", "kept")
        faulty.fail_next = 1
        with pytest.raises(Unavailable):
            await found.signal("wf", "lost")
        assert await found.signals("wf") == ["kept"]
        await found.signal("wf", "after")
        assert await found.signals("wf") == ["kept", "after"]


async def test_all_of_a_failed_batch_are_told(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        for number in range(5):
            await found.start(f"wf{number}")
        faulty.fail_next = 1
        replies = await asyncio.gather(
            *(found.signal(f"wf{number}", "together") for number in range(5)), return_exceptions=True
        )
        refused = [number for number, reply in enumerate(replies) if isinstance(reply, RpcError)]
        assert refused, "the fault must have hit someone"
        for number in range(5):
            assert await found.signals(f"wf{number}") == ([] if number in refused else ["together"])


async def test_a_failed_start_leaves_the_id_free(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        faulty.fail_next = 1
        with pytest.raises(Unavailable):
            await found.start("wf")
        await found.start("wf")
        assert await found.signals("wf") == []


async def test_who_lost_the_lease_writes_nothing(database: Database) -> None:
    lost: list[str] = []
    async with engine(FaultyDatabase(database, exclusive=False), lost.append) as old:
        await old.start("wf")
        await old.signal("wf", "before")
        # Another process takes over, as it may once the lease was not renewed in time.
        other = Lease(FaultyDatabase(database, exclusive=True), old.runtime.clock)
        assert await other.take() == old.runtime.lease.epoch + 1
        with pytest.raises(Unavailable):
            await old.signal("wf", "too late")
        assert ["lease" in reason for reason in lost] == [True]
        await other.release()
    async with engine(database) as new:
        assert await new.signals("wf") == ["before"]


async def test_a_run_that_left_memory_comes_back(database: Database) -> None:
    async with engine(database) as found:
        await found.start("wf")
        for number in range(300):  # more than the tail of events that stays in memory
            await found.signal("wf", str(number))
        found.runtime.runs.forget()
        await found.signal("wf", "last")
        assert await found.signals("wf") == [*map(str, range(300)), "last"]


@pytest.mark.postgres
async def test_cut_connections_cost_one_refusal_and_lose_nothing(database: Database) -> None:
    if database.dialect != "postgresql":
        pytest.skip("a file has no connections")
    cut = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with engine(database) as found:
        await found.start("wf")
        kept = []
        for number in range(3):
            await found.signal("wf", f"before {number}")
            await database.list("test", lambda c: c.execute(cut).scalar())
            refused = 0
            while True:
                try:
                    await found.signal("wf", f"after {number}")
                    break
                except Unavailable:
                    refused += 1
            assert refused <= 1
            kept += [f"before {number}", f"after {number}"]
        assert await found.signals("wf") == kept
    async with engine(database) as again:
        assert await again.signals("wf") == kept
