"""How runs begin: by a client's start, as a child, or as the next run of a chain. One place makes them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message
from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import (
    ContinueAsNewInitiator,
    TaskQueueKind,
    WorkflowExecutionStatus,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
)
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    SignalWithStartWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
)

from cloud.engine.core import retry, start, workflow_task
from cloud.engine.core.clock import duration, timestamp, to_ns
from cloud.engine.core.effects import StartNextRun
from cloud.engine.core.limits import Limits
from cloud.engine.core.state import Execution, RunKey
from cloud.engine.core.turn import Turn
from cloud.engine.runtime import cron
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.rows import CurrentRun

_RUNNING = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
_COMPLETED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED
_P = WorkflowIdReusePolicy
_C = WorkflowIdConflictPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Why a workflow id is not free: `current` stands in the way. `sentence` is the real server's."""

    current: CurrentRun
    sentence: str


def conflict_with_closed(current: CurrentRun, policy: WorkflowIdReusePolicy.ValueType) -> Conflict | None:
    """Whether the reuse policy forbids a new run after the closed run `current`."""
    where = f"WorkflowId: {current.workflow_id}, RunId: {current.run_id}."
    if policy == _P.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE:
        return Conflict(
            current=current,
            sentence=(
                f"Workflow execution already finished. {where} "
                "Workflow Id reuse policy: reject duplicate workflow Id."
            ),
        )
    if policy == _P.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY and current.status == _COMPLETED:
        return Conflict(
            current=current,
            sentence=(
                f"Workflow execution already finished successfully. {where} "
                "Workflow Id reuse policy: allow duplicate workflow Id if last run failed."
            ),
        )
    return None


def conflict_with_open(current: CurrentRun) -> Conflict:
    """The open run `current` stands in the way."""
    return Conflict(
        current=current,
        sentence=(
            "Workflow execution is already running. "
            f"WorkflowId: {current.workflow_id}, RunId: {current.run_id}."
        ),
    )


def _optional(message: Message, name: str) -> Message | None:
    return getattr(message, name) if message.HasField(name) else None


def started_attributes(
    request: StartWorkflowExecutionRequest | SignalWithStartWorkflowExecutionRequest, limits: Limits, now: int
) -> WorkflowExecutionStartedEventAttributes:
    """The first event's attributes of the run that a checked `request` asks for at `now` (ns)."""
    execution_timeout = to_ns(request.workflow_execution_timeout)
    run_timeout = to_ns(request.workflow_run_timeout) or execution_timeout
    if execution_timeout:
        run_timeout = min(run_timeout, execution_timeout)
    task_timeout = min(
        to_ns(request.workflow_task_timeout) or limits.workflow_task_timeout_default,
        limits.workflow_task_timeout,
        run_timeout or limits.workflow_task_timeout,
    )
    if request.cron_schedule:
        backoff = cron.next_delay(request.cron_schedule, now, now)
    else:
        backoff = to_ns(request.workflow_start_delay)
    attributes = WorkflowExecutionStartedEventAttributes(
        workflow_type=request.workflow_type,
        task_queue=TaskQueue(name=request.task_queue.name, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL),
        workflow_task_timeout=duration(task_timeout),
        identity=request.identity,
        attempt=1,
        cron_schedule=request.cron_schedule,
        first_workflow_task_backoff=duration(backoff),
    )
    # SDKs tell "none" from "zero": what the caller left out stays out.
    if request.HasField("workflow_execution_timeout"):
        attributes.workflow_execution_timeout.CopyFrom(duration(execution_timeout))
    if run_timeout or request.HasField("workflow_run_timeout"):
        attributes.workflow_run_timeout.CopyFrom(duration(run_timeout))
    for name in (
        "input",
        "header",
        "memo",
        "search_attributes",
        "priority",
        "versioning_override",
        "time_skipping_config",
    ):
        value = _optional(request, name)
        if value is not None:
            getattr(attributes, name).CopyFrom(value)
    if request.HasField("retry_policy"):
        attributes.retry_policy.CopyFrom(retry.with_defaults(request.retry_policy, limits))
    if isinstance(request, StartWorkflowExecutionRequest):
        for name in ("continued_failure", "last_completion_result"):
            value = _optional(request, name)
            if value is not None:
                getattr(attributes, name).CopyFrom(value)
        attributes.completion_callbacks.extend(request.completion_callbacks)
        attributes.eager_execution_accepted = request.request_eager_execution and not backoff
    if execution_timeout:
        attributes.workflow_execution_expiration_time.CopyFrom(timestamp(now + execution_timeout + backoff))
    if request.cron_schedule:
        attributes.initiator = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE
    return attributes


class Starting:
    """Makes runs."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        runtime.carry_out_with(StartNextRun, self._start_next)

    def begin(
        self,
        namespace: Namespace,
        workflow_id: str,
        run_id: str,
        attributes: WorkflowExecutionStartedEventAttributes,
        *,
        request_id: str,
        meter: str,
        links: Sequence[Link] = (),
        user_metadata: bytes = b"",
        then: Callable[[Turn], None] = workflow_task.schedule,
    ) -> HotRun:
        """Start a run, in one transition: its first event, and what `then` adds (its first workflow task)."""
        runtime = self._runtime
        attributes.workflow_id = workflow_id
        if not attributes.first_execution_run_id:
            attributes.first_execution_run_id = run_id
        if not attributes.original_execution_run_id:
            attributes.original_execution_run_id = run_id
        hot = HotRun(Execution(RunKey(namespace.namespace_id, workflow_id, run_id)), namespace)
        hot.execution.started = attributes
        runtime.add_run(hot, request_id)
        with runtime.transition(hot) as turn:
            start.begin(
                turn,
                attributes,
                request_id=request_id,
                meter=meter,
                links=links,
                user_metadata=user_metadata,
            )
            then(turn)
        return hot

    def _start_next(self, previous: HotRun, effect: StartNextRun) -> None:
        self.begin(
            previous.namespace,
            previous.execution.key.workflow_id,
            effect.run_id,
            effect.attributes,
            request_id=self._runtime.ids.request_id(),
            meter="",
            user_metadata=effect.user_metadata,
        )
