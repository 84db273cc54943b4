"""Task queues: what waits in them and who polls."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import (
    DescribeTaskQueueMode,
    RateLimitSource,
    TaskQueueKind,
    TaskQueueType,
)
from temporalio.api.taskqueue.v1 import (
    PollerInfo,
    TaskIdBlock,
    TaskQueueConfig,
    TaskQueuePartitionMetadata,
    TaskQueueStatus,
    TaskQueueTypeInfo,
    TaskQueueVersionInfo,
    TaskQueueVersioningInfo,
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
from cloud.engine.api.reachability import Reachability
from cloud.engine.api.task_queue_stats import QueueStats, total
from cloud.engine.api.workers import record_heartbeats
from cloud.engine.core import workflow_task
from cloud.engine.core.clock import timestamp
from cloud.engine.core.versions import (
    UNVERSIONED,
    build_of,
    from_older,
    is_build_lane,
    lane_of_build,
    message_of,
    older,
)
from cloud.engine.runtime.builds import Builds
from cloud.engine.runtime.commits import Unflushed
from cloud.engine.runtime.dynamic_config import CANCEL_POLLS_ON_SHUTDOWN
from cloud.engine.runtime.errors import NoSuchRun
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.nexus_tasks import NEXUS_TASK
from cloud.engine.runtime.queue_settings import QueueSettings
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.task_queues import QueueKey
from cloud.engine.store.rows import ACTIVITY_TASK, WORKFLOW_TASK, TaskRow
from cloud.rpc import CallContext, InvalidArgument

BUILD_IDS_MAX = 100
"""Versions that one call may ask for."""

WORKER_KEY_LENGTH_MAX = 255
"""Characters of the key of a worker's process; SDKs make UUIDs."""

_WORKFLOW = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
_NEVER = Timestamp(seconds=-62_135_596_800)
"""The year 1: how the real server says that nothing was ever set."""

_KINDS = {
    TaskQueueType.TASK_QUEUE_TYPE_UNSPECIFIED: WORKFLOW_TASK,
    TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW: WORKFLOW_TASK,
    TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY: ACTIVITY_TASK,
    TaskQueueType.TASK_QUEUE_TYPE_NEXUS: NEXUS_TASK,
}


