"""What tenants have the service keep in memory is bounded by bytes, and one tenant's share is not another's."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.workflowservice.v1 import (
    PollNexusTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    QueryWorkflowRequest,
)

from cloud.engine.runtime import hot_runs, queries
from cloud.engine.runtime.hot import HotRun
from cloud.engine.store.database import Database
from cloud.rpc import InvalidArgument, ResourceExhausted, Unavailable
from tests.engine.runtime.harness import NAMESPACE, Engine, engine
from tests.scenarios import commands as c

KIB = 1024


def bytes_of(size: int) -> Payloads:
    return Payloads(payloads=[Payload(data=b"x" * size)])


def weights(found: Engine) -> tuple[int, int]:
    """What is counted, and what is there."""
    runs = found.runtime.runs
    there: list[HotRun] = [*runs._open.values(), *runs._closed.values()]
    return runs._bytes, sum(hot.weigh() for hot in there)


async def test_what_is_counted_is_what_is_there(database: Database) -> None:
    async with engine(database) as found:
        await found.start("wf", input=bytes_of(1000))
        task = await found.poll()
        await found.complete(task, c.activity("a", "tq", start_to_close_timeout=10, input=bytes_of(5000)))
        await found.signal("wf", "x" * 900)
        counted, there = weights(found)
        assert counted == there > 6_000
        found.runtime.runs.forget()
        assert weights(found) == (0, 0)
        await found.signals("wf")
        await found.signal("wf", "again")
        counted, there = weights(found)
        assert counted == there > 6_000
        await found.terminate("wf")
        counted, there = weights(found)
        assert counted == there
        assert sum(found.runtime.runs._bytes_of.values()) == counted


async def test_runs_leave_memory_by_their_bytes(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot_runs, "RUNS_BYTES_MAX", 300 * KIB)
    monkeypatch.setattr(hot_runs, "SHRINK_PAUSE_S", 0.0)
    async with engine(database) as found:
        for n in range(12):
            await found.start(f"wf-{n}", input=bytes_of(50 * KIB))
        await found.start("last")
        await asyncio.sleep(0.05)
        counted, there = weights(found)
        assert counted == there <= 300 * KIB
        for n in range(12):
            await found.signal(f"wf-{n}", "still there")
            assert await found.signals(f"wf-{n}") == ["still there"]


async def test_what_is_busy_stays_and_further_runs_are_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine(database) as found:
        for n in range(6):
            await found.start(f"wf-{n}", input=bytes_of(50 * KIB))
        runs = found.runtime.runs
        busy = list(runs._open.values())
        watchers = [asyncio.get_running_loop().create_future() for _ in busy]
        for hot, watcher in zip(busy, watchers, strict=True):
            hot.outstanding += 1
            hot.watchers.add(watcher)
        monkeypatch.setattr(hot_runs, "RUNS_BYTES_MAX", 100 * KIB)
        monkeypatch.setattr(hot_runs, "RUNS_BYTES_REFUSED", 200 * KIB)
        runs.shrink()
        assert all(not hot.dropped for hot in busy)
        with pytest.raises(Unavailable, match="hold too many bytes"):
            await found.start("one-more")
        runs.require_room("another namespace")  # has its share free
        busy[0].wake_watchers()
        for hot in busy:
            hot.watchers.clear()
            hot.outstanding -= 1
        runs.shrink()
        await found.start("one-more")


async def test_queries_that_wait_are_bounded_by_count_and_bytes_in_a_namespace(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "NAMESPACE_BYTES_MAX", 100 * KIB)
    async with engine(database) as found:
        for workflow_id in ("a", "b"):
            await found.start(workflow_id)

        def ask(workflow_id: str, size: int) -> asyncio.Task[object]:
            request = QueryWorkflowRequest(namespace=NAMESPACE)
            request.execution.workflow_id = workflow_id
            request.query.query_type = "q"
            request.query.query_args.CopyFrom(bytes_of(size))
            return asyncio.create_task(found.call("QueryWorkflow", request, timeout_s=30))

        first = ask("a", 60 * KIB)
        await asyncio.sleep(0.05)
        with pytest.raises(ResourceExhausted, match="wait for workers"):
            await ask("b", 60 * KIB)
        second = ask("b", 10 * KIB)
        await asyncio.sleep(0.05)
        for waiting in (first, second):
            assert not waiting.done()
            waiting.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert not found.runtime.queries._waiting


async def test_queries_that_travel_with_one_task_are_bounded_by_bytes(database: Database) -> None:
    async with engine(database) as found:
        await found.start("wf")

        def ask() -> asyncio.Task[object]:
            request = QueryWorkflowRequest(namespace=NAMESPACE)
            request.execution.workflow_id = "wf"
            request.query.query_type = "q"
            request.query.query_args.CopyFrom(bytes_of(1100 * KIB))
            return asyncio.create_task(found.call("QueryWorkflow", request, timeout_s=30))

        first = ask()
        await asyncio.sleep(0.05)
        with pytest.raises(ResourceExhausted, match="next task"):
            await ask()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_names_that_are_remembered_are_short(database: Database) -> None:
    async with engine(database) as found:
        poll = PollWorkflowTaskQueueRequest(namespace=NAMESPACE, identity="i" * 1001)
        poll.task_queue.name = "tq"
        with pytest.raises(InvalidArgument, match="Identity length exceeds limit"):
            await found.call("PollWorkflowTaskQueue", poll, timeout_s=5)
        nexus = PollNexusTaskQueueRequest(namespace=NAMESPACE, identity="i" * 1001)
        nexus.task_queue.name = "tq"
        with pytest.raises(InvalidArgument, match="identity length exceeds limit"):
            await found.call("PollNexusTaskQueue", nexus, timeout_s=5)


async def test_who_only_looks_on_does_not_hold_a_greedy_namespace_in_memory(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine(database) as found:
        for n in range(6):
            await found.start(f"wf-{n}", input=bytes_of(50 * KIB))
        runs = found.runtime.runs
        looked_at = list(runs._open.values())
        watchers = [asyncio.get_running_loop().create_future() for _ in looked_at]
        for hot, watcher in zip(looked_at, watchers, strict=True):
            hot.watchers.add(watcher)
        looked_at[0].outstanding += 1
        monkeypatch.setattr(hot_runs, "RUNS_BYTES_MAX", 100 * KIB)
        monkeypatch.setattr(hot_runs, "RUNS_BYTES_REFUSED", 200 * KIB)
        runs.shrink()
        assert not looked_at[0].dropped, "it owes something to others"
        assert all(hot.dropped for hot in looked_at[1:])
        assert all(watcher.done() for hot, watcher in zip(looked_at, watchers, strict=True) if hot.dropped)
        assert weights(found)[0] == weights(found)[1] == looked_at[0].weigh()
        looked_at[0].outstanding -= 1
