"""Tenancy's values as messages of the Cloud API, and back.

Fields that were deprecated in favour of an enum or a map are still read where the new one is empty, and written
beside it, so that older tools see what they know.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.cloud.auditlog.v1 import message_pb2 as audit_pb
from temporalio.api.cloud.identity.v1 import message_pb2 as identity_pb
from temporalio.api.cloud.namespace.v1 import message_pb2 as namespace_pb
from temporalio.api.cloud.operation.v1 import message_pb2 as operation_pb
from temporalio.api.cloud.resource.v1 import message_pb2 as resource_pb

from tenancy.access import Permission, PrincipalKind
from tenancy.errors import Fault, Invalid, refuse_faults
from tenancy.identities import ServiceAccountSettings
from tenancy.keys import ApiKeySettings
from tenancy.model import (
    RETENTION_DAYS_DEFAULT,
    AccountRole,
    ApiKey,
    AuditRecord,
    CertificateFilter,
    CodecServer,
    Namespace,
    NamespaceSettings,
    Operation,
    OperationState,
    ResourceState,
    SearchAttributeType,
    ServiceAccount,
    User,
)
from tenancy.namespaces import tags_of

CHECK_AGAIN_SECONDS = 1
AUDIT_RECORD_VERSION = 1

_Spec = namespace_pb.NamespaceSpec
_Access = identity_pb.AccountAccess
_Grant = identity_pb.NamespaceAccess


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where clients reach a namespace; all namespaces of a gateway share its addresses. Empty: not offered."""

    mtls: str = ""
    api_key: str = ""
    web: str = ""


# --- small values ---


def timestamp(at: datetime) -> Timestamp:
    """A time as a message."""
    message = Timestamp()
    message.FromDatetime(at)
    return message


def moment(message: Timestamp) -> datetime:
    """A message as an aware time in UTC.

    Raises:
        Invalid: it is out of range.
    """
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise Invalid([Fault(field="time", problem="is out of range")]) from error


def resource_state(state: ResourceState) -> resource_pb.ResourceState.ValueType:
    """The state of a resource."""
    return resource_pb.ResourceState.Value(f"RESOURCE_STATE_{state.name}")


# --- namespaces ---

_NAMESPACE_FIELDS = frozenset(
    {
        "name",
        "regions",
        "retention_days",
        "mtls_auth",
        "api_key_auth",
        "custom_search_attributes",
        "search_attributes",
        "codec_server",
        "lifecycle",
        "replicas",
    }
)


def namespace_settings(spec: namespace_pb.NamespaceSpec, region: str, *, creating: bool) -> NamespaceSettings:
    """The settings in a spec.

    Raises:
        Invalid: it asks for what this cloud has not (another region, high availability, …); names every field.
    """
    faults = [
        Fault(field=f"spec.{field.name}", problem="is not available in this cloud; leave it out")
        for field, value in spec.ListFields()
        if field.name not in _NAMESPACE_FIELDS and not _asks_for_nothing(value)
    ]
    asked = {*spec.regions, *(replica.region for replica in spec.replicas)}
    if asked - {region}:
        faults.append(Fault(field="spec.replicas", problem=f"this cloud has one region, {region}"))
    attributes: dict[str, SearchAttributeType] = {}
    for name, kind in spec.search_attributes.items():
        attributes[name] = _search_attribute_type(_type_name(kind), name, faults)
    for name, text in spec.custom_search_attributes.items():
        attributes.setdefault(name, _search_attribute_type(text, name, faults))
    bundle = spec.mtls_auth.accepted_client_ca
    if not bundle and spec.mtls_auth.accepted_client_ca_deprecated:
        try:
            bundle = base64.b64decode(spec.mtls_auth.accepted_client_ca_deprecated, validate=True)
        except binascii.Error:
            faults.append(
                Fault(field="spec.mtls_auth.accepted_client_ca_deprecated", problem="is not base64")
            )
    refuse_faults(faults)
    retention_days = spec.retention_days
    if creating and not retention_days:
        retention_days = RETENTION_DAYS_DEFAULT
    return NamespaceSettings(
        retention_days=retention_days,
        mtls_enabled=spec.mtls_auth.enabled,
        ca_bundle_pem=bundle,
        certificate_filters=tuple(
            CertificateFilter(
                common_name=one.common_name,
                organization=one.organization,
                organizational_unit=one.organizational_unit,
                subject_alternative_name=one.subject_alternative_name,
            )
            for one in spec.mtls_auth.certificate_filters
        ),
        api_key_enabled=spec.api_key_auth.enabled,
        delete_protection=spec.lifecycle.enable_delete_protection,
        search_attributes=attributes,
        codec_server=_codec_server(spec.codec_server) if spec.HasField("codec_server") else None,
    )


