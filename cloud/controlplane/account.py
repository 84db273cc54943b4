"""CloudService's methods on the account: itself, its regions, operations, usage and audit log."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta

from temporalio.api.cloud.account.v1 import message_pb2 as account_pb
from temporalio.api.cloud.cloudservice.v1 import request_response_pb2 as pb
from temporalio.api.cloud.region.v1 import message_pb2 as region_pb
from temporalio.api.cloud.resource.v1 import message_pb2 as resource_pb
from temporalio.api.cloud.usage.v1 import message_pb2 as usage_pb

from cloud.controlplane.call import Call
from cloud.controlplane.paging import page_request, page_token
from cloud.controlplane.ports import DayUsage, UsageReader
from cloud.controlplane.wire import audit_message, moment, operation_message, timestamp
from tenancy.errors import Fault, Missing, refuse_faults
from tenancy.office import Clock
from tenancy.service import Tenancy

USAGE_DAYS_MAX = 90
AUDIT_DAYS_DEFAULT = 30

_DAY = timedelta(days=1)


class AccountMethods:
    """What is about the account as a whole."""

    def __init__(self, tenancy: Tenancy, usage: UsageReader, clock: Clock, region: str) -> None:
        self._tenancy = tenancy
        self._usage = usage
        self._clock = clock
        self._region = region_pb.Region(id=region, location=region)

    async def get(self, request: pb.GetAccountRequest, call: Call) -> pb.GetAccountResponse:
        """GetAccount."""
        account = await self._tenancy.account(call.principal)
        return pb.GetAccountResponse(
            account=account_pb.Account(
                id=account.id,
                spec=account_pb.AccountSpec(),
                resource_version=str(account.version),
                state=resource_pb.RESOURCE_STATE_ACTIVE,
            )
        )

    async def regions(self, request: pb.GetRegionsRequest, call: Call) -> pb.GetRegionsResponse:
        """GetRegions: the one region of this cloud."""
        return pb.GetRegionsResponse(regions=[self._region])

    async def region(self, request: pb.GetRegionRequest, call: Call) -> pb.GetRegionResponse:
        """GetRegion."""
        if request.region != self._region.id:
            raise Missing(f"There is no region {request.region[:64]}; this cloud has one, {self._region.id}.")
        return pb.GetRegionResponse(region=self._region)

    async def operation(
        self, request: pb.GetAsyncOperationRequest, call: Call
    ) -> pb.GetAsyncOperationResponse:
        """GetAsyncOperation."""
        operation = await self._tenancy.operation(call.principal, request.async_operation_id)
        return pb.GetAsyncOperationResponse(async_operation=operation_message(operation))

    async def audit_logs(self, request: pb.GetAuditLogsRequest, call: Call) -> pb.GetAuditLogsResponse:
        """GetAuditLogs: changes in [start, end), oldest first; the last 30 days if nothing is said."""
        now = self._clock()
        start = moment(request.start_time_inclusive) if request.HasField("start_time_inclusive") else None
        end = moment(request.end_time_exclusive) if request.HasField("end_time_exclusive") else None
        found = await self._tenancy.audit_log(
            call.principal,
            page_request(request.page_size, request.page_token),
            start or now - AUDIT_DAYS_DEFAULT * _DAY,
            # A moment later, so that what happened just now is in it.
            end or now + timedelta(seconds=1),
        )
        return pb.GetAuditLogsResponse(
            logs=[audit_message(one) for one in found.items], next_page_token=page_token(found.next)
        )

    async def usage(self, request: pb.GetUsageRequest, call: Call) -> pb.GetUsageResponse:
        """GetUsage: whole days in UTC, not more than 90 days back, by namespace; the current month if nothing is said.

        A day that is not over is marked incomplete.
        """
        today = self._clock().astimezone(UTC).date()
        first, end = _usage_days(request, today)
        page = page_request(request.page_size, request.page_token)
        namespaces = await self._tenancy.usage_namespaces(call.principal)
        days = [first + number * _DAY for number in range((end - first).days)]
        days = [day for day in days if day.isoformat() > page.after]
        shown = days[: page.size]
        by_day: dict[date, list[DayUsage]] = defaultdict(list)
        if shown and namespaces:
            for one in await self._usage.daily(namespaces, shown[0], shown[-1] + _DAY):
                by_day[one.day].append(one)
        more = len(days) > len(shown)
        return pb.GetUsageResponse(
            summaries=[_summary(day, by_day[day], incomplete=day >= today) for day in shown],
            next_page_token=page_token(shown[-1].isoformat() if more else ""),
        )


def _usage_days(request: pb.GetUsageRequest, today: date) -> tuple[date, date]:
    faults: list[Fault] = []
    first, end = today.replace(day=1), today + _DAY
    if request.HasField("start_time_inclusive"):
        first = _midnight(moment(request.start_time_inclusive), "start_time_inclusive", faults)
    if request.HasField("end_time_exclusive"):
        end = _midnight(moment(request.end_time_exclusive), "end_time_exclusive", faults)
    if not faults and first < today - USAGE_DAYS_MAX * _DAY:
        faults.append(Fault(field="start_time_inclusive", problem=f"must be within {USAGE_DAYS_MAX} days"))
    if not faults and end > today + _DAY:
        faults.append(Fault(field="end_time_exclusive", problem="must not be after the end of today (UTC)"))
    if not faults and end <= first:
        faults.append(Fault(field="end_time_exclusive", problem="must be after start_time_inclusive"))
    refuse_faults(faults)
    return first, end


def _midnight(at: datetime, field: str, faults: list[Fault]) -> date:
    if at.time() != time():
        faults.append(Fault(field=field, problem="must be midnight in UTC"))
    return at.date()


def _summary(day: date, used: list[DayUsage], *, incomplete: bool) -> usage_pb.Summary:
    start = datetime.combine(day, time(), UTC)
    return usage_pb.Summary(
        start_time=timestamp(start),
        end_time=timestamp(start + _DAY),
        incomplete=incomplete,
        record_groups=[_record_group(one) for one in sorted(used, key=lambda one: one.namespace)],
    )


def _record_group(one: DayUsage) -> usage_pb.RecordGroup:
    byte_seconds = usage_pb.RECORD_UNIT_BYTE_SECONDS
    return usage_pb.RecordGroup(
        group_bys=[usage_pb.GroupBy(key=usage_pb.GROUP_BY_KEY_NAMESPACE, value=one.namespace)],
        records=[
            usage_pb.Record(
                type=usage_pb.RECORD_TYPE_ACTIONS, unit=usage_pb.RECORD_UNIT_NUMBER, value=one.actions
            ),
            usage_pb.Record(
                type=usage_pb.RECORD_TYPE_ACTIVE_STORAGE,
                unit=byte_seconds,
                value=one.active_storage_byte_seconds,
            ),
            usage_pb.Record(
                type=usage_pb.RECORD_TYPE_RETAINED_STORAGE,
                unit=byte_seconds,
                value=one.retained_storage_byte_seconds,
            ),
        ],
    )
