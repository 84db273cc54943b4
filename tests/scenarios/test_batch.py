"""Batch operations: one call that signals, cancels, terminates, deletes or changes many workflows."""

import asyncio
import time
import uuid
from typing import Any

import pytest
import temporalio.api.workflowservice.v1 as ws
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.batch.v1 import (
    BatchOperationCancellation,
    BatchOperationDeletion,
    BatchOperationReset,
    BatchOperationResetActivities,
    BatchOperationSignal,
    BatchOperationTermination,
    BatchOperationUnpauseActivities,
    BatchOperationUpdateActivityOptions,
    BatchOperationUpdateWorkflowExecutionOptions,
)
from temporalio.api.common.v1 import Execution, Priority, WorkflowExecution
from temporalio.api.enums.v1 import BatchOperationState, ExecutionType
from temporalio.api.workflow.v1 import WorkflowExecutionOptions
from temporalio.service import RPCError

from . import commands as c
from .raw import Scenario
from .snapshots import expect

RUNNING = BatchOperationState.BATCH_OPERATION_STATE_RUNNING
WAIT_SECONDS = 30.0
TERMINATE = {"termination_operation": BatchOperationTermination(identity="me")}
SIGNAL = {"signal_operation": BatchOperationSignal(signal="s", input=c.payloads("in"), identity="me")}


# Jobs run one at a time in a namespace, so these tests do too.


async def begin(s: Scenario, **fields: Any) -> None:
    """Start the job `job`; a field that is None is left out."""
    usual = {"namespace": s.namespace, "job_id": s.id("job"), "reason": "why"}
    request = {name: value for name, value in (usual | fields).items() if value is not None}
    await s.service.start_batch_operation(ws.StartBatchOperationRequest(**request))


async def job(s: Scenario, job_id: str = "") -> ws.DescribeBatchOperationResponse:
    return await s.service.describe_batch_operation(
        ws.DescribeBatchOperationRequest(namespace=s.namespace, job_id=job_id or s.id("job"))
    )


async def stop(s: Scenario, **fields: Any) -> None:
    usual = {"namespace": s.namespace, "job_id": s.id("job"), "reason": "enough", "identity": "me"}
    request = {name: value for name, value in (usual | fields).items() if value is not None}
    await s.service.stop_batch_operation(ws.StopBatchOperationRequest(**request))


async def ended(s: Scenario, job_id: str = "") -> ws.DescribeBatchOperationResponse:
    """Wait for the job's end; the last description of it."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        described = await job(s, job_id)
        if described.state != RUNNING:
            return described
        assert time.monotonic() < until, "the job did not end"
        await asyncio.sleep(0.1)


async def workflows(s: Scenario, count: int, **fields: Any) -> list[str]:
    """Start workflows `w0`, `w1`, … and wait until lists show them."""
    ids = [s.id(f"w{number}") for number in range(count)]
    for workflow_id in ids:
        await s.start(workflow_id=workflow_id, **fields)
    await listed(s, query(s), count)
    return ids


def query(s: Scenario) -> str:
    return f"WorkflowId STARTS_WITH '{s.prefix}:w'"


async def listed(s: Scenario, text: str, count: int) -> None:
    """Wait until lists show what they are to show."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        found = await s.service.count_workflow_executions(
            ws.CountWorkflowExecutionsRequest(namespace=s.namespace, query=text)
        )
        if found.count == count:
            return
        assert time.monotonic() < until, f"{found.count} instead of {count} are listed"
        await asyncio.sleep(0.1)


def executions(*ids: str) -> list[WorkflowExecution]:
    return [WorkflowExecution(workflow_id=workflow_id) for workflow_id in ids]


async def test_terminate_by_query(s: Scenario) -> None:
    ids = await workflows(s, 3)
    await begin(s, visibility_query=query(s), **TERMINATE)
    described = await ended(s)
    s.expect_message(
        described,
        """
            operation_type=TERMINATE_WORKFLOW job_id=job state=COMPLETED start_time=<time> close_time=<time>
                  total_operation_count=3 complete_operation_count=3 identity=me reason=why query="WorkflowId
                  STARTS_WITH 'w'"
        """,
    )
    assert described.HasField("start_time")
    assert described.HasField("close_time")
    end = (await s.closed(ids[0])).workflow_execution_terminated_event_attributes
    assert end.reason == "why"
    await listed(s, f"{query(s)} AND ExecutionStatus = 'Terminated'", 3)


