"""A run from elsewhere: its history, and what its server's description tells beside it, as the state of a run here.

The history is folded by the same functions as our own. What it does not tell is in the description: attempts, failures and heartbeats
of activities, their backoffs and pauses, the attempt of the workflow task. What is in neither would be lost, so such a run is refused
until its server has settled it: events that are buffered behind a workflow task in flight, an update that no worker has accepted,
a child or a signal that is on its way. Whatever the two don't agree on is refused as well.

A worker that holds an activity goes on holding it: its attempt ends here by its time-outs, unless somebody tells of its end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import Payload, RetryPolicy
from temporalio.api.enums.v1 import CallbackState, EventType, PendingActivityState, PendingWorkflowTaskState
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import CallbackInfo, PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from cloud.engine.core import activity, callback, machine, older_versioning, update, workflow_task
from cloud.engine.core.activity_operations import options_of
from cloud.engine.core.clock import to_ns
from cloud.engine.core.errors import CoreDefect, CoreRefusal
from cloud.engine.core.limits import Limits
from cloud.engine.core.state import (
    Activity,
    ActivityPause,
    ActivityProgress,
    CallbackProgress,
    CompletionCallback,
    Execution,
    Problems,
    RunKey,
    VersionProgress,
    WorkflowTask,
)
from cloud.engine.core.turn import grow
from cloud.engine.core.versions import version_of

_E = EventType
_A = PendingActivityState

_CALLED = (CallbackState.CALLBACK_STATE_SUCCEEDED, CallbackState.CALLBACK_STATE_FAILED)
_FAILURES = (_E.EVENT_TYPE_WORKFLOW_TASK_FAILED, _E.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT)

LIMITS_EXCEEDED_MAX = 2
"""A history may be this many times as large as one of our own may grow: its server's limits may be others."""


class NotImportable(CoreRefusal):
    """The run can't become one of ours as it is; the sentence says why."""


class TooLarge(NotImportable):
    """The history is larger than any that is served."""


class UnknownEvent(NotImportable):
    """An event is of a type that is not served, or is none at all."""


class HistoryGap(NotImportable):
    """Events are missing, or one speaks of what the history does not have."""


class DescriptionMissing(NotImportable):
    """The run is open, and nothing tells what its history does not."""


class NotSettled(NotImportable):
    """The run is in the middle of something that neither history nor description tells the whole of. A moment later it may not be."""


class TaskInFlight(NotSettled):
    """A worker holds the workflow task: events may be buffered behind it, which nobody can see."""


class Inconsistent(NotImportable):
    """History and description are not of the same moment, or not of the same run."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A run that can be stored: its state, and the events that it is the fold of."""

    execution: Execution
    events: list[HistoryEvent]


def read(
    key: RunKey,
    events: Sequence[HistoryEvent],
    description: DescribeWorkflowExecutionResponse | None,
    limits: Limits,
) -> Imported:
    """The run `key` as its history and its description tell. Closed runs need no description.

    Raises:
        NotImportable: it can't be, or not now; the kinds say why.
    """
    if len(events) > LIMITS_EXCEEDED_MAX * limits.history_count_error:
        raise TooLarge(f"the history has {len(events)} events; {limits.history_count_error} are served")
    execution, written = _fold(key, events)
    if execution.history_size > LIMITS_EXCEEDED_MAX * limits.history_size_error:
        raise TooLarge(
            f"the history has {execution.history_size} bytes; {limits.history_size_error} are served"
        )
    if execution.running:
        _check_no_task_in_flight(execution, description)
    if description is not None:
        _check_same_run(execution, description)
        execution.volatile.transitions = description.workflow_execution_info.state_transition_count
        execution.volatile.reset_run_id = description.workflow_extended_info.reset_run_id
        for request_id, info in description.workflow_extended_info.request_id_infos.items():
            if info.event_type == _E.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                execution.volatile.start_request_id = request_id
        _restore_build(execution, description)
    if execution.running:
        if description is None:
            raise DescriptionMissing(
                "the run is open: its history alone does not tell its activities' attempts; describe it too"
            )
        _restore_version(execution, description)
        _restore_problems(execution, description)
        _restore_workflow_task(execution, written, description)
        _restore_activities(execution, description)
        _restore_callbacks(execution, description)
        _check_settled(execution, description)
        if (
            execution.admitted_updates
            and execution.last_workflow_task_completed_event_id > execution.reset_event_id
        ):
            # Each workflow task of the run itself answers all updates that it brings; a rejection leaves no event.
            execution.volatile.settled_updates = execution.last_workflow_task_completed_event_id
            update.restore(execution)
    else:
        execution.volatile.close_propagated = True  # its own server told its parent, and ended its children
        _restore_callbacks(execution, description)
    machine.refill_deadlines(execution)
    return Imported(execution, written)


