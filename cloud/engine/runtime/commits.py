"""The commit loop: one writer, many transitions in one durable transaction.

While one batch is being flushed the next one fills, so the batch size follows the load without a delay timer. A reply leaves only
after its batch is on disk. A later transition may build on an earlier one that is not: should a flush fail, `on_failure` drops
all memory, and everyone who waits for this batch or a later one is told `Unflushed`. A batch that the database can't take
because of what is in it has its culprits named, so that the same runs do not spoil one batch after the other. A loop that can't
go on (the lease is lost, or a defect) says so by `on_ended`, which ends the process; it never just stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection
from temporalio.api.history.v1 import History, HistoryEvent

from cloud.engine.core import machine
from cloud.engine.core.clock import LATEST
from cloud.engine.core.state import ActivityProgress, CallbackProgress, NexusProgress
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.hot_standalone import HotStandalone
from cloud.engine.runtime.lease import LOST
from cloud.engine.store.database import Database, StoreBroken, StoreUnavailable
from cloud.engine.store.rows import (
    BatchOperationRow,
    BatchStepRow,
    CurrentRun,
    HistoryRow,
    Rows,
    RunRow,
    ScheduleRow,
    StandaloneKind,
    StandaloneRows,
    TaskRow,
    UsageRow,
    encode,
)
from cloud.engine.store.visibility import VisibilityRow
from cloud.engine.store.writing import LeaseLost, write_rows

log = structlog.get_logger(__name__)

FAILED_PAUSE_S = 0.2

LATER_S = 1.0
LATER_COUNT_MAX = 1_000
"""How long, and how many of them, counts that nobody waits for may wait for a batch that is written anyway."""

HISTORY_ROW_EVENTS_MAX = 500
"""A row of history is read whole: a long history that comes at once (an import) becomes several."""

WAKE_AT_ONCE = 1
"""A wake time in the past: the run has work on other runs outstanding, and recovery is to find it first."""


class Unflushed(Exception):
    """The batch did not become durable; what it held is forgotten."""


class HeldUp(Unflushed):
    """The run can't be stored as it would become, by a defect; it rests for some minutes."""


