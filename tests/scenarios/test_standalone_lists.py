"""Lists and counts of standalone activities."""

import asyncio
from typing import Any

import pytest
import temporalio.api.workflowservice.v1 as ws
from temporalio.api.common.v1 import SearchAttributes
from temporalio.service import RPCError

from . import commands as c
from .raw import Scenario
from .rendering import error, render
from .snapshots import expect, grouped
from .standalone import Standalone

HIDDEN = frozenset({"run_id", "execution_duration", "state_size_bytes"})


@pytest.fixture
async def acts(s: Scenario) -> dict[str, Standalone]:
    """Four activities: one that runs, one completed, one failed, one paused by nobody but terminated."""
    found: dict[str, Standalone] = {}
    for name in ("done", "failed", "ended", "open"):
        act = found[name] = Standalone(s)
        act.id = s.id(name)
        words = c.payload(["a", name])
        words.metadata["type"] = b"KeywordList"
        await act.start(
            retry_policy=c.retry(maximum_attempts=1),
            search_attributes=SearchAttributes(
                indexed_fields={"ScenarioKeyword": c.keyword(s.id(name)), "ScenarioWords": words}
            ),
        )
        if name == "done":
            await s.complete_activity(await s.poll_activity())
        elif name == "failed":
            await s.fail_activity(await s.poll_activity())
        elif name == "ended":
            await act.terminate()
    for _ in range(100):
        shown = await found["done"].list(f"TaskQueue = '{s.tq}' AND ExecutionStatus != 'Running'")
        if len(shown.executions) == 3:
            break
        await asyncio.sleep(0.1)
    return found


async def test_list(s: Scenario, acts: dict[str, Standalone]) -> None:
    shown = (await acts["done"].list(f"TaskQueue = '{s.tq}'")).executions
    for each in shown:  # the real server shows how it keeps them apart from workflows
        each.search_attributes.indexed_fields.pop("TemporalNamespaceDivision", None)
    lines = sorted(render(each, s.names, HIDDEN) for each in shown)
    expect(
        "\n".join(lines),
        """
            activity_id=done activity_type.name=act schedule_time=<time> close_time=<time> status=COMPLETED
                  search_attributes.indexed_fields={ScenarioKeyword: 'done'{type: Keyword}, ScenarioWords:
                  ['a', 'done']{type: KeywordList}} task_queue=tq state_transition_count=<set>
                  execution_time=<time>
            activity_id=ended activity_type.name=act schedule_time=<time> close_time=<time> status=TERMINATED
                  search_attributes.indexed_fields={ScenarioKeyword: 'ended'{type: Keyword}, ScenarioWords:
                  ['a', 'ended']{type: KeywordList}} task_queue=tq state_transition_count=<set>
                  execution_time=<time>
            activity_id=failed activity_type.name=act schedule_time=<time> close_time=<time> status=FAILED
                  search_attributes.indexed_fields={ScenarioKeyword: 'failed'{type: Keyword}, ScenarioWords:
                  ['a', 'failed']{type: KeywordList}} task_queue=tq state_transition_count=<set>
                  execution_time=<time>
            activity_id=open activity_type.name=act schedule_time=<time> status=RUNNING
                  search_attributes.indexed_fields={ScenarioKeyword: 'open'{type: Keyword}, ScenarioWords:
                  ['a', 'open']{type: KeywordList}} task_queue=tq execution_time=<time>
        """,
    )


