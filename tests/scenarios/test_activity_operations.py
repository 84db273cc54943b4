"""Pausing, unpausing, resetting activities and changing their options while a workflow waits for them."""

import asyncio
import json
import time
import uuid
from typing import Any

import pytest
import temporalio.api.workflowservice.v1 as ws
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import Priority, WorkflowExecution
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.service import RPCError

from . import commands as c
from .raw import Scenario
from .snapshots import expect

ABSENT = "00000000-0000-4000-8000-000000000000"
SLOW = c.retry(initial=60)
OPTIONS = (
    "task_queue",
    "schedule_to_close_timeout",
    "schedule_to_start_timeout",
    "start_to_close_timeout",
    "heartbeat_timeout",
    "retry_policy",
    "priority",
)
HIDDEN = [f"activity_options.{name}" for name in OPTIONS] + ["activity_type.name", "last_worker_identity"]


def named(s: Scenario, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request about activity `a` of `wf`, unless told."""
    usual: dict[str, Any] = {"namespace": s.namespace, "execution": s.execution(), "identity": "me"}
    if not {"id", "type", "unpause_all", "match_all"} & fields.keys():
        usual["id"] = "a"
    return {name: value for name, value in (usual | fields).items() if value is not None}


async def pause(s: Scenario, **fields: Any) -> None:
    await s.service.pause_activity(ws.PauseActivityRequest(**named(s, fields)))


async def unpause(s: Scenario, **fields: Any) -> None:
    await s.service.unpause_activity(ws.UnpauseActivityRequest(**named(s, fields)))


async def reset(s: Scenario, **fields: Any) -> None:
    await s.service.reset_activity(ws.ResetActivityRequest(**named(s, fields)))


async def update(s: Scenario, options: ActivityOptions | None = None, *paths: str, **fields: Any) -> Any:
    mask = FieldMask(paths=paths) if paths else None
    request = {"activity_options": options, "update_mask": mask} | fields
    return await s.service.update_activity_options(ws.UpdateActivityOptionsRequest(**named(s, request)))


async def pending(s: Scenario, activity_id: str = "a") -> PendingActivityInfo:
    """What the workflow's description says of an activity."""
    found = (await s.describe()).pending_activities
    return next(info for info in found if info.activity_id == activity_id)


async def scheduled(s: Scenario, **fields: Any) -> None:
    """Have activity `a` wait for a worker."""
    await s.start()
    await s.step(c.activity("a", s.tq, **fields))


async def backing_off(s: Scenario, **fields: Any) -> None:
    """Have activity `a` wait for its second attempt, for a minute."""
    await scheduled(s, **({"retry_policy": SLOW} | fields))
    await s.fail_activity(await s.poll_activity())


# --- pause ---


async def test_pause_of_a_scheduled_activity(s: Scenario) -> None:
    await scheduled(s)
    await pause(s, reason="why")
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=PAUSED attempt=1 scheduled_time=<time> paused=true
                  pause_info.pause_time=<time> pause_info.manual.identity=me pause_info.manual.reason=why
                  activity_options={}
        """,
        hide=HIDDEN,
    )
    assert (await pending(s)).pause_info.HasField("pause_time")
    with pytest.raises(RPCError):
        await s.poll_activity(timeout=1.5)
    await unpause(s)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=SCHEDULED attempt=1 scheduled_time=<time> activity_options={}
        """,
        hide=HIDDEN,
    )
    await s.complete_activity(await s.poll_activity())
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        7 ActivityTaskCompleted scheduled_event_id=5 started_event_id=6
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_pause_of_a_started_activity_lets_the_attempt_go_on(s: Scenario) -> None:
    await scheduled(s)
    task = await s.poll_activity()
    await pause(s)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=PAUSE_REQUESTED last_started_time=<time> attempt=1
                  scheduled_time=<time> paused=true pause_info.pause_time=<time> pause_info.manual.identity=me
                  activity_options={}
        """,
        hide=HIDDEN,
    )
    s.expect_message(
        await s.heartbeat(task, "beat"),
        """
        activity_paused=true
    """,
    )
    await s.complete_activity(task, "out")
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        7 ActivityTaskCompleted result=['out'] scheduled_event_id=5 started_event_id=6
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_an_attempt_that_fails_while_paused(s: Scenario) -> None:
    await scheduled(s, retry_policy=c.retry(initial=0.1, maximum_attempts=2))
    task = await s.poll_activity()
    await pause(s)
    await s.fail_activity(task)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=PAUSED attempt=2 maximum_attempts=2 scheduled_time=<time>
                  last_failure.message=boom last_failure.application_failure_info.type=Boom
                  last_attempt_complete_time=<time> paused=true pause_info.pause_time=<time>
                  pause_info.manual.identity=me activity_options={}
        """,
        hide=HIDDEN,
    )
    with pytest.raises(RPCError):
        await s.poll_activity(timeout=1.5)
    await unpause(s)
    again = await s.poll_activity()
    s.expect_message(
        again,
        """
            task_token=<set> workflow_namespace=default workflow_type.name=demo
                  workflow_execution.workflow_id=wf activity_type.name=act activity_id=a scheduled_time=<time>
                  current_attempt_scheduled_time=<time> started_time=<time> attempt=2
                  schedule_to_close_timeout=0s start_to_close_timeout=10s heartbeat_timeout=0s
                  retry_policy.initial_interval=0.1s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=10s retry_policy.maximum_attempts=2
        """,
        hide=["workflow_execution.run_id"],
    )
    await s.fail_activity(again)
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
              retry_policy.initial_interval=0.1s retry_policy.maximum_interval=10s
              retry_policy.maximum_attempts=2
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id> attempt=2
        7 ActivityTaskFailed failure.message=boom failure.application_failure_info.type=Boom
              scheduled_event_id=5 started_event_id=6 retry_state=MAXIMUM_ATTEMPTS_REACHED
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_a_paused_activity_that_fails_beyond_its_last_attempt(s: Scenario) -> None:
    await scheduled(s, retry_policy=c.retry(initial=0.1, maximum_attempts=1))
    task = await s.poll_activity()
    await pause(s)
    await s.fail_activity(task)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=PAUSED attempt=2 maximum_attempts=1 scheduled_time=<time>
                  last_failure.message=boom last_failure.application_failure_info.type=Boom
                  last_attempt_complete_time=<time> paused=true pause_info.pause_time=<time>
                  pause_info.manual.identity=me activity_options={}
        """,
        hide=HIDDEN,
    )
    await unpause(s)
    s.expect_message(
        await s.poll_activity(),
        """
            task_token=<set> workflow_namespace=default workflow_type.name=demo
                  workflow_execution.workflow_id=wf workflow_execution.run_id=run1 activity_type.name=act
                  activity_id=a scheduled_time=<time> current_attempt_scheduled_time=<time>
                  started_time=<time> attempt=2 schedule_to_close_timeout=0s start_to_close_timeout=10s
                  heartbeat_timeout=0s retry_policy.initial_interval=0.1s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=10s retry_policy.maximum_attempts=1
        """,
    )


async def test_a_paused_activity_that_fails_for_good(s: Scenario) -> None:
    await scheduled(s)
    task = await s.poll_activity()
    await pause(s)
    await s.fail_activity(task, c.failure(non_retryable=True))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        7 ActivityTaskFailed failure.message=boom failure.application_failure_info.type=Boom
              failure.application_failure_info.non_retryable=true scheduled_event_id=5 started_event_id=6
              retry_state=NON_RETRYABLE_FAILURE
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_pause_while_backing_off(s: Scenario) -> None:
    await backing_off(s)
    await pause(s)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=PAUSED attempt=2 scheduled_time=<time>
                  last_failure.message=boom last_failure.application_failure_info.type=Boom
                  last_attempt_complete_time=<time> paused=true pause_info.pause_time=<time>
                  pause_info.manual.identity=me activity_options={}
        """,
        hide=HIDDEN,
    )
    await unpause(s)
    s.expect_message(
        await s.poll_activity(),
        """
            task_token=<set> workflow_namespace=default workflow_type.name=demo
                  workflow_execution.workflow_id=wf workflow_execution.run_id=run1 activity_type.name=act
                  activity_id=a scheduled_time=<time> current_attempt_scheduled_time=<time>
                  started_time=<time> attempt=2 schedule_to_close_timeout=0s start_to_close_timeout=10s
                  heartbeat_timeout=0s retry_policy.initial_interval=60s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=6000s
        """,
    )


