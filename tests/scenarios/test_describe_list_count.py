import asyncio
import re
import uuid

import pytest
import temporalio.api.workflowservice.v1 as ws
from temporalio.api.common.v1 import Memo, SearchAttributes
from temporalio.api.filter.v1 import StartTimeFilter, WorkflowExecutionFilter
from temporalio.service import RPCError

from . import commands as c
from .conftest import Server
from .raw import Scenario
from .rendering import error
from .snapshots import expect


async def _list(s: Scenario, query: str, **fields: object) -> ws.ListWorkflowExecutionsResponse:
    return await s.service.list_workflow_executions(
        ws.ListWorkflowExecutionsRequest(namespace=s.namespace, query=query, **fields)
    )


async def _count(s: Scenario, query: str) -> ws.CountWorkflowExecutionsResponse:
    return await s.service.count_workflow_executions(
        ws.CountWorkflowExecutionsRequest(namespace=s.namespace, query=query)
    )


async def _until_listed(s: Scenario, query: str, number: int) -> ws.ListWorkflowExecutionsResponse:
    """Lists follow writes at once here and within moments on other servers."""
    for _ in range(100):
        reply = await _list(s, query)
        if len(reply.executions) == number:
            return reply
        await asyncio.sleep(0.05)
    raise AssertionError(f"{query!r} did not come to list {number} workflows")


async def test_describe_of_a_running_workflow(s: Scenario) -> None:
    await s.start(memo=Memo(fields={"m": c.payload(1)}))
    await s.step(c.activity("a", s.tq), c.timer("t", 60), c.child(s.id("child"), s.id("child-tq")))
    await s.poll()
    described = await s.describe()
    s.expect_message(
        described.execution_config,
        """
            task_queue=tq default_workflow_task_timeout=10s
        """,
    )
    s.expect_message(
        described.workflow_execution_info,
        """
            execution.workflow_id=wf execution.run_id=run1 type.name=demo start_time=<time> status=RUNNING
                  history_length=10 execution_time=<time> memo.fields={m: 1}
                  search_attributes.indexed_fields={BuildIds: ['unversioned']{type: KeywordList}}
                  auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4 create_time=<time>
                  resettable=true}] task_queue=tq state_transition_count=<set> history_size_bytes=<set>
                  root_execution.workflow_id=wf root_execution.run_id=run1 first_run_id=run1
        """,
    )
    s.expect_message(
        described.pending_workflow_task,
        """
            state=STARTED scheduled_time=<time> original_scheduled_time=<time> started_time=<time> attempt=1
        """,
    )
    s.expect_message(
        described.pending_activities[0],
        """
            activity_id=a activity_type.name=act state=SCHEDULED attempt=1 scheduled_time=<time>
                  activity_options.task_queue=tq(unspecified of tq)
                  activity_options.schedule_to_close_timeout=0s activity_options.schedule_to_start_timeout=0s
                  activity_options.start_to_close_timeout=10s activity_options.heartbeat_timeout=0s
                  activity_options.retry_policy.initial_interval=1s
                  activity_options.retry_policy.backoff_coefficient=2.0
                  activity_options.retry_policy.maximum_interval=100s
        """,
    )
    s.expect_message(
        described.pending_children[0],
        """
            workflow_id=child run_id=run2 workflow_type_name=demo initiated_id=7 parent_close_policy=TERMINATE
        """,
    )


async def test_describe_of_a_closed_workflow(s: Scenario) -> None:
    await s.start()
    await s.step(c.complete())
    info = (await s.describe()).workflow_execution_info
    s.expect_message(
        info,
        """
            execution.workflow_id=wf execution.run_id=run1 type.name=demo start_time=<time> close_time=<time>
                  status=COMPLETED history_length=5 execution_time=<time> memo={}
                  search_attributes.indexed_fields={BuildIds: ['unversioned']{type: KeywordList}}
                  auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4 create_time=<time>
                  resettable=true}] task_queue=tq state_transition_count=<set> history_size_bytes=<set>
                  root_execution.workflow_id=wf root_execution.run_id=run1 first_run_id=run1
        """,
        hide=["execution_duration"],
    )
    assert info.close_time.ToNanoseconds() >= info.start_time.ToNanoseconds() > 0
    assert info.history_size_bytes > 0
    assert info.state_transition_count > 0


