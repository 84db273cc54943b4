"""What waits in a queue and how fast it moves, by priority level and by the version of workers that it is for.

Tasks of the common lane count for the version that the routing gives them to: the current one, and a ramping one by its share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.duration_pb2 import Duration
from temporalio.api.taskqueue.v1 import TaskQueueStats

from cloud.engine.core.clock import duration
from cloud.engine.core.priority import DEFAULT_LEVEL
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.task_queues import QueueKey
from cloud.engine.store.reading import count_tasks

ByLevel = dict[int, TaskQueueStats]
"""By priority level; the usual level is always told of."""


class QueueStats:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def of_lane(self, key: QueueKey) -> ByLevel:
        """What is in one lane."""
        stored = await self._runtime.database.list(
            key.namespace_id, lambda c: count_tasks(c, key.namespace_id, key.name, key.kind, key.version)
        )
        now = self._runtime.clock.now()
        queue = self._runtime.queues.find(key)
        rates = {} if queue is None else queue.rates.rates(now)
        limited = queue is not None and self._runtime.queues.holds_back(queue)
        found: ByLevel = {}
        for level in sorted({DEFAULT_LEVEL} | stored.keys() | rates.keys()):
            count, oldest = stored.get(level, (0, 0))
            added, dispatched = rates.get(level, (0.0, 0.0))
            found[level] = TaskQueueStats(
                approximate_backlog_count=count,
                approximate_backlog_age=duration(max(now - oldest, 0)) if oldest else Duration(),
                tasks_add_rate=added,
                tasks_dispatch_rate=dispatched,
                rate_limiting_active=limited,
            )
        return found

    async def of_all(self, lanes: Iterable[QueueKey]) -> ByLevel:
        """What is in all these lanes."""
        return _sum([await self.of_lane(lane) for lane in lanes])

    async def of_version(self, key: QueueKey | None) -> ByLevel:
        """What is for the workers of the key's version ("": those without one)."""
        if key is None:
            return _sum([])
        own = [await self.of_lane(key)] if key.version else []
        share = self._share(key)
        if share:
            common = await self.of_lane(key._replace(version=""))
            own.append({level: _part(stats, share) for level, stats in common.items()})
        return _sum(own)

    def _share(self, key: QueueKey) -> float:
        """How much of the common lane is for the key's version, from 0 to 1."""
        route = self._runtime.routes.of_queue(key.namespace_id, key.name, key.kind)
        if route is None:
            return 0.0 if key.version else 1.0
        ramping = route.percentage / 100 if route.is_ramping else 0.0
        share = 0.0
        if key.version == route.current:
            share += 1 - ramping
        if route.is_ramping and key.version == route.ramping:
            share += ramping
        return share


def _part(stats: TaskQueueStats, share: float) -> TaskQueueStats:
    part = TaskQueueStats()
    part.CopyFrom(stats)
    part.approximate_backlog_count = round(stats.approximate_backlog_count * share)
    part.tasks_add_rate *= share
    part.tasks_dispatch_rate *= share
    if not part.approximate_backlog_count:
        part.approximate_backlog_age.CopyFrom(Duration())
    return part


def _sum(lanes: list[ByLevel]) -> ByLevel:
    levels = sorted({DEFAULT_LEVEL}.union(*lanes))
    return {level: _together([lane[level] for lane in lanes if level in lane]) for level in levels}


def _together(found: list[TaskQueueStats]) -> TaskQueueStats:
    return TaskQueueStats(
        approximate_backlog_count=sum(each.approximate_backlog_count for each in found),
        approximate_backlog_age=max(
            (each.approximate_backlog_age for each in found),
            key=lambda age: age.ToNanoseconds(),
            default=Duration(),
        ),
        tasks_add_rate=sum(each.tasks_add_rate for each in found),
        tasks_dispatch_rate=sum(each.tasks_dispatch_rate for each in found),
        rate_limiting_active=any(each.rate_limiting_active for each in found),
    )


def total(by_level: Mapping[int, TaskQueueStats]) -> TaskQueueStats:
    """All levels together."""
    return _together(list(by_level.values()))