class TaskQueueMethods:
    """See the module's head."""

    def __init__(self, runtime: Runtime, builds: Builds, reachability: Reachability) -> None:
        self._runtime = runtime
        self._builds = builds
        self._reachability = reachability
        self._stats = QueueStats(runtime)

    async def describe_task_queue(
        self, request: DescribeTaskQueueRequest, context: CallContext
    ) -> DescribeTaskQueueResponse:
        """Pollers of the last minutes and the size of the backlog, in the form that the request's mode asks for."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.check_polled_queue(request, self._runtime.limits)
        if request.task_queue.kind == TaskQueueKind.TASK_QUEUE_KIND_STICKY and request.report_stats:
            raise InvalidArgument("DescribeTaskQueue stats are only supported for the root partition")
        if request.api_mode == DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED:
            return await self._by_version(namespace, request)
        key = self._key(namespace, request.task_queue.name, request.task_queue_type)
        response = DescribeTaskQueueResponse(
            pollers=self._pollers(key, all_versions=True), versioning_info=self._routing(key)
        )
        rate, source = self._rate(key)
        response.effective_rate_limit.requests_per_second = rate
        response.effective_rate_limit.rate_limit_source = source
        if request.report_config:
            config = self._config(namespace, request.task_queue.name, request.task_queue_type)
            if config is not None:
                response.config.CopyFrom(config)
        if request.report_stats or request.include_task_queue_status:
            by_level = await self._stats.of_all(self._lanes(key))
            if request.report_stats:
                response.stats.CopyFrom(total(by_level))
                for level, stats in by_level.items():
                    response.stats_by_priority_key[level].CopyFrom(stats)
            if request.include_task_queue_status:
                response.task_queue_status.CopyFrom(
                    TaskQueueStatus(
                        backlog_count_hint=total(by_level).approximate_backlog_count,
                        rate_per_second=rate,
                        task_id_block=TaskIdBlock(start_id=1, end_id=100_000),
                    )
                )
        return response

    async def _by_version(
        self, namespace: Namespace, request: DescribeTaskQueueRequest
    ) -> DescribeTaskQueueResponse:
        """The mode that the `temporal` CLI reads: each version by itself."""
        asked, name = request.versions, request.task_queue.name
        build_ids = set(asked.build_ids)
        if len(build_ids) > BUILD_IDS_MAX:
            raise InvalidArgument(f"Too many build ids: {len(build_ids)}, the limit is {BUILD_IDS_MAX}.")
        if asked.unversioned:
            build_ids.add("")
        if not request.HasField("versions"):
            build_ids.add(self._builds.of_queue(namespace.namespace_id, name).default())
        if asked.all_active:
            build_ids.update(self._active(namespace, name))
        response = DescribeTaskQueueResponse()
        for build_id in build_ids:
            info = TaskQueueVersionInfo()
            for task_type in sorted(set(request.task_queue_types)) or (
                TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
                TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
            ):
                key = self._key(namespace, request.task_queue.name, task_type)
                if key is not None and build_id:
                    lane = key._replace(version=lane_of_build(build_id))
                    known = lane in self._lanes(key)
                    key = lane if known else key._replace(version=_version_meant(build_id))
                of_type = TaskQueueTypeInfo()
                if request.report_pollers:
                    of_type.pollers.extend(self._pollers(key))
                if request.report_stats:
                    of_type.stats.CopyFrom(total(await self._stats.of_version(key)))
                info.types_info[task_type].CopyFrom(of_type)
            if request.report_task_reachability:
                info.task_reachability = await self._reachability.of_build_id(namespace, name, build_id)
            response.versions_info[build_id].CopyFrom(info)
        return response

    def _active(self, namespace: Namespace, name: str) -> set[str]:
        """The versions whose workers poll a queue, and those that are current or ramping, by the names that callers know them by."""
        found: set[str] = set()
        for kind in (WORKFLOW_TASK, ACTIVITY_TASK):
            common = QueueKey(namespace.namespace_id, name, kind)
            if self._runtime.queues.find(common) is not None:
                found.add("")
            for lane in self._lanes(common):
                queue = self._runtime.queues.find(lane)
                if queue is not None:
                    found.add(build_of(lane.version) if is_build_lane(lane.version) else lane.version)
        return found

    def _key(self, namespace: Namespace, name: str, task_type: int) -> QueueKey | None:
        """The queue, None for a type of which there are no tasks here."""
        kind = _KINDS.get(TaskQueueType.ValueType(task_type))
        return None if kind is None else QueueKey(namespace.namespace_id, name, kind)

    def _lanes(self, key: QueueKey | None) -> list[QueueKey]:
        if key is None:
            return []
        versions = set(self._runtime.routes.versions_of(key.namespace_id, key.name, key.kind))
        versions.update(map(lane_of_build, self._builds.of_queue(key.namespace_id, key.name).build_ids()))
        common = self._runtime.queues.find(key)
        if common is not None:
            versions.update(lane.key.version for lane in common.lanes)
        return [key, *(key._replace(version=version) for version in sorted(versions))]

    def _pollers(self, key: QueueKey | None, *, all_versions: bool = False) -> list[PollerInfo]:
        if key is None:
            return []
        return [
            PollerInfo(
                last_access_time=timestamp(seen.at),
                identity=seen.identity,
                rate_per_second=self._rate(key)[0],
                deployment_options=seen.options,
                worker_version_capabilities=seen.capabilities,
            )
            for lane in (self._lanes(key) if all_versions else [key])
            for seen in self._runtime.queues.pollers_of(lane)
        ]

    def _routing(self, key: QueueKey | None) -> TaskQueueVersioningInfo:
        route = None
        if key is not None:
            route = self._runtime.routes.of_queue(key.namespace_id, key.name, key.kind)
        if route is None:
            return TaskQueueVersioningInfo(current_version=UNVERSIONED, update_time=_NEVER)
        changed_at = route.current_changed_at
        info = TaskQueueVersioningInfo(
            current_version=older(route.current), current_deployment_version=message_of(route.current)
        )
        if route.is_ramping:
            info.ramping_version = older(route.ramping)
            info.ramping_version_percentage = route.percentage
            changed_at = max(changed_at, route.ramping_changed_at)
            if route.ramping:
                info.ramping_deployment_version.CopyFrom(message_of(route.ramping))  # type: ignore[arg-type]
        info.update_time.CopyFrom(timestamp(changed_at) if changed_at else _NEVER)
        return info

    def _rate(self, key: QueueKey | None) -> tuple[float, RateLimitSource.ValueType]:
        settings = (
            None
            if key is None
            else self._runtime.queues.settings.find((key.namespace_id, key.name, key.kind))
        )
        return (QueueSettings() if settings is None else settings).rate

    def _config(self, namespace: Namespace, name: str, task_type: int) -> TaskQueueConfig | None:
        """What is configured, None if nothing ever was."""
        found = self._runtime.queues.settings.find((namespace.namespace_id, name, task_type or _WORKFLOW))
        return found.config if found is not None and found.config.ByteSize() else None

    async def list_task_queue_partitions(
        self, request: ListTaskQueuePartitionsRequest, context: CallContext
    ) -> ListTaskQueuePartitionsResponse:
        """A queue of a native cell is whole: one partition."""
        checks.namespace_of(self._runtime, request.namespace)
        checks.check_polled_queue(request, self._runtime.limits)
        partition = TaskQueuePartitionMetadata(key=request.task_queue.name, owner_host_name="local")
        return ListTaskQueuePartitionsResponse(
            activity_task_queue_partitions=[partition], workflow_task_queue_partitions=[partition]
        )

    # --- a worker stops ---

    async def shutdown_worker(
        self, request: ShutdownWorkerRequest, context: CallContext
    ) -> ShutdownWorkerResponse:
        """A worker stops: nobody waits for its sticky queue any more, and what waited there goes to the normal queues.

        Where that is switched on, its other polls come back empty, so that no task goes to a worker that is gone.
        """
        namespace = checks.namespace_of(self._runtime, request.namespace)
        if self._runtime.dynamic_config.on(CANCEL_POLLS_ON_SHUTDOWN):
            self._end_polls(namespace, request)
        if request.sticky_task_queue:
            key = QueueKey(namespace.namespace_id, request.sticky_task_queue, WORKFLOW_TASK)
            self._runtime.queues.worker_left(key)
            await self._empty(key)
        if request.HasField("worker_heartbeat"):
            record_heartbeats(self._runtime, namespace, [request.worker_heartbeat])
        return ShutdownWorkerResponse()

    def _end_polls(self, namespace: Namespace, request: ShutdownWorkerRequest) -> None:
        worker, name = request.worker_instance_key, request.task_queue
        if not worker or not name or len(worker) > WORKER_KEY_LENGTH_MAX:
            return
        types = list(request.task_queue_types) or [_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY]
        keys = [self._key(namespace, name, each) for each in set(types)]
        self._runtime.queues.end_polls([key for key in keys if key is not None], worker)

    async def _empty(self, key: QueueKey) -> None:
        """Send the tasks of a sticky queue to their runs' normal queues.

        The name comes from the caller: at the first task that is not there as a sticky one, this is none of its business.
        """
        queues = self._runtime.queues
        queue = queues.get(key)
        while (row := await queues.next_stored(queue)) is not None:
            sent = False
            try:
                sent = await self._send_to_normal_queue(row)
            finally:
                if not sent:
                    queues.put_back(queue, row)
            if not sent:
                return

    async def _send_to_normal_queue(self, row: TaskRow) -> bool:
        """Whether the row is done with: its task is moved, or it is nobody's any more."""
        runtime = self._runtime
        try:
            hot = await runtime.runs.get(row.run_id)
        except NoSuchRun:
            runtime.commits.touch().finish_task(row.task_id)
            return True
        execution = hot.execution
        task = execution.workflow_task
        waits = (
            execution.running
            and (task.scheduled_event_id, task.dispatch) == (row.scheduled_event_id, row.stamp)
            and not task.started_event_id
        )
        if waits:
            if not task.sticky or execution.volatile.sticky.queue != row.queue:
                return False
            try:
                with runtime.transition(hot) as turn:
                    workflow_task.leave_sticky(turn)
            except Unflushed:
                return False
        runtime.commits.touch().finish_task(row.task_id)
        return True


def _version_meant(build_id: str) -> str:
    """The version that a caller means where the API has a build id: it may name the deployment before it."""
    try:
        return from_older(build_id)
    except ValueError:
        return lane_of_build(build_id)  # no version of a deployment
