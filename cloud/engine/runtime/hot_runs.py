"""Runs in memory, and how they come there. The store is the truth for all that is not waiting to be flushed."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from temporalio.api.history.v1 import History

from cloud.engine.core import machine
from cloud.engine.core.errors import CoreDefect
from cloud.engine.core.state import Execution, RunKey
from cloud.engine.runtime.commits import CommitLoop
from cloud.engine.runtime.errors import NoSuchRun
from cloud.engine.runtime.hot import TAIL_EVENTS_MAX, HotRun, Tail
from cloud.engine.runtime.namespaces import Namespaces
from cloud.engine.store.database import Database, StoreUnavailable
from cloud.engine.store.reading import (
    StoredRun,
    makes_calls,
    read_calls,
    read_current,
    read_history,
    read_run,
)
from cloud.engine.store.rows import CurrentRun

OPEN_RUNS_MAX = 4_096
CLOSED_RUNS_MAX = 256
CURRENT_RUNS_MAX = 16_384
TAILS_BYTES_MAX = 256 * 1024 * 1024
"""Newest events of all runs in memory, serialized: a bound against large payloads, which counts do not give."""
RUNS_BYTES_MAX = 768 * 1024 * 1024
"""All that runs in memory hold: beyond it those that are not busy leave, first of the namespaces that hold the most."""
RUNS_BYTES_REFUSED = 2 * RUNS_BYTES_MAX
"""Beyond it, because so many are busy, a namespace that holds more than its share gets no further run into memory."""
SHRINK_PAUSE_S = 0.25
LOAD_AT_ONCE_BYTES = 256 * 1024
"""Of a history that comes into memory: what is read in place. What follows is read in another thread, a page at a time."""
LOAD_PAGE_BYTES = 2 * 1024 * 1024
LOAD_TURN_S = 0.002
"""How long the replay of a history holds the event loop before others have their turn."""


class NoRoom(StoreUnavailable):
    """The namespace's runs that are busy fill its share of the memory: no further one comes in."""


@dataclass(frozen=True, slots=True)
class _Rebuilt:
    """What the store told of a run. `made_calls`: there may be rows of its Nexus operations and callbacks."""

    execution: Execution
    tail: Tail
    made_calls: bool


