"""`tacit namespace`: create, list, show, change and delete namespaces."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Annotated

import grpc
import typer
from cryptography import x509
from temporalio.api.cloud.cloudservice.v1 import request_response_pb2 as pb
from temporalio.api.cloud.namespace.v1 import message_pb2 as namespace_pb
from temporalio.api.cloud.resource.v1 import message_pb2 as resource_pb

from cloud.cli.account_client import (
    AccountClient,
    AddressOption,
    ApiKeyOption,
    CallFailed,
    ProfileOption,
    ServerCaOption,
    control_plane,
)
from cloud.cli.cloud_client import cloud_profile_name
from cloud.cli.namespace_setup import (
    Litter,
    confirm,
    default_directory,
    make_files,
    read_file,
    refuse_bad_name,
    refuse_taken_profile,
    write_worker_profile,
)
from cloud.cli.output import EXIT_MISUSED, Output, OutputOption, emit, fail, note, warn
from sdk import Profile, load_profile
from sdk.profile import DEFAULT_PROFILE, default_config_file

app = typer.Typer(
    no_args_is_help=True,
    help="Create, list, show, change and delete namespaces.",
    epilog="Example: tacit namespace list",
)

GUARD_TAG = "tacit.guard"
_Type = namespace_pb.NamespaceSpec.SearchAttributeType
_FILTER_FIELDS = {
    "cn": "common_name",
    "o": "organization",
    "ou": "organizational_unit",
    "san": "subject_alternative_name",
}


class Guard(enum.StrEnum):
    """What the service does with payloads that are not encrypted."""

    ENFORCE = "enforce"
    OBSERVE = "observe"
    OFF = "off"


NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The namespace; its account may be left out.")
]
SearchAttributeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--search-attribute",
        help="NAME=TYPE: text, keyword, int, double, bool, datetime or keyword_list. Can be given several times.",
    ),
]
FilterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--certificate-filter",
        help="Such as 'cn=worker-*,ou=payments' (cn, o, ou, san); any one must match. Can be given several times.",
    ),
]
GuardOption = Annotated[
    Guard | None,
    typer.Option("--guard", help="Refuse payloads that are not encrypted, count them, or let them pass."),
]
WorkerAddressOption = Annotated[
    str | None,
    typer.Option(
        "--worker-address", help="HOST:PORT for certificates, for the profile; else as the service says."
    ),
]
DirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--dir", help="Where certificates and the key ring go; else beside temporal.toml.", show_default=False
    ),
]
ObjectStoreOption = Annotated[
    str | None,
    typer.Option(
        "--object-store", help="URL of your own store for large payloads, such as s3://bucket or file:///dir."
    ),
]


@app.command(epilog="Example: tacit namespace create orders --worker-profile orders --retention-days 30")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, without the account.")],
    worker_profile: Annotated[
        str | None,
        typer.Option(
            "--worker-profile", help="Profile to write for workers, with certificates; else named as it."
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option("--ca", help="PEM bundle of your own CA; then no certificates are made here."),
    ] = None,
    api_keys: Annotated[bool, typer.Option("--api-keys/--no-api-keys", help="Let API keys in, too.")] = True,
    certificates: Annotated[
        bool, typer.Option("--certificates/--no-certificates", help="Let client certificates in.")
    ] = True,
    retention_days: Annotated[int, typer.Option("--retention-days", help="1-90, for closed workflows.")] = 30,
    guard: GuardOption = None,
    search_attributes: SearchAttributeOption = None,
    certificate_filters: FilterOption = None,
    delete_protection: Annotated[
        bool, typer.Option("--delete-protection", help="Refuse to delete it.")
    ] = False,
    worker_address: WorkerAddressOption = None,
    directory: DirectoryOption = None,
    object_store: ObjectStoreOption = None,
    organization: Annotated[
        str | None,
        typer.Option("--organization", help="Organisation in the certificates.", show_default="the account"),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a profile of this name.")] = False,
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Create a namespace with certificates, a key ring and a profile of its own, made on this machine."""
    refuse_bad_name(name, "NAME")
    spec = namespace_pb.NamespaceSpec(name=name, retention_days=retention_days)
    spec.api_key_auth.enabled = api_keys
    spec.lifecycle.enable_delete_protection = delete_protection
    _set_search_attributes(spec, search_attributes)
    _set_filters(spec, certificate_filters)
    spec.mtls_auth.enabled = certificates
    if ca is not None:
        spec.mtls_auth.accepted_client_ca = read_file(ca, "CA bundle")
    make = certificates and ca is None
    written = worker_profile or name
    if make:
        refuse_taken_profile(written, "--worker-profile", replace=replace)
    elif worker_profile is not None:
        fail("a profile for workers is written with certificates made here; leave out --ca", EXIT_MISUSED)
    with control_plane(address, api_key, server_ca, profile) as client:
        control = load_profile(cloud_profile_name(profile))
        shown = create_namespace(
            client,
            spec,
            guard=guard,
            worker_profile=written if make else None,
            worker_address=worker_address,
            directory=directory or default_directory(),
            server_ca=server_ca or _server_ca_of(control),
            object_store=object_store,
            organization=organization,
            control_profile=control.name,
        )
    emit(shown, output)
    say_what_to_do(shown)


