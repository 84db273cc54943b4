"""Child workflows as their parent sees them: intent → started (or not) → one of five ends."""

from __future__ import annotations

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, StartChildWorkflowExecutionFailedCause, WorkflowExecutionStatus
from temporalio.api.history.v1 import (
    ChildWorkflowExecutionCanceledEventAttributes,
    ChildWorkflowExecutionCompletedEventAttributes,
    ChildWorkflowExecutionFailedEventAttributes,
    ChildWorkflowExecutionStartedEventAttributes,
    ChildWorkflowExecutionTerminatedEventAttributes,
    ChildWorkflowExecutionTimedOutEventAttributes,
    HistoryEvent,
    StartChildWorkflowExecutionFailedEventAttributes,
)

from cloud.engine.core import workflow_task
from cloud.engine.core.effects import StartChild
from cloud.engine.core.state import Child, Execution
from cloud.engine.core.turn import Turn

_E = EventType
_S = WorkflowExecutionStatus

_END_FIELDS = (
    "child_workflow_execution_completed_event_attributes",
    "child_workflow_execution_failed_event_attributes",
    "child_workflow_execution_canceled_event_attributes",
    "child_workflow_execution_timed_out_event_attributes",
    "child_workflow_execution_terminated_event_attributes",
)


def _apply_initiated(execution: Execution, event: HistoryEvent) -> None:
    execution.children[event.event_id] = Child(
        event.event_id,
        event.start_child_workflow_execution_initiated_event_attributes,
        event.user_metadata.SerializeToString() if event.HasField("user_metadata") else b"",
    )


