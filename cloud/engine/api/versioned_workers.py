"""What workers say of their version when they poll and when they answer."""

from __future__ import annotations

from temporalio.api.deployment.v1 import WorkerDeploymentOptions
from temporalio.api.enums.v1 import TaskQueueKind, VersioningBehavior
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
)

from cloud.engine.api import checks
from cloud.engine.api.deployments import check_part, limit_reached
from cloud.engine.core.completion import VERSIONED, version_of_worker
from cloud.engine.core.deployment import TooManyVersions
from cloud.engine.runtime.deployments import Deployments
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.rpc import InvalidArgument

_STICKY = TaskQueueKind.TASK_QUEUE_KIND_STICKY


class VersionedWorkers:
    """Workers of a version register with their first poll of a queue."""

    def __init__(self, runtime: Runtime, deployments: Deployments) -> None:
        self._runtime = runtime
        self._deployments = deployments

    async def version_of_poll(
        self,
        namespace: Namespace,
        request: PollWorkflowTaskQueueRequest | PollActivityTaskQueueRequest,
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
            raise InvalidArgument(
                "NormalName must be set on sticky queue when UseVersioning is true or DeploymentOptions are set."
            )
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
