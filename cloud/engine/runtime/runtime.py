"""The runtime of a native cell: it owns the runs in memory and every way in which they change.

A change is a *transition*: open a turn, let the core compute, commit. That is one synchronous piece of code, so transitions of a run never
interleave; whoever replies afterwards first waits until the batch is durable. After each await a run must be asked for again
or checked with `HotRun.dropped`.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import structlog
from temporalio.api.common.v1 import Payload

from cloud.engine.core import machine
from cloud.engine.core.callback import progress_key
from cloud.engine.core.clock import LATEST
from cloud.engine.core.effects import (
    CancelExternal,
    Meter,
    PropagateClose,
    SignalExternal,
    StartChild,
    UpdateVisibility,
)
from cloud.engine.core.errors import CoreDefect, CoreRefusal, Invalid
from cloud.engine.core.limits import Limits
from cloud.engine.core.state import WorkflowTask
from cloud.engine.core.turn import Ids, Surroundings, Turn
from cloud.engine.runtime import cron
from cloud.engine.runtime.clock import Clock
from cloud.engine.runtime.commits import Batch, CommitLoop, HeldUp, Unflushed
from cloud.engine.runtime.dynamic_config import DynamicConfig
from cloud.engine.runtime.errors import NoSuchRun
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.hot_runs import HotRuns
from cloud.engine.runtime.id_locks import IdLocks
from cloud.engine.runtime.lease import Lease
from cloud.engine.runtime.namespaces import Namespace, Namespaces
from cloud.engine.runtime.nexus_breakers import Breakers
from cloud.engine.runtime.nexus_endpoints import NexusEndpoints
from cloud.engine.runtime.nexus_tasks import NexusTasks
from cloud.engine.runtime.queries import Queries
from cloud.engine.runtime.routes import Routes
from cloud.engine.runtime.task_queues import TaskQueues
from cloud.engine.runtime.tokens import Tokens
from cloud.engine.runtime.visible import visibility_row
from cloud.engine.runtime.waits import Waits
from cloud.engine.runtime.wakeups import Wakeups
from cloud.engine.runtime.worker_registry import WorkerRegistry
from cloud.engine.runtime.workflow_rules import activity_rules_of
from cloud.engine.store import schema as s
from cloud.engine.store.database import Database, StoreUnavailable
from cloud.engine.store.deleting import delete_dead_tasks
from cloud.engine.store.reading import read_fact
from cloud.engine.store.rows import WORKFLOW_TASK, CurrentRun, Rows, UsageRow
from cloud.engine.store.visibility_filling import fill_page, is_filled
from cloud.engine.store.writing import check_epoch

log = structlog.get_logger(__name__)

_SERIALS_PER_EPOCH_BITS = 40
HOUSEKEEPING_INTERVAL_S = 5.0
DEAD_TASKS_INTERVAL_S = 600.0
HOLD_UP_NS = 300_000_000_000


class Companion(Protocol):
    """What keeps durable things of its own beside the runs, in the same batches. It lives as long as the runtime."""

    async def start(self) -> None:
        """Go, once the runtime has the lease."""

    async def stop(self) -> None:
        """Stop; what is queued will still be flushed."""

    def flushed(self, rows: Rows) -> None:
        """These rows are durable now."""

    def forget(self) -> None:
        """A flush failed: what is in memory may never become durable."""


class Runtime:
    """See the module's head. `start` takes the lease and recovers; `stop` flushes and releases it."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        ids: Ids,
        limits: Limits | None = None,
        dynamic_config: DynamicConfig | None = None,
        on_ended: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.database = database
        self.clock = clock
        self.ids = ids
        self.dynamic_config = dynamic_config or DynamicConfig()
        self.limits = self.dynamic_config.limits(limits or Limits())
        self.namespaces = Namespaces(database, self.limits)
        self.nexus_endpoints = NexusEndpoints(database)
        self.nexus_breakers = Breakers()
        self.nexus_callback_url = ""
        """Where services outside the cell tell how operations ended, ``{namespace}`` for the name; empty if they can't."""
        self.check_system_operation: Callable[[Namespace, str, str, Payload], None] | None = None
        """Checks a Nexus operation of the service itself, as `Surroundings.check_system_operation` does."""
        self._on_ended = on_ended
        self.lease = Lease(database, clock.real, self._end)
        self.waits = Waits()
        self.queues = TaskQueues(
            database, clock.real, lambda key: self.commits.unflushed_tasks(key), self.waits
        )
        self.routes = Routes()
        self.nexus_tasks = NexusTasks(self.queues, self.routes)
        self.queries = Queries()
        self.workers = WorkerRegistry(clock.real)
        self.wakeups = Wakeups(database, clock, self._wake)
        self.commits = CommitLoop(
            database,
            visibility_row=visibility_row,
            on_flushed=self._after_flush,
            on_failure=self._forget_all,
            on_culprits=self._hold_up,
            on_ended=self._end,
        )
        self.runs = HotRuns(database, self.namespaces, self.commits, self._after_load)
        self.waits.ended_by(self.runs.end_waits)
        self.tokens = Tokens(b"")
        self.cell_id = ""
        self._serial = 0
        self._ended = False
        self._around: dict[str, Surroundings] = {}
        self.id_locks = IdLocks()
        self._held_up: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._at_start: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._dispatchers: dict[type, Callable[[HotRun, Any], None]] = {}
        self._companions: list[Companion] = []
        self.expect_version: Callable[[Namespace, str], None] = lambda namespace, version: None
        """Told when a run is to be pinned to a version from outside."""

    # --- life ---

    def carry_out_with(self, effect: type, function: Callable[[HotRun, Any], None]) -> None:
        """Who carries an effect out (matching, transfers): told once, by composition."""
        self._dispatchers[effect] = function

    def at_start(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have `function` run once the runtime has started (work that a crash may have cut off)."""
        self._at_start.append(function)

    def accompany(self, companion: Companion) -> None:
        """Have `companion` start, stop and forget with the runtime."""
        self._companions.append(companion)

    async def start(self) -> None:
        """Take the lease (waiting for it if another holds it), load what is always in memory, and go."""
        epoch = await self.lease.take()
        self._serial = epoch << _SERIALS_PER_EPOCH_BITS
        self.tokens = Tokens(await self._fact("token_key", lambda: secrets.token_bytes(32)))
        self.cell_id = (await self._fact("cell_id", lambda: self.ids.request_id().encode())).decode()
        await self._fill_visibility()
        await self.namespaces.load()
        await self.queues.settings.load()
        await self.nexus_endpoints.load()
        self.commits.start(epoch)
        self.wakeups.start()
        self.spawn(self._housekeeping(), "housekeeping")
        for companion in self._companions:
            await companion.start()
        for function in self._at_start:
            await function()

    async def stop(self) -> None:
        """Stop taking on work, flush, give the lease back. Safe to call twice."""
        await self.wakeups.stop()
        for companion in self._companions:
            await companion.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.commits.stop()
        await self.lease.release()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run background work that ends with the runtime."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def settled(self, hot: HotRun) -> None:
        """Wait until the run owes nothing to other runs and all of it is durable."""
        while hot.transfers:
            await asyncio.wait(hot.transfers)
        await self.durable(hot)

    async def _fact(self, name: str, make: Callable[[], bytes]) -> bytes:
        def get_or_make(connection: Any) -> bytes:
            check_epoch(connection, self.lease.epoch)
            found = read_fact(connection, name)
            if found is None:
                found = make()
                connection.execute(s.cell_facts.insert().values(name=name, value=found))
            return found

        return await self.database.write(get_or_make)

    async def _fill_visibility(self) -> None:
        """Index what an older release wrote, once."""
        if await self.database.scan(is_filled):
            return
        after = ""
        while True:
            after = await self.database.write(
                lambda c, after=after: fill_page(c, after, self.lease.epoch)  # type: ignore[misc]
            )
            if not after:
                return

    async def _housekeeping(self) -> None:
        dead_tasks_at = time.monotonic() + DEAD_TASKS_INTERVAL_S
        while True:
            await asyncio.sleep(HOUSEKEEPING_INTERVAL_S)
            try:
                self.runs.shrink()
                self.queues.sweep()
                self.workers.sweep()
                now = self.clock.real.now()
                rested = [run_id for run_id, until in self._held_up.items() if until <= now]
                for run_id in rested:
                    del self._held_up[run_id]
                if rested:
                    self.queues.forget()  # their tasks were passed over
                if time.monotonic() >= dead_tasks_at:
                    dead_tasks_at = time.monotonic() + DEAD_TASKS_INTERVAL_S
                    await self._delete_dead_tasks()
            except StoreUnavailable as error:
                log.warning("housekeeping_delayed", reason=str(error))
            except Exception:
                log.exception("housekeeping_broke")

    async def _delete_dead_tasks(self) -> None:
        """Tasks of closed runs on queues that nobody polls any more (a dead worker's own) would stay for ever."""
        after = 0
        while True:
            after = await self.database.write(
                lambda c, after=after: delete_dead_tasks(c, after, self.lease.epoch)  # type: ignore[misc]
            )
            if not after:
                return

    def _end(self, reason: str) -> None:
        if not self._ended:
            self._ended = True
            self._on_ended(reason)

    def _hold_up(self, run_ids: set[str]) -> None:
        """These runs can't be stored as they would become: keep them from spoiling one batch after the other."""
        for run_id in run_ids:
            self._held_up[run_id] = self.clock.real.now() + HOLD_UP_NS

    # --- runs ---

    def serial(self) -> int:
        """A number above all earlier ones of this cell, across restarts."""
        self._serial += 1
        return self._serial

    async def find(self, namespace: Namespace, workflow_id: str, run_id: str = "") -> HotRun:
        """A run by its ids; the newest of its workflow id if no run is named.

        Raises:
            NoSuchRun: there is none, or it is of another workflow or namespace.
        """
        if not run_id:
            current = await self.runs.current(namespace.namespace_id, workflow_id)
            if current is None:
                raise NoSuchRun.newest_of(workflow_id)
            run_id = current.run_id
        try:
            hot = await self.runs.get(run_id)
        except NoSuchRun:
            raise NoSuchRun.named(workflow_id, run_id) from None
        key = hot.execution.key
        if key.namespace_id != namespace.namespace_id or (workflow_id and key.workflow_id != workflow_id):
            raise NoSuchRun.named(workflow_id, run_id)
        return hot

    def around(self, namespace: Namespace) -> Surroundings:
        """What the core may know of the world for runs of `namespace`."""
        found = self._around.get(namespace.namespace_id)
        if found is None:
            found = self._around[namespace.namespace_id] = Surroundings(
                namespace=namespace.name,
                namespace_id=namespace.namespace_id,
                limits=self.limits,
                ids=self.ids,
                next_cron_delay=cron.next_delay,
                polls=partial(self._polls, namespace.namespace_id),
                nexus_endpoint=partial(self._nexus_endpoint, namespace.namespace_id),
                check_system_operation=partial(self._check_system_operation, namespace),
                activity_rules=activity_rules_of(namespace),
                retention=namespace.retention,
            )
        return found

    def _nexus_endpoint(self, namespace_id: str, name: str) -> str:
        found = self.nexus_endpoints.for_caller(namespace_id, name)
        if found is None:
            raise Invalid(f'endpoint "{name}" not found')
        return found.endpoint_id

    def _check_system_operation(
        self, namespace: Namespace, service: str, operation: str, given: Payload
    ) -> None:
        if self.check_system_operation is None:
            raise Invalid(f'service "{service}" not found')
        self.check_system_operation(namespace, service, operation, given)

    def _polls(self, namespace_id: str, queue: str, version: str) -> bool:
        return self.routes.has(namespace_id, queue, WORKFLOW_TASK, version)

    # --- transitions ---

    @contextmanager
    def transition(self, hot: HotRun) -> Iterator[Turn]:
        """One transition of a run. What it changed is queued when the block ends; nothing is, if it refuses.

        Raises:
            Unflushed: the run is not in memory any more: ask for it again.
        """
        if hot.dropped or self._ended:
            raise Unflushed("the run was dropped from memory; try again")
        self.check_held_up(hot.run_id)
        was_open = hot.execution.running
        turn = machine.open_turn(hot.execution, self.clock.now(), self.around(hot.namespace))
        try:
            yield turn
        except BaseException as error:
            if turn.dirty:
                self.broke_off(hot.run_id, error)
                if isinstance(error, CoreRefusal):
                    raise CoreDefect(f"run {hot.run_id}: refused after it had changed something") from error
            raise
        if turn.dirty:
            try:
                machine.close_turn(turn)
                self._commit(hot, turn, closed=was_open and not hot.execution.running)
            except Unflushed:
                raise
            except Exception as error:
                self.broke_off(hot.run_id, error)
                raise

    def broke_off(self, run_id: str, error: BaseException) -> None:
        """A defect left the state of a run (or what has an id as runs do) half changed: nothing in memory is to be trusted."""
        log.error("transition_broke_off", run_id=run_id, exc_info=error)
        self._hold_up({run_id})  # the same again would drop everyone's changes again
        self.commits.abandon()

    def check_held_up(self, run_id: str) -> None:
        """Refuse a change of what could not be stored the last time (a run, or what has an id of its own as runs do).

        Raises:
            HeldUp: it rests.
        """
        if self._held_up and run_id in self._held_up:
            raise HeldUp("the run's last change could not be stored, by a defect: it rests for some minutes")

    async def durable(self, hot: HotRun) -> None:
        """Wait until all that the run went through is on disk.

        Raises:
            Unflushed: it never will be.
        """
        if hot.unflushed is not None:
            await asyncio.shield(hot.unflushed.durable)

    def touch(self, hot: HotRun) -> Batch:
        """Have the run's row written with the open batch."""
        batch = self.commits.touch()
        batch.runs[hot.run_id] = hot
        hot.unflushed = batch
        return batch

    def _commit(self, hot: HotRun, turn: Turn, *, closed: bool) -> None:
        execution, run_id = hot.execution, hot.run_id
        batch = self.touch(hot)
        execution.volatile.transitions += 1
        if turn.events:
            batch.events.setdefault(run_id, []).extend(turn.events)
            hot.tail.extend(turn.events)
            if not hot.warned:
                self._warn_of_size(hot)
        if turn.flushed:
            batch.buffer_cleared.add(run_id)
            batch.buffered[run_id] = [(self.serial(), event) for event in execution.buffered]
        elif turn.newly_buffered:
            batch.buffered.setdefault(run_id, []).extend(
                (self.serial(), event) for event in turn.newly_buffered
            )
        for event_id in turn.progressed:
            pending = execution.activities.get(event_id)
            if pending is None:
                batch.progress.pop((run_id, event_id), None)
            else:
                batch.progress[(run_id, event_id)] = pending.progress
                hot.has_progress_rows = True
        for key in turn.nexus_progressed:
            calls = machine.calls_of(execution, key)
            if calls is None:
                batch.nexus_progress.pop((run_id, key), None)
            else:
                batch.nexus_progress[(run_id, key)] = calls
                hot.has_nexus_rows = True
        if closed:
            self._closed(hot, batch)
        self.runs.weigh(hot)
        for effect in turn.effects:
            self._carry_out(hot, turn, batch, effect)

    def _warn_of_size(self, hot: HotRun) -> None:
        execution, limits = hot.execution, self.limits
        count, size = execution.next_event_id - 1, execution.history_size
        if count > limits.history_count_warn or size > limits.history_size_warn:
            hot.warned = True
            log.warning(
                "history_grows_large",
                namespace=hot.namespace.name,
                workflow_id=execution.key.workflow_id,
                run_id=hot.run_id,
                events=count,
                events_max=limits.history_count_error,
                bytes=size,
                bytes_max=limits.history_size_error,
            )

    def _closed(self, hot: HotRun, batch: Batch) -> None:
        execution, run_id = hot.execution, hot.run_id
        if hot.has_progress_rows:
            hot.has_progress_rows = False
            batch.progress_cleared.add(run_id)
            for progress in [progress for progress in batch.progress if progress[0] == run_id]:
                del batch.progress[progress]
        if hot.has_nexus_rows:
            hot.has_nexus_rows = False
            batch.nexus_progress_cleared.add(run_id)
            for calls in [calls for calls in batch.nexus_progress if calls[0] == run_id]:
                del batch.nexus_progress[calls]
            for index, callback in enumerate(execution.callbacks):  # of updates: called before the run closed
                if callback.progress.attempt:
                    hot.has_nexus_rows = True
                    batch.nexus_progress[(run_id, progress_key(index))] = callback.progress
        self.set_current(
            batch,
            CurrentRun(
                execution.key.namespace_id,
                execution.key.workflow_id,
                run_id,
                execution.started.first_execution_run_id,
                execution.status,
                execution.volatile.start_request_id,
                execution.start_time,
            ),
        )
        self.runs.closed(hot)

    def set_current(self, batch: Batch, current: CurrentRun) -> None:
        """A run becomes the newest of its workflow id, or changes its status."""
        batch.current_runs[(current.namespace_id, current.workflow_id)] = current
        self.runs.set_current(current)

    def _carry_out(self, hot: HotRun, turn: Turn, batch: Batch, effect: object) -> None:
        if isinstance(effect, Meter):
            key = hot.execution.key
            batch.usage.append(
                UsageRow(
                    self.serial(),
                    key.namespace_id,
                    turn.wall,
                    effect.kind,
                    effect.count,
                    hot.execution.started.workflow_type.name,
                    key.workflow_id,
                    key.run_id,
                )
            )
        elif isinstance(effect, UpdateVisibility):
            batch.visible.add(hot.run_id)
        else:
            self.carry_out(hot, effect)

    def carry_out(self, hot: HotRun, effect: object) -> None:
        """Hand an effect to who carries it out."""
        if isinstance(effect, StartChild | SignalExternal | CancelExternal | PropagateClose):
            hot.outstanding += 1
        self._dispatchers[type(effect)](hot, effect)

    def meter_query(self, namespace: Namespace, hot: HotRun) -> None:
        """Count a query. It changed nothing, so its caller does not wait for a write: a crash may lose a second's counts.

        Raises:
            Unflushed: nothing will be flushed any more.
        """
        key = hot.execution.key
        self.commits.count_later(
            UsageRow(
                self.serial(),
                namespace.namespace_id,
                self.clock.now(),
                "query_workflow",
                1,
                hot.execution.started.workflow_type.name,
                key.workflow_id,
                key.run_id,
            )
        )

    def add_run(self, hot: HotRun, request_id: str) -> None:
        """A new run enters memory and becomes the newest of its workflow id; its first transition follows at once.

        Raises:
            Unflushed: its namespace began to be deleted meanwhile.
        """
        key = hot.execution.key
        if not self.namespaces.serves(key.namespace_id):
            raise Unflushed("the namespace is being deleted; try again")
        self.runs.add(hot)
        self.set_current(
            self.touch(hot),
            CurrentRun(
                key.namespace_id,
                key.workflow_id,
                key.run_id,
                hot.execution.started.first_execution_run_id or key.run_id,
                hot.execution.status,
                request_id,
                self.clock.now(),
            ),
        )

    def delete(self, hot: HotRun) -> Batch:
        """Remove a closed run and all that is stored of it."""
        key = hot.execution.key
        batch = self.commits.touch()
        batch.deleted.append(hot)
        for by_run in (batch.runs, batch.events, batch.buffered):
            by_run.pop(hot.run_id, None)
        batch.visible.discard(hot.run_id)
        for progress in [progress for progress in batch.progress if progress[0] == hot.run_id]:
            del batch.progress[progress]
        for calls in [calls for calls in batch.nexus_progress if calls[0] == hot.run_id]:
            del batch.nexus_progress[calls]
        self.runs.remove(hot)
        pending = batch.current_runs.get((key.namespace_id, key.workflow_id))
        if pending is None or pending.run_id == hot.run_id:
            batch.current_runs.pop((key.namespace_id, key.workflow_id), None)
            self.runs.evict_current(key.namespace_id, key.workflow_id, hot.run_id)
        return batch

    # --- what happens around flushes, loads and wakes ---

    def _after_flush(self, batch: Batch, rows: Rows) -> None:
        for row in rows.runs:
            self.wakeups.note(row.run_id, row.wake_at)
        for companion in self._companions:
            companion.flushed(rows)
        for hot in batch.runs.values():
            hot.wake_watchers()
            if hot.updates and hot.unflushed is None:
                hot.updates.settle(hot)
                self.runs.weigh(hot)

    def _forget_all(self) -> None:
        self.runs.forget()
        self.queues.forget()
        self.wakeups.forget()
        for companion in self._companions:
            companion.forget()

    def _after_load(self, hot: HotRun) -> None:
        if hot.execution.workflow_task.speculative:
            # The updates that it was to bring went with the memory that held them.
            hot.execution.volatile.workflow_task = WorkflowTask()
        for effect in machine.outstanding(hot.execution):
            self.carry_out(hot, effect)

    async def _wake(self, run_id: str) -> None:
        try:
            hot = await self.runs.get(run_id)
        except NoSuchRun:
            return
        if not hot.execution.running:
            await self._wake_closed(hot)
            return
        with self.transition(hot) as turn:
            machine.fire_due(turn)
        if not hot.outstanding:
            self.wakeups.note(run_id, min(machine.due_at(hot.execution), LATEST))

    async def _wake_closed(self, hot: HotRun) -> None:
        if hot.outstanding or hot.calls:
            return  # when that is done its row says anew when to wake it
        if self.clock.now() >= machine.closed_at(hot.execution) + hot.namespace.retention:
            await self.durable(hot)
            self.delete(hot)
            return
        with self.transition(hot) as turn:
            machine.fire_due(turn)
        if not turn.dirty:
            self.touch(hot)  # its retention grew: the stored moment must not come up in every scan

    def refresh_namespace(self, namespace: Namespace) -> None:
        """A namespace's record changed: runs in memory see the new one."""
        self._around.pop(namespace.namespace_id, None)
        for hot in self.runs.of_namespace(namespace.namespace_id):
            hot.namespace = namespace
