"""Workflow commands, made by hand, for the raw worker."""

from collections.abc import Mapping
from typing import Any

import temporalio.api.command.v1 as command
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import (
    ActivityType,
    Memo,
    Payload,
    Payloads,
    RetryPolicy,
    SearchAttributes,
    WorkflowExecution,
    WorkflowType,
)
from temporalio.api.enums.v1 import CommandType
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.converter import default


def payloads(*values: Any) -> Payloads:
    """Values as JSON payloads."""
    return Payloads(payloads=default().payload_converter.to_payloads(values))


def payload(value: Any) -> Payload:
    """One value as a JSON payload."""
    return payloads(value).payloads[0]


def keyword(value: str) -> Payload:
    """A search attribute's payload of type Keyword."""
    made = payload(value)
    made.metadata["type"] = b"Keyword"
    return made


def seconds(value: float) -> Duration:
    """A protobuf duration."""
    made = Duration()
    made.FromNanoseconds(int(value * 1e9))
    return made


def retry(**policy: Any) -> RetryPolicy:
    """A retry policy; `initial` and `maximum` are in seconds."""
    initial, maximum = policy.pop("initial", None), policy.pop("maximum", None)
    made = RetryPolicy(**policy)
    if initial is not None:
        made.initial_interval.CopyFrom(seconds(initial))
    if maximum is not None:
        made.maximum_interval.CopyFrom(seconds(maximum))
    return made


def failure(
    message: str = "boom", *, kind: str = "Boom", non_retryable: bool = False, **fields: Any
) -> Failure:
    """An application failure; `next_retry` (seconds) sets its next retry delay."""
    info = ApplicationFailureInfo(type=kind, non_retryable=non_retryable)
    if "next_retry" in fields:
        info.next_retry_delay.CopyFrom(seconds(fields.pop("next_retry")))
    return Failure(message=message, application_failure_info=info, **fields)