async def test_filters(s: Scenario, acts: dict[str, Standalone]) -> None:
    queries = {
        f"ActivityId = '{s.id('done')}'": "ActivityId =",
        f"ActivityId STARTS_WITH '{s.prefix}'": "ActivityId STARTS_WITH",
        f"TaskQueue = '{s.tq}' AND ActivityType = 'act'": "ActivityType",
        f"TaskQueue = '{s.tq}' AND ActivityType != 'act'": "ActivityType !=",
        f"TaskQueue = '{s.tq}' AND ExecutionStatus = 'Running'": "Running",
        f"TaskQueue = '{s.tq}' AND ExecutionStatus IN ('Failed', 'Terminated')": "IN",
        f"TaskQueue = '{s.tq}' AND ExecutionStatus = 'Paused'": "Paused",
        f"TaskQueue = '{s.tq}' AND ExecutionStatus = 'Nothing'": "status unknown",
        f"TaskQueue = '{s.tq}' AND ExecutionStatus = 2": "status as a number",
        f"TaskQueue = '{s.tq}' AND ExecutionStatus = 'ACTIVITY_EXECUTION_STATUS_COMPLETED'": "status in full",
        f"TaskQueue = '{s.tq}' AND StartTime > '2020-01-01T00:00:00Z'": "StartTime",
        f"TaskQueue = '{s.tq}' AND CloseTime IS NULL": "CloseTime IS NULL",
        f"TaskQueue = '{s.tq}' AND ExecutionTime > '2020-01-01T00:00:00Z'": "ExecutionTime",
        f"TaskQueue = '{s.tq}' AND ExecutionDuration < '1h'": "ExecutionDuration",
        f"TaskQueue = '{s.tq}' AND StateTransitionCount > 0": "StateTransitionCount",
        f"TaskQueue = '{s.tq}' AND RunId = 'x'": "RunId",
        f"ScenarioKeyword = '{s.id('done')}'": "a custom attribute",
        f"ScenarioKeyword STARTS_WITH '{s.prefix}' AND ScenarioWords = 'open'": "a list",
        f"TaskQueue = '{s.tq}' AND WorkflowId = 'x'": "WorkflowId",
        f"TaskQueue = '{s.tq}' AND WorkflowType = 'act'": "WorkflowType",
        f"TaskQueue = '{s.tq}' AND ActivityStatus = 'Running'": "ActivityStatus",
        f"TaskQueue = '{s.tq}' AND Nothing = 'x'": "unknown",
    }
    outcomes: dict[str, str] = {}
    for query, name in queries.items():
        outcomes[name] = await told(s, acts, query)
    expect(
        grouped(outcomes),
        """
            1: done
              ActivityId =, a custom attribute
            4: done ended failed open
              ActivityId STARTS_WITH, ActivityType, StartTime, ExecutionTime
            0:
              ActivityType !=, Paused, status unknown, status in full, RunId, WorkflowId, WorkflowType
            1: open
              Running, CloseTime IS NULL, a list
            2: ended failed
              IN
            INVALID_ARGUMENT: invalid query: invalid expression: invalid value type for search attribute
                  ExecutionStatus of type Keyword: 2 (type: int64)
              status as a number
            3: done ended failed
              ExecutionDuration, StateTransitionCount
            INVALID_ARGUMENT: invalid query: invalid search attribute: ActivityStatus
              ActivityStatus
            INVALID_ARGUMENT: invalid query: invalid search attribute: Nothing
              unknown
        """,
    )


async def told(s: Scenario, acts: dict[str, Standalone], query: str) -> str:
    try:
        shown = (await acts["done"].list(query)).executions
        counted = (await acts["done"].count(query)).count
    except RPCError as caught:
        return error(caught, s.names)
    ids = sorted(s.names.clean(each.activity_id) for each in shown)
    return f"{counted}: {' '.join(ids)}"


async def test_pages(s: Scenario, acts: dict[str, Standalone]) -> None:
    seen: list[str] = []
    token = b""
    while True:
        page = await acts["done"].list(f"TaskQueue = '{s.tq}'", page_size=3, next_page_token=token)
        seen += [s.names.clean(each.activity_id) for each in page.executions]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == ["done", "ended", "failed", "open"]
    assert seen[0] == "open"


async def test_counts_by_group(s: Scenario, acts: dict[str, Standalone]) -> None:
    outcomes: dict[str, Any] = {}
    for by in ("ExecutionStatus", "ActivityType", "TaskQueue", "ActivityId", "Nothing", "ScenarioKeyword"):
        try:
            counted = await acts["done"].count(f"TaskQueue = '{s.tq}' GROUP BY {by}")
            groups = sorted(render(group, s.names) for group in counted.groups)
            outcomes[by] = f"{counted.count}: {', '.join(groups)}"
        except RPCError as caught:
            outcomes[by] = error(caught, s.names)
    expect(
        grouped(outcomes),
        """
            4: group_values=['Completed'{type: Keyword}] count=1, group_values=['Failed'{type: Keyword}]
                  count=1, group_values=['Running'{type: Keyword}] count=1,
                  group_values=['Terminated'{type: Keyword}] count=1
              ExecutionStatus
            INVALID_ARGUMENT: invalid query: operation is not supported: 'GROUP BY' clause is not supported
                  for search attribute ActivityType
              ActivityType
            INVALID_ARGUMENT: invalid query: operation is not supported: 'GROUP BY' clause is not supported
                  for search attribute TaskQueue
              TaskQueue
            INVALID_ARGUMENT: invalid query: operation is not supported: 'GROUP BY' clause is not supported
                  for search attribute ActivityId
              ActivityId
            INVALID_ARGUMENT: invalid query: invalid search attribute: Nothing
              Nothing
            INVALID_ARGUMENT: invalid query: operation is not supported: 'GROUP BY' clause is not supported
                  for search attribute ScenarioKeyword
              ScenarioKeyword
        """,
    )


async def test_no_list_of_workflows_has_them(s: Scenario, acts: dict[str, Standalone]) -> None:
    assert acts
    for query in (f"TaskQueue = '{s.tq}'", f"WorkflowId = '{s.id('open')}'"):
        found = await s.service.list_workflow_executions(
            ws.ListWorkflowExecutionsRequest(namespace=s.namespace, query=query)
        )
        assert not found.executions
