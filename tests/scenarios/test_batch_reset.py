"""Batch operations that reset workflows."""

import asyncio

from google.protobuf.empty_pb2 import Empty
from temporalio.api.batch.v1 import BatchOperationReset
from temporalio.api.common.v1 import ResetOptions, WorkerVersionStamp
from temporalio.api.enums.v1 import ResetReapplyExcludeType, ResetReapplyType, ResetType

from . import commands as c
from .raw import Scenario
from .resets import newest
from .snapshots import expect
from .test_batch import begin, ended, executions, listed, query

_NONE = ResetReapplyType.RESET_REAPPLY_TYPE_NONE
_SIGNAL = ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL

CASES = {
    "first task": BatchOperationReset(options=ResetOptions(first_workflow_task=Empty())),
    "last task, nothing again": BatchOperationReset(
        options=ResetOptions(last_workflow_task=Empty(), reset_reapply_type=_NONE)
    ),
    "event, no signals again": BatchOperationReset(
        options=ResetOptions(workflow_task_id=5, reset_reapply_exclude_types=[_SIGNAL])
    ),
    "build": BatchOperationReset(options=ResetOptions(build_id="b2")),
    "unknown build": BatchOperationReset(options=ResetOptions(build_id="nope")),
    "unknown event": BatchOperationReset(options=ResetOptions(workflow_task_id=77)),
    "first task, older form": BatchOperationReset(reset_type=ResetType.RESET_TYPE_FIRST_WORKFLOW_TASK),
    "last task, older form": BatchOperationReset(
        reset_type=ResetType.RESET_TYPE_LAST_WORKFLOW_TASK, reset_reapply_type=_NONE
    ),
}


async def two_builds(s: Scenario) -> None:
    """A workflow with a completed task by each of two builds, and a signal behind them."""
    await s.start()
    for build_id in ("b1", "b2"):
        await s.signal("x")
        await s.complete(
            await s.poll(),
            c.timer(f"t-{build_id}", 600),
            worker_version_stamp=WorkerVersionStamp(build_id=build_id),
        )
    await s.signal("last")


async def test_targets(s: Scenario) -> None:
    queue, lines = s.tq, []
    for case, operation in CASES.items():
        s.wf, s.tq = s.id(case), f"{queue}-{case}"
        await two_builds(s)
        base = await newest(s)
        await begin(s, job_id=s.id(f"job-{case}"), executions=executions(s.wf), reset_operation=operation)
        job = await ended(s, s.id(f"job-{case}"))
        outcome = f"done {job.complete_operation_count} failed {job.failure_operation_count}"
        kinds = [line.split()[1] for line in s.history_lines(await s.history())[4:]]
        if await newest(s) == base:
            kinds = ["not reset"]
        lines.append(f"{case}: {outcome}: {', '.join(kinds)}")
    expect(
        "\n".join(lines),
        """
        first task: done 1 failed 0: WorkflowTaskFailed, WorkflowExecutionSignaled, WorkflowExecutionSignaled,
              WorkflowTaskScheduled
        last task, nothing again: done 1 failed 0: WorkflowTaskCompleted, TimerStarted,
              WorkflowExecutionSignaled, WorkflowTaskScheduled, WorkflowTaskStarted, WorkflowTaskFailed,
              WorkflowTaskScheduled
        event, no signals again: done 1 failed 0: WorkflowTaskFailed, WorkflowTaskScheduled
        build: done 1 failed 0: WorkflowTaskCompleted, TimerStarted, WorkflowExecutionSignaled,
              WorkflowTaskScheduled, WorkflowTaskStarted, WorkflowTaskFailed, WorkflowExecutionSignaled,
              WorkflowTaskScheduled
        unknown build: done 0 failed 1: not reset
        unknown event: done 0 failed 1: not reset
        first task, older form: done 1 failed 0: WorkflowTaskFailed, WorkflowExecutionSignaled,
              WorkflowExecutionSignaled, WorkflowTaskScheduled
        last task, older form: done 1 failed 0: WorkflowTaskCompleted, TimerStarted,
              WorkflowExecutionSignaled, WorkflowTaskScheduled, WorkflowTaskStarted, WorkflowTaskFailed,
              WorkflowTaskScheduled
    """,
    )