# The service said no; of any other failure it is not known what it did, and the same files are needed again.
REFUSED = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.NOT_FOUND,
    }
)


def create_namespace(
    client: AccountClient,
    spec: namespace_pb.NamespaceSpec,
    *,
    guard: Guard | None,
    worker_profile: str | None,
    worker_address: str | None,
    directory: Path,
    server_ca: Path | None,
    object_store: str | None,
    organization: str | None,
    control_profile: str,
) -> dict[str, object]:
    """Create a namespace; with a `worker_profile` also its files and the profile. Returns what to show."""
    full_name = client.full_name(spec.name)
    files, litter = None, Litter()
    if worker_profile is not None:
        files = make_files(directory, full_name, organization or full_name.partition(".")[2], litter)
        spec.mtls_auth.accepted_client_ca = files.ca_pem
    tags = {GUARD_TAG: guard.value} if guard is not None else {}
    try:
        made = client.call("CreateNamespace", pb.CreateNamespaceRequest(spec=spec, tags=tags))
    except CallFailed as error:
        if error.code in REFUSED:
            litter.clear()
        raise
    client.finished(made.async_operation)
    namespace = _get(client, made.namespace)
    shown = _fields(namespace)
    if files is not None and worker_profile is not None:
        address = (
            worker_address or namespace.endpoints.mtls_grpc_address or _beside(client.connection.address)
        )
        write_worker_profile(
            worker_profile,
            files,
            namespace=full_name,
            address=address,
            server_ca=server_ca,
            object_store=object_store,
            control_profile=control_profile,
        )
        shown |= {
            "profile": worker_profile,
            "ca_certificate": files.ca,
            "client_certificate": files.client_certificate,
            "key_ring": files.key_ring,
        }
    return shown


def say_what_to_do(shown: Mapping[str, object]) -> None:
    """After all else, where it is read: what the owner of a new namespace must keep, and how to go on."""
    if "key_ring" not in shown:
        return
    profile = "" if shown["profile"] == DEFAULT_PROFILE else repr(shown["profile"])
    note(
        f"\nKeep a copy of {shown['key_ring']}: without it nobody, the service included, can read what it "
        f"encrypted.\nNext: `await sdk.connect({profile})` in a worker or client connects to {shown['namespace']}."
    )


