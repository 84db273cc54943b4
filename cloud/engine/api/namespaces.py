"""Namespaces: registered, described, listed, changed, deprecated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import ArchivalState, NamespaceState, ReplicationState
from temporalio.api.errordetails.v1 import NamespaceAlreadyExistsFailure
from temporalio.api.namespace.v1 import BadBinaries, NamespaceConfig, NamespaceInfo
from temporalio.api.replication.v1 import ClusterReplicationConfig, NamespaceReplicationConfig
from temporalio.api.workflowservice.v1 import (
    DeprecateNamespaceRequest,
    DeprecateNamespaceResponse,
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    ListNamespacesRequest,
    ListNamespacesResponse,
    RegisterNamespaceRequest,
    RegisterNamespaceResponse,
    UpdateNamespaceRequest,
    UpdateNamespaceResponse,
)

from cloud.engine.api import checks
from cloud.engine.api.batch_checks import batches_of_activities
from cloud.engine.core.clock import SECOND, duration, fit, to_ns
from cloud.engine.core.errors import Invalid
from cloud.engine.runtime.dynamic_config import (
    CANCEL_POLLS_ON_SHUTDOWN,
    STANDALONE_ACTIVITIES,
    STANDALONE_ACTIVITY_OPERATOR_COMMANDS,
    STANDALONE_NEXUS_OPERATIONS,
    WORKER_HEARTBEATS,
    WORKFLOW_PAUSE,
)
from cloud.engine.runtime.namespaces import (
    DELETED,
    DEPRECATED,
    REGISTERED,
    Namespace,
    NamespaceExists,
    NoSuchNamespace,
)
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.tokens import LIST_PAGE, BadToken, ListPageToken
from cloud.rpc import AlreadyExists, CallContext, InvalidArgument, Unimplemented

CLUSTER = "active"
"""The real server's name for a cluster that is alone."""

NOT_SET = "Namespace not set on request."
PAGE_SIZE_MAX = 1_000
RETENTION_MIN = 3_600 * SECOND
"""What the development server accepts; a control plane may ask for more."""

NAME_BYTES_MAX = 200
"""A deleted namespace is renamed to its name and up to 45 characters more, and the store keeps 255."""

TEXT_BYTES_MAX = 64 * 1024
"""Description, owner and data together: the records of all namespaces are in memory."""

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")


