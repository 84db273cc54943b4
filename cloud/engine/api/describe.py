"""DescribeWorkflowExecution: what a run is and what it waits for."""

from __future__ import annotations

from temporalio.api.common.v1 import Memo, RetryPolicy, WorkerVersionStamp, WorkflowExecution
from temporalio.api.enums.v1 import (
    ContinueAsNewVersioningBehavior,
    EventType,
    PendingActivityState,
    PendingWorkflowTaskState,
    TaskQueueKind,
    VersioningBehavior,
    WorkflowExecutionStatus,
)
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import (
    PendingActivityInfo,
    PendingChildExecutionInfo,
    PendingWorkflowTaskInfo,
    WorkflowExecutionConfig,
    WorkflowExecutionExtendedInfo,
    WorkflowExecutionInfo,
)
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
)

from cloud.engine.api import callbacks, checks
from cloud.engine.api.nexus_descriptions import pending_operation
from cloud.engine.core import older_versioning, start
from cloud.engine.core.clock import duration, given, timestamp, to_ns
from cloud.engine.core.state import Activity, Child, Execution
from cloud.engine.core.versions import message_of, older, version_of
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.nexus_breakers import Breakers
from cloud.engine.runtime.nexus_calls import destination_of
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.visible import attribute_types, search_attributes
from cloud.engine.store.search_attribute_values import described
from cloud.rpc import CallContext, InvalidArgument

_A = PendingActivityState


class Descriptions:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def describe_workflow_execution(
        self, request: DescribeWorkflowExecutionRequest, context: CallContext
    ) -> DescribeWorkflowExecutionResponse:
        """A run as it is now."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        if not request.HasField("execution"):
            raise InvalidArgument("Execution is not set on request.")
        checks.check_execution(request.execution)
        hot = await self._runtime.find(namespace, request.execution.workflow_id, request.execution.run_id)
        response = describe_run(hot, self._runtime.clock.now(), self._runtime.nexus_breakers)
        await self._runtime.durable(hot)
        return response


def describe_run(hot: HotRun, now: int, breakers: Breakers) -> DescribeWorkflowExecutionResponse:
    """A run as it is in memory, at `now` (ns) of its cell's clock. `breakers` know which destinations are left alone."""
    execution = hot.execution
    started = execution.started
    response = DescribeWorkflowExecutionResponse(
        execution_config=WorkflowExecutionConfig(
            task_queue=TaskQueue(name=started.task_queue.name, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL),
            workflow_execution_timeout=given(started, "workflow_execution_timeout"),
            workflow_run_timeout=given(started, "workflow_run_timeout"),
            default_workflow_task_timeout=started.workflow_task_timeout,
        ),
        workflow_execution_info=_info(hot),
        workflow_extended_info=_extended(execution, now),
    )
    if execution.callbacks:
        response.callbacks.extend(callbacks.described(execution, breakers))
    if execution.user_metadata:
        response.execution_config.user_metadata.CopyFrom(UserMetadata.FromString(execution.user_metadata))
    if execution.running:
        response.pending_activities.extend(
            _pending_activity(pending, older_versioning.assigned_to(execution))
            for pending in execution.activities.values()
            if not pending.closing
        )
        response.pending_children.extend(
            _pending_child(pending)
            for pending in execution.children.values()
            if pending.run_id and not pending.closing
        )
        response.pending_nexus_operations.extend(
            pending_operation(operation, blocked=breakers.is_open(destination_of(hot, operation)))
            for operation in execution.nexus_operations.values()
            if not operation.closing
        )
        task = execution.workflow_task
        if task.scheduled_event_id:
            response.pending_workflow_task.CopyFrom(
                PendingWorkflowTaskInfo(
                    state=(
                        PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
                        if task.started_event_id
                        else PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_SCHEDULED
                    ),
                    scheduled_time=timestamp(task.scheduled_time),
                    original_scheduled_time=timestamp(task.original_scheduled_time),
                    attempt=task.attempt,
                )
            )
            if task.started_event_id:
                response.pending_workflow_task.started_time.CopyFrom(timestamp(task.started_time))
    return response