async def test_describe_refusals(s: Scenario) -> None:
    await s.start()
    await s.expect_refusal(
        s.describe(s.id("missing")),
        """
            NOT_FOUND: workflow not found for ID: missing
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        s.describe(run_id=str(uuid.uuid4())),
        """
            NOT_FOUND: workflow execution not found for workflow ID "wf" and run ID "run1"
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        s.describe(run_id="no uuid"),
        """
            INVALID_ARGUMENT: Invalid RunId.
        """,
    )
    empty = ws.DescribeWorkflowExecutionRequest(namespace=s.namespace)
    await s.expect_refusal(
        s.service.describe_workflow_execution(empty),
        """
            INVALID_ARGUMENT: Execution is not set on request.
        """,
    )


async def test_started_workflow_is_listed_and_counted(s: Scenario) -> None:
    await s.start(
        memo=Memo(fields={"m": c.payload(1)}),
        search_attributes=SearchAttributes(indexed_fields={"ScenarioKeyword": c.keyword(s.id("key"))}),
    )
    query = f"ScenarioKeyword = '{s.id('key')}'"
    reply = await _until_listed(s, query, 1)
    s.expect_message(
        reply.executions[0],
        """
            execution.workflow_id=wf execution.run_id=run1 type.name=demo start_time=<time> status=RUNNING
                  execution_time=<time> memo.fields={m: 1} search_attributes.indexed_fields={ScenarioKeyword:
                  'key'{type: Keyword}} task_queue=tq root_execution.workflow_id=wf root_execution.run_id=run1
        """,
    )
    assert (await _count(s, query)).count == 1


async def test_filters_see_every_change_of_status(s: Scenario) -> None:
    await s.start()
    query = f"WorkflowId = '{s.wf}' AND ExecutionStatus = '%s'"
    await _until_listed(s, query % "Running", 1)
    await s.step(c.complete())
    reply = await _until_listed(s, query % "Completed", 1)
    s.expect_message(
        reply.executions[0],
        """
            execution.workflow_id=wf execution.run_id=run1 type.name=demo start_time=<time> close_time=<time>
                  status=COMPLETED history_length=5 execution_time=<time> memo={}
                  search_attributes.indexed_fields={BuildIds: ['unversioned']{type: KeywordList}}
                  task_queue=tq state_transition_count=<set> history_size_bytes=<set>
                  root_execution.workflow_id=wf root_execution.run_id=run1
        """,
        hide=["execution_duration"],
    )
    await _until_listed(s, query % "Running", 0)


