"""UpdateWorkflowExecution and PollWorkflowExecutionUpdate: ask a workflow to change, and hear what came of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage as Stage
from temporalio.api.errordetails.v1 import (
    NotFoundFailure,
    PermissionDeniedFailure,
    ResourceExhaustedFailure,
    WorkflowNotReadyFailure,
)
from temporalio.api.update.v1 import Outcome, Request, UpdateRef
from temporalio.api.workflowservice.v1 import (
    PollWorkflowExecutionUpdateRequest,
    PollWorkflowExecutionUpdateResponse,
    UpdateWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
)

from cloud.engine.api import checks
from cloud.engine.api.callbacks import check_callbacks
from cloud.engine.core import callback as callbacks
from cloud.engine.core import update, workflow_task
from cloud.engine.runtime.commits import Unflushed
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.updates import Closed, Continued, Lost, PendingUpdate
from cloud.engine.store.reading import read_events
from cloud.rpc import (
    CallContext,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)

UPDATE_POLL_S = 20.0
"""The longest wait for a stage; then the stage reached is told. A caller's own deadline ends its call before."""

IN_FLIGHT_MAX = 10
IN_FLIGHT_BYTES_MAX = 20 * 1024 * 1024
TOTAL_MAX = 2_000
"""Updates of one run: in flight, their bytes, and accepted in all (the real server's defaults)."""

FAILING_ATTEMPTS = 3
"""A run whose workflow task is at this attempt keeps failing: an update would only wait for its caller to give up."""

ASKED_AGAIN_MAX = 20
"""How often a call asks anew when its run leaves memory meanwhile."""

_ADMITTED = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ADMITTED
_ACCEPTED = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
_COMPLETED = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED


@dataclass(frozen=True, slots=True)
class Reached:
    """How far an update of `run_id` is; `outcome` if it is at its end."""

    run_id: str
    stage: Stage.ValueType
    outcome: Outcome | None = None


