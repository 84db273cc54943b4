"""A worker deployment of one scenario, with workers of its versions that are driven by hand."""

import asyncio
import contextlib
import time
from datetime import timedelta
from typing import Any

import temporalio.api.workflowservice.v1 as ws
from temporalio.api.command.v1 import Command
from temporalio.api.deployment.v1 import (
    WorkerDeploymentInfo,
    WorkerDeploymentOptions,
    WorkerDeploymentVersion,
    WorkerDeploymentVersionInfo,
)
from temporalio.api.enums.v1 import (
    RoutingConfigUpdateState,
    TaskQueueKind,
    VersioningBehavior,
    WorkerVersioningMode,
)
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import VersioningOverride
from temporalio.service import RPCError

from .raw import POLL_SECONDS, ActivityTask, Scenario, WorkflowTask
from .rendering import IDENTITY, render
from .snapshots import expect

PINNED = VersioningBehavior.VERSIONING_BEHAVIOR_PINNED
AUTO_UPGRADE = VersioningBehavior.VERSIONING_BEHAVIOR_AUTO_UPGRADE
VERSIONED = WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
SETTLE_SECONDS = 20.0
_DONE = RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_COMPLETED


class Deployment:
    """The deployment `dep`, or another, unique to its test."""

    def __init__(self, s: Scenario, role: str = "dep") -> None:
        self.s = s
        self.name = f"{s.prefix}-{role}"
        s.names.aliases[self.name] = role

    def version(self, build_id: str) -> WorkerDeploymentVersion:
        """One of its versions."""
        return WorkerDeploymentVersion(deployment_name=self.name, build_id=build_id)

    def options(self, build_id: str) -> WorkerDeploymentOptions:
        """What a worker of a version says of itself."""
        return WorkerDeploymentOptions(
            deployment_name=self.name, build_id=build_id, worker_versioning_mode=VERSIONED
        )

    def pinned(self, build_id: str) -> VersioningOverride:
        """An override that pins to a version."""
        return VersioningOverride(
            pinned=VersioningOverride.PinnedOverride(
                behavior=VersioningOverride.PINNED_OVERRIDE_BEHAVIOR_PINNED, version=self.version(build_id)
            )
        )

    # Workers

    async def register(self, *build_ids: str, queue: str = "", activities: bool = False) -> None:
        """Have workers of versions poll a queue once, for workflow tasks or for activities; they get none."""
        for build_id in build_ids:
            poll = asyncio.create_task(
                self._poll_activity(build_id, queue) if activities else self._poll(build_id, queue)
            )
            await self._until(lambda build_id=build_id: self._polls(build_id, queue, activities))  # type: ignore[misc]
            poll.cancel()
            with contextlib.suppress(asyncio.CancelledError, RPCError):
                await poll

    async def _polls(self, build_id: str, queue: str, activities: bool) -> bool:
        try:
            info = await self.describe_version(build_id)
        except RPCError:
            return False
        wanted = (queue or self.s.tq, 2 if activities else 1)
        return any((found.name, found.type) == wanted for found in info.task_queue_infos)

    async def _poll(self, build_id: str, queue: str, timeout: float = POLL_SECONDS) -> WorkflowTask:
        return await self.s.service.poll_workflow_task_queue(
            ws.PollWorkflowTaskQueueRequest(
                namespace=self.s.namespace,
                task_queue=TaskQueue(name=queue or self.s.tq),
                identity=IDENTITY,
                deployment_options=self.options(build_id),
            ),
            timeout=timedelta(seconds=timeout),
        )

    async def _poll_activity(self, build_id: str, queue: str, timeout: float = POLL_SECONDS) -> ActivityTask:
        return await self.s.service.poll_activity_task_queue(
            ws.PollActivityTaskQueueRequest(
                namespace=self.s.namespace,
                task_queue=TaskQueue(name=queue or self.s.tq),
                identity=IDENTITY,
                deployment_options=self.options(build_id),
            ),
            timeout=timedelta(seconds=timeout),
        )

    async def poll(self, build_id: str, queue: str = "") -> WorkflowTask:
        """The next workflow task for a version; fails when none comes."""
        task = await self._poll(build_id, queue)
        assert task.task_token, f"no workflow task came for {build_id}"
        return task

    async def nothing_for(self, build_id: str, queue: str = "") -> None:
        """No workflow task comes for a version within some seconds."""
        task = await self._poll(build_id, queue, timeout=4)
        assert not task.task_token, f"a workflow task came for {build_id}"

    async def poll_sticky(self, build_id: str, sticky: str) -> WorkflowTask:
        """The next workflow task of a worker's own queue."""
        task = await self.s.service.poll_workflow_task_queue(
            ws.PollWorkflowTaskQueueRequest(
                namespace=self.s.namespace,
                task_queue=TaskQueue(
                    name=sticky, kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY, normal_name=self.s.tq
                ),
                identity=IDENTITY,
                deployment_options=self.options(build_id),
            ),
            timeout=timedelta(seconds=POLL_SECONDS),
        )
        assert task.task_token, f"no sticky workflow task came for {build_id}"
        return task

    async def poll_activity(self, build_id: str, queue: str = "") -> ActivityTask:
        """The next activity for a version; fails when none comes."""
        task = await self._poll_activity(build_id, queue)
        assert task.task_token, f"no activity came for {build_id}"
        return task

    async def complete(
        self,
        task: WorkflowTask | bytes,
        build_id: str,
        *commands: Command,
        behavior: VersioningBehavior.ValueType = AUTO_UPGRADE,
        **fields: Any,
    ) -> ws.RespondWorkflowTaskCompletedResponse:
        """Answer a workflow task as a worker of a version."""
        return await self.s.complete(
            task,
            *commands,
            deployment_options=self.options(build_id),
            versioning_behavior=behavior,
            **fields,
        )

    async def step(self, build_id: str, *commands: Command, **fields: Any) -> WorkflowTask:
        """Take the next workflow task as a worker of a version, and answer it."""
        task = await self.poll(build_id)
        await self.complete(task, build_id, *commands, **fields)
        return task

    # The deployment

    async def describe(self) -> WorkerDeploymentInfo:
        """The deployment as it is now."""
        response = await self.s.service.describe_worker_deployment(
            ws.DescribeWorkerDeploymentRequest(namespace=self.s.namespace, deployment_name=self.name)
        )
        return response.worker_deployment_info

    async def describe_version(self, build_id: str) -> WorkerDeploymentVersionInfo:
        """A version as it is now."""
        response = await self.s.service.describe_worker_deployment_version(
            ws.DescribeWorkerDeploymentVersionRequest(
                namespace=self.s.namespace, deployment_version=self.version(build_id)
            )
        )
        info = response.worker_deployment_version_info
        info.task_queue_infos.sort(
            key=lambda queue: (queue.name, queue.type)
        )  # the real server's have no order
        return info

    async def set_current(
        self, build_id: str = "", **fields: Any
    ) -> ws.SetWorkerDeploymentCurrentVersionResponse:
        """Make a version current, workers without one if none is named, and wait until that holds everywhere."""
        response = await self.s.service.set_worker_deployment_current_version(
            ws.SetWorkerDeploymentCurrentVersionRequest(
                namespace=self.s.namespace,
                deployment_name=self.name,
                build_id=build_id,
                identity=fields.pop("identity", IDENTITY),
                **fields,
            )
        )
        await self._settle()
        return response

    async def set_ramping(
        self, build_id: str = "", percentage: float = 0, **fields: Any
    ) -> ws.SetWorkerDeploymentRampingVersionResponse:
        """Give a version a share, and wait until that holds everywhere."""
        response = await self.s.service.set_worker_deployment_ramping_version(
            ws.SetWorkerDeploymentRampingVersionRequest(
                namespace=self.s.namespace,
                deployment_name=self.name,
                build_id=build_id,
                percentage=percentage,
                identity=fields.pop("identity", IDENTITY),
                **fields,
            )
        )
        await self._settle()
        return response

    async def _settle(self) -> None:
        async def settled() -> bool:
            return (await self.describe()).routing_config_update_state == _DONE

        await self._until(settled)
        await asyncio.sleep(1.2)  # the real server's history caches a queue's routing for a second

    @staticmethod
    async def _until(condition: Any) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while not await condition():
            assert time.monotonic() < deadline, "it did not become so in time"
            await asyncio.sleep(0.1)

    async def until_status(self, build_id: str, status: int) -> WorkerDeploymentVersionInfo:
        """Wait until a version has a status."""

        async def there() -> bool:
            return (await self.describe_version(build_id)).status == status

        await self._until(there)
        return await self.describe_version(build_id)


ATTRIBUTES = (
    "TemporalWorkerDeployment",
    "TemporalWorkerDeploymentVersion",
    "TemporalWorkflowVersioningBehavior",
    "TemporalUsedWorkerDeploymentVersions",
)


async def expect_versioning(s: Scenario, text: str, *, workflow_id: str = "", run_id: str = "") -> None:
    """What DescribeWorkflowExecution tells of a workflow's version, and what its search attributes do."""
    info = (await s.describe(workflow_id, run_id)).workflow_execution_info
    lines = [
        f"info {render(info.versioning_info, s.names, frozenset({'versioning_override.pinned_version'}))}"
    ]
    for name in ATTRIBUTES:
        if name in info.search_attributes.indexed_fields:
            data = info.search_attributes.indexed_fields[name].data.decode()
            lines.append(f"{name}={s.names.clean(data)}")
    expect("\n".join(lines), text)
