"""CloudService on the account: regions, operations, usage, audit log."""

import datetime as dt

import pytest
from temporalio.api.cloud.cloudservice.v1 import service_pb2
from temporalio.api.cloud.usage.v1 import message_pb2 as usage_pb

from cloud.controlplane.ports import DayUsage
from cloud.rpc import InvalidArgument, NotFound, PermissionDenied

from .conftest import NOW, Customer, Plane

DAY = dt.timedelta(days=1)
TODAY = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)


async def test_account_and_region(customer: Customer) -> None:
    assert (await customer.call("GetAccount")).account.id == customer.account_id
    regions = (await customer.call("GetRegions")).regions
    assert [region.id for region in regions] == ["local"]
    assert (await customer.call("GetRegion", region="local")).region == regions[0]
    with pytest.raises(NotFound, match="local"):
        await customer.call("GetRegion", region="aws-us-east-1")


async def test_operations_are_seen_within_the_account(plane: Plane, customer: Customer) -> None:
    namespace = await customer.namespace()
    found = await customer.call("GetAsyncOperation", async_operation_id=namespace.async_operation_id)
    assert found.async_operation.operation_type == "CreateNamespace"
    assert found.async_operation.operation_input.Is(
        service_pb2.DESCRIPTOR.services_by_name["CloudService"].methods_by_name["CreateNamespace"].input_type
    )
    eve = await plane.customer("eve@example.com")
    with pytest.raises(NotFound):
        await eve.call("GetAsyncOperation", async_operation_id=namespace.async_operation_id)


async def test_usage_by_day_and_namespace(plane: Plane, customer: Customer) -> None:
    orders, stock = (await customer.namespace()).namespace, (await customer.namespace("stock")).namespace
    await (await plane.customer("eve@example.com")).namespace("theirs")
    plane.usage.rows = [
        DayUsage(namespace=orders, day=dt.date(2026, 11, 23), actions=7, active_storage_byte_seconds=1.5),
        DayUsage(namespace=stock, day=dt.date(2026, 11, 24), actions=2),
    ]
    answer = await customer.call("GetUsage", start_time_inclusive=TODAY - DAY, end_time_exclusive=TODAY + DAY)
    assert plane.usage.asked == [((orders, stock), dt.date(2026, 11, 23), dt.date(2026, 11, 25))]
    yesterday, today = answer.summaries
    assert yesterday.start_time.ToDatetime(tzinfo=dt.UTC) == TODAY - DAY
    assert (yesterday.incomplete, today.incomplete) == (False, True)
    (group,) = yesterday.record_groups
    assert group.group_bys[0].value == orders
    values = {record.type: record.value for record in group.records}
    assert values[usage_pb.RECORD_TYPE_ACTIONS] == 7
    assert values[usage_pb.RECORD_TYPE_ACTIVE_STORAGE] == 1.5


async def test_usage_is_this_months_by_default_and_comes_in_pages(plane: Plane, customer: Customer) -> None:
    await customer.namespace()
    first = await customer.call("GetUsage", page_size=20)
    rest = await customer.call("GetUsage", page_size=20, page_token=first.next_page_token)
    assert rest.next_page_token == ""
    days = [one.start_time.ToDatetime().day for page in (first, rest) for one in page.summaries]
    assert days == list(range(1, 25))


async def test_usage_of_a_namespace_that_is_gone_is_still_shown(plane: Plane, customer: Customer) -> None:
    namespace = await customer.namespace()
    await customer.call(
        "DeleteNamespace", namespace=namespace.namespace, resource_version=namespace.resource_version
    )
    await customer.call("GetUsage")
    assert plane.usage.asked[0][0] == (namespace.namespace,)


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (NOW, TODAY + DAY, "midnight"),
        (TODAY - 91 * DAY, TODAY, "90 days"),
        (TODAY, TODAY, "after start"),
        (TODAY, TODAY + 2 * DAY, "end of today"),
    ],
)
async def test_bad_spans_of_usage_are_refused(
    customer: Customer, start: dt.datetime, end: dt.datetime, said: str
) -> None:
    with pytest.raises(InvalidArgument, match=said):
        await customer.call("GetUsage", start_time_inclusive=start, end_time_exclusive=end)


async def test_who_may_read_usage_and_audit_log(customer: Customer) -> None:
    rights = {
        "ADMIN": (True, True),
        "FINANCE_ADMIN": (True, False),
        "DEVELOPER": (False, False),
        "READ": (False, False),
    }
    numbers = {"ADMIN": 2, "DEVELOPER": 3, "FINANCE_ADMIN": 4, "READ": 5}
    for role, (usage, audit) in rights.items():
        one = await customer.service_account(role.lower().replace("_", "-"), role=numbers[role])
        for method, allowed in (("GetUsage", usage), ("GetAuditLogs", audit)):
            if allowed:
                await one.call(method)
            else:
                with pytest.raises(PermissionDenied):
                    await one.call(method)


async def test_every_change_is_in_the_audit_log(plane: Plane, customer: Customer) -> None:
    namespace = await customer.namespace()
    await customer.call(
        "UpdateNamespaceTags", namespace=namespace.namespace, tags_to_upsert={"tacit.guard": "off"}
    )
    await customer.service_account("robot")
    with pytest.raises(InvalidArgument):  # what was refused changed nothing, and is not told
        await customer.namespace("X")
    await (await plane.customer("eve@example.com")).namespace()
    logs = (await customer.call("GetAuditLogs")).logs
    assert sorted(log.operation for log in logs) == [
        "CreateApiKey",
        "CreateNamespace",
        "CreateNamespaceFulfilled",
        "CreateServiceAccount",
        "Signup",
        "UpdateNamespaceTags",
    ]
    tags = next(log for log in logs if log.operation == "UpdateNamespaceTags")
    assert tags.principal.name == "ada@example.com"
    assert tags.principal.api_key_id == customer.signed_up.api_key_id
    assert tags.raw_details["guard"] == "off"
    assert tags.async_operation_id
    later = await customer.call("GetAuditLogs", start_time_inclusive=NOW + DAY)
    assert list(later.logs) == []


async def test_the_audit_log_holds_no_secret(customer: Customer) -> None:
    robot = await customer.service_account("robot")
    text = str(await customer.call("GetAuditLogs"))
    assert customer.signed_up.api_key not in text
    assert "eyJ" not in text
    assert robot.principal.credential_id in text


async def test_the_stores_absence_is_unavailable(plane: Plane, customer: Customer) -> None:
    from cloud.controlplane.refusals import refusals
    from cloud.rpc import Unavailable

    with pytest.raises(Unavailable), refusals():
        raise ConnectionRefusedError("no route")
