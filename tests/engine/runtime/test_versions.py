"""Versions of workers: what they know outlives a crash and a failed write, and tasks find the version that they are for."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.api.deployment.v1 import WorkerDeploymentOptions, WorkerDeploymentVersion
from temporalio.api.enums.v1 import VersioningBehavior, WorkerDeploymentVersionStatus, WorkerVersioningMode
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import VersioningOverride
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    DescribeWorkerDeploymentVersionRequest,
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    SetWorkerDeploymentCurrentVersionRequest,
    SetWorkerDeploymentRampingVersionRequest,
)

from cloud.engine.runtime import task_queues
from cloud.engine.runtime.routes import share_of
from cloud.engine.store.database import Database
from cloud.rpc import NotFound, Unavailable
from tests.engine.runtime.harness import NAMESPACE, Engine, FaultyDatabase, engine
from tests.scenarios import commands as c

PINNED = VersioningBehavior.VERSIONING_BEHAVIOR_PINNED
AUTO_UPGRADE = VersioningBehavior.VERSIONING_BEHAVIOR_AUTO_UPGRADE
_S = WorkerDeploymentVersionStatus


def options(build_id: str) -> WorkerDeploymentOptions:
    return WorkerDeploymentOptions(
        deployment_name="dep",
        build_id=build_id,
        worker_versioning_mode=WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED,
    )


async def poll(found: Engine, build_id: str, timeout_s: float = 10) -> PollWorkflowTaskQueueResponse:
    request = PollWorkflowTaskQueueRequest(
        namespace=NAMESPACE,
        task_queue=TaskQueue(name="tq"),
        identity=build_id,
        deployment_options=options(build_id),
    )
    reply: PollWorkflowTaskQueueResponse = await found.call("PollWorkflowTaskQueue", request, timeout_s)
    return reply


async def register(found: Engine, *build_ids: str) -> None:
    for build_id in build_ids:
        waiting = asyncio.create_task(poll(found, build_id))
        while not found.runtime.routes.has(
            found.runtime.namespaces.by_name(NAMESPACE).namespace_id, "tq", 1, f"dep:{build_id}"
        ):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def set_current(found: Engine, build_id: str) -> None:
    await found.call(
        "SetWorkerDeploymentCurrentVersion",
        SetWorkerDeploymentCurrentVersionRequest(
            namespace=NAMESPACE, deployment_name="dep", build_id=build_id, identity="me"
        ),
    )


async def set_ramping(found: Engine, build_id: str, percentage: float) -> None:
    await found.call(
        "SetWorkerDeploymentRampingVersion",
        SetWorkerDeploymentRampingVersionRequest(
            namespace=NAMESPACE,
            deployment_name="dep",
            build_id=build_id,
            percentage=percentage,
            identity="me",
        ),
    )


async def step(found: Engine, build_id: str, *commands: object, behavior: int = AUTO_UPGRADE) -> str:
    """Take a task as a worker of a version and answer it. Returns its workflow's id."""
    task = await poll(found, build_id)
    assert task.task_token, f"nothing came for {build_id}"
    await found.complete(
        task,
        *commands,  # type: ignore[arg-type]
        deployment_options=options(build_id),
        versioning_behavior=behavior,
    )
    return task.workflow_execution.workflow_id


async def status(found: Engine, build_id: str) -> int:
    reply = await found.call(
        "DescribeWorkerDeploymentVersion",
        DescribeWorkerDeploymentVersionRequest(
            namespace=NAMESPACE,
            deployment_version=WorkerDeploymentVersion(deployment_name="dep", build_id=build_id),
        ),
    )
    return int(reply.worker_deployment_version_info.status)


def pinned(build_id: str) -> VersioningOverride:
    return VersioningOverride(
        pinned=VersioningOverride.PinnedOverride(
            behavior=VersioningOverride.PINNED_OVERRIDE_BEHAVIOR_PINNED,
            version=WorkerDeploymentVersion(deployment_name="dep", build_id=build_id),
        )
    )


async def test_a_restart_keeps_routing_lanes_and_transitions(database: Database) -> None:
    async with engine(database) as found:
        await register(found, "v1", "v2")
        await set_current(found, "v1")
        for workflow_id in ("pinned", "moves", "waits"):
            await found.start(workflow_id)
        behaviors = {"pinned": PINNED, "moves": AUTO_UPGRADE, "waits": AUTO_UPGRADE}
        for _ in range(3):
            task = await poll(found, "v1")
            await found.complete(
                task,
                deployment_options=options("v1"),
                versioning_behavior=behaviors[task.workflow_execution.workflow_id],
            )
        await set_current(found, "v2")
        await found.signal("moves", "go")
        moving = await poll(found, "v2")  # in transition, its task in flight
        assert moving.workflow_execution.workflow_id == "moves"
        for workflow_id in ("pinned", "waits"):
            await found.signal(workflow_id, "go")
    async with engine(database) as found:
        assert await status(found, "v1") == _S.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING
        assert await status(found, "v2") == _S.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT
        assert await step(found, "v1", behavior=PINNED) == "pinned"
        assert await step(found, "v2") == "waits"
        await found.complete(moving, deployment_options=options("v2"), versioning_behavior=AUTO_UPGRADE)
        await found.signal("moves", "again")
        assert await step(found, "v2") == "moves"


