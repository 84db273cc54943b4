"""Loads of what waits: a workflow that falls asleep, sleepers that wake, starts beside them, polls that nobody answers."""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from collections.abc import Callable
from typing import Any

import grpc
from temporalio.api.enums.v1 import EventType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueRequest
from temporalio.client import Client

from tests.benchmarks.workload import Sleeper
from tests.processes import rss_bytes

CHANNELS = 20
WARM_POLLS = 200
WARM_STARTS = 20
POLL_TIMEOUT_S = 55.0
SETTLE_S = 3.0
WAKE_SECONDS_MAX = 900.0

SLEEPER_ID = "sleeper-original"
"""Of the one that is copied; its copies' ids are as long."""

Say = Callable[[float], None]


def waker_id(number: int) -> str:
    """The id of a copy that is to wake during the benchmark."""
    return f"wakes-{number:010}"


async def sleeper(client: Client, queue: str, seconds: int) -> dict[str, Any]:
    """Start the workflow SLEEPER_ID, which sleeps for `seconds`, and see it fall asleep."""
    handle = await client.start_workflow(Sleeper.run, seconds, id=SLEEPER_ID, task_queue=queue)
    while True:
        history = await handle.fetch_history()
        if any(event.event_type == EventType.EVENT_TYPE_TIMER_STARTED for event in history.events):
            return {}
        await asyncio.sleep(0.05)


async def wakers(client: Client, count: int, say: Say) -> dict[str, Any]:
    """Wait until those of the ids `waker_id(0)` and so on have woken and ended, and see how late each timer fired."""
    late = []
    deadline = time.monotonic() + WAKE_SECONDS_MAX
    for number in range(count):
        handle = client.get_workflow_handle(waker_id(number))
        async with asyncio.timeout(max(deadline - time.monotonic(), 0.01)):
            if await handle.result() != "awake":
                raise AssertionError(f"{waker_id(number)} did not end as it should")
        fires = fired = 0
        for event in (await handle.fetch_history()).events:
            at = event.event_time.ToNanoseconds()
            if event.event_type == EventType.EVENT_TYPE_TIMER_STARTED:
                started = event.timer_started_event_attributes
                fires = at + started.start_to_fire_timeout.ToNanoseconds()
            elif event.event_type == EventType.EVENT_TYPE_TIMER_FIRED:
                fired = at
        late.append((fired - fires) / 1e6)
        say((number + 1) / count)
    return {"median_ms": statistics.median(late), "worst_ms": max(late)}


async def starts(client: Client, other: Client, queue: str, count: int, say: Say) -> dict[str, Any]:
    """Start workflows on a queue that nobody serves, one on each of two servers in turn, so that a busy machine slows both alike."""
    taken: dict[str, list[float]] = {"median_ms": [], "other_median_ms": []}
    for number in range(count + WARM_STARTS):
        both = [("median_ms", client), ("other_median_ms", other)]
        for name, each in both if number % 2 else reversed(both):
            began = time.monotonic()
            await each.start_workflow(Sleeper.run, 1, id=f"start-{uuid.uuid4()}", task_queue=queue)
            taken[name].append((time.monotonic() - began) * 1000)
        say(number / count)
    return {name: statistics.median(each[WARM_STARTS:]) for name, each in taken.items()}


async def polls(address: str, pid: int, count: int, say: Say) -> dict[str, Any]:
    """Let `count` polls wait at once, and see by how much the server's memory grew."""
    channels = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(CHANNELS)
    ]
    calls: list[Callable[..., Any]] = [
        channel.unary_unary("/temporal.api.workflowservice.v1.WorkflowService/PollActivityTaskQueue")
        for channel in channels
    ]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))

    def poll(number: int) -> asyncio.Future[Any]:
        request = PollActivityTaskQueueRequest(
            namespace="default",
            task_queue=TaskQueue(name=f"idle-{number % 10}"),
            identity=f"worker-{number % 500}@host",
        )
        call = calls[number % CHANNELS](request.SerializeToString(), timeout=POLL_TIMEOUT_S)
        waiting: asyncio.Future[object] = asyncio.ensure_future(call)
        return waiting

    warm = [poll(number) for number in range(WARM_POLLS)]
    await asyncio.sleep(SETTLE_S)
    before = rss_bytes(pid)
    waiting = []
    for number in range(count):
        waiting.append(poll(number))
        if number % 100 == 99:
            say(number / count)
            await asyncio.sleep(0.02)
    await asyncio.sleep(SETTLE_S)
    grown = rss_bytes(pid) - before
    ended = [repr(each.exception() or each.result())[:300] for each in waiting if each.done()]
    for each in (*warm, *waiting):
        each.cancel()
    if ended:
        raise AssertionError(f"{len(ended)} of {count} polls did not wait: {ended[0]}")
    return {"bytes_each": grown / count}
