"""The tables, for SQLite and Postgres alike. All are named ``tenancy_…``, so that they can share a database.

Their history is in ``migrations/``; a test shows that the migrations in turn make these very tables.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

metadata = sa.MetaData()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class UtcTime(TypeDecorator[datetime]):
    """An aware time in UTC, kept as microseconds since 1970: the same number on every database."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        """To the database; a naive time is refused by the subtraction."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:
        """From the database."""
        return None if value is None else _EPOCH + value * _MICROSECOND


accounts = sa.Table(
    "tenancy_accounts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
)

users = sa.Table(
    "tenancy_users",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("account_id", sa.Text, sa.ForeignKey("tenancy_accounts.id"), nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("modified_at", UtcTime, nullable=False),
    sa.Column("operation_id", sa.Text, nullable=False),
    sa.UniqueConstraint("account_id", "email", name="tenancy_users_email"),
)

service_accounts = sa.Table(
    "tenancy_service_accounts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("account_id", sa.Text, sa.ForeignKey("tenancy_accounts.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("scoped_namespace", sa.Text, nullable=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("modified_at", UtcTime, nullable=False),
    sa.Column("operation_id", sa.Text, nullable=False),
    sa.UniqueConstraint("account_id", "name", name="tenancy_service_accounts_name"),
)

namespaces = sa.Table(
    "tenancy_namespaces",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("account_id", sa.Text, sa.ForeignKey("tenancy_accounts.id"), nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("retention_days", sa.Integer, nullable=False),
    sa.Column("mtls_enabled", sa.Boolean, nullable=False),
    sa.Column("ca_bundle_pem", sa.LargeBinary, nullable=False),
    sa.Column("certificate_filters", sa.JSON, nullable=False),
    sa.Column("api_key_enabled", sa.Boolean, nullable=False),
    sa.Column("delete_protection", sa.Boolean, nullable=False),
    sa.Column("search_attributes", sa.JSON, nullable=False),
    sa.Column("codec_server", sa.JSON, nullable=False),
    sa.Column("guard", sa.Text, nullable=False),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("cell", sa.Text, nullable=False),
    sa.Column("requests_per_second_max", sa.Double, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("modified_at", UtcTime, nullable=False),
    sa.Column("operation_id", sa.Text, nullable=False),
    sa.Index("tenancy_namespaces_account", "account_id", "name"),
)

# A principal is a user or a service account, named as in `Principal.id`. A namespace that goes takes its
# grants along.
grants = sa.Table(
    "tenancy_grants",
    metadata,
    sa.Column("principal", sa.Text, primary_key=True),
    sa.Column(
        "namespace",
        sa.Text,
        sa.ForeignKey("tenancy_namespaces.name", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("permission", sa.Text, nullable=False),
    sa.Index("tenancy_grants_namespace", "namespace"),
)

api_keys = sa.Table(
    "tenancy_api_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("account_id", sa.Text, sa.ForeignKey("tenancy_accounts.id"), nullable=False),
    sa.Column("owner_kind", sa.Text, nullable=False),
    sa.Column("owner_id", sa.Text, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("disabled", sa.Boolean, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("modified_at", UtcTime, nullable=False),
    sa.Column("operation_id", sa.Text, nullable=False),
    sa.Index("tenancy_api_keys_owner", "account_id", "owner_id"),
)

nexus_endpoints = sa.Table(
    "tenancy_nexus_endpoints",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("account_id", sa.Text, sa.ForeignKey("tenancy_accounts.id"), nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("target_namespace", sa.Text, nullable=False),
    sa.Column("target_task_queue", sa.Text, nullable=False),
    sa.Column("callers", sa.JSON, nullable=False),
    sa.Column("description", sa.LargeBinary, nullable=False),
    sa.Column("cell", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("modified_at", UtcTime, nullable=False),
    sa.Column("operation_id", sa.Text, nullable=False),
    sa.UniqueConstraint("account_id", "name", name="tenancy_nexus_endpoints_name"),
)

operations = sa.Table(
    "tenancy_operations",
    metadata,
    sa.Column("account_id", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("input_type", sa.Text, nullable=False),
    sa.Column("input", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("failure_reason", sa.Text, nullable=False),
    sa.Column("resource_id", sa.Text, nullable=False),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("finished_at", UtcTime, nullable=True),
    sa.Index("tenancy_operations_state", "state"),
)

# `at` first, so that the newest can be read by the index; `id` tells apart what happened in one microsecond.
audit = sa.Table(
    "tenancy_audit",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("account_id", sa.Text, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("principal_kind", sa.Text, nullable=False),
    sa.Column("principal_id", sa.Text, nullable=False),
    sa.Column("principal_name", sa.Text, nullable=False),
    sa.Column("api_key_id", sa.Text, nullable=False),
    sa.Column("details", sa.JSON, nullable=False),
    sa.Column("operation_id", sa.Text, nullable=False),
    sa.Index("tenancy_audit_account", "account_id", "at", "id"),
)

# One row. Each write counts it up first, which also makes all writers wait for each other: the limits that a
# write checks can't be overrun by another one, and versions become visible in their order.
version = sa.Table(
    "tenancy_version",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.BigInteger, nullable=False),
)

# What each write changed, for the directories of other processes. Older rows are dropped: who is too far
# behind loads everything.
changes = sa.Table(
    "tenancy_changes",
    metadata,
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
)

# What gateways counted, added to in batches. It belongs to no version: directories do not read it.
guard_counts = sa.Table(
    "tenancy_guard_counts",
    metadata,
    sa.Column("namespace", sa.Text, primary_key=True),
    sa.Column("day", sa.Text, primary_key=True),
    sa.Column("field", sa.Text, primary_key=True),
    sa.Column("outcome", sa.Text, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("last_seen_at", UtcTime, nullable=False),
    sa.Index("tenancy_guard_counts_day", "day"),
)