async def test_signal_by_executions(s: Scenario) -> None:
    ids = await workflows(s, 2)
    await begin(s, executions=executions(*ids), **SIGNAL)
    s.expect_message(
        await ended(s),
        """
            operation_type=SIGNAL_WORKFLOW job_id=job state=COMPLETED start_time=<time> close_time=<time>
                  total_operation_count=2 complete_operation_count=2 identity=me reason=why
                  executions=[{type=WORKFLOW business_id=w0}, {type=WORKFLOW business_id=w1}]
        """,
    )
    await s.expect_history(
        """
            1 WorkflowExecutionStarted workflow_id=w0
            2 WorkflowTaskScheduled
            3 WorkflowExecutionSignaled signal_name=s input=['in'] identity=me request_id=<id>
        """,
        workflow_id=ids[0],
    )
    await s.expect_history(
        """
            1 WorkflowExecutionStarted workflow_id=w1
            2 WorkflowTaskScheduled
            3 WorkflowExecutionSignaled signal_name=s input=['in'] identity=me request_id=<id>
        """,
        workflow_id=ids[1],
    )


async def test_signal_by_target_executions(s: Scenario) -> None:
    ids = await workflows(s, 1)
    targets = [Execution(type=ExecutionType.EXECUTION_TYPE_WORKFLOW, business_id=ids[0])]
    await begin(s, target_executions=targets, **SIGNAL)
    s.expect_message(
        await ended(s),
        """
            operation_type=SIGNAL_WORKFLOW job_id=job state=COMPLETED start_time=<time> close_time=<time>
                  total_operation_count=1 complete_operation_count=1 identity=me reason=why
                  executions=[{type=WORKFLOW business_id=w0}]
        """,
    )
    await s.expect_history(
        """
            1 WorkflowExecutionStarted workflow_id=w0
            2 WorkflowTaskScheduled
            3 WorkflowExecutionSignaled signal_name=s input=['in'] identity=me request_id=<id>
        """,
        workflow_id=ids[0],
    )


async def test_cancel_by_query(s: Scenario) -> None:
    ids = await workflows(s, 1)
    await begin(
        s, visibility_query=query(s), cancellation_operation=BatchOperationCancellation(identity="me")
    )
    s.expect_message(
        await ended(s),
        """
            operation_type=CANCEL_WORKFLOW job_id=job state=COMPLETED start_time=<time> close_time=<time>
                  total_operation_count=1 complete_operation_count=1 identity=me reason=why query="WorkflowId
                  STARTS_WITH 'w'"
        """,
    )
    requested = (await s.history(ids[0]))[-1]
    assert requested.HasField("workflow_execution_cancel_requested_event_attributes")


async def test_delete_open_and_closed_ones(s: Scenario) -> None:
    ids = await workflows(s, 2)
    await s.terminate(ids[0])
    await listed(s, f"{query(s)} AND ExecutionStatus = 'Terminated'", 1)
    await begin(s, visibility_query=query(s), deletion_operation=BatchOperationDeletion(identity="me"))
    s.expect_message(
        await ended(s),
        """
            operation_type=DELETE_WORKFLOW job_id=job state=COMPLETED start_time=<time> close_time=<time>
                  total_operation_count=2 complete_operation_count=2 identity=me reason=why query="WorkflowId
                  STARTS_WITH 'w'"
        """,
    )
    await listed(s, query(s), 0)


async def test_closed_ones_are_passed_over(s: Scenario) -> None:
    ids = await workflows(s, 2)
    await s.terminate(ids[0])
    await listed(s, f"{query(s)} AND ExecutionStatus = 'Terminated'", 1)
    await begin(s, visibility_query=query(s), **SIGNAL)
    s.expect_message(
        await ended(s),
        """
            operation_type=SIGNAL_WORKFLOW job_id=job state=COMPLETED start_time=<time> close_time=<time>
                  total_operation_count=1 complete_operation_count=1 identity=me reason=why query="WorkflowId
                  STARTS_WITH 'w'"
        """,
    )


