"""`tacit nexus endpoint`: the names by which namespaces of an account call each other's task queues."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC
from typing import Annotated

import typer
from temporalio.api.cloud.cloudservice.v1 import request_response_pb2 as pb
from temporalio.api.cloud.nexus.v1 import message_pb2 as nexus_pb
from temporalio.api.cloud.resource.v1 import message_pb2 as resource_pb
from temporalio.api.common.v1 import Payload

from cloud.cli.account_client import (
    AccountClient,
    AddressOption,
    ApiKeyOption,
    CallFailed,
    ProfileOption,
    ServerCaOption,
    control_plane,
)
from cloud.cli.namespace_setup import confirm
from cloud.cli.output import EXIT_MISUSED, Output, OutputOption, emit, fail, note

app = typer.Typer(no_args_is_help=True, help="Nexus: how namespaces call each other.")
endpoints = typer.Typer(
    no_args_is_help=True,
    help="Create, list, show, change and delete Nexus endpoints of the account.",
    epilog="Example: tacit nexus endpoint create payments --target-namespace orders --target-task-queue pay "
    "--allow-namespace shop",
)
app.add_typer(endpoints, name="endpoint")

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The endpoint's name, unique in the account.")
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-namespace", help="A namespace that may call it; else none may. Can be given several times."
    ),
]


@endpoints.command(
    epilog="Example: tacit nexus endpoint create payments --target-namespace orders --target-task-queue pay "
    "--allow-namespace shop"
)
def create(
    name: NameArgument,
    target_namespace: Annotated[
        str, typer.Option("--target-namespace", help="Whose workers answer; its account may be left out.")
    ],
    target_task_queue: Annotated[str, typer.Option("--target-task-queue", help="The queue that they poll.")],
    allow_namespace: AllowOption = None,
    description: Annotated[str, typer.Option("--description", help="More about it; not encrypted.")] = "",
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Create an endpoint. Only the namespaces that are allowed may call it."""
    with control_plane(address, api_key, server_ca, profile) as client:
        spec = nexus_pb.EndpointSpec(name=name)
        account = _account(client)
        spec.target_spec.worker_target_spec.namespace_id = _full(target_namespace, account)
        spec.target_spec.worker_target_spec.task_queue = target_task_queue
        _allow(spec, [_full(each, account) for each in allow_namespace or ()])
        _describe(spec, description)
        with _faults_by_option():
            made = client.call("CreateNexusEndpoint", pb.CreateNexusEndpointRequest(spec=spec))
        client.finished(made.async_operation)
        emit(_row(_by_id(client, made.endpoint_id)), output)
    if not allow_namespace:
        note(
            "No namespace may call it yet: allow one with "
            f"`tacit nexus endpoint update {name} --allow-namespace NAMESPACE`."
        )


