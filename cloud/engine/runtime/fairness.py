"""Whose turn it is: tasks of one priority in rounds over their fairness keys, each key as often as its weight says.

Each stored task gets a *pass* when it comes, and the store keeps tasks by it. A key's next task has a pass one stride behind the
one before; a key of weight 2 strides half as far and so comes up twice as often. A key that had nothing waiting begins at the pass that is
being served, so it neither waits behind others' backlogs nor has turns saved up. Tasks without a key share the empty one: among
them alone, order is that of their coming.

    key a (weight 1):  0     1000      2000       3000
    key b (weight 2):  0 500 1000 1500 2000 2500  3000
"""

from __future__ import annotations

from zlib import crc32

STRIDE = 1_000
"""Of weight 1; a weight of a thousand still strides by one."""

KEYS_EXACT_MAX = 2_000
"""Keys of one queue and priority whose last pass is known. More share cells, which can only make a key wait longer."""

_SKETCH_ROWS = 4
_SKETCH_CELLS = 2_048


def stride_of(weight: float) -> int:
    """How far a key of `weight` moves with each task."""
    return max(int(STRIDE / weight), 1)


class Passes:
    """The passes of one queue and priority. `served` is where those that come are let in."""

    __slots__ = ("_last", "_sketch", "served")

    def __init__(self, served: int) -> None:
        self.served = served
        self._last: dict[str, int] = {}
        self._sketch: list[list[int]] | None = None

    def next(self, key: str, stride: int) -> int:
        """The pass of a key's next task."""
        last = self._last.get(key)
        if last is None:
            last = self._shared(key) if self._sketch is not None else None
        found = self.served if last is None else max(self.served, last + stride)
        self.note(key, found)
        return found

    def note(self, key: str, last: int) -> None:
        """A task of `key` has the pass `last`."""
        known = self._last.get(key)
        if known is not None:
            self._last[key] = max(known, last)
            return
        if self._sketch is None:
            if len(self._last) >= KEYS_EXACT_MAX:
                # Whose last pass is served already has no more to say than one that is not known.
                self._last = {other: at for other, at in self._last.items() if at >= self.served}
            if len(self._last) < KEYS_EXACT_MAX:
                self._last[key] = last
                return
            self._sketch = [[-1] * _SKETCH_CELLS for _ in range(_SKETCH_ROWS)]
        for row, cell in self._cells(key):
            row[cell] = max(row[cell], last)

    def _shared(self, key: str) -> int | None:
        last = min(row[cell] for row, cell in self._cells(key))
        return None if last < 0 else last

    def _cells(self, key: str) -> list[tuple[list[int], int]]:
        assert self._sketch is not None
        data = key.encode()
        return [(row, crc32(data, number) % _SKETCH_CELLS) for number, row in enumerate(self._sketch)]
