"""Schedules of a native cell: one row each, read when something happens to it, written with the runs that it starts.

Nothing of a schedule stays in memory: it is read under its lock (from the store, or from a batch that is not there yet), changed,
and queued in the batch of the runs that it started. So a start and the schedule's knowledge of it are one transaction, and a flush
that fails leaves nothing behind to undo: `_Work.check` refuses to build on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Final

import structlog
from temporalio.api.common.v1 import Memo, Payloads, SearchAttributes
from temporalio.api.enums.v1 import WorkflowIdReusePolicy
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes
from temporalio.api.schedule.v1 import Schedule as Definition
from temporalio.api.schedule.v1 import SchedulePatch, ScheduleSpec
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from cloud.engine.core import cancellation, close, workflow_task
from cloud.engine.core.clock import SECOND, given
from cloud.engine.core.schedule import Outcome, Schedule, ScheduleState, Start, Started, outcome_of
from cloud.engine.core.schedule_spec import InvalidSpec, Spec
from cloud.engine.core.state import RUNNING
from cloud.engine.core.turn import Turn
from cloud.engine.runtime.close_events import close_event
from cloud.engine.runtime.commits import Batch, Unflushed
from cloud.engine.runtime.errors import NoSuchRun, NoSuchSchedule
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.namespaces import DEPRECATED, Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.starting import Starting, conflict_with_closed, started_attributes
from cloud.engine.runtime.time_zones import zone_of
from cloud.engine.runtime.visible import schedule_visibility_row
from cloud.engine.runtime.wakeups import Wakeups
from cloud.engine.store.reading import (
    read_due_schedules,
    read_events,
    read_next_due_schedule,
    read_schedule,
    read_schedules,
)
from cloud.engine.store.rows import (
    Rows,
    ScheduleRow,
    UsageRow,
    decode_schedule,
    encode,
    schedule_key,
    schedule_of_key,
)
from cloud.engine.store.search_attribute_values import encode as encode_attribute
from cloud.engine.store.search_attribute_values import indexed
from cloud.engine.store.visibility_attributes import DATETIME, KEYWORD

log = structlog.get_logger(__name__)

SCHEDULED_BY: Final = "TemporalScheduledById"
SCHEDULED_START_TIME: Final = "TemporalScheduledStartTime"

_LOCK: Final = "\0schedule:"
"""Before a schedule's id where workflow ids are locked: no workflow id has a NUL."""

_Reuse = WorkflowIdReusePolicy


class ScheduleExists(Exception):
    """The schedule's id is taken."""


class TokenMismatch(Exception):
    """The schedule was changed since the caller looked at it."""


class _Work:
    """A piece of work on one schedule, under its lock. `batch` is where it was found, if that is not durable yet."""

    def __init__(
        self,
        runtime: Runtime,
        namespace: Namespace,
        schedule_id: str,
        schedule: Schedule,
        batch: Batch | None,
    ) -> None:
        self._runtime = runtime
        self.namespace = namespace
        self.schedule_id = schedule_id
        self.schedule = schedule
        self._listed_paused: bool | None = schedule.defined.state.paused
        self._batch = batch

    def list_anew(self) -> None:
        """What lists find it by changed."""
        self._listed_paused = None

    def check(self) -> None:
        """To be called after an await, before a change: what was queued before may have been lost meanwhile.

        Raises:
            Unflushed: it was. Nothing may be built on it.
        """
        if self._batch is not None and self._batch.durable.done():
            self._batch.durable.result()

    def put(self) -> Batch:
        """Queue the schedule as it is now.

        Raises:
            Unflushed: it can't be: what it is built on is lost, it is held up, or its namespace is being deleted.
        """
        self.check()
        runtime, schedule, namespace = self._runtime, self.schedule, self.namespace
        key = schedule_key(namespace.namespace_id, self.schedule_id)
        runtime.check_held_up(key)
        if not runtime.namespaces.serves(namespace.namespace_id):
            raise Unflushed("the namespace is being deleted; try again")
        row = ScheduleRow(
            namespace.namespace_id,
            self.schedule_id,
            schedule.wake_at(runtime.clock.now()),
            schedule.defined.SerializeToString(),
            encode(schedule.state),
        )
        batch = runtime.commits.touch()
        batch.schedules[key] = row
        if self._listed_paused != schedule.defined.state.paused:
            batch.listed_schedules[key] = schedule_visibility_row(namespace, self.schedule_id, schedule)
            self._listed_paused = schedule.defined.state.paused
        self._batch = batch
        return batch

    def delete(self) -> Batch:
        """Queue its removal."""
        self.check()
        key = schedule_key(self.namespace.namespace_id, self.schedule_id)
        batch = self._batch = self._runtime.commits.touch()
        batch.schedules.pop(key, None)
        batch.listed_schedules.pop(key, None)
        batch.deleted_schedules.append(key)
        return batch

    def meter(self, kind: str, batch: Batch) -> None:
        """Count a call."""
        schedule = self.schedule
        batch.usage.append(
            UsageRow(
                self._runtime.serial(),
                self.namespace.namespace_id,
                self._runtime.clock.now(),
                kind,
                1,
                schedule.defined.action.start_workflow.workflow_type.name,
                self.schedule_id,
                schedule.state.key,
            )
        )

    async def durable(self) -> None:
        """Wait until all that was queued is on disk."""
        if self._batch is not None:
            await asyncio.shield(self._batch.durable)


