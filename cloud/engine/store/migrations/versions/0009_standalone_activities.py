"""Standalone activities: two tables of their own. A release that does not know them leaves them alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "standalone_activities",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("namespace_id", sa.String(length=36), nullable=False),
        sa.Column("activity_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("wake_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_index(
        "standalone_activities_by_id",
        "standalone_activities",
        ["namespace_id", "activity_id", "number"],
        unique=False,
    )
    op.create_index(
        "standalone_activities_wake_at",
        "standalone_activities",
        ["wake_at"],
        unique=False,
        sqlite_where=sa.text("wake_at > 0"),
        postgresql_where=sa.text("wake_at > 0"),
    )
    op.create_table(
        "standalone_activity_requests",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
