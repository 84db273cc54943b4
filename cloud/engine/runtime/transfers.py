"""Work that one run has with another: starting children, signals and cancel requests to others, what a close means for parent and children.

In a native cell both runs have the same writer, so what happens to both is queued without an await between and is written in
one transaction: there is no state in which one side knows and the other does not. Until it is done the run counts it as
`outstanding`, and its row says so: after a crash it is the first to be woken, and asks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import (
    CancelExternalWorkflowExecutionFailedCause,
    ContinueAsNewInitiator,
    ParentClosePolicy,
    SignalExternalWorkflowExecutionFailedCause,
    StartChildWorkflowExecutionFailedCause,
)
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes

from cloud.engine.core import (
    cancellation,
    child,
    close,
    external,
    older_versioning,
    priority,
    signal,
    versioning,
    workflow_task,
)
from cloud.engine.core.clock import duration, timestamp, to_ns
from cloud.engine.core.effects import CancelExternal, PropagateClose, SignalExternal, StartChild
from cloud.engine.core.errors import LimitExceeded, RunClosed
from cloud.engine.core.state import RUNNING, Child, Execution
from cloud.engine.runtime import cron
from cloud.engine.runtime.close_events import close_event
from cloud.engine.runtime.commits import Unflushed
from cloud.engine.runtime.errors import NoSuchRun
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.schedules import Schedules
from cloud.engine.runtime.starting import Starting, conflict_with_closed
from cloud.engine.store.database import StoreUnavailable
from cloud.engine.store.rows import CurrentRun

log = structlog.get_logger(__name__)

RETRY_S = 0.2
RETRY_S_MAX = 10.0
RESETS_MAX = 100
"""Resets of a parent, one after the other, that the end of a child follows."""
IDENTITY = "history-service"

_SignalCause = SignalExternalWorkflowExecutionFailedCause
_CancelCause = CancelExternalWorkflowExecutionFailedCause
_ChildCause = StartChildWorkflowExecutionFailedCause
_Policy = ParentClosePolicy


class Transfers:
    """Carries out the effects on other runs."""

    def __init__(self, runtime: Runtime, starting: Starting, schedules: Schedules) -> None:
        self._runtime = runtime
        self._starting = starting
        self._schedules = schedules
        runtime.carry_out_with(StartChild, self._begin(self._start_child))
        runtime.carry_out_with(SignalExternal, self._begin(self._signal))
        runtime.carry_out_with(CancelExternal, self._begin(self._cancel))
        runtime.carry_out_with(PropagateClose, self._begin(self._propagate_close))

    def _begin(
        self, work: Callable[[HotRun, Any], Coroutine[Any, Any, None]]
    ) -> Callable[[HotRun, Any], None]:
        def begin(hot: HotRun, effect: Any) -> None:
            task = self._runtime.spawn(self._until_done(work, hot, effect), type(effect).__name__)
            hot.transfers.add(task)
            task.add_done_callback(hot.transfers.discard)

        return begin

    async def _until_done(
        self, work: Callable[[HotRun, Any], Coroutine[Any, Any, None]], hot: HotRun, effect: Any
    ) -> None:
        """Try until it is done; a run that was dropped from memory asks again when it is loaded."""
        retry_s = RETRY_S
        while not hot.dropped:
            try:
                await work(hot, effect)
            except (Unflushed, StoreUnavailable) as error:
                log.warning("transfer_delayed", run_id=hot.run_id, effect=repr(effect), reason=str(error))
            except Exception:
                log.exception("transfer_failed", run_id=hot.run_id, effect=repr(effect))
                retry_s = RETRY_S_MAX
            else:
                return
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, RETRY_S_MAX)

    def _done(self, hot: HotRun) -> None:
        hot.outstanding -= 1
        self._runtime.touch(hot)

    # --- children ---

    async def _start_child(self, parent: HotRun, effect: StartChild) -> None:
        pending = self._child_to_start(parent, effect)
        if pending is None:
            self._done(parent)
            return
        namespace_id, workflow_id = parent.execution.key.namespace_id, pending.initiated.workflow_id
        async with self._runtime.id_locks.held(namespace_id, workflow_id):
            current = await self._runtime.runs.current(namespace_id, workflow_id)
            reconnected = await self._child_from_before(parent, pending, current)
            if parent.dropped:
                raise Unflushed("the parent was dropped from memory")
            pending = self._child_to_start(parent, effect)
            if pending is None:
                self._done(parent)  # the parent closed meanwhile: a child of it would be an orphan
                return
            started = None if reconnected else self._try_start(parent, pending, current)
            with self._runtime.transition(parent) as turn:
                if reconnected or started is not None:
                    run_id = started.run_id if started is not None else reconnected
                    child.started(turn, effect.initiated_event_id, run_id)
                else:
                    child.start_failed(
                        turn,
                        effect.initiated_event_id,
                        _ChildCause.START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_WORKFLOW_ALREADY_EXISTS,
                    )
            if started is not None:
                # The child's code runs when its parent's history tells of it, not before.
                with self._runtime.transition(started) as turn:
                    workflow_task.schedule(turn)
            self._done(parent)

    @staticmethod
    def _child_to_start(parent: HotRun, effect: StartChild) -> Child | None:
        """None if there is nothing to start: what a closed parent still owes its children is done with its close."""
        if not parent.execution.running:
            return None
        return child.awaiting_start(parent.execution, effect.initiated_event_id)

    async def _child_from_before(self, parent: HotRun, pending: Child, current: CurrentRun | None) -> str:
        """The first run of the child if it runs already: the run that `parent` was reset from had started it. Else empty."""
        execution = parent.execution
        if (
            current is None
            or current.status != RUNNING
            or pending.initiated_event_id > execution.reset_event_id
        ):
            return ""
        try:
            found = (await self._runtime.runs.get(current.run_id)).execution.started
            its_parent = (await self._runtime.runs.get(found.parent_workflow_execution.run_id)).execution
        except NoSuchRun:
            return ""
        same = (
            its_parent.key.workflow_id == execution.key.workflow_id
            and its_parent.key.namespace_id == execution.key.namespace_id
            and its_parent.started.original_execution_run_id == execution.started.original_execution_run_id
            and found.parent_initiated_event_id == pending.initiated_event_id
        )
        return current.first_run_id if same else ""

    def _try_start(self, parent: HotRun, pending: Child, current: CurrentRun | None) -> HotRun | None:
        """Start the child, without its first task; None if the workflow id is not free."""
        runtime, intent = self._runtime, pending.initiated
        if current is not None and (
            current.status == RUNNING or conflict_with_closed(current, intent.workflow_id_reuse_policy)
        ):
            return None
        return self._starting.begin(
            parent.namespace,
            intent.workflow_id,
            runtime.ids.run_id(),
            self._child_attributes(parent, pending),
            request_id=f"{parent.run_id}:{pending.initiated_event_id}",
            meter="start_workflow",
            user_metadata=pending.user_metadata,
            then=lambda _: None,
        )

    def _child_attributes(self, parent: HotRun, pending: Child) -> WorkflowExecutionStartedEventAttributes:
        attributes = _child_attributes(parent.execution, pending, self._runtime.clock.now())
        versioning.pass_to_child(parent.execution, attributes, self._runtime.around(parent.namespace))
        inherit = pending.initiated.inherit_build_id and not attributes.HasField("versioning_override")
        older_versioning.pass_to_next(parent.execution, attributes, inherit=inherit)
        return attributes

    # --- signals and cancel requests ---

    async def _target(self, hot: HotRun, execution: WorkflowExecution, child_only: bool) -> HotRun | None:
        """The run that is meant, None if there is none; a run can't mean itself."""
        try:
            target = await self._runtime.find(hot.namespace, execution.workflow_id, execution.run_id)
        except NoSuchRun:
            return None
        if hot.dropped:
            raise Unflushed("the run was dropped from memory")
        if target is hot:
            return None
        if child_only and not _is_child(hot, target):
            return None
        return target

    async def _signal(self, hot: HotRun, effect: SignalExternal) -> None:
        pending = hot.execution.external_signals.get(effect.initiated_event_id)
        if pending is None or pending.closing:
            self._done(hot)
            return
        intent = pending.initiated
        target = await self._target(hot, intent.workflow_execution, intent.child_workflow_only)
        failed = None
        if target is None:
            failed = _SignalCause.SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND
        else:
            try:
                with self._runtime.transition(target) as turn:
                    signal.receive(
                        turn,
                        name=intent.signal_name,
                        input=intent.input if intent.HasField("input") else None,
                        identity=IDENTITY,
                        header=intent.header if intent.HasField("header") else None,
                        sender=_ids(hot),
                        request_id=f"{hot.run_id}:{effect.initiated_event_id}",
                        meter="",
                    )
            except RunClosed:
                failed = _SignalCause.SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND
            except LimitExceeded:
                failed = (
                    _SignalCause.SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_SIGNAL_COUNT_LIMIT_EXCEEDED
                )
        with self._runtime.transition(hot) as turn:
            external.signal_outcome(turn, effect.initiated_event_id, failed)
        self._done(hot)

    async def _cancel(self, hot: HotRun, effect: CancelExternal) -> None:
        pending = hot.execution.external_cancels.get(effect.initiated_event_id)
        if pending is None or pending.closing:
            self._done(hot)
            return
        intent = pending.initiated
        target = await self._target(hot, intent.workflow_execution, intent.child_workflow_only)
        failed = None
        if target is None:
            failed = _CancelCause.CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND
        else:
            with self._runtime.transition(target) as turn:
                cancellation.request(
                    turn,
                    reason=intent.reason,
                    identity=IDENTITY,
                    external_initiated_event_id=effect.initiated_event_id,
                    sender=_ids(hot),
                )
        with self._runtime.transition(hot) as turn:
            external.cancel_outcome(turn, effect.initiated_event_id, failed)
        self._done(hot)

    # --- the end of a run ---

    async def _propagate_close(self, hot: HotRun, effect: PropagateClose) -> None:
        execution = hot.execution
        if not execution.volatile.close_propagated:
            goes_on = execution.next_run_id or execution.volatile.ended_by_reset  # in another run
            if not (execution.volatile.ended_by_reset and execution.volatile.reset_run_id):
                for pending in list(execution.children.values()):
                    await self._apply_parent_close_policy(hot, pending)
            if not goes_on and execution.started.HasField("parent_workflow_execution"):
                await self._tell_parent(hot)
            if not goes_on:
                await self._schedules.run_closed(hot)
            if hot.dropped:
                return
            execution.volatile.close_propagated = True
        self._done(hot)

    async def _apply_parent_close_policy(self, hot: HotRun, pending: Child) -> None:
        policy = pending.initiated.parent_close_policy
        namespace_id = hot.execution.key.namespace_id
        if pending.closing or not pending.run_id:
            return  # ended, or never started: as the real server has it, whatever the policy
        if policy not in (_Policy.PARENT_CLOSE_POLICY_TERMINATE, _Policy.PARENT_CLOSE_POLICY_REQUEST_CANCEL):
            return
        current = await self._runtime.runs.current(namespace_id, pending.initiated.workflow_id)
        if current is None or current.status != RUNNING or current.first_run_id != pending.run_id:
            return
        try:
            target = await self._runtime.runs.get(current.run_id)
        except NoSuchRun:
            return
        try:
            with self._runtime.transition(target) as turn:
                if policy == _Policy.PARENT_CLOSE_POLICY_TERMINATE:
                    close.terminate(turn, reason="by parent close policy", details=None, identity=IDENTITY)
                else:
                    cancellation.request(turn, reason="", identity=IDENTITY, sender=_ids(hot))
        except RunClosed:
            return

    async def _tell_parent(self, hot: HotRun) -> None:
        started = hot.execution.started
        event = await close_event(self._runtime, hot)
        try:
            parent = await self._runtime.runs.get(started.parent_workflow_execution.run_id)
            for _ in range(RESETS_MAX):
                reset_run_id = parent.execution.volatile.reset_run_id
                if parent.execution.running or not reset_run_id:
                    break
                parent = await self._runtime.runs.get(reset_run_id)
                if started.parent_initiated_event_id > parent.execution.reset_event_id:
                    return  # wanted after the reset point: not by that run
        except NoSuchRun:
            return
        if hot.dropped or not parent.execution.running:
            return
        with self._runtime.transition(parent) as turn:
            # The parent knows its child by the first run of its chain.
            child.ended(
                turn,
                started.parent_initiated_event_id,
                hot.execution.started.first_execution_run_id,
                hot.run_id,
                event,
            )


