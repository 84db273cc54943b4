"""Nexus operations: scheduled → calls to the handler → done at once, or started → completed, failed, canceled or timed out.

An operation is a call of something outside the run (a worker of any namespace, or a service behind a URL), so it is made again until the
handler answers: the attempts are its progress, kept beside the history. A handler that started something answers with a token; what
becomes of it arrives later as a completion, possibly before that answer. A request to cancel is a call of its own, made once the operation
has started; the operation ends when its completion says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zlib import crc32

from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import EventType, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    HistoryEvent,
    NexusOperationCanceledEventAttributes,
    NexusOperationCancelRequestCompletedEventAttributes,
    NexusOperationCancelRequestedEventAttributes,
    NexusOperationCancelRequestFailedEventAttributes,
    NexusOperationCompletedEventAttributes,
    NexusOperationFailedEventAttributes,
    NexusOperationStartedEventAttributes,
    NexusOperationTimedOutEventAttributes,
)

from cloud.engine.core import deadline_kinds as kinds
from cloud.engine.core import workflow_task
from cloud.engine.core.clock import SECOND, timestamp, to_ns
from cloud.engine.core.deadlines import push
from cloud.engine.core.effects import CancelNexusOperation, StartNexusOperation
from cloud.engine.core.errors import NoSuchTask, RunClosed
from cloud.engine.core.failures import shortened
from cloud.engine.core.nexus_answers import (
    Answer,
    Outcome,
    OutOfTime,
    Pending,
    Refused,
    Succeeded,
    Unsuccessful,
    no_time_left,
)
from cloud.engine.core.state import Execution, NexusOperation, NexusProgress
from cloud.engine.core.turn import Turn

_E = EventType

RETRY_INTERVAL = SECOND
RETRY_INTERVAL_MAX = 3_600 * SECOND
JITTER = 0.2
"""The part of an interval that is left out at random, so that callers of one handler do not all come back at once."""

_ENDS = (
    "nexus_operation_completed_event_attributes",
    "nexus_operation_failed_event_attributes",
    "nexus_operation_canceled_event_attributes",
    "nexus_operation_timed_out_event_attributes",
)


# --- folding events ---------------------------------------------------------------------------------------------


def _apply_scheduled(execution: Execution, event: HistoryEvent) -> None:
    execution.nexus_operations[event.event_id] = NexusOperation(
        scheduled_event_id=event.event_id,
        scheduled=event.nexus_operation_scheduled_event_attributes,
        scheduled_time=to_ns(event.event_time),
    )


def _apply_started(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.nexus_operation_started_event_attributes
    operation = execution.nexus_operations[attributes.scheduled_event_id]
    operation.started_time = to_ns(event.event_time)
    operation.token = attributes.operation_token or attributes.operation_id


def _apply_cancel_requested(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.nexus_operation_cancel_requested_event_attributes
    operation = execution.nexus_operations.get(attributes.scheduled_event_id)
    if operation is not None:  # else it ended while its worker had not heard of it
        operation.cancel_requested_event_id = event.event_id
        operation.cancel_requested_time = to_ns(event.event_time)


def _apply_cancel_delivered(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.nexus_operation_cancel_request_completed_event_attributes
    operation = execution.nexus_operations.get(attributes.scheduled_event_id)
    if operation is not None:
        operation.cancel_delivered = True


def _apply_cancel_failed(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.nexus_operation_cancel_request_failed_event_attributes
    operation = execution.nexus_operations.get(attributes.scheduled_event_id)
    if operation is not None:
        operation.cancel_failed = True


def _apply_ended(execution: Execution, event: HistoryEvent) -> None:
    scheduled_event_id = _of_end(event)
    del execution.nexus_operations[scheduled_event_id]
    execution.drop_intent(scheduled_event_id)


APPLY = {
    _E.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED: _apply_scheduled,
    _E.EVENT_TYPE_NEXUS_OPERATION_STARTED: _apply_started,
    _E.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUESTED: _apply_cancel_requested,
    _E.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUEST_COMPLETED: _apply_cancel_delivered,
    _E.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUEST_FAILED: _apply_cancel_failed,
    _E.EVENT_TYPE_NEXUS_OPERATION_COMPLETED: _apply_ended,
    _E.EVENT_TYPE_NEXUS_OPERATION_FAILED: _apply_ended,
    _E.EVENT_TYPE_NEXUS_OPERATION_CANCELED: _apply_ended,
    _E.EVENT_TYPE_NEXUS_OPERATION_TIMED_OUT: _apply_ended,
}


def _of_end(event: HistoryEvent) -> int:
    """The operation that an event ends, 0 if it ends none."""
    for name in _ENDS:
        if event.HasField(name):  # type: ignore[arg-type]
            return int(getattr(event, name).scheduled_event_id)
    return 0


def mark_buffered(execution: Execution, event: HistoryEvent) -> None:
    """What happened to an operation is so from the moment that it waits in the buffer."""
    ended = _of_end(event)
    if ended:
        execution.nexus_operations[ended].closing = True
    elif event.event_type in (
        _E.EVENT_TYPE_NEXUS_OPERATION_STARTED,
        _E.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUEST_COMPLETED,
        _E.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUEST_FAILED,
    ):
        APPLY[event.event_type](execution, event)


def applies(execution: Execution, event: HistoryEvent) -> bool:
    """Whether an event about an operation, of another run's history, is one that could happen in this run now."""
    attributes = getattr(event, event.WhichOneof("attributes") or "")
    operation = execution.nexus_operations.get(attributes.scheduled_event_id)
    if operation is None:
        return False
    match event.event_type:
        case _E.EVENT_TYPE_NEXUS_OPERATION_STARTED:
            return not operation.started_time
        case (
            _E.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUEST_COMPLETED
            | _E.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUEST_FAILED
        ):
            told = operation.cancel_delivered or operation.cancel_failed
            return bool(operation.cancel_requested_event_id) and not told
        case _:
            return True


