"""Schedules: created, described, changed, triggered, listed and deleted."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final, cast

from temporalio.api.common.v1 import Memo, SearchAttributes
from temporalio.api.enums.v1 import TaskQueueKind, WorkflowIdReusePolicy
from temporalio.api.errordetails.v1 import WorkflowExecutionAlreadyStartedFailure
from temporalio.api.schedule.v1 import Schedule as Definition
from temporalio.api.schedule.v1 import ScheduleListEntry
from temporalio.api.workflow.v1 import NewWorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CountSchedulesRequest,
    CountSchedulesResponse,
    CreateScheduleRequest,
    CreateScheduleResponse,
    DeleteScheduleRequest,
    DeleteScheduleResponse,
    DescribeScheduleRequest,
    DescribeScheduleResponse,
    ListScheduleMatchingTimesRequest,
    ListScheduleMatchingTimesResponse,
    ListSchedulesRequest,
    ListSchedulesResponse,
    PatchScheduleRequest,
    PatchScheduleResponse,
    UpdateScheduleRequest,
    UpdateScheduleResponse,
)

from cloud.engine.api import checks
from cloud.engine.api.search_attributes import check_search_attributes
from cloud.engine.core import retry
from cloud.engine.core.clock import timestamp, to_ns
from cloud.engine.core.schedule import Schedule
from cloud.engine.core.schedule_spec import InvalidSpec, canonical, filled
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.schedules import ScheduleExists, Schedules, TokenMismatch
from cloud.engine.runtime.tokens import LIST_PAGE, BadToken, ListPageToken
from cloud.engine.runtime.visible import SCHEDULES_OF
from cloud.engine.store.schema import visibility
from cloud.engine.store.search_attribute_values import described
from cloud.engine.store.visibility import CursorError
from cloud.engine.store.visibility_attributes import NAMESPACE_DIVISION, PREDEFINED, SYSTEM, AttributeTypes
from cloud.engine.store.visibility_conditions import FilterError, ListFilter, attributes_of
from cloud.engine.store.visibility_filter import parse_filter
from cloud.rpc import AlreadyExists, CallContext, FailedPrecondition, InvalidArgument

PAGE_SIZE_MAX: Final = 1_000
MATCHING_TIMES_MAX: Final = 1_000
ENTRIES_AT_ONCE: Final = 20
NOTES_LENGTH_MAX: Final = 1_000
_LONGEST_SUFFIX: Final = "-2009-11-10T23:00:00Z"
"""What is appended to the workflow ids of a schedule's runs, for their length."""

_Reuse = WorkflowIdReusePolicy


