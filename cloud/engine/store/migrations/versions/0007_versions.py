"""Worker deployments, and tasks for one version of workers alone. An older release takes such a task for anyone's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "worker_deployments",
        sa.Column("namespace_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("namespace_id", "name"),
    )
    op.create_table(
        "worker_deployment_versions",
        sa.Column("namespace_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("build_id", sa.Text(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("namespace_id", "name", "build_id"),
    )
    op.add_column("tasks", sa.Column("version", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.drop_index("tasks_by_order", table_name="tasks")
    op.create_index(
        "tasks_by_order",
        "tasks",
        ["namespace_id", "queue", "kind", "version", "order_key", "task_id"],
        unique=False,
    )
