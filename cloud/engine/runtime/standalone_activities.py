"""Standalone activities of a native cell: in memory while something happens to them, written with the batch of the runs.

A change is a *step*, as a run's is a transition: one synchronous piece of code, queued when it ends; whoever replies afterwards
waits until it is durable. What a step asks for (an offer to workers) is carried out in the same batch.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Final

from temporalio.api.workflowservice.v1 import StartActivityExecutionRequest

from cloud.engine.core import standalone_activity
from cloud.engine.core.errors import CoreDefect, CoreRefusal
from cloud.engine.core.standalone_activity import Step
from cloud.engine.core.standalone_state import Asked, StandaloneActivity
from cloud.engine.runtime.commits import Batch, Unflushed
from cloud.engine.runtime.errors import NoSuchActivity
from cloud.engine.runtime.hot_activity import HotActivity
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.wakeups import Wakeups
from cloud.engine.store.reading import read_activity, read_due_activities, read_newest_activity
from cloud.engine.store.rows import Rows, UsageRow, decode_standalone

ACTIVITIES_MAX: Final = 4_096
BYTES_MAX: Final = 64 * 1024 * 1024
"""Of those in memory, serialized: a bound against large inputs and results, which counts do not give."""

_LOCK: Final = "\0activity:"
"""Before an activity's id where workflow ids are locked: no workflow id has a NUL."""


