"""Nexus endpoints: a table of their own. A release that does not know it leaves it alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "tenancy_nexus_endpoints",
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
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("modified_at", sa.BigInteger, nullable=False),
        sa.Column("operation_id", sa.Text, nullable=False),
        sa.UniqueConstraint("account_id", "name", name="tenancy_nexus_endpoints_name"),
    )
