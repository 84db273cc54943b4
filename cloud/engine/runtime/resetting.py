"""Resets a workflow: a new run in a copy of an earlier history, and the end of the run that was open.

The copy is made page by page, so that a long history holds nobody up. What does not fit the last transaction is written ahead under an
id that no run has yet, and is removed if it comes to nothing. All that others can see happens in one synchronous piece behind the last
await: the open run ends, the new one begins, and both are in the same transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.history.v1 import History, HistoryEvent

from cloud.engine.core import close, machine, reset, workflow_task
from cloud.engine.core.effects import UpdateVisibility
from cloud.engine.core.errors import Invalid
from cloud.engine.core.reset import EXCLUDABLE, Excluded
from cloud.engine.core.state import Execution, RunKey
from cloud.engine.core.turn import Turn
from cloud.engine.runtime.commits import Unflushed
from cloud.engine.runtime.errors import NoSuchRun
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.database import StoreUnavailable
from cloud.engine.store.reading import read_events, read_history_rows
from cloud.engine.store.rows import HistoryRow
from cloud.engine.store.turns import TooManyWaiting, Turns
from cloud.engine.store.writing import LeaseLost, copy_ahead, undo_copies

PAGE_BYTES = 1024 * 1024
"""A page of history that is read, and what of a copy waits for its last transaction."""

FOLD_EVENTS = 500
"""Events that are folded in one go; then others have their turn."""

ATTEMPTS_MAX = 20
"""How often what is read of a workflow that goes on meanwhile is read again."""

RESETS_MAX = 4
RESETS_PER_TENANT_MAX = 2
RESETS_WAITING_MAX = 100
"""Resets that copy at once, in all and of one namespace, since each may hold a history's worth of events; and how many of one wait."""

RESETTER = "history-resetter"

_CONTINUED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """What is asked for: go on from before event `finish_event_id`, the end of a workflow task.

    `operate` does what else is to be done to the new run, before its first workflow task; it may not refuse.
    """

    finish_event_id: int
    reason: str
    request_id: str
    excluded: Excluded
    operate: Callable[[Turn], None]


class TooManyResets(Exception):
    """So many resets of the namespace wait already that one more is not taken."""


@dataclass(slots=True)
class _After:
    """What came after the reset point, and is to come again: read up to event `seen` of `hot`."""

    hot: HotRun
    seen: int
    broken_off: bool = False  # the next run is not there any more
    events: list[HistoryEvent] = field(default_factory=list)
    size: int = 0

    def take(self, events: Sequence[HistoryEvent]) -> None:
        """Read on."""
        for event in events:
            self.seen = event.event_id
            if reset.comes_again(event):
                self.events.append(event)
                self.size += event.ByteSize()


