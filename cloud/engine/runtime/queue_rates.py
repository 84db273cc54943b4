"""How many tasks of a queue come and go per second, of late. Counting is an addition; the rest is done when somebody asks."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from cloud.engine.core.priority import LEVELS

WINDOW_NS = 30_000_000_000
"""Rates are of this last while (the real server's figure)."""

_MARKS_MAX = 8


class _Mark(NamedTuple):
    at: int
    added: tuple[int, ...]
    dispatched: tuple[int, ...]


class QueueRates:
    """Counts by priority level, and marks of what they were a while ago. Times are ns."""

    __slots__ = ("_marks", "added", "dispatched")

    def __init__(self, now: int) -> None:
        self.added = [0] * (LEVELS + 1)
        self.dispatched = [0] * (LEVELS + 1)
        self._marks: deque[_Mark] = deque(maxlen=_MARKS_MAX)
        self.mark(now)

    def mark(self, now: int) -> None:
        """Remember the counts as they are: to be called every few seconds."""
        mark = _Mark(now, tuple(self.added), tuple(self.dispatched))
        if len(self._marks) > 1 and self._marks[-1][1:] == self._marks[0][1:] == mark[1:]:
            self._marks.clear()  # nothing happened in all this time: one mark says it
        self._marks.append(mark)

    def rates(self, now: int) -> dict[int, tuple[float, float]]:
        """(tasks added, tasks dispatched) per second, by priority level, where any were."""
        since = self._marks[0]
        for mark in self._marks:
            if mark.at > now - WINDOW_NS:
                break
            since = mark
        seconds = max(now - since.at, 1) / 1e9
        return {
            level: (
                (self.added[level] - since.added[level]) / seconds,
                (self.dispatched[level] - since.dispatched[level]) / seconds,
            )
            for level in range(1, LEVELS + 1)
            if self.added[level] or self.dispatched[level]
        }

    def total(self, now: int) -> tuple[float, float]:
        """The same of all levels together."""
        rates = self.rates(now).values()
        return sum(added for added, _ in rates), sum(dispatched for _, dispatched in rates)
