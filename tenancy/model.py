"""What tenancy knows: frozen values, no behaviour. Times are aware and in UTC.

A `version` counts the changes of one thing. It goes out as an opaque string, and a change must bring back the
one it was read with.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Generic, TypeVar

from tenancy.access import GuardMode, Permission, PrincipalKind

RETENTION_DAYS_MIN = 1
RETENTION_DAYS_MAX = 90
RETENTION_DAYS_DEFAULT = 30
REQUESTS_PER_SECOND_MAX_DEFAULT = 2000.0  # Temporal Cloud's default for one namespace

T = TypeVar("T")


class AccountRole(enum.Enum):
    """What a user or service account may do in its account (Temporal Cloud's account roles)."""

    OWNER = "owner"
    ADMIN = "admin"
    DEVELOPER = "developer"
    FINANCE_ADMIN = "finance_admin"
    READ = "read"


class ResourceState(enum.Enum):
    """Where a thing is in its life."""

    ACTIVATING = "activating"
    ACTIVATION_FAILED = "activation_failed"
    ACTIVE = "active"
    UPDATING = "updating"
    UPDATE_FAILED = "update_failed"
    DELETING = "deleting"
    DELETE_FAILED = "delete_failed"


OPEN_STATES = frozenset({ResourceState.ACTIVE, ResourceState.UPDATING, ResourceState.UPDATE_FAILED})
"""The states in which a namespace takes calls. One being deleted takes none, whether or not that succeeds."""


class OperationState(enum.Enum):
    """Where an asynchronous operation is; the last two are final."""

    IN_PROGRESS = "in_progress"
    FULFILLED = "fulfilled"
    FAILED = "failed"


class SearchAttributeType(enum.Enum):
    """Types of custom search attributes."""

    TEXT = "text"
    KEYWORD = "keyword"
    INT = "int"
    DOUBLE = "double"
    BOOL = "bool"
    DATETIME = "datetime"
    KEYWORD_LIST = "keyword_list"


SEARCH_ATTRIBUTES_MAX: Mapping[SearchAttributeType, int] = MappingProxyType(
    {
        SearchAttributeType.TEXT: 5,
        SearchAttributeType.KEYWORD: 40,
        SearchAttributeType.INT: 20,
        SearchAttributeType.DOUBLE: 20,
        SearchAttributeType.BOOL: 20,
        SearchAttributeType.DATETIME: 20,
        SearchAttributeType.KEYWORD_LIST: 5,
    }
)
"""How many of each type a namespace may have (Temporal Cloud's limits)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A customer. `id` is the part after the dot in its namespaces' names."""

    id: str
    display_name: str
    version: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person in one account. `grants` are permissions in single namespaces, by their full names."""

    id: str
    account_id: str
    email: str
    role: AccountRole
    grants: Mapping[str, Permission] = field(default_factory=dict)
    version: int
    created_at: datetime
    modified_at: datetime
    operation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """A program in one account. With a `scoped_namespace` it has rights there only, and can get no others."""

    id: str
    account_id: str
    name: str
    description: str
    role: AccountRole
    scoped_namespace: str | None
    grants: Mapping[str, Permission] = field(default_factory=dict)
    version: int
    created_at: datetime
    modified_at: datetime
    operation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What is kept of an API key. The key itself is a signed token that only its owner has."""

    id: str
    account_id: str
    owner_kind: PrincipalKind
    owner_id: str
    display_name: str
    description: str
    expires_at: datetime
    disabled: bool
    version: int
    created_at: datetime
    modified_at: datetime
    operation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFilter:
    """Which client certificates pass: every field given must match. ``*`` may stand at one end of a value."""

    common_name: str = ""
    organization: str = ""
    organizational_unit: str = ""
    subject_alternative_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecServer:
    """Where the tenant's own browser finds its codec server. The service itself never calls it."""

    endpoint: str
    pass_access_token: bool = False
    include_cross_origin_credentials: bool = False
    error_message: str = ""
    error_link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceSettings:
    """What its admins choose for a namespace."""

    retention_days: int = RETENTION_DAYS_DEFAULT
    mtls_enabled: bool = False
    ca_bundle_pem: bytes = b""
    certificate_filters: tuple[CertificateFilter, ...] = ()
    api_key_enabled: bool = False
    delete_protection: bool = False
    search_attributes: Mapping[str, SearchAttributeType] = field(default_factory=dict)
    codec_server: CodecServer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A namespace. `name` is the full ``<name>.<account>``; `cell` says where it is placed."""

    name: str
    account_id: str
    state: ResourceState
    settings: NamespaceSettings
    guard: GuardMode
    tags: Mapping[str, str]
    cell: str
    requests_per_second_max: float
    version: int
    created_at: datetime
    modified_at: datetime
    operation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NexusEndpointSettings:
    """What is chosen for a Nexus endpoint. Namespaces by their full names; `description` is kept as it comes, unread."""

    name: str
    target_namespace: str
    target_task_queue: str
    callers: tuple[str, ...] = ()
    description: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class NexusEndpoint:
    """A Nexus endpoint of an account; `cell` is its target's."""

    id: str
    account_id: str
    state: ResourceState
    settings: NexusEndpointSettings
    cell: str
    version: int
    created_at: datetime
    modified_at: datetime
    operation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRequest:
    """The caller's side of an operation.

    `id` empty lets one be made; `input` is the request, kept as it came.
    """

    id: str
    type: str
    input_type: str
    input: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A change under way or done. `resource_id` is what it changes: a namespace's name, a key's id."""

    id: str
    account_id: str
    type: str
    input_type: str
    input: bytes
    state: OperationState
    failure_reason: str
    resource_id: str
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One change: who did what to which thing. `details` hold no secret."""

    id: str
    account_id: str
    at: datetime
    operation: str
    principal_kind: str
    principal_id: str
    principal_name: str
    api_key_id: str
    details: Mapping[str, object]
    operation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """Which part of a list. `after` is the key of the last one seen, empty for the first page."""

    size: int = 100
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """A part of a list; `next` is empty on the last page."""

    items: tuple[T, ...]
    next: str