def _info(hot: HotRun) -> WorkflowExecutionInfo:
    execution = hot.execution
    started, key = execution.started, execution.key
    execution_time = execution.start_time + to_ns(started.first_workflow_task_backoff)
    root = started.root_workflow_execution
    info = WorkflowExecutionInfo(
        execution=WorkflowExecution(workflow_id=key.workflow_id, run_id=key.run_id),
        type=started.workflow_type,
        start_time=timestamp(execution.start_time),
        execution_time=timestamp(execution_time),
        status=WorkflowExecutionStatus.ValueType(execution.shown_status),
        history_length=execution.next_event_id - 1,
        memo=Memo(fields=execution.memo),
        task_queue=started.task_queue.name,
        state_transition_count=execution.volatile.transitions,
        history_size_bytes=execution.history_size,
        root_execution=(
            root if root.workflow_id else WorkflowExecution(workflow_id=key.workflow_id, run_id=key.run_id)
        ),
        first_run_id=started.first_execution_run_id,
    )
    info.auto_reset_points.points.extend(execution.reset_points.values())
    if execution.options.HasField("priority"):
        info.priority.CopyFrom(execution.options.priority)
    _tell_version(execution, info)
    shown = described(search_attributes(execution), attribute_types(hot))
    info.search_attributes.CopyFrom(shown) if shown else info.search_attributes.SetInParent()
    if started.HasField("parent_workflow_execution"):
        info.parent_execution.CopyFrom(started.parent_workflow_execution)
        info.parent_namespace_id = key.namespace_id
    stamp = older_versioning.stamp_of(execution)
    if stamp:
        info.most_recent_worker_version_stamp.CopyFrom(
            WorkerVersionStamp(build_id=stamp, use_versioning=True)
        )
    elif execution.build_ids:
        info.most_recent_worker_version_stamp.CopyFrom(WorkerVersionStamp(build_id=execution.build_ids[-1]))
    info.assigned_build_id = older_versioning.assigned_to(execution)
    info.inherited_build_id = started.inherited_build_id
    if not execution.running:
        info.close_time.CopyFrom(timestamp(execution.close_time))
        info.execution_duration.CopyFrom(duration(max(execution.close_time - execution_time, 0)))
    return info


def _tell_version(execution: Execution, info: WorkflowExecutionInfo) -> None:
    """On which version of its workers the run is, in today's form and the older ones."""
    progress = execution.volatile.version_progress
    info.worker_deployment_name = execution.deployment_name
    if not (execution.was_overridden or execution.behavior or progress):
        return
    told = info.versioning_info
    told.behavior = VersioningBehavior.ValueType(execution.behavior)
    told.continue_as_new_initial_versioning_behavior = ContinueAsNewVersioningBehavior.ValueType(
        execution.initial_behavior
    )
    if execution.version:
        told.deployment_version.CopyFrom(message_of(execution.version))  # type: ignore[arg-type]
        told.version = older(execution.version)
    else:
        told.SetInParent()
    if progress is not None:
        told.revision_number = progress.revision
        if progress.transition is not None:
            told.version_transition.version = older(progress.transition)
            if progress.transition:
                told.version_transition.deployment_version.CopyFrom(message_of(progress.transition))  # type: ignore[arg-type]
    if execution.options.HasField("versioning_override"):
        override = told.versioning_override
        override.CopyFrom(execution.options.versioning_override)
        if override.auto_upgrade:
            override.behavior = VersioningBehavior.VERSIONING_BEHAVIOR_AUTO_UPGRADE
        elif override.HasField("pinned"):
            override.behavior = VersioningBehavior.VERSIONING_BEHAVIOR_PINNED
            override.pinned_version = older(version_of(override.pinned.version))


def _extended(execution: Execution, now: int) -> WorkflowExecutionExtendedInfo:
    info = WorkflowExecutionExtendedInfo(cancel_requested=execution.cancel_requested)
    started = info.request_id_infos[execution.volatile.start_request_id]
    started.event_id = 1
    started.event_type = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
    for request_id, by_event in execution.attached_request_ids.items():
        attached = info.request_id_infos[request_id]
        attached.event_id = by_event.event_id
        attached.event_type = by_event.event_type
        attached.buffered = not by_event.event_id
    if execution.started.HasField("workflow_execution_expiration_time"):
        info.execution_expiration_time.CopyFrom(execution.started.workflow_execution_expiration_time)
    run_due = start.due_run_timeout(execution, 0)
    if run_due:
        info.run_expiration_time.CopyFrom(timestamp(run_due))
    info.original_start_time.CopyFrom(timestamp(execution.original_start_time))
    if execution.reset_event_id:
        info.last_reset_time.CopyFrom(timestamp(execution.start_time))
    info.reset_run_id = execution.volatile.reset_run_id
    if execution.paused is not None:
        info.pause_info.paused_time.CopyFrom(timestamp(execution.paused.at))
        info.pause_info.identity = execution.paused.identity
        info.pause_info.reason = execution.paused.reason
    if execution.clock is not None:
        skipping = info.time_skipping_info
        skipping.current_time.CopyFrom(timestamp(now + execution.clock.skipped))
        if execution.clock.config is not None:
            skipping.effective_config.CopyFrom(execution.clock.config)
    return info