def namespace_message(one: Namespace, region: str, endpoints: Endpoints) -> namespace_pb.Namespace:
    """A namespace as the API shows it."""
    settings = one.settings
    spec = _Spec(
        name=one.name.partition(".")[0],
        regions=[region],
        replicas=[namespace_pb.ReplicaSpec(region=region)],
        retention_days=settings.retention_days,
        mtls_auth=namespace_pb.MtlsAuthSpec(
            enabled=settings.mtls_enabled,
            accepted_client_ca=settings.ca_bundle_pem,
            accepted_client_ca_deprecated=base64.b64encode(settings.ca_bundle_pem).decode(),
            certificate_filters=[
                namespace_pb.CertificateFilterSpec(
                    common_name=each.common_name,
                    organization=each.organization,
                    organizational_unit=each.organizational_unit,
                    subject_alternative_name=each.subject_alternative_name,
                )
                for each in settings.certificate_filters
            ],
        ),
        api_key_auth=namespace_pb.ApiKeyAuthSpec(enabled=settings.api_key_enabled),
        lifecycle=namespace_pb.LifecycleSpec(enable_delete_protection=settings.delete_protection),
    )
    for name, kind in settings.search_attributes.items():
        spec.search_attributes[name] = _Spec.SearchAttributeType.Value(f"SEARCH_ATTRIBUTE_TYPE_{kind.name}")
        spec.custom_search_attributes[name] = kind.value
    if settings.codec_server is not None:
        spec.codec_server.CopyFrom(_codec_server_message(settings.codec_server))
    return namespace_pb.Namespace(
        namespace=one.name,
        resource_version=str(one.version),
        spec=spec,
        state=resource_state(one.state),
        state_deprecated=one.state.value,
        async_operation_id=one.operation_id,
        endpoints=namespace_pb.Endpoints(
            web_address=endpoints.web,
            mtls_grpc_address=endpoints.mtls if settings.mtls_enabled else "",
            grpc_address=endpoints.api_key if settings.api_key_enabled else "",
        ),
        active_region=region,
        replicas=[
            namespace_pb.Replica(
                id=region,
                is_primary=True,
                state=namespace_pb.Replica.ReplicaState.REPLICA_STATE_ACTIVE,
                region=region,
            )
        ],
        created_time=timestamp(one.created_at),
        last_modified_time=timestamp(one.modified_at),
        tags=tags_of(one),
    )


# --- identities ---


def service_account_settings(spec: identity_pb.ServiceAccountSpec) -> ServiceAccountSettings:
    """The settings in a spec.

    Raises:
        Invalid: a role or permission is missing or not available here; names every field.
    """
    faults: list[Fault] = []
    if spec.access.account_access.custom_roles or spec.access.custom_roles_deprecated:
        faults.append(Fault(field="spec.access.custom_roles", problem="are not available in this cloud"))
    if spec.HasField("namespace_scoped_access"):
        scoped = spec.namespace_scoped_access
        if spec.HasField("access"):
            problem = "stands beside access; give one of the two"
            faults.append(Fault(field="spec.namespace_scoped_access", problem=problem))
        granted = _permission(scoped.access, "spec.namespace_scoped_access.access", faults)
        refuse_faults(faults)
        return ServiceAccountSettings(
            name=spec.name,
            description=spec.description,
            role=AccountRole.READ,
            grants={scoped.namespace: granted},
            scoped_namespace=scoped.namespace,
        )
    role = _role(spec.access.account_access, faults)
    grants = {
        name: _permission(access, f"spec.access.namespace_accesses[{name[:64]!r}]", faults)
        for name, access in spec.access.namespace_accesses.items()
    }
    refuse_faults(faults)
    return ServiceAccountSettings(name=spec.name, description=spec.description, role=role, grants=grants)


def access_permission(access: identity_pb.NamespaceAccess) -> Permission:
    """The permission to set in a namespace; an empty message takes it away.

    Raises:
        Invalid: a permission that does not exist.
    """
    if access.permission == _Grant.PERMISSION_UNSPECIFIED and not access.permission_deprecated:
        return Permission.NONE
    faults: list[Fault] = []
    permission = _permission(access, "access", faults)
    refuse_faults(faults)
    return permission


def user_message(one: User) -> identity_pb.User:
    """A user as the API shows it."""
    return identity_pb.User(
        id=one.id,
        resource_version=str(one.version),
        spec=identity_pb.UserSpec(email=one.email, access=_access(one.role, one.grants)),
        state=resource_pb.RESOURCE_STATE_ACTIVE,
        state_deprecated=ResourceState.ACTIVE.value,
        async_operation_id=one.operation_id,
        created_time=timestamp(one.created_at),
        last_modified_time=timestamp(one.modified_at),
    )


