"""What a worker's commands must look like.

All commands of a completion are checked before the first one is carried out: a bad one fails the workflow task and must
leave the execution as it was. A check sees what earlier commands of the same completion will have done through the
:class:`Plan`. The sentences are the real server's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType, WorkflowTaskFailedCause

from cloud.engine.core import command_attributes, nexus_commands, older_versioning, priority, retry
from cloud.engine.core.clock import fit, to_ns
from cloud.engine.core.errors import BadCommand, Invalid, OtherNamespace
from cloud.engine.core.state import Execution
from cloud.engine.core.turn import Turn

_T = CommandType
_C = WorkflowTaskFailedCause

CLOSING = frozenset(
    {
        _T.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION,
        _T.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION,
        _T.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION,
        _T.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION,
    }
)

RESERVED_QUEUE_PREFIX = "/_sys/"

EVENTS_BEFORE_COMMANDS = 3  # a transient task's scheduled and started events, and the completion
EVENTS_PER_COMMAND = 2  # at the most: an activity that is cancelled before it started

AttributeCheck = Callable[[Message], None]
"""Checks search attributes against the namespace's types; raises Invalid."""


@dataclass(slots=True)
class Plan:
    """What the completion's earlier commands will have done, for the checks of later ones."""

    turn: Turn
    check_search_attributes: AttributeCheck
    activity_ids: set[str] = field(default_factory=set)
    activities_cancelled: set[int] = field(default_factory=set)
    timer_ids: set[str] = field(default_factory=set)
    timers_cancelled: set[str] = field(default_factory=set)
    child_ids: set[str] = field(default_factory=set)
    nexus_operations: int = 0
    nexus_operations_cancelled: set[int] = field(default_factory=set)
    signals: int = 0
    cancels: int = 0
    commands: int = 0

    @property
    def execution(self) -> Execution:
        """The run."""
        return self.turn.execution


def check_all(plan: Plan, commands: Sequence[Command]) -> None:
    """Check every command, all of known types, in order.

    Raises:
        BadCommand: the first one that is wrong.
        OtherNamespace: one reaches into another namespace.
    """
    for command in commands:
        command_attributes.check(command)
        _CHECKS[command.command_type](plan, command)
        plan.commands += 1


def check_close(plan: Plan, commands: Sequence[Command]) -> None:
    """A worker may not close a run behind events that it has not seen.

    Raises:
        BadCommand: events wait in the buffer.
    """
    if plan.execution.buffered and any(command.command_type in CLOSING for command in commands):
        raise BadCommand(_C.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND, "UnhandledCommand")


# --- pieces of sentences ----------------------------------------------------------------------------------------


def _require(condition: object, cause: WorkflowTaskFailedCause.ValueType, message: str) -> None:
    if not condition:
        raise BadCommand(cause, message)


def _where(**names: str) -> str:
    """WorkflowId=x RunId= …: behind a sentence; what is None is left out."""
    return " " + " ".join(f"{key}={value}" for key, value in names.items())


def _check_length(
    plan: Plan, value: str, cause: WorkflowTaskFailedCause.ValueType, what: str, command: str, where: str = ""
) -> None:
    size, limit = len(value.encode()), plan.turn.around.limits.id_length
    _require("\x00" not in value, cause, f"{what} on {command} contains a NUL character.{where}")
    _require(
        size <= limit,
        cause,
        f"{what} on {command} exceeds length limit. {what}={value} Length={size} Limit={limit}{where}",
    )


def _check_size(plan: Plan, message: Message, cause: WorkflowTaskFailedCause.ValueType, what: str) -> None:
    if message.ByteSize() > plan.turn.around.limits.blob_size_error:
        raise BadCommand(cause, f"{what} exceeds size limit", terminates=True)


def _fit(value: Duration, cause: WorkflowTaskFailedCause.ValueType, before: str, behind: str = "") -> None:
    """Cap a duration in place; the sentence of one that is none stands between `before` and `behind`."""
    try:
        fit(value)
    except Invalid as error:
        raise BadCommand(cause, f"{before}: {error}{behind}") from None


def _check_retry(
    message: Message, cause: WorkflowTaskFailedCause.ValueType, command: str, where: str
) -> None:
    if not message.HasField("retry_policy"):
        return
    try:
        retry.check(message.retry_policy)  # type: ignore[attr-defined]
    except Invalid as error:
        raise BadCommand(cause, f"invalid WorkflowRetryPolicy on {command}: {error}.{where}") from None


