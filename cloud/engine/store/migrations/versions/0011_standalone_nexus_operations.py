"""Standalone Nexus operations: two tables of their own. A release that does not know them leaves them alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "standalone_nexus_operations",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("namespace_id", sa.String(length=36), nullable=False),
        sa.Column("operation_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("wake_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_index(
        "standalone_nexus_operations_by_id",
        "standalone_nexus_operations",
        ["namespace_id", "operation_id", "number"],
        unique=False,
    )
    op.create_index(
        "standalone_nexus_operations_wake_at",
        "standalone_nexus_operations",
        ["wake_at"],
        unique=False,
        sqlite_where=sa.text("wake_at > 0"),
        postgresql_where=sa.text("wake_at > 0"),
    )
    op.create_table(
        "standalone_nexus_requests",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