def service_account_message(one: ServiceAccount) -> identity_pb.ServiceAccount:
    """A service account as the API shows it."""
    spec = identity_pb.ServiceAccountSpec(name=one.name, description=one.description)
    if one.scoped_namespace is None:
        spec.access.CopyFrom(_access(one.role, one.grants))
    else:
        granted = one.grants.get(one.scoped_namespace, Permission.NONE)
        spec.namespace_scoped_access.namespace = one.scoped_namespace
        spec.namespace_scoped_access.access.CopyFrom(_grant(granted))
    return identity_pb.ServiceAccount(
        id=one.id,
        resource_version=str(one.version),
        spec=spec,
        state=resource_pb.RESOURCE_STATE_ACTIVE,
        state_deprecated=ResourceState.ACTIVE.value,
        async_operation_id=one.operation_id,
        created_time=timestamp(one.created_at),
        last_modified_time=timestamp(one.modified_at),
    )


_OWNER_KINDS: Mapping[identity_pb.OwnerType.ValueType, PrincipalKind] = {
    identity_pb.OWNER_TYPE_USER: PrincipalKind.USER,
    identity_pb.OWNER_TYPE_SERVICE_ACCOUNT: PrincipalKind.SERVICE_ACCOUNT,
}


def owner_kind(kind: identity_pb.OwnerType.ValueType, deprecated: str = "") -> PrincipalKind | None:
    """The kind of an API key's owner; None where none is given.

    Raises:
        Invalid: a kind that does not exist.
    """
    if kind in _OWNER_KINDS:
        return _OWNER_KINDS[kind]
    if kind == identity_pb.OWNER_TYPE_UNSPECIFIED and not deprecated:
        return None
    if deprecated in ("user", "service-account"):
        return PrincipalKind(deprecated)
    raise Invalid([Fault(field="owner_type", problem="must be user or service account")])


def api_key_settings(spec: identity_pb.ApiKeySpec) -> ApiKeySettings:
    """The settings in a spec.

    Raises:
        Invalid: the owner or the expiry is missing; names every field.
    """
    faults = []
    kind = owner_kind(spec.owner_type, spec.owner_type_deprecated)
    if kind is None or not spec.owner_id:
        faults.append(Fault(field="spec.owner_id", problem="is needed, with owner_type"))
    if not spec.HasField("expiry_time"):
        faults.append(
            Fault(field="spec.expiry_time", problem="is needed; a key may live for two years at most")
        )
    refuse_faults(faults)
    return ApiKeySettings(
        owner_kind=kind or PrincipalKind.USER,
        owner_id=spec.owner_id,
        display_name=spec.display_name,
        description=spec.description,
        expires_at=moment(spec.expiry_time),
        disabled=spec.disabled,
    )


def api_key_message(one: ApiKey) -> identity_pb.ApiKey:
    """An API key's record as the API shows it; the key itself is not in it."""
    kinds = {kind: number for number, kind in _OWNER_KINDS.items()}
    return identity_pb.ApiKey(
        id=one.id,
        resource_version=str(one.version),
        spec=identity_pb.ApiKeySpec(
            owner_id=one.owner_id,
            owner_type=kinds[one.owner_kind],
            owner_type_deprecated=one.owner_kind.value,
            display_name=one.display_name,
            description=one.description,
            expiry_time=timestamp(one.expires_at),
            disabled=one.disabled,
        ),
        state=resource_pb.RESOURCE_STATE_ACTIVE,
        state_deprecated=ResourceState.ACTIVE.value,
        async_operation_id=one.operation_id,
        created_time=timestamp(one.created_at),
        last_modified_time=timestamp(one.modified_at),
    )


# --- operations and the audit log ---

_OPERATION_STATES: Mapping[OperationState, operation_pb.AsyncOperation.State.ValueType] = {
    OperationState.IN_PROGRESS: operation_pb.AsyncOperation.STATE_IN_PROGRESS,
    OperationState.FULFILLED: operation_pb.AsyncOperation.STATE_FULFILLED,
    OperationState.FAILED: operation_pb.AsyncOperation.STATE_FAILED,
}


def operation_message(one: Operation) -> operation_pb.AsyncOperation:
    """An operation as the API shows it."""
    message = operation_pb.AsyncOperation(
        id=one.id,
        state=_OPERATION_STATES[one.state],
        state_deprecated=one.state.value,
        operation_type=one.type,
        operation_input=AnyMessage(type_url=one.input_type, value=one.input),
        failure_reason=one.failure_reason,
        started_time=timestamp(one.started_at),
    )
    if one.finished_at is None:
        message.check_duration.CopyFrom(Duration(seconds=CHECK_AGAIN_SECONDS))
    else:
        message.finished_time.CopyFrom(timestamp(one.finished_at))
    return message


