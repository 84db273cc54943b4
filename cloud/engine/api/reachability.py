"""Whether a build id of the older forms of worker versioning may still be needed: by sets for GetWorkerTaskReachability, by rules for
DescribeTaskQueue."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from temporalio.api.enums.v1 import BuildIdTaskReachability, TaskReachability
from temporalio.api.taskqueue.v1 import BuildIdReachability, TaskQueueReachability
from temporalio.api.workflowservice.v1 import (
    GetWorkerTaskReachabilityRequest,
    GetWorkerTaskReachabilityResponse,
)

from cloud.engine.api import checks
from cloud.engine.api.build_ids import RULES_REFUSED, require
from cloud.engine.core.build_id_rules import upstream
from cloud.engine.core.build_ids import BuildIds
from cloud.engine.core.clock import SECOND
from cloud.engine.runtime.builds import Builds
from cloud.engine.runtime.dynamic_config import VERSIONING_DATA_APIS
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store import schema as s
from cloud.engine.store.visibility_attributes import AttributeTypes
from cloud.engine.store.visibility_filter import parse_filter
from cloud.rpc import CallContext, InvalidArgument

BUILD_IDS_MAX = 5
QUEUES_MAX = 20
SINCE_DEFAULT = 300 * SECOND
"""A set that was the default this lately may still get new workflows."""

VISIBILITY_GRACE = 180 * SECOND
"""A redirect that was deleted this lately may not be in all lists yet (the real server's figure)."""

_R = TaskReachability
_B = BuildIdTaskReachability
_STATUS = {
    _R.TASK_REACHABILITY_OPEN_WORKFLOWS: " AND ExecutionStatus = 'Running'",
    _R.TASK_REACHABILITY_CLOSED_WORKFLOWS: " AND ExecutionStatus != 'Running'",
    _R.TASK_REACHABILITY_EXISTING_WORKFLOWS: "",
}


class Reachability:
    """See the module's head."""

    def __init__(self, runtime: Runtime, builds: Builds) -> None:
        self._runtime = runtime
        self._builds = builds

    async def get_worker_task_reachability(
        self, request: GetWorkerTaskReachabilityRequest, context: CallContext
    ) -> GetWorkerTaskReachabilityResponse:
        """By build id and task queue: by new workflows, and by those that there are."""
        require(self._runtime, request.namespace, VERSIONING_DATA_APIS, RULES_REFUSED)
        if not request.build_ids:
            raise InvalidArgument("Must query at least one build ID (or empty string for unversioned worker)")
        if len(request.build_ids) > BUILD_IDS_MAX:
            raise InvalidArgument(f"Too many build ids queried at once, limit: {BUILD_IDS_MAX}")
        limits = self._runtime.limits
        if any(len(build_id.encode()) > limits.build_id_length for build_id in request.build_ids):
            raise InvalidArgument(
                "Build ID exceeds configured limit.workerBuildIdSize, use a shorter build ID."
            )
        if "" in request.build_ids and not request.task_queues:
            raise InvalidArgument(
                "Cannot get reachability of an unversioned worker without specifying at least one task queue "
                "(empty build ID is interpereted as unversioned)"
            )
        for queue in request.task_queues:
            checks.check_length(queue, "taskQueue", limits)
        namespace = checks.namespace_of(self._runtime, request.namespace)
        if request.reachability not in (*_STATUS, 0, _R.TASK_REACHABILITY_NEW_WORKFLOWS):
            raise InvalidArgument(f"Unsupported reachability type: {request.reachability}")
        response = GetWorkerTaskReachabilityResponse()
        for build_id in request.build_ids:
            queues = list(request.task_queues) or self._builds.queues_of_build_id(
                namespace.namespace_id, build_id
            )
            found = BuildIdReachability(build_id=build_id)
            for number, queue in enumerate(queues):
                of_queue = TaskQueueReachability(task_queue=queue)
                if number < QUEUES_MAX:
                    of_queue.reachability.extend(
                        await self._of_queue(namespace, build_id, queue, request.reachability)
                    )
                else:
                    of_queue.reachability.append(_R.TASK_REACHABILITY_UNSPECIFIED)
                found.task_queue_reachability.append(of_queue)
            response.build_id_reachability.append(found)
        return response

    # --- by rules ---

    async def of_build_id(
        self, namespace: Namespace, queue: str, build_id: str
    ) -> BuildIdTaskReachability.ValueType:
        """Whether tasks of a queue may reach workers of a build id ("": without one), by rules or from runs that are assigned to it."""
        data, now = self._builds.of_queue(namespace.namespace_id, queue), self._runtime.clock.now()
        if any(each.source == build_id for each in data.active_redirects):
            return _B.BUILD_ID_TASK_REACHABILITY_UNREACHABLE
        if any(map(data.may_assign, (build_id, *upstream(data.active_redirects, build_id)))):
            return _B.BUILD_ID_TASK_REACHABILITY_REACHABLE
        lately = [
            each for each in data.redirects if not each.deleted_at or each.deleted_at > now - VISIBILITY_GRACE
        ]
        interesting = {build_id} | upstream(lately, build_id)
        if await self._any(namespace, queue, interesting, "assigned", open_runs=True):
            return _B.BUILD_ID_TASK_REACHABILITY_REACHABLE
        if await self._any(namespace, queue, interesting, "versioned", open_runs=False):
            return _B.BUILD_ID_TASK_REACHABILITY_CLOSED_WORKFLOWS_ONLY
        return _B.BUILD_ID_TASK_REACHABILITY_UNREACHABLE

    async def _any(
        self, namespace: Namespace, queue: str, build_ids: Iterable[str], how: str, *, open_runs: bool
    ) -> bool:
        values = [_quoted(f"{how}:{build_id}" if build_id else "unversioned") for build_id in build_ids]
        condition = f"BuildIds IN ({', '.join(sorted(values))})"
        if "" in build_ids:
            condition = f"(BuildIds IS NULL OR {condition})"
        status = "=" if open_runs else "!="
        return bool(
            await self._count(
                namespace,
                f"TaskQueue = {_quoted(queue)} AND {condition} AND ExecutionStatus {status} 'Running'",
            )
        )

    async def _count(self, namespace: Namespace, query: str) -> int:
        wanted = parse_filter(query, cast("AttributeTypes", namespace.search_attributes))
        count = await self._runtime.database.list(
            namespace.namespace_id, lambda c: s.visibility.count(c, namespace.namespace_id, wanted)
        )
        return count.total

    # --- by sets ---

    async def _of_queue(
        self, namespace: Namespace, build_id: str, queue: str, kind: TaskReachability.ValueType
    ) -> list[TaskReachability.ValueType]:
        data = self._builds.of_queue(namespace.namespace_id, queue)
        by_new, is_default, values = self._place(data, build_id)
        if not values:
            return []
        found = [_R.TASK_REACHABILITY_NEW_WORKFLOWS] if by_new else []
        if kind == _R.TASK_REACHABILITY_NEW_WORKFLOWS:
            return found
        condition = f"BuildIds IN ({', '.join(map(_quoted, values))})"
        if is_default and kind != _R.TASK_REACHABILITY_CLOSED_WORKFLOWS:
            condition = f"(BuildIds IS NULL OR {condition})"
        existing = kind or _R.TASK_REACHABILITY_EXISTING_WORKFLOWS
        query = f"TaskQueue = {_quoted(queue)} AND {condition}{_STATUS[existing]}"
        return [*found, existing] if await self._count(namespace, query) else found

    def _place(self, data: BuildIds, build_id: str) -> tuple[bool, bool, list[str]]:
        """Whether new workflows reach a build id, whether it is the queue's default, and what lists show of its workflows."""
        recent = self._runtime.clock.now() - SINCE_DEFAULT
        if not build_id:
            oldest = min((each.default_since for each in data.sets), default=0)
            return not data.sets or oldest > recent, not data.sets, ["unversioned"]
        at = data.set_of(build_id)
        if at < 0 or data.sets[at].build_ids[-1] != build_id:
            return False, False, []
        is_default = at == len(data.sets) - 1
        reached = is_default or data.sets[at].default_since > recent
        return reached, is_default, [f"versioned:{each}" for each in data.sets[at].build_ids]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