class HotRuns:
    """A bounded cache of runs and of current runs; `on_loaded` is told of each run that came from the store."""

    def __init__(
        self,
        database: Database,
        namespaces: Namespaces,
        commits: CommitLoop,
        on_loaded: Callable[[HotRun], None],
    ) -> None:
        self._database = database
        self._namespaces = namespaces
        self._commits = commits
        self._on_loaded = on_loaded
        self._open: OrderedDict[str, HotRun] = OrderedDict()
        self._closed: OrderedDict[str, HotRun] = OrderedDict()
        self._current: OrderedDict[tuple[str, str], CurrentRun | None] = OrderedDict()
        self._loading: dict[str, asyncio.Future[HotRun | None]] = {}
        self.generation = 0
        self._bytes = 0
        self._bytes_of: dict[str, int] = {}  # by namespace id
        self._shrinks_at = 0.0

    def __len__(self) -> int:
        return len(self._open) + len(self._closed)

    def end_waits(self) -> None:
        """Who waits for something of a run gets what there is."""
        for hot in (*self._open.values(), *self._closed.values()):
            hot.end_waits()

    def forget(self) -> None:
        """Drop everything (a flush failed: memory is ahead of the store)."""
        self.generation += 1
        dropped = [*self._open.values(), *self._closed.values()]
        self._open.clear()
        self._closed.clear()
        self._current.clear()
        self._bytes = 0
        self._bytes_of.clear()
        for hot in dropped:
            hot.drop()

    def add(self, hot: HotRun) -> None:
        """A new run."""
        self._open[hot.run_id] = hot
        self.weigh(hot)

    def remove(self, hot: HotRun) -> None:
        """A deleted run."""
        self._open.pop(hot.run_id, None)
        self._closed.pop(hot.run_id, None)
        self._count(hot, 0)
        hot.drop()

    def in_memory(self, run_id: str) -> HotRun | None:
        """The run if it is in memory."""
        hot = self._open.get(run_id)
        if hot is not None:
            self._open.move_to_end(run_id)
            return hot
        return self._closed.get(run_id)

    def closed(self, hot: HotRun) -> None:
        """A run closed: few of these stay, for those who wait for results."""
        if self._open.pop(hot.run_id, None) is not None:
            self._closed[hot.run_id] = hot

    async def get(self, run_id: str) -> HotRun:
        """The run `run_id`.

        Raises:
            NoSuchRun: there is none.
        """
        hot = self.in_memory(run_id)
        if hot is not None:
            return hot
        loading = self._loading.get(run_id)
        if loading is None:
            loading = asyncio.ensure_future(self._load(run_id))
            self._loading[run_id] = loading
            loading.add_done_callback(lambda _: self._loading.pop(run_id, None))
        found = await asyncio.shield(loading)
        if found is None:
            raise NoSuchRun(run_id)
        return found

    async def _load(self, run_id: str) -> HotRun | None:
        while True:
            generation = self.generation
            flushing = self._commits.flushing
            if flushing is not None and run_id in flushing.runs:
                await asyncio.wait([flushing.durable])  # the store does not show it yet
                continue
            stored = await self._database.read(lambda c: read_run(c, run_id, size_max=LOAD_AT_ONCE_BYTES))
            rebuilt = None
            if stored is not None and self._namespaces.serves(stored.row.namespace_id):
                self.require_room(stored.row.namespace_id)
                rebuilt = await self._rebuild(stored)
            if generation != self.generation:
                continue  # what was read may have been undone meanwhile
            hot = self.in_memory(run_id)
            if hot is not None:
                return hot
            if stored is None or rebuilt is None or self._is_being_deleted(run_id):
                return None
            row = stored.row
            if not self._namespaces.serves(row.namespace_id):
                return None
            execution = rebuilt.execution
            if execution.next_event_id != row.next_event_id:
                raise CoreDefect(
                    f"run {run_id}: {execution.next_event_id - 1} events are stored, not {row.next_event_id - 1}"
                )
            hot = HotRun(execution, self._namespaces.by_id(row.namespace_id), rebuilt.tail)
            hot.has_progress_rows = bool(stored.progress)
            hot.has_nexus_rows = rebuilt.made_calls
            (self._open if execution.running else self._closed)[run_id] = hot
            self.weigh(hot)
            self._on_loaded(hot)
            return hot

    async def _rebuild(self, stored: StoredRun) -> _Rebuilt:
        """Replay a history; a long one is read in pages, and others have their turn in between.

        Nothing changes what is stored of a run that is not in memory, but that all memory is dropped or its namespace is deleted:
        who calls this looks for both.
        """
        row, part, tail, made_calls = stored.row, stored.history, Tail(), False
        tail_from = row.next_event_id - TAIL_EVENTS_MAX
        execution = Execution(RunKey(row.namespace_id, row.workflow_id, row.run_id))
        turn_ends = time.perf_counter() + LOAD_TURN_S
        while True:
            for data in part.batches:
                events = History.FromString(data).events
                machine.fold(execution, events)
                made_calls = made_calls or makes_calls(events)
                if execution.next_event_id > tail_from:
                    tail.extend(events)
                if time.perf_counter() > turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = time.perf_counter() + LOAD_TURN_S
            if not part.after:
                break
            after = part.after
            part = await self._database.scan(
                lambda c, after=after: read_history(c, row.run_id, after=after, size_max=LOAD_PAGE_BYTES)  # type: ignore[misc]
            )
            turn_ends = time.perf_counter() + LOAD_TURN_S
        nexus_progress, callback_progress = (
            await self._database.read(lambda c: read_calls(c, row.run_id)) if made_calls else ({}, {})
        )
        machine.complete(
            execution,
            volatile=stored.volatile,
            progress=stored.progress,
            buffered=stored.buffered,
            nexus_progress=nexus_progress,
            callback_progress=callback_progress,
        )
        return _Rebuilt(execution, tail, made_calls)

    def _is_being_deleted(self, run_id: str) -> bool:
        batches = (self._commits.open, self._commits.flushing)
        return any(hot.run_id == run_id for batch in batches if batch for hot in batch.deleted)

    # --- the newest run of a workflow id ---

    def set_current(self, current: CurrentRun) -> None:
        """A run became the newest of its id, or changed its status."""
        key = (current.namespace_id, current.workflow_id)
        self._current[key] = current
        self._current.move_to_end(key)

    def evict_current(self, namespace_id: str, workflow_id: str, run_id: str) -> None:
        """Run `run_id` is deleted: if it is the newest of its id, there is none until another starts."""
        found = self._current.get((namespace_id, workflow_id))
        if found is not None and found.run_id == run_id:
            self._current[(namespace_id, workflow_id)] = None

    async def current(self, namespace_id: str, workflow_id: str) -> CurrentRun | None:
        """The newest run of a workflow id, None if it has none."""
        key = (namespace_id, workflow_id)
        while True:
            if key in self._current:
                return self._current[key]
            generation = self.generation
            flushing = self._commits.flushing
            if flushing is not None and key in flushing.current_runs:
                await asyncio.wait([flushing.durable])  # the store does not show it yet
                continue
            found = await self._database.read(lambda c: read_current(c, namespace_id, workflow_id))
            if generation == self.generation and key not in self._current:
                if found is not None and self._is_being_deleted(found.run_id):
                    return None
                if found is not None:
                    self._current[key] = found
                return found

    def of_namespace(self, namespace_id: str) -> list[HotRun]:
        """The runs of a namespace that are in memory."""
        return [
            hot
            for hot in (*self._open.values(), *self._closed.values())
            if hot.execution.key.namespace_id == namespace_id
        ]

    def forget_namespace(self, namespace_id: str) -> None:
        """Drop the runs of a namespace that is being deleted."""
        for hot in self.of_namespace(namespace_id):
            self.remove(hot)
        for key in [key for key in self._current if key[0] == namespace_id]:
            del self._current[key]

    # --- bounds ---

    def weigh(self, hot: HotRun) -> None:
        """Count the bytes of a run in memory that changed."""
        self._count(hot, hot.weigh())
        if self._bytes > RUNS_BYTES_MAX:
            now = time.monotonic()
            if now >= self._shrinks_at:
                self._shrinks_at = now + SHRINK_PAUSE_S
                asyncio.get_running_loop().call_soon(self._shrink_by_bytes)  # not within a transition

    def _count(self, hot: HotRun, weight: int) -> None:
        if hot.dropped:
            return
        namespace_id, change = hot.execution.key.namespace_id, weight - hot.weight
        hot.weight = weight
        self._bytes += change
        left = self._bytes_of.get(namespace_id, 0) + change
        if left:
            self._bytes_of[namespace_id] = left
        else:
            self._bytes_of.pop(namespace_id, None)

    def _share(self) -> int:
        return RUNS_BYTES_MAX // max(len(self._bytes_of), 1)

    def require_room(self, namespace_id: str) -> None:
        """Look whether a further run of the namespace may come into memory.

        Raises:
            NoRoom: no.
        """
        if self._bytes > RUNS_BYTES_REFUSED and self._bytes_of.get(namespace_id, 0) > self._share():
            raise NoRoom(
                "the workflows of this namespace that are being worked on hold too many bytes of pending inputs, "
                "heartbeats and signals: wait for some to close, or offload large payloads"
            )

    def _shrink_by_bytes(self) -> None:
        """Drop what is not busy, used longest ago first, of the namespaces beyond their share; then of any.

        If that is not enough, also what greedy ones only look on at: to them there is no room for it to come back.
        """
        share = self._share()
        for greedy, looked_on in ((True, False), (False, False), (True, True)):
            if looked_on and self._bytes <= RUNS_BYTES_REFUSED:
                return
            for runs in (self._closed, self._open):
                for hot in list(runs.values()):
                    if self._bytes <= RUNS_BYTES_MAX:
                        return
                    beyond = self._bytes_of.get(hot.execution.key.namespace_id, 0) > share
                    held = hot.pinned if looked_on else hot.busy
                    if not held and (beyond or not greedy):
                        self.remove(hot)

    def shrink(self) -> None:
        """Let go of what was used longest ago, beyond the bounds; what is busy stays."""
        for runs, count_max in ((self._open, OPEN_RUNS_MAX), (self._closed, CLOSED_RUNS_MAX)):
            for run_id in list(runs) if len(runs) > count_max else ():
                if len(runs) <= count_max:
                    break
                if not runs[run_id].busy:
                    self.remove(runs[run_id])
        kept = sum(hot.tail.size for hot in (*self._open.values(), *self._closed.values()))
        for hot in (*self._closed.values(), *self._open.values()):
            if kept <= TAILS_BYTES_MAX:
                break
            kept -= hot.tail.size
            hot.tail.clear()
            self.weigh(hot)
        if self._bytes > RUNS_BYTES_MAX:
            self._shrink_by_bytes()
        unflushed = {*self._commits.open.current_runs}
        if self._commits.flushing:
            unflushed |= {*self._commits.flushing.current_runs}
        for key in list(self._current)[: max(0, len(self._current) - CURRENT_RUNS_MAX)]:
            if key not in unflushed:
                del self._current[key]