# --- by the workflow's commands ---------------------------------------------------------------------------------


def schedule(turn: Turn, event: HistoryEvent) -> None:
    """Write the intent, and call the handler."""
    scheduled_event_id = turn.append(event)
    turn.meter("schedule_nexus_operation")
    for kind, due in (
        (kinds.NEXUS_SCHEDULE_TO_START, due_schedule_to_start),
        (kinds.NEXUS_SCHEDULE_TO_CLOSE, due_schedule_to_close),
    ):
        push(turn.execution, kind, scheduled_event_id, due(turn.execution, scheduled_event_id))
    turn.ask(StartNexusOperation(scheduled_event_id))


def request_cancel(turn: Turn, event: HistoryEvent) -> None:
    """Write that the workflow wants an operation to end; its handler is told as soon as it has started it."""
    turn.append(event)
    turn.meter("request_nexus_operation_cancellation")
    scheduled_event_id = event.nexus_operation_cancel_requested_event_attributes.scheduled_event_id
    operation = turn.execution.nexus_operations.get(scheduled_event_id)
    if operation is not None and awaits_cancel(operation):
        turn.ask(CancelNexusOperation(scheduled_event_id))


def cancel_requested_attributes(
    scheduled_event_id: int, workflow_task_completed_event_id: int
) -> NexusOperationCancelRequestedEventAttributes:
    """The attributes of the event that `request_cancel` writes."""
    return NexusOperationCancelRequestedEventAttributes(
        scheduled_event_id=scheduled_event_id,
        workflow_task_completed_event_id=workflow_task_completed_event_id,
    )


# --- by its handler ---------------------------------------------------------------------------------------------


def awaits_start(operation: NexusOperation) -> bool:
    """Whether its handler is to be asked to start it, now."""
    waits = not operation.started_time and not operation.closing
    return waits and not operation.progress.next_attempt_time


def awaits_cancel(operation: NexusOperation) -> bool:
    """Whether its handler is to be asked to cancel it, now."""
    asked = bool(operation.cancel_requested_event_id) and not (
        operation.cancel_delivered or operation.cancel_failed
    )
    going_on = bool(operation.started_time) and not operation.closing
    return asked and going_on and not operation.progress.next_cancel_attempt_time


def start_answered(turn: Turn, scheduled_event_id: int, attempt: int, answer: Answer) -> None:
    """The handler answered attempt `attempt` to start the operation. Too late an answer changes nothing."""
    execution = turn.execution
    operation = execution.nexus_operations.get(scheduled_event_id)
    if not execution.running or operation is None or not awaits_start(operation):
        return
    if operation.progress.attempt != attempt:
        return
    match answer:
        case Pending():
            _begin_attempt_end(turn, operation)
            _write_started(turn, operation, answer.token, answer.links, turn.now)
            workflow_task.schedule(turn)
        case Refused(retryable=True):
            progress = _begin_attempt_end(turn, operation)
            progress.last_failure = _kept(turn, answer.failure)
            progress.next_attempt_time = turn.now + _backoff(execution, operation, progress.attempt, "start")
            push(execution, kinds.NEXUS_DISPATCH, scheduled_event_id, progress.next_attempt_time)
        case Refused():
            _end(turn, operation, Unsuccessful(answer.failure))
        case OutOfTime():
            time_out(turn, scheduled_event_id, answer.timeout_type)
        case _:
            _end(turn, operation, answer)


