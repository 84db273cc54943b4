"""Workers of the older forms of versioning, driven by hand: they say a build id, and no deployment."""

import asyncio
from datetime import timedelta
from typing import Any

import temporalio.api.workflowservice.v1 as ws
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import WorkerVersionCapabilities, WorkerVersionStamp
from temporalio.api.enums.v1 import EventType, TaskQueueKind
from temporalio.api.taskqueue.v1 import (
    BuildIdAssignmentRule,
    CompatibleBuildIdRedirectRule,
    RampByPercentage,
    TaskQueue,
)
from temporalio.service import RPCError

from .raw import POLL_SECONDS, ActivityTask, Scenario, WorkflowTask
from .rendering import IDENTITY, error

Sets = ws.UpdateWorkerBuildIdCompatibilityRequest
Rules = ws.UpdateWorkerVersioningRulesRequest

SETTLE_SECONDS = 1.2
"""The real server's history and matching learn of changed rules within a second."""


class Workers:
    """Workers of build ids on the scenario's queue, and the sets and rules of that queue."""

    def __init__(self, s: Scenario) -> None:
        self.s = s

    def id(self, build_id: str) -> str:
        """A build id that is this test's alone: one may be in the sets of 20 queues."""
        return self.s.id(build_id) if build_id else ""

    # Sets and rules

    async def add_set(self, build_id: str) -> None:
        """A build id that is compatible with none, the default from now on."""
        await self._change_sets(add_new_build_id_in_new_default_set=self.id(build_id))

    async def add_compatible(self, build_id: str, existing: str) -> None:
        """A build id in the set of another, that set's default from now on."""
        await self._change_sets(
            add_new_compatible_build_id=Sets.AddNewCompatibleVersion(
                new_build_id=self.id(build_id), existing_compatible_build_id=self.id(existing)
            )
        )

    async def _change_sets(self, **operation: Any) -> None:
        await self.s.service.update_worker_build_id_compatibility(
            Sets(namespace=self.s.namespace, task_queue=self.s.tq, **operation)
        )
        await asyncio.sleep(SETTLE_SECONDS)

    async def insert(self, build_id: str, percentage: float | None = None, queue: str = "") -> None:
        """A rule before all others: new work is for a build id, all or a share of it."""
        rule = BuildIdAssignmentRule(target_build_id=self.id(build_id))
        if percentage is not None:
            rule.percentage_ramp.CopyFrom(RampByPercentage(ramp_percentage=percentage))
        await self._change_rules(queue, insert_assignment_rule=Rules.InsertBuildIdAssignmentRule(rule=rule))

    async def redirect(self, source: str, target: str) -> None:
        """What is for one build id goes to another."""
        rule = CompatibleBuildIdRedirectRule(source_build_id=self.id(source), target_build_id=self.id(target))
        await self._change_rules(
            "", add_compatible_redirect_rule=Rules.AddCompatibleBuildIdRedirectRule(rule=rule)
        )

    async def _change_rules(self, queue: str, **operation: Any) -> None:
        queue = queue or self.s.tq
        known = await self.s.service.get_worker_versioning_rules(
            ws.GetWorkerVersioningRulesRequest(namespace=self.s.namespace, task_queue=queue)
        )
        await self.s.service.update_worker_versioning_rules(
            Rules(
                namespace=self.s.namespace,
                task_queue=queue,
                conflict_token=known.conflict_token,
                **operation,
            )
        )
        await asyncio.sleep(SETTLE_SECONDS)

    # Workers

    async def poll_once(
        self, build_id: str, *, sticky: str = "", queue: str = "", timeout: float = POLL_SECONDS
    ) -> WorkflowTask:
        """One poll, which may come back empty; without a build id by a worker without versioning."""
        return await self.s.service.poll_workflow_task_queue(
            ws.PollWorkflowTaskQueueRequest(
                namespace=self.s.namespace,
                task_queue=TaskQueue(
                    name=sticky,
                    kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY,
                    normal_name=self.s.tq,
                )
                if sticky
                else TaskQueue(name=queue or self.s.tq),
                identity=IDENTITY,
                worker_version_capabilities=capabilities(self.id(build_id)),
            ),
            timeout=timedelta(seconds=timeout),
        )

    async def poll(self, build_id: str, *, sticky: str = "", queue: str = "") -> WorkflowTask:
        """The next workflow task for a build id; fails when none comes."""
        task = await self.poll_once(build_id, sticky=sticky, queue=queue)
        assert task.task_token, f"no workflow task came for {build_id!r}"
        return task

    async def poll_of(self, build_id: str, workflow_id: str) -> WorkflowTask:
        """The next workflow task of this workflow for a build id; those of others on the way are answered with nothing."""
        while True:
            task = await self.poll(build_id)
            if task.workflow_execution.workflow_id == workflow_id:
                return task
            await self.complete(task, build_id)

    async def nothing_for(self, *build_ids: str) -> None:
        """No workflow task comes for these build ids within some seconds."""
        for task in await asyncio.gather(*(self.poll_once(each, timeout=4) for each in build_ids)):
            assert not task.task_token, "a workflow task came"

    async def poll_activity(
        self, build_id: str, queue: str = "", timeout: float = POLL_SECONDS
    ) -> ActivityTask:
        """The next activity for a build id, empty if none comes in time."""
        return await self.s.service.poll_activity_task_queue(
            ws.PollActivityTaskQueueRequest(
                namespace=self.s.namespace,
                task_queue=TaskQueue(name=queue or self.s.tq),
                identity=IDENTITY,
                worker_version_capabilities=capabilities(self.id(build_id)),
            ),
            timeout=timedelta(seconds=timeout),
        )

    async def complete(
        self, task: WorkflowTask, build_id: str, *commands: Command, **fields: Any
    ) -> ws.RespondWorkflowTaskCompletedResponse:
        """Answer a workflow task as a worker of a build id."""
        stamp = WorkerVersionStamp(build_id=self.id(build_id), use_versioning=True) if build_id else None
        return await self.s.complete(task, *commands, worker_version_stamp=stamp, **fields)

    async def step(self, build_id: str, *commands: Command, **fields: Any) -> WorkflowTask:
        """Take the next workflow task as a worker of a build id, and answer it."""
        task = await self.poll(build_id)
        await self.complete(task, build_id, *commands, **fields)
        return task

    async def said(self, call: Any) -> str:
        """How a call is refused."""
        try:
            await call
        except RPCError as caught:
            return error(caught, self.s.names)
        return "accepted"

    async def told(self, workflow_id: str = "", run_id: str = "") -> str:
        """The build ids that are told of a run: by its description, and by its events."""
        info = (await self.s.describe(workflow_id, run_id)).workflow_execution_info
        names = ("assigned_build_id", "inherited_build_id")
        lines = [f"{name}={getattr(info, name)}" for name in names if getattr(info, name)]
        if info.HasField("most_recent_worker_version_stamp"):
            lines.append(f"stamp={shown(info.most_recent_worker_version_stamp)}")
        if "BuildIds" in info.search_attributes.indexed_fields:
            lines.append(f"BuildIds={info.search_attributes.indexed_fields['BuildIds'].data.decode()}")
        for event in await self.s.history(workflow_id, run_id):
            parts = _parts(getattr(event, event.WhichOneof("attributes") or ""))
            if parts:
                kind = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").title().replace("_", "")
                lines.append(f"{event.event_id} {kind} {' '.join(parts)}")
        return self.s.names.clean("\n".join(lines))


def _parts(attributes: Any) -> list[str]:
    known = attributes.DESCRIPTOR.fields_by_name
    stamps = [
        f"{name}={shown(getattr(attributes, name))}"
        for name in ("worker_version", "source_version_stamp")
        if name in known and attributes.HasField(name)
    ]
    return stamps + [
        f"{name}={getattr(attributes, name)}"
        for name in ("inherited_build_id", "build_id_redirect_counter")
        if getattr(attributes, name, "")
    ]


def capabilities(build_id: str) -> WorkerVersionCapabilities | None:
    """What a worker of a build id says of itself."""
    return WorkerVersionCapabilities(build_id=build_id, use_versioning=True) if build_id else None


def shown(stamp: WorkerVersionStamp) -> str:
    """A stamp, with `?` where it is not used for versioning."""
    return f"{stamp.build_id}{'' if stamp.use_versioning else '?'}"