async def test_open_and_closed_ones_by_query(s: Scenario) -> None:
    s.wf = s.id("w0")
    await s.start()
    await s.step(c.complete())
    s.wf = s.id("w1")
    await s.start()
    await s.step(c.timer("t", 60))
    await listed(s, query(s), 2)
    await listed(s, f"{query(s)} AND ExecutionStatus = 'Completed'", 1)
    operation = BatchOperationReset(identity="me", options=ResetOptions(first_workflow_task=Empty()))
    await begin(s, visibility_query=query(s), reset_operation=operation)
    s.expect_message(
        await ended(s),
        """
            operation_type=RESET_WORKFLOW job_id=job state=COMPLETED start_time=<time> close_time=<time>
                  total_operation_count=2 complete_operation_count=2 identity=me reason=why query="WorkflowId
                  STARTS_WITH 'w'"
        """,
    )
    for role in ("w0", "w1"):
        assert (await s.describe(s.id(role))).workflow_execution_info.status == 1


async def test_those_that_have_no_task_or_are_not_there(s: Scenario) -> None:
    s.started += [s.id("w1")]
    await s.start(workflow_id=s.id("w0"))
    await s.start(workflow_id=s.id("w1"), cron_schedule="0 0 1 1 *")
    operation = BatchOperationReset(options=ResetOptions(first_workflow_task=Empty()))
    await begin(s, executions=executions(s.id("w0"), s.id("w1"), s.id("absent")), reset_operation=operation)
    job = await ended(s)
    expect(
        f"done {job.complete_operation_count} failed {job.failure_operation_count}",
        """
        done 0 failed 3
    """,
    )


async def test_build_of_an_earlier_run(s: Scenario) -> None:
    await s.start()
    await s.signal("one")
    stamp = WorkerVersionStamp(build_id="b1")
    await s.complete(await s.poll(), c.continue_as_new(), worker_version_stamp=stamp)
    await asyncio.sleep(1.2)
    stamp = WorkerVersionStamp(build_id="b2")
    await s.complete(await s.poll(), c.timer("t", 60), worker_version_stamp=stamp)
    only = BatchOperationReset(options=ResetOptions(build_id="b1", current_run_only=True))
    await begin(s, executions=executions(s.wf), reset_operation=only)
    assert (await ended(s)).failure_operation_count == 1
    operation = BatchOperationReset(options=ResetOptions(build_id="b1"))
    await begin(s, job_id=s.id("job2"), executions=executions(s.wf), reset_operation=operation)
    assert (await ended(s, s.id("job2"))).complete_operation_count == 1
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowExecutionSignaled signal_name=one request_id=<id>
        4 WorkflowTaskStarted scheduled_event_id=2
        5 WorkflowTaskFailed scheduled_event_id=2 cause=RESET_WORKFLOW failure.message=why
              failure.reset_workflow_failure_info={} identity=history-service base_run_id=run1 new_run_id=run2
        6 WorkflowTaskScheduled
    """)


async def test_starts_are_checked(s: Scenario) -> None:
    await s.expect_refusal(
        begin(s, visibility_query=query(s), reset_operation=BatchOperationReset()),
        """
        INVALID_ARGUMENT: unknown batch reset type Unspecified
    """,
    )
    await s.expect_refusal(
        begin(s, visibility_query=query(s), reset_operation=BatchOperationReset(options=ResetOptions())),
        """
            INVALID_ARGUMENT: batch reset missing target
        """,
    )
    await s.expect_refusal(
        begin(s, visibility_query=query(s), reset_operation=BatchOperationReset(reset_type=9)),
        """
            INVALID_ARGUMENT: unknown batch reset type 9
        """,  # type: ignore[arg-type]
    )
