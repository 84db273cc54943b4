"""Worker deployments as the API shows them: in messages of today's form and, beside it, of the older one."""

from __future__ import annotations

import struct

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.deployment.v1 import (
    RoutingConfig,
    VersionDrainageInfo,
    VersionMetadata,
    WorkerDeploymentInfo,
    WorkerDeploymentVersionInfo,
)
from temporalio.api.enums.v1 import (
    RoutingConfigUpdateState,
    TaskQueueType,
    VersionDrainageStatus,
    WorkerDeploymentVersionStatus,
)
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentVersionResponse,
    ListWorkerDeploymentsResponse,
)

from cloud.engine.core.clock import SECOND, timestamp
from cloud.engine.core.deployment import Drainage, Version, Whole, shown
from cloud.engine.core.versions import message_of, older
from cloud.engine.runtime.routes import NEXUS_TASK
from cloud.engine.store.rows import ACTIVITY_TASK, WORKFLOW_TASK

QUEUE_TYPES = {
    WORKFLOW_TASK: TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    ACTIVITY_TASK: TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
    NEXUS_TASK: TaskQueueType.TASK_QUEUE_TYPE_NEXUS,
}
KINDS = {queue_type: kind for kind, queue_type in QUEUE_TYPES.items()}

_TOKEN = struct.Struct(">BqIh")
_TOKEN_FORM, _TOKEN_ZONE = 1, -1
_YEAR_ONE = 62_135_596_800
"""Seconds from the year 1 to 1970."""

Summary = WorkerDeploymentInfo.WorkerDeploymentVersionSummary


def conflict_token(at: int) -> bytes:
    """The moment of a deployment's last change (ns) as the real server writes it: the binary form of Go's time."""
    return _TOKEN.pack(_TOKEN_FORM, at // SECOND + _YEAR_ONE, at % SECOND, _TOKEN_ZONE)


def read_conflict_token(token: bytes) -> int | None:
    """The moment that a token says (ns); None without a token, -1 for one that is none."""
    if not token:
        return None
    if len(token) != _TOKEN.size:
        return -1
    form, seconds, nanos, zone = _TOKEN.unpack(token)
    if (form, zone) != (_TOKEN_FORM, _TOKEN_ZONE):
        return -1
    return int((seconds - _YEAR_ONE) * SECOND + nanos)


def _time(at: int) -> Timestamp | None:
    return timestamp(at) if at else None


def routing_config(whole: Whole) -> RoutingConfig:
    """Which versions are current and ramping."""
    deployment = whole.deployment
    return RoutingConfig(
        current_version=older(deployment.current),
        current_deployment_version=message_of(deployment.current),
        current_version_changed_time=_time(deployment.current_changed_at),
        ramping_version=shown(deployment.ramping),
        ramping_deployment_version=message_of(deployment.ramping or ""),
        ramping_version_percentage=deployment.percentage,
        ramping_version_changed_time=_time(deployment.ramping_changed_at),
        ramping_version_percentage_changed_time=_time(deployment.percentage_changed_at),
        revision_number=deployment.revision,
    )


def _drainage(drainage: Drainage | None) -> VersionDrainageInfo | None:
    if drainage is None:
        return None
    return VersionDrainageInfo(
        status=VersionDrainageStatus.ValueType(drainage.status),
        last_changed_time=timestamp(drainage.changed_at),
        last_checked_time=timestamp(drainage.checked_at),
    )


def version_summary(whole: Whole, version: Version) -> Summary:
    """A version in short."""
    text = whole.text(version)
    return Summary(
        version=older(text),
        deployment_version=message_of(text),
        status=WorkerDeploymentVersionStatus.ValueType(version.status),
        create_time=timestamp(version.created_at),
        drainage_status=VersionDrainageStatus.ValueType(version.drainage.status if version.drainage else 0),
        drainage_info=_drainage(version.drainage),
        routing_update_time=_time(version.routing_changed_at),
        current_since_time=_time(version.current_since),
        ramping_since_time=_time(version.ramping_since),
        first_activation_time=_time(version.first_active_at),
        last_current_time=_time(version.last_current_at),
        last_deactivation_time=_time(version.deactivated_at),
    )


def _newest_first(whole: Whole) -> list[Version]:
    return sorted(whole.versions.values(), key=lambda version: -version.created_at)


def deployment_info(whole: Whole) -> WorkerDeploymentInfo:
    """A deployment with its versions, the newest first."""
    deployment = whole.deployment
    return WorkerDeploymentInfo(
        name=deployment.name,
        version_summaries=[version_summary(whole, version) for version in _newest_first(whole)],
        create_time=timestamp(deployment.created_at),
        routing_config=routing_config(whole),
        last_modifier_identity=deployment.last_modifier,
        manager_identity=deployment.manager,
        routing_config_update_state=RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_COMPLETED,
    )


def listed(whole: Whole) -> ListWorkerDeploymentsResponse.WorkerDeploymentSummary:
    """A deployment in a list."""
    deployment = whole.deployment
    summary = ListWorkerDeploymentsResponse.WorkerDeploymentSummary(
        name=deployment.name,
        create_time=timestamp(deployment.created_at),
        routing_config=routing_config(whole),
    )
    newest = _newest_first(whole)
    for name, version in (
        ("latest_version_summary", newest[0] if newest else None),
        ("current_version_summary", whole.version(deployment.current)),
        ("ramping_version_summary", whole.version(deployment.ramping or "")),
    ):
        if version is not None:
            getattr(summary, name).CopyFrom(version_summary(whole, version))
    return summary


def version_info(whole: Whole, version: Version) -> WorkerDeploymentVersionInfo:
    """A version with its task queues."""
    text = whole.text(version)
    info = WorkerDeploymentVersionInfo(
        version=older(text),
        deployment_version=message_of(text),
        status=WorkerDeploymentVersionStatus.ValueType(version.status),
        create_time=timestamp(version.created_at),
        routing_changed_time=_time(version.routing_changed_at),
        current_since_time=_time(version.current_since),
        ramping_since_time=_time(version.ramping_since),
        ramp_percentage=version.ramp_percentage,
        drainage_info=_drainage(version.drainage),
        last_modifier_identity=version.last_modifier,
        task_queue_infos=[
            WorkerDeploymentVersionInfo.VersionTaskQueueInfo(name=name, type=QUEUE_TYPES[kind])
            for name, kind in version.queues
        ],
    )
    if version.metadata:
        info.metadata.CopyFrom(VersionMetadata.FromString(version.metadata))
    return info


def version_queues(version: Version) -> list[DescribeWorkerDeploymentVersionResponse.VersionTaskQueue]:
    """The task queues of a version, without what waits in them."""
    return [
        DescribeWorkerDeploymentVersionResponse.VersionTaskQueue(name=name, type=QUEUE_TYPES[kind])
        for name, kind in version.queues
    ]