async def test_a_paused_activity_does_not_time_out(s: Scenario) -> None:
    await scheduled(s, schedule_to_close_timeout=1, start_to_close_timeout=1, heartbeat_timeout=1)
    await pause(s)
    await asyncio.sleep(2)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=PAUSED attempt=1 scheduled_time=<time> expiration_time=<time>
                  paused=true pause_info.pause_time=<time> pause_info.manual.identity=me activity_options={}
        """,
        hide=HIDDEN,
    )


async def test_a_started_attempt_of_a_paused_activity_does_not_time_out(s: Scenario) -> None:
    await scheduled(s, start_to_close_timeout=1, heartbeat_timeout=1)
    task = await s.poll_activity()
    await pause(s)
    await asyncio.sleep(2)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=PAUSE_REQUESTED last_started_time=<time> attempt=1
                  scheduled_time=<time> paused=true pause_info.pause_time=<time> pause_info.manual.identity=me
                  activity_options={}
        """,
        hide=HIDDEN,
    )
    await s.complete_activity(task)
    await s.step(c.complete())
    await s.closed()


async def test_pause_twice(s: Scenario) -> None:
    await scheduled(s)
    request_id = str(uuid.uuid4())
    await pause(s, request_id=request_id)
    await pause(s, request_id=request_id)
    await s.expect_refusal(
        pause(s, request_id=str(uuid.uuid4())),
        """
        FAILED_PRECONDITION: activity is already paused
    """,
    )
    await s.expect_refusal(
        pause(s),
        """
        FAILED_PRECONDITION: activity is already paused
    """,
    )


async def test_pause_twice_without_request_ids(s: Scenario) -> None:
    await scheduled(s)
    await pause(s, reason="first")
    await s.expect_refusal(
        pause(s, reason="second"),
        """
        accepted
    """,
    )
    s.expect_message(
        (await pending(s)).pause_info,
        """
            pause_time=<time> manual.identity=me manual.reason=first
        """,
    )


async def test_pause_by_type(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq), c.activity("b", s.tq), c.activity("c", s.tq, activity_type="other"))
    await pause(s, type="act")
    states = {info.activity_id: info.paused for info in (await s.describe()).pending_activities}
    assert states == {"a": True, "b": True, "c": False}
    await s.expect_refusal(
        pause(s, type="act"),
        """
        accepted
    """,
    )
    await unpause(s, type="act")
    states = {info.activity_id: info.paused for info in (await s.describe()).pending_activities}
    assert not any(states.values())


async def test_paused_activities_are_found_by_a_search_attribute(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq), c.activity("b", s.tq), c.activity("c", s.tq, activity_type="other"))
    await pause(s, type="act")
    await pause(s, id="c")
    shown = (await s.describe()).workflow_execution_info.search_attributes.indexed_fields
    values = sorted(json.loads(shown["TemporalPauseInfo"].data))
    expect(
        "\n".join(values),
        """
        property:activityType=act
        property:activityType=other
    """,
    )
    query = f"WorkflowId = '{s.wf}' AND TemporalPauseInfo = 'property:activityType=act'"
    await eventually(s, query, 1)
    await unpause(s, unpause_all=True)
    await eventually(s, query, 0)
    s.expect_message(
        (await s.describe()).workflow_execution_info.search_attributes,
        """
            indexed_fields={BuildIds: ['unversioned']{type: KeywordList}}
        """,
    )


