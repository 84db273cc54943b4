"""Batch operations: starting, stopping, describing and listing them, and what they do to each run."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from typing import Any

from temporalio.api.batch.v1 import BatchOperationInfo
from temporalio.api.common.v1 import Execution
from temporalio.api.enums.v1 import (
    BatchOperationState,
    BatchOperationType,
    ResourceExhaustedCause,
    ResourceExhaustedScope,
)
from temporalio.api.errordetails.v1 import (
    NotFoundFailure,
    ResourceExhaustedFailure,
    WorkflowExecutionAlreadyStartedFailure,
)
from temporalio.api.workflowservice.v1 import (
    DescribeBatchOperationRequest,
    DescribeBatchOperationResponse,
    ListBatchOperationsRequest,
    ListBatchOperationsResponse,
    StartBatchOperationRequest,
    StartBatchOperationResponse,
    StopBatchOperationRequest,
    StopBatchOperationResponse,
)

from cloud.engine.api import activity_operations, checks, workflow_options
from cloud.engine.api.batch_checks import OF_STANDALONE_ACTIVITIES, check_start, operation_of, type_of
from cloud.engine.api.batch_resets import BatchResets
from cloud.engine.api.workflows import delete_run
from cloud.engine.core import activity_operations as operations
from cloud.engine.core import cancellation, close, signal, standalone_activity
from cloud.engine.core.activity_operations import Selection
from cloud.engine.core.clock import timestamp
from cloud.engine.core.errors import CoreRefusal, NoSuchTask, RunClosed
from cloud.engine.core.standalone_asked import Asked
from cloud.engine.runtime.batch_operations import (
    BatchOperations,
    Job,
    JobEnded,
    JobExists,
    NoSuchJob,
    TooManyJobs,
)
from cloud.engine.runtime.batch_targets import ActivityTargets, WorkflowTargets
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.hot_activity import HotActivity
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.resetting import Resetting
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.standalone_activities import StandaloneActivities
from cloud.engine.runtime.tokens import LIST_PAGE, BadToken, ListPageToken
from cloud.engine.store.batch_operations import RUNNING
from cloud.engine.store.visibility_filter import FilterError
from cloud.rpc import (
    AlreadyExists,
    CallContext,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    RpcError,
)

PAGE_SIZE_MAX = 1_000
_PAGES = b"batch operations"
_TYPES = {
    "termination_operation": BatchOperationType.BATCH_OPERATION_TYPE_TERMINATE_WORKFLOW,
    "signal_operation": BatchOperationType.BATCH_OPERATION_TYPE_SIGNAL_WORKFLOW,
    "cancellation_operation": BatchOperationType.BATCH_OPERATION_TYPE_CANCEL_WORKFLOW,
    "deletion_operation": BatchOperationType.BATCH_OPERATION_TYPE_DELETE_WORKFLOW,
    "reset_operation": BatchOperationType.BATCH_OPERATION_TYPE_RESET_WORKFLOW,
    "update_workflow_options_operation": (
        BatchOperationType.BATCH_OPERATION_TYPE_UPDATE_WORKFLOW_EXECUTION_OPTIONS
    ),
    "unpause_activities_operation": BatchOperationType.BATCH_OPERATION_TYPE_UNPAUSE_ACTIVITY,
    "reset_activities_operation": BatchOperationType.BATCH_OPERATION_TYPE_RESET_ACTIVITY,
    "update_activity_options_operation": BatchOperationType.BATCH_OPERATION_TYPE_UPDATE_ACTIVITY_OPTIONS,
    "cancel_activities_operation": BatchOperationType.BATCH_OPERATION_TYPE_CANCEL_ACTIVITY,
    "terminate_activities_operation": BatchOperationType.BATCH_OPERATION_TYPE_TERMINATE_ACTIVITY,
    "delete_activities_operation": BatchOperationType.BATCH_OPERATION_TYPE_DELETE_ACTIVITY,
}
_FOR_CLOSED_TOO = frozenset({"deletion_operation", "reset_operation", "delete_activities_operation"})


class BatchOperationMethods:
    """See the module's head."""

    def __init__(self, runtime: Runtime, resetting: Resetting, activities: StandaloneActivities) -> None:
        self._runtime = runtime
        operations = _Operations(runtime, BatchResets(runtime, resetting), activities)
        workflows, standalone = WorkflowTargets(runtime), ActivityTargets(activities)
        self._jobs = BatchOperations(
            runtime,
            operations.perform,
            lambda request: standalone if operation_of(request) in OF_STANDALONE_ACTIVITIES else workflows,
            _is_for_open_ones,
            _needs_all,
        )
        runtime.accompany(self._jobs)

    async def start_batch_operation(
        self, request: StartBatchOperationRequest, context: CallContext
    ) -> StartBatchOperationResponse:
        """Start a job; it goes on by itself."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        check_start(request, self._runtime)
        try:
            await self._jobs.begin(namespace, request)
        except FilterError as error:
            raise InvalidArgument(f"invalid visibility query: {error}") from None
        except TooManyJobs:
            raise ResourceExhausted(
                "Max concurrent batch operations is reached",
                ResourceExhaustedFailure(
                    cause=ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT,
                    scope=ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE,
                ),
            ) from None
        except JobExists as error:
            raise _exists(error.job) from None
        return StartBatchOperationResponse()

    async def stop_batch_operation(
        self, request: StopBatchOperationRequest, context: CallContext
    ) -> StopBatchOperationResponse:
        """Stop a job; what it has done stays done."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.require(request.job_id, "JobId")
        checks.require(request.reason, "Reason")
        try:
            await self._jobs.end(namespace, request.job_id)
        except (NoSuchJob, JobEnded) as error:
            raise NotFound(str(error), NotFoundFailure()) from None
        return StopBatchOperationResponse()

    async def describe_batch_operation(
        self, request: DescribeBatchOperationRequest, context: CallContext
    ) -> DescribeBatchOperationResponse:
        """A job as it is now."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.require(request.job_id, "JobId")
        try:
            job = await self._jobs.find(namespace, request.job_id)
        except NoSuchJob as error:
            raise NotFound(str(error), NotFoundFailure()) from None
        wanted, progress = job.request, job.progress
        which = operation_of(wanted)
        response = DescribeBatchOperationResponse(
            operation_type=_TYPES[which],
            job_id=job.row.job_id,
            state=BatchOperationState.ValueType(job.state),
            start_time=timestamp(job.row.start_time),
            total_operation_count=progress.total,
            complete_operation_count=progress.done,
            failure_operation_count=progress.failed,
            identity=getattr(getattr(wanted, which), "identity", ""),
            reason=wanted.reason,
            query=wanted.visibility_query,
            executions=wanted.target_executions,
        )
        response.executions.extend(
            Execution(type=type_of(which), business_id=each.workflow_id, run_id=each.run_id)
            for each in wanted.executions
        )
        if job.close_time:
            response.close_time.CopyFrom(timestamp(job.close_time))
        return response

    async def list_batch_operations(
        self, request: ListBatchOperationsRequest, context: CallContext
    ) -> ListBatchOperationsResponse:
        """Jobs, newest first."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        size = min(request.page_size, PAGE_SIZE_MAX) if request.page_size > 0 else PAGE_SIZE_MAX
        before = self._read_token(namespace, request.next_page_token)
        jobs = await self._jobs.page(namespace, size + 1, before)
        response = ListBatchOperationsResponse(operation_info=[_info(job) for job in jobs[:size]])
        if len(jobs) > size:
            last = jobs[size - 1].row
            response.next_page_token = self._runtime.tokens.make(
                LIST_PAGE,
                namespace.namespace_id,
                ListPageToken(_PAGES, f"{last.start_time}/{last.job_id}".encode()),
            )
        return response

    def _read_token(self, namespace: Namespace, token: bytes) -> tuple[int, str] | None:
        if not token:
            return None
        try:
            found: ListPageToken = self._runtime.tokens.read(
                token, LIST_PAGE, namespace.namespace_id, ListPageToken
            )
        except BadToken:
            raise InvalidArgument("Invalid NextPageToken.") from None
        if found.query != _PAGES:
            raise InvalidArgument("Invalid NextPageToken: it belongs to another list.")
        start_time, _, job_id = found.cursor.decode().partition("/")
        return int(start_time), job_id


