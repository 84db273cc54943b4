import temporalio.api.workflowservice.v1 as ws

from .raw import Scenario


async def test_capabilities(s: Scenario) -> None:
    """Every capability that the engine has; the others turn true with their features."""
    reply = await s.service.get_system_info(ws.GetSystemInfoRequest())
    had = {
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
    }
    told = {field.name for field, value in reply.capabilities.ListFields() if value is True}
    assert had <= told
    assert reply.server_version


async def test_cluster_info(s: Scenario) -> None:
    reply = await s.service.get_cluster_info(ws.GetClusterInfoRequest())
    assert reply.cluster_id
    assert reply.cluster_name
    assert reply.history_shard_count > 0
    assert reply.server_version


async def test_search_attributes_are_listed(s: Scenario) -> None:
    reply = await s.service.get_search_attributes(ws.GetSearchAttributesRequest())
    assert {"WorkflowId", "RunId", "ExecutionStatus", "StartTime", "CloseTime", "TaskQueue"} <= set(
        reply.keys
    )