async def eventually(s: Scenario, query: str, count: int) -> None:
    """Wait until lists show what they are to show."""
    until = time.monotonic() + 10
    while True:
        found = await s.service.count_workflow_executions(
            ws.CountWorkflowExecutionsRequest(namespace=s.namespace, query=query)
        )
        if found.count == count or time.monotonic() > until:
            assert found.count == count
            return
        await asyncio.sleep(0.1)


async def test_cancel_of_a_paused_activity(s: Scenario) -> None:
    await scheduled(s)
    await pause(s)
    await s.signal()
    await s.step(c.cancel_activity(5))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 WorkflowExecutionSignaled signal_name=sig request_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 ActivityTaskCancelRequested scheduled_event_id=5 workflow_task_completed_event_id=9
        11 ActivityTaskCanceled details=['ACTIVITY_ID_NOT_STARTED'] latest_cancel_requested_event_id=10
              scheduled_event_id=5
        12 WorkflowTaskScheduled
        13 WorkflowTaskStarted
        14 WorkflowTaskCompleted
        15 WorkflowExecutionCompleted workflow_task_completed_event_id=14
    """)


async def test_cancel_of_a_started_paused_activity(s: Scenario) -> None:
    await scheduled(s)
    task = await s.poll_activity()
    await pause(s)
    await s.signal()
    await s.step(c.cancel_activity(5))
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=CANCEL_REQUESTED last_started_time=<time> attempt=1
                  scheduled_time=<time> paused=true pause_info.pause_time=<time> pause_info.manual.identity=me
                  activity_options={}
        """,
        hide=HIDDEN,
    )
    s.expect_message(
        await s.heartbeat(task),
        """
        cancel_requested=true activity_paused=true
    """,
    )


# --- unpause ---


async def test_unpause_of_one_that_is_not_paused(s: Scenario) -> None:
    await scheduled(s)
    await unpause(s, reset_attempts=True)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=SCHEDULED attempt=1 scheduled_time=<time> activity_options={}
        """,
        hide=HIDDEN,
    )


async def test_unpause_with_reset_of_attempts_and_heartbeat(s: Scenario) -> None:
    await scheduled(s, retry_policy=SLOW, heartbeat_timeout=10)
    task = await s.poll_activity()
    await s.heartbeat(task, "beat")
    await s.fail_activity(task)
    await pause(s)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=PAUSED heartbeat_details=['beat'] last_heartbeat_time=<time>
                  attempt=2 scheduled_time=<time> last_failure.message=boom
                  last_failure.application_failure_info.type=Boom last_attempt_complete_time=<time>
                  paused=true pause_info.pause_time=<time> pause_info.manual.identity=me activity_options={}
        """,
        hide=HIDDEN,
    )
    await unpause(s, reset_attempts=True, reset_heartbeat=True)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=SCHEDULED attempt=1 scheduled_time=<time>
                  last_attempt_complete_time=<time> activity_options={}
        """,
        hide=HIDDEN,
    )
    s.expect_message(
        await s.poll_activity(),
        """
            task_token=<set> workflow_namespace=default workflow_type.name=demo
                  workflow_execution.workflow_id=wf workflow_execution.run_id=run1 activity_type.name=act
                  activity_id=a scheduled_time=<time> current_attempt_scheduled_time=<time>
                  started_time=<time> attempt=1 schedule_to_close_timeout=0s start_to_close_timeout=10s
                  heartbeat_timeout=10s retry_policy.initial_interval=60s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=6000s
        """,
    )


async def test_unpause_keeps_attempts_and_heartbeat(s: Scenario) -> None:
    await scheduled(s, retry_policy=SLOW, heartbeat_timeout=10)
    task = await s.poll_activity()
    await s.heartbeat(task, "beat")
    await s.fail_activity(task)
    await pause(s)
    await unpause(s)
    s.expect_message(
        await s.poll_activity(),
        """
            task_token=<set> workflow_namespace=default workflow_type.name=demo
                  workflow_execution.workflow_id=wf workflow_execution.run_id=run1 activity_type.name=act
                  activity_id=a heartbeat_details=['beat'] scheduled_time=<time>
                  current_attempt_scheduled_time=<time> started_time=<time> attempt=2
                  schedule_to_close_timeout=0s start_to_close_timeout=10s heartbeat_timeout=10s
                  retry_policy.initial_interval=60s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=6000s
        """,
    )


async def test_unpause_with_jitter(s: Scenario) -> None:
    await backing_off(s)
    await pause(s)
    await unpause(s, jitter=c.seconds(600))
    info = await pending(s)
    expect(
        str(info.state),
        """
        1
    """,
    )
    assert info.next_attempt_schedule_time.seconds < time.time() + 610


async def test_unpause_of_a_started_attempt(s: Scenario) -> None:
    await scheduled(s, retry_policy=SLOW)
    task = await s.poll_activity()
    await pause(s)
    await unpause(s)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=STARTED last_started_time=<time> attempt=1
                  scheduled_time=<time> activity_options={}
        """,
        hide=HIDDEN,
    )
    s.expect_message(await s.heartbeat(task), "")
    await s.complete_activity(task)
    await s.step(c.complete())
    await s.closed()


