"""Nexus calls go to the version of workers that the routing of their queue names, as other tasks do."""

import asyncio
import contextlib
from datetime import timedelta

import temporalio.api.workflowservice.v1 as ws
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.service import RPCError

from . import commands as c
from .builds import Workers, capabilities
from .nexus import NexusTask, answer, create_endpoint, delete_endpoint, schedule, sync, worker_target
from .raw import Scenario
from .rendering import IDENTITY
from .snapshots import expect
from .versions import Deployment

_NEXUS = TaskQueueType.TASK_QUEUE_TYPE_NEXUS


async def poll(
    s: Scenario, queue: str, d: Deployment | None = None, build_id: str = "", *, timeout: float = 30
) -> NexusTask:
    """One poll by a worker of a version, by one of a build id alone, or by one without; it may come back empty."""
    return await s.service.poll_nexus_task_queue(
        ws.PollNexusTaskQueueRequest(
            namespace=s.namespace,
            task_queue=TaskQueue(name=queue),
            identity=IDENTITY,
            deployment_options=d.options(build_id) if d is not None else None,
            worker_version_capabilities=capabilities(build_id) if d is None else None,
        ),
        timeout=timedelta(seconds=timeout),
    )


async def register(s: Scenario, d: Deployment, queue: str, build_id: str) -> None:
    """Have a worker of a version poll once, without getting a task."""

    async def known() -> bool:
        try:
            info = await d.describe_version(build_id)
        except RPCError:
            return False
        return any(found.type == _NEXUS for found in info.task_queue_infos)

    polling = asyncio.create_task(poll(s, queue, d, build_id))
    for _ in range(100):
        if await known():
            break
        await asyncio.sleep(0.1)
    polling.cancel()
    with contextlib.suppress(asyncio.CancelledError, RPCError):
        await polling


async def test_current_version_gets_the_calls(s: Scenario) -> None:
    d, queue = Deployment(s), s.id("handlers")
    await register(s, d, queue, "v1")
    await register(s, d, queue, "v2")
    expect(
        "\n".join(
            f"{TaskQueueType.Name(found.type)} {s.names.clean(found.name)}"
            for found in (await d.describe_version("v1")).task_queue_infos
        ),
        """
            TASK_QUEUE_TYPE_NEXUS handlers
        """,
    )
    endpoint = await create_endpoint(s, target=worker_target(s, queue))
    for build_id in ("v1", "v2", ""):
        await d.set_current(build_id)
        workflow_id = s.id(f"wf-{build_id}")
        await s.start(workflow_id=workflow_id)
        await s.step(schedule(endpoint, "in"))
        others = [each for each in ("v1", "v2", "") if each != build_id]
        empty = await asyncio.gather(
            *(poll(s, queue, d if each else None, each, timeout=3) for each in others)
        )
        assert not any(task.task_token for task in empty)
        task = await poll(s, queue, d if build_id else None, build_id)
        assert task.task_token, f"no Nexus task came for {build_id!r}"
        await answer(s, task, sync("out"))
        await s.step(c.complete())
    await delete_endpoint(s, endpoint)


async def test_call_that_waits_goes_to_who_became_current(s: Scenario) -> None:
    d, queue = Deployment(s), s.id("handlers")
    await register(s, d, queue, "v1")
    await d.set_current("v1")
    endpoint = await create_endpoint(s, target=worker_target(s, queue))
    await s.start()
    await s.step(schedule(endpoint, "in"))
    await register(s, d, queue, "v2")
    polling = asyncio.create_task(poll(s, queue, d, "v2"))
    await d.set_current("v2")
    task = await polling
    assert task.task_token, "no Nexus task came"
    await answer(s, task, sync("out"))
    await s.step(c.complete())
    await delete_endpoint(s, endpoint)


async def test_calls_by_rules_and_sets(s: Scenario) -> None:
    w = Workers(s)
    await w.insert("A")
    endpoint = await create_endpoint(s)
    await s.start(task_queue=TaskQueue(name=s.id("caller")))
    task = await s.poll(s.id("caller"))
    await s.complete(task, schedule(endpoint, "in"))
    assert not (await poll(s, s.tq, timeout=3)).task_token
    call = await poll(s, s.tq, build_id=w.id("A"))
    assert call.task_token, "no Nexus task came"
    await answer(s, call, sync("out"))
    await s.complete(await s.poll(s.id("caller")), c.complete())
    await delete_endpoint(s, endpoint)
