"""Versioning overrides: what a caller may ask for. A run can be pinned to a version whose workers poll its queue, or did."""

from __future__ import annotations

from temporalio.api.deployment.v1 import Deployment, WorkerDeploymentVersion
from temporalio.api.enums.v1 import VersioningBehavior
from temporalio.api.workflow.v1 import VersioningOverride

from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.rows import WORKFLOW_TASK
from cloud.rpc import FailedPrecondition, InvalidArgument

_B = VersioningBehavior


def check_override(
    runtime: Runtime, namespace: Namespace, override: VersioningOverride, task_queue: str
) -> None:
    """Check the override of a workflow whose tasks go to `task_queue`. The version that it pins to is expected to be in use again.

    Raises:
        InvalidArgument: it is none.
        FailedPrecondition: the version that it pins to is not there.
    """
    version = _checked(override)
    if version is None:
        return
    if not runtime.routes.has(namespace.namespace_id, task_queue, WORKFLOW_TASK, version):
        raise FailedPrecondition(
            f"Pinned version '{version}' is not present in task queue '{task_queue}' of type 'Workflow'"
        )
    runtime.expect_version(namespace, version)


def _checked(override: VersioningOverride) -> str | None:
    """The version that an override of a right form pins to, None if it pins to none."""
    which = override.WhichOneof("override")
    if which == "auto_upgrade":
        if not override.auto_upgrade:
            raise InvalidArgument("auto-upgrade override must be true")
    elif which == "pinned":
        if not override.pinned.HasField("version"):
            raise InvalidArgument("must provide version if override is pinned.")
        if not override.pinned.behavior:
            raise InvalidArgument("must specify pinned override behavior if override is pinned.")
        return _named(override.pinned.version)
    elif which == "one_time":
        if not override.one_time.HasField("target_deployment_version"):
            raise InvalidArgument("must provide target deployment version if override is one-time.")
        return _named(override.one_time.target_deployment_version)
    else:
        return _checked_older(override)
    return None


def _named(version: WorkerDeploymentVersion) -> str:
    return f"{version.deployment_name}:{version.build_id}"


def _checked_older(override: VersioningOverride) -> str | None:
    deployment: Deployment | None = override.deployment if override.HasField("deployment") else None
    if override.behavior == _B.VERSIONING_BEHAVIOR_PINNED:
        if deployment is not None:
            if not deployment.series_name:
                raise InvalidArgument("deployment name cannot be empty")
            if not deployment.build_id:
                raise InvalidArgument("build id cannot be empty")
            return f"{deployment.series_name}:{deployment.build_id}"
        if not override.pinned_version:
            raise InvalidArgument(
                "must provide deployment (deprecated) or pinned version if behavior is 'PINNED'"
            )
        name, dot, build_id = override.pinned_version.partition(".")
        if not dot or not name or not build_id:
            raise InvalidArgument(
                f'invalid version string "{override.pinned_version}", '
                'expected format is "<deployment_name>.<build_id>"'
            )
        return f"{name}:{build_id}"
    if override.behavior == _B.VERSIONING_BEHAVIOR_UNSPECIFIED:
        raise InvalidArgument("override behavior is required")
    if override.behavior != _B.VERSIONING_BEHAVIOR_AUTO_UPGRADE:
        raise InvalidArgument(f"override behavior {override.behavior} not recognized")
    if deployment is not None:
        raise InvalidArgument("only provide deployment if behavior is 'PINNED'")
    if override.pinned_version:
        raise InvalidArgument("only provide pinned version if behavior is 'PINNED'")
    return None
