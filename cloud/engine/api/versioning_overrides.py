"""Versioning overrides: what a caller may ask for. Without worker deployments no version is present anywhere, so none can be pinned."""

from __future__ import annotations

from temporalio.api.deployment.v1 import Deployment
from temporalio.api.enums.v1 import VersioningBehavior
from temporalio.api.workflow.v1 import VersioningOverride

from cloud.rpc import FailedPrecondition, InvalidArgument

_B = VersioningBehavior


def check_override(override: VersioningOverride, task_queue: str) -> None:
    """Check the override of a workflow whose tasks go to `task_queue`.

    Raises:
        InvalidArgument: it is none.
        FailedPrecondition: the version that it pins to is not there.
    """
    which = override.WhichOneof("override")
    if which == "auto_upgrade":
        if not override.auto_upgrade:
            raise InvalidArgument("auto-upgrade override must be true")
    elif which == "pinned":
        if not override.pinned.HasField("version"):
            raise InvalidArgument("must provide version if override is pinned.")
        if not override.pinned.behavior:
            raise InvalidArgument("must specify pinned override behavior if override is pinned.")
        version = override.pinned.version
        raise _not_present(version.deployment_name, version.build_id, task_queue)
    elif which == "one_time":
        if not override.one_time.HasField("target_deployment_version"):
            raise InvalidArgument("must provide target deployment version if override is one-time.")
        version = override.one_time.target_deployment_version
        raise _not_present(version.deployment_name, version.build_id, task_queue)
    else:
        _check_older(override, task_queue)


def _check_older(override: VersioningOverride, task_queue: str) -> None:
    deployment: Deployment | None = override.deployment if override.HasField("deployment") else None
    if override.behavior == _B.VERSIONING_BEHAVIOR_PINNED:
        if deployment is not None:
            if not deployment.series_name:
                raise InvalidArgument("deployment name cannot be empty")
            if not deployment.build_id:
                raise InvalidArgument("build id cannot be empty")
            raise _not_present(deployment.series_name, deployment.build_id, task_queue)
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
        raise _not_present(name, build_id, task_queue)
    if override.behavior == _B.VERSIONING_BEHAVIOR_UNSPECIFIED:
        raise InvalidArgument("override behavior is required")
    if override.behavior != _B.VERSIONING_BEHAVIOR_AUTO_UPGRADE:
        raise InvalidArgument(f"override behavior {override.behavior} not recognized")
    if deployment is not None:
        raise InvalidArgument("only provide deployment if behavior is 'PINNED'")
    if override.pinned_version:
        raise InvalidArgument("only provide pinned version if behavior is 'PINNED'")


def _not_present(name: str, build_id: str, task_queue: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"Pinned version '{name}:{build_id}' is not present in task queue '{task_queue}' of type 'Workflow'"
    )
