import asyncio
from collections.abc import Awaitable

import pytest
import temporalio.api.enums.v1 as enums
from temporalio.api.query.v1 import WorkflowQueryResult
from temporalio.service import RPCError, RPCStatusCode

from . import commands as c
from .raw import Scenario

REJECT = enums.QueryRejectCondition


async def test_idle_workflow_gets_a_task_for_the_query_alone(s: Scenario) -> None:
    await s.start()
    await s.step()
    asked = asyncio.create_task(s.query("q", "arg"))
    task = await s.poll()
    s.expect_message(
        task,
        """
            task_token=<set> workflow_execution.workflow_id=wf workflow_execution.run_id=run1
                  workflow_type.name=demo previous_started_event_id=3 attempt=1 query.query_type=q
                  query.query_args=['arg'] workflow_execution_task_queue=tq
        """,
        hide=["history"],
    )
    s.expect_events(
        task.history.events,
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
        """,
    )
    await s.answer_query(task, "answer")
    s.expect_message(
        await asked,
        """
            query_result=['answer']
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
    """)


async def test_before_the_first_task_is_attached_to_it(s: Scenario) -> None:
    await s.start()
    asked = asyncio.create_task(s.query("q"))
    task = await _task_with_queries(s)
    if task.query.query_type:
        await s.answer_query(task, "alone")
    else:
        answers = {key: _answered("attached") for key in task.queries}
        await s.complete(task, query_results=answers)
    s.expect_message(
        await asked,
        """
            query_result=['attached']
        """,
    )


async def test_while_a_task_is_started_waits_for_its_completion(s: Scenario) -> None:
    await s.start()
    held = await s.poll()
    asked = asyncio.create_task(s.query("q"))
    await asyncio.sleep(0.2)
    await s.complete(held)
    task = await s.poll()
    s.expect_message(
        task,
        """
            task_token=<set> workflow_execution.workflow_id=wf workflow_execution.run_id=run1
                  workflow_type.name=demo previous_started_event_id=3 attempt=1 query.query_type=q
                  workflow_execution_task_queue=tq
        """,
        hide=["history"],
    )
    s.expect_events(
        task.history.events,
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
        """,
    )
    await s.answer_query(task, "afterwards")
    s.expect_message(
        await asked,
        """
            query_result=['afterwards']
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
    """)


async def test_is_attached_to_the_next_task_when_events_are_buffered(s: Scenario) -> None:
    await s.start()
    held = await s.poll()
    asked = asyncio.create_task(s.query("q", "arg"))
    await asyncio.sleep(0.2)
    await s.signal()
    await s.complete(held)
    task = await s.poll()
    s.expect_message(
        task,
        """
            task_token=<set> workflow_execution.workflow_id=wf workflow_execution.run_id=run1
                  workflow_type.name=demo previous_started_event_id=3 started_event_id=7 attempt=1
                  workflow_execution_task_queue=tq scheduled_time=<time> started_time=<time>
        """,
        hide=["history", "queries"],
    )
    s.expect_events(
        task.history.events,
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 WorkflowExecutionSignaled signal_name=sig request_id=<id>
            6 WorkflowTaskScheduled
            7 WorkflowTaskStarted
        """,
    )
    assert [query.query_type for query in task.queries.values()] == ["q"]
    await s.complete(task, query_results={key: _answered("attached") for key in task.queries})
    s.expect_message(
        await asked,
        """
            query_result=['attached']
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionSignaled signal_name=sig request_id=<id>
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted
    """)


async def test_attached_query_that_fails(s: Scenario) -> None:
    await s.start()
    held = await s.poll()
    asked = asyncio.create_task(s.query("q"))
    await asyncio.sleep(0.2)
    await s.signal()
    await s.complete(held)
    task = await s.poll()
    failed = WorkflowQueryResult(
        result_type=enums.QueryResultType.QUERY_RESULT_TYPE_FAILED, error_message="no"
    )
    await s.complete(task, query_results=dict.fromkeys(task.queries, failed))
    await s.expect_refusal(
        asked,
        """
            INVALID_ARGUMENT: no
              QueryFailedFailure
        """,
    )


async def test_attached_query_left_unanswered_goes_to_a_later_task(s: Scenario) -> None:
    await s.start()
    held = await s.poll()
    asked = asyncio.create_task(s.query("q"))
    await asyncio.sleep(0.2)
    await s.signal()
    await s.complete(held)
    await s.complete(await s.poll())
    await s.answer_query(await s.poll(), "later")
    s.expect_message(
        await asked,
        """
            query_result=['later']
        """,
    )


async def test_closed_workflow(s: Scenario) -> None:
    await s.start()
    await s.step(c.complete())
    asked = asyncio.create_task(s.query("q"))
    task = await s.poll()
    s.expect_events(
        task.history.events,
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 WorkflowExecutionCompleted workflow_task_completed_event_id=4
        """,
    )
    await s.answer_query(task, "still known")
    s.expect_message(
        await asked,
        """
            query_result=['still known']
        """,
    )


