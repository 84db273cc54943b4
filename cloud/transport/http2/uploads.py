"""How much of requests is kept: of those that are not whole yet, and of large ones that wait for their answer.

All calls of a connection may send on, until GENEROUS_SHARE of its bound waits together; from there only the oldest is
given more window, so that one after the other gets through, and what windows were given already bounds the rest.
Beyond its own bound, or beyond the budget that it shares with the other connections, calls are refused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from cloud.transport.http2.streams import Stream

GENEROUS_SHARE = 0.5


class Budget:
    """What all connections of a server together may keep."""

    __slots__ = ("bytes_max", "kept_bytes")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.kept_bytes = 0


class Uploads:
    """The requests of one connection that are kept, the unfinished ones by age.

    `bytes_max` bounds the unfinished ones, and `held_bytes_max` what else is kept.
    """

    __slots__ = (
        "_budget",
        "_bytes_max",
        "_consumed",
        "_held_bytes_max",
        "_kept",
        "_withheld",
        "held_bytes",
        "kept_bytes",
    )

    def __init__(
        self, bytes_max: int, held_bytes_max: int, budget: Budget, consumed: Callable[[Stream, int], None]
    ) -> None:
        self._bytes_max = bytes_max
        self._held_bytes_max = held_bytes_max
        self._budget = budget
        self._consumed = consumed
        self._kept: OrderedDict[Stream, int] = OrderedDict()
        self._withheld: OrderedDict[Stream, int] = OrderedDict()
        self.kept_bytes = 0
        self.held_bytes = 0

    def trust(self, bytes_max: int, held_bytes_max: int, budget: Budget) -> None:
        """Other bounds hold from now on."""
        self._bytes_max, self._held_bytes_max = bytes_max, held_bytes_max
        kept_bytes = self.kept_bytes + self.held_bytes
        self._budget.kept_bytes -= kept_bytes
        budget.kept_bytes += kept_bytes
        self._budget = budget

    def keep(self, stream: Stream, size_bytes: int) -> bool:
        """So much more is kept of an unfinished request; False if it is too much altogether, but for `release`."""
        self.kept_bytes += size_bytes
        budget = self._budget
        budget.kept_bytes += size_bytes
        self._kept[stream] = self._kept.get(stream, 0) + size_bytes
        if self.kept_bytes > self._bytes_max or budget.kept_bytes > budget.bytes_max:
            return False
        if self.kept_bytes <= self._bytes_max * GENEROUS_SHARE or next(iter(self._kept)) is stream:
            self._consumed(stream, size_bytes)
        else:
            self._withheld[stream] = self._withheld.get(stream, 0) + size_bytes
        return True

    def release(self, stream: Stream) -> None:
        """A stream's request is whole, or given up."""
        size_bytes = self._kept.pop(stream, None)
        if size_bytes is None:
            return
        self.kept_bytes -= size_bytes
        self._budget.kept_bytes -= size_bytes
        self._withheld.pop(stream, None)
        if self._withheld and self.kept_bytes <= self._bytes_max * GENEROUS_SHARE:
            withheld, self._withheld = self._withheld, OrderedDict()
            for other, owed in withheld.items():
                self._consumed(other, owed)
        elif self._kept:
            oldest = next(iter(self._kept))
            owed = self._withheld.pop(oldest, 0)
            if owed:
                self._consumed(oldest, owed)

    def hold(self, size_bytes: int) -> bool:
        """So much else is kept, until `let_go`; False, and nothing is, if it is too much."""
        budget = self._budget
        if (
            self.held_bytes + size_bytes > self._held_bytes_max
            or budget.kept_bytes + size_bytes > budget.bytes_max
        ):
            return False
        self.held_bytes += size_bytes
        budget.kept_bytes += size_bytes
        return True

    def let_go(self, size_bytes: int) -> None:
        """So much of what was held is kept no more."""
        self.held_bytes -= size_bytes
        self._budget.kept_bytes -= size_bytes
