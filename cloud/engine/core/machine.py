"""The machine: every event type with what it does to the state, everything that can become due with who serves it.

The only place that knows all subjects. Live transitions and rebuilds go through the same `apply`, so a state rebuilt from the
history (and what is kept beside it) equals the live one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from temporalio.api.enums.v1 import EventType, TimeoutType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent

from cloud.engine.core import (
    activity,
    activity_deadlines,
    activity_ends,
    callback,
    cancellation,
    child,
    close,
    external,
    marker,
    nexus_operation,
    pause,
    run_clock,
    signal,
    start,
    timer,
    update,
    workflow_task,
)
from cloud.engine.core import deadline_kinds as kinds
from cloud.engine.core.deadlines import DueOf, next_due, push
from cloud.engine.core.effects import (
    CancelExternal,
    CancelNexusOperation,
    DeliverCallback,
    DispatchActivity,
    DispatchWorkflowTask,
    Effect,
    PropagateClose,
    SignalExternal,
    StartChild,
    StartNexusOperation,
)
from cloud.engine.core.errors import CoreDefect
from cloud.engine.core.state import (
    ActivityProgress,
    CallbackProgress,
    Execution,
    NexusProgress,
    RunKey,
    Volatile,
)
from cloud.engine.core.turn import Surroundings, Turn, grow, wait

_SUBJECTS = (
    workflow_task,
    activity,
    timer,
    signal,
    update,
    marker,
    external,
    child,
    nexus_operation,
    pause,
    run_clock,
    start,
    close,
    cancellation,
)

APPLY: Mapping[int, Callable[[Execution, HistoryEvent], None]] = {
    event_type: function for subject in _SUBJECTS for event_type, function in subject.APPLY.items()
}

_MARK_BUFFERED = tuple(
    subject.mark_buffered
    for subject in (
        activity,
        timer,
        signal,
        external,
        child,
        nexus_operation,
        pause,
        run_clock,
        start,
        cancellation,
    )
)

_T = TimeoutType

DUE: Mapping[int, DueOf] = {
    kinds.RUN_TIMEOUT: start.due_run_timeout,
    kinds.EXECUTION_TIMEOUT: start.due_execution_timeout,
    kinds.FIRST_WORKFLOW_TASK: workflow_task.due_first,
    kinds.WORKFLOW_TASK_SCHEDULE_TO_START: workflow_task.due_schedule_to_start,
    kinds.WORKFLOW_TASK_START_TO_CLOSE: workflow_task.due_start_to_close,
    kinds.TIMER: timer.due,
    kinds.ACTIVITY_DISPATCH: activity_deadlines.due_dispatch,
    kinds.ACTIVITY_SCHEDULE_TO_START: activity_deadlines.due_schedule_to_start,
    kinds.ACTIVITY_SCHEDULE_TO_CLOSE: activity_deadlines.due_schedule_to_close,
    kinds.ACTIVITY_START_TO_CLOSE: activity_deadlines.due_start_to_close,
    kinds.ACTIVITY_HEARTBEAT: activity_deadlines.due_heartbeat,
    kinds.NEXUS_DISPATCH: nexus_operation.due_dispatch,
    kinds.NEXUS_CANCEL_DISPATCH: nexus_operation.due_cancel_dispatch,
    kinds.NEXUS_SCHEDULE_TO_START: nexus_operation.due_schedule_to_start,
    kinds.NEXUS_SCHEDULE_TO_CLOSE: nexus_operation.due_schedule_to_close,
    kinds.NEXUS_START_TO_CLOSE: nexus_operation.due_start_to_close,
    kinds.FAST_FORWARD: run_clock.due_fast_forward,
    kinds.CALLBACK_DISPATCH: callback.due_dispatch,
}

_FIRE: Mapping[int, Callable[[Turn, int | str], None]] = {
    kinds.RUN_TIMEOUT: close.run_timed_out,
    kinds.EXECUTION_TIMEOUT: close.execution_timed_out,
    kinds.FIRST_WORKFLOW_TASK: start.first_task_due,
    kinds.WORKFLOW_TASK_SCHEDULE_TO_START: lambda turn, _: workflow_task.time_out_sticky(turn),
    kinds.WORKFLOW_TASK_START_TO_CLOSE: lambda turn, _: workflow_task.time_out_started(turn),
    kinds.TIMER: timer.fire,
    kinds.ACTIVITY_DISPATCH: activity.dispatch_due,
    kinds.ACTIVITY_SCHEDULE_TO_START: lambda turn, key: activity_ends.time_out(
        turn, key, _T.TIMEOUT_TYPE_SCHEDULE_TO_START
    ),
    kinds.ACTIVITY_SCHEDULE_TO_CLOSE: lambda turn, key: activity_ends.time_out(
        turn, key, _T.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE
    ),
    kinds.ACTIVITY_START_TO_CLOSE: lambda turn, key: activity_ends.time_out(
        turn, key, _T.TIMEOUT_TYPE_START_TO_CLOSE
    ),
    kinds.ACTIVITY_HEARTBEAT: lambda turn, key: activity_ends.time_out(turn, key, _T.TIMEOUT_TYPE_HEARTBEAT),
    kinds.NEXUS_DISPATCH: nexus_operation.dispatch_due,
    kinds.NEXUS_CANCEL_DISPATCH: nexus_operation.cancel_dispatch_due,
    kinds.NEXUS_SCHEDULE_TO_START: lambda turn, key: nexus_operation.time_out(
        turn, key, _T.TIMEOUT_TYPE_SCHEDULE_TO_START
    ),
    kinds.NEXUS_SCHEDULE_TO_CLOSE: lambda turn, key: nexus_operation.time_out(
        turn, key, _T.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE
    ),
    kinds.NEXUS_START_TO_CLOSE: lambda turn, key: nexus_operation.time_out(
        turn, key, _T.TIMEOUT_TYPE_START_TO_CLOSE
    ),
    kinds.FAST_FORWARD: run_clock.fast_forward_due,
    kinds.CALLBACK_DISPATCH: callback.dispatch_due,
}


def apply(execution: Execution, event: HistoryEvent) -> None:
    """Fold one event into the state.

    Raises:
        CoreDefect: no subject knows the event.
    """
    function = APPLY.get(event.event_type)
    if function is None:
        raise CoreDefect(
            f"run {execution.key.run_id}: no subject applies event {event.event_id} of type "
            f"{EventType.Name(event.event_type)}"
        )
    function(execution, event)


def mark_buffered(execution: Execution, event: HistoryEvent) -> None:
    """Note in the state what an event in the buffer already decides."""
    for function in _MARK_BUFFERED:
        function(execution, event)


def open_turn(execution: Execution, now: int, around: Surroundings) -> Turn:
    """Begin a transition of `execution` at `now` (ns) of its cell's clock."""
    return Turn(
        execution,
        now + run_clock.ahead(execution),
        now,
        around,
        apply,
        mark_buffered,
        workflow_task.write_unwritten,
    )


