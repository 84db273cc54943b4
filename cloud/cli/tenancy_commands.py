"""`tacit signup`, `namespace`, `cert`, `apikey`, `nexus` and `whoami`: an account and what is in it, from the client's side."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated

import typer
from temporalio.api.cloud.cloudservice.v1 import request_response_pb2 as pb
from temporalio.api.cloud.identity.v1 import message_pb2 as identity_pb
from temporalio.api.cloud.namespace.v1 import message_pb2 as namespace_pb
from temporalio.service import TLSConfig

from cloud.cli import apikey_commands, cert_commands, guard_commands, namespace_commands, nexus_commands
from cloud.cli.account_client import (
    AccountClient,
    AddressOption,
    ApiKeyOption,
    CallFailed,
    ProfileOption,
    ServerCaOption,
    channel_to,
    control_plane,
)
from cloud.cli.cloud_client import CLOUD_PROFILE
from cloud.cli.namespace_commands import (
    DirectoryOption,
    GuardOption,
    ObjectStoreOption,
    WorkerAddressOption,
    create_namespace,
    say_what_to_do,
)
from cloud.cli.namespace_setup import (
    Litter,
    default_directory,
    keep_server_ca,
    read_file,
    refuse_bad_name,
    refuse_taken_profile,
)
from cloud.cli.output import EXIT_MISUSED, Output, OutputOption, emit, fail
from cloud.cli.usage_client import Connection
from cloud.controlplane.signup_call import SIGNUP_METHOD, NewAccount, decode_response, encode_request
from sdk import CodecSettings, SdkError, default_config_file, write_profile

SIGNUP_TOKEN_VARIABLE = "TACIT_SIGNUP_TOKEN"  # noqa: S105 - a variable's name

app = typer.Typer(no_args_is_help=True)
namespace_commands.app.command(epilog=guard_commands.EXAMPLE)(guard_commands.guard)
app.add_typer(namespace_commands.app, name="namespace")
app.add_typer(cert_commands.app, name="cert")
app.add_typer(apikey_commands.app, name="apikey")
app.add_typer(nexus_commands.app, name="nexus")


@app.command(
    epilog="Example: tacit signup --address cloud.example.com:7234 --email ada@example.com --namespace orders "
    "--token-file signup-token"
)
def signup(
    email: Annotated[str, typer.Option("--email", help="Your e-mail; you become the account's owner.")],
    address: Annotated[
        str, typer.Option("--address", help="HOST:PORT of the service for API keys.")
    ] = "localhost:7234",
    namespace: Annotated[
        str, typer.Option("--namespace", help="Name of the first namespace, without the account.")
    ] = "default",
    retention_days: Annotated[
        int, typer.Option("--retention-days", help="1-90, for closed workflows.", min=1, max=90)
    ] = 30,
    organization: Annotated[
        str | None,
        typer.Option(
            "--organization", help="Name of the account and in the certificates; else from the e-mail."
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", help=f"File with the operator's signup token; else {SIGNUP_TOKEN_VARIABLE}."
        ),
    ] = None,
    server_ca: ServerCaOption = None,
    profile: Annotated[
        str, typer.Option("--profile", help="Profile to write for the control plane.")
    ] = CLOUD_PROFILE,
    worker_profile: Annotated[
        str, typer.Option("--worker-profile", help="Profile to write for workers and clients.")
    ] = "default",
    worker_address: WorkerAddressOption = None,
    guard: GuardOption = None,
    directory: DirectoryOption = None,
    object_store: ObjectStoreOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace profiles of these names.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make an account and in it an encrypted namespace that is ready to use.

    The CA, the client certificate and the key ring are made on this machine; private keys never leave it.
    """
    # Whatever can be wrong here is found before the account is made: an API key is given out only once.
    folder = directory or default_directory()
    if profile == worker_profile:
        fail("--profile and --worker-profile name the same profile; give two", EXIT_MISUSED)
    refuse_bad_name(namespace, "--namespace")
    refuse_taken_profile(profile, "--profile", replace=replace)
    refuse_taken_profile(worker_profile, "--worker-profile", replace=replace)
    token = _token(token_file)
    roots = read_file(server_ca, "CA of the service") if server_ca is not None else None
    litter = Litter()
    kept_ca = keep_server_ca(folder, roots, litter) if roots is not None else None
    connection = Connection(address=address, tls=TLSConfig(server_root_ca_cert=roots))
    account_name = organization or email.partition("@")[0]
    with channel_to(connection) as channel:
        made = _sign_up(AccountClient(channel, connection), email, account_name, token, litter)
        _keep_api_key(made, profile, address, f"{namespace}.{made.account_id}", kept_ca)
        client = AccountClient(channel, dataclasses.replace(connection, api_key=made.api_key))
        spec = namespace_pb.NamespaceSpec(name=namespace, retention_days=retention_days)
        spec.mtls_auth.enabled = True
        spec.api_key_auth.enabled = True
        try:
            shown = create_namespace(
                client,
                spec,
                guard=guard,
                worker_profile=worker_profile,
                worker_address=worker_address,
                directory=folder,
                server_ca=kept_ca,
                object_store=object_store,
                organization=account_name,
                control_profile=profile,
            )
        except CallFailed as error:
            again = f"tacit namespace create NAME --profile {profile} --worker-profile {worker_profile}"
            fail(
                f"the account {made.account_id} is made, the namespace is not: {error}; go on with `{again}`"
            )
    account = {
        "account": made.account_id,
        "email": email,
        "config_file": default_config_file(),
        "control_profile": profile,
        "api_key_id": made.api_key_id,
        "api_key_expires_at": made.api_key_expires_at,
    }
    emit(account | shown, output)
    say_what_to_do(shown)


