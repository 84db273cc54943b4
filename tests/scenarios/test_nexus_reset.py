"""Resets of workflows that call operations, and of those that do the work of one."""

import asyncio
import uuid

import temporalio.api.workflowservice.v1 as ws
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import ResetReapplyExcludeType

from . import commands as c
from .nexus import answer, create_endpoint, pending, poll_nexus, schedule, started, sync
from .raw import Scenario
from .snapshots import expect
from .test_nexus_callbacks import callbacks_text, until_called, workflow_run


async def reset(s: Scenario, finish_event_id: int, workflow_id: str = "", **fields: object) -> str:
    """Reset a workflow; the new run's id."""
    response = await s.service.reset_workflow_execution(
        ws.ResetWorkflowExecutionRequest(
            namespace=s.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id or s.wf),
            reason="again",
            workflow_task_finish_event_id=finish_event_id,
            request_id=str(uuid.uuid4()),
            **fields,
        )
    )
    return response.run_id


async def test_caller_waits_in_the_new_run(s: Scenario) -> None:
    """Its operation had started before the point of the reset: the completion finds the run that waits now."""
    target, queue, _ = await workflow_run(s)
    await reset(s, 9)
    expect(
        await pending(s),
        """
            endpoint=ep service=svc operation=op operation_id=token scheduled_time=<time> state=STARTED
                  attempt=1 last_attempt_complete_time=<time> scheduled_event_id=5 operation_token=token
        """,
    )
    await s.complete(await s.poll(queue), c.complete("out"))
    expect(
        await until_called(s, target),
        """
            callback.nexus.url=temporal://system trigger.workflow_closed={} registration_time=<time>
                  state=SUCCEEDED attempt=1 last_attempt_complete_time=<time>
        """,
    )
    await s.step(c.complete())
    s.expect_events(
        (await s.history())[4:],
        """
            5 NexusOperationScheduled endpoint=ep service=svc operation=op input='in'
                  workflow_task_completed_event_id=4 request_id=<id> endpoint_id=run1
            6 NexusOperationStarted scheduled_event_id=5 operation_id=token request_id=<id>
                  operation_token=token
            7 WorkflowTaskScheduled
            8 WorkflowTaskStarted
            9 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=again
                  failure.reset_workflow_failure_info={} identity=history-service base_run_id=run2
                  new_run_id=run3
            10 WorkflowTaskScheduled
            11 NexusOperationCompleted scheduled_event_id=5 result='out' request_id=<id>
            12 WorkflowTaskStarted scheduled_event_id=10
            13 WorkflowTaskCompleted scheduled_event_id=10
            14 WorkflowExecutionCompleted workflow_task_completed_event_id=13
        """,
    )


async def test_what_came_after_the_point_comes_again(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint))
    task = await poll_nexus(s)
    await s.signal()
    await s.step()
    await answer(s, task, started("token"))
    await s.step()
    await reset(s, 9)
    await s.poll()
    s.expect_events(
        (await s.history())[8:],
        """
            9 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=again
                  failure.reset_workflow_failure_info={} identity=history-service base_run_id=run1
                  new_run_id=run2
            10 NexusOperationStarted scheduled_event_id=5 operation_id=token request_id=<id>
                  operation_token=token
            11 WorkflowTaskScheduled
            12 WorkflowTaskStarted
        """,
    )
    expect(
        await pending(s),
        """
            endpoint=ep service=svc operation=op operation_id=token scheduled_time=<time> state=STARTED
                  attempt=1 last_attempt_complete_time=<time> scheduled_event_id=5 operation_token=token
        """,
    )


async def test_what_is_excluded_does_not(s: Scenario) -> None:
    endpoint = await create_endpoint(s)
    await s.start()
    await s.step(schedule(endpoint))
    task = await poll_nexus(s)
    await s.signal()
    await s.step()
    await answer(s, task, sync("out"))
    await s.step()
    await reset(s, 9, reset_reapply_exclude_types=[ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_NEXUS])
    # The handler is asked again, by the same request id.
    again = await poll_nexus(s)
    assert again.request.start_operation.request_id == task.request.start_operation.request_id
    await answer(s, again, sync("out again"))
    await asyncio.sleep(0.2)
    await s.step(c.complete())
    s.expect_events(
        (await s.history())[8:],
        """
            9 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=again
                  failure.reset_workflow_failure_info={} identity=history-service base_run_id=run1
                  new_run_id=run2
            10 WorkflowTaskScheduled
            11 NexusOperationCompleted scheduled_event_id=5 result='out again' request_id=<id>
            12 WorkflowTaskStarted scheduled_event_id=10
            13 WorkflowTaskCompleted scheduled_event_id=10
            14 WorkflowExecutionCompleted workflow_task_completed_event_id=13
        """,
    )


async def test_callee_was_reset(s: Scenario) -> None:
    """The run that was reset calls nobody; the one that follows it does."""
    target, queue, run_id = await workflow_run(s)
    await s.complete(await s.poll(queue))
    await reset(s, 4, target)
    expect(
        await callbacks_text(s, target, run_id),
        """
            callback.nexus.url=temporal://system trigger.workflow_closed={} registration_time=<time>
                  state=STANDBY
        """,
    )
    expect(
        await callbacks_text(s, target),
        """
            callback.nexus.url=temporal://system trigger.workflow_closed={} registration_time=<time>
                  state=STANDBY
        """,
    )
    await s.complete(await s.poll(queue), c.complete("out"))
    expect(
        await until_called(s, target),
        """
            callback.nexus.url=temporal://system trigger.workflow_closed={} registration_time=<time>
                  state=SUCCEEDED attempt=1 last_attempt_complete_time=<time>
        """,
    )
    await s.step(c.complete())
    s.expect_events(
        (await s.history())[9:10],
        """
            10 NexusOperationCompleted scheduled_event_id=5 result='out' request_id=<id>
        """,
    )
