"""Task queues: what waits in them and who polls."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import (
    PollerInfo,
    TaskIdBlock,
    TaskQueuePartitionMetadata,
    TaskQueueStats,
    TaskQueueStatus,
)
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    ListTaskQueuePartitionsRequest,
    ListTaskQueuePartitionsResponse,
    ShutdownWorkerRequest,
    ShutdownWorkerResponse,
)

from cloud.engine.api import checks
from cloud.engine.core.clock import duration, timestamp
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.task_queues import QueueKey
from cloud.engine.store.reading import count_tasks
from cloud.engine.store.rows import ACTIVITY_TASK, WORKFLOW_TASK
from cloud.rpc import CallContext


class TaskQueueMethods:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def describe_task_queue(
        self, request: DescribeTaskQueueRequest, context: CallContext
    ) -> DescribeTaskQueueResponse:
        """Pollers of the last minutes and the size of the backlog."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.check_task_queue(request, self._runtime.limits)
        is_activity = request.task_queue_type == TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
        key = QueueKey(
            namespace.namespace_id, request.task_queue.name, ACTIVITY_TASK if is_activity else WORKFLOW_TASK
        )
        response = DescribeTaskQueueResponse(
            pollers=[
                PollerInfo(
                    last_access_time=timestamp(seen.at), identity=seen.identity, rate_per_second=100000
                )
                for seen in self._runtime.queues.pollers_of(key)
            ]
        )
        if request.report_stats or request.include_task_queue_status:
            count, oldest = await self._runtime.database.scan(
                lambda c: count_tasks(c, key.namespace_id, key.name, key.kind)
            )
            age = max(self._runtime.clock.now() - oldest, 0) if oldest else 0
            if request.report_stats:
                response.stats.CopyFrom(
                    TaskQueueStats(
                        approximate_backlog_count=count,
                        approximate_backlog_age=duration(age) if age else Duration(),
                    )
                )
            if request.include_task_queue_status:
                response.task_queue_status.CopyFrom(
                    TaskQueueStatus(
                        backlog_count_hint=count,
                        rate_per_second=100000,
                        task_id_block=TaskIdBlock(start_id=1, end_id=100000),
                    )
                )
        return response

    async def list_task_queue_partitions(
        self, request: ListTaskQueuePartitionsRequest, context: CallContext
    ) -> ListTaskQueuePartitionsResponse:
        """A queue of a native cell is whole: one partition."""
        checks.namespace_of(self._runtime, request.namespace)
        checks.check_task_queue(request, self._runtime.limits)
        partition = TaskQueuePartitionMetadata(key=request.task_queue.name, owner_host_name="local")
        return ListTaskQueuePartitionsResponse(
            activity_task_queue_partitions=[partition], workflow_task_queue_partitions=[partition]
        )

    async def shutdown_worker(
        self, request: ShutdownWorkerRequest, context: CallContext
    ) -> ShutdownWorkerResponse:
        """A worker stops: its sticky queue is not waited for any more."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        if request.sticky_task_queue:
            self._runtime.queues.worker_left(
                QueueKey(namespace.namespace_id, request.sticky_task_queue, WORKFLOW_TASK)
            )
        return ShutdownWorkerResponse()
