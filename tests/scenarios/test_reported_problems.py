"""Workflow tasks that keep failing are shown in lists: the search attribute TemporalReportedProblems."""

import asyncio

import temporalio.api.workflowservice.v1 as ws
from temporalio.api.enums.v1 import WorkflowTaskFailedCause

from . import commands as c
from .raw import Scenario
from .rendering import decode


async def problems(s: Scenario) -> object:
    found = (await s.describe()).workflow_execution_info.search_attributes.indexed_fields
    return decode(found["TemporalReportedProblems"]) if "TemporalReportedProblems" in found else None


async def listed(s: Scenario, query: str, count: int) -> None:
    for _ in range(50):
        found = await s.service.list_workflow_executions(
            ws.ListWorkflowExecutionsRequest(namespace=s.namespace, query=query)
        )
        if len(found.executions) == count:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{query} finds {len(found.executions)}, not {count}")


async def test_five_failures_in_a_row_are_shown_until_one_succeeds(s: Scenario) -> None:
    query = (
        f"WorkflowId = '{s.wf}' AND TemporalReportedProblems IN "
        "('category=WorkflowTaskFailed', 'category=WorkflowTaskTimedOut')"
    )
    await s.start()
    bad = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SIGNAL_INPUT_SIZE
    for number in range(5):
        assert await problems(s) is None, number
        await s.fail_task(await s.poll(timeout=60), cause=bad)
    assert await problems(s) == [
        "category=WorkflowTaskFailed",
        "cause=WorkflowTaskFailedCauseBadSignalInputSize",
    ]
    await listed(s, query, 1)
    await s.fail_task(await s.poll(timeout=60))
    # The reason stays that of the failure that the history tells of.
    assert await problems(s) == [
        "category=WorkflowTaskFailed",
        "cause=WorkflowTaskFailedCauseBadSignalInputSize",
    ]
    await s.complete(await s.poll(timeout=60), c.timer(after=1000))
    assert await problems(s) is None
    await listed(s, query, 0)


async def test_a_success_between_begins_to_count_anew(s: Scenario) -> None:
    await s.start()
    for _ in range(3):
        await s.fail_task(await s.poll(timeout=60))
    await s.complete(await s.poll(timeout=60), c.timer(after=1000))
    await s.signal()
    for _ in range(4):
        await s.fail_task(await s.poll(timeout=60))
    assert await problems(s) is None


async def test_a_bad_command_counts(s: Scenario) -> None:
    await s.start()
    for _ in range(6):  # the real server does not count the first one
        task = await s.poll(timeout=90)
        await s.expect_refusal(
            s.complete(task, c.timer("", after=1)),
            """
                INVALID_ARGUMENT: BadStartTimerAttributes: TimerId is not set on StartTimerCommand.
            """,
        )
    assert await problems(s) == [
        "category=WorkflowTaskFailed",
        "cause=WorkflowTaskFailedCauseBadStartTimerAttributes",
    ]
