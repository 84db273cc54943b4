"""The two commands about Nexus operations: what they must look like, and what they do. The sentences are the real server's."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent, NexusOperationScheduledEventAttributes

from cloud.engine.core import nexus_operation
from cloud.engine.core.clock import duration, fit, given, to_ns
from cloud.engine.core.errors import BadCommand, Invalid
from cloud.engine.core.turn import Turn

if TYPE_CHECKING:
    from cloud.engine.core.command_checks import Plan

SYSTEM_ENDPOINT = "__temporal_system"
"""The endpoint of the service's own operations."""

_C = WorkflowTaskFailedCause
_BAD = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_SCHEDULE_NEXUS_OPERATION_ATTRIBUTES
_BAD_CANCEL = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_REQUEST_CANCEL_NEXUS_OPERATION_ATTRIBUTES
_TIMEOUTS = ("schedule_to_close_timeout", "schedule_to_start_timeout", "start_to_close_timeout")
_ATTRIBUTES = "ScheduleNexusOperationCommandAttributes"

# What the protocol says itself, and what tells a service who calls.
RESERVED_HEADERS: Container[str] = frozenset(
    {
        "request-timeout",
        "xdc-redirection-api",
        "xdc-redirection",
        "xdc-redirection-source-cell",
        "caller-name",
        "caller-type",
        "call-initiation",
        "temporal-principal-type",
        "temporal-principal-name",
    }
)


def check_schedule(plan: Plan, command: Command) -> None:
    """Check SCHEDULE_NEXUS_OPERATION, and cap its timeouts in place.

    Raises:
        BadCommand: it is wrong, the endpoint is unknown or not for this namespace, or too many are pending.
    """
    wanted = command.schedule_nexus_operation_command_attributes
    limits = plan.turn.around.limits
    system = wanted.endpoint == SYSTEM_ENDPOINT
    if system and wanted.nexus_header:
        raise BadCommand(
            _BAD, f"{_ATTRIBUTES}.NexusHeader must be empty when using {SYSTEM_ENDPOINT} endpoint"
        )
    try:
        if system:
            plan.turn.around.check_system_operation(wanted.service, wanted.operation, wanted.input)
        else:
            plan.turn.around.nexus_endpoint(wanted.endpoint)
    except Invalid as error:
        raise BadCommand(_BAD, str(error)) from None
    for what, name in (("Service", wanted.service), ("Operation", wanted.operation)):
        if len(name.encode()) > limits.nexus_name_length:
            raise BadCommand(_BAD, f"{_ATTRIBUTES}.{what} exceeds length limit of {limits.nexus_name_length}")
    for what, value in (
        ("ScheduleToCloseTimeout", wanted.schedule_to_close_timeout),
        ("ScheduleToStartTimeout", wanted.schedule_to_start_timeout),
        ("StartToCloseTimeout", wanted.start_to_close_timeout),
    ):
        try:
            fit(value)
        except Invalid as error:
            raise BadCommand(_BAD, f"{_ATTRIBUTES}.{what} is invalid: {error}") from None
    if wanted.input.ByteSize() > limits.blob_size_error:
        raise BadCommand(_BAD, f"{_ATTRIBUTES}.Input exceeds size limit", terminates=True)
    size = 0
    for key, text in wanted.nexus_header.items():
        size += len(key.encode()) + len(text.encode())
        if key.lower() in RESERVED_HEADERS:
            raise BadCommand(_BAD, f'{_ATTRIBUTES}.NexusHeader contains a disallowed header key: "{key}"')
    if size > limits.nexus_header_size:
        raise BadCommand(_BAD, f"{_ATTRIBUTES}.NexusHeader exceeds size limit")
    count_max = limits.pending_nexus_operations
    if len(plan.execution.nexus_operations) + plan.nexus_operations >= count_max:
        raise BadCommand(
            _C.WORKFLOW_TASK_FAILED_CAUSE_PENDING_NEXUS_OPERATIONS_LIMIT_EXCEEDED,
            f"workflow has reached the pending nexus operation limit of {count_max} for this namespace",
        )
    plan.nexus_operations += 1


def check_request_cancel(plan: Plan, command: Command, may_be_new: bool) -> None:
    """Check REQUEST_CANCEL_NEXUS_OPERATION. With `may_be_new` its event may be one that this completion writes.

    Raises:
        BadCommand: there is no such operation, or it is being cancelled already.
    """
    event_id = command.request_cancel_nexus_operation_command_attributes.scheduled_event_id
    operation = plan.execution.nexus_operations.get(event_id)
    if operation is None and not (may_be_new and plan.nexus_operations):
        raise BadCommand(
            _BAD_CANCEL,
            f"requested cancelation for a non-existing or already completed operation with scheduled event ID of {event_id}",
        )
    requested = operation is not None and operation.cancel_requested_event_id
    if requested or event_id in plan.nexus_operations_cancelled:
        raise BadCommand(
            _BAD_CANCEL,
            f"cancelation was already requested for an operation with scheduled event ID {event_id}",
        )
    plan.nexus_operations_cancelled.add(event_id)


def scheduled_event(turn: Turn, command: Command, completed_event_id: int) -> HistoryEvent:
    """The intent that a checked SCHEDULE_NEXUS_OPERATION is, with no timeout beyond one that it lies within."""
    wanted = command.schedule_nexus_operation_command_attributes
    run_timeout = to_ns(turn.execution.started.workflow_run_timeout)
    to_close, to_start, start_to_close = (
        to_ns(wanted.schedule_to_close_timeout),
        to_ns(wanted.schedule_to_start_timeout),
        to_ns(wanted.start_to_close_timeout),
    )
    timeouts = {name: given(wanted, name) for name in _TIMEOUTS}
    if run_timeout and (not to_close or to_close > run_timeout):
        to_close = run_timeout
        timeouts["schedule_to_close_timeout"] = duration(to_close)
    if to_close and to_start > to_close:
        timeouts["schedule_to_start_timeout"] = duration(to_close)
    if to_close and start_to_close > to_close:
        timeouts["start_to_close_timeout"] = duration(to_close)
    attributes = NexusOperationScheduledEventAttributes(
        endpoint=wanted.endpoint,
        endpoint_id=(
            "" if wanted.endpoint == SYSTEM_ENDPOINT else turn.around.nexus_endpoint(wanted.endpoint)
        ),
        service=wanted.service,
        operation=wanted.operation,
        input=wanted.input if wanted.HasField("input") else None,
        **timeouts,
        nexus_header={key.lower(): text for key, text in wanted.nexus_header.items()},
        request_id=turn.around.ids.request_id(),
        workflow_task_completed_event_id=completed_event_id,
    )
    return turn.event(
        EventType.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED, nexus_operation_scheduled_event_attributes=attributes
    )


def cancel_event(turn: Turn, command: Command, completed_event_id: int) -> HistoryEvent:
    """What a checked REQUEST_CANCEL_NEXUS_OPERATION writes."""
    event_id = command.request_cancel_nexus_operation_command_attributes.scheduled_event_id
    return turn.event(
        EventType.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUESTED,
        nexus_operation_cancel_requested_event_attributes=nexus_operation.cancel_requested_attributes(
            event_id, completed_event_id
        ),
    )
