"""Signals and cancel requests that a workflow sends to another: initiated → delivered or failed."""

from __future__ import annotations

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import (
    CancelExternalWorkflowExecutionFailedCause,
    EventType,
    SignalExternalWorkflowExecutionFailedCause,
)
from temporalio.api.history.v1 import (
    ExternalWorkflowExecutionCancelRequestedEventAttributes,
    ExternalWorkflowExecutionSignaledEventAttributes,
    HistoryEvent,
    RequestCancelExternalWorkflowExecutionFailedEventAttributes,
    SignalExternalWorkflowExecutionFailedEventAttributes,
)

from cloud.engine.core import workflow_task
from cloud.engine.core.effects import CancelExternal, SignalExternal
from cloud.engine.core.state import Execution, ExternalCancel, ExternalSignal
from cloud.engine.core.turn import Turn

_E = EventType


def _apply_signal_initiated(execution: Execution, event: HistoryEvent) -> None:
    execution.external_signals[event.event_id] = ExternalSignal(
        event.event_id, event.signal_external_workflow_execution_initiated_event_attributes
    )


def _apply_signal_failed(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.signal_external_workflow_execution_failed_event_attributes
    del execution.external_signals[attributes.initiated_event_id]
    execution.drop_intent(attributes.initiated_event_id)


def _apply_signaled(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.external_workflow_execution_signaled_event_attributes
    del execution.external_signals[attributes.initiated_event_id]
    execution.drop_intent(attributes.initiated_event_id)


def _apply_cancel_initiated(execution: Execution, event: HistoryEvent) -> None:
    execution.external_cancels[event.event_id] = ExternalCancel(
        event.event_id, event.request_cancel_external_workflow_execution_initiated_event_attributes
    )


def _apply_cancel_failed(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.request_cancel_external_workflow_execution_failed_event_attributes
    del execution.external_cancels[attributes.initiated_event_id]
    execution.drop_intent(attributes.initiated_event_id)


def _apply_cancel_requested(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.external_workflow_execution_cancel_requested_event_attributes
    del execution.external_cancels[attributes.initiated_event_id]
    execution.drop_intent(attributes.initiated_event_id)


APPLY = {
    _E.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED: _apply_signal_initiated,
    _E.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED: _apply_signal_failed,
    _E.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_SIGNALED: _apply_signaled,
    _E.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED: _apply_cancel_initiated,
    _E.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED: _apply_cancel_failed,
    _E.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED: _apply_cancel_requested,
}


def mark_buffered(execution: Execution, event: HistoryEvent) -> None:
    """An outcome in the buffer is an outcome: there will be no second."""
    if event.HasField("signal_external_workflow_execution_failed_event_attributes"):
        key = event.signal_external_workflow_execution_failed_event_attributes.initiated_event_id
        execution.external_signals[key].closing = True
    elif event.HasField("external_workflow_execution_signaled_event_attributes"):
        key = event.external_workflow_execution_signaled_event_attributes.initiated_event_id
        execution.external_signals[key].closing = True
    elif event.HasField("request_cancel_external_workflow_execution_failed_event_attributes"):
        key = event.request_cancel_external_workflow_execution_failed_event_attributes.initiated_event_id
        execution.external_cancels[key].closing = True
    elif event.HasField("external_workflow_execution_cancel_requested_event_attributes"):
        key = event.external_workflow_execution_cancel_requested_event_attributes.initiated_event_id
        execution.external_cancels[key].closing = True


def initiate_signal(turn: Turn, event: HistoryEvent) -> None:
    """Write the intent to signal, and ask for it."""
    initiated_event_id = turn.append(event)
    turn.meter("signal_external_workflow")
    turn.ask(SignalExternal(initiated_event_id))


def initiate_cancel(turn: Turn, event: HistoryEvent) -> None:
    """Write the intent to cancel, and ask for it."""
    turn.ask(CancelExternal(turn.append(event)))


def signal_outcome(
    turn: Turn,
    initiated_event_id: int,
    failed: SignalExternalWorkflowExecutionFailedCause.ValueType | None,
) -> None:
    """The signal was delivered, or `failed`. A second outcome of the same signal is ignored."""
    execution = turn.execution
    pending = execution.external_signals.get(initiated_event_id)
    if not execution.running or pending is None or pending.closing:
        return
    intent = pending.initiated
    target = WorkflowExecution(
        workflow_id=intent.workflow_execution.workflow_id, run_id=intent.workflow_execution.run_id
    )
    if failed is None:
        event = turn.event(
            _E.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_SIGNALED,
            external_workflow_execution_signaled_event_attributes=ExternalWorkflowExecutionSignaledEventAttributes(
                initiated_event_id=initiated_event_id,
                namespace=turn.around.namespace,
                namespace_id=intent.namespace_id,
                workflow_execution=target,
                control=intent.control,
            ),
        )
    else:
        event = turn.event(
            _E.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED,
            signal_external_workflow_execution_failed_event_attributes=SignalExternalWorkflowExecutionFailedEventAttributes(
                cause=failed,
                initiated_event_id=initiated_event_id,
                namespace=turn.around.namespace,
                namespace_id=intent.namespace_id,
                workflow_execution=target,
                control=intent.control,
            ),
        )
    turn.add(event)
    workflow_task.schedule(turn)


def cancel_outcome(
    turn: Turn,
    initiated_event_id: int,
    failed: CancelExternalWorkflowExecutionFailedCause.ValueType | None,
) -> None:
    """The cancel request was delivered, or `failed`. A second outcome of the same request is ignored."""
    execution = turn.execution
    pending = execution.external_cancels.get(initiated_event_id)
    if not execution.running or pending is None or pending.closing:
        return
    intent = pending.initiated
    target = WorkflowExecution(
        workflow_id=intent.workflow_execution.workflow_id, run_id=intent.workflow_execution.run_id
    )
    if failed is None:
        event = turn.event(
            _E.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED,
            external_workflow_execution_cancel_requested_event_attributes=ExternalWorkflowExecutionCancelRequestedEventAttributes(
                initiated_event_id=initiated_event_id,
                namespace=turn.around.namespace,
                namespace_id=intent.namespace_id,
                workflow_execution=target,
            ),
        )
    else:
        event = turn.event(
            _E.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED,
            request_cancel_external_workflow_execution_failed_event_attributes=RequestCancelExternalWorkflowExecutionFailedEventAttributes(
                cause=failed,
                initiated_event_id=initiated_event_id,
                namespace=turn.around.namespace,
                namespace_id=intent.namespace_id,
                workflow_execution=target,
                control=intent.control,
            ),
        )
    turn.add(event)
    workflow_task.schedule(turn)
