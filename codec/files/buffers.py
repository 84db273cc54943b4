"""Buffers that are used again, so that a transfer's memory is what it was given, whatever passes through."""

from __future__ import annotations

import asyncio
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
        self._free: asyncio.LifoQueue[bytearray] = asyncio.LifoQueue()

    async def take(self) -> bytearray:
        """A buffer with anything in it, once one is free."""
        ready = self.take_ready()
        return await self._free.get() if ready is None else ready

    def take_ready(self) -> bytearray | None:
        """A buffer if one is free now."""
        if not self._free.empty():
            return self._free.get_nowait()
        if self._made == self._most or not self._may_make():
            return None
        self._made += 1
        return bytearray(self._size)

    def give(self, buffer: bytearray) -> None:
        """Say that a buffer is not needed any more; nothing may read or write it after this."""
        self._free.put_nowait(buffer)

    def close(self) -> None:
        """Give back to the budget what came from it; the buffers go with their transfer."""
        self._budget.give(self._borrowed)
        self._borrowed = 0

    def _may_make(self) -> bool:
        if self._made < self._least:
            return True
        if not self._budget.take(self._size):
            return False
        self._borrowed += self._size
        return True