def close_turn(turn: Turn) -> None:
    """End a transition that changed something: hold the run to its limits, whatever it was that grew.

    As the real server does: a worker whose task keeps too many events waiting loses the task, so that they enter the history;
    a run that outgrows its limits is terminated. One that skips time, and has nothing else to wait for, does so now.
    """
    execution, limits = turn.execution, turn.around.limits
    for scheduled_event_id in turn.progressed:
        activity.weigh(execution, scheduled_event_id)
    if (
        len(execution.buffered) > limits.buffered_events
        or execution.buffered_size > limits.buffered_events_size
    ):
        workflow_task.fail(
            turn,
            cause=WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND,
            failure=None,
            identity="history-service",
        )
    close.enforce_limits(turn)
    if execution.callbacks:
        callback.attached_late(turn)
    if execution.clock is not None:
        _skip_time(turn)


def _skip_time(turn: Turn) -> None:
    execution = turn.execution
    if not run_clock.may_skip(execution):
        return
    if not execution.volatile.had_workflow_task and not workflow_task.due_first(execution, 0):
        return  # its first task is still to be scheduled
    entry = next_due(execution, DUE)
    if entry is not None:
        run_clock.skip(turn, entry[0])


def rebuild(
    key: RunKey,
    events: Iterable[HistoryEvent],
    *,
    volatile: Volatile,
    progress: Mapping[int, ActivityProgress],
    buffered: Iterable[HistoryEvent],
    nexus_progress: Mapping[int, NexusProgress] | None = None,
    callback_progress: Mapping[int, CallbackProgress] | None = None,
) -> Execution:
    """The state of a run from what is stored of it. Equals the state that the live transitions came to."""
    execution = Execution(key)
    fold(execution, events)
    return complete(
        execution,
        volatile=volatile,
        progress=progress,
        buffered=buffered,
        nexus_progress=nexus_progress,
        callback_progress=callback_progress,
    )


def complete(
    execution: Execution,
    *,
    volatile: Volatile,
    progress: Mapping[int, ActivityProgress],
    buffered: Iterable[HistoryEvent],
    nexus_progress: Mapping[int, NexusProgress] | None = None,
    callback_progress: Mapping[int, CallbackProgress] | None = None,
) -> Execution:
    """Add to a replayed history what is kept beside it."""
    execution.volatile = volatile
    update.restore(execution)
    for scheduled_event_id, value in progress.items():
        pending = execution.activities.get(scheduled_event_id)
        if pending is not None:
            activity.restore(pending, value)
            activity.weigh(execution, scheduled_event_id)
    for key_of_progress, kept in (nexus_progress or {}).items():
        operation = execution.nexus_operations.get(key_of_progress)
        if operation is not None:
            operation.progress = kept
    for index, calls in (callback_progress or {}).items():
        execution.callbacks[index].progress = calls
    for event in buffered:
        wait(execution, event)
        mark_buffered(execution, event)
    refill_deadlines(execution)
    return execution


