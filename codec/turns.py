"""How much work a codec does on the event loop before everything else there has its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

BLOCKED_MAX_SECONDS = 0.005
"""The bounds in bytes that codecs have are chosen so that one call never holds up the event loop for longer."""

_T = TypeVar("_T")


class Turn:
    """One call's share of the event loop, in bytes of payload; what is more is done in threads.

    Payloads of one call come one after the other without a pause, so it is their sum that counts, and each counts
    `each` bytes besides its own for what is done whatever its size.
    """

    __slots__ = ("_bytes_max", "_each", "_left")

    def __init__(self, bytes_max: int, *, each: int) -> None:
        self._bytes_max = self._left = bytes_max
        self._each = each

    def has_room(self, size: int) -> bool:
        """Whether `take` would let `size` bytes be worked on here."""
        return size < self._left

    def take(self, size: int) -> bool:
        """Whether `size` bytes more may be worked on here; if not, the turn is over, and a thread's work begins the next."""
        if size < self._left:
            self._left -= size + self._each
            return True
        self._left = self._bytes_max
        return False

    async def run(self, size: int, work: Callable[..., _T], *arguments: object) -> _T:
        """Do `work`, here or in a thread."""
        return work(*arguments) if self.take(size) else await asyncio.to_thread(work, *arguments)
