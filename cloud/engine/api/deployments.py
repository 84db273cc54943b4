"""Worker deployments: described, listed, made and removed, their versions, and which of them gets the tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

from temporalio.api.deployment.v1 import VersionMetadata, WorkerDeploymentVersion
from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.errordetails.v1 import NotFoundFailure, ResourceExhaustedFailure
from temporalio.api.workflowservice.v1 import (
    CreateWorkerDeploymentRequest,
    CreateWorkerDeploymentResponse,
    CreateWorkerDeploymentVersionRequest,
    CreateWorkerDeploymentVersionResponse,
    DeleteWorkerDeploymentRequest,
    DeleteWorkerDeploymentResponse,
    DeleteWorkerDeploymentVersionRequest,
    DeleteWorkerDeploymentVersionResponse,
    DescribeWorkerDeploymentRequest,
    DescribeWorkerDeploymentResponse,
    DescribeWorkerDeploymentVersionRequest,
    DescribeWorkerDeploymentVersionResponse,
    ListWorkerDeploymentsRequest,
    ListWorkerDeploymentsResponse,
    SetWorkerDeploymentManagerRequest,
    SetWorkerDeploymentManagerResponse,
    UpdateWorkerDeploymentVersionComputeConfigRequest,
    UpdateWorkerDeploymentVersionComputeConfigResponse,
    UpdateWorkerDeploymentVersionMetadataRequest,
    UpdateWorkerDeploymentVersionMetadataResponse,
    ValidateWorkerDeploymentVersionComputeConfigRequest,
    ValidateWorkerDeploymentVersionComputeConfigResponse,
)

from cloud.engine.api import checks, deployment_views
from cloud.engine.api.task_queue_stats import QueueStats, total
from cloud.engine.core import deployment as rules
from cloud.engine.core.deployment import Deployment, NoChange, TooManyVersions, Version, Whole
from cloud.engine.core.errors import NotNow
from cloud.engine.core.versions import UNVERSIONED, build_of, deployment_of, from_older, older, version_of
from cloud.engine.runtime.deployments import AUTO_CREATED, Change, Deployments, NoSuchDeployment
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.task_queues import QueueKey
from cloud.rpc import AlreadyExists, CallContext, InvalidArgument, NotFound, ResourceExhausted

METADATA_BYTES_MAX = 256 * 1024
"""Metadata of one version: all versions are in memory."""

PAGE_SIZE_MAX = 1_000

_NAME_LENGTH_MAX = 480
"""Of a deployment's name, as of a build id: with both, half of an id of 1,000 and what the real server puts before it."""

_NO_CONFIG = "No prior compute config found, which means nothing can be removed and something needs to be added to be valid"