def cancel_answered(turn: Turn, scheduled_event_id: int, attempt: int, answer: Answer) -> None:
    """The handler answered attempt `attempt` to cancel the operation. Too late an answer changes nothing."""
    execution = turn.execution
    operation = execution.nexus_operations.get(scheduled_event_id)
    if not execution.running or operation is None or not awaits_cancel(operation):
        return
    progress = operation.progress
    if progress.cancel_attempt != attempt:
        return
    progress.cancel_attempt += 1
    progress.last_cancel_attempt_complete_time = turn.now
    progress.last_cancel_failure = b""
    turn.nexus_progress(scheduled_event_id)
    match answer:
        case Refused(retryable=True):
            progress.last_cancel_failure = _kept(turn, answer.failure)
            delay = _backoff(execution, operation, progress.cancel_attempt, "cancel")
            progress.next_cancel_attempt_time = turn.now + delay
            push(execution, kinds.NEXUS_CANCEL_DISPATCH, scheduled_event_id, turn.now + delay)
            return
        case Refused() | OutOfTime():
            failure = answer.failure if isinstance(answer, Refused) else no_time_left(answer.timeout_type)
            progress.last_cancel_failure = _kept(turn, failure)
            event = turn.event(
                _E.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUEST_FAILED,
                nexus_operation_cancel_request_failed_event_attributes=NexusOperationCancelRequestFailedEventAttributes(
                    requested_event_id=operation.cancel_requested_event_id,
                    scheduled_event_id=scheduled_event_id,
                    failure=failure,
                ),
                worker_may_ignore=True,
            )
        case _:
            event = turn.event(
                _E.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUEST_COMPLETED,
                nexus_operation_cancel_request_completed_event_attributes=NexusOperationCancelRequestCompletedEventAttributes(
                    requested_event_id=operation.cancel_requested_event_id,
                    scheduled_event_id=scheduled_event_id,
                ),
                worker_may_ignore=True,
            )
    turn.add(event)
    workflow_task.schedule(turn)


def require_pending(execution: Execution, scheduled_event_id: int, request_id: str) -> NexusOperation:
    """The operation that a completion is about.

    Raises:
        RunClosed: its workflow is closed.
        NoSuchTask: it ended.
    """
    if not execution.running:
        raise RunClosed("workflow execution already completed")
    operation = execution.nexus_operations.get(scheduled_event_id)
    if operation is None or operation.closing or operation.scheduled.request_id != request_id:
        raise NoSuchTask("operation not found")
    return operation


def complete(
    turn: Turn,
    operation: NexusOperation,
    outcome: Outcome,
    *,
    token: str,
    started_at: int,
    links: Sequence[Link],
) -> None:
    """What a handler had started has ended. If that comes before the handler's answer, it is the answer too.

    `started_at` (ns, 0 for now), `token` and `links` tell of the start.
    """
    if not operation.started_time:
        _write_started(turn, operation, token, links, started_at or turn.now)
    _end(turn, operation, outcome)


# --- what changes -----------------------------------------------------------------------------------------------


def _kept(turn: Turn, failure: Failure) -> bytes:
    return shortened(failure, turn.around.limits.activity_failure_size).SerializeToString()


def _begin_attempt_end(turn: Turn, operation: NexusOperation) -> NexusProgress:
    progress = operation.progress
    progress.attempt += 1
    progress.last_attempt_complete_time = turn.now
    progress.last_failure = b""
    turn.nexus_progress(operation.scheduled_event_id)
    return progress


def _write_started(
    turn: Turn, operation: NexusOperation, token: str, links: Sequence[Link], started_at: int
) -> None:
    scheduled_event_id = operation.scheduled_event_id
    if operation.progress.next_attempt_time:
        operation.progress.next_attempt_time = 0
        turn.nexus_progress(scheduled_event_id)
    event = turn.event(
        _E.EVENT_TYPE_NEXUS_OPERATION_STARTED,
        nexus_operation_started_event_attributes=NexusOperationStartedEventAttributes(
            scheduled_event_id=scheduled_event_id,
            operation_token=token,
            operation_id=token,
            request_id=operation.scheduled.request_id,
        ),
    )
    event.event_time.CopyFrom(timestamp(started_at))
    event.links.extend(links)
    turn.add(event)
    execution = turn.execution
    push(
        execution,
        kinds.NEXUS_START_TO_CLOSE,
        scheduled_event_id,
        due_start_to_close(execution, scheduled_event_id),
    )
    if awaits_cancel(operation):
        turn.ask(CancelNexusOperation(scheduled_event_id))


