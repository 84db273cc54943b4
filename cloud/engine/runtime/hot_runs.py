"""Runs in memory, and how they come there. The store is the truth for all that is not waiting to be flushed."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from cloud.engine.core import machine
from cloud.engine.core.state import RunKey
from cloud.engine.runtime.commits import CommitLoop
from cloud.engine.runtime.errors import NoSuchRun
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.namespaces import Namespaces
from cloud.engine.store.database import Database
from cloud.engine.store.reading import read_current, read_run
from cloud.engine.store.rows import CurrentRun

OPEN_RUNS_MAX = 4_096
CLOSED_RUNS_MAX = 256
CURRENT_RUNS_MAX = 16_384
TAILS_BYTES_MAX = 256 * 1024 * 1024
"""Newest events of all runs in memory, serialized: a bound against large payloads, which counts do not give."""


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

    def __len__(self) -> int:
        return len(self._open) + len(self._closed)

    def forget(self) -> None:
        """Drop everything (a flush failed: memory is ahead of the store)."""
        self.generation += 1
        dropped = [*self._open.values(), *self._closed.values()]
        self._open.clear()
        self._closed.clear()
        self._current.clear()
        for hot in dropped:
            hot.drop()

    def add(self, hot: HotRun) -> None:
        """A new run."""
        self._open[hot.run_id] = hot

    def remove(self, hot: HotRun) -> None:
        """A deleted run."""
        self._open.pop(hot.run_id, None)
        self._closed.pop(hot.run_id, None)
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
            stored = await self._database.read(lambda c: read_run(c, run_id))
            if generation != self.generation:
                continue  # what was read may have been undone meanwhile
            hot = self.in_memory(run_id)
            if hot is not None:
                return hot
            if stored is None or self._is_being_deleted(run_id):
                return None
            row = stored.row
            if not self._namespaces.serves(row.namespace_id):
                return None
            execution = machine.rebuild(
                RunKey(row.namespace_id, row.workflow_id, row.run_id),
                stored.events,
                volatile=stored.volatile,
                progress=stored.progress,
                buffered=stored.buffered,
                nexus_progress=stored.nexus_progress,
                callback_progress=stored.callback_progress,
            )
            hot = HotRun(execution, self._namespaces.by_id(row.namespace_id))
            hot.tail.extend(stored.events)
            hot.has_progress_rows = bool(stored.progress)
            hot.has_nexus_rows = bool(stored.nexus_progress)
            (self._open if execution.running else self._closed)[run_id] = hot
            self._on_loaded(hot)
            return hot

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

    def shrink(self) -> None:
        """Let go of what was used longest ago, beyond the bounds; what is busy stays."""
        for runs, count_max in ((self._open, OPEN_RUNS_MAX), (self._closed, CLOSED_RUNS_MAX)):
            for run_id in list(runs) if len(runs) > count_max else ():
                if len(runs) <= count_max:
                    break
                if not runs[run_id].busy:
                    runs.pop(run_id).drop()
        kept = sum(hot.tail.size for hot in (*self._open.values(), *self._closed.values()))
        for hot in (*self._closed.values(), *self._open.values()):
            if kept <= TAILS_BYTES_MAX:
                break
            kept -= hot.tail.size
            hot.tail.clear()
        unflushed = {*self._commits.open.current_runs}
        if self._commits.flushing:
            unflushed |= {*self._commits.flushing.current_runs}
        for key in list(self._current)[: max(0, len(self._current) - CURRENT_RUNS_MAX)]:
            if key not in unflushed:
                del self._current[key]
