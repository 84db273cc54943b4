"""Waits for a caller's sake: polls, and readers of what is still to come. When the cell leaves they end, as at the end of their time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class Waits:
    """Ends all of them at once. What waits is known to who lets it wait: the queues, the runs."""

    def __init__(self) -> None:
        self.over = False
        """The cell leaves: nothing waits any more."""
        self._ends: list[Callable[[], None]] = []

    def ended_by(self, end: Callable[[], None]) -> None:
        """Have `end` end the waits that somebody knows of."""
        self._ends.append(end)

    def end(self) -> None:
        """End them all, and those that would still begin. Safe to call twice."""
        self.over = True
        for end in self._ends:
            end()

    async def among(self, watchers: set[asyncio.Future[bool]], ends_at: float) -> bool:
        """Wait among `watchers` to be woken. False if the time (of the event loop) is over, or the cell leaves."""
        if self.over:
            return False
        loop = asyncio.get_running_loop()
        watcher: asyncio.Future[bool] = loop.create_future()
        watchers.add(watcher)
        timer = loop.call_at(ends_at, give_up, watcher)
        try:
            return await watcher
        finally:
            timer.cancel()
            watchers.discard(watcher)


def give_up(watcher: asyncio.Future[Any]) -> None:
    """The time is over: what waits gets something false."""
    if not watcher.done():
        watcher.set_result(False)
