"""Task queues: tasks meet workers.

A task goes straight to a waiting poller, in the very batch that schedules it; only if none waits is it stored. Of the stored
backlog only the first page is in memory, so a backlog of millions costs a page. Order is by priority, then by turns of the
fairness keys (`fairness.py`), then by age. Where a rate limit is set, a timer wakes a poll when the next task may go.

    offer ──poller waits──▶ started in the same batch, handed over when that is durable
      └──none waits──▶ row in the batch (and in memory if the page has room) ──poll──▶ started, row deleted in one batch
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection
from temporalio.api.common.v1 import WorkerVersionCapabilities
from temporalio.api.deployment.v1 import WorkerDeploymentOptions

from cloud.engine.core.priority import Rank
from cloud.engine.core.versions import is_build_lane
from cloud.engine.runtime.backlog import PAGE_TASKS_MAX, Backlog
from cloud.engine.runtime.clock import Clock
from cloud.engine.runtime.fairness import KEYS_EXACT_MAX, STRIDE, stride_of
from cloud.engine.runtime.poller_scaling import AS_IT_IS, IDLE_S, LESS, PollerScaling, wanted
from cloud.engine.runtime.queries import PendingQuery
from cloud.engine.runtime.queue_rates import QueueRates
from cloud.engine.runtime.queue_settings import AllQueueSettings, Name, QueueSettings
from cloud.engine.runtime.waits import Waits
from cloud.engine.store.database import Database
from cloud.engine.store.reading import read_last_passes, read_tasks
from cloud.engine.store.rows import TaskRow, level_of, order_key

STICKY_POLLER_LOST_NS = 10_000_000_000
"""A sticky queue that nobody polled for this long has lost its worker (the real server's figure)."""

POLLER_SEEN_NS = 5 * 60_000_000_000
"""How long a worker is listed after its last poll."""

SEEN_MAX = 1_000
"""Workers of one queue that are remembered."""

QUEUE_IDLE_NS = 10 * 60_000_000_000
"""A queue that nobody polled for this long leaves memory, and its page with it: what is stored stays."""

QUEUES_MAX = 10_000
CROWDED_QUEUE_IDLE_NS = 2 * 60_000_000_000
"""Queues of a namespace beyond which idle ones leave sooner; longer than any poll."""


STOPPED_NS = 30_000_000_000
STOPPED_MAX = 10_000
"""For so long, and so many, workers that said that they stop are remembered: polls of theirs that were on their way come back empty."""

ASIDE_MAX = 1_000
"""Tasks of one queue that were taken out of its backlog by workers of another version than that which they are for."""


class QueueKey(NamedTuple):
    """Names a queue; `kind` is WORKFLOW_TASK or ACTIVITY_TASK of ``store.rows``.

    With a `version` it is the lane of that version's workers: they wait in it, and tasks that are for them alone are stored there.
    All other tasks of the name are in the common lane, without a version, whomever the routing means them for (``routes``).
    """

    namespace_id: str
    name: str
    kind: int
    version: str = ""


@dataclass(slots=True, eq=False)
class Poller:
    """A worker's poll. `matched` gets what it is to receive. `version` is "" for workers without one; `sdk` has name and version,
    `worker` is the key of the worker's process."""

    identity: str
    build_id: str
    matched: asyncio.Future[Any]
    version: str = ""
    sdk: tuple[str, str] = ("", "")
    worker: str = ""


class Seen(NamedTuple):
    """When a worker polled last (ns), and the deployment that it said it is a part of; in the older form, what it said of its build."""

    identity: str
    at: int
    options: WorkerDeploymentOptions | None = None
    capabilities: WorkerVersionCapabilities | None = None


@dataclass(slots=True, eq=False)
class TaskQueue:
    """One queue's pollers and the part of its backlog that is in memory."""

    key: QueueKey
    rates: QueueRates
    made_at: int = 0
    pollers: deque[Poller] = field(default_factory=deque)  # those that wait: each leaves when its poll ends
    queries: deque[PendingQuery] = field(default_factory=deque)
    backlog: Backlog = field(default_factory=Backlog)
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    seen: dict[str, int] = field(default_factory=dict)
    last_poll_at: int = 0
    left: bool = False  # the worker of this sticky queue said that it stops, and did not poll again
    scaling: PollerScaling = field(default_factory=PollerScaling)
    settings: QueueSettings | None = None
    timer: asyncio.TimerHandle | None = None  # wakes a poll when a rate limit lets the next task go
    options: dict[str, WorkerDeploymentOptions] = field(default_factory=dict)  # of those seen that told any
    capabilities: dict[str, WorkerVersionCapabilities] = field(
        default_factory=dict
    )  # the same in the older form
    # Of a common lane: those of the versions, and by version the tasks taken out of its backlog that are for
    # it, under None those whose version is open again.
    lanes: list[TaskQueue] = field(default_factory=list)
    aside: dict[str | None, deque[TaskRow]] = field(default_factory=dict)
    aside_count: int = 0
    # Whether activities of pinned runs may be here, stored while their version did not poll the queue.
    may_have_strays: bool = True

    def next_poller(self) -> Poller | None:
        """The poller that has waited longest, if one waits."""
        while self.pollers:
            poller = self.pollers.popleft()
            if not poller.matched.done():
                return poller
        return None

    @property
    def has_backlog(self) -> bool:
        """Whether stored tasks come first."""
        return bool(self.backlog)

    def has_work_for(self, version: str) -> bool:
        """Whether a worker of `version` may find something in this backlog, as far as is known."""
        if self.aside and (self.aside.get(version) or self.aside.get(None)):
            return True
        return self.has_backlog and self.aside_count < ASIDE_MAX

    @property
    def limited(self) -> bool:
        """Whether a rate limit is set."""
        return self.settings is not None and self.settings.limits is not None


class TaskQueues:
    """All queues of a cell."""

    def __init__(
        self, database: Database, clock: Clock, unflushed: Callable[[QueueKey], list[TaskRow]], waits: Waits
    ) -> None:
        self._waits = waits
        waits.ended_by(self._end_all_polls)
        self._database = database
        self._clock = clock
        self._unflushed = unflushed
        self._queues: dict[QueueKey, TaskQueue] = {}
        self._stopped: dict[tuple[str, str], int] = {}  # (namespace id, worker) -> when it said so
        self.settings = AllQueueSettings(database, self._settings_changed)

    def get(self, key: QueueKey) -> TaskQueue:
        """The queue `key`, made on first use."""
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = TaskQueue(
                key, QueueRates(self._clock.now()), made_at=self._clock.now()
            )
            queue.settings = self.settings.find(_name(key))
            if key.version:
                self.get(key._replace(version="")).lanes.append(queue)
        return queue

    def find(self, key: QueueKey) -> TaskQueue | None:
        """The queue `key` if it was used."""
        return self._queues.get(key)

    def forget(self) -> None:
        """Drop what is known of stored tasks; pollers stay."""
        for queue in self._queues.values():
            queue.backlog.forget()
            queue.aside.clear()
            queue.aside_count = 0
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

    def end_polls(self, keys: Iterable[QueueKey], worker: str) -> None:
        """A worker says that it stops: its polls of these queues (their common lanes) come back empty, those that still come too."""
        now = self._clock.real.now()
        for key in keys:
            for each in [each for each, at in self._stopped.items() if at < now - STOPPED_NS]:
                del self._stopped[each]
            self._stopped[(key.namespace_id, worker)] = now
            while len(self._stopped) > STOPPED_MAX:
                del self._stopped[next(iter(self._stopped))]
            queue = self._queues.get(key)
            for lane in () if queue is None else (queue, *queue.lanes):
                for poller in lane.pollers:
                    if poller.worker == worker and not poller.matched.done():
                        poller.matched.set_result(None)

    def _end_all_polls(self) -> None:
        for queue in self._queues.values():
            while (poller := queue.next_poller()) is not None:
                poller.matched.set_result(None)

    @property
    def closed(self) -> bool:
        """Whether the cell leaves: nobody gets a task any more."""
        return self._waits.over

    def has_stopped(self, namespace_id: str, worker: str) -> bool:
        """Whether a worker said lately that it stops."""
        if not self._stopped or not worker:
            return False
        at = self._stopped.get((namespace_id, worker))
        return at is not None and self._clock.real.now() - at < STOPPED_NS

    # --- tasks ---

    def place(self, queue: TaskQueue, rank: Rank, task_id: int) -> tuple[int, int]:
        """(order key, stride) of a task that is to be stored."""
        weight = rank.weight
        if queue.settings is not None and queue.settings.weights:
            weight = queue.settings.weights.get(rank.fairness_key, weight)
        stride = stride_of(weight)
        fair_pass = queue.backlog.next_pass(rank.level, rank.fairness_key, stride, task_id)
        return order_key(rank.level, fair_pass), stride

    def put(self, queue: TaskQueue, row: TaskRow, waiting: TaskQueue) -> None:
        """A task was stored (in the open batch): remember it if it is among the first. Its workers wait in `waiting`."""
        queue.rates.added[level_of(row.order_key)] += 1
        queue.backlog.put(row)
        if waiting.pollers and not self.is_held_back(queue):
            self._wake_one(waiting)

    def may_go(self, queue: TaskQueue, rank: Rank) -> bool:
        """Whether the rate limits let a task go now; if so it counts."""
        if queue.settings is None or queue.settings.limits is None:
            return True
        limits, now = queue.settings.limits, _now()
        if limits.ready_at(rank.fairness_key, now) > now:
            return False
        limits.spend(rank.fairness_key, rank.weight, now)
        return True

    def _ready_at(self, queue: TaskQueue, now: float) -> float:
        """When the rate limits let the first stored task go; not above `now`: at once."""
        if queue.settings is None or queue.settings.limits is None:
            return now
        head = queue.backlog.head
        return queue.settings.limits.ready_at("" if head is None else head.fairness_key, now)

    def is_held_back(self, queue: TaskQueue) -> bool:
        """Whether stored tasks have to wait for a rate limit: then a timer is set for the next."""
        if not queue.limited:
            return False
        now = _now()
        ready_at = self._ready_at(queue, now)
        if ready_at <= now:
            return False
        self._wake_at(queue, ready_at)
        return True

    @staticmethod
    def _wake_one(queue: TaskQueue) -> None:
        poller = queue.next_poller()
        if poller is not None:
            poller.matched.set_result(None)

    def _prod(self, queue: TaskQueue) -> None:
        """Wake one waiting poll, so that it looks at the backlog; of each version one."""
        self._wake_one(queue)
        lanes = queue.lanes
        if is_build_lane(queue.key.version):  # a redirect may lead its tasks to the workers of another
            lanes = self.get(queue.key._replace(version="")).lanes
        for lane in lanes:
            self._wake_one(lane)

    def _prod_if_ready(self, queue: TaskQueue) -> None:
        """The same once the rate limits let a stored task go."""
        if not self.is_held_back(queue):
            self._prod(queue)

    def _wake_at(self, queue: TaskQueue, at: float) -> None:
        if queue.timer is not None:
            if queue.timer.when() <= at:
                return  # it looks again then
            queue.timer.cancel()
            queue.timer = None
        if at < float("inf"):
            queue.timer = asyncio.get_running_loop().call_at(at, self._woken, queue)

    def _woken(self, queue: TaskQueue) -> None:
        queue.timer = None
        if queue.has_backlog:
            self._prod_if_ready(queue)

    async def next_stored(self, queue: TaskQueue) -> TaskRow | None:
        """Take the first stored task, None if there is none or a rate limit holds it back."""
        backlog = queue.backlog
        if backlog.must_load:
            async with queue.loading:
                if backlog.must_load:
                    await self._load(queue)
        head = backlog.head
        if head is None:
            return None
        if queue.limited:
            if self.is_held_back(queue):
                return None
            self.may_go(queue, Rank(level_of(head.order_key), head.fairness_key, STRIDE / head.stride))
        row = backlog.take()
        assert row is not None
        queue.rates.dispatched[level_of(row.order_key)] += 1
        if queue.limited and (queue.pollers or queue.lanes) and queue.has_backlog:
            self._prod_if_ready(queue)  # those who wait for their turn are woken one by one
        return row

    async def next_stored_for(self, queue: TaskQueue, version: str) -> TaskRow | None:
        """Take a task of a common lane that may be for workers of `version`: one that was set aside, or the first."""
        if not queue.aside:
            return await self.next_stored(queue)
        for key in (version, None):
            rows = queue.aside.get(key)
            if rows:
                row = rows.popleft()
                if not rows:
                    del queue.aside[key]
                queue.aside_count -= 1
                queue.rates.dispatched[level_of(row.order_key)] += 1
                return row
        return await self.next_stored(queue) if queue.aside_count < ASIDE_MAX else None

    def set_aside(self, queue: TaskQueue, row: TaskRow, version: str) -> None:
        """A task that was taken is for workers of `version`: they find it before others. It stays stored where it is."""
        queue.rates.dispatched[level_of(row.order_key)] -= 1
        queue.aside.setdefault(version, deque()).append(row)
        queue.aside_count += 1
        waiting = queue if not version else self._queues.get(queue.key._replace(version=version))
        if waiting is not None:
            self._wake_one(waiting)

    def rerouted(self, key: QueueKey) -> None:
        """Whom the tasks of a common lane are for changed: what was set aside is open again, all who wait look anew."""
        queue = self._queues.get(key)
        if queue is None:
            return
        for lane in (queue, *queue.lanes):
            if lane.aside:
                lane.aside = {None: deque(row for rows in lane.aside.values() for row in rows)}
        for waiting in (queue, *queue.lanes):
            while waiting.pollers:
                self._wake_one(waiting)

    def put_back(self, queue: TaskQueue, row: TaskRow) -> None:
        """A task that was taken could not be looked at: it stays the first."""
        queue.rates.dispatched[level_of(row.order_key)] -= 1
        queue.backlog.put_back(row)
        self._prod(queue)

    async def _load(self, queue: TaskQueue) -> None:
        key, backlog = queue.key, queue.backlog
        generation, first = backlog.generation, not backlog.asked
        after = backlog.begin_load()
        # The store may not show what is still being flushed.
        waiting = self._unflushed(key)

        def read(connection: Connection) -> tuple[list[TaskRow], list[tuple[int, str, int]]]:
            of_queue = (key.namespace_id, key.name, key.kind, key.version)
            rows = read_tasks(connection, *of_queue, after=after, count_max=PAGE_TASKS_MAX)
            if not first or len(rows) < PAGE_TASKS_MAX:
                return rows, []
            return rows, read_last_passes(connection, *of_queue, KEYS_EXACT_MAX)

        try:
            rows, last_passes = await self._database.scan(read)
        except BaseException:  # also a poll whose caller went away: the next one must ask again
            backlog.load_failed()
            raise
        if backlog.generation != generation:
            backlog.load_failed()
            return  # all was forgotten meanwhile: the next poll asks again
        backlog.end_load(rows, waiting, last_passes)

    def scaling(self, queue: TaskQueue, *, waited_s: float, stored: bool) -> int:
        """By how many a worker had better change the number of its polls, after one that waited so long for what it got."""
        if waited_s >= IDLE_S and not stored:
            return LESS
        if not queue.scaling.may_look(_now(), len(queue.seen)):
            return AS_IT_IS
        if self.holds_back(queue):
            return AS_IT_IS
        now, head = self._clock.now(), queue.backlog.head
        added, dispatched = queue.rates.total(now)
        age = 0 if head is None else now - head.created_at
        return wanted(backlog_age=age, added=added, dispatched=dispatched)

    def holds_back(self, queue: TaskQueue) -> bool:
        """Whether tasks had to wait for a rate limit of late."""
        settings = queue.settings
        return settings is not None and settings.limits is not None and settings.limits.holds_back(_now())

    # --- settings ---

    def set_worker_rate(self, queue: TaskQueue, rate: float | None) -> None:
        """A worker that polls says how many tasks per second it wants at most; None if it says nothing."""
        if rate is not None or queue.settings is not None:
            self.settings.set_worker_rate(_name(queue.key), rate)

    def _settings_changed(self, name: Name) -> None:
        settings = self.settings.find(name)
        for key, queue in self._queues.items():
            if _name(key) == name:
                queue.settings = settings
                if not queue.has_backlog:
                    continue
                if queue.limited:
                    self._prod_if_ready(queue)
                else:
                    for waiting in (queue, *queue.lanes):  # all that waited for the limit
                        while waiting.pollers:
                            self._wake_one(waiting)

    # --- workers ---

    def note_poll(
        self,
        queue: TaskQueue,
        identity: str,
        options: WorkerDeploymentOptions | None = None,
        capabilities: WorkerVersionCapabilities | None = None,
    ) -> None:
        """A worker polls, and says what it is a part of; or in the older form, what its build is."""
        queue.last_poll_at = self._clock.now()
        queue.left = False
        if identity:
            queue.seen.pop(identity, None)
            queue.seen[identity] = queue.last_poll_at
            if options is not None:
                queue.options[identity] = options
            if capabilities is not None:
                queue.capabilities[identity] = capabilities
            if len(queue.seen) > SEEN_MAX:
                oldest = next(iter(queue.seen))
                del queue.seen[oldest]
                queue.options.pop(oldest, None)
                queue.capabilities.pop(oldest, None)

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
        seen = (
            Seen(identity, at, queue.options.get(identity), queue.capabilities.get(identity))
            for identity, at in queue.seen.items()
        )
        return sorted(seen, key=lambda each: -each.at)

    def _forget_unseen(self, queue: TaskQueue) -> None:
        oldest = self._clock.now() - POLLER_SEEN_NS
        for identity in [identity for identity, at in queue.seen.items() if at < oldest]:
            del queue.seen[identity]
            queue.options.pop(identity, None)
            queue.capabilities.pop(identity, None)

    def sweep(self) -> None:
        """Forget queues that nobody used for long (sticky ones of workers that are gone), and workers not seen for long."""
        now = self._clock.now()
        count = Counter(key.namespace_id for key in self._queues)
        for key, queue in list(self._queues.items()):
            self._forget_unseen(queue)
            queue.rates.mark(now)
            crowded = count[key.namespace_id] > QUEUES_MAX
            idle_for = now - max(queue.last_poll_at, queue.made_at)
            long_idle = idle_for > (CROWDED_QUEUE_IDLE_NS if crowded else QUEUE_IDLE_NS)
            used = queue.pollers or queue.queries or queue.lanes or queue.loading.locked()
            if long_idle and not used:
                if queue.timer is not None:
                    queue.timer.cancel()
                del self._queues[key]
                count[key.namespace_id] -= 1
                if key.version:
                    self.get(key._replace(version="")).lanes.remove(queue)
        names = {_name(key) for key in self._queues}
        self.settings.forget_unused(names.__contains__)


def _name(key: QueueKey) -> Name:
    return key.namespace_id, key.name, key.kind


def _now() -> float:
    return asyncio.get_running_loop().time()
