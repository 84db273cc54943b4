"""Completion callbacks: what became of a closed run, or of an update, is told to whoever asked for it.

A callback of this very cell is no call at all: the run that waits and the one that closed have one writer, so both know it in one
transaction. Others are called over HTTP. A run whose callbacks are called keeps its `wake_at` in the past until they are answered.
"""

from __future__ import annotations

import asyncio

from temporalio.api.common.v1 import Link, Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent

from cloud.engine.core import callback as callbacks
from cloud.engine.core.clock import to_ns
from cloud.engine.core.effects import DeliverCallback
from cloud.engine.core.nexus_answers import Outcome, Succeeded, Unsuccessful
from cloud.engine.core.state import CompletionCallback
from cloud.engine.core.update import closed_failure
from cloud.engine.runtime.close_events import event_of
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.nexus_calling import until_answered
from cloud.engine.runtime.nexus_completions import Completion
from cloud.engine.runtime.nexus_delivery import CallbackDelivery, CallFailed
from cloud.engine.runtime.runtime import Runtime

_E = EventType


class Callbacks:
    """Delivers what the core asks for."""

    def __init__(self, runtime: Runtime, delivery: CallbackDelivery) -> None:
        self._runtime = runtime
        self._delivery = delivery
        runtime.carry_out_with(DeliverCallback, self._begin)

    def _begin(self, hot: HotRun, effect: DeliverCallback) -> None:
        # One that the runtime's end cuts off stays in `calls`: its run still says so.
        work = until_answered(hot, lambda: self._deliver(hot, effect.index))
        hot.calls.add(self._runtime.spawn(work, "DeliverCallback"))

    async def _deliver(self, hot: HotRun, index: int) -> None:
        await self._runtime.durable(hot)
        if not callbacks.awaits_delivery(hot.execution, index):
            self._done(hot)
            self._runtime.touch(hot)
            return
        callback = hot.execution.callbacks[index]
        outcome, ended_at = await self._end(hot, callback)
        completion = Completion(outcome, started_at=hot.execution.start_time, links=[_link(hot, callback)])
        namespace_id = hot.execution.key.namespace_id
        try:
            await self._delivery.deliver(
                namespace_id, callback.callback, completion, ended_at, lambda: not hot.dropped
            )
        except CallFailed as error:
            self._not_delivered(hot, index, str(error), retryable=error.retryable)
        else:
            self._delivered(hot, index)  # if it was one of the cell: in one batch with what it tells

    async def _end(self, hot: HotRun, callback: CompletionCallback) -> tuple[Outcome, int]:
        """What the callback is to be told, and when that came about (ns)."""
        execution = hot.execution
        rejection = execution.volatile.rejections.get(callback.update_id)
        if rejection is not None:
            return Unsuccessful(Failure.FromString(rejection)), 0
        update = execution.updates.get(callback.update_id)
        if update is not None and update.completed_event_id:
            event = await event_of(self._runtime, hot, update.completed_event_id)
            return _update_outcome(event), to_ns(event.event_time)
        event = await event_of(self._runtime, hot, execution.close_event_id)
        outcome = Unsuccessful(closed_failure()) if callback.update_id else _outcome(event)
        return outcome, to_ns(event.event_time)

    def _delivered(self, hot: HotRun, index: int) -> None:
        with self._runtime.transition(hot) as turn:
            self._done(hot)
            callbacks.delivered(turn, index)

    def _not_delivered(self, hot: HotRun, index: int, reason: str, *, retryable: bool) -> None:
        with self._runtime.transition(hot) as turn:
            self._done(hot)
            callbacks.not_delivered(turn, index, reason, retryable=retryable)

    @staticmethod
    def _done(hot: HotRun) -> None:
        task = asyncio.current_task()
        if task is not None:
            hot.calls.discard(task)


def _link(hot: HotRun, callback: CompletionCallback) -> Link:
    """To the run's start, or to the request that attached the callback to it."""
    link = Link.WorkflowEvent(
        namespace=hot.namespace.name, workflow_id=hot.execution.key.workflow_id, run_id=hot.run_id
    )
    if callback.request_id:
        by_event = hot.execution.attached_request_ids.get(callback.request_id)
        link.request_id_ref.request_id = callback.request_id
        link.request_id_ref.event_type = (
            by_event.event_type if by_event else _E.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED
        )
    else:
        link.event_ref.event_id = 1
        link.event_ref.event_type = _E.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
    return Link(workflow_event=link)


def _update_outcome(event: HistoryEvent) -> Outcome:
    outcome = event.workflow_execution_update_completed_event_attributes.outcome
    if outcome.HasField("failure"):
        return Unsuccessful(outcome.failure)
    return Succeeded(outcome.success.payloads[0] if outcome.success.payloads else None)


def _outcome(event: HistoryEvent) -> Outcome:
    """What a run's end is to others: results and failures, but not why someone ended it."""
    match event.event_type:
        case _E.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
            result: Payloads = event.workflow_execution_completed_event_attributes.result
            return Succeeded(result.payloads[0] if result.payloads else None)
        case _E.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
            return Unsuccessful(event.workflow_execution_failed_event_attributes.failure)
        case _E.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED:
            failure = Failure(message="operation canceled")
            attributes = event.workflow_execution_canceled_event_attributes
            failure.canceled_failure_info.SetInParent()
            if attributes.HasField("details"):
                failure.canceled_failure_info.details.CopyFrom(attributes.details)
            return Unsuccessful(failure, canceled=True)
        case _E.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED:
            failure = Failure(message="operation terminated")
            failure.terminated_failure_info.SetInParent()
            return Unsuccessful(failure)
        case _:
            failure = Failure(message="operation exceeded internal timeout")
            failure.timeout_failure_info.SetInParent()
            return Unsuccessful(failure)
