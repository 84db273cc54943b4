"""Standalone Nexus operations of a native cell. What a step of one asks for is a call of its handler.

A call goes out only once its intent is durable, and is made again if a crash or a failed flush took its answer: handlers know a call by
its request id. While one is out the stored wake time is in the past, so that recovery finds it; the time-outs go on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from temporalio.api.workflowservice.v1 import StartNexusOperationExecutionRequest

from cloud.engine.core import standalone_nexus
from cloud.engine.core.standalone_asked import Asked
from cloud.engine.core.standalone_nexus import OperationStep
from cloud.engine.core.standalone_nexus_state import StandaloneOperation
from cloud.engine.runtime.errors import NoSuchOperation
from cloud.engine.runtime.hot_operation import HotOperation
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.standalone_executions import StandaloneExecutions
from cloud.engine.store.rows import StandaloneKind, StandaloneRow, decode_operation


class StandaloneNexusOperations(StandaloneExecutions[HotOperation, OperationStep]):
    """See the module's head. `call` is told by composition: it asks handlers what an operation wants of them."""

    KIND: ClassVar[StandaloneKind] = StandaloneKind.NEXUS_OPERATION

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self.call: Callable[[HotOperation], None] = lambda _: None

    def begin(
        self, namespace: Namespace, request: StartNexusOperationExecutionRequest, endpoint_id: str
    ) -> HotOperation:
        """Start one, under the lock of its id. `request` is checked and settled, and belongs to the operation from now on.

        Raises:
            Unflushed: its namespace began to be deleted meanwhile.
        """
        self._require_served(namespace)
        runtime = self._runtime
        step = standalone_nexus.begin(
            runtime.ids.run_id(),
            request,
            runtime.clock.now(),
            request_id=runtime.ids.request_id(),
            endpoint_id=endpoint_id,
        )
        hot = HotOperation(step.operation, namespace, runtime.serial(), request.ByteSize())
        return self._begin(hot, step)

    def _loaded(self, row: StandaloneRow, request: bytes, namespace: Namespace) -> HotOperation:
        started = StartNexusOperationExecutionRequest.FromString(request)
        operation = StandaloneOperation(row.run_id, started, decode_operation(row.state))
        return HotOperation(operation, namespace, row.number, len(request))

    def _missing(self, id_: str) -> NoSuchOperation:
        return NoSuchOperation(id_)

    def _step_of(self, hot: HotOperation) -> OperationStep:
        limits = self._runtime.limits
        return OperationStep(hot.operation, self._runtime.clock.now(), limits.activity_failure_size)

    def _carry_out(self, hot: HotOperation, step: OperationStep) -> None:
        if step.call:
            self.call(hot)

    def _resume(self, hot: HotOperation) -> None:
        self.call(hot)

    def _fire_due(self, step: OperationStep) -> None:
        standalone_nexus.fire_due(step)

    def _terminate_to_delete(self, step: OperationStep) -> None:
        standalone_nexus.terminate(step, Asked(step.now, reason="Delete nexus operation execution"))

    def _next_due(self, hot: HotOperation) -> int:
        return standalone_nexus.due_at(hot.operation)
