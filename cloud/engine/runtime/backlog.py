"""The part of a queue's stored tasks that is in memory: the first of them, in the order in which workers get them.

Whatever has a place up to `upto` is here; what comes behind it is in the store alone, until it is read. Once all that is stored is here
(`whole`), what comes is added to it. A page too many is given back to the store, its end first.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from cloud.engine.runtime.fairness import Passes
from cloud.engine.store.rows import TaskRow, level_of, pass_of

PAGE_TASKS_MAX = 1_000
"""Stored tasks of one queue that are read at once; up to twice as many are in memory."""

Place = tuple[int, int]
"""(order key, task id)."""

_FIRST: Place = (0, 0)


class Backlog:
    """See the module's head. Sans-IO: the caller reads the store between `begin_load` and `end_load`."""

    __slots__ = ("_arrived", "_heap", "_passes", "asked", "generation", "upto", "whole")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, TaskRow]] = []
        self._arrived: list[TaskRow] | None = None  # while the store is read
        self._passes: dict[int, Passes] = {}
        self.whole = False
        self.asked = False  # whether the store was ever read since all was forgotten
        self.upto = _FIRST
        self.generation = 0

    def __len__(self) -> int:
        return len(self._heap)

    def __bool__(self) -> bool:
        """Whether tasks wait, as far as is known: what was not read may hold some."""
        return bool(self._heap) or not self.whole

    @property
    def head(self) -> TaskRow | None:
        """The first task, if one is in memory."""
        return self._heap[0][2] if self._heap else None

    @property
    def must_load(self) -> bool:
        """Whether only the store can say if a task waits."""
        return not self._heap and not self.whole

    # --- tasks come and go ---

    def next_pass(self, level: int, key: str, stride: int, task_id: int) -> int:
        """The pass of a task that comes. Before the store was read it stands behind all that an earlier process stored."""
        passes = self._passes.get(level)
        if passes is None:
            passes = self._passes[level] = Passes(task_id)
        return passes.next(key, stride)

    def put(self, row: TaskRow) -> None:
        """A task was stored (in the open batch)."""
        place = (row.order_key, row.task_id)
        if self.whole or place <= self.upto:
            heapq.heappush(self._heap, (*place, row))
            if len(self._heap) > 2 * PAGE_TASKS_MAX:
                self._shrink()
        elif self._arrived is not None:
            self._arrived.append(row)

    def take(self) -> TaskRow | None:
        """The first task, if one is in memory."""
        if not self._heap:
            return None
        row = heapq.heappop(self._heap)[2]
        if self.whole and not self._heap:
            self._passes.clear()  # nobody waits: nobody is ahead or behind
        else:
            passes = self._passes.get(level_of(row.order_key))
            if passes is not None:
                passes.served = max(passes.served, pass_of(row.order_key))
        return row

    def put_back(self, row: TaskRow) -> None:
        """A task that was taken could not be looked at: it is the first again."""
        heapq.heappush(self._heap, (row.order_key, row.task_id, row))

    def forget(self) -> None:
        """What is stored is not known any more."""
        self._heap.clear()
        self._passes.clear()
        self.whole = self.asked = False
        self.upto = _FIRST
        self.generation += 1

    def _shrink(self) -> None:
        self._heap.sort()
        del self._heap[PAGE_TASKS_MAX:]
        self.whole = False
        self.upto = self._heap[-1][:2]

    # --- reading the store ---

    def begin_load(self) -> Place:
        """The store is about to be read behind the place that is returned."""
        self._arrived = []
        return self.upto

    def load_failed(self) -> None:
        """It could not be read."""
        self._arrived = None

    def end_load(
        self,
        rows: list[TaskRow],
        waiting: Iterable[TaskRow],
        last_passes: Iterable[tuple[int, str, int]],
    ) -> None:
        """The store gave `rows`, a page or all that there is; `waiting` was being flushed when it was asked.

        `last_passes` (level, fairness key, pass) tells of all that is stored, the first time.
        """
        arrived, self._arrived = self._arrived or [], None
        unread = {row.task_id: row for row in (*waiting, *arrived)} | {row.task_id: row for row in rows}
        found = sorted((row.order_key, row.task_id, row) for row in unread.values())
        full = len(rows) >= PAGE_TASKS_MAX
        last = (rows[-1].order_key, rows[-1].task_id) if full else _FIRST
        for entry in found:
            if entry[:2] > self.upto and not (full and entry[:2] > last):
                heapq.heappush(self._heap, entry)
        if full:
            self.upto = max(self.upto, last)
        else:
            self.whole = True
        if not self.asked:
            self.asked = True
            self._learn(last_passes)

    def _learn(self, last_passes: Iterable[tuple[int, str, int]]) -> None:
        """Go on where the passes of what is stored are, so that a restart turns no order round."""
        last_passes = list(last_passes)
        for order_key, _, row in sorted(self._heap, reverse=True):
            level, at = level_of(order_key), pass_of(order_key)
            passes = self._passes.get(level)
            if passes is None:
                passes = self._passes[level] = Passes(at)
            passes.served = min(passes.served, at)
            passes.note(row.fairness_key, at)
        for level, key, at in last_passes:
            if level in self._passes:
                self._passes[level].note(key, at)
