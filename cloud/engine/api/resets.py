"""ResetWorkflowExecution: a workflow goes on from an earlier point, in a new run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from temporalio.api.enums.v1 import (
    ResetReapplyExcludeType,
    ResetReapplyType,
    ResourceExhaustedCause,
    ResourceExhaustedScope,
)
from temporalio.api.errordetails.v1 import ResourceExhaustedFailure
from temporalio.api.workflow.v1 import PostResetOperation
from temporalio.api.workflowservice.v1 import (
    ResetWorkflowExecutionRequest,
    ResetWorkflowExecutionResponse,
)

from cloud.engine.api import checks
from cloud.engine.api.workflow_options import apply_change, check_change
from cloud.engine.core.turn import Turn
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.resetting import Reset, Resetting, TooManyResets
from cloud.engine.runtime.runtime import Runtime
from cloud.rpc import CallContext, InvalidArgument, ResourceExhausted

OPERATIONS_MAX = 100
"""Operations behind one reset."""

_T = ResetReapplyType
_X = ResetReapplyExcludeType


class WorkflowResets:
    """See the module's head."""

    def __init__(self, runtime: Runtime, resetting: Resetting) -> None:
        self._runtime = runtime
        self._resetting = resetting

    async def reset_workflow_execution(
        self, request: ResetWorkflowExecutionRequest, context: CallContext
    ) -> ResetWorkflowExecutionResponse:
        """Reset a workflow, once per request id. The reply names the new run."""
        checks.require(request.request_id, "RequestId")
        checks.check_length(request.request_id, "RequestId", self._runtime.limits)
        if not request.HasField("workflow_execution"):
            raise InvalidArgument("Execution is not set on request.")
        execution = request.workflow_execution
        checks.check_execution(execution)
        excluded = excluded_types(request.reset_reapply_type, request.reset_reapply_exclude_types)
        namespace = checks.namespace_of(self._runtime, request.namespace)
        base = await self._runtime.find(namespace, execution.workflow_id, execution.run_id)
        check_operations(
            self._runtime,
            namespace,
            request.post_reset_operations,
            base.execution.started.task_queue.name,
        )
        wanted = Reset(
            finish_event_id=request.workflow_task_finish_event_id,
            reason=request.reason,
            request_id=request.request_id,
            excluded=excluded,
            operate=lambda turn: carry_out(turn, request.post_reset_operations),
        )
        try:
            made = await self._resetting.reset(namespace, execution.workflow_id, execution.run_id, wanted)
        except TooManyResets as error:
            raise ResourceExhausted(
                str(error),
                ResourceExhaustedFailure(
                    cause=ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT,
                    scope=ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE,
                ),
            ) from None
        return ResetWorkflowExecutionResponse(run_id=made.run_id)


def excluded_types(
    wanted: ResetReapplyType.ValueType, excluded: Iterable[ResetReapplyExcludeType.ValueType]
) -> frozenset[ResetReapplyExcludeType.ValueType]:
    """What is not to come again, by the older field (what is) and the newer one together.

    Raises:
        InvalidArgument: the older one is none.
    """
    if wanted not in _T.values():
        raise InvalidArgument(f"unknown reset reapply type: {wanted}")
    found = set(excluded)
    if wanted in (_T.RESET_REAPPLY_TYPE_SIGNAL, _T.RESET_REAPPLY_TYPE_NONE):
        found.add(_X.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE)
    if wanted == _T.RESET_REAPPLY_TYPE_NONE:
        found.add(_X.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL)
    return frozenset(found)


def check_operations(
    runtime: Runtime, namespace: Namespace, operations: Sequence[PostResetOperation], queue: str
) -> None:
    """Check what is to be done to the new run; `queue` is its task queue.

    Raises:
        InvalidArgument, FailedPrecondition, Unimplemented: it can't be.
    """
    if len(operations) > OPERATIONS_MAX:
        raise InvalidArgument(f"a reset has at most {OPERATIONS_MAX} post reset operations")
    for operation in operations:
        if not operation.HasField("update_workflow_options"):
            kind = (
                "*workflow.PostResetOperation_SignalWorkflow_" if operation.WhichOneof("variant") else "<nil>"
            )
            raise InvalidArgument(f"unsupported post reset operation: {kind}")
        change = operation.update_workflow_options
        if not change.HasField("update_mask"):
            raise InvalidArgument("UpdateMask is required")
        check_change(runtime, namespace, change.workflow_execution_options, change.update_mask, queue)


def carry_out(turn: Turn, operations: Sequence[PostResetOperation]) -> None:
    """Do what `check_operations` let through."""
    for operation in operations:
        change = operation.update_workflow_options
        apply_change(turn, change.workflow_execution_options, change.update_mask)
