"""Resets: a run that begins anew from an earlier workflow task, and what becomes of the one before it."""

import asyncio
import uuid

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import Priority
from temporalio.api.workflow.v1 import PostResetOperation, WorkflowExecutionOptions

from . import commands as c
from .raw import Scenario
from .resets import completed_tasks, newest, reset, state
from .snapshots import expect


async def two_tasks(s: Scenario) -> str:
    """A workflow with two completed tasks, and a third that waits. Its run id."""
    await s.start()
    await s.step(c.timer("t", 600), c.activity("a", s.tq))
    await s.signal("one")
    await s.step(c.timer("t2", 600))
    await s.signal("two", "x")
    return await newest(s)


async def test_open_run(s: Scenario) -> None:
    base = await two_tasks(s)
    made = await reset(s, 4)
    await s.expect_history(
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
            6 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
                  start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
            7 WorkflowExecutionSignaled signal_name=one request_id=<id>
            8 WorkflowTaskScheduled
            9 WorkflowTaskStarted
            10 WorkflowTaskCompleted
            11 TimerStarted timer_id=t2 start_to_fire_timeout=600s workflow_task_completed_event_id=10
            12 WorkflowExecutionSignaled signal_name=two input=['x'] request_id=<id>
            13 WorkflowTaskScheduled
            14 WorkflowExecutionTerminated reason=why identity=history-resetter
        """,
        run_id=base,
    )
    await s.expect_history(
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=why
                  failure.reset_workflow_failure_info={} identity=history-service base_run_id=run1
                  new_run_id=run2
            5 WorkflowExecutionSignaled signal_name=one request_id=<id>
            6 WorkflowExecutionSignaled signal_name=two input=['x'] request_id=<id>
            7 WorkflowTaskScheduled
        """,
        run_id=made,
    )
    expect(
        await state(s, base),
        """
        TERMINATED first_run=run1 reset_to=run2 by_reset=False
    """,
    )
    expect(
        await state(s, made),
        """
        RUNNING first_run=run1 reset_to=None by_reset=True
    """,
    )
    task = await s.poll()
    assert task.workflow_execution.run_id == made
    expect(
        f"attempt {task.attempt}, previous {task.previous_started_event_id}",
        """
        attempt 1, previous 0
    """,
    )
    await s.complete(task, c.complete("done"))
    await s.closed()


async def test_what_was_before_the_point_goes_on(s: Scenario) -> None:
    base = await two_tasks(s)
    made = await reset(s, 10)
    await s.expect_history(
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
            6 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
                  start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
            7 WorkflowExecutionSignaled signal_name=one request_id=<id>
            8 WorkflowTaskScheduled
            9 WorkflowTaskStarted
            10 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=why
                  failure.reset_workflow_failure_info={} identity=history-service base_run_id=run1
                  new_run_id=run2
            11 WorkflowExecutionSignaled signal_name=two input=['x'] request_id=<id>
            12 WorkflowTaskScheduled
        """,
        run_id=made,
    )
    assert (await s.describe(run_id=made)).pending_activities[0].activity_id == "a"
    given = await s.poll_activity()
    assert given.workflow_execution.run_id == made
    await s.complete_activity(given, "done")
    task = await s.poll()
    s.expect_events(
        task.history.events[-4:],
        """
            12 WorkflowTaskScheduled
            13 ActivityTaskStarted scheduled_event_id=6 request_id=<id>
            14 ActivityTaskCompleted result=['done'] scheduled_event_id=6 started_event_id=13
            15 WorkflowTaskStarted scheduled_event_id=12
        """,
    )
    await s.complete(task, c.complete())
    await s.closed()
    assert (await s.describe(run_id=base)).workflow_extended_info.reset_run_id == made


async def test_a_timer_fires_at_its_own_time(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 3))
    await s.signal("one")
    await s.step()
    made = await reset(s, 8)
    await s.step()
    task = await s.poll(timeout=10)
    s.expect_events(
        task.history.events[-3:],
        """
        13 TimerFired timer_id=t started_event_id=5
        14 WorkflowTaskScheduled
        15 WorkflowTaskStarted
    """,
    )
    assert task.workflow_execution.run_id == made


async def test_task_in_flight(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 600))
    await s.signal("one")
    task = await s.poll()
    await s.signal("two")
    base = await newest(s)
    made = await reset(s, 4)
    await s.expect_refusal(
        s.complete(task),
        """
        NOT_FOUND: Workflow task not found.
          NotFoundFailure
    """,
    )
    await s.expect_history(
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
            6 WorkflowExecutionSignaled signal_name=one request_id=<id>
            7 WorkflowTaskScheduled
            8 WorkflowTaskStarted
            9 WorkflowTaskFailed cause=FORCE_CLOSE_COMMAND identity=history-service
            10 WorkflowExecutionSignaled signal_name=two request_id=<id>
            11 WorkflowExecutionTerminated reason=why identity=history-resetter
        """,
        run_id=base,
    )
    await s.expect_history(
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=why
                  failure.reset_workflow_failure_info={} identity=history-service base_run_id=run1
                  new_run_id=run2
            5 WorkflowExecutionSignaled signal_name=one request_id=<id>
            6 WorkflowExecutionSignaled signal_name=two request_id=<id>
            7 WorkflowTaskScheduled
        """,
        run_id=made,
    )


async def test_to_a_task_that_only_waited(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 600))
    await s.signal("one")
    await s.step()
    await s.expect_history(
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
            6 WorkflowExecutionSignaled signal_name=one request_id=<id>
            7 WorkflowTaskScheduled
            8 WorkflowTaskStarted identity=history-service request_id=emptyUuid
            9 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=why
                  failure.reset_workflow_failure_info={} identity=history-service base_run_id=run1
                  new_run_id=run2
            10 WorkflowTaskScheduled
        """,
        run_id=await reset(s, 8),
    )