async def test_those_that_are_not_there_count_as_done(s: Scenario) -> None:
    ids = await workflows(s, 2)
    await s.terminate(ids[0])
    await begin(s, executions=executions(*ids, s.id("absent")), **SIGNAL)
    s.expect_message(
        await ended(s),
        """
            operation_type=SIGNAL_WORKFLOW job_id=job state=COMPLETED start_time=<time> close_time=<time>
                  total_operation_count=3 complete_operation_count=3 identity=me reason=why
                  executions=[{type=WORKFLOW business_id=w0}, {type=WORKFLOW business_id=w1}, {type=WORKFLOW
                  business_id=absent}]
        """,
    )


async def test_a_query_that_finds_nothing(s: Scenario) -> None:
    await begin(s, visibility_query=query(s), **SIGNAL)
    s.expect_message(
        await ended(s),
        """
            operation_type=SIGNAL_WORKFLOW job_id=job state=COMPLETED start_time=<time> close_time=<time>
                  identity=me reason=why query="WorkflowId STARTS_WITH 'w'"
        """,
    )


async def test_unpause_activities(s: Scenario) -> None:
    await s.start(workflow_id=s.id("w0"))
    await s.step(c.activity("a", s.tq), c.activity("b", s.tq, activity_type="other"))
    for activity_id in "ab":
        await s.service.pause_activity(
            ws.PauseActivityRequest(namespace=s.namespace, execution=s.execution(s.id("w0")), id=activity_id)
        )
    await listed(s, f"{query(s)} AND TemporalPauseInfo = 'property:activityType=act'", 1)
    operation = BatchOperationUnpauseActivities(identity="me", type="act")
    await begin(s, visibility_query=query(s), unpause_activities_operation=operation)
    s.expect_message(
        await ended(s),
        """
            operation_type=UNPAUSE_ACTIVITY job_id=job state=COMPLETED start_time=<time> close_time=<time>
                  total_operation_count=1 complete_operation_count=1 identity=me reason=why query="WorkflowId
                  STARTS_WITH 'w'"
        """,
    )
    expect(
        await paused(s),
        """
        a=False b=True
    """,
    )
    operation = BatchOperationUnpauseActivities(identity="me", match_all=True)
    await begin(s, job_id=s.id("job2"), visibility_query=query(s), unpause_activities_operation=operation)
    await ended(s, s.id("job2"))
    expect(
        await paused(s),
        """
        a=False b=False
    """,
    )


async def paused(s: Scenario) -> str:
    found = (await s.describe(s.id("w0"))).pending_activities
    return " ".join(sorted(f"{info.activity_id}={info.paused}" for info in found))


async def test_reset_activities(s: Scenario) -> None:
    await s.start(workflow_id=s.id("w0"))
    await s.step(c.activity("a", s.tq, retry_policy=c.retry(initial=60)))
    await s.fail_activity(await s.poll_activity())
    await listed(s, query(s), 1)
    operation = BatchOperationResetActivities(identity="me", match_all=True)
    await begin(s, visibility_query=query(s), reset_activities_operation=operation)
    s.expect_message(
        await ended(s),
        """
            operation_type=RESET_ACTIVITY job_id=job state=COMPLETED start_time=<time> close_time=<time>
                  total_operation_count=1 complete_operation_count=1 identity=me reason=why query="WorkflowId
                  STARTS_WITH 'w'"
        """,
    )
    assert (await s.poll_activity()).attempt == 1