def _sign_up(client: AccountClient, email: str, account_name: str, token: str, litter: Litter) -> NewAccount:
    request = encode_request(email=email, display_name=account_name, token=token)
    try:
        return decode_response(client.call_method(SIGNUP_METHOD, request))
    except CallFailed as error:
        litter.clear()
        fail(str(error))
    except ValueError as error:
        litter.clear()
        fail(f"{client.connection.address}: {error}; is this a Tacit service?")


def _keep_api_key(
    made: NewAccount, profile: str, address: str, namespace: str, server_ca: Path | None
) -> None:
    path = default_config_file()
    try:
        write_profile(
            path,
            profile,
            address=address,
            namespace=namespace,
            server_ca_pem_path=server_ca,
            api_key=made.api_key,
            codec=CodecSettings(),  # not those of a replaced profile, whose key ring was another namespace's
        )
    except SdkError as error:
        fail(
            f"the account {made.account_id} is made, but its API key could not be kept: {error} Sign up again."
        )


@app.command(epilog="Example: tacit whoami")
def whoami(
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show who the service takes you for, and what you may do."""
    with control_plane(address, api_key, server_ca, profile) as client:
        identity = client.call("GetCurrentIdentity", pb.GetCurrentIdentityRequest())
        account = client.call("GetAccount", pb.GetAccountRequest()).account.id
    if identity.HasField("user"):
        kind, one, name = "user", identity.user, identity.user.spec.email
        access = one.spec.access
    else:
        kind, one, name = "service-account", identity.service_account, identity.service_account.spec.name
        access = one.spec.access
        if one.spec.HasField("namespace_scoped_access"):
            scoped = one.spec.namespace_scoped_access
            access.namespace_accesses[scoped.namespace].CopyFrom(scoped.access)
    emit(
        {
            "account": account,
            "kind": kind,
            "id": one.id,
            "name": name,
            "role": _name(identity_pb.AccountAccess.Role.Name(access.account_access.role), "ROLE_"),
            "namespaces": {
                namespace: _name(identity_pb.NamespaceAccess.Permission.Name(each.permission), "PERMISSION_")
                for namespace, each in sorted(access.namespace_accesses.items())
            },
            "api_key_id": identity.principal_api_key.id,
            "address": client.connection.address,
        },
        output,
    )


def _name(value: str, prefix: str) -> str:
    return value.removeprefix(prefix).lower()


def _token(file: Path | None) -> str:
    if file is None:
        return os.environ.get(SIGNUP_TOKEN_VARIABLE, "").strip()
    try:
        token = read_file(file, "signup token").decode("ascii").strip()
    except UnicodeDecodeError:
        fail(f"{file} is no signup token: it holds other bytes than ASCII", EXIT_MISUSED)
    if not token:
        fail(f"the signup token {file} is empty; ask the operator for the service's", EXIT_MISUSED)
    return token
