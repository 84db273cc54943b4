"""`tacit signup`, `namespace`, `cert`, `apikey`, `whoami`: tenancy, through the control plane's API.

Private keys, of certificates as of payloads, are made here and stay here: what goes to the service is a CA certificate.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.message import Message
from temporalio.api.cloud.cloudservice.v1 import request_response_pb2 as cs
from temporalio.api.cloud.identity.v1 import ApiKeySpec, OwnerType
from temporalio.api.cloud.namespace.v1 import (
    ApiKeyAuthSpec,
    LifecycleSpec,
    MtlsAuthSpec,
    Namespace,
    NamespaceSpec,
)
from temporalio.api.cloud.resource.v1 import ResourceState

from cloud.cli.cloud_client import CLOUD_PROFILE, CloudClient, Target, call_struct, channel, target
from cloud.cli.output import EXIT_MISUSED, Output, OutputOption, emit, fail, note
from codec import KeyRing, KeyRingError, create_key_ring
from sdk import (
    CertificateError,
    CodecSettings,
    ProfileError,
    create_ca,
    default_config_file,
    issue_client,
    read_ca,
    write_pair,
    write_profile,
)

SIGNUP_PATH = "/tacit.signup.v1.SignupService/Signup"
DAYS_CLIENT_CERTIFICATE = 90
DAYS_API_KEY = 90

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
namespaces = typer.Typer(help="Create, list, show, change and delete namespaces.", no_args_is_help=True)
certificates = typer.Typer(help="Make certificates for workers and clients.", no_args_is_help=True)
api_keys = typer.Typer(help="Create, list, disable and delete API keys.", no_args_is_help=True)
app.add_typer(namespaces, name="namespace")
app.add_typer(certificates, name="cert")
app.add_typer(api_keys, name="apikey")

AddressOption = Annotated[
    str | None,
    typer.Option(help="The service's API-key port, HOST:PORT; by default the profile's.", show_default=False),
]
ApiKeyOption = Annotated[
    str | None,
    typer.Option(envvar="TEMPORAL_API_KEY", help="API key; by default the profile's.", show_default=False),
]
ServerCaOption = Annotated[
    Path | None,
    typer.Option(help="PEM file of the CA that the service's certificate is from.", show_default=False),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        help="Profile of temporal.toml; by default `cloud`, which signup writes.", show_default=False
    ),
]


# --- signup -----------------------------------------------------------------------------------------------------


@app.command(
    epilog="Example: tacit signup --address localhost:7234 --server-ca tacit-data/server-ca.pem --email me@example.com "
    "--namespace orders --token-file tacit-data/signup-token"
)
def signup(
    email: Annotated[str, typer.Option(help="The owner's e-mail address.")],
    address: Annotated[str, typer.Option(help="The service's API-key port, HOST:PORT.")] = "localhost:7234",
    worker_address: Annotated[
        str | None,
        typer.Option(
            help="The service's certificate port, HOST:PORT; by default the API-key port less one.",
            show_default=False,
        ),
    ] = None,
    server_ca: ServerCaOption = None,
    namespace: Annotated[str, typer.Option(help="Name of the first namespace.")] = "default",
    organization: Annotated[
        str | None, typer.Option(help="Name of the account; by default the e-mail's domain.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the operator's signup token; or TACIT_SIGNUP_TOKEN.")
    ] = None,
    retention_days: Annotated[int, typer.Option(help="Days that closed workflows are kept.")] = 30,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir", help="Where certificates, keys and the key ring go; by default beside temporal.toml."
        ),
    ] = None,
    object_store: Annotated[
        str | None,
        typer.Option(help="Object store for large payloads: s3://bucket/prefix or file:///directory."),
    ] = None,
    profile: Annotated[str, typer.Option(help="Profile to write for workers and clients.")] = "default",
    output: OutputOption = Output.TEXT,
) -> None:
    """Make an account and an encrypted namespace, and write the profiles to use them."""
    token = _signup_token(token_file)
    roots = _read(server_ca) if server_ca else None
    with channel(Target(address=address, server_ca_pem=roots)) as opened:
        made = call_struct(
            opened,
            SIGNUP_PATH,
            {
                "email": email,
                "display_name": organization or email.rpartition("@")[2] or email,
                "token": token,
            },
        )
    config = default_config_file()
    where = Target(address=address, api_key=str(made["api_key"]), server_ca_pem=roots)
    _write_profile(
        config,
        CLOUD_PROFILE,
        address=address,
        namespace="",
        server_ca_pem_path=server_ca,
        api_key=str(made["api_key"]),
    )
    note(f"Account {made['account_id']} is yours; its API key is in profile {CLOUD_PROFILE!r} of {config}.")
    with channel(where) as opened:
        shown = _create_encrypted(
            CloudClient(opened, where),
            namespace,
            retention_days=retention_days,
            directory=directory or config.parent,
            config=config,
            profile=profile,
            worker_address=worker_address or _certificate_port(address),
            server_ca=server_ca,
            object_store=object_store,
        )
    emit({"account": made["account_id"], **shown}, output)


def _signup_token(token_file: Path | None) -> str:
    if token_file is not None:
        return _read(token_file).decode(errors="replace").strip()
    return os.environ.get("TACIT_SIGNUP_TOKEN", "")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        fail(f"{path} can't be read: {error.strerror}: check the path", EXIT_MISUSED)


def _certificate_port(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        fail(f"--address {address!r} has no port: write HOST:PORT", EXIT_MISUSED)
    return f"{host}:{int(port) - 1}"


def _write_profile(config: Path, name: str, **fields: Any) -> None:
    try:
        config.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_profile(config, name, **fields)
    except (ProfileError, OSError) as error:
        fail(str(error))


def _create_encrypted(
    client: CloudClient,
    name: str,
    *,
    retention_days: int,
    directory: Path,
    config: Path,
    profile: str,
    worker_address: str,
    server_ca: Path | None,
    object_store: str | None,
) -> dict[str, object]:
    """Make CA, client certificate and key ring here, the namespace there, and the profile that joins them."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        ca = create_ca(f"{name} CA", name)
        ca_path, _ = write_pair(directory, f"{name}-ca", ca)
        certificate_path, key_path = write_pair(
            directory,
            f"{name}-client",
            issue_client(ca, f"{name} client", timedelta(days=DAYS_CLIENT_CERTIFICATE)),
        )
    except CertificateError as error:
        fail(str(error))
    full_name = _create(client, name, retention_days=retention_days, ca_pem=ca.cert_pem, api_key=True)
    ring_path = directory / f"{name}-keyring.json"
    try:
        create_key_ring(ring_path, KeyRing.create(full_name))
    except KeyRingError as error:
        fail(str(error))
    _write_profile(
        config,
        profile,
        address=worker_address,
        namespace=full_name,
        server_ca_pem_path=server_ca,
        client_cert_path=certificate_path,
        client_key_path=key_path,
        codec=CodecSettings(key_ring=ring_path, object_store=object_store),
    )
    note(
        f"Profile {profile!r} of {config} connects to {full_name}; its payloads are encrypted with {ring_path}."
    )
    return {
        "namespace": full_name,
        "profile": profile,
        "address": worker_address,
        "client_ca": ca_path,
        "client_certificate": certificate_path,
        "key_ring": ring_path,
    }


