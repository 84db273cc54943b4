"""All SQL of tenancy: functions of a connection, grouped by table. They hold no rules and open no
transaction.

Every reading of one thing also takes the account, so that an id of another account finds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from tenancy import tables
from tenancy.access import GuardMode, Permission, PrincipalKind
from tenancy.model import (
    Account,
    AccountRole,
    ApiKey,
    AuditRecord,
    CertificateFilter,
    CodecServer,
    Namespace,
    NamespaceSettings,
    NexusEndpoint,
    NexusEndpointSettings,
    Operation,
    OperationState,
    Page,
    PageRequest,
    ResourceState,
    SearchAttributeType,
    ServiceAccount,
    User,
)

Row = sa.RowMapping
T = TypeVar("T")

# Enough to bridge the poll of another process many times over; a directory further behind loads everything.
CHANGES_KEPT = 10_000


# --- the version that all writers count up ---


def next_version(c: sa.Connection) -> int:
    """Count the version up. On Postgres this also waits for any other writer to finish."""
    t = tables.version
    statement = sa.update(t).where(t.c.id == 1).values(version=t.c.version + 1).returning(t.c.version)
    return int(c.execute(statement).scalar_one())


def current_version(c: sa.Connection) -> int:
    """The version of the newest committed write."""
    return int(c.execute(sa.select(tables.version.c.version).where(tables.version.c.id == 1)).scalar_one())


def record_changes(c: sa.Connection, version: int, changed: Iterable[tuple[str, str]]) -> None:
    """Note which things (kind, id) the write of `version` changed, and drop notes that nobody needs."""
    rows = [{"version": version, "kind": kind, "id": thing} for kind, thing in changed]
    if rows:
        c.execute(sa.insert(tables.changes), rows)
    c.execute(sa.delete(tables.changes).where(tables.changes.c.version <= version - CHANGES_KEPT))


def changes_since(c: sa.Connection, version: int) -> set[tuple[str, str]] | None:
    """What changed after `version`, or None if the notes don't reach back that far."""
    t = tables.changes
    if current_version(c) - version >= CHANGES_KEPT:
        return None
    return {(row.kind, row.id) for row in c.execute(sa.select(t.c.kind, t.c.id).where(t.c.version > version))}


# --- accounts and users ---


def account(c: sa.Connection, account_id: str) -> Account | None:
    """One account."""
    t = tables.accounts
    row = c.execute(sa.select(t).where(t.c.id == account_id)).mappings().one_or_none()
    return None if row is None else Account(**row)


def insert_account(c: sa.Connection, one: Account) -> None:
    """Add an account."""
    c.execute(sa.insert(tables.accounts).values(**asdict(one)))


def insert_user(c: sa.Connection, one: User) -> None:
    """Add a user (without grants)."""
    c.execute(sa.insert(tables.users).values(**_plain(one, without={"grants"})))


def users(
    c: sa.Connection, account_id: str, page: PageRequest, *, email: str = "", namespace: str = ""
) -> Page[User]:
    """The users of an account by id; those of one e-mail, or with a grant in one namespace, if given."""
    t = tables.users
    statement = sa.select(t).where(t.c.account_id == account_id)
    if email:
        statement = statement.where(t.c.email == email)
    if namespace:
        g = tables.grants
        granted = sa.select(g.c.principal).where(g.c.namespace == namespace)
        statement = statement.where((sa.literal("user:") + t.c.id).in_(granted))
    rows = _page(c, statement, t.c.id, page)
    return Page(items=tuple(_users(c, rows.items)), next=rows.next)


def user(c: sa.Connection, account_id: str, user_id: str) -> User | None:
    """One user of an account."""
    t = tables.users
    rows = c.execute(sa.select(t).where(t.c.account_id == account_id, t.c.id == user_id)).mappings().all()
    return next(iter(_users(c, rows)), None)


# --- service accounts ---


