"""Payloads that become too large together: the task fails and comes again, the workflow goes on once the bound is raised."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle

import sdk
from cloud.app.development import Development
from tests.sidecar.conftest import HOST, Start
from tests.sidecar.test_sidecar import Shouter, worker

LARGE = "a" * 100_000


@pytest.mark.parametrize("where", ["sidecar", "worker"])
async def test_the_task_fails_and_the_workflow_goes_on(
    where: str, service: Development, make_profile: Callable[..., sdk.Profile], start_proxy: Start
) -> None:
    address = f"{HOST}:{service.port}"
    client = await sdk.connect(make_profile("default", address))
    small = make_profile("small", address, decode_bytes_max=50_000)
    handle = await client.start_workflow(
        Shouter.run, args=[LARGE, False], id=f"w-{uuid.uuid4()}", task_queue="q"
    )
    bounded = await ((await start_proxy(small)).connect() if where == "sidecar" else sdk.connect(small))
    # Without a cache, no task waits for a worker that is gone.
    async with worker(bounded, max_cached_workflows=0):
        async with asyncio.timeout(20):
            while not await _failed_tasks(handle):
                await asyncio.sleep(0.05)
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    async with worker(client):
        assert await handle.result() == LARGE.upper()


async def _failed_tasks(handle: WorkflowHandle[Shouter, str]) -> int:
    events = (await handle.fetch_history()).events
    return sum(event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED for event in events)