class NamespaceMethods:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def register_namespace(
        self, request: RegisterNamespaceRequest, context: CallContext
    ) -> RegisterNamespaceResponse:
        """Make a namespace."""
        if not request.namespace:
            raise InvalidArgument(NOT_SET)
        _check_retention(request.workflow_execution_retention_period)
        retention = to_ns(request.workflow_execution_retention_period)
        _check_name(request.namespace)
        if request.is_global_namespace:
            raise InvalidArgument("Cannot register global namespace when not enabled")
        _check_clusters(request.active_cluster_name, request.clusters)
        namespace = Namespace(
            namespace_id=self._runtime.ids.request_id(),
            name=request.namespace,
            description=request.description,
            owner_email=request.owner_email,
            data=dict(request.data),
            retention=retention,
            created_at=self._runtime.clock.now(),
        )
        _check_texts(namespace)
        try:
            await self._runtime.namespaces.create(namespace, self._runtime.lease.epoch)
        except NamespaceExists:
            name = json.dumps(request.namespace)
            raise AlreadyExists(f"Namespace {name} already exists", NamespaceAlreadyExistsFailure()) from None
        return RegisterNamespaceResponse()

    async def describe_namespace(
        self, request: DescribeNamespaceRequest, context: CallContext
    ) -> DescribeNamespaceResponse:
        """A namespace by its name or its id; by its id also while it is being deleted."""
        if request.namespace and request.id:
            raise InvalidArgument("GetNamespace operation failed.  Both ID and Name specified in request.")
        found = self._runtime.namespaces.by_id(request.id) if request.id else self._named(request.namespace)
        return self._description(found)

    async def list_namespaces(
        self, request: ListNamespacesRequest, context: CallContext
    ) -> ListNamespacesResponse:
        """A page of all namespaces, by name."""
        size = min(request.page_size, PAGE_SIZE_MAX) if request.page_size > 0 else PAGE_SIZE_MAX
        after = ""
        if request.next_page_token:
            try:
                token: ListPageToken = self._runtime.tokens.read(
                    request.next_page_token, LIST_PAGE, "", ListPageToken
                )
            except BadToken:
                raise InvalidArgument("Invalid NextPageToken.") from None
            after = token.cursor.decode()
        shown = [
            namespace
            for namespace in self._runtime.namespaces.all()
            if namespace.name > after
            and (namespace.state != DELETED or request.namespace_filter.include_deleted)
        ]
        response = ListNamespacesResponse(
            namespaces=[self._description(namespace) for namespace in shown[:size]]
        )
        if len(shown) > size:
            response.next_page_token = self._runtime.tokens.make(
                LIST_PAGE, "", ListPageToken(b"", shown[size - 1].name.encode())
            )
        return response

    async def update_namespace(
        self, request: UpdateNamespaceRequest, context: CallContext
    ) -> UpdateNamespaceResponse:
        """Change what is set in the request; what this service does not have is refused, not passed over."""
        registry = self._runtime.namespaces
        self._named(request.namespace)
        _check_update(request)
        async with registry.changing:
            found = self._named(request.namespace)
            changed = _updated(found, request)
            if changed != found:
                await registry.update(changed, self._runtime.lease.epoch)
                self._runtime.refresh_namespace(changed)
        described = self._description(changed)
        return UpdateNamespaceResponse(
            namespace_info=described.namespace_info,
            config=described.config,
            replication_config=described.replication_config,
        )

    async def deprecate_namespace(
        self, request: DeprecateNamespaceRequest, context: CallContext
    ) -> DeprecateNamespaceResponse:
        """Let a namespace take no new workflows."""
        registry = self._runtime.namespaces
        self._named(request.namespace)
        async with registry.changing:
            await registry.deprecate(self._named(request.namespace), self._runtime.lease.epoch)
            self._runtime.refresh_namespace(registry.by_name(request.namespace))
        return DeprecateNamespaceResponse()

    def _named(self, name: str) -> Namespace:
        if not name:
            raise InvalidArgument(NOT_SET)
        checks.check_length(name, "Namespace", self._runtime.limits)
        found = self._runtime.namespaces.by_name(name)
        if found.state == DELETED:
            raise NoSuchNamespace(name)
        return found

    def _description(self, namespace: Namespace) -> DescribeNamespaceResponse:
        limits = self._runtime.limits
        standalone = self._runtime.dynamic_config.on(STANDALONE_ACTIVITIES)
        return DescribeNamespaceResponse(
            namespace_info=NamespaceInfo(
                name=namespace.name,
                id=namespace.namespace_id,
                state=NamespaceState.ValueType(namespace.state),
                description=namespace.description,
                owner_email=namespace.owner_email,
                data=namespace.data,
                # One by one, as each of them works.
                capabilities=NamespaceInfo.Capabilities(
                    eager_workflow_start=True,
                    sync_update=True,
                    async_update=True,
                    poller_autoscaling=True,
                    workflow_pause=self._runtime.dynamic_config.on(WORKFLOW_PAUSE),
                    reported_problems_search_attribute=True,
                    standalone_activities=standalone,
                    standalone_activity_start_delay=standalone,
                    standalone_activity_operator_commands=(
                        standalone and self._runtime.dynamic_config.on(STANDALONE_ACTIVITY_OPERATOR_COMMANDS)
                    ),
                    standalone_activity_batch_operations=batches_of_activities(self._runtime),
                    standalone_nexus_operation=self._runtime.dynamic_config.on(STANDALONE_NEXUS_OPERATIONS),
                    worker_heartbeats=self._runtime.dynamic_config.on(WORKER_HEARTBEATS),
                    worker_poll_complete_on_shutdown=self._runtime.dynamic_config.on(
                        CANCEL_POLLS_ON_SHUTDOWN
                    ),
                ),
                limits=NamespaceInfo.Limits(
                    blob_size_limit_error=limits.blob_size_error,
                    memo_size_limit_error=limits.memo_size_error,
                ),
                supports_schedules=True,
            ),
            config=NamespaceConfig(
                workflow_execution_retention_ttl=duration(namespace.retention),
                bad_binaries=BadBinaries(),
                history_archival_state=ArchivalState.ARCHIVAL_STATE_DISABLED,
                visibility_archival_state=ArchivalState.ARCHIVAL_STATE_DISABLED,
            ),
            replication_config=NamespaceReplicationConfig(
                active_cluster_name=CLUSTER,
                clusters=[ClusterReplicationConfig(cluster_name=CLUSTER)],
                state=ReplicationState.REPLICATION_STATE_NORMAL,
            ),
        )