def insert_service_account(c: sa.Connection, one: ServiceAccount) -> None:
    """Add a service account (without grants)."""
    c.execute(sa.insert(tables.service_accounts).values(**_plain(one, without={"grants"})))


def update_service_account(c: sa.Connection, one: ServiceAccount) -> None:
    """Write a service account's changed fields (grants aside)."""
    t = tables.service_accounts
    c.execute(sa.update(t).where(t.c.id == one.id).values(**_plain(one, without={"grants", "id"})))


def delete_service_account(c: sa.Connection, service_account_id: str) -> None:
    """Take a service account away, with its grants; its keys must be gone already."""
    c.execute(sa.delete(tables.service_accounts).where(tables.service_accounts.c.id == service_account_id))
    c.execute(
        sa.delete(tables.grants).where(tables.grants.c.principal == f"service-account:{service_account_id}")
    )


def service_accounts(c: sa.Connection, account_id: str, page: PageRequest) -> Page[ServiceAccount]:
    """The service accounts of an account by id."""
    t = tables.service_accounts
    rows = _page(c, sa.select(t).where(t.c.account_id == account_id), t.c.id, page)
    return Page(items=tuple(_service_accounts(c, rows.items)), next=rows.next)


def service_account(c: sa.Connection, account_id: str, service_account_id: str) -> ServiceAccount | None:
    """One service account of an account."""
    t = tables.service_accounts
    statement = sa.select(t).where(t.c.account_id == account_id, t.c.id == service_account_id)
    return next(iter(_service_accounts(c, c.execute(statement).mappings().all())), None)


def service_account_named(c: sa.Connection, account_id: str, name: str) -> str | None:
    """The id of the service account of this name."""
    t = tables.service_accounts
    return c.execute(sa.select(t.c.id).where(t.c.account_id == account_id, t.c.name == name)).scalar()


def service_accounts_of_namespace(c: sa.Connection, namespace: str) -> list[str]:
    """The ids of the service accounts that have rights in this one namespace only."""
    t = tables.service_accounts
    return list(c.execute(sa.select(t.c.id).where(t.c.scoped_namespace == namespace)).scalars())


# --- grants ---


def set_grants(c: sa.Connection, principal: str, grants: Mapping[str, Permission]) -> None:
    """Make these the only grants of a principal (``user:…`` or ``service-account:…``)."""
    t = tables.grants
    c.execute(sa.delete(t).where(t.c.principal == principal))
    rows = [
        {"principal": principal, "namespace": namespace, "permission": permission.name.lower()}
        for namespace, permission in grants.items()
    ]
    if rows:
        c.execute(sa.insert(t), rows)


def principals_with_grant(c: sa.Connection, namespace: str) -> list[str]:
    """Who has a grant in a namespace."""
    t = tables.grants
    return list(c.execute(sa.select(t.c.principal).where(t.c.namespace == namespace)).scalars())


# --- namespaces ---


def insert_namespace(c: sa.Connection, one: Namespace) -> None:
    """Add a namespace."""
    c.execute(sa.insert(tables.namespaces).values(**_namespace_row(one)))


def update_namespace(c: sa.Connection, one: Namespace) -> None:
    """Write all of a namespace."""
    t = tables.namespaces
    c.execute(sa.update(t).where(t.c.name == one.name).values(**_namespace_row(one)))


def delete_namespace(c: sa.Connection, name: str) -> None:
    """Take a namespace away; its grants go with it."""
    c.execute(sa.delete(tables.namespaces).where(tables.namespaces.c.name == name))


def namespace(c: sa.Connection, account_id: str, name: str) -> Namespace | None:
    """One namespace of an account, by its full name."""
    t = tables.namespaces
    statement = sa.select(t).where(t.c.account_id == account_id, t.c.name == name)
    row = c.execute(statement).mappings().one_or_none()
    return None if row is None else _namespace(row)