def _info(job: Job) -> BatchOperationInfo:
    info = BatchOperationInfo(
        job_id=job.row.job_id,
        state=BatchOperationState.ValueType(job.state),
        start_time=timestamp(job.row.start_time),
        operation_type=_TYPES[operation_of(job.request)],
    )
    if job.close_time:
        info.close_time.CopyFrom(timestamp(job.close_time))
    return info


def _is_for_open_ones(request: StartBatchOperationRequest) -> bool:
    return operation_of(request) not in _FOR_CLOSED_TOO


def _needs_all(request: StartBatchOperationRequest) -> bool:
    return operation_of(request) == "reset_operation"


def _exists(job: Job) -> AlreadyExists:
    where = f"WorkflowId: {job.row.job_id}, RunId: {job.row.run_id}."
    return AlreadyExists(
        f"Workflow execution is already running. {where}"
        if job.state == RUNNING
        else f"Workflow execution already finished. {where} Workflow Id reuse policy: reject duplicate workflow Id.",
        WorkflowExecutionAlreadyStartedFailure(run_id=job.row.run_id, first_execution_run_id=job.row.run_id),
    )


# --- what is done to each run ------------------------------------------------------------------------------------


class _Operations:
    """Does a job's operation to one run, in one transition where it must not be done twice."""

    def __init__(self, runtime: Runtime, resets: BatchResets, activities: StandaloneActivities) -> None:
        self._runtime = runtime
        self._resets = resets
        self._activities = activities

    def perform(self, hot: Any, job: Job) -> str | Awaitable[str]:
        """See `runtime.batch_operations.Perform`."""
        which = operation_of(job.request)
        if which == "delete_activities_operation":
            return self._delete_activity(hot)
        if which == "deletion_operation":
            return self._delete(hot)
        if which == "reset_operation":
            return self._resets.perform(hot, job)
        try:
            getattr(self, f"_{which}")(hot, job, getattr(job.request, which))
        except (RunClosed, NoSuchTask, NotFound):
            return ""  # what is not there (any more) has no need of it
        except (CoreRefusal, RpcError) as error:
            return str(error)
        return ""

    async def _delete(self, hot: HotRun) -> str:
        await delete_run(self._runtime, hot)
        return ""

    async def _delete_activity(self, hot: HotActivity) -> str:
        await self._activities.delete(hot)
        return ""

    def _terminate_activities_operation(self, hot: HotActivity, job: Job, operation: Any) -> None:
        with self._activities.step(hot) as step:
            standalone_activity.terminate(step, self._asked(hot, job, operation))

    def _cancel_activities_operation(self, hot: HotActivity, job: Job, operation: Any) -> None:
        with self._activities.step(hot) as step:
            standalone_activity.request_cancel(step, self._asked(hot, job, operation))

    def _asked(self, hot: HotActivity, job: Job, operation: Any) -> Asked:
        """What is asked of an activity once, however often a list names it."""
        request_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{job.row.run_id}:{hot.run_id}"))
        return Asked(self._runtime.clock.now(), operation.identity, operation.reason, request_id)

    def _termination_operation(self, hot: HotRun, job: Job, operation: Any) -> None:
        with self._runtime.transition(hot) as turn:
            close.terminate(
                turn,
                reason=job.request.reason,
                details=operation.details if operation.HasField("details") else None,
                identity=operation.identity,
            )

    def _cancellation_operation(self, hot: HotRun, job: Job, operation: Any) -> None:
        with self._runtime.transition(hot) as turn:
            cancellation.request(turn, reason="", identity=operation.identity)

    def _signal_operation(self, hot: HotRun, job: Job, operation: Any) -> None:
        # A run that a list names twice is signalled once.
        request_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{job.row.run_id}:{hot.run_id}"))
        with self._runtime.transition(hot) as turn:
            signal.receive(
                turn,
                name=operation.signal,
                input=operation.input if operation.HasField("input") else None,
                identity=operation.identity,
                request_id=request_id,
                header=operation.header if operation.HasField("header") else None,
            )

    def _update_workflow_options_operation(self, hot: HotRun, job: Job, operation: Any) -> None:
        workflow_options.change_options(
            self._runtime,
            hot,
            operation.workflow_execution_options,
            operation.update_mask,
            operation.identity,
        )

    def _unpause_activities_operation(self, hot: HotRun, job: Job, operation: Any) -> None:
        with self._runtime.transition(hot) as turn:
            operations.unpause(
                turn,
                operations.select(hot.execution, _selection(operation)),
                reset_attempts=operation.reset_attempts,
                reset_heartbeat=operation.reset_heartbeat,
                delay=activity_operations.within(operation.jitter),
            )

    def _reset_activities_operation(self, hot: HotRun, job: Job, operation: Any) -> None:
        with self._runtime.transition(hot) as turn:
            operations.reset(
                turn,
                operations.select(hot.execution, _selection(operation)),
                reset_heartbeat=operation.reset_heartbeat,
                keep_paused=operation.keep_paused,
                restore_options=operation.restore_original_options,
                delay=activity_operations.within(operation.jitter),
            )

    def _update_activity_options_operation(self, hot: HotRun, job: Job, operation: Any) -> None:
        activity_operations.change_options(
            self._runtime,
            hot,
            _selection(operation),
            operation.activity_options if operation.HasField("activity_options") else None,
            operation.update_mask if operation.HasField("update_mask") else None,
            restore_original=operation.restore_original,
        )


def _selection(operation: Any) -> Selection:
    return Selection(activity_type=operation.type, everything=operation.match_all)
