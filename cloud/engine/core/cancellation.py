"""A request, from outside, that a run cancel itself. Its code decides what that means."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.api.common.v1 import Link, WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionCancelRequestedEventAttributes

from cloud.engine.core import workflow_task
from cloud.engine.core.state import Execution
from cloud.engine.core.turn import Turn

_E = EventType


def _apply_requested(execution: Execution, event: HistoryEvent) -> None:
    execution.cancel_requested = True


APPLY = {_E.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED: _apply_requested}


def mark_buffered(execution: Execution, event: HistoryEvent) -> None:
    """A request in the buffer is a request: a second one adds nothing."""
    if event.event_type == _E.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
        execution.cancel_requested = True


def request(
    turn: Turn,
    *,
    reason: str,
    identity: str,
    external_initiated_event_id: int = 0,
    sender: WorkflowExecution | None = None,
    links: Sequence[Link] = (),
) -> None:
    """Ask the run to cancel itself; asking again changes nothing.

    Of a closed run it is no error either: what is asked for has come to pass.
    """
    execution = turn.execution
    if not execution.running or execution.cancel_requested:
        return
    event = turn.event(
        _E.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED,
        workflow_execution_cancel_requested_event_attributes=WorkflowExecutionCancelRequestedEventAttributes(
            cause=reason,
            external_initiated_event_id=external_initiated_event_id,
            external_workflow_execution=sender,
            identity=identity,
        ),
    )
    event.links.extend(links)
    turn.add(event)
    workflow_task.schedule(turn, early=True)