def _check_cron(
    plan: Plan, schedule: str, cause: WorkflowTaskFailedCause.ValueType, command: str, where: str
) -> None:
    if not schedule:
        return
    try:
        plan.turn.around.next_cron_delay(schedule, plan.turn.now, plan.turn.now)
    except ValueError:
        raise BadCommand(cause, f"invalid CronSchedule on {command}: invalid CronSchedule..{where}") from None


def _check_search_attributes(plan: Plan, attributes: Message) -> None:
    try:
        plan.check_search_attributes(attributes)
    except Invalid as error:
        raise BadCommand(_C.WORKFLOW_TASK_FAILED_CAUSE_BAD_SEARCH_ATTRIBUTES, str(error)) from None


def _same_namespace(plan: Plan, namespace: str) -> None:
    if namespace and namespace != plan.turn.around.namespace:
        raise OtherNamespace(namespace)


def _check_run_id(run_id: str, cause: WorkflowTaskFailedCause.ValueType, command: str, where: str) -> None:
    shape = [len(part) for part in run_id.split("-")]
    _require(not run_id or shape == [8, 4, 4, 4, 12], cause, f"Invalid RunId set on {command}.{where}")


# --- activities and timers --------------------------------------------------------------------------------------


def _check_schedule_activity(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_SCHEDULE_ACTIVITY_ATTRIBUTES
    wanted = command.schedule_activity_task_command_attributes
    _require(wanted.activity_id, cause, "activityId is not set")
    _require(wanted.activity_type.name, cause, "activityType is not set")
    _require(wanted.task_queue.name, cause, "taskQueue is not set")
    _require(
        not wanted.task_queue.name.startswith(RESERVED_QUEUE_PREFIX),
        cause,
        f"task queue name cannot start with reserved prefix {RESERVED_QUEUE_PREFIX}",
    )
    limit = plan.turn.around.limits.id_length
    for what, value in (
        ("activityId", wanted.activity_id),
        ("activityType", wanted.activity_type.name),
        ("taskQueue", wanted.task_queue.name),
    ):
        size = len(value.encode())
        _require(size <= limit, cause, f"{what} exceeds length limit. Length={size} Limit={limit}")
        _require("\x00" not in value, cause, f"{what} contains a NUL character")
    for name in (
        "ScheduleToCloseTimeout",
        "ScheduleToStartTimeout",
        "StartToCloseTimeout",
        "HeartbeatTimeout",
    ):
        _fit(getattr(wanted, _snake_case(name)), cause, f"invalid {name}")
    _require(
        to_ns(wanted.start_to_close_timeout) or to_ns(wanted.schedule_to_close_timeout),
        cause,
        "a valid StartToCloseTimeout or ScheduleToCloseTimeout must be set on the activity."
        + _where(ActivityId=wanted.activity_id, ActivityType=wanted.activity_type.name),
    )
    if wanted.HasField("retry_policy"):
        try:
            retry.check(wanted.retry_policy)
        except Invalid as error:
            raise BadCommand(cause, str(error)) from None
    _check_size(plan, wanted.input, cause, "ScheduleActivityTaskCommandAttributes.Input")
    known = plan.execution.activity_ids
    _require(
        wanted.activity_id not in known and wanted.activity_id not in plan.activity_ids,
        _C.WORKFLOW_TASK_FAILED_CAUSE_SCHEDULE_ACTIVITY_DUPLICATE_ID,
        _builder("add-activitytask-scheduled-event", f"ActivityID: {wanted.activity_id}"),
    )
    count_max = plan.turn.around.limits.pending_activities
    _require(
        len(known) + len(plan.activity_ids) < count_max,
        _C.WORKFLOW_TASK_FAILED_CAUSE_PENDING_ACTIVITIES_LIMIT_EXCEEDED,
        f"the number of pending activities, {count_max}, has reached the per-workflow limit of {count_max}",
    )
    _check_compatible_queue(plan, wanted, cause, "Activity", compatible=wanted.use_workflow_build_id)
    plan.activity_ids.add(wanted.activity_id)


def _check_compatible_queue(
    plan: Plan,
    wanted: Message,
    cause: WorkflowTaskFailedCause.ValueType,
    what: str,
    *,
    compatible: bool,
) -> None:
    """By version sets, what is to stay with its run's build ids can't leave its queue."""
    if not compatible or older_versioning.assigned_to(plan.execution):
        return
    queue: str = wanted.task_queue.name  # type: ignore[attr-defined]
    _require(
        queue in ("", plan.execution.started.task_queue.name),
        cause,
        f"{what} with UseCompatibleVersion cannot run on different task queue.",
    )


def _snake_case(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _builder(action: str, what: str) -> str:
    return f"invalid history builder state for action: {action}, {what}"


def _check_cancel_activity(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_REQUEST_CANCEL_ACTIVITY_ATTRIBUTES
    event_id = command.request_cancel_activity_task_command_attributes.scheduled_event_id
    _require(event_id > 0, cause, "ScheduledEventId is not set on RequestCancelActivityTaskCommand.")
    pending = plan.execution.activities.get(event_id)
    known = _may_be_new(plan, event_id) or (
        pending is not None
        and not pending.cancel_requested_event_id
        and event_id not in plan.activities_cancelled
    )
    _require(
        known, cause, _builder("add-activitytask-cancel-requested-event", f"ScheduledEventID: {event_id}")
    )
    plan.activities_cancelled.add(event_id)


def _may_be_new(plan: Plan, event_id: int) -> bool:
    """Events of this very completion get ids from a range that is known; one that is none of them does nothing."""
    first = plan.execution.next_event_id
    return first <= event_id <= first + EVENTS_BEFORE_COMMANDS + plan.commands * EVENTS_PER_COMMAND


def _check_cancel_nexus_operation(plan: Plan, command: Command) -> None:
    event_id = command.request_cancel_nexus_operation_command_attributes.scheduled_event_id
    nexus_commands.check_request_cancel(plan, command, _may_be_new(plan, event_id))


def _check_start_timer(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_START_TIMER_ATTRIBUTES
    wanted = command.start_timer_command_attributes
    _require(wanted.timer_id, cause, "TimerId is not set on StartTimerCommand.")
    _check_length(plan, wanted.timer_id, cause, "TimerId", "StartTimerCommand")
    _fit(
        wanted.start_to_fire_timeout,
        cause,
        "An invalid StartToFireTimeout is set on StartTimerCommand",
        "." + _where(TimerId=wanted.timer_id),
    )
    pending = wanted.timer_id in plan.execution.timers and wanted.timer_id not in plan.timers_cancelled
    _require(
        not pending and wanted.timer_id not in plan.timer_ids,
        _C.WORKFLOW_TASK_FAILED_CAUSE_START_TIMER_DUPLICATE_ID,
        _builder("add-timer-started-event", f"TimerID: {wanted.timer_id}"),
    )
    plan.timer_ids.add(wanted.timer_id)


def _check_cancel_timer(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_CANCEL_TIMER_ATTRIBUTES
    timer_id = command.cancel_timer_command_attributes.timer_id
    _require(timer_id, cause, "TimerId is not set on CancelTimerCommand.")
    known = timer_id in plan.timer_ids or (
        timer_id in plan.execution.timers and timer_id not in plan.timers_cancelled
    )
    _require(known, cause, _builder("add-timer-canceled-event", f"TimerID: {timer_id}"))
    plan.timer_ids.discard(timer_id)
    plan.timers_cancelled.add(timer_id)


# --- the run's own end ------------------------------------------------------------------------------------------


def _check_complete(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_COMPLETE_WORKFLOW_EXECUTION_ATTRIBUTES
    wanted = command.complete_workflow_execution_command_attributes
    _check_size(plan, wanted.result, cause, "CompleteWorkflowExecutionCommandAttributes.Result")


def _check_fail(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_FAIL_WORKFLOW_EXECUTION_ATTRIBUTES
    wanted = command.fail_workflow_execution_command_attributes
    _require(wanted.HasField("failure"), cause, "Failure is not set on FailWorkflowExecutionCommand.")
    _check_size(plan, wanted.failure, cause, "FailWorkflowExecutionCommandAttributes.Failure")


def _check_cancel(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_CANCEL_WORKFLOW_EXECUTION_ATTRIBUTES
    wanted = command.cancel_workflow_execution_command_attributes
    _check_size(plan, wanted.details, cause, "CancelWorkflowExecutionCommandAttributes.Details")


def _check_continue_as_new(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_CONTINUE_AS_NEW_ATTRIBUTES
    name = "ContinueAsNewWorkflowExecutionCommand"
    wanted = command.continue_as_new_workflow_execution_command_attributes
    _check_length(plan, wanted.workflow_type.name, cause, "WorkflowType", name)
    _check_length(plan, wanted.task_queue.name, cause, "TaskQueue", name)
    started = plan.execution.started
    queue = wanted.task_queue.name or started.task_queue.name
    where = _where(
        WorkflowType=wanted.workflow_type.name or started.workflow_type.name,
        TaskQueue=f'name:"{queue}"  kind:TASK_QUEUE_KIND_NORMAL',
    )
    for what in ("WorkflowRunTimeout", "WorkflowTaskTimeout", "BackoffStartInterval"):
        _fit(getattr(wanted, _snake_case(what)), cause, f"Invalid {what} on {name}", f".{where}")
    _check_retry(wanted, cause, name, where)
    _check_cron(plan, wanted.cron_schedule, cause, name, where)
    _check_size(plan, wanted.input, cause, f"{name}Attributes.Input")
    _check_size(plan, wanted.memo, cause, f"{name}Attributes.Memo")
    _check_search_attributes(plan, wanted.search_attributes)
    _check_compatible_queue(plan, wanted, cause, "ContinueAsNew", compatible=wanted.inherit_build_id)


# --- what the run records ---------------------------------------------------------------------------------------


def _check_upsert_search_attributes(plan: Plan, command: Command) -> None:
    wanted = command.upsert_workflow_search_attributes_command_attributes
    _require(
        wanted.search_attributes.indexed_fields,
        _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_SEARCH_ATTRIBUTES,
        "IndexedFields is not set on UpsertWorkflowSearchAttributesCommand.",
    )
    _check_search_attributes(plan, wanted.search_attributes)


def _check_modify_properties(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_MODIFY_WORKFLOW_PROPERTIES_ATTRIBUTES
    wanted = command.modify_workflow_properties_command_attributes
    _require(
        wanted.upserted_memo.fields,
        cause,
        "UpsertedMemo.Fields is not set on ModifyWorkflowPropertiesCommand.",
    )
    if wanted.upserted_memo.ByteSize() > plan.turn.around.limits.memo_size_error:
        raise BadCommand(
            cause, "ModifyWorkflowPropertiesCommandAttributes exceeds size limit", terminates=True
        )


def _check_marker(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_RECORD_MARKER_ATTRIBUTES
    wanted = command.record_marker_command_attributes
    _require(wanted.marker_name, cause, "MarkerName is not set on RecordMarkerCommand.")
    _check_length(plan, wanted.marker_name, cause, "MarkerName", "RecordMarkerCommand")
    _check_size(plan, wanted, cause, "RecordMarkerCommandAttributes.Details")


# --- other workflows --------------------------------------------------------------------------------------------


def _check_start_child(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_START_CHILD_EXECUTION_ATTRIBUTES
    name = "StartChildWorkflowExecutionCommand"
    wanted = command.start_child_workflow_execution_command_attributes
    _same_namespace(plan, wanted.namespace)
    namespace = plan.turn.around.namespace
    workflow_type = wanted.workflow_type.name
    _require(
        wanted.workflow_id,
        cause,
        f"Required field WorkflowId is not set on {name}."
        + _where(WorkflowType=workflow_type, Namespace=namespace),
    )
    _require(
        workflow_type,
        cause,
        f"Required field WorkflowType is not set on {name}."
        + _where(WorkflowId=wanted.workflow_id, Namespace=namespace),
    )
    behind = _where(WorkflowType=workflow_type, Namespace=namespace)
    _check_length(plan, wanted.workflow_id, cause, "WorkflowId", name, behind)
    where = _where(WorkflowId=wanted.workflow_id, WorkflowType=workflow_type, Namespace=namespace)
    _check_length(plan, workflow_type, cause, "WorkflowType", name, where)
    _check_length(plan, wanted.task_queue.name, cause, "TaskQueue", name, where)
    for what in ("WorkflowExecutionTimeout", "WorkflowRunTimeout", "WorkflowTaskTimeout"):
        _fit(getattr(wanted, _snake_case(what)), cause, f"Invalid {what} on {name}", f".{where}")
    _check_retry(wanted, cause, name, where)
    _check_cron(plan, wanted.cron_schedule, cause, name, where)
    _check_size(plan, wanted.input, cause, f"{name}Attributes.Input")
    _check_size(plan, wanted.memo, cause, f"{name}Attributes.Memo")
    _check_search_attributes(plan, wanted.search_attributes)
    try:
        priority.check(wanted.priority)
    except Invalid as error:
        raise BadCommand(cause, str(error)) from None
    _check_compatible_queue(
        plan, wanted, cause, "StartChildWorkflowExecution", compatible=wanted.inherit_build_id
    )
    plan.child_ids.add(wanted.workflow_id)
    limit = plan.turn.around.limits.pending_children
    _require(
        len(plan.execution.children) + len(plan.child_ids) <= limit,
        _C.WORKFLOW_TASK_FAILED_CAUSE_PENDING_CHILD_WORKFLOWS_LIMIT_EXCEEDED,
        f"the number of pending child workflow executions, {limit}, has reached the per-workflow limit of {limit}",
    )


def _check_signal_external(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_SIGNAL_WORKFLOW_EXECUTION_ATTRIBUTES
    name = "SignalExternalWorkflowExecutionCommand"
    wanted = command.signal_external_workflow_execution_command_attributes
    target = wanted.execution
    _same_namespace(plan, wanted.namespace)
    _require(
        target.workflow_id,
        cause,
        f"WorkflowId is not set on {name}."
        + _where(Namespace=wanted.namespace, RunId=target.run_id, SignalName=wanted.signal_name),
    )
    _check_length(plan, target.workflow_id, cause, "WorkflowId", name)
    place = {"WorkflowId": target.workflow_id, "Namespace": wanted.namespace, "RunId": target.run_id}
    _check_run_id(target.run_id, cause, name, _where(**place, SignalName=wanted.signal_name))
    _require(wanted.signal_name, cause, f"SignalName is not set on {name}." + _where(**place))
    _check_length(plan, wanted.signal_name, cause, "SignalName", name)
    _check_size(plan, wanted.input, cause, f"{name}Attributes.Input")
    limit = plan.turn.around.limits.pending_signals
    plan.signals += 1
    _require(
        len(plan.execution.external_signals) + plan.signals <= limit,
        _C.WORKFLOW_TASK_FAILED_CAUSE_PENDING_SIGNALS_LIMIT_EXCEEDED,
        f"the number of pending signals to external workflows, {limit}, has reached the per-workflow limit of {limit}",
    )


def _check_cancel_external(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_ATTRIBUTES
    name = "RequestCancelExternalWorkflowExecutionCommand"
    wanted = command.request_cancel_external_workflow_execution_command_attributes
    _same_namespace(plan, wanted.namespace)
    _require(
        wanted.workflow_id,
        cause,
        f"WorkflowId is not set on {name}." + _where(Namespace=wanted.namespace, RunId=wanted.run_id),
    )
    _check_length(plan, wanted.workflow_id, cause, "WorkflowId", name)
    where = _where(WorkflowId=wanted.workflow_id, RunId=wanted.run_id, Namespace=wanted.namespace)
    _check_run_id(wanted.run_id, cause, name, where)
    _require(
        wanted.workflow_id not in plan.child_ids,
        cause,
        f"Start and RequestCancel for child workflow is not allowed in same workflow task.{where}",
    )
    limit = plan.turn.around.limits.pending_cancels
    plan.cancels += 1
    _require(
        len(plan.execution.external_cancels) + plan.cancels <= limit,
        _C.WORKFLOW_TASK_FAILED_CAUSE_PENDING_REQUEST_CANCEL_LIMIT_EXCEEDED,
        f"the number of pending requests to cancel external workflows, {limit}, has reached the per-workflow limit "
        f"of {limit}",
    )


_CHECKS: dict[int, Callable[[Plan, Command], None]] = {
    _T.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK: _check_schedule_activity,
    _T.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK: _check_cancel_activity,
    _T.COMMAND_TYPE_START_TIMER: _check_start_timer,
    _T.COMMAND_TYPE_CANCEL_TIMER: _check_cancel_timer,
    _T.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION: _check_complete,
    _T.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION: _check_fail,
    _T.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION: _check_cancel,
    _T.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION: _check_continue_as_new,
    _T.COMMAND_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: _check_upsert_search_attributes,
    _T.COMMAND_TYPE_MODIFY_WORKFLOW_PROPERTIES: _check_modify_properties,
    _T.COMMAND_TYPE_RECORD_MARKER: _check_marker,
    _T.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION: _check_start_child,
    _T.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION: _check_signal_external,
    _T.COMMAND_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION: _check_cancel_external,
    _T.COMMAND_TYPE_SCHEDULE_NEXUS_OPERATION: nexus_commands.check_schedule,
    _T.COMMAND_TYPE_REQUEST_CANCEL_NEXUS_OPERATION: _check_cancel_nexus_operation,
    _T.COMMAND_TYPE_PROTOCOL_MESSAGE: lambda plan, command: None,  # with its message: ``update.read``
}