def _pending_activity(pending: Activity, assigned: str) -> PendingActivityInfo:
    scheduled, progress, now = pending.scheduled, pending.progress, pending.options
    state = _A.PENDING_ACTIVITY_STATE_SCHEDULED
    if pending.cancel_requested_event_id:
        state = _A.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED
    elif progress.pause is not None:
        state = (
            _A.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED
            if progress.started_time
            else _A.PENDING_ACTIVITY_STATE_PAUSED
        )
    elif progress.started_time:
        state = _A.PENDING_ACTIVITY_STATE_STARTED
    info = PendingActivityInfo(
        activity_id=scheduled.activity_id,
        activity_type=scheduled.activity_type,
        state=state,
        attempt=progress.attempt,
        maximum_attempts=now.retry_policy.maximum_attempts,
        last_worker_identity=progress.identity,
    )
    if progress.version:
        info.last_deployment_version.CopyFrom(message_of(progress.version))  # type: ignore[arg-type]
        info.last_worker_deployment_version = older(progress.version)
    if progress.assigned_build:
        info.last_independently_assigned_build_id = progress.assigned_build
    elif scheduled.use_workflow_build_id and assigned:
        info.use_workflow_build_id.SetInParent()
    if now.HasField("priority"):
        info.priority.CopyFrom(now.priority)
        info.activity_options.priority.CopyFrom(now.priority)
    if progress.pause is not None:
        info.paused = True
        info.pause_info.pause_time.CopyFrom(timestamp(progress.pause.at))
        by = info.pause_info.rule if progress.pause.rule_id else info.pause_info.manual
        by.identity, by.reason = progress.pause.identity, progress.pause.reason
        if progress.pause.rule_id:
            info.pause_info.rule.rule_id = progress.pause.rule_id
    if progress.heartbeat_details:
        info.heartbeat_details.ParseFromString(progress.heartbeat_details)
    if progress.last_failure:
        info.last_failure.ParseFromString(progress.last_failure)
    if progress.last_heartbeat_time:
        info.last_heartbeat_time.CopyFrom(timestamp(progress.last_heartbeat_time))
    if progress.started_time:  # as there: of the attempt that a worker has now
        info.last_started_time.CopyFrom(timestamp(progress.started_time))
    info.scheduled_time.CopyFrom(timestamp(progress.scheduled_time))
    if progress.last_attempt_complete_time:
        info.last_attempt_complete_time.CopyFrom(timestamp(progress.last_attempt_complete_time))
    if progress.backing_off:
        info.next_attempt_schedule_time.CopyFrom(timestamp(progress.scheduled_time))
        info.current_retry_interval.CopyFrom(
            duration(max(progress.scheduled_time - progress.last_attempt_complete_time, 0))
        )
    due = to_ns(now.schedule_to_close_timeout)
    if due:
        info.expiration_time.CopyFrom(timestamp(pending.scheduled_time + due))
    options = info.activity_options
    options.task_queue.name = options.task_queue.normal_name = now.task_queue.name
    for name in (
        "schedule_to_close_timeout",
        "schedule_to_start_timeout",
        "start_to_close_timeout",
        "heartbeat_timeout",
    ):
        getattr(options, name).CopyFrom(getattr(now, name))
    options.retry_policy.CopyFrom(now.retry_policy if now.HasField("retry_policy") else RetryPolicy())
    options.retry_policy.ClearField("non_retryable_error_types")
    return info


def _pending_child(pending: Child) -> PendingChildExecutionInfo:
    intent = pending.initiated
    return PendingChildExecutionInfo(
        workflow_id=intent.workflow_id,
        run_id=pending.run_id,
        workflow_type_name=intent.workflow_type.name,
        initiated_id=pending.initiated_event_id,
        parent_close_policy=intent.parent_close_policy,
    )
