"""Standalone activities as an application sees them: the official SDK's worker and client, unmodified; and the official CLI."""

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import activity
from temporalio.client import ActivityFailureError
from temporalio.common import RetryPolicy, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ActivityAlreadyStartedError, ApplicationError, CancelledError

from .raw import Scenario
from .workers import sdk_worker

SHORT = timedelta(seconds=20)
KEYWORD = SearchAttributeKey.for_keyword("ScenarioKeyword")


@activity.defn
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@activity.defn
async def breaks(kind: str) -> str:
    attempt = activity.info().attempt
    if kind == "always" or attempt < 3:
        raise ApplicationError(f"broken {attempt}", type="Broken")
    return f"attempt {attempt}"


@activity.defn
async def waits() -> str:
    while True:
        activity.heartbeat("here")
        await asyncio.sleep(0.05)


async def test_results_and_failures(s: Scenario) -> None:
    client = s.client
    async with sdk_worker(s, activities=[greet, breaks]):
        result = await client.execute_activity(
            greet, "you", id=s.id("a"), task_queue=s.tq, start_to_close_timeout=SHORT
        )
        assert result == "Hello, you!"
        handle = await client.start_activity(
            breaks,
            "twice",
            id=s.id("b"),
            task_queue=s.tq,
            start_to_close_timeout=SHORT,
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=20)),
            search_attributes=TypedSearchAttributes([SearchAttributePair(KEYWORD, s.prefix)]),
            summary="two failures",
        )
        assert await handle.result() == "attempt 3"
        described = await handle.describe(include_last_failure=True)
        assert described.attempt == 3
        assert await described.last_failure() is not None
        again = client.get_activity_handle(s.id("b"), run_id=handle.run_id)
        assert await again.result() == "attempt 3"
        with pytest.raises(ActivityFailureError) as caught:
            await client.execute_activity(
                breaks,
                "always",
                id=s.id("c"),
                task_queue=s.tq,
                start_to_close_timeout=SHORT,
                retry_policy=RetryPolicy(maximum_attempts=1),
            )
        assert isinstance(caught.value.cause, ApplicationError)
        assert caught.value.cause.type == "Broken"


async def test_cancel_terminate_and_twice(s: Scenario) -> None:
    client = s.client
    async with sdk_worker(s, activities=[waits]):
        handle = await client.start_activity(
            waits,
            id=s.id("a"),
            task_queue=s.tq,
            start_to_close_timeout=SHORT,
            heartbeat_timeout=timedelta(seconds=5),
        )
        with pytest.raises(ActivityAlreadyStartedError):
            await client.start_activity(waits, id=s.id("a"), task_queue=s.tq, start_to_close_timeout=SHORT)
        while not (await handle.describe(include_heartbeat_details=True)).has_heartbeat_details:
            await asyncio.sleep(0.05)
        await handle.cancel(reason="enough")
        with pytest.raises(ActivityFailureError) as caught:
            await handle.result()
        assert isinstance(caught.value.cause, CancelledError)
        other = await client.start_activity(
            waits, id=s.id("b"), task_queue=s.tq, start_to_close_timeout=SHORT
        )
        await other.terminate(reason="stop")
        with pytest.raises(ActivityFailureError):
            await other.result()


async def test_lists_and_counts(s: Scenario) -> None:
    client = s.client
    async with sdk_worker(s, activities=[greet]):
        for number in range(3):
            await client.execute_activity(
                greet, "you", id=s.id(str(number)), task_queue=s.tq, start_to_close_timeout=SHORT
            )
    query = f"TaskQueue = '{s.tq}' AND ExecutionStatus = 'Completed'"
    for _ in range(100):
        if (await client.count_activities(query)).count == 3:
            break
        await asyncio.sleep(0.1)
    assert sorted([each.activity_id async for each in client.list_activities(query)]) == [
        s.id(str(number)) for number in range(3)
    ]


async def cli(s: Scenario, *words: str) -> str:
    address = s.client.service_client.config.target_host
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "temporal"),
        "activity",
        *words,
        "--address",
        address,
        "--namespace",
        s.namespace,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def test_the_official_cli(s: Scenario) -> None:
    start = ("--type", "greet", "--task-queue", s.tq, "--start-to-close-timeout", "20s", "--input", '"you"')
    async with sdk_worker(s, activities=[greet]):
        assert "Hello, you!" in await cli(s, "execute", "--activity-id", s.id("a"), *start)
        await cli(s, "start", "--activity-id", s.id("b"), *start)
        assert "Hello, you!" in await cli(s, "result", "--activity-id", s.id("b"))
    described = json.loads(await cli(s, "describe", "--activity-id", s.id("b"), "--output", "json"))
    assert s.id("b") in json.dumps(described)
    await cli(s, "start", "--activity-id", s.id("c"), *start)
    await cli(s, "pause", "--activity-id", s.id("c"))
    await cli(s, "unpause", "--activity-id", s.id("c"))
    await cli(s, "terminate", "--activity-id", s.id("c"), "--reason", "enough")
    for _ in range(50):
        if s.id("c") in await cli(
            s, "list", "--query", f"TaskQueue = '{s.tq}' AND ExecutionStatus = 'Terminated'"
        ):
            break
        await asyncio.sleep(0.1)
    assert "3" in await cli(s, "count", "--query", f"TaskQueue = '{s.tq}'")
    await cli(s, "delete", "--activity-id", s.id("c"), "--yes")
