"""The moments at which something becomes due in a run, as one heap per execution.

An entry (moment, kind, key) is a hint: it counts only if the kind's own function still computes that very moment from
the state. So nothing is ever removed when a timer or a time-out is called off, and a moment that moves later (a
heartbeat) costs nothing until the old one comes up. The heap is derived: it is not stored, ``machine.rebuild`` makes it anew.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping

from cloud.engine.core.state import Execution

DueOf = Callable[[Execution, int | str], int]
"""(execution, key) -> when it is due (ns), 0 for never."""


def push(execution: Execution, kind: int, key: int | str, due: int) -> None:
    """Note that `kind` of `key` may be due at `due` (ns); 0 notes nothing."""
    if due:
        heapq.heappush(execution.deadlines, (due, kind, key))


def next_due(execution: Execution, due_functions: Mapping[int, DueOf]) -> tuple[int, int, int | str] | None:
    """The earliest entry that counts, None if nothing is to come. Stale entries met on the way are dropped."""
    heap = execution.deadlines
    while heap:
        due, kind, key = heap[0]
        current = due_functions[kind](execution, key)
        if current == due:
            return heap[0]
        heapq.heappop(heap)
        if current > due:
            heapq.heappush(heap, (current, kind, key))
    return None
