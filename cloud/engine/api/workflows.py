"""Starting, signalling, cancelling, terminating and deleting workflows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from google.protobuf.message import Message
from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import (
    EventType,
    WorkflowExecutionStatus,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
)
from temporalio.api.errordetails.v1 import (
    WorkflowExecutionAlreadyStartedFailure,
)
from temporalio.api.history.v1 import (
    WorkflowExecutionOptionsUpdatedEventAttributes,
)
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    DeleteWorkflowExecutionResponse,
    RequestCancelWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionResponse,
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
    SignalWorkflowExecutionRequest,
    SignalWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
    TerminateWorkflowExecutionRequest,
    TerminateWorkflowExecutionResponse,
)

from cloud.engine.api import checks
from cloud.engine.api.callbacks import check_callbacks, check_conflict_options, own_links
from cloud.engine.api.search_attributes import check_search_attributes
from cloud.engine.api.versioning_overrides import check_override
from cloud.engine.api.workflow_tasks import WorkflowTasks
from cloud.engine.core import cancellation, close, retry, signal, start, workflow_task
from cloud.engine.core.clock import to_ns
from cloud.engine.core.limits import Limits
from cloud.engine.core.payloads import json_payloads
from cloud.engine.core.state import RUNNING
from cloud.engine.core.turn import Turn
from cloud.engine.runtime import cron
from cloud.engine.runtime.errors import NoSuchRun
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.starting import (
    Conflict,
    Starting,
    conflict_with_closed,
    conflict_with_open,
    started_attributes,
)
from cloud.engine.store.rows import CurrentRun
from cloud.rpc import AlreadyExists, CallContext, InvalidArgument

_Reuse = WorkflowIdReusePolicy
_Conflict = WorkflowIdConflictPolicy
_Request = StartWorkflowExecutionRequest | SignalWithStartWorkflowExecutionRequest


class Workflows:
    """See the module's head."""

    def __init__(self, runtime: Runtime, starting: Starting, workflow_tasks: WorkflowTasks) -> None:
        self._runtime = runtime
        self._starting = starting
        self._workflow_tasks = workflow_tasks

    # --- start ---

    async def start_workflow_execution(
        self, request: StartWorkflowExecutionRequest, context: CallContext
    ) -> StartWorkflowExecutionResponse:
        """Start a workflow, or refer to the run that holds its id."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        self.check_start(request, namespace)
        return await self.start(namespace, request)

    async def start(
        self,
        namespace: Namespace,
        request: StartWorkflowExecutionRequest,
        bring: Callable[[HotRun], None] = lambda _: None,
    ) -> StartWorkflowExecutionResponse:
        """Carry out a start that was checked. `bring` gives a new run what is to come with its first workflow task.

        Raises:
            AlreadyExists: the policies forbid a new run.
        """
        runtime = self._runtime
        request_id = request.request_id or runtime.ids.request_id()
        run_id = runtime.ids.run_id()
        async with runtime.id_locks.held(namespace.namespace_id, request.workflow_id):
            current = await runtime.runs.current(namespace.namespace_id, request.workflow_id)
            if current is not None:
                if current.request_id == request_id:
                    return await self._same_start(namespace, current, request)
                used = await self._resolve(namespace, current, request, run_id)
                if used is not None:
                    return await self._attach(used, request, request_id)
            hot = self._begin(namespace, request, run_id, request_id, "start_workflow", bring=bring)
            eager = None
            if request.request_eager_execution and not to_ns(
                hot.execution.started.first_workflow_task_backoff
            ):
                eager = self._workflow_tasks.start_eagerly(hot, request.identity)
        await runtime.durable(hot)
        response = StartWorkflowExecutionResponse(
            run_id=hot.run_id,
            started=True,
            first_execution_run_id=hot.run_id,
            status=WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING,
            link=_start_link(namespace, hot),
        )
        if eager is not None:
            response.eager_workflow_task.CopyFrom(await self._workflow_tasks.describe_task(eager))
        return response

    async def _same_start(
        self, namespace: Namespace, current: CurrentRun, request: StartWorkflowExecutionRequest
    ) -> StartWorkflowExecutionResponse:
        """The reply to a start may have been lost: give it again, with its eager task if that is still out."""
        hot = await self._runtime.find(namespace, current.workflow_id, current.run_id)
        eager = self._workflow_tasks.eager_again(hot) if request.request_eager_execution else None
        await self._runtime.durable(hot)
        response = StartWorkflowExecutionResponse(
            run_id=current.run_id,
            started=True,
            first_execution_run_id=current.first_run_id,
            status=WorkflowExecutionStatus.ValueType(current.status),
            link=_start_link(namespace, hot),
        )
        if eager is not None:
            response.eager_workflow_task.CopyFrom(await self._workflow_tasks.describe_task(eager))
        return response

    async def _attach(
        self, hot: HotRun, request: StartWorkflowExecutionRequest, request_id: str
    ) -> StartWorkflowExecutionResponse:
        """Conflict policy USE_EXISTING: note on the open run what the request asks to attach."""
        options = request.on_conflict_options
        wanted = options.attach_request_id or options.attach_completion_callbacks or options.attach_links
        if request.HasField("on_conflict_options") and wanted:
            known = hot.execution.attached_request_ids
            if request_id not in known:
                with self._runtime.transition(hot) as turn:
                    event = turn.event(
                        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED,
                        workflow_execution_options_updated_event_attributes=(
                            WorkflowExecutionOptionsUpdatedEventAttributes(
                                attached_request_id=request_id if options.attach_request_id else "",
                                attached_completion_callbacks=(
                                    request.completion_callbacks
                                    if options.attach_completion_callbacks
                                    else ()
                                ),
                            )
                        ),
                        worker_may_ignore=True,
                    )
                    if options.attach_links:
                        event.links.extend(request.links)
                    start.attach(turn, event)
                    turn.meter("update_workflow_options_via_start")
        await self._runtime.durable(hot)
        return StartWorkflowExecutionResponse(
            run_id=hot.run_id,
            first_execution_run_id=hot.execution.started.first_execution_run_id,
            status=WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING,
            link=(
                _request_link(hot, request_id, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED)
                if options.attach_request_id
                else _start_link(hot.namespace, hot)
            ),
        )

    async def _resolve(
        self, namespace: Namespace, current: CurrentRun, request: _Request, new_run_id: str
    ) -> HotRun | None:
        """What the policies say of a workflow id that has a run: the open one to use, or None to start anew.

        Raises:
            AlreadyExists: they forbid a new one.
        """
        reuse = request.workflow_id_reuse_policy
        if current.status != RUNNING:
            conflict = conflict_with_closed(current, reuse)
            if conflict is not None:
                raise _already_started(conflict)
            return None
        hot = await self._runtime.find(namespace, current.workflow_id, current.run_id)
        policy = request.workflow_id_conflict_policy
        if reuse == _Reuse.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING:
            policy = _Conflict.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
        if not policy and isinstance(request, SignalWithStartWorkflowExecutionRequest):
            policy = _Conflict.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
        if policy == _Conflict.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING:
            return hot
        if policy == _Conflict.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING:
            self._make_way(hot, new_run_id)
            return None
        raise _already_started(conflict_with_open(current))

    def _make_way(self, hot: HotRun, new_run_id: str) -> None:
        with self._runtime.transition(hot) as turn:
            close.terminate(
                turn,
                reason="TerminateIfRunning WorkflowIdReusePolicy",
                details=json_payloads(f"terminated by new runID: {new_run_id}"),
                identity="history-service",
            )

    def _begin(
        self,
        namespace: Namespace,
        request: _Request,
        run_id: str,
        request_id: str,
        meter: str,
        *,
        signal_of: SignalWithStartWorkflowExecutionRequest | None = None,
        bring: Callable[[HotRun], None] = lambda _: None,
    ) -> HotRun:
        now = self._runtime.clock.now()

        def then(turn: Turn) -> None:
            if signal_of is not None:
                _receive(turn, signal_of, request_id, meter="")
            hot = self._runtime.runs.in_memory(run_id)
            if hot is not None:
                bring(hot)
            workflow_task.schedule(turn)

        return self._starting.begin(
            namespace,
            request.workflow_id,
            run_id,
            started_attributes(request, self._runtime.limits, now),
            request_id=request_id,
            meter=meter,
            links=request.links,
            user_metadata=(
                request.user_metadata.SerializeToString() if request.HasField("user_metadata") else b""
            ),
            then=then,
        )

    def check_start(self, request: _Request, namespace: Namespace) -> None:
        """Check what starts share.

        Raises:
            InvalidArgument, FailedPrecondition: with the real server's sentence.
        """
        limits = self._runtime.limits
        checks.require_registered(namespace)
        checks.require(request.workflow_id, "WorkflowId")
        checks.check_id_length(request.workflow_id, "WorkflowId", limits)
        if not request.workflow_type.name:
            raise InvalidArgument("WorkflowType is not set on request.")
        checks.check_length(request.workflow_type.name, "WorkflowType", limits)
        checks.check_task_queue(request, limits)
        checks.check_length(request.request_id, "RequestId", limits)
        checks.check_duration(request.workflow_execution_timeout, "WorkflowExecutionTimeoutSeconds")
        checks.check_duration(request.workflow_run_timeout, "WorkflowRunTimeoutSeconds")
        checks.check_duration(request.workflow_task_timeout, "WorkflowTaskTimeoutSeconds")
        checks.check_duration(request.workflow_start_delay, "WorkflowStartDelaySeconds")
        if request.HasField("retry_policy"):
            retry.check(request.retry_policy)
        if request.cron_schedule:
            if to_ns(request.workflow_start_delay):
                raise InvalidArgument("CronSchedule and WorkflowStartDelay may not be used together.")
            try:
                cron.next_delay(request.cron_schedule, 0, self._runtime.clock.now())
            except ValueError:
                raise InvalidArgument("invalid CronSchedule.") from None
        if isinstance(request, StartWorkflowExecutionRequest) and request.completion_callbacks:
            check_callbacks(request.completion_callbacks, limits)
            links = own_links(request.links, request.completion_callbacks)
            del request.links[:]
            request.links.extend(links)
        if isinstance(request, StartWorkflowExecutionRequest) and request.HasField("on_conflict_options"):
            check_conflict_options(request.on_conflict_options)
        _check_policies(request)
        checks.check_blob(request.input, "input", limits)
        checks.check_memo(request.memo, limits)
        checks.check_priority(request.priority)
        checks.check_time_skipping(self._runtime, request)
        if request.HasField("versioning_override"):
            check_override(self._runtime, namespace, request.versioning_override, request.task_queue.name)
        check_search_attributes(namespace, request.search_attributes)
        self._runtime.runs.require_room(namespace.namespace_id)

    # --- signals ---

    async def signal_with_start_workflow_execution(
        self, request: SignalWithStartWorkflowExecutionRequest, context: CallContext
    ) -> SignalWithStartWorkflowExecutionResponse:
        """Signal the open run, or start one with the signal in it."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        self.check_signal_with_start(request, namespace)
        runtime = self._runtime
        request_id = request.request_id or runtime.ids.request_id()
        run_id = runtime.ids.run_id()
        started = False
        async with runtime.id_locks.held(namespace.namespace_id, request.workflow_id):
            current = await runtime.runs.current(namespace.namespace_id, request.workflow_id)
            hot: HotRun | None = None
            if current is not None:
                if current.request_id == request_id:
                    hot = await runtime.find(namespace, current.workflow_id, current.run_id)
                    await runtime.durable(hot)
                    return SignalWithStartWorkflowExecutionResponse(run_id=hot.run_id, started=True)
                hot = await self._resolve(namespace, current, request, run_id)
            if hot is None:
                hot = self._begin(
                    namespace, request, run_id, request_id, "signal_workflow_with_start", signal_of=request
                )
                started = True
            else:
                with runtime.transition(hot) as turn:
                    _receive(turn, request, request_id, meter="signal_workflow_with_start")
        await runtime.durable(hot)
        return SignalWithStartWorkflowExecutionResponse(
            run_id=hot.run_id,
            started=started,
            signal_link=_request_link(hot, request_id, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED),
            first_execution_run_id=hot.execution.started.first_execution_run_id,
        )

    def check_signal_with_start(
        self, request: SignalWithStartWorkflowExecutionRequest, namespace: Namespace
    ) -> None:
        """Check a signal that may start its workflow.

        Raises:
            RpcError: with the real server's sentence.
        """
        self.check_start(request, namespace)
        _check_signal_name(request.signal_name, self._runtime.limits)
        checks.check_blob(request.signal_input, "signal input", self._runtime.limits)
        if request.workflow_id_conflict_policy == _Conflict.WORKFLOW_ID_CONFLICT_POLICY_FAIL:
            raise InvalidArgument(
                "Invalid WorkflowIDConflictPolicy: WORKFLOW_ID_CONFLICT_POLICY_FAIL is not supported for this operation."
            )

    async def signal_workflow_execution(
        self, request: SignalWorkflowExecutionRequest, context: CallContext
    ) -> SignalWorkflowExecutionResponse:
        """Signal an open run."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.check_execution(request.workflow_execution)
        checks.require(request.signal_name, "SignalName")
        checks.check_length(request.signal_name, "SignalName", self._runtime.limits)
        checks.check_length(request.request_id, "RequestId", self._runtime.limits)
        checks.check_blob(request.input, "signal input", self._runtime.limits)
        request_id = request.request_id or self._runtime.ids.request_id()
        hot = await self._find(namespace, request.workflow_execution)
        with self._runtime.transition(hot) as turn:
            signal.receive(
                turn,
                name=request.signal_name,
                input=request.input if request.HasField("input") else None,
                identity=request.identity,
                request_id=request_id,
                header=request.header if request.HasField("header") else None,
                links=request.links,
            )
        await self._runtime.durable(hot)
        return SignalWorkflowExecutionResponse(
            link=_request_link(hot, request_id, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
        )

    # --- cancel, terminate, delete ---

    async def request_cancel_workflow_execution(
        self, request: RequestCancelWorkflowExecutionRequest, context: CallContext
    ) -> RequestCancelWorkflowExecutionResponse:
        """Ask an open run to cancel itself."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.check_execution(request.workflow_execution)
        hot = await self._find(namespace, request.workflow_execution, request.first_execution_run_id)
        with self._runtime.transition(hot) as turn:
            cancellation.request(turn, reason=request.reason, identity=request.identity, links=request.links)
        await self._runtime.durable(hot)
        return RequestCancelWorkflowExecutionResponse()

    async def terminate_workflow_execution(
        self, request: TerminateWorkflowExecutionRequest, context: CallContext
    ) -> TerminateWorkflowExecutionResponse:
        """End an open run at once."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.check_execution(request.workflow_execution)
        hot = await self._find(namespace, request.workflow_execution, request.first_execution_run_id)
        with self._runtime.transition(hot) as turn:
            close.terminate(
                turn,
                reason=request.reason or "terminated by user via frontend",
                details=request.details if request.HasField("details") else None,
                identity=request.identity,
                links=list(request.links),
            )
        await self._runtime.durable(hot)
        return TerminateWorkflowExecutionResponse()

    async def delete_workflow_execution(
        self, request: DeleteWorkflowExecutionRequest, context: CallContext
    ) -> DeleteWorkflowExecutionResponse:
        """Remove a run and its history; an open one is terminated first."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.check_execution(request.workflow_execution)
        hot = await self._find(namespace, request.workflow_execution)
        await delete_run(self._runtime, hot)
        return DeleteWorkflowExecutionResponse()

    async def _find(self, namespace: Namespace, execution: Message, first_run_id: str = "") -> HotRun:
        workflow_id, run_id = execution.workflow_id, execution.run_id  # type: ignore[attr-defined]
        hot = await self._runtime.find(namespace, workflow_id, run_id)
        if first_run_id and hot.execution.started.first_execution_run_id != first_run_id:
            raise NoSuchRun("workflow execution not found")
        return hot


