"""The ends of a run: completed, failed, cancelled, timed out, terminated, continued as new; and whether another run follows."""

from __future__ import annotations

from typing import Any

from temporalio.api.command.v1 import ContinueAsNewWorkflowExecutionCommandAttributes
from temporalio.api.common.v1 import Link, Payloads
from temporalio.api.enums.v1 import (
    ContinueAsNewInitiator,
    EventType,
    RetryState,
    TimeoutType,
    WorkflowExecutionStatus,
    WorkflowTaskFailedCause,
)
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowExecutionCanceledEventAttributes,
    WorkflowExecutionCompletedEventAttributes,
    WorkflowExecutionContinuedAsNewEventAttributes,
    WorkflowExecutionFailedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
    WorkflowExecutionTerminatedEventAttributes,
    WorkflowExecutionTimedOutEventAttributes,
)

from cloud.engine.core import callback, older_versioning, retry, start, versioning, workflow_task
from cloud.engine.core.clock import SECOND, to_ns
from cloud.engine.core.effects import PropagateClose, StartNextRun, UpdateVisibility
from cloud.engine.core.errors import RunClosed
from cloud.engine.core.state import Execution, WorkflowTask
from cloud.engine.core.turn import Turn

_E = EventType
_S = WorkflowExecutionStatus
_R = RetryState
_I = ContinueAsNewInitiator

CONTINUE_AS_NEW_MIN_INTERVAL = SECOND
"""Runs of a chain begin at least this far apart: one that ends sooner holds back the next (as the real server does)."""

STATUS_OF = {
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: _S.WORKFLOW_EXECUTION_STATUS_COMPLETED,
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: _S.WORKFLOW_EXECUTION_STATUS_FAILED,
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: _S.WORKFLOW_EXECUTION_STATUS_CANCELED,
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: _S.WORKFLOW_EXECUTION_STATUS_TERMINATED,
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: _S.WORKFLOW_EXECUTION_STATUS_TIMED_OUT,
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW: _S.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW,
}


def _apply_closed(execution: Execution, event: HistoryEvent) -> None:
    execution.status = STATUS_OF[event.event_type]
    execution.close_time = to_ns(event.event_time)
    execution.close_event_id = event.event_id
    execution.next_run_id = new_run_id_of(event)
    execution.volatile.workflow_task = WorkflowTask()


APPLY = dict.fromkeys(STATUS_OF, _apply_closed)


def new_run_id_of(event: HistoryEvent) -> str:
    """The run that a closing event says follows, empty for none."""
    attributes = getattr(event, event.WhichOneof("attributes") or "")
    return str(getattr(attributes, "new_execution_run_id", ""))


# --- by the workflow's own commands -----------------------------------------------------------------------------


def complete(turn: Turn, result: Payloads | None, workflow_task_completed_event_id: int) -> None:
    """The workflow returned; with a cron schedule, its next run follows."""
    execution = turn.execution
    run_id, delay = "", _cron_delay(turn)
    if delay >= 0:
        run_id = turn.around.ids.run_id()
    _close(
        turn,
        _E.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
        workflow_execution_completed_event_attributes=WorkflowExecutionCompletedEventAttributes(
            result=result,
            workflow_task_completed_event_id=workflow_task_completed_event_id,
            new_execution_run_id=run_id,
        ),
    )
    if run_id:
        _follow(
            turn,
            run_id,
            start.next_run(
                execution,
                run_id=run_id,
                initiator=_I.CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE,
                backoff=delay,
                failure=None,
                last_completion_result=result,
                attempt=1,
                now=turn.now,
                retention=turn.around.retention,
            ),
            "start_workflow_cron",
        )


def fail(turn: Turn, failure: Failure, workflow_task_completed_event_id: int) -> None:
    """The workflow failed: its retry policy, then its cron schedule, say whether another run follows."""
    run_id, state = _continue_after_failure(turn, failure)
    next_attributes = None
    if run_id:
        next_attributes = _next_after_failure(turn, run_id, state, failure)
    _close(
        turn,
        _E.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
        workflow_execution_failed_event_attributes=WorkflowExecutionFailedEventAttributes(
            failure=failure,
            retry_state=state,
            workflow_task_completed_event_id=workflow_task_completed_event_id,
            new_execution_run_id=run_id,
        ),
    )
    if next_attributes is not None:
        _follow(turn, run_id, next_attributes, _meter_of(next_attributes.initiator))