async def test_a_change_that_can_not_be_stored_did_not_happen(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        await register(found, "v1", "v2")
        await set_current(found, "v1")
        faulty.fail_next = 1
        with pytest.raises(Unavailable):
            await set_current(found, "v2")
        assert await status(found, "v1") == _S.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT
        await found.start("wf")
        assert await step(found, "v1") == "wf"
        faulty.fail_next = 1
        with pytest.raises(Unavailable):
            await poll(found, "v3", 5)
        with pytest.raises(NotFound):
            await status(found, "v3")


async def test_a_caller_that_leaves_leaves_memory_and_store_alike(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        await register(found, "v1", "v2")
        await set_current(found, "v1")
        faulty.writing.close()
        change = asyncio.create_task(set_current(found, "v2"))
        await faulty.writing.reached.wait()
        change.cancel()
        await asyncio.sleep(0.02)
        faulty.writing.open()
        await asyncio.gather(change, return_exceptions=True)
        assert await status(found, "v2") == _S.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT
    async with engine(database) as found:
        assert await status(found, "v2") == _S.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT


async def test_a_ramp_shares_the_backlog_by_workflow_id(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_queues, "ASIDE_MAX", 30)
    async with engine(database) as found:
        await register(found, "v1", "v2")
        await set_current(found, "v1")
        ids = [f"wf-{number}" for number in range(40)]
        for workflow_id in ids:
            await found.start(workflow_id)
        await set_ramping(found, "v2", 50)
        ramped = {workflow_id for workflow_id in ids if share_of(workflow_id) <= 50}
        assert 5 < len(ramped) < 35
        assert {await step(found, "v2") for _ in ramped} == ramped
        assert not (await poll(found, "v2", 3.1)).task_token
        # The ramp ends: what was set aside for one or the other is open again.
        for workflow_id in ids:
            await found.signal(workflow_id, "again")
        await set_ramping(found, "", 0)
        assert {await step(found, "v1") for _ in ids} == set(ids)


async def test_nobody_blocks_others_with_what_he_can_not_have(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pollers of a version that has no task do not spin, and do not take what is another's."""
    monkeypatch.setattr(task_queues, "ASIDE_MAX", 3)
    async with engine(database) as found:
        await register(found, "v1", "v2")
        await set_current(found, "v1")
        await set_ramping(found, "v2", 0.0001)
        for number in range(10):
            await found.start(f"wf-{number}")
        idle = asyncio.create_task(poll(found, "v2", 6))
        await asyncio.sleep(0.3)
        assert {await step(found, "v1") for _ in range(10)} == {f"wf-{number}" for number in range(10)}
        await found.start("late", versioning_override=pinned("v2"))
        assert (await idle).workflow_execution.workflow_id == "late"


async def test_an_activity_waits_for_its_version_to_poll_the_queue(database: Database) -> None:
    """A worker that starts may have a workflow task before its first poll for activities is known."""
    async with engine(database) as found:
        await register(found, "v1")
        await set_current(found, "v1")
        await found.start("wf")
        await step(found, "v1", c.activity("a", "tq", start_to_close_timeout=10), behavior=PINNED)
    async with engine(database) as found:
        request = PollActivityTaskQueueRequest(
            namespace=NAMESPACE,
            task_queue=TaskQueue(name="tq"),
            identity="v1",
            deployment_options=options("v1"),
        )
        reply = await found.call("PollActivityTaskQueue", request, 10)
        assert reply.activity_id == "a"


async def test_a_namespace_takes_its_deployments_along(database: Database) -> None:
    async with engine(database) as found:
        await register(found, "v1")
        namespace = found.runtime.namespaces.by_name(NAMESPACE)
        other = "no-such-deployment"
        with pytest.raises(NotFound, match="does your Worker Deployment have pollers"):
            await found.call(
                "DescribeWorkerDeployment",
                DescribeWorkerDeploymentRequest(namespace=NAMESPACE, deployment_name=other),
            )
        assert found.runtime.routes.deployments(namespace.namespace_id)
        assert not found.runtime.routes.deployments("another namespace's id")
