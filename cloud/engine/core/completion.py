"""A worker answers its workflow task: with commands, or with a failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from temporalio.api.command.v1 import ScheduleActivityTaskCommandAttributes
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import WorkflowTaskCompletedEventAttributes
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest

from cloud.engine.core import close, command_checks, commands, workflow_task
from cloud.engine.core.clock import to_ns
from cloud.engine.core.errors import BadCommand
from cloud.engine.core.state import Sticky
from cloud.engine.core.turn import Turn

_C = WorkflowTaskFailedCause


@dataclass(slots=True)
class Completed:
    """What became of the task.

    `eager_activities` are scheduled events that the worker gets with the reply; `refusal` is why the task failed
    instead, for the reply's error; `new_task` says that the next workflow task is scheduled.
    """

    eager_activities: set[int] = field(default_factory=set)
    refusal: BadCommand | None = None
    new_task: bool = False


def complete(
    turn: Turn,
    request: RespondWorkflowTaskCompletedRequest,
    *,
    check_search_attributes: command_checks.AttributeCheck,
    eager: Callable[[ScheduleActivityTaskCommandAttributes], bool],
) -> Completed:
    """Carry out the completion of the task in flight (see ``workflow_task.require_in_flight``)."""
    execution = turn.execution
    task = execution.workflow_task
    plan = command_checks.Plan(turn, check_search_attributes)
    try:
        command_checks.check_all(plan, request.commands)
        command_checks.check_close(plan, request.commands)
    except BadCommand as error:
        return _refuse(turn, error, request.identity)

    heartbeat_since = task.original_scheduled_time
    identity = request.identity
    completed = WorkflowTaskCompletedEventAttributes(
        identity=identity,
        binary_checksum=request.binary_checksum,
        versioning_behavior=request.versioning_behavior,
    )
    for name in ("sdk_metadata", "metering_metadata", "worker_version_stamp"):
        if request.HasField(name):
            target = "worker_version" if name == "worker_version_stamp" else name
            getattr(completed, target).CopyFrom(getattr(request, name))
    if request.HasField("deployment_options"):
        completed.worker_deployment_name = request.deployment_options.deployment_name
    completed_event_id = workflow_task.write_completed(turn, completed)
    _remember_sticky(turn, request)
    retries = request.metering_metadata.nonfirst_local_activity_execution_attempts
    if retries:
        turn.meter("retry_activity_local", min(retries, 100))
    outcome = commands.carry_out(turn, request.commands, completed_event_id, eager)
    new_events = turn.flush_buffer()
    if not execution.running:
        return Completed(eager_activities=set())
    if new_events or outcome.needs_task:
        workflow_task.schedule(turn)
    elif request.force_create_new_workflow_task:
        workflow_task.schedule(turn, heartbeat_since=heartbeat_since)
        turn.meter("record_workflow_heartbeat")
    _enforce_history_limits(turn)
    return Completed(outcome.eager_activities, None, execution.has_pending_workflow_task)


def _remember_sticky(turn: Turn, request: RespondWorkflowTaskCompletedRequest) -> None:
    sticky = request.sticky_attributes
    turn.execution.volatile.sticky = (
        Sticky(
            queue=sticky.worker_task_queue.name,
            timeout=max(to_ns(sticky.schedule_to_start_timeout), 0)
            or to_ns(turn.execution.started.workflow_task_timeout),
        )
        if sticky.worker_task_queue.name
        else Sticky()
    )
    turn.dirty = True


def _refuse(turn: Turn, error: BadCommand, identity: str) -> Completed:
    cause = _C.ValueType(error.cause)
    failure = Failure(message=refusal_message(error))
    failure.server_failure_info.SetInParent()
    workflow_task.fail(turn, cause=cause, failure=failure, identity=identity, reschedule=not error.terminates)
    if error.terminates:
        close.terminate(turn, reason=failure.message, details=None, identity="history-service")
    return Completed(refusal=error, new_task=turn.execution.has_pending_workflow_task)


def refusal_message(error: BadCommand) -> str:
    """How the worker and the history are told: the cause's name, then the sentence."""
    cause = _C.ValueType(error.cause)
    if cause == _C.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND:
        return "UnhandledCommand"
    name = _C.Name(cause).removeprefix("WORKFLOW_TASK_FAILED_CAUSE_").title().replace("_", "")
    return f"{name}: {error.message}"


def _enforce_history_limits(turn: Turn) -> None:
    """A history that outgrew its limits ends its run (as the real server: terminated, with the reason)."""
    execution, limits = turn.execution, turn.around.limits
    count = execution.next_event_id - 1
    if execution.history_size <= limits.history_size_error and count <= limits.history_count_error:
        return
    reason = (
        "Workflow history size exceeds limit."
        if execution.history_size > limits.history_size_error
        else "Workflow history count exceeds limit."
    )
    close.terminate(turn, reason=reason, details=None, identity="history-service")
