"""What is set for a task queue, by UpdateTaskQueueConfig and by its workers, and the limits that follow from it.

Few queues have any of this; what is stored of it is always in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete
from temporalio.api.enums.v1 import RateLimitSource
from temporalio.api.taskqueue.v1 import TaskQueueConfig

from cloud.engine.core.priority import usable_weight
from cloud.engine.runtime.rate_limits import Rate, RateLimits
from cloud.engine.store import schema as s
from cloud.engine.store.database import Database
from cloud.engine.store.reading import read_task_queue_configs
from cloud.engine.store.writing import check_epoch

SYSTEM_RATE = 100_000.0
"""Tasks per second of a queue without a limit, as the real server says it; nothing is counted for it."""

CONFIGURED_QUEUES_MAX = 10_000
"""Queues of one namespace that can have a configuration."""

Name = tuple[str, str, int]
"""(namespace id, queue's name, TaskQueueType)."""


class TooManyConfigs(Exception):
    """The namespace has as many configured queues as it may have."""


@dataclass(slots=True, eq=False)
class QueueSettings:
    """Of one queue, all its versions together. `worker_rate` is what the worker that polled last asks for, in tasks per second."""

    config: TaskQueueConfig = field(default_factory=TaskQueueConfig)
    worker_rate: float | None = None
    weights: dict[str, float] = field(default_factory=dict)
    limits: RateLimits | None = None

    @property
    def rate(self) -> tuple[float, RateLimitSource.ValueType]:
        """The limit of the whole queue in tasks per second, and who set it."""
        of_queue = self.config.queue_rate_limit
        if of_queue.HasField("rate_limit"):
            rate, source = of_queue.rate_limit.requests_per_second, RateLimitSource.RATE_LIMIT_SOURCE_API
        elif self.worker_rate is not None:
            rate, source = self.worker_rate, RateLimitSource.RATE_LIMIT_SOURCE_WORKER
        else:
            return SYSTEM_RATE, RateLimitSource.RATE_LIMIT_SOURCE_SYSTEM
        if not rate < SYSTEM_RATE:
            return SYSTEM_RATE, RateLimitSource.RATE_LIMIT_SOURCE_SYSTEM
        return max(rate, 0.0), source

    def settle(self, now: float) -> None:
        """Have the limits follow what was set, from `now` on (event loop's seconds)."""
        self.weights = {
            key: usable_weight(weight) for key, weight in self.config.fairness_weight_overrides.items()
        }
        rate, source = self.rate
        whole = None if source == RateLimitSource.RATE_LIMIT_SOURCE_SYSTEM else Rate(rate)
        of_key = self.config.fairness_keys_rate_limit_default
        each = Rate(of_key.rate_limit.requests_per_second) if of_key.HasField("rate_limit") else None
        if whole is None and each is None:
            self.limits = None
            return
        if self.limits is None:
            self.limits = RateLimits()
        self.limits.set(whole, each, self.weights, now)


class AllQueueSettings:
    """The settings of all queues that have any. `changed` is called with a queue's name after each change."""

    def __init__(self, database: Database, changed: Callable[[Name], None]) -> None:
        self._database = database
        self._changed = changed
        self._settings: dict[Name, QueueSettings] = {}
        self._changing = asyncio.Lock()

    async def load(self) -> None:
        """Read all from the store."""
        now = asyncio.get_running_loop().time()
        for namespace_id, queue, queue_type, config in await self._database.scan(read_task_queue_configs):
            settings = self._settings[(namespace_id, queue, queue_type)] = QueueSettings(
                TaskQueueConfig.FromString(config)
            )
            settings.settle(now)

    def find(self, name: Name) -> QueueSettings | None:
        """What is set for a queue, None if nothing is."""
        return self._settings.get(name)

    def set_worker_rate(self, name: Name, rate: float | None) -> None:
        """A worker that polls says how fast it wants tasks; None if it says nothing. The last word counts."""
        settings = self._settings.get(name)
        if (None if settings is None else settings.worker_rate) == rate:
            return
        if settings is None:
            settings = self._settings[name] = QueueSettings()
        settings.worker_rate = rate
        self._settle(name, settings)

    async def configure(
        self, name: Name, change: Callable[[TaskQueueConfig], None], epoch: int
    ) -> TaskQueueConfig:
        """Change a queue's stored configuration. Returns it as it is then, once it is durable.

        Raises:
            TooManyConfigs: the namespace may not have another.
        """
        async with self._changing:
            settings = self._settings.get(name)
            config = TaskQueueConfig()
            if settings is not None:
                config.CopyFrom(settings.config)
            elif sum(1 for other in self._settings if other[0] == name[0]) >= CONFIGURED_QUEUES_MAX:
                raise TooManyConfigs(
                    f"{CONFIGURED_QUEUES_MAX} task queues of the namespace are configured, which is the limit"
                )
            change(config)
            data = config.SerializeToString()

            def save(connection: Connection) -> None:
                check_epoch(connection, epoch)
                c = s.task_queue_configs.c
                connection.execute(
                    delete(s.task_queue_configs).where(
                        c.namespace_id == name[0], c.queue == name[1], c.queue_type == name[2]
                    )
                )
                connection.execute(
                    s.task_queue_configs.insert().values(
                        namespace_id=name[0], queue=name[1], queue_type=name[2], config=data
                    )
                )

            await self._database.write(save)
            settings = self._settings.setdefault(name, QueueSettings())
            settings.config = config
            self._settle(name, settings)
            return config

    def forget_unused(self, used: Callable[[Name], bool]) -> None:
        """Forget what workers asked for of queues that are gone."""
        for name, settings in list(self._settings.items()):
            if not settings.config.ByteSize() and not used(name):
                del self._settings[name]

    def forget_namespace(self, namespace_id: str) -> None:
        """A namespace was deleted, with what was stored of its queues."""
        for name in [name for name in self._settings if name[0] == namespace_id]:
            del self._settings[name]

    def _settle(self, name: Name, settings: QueueSettings) -> None:
        settings.settle(asyncio.get_running_loop().time())
        self._changed(name)
