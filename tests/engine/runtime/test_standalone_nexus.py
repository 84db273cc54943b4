"""Standalone Nexus operations on a real database: restarts, failed flushes, retention, deletion, what is counted, bounds, tenants."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import func, select
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import NexusOperationExecutionStatus, NexusOperationWaitStage
from temporalio.api.failure.v1 import Failure
from temporalio.api.nexus.v1 import (
    EndpointSpec,
    EndpointTarget,
    Response,
    StartOperationResponse,
)
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest, DeleteNamespaceRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    CountNexusOperationExecutionsRequest,
    DeleteNexusOperationExecutionRequest,
    DescribeNexusOperationExecutionRequest,
    DescribeNexusOperationExecutionResponse,
    ListNexusOperationExecutionsRequest,
    PollNexusOperationExecutionRequest,
    PollNexusOperationExecutionResponse,
    PollNexusTaskQueueRequest,
    PollNexusTaskQueueResponse,
    RequestCancelNexusOperationExecutionRequest,
    RespondNexusTaskCompletedRequest,
    RespondNexusTaskFailedRequest,
    StartNexusOperationExecutionRequest,
    TerminateNexusOperationExecutionRequest,
)

from cloud.engine.core.clock import SECOND
from cloud.engine.runtime import standalone_executions, standalone_nexus_calls
from cloud.engine.runtime.dynamic_config import STANDALONE_NEXUS_OPERATIONS, DynamicConfig
from cloud.engine.runtime.nexus_completions import CALLBACK_TOKEN_HEADER
from cloud.engine.runtime.nexus_endpoints import NexusEndpoint
from cloud.engine.store import schema
from cloud.engine.store.database import Database
from cloud.rpc import RpcError
from tests.engine.api.calling import started as api_on
from tests.engine.runtime.harness import NAMESPACE, Engine, FaultyDatabase, engine

S = NexusOperationExecutionStatus
STARTED = NexusOperationWaitStage.NEXUS_OPERATION_WAIT_STAGE_STARTED


async def make_endpoint(cell: Engine, name: str = "ep", **fields: Any) -> None:
    registry, runtime = cell.runtime.nexus_endpoints, cell.runtime
    if all(endpoint.name != name for endpoint in registry.all()):
        target = {"namespace_id": runtime.namespaces.by_name(NAMESPACE).namespace_id, "task_queue": "tq"}
        made = NexusEndpoint(endpoint_id=runtime.ids.request_id(), name=name, **(target | fields))
        await registry.create(made, runtime.lease.epoch)


async def start(cell: Engine, operation_id: str = "o", **fields: Any) -> str:
    await make_endpoint(cell)
    request = StartNexusOperationExecutionRequest(
        namespace=fields.pop("namespace", NAMESPACE),
        operation_id=operation_id,
        endpoint=fields.pop("endpoint", "ep"),
        service="svc",
        operation="op",
        request_id=fields.pop("request_id", "once"),
        **fields,
    )
    return str((await cell.call("StartNexusOperationExecution", request)).run_id)


async def poll(cell: Engine, timeout_s: float = 10) -> PollNexusTaskQueueResponse:
    request = PollNexusTaskQueueRequest(namespace=NAMESPACE, task_queue=TaskQueue(name="tq"))
    reply: PollNexusTaskQueueResponse = await cell.call("PollNexusTaskQueue", request, timeout_s)
    return reply


async def answer(cell: Engine, task: PollNexusTaskQueueResponse, response: Response) -> None:
    request = RespondNexusTaskCompletedRequest(
        namespace=NAMESPACE, task_token=task.task_token, response=response
    )
    await cell.call("RespondNexusTaskCompleted", request)


async def done(cell: Engine, task: PollNexusTaskQueueResponse, data: bytes = b"1") -> None:
    success = StartOperationResponse.Sync(payload=Payload(data=data))
    await answer(cell, task, Response(start_operation=StartOperationResponse(sync_success=success)))


async def going_on(cell: Engine, task: PollNexusTaskQueueResponse) -> None:
    success = StartOperationResponse.Async(operation_token="token")
    await answer(cell, task, Response(start_operation=StartOperationResponse(async_success=success)))


async def not_now(cell: Engine, task: PollNexusTaskQueueResponse) -> None:
    failure = Failure(message="not now")
    failure.nexus_handler_failure_info.type = "UNAVAILABLE"
    await cell.call(
        "RespondNexusTaskFailed",
        RespondNexusTaskFailedRequest(namespace=NAMESPACE, task_token=task.task_token, failure=failure),
    )


async def describe(cell: Engine, operation_id: str = "o") -> DescribeNexusOperationExecutionResponse:
    request = DescribeNexusOperationExecutionRequest(
        namespace=NAMESPACE, operation_id=operation_id, include_outcome=True, include_input=True
    )
    reply: DescribeNexusOperationExecutionResponse = await cell.call(
        "DescribeNexusOperationExecution", request
    )
    return reply


async def outcome(
    cell: Engine, operation_id: str = "o", wait_stage: Any = 0
) -> PollNexusOperationExecutionResponse:
    request = PollNexusOperationExecutionRequest(
        namespace=NAMESPACE, operation_id=operation_id, wait_stage=wait_stage
    )
    reply: PollNexusOperationExecutionResponse = await cell.call("PollNexusOperationExecution", request, 15)
    return reply


async def complete(cell: Engine, token: str, data: bytes = b'"2"') -> int:
    """Tell that what a handler had started succeeded. Returns the HTTP status of the answer."""
    header = {
        CALLBACK_TOKEN_HEADER: token,
        "nexus-operation-state": "succeeded",
        "content-type": "application/json",
    }
    reply = await cell._service.nexus_callbacks.answer(None, header, data)
    return reply.status


async def rows(database: Database) -> dict[str, int]:
    """How many rows each of the tables has that an operation has rows in, usage aside."""
    tables = (
        schema.standalone_nexus_operations,
        schema.standalone_nexus_requests,
        schema.metadata.tables["visibility"],
    )
    return await database.scan(
        lambda c: {
            table.name: c.execute(select(func.count()).select_from(table)).scalar_one() for table in tables
        }
    )


async def gone(database: Database) -> None:
    for _ in range(100):
        if not any((await rows(database)).values()):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(str(await rows(database)))


async def usage(database: Database) -> dict[str, int]:
    u = schema.usage_records.c
    found = await database.scan(
        lambda c: c.execute(select(u.kind, func.sum(u.quantity)).group_by(u.kind)).all()
    )
    return {kind: int(count) for kind, count in found}


async def test_a_call_that_a_restart_cut_off_is_made_again(database: Database) -> None:
    async with engine(database) as cell:
        run_id = await start(cell, input=Payload(data=b"in"))
        first = await poll(cell)
    async with engine(database) as cell:
        task = await poll(cell)
        sent = task.request.start_operation
        assert sent.payload.data == b"in"
        assert sent.request_id == first.request.start_operation.request_id
        assert await start(cell) == run_id
        await going_on(cell, task)
        assert (await outcome(cell, wait_stage=STARTED)).operation_token == "token"
        token = sent.callback_header[CALLBACK_TOKEN_HEADER]
    async with engine(database) as cell:
        # The completion's token counts across restarts.
        assert sorted(await asyncio.gather(*(complete(cell, token) for _ in range(3)))) == [200, 404, 404]
        assert (await outcome(cell)).result.data == b'"2"'
    async with engine(database) as cell:
        assert (await describe(cell)).info.status == S.NEXUS_OPERATION_EXECUTION_STATUS_COMPLETED
        assert (await poll(cell, 2.5)).task_token == b""


async def test_a_request_to_cancel_that_a_restart_cut_off_is_made_again(database: Database) -> None:
    async with engine(database) as cell:
        await start(cell)
        await going_on(cell, await poll(cell))
        await outcome(cell, wait_stage=STARTED)
        request = RequestCancelNexusOperationExecutionRequest(namespace=NAMESPACE, operation_id="o")
        await cell.call("RequestCancelNexusOperationExecution", request)
        assert (await poll(cell)).request.HasField("cancel_operation")
    async with engine(database) as cell:
        await describe(cell)  # a look must not keep it from being asked again
        task = await poll(cell)
        assert task.request.cancel_operation.operation_token == "token"


async def test_times_go_on_while_nobody_runs(database: Database) -> None:
    async with engine(database) as cell:
        await start(cell, schedule_to_close_timeout=Duration(seconds=2))
        await start(cell, "retried")
        tasks = {
            task.request.start_operation.request_id: task for task in [await poll(cell), await poll(cell)]
        }
        await not_now(cell, tasks[(await describe(cell, "retried")).info.request_id])
        for _ in range(100):
            if (await describe(cell, "retried")).info.HasField("next_attempt_schedule_time"):
                break
            await asyncio.sleep(0.01)
    await asyncio.sleep(2)
    async with engine(database) as cell:
        assert (await outcome(cell)).failure.HasField("timeout_failure_info")
        task = await poll(cell)
        assert task.request.start_operation.request_id in tasks
        assert (await describe(cell, "retried")).info.attempt == 2


async def test_a_failed_flush_leaves_nothing_of_a_start(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as cell:  # type: ignore[arg-type]
        await make_endpoint(cell)
        faulty.fail_next = 1
        with pytest.raises(RpcError):
            await start(cell)
        with pytest.raises(RpcError, match="not found"):
            await describe(cell)
        await start(cell)
        task = await poll(cell)
        await going_on(cell, task)
        await outcome(cell, wait_stage=STARTED)
        token = task.request.start_operation.callback_header[CALLBACK_TOKEN_HEADER]
        faulty.fail_next = 1
        assert await complete(cell, token) == 503
        assert (await describe(cell)).info.status == S.NEXUS_OPERATION_EXECUTION_STATUS_RUNNING
        assert await complete(cell, token) == 200
        assert (await describe(cell)).info.status == S.NEXUS_OPERATION_EXECUTION_STATUS_COMPLETED
    assert (await usage(database))["start_standalone_nexus_operation"] == 1


async def test_an_answer_that_a_failed_flush_took_is_asked_for_again(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as cell:  # type: ignore[arg-type]
        await start(cell)
        task = await poll(cell)
        waiting = asyncio.create_task(outcome(cell))
        await asyncio.sleep(0.1)
        faulty.fail_next = 1
        await done(cell, task, b"lost")
        again = await poll(cell)
        assert again.request.start_operation.request_id == task.request.start_operation.request_id
        await done(cell, again, b"kept")
        assert (await waiting).result.data == b"kept"


async def test_two_starts_at_once_make_one(database: Database) -> None:
    async with engine(database) as cell:
        await make_endpoint(cell)
        run_ids = await asyncio.gather(*(start(cell) for _ in range(5)))
        assert len(set(run_ids)) == 1
        refused = await asyncio.gather(
            *(start(cell, "b", request_id=str(number)) for number in range(5)), return_exceptions=True
        )
        assert sum(isinstance(each, RpcError) for each in refused) == 4


async def test_what_is_counted(database: Database) -> None:
    async with engine(database) as cell:
        await start(cell)
        await start(cell)
        task = await poll(cell)
        await not_now(cell, task)
        await going_on(cell, await poll(cell))
        await outcome(cell, wait_stage=STARTED)
        for _ in range(2):
            request = RequestCancelNexusOperationExecutionRequest(
                namespace=NAMESPACE, operation_id="o", request_id="same"
            )
            await cell.call("RequestCancelNexusOperationExecution", request)
    assert await usage(database) == {
        "start_standalone_nexus_operation": 1,
        "request_standalone_nexus_operation_cancellation": 1,
    }


async def test_retention(database: Database) -> None:
    async with engine(database) as cell:
        registry = cell.runtime.namespaces
        changed = replace(registry.by_name(NAMESPACE), retention=SECOND)
        await registry.update(changed, cell.runtime.lease.epoch)
        await start(cell)
        await done(cell, await poll(cell))
        await gone(database)
        with pytest.raises(RpcError, match="not found"):
            await describe(cell)
        await start(cell, request_id="again")


async def test_deletion(database: Database) -> None:
    async with engine(database) as cell:
        await start(cell)
        task = await poll(cell)
        waiting = asyncio.create_task(outcome(cell))
        await asyncio.sleep(0.1)
        request = DeleteNexusOperationExecutionRequest(namespace=NAMESPACE, operation_id="o")
        await cell.call("DeleteNexusOperationExecution", request)
        assert (await waiting).failure.HasField("terminated_failure_info")
        assert not any((await rows(database)).values())
        await done(cell, task)
        await asyncio.sleep(0.1)
        assert not any((await rows(database)).values())


async def test_a_deleted_namespace_takes_them_along(database: Database) -> None:
    async with api_on(database) as api:
        target = EndpointTarget(external=EndpointTarget.External(url="https://127.0.0.1:1/"))
        spec = EndpointSpec(name="ep", target=target)
        await api("CreateNexusEndpoint", CreateNexusEndpointRequest(spec=spec))
        request = StartNexusOperationExecutionRequest(
            namespace="ns", operation_id="o", endpoint="ep", service="svc", operation="op"
        )
        await api("StartNexusOperationExecution", request)
        await api("DeleteNamespace", DeleteNamespaceRequest(namespace="ns"))
        await gone(database)


async def test_tenants_do_not_see_each_other(database: Database) -> None:
    async with engine(database) as cell:
        other = replace(cell.runtime.namespaces.by_name(NAMESPACE), namespace_id="other-id", name="other")
        await cell.runtime.namespaces.create(other, cell.runtime.lease.epoch)
        run_id = await start(cell)
        token = (await describe(cell)).long_poll_token
        for ids in ({"operation_id": "o"}, {"operation_id": "o", "run_id": run_id}):
            with pytest.raises(RpcError, match="not found"):
                await cell.call(
                    "TerminateNexusOperationExecution",
                    TerminateNexusOperationExecutionRequest(namespace="other", **ids),
                )
        with pytest.raises(RpcError, match="invalid long poll token"):
            await cell.call(
                "DescribeNexusOperationExecution",
                DescribeNexusOperationExecutionRequest(
                    namespace="other", operation_id="o", run_id=run_id, long_poll_token=token
                ),
            )
        for namespace, count in (("other", 0), (NAMESPACE, 1)):
            counted = await cell.call(
                "CountNexusOperationExecutions", CountNexusOperationExecutionsRequest(namespace=namespace)
            )
            listed = await cell.call(
                "ListNexusOperationExecutions", ListNexusOperationExecutionsRequest(namespace=namespace)
            )
            assert (counted.count, len(listed.operations)) == (count, count)


async def test_who_may_not_call_an_endpoint_is_refused(database: Database) -> None:
    async with engine(database) as cell:
        await make_endpoint(cell, "closed", callers=())
        with pytest.raises(RpcError, match="could not find Nexus endpoint by name: closed"):
            await start(cell, endpoint="closed")


async def test_a_service_behind_a_url_that_may_not_be_called(database: Database) -> None:
    async with engine(database) as cell:
        await make_endpoint(cell, "outside", namespace_id="", task_queue="", url="https://127.0.0.1:1/")
        await start(cell, endpoint="outside")
        failure = (await outcome(cell)).failure
        assert failure.server_failure_info.non_retryable
        assert (await describe(cell)).info.last_attempt_failure == failure


async def test_calls_that_hold_too_many_bytes_are_put_off(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standalone_nexus_calls, "CALLS_BYTES_MAX", 1_500)
    async with engine(database) as cell:
        for number in range(3):
            await start(cell, str(number), input=Payload(data=b"x" * 1_000))
        await poll(cell)
        assert (await poll(cell, 2.5)).task_token == b""
        infos = [(await describe(cell, str(number))).info for number in range(3)]
        assert sum("too many bytes" in info.last_attempt_failure.message for info in infos) == 2


async def test_memory_lets_go_of_those_used_longest_ago(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standalone_executions, "COUNT_MAX", 2)
    async with engine(database) as cell:
        for number in range(5):
            await start(cell, str(number))
            await done(cell, await poll(cell), str(number).encode())
            await outcome(cell, str(number))
        for number in range(5):
            assert (await describe(cell, str(number))).result.data == str(number).encode()


async def test_switched_off(database: Database) -> None:
    off = DynamicConfig({STANDALONE_NEXUS_OPERATIONS: False})
    async with engine(database, dynamic_config=off) as cell:
        with pytest.raises(RpcError, match="Standalone Nexus operation is disabled"):
            await start(cell)
        with pytest.raises(RpcError, match="Standalone Nexus operation is disabled"):
            await cell.call(
                "CountNexusOperationExecutions", CountNexusOperationExecutionsRequest(namespace=NAMESPACE)
            )
