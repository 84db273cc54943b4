"""How much of requests that are not whole yet is kept on one connection.

All calls may send on, until GENEROUS_BYTES wait together; from there only the oldest is given more window, so that
one after the other gets through, and what windows were given already bounds the rest. Beyond `bytes_max` calls are
refused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from cloud.gateway.transport.http2.streams import Stream

GENEROUS_SHARE = 0.5


class Uploads:
    """The unfinished requests of one connection, by age."""

    __slots__ = ("_bytes_max", "_consumed", "_generous_bytes", "_kept", "_withheld", "kept_bytes")

    def __init__(self, bytes_max: int, consumed: Callable[[Stream, int], None]) -> None:
        self._bytes_max = bytes_max
        self._generous_bytes = int(bytes_max * GENEROUS_SHARE)
        self._consumed = consumed
        self._kept: OrderedDict[Stream, int] = OrderedDict()
        self._withheld: OrderedDict[Stream, int] = OrderedDict()
        self.kept_bytes = 0

    def keep(self, stream: Stream, size_bytes: int) -> bool:
        """So much more is kept of a stream; False if it is too much altogether."""
        self.kept_bytes += size_bytes
        self._kept[stream] = self._kept.get(stream, 0) + size_bytes
        if self.kept_bytes > self._bytes_max:
            return False
        if self.kept_bytes <= self._generous_bytes or next(iter(self._kept)) is stream:
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
        self._withheld.pop(stream, None)
        if self._withheld and self.kept_bytes <= self._generous_bytes:
            withheld, self._withheld = self._withheld, OrderedDict()
            for other, owed in withheld.items():
                self._consumed(other, owed)
        elif self._kept:
            oldest = next(iter(self._kept))
            owed = self._withheld.pop(oldest, 0)
            if owed:
                self._consumed(oldest, owed)
