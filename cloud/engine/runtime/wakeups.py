"""Wakes runs when something in them becomes due.

Near moments are in a heap; far ones only in the store, which is looked through once per horizon. A sleeping run costs a row. An
entry is a hint: waking a run in which nothing is due does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy import Connection

from cloud.engine.runtime.clock import Clock
from cloud.engine.runtime.commits import Unflushed
from cloud.engine.store.database import Database, StoreUnavailable
from cloud.engine.store.reading import read_due, read_next_due

log = structlog.get_logger(__name__)

HORIZON_NS = 60_000_000_000
SCAN_COUNT_MAX = 10_000
WAKE_CONCURRENCY = 32
RETRY_NS = 1_000_000_000
_SECOND = 1_000_000_000


class Wakeups:
    """Owns the heap and one task. `wake` is called with a run id when its moment has come.

    `read` looks into the store: (id, wake time) of what is due by a moment, earliest first. What it finds may be other things
    than runs, each with an id of its own. `read_next` finds the earliest moment for which time may be skipped, 0 for none.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        wake: Callable[[str], Awaitable[None]],
        read: Callable[[Connection, int, int], list[tuple[str, int]]] = read_due,
        read_next: Callable[[Connection], int] = read_next_due,
    ) -> None:
        self._database = database
        self._clock = clock
        self._wake = wake
        self._read = read
        self._read_next = read_next
        self._heap: list[tuple[int, str]] = []
        self._noted: dict[str, int] = {}
        self._queued: dict[str, int] = {}  # the earliest moment of each run in the heap
        self._earlier = asyncio.Event()
        self._scan_at = 0
        self._scanned_until = 0
        self._generation = 0
        self._task: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self.on_rest: Callable[[], None] = lambda: None
        clock.wakes(self)

    def start(self) -> None:
        """Begin, with a look into the store for what became due meanwhile."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="wakeups")

    async def stop(self) -> None:
        """Stop; wakes in progress are cancelled."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        for task in list(self._running):
            task.cancel()

    def forget(self) -> None:
        """Drop all from memory and look into the store again."""
        self._generation += 1
        self._heap.clear()
        self._noted.clear()
        self._queued.clear()
        self._scan_at = 0
        self._scanned_until = 0
        self._earlier.set()

    @property
    def quiet(self) -> bool:
        """See :class:`Sleeper`."""
        now = self._clock.now()
        return not self._running and now < self._scan_at and not (self._heap and self._heap[0][0] <= now)

    def jumped(self) -> None:
        """See :class:`Sleeper`."""
        self._earlier.set()

    async def next_moment(self) -> int:
        """See :class:`Sleeper`."""
        return await self._database.read(self._read_next)

    def note(self, run_id: str, at: int) -> None:
        """A run, as it is stored now, is to be woken at `at` (ns); 0 for never. What is beyond the horizon is left to the store."""
        if not at or at > max(self._scanned_until, self._clock.now() + HORIZON_NS):
            self._noted.pop(run_id, None)
            return
        noted = self._noted.get(run_id)
        if noted == at:
            return
        self._noted[run_id] = at
        self._queue(run_id, at)

    def _queue(self, run_id: str, at: int) -> None:
        queued = self._queued.get(run_id)
        if queued is not None and queued <= at:
            return  # that entry comes up first and finds the later moment
        self._queued[run_id] = at
        heapq.heappush(self._heap, (at, run_id))
        if self._heap[0][0] == at:
            self._earlier.set()

    async def _run(self) -> None:
        while True:
            try:
                await self._wake_as_they_come()
            except Exception:
                log.exception(
                    "wakeups_broke"
                )  # a defect: the heap may be short of something, the store is not
                self.forget()
                await asyncio.sleep(RETRY_NS / _SECOND)

    async def _wake_as_they_come(self) -> None:
        while True:
            now = self._clock.now()
            if now >= self._scan_at:
                await self._scan(now)
            while self._heap and self._heap[0][0] <= now:
                at, run_id = heapq.heappop(self._heap)
                if self._queued.get(run_id) != at:
                    continue  # an earlier entry took its place
                del self._queued[run_id]
                noted = self._noted.get(run_id)
                if noted is None:
                    continue
                if noted > now:
                    self._queue(run_id, noted)
                    continue
                del self._noted[run_id]
                while len(self._running) >= WAKE_CONCURRENCY:
                    await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                task = asyncio.create_task(self._wake_one(run_id))
                self._running.add(task)
                task.add_done_callback(self._woken)
            self.on_rest()
            until = min(self._scan_at, self._heap[0][0] if self._heap else self._scan_at)
            delay = max(until - self._clock.now(), 0) / _SECOND
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._earlier.wait(), delay)
            self._earlier.clear()

    def _woken(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self.on_rest()

    async def _wake_one(self, run_id: str) -> None:
        try:
            await self._wake(run_id)
        except (Unflushed, StoreUnavailable) as error:
            log.warning("wake_delayed", run_id=run_id, reason=str(error))
            self.note(run_id, self._clock.now() + RETRY_NS)
        except Exception:
            log.exception("wake_failed", run_id=run_id)
            self.note(run_id, self._clock.now() + RETRY_NS)

    async def _scan(self, now: int) -> None:
        until = now + HORIZON_NS * 2
        generation = self._generation
        try:
            due = await self._database.scan(lambda c: self._read(c, until, SCAN_COUNT_MAX))
        except StoreUnavailable as error:
            log.error("wake_scan_failed", reason=str(error))
            self._scan_at = now + RETRY_NS
            return
        if generation != self._generation:
            return  # what was noted while the store was read is forgotten: look again
        full = len(due) == SCAN_COUNT_MAX
        # A full page says nothing of what comes after its last moment: look again when that is reached.
        self._scanned_until = due[-1][1] if full else until
        self._scan_at = max(due[-1][1], now + RETRY_NS) if full else now + HORIZON_NS
        for run_id, at in due:
            # What was flushed while the store was read has been noted already, and is newer than what was read.
            noted = self._noted.get(run_id)
            if noted is None or at < noted:
                self.note(run_id, at)