def _apply_start_failed(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.start_child_workflow_execution_failed_event_attributes
    del execution.children[attributes.initiated_event_id]
    execution.drop_intent(attributes.initiated_event_id)


def _apply_started(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.child_workflow_execution_started_event_attributes
    child = execution.children[attributes.initiated_event_id]
    child.started_event_id = event.event_id
    child.run_id = attributes.workflow_execution.run_id


def _apply_ended(execution: Execution, event: HistoryEvent) -> None:
    for name in _END_FIELDS:
        if event.HasField(name):  # type: ignore[arg-type]
            attributes = getattr(event, name)
            child = execution.children.pop(attributes.initiated_event_id)
            attributes.started_event_id = child.started_event_id
            execution.drop_intent(attributes.initiated_event_id)


APPLY = {
    _E.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED: _apply_initiated,
    _E.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED: _apply_start_failed,
    _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED: _apply_started,
    _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED: _apply_ended,
    _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED: _apply_ended,
    _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED: _apply_ended,
    _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT: _apply_ended,
    _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED: _apply_ended,
}


def mark_buffered(execution: Execution, event: HistoryEvent) -> None:
    """What waits in the buffer has happened: a child does not start or end twice."""
    if event.HasField("child_workflow_execution_started_event_attributes"):
        started = event.child_workflow_execution_started_event_attributes
        execution.children[started.initiated_event_id].run_id = started.workflow_execution.run_id
    elif event.HasField("start_child_workflow_execution_failed_event_attributes"):
        key = event.start_child_workflow_execution_failed_event_attributes.initiated_event_id
        execution.children[key].closing = True
    for name in _END_FIELDS:
        if event.HasField(name):  # type: ignore[arg-type]
            execution.children[getattr(event, name).initiated_event_id].closing = True


def initiate(turn: Turn, event: HistoryEvent) -> None:
    """Write the intent to start a child, and ask for it."""
    initiated_event_id = turn.append(event)
    turn.meter("start_child_workflow")
    turn.ask(StartChild(initiated_event_id))


def awaiting_start(execution: Execution, initiated_event_id: int) -> Child | None:
    """The child that is still to be started, if it is."""
    child = execution.children.get(initiated_event_id)
    return None if child is None or child.closing or child.run_id else child


def started(turn: Turn, initiated_event_id: int, run_id: str) -> None:
    """The child runs."""
    child = awaiting_start(turn.execution, initiated_event_id)
    if child is None or not turn.execution.running:
        return
    intent = child.initiated
    turn.add(
        turn.event(
            _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED,
            child_workflow_execution_started_event_attributes=ChildWorkflowExecutionStartedEventAttributes(
                namespace=intent.namespace,
                namespace_id=intent.namespace_id,
                initiated_event_id=initiated_event_id,
                workflow_execution=WorkflowExecution(workflow_id=intent.workflow_id, run_id=run_id),
                workflow_type=intent.workflow_type,
                header=intent.header if intent.HasField("header") else None,
            ),
        )
    )
    workflow_task.schedule(turn)


def start_failed(
    turn: Turn, initiated_event_id: int, cause: StartChildWorkflowExecutionFailedCause.ValueType
) -> None:
    """The child could not be started."""
    child = awaiting_start(turn.execution, initiated_event_id)
    if child is None or not turn.execution.running:
        return
    intent = child.initiated
    turn.add(
        turn.event(
            _E.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED,
            start_child_workflow_execution_failed_event_attributes=StartChildWorkflowExecutionFailedEventAttributes(
                namespace=intent.namespace,
                namespace_id=intent.namespace_id,
                workflow_id=intent.workflow_id,
                workflow_type=intent.workflow_type,
                cause=cause,
                control=intent.control,
                initiated_event_id=initiated_event_id,
            ),
        )
    )
    workflow_task.schedule(turn)


def ended(
    turn: Turn, initiated_event_id: int, first_run_id: str, run_id: str, close_event: HistoryEvent
) -> None:
    """The child's last run `run_id`, of a chain that began with `first_run_id`, ended with `close_event`.

    Telling it twice, or of a child that is not this run's, does nothing.
    """
    execution = turn.execution
    child = execution.children.get(initiated_event_id)
    if not execution.running or child is None or child.closing or child.run_id not in ("", first_run_id):
        return
    if not child.run_id:
        # The child ended before its parent heard that it had started.
        started(turn, initiated_event_id, first_run_id)
    turn.add(_end_event(turn, child, run_id, close_event))
    workflow_task.schedule(turn)


def _end_event(turn: Turn, child: Child, run_id: str, close_event: HistoryEvent) -> HistoryEvent:
    intent = child.initiated
    execution = WorkflowExecution(workflow_id=intent.workflow_id, run_id=run_id)
    if close_event.HasField("workflow_execution_completed_event_attributes"):
        completed = close_event.workflow_execution_completed_event_attributes
        return turn.event(
            _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED,
            child_workflow_execution_completed_event_attributes=ChildWorkflowExecutionCompletedEventAttributes(
                result=completed.result if completed.HasField("result") else None,
                namespace=intent.namespace,
                namespace_id=intent.namespace_id,
                workflow_execution=execution,
                workflow_type=intent.workflow_type,
                initiated_event_id=child.initiated_event_id,
            ),
        )
    if close_event.HasField("workflow_execution_failed_event_attributes"):
        failed = close_event.workflow_execution_failed_event_attributes
        return turn.event(
            _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED,
            child_workflow_execution_failed_event_attributes=ChildWorkflowExecutionFailedEventAttributes(
                failure=failed.failure,
                namespace=intent.namespace,
                namespace_id=intent.namespace_id,
                workflow_execution=execution,
                workflow_type=intent.workflow_type,
                initiated_event_id=child.initiated_event_id,
                retry_state=failed.retry_state,
            ),
        )
    if close_event.HasField("workflow_execution_canceled_event_attributes"):
        canceled = close_event.workflow_execution_canceled_event_attributes
        return turn.event(
            _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED,
            child_workflow_execution_canceled_event_attributes=ChildWorkflowExecutionCanceledEventAttributes(
                details=canceled.details if canceled.HasField("details") else None,
                namespace=intent.namespace,
                namespace_id=intent.namespace_id,
                workflow_execution=execution,
                workflow_type=intent.workflow_type,
                initiated_event_id=child.initiated_event_id,
            ),
        )
    if close_event.HasField("workflow_execution_timed_out_event_attributes"):
        return turn.event(
            _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT,
            child_workflow_execution_timed_out_event_attributes=ChildWorkflowExecutionTimedOutEventAttributes(
                namespace=intent.namespace,
                namespace_id=intent.namespace_id,
                workflow_execution=execution,
                workflow_type=intent.workflow_type,
                initiated_event_id=child.initiated_event_id,
                retry_state=close_event.workflow_execution_timed_out_event_attributes.retry_state,
            ),
        )
    return turn.event(
        _E.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED,
        child_workflow_execution_terminated_event_attributes=ChildWorkflowExecutionTerminatedEventAttributes(
            namespace=intent.namespace,
            namespace_id=intent.namespace_id,
            workflow_execution=execution,
            workflow_type=intent.workflow_type,
            initiated_event_id=child.initiated_event_id,
        ),
    )
