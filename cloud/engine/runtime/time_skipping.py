"""Skips time for tests: while nobody locks it, the cell's clock jumps over every wait in which there is nothing to do.

Something is to do while a batch is being written, a wake-up is being served, a run has work on other runs or calls out (Nexus), or a worker
has (or is to take) a task. Else the clock is set to the next moment at which something becomes due: of runs, of schedules, of a
test that sleeps. The lock is a counter, as in the SDKs' test servers, and work in progress counts as locks too: so an activity
that asks for time to be skipped lends the lock that it is itself. A server begins with one lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from dataclasses import dataclass, field

import structlog

from cloud.engine.core import standalone_activity, standalone_nexus, time_skipping
from cloud.engine.core.clock import LATEST, SECOND
from cloud.engine.runtime.clock import SkippableClock
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.database import StoreUnavailable
from cloud.engine.store.rows import Rows, StandaloneKind, StandaloneRow, decode_operation, decode_standalone

log = structlog.get_logger(__name__)

FURTHEST_NS = LATEST - 100 * 366 * 24 * 3600 * SECOND
"""Time is not skipped beyond this (the year 2162): what is due a long time later must still be a moment that can be stored."""

SLEEPS_MAX = 10_000
"""Tests that sleep at the same time."""

RETRY_S = 1.0


class Unbalanced(Exception):
    """More unlocks than locks."""


class TooManySleeps(Exception):
    """More sleep than are served."""


@dataclass(slots=True, eq=False)
class _Sleep:
    """A test that sleeps. `locks`: the clock is locked in the moment in which it wakes."""

    locks: bool
    woken: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class TimeSkipping:
    """Owns the lock and the one task that skips. Lives as long as the runtime."""

    def __init__(self, runtime: Runtime, clock: SkippableClock) -> None:
        self._runtime = runtime
        self._clock = clock
        self._locks = 1
        self._work: dict[str, int] = {}  # of runs that have any
        self._sleeps: list[tuple[int, int, _Sleep]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        runtime.accompany(self)

    # --- with the runtime ---

    async def start(self) -> None:
        """See :class:`Companion`."""
        for sleeper in self._clock.sleepers:
            sleeper.on_rest = self._changed.set
        self._task = asyncio.create_task(self._run(), name="time-skipping")

    async def stop(self) -> None:
        """See :class:`Companion`."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        for _, _, sleep in self._sleeps:
            sleep.woken.cancel()

    def flushed(self, rows: Rows) -> None:
        """See :class:`Companion`."""
        for row in rows.runs:
            hot = self._runtime.runs.in_memory(row.run_id)
            count = 0
            if hot is not None:
                count = hot.outstanding + len(hot.calls) + time_skipping.work_count(hot.execution)
            if count:
                self._work[row.run_id] = count
            else:
                self._work.pop(row.run_id, None)
        for kind, written in rows.standalone.items():
            for standalone in written.rows:
                if _is_at_work(kind, standalone):
                    self._work[standalone.run_id] = 1
                else:
                    self._work.pop(standalone.run_id, None)
            for run_id in written.deleted:
                self._work.pop(run_id, None)
        for _, _, run_id in rows.deleted_runs:
            self._work.pop(run_id, None)
        self._changed.set()

    def forget(self) -> None:
        """See :class:`Companion`. What is stored is what was judged last."""
        self._changed.set()

    # --- for tests ---

    @property
    def _held(self) -> int:
        return self._locks + sum(self._work.values())

    def lock(self) -> None:
        """Let time go at its own pace, until as many unlocks follow."""
        self._locks += 1

    def unlock(self) -> None:
        """Take one lock away; time is skipped once there is none.

        Raises:
            Unbalanced: there is none.
        """
        if self._held <= 0:
            raise Unbalanced("time skipping is not locked: there is nothing to unlock")
        self._locks -= 1
        self._changed.set()

    async def sleep(self, until: int) -> None:
        """Wait until the clock shows `until` (ns); time is only skipped if it is not locked.

        Raises:
            TooManySleeps: others do already.
        """
        await self._sleep(until, locks=False)

    async def unlock_and_sleep(self, until: int) -> None:
        """Take one lock away until the clock shows `until` (ns).

        Raises:
            Unbalanced: there is none.
            TooManySleeps: others sleep already.
        """
        self.unlock()
        try:
            sleep = self._begin_sleep(until, locks=True)
        except TooManySleeps:
            self.lock()
            raise
        await self._end_sleep(sleep)

    async def _sleep(self, until: int, *, locks: bool) -> None:
        await self._end_sleep(self._begin_sleep(until, locks=locks))

    def _begin_sleep(self, until: int, *, locks: bool) -> _Sleep:
        if len(self._sleeps) >= SLEEPS_MAX:
            raise TooManySleeps(f"{SLEEPS_MAX} calls sleep already: end some of them")
        sleep = _Sleep(locks)
        heapq.heappush(self._sleeps, (until, next(self._order), sleep))
        self._changed.set()
        return sleep

    async def _end_sleep(self, sleep: _Sleep) -> None:
        try:
            await sleep.woken
        except asyncio.CancelledError:
            if not sleep.woken.done() or sleep.woken.cancelled():
                # Its caller went away: the lock that it took away comes back at once.
                self._sleeps = [entry for entry in self._sleeps if entry[2] is not sleep]
                heapq.heapify(self._sleeps)
                if sleep.locks:
                    self.lock()
            raise

    # --- skipping ---

    async def _run(self) -> None:
        while True:
            try:
                await self._skip_as_it_goes()
            except StoreUnavailable as error:
                log.warning("time_not_skipped", reason=str(error))
            except Exception:
                log.exception("time_skipping_broke")
            await asyncio.sleep(RETRY_S)

    async def _skip_as_it_goes(self) -> None:
        while True:
            self._changed.clear()
            self._wake_sleeps()
            if self._held <= 0 and self._at_rest():
                moment = await self._next_moment()
                if self._changed.is_set():
                    continue  # something happened meanwhile: look again
                if self._clock.now() < moment <= FURTHEST_NS:
                    self._clock.skip_to(moment)
                    continue
            delay = None
            if self._sleeps:
                delay = max(self._sleeps[0][0] - self._clock.now(), 0) / SECOND
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), delay)

    def _wake_sleeps(self) -> None:
        now = self._clock.now()
        while self._sleeps and self._sleeps[0][0] <= now:
            _, _, sleep = heapq.heappop(self._sleeps)
            if sleep.locks:
                self.lock()
            if not sleep.woken.done():
                sleep.woken.set_result(None)

    def _at_rest(self) -> bool:
        commits = self._runtime.commits
        return (
            commits.flushing is None
            and commits.open.empty
            and all(sleeper.quiet for sleeper in self._clock.sleepers)
        )

    async def _next_moment(self) -> int:
        moments = [await sleeper.next_moment() for sleeper in self._clock.sleepers]
        if self._sleeps:
            moments.append(self._sleeps[0][0])
        return min((moment for moment in moments if moment), default=0)


def _is_at_work(kind: StandaloneKind, row: StandaloneRow) -> bool:
    """Whether a worker has, or is to take, something of a standalone execution."""
    if kind == StandaloneKind.ACTIVITY:
        return standalone_activity.with_workers(decode_standalone(row.state))
    return standalone_nexus.with_handler(decode_operation(row.state))
