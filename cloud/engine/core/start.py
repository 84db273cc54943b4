"""The first event of a run, and what the next run of a chain begins with.

A chain is what one start leads to: runs that follow one another by continue-as-new, retry or cron. The execution timeout
and `first_execution_run_id` belong to the chain, the run timeout to the run.
"""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.api.common.v1 import Link, Payloads
from temporalio.api.enums.v1 import ContinueAsNewInitiator, EventType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes
from temporalio.api.sdk.v1 import UserMetadata

from cloud.engine.core import (
    callback,
    older_versioning,
    options,
    reset,
    run_clock,
    versioning,
    workflow_task,
)
from cloud.engine.core import deadline_kinds as kinds
from cloud.engine.core.clock import duration, to_ns
from cloud.engine.core.deadlines import push
from cloud.engine.core.effects import UpdateVisibility
from cloud.engine.core.state import Execution, RequestEvent
from cloud.engine.core.turn import Turn

_E = EventType


def _apply_started(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.workflow_execution_started_event_attributes
    execution.started = attributes
    execution.start_time = execution.original_start_time = to_ns(event.event_time)
    reset.inherit_points(execution, attributes)
    execution.memo.update(attributes.memo.fields)
    execution.search_attributes.update(attributes.search_attributes.indexed_fields)
    if event.HasField("user_metadata"):
        execution.user_metadata = event.user_metadata.SerializeToString()
    options.begin(execution, attributes)
    callback.begin(execution, event)
    run_clock.begin(execution, attributes, execution.start_time)
    versioning.begin(execution, attributes)
    older_versioning.begin(execution, attributes)


def _apply_options_updated(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.workflow_execution_options_updated_event_attributes
    if attributes.attached_request_id:
        execution.attached_request_ids[attributes.attached_request_id] = RequestEvent(
            event.event_id, event.event_type
        )
    if attributes.attached_completion_callbacks:
        started = WorkflowExecutionStartedEventAttributes()  # readers have the first event itself
        started.CopyFrom(execution.started)
        started.completion_callbacks.extend(attributes.attached_completion_callbacks)
        execution.started = started
        callback.attached(execution, event)
    callback.attached_to_updates(execution, event)
    options.fold(execution, event)


APPLY = {
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED: _apply_started,
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED: _apply_options_updated,
}


def begin(
    turn: Turn,
    attributes: WorkflowExecutionStartedEventAttributes,
    *,
    request_id: str,
    meter: str,
    links: Sequence[Link] = (),
    user_metadata: bytes = b"",
) -> None:
    """Write the first event of a run; its first workflow task follows when its backoff, if any, is over.

    `meter` is the kind of usage that this start is, empty for none.
    """
    execution = turn.execution
    turn.now += to_ns(attributes.time_skipping_state_propagation.initial_skipped_duration)
    event = turn.event(
        _E.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, workflow_execution_started_event_attributes=attributes
    )
    event.links.extend(links)
    if user_metadata:
        event.user_metadata.CopyFrom(UserMetadata.FromString(user_metadata))
    execution.volatile.start_request_id = request_id
    turn.append(event)
    for kind, due in (
        (kinds.RUN_TIMEOUT, due_run_timeout),
        (kinds.EXECUTION_TIMEOUT, due_execution_timeout),
        (kinds.FIRST_WORKFLOW_TASK, workflow_task.due_first),
        (kinds.FAST_FORWARD, run_clock.due_fast_forward),
    ):
        push(execution, kind, 0, due(execution, 0))
    turn.ask(UpdateVisibility())
    if meter:
        turn.meter(meter)


def mark_buffered(execution: Execution, event: HistoryEvent) -> None:
    """What a second start attached, or people changed, is known from the moment it waits in the buffer; its event has no id yet."""
    if event.event_type == _E.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED:
        attributes = event.workflow_execution_options_updated_event_attributes
        for request_id in (
            attributes.attached_request_id,
            *(wanted.attached_request_id for wanted in attributes.workflow_update_options),
        ):
            if request_id:
                execution.attached_request_ids[request_id] = RequestEvent(0, event.event_type)
        options.fold(execution, event)


def attach(turn: Turn, event: HistoryEvent) -> None:
    """A second start with options for the open run: note what it attached.

    Raises:
        NotNow: it has too many callbacks already.
    """
    attributes = event.workflow_execution_options_updated_event_attributes
    callback.check_room(turn, len(attributes.attached_completion_callbacks))
    turn.add(event)


def next_run(
    execution: Execution,
    *,
    run_id: str,
    initiator: ContinueAsNewInitiator.ValueType,
    backoff: int,
    failure: Failure | None,
    last_completion_result: Payloads | None,
    attempt: int,
    now: int,
    retention: int,
) -> WorkflowExecutionStartedEventAttributes:
    """What the run after `execution`, which closes `now`, begins with: what it began with itself, memo and search attributes too."""
    attributes = WorkflowExecutionStartedEventAttributes()
    attributes.CopyFrom(execution.started)
    attributes.continued_execution_run_id = execution.key.run_id
    attributes.initiator = initiator
    attributes.original_execution_run_id = run_id
    attributes.first_workflow_task_backoff.CopyFrom(duration(backoff))
    attributes.attempt = attempt
    attributes.ClearField("continued_failure")
    if failure is not None:
        attributes.continued_failure.CopyFrom(failure)
    if last_completion_result is not None:
        attributes.last_completion_result.CopyFrom(last_completion_result)
    reset.hand_on_points(execution, attributes, now=now, retention=retention)
    options.inherit(execution, attributes)
    run_clock.pass_on_to_next_run(execution, attributes)
    retried = initiator == ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_RETRY
    versioning.pass_on(execution, attributes, retried=retried)
    older_versioning.pass_on(execution, attributes, retried=retried)
    attributes.eager_execution_accepted = False
    attributes.identity = ""  # nobody called for it
    return attributes


# --- deadlines --------------------------------------------------------------------------------------------------


def _backoff(execution: Execution) -> int:
    return to_ns(execution.started.first_workflow_task_backoff)


def due_run_timeout(execution: Execution, _: int | str) -> int:
    """When the run times out: its run timeout counts from the end of its backoff."""
    timeout = to_ns(execution.started.workflow_run_timeout)
    if not execution.running or not timeout:
        return 0
    return execution.start_time + _backoff(execution) + timeout


def due_execution_timeout(execution: Execution, _: int | str) -> int:
    """When the whole chain times out."""
    if not execution.running or not execution.started.HasField("workflow_execution_expiration_time"):
        return 0
    return to_ns(execution.started.workflow_execution_expiration_time)


def first_task_due(turn: Turn, _: int | str) -> None:
    """The backoff is over."""
    workflow_task.schedule(turn)