def with_durations(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with every timeout and interval, given in seconds, as a protobuf duration."""
    return {
        key: seconds(value)
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and (key.endswith(("_timeout", "_interval")))
        else value
        for key, value in fields.items()
    }


def _command(kind: str, attributes: str, value: Any) -> command.Command:
    return command.Command(command_type=CommandType.Value(f"COMMAND_TYPE_{kind}"), **{attributes: value})


def activity(activity_id: str, queue: str, **fields: Any) -> command.Command:
    """Schedule an activity; timeouts in seconds, start-to-close 10 unless told."""
    if not any(key.endswith("_to_close_timeout") for key in fields):
        fields["start_to_close_timeout"] = 10
    kind = fields.pop("activity_type", "act")
    attributes = command.ScheduleActivityTaskCommandAttributes(
        activity_id=activity_id,
        activity_type=ActivityType(name=kind) if kind is not None else None,
        task_queue=TaskQueue(name=queue) if queue else None,
        **with_durations(fields),
    )
    return _command("SCHEDULE_ACTIVITY_TASK", "schedule_activity_task_command_attributes", attributes)


def cancel_activity(scheduled_event_id: int) -> command.Command:
    """Request the cancellation of an activity."""
    attributes = command.RequestCancelActivityTaskCommandAttributes(scheduled_event_id=scheduled_event_id)
    return _command(
        "REQUEST_CANCEL_ACTIVITY_TASK", "request_cancel_activity_task_command_attributes", attributes
    )


def timer(timer_id: str = "t", after: float = 1) -> command.Command:
    """Start a timer; `after` in seconds."""
    attributes = command.StartTimerCommandAttributes(timer_id=timer_id, start_to_fire_timeout=seconds(after))
    return _command("START_TIMER", "start_timer_command_attributes", attributes)


def cancel_timer(timer_id: str = "t") -> command.Command:
    """Cancel a timer."""
    return _command(
        "CANCEL_TIMER",
        "cancel_timer_command_attributes",
        command.CancelTimerCommandAttributes(timer_id=timer_id),
    )


def complete(*values: Any) -> command.Command:
    """Complete the workflow."""
    attributes = command.CompleteWorkflowExecutionCommandAttributes(
        result=payloads(*values) if values else None
    )
    return _command(
        "COMPLETE_WORKFLOW_EXECUTION", "complete_workflow_execution_command_attributes", attributes
    )


def fail(why: Failure | None = None) -> command.Command:
    """Fail the workflow."""
    attributes = command.FailWorkflowExecutionCommandAttributes(failure=why or failure())
    return _command("FAIL_WORKFLOW_EXECUTION", "fail_workflow_execution_command_attributes", attributes)


def cancel(*details: Any) -> command.Command:
    """End the workflow as cancelled."""
    attributes = command.CancelWorkflowExecutionCommandAttributes(
        details=payloads(*details) if details else None
    )
    return _command("CANCEL_WORKFLOW_EXECUTION", "cancel_workflow_execution_command_attributes", attributes)


def continue_as_new(workflow_type: str = "demo", queue: str = "", **fields: Any) -> command.Command:
    """Continue as a new run."""
    attributes = command.ContinueAsNewWorkflowExecutionCommandAttributes(
        workflow_type=WorkflowType(name=workflow_type),
        task_queue=TaskQueue(name=queue) if queue else None,
        **with_durations(fields),
    )
    return _command(
        "CONTINUE_AS_NEW_WORKFLOW_EXECUTION",
        "continue_as_new_workflow_execution_command_attributes",
        attributes,
    )


def child(
    workflow_id: str, queue: str, *, namespace: str = "", workflow_type: str = "demo", **fields: Any
) -> command.Command:
    """Start a child workflow."""
    attributes = command.StartChildWorkflowExecutionCommandAttributes(
        namespace=namespace,
        workflow_id=workflow_id,
        workflow_type=WorkflowType(name=workflow_type),
        task_queue=TaskQueue(name=queue) if queue else None,
        **with_durations(fields),
    )
    return _command(
        "START_CHILD_WORKFLOW_EXECUTION", "start_child_workflow_execution_command_attributes", attributes
    )


def signal_external(
    workflow_id: str, name: str = "sig", *, namespace: str = "", run_id: str = "", **fields: Any
) -> command.Command:
    """Signal another workflow."""
    attributes = command.SignalExternalWorkflowExecutionCommandAttributes(
        namespace=namespace,
        execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
        signal_name=name,
        **fields,
    )
    return _command(
        "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION",
        "signal_external_workflow_execution_command_attributes",
        attributes,
    )


def cancel_external(
    workflow_id: str, *, namespace: str = "", run_id: str = "", **fields: Any
) -> command.Command:
    """Ask another workflow to cancel."""
    attributes = command.RequestCancelExternalWorkflowExecutionCommandAttributes(
        namespace=namespace, workflow_id=workflow_id, run_id=run_id, **fields
    )
    return _command(
        "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION",
        "request_cancel_external_workflow_execution_command_attributes",
        attributes,
    )


def marker(name: str = "m", **fields: Any) -> command.Command:
    """Record a marker; keyword arguments are its details."""
    attributes = command.RecordMarkerCommandAttributes(
        marker_name=name, details={key: payloads(value) for key, value in fields.items()}
    )
    return _command("RECORD_MARKER", "record_marker_command_attributes", attributes)


def upsert_search_attributes(attributes: Mapping[str, Payload]) -> command.Command:
    """Set search attributes."""
    value = command.UpsertWorkflowSearchAttributesCommandAttributes(
        search_attributes=SearchAttributes(indexed_fields=attributes)
    )
    return _command(
        "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES", "upsert_workflow_search_attributes_command_attributes", value
    )


def upsert_memo(**values: Any) -> command.Command:
    """Set memo fields; None removes one."""
    value = command.ModifyWorkflowPropertiesCommandAttributes(
        upserted_memo=Memo(fields={key: payload(item) for key, item in values.items()})
    )
    return _command("MODIFY_WORKFLOW_PROPERTIES", "modify_workflow_properties_command_attributes", value)
