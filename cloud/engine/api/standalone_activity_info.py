"""What descriptions tell of a standalone activity."""

from __future__ import annotations

from temporalio.api.activity.v1 import ActivityExecutionInfo, ActivityExecutionOutcome, CallbackInfo
from temporalio.api.common.v1 import Link, Payloads
from temporalio.api.enums.v1 import CallbackState, PendingActivityState, RetryState
from temporalio.api.failure.v1 import Failure

from cloud.engine.core.clock import duration, timestamp
from cloud.engine.core.standalone_activity_callbacks import callback_of
from cloud.engine.core.standalone_activity_state import Phase, StandaloneActivity
from cloud.engine.runtime.hot_activity import HotActivity
from cloud.engine.store.search_attribute_values import described

_P = PendingActivityState
_C = CallbackState
_RUN_STATES = {
    Phase.SCHEDULED: _P.PENDING_ACTIVITY_STATE_SCHEDULED,
    Phase.STARTED: _P.PENDING_ACTIVITY_STATE_STARTED,
    Phase.RESET_REQUESTED: _P.PENDING_ACTIVITY_STATE_STARTED,
    Phase.CANCEL_REQUESTED: _P.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED,
    Phase.PAUSED: _P.PENDING_ACTIVITY_STATE_PAUSED,
    Phase.PAUSE_REQUESTED: _P.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED,
}


def outcome(hot: HotActivity) -> ActivityExecutionOutcome:
    """How a closed activity ended."""
    state = hot.activity.state
    if state.has_result:
        return ActivityExecutionOutcome(result=Payloads.FromString(state.result))
    return ActivityExecutionOutcome(
        failure=Failure.FromString(hot.activity.outcome_failure),
        retry_state=RetryState.ValueType(state.retry_state),
    )


def callback_infos(activity: StandaloneActivity) -> list[CallbackInfo]:
    """What descriptions tell of an activity's completion callbacks."""
    return [_callback_info(activity, index) for index in range(len(activity.state.callbacks))]


def _callback_info(activity: StandaloneActivity, index: int) -> CallbackInfo:
    callback = activity.state.callbacks[index]
    progress = callback.progress
    state = _C.CALLBACK_STATE_STANDBY
    if progress.succeeded:
        state = _C.CALLBACK_STATE_SUCCEEDED
    elif progress.failed:
        state = _C.CALLBACK_STATE_FAILED
    elif progress.next_attempt_time:
        state = _C.CALLBACK_STATE_BACKING_OFF
    elif activity.closed:
        state = _C.CALLBACK_STATE_SCHEDULED
    told = CallbackInfo()
    told.trigger.activity_closed.SetInParent()
    info = told.info
    info.callback.CopyFrom(callback_of(activity, index))
    info.registration_time.CopyFrom(timestamp(callback.registered_at))
    info.state = state
    info.attempt = progress.attempt
    for name, moment in (
        ("last_attempt_complete_time", progress.last_attempt_complete_time),
        ("next_attempt_schedule_time", progress.next_attempt_time),
    ):
        if moment:
            getattr(info, name).CopyFrom(timestamp(moment))
    if progress.last_failure:
        info.last_attempt_failure.ParseFromString(progress.last_failure)
    return told


def activity_info(hot: HotActivity, now: int) -> ActivityExecutionInfo:
    """What descriptions tell of an activity, beside what they tell only on request."""
    activity, request, options = hot.activity, hot.activity.request, hot.activity.options
    state, progress = activity.state, activity.state.progress
    run_state = _RUN_STATES.get(state.phase, _P.PENDING_ACTIVITY_STATE_UNSPECIFIED)
    if state.phase == Phase.RESET_REQUESTED and state.pause_after_reset:
        run_state = _P.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED
    info = ActivityExecutionInfo(
        activity_id=hot.activity_id,
        run_id=hot.run_id,
        activity_type=request.activity_type,
        status=activity.status,
        run_state=run_state,
        task_queue=options.task_queue.name,
        schedule_to_close_timeout=options.schedule_to_close_timeout,
        schedule_to_start_timeout=options.schedule_to_start_timeout,
        start_to_close_timeout=options.start_to_close_timeout,
        heartbeat_timeout=options.heartbeat_timeout,
        retry_policy=options.retry_policy,
        attempt=progress.attempt,
        schedule_time=timestamp(state.scheduled_time),
        execution_time=timestamp(activity.first_dispatch),
        last_worker_identity=progress.identity,
        sdk_name=progress.sdk_name,
        sdk_version=progress.sdk_version,
        state_transition_count=state.transitions,
        state_size_bytes=hot.measure(),
        total_heartbeat_count=state.heartbeats,
        search_attributes=described(request.search_attributes, hot.types),
        canceled_reason=state.cancel.reason if state.cancel is not None else "",
    )
    info.search_attributes.SetInParent()
    for name in ("header", "user_metadata", "start_delay", "propagated_nexus_serialization_context"):
        source = options if name == "start_delay" else request
        if source.HasField(name):  # type: ignore[arg-type]
            getattr(info, name).CopyFrom(getattr(source, name))
    if options.HasField("priority"):
        info.priority.CopyFrom(options.priority)
    info.links.extend(request.links)
    info.links.extend(Link.FromString(link) for link in state.links)
    for name, moment in (
        ("last_heartbeat_time", progress.last_heartbeat_time),
        ("last_started_time", progress.last_started_time),
        ("last_attempt_complete_time", progress.last_attempt_complete_time),
        ("expiration_time", activity.expires_at),
        ("close_time", state.close_time),
    ):
        if moment:
            getattr(info, name).CopyFrom(timestamp(moment))
    if state.close_time:
        info.execution_duration.CopyFrom(duration(max(state.close_time - state.scheduled_time, 0)))
    if state.phase == Phase.SCHEDULED and progress.scheduled_time > now:
        info.next_attempt_schedule_time.CopyFrom(timestamp(progress.scheduled_time))
        if state.retry_interval:
            info.current_retry_interval.CopyFrom(duration(state.retry_interval))
    return info