def namespaces(
    c: sa.Connection, account_id: str, page: PageRequest, *, name: str = "", only: Sequence[str] | None = None
) -> Page[Namespace]:
    """The namespaces of an account by name; the one of a name, or among some names, if given."""
    t = tables.namespaces
    statement = sa.select(t).where(t.c.account_id == account_id)
    if name:
        statement = statement.where(t.c.name == name)
    if only is not None:
        statement = statement.where(t.c.name.in_(only))
    rows = _page(c, statement, t.c.name, page)
    return Page(items=tuple(_namespace(row) for row in rows.items), next=rows.next)


def count_namespaces(c: sa.Connection, account_id: str) -> int:
    """How many namespaces an account has."""
    t = tables.namespaces
    return int(c.execute(sa.select(sa.func.count()).where(t.c.account_id == account_id)).scalar_one())


def accepted_ca_bundles(c: sa.Connection, but_of: str) -> list[tuple[str, bytes]]:
    """Account and CA bundle of each namespace that takes certificates, of all accounts, but of one namespace."""
    t = tables.namespaces
    statement = sa.select(t.c.account_id, t.c.ca_bundle_pem).where(t.c.mtls_enabled, t.c.name != but_of)
    return [(account_id, bundle_pem) for account_id, bundle_pem in c.execute(statement)]


def namespaces_among(c: sa.Connection, account_id: str, names: Sequence[str]) -> set[str]:
    """Those of `names` that are namespaces of an account."""
    t = tables.namespaces
    rows = _load(c, t, t.c.name, list(names))
    return {row["name"] for row in rows if row["account_id"] == account_id}


# --- Nexus endpoints ---


def insert_nexus_endpoint(c: sa.Connection, one: NexusEndpoint) -> None:
    """Add an endpoint."""
    c.execute(sa.insert(tables.nexus_endpoints).values(**_nexus_endpoint_row(one)))


def update_nexus_endpoint(c: sa.Connection, one: NexusEndpoint) -> None:
    """Write all of an endpoint."""
    t = tables.nexus_endpoints
    c.execute(sa.update(t).where(t.c.id == one.id).values(**_nexus_endpoint_row(one)))


def delete_nexus_endpoint(c: sa.Connection, endpoint_id: str) -> None:
    """Take an endpoint away."""
    c.execute(sa.delete(tables.nexus_endpoints).where(tables.nexus_endpoints.c.id == endpoint_id))


def nexus_endpoint(c: sa.Connection, account_id: str, endpoint_id: str) -> NexusEndpoint | None:
    """One endpoint of an account."""
    t = tables.nexus_endpoints
    statement = sa.select(t).where(t.c.account_id == account_id, t.c.id == endpoint_id)
    row = c.execute(statement).mappings().one_or_none()
    return None if row is None else _nexus_endpoint(row)


def nexus_endpoints(
    c: sa.Connection,
    account_id: str,
    page: PageRequest,
    *,
    name: str = "",
    target: str = "",
    task_queue: str = "",
) -> Page[NexusEndpoint]:
    """The endpoints of an account by id; of one name, target namespace or target queue, if given."""
    t = tables.nexus_endpoints
    statement = sa.select(t).where(t.c.account_id == account_id)
    for column, wanted in (
        (t.c.name, name),
        (t.c.target_namespace, target),
        (t.c.target_task_queue, task_queue),
    ):
        if wanted:
            statement = statement.where(column == wanted)
    rows = _page(c, statement, t.c.id, page)
    return Page(items=tuple(_nexus_endpoint(row) for row in rows.items), next=rows.next)


def count_nexus_endpoints(c: sa.Connection, account_id: str) -> int:
    """How many endpoints an account has."""
    t = tables.nexus_endpoints
    return int(c.execute(sa.select(sa.func.count()).where(t.c.account_id == account_id)).scalar_one())


def nexus_endpoints_called_from(c: sa.Connection, account_id: str, namespace: str) -> list[NexusEndpoint]:
    """The endpoints that a namespace of an account may call."""
    t = tables.nexus_endpoints
    rows = c.execute(sa.select(t).where(t.c.account_id == account_id)).mappings()
    return [one for one in map(_nexus_endpoint, rows) if namespace in one.settings.callers]


# --- API keys ---


def insert_api_key(c: sa.Connection, one: ApiKey) -> None:
    """Add an API key's record."""
    c.execute(sa.insert(tables.api_keys).values(**_plain(one)))


def update_api_key(c: sa.Connection, one: ApiKey) -> None:
    """Write all of an API key's record."""
    t = tables.api_keys
    c.execute(sa.update(t).where(t.c.id == one.id).values(**_plain(one, without={"id"})))


def delete_api_keys(c: sa.Connection, ids: Sequence[str]) -> None:
    """Take API keys away: they are worth nothing from the commit on."""
    c.execute(sa.delete(tables.api_keys).where(tables.api_keys.c.id.in_(ids)))


def api_key(c: sa.Connection, account_id: str, key_id: str) -> ApiKey | None:
    """One API key's record."""
    t = tables.api_keys
    statement = sa.select(t).where(t.c.account_id == account_id, t.c.id == key_id)
    row = c.execute(statement).mappings().one_or_none()
    return None if row is None else _api_key(row)


def api_keys(
    c: sa.Connection,
    account_id: str,
    page: PageRequest,
    *,
    owner_id: str = "",
    owner_kind: PrincipalKind | None = None,
) -> Page[ApiKey]:
    """The API keys of an account by id; of one owner or kind of owner, if given."""
    t = tables.api_keys
    statement = sa.select(t).where(t.c.account_id == account_id)
    if owner_id:
        statement = statement.where(t.c.owner_id == owner_id)
    if owner_kind is not None:
        statement = statement.where(t.c.owner_kind == owner_kind.value)
    rows = _page(c, statement, t.c.id, page)
    return Page(items=tuple(_api_key(row) for row in rows.items), next=rows.next)


def api_key_ids(c: sa.Connection, account_id: str, owner_ids: Sequence[str]) -> list[str]:
    """The ids of all keys of these owners."""
    t = tables.api_keys
    statement = sa.select(t.c.id).where(t.c.account_id == account_id, t.c.owner_id.in_(owner_ids))
    return list(c.execute(statement).scalars())


def count_live_api_keys(c: sa.Connection, account_id: str, owner_id: str, now: datetime) -> int:
    """How many keys of an owner are not expired (disabled ones count)."""
    t = tables.api_keys
    mine = (t.c.account_id == account_id) & (t.c.owner_id == owner_id) & (t.c.expires_at > now)
    return int(c.execute(sa.select(sa.func.count()).where(mine)).scalar_one())


# --- operations and the audit log ---


def insert_operation(c: sa.Connection, one: Operation) -> None:
    """Add an operation."""
    c.execute(sa.insert(tables.operations).values(**_plain(one)))


def finish_operation(
    c: sa.Connection, account_id: str, operation_id: str, state: OperationState, reason: str, now: datetime
) -> None:
    """Bring an operation to its end."""
    t = tables.operations
    mine = (t.c.account_id == account_id) & (t.c.id == operation_id)
    c.execute(sa.update(t).where(mine).values(state=state.value, failure_reason=reason, finished_at=now))


def operation(c: sa.Connection, account_id: str, operation_id: str) -> Operation | None:
    """One operation of an account."""
    t = tables.operations
    statement = sa.select(t).where(t.c.account_id == account_id, t.c.id == operation_id)
    row = c.execute(statement).mappings().one_or_none()
    return None if row is None else _operation(row)


def unfinished_operations(c: sa.Connection) -> list[Operation]:
    """What was under way, of all accounts, oldest first: the work to take up at a start."""
    t = tables.operations
    statement = sa.select(t).where(t.c.state == OperationState.IN_PROGRESS.value).order_by(t.c.started_at)
    return [_operation(row) for row in c.execute(statement).mappings()]


