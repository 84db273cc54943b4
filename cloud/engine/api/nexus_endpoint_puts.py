"""Nexus endpoints that the control plane makes: only the namespaces that their policies name may call them."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty
from temporalio.api.cloud.nexus.v1 import Endpoint

from cloud.engine.runtime.namespaces import NoSuchNamespace
from cloud.engine.runtime.nexus_endpoints import NexusEndpoint, NoSuchEndpoint
from cloud.engine.runtime.runtime import Runtime
from cloud.rpc import CallContext, FailedPrecondition, PermissionDenied
from cloud.rpc.context import CallerKind


class NexusEndpointPuts:
    """See :mod:`cloud.rpc.cell_methods`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def put(self, request: Endpoint, context: CallContext) -> Empty:
        """Make the endpoint, or bring it to this spec."""
        _require_internal(context)
        runtime, spec = self._runtime, request.spec
        target = spec.target_spec.worker_target_spec
        try:
            target_id = runtime.namespaces.by_name(target.namespace_id).namespace_id
        except NoSuchNamespace as error:
            raise FailedPrecondition(f"the endpoint's target is not on this cell: {error}") from None
        endpoint = NexusEndpoint(
            endpoint_id=request.id,
            name=spec.name,
            description=spec.description.SerializeToString() if spec.HasField("description") else b"",
            namespace_id=target_id,
            task_queue=target.task_queue,
            created_at=runtime.clock.now(),
            callers=self._callers(request),
        )
        await runtime.nexus_endpoints.put(endpoint, runtime.lease.epoch)
        return Empty()

    def _callers(self, request: Endpoint) -> tuple[str, ...]:
        """Ids of the namespaces that may call. One that is gone may not, nor one that comes after it under its name."""
        found = []
        for policy in request.spec.policy_specs:
            name = policy.allowed_cloud_namespace_policy_spec.namespace_id
            try:
                found.append(self._runtime.namespaces.by_name(name).namespace_id)
            except NoSuchNamespace:
                continue
        return tuple(found)

    async def delete(self, request: Endpoint, context: CallContext) -> Empty:
        """Take the endpoint away."""
        _require_internal(context)
        endpoints, epoch = self._runtime.nexus_endpoints, self._runtime.lease.epoch
        found = endpoints.by_id(request.id)
        if found is not None:
            try:
                await endpoints.delete(request.id, found.version, epoch)
            except NoSuchEndpoint:
                return Empty()
        return Empty()


def _require_internal(context: CallContext) -> None:
    """No listener has these methods; that this is so is checked here again."""
    if context.caller.kind is not CallerKind.INTERNAL:
        raise PermissionDenied("Nexus endpoints of the cloud are made by its control plane")
