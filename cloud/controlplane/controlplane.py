"""CloudService as handlers: each is a plain coroutine from (request, context) to response, raising RpcError.

What is not in the table here has no handler, and the gateway answers it with UNIMPLEMENTED.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from google.protobuf.message import Message
from temporalio.api.cloud.cloudservice.v1 import service_pb2

from cloud.controlplane.account import AccountMethods
from cloud.controlplane.call import Call, call_of
from cloud.controlplane.identities import ApiKeyMethods, ServiceAccountMethods, UserMethods
from cloud.controlplane.namespaces import NamespaceMethods
from cloud.controlplane.nexus_endpoints import NexusEndpointMethods
from cloud.controlplane.ports import Provisioner, UsageReader
from cloud.controlplane.provisioning import Provisioning
from cloud.controlplane.refusals import refusals
from cloud.controlplane.wire import Endpoints
from cloud.rpc import CallContext, Handler, Method, methods_of
from tenancy.office import Clock
from tenancy.service import Tenancy

CLOUD_SERVICE: Mapping[str, Method] = methods_of(service_pb2.DESCRIPTOR.services_by_name["CloudService"])
"""All methods of CloudService by name, those without a handler too."""

_Answer = Callable[[Any, Call], Awaitable[Message]]


class ControlPlane:
    """Answers CloudService. `resume` once after the tenancy and the cells are up; `close` before they go."""

    def __init__(
        self,
        tenancy: Tenancy,
        provisioner: Provisioner,
        usage: UsageReader,
        clock: Clock,
        *,
        region: str = "local",
        endpoints: Callable[[], Endpoints] = Endpoints,
    ) -> None:
        self._provisioning = Provisioning(tenancy, provisioner)
        namespaces = NamespaceMethods(tenancy, self._provisioning, region, endpoints)
        nexus_endpoints = NexusEndpointMethods(tenancy, self._provisioning)
        users = UserMethods(tenancy)
        service_accounts = ServiceAccountMethods(tenancy)
        api_keys = ApiKeyMethods(tenancy)
        account = AccountMethods(tenancy, usage, clock, region)
        self._answers: Mapping[str, _Answer] = {
            "GetCurrentIdentity": users.current,
            "GetUsers": users.list,
            "GetUser": users.get,
            "CreateNamespace": namespaces.create,
            "GetNamespaces": namespaces.list,
            "GetNamespace": namespaces.get,
            "UpdateNamespace": namespaces.update,
            "UpdateNamespaceTags": namespaces.update_tags,
            "DeleteNamespace": namespaces.delete,
            "CreateNexusEndpoint": nexus_endpoints.create,
            "GetNexusEndpoint": nexus_endpoints.get,
            "GetNexusEndpoints": nexus_endpoints.list,
            "UpdateNexusEndpoint": nexus_endpoints.update,
            "DeleteNexusEndpoint": nexus_endpoints.delete,
            "CreateServiceAccount": service_accounts.create,
            "GetServiceAccount": service_accounts.get,
            "GetServiceAccounts": service_accounts.list,
            "UpdateServiceAccount": service_accounts.update,
            "SetServiceAccountNamespaceAccess": service_accounts.set_access,
            "DeleteServiceAccount": service_accounts.delete,
            "CreateApiKey": api_keys.create,
            "GetApiKey": api_keys.get,
            "GetApiKeys": api_keys.list,
            "UpdateApiKey": api_keys.update,
            "DeleteApiKey": api_keys.delete,
            "GetAccount": account.get,
            "GetRegions": account.regions,
            "GetRegion": account.region,
            "GetAsyncOperation": account.operation,
            "GetUsage": account.usage,
            "GetAuditLogs": account.audit_logs,
        }

    async def resume(self) -> int:
        """Take up the operations that a stop or a crash left under way; returns how many."""
        return await self._provisioning.resume()

    async def close(self) -> None:
        """Leave off what is under way; it is resumed at the next start. Closing twice is harmless."""
        await self._provisioning.stop()

    def handlers(self) -> Mapping[str, Handler]:
        """The handlers by the methods' bare names."""
        return {name: _handler(answer) for name, answer in self._answers.items()}

    def handlers_by_path(self) -> Mapping[str, Handler]:
        """The handlers by the methods' paths, as the gateway wants them."""
        return {CLOUD_SERVICE[name].path: handler for name, handler in self.handlers().items()}


def _handler(answer: _Answer) -> Handler:
    async def handle(request: Any, context: CallContext) -> Message:
        call = call_of(context)
        with refusals():
            return await answer(request, call)

    return handle