def fold(execution: Execution, events: Iterable[HistoryEvent]) -> None:
    """Fold the next stored events of a history into the state."""
    for event in events:
        execution.next_event_id = event.event_id + 1
        apply(execution, event)
        grow(execution, event)


def take_over(turn: Turn) -> None:
    """A run that begins with a copied history has all that its state waits for: deadlines, activities to offer, work on others."""
    execution = turn.execution
    refill_deadlines(execution)
    for task in waiting_tasks(execution):
        if isinstance(task, DispatchActivity):
            turn.ask(task)
    for effect in outstanding(execution):
        turn.ask(effect)


def refill_deadlines(execution: Execution) -> None:
    """Note all that may become due in a run that was made from its events."""
    for kind in (
        kinds.RUN_TIMEOUT,
        kinds.EXECUTION_TIMEOUT,
        kinds.FIRST_WORKFLOW_TASK,
        kinds.WORKFLOW_TASK_SCHEDULE_TO_START,
        kinds.WORKFLOW_TASK_START_TO_CLOSE,
        kinds.FAST_FORWARD,
    ):
        push(execution, kind, 0, DUE[kind](execution, 0))
    for timer_id in execution.timers:
        push(execution, kinds.TIMER, timer_id, timer.due(execution, timer_id))
    for scheduled_event_id in execution.activities:
        for kind in range(kinds.ACTIVITY_DISPATCH, kinds.ACTIVITY_HEARTBEAT + 1):
            push(execution, kind, scheduled_event_id, DUE[kind](execution, scheduled_event_id))
    for scheduled_event_id in execution.nexus_operations:
        for kind in range(kinds.NEXUS_DISPATCH, kinds.NEXUS_START_TO_CLOSE + 1):
            push(execution, kind, scheduled_event_id, DUE[kind](execution, scheduled_event_id))
    for index in range(len(execution.callbacks)):
        push(execution, kinds.CALLBACK_DISPATCH, index, callback.due_dispatch(execution, index))


def due_at(execution: Execution) -> int:
    """When the run next needs to be woken (ns of its cell's clock); 0 for never. A closed one: to call a callback again."""
    if execution.running:
        entry = next_due(execution, DUE)
        moment = entry[0] if entry else 0
    else:
        moment = callback.due_at(execution)
    return max(moment - run_clock.ahead(execution), 1) if moment else 0


def closed_at(execution: Execution) -> int:
    """When a closed run closed (ns of its cell's clock)."""
    return execution.close_time - run_clock.ahead(execution)


def fire_due(turn: Turn) -> None:
    """Do all that is due by now, earliest first."""
    execution = turn.execution
    if not execution.running:
        callback.fire_due(turn)
    while execution.running:
        entry = next_due(execution, DUE)
        if entry is None or entry[0] > turn.now:
            return
        _FIRE[entry[1]](turn, entry[2])


def outstanding(execution: Execution) -> list[Effect]:
    """The effects outside the run that are still to be carried out, from the state alone: what a crash may have cut off."""
    effects: list[Effect] = [
        DeliverCallback(index)
        for index in range(len(execution.callbacks))
        if callback.awaits_delivery(execution, index)
    ]
    if not execution.running and execution.volatile.close_propagated:
        return effects
    # What a run sends in the very turn that closes it is still sent.
    effects += [
        *(SignalExternal(key) for key, s in execution.external_signals.items() if not s.closing),
        *(CancelExternal(key) for key, c in execution.external_cancels.items() if not c.closing),
    ]
    if execution.running:
        effects.extend(
            StartChild(key) for key, c in execution.children.items() if not c.run_id and not c.closing
        )
        effects.extend(
            StartNexusOperation(key)
            for key, operation in execution.nexus_operations.items()
            if nexus_operation.awaits_start(operation)
        )
        effects.extend(
            CancelNexusOperation(key)
            for key, operation in execution.nexus_operations.items()
            if nexus_operation.awaits_cancel(operation)
        )
    else:
        effects.append(PropagateClose())
    return effects


def calls_of(execution: Execution, key: int) -> NexusProgress | CallbackProgress | None:
    """What is kept beside the history under a key that ``Turn.nexus_progress`` noted, None if it is of no interest any more."""
    if key < 0:
        return execution.callbacks[callback.callback_of_key(key)].progress
    operation = execution.nexus_operations.get(key)
    return None if operation is None else operation.progress


def waiting_tasks(execution: Execution) -> list[DispatchWorkflowTask | DispatchActivity]:
    """The tasks of a run that wait for a worker (for imports and repairs)."""
    found: list[DispatchWorkflowTask | DispatchActivity] = []
    task = execution.workflow_task
    if task.scheduled_event_id and not task.started_event_id:
        found.append(
            DispatchWorkflowTask(
                workflow_task.queue_of(execution), task.scheduled_event_id, task.dispatch, task.sticky
            )
        )
    for key, pending in execution.activities.items() if execution.paused is None else ():
        if activity.waits(pending):
            found.append(DispatchActivity(pending.options.task_queue.name, key, pending.progress.stamp))
    return found
