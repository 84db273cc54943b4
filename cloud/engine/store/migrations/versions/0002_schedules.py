"""Schedules: a table of their own. A release that does not know it leaves it alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("namespace_id", sa.String(length=36), nullable=False),
        sa.Column("schedule_id", sa.Text(), nullable=False),
        sa.Column("wake_at", sa.BigInteger(), nullable=False),
        sa.Column("definition", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("namespace_id", "schedule_id"),
    )
    op.create_index(
        "schedules_wake_at",
        "schedules",
        ["wake_at"],
        unique=False,
        sqlite_where=sa.text("wake_at > 0"),
        postgresql_where=sa.text("wake_at > 0"),
    )
