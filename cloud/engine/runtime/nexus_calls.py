"""Calls of Nexus handlers on behalf of runs: to start an operation, to cancel one.

A call goes out only once its intent is durable, and is made again if a crash or a failed flush took its answer: handlers know a call by its
request id. While one is out the run's `wake_at` is in the past, so that recovery finds it (`HotRun.calls`); its timers go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import EventType
from temporalio.api.nexus.v1 import Link as NexusLink

from cloud.engine.core import nexus_operation, run_clock
from cloud.engine.core.clock import to_ns
from cloud.engine.core.effects import CancelNexusOperation, StartNexusOperation
from cloud.engine.core.state import NexusOperation
from cloud.engine.runtime import nexus_links
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.nexus_breakers import BreakerKey
from cloud.engine.runtime.nexus_calling import NexusCalling, OperationCall, until_answered
from cloud.engine.runtime.nexus_completions import callback_token
from cloud.engine.runtime.runtime import Runtime


class NexusCalls:
    """Makes the calls that the core asks for."""

    def __init__(self, runtime: Runtime, calling: NexusCalling) -> None:
        self._runtime = runtime
        self._calling = calling
        runtime.carry_out_with(StartNexusOperation, self._begin(self._start))
        runtime.carry_out_with(CancelNexusOperation, self._begin(self._cancel))

    def _begin(
        self, call: Callable[[HotRun, Any], Coroutine[Any, Any, None]]
    ) -> Callable[[HotRun, Any], None]:
        """A call that is cut off by the runtime's end stays in `calls`: its run still says so."""

        def begin(hot: HotRun, effect: Any) -> None:
            work = until_answered(hot, lambda: call(hot, effect))
            hot.calls.add(self._runtime.spawn(work, type(effect).__name__))

        return begin

    # --- the two calls ---

    async def _start(self, hot: HotRun, effect: StartNexusOperation) -> None:
        key = effect.scheduled_event_id
        await self._runtime.durable(hot)
        operation = self._pending(hot, key, nexus_operation.awaits_start)
        if operation is None:
            self._nothing_to_do(hot)
            return
        attempt = operation.progress.attempt
        answer = await self._calling.start(
            destination_of(hot, operation),
            lambda: self._call_of(hot, operation, nexus_operation.awaits_start),
        )
        if hot.dropped:
            return
        if answer is None or not hot.execution.running:
            self._nothing_to_do(hot)
            return
        with self._runtime.transition(hot) as turn:
            self._forget_this_call(hot)
            nexus_operation.start_answered(turn, key, attempt, answer)
            turn.dirty = True  # the row no longer says that a call is out

    async def _cancel(self, hot: HotRun, effect: CancelNexusOperation) -> None:
        key = effect.scheduled_event_id
        await self._runtime.durable(hot)
        operation = self._pending(hot, key, nexus_operation.awaits_cancel)
        if operation is None:
            self._nothing_to_do(hot)
            return
        attempt = operation.progress.cancel_attempt
        answer = await self._calling.cancel(
            destination_of(hot, operation),
            lambda: self._call_of(hot, operation, nexus_operation.awaits_cancel),
        )
        if hot.dropped:
            return
        if answer is None or not hot.execution.running:
            self._nothing_to_do(hot)
            return
        with self._runtime.transition(hot) as turn:
            self._forget_this_call(hot)
            nexus_operation.cancel_answered(turn, key, attempt, answer)
            turn.dirty = True

    @staticmethod
    def _pending(hot: HotRun, key: int, awaits: Callable[[NexusOperation], bool]) -> NexusOperation | None:
        """The operation if a call of its handler is still wanted."""
        if hot.dropped or not hot.execution.running:
            return None
        operation = hot.execution.nexus_operations.get(key)
        return operation if operation is not None and awaits(operation) else None

    def _call_of(
        self, hot: HotRun, operation: NexusOperation, awaits: Callable[[NexusOperation], bool]
    ) -> OperationCall | None:
        """What its calls are made of, in the run's own time; None if none is wanted any more."""
        if self._pending(hot, operation.scheduled_event_id, awaits) is not operation:
            return None
        scheduled = operation.scheduled
        return OperationCall(
            namespace=hot.namespace,
            endpoint=scheduled.endpoint,
            endpoint_id=scheduled.endpoint_id,
            service=scheduled.service,
            operation=scheduled.operation,
            request_id=scheduled.request_id,
            header=scheduled.nexus_header,
            input=scheduled.input if scheduled.HasField("input") else None,
            schedule_to_close=to_ns(scheduled.schedule_to_close_timeout),
            schedule_to_start=to_ns(scheduled.schedule_to_start_timeout),
            start_to_close=to_ns(scheduled.start_to_close_timeout),
            scheduled_time=operation.scheduled_time,
            started_time=operation.started_time,
            now=self._runtime.clock.now() + run_clock.ahead(hot.execution),
            token=operation.token,
            callback_token=callback_token(self._runtime, hot.execution.key, operation),
            link=_link_to(hot, operation),
        )

    @staticmethod
    def _forget_this_call(hot: HotRun) -> None:
        task = asyncio.current_task()
        if task is not None:
            hot.calls.discard(task)

    def _nothing_to_do(self, hot: HotRun) -> None:
        self._forget_this_call(hot)
        if not hot.dropped:
            self._runtime.touch(hot)


def destination_of(hot: HotRun, operation: NexusOperation) -> BreakerKey:
    """What is left alone when the operation's endpoint is down."""
    return hot.execution.key.namespace_id, operation.scheduled.endpoint


def _link_to(hot: HotRun, operation: NexusOperation) -> NexusLink:
    event = Link.WorkflowEvent(
        namespace=hot.namespace.name,
        workflow_id=hot.execution.key.workflow_id,
        run_id=hot.run_id,
        event_ref=Link.WorkflowEvent.EventReference(
            event_id=operation.scheduled_event_id,
            event_type=EventType.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED,
        ),
    )
    made = nexus_links.as_nexus(Link(workflow_event=event))
    assert made is not None
    return made