# --- the history ------------------------------------------------------------------------------------------------


def _fold(key: RunKey, events: Sequence[HistoryEvent]) -> tuple[Execution, list[HistoryEvent]]:
    execution = Execution(key)
    written: list[HistoryEvent] = []
    for original in _written(events):
        event = HistoryEvent()
        event.CopyFrom(original)
        _check_event(event, len(written) + 1)
        event.task_id = event.event_id  # readers want it to rise, also with what follows here
        execution.next_event_id = event.event_id + 1
        try:
            machine.apply(execution, event)
        except CoreDefect as error:
            raise UnknownEvent(str(error)) from None
        except (LookupError, ValueError, AttributeError) as error:
            raise HistoryGap(
                f"event {event.event_id} ({_E.Name(event.event_type)}) speaks of {error}, which the history does not have"
            ) from None
        grow(execution, event)
        if event.event_type == _E.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
            execution.volatile.had_workflow_task = True
        if not execution.running and len(written) + 1 < len(events):
            raise HistoryGap(f"the run is closed by event {event.event_id}, and more events follow")
        written.append(event)
    if not written or written[0].event_type != _E.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
        raise HistoryGap("the history does not begin with the start of a run")
    return execution, written


def _written(events: Sequence[HistoryEvent]) -> Sequence[HistoryEvent]:
    """The events without those of a transient workflow task at the end, which are shown to readers and written nowhere."""
    for count in (1, 2):
        if len(events) > count:
            event = events[-count]
            if (
                event.event_type == _E.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED
                and event.workflow_task_scheduled_event_attributes.attempt > 1
            ):
                return events[:-count]
            if event.event_type != _E.EVENT_TYPE_WORKFLOW_TASK_STARTED:
                break
    return events


def _check_event(event: HistoryEvent, event_id: int) -> None:
    if event.event_id != event_id:
        raise HistoryGap(f"event {event_id} is missing: {event.event_id} stands in its place")
    if event.event_type not in _E.values():
        raise UnknownEvent(f"event {event_id} is of the unknown type {event.event_type}")
    name = _E.Name(event.event_type)
    wanted = f"{name.removeprefix('EVENT_TYPE_').lower()}_event_attributes"
    if event.WhichOneof("attributes") != wanted:
        raise UnknownEvent(f"event {event_id} is of type {name}, and has no {wanted}")
    if (event_id == 1) != (event.event_type == _E.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED):
        raise HistoryGap(
            f"event {event_id} is of type {name}: a history begins with the start of its run, once"
        )


# --- the description --------------------------------------------------------------------------------------------


def _check_no_task_in_flight(
    execution: Execution, description: DescribeWorkflowExecutionResponse | None
) -> None:
    described = description.pending_workflow_task.state if description is not None else 0
    if (
        execution.workflow_task_in_flight
        or described == PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
    ):
        raise TaskInFlight("a worker holds the workflow task: wait until it has answered")


def _check_same_run(execution: Execution, description: DescribeWorkflowExecutionResponse) -> None:
    info = description.workflow_execution_info
    here = (
        execution.key.workflow_id,
        execution.key.run_id,
        execution.started.workflow_type.name,
        execution.shown_status,
        execution.next_event_id - 1,
        execution.cancel_requested,
    )
    there = (
        info.execution.workflow_id,
        info.execution.run_id,
        info.type.name,
        info.status,
        info.history_length,
        description.workflow_extended_info.cancel_requested,
    )
    names = ("workflow id", "run id", "type", "status", "count of events", "cancellation")
    for name, told, described in zip(names, here, there, strict=True):
        if told != described:
            raise Inconsistent(
                f"the {name} is {told!r} by the history and {described!r} by the description: "
                "read both anew, in one moment in which nothing happens to the run"
            )


def _restore_problems(execution: Execution, description: DescribeWorkflowExecutionResponse) -> None:
    """What lists show of workflow tasks that keep failing. How many have failed since the first is not told: it counts anew."""
    told = description.workflow_execution_info.search_attributes.indexed_fields
    if "TemporalReportedProblems" not in told:
        return
    reported = _texts(told["TemporalReportedProblems"], "TemporalReportedProblems")
    if reported:
        execution.volatile.problems = Problems(len(reported), reported, list(reported))


def _texts(payload: Payload, name: str) -> list[str]:
    """A search attribute that is a list of texts; empty if it is none."""
    try:
        found = json.loads(payload.data)
    except ValueError:
        raise Inconsistent(f"the search attribute {name} can't be read") from None
    return found if isinstance(found, list) and all(isinstance(each, str) for each in found) else []