async def test_unpause_with_reset_of_a_started_second_attempt(s: Scenario) -> None:
    await scheduled(s, retry_policy=c.retry(initial=0.1))
    await s.fail_activity(await s.poll_activity())
    task = await s.poll_activity()
    await pause(s)
    await unpause(s, reset_attempts=True)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=STARTED last_started_time=<time> attempt=1
                  scheduled_time=<time> last_failure.message=boom
                  last_failure.application_failure_info.type=Boom last_attempt_complete_time=<time>
                  activity_options={}
        """,
        hide=HIDDEN,
    )
    await s.expect_refusal(
        s.heartbeat(task),
        """
        NOT_FOUND: invalid activityID or activity already timed out or invoking workflow is completed
          NotFoundFailure
    """,
    )
    await s.expect_refusal(
        s.complete_activity(task),
        """
        NOT_FOUND: invalid activityID or activity already timed out or invoking workflow is completed
          NotFoundFailure
    """,
    )


# --- reset ---


async def test_reset_while_backing_off(s: Scenario) -> None:
    await scheduled(s, retry_policy=SLOW, heartbeat_timeout=10)
    task = await s.poll_activity()
    await s.heartbeat(task, "beat")
    await s.fail_activity(task)
    await reset(s)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=SCHEDULED heartbeat_details=['beat']
                  last_heartbeat_time=<time> attempt=1 scheduled_time=<time> last_attempt_complete_time=<time>
                  activity_options={}
        """,
        hide=HIDDEN,
    )
    s.expect_message(
        await s.poll_activity(),
        """
            task_token=<set> workflow_namespace=default workflow_type.name=demo
                  workflow_execution.workflow_id=wf workflow_execution.run_id=run1 activity_type.name=act
                  activity_id=a heartbeat_details=['beat'] scheduled_time=<time>
                  current_attempt_scheduled_time=<time> started_time=<time> attempt=1
                  schedule_to_close_timeout=0s start_to_close_timeout=10s heartbeat_timeout=10s
                  retry_policy.initial_interval=60s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=6000s
        """,
    )


async def test_reset_with_heartbeat(s: Scenario) -> None:
    await scheduled(s, retry_policy=SLOW, heartbeat_timeout=10)
    task = await s.poll_activity()
    await s.heartbeat(task, "beat")
    await s.fail_activity(task)
    await reset(s, reset_heartbeat=True)
    s.expect_message(
        await s.poll_activity(),
        """
            task_token=<set> workflow_namespace=default workflow_type.name=demo
                  workflow_execution.workflow_id=wf workflow_execution.run_id=run1 activity_type.name=act
                  activity_id=a scheduled_time=<time> current_attempt_scheduled_time=<time>
                  started_time=<time> attempt=1 schedule_to_close_timeout=0s start_to_close_timeout=10s
                  heartbeat_timeout=10s retry_policy.initial_interval=60s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=6000s
        """,
    )


async def test_reset_with_jitter(s: Scenario) -> None:
    await backing_off(s)
    await reset(s, jitter=c.seconds(600))
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=SCHEDULED attempt=1 scheduled_time=<time>
                  last_attempt_complete_time=<time> next_attempt_schedule_time=<time> activity_options={}
        """,
        hide=[*HIDDEN, "current_retry_interval"],
    )


async def test_reset_of_a_started_first_attempt(s: Scenario) -> None:
    await scheduled(s, retry_policy=c.retry(initial=0.1), heartbeat_timeout=10)
    task = await s.poll_activity()
    await s.heartbeat(task, "beat")
    await reset(s, reset_heartbeat=True)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=STARTED heartbeat_details=['beat'] last_heartbeat_time=<time>
                  last_started_time=<time> attempt=1 scheduled_time=<time> activity_options={}
        """,
        hide=HIDDEN,
    )
    s.expect_message(
        await s.heartbeat(task, "later"),
        """
        activity_reset=true
    """,
    )
    await s.fail_activity(task)
    s.expect_message(
        await s.poll_activity(),
        """
            task_token=<set> workflow_namespace=default workflow_type.name=demo
                  workflow_execution.workflow_id=wf workflow_execution.run_id=run1 activity_type.name=act
                  activity_id=a scheduled_time=<time> current_attempt_scheduled_time=<time>
                  started_time=<time> attempt=2 schedule_to_close_timeout=0s start_to_close_timeout=10s
                  heartbeat_timeout=10s retry_policy.initial_interval=0.1s
                  retry_policy.backoff_coefficient=2.0 retry_policy.maximum_interval=10s
        """,
    )


async def test_reset_of_a_started_second_attempt(s: Scenario) -> None:
    await scheduled(s, retry_policy=c.retry(initial=0.1))
    await s.fail_activity(await s.poll_activity())
    task = await s.poll_activity()
    await reset(s)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=STARTED last_started_time=<time> attempt=1
                  scheduled_time=<time> last_failure.message=boom
                  last_failure.application_failure_info.type=Boom last_attempt_complete_time=<time>
                  activity_options={}
        """,
        hide=HIDDEN,
    )
    await s.expect_refusal(
        s.heartbeat(task),
        """
        NOT_FOUND: invalid activityID or activity already timed out or invoking workflow is completed
          NotFoundFailure
    """,
    )
    await s.expect_refusal(
        s.complete_activity(task),
        """
        NOT_FOUND: invalid activityID or activity already timed out or invoking workflow is completed
          NotFoundFailure
    """,
    )


async def test_reset_of_a_started_second_attempt_ends_when_it_times_out(s: Scenario) -> None:
    await scheduled(s, retry_policy=c.retry(initial=0.1), start_to_close_timeout=2)
    await s.fail_activity(await s.poll_activity())
    await s.poll_activity()
    await reset(s)
    s.expect_message(
        await s.poll_activity(),
        """
            task_token=<set> workflow_namespace=default workflow_type.name=demo
                  workflow_execution.workflow_id=wf workflow_execution.run_id=run1 activity_type.name=act
                  activity_id=a scheduled_time=<time> current_attempt_scheduled_time=<time>
                  started_time=<time> attempt=2 schedule_to_close_timeout=0s start_to_close_timeout=2s
                  heartbeat_timeout=0s retry_policy.initial_interval=0.1s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=10s
        """,
    )


async def test_reset_of_a_paused_activity(s: Scenario) -> None:
    await backing_off(s)
    await pause(s)
    await reset(s)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=SCHEDULED attempt=1 scheduled_time=<time>
                  last_attempt_complete_time=<time> activity_options={}
        """,
        hide=HIDDEN,
    )
    s.expect_message(
        await s.poll_activity(),
        """
            task_token=<set> workflow_namespace=default workflow_type.name=demo
                  workflow_execution.workflow_id=wf workflow_execution.run_id=run1 activity_type.name=act
                  activity_id=a scheduled_time=<time> current_attempt_scheduled_time=<time>
                  started_time=<time> attempt=1 schedule_to_close_timeout=0s start_to_close_timeout=10s
                  heartbeat_timeout=0s retry_policy.initial_interval=60s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=6000s
        """,
    )


