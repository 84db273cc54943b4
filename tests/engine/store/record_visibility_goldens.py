"""Records how a real Temporal server answers list filters: the oracle of ``test_visibility_goldens.py``.

Run by hand against a server that may be written to::

    python tests/engine/store/record_visibility_goldens.py 127.0.0.1:7233

It registers a namespace of its own, starts a small population of workflows, asks every query below and writes ``goldens/visibility.json``.
"""

from __future__ import annotations

import asyncio
import base64
import json
import pathlib
import sys
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from google.protobuf import duration_pb2
from temporalio import workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
    RegisterNamespaceRequest,
)
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import (
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

Reply = TypeVar("Reply")

# In a query, {run[id]} is the first run id of a workflow and {start[id]} its start in ns.
LISTS = (
    # the whole
    "",
    "   ",
    # strings, quotes, names
    "WorkflowId = 'order-1'",
    'WorkflowId = "order-1"',
    "`WorkflowId` = 'order-1'",
    "workflowid = 'order-1'",
    "WorkflowId = order-1",
    "WorkflowId = order",
    "WorkflowId != 'order-1'",
    "WorkflowId <> 'order-1'",
    "WorkflowId < 'order-3'",
    "WorkflowId >= 'payment-2'",
    "WorkflowId IN ('order-1', 'order-2')",
    "WorkflowId NOT IN ('order-1', 'order-2')",
    "WorkflowId in ('order-1')",
    "WorkflowId IN ()",
    "WorkflowId IN 'order-1'",
    "WorkflowId = ('order-1', 'order-2')",
    "WorkflowId BETWEEN 'order-1' AND 'order-2'",
    "WorkflowId NOT BETWEEN 'order-1' AND 'order-2'",
    "WorkflowId STARTS_WITH 'order'",
    "WorkflowId starts_with 'order'",
    "WorkflowId STARTS_WITH 'ORDER'",
    "WorkflowId STARTS_WITH 'order_'",
    "WorkflowId STARTS_WITH 'order_4%'",
    "WorkflowId STARTS_WITH ''",
    "WorkflowId NOT STARTS_WITH 'order'",
    "WorkflowId STARTS_WITH 5",
    "WorkflowId LIKE 'order%'",
    "WorkflowId REGEXP 'order'",
    "WorkflowId = 'Ünïcode'",
    "WorkflowId = 5",
    "WorkflowId = true",
    "WorkflowId = NULL",
    "WorkflowId = 'it''s'",
    "VisKeyword = 'it''s'",
    'VisKeyword = "it\'s"',
    "VisKeyword = 'it\\'s'",
    "'order-1' = WorkflowId",
    "WorkflowId = WorkflowType",
    "WorkflowId = 'order-1",
    "RunId = '{run[order-1]}'",
    "WorkflowType = 'Payment'",
    "TaskQueue = 'vis-other'",
    "ScheduleId = 'order-1'",
    "TemporalScheduleId = 'order-1'",
    "TemporalWorkflowId = 'order-1'",
    "ChangeVersion IS NULL",
    "NamespaceId = 'x'",
    "Memo = 'x'",
    "Keyword01 = 'alpha'",
    "RootWorkflowId = 'payment-3'",
    "ParentWorkflowId = 'payment-3'",
    "ParentWorkflowId IS NULL",
    "ParentWorkflowId IS NOT NULL",
    "RootRunId = '{run[payment-3]}'",
    # statuses
    "ExecutionStatus = 'Running'",
    "ExecutionStatus = 'RUNNING'",
    "ExecutionStatus = 'running'",
    "ExecutionStatus = 'WORKFLOW_EXECUTION_STATUS_RUNNING'",
    "ExecutionStatus = 'Completed' OR ExecutionStatus = 'Failed'",
    "ExecutionStatus IN ('Terminated', 'Canceled', 'TimedOut', 'ContinuedAsNew')",
    "ExecutionStatus = 1",
    "ExecutionStatus = 99",
    "ExecutionStatus != 1",
    "ExecutionStatus = 'Sleeping'",
    "ExecutionStatus > 1",
    "ExecutionStatus STARTS_WITH 'Comp'",
    "ExecutionStatus BETWEEN 'Running' AND 'Failed'",
    "ExecutionStatus IS NULL",
    "ExecutionStatus = true",
    "ExecutionStatus = 1.5",
    "ExecutionStatus = '2'",
    # times
    "CloseTime IS NULL",
    "CloseTime IS NOT NULL",
    "CloseTime > '2020-01-01T00:00:00Z'",
    "CloseTime < '2100-01-01T00:00:00Z'",
    "CloseTime = '2020-01-01T00:00:00Z'",
    "CloseTime != '2020-01-01T00:00:00Z'",
    "NOT CloseTime < '2100-01-01T00:00:00Z'",
    "CloseTime BETWEEN '2020-01-01T00:00:00Z' AND '2100-01-01T00:00:00Z'",
    "StartTime > '2020-01-01T00:00:00Z'",
    "StartTime > '2020-01-01T00:00:00.123456789Z'",
    "StartTime > '2020-01-01T00:00:00+05:30'",
    "StartTime > '2020-01-01t00:00:00z'",
    "StartTime > '2020-01-01 00:00:00'",
    "StartTime > '2020-01-01'",
    "StartTime > '2020-13-01T00:00:00Z'",
    "StartTime > 0",
    "StartTime > 1577836800000000000",
    "StartTime > '1577836800000000000'",
    "StartTime > 1.5",
    "StartTime > true",
    "StartTime STARTS_WITH '2026'",
    "StartTime BETWEEN '2020-01-01T00:00:00Z' AND '2100-01-01T00:00:00Z'",
    "StartTime = {start[order-1]}",
    "StartTime < {start[order-3]}",
    "ExecutionTime > '2020-01-01T00:00:00Z'",
    "VisTime = '2026-01-01T00:00:00Z'",
    "VisTime = '2026-01-01T01:00:00+01:00'",
    "VisTime > '2026-01-15T00:00:00Z'",
    "VisTime = '2026-02-01T00:00:00.123456Z'",
    "VisTime IN ('2026-01-01T00:00:00Z')",
    "VisTime IS NULL",
    # durations
    "ExecutionDuration > '0s'",
    "ExecutionDuration < '1h30m'",
    "ExecutionDuration >= '1s'",
    "ExecutionDuration < '1d'",
    "ExecutionDuration < '01:00:00'",
    "ExecutionDuration < '00:61:00'",
    "ExecutionDuration < '1.5h'",
    "ExecutionDuration > '-1s'",
    "ExecutionDuration < 3600000000000",
    "ExecutionDuration < '3600000000000'",
    "ExecutionDuration < 'soon'",
    "ExecutionDuration < 1.5",
    "ExecutionDuration < ''",
    "ExecutionDuration IS NULL",
    "ExecutionDuration BETWEEN '0s' AND '1h'",
    # counts
    "HistoryLength > 4",
    "HistoryLength = 'x'",
    "HistoryLength > '4'",
    "HistorySizeBytes > 0",
    "StateTransitionCount >= 1",
    # custom attributes
    "VisKeyword = 'alpha'",
    "VisKeyword = 'ALPHA'",
    "VisKeyword = ''",
    "VisKeyword != 'alpha'",
    "NOT VisKeyword = 'alpha'",
    "NOT (VisKeyword = 'alpha')",
    "VisKeyword STARTS_WITH 'alpha'",
    "VisKeyword NOT STARTS_WITH 'alpha'",
    "VisKeyword STARTS_WITH 'a_'",
    "VisKeyword STARTS_WITH 'a%'",
    "VisKeyword STARTS_WITH 'ü'",
    "VisKeyword IN ('alpha', 'alphabet')",
    "VisKeyword NOT IN ('alpha', 'alphabet')",
    "VisKeyword > 'alpha'",
    "VisKeyword BETWEEN 'a' AND 'b'",
    "VisKeyword IS NULL",
    "VisKeyword IS NOT NULL",
    "VisKeyword = 5",
    "viskeyword = 'alpha'",
    "VisInt = 1",
    "VisInt > -10",
    "VisInt > 1.5",
    "VisInt = 1.0",
    "VisInt = 9007199254740993",
    "VisInt = 9007199254740992",
    "VisInt = 99999999999999999999",
    "VisInt = '1'",
    "VisInt IN (1, 2)",
    "VisInt NOT IN (1, 2)",
    "VisInt IN (1, 'x')",
    "VisInt BETWEEN 1 AND 2",
    "VisInt NOT BETWEEN 1 AND 2",
    "VisInt STARTS_WITH 1",
    "VisInt != 1",
    "VisInt = 1 + 1",
    "VisInt = -3",
    "VisInt = +1",
    "VisInt = 0x1",
    "VisInt = 1e0",
    "VisDouble = 1.5",
    "VisDouble < 0",
    "VisDouble = 3",
    "VisDouble >= -2.25",
    "VisDouble = 'x'",
    "VisBool = true",
    "VisBool = TRUE",
    "VisBool = false",
    "VisBool != true",
    "VisBool = 1",
    "VisBool = 'true'",
    "VisBool IS TRUE",
    "VisBool IS NOT NULL",
    "VisBool IN (true, false)",
    "VisBool",
    "VisBool > false",
    "VisBool BETWEEN false AND true",
    "VisWords = 'red'",
    "VisWords = 'green'",
    "VisWords = 'blue'",
    "VisWords = 'blue green'",
    "VisWords != 'red'",
    "NOT VisWords = 'red'",
    "VisWords IN ('red', 'blue green')",
    "VisWords NOT IN ('red')",
    "VisWords IS NULL",
    "VisWords IS NOT NULL",
    "VisWords STARTS_WITH 'r'",
    "VisWords > 'red'",
    "VisWords BETWEEN 'a' AND 'z'",
    "VisWords = 'x,y'",
    "VisWords = 'ünï'",
    "VisWords = 5",
    "VisText = 'quick'",
    "VisText = 'QUICK'",
    "VisText = 'fox dog'",
    "VisText = 'quick fox'",
    "VisText = 'brown-fox'",
    "VisText = 'the-lazy'",
    "VisText = 'cafe'",
    "VisText = 'qui'",
    "VisText != 'quick'",
    "NOT VisText = 'quick'",
    "VisText = ''",
    "VisText = '-'",
    "VisText IN ('quick')",
    "VisText STARTS_WITH 'q'",
    "VisText > 'q'",
    "VisText IS NULL",
    "VisText BETWEEN 'a' AND 'b'",
    "VisText = 5",
    # system lists
    "BuildIds = 'unversioned'",
    "BuildIds IS NULL",
    "BuildIds IN ('unversioned', 'x')",
    "TemporalChangeVersion IS NULL",
    "TemporalNamespaceDivision IS NULL",
    "TemporalNamespaceDivision = 'x'",
    "TemporalSchedulePaused = true",
    "TemporalScheduledById = 'x'",
    "TemporalReportedProblems IN ('category=WorkflowTaskFailed')",
    # logic
    "WorkflowType = 'Order' AND ExecutionStatus = 'Completed'",
    "WorkflowType = 'Order' AND (ExecutionStatus = 'Completed' OR VisInt = -3)",
    "WorkflowType = 'Order' OR WorkflowType = 'Payment' AND ExecutionStatus = 'Failed'",
    "NOT WorkflowType = 'Order'",
    "NOT (WorkflowType = 'Order' OR ExecutionStatus = 'Running')",
    "NOT NOT WorkflowType = 'Order'",
    "NOT VisInt = 1 AND WorkflowType = 'Order'",
    "((WorkflowId = 'order-1'))",
    "(WorkflowId = 'order-1'",
    "WorkflowId = 'order-1')",
    "WorkflowId = 'order-1' AND",
    "WorkflowId = 'order-1' && VisInt = 1",
    "WorkflowId = 'order-1' || VisInt = 2",
    "WorkflowId = 'order-1' XOR VisInt = 2",
    "! (WorkflowId = 'order-1')",
    "VisInt <=> 1",
    # what is not part of the language
    "Unknown = 1",
    "WorkflowId",
    "1 = 1",
    "true",
    "lower(WorkflowId) = 'order-1'",
    "WorkflowId = lower('ORDER-1')",
    "WorkflowId = 'a' UNION SELECT 1",
    "WorkflowId = (SELECT 1)",
    "WorkflowId IN (SELECT 1)",
    "EXISTS (SELECT 1)",
    "WorkflowId = 'order-1'; DROP TABLE x",
    "WorkflowId = 'order-1';",
    "WorkflowId = 'order-1' -- and more",
    "WorkflowId = 'order-1' /* and more */",
    "WorkflowId = 'order-1' LIMIT 1",
    "WorkflowId = 'order-1' ORDER BY StartTime",
    "ORDER BY StartTime",
    "order by StartTime DESC",
    "GROUP BY ExecutionStatus",
    "WorkflowId = 'order-1' HAVING 1",
    "WorkflowId = ?",
    "WorkflowId = :name",
    "WorkflowId = @name",
    "table1.WorkflowId = 'order-1'",
    "CASE WHEN VisInt = 1 THEN true END",
    "WorkflowId = 'a' 'b'",
    "hello world",
    "=",
    "*",
)

COUNTS = (
    "",
    "WorkflowType = 'Order'",
    "ExecutionStatus = 'Running'",
    "GROUP BY ExecutionStatus",
    "group by ExecutionStatus",
    "WorkflowType = 'Order' GROUP BY ExecutionStatus",
    "WorkflowType = 'nobody' GROUP BY ExecutionStatus",
    "GROUP BY WorkflowType",
    "GROUP BY VisKeyword",
    "GROUP BY ExecutionStatus, WorkflowType",
    "GROUP BY TemporalNamespaceDivision",
    "GROUP BY Unknown",
    "GROUP BY 1",
    "GROUP BY ExecutionStatus ORDER BY ExecutionStatus",
    "WorkflowType = 'Order' ORDER BY StartTime",
    "Unknown = 1",
)

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "visibility.json"
TYPES = {
    "VisKeyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "VisText": IndexedValueType.INDEXED_VALUE_TYPE_TEXT,
    "VisInt": IndexedValueType.INDEXED_VALUE_TYPE_INT,
    "VisDouble": IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
    "VisBool": IndexedValueType.INDEXED_VALUE_TYPE_BOOL,
    "VisTime": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    "VisWords": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
}
KEYWORD = SearchAttributeKey.for_keyword("VisKeyword")
TEXT = SearchAttributeKey.for_text("VisText")
INT = SearchAttributeKey.for_int("VisInt")
DOUBLE = SearchAttributeKey.for_float("VisDouble")
BOOL = SearchAttributeKey.for_bool("VisBool")
TIME = SearchAttributeKey.for_datetime("VisTime")
WORDS = SearchAttributeKey.for_keyword_list("VisWords")


@workflow.defn(name="Order")
class Order:
    """Does what its argument says."""

    @workflow.run
    async def run(self, what: str) -> str:
        if what == "fail":
            raise workflow.NondeterminismError(what)
        if what == "again":
            workflow.continue_as_new("return")
        if what == "parent":
            await workflow.execute_child_workflow("Payment", "return", id="child-1", task_queue="vis-main")
        if what == "wait":
            await workflow.wait_condition(lambda: False)
        return what


@workflow.defn(name="Payment")
class Payment(Order):
    """The same by another name."""

    @workflow.run
    async def run(self, what: str) -> str:
        return await super().run(what)


def _attributes(*pairs: SearchAttributePair[Any]) -> TypedSearchAttributes:
    return TypedSearchAttributes(list(pairs))


def _pair(key: SearchAttributeKey[Any], value: object) -> SearchAttributePair[Any]:
    return SearchAttributePair(key, value)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# workflow id, type, what to do, search attributes
POPULATION: list[tuple[str, str, str, TypedSearchAttributes]] = [
    (
        "order-1",
        "Order",
        "return",
        _attributes(
            _pair(KEYWORD, "alpha"),
            _pair(TEXT, "The quick brown Fox"),
            _pair(INT, 1),
            _pair(DOUBLE, 1.5),
            _pair(BOOL, True),
            _pair(TIME, _time("2026-01-01T00:00:00")),
            _pair(WORDS, ["red", "green"]),
        ),
    ),
    (
        "order-2",
        "Order",
        "return",
        _attributes(
            _pair(KEYWORD, "alphabet"),
            _pair(TEXT, "jumps over-the lazy dog"),
            _pair(INT, 2),
            _pair(DOUBLE, -2.25),
            _pair(BOOL, False),
            _pair(TIME, _time("2026-02-01T00:00:00.123456")),
            _pair(WORDS, ["Green"]),
        ),
    ),
    (
        "order-3",
        "Order",
        "wait",
        _attributes(_pair(KEYWORD, "Alpha"), _pair(INT, -3), _pair(WORDS, ["blue green", "red"])),
    ),
    ("order_4%", "Payment", "wait", _attributes(_pair(KEYWORD, "it's"), _pair(DOUBLE, 3.0))),
    ("payment-1", "Payment", "fail", _attributes(_pair(INT, 9_007_199_254_740_993))),
    ("payment-2", "Payment", "again", TypedSearchAttributes.empty),
    ("payment-3", "Payment", "parent", _attributes(_pair(TEXT, "quick"), _pair(WORDS, []))),
    ("to-terminate", "Order", "wait", _attributes(_pair(KEYWORD, "a_b"), _pair(BOOL, True))),
    ("to-cancel", "Order", "wait", _attributes(_pair(KEYWORD, "a%b"), _pair(BOOL, False))),
    ("to-time-out", "Order", "wait", _attributes(_pair(KEYWORD, ""), _pair(TEXT, "Café brown-fox"))),
    ("Ünïcode", "Order", "return", _attributes(_pair(KEYWORD, "ünï"), _pair(WORDS, ["ünï", "x,y"]))),
]


async def _populate(client: Client) -> None:
    async with Worker(
        client,
        task_queue="vis-main",
        workflows=[Order, Payment],
        workflow_runner=UnsandboxedWorkflowRunner(),
        workflow_failure_exception_types=[workflow.NondeterminismError],
    ):
        ended: list[WorkflowHandle[Any, Any]] = []
        for name, kind, what, attributes in POPULATION:
            handle = await client.start_workflow(
                kind,
                what,
                id=name,
                task_queue="vis-main",
                search_attributes=attributes,
                memo={"of": name},
                run_timeout=timedelta(seconds=2) if name == "to-time-out" else None,
                retry_policy=RetryPolicy(maximum_attempts=1) if what == "fail" else None,
            )
            if name == "to-terminate":
                await handle.terminate()
            elif name == "to-cancel":
                await handle.cancel()
            if what != "wait" or name.startswith("to-"):
                ended.append(handle)
        for handle in ended:
            try:
                await handle.result()
            except WorkflowFailureError:
                continue
        await client.start_workflow("Order", "return", id="elsewhere", task_queue="vis-other")


def _bytes(message: Any) -> str | None:
    return (
        base64.b64encode(message.SerializeToString(deterministic=True)).decode()
        if message.ByteSize()
        else None
    )


def _row(info: WorkflowExecutionInfo) -> dict[str, Any]:
    closed = info.HasField("close_time")
    return {
        "run_id": info.execution.run_id,
        "workflow_id": info.execution.workflow_id,
        "workflow_type": info.type.name,
        "task_queue": info.task_queue,
        "status": info.status,
        "start_time": info.start_time.ToNanoseconds(),
        "execution_time": info.execution_time.ToNanoseconds(),
        "close_time": info.close_time.ToNanoseconds() if closed else None,
        "history_length": info.history_length if closed else None,
        "history_size_bytes": info.history_size_bytes if closed else None,
        "state_transition_count": info.state_transition_count if closed else None,
        "execution_duration_ns": info.execution_duration.ToNanoseconds() if closed else None,
        "parent_workflow_id": info.parent_execution.workflow_id or None,
        "parent_run_id": info.parent_execution.run_id or None,
        "root_workflow_id": info.root_execution.workflow_id,
        "root_run_id": info.root_execution.run_id,
        "first_run_id": info.first_run_id or info.execution.run_id,
        "memo": _bytes(info.memo),
        "search_attributes": _bytes(info.search_attributes),
    }


async def _paced(call: Callable[[], Awaitable[Reply]]) -> Reply:
    """The reply to `call`, made again while the server says that it is asked too fast."""
    while True:
        try:
            return await call()
        except RPCError as error:
            if error.status is not RPCStatusCode.RESOURCE_EXHAUSTED:
                raise
        await asyncio.sleep(0.3)


async def _list(client: Client, namespace: str, query: str) -> list[WorkflowExecutionInfo]:
    request = ListWorkflowExecutionsRequest(namespace=namespace, page_size=100, query=query)
    return list((await _paced(lambda: client.workflow_service.list_workflow_executions(request))).executions)


async def _asked(client: Client, namespace: str, query: str) -> dict[str, Any]:
    try:
        found = await _list(client, namespace, query)
    except RPCError as error:
        return {"query": query, "code": error.status.name, "error": error.message}
    return {"query": query, "runs": [each.execution.run_id for each in found]}


async def _counted(client: Client, namespace: str, query: str) -> dict[str, Any]:
    request = CountWorkflowExecutionsRequest(namespace=namespace, query=query)
    try:
        reply = await _paced(lambda: client.workflow_service.count_workflow_executions(request))
    except RPCError as error:
        return {"query": query, "code": error.status.name, "error": error.message}
    groups = [
        [[json.loads(value.data) for value in group.group_values], group.count] for group in reply.groups
    ]
    return {"query": query, "count": reply.count, "groups": groups}


async def record(address: str) -> None:
    """Ask the server at `address` and write the golden file."""
    namespace = f"vis-{uuid.uuid4().hex[:8]}"
    system = await Client.connect(address)
    await system.workflow_service.register_namespace(
        RegisterNamespaceRequest(
            namespace=namespace,
            workflow_execution_retention_period=duration_pb2.Duration(seconds=86400),
        )
    )
    client = await Client.connect(address, namespace=namespace)
    async with asyncio.timeout(60):
        while True:
            try:
                await client.operator_service.add_search_attributes(
                    AddSearchAttributesRequest(namespace=namespace, search_attributes=TYPES)
                )
                await _list(client, namespace, "VisInt = 1 AND VisText = 'a'")
                break
            except RPCError:
                await asyncio.sleep(0.5)
    await _populate(client)
    await asyncio.sleep(2)  # the real server's lists follow its writes after a while
    rows = [_row(info) for info in await _list(client, namespace, "")]
    for row in rows:  # a list rounds large ints, a description has the payloads as they were sent
        execution = WorkflowExecution(workflow_id=row["workflow_id"], run_id=row["run_id"])
        described = await client.workflow_service.describe_workflow_execution(
            DescribeWorkflowExecutionRequest(namespace=namespace, execution=execution)
        )
        row["search_attributes"] = _bytes(described.workflow_execution_info.search_attributes)
    names = {
        "run": {row["workflow_id"]: row["run_id"] for row in rows},
        "start": {row["workflow_id"]: row["start_time"] for row in rows},
    }
    golden = {
        "types": {name: int(value) for name, value in TYPES.items()},
        "rows": rows,
        "lists": [await _asked(client, namespace, query.format_map(names)) for query in LISTS],
        "counts": [await _counted(client, namespace, query) for query in COUNTS],
    }
    GOLDEN.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1]))
