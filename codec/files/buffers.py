"""Buffers that are used again, so that a transfer's memory is what it was given, whatever passes through."""

from __future__ import annotations

import asyncio


class Buffers:
    """At most `count` buffers of `size` bytes, made when they are first wanted. For one event loop."""

    def __init__(self, count: int, size: int) -> None:
        self._size = size
        self._free: asyncio.LifoQueue[bytearray | None] = asyncio.LifoQueue()
        for _ in range(count):
            self._free.put_nowait(None)

    async def take(self) -> bytearray:
        """A buffer with anything in it, once one is free."""
        buffer = await self._free.get()
        return bytearray(self._size) if buffer is None else buffer

    def give(self, buffer: bytearray) -> None:
        """Say that a buffer is not needed any more; nothing may read or write it after this."""
        self._free.put_nowait(buffer)
