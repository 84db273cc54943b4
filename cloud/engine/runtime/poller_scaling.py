"""Whether a worker had better poll more, or less: told with each task, to workers that follow it.

As the real server decides it: less if the poll waited long for a task that came fresh; more if tasks wait, or come faster than they
go. More is said only so often, so that workers do not overshoot, and never while a rate limit is what holds tasks back.
"""

from __future__ import annotations

IDLE_S = 1.0
"""A poll that waited this long was not needed."""

BACKLOG_AGE_NS = 200_000_000
"""Tasks that have waited this long want more polls."""

ADDED_TO_DISPATCHED = 1.2
"""Tasks that come this much faster than they go do too."""

DECISIONS_PER_SECOND = 10.0
"""How often more may be said, for each worker that polls."""

MORE, LESS, AS_IT_IS = 1, -1, 0


class PollerScaling:
    """Of one queue."""

    __slots__ = ("_ready_at",)

    def __init__(self) -> None:
        self._ready_at = 0.0

    def may_look(self, now: float, pollers: int) -> bool:
        """Whether a decision for more may be made now (event loop's seconds), of which there are only so many."""
        if self._ready_at > now:
            return False
        spacing = 1 / (DECISIONS_PER_SECOND * max(pollers, 1))
        self._ready_at = max(self._ready_at, now - 1 / DECISIONS_PER_SECOND) + spacing
        return True


def wanted(*, backlog_age: int, added: float, dispatched: float) -> int:
    """MORE or AS_IT_IS. `backlog_age` in ns, 0 where none waits; rates per second."""
    if backlog_age > BACKLOG_AGE_NS:
        return MORE
    return MORE if added > dispatched * ADDED_TO_DISPATCHED else AS_IT_IS