class _Unfreezable(Exception):
    """A run's state can't be made into rows: a defect."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"the state of run {run_id} can't be made into rows")
        self.run_id = run_id


@contextmanager
def _blaming(run_id: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _Unfreezable(run_id) from error


class _Undone(Exception):
    """Rolls a trial back."""


@dataclass(slots=True, eq=False)
class Batch:
    """What one flush will write. Runs are looked at when it begins: only their last state counts."""

    runs: dict[str, HotRun] = field(default_factory=dict)
    events: dict[str, list[HistoryEvent]] = field(default_factory=dict)
    current_runs: dict[tuple[str, str], CurrentRun] = field(default_factory=dict)
    progress: dict[tuple[str, int], ActivityProgress] = field(default_factory=dict)
    progress_cleared: set[str] = field(default_factory=set)
    nexus_progress: dict[tuple[str, int], NexusProgress | CallbackProgress] = field(default_factory=dict)
    nexus_progress_cleared: set[str] = field(default_factory=set)
    buffer_cleared: set[str] = field(default_factory=set)
    buffered: dict[str, list[tuple[int, HistoryEvent]]] = field(default_factory=dict)
    tasks: dict[int, TaskRow] = field(default_factory=dict)
    tasks_done: list[int] = field(default_factory=list)
    usage: list[UsageRow] = field(default_factory=list)
    visible: set[str] = field(default_factory=set)
    deleted: list[HotRun] = field(default_factory=list)
    schedules: dict[str, ScheduleRow] = field(default_factory=dict)
    listed_schedules: dict[str, VisibilityRow] = field(default_factory=dict)
    deleted_schedules: list[str] = field(default_factory=list)
    standalone: dict[str, HotStandalone[Any]] = field(default_factory=dict)
    new_standalone: set[str] = field(default_factory=set)
    listed_standalone: set[str] = field(default_factory=set)
    deleted_standalone: dict[str, StandaloneKind] = field(default_factory=dict)
    batch_operations: list[BatchOperationRow] = field(default_factory=list)
    batch_steps: dict[tuple[str, str], BatchStepRow] = field(default_factory=dict)
    copied_history: list[HistoryRow] = field(default_factory=list)
    copies_done: list[str] = field(default_factory=list)
    durable: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (
            self.runs
            or self.current_runs
            or self.tasks
            or self.tasks_done
            or self.usage
            or self.deleted
            or self.schedules
            or self.deleted_schedules
            or self.standalone
            or self.deleted_standalone
            or self.batch_operations
            or self.batch_steps
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
        on_flushed: Callable[[Batch, Rows], None],
        on_failure: Callable[[], None],
        on_culprits: Callable[[set[str]], None],
        on_ended: Callable[[str], None],
    ) -> None:
        self._database = database
        self._visibility_row = visibility_row
        self._on_flushed = on_flushed
        self._on_failure = on_failure
        self._on_culprits = on_culprits
        self._on_ended = on_ended
        self._changed = asyncio.Event()
        self._later: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended = False
        self.epoch = 0
        self.open = Batch()
        self.flushing: Batch | None = None

    def start(self, epoch: int) -> None:
        """Begin to flush under lease `epoch`."""
        self.epoch = epoch
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="commit-loop")

    async def stop(self) -> None:
        """Flush what is there, then stop. Whoever touches the open batch later is told that it is too late."""
        task = self._task
        if task is None:
            return
        while not task.done() and (not self.open.empty or self.flushing is not None):
            self._changed.set()
            durable = (self.flushing or self.open).durable
            await asyncio.wait({task, durable}, return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
        if self._later is not None:
            self._later.cancel()
        self._ended = True

    def touch(self) -> Batch:
        """The open batch, which will be flushed soon.

        Raises:
            Unflushed: nothing will be flushed any more.
        """
        if self._ended:
            raise Unflushed("this process writes nothing more; try again")
        self._changed.set()
        return self.open

    def count_later(self, usage: UsageRow) -> None:
        """Count what nobody waits to see counted: with the next batch, or within LATER_S of one of its own.

        Raises:
            Unflushed: nothing will be flushed any more.
        """
        if self._ended:
            raise Unflushed("this process writes nothing more; try again")
        self.open.usage.append(usage)
        if len(self.open.usage) >= LATER_COUNT_MAX:
            self._changed.set()
        elif self._later is None:
            self._later = asyncio.get_running_loop().call_later(LATER_S, self._flush_later)

    def _flush_later(self) -> None:
        self._later = None
        self._changed.set()

    def unflushed_tasks(self, key: tuple[str, str, int, str]) -> list[TaskRow]:
        """Tasks of a queue (namespace id, name, kind, version) that the store does not show yet."""
        batches = (self.flushing, self.open)
        return [
            row
            for batch in batches
            if batch is not None
            for row in batch.tasks.values()
            if (row.namespace_id, row.queue, row.kind, row.version) == key
        ]

    def unflushed_schedule(self, key: str) -> tuple[Batch, ScheduleRow | None] | None:
        """The batch that changes a schedule, which the store does not show yet, and its row (None: removed)."""
        for batch in (self.open, self.flushing):
            if batch is not None:
                if key in batch.schedules:
                    return batch, batch.schedules[key]
                if key in batch.deleted_schedules:
                    return batch, None
        return None

    async def _run(self) -> None:
        try:
            await self._flush_as_they_come()
        except LeaseLost as error:
            log.error("lease_lost", reason=str(error))
            self._end(LOST)
        except StoreBroken as error:
            log.error("store_broken", reason=str(error))
            self._end(str(error))
        except Exception:
            log.exception("commit_loop_broke")
            self._end("the commit loop broke off by a defect of this program (see the log)")

    def _end(self, reason: str) -> None:
        self._ended = True
        try:
            self._fail(self.flushing)
        finally:
            self._on_ended(reason)

    async def _flush_as_they_come(self) -> None:
        while True:
            await self._changed.wait()
            # Let everything that this turn of the loop woke join the batch.
            await asyncio.sleep(0)
            self._changed.clear()
            if self.open.empty:
                continue
            batch, self.open = self.open, Batch()
            self.flushing = batch
            rows = await self._write(batch)
            if rows is None:
                self._fail(batch)
                await asyncio.sleep(FAILED_PAUSE_S)  # a full disk stays full for a while
                continue
            self.flushing = None
            for hot in batch.runs.values():
                if hot.unflushed is batch:
                    hot.unflushed = None
            for standalone in batch.standalone.values():
                if standalone.unflushed is batch:
                    standalone.unflushed = None
            try:
                self._on_flushed(batch, rows)
            finally:
                batch.durable.set_result(None)

    async def _write(self, batch: Batch) -> Rows | None:
        """Make the batch durable. None if it is not, with the reason in the log and the culprits named."""
        try:
            rows = self._freeze(batch)
        except _Unfreezable as error:
            log.error("run_can_not_be_stored", run_id=error.run_id, exc_info=error.__cause__)
            self._on_culprits({error.run_id})
            return None
        try:
            await self._database.write(partial(_write, rows, self.epoch))
        except (LeaseLost, StoreBroken):
            raise
        except StoreUnavailable as error:
            log.error("flush_failed", reason=str(error))
            return None
        except Exception as error:
            culprits = await self._culprits_of(rows)
            log.error("batch_can_not_be_stored", run_ids=sorted(culprits), exc_info=error)
            self._on_culprits(culprits)
            return None
        return rows

    async def _culprits_of(self, rows: Rows) -> set[str]:
        """Runs whose rows the database can't take by themselves. Tried one by one, and never kept."""
        culprits = set()
        for run_id in rows.run_ids():
            try:
                await self._database.write(partial(_try, rows.of_run(run_id), self.epoch))
            except _Undone:
                continue
            except (LeaseLost, StoreBroken):
                raise
            except StoreUnavailable:
                break
            except Exception:
                culprits.add(run_id)
        return culprits

    def abandon(self) -> None:
        """A defect left a run's state in memory half changed: forget all that is not being flushed yet."""
        lost, self.open = self.open, Batch()
        self._on_failure()
        if not lost.durable.done():
            lost.durable.set_exception(Unflushed("a defect undid the change; try again"))
            lost.durable.exception()

    def _fail(self, batch: Batch | None) -> None:
        later, self.open, self.flushing = self.open, Batch(), None
        self._on_failure()
        for lost in (batch, later):
            if lost is not None and not lost.durable.done():
                lost.durable.set_exception(Unflushed("the change could not be made durable; try again"))
                lost.durable.exception()  # whether or not anyone waits

    def _freeze(self, batch: Batch) -> Rows:
        rows = Rows(
            current_runs=batch.current_runs,
            progress_cleared=batch.progress_cleared,
            nexus_progress_cleared=batch.nexus_progress_cleared,
            buffer_cleared=batch.buffer_cleared,
            tasks=batch.tasks,
            tasks_done=batch.tasks_done,
            usage=batch.usage,
            visibility=list(batch.listed_schedules.values()),
            schedules=batch.schedules,
            deleted_schedules=batch.deleted_schedules,
            batch_operations=batch.batch_operations,
            batch_steps=batch.batch_steps,
            history=batch.copied_history,
            copies_done=batch.copies_done,
        )
        for run_id, hot in batch.runs.items():
            with _blaming(run_id):
                rows.runs.append(_run_row(hot))
                if run_id in batch.visible:
                    rows.visibility.append(self._visibility_row(hot))
        for run_id, standalone in batch.standalone.items():
            with _blaming(run_id):
                written = rows.standalone.setdefault(standalone.KIND, StandaloneRows())
                written.rows.append(standalone.row())
                if run_id in batch.new_standalone:
                    written.requests[run_id] = standalone.execution.request.SerializeToString()
                if run_id in batch.listed_standalone:
                    rows.visibility.append(standalone.visibility_row())
        for run_id, kind in batch.deleted_standalone.items():
            rows.standalone.setdefault(kind, StandaloneRows()).deleted.append(run_id)
        for run_id, events in batch.events.items():
            with _blaming(run_id):
                for start in range(0, len(events), HISTORY_ROW_EVENTS_MAX):
                    row = events[start : start + HISTORY_ROW_EVENTS_MAX]
                    rows.history.append(
                        HistoryRow(
                            run_id,
                            row[0].event_id,
                            row[-1].event_id,
                            History(events=row).SerializeToString(),
                        )
                    )
        for (run_id, event_id), progress in batch.progress.items():
            with _blaming(run_id):
                rows.progress[(run_id, event_id)] = encode(progress)
        for (run_id, event_id), calls in batch.nexus_progress.items():
            with _blaming(run_id):
                rows.nexus_progress[(run_id, event_id)] = encode(calls)
        for run_id, waiting in batch.buffered.items():
            with _blaming(run_id):
                rows.buffered.extend(
                    (run_id, position, event.SerializeToString()) for position, event in waiting
                )
        rows.deleted_runs = [
            (hot.execution.key.namespace_id, hot.execution.key.workflow_id, hot.run_id)
            for hot in batch.deleted
        ]
        return rows


def _run_row(hot: HotRun) -> RunRow:
    execution = hot.execution
    key = execution.key
    return RunRow(
        key.run_id,
        key.namespace_id,
        key.workflow_id,
        execution.status,
        execution.next_event_id,
        _wake_at(hot),
        encode(execution.volatile),
    )


def _wake_at(hot: HotRun) -> int:
    execution = hot.execution
    if hot.outstanding or hot.calls:
        return WAKE_AT_ONCE
    if execution.running:
        return min(machine.due_at(execution), LATEST)
    deleted_at = min(machine.closed_at(execution) + hot.namespace.retention, LATEST)
    return min(machine.due_at(execution) or LATEST, deleted_at)


def _write(rows: Rows, epoch: int, connection: Connection) -> None:
    write_rows(connection, rows, epoch)


def _try(rows: Rows, epoch: int, connection: Connection) -> None:
    write_rows(connection, rows, epoch)
    raise _Undone
