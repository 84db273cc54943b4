"""Resets: a run begins anew in a copy of an earlier history, from the point where one of its workflow tasks had begun.

The copy ends with that task, pending; it fails by the reset, and the event that says so is what makes the run another one: from it
the run counts its time-outs. Then comes again what reached the workflow from outside after that point, and a new workflow task.

Reset points are the completed tasks with which each worker's version first took part: a run can be reset to where a bad one came in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from temporalio.api.enums.v1 import (
    EventType,
    ResetReapplyExcludeType,
    RetryState,
    UpdateAdmittedEventOrigin,
    WorkflowTaskFailedCause,
)
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    ActivityTaskFailedEventAttributes,
    HistoryEvent,
    WorkflowExecutionStartedEventAttributes,
    WorkflowExecutionUpdateAdmittedEventAttributes,
    WorkflowTaskFailedEventAttributes,
    WorkflowTaskStartedEventAttributes,
)
from temporalio.api.workflow.v1 import ResetPointInfo

from cloud.engine.core import callback, nexus_operation
from cloud.engine.core.clock import duration, timestamp, to_ns
from cloud.engine.core.errors import Invalid
from cloud.engine.core.state import ActivityProgress, Execution
from cloud.engine.core.turn import Turn

RESET_POINTS_MAX = 20
"""Reset points of a run, those of the runs before it in its chain included; the oldest go (the real server's default)."""

IDENTITY = "history-service"
_NO_REQUEST = "emptyUuid"
"""What stands for the id of a poll that there was not; as on the real server."""


_E = EventType
_X = ResetReapplyExcludeType
_CAUSE = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW

Excluded = Collection[ResetReapplyExcludeType.ValueType]
"""Kinds of events that are not to come again."""

EXCLUDABLE = frozenset(_X.values()) - {_X.RESET_REAPPLY_EXCLUDE_TYPE_UNSPECIFIED}


# --- folding events ---------------------------------------------------------------------------------------------


def begin_anew(execution: Execution, event: HistoryEvent) -> None:
    """If `event`, a failed workflow task, is the reset that made this run: its time begins here."""
    attributes = event.workflow_task_failed_event_attributes
    if attributes.cause != _CAUSE or attributes.new_run_id != execution.key.run_id:
        return  # of a run that this one was copied from, or no reset
    now = to_ns(event.event_time)
    execution.reset_event_id = event.event_id
    callback.begin_anew(execution)
    execution.start_time = now
    started = WorkflowExecutionStartedEventAttributes()  # readers have the first event itself
    started.CopyFrom(execution.started)
    started.first_workflow_task_backoff.CopyFrom(duration(0))
    timeout = to_ns(started.workflow_execution_timeout)
    if timeout:
        started.workflow_execution_expiration_time.CopyFrom(timestamp(now + timeout))
    execution.started = started
    for pending in execution.activities.values():
        pending.scheduled_time = now
        pending.progress = ActivityProgress(scheduled_time=now)


def note_point(execution: Execution, event: HistoryEvent) -> None:
    """A workflow task is completed: a reset point, if by a version of the worker that has none yet."""
    attributes = event.workflow_task_completed_event_attributes
    build_id = attributes.deployment_version.build_id or attributes.worker_version.build_id
    version = (attributes.binary_checksum, build_id)
    points = execution.reset_points
    if version in points:
        return
    points[version] = ResetPointInfo(
        binary_checksum=attributes.binary_checksum,
        build_id=build_id,
        run_id=execution.key.run_id,
        first_workflow_task_completed_id=event.event_id,
        create_time=event.event_time,
        resettable=not (execution.children or execution.external_signals or execution.external_cancels),
    )
    if len(points) > RESET_POINTS_MAX:
        del points[next(iter(points))]


def inherit_points(execution: Execution, attributes: WorkflowExecutionStartedEventAttributes) -> None:
    """The run begins with the reset points of the runs before it that are not deleted yet."""
    for point in attributes.prev_auto_reset_points.points:
        if not point.HasField("expire_time") or to_ns(point.expire_time) >= execution.start_time:
            execution.reset_points[(point.binary_checksum, point.build_id)] = point


def hand_on_points(
    execution: Execution, attributes: WorkflowExecutionStartedEventAttributes, *, now: int, retention: int
) -> None:
    """Give the run that follows the reset points of `execution`, which closes `now` and is kept for `retention` (ns)."""
    attributes.ClearField("prev_auto_reset_points")
    attributes.prev_auto_reset_points.SetInParent()
    for point in execution.reset_points.values():
        handed_on = attributes.prev_auto_reset_points.points.add()
        handed_on.CopyFrom(point)
        if point.run_id == execution.key.run_id:
            handed_on.expire_time.CopyFrom(timestamp(now + retention))


# --- beginning --------------------------------------------------------------------------------------------------


def check_point(execution: Execution, finish_event_id: int) -> None:
    """Check that a history that ends before `finish_event_id` can be gone on with.

    Raises:
        Invalid: no workflow task is pending there.
    """
    if not execution.running or not execution.workflow_task.scheduled_event_id:
        raise Invalid(
            "Can only reset workflow to event ID in range "
            f"[WorkflowTaskScheduled +1, WorkflowTaskStarted + 1]: {finish_event_id}"
        )


def begin(turn: Turn, *, base_run_id: str, reason: str) -> None:
    """Fail the pending workflow task by the reset, and what no worker can answer any more; see `check_point`.

    What follows (`reapply`, the next workflow task) is to be in the same turn.
    """
    execution = turn.execution
    task = execution.workflow_task
    if not task.started_event_id:
        turn.append(
            turn.event(
                _E.EVENT_TYPE_WORKFLOW_TASK_STARTED,
                workflow_task_started_event_attributes=WorkflowTaskStartedEventAttributes(
                    scheduled_event_id=task.scheduled_event_id,
                    identity=IDENTITY,
                    request_id=_NO_REQUEST,
                    history_size_bytes=execution.history_size,
                ),
            )
        )
    failed = WorkflowTaskFailedEventAttributes(
        scheduled_event_id=task.scheduled_event_id,
        started_event_id=task.started_event_id,
        cause=_CAUSE,
        failure=_failure(reason),
        identity=IDENTITY,
        base_run_id=base_run_id,
        new_run_id=execution.key.run_id,
    )
    held = [pending for pending in execution.activities.values() if pending.started_event_id]
    turn.append(turn.event(_E.EVENT_TYPE_WORKFLOW_TASK_FAILED, workflow_task_failed_event_attributes=failed))
    for pending in held:
        turn.append(
            turn.event(
                _E.EVENT_TYPE_ACTIVITY_TASK_FAILED,
                activity_task_failed_event_attributes=ActivityTaskFailedEventAttributes(
                    failure=_failure(reason),
                    scheduled_event_id=pending.scheduled_event_id,
                    identity=pending.progress.identity,
                    retry_state=RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE,
                ),
            )
        )


def _failure(reason: str) -> Failure:
    failure = Failure(message=reason)
    failure.reset_workflow_failure_info.SetInParent()
    return failure


# --- what comes again -------------------------------------------------------------------------------------------


def comes_again(event: HistoryEvent) -> bool:
    """Whether an event after the reset point may be one that comes again."""
    return event.event_type in _REAPPLY


def reapply(turn: Turn, event: HistoryEvent, excluded: Excluded) -> None:
    """Have an event that came after the reset point come again, if it is of a kind that does."""
    function = _REAPPLY.get(event.event_type)
    if function is not None:
        function(turn, event, excluded)


def _again(turn: Turn, event: HistoryEvent) -> None:
    again = turn.event(event.event_type)
    happened = again.event_time
    copied = HistoryEvent()
    copied.CopyFrom(event)
    copied.event_time.CopyFrom(happened)
    turn.append(copied)


def _signal(turn: Turn, event: HistoryEvent, excluded: Excluded) -> None:
    if _X.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL in excluded:
        return
    copied = HistoryEvent()
    copied.CopyFrom(event)
    copied.workflow_execution_signaled_event_attributes.ClearField("external_workflow_execution")
    _again(turn, copied)


def _admitted(turn: Turn, event: HistoryEvent, excluded: Excluded) -> None:
    if _X.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE not in excluded:
        _again(turn, event)


def _accepted(turn: Turn, event: HistoryEvent, excluded: Excluded) -> None:
    attributes = event.workflow_execution_update_accepted_event_attributes
    if _X.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE in excluded or not attributes.HasField("accepted_request"):
        return  # without the request it was admitted by an event, which comes again itself
    turn.append(
        turn.event(
            _E.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED,
            workflow_execution_update_admitted_event_attributes=WorkflowExecutionUpdateAdmittedEventAttributes(
                request=attributes.accepted_request,
                origin=UpdateAdmittedEventOrigin.UPDATE_ADMITTED_EVENT_ORIGIN_REAPPLY,
            ),
        )
    )


def _options_updated(turn: Turn, event: HistoryEvent, excluded: Excluded) -> None:
    attributes = event.workflow_execution_options_updated_event_attributes
    wanted = attributes.workflow_update_options
    if wanted and _X.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE in excluded:
        return
    request_id = wanted[0].attached_request_id if wanted else attributes.attached_request_id
    if not request_id or request_id not in turn.execution.attached_request_ids:
        _again(turn, event)


def _child(turn: Turn, event: HistoryEvent, excluded: Excluded) -> None:
    """Children that were wanted before the reset point go on: what came of them is known to the new run too."""
    attributes = getattr(event, event.WhichOneof("attributes") or "")
    child = turn.execution.children.get(attributes.initiated_event_id)
    starts = event.event_type in (
        _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED,
        _E.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED,
    )
    if child is not None and starts == (not child.run_id):
        _again(turn, event)


def _nexus_operation(turn: Turn, event: HistoryEvent, excluded: Excluded) -> None:
    """Operations that were scheduled before the reset point go on, as children do."""
    if _X.RESET_REAPPLY_EXCLUDE_TYPE_NEXUS not in excluded and nexus_operation.applies(turn.execution, event):
        _again(turn, event)


_REAPPLY: Mapping[int, Callable[[Turn, HistoryEvent, Excluded], None]] = {
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: _signal,
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED: _admitted,
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED: _accepted,
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED: _options_updated,
    _E.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED: _child,
    _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED: _child,
    _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED: _child,
    _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED: _child,
    _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED: _child,
    _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT: _child,
    _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED: _child,
    _E.EVENT_TYPE_NEXUS_OPERATION_STARTED: _nexus_operation,
    _E.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUEST_COMPLETED: _nexus_operation,
    _E.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUEST_FAILED: _nexus_operation,
    _E.EVENT_TYPE_NEXUS_OPERATION_COMPLETED: _nexus_operation,
    _E.EVENT_TYPE_NEXUS_OPERATION_FAILED: _nexus_operation,
    _E.EVENT_TYPE_NEXUS_OPERATION_CANCELED: _nexus_operation,
    _E.EVENT_TYPE_NEXUS_OPERATION_TIMED_OUT: _nexus_operation,
}
