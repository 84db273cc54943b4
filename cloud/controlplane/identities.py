"""CloudService's methods on users, service accounts and API keys."""

from __future__ import annotations

from temporalio.api.cloud.cloudservice.v1 import request_response_pb2 as pb

from cloud.controlplane.call import Call, operation_request
from cloud.controlplane.paging import page_request, page_token
from cloud.controlplane.wire import (
    access_permission,
    api_key_message,
    api_key_settings,
    operation_message,
    owner_kind,
    service_account_message,
    service_account_settings,
    user_message,
)
from tenancy.access import PrincipalKind
from tenancy.service import Tenancy


class UserMethods:
    """Read users, and who the caller is."""

    def __init__(self, tenancy: Tenancy) -> None:
        self._tenancy = tenancy

    async def current(
        self, request: pb.GetCurrentIdentityRequest, call: Call
    ) -> pb.GetCurrentIdentityResponse:
        """GetCurrentIdentity."""
        principal = call.principal
        bare_id = principal.id.partition(":")[2]
        response = pb.GetCurrentIdentityResponse()
        if principal.kind is PrincipalKind.USER:
            response.user.CopyFrom(user_message(await self._tenancy.users.get(principal, bare_id)))
        else:
            one = await self._tenancy.service_accounts.get(principal, bare_id)
            response.service_account.CopyFrom(service_account_message(one))
        if principal.credential_id:
            key = await self._tenancy.api_keys.get(principal, principal.credential_id)
            response.principal_api_key.CopyFrom(api_key_message(key))
        return response

    async def get(self, request: pb.GetUserRequest, call: Call) -> pb.GetUserResponse:
        """GetUser."""
        return pb.GetUserResponse(
            user=user_message(await self._tenancy.users.get(call.principal, request.user_id))
        )

    async def list(self, request: pb.GetUsersRequest, call: Call) -> pb.GetUsersResponse:
        """GetUsers."""
        page = page_request(request.page_size, request.page_token)
        found = await self._tenancy.users.list(
            call.principal, page, email=request.email, namespace=request.namespace
        )
        return pb.GetUsersResponse(
            users=[user_message(one) for one in found.items], next_page_token=page_token(found.next)
        )


class ServiceAccountMethods:
    """Create, read, change and delete service accounts."""

    def __init__(self, tenancy: Tenancy) -> None:
        self._service_accounts = tenancy.service_accounts

    async def create(
        self, request: pb.CreateServiceAccountRequest, call: Call
    ) -> pb.CreateServiceAccountResponse:
        """CreateServiceAccount."""
        wanted = operation_request("CreateServiceAccount", request, request.async_operation_id)
        settings = service_account_settings(request.spec)
        operation = await self._service_accounts.create(call.principal, settings, wanted)
        return pb.CreateServiceAccountResponse(
            service_account_id=operation.resource_id, async_operation=operation_message(operation)
        )

    async def get(self, request: pb.GetServiceAccountRequest, call: Call) -> pb.GetServiceAccountResponse:
        """GetServiceAccount."""
        one = await self._service_accounts.get(call.principal, request.service_account_id)
        return pb.GetServiceAccountResponse(service_account=service_account_message(one))

    async def list(self, request: pb.GetServiceAccountsRequest, call: Call) -> pb.GetServiceAccountsResponse:
        """GetServiceAccounts."""
        page = page_request(request.page_size, request.page_token)
        found = await self._service_accounts.list(call.principal, page)
        return pb.GetServiceAccountsResponse(
            service_account=[service_account_message(one) for one in found.items],
            next_page_token=page_token(found.next),
        )

    async def update(
        self, request: pb.UpdateServiceAccountRequest, call: Call
    ) -> pb.UpdateServiceAccountResponse:
        """UpdateServiceAccount: exchanges the whole spec."""
        wanted = operation_request("UpdateServiceAccount", request, request.async_operation_id)
        settings = service_account_settings(request.spec)
        operation = await self._service_accounts.update(
            call.principal, request.service_account_id, settings, request.resource_version, wanted
        )
        return pb.UpdateServiceAccountResponse(async_operation=operation_message(operation))

    async def set_access(
        self, request: pb.SetServiceAccountNamespaceAccessRequest, call: Call
    ) -> pb.SetServiceAccountNamespaceAccessResponse:
        """SetServiceAccountNamespaceAccess; an access without a permission takes it away."""
        wanted = operation_request("SetServiceAccountNamespaceAccess", request, request.async_operation_id)
        operation = await self._service_accounts.set_access(
            call.principal,
            request.service_account_id,
            request.namespace,
            access_permission(request.access),
            request.resource_version,
            wanted,
        )
        return pb.SetServiceAccountNamespaceAccessResponse(async_operation=operation_message(operation))

    async def delete(
        self, request: pb.DeleteServiceAccountRequest, call: Call
    ) -> pb.DeleteServiceAccountResponse:
        """DeleteServiceAccount, with its API keys."""
        wanted = operation_request("DeleteServiceAccount", request, request.async_operation_id)
        operation = await self._service_accounts.delete(
            call.principal, request.service_account_id, request.resource_version, wanted
        )
        return pb.DeleteServiceAccountResponse(async_operation=operation_message(operation))


class ApiKeyMethods:
    """Create, read, disable and delete API keys."""

    def __init__(self, tenancy: Tenancy) -> None:
        self._api_keys = tenancy.api_keys

    async def create(self, request: pb.CreateApiKeyRequest, call: Call) -> pb.CreateApiKeyResponse:
        """CreateApiKey. The token is in this one answer; a repetition of the operation has none."""
        settings = api_key_settings(request.spec)
        wanted = operation_request("CreateApiKey", request, request.async_operation_id)
        operation, token = await self._api_keys.create(call.principal, settings, wanted)
        return pb.CreateApiKeyResponse(
            key_id=operation.resource_id, token=token, async_operation=operation_message(operation)
        )

    async def get(self, request: pb.GetApiKeyRequest, call: Call) -> pb.GetApiKeyResponse:
        """GetApiKey."""
        return pb.GetApiKeyResponse(
            api_key=api_key_message(await self._api_keys.get(call.principal, request.key_id))
        )

    async def list(self, request: pb.GetApiKeysRequest, call: Call) -> pb.GetApiKeysResponse:
        """GetApiKeys: the caller's own; an administrator's answer has the account's."""
        found = await self._api_keys.list(
            call.principal,
            page_request(request.page_size, request.page_token),
            owner_id=request.owner_id,
            owner_kind=owner_kind(request.owner_type, request.owner_type_deprecated),
        )
        return pb.GetApiKeysResponse(
            api_keys=[api_key_message(one) for one in found.items], next_page_token=page_token(found.next)
        )

    async def update(self, request: pb.UpdateApiKeyRequest, call: Call) -> pb.UpdateApiKeyResponse:
        """UpdateApiKey: rename, disable, enable."""
        settings = api_key_settings(request.spec)
        wanted = operation_request("UpdateApiKey", request, request.async_operation_id)
        operation = await self._api_keys.update(
            call.principal, request.key_id, settings, request.resource_version, wanted
        )
        return pb.UpdateApiKeyResponse(async_operation=operation_message(operation))

    async def delete(self, request: pb.DeleteApiKeyRequest, call: Call) -> pb.DeleteApiKeyResponse:
        """DeleteApiKey."""
        wanted = operation_request("DeleteApiKey", request, request.async_operation_id)
        operation = await self._api_keys.delete(
            call.principal, request.key_id, request.resource_version, wanted
        )
        return pb.DeleteApiKeyResponse(async_operation=operation_message(operation))
