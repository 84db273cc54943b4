"""Build ids of task queues, for the older forms of worker versioning. A release that does not know the table leaves it alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "build_ids",
        sa.Column("namespace_id", sa.String(length=36), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("namespace_id", "queue"),
    )
