"""One event of a run, such as that which closed it, from memory or from the store."""

from __future__ import annotations

from temporalio.api.history.v1 import HistoryEvent

from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.reading import read_events


async def close_event(runtime: Runtime, hot: HotRun) -> HistoryEvent:
    """The last event of a closed run."""
    return await event_of(runtime, hot, hot.execution.close_event_id)


async def event_of(runtime: Runtime, hot: HotRun, event_id: int) -> HistoryEvent:
    """The event `event_id`, which the run's history has."""
    events = hot.tail_from(event_id, event_id)
    if events is None:
        await runtime.durable(hot)
        run_id = hot.run_id
        events = await runtime.database.read(lambda c: read_events(c, run_id, event_id, event_id, size_max=1))
    return events[0]
