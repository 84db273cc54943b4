"""Time skipping: in a test's own process, and by the SDK's own environment, which starts a server."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.testservice.v1 import (
    LockTimeSkippingRequest,
    SleepUntilRequest,
    UnlockTimeSkippingRequest,
)
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType
from temporalio.exceptions import TimeoutError as TimedOut
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from sdk import testing

DAY = timedelta(days=1)
TQ = "q"


@workflow.defn
class Sleeping:
    @workflow.run
    async def run(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "awake"

    @workflow.query
    def time(self) -> float:
        return workflow.now().timestamp()

    @workflow.signal
    async def look(self) -> None:
        pass


_attempts: dict[str, int] = {}


@activity.defn
async def third_time_lucky() -> int:
    key = activity.info().workflow_id
    _attempts[key] = _attempts.get(key, 0) + 1
    if _attempts[key] < 3:
        raise ApplicationError("not yet")
    return _attempts[key]


@activity.defn
async def busy_for_a_moment() -> str:
    await asyncio.sleep(0.4)
    return "done"


@workflow.defn
class Retrying:
    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_activity(
            third_time_lucky,
            start_to_close_timeout=DAY,
            retry_policy=RetryPolicy(initial_interval=DAY, backoff_coefficient=2),
        )


@workflow.defn
class Holding:
    """A timer of an hour beside an activity that takes a moment: the activity holds the time."""

    @workflow.run
    async def run(self) -> str:
        timer = asyncio.create_task(asyncio.sleep(3600))
        work = asyncio.create_task(workflow.execute_activity(busy_for_a_moment, start_to_close_timeout=DAY))
        done, _ = await workflow.wait([timer, work], return_when=asyncio.FIRST_COMPLETED)
        timer.cancel()
        return "work" if work in done else "timer"


@workflow.defn
class Parent:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_child_workflow(Sleeping.run, 86_400.0)


@workflow.defn
class WaitsForever:
    @workflow.run
    async def run(self) -> None:
        await asyncio.Future()


@workflow.defn
class Asserting:
    @workflow.run
    async def run(self) -> None:
        raise AssertionError("foo is not bar")


class Simulated:
    def __init__(self) -> None:
        self.env: WorkflowEnvironment | None = None

    @activity.defn
    async def too_slow(self) -> None:
        assert self.env is not None
        await self.env.sleep(40)


@workflow.defn
class SlowActivity:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            "too_slow",
            schedule_to_close_timeout=timedelta(seconds=1000),
            heartbeat_timeout=timedelta(seconds=20),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )


@asynccontextmanager
async def working(env: WorkflowEnvironment) -> AsyncIterator[Client]:
    simulated = Simulated()
    simulated.env = env
    async with Worker(
        env.client,
        task_queue=TQ,
        workflows=[Sleeping, Retrying, Holding, Parent, WaitsForever, SlowActivity, Asserting],
        activities=[third_time_lucky, busy_for_a_moment, simulated.too_slow],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield env.client


def new_id() -> str:
    return uuid.uuid4().hex


def near(moment: datetime, seconds: float) -> bool:
    """Whether `moment` is about `seconds` from now."""
    return abs((moment - datetime.now(UTC)).total_seconds() - seconds) < 15


async def run(client: Client, kind: Any, *args: Any, **options: Any) -> Any:
    return await client.execute_workflow(kind.run, *args, id=new_id(), task_queue=TQ, **options)


async def test_an_awaited_result_skips_what_there_is_to_wait_for() -> None:
    async with testing.environment() as env, working(env) as client:
        assert env.supports_time_skipping
        assert near(await env.get_current_time(), 0)
        assert await run(client, Sleeping, 100_000.0) == "awake"
        assert near(await env.get_current_time(), 100_000)
        # An activity's backoffs: a day, then two.
        assert await run(client, Retrying) == 3
        assert near(await env.get_current_time(), 100_000 + 3 * 86_400)
        # A child's timer.
        assert await run(client, Parent) == "awake"
        assert near(await env.get_current_time(), 100_000 + 4 * 86_400)
        # A delayed start.
        assert await run(client, Sleeping, 1.0, start_delay=10 * DAY) == "awake"
        assert near(await env.get_current_time(), 100_000 + 14 * 86_400)
        # The time-out of the workflow itself.
        with pytest.raises(WorkflowFailureError) as failed:
            await run(client, WaitsForever, execution_timeout=7 * DAY)
        assert isinstance(failed.value.cause, TimedOut)
        assert near(await env.get_current_time(), 100_000 + 21 * 86_400)


async def test_what_ended_before_a_long_skip_is_still_there() -> None:
    async with testing.environment() as env, working(env) as client:
        handle = await client.start_workflow(Sleeping.run, 1.0, id="early", task_queue=TQ)
        await handle.result()
        await env.sleep(400 * DAY)
        assert (await handle.describe()).status == WorkflowExecutionStatus.COMPLETED


async def test_time_is_held_while_an_activity_runs() -> None:
    async with testing.environment() as env, working(env) as client:
        assert await run(client, Holding) == "work"
        assert near(await env.get_current_time(), 0)


async def test_time_is_held_while_nobody_takes_a_task() -> None:
    async with testing.environment() as env:
        await env.client.start_workflow("Nobody", id=new_id(), task_queue="unserved", execution_timeout=DAY)
        service = env.client.test_service
        await service.unlock_time_skipping(UnlockTimeSkippingRequest())
        await asyncio.sleep(0.3)
        assert near(await env.get_current_time(), 0)
        await service.lock_time_skipping(LockTimeSkippingRequest())


async def test_sleep_moves_time_and_what_is_due_meanwhile_happens() -> None:
    async with testing.environment() as env, working(env) as client:
        handle = await client.start_workflow(Sleeping.run, 100_000.0, id=new_id(), task_queue=TQ)

        async def workflow_time() -> datetime:
            await handle.signal(Sleeping.look)
            return datetime.fromtimestamp(await handle.query(Sleeping.time), UTC)

        assert near(await workflow_time(), 0)
        await env.sleep(1000)
        assert near(await workflow_time(), 1000)
        assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING
        await env.sleep(timedelta(seconds=100_000))
        assert (await handle.describe()).status == WorkflowExecutionStatus.COMPLETED


async def test_an_activity_that_sleeps_too_long_times_out() -> None:
    async with testing.environment() as env, working(env) as client:
        with pytest.raises(WorkflowFailureError) as failed:
            await run(client, SlowActivity)
        assert isinstance(failed.value.cause, ActivityError)
        assert isinstance(failed.value.cause.cause, TimedOut)
        assert failed.value.cause.cause.type == TimeoutType.HEARTBEAT


async def test_results_can_be_awaited_without_skipping() -> None:
    async with testing.environment() as env, working(env) as client:
        with env.auto_time_skipping_disabled():
            began = time.monotonic()
            await run(client, Sleeping, 1.5)
            assert time.monotonic() - began > 1.4
        began = time.monotonic()
        await run(client, Sleeping, 60.0)
        assert time.monotonic() - began < 10


async def test_cron_and_schedules_are_skipped_to() -> None:
    async with testing.environment() as env, working(env) as client:
        cron = await client.start_workflow(
            Sleeping.run, 1.0, id="cron", task_queue=TQ, cron_schedule="0 0 * * *"
        )
        await client.create_schedule(
            "daily",
            Schedule(
                action=ScheduleActionStartWorkflow(Sleeping.run, 1.0, id="scheduled", task_queue=TQ),
                spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=DAY)]),
            ),
        )
        await env.sleep(3 * DAY + timedelta(hours=1))
        described = await client.get_schedule_handle("daily").describe()
        assert described.info.num_actions == 3
        runs = [each async for each in client.list_workflows("WorkflowId = 'cron'")]
        assert len(runs) == 4  # three are over, the fourth waits for its day
        await cron.terminate()


async def test_locks_are_counted() -> None:
    async with testing.environment() as env:
        service = env.client.test_service
        await service.lock_time_skipping(LockTimeSkippingRequest())
        sleeping = asyncio.create_task(env.sleep(timedelta(hours=1)))  # one lock of two
        await asyncio.sleep(0.2)
        assert not sleeping.done()
        await service.unlock_time_skipping(UnlockTimeSkippingRequest())
        await sleeping
        await service.unlock_time_skipping(UnlockTimeSkippingRequest())
        with pytest.raises(RPCError) as refused:
            await service.unlock_time_skipping(UnlockTimeSkippingRequest())
        assert refused.value.status == RPCStatusCode.FAILED_PRECONDITION


async def test_a_caller_that_goes_away_gives_its_lock_back() -> None:
    async with testing.environment() as env:
        service = env.client.test_service
        await service.lock_time_skipping(LockTimeSkippingRequest())
        sleeping = asyncio.create_task(env.sleep(timedelta(hours=1)))
        await asyncio.sleep(0.2)
        sleeping.cancel()
        await asyncio.sleep(0.2)
        await service.unlock_time_skipping(UnlockTimeSkippingRequest())
        await asyncio.sleep(0.2)
        assert near(await env.get_current_time(), 0)
        until = SleepUntilRequest()
        until.timestamp.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
        waiting = asyncio.create_task(service.sleep_until(until))
        await asyncio.sleep(0.2)
        assert not waiting.done()  # it takes no lock away
        await service.unlock_time_skipping(UnlockTimeSkippingRequest())
        await waiting
        assert near(await env.get_current_time(), 3600)


async def test_local_skips_on_request() -> None:
    async with (
        testing.local(time_skipping=True) as client,
        Worker(client, task_queue=TQ, workflows=[Sleeping], workflow_runner=UnsandboxedWorkflowRunner()),
    ):
        assert await run(client, Sleeping, 100_000.0) == "awake"


async def test_a_server_without_it_says_how() -> None:
    async with testing.local() as client:
        with pytest.raises(RPCError, match="--time-skipping") as refused:
            await client.test_service.lock_time_skipping(LockTimeSkippingRequest())
        assert refused.value.status == RPCStatusCode.UNIMPLEMENTED


async def test_a_failed_assert_fails_the_workflow() -> None:
    async with testing.environment() as env, working(env) as client:
        with pytest.raises(WorkflowFailureError):
            await run(client, Asserting)


async def test_the_sdk_starts_it_as_its_test_server() -> None:
    executable = Path(sys.executable).parent / "tacit-test-server"
    async with (
        await WorkflowEnvironment.start_time_skipping(
            test_server_existing_path=str(executable), test_server_startup_timeout=timedelta(seconds=30)
        ) as env,
        working(env) as client,
    ):
        assert env.supports_time_skipping
        assert await run(client, Sleeping, 100_000.0) == "awake"
        assert near(await env.get_current_time(), 100_000)
        await env.sleep(1000)
        assert near(await env.get_current_time(), 101_000)
