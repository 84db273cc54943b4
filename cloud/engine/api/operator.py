"""OperatorService: search attributes, deletion of namespaces, clusters."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from dataclasses import replace

import structlog
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
from cloud.engine.api.namespaces import CLUSTER, NOT_SET
from cloud.engine.core.clock import to_ns
from cloud.engine.runtime.commits import Unflushed
from cloud.engine.runtime.namespaces import DELETED, Namespace, NoSuchNamespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.database import StoreUnavailable
from cloud.engine.store.deleting import delete_rest, delete_runs, runs_of_namespace
from cloud.engine.store.visibility_attributes import (
    KEYWORD,
    KEYWORD_LIST,
    PREDEFINED,
    SYSTEM,
    TEXT,
    TYPE_NAMES,
)
from cloud.engine.store.writing import LeaseLost
from cloud.rpc import AlreadyExists, CallContext, FailedPrecondition, InvalidArgument, Unimplemented

log = structlog.get_logger(__name__)

ATTRIBUTES_MAX: dict[int, int] = {**dict.fromkeys(TYPE_NAMES, 20), KEYWORD: 40, KEYWORD_LIST: 5, TEXT: 5}
"""Custom search attributes of a namespace by type, as Temporal Cloud allows them (docs: "Limits, Search Attributes")."""

DELETE_RETRY_S = 1.0

RESERVED = frozenset({"NamespaceId", "Memo", "MemoEncoding", "VisibilityTaskKey"})
"""Names that the real server keeps for itself, though no filter has them."""

_ATTRIBUTE_NAME = re.compile(r"[a-zA-Z0-9.,:_/@ \-]{1,64}")
_NAMESPACE_NOT_SET = "Namespace is not set on request."
_ATTRIBUTES_NOT_SET = "SearchAttributes are not set on request."


class Operator:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        runtime.at_start(self._resume_deletions)

    # --- search attributes ---

    async def add_search_attributes(
        self, request: AddSearchAttributesRequest, context: CallContext
    ) -> AddSearchAttributesResponse:
        """Define search attributes; defining one again with its type changes nothing."""
        if not request.search_attributes:
            raise InvalidArgument(_ATTRIBUTES_NOT_SET)
        self._namespace(request.namespace)
        for name, kind in request.search_attributes.items():
            _check_attribute(name, kind)
        async with self._runtime.namespaces.changing:
            namespace = self._namespace(request.namespace)
            types = dict(namespace.search_attributes)
            for name, kind in request.search_attributes.items():
                if types.setdefault(name, kind) != kind:
                    raise AlreadyExists(
                        f"Search attribute {name} already exists with type {TYPE_NAMES[types[name]]}."
                    )
            for of_type, count in Counter(types.values()).items():
                if count > ATTRIBUTES_MAX[of_type]:
                    raise _too_many(of_type, ATTRIBUTES_MAX[of_type])
            await self._save_attributes(namespace, types)
        return AddSearchAttributesResponse()

    async def remove_search_attributes(
        self, request: RemoveSearchAttributesRequest, context: CallContext
    ) -> RemoveSearchAttributesResponse:
        """Forget search attributes, known or not; runs keep what they have, lists show it no more."""
        if not request.search_attributes:
            raise InvalidArgument(_ATTRIBUTES_NOT_SET)
        self._namespace(request.namespace)
        for name in request.search_attributes:
            if name in SYSTEM or name in PREDEFINED:
                raise InvalidArgument(f"Unable to remove non-custom search attributes: {name}.")
        async with self._runtime.namespaces.changing:
            namespace = self._namespace(request.namespace)
            kept = {
                name: kind
                for name, kind in namespace.search_attributes.items()
                if name not in request.search_attributes
            }
            await self._save_attributes(namespace, kept)
        return RemoveSearchAttributesResponse()

    async def list_search_attributes(
        self, request: ListSearchAttributesRequest, context: CallContext
    ) -> ListSearchAttributesResponse:
        """The namespace's own search attributes and the system's."""
        namespace = self._namespace(request.namespace)
        return ListSearchAttributesResponse(
            custom_attributes={
                name: IndexedValueType.ValueType(kind) for name, kind in namespace.search_attributes.items()
            },
            system_attributes={
                name: IndexedValueType.ValueType(kind) for name, kind in {**SYSTEM, **PREDEFINED}.items()
            },
        )

    def _namespace(self, name: str) -> Namespace:
        if not name:
            raise InvalidArgument(_NAMESPACE_NOT_SET)
        return checks.namespace_of(self._runtime, name)

    async def _save_attributes(self, namespace: Namespace, types: dict[str, int]) -> None:
        if types != namespace.search_attributes:
            changed = replace(namespace, search_attributes=types)
            await self._runtime.namespaces.update(changed, self._runtime.lease.epoch)
            self._runtime.refresh_namespace(changed)

    # --- clusters ---

    async def list_clusters(self, request: ListClustersRequest, context: CallContext) -> ListClustersResponse:
        """This cell, alone."""
        return ListClustersResponse(
            clusters=[
                ClusterMetadata(
                    cluster_name=CLUSTER,
                    cluster_id=self._runtime.cell_id,
                    initial_failover_version=1,
                    history_shard_count=1,
                    is_connection_enabled=True,
                )
            ]
        )

    # --- deletion of a namespace ---

    async def delete_namespace(
        self, request: DeleteNamespaceRequest, context: CallContext
    ) -> DeleteNamespaceResponse:
        """Delete a namespace with all its runs. The name is free at once, the rest follows in the background.

        Marked deleted first and under another name, so that a crash half-way leaves work that the next start finds.
        """
        if request.namespace and request.namespace_id:
            raise InvalidArgument("Only one of namespace name or Id should be set on request.")
        if not request.namespace and not request.namespace_id:
            raise InvalidArgument(NOT_SET)
        if to_ns(request.namespace_delete_delay) > 0:
            raise Unimplemented("A namespace is deleted at once here: leave namespace_delete_delay out.")
        registry, runtime = self._runtime.namespaces, self._runtime
        async with registry.changing:
            if request.namespace_id:
                found = registry.by_id(request.namespace_id)
            else:
                found = registry.by_name(request.namespace)
                if found.state == DELETED:
                    raise NoSuchNamespace(request.namespace)
            if found.state != DELETED:
                self._check_no_target(found)
                deleted = replace(found, state=DELETED, name=self._name_of_deleted(found))
                await registry.rename(found, deleted, runtime.lease.epoch)
                runtime.refresh_namespace(deleted)
                runtime.runs.forget_namespace(deleted.namespace_id)
                runtime.spawn(self._delete_all(deleted), "delete-namespace")
                found = deleted
        return DeleteNamespaceResponse(deleted_namespace=found.name)

    def _check_no_target(self, namespace: Namespace) -> None:
        for endpoint in self._runtime.nexus_endpoints.all():
            if endpoint.namespace_id == namespace.namespace_id:
                raise FailedPrecondition(
                    f"cannot delete a namespace that is a target of a Nexus endpoint {endpoint.name}"
                )

    def _name_of_deleted(self, namespace: Namespace) -> str:
        """The name with as much of the id as makes it unique, five characters at least, as the real server has it."""
        taken = {other.name for other in self._runtime.namespaces.all()}
        candidates = (
            f"{namespace.name}-deleted-{namespace.namespace_id[:length]}"
            for length in range(5, len(namespace.namespace_id) + 1)
        )
        return next(name for name in candidates if name not in taken)

    async def _resume_deletions(self) -> None:
        for namespace in self._runtime.namespaces.all():
            if namespace.state == DELETED:
                self._runtime.spawn(self._delete_all(namespace), "delete-namespace")

    async def _delete_all(self, namespace: Namespace) -> None:
        """Delete all that is stored of a namespace marked deleted, then its record; try until it is done.

        Nothing new can come: its runs are out of memory, are not loaded and not made any more, and what was on its way to
        the store is waited for. Usage stays: it is still to be billed.
        """
        while True:
            try:
                await self._flushed()
                await self._delete_stored(namespace.namespace_id)
                await self._runtime.namespaces.delete(namespace, self._runtime.lease.epoch)
                self._runtime.queues.settings.forget_namespace(namespace.namespace_id)
                self._runtime.routes.forget_namespace(namespace.namespace_id)
            except StoreUnavailable as error:
                log.warning(
                    "namespace_deletion_delayed", namespace_id=namespace.namespace_id, reason=str(error)
                )
                await asyncio.sleep(DELETE_RETRY_S)
            except LeaseLost as error:
                # The next holder of the lease finds the mark and goes on.
                log.warning("namespace_deletion_left", namespace_id=namespace.namespace_id, reason=str(error))
                return
            else:
                log.info("namespace_deleted", namespace_id=namespace.namespace_id)
                return

    async def _flushed(self) -> None:
        """Wait until what was queued before this moment is stored, or lost."""
        commits = self._runtime.commits
        for batch in (commits.flushing, commits.open):
            if batch is not None and not batch.empty:
                with contextlib.suppress(Unflushed):
                    await asyncio.shield(batch.durable)

    async def _delete_stored(self, namespace_id: str) -> None:
        database, epoch = self._runtime.database, self._runtime.lease.epoch
        while run_ids := await database.scan(lambda c: runs_of_namespace(c, namespace_id)):
            page = run_ids
            await database.write(lambda c, page=page: delete_runs(c, page, epoch))  # type: ignore[misc]
        while await database.write(lambda c: delete_rest(c, namespace_id, epoch)):
            pass


def _check_attribute(name: str, kind: int) -> None:
    if name in SYSTEM or name in PREDEFINED or name in RESERVED or name.startswith("Temporal"):
        raise InvalidArgument(f"Search attribute {name} is reserved by system.")
    if kind == IndexedValueType.INDEXED_VALUE_TYPE_UNSPECIFIED:
        raise _too_many(kind, 0)
    if kind not in TYPE_NAMES:
        raise InvalidArgument(f"Unknown search attribute type: {kind}.")
    if not _ATTRIBUTE_NAME.fullmatch(name):
        raise InvalidArgument(
            f"Search attribute name {name[:64]!r} is invalid: 1 to 64 letters, digits, spaces or any of . , : _ - / @"
        )


def _too_many(kind: int, count_max: int) -> InvalidArgument:
    name = TYPE_NAMES.get(kind, "Unspecified")
    return InvalidArgument(
        f"Unable to create search attributes: cannot have more than {count_max} search attribute of type {name}."
    )