async def test_update_of_activity_options(s: Scenario) -> None:
    await s.start(workflow_id=s.id("w0"))
    await s.step(c.activity("a", s.tq))
    await listed(s, query(s), 1)
    operation = BatchOperationUpdateActivityOptions(
        identity="me",
        type="act",
        activity_options=ActivityOptions(start_to_close_timeout=c.seconds(7)),
        update_mask=FieldMask(paths=["start_to_close_timeout"]),
    )
    await begin(s, visibility_query=query(s), update_activity_options_operation=operation)
    s.expect_message(
        await ended(s),
        """
            operation_type=UPDATE_ACTIVITY_OPTIONS job_id=job state=COMPLETED start_time=<time>
                  close_time=<time> total_operation_count=1 complete_operation_count=1 identity=me reason=why
                  query="WorkflowId STARTS_WITH 'w'"
        """,
    )
    s.expect_message(
        (await s.describe(s.id("w0"))).pending_activities[0].activity_options,
        """
            task_queue=tq(unspecified of tq) schedule_to_close_timeout=0s schedule_to_start_timeout=0s
                  start_to_close_timeout=7s heartbeat_timeout=0s retry_policy.initial_interval=1s
                  retry_policy.backoff_coefficient=2.0 retry_policy.maximum_interval=100s
        """,
    )


async def test_update_of_workflow_options(s: Scenario) -> None:
    ids = await workflows(s, 1)
    operation = BatchOperationUpdateWorkflowExecutionOptions(
        identity="me",
        workflow_execution_options=WorkflowExecutionOptions(priority=Priority(priority_key=2)),
        update_mask=FieldMask(paths=["priority"]),
    )
    await begin(s, visibility_query=query(s), update_workflow_options_operation=operation)
    s.expect_message(
        await ended(s),
        """
            operation_type=UPDATE_WORKFLOW_EXECUTION_OPTIONS job_id=job state=COMPLETED start_time=<time>
                  close_time=<time> total_operation_count=1 complete_operation_count=1 identity=me reason=why
                  query="WorkflowId STARTS_WITH 'w'"
        """,
    )
    await s.expect_history(
        """
        1 WorkflowExecutionStarted workflow_id=w0
        2 WorkflowTaskScheduled
        3 WorkflowExecutionOptionsUpdated unset_versioning_override=true identity=me priority.priority_key=2
              worker_may_ignore=true
    """,
        workflow_id=ids[0],
    )


async def test_same_job_id_again(s: Scenario) -> None:
    await begin(s, visibility_query=query(s), **SIGNAL)
    await ended(s)
    await s.expect_refusal(
        begin(s, visibility_query=query(s), **SIGNAL),
        """
        ALREADY_EXISTS: Workflow execution already finished. WorkflowId: job, RunId: run1. Workflow Id reuse
              policy: reject duplicate workflow Id.
          WorkflowExecutionAlreadyStartedFailure run_id=run1 first_execution_run_id=run1
    """,
    )


async def test_stop(s: Scenario) -> None:
    ids = await workflows(s, 1)
    await begin(s, executions=executions(*ids * 500), max_operations_per_second=1, **SIGNAL)
    s.expect_message(
        await job(s),
        """
            operation_type=SIGNAL_WORKFLOW job_id=job state=RUNNING start_time=<time> identity=me reason=why
        """,
        hide=["total_operation_count", "complete_operation_count", "executions"],
    )
    await asyncio.sleep(2)  # until the real server counts it
    await s.expect_refusal(
        begin(s, visibility_query=query(s), **SIGNAL),
        """
        RESOURCE_EXHAUSTED: Max concurrent batch operations is reached
          ResourceExhaustedFailure cause=CONCURRENT_LIMIT scope=NAMESPACE
    """,
    )
    await s.expect_refusal(
        begin(s, job_id=s.id("other"), visibility_query=query(s), **SIGNAL),
        """
        RESOURCE_EXHAUSTED: Max concurrent batch operations is reached
          ResourceExhaustedFailure cause=CONCURRENT_LIMIT scope=NAMESPACE
    """,
    )
    await stop(s)
    described = await ended(s)
    s.expect_message(
        described,
        """
            operation_type=SIGNAL_WORKFLOW job_id=job state=FAILED start_time=<time> close_time=<time>
                  identity=me reason=why
        """,
        hide=["total_operation_count", "complete_operation_count", "executions"],
    )
    await s.expect_refusal(
        stop(s),
        """
        NOT_FOUND: workflow execution already completed
          NotFoundFailure
    """,
    )