def cancel(turn: Turn, details: Payloads | None, workflow_task_completed_event_id: int) -> None:
    """The workflow accepted its cancellation."""
    _close(
        turn,
        _E.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
        workflow_execution_canceled_event_attributes=WorkflowExecutionCanceledEventAttributes(
            workflow_task_completed_event_id=workflow_task_completed_event_id, details=details
        ),
    )


def continue_as_new(
    turn: Turn,
    command: ContinueAsNewWorkflowExecutionCommandAttributes,
    workflow_task_completed_event_id: int,
) -> None:
    """The workflow asks to go on in a new run, with the input, type and queue that it names."""
    execution = turn.execution
    run_id = turn.around.ids.run_id()
    backoff = _held_back(turn, to_ns(command.backoff_start_interval))
    initiator = command.initiator or _I.CONTINUE_AS_NEW_INITIATOR_WORKFLOW
    attributes = start.next_run(
        execution,
        run_id=run_id,
        initiator=initiator,
        backoff=backoff,
        failure=command.failure if command.HasField("failure") else None,
        last_completion_result=(
            command.last_completion_result if command.HasField("last_completion_result") else None
        ),
        attempt=1,
        now=turn.now,
        retention=turn.around.retention,
    )
    if command.workflow_type.name:
        attributes.workflow_type.CopyFrom(command.workflow_type)
    if command.task_queue.name:
        attributes.task_queue.name = command.task_queue.name
    for name in ("input", "header", "memo", "search_attributes"):
        attributes.ClearField(name)
        if command.HasField(name):
            getattr(attributes, name).CopyFrom(getattr(command, name))
    for name in ("workflow_run_timeout", "workflow_task_timeout"):
        if to_ns(getattr(command, name)):
            getattr(attributes, name).CopyFrom(getattr(command, name))
    attributes.workflow_run_timeout.SetInParent()
    if not backoff and not command.HasField("backoff_start_interval"):
        attributes.ClearField("first_workflow_task_backoff")
    attributes.ClearField("retry_policy")
    if command.HasField("retry_policy"):
        attributes.retry_policy.CopyFrom(retry.with_defaults(command.retry_policy, turn.around.limits))
    attributes.cron_schedule = command.cron_schedule
    versioning.pass_on_continued(execution, attributes, command.initial_versioning_behavior, turn.around)
    older_versioning.pass_to_next(execution, attributes, inherit=command.inherit_build_id)
    event_attributes = WorkflowExecutionContinuedAsNewEventAttributes(
        new_execution_run_id=run_id,
        workflow_type=attributes.workflow_type,
        task_queue=attributes.task_queue,
        workflow_run_timeout=attributes.workflow_run_timeout,
        workflow_task_timeout=attributes.workflow_task_timeout,
        workflow_task_completed_event_id=workflow_task_completed_event_id,
        backoff_start_interval=(
            command.backoff_start_interval if command.HasField("backoff_start_interval") else None
        ),
        initiator=command.initiator,
        inherit_build_id=command.inherit_build_id,
        initial_versioning_behavior=command.initial_versioning_behavior,
    )
    for name in ("input", "failure", "last_completion_result", "header", "memo", "search_attributes"):
        if command.HasField(name):  # type: ignore[arg-type]
            getattr(event_attributes, name).CopyFrom(getattr(command, name))
    _close(
        turn,
        _E.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW,
        workflow_execution_continued_as_new_event_attributes=event_attributes,
    )
    _follow(turn, run_id, attributes, "continue_as_new_workflow")


def enforce_limits(turn: Turn) -> None:
    """A run that outgrew its limits ends (as the real server has it: terminated, with the reason)."""
    execution, limits = turn.execution, turn.around.limits
    if not execution.running:
        return
    if execution.history_size > limits.history_size_error:
        outgrown = "history size"
    elif execution.next_event_id - 1 > limits.history_count_error:
        outgrown = "history count"
    elif execution.progress_size + execution.buffered_size > limits.mutable_state_size_error:
        outgrown = "mutable state size"
    else:
        return
    terminate(turn, reason=f"Workflow {outgrown} exceeds limit.", details=None, identity="history-service")


# --- from outside -----------------------------------------------------------------------------------------------


def terminate(
    turn: Turn, *, reason: str, details: Payloads | None, identity: str, links: list[Link] | None = None
) -> None:
    """End the run at once; its code is not asked.

    Raises:
        RunClosed: it is closed already.
    """
    if not turn.execution.running:
        raise RunClosed("workflow execution already completed")
    _drop_workflow_task(turn)
    event = turn.event(
        _E.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
        workflow_execution_terminated_event_attributes=WorkflowExecutionTerminatedEventAttributes(
            reason=reason, details=details, identity=identity
        ),
    )
    event.links.extend(links or ())
    _write_close(turn, event)