def _restore_version(execution: Execution, description: DescribeWorkflowExecutionResponse) -> None:
    """To which version of its workers the run is moving, and by which routing it came where it is."""
    told = description.workflow_execution_info.versioning_info
    transition = (
        version_of(told.version_transition.deployment_version)
        if told.HasField("version_transition")
        else None
    )
    if transition is not None or told.revision_number:
        progress = execution.volatile.version_progress or VersionProgress()
        progress.transition, progress.revision = transition, told.revision_number
        execution.volatile.version_progress = progress


def _restore_build(execution: Execution, description: DescribeWorkflowExecutionResponse) -> None:
    """The build id that rules assigned the run to before a worker took a task of it: events tell of those that did."""
    info = description.workflow_execution_info
    if not info.assigned_build_id:
        return
    older_versioning.assign(execution, info.assigned_build_id)
    shown = info.search_attributes.indexed_fields
    if "BuildIds" in shown:
        older_versioning.remember(execution, _texts(shown["BuildIds"], "BuildIds"))


def _restore_workflow_task(
    execution: Execution, written: Sequence[HistoryEvent], description: DescribeWorkflowExecutionResponse
) -> None:
    task = execution.workflow_task
    pending = description.pending_workflow_task if description.HasField("pending_workflow_task") else None
    if pending is None:
        if task.scheduled_event_id:
            raise Inconsistent("a workflow task waits by the history, and none by the description")
        return
    if not task.scheduled_event_id and pending.attempt <= 1:
        raise NotSettled("a workflow task waits that is not in the history: an update is on its way")
    if not task.scheduled_event_id:
        execution.volatile.workflow_task = task = WorkflowTask(
            scheduled_event_id=_after_the_failure(written) or execution.next_event_id,
            attempt=pending.attempt,
            timeout=workflow_task.start_to_close(
                to_ns(execution.started.workflow_task_timeout), pending.attempt
            ),
        )
        execution.volatile.had_workflow_task = True
    task.scheduled_time = to_ns(pending.scheduled_time) or task.scheduled_time
    task.original_scheduled_time = to_ns(pending.original_scheduled_time) or task.scheduled_time
    task.sticky = False  # the queue of one worker's own: any may have it here


def _after_the_failure(written: Sequence[HistoryEvent]) -> int:
    """The id that the scheduled event of a transient workflow task would have: an event there makes it a normal one when it is taken."""
    for event in reversed(written):
        if event.event_type in _FAILURES:
            return event.event_id + 1
    return 0


def _restore_activities(execution: Execution, description: DescribeWorkflowExecutionResponse) -> None:
    described = {info.activity_id: info for info in description.pending_activities}
    if described.keys() != execution.activity_ids.keys() or len(described) != len(
        description.pending_activities
    ):
        raise Inconsistent(
            f"the pending activities are {sorted(execution.activity_ids)} by the history and {sorted(described)} "
            "by the description"
        )
    for pending in execution.activities.values():
        info = described[pending.scheduled.activity_id]
        progress = _progress(pending, info)
        _restore_activity_build(execution, progress, info)
        activity.restore(pending, progress)
        activity.weigh(execution, pending.scheduled_event_id)


def _progress(pending: Activity, info: PendingActivityInfo) -> ActivityProgress:
    started = info.state in (_A.PENDING_ACTIVITY_STATE_STARTED, _A.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED)
    cancelled = info.state == _A.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED
    if cancelled:  # whether a worker holds it is not told: one that none holds ends at once, but in a run that a reset made
        began, ended = to_ns(info.last_started_time), to_ns(info.last_attempt_complete_time)
        started = began > 0 and began >= ended
    if cancelled != bool(pending.cancel_requested_event_id):
        raise Inconsistent(
            f"activity {info.activity_id!r}: history and description disagree on its cancellation"
        )
    started_time = to_ns(info.last_started_time) if started else 0
    if started and not started_time:
        raise Inconsistent(f"activity {info.activity_id!r} is held by a worker, and since when is not told")
    backing_off = info.HasField("next_attempt_schedule_time") and not started and not info.paused
    progress = ActivityProgress(
        attempt=max(info.attempt, 1),
        scheduled_time=pending.scheduled_time,
        started_time=started_time,
        identity=info.last_worker_identity,
        version=version_of(info.last_deployment_version),
        last_heartbeat_time=to_ns(info.last_heartbeat_time),
        last_attempt_complete_time=to_ns(info.last_attempt_complete_time),
        backing_off=backing_off,
    )
    if backing_off:
        progress.scheduled_time = to_ns(info.next_attempt_schedule_time)
    elif info.HasField("scheduled_time"):
        progress.scheduled_time = to_ns(info.scheduled_time)
    elif started:
        progress.scheduled_time = started_time
    if info.HasField("heartbeat_details"):
        progress.heartbeat_details = info.heartbeat_details.SerializeToString()
    if info.HasField("last_failure"):
        progress.last_failure = info.last_failure.SerializeToString()
    if info.paused:
        progress.pause = _pause(info)
    options = _changed_options(pending, info)
    if options is not None:
        progress.options = options.SerializeToString()
    return progress


