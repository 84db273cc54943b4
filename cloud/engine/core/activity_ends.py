"""How an attempt of an activity ends, and with it the activity unless another attempt follows.

Completed, failed, cancelled or timed out: each writes the start that the history does not have yet, and then the end.
"""

from __future__ import annotations

from temporalio.api.common.v1 import Payloads, WorkerVersionStamp
from temporalio.api.enums.v1 import EventType, RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    ActivityTaskCanceledEventAttributes,
    ActivityTaskCancelRequestedEventAttributes,
    ActivityTaskCompletedEventAttributes,
    ActivityTaskFailedEventAttributes,
    ActivityTaskStartedEventAttributes,
    ActivityTaskTimedOutEventAttributes,
    HistoryEvent,
)

from cloud.engine.core import activity_deadlines, activity_rules, attempts, retry, workflow_task
from cloud.engine.core import deadline_kinds as kinds
from cloud.engine.core.deadlines import push
from cloud.engine.core.effects import UpdateVisibility
from cloud.engine.core.errors import Invalid
from cloud.engine.core.failures import shortened
from cloud.engine.core.payloads import json_payloads
from cloud.engine.core.state import Activity
from cloud.engine.core.turn import Turn

_E = EventType
_T = TimeoutType


def _write_started(turn: Turn, activity: Activity) -> None:
    progress = activity.progress
    attributes = ActivityTaskStartedEventAttributes(
        scheduled_event_id=activity.scheduled_event_id,
        identity=progress.identity,
        request_id=progress.request_id,
        attempt=progress.attempt,
    )
    if progress.last_failure:
        attributes.last_failure.ParseFromString(progress.last_failure)
    if progress.build_id:
        attributes.worker_version.build_id = progress.build_id
    if progress.use_versioning:
        attributes.worker_version.use_versioning = True
        attributes.build_id_redirect_counter = progress.redirects
    event = turn.event(_E.EVENT_TYPE_ACTIVITY_TASK_STARTED, activity_task_started_event_attributes=attributes)
    event.event_time.FromNanoseconds(progress.started_time)
    turn.add(event)


def _end(turn: Turn, activity: Activity, event: HistoryEvent) -> None:
    if activity.progress.started_time and not activity.started_event_id:  # an imported one may have it
        _write_started(turn, activity)
    turn.add(event)
    turn.progress(activity.scheduled_event_id)
    if activity.progress.pause is not None:
        turn.ask(UpdateVisibility())  # lists tell which types of activity are paused
    workflow_task.schedule(turn)


def complete(
    turn: Turn,
    activity: Activity,
    *,
    result: Payloads | None,
    identity: str,
    worker_version: WorkerVersionStamp | None = None,
) -> None:
    """The activity succeeded."""
    _end(
        turn,
        activity,
        turn.event(
            _E.EVENT_TYPE_ACTIVITY_TASK_COMPLETED,
            activity_task_completed_event_attributes=ActivityTaskCompletedEventAttributes(
                result=result,
                scheduled_event_id=activity.scheduled_event_id,
                identity=identity,
                worker_version=worker_version,
            ),
        ),
    )


def fail(
    turn: Turn,
    activity: Activity,
    *,
    failure: Failure,
    identity: str,
    last_heartbeat_details: Payloads | None = None,
    worker_version: WorkerVersionStamp | None = None,
) -> None:
    """An attempt failed: the next one follows, or the activity has failed."""
    if last_heartbeat_details is not None:
        activity.progress.heartbeat_details = last_heartbeat_details.SerializeToString()
    state = _retry(turn, activity, failure)
    if state is None:
        return
    _end(
        turn,
        activity,
        turn.event(
            _E.EVENT_TYPE_ACTIVITY_TASK_FAILED,
            activity_task_failed_event_attributes=ActivityTaskFailedEventAttributes(
                failure=failure,
                scheduled_event_id=activity.scheduled_event_id,
                identity=identity,
                retry_state=state,
                worker_version=worker_version,
            ),
        ),
    )


def cancel(
    turn: Turn,
    activity: Activity,
    *,
    details: Payloads | None,
    identity: str,
    worker_version: WorkerVersionStamp | None = None,
) -> None:
    """The worker confirms the cancellation that was requested.

    Raises:
        Invalid: none was.
    """
    if not activity.cancel_requested_event_id:
        raise Invalid("unable to mark activity as canceled without activity being request canceled first")
    _end(
        turn,
        activity,
        turn.event(
            _E.EVENT_TYPE_ACTIVITY_TASK_CANCELED,
            activity_task_canceled_event_attributes=ActivityTaskCanceledEventAttributes(
                details=details,
                scheduled_event_id=activity.scheduled_event_id,
                identity=identity,
                worker_version=worker_version,
            ),
        ),
    )


