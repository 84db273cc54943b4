"""Runs whose history is being copied ahead: a table of their ids. A release that does not know it leaves it alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table("copied_runs", sa.Column("run_id", sa.String(length=36), primary_key=True))
