"""CloudService on Nexus endpoints, by its handlers: an account's own, and nobody's to call but whom they name."""

from typing import Any

import pytest
from temporalio.api.cloud.identity.v1 import message_pb2 as identity_pb
from temporalio.api.cloud.nexus.v1 import message_pb2 as nexus_pb
from temporalio.api.cloud.operation.v1 import message_pb2 as operation_pb
from temporalio.api.cloud.resource.v1 import message_pb2 as resource_pb
from temporalio.api.common.v1 import Payload

from cloud.rpc import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from tenancy import nexus_endpoints

from .conftest import Customer, Plane, until

FULFILLED = operation_pb.AsyncOperation.STATE_FULFILLED
FAILED = operation_pb.AsyncOperation.STATE_FAILED
IN_PROGRESS = operation_pb.AsyncOperation.STATE_IN_PROGRESS
DEVELOPER = identity_pb.AccountAccess.ROLE_DEVELOPER


def spec_of(
    customer: Customer, name: str = "payments", target: str = "orders", *callers: str, **fields: Any
) -> nexus_pb.EndpointSpec:
    spec = nexus_pb.EndpointSpec(name=name, **fields)
    spec.target_spec.worker_target_spec.namespace_id = f"{target}.{customer.account_id}"
    spec.target_spec.worker_target_spec.task_queue = "pay"
    for caller in callers:
        full = f"{caller}.{customer.account_id}"
        spec.policy_specs.add().allowed_cloud_namespace_policy_spec.namespace_id = full
    return spec


async def made(customer: Customer, *callers: str, name: str = "payments") -> nexus_pb.Endpoint:
    reply = await customer.call("CreateNexusEndpoint", spec=spec_of(customer, name, "orders", *callers))
    assert reply.async_operation.state == FULFILLED
    return (await customer.call("GetNexusEndpoint", endpoint_id=reply.endpoint_id)).endpoint


@pytest.fixture
async def shop(customer: Customer) -> Customer:
    """A customer with two namespaces."""
    await customer.namespace("orders")
    await customer.namespace("shop")
    return customer


async def test_an_endpoint_from_first_to_last(plane: Plane, shop: Customer) -> None:
    endpoint = await made(shop, "shop")
    assert endpoint.state == resource_pb.RESOURCE_STATE_ACTIVE
    on_cell = plane.cell.endpoints[endpoint.id]
    assert (on_cell.name, on_cell.target_task_queue) == ("payments", "pay")
    assert on_cell.target_namespace == f"orders.{shop.account_id}"
    assert on_cell.callers == (f"shop.{shop.account_id}",)

    spec = spec_of(shop, "payments", "shop")
    spec.description.CopyFrom(Payload(metadata={"encoding": b"json/plain"}, data=b'"why"'))
    with pytest.raises(Aborted):
        await shop.call("UpdateNexusEndpoint", endpoint_id=endpoint.id, spec=spec, resource_version="99")
    await shop.call(
        "UpdateNexusEndpoint", endpoint_id=endpoint.id, spec=spec, resource_version=endpoint.resource_version
    )
    changed = (await shop.call("GetNexusEndpoint", endpoint_id=endpoint.id)).endpoint
    assert plane.cell.endpoints[endpoint.id].target_namespace == f"shop.{shop.account_id}"
    assert plane.cell.endpoints[endpoint.id].callers == ()
    assert changed.spec.description_deprecated == "why"

    await shop.call("DeleteNexusEndpoint", endpoint_id=endpoint.id, resource_version=changed.resource_version)
    assert not plane.cell.endpoints
    with pytest.raises(NotFound):
        await shop.call("GetNexusEndpoint", endpoint_id=endpoint.id)
    audit = await shop.call("GetAuditLogs")
    assert {"CreateNexusEndpoint", "DeleteNexusEndpoint"} <= {record.operation for record in audit.logs}


async def test_accounts_do_not_see_each_others_and_may_use_the_same_names(
    plane: Plane, shop: Customer
) -> None:
    rival = await plane.customer("eve@example.com")
    await rival.namespace("orders")
    ours, theirs = await made(shop), await made(rival)
    assert {one.name for one in plane.cell.endpoints.values()} == {"payments"}
    assert len(plane.cell.endpoints) == 2
    for customer, own, other in ((shop, ours, theirs), (rival, theirs, ours)):
        listed = (await customer.call("GetNexusEndpoints")).endpoints
        assert [one.id for one in listed] == [own.id]
        with pytest.raises(NotFound):
            await customer.call("GetNexusEndpoint", endpoint_id=other.id)
        with pytest.raises(NotFound):
            await customer.call("DeleteNexusEndpoint", endpoint_id=other.id, resource_version="1")
        with pytest.raises(NotFound):
            await customer.call(
                "UpdateNexusEndpoint", endpoint_id=other.id, spec=spec_of(customer), resource_version="1"
            )


