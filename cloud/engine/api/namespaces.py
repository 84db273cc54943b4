"""Namespaces: registered, described, listed, changed, deprecated."""

from __future__ import annotations

import re
from dataclasses import replace

from temporalio.api.enums.v1 import ArchivalState, NamespaceState
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

from cloud.engine.core.clock import duration, to_ns
from cloud.engine.runtime.namespaces import (
    DAY,
    DELETED,
    Namespace,
    NamespaceExists,
    NoSuchNamespace,
)
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.tokens import LIST_PAGE, ListPageToken
from cloud.rpc import AlreadyExists, CallContext, InvalidArgument

CLUSTER = "active"
"""The real server's name for a cluster that is alone."""

NOT_SET = "Namespace not set on request."
PAGE_SIZE_MAX = 1_000
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,253}")


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
        if not _NAME.fullmatch(request.namespace):
            raise InvalidArgument(
                f"Namespace name {request.namespace[:64]!r} is invalid: letters, digits, '-', '_' and '.', at most 254."
            )
        retention = to_ns(request.workflow_execution_retention_period)
        _check_retention(retention)
        namespace = Namespace(
            namespace_id=self._runtime.ids.request_id(),
            name=request.namespace,
            description=request.description,
            owner_email=request.owner_email,
            data=dict(request.data),
            retention=retention,
            created_at=self._runtime.clock.now(),
        )
        try:
            await self._runtime.namespaces.create(namespace, self._runtime.lease.epoch)
        except NamespaceExists:
            raise AlreadyExists("Namespace already exists.", NamespaceAlreadyExistsFailure()) from None
        return RegisterNamespaceResponse()

    async def describe_namespace(
        self, request: DescribeNamespaceRequest, context: CallContext
    ) -> DescribeNamespaceResponse:
        """A namespace by its name or its id."""
        found = self._find(request.namespace, request.id)
        return DescribeNamespaceResponse(
            namespace_info=self._info(found),
            config=_config(found),
            replication_config=_replication(),
        )

    async def list_namespaces(
        self, request: ListNamespacesRequest, context: CallContext
    ) -> ListNamespacesResponse:
        """A page of all namespaces, by name."""
        size = min(request.page_size or PAGE_SIZE_MAX, PAGE_SIZE_MAX)
        after = ""
        if request.next_page_token:
            token: ListPageToken = self._runtime.tokens.read(
                request.next_page_token, LIST_PAGE, "", ListPageToken
            )
            after = token.cursor.decode()
        shown = [
            namespace
            for namespace in self._runtime.namespaces.all()
            if namespace.name > after
            and (namespace.state != DELETED or request.namespace_filter.include_deleted)
        ]
        response = ListNamespacesResponse()
        for namespace in shown[:size]:
            response.namespaces.append(
                DescribeNamespaceResponse(
                    namespace_info=self._info(namespace),
                    config=_config(namespace),
                    replication_config=_replication(),
                )
            )
        if len(shown) > size:
            response.next_page_token = self._runtime.tokens.make(
                LIST_PAGE, "", ListPageToken(b"", shown[size - 1].name.encode())
            )
        return response

    async def update_namespace(
        self, request: UpdateNamespaceRequest, context: CallContext
    ) -> UpdateNamespaceResponse:
        """Change what is set in the request."""
        found = self._find(request.namespace, "")
        changed = found
        if request.HasField("update_info"):
            info = request.update_info
            changed = replace(
                changed,
                description=info.description or changed.description,
                owner_email=info.owner_email or changed.owner_email,
                data={**changed.data, **info.data},
            )
        if request.HasField("config") and request.config.HasField("workflow_execution_retention_ttl"):
            retention = to_ns(request.config.workflow_execution_retention_ttl)
            _check_retention(retention)
            changed = replace(changed, retention=retention)
        if changed != found:
            await self._runtime.namespaces.update(changed, self._runtime.lease.epoch)
            self._runtime.refresh_namespace(changed)
        return UpdateNamespaceResponse(
            namespace_info=self._info(changed), config=_config(changed), replication_config=_replication()
        )

    async def deprecate_namespace(
        self, request: DeprecateNamespaceRequest, context: CallContext
    ) -> DeprecateNamespaceResponse:
        """Let a namespace take no new workflows."""
        found = self._find(request.namespace, "")
        await self._runtime.namespaces.deprecate(found, self._runtime.lease.epoch)
        return DeprecateNamespaceResponse()

    def _find(self, name: str, namespace_id: str) -> Namespace:
        if namespace_id:
            return self._runtime.namespaces.by_id(namespace_id)
        if not name:
            raise InvalidArgument(NOT_SET)
        found = self._runtime.namespaces.by_name(name)
        if found.state == DELETED:
            raise NoSuchNamespace(name)
        return found

    def _info(self, namespace: Namespace) -> NamespaceInfo:
        limits = self._runtime.limits
        return NamespaceInfo(
            name=namespace.name,
            id=namespace.namespace_id,
            state=NamespaceState.ValueType(namespace.state),
            description=namespace.description,
            owner_email=namespace.owner_email,
            data=namespace.data,
            # One by one, as each of them works.
            capabilities=NamespaceInfo.Capabilities(eager_workflow_start=True),
            limits=NamespaceInfo.Limits(
                blob_size_limit_error=limits.blob_size_error, memo_size_limit_error=limits.memo_size_error
            ),
            supports_schedules=False,
        )


def _check_retention(retention: int) -> None:
    if retention < DAY:
        raise InvalidArgument(
            "A valid retention period is not set on request: at least one day (86400s) is needed."
        )


def _config(namespace: Namespace) -> NamespaceConfig:
    return NamespaceConfig(
        workflow_execution_retention_ttl=duration(namespace.retention),
        bad_binaries=BadBinaries(),
        history_archival_state=ArchivalState.ARCHIVAL_STATE_DISABLED,
        visibility_archival_state=ArchivalState.ARCHIVAL_STATE_DISABLED,
    )


def _replication() -> NamespaceReplicationConfig:
    return NamespaceReplicationConfig(
        active_cluster_name=CLUSTER, clusters=[ClusterReplicationConfig(cluster_name=CLUSTER)]
    )
