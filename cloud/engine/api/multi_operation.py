"""ExecuteMultiOperation: a start and an update that belong together (update-with-start)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from temporalio.api.enums.v1 import WorkflowExecutionStatus, WorkflowIdConflictPolicy
from temporalio.api.errordetails.v1 import MultiOperationExecutionFailure
from temporalio.api.failure.v1 import MultiOperationExecutionAborted
from temporalio.api.workflowservice.v1 import (
    ExecuteMultiOperationRequest,
    ExecuteMultiOperationResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
    UpdateWorkflowExecutionRequest,
)

from cloud.engine.api import checks
from cloud.engine.api.refusals import REFUSALS, as_rpc_error
from cloud.engine.api.updates import UPDATE_POLL_S, Reached, WorkflowUpdates
from cloud.engine.api.workflows import Workflows
from cloud.engine.core.clock import to_ns
from cloud.engine.core.state import RUNNING
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.rpc import Aborted, CallContext, Code, InvalidArgument, NotFound, RpcError

_USE_EXISTING = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
_Pair = tuple[StartWorkflowExecutionRequest, UpdateWorkflowExecutionRequest]
_RPC_ERRORS: dict[int, type[RpcError]] = {kind.code: kind for kind in RpcError.__subclasses__()}


class _UpdateFailed(Exception):
    """The update was refused; the start was carried out, or was not needed (`started` says which)."""

    def __init__(self, refusal: RpcError, *, started: bool) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.started = started


class MultiOperations:
    """See the module's head."""

    def __init__(self, runtime: Runtime, workflows: Workflows, updates: WorkflowUpdates) -> None:
        self._runtime = runtime
        self._workflows = workflows
        self._updates = updates

    async def execute_multi_operation(
        self, request: ExecuteMultiOperationRequest, context: CallContext
    ) -> ExecuteMultiOperationResponse:
        """Start a workflow unless it runs, and update it: the update comes with a new run's first workflow task."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        start, wanted = _operations(request)
        self._check(namespace, start, wanted)
        ends_at = asyncio.get_running_loop().time() + UPDATE_POLL_S
        try:
            started, reached = await self._execute(namespace, start, wanted, ends_at)
        except _UpdateFailed as error:
            if error.started or not isinstance(error.refusal, NotFound):
                raise _failed(None, error.refusal) from None
            # The run that was there closed before the update reached it: another can be started.
            try:
                started, reached = await self._execute(namespace, start, wanted, ends_at)
            except _UpdateFailed as again:
                refusal = again.refusal
                if isinstance(refusal, NotFound) and not again.started:
                    refusal = Aborted(refusal.message)
                raise _failed(None, refusal) from None
        return ExecuteMultiOperationResponse(
            responses=[
                ExecuteMultiOperationResponse.Response(start_workflow=started),
                ExecuteMultiOperationResponse.Response(
                    update_workflow=self._updates.response(wanted, reached)
                ),
            ]
        )

    def _check(
        self,
        namespace: Namespace,
        start: StartWorkflowExecutionRequest,
        wanted: UpdateWorkflowExecutionRequest,
    ) -> None:
        def check_start() -> None:
            _same_namespace(start.namespace, namespace)
            self._workflows.check_start(start, namespace)
            _check_start(start)

        def check_update() -> None:
            _same_namespace(wanted.namespace, namespace)
            self._updates.check(wanted)
            _check_update(wanted)

        faults = [_fault_of(check_start), _fault_of(check_update)]
        if not any(faults) and start.workflow_id != wanted.workflow_execution.workflow_id:
            faults[1] = InvalidArgument("WorkflowId is not consistent with previous operation(s).")
        if any(faults):
            raise _failed(*faults)

    async def _execute(
        self,
        namespace: Namespace,
        start: StartWorkflowExecutionRequest,
        wanted: UpdateWorkflowExecutionRequest,
        ends_at: float,
    ) -> tuple[StartWorkflowExecutionResponse, Reached]:
        runtime = self._runtime
        update_id = wanted.request.meta.update_id
        current = await runtime.runs.current(namespace.namespace_id, start.workflow_id)
        if current is not None:
            hot = await runtime.find(namespace, current.workflow_id, current.run_id)
            known = hot.execution.updates.get(update_id)
            completed = known is not None and known.completed_event_id
            joined = (
                current.request_id == start.request_id
                or known is not None
                or hot.updates.find(update_id) is not None
                or start.workflow_id_conflict_policy == _USE_EXISTING
            )
            if completed or (current.status == RUNNING and joined):
                reached = await self._update(namespace, wanted, current.run_id, ends_at, started=False)
                return (
                    StartWorkflowExecutionResponse(
                        run_id=current.run_id, status=WorkflowExecutionStatus.ValueType(current.status)
                    ),
                    reached,
                )

        def bring(hot: HotRun) -> None:
            self._updates.admit(hot, wanted.request)

        try:
            started = await self._workflows.start(namespace, start, bring)
        except (RpcError, *REFUSALS) as error:
            raise _failed(_rpc_error(error), None) from None
        return started, await self._update(namespace, wanted, started.run_id, ends_at, started=True)

    async def _update(
        self,
        namespace: Namespace,
        wanted: UpdateWorkflowExecutionRequest,
        run_id: str,
        ends_at: float,
        *,
        started: bool,
    ) -> Reached:
        of_run = UpdateWorkflowExecutionRequest()
        of_run.CopyFrom(wanted)
        of_run.workflow_execution.run_id = run_id
        try:
            return await self._updates.update(namespace, of_run, ends_at)
        except (RpcError, *REFUSALS) as error:
            raise _UpdateFailed(_rpc_error(error), started=started) from None


def _operations(request: ExecuteMultiOperationRequest) -> _Pair:
    operations = request.operations
    if (
        len(operations) != 2
        or not operations[0].HasField("start_workflow")
        or not operations[1].HasField("update_workflow")
    ):
        raise InvalidArgument("Operations have to be exactly [Start, Update].")
    return operations[0].start_workflow, operations[1].update_workflow


def _fault_of(check: Callable[[], None]) -> RpcError | None:
    try:
        check()
    except (RpcError, *REFUSALS) as error:
        return _rpc_error(error)
    return None


def _same_namespace(name: str, namespace: Namespace) -> None:
    if name and name != namespace.name:
        raise InvalidArgument("Operation namespace did not match request's namespace.")


def _check_start(start: StartWorkflowExecutionRequest) -> None:
    if start.cron_schedule:
        raise InvalidArgument("CronSchedule is not allowed.")
    if start.request_eager_execution:
        raise InvalidArgument("RequestEagerExecution is not supported.")
    if to_ns(start.workflow_start_delay):
        raise InvalidArgument("WorkflowStartDelay is not supported.")


def _check_update(wanted: UpdateWorkflowExecutionRequest) -> None:
    if wanted.first_execution_run_id:
        raise InvalidArgument("FirstExecutionRunId is not allowed.")
    if wanted.workflow_execution.run_id:
        raise InvalidArgument("RunId is not allowed.")


def _rpc_error(error: Exception) -> RpcError:
    return error if isinstance(error, RpcError) else as_rpc_error(error)


def _failed(*faults: RpcError | None) -> RpcError:
    """The whole request's error: the first fault's code, and a status for each operation; who is not at fault was aborted."""
    detail = MultiOperationExecutionFailure()
    code = Code.ABORTED
    for fault in faults:
        status = detail.statuses.add()
        if fault is None:
            status.code = Code.ABORTED
            status.message = "Operation was aborted."
            status.details.add().Pack(MultiOperationExecutionAborted())
            continue
        if code == Code.ABORTED:
            code = fault.code
        status.code = fault.code
        status.message = fault.message
        for each in fault.details:
            status.details.add().Pack(each)
    return _RPC_ERRORS[code]("Update-with-Start could not be executed.", detail)
