"""Resets and pauses with the official SDK: its worker takes a copied history, and what comes again in it."""

import asyncio
from datetime import timedelta

from temporalio import activity, workflow

from .raw import Scenario
from .resets import completed_tasks, newest, reset
from .test_pause import pause, status, unpause
from .workers import sdk_worker


@activity.defn
async def double(value: int) -> int:
    return value * 2


@workflow.defn
class Adding:
    def __init__(self) -> None:
        self.values: list[str] = []
        self.done = False

    @workflow.run
    async def run(self) -> list[str]:
        first = await workflow.execute_activity(double, 21, start_to_close_timeout=timedelta(seconds=10))
        self.values.append(f"activity {first}")
        await workflow.wait_condition(lambda: self.done and workflow.all_handlers_finished())
        return self.values

    @workflow.update
    async def add(self, value: str) -> int:
        await workflow.sleep(0.01)
        self.values.append(f"update {value}")
        return len(self.values)

    @workflow.signal
    def note(self, value: str) -> None:
        self.values.append(f"signal {value}")

    @workflow.signal
    def finish(self) -> None:
        self.done = True

    @workflow.query
    def so_far(self) -> list[str]:
        return self.values


async def test_reset(s: Scenario) -> None:
    async with sdk_worker(s, workflows=[Adding], activities=[double]):
        handle = await s.client.start_workflow(Adding.run, id=s.wf, task_queue=s.tq)
        await handle.execute_update(Adding.add, "a")
        await handle.signal(Adding.note, "b")
        assert sorted(await handle.query(Adding.so_far)) == ["activity 42", "signal b", "update a"]
        base = await newest(s)
        made = await reset(s, (await completed_tasks(s, base))[0])
        again = s.client.get_workflow_handle(s.wf)
        await again.execute_update(Adding.add, "c")
        await again.signal(Adding.finish)
        assert sorted(await again.result()) == ["activity 42", "signal b", "update a", "update c"]
        assert await newest(s) == made


async def test_reset_of_a_closed_run(s: Scenario) -> None:
    async with sdk_worker(s, workflows=[Adding], activities=[double]):
        handle = await s.client.start_workflow(Adding.run, id=s.wf, task_queue=s.tq)
        await handle.execute_update(Adding.add, "a")
        await handle.signal(Adding.finish)
        assert sorted(await handle.result()) == ["activity 42", "update a"]
        base = await newest(s)
        await reset(s, (await completed_tasks(s, base))[-1])
        again = s.client.get_workflow_handle(s.wf)
        assert sorted(await again.result()) == ["activity 42", "update a"]


async def test_pause(s: Scenario) -> None:
    async with sdk_worker(s, workflows=[Adding], activities=[double]):
        handle = await s.client.start_workflow(Adding.run, id=s.wf, task_queue=s.tq)
        await handle.execute_update(Adding.add, "a")
        await pause(s)
        await handle.signal(Adding.finish)
        await asyncio.sleep(1)
        assert await status(s) == "PAUSED"
        await unpause(s)
        assert sorted(await handle.result()) == ["activity 42", "update a"]
