"""Batch operations on standalone activities: cancelling, terminating and deleting them."""

import asyncio
from typing import Any

import pytest
from temporalio.api.batch.v1 import (
    BatchOperationCancelActivities,
    BatchOperationDeleteActivities,
    BatchOperationTerminateActivities,
    BatchOperationTermination,
)
from temporalio.api.common.v1 import Execution, WorkflowExecution
from temporalio.api.enums.v1 import ExecutionType
from temporalio.service import RPCError

from .raw import Scenario
from .rendering import error, render
from .snapshots import expect, grouped
from .standalone import Standalone
from .test_batch import begin, ended

ACTIVITY = ExecutionType.EXECUTION_TYPE_ACTIVITY
CANCEL = {"cancel_activities_operation": BatchOperationCancelActivities(identity="me", reason="enough")}
TERMINATE = {"terminate_activities_operation": BatchOperationTerminateActivities(identity="me", reason="now")}
DELETE = {"delete_activities_operation": BatchOperationDeleteActivities()}

# Jobs run one at a time in a namespace, so these tests do too.


@pytest.fixture
async def acts(s: Scenario) -> dict[str, Standalone]:
    """Three activities: one completed, two open, of which a worker holds one."""
    found: dict[str, Standalone] = {}
    for name in ("done", "held", "waiting"):
        act = found[name] = Standalone(s)
        act.id = s.id(name)
        await act.start()
        if name != "waiting":
            task = await s.poll_activity()
        if name == "done":
            await s.complete_activity(task)
    for _ in range(100):
        if (await found["done"].count(f"TaskQueue = '{s.tq}' AND ExecutionStatus = 'Running'")).count == 2:
            break
        await asyncio.sleep(0.1)
    return found


async def statuses(s: Scenario, acts: dict[str, Standalone]) -> str:
    """What each of them is; a line each."""
    lines = {}
    for name, act in acts.items():
        try:
            info = (await act.describe()).info
            lines[name] = render(
                type(info)(
                    status=info.status, run_state=info.run_state, canceled_reason=info.canceled_reason
                ),
                s.names,
            )
        except RPCError as caught:
            lines[name] = error(caught, s.names)
    return grouped(lines)


async def test_cancel_by_query(s: Scenario, acts: dict[str, Standalone]) -> None:
    await begin(s, visibility_query=f"TaskQueue = '{s.tq}'", **CANCEL)
    s.expect_message(
        await ended(s),
        """
            operation_type=CANCEL_ACTIVITY job_id=job state=COMPLETED start_time=<time> close_time=<time>
                  total_operation_count=2 complete_operation_count=2 identity=me reason=why query="TaskQueue =
                  'tq'"
        """,
    )
    expect(
        await statuses(s, acts),
        """
            status=COMPLETED
              done
            status=RUNNING run_state=CANCEL_REQUESTED canceled_reason=enough
              held
            status=CANCELED canceled_reason=enough
              waiting
        """,
    )


async def test_terminate_a_list(s: Scenario, acts: dict[str, Standalone]) -> None:
    await begin(
        s,
        target_executions=[Execution(type=ACTIVITY, business_id=s.id(name)) for name in (*acts, "absent")],
        **TERMINATE,
    )
    s.expect_message(
        await ended(s),
        """
            operation_type=TERMINATE_ACTIVITY job_id=job state=COMPLETED start_time=<time> close_time=<time>
                  total_operation_count=4 complete_operation_count=3 failure_operation_count=1 identity=me
                  reason=why executions=[{type=ACTIVITY business_id=done}, {type=ACTIVITY business_id=held},
                  {type=ACTIVITY business_id=waiting}, {type=ACTIVITY business_id=absent}]
        """,
    )
    expect(
        await statuses(s, acts),
        """
            status=COMPLETED
              done
            status=TERMINATED
              held, waiting
        """,
    )
    s.expect_message(
        await acts["held"].outcome(),
        """
            run_id=run1 outcome.failure.message=now outcome.failure.terminated_failure_info.identity=me
        """,
    )


async def test_delete_by_query(s: Scenario, acts: dict[str, Standalone]) -> None:
    await begin(s, visibility_query=f"TaskQueue = '{s.tq}'", **DELETE)
    s.expect_message(
        await ended(s),
        """
            operation_type=DELETE_ACTIVITY job_id=job state=COMPLETED start_time=<time> close_time=<time>
                  total_operation_count=3 complete_operation_count=3 reason=why query="TaskQueue = 'tq'"
        """,
    )
    for _ in range(50):
        if "status" not in await statuses(s, acts):
            break
        await asyncio.sleep(0.1)
    expect(
        await statuses(s, acts),
        """
            NOT_FOUND: activity not found for ID: done | NotFoundFailure
              done
            NOT_FOUND: activity not found for ID: held | NotFoundFailure
              held
            NOT_FOUND: activity not found for ID: waiting | NotFoundFailure
              waiting
        """,
    )


async def test_an_older_list(s: Scenario, acts: dict[str, Standalone]) -> None:
    await begin(s, executions=[WorkflowExecution(workflow_id=s.id("waiting"))], **TERMINATE)
    s.expect_message(
        await ended(s),
        """
            operation_type=TERMINATE_ACTIVITY job_id=job state=COMPLETED start_time=<time> close_time=<time>
                  total_operation_count=1 complete_operation_count=1 identity=me reason=why
                  executions=[{type=ACTIVITY business_id=waiting}]
        """,
    )
    expect(
        await statuses(s, acts),
        """
            status=COMPLETED
              done
            status=RUNNING run_state=STARTED
              held
            status=TERMINATED
              waiting
        """,
    )


async def test_bad_starts(s: Scenario) -> None:
    target: dict[str, Any] = {"target_executions": [Execution(type=ACTIVITY, business_id="x")]}
    workflow = {"target_executions": [Execution(type=ExecutionType.EXECUTION_TYPE_WORKFLOW, business_id="x")]}
    outcomes: dict[str, str] = {}
    for case, fields in {
        "no reason": {"reason": None, **target, **CANCEL},
        "no targets": CANCEL,
        "a workflow": {**workflow, **CANCEL},
        "a workflow to delete": {**workflow, **DELETE},
        "an activity for workflows": {
            **target,
            "termination_operation": BatchOperationTermination(identity="me"),
        },
        "two kinds": {"visibility_query": "TaskQueue = 'x'", **target, **TERMINATE},
    }.items():
        await s.expect_refusal_of(outcomes, case, begin(s, **fields))
    expect(
        grouped(outcomes),
        """
            INVALID_ARGUMENT: must provide required parameters: BatchType,Reason,Namespace, AND one of (Query
                  OR Executions OR TargetExecutions)
              no reason, no targets
            INVALID_ARGUMENT: target_executions[0] has type Workflow, but operation
                  *workflowservice.StartBatchOperationRequest_CancelActivitiesOperation requires Activity
              a workflow
            INVALID_ARGUMENT: target_executions[0] has type Workflow, but operation
                  *workflowservice.StartBatchOperationRequest_DeleteActivitiesOperation requires Activity
              a workflow to delete
            INVALID_ARGUMENT: target_executions[0] has type Activity, but operation
                  *workflowservice.StartBatchOperationRequest_TerminationOperation requires Workflow
              an activity for workflows
            INVALID_ARGUMENT: visibility query, executions, and target executions are mutually exclusive
              two kinds
        """,
    )
