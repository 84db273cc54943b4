"""Batch operations: starting, stopping, describing and listing them, and what they do to each run."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.api.batch.v1 import BatchOperationInfo
from temporalio.api.common.v1 import Execution
from temporalio.api.enums.v1 import (
    BatchOperationState,
    BatchOperationType,
    ExecutionType,
    ResetType,
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
from cloud.engine.api.batch_resets import BatchResets
from cloud.engine.api.workflows import delete_run
from cloud.engine.core import activity_operations as operations
from cloud.engine.core import cancellation, close, signal
from cloud.engine.core.activity_operations import Selection
from cloud.engine.core.clock import timestamp
from cloud.engine.core.errors import CoreRefusal, NoSuchTask, RunClosed
from cloud.engine.runtime.batch_operations import (
    BatchOperations,
    Job,
    JobEnded,
    JobExists,
    NoSuchJob,
    TooManyJobs,
)
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.resetting import Resetting
from cloud.engine.runtime.runtime import Runtime
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
    Unimplemented,
)

PAGE_SIZE_MAX = 1_000
_PAGES = b"batch operations"
_TYPE_OR_ALL = "Either activity type must be set, or match all should be set to true"
_OF_STANDALONE_ACTIVITIES = frozenset(
    {"cancel_activities_operation", "terminate_activities_operation", "delete_activities_operation"}
)
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
}
_FOR_CLOSED_TOO = frozenset({"deletion_operation", "reset_operation"})


class BatchOperationMethods:
    """See the module's head."""

    def __init__(self, runtime: Runtime, resetting: Resetting) -> None:
        self._runtime = runtime
        operations = _Operations(runtime, BatchResets(runtime, resetting))
        self._jobs = BatchOperations(runtime, operations.perform, _is_for_open_ones, _needs_all)
        runtime.accompany(self._jobs)

    async def start_batch_operation(
        self, request: StartBatchOperationRequest, context: CallContext
    ) -> StartBatchOperationResponse:
        """Start a job; it goes on by itself."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        _check_start(request, self._runtime)
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
        which = _which(wanted)
        response = DescribeBatchOperationResponse(
            operation_type=_TYPES[which],
            job_id=job.row.job_id,
            state=BatchOperationState.ValueType(job.state),
            start_time=timestamp(job.row.start_time),
            total_operation_count=progress.total,
            complete_operation_count=progress.done,
            failure_operation_count=progress.failed,
            identity=getattr(wanted, which).identity,
            reason=wanted.reason,
            query=wanted.visibility_query,
            executions=wanted.target_executions,
        )
        response.executions.extend(
            Execution(
                type=ExecutionType.EXECUTION_TYPE_WORKFLOW, business_id=each.workflow_id, run_id=each.run_id
            )
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
        operation_type=_TYPES[_which(job.request)],
    )
    if job.close_time:
        info.close_time.CopyFrom(timestamp(job.close_time))
    return info


def _which(request: StartBatchOperationRequest) -> str:
    return request.WhichOneof("operation") or ""


def _is_for_open_ones(request: StartBatchOperationRequest) -> bool:
    return _which(request) not in _FOR_CLOSED_TOO


def _needs_all(request: StartBatchOperationRequest) -> bool:
    return _which(request) == "reset_operation"


def _exists(job: Job) -> AlreadyExists:
    where = f"WorkflowId: {job.row.job_id}, RunId: {job.row.run_id}."
    return AlreadyExists(
        f"Workflow execution is already running. {where}"
        if job.state == RUNNING
        else f"Workflow execution already finished. {where} Workflow Id reuse policy: reject duplicate workflow Id.",
        WorkflowExecutionAlreadyStartedFailure(run_id=job.row.run_id, first_execution_run_id=job.row.run_id),
    )


# --- what a start must look like ---------------------------------------------------------------------------------


def _check_start(request: StartBatchOperationRequest, runtime: Runtime) -> None:
    which = _which(request)
    if which in _OF_STANDALONE_ACTIVITIES:
        raise Unimplemented(
            "batch operations on standalone activities are not served by this cell yet; "
            "docs/compatibility.md lists what is"
        )
    selectors = sum(map(bool, (request.visibility_query, request.executions, request.target_executions)))
    if not which or not request.reason or not selectors:
        raise InvalidArgument(
            "must provide required parameters: BatchType,Reason,Namespace, "
            "AND one of (Query OR Executions OR TargetExecutions)"
        )
    checks.require(request.job_id, "JobId")
    checks.check_id_length(request.job_id, "JobId", runtime.limits)
    if selectors > 1:
        raise InvalidArgument("visibility query, executions, and target executions are mutually exclusive")
    for index, execution in enumerate(request.target_executions):
        if execution.type != ExecutionType.EXECUTION_TYPE_WORKFLOW:
            kind = ExecutionType.Name(execution.type).removeprefix("EXECUTION_TYPE_").title()
            operation = "".join(part.title() for part in which.split("_"))
            raise InvalidArgument(
                f"target_executions[{index}] has type {kind}, but operation "
                f"*workflowservice.StartBatchOperationRequest_{operation} requires Workflow"
            )
    check = _CHECKS.get(which)
    if check is not None:
        check(getattr(request, which), runtime)


def _check_signal(operation: Any, runtime: Runtime) -> None:
    if not operation.signal:
        raise InvalidArgument("must provide signal name")
    checks.check_id_length(operation.signal, "signal name", runtime.limits)
    checks.check_blob(operation.input, "signal input", runtime.limits)


def _check_termination(operation: Any, runtime: Runtime) -> None:
    checks.check_blob(operation.details, "details", runtime.limits)


def _check_reset(operation: Any, runtime: Runtime) -> None:
    if operation.HasField("options"):
        if operation.options.WhichOneof("target") is None:
            raise InvalidArgument("batch reset missing target")
    elif operation.reset_type not in ResetType.values() or not operation.reset_type:
        raise InvalidArgument(
            "unknown batch reset type "
            + ("Unspecified" if not operation.reset_type else str(operation.reset_type))
        )


def _check_filter(operation: Any, sentence: str) -> None:
    which = operation.WhichOneof("activity")
    if which is None:
        raise InvalidArgument(sentence)
    if not getattr(operation, which):
        raise InvalidArgument(_TYPE_OR_ALL)


def _check_activity_options(operation: Any, runtime: Runtime) -> None:
    given = operation.HasField("activity_options")
    if given and operation.restore_original:
        raise InvalidArgument("cannot set both activity options and restore original")
    if not given and not operation.restore_original:
        raise InvalidArgument("Either activity type must be set, or restore original should be set to true")
    _check_filter(operation, _TYPE_OR_ALL)
    checks.check_priority(operation.activity_options.priority)


def _check_workflow_options(operation: Any, runtime: Runtime) -> None:
    if not operation.HasField("workflow_execution_options"):
        raise InvalidArgument("must provide UpdateOptions")
    if not operation.HasField("update_mask"):
        raise InvalidArgument("must provide UpdateMask")
    workflow_options.check_options(runtime, operation.workflow_execution_options)


_CHECKS: dict[str, Callable[[Any, Runtime], None]] = {
    "signal_operation": _check_signal,
    "termination_operation": _check_termination,
    "reset_operation": _check_reset,
    "unpause_activities_operation": lambda o, _: _check_filter(o, "activity filter must be set"),
    "reset_activities_operation": lambda o, _: _check_filter(o, "must provide ActivityType or MatchAll"),
    "update_activity_options_operation": _check_activity_options,
    "update_workflow_options_operation": _check_workflow_options,
}


# --- what is done to each run ------------------------------------------------------------------------------------


class _Operations:
    """Does a job's operation to one run, in one transition where it must not be done twice."""

    def __init__(self, runtime: Runtime, resets: BatchResets) -> None:
        self._runtime = runtime
        self._resets = resets

    def perform(self, hot: HotRun, job: Job) -> str | Awaitable[str]:
        """See `runtime.batch_operations.Perform`."""
        which = _which(job.request)
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
