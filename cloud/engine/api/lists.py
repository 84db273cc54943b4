"""Lists and counts of workflows."""

from __future__ import annotations

import hashlib
import json
from typing import cast

from temporalio.api.common.v1 import Memo, Payload, SearchAttributes, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.filter.v1 import StartTimeFilter
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    CountWorkflowExecutionsResponse,
    ListArchivedWorkflowExecutionsRequest,
    ListArchivedWorkflowExecutionsResponse,
    ListClosedWorkflowExecutionsRequest,
    ListClosedWorkflowExecutionsResponse,
    ListOpenWorkflowExecutionsRequest,
    ListOpenWorkflowExecutionsResponse,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
    ScanWorkflowExecutionsRequest,
    ScanWorkflowExecutionsResponse,
)

from cloud.engine.api import checks
from cloud.engine.core.clock import duration, timestamp, to_ns
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.tokens import LIST_PAGE, BadToken, ListPageToken
from cloud.engine.store.schema import visibility
from cloud.engine.store.visibility import Count, CursorError, VisibilityRow
from cloud.engine.store.visibility_attributes import AttributeTypes
from cloud.engine.store.visibility_filter import FilterError, ListFilter, parse_filter
from cloud.rpc import CallContext, InvalidArgument

PAGE_SIZE_MAX = 1_000
_NOT_CLOSED = (
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_UNSPECIFIED,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING,
)