async def test_filters(s: Scenario) -> None:
    for number in range(4):
        attributes = {
            "ScenarioKeyword": c.keyword(s.id(f"k{number}")),
            "ScenarioInt": c.payload(number),
            "ScenarioDouble": c.payload(number / 2),
            "ScenarioBool": c.payload(number % 2 == 0),
            "ScenarioTime": c.payload(f"2026-01-0{number + 1}T00:00:00Z"),
            "ScenarioText": c.payload(f"word{number} shared"),
            "ScenarioWords": c.payload([s.id("all"), s.id(f"w{number}")]),
        }
        await s.start(
            workflow_id=s.id(str(number)), search_attributes=SearchAttributes(indexed_fields=attributes)
        )
    mine = f"ScenarioWords = '{s.id('all')}'"
    await _until_listed(s, mine, 4)
    lines = []
    for condition in (
        "ScenarioInt > 1",
        "ScenarioInt >= 1 AND ScenarioInt < 3",
        "ScenarioInt BETWEEN 1 AND 2",
        "ScenarioInt != 2",
        "ScenarioInt IN (0, 3)",
        "ScenarioInt NOT IN (0, 3)",
        "ScenarioDouble = 0.5",
        "ScenarioBool = true",
        "ScenarioTime > '2026-01-02T12:00:00Z'",
        "ScenarioText = 'word2'",
        "ScenarioText = 'shared'",
        f"ScenarioKeyword STARTS_WITH '{s.id('k')}'",
        f"ScenarioKeyword IN ('{s.id('k1')}', '{s.id('k2')}')",
        f"ScenarioWords = '{s.id('w3')}'",
        f"WorkflowId = '{s.id('1')}' OR WorkflowId = '{s.id('2')}'",
        "WorkflowType = 'demo'",
        "WorkflowType = 'other'",
        f"TaskQueue = '{s.tq}'",
        "NOT (ScenarioInt = 1)",
        "ScenarioInt IS NULL",
        "ScenarioInt IS NOT NULL",
        "CloseTime IS NULL",
        "ExecutionStatus = 'Running'",
        "ExecutionStatus IN ('Running', 'Completed')",
        "StartTime > '2020-01-01T00:00:00Z'",
        "(ScenarioInt = 0 OR ScenarioInt = 1) AND ScenarioBool = false",
    ):
        found = (await _list(s, f"{mine} AND ({condition})")).executions
        ids = sorted(s.names.clean(item.execution.workflow_id) for item in found)
        lines.append(f"{s.names.clean(condition)}: {', '.join(ids)}")
    expect(
        "\n".join(lines),
        """
            ScenarioInt > 1: 2, 3
            ScenarioInt >= 1 AND ScenarioInt < 3: 1, 2
            ScenarioInt BETWEEN 1 AND 2: 1, 2
            ScenarioInt != 2: 0, 1, 3
            ScenarioInt IN (0, 3): 0, 3
            ScenarioInt NOT IN (0, 3): 1, 2
            ScenarioDouble = 0.5: 1
            ScenarioBool = true: 0, 2
            ScenarioTime > '2026-01-02T12:00:00Z': 2, 3
            ScenarioText = 'word2': 2
            ScenarioText = 'shared': 0, 1, 2, 3
            ScenarioKeyword STARTS_WITH 'k': 0, 1, 2, 3
            ScenarioKeyword IN ('k1', 'k2'): 1, 2
            ScenarioWords = 'w3': 3
            WorkflowId = '1' OR WorkflowId = '2': 1, 2
            WorkflowType = 'demo': 0, 1, 2, 3
            WorkflowType = 'other':
            TaskQueue = 'tq': 0, 1, 2, 3
            NOT (ScenarioInt = 1): 0, 2, 3
            ScenarioInt IS NULL:
            ScenarioInt IS NOT NULL: 0, 1, 2, 3
            CloseTime IS NULL: 0, 1, 2, 3
            ExecutionStatus = 'Running': 0, 1, 2, 3
            ExecutionStatus IN ('Running', 'Completed'): 0, 1, 2, 3
            StartTime > '2020-01-01T00:00:00Z': 0, 1, 2, 3
            (ScenarioInt = 0 OR ScenarioInt = 1) AND ScenarioBool = false: 1
        """,
    )
    s.expect_message(
        await _count(s, f"{mine} GROUP BY ExecutionStatus"),
        """
            count=4 groups=[{group_values=['Running'{type: Keyword}] count=4}]
        """,
    )


