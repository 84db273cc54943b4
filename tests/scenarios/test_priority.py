"""Priority: which waiting task comes first, whose priority a task has, and what changes it while it waits."""

import asyncio

import temporalio.api.enums.v1 as enums
import temporalio.api.workflowservice.v1 as ws
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Priority
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import WorkflowExecutionOptions

from . import commands as c
from .raw import Scenario
from .snapshots import expect

KIND = enums.TaskQueueType


def _activity(name: str, queue: str, priority: Priority | None = None) -> Command:
    command = c.activity(name, queue)
    if priority is not None:
        command.schedule_activity_task_command_attributes.priority.CopyFrom(priority)
    return command


async def _backlog(s: Scenario, kind: int, count: int, queue: str = "") -> ws.DescribeTaskQueueResponse:
    """Wait until so many tasks are stored."""
    for _ in range(200):
        reply = await s.service.describe_task_queue(
            ws.DescribeTaskQueueRequest(
                namespace=s.namespace,
                task_queue=TaskQueue(name=queue or s.tq),
                task_queue_type=kind,
                report_stats=True,
            )
        )
        if reply.stats.approximate_backlog_count == count:
            return reply
        await asyncio.sleep(0.1)
    raise AssertionError(f"{reply.stats.approximate_backlog_count} tasks wait, not {count}")


async def test_workflow_tasks_by_priority(s: Scenario) -> None:
    for name, key in (("low", 5), ("usual", 0), ("high", 1), ("middle", 2), ("third", 3)):
        await s.start(workflow_id=s.id(name), priority=Priority(priority_key=key) if key else None)
    reply = await _backlog(s, KIND.TASK_QUEUE_TYPE_WORKFLOW, 5)
    counts = {level: stats.approximate_backlog_count for level, stats in reply.stats_by_priority_key.items()}
    expect(
        str({level: count for level, count in sorted(counts.items()) if count}),
        """
            {1: 1, 2: 1, 3: 2, 5: 1}
        """,
    )
    order = [(await s.poll()).workflow_execution.workflow_id for _ in range(5)]
    expect(
        s.names.clean(" ".join(order)),
        """
            high middle usual third low
        """,
    )


async def test_activities_by_priority_and_their_workflows(s: Scenario) -> None:
    queue = s.id("activities")
    await s.start(priority=Priority(priority_key=4, fairness_key="tenant", fairness_weight=2))
    await s.step(
        _activity("inherits", queue),
        _activity("low", queue, Priority(priority_key=5)),
        _activity("high", queue, Priority(priority_key=1, fairness_key="other")),
        _activity("beyond", queue, Priority(priority_key=99)),
    )
    await _backlog(s, KIND.TASK_QUEUE_TYPE_ACTIVITY, 4, queue)
    lines = []
    for _ in range(4):
        task = await s.poll_activity(queue)
        own = task.priority
        lines.append(f"{task.activity_id} {own.priority_key} {own.fairness_key} {own.fairness_weight:g}")
    expect(
        "\n".join(lines),
        """
            high 1 other 2
            inherits 4 tenant 2
            low 5 tenant 2
            beyond 99 tenant 2
        """,
    )


async def test_children_and_next_runs_inherit(s: Scenario) -> None:
    child = s.id("child")
    await s.start(priority=Priority(priority_key=2, fairness_key="tenant"))
    command = c.child(child, s.id("children"))
    command.start_child_workflow_execution_command_attributes.priority.fairness_weight = 3
    await s.step(command)
    await s.poll(s.id("children"))
    s.started.append(child)
    s.expect_message(
        (await s.describe(child)).workflow_execution_info.priority,
        """
            priority_key=2 fairness_key=tenant fairness_weight=3.0
        """,
    )
    await s.poll()
    events = await s.history()
    for event in events:
        if event.HasField("start_child_workflow_execution_initiated_event_attributes"):
            s.expect_message(
                event.start_child_workflow_execution_initiated_event_attributes.priority,
                """
                    fairness_weight=3.0
                """,
            )


async def test_a_changed_priority_moves_the_waiting_task(s: Scenario) -> None:
    for name in ("first", "second", "third"):
        await s.start(workflow_id=s.id(name))
    await _backlog(s, KIND.TASK_QUEUE_TYPE_WORKFLOW, 3)
    for name, key in (("third", 1), ("first", 5)):
        await s.service.update_workflow_execution_options(
            ws.UpdateWorkflowExecutionOptionsRequest(
                namespace=s.namespace,
                workflow_execution=s.execution(s.id(name)),
                workflow_execution_options=WorkflowExecutionOptions(priority=Priority(priority_key=key)),
                update_mask=FieldMask(paths=["priority"]),
                identity="tester",
            )
        )
    await asyncio.sleep(1)
    order = [(await s.poll()).workflow_execution.workflow_id for _ in range(3)]
    expect(
        s.names.clean(" ".join(order)),
        """
            third second first
        """,
    )


async def test_a_changed_priority_moves_the_waiting_activity(s: Scenario) -> None:
    queue = s.id("activities")
    await s.start()
    await s.step(*(_activity(name, queue) for name in ("first", "second", "third")))
    await _backlog(s, KIND.TASK_QUEUE_TYPE_ACTIVITY, 3, queue)
    for name, key in (("third", 1), ("first", 5)):
        await s.service.update_activity_options(
            ws.UpdateActivityOptionsRequest(
                namespace=s.namespace,
                execution=s.execution(),
                id=name,
                activity_options=ActivityOptions(priority=Priority(priority_key=key)),
                update_mask=FieldMask(paths=["priority"]),
                identity="tester",
            )
        )
    await asyncio.sleep(1)
    order = [(await s.poll_activity(queue)).activity_id for _ in range(3)]
    expect(
        " ".join(order),
        """
            third second first
        """,
    )


async def test_a_child_with_a_bad_priority(s: Scenario) -> None:
    await s.start()
    command = c.child(s.id("child"), s.tq)
    command.start_child_workflow_execution_command_attributes.priority.priority_key = -1
    task = await s.poll()
    await s.expect_refusal(
        s.complete(task, command),
        """
            INVALID_ARGUMENT: BadStartChildExecutionAttributes: priority key can't be negative
        """,
    )
