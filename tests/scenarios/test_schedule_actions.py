"""Schedules: what they start, and what happens while the run before is still open."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from temporalio import workflow
from temporalio.api.workflowservice.v1 import CountWorkflowExecutionsRequest, ListWorkflowExecutionsRequest
from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.client import ScheduleSpec as SdkSpec
from temporalio.service import RPCError, RPCStatusCode

from .commands import cancel, complete, continue_as_new, fail, failure, payloads
from .raw import Scenario, WorkflowTask
from .schedules import ScheduleScenario, every, schedule_of
from .snapshots import expect
from .workers import sdk_worker

ONE, TWO, THREE, FOUR = (f"2025-01-0{day} 00:00:00" for day in (1, 2, 3, 4))


@pytest.fixture
async def sched(s: Scenario) -> AsyncIterator[ScheduleScenario]:
    async with schedule_of(s) as found:
        yield found


def ids(sched: ScheduleScenario, *tasks: WorkflowTask) -> list[str]:
    return [sched.s.names.clean(task.workflow_execution.workflow_id) for task in tasks]


async def test_a_run_tells_where_it_comes_from(sched: ScheduleScenario) -> None:
    await sched.create(
        action={
            "input": payloads(1),
            "workflow_execution_timeout": 100,
            "workflow_run_timeout": 50,
            "workflow_task_timeout": 20,
            "memo": {"fields": {"m": payloads("x").payloads[0]}},
            "search_attributes": {"indexed_fields": {"ScenarioInt": payloads(7).payloads[0]}},
            "header": {"fields": {"h": payloads("y").payloads[0]}},
            "retry_policy": {"maximum_attempts": 2},
            "user_metadata": {"summary": payloads("sum").payloads[0]},
        }
    )
    await sched.trigger(ONE)
    task = await sched.poll()
    sched.s.expect_events(
        task.history.events,
        """
            1 WorkflowExecutionStarted input=[1] workflow_execution_timeout=100s workflow_run_timeout=50s
                  workflow_task_timeout=20s identity=temporal-scheduler-default-sched
                  retry_policy.initial_interval=1s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=100s retry_policy.maximum_attempts=2
                  workflow_execution_expiration_time=<time> memo.fields={m: 'x'}
                  search_attributes.indexed_fields={ScenarioInt: 7{type: Int}, TemporalScheduledById:
                  'sched'{type: Keyword}, TemporalScheduledStartTime: '2025-01-01T00:00:00Z'{type: Datetime}}
                  header.fields={h: 'y'} workflow_id=wf-2025-01-01T00:00:00Z user_metadata.summary='sum'
            2 WorkflowTaskScheduled start_to_close_timeout=20s
            3 WorkflowTaskStarted
        """,
    )
    sched.expect(
        await sched.acted(1),
        """
            info.action_count=1 info.recent_actions=[{schedule_time=2025-01-01T00:00:00Z actual_time=<time>
                  start_workflow_result.workflow_id=wf-2025-01-01T00:00:00Z start_workflow_result.run_id=run1
                  start_workflow_status=RUNNING}] info.create_time=<time>
                  info.running_workflows=[{workflow_id=wf-2025-01-01T00:00:00Z run_id=run1}] conflict_token=<8
                  bytes>
        """,
        hide=frozenset({"schedule"}),
    )
    await sched.s.complete(task, complete())


async def test_runs_are_found_by_their_schedule(sched: ScheduleScenario) -> None:
    await sched.create()
    await sched.trigger(ONE, "ALLOW_ALL")
    await sched.trigger(TWO, "ALLOW_ALL")
    tasks = [await sched.poll(), await sched.poll()]
    assert sorted(ids(sched, *tasks)) == ["wf-2025-01-01T00:00:00Z", "wf-2025-01-02T00:00:00Z"]
    query = f"TemporalScheduledById = '{sched.id}' AND TemporalScheduledStartTime >= '2025-01-02T00:00:00Z'"
    deadline = time.monotonic() + 10
    while True:
        found = await sched.s.service.list_workflow_executions(
            ListWorkflowExecutionsRequest(namespace=sched.s.namespace, query=query)
        )
        if found.executions or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.1)
    assert [sched.s.names.clean(each.execution.workflow_id) for each in found.executions] == [
        "wf-2025-01-02T00:00:00Z"
    ]


async def test_skip(sched: ScheduleScenario) -> None:
    await sched.create()
    await sched.trigger(ONE)
    task = await sched.poll()
    await sched.trigger(TWO)
    found = await sched.until(lambda f: f.info.overlap_skipped == 1)
    sched.expect(
        found.info,
        """
            action_count=1 overlap_skipped=1 recent_actions=[{schedule_time=2025-01-01T00:00:00Z
                  actual_time=<time> start_workflow_result.workflow_id=wf-2025-01-01T00:00:00Z
                  start_workflow_result.run_id=run1 start_workflow_status=RUNNING}] create_time=<time>
                  running_workflows=[{workflow_id=wf-2025-01-01T00:00:00Z run_id=run1}]
        """,
    )
    await sched.s.complete(task, complete())
    await sched.trigger(THREE)
    assert ids(sched, await sched.poll()) == ["wf-2025-01-03T00:00:00Z"]


async def test_buffer_one(sched: ScheduleScenario) -> None:
    await sched.create(policies={"overlap_policy": "BUFFER_ONE"})
    for at in (ONE, TWO, THREE):
        await sched.trigger(at)
    first = await sched.poll()
    found = await sched.until(lambda f: f.info.overlap_skipped == 1)
    assert found.info.buffer_size == 1
    await sched.s.complete(first, complete())
    second = await sched.poll()
    assert ids(sched, first, second) == ["wf-2025-01-01T00:00:00Z", "wf-2025-01-02T00:00:00Z"]
    found = await sched.acted(2)
    assert found.info.buffer_size == 0


async def test_buffer_all(sched: ScheduleScenario) -> None:
    await sched.create(policies={"overlap_policy": "BUFFER_ALL"})
    for at in (ONE, TWO, THREE, FOUR):
        await sched.trigger(at)
    found = await sched.until(lambda f: f.info.buffer_size == 3)
    assert found.info.overlap_skipped == 0
    for day in (1, 2, 3, 4):
        task = await sched.poll()
        assert ids(sched, task) == [f"wf-2025-01-0{day}T00:00:00Z"]
        await sched.s.complete(task, complete())


async def test_cancel_other(sched: ScheduleScenario) -> None:
    await sched.create(policies={"overlap_policy": "CANCEL_OTHER"})
    await sched.trigger(ONE)
    await sched.s.complete(await sched.poll())
    await sched.trigger(TWO)
    task = await sched.poll()
    sched.s.expect_events(
        task.history.events[4:],
        """
            5 WorkflowExecutionCancelRequested cause="cancelled by schedule overlap policy"
                  identity=temporal-scheduler-default-sched
            6 WorkflowTaskScheduled
            7 WorkflowTaskStarted
        """,
    )
    assert (await sched.describe()).info.buffer_size == 1
    await sched.s.complete(task, complete())
    assert ids(sched, await sched.poll()) == ["wf-2025-01-02T00:00:00Z"]


async def test_terminate_other(sched: ScheduleScenario) -> None:
    await sched.create(policies={"overlap_policy": "TERMINATE_OTHER"})
    await sched.trigger(ONE)
    first = await sched.poll()
    await sched.trigger(TWO)
    second = await sched.poll()
    assert ids(sched, second) == ["wf-2025-01-02T00:00:00Z"]
    await sched.s.expect_history(
        """
            1 WorkflowExecutionStarted identity=temporal-scheduler-default-sched
                  search_attributes.indexed_fields={TemporalScheduledById: 'sched'{type: Keyword},
                  TemporalScheduledStartTime: '2025-01-01T00:00:00Z'{type: Datetime}}
                  workflow_id=wf-2025-01-01T00:00:00Z
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskFailed cause=FORCE_CLOSE_COMMAND identity=history-service
            5 WorkflowExecutionTerminated reason="terminated by schedule overlap policy"
                  identity=temporal-scheduler-default-sched
        """,
        workflow_id=first.workflow_execution.workflow_id,
    )


async def test_allow_all(sched: ScheduleScenario) -> None:
    await sched.create(policies={"overlap_policy": "ALLOW_ALL"})
    for at in (ONE, TWO, THREE):
        await sched.trigger(at)
    tasks = [await sched.poll() for _ in range(3)]
    assert sorted(ids(sched, *tasks)) == [f"wf-2025-01-0{day}T00:00:00Z" for day in (1, 2, 3)]
    found = await sched.acted(3)
    assert not found.info.running_workflows
    assert len(found.info.recent_actions) == 3


async def test_a_trigger_may_overlap_what_the_schedule_would_skip(sched: ScheduleScenario) -> None:
    await sched.create()
    await sched.trigger(ONE)
    await sched.poll()
    await sched.trigger(TWO, "ALLOW_ALL")
    assert ids(sched, await sched.poll()) == ["wf-2025-01-02T00:00:00Z"]


async def test_a_repeated_request_triggers_once(sched: ScheduleScenario) -> None:
    await sched.create(policies={"overlap_policy": "BUFFER_ALL"})
    request_id = str(uuid.uuid4())
    for first in (True, False, False):
        await sched.trigger(ONE, request_id=request_id, noticed=first)
    await sched.poll()
    await asyncio.sleep(0.5)
    info = (await sched.describe()).info
    assert (info.action_count, info.buffer_size) == (1, 0)


async def test_a_second_trigger_of_the_same_second_has_no_id_left(sched: ScheduleScenario) -> None:
    await sched.create(policies={"overlap_policy": "ALLOW_ALL"})
    await sched.trigger(ONE)
    await sched.poll()
    await sched.trigger(ONE, noticed=False)
    await asyncio.sleep(0.5)
    info = (await sched.describe()).info
    assert (info.action_count, info.buffer_size) == (1, 0)


async def test_a_backfill_includes_both_its_ends(sched: ScheduleScenario) -> None:
    await sched.create(every(86400), state={"paused": True})
    await sched.backfill(ONE, FOUR, "ALLOW_ALL")
    tasks = [await sched.poll() for _ in range(4)]
    assert sorted(ids(sched, *tasks)) == [f"wf-2025-01-0{day}T00:00:00Z" for day in (1, 2, 3, 4)]
    found = await sched.acted(4)
    assert sorted(each.schedule_time.ToDatetime().day for each in found.info.recent_actions) == [1, 2, 3, 4]


async def test_a_backfill_one_after_the_other(sched: ScheduleScenario) -> None:
    await sched.create(every(3600), state={"paused": True})
    await sched.backfill("2025-01-01 10:00:00", "2025-01-01 12:00:00", "BUFFER_ALL")
    for hour in (10, 11, 12):
        task = await sched.poll()
        assert ids(sched, task) == [f"wf-2025-01-01T{hour}:00:00Z"]
        await sched.s.complete(task, complete())


async def test_a_large_backfill_comes_in_portions(sched: ScheduleScenario) -> None:
    await sched.create(every(60), state={"paused": True})
    await sched.backfill("2025-01-01 10:00:00", "2025-01-01 10:24:00", "ALLOW_ALL")
    found = await sched.until(lambda f: f.info.action_count >= 10)
    assert found.info.action_count < 25
    found = await sched.acted(25)
    assert len(found.info.recent_actions) == 10
    sched.s.started += [f"{sched.s.wf}-2025-01-01T10:{minute:02}:00Z" for minute in range(25)]


async def test_a_result_is_handed_to_the_next_run(sched: ScheduleScenario) -> None:
    await sched.create(policies={"overlap_policy": "BUFFER_ALL"})
    for at in (ONE, TWO, THREE, FOUR):
        await sched.trigger(at)
    told = []
    for ending in (complete("first"), fail(failure("broken")), complete("third"), complete()):
        task = await sched.poll()
        started = task.history.events[0].workflow_execution_started_event_attributes
        told.append(
            f"{sched.s.names.clean(task.workflow_execution.workflow_id)}: result "
            f"{[p.data for p in started.last_completion_result.payloads]} "
            f"failure {started.continued_failure.message!r}"
        )
        await sched.s.complete(task, ending)
    expect(
        "\n".join(told),
        """
            wf-2025-01-01T00:00:00Z: result [] failure ''
            wf-2025-01-02T00:00:00Z: result [b'"first"'] failure ''
            wf-2025-01-03T00:00:00Z: result [b'"first"'] failure 'broken'
            wf-2025-01-04T00:00:00Z: result [b'"third"'] failure ''
        """,
    )


async def test_runs_that_overlap_are_handed_nothing(sched: ScheduleScenario) -> None:
    await sched.create()
    await sched.trigger(ONE)
    await sched.s.complete(await sched.poll(), complete("first"))
    await sched.trigger(TWO, "ALLOW_ALL")
    task = await sched.poll()
    assert not task.history.events[0].workflow_execution_started_event_attributes.HasField(
        "last_completion_result"
    )


async def test_the_end_of_a_chain_counts(sched: ScheduleScenario) -> None:
    await sched.create(policies={"overlap_policy": "BUFFER_ALL"})
    await sched.trigger(ONE)
    await sched.trigger(TWO)
    await sched.s.complete(await sched.poll(), continue_as_new(queue=sched.s.tq))
    second = await sched.poll()
    assert ids(sched, second) == ["wf-2025-01-01T00:00:00Z"]
    await sched.s.complete(second, complete("of the chain"))
    third = await sched.poll()
    assert ids(sched, third) == ["wf-2025-01-02T00:00:00Z"]
    started = third.history.events[0].workflow_execution_started_event_attributes
    assert started.last_completion_result.payloads[0].data == b'"of the chain"'


async def test_pause_on_failure(sched: ScheduleScenario) -> None:
    await sched.create(policies={"pause_on_failure": True, "overlap_policy": "BUFFER_ALL"})
    await sched.trigger(ONE)
    await sched.trigger(TWO)
    await sched.s.complete(await sched.poll(), fail(failure("it broke")))
    found = await sched.until(lambda f: f.schedule.state.paused)
    sched.s.expect_message(
        found.schedule.state,
        """
            notes="paused due to workflow failure: wf-2025-01-01T00:00:00Z: it broke" paused=true
        """,
    )
    assert ids(sched, await sched.poll()) == ["wf-2025-01-02T00:00:00Z"]


async def test_pause_on_timeout(sched: ScheduleScenario) -> None:
    await sched.create(
        action={"workflow_run_timeout": 1},
        policies={"pause_on_failure": True, "overlap_policy": "BUFFER_ALL"},
    )
    await sched.trigger(ONE)
    await sched.trigger(TWO)
    await sched.poll()
    found = await sched.until(lambda f: f.schedule.state.paused)
    sched.s.expect_message(
        found.schedule.state,
        """
            notes="paused due to workflow timeout: wf-2025-01-01T00:00:00Z" paused=true
        """,
    )


@pytest.mark.parametrize("end", ["terminated", "cancelled"])
async def test_no_pause_when_ended_from_outside(sched: ScheduleScenario, end: str) -> None:
    await sched.create(policies={"pause_on_failure": True, "overlap_policy": "BUFFER_ALL"})
    await sched.trigger(ONE)
    await sched.trigger(TWO)
    first = await sched.poll()
    if end == "terminated":
        await sched.s.terminate(first.workflow_execution.workflow_id)
    else:
        await sched.s.complete(first, cancel())
    await sched.poll()
    assert not (await sched.describe()).schedule.state.paused


async def test_its_own_time_comes(sched: ScheduleScenario) -> None:
    await sched.create(every(1), policies={"overlap_policy": "ALLOW_ALL"})
    tasks = [await sched.poll() for _ in range(3)]
    assert len(set(ids(sched, *tasks))) == 3
    found = await sched.describe()
    recent = [each.schedule_time.seconds for each in found.info.recent_actions]
    assert all(later - earlier == 1 for earlier, later in pairwise(recent))
    assert found.info.future_action_times[0].seconds > recent[-1]


async def test_actions_are_counted_down(sched: ScheduleScenario) -> None:
    await sched.create(
        every(1),
        policies={"overlap_policy": "ALLOW_ALL"},
        state={"limited_actions": True, "remaining_actions": 2},
    )
    found = await sched.acted(2)
    await asyncio.sleep(1.5)
    found = await sched.describe()
    assert found.info.action_count == 2
    assert not found.info.future_action_times
    sched.s.expect_message(
        found.schedule.state,
        """
            limited_actions=true
        """,
    )
    assert found.conflict_token[-1] == 3
    await sched.trigger(ONE)
    assert (await sched.acted(3)).schedule.state.remaining_actions == 0


async def test_while_paused_only_what_is_asked_for_is_done(sched: ScheduleScenario) -> None:
    await sched.create(every(1), state={"paused": True}, policies={"overlap_policy": "ALLOW_ALL"})
    await asyncio.sleep(1.5)
    await sched.trigger(ONE)
    task = await sched.poll()
    assert ids(sched, task) == ["wf-2025-01-01T00:00:00Z"]
    assert (await sched.describe()).info.action_count == 1
    before = datetime.now(UTC).timestamp()
    await sched.patch(unpause="on")
    found = await sched.acted(2)
    await sched.patch(pause="off")
    # What fell into the pause is not made up for.
    assert all(each.schedule_time.seconds >= int(before) for each in found.info.recent_actions[1:])


async def test_a_deleted_schedule_does_no_more_but_its_runs_go_on(sched: ScheduleScenario) -> None:
    await sched.create(policies={"overlap_policy": "BUFFER_ALL"})
    await sched.trigger(ONE)
    await sched.trigger(TWO)
    task = await sched.poll()
    await sched.until(lambda f: f.info.buffer_size == 1)
    await sched.delete()
    await sched.s.complete(task, complete())
    assert (await sched.s.closed(task.workflow_execution.workflow_id)).HasField(
        "workflow_execution_completed_event_attributes"
    )
    listed = await sched.s.service.count_workflow_executions(
        CountWorkflowExecutionsRequest(
            namespace=sched.s.namespace, query=f"WorkflowId = '{sched.s.wf}-2025-01-02T00:00:00Z'"
        )
    )
    assert not listed.count


@workflow.defn
class Greeting:
    @workflow.run
    async def run(self, name: str) -> str:
        last = workflow.get_last_completion_result(str) if workflow.has_last_completion_result() else "nobody"
        return f"{name} after {last}"


async def result_of(s: Scenario, workflow_id: str) -> str:
    """The result of a run that is about to start."""
    deadline = time.monotonic() + 15
    while True:
        try:
            return await s.client.get_workflow_handle(workflow_id, result_type=str).result()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND or time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.1)


async def test_the_sdk_s_client(s: Scenario) -> None:
    async with sdk_worker(s, workflows=[Greeting]):
        action = ScheduleActionStartWorkflow(Greeting.run, "Ann", id=s.wf, task_queue=s.tq)
        made = Schedule(
            action=action,
            spec=SdkSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=1))]),
            policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.BUFFER_ALL),
            state=ScheduleState(note="by the SDK", paused=True),
        )
        handle = await s.client.create_schedule(s.id("sched"), made, memo={"key": "value"})
        with pytest.raises(ScheduleAlreadyRunningError):
            await s.client.create_schedule(s.id("sched"), made)
        try:
            found = await handle.describe()
            assert found.schedule.state.note == "by the SDK"
            assert found.schedule.spec.intervals == made.spec.intervals
            assert await found.memo_value("key") == "value"
            assert len(found.info.next_action_times) == 10

            await handle.trigger()
            start = datetime(2025, 1, 1, 10, tzinfo=UTC)
            await handle.backfill(
                ScheduleBackfill(
                    start_at=start,
                    end_at=start + timedelta(hours=2),
                    overlap=ScheduleOverlapPolicy.BUFFER_ALL,
                )
            )
            for hour in (10, 11, 12):
                result = await result_of(s, f"{s.wf}-2025-01-01T{hour}:00:00Z")
                assert result.startswith("Ann after Ann after")

            await handle.unpause(note="go")
            assert not (await handle.describe()).schedule.state.paused
            await handle.pause(note="stop")

            def change(given: ScheduleUpdateInput) -> ScheduleUpdate:
                schedule = given.description.schedule
                schedule.spec.intervals = [ScheduleIntervalSpec(every=timedelta(days=1))]
                return ScheduleUpdate(schedule=schedule)

            for _ in range(100):
                if (await handle.describe()).schedule.state.note == "stop":
                    break
                await asyncio.sleep(0.05)
            await handle.update(change)
            for _ in range(100):
                found = await handle.describe()
                if found.schedule.spec.intervals[0].every == timedelta(days=1):
                    break
                await asyncio.sleep(0.05)
            assert found.schedule.spec.intervals[0].every == timedelta(days=1)
            assert found.schedule.state.note == "stop"
            assert found.info.num_actions == 4

            for _ in range(100):
                listed = [
                    each.id async for each in await s.client.list_schedules(f"ScheduleId = '{s.id('sched')}'")
                ]
                if listed:
                    break
                await asyncio.sleep(0.1)
            assert listed == [s.id("sched")]
        finally:
            await handle.delete()
        with pytest.raises(RPCError) as caught:
            await handle.describe()
        assert caught.value.status == RPCStatusCode.NOT_FOUND
