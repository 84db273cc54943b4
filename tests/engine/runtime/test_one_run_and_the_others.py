"""What one run, one caller or one fault does must not stop the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
import structlog
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import select
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.taskqueue.v1 import StickyExecutionAttributes, TaskQueue

from cloud.engine.runtime import task_queues
from cloud.engine.runtime.commits import Unflushed
from cloud.engine.runtime.hot import TAIL_BYTES_MAX, TAIL_EVENTS_MAX, Tail
from cloud.engine.runtime.queries import PendingQuery
from cloud.engine.runtime.task_queues import QueueKey
from cloud.engine.store import schema as s
from cloud.engine.store.database import Database, StoreUnavailable
from cloud.engine.store.deleting import delete_dead_tasks
from cloud.engine.store.rows import WORKFLOW_TASK
from cloud.rpc import Unavailable
from tests.engine.runtime.harness import FaultyDatabase, engine
from tests.scenarios import commands as c

HUGE = Duration(seconds=300_000_000_000)
RUNNING, TERMINATED, TIMED_OUT = 1, 5, 7
QUEUE = QueueKey("ns-id", "tq", WORKFLOW_TASK)


async def eventually(condition: Callable[[], bool], within_s: float = 5) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


# --- durations that no database can hold ------------------------------------------------------------------------


async def test_a_huge_sticky_timeout_stops_nobody(database: Database) -> None:
    async with engine(database) as found:
        await found.start("wf")
        task = await found.poll()
        sticky = StickyExecutionAttributes(
            worker_task_queue=TaskQueue(name="sticky"), schedule_to_start_timeout=HUGE
        )
        await found.complete(task, c.timer("t", 60), sticky_attributes=sticky)
        await found.signal("wf", "after")
        assert await found.signals("wf") == ["after"]


async def test_huge_timeouts_stop_nobody(database: Database) -> None:
    async with engine(database) as found:
        await found.start(
            "wf", workflow_run_timeout=HUGE, workflow_execution_timeout=HUGE, workflow_start_delay=HUGE
        )
        await found.start("other")
        await found.signal("wf", "after")
        assert await found.status("wf") == RUNNING


# --- a run that can't be stored ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["frozen", "written"])
async def test_a_run_that_can_not_be_stored_is_held_up_alone(database: Database, how: str) -> None:
    async with engine(database) as found:
        bad = await found.start("bad")
        await found.start("good")
        hot = await found.runtime.runs.get(bad)
        with found.runtime.transition(hot) as turn:
            if how == "frozen":
                hot.execution.volatile.start_request_id = "\ud800"  # no text that MessagePack can hold
            else:
                hot.execution.next_event_id = -(2**70)  # no integer that a database can hold
            turn.dirty = True
        with pytest.raises(Unflushed):
            await found.runtime.durable(hot)
        # Its change is forgotten, and it may not spoil the next batch.
        with pytest.raises(Unavailable):
            await found.signal("bad")
        await found.signal("good", "through")
        assert await found.signals("good") == ["through"]


# --- tasks ------------------------------------------------------------------------------------------------------


async def test_a_stored_task_survives_a_failed_look(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        await found.start("wf")
        found.runtime.queues.forget()
        faulty.fail_scans = [StoreUnavailable("a fault of the test")]
        with pytest.raises(Unavailable):
            await found.poll()
        assert (await found.poll()).workflow_execution.workflow_id == "wf"


async def test_a_stored_task_survives_a_poll_that_goes_away_while_it_is_read(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        await found.start("wf")
        found.runtime.queues.forget()
        found.runtime.runs.forget()
        faulty.reading.close()
        poll = asyncio.create_task(found.poll())
        await faulty.reading.reached.wait()
        poll.cancel()
        await asyncio.wait([poll])
        faulty.reading.open()
        assert (await found.poll()).workflow_execution.workflow_id == "wf"


async def test_a_stored_task_survives_a_run_that_can_not_be_read(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        await found.start("wf")
        found.runtime.runs.forget()
        faulty.fail_reads = 1
        with pytest.raises(Unavailable):
            await found.poll()
        assert (await found.poll()).workflow_execution.workflow_id == "wf"


async def test_a_poll_that_ended_does_not_look_like_a_worker(database: Database) -> None:
    async with engine(database) as found:
        for _ in range(3):
            assert not (await found.poll(timeout_s=2.05)).task_token
        queue = found.runtime.queues.find(QUEUE)
        assert queue is not None
        assert not queue.pollers


async def test_tasks_of_closed_runs_do_not_stay(database: Database) -> None:
    async with engine(database) as found:
        await found.start("open")
        closed = await found.start("closed")
        await found.terminate("closed")

        async def stored() -> set[str]:
            return set(
                await database.scan(
                    lambda connection: connection.execute(select(s.tasks.c.run_id)).scalars().all()
                )
            )

        assert closed in await stored()
        await database.write(lambda connection: delete_dead_tasks(connection, 0, found.runtime.lease.epoch))
        assert closed not in await stored()
        assert len(await stored()) == 1


async def test_workers_seen_are_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_queues, "SEEN_MAX", 3)
    async with engine(database) as found:
        queues = found.runtime.queues
        queue = queues.get(QUEUE)
        for number in range(10):
            queues.note_poll(queue, f"worker-{number}")
        assert {seen.identity for seen in queues.pollers_of(QUEUE)} == {"worker-7", "worker-8", "worker-9"}


async def test_a_query_whose_caller_left_leaves_its_queue(database: Database) -> None:
    async with engine(database) as found:
        run_id = await found.start("wf")
        query = PendingQuery("q", WorkflowQuery(query_type="q"), await found.runtime.runs.get(run_id))
        found.runtime.queries.admit(query)
        found.runtime.queues.offer_query(query, QUEUE, lambda _: None)
        assert found.runtime.queues.get(QUEUE).queries
        found.runtime.queries.forget(query)
        assert not found.runtime.queues.get(QUEUE).queries


# --- children ---------------------------------------------------------------------------------------------------


async def test_a_parent_that_closes_while_its_child_is_started_leaves_no_orphan(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        await found.start("parent")
        task = await found.poll()
        faulty.reading.close()
        start_child = Command(command_type=11)
        wanted = start_child.start_child_workflow_execution_command_attributes
        wanted.workflow_id = "child"
        wanted.workflow_type.CopyFrom(WorkflowType(name="demo"))
        wanted.task_queue.name = "tq"
        await found.complete(task, start_child)
        await faulty.reading.reached.wait()  # whether the child's id is free
        await found.terminate("parent")
        faulty.reading.open()
        await asyncio.sleep(0.2)
        current = await found.runtime.runs.current("ns-id", "child")
        assert current is None or current.status != RUNNING


# --- background work --------------------------------------------------------------------------------------------


async def test_the_wake_ups_go_on_after_a_defect(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        faulty.fail_scans = [RuntimeError("a defect of the test")]
        found.runtime.wakeups.forget()
        await eventually(lambda: not faulty.fail_scans)
        await found.start("wf", workflow_run_timeout=Duration(seconds=1))
        async with asyncio.timeout(6):
            while await found.status("wf") != TIMED_OUT:
                await asyncio.sleep(0.1)


async def test_a_defect_while_a_batch_is_flushed_loses_no_wake_up(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        faulty.writing.close()
        starting = asyncio.create_task(found.start("wf", workflow_run_timeout=Duration(seconds=1)))
        await faulty.writing.reached.wait()
        found.runtime.commits.abandon()
        await asyncio.sleep(0.1)  # the wake-ups look into the store, which does not show the run yet
        faulty.writing.open()
        await starting
        async with asyncio.timeout(6):
            while await found.status("wf") != TIMED_OUT:
                await asyncio.sleep(0.1)


async def test_a_commit_loop_that_breaks_ends_the_process(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    async with engine(database, ended.append) as found:
        await found.start("wf")

        def broken(*_: object) -> None:
            raise RuntimeError("a defect of the test")

        monkeypatch.setattr(found.runtime.commits, "_on_flushed", broken)
        await found.signal("wf")
        assert ["commit loop" in reason for reason in ended] == [True]
        with pytest.raises(Unavailable):
            await found.signal("wf")


async def test_an_id_lock_admits_one(database: Database) -> None:
    async with engine(database) as found:
        inside = 0
        most = 0

        async def enter(hold_s: float) -> None:
            nonlocal inside, most
            async with found.runtime.id_locks.held("ns-id", "wf"):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(hold_s)
                inside -= 1

        first = asyncio.create_task(enter(0.05))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(enter(0.05))
        await first
        # The first has let go, and the second was not run yet: a third must find the same lock.
        await asyncio.gather(second, enter(0.05))
        assert most == 1
        assert not found.runtime.id_locks._locks


# --- the newest events of a run ---------------------------------------------------------------------------------


def test_a_tail_is_bounded_by_count_and_by_size() -> None:
    tail = Tail()
    tail.extend(HistoryEvent(event_id=number) for number in range(1, TAIL_EVENTS_MAX + 10))
    assert tail.between(1, 5) is None
    assert [event.event_id for event in tail.between(20, 22) or []] == [20, 21, 22]
    large = HistoryEvent(event_id=TAIL_EVENTS_MAX + 10)
    large.marker_recorded_event_attributes.marker_name = "x" * (TAIL_BYTES_MAX - 100)
    tail.extend([large])
    assert tail.size <= TAIL_BYTES_MAX
    assert tail.between(large.event_id, large.event_id) == [large]
    larger = HistoryEvent(event_id=large.event_id + 1)
    larger.marker_recorded_event_attributes.marker_name = "x" * TAIL_BYTES_MAX
    tail.extend([larger])
    assert tail.size == 0
    assert tail.between(larger.event_id, larger.event_id) is None


async def test_a_history_that_grows_large_is_logged_once(database: Database) -> None:
    async with engine(database) as found:
        found.runtime.limits = replace(found.runtime.limits, history_count_warn=5)
        await found.start("wf")
        with structlog.testing.capture_logs() as logs:
            for number in range(10):
                await found.signal("wf", str(number))
    [warned] = [line for line in logs if line["event"] == "history_grows_large"]
    assert (warned["workflow_id"], warned["namespace"]) == ("wf", "ns")
