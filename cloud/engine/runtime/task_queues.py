"""Task queues: tasks meet workers.

A task goes straight to a waiting poller, in the very batch that schedules it; only if none waits is it stored. Of the stored
backlog only the oldest page is in memory, so a backlog of millions costs a page. Order is by task id, oldest first.

    offer ──poller waits──▶ started in the same batch, handed over when that is durable
      └──none waits──▶ row in the batch (and in memory if the page has room) ──poll──▶ started, row deleted in one batch
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cloud.engine.runtime.clock import Clock
from cloud.engine.runtime.queries import PendingQuery
from cloud.engine.store.database import Database
from cloud.engine.store.reading import read_tasks
from cloud.engine.store.rows import TaskRow

PAGE_TASKS_MAX = 1_000
"""Stored tasks of one queue that are in memory."""

STICKY_POLLER_LOST_NS = 10_000_000_000
"""A sticky queue that nobody polled for this long has lost its worker (the real server's figure)."""

POLLER_SEEN_NS = 5 * 60_000_000_000
"""How long a worker is listed after its last poll."""

SEEN_MAX = 1_000
"""Workers of one queue that are remembered."""

QUEUE_IDLE_NS = 10 * 60_000_000_000


class QueueKey(NamedTuple):
    """Names a queue; `kind` is WORKFLOW_TASK or ACTIVITY_TASK of ``store.rows``."""

    namespace_id: str
    name: str
    kind: int


@dataclass(slots=True, eq=False)
class Poller:
    """A worker's poll. `matched` gets what it is to receive."""

    identity: str
    build_id: str
    matched: asyncio.Future[Any]


class Seen(NamedTuple):
    """When a worker polled last (ns)."""

    identity: str
    at: int


@dataclass(slots=True, eq=False)
class TaskQueue:
    """One queue's pollers and the part of its backlog that is in memory."""

    key: QueueKey
    pollers: deque[Poller] = field(default_factory=deque)  # those that wait: each leaves when its poll ends
    queries: deque[PendingQuery] = field(default_factory=deque)
    backlog: deque[TaskRow] = field(default_factory=deque)
    loaded: bool = False
    more_stored: bool = True  # until the store was asked, or while its backlog is longer than the page
    last_task_id: int = 0
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    seen: dict[str, int] = field(default_factory=dict)
    last_poll_at: int = 0
    left: bool = False  # the worker of this sticky queue said that it stops, and did not poll again
    added: int = 0
    dispatched: int = 0
    max_tasks_per_second: float = 0.0

    def next_poller(self) -> Poller | None:
        """The poller that has waited longest, if one waits."""
        while self.pollers:
            poller = self.pollers.popleft()
            if not poller.matched.done():
                return poller
        return None

    @property
    def has_backlog(self) -> bool:
        """Whether older tasks come first."""
        return bool(self.backlog) or self.more_stored


class TaskQueues:
    """All queues of a cell."""

    def __init__(
        self, database: Database, clock: Clock, unflushed: Callable[[QueueKey], list[TaskRow]]
    ) -> None:
        self._database = database
        self._clock = clock
        self._unflushed = unflushed
        self._queues: dict[QueueKey, TaskQueue] = {}

    def get(self, key: QueueKey) -> TaskQueue:
        """The queue `key`, made on first use."""
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = TaskQueue(key)
        return queue

    def find(self, key: QueueKey) -> TaskQueue | None:
        """The queue `key` if it was used."""
        return self._queues.get(key)

    def forget(self) -> None:
        """Drop what is known of stored tasks; pollers stay."""
        for queue in self._queues.values():
            queue.backlog.clear()
            queue.loaded = False
            queue.more_stored = True
            queue.last_task_id = 0
            self._prod(queue)

    def has_live_worker(self, key: QueueKey) -> bool:
        """Whether someone polls this (sticky) queue."""
        queue = self._queues.get(key)
        if queue is None or queue.left:
            return False
        return bool(queue.pollers) or self._clock.now() - queue.last_poll_at < STICKY_POLLER_LOST_NS

    def worker_left(self, key: QueueKey) -> None:
        """The worker of a sticky queue says that it stops: nobody polls this queue any more."""
        queue = self._queues.get(key)
        if queue is not None:
            queue.left = True
            while (poller := queue.next_poller()) is not None:
                poller.matched.set_result(None)

    def put(self, queue: TaskQueue, row: TaskRow) -> None:
        """A task was stored (in the open batch): remember it if the page has room."""
        queue.added += 1
        if (
            queue.loaded
            and not queue.more_stored
            and not queue.loading.locked()
            and len(queue.backlog) < PAGE_TASKS_MAX
        ):
            queue.backlog.append(row)
            queue.last_task_id = row.task_id
        else:
            queue.more_stored = True
        if queue.pollers:
            self._prod(queue)

    def _prod(self, queue: TaskQueue) -> None:
        """Wake one waiting poll, so that it looks at the backlog."""
        poller = queue.next_poller()
        if poller is not None:
            poller.matched.set_result(None)

    async def next_stored(self, queue: TaskQueue) -> TaskRow | None:
        """Take the oldest stored task, None if there is none."""
        if not queue.backlog and queue.more_stored:
            async with queue.loading:
                if not queue.backlog and queue.more_stored:
                    await self._load(queue)
        if not queue.backlog:
            return None
        row = queue.backlog.popleft()
        queue.dispatched += 1
        return row

    def put_back(self, queue: TaskQueue, row: TaskRow) -> None:
        """A task that was taken could not be looked at: it stays the oldest."""
        queue.dispatched -= 1
        queue.backlog.appendleft(row)
        self._prod(queue)

    async def _load(self, queue: TaskQueue) -> None:
        key, after = queue.key, queue.last_task_id
        queue.more_stored = False  # what is stored from now on says so itself
        # The store may not show what is still being flushed.
        waiting = {row.task_id: row for row in self._unflushed(key)}
        try:
            rows = await self._database.scan(
                lambda c: read_tasks(
                    c, key.namespace_id, key.name, key.kind, after=after, count_max=PAGE_TASKS_MAX
                )
            )
        except BaseException:  # also a poll whose caller went away: the next one must ask again
            queue.more_stored = True
            raise
        if queue.last_task_id != after:
            return  # all was forgotten meanwhile: the next poll asks again
        queue.loaded = True
        if len(rows) == PAGE_TASKS_MAX:
            queue.more_stored = True
        else:
            # What was put meanwhile has said so by `more_stored`: it is read next.
            rows = sorted((waiting | {row.task_id: row for row in rows}).values())
        for row in rows:
            if row.task_id > queue.last_task_id:
                queue.backlog.append(row)
                queue.last_task_id = row.task_id

    def note_poll(self, queue: TaskQueue, identity: str) -> None:
        """A worker polls."""
        queue.last_poll_at = self._clock.now()
        queue.left = False
        if identity:
            queue.seen.pop(identity, None)
            queue.seen[identity] = queue.last_poll_at
            if len(queue.seen) > SEEN_MAX:
                del queue.seen[next(iter(queue.seen))]

    def offer_query(self, query: PendingQuery, key: QueueKey, give: Callable[[Poller], None]) -> None:
        """Hand a query to a waiting poller, or let it wait for one."""
        queue = self.get(key)
        poller = queue.next_poller()
        if poller is None:
            queue.queries.append(query)
            query.waits_in = queue.queries
        else:
            give(poller)

    def pollers_of(self, key: QueueKey) -> list[Seen]:
        """Workers seen on the queue lately, newest first."""
        queue = self._queues.get(key)
        if queue is None:
            return []
        self._forget_unseen(queue)
        return sorted((Seen(i, at) for i, at in queue.seen.items()), key=lambda seen: -seen.at)

    def _forget_unseen(self, queue: TaskQueue) -> None:
        oldest = self._clock.now() - POLLER_SEEN_NS
        for identity in [identity for identity, at in queue.seen.items() if at < oldest]:
            del queue.seen[identity]

    def sweep(self) -> None:
        """Forget queues that nobody used for long (sticky ones of workers that are gone), and workers not seen for long."""
        oldest = self._clock.now() - QUEUE_IDLE_NS
        for key, queue in list(self._queues.items()):
            self._forget_unseen(queue)
            idle = not queue.pollers and not queue.queries and not queue.backlog
            if idle and queue.last_poll_at < oldest and not queue.loading.locked():
                del self._queues[key]