async def test_activity_whose_end_is_not_copied(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq))
    await s.signal("one")
    await s.complete_activity(await s.poll_activity(), "r")
    await s.step()
    await s.expect_history(
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
                  start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
            6 WorkflowExecutionSignaled signal_name=one request_id=<id>
            7 WorkflowTaskScheduled
            8 WorkflowTaskStarted identity=history-service request_id=emptyUuid
            9 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=why
                  failure.reset_workflow_failure_info={} identity=history-service base_run_id=run1
                  new_run_id=run2
            10 WorkflowTaskScheduled
        """,
        run_id=await reset(s, 8),
    )


async def test_closed_run(s: Scenario) -> None:
    await s.start()
    await s.step(c.complete("first"))
    base = await newest(s)
    made = await reset(s, 4)
    expect(
        await state(s, base),
        """
        COMPLETED first_run=run1 reset_to=run2 by_reset=False
    """,
    )
    expect(
        await state(s, made),
        """
        RUNNING first_run=run1 reset_to=None by_reset=True
    """,
    )
    await s.expect_history(
        """
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=why failure.reset_workflow_failure_info={}
              identity=history-service base_run_id=run1 new_run_id=run2
        5 WorkflowTaskScheduled
    """,
        run_id=made,
    )


async def test_older_run_while_another_is_open(s: Scenario) -> None:
    await s.start()
    await s.step(c.complete("first"))
    base = await newest(s)
    await s.start()
    second = await newest(s)
    made = await reset(s, 4, run_id=base)
    states = [await state(s, run_id) for run_id in (base, second, made)]
    expect(
        "\n".join(states),
        """
        COMPLETED first_run=run1 reset_to=run2 by_reset=False
        TERMINATED first_run=run3 reset_to=None by_reset=False
        RUNNING first_run=run1 reset_to=None by_reset=True
    """,
    )
    await s.expect_history(
        """
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowExecutionTerminated reason=why identity=history-resetter
    """,
        run_id=second,
    )
    await s.expect_history(
        """
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=why failure.reset_workflow_failure_info={}
              identity=history-service base_run_id=run1 new_run_id=run2
        5 WorkflowTaskScheduled
    """,
        run_id=made,
    )


async def test_reset_of_a_reset(s: Scenario) -> None:
    base = await two_tasks(s)
    first = await reset(s, 10)
    second = await reset(s, 4)
    expect(
        await state(s, base),
        """
        TERMINATED first_run=run1 reset_to=run2 by_reset=False
    """,
    )
    expect(
        await state(s, first),
        """
        TERMINATED first_run=run1 reset_to=run3 by_reset=True
    """,
    )
    expect(
        await state(s, second),
        """
        RUNNING first_run=run1 reset_to=None by_reset=True
    """,
    )
    await s.expect_history(
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=why
                  failure.reset_workflow_failure_info={} identity=history-service base_run_id=run2
                  new_run_id=run3
            5 WorkflowExecutionSignaled signal_name=one request_id=<id>
            6 WorkflowExecutionSignaled signal_name=two input=['x'] request_id=<id>
            7 WorkflowTaskScheduled
        """,
        run_id=second,
    )


