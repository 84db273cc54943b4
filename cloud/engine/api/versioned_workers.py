"""What workers say of their version when they poll and when they answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from temporalio.api.common.v1 import WorkerVersionCapabilities, WorkerVersionStamp
from temporalio.api.deployment.v1 import WorkerDeploymentOptions
from temporalio.api.enums.v1 import TaskQueueKind, VersioningBehavior
from temporalio.api.errordetails.v1 import NotFoundFailure, PermissionDeniedFailure
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueRequest,
    PollNexusTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
)

from cloud.engine.api import checks
from cloud.engine.api.deployments import check_part, limit_reached
from cloud.engine.core import older_versioning, versioning
from cloud.engine.core.completion import VERSIONED, version_of_worker
from cloud.engine.core.deployment import TooManyVersions
from cloud.engine.core.state import Execution
from cloud.engine.runtime.builds import Builds
from cloud.engine.runtime.deployments import Deployments
from cloud.engine.runtime.dynamic_config import VERSIONING_WORKFLOW_APIS
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.routes import Lane
from cloud.engine.runtime.runtime import Runtime
from cloud.rpc import InvalidArgument, NotFound, PermissionDenied

_STICKY = TaskQueueKind.TASK_QUEUE_KIND_STICKY
_NO_NORMAL_NAME = (
    "NormalName must be set on sticky queue when UseVersioning is true or DeploymentOptions are set."
)


class VersionedWorkers:
    """Workers of a version register with their first poll of a queue."""

    def __init__(self, runtime: Runtime, deployments: Deployments, builds: Builds) -> None:
        self._runtime = runtime
        self._deployments = deployments
        self._builds = builds

    def lane_of_poll(
        self,
        namespace: Namespace,
        request: PollWorkflowTaskQueueRequest | PollActivityTaskQueueRequest | PollNexusTaskQueueRequest,
    ) -> Callable[[], Lane] | None:
        """What says where a worker of an older form of versioning waits; None if the one that polls is of none.

        Raises:
            PermissionDenied: it is, and the older forms are switched off.
            InvalidArgument: what it says of itself can't be.
        """
        told, queue = request.worker_version_capabilities, request.task_queue
        is_sticky = queue.kind == _STICKY
        if len(told.deployment_series_name.encode()) > self._runtime.limits.id_length:
            raise InvalidArgument("Deployment series name exceeds length limit.")
        if told.use_versioning or told.build_id:
            self.check_stamp(told)
            if is_sticky and told.use_versioning and not queue.normal_name:
                raise InvalidArgument(_NO_NORMAL_NAME)
        if not told.use_versioning or told.deployment_series_name or request.HasField("deployment_options"):
            return None
        return partial(
            self._builds.lane_of,
            namespace.namespace_id,
            queue.normal_name if is_sticky else queue.name,
            told.build_id,
            sticky=is_sticky,
        )

    def check_stamp(self, told: WorkerVersionCapabilities | WorkerVersionStamp) -> None:
        """Check the build id that a worker says it has, and whether it may be used for versioning.

        Raises:
            PermissionDenied: the older forms of versioning are switched off.
            InvalidArgument: it is missing, or too long.
        """
        if told.use_versioning and not self._runtime.dynamic_config.on(VERSIONING_WORKFLOW_APIS):
            raise PermissionDenied(
                "Worker versioning in workflow progress APIs is disabled on this namespace.",
                PermissionDeniedFailure(),
            )
        if told.use_versioning and not told.build_id:
            raise InvalidArgument("WorkerVersionStamp must be present if UseVersioning is true.")
        if len(told.build_id.encode()) > self._runtime.limits.build_id_length:
            raise InvalidArgument(
                "Build ID exceeds configured limit.workerBuildIdSize, use a shorter build ID."
            )
        checks.check_no_nul(told.build_id, "BuildId")

    async def version_of_poll(
        self,
        namespace: Namespace,
        request: PollWorkflowTaskQueueRequest | PollActivityTaskQueueRequest | PollNexusTaskQueueRequest,
        kind: int,
    ) -> str:
        """The version of the worker that polls, "" for one without. It is registered when this returns.

        Raises:
            InvalidArgument: what it says of itself can't be.
            ResourceExhausted: there are too many versions, or the version has too many queues.
        """
        if not request.HasField("deployment_options"):
            return ""
        options, queue = request.deployment_options, request.task_queue
        if queue.kind == _STICKY and not queue.normal_name:
            raise InvalidArgument(_NO_NORMAL_NAME)
        check_options(options)
        checks.check_length(options.deployment_name, "WorkerDeploymentName", self._runtime.limits)
        checks.check_length(options.build_id, "BuildID", self._runtime.limits)
        version = version_of_worker(options)
        if not version or queue.kind == _STICKY:
            return version
        if not self._deployments.is_registered(namespace, version, queue.name, kind):
            try:
                await self._deployments.register(namespace, version, queue.name, kind)
            except TooManyVersions as error:
                raise limit_reached(error) from error
        return version


def capabilities_of(
    request: PollWorkflowTaskQueueRequest | PollActivityTaskQueueRequest | PollNexusTaskQueueRequest,
) -> WorkerVersionCapabilities | None:
    """What a worker that polls says of its build in the older form, None if nothing."""
    has = request.HasField("worker_version_capabilities")
    return request.worker_version_capabilities if has else None


def check_options(options: WorkerDeploymentOptions) -> None:
    """Check the version that a worker says it has.

    Raises:
        InvalidArgument: it can be none.
    """
    if options.worker_versioning_mode != VERSIONED:
        return
    if not options.deployment_name or not options.build_id:
        raise InvalidArgument("Deployment name and build id must be set together.")
    check_part(options.deployment_name, "WorkerDeploymentName")
    check_part(options.build_id, "BuildID")


def check_continued(execution: Execution, request: RespondWorkflowTaskCompletedRequest) -> None:
    """Check that a workflow task is answered by the build id that it was given to, where the older forms of versioning are used.

    Raises:
        NotFound: another one answers.
        InvalidArgument: one that does not use versioning answers.
    """
    if execution.volatile.builds is None:
        return
    told, task = request.worker_version_stamp, execution.workflow_task
    assigned = older_versioning.assigned_to(execution)
    if assigned and not execution.volatile.sticky.queue and told.build_id != task.build_id:
        raise NotFound(
            f"this workflow task was dispatched to Build ID {task.build_id}, not {told.build_id}",
            NotFoundFailure(),
        )
    if (
        older_versioning.stamp_of(execution)
        and not told.use_versioning
        and request.deployment_options.worker_versioning_mode != VERSIONED
        and not versioning.effective_behavior(execution)
    ):
        raise InvalidArgument("Workflow using versioning must continue to use versioning.")


def check_behavior(request: RespondWorkflowTaskCompletedRequest) -> None:
    """Check that only a worker of a version says how the workflow behaves towards versions.

    Raises:
        InvalidArgument: another does.
    """
    if request.versioning_behavior == VersioningBehavior.VERSIONING_BEHAVIOR_UNSPECIFIED:
        return
    if request.deployment_options.worker_versioning_mode != VERSIONED and not request.HasField("deployment"):
        raise InvalidArgument(
            "versioning behavior cannot be specified without deployment options being set with versioned mode"
        )
