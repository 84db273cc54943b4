"""Which workers there are: what each said of itself last, in memory only.

A worker tells of itself once a minute or so. Whoever is silent for `SILENT_MAX_NS` is forgotten, and who says that it has stopped is
forgotten at once; a server that was started anew knows all workers again after a minute. Each namespace has a room of its own: a
namespace with too many workers loses the sight of its own longest silent ones, never of another's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.worker.v1 import WorkerHeartbeat

from cloud.engine.runtime.clock import Clock

SILENT_MAX_NS = 5 * 60_000_000_000
"""How long a worker is known without a word of it (the real server's figure)."""

WORKERS_MAX = 10_000
"""Workers of one namespace."""

BYTES_MAX = 32 * 1024 * 1024
"""Serialized heartbeats of one namespace."""

HEARTBEAT_BYTES_MAX = 64 * 1024
"""One heartbeat: several hundred plugins fit."""

SYSTEM_QUEUE_PREFIX = "temporal-sys-"
"""Queues of the service's own workers, and of those with which an SDK waits for commands: lists leave them out."""


@dataclass(slots=True)
class KnownWorker:
    """A worker's last words, and when they came (ns). `size` in bytes."""

    heartbeat: WorkerHeartbeat
    seen_at: int
    size: int

    @property
    def of_system(self) -> bool:
        """Whether it is none of the caller's own workers."""
        return self.heartbeat.task_queue.startswith(SYSTEM_QUEUE_PREFIX)


@dataclass(slots=True)
class _Room:
    """The workers of a namespace by their instance keys, the longest silent first."""

    workers: dict[str, KnownWorker] = field(default_factory=dict)
    size: int = 0

    def drop(self, key: str) -> None:
        gone = self.workers.pop(key, None)
        if gone is not None:
            self.size -= gone.size

    def drop_oldest(self) -> None:
        self.drop(next(iter(self.workers)))


class WorkerRegistry:
    """See the module's head."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rooms: dict[str, _Room] = {}

    def record(self, namespace_id: str, heartbeats: Iterable[WorkerHeartbeat]) -> None:
        """Workers tell of themselves. A heartbeat of more than HEARTBEAT_BYTES_MAX is the caller's to refuse."""
        now = self._clock.now()
        room = self._rooms.setdefault(namespace_id, _Room())
        for heartbeat in heartbeats:
            room.drop(heartbeat.worker_instance_key)
            if heartbeat.status == WorkerStatus.WORKER_STATUS_SHUTDOWN:
                continue
            # A copy: else the one that is kept would hold on to the whole request that brought it.
            kept = WorkerHeartbeat()
            kept.CopyFrom(heartbeat)
            known = KnownWorker(kept, now, kept.ByteSize())
            room.workers[kept.worker_instance_key] = known
            room.size += known.size
            while len(room.workers) > WORKERS_MAX or room.size > BYTES_MAX:
                room.drop_oldest()

    def workers(self, namespace_id: str) -> list[KnownWorker]:
        """All workers of a namespace, in no order."""
        room = self._rooms.get(namespace_id)
        if room is None:
            return []
        self._forget_silent(room)
        return list(room.workers.values())

    def find(self, namespace_id: str, worker_instance_key: str) -> KnownWorker | None:
        """The worker of this key."""
        room = self._rooms.get(namespace_id)
        if room is None:
            return None
        self._forget_silent(room)
        return room.workers.get(worker_instance_key)

    def sweep(self) -> None:
        """Forget the silent ones, and namespaces without workers."""
        for namespace_id, room in list(self._rooms.items()):
            self._forget_silent(room)
            if not room.workers:
                del self._rooms[namespace_id]

    def _forget_silent(self, room: _Room) -> None:
        oldest = self._clock.now() - SILENT_MAX_NS
        while room.workers and next(iter(room.workers.values())).seen_at < oldest:
            room.drop_oldest()
