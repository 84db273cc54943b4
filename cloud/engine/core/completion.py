"""A worker answers its workflow task: with commands, or with a failure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from temporalio.api.command.v1 import ScheduleActivityTaskCommandAttributes
from temporalio.api.deployment.v1 import WorkerDeploymentOptions
from temporalio.api.enums.v1 import WorkerVersioningMode, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import WorkflowTaskCompletedEventAttributes
from temporalio.api.update.v1 import Request
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest

from cloud.engine.core import (
    activity,
    close,
    command_checks,
    commands,
    enum_names,
    older_versioning,
    update,
    versioning,
    workflow_task,
)
from cloud.engine.core.clock import to_ns
from cloud.engine.core.effects import UpdateVisibility
from cloud.engine.core.errors import BadCommand
from cloud.engine.core.state import Execution, Sticky
from cloud.engine.core.turn import Turn
from cloud.engine.core.update import Answer, Answers, Attachment
from cloud.engine.core.versions import message_of

_C = WorkflowTaskFailedCause
VERSIONED = WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED

DISCARDED_EVENTS_MAX = 10
"""Events that a discarded task may have brought: they are brought again by the next one (the real server's default)."""


@dataclass(slots=True)
class Completed:
    """What became of the task.

    `eager_activities` are scheduled events that the worker gets with the reply; `refusal` is why the task failed
    instead, for the reply's error; `new_task` says that the next workflow task is scheduled. `updates` holds what the worker
    said of each; if that left no trace, `reset_to_event_id` is the event to which the worker must go back.
    """

    eager_activities: set[int] = field(default_factory=set)
    refusal: BadCommand | None = None
    new_task: bool = False
    updates: dict[str, Answer] = field(default_factory=dict)
    reset_to_event_id: int = 0


def complete(
    turn: Turn,
    request: RespondWorkflowTaskCompletedRequest,
    *,
    check_search_attributes: command_checks.AttributeCheck,
    eager: Callable[[ScheduleActivityTaskCommandAttributes], bool],
    sent_updates: Mapping[str, Request],
    attachments: Mapping[str, Sequence[Attachment]],
    new_updates: bool,
) -> Completed:
    """Carry out the completion of the task in flight (see ``workflow_task.require_in_flight``).

    `sent_updates` went out with the task and are not answered; with `new_updates` others wait for the next one. `attachments` is what is
    to be attached to an update, by its id, if the worker accepts it.

    Raises:
        BadCommand: the worker's answer is wrong, and an earlier attempt failed already. Nothing is changed: the task stays with its
            worker until its time-out, so that what goes wrong each time goes wrong at a walk.
    """
    execution = turn.execution
    task = execution.workflow_task
    plan = command_checks.Plan(turn, check_search_attributes)
    try:
        command_checks.check_all(plan, request.commands)
        command_checks.check_close(plan, request.commands)
        answers = update.read(turn, request.commands, request.messages, sent_updates, attachments)
    except BadCommand as error:
        if task.attempt > 1 and error.cause != _C.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND:
            raise
        return _refuse(turn, error, request.identity)

    if _leaves_no_trace(execution, request, answers):
        reset_to = execution.previous_started_event_id
        workflow_task.discard(turn)
        update.carry_out_rest(turn, answers)
        update.reject_unanswered(turn, answers)
        if new_updates:
            workflow_task.schedule(turn, speculative=True)
        return Completed(
            new_task=execution.has_pending_workflow_task,
            updates=answers.by_update,
            reset_to_event_id=reset_to,
        )

    heartbeat_since = task.original_scheduled_time
    identity = request.identity
    completed = _completed(request)
    version = version_of_worker(request.deployment_options)
    if version:
        completed.deployment_version.CopyFrom(message_of(version))  # type: ignore[arg-type]
    before = versioning.standing(execution)
    build_ids_before = len(execution.versioned_build_ids)
    completed_event_id = workflow_task.write_completed(turn, completed)
    _remember_sticky(turn, request, version)
    moved = versioning.standing(execution) != before
    if moved:
        turn.ask(UpdateVisibility())
        activity.offer_anew(turn)
    if len(execution.versioned_build_ids) != build_ids_before:
        turn.ask(UpdateVisibility())
    retries = request.metering_metadata.nonfirst_local_activity_execution_attempts
    if retries:
        turn.meter("retry_activity_local", min(retries, 100))
    outcome = commands.carry_out(turn, request.commands, completed_event_id, identity, eager, answers)
    update.carry_out_rest(turn, answers)
    new_events = turn.flush_buffer()
    if not execution.running:
        return Completed(updates=answers.by_update)
    if not request.force_create_new_workflow_task:  # a heartbeat need not answer yet
        update.reject_unanswered(turn, answers)
    in_transition = versioning.transition_of(execution) is not None
    if new_events or outcome.needs_task or in_transition:
        workflow_task.schedule(turn)
    elif request.force_create_new_workflow_task:
        workflow_task.schedule(turn, heartbeat_since=heartbeat_since)
        turn.meter("record_workflow_heartbeat")
    elif new_updates:
        workflow_task.schedule(turn, speculative=True)
    close.enforce_limits(turn)
    return Completed(
        outcome.eager_activities, None, execution.has_pending_workflow_task, updates=answers.by_update
    )


def _completed(request: RespondWorkflowTaskCompletedRequest) -> WorkflowTaskCompletedEventAttributes:
    """What the completed event tells of the worker, but for its version."""
    completed = WorkflowTaskCompletedEventAttributes(
        identity=request.identity,
        binary_checksum=request.binary_checksum,
    )
    if (
        not request.HasField("deployment_options")
        or request.deployment_options.worker_versioning_mode == VERSIONED
    ):
        completed.versioning_behavior = request.versioning_behavior
    for name in ("sdk_metadata", "metering_metadata", "worker_version_stamp"):
        if request.HasField(name):
            target = "worker_version" if name == "worker_version_stamp" else name
            getattr(completed, target).CopyFrom(getattr(request, name))
    if request.HasField("deployment_options"):
        completed.worker_deployment_name = request.deployment_options.deployment_name
    return completed


def _leaves_no_trace(
    execution: Execution, request: RespondWorkflowTaskCompletedRequest, answers: Answers
) -> bool:
    """Whether a speculative task may go as if it had never been: nothing is to be kept of it.

    Older SDKs can't be shown the same events twice: then only a task that brought none of its own may go.
    """
    if not execution.workflow_task.speculative or request.commands or execution.buffered:
        return False
    if request.force_create_new_workflow_task or not answers.only_rejections:
        return False
    brought = execution.next_event_id - execution.last_workflow_task_completed_event_id - 1
    can_discard = request.capabilities.discard_speculative_workflow_task_with_events
    return brought <= (DISCARDED_EVENTS_MAX if can_discard else 0)


def version_of_worker(options: WorkerDeploymentOptions) -> str:
    """The version of a worker that says so, "" for one without."""
    if options.worker_versioning_mode != VERSIONED or not options.deployment_name:
        return ""
    return f"{options.deployment_name}:{options.build_id}"


def _remember_sticky(turn: Turn, request: RespondWorkflowTaskCompletedRequest, version: str) -> None:
    sticky = request.sticky_attributes
    transition = versioning.transition_of(turn.execution)
    assigned = older_versioning.assigned_to(turn.execution)
    turn.execution.volatile.sticky = (
        Sticky(
            queue=sticky.worker_task_queue.name,
            timeout=max(to_ns(sticky.schedule_to_start_timeout), 0)
            or to_ns(turn.execution.started.workflow_task_timeout),
        )
        if sticky.worker_task_queue.name
        and transition in (None, version)
        and assigned in ("", request.worker_version_stamp.build_id)
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
    name = enum_names.camel(_C, cause, "WORKFLOW_TASK_FAILED_CAUSE_")
    return f"{name}: {error.message}"
