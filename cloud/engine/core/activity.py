"""Activities: scheduled → attempts → completed, failed, timed out or cancelled.

The history shows an activity's start only when it ends, with the attempt that ended it; what happens between (attempts,
heartbeats) is its progress, kept beside the history. Each attempt's dispatch has a stamp of its own, so a task of an
earlier attempt is recognised as stale wherever it still lies.

Here: the fold of its events, scheduling, attempts up to their end. How they end is in `activity_ends`, and when something
becomes due in `activity_deadlines`.
"""

from __future__ import annotations

from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType, TimeoutType
from temporalio.api.history.v1 import (
    ActivityTaskScheduledEventAttributes,
    HistoryEvent,
)

from cloud.engine.core import activity_deadlines, activity_rules, attempts, older_versioning, versioning
from cloud.engine.core import deadline_kinds as kinds
from cloud.engine.core.clock import to_ns
from cloud.engine.core.deadlines import push
from cloud.engine.core.effects import DispatchActivity, UpdateVisibility
from cloud.engine.core.errors import NoSuchTask, RunClosed
from cloud.engine.core.state import Activity, ActivityProgress, Execution
from cloud.engine.core.turn import Turn

_E = EventType
_T = TimeoutType


# --- folding events ---------------------------------------------------------------------------------------------


