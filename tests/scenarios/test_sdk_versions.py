"""Versions as an application sees them: the official SDK's workers with a deployment config, and the official CLI."""

import asyncio
import json
import shutil
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import (
    PinnedVersioningOverride,
    VersioningBehavior,
    WorkerDeploymentVersion,
)
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkerDeploymentConfig

from .raw import Scenario
from .versions import Deployment

SECOND = timedelta(seconds=1)
CLI = shutil.which("temporal", path=str(Path(sys.executable).parent))


@activity.defn
async def where(name: str) -> str:
    return f"{name} on {activity.info().task_queue}"


@workflow.defn(name="Waits", versioning_behavior=VersioningBehavior.PINNED)
class PinnedWaits:
    def __init__(self) -> None:
        self._go = False

    @workflow.signal
    def go(self) -> None:
        self._go = True

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self._go)
        await workflow.execute_activity(where, "a", start_to_close_timeout=5 * SECOND)
        version = workflow.info().get_current_deployment_version()
        assert version is not None
        return version.build_id


@workflow.defn(name="Upgrades", versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class Upgrades(PinnedWaits):
    @workflow.signal
    def go(self) -> None:
        self._go = True

    @workflow.run
    async def run(self) -> str:
        return await super().run()


@asynccontextmanager
async def workers(s: Scenario, d: Deployment, *build_ids: str) -> AsyncIterator[None]:
    """Workers of these versions, each polling the scenario's queue."""
    running = [
        Worker(
            s.client,
            task_queue=s.tq,
            workflows=[PinnedWaits, Upgrades],
            activities=[where],
            workflow_runner=UnsandboxedWorkflowRunner(),
            deployment_config=WorkerDeploymentConfig(
                version=WorkerDeploymentVersion(deployment_name=d.name, build_id=build_id),
                use_worker_versioning=True,
            ),
        )
        for build_id in build_ids
    ]
    async with contextlib_all(running):
        for build_id in build_ids:
            await d._until(lambda build_id=build_id: d._polls(build_id, "", True))  # type: ignore[misc]
            await d._until(lambda build_id=build_id: d._polls(build_id, "", False))  # type: ignore[misc]
        yield


@asynccontextmanager
async def contextlib_all(running: list[Worker]) -> AsyncIterator[None]:
    """All of them, from the first to the last."""
    if not running:
        yield
        return
    async with running[0], contextlib_all(running[1:]):
        yield


async def test_pinned_and_upgrading_workflows_of_two_versions(s: Scenario) -> None:
    d = Deployment(s)
    async with workers(s, d, "v1", "v2"):
        await d.set_current("v1")
        pinned = await s.client.start_workflow(PinnedWaits.run, id=s.id("pinned"), task_queue=s.tq)
        upgrading = await s.client.start_workflow(Upgrades.run, id=s.id("upgrading"), task_queue=s.tq)
        for handle in (pinned, upgrading):
            await d._until(lambda handle=handle: _on(handle, "v1"))  # type: ignore[misc]
        await d.set_current("v2")
        await pinned.signal(PinnedWaits.go)
        await upgrading.signal(Upgrades.go)
        assert await asyncio.wait_for(pinned.result(), 20) == "v1"
        assert await asyncio.wait_for(upgrading.result(), 20) == "v2"


async def test_started_with_an_override(s: Scenario) -> None:
    d = Deployment(s)
    async with workers(s, d, "v1", "v2"):
        await d.set_current("v1")
        handle = await s.client.start_workflow(
            Upgrades.run,
            id=s.id("here"),
            task_queue=s.tq,
            start_signal="go",
            versioning_override=PinnedVersioningOverride(
                WorkerDeploymentVersion(deployment_name=d.name, build_id="v2")
            ),
        )
        assert await asyncio.wait_for(handle.result(), 20) == "v2"


async def _on(handle: Any, build_id: str) -> bool:
    description = await handle.describe()
    info = description.raw_description.workflow_execution_info.versioning_info
    return bool(info.deployment_version.build_id == build_id)


@pytest.mark.skipif(CLI is None, reason="the official CLI is not installed")
async def test_the_official_cli(s: Scenario, server: Any) -> None:
    d = Deployment(s)

    async def cli(*arguments: str) -> Any:
        process = await asyncio.create_subprocess_exec(
            str(CLI), "worker", "deployment", *arguments, "--address", server.address, "--output", "json",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return json.loads(out) if out.strip().startswith((b"{", b"[")) else None

    await d.register("v1", "v2")
    version = ("--deployment-name", d.name, "--build-id")
    await cli("set-current-version", *version, "v1", "--yes")
    await cli("set-ramping-version", *version, "v2", "--percentage", "10", "--yes")
    described = await cli("describe", "--name", d.name)
    assert described["routingConfig"]["currentVersionBuildID"] == "v1"
    assert described["routingConfig"]["rampingVersionPercentage"] == 10
    assert [each["name"] for each in await cli("list") if each["name"] == d.name] == [d.name]
    assert "v2" in json.dumps(await cli("describe-version", *version, "v2"))
    await cli("update-version-metadata", *version, "v2", "--metadata", 'a="b"')
    await cli("manager-identity", "set", "--deployment-name", d.name, "--self", "--yes")
    await cli("manager-identity", "unset", "--deployment-name", d.name, "--yes")
    await cli("set-ramping-version", *version, "v2", "--delete", "--yes")
    empty = f"{d.name}-empty"
    await cli("create", "--name", empty)
    await cli("delete", "--name", empty)


@workflow.defn
class TellsItsBuild:
    """Tells which build its newest workflow task was done by."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.query
    def build(self) -> str:
        return workflow.info().get_current_build_id()


async def test_a_build_without_versioning_is_told_again_to_another_worker(client: Client) -> None:
    """It is in the history: a worker that replays with another build tells the one that did the task."""
    queue = f"builds-{uuid.uuid4()}"
    told = []
    for build_id in ("1.0", "1.1"):
        async with Worker(
            client,
            task_queue=queue,
            workflows=[TellsItsBuild],
            build_id=build_id,
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):
            handle = client.get_workflow_handle_for(TellsItsBuild.run, queue)
            if build_id == "1.0":
                handle = await client.start_workflow(TellsItsBuild.run, id=queue, task_queue=queue)
            told.append(await handle.query(TellsItsBuild.build))
    assert told == ["1.0", "1.0"]
    await handle.terminate()
