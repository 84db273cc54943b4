"""PauseWorkflowExecution and UnpauseWorkflowExecution: hold a workflow, and let it go on."""

from __future__ import annotations

from temporalio.api.workflowservice.v1 import (
    PauseWorkflowExecutionRequest,
    PauseWorkflowExecutionResponse,
    UnpauseWorkflowExecutionRequest,
    UnpauseWorkflowExecutionResponse,
)

from cloud.engine.api import checks
from cloud.engine.core import pause
from cloud.engine.runtime.dynamic_config import WORKFLOW_PAUSE
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.runtime import Runtime
from cloud.rpc import CallContext, InvalidArgument, Unimplemented


class WorkflowPauses:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def pause_workflow_execution(
        self, request: PauseWorkflowExecutionRequest, context: CallContext
    ) -> PauseWorkflowExecutionResponse:
        """Pause an open run, once per request id."""
        if not self._runtime.dynamic_config.on(WORKFLOW_PAUSE):
            raise Unimplemented(f"workflow pause is not enabled for namespace: {request.namespace}")
        hot = await self._find(request)
        with self._runtime.transition(hot) as turn:
            pause.pause(turn, identity=request.identity, reason=request.reason, request_id=request.request_id)
        await self._runtime.durable(hot)
        return PauseWorkflowExecutionResponse()

    async def unpause_workflow_execution(
        self, request: UnpauseWorkflowExecutionRequest, context: CallContext
    ) -> UnpauseWorkflowExecutionResponse:
        """Let a paused run go on."""
        hot = await self._find(request)
        with self._runtime.transition(hot) as turn:
            pause.unpause(
                turn, identity=request.identity, reason=request.reason, request_id=request.request_id
            )
        await self._runtime.durable(hot)
        return UnpauseWorkflowExecutionResponse()

    async def _find(self, request: PauseWorkflowExecutionRequest | UnpauseWorkflowExecutionRequest) -> HotRun:
        namespace = checks.namespace_of(self._runtime, request.namespace)
        limit = self._runtime.limits.id_length
        for value, what in (
            (request.reason, "reason"),
            (request.request_id, "request id"),
            (request.identity, "identity"),
        ):
            if len(value.encode()) > limit:
                raise InvalidArgument(f"{what} is too long.")
            checks.check_no_nul(value, what)
        if not request.workflow_id:
            raise InvalidArgument("Can't load workflow execution.  WorkflowId not set.")
        if request.run_id and not checks.is_uuid(request.run_id):
            raise InvalidArgument("RunId is not valid UUID.")
        return await self._runtime.find(namespace, request.workflow_id, request.run_id)