def _create(
    client: CloudClient, name: str, *, retention_days: int, ca_pem: bytes | None, api_key: bool
) -> str:
    spec = NamespaceSpec(
        name=name,
        retention_days=retention_days,
        api_key_auth=ApiKeyAuthSpec(enabled=api_key),
    )
    if ca_pem is not None:
        spec.mtls_auth.CopyFrom(MtlsAuthSpec(enabled=True, accepted_client_ca=ca_pem))
    reply = client.call("CreateNamespace", cs.CreateNamespaceRequest(spec=spec))
    client.finish(reply.async_operation)
    return str(reply.namespace)


# --- namespace --------------------------------------------------------------------------------------------------


@namespaces.command("create", epilog="Example: tacit namespace create orders --retention-days 7")
def create_namespace(
    name: Annotated[str, typer.Argument(help="Name, without the account.")],
    retention_days: Annotated[int, typer.Option(help="Days that closed workflows are kept.")] = 30,
    client_ca: Annotated[
        Path | None,
        typer.Option(
            help="PEM bundle of your CAs. Without it a CA, a certificate and a key ring are made here."
        ),
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Where they go; by default beside temporal.toml.")
    ] = None,
    worker_profile: Annotated[
        str | None, typer.Option(help="Profile to write for workers; by default the namespace's name.")
    ] = None,
    worker_address: Annotated[
        str | None, typer.Option(help="The service's certificate port, HOST:PORT.")
    ] = None,
    object_store: Annotated[str | None, typer.Option(help="Object store for large payloads.")] = None,
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Create a namespace."""
    where = target(address=address, api_key=api_key, server_ca=server_ca, profile=profile)
    config = default_config_file()
    with channel(where) as opened:
        client = CloudClient(opened, where)
        if client_ca is not None:
            full_name = _create(
                client, name, retention_days=retention_days, ca_pem=_read(client_ca), api_key=True
            )
            emit({"namespace": full_name}, output)
            return
        shown = _create_encrypted(
            client,
            name,
            retention_days=retention_days,
            directory=directory or config.parent,
            config=config,
            profile=worker_profile or name,
            worker_address=worker_address or _certificate_port(where.address),
            server_ca=server_ca or _profile_ca(profile),
            object_store=object_store,
        )
    emit(shown, output)


def _profile_ca(profile: str | None) -> Path | None:
    from cloud.cli.cloud_client import cloud_profile_name
    from sdk import load_profile

    tls = load_profile(cloud_profile_name(profile)).connection.tls
    source = tls.server_root_ca_cert if tls else None
    return source if isinstance(source, Path) else None


@namespaces.command("list", epilog="Example: tacit namespace list --output json")
def list_namespaces(
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List the namespaces that you may see."""
    where = target(address=address, api_key=api_key, server_ca=server_ca, profile=profile)
    with channel(where) as opened:
        found = CloudClient(opened, where).pages(
            "GetNamespaces", cs.GetNamespacesRequest(), lambda reply: list(reply.namespaces)
        )
    emit([_namespace_row(namespace) for namespace in found], output, empty="There is no namespace yet.")


@namespaces.command("get", epilog="Example: tacit namespace get orders.a1b2c")
def get_namespace(
    name: Annotated[str, typer.Argument(help="Full name, NAME.ACCOUNT.")],
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show one namespace."""
    where = target(address=address, api_key=api_key, server_ca=server_ca, profile=profile)
    with channel(where) as opened:
        found = CloudClient(opened, where).call("GetNamespace", cs.GetNamespaceRequest(namespace=name))
    emit(_namespace_row(found.namespace), output)


@namespaces.command("update", epilog="Example: tacit namespace update orders.a1b2c --retention-days 14")
def update_namespace(
    name: Annotated[str, typer.Argument(help="Full name, NAME.ACCOUNT.")],
    retention_days: Annotated[int | None, typer.Option(help="Days that closed workflows are kept.")] = None,
    client_ca: Annotated[Path | None, typer.Option(help="PEM bundle that replaces the accepted CAs.")] = None,
    protect: Annotated[bool | None, typer.Option("--protect/--no-protect", help="Refuse deletion.")] = None,
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Change a namespace; what is not given stays."""
    where = target(address=address, api_key=api_key, server_ca=server_ca, profile=profile)
    with channel(where) as opened:
        client = CloudClient(opened, where)
        found = client.call("GetNamespace", cs.GetNamespaceRequest(namespace=name)).namespace
        spec = found.spec
        if retention_days is not None:
            spec.retention_days = retention_days
        if client_ca is not None:
            spec.mtls_auth.CopyFrom(MtlsAuthSpec(enabled=True, accepted_client_ca=_read(client_ca)))
        if protect is not None:
            spec.lifecycle.CopyFrom(LifecycleSpec(enable_delete_protection=protect))
        reply = client.call(
            "UpdateNamespace",
            cs.UpdateNamespaceRequest(namespace=name, spec=spec, resource_version=found.resource_version),
        )
        client.finish(reply.async_operation)
        after = client.call("GetNamespace", cs.GetNamespaceRequest(namespace=name)).namespace
    emit(_namespace_row(after), output)


@namespaces.command("delete", epilog="Example: tacit namespace delete orders.a1b2c --yes")
def delete_namespace(
    name: Annotated[str, typer.Argument(help="Full name, NAME.ACCOUNT.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Delete a namespace with all its workflows. It can't be undone."""
    if (
        not yes
        and typer.prompt(f"All workflows of {name} will be gone. Type its name to go on", err=True) != name
    ):
        fail("the names differ: nothing was deleted", EXIT_MISUSED)
    where = target(address=address, api_key=api_key, server_ca=server_ca, profile=profile)
    with channel(where) as opened:
        client = CloudClient(opened, where)
        found = client.call("GetNamespace", cs.GetNamespaceRequest(namespace=name)).namespace
        reply = client.call(
            "DeleteNamespace",
            cs.DeleteNamespaceRequest(namespace=name, resource_version=found.resource_version),
        )
        client.finish(reply.async_operation)
    emit({"namespace": name, "state": "deleted"}, output)


def _namespace_row(namespace: Namespace) -> dict[str, object]:
    spec = namespace.spec
    return {
        "namespace": namespace.namespace,
        "state": ResourceState.Name(namespace.state).removeprefix("RESOURCE_STATE_").lower(),
        "retention_days": spec.retention_days,
        "certificates": spec.mtls_auth.enabled,
        "api_keys": spec.api_key_auth.enabled,
        "delete_protection": spec.lifecycle.enable_delete_protection,
        "created": _time(namespace, "created_time"),
    }


def _time(message: Message, name: str) -> datetime | None:
    return getattr(message, name).ToDatetime(UTC) if message.HasField(name) else None


# --- cert -------------------------------------------------------------------------------------------------------


@certificates.command("ca", epilog="Example: tacit cert ca --name orders --dir ./certificates")
def make_ca(
    name: Annotated[str, typer.Option(help="Common name; also the files' name.")],
    organization: Annotated[str | None, typer.Option(help="Organisation in the certificate.")] = None,
    days: Annotated[int, typer.Option(min=1, max=365, help="Days it is valid.")] = 365,
    directory: Annotated[Path, typer.Option("--dir", help="Where the two files go.")] = Path(),
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a certificate authority. Its key stays in your directory; the certificate goes to a namespace."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths = write_pair(directory, name, create_ca(name, organization or name, timedelta(days=days)))
    except (CertificateError, OSError) as error:
        fail(str(error))
    emit({"certificate": paths[0], "key": paths[1]}, output)


@certificates.command(
    "issue", epilog="Example: tacit cert issue --ca orders-ca.pem --ca-key orders-ca.key --name worker-1"
)
def issue_certificate(
    ca: Annotated[Path, typer.Option(help="The CA's certificate.")],
    ca_key: Annotated[Path, typer.Option(help="The CA's private key.")],
    name: Annotated[str, typer.Option(help="Common name; also the files' name.")],
    unit: Annotated[str | None, typer.Option(help="Organisational unit, for certificate filters.")] = None,
    days: Annotated[int, typer.Option(min=1, max=365, help="Days it is valid.")] = DAYS_CLIENT_CERTIFICATE,
    directory: Annotated[Path, typer.Option("--dir", help="Where the two files go.")] = Path(),
    output: OutputOption = Output.TEXT,
) -> None:
    """Issue a client certificate for a worker or client."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        issued = issue_client(read_ca(ca, ca_key), name, timedelta(days=days), organizational_unit=unit)
        paths = write_pair(directory, name, issued)
    except (CertificateError, OSError) as error:
        fail(str(error))
    emit({"certificate": paths[0], "key": paths[1]}, output)


# --- apikey -----------------------------------------------------------------------------------------------------


@api_keys.command("create", epilog="Example: tacit apikey create --name ci --days 30")
def create_api_key(
    name: Annotated[str, typer.Option(help="Name to know it by.")],
    days: Annotated[int, typer.Option(min=1, max=730, help="Days it is valid.")] = DAYS_API_KEY,
    service_account: Annotated[
        str | None,
        typer.Option(help="Service account that it speaks for; by default you.", show_default=False),
    ] = None,
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Create an API key. It is shown once."""
    where = target(address=address, api_key=api_key, server_ca=server_ca, profile=profile)
    with channel(where) as opened:
        client = CloudClient(opened, where)
        spec = ApiKeySpec(display_name=name)
        spec.expiry_time.FromDatetime(datetime.now(UTC) + timedelta(days=days))
        if service_account:
            spec.owner_id, spec.owner_type = service_account, OwnerType.OWNER_TYPE_SERVICE_ACCOUNT
        else:
            me = client.call("GetCurrentIdentity", cs.GetCurrentIdentityRequest())
            spec.owner_id, spec.owner_type = me.user.id, OwnerType.OWNER_TYPE_USER
        reply = client.call("CreateApiKey", cs.CreateApiKeyRequest(spec=spec))
        client.finish(reply.async_operation)
    emit({"id": reply.key_id, "api_key": reply.token, "expires": spec.expiry_time.ToDatetime(UTC)}, output)
    note("Keep the key now: it can't be shown again.")


@api_keys.command("list", epilog="Example: tacit apikey list")
def list_api_keys(
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List API keys: ids and dates, never the keys."""
    where = target(address=address, api_key=api_key, server_ca=server_ca, profile=profile)
    with channel(where) as opened:
        found = CloudClient(opened, where).pages(
            "GetApiKeys", cs.GetApiKeysRequest(), lambda reply: list(reply.api_keys)
        )
    emit(
        [
            {
                "id": key.id,
                "name": key.spec.display_name,
                "owner": key.spec.owner_id,
                "disabled": key.spec.disabled,
                "expires": _time(key.spec, "expiry_time"),
            }
            for key in found
        ],
        output,
    )


@api_keys.command("disable", epilog="Example: tacit apikey disable KEY_ID")
def disable_api_key(
    key_id: Annotated[str, typer.Argument(help="The key's id.")],
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Disable an API key; it is refused within seconds."""
    where = target(address=address, api_key=api_key, server_ca=server_ca, profile=profile)
    with channel(where) as opened:
        client = CloudClient(opened, where)
        found = client.call("GetApiKey", cs.GetApiKeyRequest(key_id=key_id)).api_key
        found.spec.disabled = True
        reply = client.call(
            "UpdateApiKey",
            cs.UpdateApiKeyRequest(key_id=key_id, spec=found.spec, resource_version=found.resource_version),
        )
        client.finish(reply.async_operation)
    emit({"id": key_id, "disabled": True}, output)


@api_keys.command("delete", epilog="Example: tacit apikey delete KEY_ID")
def delete_api_key(
    key_id: Annotated[str, typer.Argument(help="The key's id.")],
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Delete an API key; it is refused within seconds."""
    where = target(address=address, api_key=api_key, server_ca=server_ca, profile=profile)
    with channel(where) as opened:
        client = CloudClient(opened, where)
        found = client.call("GetApiKey", cs.GetApiKeyRequest(key_id=key_id)).api_key
        reply = client.call(
            "DeleteApiKey", cs.DeleteApiKeyRequest(key_id=key_id, resource_version=found.resource_version)
        )
        client.finish(reply.async_operation)
    emit({"id": key_id, "state": "deleted"}, output)


@app.command(epilog="Example: tacit whoami")
def whoami(
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show who the service takes you for."""
    where = target(address=address, api_key=api_key, server_ca=server_ca, profile=profile)
    with channel(where) as opened:
        found = CloudClient(opened, where).call("GetCurrentIdentity", cs.GetCurrentIdentityRequest())
    identity = found.user if found.HasField("user") else found.service_account
    shown: dict[str, object] = {
        "kind": "user" if found.HasField("user") else "service account",
        "id": identity.id,
        "name": getattr(identity.spec, "email", "") or getattr(identity.spec, "name", ""),
        "api_key": found.principal_api_key.id,
        "address": where.address,
    }
    emit(shown, output)
