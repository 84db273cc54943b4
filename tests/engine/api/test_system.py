"""What the service says of itself."""

from __future__ import annotations

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.workflowservice.v1 import (
    GetClusterInfoRequest,
    GetSearchAttributesRequest,
    GetSystemInfoRequest,
)

from cloud.engine.store.database import Database
from tests.engine.api.calling import Api, started


async def test_capabilities_are_only_those_that_work(api: Api) -> None:
    """What is not here makes an SDK fall back or refuse by itself; what is, it uses at once."""
    info = await api("GetSystemInfo", GetSystemInfoRequest())
    assert {field.name for field, _ in info.capabilities.ListFields()} == {
        "signal_and_query_header",
        "internal_error_differentiation",
        "activity_failure_include_heartbeat",
        "encoded_failure_attributes",
        "supports_schedules",
        "upsert_memo",
        "eager_workflow_start",
        "sdk_metadata",
        "count_group_by_execution_status",
        "nexus",
        "build_id_based_versioning",
    }


async def test_a_cell_keeps_its_id(database: Database) -> None:
    ids, stores = set(), set()
    for _ in range(2):
        async with started(database) as api:
            info = await api("GetClusterInfo", GetClusterInfoRequest())
            ids.add(info.cluster_id)
            stores |= {info.persistence_store, info.visibility_store}
            assert info.cluster_name == "active"
            assert info.history_shard_count == 1
    assert len(ids) == 1
    assert stores == {database.dialect}


async def test_search_attributes_of_every_namespace(api: Api) -> None:
    keys = (await api("GetSearchAttributes", GetSearchAttributesRequest())).keys
    assert keys["WorkflowId"] == IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    assert keys["StartTime"] == IndexedValueType.INDEXED_VALUE_TYPE_DATETIME
    assert keys["BuildIds"] == IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST
