"""Bounds of what is kept of workers, and what a filter refuses."""

from __future__ import annotations

import pytest
from temporalio.api.worker.v1 import PluginInfo, WorkerHeartbeat
from temporalio.api.workflowservice.v1 import (
    CountWorkersRequest,
    DescribeNamespaceRequest,
    ListWorkersRequest,
    RecordWorkerHeartbeatRequest,
    UpdateWorkerConfigRequest,
)

from cloud.engine.runtime import worker_registry
from cloud.engine.runtime.dynamic_config import WORKER_COMMANDS, WORKER_HEARTBEATS, DynamicConfig
from tests.engine.api.calling import NAMESPACE, Api, refusal


async def record(api: Api, *keys: str, **fields: object) -> None:
    heartbeats = [WorkerHeartbeat(worker_instance_key=key, task_queue="tq", **fields) for key in keys]  # type: ignore[arg-type]
    await api(
        "RecordWorkerHeartbeat",
        RecordWorkerHeartbeatRequest(namespace=NAMESPACE, worker_heartbeat=heartbeats),
    )


async def keys(api: Api, query: str = "", **fields: object) -> list[str]:
    """All pages' keys."""
    found: list[str] = []
    request = ListWorkersRequest(namespace=NAMESPACE, query=query, **fields)  # type: ignore[arg-type]
    while True:
        reply = await api("ListWorkers", request)
        found += [worker.worker_instance_key for worker in reply.workers]
        if not reply.next_page_token:
            return found
        request.next_page_token = reply.next_page_token


async def test_the_longest_silent_go_first(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_registry, "WORKERS_MAX", 3)
    await record(api, "a", "b", "c")
    await record(api, "a")
    await record(api, "d")
    assert await keys(api) == ["a", "c", "d"]


async def test_a_namespace_has_only_so_many_bytes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_registry, "BYTES_MAX", 2_500)
    for key in "abc":
        await record(api, key, sdk_name="x" * 1_000)
    assert await keys(api) == ["b", "c"]
    await record(api, "c")
    await record(api, "a", sdk_name="x" * 1_000)
    assert await keys(api) == ["a", "b", "c"]


async def test_the_silent_are_forgotten(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await record(api, "a")
    monkeypatch.setattr(worker_registry, "SILENT_MAX_NS", -1)
    assert await keys(api) == []
    api.runtime.workers.sweep()
    assert not api.runtime.workers._rooms


async def test_namespaces_see_their_own(api: Api) -> None:
    await record(api, "a")
    assert api.runtime.workers.find("other-id", "a") is None
    assert api.runtime.workers.workers("other-id") == []


async def test_a_heartbeat_has_a_size(api: Api) -> None:
    plugins = [PluginInfo(name="x" * 1_000)] * 70
    assert (await refusal(record(api, "a", plugins=plugins))).startswith(
        "INVALID_ARGUMENT: The heartbeat of worker a has "
    )
    assert await keys(api) == []


async def test_large_workers_make_small_pages(api: Api) -> None:
    names = [f"{number:03}" for number in range(40)]
    await record(api, *names, plugins=[PluginInfo(name="x" * 1_000)] * 60)
    reply = await api("ListWorkers", ListWorkersRequest(namespace=NAMESPACE))
    assert 0 < len(reply.workers) < 40
    assert reply.ByteSize() < 4_000_000
    assert await keys(api) == names


async def test_filters_beyond_the_real_servers(api: Api) -> None:
    await record(api, "a", "b", "c")
    assert await keys(api, "NOT WorkerInstanceKey = 'a'") == ["b", "c"]
    assert await keys(api, "WorkerInstanceKey IN ('a', 'c')", page_size=1) == ["a", "c"]
    count = CountWorkersRequest(namespace=NAMESPACE, query="Colour = 'red'")
    assert "unknown or unsupported worker heartbeat search field: Colour" in await refusal(
        api("CountWorkers", count)
    )
    for query in ("WorkflowId = 'x'", "TaskQueue = ", "x" * 70_000, "TaskQueue = 'a' GROUP BY TaskQueue"):
        assert (await refusal(keys(api, query))).startswith("INVALID_ARGUMENT: ")


async def test_a_token_belongs_to_its_query(api: Api) -> None:
    await record(api, "a", "b")
    reply = await api("ListWorkers", ListWorkersRequest(namespace=NAMESPACE, page_size=1))
    other = ListWorkersRequest(
        namespace=NAMESPACE, query="TaskQueue = 'tq'", next_page_token=reply.next_page_token
    )
    assert "invalid next_page_token" in await refusal(api("ListWorkers", other))


async def test_switched_off(api: Api) -> None:
    api.runtime.dynamic_config = DynamicConfig({WORKER_HEARTBEATS: False, WORKER_COMMANDS: True})
    await record(api, "a")
    assert await keys(api) == []
    described = await api("DescribeNamespace", DescribeNamespaceRequest(namespace=NAMESPACE))
    assert not described.namespace_info.capabilities.worker_heartbeats
    update = UpdateWorkerConfigRequest(namespace=NAMESPACE)
    assert await refusal(api("UpdateWorkerConfig", update)) == "INVALID_ARGUMENT: WorkerConfig is not set"