async def test_list(s: Scenario) -> None:
    for number in range(2):
        await begin(s, job_id=s.id(f"job{number}"), visibility_query=query(s), **SIGNAL)
        await ended(s, s.id(f"job{number}"))
    await asyncio.sleep(2)  # until the real server lists them
    first = await s.service.list_batch_operations(
        ws.ListBatchOperationsRequest(namespace=s.namespace, page_size=1)
    )
    s.expect_message(
        first,
        """
            operation_info=[{job_id=job1 state=COMPLETED start_time=<time> close_time=<time>
                  operation_type=SIGNAL_WORKFLOW}]
        """,
        hide=["next_page_token"],
    )
    second = await s.service.list_batch_operations(
        ws.ListBatchOperationsRequest(
            namespace=s.namespace, page_size=1, next_page_token=first.next_page_token
        )
    )
    s.expect_message(
        second.operation_info[0],
        """
            job_id=job0 state=COMPLETED start_time=<time> close_time=<time> operation_type=SIGNAL_WORKFLOW
        """,
    )


async def test_starts_are_checked(s: Scenario) -> None:
    some = {"visibility_query": query(s)}
    await s.expect_refusal(
        begin(s, **some),
        """
        INVALID_ARGUMENT: must provide required parameters: BatchType,Reason,Namespace, AND one of (Query OR
              Executions OR TargetExecutions)
    """,
    )
    await s.expect_refusal(
        begin(s, **TERMINATE),
        """
        INVALID_ARGUMENT: must provide required parameters: BatchType,Reason,Namespace, AND one of (Query OR
              Executions OR TargetExecutions)
    """,
    )
    await s.expect_refusal(
        begin(s, reason=None, **some, **TERMINATE),
        """
        INVALID_ARGUMENT: must provide required parameters: BatchType,Reason,Namespace, AND one of (Query OR
              Executions OR TargetExecutions)
    """,
    )
    await s.expect_refusal(
        begin(s, job_id=None, **some, **TERMINATE),
        """
        INVALID_ARGUMENT: JobId is not set on request.
    """,
    )
    await s.expect_refusal(
        begin(s, namespace=None, **some, **TERMINATE),
        """
        INVALID_ARGUMENT: Namespace is empty.
    """,
    )
    await s.expect_refusal(
        begin(s, namespace="nowhere", **some, **TERMINATE),
        """
        NOT_FOUND: Namespace nowhere is not found.
          NamespaceNotFoundFailure namespace=nowhere
    """,
    )
    await s.expect_refusal(
        begin(s, executions=executions("x"), **some, **TERMINATE),
        """
        INVALID_ARGUMENT: visibility query, executions, and target executions are mutually exclusive
    """,
    )
    activities = [Execution(type=ExecutionType.EXECUTION_TYPE_ACTIVITY, business_id="x")]
    await s.expect_refusal(
        begin(s, target_executions=activities, **TERMINATE),
        """
        INVALID_ARGUMENT: target_executions[0] has type Activity, but operation
              *workflowservice.StartBatchOperationRequest_TerminationOperation requires Workflow
    """,
    )
    await s.expect_refusal(
        begin(s, **some, signal_operation=BatchOperationSignal()),
        """
        INVALID_ARGUMENT: must provide signal name
    """,
    )
    await s.expect_refusal(
        begin(s, **some, reset_operation=BatchOperationReset()),
        """
        INVALID_ARGUMENT: unknown batch reset type Unspecified
    """,
    )
    unpause, reset = BatchOperationUnpauseActivities, BatchOperationResetActivities
    await s.expect_refusal(
        begin(s, **some, unpause_activities_operation=unpause()),
        """
        INVALID_ARGUMENT: activity filter must be set
    """,
    )
    await s.expect_refusal(
        begin(s, **some, unpause_activities_operation=unpause(match_all=False)),
        """
        INVALID_ARGUMENT: Either activity type must be set, or match all should be set to true
    """,
    )
    await s.expect_refusal(
        begin(s, **some, unpause_activities_operation=unpause(type="")),
        """
        INVALID_ARGUMENT: Either activity type must be set, or match all should be set to true
    """,
    )
    await s.expect_refusal(
        begin(s, **some, reset_activities_operation=reset()),
        """
        INVALID_ARGUMENT: must provide ActivityType or MatchAll
    """,
    )
    await s.expect_refusal(
        begin(s, **some, reset_activities_operation=reset(match_all=False)),
        """
        INVALID_ARGUMENT: Either activity type must be set, or match all should be set to true
    """,
    )
    await s.expect_refusal(
        begin(s, **some, reset_activities_operation=reset(type="")),
        """
        INVALID_ARGUMENT: Either activity type must be set, or match all should be set to true
    """,
    )
    update = BatchOperationUpdateActivityOptions
    options = ActivityOptions()
    await s.expect_refusal(
        begin(s, **some, update_activity_options_operation=update()),
        """
        INVALID_ARGUMENT: Either activity type must be set, or restore original should be set to true
    """,
    )
    both = update(restore_original=True, activity_options=options)
    await s.expect_refusal(
        begin(s, **some, update_activity_options_operation=both),
        """
        INVALID_ARGUMENT: cannot set both activity options and restore original
    """,
    )
    no_type = update(type="", activity_options=options)
    await s.expect_refusal(
        begin(s, **some, update_activity_options_operation=no_type),
        """
        INVALID_ARGUMENT: Either activity type must be set, or match all should be set to true
    """,
    )
    not_all = update(match_all=False, activity_options=options)
    await s.expect_refusal(
        begin(s, **some, update_activity_options_operation=not_all),
        """
        INVALID_ARGUMENT: Either activity type must be set, or match all should be set to true
    """,
    )
    workflow = BatchOperationUpdateWorkflowExecutionOptions
    await s.expect_refusal(
        begin(s, **some, update_workflow_options_operation=workflow()),
        """
        INVALID_ARGUMENT: must provide UpdateOptions
    """,
    )
    no_mask = workflow(workflow_execution_options=WorkflowExecutionOptions())
    await s.expect_refusal(
        begin(s, **some, update_workflow_options_operation=no_mask),
        """
        INVALID_ARGUMENT: must provide UpdateMask
    """,
    )
    for broken in ("WorkflowId = ", "()"):
        with pytest.raises(RPCError, match=r"^invalid visibility query: "):
            await begin(s, visibility_query=broken, **TERMINATE)