async def test_reject_conditions(s: Scenario) -> None:
    await s.start()
    await s.step(c.fail())
    for condition in (
        REJECT.QUERY_REJECT_CONDITION_NOT_OPEN,
        REJECT.QUERY_REJECT_CONDITION_NOT_COMPLETED_CLEANLY,
    ):
        reply = await s.query("q", query_reject_condition=condition)
        s.expect_message(reply, "query_rejected.status=FAILED")


async def test_reject_not_completed_cleanly_lets_completed_pass(s: Scenario) -> None:
    await s.start()
    await s.step(c.complete())
    condition = REJECT.QUERY_REJECT_CONDITION_NOT_COMPLETED_CLEANLY
    asked = asyncio.create_task(s.query("q", query_reject_condition=condition))
    await s.answer_query(await s.poll(), 1)
    s.expect_message(
        await asked,
        """
            query_result=[1]
        """,
    )


async def test_failure_of_the_handler(s: Scenario) -> None:
    await s.start()
    await s.step()
    asked = asyncio.create_task(s.query("q"))
    await s.answer_query(await s.poll(), error="no such query", failure=c.failure("no such query"))
    await s.expect_refusal(
        asked,
        """
            INVALID_ARGUMENT: no such query
              QueryFailedFailure failure.message="no such query" failure.application_failure_info.type=Boom
        """,
    )


async def test_no_worker(s: Scenario) -> None:
    await s.start()
    await s.step()
    await _expect_out_of_time(s.query(timeout=1.5))


async def test_no_worker_before_the_first_task(s: Scenario) -> None:
    await s.start()
    await _expect_out_of_time(s.query(timeout=1.5))


async def test_no_worker_ever(s: Scenario) -> None:
    await s.start()
    await s.terminate()
    await s.expect_refusal(
        s.query(timeout=1.5),
        """
            FAILED_PRECONDITION: Workflow execution closed before WorkflowTaskStarted event
              WorkflowNotReadyFailure
        """,
    )


async def test_refusals(s: Scenario) -> None:
    await s.expect_refusal(
        s.query(workflow_id=s.id("missing")),
        """
            NOT_FOUND: workflow not found for ID: missing
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        s.query("", workflow_id=s.id("missing")),
        """
            INVALID_ARGUMENT: QueryType is not set on request.
        """,
    )
    await s.expect_refusal(
        s.query(workflow_id="w" * 1001),
        """
            NOT_FOUND: workflow not found for ID: <1001 x w>
              NotFoundFailure
        """,
    )
    await s.start()
    await s.step()
    asked = asyncio.create_task(s.query("q"))
    task = await s.poll()
    await s.answer_query(task, 1)
    await asked
    await s.expect_refusal(
        s.answer_query(task, 2),
        """
            NOT_FOUND: query task not found, or already expired
              NotFoundFailure
        """,
    )


async def test_while_attempts_fail(s: Scenario) -> None:
    await s.start()
    for _ in range(3):
        await s.fail_task(await s.poll())
    await s.expect_refusal(
        s.query(timeout=3),
        """
            FAILED_PRECONDITION: Unable to query workflow due to Workflow Task in failed state.
              WorkflowNotReadyFailure
        """,
    )


def _answered(value: object) -> WorkflowQueryResult:
    return WorkflowQueryResult(
        result_type=enums.QueryResultType.QUERY_RESULT_TYPE_ANSWERED, answer=c.payloads(value)
    )


async def _task_with_queries(s: Scenario) -> object:
    """A task with the query, alone or attached, whichever the race with the poll gives."""
    await asyncio.sleep(0.1)
    task = await s.poll()
    if not task.queries and not task.query.query_type:
        await s.complete(task)
        task = await s.poll()
    return task


async def _expect_out_of_time(asked: Awaitable[object]) -> None:
    """The client's deadline and the server's are the same: either may speak first."""
    with pytest.raises(RPCError) as caught:
        await asked
    assert caught.value.status in {RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED}


async def test_while_a_worker_holds_a_task_that_keeps_failing(s: Scenario) -> None:
    await s.start()
    for _ in range(2):
        await s.fail_task(await s.poll())
    held = await s.poll()
    assert held.attempt == 3
    await s.expect_refusal(
        s.query(),
        """
            FAILED_PRECONDITION: Unable to query workflow due to Workflow Task in failed state.
              WorkflowNotReadyFailure
        """,
    )