async def test_timeouts_count_from_the_reset(s: Scenario) -> None:
    await s.start(workflow_execution_timeout=500, workflow_run_timeout=100)
    await s.step(c.timer("t", 600))
    await asyncio.sleep(2)
    made = await reset(s, 4)
    described = await s.describe(run_id=made)
    info, extended = described.workflow_execution_info, described.workflow_extended_info
    start = info.start_time.ToNanoseconds()
    assert start == extended.last_reset_time.ToNanoseconds()
    assert start - extended.original_start_time.ToNanoseconds() > 1.9e9
    run = round((extended.run_expiration_time.ToNanoseconds() - start) / 1e9)
    execution = round((extended.execution_expiration_time.ToNanoseconds() - start) / 1e9)
    expect(
        f"run {run}s, execution {execution}s",
        """
        run 100s, execution 500s
    """,
    )


async def test_continue_as_new_after_a_reset(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 600))
    await reset(s, 4)
    await s.step(c.continue_as_new())
    task = await s.poll()
    s.expect_events(
        task.history.events[:1],
        """
            1 WorkflowExecutionStarted workflow_run_timeout=0s continued_execution_run_id=run1
                  initiator=WORKFLOW original_execution_run_id=run2 first_execution_run_id=run3
                  prev_auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=7
                  create_time=<time> expire_time=<time> resettable=true}] identity=unset
        """,
    )
    points = task.history.events[0].workflow_execution_started_event_attributes.prev_auto_reset_points.points
    expect(
        str([point.first_workflow_task_completed_id for point in points]),
        """
        [7]
    """,
    )
    assert points[0].HasField("expire_time")


async def test_reset_points(s: Scenario) -> None:
    await s.start()
    for checksum in ("b1", "b2", "b1", "b3"):
        await s.signal("x")
        task = await s.poll()
        await s.complete(task, binary_checksum=checksum)
    points = (await s.describe()).workflow_execution_info.auto_reset_points.points
    base = await newest(s)
    assert {point.run_id for point in points} == {base}
    expect(
        "\n".join(
            f"{point.binary_checksum} at {point.first_workflow_task_completed_id} "
            f"resettable={point.resettable}"
            for point in points
        ),
        """
            b1 at 5 resettable=True
            b2 at 9 resettable=True
            b3 at 17 resettable=True
        """,
    )