@app.command("list", epilog="Example: tacit namespace list --output json")
def list_namespaces(
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List the namespaces in which you have a permission."""
    rows = []
    with control_plane(address, api_key, server_ca, profile) as client:
        token = ""
        while True:
            page = client.call("GetNamespaces", pb.GetNamespacesRequest(page_token=token))
            rows += [_row(namespace) for namespace in page.namespaces]
            token = page.next_page_token
            if not token:
                break
    emit(rows, output, empty="There are no namespaces; make one with `tacit namespace create NAME`.")


@app.command(epilog="Example: tacit namespace get orders")
def get(
    name: NameArgument,
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show a namespace."""
    with control_plane(address, api_key, server_ca, profile) as client:
        emit(_fields(_get(client, client.full_name(name))), output)


@app.command(epilog="Example: tacit namespace update orders --retention-days 7 --add-ca new-ca.pem")
def update(
    name: NameArgument,
    retention_days: Annotated[int | None, typer.Option("--retention-days", help="1-90.")] = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", help="PEM bundle to accept in place of the present one.")
    ] = None,
    add_ca: Annotated[
        Path | None, typer.Option("--add-ca", help="PEM of a CA to accept beside the present ones.")
    ] = None,
    certificates: Annotated[
        bool | None, typer.Option("--certificates/--no-certificates", help="Let client certificates in.")
    ] = None,
    api_keys: Annotated[
        bool | None, typer.Option("--api-keys/--no-api-keys", help="Let API keys in.")
    ] = None,
    guard: GuardOption = None,
    search_attributes: SearchAttributeOption = None,
    certificate_filters: FilterOption = None,
    clear_filters: Annotated[
        bool, typer.Option("--clear-certificate-filters", help="Remove all filters.")
    ] = False,
    delete_protection: Annotated[
        bool | None, typer.Option("--delete-protection/--no-delete-protection", help="Refuse to delete it.")
    ] = None,
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Change a namespace: only what is given changes."""
    if ca is not None and add_ca is not None:
        fail("--ca exchanges the bundle and --add-ca adds to it; give one of the two", EXIT_MISUSED)
    if clear_filters and certificate_filters:
        fail("--clear-certificate-filters and --certificate-filter contradict each other", EXIT_MISUSED)
    bundle = read_file(ca, "CA bundle") if ca is not None else None
    added = read_file(add_ca, "CA") if add_ca is not None else b""
    with control_plane(address, api_key, server_ca, profile) as client:
        namespace = _get(client, client.full_name(name))
        spec = namespace_pb.NamespaceSpec()
        spec.CopyFrom(namespace.spec)
        spec.custom_search_attributes.clear()
        spec.mtls_auth.accepted_client_ca_deprecated = ""
        spec.mtls_auth.accepted_client_ca = bundle or (spec.mtls_auth.accepted_client_ca + added)
        if retention_days is not None:
            spec.retention_days = retention_days
        if certificates is not None:
            spec.mtls_auth.enabled = certificates
        if api_keys is not None:
            spec.api_key_auth.enabled = api_keys
        if delete_protection is not None:
            spec.lifecycle.enable_delete_protection = delete_protection
        if clear_filters:
            del spec.mtls_auth.certificate_filters[:]
        _set_search_attributes(spec, search_attributes)
        _set_filters(spec, certificate_filters)
        if spec != _without_deprecated(namespace.spec):
            request = pb.UpdateNamespaceRequest(
                namespace=namespace.namespace, spec=spec, resource_version=namespace.resource_version
            )
            client.finished(client.call("UpdateNamespace", request).async_operation)
        if guard is not None:
            tags = pb.UpdateNamespaceTagsRequest(
                namespace=namespace.namespace, tags_to_upsert={GUARD_TAG: guard.value}
            )
            client.finished(client.call("UpdateNamespaceTags", tags).async_operation)
        emit(_fields(_get(client, namespace.namespace)), output)
    if guard is Guard.OFF:
        note("Payloads in clear are accepted from now on.")


@app.command(epilog="Example: tacit namespace delete orders --yes")
def delete(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    address: AddressOption = None,
    api_key: ApiKeyOption = None,
    server_ca: ServerCaOption = None,
    profile: ProfileOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Delete a namespace with all its workflows. This can't be undone."""
    confirm(f"Delete the namespace {name} with all its workflows, for ever?", yes=yes)
    with control_plane(address, api_key, server_ca, profile) as client:
        namespace = _get(client, client.full_name(name))
        request = pb.DeleteNamespaceRequest(
            namespace=namespace.namespace, resource_version=namespace.resource_version
        )
        client.finished(client.call("DeleteNamespace", request).async_operation)
    emit({"namespace": namespace.namespace, "deleted": True}, output)
    note(
        f"What was made for it on this machine is still there: its profile in {default_config_file()}, "
        "its certificates and its key ring. Without the key ring nobody reads what was exported of it."
    )


def _get(client: AccountClient, full_name: str) -> namespace_pb.Namespace:
    found: namespace_pb.Namespace = client.call(
        "GetNamespace", pb.GetNamespaceRequest(namespace=full_name)
    ).namespace
    return found


def _without_deprecated(spec: namespace_pb.NamespaceSpec) -> namespace_pb.NamespaceSpec:
    copy = namespace_pb.NamespaceSpec()
    copy.CopyFrom(spec)
    copy.custom_search_attributes.clear()
    copy.mtls_auth.accepted_client_ca_deprecated = ""
    return copy


def _set_search_attributes(spec: namespace_pb.NamespaceSpec, given: list[str] | None) -> None:
    for text in given or ():
        name, _, kind = text.partition("=")
        try:
            spec.search_attributes[name] = _Type.Value(f"SEARCH_ATTRIBUTE_TYPE_{kind.upper()}")
        except ValueError:
            allowed = ", ".join(
                known.removeprefix("SEARCH_ATTRIBUTE_TYPE_").lower() for known in _Type.keys()[1:]
            )
            fail(f"--search-attribute {text!r} is not NAME=TYPE with a type of {allowed}", EXIT_MISUSED)


def _set_filters(spec: namespace_pb.NamespaceSpec, given: list[str] | None) -> None:
    if given is None:
        return
    del spec.mtls_auth.certificate_filters[:]
    for text in given:
        one = spec.mtls_auth.certificate_filters.add()
        for part in text.split(","):
            field, _, value = part.partition("=")
            if field.strip().lower() not in _FILTER_FIELDS or not value:
                fail(f"--certificate-filter {text!r} is not of the form cn=…,o=…,ou=…,san=…", EXIT_MISUSED)
            setattr(one, _FILTER_FIELDS[field.strip().lower()], value.strip())


def _server_ca_of(profile: Profile) -> Path | None:
    """The CA of the service's certificate, as a profile has it."""
    tls = profile.connection.tls
    root = tls.server_root_ca_cert if tls is not None else None
    return root if isinstance(root, Path) else None


def _beside(api_address: str) -> str:
    """The certificate port where the service doesn't say it: by default the one before that for API keys."""
    host, _, port = api_address.rpartition(":")
    guess = f"{host}:{int(port) - 1}" if port.isdigit() else api_address
    warn(f"the service does not say where it takes certificates; the profile says {guess}")
    return guess


def _row(namespace: namespace_pb.Namespace) -> dict[str, object]:
    spec = namespace.spec
    ways = [
        *(["certificates"] if spec.mtls_auth.enabled else []),
        *(["api-keys"] if spec.api_key_auth.enabled else []),
    ]
    return {
        "namespace": namespace.namespace,
        "state": resource_pb.ResourceState.Name(namespace.state).removeprefix("RESOURCE_STATE_").lower(),
        "retention_days": spec.retention_days,
        "guard": namespace.tags.get(GUARD_TAG, Guard.ENFORCE.value),
        "let_in": ways,
        "created_at": namespace.created_time.ToDatetime(tzinfo=UTC),
    }


def _fields(namespace: namespace_pb.Namespace) -> dict[str, object]:
    spec = namespace.spec
    attributes = {
        name: _Type.Name(kind).removeprefix("SEARCH_ATTRIBUTE_TYPE_").lower()
        for name, kind in sorted(spec.search_attributes.items())
    }
    return {
        **_row(namespace),
        "certificate_address": namespace.endpoints.mtls_grpc_address or None,
        "api_key_address": namespace.endpoints.grpc_address or None,
        "cas": [_ca(one) for one in _certificates(spec.mtls_auth.accepted_client_ca)],
        "certificate_filters": [
            {short: getattr(one, field) for short, field in _FILTER_FIELDS.items() if getattr(one, field)}
            for one in spec.mtls_auth.certificate_filters
        ],
        "search_attributes": attributes,
        "delete_protection": spec.lifecycle.enable_delete_protection,
        "region": namespace.active_region,
        "resource_version": namespace.resource_version,
    }


def _certificates(bundle: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(bundle) if bundle else []


def _ca(certificate: x509.Certificate) -> dict[str, object]:
    return {"subject": certificate.subject.rfc4514_string(), "not_after": certificate.not_valid_after_utc}
