"""Histories: for workers, readers and those who wait for a result."""

from __future__ import annotations

import asyncio

from temporalio.api.enums.v1 import EventType, HistoryEventFilterType, TimeoutType
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    GetWorkflowExecutionHistoryReverseRequest,
    GetWorkflowExecutionHistoryReverseResponse,
)

from cloud.engine.api import checks
from cloud.engine.core import workflow_task
from cloud.engine.core.close import new_run_id_of
from cloud.engine.core.state import PAUSED
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.polling import HISTORY_POLL_S, long_poll_timeout_s
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.tokens import HISTORY_PAGE, BadToken, HistoryPageToken
from cloud.engine.store.reading import read_events
from cloud.rpc import CallContext, InvalidArgument

PAGE_EVENTS_MAX = 1_000
"""Events of a page unless fewer are asked for; what a worker gets with its task, too."""

PAGE_SIZE_MAX = 2 * 1024 * 1024
"""Bytes after which a page ends, whatever its events count: a reply must fit a message of 4 MB."""

_CLOSE_EVENT = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT


class Histories:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def _read(
        self, hot: HotRun, first: int, last: int, *, count_max: int, backward: bool = False
    ) -> list[HistoryEvent]:
        """At most a page of the events `first` to `last`, from memory if it has them. What is shown is durable."""
        await self._runtime.durable(hot)
        if not backward:
            events = hot.tail_from(first, last)
            if events is not None:
                return _bounded(events, count_max)
        run_id = hot.run_id
        events = await self._runtime.database.scan(
            lambda c: read_events(c, run_id, first, last, size_max=PAGE_SIZE_MAX, backward=backward)
        )
        return _bounded(events, count_max)

    async def page_for_worker(
        self,
        hot: HotRun,
        first: int,
        last: int,
        tail: list[HistoryEvent] | None,
        suffix: list[HistoryEvent],
    ) -> tuple[list[HistoryEvent], bytes]:
        """The first page of a worker's history and the token of the next one (empty: this is all)."""
        if tail is not None and len(tail) <= PAGE_EVENTS_MAX:
            events = _bounded(tail, PAGE_EVENTS_MAX)
        else:
            events = await self._read(hot, first, last, count_max=PAGE_EVENTS_MAX)
        if not events or events[-1].event_id >= last:
            return [*events, *suffix], b""
        token = HistoryPageToken(hot.run_id, events[-1].event_id + 1, last, transient=bool(suffix))
        return events, self._runtime.tokens.make(HISTORY_PAGE, hot.namespace.namespace_id, token)

    async def get_workflow_execution_history(
        self, request: GetWorkflowExecutionHistoryRequest, context: CallContext
    ) -> GetWorkflowExecutionHistoryResponse:
        """A page of a history; with `wait_new_event`, wait for more; with the close filter, for the end."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.check_execution(request.execution)
        hot, token = await self._position(namespace, request)
        if request.history_event_filter_type == _CLOSE_EVENT:
            return await self._close_event(hot, request, context)
        first = token.next_event_id if token else 1
        if request.wait_new_event:
            ends_at = asyncio.get_running_loop().time() + long_poll_timeout_s(context, HISTORY_POLL_S)
            while _all_seen(hot, first) and await self._runtime.waits.among(hot.watchers, ends_at):
                hot = await self._refreshed(namespace, hot)
        last = hot.execution.next_event_id - 1
        if token and token.last_event_id and not token.waiting:
            last = min(
                last, token.last_event_id
            )  # the pages of one read end where its first page saw the end
        count_max = request.maximum_page_size or PAGE_EVENTS_MAX
        events = await self._read(hot, first, last, count_max=min(count_max, PAGE_EVENTS_MAX))
        response = GetWorkflowExecutionHistoryResponse(history=History(events=events))
        next_event_id = events[-1].event_id + 1 if events else first
        if next_event_id <= last:
            response.next_page_token = self._token(hot, next_event_id, last, request.wait_new_event)
        elif request.wait_new_event and hot.execution.running:
            response.next_page_token = self._token(hot, next_event_id, 0, waiting=True)
        elif not request.wait_new_event:
            response.history.events.extend(_pending_suffix(hot))
        return response

    async def _close_event(
        self, hot: HotRun, request: GetWorkflowExecutionHistoryRequest, context: CallContext
    ) -> GetWorkflowExecutionHistoryResponse:
        if hot.execution.shown_status == PAUSED and not request.wait_new_event:
            newest = hot.execution.next_event_id - 1  # what `temporal workflow describe` makes do with
            return GetWorkflowExecutionHistoryResponse(
                history=History(events=await self._read(hot, newest, newest, count_max=1))
            )
        if hot.execution.running:
            ends_at = asyncio.get_running_loop().time() + long_poll_timeout_s(context, HISTORY_POLL_S)
            namespace = hot.namespace
            while hot.execution.running:
                if not await self._runtime.waits.among(hot.end_watchers, ends_at):
                    break
                hot = await self._refreshed(namespace, hot)
        if hot.execution.running:
            token = self._token(hot, 0, 0, waiting=True) if request.wait_new_event else b""
            return GetWorkflowExecutionHistoryResponse(history=History(), next_page_token=token)
        last = hot.execution.close_event_id
        events = await self._read(hot, last, last, count_max=1)
        return GetWorkflowExecutionHistoryResponse(history=History(events=[_told_as_continued(events[0])]))

    async def get_workflow_execution_history_reverse(
        self, request: GetWorkflowExecutionHistoryReverseRequest, context: CallContext
    ) -> GetWorkflowExecutionHistoryReverseResponse:
        """A page of a history, newest event first."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.check_execution(request.execution)
        hot, token = await self._position(namespace, request)
        last = token.last_event_id if token else hot.execution.next_event_id - 1
        count_max = min(request.maximum_page_size or PAGE_EVENTS_MAX, PAGE_EVENTS_MAX)
        events = await self._read(hot, 1, last, count_max=count_max, backward=True)
        response = GetWorkflowExecutionHistoryReverseResponse(history=History(events=events))
        if events and events[-1].event_id > 1:
            response.next_page_token = self._token(hot, 1, events[-1].event_id - 1, waiting=False)
        return response

    # --- positions and waiting ---

    async def _position(
        self,
        namespace: Namespace,
        request: GetWorkflowExecutionHistoryRequest | GetWorkflowExecutionHistoryReverseRequest,
    ) -> tuple[HotRun, HistoryPageToken | None]:
        execution = request.execution
        if not request.next_page_token:
            return await self._runtime.find(namespace, execution.workflow_id, execution.run_id), None
        try:
            token: HistoryPageToken = self._runtime.tokens.read(
                request.next_page_token, HISTORY_PAGE, namespace.namespace_id, HistoryPageToken
            )
        except BadToken:
            raise InvalidArgument("Invalid NextPageToken.") from None
        if execution.run_id and execution.run_id != token.run_id:
            raise InvalidArgument("RunId in the request does not match the NextPageToken.")
        return await self._runtime.find(namespace, execution.workflow_id, token.run_id), token

    def _token(self, hot: HotRun, next_event_id: int, last_event_id: int, waiting: bool) -> bytes:
        return self._runtime.tokens.make(
            HISTORY_PAGE,
            hot.namespace.namespace_id,
            HistoryPageToken(hot.run_id, next_event_id, last_event_id, waiting),
        )

    async def _refreshed(self, namespace: Namespace, hot: HotRun) -> HotRun:
        return await self._runtime.find(namespace, hot.execution.key.workflow_id, hot.run_id)


