"""QueryWorkflow: ask a workflow's code."""

from __future__ import annotations

import asyncio

from temporalio.api.enums.v1 import (
    QueryRejectCondition,
    QueryResultType,
    ResourceExhaustedCause,
    ResourceExhaustedScope,
    WorkflowExecutionStatus,
)
from temporalio.api.errordetails.v1 import (
    QueryFailedFailure,
    ResourceExhaustedFailure,
    WorkflowNotReadyFailure,
)
from temporalio.api.query.v1 import QueryRejected, WorkflowQueryResult
from temporalio.api.workflowservice.v1 import QueryWorkflowRequest, QueryWorkflowResponse

from cloud.engine.api import checks
from cloud.engine.api.workflow_tasks import WorkflowTasks
from cloud.engine.core.state import PAUSED
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.queries import PendingQuery, QueryRefused, TooManyQueries
from cloud.engine.runtime.runtime import Runtime
from cloud.rpc import (
    CallContext,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)

QUERY_S = 30.0
"""The longest wait for an answer."""

BUFFERED_QUERIES_MAX = 100
BUFFERED_QUERIES_BYTES_MAX = 2 * 1024 * 1024
"""Queries that may wait for one run's workflow task, and their bytes: they travel with it in one message."""

FAILING_ATTEMPTS = 3
"""A run whose workflow task is at this attempt keeps failing: a query would only wait for its caller to give up."""

FREE_QUERY = "__temporal_workflow_metadata"
"""Asked by web consoles on their own account; not usage."""

_Status = WorkflowExecutionStatus
_Reject = QueryRejectCondition


class WorkflowQueries:
    """See the module's head."""

    def __init__(self, runtime: Runtime, workflow_tasks: WorkflowTasks) -> None:
        self._runtime = runtime
        self._workflow_tasks = workflow_tasks

    async def query_workflow(
        self, request: QueryWorkflowRequest, context: CallContext
    ) -> QueryWorkflowResponse:
        """Have a worker answer a query, on the run's pending workflow task or on a task of its own."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.check_execution(request.execution)
        if not request.query.query_type:
            raise InvalidArgument("QueryType is not set on request.")
        checks.check_blob(request.query.query_args, "query arguments", self._runtime.limits)
        hot = await self._runtime.find(namespace, request.execution.workflow_id, request.execution.run_id)
        status = hot.execution.shown_status
        if status == PAUSED or _is_rejected(status, request.query_reject_condition):
            return QueryWorkflowResponse(query_rejected=QueryRejected(status=_Status.ValueType(status)))
        if not hot.execution.running and not hot.execution.completed_workflow_tasks:
            raise FailedPrecondition(
                "Workflow execution closed before WorkflowTaskStarted event", WorkflowNotReadyFailure()
            )
        if hot.execution.workflow_task.attempt >= FAILING_ATTEMPTS:
            raise FailedPrecondition(
                "Unable to query workflow due to Workflow Task in failed state.", WorkflowNotReadyFailure()
            )
        await self._runtime.durable(hot)
        query = PendingQuery(self._runtime.ids.request_id(), request.query, hot)
        try:
            self._runtime.queries.admit(query)
        except TooManyQueries as error:
            raise _exhausted(str(error)) from None
        try:
            result = await self._ask(query, hot, context)
        finally:
            self._runtime.queries.forget(query)
            query.answer.cancel()
            if query in hot.queries:
                hot.queries.remove(query)
        if request.query.query_type != FREE_QUERY:
            self._runtime.meter_query(namespace, hot)
        return _response(result)

    async def _ask(self, query: PendingQuery, hot: HotRun, context: CallContext) -> WorkflowQueryResult:
        # A caller's own deadline ends the call; this only bounds one that set none.
        now = asyncio.get_running_loop().time()
        deadline = now + QUERY_S if context.deadline_s is None else context.deadline_s + 1
        timeout_s = deadline - now
        execution = hot.execution
        waits_for_task = execution.running and (
            execution.has_pending_workflow_task or not execution.completed_workflow_tasks
        )
        if waits_for_task:
            size = sum(waiting.size for waiting in hot.queries)
            if len(hot.queries) >= BUFFERED_QUERIES_MAX or (
                hot.queries and size + query.size > BUFFERED_QUERIES_BYTES_MAX
            ):
                raise _exhausted("too many queries wait for this workflow's next task; try again later")
            hot.queries.append(query)
            if execution.workflow_task_in_flight:
                query.taken.clear()
        else:
            self._workflow_tasks.offer_query(query)
            if query.sticky:
                sticky_s = execution.volatile.sticky.timeout / 1e9
                if not await _taken_within(query, min(sticky_s, timeout_s)):
                    # The sticky worker is busy or gone: any worker can answer, from the whole history.
                    query.sticky = False
                    self._workflow_tasks.offer_query_to_normal(query)
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(query.answer)
        except TimeoutError:
            raise DeadlineExceeded(
                "query timed out: no worker answered in time; is one polling "
                f"task queue {execution.started.task_queue.name!r}?"
            ) from None
        except QueryRefused as error:
            raise Unavailable(str(error)) from None


def _exhausted(sentence: str) -> ResourceExhausted:
    cause = ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW
    return ResourceExhausted(
        sentence,
        ResourceExhaustedFailure(
            cause=cause, scope=ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE
        ),
    )


async def _taken_within(query: PendingQuery, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await query.taken.wait()
    except TimeoutError:
        return False
    return True


def _is_rejected(status: int, condition: QueryRejectCondition.ValueType) -> bool:
    if condition == _Reject.QUERY_REJECT_CONDITION_NOT_OPEN:
        return status != _Status.WORKFLOW_EXECUTION_STATUS_RUNNING
    if condition == _Reject.QUERY_REJECT_CONDITION_NOT_COMPLETED_CLEANLY:
        return status not in (
            _Status.WORKFLOW_EXECUTION_STATUS_RUNNING,
            _Status.WORKFLOW_EXECUTION_STATUS_COMPLETED,
        )
    return False


def _response(result: WorkflowQueryResult) -> QueryWorkflowResponse:
    if result.result_type == QueryResultType.QUERY_RESULT_TYPE_FAILED:
        detail = QueryFailedFailure(failure=result.failure if result.HasField("failure") else None)
        raise InvalidArgument(result.error_message, detail)
    return QueryWorkflowResponse(query_result=result.answer)
