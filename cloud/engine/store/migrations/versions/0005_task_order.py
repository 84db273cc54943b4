"""The order of stored tasks by priority and fairness, and the configuration of task queues.

A release that does not know the columns stores tasks of the usual priority, before all others of it, and reads by task id.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column(
        "tasks",
        sa.Column("order_key", sa.BigInteger(), nullable=False, server_default=sa.text(str(3 << 60))),
    )
    op.add_column("tasks", sa.Column("fairness_key", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.add_column(
        "tasks", sa.Column("stride", sa.BigInteger(), nullable=False, server_default=sa.text("1000"))
    )
    op.create_index(
        "tasks_by_order", "tasks", ["namespace_id", "queue", "kind", "order_key", "task_id"], unique=False
    )
    op.drop_index("tasks_by_queue", table_name="tasks")
    op.create_table(
        "task_queue_configs",
        sa.Column("namespace_id", sa.String(length=36), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("queue_type", sa.Integer(), nullable=False),
        sa.Column("config", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("namespace_id", "queue", "queue_type"),
    )
