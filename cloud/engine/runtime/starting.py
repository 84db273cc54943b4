"""How runs begin: by a client's start, as a child, or as the next run of a chain. One place makes them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import (
    WorkflowExecutionStatus,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
)
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes

from cloud.engine.core import start, workflow_task
from cloud.engine.core.effects import StartNextRun
from cloud.engine.core.state import Execution, RunKey
from cloud.engine.core.turn import Turn
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
