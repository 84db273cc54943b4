"""Lists and counts of standalone Nexus operations."""

import asyncio
from typing import Any

import pytest
import temporalio.api.workflowservice.v1 as ws
from temporalio.api.common.v1 import SearchAttributes
from temporalio.service import RPCError

from . import commands as c
from .nexus import answer, create_endpoint, operation_failed, poll_nexus, sync
from .nexus_operations import Operation
from .raw import Scenario
from .rendering import error, render
from .snapshots import expect, grouped

HIDDEN = frozenset({"run_id", "execution_duration", "state_size_bytes"})


@pytest.fixture
async def ops(s: Scenario) -> dict[str, Operation]:
    """Four operations: one that runs, one completed, one failed, one terminated."""
    endpoint = await create_endpoint(s)
    found: dict[str, Operation] = {}
    for name in ("done", "failed", "ended", "open"):
        op = found[name] = Operation(s, endpoint)
        op.id = s.id(name)
        words = c.payload(["a", name])
        words.metadata["type"] = b"KeywordList"
        await op.start(
            service=f"svc-{name[:1]}",
            search_attributes=SearchAttributes(
                indexed_fields={"ScenarioKeyword": c.keyword(s.id(name)), "ScenarioWords": words}
            ),
        )
        if name == "done":
            await answer(s, await poll_nexus(s), sync("out"))
            await op.outcome()
        elif name == "failed":
            await answer(s, await poll_nexus(s), operation_failed(c.failure("bad")))
            await op.outcome()
        elif name == "ended":
            await poll_nexus(s)
            await op.terminate()
    for _ in range(100):
        of = f"Endpoint = '{endpoint.spec.name}'"
        closed = await found["done"].count(f"{of} AND ExecutionStatus != 'Running'")
        if closed.count == 3 and (await found["done"].count(of)).count == 4:
            break
        await asyncio.sleep(0.1)
    return found


def _name(ops: dict[str, Operation]) -> str:
    endpoint = ops["done"].endpoint
    assert not isinstance(endpoint, str)
    return endpoint.spec.name


async def test_list(s: Scenario, ops: dict[str, Operation]) -> None:
    shown = (await ops["done"].list(f"Endpoint = '{_name(ops)}'")).operations
    for each in shown:  # the real server shows how it keeps them apart from workflows
        each.search_attributes.indexed_fields.pop("TemporalNamespaceDivision", None)
    expect(
        "\n".join(sorted(render(each, s.names, HIDDEN) for each in shown)),
        """
            operation_id=done endpoint=ep service=svc-d operation=op schedule_time=<time> close_time=<time>
                  status=COMPLETED search_attributes.indexed_fields={ScenarioKeyword: 'done'{type: Keyword},
                  ScenarioWords: ['a', 'done']{type: KeywordList}} state_transition_count=<set>
            operation_id=ended endpoint=ep service=svc-e operation=op schedule_time=<time> close_time=<time>
                  status=TERMINATED search_attributes.indexed_fields={ScenarioKeyword: 'ended'{type: Keyword},
                  ScenarioWords: ['a', 'ended']{type: KeywordList}} state_transition_count=<set>
            operation_id=failed endpoint=ep service=svc-f operation=op schedule_time=<time> close_time=<time>
                  status=FAILED search_attributes.indexed_fields={ScenarioKeyword: 'failed'{type: Keyword},
                  ScenarioWords: ['a', 'failed']{type: KeywordList}} state_transition_count=<set>
            operation_id=open endpoint=ep service=svc-o operation=op schedule_time=<time> status=RUNNING
                  search_attributes.indexed_fields={ScenarioKeyword: 'open'{type: Keyword}, ScenarioWords:
                  ['a', 'open']{type: KeywordList}}
        """,
    )


