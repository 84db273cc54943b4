import asyncio

import temporalio.api.enums.v1 as enums
import temporalio.api.workflowservice.v1 as ws
from temporalio.api.taskqueue.v1 import TaskQueue

from . import commands as c
from .raw import Scenario

KIND = enums.TaskQueueType


async def _describe(s: Scenario, kind: int, **fields: object) -> ws.DescribeTaskQueueResponse:
    return await s.service.describe_task_queue(
        ws.DescribeTaskQueueRequest(
            namespace=s.namespace, task_queue=TaskQueue(name=s.tq), task_queue_type=kind, **fields
        )
    )


async def test_pollers(s: Scenario) -> None:
    polling = asyncio.create_task(s.poll())
    for _ in range(100):
        reply = await _describe(s, KIND.TASK_QUEUE_TYPE_WORKFLOW)
        if reply.pollers:
            break
        await asyncio.sleep(0.02)
    assert [poller.identity for poller in reply.pollers] == ["tester"]
    assert reply.pollers[0].last_access_time.seconds > 0
    assert not (await _describe(s, KIND.TASK_QUEUE_TYPE_ACTIVITY)).pollers
    await s.start()
    await polling


async def test_backlog_is_counted(s: Scenario) -> None:
    for number in range(3):
        await s.start(workflow_id=s.id(str(number)))
    for _ in range(200):
        reply = await _describe(s, KIND.TASK_QUEUE_TYPE_WORKFLOW, report_stats=True)
        if reply.stats.approximate_backlog_count == 3:
            break
        await asyncio.sleep(0.05)
    assert reply.stats.approximate_backlog_count == 3
    await s.poll()


async def test_refusals(s: Scenario) -> None:
    empty = ws.DescribeTaskQueueRequest(namespace=s.namespace)
    await s.expect_refusal(
        s.service.describe_task_queue(empty),
        """
            INVALID_ARGUMENT: taskQueue is not set
        """,
    )
    named = ws.DescribeTaskQueueRequest(namespace="nowhere", task_queue=TaskQueue(name=s.tq))
    await s.expect_refusal(
        s.service.describe_task_queue(named),
        """
            NOT_FOUND: Namespace nowhere is not found.
              NamespaceNotFoundFailure namespace=nowhere
        """,
    )


async def test_partitions(s: Scenario) -> None:
    reply = await s.service.list_task_queue_partitions(
        ws.ListTaskQueuePartitionsRequest(namespace=s.namespace, task_queue=TaskQueue(name=s.tq))
    )
    assert reply.workflow_task_queue_partitions
    assert reply.activity_task_queue_partitions


async def test_activity_goes_to_its_own_queue(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.id("elsewhere")))
    task = await s.poll_activity(s.id("elsewhere"))
    assert task.activity_id == "a"