async def test_what_is_not_there(s: Scenario) -> None:
    await s.expect_refusal(
        job(s),
        """
        NOT_FOUND: workflow not found for ID: job
          NotFoundFailure
    """,
    )
    await s.expect_refusal(
        stop(s),
        """
        NOT_FOUND: workflow not found for ID: job
          NotFoundFailure
    """,
    )
    await s.expect_refusal(
        stop(s, job_id=None),
        """
        INVALID_ARGUMENT: JobId is not set on request.
    """,
    )
    await s.expect_refusal(
        stop(s, reason=None),
        """
        INVALID_ARGUMENT: Reason is not set on request.
    """,
    )
    await s.expect_refusal(
        stop(s, namespace=None),
        """
        INVALID_ARGUMENT: Namespace is empty.
    """,
    )
    describe = s.service.describe_batch_operation
    await s.expect_refusal(
        describe(ws.DescribeBatchOperationRequest(namespace=s.namespace)),
        """
        INVALID_ARGUMENT: JobId is not set on request.
    """,
    )
    await s.expect_refusal(
        describe(ws.DescribeBatchOperationRequest(job_id="x")),
        """
        INVALID_ARGUMENT: Namespace is empty.
    """,
    )
    await s.expect_refusal(
        s.service.list_batch_operations(ws.ListBatchOperationsRequest()),
        """
        INVALID_ARGUMENT: Namespace is empty.
    """,
    )
    await s.expect_refusal(
        describe(ws.DescribeBatchOperationRequest(namespace="nowhere", job_id=str(uuid.UUID(int=0)))),
        """
        NOT_FOUND: Namespace nowhere is not found.
          NamespaceNotFoundFailure namespace=nowhere
    """,
    )
