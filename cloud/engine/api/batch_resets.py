"""What a batch operation that resets does to one run: it finds the reset point by its options, and resets."""

from __future__ import annotations

import uuid
from typing import Any

from temporalio.api.enums.v1 import EventType, ResetType

from cloud.engine.api.resets import carry_out, check_operations, excluded_types
from cloud.engine.core.clock import to_ns
from cloud.engine.core.errors import CoreRefusal, Invalid
from cloud.engine.core.state import Execution
from cloud.engine.runtime.batch_operations import Job
from cloud.engine.runtime.commits import Unflushed
from cloud.engine.runtime.errors import NoSuchRun
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.resetting import PAGE_BYTES, Reset, Resetting, TooManyResets
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.reading import read_events
from cloud.rpc import RpcError

_SCHEDULED = EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED


class BatchResets:
    """See the module's head. The request id of a job's reset of a run is always the same: it is done once."""

    def __init__(self, runtime: Runtime, resetting: Resetting) -> None:
        self._runtime = runtime
        self._resetting = resetting

    async def perform(self, hot: HotRun, job: Job) -> str:
        """See `runtime.batch_operations.Perform`."""
        operation = job.request.reset_operation
        try:
            await self._reset(hot, job, operation)
        except (CoreRefusal, NoSuchRun, RpcError) as error:
            return str(error)
        except TooManyResets as error:
            raise Unflushed(str(error)) from error  # the job tries again
        return ""

    async def _reset(self, hot: HotRun, job: Job, operation: Any) -> None:
        queue = hot.execution.started.task_queue.name
        check_operations(self._runtime, hot.namespace, operation.post_reset_operations, queue)
        options = operation.options if operation.HasField("options") else operation
        excluded = excluded_types(
            options.reset_reapply_type, getattr(options, "reset_reapply_exclude_types", ())
        )
        run_id, event_id = await self._point(hot, operation)
        await self._resetting.reset(
            hot.namespace,
            hot.execution.key.workflow_id,
            run_id,
            Reset(
                finish_event_id=event_id,
                reason=job.request.reason,
                request_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{job.row.run_id}:{hot.run_id}")),
                excluded=excluded,
                operate=lambda turn: carry_out(turn, operation.post_reset_operations),
            ),
        )

    async def _point(self, hot: HotRun, operation: Any) -> tuple[str, int]:
        """(run id, event id) of the reset point."""
        execution = hot.execution
        if not operation.HasField("options"):
            last = operation.reset_type == ResetType.RESET_TYPE_LAST_WORKFLOW_TASK
            return hot.run_id, await self._task(hot, last=last)
        options = operation.options
        target = options.WhichOneof("target")
        if target == "build_id":
            return self._point_of(execution, options.build_id, options.current_run_only)
        if target == "workflow_task_id":
            return hot.run_id, options.workflow_task_id
        return hot.run_id, await self._task(hot, last=target == "last_workflow_task")

    async def _task(self, hot: HotRun, *, last: bool) -> int:
        """The first or the last completed workflow task; behind the first scheduled one if none is."""
        execution = hot.execution
        found = (
            execution.last_workflow_task_completed_event_id
            if last
            else execution.first_completed_workflow_task_event_id
        )
        if found:
            return found
        await self._runtime.durable(hot)
        run_id, end = hot.run_id, execution.next_event_id - 1
        first = 1
        while first <= end:
            page = await self._runtime.database.scan(
                lambda c, first=first: read_events(c, run_id, first, end, size_max=PAGE_BYTES)  # type: ignore[misc]
            )
            for event in page:
                if event.event_type == _SCHEDULED:
                    return event.event_id + 1
            if not page:
                break
            first = page[-1].event_id + 1
        raise Invalid("unable to find any scheduled or completed task")

    def _point_of(self, execution: Execution, build_id: str, current_run_only: bool) -> tuple[str, int]:
        for point in execution.reset_points.values():
            if point.build_id != build_id:
                continue
            if not point.resettable:
                raise Invalid(f"Reset point for {build_id} is not resettable")
            if point.HasField("expire_time") and to_ns(point.expire_time) < self._runtime.clock.now():
                raise Invalid(f"Reset point for {build_id} is expired")
            if current_run_only and point.run_id != execution.key.run_id:
                raise Invalid(f"Reset point for {build_id} points to previous run and CurrentRunOnly is set")
            return point.run_id, point.first_workflow_task_completed_id
        raise Invalid(f"Can't find reset point for {build_id}")
