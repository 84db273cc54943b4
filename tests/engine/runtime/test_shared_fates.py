"""What happens to one caller, one command or one queue must leave the rest as it was."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
    PollActivityTaskQueueRequest,
)

from cloud.engine.store.database import Database
from cloud.rpc import InvalidArgument
from tests.engine.runtime.harness import NAMESPACE, FaultyDatabase, engine
from tests.scenarios import commands as c

COMPLETED, TERMINATED = 2, 5


async def test_a_caller_that_leaves_during_the_flush_takes_nobody_along(database: Database) -> None:
    faulty = FaultyDatabase(database)
    ended: list[str] = []
    async with engine(faulty, ended.append) as found:
        await found.start("wf")
        await found.start("other")
        await found.terminate("wf")
        faulty.writing.close()
        request = DeleteWorkflowExecutionRequest(namespace=NAMESPACE)
        request.workflow_execution.workflow_id = "wf"
        deletion = asyncio.create_task(found.call("DeleteWorkflowExecution", request))
        signal = asyncio.create_task(found.signal("other", "kept"))
        await faulty.writing.reached.wait()
        await asyncio.sleep(0.05)
        deletion.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await deletion
        faulty.writing.open()
        await signal
        assert await found.signals("other") == ["kept"]
        assert not ended


async def test_an_activity_that_its_run_does_not_outlive_goes_to_nobody(database: Database) -> None:
    async with engine(database) as found:
        await found.start("wf")
        task = await found.poll()
        request = PollActivityTaskQueueRequest(namespace=NAMESPACE, task_queue=TaskQueue(name="tq"))
        poll = asyncio.create_task(found.call("PollActivityTaskQueue", request, timeout_s=20))
        await asyncio.sleep(0.05)
        activity = c.activity("a", "tq", start_to_close_timeout=10)
        await found.complete(task, activity, c.complete("done"))
        assert await found.status("wf") == COMPLETED
        listed = await found.call(
            "ListWorkflowExecutions",
            ListWorkflowExecutionsRequest(namespace=NAMESPACE, query="ExecutionStatus = 'Completed'"),
        )
        assert [run.execution.workflow_id for run in listed.executions] == ["wf"]
        # The worker that waited still waits, and gets the next one.
        await found.start("next")
        await found.complete(await found.poll(), c.activity("b", "tq", start_to_close_timeout=10))
        assert (await poll).activity_id == "b"


async def test_continuing_with_a_bad_cron_schedule_fails_the_task_only(database: Database) -> None:
    async with engine(database) as found:
        await found.start("wf")
        await found.start("other")
        tasks = {
            task.workflow_execution.workflow_id: task for task in (await found.poll(), await found.poll())
        }
        bad = c.continue_as_new()
        bad.continue_as_new_workflow_execution_command_attributes.cron_schedule = "every day or so"
        with pytest.raises(InvalidArgument, match="CronSchedule"):
            await found.complete(tasks["wf"], bad)
        await found.complete(tasks["other"], c.complete())
        assert await found.status("other") == COMPLETED


async def test_a_history_that_no_worker_sees_is_bounded(database: Database) -> None:
    async with engine(database) as found:
        found.runtime.limits = replace(found.runtime.limits, history_size_error=20_000)
        found.runtime._around.clear()
        await found.start("wf")
        for _ in range(3):
            await found.signal("wf", "x" * 900)
        assert await found.status("wf") == 1
        for _ in range(30):
            if await found.status("wf") == TERMINATED:
                break
            await found.signal("wf", "x" * 900)
        assert await found.status("wf") == TERMINATED


async def test_tasks_are_not_passed_over_when_memory_is_lost_while_they_are_read(database: Database) -> None:
    async with engine(database) as found:
        for number in range(3):
            await found.start(f"wf-{number}")
        found.runtime.queues.forget()
        poll = asyncio.create_task(found.poll())
        await asyncio.sleep(0)
        found.runtime._forget_all()
        seen = {(await poll).workflow_execution.workflow_id}
        for _ in range(2):
            seen.add((await found.poll()).workflow_execution.workflow_id)
        assert seen == {"wf-0", "wf-1", "wf-2"}
