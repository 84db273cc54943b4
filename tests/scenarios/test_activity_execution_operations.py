"""The newer calls for pausing, unpausing, resetting and changing activities, by the ids of a workflow and its activity."""

import uuid
from typing import Any

import temporalio.api.workflowservice.v1 as ws
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import Priority

from . import commands as c
from .raw import Scenario
from .test_activity_operations import HIDDEN, SLOW, backing_off, pending, scheduled

ABSENT = "00000000-0000-4000-8000-000000000000"


def named(s: Scenario, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request about activity `a` of `wf`; one that is None is left out."""
    usual = {"namespace": s.namespace, "workflow_id": s.wf, "activity_id": "a", "identity": "me"}
    return {name: value for name, value in (usual | fields).items() if value is not None}


async def pause(s: Scenario, **fields: Any) -> None:
    await s.service.pause_activity_execution(ws.PauseActivityExecutionRequest(**named(s, fields)))


async def unpause(s: Scenario, **fields: Any) -> None:
    await s.service.unpause_activity_execution(ws.UnpauseActivityExecutionRequest(**named(s, fields)))


async def reset(s: Scenario, **fields: Any) -> None:
    await s.service.reset_activity_execution(ws.ResetActivityExecutionRequest(**named(s, fields)))


async def update(s: Scenario, options: ActivityOptions | None = None, *paths: str, **fields: Any) -> Any:
    mask = FieldMask(paths=paths) if paths else None
    request = named(s, {"activity_options": options, "update_mask": mask} | fields)
    return await s.service.update_activity_execution_options(
        ws.UpdateActivityExecutionOptionsRequest(**request)
    )


async def test_pause_and_unpause(s: Scenario) -> None:
    await backing_off(s)
    await pause(s, reason="why", request_id="r1")
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=PAUSED attempt=2 scheduled_time=<time>
                  last_failure.message=boom last_failure.application_failure_info.type=Boom
                  last_attempt_complete_time=<time> paused=true pause_info.pause_time=<time>
                  pause_info.manual.identity=me pause_info.manual.reason=why activity_options={}
        """,
        hide=HIDDEN,
    )
    await s.expect_refusal(
        pause(s, request_id="r2"),
        """
        FAILED_PRECONDITION: activity is already paused
    """,
    )
    await s.expect_refusal(
        pause(s, request_id="r1"),
        """
        accepted
    """,
    )
    await s.expect_refusal(
        pause(s),
        """
        FAILED_PRECONDITION: activity is already paused
    """,
    )
    await unpause(s, reason="because")
    s.expect_message(
        await pending(s),
        """
            activity_id=a activity_type={} state=SCHEDULED attempt=2 scheduled_time=<time>
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
                  started_time=<time> attempt=2 schedule_to_close_timeout=0s start_to_close_timeout=10s
                  heartbeat_timeout=0s retry_policy.initial_interval=60s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=6000s
        """,
    )
    await s.expect_refusal(
        unpause(s),
        """
        accepted
    """,
    )


async def test_reset(s: Scenario) -> None:
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


async def test_reset_of_heartbeat(s: Scenario) -> None:
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


async def test_update(s: Scenario) -> None:
    await scheduled(s)
    options = ActivityOptions(start_to_close_timeout=c.seconds(7))
    s.expect_message(
        await update(s, options, "start_to_close_timeout"),
        """
            activity_options.task_queue=tq activity_options.schedule_to_close_timeout=0s
                  activity_options.schedule_to_start_timeout=0s activity_options.start_to_close_timeout=7s
                  activity_options.heartbeat_timeout=0s activity_options.retry_policy.initial_interval=1s
                  activity_options.retry_policy.backoff_coefficient=2.0
                  activity_options.retry_policy.maximum_interval=100s
        """,
    )
    s.expect_message(
        (await pending(s)).activity_options,
        """
            task_queue=tq(unspecified of tq) schedule_to_close_timeout=0s schedule_to_start_timeout=0s
                  start_to_close_timeout=7s heartbeat_timeout=0s retry_policy.initial_interval=1s
                  retry_policy.backoff_coefficient=2.0 retry_policy.maximum_interval=100s
        """,
    )
    s.expect_message(
        await update(s, restore_original=True),
        """
            activity_options.task_queue=tq(unspecified) activity_options.schedule_to_close_timeout=0s
                  activity_options.schedule_to_start_timeout=0s activity_options.start_to_close_timeout=10s
                  activity_options.heartbeat_timeout=0s activity_options.retry_policy.initial_interval=1s
                  activity_options.retry_policy.backoff_coefficient=2.0
                  activity_options.retry_policy.maximum_interval=100s
        """,
    )
    s.expect_message(
        (await pending(s)).activity_options,
        """
            task_queue=tq(unspecified of tq) schedule_to_close_timeout=0s schedule_to_start_timeout=0s
                  start_to_close_timeout=10s heartbeat_timeout=0s retry_policy.initial_interval=1s
                  retry_policy.backoff_coefficient=2.0 retry_policy.maximum_interval=100s
        """,
    )


async def test_update_is_checked(s: Scenario) -> None:
    await scheduled(s)
    some = ActivityOptions(start_to_close_timeout=c.seconds(7))
    negative = ActivityOptions(start_to_close_timeout=c.seconds(-1))
    zero = ActivityOptions(start_to_close_timeout=c.seconds(0))
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
        INVALID_ARGUMENT: unsupported update_mask path: "nonsense"
    """,
    )
    await s.expect_refusal(
        update(s, some, "start_to_close_timeout", restore_original=True),
        """
        INVALID_ARGUMENT: Both UpdateMask and RestoreOriginal are provided
    """,
    )
    await s.expect_refusal(
        update(s, some, restore_original=True),
        """
        accepted
    """,
    )
    await s.expect_refusal(
        update(s, negative, "start_to_close_timeout"),
        """
        INVALID_ARGUMENT: invalid StartToCloseTimeout: negative duration
    """,
    )
    await s.expect_refusal(
        update(s, zero, "start_to_close_timeout"),
        """
        INVALID_ARGUMENT: a valid StartToCloseTimeout or ScheduleToCloseTimeout must be set on the activity.
              ActivityId=a ActivityType=act
    """,
    )
    await s.expect_refusal(
        update(s, ActivityOptions(priority=Priority(priority_key=-1)), "priority"),
        """
        INVALID_ARGUMENT: priority key can't be negative
    """,
    )
    await s.expect_refusal(
        update(s, some, "retry_policy"),
        """
        accepted
    """,
    )


async def test_what_is_not_there(s: Scenario) -> None:
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
            call(s, activity_id="nobody"),
            """
            NOT_FOUND: Can't find pending activity with such ID. Invalid activityID or activity already
                  completed
              NotFoundFailure
        """,
        )
        await s.expect_refusal(
            call(s, activity_id=None),
            """
            INVALID_ARGUMENT: activity ID is required
        """,
        )
        await s.expect_refusal(
            call(s, run_id="nonsense"),
            """
            INVALID_ARGUMENT: invalid run id: must be a valid UUID
        """,
        )
        await s.expect_refusal(
            call(s, run_id=ABSENT),
            """
            NOT_FOUND: workflow execution not found for workflow ID "wf" and run ID "run1"
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
            call(s, identity="x" * 1001),
            """
            INVALID_ARGUMENT: identity exceeds length limit. Length=1001 Limit=1000
        """,
        )
        await s.expect_refusal(
            call(s, request_id=str(uuid.UUID(int=0)) * 30),
            """
            INVALID_ARGUMENT: request ID exceeds length limit. Length=1080 Limit=1000
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
