"""The workflow task: scheduled → started → completed, failed or timed out.

At most one is pending. While a worker has it (started), new events are buffered. From its second attempt on it is
*transient*: only a completion writes its scheduled and started events; its failures and time-outs leave no event.
One that is scheduled only to bring updates is *speculative*: its events are written as soon as something has to stay,
and never if the worker rejects all of them.
A task of the sticky queue that no worker takes in time goes back to the normal queue.
"""

from __future__ import annotations

from temporalio.api.common.v1 import WorkerVersionStamp
from temporalio.api.enums.v1 import (
    EventType,
    SuggestContinueAsNewReason,
    TaskQueueKind,
    TimeoutType,
    WorkflowTaskFailedCause,
)
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowTaskCompletedEventAttributes,
    WorkflowTaskFailedEventAttributes,
    WorkflowTaskScheduledEventAttributes,
    WorkflowTaskStartedEventAttributes,
    WorkflowTaskTimedOutEventAttributes,
)
from temporalio.api.taskqueue.v1 import TaskQueue

from cloud.engine.core import activity, enum_names, older_versioning, reset, versioning
from cloud.engine.core import deadline_kinds as kinds
from cloud.engine.core.clock import SECOND, duration, to_ns
from cloud.engine.core.deadlines import push
from cloud.engine.core.effects import DispatchWorkflowTask, UpdateVisibility
from cloud.engine.core.errors import NoSuchTask, RunClosed
from cloud.engine.core.state import Execution, Problems, Sticky, WorkflowTask
from cloud.engine.core.turn import Turn
from cloud.engine.core.versioning import Taker

_E = EventType
_C = WorkflowTaskFailedCause

# A worker whose tasks keep timing out gets more time for each, so that a broken one does not spin
# (service/history/workflow/workflow_task_state_machine.go of the real server).
_BACKOFF_FROM_ATTEMPT = 3
_BACKOFF_INITIAL = 5 * SECOND
_BACKOFF_MAX = 600 * SECOND


# --- folding events ---------------------------------------------------------------------------------------------


