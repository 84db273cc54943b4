"""Lists and counts of standalone activities: a visibility of their own."""

from __future__ import annotations

from typing import cast

from temporalio.api.activity.v1 import ActivityExecutionListInfo
from temporalio.api.common.v1 import ActivityType, SearchAttributes
from temporalio.api.enums.v1 import ActivityExecutionStatus
from temporalio.api.workflowservice.v1 import (
    CountActivityExecutionsRequest,
    CountActivityExecutionsResponse,
    ListActivityExecutionsRequest,
    ListActivityExecutionsResponse,
)

from cloud.engine.api import checks
from cloud.engine.api.lists import keyword_payload, page_of
from cloud.engine.api.standalone_activities import require_enabled
from cloud.engine.core.clock import duration, timestamp
from cloud.engine.runtime.hot_activity import HotActivity
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.schema import visibility
from cloud.engine.store.visibility import VisibilityRow
from cloud.engine.store.visibility_attributes import AttributeTypes
from cloud.engine.store.visibility_filter import FilterError, ListFilter, parse_activity_filter
from cloud.rpc import CallContext, InvalidArgument


class StandaloneLists:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def list_activity_executions(
        self, request: ListActivityExecutionsRequest, context: CallContext
    ) -> ListActivityExecutionsResponse:
        """A page of the activities that a filter finds."""
        namespace, list_filter = self._parsed(request.namespace, request.query, may_order=True)
        rows, token = await page_of(
            self._runtime,
            namespace.namespace_id,
            HotActivity.LISTED_AS + namespace.namespace_id,
            list_filter,
            request.query,
            request.page_size,
            request.next_page_token,
        )
        return ListActivityExecutionsResponse(
            executions=[_list_info(row) for row in rows], next_page_token=token
        )

    async def count_activity_executions(
        self, request: CountActivityExecutionsRequest, context: CallContext
    ) -> CountActivityExecutionsResponse:
        """How many activities a filter finds, in groups if it says GROUP BY."""
        namespace, list_filter = self._parsed(request.namespace, request.query)
        counted = await self._runtime.database.list(
            namespace.namespace_id,
            lambda c: visibility.count(c, HotActivity.LISTED_AS + namespace.namespace_id, list_filter),
        )
        response = CountActivityExecutionsResponse(count=counted.total)
        for group in counted.groups:
            response.groups.add(count=group.count, group_values=[keyword_payload(group.value)])
        return response

    def _parsed(self, name: str, query: str, *, may_order: bool = False) -> tuple[Namespace, ListFilter]:
        namespace = checks.namespace_of(self._runtime, name)
        require_enabled(self._runtime)
        try:
            types = cast("AttributeTypes", namespace.search_attributes)
            return namespace, parse_activity_filter(query, types, may_order=may_order)
        except FilterError as error:
            raise InvalidArgument(str(error)) from None


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
