"""`tacit apikey`: API keys of one's own and of service accounts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from temporalio.api.cloud.cloudservice.v1 import request_response_pb2 as pb
from temporalio.api.cloud.identity.v1 import message_pb2 as identity_pb

from cloud.cli.account_client import (
    AccountClient,
    AddressOption,
    ApiKeyOption,
    ProfileOption,
    ServerCaOption,
    control_plane,
)
from cloud.cli.durations import duration
from cloud.cli.namespace_setup import confirm
from cloud.cli.output import EXIT_MISUSED, Output, OutputOption, emit, fail, note

app = typer.Typer(
    no_args_is_help=True,
    help="Create, list, disable and delete API keys.",
    epilog="Example: tacit apikey create --name ci --expires-in 90d",
)

KeyIdArgument = Annotated[str, typer.Argument(metavar="KEY_ID", help="As `tacit apikey list` shows it.")]


@app.command(epilog="Example: tacit apikey create --name ci --expires-in 90d")
def create(
    name: Annotated[str, typer.Option("--name", help="What the key is for.")],
    expires_in: Annotated[str, typer.Option("--expires-in", help="At most two years, such as 90d.")] = "90d",
    description: Annotated[str, typer.Option("--description", help="More about it.")] = "",
    service_account: Annotated[
        str | None,
        typer.Option("--service-account", help="Id of the service account it is for; else yourself."),
    ] = None,
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Create an API key. It is shown once, here."""
    try:
        lifetime = duration(expires_in)
    except ValueError as error:
        fail(f"--expires-in: {error}", EXIT_MISUSED)
    with control_plane(address, api_key, server_ca, profile) as client:
        spec = identity_pb.ApiKeySpec(display_name=name, description=description)
        spec.expiry_time.FromDatetime(datetime.now(UTC) + lifetime)
        if service_account is None:
            spec.owner_id, spec.owner_type = _self(client)
        else:
            spec.owner_id, spec.owner_type = service_account, identity_pb.OWNER_TYPE_SERVICE_ACCOUNT
        made = client.call("CreateApiKey", pb.CreateApiKeyRequest(spec=spec))
        client.finished(made.async_operation)
        key = client.call("GetApiKey", pb.GetApiKeyRequest(key_id=made.key_id)).api_key
    emit({**_row(key), "api_key": made.token}, output)
    note("Keep the key now: it is not kept by the service and can't be shown again.")


@app.command("list", epilog="Example: tacit apikey list --output json")
def list_keys(
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List your API keys; account admins see those of the account. The keys themselves are never shown."""
    rows = []
    with control_plane(address, api_key, server_ca, profile) as client:
        token = ""
        while True:
            page = client.call("GetApiKeys", pb.GetApiKeysRequest(page_token=token))
            rows += [_row(key) for key in page.api_keys]
            token = page.next_page_token
            if not token:
                break
    emit(rows, output, empty="There are no API keys.")


@app.command(epilog="Example: tacit apikey disable 3f6c…")
def disable(
    key_id: KeyIdArgument,
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Disable an API key: calls with it are refused from now on, until it is enabled again."""
    with control_plane(address, api_key, server_ca, profile) as client:
        emit(_row(_set_disabled(client, key_id, disabled=True)), output)


@app.command(epilog="Example: tacit apikey enable 3f6c…")
def enable(
    key_id: KeyIdArgument,
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Enable a disabled API key."""
    with control_plane(address, api_key, server_ca, profile) as client:
        emit(_row(_set_disabled(client, key_id, disabled=False)), output)


@app.command(epilog="Example: tacit apikey delete 3f6c… --yes")
def delete(
    key_id: KeyIdArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Delete an API key: calls with it are refused from now on, for ever."""
    confirm(f"Delete the API key {key_id} for ever?", yes=yes)
    with control_plane(address, api_key, server_ca, profile) as client:
        key = client.call("GetApiKey", pb.GetApiKeyRequest(key_id=key_id)).api_key
        request = pb.DeleteApiKeyRequest(key_id=key_id, resource_version=key.resource_version)
        client.finished(client.call("DeleteApiKey", request).async_operation)
    emit({"id": key_id, "deleted": True}, output)


def _self(client: AccountClient) -> tuple[str, identity_pb.OwnerType.ValueType]:
    identity = client.call("GetCurrentIdentity", pb.GetCurrentIdentityRequest())
    if identity.HasField("user"):
        return identity.user.id, identity_pb.OWNER_TYPE_USER
    return identity.service_account.id, identity_pb.OWNER_TYPE_SERVICE_ACCOUNT


def _set_disabled(client: AccountClient, key_id: str, *, disabled: bool) -> identity_pb.ApiKey:
    key = client.call("GetApiKey", pb.GetApiKeyRequest(key_id=key_id)).api_key
    spec = identity_pb.ApiKeySpec()
    spec.CopyFrom(key.spec)
    spec.disabled = disabled
    request = pb.UpdateApiKeyRequest(key_id=key_id, spec=spec, resource_version=key.resource_version)
    client.finished(client.call("UpdateApiKey", request).async_operation)
    changed: identity_pb.ApiKey = client.call("GetApiKey", pb.GetApiKeyRequest(key_id=key_id)).api_key
    return changed


def _row(key: identity_pb.ApiKey) -> dict[str, object]:
    owner = "user" if key.spec.owner_type == identity_pb.OWNER_TYPE_USER else "service-account"
    return {
        "id": key.id,
        "name": key.spec.display_name,
        "owner": f"{owner}:{key.spec.owner_id}",
        "expires_at": key.spec.expiry_time.ToDatetime(tzinfo=UTC),
        "disabled": key.spec.disabled,
    }
