"""A run in memory: its state, its newest events, and who waits for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from temporalio.api.history.v1 import HistoryEvent

from cloud.engine.core.state import Execution
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.updates import Updates
from cloud.engine.runtime.waits import give_up

if TYPE_CHECKING:
    from cloud.engine.runtime.commits import Batch
    from cloud.engine.runtime.queries import PendingQuery

TAIL_EVENTS_MAX = 256
TAIL_BYTES_MAX = 4 * 1024 * 1024
OVERHEAD_BYTES = 4 * 1024
"""What a run in memory costs beside its payloads, about."""


class Tail:
    """The newest events of a run: what a sticky worker's next task, a waiting reader and a closed run's reader need.

    Bounded by count and by serialized size (`size`, bytes). What is not here is read from the store.
    """

    __slots__ = ("_events", "_sizes", "size")

    def __init__(self) -> None:
        self._events: deque[HistoryEvent] = deque()
        self._sizes: deque[int] = deque()
        self.size = 0

    def extend(self, events: Iterable[HistoryEvent]) -> None:
        """Add the history's next events; the oldest go."""
        for event in events:
            self._events.append(event)
            self._sizes.append(event.ByteSize())
            self.size += self._sizes[-1]
        while len(self._events) > TAIL_EVENTS_MAX or self.size > TAIL_BYTES_MAX:
            self._events.popleft()
            self.size -= self._sizes.popleft()

    def clear(self) -> None:
        """Let go of all."""
        self._events.clear()
        self._sizes.clear()
        self.size = 0

    def between(self, first_event_id: int, last_event_id: int) -> list[HistoryEvent] | None:
        """Events `first` to `last` if all of them are here."""
        if first_event_id > last_event_id:
            return []
        events = self._events
        if not events or events[0].event_id > first_event_id:
            return None
        start = first_event_id - events[0].event_id  # ids have no gaps
        return [
            events[at] for at in range(start, min(start + last_event_id - first_event_id + 1, len(events)))
        ]


@dataclass(slots=True, eq=False)
class HotRun:
    """See the module's head. `unflushed` is the newest batch that holds changes of it, None once all are durable."""

    execution: Execution
    namespace: Namespace
    tail: Tail = field(default_factory=Tail)
    unflushed: Batch | None = None
    outstanding: int = 0
    has_progress_rows: bool = False
    has_nexus_rows: bool = False
    watchers: set[asyncio.Future[bool]] = field(default_factory=set)  # of any change
    end_watchers: set[asyncio.Future[bool]] = field(default_factory=set)  # of its end
    queries: list[PendingQuery] = field(default_factory=list)
    updates: Updates = field(default_factory=Updates)
    transfers: set[asyncio.Task[None]] = field(default_factory=set)
    calls: set[asyncio.Task[None]] = field(
        default_factory=set
    )  # of Nexus handlers, whose answers are awaited
    dropped: bool = False
    warned: bool = False  # of the size of its history
    weight: int = 0  # bytes for which it was counted last
    _start_size: int = -1

    def weigh(self) -> int:
        """About how many bytes it holds in memory; the same whatever it went through."""
        if self._start_size < 0:
            self._start_size = self.execution.started.ByteSize()
        return OVERHEAD_BYTES + self._start_size + self.execution.size + self.tail.size + self.updates.size()

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.execution.key.run_id

    def tail_from(self, first_event_id: int, last_event_id: int) -> list[HistoryEvent] | None:
        """Events `first` to `last` if memory has all of them."""
        return self.tail.between(first_event_id, last_event_id)

    def drop(self) -> None:
        """It left memory: whoever holds it asks for it again."""
        self.dropped = True
        self.wake_watchers()
        self.updates.lose()

    def wake_watchers(self) -> None:
        """Something became durable, or the run is gone: who waits for it looks again."""
        _wake(self.watchers)
        if self.dropped or not self.execution.running:
            _wake(self.end_watchers)

    def end_waits(self) -> None:
        """The cell leaves: who waits for something of the run gets what there is."""
        for watcher in (*self.watchers, *self.end_watchers):
            give_up(watcher)
        self.updates.end_waits()

    @property
    def pinned(self) -> bool:
        """Whether something would be lost with it."""
        return bool(self.unflushed or self.outstanding or self.calls or self.queries or self.updates.needed)

    @property
    def busy(self) -> bool:
        """Whether it should stay in memory: also those who only look on would ask for it again at once."""
        return self.pinned or bool(self.watchers or self.end_watchers)


def _wake(watchers: set[asyncio.Future[bool]]) -> None:
    for watcher in watchers:
        if not watcher.done():
            watcher.set_result(True)
    watchers.clear()
