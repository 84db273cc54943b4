"""A standalone activity in memory, and its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cloud.engine.core import standalone_activity_callbacks
from cloud.engine.core.standalone_activity import due_at
from cloud.engine.core.standalone_activity_state import StandaloneActivity
from cloud.engine.runtime.hot_standalone import WAKE_AT_ONCE, HotStandalone
from cloud.engine.store.rows import StandaloneKind
from cloud.engine.store.search_attribute_values import indexed, listed
from cloud.engine.store.visibility import VisibilityRow


@dataclass(slots=True, eq=False)
class HotActivity(HotStandalone[StandaloneActivity]):
    """See the module's head."""

    KIND: ClassVar[StandaloneKind] = StandaloneKind.ACTIVITY
    LISTED_AS: ClassVar[str] = "activities:"

    @property
    def activity(self) -> StandaloneActivity:
        """The activity."""
        return self.execution

    @property
    def activity_id(self) -> str:
        """The id that the client gave it."""
        return self.execution.request.activity_id

    @property
    def id(self) -> str:
        """See :class:`HotStandalone`."""
        return self.activity_id

    @property
    def type_name(self) -> str:
        """See :class:`HotStandalone`."""
        return self.execution.request.activity_type.name

    def measure(self) -> int:
        """See :class:`HotStandalone`."""
        state = self.execution.state
        progress = state.progress
        return (
            self.request_size
            + len(state.result)
            + len(state.failure)
            + len(progress.last_failure)
            + len(progress.heartbeat_details)
            + sum(len(each.callback) + len(each.progress.last_failure) for each in state.callbacks)
            + sum(map(len, state.links))
            + sum(map(len, state.attached_request_ids))
        )

    def due_at(self) -> int:
        """See :class:`HotStandalone`."""
        return due_at(self.execution)

    def closed_due_at(self) -> int:
        """See :class:`HotStandalone`."""
        if self.calls:
            return WAKE_AT_ONCE
        return min(standalone_activity_callbacks.due_at(self.execution) or self.deleted_at, self.deleted_at)

    def visibility_row(self) -> VisibilityRow:
        """See :class:`HotStandalone`."""
        activity = self.execution
        request, state = activity.request, activity.state
        closed = activity.closed
        types = self.types
        attributes = request.search_attributes
        shown = listed(attributes, types) if attributes.indexed_fields else None
        return VisibilityRow(
            run_id=activity.run_id,
            namespace_id=self.LISTED_AS + self.namespace.namespace_id,
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
