"""A long history comes into memory without holding up the event loop, and only once."""

from __future__ import annotations

import asyncio
import time

import pytest
from sqlalchemy import delete
from temporalio.api.common.v1 import Payload, Payloads

from cloud.engine.core import signal
from cloud.engine.core.errors import CoreDefect
from cloud.engine.store import schema as s
from cloud.engine.store.database import Database
from cloud.rpc import NotFound
from tests.engine.runtime.harness import Engine, FaultyDatabase, engine

BATCHES, SIGNALS, KIB = 40, 50, 1024


async def long_run(found: Engine) -> str:
    """A run of 2,000 signals of 8 KiB, stored in many batches."""
    run_id = await found.start("long")
    hot = await found.runtime.runs.get(run_id)
    payload = Payloads(payloads=[Payload(data=b"x" * 8 * KIB)])
    for batch in range(BATCHES):
        for n in range(SIGNALS):
            with found.runtime.transition(hot) as turn:
                signal.receive(turn, name=f"{batch}-{n}", input=payload, identity="me")
        await found.runtime.durable(hot)
    return run_id


async def test_others_have_their_turn_while_a_long_history_is_loaded(database: Database) -> None:
    async with engine(database) as found:
        run_id = await long_run(found)
        before = (await found.runtime.runs.get(run_id)).execution
        found.runtime.runs.forget()
        gaps: list[float] = []

        async def watch() -> None:
            last = time.perf_counter()
            while True:
                await asyncio.sleep(0)
                now = time.perf_counter()
                gaps.append(now - last)
                last = now

        watcher = asyncio.create_task(watch())
        hot = await found.runtime.runs.get(run_id)
        watcher.cancel()
        assert hot.execution == before
        assert len(gaps) > 10, "the loop had no turn"
        # Without slices one turn takes all of the time; the machine's other work counts in too.
        assert max(gaps) < sum(gaps) / 2


async def test_two_who_ask_at_once_get_one_run(database: Database) -> None:
    async with engine(database) as found:
        run_id = await long_run(found)
        found.runtime.runs.forget()
        asked = [asyncio.create_task(found.runtime.runs.get(run_id)) for _ in range(5)]
        await asyncio.sleep(0.005)
        asked += [asyncio.create_task(found.runtime.runs.get(run_id)) for _ in range(5)]
        runs = await asyncio.gather(*asked)
        assert len({id(hot) for hot in runs}) == 1
        assert runs[0].tail_from(1_990, 2_002) is not None
        assert found.runtime.runs._bytes == runs[0].weigh()


async def test_memory_that_is_dropped_during_a_load_is_not_brought_back(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        run_id = await long_run(found)
        for _ in range(3):
            found.runtime.runs.forget()
            load = asyncio.create_task(found.runtime.runs.get(run_id))
            await asyncio.sleep(0.01)
            found.runtime.runs.forget()
            hot = await load
            assert not hot.dropped
            assert hot.execution.signal_count == BATCHES * SIGNALS


async def test_a_namespace_that_is_deleted_during_a_load_gets_no_run_into_memory(database: Database) -> None:
    async with engine(database) as found:
        run_id = await long_run(found)
        found.runtime.runs.forget()
        load = asyncio.create_task(found.signal("long", "late"))
        await asyncio.sleep(0.01)
        found.runtime.namespaces._forget(found.runtime.namespaces.all()[0])
        with pytest.raises(NotFound):
            await load
        assert found.runtime.runs.in_memory(run_id) is None


async def test_a_history_with_a_hole_is_no_history(database: Database) -> None:
    async with engine(database) as found:
        run_id = await long_run(found)
        found.runtime.runs.forget()
        last = s.history.c.first_event_id == 2 + SIGNALS * (BATCHES - 1) + 1
        removed = await database.write(lambda c: c.execute(delete(s.history).where(last)).rowcount)
        assert removed == 1
        with pytest.raises(CoreDefect, match="events are stored, not"):
            await found.runtime.runs.get(run_id)
