"""Rate limits hold to the token, wake who waits, and outlive a restart; what a configuration may not be."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from temporalio.api.enums.v1 import RateLimitSource, TaskQueueType
from temporalio.api.taskqueue.v1 import RateLimit, TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
    UpdateTaskQueueConfigRequest,
)

from cloud.engine.runtime import queue_settings
from cloud.engine.store.database import Database
from tests.engine.api.calling import NAMESPACE, Api, refusal, start, started

ACTIVITY = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
Update = UpdateTaskQueueConfigRequest.RateLimitUpdate


def rate(per_second: float) -> Update:
    return Update(rate_limit=RateLimit(requests_per_second=per_second))


async def configure(api: Api, queue: str = "tq", **fields: Any) -> Any:
    fields.setdefault("task_queue_type", ACTIVITY)
    request = UpdateTaskQueueConfigRequest(namespace=NAMESPACE, task_queue=queue, **fields)
    return (await api("UpdateTaskQueueConfig", request)).config


async def describe(api: Api, **fields: Any) -> Any:
    request = DescribeTaskQueueRequest(
        namespace=NAMESPACE,
        task_queue=TaskQueue(name="tq"),
        task_queue_type=ACTIVITY,
        report_config=True,
        **fields,
    )
    return await api("DescribeTaskQueue", request)


async def schedule(api: Api, *activities: tuple[str, str], workflow_id: str = "wf") -> None:
    """A workflow that schedules activities: (id, fairness key)."""
    await start(api, workflow_id)
    task = await api(
        "PollWorkflowTaskQueue",
        PollWorkflowTaskQueueRequest(namespace=NAMESPACE, task_queue=TaskQueue(name="tq")),
    )
    completed = RespondWorkflowTaskCompletedRequest(namespace=NAMESPACE, task_token=task.task_token)
    for activity_id, fairness_key in activities:
        wanted = completed.commands.add(command_type=1).schedule_activity_task_command_attributes
        wanted.activity_id, wanted.activity_type.name, wanted.task_queue.name = activity_id, "a", "tq"
        wanted.start_to_close_timeout.seconds = 60
        wanted.priority.fairness_key = fairness_key
    await api("RespondWorkflowTaskCompleted", completed)


async def poll(api: Api, worker_rate: float | None = None) -> str:
    request = PollActivityTaskQueueRequest(namespace=NAMESPACE, task_queue=TaskQueue(name="tq"))
    if worker_rate is not None:
        request.task_queue_metadata.max_tasks_per_second.value = worker_rate
    return str((await api("PollActivityTaskQueue", request)).activity_id)


async def waiting(api: Api, count: int) -> None:
    async with asyncio.timeout(5):
        while sum(len(queue.pollers) for queue in api.runtime.queues._queues.values()) < count:
            await asyncio.sleep(0.001)


async def took(work: Any) -> float:
    began = time.monotonic()
    await work
    return time.monotonic() - began


@pytest.mark.parametrize("polls_first", [False, True])
async def test_tokens_of_a_queue(api: Api, polls_first: bool) -> None:
    """Ten a second: a second's worth at once, then one each tenth; whether polls or tasks come first."""
    await configure(api, update_queue_rate_limit=rate(10))
    polls = [asyncio.ensure_future(poll(api)) for _ in range(16)] if polls_first else []
    if polls_first:
        await waiting(api, 16)
    began = time.monotonic()
    await schedule(api, *((f"a{number:02}", "") for number in range(16)))
    polls = polls or [asyncio.ensure_future(poll(api)) for _ in range(16)]
    assert sorted(await asyncio.gather(*polls)) == [f"a{number:02}" for number in range(16)]
    assert 0.4 < time.monotonic() - began < 2.5
    found = await describe(api, report_stats=True)
    assert found.stats.rate_limiting_active
    assert not any(queue.timer for queue in api.runtime.queues._queues.values())