async def test_options_for_the_new_run(s: Scenario) -> None:
    await two_tasks(s)
    change = PostResetOperation.UpdateWorkflowOptions(
        workflow_execution_options=WorkflowExecutionOptions(priority=Priority(priority_key=3)),
        update_mask=FieldMask(paths=["priority.priority_key"]),
    )
    made = await reset(s, 4, post_reset_operations=[PostResetOperation(update_workflow_options=change)])
    await s.expect_history(
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=why
                  failure.reset_workflow_failure_info={} identity=history-service base_run_id=run1
                  new_run_id=run2
            5 WorkflowExecutionSignaled signal_name=one request_id=<id>
            6 WorkflowExecutionSignaled signal_name=two input=['x'] request_id=<id>
            7 WorkflowExecutionOptionsUpdated unset_versioning_override=true priority.priority_key=3
                  identity=unset worker_may_ignore=true
            8 WorkflowTaskScheduled
        """,
        run_id=made,
    )
    assert (await s.describe()).workflow_execution_info.priority.priority_key == 3
    signal = PostResetOperation.SignalWorkflow(signal_name="x")
    await s.expect_refusal(
        reset(s, 4, post_reset_operations=[PostResetOperation(signal_workflow=signal)]),
        """
            INVALID_ARGUMENT: unsupported post reset operation: *workflow.PostResetOperation_SignalWorkflow_
        """,
    )
    await s.expect_refusal(
        reset(s, 4, post_reset_operations=[PostResetOperation()]),
        """
        INVALID_ARGUMENT: unsupported post reset operation: <nil>
    """,
    )
    change.update_mask.paths[:] = ["bogus"]
    await s.expect_refusal(
        reset(s, 4, post_reset_operations=[PostResetOperation(update_workflow_options=change)]),
        """
            INVALID_ARGUMENT: error applying update_options: proto: invalid path "bogus" for message
                  "temporal.api.workflow.v1.WorkflowExecutionOptions"
        """,
    )


async def test_points_that_are_none(s: Scenario) -> None:
    await two_tasks(s)
    for event_id in (0, 1, 14, 99):
        await s.expect_refusal(
            reset(s, event_id),
            """
            INVALID_ARGUMENT: Workflow task finish ID must be > 1 && <= workflow last event ID.
        """,
        )
    await s.signal("more")
    await s.expect_refusal(
        reset(s, 7),
        """
            INVALID_ARGUMENT: Can only reset workflow to event ID in range [WorkflowTaskScheduled +1,
                  WorkflowTaskStarted + 1]: 7
        """,
    )


async def test_refusals(s: Scenario) -> None:
    await s.start()
    await s.expect_refusal(
        reset(s, 4, request_id=""),
        """
        INVALID_ARGUMENT: RequestId is not set on request.
    """,
    )
    await s.expect_refusal(
        reset(s, 4, request_id="x" * 1001),
        """
        INVALID_ARGUMENT: RequestId length exceeds limit.
    """,
    )
    await s.expect_refusal(
        reset(s, 4, workflow_execution=None),
        """
        INVALID_ARGUMENT: Execution is not set on request.
    """,
    )
    await s.expect_refusal(
        reset(s, 4, run_id="bogus"),
        """
        INVALID_ARGUMENT: Invalid RunId.
    """,
    )
    await s.expect_refusal(
        reset(s, 4, run_id=str(uuid.uuid4())),
        """
        NOT_FOUND: workflow execution not found for workflow ID "wf" and run ID "run1"
          NotFoundFailure
    """,
    )
    await s.expect_refusal(
        reset(s, 4, workflow_id=s.id("absent")),
        """
        NOT_FOUND: workflow not found for ID: absent
          NotFoundFailure
    """,
    )
    await s.expect_refusal(
        reset(s, 4, namespace=""),
        """
        INVALID_ARGUMENT: Namespace is empty.
    """,
    )
    await s.expect_refusal(
        reset(s, 4, namespace="nowhere"),
        """
        NOT_FOUND: Namespace nowhere is not found.
          NamespaceNotFoundFailure namespace=nowhere
    """,
    )
    await s.start(workflow_id=s.id("delayed"), cron_schedule="0 0 1 1 *")
    await s.signal(workflow_id=s.id("delayed"))
    await s.expect_refusal(
        reset(s, 2, workflow_id=s.id("delayed")),
        """
        INVALID_ARGUMENT: Can only reset workflow to event ID in range [WorkflowTaskScheduled +1,
              WorkflowTaskStarted + 1]: 2
    """,
    )


async def test_newest_run_is_deleted(s: Scenario) -> None:
    await s.start()
    await s.step(c.complete("first"))
    base = await newest(s)
    await s.start()
    await s.delete(run_id=await newest(s))
    await asyncio.sleep(2)
    await s.expect_refusal(
        reset(s, 4),
        """
        NOT_FOUND: workflow not found for ID: wf
          NotFoundFailure
    """,
    )
    made = await reset(s, 4, run_id=base)
    assert await newest(s) == made
    expect(
        await state(s, made),
        """
        RUNNING first_run=run1 reset_to=None by_reset=True
    """,
    )


async def test_who_waits_for_the_end(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 600))
    waits = asyncio.create_task(s.closed())
    await asyncio.sleep(0.5)
    await reset(s, 4)
    s.expect_events(
        [await waits],
        """
        6 WorkflowExecutionTerminated reason=why identity=history-resetter
    """,
    )


async def test_retries_are_not_followed(s: Scenario) -> None:
    await s.start(retry_policy=c.retry(initial=1, maximum_attempts=3))
    base = await newest(s)
    await s.step(c.fail())
    await asyncio.sleep(1.5)
    await s.signal("second")
    made = await reset(s, (await completed_tasks(s, base))[0], run_id=base)
    await s.expect_history(
        """
        1 WorkflowExecutionStarted retry_policy.initial_interval=1s retry_policy.backoff_coefficient=2.0
              retry_policy.maximum_interval=100s retry_policy.maximum_attempts=3
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=why failure.reset_workflow_failure_info={}
              identity=history-service base_run_id=run1 new_run_id=run2
        5 WorkflowTaskScheduled
    """,
        run_id=made,
    )
