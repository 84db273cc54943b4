"""The service in a test's own process."""

from __future__ import annotations

import uuid
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from sdk import testing


@activity.defn
async def double(number: int) -> int:
    return number * 2


@workflow.defn
class Doubling:
    @workflow.run
    async def run(self, number: int) -> int:
        return await workflow.execute_activity(double, number, start_to_close_timeout=timedelta(seconds=10))


async def test_workflows_run_in_this_process() -> None:
    async with (
        testing.local(namespace="mine") as client,
        Worker(
            client,
            task_queue="q",
            workflows=[Doubling],
            activities=[double],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ),
    ):
        assert client.namespace == "mine"
        assert await client.execute_workflow(Doubling.run, 21, id=uuid.uuid4().hex, task_queue="q") == 42


async def test_each_is_empty() -> None:
    for _ in range(2):
        async with testing.local() as client:
            assert [found async for found in client.list_workflows()] == []
            await client.start_workflow("Nobody", id="same", task_queue="q")
