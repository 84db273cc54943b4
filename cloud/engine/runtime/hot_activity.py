"""A standalone activity in memory, who waits for it, and its rows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from cloud.engine.core.clock import LATEST
from cloud.engine.core.standalone_activity import due_at
from cloud.engine.core.standalone_state import StandaloneActivity
from cloud.engine.core.state import RUNNING
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.store.rows import StandaloneActivityRow, encode
from cloud.engine.store.search_attribute_values import indexed, listed
from cloud.engine.store.visibility import VisibilityRow
from cloud.engine.store.visibility_attributes import AttributeTypes

if TYPE_CHECKING:
    from cloud.engine.runtime.commits import Batch

ACTIVITIES_OF = "activities:"
"""Before a namespace's id in the rows by which lists find its activities, so that no list of runs has them."""


@dataclass(slots=True, eq=False)
class HotActivity:
    """See the module's head. `number` orders those of one id."""

    activity: StandaloneActivity
    namespace: Namespace
    number: int
    request_size: int
    size: int = 0  # bytes, as they were counted last
    unflushed: Batch | None = None
    watchers: set[asyncio.Future[bool]] = field(default_factory=set)
    dropped: bool = False

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.activity.run_id

    @property
    def activity_id(self) -> str:
        """The id that the client gave it."""
        return self.activity.request.activity_id

    @property
    def types(self) -> AttributeTypes:
        """The types of the namespace's own search attributes."""
        return cast("AttributeTypes", self.namespace.search_attributes)

    def measure(self) -> int:
        """What it takes now (bytes), about."""
        state = self.activity.state
        progress = state.progress
        return (
            self.request_size
            + len(state.result)
            + len(state.failure)
            + len(progress.last_failure)
            + len(progress.heartbeat_details)
        )

    @property
    def busy(self) -> bool:
        """Whether it must stay in memory."""
        return bool(self.unflushed or self.watchers)

    def wake_watchers(self) -> None:
        """Something of it became durable, or it left memory: who waits looks again."""
        for watcher in self.watchers:
            if not watcher.done():
                watcher.set_result(True)
        self.watchers.clear()

    def drop(self) -> None:
        """It left memory: whoever holds it asks for it again."""
        self.dropped = True
        self.wake_watchers()

    def row(self) -> StandaloneActivityRow:
        """What is stored of it."""
        activity = self.activity
        closed = activity.closed
        wake_at = activity.state.close_time + self.namespace.retention if closed else due_at(activity)
        return StandaloneActivityRow(
            activity.run_id,
            self.namespace.namespace_id,
            self.activity_id,
            self.number,
            activity.status if closed else RUNNING,
            min(wake_at, LATEST),
            encode(activity.state),
        )

    def visibility_row(self) -> VisibilityRow:
        """What lists show of it."""
        activity = self.activity
        request, state = activity.request, activity.state
        closed = activity.closed
        types = self.types
        attributes = request.search_attributes
        shown = listed(attributes, types) if attributes.indexed_fields else None
        return VisibilityRow(
            run_id=activity.run_id,
            namespace_id=ACTIVITIES_OF + self.namespace.namespace_id,
            workflow_id=self.activity_id,
            workflow_type=request.activity_type.name,
            task_queue=activity.options.task_queue.name,
            status=activity.status,
            start_time=state.scheduled_time,
            execution_time=activity.first_dispatch,
            close_time=state.close_time if closed else None,
            history_size_bytes=self.size if closed else None,
            state_transition_count=state.transitions if closed else None,
            execution_duration_ns=max(state.close_time - state.scheduled_time, 0) if closed else None,
            root_workflow_id=self.activity_id,
            root_run_id=activity.run_id,
            first_run_id=activity.run_id,
            search_attributes=shown.SerializeToString() if shown else None,
            attributes=indexed(attributes, types) if attributes.indexed_fields else None,
        )