async def test_reset_that_keeps_paused(s: Scenario) -> None:
    await backing_off(s)
    await pause(s)
    await reset(s, keep_paused=True)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=PAUSED attempt=1 scheduled_time=<time>
                  last_failure.message=boom last_failure.application_failure_info.type=Boom
                  last_attempt_complete_time=<time> paused=true pause_info.pause_time=<time>
                  pause_info.manual.identity=me activity_options={}
        """,
        hide=HIDDEN,
    )
    await unpause(s)
    s.expect_message(
        await s.poll_activity(),
        """
            task_token=<set> workflow_namespace=default workflow_type.name=demo
                  workflow_execution.workflow_id=wf workflow_execution.run_id=run1 activity_type.name=act
                  activity_id=a scheduled_time=<time> current_attempt_scheduled_time=<time>
                  started_time=<time> attempt=1 schedule_to_close_timeout=0s start_to_close_timeout=10s
                  heartbeat_timeout=0s retry_policy.initial_interval=60s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=6000s
        """,
    )


async def test_reset_of_a_started_paused_activity(s: Scenario) -> None:
    await scheduled(s, retry_policy=SLOW)
    task = await s.poll_activity()
    await pause(s)
    await reset(s)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=STARTED last_started_time=<time> attempt=1
                  scheduled_time=<time> activity_options={}
        """,
        hide=HIDDEN,
    )
    s.expect_message(
        await s.heartbeat(task),
        """
        activity_reset=true
    """,
    )


async def test_reset_that_keeps_paused_of_a_started_activity(s: Scenario) -> None:
    await scheduled(s, retry_policy=SLOW)
    task = await s.poll_activity()
    await pause(s)
    await reset(s, keep_paused=True)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=PAUSE_REQUESTED last_started_time=<time> attempt=1
                  scheduled_time=<time> paused=true pause_info.pause_time=<time> pause_info.manual.identity=me
                  activity_options={}
        """,
        hide=HIDDEN,
    )
    s.expect_message(
        await s.heartbeat(task),
        """
        activity_paused=true activity_reset=true
    """,
    )


async def test_reset_restores_options(s: Scenario) -> None:
    await scheduled(s, retry_policy=SLOW)
    await update(s, ActivityOptions(start_to_close_timeout=c.seconds(7)), "start_to_close_timeout")
    await reset(s, restore_original_options=True)
    s.expect_message(
        (await pending(s)).activity_options,
        """
            task_queue=tq(unspecified of tq) schedule_to_close_timeout=0s schedule_to_start_timeout=0s
                  start_to_close_timeout=10s heartbeat_timeout=0s retry_policy.initial_interval=60s
                  retry_policy.backoff_coefficient=2.0 retry_policy.maximum_interval=6000s
        """,
    )


async def test_reset_of_all(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq, retry_policy=SLOW), c.activity("b", s.tq, retry_policy=SLOW))
    await s.fail_activity(await s.poll_activity())
    await s.fail_activity(await s.poll_activity())
    await reset(s, match_all=True)
    attempts = {info.activity_id: info.attempt for info in (await s.describe()).pending_activities}
    assert attempts == {"a": 1, "b": 1}
    await s.poll_activity()
    await s.poll_activity()


# --- options ---


async def test_update_of_timeouts(s: Scenario) -> None:
    await scheduled(s)
    reply = await update(
        s,
        ActivityOptions(
            start_to_close_timeout=c.seconds(7),
            heartbeat_timeout=c.seconds(3),
            schedule_to_close_timeout=c.seconds(70),
            schedule_to_start_timeout=c.seconds(60),
        ),
        "start_to_close_timeout",
        "heartbeat_timeout",
        "scheduleToCloseTimeout",
        "schedule_to_start_timeout",
    )
    s.expect_message(
        reply,
        """
        activity_options.task_queue=tq activity_options.schedule_to_close_timeout=70s
              activity_options.schedule_to_start_timeout=60s activity_options.start_to_close_timeout=7s
              activity_options.heartbeat_timeout=3s activity_options.retry_policy.initial_interval=1s
              activity_options.retry_policy.backoff_coefficient=2.0
              activity_options.retry_policy.maximum_interval=100s
    """,
    )
    s.expect_message(
        (await pending(s)).activity_options,
        """
            task_queue=tq(unspecified of tq) schedule_to_close_timeout=70s schedule_to_start_timeout=60s
                  start_to_close_timeout=7s heartbeat_timeout=3s retry_policy.initial_interval=1s
                  retry_policy.backoff_coefficient=2.0 retry_policy.maximum_interval=100s
        """,
    )
    s.expect_message(
        await s.poll_activity(),
        """
            task_token=<set> workflow_namespace=default workflow_type.name=demo
                  workflow_execution.workflow_id=wf workflow_execution.run_id=run1 activity_type.name=act
                  activity_id=a scheduled_time=<time> current_attempt_scheduled_time=<time>
                  started_time=<time> attempt=1 schedule_to_close_timeout=0s start_to_close_timeout=10s
                  heartbeat_timeout=0s retry_policy.initial_interval=1s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=100s
        """,
    )


async def test_updated_timeouts_count(s: Scenario) -> None:
    await scheduled(s, retry_policy=c.retry(maximum_attempts=1), start_to_close_timeout=60)
    await s.poll_activity()
    await update(s, ActivityOptions(start_to_close_timeout=c.seconds(1)), "start_to_close_timeout")
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=60s heartbeat_timeout=0s workflow_task_completed_event_id=4
              retry_policy.maximum_attempts=1
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        7 ActivityTaskTimedOut failure.message="activity StartToClose timeout" failure.source=Server
              failure.timeout_failure_info.timeout_type=START_TO_CLOSE scheduled_event_id=5 started_event_id=6
              retry_state=MAXIMUM_ATTEMPTS_REACHED
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_update_of_the_task_queue(s: Scenario) -> None:
    await scheduled(s)
    other = s.id("other")
    reply = await update(s, ActivityOptions(task_queue=TaskQueue(name=other)), "task_queue.name")
    s.expect_message(
        reply,
        """
            activity_options.task_queue=other activity_options.schedule_to_close_timeout=0s
                  activity_options.schedule_to_start_timeout=0s activity_options.start_to_close_timeout=10s
                  activity_options.heartbeat_timeout=0s activity_options.retry_policy.initial_interval=1s
                  activity_options.retry_policy.backoff_coefficient=2.0
                  activity_options.retry_policy.maximum_interval=100s
        """,
    )
    with pytest.raises(RPCError):
        await s.poll_activity(timeout=1.5)
    s.expect_message(
        await s.poll_activity(other),
        """
            task_token=<set> workflow_namespace=default workflow_type.name=demo
                  workflow_execution.workflow_id=wf workflow_execution.run_id=run1 activity_type.name=act
                  activity_id=a scheduled_time=<time> current_attempt_scheduled_time=<time>
                  started_time=<time> attempt=1 schedule_to_close_timeout=0s start_to_close_timeout=10s
                  heartbeat_timeout=0s retry_policy.initial_interval=1s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=100s
        """,
    )


async def test_update_of_the_retry_policy_while_backing_off(s: Scenario) -> None:
    await backing_off(s)
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=SCHEDULED attempt=2 scheduled_time=<time>
                  last_failure.message=boom last_failure.application_failure_info.type=Boom
                  current_retry_interval=60s last_attempt_complete_time=<time>
                  next_attempt_schedule_time=<time> activity_options={}
        """,
        hide=HIDDEN,
    )
    policy = c.retry(initial=30, backoff_coefficient=1, maximum_attempts=5)
    reply = await update(
        s,
        ActivityOptions(retry_policy=policy),
        "retry_policy.initial_interval",
        "retry_policy.backoff_coefficient",
        "retry_policy.maximum_attempts",
    )
    s.expect_message(
        reply,
        """
            activity_options.task_queue=tq activity_options.schedule_to_close_timeout=0s
                  activity_options.schedule_to_start_timeout=0s activity_options.start_to_close_timeout=10s
                  activity_options.heartbeat_timeout=0s activity_options.retry_policy.initial_interval=30s
                  activity_options.retry_policy.backoff_coefficient=1.0
                  activity_options.retry_policy.maximum_interval=6000s
                  activity_options.retry_policy.maximum_attempts=5
        """,
    )
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=SCHEDULED attempt=2 maximum_attempts=5 scheduled_time=<time>
                  current_retry_interval=30s last_attempt_complete_time=<time>
                  next_attempt_schedule_time=<time> activity_options={}
        """,
        hide=HIDDEN,
    )


async def test_update_of_another_option_while_backing_off(s: Scenario) -> None:
    await backing_off(s, retry_policy=c.retry(initial=20, maximum=600, backoff_coefficient=3))
    await update(s, ActivityOptions(heartbeat_timeout=c.seconds(3)), "heartbeat_timeout")
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=SCHEDULED attempt=2 scheduled_time=<time>
                  current_retry_interval=60s last_attempt_complete_time=<time>
                  next_attempt_schedule_time=<time> activity_options={}
        """,
        hide=HIDDEN,
    )


