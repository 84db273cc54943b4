"""A run in memory: its state, its newest events, and who waits for it."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from temporalio.api.history.v1 import HistoryEvent

from cloud.engine.core.state import Execution
from cloud.engine.runtime.namespaces import Namespace

if TYPE_CHECKING:
    from cloud.engine.runtime.commits import Batch
    from cloud.engine.runtime.queries import PendingQuery

TAIL_EVENTS_MAX = 256
"""Newest events kept in memory: what a sticky worker's next task, a waiting reader and a closed run's reader need."""


@dataclass(slots=True, eq=False)
class HotRun:
    """See the module's head. `unflushed` is the newest batch that holds changes of it, None once all are durable."""

    execution: Execution
    namespace: Namespace
    tail: deque[HistoryEvent] = field(default_factory=lambda: deque(maxlen=TAIL_EVENTS_MAX))
    unflushed: Batch | None = None
    outstanding: int = 0
    has_progress_rows: bool = False
    watchers: set[asyncio.Future[None]] = field(default_factory=set)
    queries: list[PendingQuery] = field(default_factory=list)
    transfers: set[asyncio.Task[None]] = field(default_factory=set)
    dropped: bool = False

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.execution.key.run_id

    def tail_from(self, first_event_id: int, last_event_id: int) -> list[HistoryEvent] | None:
        """Events `first` to `last` if memory has all of them."""
        if first_event_id > last_event_id:
            return []
        if not self.tail or self.tail[0].event_id > first_event_id:
            return None
        return [event for event in self.tail if first_event_id <= event.event_id <= last_event_id]

    @property
    def busy(self) -> bool:
        """Whether it must stay in memory."""
        return bool(self.unflushed or self.outstanding or self.watchers or self.queries)
