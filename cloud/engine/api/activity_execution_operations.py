"""The newer calls that pause, unpause, reset and change an activity: one of a workflow, named by both ids, or a standalone one."""

from __future__ import annotations

from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    PauseActivityExecutionRequest,
    PauseActivityExecutionResponse,
    PauseActivityRequest,
    ResetActivityExecutionRequest,
    ResetActivityExecutionResponse,
    ResetActivityRequest,
    UnpauseActivityExecutionRequest,
    UnpauseActivityExecutionResponse,
    UnpauseActivityRequest,
    UpdateActivityExecutionOptionsRequest,
    UpdateActivityExecutionOptionsResponse,
    UpdateActivityOptionsRequest,
)

from cloud.engine.api import checks
from cloud.engine.api.activity_operations import CHANGEABLE, ActivityOperations, check_timeouts
from cloud.engine.api.field_masks import paths_of
from cloud.engine.api.standalone_activity_operations import StandaloneOperations
from cloud.engine.core import retry
from cloud.engine.core.clock import fit
from cloud.engine.core.errors import Invalid
from cloud.engine.runtime.runtime import Runtime
from cloud.rpc import CallContext, InvalidArgument

_Request = (
    PauseActivityExecutionRequest
    | UnpauseActivityExecutionRequest
    | ResetActivityExecutionRequest
    | UpdateActivityExecutionOptionsRequest
)


class ActivityExecutionOperations:
    """See the module's head. What they do to an activity of a workflow is done by the older calls."""

    def __init__(
        self, runtime: Runtime, operations: ActivityOperations, standalone: StandaloneOperations
    ) -> None:
        self._runtime = runtime
        self._operations = operations
        self._standalone = standalone

    async def pause_activity_execution(
        self, request: PauseActivityExecutionRequest, context: CallContext
    ) -> PauseActivityExecutionResponse:
        """Offer no further attempt to workers until it is unpaused."""
        if not request.workflow_id:
            await self._standalone.pause(request)
            return PauseActivityExecutionResponse()
        execution = self._execution_of(request)
        older = PauseActivityRequest(
            namespace=request.namespace,
            execution=execution,
            identity=request.identity,
            id=request.activity_id,
            reason=request.reason,
            request_id=request.request_id or self._runtime.ids.request_id(),
        )
        await self._operations.pause_activity(older, context)
        return PauseActivityExecutionResponse()

    async def unpause_activity_execution(
        self, request: UnpauseActivityExecutionRequest, context: CallContext
    ) -> UnpauseActivityExecutionResponse:
        """Go on with it."""
        if not request.workflow_id:
            await self._standalone.unpause(request)
            return UnpauseActivityExecutionResponse()
        execution = self._execution_of(request)
        older = UnpauseActivityRequest(
            namespace=request.namespace, execution=execution, id=request.activity_id, jitter=request.jitter
        )
        await self._operations.unpause_activity(older, context)
        return UnpauseActivityExecutionResponse()

    async def reset_activity_execution(
        self, request: ResetActivityExecutionRequest, context: CallContext
    ) -> ResetActivityExecutionResponse:
        """Begin it anew with the first attempt."""
        if not request.workflow_id:
            await self._standalone.reset(request)
            return ResetActivityExecutionResponse()
        execution = self._execution_of(request)
        older = ResetActivityRequest(
            namespace=request.namespace,
            execution=execution,
            id=request.activity_id,
            reset_heartbeat=request.reset_heartbeat,
            keep_paused=request.keep_paused,
            jitter=request.jitter,
            restore_original_options=request.restore_original_options,
        )
        await self._operations.reset_activity(older, context)
        return ResetActivityExecutionResponse()

    async def update_activity_execution_options(
        self, request: UpdateActivityExecutionOptionsRequest, context: CallContext
    ) -> UpdateActivityExecutionOptionsResponse:
        """Change its options; unlike with the older call, paths that name none are refused."""
        if not request.workflow_id:
            options = await self._standalone.update_options(request)
            return UpdateActivityExecutionOptionsResponse(activity_options=options)
        execution = self._execution_of(request)
        unknown = sorted(paths_of(request.update_mask) - CHANGEABLE)
        if unknown:
            raise InvalidArgument(f'unsupported update_mask path: "{unknown[0]}"')
        older = UpdateActivityOptionsRequest(
            namespace=request.namespace,
            execution=execution,
            id=request.activity_id,
            restore_original=request.restore_original,
        )
        if request.HasField("activity_options"):
            wanted = ActivityOptions()
            wanted.CopyFrom(request.activity_options)
            check_timeouts(wanted, paths_of(request.update_mask))
            if not wanted.HasField("retry_policy"):  # an empty one: the namespace's own
                wanted.retry_policy.CopyFrom(retry.with_defaults(None, self._runtime.limits))
            older.activity_options.CopyFrom(wanted)
        if request.HasField("update_mask"):
            older.update_mask.CopyFrom(request.update_mask)
        reply = await self._operations.update_activity_options(older, context)
        return UpdateActivityExecutionOptionsResponse(activity_options=reply.activity_options)

    def _execution_of(self, request: _Request) -> WorkflowExecution:
        limit = self._runtime.limits.id_length
        checks.namespace_of(self._runtime, request.namespace)
        if not request.activity_id:
            raise InvalidArgument("activity ID is required")
        if request.run_id and not checks.is_uuid(request.run_id):
            raise InvalidArgument("invalid run id: must be a valid UUID")
        for what, value in (
            ("activity ID", request.activity_id),
            ("identity", request.identity),
            ("request ID", request.request_id),
        ):
            size = len(value.encode())
            if size > limit:
                raise InvalidArgument(f"{what} exceeds length limit. Length={size} Limit={limit}")
        if isinstance(request, UnpauseActivityExecutionRequest | ResetActivityExecutionRequest):
            try:
                fit(request.jitter)
            except Invalid as error:
                raise InvalidArgument(f"invalid jitter: {error}") from None
        return WorkflowExecution(workflow_id=request.workflow_id, run_id=request.run_id)