class DeploymentMethods:
    """See the module's head."""

    def __init__(self, runtime: Runtime, deployments: Deployments) -> None:
        self._runtime = runtime
        self._deployments = deployments
        self._stats = QueueStats(runtime)

    # --- reads ---

    async def describe_worker_deployment(
        self, request: DescribeWorkerDeploymentRequest, context: CallContext
    ) -> DescribeWorkerDeploymentResponse:
        """A deployment with its routing and all its versions."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        check_part(request.deployment_name, "WorkerDeploymentName")
        whole = self._find(namespace, request.deployment_name)
        return DescribeWorkerDeploymentResponse(
            conflict_token=deployment_views.conflict_token(whole.deployment.conflict_token),
            worker_deployment_info=deployment_views.deployment_info(whole),
        )

    async def list_worker_deployments(
        self, request: ListWorkerDeploymentsRequest, context: CallContext
    ) -> ListWorkerDeploymentsResponse:
        """The namespace's deployments, the newest first."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        found = sorted(
            self._deployments.all(namespace),
            key=lambda whole: (-whole.deployment.created_at, whole.deployment.name),
        )
        size = request.page_size if 0 < request.page_size <= PAGE_SIZE_MAX else PAGE_SIZE_MAX
        start = 0
        if request.next_page_token:
            after = request.next_page_token.decode(errors="replace")
            names = [whole.deployment.name for whole in found]
            if after not in names:
                raise InvalidArgument("the page token is none of this list's; list again from the first page")
            start = names.index(after) + 1
        page = found[start : start + size]
        return ListWorkerDeploymentsResponse(
            worker_deployments=[deployment_views.listed(whole) for whole in page],
            next_page_token=page[-1].deployment.name.encode() if start + size < len(found) else b"",
        )

    async def describe_worker_deployment_version(
        self, request: DescribeWorkerDeploymentVersionRequest, context: CallContext
    ) -> DescribeWorkerDeploymentVersionResponse:
        """A version with its task queues, on demand with what waits in them."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        if not request.version and not request.HasField("deployment_version"):
            raise InvalidArgument("deployment version cannot be empty")
        text = _version_named(request.version, request.deployment_version)
        check_version(text)
        whole = self._runtime.routes.deployment(namespace.namespace_id, deployment_of(text))
        version = whole.version(text) if whole is not None else None
        if whole is None or version is None:
            raise NotFound("Worker Deployment Version not found", NotFoundFailure())
        response = DescribeWorkerDeploymentVersionResponse(
            worker_deployment_version_info=deployment_views.version_info(whole, version),
            version_task_queues=deployment_views.version_queues(version),
        )
        if request.report_task_queue_stats:
            for queue in response.version_task_queues:
                kind = deployment_views.KINDS[queue.type]
                key = QueueKey(namespace.namespace_id, queue.name, kind, text)
                by_level = await self._stats.of_version(key)
                queue.stats.CopyFrom(total(by_level))
                for level, stats in by_level.items():
                    queue.stats_by_priority_key[level].CopyFrom(stats)
        return response

    # --- deployments ---

    async def create_worker_deployment(
        self, request: CreateWorkerDeploymentRequest, context: CallContext
    ) -> CreateWorkerDeploymentResponse:
        """Make a deployment before its first worker comes."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        name = request.deployment_name
        if not name:
            raise InvalidArgument("deployment name cannot be empty")
        check_part(name, "WorkerDeploymentName")
        request_id = request.request_id or self._runtime.ids.request_id()
        checks.check_length(request_id, "RequestId", self._runtime.limits)
        checks.check_length(request.identity, "Identity", self._runtime.limits)
        now = self._runtime.clock.now()

        def make() -> Deployment:
            return Deployment(name, now, request_id, conflict_token=now, last_modifier=request.identity)

        found = self._runtime.routes.deployment(namespace.namespace_id, name)
        if found is None:
            async with self._changing(namespace, name, make=make) as change:
                found = change.whole
        made_by = found.deployment.create_request_id
        if made_by != request_id:
            how = " (auto-created from worker polls)" if made_by.startswith(AUTO_CREATED) else ""
            raise AlreadyExists(f'Worker Deployment with name "{name}" already exists{how}')
        return CreateWorkerDeploymentResponse(
            conflict_token=deployment_views.conflict_token(found.deployment.conflict_token)
        )

    async def delete_worker_deployment(
        self, request: DeleteWorkerDeploymentRequest, context: CallContext
    ) -> DeleteWorkerDeploymentResponse:
        """Remove a deployment without versions; one that is not there is removed already."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        check_part(request.deployment_name, "WorkerDeploymentName")
        try:
            async with self._deployments.changing(namespace, request.deployment_name) as change:
                if change.whole.versions:
                    raise NotNow("deployment has versions, can't be deleted")
                change.removed = True
        except NoSuchDeployment:
            pass
        return DeleteWorkerDeploymentResponse()

    async def set_worker_deployment_manager(
        self, request: SetWorkerDeploymentManagerRequest, context: CallContext
    ) -> SetWorkerDeploymentManagerResponse:
        """Say who alone may change the routing."""
        if not request.identity:
            raise InvalidArgument("Identity is required")
        namespace = checks.namespace_of(self._runtime, request.namespace)
        name = request.deployment_name
        check_part(name, "WorkerDeploymentName")
        manager = request.identity if request.self else request.manager_identity
        checks.check_length(manager, "ManagerIdentity", self._runtime.limits)
        checks.check_length(request.identity, "Identity", self._runtime.limits)
        response = SetWorkerDeploymentManagerResponse()
        try:
            async with self._deployments.changing(namespace, name) as change:
                rules.check_manager(
                    change.whole,
                    manager,
                    identity=request.identity,
                    conflict_token=deployment_views.read_conflict_token(request.conflict_token),
                )
                response.previous_manager_identity = rules.set_manager(
                    change.whole, manager, identity=request.identity, now=self._runtime.clock.now()
                )
                token = change.whole.deployment.conflict_token
        except NoSuchDeployment:
            _no_workflow(f"temporal-sys-worker-deployment:{name}")
        except NoChange:
            response.previous_manager_identity = manager
            token = self._find(namespace, name).deployment.conflict_token
        response.conflict_token = deployment_views.conflict_token(token)
        return response

    # --- versions ---

    async def create_worker_deployment_version(
        self, request: CreateWorkerDeploymentVersionRequest, context: CallContext
    ) -> CreateWorkerDeploymentVersionResponse:
        """Make a version before its first worker comes."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        name, build_id = request.deployment_version.deployment_name, request.deployment_version.build_id
        _check_not_empty(request.deployment_version)
        check_part(name, "WorkerDeploymentName")
        check_part(build_id, "BuildID")
        checks.check_length(request.request_id, "RequestId", self._runtime.limits)
        checks.check_length(request.identity, "Identity", self._runtime.limits)
        request_id = request.request_id or self._runtime.ids.request_id()
        found = self._find(namespace, name).versions.get(build_id)
        if found is None and request.HasField("compute_config"):
            self._refuse_compute_config(request.compute_config.scaling_groups)
        if found is None:
            now = self._runtime.clock.now()
            async with self._changing(namespace, name) as change:
                found = change.whole.versions.get(build_id)
                if found is None:
                    found = self._deployments.add_version(
                        namespace,
                        change,
                        Version(
                            build_id,
                            now,
                            rules.CREATED,
                            last_modifier=request.identity,
                            create_request_id=request_id,
                        ),
                    )
        if found.create_request_id != request_id:
            raise AlreadyExists(f'Worker Deployment Version "{name}.{build_id}" already exists')
        return CreateWorkerDeploymentVersionResponse()

    async def delete_worker_deployment_version(
        self, request: DeleteWorkerDeploymentVersionRequest, context: CallContext
    ) -> DeleteWorkerDeploymentVersionResponse:
        """Remove a version that no worker polls for and no run needs; one that is not there is removed already."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        text = _version_named(
            "" if request.HasField("deployment_version") else request.version, request.deployment_version
        )
        check_part(deployment_of(text), "WorkerDeploymentName")
        try:
            async with self._deployments.changing(namespace, deployment_of(text)) as change:
                version = change.whole.version(text)
                if version is not None:
                    self._remove(namespace, change, version, request)
        except NoSuchDeployment:
            _no_workflow(f"temporal-sys-worker-deployment:{deployment_of(text)}")
        return DeleteWorkerDeploymentVersionResponse()

    def _remove(
        self,
        namespace: Namespace,
        change: Change,
        version: Version,
        request: DeleteWorkerDeploymentVersionRequest,
    ) -> None:
        rules.check_removal(
            change.whole, version, identity=request.identity, skip_drainage=request.skip_drainage
        )
        if self._deployments.has_pollers(namespace, change.whole, version):
            text = change.whole.text(version)
            raise NotNow(f"version '{text}' cannot be deleted since it has active pollers")
        self._deployments.remove_version(change, version)
        change.whole.deployment.last_modifier = request.identity

    async def update_worker_deployment_version_metadata(
        self, request: UpdateWorkerDeploymentVersionMetadataRequest, context: CallContext
    ) -> UpdateWorkerDeploymentVersionMetadataResponse:
        """Add, replace and remove entries of a version's metadata."""
        if not request.remove_entries and not request.upsert_entries:
            raise InvalidArgument("At least one of remove_entries or upsert_entries must be provided")
        namespace = checks.namespace_of(self._runtime, request.namespace)
        text = version_of(request.deployment_version) or _version_named(request.version, None)
        checks.check_length(request.identity, "Identity", self._runtime.limits)
        metadata = VersionMetadata()
        try:
            async with self._deployments.changing(namespace, deployment_of(text)) as change:
                version = change.whole.version(text)
                if version is None:
                    _no_workflow(f"temporal-sys-worker-deployment-version:{text}")
                metadata.ParseFromString(version.metadata)
                for key, value in request.upsert_entries.items():
                    metadata.entries[key].CopyFrom(value)
                for key in request.remove_entries:
                    metadata.entries.pop(key, None)
                if metadata.ByteSize() > METADATA_BYTES_MAX:
                    raise InvalidArgument(
                        f"the version's metadata would have {metadata.ByteSize()} bytes, the limit is {METADATA_BYTES_MAX}"
                    )
                version.metadata = metadata.SerializeToString()
                version.last_modifier = request.identity
        except NoSuchDeployment:
            _no_workflow(f"temporal-sys-worker-deployment-version:{text}")
        return UpdateWorkerDeploymentVersionMetadataResponse(metadata=metadata)

    # --- workers that the service would start: there is no provider of any, as on the real server by itself ---

    async def update_worker_deployment_version_compute_config(
        self, request: UpdateWorkerDeploymentVersionComputeConfigRequest, context: CallContext
    ) -> UpdateWorkerDeploymentVersionComputeConfigResponse:
        """Say what starts a version's workers: nothing that could is there, so only removals are accepted."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        _check_not_empty(request.deployment_version)
        text = version_of(request.deployment_version)
        whole = self._runtime.routes.deployment(namespace.namespace_id, deployment_of(text))
        if whole is None or whole.version(text) is None:
            _no_version(text)
        if not request.remove_compute_config_scaling_groups:
            self._refuse_compute_config(request.compute_config_scaling_groups)
        return UpdateWorkerDeploymentVersionComputeConfigResponse()

    async def validate_worker_deployment_version_compute_config(
        self, request: ValidateWorkerDeploymentVersionComputeConfigRequest, context: CallContext
    ) -> ValidateWorkerDeploymentVersionComputeConfigResponse:
        """Whether something could start a version's workers: nothing can."""
        checks.namespace_of(self._runtime, request.namespace)
        if not request.compute_config_scaling_groups:
            raise InvalidArgument(_NO_CONFIG)
        self._refuse_compute_config(request.compute_config_scaling_groups)
        return ValidateWorkerDeploymentVersionComputeConfigResponse()

    @staticmethod
    def _refuse_compute_config(groups: object) -> None:
        names = sorted(groups)  # type: ignore[call-overload]
        if not names:
            raise InvalidArgument(_NO_CONFIG)
        raise InvalidArgument(f"entry {names[0]}: invalid compute provider type ''")

    # --- shared ---

    def _find(self, namespace: Namespace, name: str) -> Whole:
        try:
            return self._deployments.find(namespace, name)
        except NoSuchDeployment:
            no_deployment(name)

    @asynccontextmanager
    async def _changing(
        self, namespace: Namespace, name: str, *, make: object = None
    ) -> AsyncIterator[Change]:
        try:
            async with self._deployments.changing(namespace, name, make=make) as change:  # type: ignore[arg-type]
                yield change
        except NoSuchDeployment:
            no_deployment(name)
        except TooManyVersions as error:
            raise limit_reached(error) from error