async def test_only_namespaces_of_the_account_are_targets_or_callers(plane: Plane, shop: Customer) -> None:
    rival = await plane.customer("eve@example.com")
    await rival.namespace("theirs")
    foreign = spec_of(shop)
    foreign.target_spec.worker_target_spec.namespace_id = f"theirs.{rival.account_id}"
    with pytest.raises(InvalidArgument, match="the account has no such open namespace: "):
        await shop.call("CreateNexusEndpoint", spec=foreign)
    calling = spec_of(shop)
    caller = calling.policy_specs.add().allowed_cloud_namespace_policy_spec
    caller.namespace_id = f"theirs.{rival.account_id}"
    with pytest.raises(InvalidArgument, match="is no namespace of this account"):
        await shop.call("CreateNexusEndpoint", spec=calling)
    assert not plane.cell.endpoints


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda spec: setattr(spec, "name", "-bad"), "spec.name"),
        (lambda spec: setattr(spec, "name", "x" * 201), "spec.name"),
        (lambda spec: spec.ClearField("target_spec"), "worker_target_spec: is needed"),
        (lambda spec: setattr(spec.target_spec.worker_target_spec, "task_queue", ""), "task_queue"),
        (lambda spec: setattr(spec.target_spec.worker_target_spec, "task_queue", "/_sys/x"), "task_queue"),
        (lambda spec: spec.policy_specs.add(), "must allow a namespace"),
        (lambda spec: spec.description.CopyFrom(Payload(data=b"x" * 20_001)), "spec.description"),
    ],
)
async def test_bad_specs(shop: Customer, change: Any, sentence: str) -> None:
    spec = spec_of(shop)
    change(spec)
    with pytest.raises(InvalidArgument, match=sentence):
        await shop.call("CreateNexusEndpoint", spec=spec)


async def test_names_are_unique_in_an_account(shop: Customer) -> None:
    await made(shop)
    with pytest.raises(AlreadyExists):
        await shop.call("CreateNexusEndpoint", spec=spec_of(shop))
    other = await made(shop, name="refunds")
    with pytest.raises(AlreadyExists):
        await shop.call(
            "UpdateNexusEndpoint",
            endpoint_id=other.id,
            spec=spec_of(shop),
            resource_version=other.resource_version,
        )
    listed = await shop.call("GetNexusEndpoints", name="refunds")
    assert [one.id for one in listed.endpoints] == [other.id]
    target = f"shop.{shop.account_id}"
    assert not (await shop.call("GetNexusEndpoints", target_namespace_id=target)).endpoints


async def test_who_may(shop: Customer) -> None:
    reader = await shop.service_account("reader")
    developer = await shop.service_account("developer", DEVELOPER, orders="admin")
    elsewhere = await shop.service_account("elsewhere", DEVELOPER, shop="admin")
    for actor in (reader, elsewhere):
        with pytest.raises(PermissionDenied):
            await actor.call("CreateNexusEndpoint", spec=spec_of(shop))
    endpoint = await made(developer)
    assert (await reader.call("GetNexusEndpoints")).endpoints[0].id == endpoint.id
    for actor in (reader, elsewhere):
        with pytest.raises(PermissionDenied):
            await actor.call(
                "DeleteNexusEndpoint", endpoint_id=endpoint.id, resource_version=endpoint.resource_version
            )


async def test_a_target_can_not_be_deleted_and_a_caller_that_is_may_call_no_more(
    plane: Plane, shop: Customer
) -> None:
    endpoint = await made(shop, "shop")
    orders = (await shop.call("GetNamespace", namespace=f"orders.{shop.account_id}")).namespace
    with pytest.raises(FailedPrecondition, match="is the target of the Nexus endpoint payments"):
        await shop.call(
            "DeleteNamespace", namespace=orders.namespace, resource_version=orders.resource_version
        )
    caller = (await shop.call("GetNamespace", namespace=f"shop.{shop.account_id}")).namespace
    await shop.call("DeleteNamespace", namespace=caller.namespace, resource_version=caller.resource_version)
    assert not (await shop.call("GetNexusEndpoint", endpoint_id=endpoint.id)).endpoint.spec.policy_specs


async def test_there_is_a_most(shop: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nexus_endpoints, "ENDPOINTS_MAX", 1)
    monkeypatch.setattr(nexus_endpoints, "CALLERS_MAX", 1)
    with pytest.raises(InvalidArgument, match="at most 1 namespaces"):
        await made(shop, "shop", "orders")
    await made(shop)
    with pytest.raises(ResourceExhausted):
        await made(shop, name="refunds")


async def test_the_same_operation_is_one(shop: Customer) -> None:
    replies = [
        await shop.call("CreateNexusEndpoint", spec=spec_of(shop), async_operation_id="once")
        for _ in range(2)
    ]
    assert replies[0] == replies[1]
    assert len((await shop.call("GetNexusEndpoints")).endpoints) == 1


async def test_what_a_crash_left_is_taken_up(
    plane: Plane, shop: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cloud.controlplane import provisioning

    monkeypatch.setattr(provisioning, "PATIENCE_SECONDS", 0.01)

    async def out_of_reach() -> None:
        raise Unavailable("the cell is away")

    plane.cell.before = out_of_reach
    reply = await shop.call("CreateNexusEndpoint", spec=spec_of(shop))
    assert reply.async_operation.state == IN_PROGRESS
    await plane.control_plane.close()
    plane.cell.before = None
    again = await plane.restarted()
    assert await again.control_plane.resume() == 1
    await until(lambda: reply.endpoint_id in plane.cell.endpoints)
    await again.control_plane.close()
    await again.tenancy.close()


async def test_a_cell_that_refuses_for_good_fails_the_operation(plane: Plane, shop: Customer) -> None:
    async def refuses() -> None:
        raise FailedPrecondition("the endpoint's target is not on this cell")

    plane.cell.before = refuses
    reply = await shop.call("CreateNexusEndpoint", spec=spec_of(shop))
    assert reply.async_operation.state == FAILED
    plane.cell.before = None
    endpoint = (await shop.call("GetNexusEndpoint", endpoint_id=reply.endpoint_id)).endpoint
    assert endpoint.state == resource_pb.RESOURCE_STATE_ACTIVATION_FAILED
    await shop.call(
        "UpdateNexusEndpoint",
        endpoint_id=endpoint.id,
        spec=spec_of(shop),
        resource_version=endpoint.resource_version,
    )
    assert endpoint.id in plane.cell.endpoints
