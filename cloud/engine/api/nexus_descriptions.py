"""What Describe says of a run's Nexus operations."""

from __future__ import annotations

from temporalio.api.enums.v1 import NexusOperationCancellationState, PendingNexusOperationState
from temporalio.api.workflow.v1 import NexusOperationCancellationInfo, PendingNexusOperationInfo

from cloud.engine.core.clock import given, timestamp
from cloud.engine.core.state import NexusOperation
from cloud.engine.runtime.nexus_breakers import OPEN

_S = PendingNexusOperationState
_C = NexusOperationCancellationState


def pending_operation(operation: NexusOperation, *, blocked: bool) -> PendingNexusOperationInfo:
    """An operation that has not ended; `blocked` if calls of its endpoint wait until that is back."""
    scheduled, progress = operation.scheduled, operation.progress
    state = _S.PENDING_NEXUS_OPERATION_STATE_SCHEDULED
    if operation.started_time:
        state = _S.PENDING_NEXUS_OPERATION_STATE_STARTED
    elif progress.next_attempt_time:
        state = _S.PENDING_NEXUS_OPERATION_STATE_BACKING_OFF
    elif blocked:
        state = _S.PENDING_NEXUS_OPERATION_STATE_BLOCKED
    info = PendingNexusOperationInfo(
        endpoint=scheduled.endpoint,
        service=scheduled.service,
        operation=scheduled.operation,
        operation_id=operation.token,
        operation_token=operation.token,
        schedule_to_close_timeout=given(scheduled, "schedule_to_close_timeout"),
        schedule_to_start_timeout=given(scheduled, "schedule_to_start_timeout"),
        start_to_close_timeout=given(scheduled, "start_to_close_timeout"),
        scheduled_time=timestamp(operation.scheduled_time),
        state=state,
        # A call that started it there was, also where only the history tells of it (after a reset).
        attempt=progress.attempt or int(bool(operation.started_time)),
        scheduled_event_id=operation.scheduled_event_id,
    )
    if state == _S.PENDING_NEXUS_OPERATION_STATE_BLOCKED:
        info.blocked_reason = OPEN
    ended = progress.last_attempt_complete_time or operation.started_time
    if ended:
        info.last_attempt_complete_time.CopyFrom(timestamp(ended))
    if progress.last_failure:
        info.last_attempt_failure.ParseFromString(progress.last_failure)
    if progress.next_attempt_time:
        info.next_attempt_schedule_time.CopyFrom(timestamp(progress.next_attempt_time))
    if operation.cancel_requested_event_id:
        info.cancellation_info.CopyFrom(_cancellation(operation, blocked))
    return info


def _cancellation(operation: NexusOperation, blocked: bool) -> NexusOperationCancellationInfo:
    progress = operation.progress
    state = _C.NEXUS_OPERATION_CANCELLATION_STATE_UNSPECIFIED  # it has not started
    if operation.cancel_delivered:
        state = _C.NEXUS_OPERATION_CANCELLATION_STATE_SUCCEEDED
    elif operation.cancel_failed:
        state = _C.NEXUS_OPERATION_CANCELLATION_STATE_FAILED
    elif progress.next_cancel_attempt_time:
        state = _C.NEXUS_OPERATION_CANCELLATION_STATE_BACKING_OFF
    elif operation.started_time:
        state = (
            _C.NEXUS_OPERATION_CANCELLATION_STATE_BLOCKED
            if blocked
            else _C.NEXUS_OPERATION_CANCELLATION_STATE_SCHEDULED
        )
    info = NexusOperationCancellationInfo(
        state=state,
        attempt=progress.cancel_attempt,
    )
    if state != _C.NEXUS_OPERATION_CANCELLATION_STATE_UNSPECIFIED:
        info.requested_time.CopyFrom(timestamp(operation.cancel_requested_time))
    if state == _C.NEXUS_OPERATION_CANCELLATION_STATE_BLOCKED:
        info.blocked_reason = OPEN
    if progress.last_cancel_attempt_complete_time:
        info.last_attempt_complete_time.CopyFrom(timestamp(progress.last_cancel_attempt_complete_time))
    if progress.last_cancel_failure:
        info.last_attempt_failure.ParseFromString(progress.last_cancel_failure)
    if progress.next_cancel_attempt_time:
        info.next_attempt_schedule_time.CopyFrom(timestamp(progress.next_cancel_attempt_time))
    return info
