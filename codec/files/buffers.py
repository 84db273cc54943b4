"""Buffers that are used again, so that a transfer's memory is what it was given, whatever passes through."""

from __future__ import annotations

import asyncio
import mmap
import threading

SPARE_BYTES = 256 * 1024 * 1024
"""What all transfers of a store may take at one time above the least that each needs to move at all."""


class Budget:
    """Bytes that several transfers share, of any event loops and threads. Nobody waits for them: who gets none is slower."""

    def __init__(self, size: int = SPARE_BYTES) -> None:
        self._left = size
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        """What is not taken now."""
        return self._left

    def take(self, size: int) -> bool:
        """Whether there were so many bytes; they are the caller's then."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give(self, size: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._left += size


class Buffers:
    """Up to `most` buffers of `size` bytes, made when they are first wanted. For one event loop.

    The first `least` are always to be had, so that no transfer waits for another one; more of them if the budget has room.
    """

    def __init__(self, least: int, most: int, size: int, budget: Budget) -> None:
        self._least, self._most, self._size = least, most, size
        self._budget = budget
        self._made = 0
        self._borrowed = 0
        self._free: asyncio.LifoQueue[mmap.mmap | None] = asyncio.LifoQueue()

    async def take(self) -> mmap.mmap:
        """A buffer with anything in it, once one is free."""
        ready = self.take_ready()
        return ready if ready is not None else await self._free.get() or self._new()

    def take_ready(self) -> mmap.mmap | None:
        """A buffer if one is free now."""
        if not self._free.empty():
            return self._free.get_nowait() or self._new()
        if self._made == self._most or not self._may_make():
            return None
        self._made += 1
        return self._new()

    def give(self, buffer: mmap.mmap) -> None:
        """Say that a buffer is not needed any more; nothing may read or write it after this."""
        self._free.put_nowait(buffer)

    def part_with(self, buffer: mmap.mmap) -> None:
        """The same where somebody may still read it: it is left to them, and a new one may be made in its place."""
        self._free.put_nowait(None)

    def close(self) -> None:
        """Give back to the budget what came from it; the buffers go with their transfer."""
        self._budget.give(self._borrowed)
        self._borrowed = 0

    def _new(self) -> mmap.mmap:
        # Memory of its own, which takes nothing until it is written to and all of which goes back when it is let go.
        return mmap.mmap(-1, self._size)

    def _may_make(self) -> bool:
        if self._made < self._least:
            return True
        if not self._budget.take(self._size):
            return False
        self._borrowed += self._size
        return True