def _told_as_continued(event: HistoryEvent) -> HistoryEvent:
    """A close that another run follows (cron, retry), as those who wait for results are told of it: go on there."""
    run_id = new_run_id_of(event)
    if not run_id or event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
        return event
    told = HistoryEvent(
        event_id=event.event_id,
        event_time=event.event_time,
        task_id=event.task_id,
        event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW,
    )
    attributes = told.workflow_execution_continued_as_new_event_attributes
    attributes.new_execution_run_id = run_id
    if event.workflow_execution_completed_event_attributes.HasField("result"):
        attributes.last_completion_result.CopyFrom(event.workflow_execution_completed_event_attributes.result)
    if event.HasField("workflow_execution_failed_event_attributes"):
        attributes.failure.CopyFrom(event.workflow_execution_failed_event_attributes.failure)
    if event.HasField("workflow_execution_timed_out_event_attributes"):
        attributes.failure.message = "workflow timeout"
        attributes.failure.timeout_failure_info.timeout_type = TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE
    return told


def _all_seen(hot: HotRun, next_event_id: int) -> bool:
    """Whether a reader at `next_event_id` has to wait for more of an open run."""
    return hot.execution.running and next_event_id >= hot.execution.next_event_id


def _bounded(events: list[HistoryEvent], count_max: int) -> list[HistoryEvent]:
    size = 0
    for index, event in enumerate(events[:count_max]):
        size += event.ByteSize()
        if size > PAGE_SIZE_MAX and index:
            return events[:index]
    return events[:count_max]


def _pending_suffix(hot: HotRun) -> list[HistoryEvent]:
    """The events of a transient workflow task, which readers see behind the history; those of a speculative one nobody does."""
    execution = hot.execution
    if not execution.running or execution.workflow_task.speculative:
        return []
    return workflow_task.unwritten_events(execution)
