"""What a worker's commands must look like, and what they do.

All commands of a completion are checked before the first one is carried out: a bad one fails the workflow task and must
leave the execution as it was. A check sees what earlier commands of the same completion will have done through the
:class:`Plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api.command.v1 import Command, ScheduleActivityTaskCommandAttributes
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import (
    CommandType,
    EventType,
    ParentClosePolicy,
    TaskQueueKind,
    WorkflowIdReusePolicy,
    WorkflowTaskFailedCause,
)
from temporalio.api.history.v1 import (
    ActivityTaskScheduledEventAttributes,
    HistoryEvent,
    MarkerRecordedEventAttributes,
    RequestCancelExternalWorkflowExecutionInitiatedEventAttributes,
    SignalExternalWorkflowExecutionInitiatedEventAttributes,
    StartChildWorkflowExecutionInitiatedEventAttributes,
    TimerCanceledEventAttributes,
    TimerStartedEventAttributes,
    UpsertWorkflowSearchAttributesEventAttributes,
    WorkflowPropertiesModifiedEventAttributes,
)
from temporalio.api.taskqueue.v1 import TaskQueue

from cloud.engine.core import activity, child, close, external, marker, retry, timer
from cloud.engine.core.clock import duration, to_ns
from cloud.engine.core.errors import BadCommand, Invalid
from cloud.engine.core.state import Execution
from cloud.engine.core.turn import Turn

_T = CommandType
_E = EventType
_C = WorkflowTaskFailedCause

CLOSING = frozenset(
    {
        _T.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION,
        _T.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION,
        _T.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION,
        _T.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION,
    }
)

AttributeCheck = Callable[[Message], None]
"""Checks search attributes against the namespace's types; raises Invalid."""


@dataclass(slots=True)
class Plan:
    """What the completion's earlier commands will have done, for the checks of later ones."""

    turn: Turn
    check_search_attributes: AttributeCheck
    activity_ids: set[str] = field(default_factory=set)
    timer_ids: set[str] = field(default_factory=set)
    timers_cancelled: set[str] = field(default_factory=set)
    child_ids: set[str] = field(default_factory=set)
    children: int = 0
    signals: int = 0
    cancels: int = 0

    @property
    def execution(self) -> Execution:
        """The run."""
        return self.turn.execution


@dataclass(slots=True)
class Outcome:
    """What carrying out a completion's commands came to."""

    completed_event_id: int
    eager_activities: set[int] = field(default_factory=set)
    markers: int = 0
    needs_task: bool = False


def check_all(plan: Plan, commands: Sequence[Command]) -> None:
    """Check every command, in order.

    Raises:
        BadCommand: the first one that is wrong.
    """
    for index, command in enumerate(commands):
        check = _CHECKS.get(command.command_type)
        if check is None:
            raise BadCommand(
                _C.WORKFLOW_TASK_FAILED_CAUSE_FEATURE_DISABLED,
                f"Unknown command type: {command.command_type}: this server does not carry it out",
            )
        check(plan, command)
        if command.command_type in CLOSING and index != len(commands) - 1:
            # What follows the close is ignored, as the real server ignores it.
            return


def carry_out(
    turn: Turn,
    commands: Sequence[Command],
    completed_event_id: int,
    eager: Callable[[ScheduleActivityTaskCommandAttributes], bool],
) -> Outcome:
    """Turn checked commands into events. `eager` says which activities the worker gets with the reply."""
    outcome = Outcome(completed_event_id)
    for command in commands:
        _ACTIONS[command.command_type](turn, command, outcome, eager)
        if not turn.execution.running:
            break
    if outcome.markers:
        turn.meter("record_activity_markers")
    return outcome


def closes(commands: Sequence[Command]) -> bool:
    """Whether the completion ends the run."""
    return any(command.command_type in CLOSING for command in commands)


# --- checks -----------------------------------------------------------------------------------------------------


def _require(condition: object, cause: WorkflowTaskFailedCause.ValueType, message: str) -> None:
    if not condition:
        raise BadCommand(cause, message)


