"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tenancy_accounts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "tenancy_users",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account_id", sa.Text, sa.ForeignKey("tenancy_accounts.id"), nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("modified_at", sa.BigInteger, nullable=False),
        sa.Column("operation_id", sa.Text, nullable=False),
        sa.UniqueConstraint("account_id", "email", name="tenancy_users_email"),
    )
    op.create_table(
        "tenancy_service_accounts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account_id", sa.Text, sa.ForeignKey("tenancy_accounts.id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("scoped_namespace", sa.Text, nullable=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("modified_at", sa.BigInteger, nullable=False),
        sa.Column("operation_id", sa.Text, nullable=False),
        sa.UniqueConstraint("account_id", "name", name="tenancy_service_accounts_name"),
    )
    op.create_table(
        "tenancy_namespaces",
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
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("modified_at", sa.BigInteger, nullable=False),
        sa.Column("operation_id", sa.Text, nullable=False),
    )
    op.create_index("tenancy_namespaces_account", "tenancy_namespaces", ["account_id", "name"])
    op.create_table(
        "tenancy_grants",
        sa.Column("principal", sa.Text, primary_key=True),
        sa.Column(
            "namespace",
            sa.Text,
            sa.ForeignKey("tenancy_namespaces.name", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("permission", sa.Text, nullable=False),
    )
    op.create_index("tenancy_grants_namespace", "tenancy_grants", ["namespace"])
    op.create_table(
        "tenancy_api_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account_id", sa.Text, sa.ForeignKey("tenancy_accounts.id"), nullable=False),
        sa.Column("owner_kind", sa.Text, nullable=False),
        sa.Column("owner_id", sa.Text, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("modified_at", sa.BigInteger, nullable=False),
        sa.Column("operation_id", sa.Text, nullable=False),
    )
    op.create_index("tenancy_api_keys_owner", "tenancy_api_keys", ["account_id", "owner_id"])
    op.create_table(
        "tenancy_operations",
        sa.Column("account_id", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("input_type", sa.Text, nullable=False),
        sa.Column("input", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("failure_reason", sa.Text, nullable=False),
        sa.Column("resource_id", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger, nullable=True),
    )
    op.create_index("tenancy_operations_state", "tenancy_operations", ["state"])
    op.create_table(
        "tenancy_audit",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("principal_kind", sa.Text, nullable=False),
        sa.Column("principal_id", sa.Text, nullable=False),
        sa.Column("principal_name", sa.Text, nullable=False),
        sa.Column("api_key_id", sa.Text, nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
        sa.Column("operation_id", sa.Text, nullable=False),
    )
    op.create_index("tenancy_audit_account", "tenancy_audit", ["account_id", "at", "id"])
    op.create_table(
        "tenancy_version",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "tenancy_changes",
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
    )
    op.execute(sa.text("INSERT INTO tenancy_version (id, version) VALUES (1, 0)"))
