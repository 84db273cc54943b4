"""CloudService's methods on Nexus endpoints, which are an account's."""

from __future__ import annotations

import json

from temporalio.api.cloud.cloudservice.v1 import request_response_pb2 as pb
from temporalio.api.cloud.nexus.v1 import message_pb2 as nexus_pb
from temporalio.api.common.v1 import Payload

from cloud.controlplane.call import Call, operation_request
from cloud.controlplane.paging import page_request, page_token
from cloud.controlplane.provisioning import Provisioning
from cloud.controlplane.wire import operation_message, resource_state, timestamp
from tenancy.errors import Fault, Invalid
from tenancy.model import NexusEndpoint, NexusEndpointSettings, Operation, OperationState
from tenancy.service import Tenancy


class NexusEndpointMethods:
    """Create, read, change and delete endpoints. Writes answer with the operation."""

    def __init__(self, tenancy: Tenancy, provisioning: Provisioning) -> None:
        self._endpoints = tenancy.nexus_endpoints
        self._provisioning = provisioning

    async def create(
        self, request: pb.CreateNexusEndpointRequest, call: Call
    ) -> pb.CreateNexusEndpointResponse:
        """CreateNexusEndpoint."""
        wanted = operation_request("CreateNexusEndpoint", request, request.async_operation_id)
        operation = await self._endpoints.create(call.principal, endpoint_settings(request.spec), wanted)
        operation = await self._carried_out(operation)
        return pb.CreateNexusEndpointResponse(
            endpoint_id=operation.resource_id, async_operation=operation_message(operation)
        )

    async def get(self, request: pb.GetNexusEndpointRequest, call: Call) -> pb.GetNexusEndpointResponse:
        """GetNexusEndpoint."""
        endpoint = await self._endpoints.get(call.principal, request.endpoint_id)
        return pb.GetNexusEndpointResponse(endpoint=endpoint_message(endpoint))

    async def list(self, request: pb.GetNexusEndpointsRequest, call: Call) -> pb.GetNexusEndpointsResponse:
        """GetNexusEndpoints: those of the account."""
        found = await self._endpoints.list(
            call.principal,
            page_request(request.page_size, request.page_token),
            name=request.name,
            target=request.target_namespace_id,
            task_queue=request.target_task_queue,
        )
        return pb.GetNexusEndpointsResponse(
            endpoints=[endpoint_message(one) for one in found.items], next_page_token=page_token(found.next)
        )

    async def update(
        self, request: pb.UpdateNexusEndpointRequest, call: Call
    ) -> pb.UpdateNexusEndpointResponse:
        """UpdateNexusEndpoint: exchanges the whole spec."""
        wanted = operation_request("UpdateNexusEndpoint", request, request.async_operation_id)
        operation = await self._endpoints.update(
            call.principal,
            request.endpoint_id,
            endpoint_settings(request.spec),
            request.resource_version,
            wanted,
        )
        operation = await self._carried_out(operation)
        return pb.UpdateNexusEndpointResponse(async_operation=operation_message(operation))

    async def delete(
        self, request: pb.DeleteNexusEndpointRequest, call: Call
    ) -> pb.DeleteNexusEndpointResponse:
        """DeleteNexusEndpoint."""
        wanted = operation_request("DeleteNexusEndpoint", request, request.async_operation_id)
        operation = await self._endpoints.delete(
            call.principal, request.endpoint_id, request.resource_version, wanted
        )
        operation = await self._carried_out(operation)
        return pb.DeleteNexusEndpointResponse(async_operation=operation_message(operation))

    async def _carried_out(self, operation: Operation) -> Operation:
        if operation.state is not OperationState.IN_PROGRESS:
            return operation
        return await self._provisioning.carry_out(operation)


def endpoint_settings(spec: nexus_pb.EndpointSpec) -> NexusEndpointSettings:
    """The settings in a spec.

    Raises:
        Invalid: its target is no worker's, or a policy is none that is known.
    """
    if spec.target_spec.WhichOneof("variant") != "worker_target_spec":
        raise Invalid([Fault(field="spec.target_spec.worker_target_spec", problem="is needed")])
    callers: dict[str, None] = {}
    for index, policy in enumerate(spec.policy_specs):
        if policy.WhichOneof("variant") != "allowed_cloud_namespace_policy_spec":
            raise Invalid([Fault(field=f"spec.policy_specs[{index}]", problem="must allow a namespace")])
        callers[policy.allowed_cloud_namespace_policy_spec.namespace_id] = None
    description = b""
    if spec.HasField("description"):
        description = spec.description.SerializeToString()
    elif spec.description_deprecated:
        data = json.dumps(spec.description_deprecated).encode()
        description = Payload(metadata={"encoding": b"json/plain"}, data=data).SerializeToString()
    return NexusEndpointSettings(
        name=spec.name,
        target_namespace=spec.target_spec.worker_target_spec.namespace_id,
        target_task_queue=spec.target_spec.worker_target_spec.task_queue,
        callers=tuple(callers),
        description=description,
    )


def endpoint_message(one: NexusEndpoint) -> nexus_pb.Endpoint:
    """An endpoint as the API shows it."""
    settings = one.settings
    message = nexus_pb.Endpoint(
        id=one.id,
        resource_version=str(one.version),
        state=resource_state(one.state),
        async_operation_id=one.operation_id,
        created_time=timestamp(one.created_at),
        last_modified_time=timestamp(one.modified_at),
    )
    spec = message.spec
    spec.name = settings.name
    spec.target_spec.worker_target_spec.namespace_id = settings.target_namespace
    spec.target_spec.worker_target_spec.task_queue = settings.target_task_queue
    for caller in settings.callers:
        spec.policy_specs.add().allowed_cloud_namespace_policy_spec.namespace_id = caller
    if settings.description:
        spec.description.ParseFromString(settings.description)
        spec.description_deprecated = _plain_text(spec.description)
    return message


def _plain_text(payload: Payload) -> str:
    """What older tools know a description as; empty for one that only its makers can read."""
    if payload.metadata.get("encoding") != b"json/plain":
        return ""
    try:
        text = json.loads(payload.data)
    except (ValueError, RecursionError):
        return ""
    return text if isinstance(text, str) else ""
