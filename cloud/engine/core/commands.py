"""What a worker's commands do, once ``command_checks`` let them through: each becomes an event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import Message
from temporalio.api.command.v1 import Command, ScheduleActivityTaskCommandAttributes
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import (
    CommandType,
    EventType,
    ParentClosePolicy,
    TaskQueueKind,
    WorkflowIdReusePolicy,
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

from cloud.engine.core import (
    activity,
    activity_ends,
    child,
    close,
    external,
    marker,
    nexus_commands,
    nexus_operation,
    retry,
    run_clock,
    timer,
    update,
)
from cloud.engine.core.clock import duration, to_ns
from cloud.engine.core.turn import Turn
from cloud.engine.core.update import Answers

_T = CommandType
_E = EventType


@dataclass(slots=True)
class Outcome:
    """What carrying out a completion's commands came to."""

    completed_event_id: int
    identity: str
    """The worker's."""
    eager_activities: set[int] = field(default_factory=set)
    markers: int = 0
    needs_task: bool = False


def carry_out(
    turn: Turn,
    commands: Sequence[Command],
    completed_event_id: int,
    identity: str,
    eager: Callable[[ScheduleActivityTaskCommandAttributes], bool],
    answers: Answers,
) -> Outcome:
    """Turn checked commands into events. `eager` says which activities the worker gets with the reply.

    A PROTOCOL_MESSAGE command stands where one of the messages in `answers` is to be carried out.
    """
    outcome = Outcome(completed_event_id, identity)
    for command in commands:
        if command.command_type == _T.COMMAND_TYPE_PROTOCOL_MESSAGE:
            update.carry_out(turn, answers, command.protocol_message_command_attributes.message_id)
            continue
        _ACTIONS[command.command_type](turn, command, outcome, eager)
        if not turn.execution.running:
            break
    if outcome.markers:
        turn.meter("record_activity_markers")
    return outcome


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
    to_close, to_start, start_to_close, heartbeat = activity.settled_timeouts(
        to_ns(wanted.schedule_to_close_timeout),
        to_ns(wanted.schedule_to_start_timeout),
        to_ns(wanted.start_to_close_timeout),
        to_ns(wanted.heartbeat_timeout),
        run_timeout=run_timeout,
    )
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
        heartbeat_timeout=duration(heartbeat),
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
    is_eager = turn.execution.paused is None and eager(wanted)
    scheduled_event_id = activity.schedule(
        turn, attributes, _with_metadata(event, command), dispatch=not is_eager
    )
    if is_eager:
        outcome.eager_activities.add(scheduled_event_id)


def _cancel_activity(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    scheduled_event_id = command.request_cancel_activity_task_command_attributes.scheduled_event_id
    pending = turn.execution.activities.get(scheduled_event_id)
    if pending is None or pending.cancel_requested_event_id or pending.closing:
        return
    if activity_ends.request_cancel(turn, pending, outcome.completed_event_id, outcome.identity):
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
                identity=outcome.identity,
            ),
        )
    )


def _complete(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    attributes = command.complete_workflow_execution_command_attributes
    result = attributes.result if attributes.HasField("result") else None
    close.complete(turn, result, outcome.completed_event_id)


def _fail(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    close.fail(turn, command.fail_workflow_execution_command_attributes.failure, outcome.completed_event_id)


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
        workflow_execution_timeout=(
            duration(execution_timeout) if wanted.HasField("workflow_execution_timeout") else None
        ),
        workflow_run_timeout=duration(
            min(run_timeout, execution_timeout) if execution_timeout else run_timeout
        ),
        workflow_task_timeout=duration(
            min(
                to_ns(wanted.workflow_task_timeout) or turn.around.limits.workflow_task_timeout_default,
                turn.around.limits.workflow_task_timeout,
                run_timeout or turn.around.limits.workflow_task_timeout,
            )
        ),
        parent_close_policy=wanted.parent_close_policy or ParentClosePolicy.PARENT_CLOSE_POLICY_TERMINATE,
        control=wanted.control,
        workflow_task_completed_event_id=outcome.completed_event_id,
        workflow_id_reuse_policy=(
            wanted.workflow_id_reuse_policy or WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
        ),
        cron_schedule=wanted.cron_schedule,
        inherit_build_id=wanted.inherit_build_id,
    )
    _copy(
        wanted, attributes, "input", "header", "memo", "search_attributes", "priority", "versioning_override"
    )
    if wanted.HasField("retry_policy"):
        attributes.retry_policy.CopyFrom(retry.with_defaults(wanted.retry_policy, turn.around.limits))
    run_clock.pass_on_to_child(turn.execution, attributes)
    event = turn.event(
        _E.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED,
        start_child_workflow_execution_initiated_event_attributes=attributes,
    )
    child.initiate(turn, _with_metadata(event, command))


def _signal_external(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    wanted = command.signal_external_workflow_execution_command_attributes
    attributes = SignalExternalWorkflowExecutionInitiatedEventAttributes(
        workflow_task_completed_event_id=outcome.completed_event_id,
        namespace=wanted.namespace,
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
                namespace=wanted.namespace,
                namespace_id=turn.around.namespace_id,
                workflow_execution=WorkflowExecution(workflow_id=wanted.workflow_id, run_id=wanted.run_id),
                control=wanted.control,
                child_workflow_only=wanted.child_workflow_only,
                reason=wanted.reason,
            )
        ),
    )
    external.initiate_cancel(turn, _with_metadata(event, command))


def _schedule_nexus_operation(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    event = nexus_commands.scheduled_event(turn, command, outcome.completed_event_id)
    nexus_operation.schedule(turn, _with_metadata(event, command))


def _cancel_nexus_operation(turn: Turn, command: Command, outcome: Outcome, eager: Eager) -> None:
    event = nexus_commands.cancel_event(turn, command, outcome.completed_event_id)
    nexus_operation.request_cancel(turn, _with_metadata(event, command))


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
    _T.COMMAND_TYPE_SCHEDULE_NEXUS_OPERATION: _schedule_nexus_operation,
    _T.COMMAND_TYPE_REQUEST_CANCEL_NEXUS_OPERATION: _cancel_nexus_operation,
}