class WorkflowUpdates:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def update_workflow_execution(
        self, request: UpdateWorkflowExecutionRequest, context: CallContext
    ) -> UpdateWorkflowExecutionResponse:
        """Send an update to an open run, once per update id, and wait for the stage that the caller wants."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        self.check(request)
        ends_at = asyncio.get_running_loop().time() + UPDATE_POLL_S
        reached = await self.update(namespace, request, ends_at)
        return self.response(request, reached)

    def check(self, request: UpdateWorkflowExecutionRequest) -> None:
        """Check an update request, and fill in what it leaves to the service.

        Raises:
            InvalidArgument, PermissionDenied: with the real server's sentence.
        """
        checks.check_execution(request.workflow_execution)
        if not request.request.HasField("meta"):
            raise InvalidArgument("Update meta is not set on request.")
        limit = self._runtime.limits.id_length
        if len(request.request.meta.update_id.encode()) > limit:
            raise InvalidArgument("UpdateId length exceeds limit.")
        checks.check_no_nul(request.request.meta.update_id, "UpdateId")
        if not request.request.meta.update_id:
            request.request.meta.update_id = self._runtime.ids.request_id()
        if not request.request.HasField("input"):
            raise InvalidArgument("Update input is not set on request.")
        if not request.request.input.name:
            raise InvalidArgument("Update name is not set on request.")
        checks.check_blob(request.request, "update", self._runtime.limits)
        if request.request.completion_callbacks:
            if not request.request.request_id:
                raise InvalidArgument(
                    "invalid *update.Request: request_id is required when completion_callbacks are set"
                )
            check_callbacks(request.request.completion_callbacks, self._runtime.limits)
        if request.wait_policy.lifecycle_stage == _ADMITTED:
            raise PermissionDenied(
                "UpdateWorkflowExecution issued asynchronously and waiting on update admitted is not supported.",
                PermissionDeniedFailure(),
            )

    @staticmethod
    def response(
        request: UpdateWorkflowExecutionRequest, reached: Reached
    ) -> UpdateWorkflowExecutionResponse:
        """What a caller is told."""
        response = UpdateWorkflowExecutionResponse(
            update_ref=UpdateRef(
                workflow_execution=WorkflowExecution(
                    workflow_id=request.workflow_execution.workflow_id, run_id=reached.run_id
                ),
                update_id=request.request.meta.update_id,
            ),
            outcome=reached.outcome,
            stage=reached.stage,
        )
        if reached.outcome is not None and reached.outcome.HasField("failure"):
            to_workflow = response.link.workflow
            to_workflow.namespace = request.namespace
            to_workflow.workflow_id = request.workflow_execution.workflow_id
            to_workflow.run_id = reached.run_id
            to_workflow.reason = "Update rejected"
        elif reached.stage != _ADMITTED:
            to_event = response.link.workflow_event
            to_event.namespace = request.namespace
            to_event.workflow_id = request.workflow_execution.workflow_id
            to_event.run_id = reached.run_id
            to_event.request_id_ref.request_id = request.request.request_id
            to_event.request_id_ref.event_type = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
        return response

    async def update(
        self, namespace: Namespace, request: UpdateWorkflowExecutionRequest, ends_at: float
    ) -> Reached:
        """Bring an update to its run and wait for its stage until `ends_at` (the loop's clock, s).

        Raises:
            RpcError: it can't be.
        """
        wanted = request.wait_policy.lifecycle_stage or _ACCEPTED
        for _ in range(ASKED_AGAIN_MAX):
            try:
                hot = await self._find(namespace, request.workflow_execution, request.first_execution_run_id)
                found = await self._known(hot, request.request.meta.update_id)
                if isinstance(found, Reached):
                    return found
                if found is not None:
                    await self._attach(hot, found, request.request)
                pending = found or self.admit(hot, request.request)
                return await self._wait(hot, pending, wanted, ends_at)
            except (Lost, Unflushed):
                continue
            except Closed:
                raise NotFound("workflow update was aborted by closing workflow", NotFoundFailure()) from None
            except Continued:
                raise _exhausted(
                    "workflow operation can not be applied because workflow is closing",
                    ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW,
                ) from None
        raise Unavailable("workflow update was aborted")

    async def poll_workflow_execution_update(
        self, request: PollWorkflowExecutionUpdateRequest, context: CallContext
    ) -> PollWorkflowExecutionUpdateResponse:
        """Wait for the stage of an update that was sent before."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        if not request.HasField("update_ref"):
            raise InvalidArgument("UpdateRef is not set on request.")
        update_id = request.update_ref.update_id
        execution = request.update_ref.workflow_execution
        checks.check_execution(execution)
        ends_at = asyncio.get_running_loop().time() + UPDATE_POLL_S
        reached: Reached | None = None
        for _ in range(ASKED_AGAIN_MAX):
            try:
                hot = await self._find(namespace, execution, "")
                found = await self._known(hot, update_id)
                if found is None:
                    raise NotFound(f'update "{update_id}" not found', NotFoundFailure())
                if isinstance(found, Reached):
                    reached = found
                else:
                    reached = await self._wait(hot, found, request.wait_policy.lifecycle_stage, ends_at)
                break
            except (Lost, Unflushed):
                continue
            except Closed:
                raise NotFound("workflow update was aborted by closing workflow", NotFoundFailure()) from None
            except Continued:
                raise _exhausted(
                    "workflow operation can not be applied because workflow is closing",
                    ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW,
                ) from None
        if reached is None:
            raise Unavailable("workflow update was aborted")
        return PollWorkflowExecutionUpdateResponse(
            outcome=reached.outcome,
            stage=reached.stage,
            update_ref=UpdateRef(
                workflow_execution=WorkflowExecution(
                    workflow_id=execution.workflow_id, run_id=reached.run_id
                ),
                update_id=update_id,
            ),
        )

    # --- steps ---

    async def _find(self, namespace: Namespace, execution: WorkflowExecution, first_run_id: str) -> HotRun:
        hot = await self._runtime.find(namespace, execution.workflow_id, execution.run_id)
        if first_run_id and hot.execution.started.first_execution_run_id != first_run_id:
            raise NotFound("workflow execution not found", NotFoundFailure())
        return hot

    async def _known(self, hot: HotRun, update_id: str) -> Reached | PendingUpdate | None:
        """The update if the run has it: at its end, or on its way."""
        execution = hot.execution
        known = execution.updates.get(update_id)
        if known is not None and known.completed_event_id:
            await self._runtime.durable(hot)
            return Reached(hot.run_id, _COMPLETED, await self._outcome(hot, known.completed_event_id))
        pending = hot.updates.find(update_id)
        if pending is not None:
            return pending
        if known is None and update_id not in execution.admitted_updates:
            return None
        if known is None:
            if not execution.running:
                return None
            pending = PendingUpdate(update_id, Request(), sent=True, in_history=True)
            hot.updates.add(pending)
            return pending
        if not execution.running:
            await self._runtime.durable(hot)
            return Reached(hot.run_id, _COMPLETED, update.failed(update.closed_failure()))
        # Accepted before the run came into memory: what is left to wait for is its end.
        pending = PendingUpdate(update_id, Request(), sent=True, is_accepted=True)
        pending.accept()
        hot.updates.add(pending)
        return pending

    async def _attach(self, hot: HotRun, pending: PendingUpdate, request: Request) -> None:
        """Another request for an update on its way: its callbacks are called, too."""
        if not request.completion_callbacks:
            return
        attachment = update.Attachment(request.request_id, request.completion_callbacks)
        if pending.is_accepted:
            if not hot.execution.running:
                return  # its outcome is told at once
            with self._runtime.transition(hot) as turn:
                update.attach(turn, pending.update_id, attachment)
            await self._runtime.durable(hot)
            return
        self._check_room(hot, len(request.completion_callbacks))
        self._runtime.runs.require_room(hot.execution.key.namespace_id)
        pending.attach(attachment)
        self._runtime.runs.weigh(hot)

    def _check_room(self, hot: HotRun, count: int) -> None:
        """Check that `count` more callbacks may come with updates.

        Raises:
            FailedPrecondition: there would be too many.
        """
        have = callbacks.attached_count(hot.execution) + hot.updates.callback_count()
        most = self._runtime.limits.callbacks
        if count and have + count > most:
            raise FailedPrecondition(callbacks.no_room(have, most))

    async def _outcome(self, hot: HotRun, event_id: int) -> Outcome:
        events = hot.tail_from(event_id, event_id)
        if events is None:
            run_id = hot.run_id
            events = await self._runtime.database.read(
                lambda c: read_events(c, run_id, event_id, event_id, size_max=1)
            )
        return update.outcome_of(events[0])

    def admit(self, hot: HotRun, request: Request) -> PendingUpdate:
        """Put an update on its way to the run's workers. A run that is about to have its first workflow task gets it with that.

        Raises:
            NotFound, FailedPrecondition, ResourceExhausted: the run takes none, or no more.
        """
        execution = hot.execution
        if not execution.running:
            raise NotFound("workflow execution already completed", NotFoundFailure())
        if execution.paused is not None:
            raise FailedPrecondition("Workflow is paused. Cannot update the workflow.")
        if execution.workflow_task.attempt >= FAILING_ATTEMPTS:
            raise FailedPrecondition(
                "Unable to perform workflow execution update due to Workflow Task in failed state.",
                WorkflowNotReadyFailure(),
            )
        if len(hot.updates) >= IN_FLIGHT_MAX:
            raise _exhausted(
                f"limit on number of concurrent in-flight updates has been reached ({IN_FLIGHT_MAX})"
            )
        if hot.updates.size() + request.ByteSize() > IN_FLIGHT_BYTES_MAX:
            raise _exhausted(
                f"limit on total payload size of in-flight updates has been reached ({IN_FLIGHT_BYTES_MAX} bytes)"
            )
        if len(execution.updates) >= TOTAL_MAX:
            raise FailedPrecondition(
                "The limit on the total number of distinct updates in this workflow has been reached "
                f"({TOTAL_MAX}). Make sure any duplicate updates share an Update ID so the server can deduplicate them, "
                "and consider rejecting updates that you aren't going to process"
            )
        self._check_room(hot, len(request.completion_callbacks))
        self._runtime.runs.require_room(execution.key.namespace_id)
        pending = PendingUpdate(request.meta.update_id, request)
        hot.updates.add(pending)
        self._runtime.runs.weigh(hot)
        if execution.volatile.had_workflow_task and not execution.has_pending_workflow_task:
            with self._runtime.transition(hot) as turn:
                workflow_task.schedule(turn, speculative=True)
        return pending

    async def _wait(
        self, hot: HotRun, pending: PendingUpdate, wanted: Stage.ValueType, ends_at: float
    ) -> Reached:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] | None = None
        if wanted == _COMPLETED:
            future = pending.completed
        elif wanted == _ACCEPTED:
            future = pending.accepted
        if future is not None and not future.done() and not self._runtime.waits.over:
            cell_leaves: asyncio.Future[bool] = loop.create_future()
            pending.waiting.add(cell_leaves)
            try:
                await asyncio.wait(
                    [future, cell_leaves],
                    timeout=max(ends_at - loop.time(), 0),
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                pending.waiting.discard(cell_leaves)
        if pending.completed.done():
            return Reached(hot.run_id, _COMPLETED, pending.completed.result())
        if pending.accepted.done():
            pending.accepted.result()  # the error, if it has one
            return Reached(hot.run_id, _ACCEPTED)
        return Reached(hot.run_id, _ADMITTED)


def _exhausted(
    sentence: str,
    cause: ResourceExhaustedCause.ValueType = ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT,
) -> ResourceExhausted:
    return ResourceExhausted(
        sentence,
        ResourceExhaustedFailure(
            cause=cause,
            scope=ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE,
        ),
    )
