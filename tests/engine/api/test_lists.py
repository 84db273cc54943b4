"""Lists and counts: pages, old forms, refusals. What filters find is tested in tests/engine/store."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Memo, Payload, WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.filter.v1 import (
    StartTimeFilter,
    StatusFilter,
    WorkflowExecutionFilter,
    WorkflowTypeFilter,
)
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    ListArchivedWorkflowExecutionsRequest,
    ListClosedWorkflowExecutionsRequest,
    ListOpenWorkflowExecutionsRequest,
    ListWorkflowExecutionsRequest,
    RegisterNamespaceRequest,
    ScanWorkflowExecutionsRequest,
    TerminateWorkflowExecutionRequest,
)

from cloud.engine.store.database import Database
from tests.engine.api.calling import NAMESPACE, Api, refusal, start, started

STATUS = WorkflowExecutionStatus


async def terminate(api: Api, workflow_id: str) -> None:
    execution = WorkflowExecution(workflow_id=workflow_id)
    request = TerminateWorkflowExecutionRequest(namespace=NAMESPACE, workflow_execution=execution)
    await api("TerminateWorkflowExecution", request)


async def listed(api: Api, query: str = "", **fields: Any) -> Any:
    request = ListWorkflowExecutionsRequest(**{"namespace": NAMESPACE, "query": query} | fields)
    return await api("ListWorkflowExecutions", request)


def ids(reply: Any) -> list[str]:
    return [info.execution.workflow_id for info in reply.executions]


async def test_a_list_has_what_was_acknowledged_before_it(database: Database) -> None:
    async with started(database) as api:
        for number in range(4):
            run_id = await start(api, f"wf{number}", memo=Memo(fields={"m": Payload(data=b"1")}))
            (found,) = (await listed(api, f"WorkflowId = 'wf{number}'")).executions
            assert (found.execution.run_id, found.type.name, found.task_queue) == (run_id, "demo", "tq")
            assert found.memo.fields["m"].data == b"1"
            assert found.status == STATUS.WORKFLOW_EXECUTION_STATUS_RUNNING
            assert found.root_execution == found.execution
            assert not found.HasField("close_time")
        await terminate(api, "wf1")
        (found,) = (await listed(api, "ExecutionStatus = 'Terminated'")).executions
        assert found.execution.workflow_id == "wf1"
        assert found.close_time.ToNanoseconds() >= found.start_time.ToNanoseconds()
        assert found.history_length == 3
        assert ids(await listed(api)) == ["wf3", "wf2", "wf0", "wf1"]


async def test_pages_join_without_a_gap(database: Database) -> None:
    async with started(database) as api:
        for number in range(7):
            await start(api, f"wf{number}")
        for method, request in (
            ("ListWorkflowExecutions", ListWorkflowExecutionsRequest),
            ("ScanWorkflowExecutions", ScanWorkflowExecutionsRequest),
        ):
            found, token = [], b""
            while True:
                page = await api(method, request(namespace=NAMESPACE, page_size=3, next_page_token=token))
                found += ids(page)
                token = page.next_page_token
                if not token:
                    break
            assert found == [f"wf{number}" for number in reversed(range(7))]


async def test_page_sizes(api: Api) -> None:
    for number in range(3):
        await start(api, f"wf{number}")
    for size in (0, -1, 3, 100_000):
        page = await listed(api, page_size=size)
        assert len(page.executions) == 3
        assert not page.next_page_token


async def test_page_tokens_are_bound_to_namespace_and_query(api: Api) -> None:
    for number in range(2):
        await start(api, f"wf{number}")
    retention = Duration(seconds=86_400)
    await api(
        "RegisterNamespace",
        RegisterNamespaceRequest(namespace="other", workflow_execution_retention_period=retention),
    )
    token = (await listed(api, page_size=1)).next_page_token
    for stolen in (
        listed(api, namespace="other", page_size=1, next_page_token=token),
        listed(api, "WorkflowId = 'wf0'", page_size=1, next_page_token=token),
        listed(api, next_page_token=token[:-1]),
        listed(api, next_page_token=token[:-1] + bytes([token[-1] ^ 1])),
        listed(api, next_page_token=b"garbage"),
    ):
        assert (await refusal(stolen)).startswith("INVALID_ARGUMENT: Invalid NextPageToken")
    assert ids(await listed(api, page_size=1, next_page_token=token)) == ["wf0"]


async def test_counts_in_groups(api: Api) -> None:
    for number in range(3):
        await start(api, f"wf{number}")
    await terminate(api, "wf0")

    async def count(query: str) -> Any:
        request = CountWorkflowExecutionsRequest(namespace=NAMESPACE, query=query)
        return await api("CountWorkflowExecutions", request)

    assert (await count("")).count == 3
    assert (await count("WorkflowId = 'none'")).count == 0
    grouped = await count("GROUP BY ExecutionStatus")
    assert grouped.count == 3
    found = {group.group_values[0].data: group.count for group in grouped.groups}
    assert found == {b'"Running"': 2, b'"Terminated"': 1}
    assert dict(grouped.groups[0].group_values[0].metadata) == {"encoding": b"json/plain", "type": b"Keyword"}
    assert (await refusal(count("GROUP BY WorkflowId"))).startswith("INVALID_ARGUMENT: invalid query: ")


async def test_the_older_lists_tell_open_from_closed(api: Api) -> None:
    for number in range(3):
        await start(api, f"it's \\ {number}")
    await terminate(api, "it's \\ 0")

    async def opened(**fields: Any) -> list[str]:
        request = ListOpenWorkflowExecutionsRequest(namespace=NAMESPACE, **fields)
        return ids(await api("ListOpenWorkflowExecutions", request))

    async def closed(**fields: Any) -> list[str]:
        request = ListClosedWorkflowExecutionsRequest(namespace=NAMESPACE, **fields)
        return ids(await api("ListClosedWorkflowExecutions", request))

    assert await opened() == ["it's \\ 2", "it's \\ 1"]
    assert await closed() == ["it's \\ 0"]
    assert await opened(execution_filter=WorkflowExecutionFilter(workflow_id="it's \\ 1")) == ["it's \\ 1"]
    assert await opened(type_filter=WorkflowTypeFilter(name="demo")) == ["it's \\ 2", "it's \\ 1"]
    assert await opened(type_filter=WorkflowTypeFilter(name="other' OR WorkflowType = 'demo")) == []
    terminated = StatusFilter(status=STATUS.WORKFLOW_EXECUTION_STATUS_TERMINATED)
    assert await closed(status_filter=terminated) == ["it's \\ 0"]
    completed = StatusFilter(status=STATUS.WORKFLOW_EXECUTION_STATUS_COMPLETED)
    assert await closed(status_filter=completed) == []
    past = StartTimeFilter(latest_time=Timestamp(seconds=5))
    assert await opened(start_time_filter=past) == await closed(start_time_filter=past) == []
    since = StartTimeFilter(earliest_time=Timestamp(seconds=5))
    assert len(await opened(start_time_filter=since) + await closed(start_time_filter=since)) == 3

    for status in (STATUS.WORKFLOW_EXECUTION_STATUS_RUNNING, STATUS.WORKFLOW_EXECUTION_STATUS_UNSPECIFIED):
        assert await refusal(closed(status_filter=StatusFilter(status=status))) == (
            "INVALID_ARGUMENT: StatusFilter must be specified and must be not Running."
        )
    turned = StartTimeFilter(earliest_time=Timestamp(seconds=9), latest_time=Timestamp(seconds=5))
    assert await refusal(opened(start_time_filter=turned)) == (
        "INVALID_ARGUMENT: EarliestTime in StartTimeFilter should not be larger than LatestTime."
    )


@pytest.mark.parametrize("namespace", ["", "nowhere"])
async def test_lists_of_no_namespace(api: Api, namespace: str) -> None:
    expected = (
        'NOT_FOUND: Namespace nowhere is not found. [NamespaceNotFoundFailure namespace: "nowhere"]'
        if namespace
        else "INVALID_ARGUMENT: Namespace is empty."
    )
    for method, request in (
        ("ListWorkflowExecutions", ListWorkflowExecutionsRequest),
        ("ScanWorkflowExecutions", ScanWorkflowExecutionsRequest),
        ("CountWorkflowExecutions", CountWorkflowExecutionsRequest),
        ("ListOpenWorkflowExecutions", ListOpenWorkflowExecutionsRequest),
        ("ListClosedWorkflowExecutions", ListClosedWorkflowExecutionsRequest),
        ("ListArchivedWorkflowExecutions", ListArchivedWorkflowExecutionsRequest),
    ):
        assert await refusal(api(method, request(namespace=namespace))) == expected


async def test_there_is_no_archive(api: Api) -> None:
    request = ListArchivedWorkflowExecutionsRequest(namespace=NAMESPACE)
    assert await refusal(api("ListArchivedWorkflowExecutions", request)) == (
        "INVALID_ARGUMENT: Cluster is not configured for visibility archival."
    )