async def test_update_of_the_whole_retry_policy(s: Scenario) -> None:
    await scheduled(s, retry_policy=c.retry(initial=0.1, non_retryable_error_types=["Bad"]))
    policy = c.retry(initial=0.2, backoff_coefficient=1, non_retryable_error_types=["Worse"])
    reply = await update(s, ActivityOptions(retry_policy=policy), "retry_policy")
    s.expect_message(
        reply,
        """
            activity_options.task_queue=tq activity_options.schedule_to_close_timeout=0s
                  activity_options.schedule_to_start_timeout=0s activity_options.start_to_close_timeout=10s
                  activity_options.heartbeat_timeout=0s activity_options.retry_policy.initial_interval=0.2s
                  activity_options.retry_policy.backoff_coefficient=1.0
                  activity_options.retry_policy.non_retryable_error_types=[Worse]
        """,
    )
    s.expect_message(
        (await pending(s)).activity_options,
        """
            task_queue=tq(unspecified of tq) schedule_to_close_timeout=0s schedule_to_start_timeout=0s
                  start_to_close_timeout=10s heartbeat_timeout=0s retry_policy.initial_interval=0.2s
                  retry_policy.backoff_coefficient=1.0
        """,
    )
    task = await s.poll_activity()
    s.expect_message(
        task.retry_policy,
        """
        initial_interval=0.2s backoff_coefficient=1.0 non_retryable_error_types=[Bad]
    """,
    )
    await s.fail_activity(task, c.failure(kind="Worse"))
    task = await s.poll_activity()
    await s.fail_activity(task, c.failure(kind="Bad"))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
              retry_policy.initial_interval=0.1s retry_policy.maximum_interval=10s
              retry_policy.non_retryable_error_types=[Bad]
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id> attempt=2 last_failure.message=boom
              last_failure.application_failure_info.type=Worse
        7 ActivityTaskFailed failure.message=boom failure.application_failure_info.type=Bad
              scheduled_event_id=5 started_event_id=6 retry_state=NON_RETRYABLE_FAILURE
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionCompleted workflow_task_completed_event_id=10
    """)


async def test_update_of_the_priority(s: Scenario) -> None:
    await scheduled(s)
    wanted = ActivityOptions(priority=Priority(priority_key=2, fairness_key="k", fairness_weight=3))
    reply = await update(s, wanted, "priority")
    s.expect_message(
        reply.activity_options.priority,
        """
            priority_key=2 fairness_key=k fairness_weight=3.0
        """,
    )
    reply = await update(s, ActivityOptions(priority=Priority(priority_key=4)), "priority.priority_key")
    s.expect_message(
        reply.activity_options.priority,
        """
            priority_key=4 fairness_key=k fairness_weight=3.0
        """,
    )
    s.expect_message(
        (await pending(s)).priority,
        """
            priority_key=4 fairness_key=k fairness_weight=3.0
        """,
    )
    s.expect_message(
        (await s.poll_activity()).priority,
        """
            priority_key=4 fairness_key=k fairness_weight=3.0
        """,
    )


async def test_update_restores_the_original_options(s: Scenario) -> None:
    await scheduled(s, retry_policy=c.retry(initial=2, non_retryable_error_types=["Bad"]))
    await update(s, ActivityOptions(start_to_close_timeout=c.seconds(7)), "start_to_close_timeout")
    reply = await update(s, restore_original=True)
    s.expect_message(
        reply,
        """
            activity_options.task_queue=tq(unspecified) activity_options.schedule_to_close_timeout=0s
                  activity_options.schedule_to_start_timeout=0s activity_options.start_to_close_timeout=10s
                  activity_options.heartbeat_timeout=0s activity_options.retry_policy.initial_interval=2s
                  activity_options.retry_policy.backoff_coefficient=2.0
                  activity_options.retry_policy.maximum_interval=200s
                  activity_options.retry_policy.non_retryable_error_types=[Bad]
        """,
    )
    s.expect_message(
        (await pending(s)).activity_options,
        """
            task_queue=tq(unspecified of tq) schedule_to_close_timeout=0s schedule_to_start_timeout=0s
                  start_to_close_timeout=10s heartbeat_timeout=0s retry_policy.initial_interval=2s
                  retry_policy.backoff_coefficient=2.0 retry_policy.maximum_interval=200s
        """,
    )


async def test_update_of_a_paused_activity(s: Scenario) -> None:
    await backing_off(s)
    await pause(s)
    await update(s, ActivityOptions(start_to_close_timeout=c.seconds(7)), "start_to_close_timeout")
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=PAUSED attempt=2 scheduled_time=<time>
                  last_attempt_complete_time=<time> paused=true pause_info.pause_time=<time>
                  pause_info.manual.identity=me activity_options={}
        """,
        hide=HIDDEN,
    )
    with pytest.raises(RPCError):
        await s.poll_activity(timeout=1.5)
    await unpause(s)
    s.expect_message(
        await s.poll_activity(),
        """
            task_token=<set> workflow_namespace=default workflow_type.name=demo
                  workflow_execution.workflow_id=wf workflow_execution.run_id=run1 activity_type.name=act
                  activity_id=a scheduled_time=<time> current_attempt_scheduled_time=<time>
                  started_time=<time> attempt=2 schedule_to_close_timeout=0s start_to_close_timeout=10s
                  heartbeat_timeout=0s retry_policy.initial_interval=60s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=6000s
        """,
    )