class Lists:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def list_workflow_executions(
        self, request: ListWorkflowExecutionsRequest, context: CallContext
    ) -> ListWorkflowExecutionsResponse:
        """A page of the runs that a filter finds."""
        rows, token = await self._page(
            request.namespace, request.query, request.page_size, request.next_page_token
        )
        return ListWorkflowExecutionsResponse(
            executions=[execution_info(row) for row in rows], next_page_token=token
        )

    async def scan_workflow_executions(
        self, request: ScanWorkflowExecutionsRequest, context: CallContext
    ) -> ScanWorkflowExecutionsResponse:
        """The same, in the server's word for "in any order"."""
        rows, token = await self._page(
            request.namespace, request.query, request.page_size, request.next_page_token
        )
        return ScanWorkflowExecutionsResponse(
            executions=[execution_info(row) for row in rows], next_page_token=token
        )

    async def list_open_workflow_executions(
        self, request: ListOpenWorkflowExecutionsRequest, context: CallContext
    ) -> ListOpenWorkflowExecutionsResponse:
        """The older form of a list: running ones."""
        query = _old_query(request, "ExecutionStatus = 'Running'", "StartTime")
        rows, token = await self._page(
            request.namespace, query, request.maximum_page_size, request.next_page_token
        )
        return ListOpenWorkflowExecutionsResponse(
            executions=[execution_info(row) for row in rows], next_page_token=token
        )

    async def list_closed_workflow_executions(
        self, request: ListClosedWorkflowExecutionsRequest, context: CallContext
    ) -> ListClosedWorkflowExecutionsResponse:
        """The older form of a list: closed ones."""
        condition = "ExecutionStatus NOT IN ('Running', 'Paused')"
        if request.HasField("status_filter"):
            if request.status_filter.status in _NOT_CLOSED:
                raise InvalidArgument("StatusFilter must be specified and must be not Running.")
            condition = f"ExecutionStatus = {int(request.status_filter.status)}"
        query = _old_query(request, condition, "CloseTime")
        rows, token = await self._page(
            request.namespace, query, request.maximum_page_size, request.next_page_token
        )
        return ListClosedWorkflowExecutionsResponse(
            executions=[execution_info(row) for row in rows], next_page_token=token
        )

    async def list_archived_workflow_executions(
        self, request: ListArchivedWorkflowExecutionsRequest, context: CallContext
    ) -> ListArchivedWorkflowExecutionsResponse:
        """There is no archive."""
        checks.namespace_of(self._runtime, request.namespace)
        raise InvalidArgument("Cluster is not configured for visibility archival.")

    async def count_workflow_executions(
        self, request: CountWorkflowExecutionsRequest, context: CallContext
    ) -> CountWorkflowExecutionsResponse:
        """How many runs a filter finds, in groups if it says GROUP BY."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        list_filter = _parsed(namespace, request.query)
        counted: Count = await self._runtime.database.list(
            namespace.namespace_id, lambda c: visibility.count(c, namespace.namespace_id, list_filter)
        )
        response = CountWorkflowExecutionsResponse(count=counted.total)
        for group in counted.groups:
            response.groups.add(count=group.count, group_values=[keyword_payload(group.value)])
        return response

    async def _page(
        self, name: str, query: str, page_size: int, page_token: bytes
    ) -> tuple[list[VisibilityRow], bytes]:
        namespace = checks.namespace_of(self._runtime, name)
        list_filter = _parsed(namespace, query, may_order=True)
        namespace_id = namespace.namespace_id
        return await page_of(
            self._runtime, namespace_id, namespace_id, list_filter, query, page_size, page_token
        )


async def page_of(
    runtime: Runtime,
    namespace_id: str,
    listed_as: str,
    list_filter: ListFilter,
    query: str,
    page_size: int,
    page_token: bytes,
) -> tuple[list[VisibilityRow], bytes]:
    """A page of what `query`, parsed as `list_filter`, finds among the rows listed as `listed_as`; and the next page's token.

    Raises:
        InvalidArgument: the token is none of ours, or of another query.
    """
    fingerprint = hashlib.sha256(query.encode()).digest()[:8]
    cursor = None
    if page_token:
        try:
            token: ListPageToken = runtime.tokens.read(page_token, LIST_PAGE, listed_as, ListPageToken)
        except BadToken:
            raise InvalidArgument("Invalid NextPageToken.") from None
        if token.query != fingerprint:
            raise InvalidArgument("Invalid NextPageToken: it belongs to another query.")
        cursor = token.cursor
    size = min(page_size, PAGE_SIZE_MAX) if page_size > 0 else PAGE_SIZE_MAX
    try:
        rows, following = await runtime.database.list(
            namespace_id, lambda c: visibility.list_page(c, listed_as, list_filter, size, cursor)
        )
    except CursorError:
        raise InvalidArgument("Invalid NextPageToken.") from None
    if following is None:
        return rows, b""
    return rows, runtime.tokens.make(LIST_PAGE, listed_as, ListPageToken(fingerprint, following))


def _parsed(namespace: Namespace, query: str, *, may_order: bool = False) -> ListFilter:
    try:
        types = cast("AttributeTypes", namespace.search_attributes)
        return parse_filter(query, types, may_order=may_order)
    except FilterError as error:
        raise InvalidArgument(str(error)) from None


def _old_query(
    request: ListOpenWorkflowExecutionsRequest | ListClosedWorkflowExecutionsRequest,
    condition: str,
    time_attribute: str,
) -> str:
    """The older lists' separate filters as one query."""
    parts = [condition]
    times: StartTimeFilter = request.start_time_filter
    if (
        times.HasField("earliest_time")
        and times.HasField("latest_time")
        and to_ns(times.earliest_time) > to_ns(times.latest_time)
    ):
        raise InvalidArgument("EarliestTime in StartTimeFilter should not be larger than LatestTime.")
    if times.HasField("earliest_time"):
        parts.append(f"{time_attribute} >= {to_ns(times.earliest_time)}")
    if times.HasField("latest_time"):
        parts.append(f"{time_attribute} <= {to_ns(times.latest_time)}")
    if request.HasField("execution_filter"):
        parts.append(f"WorkflowId = {_quoted(request.execution_filter.workflow_id)}")
    if request.HasField("type_filter"):
        parts.append(f"WorkflowType = {_quoted(request.type_filter.name)}")
    return " AND ".join(parts)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def keyword_payload(value: str | None) -> Payload:
    """A value by which a count is grouped."""
    return Payload(metadata={"encoding": b"json/plain", "type": b"Keyword"}, data=json.dumps(value).encode())


def execution_info(row: VisibilityRow) -> WorkflowExecutionInfo:
    """A row as lists send it."""
    info = WorkflowExecutionInfo(
        execution=WorkflowExecution(workflow_id=row.workflow_id, run_id=row.run_id),
        type=WorkflowType(name=row.workflow_type),
        start_time=timestamp(row.start_time),
        execution_time=timestamp(row.execution_time),
        status=WorkflowExecutionStatus.ValueType(row.status),
        task_queue=row.task_queue,
        root_execution=WorkflowExecution(workflow_id=row.root_workflow_id, run_id=row.root_run_id),
        history_length=row.history_length or 0,
        history_size_bytes=row.history_size_bytes or 0,
        state_transition_count=row.state_transition_count or 0,
        memo=Memo.FromString(row.memo) if row.memo else Memo(),
        search_attributes=(
            SearchAttributes.FromString(row.search_attributes)
            if row.search_attributes
            else SearchAttributes()
        ),
    )
    if row.close_time is not None:
        info.close_time.CopyFrom(timestamp(row.close_time))
        info.execution_duration.CopyFrom(duration(row.execution_duration_ns or 0))
    if row.parent_workflow_id:
        info.parent_execution.CopyFrom(
            WorkflowExecution(workflow_id=row.parent_workflow_id, run_id=row.parent_run_id or "")
        )
    return info