def _apply_scheduled(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.activity_task_scheduled_event_attributes
    now = to_ns(event.event_time)
    execution.activities[event.event_id] = Activity(
        scheduled_event_id=event.event_id,
        scheduled=attributes,
        scheduled_time=now,
        progress=ActivityProgress(scheduled_time=now),
    )
    execution.activity_ids[attributes.activity_id] = event.event_id


def _apply_started(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.activity_task_started_event_attributes
    pending = execution.activities[attributes.scheduled_event_id]
    pending.started_event_id = event.event_id
    if attributes.worker_version.use_versioning and pending.scheduled.use_workflow_build_id:
        older_versioning.fold_started(
            execution, attributes.worker_version, attributes.build_id_redirect_counter
        )


def _apply_cancel_requested(execution: Execution, event: HistoryEvent) -> None:
    scheduled_event_id = event.activity_task_cancel_requested_event_attributes.scheduled_event_id
    execution.activities[scheduled_event_id].cancel_requested_event_id = event.event_id


def _remove(execution: Execution, scheduled_event_id: int) -> None:
    activity = execution.activities.pop(scheduled_event_id)
    execution.activity_ids.pop(activity.scheduled.activity_id, None)
    execution.progress_size -= activity.progress_size
    execution.drop_intent(scheduled_event_id)


def _apply_completed(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.activity_task_completed_event_attributes
    attributes.started_event_id = execution.activities[attributes.scheduled_event_id].started_event_id
    _remove(execution, attributes.scheduled_event_id)


def _apply_failed(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.activity_task_failed_event_attributes
    attributes.started_event_id = execution.activities[attributes.scheduled_event_id].started_event_id
    _remove(execution, attributes.scheduled_event_id)


def _apply_timed_out(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.activity_task_timed_out_event_attributes
    attributes.started_event_id = execution.activities[attributes.scheduled_event_id].started_event_id
    _remove(execution, attributes.scheduled_event_id)


def _apply_canceled(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.activity_task_canceled_event_attributes
    activity = execution.activities[attributes.scheduled_event_id]
    attributes.started_event_id = activity.started_event_id
    attributes.latest_cancel_requested_event_id = activity.cancel_requested_event_id
    _remove(execution, attributes.scheduled_event_id)


APPLY = {
    _E.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: _apply_scheduled,
    _E.EVENT_TYPE_ACTIVITY_TASK_STARTED: _apply_started,
    _E.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED: _apply_cancel_requested,
    _E.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: _apply_completed,
    _E.EVENT_TYPE_ACTIVITY_TASK_FAILED: _apply_failed,
    _E.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: _apply_timed_out,
    _E.EVENT_TYPE_ACTIVITY_TASK_CANCELED: _apply_canceled,
}


def restore(activity: Activity, progress: ActivityProgress) -> None:
    """What is kept beside the history of `activity` is `progress`."""
    activity.progress = progress
    activity.changed_options = ActivityOptions.FromString(progress.options) if progress.options else None


def weigh(execution: Execution, scheduled_event_id: int) -> None:
    """Count the bytes of what is kept beside the history of this activity, if it is still pending."""
    activity = execution.activities.get(scheduled_event_id)
    if activity is None:
        return
    progress = activity.progress
    size = sum(
        map(
            len,
            (
                progress.heartbeat_details,
                progress.last_failure,
                progress.options,
                progress.identity,
                progress.build_id,
                progress.request_id,
            ),
        )
    )
    if progress.pause is not None:
        size += len(progress.pause.reason) + len(progress.pause.identity)
    execution.progress_size += size - activity.progress_size
    activity.progress_size = size


def mark_buffered(execution: Execution, event: HistoryEvent) -> None:
    """An event that ends an activity waits in the buffer: it takes no second end."""
    for name in (
        "activity_task_completed_event_attributes",
        "activity_task_failed_event_attributes",
        "activity_task_timed_out_event_attributes",
        "activity_task_canceled_event_attributes",
    ):
        if event.HasField(name):
            execution.activities[getattr(event, name).scheduled_event_id].closing = True


# --- scheduling and starting ------------------------------------------------------------------------------------


def settled_timeouts(
    to_close: int, to_start: int, start_to_close: int, heartbeat: int, *, run_timeout: int
) -> tuple[int, int, int, int]:
    """An activity's timeouts (ns) in that order, with those left out (0) filled in and none beyond one that it lies within."""
    if to_close:
        to_start = min(to_start, to_close) if to_start else to_close
        start_to_close = min(start_to_close, to_close) if start_to_close else to_close
    else:
        to_close = run_timeout
        to_start = to_start or run_timeout
    if run_timeout:
        to_close, to_start = min(to_close, run_timeout), min(to_start, run_timeout)
        start_to_close = min(start_to_close, run_timeout)
    return to_close, to_start, start_to_close, min(heartbeat, start_to_close)


def schedule(
    turn: Turn,
    attributes: ActivityTaskScheduledEventAttributes,
    event: HistoryEvent,
    *,
    dispatch: bool = True,
) -> int:
    """Write the intent `event` (which carries `attributes`); offer it to workers if `dispatch`. Returns its id."""
    scheduled_event_id = turn.append(event)
    execution = turn.execution
    turn.meter("schedule_activity")
    for kind, due in (
        (kinds.ACTIVITY_SCHEDULE_TO_START, activity_deadlines.due_schedule_to_start),
        (kinds.ACTIVITY_SCHEDULE_TO_CLOSE, activity_deadlines.due_schedule_to_close),
    ):
        push(execution, kind, scheduled_event_id, due(execution, scheduled_event_id))
    if dispatch:
        offer(turn, execution.activities[scheduled_event_id])
    return scheduled_event_id


def waits(activity: Activity) -> bool:
    """Whether its attempt is to be taken by a worker now, as far as it alone decides."""
    progress = activity.progress
    return not (progress.started_time or progress.backing_off or progress.pause or activity.closing)


def offer(turn: Turn, activity: Activity) -> None:
    """Offer the waiting attempt to workers; that of a paused run is, once the run is unpaused."""
    if turn.execution.paused is None:
        turn.ask(
            DispatchActivity(
                activity.options.task_queue.name, activity.scheduled_event_id, activity.progress.stamp
            )
        )


def dispatch_due(turn: Turn, key: int | str) -> None:
    """The backoff is over: offer the next attempt."""
    activity = turn.execution.activities[int(key)]
    activity.progress.backing_off = False
    turn.progress(int(key))
    if not activity_rules.apply(turn, activity):
        offer(turn, activity)


def offer_anew(turn: Turn) -> None:
    """Which workers may have the run's activities changed: the attempts that wait are offered once more."""
    for pending in turn.execution.activities.values():
        if waits(pending):
            pending.progress.stamp += 1
            turn.progress(pending.scheduled_event_id)
            offer(turn, pending)


def start(
    turn: Turn,
    *,
    scheduled_event_id: int,
    stamp: int,
    request_id: str,
    identity: str,
    build_id: str = "",
    version: str = "",
    build: str = "",
) -> Activity:
    """A worker takes this attempt. While the run moves to another version they wait: they are offered anew when it has.

    `build` is the build id to which rules lead it, in the older form of versioning.

    Raises:
        NoSuchTask: the attempt is over, taken already, or the activity ended; or the run is in transition.
    """
    execution = turn.execution
    activity = execution.activities.get(scheduled_event_id)
    if not execution.running or activity is None or activity.closing:
        raise NoSuchTask("activity not found")
    progress = activity.progress
    if progress.stamp != stamp or progress.started_time:
        raise NoSuchTask("activity task already started or stale")
    if versioning.transition_of(execution) is not None:
        raise NoSuchTask("the workflow is moving to another version of its workers")
    attempts.begin(progress, turn.now, request_id=request_id, identity=identity, build_id=build_id)
    progress.version = version
    progress.use_versioning = bool(build)
    if build:
        _take_by_build(turn, activity, build)
    turn.progress(scheduled_event_id)
    if progress.attempt > 1:
        turn.meter("retry_activity")
    for kind, due in (
        (kinds.ACTIVITY_START_TO_CLOSE, activity_deadlines.due_start_to_close),
        (kinds.ACTIVITY_HEARTBEAT, activity_deadlines.due_heartbeat),
    ):
        push(execution, kind, scheduled_event_id, due(execution, scheduled_event_id))
    return activity


def _take_by_build(turn: Turn, activity: Activity, build: str) -> None:
    """A worker of a build id takes the attempt; if the activity is bound to its run's, the run is assigned to it from now on."""
    execution, progress = turn.execution, activity.progress
    if not activity.scheduled.use_workflow_build_id:
        progress.assigned_build = build
        return
    progress.redirects = older_versioning.redirects_with(execution, build)
    if older_versioning.assign(execution, build, progress.redirects):
        turn.ask(UpdateVisibility())
        offer_anew(turn)


def require_waiting(execution: Execution, scheduled_event_id: int, stamp: int) -> None:
    """Check that this attempt waits for a worker.

    Raises:
        NoSuchTask: it does not.
    """
    activity = execution.activities.get(scheduled_event_id)
    if not execution.running or activity is None or activity.closing:
        raise NoSuchTask("activity not found")
    if activity.progress.stamp != stamp or activity.progress.started_time:
        raise NoSuchTask("activity task already started or stale")


def require_open(execution: Execution, scheduled_event_id: int) -> Activity:
    """The pending activity, whether or not a worker holds it.

    Raises:
        RunClosed: the workflow is closed.
        NoSuchTask: it ended.
    """
    if not execution.running:
        raise RunClosed("workflow execution already completed")
    activity = execution.activities.get(scheduled_event_id)
    if activity is None or activity.closing:
        raise NoSuchTask("invalid activityID or activity already timed out or invoking workflow is completed")
    return activity


def require_started(
    execution: Execution, scheduled_event_id: int, attempt: int, started_time: int
) -> Activity:
    """The activity whose attempt `attempt`, taken at `started_time`, a worker holds.

    Raises:
        RunClosed: the workflow is closed.
        NoSuchTask: no worker holds it.
    """
    activity = require_open(execution, scheduled_event_id)
    if not attempts.held(activity.progress, attempt, started_time):
        raise NoSuchTask("invalid activityID or activity already timed out or invoking workflow is completed")
    return activity


def assume_started(turn: Turn, activity: Activity, identity: str) -> None:
    """Who answers by ids need not have polled: an attempt that nobody took counts as started now."""
    progress = activity.progress
    if not progress.started_time:
        progress.started_time = turn.now
        progress.identity = identity
        turn.progress(activity.scheduled_event_id)


def heartbeat(turn: Turn, activity: Activity, details: Payloads | None) -> None:
    """A worker says that it is alive, with what the next attempt should know."""
    attempts.beat(activity.progress, turn.now, details)
    turn.progress(activity.scheduled_event_id)
    turn.meter("record_activity_heartbeat")
    # Only the first of an attempt needs an entry: later ones are found when that comes up.
    scheduled_event_id = activity.scheduled_event_id
    push(
        turn.execution,
        kinds.ACTIVITY_HEARTBEAT,
        scheduled_event_id,
        activity_deadlines.due_heartbeat(turn.execution, scheduled_event_id),
    )