def no_deployment(name: str) -> NoReturn:
    """Raise NotFound for a deployment that is not there."""
    raise NotFound(
        f"no Worker Deployment found with name '{name}'; does your Worker Deployment have pollers?",
        NotFoundFailure(),
    )


def _no_version(text: str) -> NoReturn:
    raise NotFound(
        f"build ID '{build_of(text)}' not found in Worker Deployment '{deployment_of(text)}'",
        NotFoundFailure(),
    )


def _no_workflow(workflow_id: str) -> NoReturn:
    """The real server keeps deployments in workflows, and here says so."""
    raise NotFound(f"workflow not found for ID: {workflow_id}", NotFoundFailure())


def limit_reached(error: TooManyVersions) -> ResourceExhausted:
    """The refusal of what goes beyond a limit of deployments."""
    return ResourceExhausted(
        str(error),
        ResourceExhaustedFailure(
            cause=ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_WORKER_DEPLOYMENT_LIMITS,
            scope=ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE,
        ),
    )


def check_part(value: str, what: str) -> None:
    """Check a deployment's name (`what` is WorkerDeploymentName) or a build id (BuildID).

    Raises:
        InvalidArgument: it can be none.
    """
    if not value:
        raise InvalidArgument(f"{what} cannot be empty")
    if len(value.encode()) > _NAME_LENGTH_MAX:
        raise InvalidArgument(f"size of {what} larger than the maximum allowed")
    checks.check_no_nul(value, what)
    if what == "WorkerDeploymentName":
        for delimiter in (".", ":"):
            if delimiter in value:
                raise InvalidArgument(f"worker deployment name cannot contain '{delimiter}'")
    if value.startswith("__"):
        raise InvalidArgument(f"{what} cannot start with '__'")


def check_version(text: str) -> None:
    """Check both parts of a version.

    Raises:
        InvalidArgument: it can be none.
    """
    check_part(deployment_of(text), "WorkerDeploymentName")
    check_part(build_of(text), "BuildID")


def _check_not_empty(version: WorkerDeploymentVersion) -> None:
    if not version.deployment_name:
        raise InvalidArgument("deployment name cannot be empty")
    if not version.build_id:
        raise InvalidArgument("build ID cannot be empty")


def _version_named(text: str, version: WorkerDeploymentVersion | None) -> str:
    text = text or (older(version_of(version)) if version is not None else UNVERSIONED)
    try:
        return from_older(text)
    except ValueError:
        raise InvalidArgument(
            f'invalid version string "{text}", expected format is "<deployment_name>.<build_id>"'
        ) from None