class Schedules:
    """See the module's head."""

    def __init__(self, runtime: Runtime, starting: Starting) -> None:
        self._runtime = runtime
        self._starting = starting
        self._wakeups = Wakeups(
            runtime.database, runtime.clock, self._wake, read_due_schedules, read_next_due_schedule
        )
        runtime.accompany(self)

    # --- with the runtime ---

    async def start(self) -> None:
        """See :class:`Companion`."""
        self._wakeups.start()

    async def stop(self) -> None:
        """See :class:`Companion`."""
        await self._wakeups.stop()

    def flushed(self, rows: Rows) -> None:
        """See :class:`Companion`."""
        for key, row in rows.schedules.items():
            self._wakeups.note(key, row.wake_at)

    def forget(self) -> None:
        """See :class:`Companion`."""
        self._wakeups.forget()

    # --- for callers ---

    def compile(self, namespace: Namespace, schedule_id: str, spec: ScheduleSpec) -> Spec:
        """A canonical spec, ready to be asked.

        Raises:
            InvalidSpec: its time zone is unknown.
        """
        return Spec(spec, zone_of(spec), f"{namespace.namespace_id}-{schedule_id}")

    async def create(
        self,
        namespace: Namespace,
        schedule_id: str,
        defined: Definition,
        *,
        request_id: str,
        memo: Memo | None,
        search_attributes: SearchAttributes | None,
        patch: SchedulePatch | None,
    ) -> int:
        """Make a schedule (or find that this very request made it). Returns its conflict token.

        Raises:
            ScheduleExists: the id is taken.
        """
        runtime = self._runtime
        async with self._lock(namespace, schedule_id):
            found, batch = await self._newest(namespace, schedule_id)
            if found is not None:
                if found.state.create_request_id == request_id:
                    return found.state.conflict_token
                raise ScheduleExists(f'schedule "{schedule_id}" is already registered')
            now = runtime.clock.now()
            state = ScheduleState(runtime.ids.request_id(), now, request_id, processed_until=now)
            if memo is not None:
                state.memo = memo.SerializeToString()
            if search_attributes is not None:
                state.search_attributes = search_attributes.SerializeToString()
            schedule = Schedule(defined, state, self.compile(namespace, schedule_id, defined.spec))
            work = _Work(runtime, namespace, schedule_id, schedule, batch)
            work.list_anew()
            if patch is not None:
                schedule.patch(patch, now)
                schedule.elapse(now)
            work.meter("create_schedule", work.put())
            await self._advance(work)
        await work.durable()
        return 1

    async def describe(self, namespace: Namespace, schedule_id: str) -> Schedule:
        """A schedule as it is on disk, without the runs that have closed since.

        Raises:
            NoSuchSchedule: there is none.
        """
        found = await self._stored(namespace, schedule_id)
        if found is None:
            raise NoSuchSchedule(schedule_id)
        found.state.running = [each for each in found.state.running if await self._is_open(namespace, each)]
        return found

    async def page(self, namespace: Namespace, schedule_ids: Sequence[str]) -> dict[str, Schedule]:
        """Some schedules, by their ids; those that are gone are left out."""
        if not schedule_ids:
            return {}
        rows = await self._runtime.database.scan(
            lambda c: read_schedules(c, namespace.namespace_id, schedule_ids)
        )
        return {key: self._loaded(namespace, row) for key, row in rows.items()}

    async def update(
        self,
        namespace: Namespace,
        schedule_id: str,
        defined: Definition,
        *,
        request_id: str,
        conflict_token: int,
        memo: Memo | None,
        search_attributes: SearchAttributes | None,
    ) -> None:
        """Replace what a schedule does; memo and search attributes only where they are given.

        Raises:
            NoSuchSchedule: there is none.
            TokenMismatch: it is not the one that the caller saw.
        """
        async with self._working(namespace, schedule_id) as work:
            schedule, now = work.schedule, self._runtime.clock.now()
            if schedule.knows_request(request_id):
                return
            if conflict_token and conflict_token != schedule.state.conflict_token:
                raise TokenMismatch(
                    "mismatched conflict token: the schedule was changed meanwhile; describe it and update it anew"
                )
            schedule.elapse(now)
            schedule.update(defined, self.compile(namespace, schedule_id, defined.spec), now)
            if memo is not None:
                schedule.state.memo = memo.SerializeToString()
            if search_attributes is not None:
                schedule.state.search_attributes = search_attributes.SerializeToString()
            work.list_anew()
            work.meter("update_schedule", work.put())
            await self._advance(work)

    async def patch(
        self, namespace: Namespace, schedule_id: str, patch: SchedulePatch, *, request_id: str
    ) -> None:
        """Trigger, backfill, pause or unpause a schedule.

        Raises:
            NoSuchSchedule: there is none.
        """
        async with self._working(namespace, schedule_id) as work:
            schedule, now = work.schedule, self._runtime.clock.now()
            if schedule.knows_request(request_id):
                return
            schedule.elapse(now)
            schedule.patch(patch, now)
            schedule.elapse(now)
            work.meter("patch_schedule", work.put())
            await self._advance(work)

    async def delete(self, namespace: Namespace, schedule_id: str) -> None:
        """Remove a schedule; the runs that it started go on.

        Raises:
            NoSuchSchedule: there is none.
        """
        async with self._working(namespace, schedule_id) as work:
            work.meter("delete_schedule", work.delete())

    async def run_closed(self, hot: HotRun) -> None:
        """A chain of runs ended with `hot`: the schedule that started it, if one did, may go on."""
        schedule_id = await self._scheduler_of(hot)
        if not schedule_id:
            return
        outcome = outcome_of(await close_event(self._runtime, hot))
        try:
            async with self._working(hot.namespace, schedule_id) as work:
                first_run_id = hot.execution.started.first_execution_run_id
                if not work.schedule.knows_run(first_run_id):
                    return
                work.schedule.closed(first_run_id, outcome)
                await self._advance(work)
        except NoSuchSchedule:
            return

    # --- one schedule ---

    def _lock(self, namespace: Namespace, schedule_id: str) -> AbstractAsyncContextManager[None]:
        return self._runtime.id_locks.held(namespace.namespace_id, _LOCK + schedule_id)

    @asynccontextmanager
    async def _working(
        self, namespace: Namespace, schedule_id: str, *, answered: bool = True
    ) -> AsyncIterator[_Work]:
        """Work on a schedule; if somebody is to be `answered`, until it is durable."""
        async with self._lock(namespace, schedule_id):
            schedule, batch = await self._newest(namespace, schedule_id)
            if schedule is None:
                raise NoSuchSchedule(schedule_id)
            work = _Work(self._runtime, namespace, schedule_id, schedule, batch)
            yield work
        if answered:
            await work.durable()

    async def _newest(self, namespace: Namespace, schedule_id: str) -> tuple[Schedule | None, Batch | None]:
        """The schedule as it is, and the batch that it is in, if that is not durable yet. Under its lock only."""
        key = schedule_key(namespace.namespace_id, schedule_id)
        unflushed = self._runtime.commits.unflushed_schedule(key)
        if unflushed is None:
            return await self._stored(namespace, schedule_id), None
        batch, row = unflushed
        return None if row is None else self._loaded(namespace, row), batch

    async def _stored(self, namespace: Namespace, schedule_id: str) -> Schedule | None:
        row = await self._runtime.database.read(
            lambda c: read_schedule(c, namespace.namespace_id, schedule_id)
        )
        return None if row is None else self._loaded(namespace, row)

    def _loaded(self, namespace: Namespace, row: ScheduleRow) -> Schedule:
        defined, state = Definition.FromString(row.definition), decode_schedule(row.state)
        try:
            return Schedule(defined, state, self.compile(namespace, row.schedule_id, defined.spec))
        except InvalidSpec as error:  # a time zone that this machine does not know (any more)
            found = Schedule(defined, state, Spec(ScheduleSpec(), UTC, ""))
            found.spec_error = str(error)
            return found

    async def _wake(self, key: str) -> None:
        namespace_id, schedule_id = schedule_of_key(key)
        if not self._runtime.namespaces.serves(namespace_id):
            return
        namespace = self._runtime.namespaces.by_id(namespace_id)
        try:
            # Should the flush fail, the store is looked through anew: nobody has to wait for it.
            async with self._working(namespace, schedule_id, answered=False) as work:
                now = self._runtime.clock.now()
                if work.schedule.expired(now):
                    work.delete()
                    return
                work.schedule.elapse(now)
                await self._advance(work)
        except NoSuchSchedule:
            return

    async def _advance(self, work: _Work) -> None:
        """Carry out what the schedule plans, and queue it as it is then."""
        schedule = work.schedule
        if schedule.state.waiting:
            await self._look_after_runs(work)
        more = True
        while more:
            more = False
            plan = schedule.plan()
            for start in plan.starts:
                if not await self._start(work, start):
                    more = True
            for started in plan.terminate:
                await self._end(work, started, terminate=True)
            for started in plan.cancel:
                await self._end(work, started, terminate=False)
        work.put()

    async def _start(self, work: _Work, start: Start) -> bool:
        runtime, schedule, namespace = self._runtime, work.schedule, work.namespace
        if not schedule.may_start(start) or namespace.state == DEPRECATED:
            schedule.declined(start)
            return False
        workflow_id, request_id = schedule.workflow_id(start), schedule.request_id(start)
        manual = start.manual or schedule.defined.policies.keep_original_workflow_id
        reuse = (
            _Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
            if manual
            else _Reuse.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
        )
        async with runtime.id_locks.held(namespace.namespace_id, workflow_id):
            current = await runtime.runs.current(namespace.namespace_id, workflow_id)
            work.check()
            if current is not None and (current.status == RUNNING or conflict_with_closed(current, reuse)):
                log.info(
                    "schedule_start_declined",
                    namespace=namespace.name,
                    schedule_id=work.schedule_id,
                    workflow_id=workflow_id,
                    reason="the workflow id is in use",
                )
                schedule.declined(start)
                return False
            now = runtime.clock.now()
            info = schedule.defined.action.start_workflow
            try:
                hot = self._starting.begin(
                    namespace,
                    workflow_id,
                    runtime.ids.run_id(),
                    self._attributes(work, start, now),
                    request_id=request_id,
                    meter="start_workflow",
                    user_metadata=(
                        info.user_metadata.SerializeToString() if info.HasField("user_metadata") else b""
                    ),
                    then=_first_task,
                )
                schedule.started(start, workflow_id, hot.run_id, now)
                work.put()
            except BaseException:
                # The run must not become durable without the schedule's knowledge of it.
                runtime.commits.abandon()
                raise
        return True

    def _attributes(self, work: _Work, start: Start, now: int) -> WorkflowExecutionStartedEventAttributes:
        schedule, namespace = work.schedule, work.namespace
        info = schedule.defined.action.start_workflow
        request = StartWorkflowExecutionRequest(
            workflow_type=info.workflow_type,
            task_queue=info.task_queue,
            workflow_execution_timeout=given(info, "workflow_execution_timeout"),
            workflow_run_timeout=given(info, "workflow_run_timeout"),
            workflow_task_timeout=info.workflow_task_timeout,
            identity=f"temporal-scheduler-{namespace.name}-{work.schedule_id}",
        )
        for name in ("input", "retry_policy", "memo", "header", "priority", "search_attributes"):
            if info.HasField(name):
                getattr(request, name).CopyFrom(getattr(info, name))
        moment = f"{datetime.fromtimestamp(start.nominal // SECOND, UTC):%Y-%m-%dT%H:%M:%SZ}"
        attributes = request.search_attributes.indexed_fields
        attributes[SCHEDULED_START_TIME].CopyFrom(encode_attribute(moment, DATETIME))
        attributes[SCHEDULED_BY].CopyFrom(encode_attribute(work.schedule_id, KEYWORD))
        if schedule.hands_on(start):
            state = schedule.state
            if state.last_result:
                request.last_completion_result.CopyFrom(Payloads.FromString(state.last_result))
            if state.last_failure:
                request.continued_failure.CopyFrom(Failure.FromString(state.last_failure))
        return started_attributes(request, self._runtime.limits, now)

    # --- the runs of a schedule ---

    async def _scheduler_of(self, hot: HotRun) -> str:
        """The id of the schedule that says it started the chain that `hot` belongs to; empty for none."""
        started = hot.execution.started
        if SCHEDULED_BY not in started.search_attributes.indexed_fields:
            first = started.first_execution_run_id
            if first == hot.run_id:
                return ""
            # A run that continued as new may have left the attribute out: its first one tells.
            events = await self._runtime.database.read(lambda c: read_events(c, first, 1, 1, size_max=1))
            if not events:
                return ""
            started = events[0].workflow_execution_started_event_attributes
        return str((indexed(started.search_attributes, {}) or {}).get(SCHEDULED_BY, ""))

    async def _is_open(self, namespace: Namespace, started: Started) -> bool:
        current = await self._runtime.runs.current(namespace.namespace_id, started.workflow_id)
        return current is not None and current.status == RUNNING and current.first_run_id == started.run_id

    async def _look_after_runs(self, work: _Work) -> None:
        """What is decided hangs on the runs that are open: note those that have closed, or are gone, unheard."""
        schedule, runtime = work.schedule, self._runtime
        for started in list(schedule.state.running):
            if await self._is_open(work.namespace, started):
                continue
            outcome = Outcome(started.status)
            current = await runtime.runs.current(work.namespace.namespace_id, started.workflow_id)
            if current is not None and current.first_run_id == started.run_id:
                with suppress(NoSuchRun):
                    outcome = outcome_of(await close_event(runtime, await runtime.runs.get(current.run_id)))
            schedule.closed(started.run_id, outcome)

    async def _end(self, work: _Work, started: Started, *, terminate: bool) -> None:
        runtime, namespace = self._runtime, work.namespace
        identity = f"temporal-scheduler-{namespace.name}-{work.schedule_id}"
        try:
            hot = await runtime.find(namespace, started.workflow_id)
        except NoSuchRun:
            return
        work.check()
        if not hot.execution.running or hot.execution.started.first_execution_run_id != started.run_id:
            return
        with runtime.transition(hot) as turn:
            if terminate:
                close.terminate(
                    turn, reason="terminated by schedule overlap policy", details=None, identity=identity
                )
            else:
                cancellation.request(turn, reason="cancelled by schedule overlap policy", identity=identity)


def _first_task(turn: Turn) -> None:
    turn.meter("schedule_workflow")
    workflow_task.schedule(turn)