def _apply_scheduled(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.workflow_task_scheduled_event_attributes
    task = execution.workflow_task
    now = to_ns(event.event_time)
    execution.volatile.workflow_task = WorkflowTask(
        scheduled_event_id=event.event_id,
        attempt=attributes.attempt,
        scheduled_time=now,
        original_scheduled_time=task.original_scheduled_time or now,
        timeout=to_ns(attributes.start_to_close_timeout),
        sticky=attributes.task_queue.kind == TaskQueueKind.TASK_QUEUE_KIND_STICKY,
    )


def _apply_started(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.workflow_task_started_event_attributes
    task = execution.workflow_task
    task.started_event_id = event.event_id
    task.started_time = to_ns(event.event_time)
    task.request_id = attributes.request_id
    task.identity = attributes.identity
    task.build_id = attributes.worker_version.build_id
    task.use_versioning = attributes.worker_version.use_versioning
    task.redirects = attributes.build_id_redirect_counter
    if task.use_versioning:
        older_versioning.fold_started(execution, attributes.worker_version, task.redirects)
    task.history_size_at_start = attributes.history_size_bytes


def _apply_completed(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.workflow_task_completed_event_attributes
    execution.previous_started_event_id = attributes.started_event_id
    execution.completed_workflow_tasks += 1
    execution.last_workflow_task_completed_event_id = event.event_id
    if not execution.first_completed_workflow_task_event_id:
        execution.first_completed_workflow_task_event_id = event.event_id
    older_versioning.fold_completed(execution, attributes)
    versioning.fold_completed(execution, attributes)
    reset.note_point(execution, event)
    execution.volatile.workflow_task = WorkflowTask()


def _apply_ended_badly(execution: Execution, event: HistoryEvent) -> None:
    execution.volatile.workflow_task = WorkflowTask(attempt=execution.workflow_task.attempt)


def _apply_failed(execution: Execution, event: HistoryEvent) -> None:
    _apply_ended_badly(execution, event)
    reset.begin_anew(execution, event)


APPLY = {
    _E.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED: _apply_scheduled,
    _E.EVENT_TYPE_WORKFLOW_TASK_STARTED: _apply_started,
    _E.EVENT_TYPE_WORKFLOW_TASK_COMPLETED: _apply_completed,
    _E.EVENT_TYPE_WORKFLOW_TASK_FAILED: _apply_failed,
    _E.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT: _apply_ended_badly,
}


# --- scheduling and starting ------------------------------------------------------------------------------------


def normal_queue(execution: Execution) -> str:
    """The name of the run's own task queue."""
    return execution.started.task_queue.name


def queue_of(execution: Execution) -> str:
    """The queue on which the pending workflow task waits."""
    sticky = execution.volatile.sticky
    if execution.workflow_task.sticky and sticky.queue:
        return sticky.queue
    return normal_queue(execution)


def schedule(
    turn: Turn,
    *,
    attempt: int = 1,
    heartbeat_since: int = 0,
    early: bool = False,
    speculative: bool = False,
) -> None:
    """Schedule a workflow task unless one is pending, or the run is paused; transient if `attempt` is above 1.

    `early` does not wait for the end of the backoff before the first task.
    `heartbeat_since` is the first scheduling time of a chain of heartbeating tasks (ns), which its task inherits.
    """
    execution = turn.execution
    if not execution.running:
        return
    if execution.has_pending_workflow_task or execution.paused is not None:
        return
    if due_first(execution, 0) > turn.now and not early:
        return
    execution.volatile.had_workflow_task = True
    sticky = execution.volatile.sticky
    on_sticky = bool(sticky.queue) and attempt == 1
    timeout = start_to_close(to_ns(execution.started.workflow_task_timeout), attempt)
    if attempt == 1 and not speculative:
        execution.volatile.workflow_task = WorkflowTask(original_scheduled_time=heartbeat_since)
        turn.append(
            turn.event(
                _E.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
                workflow_task_scheduled_event_attributes=WorkflowTaskScheduledEventAttributes(
                    task_queue=_queue_on(execution, sticky=on_sticky),
                    start_to_close_timeout=duration(timeout),
                    attempt=1,
                ),
            )
        )
    else:
        execution.volatile.workflow_task = WorkflowTask(
            scheduled_event_id=execution.next_event_id,
            attempt=attempt,
            scheduled_time=turn.now,
            original_scheduled_time=turn.now,
            timeout=timeout,
            sticky=on_sticky,
            speculative=speculative,
        )
    _offer(turn)


def _queue_on(execution: Execution, *, sticky: bool) -> TaskQueue:
    normal = normal_queue(execution)
    if sticky:
        return TaskQueue(
            name=execution.volatile.sticky.queue,
            kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY,
            normal_name=normal,
        )
    return TaskQueue(name=normal, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL)


def _offer(turn: Turn) -> None:
    execution = turn.execution
    task = execution.workflow_task
    if task.sticky:
        task.sticky_timeout = execution.volatile.sticky.timeout
        push(execution, kinds.WORKFLOW_TASK_SCHEDULE_TO_START, 0, due_schedule_to_start(execution, 0))
    turn.ask(
        DispatchWorkflowTask(
            queue=queue_of(execution),
            scheduled_event_id=task.scheduled_event_id,
            dispatch=task.dispatch,
            sticky=task.sticky,
        )
    )


def offer_anew(turn: Turn) -> None:
    """A waiting task is to be found elsewhere in its queue, or by others: earlier offers of it become stale.

    One that a worker has goes on, and one that only brings updates is left alone: it is in a hurry.
    """
    task = turn.execution.workflow_task
    if not task.scheduled_event_id or task.started_event_id or task.speculative:
        return
    task.stamp += 1
    turn.dirty = True
    _offer(turn)


def start_to_close(timeout: int, attempt: int) -> int:
    """How long a worker may hold the task of this attempt (ns)."""
    if attempt <= _BACKOFF_FROM_ATTEMPT:
        return timeout
    exponent = min(attempt - _BACKOFF_FROM_ATTEMPT - 1, 16)
    return timeout + min(_BACKOFF_INITIAL * (1 << exponent), _BACKOFF_MAX)


def start(
    turn: Turn,
    *,
    scheduled_event_id: int,
    dispatch: int,
    request_id: str,
    identity: str,
    build_id: str = "",
    taker: Taker = versioning.UNVERSIONED,
) -> None:
    """A worker takes the scheduled task as `dispatch` offered it. One of another version than the run's moves the run there.

    Raises:
        NoSuchTask: another task is pending, this one was offered anew, is taken already, or is for another version.
    """
    execution = turn.execution
    task = execution.workflow_task
    if not execution.running or task.scheduled_event_id != scheduled_event_id or task.dispatch != dispatch:
        raise NoSuchTask("Workflow task not found.")
    if task.started_event_id:
        raise NoSuchTask("Workflow task already started.")
    versioning.check_taker(execution, taker.version)
    older_versioning.check_taker(execution, taker.build, by_sticky=task.sticky)
    versioning.note_target(execution, taker)
    redirects = older_versioning.redirects_with(execution, taker.build)
    before = older_versioning.assigned_to(execution)
    moves = bool(taker.build) and taker.build != before
    if task.unwritten and (
        task.scheduled_event_id != execution.next_event_id or (moves and not task.speculative)
    ):
        _make_normal(turn)
        task = execution.workflow_task
    reasons = _suggestions(turn)
    if not task.unwritten:
        turn.append(_started_event(turn, request_id, identity, build_id, redirects, taker, reasons))
    else:
        task.scheduled_event_id = execution.next_event_id
        task.started_event_id = execution.next_event_id + 1
        task.started_time = turn.now
        task.request_id = request_id
        task.identity = identity
        task.build_id = build_id
        task.use_versioning = bool(taker.build)
        task.redirects = redirects
        task.history_size_at_start = execution.history_size
        turn.dirty = True
    task = execution.workflow_task
    task.suggest_continue_as_new = sum(1 << reason for reason in reasons)
    if not task.speculative:
        versioning.take(turn, taker)
    if moves:
        older_versioning.assign(execution, taker.build, redirects)
        turn.ask(UpdateVisibility())
        activity.offer_anew(turn)
    push(execution, kinds.WORKFLOW_TASK_START_TO_CLOSE, 0, due_start_to_close(execution, 0))


def require_waiting(execution: Execution, scheduled_event_id: int, dispatch: int) -> None:
    """Check that this task, as `dispatch` offered it, waits for a worker.

    Raises:
        NoSuchTask: it does not.
    """
    task = execution.workflow_task
    if not execution.running or (task.scheduled_event_id, task.dispatch) != (scheduled_event_id, dispatch):
        raise NoSuchTask("Workflow task not found.")
    if task.started_event_id:
        raise NoSuchTask("Workflow task already started.")


def _make_normal(turn: Turn) -> None:
    """Events came while an unwritten task waited: write its scheduled event after them, as attempt 1."""
    execution = turn.execution
    task = execution.workflow_task
    turn.append(
        turn.event(
            _E.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
            workflow_task_scheduled_event_attributes=WorkflowTaskScheduledEventAttributes(
                task_queue=_queue_on(execution, sticky=task.sticky),
                start_to_close_timeout=duration(task.timeout),
                attempt=1,
            ),
        )
    )


def _suggestions(turn: Turn) -> list[SuggestContinueAsNewReason.ValueType]:
    execution, limits = turn.execution, turn.around.limits
    reasons = []
    if execution.history_size >= limits.history_size_suggest:
        reasons.append(SuggestContinueAsNewReason.SUGGEST_CONTINUE_AS_NEW_REASON_HISTORY_SIZE_TOO_LARGE)
    if execution.next_event_id >= limits.history_count_suggest:
        reasons.append(SuggestContinueAsNewReason.SUGGEST_CONTINUE_AS_NEW_REASON_TOO_MANY_HISTORY_EVENTS)
    return reasons


def _started_event(
    turn: Turn,
    request_id: str,
    identity: str,
    build_id: str,
    redirects: int,
    taker: Taker,
    reasons: list[SuggestContinueAsNewReason.ValueType],
) -> HistoryEvent:
    execution = turn.execution
    attributes = WorkflowTaskStartedEventAttributes(
        scheduled_event_id=execution.workflow_task.scheduled_event_id,
        identity=identity,
        request_id=request_id,
        history_size_bytes=execution.history_size,
        suggest_continue_as_new=bool(reasons),
        suggest_continue_as_new_reasons=reasons,
        target_worker_deployment_version_changed=versioning.target_changed(execution),
    )
    if build_id:
        attributes.worker_version.build_id = build_id
    if taker.build:
        attributes.worker_version.use_versioning = True
        attributes.build_id_redirect_counter = redirects
    return turn.event(_E.EVENT_TYPE_WORKFLOW_TASK_STARTED, workflow_task_started_event_attributes=attributes)


def unwritten_events(execution: Execution) -> list[HistoryEvent]:
    """The scheduled and started events of a transient or speculative task, as polls show them behind the history."""
    task = execution.workflow_task
    if not task.unwritten or not task.scheduled_event_id:
        return []
    if task.scheduled_event_id < execution.next_event_id:
        return []  # events came after it was scheduled: it will be written as a normal one when it starts
    scheduled = HistoryEvent(
        event_id=task.scheduled_event_id,
        event_type=_E.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
        workflow_task_scheduled_event_attributes=WorkflowTaskScheduledEventAttributes(
            task_queue=_queue_on(execution, sticky=task.sticky),
            start_to_close_timeout=duration(task.timeout),
            attempt=task.attempt,
        ),
    )
    scheduled.event_time.FromNanoseconds(task.scheduled_time)
    if not task.started_event_id:
        return [scheduled]
    started = HistoryEvent(
        event_id=task.started_event_id,
        event_type=_E.EVENT_TYPE_WORKFLOW_TASK_STARTED,
        workflow_task_started_event_attributes=WorkflowTaskStartedEventAttributes(
            scheduled_event_id=task.scheduled_event_id,
            identity=task.identity,
            request_id=task.request_id,
            history_size_bytes=task.history_size_at_start,
            suggest_continue_as_new=task.suggest_continue_as_new != 0,
            suggest_continue_as_new_reasons=[
                SuggestContinueAsNewReason.ValueType(reason)
                for reason in range(1, 8)
                if task.suggest_continue_as_new >> reason & 1
            ],
            target_worker_deployment_version_changed=versioning.target_changed(execution),
        ),
    )
    started.event_time.FromNanoseconds(task.started_time)
    if task.build_id:
        started.workflow_task_started_event_attributes.worker_version.build_id = task.build_id
    if task.use_versioning:
        started.workflow_task_started_event_attributes.worker_version.use_versioning = True
        started.workflow_task_started_event_attributes.build_id_redirect_counter = task.redirects
    return [scheduled, started]


# --- ending -----------------------------------------------------------------------------------------------------


def require_in_flight(
    execution: Execution, scheduled_event_id: int, started_event_id: int, attempt: int, started_time: int
) -> None:
    """Check that the task a worker answers is the one it holds; by its time too, since an unwritten one may be lost and made anew.

    Raises:
        NoSuchTask: it is not.
    """
    task = execution.workflow_task
    if not execution.running:
        raise RunClosed("Workflow task not found.")
    if (
        not task.started_event_id
        or task.scheduled_event_id != scheduled_event_id
        or task.started_event_id != started_event_id
        or task.attempt != attempt
        or task.started_time != started_time
    ):
        raise NoSuchTask("Workflow task not found.")


def write_completed(turn: Turn, attributes: WorkflowTaskCompletedEventAttributes) -> int:
    """Write the completion (before it, the scheduled and started events of an unwritten task). Returns its event id."""
    execution = turn.execution
    if execution.workflow_task.unwritten:
        write_unwritten(turn)
    attributes.scheduled_event_id = execution.workflow_task.scheduled_event_id
    attributes.started_event_id = execution.workflow_task.started_event_id
    _report_success(turn)
    return turn.append(
        turn.event(_E.EVENT_TYPE_WORKFLOW_TASK_COMPLETED, workflow_task_completed_event_attributes=attributes)
    )


def write_unwritten(turn: Turn) -> None:
    """Write the scheduled and started events of the unwritten task, with the times that its worker was told."""
    sticky_timeout = turn.execution.workflow_task.sticky_timeout
    for event in unwritten_events(turn.execution):
        # A worker's clock is that of its task's start: a replay must find the same.
        turn.append(event)
    turn.execution.workflow_task.sticky_timeout = sticky_timeout


def discard(turn: Turn) -> None:
    """The worker rejected all that the speculative task in flight brought: as if it had never been."""
    turn.execution.volatile.workflow_task = WorkflowTask()
    turn.dirty = True


def fail(
    turn: Turn,
    *,
    cause: WorkflowTaskFailedCause.ValueType,
    failure: Failure | None,
    identity: str,
    reschedule: bool = True,
    binary_checksum: str = "",
    worker_version: WorkerVersionStamp | None = None,
) -> None:
    """The task in flight failed: write that (first attempt only), flush the buffer and schedule the next attempt."""
    execution = turn.execution
    task = execution.workflow_task
    attempt = task.attempt
    if task.speculative:
        write_unwritten(turn)
        task = execution.workflow_task
    if attempt == 1:
        turn.append(
            turn.event(
                _E.EVENT_TYPE_WORKFLOW_TASK_FAILED,
                workflow_task_failed_event_attributes=WorkflowTaskFailedEventAttributes(
                    scheduled_event_id=task.scheduled_event_id,
                    started_event_id=task.started_event_id,
                    cause=cause,
                    failure=failure,
                    identity=identity,
                    binary_checksum=binary_checksum,
                    worker_version=worker_version,
                ),
            )
        )
    if failure is not None:
        execution.volatile.last_workflow_task_failure = failure.SerializeToString()
    name = enum_names.camel(WorkflowTaskFailedCause, cause, "WORKFLOW_TASK_FAILED_CAUSE_")
    _report(turn, attempt, "WorkflowTaskFailed", f"Cause{name}")
    _end_attempt(turn, attempt, reschedule)


def _report(turn: Turn, attempt: int, category: str, cause: str) -> None:
    """Count that a task failed; once many have in a row, lists show why (the attribute TemporalReportedProblems).

    The reason is that of the last one that the history tells of, as on the real server.
    """
    volatile = turn.execution.volatile
    problems = volatile.problems = volatile.problems or Problems()
    problems.count += 1
    turn.dirty = True
    if attempt == 1:
        problems.last = [f"category={category}", f"cause={category}{cause}"]
    enough = problems.count >= turn.around.limits.workflow_task_problems_reported
    if enough and problems.reported != problems.last:
        problems.reported = problems.last
        turn.ask(UpdateVisibility())


def _report_success(turn: Turn) -> None:
    problems = turn.execution.volatile.problems
    if problems is not None:
        turn.execution.volatile.problems = None
        if problems.reported:
            turn.ask(UpdateVisibility())


def _end_attempt(turn: Turn, attempt: int, reschedule: bool) -> None:
    execution = turn.execution
    # On a sticky queue the worker's cache may be at fault: the normal queue gets a first attempt of its own.
    was_sticky = bool(execution.volatile.sticky.queue)
    execution.volatile.workflow_task = WorkflowTask(attempt=attempt)
    execution.volatile.sticky = Sticky()
    turn.dirty = True
    new_events = turn.flush_buffer()
    if reschedule:
        schedule(turn, attempt=1 if new_events or was_sticky else attempt + 1)


def time_out_started(turn: Turn) -> None:
    """The worker did not answer in time."""
    execution = turn.execution
    attempt = execution.workflow_task.attempt
    if execution.workflow_task.speculative:
        write_unwritten(turn)
    if attempt == 1:
        turn.append(_timed_out_event(turn, TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE))
    _report(turn, attempt, "WorkflowTaskTimedOut", "CauseStartToClose")
    _end_attempt(turn, attempt, reschedule=True)


def time_out_sticky(turn: Turn) -> None:
    """No worker took the task from its sticky queue in time: the next one goes to the normal queue."""
    execution = turn.execution
    if execution.workflow_task.speculative:
        write_unwritten(turn)
    turn.append(_timed_out_event(turn, TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START))
    execution.volatile.workflow_task = WorkflowTask()
    execution.volatile.sticky = Sticky()
    schedule(turn)


def leave_sticky(turn: Turn) -> None:
    """The sticky queue's worker is gone: offer the waiting task on the normal queue, without an event."""
    execution = turn.execution
    execution.volatile.sticky = Sticky()
    execution.workflow_task.sticky = False
    turn.dirty = True
    _offer(turn)


def _timed_out_event(turn: Turn, timeout_type: TimeoutType.ValueType) -> HistoryEvent:
    task = turn.execution.workflow_task
    return turn.event(
        _E.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
        workflow_task_timed_out_event_attributes=WorkflowTaskTimedOutEventAttributes(
            scheduled_event_id=task.scheduled_event_id,
            started_event_id=task.started_event_id,
            timeout_type=timeout_type,
        ),
    )


# --- deadlines --------------------------------------------------------------------------------------------------


def due_first(execution: Execution, _: int | str) -> int:
    """When the backoff before the run's first workflow task is over; 0 once there was a task.

    What arrives before that moment is in the first task; it does not bring it forward.
    """
    backoff = to_ns(execution.started.first_workflow_task_backoff)
    if not backoff or not execution.running or execution.has_pending_workflow_task:
        return 0
    if execution.paused is not None:
        return 0
    if execution.volatile.had_workflow_task:
        return 0
    return execution.start_time + backoff


def due_schedule_to_start(execution: Execution, _: int | str) -> int:
    """When the waiting sticky task goes back to the normal queue; 0 if none waits."""
    task = execution.workflow_task
    if not task.sticky or not task.scheduled_event_id or task.started_event_id:
        return 0
    return task.scheduled_time + task.sticky_timeout


def due_start_to_close(execution: Execution, _: int | str) -> int:
    """When the task in flight times out; 0 if none is."""
    task = execution.workflow_task
    return task.started_time + task.timeout if task.started_event_id else 0
