"""Headers, as tracing and context propagation use them: set by the client, handed on by workflows to all they start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Interceptor,
    OutboundInterceptor,
    QueryWorkflowInput,
    SignalWorkflowInput,
    StartActivityInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    WorkflowHandle,
)
from temporalio.converter import PayloadConverter
from temporalio.worker import (
    ContinueAsNewInput,
    ExecuteWorkflowInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.worker import Interceptor as WorkerInterceptor
from temporalio.worker import StartActivityInput as ScheduleActivityInput

from tests.canaries.canary import CANARIES

NAME = "canary"


class Headers(Interceptor, WorkerInterceptor):
    """Both sides of it; a client's workers have it from their client."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's name
        return _Outbound(next)

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002 - the SDK's name
    ) -> type[WorkflowInboundInterceptor] | None:
        return _Inbound


def _with(headers: Mapping[str, Payload], place: str) -> dict[str, Payload]:
    secret = PayloadConverter.default.to_payload(CANARIES.new(f"header of a {place}"))
    return {**headers, NAME: secret}


class _Outbound(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002 - the SDK's name
        input.headers = _with(input.headers, "start")
        return await super().start_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:  # noqa: A002 - the SDK's name
        input.headers = _with(input.headers, "signal")
        await super().signal_workflow(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:  # noqa: A002 - the SDK's name
        input.headers = _with(input.headers, "query")
        return await super().query_workflow(input)

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> Any:  # noqa: A002 - the SDK's name
        input.headers = _with(input.headers, "update")
        return await super().start_workflow_update(input)

    async def start_activity(self, input: StartActivityInput) -> Any:  # noqa: A002 - the SDK's name
        input.headers = _with(input.headers, "standalone activity")
        return await super().start_activity(input)


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        self._out = _Onward(outbound)
        super().init(self._out)

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002 - the SDK's name
        self._out.headers = {name: payload for name, payload in input.headers.items() if name == NAME}
        return await super().execute_workflow(input)


class _Onward(WorkflowOutboundInterceptor):
    headers: Mapping[str, Payload] = {}

    def start_activity(self, input: ScheduleActivityInput) -> Any:  # noqa: A002 - the SDK's name
        input.headers = {**input.headers, **self.headers}
        return super().start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> Any:  # noqa: A002 - the SDK's name
        input.headers = {**input.headers, **self.headers}
        return super().start_local_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> Any:  # noqa: A002 - the SDK's name
        input.headers = {**input.headers, **self.headers}
        return await super().start_child_workflow(input)

    def continue_as_new(self, input: ContinueAsNewInput) -> Any:  # noqa: A002 - the SDK's name
        input.headers = {**input.headers, **self.headers}
        super().continue_as_new(input)
