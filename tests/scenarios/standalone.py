"""Raw calls about standalone activities, as scenarios need them."""

import uuid
from datetime import timedelta
from typing import Any

import temporalio.api.workflowservice.v1 as ws
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import ActivityType
from temporalio.api.taskqueue.v1 import TaskQueue

from .commands import payloads, with_durations
from .raw import Scenario
from .rendering import IDENTITY

HIDDEN = (
    "run_id",
    "info.run_id",
    "info.state_size_bytes",
    "info.execution_duration",
    "long_poll_token",
    "info.sdk_name",
    "info.sdk_version",
    "info.last_worker_identity",
)
"""Of a description: what no two runs agree in."""


class Standalone:
    """Calls about the activity `act` on the scenario's task queue."""

    def __init__(self, s: Scenario) -> None:
        self.s = s
        self.id = s.id("act")

    def request(self, **fields: Any) -> ws.StartActivityExecutionRequest:
        """A valid start request, with the given fields changed (timeouts in seconds); None leaves a field out."""
        usual: dict[str, Any] = {
            "namespace": self.s.namespace,
            "activity_id": self.id,
            "activity_type": ActivityType(name="act"),
            "task_queue": TaskQueue(name=self.s.tq),
            "start_to_close_timeout": 60,
            "identity": IDENTITY,
            "request_id": str(uuid.uuid4()),
        }
        given = with_durations(usual | fields)
        return ws.StartActivityExecutionRequest(
            **{name: value for name, value in given.items() if value is not None}
        )

    async def start(self, **fields: Any) -> ws.StartActivityExecutionResponse:
        """Start it."""
        return await self.s.service.start_activity_execution(self.request(**fields))

    def _named(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {"namespace": self.s.namespace, "activity_id": self.id} | fields

    async def describe(self, *, timeout: float = 20, **fields: Any) -> ws.DescribeActivityExecutionResponse:
        """Describe it."""
        return await self.s.service.describe_activity_execution(
            ws.DescribeActivityExecutionRequest(**self._named(fields)), timeout=timedelta(seconds=timeout)
        )

    async def outcome(self, *, timeout: float = 20, **fields: Any) -> ws.PollActivityExecutionResponse:
        """Wait for its outcome."""
        return await self.s.service.poll_activity_execution(
            ws.PollActivityExecutionRequest(**self._named(fields)), timeout=timedelta(seconds=timeout)
        )

    async def cancel(self, **fields: Any) -> None:
        """Request its cancellation."""
        await self.s.service.request_cancel_activity_execution(
            ws.RequestCancelActivityExecutionRequest(**({"identity": "me"} | self._named(fields)))
        )

    async def terminate(self, **fields: Any) -> None:
        """Terminate it."""
        await self.s.service.terminate_activity_execution(
            ws.TerminateActivityExecutionRequest(**({"identity": "me"} | self._named(fields)))
        )

    async def delete(self, **fields: Any) -> None:
        """Delete it."""
        await self.s.service.delete_activity_execution(
            ws.DeleteActivityExecutionRequest(**self._named(fields))
        )

    async def pause(self, **fields: Any) -> None:
        """Pause it."""
        await self.s.service.pause_activity_execution(
            ws.PauseActivityExecutionRequest(**({"identity": "me"} | self._named(fields)))
        )

    async def unpause(self, **fields: Any) -> None:
        """Unpause it."""
        await self.s.service.unpause_activity_execution(
            ws.UnpauseActivityExecutionRequest(**({"identity": "me"} | self._named(with_durations(fields))))
        )

    async def reset(self, **fields: Any) -> None:
        """Reset it."""
        await self.s.service.reset_activity_execution(
            ws.ResetActivityExecutionRequest(**({"identity": "me"} | self._named(with_durations(fields))))
        )

    async def update(
        self, options: ActivityOptions | None, *paths: str, **fields: Any
    ) -> ws.UpdateActivityExecutionOptionsResponse:
        """Change its options."""
        if options is not None:
            fields["activity_options"] = options
        if paths:
            fields["update_mask"] = FieldMask(paths=paths)
        return await self.s.service.update_activity_execution_options(
            ws.UpdateActivityExecutionOptionsRequest(**({"identity": "me"} | self._named(fields)))
        )

    async def complete_by_id(self, *values: Any, **fields: Any) -> None:
        """Complete it by its ids."""
        await self.s.service.respond_activity_task_completed_by_id(
            ws.RespondActivityTaskCompletedByIdRequest(
                **({"result": payloads(*values), "identity": IDENTITY} | self._named(fields))
            )
        )

    async def list(self, query: str, **fields: Any) -> ws.ListActivityExecutionsResponse:
        """List activities."""
        return await self.s.service.list_activity_executions(
            ws.ListActivityExecutionsRequest(namespace=self.s.namespace, query=query, **fields)
        )

    async def count(self, query: str) -> ws.CountActivityExecutionsResponse:
        """Count activities."""
        return await self.s.service.count_activity_executions(
            ws.CountActivityExecutionsRequest(namespace=self.s.namespace, query=query)
        )

    async def expect(self, text: str, **fields: Any) -> None:
        """Its description, with input, outcome and all, is this."""
        found = await self.describe(
            include_input=True,
            include_outcome=True,
            include_heartbeat_details=True,
            include_last_failure=True,
            **fields,
        )
        self.s.expect_message(found, text, hide=HIDDEN)