@endpoints.command("list", epilog="Example: tacit nexus endpoint list --output json")
def list_endpoints(
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List the endpoints of the account."""
    rows = []
    with control_plane(address, api_key, server_ca, profile) as client:
        token = ""
        while True:
            page = client.call("GetNexusEndpoints", pb.GetNexusEndpointsRequest(page_token=token))
            rows += [_row(endpoint) for endpoint in page.endpoints]
            token = page.next_page_token
            if not token:
                break
    emit(rows, output, empty="There are no Nexus endpoints.")


@endpoints.command(epilog="Example: tacit nexus endpoint get payments")
def get(
    name: NameArgument,
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show one endpoint."""
    with control_plane(address, api_key, server_ca, profile) as client:
        emit(_row(_named(client, name)), output)


@endpoints.command(
    epilog="Example: tacit nexus endpoint update payments --allow-namespace shop --allow-namespace web"
)
def update(
    name: NameArgument,
    target_namespace: Annotated[
        str | None, typer.Option("--target-namespace", help="Whose workers answer from now on.")
    ] = None,
    target_task_queue: Annotated[
        str | None, typer.Option("--target-task-queue", help="The queue that they poll from now on.")
    ] = None,
    allow_namespace: AllowOption = None,
    allow_nobody: Annotated[bool, typer.Option("--allow-nobody", help="No namespace may call it.")] = False,
    description: Annotated[str | None, typer.Option("--description", help="More about it.")] = None,
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Change an endpoint; what is not given stays. Namespaces that are allowed take the place of those before."""
    if allow_nobody and allow_namespace:
        fail("--allow-nobody stands beside --allow-namespace: give one of the two", EXIT_MISUSED)
    with control_plane(address, api_key, server_ca, profile) as client:
        found = _named(client, name)
        spec = nexus_pb.EndpointSpec()
        spec.CopyFrom(found.spec)
        account = _account(client)
        if target_namespace is not None:
            spec.target_spec.worker_target_spec.namespace_id = _full(target_namespace, account)
        if target_task_queue is not None:
            spec.target_spec.worker_target_spec.task_queue = target_task_queue
        if allow_namespace or allow_nobody:
            _allow(spec, [_full(each, account) for each in allow_namespace or ()])
        if description is not None:
            _describe(spec, description)
        request = pb.UpdateNexusEndpointRequest(
            endpoint_id=found.id, spec=spec, resource_version=found.resource_version
        )
        with _faults_by_option():
            changed = client.call("UpdateNexusEndpoint", request)
        client.finished(changed.async_operation)
        emit(_row(_by_id(client, found.id)), output)


@endpoints.command(epilog="Example: tacit nexus endpoint delete payments --yes")
def delete(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Delete an endpoint: operations that call it fail from now on."""
    confirm(f"Delete the Nexus endpoint {name}?", yes=yes)
    with control_plane(address, api_key, server_ca, profile) as client:
        found = _named(client, name)
        request = pb.DeleteNexusEndpointRequest(endpoint_id=found.id, resource_version=found.resource_version)
        client.finished(client.call("DeleteNexusEndpoint", request).async_operation)
    emit({"name": name, "deleted": True}, output)


_OPTION_OF = {
    "spec.target_spec.worker_target_spec.namespace_id": "--target-namespace",
    "spec.target_spec.worker_target_spec.task_queue": "--target-task-queue",
    "spec.policy_specs": "--allow-namespace",
    "spec.description": "--description",
    "spec.name": "NAME",
}


@contextlib.contextmanager
def _faults_by_option() -> Iterator[None]:
    """What the service finds wrong is told of this command's options, not of the request's fields."""
    try:
        yield
    except CallFailed as error:
        told = str(error)
        for path, option in _OPTION_OF.items():
            told = told.replace(f"{path}: ", f"{option}: ")
        raise CallFailed(told, error.code) from None


def _account(client: AccountClient) -> str:
    account: str = client.call("GetAccount", pb.GetAccountRequest()).account.id
    return account


def _full(namespace: str, account: str) -> str:
    return namespace if "." in namespace else f"{namespace}.{account}"


def _allow(spec: nexus_pb.EndpointSpec, namespaces: list[str]) -> None:
    spec.ClearField("policy_specs")
    for namespace in namespaces:
        spec.policy_specs.add().allowed_cloud_namespace_policy_spec.namespace_id = namespace


def _describe(spec: nexus_pb.EndpointSpec, text: str) -> None:
    spec.ClearField("description")
    spec.ClearField("description_deprecated")
    if text:
        data = json.dumps(text).encode()
        spec.description.CopyFrom(Payload(metadata={"encoding": b"json/plain"}, data=data))


def _by_id(client: AccountClient, endpoint_id: str) -> nexus_pb.Endpoint:
    request = pb.GetNexusEndpointRequest(endpoint_id=endpoint_id)
    found: nexus_pb.Endpoint = client.call("GetNexusEndpoint", request).endpoint
    return found


def _named(client: AccountClient, name: str) -> nexus_pb.Endpoint:
    found = client.call("GetNexusEndpoints", pb.GetNexusEndpointsRequest(name=name)).endpoints
    if not found:
        fail(f"the account has no Nexus endpoint {name}: `tacit nexus endpoint list` shows those that it has")
    endpoint: nexus_pb.Endpoint = found[0]
    return endpoint


def _row(endpoint: nexus_pb.Endpoint) -> dict[str, object]:
    target = endpoint.spec.target_spec.worker_target_spec
    return {
        "name": endpoint.spec.name,
        "target_namespace": target.namespace_id,
        "target_task_queue": target.task_queue,
        "allowed_namespaces": [
            policy.allowed_cloud_namespace_policy_spec.namespace_id for policy in endpoint.spec.policy_specs
        ],
        "state": resource_pb.ResourceState.Name(endpoint.state).removeprefix("RESOURCE_STATE_").lower(),
        "description": endpoint.spec.description_deprecated,
        "id": endpoint.id,
        "created_at": endpoint.created_time.ToDatetime(tzinfo=UTC),
    }