def count_unfinished_operations(c: sa.Connection, account_id: str) -> int:
    """How many changes of an account are under way."""
    t = tables.operations
    mine = (t.c.account_id == account_id) & (t.c.state == OperationState.IN_PROGRESS.value)
    return int(c.execute(sa.select(sa.func.count()).where(mine)).scalar_one())


def namespaces_ever_created(c: sa.Connection, account_id: str, create: str) -> list[str]:
    """The names of all namespaces that an account made, those that are gone too; `create` is the operation's type."""
    t = tables.operations
    mine = (t.c.account_id == account_id) & (t.c.type == create)
    return list(
        c.execute(sa.select(t.c.resource_id).distinct().where(mine).order_by(t.c.resource_id)).scalars()
    )


def insert_audit(c: sa.Connection, one: AuditRecord) -> None:
    """Add an audit record, in the transaction of what it tells of."""
    c.execute(sa.insert(tables.audit).values(**_plain(one)))


def audit_records(
    c: sa.Connection, account_id: str, page: PageRequest, start: datetime, end: datetime
) -> Page[AuditRecord]:
    """The audit records of an account in [start, end), oldest first."""
    t = tables.audit
    statement = sa.select(t).where(t.c.account_id == account_id, t.c.at >= start, t.c.at < end)
    if page.after:
        last = sa.select(t.c.at).where(t.c.account_id == account_id, t.c.id == page.after).scalar_subquery()
        statement = statement.where((t.c.at > last) | ((t.c.at == last) & (t.c.id > page.after)))
    rows = c.execute(statement.order_by(t.c.at, t.c.id).limit(page.size + 1)).mappings().all()
    items = tuple(AuditRecord(**row) for row in rows[: page.size])
    return Page(items=items, next=items[-1].id if len(rows) > page.size else "")


# --- all of it, or what changed, for a directory ---


def load_namespaces(c: sa.Connection, names: Sequence[str] | None) -> list[Namespace]:
    """The namespaces of these names, of all accounts; None for every one."""
    return [_namespace(row) for row in _load(c, tables.namespaces, tables.namespaces.c.name, names)]


def load_users(c: sa.Connection, ids: Sequence[str] | None) -> list[User]:
    """The users of these ids, of all accounts; None for every one."""
    return _users(c, _load(c, tables.users, tables.users.c.id, ids))


def load_service_accounts(c: sa.Connection, ids: Sequence[str] | None) -> list[ServiceAccount]:
    """The service accounts of these ids, of all accounts; None for every one."""
    return _service_accounts(c, _load(c, tables.service_accounts, tables.service_accounts.c.id, ids))


def load_api_keys(c: sa.Connection, ids: Sequence[str] | None) -> list[ApiKey]:
    """The API keys of these ids, of all accounts; None for every one."""
    return [_api_key(row) for row in _load(c, tables.api_keys, tables.api_keys.c.id, ids)]


# --- rows to values and back ---


# Databases bound the number of values in one statement (SQLite's default is 32,766).
_IDS_PER_STATEMENT = 1_000


def _load(c: sa.Connection, table: sa.Table, key: sa.Column[str], ids: Sequence[str] | None) -> Sequence[Row]:
    if ids is None:
        return c.execute(sa.select(table)).mappings().all()
    rows: list[Row] = []
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        some = ids[start : start + _IDS_PER_STATEMENT]
        rows.extend(c.execute(sa.select(table).where(key.in_(some))).mappings())
    return rows


def _page(c: sa.Connection, statement: sa.Select[Any], key: sa.Column[str], page: PageRequest) -> Page[Row]:
    if page.after:
        statement = statement.where(key > page.after)
    rows = c.execute(statement.order_by(key).limit(page.size + 1)).mappings().all()
    items = tuple(rows[: page.size])
    return Page(items=items, next=str(items[-1][key.name]) if len(rows) > page.size else "")