def audit_message(one: AuditRecord) -> audit_pb.LogRecord:
    """An audit record as the API shows it. Only changes that were made are recorded, so its status is OK."""
    record = audit_pb.LogRecord(
        emit_time=timestamp(one.at),
        operation=one.operation,
        status="OK",
        version=AUDIT_RECORD_VERSION,
        log_id=one.id,
        principal=audit_pb.Principal(
            type=one.principal_kind,
            id=one.principal_id,
            name=one.principal_name,
            api_key_id=one.api_key_id,
        ),
        async_operation_id=one.operation_id,
    )
    record.raw_details.update(cast("Any", dict(one.details)))  # plain JSON, as the store gives it back
    return record


# --- pieces ---


def _asks_for_nothing(value: object) -> bool:
    """Whether a message only spells out the defaults, as tools that always send every part do."""
    fields = getattr(value, "ListFields", None)
    if fields is None:
        return False
    return all(field.name == "on_demand" for field, _ in fields())


def _type_name(kind: namespace_pb.NamespaceSpec.SearchAttributeType.ValueType) -> str:
    try:
        return _Spec.SearchAttributeType.Name(kind).removeprefix("SEARCH_ATTRIBUTE_TYPE_")
    except ValueError:
        return str(kind)


def _search_attribute_type(text: str, name: str, faults: list[Fault]) -> SearchAttributeType:
    # Older tools write KeywordList, newer ones keyword_list.
    folded = text.replace("_", "").casefold()
    for kind in SearchAttributeType:
        if kind.value.replace("_", "") == folded:
            return kind
    allowed = ", ".join(kind.value for kind in SearchAttributeType)
    faults.append(
        Fault(field=f"spec.search_attributes[{name[:64]!r}]", problem=f"must have a type of {allowed}")
    )
    return SearchAttributeType.KEYWORD


def _codec_server(spec: namespace_pb.CodecServerSpec) -> CodecServer:
    return CodecServer(
        endpoint=spec.endpoint,
        pass_access_token=spec.pass_access_token,
        include_cross_origin_credentials=spec.include_cross_origin_credentials,
        error_message=spec.custom_error_message.default.message,
        error_link=spec.custom_error_message.default.link,
    )


def _codec_server_message(one: CodecServer) -> namespace_pb.CodecServerSpec:
    message = namespace_pb.CodecServerSpec(
        endpoint=one.endpoint,
        pass_access_token=one.pass_access_token,
        include_cross_origin_credentials=one.include_cross_origin_credentials,
    )
    if one.error_message or one.error_link:
        message.custom_error_message.default.message = one.error_message
        message.custom_error_message.default.link = one.error_link
    return message


def _role(access: identity_pb.AccountAccess, faults: list[Fault]) -> AccountRole:
    try:
        text = access.role_deprecated or _Access.Role.Name(access.role).removeprefix("ROLE_").lower()
        if access.role != _Access.ROLE_UNSPECIFIED:
            text = _Access.Role.Name(access.role).removeprefix("ROLE_").lower()
        return AccountRole(text.replace("-", "_"))
    except ValueError:
        allowed = ", ".join(role.value for role in AccountRole if role is not AccountRole.OWNER)
        faults.append(Fault(field="spec.access.account_access.role", problem=f"must be one of {allowed}"))
        return AccountRole.READ


def _permission(access: identity_pb.NamespaceAccess, field: str, faults: list[Fault]) -> Permission:
    try:
        text = access.permission_deprecated
        if access.permission != _Grant.PERMISSION_UNSPECIFIED:
            text = _Grant.Permission.Name(access.permission).removeprefix("PERMISSION_")
        if (permission := Permission[text.upper()]) is not Permission.NONE:
            return permission
    except (ValueError, KeyError):
        pass  # said below, as for none at all
    faults.append(Fault(field=field, problem="must have a permission of read, write, admin"))
    return Permission.NONE


def _grant(permission: Permission) -> identity_pb.NamespaceAccess:
    if permission is Permission.NONE:
        return _Grant()
    return _Grant(
        permission=_Grant.Permission.Value(f"PERMISSION_{permission.name}"),
        permission_deprecated=permission.name.lower(),
    )


def _access(role: AccountRole, grants: Mapping[str, Permission]) -> identity_pb.Access:
    account = _Access(role=_Access.Role.Value(f"ROLE_{role.name}"), role_deprecated=role.value)
    access = identity_pb.Access(account_access=account)
    for name, permission in grants.items():
        access.namespace_accesses[name].CopyFrom(_grant(permission))
    return access