def _check_name(name: str) -> None:
    """The real server takes any characters; these are what headers, file names and certificates can carry."""
    if len(name.encode()) > NAME_BYTES_MAX:
        raise InvalidArgument("Namespace length exceeds limit.")
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"Namespace name {name!r} is invalid: letters, digits, '-', '_' and '.', beginning with a letter or digit."
        )


def _check_retention(retention: Duration) -> None:
    refusal = InvalidArgument("A valid retention period is not set on request.")
    try:
        fit(retention)
    except Invalid:
        raise refusal from None
    if to_ns(retention) < RETENTION_MIN:
        raise refusal


def _check_texts(namespace: Namespace) -> None:
    texts = (namespace.description, namespace.owner_email, *namespace.data, *namespace.data.values())
    size = sum(len(text.encode()) for text in texts)
    if size > TEXT_BYTES_MAX:
        raise InvalidArgument(
            f"Description, owner and data of namespace {namespace.name} have {size} bytes, the limit is {TEXT_BYTES_MAX}."
        )


def _check_clusters(active: str, clusters: Iterable[ClusterReplicationConfig]) -> None:
    for name in (active, *(cluster.cluster_name for cluster in clusters)):
        if name not in {"", CLUSTER}:
            raise InvalidArgument(f"Invalid cluster name: {name}")


def _check_update(request: UpdateNamespaceRequest) -> None:
    if request.promote_namespace:
        raise InvalidArgument(
            "global namespace is not enabled on this cluster, cannot update global namespace or promote local "
            f"namespace: {request.namespace}"
        )
    _check_clusters(request.replication_config.active_cluster_name, request.replication_config.clusters)
    if request.delete_bad_binary:
        raise InvalidArgument(f"Bad binary checksum {request.delete_bad_binary} doesn't exists.")
    if request.config.bad_binaries.binaries:
        raise Unimplemented(
            "Bad binaries are not kept here: reset the workflows concerned, or use worker versioning."
        )
    if request.config.custom_search_attribute_aliases:
        raise Unimplemented(
            "Search attributes have no aliases here: define them by their names with OperatorService.AddSearchAttributes."
        )
    if request.config.HasField("workflow_execution_retention_ttl"):
        _check_retention(request.config.workflow_execution_retention_ttl)


def _updated(found: Namespace, request: UpdateNamespaceRequest) -> Namespace:
    changed = found
    if request.HasField("update_info"):
        info = request.update_info
        changed = replace(
            changed,
            description=info.description or changed.description,
            owner_email=info.owner_email or changed.owner_email,
            data={**changed.data, **info.data},
            state=_updated_state(found.state, info.state),
        )
        _check_texts(changed)
    if request.config.HasField("workflow_execution_retention_ttl"):
        changed = replace(changed, retention=to_ns(request.config.workflow_execution_retention_ttl))
    return changed


def _updated_state(state: int, wanted: int) -> int:
    """The real server lets a caller set DELETED too, which leaves the runs behind: that is DeleteNamespace's to do."""
    if wanted in {NamespaceState.NAMESPACE_STATE_UNSPECIFIED, state}:
        return state
    if (state, wanted) == (REGISTERED, DEPRECATED):
        return wanted
    raise InvalidArgument("Invalid namespace state update.")
