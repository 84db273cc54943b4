"""A paused run: what reaches it is taken in, and its timers fire, but no worker gets anything of it to do until it is unpaused.

What workers hold already goes on: an activity ends into the history, a workflow task is completed. A workflow task that only waits fails;
the attempts of activities that wait are called off, and offered anew in the end. Time-outs go on.
"""

from __future__ import annotations

from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowExecutionPausedEventAttributes,
    WorkflowExecutionUnpausedEventAttributes,
    WorkflowTaskFailedEventAttributes,
)

from cloud.engine.core import activity as activities
from cloud.engine.core import deadline_kinds as kinds
from cloud.engine.core import workflow_task
from cloud.engine.core.clock import to_ns
from cloud.engine.core.deadlines import push
from cloud.engine.core.effects import UpdateVisibility
from cloud.engine.core.errors import NotNow, RunClosed
from cloud.engine.core.state import Execution, Sticky, WorkflowPause, WorkflowTask
from cloud.engine.core.turn import Turn

_E = EventType
_C = WorkflowTaskFailedCause


def _apply_paused(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.workflow_execution_paused_event_attributes
    execution.paused = WorkflowPause(
        to_ns(event.event_time), attributes.identity, attributes.reason, attributes.request_id
    )


def _apply_unpaused(execution: Execution, event: HistoryEvent) -> None:
    execution.paused = None


APPLY = {
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_PAUSED: _apply_paused,
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_UNPAUSED: _apply_unpaused,
}


def mark_buffered(execution: Execution, event: HistoryEvent) -> None:
    """A pause, or its end, in the buffer holds already."""
    function = APPLY.get(event.event_type)
    if function is not None:
        function(execution, event)


def pause(turn: Turn, *, identity: str, reason: str, request_id: str) -> None:
    """Give workers nothing more of the run to do. Asking again with the same request id changes nothing.

    Raises:
        RunClosed: it is closed.
        NotNow: it is paused, by another request.
    """
    execution = turn.execution
    if not execution.running:
        raise RunClosed("workflow execution already completed")
    if execution.paused is not None:
        if request_id and execution.paused.request_id == request_id:
            return
        raise NotNow("workflow is already paused.")
    _fail_waiting_task(turn)
    for pending in execution.activities.values():
        if activities.waits(pending):
            pending.progress.stamp += 1
            turn.progress(pending.scheduled_event_id)
    turn.add(
        turn.event(
            _E.EVENT_TYPE_WORKFLOW_EXECUTION_PAUSED,
            workflow_execution_paused_event_attributes=WorkflowExecutionPausedEventAttributes(
                identity=identity, reason=reason, request_id=request_id
            ),
            worker_may_ignore=True,
        )
    )
    turn.ask(UpdateVisibility())
    turn.meter("pause_workflow")


def _fail_waiting_task(turn: Turn) -> None:
    """A workflow task that no worker took goes; an unwritten one without a trace."""
    execution = turn.execution
    task = execution.workflow_task
    if not task.scheduled_event_id or task.started_event_id:
        return
    if not task.unwritten:
        turn.append(
            turn.event(
                _E.EVENT_TYPE_WORKFLOW_TASK_FAILED,
                workflow_task_failed_event_attributes=WorkflowTaskFailedEventAttributes(
                    scheduled_event_id=task.scheduled_event_id,
                    cause=_C.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_PAUSE_REQUESTED_BEFORE_TASK_STARTED,
                    identity="history-service",
                ),
            )
        )
    execution.volatile.workflow_task = WorkflowTask()
    execution.volatile.sticky = Sticky()
    turn.dirty = True


def unpause(turn: Turn, *, identity: str, reason: str, request_id: str) -> None:
    """Go on, with a workflow task and all activities whose attempts wait.

    Raises:
        RunClosed: it is closed.
        NotNow: it is not paused.
    """
    execution = turn.execution
    if not execution.running:
        raise RunClosed("workflow execution already completed")
    if execution.paused is None:
        raise NotNow("workflow is not paused.")
    turn.add(
        turn.event(
            _E.EVENT_TYPE_WORKFLOW_EXECUTION_UNPAUSED,
            workflow_execution_unpaused_event_attributes=WorkflowExecutionUnpausedEventAttributes(
                identity=identity, reason=reason, request_id=request_id
            ),
            worker_may_ignore=True,
        )
    )
    turn.ask(UpdateVisibility())
    turn.meter("unpause_workflow")
    for pending in execution.activities.values():
        if activities.waits(pending):
            activities.offer(turn, pending)
    workflow_task.schedule(turn, early=execution.cancel_requested)
    push(execution, kinds.FIRST_WORKFLOW_TASK, 0, workflow_task.due_first(execution, 0))