class Resetting:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._turns = Turns(RESETS_MAX, per_tenant=RESETS_PER_TENANT_MAX, waiting_max=RESETS_WAITING_MAX)
        runtime.at_start(self._undo_copies)

    async def _undo_copies(self) -> None:
        epoch = self._runtime.lease.epoch
        await self._runtime.database.write(lambda c: undo_copies(c, epoch))

    async def reset(self, namespace: Namespace, workflow_id: str, run_id: str, wanted: Reset) -> HotRun:
        """Reset a run (the newest if none is named), once per request id. The new run, durable.

        Raises:
            NoSuchRun: it is not there.
            Invalid: there is no such point in it, or too much would come again.
            Unflushed: it did not become durable.
            TooManyResets: at once.
        """
        try:
            async with self._turns.of(namespace.namespace_id):
                return await self._reset_once(namespace, workflow_id, run_id, wanted)
        except TooManyWaiting:
            raise TooManyResets(
                f"{RESETS_WAITING_MAX} resets of this namespace wait already: try again later"
            ) from None

    async def _reset_once(self, namespace: Namespace, workflow_id: str, run_id: str, wanted: Reset) -> HotRun:
        self._runtime.runs.require_room(namespace.namespace_id)
        async with self._runtime.id_locks.held(namespace.namespace_id, workflow_id):
            base = await self._runtime.find(namespace, workflow_id, run_id)
            known = await self._made_before(base, wanted.request_id)
            if known is None:
                return await self._reset(namespace, base, wanted)
        await self._runtime.durable(known)
        return known

    async def _made_before(self, base: HotRun, request_id: str) -> HotRun | None:
        """The run that this very request made, whose reply was lost."""
        runtime, key = self._runtime, base.execution.key
        current = await runtime.runs.current(key.namespace_id, key.workflow_id)
        for run_id in {key.run_id, base.execution.volatile.reset_run_id, current.run_id if current else ""}:
            with contextlib.suppress(NoSuchRun):
                hot = await runtime.runs.get(run_id)
                if hot.execution.volatile.reset_request_id == request_id:
                    return hot
        return None

    async def _reset(self, namespace: Namespace, base: HotRun, wanted: Reset) -> HotRun:
        runtime = self._runtime
        if not 1 < wanted.finish_event_id < base.execution.next_event_id:
            raise Invalid("Workflow task finish ID must be > 1 && <= workflow last event ID.")
        await runtime.durable(base)
        copy = _Copy(runtime, base.execution.key, runtime.ids.run_id())
        hot = HotRun(copy.execution, namespace)
        try:
            await copy.make(wanted.finish_event_id - 1, hot)
            reset.check_point(copy.execution, wanted.finish_event_id)
            await self._publish(namespace, hot, copy, wanted)
        except BaseException:
            await asyncio.shield(copy.undo())
            raise
        try:
            await runtime.durable(hot)
        except Unflushed:
            await asyncio.shield(copy.undo())
            raise
        return hot

    # --- what others see ---

    async def _publish(self, namespace: Namespace, hot: HotRun, copy: _Copy, wanted: Reset) -> None:
        """End the open run and begin the new one; what both come to waits for the flush."""
        runtime, key = self._runtime, copy.base
        after: _After | None = None
        for _ in range(ATTEMPTS_MAX):
            base = await runtime.find(namespace, key.workflow_id, key.run_id)
            current = await self._current(namespace, key.workflow_id)
            open_one = current if current is not None and current.execution.running else None
            if after is None or after.hot.dropped:
                after = _After(base, wanted.finish_event_id - 1)
            await self._read_on(after, wanted)
            # From here on nothing is awaited: what is seen stays true.
            if base.dropped or after.hot.dropped or (current is not None and current.dropped):
                continue
            if open_one is not None and not open_one.execution.running:
                continue
            if not self._caught_up(after, wanted):
                continue
            self._check_size(copy, after)
            self._exchange(base, open_one, hot, copy, after, wanted)
            return
        raise Unflushed("the workflow goes on faster than it can be read; try again")

    async def _current(self, namespace: Namespace, workflow_id: str) -> HotRun | None:
        current = await self._runtime.runs.current(namespace.namespace_id, workflow_id)
        if current is None:
            return None
        with contextlib.suppress(NoSuchRun):
            return await self._runtime.runs.get(current.run_id)
        return None

    async def _read_on(self, after: _After, wanted: Reset) -> None:
        """Read what comes again, along the runs that followed by continue-as-new."""
        if EXCLUDABLE.issubset(wanted.excluded):
            return
        while True:
            hot = after.hot
            await self._runtime.durable(hot)
            last = hot.execution.next_event_id - 1
            while after.seen < last:
                page = hot.tail_from(after.seen + 1, last) or await self._page(
                    hot.run_id, after.seen + 1, last
                )
                if not page:
                    return  # deleted meanwhile
                after.take(page)
            following = self._following(after)
            if not following:
                return
            try:
                after.hot, after.seen = await self._runtime.runs.get(following), 0
            except NoSuchRun:
                after.broken_off = True
                return

    async def _page(self, run_id: str, first: int, last: int) -> list[HistoryEvent]:
        return await self._runtime.database.scan(
            lambda c: read_events(c, run_id, first, last, size_max=PAGE_BYTES)
        )

    @staticmethod
    def _following(after: _After) -> str:
        execution = after.hot.execution
        if execution.status != _CONTINUED or after.seen < execution.next_event_id - 1:
            return ""
        return execution.next_run_id

    def _caught_up(self, after: _After, wanted: Reset) -> bool:
        """Take what came since the last page, from memory. False if that does not do."""
        if EXCLUDABLE.issubset(wanted.excluded):
            return True
        hot = after.hot
        newer = hot.tail_from(after.seen + 1, hot.execution.next_event_id - 1)
        if newer is None:
            return False
        after.take(newer)
        return after.broken_off or not self._following(after)

    def _check_size(self, copy: _Copy, after: _After) -> None:
        limits, execution = self._runtime.limits, copy.execution
        if (
            execution.next_event_id + len(after.events) > limits.history_count_error
            or execution.history_size + after.size > limits.history_size_error
        ):
            raise Invalid(
                "the new run's history would exceed its limits with all that came after the reset point; "
                "exclude signals or updates, or reset to an earlier event"
            )

    def _exchange(
        self,
        base: HotRun,
        open_one: HotRun | None,
        hot: HotRun,
        copy: _Copy,
        after: _After,
        wanted: Reset,
    ) -> None:
        runtime = self._runtime
        events = after.events
        if not runtime.namespaces.serves(copy.base.namespace_id):
            raise Unflushed("the namespace is being deleted; try again")
        base.execution.volatile.reset_run_id = hot.run_id
        runtime.touch(base)
        if open_one is not None:
            with runtime.transition(open_one) as turn:
                open_one.execution.volatile.ended_by_reset = True  # its end depends on it
                close.terminate(turn, reason=wanted.reason, details=None, identity=RESETTER)
                if open_one is after.hot:
                    events = events + turn.events
        hot.execution.volatile.reset_request_id = wanted.request_id
        runtime.add_run(hot, base.execution.volatile.start_request_id)
        copy.finish()
        with runtime.transition(hot) as turn:
            hot.execution.volatile.start_request_id = base.execution.volatile.start_request_id
            reset.begin(turn, base_run_id=base.run_id, reason=wanted.reason)
            for event in events:
                reset.reapply(turn, event, wanted.excluded)
            wanted.operate(turn)
            workflow_task.schedule(turn)
            machine.take_over(turn)
            turn.ask(UpdateVisibility())
            turn.meter("reset_workflow")


