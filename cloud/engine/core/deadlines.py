"""The moments at which something becomes due in a run, as one heap per execution.

An entry (moment, kind, key) is a hint: it counts only if the kind's own function still computes that very moment from
the state. So nothing is removed when a timer or a time-out is called off, and a moment that moves later (a heartbeat) costs
nothing until the old one comes up: each (kind, key) is in the heap once. Only a moment that moves earlier adds an entry; the
later one is dropped when it comes up. The heap is derived: it is not stored, ``machine.rebuild`` makes it anew.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloud.engine.core.state import Execution

DueOf = Callable[["Execution", int | str], int]
"""(execution, key) -> when it is due (ns), 0 for never."""


@dataclass(slots=True)
class Deadlines:
    """The heap, and for each (kind, key) its earliest moment there."""

    heap: list[tuple[int, int, int | str]] = field(default_factory=list)
    earliest: dict[tuple[int, int | str], int] = field(default_factory=dict)


def push(execution: Execution, kind: int, key: int | str, due: int) -> None:
    """Note that `kind` of `key` may be due at `due` (ns); 0 notes nothing."""
    if not due:
        return
    deadlines = execution.deadlines
    noted = deadlines.earliest.get((kind, key))
    if noted is None or due < noted:
        deadlines.earliest[(kind, key)] = due
        heapq.heappush(deadlines.heap, (due, kind, key))


def next_due(execution: Execution, due_functions: Mapping[int, DueOf]) -> tuple[int, int, int | str] | None:
    """The earliest entry that counts, None if nothing is to come. Stale entries met on the way are dropped."""
    deadlines = execution.deadlines
    heap, earliest = deadlines.heap, deadlines.earliest
    while heap:
        due, kind, key = heap[0]
        current = due_functions[kind](execution, key)
        if current == due:
            return heap[0]
        heapq.heappop(heap)
        if earliest.get((kind, key)) == due:
            del earliest[(kind, key)]
            if current > due:
                push(execution, kind, key, current)
    return None
