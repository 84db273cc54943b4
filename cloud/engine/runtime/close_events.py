"""The event that closed a run, from memory or from the store."""

from __future__ import annotations

from temporalio.api.history.v1 import HistoryEvent

from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.reading import read_events


async def close_event(runtime: Runtime, hot: HotRun) -> HistoryEvent:
    """The last event of a closed run."""
    event_id = hot.execution.close_event_id
    events = hot.tail_from(event_id, event_id)
    if events is None:
        await runtime.durable(hot)
        run_id = hot.run_id
        events = await runtime.database.read(lambda c: read_events(c, run_id, event_id, event_id, size_max=1))
    return events[0]