class _Copy:
    """The first events of the run `base` under the id of another, and the state that they come to."""

    def __init__(self, runtime: Runtime, base: RunKey, run_id: str) -> None:
        self._runtime = runtime
        self.base = base
        self.execution = Execution(RunKey(base.namespace_id, base.workflow_id, run_id))
        self._waiting: list[HistoryRow] = []
        self._waiting_size = 0
        self._ahead = False

    async def make(self, last: int, hot: HotRun) -> None:
        """Copy up to event `last`; `hot` gets the newest events in its memory.

        Raises:
            NoSuchRun: the run was deleted meanwhile.
        """
        base, execution = self.base, self.execution
        while execution.next_event_id <= last:
            first = execution.next_event_id
            page = await self._runtime.database.scan(
                lambda c, first=first: read_history_rows(c, base.run_id, first, last, size_max=PAGE_BYTES)  # type: ignore[misc]
            )
            if not page or page[0][0].first_event_id != first:
                raise NoSuchRun.named(base.workflow_id, base.run_id)
            for row, events in page:
                await self._fold(events[: last + 1 - row.first_event_id], hot)
                self._add(row, events, last)
            if self._waiting_size > PAGE_BYTES:
                await self._write_ahead()

    async def _fold(self, events: Sequence[HistoryEvent], hot: HotRun) -> None:
        for at in range(0, len(events), FOLD_EVENTS):
            some = events[at : at + FOLD_EVENTS]
            machine.fold(self.execution, some)
            hot.tail.extend(some)
            if len(events) > FOLD_EVENTS:
                await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _add(self, row: HistoryRow, events: list[HistoryEvent], last: int) -> None:
        copied = row._replace(run_id=self.execution.key.run_id)
        if row.last_event_id > last:
            kept = events[: last + 1 - row.first_event_id]
            copied = copied._replace(last_event_id=last, events=History(events=kept).SerializeToString())
        self._waiting.append(copied)
        self._waiting_size += len(copied.events)

    async def _write_ahead(self) -> None:
        rows, epoch = self._waiting, self._runtime.lease.epoch
        first, self._ahead = not self._ahead, True
        self._waiting, self._waiting_size = [], 0
        run_id = self.execution.key.run_id
        await self._runtime.database.write(lambda c: copy_ahead(c, run_id, rows, first=first, epoch=epoch))

    def finish(self) -> None:
        """The rest of the copy goes with the open batch, in which its run begins."""
        batch = self._runtime.commits.touch()
        batch.copied_history.extend(self._waiting)
        if self._ahead:
            batch.copies_done.append(self.execution.key.run_id)

    async def undo(self) -> None:
        """Nothing came of it, unless its last transaction says so. What can't be removed now is, at the next start."""
        if not self._ahead:
            return
        run_id, epoch = self.execution.key.run_id, self._runtime.lease.epoch
        with contextlib.suppress(StoreUnavailable, LeaseLost):
            await self._runtime.database.write(lambda c: undo_copies(c, epoch, run_id))
