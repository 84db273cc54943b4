"""Lists and counts of standalone Nexus operations: a visibility of their own."""

from __future__ import annotations

from temporalio.api.common.v1 import SearchAttributes
from temporalio.api.enums.v1 import NexusOperationExecutionStatus
from temporalio.api.nexus.v1 import NexusOperationExecutionListInfo
from temporalio.api.workflowservice.v1 import (
    CountNexusOperationExecutionsRequest,
    CountNexusOperationExecutionsResponse,
    ListNexusOperationExecutionsRequest,
    ListNexusOperationExecutionsResponse,
)

from cloud.engine.api.lists import keyword_payload
from cloud.engine.api.standalone_lists import StandaloneRows
from cloud.engine.api.standalone_nexus import require_enabled
from cloud.engine.core.clock import duration, timestamp
from cloud.engine.runtime.hot_operation import HotOperation
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.visibility import VisibilityRow
from cloud.engine.store.visibility_filter import parse_operation_filter
from cloud.rpc import CallContext


class StandaloneNexusLists:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._rows = StandaloneRows(runtime, HotOperation.LISTED_AS, parse_operation_filter, require_enabled)

    async def list_nexus_operation_executions(
        self, request: ListNexusOperationExecutionsRequest, context: CallContext
    ) -> ListNexusOperationExecutionsResponse:
        """A page of the operations that a filter finds."""
        rows, token = await self._rows.page(
            request.namespace, request.query, request.page_size, request.next_page_token
        )
        return ListNexusOperationExecutionsResponse(
            operations=[_list_info(row) for row in rows], next_page_token=token
        )

    async def count_nexus_operation_executions(
        self, request: CountNexusOperationExecutionsRequest, context: CallContext
    ) -> CountNexusOperationExecutionsResponse:
        """How many operations a filter finds, in groups if it says GROUP BY."""
        counted = await self._rows.count(request.namespace, request.query)
        response = CountNexusOperationExecutionsResponse(count=counted.total)
        for group in counted.groups:
            response.groups.add(count=group.count, group_values=[keyword_payload(group.value)])
        return response


def _list_info(row: VisibilityRow) -> NexusOperationExecutionListInfo:
    info = NexusOperationExecutionListInfo(
        operation_id=row.workflow_id,
        run_id=row.run_id,
        endpoint=row.task_queue,
        service=row.root_workflow_id,
        operation=row.workflow_type,
        schedule_time=timestamp(row.start_time),
        status=NexusOperationExecutionStatus.ValueType(row.status),
        state_transition_count=row.state_transition_count or 0,
        state_size_bytes=row.history_size_bytes or 0,
        search_attributes=SearchAttributes.FromString(row.search_attributes or b""),
    )
    if row.close_time is not None:
        info.close_time.CopyFrom(timestamp(row.close_time))
        info.execution_duration.CopyFrom(duration(row.execution_duration_ns or 0))
    return info
