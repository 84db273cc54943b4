"""Nexus endpoints as the control plane makes them: put again and again, across restarts, called by none but those they name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from temporalio.api.cloud.nexus.v1 import Endpoint

from cloud.engine.core.errors import Invalid
from cloud.engine.store.database import Database
from cloud.rpc import CallContext, Caller, CallerKind, FailedPrecondition, PermissionDenied
from cloud.rpc.cell_methods import DELETE_NEXUS_ENDPOINT, PUT_NEXUS_ENDPOINT
from tests.engine.runtime.harness import CONTEXT, NAMESPACE, Engine, engine


def endpoint(endpoint_id: str, *callers: str, name: str = "ep", target: str = NAMESPACE) -> Endpoint:
    made = Endpoint(id=endpoint_id)
    made.spec.name = name
    made.spec.target_spec.worker_target_spec.namespace_id = target
    made.spec.target_spec.worker_target_spec.task_queue = "tq"
    for caller in callers:
        made.spec.policy_specs.add().allowed_cloud_namespace_policy_spec.namespace_id = caller
    return made


async def put(cell: Engine, made: Endpoint) -> None:
    await cell._service.call(PUT_NEXUS_ENDPOINT, made, CONTEXT)


def called(cell: Engine, namespace: str, name: str = "ep") -> str:
    """The id of the endpoint that workflows of a namespace call by a name; empty if there is none."""
    around = cell.runtime.around(cell.runtime.namespaces.by_name(namespace))
    try:
        return around.nexus_endpoint(name)
    except Invalid:
        return ""


async def other_namespace(cell: Engine, name: str = "other") -> None:
    base = cell.runtime.namespaces.by_name(NAMESPACE)
    made = replace(base, namespace_id=f"{name}-id", name=name)
    await cell.runtime.namespaces.create(made, cell.runtime.lease.epoch)


async def test_the_same_name_is_another_to_each_caller(database: Database) -> None:
    async with engine(database) as cell:
        await other_namespace(cell)
        await put(cell, endpoint("one", NAMESPACE))
        await put(cell, endpoint("two", "other"))
        await put(cell, endpoint("two", "other"))
        assert (called(cell, NAMESPACE), called(cell, "other")) == ("one", "two")
    async with engine(database) as cell:
        assert (called(cell, NAMESPACE), called(cell, "other")) == ("one", "two")
        # Another name, and nobody any more under the old one.
        await put(cell, endpoint("one", NAMESPACE, "gone", name="renamed"))
        assert (called(cell, NAMESPACE), called(cell, NAMESPACE, "renamed")) == ("", "one")
        await put(cell, endpoint("two"))
        assert called(cell, "other") == ""
        await cell._service.call(DELETE_NEXUS_ENDPOINT, Endpoint(id="one"), CONTEXT)
        await cell._service.call(DELETE_NEXUS_ENDPOINT, Endpoint(id="one"), CONTEXT)
    async with engine(database) as cell:
        assert called(cell, NAMESPACE, "renamed") == ""
        assert [found.endpoint_id for found in cell.runtime.nexus_endpoints.all()] == ["two"]


async def test_an_endpoint_that_took_over_a_name_keeps_it(database: Database) -> None:
    async with engine(database) as cell:
        await put(cell, endpoint("old", NAMESPACE))
        await put(cell, endpoint("new", NAMESPACE))
        await cell._service.call(DELETE_NEXUS_ENDPOINT, Endpoint(id="old"), CONTEXT)
        assert called(cell, NAMESPACE) == "new"


async def test_what_is_refused(database: Database) -> None:
    async with engine(database) as cell:
        with pytest.raises(FailedPrecondition, match="is not on this cell"):
            await put(cell, endpoint("one", target="nowhere"))
        outside = CallContext(caller=Caller(kind=CallerKind.API_KEY, id="user:eve"))
        for method in (PUT_NEXUS_ENDPOINT, DELETE_NEXUS_ENDPOINT):
            with pytest.raises(PermissionDenied):
                await cell._service.call(method, endpoint("one", NAMESPACE), outside)
