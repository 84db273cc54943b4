"""Executions of a native cell that are no workflows: in memory while something happens to them, written with the batch of the runs.

A change is a *step*, as a run's is a transition: one synchronous piece of code, queued when it ends; whoever replies afterwards
waits until it is durable. What a step asks for (an offer to workers, a call of a handler) is begun in the same batch. Each kind says
what its steps are and what they ask for.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from cloud.engine.core.errors import CoreDefect, CoreRefusal
from cloud.engine.runtime.commits import Batch, Unflushed
from cloud.engine.runtime.errors import NoSuchRun
from cloud.engine.runtime.hot_standalone import HotStandalone
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.waits import give_up
from cloud.engine.runtime.wakeups import Wakeups
from cloud.engine.store.rows import Rows, StandaloneKind, StandaloneRow, UsageRow
from cloud.engine.store.standalone import STANDALONE

COUNT_MAX: Final = 4_096
BYTES_MAX: Final = 64 * 1024 * 1024
"""Of those of one kind in memory, serialized: a bound against large inputs and results, which counts do not give."""
ALL_BUSY_S: Final = 1.0
"""How long a search for some that may leave memory is not repeated if it found too few: it looks at all of them."""


class StepLike(Protocol):
    """What steps of all kinds share."""

    now: int
    dirty: bool
    relist: bool
    meters: list[str]


H = TypeVar("H", bound=HotStandalone[Any])
S = TypeVar("S", bound=StepLike)


class StandaloneExecutions(ABC, Generic[H, S]):
    """See the module's head."""

    KIND: ClassVar[StandaloneKind]

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._tables = STANDALONE[self.KIND]
        self._wakeups = Wakeups(runtime.database, runtime.clock, self._wake, self._tables.due)
        self._hot: OrderedDict[str, H] = OrderedDict()
        self._newest: dict[tuple[str, str], str] = {}  # of those in memory: (namespace id, id) -> run id
        self._bytes = 0
        self._generation = 0
        self._shrink_at = 0.0
        runtime.accompany(self)
        runtime.waits.ended_by(self._end_waits)

    # --- what a kind says of itself ---

    @abstractmethod
    def _loaded(self, row: StandaloneRow, request: bytes, namespace: Namespace) -> H:
        """What is stored of one, in memory again."""

    @abstractmethod
    def _missing(self, id_: str) -> NoSuchRun:
        """There is none of this id."""

    @abstractmethod
    def _step_of(self, hot: H) -> S:
        """A step of one, now."""

    @abstractmethod
    def _carry_out(self, hot: H, step: S) -> None:
        """What the step asks for."""

    @abstractmethod
    def _fire_due(self, step: S) -> None:
        """All that is due by now."""

    @abstractmethod
    def _terminate_to_delete(self, step: S) -> None:
        """It is to be deleted, and still open."""

    def _resume(self, hot: H) -> None:
        """What one that was just loaded has under way, begun again."""

    # --- with the runtime ---

    async def start(self) -> None:
        """See :class:`Companion`."""
        self._wakeups.start()

    async def stop(self) -> None:
        """See :class:`Companion`."""
        await self._wakeups.stop()

    def flushed(self, rows: Rows) -> None:
        """See :class:`Companion`."""
        written = rows.standalone.get(self.KIND)
        if written is None:
            return
        for row in written.rows:
            self._wakeups.note(row.run_id, row.wake_at)
            hot = self._hot.get(row.run_id)
            if hot is not None:
                hot.wake_watchers()
        if self._too_large and asyncio.get_running_loop().time() >= self._shrink_at:
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
        dropped = False
        for hot in list(self._hot.values()):
            if not self._too_large:
                break
            if not hot.busy:
                self._remove(hot)
                dropped = True
        self._generation += dropped
        if self._too_large:
            self._shrink_at = asyncio.get_running_loop().time() + ALL_BUSY_S

    @property
    def _too_large(self) -> bool:
        return len(self._hot) > COUNT_MAX or self._bytes > BYTES_MAX

    # --- memory ---

    def in_memory(self, run_id: str) -> H | None:
        """The execution of this run id if it is in memory."""
        return self._hot.get(run_id)

    def _add(self, hot: H) -> None:
        self._hot[hot.run_id] = hot
        self._measure(hot)

    def _measure(self, hot: H) -> None:
        if hot.run_id in self._hot:
            size = hot.measure()
            self._bytes += size - hot.size
            hot.size = size

    def _remove(self, hot: H) -> None:
        if self._hot.pop(hot.run_id, None) is not None:
            self._bytes -= hot.size
        key = (hot.namespace.namespace_id, hot.id)
        if self._newest.get(key) == hot.run_id:
            del self._newest[key]
        hot.drop()

    def lock(self, namespace: Namespace, id_: str) -> AbstractAsyncContextManager[None]:
        """Held while it is decided what becomes of an id. Before it stands what no workflow id has: a NUL."""
        return self._runtime.id_locks.held(namespace.namespace_id, f"\0{self.KIND.value}:{id_}")

    async def get(self, run_id: str) -> H:
        """The execution of this run id.

        Raises:
            NoSuchRun: there is none.
        """
        while True:
            hot = self._hot.get(run_id)
            if hot is not None:
                self._hot.move_to_end(run_id)
                return hot
            generation = self._generation
            found = await self._runtime.database.read(lambda c: self._tables.read(c, run_id))
            if generation != self._generation or run_id in self._hot:
                continue
            if found is None or self._leaving(run_id) is not None:
                raise self._missing(run_id)
            row, request = found
            if not self._runtime.namespaces.serves(row.namespace_id):
                raise self._missing(row.id)
            hot = self._loaded(row, request, self._runtime.namespaces.by_id(row.namespace_id))
            self._add(hot)
            self._resume(hot)

    async def newest(self, namespace: Namespace, id_: str) -> H | None:
        """The newest execution of an id, None if it has none."""
        key = (namespace.namespace_id, id_)
        while True:
            run_id = self._newest.get(key)
            if run_id is None:
                generation = self._generation
                run_id = await self._runtime.database.read(lambda c: self._tables.newest(c, *key))
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
            except NoSuchRun:
                continue  # deleted meanwhile
            if self._newest.setdefault(key, run_id) == run_id:
                return hot

    def _leaving(self, run_id: str) -> asyncio.Future[None] | None:
        """Until when the store still shows one that was deleted; None if it was not."""
        commits = self._runtime.commits
        for batch in (commits.open, commits.flushing):
            if batch is not None and run_id in batch.deleted_standalone:
                return batch.durable
        return None

    async def find(self, namespace: Namespace, id_: str, run_id: str = "") -> H:
        """An execution by its ids; the newest of its id if no run is named.

        Raises:
            NoSuchRun: there is none, or it is of another id or namespace.
        """
        if not run_id:
            newest = await self.newest(namespace, id_)
            if newest is None:
                raise self._missing(id_)
            newest.namespace = namespace  # as it is now
            return newest
        try:
            hot = await self.get(run_id)
        except NoSuchRun:
            raise self._missing(id_) from None
        if hot.namespace.namespace_id != namespace.namespace_id or hot.id != id_:
            raise self._missing(id_)
        hot.namespace = namespace
        return hot

    # --- steps ---

    def _require_served(self, namespace: Namespace) -> None:
        """Refuse to begin one in a namespace that began to be deleted meanwhile.

        Raises:
            Unflushed: it did.
        """
        if not self._runtime.namespaces.serves(namespace.namespace_id):
            raise Unflushed("the namespace is being deleted; try again")

    def _begin(self, hot: H, step: S) -> H:
        """A new one enters memory with its first step, under the lock of its id."""
        self._runtime.commits.touch().new_standalone.add(hot.run_id)
        self._add(hot)
        self._newest[(hot.namespace.namespace_id, hot.id)] = hot.run_id
        try:
            self._commit(hot, step)
        except Exception as error:
            self._runtime.broke_off(hot.run_id, error)
            raise
        return hot

    @contextmanager
    def step(self, hot: H) -> Iterator[S]:
        """One step of an execution. What it changed is queued when the block ends; nothing is, if it refuses.

        Raises:
            Unflushed: it is not in memory any more: ask for it again.
        """
        runtime = self._runtime
        if hot.dropped:
            raise Unflushed(f"the {self.KIND.value} was dropped from memory; try again")
        runtime.check_held_up(hot.run_id)
        step = self._step_of(hot)
        try:
            yield step
        except BaseException as error:
            if step.dirty:
                runtime.broke_off(hot.run_id, error)
                if isinstance(error, CoreRefusal):
                    raise CoreDefect(
                        f"{self.KIND.value} {hot.run_id}: refused after it had changed something"
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

    def _commit(self, hot: H, step: S) -> None:
        batch = self.touch(hot)
        hot.execution.state.transitions += 1
        self._measure(hot)
        if step.relist:
            batch.listed_standalone.add(hot.run_id)
        for kind in step.meters:
            batch.usage.append(
                UsageRow(
                    self._runtime.serial(),
                    hot.namespace.namespace_id,
                    step.now,
                    kind,
                    1,
                    hot.type_name,
                    hot.id,
                    hot.run_id,
                )
            )
        self._carry_out(hot, step)

    def touch(self, hot: H) -> Batch:
        """Have its row written with the open batch."""
        batch = self._runtime.commits.touch()
        batch.standalone[hot.run_id] = hot
        hot.unflushed = batch
        return batch

    async def delete(self, hot: H) -> None:
        """Remove an execution and all that is stored of it; one that is open is terminated first."""
        if not hot.execution.closed:
            with self.step(hot) as step:
                self._terminate_to_delete(step)
            await self.durable(hot)
        if hot.dropped:
            raise Unflushed(f"the {self.KIND.value} was dropped from memory; try again")
        batch = self._take_out(hot)
        await asyncio.shield(batch.durable)

    def _take_out(self, hot: H) -> Batch:
        batch = self._runtime.commits.touch()
        batch.standalone.pop(hot.run_id, None)
        batch.new_standalone.discard(hot.run_id)
        batch.listed_standalone.discard(hot.run_id)
        batch.deleted_standalone[hot.run_id] = self.KIND
        self._remove(hot)
        return batch

    async def durable(self, hot: H) -> None:
        """Wait until all that it went through is on disk.

        Raises:
            Unflushed: it never will be.
        """
        if hot.unflushed is not None:
            await asyncio.shield(hot.unflushed.durable)

    async def changed(self, hot: H, timeout_s: float) -> bool:
        """Wait until something of it became durable, or it left memory. False if the time is over."""
        return await self._runtime.waits.among(hot.watchers, asyncio.get_running_loop().time() + timeout_s)

    def _end_waits(self) -> None:
        for hot in self._hot.values():
            for watcher in list(hot.watchers):
                give_up(watcher)

    async def _wake(self, run_id: str) -> None:
        try:
            hot = await self.get(run_id)
        except NoSuchRun:
            return
        namespaces = self._runtime.namespaces
        if not namespaces.serves(hot.namespace.namespace_id):
            self._remove(hot)
            return
        hot.namespace = namespaces.by_id(hot.namespace.namespace_id)
        now = self._runtime.clock.now()
        if hot.execution.closed:
            if hot.calls:
                return  # when they are over its row says anew when to wake it
            if now >= hot.deleted_at:
                await self.delete(hot)
                return
            with self.step(hot) as step:
                self._fire_due(step)
                step.dirty = True  # its retention grew: the stored moment must not come up in every scan
            return
        with self.step(hot) as step:
            self._fire_due(step)
        self._wakeups.note(run_id, self._next_due(hot))

    @abstractmethod
    def _next_due(self, hot: H) -> int:
        """When an open one is to be woken next by its own time-outs (ns), 0 for never."""
