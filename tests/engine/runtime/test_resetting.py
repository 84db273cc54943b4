"""A reset's new run has all of the copied history and all that came after it, whatever happens to the process and the database."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, select
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    ResetWorkflowExecutionRequest,
)

from cloud.engine.core.limits import Limits
from cloud.engine.runtime import resetting
from cloud.engine.store import schema as s
from cloud.engine.store.database import Database
from cloud.rpc import InvalidArgument, ResourceExhausted, Unavailable
from tests.engine.runtime.harness import NAMESPACE, Engine, FaultyDatabase, engine

SIGNALS = 40


async def reset(
    found: Engine, event_id: int = 4, request_id: str = "r", run_id: str = "", workflow_id: str = "wf"
) -> str:
    request = ResetWorkflowExecutionRequest(
        namespace=NAMESPACE, workflow_task_finish_event_id=event_id, request_id=request_id, reason="why"
    )
    request.workflow_execution.workflow_id = workflow_id
    request.workflow_execution.run_id = run_id
    return str((await found.call("ResetWorkflowExecution", request)).run_id)


async def history(found: Engine, run_id: str = "") -> list[HistoryEvent]:
    request = GetWorkflowExecutionHistoryRequest(namespace=NAMESPACE)
    request.execution.workflow_id, request.execution.run_id = "wf", run_id
    return list((await found.call("GetWorkflowExecutionHistory", request)).history.events)


async def long_run(found: Engine) -> int:
    """A run whose second workflow task comes behind many signals. The event at which that ended."""
    await found.start("wf")
    await found.complete(await found.poll())
    for number in range(SIGNALS):
        await found.signal("wf", f"before{number}")
    task = await found.poll()
    await found.complete(task)
    await found.signal("wf", "after")
    return task.started_event_id + 1


async def leftovers(database: Database) -> tuple[int, int]:
    """(runs that are being copied, runs that have history and no row)."""
    return await database.scan(
        lambda c: (
            c.execute(select(func.count()).select_from(s.copied_runs)).scalar_one(),
            c.execute(
                select(func.count(func.distinct(s.history.c.run_id))).where(
                    s.history.c.run_id.not_in(select(s.runs.c.run_id))
                )
            ).scalar_one(),
        )
    )


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resetting, "PAGE_BYTES", 500)
    monkeypatch.setattr(resetting, "FOLD_EVENTS", 3)


async def test_a_copy_of_many_pages(database: Database, small_pages: None) -> None:
    async with engine(database) as found:
        event_id = await long_run(found)
        base = await history(found)
        made = await reset(found, event_id)
        assert await leftovers(database) == (0, 0)
        live = await history(found, made)
        assert live[: event_id - 1] == base[: event_id - 1]
        signals = [
            e.workflow_execution_signaled_event_attributes.signal_name for e in live if e.event_type == 26
        ]
        assert signals[-1] == "after"
        before = (await found.runtime.runs.get(made)).execution
        found.runtime.runs.forget()
        assert (await found.runtime.runs.get(made)).execution == before
        assert await history(found, made) == live
        assert (await found.poll()).workflow_execution.run_id == made


async def test_a_copy_that_breaks_off_leaves_nothing(database: Database, small_pages: None) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        event_id = await long_run(found)
        await found.runtime.durable(
            await found.runtime.find(found.runtime.namespaces.by_name(NAMESPACE), "wf")
        )
        faulty.writing.close()
        working = asyncio.create_task(reset(found, event_id))
        await faulty.writing.reached.wait()  # the first page waits to be written
        faulty.fail_next = 1
        faulty.writing.open()
        with pytest.raises(Unavailable):
            await working
        assert await leftovers(database) == (0, 0)
        assert await found.status("wf") == 1
        await reset(found, event_id)


async def test_what_a_crash_left_is_removed(database: Database, small_pages: None) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        event_id = await long_run(found)
        await found.runtime.settled(
            await found.runtime.find(found.runtime.namespaces.by_name(NAMESPACE), "wf")
        )
        faulty.writing.close()
        working = asyncio.create_task(reset(found, event_id))
        await faulty.writing.reached.wait()
        faulty.fail_next = 99  # all behind the first page
        faulty.writing.open()
        with pytest.raises(Unavailable):
            await working
        faulty.fail_next = 0
    assert await leftovers(database) == (1, 1)
    async with engine(database) as found:
        assert await leftovers(database) == (0, 0)
        assert await found.status("wf") == 1


async def test_a_request_that_is_sent_again(database: Database) -> None:
    async with engine(database) as found:
        base = await found.start("wf")
        await found.complete(await found.poll())
        made = await reset(found)
        assert await reset(found) == made
        assert await reset(found, run_id=base) == made
        found.runtime.runs.forget()
        assert await reset(found, run_id=base) == made
        assert await reset(found, request_id="another") != made


async def test_a_reset_that_was_not_flushed_is_none(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        base = await found.start("wf")
        await found.complete(await found.poll())
        faulty.fail_next = 1
        with pytest.raises(Unavailable):
            await reset(found)
        assert await found.status("wf") == 1
        assert [event.event_id for event in await history(found)] == [1, 2, 3, 4]
        made = await reset(found)
        assert {made, base} == {
            row for (row,) in await database.scan(lambda c: c.execute(select(s.runs.c.run_id)).all())
        }


async def test_no_signal_is_lost_beside_a_reset(database: Database, small_pages: None) -> None:
    async with engine(database) as found:
        event_id = await long_run(found)

        async def signal() -> None:
            for number in range(SIGNALS):
                await found.signal("wf", f"beside{number}")

        signalling = asyncio.create_task(signal())
        for request_id in "abc":
            await reset(found, event_id, request_id)
            await asyncio.sleep(0.01)
        await signalling
        names = await found.signals("wf")
        assert [name for name in names if name.startswith("beside")] == [f"beside{n}" for n in range(SIGNALS)]


async def test_usage(database: Database) -> None:
    async with engine(database) as found:
        await found.start("wf")
        await found.complete(await found.poll())
        await found.signal("wf")
        made = await reset(found)
        await found.runtime.durable(await found.runtime.runs.get(made))
        counted = await database.scan(
            lambda c: c.execute(select(s.usage_records.c.kind).where(s.usage_records.c.run_id == made)).all()
        )
        assert [kind for (kind,) in counted] == ["reset_workflow"]


async def test_more_than_a_history_may_hold(database: Database) -> None:
    async with engine(database) as found:
        await found.start("wf")
        await found.complete(await found.poll())
        for _ in range(SIGNALS):
            await found.signal("wf")
        found.runtime.limits = Limits(history_count_error=SIGNALS)
        with pytest.raises(InvalidArgument, match="exceed"):
            await reset(found)
        assert await found.status("wf") == 1


async def test_more_resets_than_may_wait(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resetting, "RESETS_WAITING_MAX", 1)
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        for number in range(4):
            await found.start(f"wf{number}")
            await found.complete(await found.poll())
        faulty.writing.close()
        waiting = [
            asyncio.create_task(reset(found, workflow_id=f"wf{number}"))
            for number in range(resetting.RESETS_PER_TENANT_MAX + 1)
        ]
        await faulty.writing.reached.wait()
        with pytest.raises(ResourceExhausted):
            await reset(found, workflow_id="wf3")
        faulty.writing.open()
        await asyncio.gather(*waiting)
        await reset(found, workflow_id="wf3")
