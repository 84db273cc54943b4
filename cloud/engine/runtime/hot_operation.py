"""A standalone Nexus operation in memory, and its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cloud.engine.core.standalone_nexus import due_at
from cloud.engine.core.standalone_nexus_state import StandaloneOperation
from cloud.engine.runtime.hot_standalone import WAKE_AT_ONCE, HotStandalone
from cloud.engine.store.rows import StandaloneKind
from cloud.engine.store.search_attribute_values import indexed, listed
from cloud.engine.store.visibility import VisibilityRow


@dataclass(slots=True, eq=False)
class HotOperation(HotStandalone[StandaloneOperation]):
    """See the module's head."""

    KIND: ClassVar[StandaloneKind] = StandaloneKind.NEXUS_OPERATION
    LISTED_AS: ClassVar[str] = "nexus operations:"

    @property
    def operation(self) -> StandaloneOperation:
        """The operation."""
        return self.execution

    @property
    def id(self) -> str:
        """See :class:`HotStandalone`."""
        return self.execution.request.operation_id

    @property
    def type_name(self) -> str:
        """See :class:`HotStandalone`."""
        return self.execution.request.operation

    def measure(self) -> int:
        """See :class:`HotStandalone`."""
        state = self.execution.state
        size = self.request_size + len(state.result) + len(state.failure) + len(state.last_failure)
        if state.cancellation is not None:
            size += len(state.cancellation.last_failure)
        return size + sum(map(len, state.links))

    def due_at(self) -> int:
        """See :class:`HotStandalone`."""
        return WAKE_AT_ONCE if self.calls else due_at(self.execution)

    def visibility_row(self) -> VisibilityRow:
        """See :class:`HotStandalone`. What it calls stands in columns that are of no use to it."""
        operation = self.execution
        request, state = operation.request, operation.state
        closed = operation.closed
        types = self.types
        attributes = request.search_attributes
        shown = listed(attributes, types) if attributes.indexed_fields else None
        return VisibilityRow(
            run_id=operation.run_id,
            namespace_id=self.LISTED_AS + self.namespace.namespace_id,
            workflow_id=request.operation_id,
            workflow_type=request.operation,
            task_queue=request.endpoint,
            status=operation.status,
            start_time=state.scheduled_time,
            execution_time=state.scheduled_time,
            close_time=state.close_time if closed else None,
            history_size_bytes=self.size if closed else None,
            state_transition_count=state.transitions if closed else None,
            execution_duration_ns=max(state.close_time - state.scheduled_time, 0) if closed else None,
            root_workflow_id=request.service,
            root_run_id=state.request_id,
            first_run_id=operation.run_id,
            search_attributes=shown.SerializeToString() if shown else None,
            attributes=indexed(attributes, types) if attributes.indexed_fields else None,
        )