async def test_bad_filters(s: Scenario) -> None:
    lines = []
    for query in (
        "nonsense",
        "Nonsense = 'x'",
        "ScenarioInt = 'text'",
        "ScenarioBool = 'x'",
        "WorkflowId =",
        "WorkflowId = 'x' LIMIT 1",
        "WorkflowId LIKE 'x%'",
        "ExecutionStatus = 'Sleeping'",
        "StartTime > 'yesterday'",
        "SELECT 1",
        "WorkflowId = 'x' GROUP BY ExecutionStatus",
    ):
        try:
            await _list(s, query)
            lines.append(f"{query} -> accepted")
        except RPCError as caught:
            # Positions and hints in brackets are each parser's own.
            told = re.sub(r" at position .*| \([^()]*\)$", "", error(caught, s.names))
            lines.append(f"{query} -> {told}")
    expect(
        "\n".join(lines),
        """
            nonsense -> INVALID_ARGUMENT: invalid query: invalid expression: incomplete expression
            Nonsense = 'x' -> INVALID_ARGUMENT: invalid query: invalid search attribute: Nonsense
            ScenarioInt = 'text' -> INVALID_ARGUMENT: invalid query: invalid expression: invalid value type
                  for search attribute ScenarioInt of type Int: "text"
            ScenarioBool = 'x' -> INVALID_ARGUMENT: invalid query: invalid expression: invalid value type for
                  search attribute ScenarioBool of type Bool: "x"
            WorkflowId = -> INVALID_ARGUMENT: invalid query: malformed SQL query: syntax error
            WorkflowId = 'x' LIMIT 1 -> INVALID_ARGUMENT: invalid query: operation is not supported: 'LIMIT'
                  clause
            WorkflowId LIKE 'x%' -> INVALID_ARGUMENT: invalid query: operation is not supported: operator
                  'LIKE' not supported for Keyword type search attribute 'WorkflowId'
            ExecutionStatus = 'Sleeping' -> INVALID_ARGUMENT: invalid query: invalid expression: invalid
                  ExecutionStatus value 'Sleeping'
            StartTime > 'yesterday' -> INVALID_ARGUMENT: invalid query: invalid expression: unable to parse
                  datetime 'yesterday'
            SELECT 1 -> INVALID_ARGUMENT: invalid query: malformed SQL query: syntax error
            WorkflowId = 'x' GROUP BY ExecutionStatus -> accepted
        """,
    )
    await s.expect_refusal(
        _count(s, "WorkflowId = 'x' GROUP BY WorkflowId"),
        """
            INVALID_ARGUMENT: invalid query: operation is not supported: 'GROUP BY' clause is not supported
                  for search attribute WorkflowId
        """,
    )


async def test_pages(s: Scenario) -> None:
    for number in range(5):
        await s.start(workflow_id=s.id(str(number)))
    query = f"TaskQueue = '{s.tq}'"
    await _until_listed(s, query, 5)
    ids, sizes, token = [], [], b""
    while True:
        page = await _list(s, query, page_size=2, next_page_token=token)
        ids += [item.execution.workflow_id for item in page.executions]
        sizes.append(len(page.executions))
        token = page.next_page_token
        if not token:
            break
    assert ids == [s.id(str(number)) for number in reversed(range(5))], "newest first"
    assert sizes[:2] == [2, 2]
    with pytest.raises(RPCError):
        await _list(s, query, next_page_token=b"garbage")


async def test_open_and_closed_lists(s: Scenario) -> None:
    await s.start()
    await s.start(workflow_id=s.id("closed"))
    await s.terminate(s.id("closed"))
    await _until_listed(s, f"TaskQueue = '{s.tq}' AND ExecutionStatus = 'Terminated'", 1)
    opened = await s.service.list_open_workflow_executions(
        ws.ListOpenWorkflowExecutionsRequest(
            namespace=s.namespace,
            start_time_filter=StartTimeFilter(),
            execution_filter=WorkflowExecutionFilter(workflow_id=s.wf),
        )
    )
    assert [item.execution.workflow_id for item in opened.executions] == [s.wf]
    closed = await s.service.list_closed_workflow_executions(
        ws.ListClosedWorkflowExecutionsRequest(
            namespace=s.namespace,
            start_time_filter=StartTimeFilter(),
            execution_filter=WorkflowExecutionFilter(workflow_id=s.id("closed")),
        )
    )
    assert [item.execution.workflow_id for item in closed.executions] == [s.id("closed")]


async def test_list_right_after_a_start_has_the_workflow(s: Scenario, server: Server) -> None:
    if server.real:
        pytest.skip("the real server's lists follow its writes only after a moment")
    for index in range(3):
        await s.start(workflow_id=s.id(str(index)))
        assert len((await _list(s, f"TaskQueue = '{s.tq}'")).executions) == index + 1
        assert (await _count(s, f"TaskQueue = '{s.tq}'")).count == index + 1