def run_timed_out(turn: Turn, _: int | str) -> None:
    """The run's time is over; like a failure, it may be retried or be followed by the next cron run."""
    failure = Failure(message="workflow timeout", source="Server")
    failure.timeout_failure_info.timeout_type = TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE
    _drop_workflow_task(turn)
    run_id, state = _continue_after_failure(turn, failure)
    next_attributes = None
    if run_id:
        next_attributes = _next_after_failure(turn, run_id, state, failure)
    _close(
        turn,
        _E.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
        workflow_execution_timed_out_event_attributes=WorkflowExecutionTimedOutEventAttributes(
            retry_state=state, new_execution_run_id=run_id
        ),
    )
    if next_attributes is not None:
        _follow(turn, run_id, next_attributes, _meter_of(next_attributes.initiator))


def execution_timed_out(turn: Turn, _: int | str) -> None:
    """The chain's time is over: nothing follows."""
    _drop_workflow_task(turn)
    _close(
        turn,
        _E.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
        workflow_execution_timed_out_event_attributes=WorkflowExecutionTimedOutEventAttributes(
            retry_state=_R.RETRY_STATE_TIMEOUT
        ),
    )


def _drop_workflow_task(turn: Turn) -> None:
    if turn.execution.workflow_task_in_flight:
        workflow_task.fail(
            turn,
            cause=WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND,
            failure=None,
            identity="history-service",
            reschedule=False,
        )
    else:
        turn.flush_buffer()


# --- what follows -----------------------------------------------------------------------------------------------


def _close(turn: Turn, event_type: EventType.ValueType, **attributes: Any) -> None:
    _write_close(turn, turn.event(event_type, **attributes))


def _write_close(turn: Turn, event: HistoryEvent) -> None:
    turn.append(event)
    turn.ask(UpdateVisibility())
    turn.ask(PropagateClose())
    callback.closed(turn)


def _follow(turn: Turn, run_id: str, attributes: WorkflowExecutionStartedEventAttributes, meter: str) -> None:
    turn.ask(StartNextRun(run_id, attributes, turn.execution.user_metadata))
    turn.meter(meter)


def _meter_of(initiator: ContinueAsNewInitiator.ValueType) -> str:
    if initiator == _I.CONTINUE_AS_NEW_INITIATOR_RETRY:
        return "start_workflow_retry"
    return "start_workflow_cron"


def _held_back(turn: Turn, delay: int) -> int:
    return max(delay, CONTINUE_AS_NEW_MIN_INTERVAL - (turn.now - turn.execution.start_time), 0)


def _expires_at(execution: Execution) -> int:
    if not execution.started.HasField("workflow_execution_expiration_time"):
        return 0
    return to_ns(execution.started.workflow_execution_expiration_time)


def _cron_delay(turn: Turn) -> int:
    execution = turn.execution
    schedule = execution.started.cron_schedule
    if not schedule:
        return -1
    delay = turn.around.next_cron_delay(schedule, execution.start_time, turn.now)
    expires_at = _expires_at(execution)
    return -1 if expires_at and turn.now + delay > expires_at else delay


def _retry_delay(turn: Turn, failure: Failure) -> tuple[int, RetryState.ValueType]:
    started = turn.execution.started
    if not started.HasField("retry_policy"):
        return -1, _R.RETRY_STATE_RETRY_POLICY_NOT_SET
    return retry.next_delay(
        started.retry_policy,
        attempt=started.attempt,
        now=turn.now,
        expires_at=_expires_at(turn.execution),
        failure=failure,
    )


def _continue_after_failure(turn: Turn, failure: Failure) -> tuple[str, RetryState.ValueType]:
    delay, state = _retry_delay(turn, failure)
    if delay < 0 and _cron_delay(turn) < 0:
        return "", state
    return turn.around.ids.run_id(), state


def _next_after_failure(
    turn: Turn, run_id: str, state: RetryState.ValueType, failure: Failure
) -> WorkflowExecutionStartedEventAttributes:
    execution = turn.execution
    by_retry = state == _R.RETRY_STATE_IN_PROGRESS
    return start.next_run(
        execution,
        run_id=run_id,
        initiator=(
            _I.CONTINUE_AS_NEW_INITIATOR_RETRY if by_retry else _I.CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE
        ),
        backoff=_held_back(turn, _retry_delay(turn, failure)[0]) if by_retry else _cron_delay(turn),
        failure=failure,
        last_completion_result=None,
        attempt=execution.started.attempt + 1 if by_retry else 1,
        now=turn.now,
        retention=turn.around.retention,
    )
