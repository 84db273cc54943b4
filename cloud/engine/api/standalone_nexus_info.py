"""What descriptions tell of a standalone Nexus operation."""

from __future__ import annotations

from temporalio.api.common.v1 import Link, Payload
from temporalio.api.enums.v1 import NexusOperationCancellationState, PendingNexusOperationState
from temporalio.api.failure.v1 import Failure
from temporalio.api.nexus.v1 import NexusOperationExecutionCancellationInfo, NexusOperationExecutionInfo
from temporalio.api.workflowservice.v1 import (
    DescribeNexusOperationExecutionResponse,
    PollNexusOperationExecutionResponse,
)

from cloud.engine.core.clock import duration, timestamp
from cloud.engine.core.standalone_nexus_state import Cancellation, OperationPhase, StandaloneOperation
from cloud.engine.runtime.hot_operation import HotOperation
from cloud.engine.store.search_attribute_values import described

_P = PendingNexusOperationState
_STATES = {
    OperationPhase.SCHEDULED: _P.PENDING_NEXUS_OPERATION_STATE_SCHEDULED,
    OperationPhase.BACKING_OFF: _P.PENDING_NEXUS_OPERATION_STATE_BACKING_OFF,
    OperationPhase.STARTED: _P.PENDING_NEXUS_OPERATION_STATE_STARTED,
}


def put_outcome(
    response: DescribeNexusOperationExecutionResponse | PollNexusOperationExecutionResponse,
    operation: StandaloneOperation,
) -> None:
    """Write down how a closed operation ended."""
    if operation.state.has_result:
        response.result.CopyFrom(Payload.FromString(operation.state.result))
    else:
        response.failure.CopyFrom(Failure.FromString(operation.outcome_failure))


def operation_info(hot: HotOperation, now: int) -> NexusOperationExecutionInfo:
    """What descriptions tell of an operation, beside what they tell only on request."""
    operation, request, state = hot.operation, hot.operation.request, hot.operation.state
    info = NexusOperationExecutionInfo(
        operation_id=hot.id,
        run_id=hot.run_id,
        endpoint=request.endpoint,
        service=request.service,
        operation=request.operation,
        status=operation.status,
        state=_STATES.get(state.phase, _P.PENDING_NEXUS_OPERATION_STATE_UNSPECIFIED),
        attempt=state.attempt,
        schedule_time=timestamp(state.scheduled_time),
        request_id=state.request_id,
        operation_token=state.token,
        state_transition_count=state.transitions,
        state_size_bytes=hot.measure(),
        search_attributes=described(request.search_attributes, hot.types),
        nexus_header=request.nexus_header,
        links=[Link.FromString(link) for link in state.links],
        identity=request.identity,
        execution_duration=duration(max((state.close_time or now) - state.scheduled_time, 0)),
    )
    info.search_attributes.SetInParent()
    for name in (
        "schedule_to_close_timeout",
        "schedule_to_start_timeout",
        "start_to_close_timeout",
        "user_metadata",
    ):
        if request.HasField(name):
            getattr(info, name).CopyFrom(getattr(request, name))
    for name, moment in (
        ("expiration_time", operation.expires_at),
        ("close_time", state.close_time),
        ("last_attempt_complete_time", state.last_attempt_complete_time),
        ("next_attempt_schedule_time", state.next_attempt_time),
    ):
        if moment:
            getattr(info, name).CopyFrom(timestamp(moment))
    if state.last_failure:
        info.last_attempt_failure.ParseFromString(state.last_failure)
    if state.cancellation is not None:
        info.cancellation_info.CopyFrom(_cancellation_info(state.cancellation))
    return info


def _cancellation_info(cancellation: Cancellation) -> NexusOperationExecutionCancellationInfo:
    info = NexusOperationExecutionCancellationInfo(
        state=NexusOperationCancellationState.ValueType(cancellation.phase),
        attempt=cancellation.attempt,
        reason=cancellation.asked.reason,
    )
    if cancellation.last_attempt_complete_time:
        info.last_attempt_complete_time.CopyFrom(timestamp(cancellation.last_attempt_complete_time))
    if cancellation.next_attempt_time:
        info.next_attempt_schedule_time.CopyFrom(timestamp(cancellation.next_attempt_time))
    if cancellation.last_failure:
        info.last_attempt_failure.ParseFromString(cancellation.last_failure)
    return info
