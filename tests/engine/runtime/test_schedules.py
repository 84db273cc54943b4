"""Schedules on a real database: crashes, failed flushes, what is stored and what is counted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, func, select
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.enums.v1 import ScheduleOverlapPolicy
from temporalio.api.operatorservice.v1 import DeleteNamespaceRequest
from temporalio.api.schedule.v1 import (
    BackfillRequest,
    IntervalSpec,
    Schedule,
    ScheduleAction,
    SchedulePatch,
    SchedulePolicies,
    ScheduleSpec,
    ScheduleState,
    TriggerImmediatelyRequest,
)
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import NewWorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CountSchedulesRequest,
    CountWorkflowExecutionsRequest,
    CreateScheduleRequest,
    DeleteScheduleRequest,
    DescribeScheduleRequest,
    DescribeScheduleResponse,
    PatchScheduleRequest,
    UpdateScheduleRequest,
)

from cloud.engine.runtime.commits import Unflushed
from cloud.engine.store import schema
from cloud.engine.store.database import Database
from cloud.rpc import RpcError
from tests.engine.api.calling import started as api_on
from tests.engine.runtime.harness import NAMESPACE, Engine, FaultyDatabase, engine

ALLOW = ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL
ALL = ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_BUFFER_ALL


def definition(every: int = 0, policy: int = ALL, **state: Any) -> Schedule:
    intervals = [IntervalSpec(interval=Duration(seconds=every))] if every else []
    return Schedule(
        spec=ScheduleSpec(interval=intervals),
        action=ScheduleAction(
            start_workflow=NewWorkflowExecutionInfo(
                workflow_id="wf", workflow_type=WorkflowType(name="demo"), task_queue=TaskQueue(name="tq")
            )
        ),
        policies=SchedulePolicies(overlap_policy=policy),  # type: ignore[arg-type]
        state=ScheduleState(**state),
    )


async def create(cell: Engine, schedule_id: str = "s", **fields: Any) -> None:
    await cell.call(
        "CreateSchedule",
        CreateScheduleRequest(
            namespace=NAMESPACE, schedule_id=schedule_id, schedule=definition(**fields), request_id="create"
        ),
    )


async def describe(cell: Engine, schedule_id: str = "s") -> DescribeScheduleResponse:
    reply: DescribeScheduleResponse = await cell.call(
        "DescribeSchedule", DescribeScheduleRequest(namespace=NAMESPACE, schedule_id=schedule_id)
    )
    return reply


async def patch(cell: Engine, request_id: str = "", **fields: Any) -> None:
    await cell.call(
        "PatchSchedule",
        PatchScheduleRequest(
            namespace=NAMESPACE, schedule_id="s", patch=SchedulePatch(**fields), request_id=request_id
        ),
    )


async def trigger(cell: Engine, at: int, request_id: str = "") -> None:
    await patch(
        cell,
        request_id,
        trigger_immediately=TriggerImmediatelyRequest(scheduled_time=Timestamp(seconds=at)),
    )


async def until(cell: Engine, true: Any) -> DescribeScheduleResponse:
    for _ in range(200):
        found = await describe(cell)
        if true(found.info):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(str(found))


async def runs(cell: Engine) -> int:
    reply = await cell.call("CountWorkflowExecutions", CountWorkflowExecutionsRequest(namespace=NAMESPACE))
    return int(reply.count)


async def test_it_goes_on_after_a_restart(database: Database) -> None:
    async with engine(database) as cell:
        await create(cell, every=1, policy=ALLOW)
    await asyncio.sleep(1.2)
    async with engine(database) as cell:
        found = await until(cell, lambda info: info.action_count >= 2)
        await patch(cell, pause="enough")
        assert await runs(cell) == (await describe(cell)).info.action_count
    ids = [each.start_workflow_result.workflow_id for each in found.info.recent_actions]
    assert len(ids) == len(set(ids))


async def test_what_closes_before_a_crash_is_heard_of_after_it(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as cell:  # type: ignore[arg-type]
        await create(cell)
        await trigger(cell, 1)
        await trigger(cell, 2)
        # The close becomes durable; what follows from it does not.
        closing = asyncio.create_task(cell.terminate("wf-1970-01-01T00:00:01Z"))
        await closing
        faulty.fail_next = 1_000
    faulty.fail_next = 0
    async with engine(database) as cell:
        found = await until(cell, lambda info: info.action_count == 2)
        assert found.info.buffer_size == 0
        assert await runs(cell) == 2


async def test_a_failed_flush_leaves_neither_run_nor_knowledge_of_it(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as cell:  # type: ignore[arg-type]
        await create(cell)
        faulty.fail_next = 1
        with pytest.raises(RpcError):
            await trigger(cell, 1, "once")
        assert (await describe(cell)).info.action_count == 0
        assert await runs(cell) == 0
        for _ in range(2):
            await trigger(cell, 1, "once")
        assert (await describe(cell)).info.action_count == 1
        assert await runs(cell) == 1


async def test_a_flush_that_fails_amid_many_starts_loses_and_doubles_none(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as cell:  # type: ignore[arg-type]
        await create(cell, every=1, policy=ALLOW, paused=True)
        backfill = BackfillRequest(start_time=Timestamp(seconds=1), end_time=Timestamp(seconds=30))
        faulty.writing.close()
        call = asyncio.create_task(patch(cell, backfill_request=[backfill]))
        await faulty.writing.reached.wait()
        # The flush that is held up takes place, the one after it fails.
        faulty.fail_next = 1
        faulty.writing.open()
        failed = False
        try:
            await call
        except (RpcError, Unflushed):
            failed = True
        if failed and not (await describe(cell)).info.action_count:
            await patch(cell, backfill_request=[backfill])
        await until(cell, lambda info: info.action_count == 30 and not info.buffer_size)
        assert await runs(cell) == 30


async def test_callers_at_once_lose_no_change(database: Database) -> None:
    async with engine(database) as cell:
        await create(cell)
        await asyncio.gather(*(trigger(cell, at) for at in range(1, 21)))
        found = await describe(cell)
        assert (found.info.action_count, found.info.buffer_size) == (1, 19)


async def test_a_caller_that_goes_away_leaves_no_stale_state(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as cell:  # type: ignore[arg-type]
        await create(cell)
        faulty.writing.close()
        gone = asyncio.create_task(trigger(cell, 1))
        await faulty.writing.reached.wait()
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        second = asyncio.create_task(trigger(cell, 2))
        await asyncio.sleep(0.05)
        faulty.writing.open()
        await second
        found = await describe(cell)
        assert (found.info.action_count, found.info.buffer_size) == (1, 1)


async def test_an_idle_schedule_is_a_row_and_no_more(database: Database) -> None:
    async with engine(database) as cell:
        await create(cell, every=86_400 * 365)
        rows = await database.read(lambda c: c.execute(select(schema.schedules.c.wake_at)).scalars().all())
        assert len(rows) == 1
        assert rows[0] > cell.runtime.clock.now()
        assert await runs(cell) == 0


async def test_usage(database: Database) -> None:
    async with engine(database) as cell:
        await create(cell)
        await trigger(cell, 1)
        await cell.call(
            "UpdateSchedule",
            UpdateScheduleRequest(namespace=NAMESPACE, schedule_id="s", schedule=definition()),
        )
        await cell.call("DeleteSchedule", DeleteScheduleRequest(namespace=NAMESPACE, schedule_id="s"))

        def kinds(connection: Connection) -> dict[str, int]:
            u = schema.usage_records.c
            return dict(connection.execute(select(u.kind, func.sum(u.quantity)).group_by(u.kind)).all())  # type: ignore[arg-type]

        assert await database.read(kinds) == {
            "create_schedule": 1,
            "patch_schedule": 1,
            "schedule_workflow": 1,
            "start_workflow": 1,
            "update_schedule": 1,
            "delete_schedule": 1,
        }


async def test_schedules_go_with_their_namespace(database: Database) -> None:
    async with api_on(database) as api:
        for name in ("a", "b"):
            await api(
                "CreateSchedule",
                CreateScheduleRequest(
                    namespace=NAMESPACE, schedule_id=name, schedule=definition(every=1), request_id=name
                ),
            )
        assert (await api("CountSchedules", CountSchedulesRequest(namespace=NAMESPACE))).count == 2
        await api("DeleteNamespace", DeleteNamespaceRequest(namespace=NAMESPACE))

        def left(connection: Connection) -> int:
            tables = (schema.schedules, schema.metadata.tables["visibility"], schema.runs)
            return sum(
                connection.execute(select(func.count()).select_from(each)).scalar_one() for each in tables
            )

        for _ in range(100):
            if not await database.scan(left):
                return
            await asyncio.sleep(0.05)
        raise AssertionError("something of the namespace is left")


async def test_a_zone_that_is_not_known_any_more_stops_it_with_a_word(database: Database) -> None:
    async with engine(database) as cell:
        await create(cell, every=1, paused=True)
        stored = definition(every=1)
        stored.spec.timezone_name = "Mars/Olympus"

        def spoil(connection: Connection) -> None:
            connection.execute(schema.schedules.update().values(definition=stored.SerializeToString()))

        await database.write(spoil)
        found = await describe(cell)
        assert found.info.invalid_schedule_error == "unknown time zone Mars/Olympus"
        assert not found.info.future_action_times
