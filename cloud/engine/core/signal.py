"""Signals received: from clients, from other workflows, or together with a start."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.api.common.v1 import Header, Link, Payloads, WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionSignaledEventAttributes

from cloud.engine.core import workflow_task
from cloud.engine.core.errors import LimitExceeded, RunClosed
from cloud.engine.core.state import Execution
from cloud.engine.core.turn import Turn

_E = EventType


def _apply_signaled(execution: Execution, event: HistoryEvent) -> None:
    execution.signal_count += 1
    request_id = event.workflow_execution_signaled_event_attributes.request_id
    if request_id:
        execution.signal_request_ids.add(request_id)


APPLY = {_E.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: _apply_signaled}


def mark_buffered(execution: Execution, event: HistoryEvent) -> None:
    """A signal in the buffer is received: its request id is known from then on."""
    if event.event_type == _E.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
        request_id = event.workflow_execution_signaled_event_attributes.request_id
        if request_id:
            execution.signal_request_ids.add(request_id)


def receive(
    turn: Turn,
    *,
    name: str,
    input: Payloads | None,  # noqa: A002 - the protocol's word
    identity: str,
    request_id: str = "",
    header: Header | None = None,
    links: Sequence[Link] = (),
    sender: WorkflowExecution | None = None,
    meter: str = "signal_workflow",
) -> bool:
    """Add a signal. False if its request id was seen before: then nothing happens.

    Raises:
        RunClosed: the run is not open.
        LimitExceeded: it has received as many signals as a run may.
    """
    execution = turn.execution
    if not execution.running:
        raise RunClosed("workflow execution already completed")
    if request_id and request_id in execution.signal_request_ids:
        return False
    limit = turn.around.limits.signals_received
    if execution.signal_count + len(execution.buffered) >= limit:
        raise LimitExceeded("exceeded workflow execution limit for signal events")
    event = turn.event(
        _E.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
        workflow_execution_signaled_event_attributes=WorkflowExecutionSignaledEventAttributes(
            signal_name=name,
            input=input,
            identity=identity,
            header=header,
            external_workflow_execution=sender,
            request_id=request_id,
        ),
    )
    event.links.extend(links)
    turn.add(event)
    if meter:
        turn.meter(meter)
    workflow_task.schedule(turn)
    return True
