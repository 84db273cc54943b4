"""Which version of a worker deployment is current, and which is ramping."""

from __future__ import annotations

from collections.abc import Callable

from temporalio.api.errordetails.v1 import NotFoundFailure
from temporalio.api.workflowservice.v1 import (
    SetWorkerDeploymentCurrentVersionRequest,
    SetWorkerDeploymentCurrentVersionResponse,
    SetWorkerDeploymentRampingVersionRequest,
    SetWorkerDeploymentRampingVersionResponse,
)

from cloud.engine.api import checks, deployment_views
from cloud.engine.api.deployments import check_part, limit_reached, no_deployment
from cloud.engine.core import deployment as rules
from cloud.engine.core.deployment import (
    Deployment,
    NoChange,
    NoSuchVersion,
    TooManyVersions,
    Version,
    Whole,
)
from cloud.engine.core.versions import UNVERSIONED, build_of, deployment_of, from_older, message_of
from cloud.engine.runtime.deployments import Change, Deployments, NoSuchDeployment
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.task_queues import QueueKey
from cloud.engine.store.reading import count_tasks
from cloud.rpc import CallContext, FailedPrecondition, InvalidArgument, NotFound


class DeploymentRouting:
    """See the module's head."""

    def __init__(self, runtime: Runtime, deployments: Deployments) -> None:
        self._runtime = runtime
        self._deployments = deployments

    async def set_worker_deployment_current_version(
        self, request: SetWorkerDeploymentCurrentVersionRequest, context: CallContext
    ) -> SetWorkerDeploymentCurrentVersionResponse:
        """Give a version all that is not pinned (but the share of a ramping one); without one, workers of no version."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        name = request.deployment_name
        if not name:
            raise InvalidArgument("deployment name cannot be empty")
        asked = request.version or (f"{name}.{request.build_id}" if request.build_id else UNVERSIONED)
        version = self._named(asked, name)
        check_part(name, "WorkerDeploymentName")
        checks.check_length(request.identity, "Identity", self._runtime.limits)
        now = self._runtime.clock.now()
        response = SetWorkerDeploymentCurrentVersionResponse()
        try:
            async with self._deployments.changing(
                namespace, name, make=self._make(name, request.allow_no_pollers)
            ) as change:
                whole = change.whole
                rules.check_current(
                    whole,
                    version,
                    identity=request.identity,
                    conflict_token=deployment_views.read_conflict_token(request.conflict_token),
                    allow_missing=request.allow_no_pollers,
                )
                self._add_missing(namespace, change, version, now)
                if not request.ignore_missing_task_queues:
                    await self._check_missing(namespace, whole, version, "current")
                before = whole.deployment.current
                rules.set_current(whole, version, identity=request.identity, now=now)
                token = whole.deployment.conflict_token
        except NoSuchDeployment:
            no_deployment(name)
        except NoSuchVersion:
            raise _not_found(version) from None
        except TooManyVersions as error:
            raise limit_reached(error) from error
        except NoChange:
            before = version
            token = self._token_of(namespace, name)
        response.conflict_token = deployment_views.conflict_token(token)
        response.previous_version = rules.shown(before)
        if before:
            response.previous_deployment_version.CopyFrom(message_of(before))  # type: ignore[arg-type]
        return response

    def _token_of(self, namespace: Namespace, name: str) -> int:
        """The conflict token of a deployment that was to be changed and stays as it is; one that is not there has none."""
        try:
            return self._deployments.find(namespace, name).deployment.conflict_token
        except NoSuchDeployment:
            return 0

    async def set_worker_deployment_ramping_version(
        self, request: SetWorkerDeploymentRampingVersionRequest, context: CallContext
    ) -> SetWorkerDeploymentRampingVersionResponse:
        """Give a version a share of what is not pinned; without a version and a share the ramp ends."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        name, percentage = request.deployment_name, request.percentage
        asked = request.version or (f"{name}.{request.build_id}" if request.build_id else "")
        if not asked and percentage > 0:
            asked = UNVERSIONED
        if asked == UNVERSIONED and percentage == 0 and not request.build_id:
            asked = ""
        if not 0 <= percentage <= 100:
            raise InvalidArgument("Percentage must be between 0 and 100 (inclusive)")
        version = self._named(asked, name) if asked else None
        check_part(name, "WorkerDeploymentName")
        checks.check_length(request.identity, "Identity", self._runtime.limits)
        now = self._runtime.clock.now()
        response = SetWorkerDeploymentRampingVersionResponse()
        before: str | None
        try:
            async with self._deployments.changing(
                namespace, name, make=self._make(name, request.allow_no_pollers)
            ) as change:
                whole = change.whole
                rules.check_ramping(
                    whole,
                    version,
                    percentage,
                    identity=request.identity,
                    conflict_token=deployment_views.read_conflict_token(request.conflict_token),
                    allow_missing=request.allow_no_pollers,
                )
                self._add_missing(namespace, change, version or "", now)
                before, share = whole.deployment.ramping, whole.deployment.percentage
                if version != before and not request.ignore_missing_task_queues:
                    await self._check_missing(namespace, whole, version or "", "ramping")
                rules.set_ramping(whole, version, percentage, identity=request.identity, now=now)
                token = whole.deployment.conflict_token
        except NoSuchDeployment:
            no_deployment(name)
        except NoSuchVersion:
            raise _not_found(version or "") from None
        except TooManyVersions as error:
            raise limit_reached(error) from error
        except NoChange:
            before, share = version, percentage
            token = self._token_of(namespace, name)
        response.conflict_token = deployment_views.conflict_token(token)
        response.previous_version = rules.shown(before)
        response.previous_percentage = share
        if before:
            response.previous_deployment_version.CopyFrom(message_of(before))  # type: ignore[arg-type]
        return response

    # --- shared ---

    @staticmethod
    def _named(asked: str, name: str) -> str:
        try:
            version = from_older(asked)
        except ValueError as error:
            raise InvalidArgument(f"invalid version string: {error}") from None
        if version and deployment_of(version) != name:
            raise InvalidArgument(f"invalid version string '{asked}' does not match deployment name '{name}'")
        return version

    def _make(self, name: str, allow: bool) -> Callable[[], Deployment] | None:
        if not allow:
            return None
        now = self._runtime.clock.now()
        request_id = self._runtime.ids.request_id()
        return lambda: Deployment(name, now, request_id, conflict_token=now)

    def _add_missing(self, namespace: Namespace, change: Change, version: str, now: int) -> None:
        if version and change.whole.version(version) is None:
            check_part(build_of(version), "BuildID")
            self._deployments.add_version(namespace, change, Version(build_of(version), now))

    async def _check_missing(self, namespace: Namespace, whole: Whole, version: str, role: str) -> None:
        """Refuse a version that lacks a queue of the current one which is in use, and which this deployment routes."""
        current = whole.deployment.current
        for name, kind in rules.missing_queues(whole, current, version):
            route = self._runtime.routes.of_queue(namespace.namespace_id, name, kind)
            if route is not None and route.current != current:
                continue
            if await self._in_use(QueueKey(namespace.namespace_id, name, kind), current):
                raise FailedPrecondition(
                    f"proposed {role} version '{version}' is missing active task queues from the current version; "
                    f"these would become unversioned if it is set as the {role} version"
                )

    async def _in_use(self, key: QueueKey, version: str) -> bool:
        now = self._runtime.clock.now()
        for lane in (key, key._replace(version=version)):
            queue = self._runtime.queues.find(lane)
            if queue is not None and queue.rates.total(now)[0]:
                return True
            stored = await self._runtime.database.list(
                key.namespace_id,
                lambda c, lane=lane: count_tasks(c, *lane),  # type: ignore[misc]
            )
            if stored:
                return True
        return False


def _not_found(version: str) -> NotFound:
    return NotFound(
        f"build ID '{build_of(version)}' not found in Worker Deployment '{deployment_of(version)}'",
        NotFoundFailure(),
    )