class ScheduleMethods:
    """See the module's head."""

    def __init__(self, runtime: Runtime, schedules: Schedules) -> None:
        self._runtime = runtime
        self._schedules = schedules

    async def create_schedule(
        self, request: CreateScheduleRequest, context: CallContext
    ) -> CreateScheduleResponse:
        """Make a schedule."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.require(request.schedule_id, "ScheduleId")
        checks.check_id_length(request.schedule_id, "ScheduleId", self._runtime.limits)
        checks.require(request.request_id, "RequestId")
        checks.check_length(request.request_id, "RequestId", self._runtime.limits)
        defined = self._checked(namespace, request.schedule_id, request.schedule)
        checks.check_memo(request.memo, self._runtime.limits)
        check_search_attributes(namespace, request.search_attributes)
        _check_notes(request.initial_patch.pause, request.initial_patch.unpause)
        try:
            token = await self._schedules.create(
                namespace,
                request.schedule_id,
                defined,
                request_id=request.request_id,
                memo=request.memo if request.HasField("memo") else None,
                search_attributes=(
                    request.search_attributes if request.HasField("search_attributes") else None
                ),
                patch=request.initial_patch if request.HasField("initial_patch") else None,
            )
        except ScheduleExists as error:
            raise AlreadyExists(str(error), WorkflowExecutionAlreadyStartedFailure()) from None
        return CreateScheduleResponse(conflict_token=_token(token))

    async def describe_schedule(
        self, request: DescribeScheduleRequest, context: CallContext
    ) -> DescribeScheduleResponse:
        """A schedule, what it did and what it will do."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.require(request.schedule_id, "ScheduleId")
        schedule = await self._schedules.describe(namespace, request.schedule_id)
        response = DescribeScheduleResponse(
            schedule=schedule.defined,
            info=schedule.info(),
            conflict_token=_token(schedule.state.conflict_token),
            memo=Memo.FromString(schedule.state.memo) if schedule.state.memo else None,
            search_attributes=_attributes(namespace, schedule),
        )
        response.schedule.spec.CopyFrom(filled(schedule.defined.spec))
        return response

    async def update_schedule(
        self, request: UpdateScheduleRequest, context: CallContext
    ) -> UpdateScheduleResponse:
        """Replace what a schedule does."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.require(request.schedule_id, "ScheduleId")
        checks.check_length(request.request_id, "RequestId", self._runtime.limits)
        defined = self._checked(namespace, request.schedule_id, request.schedule)
        checks.check_memo(request.memo, self._runtime.limits)
        check_search_attributes(namespace, request.search_attributes)
        try:
            await self._schedules.update(
                namespace,
                request.schedule_id,
                defined,
                request_id=request.request_id,
                conflict_token=int.from_bytes(request.conflict_token, "big"),
                memo=request.memo if request.HasField("memo") else None,
                search_attributes=(
                    request.search_attributes if request.HasField("search_attributes") else None
                ),
            )
        except TokenMismatch as error:
            raise FailedPrecondition(str(error)) from None
        return UpdateScheduleResponse()

    async def patch_schedule(
        self, request: PatchScheduleRequest, context: CallContext
    ) -> PatchScheduleResponse:
        """Trigger, backfill, pause or unpause a schedule."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.require(request.schedule_id, "ScheduleId")
        if not request.HasField("patch"):
            raise InvalidArgument("Patch is not set on request.")
        checks.check_length(request.request_id, "RequestId", self._runtime.limits)
        _check_notes(request.patch.pause, request.patch.unpause)
        await self._schedules.patch(
            namespace, request.schedule_id, request.patch, request_id=request.request_id
        )
        return PatchScheduleResponse()

    async def delete_schedule(
        self, request: DeleteScheduleRequest, context: CallContext
    ) -> DeleteScheduleResponse:
        """Remove a schedule; the runs that it started go on."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.require(request.schedule_id, "ScheduleId")
        await self._schedules.delete(namespace, request.schedule_id)
        return DeleteScheduleResponse()

    async def list_schedule_matching_times(
        self, request: ListScheduleMatchingTimesRequest, context: CallContext
    ) -> ListScheduleMatchingTimesResponse:
        """The times of a schedule's spec in a range, whatever it does at them."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        checks.require(request.schedule_id, "ScheduleId")
        schedule = await self._schedules.describe(namespace, request.schedule_id)
        if not request.HasField("start_time") or not request.HasField("end_time"):
            raise InvalidArgument("missing or invalid query")
        response = ListScheduleMatchingTimesResponse()
        at, end = to_ns(request.start_time), to_ns(request.end_time)
        try:
            for _ in range(MATCHING_TIMES_MAX):
                time = schedule.spec.next(at)
                if time is None or time.actual > end:
                    break
                at = time.actual
                response.start_time.append(timestamp(at))
        except InvalidSpec as error:
            raise InvalidArgument(f"invalid schedule: {error}") from None
        return response

    async def list_schedules(
        self, request: ListSchedulesRequest, context: CallContext
    ) -> ListSchedulesResponse:
        """A page of the schedules that a filter finds, the newest first."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        list_filter = _parsed(namespace, request.query)
        division = SCHEDULES_OF + namespace.namespace_id
        fingerprint = hashlib.sha256(request.query.encode()).digest()[:8]
        tokens, cursor = self._runtime.tokens, None
        if request.next_page_token:
            try:
                token: ListPageToken = tokens.read(
                    request.next_page_token, LIST_PAGE, division, ListPageToken
                )
            except BadToken:
                raise InvalidArgument("Invalid NextPageToken.") from None
            if token.query != fingerprint:
                raise InvalidArgument("Invalid NextPageToken.")
            cursor = token.cursor
        asked = request.maximum_page_size
        size = asked if 0 < asked <= PAGE_SIZE_MAX else PAGE_SIZE_MAX
        try:
            rows, following = await self._runtime.database.list(
                namespace.namespace_id, lambda c: visibility.list_page(c, division, list_filter, size, cursor)
            )
        except CursorError:
            raise InvalidArgument("Invalid NextPageToken.") from None
        found = await self._schedules.page(namespace, [row.workflow_id for row in rows])
        response = ListSchedulesResponse()
        for index, row in enumerate(rows):
            if index % ENTRIES_AT_ONCE == 0:
                await asyncio.sleep(0)  # each tells some times to come, which takes a while
            schedule = found.get(row.workflow_id)
            if schedule is not None:
                response.schedules.append(_entry(namespace, row.workflow_id, schedule))
        if following is not None:
            response.next_page_token = tokens.make(LIST_PAGE, division, ListPageToken(fingerprint, following))
        return response

    async def count_schedules(
        self, request: CountSchedulesRequest, context: CallContext
    ) -> CountSchedulesResponse:
        """How many schedules a filter finds."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        list_filter = _parsed(namespace, request.query)
        counted = await self._runtime.database.list(
            namespace.namespace_id,
            lambda c: visibility.count(c, SCHEDULES_OF + namespace.namespace_id, list_filter),
        )
        return CountSchedulesResponse(count=counted.total)

    # --- checks ---

    def _checked(self, namespace: Namespace, schedule_id: str, given: Definition) -> Definition:
        """The definition in its canonical form.

        Raises:
            InvalidArgument: it can't be carried out.
        """
        defined = Definition()
        defined.CopyFrom(given)
        if not given.action.HasField("start_workflow"):
            raise InvalidArgument("Only StartWorkflow action is supported for schedules")
        try:
            defined.spec.CopyFrom(canonical(given.spec))
            # The first look tells whether its exclusions leave anything to be found.
            self._schedules.compile(namespace, schedule_id, defined.spec).next(self._runtime.clock.now())
        except InvalidSpec as error:
            raise InvalidArgument(f"Invalid schedule spec: {error}") from None
        self._check_action(namespace, defined.action.start_workflow)
        checks.check_duration(defined.policies.catchup_window, "CatchupWindow")
        _check_notes(defined.state.notes)
        return defined

    def _check_action(self, namespace: Namespace, action: NewWorkflowExecutionInfo) -> None:
        limits = self._runtime.limits
        checks.check_id_length(action.workflow_id + _LONGEST_SUFFIX, "WorkflowId", limits)
        if not action.workflow_type.name:
            raise InvalidArgument("WorkflowType is not set on request.")
        checks.check_length(action.workflow_type.name, "WorkflowType", limits)
        checks.check_task_queue(action, limits)
        checks.check_duration(action.workflow_execution_timeout, "WorkflowExecutionTimeoutSeconds")
        checks.check_duration(action.workflow_run_timeout, "WorkflowRunTimeoutSeconds")
        checks.check_duration(action.workflow_task_timeout, "WorkflowTaskTimeoutSeconds")
        if action.cron_schedule:
            raise InvalidArgument("Scheduled workflow must not contain CronSchedule")
        if action.workflow_id_reuse_policy not in (
            _Reuse.WORKFLOW_ID_REUSE_POLICY_UNSPECIFIED,
            _Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
        ):
            raise InvalidArgument("Scheduled workflow must not contain WorkflowIDReusePolicy")
        if action.HasField("retry_policy"):
            retry.check(action.retry_policy)
        checks.check_blob(action.input, "input", limits)
        checks.check_memo(action.memo, limits)
        check_search_attributes(namespace, action.search_attributes)
        action.task_queue.kind = action.task_queue.kind or TaskQueueKind.TASK_QUEUE_KIND_NORMAL


