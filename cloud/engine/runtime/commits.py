"""The commit loop: one writer, many transitions in one durable transaction.

While one batch is being flushed the next one fills, so the batch size follows the load without a delay timer. A reply leaves only
after its batch is on disk. A later transition may build on an earlier one that is not: should a flush fail, `on_failure` drops
all memory, and everyone who waits for this batch or a later one is told `Unflushed`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import structlog
from sqlalchemy import Connection
from temporalio.api.history.v1 import History, HistoryEvent

from cloud.engine.core import machine
from cloud.engine.core.state import ActivityProgress
from cloud.engine.runtime.hot import HotRun
from cloud.engine.store.database import Database, StoreUnavailable
from cloud.engine.store.rows import CurrentRun, HistoryRow, Rows, RunRow, TaskRow, UsageRow, encode
from cloud.engine.store.visibility import VisibilityRow
from cloud.engine.store.writing import LeaseLost, write_rows

log = structlog.get_logger(__name__)

WAKE_AT_ONCE = 1
"""A wake time in the past: the run has work on other runs outstanding, and recovery is to find it first."""


class Unflushed(Exception):
    """The batch did not become durable; what it held is forgotten."""


@dataclass(slots=True, eq=False)
class Batch:
    """What one flush will write. Runs are looked at when it begins: only their last state counts."""

    runs: dict[str, HotRun] = field(default_factory=dict)
    events: dict[str, list[HistoryEvent]] = field(default_factory=dict)
    current_runs: dict[tuple[str, str], CurrentRun] = field(default_factory=dict)
    progress: dict[tuple[str, int], ActivityProgress] = field(default_factory=dict)
    progress_cleared: set[str] = field(default_factory=set)
    buffer_cleared: set[str] = field(default_factory=set)
    buffered: dict[str, list[tuple[int, HistoryEvent]]] = field(default_factory=dict)
    tasks: dict[int, TaskRow] = field(default_factory=dict)
    tasks_done: list[int] = field(default_factory=list)
    usage: list[UsageRow] = field(default_factory=list)
    visible: dict[str, HotRun] = field(default_factory=dict)
    deleted: list[HotRun] = field(default_factory=list)
    durable: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (
            self.runs or self.current_runs or self.tasks or self.tasks_done or self.usage or self.deleted
        )

    def finish_task(self, task_id: int) -> None:
        """A stored task is done: forget its row, or never write it."""
        if self.tasks.pop(task_id, None) is None:
            self.tasks_done.append(task_id)


class CommitLoop:
    """Owns the open batch and flushes it. `start` and `stop` may be called twice."""

    def __init__(
        self,
        database: Database,
        *,
        visibility_row: Callable[[HotRun], VisibilityRow],
        on_flushing: Callable[[HotRun, int], None],
        on_flushed: Callable[[Batch], None],
        on_failure: Callable[[], None],
        on_lease_lost: Callable[[], None],
    ) -> None:
        self._database = database
        self._visibility_row = visibility_row
        self._on_flushing = on_flushing
        self._on_flushed = on_flushed
        self._on_failure = on_failure
        self._on_lease_lost = on_lease_lost
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.epoch = 0
        self.open = Batch()
        self.flushing: Batch | None = None

    def start(self, epoch: int) -> None:
        """Begin to flush under lease `epoch`."""
        self.epoch = epoch
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="commit-loop")

    async def stop(self) -> None:
        """Flush what is there, then stop."""
        if self._task is None:
            return
        while not self.open.empty or self.flushing is not None:
            self._changed.set()
            try:
                await asyncio.shield((self.flushing or self.open).durable)
            except Unflushed:
                break
        self._task.cancel()
        self._task = None

    def touch(self) -> Batch:
        """The open batch, which will be flushed soon."""
        self._changed.set()
        return self.open

    def unflushed_tasks(self, key: tuple[str, str, int]) -> list[TaskRow]:
        """Tasks of a queue (namespace id, name, kind) that the store does not show yet."""
        batches = (self.flushing, self.open)
        return [
            row
            for batch in batches
            if batch is not None
            for row in batch.tasks.values()
            if (row.namespace_id, row.queue, row.kind) == key
        ]

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            # Let everything that this turn of the loop woke join the batch.
            await asyncio.sleep(0)
            self._changed.clear()
            if self.open.empty:
                continue
            batch, self.open = self.open, Batch()
            self.flushing = batch
            rows = self._freeze(batch)
            try:
                await self._database.write(partial(_write, rows, self.epoch))
            except LeaseLost as error:
                log.error("lease_lost", reason=str(error))
                self._fail(batch)
                self._on_lease_lost()
                return
            except Exception as error:
                if isinstance(error, StoreUnavailable):
                    log.error("flush_failed", reason=str(error))
                else:
                    log.exception("flush_failed_unexpectedly")
                self._fail(batch)
                continue
            self.flushing = None
            for hot in batch.runs.values():
                if hot.unflushed is batch:
                    hot.unflushed = None
            self._on_flushed(batch)
            batch.durable.set_result(None)

    def abandon(self) -> None:
        """A defect left a run's state in memory half changed: forget all that is not being flushed yet."""
        lost, self.open = self.open, Batch()
        self._on_failure()
        lost.durable.set_exception(Unflushed("a defect undid the change; try again"))
        lost.durable.exception()

    def _fail(self, batch: Batch) -> None:
        later, self.open, self.flushing = self.open, Batch(), None
        self._on_failure()
        for lost in (batch, later):
            lost.durable.set_exception(Unflushed("the change could not be made durable; try again"))
            lost.durable.exception()  # whether or not anyone waits

    def _freeze(self, batch: Batch) -> Rows:
        rows = Rows(
            current_runs=batch.current_runs,
            progress_cleared=batch.progress_cleared,
            buffer_cleared=batch.buffer_cleared,
            tasks=batch.tasks,
            tasks_done=batch.tasks_done,
            usage=batch.usage,
        )
        for hot in batch.runs.values():
            execution = hot.execution
            key = execution.key
            wake_at = self._wake_at(hot)
            rows.runs.append(
                RunRow(
                    key.run_id,
                    key.namespace_id,
                    key.workflow_id,
                    execution.status,
                    execution.next_event_id,
                    wake_at,
                    encode(execution.volatile),
                )
            )
            self._on_flushing(hot, wake_at)
        for run_id, events in batch.events.items():
            rows.history.append(
                HistoryRow(
                    run_id,
                    events[0].event_id,
                    events[-1].event_id,
                    History(events=events).SerializeToString(),
                )
            )
        rows.progress = {key: encode(progress) for key, progress in batch.progress.items()}
        rows.buffered = [
            (run_id, position, event.SerializeToString())
            for run_id, waiting in batch.buffered.items()
            for position, event in waiting
        ]
        rows.visibility = [self._visibility_row(hot) for hot in batch.visible.values()]
        rows.deleted_runs = [
            (hot.execution.key.namespace_id, hot.execution.key.workflow_id, hot.run_id)
            for hot in batch.deleted
        ]
        return rows

    @staticmethod
    def _wake_at(hot: HotRun) -> int:
        if hot.outstanding:
            return WAKE_AT_ONCE
        execution = hot.execution
        if execution.running:
            return machine.due_at(execution)
        return execution.close_time + hot.namespace.retention


def _write(rows: Rows, epoch: int, connection: Connection) -> None:
    write_rows(connection, rows, epoch)
