"""Bounds what goes on at one time, in number and in bytes, first come, first served."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import deque
from collections.abc import AsyncIterator


class Gate:
    """At most `count_max` at one time, of `bytes_max` together; one that is larger than that goes alone.

    For any number of event loops, each with bounds of its own: what waits belongs to a loop, and a driver may outlive one.
    """

    def __init__(self, count_max: int, bytes_max: int) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = weakref.WeakKeyDictionary()

    @contextlib.asynccontextmanager
    async def held(self, size: int) -> AsyncIterator[None]:
        """Wait for room for `size` bytes, and keep it while inside."""
        here = self._loops.setdefault(asyncio.get_running_loop(), _Loop())
        size = min(size, self._bytes_max)
        if here.waiting or not self._fits(here, size):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            here.waiting.append((size, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    # It was let in and cancelled in one moment: what was taken for it is given back.
                    self._leave(here, size)
                elif (size, turn) in here.waiting:
                    here.waiting.remove((size, turn))
                    self._admit(here)
                raise
        else:
            here.enter(size)
        try:
            yield
        finally:
            self._leave(here, size)

    def _fits(self, here: _Loop, size: int) -> bool:
        return here.count < self._count_max and here.bytes + size <= self._bytes_max

    def _leave(self, here: _Loop, size: int) -> None:
        here.count -= 1
        here.bytes -= size
        self._admit(here)

    def _admit(self, here: _Loop) -> None:
        while here.waiting and self._fits(here, here.waiting[0][0]):
            size, turn = here.waiting.popleft()
            if not turn.done():
                here.enter(size)
                turn.set_result(None)


class _Loop:
    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self.waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def enter(self, size: int) -> None:
        self.count += 1
        self.bytes += size