def _check_notes(*notes: str) -> None:
    if any(len(note.encode()) > NOTES_LENGTH_MAX for note in notes):
        raise InvalidArgument("Schedule notes exceeds limit.")


def _token(token: int) -> bytes:
    return token.to_bytes(8, "big")


def _attributes(namespace: Namespace, schedule: Schedule) -> SearchAttributes | None:
    if not schedule.state.search_attributes:
        return None
    given = SearchAttributes.FromString(schedule.state.search_attributes)
    return described(given, cast("AttributeTypes", namespace.search_attributes))


def _entry(namespace: Namespace, schedule_id: str, schedule: Schedule) -> ScheduleListEntry:
    return ScheduleListEntry(
        schedule_id=schedule_id,
        memo=Memo.FromString(schedule.state.memo),
        search_attributes=_attributes(namespace, schedule),
        info=schedule.list_info(),
    )


def _parsed(namespace: Namespace, query: str) -> ListFilter:
    try:
        found = parse_filter(query, cast("AttributeTypes", namespace.search_attributes))
    except FilterError as error:
        raise InvalidArgument(str(error)) from None
    named = list(attributes_of(found.condition)) if found.condition is not None else []
    if found.group_by is not None:
        named.append(found.group_by)
    for attribute in named:
        if attribute.field == "TemporalSchedulePaused" or attribute.alias.endswith("ScheduleId"):
            continue
        if attribute.field == NAMESPACE_DIVISION:
            continue  # every filter has a condition on it, whatever the caller wrote
        if attribute.field in SYSTEM or attribute.field in PREDEFINED:
            raise InvalidArgument(f'invalid query filter for schedules: cannot filter on "{attribute.alias}"')
    return found
