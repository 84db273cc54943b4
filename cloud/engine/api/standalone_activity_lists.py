"""Lists and counts of standalone activities: a visibility of their own."""

from __future__ import annotations

from temporalio.api.activity.v1 import ActivityExecutionListInfo
from temporalio.api.common.v1 import ActivityType, SearchAttributes
from temporalio.api.enums.v1 import ActivityExecutionStatus
from temporalio.api.workflowservice.v1 import (
    CountActivityExecutionsRequest,
    CountActivityExecutionsResponse,
    ListActivityExecutionsRequest,
    ListActivityExecutionsResponse,
)

from cloud.engine.api.lists import keyword_payload
from cloud.engine.api.standalone_activities import require_enabled
from cloud.engine.api.standalone_lists import StandaloneRows
from cloud.engine.core.clock import duration, timestamp
from cloud.engine.runtime.hot_activity import HotActivity
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.visibility import VisibilityRow
from cloud.engine.store.visibility_filter import parse_activity_filter
from cloud.rpc import CallContext


class StandaloneActivityLists:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._rows = StandaloneRows(runtime, HotActivity.LISTED_AS, parse_activity_filter, require_enabled)

    async def list_activity_executions(
        self, request: ListActivityExecutionsRequest, context: CallContext
    ) -> ListActivityExecutionsResponse:
        """A page of the activities that a filter finds."""
        rows, token = await self._rows.page(
            request.namespace, request.query, request.page_size, request.next_page_token
        )
        return ListActivityExecutionsResponse(
            executions=[_list_info(row) for row in rows], next_page_token=token
        )

    async def count_activity_executions(
        self, request: CountActivityExecutionsRequest, context: CallContext
    ) -> CountActivityExecutionsResponse:
        """How many activities a filter finds, in groups if it says GROUP BY."""
        counted = await self._rows.count(request.namespace, request.query)
        response = CountActivityExecutionsResponse(count=counted.total)
        for group in counted.groups:
            response.groups.add(count=group.count, group_values=[keyword_payload(group.value)])
        return response


def _list_info(row: VisibilityRow) -> ActivityExecutionListInfo:
    info = ActivityExecutionListInfo(
        activity_id=row.workflow_id,
        run_id=row.run_id,
        activity_type=ActivityType(name=row.workflow_type),
        schedule_time=timestamp(row.start_time),
        execution_time=timestamp(row.execution_time),
        status=ActivityExecutionStatus.ValueType(row.status),
        task_queue=row.task_queue,
        state_transition_count=row.state_transition_count or 0,
        state_size_bytes=row.history_size_bytes or 0,
        search_attributes=SearchAttributes.FromString(row.search_attributes or b""),
    )
    if row.close_time is not None:
        info.close_time.CopyFrom(timestamp(row.close_time))
        info.execution_duration.CopyFrom(duration(row.execution_duration_ns or 0))
    return info