async def test_tokens_of_a_key(api: Api) -> None:
    """Each key has its own; one that has none left does not use up another's."""
    await configure(
        api,
        update_fairness_key_rate_limit_default=rate(5),
        set_fairness_weight_overrides={"vip": 100},
    )
    await schedule(api, *((f"k{number:02}", "k") for number in range(8)))
    slow = await took(asyncio.gather(*(poll(api) for _ in range(8))))
    assert 0.25 < slow < 2.5
    await schedule(api, *((f"v{number:02}", "vip") for number in range(8)), workflow_id="wf2")
    assert await took(asyncio.gather(*(poll(api) for _ in range(8)))) < 0.25


async def test_a_rate_of_nothing_stops_a_queue_until_it_is_raised(api: Api) -> None:
    for limit in ("update_queue_rate_limit", "update_fairness_key_rate_limit_default"):
        await configure(api, **{limit: rate(0)})
        await schedule(api, ("a", ""), workflow_id=limit)
        polling = asyncio.ensure_future(poll(api))
        await asyncio.sleep(0.2)
        assert not polling.done()
        await configure(api, **{limit: rate(100)})
        assert await asyncio.wait_for(polling, 2) == "a"
        await configure(api, **{limit: Update()})


async def test_a_limit_that_is_taken_away_lets_all_go(api: Api) -> None:
    await configure(api, update_queue_rate_limit=rate(0.001))
    await schedule(api, ("a", ""), ("b", ""), ("c", ""))
    polls = [asyncio.ensure_future(poll(api)) for _ in range(3)]
    await asyncio.wait(polls, timeout=0.2)
    await configure(api, update_queue_rate_limit=Update())
    assert sorted(await asyncio.wait_for(asyncio.gather(*polls), 2)) == ["a", "b", "c"]


async def test_a_workers_limit_counts_until_another_polls_without(api: Api) -> None:
    await schedule(api, ("a", ""), ("b", ""))
    await poll(api, 3.0)
    found = (await describe(api)).effective_rate_limit
    assert (found.requests_per_second, found.rate_limit_source) == (
        3,
        RateLimitSource.RATE_LIMIT_SOURCE_WORKER,
    )
    await poll(api)
    found = (await describe(api)).effective_rate_limit
    assert found.rate_limit_source == RateLimitSource.RATE_LIMIT_SOURCE_SYSTEM
    assert "MaxTasksPerSecond" in await refusal(poll(api, float("nan")))


async def test_it_outlives_a_restart(database: Database) -> None:
    async with started(database) as api:
        config = await configure(
            api, update_queue_rate_limit=rate(7), set_fairness_weight_overrides={"k": 2}, identity="me"
        )
    async with started(database) as api:
        found = await describe(api)
        assert found.config == config
        assert found.config.queue_rate_limit.metadata.update_identity == "me"
        assert found.effective_rate_limit.requests_per_second == 7
        changed = await configure(api, unset_fairness_weight_overrides=["k"])
        assert changed.queue_rate_limit == config.queue_rate_limit
        assert not changed.fairness_weight_overrides


async def test_bounds(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await refusal(configure(api, "")) == "INVALID_ARGUMENT: missing task queue name"
    assert (await refusal(configure(api, "/_sys/x"))).startswith("INVALID_ARGUMENT: ")
    for value in (float("nan"), -1.0):
        assert "non-negative" in await refusal(configure(api, update_queue_rate_limit=rate(value)))
    assert "greater than zero" in await refusal(
        configure(api, set_fairness_weight_overrides={"a": float("nan")})
    )
    for part in range(2):
        weights = {f"{part}-{number}": 1.0 for number in range(600)}
        answer = configure(api, set_fairness_weight_overrides=weights)
        if part:
            assert "exceeding maximum key size" in await refusal(answer)
        else:
            await answer
    assert len((await describe(api)).config.fairness_weight_overrides) == 600
    monkeypatch.setattr(queue_settings, "CONFIGURED_QUEUES_MAX", 1)
    assert (await refusal(configure(api, "another"))).startswith("FAILED_PRECONDITION: ")


async def test_what_workers_asked_for_is_forgotten_with_their_queue(api: Api) -> None:
    await schedule(api, ("a", ""))
    await poll(api, 3.0)
    queues = api.runtime.queues
    queues.sweep()
    assert queues.settings._settings
    queues._queues.clear()
    queues.sweep()
    assert not queues.settings._settings
