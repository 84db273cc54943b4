"""Namespaces on cells, by the calls that every cell answers, our own engine or a Temporal cluster; Nexus endpoints on our own."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import Message
from temporalio.api.cloud.nexus.v1 import Endpoint
from temporalio.api.namespace.v1 import NamespaceConfig, UpdateNamespaceInfo
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, DeleteNamespaceRequest
from temporalio.api.operatorservice.v1 import service_pb2 as operator_service
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest, UpdateNamespaceRequest
from temporalio.api.workflowservice.v1 import service_pb2 as workflow_service

from cloud.cells.base import Cell
from cloud.controlplane.ports import CellNamespace, CellNexusEndpoint
from cloud.rpc import AlreadyExists, CallContext, Caller, CallerKind, NotFound, methods_of
from cloud.rpc.cell_methods import DELETE_NEXUS_ENDPOINT, PUT_NEXUS_ENDPOINT

_METHODS = {
    **methods_of(workflow_service.DESCRIPTOR.services_by_name["WorkflowService"]),
    **methods_of(operator_service.DESCRIPTOR.services_by_name["OperatorService"]),
}
_CONTEXT = CallContext(caller=Caller(kind=CallerKind.INTERNAL, id="control-plane"))


class CellProvisioner:
    """See :class:`cloud.controlplane.ports.Provisioner`. `cells` finds a cell by name, raising KeyError."""

    def __init__(self, cells: Callable[[str], Cell]) -> None:
        self._cells = cells

    async def create_namespace(self, namespace: CellNamespace) -> None:
        """Make the namespace, or bring the one that is there to these values."""
        request = RegisterNamespaceRequest(namespace=namespace.name, description=namespace.description)
        request.workflow_execution_retention_period.FromTimedelta(namespace.retention)
        try:
            await self._call(namespace.cell, request)
        except AlreadyExists:
            await self.update_namespace(namespace)
            return
        await self._add_search_attributes(namespace)

    async def update_namespace(self, namespace: CellNamespace) -> None:
        """Bring the namespace to these values."""
        request = UpdateNamespaceRequest(
            namespace=namespace.name,
            update_info=UpdateNamespaceInfo(description=namespace.description),
            config=NamespaceConfig(),
        )
        request.config.workflow_execution_retention_ttl.FromTimedelta(namespace.retention)
        await self._call(namespace.cell, request)
        await self._add_search_attributes(namespace)

    async def delete_namespace(self, namespace: CellNamespace) -> None:
        """Take the namespace and its data away, or find it gone."""
        try:
            await self._call(namespace.cell, DeleteNamespaceRequest(namespace=namespace.name))
        except NotFound:
            return

    async def put_nexus_endpoint(self, endpoint: CellNexusEndpoint) -> None:
        """Make the endpoint, or bring it to these values."""
        message = Endpoint(id=endpoint.id)
        spec = message.spec
        spec.name = endpoint.name
        spec.target_spec.worker_target_spec.namespace_id = endpoint.target_namespace
        spec.target_spec.worker_target_spec.task_queue = endpoint.target_task_queue
        for caller in endpoint.callers:
            spec.policy_specs.add().allowed_cloud_namespace_policy_spec.namespace_id = caller
        if endpoint.description:
            spec.description.ParseFromString(endpoint.description)
        await self._cells(endpoint.cell).call(PUT_NEXUS_ENDPOINT, message, _CONTEXT)

    async def delete_nexus_endpoint(self, endpoint: CellNexusEndpoint) -> None:
        """Take the endpoint away, or find it gone."""
        await self._cells(endpoint.cell).call(DELETE_NEXUS_ENDPOINT, Endpoint(id=endpoint.id), _CONTEXT)

    async def _add_search_attributes(self, namespace: CellNamespace) -> None:
        if namespace.search_attributes:
            await self._call(
                namespace.cell,
                AddSearchAttributesRequest(
                    namespace=namespace.name, search_attributes=namespace.search_attributes
                ),
            )

    async def _call(self, cell: str, request: Message) -> None:
        method = _METHODS[request.DESCRIPTOR.name.removesuffix("Request")]
        await self._cells(cell).call(method, request, _CONTEXT)
