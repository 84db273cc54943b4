"""Updates as an application sees them: the official SDK's worker and client, unmodified."""

import asyncio
from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.client import (
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from .raw import Scenario
from .workers import sdk_worker


@workflow.defn
class Counter:
    def __init__(self) -> None:
        self.total = 0
        self.closed = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.closed and workflow.all_handlers_finished())
        return self.total

    @workflow.update
    async def add(self, amount: int) -> int:
        await workflow.sleep(timedelta(milliseconds=20))
        self.total += amount
        return self.total

    @add.validator
    def check_add(self, amount: int) -> None:
        if amount < 0:
            raise ValueError("an amount can't be negative")

    @workflow.update
    async def break_down(self) -> None:
        raise ApplicationError("broken", type="Broken")

    @workflow.signal
    def close(self) -> None:
        self.closed = True


async def test_updates(s: Scenario) -> None:
    async with sdk_worker(s, workflows=[Counter]):
        handle = await s.client.start_workflow(Counter.run, id=s.wf, task_queue=s.tq)
        assert await handle.execute_update(Counter.add, 3) == 3
        totals = await asyncio.gather(*(handle.execute_update(Counter.add, 1) for _ in range(5)))
        assert sorted(totals) == [4, 5, 6, 7, 8]

        started = await handle.start_update(
            Counter.add, 10, id="ten", wait_for_stage=WorkflowUpdateStage.ACCEPTED
        )
        assert await started.result() == 18
        # Once per id: the same id again is the same update.
        assert await handle.execute_update(Counter.add, 10, id="ten") == 18
        assert await handle.get_update_handle_for(Counter.add, "ten").result() == 18

        length = len([event async for event in handle.fetch_history_events()])
        with pytest.raises(WorkflowUpdateFailedError) as rejected:
            await handle.execute_update(Counter.add, -1)
        assert "negative" in str(rejected.value.cause)
        assert len([event async for event in handle.fetch_history_events()]) == length

        with pytest.raises(WorkflowUpdateFailedError) as failed:
            await handle.execute_update(Counter.break_down)
        assert isinstance(failed.value.cause, ApplicationError)
        assert failed.value.cause.type == "Broken"

        await handle.signal(Counter.close)
        assert await handle.result() == 18
        history = await handle.fetch_history()
    replayer = Replayer(workflows=[Counter], workflow_runner=UnsandboxedWorkflowRunner())
    await replayer.replay_workflow(history)


async def test_update_with_start(s: Scenario) -> None:
    async with sdk_worker(s, workflows=[Counter]):

        def start() -> WithStartWorkflowOperation[Counter, int]:
            return WithStartWorkflowOperation(
                Counter.run,
                id=s.wf,
                task_queue=s.tq,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            )

        first = start()
        assert (
            await s.client.execute_update_with_start_workflow(Counter.add, 2, start_workflow_operation=first)
            == 2
        )
        second = start()
        assert (
            await s.client.execute_update_with_start_workflow(Counter.add, 3, start_workflow_operation=second)
            == 5
        )
        handle = await second.workflow_handle()
        assert handle.first_execution_run_id == (await first.workflow_handle()).first_execution_run_id
        await handle.signal(Counter.close)
        assert await handle.result() == 5