def _check_id(plan: Plan, value: str, cause: WorkflowTaskFailedCause.ValueType, what: str) -> None:
    limit = plan.turn.around.limits.id_length
    _require(len(value.encode()) <= limit, cause, f"{what} on command exceeds the limit of {limit} bytes.")


def _check_size(plan: Plan, message: Message, cause: WorkflowTaskFailedCause.ValueType, what: str) -> None:
    size, limit = message.ByteSize(), plan.turn.around.limits.blob_size_error
    _require(size <= limit, cause, f"{what} exceeds size limit: {size} bytes, limit {limit} bytes.")


def _not_negative(value: Duration, cause: WorkflowTaskFailedCause.ValueType, what: str) -> None:
    _require(to_ns(value) >= 0, cause, f"Invalid {what}: negative duration.")


def _check_schedule_activity(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_SCHEDULE_ACTIVITY_ATTRIBUTES
    attributes = command.schedule_activity_task_command_attributes
    where = f"ActivityId={attributes.activity_id} ActivityType={attributes.activity_type.name}"
    _require(attributes.activity_id, cause, f"ActivityId is not set on ScheduleActivityTaskCommand. {where}")
    _require(
        attributes.activity_type.name, cause, f"ActivityType is not set on ScheduleActivityTaskCommand. {where}"
    )
    _check_id(plan, attributes.activity_id, cause, "ActivityId")
    _check_id(plan, attributes.activity_type.name, cause, "ActivityType")
    _check_id(plan, attributes.task_queue.name, cause, "TaskQueue")
    for name in (
        "schedule_to_close_timeout",
        "schedule_to_start_timeout",
        "start_to_close_timeout",
        "heartbeat_timeout",
    ):
        _not_negative(getattr(attributes, name), cause, f"{name} on ScheduleActivityTaskCommand. {where}")
    _require(
        to_ns(attributes.start_to_close_timeout) or to_ns(attributes.schedule_to_close_timeout),
        cause,
        f"A valid StartToClose or ScheduleToCloseTimeout is not set on ScheduleActivityTaskCommand. {where}",
    )
    if attributes.HasField("retry_policy"):
        try:
            retry.check(attributes.retry_policy)
        except Invalid as error:
            raise BadCommand(cause, f"{error} {where}") from None
    _check_size(plan, attributes.input, cause, "ScheduleActivityTaskCommandAttributes.Input")
    known = plan.execution.activity_ids
    _require(
        attributes.activity_id not in known and attributes.activity_id not in plan.activity_ids,
        _C.WORKFLOW_TASK_FAILED_CAUSE_SCHEDULE_ACTIVITY_DUPLICATE_ID,
        f"activity with id {attributes.activity_id!r} is already pending",
    )
    limit = plan.turn.around.limits.pending_activities
    _require(
        len(known) + len(plan.activity_ids) < limit,
        _C.WORKFLOW_TASK_FAILED_CAUSE_PENDING_ACTIVITIES_LIMIT_EXCEEDED,
        f"the number of pending activities, {limit}, has reached the per-workflow limit of {limit}",
    )
    plan.activity_ids.add(attributes.activity_id)


def _check_cancel_activity(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_REQUEST_CANCEL_ACTIVITY_ATTRIBUTES
    scheduled_event_id = command.request_cancel_activity_task_command_attributes.scheduled_event_id
    _require(scheduled_event_id > 0, cause, "ScheduledEventId is not set on RequestCancelActivityTaskCommand.")


def _check_start_timer(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_START_TIMER_ATTRIBUTES
    attributes = command.start_timer_command_attributes
    _require(attributes.timer_id, cause, "TimerId is not set on StartTimerCommand.")
    _check_id(plan, attributes.timer_id, cause, "TimerId")
    _require(
        to_ns(attributes.start_to_fire_timeout) > 0,
        cause,
        f"An invalid StartToFireTimeout is set on StartTimerCommand: must be positive. TimerId={attributes.timer_id}",
    )
    pending = (
        attributes.timer_id in plan.execution.timers and attributes.timer_id not in plan.timers_cancelled
    )
    _require(
        not pending and attributes.timer_id not in plan.timer_ids,
        _C.WORKFLOW_TASK_FAILED_CAUSE_START_TIMER_DUPLICATE_ID,
        f"a timer with id {attributes.timer_id!r} is already pending",
    )
    plan.timer_ids.add(attributes.timer_id)


def _check_cancel_timer(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_CANCEL_TIMER_ATTRIBUTES
    timer_id = command.cancel_timer_command_attributes.timer_id
    _require(timer_id, cause, "TimerId is not set on CancelTimerCommand.")
    known = timer_id in plan.timer_ids or (
        timer_id in plan.execution.timers and timer_id not in plan.timers_cancelled
    )
    _require(known, cause, f"no timer with id {timer_id!r} is pending")
    if timer_id in plan.timer_ids:
        plan.timer_ids.discard(timer_id)
    plan.timers_cancelled.add(timer_id)


def _check_complete(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_COMPLETE_WORKFLOW_EXECUTION_ATTRIBUTES
    attributes = command.complete_workflow_execution_command_attributes
    _check_size(plan, attributes.result, cause, "CompleteWorkflowExecutionCommandAttributes.Result")


def _check_fail(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_FAIL_WORKFLOW_EXECUTION_ATTRIBUTES
    attributes = command.fail_workflow_execution_command_attributes
    _require(attributes.HasField("failure"), cause, "Failure is not set on FailWorkflowExecutionCommand.")
    _check_size(plan, attributes.failure, cause, "FailWorkflowExecutionCommandAttributes.Failure")


def _check_cancel(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_CANCEL_WORKFLOW_EXECUTION_ATTRIBUTES
    attributes = command.cancel_workflow_execution_command_attributes
    _check_size(plan, attributes.details, cause, "CancelWorkflowExecutionCommandAttributes.Details")


def _check_continue_as_new(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_CONTINUE_AS_NEW_ATTRIBUTES
    attributes = command.continue_as_new_workflow_execution_command_attributes
    _check_id(plan, attributes.workflow_type.name, cause, "WorkflowType")
    _check_id(plan, attributes.task_queue.name, cause, "TaskQueue")
    for name in ("workflow_run_timeout", "workflow_task_timeout", "backoff_start_interval"):
        _not_negative(
            getattr(attributes, name), cause, f"{name} on ContinueAsNewWorkflowExecutionCommand."
        )
    if attributes.HasField("retry_policy"):
        try:
            retry.check(attributes.retry_policy)
        except Invalid as error:
            raise BadCommand(cause, str(error)) from None
    _check_size(plan, attributes.input, cause, "ContinueAsNewWorkflowExecutionCommandAttributes.Input")
    _check_size(plan, attributes.memo, cause, "ContinueAsNewWorkflowExecutionCommandAttributes.Memo")
    _check_search_attributes(plan, attributes.search_attributes)


def _check_search_attributes(plan: Plan, attributes: Message) -> None:
    try:
        plan.check_search_attributes(attributes)
    except Invalid as error:
        raise BadCommand(_C.WORKFLOW_TASK_FAILED_CAUSE_BAD_SEARCH_ATTRIBUTES, str(error)) from None


def _check_upsert_search_attributes(plan: Plan, command: Command) -> None:
    attributes = command.upsert_workflow_search_attributes_command_attributes
    _require(
        attributes.search_attributes.indexed_fields,
        _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_SEARCH_ATTRIBUTES,
        "SearchAttributes is not set on UpsertWorkflowSearchAttributesCommand.",
    )
    _check_search_attributes(plan, attributes.search_attributes)


def _check_modify_properties(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_MODIFY_WORKFLOW_PROPERTIES_ATTRIBUTES
    attributes = command.modify_workflow_properties_command_attributes
    _require(
        attributes.upserted_memo.fields,
        cause,
        "ModifyWorkflowPropertiesCommandAttributes is not set on ModifyWorkflowPropertiesCommand.",
    )
    limit = plan.turn.around.limits.memo_size_error
    size = attributes.upserted_memo.ByteSize()
    _require(size <= limit, cause, f"memo exceeds size limit: {size} bytes, limit {limit} bytes.")


def _check_marker(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_RECORD_MARKER_ATTRIBUTES
    attributes = command.record_marker_command_attributes
    _require(attributes.marker_name, cause, "MarkerName is not set on RecordMarkerCommand.")
    _check_id(plan, attributes.marker_name, cause, "MarkerName")
    _check_size(plan, attributes, cause, "RecordMarkerCommandAttributes.Details")


def _same_namespace(plan: Plan, namespace: str, cause: WorkflowTaskFailedCause.ValueType) -> None:
    own = plan.turn.around.namespace
    _require(
        not namespace or namespace == own,
        cause,
        f"cross namespace commands are not allowed: the workflow is in {own!r}, the command names another namespace",
    )


def _check_start_child(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_START_CHILD_EXECUTION_ATTRIBUTES
    attributes = command.start_child_workflow_execution_command_attributes
    _same_namespace(plan, attributes.namespace, cause)
    where = f"WorkflowId={attributes.workflow_id} WorkflowType={attributes.workflow_type.name}"
    _require(
        attributes.workflow_id, cause, f"Required field WorkflowId is not set on StartChildWorkflowExecutionCommand. {where}"
    )
    _require(
        attributes.workflow_type.name,
        cause,
        f"Required field WorkflowType is not set on StartChildWorkflowExecutionCommand. {where}",
    )
    _check_id(plan, attributes.workflow_id, cause, "WorkflowId")
    _check_id(plan, attributes.workflow_type.name, cause, "WorkflowType")
    _check_id(plan, attributes.task_queue.name, cause, "TaskQueue")
    for name in ("workflow_execution_timeout", "workflow_run_timeout", "workflow_task_timeout"):
        _not_negative(
            getattr(attributes, name), cause, f"{name} on StartChildWorkflowExecutionCommand. {where}"
        )
    if attributes.HasField("retry_policy"):
        try:
            retry.check(attributes.retry_policy)
        except Invalid as error:
            raise BadCommand(cause, f"{error} {where}") from None
    if attributes.cron_schedule:
        try:
            plan.turn.around.next_cron_delay(attributes.cron_schedule, plan.turn.now, plan.turn.now)
        except ValueError as error:
            raise BadCommand(cause, f"Invalid CronSchedule: {error}. {where}") from None
    _check_size(plan, attributes.input, cause, "StartChildWorkflowExecutionCommandAttributes.Input")
    _check_size(plan, attributes.memo, cause, "StartChildWorkflowExecutionCommandAttributes.Memo")
    _check_search_attributes(plan, attributes.search_attributes)
    limit = plan.turn.around.limits.pending_children
    plan.children += 1
    _require(
        len(plan.execution.children) + plan.children <= limit,
        _C.WORKFLOW_TASK_FAILED_CAUSE_PENDING_CHILD_WORKFLOWS_LIMIT_EXCEEDED,
        f"the number of pending child workflow executions, {limit}, has reached the per-workflow limit of {limit}",
    )


def _check_signal_external(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_SIGNAL_WORKFLOW_EXECUTION_ATTRIBUTES
    attributes = command.signal_external_workflow_execution_command_attributes
    _same_namespace(plan, attributes.namespace, cause)
    _require(
        attributes.execution.workflow_id,
        cause,
        "Execution.WorkflowId is not set on SignalExternalWorkflowExecutionCommand.",
    )
    _require(
        attributes.signal_name, cause, "SignalName is not set on SignalExternalWorkflowExecutionCommand."
    )
    _check_id(plan, attributes.execution.workflow_id, cause, "WorkflowId")
    _check_id(plan, attributes.signal_name, cause, "SignalName")
    _check_size(plan, attributes.input, cause, "SignalExternalWorkflowExecutionCommandAttributes.Input")
    limit = plan.turn.around.limits.pending_signals
    plan.signals += 1
    _require(
        len(plan.execution.external_signals) + plan.signals <= limit,
        _C.WORKFLOW_TASK_FAILED_CAUSE_PENDING_SIGNALS_LIMIT_EXCEEDED,
        f"the number of pending signals to external workflows, {limit}, has reached the per-workflow limit of {limit}",
    )


def _check_cancel_external(plan: Plan, command: Command) -> None:
    cause = _C.WORKFLOW_TASK_FAILED_CAUSE_BAD_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_ATTRIBUTES
    attributes = command.request_cancel_external_workflow_execution_command_attributes
    _same_namespace(plan, attributes.namespace, cause)
    _require(
        attributes.workflow_id, cause, "WorkflowId is not set on RequestCancelExternalWorkflowExecutionCommand."
    )
    _check_id(plan, attributes.workflow_id, cause, "WorkflowId")
    limit = plan.turn.around.limits.pending_cancels
    plan.cancels += 1
    _require(
        len(plan.execution.external_cancels) + plan.cancels <= limit,
        _C.WORKFLOW_TASK_FAILED_CAUSE_PENDING_REQUEST_CANCEL_LIMIT_EXCEEDED,
        f"the number of pending requests to cancel external workflows, {limit}, has reached the per-workflow limit of {limit}",
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
}


# --- actions ----------------------------------------------------------------------------------------------------

Eager = Callable[[ScheduleActivityTaskCommandAttributes], bool]


def _with_metadata(event: HistoryEvent, command: Command) -> HistoryEvent:
    if command.HasField("user_metadata"):
        event.user_metadata.CopyFrom(command.user_metadata)
    event.event_group_markers.extend(command.event_group_markers)
    return event


def _copy(source: Message, target: Message, *names: str) -> None:
    """Copy the message fields `names` that are set in `source`."""
    for name in names:
        if source.HasField(name):
            getattr(target, name).CopyFrom(getattr(source, name))


def _schedule_activity(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    wanted = command.schedule_activity_task_command_attributes
    run_timeout = to_ns(turn.execution.started.workflow_run_timeout)
    to_close = to_ns(wanted.schedule_to_close_timeout)
    to_start = to_ns(wanted.schedule_to_start_timeout)
    start_to_close = to_ns(wanted.start_to_close_timeout)
    heartbeat = to_ns(wanted.heartbeat_timeout)
    if to_close:
        to_start = min(to_start, to_close) if to_start else to_close
        start_to_close = min(start_to_close, to_close) if start_to_close else to_close
    else:
        to_close = run_timeout
        to_start = to_start or run_timeout
    if run_timeout:
        to_close, to_start = min(to_close, run_timeout), min(to_start, run_timeout)
        start_to_close = min(start_to_close, run_timeout)
        heartbeat = min(heartbeat, run_timeout)
    attributes = ActivityTaskScheduledEventAttributes(
        activity_id=wanted.activity_id,
        activity_type=wanted.activity_type,
        task_queue=TaskQueue(
            name=wanted.task_queue.name or turn.execution.started.task_queue.name,
            kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL,
        ),
        schedule_to_close_timeout=duration(to_close),
        schedule_to_start_timeout=duration(to_start),
        start_to_close_timeout=duration(start_to_close),
        heartbeat_timeout=duration(min(heartbeat, start_to_close)),
        workflow_task_completed_event_id=outcome.completed_event_id,
        retry_policy=retry.with_defaults(
            wanted.retry_policy if wanted.HasField("retry_policy") else None, turn.around.limits
        ),
        use_workflow_build_id=wanted.use_workflow_build_id,
    )
    _copy(wanted, attributes, "header", "input", "priority")
    event = turn.event(
        _E.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, activity_task_scheduled_event_attributes=attributes
    )
    is_eager = eager(wanted)
    scheduled_event_id = activity.schedule(turn, attributes, _with_metadata(event, command), dispatch=not is_eager)
    if is_eager:
        outcome.eager_activities.add(scheduled_event_id)


def _cancel_activity(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    scheduled_event_id = command.request_cancel_activity_task_command_attributes.scheduled_event_id
    pending = turn.execution.activities.get(scheduled_event_id)
    if pending is None or pending.cancel_requested_event_id or pending.closing:
        return
    if activity.request_cancel(turn, pending, outcome.completed_event_id):
        outcome.needs_task = True


def _start_timer(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    attributes = command.start_timer_command_attributes
    event = turn.event(
        _E.EVENT_TYPE_TIMER_STARTED,
        timer_started_event_attributes=TimerStartedEventAttributes(
            timer_id=attributes.timer_id,
            start_to_fire_timeout=attributes.start_to_fire_timeout,
            workflow_task_completed_event_id=outcome.completed_event_id,
        ),
    )
    timer.start(turn, _with_metadata(event, command))


def _cancel_timer(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    timer_id = command.cancel_timer_command_attributes.timer_id
    pending = turn.execution.timers[timer_id]
    fired = timer.buffered_firing(turn.execution, timer_id)
    if fired is not None:
        turn.drop_buffered(fired)
    turn.append(
        turn.event(
            _E.EVENT_TYPE_TIMER_CANCELED,
            timer_canceled_event_attributes=TimerCanceledEventAttributes(
                timer_id=timer_id,
                started_event_id=pending.started_event_id,
                workflow_task_completed_event_id=outcome.completed_event_id,
                identity=turn.execution.volatile.workflow_task.identity,
            ),
        )
    )


def _complete(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    attributes = command.complete_workflow_execution_command_attributes
    result = attributes.result if attributes.HasField("result") else None
    close.complete(turn, result, outcome.completed_event_id)


def _fail(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    close.fail(
        turn, command.fail_workflow_execution_command_attributes.failure, outcome.completed_event_id
    )


def _cancel(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    attributes = command.cancel_workflow_execution_command_attributes
    details = attributes.details if attributes.HasField("details") else None
    close.cancel(turn, details, outcome.completed_event_id)


def _continue_as_new(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    close.continue_as_new(
        turn, command.continue_as_new_workflow_execution_command_attributes, outcome.completed_event_id
    )


def _upsert_search_attributes(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    attributes = command.upsert_workflow_search_attributes_command_attributes
    event = turn.event(
        _E.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
        upsert_workflow_search_attributes_event_attributes=UpsertWorkflowSearchAttributesEventAttributes(
            workflow_task_completed_event_id=outcome.completed_event_id,
            search_attributes=attributes.search_attributes,
        ),
    )
    marker.upsert_search_attributes(turn, _with_metadata(event, command))


def _modify_properties(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    attributes = command.modify_workflow_properties_command_attributes
    event = turn.event(
        _E.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED,
        workflow_properties_modified_event_attributes=WorkflowPropertiesModifiedEventAttributes(
            workflow_task_completed_event_id=outcome.completed_event_id,
            upserted_memo=attributes.upserted_memo,
        ),
    )
    marker.upsert_memo(turn, _with_metadata(event, command))


def _record_marker(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    wanted = command.record_marker_command_attributes
    attributes = MarkerRecordedEventAttributes(
        marker_name=wanted.marker_name, workflow_task_completed_event_id=outcome.completed_event_id
    )
    for key, payloads in wanted.details.items():
        attributes.details[key].CopyFrom(payloads)
    _copy(wanted, attributes, "header", "failure")
    event = turn.event(_E.EVENT_TYPE_MARKER_RECORDED, marker_recorded_event_attributes=attributes)
    turn.append(_with_metadata(event, command))
    if wanted.marker_name not in marker.FREE_MARKERS:
        outcome.markers += 1


def _start_child(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    wanted = command.start_child_workflow_execution_command_attributes
    started = turn.execution.started
    execution_timeout = to_ns(wanted.workflow_execution_timeout)
    run_timeout = to_ns(wanted.workflow_run_timeout) or execution_timeout
    attributes = StartChildWorkflowExecutionInitiatedEventAttributes(
        namespace=turn.around.namespace,
        namespace_id=turn.around.namespace_id,
        workflow_id=wanted.workflow_id,
        workflow_type=WorkflowType(name=wanted.workflow_type.name),
        task_queue=TaskQueue(
            name=wanted.task_queue.name or started.task_queue.name, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL
        ),
        workflow_execution_timeout=duration(execution_timeout),
        workflow_run_timeout=duration(
            min(run_timeout, execution_timeout) if execution_timeout else run_timeout
        ),
        workflow_task_timeout=duration(
            min(
                to_ns(wanted.workflow_task_timeout) or to_ns(started.workflow_task_timeout),
                turn.around.limits.workflow_task_timeout,
            )
        ),
        parent_close_policy=wanted.parent_close_policy or ParentClosePolicy.PARENT_CLOSE_POLICY_TERMINATE,
        control=wanted.control,
        workflow_task_completed_event_id=outcome.completed_event_id,
        workflow_id_reuse_policy=(
            wanted.workflow_id_reuse_policy
            or WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
        ),
        cron_schedule=wanted.cron_schedule,
        inherit_build_id=wanted.inherit_build_id,
    )
    _copy(
        wanted, attributes, "input", "header", "memo", "search_attributes", "priority", "versioning_override"
    )
    if wanted.HasField("retry_policy"):
        attributes.retry_policy.CopyFrom(retry.with_defaults(wanted.retry_policy, turn.around.limits))
    event = turn.event(
        _E.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED,
        start_child_workflow_execution_initiated_event_attributes=attributes,
    )
    child.initiate(turn, _with_metadata(event, command))


def _signal_external(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    wanted = command.signal_external_workflow_execution_command_attributes
    attributes = SignalExternalWorkflowExecutionInitiatedEventAttributes(
        workflow_task_completed_event_id=outcome.completed_event_id,
        namespace=turn.around.namespace,
        namespace_id=turn.around.namespace_id,
        workflow_execution=wanted.execution,
        signal_name=wanted.signal_name,
        control=wanted.control,
        child_workflow_only=wanted.child_workflow_only,
    )
    _copy(wanted, attributes, "input", "header")
    event = turn.event(
        _E.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED,
        signal_external_workflow_execution_initiated_event_attributes=attributes,
    )
    external.initiate_signal(turn, _with_metadata(event, command))


def _cancel_external(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    wanted = command.request_cancel_external_workflow_execution_command_attributes
    event = turn.event(
        _E.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED,
        request_cancel_external_workflow_execution_initiated_event_attributes=(
            RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(
                workflow_task_completed_event_id=outcome.completed_event_id,
                namespace=turn.around.namespace,
                namespace_id=turn.around.namespace_id,
                workflow_execution=WorkflowExecution(
                    workflow_id=wanted.workflow_id, run_id=wanted.run_id
                ),
                control=wanted.control,
                child_workflow_only=wanted.child_workflow_only,
                reason=wanted.reason,
            )
        ),
    )
    external.initiate_cancel(turn, _with_metadata(event, command))


_ACTIONS: dict[int, Callable[[Turn, Command, Outcome, Eager], None]] = {
    _T.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK: _schedule_activity,
    _T.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK: _cancel_activity,
    _T.COMMAND_TYPE_START_TIMER: _start_timer,
    _T.COMMAND_TYPE_CANCEL_TIMER: _cancel_timer,
    _T.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION: _complete,
    _T.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION: _fail,
    _T.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION: _cancel,
    _T.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION: _continue_as_new,
    _T.COMMAND_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: _upsert_search_attributes,
    _T.COMMAND_TYPE_MODIFY_WORKFLOW_PROPERTIES: _modify_properties,
    _T.COMMAND_TYPE_RECORD_MARKER: _record_marker,
    _T.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION: _start_child,
    _T.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION: _signal_external,
    _T.COMMAND_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION: _cancel_external,
}