async def test_update_by_type_and_of_all(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq), c.activity("b", s.tq, activity_type="other"))
    await update(s, ActivityOptions(heartbeat_timeout=c.seconds(2)), "heartbeat_timeout", type="other")
    await update(
        s, ActivityOptions(start_to_close_timeout=c.seconds(9)), "start_to_close_timeout", match_all=True
    )
    found = sorted((await s.describe()).pending_activities, key=lambda info: info.activity_id)
    s.expect_message(
        found[0].activity_options,
        """
            task_queue=tq(unspecified of tq) schedule_to_close_timeout=0s schedule_to_start_timeout=0s
                  start_to_close_timeout=9s heartbeat_timeout=0s retry_policy.initial_interval=1s
                  retry_policy.backoff_coefficient=2.0 retry_policy.maximum_interval=100s
        """,
    )
    s.expect_message(
        found[1].activity_options,
        """
            task_queue=tq(unspecified of tq) schedule_to_close_timeout=0s schedule_to_start_timeout=0s
                  start_to_close_timeout=9s heartbeat_timeout=2s retry_policy.initial_interval=1s
                  retry_policy.backoff_coefficient=2.0 retry_policy.maximum_interval=100s
        """,
    )


async def test_update_is_checked(s: Scenario) -> None:
    await scheduled(s)
    some = ActivityOptions(start_to_close_timeout=c.seconds(7))
    zero = ActivityOptions(start_to_close_timeout=c.seconds(0))
    negative = ActivityOptions(start_to_close_timeout=c.seconds(-1))
    await s.expect_refusal(
        update(s, some),
        """
        INVALID_ARGUMENT: UpdateMask is not provided
    """,
    )
    await s.expect_refusal(
        update(s, None, "start_to_close_timeout"),
        """
        INVALID_ARGUMENT: ActivityOptions are not provided
    """,
    )
    await s.expect_refusal(
        update(s, some, "nonsense"),
        """
        accepted
    """,
    )
    await s.expect_refusal(
        update(s, some, "start_to_close_timeout", restore_original=True),
        """
        INVALID_ARGUMENT: Both UpdateMask and RestoreOriginal are provided
    """,
    )
    await s.expect_refusal(
        update(s, zero, "start_to_close_timeout", "schedule_to_close_timeout"),
        """
        INVALID_ARGUMENT: a valid StartToCloseTimeout or ScheduleToCloseTimeout must be set on the activity.
              ActivityId=a ActivityType=act
    """,
    )
    await s.expect_refusal(
        update(s, negative, "start_to_close_timeout"),
        """
        INVALID_ARGUMENT: invalid StartToCloseTimeout: negative duration
    """,
    )
    await s.expect_refusal(
        update(s, some, "task_queue.name"),
        """
        INVALID_ARGUMENT: TaskQueue is not provided
    """,
    )
    await s.expect_refusal(
        update(s, some, "task_queue"),
        """
        accepted
    """,
    )
    await s.expect_refusal(
        update(s, ActivityOptions(task_queue=TaskQueue()), "task_queue.name"),
        """
        INVALID_ARGUMENT: missing task queue name
    """,
    )
    await s.expect_refusal(
        update(s, ActivityOptions(task_queue=TaskQueue(name="/_sys/x")), "task_queue.name"),
        """
            INVALID_ARGUMENT: task queue name cannot start with reserved prefix /_sys/
        """,
    )
    await s.expect_refusal(
        update(s, some, "retry_policy"),
        """
        INVALID_ARGUMENT: RetryPolicy is not provided
    """,
    )
    await s.expect_refusal(
        update(s, some, "retry_policy.maximum_attempts"),
        """
        INVALID_ARGUMENT: RetryPolicy is not provided
    """,
    )
    await s.expect_refusal(
        update(s, some, "priority.priority_key"),
        """
        INVALID_ARGUMENT: Priority is not provided
    """,
    )
    await s.expect_refusal(
        update(
            s,
            ActivityOptions(retry_policy=c.retry(backoff_coefficient=0.5)),
            "retry_policy.backoff_coefficient",
        ),
        """
            INVALID_ARGUMENT: BackoffCoefficient cannot be less than 1 on retry policy.
        """,
    )
    await s.expect_refusal(
        update(s, ActivityOptions(priority=Priority(priority_key=-1)), "priority"),
        """
        INVALID_ARGUMENT: priority key can't be negative
    """,
    )
    await s.expect_refusal(
        update(s, ActivityOptions(priority=Priority(fairness_key="x" * 65)), "priority"),
        """
            INVALID_ARGUMENT: fairness key length exceeds limit
        """,
    )
    await s.expect_refusal(
        update(s, some, "start_to_close_timeout", id="nobody"),
        """
        NOT_FOUND: Can't find pending activity with such ID. Invalid activityID or activity already completed
          NotFoundFailure
    """,
    )