def _end(turn: Turn, operation: NexusOperation, outcome: Outcome) -> None:
    common: dict[str, Any] = {
        "scheduled_event_id": operation.scheduled_event_id,
        "request_id": operation.scheduled.request_id,
    }
    if isinstance(outcome, Succeeded):
        event = turn.event(
            _E.EVENT_TYPE_NEXUS_OPERATION_COMPLETED,
            nexus_operation_completed_event_attributes=NexusOperationCompletedEventAttributes(
                result=outcome.result, **common
            ),
        )
        event.links.extend(outcome.links)
    elif outcome.canceled:
        event = turn.event(
            _E.EVENT_TYPE_NEXUS_OPERATION_CANCELED,
            nexus_operation_canceled_event_attributes=NexusOperationCanceledEventAttributes(
                failure=_failure(operation, outcome.failure), **common
            ),
        )
    else:
        event = turn.event(
            _E.EVENT_TYPE_NEXUS_OPERATION_FAILED,
            nexus_operation_failed_event_attributes=NexusOperationFailedEventAttributes(
                failure=_failure(operation, outcome.failure), **common
            ),
        )
    _close(turn, operation, event)


def _close(turn: Turn, operation: NexusOperation, event: HistoryEvent) -> None:
    turn.nexus_progress(operation.scheduled_event_id)
    turn.add(event)
    workflow_task.schedule(turn)


def _failure(operation: NexusOperation, cause: Failure) -> Failure:
    scheduled = operation.scheduled
    failure = Failure(message="nexus operation completed unsuccessfully", cause=cause)
    info = failure.nexus_operation_execution_failure_info
    info.scheduled_event_id = operation.scheduled_event_id
    info.endpoint, info.service, info.operation = scheduled.endpoint, scheduled.service, scheduled.operation
    info.operation_id = info.operation_token = operation.token
    return failure


def _backoff(execution: Execution, operation: NexusOperation, attempt: int, what: str) -> int:
    """The pause (ns) behind attempt `attempt`: it doubles, and a part of it is left out by a draw that replays."""
    interval = min(RETRY_INTERVAL << min(attempt - 1, 32), RETRY_INTERVAL_MAX)
    seed = f"{execution.key.run_id}/{operation.scheduled_event_id}/{what}/{attempt}"
    return interval - int(interval * JITTER * crc32(seed.encode()) / 2**32)


# --- deadlines --------------------------------------------------------------------------------------------------


def _open(execution: Execution, key: int | str) -> NexusOperation | None:
    operation = execution.nexus_operations.get(key) if isinstance(key, int) else None
    return None if operation is None or operation.closing else operation


def due_dispatch(execution: Execution, key: int | str) -> int:
    """When its handler is to be asked again to start it."""
    operation = _open(execution, key)
    return operation.progress.next_attempt_time if operation and not operation.started_time else 0


def due_cancel_dispatch(execution: Execution, key: int | str) -> int:
    """When its handler is to be asked again to cancel it."""
    operation = _open(execution, key)
    return operation.progress.next_cancel_attempt_time if operation else 0


def due_schedule_to_start(execution: Execution, key: int | str) -> int:
    """When it must have started."""
    operation = _open(execution, key)
    timeout = to_ns(operation.scheduled.schedule_to_start_timeout) if operation else 0
    return operation.scheduled_time + timeout if operation and timeout and not operation.started_time else 0


def due_schedule_to_close(execution: Execution, key: int | str) -> int:
    """When it must have ended."""
    operation = _open(execution, key)
    timeout = to_ns(operation.scheduled.schedule_to_close_timeout) if operation else 0
    return operation.scheduled_time + timeout if operation and timeout else 0


def due_start_to_close(execution: Execution, key: int | str) -> int:
    """When what was started must have ended."""
    operation = _open(execution, key)
    timeout = to_ns(operation.scheduled.start_to_close_timeout) if operation else 0
    return operation.started_time + timeout if operation and timeout and operation.started_time else 0


def dispatch_due(turn: Turn, key: int | str) -> None:
    """The pause is over: ask the handler again to start it."""
    turn.execution.nexus_operations[int(key)].progress.next_attempt_time = 0
    turn.nexus_progress(int(key))
    turn.ask(StartNexusOperation(int(key)))


def cancel_dispatch_due(turn: Turn, key: int | str) -> None:
    """The pause is over: ask the handler again to cancel it."""
    turn.execution.nexus_operations[int(key)].progress.next_cancel_attempt_time = 0
    turn.nexus_progress(int(key))
    turn.ask(CancelNexusOperation(int(key)))


def time_out(turn: Turn, key: int | str, timeout_type: TimeoutType.ValueType) -> None:
    """One of its times is over. What its handler started may go on; nobody waits for it."""
    operation = turn.execution.nexus_operations[int(key)]
    cause = Failure(message="operation timed out")
    cause.timeout_failure_info.timeout_type = timeout_type
    _close(
        turn,
        operation,
        turn.event(
            _E.EVENT_TYPE_NEXUS_OPERATION_TIMED_OUT,
            nexus_operation_timed_out_event_attributes=NexusOperationTimedOutEventAttributes(
                failure=_failure(operation, cause),
                scheduled_event_id=operation.scheduled_event_id,
                request_id=operation.scheduled.request_id,
            ),
        ),
    )