async def test_filters(s: Scenario, ops: dict[str, Operation]) -> None:
    of = f"Endpoint = '{_name(ops)}'"
    done = await ops["done"].describe()
    queries = {
        f"OperationId = '{s.id('done')}'": "OperationId =",
        f"OperationId STARTS_WITH '{s.prefix}'": "OperationId STARTS_WITH",
        f"{of} AND Service = 'svc-d'": "Service",
        f"{of} AND Service IN ('svc-d', 'svc-o')": "Service IN",
        f"{of} AND Operation = 'op'": "Operation",
        f"{of} AND Operation != 'op'": "Operation !=",
        f"RequestId = '{done.info.request_id}'": "RequestId",
        f"{of} AND ExecutionStatus = 'Running'": "Running",
        f"{of} AND ExecutionStatus IN ('Failed', 'Terminated')": "IN",
        f"{of} AND ExecutionStatus = 'Paused'": "Paused",
        f"{of} AND ExecutionStatus = 'TimedOut'": "TimedOut",
        f"{of} AND ExecutionStatus = 'Nothing'": "status unknown",
        f"{of} AND ExecutionStatus = 2": "status as a number",
        f"{of} AND ExecutionStatus = 'NEXUS_OPERATION_EXECUTION_STATUS_COMPLETED'": "status in full",
        f"{of} AND StartTime > '2020-01-01T00:00:00Z'": "StartTime",
        f"{of} AND CloseTime IS NULL": "CloseTime IS NULL",
        f"{of} AND ExecutionTime > '2020-01-01T00:00:00Z'": "ExecutionTime",
        f"{of} AND ExecutionDuration < '1h'": "ExecutionDuration",
        f"{of} AND StateTransitionCount > 0": "StateTransitionCount",
        f"{of} AND RunId = '{done.run_id}'": "RunId",
        f"ScenarioKeyword = '{s.id('done')}'": "a custom attribute",
        f"ScenarioKeyword STARTS_WITH '{s.prefix}' AND ScenarioWords = 'open'": "a list",
        f"{of} AND WorkflowId = '{s.id('done')}'": "WorkflowId",
        f"{of} AND WorkflowType = 'op'": "WorkflowType",
        f"{of} AND TaskQueue = '{s.tq}'": "TaskQueue",
        f"{of} AND ActivityId = 'x'": "ActivityId",
        f"{of} AND NexusOperationId = 'x'": "NexusOperationId",
        f"{of} AND Nothing = 'x'": "unknown",
    }
    outcomes: dict[str, str] = {}
    for query, name in queries.items():
        outcomes[name] = await told(s, ops, query)
    expect(
        grouped(outcomes),
        """
            1: done
              OperationId =, Service, RequestId, RunId, a custom attribute, WorkflowId
            4: done ended failed open
              OperationId STARTS_WITH, Operation, StartTime, ExecutionTime
            2: done open
              Service IN
            0:
              Operation !=, Paused, TimedOut, status unknown, status in full, WorkflowType, TaskQueue
            1: open
              Running, CloseTime IS NULL, a list
            2: ended failed
              IN
            INVALID_ARGUMENT: invalid query: invalid expression: invalid value type for search attribute
                  ExecutionStatus of type Keyword: 2 (type: int64)
              status as a number
            3: done ended failed
              ExecutionDuration, StateTransitionCount
            INVALID_ARGUMENT: invalid query: invalid search attribute: ActivityId
              ActivityId
            INVALID_ARGUMENT: invalid query: invalid search attribute: NexusOperationId
              NexusOperationId
            INVALID_ARGUMENT: invalid query: invalid search attribute: Nothing
              unknown
        """,
    )


async def told(s: Scenario, ops: dict[str, Operation], query: str) -> str:
    try:
        shown = (await ops["done"].list(query)).operations
        counted = (await ops["done"].count(query)).count
    except RPCError as caught:
        return error(caught, s.names)
    ids = sorted(s.names.clean(each.operation_id) for each in shown)
    return f"{counted}: {' '.join(ids)}"


async def test_pages(s: Scenario, ops: dict[str, Operation]) -> None:
    seen: list[str] = []
    token = b""
    while True:
        page = await ops["done"].list(f"Endpoint = '{_name(ops)}'", page_size=3, next_page_token=token)
        seen += [s.names.clean(each.operation_id) for each in page.operations]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == ["done", "ended", "failed", "open"]
    assert seen[0] == "open"


async def test_counts_by_group(s: Scenario, ops: dict[str, Operation]) -> None:
    outcomes: dict[str, Any] = {}
    for by in ("ExecutionStatus", "Endpoint", "Service", "OperationId", "Nothing", "ScenarioKeyword"):
        try:
            counted = await ops["done"].count(f"Endpoint = '{_name(ops)}' GROUP BY {by}")
            groups = sorted(render(group, s.names) for group in counted.groups)
            outcomes[by] = f"{counted.count}: {', '.join(groups)}"
        except RPCError as caught:
            outcomes[by] = error(caught, s.names)
    expect(
        grouped(outcomes),
        """
            4: group_values=['Completed'{type: Keyword}] count=1, group_values=['Failed'{type: Keyword}]
                  count=1, group_values=['Running'{type: Keyword}] count=1, group_values=['Terminated'{type:
                  Keyword}] count=1
              ExecutionStatus
            INVALID_ARGUMENT: invalid query: operation is not supported: 'GROUP BY' clause is not supported
                  for search attribute Endpoint
              Endpoint
            INVALID_ARGUMENT: invalid query: operation is not supported: 'GROUP BY' clause is not supported
                  for search attribute Service
              Service
            INVALID_ARGUMENT: invalid query: operation is not supported: 'GROUP BY' clause is not supported
                  for search attribute OperationId
              OperationId
            INVALID_ARGUMENT: invalid query: invalid search attribute: Nothing
              Nothing
            INVALID_ARGUMENT: invalid query: operation is not supported: 'GROUP BY' clause is not supported
                  for search attribute ScenarioKeyword
              ScenarioKeyword
        """,
    )


async def test_no_list_of_workflows_has_them(s: Scenario, ops: dict[str, Operation]) -> None:
    assert ops
    found = await s.service.list_workflow_executions(
        ws.ListWorkflowExecutionsRequest(namespace=s.namespace, query=f"WorkflowId = '{s.id('open')}'")
    )
    assert not found.executions


async def test_a_deleted_one_is_in_no_list(s: Scenario, ops: dict[str, Operation]) -> None:
    await ops["done"].delete()
    for _ in range(100):
        shown = await ops["done"].list(f"OperationId = '{s.id('done')}'")
        if not shown.operations:
            break
        await asyncio.sleep(0.1)
    assert not shown.operations