# --- refusals of all four ---


async def test_what_is_not_there(s: Scenario) -> None:
    some = ActivityOptions(start_to_close_timeout=c.seconds(7))
    await s.expect_refusal(
        pause(s),
        """
        NOT_FOUND: workflow not found for ID: wf
          NotFoundFailure
    """,
    )
    await scheduled(s)
    for call in (pause, unpause, reset):
        await s.expect_refusal(
            call(s, id="nobody"),
            """
            NOT_FOUND: Can't find pending activity with such ID. Invalid activityID or activity already
                  completed
              NotFoundFailure
        """,
        )
        await s.expect_refusal(
            call(s, type="nobody"),
            """
            NOT_FOUND: Can't find pending activity with such ID. Invalid activityID or activity already
                  completed
              NotFoundFailure
        """,
        )
        await s.expect_refusal(
            call(s, id=""),
            """
            NOT_FOUND: Can't find pending activity with such ID. Invalid activityID or activity already
                  completed
              NotFoundFailure
        """,
        )
        await s.expect_refusal(
            call(s, id=None),
            """
            INVALID_ARGUMENT: Either Activity.Id or Activity.Type should be set on request.
        """,
        )
        await s.expect_refusal(
            call(s, execution=WorkflowExecution()),
            """
            INVALID_ARGUMENT: WorkflowId is not set on request.
        """,
        )
        await s.expect_refusal(
            call(s, execution=None),
            """
                INVALID_ARGUMENT: WorkflowId is not set on request.
            """,
        )
        await s.expect_refusal(
            call(s, execution=WorkflowExecution(workflow_id=s.wf, run_id="nonsense")),
            """
            INVALID_ARGUMENT: RunId is not valid UUID.
        """,
        )
        await s.expect_refusal(
            call(s, execution=s.execution(run_id=ABSENT)),
            """
                NOT_FOUND: workflow execution not found for workflow ID "wf" and run ID "run1"
                  NotFoundFailure
            """,
        )
        await s.expect_refusal(
            call(s, execution=s.execution(s.id("absent"))),
            """
            NOT_FOUND: workflow not found for ID: absent
              NotFoundFailure
        """,
        )
        await s.expect_refusal(
            call(s, namespace="nowhere"),
            """
            NOT_FOUND: Namespace nowhere is not found.
              NamespaceNotFoundFailure namespace=nowhere
        """,
        )
        await s.expect_refusal(
            call(s, namespace=""),
            """
            INVALID_ARGUMENT: Namespace is empty.
        """,
        )
    await s.terminate()
    for call in (pause, unpause, reset):
        await s.expect_refusal(
            call(s),
            """
            NOT_FOUND: workflow execution already completed
              NotFoundFailure
        """,
        )
    await s.expect_refusal(
        update(s, some, "start_to_close_timeout"),
        """
        NOT_FOUND: workflow execution already completed
          NotFoundFailure
    """,
    )


async def test_match_all_of_nothing(s: Scenario) -> None:
    await s.start()
    await s.expect_refusal(
        unpause(s, unpause_all=True),
        """
        NOT_FOUND: Can't find pending activity with such ID. Invalid activityID or activity already completed
          NotFoundFailure
    """,
    )
    await s.expect_refusal(
        reset(s, match_all=True),
        """
        NOT_FOUND: Can't find pending activity with such ID. Invalid activityID or activity already completed
          NotFoundFailure
    """,
    )
    await s.expect_refusal(
        update(
            s, ActivityOptions(start_to_close_timeout=c.seconds(7)), "start_to_close_timeout", match_all=True
        ),
        """
            NOT_FOUND: Can't find pending activity with such ID. Invalid activityID or activity already
                  completed
              NotFoundFailure
        """,
    )