def _plain(one: Any, *, without: Iterable[str] = ()) -> dict[str, Any]:
    left_out = set(without)
    values = {field.name: getattr(one, field.name) for field in fields(one) if field.name not in left_out}
    return {name: getattr(value, "value", value) for name, value in values.items()}


def _grants(c: sa.Connection, principals: Sequence[str]) -> dict[str, dict[str, Permission]]:
    found: dict[str, dict[str, Permission]] = {principal: {} for principal in principals}
    for row in _load(c, tables.grants, tables.grants.c.principal, principals):
        found[row["principal"]][row["namespace"]] = Permission[row["permission"].upper()]
    return found


def _users(c: sa.Connection, rows: Sequence[Row]) -> list[User]:
    granted = _grants(c, [f"user:{row['id']}" for row in rows])
    return [
        User(**{**row, "role": AccountRole(row["role"]), "grants": granted[f"user:{row['id']}"]})
        for row in rows
    ]


def _service_accounts(c: sa.Connection, rows: Sequence[Row]) -> list[ServiceAccount]:
    granted = _grants(c, [f"service-account:{row['id']}" for row in rows])
    return [
        ServiceAccount(
            **{**row, "role": AccountRole(row["role"]), "grants": granted[f"service-account:{row['id']}"]}
        )
        for row in rows
    ]


def _api_key(row: Row) -> ApiKey:
    return ApiKey(**{**row, "owner_kind": PrincipalKind(row["owner_kind"])})


def _operation(row: Row) -> Operation:
    return Operation(**{**row, "state": OperationState(row["state"])})


def _nexus_endpoint_row(one: NexusEndpoint) -> dict[str, Any]:
    settings = asdict(one.settings)
    return {**_plain(one, without={"settings"}), **settings, "callers": list(one.settings.callers)}


def _nexus_endpoint(row: Row) -> NexusEndpoint:
    settings = NexusEndpointSettings(
        name=row["name"],
        target_namespace=row["target_namespace"],
        target_task_queue=row["target_task_queue"],
        callers=tuple(row["callers"]),
        description=row["description"],
    )
    return NexusEndpoint(
        id=row["id"],
        account_id=row["account_id"],
        state=ResourceState(row["state"]),
        settings=settings,
        cell=row["cell"],
        version=row["version"],
        created_at=row["created_at"],
        modified_at=row["modified_at"],
        operation_id=row["operation_id"],
    )


_SETTINGS_AS_THEY_ARE = (
    "retention_days",
    "mtls_enabled",
    "ca_bundle_pem",
    "api_key_enabled",
    "delete_protection",
)


def _namespace_row(one: Namespace) -> dict[str, Any]:
    settings = one.settings
    return {
        **_plain(one, without={"settings", "tags"}),
        **{name: getattr(settings, name) for name in _SETTINGS_AS_THEY_ARE},
        "tags": dict(one.tags),
        "certificate_filters": [asdict(each) for each in settings.certificate_filters],
        "search_attributes": {name: kind.value for name, kind in settings.search_attributes.items()},
        "codec_server": None if settings.codec_server is None else asdict(settings.codec_server),
    }


def _namespace(row: Row) -> Namespace:
    codec_server = row["codec_server"]
    settings = NamespaceSettings(
        **{name: row[name] for name in _SETTINGS_AS_THEY_ARE},
        certificate_filters=tuple(CertificateFilter(**each) for each in row["certificate_filters"]),
        search_attributes={
            name: SearchAttributeType(kind) for name, kind in row["search_attributes"].items()
        },
        codec_server=None if codec_server is None else CodecServer(**codec_server),
    )
    return Namespace(
        name=row["name"],
        account_id=row["account_id"],
        state=ResourceState(row["state"]),
        settings=settings,
        guard=GuardMode(row["guard"]),
        tags=row["tags"],
        cell=row["cell"],
        requests_per_second_max=row["requests_per_second_max"],
        version=row["version"],
        created_at=row["created_at"],
        modified_at=row["modified_at"],
        operation_id=row["operation_id"],
    )
