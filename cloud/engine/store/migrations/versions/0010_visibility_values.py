"""The index of search attributes: a table of its own, filled from the rows that are there.

A release that does not know it writes rows without entries; :mod:`cloud.engine.store.visibility_filling` adds them once the newer
release has the lease.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    def text() -> sa.Text:
        return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

    op.create_table(
        "visibility_values",
        sa.Column("namespace_id", text(), nullable=False),
        sa.Column("attribute", text(), nullable=False),
        sa.Column("value", text(), nullable=False),
        sa.Column("close_order", sa.BigInteger(), nullable=False),
        sa.Column("start_time", sa.BigInteger(), nullable=False),
        sa.Column("run_id", text(), nullable=False),
        sa.PrimaryKeyConstraint("namespace_id", "attribute", "value", "close_order", "start_time", "run_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("visibility_values_run_id", "visibility_values", ["run_id"], unique=False)