class StandaloneActivities:
    """See the module's head. `offer` is told by composition: it gives the attempt that waits to a worker, or stores its task."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._wakeups = Wakeups(runtime.database, runtime.clock, self._wake, read_due_activities)
        self._hot: OrderedDict[str, HotActivity] = OrderedDict()
        self._newest: dict[
            tuple[str, str], str
        ] = {}  # of those in memory: (namespace id, activity id) -> run id
        self._bytes = 0
        self._generation = 0
        self.offer: Callable[[HotActivity], None] = lambda _: None
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
        for row in rows.activities:
            self._wakeups.note(row.run_id, row.wake_at)
            hot = self._hot.get(row.run_id)
            if hot is not None:
                hot.wake_watchers()
        if len(self._hot) > ACTIVITIES_MAX or self._bytes > BYTES_MAX:
            self._shrink()

    def forget(self) -> None:
        """See :class:`Companion`."""
        self._generation += 1
        dropped = list(self._hot.values())
        self._hot.clear()
        self._newest.clear()
        self._bytes = 0
        for hot in dropped:
            hot.drop()
        self._wakeups.forget()

    def _shrink(self) -> None:
        """Let go of those used longest ago; what is busy stays."""
        self._generation += 1
        for hot in list(self._hot.values()):
            if len(self._hot) <= ACTIVITIES_MAX and self._bytes <= BYTES_MAX:
                return
            if not hot.busy:
                self._remove(hot)

    # --- memory ---

    def _add(self, hot: HotActivity) -> None:
        self._hot[hot.run_id] = hot
        self._measure(hot)

    def _measure(self, hot: HotActivity) -> None:
        if hot.run_id in self._hot:
            size = hot.measure()
            self._bytes += size - hot.size
            hot.size = size

    def _remove(self, hot: HotActivity) -> None:
        if self._hot.pop(hot.run_id, None) is not None:
            self._bytes -= hot.size
        key = (hot.namespace.namespace_id, hot.activity_id)
        if self._newest.get(key) == hot.run_id:
            del self._newest[key]
        hot.drop()

    def lock(self, namespace: Namespace, activity_id: str) -> AbstractAsyncContextManager[None]:
        """Held while it is decided what becomes of an activity id."""
        return self._runtime.id_lock(namespace.namespace_id, _LOCK + activity_id)

    async def get(self, run_id: str) -> HotActivity:
        """The activity of this run id.

        Raises:
            NoSuchActivity: there is none.
        """
        while True:
            hot = self._hot.get(run_id)
            if hot is not None:
                self._hot.move_to_end(run_id)
                return hot
            generation = self._generation
            found = await self._runtime.database.read(lambda c: read_activity(c, run_id))
            if generation != self._generation or run_id in self._hot:
                continue
            if found is None or self._leaving(run_id) is not None:
                raise NoSuchActivity(run_id)
            row, serialized = found
            if not self._runtime.namespaces.serves(row.namespace_id):
                raise NoSuchActivity(row.activity_id)
            request = StartActivityExecutionRequest.FromString(serialized)
            activity = StandaloneActivity.of(run_id, request, decode_standalone(row.state))
            namespace = self._runtime.namespaces.by_id(row.namespace_id)
            self._add(HotActivity(activity, namespace, row.number, len(serialized)))

    async def newest(self, namespace: Namespace, activity_id: str) -> HotActivity | None:
        """The newest activity of an id, None if it has none."""
        key = (namespace.namespace_id, activity_id)
        while True:
            run_id = self._newest.get(key)
            if run_id is None:
                generation = self._generation
                run_id = await self._runtime.database.read(lambda c: read_newest_activity(c, *key))
                if generation != self._generation or key in self._newest:
                    continue
                if run_id is None:
                    return None
                leaving = self._leaving(run_id)
                if leaving is not None:
                    await asyncio.wait([leaving])  # then the store shows which one it is
                    continue
            try:
                hot = await self.get(run_id)
            except NoSuchActivity:
                continue  # deleted meanwhile
            if self._newest.setdefault(key, run_id) == run_id:
                return hot

    def _leaving(self, run_id: str) -> asyncio.Future[None] | None:
        """Until when the store still shows an activity that was deleted; None if it was not."""
        commits = self._runtime.commits
        for batch in (commits.open, commits.flushing):
            if batch is not None and run_id in batch.deleted_activities:
                return batch.durable
        return None

    async def find(self, namespace: Namespace, activity_id: str, run_id: str = "") -> HotActivity:
        """An activity by its ids; the newest of its id if no run is named.

        Raises:
            NoSuchActivity: there is none, or it is of another id or namespace.
        """
        if not run_id:
            newest = await self.newest(namespace, activity_id)
            if newest is None:
                raise NoSuchActivity(activity_id)
            newest.namespace = namespace  # as it is now
            return newest
        try:
            hot = await self.get(run_id)
        except NoSuchActivity:
            raise NoSuchActivity(activity_id) from None
        if hot.namespace.namespace_id != namespace.namespace_id or hot.activity_id != activity_id:
            raise NoSuchActivity(activity_id)
        hot.namespace = namespace
        return hot

    # --- steps ---

    def begin(self, namespace: Namespace, request: StartActivityExecutionRequest) -> HotActivity:
        """Start one, under the lock of its id. `request` is checked and settled, and belongs to the activity from now on.

        Raises:
            Unflushed: its namespace began to be deleted meanwhile.
        """
        runtime = self._runtime
        if not runtime.namespaces.serves(namespace.namespace_id):
            raise Unflushed("the namespace is being deleted; try again")
        step = standalone_activity.begin(runtime.ids.run_id(), request, runtime.clock.now())
        hot = HotActivity(step.activity, namespace, runtime.serial(), request.ByteSize())
        batch = runtime.commits.touch()
        batch.new_activities[hot.run_id] = hot
        self._add(hot)
        self._newest[(namespace.namespace_id, hot.activity_id)] = hot.run_id
        try:
            self._commit(hot, step)
        except Exception as error:
            runtime.broke_off(hot.run_id, error)
            raise
        return hot

    @contextmanager
    def step(self, hot: HotActivity) -> Iterator[Step]:
        """One step of an activity. What it changed is queued when the block ends; nothing is, if it refuses.

        Raises:
            Unflushed: the activity is not in memory any more: ask for it again.
        """
        runtime = self._runtime
        if hot.dropped:
            raise Unflushed("the activity was dropped from memory; try again")
        runtime.check_held_up(hot.run_id)
        step = Step(hot.activity, runtime.clock.now(), runtime.limits.activity_failure_size)
        try:
            yield step
        except BaseException as error:
            if step.dirty:
                runtime.broke_off(hot.run_id, error)
                if isinstance(error, CoreRefusal):
                    raise CoreDefect(
                        f"activity {hot.run_id}: refused after it had changed something"
                    ) from error
            raise
        if step.dirty:
            try:
                self._commit(hot, step)
            except Unflushed:
                raise
            except Exception as error:
                runtime.broke_off(hot.run_id, error)
                raise

    def _commit(self, hot: HotActivity, step: Step) -> None:
        runtime = self._runtime
        batch = runtime.commits.touch()
        batch.activities[hot.run_id] = hot
        hot.unflushed = batch
        hot.activity.state.transitions += 1
        self._measure(hot)
        if step.relist:
            batch.listed_activities.add(hot.run_id)
        for kind in step.meters:
            batch.usage.append(
                UsageRow(
                    runtime.serial(),
                    hot.namespace.namespace_id,
                    step.now,
                    kind,
                    1,
                    hot.activity.request.activity_type.name,
                    hot.activity_id,
                    hot.run_id,
                )
            )
        if step.offer:
            self.offer(hot)

    async def delete(self, hot: HotActivity) -> None:
        """Remove an activity and all that is stored of it; one that is open is terminated first."""
        if not hot.activity.closed:
            with self.step(hot) as step:
                standalone_activity.terminate(step, Asked(step.now, reason="Delete activity execution"))
            await self.durable(hot)
        if hot.dropped:
            raise Unflushed("the activity was dropped from memory; try again")
        batch = self._take_out(hot)
        await asyncio.shield(batch.durable)

    def _take_out(self, hot: HotActivity) -> Batch:
        batch = self._runtime.commits.touch()
        batch.activities.pop(hot.run_id, None)
        batch.new_activities.pop(hot.run_id, None)
        batch.listed_activities.discard(hot.run_id)
        batch.deleted_activities.add(hot.run_id)
        self._remove(hot)
        return batch

    async def durable(self, hot: HotActivity) -> None:
        """Wait until all that the activity went through is on disk.

        Raises:
            Unflushed: it never will be.
        """
        if hot.unflushed is not None:
            await asyncio.shield(hot.unflushed.durable)

    async def changed(self, hot: HotActivity, timeout_s: float) -> bool:
        """Wait until something of it became durable, or it left memory. False if the time is over."""
        watcher: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        hot.watchers.add(watcher)
        timer = asyncio.get_running_loop().call_later(timeout_s, _give_up, watcher)
        try:
            return await watcher
        finally:
            timer.cancel()
            hot.watchers.discard(watcher)

    async def _wake(self, run_id: str) -> None:
        try:
            hot = await self.get(run_id)
        except NoSuchActivity:
            return
        namespaces = self._runtime.namespaces
        if not namespaces.serves(hot.namespace.namespace_id):
            self._remove(hot)
            return
        hot.namespace = namespaces.by_id(hot.namespace.namespace_id)
        now = self._runtime.clock.now()
        if hot.activity.closed:
            if now >= hot.activity.state.close_time + hot.namespace.retention:
                await self.delete(hot)
            else:
                with self.step(hot) as step:
                    step.dirty = True  # its retention grew: the stored moment must not come up in every scan
            return
        with self.step(hot) as step:
            standalone_activity.fire_due(step)
        self._wakeups.note(run_id, standalone_activity.due_at(hot.activity))


def _give_up(watcher: asyncio.Future[bool]) -> None:
    if not watcher.done():
        watcher.set_result(False)