def _is_child(hot: HotRun, target: HotRun) -> bool:
    """Whether `target` is a child of `hot`: one that it started, or that goes on since before a reset."""
    started = target.execution.started
    if started.parent_workflow_execution.run_id == hot.run_id:
        return True
    first_run_id = started.first_execution_run_id
    return bool(hot.execution.reset_event_id) and any(
        pending.run_id == first_run_id for pending in hot.execution.children.values()
    )


def _ids(hot: HotRun) -> WorkflowExecution:
    return WorkflowExecution(workflow_id=hot.execution.key.workflow_id, run_id=hot.run_id)


def _child_attributes(parent: Execution, pending: Child, now: int) -> WorkflowExecutionStartedEventAttributes:
    intent = pending.initiated
    root = parent.started.root_workflow_execution
    attributes = WorkflowExecutionStartedEventAttributes(
        workflow_type=intent.workflow_type,
        parent_workflow_namespace=intent.namespace,
        parent_workflow_namespace_id=parent.key.namespace_id,
        parent_workflow_execution=WorkflowExecution(
            workflow_id=parent.key.workflow_id, run_id=parent.key.run_id
        ),
        parent_initiated_event_id=pending.initiated_event_id,
        root_workflow_execution=(
            root
            if root.workflow_id
            else WorkflowExecution(workflow_id=parent.key.workflow_id, run_id=parent.key.run_id)
        ),
        task_queue=intent.task_queue,
        workflow_run_timeout=intent.workflow_run_timeout,
        workflow_task_timeout=intent.workflow_task_timeout,
        cron_schedule=intent.cron_schedule,
        attempt=1,
    )
    for name in (
        "workflow_execution_timeout",
        "input",
        "header",
        "memo",
        "search_attributes",
        "retry_policy",
        "versioning_override",
        "time_skipping_config",
        "time_skipping_state_propagation",
    ):
        if intent.HasField(name):
            getattr(attributes, name).CopyFrom(getattr(intent, name))
    if intent.HasField("priority") or parent.options.HasField("priority"):
        attributes.priority.CopyFrom(priority.merged(parent.options.priority, intent.priority))
    now += to_ns(intent.time_skipping_state_propagation.initial_skipped_duration)
    backoff = cron.next_delay(intent.cron_schedule, now, now) if intent.cron_schedule else 0
    attributes.first_workflow_task_backoff.CopyFrom(duration(backoff))
    if intent.cron_schedule:
        attributes.initiator = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE
    timeout = to_ns(intent.workflow_execution_timeout)
    if timeout:
        attributes.workflow_execution_expiration_time.CopyFrom(timestamp(now + timeout + backoff))
    return attributes