def request_cancel(
    turn: Turn, activity: Activity, workflow_task_completed_event_id: int, identity: str
) -> bool:
    """The workflow wants the activity cancelled. One that no worker holds ends at once: then True.

    A worker that holds it is told in the reply to its next heartbeat.
    """
    turn.append(
        turn.event(
            _E.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED,
            activity_task_cancel_requested_event_attributes=ActivityTaskCancelRequestedEventAttributes(
                scheduled_event_id=activity.scheduled_event_id,
                workflow_task_completed_event_id=workflow_task_completed_event_id,
            ),
        )
    )
    if activity.progress.started_time:
        return False
    turn.append(
        turn.event(
            _E.EVENT_TYPE_ACTIVITY_TASK_CANCELED,
            activity_task_canceled_event_attributes=ActivityTaskCanceledEventAttributes(
                details=json_payloads("ACTIVITY_ID_NOT_STARTED"),
                scheduled_event_id=activity.scheduled_event_id,
                identity=identity,
            ),
        )
    )
    if activity.progress.pause is not None:
        turn.ask(UpdateVisibility())
    return True


def _retry(turn: Turn, activity: Activity, failure: Failure) -> RetryState.ValueType | None:
    """Prepare the next attempt; None if there will be one, else why not."""
    options, progress = activity.options, activity.progress
    if activity.cancel_requested_event_id:
        return RetryState.RETRY_STATE_CANCEL_REQUESTED
    if not options.HasField("retry_policy"):
        return RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET
    retryable = retry.is_retryable(failure, options.retry_policy.non_retryable_error_types)
    if retryable and activity_rules.apply(turn, activity):
        _next_attempt(turn, activity, failure)  # however many there were: it waits until it is unpaused
        return None
    delay, state = retry.next_delay(
        options.retry_policy,
        attempt=progress.attempt,
        now=turn.now,
        expires_at=activity_deadlines.due_schedule_to_close(turn.execution, activity.scheduled_event_id),
        failure=failure,
    )
    if delay < 0:
        return state
    _next_attempt(turn, activity, failure)
    attempts.back_off(progress, turn.now + delay)
    scheduled_event_id = activity.scheduled_event_id
    push(turn.execution, kinds.ACTIVITY_DISPATCH, scheduled_event_id, progress.scheduled_time)
    push(
        turn.execution,
        kinds.ACTIVITY_SCHEDULE_TO_START,
        scheduled_event_id,
        activity_deadlines.due_schedule_to_start(turn.execution, scheduled_event_id),
    )
    return None


def _next_attempt(turn: Turn, activity: Activity, failure: Failure) -> None:
    """The attempt that a worker held is over; who waits for it now is not yet decided."""
    kept = shortened(failure, turn.around.limits.activity_failure_size)
    attempts.end(activity.progress, turn.now, kept)
    turn.progress(activity.scheduled_event_id)


def time_out(turn: Turn, key: int | str, timeout_type: TimeoutType.ValueType) -> None:
    """One of the four times is over: the next attempt follows, or the activity has timed out."""
    activity = turn.execution.activities[int(key)]
    progress = activity.progress
    failure = attempts.timeout_failure(timeout_type)
    failure.source = "Server"
    state = RetryState.RETRY_STATE_TIMEOUT
    if timeout_type in (_T.TIMEOUT_TYPE_START_TO_CLOSE, _T.TIMEOUT_TYPE_HEARTBEAT):
        refused = _retry(turn, activity, failure)
        if refused is None:
            return
        state = refused
    if state == RetryState.RETRY_STATE_TIMEOUT and progress.started_time:
        failure.message = attempts.NO_TIME_LEFT
        failure.timeout_failure_info.timeout_type = _T.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE
    if progress.heartbeat_details:
        failure.timeout_failure_info.last_heartbeat_details.ParseFromString(progress.heartbeat_details)
    if progress.last_failure:
        failure.cause.ParseFromString(progress.last_failure)
    _end(
        turn,
        activity,
        turn.event(
            _E.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT,
            activity_task_timed_out_event_attributes=ActivityTaskTimedOutEventAttributes(
                failure=failure, scheduled_event_id=activity.scheduled_event_id, retry_state=state
            ),
        ),
    )
