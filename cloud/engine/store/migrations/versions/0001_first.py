"""The tables of a native cell, as of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "activity_progress",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("scheduled_event_id", sa.BigInteger(), nullable=False),
        sa.Column("progress", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "scheduled_event_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "buffered_events",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "position"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "cell_facts",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "current_runs",
        sa.Column("namespace_id", sa.String(length=36), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("first_run_id", sa.String(length=36), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace_id", "workflow_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "history",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("first_event_id", sa.BigInteger(), nullable=False),
        sa.Column("last_event_id", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "first_event_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "lease",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "namespaces",
        sa.Column("namespace_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("namespace_id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("namespace_id", sa.String(length=36), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("next_event_id", sa.BigInteger(), nullable=False),
        sa.Column("wake_at", sa.BigInteger(), nullable=False),
        sa.Column("volatile", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "runs_wake_at",
        "runs",
        ["wake_at"],
        unique=False,
        sqlite_where=sa.text("wake_at > 0"),
        postgresql_where=sa.text("wake_at > 0"),
    )
    op.create_table(
        "tasks",
        sa.Column("task_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("namespace_id", sa.String(length=36), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("scheduled_event_id", sa.BigInteger(), nullable=False),
        sa.Column("stamp", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task_id"),
    )
    op.create_index("tasks_by_queue", "tasks", ["namespace_id", "queue", "kind", "task_id"], unique=False)
    op.create_table(
        "usage_records",
        sa.Column("record_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("namespace_id", sa.String(length=36), nullable=False),
        sa.Column("occurred_at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("workflow_type", sa.Text(), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("record_id"),
    )
    op.create_index("usage_records_by_time", "usage_records", ["namespace_id", "occurred_at"], unique=False)
    op.create_table(
        "visibility",
        sa.Column("run_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column(
            "namespace_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "workflow_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "workflow_type", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("task_queue", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=False),
        sa.Column("execution_time", sa.BigInteger(), nullable=False),
        sa.Column("close_time", sa.BigInteger(), nullable=True),
        sa.Column("history_length", sa.BigInteger(), nullable=True),
        sa.Column("history_size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("state_transition_count", sa.BigInteger(), nullable=True),
        sa.Column("execution_duration_ns", sa.BigInteger(), nullable=True),
        sa.Column(
            "parent_workflow_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True
        ),
        sa.Column(
            "parent_run_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=True
        ),
        sa.Column(
            "root_workflow_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "root_run_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column(
            "first_run_id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False
        ),
        sa.Column("memo", sa.LargeBinary(), nullable=True),
        sa.Column("search_attributes", sa.LargeBinary(), nullable=True),
        sa.Column(
            "attributes",
            sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql"),
            nullable=True,
        ),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_index(
        "visibility_order",
        "visibility",
        [
            "namespace_id",
            sa.text("coalesce(close_time, 9223372036854775807) DESC"),
            sa.text("start_time DESC"),
            sa.text("run_id DESC"),
        ],
    )
    op.create_index("visibility_workflow_id", "visibility", ["namespace_id", "workflow_id"], unique=False)
