"""OperatorService: search attributes, deletion of namespaces, clusters."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, delete, select
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    AddSearchAttributesResponse,
    ClusterMetadata,
    DeleteNamespaceRequest,
    DeleteNamespaceResponse,
    ListClustersRequest,
    ListClustersResponse,
    ListSearchAttributesRequest,
    ListSearchAttributesResponse,
    RemoveSearchAttributesRequest,
    RemoveSearchAttributesResponse,
)

from cloud.engine.api import checks
from cloud.engine.api.namespaces import CLUSTER
from cloud.engine.runtime.namespaces import DELETED, Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store import schema as s
from cloud.engine.store.visibility_attributes import PREDEFINED, SYSTEM
from cloud.engine.store.writing import check_epoch
from cloud.rpc import AlreadyExists, CallContext, InvalidArgument, NotFound

DELETE_PAGE_RUNS = 500


class Operator:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        runtime.at_start(self._resume_deletions)

    async def add_search_attributes(
        self, request: AddSearchAttributesRequest, context: CallContext
    ) -> AddSearchAttributesResponse:
        """Define search attributes; defining one again with its type changes nothing."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        if not request.search_attributes:
            raise InvalidArgument("SearchAttributes are not set on request.")
        types = dict(namespace.search_attributes)
        for name, kind in request.search_attributes.items():
            if name in SYSTEM or name in PREDEFINED:
                raise InvalidArgument(f"Search attribute {name} is reserved by system.")
            if kind == IndexedValueType.INDEXED_VALUE_TYPE_UNSPECIFIED:
                raise InvalidArgument(f"Unable to parse search attribute type of {name}: Unspecified.")
            if types.get(name, kind) != kind:
                raise AlreadyExists(f"Search attribute {name} already exists with another type.")
            types[name] = kind
        await self._change(replace(namespace, search_attributes=types))
        return AddSearchAttributesResponse()

    async def remove_search_attributes(
        self, request: RemoveSearchAttributesRequest, context: CallContext
    ) -> RemoveSearchAttributesResponse:
        """Forget search attributes; runs keep what they have, lists show it no more."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        if not request.search_attributes:
            raise InvalidArgument("SearchAttributes are not set on request.")
        types = dict(namespace.search_attributes)
        for name in request.search_attributes:
            if name in SYSTEM or name in PREDEFINED:
                raise InvalidArgument(f"Unable to remove non-custom search attributes: {name}.")
            if types.pop(name, None) is None:
                raise NotFound(f"Search attribute {name} doesn't exist.")
        await self._change(replace(namespace, search_attributes=types))
        return RemoveSearchAttributesResponse()

    async def list_search_attributes(
        self, request: ListSearchAttributesRequest, context: CallContext
    ) -> ListSearchAttributesResponse:
        """The namespace's own search attributes and the system's."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        return ListSearchAttributesResponse(
            custom_attributes={
                name: IndexedValueType.ValueType(kind) for name, kind in namespace.search_attributes.items()
            },
            system_attributes={
                name: IndexedValueType.ValueType(kind) for name, kind in {**SYSTEM, **PREDEFINED}.items()
            },
        )

    async def list_clusters(self, request: ListClustersRequest, context: CallContext) -> ListClustersResponse:
        """This cell, alone."""
        return ListClustersResponse(
            clusters=[
                ClusterMetadata(
                    cluster_name=CLUSTER,
                    cluster_id=self._runtime.cell_id,
                    history_shard_count=1,
                    is_connection_enabled=True,
                )
            ]
        )

    async def _change(self, namespace: Namespace) -> None:
        await self._runtime.namespaces.update(namespace, self._runtime.lease.epoch)
        self._runtime.refresh_namespace(namespace)

    # --- deletion of a namespace ---

    async def delete_namespace(
        self, request: DeleteNamespaceRequest, context: CallContext
    ) -> DeleteNamespaceResponse:
        """Delete a namespace with all its runs. The name is free at once, the rest follows in the background.

        Marked deleted first and under another name, so that a crash half-way leaves work that the next start finds.
        """
        registry = self._runtime.namespaces
        if request.namespace_id:
            found = registry.by_id(request.namespace_id)
        else:
            found = checks.namespace_of(self._runtime, request.namespace)
        if found.state != DELETED:
            deleted = replace(found, state=DELETED, name=f"{found.name}-deleted-{found.namespace_id[:5]}")
            await registry.rename(found, deleted, self._runtime.lease.epoch)
            self._runtime.refresh_namespace(deleted)
            found = deleted
            self._runtime.spawn(self._delete_all(found), "delete-namespace")
        return DeleteNamespaceResponse(deleted_namespace=found.name)

    async def _resume_deletions(self) -> None:
        for namespace in self._runtime.namespaces.all():
            if namespace.state == DELETED:
                self._runtime.spawn(self._delete_all(namespace), "delete-namespace")

    async def _delete_all(self, namespace: Namespace) -> None:
        runtime, epoch = self._runtime, self._runtime.lease.epoch
        runtime.runs.forget_namespace(namespace.namespace_id)
        while True:
            found = await runtime.database.write(lambda c: _delete_page(c, namespace.namespace_id, epoch))
            if found < DELETE_PAGE_RUNS:
                break
        await runtime.namespaces.delete(namespace, epoch)


def _delete_page(connection: Connection, namespace_id: str, epoch: int) -> int:
    """Delete some runs of a namespace. Returns how many; usage stays: it is still to be billed."""
    check_epoch(connection, epoch)
    run_ids = list(
        connection.execute(
            select(s.runs.c.run_id).where(s.runs.c.namespace_id == namespace_id).limit(DELETE_PAGE_RUNS)
        ).scalars()
    )
    for table in (s.history, s.activity_progress, s.buffered_events, s.runs):
        connection.execute(delete(table).where(table.c.run_id.in_(run_ids)))
    s.visibility.delete(connection, run_ids)
    if len(run_ids) < DELETE_PAGE_RUNS:
        for table in (s.current_runs, s.tasks):
            connection.execute(delete(table).where(table.c.namespace_id == namespace_id))
    return len(run_ids)
