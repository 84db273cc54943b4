"""Calls of Nexus handlers on behalf of standalone operations: to start one, to cancel one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from temporalio.api.common.v1 import Link

from cloud.engine.core import nexus_answers, standalone_nexus
from cloud.engine.core.clock import to_ns
from cloud.engine.core.nexus_answers import Answer, Refused
from cloud.engine.core.standalone_nexus import OperationStep
from cloud.engine.core.standalone_nexus_state import StandaloneOperation
from cloud.engine.runtime import nexus_links
from cloud.engine.runtime.hot_operation import HotOperation
from cloud.engine.runtime.nexus_breakers import BreakerKey
from cloud.engine.runtime.nexus_calling import NexusCalling, OperationCall, until_answered
from cloud.engine.runtime.nexus_completions import standalone_callback_token
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.standalone_nexus import StandaloneNexusOperations

CALLS_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of the operations of one namespace whose handlers are being asked: they stay in memory as long. More are put off as after a failure."""


class StandaloneNexusCalls:
    """Makes the calls that operations want."""

    def __init__(
        self, runtime: Runtime, operations: StandaloneNexusOperations, calling: NexusCalling
    ) -> None:
        self._runtime = runtime
        self._operations = operations
        self._calling = calling
        self._bytes: Counter[str] = Counter()  # by namespace id
        operations.call = self._begin

    def _begin(self, hot: HotOperation) -> None:
        """Ask what is to be asked now. A call that the runtime's end cuts off stays in `calls`: its row still says so."""
        if standalone_nexus.awaits_start(hot.operation):
            self._spawn(hot, self._start, "StartStandaloneNexusOperation")
        if standalone_nexus.awaits_cancel(hot.operation):
            self._spawn(hot, self._cancel, "CancelStandaloneNexusOperation")

    def _spawn(self, hot: HotOperation, call: Callable[[HotOperation], Awaitable[None]], name: str) -> None:
        hot.calls.add(self._runtime.spawn(until_answered(hot, lambda: call(hot)), name))

    async def _start(self, hot: HotOperation) -> None:
        await self._operations.durable(hot)
        attempt = hot.operation.state.attempt
        answer = await self._asked(
            hot,
            self._calling.start,
            lambda operation: standalone_nexus.awaits_start(operation) and operation.state.attempt == attempt,
        )
        self._answered(hot, answer, lambda step, said: standalone_nexus.start_answered(step, attempt, said))

    async def _cancel(self, hot: HotOperation) -> None:
        await self._operations.durable(hot)
        cancellation = hot.operation.state.cancellation
        attempt = cancellation.attempt if cancellation is not None else 0
        answer = await self._asked(hot, self._calling.cancel, standalone_nexus.awaits_cancel)
        self._answered(hot, answer, lambda step, said: standalone_nexus.cancel_answered(step, attempt, said))

    async def _asked(
        self,
        hot: HotOperation,
        ask: Callable[[BreakerKey, Callable[[], OperationCall | None]], Awaitable[Answer | None]],
        wanted: Callable[[StandaloneOperation], bool],
    ) -> Answer | None:
        namespace_id, size = hot.namespace.namespace_id, hot.size
        if self._bytes[namespace_id] and self._bytes[namespace_id] + size > CALLS_BYTES_MAX:
            reason = "too many bytes of calls are under way"
            return Refused(nexus_answers.call_failure(reason, retryable=True), retryable=True)
        self._bytes[namespace_id] += size
        try:
            destination = (namespace_id, hot.operation.request.endpoint)
            return await ask(destination, lambda: self._call_of(hot, wanted))
        finally:
            self._bytes[namespace_id] -= size
            if not self._bytes[namespace_id]:
                del self._bytes[namespace_id]

    def _answered(
        self,
        hot: HotOperation,
        answer: Answer | None,
        tell: Callable[[OperationStep, Answer], None],
    ) -> None:
        if hot.dropped:
            return
        this = asyncio.current_task()
        with self._operations.step(hot) as step:
            if this is not None:
                hot.calls.discard(this)
            if answer is not None:
                tell(step, answer)
            if not step.dirty:
                self._operations.touch(hot)  # the row no longer says that a call is out

    def _call_of(
        self, hot: HotOperation, wanted: Callable[[StandaloneOperation], bool]
    ) -> OperationCall | None:
        """What a call is made of now; None if none is wanted any more."""
        operation = hot.operation
        if hot.dropped or not wanted(operation):
            return None
        request, state = operation.request, operation.state
        link = Link.NexusOperation(namespace=hot.namespace.name, operation_id=hot.id, run_id=operation.run_id)
        made = nexus_links.as_nexus(Link(nexus_operation=link))
        assert made is not None
        return OperationCall(
            namespace=hot.namespace,
            endpoint=request.endpoint,
            endpoint_id=state.endpoint_id,
            service=request.service,
            operation=request.operation,
            request_id=state.request_id,
            header=request.nexus_header,
            input=request.input if request.HasField("input") else None,
            schedule_to_close=to_ns(request.schedule_to_close_timeout),
            schedule_to_start=to_ns(request.schedule_to_start_timeout),
            start_to_close=to_ns(request.start_to_close_timeout),
            scheduled_time=state.scheduled_time,
            started_time=state.started_time,
            now=self._runtime.clock.now(),
            token=state.token,
            callback_token=standalone_callback_token(self._runtime, hot),
            link=made,
        )
