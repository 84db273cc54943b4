"""CloudService's methods on namespaces."""

from __future__ import annotations

from collections.abc import Callable

from temporalio.api.cloud.cloudservice.v1 import request_response_pb2 as pb
from temporalio.api.cloud.namespace.v1 import message_pb2 as namespace_pb

from cloud.controlplane.call import Call, operation_request
from cloud.controlplane.paging import page_request, page_token
from cloud.controlplane.provisioning import Provisioning
from cloud.controlplane.wire import Endpoints, namespace_message, namespace_settings, operation_message
from tenancy.errors import Fault, Invalid
from tenancy.model import Namespace, Operation, OperationState
from tenancy.names import full_name
from tenancy.service import Tenancy


class NamespaceMethods:
    """Create, read, change and delete namespaces. Writes answer with the operation."""

    def __init__(
        self, tenancy: Tenancy, provisioning: Provisioning, region: str, endpoints: Callable[[], Endpoints]
    ) -> None:
        self._namespaces = tenancy.namespaces
        self._provisioning = provisioning
        self._region = region
        self._endpoints = endpoints

    async def create(self, request: pb.CreateNamespaceRequest, call: Call) -> pb.CreateNamespaceResponse:
        """CreateNamespace: takes the bare name, as Temporal Cloud does; the answer has the full one."""
        settings = namespace_settings(request.spec, self._region, creating=True)
        name = request.spec.name
        wanted = operation_request("CreateNamespace", request, request.async_operation_id)
        operation = await self._namespaces.create(call.principal, name, settings, dict(request.tags), wanted)
        operation = await self._carried_out(operation)
        return pb.CreateNamespaceResponse(
            namespace=full_name(name, call.principal.account_id), async_operation=operation_message(operation)
        )

    async def get(self, request: pb.GetNamespaceRequest, call: Call) -> pb.GetNamespaceResponse:
        """GetNamespace."""
        namespace = await self._namespaces.get(call.principal, request.namespace)
        return pb.GetNamespaceResponse(namespace=self._message(namespace))

    async def list(self, request: pb.GetNamespacesRequest, call: Call) -> pb.GetNamespacesResponse:
        """GetNamespaces: those in which the caller has a permission."""
        page = page_request(request.page_size, request.page_token)
        name = request.name
        if name and "." not in name:
            name = full_name(name, call.principal.account_id)
        found = await self._namespaces.list(call.principal, page, name)
        return pb.GetNamespacesResponse(
            namespaces=[self._message(one) for one in found.items], next_page_token=page_token(found.next)
        )

    async def update(self, request: pb.UpdateNamespaceRequest, call: Call) -> pb.UpdateNamespaceResponse:
        """UpdateNamespace: exchanges the whole spec."""
        bare_name = request.namespace.partition(".")[0]
        if request.spec.name not in ("", bare_name, request.namespace):
            raise Invalid([Fault(field="spec.name", problem="can't be changed; make a new namespace")])
        settings = namespace_settings(request.spec, self._region, creating=False)
        wanted = operation_request("UpdateNamespace", request, request.async_operation_id)
        operation = await self._namespaces.update(
            call.principal, request.namespace, settings, request.resource_version, wanted
        )
        operation = await self._carried_out(operation)
        return pb.UpdateNamespaceResponse(async_operation=operation_message(operation))

    async def update_tags(
        self, request: pb.UpdateNamespaceTagsRequest, call: Call
    ) -> pb.UpdateNamespaceTagsResponse:
        """UpdateNamespaceTags; the tag ``tacit.guard`` sets the guard's mode."""
        wanted = operation_request("UpdateNamespaceTags", request, request.async_operation_id)
        operation = await self._namespaces.update_tags(
            call.principal,
            request.namespace,
            dict(request.tags_to_upsert),
            frozenset(request.tags_to_remove),
            wanted,
        )
        return pb.UpdateNamespaceTagsResponse(async_operation=operation_message(operation))

    async def delete(self, request: pb.DeleteNamespaceRequest, call: Call) -> pb.DeleteNamespaceResponse:
        """DeleteNamespace: it is closed at once, its data follow."""
        wanted = operation_request("DeleteNamespace", request, request.async_operation_id)
        operation = await self._namespaces.delete(
            call.principal, request.namespace, request.resource_version, wanted
        )
        operation = await self._carried_out(operation)
        return pb.DeleteNamespaceResponse(async_operation=operation_message(operation))

    async def _carried_out(self, operation: Operation) -> Operation:
        if operation.state is not OperationState.IN_PROGRESS:
            return operation
        return await self._provisioning.carry_out(operation)

    def _message(self, namespace: Namespace) -> namespace_pb.Namespace:
        return namespace_message(namespace, self._region, self._endpoints())