def _restore_activity_build(
    execution: Execution, progress: ActivityProgress, info: PendingActivityInfo
) -> None:
    """The build id that rules gave the attempt to, its own or the run's: that of the worker that holds it, as far as is told."""
    progress.assigned_build = info.last_independently_assigned_build_id
    if not progress.started_time:
        return
    builds = execution.volatile.builds
    if progress.assigned_build:
        progress.build_id = progress.assigned_build
    elif builds is not None and info.HasField("use_workflow_build_id"):
        progress.build_id, progress.redirects = builds.assigned, builds.redirects
    progress.use_versioning = bool(progress.build_id)


def _pause(info: PendingActivityInfo) -> ActivityPause:
    told = info.pause_info
    by = told.rule if told.HasField("rule") else told.manual
    return ActivityPause(
        at=to_ns(told.pause_time), identity=by.identity, reason=by.reason, rule_id=told.rule.rule_id
    )


def _changed_options(pending: Activity, info: PendingActivityInfo) -> ActivityOptions | None:
    """The options that it has now, if they are others than it was scheduled with."""
    if not info.HasField("activity_options"):
        return None
    scheduled, now = options_of(pending, original=True), ActivityOptions()
    now.CopyFrom(info.activity_options)
    now.task_queue.normal_name = ""
    now.task_queue.kind = scheduled.task_queue.kind
    if scheduled.HasField("retry_policy"):
        # Which errors are not retried is not told with the rest, and can't be changed apart from it.
        del now.retry_policy.non_retryable_error_types[:]
        now.retry_policy.non_retryable_error_types.extend(scheduled.retry_policy.non_retryable_error_types)
    elif now.retry_policy == RetryPolicy():
        now.ClearField("retry_policy")
    return None if _without_empty(now) == _without_empty(scheduled) else now


def _without_empty(options: ActivityOptions) -> ActivityOptions:
    """A copy in which what is empty is not set: servers differ in that."""
    found = ActivityOptions()
    found.CopyFrom(options)
    for message in (found, found.retry_policy) if found.HasField("retry_policy") else (found,):
        for descriptor, value in message.ListFields():
            if (
                descriptor.message_type is not None
                and descriptor.name != "retry_policy"
                and not value.ByteSize()
            ):
                message.ClearField(descriptor.name)  # type: ignore[arg-type]
    return found


def _restore_callbacks(execution: Execution, description: DescribeWorkflowExecutionResponse | None) -> None:
    """Nobody is called twice: callbacks whose time has come must be done with, one way or the other."""
    told = list(description.callbacks) if description is not None else []
    for found in execution.callbacks:
        info = next((info for info in told if _is_of(info, found)), None)
        if info is None:
            if not callback.triggered(execution, found):
                continue
            if found.update_id and description is not None:
                found.progress = CallbackProgress(failed=True)  # its server calls none of updates
                continue
            raise DescriptionMissing(
                "the run has completion callbacks, and only its description tells whether they were called"
            )
        told.remove(info)
        if info.state not in _CALLED:
            if callback.triggered(execution, found) or info.state != CallbackState.CALLBACK_STATE_STANDBY:
                raise NotSettled("the run's completion callbacks are being called")
            continue
        found.progress = CallbackProgress(
            attempt=info.attempt,
            last_attempt_complete_time=to_ns(info.last_attempt_complete_time),
            last_failure=(
                info.last_attempt_failure.SerializeToString()
                if info.HasField("last_attempt_failure")
                else b""
            ),
            succeeded=info.state == CallbackState.CALLBACK_STATE_SUCCEEDED,
            failed=info.state == CallbackState.CALLBACK_STATE_FAILED,
        )


def _is_of(info: CallbackInfo, found: CompletionCallback) -> bool:
    return (
        info.trigger.update_workflow_execution_completed.update_id == found.update_id
        and info.callback.nexus == found.callback.nexus
    )


def _check_settled(execution: Execution, description: DescribeWorkflowExecutionResponse) -> None:
    for key, child in execution.children.items():
        if not child.run_id:
            raise NotSettled(f"a child ({child.initiated.workflow_id!r}, event {key}) is being started")
    if execution.external_signals or execution.external_cancels:
        raise NotSettled("a signal or a cancel request is on its way to another workflow")
    if execution.nexus_operations:
        raise NotSettled("a Nexus operation is under way: its handler would tell its end elsewhere")
    described = {info.initiated_id for info in description.pending_children}
    if described != execution.children.keys():
        raise Inconsistent(
            f"the pending children are those of events {sorted(execution.children)} by the history and "
            f"{sorted(described)} by the description"
        )