async def delete_run(runtime: Runtime, hot: HotRun) -> None:
    """Remove a run and its history, durably; an open one is terminated first."""
    if hot.execution.running:
        with runtime.transition(hot) as turn:
            close.terminate(
                turn, reason="Delete workflow execution", details=None, identity="history-service"
            )
    await runtime.settled(hot)  # its parent must hear of its end before it is gone
    if not hot.dropped:
        await asyncio.shield(runtime.delete(hot).durable)


def _check_signal_name(name: str, limits: Limits) -> None:
    if not name:
        raise InvalidArgument("signal not set")
    checks.check_id_length(name, "signal name", limits)


def _check_policies(request: _Request) -> None:
    reuse, conflict = request.workflow_id_reuse_policy, request.workflow_id_conflict_policy
    if conflict and reuse == _Reuse.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING:
        raise InvalidArgument(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING cannot be used together with "
            "a WorkflowIDConflictPolicy"
        )
    if (
        conflict == _Conflict.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
        and reuse == _Reuse.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
    ):
        raise InvalidArgument(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with "
            "WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING"
        )


def _receive(
    turn: Turn, request: SignalWithStartWorkflowExecutionRequest, request_id: str, *, meter: str
) -> None:
    signal.receive(
        turn,
        name=request.signal_name,
        input=request.signal_input if request.HasField("signal_input") else None,
        identity=request.identity,
        request_id=request_id,
        header=request.header if request.HasField("header") else None,
        links=request.links,
        meter=meter,
    )


def _already_started(conflict: Conflict) -> AlreadyExists:
    current = conflict.current
    return AlreadyExists(
        conflict.sentence,
        WorkflowExecutionAlreadyStartedFailure(
            start_request_id=current.request_id,
            run_id=current.run_id,
            first_execution_run_id=current.first_run_id,
        ),
    )


def _start_link(namespace: Namespace, hot: HotRun) -> Link:
    return Link(
        workflow_event=Link.WorkflowEvent(
            namespace=namespace.name,
            workflow_id=hot.execution.key.workflow_id,
            run_id=hot.run_id,
            event_ref=Link.WorkflowEvent.EventReference(
                event_id=1, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
            ),
        )
    )


def _request_link(hot: HotRun, request_id: str, event_type: EventType.ValueType) -> Link:
    return Link(
        workflow_event=Link.WorkflowEvent(
            namespace=hot.namespace.name,
            workflow_id=hot.execution.key.workflow_id,
            run_id=hot.run_id,
            request_id_ref=Link.WorkflowEvent.RequestIdReference(
                request_id=request_id, event_type=event_type
            ),
        )
    )
