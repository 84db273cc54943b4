"""Reads all that one namespace of a service has that may point to objects, with the calls that any client may make.

Of workflows: the entries of the list (their memos), the histories, and of open ones the description: heartbeats, failures and
Nexus operations that are pending are in no history yet. Of schedules: entries and descriptions. Of standalone activities and
Nexus operations: entries and descriptions with inputs and outcomes. What is in none of these is not there for long (signals
that wait for a workflow task to end, updates that wait for a worker, batch operations): the grace period covers it.

Then once more: what is new since, and what was open, as the service may have moved a reference to where the first pass had
been already. What is deleted while it is read is gone, and points to nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, timedelta
from typing import Any

from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflowservice.v1 import (
    DescribeActivityExecutionRequest,
    DescribeNexusOperationExecutionRequest,
    DescribeScheduleRequest,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListActivityExecutionsRequest,
    ListNexusOperationExecutionsRequest,
    ListSchedulesRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.service import RPCError, RPCStatusCode

from codec.errors import OffloadError
from codec.storage.gc import Showed
from codec.storage.gc_references import References
from codec.storage.gc_schedules import Action, Chain

PAGE_SIZE = 200
READS_AT_A_TIME = 8
CALL_TIMEOUT_S = 60.0
SYSTEM_WORKFLOWS = "TemporalNamespaceDivision IS NOT NULL"
"""The query for workflows that the service runs for itself (schedules, batches) and hides from plain lists."""

SCHEDULED_BY = "TemporalScheduledById"
"""The search attribute of what a schedule has started."""

_OPEN = frozenset(
    {
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING,
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED,
    }
)
_COMPLETED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED

Call = Callable[..., Awaitable[Any]]


class WalkFailed(OffloadError):
    """Something of a namespace could not be read, so nobody can tell what is in use."""


@dataclasses.dataclass(kw_only=True)
class Seen:
    """What a walk has read: numbers for the report, kinds of things that the service says it has not, chains of runs that
    schedules started by their first run's id, schedules' actions."""

    executions: int = 0
    events: int = 0
    schedules: int = 0
    standalone: int = 0
    absent: set[str] = dataclasses.field(default_factory=set)
    chains: dict[str, Chain] = dataclasses.field(default_factory=dict)
    actions: dict[str, list[Action]] = dataclasses.field(default_factory=dict)

    def showed(self) -> Showed:
        """What is remembered of it for the next run."""
        return Showed(
            workflows=self.executions,
            schedules=self.schedules,
            standalone=self.standalone,
            absent=tuple(sorted(self.absent)),
        )


class Walk:
    """One walk over one namespace. `service` is a client's `workflow_service`; `progress` is told after each thing read."""

    def __init__(
        self,
        service: Any,
        namespace: str,
        references: References,
        *,
        progress: Callable[[Seen], None] = lambda seen: None,
    ) -> None:
        self._service = service
        self._namespace = namespace
        self._references = references
        self._progress = progress
        self._gate = asyncio.Semaphore(READS_AT_A_TIME)
        self._closed: set[tuple[str, str]] = set()
        self._moments: dict[tuple[str, str], int] = {}
        self._counted: set[tuple[str, str]] = set()
        self._present: set[str] = set()
        self.seen = Seen()

    async def run(self) -> Seen:
        """Read everything, twice what is open.

        Raises:
            WalkFailed: something can't be read.
            UnknownReference: something points to what is not understood.
        """
        for _ in range(2):
            await self._workflows("")
            await self._workflows(SYSTEM_WORKFLOWS, kind="hidden workflows")
            await self._schedules()
            await self._activities()
            await self._nexus_operations()
        return self.seen

    async def _workflows(self, query: str, *, kind: str | None = None) -> None:
        request = ListWorkflowExecutionsRequest(namespace=self._namespace, query=query, page_size=PAGE_SIZE)
        async for page in self._pages(self._service.list_workflow_executions, request, kind=kind):
            await self._all(self._workflow, page.executions)

    async def _workflow(self, info: Any) -> None:
        execution = info.execution
        key = (execution.workflow_id, execution.run_id)
        if key in self._closed:
            return
        of = f"Workflow {execution.workflow_id!r} (run {execution.run_id})"
        hashes = await self._references.add(info, of=of)
        if info.status in _OPEN:
            described = await self._call(
                self._service.describe_workflow_execution,
                DescribeWorkflowExecutionRequest(namespace=self._namespace, execution=execution),
                of=of,
                may_be_gone=True,
            )
            if described is None:
                return
            await self._references.add(described, of=of)
            # Taken before the history is read: one that has not moved since then needs no second look.
            moment = described.workflow_execution_info.state_transition_count
            if moment and self._moments.get(key) == moment:
                return
            self._moments[key] = moment
        request = GetWorkflowExecutionHistoryRequest(namespace=self._namespace, execution=execution)
        read = False
        async for page in self._pages(
            self._service.get_workflow_execution_history, request, of=of, may_be_gone=True
        ):
            hashes |= await self._references.add(page, of=of)
            self.seen.events += len(page.history.events)
            read = True
        if info.status not in _OPEN:
            self._closed.add(key)
        if read and SCHEDULED_BY in info.search_attributes.indexed_fields:
            chain = self.seen.chains.setdefault(info.first_run_id or execution.run_id, Chain())
            chain.seen = True
            chain.completed |= info.status == _COMPLETED
            chain.hashes |= hashes
        if read:
            self._count("executions", key)

    async def _schedules(self) -> None:
        request = ListSchedulesRequest(namespace=self._namespace, maximum_page_size=PAGE_SIZE)
        async for page in self._pages(self._service.list_schedules, request, kind="schedules"):
            await self._all(self._schedule, page.schedules)

    async def _schedule(self, entry: Any) -> None:
        of = f"Schedule {entry.schedule_id!r}"
        await self._references.add(entry, of=of)
        described = await self._call(
            self._service.describe_schedule,
            DescribeScheduleRequest(namespace=self._namespace, schedule_id=entry.schedule_id),
            of=of,
            may_be_gone=True,
        )
        if described is None:
            self.seen.actions.pop(entry.schedule_id, None)
            return
        await self._references.add(described, of=of)
        self.seen.actions[entry.schedule_id] = [
            Action(
                run_id=one.start_workflow_result.run_id,
                started=one.actual_time.ToDatetime(tzinfo=UTC),
            )
            for one in described.info.recent_actions
        ]
        self._count("schedules", ("", entry.schedule_id))

    async def _activities(self) -> None:
        request = ListActivityExecutionsRequest(namespace=self._namespace, page_size=PAGE_SIZE)
        async for page in self._pages(
            self._service.list_activity_executions, request, kind="standalone activities"
        ):
            await self._all(self._activity, page.executions)

    async def _activity(self, info: Any) -> None:
        await self._standalone(
            info,
            f"Activity {info.activity_id!r} (run {info.run_id})",
            self._service.describe_activity_execution,
            DescribeActivityExecutionRequest(
                namespace=self._namespace,
                activity_id=info.activity_id,
                run_id=info.run_id,
                include_input=True,
                include_outcome=True,
                include_heartbeat_details=True,
                include_last_failure=True,
            ),
        )

    async def _nexus_operations(self) -> None:
        request = ListNexusOperationExecutionsRequest(namespace=self._namespace, page_size=PAGE_SIZE)
        async for page in self._pages(
            self._service.list_nexus_operation_executions, request, kind="standalone Nexus operations"
        ):
            await self._all(self._nexus_operation, page.operations)

    async def _nexus_operation(self, info: Any) -> None:
        await self._standalone(
            info,
            f"Nexus operation {info.operation_id!r} (run {info.run_id})",
            self._service.describe_nexus_operation_execution,
            DescribeNexusOperationExecutionRequest(
                namespace=self._namespace,
                operation_id=info.operation_id,
                run_id=info.run_id,
                include_input=True,
                include_outcome=True,
            ),
        )

    async def _standalone(self, info: Any, of: str, call: Call, request: Any) -> None:
        await self._references.add(info, of=of)
        described = await self._call(call, request, of=of, may_be_gone=True)
        if described is not None:
            await self._references.add(described, of=of)
            self._count("standalone", ("standalone", info.run_id))

    async def _pages(
        self,
        call: Call,
        request: Any,
        *,
        of: str = "",
        kind: str | None = None,
        may_be_gone: bool = False,
    ) -> AsyncIterator[Any]:
        """All pages; none where a service lacks things of that `kind`, which it must say at once and each time."""
        optional = kind is not None
        while True:
            page = await self._call(call, request, of=of, optional=optional, may_be_gone=may_be_gone)
            if kind is not None and optional:
                (self.seen.absent if page is None else self._present).add(kind)
                if kind in self.seen.absent and kind in self._present:
                    raise WalkFailed(
                        f"The service says of {self._namespace!r} that it has {kind}, and that it has none. Nothing is deleted."
                    )
            if page is None:
                return
            yield page
            optional = False
            if not page.next_page_token:
                return
            request.next_page_token = page.next_page_token

    async def _call(
        self, call: Call, request: Any, *, of: str, optional: bool = False, may_be_gone: bool = False
    ) -> Any:
        """The answer; None if what is asked for is gone, or is of a kind that this service does not have.

        Raises:
            WalkFailed: the service refuses or fails, after the client's own retries.
        """
        try:
            return await call(request, retry=True, timeout=timedelta(seconds=CALL_TIMEOUT_S))
        except RPCError as error:
            if may_be_gone and error.status is RPCStatusCode.NOT_FOUND:
                return None
            if optional and (error.status is RPCStatusCode.UNIMPLEMENTED or _not_here(request, error)):
                return None
            raise WalkFailed(
                f"{of or 'The namespace'} of {self._namespace!r} can't be read: {error.message} "
                f"({error.status.name.lower()}). Nothing is deleted."
            ) from error

    async def _all(self, read: Callable[[Any], Awaitable[None]], found: Iterable[Any]) -> None:
        async def gated(one: Any) -> None:
            async with self._gate:
                await read(one)
            self._progress(self.seen)

        try:
            async with asyncio.TaskGroup() as group:
                for one in found:
                    group.create_task(gated(one))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    def _count(self, kind: str, key: tuple[str, str]) -> None:
        if key not in self._counted:
            self._counted.add(key)
            setattr(self.seen, kind, getattr(self.seen, kind) + 1)


def _not_here(request: Any, error: RPCError) -> bool:
    """Whether a service says by a refusal that it has no such things: no hidden workflows, standalone kinds switched off."""
    return error.status is RPCStatusCode.INVALID_ARGUMENT and (
        getattr(request, "query", "") == SYSTEM_WORKFLOWS or "disabled" in (error.message or "").lower()
    )
