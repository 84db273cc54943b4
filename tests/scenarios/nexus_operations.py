"""Raw calls about standalone Nexus operations, as scenarios need them."""

import uuid
from datetime import timedelta
from typing import Any

import temporalio.api.nexus.v1 as nexus
import temporalio.api.workflowservice.v1 as ws

from .commands import payload, with_durations
from .nexus import endpoint_name
from .raw import Scenario
from .rendering import IDENTITY

HIDDEN = (
    "run_id",
    "info.run_id",
    "info.state_size_bytes",
    "info.execution_duration",
    "long_poll_token",
)
"""Of a description: what no two runs agree in."""


class Operation:
    """Calls about the operation `nop` of the scenario's endpoint."""

    def __init__(self, s: Scenario, endpoint: nexus.Endpoint | str | None = None) -> None:
        self.s = s
        self.id = s.id("nop")
        self.endpoint = endpoint_name(s) if endpoint is None else endpoint

    def request(self, *values: Any, **fields: Any) -> ws.StartNexusOperationExecutionRequest:
        """A valid start request, with the given fields changed (timeouts in seconds); None leaves a field out."""
        endpoint = self.endpoint if isinstance(self.endpoint, str) else self.endpoint.spec.name
        usual: dict[str, Any] = {
            "namespace": self.s.namespace,
            "operation_id": self.id,
            "endpoint": endpoint,
            "service": "svc",
            "operation": "op",
            "input": payload(values[0]) if values else None,
            "identity": IDENTITY,
            "request_id": str(uuid.uuid4()),
        }
        given = with_durations(usual | fields)
        return ws.StartNexusOperationExecutionRequest(
            **{name: value for name, value in given.items() if value is not None}
        )

    async def start(self, *values: Any, **fields: Any) -> ws.StartNexusOperationExecutionResponse:
        """Start it."""
        return await self.s.service.start_nexus_operation_execution(self.request(*values, **fields))

    def _named(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {"namespace": self.s.namespace, "operation_id": self.id} | fields

    async def describe(
        self, *, timeout: float = 20, **fields: Any
    ) -> ws.DescribeNexusOperationExecutionResponse:
        """Describe it."""
        return await self.s.service.describe_nexus_operation_execution(
            ws.DescribeNexusOperationExecutionRequest(**self._named(fields)),
            timeout=timedelta(seconds=timeout),
        )

    async def outcome(self, *, timeout: float = 20, **fields: Any) -> ws.PollNexusOperationExecutionResponse:
        """Wait for its outcome, or another stage."""
        return await self.s.service.poll_nexus_operation_execution(
            ws.PollNexusOperationExecutionRequest(**self._named(fields)), timeout=timedelta(seconds=timeout)
        )

    async def cancel(self, **fields: Any) -> None:
        """Request its cancellation."""
        await self.s.service.request_cancel_nexus_operation_execution(
            ws.RequestCancelNexusOperationExecutionRequest(**({"identity": "me"} | self._named(fields)))
        )

    async def terminate(self, **fields: Any) -> None:
        """Terminate it."""
        await self.s.service.terminate_nexus_operation_execution(
            ws.TerminateNexusOperationExecutionRequest(**({"identity": "me"} | self._named(fields)))
        )

    async def delete(self, **fields: Any) -> None:
        """Delete it."""
        await self.s.service.delete_nexus_operation_execution(
            ws.DeleteNexusOperationExecutionRequest(**self._named(fields))
        )

    async def list(self, query: str, **fields: Any) -> ws.ListNexusOperationExecutionsResponse:
        """List operations."""
        return await self.s.service.list_nexus_operation_executions(
            ws.ListNexusOperationExecutionsRequest(namespace=self.s.namespace, query=query, **fields)
        )

    async def count(self, query: str) -> ws.CountNexusOperationExecutionsResponse:
        """Count operations."""
        return await self.s.service.count_nexus_operation_executions(
            ws.CountNexusOperationExecutionsRequest(namespace=self.s.namespace, query=query)
        )

    async def expect(self, text: str, **fields: Any) -> None:
        """Its description, with input, outcome and all, is this."""
        found = await self.describe(include_input=True, include_outcome=True, **fields)
        self.s.expect_message(found, text, hide=HIDDEN)
