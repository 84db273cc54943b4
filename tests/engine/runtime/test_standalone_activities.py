"""Standalone activities on a real database: restarts, failed flushes, retention, deletion, what is counted, bounds of memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import func, select
from temporalio.api.common.v1 import (
    ActivityType,
    Callback,
    Link,
    OnConflictOptions,
    Payload,
    Payloads,
    RetryPolicy,
)
from temporalio.api.enums.v1 import ActivityExecutionStatus, ActivityIdConflictPolicy, CallbackState
from temporalio.api.failure.v1 import Failure
from temporalio.api.operatorservice.v1 import DeleteNamespaceRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    CountActivityExecutionsRequest,
    DeleteActivityExecutionRequest,
    DescribeActivityExecutionRequest,
    DescribeActivityExecutionResponse,
    PollActivityExecutionRequest,
    PollActivityExecutionResponse,
    PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse,
    RecordActivityTaskHeartbeatRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedRequest,
    StartActivityExecutionRequest,
    TerminateActivityExecutionRequest,
)

from cloud.engine.core.clock import SECOND
from cloud.engine.runtime import standalone_executions
from cloud.engine.runtime.dynamic_config import STANDALONE_ACTIVITY_CALLBACKS, DynamicConfig
from cloud.engine.runtime.nexus_services import NexusServices
from cloud.engine.runtime.standalone_activities import StandaloneActivities
from cloud.engine.store import schema
from cloud.engine.store.database import Database
from cloud.rpc import RpcError
from tests.engine.api.calling import started as api_on
from tests.engine.runtime.harness import NAMESPACE, Engine, FaultyDatabase, engine

S = ActivityExecutionStatus
C = CallbackState


async def start(cell: Engine, activity_id: str = "a", **fields: Any) -> str:
    request = StartActivityExecutionRequest(
        namespace=NAMESPACE,
        activity_id=activity_id,
        activity_type=ActivityType(name="act"),
        task_queue=TaskQueue(name="tq"),
        start_to_close_timeout=Duration(seconds=60),
        request_id=fields.pop("request_id", "once"),
        **fields,
    )
    return str((await cell.call("StartActivityExecution", request)).run_id)


async def poll(cell: Engine, timeout_s: float = 10) -> PollActivityTaskQueueResponse:
    request = PollActivityTaskQueueRequest(namespace=NAMESPACE, task_queue=TaskQueue(name="tq"))
    reply: PollActivityTaskQueueResponse = await cell.call("PollActivityTaskQueue", request, timeout_s)
    return reply


async def complete(cell: Engine, task: PollActivityTaskQueueResponse, data: bytes = b"1") -> None:
    await cell.call(
        "RespondActivityTaskCompleted",
        RespondActivityTaskCompletedRequest(
            namespace=NAMESPACE,
            task_token=task.task_token,
            result=Payloads(payloads=[Payload(data=data)]),
        ),
    )


async def fail(cell: Engine, task: PollActivityTaskQueueResponse) -> None:
    failure = Failure(message="boom")
    failure.application_failure_info.type = "Boom"
    await cell.call(
        "RespondActivityTaskFailed",
        RespondActivityTaskFailedRequest(namespace=NAMESPACE, task_token=task.task_token, failure=failure),
    )


async def describe(cell: Engine, activity_id: str = "a") -> DescribeActivityExecutionResponse:
    request = DescribeActivityExecutionRequest(
        namespace=NAMESPACE, activity_id=activity_id, include_outcome=True, include_input=True
    )
    reply: DescribeActivityExecutionResponse = await cell.call("DescribeActivityExecution", request)
    return reply


async def outcome(cell: Engine, activity_id: str = "a") -> PollActivityExecutionResponse:
    request = PollActivityExecutionRequest(namespace=NAMESPACE, activity_id=activity_id)
    reply: PollActivityExecutionResponse = await cell.call("PollActivityExecution", request, 15)
    return reply


async def rows(database: Database) -> dict[str, int]:
    """How many rows each of the tables has that an activity has rows in, usage aside."""
    tables = (
        schema.standalone_activities,
        schema.standalone_activity_requests,
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


async def test_one_that_waits_is_taken_after_a_restart(database: Database) -> None:
    async with engine(database) as cell:
        run_id = await start(cell, input=Payloads(payloads=[Payload(data=b"in")]))
    async with engine(database) as cell:
        task = await poll(cell)
        assert (task.activity_id, task.activity_run_id) == ("a", run_id)
        assert task.input.payloads[0].data == b"in"
        assert await start(cell) == run_id
    async with engine(database) as cell:
        # The task's token counts across restarts, as does the attempt.
        await complete(cell, task)
        assert (await outcome(cell)).outcome.result.payloads[0].data == b"1"
    async with engine(database) as cell:
        assert (await describe(cell)).info.status == S.ACTIVITY_EXECUTION_STATUS_COMPLETED
        assert (await poll(cell, 2.5)).task_token == b""


async def test_times_go_on_while_nobody_runs(database: Database) -> None:
    async with engine(database) as cell:
        await start(cell, schedule_to_close_timeout=Duration(seconds=1))
        await start(
            cell,
            "retried",
            retry_policy=RetryPolicy(initial_interval=Duration(nanos=300_000_000), maximum_attempts=2),
        )
        tasks = [await poll(cell), await poll(cell)]
        await fail(cell, next(task for task in tasks if task.activity_id == "retried"))
    await asyncio.sleep(1)
    async with engine(database) as cell:
        failure = (await outcome(cell)).outcome.failure
        assert failure.HasField("timeout_failure_info")
        task = await poll(cell)
        assert (task.activity_id, task.attempt) == ("retried", 2)


async def test_a_failed_flush_leaves_nothing_of_a_start(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as cell:  # type: ignore[arg-type]
        faulty.fail_next = 1
        with pytest.raises(RpcError):
            await start(cell)
        with pytest.raises(RpcError, match="not found"):
            await describe(cell)
        await start(cell)
        task = await poll(cell)
        faulty.fail_next = 1
        with pytest.raises(RpcError):
            await complete(cell, task)
        assert (await describe(cell)).info.status == S.ACTIVITY_EXECUTION_STATUS_RUNNING
        await complete(cell, task)
        assert (await describe(cell)).info.status == S.ACTIVITY_EXECUTION_STATUS_COMPLETED
    assert (await usage(database))["start_standalone_activity"] == 1


async def test_who_waits_for_an_outcome_gets_it_after_a_failed_flush(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as cell:  # type: ignore[arg-type]
        await start(cell)
        task = await poll(cell)
        waiting = asyncio.create_task(outcome(cell))
        await asyncio.sleep(0.1)
        faulty.fail_next = 1
        with pytest.raises(RpcError):
            await complete(cell, task)
        await complete(cell, task, b"2")
        assert (await waiting).outcome.result.payloads[0].data == b"2"


async def test_two_starts_at_once_make_one(database: Database) -> None:
    async with engine(database) as cell:
        run_ids = await asyncio.gather(*(start(cell) for _ in range(5)))
        assert len(set(run_ids)) == 1
        refused = await asyncio.gather(
            *(start(cell, "b", request_id=str(number)) for number in range(5)), return_exceptions=True
        )
        assert sum(isinstance(each, RpcError) for each in refused) == 4


async def test_what_is_counted(database: Database) -> None:
    async with engine(database) as cell:
        await start(cell, retry_policy=RetryPolicy(initial_interval=Duration(nanos=1_000_000)))
        await start(cell)
        await fail(cell, await poll(cell))
        task = await poll(cell)
        heartbeat = RecordActivityTaskHeartbeatRequest(namespace=NAMESPACE, task_token=task.task_token)
        await cell.call("RecordActivityTaskHeartbeat", heartbeat)
        await complete(cell, task)
    assert await usage(database) == {
        "start_standalone_activity": 1,
        "retry_standalone_activity": 1,
        "record_standalone_activity_heartbeat": 1,
    }


async def states(cell: Engine) -> list[tuple[int, int]]:
    """State and attempts of the callbacks."""
    return [(each.info.state, each.info.attempt) for each in (await describe(cell)).callbacks]


async def called(cell: Engine, attempts: int = 1) -> list[tuple[int, int]]:
    """The same, once each callback was called so often, or given up."""
    for _ in range(200):
        found = await states(cell)
        if all(attempt >= attempts or state == C.CALLBACK_STATE_FAILED for state, attempt in found):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(str(found))


async def test_callbacks_are_called_again_also_after_a_restart(database: Database) -> None:
    refused = Callback(nexus=Callback.Nexus(url="https://127.0.0.1:1/"))
    away = Callback(nexus=Callback.Nexus(url="https://nowhere.invalid/"))
    async with engine(database) as cell:
        await start(cell, completion_callbacks=[refused, away])
        assert await states(cell) == [(C.CALLBACK_STATE_STANDBY, 0)] * 2
        await complete(cell, await poll(cell))
        found = await called(cell)
        # An address inside is refused for good, one that is not there is tried again.
        assert found[0] == (C.CALLBACK_STATE_FAILED, 1)
        assert found[1][0] == C.CALLBACK_STATE_BACKING_OFF
    async with engine(database) as cell:
        found = await called(cell, 2)
        assert found[0] == (C.CALLBACK_STATE_FAILED, 1)


async def test_a_callback_whose_call_was_cut_off_is_called_after_a_restart(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(*_: object) -> None:
        await asyncio.Event().wait()

    async with engine(database) as cell:
        with monkeypatch.context() as patched:
            patched.setattr(NexusServices, "complete", hangs)
            await start(
                cell, completion_callbacks=[Callback(nexus=Callback.Nexus(url="https://127.0.0.1:1/"))]
            )
            await complete(cell, await poll(cell))
            await asyncio.sleep(0.2)
            assert await states(cell) == [(C.CALLBACK_STATE_SCHEDULED, 0)]
            await cell.runtime.stop()
    async with engine(database) as cell:
        assert await called(cell) == [(C.CALLBACK_STATE_FAILED, 1)]


async def test_callbacks_do_not_keep_it_beyond_its_retention(database: Database) -> None:
    async with engine(database) as cell:
        registry = cell.runtime.namespaces
        changed = replace(registry.by_name(NAMESPACE), retention=2 * SECOND)
        await registry.update(changed, cell.runtime.lease.epoch)
        away = Callback(nexus=Callback.Nexus(url="https://nowhere.invalid/"))
        await start(cell, completion_callbacks=[away])
        await complete(cell, await poll(cell))
        await gone(database)


async def test_callbacks_switched_off(database: Database) -> None:
    off = DynamicConfig({STANDALONE_ACTIVITY_CALLBACKS: False})
    async with engine(database, dynamic_config=off) as cell:
        with pytest.raises(RpcError, match="completion callbacks are not enabled for this namespace"):
            await start(cell, completion_callbacks=[Callback(nexus=Callback.Nexus(url="https://x/"))])


async def test_retention(database: Database) -> None:
    async with engine(database) as cell:
        registry = cell.runtime.namespaces
        changed = replace(registry.by_name(NAMESPACE), retention=SECOND)
        await registry.update(changed, cell.runtime.lease.epoch)
        await start(cell)
        await complete(cell, await poll(cell))
        await gone(database)
        with pytest.raises(RpcError, match="not found"):
            await describe(cell)
        await start(cell, request_id="again")


async def test_deletion(database: Database) -> None:
    async with engine(database) as cell:
        await start(cell)
        waiting = asyncio.create_task(outcome(cell))
        await asyncio.sleep(0.1)
        await cell.call(
            "DeleteActivityExecution", DeleteActivityExecutionRequest(namespace=NAMESPACE, activity_id="a")
        )
        assert (await waiting).outcome.failure.HasField("terminated_failure_info")
        assert not any((await rows(database)).values())
        assert (await poll(cell, 2.5)).task_token == b""


async def test_a_deleted_namespace_takes_them_along(database: Database) -> None:
    async with api_on(database) as api:
        request = StartActivityExecutionRequest(
            namespace="ns",
            activity_id="a",
            activity_type=ActivityType(name="act"),
            task_queue=TaskQueue(name="tq"),
            start_to_close_timeout=Duration(seconds=60),
        )
        await api("StartActivityExecution", request)
        await api("DeleteNamespace", DeleteNamespaceRequest(namespace="ns"))
        await gone(database)


async def test_no_token_is_of_use_to_another_namespace(database: Database) -> None:
    async with engine(database) as cell:
        other = replace(cell.runtime.namespaces.by_name(NAMESPACE), namespace_id="other-id", name="other")
        await cell.runtime.namespaces.create(other, cell.runtime.lease.epoch)
        run_id = await start(cell)
        task = await poll(cell)
        with pytest.raises(RpcError):
            await cell.call(
                "RespondActivityTaskCompleted",
                RespondActivityTaskCompletedRequest(namespace="other", task_token=task.task_token),
            )
        for ids in ({"activity_id": "a"}, {"activity_id": "a", "run_id": run_id}):
            with pytest.raises(RpcError, match="not found"):
                await cell.call(
                    "TerminateActivityExecution", TerminateActivityExecutionRequest(namespace="other", **ids)
                )
        counted = await cell.call(
            "CountActivityExecutions", CountActivityExecutionsRequest(namespace="other")
        )
        assert counted.count == 0
        counted = await cell.call(
            "CountActivityExecutions", CountActivityExecutionsRequest(namespace=NAMESPACE)
        )
        assert counted.count == 1


async def test_memory_lets_go_of_those_used_longest_ago(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standalone_executions, "COUNT_MAX", 2)
    async with engine(database) as cell:
        run_ids = [await start(cell, str(number)) for number in range(6)]
        for number, run_id in enumerate(run_ids):
            assert (await describe(cell, str(number))).run_id == run_id
        for _ in run_ids:
            await complete(cell, await poll(cell))
        for number in range(6):
            assert (await describe(cell, str(number))).outcome.HasField("result")


async def test_what_can_not_be_stored_rests_alone(database: Database) -> None:
    async with engine(database) as cell:
        await start(cell, "good")
        await start(cell, "bad")
        tasks = {task.activity_id: task for task in (await poll(cell), await poll(cell))}
        broken: Callable[..., Any] = lambda *_: 1 / 0  # noqa: E731
        hot = next(
            hot
            for companion in cell.runtime._companions
            for hot in getattr(companion, "_hot", {}).values()
            if hot.activity_id == "bad"
        )
        type_before = type(hot).row
        try:
            type(hot).row = lambda self: broken() if self.activity_id == "bad" else type_before(self)
            with pytest.raises(RpcError):
                await complete(cell, tasks["bad"])
        finally:
            type(hot).row = type_before
        await complete(cell, tasks["good"])
        with pytest.raises(RpcError, match="rests"):
            await complete(cell, tasks["bad"])


async def test_what_later_starts_attach_counts_as_memory(database: Database) -> None:
    async with engine(database) as cell:
        await start(cell)
        [activities] = [each for each in cell.runtime._companions if isinstance(each, StandaloneActivities)]
        before = activities._bytes
        link = Link(batch_job=Link.BatchJob(job_id="j" * 1_000))
        options = OnConflictOptions(attach_links=True, attach_request_id=True)
        await start(
            cell,
            request_id="again",
            links=[link],
            id_conflict_policy=ActivityIdConflictPolicy.ACTIVITY_ID_CONFLICT_POLICY_USE_EXISTING,
            on_conflict_options=options,
        )
        assert activities._bytes >= before + 1_000
